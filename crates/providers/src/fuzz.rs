//! The parsers of what makers send, for `fuzz/`. Each checks what must hold of whatever it reads.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::core::call::{Call, Progress};
use crate::core::cost::Cost;
use crate::core::desk::Run;
use crate::core::error::MakerError;
use crate::core::retry::Verdict;
use crate::picture::{Kind, Wish, made};
use crate::wire::{Answer, Tape, plays};
use crate::{MakerId, Makers, Options, Settings};

/// Hears nothing and never stops a call.
struct Deaf;

#[async_trait::async_trait]
impl Progress for Deaf {
    fn log(&self, line: &str) {
        assert!(!line.contains('\n'), "{line}");
    }

    fn cancelled(&self) -> bool {
        false
    }

    fn spent(&self, _: Cost) {}

    async fn submitted(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
}

/// An answer of any maker, to any question: a status and a body. What is refused has words for people, and none of the
/// maker's own.
///
/// # Panics
/// When it has not.
pub fn answer(status: u16, body: &[u8]) {
    let makers = Makers::new(&Settings::default(), Options::default()).expect("usual settings");
    let headers = BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]);
    let answer = Answer { status, headers, body: Bytes::copy_from_slice(body) };
    let call = Call { endpoint: "fal-ai/flux-pro".to_owned(), ..Call::default() };
    for id in MakerId::ALL {
        let run = makers.desk(id).run(&call, "model", &Deaf);
        let verdicts = match id {
            MakerId::Bfl => crate::bfl::read_any(&run, &answer),
            MakerId::Ideogram => crate::ideogram::read_any(&run, &answer),
            MakerId::Google => crate::google::read_any(&run, &answer),
            MakerId::Recraft => crate::recraft::read_any(&run, &answer),
            MakerId::Fal => crate::fal::read_any(&run, &answer, &call),
        };
        verdicts.into_iter().for_each(|verdict| check(&run, &answer, verdict));
    }
}

fn check(run: &Run<'_>, answer: &Answer, verdict: Verdict) {
    let refused = run.refused(answer, verdict, &mut Default::default()).err();
    if let Some(problem) = refused.as_ref().and_then(MakerError::refusal) {
        assert!(!problem.problem.msg.is_empty() && (400..=599).contains(&problem.status), "{problem:?}");
    }
}

/// A picture of a maker's. It is whole, and of a kind that callers know.
///
/// # Panics
/// When it is not.
pub fn picture(bytes: &[u8]) {
    let cut = Wish { kind: Some(Kind::Png), size: Some(((32, 32), (64, 64))), ..Wish::named("image") };
    for wish in [Wish::named("image"), Wish { drawing: true, ..Wish::named("image") }, cut] {
        if let Ok(file) = made(Bytes::copy_from_slice(bytes), wish) {
            assert!(file.content_type.starts_with("image/") && !file.bytes.is_empty());
            assert!(file.size.is_none_or(|(width, height)| width > 0 && height > 0), "{:?}", file.size);
        }
    }
}

/// One record of a tape.
pub fn record(text: &str) {
    plays(text);
}

/// A tape is read from its folder.
pub fn tape(folder: &std::path::Path) -> bool {
    Tape::replay(folder).is_ok()
}
