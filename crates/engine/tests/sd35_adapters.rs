//! ControlNets and IP-Adapters of Stable Diffusion 3.5: against what diffusers computed with them, and what files may be like.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops and shows where")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use common::compare::{difference, distances, golden};
use common::{draw, largest_difference, open_in};
use scumble_engine::adapters::{AdapterFiles, ControlNet, IpAdapter};
use scumble_engine::families::{Context, Pipeline};
use scumble_engine::{Call, Control, DType, Device, Error, Observer, Pixels, Stage, Tensor, Trace, Unobserved};
use scumble_testkit::tiny::adapters::{self, Tensors};
use scumble_testkit::tiny::{self, Variant};
use tempfile::TempDir;

/// Largest difference allowed, as a share of the largest magnitude of a tensor.
///
/// Seen with AVX-512: nothing for the pixels that SigLIP is given, 9.1e-7 for its states, 1.5e-6 for the resampler's tokens,
/// 1.8e-6 for the moments of a control picture, 1.1e-6 for what a ControlNet adds; then at most 2.2e-6 after a block, 1.2e-6
/// for latents, 2.6e-6 for decoded pictures; bytes that differ do so by one level.
const TOLERANCE: f64 = 1e-5;

// ---------------------------------------------------------------------------------------------- golden tensors

/// diffusers draws the picture's latents from a global random state, here of seed 1235, for both halves of the batch: the
/// same draw is given to the trace.
#[test]
fn the_controlnet_agrees_with_diffusers_at_every_stage() {
    let folder = tempfile::tempdir().unwrap();
    let call = Call { controlnet: Some(controlnet(adapters::write_controlnet(folder.path()))), ..Variant::Sd35.call() };
    let draw = scumble_engine::rng::Generator::new(1235).noise(&[2, 16, 8, 12]).unwrap();
    let computed = traced(&call, Trace::with_blocks().with_draw("vae.encode.0", draw));
    check("sd35-controlnet", &computed);
}

#[test]
fn the_ip_adapter_agrees_with_diffusers_at_every_stage() {
    let folder = tempfile::tempdir().unwrap();
    let call = Call { ip_adapter: Some(ip_adapter(folder.path())), ..Variant::Sd35.call() };
    check("sd35-ip-adapter", &traced(&call, Trace::with_blocks()));
}

fn traced(call: &Call, trace: Trace) -> BTreeMap<String, Tensor> {
    open().generate(call, &Context { observer: &Unobserved, trace: Some(&trace) }).unwrap();
    trace.into_tensors()
}

fn check(name: &str, computed: &BTreeMap<String, Tensor>) {
    let golden = golden(name);
    let mut wrong = Vec::new();
    for (name, expected) in &golden {
        let given = name.starts_with("input.") && name != "input.ip_pixel_values";
        if given || name == "image.float_nhwc" || name.ends_with("attention_mask") {
            continue;
        }
        // the picture is encoded once here, and twice there
        let once =
            |t: &Tensor| if name.starts_with("vae.encode.") { t.repeat((2, 1, 1, 1)).unwrap() } else { t.clone() };
        match computed.get(name) {
            None => wrong.push(format!("{name} is missing")),
            Some(got) => wrong.extend(difference(name, expected, &once(got), TOLERANCE)),
        }
    }
    eprintln!("{}", distances(&golden, computed));
    assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
    assert!(golden.len() > 45, "the golden file is whole");
}

// ------------------------------------------------------------------------------------------------ ControlNet

#[test]
fn a_control_picture_counts_while_it_is_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let files = adapters::write_controlnet(folder.path());
    let pipeline = open();
    let plain = draw(&*pipeline, &Variant::Sd35.call());
    let at = |start, end| draw(&*pipeline, &with_control(ControlNet { start, end, ..controlnet(files.clone()) }));
    let (whole, first, last) = (at(0.0, 1.0), at(0.0, 0.25), at(0.75, 1.0));
    for (a, b) in [(&whole, &plain), (&first, &plain), (&last, &plain), (&first, &last), (&first, &whole)] {
        assert_ne!(a, b);
    }
    // of four steps none lies wholly within these
    assert_eq!(at(0.3, 0.4), plain);
    assert_eq!(at(0.0, 0.2), plain);
    assert_eq!(at(1.0, 1.0), plain);
    // and the second and third within these
    assert_eq!(at(0.2, 0.8), at(0.25, 0.75));
}

