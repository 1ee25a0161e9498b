//! What is counted of a step is what its sizes say. The count belongs to the process, so this test has one of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops and shows where")]

mod common;

use common::{draw, open_in};
use scumble_engine::nn::multiply_adds;
use scumble_engine::{Call, DType};
use scumble_testkit::tiny::{self, Variant};
use serde_json::Value;

#[test]
fn the_work_of_a_step_is_that_of_its_products() {
    let folder = tiny::of(Variant::Schnell).tempdir();
    let pipeline = open_in(folder.path(), Some(DType::F32)).unwrap();
    let config = std::fs::read_to_string(folder.path().join("transformer/config.json")).unwrap();
    let call = |steps| Call {
        width: 96,
        height: 64,
        images: 1,
        steps,
        max_sequence_length: Some(20),
        ..Variant::Schnell.call()
    };
    let counted = |steps| {
        let before = multiply_adds();
        draw(&*pipeline, &call(steps));
        multiply_adds() - before
    };
    // the words are read once and remembered
    counted(1);
    let (one, three) = (counted(1), counted(3));
    assert_eq!((three - one) / 2, step(&serde_json::from_str(&config).unwrap(), 20, 6 * 4));
    assert_eq!((three - one) % 2, 0);
    let decode = one - (three - one) / 2;
    // its last convolution alone: 3x3, from some channels to three colours
    let channels = 16;
    assert!(decode > 96 * 64 * 9 * channels * 3, "{decode}");
}

/// Multiplications of one step of FLUX with so many text and image tokens, by the definition of its layers.
fn step(config: &Value, text: u64, image: u64) -> u64 {
    let size = |name: &str| config[name].as_u64().unwrap();
    let width = size("num_attention_heads") * size("attention_head_dim");
    let (tokens, square) = (text + image, width * width);
    let condition = 256 * width + size("pooled_projection_dim") * width + 2 * square;
    let inputs = image * size("in_channels") * width + text * size("joint_attention_dim") * width;
    let attention = 2 * tokens * tokens * width;
    let double = 2 * 6 * square + tokens * (3 + 1 + 8) * square + attention;
    let single = 3 * square + tokens * (3 + 4 + 5) * square + attention;
    let output = 2 * square + image * width * size("in_channels");
    condition + inputs + size("num_layers") * double + size("num_single_layers") * single + output
}
