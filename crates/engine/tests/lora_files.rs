//! Files of LoRAs that are wrong, damaged or only partly of use: each is told why, and the model goes on.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops and shows where")]

mod common;

use common::{Remarks, draw, drawn, largest_difference, lora_file, noise, open, open_in, set, with_loras};
use scumble_engine::adapters::Lora;
use scumble_engine::families::Pipeline;
use scumble_engine::rng::Generator;
use scumble_engine::{Call, DType, Device, Error, Tensor, Unobserved};
use scumble_testkit::tiny::loras::{self, LoraFile};
use scumble_testkit::tiny::{self, Variant};

// ------------------------------------------------------------------------------------------------- strays

#[test]
fn what_has_no_place_is_told_once_with_its_first_names() {
    let (folder, pipeline) = (tempfile::tempdir().unwrap(), open(Variant::Dev));
    let mut tensors = loras::sets(Variant::Dev).remove(0).files["kohya"].tensors.clone();
    let clean = LoraFile::of(tensors.clone()).write(&folder.path().join("clean"), 1.0);
    let one = Tensor::new(1f32, &Device::Cpu).unwrap();
    for name in ["lora_unet_single_blocks_99_linear1.alpha", "zebra", "lora_te3_x.lora_down.weight", "yak", "Ünïcode\n"]
    {
        tensors.insert(name.into(), one.clone());
    }
    let stray = LoraFile::of(tensors).write(&folder.path().join("stray"), 1.0);
    let remarks = Remarks::default();
    let picture = drawn(&*pipeline, &with_loras(Variant::Dev, vec![stray]), &remarks).unwrap();
    assert_eq!(picture, draw(&*pipeline, &with_loras(Variant::Dev, vec![clean])).remove(0));
    let remarks = remarks.all();
    assert_eq!(remarks.len(), 1, "{remarks:?}");
    for fact in
        ["LoRA stray", "5 of the", "lora_te3_x.lora_down.weight", "lora_unet_single_blocks_99_linear1.alpha", "zebra"]
    {
        assert!(remarks[0].contains(fact), "{}: {fact}", remarks[0]);
    }
}

#[test]
fn an_encoder_that_is_left_out_has_no_place_for_changes() {
    let (folder, tiny) = (tempfile::tempdir().unwrap(), tiny::of(Variant::Sd35).tempdir());
    set(tiny.path(), "model_index.json", "text_encoder_3", "[null, null]");
    let pipeline = open_in(tiny.path(), None).unwrap();
    let mut sets = loras::sets(Variant::Sd35).into_iter();
    let mut tensors = sets.next().unwrap().files["kohya"].tensors.clone();
    let third = sets.find(|set| set.name == "text_encoder_3").unwrap();
    tensors.extend(third.files["lora_te3_"].tensors.clone());
    let remarks = Remarks::default();
    let lora = LoraFile::of(tensors).write(&folder.path().join("lora"), 1.0);
    drawn(&*pipeline, &with_loras(Variant::Sd35, vec![lora]), &remarks).unwrap();
    assert!(remarks.all()[0].contains("lora_te3_encoder_block_0"), "{:?}", remarks.all());
}

// -------------------------------------------------------------------------------------------------- errors