#[test]
fn a_scale_of_nothing_is_the_plain_picture() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = adapters::write_controlnet(folder.path());
    let pipeline = open();
    let plain = draw(&*pipeline, &Variant::Sd35.call());
    assert_eq!(draw(&*pipeline, &with_control(ControlNet { scale: 0.0, ..controlnet(files.clone()) })), plain);
    let nearly = draw(&*pipeline, &with_control(ControlNet { scale: 1e-9, ..controlnet(files) }));
    assert!(largest_difference(&nearly[0], &plain[0]) <= 1);
    let call =
        |scale| Call { ip_adapter: Some(IpAdapter { scale, ..ip_adapter(other.path()) }), ..Variant::Sd35.call() };
    assert_eq!(draw(&*pipeline, &call(0.0)), plain);
    assert_ne!(draw(&*pipeline, &call(0.6)), plain);
}

#[test]
fn what_a_call_had_attached_is_gone_with_it() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let pipeline = open();
    let plain = draw(&*pipeline, &Variant::Sd35.call());
    let controlled = with_control(controlnet(adapters::write_controlnet(folder.path())));
    let followed = Call { ip_adapter: Some(ip_adapter(other.path())), ..Variant::Sd35.call() };
    let both = Call { ip_adapter: followed.ip_adapter.clone(), ..controlled.clone() };
    let first: Vec<_> = [&controlled, &followed, &both].map(|call| draw(&*pipeline, call)).into();
    assert_eq!(draw(&*pipeline, &Variant::Sd35.call()), plain);
    assert_eq!(first, [&controlled, &followed, &both].map(|call| draw(&*pipeline, call)));
    assert!(first[0] != first[2] && first[1] != first[2] && first[0] != first[1]);
}

#[test]
fn adapters_work_without_guidance_and_for_several_pictures() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut call = with_control(controlnet(adapters::write_controlnet(folder.path())));
    call.ip_adapter = Some(ip_adapter(other.path()));
    call.steps = 2;
    let pipeline = open();
    for guidance in [1.0, 4.5] {
        let call = Call { guidance, ..call.clone() };
        let one = draw(&*pipeline, &call);
        let two = draw(&*pipeline, &Call { images: 2, ..call.clone() });
        assert!(largest_difference(&one[0], &two[0]) <= 1, "at {guidance}");
        assert!(largest_difference(&two[0], &two[1]) > 1, "at {guidance}");
        assert_ne!(one, draw(&*pipeline, &Call { ip_adapter: None, ..call.clone() }));
        assert_ne!(one, draw(&*pipeline, &Call { controlnet: None, ..call }));
    }
}

#[test]
fn control_pictures_of_other_sizes_are_fitted() {
    let folder = tempfile::tempdir().unwrap();
    let files = adapters::write_controlnet(folder.path());
    let pipeline = open();
    let with = |picture: Pixels| {
        let call = with_control(ControlNet { picture, ..controlnet(files.clone()) });
        draw(&*pipeline, &Call { width: 80, height: 48, steps: 2, ..call })
    };
    let large = tiny::picture(333, 77);
    assert_eq!(with(large.clone()), with(large.resized(80, 48)));
    assert_ne!(with(large), with(tiny::mask(333, 77)));
    assert_eq!(with(tiny::picture(2, 2))[0].width, 80);
}

// ---------------------------------------------------------------------------------------------------- masks

#[test]
fn a_mask_limits_where_the_picture_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let ip = ip_adapter(folder.path());
    let pipeline = open();
    let with = |mask: Option<Pixels>, mask_threshold| {
        let ip = IpAdapter { mask, mask_threshold, ..ip.clone() };
        draw(&*pipeline, &Call { ip_adapter: Some(ip), steps: 2, ..Variant::Sd35.call() })
    };
    let plain = draw(&*pipeline, &Call { steps: 2, ..Variant::Sd35.call() });
    let grey = |level, width, height| Some(Pixels { width, height, rgb: vec![level; width * height * 3] });
    let everywhere = with(None, 0.5);
    assert_eq!(with(grey(255, 96, 64), 0.5), everywhere);
    assert_eq!(with(grey(255, 7, 300), 1.0), everywhere);
    assert_eq!(with(grey(0, 96, 64), 0.5), plain);
    assert_eq!(with(grey(0, 5, 5), 0.0), everywhere, "everything is at least black");
    // 127 / 255 is less than a half, 128 / 255 more
    assert_eq!(with(grey(127, 96, 64), 0.5), plain);
    assert_eq!(with(grey(128, 96, 64), 0.5), everywhere);
    // of a cell of 16×16 pixels that is white in half of its rows, the mean counts
    let rows = |white: usize| {
        let level = |i: usize| if i / 96 % 16 < white { 255 } else { 0 };
        Some(Pixels { width: 96, height: 64, rgb: (0..96 * 64).flat_map(|i| [level(i); 3]).collect() })
    };
    assert_eq!(with(rows(8), 0.5), everywhere);
    assert_eq!(with(rows(7), 0.5), plain);
    let half = with(Some(tiny::mask(96, 64)), 0.5);
    assert!(half != plain && half != everywhere);
    assert_eq!(half, with(Some(tiny::mask(96, 64)), 0.5));
}

