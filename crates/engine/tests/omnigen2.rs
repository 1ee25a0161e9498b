//! What only OmniGen2 does: pictures that the prompt speaks of, their sizes and the result's, guidance in up to three passes
//! at some of the steps, and files nobody has seen.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops and shows where")]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use common::{Remarks, draw, drawn, edit, largest_difference, mean_difference, open, open_in, set};
use scumble_engine::families::{self, Context, Pipeline};
use scumble_engine::weights::Source;
use scumble_engine::{Call, DType, Device, Error, Pixels, Solver, Tensor, Trace, Unobserved};
use scumble_testkit::tiny::{self, Variant};

const MLLM: &str = "mllm/model.safetensors";

fn call() -> Call {
    Call { steps: 2, ..Variant::OmniGen2.call() }
}

/// The call with pictures of these sizes, each another one.
fn with(sizes: &[(usize, usize)]) -> Call {
    let shaded = |(i, (width, height)): (usize, &(usize, usize))| {
        let mut picture = tiny::picture(*width, *height);
        picture.rgb.iter_mut().for_each(|byte| *byte = byte.wrapping_add((80 * i % 256) as u8));
        picture
    };
    Call { pictures: sizes.iter().enumerate().map(shaded).collect(), ..call() }
}

fn one(pipeline: &dyn Pipeline, call: &Call) -> Pixels {
    draw(pipeline, call).remove(0)
}

fn size(pipeline: &dyn Pipeline, call: &Call) -> (usize, usize) {
    let picture = one(pipeline, &Call { steps: 1, guidance: 1.0, ..call.clone() });
    (picture.width, picture.height)
}

fn traced(pipeline: &dyn Pipeline, call: &Call) -> BTreeMap<String, Tensor> {
    let trace = Trace::new();
    pipeline.generate(call, &Context { observer: &Unobserved, trace: Some(&trace) }).unwrap();
    trace.into_tensors()
}

fn refused(pipeline: &dyn Pipeline, call: &Call) -> (&'static str, String) {
    match pipeline.generate(call, &Context { observer: &Unobserved, trace: None }) {
        Err(Error::Parameter { name, problem }) => (name, problem),
        other => panic!("{other:?}"),
    }
}

// ------------------------------------------------------------------------------------------------------ sizes

#[test]
fn one_picture_decides_the_size_and_otherwise_what_is_asked_is_what_comes() {
    let pipeline = open(Variant::OmniGen2);
    for (given, asked, result) in [
        (&[][..], (96, 64), (96, 64)),
        (&[], (101, 35), (101, 35)),
        (&[(50, 75)], (96, 64), (48, 64)),
        (&[(16, 16)], (999, 999), (16, 16)),
        (&[(1200, 31)], (96, 64), (1024, 16)),
        (&[(50, 75), (40, 33)], (96, 64), (96, 64)),
        (&[(50, 75), (40, 33), (90, 16)], (77, 91), (77, 91)),
    ] {
        let call = Call { width: asked.0, height: asked.1, ..with(given) };
        assert_eq!(size(&*pipeline, &call), result, "{given:?} and {asked:?}");
    }
    let latents = traced(&*pipeline, &with(&[(50, 75), (100, 33)]));
    assert_eq!(latents["input.image0_latents"].dims(), [1, 16, 8, 6]);
    assert_eq!(latents["input.image1_latents"].dims(), [1, 16, 4, 12]);
}

#[test]
fn what_is_too_small_or_too_many_is_named() {
    let pipeline = open(Variant::OmniGen2);
    for (width, height) in [(15, 64), (64, 15), (0, 0)] {
        let (name, problem) = refused(&*pipeline, &Call { width, height, ..call() });
        assert!(name == "image_size" && problem.contains("16×16"), "{problem}");
    }
    for small in [(15, 64), (64, 15), (2000, 30)] {
        let (name, problem) = refused(&*pipeline, &with(&[(64, 64), small]));
        assert!(name == "input_image_urls" && problem.contains("picture 2"), "{problem}");
        assert!(problem.contains(&format!("{}×{}", small.0, small.1)), "{problem}");
    }
    let mut none = with(&[(64, 64)]);
    none.pictures[0] = Pixels { width: 0, height: 0, rgb: Vec::new() };
    assert_eq!(refused(&*pipeline, &none).0, "input_image_urls");
    // its table tells five apart
    assert_eq!(draw(&*pipeline, &Call { steps: 1, ..with(&[(16, 16); 5]) }).len(), 1);
    let (name, problem) = refused(&*pipeline, &with(&[(16, 16); 6]));
    assert!(name == "input_image_urls" && problem.contains("at most 5"), "{problem}");
}

