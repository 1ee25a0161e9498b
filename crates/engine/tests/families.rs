//! What only some families do: guidance by two passes, tables of positions, text encoders that may be absent.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops and shows where")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use common::{draw, edit, largest_difference, mean_difference, open, open_in, set};
use scumble_engine::families::{self, Context, FAMILIES};
use scumble_engine::weights::{Precision, Source};
use scumble_engine::{Call, Control, DType, Device, Error, Pixels, Reading, Tensor, Trace, Unobserved};
use scumble_testkit::tiny::{self, Variant};

const GUIDED: [Variant; 5] =
    [Variant::Sd35, Variant::AuraFlow, Variant::FLite, Variant::HiDreamFull, Variant::OmniGen2];

// ------------------------------------------------------------------------------------------------- guidance

#[test]
fn the_negative_prompt_counts_where_guidance_is_on() {
    for variant in GUIDED {
        let pipeline = open(variant);
        let call = Call { steps: 2, ..variant.call() };
        let other = Call { negative: "a dog".into(), ..call.clone() };
        assert_ne!(draw(&*pipeline, &call), draw(&*pipeline, &other), "{variant:?}");
        for guidance in [0.0, 0.5, 1.0] {
            let (off, other) = (Call { guidance, ..call.clone() }, Call { guidance, ..other.clone() });
            assert_eq!(draw(&*pipeline, &off), draw(&*pipeline, &other), "{variant:?} at {guidance}");
        }
    }
}

#[test]
fn guidance_a_little_above_one_is_nearly_none() {
    for variant in GUIDED {
        let pipeline = open(variant);
        let at = |guidance| draw(&*pipeline, &Call { guidance, steps: 2, ..variant.call() }).remove(0);
        assert!(largest_difference(&at(1.0), &at(1.000_001)) <= 1, "{variant:?}");
        assert!(largest_difference(&at(1.0), &at(3.5)) > 1, "{variant:?}");
    }
}

#[test]
fn the_first_of_several_pictures_is_the_single_one() {
    for variant in GUIDED {
        let pipeline = open(variant);
        let one = draw(&*pipeline, &variant.call());
        let two = draw(&*pipeline, &Call { images: 2, ..variant.call() });
        assert_eq!((one.len(), two.len()), (1, 2));
        assert!(largest_difference(&one[0], &two[0]) <= 1, "{variant:?}");
        assert!(largest_difference(&one[0], &two[1]) > 1, "{variant:?}: the second is another one");
    }
}

// ------------------------------------------------------------------------------------------------------ fill