// --------------------------------------------------------------------------------------------------- files

#[test]
fn files_of_either_layout_give_the_same_picture() {
    let folders: Vec<TempDir> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let pipeline = open();
    let control = |files: AdapterFiles| draw(&*pipeline, &Call { steps: 2, ..with_control(controlnet(files)) });
    let expected = control(adapters::write_controlnet(folders[0].path()));
    assert_ne!(expected, draw(&*pipeline, &Call { steps: 2, ..Variant::Sd35.call() }));
    let tensors = adapters::controlnet();
    // one file in original names, with what says which of three it is, and no configuration
    let mut original = adapters::original_controlnet(&tensors);
    assert!(original.len() < tensors.len());
    original.insert("control_type".into(), Tensor::new(&[1u32], &Device::Cpu).unwrap());
    assert_eq!(control(adapters::write_files(folders[1].path(), "one.safetensors", &original, None, None)), expected);
    // and split in two
    let (mut first, mut second) = (tensors.clone(), Tensors::new());
    tensors.keys().filter(|name| name.contains(".1.")).for_each(|name| {
        second.insert(name.clone(), first.remove(name).unwrap());
    });
    let mut files = adapters::write_files(folders[2].path(), "a.safetensors", &first, None, None);
    files.weights.extend(adapters::write_files(folders[2].path(), "b.safetensors", &second, None, None).weights);
    assert_eq!(control(files), expected);
}

#[test]
fn an_ip_adapter_is_the_same_in_every_file() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = open();
    let ip = ip_adapter(folder.path());
    let follow = |files, encoder| {
        let ip = IpAdapter { files, encoder, ..ip.clone() };
        draw(&*pipeline, &Call { ip_adapter: Some(ip), steps: 1, ..Variant::Sd35.call() })
    };
    let expected = follow(ip.files.clone(), ip.encoder.clone());
    let original = adapters::original_ip_adapter(&adapters::ip_adapter());
    assert!(original.keys().any(|name| name.starts_with("image_proj.layers.3.2.1.")));
    for (name, tensors) in [("x.safetensors", &original), ("x.bin", &original), ("y.bin", &adapters::ip_adapter())] {
        let files = adapters::write_files(folder.path(), name, tensors, None, None);
        assert_eq!(follow(files, ip.encoder.clone()), expected, "{name}");
    }
    // the encoder: in older names, as part of a whole SigLIP, and as torch saves it
    let mut whole = Tensors::new();
    for (name, tensor) in adapters::image_encoder() {
        whole.insert(format!("vision_model.{name}"), tensor);
    }
    let stray = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
    whole.insert("logit_scale".into(), stray(&[1.0]));
    whole.insert("text_model.head.bias".into(), stray(&[1.0, 2.0]));
    let config = serde_json::json!({ "model_type": "siglip", "vision_config": adapters::image_encoder_config() });
    let preprocessor = adapters::preprocessor_config();
    for name in ["whole.safetensors", "whole.bin"] {
        if name == "whole.bin" {
            whole.remove("logit_scale").unwrap();
        }
        let files = adapters::write_files(folder.path(), name, &whole, Some(&config), Some(&preprocessor));
        assert_eq!(follow(ip.files.clone(), files), expected, "{name}");
        let files = adapters::write_files(folder.path(), name, &whole, Some(&config), None);
        assert_eq!(follow(ip.files.clone(), files), expected, "what SigLIP does is known");
    }
}

#[test]
fn a_preprocessor_beside_the_encoder_wins() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = open();
    let ip = ip_adapter(folder.path());
    let follow = |encoder| {
        let call = Call { ip_adapter: Some(IpAdapter { encoder, ..ip.clone() }), steps: 1, ..Variant::Sd35.call() };
        pipeline.generate(&call, &Context { observer: &Unobserved, trace: None })
    };
    let expected = follow(ip.encoder.clone()).unwrap();
    let changed = |key: &str, value: serde_json::Value| {
        let mut preprocessor = adapters::preprocessor_config();
        preprocessor[key] = value;
        let config = adapters::image_encoder_config();
        adapters::write_files(
            folder.path(),
            "e.safetensors",
            &adapters::image_encoder(),
            Some(&config),
            Some(&preprocessor),
        )
    };
    for (key, value) in [
        ("resample", 2.into()),
        ("resample", 1.into()),
        ("image_mean", [0.4, 0.5, 0.5].into()),
        ("image_std", [0.5, 0.5, 0.4].into()),
        ("rescale_factor", 0.005.into()),
        ("do_normalize", false.into()),
        ("do_rescale", false.into()),
    ] {
        assert_ne!(follow(changed(key, value)).unwrap(), expected, "{key}");
    }
    // 29 pixels have two patches of 14 as well
    assert!(follow(changed("size", 29.into())).is_ok());
    for (key, value) in [
        ("size", 42.into()),
        ("size", serde_json::json!({ "shortest_edge": 28 })),
        ("size", 16_777_216.into()),
        ("resample", 0.into()),
        ("do_center_crop", true.into()),
        ("do_resize", false.into()),
        ("image_std", [0.5, 0.0, 0.5].into()),
        ("image_mean", [0.5, 0.5].into()),
    ] {
        let problem = refused(follow(changed(key, value.clone())), &["ip_adapter", "image_encoder_path"]);
        assert!(problem.contains("preprocessor_config.json"), "{key} = {value}: {problem}");
    }
}

