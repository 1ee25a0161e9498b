//! Weights as owners have them: one file under its publisher's names, bundles, fp8, GGUF, components of their own. Every one
//! draws, to the bit, what a diffusers folder with the same decoded numbers draws.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops and shows where")]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use common::{copy, drawn, lora_file, noise, published, source_of as of};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use scumble_engine::families::{self, Quantised, Target, Unwritten};
use scumble_engine::rng::Generator;
use scumble_engine::weights::{Checkpoint, Precision, Source, Weights};
use scumble_engine::{Call, Control, DType, Device, Error, Pipeline, Result, Unobserved};
use scumble_testkit::tiny::files::{self, Component, Format, Scales, Tensors, load, write_file};
use scumble_testkit::tiny::{self, Variant};
use tempfile::TempDir;

// ------------------------------------------------------------------------------------------------- one file

#[test]
fn a_publishers_transformer_draws_what_its_folder_draws() {
    for variant in [
        Variant::Schnell,
        Variant::Fill,
        Variant::Sd35,
        Variant::AuraFlow,
        Variant::HiDreamFast,
        Variant::FLite,
        Variant::OmniGen2,
    ] {
        let desk = Desk::new(variant);
        for prefix in ["", "model.diffusion_model."] {
            let file = desk.file("transformer.safetensors");
            write_file(&file, Format::Plain(DType::F32), &[desk.transformer().under(prefix)]);
            desk.is_same(&desk.over_base(&file), desk.folder.path());
        }
    }
}

#[test]
fn a_file_in_diffusers_names_is_read_too() {
    for variant in [Variant::Dev, Variant::Sd35, Variant::AuraFlow] {
        let desk = Desk::new(variant);
        let file = desk.file("whatever.bin");
        let tensors = load(desk.folder.path(), "transformer");
        write_file(&file, Format::Plain(DType::F32), &[Component::same(&tensors)]);
        desk.is_same(&desk.over_base(&file), desk.folder.path());
    }
}

/// Everybody may say `transformer`, whatever the family's folder is called.
#[test]
fn a_transformer_alone_takes_the_place_of_the_folders() {
    for variant in [Variant::Dev, Variant::FLite, Variant::OmniGen2] {
        let desk = Desk::new(variant);
        let file = desk.file("main.safetensors");
        write_file(&file, Format::Plain(DType::F32), &[desk.transformer()]);
        let component = |name: &'static str| of(desk.base.path(), None, &[(name, file.clone())]);
        for name in ["transformer", variant.network()] {
            desk.is_same(&component(name), desk.folder.path());
        }
        let other = Desk::new(Variant::Sd35);
        let stranger = desk.file("sd35.safetensors");
        write_file(&stranger, Format::Plain(DType::F32), &[other.transformer()]);
        let error = refused(of(desk.base.path(), None, &[("transformer", stranger)]));
        assert!(error.contains("StableDiffusion3Pipeline") && error.contains(variant.network()), "{error}");
    }
    let desk = Desk::new(Variant::FLite);
    let file = desk.file("main.safetensors");
    write_file(&file, Format::Plain(DType::F32), &[desk.transformer()]);
    let both = [("transformer", file.clone()), ("dit_model", file)];
    let error = refused(of(desk.base.path(), None, &both));
    assert!(error.contains("dit_model is named twice"), "{error}");
}

/// Sizes that a base's configuration has otherwise are those of the tensors; a schedule that it lacks is the published one.
#[test]
fn sizes_of_f_lite_and_omnigen2_are_those_of_their_tensors() {
    for (variant, wrong) in [
        (Variant::FLite, [("depth", "9"), ("mlp_ratio", "2.5"), ("residual_v", "false")]),
        (Variant::OmniGen2, [("num_layers", "9"), ("multiple_of", "7"), ("num_kv_heads", "3")]),
    ] {
        let desk = Desk::new(variant);
        let file = desk.file("main.safetensors");
        write_file(&file, Format::Plain(DType::F32), &[desk.transformer()]);
        for (key, value) in wrong {
            common::set(desk.base.path(), &format!("{}/config.json", variant.network()), key, value);
        }
        drop(std::fs::remove_dir_all(desk.base.path().join("scheduler")));
        desk.is_same(&desk.over_base(&file), desk.folder.path());
    }
    // the reader's tokenizer may lie beside the file
    let desk = Desk::new(Variant::OmniGen2);
    let file = desk.file("omnigen2.safetensors");
    write_file(&file, Format::Plain(DType::F32), &[desk.transformer()]);
    std::fs::rename(desk.base.path().join("processor"), desk.file("processor")).unwrap();
    desk.is_same(&desk.over_base(&file), desk.folder.path());
    std::fs::remove_dir_all(desk.file("processor")).unwrap();
    let error = refused(desk.over_base(&file));
    assert!(error.contains("processor") && error.contains("--tokenizers"), "{error}");
}

