//! What only HiDream-I1 does: Llama from where its owner put it, sizes by area, padding, experts, noise at every step.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops and shows where")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{draw, edit, largest_difference, mean_difference, open, open_in, set};
use scumble_engine::families::{self, Context};
use scumble_engine::weights::{Checkpoint, Precision, Source};
use scumble_engine::{Call, DType, Device, Error, Tensor, Trace, Unobserved};
use scumble_testkit::tiny::{self, Variant};

const FULL: Variant = Variant::HiDreamFull;

fn short() -> Call {
    Call { steps: 2, ..FULL.call() }
}

// ------------------------------------------------------------------------------------------------------ Llama

/// Moves the parts of Llama to a folder beside the checkpoint's, as its own repository has them.
fn move_beside(root: &Path, name: &str) {
    let (weights, other) = (root.join("weights"), root.join(name));
    std::fs::create_dir(&other).unwrap();
    for folder in ["text_encoder_4", "tokenizer_4"] {
        for entry in std::fs::read_dir(weights.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            std::fs::rename(&path, other.join(path.file_name().unwrap())).unwrap();
        }
        std::fs::remove_dir(weights.join(folder)).unwrap();
    }
}

#[test]
fn llama_may_be_in_the_checkpoint_or_beside_it() {
    let plain = draw(&*open(FULL), &short());
    let takes = |folder: &Path| {
        let checkpoint = Checkpoint::open(Source::Folder(folder.into())).unwrap();
        families::footprint(&checkpoint, &Precision { device: Device::Cpu, dtype: None }).unwrap()
    };
    let inside = tiny::of(FULL).tempdir();
    let all = takes(inside.path());

    // the whole of its repository in one folder
    let names = std::fs::read_dir(inside.path().join("tokenizer_4")).unwrap();
    for path in names.map(|entry| entry.unwrap().path()) {
        std::fs::rename(&path, inside.path().join("text_encoder_4").join(path.file_name().unwrap())).unwrap();
    }
    assert_eq!(draw(&*open_in(inside.path(), Some(DType::F32)).unwrap(), &short()), plain);
    assert_eq!(takes(inside.path()), all);

    for name in ["Meta-Llama-3.1-8B-Instruct", "Llama-3.1-8B-Instruct", "llama-3.1-8b-instruct"] {
        let root = tempfile::tempdir().unwrap();
        let weights = root.path().join("weights");
        tiny::of(FULL).write(&weights);
        move_beside(root.path(), name);
        assert_eq!(draw(&*open_in(&weights, Some(DType::F32)).unwrap(), &short()), plain, "{name}");
        assert_eq!(takes(&weights), all, "{name}: its memory counts");
        assert!(families::examine(None, Source::Folder(weights)).is_empty(), "{name}");
    }
}

/// A place that its owner names goes before the others.
#[test]
fn llama_may_be_where_its_owner_says() {
    let plain = draw(&*open(FULL), &short());
    let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let weights = root.path().join("weights");
    tiny::of(FULL).write(&weights);
    let precision = Precision { device: Device::Cpu, dtype: Some(DType::F32) };
    let named = |llama: &Path| {
        Source::of(weights.clone(), None, BTreeMap::from([("text_encoder_4".to_owned(), llama.to_owned())]))
    };
    let takes = |source: Source| families::footprint(&Checkpoint::open(source).unwrap(), &precision).unwrap();
    let all = takes(Source::Folder(weights.clone()));
    // what is in the checkpoint is not fallen back on
    let error = families::open(named(other.path()), &precision).err().unwrap();
    assert!(error.is_checkpoint() && error.to_string().contains(&*other.path().to_string_lossy()), "{error}");

    move_beside(root.path(), "somewhere-else");
    let llama = root.path().join("somewhere-else");
    assert!(families::open(Source::Folder(weights.clone()), &precision).is_err());
    let pipeline = families::open(named(&llama), &precision).unwrap();
    assert_eq!(draw(&*pipeline, &short()), plain);
    assert_eq!(takes(named(&llama)), all, "its memory counts");
    assert!(families::examine(None, named(&llama)).is_empty());
    // and it is found there again
    pipeline.encoders().unwrap().keep(false);
    assert_eq!(draw(&*pipeline, &short()), plain);
}

#[test]
fn without_llama_it_is_said_where_it_goes() {
    let folder = tiny::of(FULL).tempdir();
    std::fs::remove_dir_all(folder.path().join("text_encoder_4")).unwrap();
    let error = open_in(folder.path(), None).err().unwrap();
    let said = error.to_string();
    assert!(error.is_checkpoint() && said.contains("text_encoder_4") && said.contains("tokenizer_4"), "{said}");
    assert!(said.contains("Llama 3.1 8B Instruct") && said.contains("Meta-Llama-3.1-8B-Instruct"), "{said}");
}