// -------------------------------------------------------------------------------------------------- refusals

#[test]
fn a_file_that_is_no_controlnet_of_this_model_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = open();
    let refused = |files: AdapterFiles| {
        let call = with_control(controlnet(files));
        refused(pipeline.generate(&call, &Context { observer: &Unobserved, trace: None }), &["controlnet", "path"])
    };
    let changed = |change: &dyn Fn(&mut Tensors), config: Option<&serde_json::Value>| {
        let mut tensors = adapters::controlnet();
        change(&mut tensors);
        refused(adapters::write_files(folder.path(), "c.safetensors", &tensors, config, None))
    };
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let lost = changed(&|tensors| drop(tensors.remove("controlnet_blocks.1.bias")), None);
    assert!(lost.contains("no tensor controlnet_blocks.1.bias") && lost.contains("c.safetensors"), "{lost}");
    let stray = changed(&|tensors| drop(tensors.insert("zebra".into(), zeros(&[1]))), None);
    assert!(stray.contains("zebra"), "{stray}");
    let flat = changed(&|tensors| drop(tensors.insert("controlnet_blocks.0.weight".into(), zeros(&[64]))), None);
    assert!(flat.contains("[64, 64]"), "{flat}");
    let text = changed(&|tensors| drop(tensors.insert("context_embedder.weight".into(), zeros(&[64, 80]))), None);
    assert!(text.contains("Stable Diffusion 3 Medium"), "{text}");
    let none = changed(&|tensors| tensors.clear(), None);
    assert!(none.contains("is not a ControlNet of Stable Diffusion 3.5 Large"), "{none}");
    let twice =
        changed(&|tensors| drop(tensors.insert("transformer_blocks.0.attn.proj.bias".into(), zeros(&[64]))), None);
    assert!(twice.contains("twice"), "{twice}");
    let uneven =
        changed(&|tensors| drop(tensors.insert("transformer_blocks.0.attn.qkv.bias".into(), zeros(&[64]))), None);
    assert!(uneven.contains("equal parts"), "{uneven}");
    for (key, value, said) in [
        ("joint_attention_dim", serde_json::json!(4096), "Stable Diffusion 3 Medium"),
        ("extra_conditioning_channels", 1.into(), "extra_conditioning_channels"),
        ("force_zeros_for_pooled_projection", true.into(), "force_zeros"),
        ("num_attention_heads", 7.into(), "heads"),
        ("num_layers", 3.into(), "transformer_blocks.2"),
        ("num_layers", 1.into(), "too many"),
        ("attention_head_dim", "wide".into(), "attention_head_dim"),
    ] {
        let mut config = adapters::controlnet_config();
        config[key] = value;
        let problem = changed(&|_| (), Some(&config));
        assert!(problem.contains(said), "{key}: {problem}");
    }
    // of another model: half as wide
    let narrow =
        changed(&|tensors| drop(tensors.insert("pos_embed_input.proj.weight".into(), zeros(&[32, 16, 2, 2]))), None);
    assert!(narrow.contains("32 wide") && narrow.contains("64"), "{narrow}");
    // no tensors at all
    let path = folder.path().join("page.html");
    std::fs::write(&path, "<html>404</html>").unwrap();
    let page =
        refused(AdapterFiles { name: "somebody/page".into(), weights: vec![path.clone()], ..AdapterFiles::default() });
    assert!(page.contains("page.html is damaged, or is another kind of file"), "{page}");
    assert!(!page.contains(&*folder.path().to_string_lossy()), "no path of this machine: {page}");
    std::fs::remove_file(&path).unwrap();
    let gone = refused(AdapterFiles { weights: vec![path], ..AdapterFiles::default() });
    assert!(gone.contains("cannot be read"), "{gone}");
    refused(AdapterFiles::default());
}

