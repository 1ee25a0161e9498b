//! LoRAs: every dialect of one change draws one picture, and the model itself is never touched.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops and shows where")]

mod common;

use std::sync::Mutex;

use common::{
    Remarks, draw, drawn, edit, largest_difference, lora_file, mean_difference, noise, open, open_in, with_loras,
};
use scumble_engine::adapters::Lora;
use scumble_engine::families::FAMILIES;
use scumble_engine::rng::Generator;
use scumble_engine::{Control, DType, Error, Observer, Pixels, Stage, Tensor};
use scumble_testkit::tiny::loras::{self, LoraFile};
use scumble_testkit::tiny::{self, Variant};

const WITH_LORAS: [Variant; 4] = [Variant::Dev, Variant::Sd35, Variant::AuraFlow, Variant::HiDreamFull];

// ------------------------------------------------------------------------------------------------ dialects

/// The oracle is a checkpoint that holds the changed matrices.
#[test]
fn every_dialect_of_a_change_draws_what_the_changed_checkpoint_draws() {
    for variant in WITH_LORAS {
        let (folder, pipeline) = (tempfile::tempdir().unwrap(), open(variant));
        let plain = draw(&*pipeline, &with_loras(variant, Vec::new())).remove(0);
        let mut dialects = 0;
        for set in loras::sets(variant) {
            let changed = tiny::of(variant).tempdir();
            edit(&changed.path().join(set.changes), |tensors| tensors.extend(set.merged));
            let changed = open_in(changed.path(), Some(DType::F32)).unwrap();
            let expected = draw(&*changed, &with_loras(variant, Vec::new())).remove(0);
            let label = format!("{variant:?}, {}", set.name);
            assert!(mean_difference(&plain, &expected) > 0.5, "{label}: it shows");
            for (dialect, file) in &set.files {
                let lora = file.write(&folder.path().join(format!("{dialect}.safetensors")), 1.0);
                let remarks = Remarks::default();
                let picture = drawn(&*pipeline, &with_loras(variant, vec![lora]), &remarks).unwrap();
                let difference = largest_difference(&expected, &picture);
                assert!(difference <= 1, "{label} in {dialect}: {difference} levels");
                assert_eq!(remarks.all(), Vec::<String>::new(), "{label} in {dialect}");
                dialects += 1;
            }
        }
        assert!(dialects >= 27, "{variant:?}: {dialects}");
    }
}

#[test]
fn fill_and_schnell_take_loras_too() {
    for variant in [Variant::Fill, Variant::Schnell] {
        let (folder, pipeline) = (tempfile::tempdir().unwrap(), open(variant));
        let main = loras::sets(variant).remove(0);
        let of = |dialect: &str| {
            let lora = main.files[dialect].write(&folder.path().join(dialect), 1.0);
            draw(&*pipeline, &with_loras(variant, vec![lora])).remove(0)
        };
        let plain = draw(&*pipeline, &with_loras(variant, Vec::new())).remove(0);
        assert!(largest_difference(&plain, &of("peft")) > 1, "{variant:?}");
        assert!(largest_difference(&of("peft"), &of("kohya")) <= 1, "{variant:?}");
    }
}

/// The endpoints of F-Lite and OmniGen2 have no such field.
#[test]
fn every_family_but_two_says_that_it_follows_loras() {
    let without: Vec<_> = FAMILIES.iter().filter(|f| !f.accepts.contains(&"loras")).map(|f| f.class).collect();
    assert_eq!(without, ["FLitePipeline", "OmniGen2Pipeline"]);
}