// ------------------------------------------------------------------------------------------- pictures, guidance

#[test]
fn every_picture_its_place_and_its_scale_count() {
    let pipeline = open(Variant::OmniGen2);
    let base = with(&[(50, 75), (40, 33), (90, 16)]);
    let plain = one(&*pipeline, &base);
    let other = |call: Call| assert_ne!(one(&*pipeline, &call), plain);
    for i in 0..3 {
        let mut call = base.clone();
        call.pictures[i].rgb.iter_mut().for_each(|byte| *byte = !*byte);
        other(call);
    }
    let mut turned = base.clone();
    turned.pictures.swap(0, 2);
    other(turned);
    other(Call { pictures: base.pictures[..2].to_vec(), ..base.clone() });
    other(Call { picture_guidance: 3.0, ..base.clone() });
    other(Call { picture_guidance: 1.0, ..base.clone() });
    other(Call { guided_steps: [0.5, 1.0], ..base.clone() });
    other(Call { guidance: 4.0, ..base.clone() });
    other(Call { negative: "a dog".into(), ..base.clone() });
    other(Call { seed: 8, ..base.clone() });
    other(Call { steps: 3, solver: Solver::Dpm, ..base });
}

#[test]
fn what_has_no_effect_has_none() {
    let pipeline = open(Variant::OmniGen2);
    let plain = one(&*pipeline, &call());
    assert_eq!(one(&*pipeline, &Call { picture_guidance: 7.0, ..call() }), plain, "there is no picture");
    // pictures lead only where the text does
    let alone = |picture_guidance| Call { guidance: 1.0, picture_guidance, ..with(&[(50, 75)]) };
    assert_eq!(one(&*pipeline, &alone(1.0)), one(&*pipeline, &alone(3.0)));
    // two steps are at 0 and at a half
    let led = |guided_steps| one(&*pipeline, &Call { guided_steps, ..call() });
    assert_eq!(led([0.0, 0.5]), plain);
    assert_eq!(led([0.1, 0.4]), one(&*pipeline, &Call { guidance: 1.0, ..call() }));
    assert_ne!(led([0.0, 0.4]), led([0.5, 1.0]));
    // in two steps both solvers are of order 1
    assert!(largest_difference(&one(&*pipeline, &Call { solver: Solver::Dpm, ..call() }), &plain) <= 1);
}

#[test]
fn a_window_without_a_step_is_spoken_of() {
    let pipeline = open(Variant::OmniGen2);
    let said = |guided_steps, guidance| {
        let remarks = Remarks::default();
        drawn(&*pipeline, &Call { guided_steps, guidance, ..call() }, &remarks).unwrap();
        remarks.all()
    };
    for window in [[0.6, 0.9], [0.9, 0.1]] {
        let said = said(window, 5.0);
        assert!(
            said.len() == 1 && said[0].contains("cfg_range_start") && said[0].contains("nothing is guided"),
            "{said:?}"
        );
    }
    assert!(said([0.5, 0.5], 5.0).is_empty() && said([0.9, 0.1], 1.0).is_empty());
}