#[test]
fn an_ip_adapter_of_something_else_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = open();
    let ip = ip_adapter(folder.path());
    let follow = |files| {
        let call = Call { ip_adapter: Some(IpAdapter { files, ..ip.clone() }), steps: 1, ..Variant::Sd35.call() };
        refused(pipeline.generate(&call, &Context { observer: &Unobserved, trace: None }), &["ip_adapter", "path"])
    };
    let changed = |change: &dyn Fn(&mut Tensors)| {
        let mut tensors = adapters::ip_adapter();
        change(&mut tensors);
        follow(adapters::write_files(folder.path(), "i.safetensors", &tensors, None, None))
    };
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let narrow = changed(&|tensors| drop(tensors.insert("image_proj.proj_out.weight".into(), zeros(&[48, 64]))));
    assert!(narrow.contains("48 wide"), "{narrow}");
    let short = changed(&|tensors| tensors.retain(|name, _| !name.starts_with("ip_adapter.3.")));
    assert!(short.contains("of 3 blocks"), "{short}");
    let lost = changed(&|tensors| drop(tensors.remove("ip_adapter.2.norm_q.weight")));
    assert!(lost.contains("ip_adapter.2.norm_q.weight"), "{lost}");
    let odd = changed(&|tensors| drop(tensors.insert("image_proj.layers.0.attn.to_q.weight".into(), zeros(&[40, 64]))));
    assert!(odd.contains("heads of 64"), "{odd}");
    // a pickle with a program in it: nothing runs, and the answer says what was asked for
    let path = folder.path().join("evil.bin");
    let evil = b"\x80\x02cposix\nsystem\nX\x0a\0\0\0touch pwned\x85R.";
    std::fs::write(&path, evil).unwrap();
    let files = AdapterFiles { name: "evil".into(), weights: vec![path.clone()], ..AdapterFiles::default() };
    assert!(follow(files.clone()).contains("not a valid safetensors file"));
    let mut archive = std::fs::read(
        adapters::write_files(folder.path(), "i.bin", &adapters::ip_adapter(), None, None).weights[0].clone(),
    )
    .unwrap();
    let (old, new) = (b"ctorch._utils\n_rebuild_tensor_v2\n", b"cposix_abcdef\n__import__rce_____\n");
    while let Some(at) = archive.windows(old.len()).position(|window| window == old) {
        archive[at..at + new.len()].copy_from_slice(new);
    }
    std::fs::write(&path, archive).unwrap();
    let said = follow(files);
    assert!(said.contains("posix_abcdef.__import__rce") && said.contains("nothing in them is executed"), "{said}");
}

#[test]
fn an_encoder_that_does_not_fit_is_told_which_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = open();
    let ip = ip_adapter(folder.path());
    let changed = |change: &dyn Fn(&mut Tensors)| {
        let mut tensors = adapters::image_encoder();
        change(&mut tensors);
        let config = adapters::image_encoder_config();
        let encoder = adapters::write_files(folder.path(), "e.safetensors", &tensors, Some(&config), None);
        let call = Call { ip_adapter: Some(IpAdapter { encoder, ..ip.clone() }), steps: 1, ..Variant::Sd35.call() };
        let result = pipeline.generate(&call, &Context { observer: &Unobserved, trace: None });
        refused(result, &["ip_adapter", "image_encoder_path"])
    };
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let fits = "google/siglip-so400m-patch14-384";
    let clip = changed(&|tensors| {
        drop(tensors.remove("embeddings.patch_embedding.bias"));
        drop(tensors.insert("vision_model.embeddings.class_embedding".into(), zeros(&[24])));
    });
    assert!(clip.contains("a vision model of CLIP") && clip.contains(fits), "{clip}");
    let text = changed(&|tensors| tensors.retain(|name, _| !name.starts_with("embeddings")));
    assert!(text.contains("not a vision model of SigLIP") && text.contains(fits), "{text}");
    let wide = changed(&|tensors| drop(tensors.insert("embeddings.patch_embedding.bias".into(), zeros(&[768]))));
    assert!(wide.contains("768 wide") && wide.contains("takes 24") && wide.contains(fits), "{wide}");
    let lost = changed(&|tensors| drop(tensors.remove("encoder.layers.1.mlp.fc2.bias")));
    assert!(lost.contains("encoder.layers.1.mlp.fc2.bias"), "{lost}");
}