/// Encoders and autoencoder come from the file: the base has no weights at all.
#[test]
fn a_bundle_needs_nothing_of_its_base_but_configurations_and_tokenizers() {
    let encoders = |variant: Variant| -> &[(&str, &str)] {
        match variant {
            Variant::Sd35 => &[("text_encoder", "clip_l"), ("text_encoder_2", "clip_g"), ("text_encoder_3", "t5xxl")],
            Variant::AuraFlow => &[("text_encoder", "pile_t5xl")],
            _ => &[("text_encoder", "clip_l"), ("text_encoder_2", "t5xxl")],
        }
    };
    for (variant, main, vae) in [
        (Variant::Dev, "model.diffusion_model.", "vae."),
        (Variant::Sd35, "model.diffusion_model.", "first_stage_model."),
        (Variant::AuraFlow, "model.", "vae."),
    ] {
        let desk = Desk::new(variant);
        let folder = desk.folder.path();
        let mut parts = vec![desk.transformer().under(main), Component::autoencoder(&load(folder, "vae")).under(vae)];
        for (name, short) in encoders(variant) {
            let mut tensors = load(folder, name);
            if *short == "clip_l" && variant == Variant::Dev {
                // garbage that bundles have there
                tensors.insert("text_projection.weight".into(), tensors["text_model.final_layer_norm.bias"].clone());
            }
            if *short == "t5xxl" {
                tensors.insert("encoder.embed_tokens.weight".into(), tensors["shared.weight"].clone());
            }
            parts.push(Component::same(&tensors).under(&format!("text_encoders.{short}.transformer.")));
        }
        let scale = Tensors::from([("logit_scale".to_owned(), load(folder, "vae")["decoder.conv_out.bias"].clone())]);
        parts.push(Component::same(&scale).under("text_encoders.clip_l."));
        let file = desk.file("bundle.safetensors");
        write_file(&file, Format::Plain(DType::F32), &parts);
        desk.strip_base();
        assert_eq!(families::examine(None, desk.over_base(&file)).len(), 0);
        desk.is_same(&desk.over_base(&file), folder);
    }
}

/// Schedules are published constants where no base has one; tokenizers may lie beside the file.
#[test]
fn what_a_file_lacks_may_come_piece_by_piece() {
    let desk = Desk::new(Variant::Sd35);
    let folder = desk.folder.path();
    let file = desk.file("sd3.5.safetensors");
    write_file(&file, Format::Plain(DType::F32), &[desk.transformer()]);
    for name in ["tokenizer", "tokenizer_2", "tokenizer_3"] {
        copy(&folder.join(name), &desk.file(name));
    }
    let vae = desk.file("vae.safetensors");
    write_file(&vae, Format::Plain(DType::F32), &[Component::autoencoder(&load(folder, "vae"))]);
    let components = ["vae", "text_encoder", "text_encoder_2", "text_encoder_3"].map(|name| (name, folder.join(name)));
    desk.is_same(&of(&file, None, &components), folder);
    // what is nowhere is said, and what to do
    let error = refused(of(&file, None, &components[1..]));
    assert!(
        error.contains("vae") && error.contains("--component vae=PATH") && error.contains("--weights-base"),
        "{error}"
    );
    std::fs::remove_dir_all(desk.file("tokenizer_2")).unwrap();
    let error = refused(of(&file, None, &components));
    assert!(error.contains("tokenizer_2") && error.contains("--weights-base"), "{error}");
}

// ---------------------------------------------------------------------------------------------- quantised

#[test]
fn every_encoding_draws_what_its_decoded_numbers_draw() {
    let fp8 = [
        None,
        Some(Scales::Marked),
        Some(Scales::Bare),
        Some(Scales::Rows),
        Some(Scales::Layers),
        Some(Scales::Header),
    ];
    let formats = [Format::Plain(DType::BF16), Format::Plain(DType::F16), Format::Gguf].into_iter();
    for format in formats.chain(fp8.map(Format::Fp8)) {
        let desk = Desk::new(Variant::Sd35);
        let file = desk.file("transformer");
        let decoded = write_file(&file, format, &[desk.transformer()]);
        let oracle = desk.with("transformer", &decoded[0]);
        desk.is_same(&desk.over_base(&file), oracle.path());
        assert_ne!(desk.draw(oracle.path()), desk.draw(desk.folder.path()), "{format:?} changes something");
    }
}

#[test]
fn quantised_transformers_of_every_family_are_read() {
    for variant in [Variant::Dev, Variant::AuraFlow, Variant::HiDreamFast, Variant::FLite, Variant::OmniGen2] {
        for format in [Format::Gguf, Format::Fp8(Some(Scales::Marked))] {
            let desk = Desk::new(variant);
            let file = desk.file("transformer");
            let decoded = write_file(&file, format, &[desk.transformer().under("model.diffusion_model.")]);
            let oracle = desk.with(variant.network(), &decoded[0]);
            desk.is_same(&desk.over_base(&file), oracle.path());
        }
    }
}