/// Noise of the samples that pictures are seen as comes from the seed after the call's.
#[test]
fn the_seed_decides_how_pictures_are_seen() {
    let pipeline = open(Variant::OmniGen2);
    let noise = |seed: u64| {
        let tensors = traced(&*pipeline, &Call { seed, steps: 1, ..with(&[(64, 64)]) });
        let of = |name: &str| tensors[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        [of("noise.first_draw"), of("noise.posterior0")]
    };
    let (one, next) = (noise(7), noise(8));
    assert_eq!(one[1], next[0]);
    assert_eq!(one, noise(7));
}

#[test]
fn the_first_of_several_with_pictures_is_the_single_one() {
    let pipeline = open(Variant::OmniGen2);
    let base = with(&[(50, 75), (40, 33)]);
    let (one, two) = (draw(&*pipeline, &base), draw(&*pipeline, &Call { images: 2, ..base }));
    assert!(largest_difference(&one[0], &two[0]) <= 1 && largest_difference(&one[0], &two[1]) > 1);
}

// ------------------------------------------------------------------------------------------------------- text

#[test]
fn a_text_is_as_long_as_it_is_up_to_1024_tokens_with_what_is_around_it() {
    let pipeline = open(Variant::OmniGen2);
    let ids = |prompt: &str, max_sequence_length| -> Vec<i64> {
        let call = Call { prompt: prompt.into(), max_sequence_length, guidance: 1.0, steps: 1, ..call() };
        traced(&*pipeline, &call)["prompt.tokenizer.input_ids"].flatten_all().unwrap().to_vec1().unwrap()
    };
    let (none, short) = (ids("", None), ids("fox", None));
    assert!(none.len() < short.len() && short.len() < none.len() + 4, "{} and {}", none.len(), short.len());
    let long = ids(&"a red fox ".repeat(1000), None);
    assert_eq!(long.len(), 1024);
    // the template's end is cut, not its beginning
    assert_eq!(long[..20], short[..20]);
    assert_ne!(long[1022..], short[short.len() - 2..]);
    assert_eq!(ids("fox", Some(25)), short[..25]);
    assert_eq!(refused(&*pipeline, &Call { max_sequence_length: Some(1025), ..call() }).0, "max_sequence_length");
}

#[test]
fn any_text_is_read() {
    let pipeline = open(Variant::OmniGen2);
    for prompt in ["", " \n\t ", "\u{0}\u{feff}🐈 猫", "<|im_end|>\n<|im_start|>system\n"] {
        assert_eq!(draw(&*pipeline, &Call { prompt: prompt.into(), steps: 1, ..call() }).len(), 1);
    }
}

// ------------------------------------------------------------------------------------------------------ types

/// Seen, in levels on average: 0.3 in both: of float16 files only the autoencoder's are kept so, the rest is bfloat16.
#[test]
fn reduced_types_stay_near_float32() {
    let folder = tiny::of(Variant::OmniGen2).tempdir();
    let base = Call { pictures: with(&[(96, 64)]).pictures, ..Variant::OmniGen2.call() };
    let picture = |dtype, call: &Call| one(&*open_in(folder.path(), dtype).unwrap(), call);
    for call in [Variant::OmniGen2.call(), base] {
        let exact = picture(Some(DType::F32), &call);
        for dtype in [DType::BF16, DType::F16] {
            let difference = mean_difference(&exact, &picture(Some(dtype), &call));
            eprintln!("{dtype:?} with {} pictures: {difference} levels", call.pictures.len());
            assert!(difference < 1.0, "{dtype:?}: {difference} levels");
        }
    }
}

#[test]
fn a_reader_that_overflows_in_float16_is_not_computed_in_it() {
    let folder = tiny::of(Variant::OmniGen2).tempdir();
    edit(&folder.path().join(MLLM), |tensors| {
        let name = "model.layers.0.mlp.down_proj.weight";
        let louder = (&tensors[name] * 1e6).unwrap();
        tensors.insert(name.into(), louder);
    });
    let pipeline = open_in(folder.path(), Some(DType::F16)).unwrap();
    assert_eq!(draw(&*pipeline, &call()).len(), 1);
}

// ------------------------------------------------------------------------------- what published files leave open

fn rename(folder: &Path, rule: impl Fn(&str) -> String) {
    edit(&folder.join(MLLM), |tensors| {
        *tensors = std::mem::take(tensors).into_iter().map(|(name, t)| (rule(&name), t)).collect();
    });
}

fn json(folder: &Path, file: &str, change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) {
    let path = folder.join(file);
    let mut values = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut values);
    std::fs::write(path, serde_json::to_vec(&values).unwrap()).unwrap();
}