#[test]
fn numbers_that_mean_nothing_are_refused_before_anything_is_loaded() {
    let pipeline = open();
    let files = AdapterFiles { name: "nowhere".into(), weights: vec!["/nowhere".into()], ..AdapterFiles::default() };
    let nothing = Pixels { width: 0, height: 0, rgb: Vec::new() };
    let control = controlnet(files.clone());
    for (control, field) in [
        (ControlNet { scale: f64::NAN, ..control.clone() }, "conditioning_scale"),
        (ControlNet { start: 0.6, end: 0.5, ..control.clone() }, "end_percentage"),
        (ControlNet { start: -0.1, ..control.clone() }, "end_percentage"),
        (ControlNet { end: f64::NAN, ..control.clone() }, "end_percentage"),
        (ControlNet { picture: nothing.clone(), ..control }, "control_image_url"),
    ] {
        let result = pipeline.generate(&with_control(control), &Context { observer: &Unobserved, trace: None });
        refused(result, &["controlnet", field]);
    }
    let ip = IpAdapter {
        files: files.clone(),
        encoder: files,
        picture: adapters::followed(),
        mask: None,
        mask_threshold: 0.5,
        scale: 0.6,
    };
    for (ip, field) in [
        (IpAdapter { scale: f64::INFINITY, ..ip.clone() }, "scale"),
        (IpAdapter { scale: 1e300, ..ip.clone() }, "scale"),
        (IpAdapter { scale: f64::NAN, ..ip.clone() }, "scale"),
        (IpAdapter { mask_threshold: 1.5, ..ip.clone() }, "mask_threshold"),
        (IpAdapter { picture: nothing.clone(), ..ip.clone() }, "image_url"),
        (IpAdapter { mask: Some(nothing), ..ip }, "mask_image_url"),
    ] {
        let call = Call { ip_adapter: Some(ip), ..Variant::Sd35.call() };
        refused(pipeline.generate(&call, &Context { observer: &Unobserved, trace: None }), &["ip_adapter", field]);
    }
}

#[test]
fn networks_larger_than_any_are_refused_before_they_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = open();
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let run = |call: Call, at: &[&str]| {
        refused(pipeline.generate(&call, &Context { observer: &Unobserved, trace: None }), at)
    };
    let ip = ip_adapter(folder.path());
    let follow = |ip: IpAdapter, at: &[&str]| run(Call { ip_adapter: Some(ip), steps: 1, ..Variant::Sd35.call() }, at);
    let mut tensors = adapters::ip_adapter();
    tensors.insert("image_proj.latents".into(), zeros(&[1, 24_000, 64]));
    let files = adapters::write_files(folder.path(), "i.safetensors", &tensors, None, None);
    let said = follow(IpAdapter { files, ..ip.clone() }, &["ip_adapter", "path"]);
    assert!(said.contains("queries = 24000") && said.contains("at most 1024"), "{said}");
    let mut tensors = adapters::image_encoder();
    tensors.insert("embeddings.position_embedding.weight".into(), zeros(&[100 * 100, 24]));
    let encoder = adapters::write_files(folder.path(), "e.safetensors", &tensors, None, None);
    let said = follow(IpAdapter { encoder, ..ip.clone() }, &["ip_adapter", "image_encoder_path"]);
    assert!(said.contains("patches = 10000") && said.contains("at most 4096"), "{said}");
    // numbers of configurations
    for (key, value) in [("layer_norm_eps", -1e300), ("layer_norm_eps", 0.0), ("layer_norm_eps", 1.0)] {
        let mut config = adapters::image_encoder_config();
        config[key] = value.into();
        let name = "e.safetensors";
        let encoder = adapters::write_files(folder.path(), name, &adapters::image_encoder(), Some(&config), None);
        let said = follow(IpAdapter { encoder, ..ip.clone() }, &["ip_adapter", "image_encoder_path"]);
        assert!(said.contains(key), "{said}");
    }
    for (key, value) in [
        ("image_std", serde_json::json!([0.5, 1e-320, 0.5])),
        ("image_mean", serde_json::json!([0.5, 0.5, 1e300])),
        ("rescale_factor", 1e308.into()),
        ("rescale_factor", 0.into()),
    ] {
        let mut preprocessor = adapters::preprocessor_config();
        preprocessor[key] = value;
        let (name, config) = ("e.safetensors", adapters::image_encoder_config());
        let tensors = adapters::image_encoder();
        let encoder = adapters::write_files(folder.path(), name, &tensors, Some(&config), Some(&preprocessor));
        let said = follow(IpAdapter { encoder, ..ip.clone() }, &["ip_adapter", "image_encoder_path"]);
        assert!(said.contains(key), "{said}");
    }
    // more tensors than any network
    let many: Tensors = (0..20_000).map(|i| (format!("t.{i}"), zeros(&[]))).collect();
    let files = adapters::write_files(folder.path(), "c.safetensors", &many, None, None);
    let said = run(with_control(controlnet(files)), &["controlnet", "path"]);
    assert!(said.contains("more than 16384 tensors"), "{said}");
    // the same name in two shards
    let mut files = adapters::write_controlnet(folder.path());
    files.weights.push(
        adapters::write_files(folder.path(), "c.safetensors", &adapters::controlnet(), None, None).weights.remove(0),
    );
    let said = run(with_control(controlnet(files)), &["controlnet", "path"]);
    assert!(said.contains("in another of the files as well"), "{said}");
}