#[test]
fn text_encoders_come_in_llama_cpps_names() {
    for (variant, name) in [
        (Variant::Schnell, "text_encoder_2"),
        (Variant::AuraFlow, "text_encoder"),
        (Variant::HiDreamFast, "text_encoder_3"),
        (Variant::HiDreamFast, "text_encoder_4"),
    ] {
        let desk = Desk::new(variant);
        let folder = desk.folder.path();
        let tensors = load(folder, name);
        let component = if name == "text_encoder_4" {
            let heads = |entry| files::size(folder, name, entry);
            Component::llama_cpp(&tensors, heads("num_attention_heads"), heads("num_key_value_heads"))
        } else {
            Component::t5_cpp(&tensors)
        };
        let file = desk.file("encoder.gguf");
        let mut decoded = write_file(&file, Format::Gguf, &[component]).remove(0);
        // what converters leave out
        decoded.extend(
            tensors
                .into_iter()
                .filter(|(name, _)| name.ends_with("embed_tokens.weight") && name.starts_with("encoder")),
        );
        let oracle = desk.with(name, &decoded);
        let source = of(folder, None, &[(name, file)]);
        desk.is_same(&source, oracle.path());
    }
}

/// A LoRA over quantised weights is a LoRA over what they decode to.
#[test]
fn loras_are_merged_into_decoded_weights() {
    let desk = Desk::new(Variant::Dev);
    let file = desk.file("transformer.gguf");
    let decoded = write_file(&file, Format::Gguf, &[desk.transformer()]);
    let oracle = desk.with("transformer", &decoded[0]);
    let mut generator = Generator::new(5);
    let (down, up) = (noise(&mut generator, &[2, 64]), noise(&mut generator, &[192, 2]));
    let lora = lora_file(&[
        ("lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", &down),
        ("lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight", &up),
        // has no short form
        ("lora_unet_single_blocks_0_linear2.diff", &noise(&mut generator, &[64, 320])),
    ]);
    let call = common::with_loras(Variant::Dev, vec![lora.write(&desk.file("lora.safetensors"), 1.0)]);
    let drawn = |source: Source| draw_with(&*open(source).unwrap(), &call);
    let changed = drawn(desk.over_base(&file));
    assert_eq!(changed, drawn(Source::Folder(oracle.path().into())));
    assert_ne!(changed, desk.draw(oracle.path()));
}

/// Matrices stay as the file has them: that is what a model is said to take.
#[test]
fn quantised_matrices_count_as_what_they_take() {
    let desk = Desk::new(Variant::Dev);
    let file = desk.file("transformer.safetensors");
    write_file(&file, Format::Fp8(Some(Scales::Marked)), &[desk.transformer()]);
    let wide = Precision { device: Device::Cpu, dtype: Some(DType::F32) };
    let takes = |source| families::footprint(&Checkpoint::open(source).unwrap(), &wide).unwrap().bytes as usize;
    let saved = (takes(Source::Folder(desk.folder.path().into())) - takes(desk.over_base(&file))) / 4;
    let numbers: usize = load(desk.folder.path(), "transformer").values().map(scumble_engine::Tensor::elem_count).sum();
    assert!((numbers / 2..numbers).contains(&saved), "{saved} of {numbers}");
}

/// Where nobody names a type, all of a component is computed in one, and blocks are multiplied as whole numbers: a picture that
/// is near to the exact one and is not the same.
#[test]
fn blocks_are_multiplied_as_whole_numbers_where_float32_is_not_asked_for() {
    for variant in [Variant::Dev, Variant::Sd35] {
        let desk = Desk::new(variant);
        let file = desk.file("transformer.gguf");
        let folder = Source::Folder(desk.folder.path().into());
        written(&Quantised::plan(None, folder, Target::Q8_0).unwrap(), &file).unwrap();
        let of = |dtype| {
            let pipeline = families::open(desk.over_base(&file), &Precision { device: Device::Cpu, dtype }).unwrap();
            draw_with(&*pipeline, &desk.call())
        };
        let (exact, rounded) = (of(Some(DType::F32)), of(None));
        let off: f64 = exact.iter().zip(&rounded).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
        let off = off / exact.len() as f64;
        assert!(off > 0.0 && off < 1.0, "{variant:?}: {off}");
    }
}

// ----------------------------------------------------------------------------------------------- written