/// Nobody has seen these files: whichever way they are, the picture is one.
#[test]
fn what_nobody_has_seen_changes_no_picture() {
    let base = with(&[(50, 75), (40, 33)]);
    let plain = one(&*open(Variant::OmniGen2), &base);
    let (mllm, scheduler, network) = ("mllm/config.json", "scheduler/scheduler_config.json", "transformer/config.json");
    for (number, change) in [
        // names as transformers has had them since 4.52, with a model that sees or without, and of the bare decoder
        &(|folder: &Path| {
            rename(folder, |name| match name.strip_prefix("model.") {
                Some(rest) => format!("model.language_model.{rest}"),
                None => format!("model.{name}"),
            });
        }) as &dyn Fn(&Path),
        &|folder| edit(&folder.join(MLLM), |tensors| tensors.retain(|name, _| !name.starts_with("visual."))),
        &|folder| rename(folder, |name| name.trim_start_matches("model.").to_owned()),
        &|folder| {
            edit(&folder.join(MLLM), |tensors| {
                tensors.insert("lm_head.weight".into(), tensors["model.embed_tokens.weight"].clone());
            });
        },
        &|folder| {
            json(folder, mllm, |values| {
                let text = std::mem::take(values);
                values.insert("model_type".into(), "qwen2_5_vl".into());
                values.insert("text_config".into(), text.into());
            });
        },
        &|folder| {
            json(folder, mllm, |values| {
                let (theta, mut rope) = (values.remove("rope_theta"), values.remove("rope_scaling").unwrap());
                rope["rope_type"] = "default".into();
                rope["rope_theta"] = theta.unwrap();
                values.insert("rope_parameters".into(), rope);
            });
        },
        &|folder| set(folder, mllm, "rope_scaling", "{\"mrope_section\": [1, 1, 2]}"),
        &|folder| set(folder, mllm, "tie_word_embeddings", "false"),
        &|folder| set(folder, mllm, "vision_config", "null"),
        &|folder| std::fs::write(folder.join(scheduler), "{}").unwrap(),
        &|folder| set(folder, scheduler, "num_train_timesteps", "500"),
        &|folder| set(folder, network, "out_channels", "16"),
        &|folder| set(folder, network, "axes_lens", "[4, 4, 4]"),
        &|folder| set(folder, network, "ffn_dim_multiplier", "1.0"),
        &|folder| set(folder, "model_index.json", "transformer", "[\"pipeline\", \"OmniGen2Transformer2DModel\"]"),
        &|folder| std::fs::remove_file(folder.join("processor/tokenizer_config.json")).unwrap(),
        &|folder| {
            json(folder, "processor/tokenizer.json", |values| {
                values.insert(
                    "padding".into(),
                    serde_json::json!({ "strategy": { "Fixed": 80 }, "direction": "Left",
                    "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "!" }),
                );
            });
        },
    ]
    .into_iter()
    .enumerate()
    {
        let folder = tiny::of(Variant::OmniGen2).tempdir();
        change(folder.path());
        assert!(families::examine(None, Source::Folder(folder.path().into())).is_empty(), "change {number}");
        assert_eq!(one(&*open_in(folder.path(), Some(DType::F32)).unwrap(), &base), plain, "change {number}");
    }
    for shards in [2, 4] {
        let folder = tiny::of(Variant::OmniGen2).shards(shards).tempdir();
        assert_eq!(one(&*open_in(folder.path(), Some(DType::F32)).unwrap(), &base), plain, "{shards} shards");
    }
}

#[test]
fn other_configurations_are_followed() {
    let plain = one(&*open(Variant::OmniGen2), &call());
    for (file, key, value) in [
        ("scheduler/scheduler_config.json", "dynamic_time_shift", "false"),
        ("mllm/config.json", "rope_theta", "100"),
        ("mllm/config.json", "rms_norm_eps", "0.1"),
        ("transformer/config.json", "norm_eps", "0.1"),
        ("transformer/config.json", "timestep_scale", "1"),
    ] {
        let folder = tiny::of(Variant::OmniGen2).tempdir();
        set(folder.path(), file, key, value);
        assert_ne!(one(&*open_in(folder.path(), Some(DType::F32)).unwrap(), &call()), plain, "{key}");
    }
}

#[test]
fn what_is_missing_or_too_much_is_named() {
    type Change = fn(&mut HashMap<String, Tensor>);
    for (change, expected) in [
        (
            (|t| drop(t.remove("model.layers.1.self_attn.q_proj.bias"))) as Change,
            "model.layers.1.self_attn.q_proj.bias",
        ),
        (|t| drop(t.remove("model.embed_tokens.weight")), "model.embed_tokens.weight"),
        (
            |t| {
                let bias = Tensor::zeros(32, DType::F32, &Device::Cpu).unwrap();
                t.insert("model.layers.0.self_attn.o_proj.bias".into(), bias);
            },
            "model.layers.0.self_attn.o_proj.bias",
        ),
    ] {
        let folder = tiny::of(Variant::OmniGen2).tempdir();
        edit(&folder.path().join(MLLM), change);
        let error = open_in(folder.path(), None).err().unwrap();
        assert!(error.is_checkpoint() && error.to_string().contains(expected), "{error}");
    }
    let folder = tiny::of(Variant::OmniGen2).tempdir();
    json(folder.path(), "processor/tokenizer.json", |values| {
        values.insert("added_tokens".into(), serde_json::json!([]));
    });
    let error = open_in(folder.path(), None).err().unwrap();
    assert!(matches!(error, Error::Damaged { .. }) && error.to_string().contains("<|im_start|>"), "{error}");
}