/// The tensors of a file, and what is said of it.
type Case = (Vec<(String, Tensor)>, &'static [&'static str]);

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let pipeline = open(Variant::Dev);
    let t = |shape: &[usize]| Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap();
    let q = "transformer.transformer_blocks.0.attn.to_q";
    let key = |end: &str| format!("{q}.{end}");
    let qkv = "lora_unet_double_blocks_0_img_attn_qkv";
    let fused = |end: &str| format!("{qkv}.{end}");
    let good = || vec![(key("lora_A.weight"), t(&[2, 64])), (key("lora_B.weight"), t(&[64, 2]))];
    let with = |more: Vec<(String, Tensor)>| good().into_iter().chain(more).collect::<Vec<_>>();
    let nan = Tensor::full(f32::NAN, (2, 64), &Device::Cpu).unwrap();
    let cases: Vec<Case> = vec![
        (
            vec![("some.thing.weight".into(), t(&[2, 2]))],
            &["some.thing.weight", "PEFT", "kohya", "XLabs", "OneTrainer", "SimpleTuner"],
        ),
        (
            vec![("lora_unet_joint_blocks_0_x_block_attn_qkv.alpha".into(), t(&[]))],
            &["Stable Diffusion 3", "joint_blocks_0"],
        ),
        (vec![("lora_unet_down_blocks_0_attentions_0_proj_in.alpha".into(), t(&[]))], &["Stable Diffusion 1, 2 or XL"]),
        (
            with(vec![("transformer.joint_transformer_blocks.0.attn.to_q.lora_A.weight".into(), t(&[1, 64]))]),
            &["beside names of this model", "AuraFlow", "joint_transformer_blocks.0"],
        ),
        (vec![(key("lora_A.weight"), t(&[2, 64]))], &["transformer_blocks.0.attn.to_q", ".lora_B.weight is missing"]),
        (vec![(key("lora_B.weight"), t(&[64, 2]))], &[".lora_A.weight is missing"]),
        (
            vec![(key("lora_A.weight"), t(&[2, 63])), (key("lora_B.weight"), t(&[64, 2]))],
            &["[2, 63]", "[64, 64]", "another model"],
        ),
        (vec![(key("lora_A.weight"), t(&[2, 64])), (key("lora_B.weight"), t(&[65, 2]))], &["[65, 2]", "[64, 64]"]),
        (vec![(key("lora_A.weight"), t(&[2, 64])), (key("lora_B.weight"), t(&[64, 3]))], &["[2, 64]", "[64, 3]"]),
        (
            vec![(key("lora_A.weight"), t(&[0, 64])), (key("lora_B.weight"), t(&[64, 0]))],
            &["should be a matrix, and has shape [0, 64]"],
        ),
        (
            vec![(key("lora_A.weight"), t(&[])), (key("lora_B.weight"), t(&[64, 2]))],
            &["should be a matrix, and has shape []"],
        ),
        (vec![(key("lora_A.weight"), t(&[65, 64])), (key("lora_B.weight"), t(&[64, 65]))], &["rank 65", "at most 64"]),
        (
            vec![(key("lora_A.weight"), nan), (key("lora_B.weight"), t(&[64, 2]))],
            &["lora_A.weight holds NaN or infinity"],
        ),
        (
            vec![(key("lora_A.weight"), t(&[2, 64]).to_dtype(DType::U8).unwrap()), (key("lora_B.weight"), t(&[64, 2]))],
            &["type U8"],
        ),
        (with(vec![(key("alpha"), t(&[2]))]), &["alpha should be one number"]),
        (vec![(key("alpha"), t(&[]))], &["nothing that they belong to"]),
        (
            vec![
                (fused("hada_w1_a"), t(&[192, 2])),
                (fused("hada_w1_b"), t(&[2, 64])),
                (fused("hada_w2_a"), t(&[192, 2])),
            ],
            &["hada_w2_b is missing"],
        ),
        (
            vec![
                (fused("hada_w1_a"), t(&[192, 2])),
                (fused("hada_w1_b"), t(&[2, 64])),
                (fused("hada_w2_a"), t(&[192, 2])),
                (fused("hada_w2_b"), t(&[3, 64])),
            ],
            &["[3, 64]", "[192, 64]"],
        ),
        (vec![(fused("lokr_w1"), t(&[4, 4]))], &["lokr_w2 is missing"]),
        (vec![(fused("lokr_w1"), t(&[4, 4])), (fused("lokr_w2_a"), t(&[48, 4]))], &["lokr_w2_b is missing"]),
        (vec![(fused("lokr_w1"), t(&[4, 4])), (fused("lokr_w2"), t(&[48, 15]))], &["[48, 15]", "[192, 64]"]),
        (
            vec![(fused("lokr_w1"), t(&[4, 4])), (fused("lokr_w2"), t(&[48, 16])), (fused("lokr_w1_a"), t(&[4, 1]))],
            &["both whole and in two parts"],
        ),
        (
            vec![
                (fused("lokr_w1"), t(&[4, 4])),
                (fused("lokr_w2"), t(&[48, 16])),
                (fused("lora_down.weight"), t(&[1, 64])),
            ],
            &["two ways at once"],
        ),
        (vec![(key("lora_magnitude_vector"), t(&[64]))], &["magnitudes (DoRA), but no matrices"]),
        (with(vec![(key("lora_magnitude_vector"), t(&[63]))]), &["[63]", "[64, 1]"]),
        (vec![(fused("diff"), t(&[64, 64]))], &["[64, 64]", "[192, 64] is needed"]),
        (vec![(fused("diff_b"), t(&[64]))], &["[64]", "[192] is needed"]),
        (with(vec![(fused("set_weight"), t(&[192, 64]))]), &["set_weight", "not supported"]),
        (with(vec![(fused("reshape_weight"), t(&[2]))]), &["reshape_weight", "not supported"]),
        (
            with(vec![("double_blocks.0.img_attn.norm.query_norm.scale".into(), t(&[16]))]),
            &["control LoRA", "query_norm.scale"],
        ),
        (
            with(vec![("diffusion_model.transformer_blocks.0.attn.to_q.lora_A.weight".into(), t(&[2, 64]))]),
            &["two names of one module"],
        ),
        (with(vec![(key("lora_A.default.weight"), t(&[2, 64]))]), &["say the same thing twice"]),
        ((0..10_000).map(|i| (format!("x.{i}.alpha"), t(&[]))).collect(), &["holds more than", "tensors", "the most"]),
        (vec![("x".repeat(100_000), t(&[]))], &["xxx…"]),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (tensors, facts) in cases {
        let file = LoraFile::of(tensors.into_iter().collect());
        let problem = refused(&*pipeline, file.write(&folder.path().join("bad.safetensors"), 1.0));
        assert!(facts.iter().all(|fact| problem.contains(fact)), "{problem}\nlacks one of {facts:?}");
        assert!(problem.len() < 1000, "{} bytes", problem.len());
        // a wrong file is wrong at any scale
        let nothing = refused(&*pipeline, file.write(&folder.path().join("bad.safetensors"), 0.0));
        assert_eq!(nothing, problem);
    }
}

