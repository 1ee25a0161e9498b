//! Text encoders that leave memory before a picture is drawn, and come back for the next call.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops and shows where")]

mod common;

use std::sync::Mutex;

use common::{draw, open, open_in, with_loras};
use scumble_engine::families::{Context, Pipeline};
use scumble_engine::{Call, Control, DType, Error, Observer, Pixels, Stage};
use scumble_testkit::tiny::{self, Variant, loras};

/// Writes down at each stage whether the encoders are in memory.
struct Watcher<'a> {
    pipeline: &'a dyn Pipeline,
    seen: Mutex<Vec<(Stage, bool)>>,
    refuses: Option<Stage>,
}

impl Observer for Watcher<'_> {
    fn stage(&self, stage: Stage) -> Control {
        self.seen.lock().unwrap().push((stage, is_held(self.pipeline)));
        if self.refuses == Some(stage) { Control::Cancel } else { Control::Continue }
    }
}

fn is_held(pipeline: &dyn Pipeline) -> bool {
    pipeline.encoders().unwrap().is_held()
}

fn keep(pipeline: &dyn Pipeline, keep: bool) {
    pipeline.encoders().expect("every family lets its encoders go").keep(keep);
}

/// What a call draws, and whether the encoders were in memory at each stage.
fn watched(pipeline: &dyn Pipeline, call: &Call) -> (Vec<Pixels>, Vec<(Stage, bool)>) {
    let watcher = Watcher { pipeline, seen: Mutex::default(), refuses: None };
    let pictures = pipeline.generate(call, &Context { observer: &watcher, trace: None }).unwrap();
    (pictures, watcher.seen.into_inner().unwrap())
}

const STAYING: [(Stage, bool); 3] = [(Stage::TextEncode, true), (Stage::Denoise, true), (Stage::Decode, true)];
const KNOWN: [(Stage, bool); 3] = [(Stage::TextEncode, false), (Stage::Denoise, false), (Stage::Decode, false)];
const GOING: [(Stage, bool); 4] =
    [(Stage::Load, false), (Stage::TextEncode, true), (Stage::Denoise, false), (Stage::Decode, false)];

#[test]
fn encoders_stay_unless_told_to_go_and_the_picture_is_the_same_bit_for_bit() {
    for variant in Variant::ALL {
        let (pipeline, call) = (open(variant), Call { steps: 2, ..variant.call() });
        let other = Call { prompt: "another one".to_owned(), ..call.clone() };
        let (first, stages) = watched(&*pipeline, &call);
        assert_eq!(stages, STAYING, "{variant:?}: as nobody said otherwise");
        let second = draw(&*pipeline, &other);
        let pipeline = open(variant);
        keep(&*pipeline, false);
        assert!(!is_held(&*pipeline), "{variant:?}: an idle model lets go at once");
        for (call, picture) in [(&call, &first), (&other, &second)] {
            let (again, stages) = watched(&*pipeline, call);
            assert_eq!(&again, picture, "{variant:?}");
            assert_eq!(stages, GOING, "{variant:?}");
            assert!(!is_held(&*pipeline), "{variant:?}");
        }
        // words that were read before need no encoder
        assert_eq!(watched(&*pipeline, &call), (first, KNOWN.into()), "{variant:?}");
        keep(&*pipeline, true);
        let third = Call { prompt: "a third one".to_owned(), ..call };
        draw(&*pipeline, &third);
        assert_eq!(watched(&*pipeline, &third).1, STAYING, "{variant:?}");
    }
}

#[test]
fn a_call_with_loras_lets_its_encoders_go_as_well() {
    for variant in Variant::ALL {
        let folder = tempfile::tempdir().unwrap();
        for (number, set) in loras::sets(variant).into_iter().enumerate() {
            let Some(file) = set.files.get("peft") else { continue };
            let pipeline = open(variant);
            let lora = |scale| with_loras(variant, vec![file.write(&folder.path().join(number.to_string()), scale)]);
            let first = draw(&*pipeline, &lora(1.0));
            let plain = draw(&*pipeline, &lora(0.0));
            keep(&*pipeline, false);
            for (call, expected) in [(lora(1.0), &first), (lora(0.0), &plain)] {
                let (again, stages) = watched(&*pipeline, &call);
                assert_eq!(&again, expected, "{variant:?}");
                assert_eq!(stages[stages.len() - 2..], GOING[2..], "{variant:?}");
                let reads = stages.iter().filter(|(stage, _)| *stage == Stage::Load).count();
                assert_eq!(reads, 1, "{variant:?}: {stages:?}");
            }
        }
    }
}

#[test]
fn what_went_is_missed_where_its_files_are_gone_and_found_when_they_are_back() {
    let folder = tiny::of(Variant::HiDreamFull).tempdir();
    let (pipeline, call) = (open_in(folder.path(), Some(DType::F32)).unwrap(), Variant::HiDreamFull.call());
    let first = draw(&*open(Variant::HiDreamFull), &call);
    keep(&*pipeline, false);
    let (here, away) = (folder.path().join("text_encoder_4"), folder.path().join("elsewhere"));
    std::fs::rename(&here, &away).unwrap();
    let watcher = Watcher { pipeline: &*pipeline, seen: Mutex::default(), refuses: None };
    let error = pipeline.generate(&call, &Context { observer: &watcher, trace: None }).unwrap_err();
    assert!(error.is_checkpoint() && error.to_string().contains("text_encoder_4"), "{error}");
    std::fs::rename(&away, &here).unwrap();
    // a cancel before they are read leaves them where they are
    let watcher = Watcher { pipeline: &*pipeline, seen: Mutex::default(), refuses: Some(Stage::Load) };
    let refused = pipeline.generate(&call, &Context { observer: &watcher, trace: None });
    assert!(matches!(refused, Err(Error::Cancelled)), "{refused:?}");
    assert_eq!(watcher.seen.into_inner().unwrap(), GOING[..1]);
    assert_eq!(draw(&*pipeline, &call), first);
}
