//! Both tokenizers against transformers, on prompts that people and machines really send.
//!
//! `golden/tokens.json` is made by `golden/make_tokens.py`.

use scumble_engine::tokenize::{ClipTokenizer, T5Tokenizer};
use scumble_engine::weights::{Checkpoint, Source};
use scumble_testkit::tiny::{self, Variant};
use serde_json::Value;

#[test]
fn token_ids_equal_those_of_transformers() {
    let folder = tiny::of(Variant::Schnell).tempdir();
    let checkpoint = Checkpoint::open(Source::Folder(folder.path().into())).expect("the tiny checkpoint");
    let clip = ClipTokenizer::load(&checkpoint, "tokenizer").expect("a CLIP tokenizer");
    let t5 = T5Tokenizer::load(&checkpoint, "tokenizer_2").expect("a T5 tokenizer");
    let cases: Vec<Value> = serde_json::from_str(include_str!("golden/tokens.json")).expect("the golden file");
    let mut wrong = Vec::new();
    for case in &cases {
        let prompt = case["prompt"].as_str().expect("a text");
        let (clip_ids, t5_ids) = (ids(&case["clip"]), ids(&case["t5"]));
        let got = clip.encode(prompt).expect("ids");
        if got != clip_ids {
            wrong.push(format!("CLIP {prompt:?}:\n   got {got:?}\nwanted {clip_ids:?}"));
        }
        let got = t5.encode(prompt, t5_ids.len()).expect("ids");
        if got != t5_ids {
            wrong.push(format!("T5 {prompt:?}:\n   got {got:?}\nwanted {t5_ids:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases.len() >= 20, "the golden file is whole");
}

fn ids(list: &Value) -> Vec<u32> {
    serde_json::from_value(list.clone()).expect("a list of ids")
}