#[test]
fn networks_of_other_models_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = open();
    let said = |files: AdapterFiles| {
        let call = with_control(controlnet(files));
        refused(pipeline.generate(&call, &Context { observer: &Unobserved, trace: None }), &["controlnet", "path"])
    };
    // more blocks than the model's four
    let mut tensors = adapters::controlnet();
    for i in 2..5 {
        for (name, tensor) in adapters::controlnet() {
            for part in ["transformer_blocks.0.", "controlnet_blocks.0."] {
                if let Some(rest) = name.strip_prefix(part) {
                    tensors.insert(format!("{}{i}.{rest}", part.trim_end_matches("0.")), tensor.clone());
                }
            }
        }
    }
    let deep = said(adapters::write_files(folder.path(), "c.safetensors", &tensors, None, None));
    assert!(deep.contains("another model") && deep.contains("5 blocks"), "{deep}");
    // the model itself
    let model = tiny::of(Variant::Sd35).tempdir();
    let weights = vec![model.path().join("transformer/diffusion_pytorch_model.safetensors")];
    let base = said(AdapterFiles { weights, ..AdapterFiles::default() });
    assert!(base.contains("a model itself") && base.contains("no ControlNet"), "{base}");
}

/// Within a step: between the layers of the encoder and of the resampler, between blocks of the ControlNet and of the model.
#[test]
fn whoever_cancels_is_heard_between_blocks() {
    /// Counts how often it is asked, and cancels at the n-th time.
    #[derive(Default)]
    struct Asked {
        seen: Mutex<Vec<Option<Stage>>>,
        cancel_at: Option<usize>,
    }
    impl Observer for Asked {
        fn stage(&self, stage: Stage) -> Control {
            self.seen.lock().unwrap().push(Some(stage));
            Control::Continue
        }
        fn ask(&self) -> Control {
            let mut seen = self.seen.lock().unwrap();
            seen.push(None);
            let asked = seen.iter().filter(|stage| stage.is_none()).count();
            if self.cancel_at == Some(asked) { Control::Cancel } else { Control::Continue }
        }
    }
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut call = with_control(ControlNet { end: 1.0, ..controlnet(adapters::write_controlnet(folder.path())) });
    call.ip_adapter = Some(ip_adapter(other.path()));
    call.steps = 1;
    let pipeline = open();
    let run = |observer: &Asked| pipeline.generate(&call, &Context { observer, trace: None });
    let whole = Asked::default();
    run(&whole).unwrap();
    let seen = whole.seen.into_inner().unwrap();
    let asked = |after: Stage, before: Stage| {
        let start = seen.iter().rposition(|stage| *stage == Some(after)).unwrap();
        seen[start..].iter().take_while(|stage| **stage != Some(before)).filter(|stage| stage.is_none()).count()
    };
    // two layers of the encoder, of which the last is not computed; then four of the resampler, two and four blocks
    assert_eq!(asked(Stage::Load, Stage::TextEncode), 2, "{seen:?}");
    assert_eq!(asked(Stage::Denoise, Stage::Decode), 4 + 2 + 4, "{seen:?}");
    for cancel_at in 1..=12 {
        let result = run(&Asked { cancel_at: Some(cancel_at), ..Asked::default() });
        assert!(matches!(result, Err(Error::Cancelled)), "{cancel_at}: {result:?}");
    }
}

#[test]
fn an_adapter_that_overflows_is_blamed_and_the_model_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = open();
    let mut tensors = adapters::controlnet();
    let huge = (Tensor::ones(64, DType::F32, &Device::Cpu).unwrap() * 3e38).unwrap();
    tensors.insert("controlnet_blocks.0.bias".into(), huge);
    let call = with_control(ControlNet {
        scale: 1e3,
        ..controlnet(adapters::write_files(folder.path(), "c.safetensors", &tensors, None, None))
    });
    let result = pipeline.generate(&call, &Context { observer: &Unobserved, trace: None });
    let said = refused(result, &["controlnet", "path"]);
    assert!(said.contains("overflow"), "{said}");
}

// ------------------------------------------------------------------------------------------- loading, keeping