/// Every family's transformer as it is written: near to what it was, number by number, and in the picture.
#[test]
fn what_is_quantised_is_read_again_and_near_to_what_it_was() {
    for variant in [Variant::Dev, Variant::Fill, Variant::Sd35, Variant::AuraFlow, Variant::HiDreamFast] {
        let desk = Desk::new(variant);
        let folder = Source::Folder(desk.folder.path().into());
        let before = desk.draw(desk.folder.path());
        for (target, most) in [(Target::Q8_0, 1.0), (Target::Q4K, 7.0)] {
            let file = desk.file(&format!("{target:?}.gguf"));
            let plan = Quantised::plan(None, folder.clone(), target).unwrap();
            assert!(!plan.is_twice());
            written(&plan, &file).unwrap();
            assert_eq!(std::fs::metadata(&file).unwrap().len(), plan.bytes());
            // by names and shapes it is what publishers have
            let own: Vec<String> = titles(&file);
            let published = desk.file("published.gguf");
            write_file(&published, Format::Gguf, &[desk.transformer()]);
            let known = titles(&published);
            assert!(own.iter().eq(known.iter()), "{variant:?}: {own:?}");
            is_near(desk.folder.path(), &desk.over_base(&file), target);
            for source in [desk.over_base(&file), of(desk.folder.path(), None, &[("transformer", file.clone())])] {
                assert!(families::examine(None, source.clone()).is_empty());
                let after = draw_with(&*open(source).unwrap(), &desk.call());
                let off: f64 = before.iter().zip(&after).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
                let off = off / before.len() as f64;
                assert!(off > 0.0 && off < most, "{variant:?} {target:?}: {off}");
            }
            // once more, from what was written
            let again = Quantised::plan(None, desk.over_base(&file), target).unwrap();
            assert!(again.is_twice());
            assert_eq!(again.bytes(), plan.bytes());
        }
        let sizes = ["Q8_0", "Q4K"].map(|name| std::fs::metadata(desk.file(&format!("{name}.gguf"))).unwrap().len());
        assert!(sizes[1] < sizes[0], "{sizes:?}");
    }
}

/// candle's reader knows nothing of ours, and finds the same numbers.
#[test]
fn what_is_quantised_is_what_others_read() {
    let desk = Desk::new(Variant::Dev);
    let wide = Precision { device: Device::Cpu, dtype: Some(DType::F32) };
    for target in [Target::Q8_0, Target::Q4K] {
        let path = desk.file(&format!("{target:?}.gguf"));
        written(&Quantised::plan(None, Source::Folder(desk.folder.path().into()), target).unwrap(), &path).unwrap();
        let mut file = std::fs::File::open(&path).unwrap();
        let content = candle_core::quantized::gguf_file::Content::read(&mut file).unwrap();
        assert_eq!(content.metadata["general.architecture"].to_string().unwrap(), "flux");
        let own = Checkpoint::open(desk.over_base(&path)).unwrap();
        let own = own.weights("transformer", "diffusion_pytorch_model", &wide).unwrap();
        let shapes = own.names_and_shapes();
        for (theirs, ours) in [
            ("double_blocks.0.img_mlp.2.weight", "transformer_blocks.0.ff.net.2.weight"),
            ("double_blocks.0.img_mlp.0.weight", "transformer_blocks.0.ff.net.0.proj.weight"),
            ("single_blocks.1.linear2.weight", "single_transformer_blocks.1.proj_out.weight"),
            ("img_in.weight", "x_embedder.weight"),
        ] {
            let read = content.tensor(&mut file, theirs, &Device::Cpu).unwrap().dequantize(&Device::Cpu).unwrap();
            let own = own.get(&shapes[ours][..], ours).unwrap();
            assert_eq!(read.dims(), own.dims(), "{theirs}");
            let numbers = |tensor: &scumble_engine::Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(numbers(&read) == numbers(&own), "{target:?} {theirs}");
        }
    }
}

/// Types that files come in stay, where numbers are not put into blocks.
#[test]
fn what_is_quantised_may_come_from_any_file() {
    let desk = Desk::new(Variant::Dev);
    for (format, most) in
        [(Format::Plain(DType::F16), 0), (Format::Plain(DType::BF16), 0), (Format::Fp8(Some(Scales::Rows)), 1)]
    {
        let file = desk.file("transformer.safetensors");
        write_file(&file, format, &[desk.transformer().under("model.diffusion_model.")]);
        // a base that lacks the rest: the transformer alone counts
        desk.strip_base();
        let plan = Quantised::plan(Some("FluxPipeline"), desk.over_base(&file), Target::Q8_0).unwrap();
        let out = desk.file("transformer.gguf");
        written(&plan, &out).unwrap();
        assert!(most == 1 || plan.bytes() < std::fs::metadata(&file).unwrap().len(), "{format:?}");
        is_near_file(&desk.over_base(&file), &desk.over_base(&out), Target::Q8_0);
    }
}