#[test]
fn a_change_of_a_bias_needs_a_bias() {
    let (folder, pipeline) = (tempfile::tempdir().unwrap(), open(Variant::AuraFlow));
    let one = Tensor::ones(64, DType::F32, &Device::Cpu).unwrap();
    let lora =
        lora_file(&[("diffusion_model.double_layers.0.attn.w1q.diff_b", &one)]).write(&folder.path().join("x"), 1.0);
    assert!(refused(&*pipeline, lora).contains("no bias there"));
}

#[test]
fn metadata_that_cannot_be_followed_is_refused() {
    let (folder, pipeline) = (tempfile::tempdir().unwrap(), open(Variant::Dev));
    let t = |shape: &[usize]| Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap();
    for (text, fact) in [
        ("{", "not a JSON object"),
        ("[]", "not a JSON object"),
        (r#"{ "transformer.lora_alpha": "much" }"#, "alpha of \"much\""),
        (r#"{ "transformer.alpha_pattern": { "^single.*": 3 } }"#, "regular expression"),
    ] {
        let mut file = lora_file(&[
            ("transformer.x_embedder.lora_A.weight", &t(&[2, 64])),
            ("transformer.x_embedder.lora_B.weight", &t(&[64, 2])),
        ]);
        file.metadata.insert("lora_adapter_metadata".into(), text.into());
        let problem = refused(&*pipeline, file.write(&folder.path().join("x"), 1.0));
        assert!(problem.contains(fact), "{problem}");
    }
}

/// Alphas of a whole file and of single modules, and those that count by the root of the rank.
#[test]
fn alphas_in_the_header_count() {
    let (folder, pipeline) = (tempfile::tempdir().unwrap(), open(Variant::Dev));
    let mut g = Generator::new(11);
    let (a, b) = (noise(&mut g, &[4, 64]), noise(&mut g, &[64, 4]));
    let of = |module: &str, scale: f64, notes: &str| {
        let mut file = lora_file(&[
            (&format!("transformer.{module}.lora_A.weight"), &a),
            (&format!("transformer.{module}.lora_B.weight"), &b),
        ]);
        if !notes.is_empty() {
            file.metadata.insert("lora_adapter_metadata".into(), notes.into());
        }
        draw(&*pipeline, &with_loras(Variant::Dev, vec![file.write(&folder.path().join("x"), scale)])).remove(0)
    };
    let module = "transformer_blocks.1.attn.to_q";
    for (notes, scale) in [
        (r#"{ "transformer.lora_alpha": 2, "transformer.r": 4 }"#, 0.5),
        (r#"{ "lora_alpha": 8 }"#, 2.0),
        (r#"{ "transformer.lora_alpha": 2, "transformer.alpha_pattern": { "attn.to_q": 12 } }"#, 3.0),
        (r#"{ "transformer.lora_alpha": 2, "transformer.alpha_pattern": { "n.to_q": 12 } }"#, 0.5),
        (r#"{ "transformer.lora_alpha": 2, "transformer.use_rslora": true }"#, 1.0),
        (r#"{ "text_encoder.lora_alpha": 2 }"#, 1.0),
    ] {
        let (noted, scaled) = (of(module, 1.0, notes), of(module, scale, ""));
        assert!(largest_difference(&noted, &scaled) <= 1, "{notes}");
    }
    assert!(largest_difference(&of(module, 1.0, ""), &of(module, 0.5, "")) > 1);
}

/// Whatever is done to the bytes of a file, the answer is a picture or a sentence.
#[test]
fn damaged_files_are_refused_and_the_model_goes_on() {
    let (folder, pipeline) = (tempfile::tempdir().unwrap(), open(Variant::Dev));
    let path = folder.path().join("lora.safetensors");
    let lora = loras::sets(Variant::Dev).remove(0).files["kohya"].write(&path, 1.0);
    let good = std::fs::read(&path).unwrap();
    let header = |json: &str| [&(json.len() as u64).to_le_bytes()[..], json.as_bytes()].concat();
    let mut cases = vec![
        ("empty", Vec::new()),
        ("short", good[..7].to_vec()),
        ("header alone", good[..good.len() / 3].to_vec()),
        ("cut", good[..good.len() - 1].to_vec()),
        ("longer", [&good[..], b"x"].concat()),
        ("endless header", [&u64::MAX.to_le_bytes()[..], b"{}"].concat()),
        ("huge header", [&(1u64 << 30).to_le_bytes()[..], b"{}"].concat()),
        ("text", b"<html>not found</html>".to_vec()),
        ("pickle", b"PK\x03\x04archive/data.pkl".to_vec()),
        ("nothing in it", header("{}")),
        ("no JSON", header("{]")),
        ("outside", header(r#"{"a.alpha":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#)),
        ("overflow", header(r#"{"a.alpha":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#)),
    ];
    let mut g = Generator::new(1);
    for _ in 0..40 {
        let mut bytes = good.clone();
        for place in g.randn(3) {
            // most of it in the header
            let place = ((place.abs() * 3000.0) as usize).min(bytes.len() - 1);
            bytes[place] = bytes[place].wrapping_add(1 + (place % 200) as u8);
        }
        cases.push(("changed bytes", bytes));
    }
    for (what, bytes) in cases {
        std::fs::write(&path, &bytes).unwrap();
        match drawn(&*pipeline, &Call { steps: 1, ..with_loras(Variant::Dev, vec![lora.clone()]) }, &Unobserved) {
            Err(Error::Adapter { field, problem, .. }) => {
                assert_eq!(field, ["loras", "0", "path"], "{what}");
                assert!(!problem.contains(folder.path().to_str().unwrap()), "{what}: {problem}");
            }
            Ok(_) | Err(Error::NotFinite { .. }) => assert_eq!(what, "changed bytes"),
            other => panic!("{what}: {other:?}"),
        }
    }
    std::fs::remove_file(&path).unwrap();
    assert!(refused(&*pipeline, lora.clone()).contains("cannot be read"));
    let lora = Lora { scale: f64::NAN, ..lora };
    let result = drawn(&*pipeline, &with_loras(Variant::Dev, vec![lora]), &Unobserved);
    assert!(matches!(&result, Err(Error::Adapter { field, .. }) if field[2] == "scale"), "{result:?}");
    assert_eq!(
        draw(&*pipeline, &with_loras(Variant::Dev, Vec::new())),
        draw(&*open(Variant::Dev), &with_loras(Variant::Dev, Vec::new()))
    );
}

#[test]
fn the_second_of_two_is_blamed_as_the_second() {
    let (folder, pipeline) = (tempfile::tempdir().unwrap(), open(Variant::Dev));
    let good = loras::sets(Variant::Dev).remove(0).files["peft"].write(&folder.path().join("good"), 1.0);
    let bad = loras::lora(folder.path().join("absent"), 1.0);
    match drawn(&*pipeline, &with_loras(Variant::Dev, vec![good, bad]), &Unobserved) {
        Err(Error::Adapter { field, name, .. }) => assert_eq!((field[1].as_str(), &*name), ("1", "absent")),
        other => panic!("{other:?}"),
    }
}

/// The whole of a matrix in a factor of one number, in factors between which whole matrices would lie, and in more numbers
/// than the matrix has.
#[test]
fn files_that_would_take_more_than_they_say_are_cheap_or_refused() {
    let (folder, pipeline) = (tempfile::tempdir().unwrap(), open(Variant::Dev));
    let mut g = Generator::new(5);
    let path = folder.path().join("x");
    let picture = |tensors: &[(&str, &Tensor)]| {
        draw(&*pipeline, &with_loras(Variant::Dev, vec![lora_file(tensors).write(&path, 1.0)])).remove(0)
    };
    let q = "lora_unet_double_blocks_0_img_attn_proj";
    let name = |end: &str| format!("{q}.{end}");
    let (a, b) = (noise(&mut g, &[64, 2]), noise(&mut g, &[2, 64]));
    let one = Tensor::ones((1, 1), DType::F32, &Device::Cpu).unwrap();
    let pair = picture(&[(&name("lora_up.weight"), &a), (&name("lora_down.weight"), &b)]);
    let kron = picture(&[(&name("lokr_w1"), &one), (&name("lokr_w2_a"), &a), (&name("lokr_w2_b"), &b)]);
    assert!(largest_difference(&pair, &kron) <= 1);
    // one row times one column, in either order
    let (row, column) = (noise(&mut g, &[1, 64]), noise(&mut g, &[64, 1]));
    let outer = picture(&[(&name("lora_up.weight"), &column), (&name("lora_down.weight"), &row)]);
    for (left, right) in [(&row, &column), (&column, &row)] {
        assert!(largest_difference(&outer, &picture(&[(&name("lokr_w1"), left), (&name("lokr_w2"), right)])) <= 1);
    }
}

#[test]
fn a_lora_that_is_mostly_for_another_model_is_refused() {
    let (folder, pipeline) = (tempfile::tempdir().unwrap(), open(Variant::Dev));
    let mut tensors = loras::sets(Variant::Dev).remove(0).files["kohya"].tensors.clone();
    let known = tensors.len();
    let one = Tensor::new(1f32, &Device::Cpu).unwrap();
    let add = |tensors: &mut std::collections::BTreeMap<String, Tensor>, from: usize, to: usize| {
        tensors.extend((from..to).map(|i| (format!("lora_unet_single_blocks_{}_linear1.alpha", i + 100), one.clone())));
    };
    add(&mut tensors, 0, known);
    let half = LoraFile::of(tensors.clone()).write(&folder.path().join("half"), 1.0);
    let remarks = Remarks::default();
    drawn(&*pipeline, &with_loras(Variant::Dev, vec![half]), &remarks).unwrap();
    let remarks = remarks.all();
    let named = remarks[0].matches("lora_unet_single_blocks_").count();
    assert!(remarks[0].contains(&format!("{known} of the {} tensors", 2 * known)), "{remarks:?}");
    assert_eq!(named, known.min(20), "{remarks:?}");
    add(&mut tensors, known, known + 1);
    let problem = refused(&*pipeline, LoraFile::of(tensors).write(&folder.path().join("most"), 1.0));
    for fact in
        [&format!("{} of its {} tensors", known + 1, 2 * known + 1), "lora_unet_single_blocks_100_linear1.alpha"]
    {
        assert!(problem.contains(fact), "{problem}: {fact}");
    }
}

#[test]
fn one_file_named_often_is_one_change_of_the_summed_scale() {
    let (folder, pipeline) = (tempfile::tempdir().unwrap(), open(Variant::Dev));
    let file = loras::sets(Variant::Dev).remove(0).files["peft"].write(&folder.path().join("x"), 1.0);
    let at = |scales: &[f64]| {
        let loras = scales.iter().map(|scale| Lora { scale: *scale, ..file.clone() }).collect();
        draw(&*pipeline, &with_loras(Variant::Dev, loras)).remove(0)
    };
    assert_eq!(at(&[0.25, 0.5]), at(&[0.75]));
    assert_eq!(at(&[1.0, -1.0]), draw(&*pipeline, &with_loras(Variant::Dev, Vec::new())).remove(0));
}

#[test]
fn numbers_that_overflow_are_the_callers_and_name_what_brought_them() {
    let (folder, pipeline) = (tempfile::tempdir().unwrap(), open(Variant::Dev));
    let good = loras::sets(Variant::Dev).remove(0).files["peft"].write(&folder.path().join("good"), 0.0);
    let t = |shape: &[usize]| (Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap() * 3e38).unwrap();
    let q = "transformer.transformer_blocks.0.attn.to_q";
    let (down, up) = (t(&[2, 64]), t(&[64, 2]));
    let file = lora_file(&[(&format!("{q}.lora_A.weight"), &down), (&format!("{q}.lora_B.weight"), &up)]);
    let huge = file.write(&folder.path().join("huge"), 1.0);
    match drawn(&*pipeline, &with_loras(Variant::Dev, vec![good, huge]), &Unobserved) {
        Err(Error::Adapter { field, name, problem }) => {
            assert_eq!((field.join("."), &*name), ("loras.1.path".to_owned(), "huge"));
            assert!(problem.contains("overflow") && problem.contains("leave it out"), "{problem}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_that_say_too_much_or_the_same_twice_are_refused() {
    let (folder, pipeline) = (tempfile::tempdir().unwrap(), open(Variant::Dev));
    let path = folder.path().join("x");
    let good = || LoraFile::of(loras::sets(Variant::Dev).remove(0).files["peft"].tensors.clone());
    let notes = |bytes: usize| {
        let mut file = good();
        file.metadata.insert("lora_adapter_metadata".into(), format!("{{ \"x\": \"{}\" }}", "{".repeat(bytes)));
        file.write(&path, 1.0)
    };
    assert!(refused(&*pipeline, notes(2 << 20)).contains("lora_adapter_metadata"));
    assert!(refused(&*pipeline, notes(9 << 20)).contains("its header claims"));
    drawn(&*pipeline, &with_loras(Variant::Dev, vec![notes(100_000)]), &Unobserved).unwrap();
    // two shards with the same names
    let mut lora = good().write(&path, 1.0);
    lora.files.weights.push(good().write(&folder.path().join("y"), 1.0).files.weights[0].clone());
    assert!(refused(&*pipeline, lora).contains("in another of the files as well"));
    // more numbers than what they change
    let alpha = "transformer.transformer_blocks.0.attn.to_q";
    let large = Tensor::zeros((2, 200_000), DType::F32, &Device::Cpu).unwrap();
    let file = lora_file(&[(&format!("{alpha}.lora_A.weight"), &large)]);
    assert!(refused(&*pipeline, file.write(&path, 1.0)).contains("hold 400000 numbers"));
}

// ------------------------------------------------------------------------------------------------- helpers

/// Why a LoRA cannot be used.
fn refused(pipeline: &dyn Pipeline, lora: Lora) -> String {
    match drawn(pipeline, &with_loras(Variant::Dev, vec![lora]), &Unobserved) {
        Err(Error::Adapter { field, problem, .. }) => {
            assert_eq!(field, ["loras", "0", "path"]);
            problem
        }
        other => panic!("{other:?}"),
    }
}