#[test]
fn networks_are_loaded_once_and_again_when_their_files_change() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut call = with_control(controlnet(adapters::write_controlnet(folder.path())));
    call.ip_adapter = Some(ip_adapter(other.path()));
    call.steps = 2;
    let pipeline = open();
    let stages = |call: &Call| {
        let seen = Stages::default();
        pipeline.generate(call, &Context { observer: &seen, trace: None }).unwrap();
        seen.seen.into_inner().unwrap()
    };
    let rest = [Stage::TextEncode, Stage::Denoise, Stage::Decode];
    assert_eq!(stages(&call), [&[Stage::Load; 3][..], &rest].concat());
    assert_eq!(stages(&call), rest);
    assert_eq!(stages(&Call { controlnet: None, ip_adapter: None, ..call.clone() }), rest);
    assert_eq!(stages(&call), rest, "they stay for the next call");
    let before = draw(&*pipeline, &call);
    let mut tensors = adapters::controlnet();
    tensors.insert("controlnet_blocks.0.bias".into(), Tensor::ones(64, DType::F32, &Device::Cpu).unwrap());
    tensors.insert("control_type".into(), Tensor::new(&[0u32], &Device::Cpu).unwrap());
    adapters::write_files(folder.path(), "diffusion_pytorch_model.safetensors", &tensors, None, None);
    assert_eq!(stages(&call), [&[Stage::Load; 1][..], &rest].concat());
    assert_ne!(draw(&*pipeline, &call), before);
}

#[test]
fn whoever_cancels_before_a_network_is_loaded_waits_for_none() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut call = with_control(controlnet(adapters::write_controlnet(folder.path())));
    call.ip_adapter = Some(ip_adapter(other.path()));
    let pipeline = open();
    for loads in 1..=3 {
        let observer = Stages { cancel_at: Some(1), ..Stages::default() };
        let result = pipeline.generate(&call, &Context { observer: &observer, trace: None });
        assert!(matches!(result, Err(Error::Cancelled)), "{loads}");
        let observer = Stages { cancel_at: Some(2), ..Stages::default() };
        let result = pipeline.generate(&call, &Context { observer: &observer, trace: None });
        assert!(matches!(result, Err(Error::Cancelled)), "{loads}");
    }
    assert_eq!(draw(&*pipeline, &Call { steps: 1, ..call }).len(), 1);
}

#[test]
fn adapters_compute_in_the_type_of_the_model() {
    let (folder, other, model) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tiny::of(Variant::Sd35).tempdir());
    let mut call = with_control(controlnet(adapters::write_controlnet(folder.path())));
    call.ip_adapter = Some(ip_adapter(other.path()));
    let exact = draw(&*open(), &call);
    let rounded = draw(&*open_in(model.path(), Some(DType::BF16)).unwrap(), &call);
    let difference = common::mean_difference(&exact[0], &rounded[0]);
    assert!(difference > 0.0 && difference < 4.0, "{difference} levels");
}

// --------------------------------------------------------------------------------------------------- helpers

/// A model in a folder that stays: half of the autoencoder is read when a ControlNet first needs it.
struct Model {
    pipeline: Box<dyn Pipeline>,
    _folder: TempDir,
}

impl std::ops::Deref for Model {
    type Target = dyn Pipeline;

    fn deref(&self) -> &Self::Target {
        &*self.pipeline
    }
}

fn open() -> Model {
    let folder = tiny::of(Variant::Sd35).tempdir();
    Model { pipeline: open_in(folder.path(), Some(DType::F32)).unwrap(), _folder: folder }
}

fn controlnet(files: AdapterFiles) -> ControlNet {
    ControlNet { files, picture: tiny::picture(96, 64), scale: 0.7, start: 0.0, end: 0.5 }
}

fn with_control(control: ControlNet) -> Call {
    Call { controlnet: Some(control), ..Variant::Sd35.call() }
}

fn ip_adapter(folder: &Path) -> IpAdapter {
    IpAdapter {
        files: adapters::write_ip_adapter(&folder.join("adapter")),
        encoder: adapters::write_image_encoder(&folder.join("encoder")),
        picture: adapters::followed(),
        mask: None,
        mask_threshold: 0.5,
        scale: 0.6,
    }
}

/// The problem of a call that is refused for an adapter; the model is not at fault.
fn refused(result: scumble_engine::Result<Vec<Pixels>>, at: &[&str]) -> String {
    match result {
        Err(error @ Error::Adapter { .. }) => {
            assert!(!error.is_checkpoint());
            let Error::Adapter { field, problem, .. } = error else { unreachable!() };
            assert_eq!(field, at, "{problem}");
            problem
        }
        other => panic!("{at:?}: {other:?}"),
    }
}

/// Writes down stages, and cancels at one of them, counted from 1.
#[derive(Default)]
struct Stages {
    cancel_at: Option<usize>,
    seen: Mutex<Vec<Stage>>,
}

impl Observer for Stages {
    fn stage(&self, stage: Stage) -> Control {
        let mut seen = self.seen.lock().unwrap();
        seen.push(stage);
        if self.cancel_at == Some(seen.len()) { Control::Cancel } else { Control::Continue }
    }
}

#[test]
fn a_pipeline_without_adapters_reads_none() {
    let pipeline = open();
    let seen = Stages::default();
    pipeline.generate(&Variant::Sd35.call(), &Context { observer: &seen, trace: None }).unwrap();
    assert!(!seen.seen.into_inner().unwrap().contains(&Stage::Load));
}