#[test]
fn what_cannot_be_quantised_is_told_before_anything_is_written() {
    let desk = Desk::new(Variant::Schnell);
    let plan = |class, source| Quantised::plan(class, source, Target::Q8_0).err().expect("it is refused").to_string();
    let folder = || Source::Folder(desk.folder.path().into());
    assert!(plan(Some("AuraFlowPipeline"), folder()).contains("this endpoint needs AuraFlowPipeline"));
    let other = tiny::of(Variant::FLite).tempdir();
    let error = plan(None, Source::Folder(other.path().into()));
    assert!(error.contains("FLitePipeline is not supported; supported: FluxPipeline"), "{error}");
    let file = desk.file("transformer.safetensors");
    write_file(&file, Format::Plain(DType::F32), &[desk.transformer().without("single_blocks.1.linear2")]);
    let error = plan(None, desk.over_base(&file));
    assert!(error.contains("single_transformer_blocks.1.proj_out.bias is missing"), "{error}");
    // numbers that no block holds are found when they are read
    let mut tensors = load(desk.folder.path(), "transformer");
    let odd = tensors["transformer_blocks.0.ff.net.2.weight"].affine(f64::INFINITY, 0.0).unwrap();
    tensors.insert("transformer_blocks.0.ff.net.2.weight".into(), odd);
    let infinite = desk.with("transformer", &tensors);
    let quantised = Quantised::plan(None, Source::Folder(infinite.path().into()), Target::Q8_0).unwrap();
    let error = written(&quantised, &desk.file("x.gguf")).unwrap_err().to_string();
    assert!(error.contains("transformer_blocks.0.ff.net.2.weight") && error.contains("not finite"), "{error}");
}

/// Stops after so many pieces.
struct Stop(std::sync::atomic::AtomicUsize);

impl scumble_engine::Reading for Stop {
    fn read(&self, _bytes: u64) -> Control {
        match self.0.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) {
            0 => Control::Cancel,
            _ => Control::Continue,
        }
    }
}

#[test]
fn who_stops_it_is_heard_after_each_tensor() {
    let desk = Desk::new(Variant::Schnell);
    let plan = Quantised::plan(None, Source::Folder(desk.folder.path().into()), Target::Q8_0).unwrap();
    for pieces in [0, 3] {
        let mut out = Vec::new();
        let stopped = plan.write(&mut out, &Stop(pieces.into()));
        assert!(matches!(stopped, Err(Unwritten::Read(Error::Cancelled))), "{stopped:?}");
        assert!((out.len() as u64) < plan.bytes() / 2);
    }
}

fn written(plan: &Quantised, path: &Path) -> std::result::Result<(), Unwritten> {
    plan.write(&mut std::fs::File::create(path).unwrap(), &Stop(usize::MAX.into()))
}

/// The names of a GGUF file's tensors, in order of the alphabet.
fn titles(file: &Path) -> Vec<String> {
    let mut file = std::fs::File::open(file).unwrap();
    let content = candle_core::quantized::gguf_file::Content::read(&mut file).unwrap();
    let mut names: Vec<String> = content.tensor_infos.into_keys().collect();
    names.sort();
    names
}

fn is_near(folder: &Path, after: &Source, target: Target) {
    is_near_file(&Source::Folder(folder.to_owned()), after, target);
}

