//! What only F-Lite does: no text instead of an empty one, projected guidance, tables of positions that a file may hold or
//! not, and configurations nobody has seen.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops and shows where")]

mod common;

use std::path::Path;

use common::{draw, edit, largest_difference, mean_difference, open, open_in, set};
use scumble_engine::families::{self, Context, Pipeline};
use scumble_engine::rng::Generator;
use scumble_engine::weights::Source;
use scumble_engine::{Call, DType, Device, Error, Pixels, Tensor, Trace, Unobserved};
use scumble_testkit::tiny::{self, Variant};

const NETWORK: &str = "dit_model/diffusion_pytorch_model.safetensors";
const CONFIG: &str = "dit_model/config.json";

fn call() -> Call {
    Call { steps: 2, ..Variant::FLite.call() }
}

/// One picture from a checkpoint that was changed.
fn changed(change: impl FnOnce(&Path)) -> Pixels {
    let folder = tiny::of(Variant::FLite).tempdir();
    change(folder.path());
    draw(&*open_in(folder.path(), Some(DType::F32)).unwrap(), &call()).remove(0)
}

fn text_states(pipeline: &dyn Pipeline, call: &Call) -> Tensor {
    let trace = Trace::new();
    pipeline.generate(call, &Context { observer: &Unobserved, trace: Some(&trace) }).unwrap();
    trace.into_tensors().remove("step0.transformer.in.encoder_hidden_states").unwrap()
}

fn largest(x: &Tensor) -> f32 {
    x.abs().unwrap().max_all().unwrap().to_scalar().unwrap()
}

// ------------------------------------------------------------------------------------------------ text, guidance

#[test]
fn no_negative_prompt_is_zeros_and_spaces_are_a_text() {
    let pipeline = open(Variant::FLite);
    let of = |negative: &str| text_states(&*pipeline, &Call { negative: negative.into(), steps: 1, ..call() });
    let none = of("");
    assert_eq!(none.dims(), [2, 512, 24], "padding is part of what is seen");
    assert_eq!(largest(&none.narrow(0, 0, 1).unwrap()), 0.0);
    assert!(largest(&none.narrow(0, 1, 1).unwrap()) > 0.0);
    assert!(largest(&of(" ").narrow(0, 0, 1).unwrap()) > 0.0);
}

#[test]
fn the_text_may_be_shorter_than_it_was_in_training_but_not_longer() {
    let pipeline = open(Variant::FLite);
    let with = |length| Call { max_sequence_length: Some(length), ..call() };
    assert_eq!(text_states(&*pipeline, &with(40)).dims(), [2, 40, 24]);
    assert_ne!(draw(&*pipeline, &with(40)), draw(&*pipeline, &with(512)));
    assert_eq!(draw(&*pipeline, &call()), draw(&*pipeline, &with(512)));
    let refused = pipeline.generate(&with(513), &Context { observer: &Unobserved, trace: None });
    assert!(matches!(refused, Err(Error::Parameter { name: "max_sequence_length", .. })), "{refused:?}");
}

#[test]
fn projected_guidance_is_another_and_means_nothing_without_guidance() {
    let pipeline = open(Variant::FLite);
    let with = |apg, guidance| draw(&*pipeline, &Call { apg, guidance, ..call() }).remove(0);
    assert!(largest_difference(&with(None, 6.0), &with(Some(0.03), 6.0)) > 1);
    assert!(largest_difference(&with(Some(0.01), 6.0), &with(Some(0.03), 6.0)) > 0);
    assert_eq!(with(None, 1.0), with(Some(0.03), 1.0));
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let refused =
            pipeline.generate(&Call { apg: Some(bad), ..call() }, &Context { observer: &Unobserved, trace: None });
        assert!(matches!(refused, Err(Error::Parameter { name: "apg", .. })), "{bad}: {refused:?}");
    }
}

/// Each picture is limited by itself, so that the first of several is the single one.
#[test]
fn projected_guidance_does_not_couple_pictures() {
    let pipeline = open(Variant::FLite);
    let of = |images| draw(&*pipeline, &Call { images, apg: Some(0.03), ..call() });
    let (one, three) = (of(1), of(3));
    assert_eq!(three.len(), 3);
    assert!(largest_difference(&one[0], &three[0]) <= 1);
    assert!(largest_difference(&one[0], &three[1]) > 1 && largest_difference(&three[1], &three[2]) > 1);
}

// ------------------------------------------------------------------------------------------------------ sizes