/// Nobody has seen these files: whichever way they are, the picture is one.
#[test]
fn what_published_files_leave_open_changes_no_picture() {
    let plain = draw(&*open(FULL), &short());
    let (index, llama, tokenizer) =
        ("model_index.json", "text_encoder_4/config.json", "tokenizer_4/tokenizer_config.json");
    let scheduler = "scheduler/scheduler_config.json";
    let rope = "{\"rope_type\": \"llama3\", \"rope_theta\": 500000.0, \"factor\": 8.0, \"low_freq_factor\": 1.0, \
        \"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 8192}";
    for (number, change) in [
        &(|folder: &Path| set(folder, index, "text_encoder_4", "[null, null]")) as &dyn Fn(&Path),
        &|folder| set(folder, index, "text_encoder_4", "[\"transformers\", \"LlamaForCausalLM\"]"),
        &|folder| set(folder, llama, "rope_scaling", "{\"type\": \"llama3\"}"),
        &|folder| {
            set(folder, llama, "rope_parameters", rope);
            set(folder, llama, "rope_scaling", "null");
            set(folder, llama, "rope_theta", "null");
        },
        &|folder| set(folder, tokenizer, "padding_side", "\"left\""),
        &|folder| set(folder, tokenizer, "pad_token", "\"<|end_of_text|>\""),
        &|folder| set(folder, tokenizer, "eos_token", "{\"content\": \"<|eot_id|>\"}"),
        &|folder| std::fs::remove_file(folder.join(tokenizer)).unwrap(),
        &|folder| set(folder, scheduler, "_class_name", "\"FlowUniPCMultistepScheduler\""),
        &|folder| std::fs::write(folder.join(scheduler), "{\"_class_name\": \"UniPCMultistepScheduler\"}").unwrap(),
        // a head that nobody asks, and names without the prefix of the model that has one
        &|folder| {
            edit(&folder.join("text_encoder_4/model.safetensors"), |tensors| {
                let head = tensors["model.embed_tokens.weight"].clone();
                tensors.insert("lm_head.weight".into(), head);
            });
        },
        &|folder| {
            edit(&folder.join("text_encoder_4/model.safetensors"), |tensors| {
                let bare = |(name, t): (String, Tensor)| (name.trim_start_matches("model.").to_owned(), t);
                *tensors = std::mem::take(tensors).into_iter().map(bare).collect();
            });
        },
        // a buffer of older files
        &|folder| {
            edit(&folder.join("text_encoder/model.safetensors"), |tensors| {
                let ids = Tensor::arange(0u32, 248, &scumble_engine::Device::Cpu).unwrap().unsqueeze(0).unwrap();
                tensors.insert("text_model.embeddings.position_ids".into(), ids);
            });
        },
    ]
    .into_iter()
    .enumerate()
    {
        let folder = tiny::of(FULL).tempdir();
        change(folder.path());
        assert_eq!(draw(&*open_in(folder.path(), Some(DType::F32)).unwrap(), &short()), plain, "change {number}");
    }
    // what the distilled ones' authors call their scheduler
    let folder = tiny::of(Variant::HiDreamFast).tempdir();
    set(folder.path(), scheduler, "_class_name", "\"FlashFlowMatchEulerDiscreteScheduler\"");
    let call = Variant::HiDreamFast.call();
    let flash = draw(&*open_in(folder.path(), Some(DType::F32)).unwrap(), &call);
    assert_eq!(flash, draw(&*open(Variant::HiDreamFast), &call));
    // another shift is followed
    set(folder.path(), scheduler, "shift", "6.0");
    assert_ne!(draw(&*open_in(folder.path(), Some(DType::F32)).unwrap(), &call), flash);
}

// ------------------------------------------------------------------------------------------------------ sizes

#[test]
fn every_shape_is_drawn_up_to_as_many_tokens_as_there_is_room_for() {
    let pipeline = open(FULL);
    for (width, height) in [(128, 128), (256, 64), (64, 256), (1024, 16), (208, 79), (16, 16), (141, 100)] {
        let picture = draw(&*pipeline, &Call { width, height, steps: 1, ..FULL.call() }).remove(0);
        assert_eq!((picture.width, picture.height), (width / 16 * 16, height / 16 * 16));
    }
    for (width, height) in [(144, 128), (144, 144), (1040, 16), (2048, 2048), (15, 128), (0, 0)] {
        let call = Call { width, height, ..FULL.call() };
        match pipeline.generate(&call, &Context { observer: &Unobserved, trace: None }) {
            Err(Error::Parameter { name: "image_size", problem }) => assert!(problem.contains("at "), "{problem}"),
            other => panic!("{width}×{height}: {other:?}"),
        }
    }
    let wider = tiny::of(FULL).side(12).tempdir();
    let call = Call { width: 144, height: 144, steps: 1, ..FULL.call() };
    assert_eq!(draw(&*open_in(wider.path(), Some(DType::F32)).unwrap(), &call)[0].width, 144);
}

