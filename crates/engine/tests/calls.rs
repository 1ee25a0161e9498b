//! What a caller may ask of an open pipeline, and how to watch it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops and shows where")]

mod common;

use std::sync::Mutex;

use common::{draw, largest_difference, open};
use scumble_engine::families::Context;
use scumble_engine::{Call, Control, Device, Error, Observer, Pixels, Result, Stage, Step, Trace, Unobserved};
use scumble_testkit::tiny::Variant;

// -------------------------------------------------------------------------------------------- observers

#[test]
fn an_observer_that_cancels_is_not_asked_again() {
    for variant in Variant::ALL {
        let pipeline = open(variant);
        for limit in 1..=4 {
            let observer = Watcher { cancel_step: Some(limit), ..Watcher::default() };
            let result = pipeline.generate(&variant.call(), &Context { observer: &observer, trace: None });
            assert!(matches!(result, Err(Error::Cancelled)));
            let steps: Vec<(usize, usize)> = (1..=limit).map(|done| (done, 4)).collect();
            assert_eq!(observer.steps(), steps, "{variant:?}");
        }
    }
}

#[test]
fn every_stage_is_announced_and_may_be_refused() {
    let expected = [Stage::TextEncode, Stage::Denoise, Stage::Decode];
    for variant in Variant::ALL {
        let pipeline = open(variant);
        let observer = Watcher::default();
        pipeline.generate(&variant.call(), &Context { observer: &observer, trace: None }).unwrap();
        assert_eq!(observer.stages(), expected, "{variant:?}");
        for (i, stage) in expected.into_iter().enumerate() {
            let observer = Watcher { cancel_stage: Some(stage), ..Watcher::default() };
            let result = pipeline.generate(&variant.call(), &Context { observer: &observer, trace: None });
            assert!(matches!(result, Err(Error::Cancelled)));
            assert_eq!(observer.stages(), expected[..=i], "{variant:?}");
        }
    }
}

/// A step of a large model takes minutes.
#[test]
fn whoever_waits_for_a_step_is_asked_between_its_blocks() {
    for variant in Variant::ALL {
        let (pipeline, call) = (open(variant), Call { steps: 1, ..variant.call() });
        let observer = Watcher::default();
        pipeline.generate(&call, &Context { observer: &observer, trace: None }).unwrap();
        let asked = observer.asked();
        // no tiny transformer has fewer blocks
        assert!(asked >= 3, "{variant:?}: asked {asked} times");
        // one that has read these words before would not read them again
        let pipeline = open(variant);
        let observer = Watcher { cancel_ask: Some(asked), ..Watcher::default() };
        let result = pipeline.generate(&call, &Context { observer: &observer, trace: None });
        assert!(matches!(result, Err(Error::Cancelled)), "{variant:?}");
        assert_eq!((observer.asked(), observer.steps()), (asked, vec![]), "{variant:?}: the step is not taken");
    }
}

#[test]
fn previews_are_small_and_keep_the_shape() {
    let pipeline = open(Variant::Schnell);
    for ((width, height), expected) in [
        ((96, 64), (96, 64)),
        ((128, 128), (128, 128)),
        ((512, 256), (128, 64)),
        ((208, 400), (48, 96)),
        ((16, 320), (16, 320)), // too thin to be pooled
    ] {
        let observer = Watcher { previews: true, ..Watcher::default() };
        let call = Call { width, height, steps: 1, ..Variant::Schnell.call() };
        pipeline.generate(&call, &Context { observer: &observer, trace: None }).unwrap();
        let previews = observer.seen.into_inner().unwrap().previews;
        let sizes: Vec<(usize, usize)> = previews.iter().map(|p| (p.width, p.height)).collect();
        assert_eq!(sizes, [expected], "{width}×{height}");
    }
}

#[test]
fn the_last_preview_of_a_small_picture_is_the_picture() {
    for variant in Variant::ALL {
        let observer = Watcher { previews: true, ..Watcher::default() };
        let context = Context { observer: &observer, trace: None };
        let pictures = open(variant).generate(&variant.call(), &context).unwrap();
        let previews = observer.seen.into_inner().unwrap().previews;
        assert_eq!(previews.len(), 4);
        assert!(largest_difference(&previews[3], &pictures[0]) <= 1, "{variant:?}");
        assert!(largest_difference(&previews[0], &pictures[0]) > 1, "{variant:?}");
    }
}

// ----------------------------------------------------------------------------------------------- numbers

#[test]
fn two_pictures_come_from_one_draw_as_in_diffusers() {
    let pipeline = open(Variant::Dev);
    let one = draw(&*pipeline, &Variant::Dev.call());
    let two = draw(&*pipeline, &Call { images: 2, ..Variant::Dev.call() });
    assert_eq!((one.len(), two.len()), (1, 2));
    assert!(largest_difference(&one[0], &two[0]) <= 1);

    // made by golden/make_pictures.py
    let golden = candle_core::safetensors::load("tests/golden/pictures.safetensors", &Device::Cpu).unwrap();
    let golden: Vec<u8> = golden["two"].flatten_all().and_then(|t| t.to_vec1()).unwrap();
    let both: Vec<u8> = two.into_iter().flat_map(|p| p.rgb).collect();
    assert_eq!(golden.len(), both.len());
    assert!(golden.iter().zip(&both).all(|(a, b)| a.abs_diff(*b) <= 1));
}

#[test]
fn the_same_call_gives_the_same_bytes_and_another_seed_others() {
    let pipeline = open(Variant::Schnell);
    let call = Variant::Schnell.call();
    let first = draw(&*pipeline, &call);
    assert_eq!(first, draw(&*pipeline, &call));
    assert_ne!(first, draw(&*pipeline, &Call { seed: 1235, ..call.clone() }));
    assert_ne!(first, draw(&*pipeline, &Call { prompt: "a dog".into(), ..call }));
}