/// SD3.5's patches come through a convolution; LoRAs of it are convolutions too, some with a third between.
#[test]
fn convolutions_are_changed_as_convolutions() {
    let (folder, pipeline) = (tempfile::tempdir().unwrap(), open(Variant::Sd35));
    let mut g = Generator::new(5);
    let (down, flat, up) =
        (noise(&mut g, &[3, 16, 2, 2]), noise(&mut g, &[2, 16, 1, 1]), noise(&mut g, &[64, 3, 1, 1]));
    let mid = noise(&mut g, &[3, 2, 2, 2]);
    // Σ mid[p, q, h, w] · flat[q, i], the long way
    let flat_values = flat.reshape((2, 16)).unwrap();
    let through: Vec<Tensor> = (0..4)
        .map(|place| {
            mid.reshape((3, 2, 4)).unwrap().narrow(2, place, 1).unwrap().squeeze(2).unwrap().contiguous().unwrap()
        })
        .map(|at| at.matmul(&flat_values).unwrap())
        .collect();
    let through = Tensor::stack(&through, 2).unwrap().reshape((3, 16, 2, 2)).unwrap();
    let expected = |down: &Tensor| {
        let changed = tiny::of(Variant::Sd35).tempdir();
        let delta = up.reshape((64, 3)).unwrap().matmul(&down.reshape((3, 64)).unwrap()).unwrap();
        edit(&changed.path().join("transformer/diffusion_pytorch_model.safetensors"), |tensors| {
            let weight = tensors["pos_embed.proj.weight"].clone();
            let changed = (weight + delta.reshape((64, 16, 2, 2)).unwrap()).unwrap();
            tensors.insert("pos_embed.proj.weight".into(), changed);
        });
        draw(&*open_in(changed.path(), Some(DType::F32)).unwrap(), &with_loras(Variant::Sd35, Vec::new())).remove(0)
    };
    for (name, tensors, expected) in [
        (
            "peft",
            vec![
                ("transformer.pos_embed.proj.lora_A.weight", &down),
                ("transformer.pos_embed.proj.lora_B.weight", &up),
            ],
            expected(&down),
        ),
        (
            "kohya",
            vec![
                ("lora_unet_x_embedder_proj.lora_down.weight", &down),
                ("lora_unet_x_embedder_proj.lora_up.weight", &up),
            ],
            expected(&down),
        ),
        (
            "mid",
            vec![
                ("diffusion_model.x_embedder.proj.lora_down.weight", &flat),
                ("diffusion_model.x_embedder.proj.lora_mid.weight", &mid),
                ("diffusion_model.x_embedder.proj.lora_up.weight", &up),
            ],
            expected(&through),
        ),
    ] {
        let lora = lora_file(&tensors).write(&folder.path().join(name), 1.0);
        let picture = draw(&*pipeline, &with_loras(Variant::Sd35, vec![lora])).remove(0);
        assert!(largest_difference(&expected, &picture) <= 1, "{name}");
    }
}

#[test]
fn numbers_may_be_stored_in_any_float() {
    let (folder, pipeline) = (tempfile::tempdir().unwrap(), open(Variant::Dev));
    let main = loras::sets(Variant::Dev).remove(0);
    let exact = &main.files["kohya"];
    let plain = draw(&*pipeline, &with_loras(Variant::Dev, Vec::new())).remove(0);
    let of = |dtype| {
        let tensors = exact.tensors.iter().map(|(name, t)| (name.clone(), t.to_dtype(dtype).unwrap()));
        let lora = LoraFile::of(tensors.collect()).write(&folder.path().join("lora"), 1.0);
        draw(&*pipeline, &with_loras(Variant::Dev, vec![lora])).remove(0)
    };
    let whole = of(DType::F32);
    let effect = mean_difference(&plain, &whole);
    // seen: 0.3 %, 0.04 % and 7 % of what the change does
    for (dtype, share) in [(DType::BF16, 0.01), (DType::F16, 0.002), (DType::F8E4M3, 0.15)] {
        let off = mean_difference(&whole, &of(dtype));
        assert!(off < share * effect, "{dtype:?}: {off} of {effect} levels");
    }
}