/// Rows and columns turn different numbers, so a grid is not its transpose; the longest side is 8192.
#[test]
fn sizes_are_multiples_of_sixteen_up_to_the_table() {
    let pipeline = open(Variant::FLite);
    assert_eq!((pipeline.sizes().multiple, pipeline.sizes().longest), (16, Some(8192)));
    for (width, height) in [(16, 16), (16, 112), (208, 31), (111, 79)] {
        let picture = draw(&*pipeline, &Call { width, height, steps: 1, ..call() }).remove(0);
        assert_eq!((picture.width, picture.height), (width / 16 * 16, height / 16 * 16));
    }
    for (width, height) in [(8208, 16), (16, 9000), (15, 64)] {
        let refused =
            pipeline.generate(&Call { width, height, ..call() }, &Context { observer: &Unobserved, trace: None });
        assert!(matches!(refused, Err(Error::Parameter { name: "image_size", .. })), "{width}×{height}: {refused:?}");
    }
}

// ------------------------------------------------------------------------------- what published files leave open

/// Tables of positions as the authors' code makes them, in the file's type.
fn add_tables(folder: &Path, dtype: DType) {
    let frequencies: Vec<f32> = (0..4).map(|i| 10000f64.powf(-f64::from(2 * i) / 8.0) as f32).collect();
    let angle = |place: usize, i: usize| {
        let (row, column) = (place / 512, place % 512);
        (if i < 4 { row } else { column }) as f32 * frequencies[i % 4]
    };
    let table = |of: fn(f32) -> f32| {
        let values: Vec<f32> =
            (0..512 * 512).flat_map(|place| (0..8).map(move |i| (place, i))).map(|(p, i)| of(angle(p, i))).collect();
        Tensor::from_vec(values, (512, 512, 8), &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
    };
    edit(&folder.join(NETWORK), |tensors| {
        tensors.insert("rope.freqs_hw_cos".into(), table(f32::cos));
        tensors.insert("rope.freqs_hw_sin".into(), table(f32::sin));
    });
}

#[test]
fn tables_of_positions_may_be_stored_and_are_used_with_their_rounding() {
    let plain = draw(&*open(Variant::FLite), &call()).remove(0);
    let exact = changed(|folder| add_tables(folder, DType::F32));
    assert!(largest_difference(&plain, &exact) <= 1);
    // in a picture this small angles are small too: the rounding shows in a few levels
    let rounded = changed(|folder| add_tables(folder, DType::BF16));
    assert!(plain != rounded && mean_difference(&plain, &rounded) < 3.0, "{}", mean_difference(&plain, &rounded));
    // what is in the file counts
    let other = changed(|folder| {
        add_tables(folder, DType::F32);
        edit(&folder.join(NETWORK), |tensors| {
            let turned = tensors["rope.freqs_hw_sin"].neg().unwrap();
            tensors.insert("rope.freqs_hw_sin".into(), turned);
        });
    });
    assert!(largest_difference(&plain, &other) > 1);
}

#[test]
fn a_table_that_is_half_there_or_of_another_size_is_an_error() {
    for (change, expected) in [
        (
            (|t: &mut std::collections::HashMap<String, Tensor>| drop(t.remove("rope.freqs_hw_sin"))) as fn(&mut _),
            "rope.freqs_hw_sin",
        ),
        (
            |t| {
                let cut = t["rope.freqs_hw_cos"].narrow(0, 0, 256).unwrap().contiguous().unwrap();
                t.insert("rope.freqs_hw_cos".into(), cut);
            },
            "rope.freqs_hw_cos",
        ),
    ] {
        let folder = tiny::of(Variant::FLite).tempdir();
        add_tables(folder.path(), DType::BF16);
        edit(&folder.path().join(NETWORK), change);
        let error = open_in(folder.path(), None).err().unwrap();
        assert!(matches!(error, Error::MissingTensor { .. } | Error::Misshapen { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(families::examine(None, Source::Folder(folder.path().into())).len(), 1);
    }
}

/// Nobody has seen these files: whichever way they are, the picture is one.
#[test]
fn what_nobody_has_seen_changes_no_picture() {
    let plain = draw(&*open(Variant::FLite), &call()).remove(0);
    let tokenizer = "tokenizer/tokenizer_config.json";
    for change in [
        &(|folder: &Path| set(folder, CONFIG, "dynamic_softmax_temperature", "true")) as &dyn Fn(&Path),
        &|folder| set(folder, CONFIG, "gradient_checkpoint", "true"),
        &|folder| set(folder, CONFIG, "unknown_to_anybody", "7"),
        &|folder| set(folder, CONFIG, "use_rope", "null"),
        &|folder| set(folder, CONFIG, "mlp_ratio", "4"),
        &|folder| set(folder, "model_index.json", "dit_model", r#"["pipeline", "DiT"]"#),
        &|folder| set(folder, tokenizer, "model_max_length", "1e30"),
        &|folder| set(folder, tokenizer, "padding_side", "\"left\""),
        &|folder| std::fs::remove_file(folder.join(tokenizer)).unwrap(),
        // the same tensor under its second name
        &|folder| {
            edit(&folder.join("text_encoder/model.safetensors"), |tensors| {
                tensors.insert("encoder.embed_tokens.weight".into(), tensors["shared.weight"].clone());
            });
        },
        // the blocks of the text encoder that nobody computes
        &|folder| {
            edit(&folder.join("text_encoder/model.safetensors"), |tensors| {
                for (_, tensor) in tensors.iter_mut().filter(|(name, _)| name.starts_with("encoder.block.2.")) {
                    *tensor = (&*tensor * f64::NAN).unwrap();
                }
            });
        },
        // the first block keeps its own values, whatever its share says
        &|folder| {
            edit(&folder.join(NETWORK), |tensors| {
                let share = tensors["blocks.0.self_attn.lambda_param"].zeros_like().unwrap();
                tensors.insert("blocks.0.self_attn.lambda_param".into(), share);
            });
        },
    ] {
        assert_eq!(changed(change), plain);
    }
    let share = |folder: &Path| {
        edit(&folder.join(NETWORK), |tensors| {
            let share = tensors["blocks.1.self_attn.lambda_param"].zeros_like().unwrap();
            tensors.insert("blocks.1.self_attn.lambda_param".into(), share);
        });
    };
    assert_ne!(changed(share), plain, "a later block's share counts");
}

/// Texture's configuration is not published: every switch that the code of the model has is followed.
#[test]
fn other_configurations_are_followed() {
    let plain = draw(&*open(Variant::FLite), &call()).remove(0);
    let lambdas = |name: &str| name.ends_with("lambda_param");
    let unmixed = changed(|folder| {
        set(folder, CONFIG, "residual_v", "false");
        edit(&folder.join(NETWORK), |tensors| tensors.retain(|name, _| !lambdas(name)));
    });
    let kept = changed(|folder| {
        edit(&folder.join(NETWORK), |tensors| {
            for (_, tensor) in tensors.iter_mut().filter(|(name, _)| lambdas(name)) {
                *tensor = tensor.ones_like().unwrap();
            }
        });
    });
    assert!(largest_difference(&unmixed, &kept) <= 1, "a share of one is all of a block's own");
    assert!(largest_difference(&unmixed, &plain) > 1);
    assert_ne!(changed(|folder| set(folder, CONFIG, "rope_base", "100")), plain);

    let trained = |gain: f64, bias: f64| {
        changed(|folder| {
            set(folder, CONFIG, "train_bias_and_rms", "true");
            edit(&folder.join(NETWORK), |tensors| add_trained(tensors, gain, bias));
        })
    };
    assert!(largest_difference(&trained(1.0, 0.0), &plain) <= 1, "gains of one and biases of zero change nothing");
    assert!(largest_difference(&trained(1.1, 0.0), &plain) > 1);
    assert!(largest_difference(&trained(1.0, 0.5), &plain) > 1);
}

/// What a model with trained norms and biases has besides.
fn add_trained(tensors: &mut std::collections::HashMap<String, Tensor>, gain: f64, bias: f64) {
    let mut put = |name: String, width: usize, value: f64| {
        let noise = Generator::new(5).noise(&[width]).unwrap();
        let small = (noise * if value == 0.0 || value == 1.0 { 0.0 } else { 0.05 }).unwrap();
        tensors.insert(name, (small + value).unwrap());
    };
    put("final_norm.weight".into(), 48, gain);
    for i in 0..3 {
        (1..=3).for_each(|norm| put(format!("blocks.{i}.norm{norm}.weight"), 48, gain));
        put(format!("blocks.{i}.self_attn.qkv.bias"), 144, bias);
        put(format!("blocks.{i}.cross_attn.q.bias"), 48, bias);
        put(format!("blocks.{i}.cross_attn.context_kv.bias"), 96, bias);
    }
}

/// The published files come in two shards; any number of them is the same model.
#[test]
fn shards_are_one_model() {
    let whole = draw(&*open(Variant::FLite), &call());
    let folder = tiny::of(Variant::FLite).shards(2).tempdir();
    assert_eq!(draw(&*open_in(folder.path(), Some(DType::F32)).unwrap(), &call()), whole);
}