#[test]
fn guidance_counts_where_the_model_takes_it() {
    let with = |variant: Variant, guidance| Call { guidance, ..variant.call() };
    let (schnell, dev) = (open(Variant::Schnell), open(Variant::Dev));
    assert_eq!(draw(&*schnell, &with(Variant::Schnell, 0.0)), draw(&*schnell, &with(Variant::Schnell, 9.0)));
    assert_ne!(draw(&*dev, &with(Variant::Dev, 1.0)), draw(&*dev, &with(Variant::Dev, 9.0)));
}

#[test]
fn sizes_are_rounded_down_to_sixteen() {
    let pipeline = open(Variant::Schnell);
    assert_eq!(pipeline.sizes().multiple, 16);
    let odd = draw(&*pipeline, &Call { width: 111, height: 79, ..Variant::Schnell.call() });
    assert_eq!((odd[0].width, odd[0].height), (96, 64));
    assert_eq!(odd, draw(&*pipeline, &Variant::Schnell.call()));
    let smallest = draw(&*pipeline, &Call { width: 16, height: 31, ..Variant::Schnell.call() });
    assert_eq!((smallest[0].width, smallest[0].height, smallest[0].rgb.len()), (16, 16, 768));
}

#[test]
fn text_length_defaults_to_what_the_model_was_trained_with() {
    for (variant, expected) in [(Variant::Schnell, 256), (Variant::Dev, 512)] {
        let trace = Trace::new();
        let call = Call { steps: 1, max_sequence_length: None, ..variant.call() };
        open(variant).generate(&call, &Context { observer: &Unobserved, trace: Some(&trace) }).unwrap();
        let tensors = trace.into_tensors();
        assert_eq!(tensors["step0.transformer.in.encoder_hidden_states"].dims(), [1, expected, 48]);
        assert!(!tensors.keys().any(|name| name.contains("blocks")), "blocks are kept only when asked for");
    }
}

#[test]
fn prompts_may_be_empty_or_endless() {
    let pipeline = open(Variant::Schnell);
    for prompt in ["".to_owned(), " \n\t ".into(), "a cat ".repeat(1000), "\u{0}\u{feff}🐈".into()] {
        assert_eq!(draw(&*pipeline, &Call { prompt, steps: 1, ..Variant::Schnell.call() }).len(), 1);
    }
}

#[test]
fn impossible_parameters_are_named() {
    let pipeline = open(Variant::Dev);
    let good = Variant::Dev.call();
    for (call, expected) in [
        (Call { width: 7, height: 7, ..good.clone() }, "image_size"),
        (Call { height: 15, ..good.clone() }, "image_size"),
        (Call { width: 0, ..good.clone() }, "image_size"),
        (Call { steps: 0, ..good.clone() }, "num_inference_steps"),
        (Call { images: 0, ..good.clone() }, "num_images"),
        (Call { guidance: f64::NAN, ..good.clone() }, "guidance_scale"),
        (Call { guidance: f64::INFINITY, ..good.clone() }, "guidance_scale"),
        (Call { picture_guidance: f64::NAN, ..good.clone() }, "image_guidance_scale"),
        (Call { guided_steps: [-0.1, 1.0], ..good.clone() }, "cfg_range_start"),
        (Call { guided_steps: [0.0, 1.1], ..good.clone() }, "cfg_range_end"),
        (Call { guided_steps: [0.0, f64::NAN], ..good.clone() }, "cfg_range_end"),
        (Call { max_sequence_length: Some(0), ..good.clone() }, "max_sequence_length"),
        (Call { max_sequence_length: Some(513), ..good }, "max_sequence_length"),
    ] {
        match pipeline.generate(&call, &Context { observer: &Unobserved, trace: None }) {
            Err(Error::Parameter { name, .. }) => assert_eq!(name, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

// ----------------------------------------------------------------------------------------------- helpers

/// Writes down what it is told; cancels and looks at previews where told to.
#[derive(Default)]
struct Watcher {
    cancel_step: Option<usize>,
    cancel_stage: Option<Stage>,
    cancel_ask: Option<usize>,
    previews: bool,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    stages: Vec<Stage>,
    steps: Vec<(usize, usize)>,
    asked: usize,
    previews: Vec<Pixels>,
}

impl Watcher {
    fn stages(&self) -> Vec<Stage> {
        self.seen.lock().unwrap().stages.clone()
    }

    fn asked(&self) -> usize {
        self.seen.lock().unwrap().asked
    }

    fn steps(&self) -> Vec<(usize, usize)> {
        self.seen.lock().unwrap().steps.clone()
    }
}

fn cancel_if(wanted: bool) -> Control {
    if wanted { Control::Cancel } else { Control::Continue }
}

impl Observer for Watcher {
    fn stage(&self, stage: Stage) -> Control {
        self.seen.lock().unwrap().stages.push(stage);
        cancel_if(self.cancel_stage == Some(stage))
    }

    fn ask(&self) -> Control {
        let mut seen = self.seen.lock().unwrap();
        seen.asked += 1;
        cancel_if(self.cancel_ask == Some(seen.asked))
    }

    fn step(&self, step: &Step<'_>) -> Control {
        let preview: Option<Result<Pixels>> = self.previews.then(|| step.preview());
        let mut seen = self.seen.lock().unwrap();
        seen.steps.push((step.done, step.total));
        seen.previews.extend(preview.map(|p| p.expect("a preview")));
        cancel_if(self.cancel_step == Some(step.done))
    }
}