/// What no product can say stays beside the bfloat16 matrices, and loses nothing to their rounding.
#[test]
fn reduced_models_take_loras_and_stay_as_near_as_without() {
    let (folder, tiny) = (tempfile::tempdir().unwrap(), tiny::of(Variant::Dev).tempdir());
    let (exact, half) = (open(Variant::Dev), open_in(tiny.path(), Some(DType::BF16)).unwrap());
    let lora = loras::sets(Variant::Dev).remove(0).files["kohya"].write(&folder.path().join("lora"), 1.0);
    let off = |loras: Vec<Lora>| {
        let call = with_loras(Variant::Dev, loras);
        mean_difference(&draw(&*exact, &call)[0], &draw(&*half, &call)[0])
    };
    let (plain, changed) = (off(Vec::new()), off(vec![lora]));
    // seen: mean 12.7 levels, 12.4 without
    assert!(changed < 1.5 * plain, "{changed} levels, {plain} without");
}

// ------------------------------------------------------------------------------------- the model stays as it is

#[test]
fn plain_before_and_plain_after_are_the_same_bits() {
    for variant in WITH_LORAS {
        let (folder, pipeline) = (tempfile::tempdir().unwrap(), open(variant));
        let plain = draw(&*pipeline, &with_loras(variant, Vec::new()));
        for set in loras::sets(variant) {
            let (dialect, file) = set.files.first_key_value().unwrap();
            let lora = file.write(&folder.path().join(dialect), 1.0);
            assert_ne!(plain, draw(&*pipeline, &with_loras(variant, vec![lora.clone()])), "{variant:?} {dialect}");
            assert_eq!(plain, draw(&*pipeline, &with_loras(variant, Vec::new())), "{variant:?} {dialect}");
            let nothing = Lora { scale: 0.0, ..lora };
            assert_eq!(plain, draw(&*pipeline, &with_loras(variant, vec![nothing])), "{variant:?} {dialect} at 0");
        }
    }
}

#[test]
fn several_are_summed_in_any_order_and_scaled() {
    let (folder, pipeline) = (tempfile::tempdir().unwrap(), open(Variant::Dev));
    let sets = loras::sets(Variant::Dev);
    let write = |set: usize, dialect: &str, scale: f64| {
        sets[set].files[dialect].write(&folder.path().join(format!("{set}-{dialect}-{scale}")), scale)
    };
    let of = |loras: &[Lora]| draw(&*pipeline, &with_loras(Variant::Dev, loras.to_vec())).remove(0);
    let (first, second) = (write(0, "kohya", 0.6), write(1, "loha", -0.4));
    let both = of(&[first.clone(), second.clone()]);
    assert!(largest_difference(&both, &of(&[second.clone(), first.clone()])) <= 1);
    for alone in [&first, &second] {
        assert!(largest_difference(&both, &of(std::slice::from_ref(alone))) > 1);
    }
    // a change and its opposite are nearly nothing; two halves are the whole
    let plain = of(&[]);
    assert!(largest_difference(&plain, &of(&[write(0, "lokr", 0.7), write(0, "bfl", -0.7)])) <= 1);
    assert!(
        largest_difference(&of(&[write(0, "peft", 1.0)]), &of(&[write(0, "loha", 0.5), write(0, "kohya", 0.5)])) <= 1
    );
    // the same with magnitudes: each is a change of the model as it was
    assert!(largest_difference(&plain, &of(&[write(2, "kohya", 0.7), write(2, "peft", -0.7)])) <= 1);
}