#[test]
fn a_call_may_ask_for_the_area_that_the_model_was_trained_at() {
    let pipeline = open(FULL);
    for ((width, height), expected) in [
        ((512, 512), (128, 128)),
        ((64, 64), (128, 128)),
        ((192, 96), (176, 80)),
        ((1024, 768), (144, 96)),
        ((100_000_000, 100_000_000), (128, 128)),
    ] {
        let call = Call { width, height, to_trained_area: true, steps: 1, ..FULL.call() };
        let picture = draw(&*pipeline, &call).remove(0);
        assert_eq!((picture.width, picture.height), expected, "{width}×{height}");
    }
    for (width, height) in [(0, 0), (0, 64), (1, 100_000)] {
        let call = Call { width, height, to_trained_area: true, ..FULL.call() };
        let result = pipeline.generate(&call, &Context { observer: &Unobserved, trace: None });
        assert!(matches!(result, Err(Error::Parameter { name: "image_size", .. })), "{width}×{height}");
    }
}

// ------------------------------------------------------------------------------------------------------- text

#[test]
fn texts_are_as_long_as_is_asked_and_clips_end_at_their_tables() {
    let pipeline = open(FULL);
    let ids = |length: Option<usize>, name: &str| {
        let trace = Trace::new();
        let call = Call { max_sequence_length: length, steps: 1, prompt: "a red fox ".repeat(200), ..FULL.call() };
        pipeline.generate(&call, &Context { observer: &Unobserved, trace: Some(&trace) }).unwrap();
        trace.into_tensors()[&format!("prompt.{name}.input_ids")].dim(1).unwrap()
    };
    assert_eq!(["tokenizer", "tokenizer_2", "tokenizer_3", "tokenizer_4"].map(|name| ids(None, name)), [128; 4]);
    let long = ["tokenizer", "tokenizer_2", "tokenizer_3", "tokenizer_4"].map(|name| ids(Some(300), name));
    assert_eq!(long, [218, 218, 300, 300]);
    assert_eq!(ids(Some(1), "tokenizer_4"), 1);
    for length in [0, 513] {
        let call = Call { max_sequence_length: Some(length), ..FULL.call() };
        let result = pipeline.generate(&call, &Context { observer: &Unobserved, trace: None });
        assert!(matches!(result, Err(Error::Parameter { name: "max_sequence_length", .. })), "{length}");
    }
}

// ------------------------------------------------------------------------------------------- noise and experts

#[test]
fn dev_and_fast_follow_their_seed_and_no_negative_prompt() {
    for variant in [Variant::HiDreamDev, Variant::HiDreamFast] {
        let pipeline = open(variant);
        let call = variant.call();
        let first = draw(&*pipeline, &call);
        assert_eq!(first, draw(&*pipeline, &call), "{variant:?}");
        assert_eq!(first, draw(&*pipeline, &Call { negative: "a dog".into(), ..call.clone() }), "{variant:?}");
        assert_ne!(first, draw(&*pipeline, &Call { seed: call.seed + 1, ..call.clone() }), "{variant:?}");
        // a checkpoint of this kind is guided all the same by a call that asks for it
        assert_ne!(first, draw(&*pipeline, &Call { guidance: 3.0, ..call.clone() }), "{variant:?}");
        let two = draw(&*pipeline, &Call { images: 2, ..call });
        assert_ne!(two[0], two[1]);
    }
    assert_eq!(families::find("HiDreamImagePipeline").unwrap().guidance, 0.0);
}

/// As many experts as there are, or one for each token, or a single one: all are followed.
#[test]
fn any_number_of_experts_is_computed() {
    let plain = draw(&*open(FULL), &short());
    for activated in ["1", "3", "4"] {
        let folder = tiny::of(FULL).tempdir();
        set(folder.path(), "transformer/config.json", "num_activated_experts", activated);
        assert_ne!(draw(&*open_in(folder.path(), Some(DType::F32)).unwrap(), &short()), plain, "{activated}");
    }
}

/// Seen, in levels on average: bfloat16 2.0. Tokens near the border between two experts go elsewhere in it.
#[test]
fn reduced_types_stay_near_float32_and_the_large_parts_are_never_float16() {
    let folder = tiny::of(FULL).tempdir();
    let picture = |dtype| draw(&*open_in(folder.path(), Some(dtype)).unwrap(), &FULL.call()).remove(0);
    let (exact, reduced) = (picture(DType::F32), picture(DType::BF16));
    let difference = mean_difference(&exact, &reduced);
    assert!(difference < 4.0, "{difference} levels");
    eprintln!("bfloat16: {difference} levels");
    // Llama beyond float16's range, and back
    edit(&folder.path().join("text_encoder_4/model.safetensors"), |tensors| {
        let name = "model.layers.0.mlp.down_proj.weight";
        let louder = (&tensors[name] * 1e6).unwrap();
        tensors.insert(name.into(), louder);
    });
    assert!(largest_difference(&picture(DType::F16), &exact) > 0, "it draws");
}