#[test]
fn fill_needs_a_picture_and_a_mask() {
    let pipeline = open(Variant::Fill);
    let good = Variant::Fill.call();
    for (call, expected) in [
        (Call { picture: None, ..good.clone() }, "image_url"),
        (Call { mask: None, ..good.clone() }, "mask_url"),
        (Call { picture: Some(Pixels { width: 0, height: 0, rgb: Vec::new() }), ..good.clone() }, "image_url"),
        (Call { strength: 0.0, ..good.clone() }, "strength"),
        (Call { strength: 1.5, ..good.clone() }, "strength"),
        (Call { strength: f64::NAN, ..good }, "strength"),
    ] {
        match pipeline.generate(&call, &Context { observer: &Unobserved, trace: None }) {
            Err(Error::Parameter { name, .. }) => assert_eq!(name, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[test]
fn fill_follows_picture_mask_and_strength() {
    let pipeline = open(Variant::Fill);
    let call = Variant::Fill.call();
    let plain = draw(&*pipeline, &call);
    let turned = |mut pixels: Pixels| {
        pixels.rgb.reverse();
        Some(pixels)
    };
    assert_ne!(plain, draw(&*pipeline, &Call { picture: turned(tiny::picture(96, 64)), ..call.clone() }));
    assert_ne!(plain, draw(&*pipeline, &Call { mask: turned(tiny::mask(96, 64)), ..call.clone() }));
    assert_ne!(plain, draw(&*pipeline, &Call { strength: 0.5, ..call.clone() }));
    assert_eq!(plain, draw(&*pipeline, &Call { strength: 0.99, ..call.clone() }), "four steps of four all the same");
    let two = draw(&*pipeline, &Call { images: 2, ..call.clone() });
    assert_eq!(two.len(), 2);
    assert_ne!(two[0], two[1]);
    // pictures of other sizes are fitted to the size that is drawn
    let other = Call { picture: Some(tiny::picture(50, 70)), mask: Some(tiny::mask(31, 20)), ..call };
    assert_eq!((draw(&*pipeline, &other)[0].width, draw(&*pipeline, &other)[0].height), (96, 64));
}

#[test]
fn less_strength_is_fewer_steps_for_the_observer_too() {
    struct Counter(std::sync::Mutex<Vec<(usize, usize)>>);
    impl scumble_engine::Observer for Counter {
        fn step(&self, step: &scumble_engine::Step<'_>) -> scumble_engine::Control {
            self.0.lock().unwrap().push((step.done, step.total));
            scumble_engine::Control::Continue
        }
    }
    let counter = Counter(std::sync::Mutex::default());
    let call = Call { strength: 0.5, ..Variant::Fill.call() };
    open(Variant::Fill).generate(&call, &Context { observer: &counter, trace: None }).unwrap();
    assert_eq!(*counter.0.lock().unwrap(), [(1, 2), (2, 2)]);
}

// ----------------------------------------------------------------------------------------------------- sizes

/// The tiny tables of positions have 12 and 24 cells on a side, each of 16 pixels.
#[test]
fn sizes_reach_to_the_edge_of_the_table_and_no_further() {
    for (variant, longest) in [(Variant::AuraFlow, 192), (Variant::Sd35, 384)] {
        let pipeline = open(variant);
        assert_eq!(pipeline.sizes().longest, Some(longest));
        for (width, height) in [(longest, 16), (16, longest), (longest + 15, 48), (80, 48), (48, longest - 16)] {
            let pictures = draw(&*pipeline, &Call { width, height, steps: 1, ..variant.call() });
            assert_eq!((pictures[0].width, pictures[0].height), (width / 16 * 16, height / 16 * 16));
        }
        for (width, height) in [(longest + 16, 64), (64, longest + 16), (15 * longest, 15 * longest)] {
            let call = Call { width, height, ..variant.call() };
            match pipeline.generate(&call, &Context { observer: &Unobserved, trace: None }) {
                Err(Error::Parameter { name: "image_size", problem }) => {
                    assert!(problem.contains(&format!("at most {longest}")), "{problem}");
                }
                other => panic!("{variant:?} at {width}×{height}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_larger_table_reaches_further() {
    for variant in [Variant::AuraFlow, Variant::Sd35] {
        let folder = tiny::of(variant).side(40).tempdir();
        let pipeline = open_in(folder.path(), Some(DType::F32)).unwrap();
        assert_eq!(pipeline.sizes().longest, Some(640), "{variant:?}");
        let pictures = draw(&*pipeline, &Call { width: 640, height: 32, steps: 1, ..variant.call() });
        assert_eq!((pictures[0].width, pictures[0].height), (640, 32));
    }
}

// ------------------------------------------------------------------------------------------------------ text

#[test]
fn text_is_as_long_as_the_models_were_trained_with() {
    for (variant, width, clip) in [(Variant::AuraFlow, 32, 0), (Variant::Sd35, 80, 77)] {
        let tensors = traced(variant, &Call { steps: 1, max_sequence_length: None, ..variant.call() });
        let states = &tensors["step0.transformer.in.encoder_hidden_states"];
        assert_eq!(states.dims(), [2, clip + 256, width], "{variant:?}");
    }
}

#[test]
fn prompts_may_be_empty_endless_or_of_any_script() {
    for variant in GUIDED {
        let pipeline = open(variant);
        for prompt in ["".to_owned(), " \n\t ".into(), "a cat ".repeat(1000), "\u{0}\u{feff}🐈 猫 кот".into()] {
            let call = Call { negative: prompt.clone(), prompt, steps: 1, ..variant.call() };
            assert_eq!(draw(&*pipeline, &call).len(), 1);
        }
    }
}

/// Padding is masked, so its length is no part of the picture.
#[test]
fn aura_flow_does_not_see_how_far_its_text_is_padded() {
    let pipeline = open(Variant::AuraFlow);
    let states = |length| {
        let trace = Trace::new();
        let call = Call { steps: 1, max_sequence_length: Some(length), ..Variant::AuraFlow.call() };
        pipeline.generate(&call, &Context { observer: &Unobserved, trace: Some(&trace) }).unwrap();
        let states = trace.into_tensors().remove("step0.transformer.in.encoder_hidden_states").unwrap();
        states.narrow(1, 0, 40).unwrap()
    };
    let difference = (states(48) - states(200)).unwrap().abs().unwrap().max_all().unwrap();
    let difference = difference.to_scalar::<f32>().unwrap();
    assert!(difference < 1e-5, "{difference}");
}

#[test]
fn sd35_runs_without_t5() {
    for absent in [serde_json::json!([null, null]), serde_json::Value::Null] {
        let folder = tiny::of(Variant::Sd35).tempdir();
        set(folder.path(), "model_index.json", "text_encoder_3", &absent.to_string());
        std::fs::remove_dir_all(folder.path().join("text_encoder_3")).unwrap();
        std::fs::remove_dir_all(folder.path().join("tokenizer_3")).unwrap();
        let pipeline = open_in(folder.path(), Some(DType::F32)).unwrap();
        let trace = Trace::new();
        let call = Variant::Sd35.call();
        let pictures = pipeline.generate(&call, &Context { observer: &Unobserved, trace: Some(&trace) }).unwrap();
        let tensors = trace.into_tensors();
        let states = &tensors["step0.transformer.in.encoder_hidden_states"];
        assert_eq!(states.dims(), [2, 77 + 48, 80]);
        let t5 = states.narrow(1, 77, 48).unwrap().abs().unwrap().max_all().unwrap();
        assert_eq!(t5.to_scalar::<f32>().unwrap(), 0.0, "zeros stand in its place");
        assert_ne!(pictures, draw(&*open(Variant::Sd35), &call));
    }
}

// ----------------------------------------------------------------------------------------------------- types

/// Seen, in levels on average: bfloat16 0.4 (SD3.5), 0.1 (AuraFlow) and 0.3 (F-Lite), float16 0.2 or less.
#[test]
fn reduced_types_stay_near_float32() {
    // HiDream-I1 and OmniGen2, most of which is never float16, have tests of their own
    for variant in [Variant::Sd35, Variant::AuraFlow, Variant::FLite] {
        let folder = tiny::of(variant).tempdir();
        let picture = |dtype| draw(&*open_in(folder.path(), dtype).unwrap(), &variant.call()).remove(0);
        let exact = picture(Some(DType::F32));
        for (dtype, mean) in [(DType::BF16, 1.0), (DType::F16, 0.5)] {
            let difference = mean_difference(&exact, &picture(Some(dtype)));
            assert!(difference < mean, "{variant:?} {dtype:?}: {difference} levels");
        }
    }
}

#[test]
fn parts_that_overflow_in_float16_are_never_computed_in_it() {
    // a decoder whose middle reaches beyond 65504, and comes back
    let folder = tiny::of(Variant::AuraFlow).tempdir();
    edit(&folder.path().join("vae/diffusion_pytorch_model.safetensors"), |tensors| {
        let scaled = |name: &str, by: f64| (name.to_owned(), (&tensors[name] * by).unwrap());
        let louder = [scaled("decoder.conv_in.weight", 1e5), scaled("decoder.conv_in.bias", 1e5)];
        tensors.extend(louder);
    });
    let pipeline = open_in(folder.path(), Some(DType::F16)).unwrap();
    assert_eq!(draw(&*pipeline, &Variant::AuraFlow.call()).len(), 1);

    // the same for text encoders: the matrix that overflows in T5-XXL
    for (variant, file) in [
        (Variant::AuraFlow, "text_encoder/model.safetensors"),
        (Variant::Sd35, "text_encoder_3/model.safetensors"),
        (Variant::FLite, "text_encoder/model.safetensors"),
        (Variant::HiDreamFull, "text_encoder_3/model.safetensors"),
    ] {
        let folder = tiny::of(variant).tempdir();
        edit(&folder.path().join(file), |tensors| {
            let name = "encoder.block.0.layer.1.DenseReluDense.wo.weight";
            let louder = (&tensors[name] * 1e6).unwrap();
            tensors.insert(name.into(), louder);
        });
        let pipeline = open_in(folder.path(), Some(DType::F16)).unwrap();
        assert_eq!(draw(&*pipeline, &variant.call()).len(), 1, "{variant:?}");
    }
}

/// T5-XXL, UMT5 and Llama become bfloat16, bit for bit what they are where the whole model is.
#[test]
fn t5_and_llama_are_never_float16() {
    for (variant, names) in [
        (Variant::Dev, &["prompt.text_encoder_2.last_hidden_state"][..]),
        (Variant::Sd35, &["prompt.text_encoder_3.last_hidden_state"]),
        (Variant::AuraFlow, &["prompt.text_encoder.last_hidden_state"]),
        (Variant::FLite, &["prompt.text_encoder.hidden"]),
        (Variant::HiDreamFull, &["prompt.t5", "prompt.llama", "negative.t5", "negative.llama"]),
    ] {
        let folder = tiny::of(variant).tempdir();
        let states = |dtype| {
            let trace = Trace::new();
            let call = Call { steps: 1, ..variant.call() };
            let pipeline = open_in(folder.path(), Some(dtype)).unwrap();
            pipeline.generate(&call, &Context { observer: &Unobserved, trace: Some(&trace) }).unwrap();
            let tensors = trace.into_tensors();
            let all = |name: &&str| tensors[*name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
            names.iter().map(all).collect::<Vec<_>>()
        };
        let (half, brain, exact) = (states(DType::F16), states(DType::BF16), states(DType::F32));
        assert!(half == brain, "{variant:?}");
        assert!(half != exact, "{variant:?}: reduced all the same");
    }
}

/// `fp16` files of UMT5 hold float16 but for the matrices that overflow.
#[test]
fn one_file_may_hold_several_types() {
    let folder = tiny::of(Variant::AuraFlow).dtype(DType::F16).tempdir();
    let plain = draw(&*open_in(folder.path(), None).unwrap(), &Variant::AuraFlow.call());
    edit(&folder.path().join("text_encoder/model.safetensors"), |tensors| {
        for (name, tensor) in tensors.iter_mut().filter(|(name, _)| name.ends_with("wo.weight")) {
            *tensor = tensor.to_dtype(DType::F32).unwrap();
            assert!(name.contains("DenseReluDense"));
        }
    });
    assert_eq!(plain, draw(&*open_in(folder.path(), None).unwrap(), &Variant::AuraFlow.call()));
}

// ---------------------------------------------------------------------------------------------- what is wrong

#[test]
fn infinity_is_a_failure_that_names_the_remedy() {
    for variant in Variant::ALL {
        let transformer = format!("{}/diffusion_pytorch_model.safetensors", variant.network());
        let ends = [
            "proj_out.weight",
            "proj_out.bias",
            "final_proj.weight",
            "final_layer.linear.bias",
            "norm_out.linear_2.bias",
        ];
        let said = overflowed(variant, &transformer, &ends);
        assert!(said.contains("step 1 of 4") && said.contains("float32"), "{variant:?}: {said}");
        let vae = "vae/diffusion_pytorch_model.safetensors";
        let said = overflowed(variant, vae, &["decoder.conv_out.weight", "decoder.conv_out.bias"]);
        assert!(said.contains("decoded picture"), "{variant:?}: {said}");
    }
}

/// What is said when the first of these tensors that is there holds infinity.
fn overflowed(variant: Variant, file: &str, names: &[&str]) -> String {
    let folder = tiny::of(variant).tempdir();
    edit(&folder.path().join(file), |tensors| {
        let name = names.iter().find(|name| tensors.contains_key(**name)).unwrap();
        let endless = (tensors[*name].zeros_like().unwrap() + f64::INFINITY).unwrap();
        tensors.insert((*name).into(), endless);
    });
    let pipeline = open_in(folder.path(), Some(DType::F32)).unwrap();
    match pipeline.generate(&variant.call(), &Context { observer: &Unobserved, trace: None }) {
        Err(error @ Error::NotFinite { .. }) => error.to_string(),
        other => panic!("{variant:?}: {other:?}"),
    }
}

/// Lets every reading go on.
struct Unheard;

impl Reading for Unheard {
    fn read(&self, _: u64) -> Control {
        Control::Continue
    }
}

#[test]
fn a_checkpoint_of_another_family_is_refused_by_name() {
    let folder = tiny::of(Variant::AuraFlow).tempdir();
    let precision = Precision { device: Device::Cpu, dtype: None };
    let open =
        |class| families::open_heard(Some(class), Source::Folder(folder.path().into()), &precision, Arc::new(Unheard));
    let error = open("FluxPipeline").err().unwrap();
    assert!(matches!(error, Error::WrongPipeline { .. }) && error.is_checkpoint(), "{error}");
    let said = error.to_string();
    assert!(said.contains("AuraFlowPipeline") && said.contains("FluxPipeline"), "{said}");
    open("AuraFlowPipeline").unwrap();
}

#[test]
fn what_a_family_cannot_follow_is_said() {
    for (variant, file, key, value) in [
        (Variant::AuraFlow, "transformer/config.json", "pos_embed_max_size", "143"),
        (Variant::AuraFlow, "transformer/config.json", "patch_size", "1"),
        (Variant::AuraFlow, "transformer/config.json", "caption_projection_dim", "32"),
        (Variant::AuraFlow, "transformer/config.json", "joint_attention_dim", "48"),
        (Variant::AuraFlow, "transformer/config.json", "in_channels", "16"),
        (Variant::AuraFlow, "scheduler/scheduler_config.json", "use_dynamic_shifting", "true"),
        (Variant::Sd35, "transformer/config.json", "dual_attention_layers", "[0, 1]"),
        (Variant::Sd35, "transformer/config.json", "qk_norm", "\"layer_norm\""),
        (Variant::Sd35, "transformer/config.json", "pooled_projection_dim", "64"),
        (Variant::Sd35, "transformer/config.json", "joint_attention_dim", "96"),
        (Variant::Sd35, "transformer/config.json", "joint_attention_dim", "48"),
        (Variant::Sd35, "transformer/config.json", "out_channels", "32"),
        (Variant::Sd35, "transformer/config.json", "num_layers", "0"),
        (Variant::Sd35, "text_encoder_2/config.json", "hidden_act", "\"relu\""),
        (Variant::Sd35, "scheduler/scheduler_config.json", "use_dynamic_shifting", "true"),
        (Variant::FLite, "dit_model/config.json", "patch_size", "1"),
        (Variant::FLite, "dit_model/config.json", "in_channels", "4"),
        (Variant::FLite, "dit_model/config.json", "cross_attn_input_size", "48"),
        (Variant::FLite, "dit_model/config.json", "num_heads", "0"),
        (Variant::FLite, "dit_model/config.json", "num_heads", "8"),
        (Variant::FLite, "dit_model/config.json", "depth", "0"),
        (Variant::FLite, "dit_model/config.json", "mlp_ratio", "1e12"),
        (Variant::FLite, "dit_model/config.json", "mlp_ratio", "-4.0"),
        (Variant::FLite, "dit_model/config.json", "rope_base", "0"),
        (Variant::FLite, "dit_model/config.json", "use_rope", "false"),
        (Variant::FLite, "text_encoder/config.json", "num_layers", "7"),
        (Variant::HiDreamFull, "transformer/config.json", "patch_size", "1"),
        (Variant::HiDreamFull, "transformer/config.json", "out_channels", "4"),
        (Variant::HiDreamFull, "transformer/config.json", "llama_layers", "[0, 1, 2]"),
        (Variant::HiDreamFull, "transformer/config.json", "llama_layers", "[0, 1, 2, 3]"),
        (Variant::HiDreamFull, "transformer/config.json", "axes_dims_rope", "[8, 4, 2]"),
        (Variant::HiDreamFull, "transformer/config.json", "axes_dims_rope", "[8, 8]"),
        (Variant::HiDreamFull, "transformer/config.json", "num_activated_experts", "5"),
        (Variant::HiDreamFull, "transformer/config.json", "num_activated_experts", "0"),
        (Variant::HiDreamFull, "transformer/config.json", "max_resolution", "[0, 16]"),
        (Variant::HiDreamFull, "transformer/config.json", "caption_channels", "[32, 24]"),
        (Variant::HiDreamFull, "transformer/config.json", "text_emb_dim", "48"),
        (Variant::HiDreamFull, "text_encoder/config.json", "max_position_embeddings", "77"),
        (Variant::HiDreamFull, "text_encoder_4/config.json", "num_key_value_heads", "3"),
        (Variant::HiDreamFull, "text_encoder_4/config.json", "attention_bias", "true"),
        (Variant::HiDreamFull, "text_encoder_4/config.json", "hidden_act", "\"gelu\""),
        (Variant::HiDreamFull, "text_encoder_4/config.json", "rope_scaling", "{\"rope_type\": \"yarn\"}"),
        (Variant::HiDreamFull, "text_encoder_4/config.json", "rope_scaling", "{\"low_freq_factor\": 9}"),
        (Variant::HiDreamFull, "scheduler/scheduler_config.json", "_class_name", "\"DDIMScheduler\""),
        (Variant::HiDreamFull, "scheduler/scheduler_config.json", "solver_type", "\"bh1\""),
        (Variant::HiDreamFull, "scheduler/scheduler_config.json", "solver_order", "3"),
        (Variant::HiDreamFull, "scheduler/scheduler_config.json", "use_flow_sigmas", "false"),
        (Variant::HiDreamFull, "scheduler/scheduler_config.json", "disable_corrector", "[0]"),
        (Variant::HiDreamFull, "scheduler/scheduler_config.json", "flow_shift", "0"),
        (Variant::HiDreamFast, "scheduler/scheduler_config.json", "use_dynamic_shifting", "true"),
        (Variant::HiDreamFast, "scheduler/scheduler_config.json", "scale_factors", "[0.5, 1.0]"),
        (Variant::OmniGen2, "transformer/config.json", "patch_size", "1"),
        (Variant::OmniGen2, "transformer/config.json", "out_channels", "4"),
        (Variant::OmniGen2, "transformer/config.json", "in_channels", "4"),
        (Variant::OmniGen2, "transformer/config.json", "text_feat_dim", "48"),
        (Variant::OmniGen2, "transformer/config.json", "num_attention_heads", "5"),
        (Variant::OmniGen2, "transformer/config.json", "num_kv_heads", "4"),
        (Variant::OmniGen2, "transformer/config.json", "num_kv_heads", "0"),
        (Variant::OmniGen2, "transformer/config.json", "num_layers", "0"),
        (Variant::OmniGen2, "transformer/config.json", "axes_dim_rope", "[4, 4]"),
        (Variant::OmniGen2, "transformer/config.json", "axes_dim_rope", "[4, 3, 1]"),
        (Variant::OmniGen2, "transformer/config.json", "axes_dim_rope", "[4, 4, 4]"),
        (Variant::OmniGen2, "transformer/config.json", "multiple_of", "0"),
        (Variant::OmniGen2, "transformer/config.json", "ffn_dim_multiplier", "1e12"),
        (Variant::OmniGen2, "transformer/config.json", "norm_eps", "0"),
        (Variant::OmniGen2, "transformer/config.json", "timestep_scale", "-1"),
        (Variant::OmniGen2, "mllm/config.json", "hidden_act", "\"gelu\""),
        (Variant::OmniGen2, "mllm/config.json", "use_sliding_window", "true"),
        (Variant::OmniGen2, "mllm/config.json", "num_key_value_heads", "3"),
        (Variant::OmniGen2, "mllm/config.json", "rope_scaling", "{\"type\": \"yarn\"}"),
        (Variant::OmniGen2, "scheduler/scheduler_config.json", "_class_name", "\"DDIMScheduler\""),
    ] {
        let folder = tiny::of(variant).tempdir();
        set(folder.path(), file, key, value);
        let error = open_in(folder.path(), None).err().unwrap();
        assert!(matches!(error, Error::Unsupported { .. }), "{key} = {value}: {error}");
        assert!(error.to_string().contains(key), "{error}");
    }
}

#[test]
fn an_examination_finds_all_that_is_wrong_and_reads_no_tensor() {
    for variant in Variant::ALL {
        let folder = tiny::of(variant).tempdir();
        let examine = || families::examine(None, Source::Folder(folder.path().into()));
        assert!(examine().is_empty(), "{variant:?}");
        let last = match variant {
            Variant::FLite => ["final_modulation.1.weight", "final_proj.weight"],
            Variant::HiDreamFull | Variant::HiDreamDev | Variant::HiDreamFast => {
                ["final_layer.adaLN_modulation.1.weight", "final_layer.linear.weight"]
            }
            Variant::OmniGen2 => ["norm_out.linear_1.weight", "norm_out.linear_2.weight"],
            _ => ["norm_out.linear.weight", "proj_out.weight"],
        };
        edit(&folder.path().join(variant.network()).join("diffusion_pytorch_model.safetensors"), |tensors| {
            last.iter().for_each(|name| drop(tensors.remove(*name).unwrap()));
        });
        edit(&folder.path().join("vae/diffusion_pytorch_model.safetensors"), |tensors| {
            let conv = tensors["decoder.conv_in.bias"].clone();
            tensors.insert("decoder.conv_in.bias".into(), Tensor::cat(&[&conv, &conv], 0).unwrap());
            tensors.insert("left.over".into(), conv.clone());
            tensors.insert("also.left".into(), conv);
            let ids = Tensor::zeros(tensors["encoder.conv_in.bias"].shape(), DType::U32, &Device::Cpu).unwrap();
            tensors.insert("encoder.conv_in.bias".into(), ids);
        });
        let mut found: Vec<String> = examine()
            .iter()
            .map(|error| match error {
                Error::MissingTensor { name, .. } => format!("missing {name}"),
                Error::Misshapen { name, .. } => format!("misshapen {name}"),
                Error::ExtraTensors { first, count: 1, .. } => format!("extra {first}"),
                Error::Damaged { reason, .. } => reason.clone(),
                other => panic!("{other}"),
            })
            .collect();
        found.sort();
        assert_eq!(
            found[..5],
            [
                "extra also.left",
                "extra left.over",
                "misshapen decoder.conv_in.bias",
                &format!("missing {}", last[0]),
                &format!("missing {}", last[1]),
            ],
            "{variant:?}"
        );
        assert!(found.len() == 6 && found[5].contains("encoder.conv_in.bias has type U32"), "{found:?}");
        let other = if variant == Variant::Sd35 { "FluxPipeline" } else { "StableDiffusion3Pipeline" };
        let found = families::examine(Some(other), Source::Folder(folder.path().into()));
        assert!(matches!(&found[..], [Error::WrongPipeline { wanted, .. }] if wanted == other), "{found:?}");
        // loading ends at the first
        assert!(open_in(folder.path(), None).is_err_and(|error| matches!(error, Error::MissingTensor { .. })));
    }
}

/// Nobody has seen these files of AuraFlow's: whichever way they are, the picture is one.
#[test]
fn what_published_files_leave_open_changes_no_picture() {
    let call = Call { steps: 2, ..Variant::AuraFlow.call() };
    let plain = draw(&*open(Variant::AuraFlow), &call);
    let tokenizer = "tokenizer/tokenizer_config.json";
    for change in [
        &(|folder: &Path| set(folder, tokenizer, "padding_side", "\"left\"")) as &dyn Fn(&Path),
        &|folder| set(folder, tokenizer, "pad_token", "\"</s>\""),
        &|folder| set(folder, tokenizer, "pad_token", "null"),
        &|folder| set(folder, tokenizer, "model_max_length", "1e30"),
        &|folder| std::fs::remove_file(folder.join(tokenizer)).unwrap(),
        &|folder| set(folder, "scheduler/scheduler_config.json", "unknown_to_anybody", "true"),
    ] {
        let folder = tiny::of(Variant::AuraFlow).tempdir();
        change(folder.path());
        assert_eq!(draw(&*open_in(folder.path(), Some(DType::F32)).unwrap(), &call), plain);
    }
    // another shift is followed, and none is diffusers' 1
    for shift in ["1.0", "3.0"] {
        let folder = tiny::of(Variant::AuraFlow).tempdir();
        set(folder.path(), "scheduler/scheduler_config.json", "shift", shift);
        assert_ne!(draw(&*open_in(folder.path(), Some(DType::F32)).unwrap(), &call), plain);
    }
}

#[test]
fn words_that_no_encoder_can_read_are_named() {
    for (variant, expected) in [
        (Variant::Dev, vec!["猫"]),
        (Variant::Sd35, vec!["猫"]),
        (Variant::AuraFlow, vec![]),
        (Variant::FLite, vec!["猫"]),
        (Variant::OmniGen2, vec![]),
    ] {
        assert_eq!(open(variant).unknown_words("a cat 猫").unwrap(), expected, "{variant:?}");
    }
}

#[test]
fn every_family_is_found_by_its_class() {
    for family in FAMILIES {
        assert_eq!(families::find(family.class).unwrap().class, family.class);
        assert!(family.accepts.contains(&"prompt"));
    }
    assert!(families::find("PixelPipeline").is_none());
}

fn traced(variant: Variant, call: &Call) -> BTreeMap<String, Tensor> {
    let trace = Trace::new();
    open(variant).generate(call, &Context { observer: &Unobserved, trace: Some(&trace) }).unwrap();
    trace.into_tensors()
}