#[test]
fn calls_with_and_without_run_beside_each_other() {
    for variant in WITH_LORAS {
        let (folder, pipeline) = (tempfile::tempdir().unwrap(), open(variant));
        let main = loras::sets(variant).remove(0);
        let calls = [
            with_loras(variant, Vec::new()),
            with_loras(variant, vec![main.files["peft"].write(&folder.path().join("a"), 1.0)]),
            with_loras(variant, vec![main.files["kohya"].write(&folder.path().join("b"), -0.5)]),
        ];
        let alone: Vec<Vec<Pixels>> = calls.iter().map(|call| draw(&*pipeline, call)).collect();
        std::thread::scope(|scope| {
            let threads: Vec<_> = calls
                .iter()
                .zip(&alone)
                .cycle()
                .take(6)
                .map(|(call, alone)| {
                    let pipeline = &*pipeline;
                    scope.spawn(move || assert_eq!(&draw(pipeline, call), alone, "{variant:?}"))
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }
}

#[test]
fn a_call_may_be_cancelled_while_its_loras_are_read() {
    /// Says no at the n-th time that it is asked.
    struct After(Mutex<usize>);
    impl Observer for After {
        fn stage(&self, stage: Stage) -> Control {
            panic!("{stage:?} is not reached")
        }
        fn ask(&self) -> Control {
            let mut left = self.0.lock().unwrap();
            *left -= 1;
            if *left == 0 { Control::Cancel } else { Control::Continue }
        }
    }
    let (folder, pipeline) = (tempfile::tempdir().unwrap(), open(Variant::Dev));
    let lora = loras::sets(Variant::Dev).remove(0).files["peft"].write(&folder.path().join("lora"), 1.0);
    for asked in [1, 2, 10] {
        let observer = After(Mutex::new(asked));
        let result = drawn(&*pipeline, &with_loras(Variant::Dev, vec![lora.clone()]), &observer);
        assert!(matches!(result, Err(Error::Cancelled)));
        assert_eq!(*observer.0.lock().unwrap(), 0);
    }
}

/// What PEFT trains beside B is a change of the bias, with the same factor.
#[test]
fn the_bias_of_a_pair_counts() {
    let (folder, pipeline) = (tempfile::tempdir().unwrap(), open(Variant::Dev));
    let mut g = Generator::new(3);
    let (a, b, bias) = (noise(&mut g, &[2, 64]), noise(&mut g, &[64, 2]), g.noise(&[64]).unwrap());
    let half = (&bias * 0.5).unwrap();
    let alpha = Tensor::new(1f32, a.device()).unwrap();
    let pair = [("x_embedder.lora_A.weight", &a), ("x_embedder.lora_B.weight", &b), ("x_embedder.alpha", &alpha)];
    let of = |more: (&str, &Tensor)| {
        let file = lora_file(&[pair[0], pair[1], pair[2], more]);
        let lora = file.write(&folder.path().join("lora"), 0.7);
        draw(&*pipeline, &with_loras(Variant::Dev, vec![lora])).remove(0)
    };
    let beside = of(("x_embedder.lora_B.bias", &bias));
    assert!(largest_difference(&beside, &of(("x_embedder.diff_b", &half))) <= 1);
    assert!(largest_difference(&beside, &of(("x_embedder.diff_b", &bias))) > 1);
}

/// Fill sees more than the latents at its input; what other FLUX models say of that changes the latents' columns.
#[test]
fn fill_takes_what_was_trained_for_narrower_inputs() {
    let (folder, pipeline) = (tempfile::tempdir().unwrap(), open(Variant::Fill));
    let mut g = Generator::new(9);
    let (a, b) = (noise(&mut g, &[2, 64]), noise(&mut g, &[64, 2]));
    let padded = a.pad_with_zeros(1, 0, 320).unwrap();
    let of = |a: &Tensor, module: &str, ends: [&str; 2]| {
        let file = lora_file(&[(&format!("{module}.{}", ends[0]), a), (&format!("{module}.{}", ends[1]), &b)]);
        let lora = file.write(&folder.path().join("lora"), 1.0);
        draw(&*pipeline, &with_loras(Variant::Fill, vec![lora])).remove(0)
    };
    let peft = ["lora_A.weight", "lora_B.weight"];
    let whole = of(&padded, "transformer.x_embedder", peft);
    assert_eq!(whole, of(&a, "transformer.x_embedder", peft));
    assert_eq!(whole, of(&a, "lora_unet_img_in", ["lora_down.weight", "lora_up.weight"]));
    assert_ne!(whole, draw(&*pipeline, &with_loras(Variant::Fill, Vec::new())).remove(0));
}
