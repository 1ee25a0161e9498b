//! Tokenizers that are published as sentencepiece's own file, against sentencepiece: `golden/make_pieces.py` made files and ids.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops and shows where")]

mod common;

use std::path::Path;

use common::{draw, open_in};
use scumble_engine::tokenize::T5Tokenizer;
use scumble_engine::weights::{Checkpoint, Source};
use scumble_engine::{Call, DType, Error, Result};
use scumble_testkit::tiny::{self, Variant};
use serde_json::Value;

const GOLDEN: &str = "tests/golden/pieces";
const NAMES: [&str; 2] = ["spiece.model", "tokenizer.model"];

/// A checkpoint of nothing but a tokenizer: this file, under this name.
fn tokenizer(bytes: &[u8], name: &str) -> Result<T5Tokenizer> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("tokenizer")).unwrap();
    std::fs::write(folder.path().join("model_index.json"), r#"{"_class_name": "FLitePipeline"}"#).unwrap();
    std::fs::write(folder.path().join("tokenizer").join(name), bytes).unwrap();
    T5Tokenizer::load(&Checkpoint::open(Source::Folder(folder.path().into()))?, "tokenizer")
}

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(GOLDEN).join(format!("{name}.model"))).unwrap()
}

#[test]
fn ids_equal_those_of_sentencepiece() {
    let golden_ids: Value =
        serde_json::from_slice(&std::fs::read(Path::new(GOLDEN).join("ids.json")).unwrap()).unwrap();
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for (name, cases) in golden_ids.as_object().unwrap() {
        for file in NAMES {
            let known = tokenizer(&golden(name), file).unwrap();
            for case in cases.as_array().unwrap() {
                let text = case["text"].as_str().unwrap();
                let wanted: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
                let (got, real) = known.encode_counted(text, 2000).unwrap();
                compared += 1;
                if got[..real] != wanted {
                    wrong.push(format!("{name} {text:?}:\n   got {:?}\nwanted {wanted:?}", &got[..real]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared >= 180, "the golden file is whole");
}

#[test]
fn lengths_and_unknown_words_are_as_with_any_other_tokenizer() {
    let known = tokenizer(&golden("unigram"), NAMES[0]).unwrap();
    let (ids, real) = known.encode_counted("a red fox in the snow", 4).unwrap();
    assert_eq!((ids.len(), real, ids[3]), (4, 4, 1), "a long text loses its tail, not its end");
    let (ids, real) = known.encode_counted("a", 9).unwrap();
    assert!(ids[real - 1] == 1 && ids[real..].iter().all(|id| *id == 0), "{ids:?}");
    let words = known.unknown_words("a red ωmega fox, 🦊 and  Ωmega sign\u{e5}ψ! ωmega").unwrap();
    assert_eq!(words, ["ωmega", "signåψ"]);
    assert_eq!(known.unknown_words("a red fox").unwrap(), [""; 0]);
    // one that falls back on bytes knows everything
    assert_eq!(tokenizer(&golden("bpe"), NAMES[1]).unwrap().unknown_words("ωmega 🦊").unwrap(), [""; 0]);
}

/// What protobuf says of a piece.
fn piece(text: &[u8], score: f32, kind: u8) -> Vec<u8> {
    let inner = [&[0x0a, text.len() as u8], text, &[0x15], &score.to_le_bytes(), &[0x18, kind]].concat();
    [&[0x0a, inner.len() as u8][..], &inner].concat()
}

#[test]
fn files_that_are_wrong_are_refused_in_words() {
    let frame = [piece(b"<unk>", 0.0, 2), piece(b"</s>", 0.0, 3)].concat();
    let with = |more: &[u8]| [&frame, more].concat();
    let charsmap = |bytes: &[u8]| {
        let inner = [&[0x12, bytes.len() as u8], bytes].concat();
        with(&[&[0x1a, inner.len() as u8][..], &inner].concat())
    };
    for (bytes, said) in [
        (Vec::new(), "no pieces"),
        (b"{\"version\": \"1.0\"}".to_vec(), "cut short, or not a file of sentencepiece's"),
        (golden("bpe")[..golden("bpe").len() / 2].to_vec(), "cut short"),
        (piece(b"</s>", 0.0, 3), "no piece stands for the unknown"),
        (piece(b"<unk>", 0.0, 2), "it has no </s>"),
        (with(&piece(b"<u>", 0.0, 2)), "two pieces stand for the unknown"),
        (with(&[piece(b"a", 0.0, 1), piece(b"a", -1.0, 1)].concat()), "\"a\" is there twice"),
        (with(&piece(b"</s>", 0.0, 3)), "\"</s>\" is there twice"),
        (with(&piece(b"", 0.0, 1)), "a piece is empty"),
        (with(&piece(b"\xff", 0.0, 1)), "not UTF-8"),
        (with(&piece(b"a", f32::NAN, 1)), "is not a number"),
        (with(&piece(b"a", 0.0, 7)), "of kind 7"),
        (with(&piece(b"a", 0.0, 6)), "is not a byte"),
        (with(&[0x0a, 0]), "a piece has no text"),
        (with(&[0x12, 2, 0x18, 3]), "its model is of kind 3"),
        (with(&[0x12, 3, 0x98, 0x02, 1]), "lacks some of the 256"),
        (charsmap(&[1]), "table of characters is cut short"),
        (charsmap(&[9, 0, 0, 0, 1]), "table of characters is cut short"),
        (charsmap(&[2, 0, 0, 0, 1, 1]), "table of characters is damaged"),
        (charsmap(&[4, 0, 0, 0, 1, 1, 1, 1, 0xff]), "that are not UTF-8"),
    ] {
        let error = tokenizer(&bytes, NAMES[0]).err().unwrap();
        let told = error.to_string();
        assert!(matches!(error, Error::Damaged { .. }) && told.contains("spiece.model"), "{told}");
        assert!(told.contains(said), "{told}: expected {said}");
    }
}

/// Any byte may be another: there is an error, or ids, and nothing panics or runs away.
#[test]
fn hostile_files_give_errors_or_ids() {
    let text = "A red fox,\tﬁne ① cafe\u{301} 猫 <keep> \u{0} 🦊";
    let mut read = 0;
    for name in ["unigram", "merges"] {
        let whole = golden(name);
        for (step, place) in (0..whole.len()).step_by(13).enumerate() {
            for value in [0, 0xff, whole[place] ^ 1 << (step % 8)] {
                let mut bytes = whole.clone();
                bytes[place] = value;
                let Ok(known) = tokenizer(&bytes, NAMES[0]) else { continue };
                let (ids, real) = known.encode_counted(text, 2000).unwrap();
                assert!(ids.len() == 2000 && real <= 2000);
                known.unknown_words(text).unwrap();
                read += 1;
            }
        }
    }
    assert!(read > 100, "{read}: most of a file is names and scores");
}

#[test]
fn a_checkpoint_may_have_this_file_alone_and_tokenizer_json_goes_first() {
    let folder = tiny::of(Variant::FLite).tempdir();
    let path = |name: &str| folder.path().join("tokenizer").join(name);
    let call = Call { steps: 1, ..Variant::FLite.call() };
    let picture = || draw(&*open_in(folder.path(), Some(DType::F32)).unwrap(), &call);
    let first = picture();
    std::fs::write(path(NAMES[0]), golden("unigram")).unwrap();
    assert_eq!(picture(), first, "what is fuller is read");
    std::fs::remove_file(path("tokenizer.json")).unwrap();
    assert_ne!(picture(), first);
    std::fs::remove_file(path(NAMES[0])).unwrap();
    let error = open_in(folder.path(), None).err().unwrap();
    assert!(error.is_checkpoint() && error.to_string().contains("tokenizer.json"), "{error}");
}