/// Every number of a transformer is within the step of its block.
fn is_near_file(before: &Source, after: &Source, target: Target) {
    let wide = Precision { device: Device::Cpu, dtype: Some(DType::F32) };
    let weights = |source: &Source| {
        Checkpoint::open(source.clone()).unwrap().weights("transformer", "diffusion_pytorch_model", &wide).unwrap()
    };
    let (before, after) = (weights(before), weights(after));
    let shapes = before.names_and_shapes();
    assert!(shapes.len() > 20);
    let (mut same, mut other) = (0, 0);
    for (name, shape) in shapes {
        let numbers = |weights: &Weights| -> Vec<f32> {
            weights.get(&shape[..], &name).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        let (x, y) = (numbers(&before), numbers(&after));
        if x == y {
            same += 1;
            continue;
        }
        other += 1;
        assert_eq!(shape.len(), 2, "{name}");
        // 256 share the steps that 32 are counted in
        let is_k = target == Target::Q4K && shape[1] % 256 == 0;
        for (x, y) in x.chunks(if is_k { 256 } else { 32 }).zip(y.chunks(if is_k { 256 } else { 32 })) {
            let (low, high) = x.iter().fold((0f32, 0f32), |(low, high), x| (low.min(*x), high.max(*x)));
            let most = match target {
                Target::Q8_0 => high.max(-low) / 254.0 * 1.01,
                Target::Q4K if is_k => (high - low) / 15.0 * 1.5,
                Target::Q4K => high.max(-low) / 15.0 * 1.01,
            };
            x.iter().zip(y).for_each(|(x, y)| assert!((x - y).abs() <= most + 1e-6, "{name}: {x} {y}, {most}"));
        }
    }
    assert!(same > 5 && other > 5, "{same} as they were, {other} in blocks");
}

// ------------------------------------------------------------------------------------------------ refused

#[test]
fn wrong_files_say_what_was_found_and_what_is_expected() {
    let desk = Desk::new(Variant::Schnell);
    let file = desk.file("transformer.safetensors");
    let plain = Format::Plain(DType::F32);
    let says = |component: Component, format: Format, parts: &[&str]| {
        write_file(&file, format, &[component]);
        let error = refused(desk.over_base(&file));
        assert!(error.contains("transformer.safetensors"), "{error}");
        parts.iter().for_each(|part| assert!(error.contains(part), "{part:?} is not in {error:?}"));
    };
    says(desk.transformer().without("img_in"), plain, &["x_embedder.weight", "missing"]);
    says(
        desk.transformer().without("single_blocks.1.linear2"),
        plain,
        &["single_transformer_blocks.1.proj_out", "missing"],
    );
    says(Component::autoencoder(&load(desk.folder.path(), "vae")), plain, &["an autoencoder and no transformer"]);
    let stray =
        Tensors::from([("zebra.weight".to_owned(), load(desk.folder.path(), "vae")["decoder.conv_out.bias"].clone())]);
    says(Component::same(&stray), plain, &["no model", "zebra.weight"]);
    // a scale that nobody knows
    let mut odd = load(desk.folder.path(), "transformer");
    odd.insert("proj_out.weight_scale_2".into(), odd["proj_out.bias"].clone());
    says(Component::same(&odd), plain, &["proj_out.weight_scale_2", "does not belong"]);
    // a scale of something that is no matrix there
    odd.remove("proj_out.weight_scale_2");
    odd.insert("zebra.weight_scale".into(), odd["proj_out.bias"].clone());
    says(Component::same(&odd), plain, &["zebra.weight_scale", "zebra.weight", "missing"]);
    odd.remove("zebra.weight_scale");
    odd.insert("proj_out.weight.quant_state.bitsandbytes__nf4".into(), odd["proj_out.bias"].clone());
    says(Component::same(&odd), plain, &["NF4", "proj_out.weight"]);
    // one layer whose scale is gone
    for layer in ["double_blocks.0.img_mlp.0", "txt_in"] {
        write_file(&file, Format::Fp8(Some(Scales::Marked)), &[desk.transformer()]);
        let said = edited(&file, &format!("\"{layer}.scale_weight"), &format!("\"{layer}.scale_zebra!"));
        assert!(said.contains(&format!("{layer}.weight is fp8 without a scale")), "{said}");
    }
}

/// A note that the tensors do not bear out, or that says more than is understood: what it means for the numbers is not guessed.
#[test]
fn notes_of_scaled_files_that_contradict_their_tensors_are_refused() {
    let desk = Desk::new(Variant::Schnell);
    let file = desk.file("transformer.safetensors");
    let says = |scales: Option<Scales>, prefix: &str, change: &dyn Fn(&mut Stored), parts: &[&str]| {
        let whole = desk.file(&format!("{scales:?}{prefix}"));
        if !whole.exists() {
            write_file(&whole, Format::Fp8(scales), &[desk.transformer().under(prefix)]);
        }
        std::fs::copy(whole, &file).unwrap();
        restored(&file, change);
        let error = refused(desk.over_base(&file));
        assert!(error.contains("transformer.safetensors"), "{error}");
        parts.iter().for_each(|part| assert!(error.contains(part), "{part:?} is not in {error:?}"));
    };
    let marker = |name: &'static str, dtype: Dtype| {
        move |stored: &mut Stored| drop(stored.tensors.insert(name.into(), (dtype, vec![0], Vec::new())))
    };
    let marked = Some(Scales::Marked);
    says(
        marked,
        "",
        &marker("scaled_fp8", Dtype::F8_E5M2),
        &["scaled_fp8 says that", ".weight", "float8_e5m2", "float8_e4m3fn"],
    );
    says(
        marked,
        "",
        &marker("scaled_fp8", Dtype::BF16),
        &["scaled_fp8 has the type bfloat16", "expected float8_e4m3fn"],
    );
    let above = "model.diffusion_model.";
    for name in ["scaled_fp8", "model.diffusion_model.scaled_fp8"] {
        says(None, above, &marker(name, Dtype::F8_E4M3), &[name, "none has a scale", "LAYER.weight_scale"]);
    }
    // of one layer
    let layer = "double_blocks.0.img_mlp.0";
    let noted = |note: &'static str| {
        move |stored: &mut Stored| {
            let bytes = note.as_bytes().to_vec();
            let note = (Dtype::U8, vec![bytes.len()], bytes);
            stored.tensors.insert(format!("{layer}.comfy_quant"), note);
        }
    };
    let about = format!("{layer}.comfy_quant");
    for (note, parts) in [
        (r#"{"format":"float8_e4m3fn","group_size":64}"#, ["group_size: 64", "expected format and full_precision"]),
        (r#"{"format":"float8_e4m3fn","zero_point":true}"#, ["zero_point: true", "expected format and full_precision"]),
        (r#"{"format":"float8_e5m2"}"#, ["float8_e5m2", "it is float8_e4m3fn"]),
        (r#"{"format":"int8_blockwise","group_size":64}"#, ["int8_blockwise", "expected float8_e4m3fn"]),
        (r#"{"scale":2}"#, ["the format nothing", "expected float8_e4m3fn"]),
        (r#"["float8_e4m3fn"]"#, ["the format nothing", "expected float8_e4m3fn"]),
        ("float8_e4m3fn", ["not JSON", "notes of layers"]),
    ] {
        says(Some(Scales::Layers), "", &noted(note), &[&about, parts[0], parts[1]]);
    }
    let bare = |stored: &mut Stored| drop(stored.tensors.remove(&format!("{layer}.weight_scale")));
    says(Some(Scales::Layers), "", &bare, &[&format!("{layer}.weight has no scale"), "expected"]);
    // of all layers
    let header = |old: &'static str, new: &'static str| {
        move |stored: &mut Stored| {
            let note = stored.notes.get_mut("_quantization_metadata").unwrap();
            assert!(note.contains(old), "{note}");
            *note = note.replacen(old, new, 1);
        }
    };
    for (old, new, parts) in [
        (r#"{"format":"#, r#"{"group_size":16,"format":"#, ["group_size: 16", "_quantization_metadata of "]),
        (r#"float8_e4m3fn"#, "float8_e5m2", ["float8_e5m2", "it is float8_e4m3fn"]),
        (r#""1.0""#, r#""2.0""#, ["format_version \"2.0\"", "expected \"1.0\""]),
        (
            r#"{"format_version""#,
            r#"{"rotation":1,"format_version""#,
            ["rotation: 1", "expected format_version and layers"],
        ),
        (r#""layers":{"#, r#""layers":{"zebra":{"format":"float8_e4m3fn"},"#, ["zebra.weight", "missing"]),
    ] {
        says(Some(Scales::Header), above, &header(old, new), &["_quantization_metadata", parts[0], parts[1]]);
    }
    // which products its writer wants says nothing of the numbers
    let decoded = write_file(&file, Format::Fp8(Some(Scales::Layers)), &[desk.transformer()]);
    restored(&file, &noted(r#"{"format":"float8_e4m3fn","full_precision_matrix_mult":true}"#));
    desk.is_same(&desk.over_base(&file), desk.with("transformer", &decoded[0]).path());
}

#[test]
fn other_kinds_of_files_are_told_apart() {
    let desk = Desk::new(Variant::Schnell);
    let file = desk.file("model.gguf");
    write_file(&file, Format::Gguf, &[desk.transformer()]);
    let whole = std::fs::read(&file).unwrap();
    let says = |bytes: &[u8], part: &str| {
        std::fs::write(&file, bytes).unwrap();
        let error = refused(desk.over_base(&file));
        assert!(error.contains(part) && error.contains("model.gguf"), "{part:?} is not in {error:?}");
    };
    says(&whole[..whole.len() - 1], "cut short");
    says(&whole[..100], "cut short");
    says(b"PK\x03\x04 and so on", "pickle");
    says(b"\x80\x02}q\x00.", "pickle");
    says(b"no weights at all", "safetensors");
    // the last tensor's type is one that nobody reads
    let at = whole.windows(9).rposition(|window| window == *b"linear2.w").unwrap() + "linear2.weight".len();
    let mut unknown = whole.clone();
    unknown[at + 4 + 16..at + 4 + 20].copy_from_slice(&23u32.to_le_bytes());
    says(&unknown, "IQ4_XS");
}

#[test]
fn components_must_be_what_they_are_named() {
    let desk = Desk::new(Variant::Schnell);
    let folder = desk.folder.path();
    let vae = desk.file("ae.safetensors");
    write_file(&vae, Format::Plain(DType::F32), &[Component::autoencoder(&load(folder, "vae"))]);
    desk.is_same(&of(folder, None, &[("vae", vae.clone())]), folder);
    let error = refused(of(folder, None, &[("text_encoder", vae.clone())]));
    assert!(error.contains("holds an autoencoder; expected a CLIP text encoder"), "{error}");
    for path in [vae, folder.join("text_encoder")] {
        let error = refused(of(folder, None, &[("text_encoder_4", path)]));
        assert!(error.contains("text_encoder_4") && error.contains("transformer, vae, text_encoder"), "{error}");
    }
    // another family's transformer
    let other = Desk::new(Variant::Sd35);
    let file = desk.file("sd35.safetensors");
    write_file(&file, Format::Plain(DType::F32), &[other.transformer()]);
    let error = refused(of(folder, None, &[("transformer", file.clone())]));
    assert!(error.contains("StableDiffusion3Pipeline") && error.contains("FluxPipeline"), "{error}");
    let error = refused(desk.over_base(&file));
    assert!(error.contains("FluxPipeline") && error.contains("StableDiffusion3Pipeline"), "{error}");
}

// ------------------------------------------------------------------------------------------------- common

/// A tiny folder, a base that lacks its transformer, and room for files.
struct Desk {
    variant: Variant,
    folder: TempDir,
    base: TempDir,
    files: TempDir,
}

impl Desk {
    fn new(variant: Variant) -> Self {
        let folder = tiny::of(variant).tempdir();
        let base = tempfile::tempdir().unwrap();
        copy(folder.path(), base.path());
        let main = format!("{}/diffusion_pytorch_model.safetensors", variant.network());
        std::fs::remove_file(base.path().join(main)).unwrap();
        Self { variant, folder, base, files: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn transformer(&self) -> Component {
        let tensors = load(self.folder.path(), self.variant.network());
        match published(self.variant) {
            Some(names) => Component::published(&tensors, names),
            None => Component::same(&tensors),
        }
    }

    fn over_base(&self, file: &Path) -> Source {
        of(file, Some(self.base.path()), &[])
    }

    /// Takes all weights out of the base.
    fn strip_base(&self) {
        for folder in std::fs::read_dir(self.base.path()).unwrap().map(|entry| entry.unwrap().path()) {
            for name in ["model.safetensors", "diffusion_pytorch_model.safetensors"] {
                drop(std::fs::remove_file(folder.join(name)));
            }
        }
    }

    /// The folder with other tensors in a component.
    fn with(&self, component: &str, tensors: &Tensors) -> TempDir {
        let other = tempfile::tempdir().unwrap();
        copy(self.folder.path(), other.path());
        files::replace(other.path(), component, tensors);
        other
    }

    fn call(&self) -> Call {
        Call { steps: 2, ..self.variant.call() }
    }

    fn draw(&self, folder: &Path) -> Vec<u8> {
        draw_with(&*open(Source::Folder(folder.into())).unwrap(), &self.call())
    }

    fn is_same(&self, source: &Source, folder: &Path) {
        let pipeline = open(source.clone()).unwrap_or_else(|error| panic!("{:?} {source:?}: {error}", self.variant));
        assert!(draw_with(&*pipeline, &self.call()) == self.draw(folder), "{:?} {source:?}", self.variant);
    }
}

fn open(source: Source) -> Result<Box<dyn Pipeline>> {
    families::open(source, &Precision { device: Device::Cpu, dtype: Some(DType::F32) })
}

/// Why weights cannot be used: the same for who loads and who only looks.
fn refused(source: Source) -> String {
    let error = open(source.clone()).err().expect("it is refused");
    assert!(error.is_checkpoint() || matches!(error, Error::Tensor(_)), "{error}");
    assert!(!families::examine(None, source).is_empty());
    error.to_string()
}

/// Why a file cannot be used in which a name was exchanged.
fn edited(file: &Path, old: &str, new: &str) -> String {
    let mut bytes = std::fs::read(file).unwrap();
    let at = bytes.windows(old.len()).position(|window| window == old.as_bytes()).unwrap();
    bytes[at..at + old.len()].copy_from_slice(&new.as_bytes()[..old.len()]);
    std::fs::write(file, bytes).unwrap();
    let source = of(file, None, &[]);
    families::examine(None, source).iter().map(ToString::to_string).collect()
}

/// What a safetensors file holds.
struct Stored {
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
    notes: HashMap<String, String>,
}

/// Writes a safetensors file anew, changed.
fn restored(file: &Path, change: &dyn Fn(&mut Stored)) {
    let bytes = std::fs::read(file).unwrap();
    let (_, head) = SafeTensors::read_metadata(&bytes).unwrap();
    let tensor =
        |(name, view): (String, TensorView<'_>)| (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()));
    let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors().into_iter().map(tensor).collect();
    let mut stored = Stored { tensors, notes: head.metadata().clone().unwrap_or_default() };
    change(&mut stored);
    let views = stored
        .tensors
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    std::fs::write(file, safetensors::serialize(views, Some(stored.notes)).unwrap()).unwrap();
}

fn draw_with(pipeline: &dyn Pipeline, call: &Call) -> Vec<u8> {
    drawn(pipeline, call, &Unobserved).unwrap().rgb
}
