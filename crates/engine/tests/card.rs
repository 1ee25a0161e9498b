//! What only a machine with a card can show; `scripts/gpu-check` runs these there, after the kernels' own checks.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};

use common::place::precision;
use scumble_engine::weights::Source;
use scumble_engine::{Context, Control, DType, Device, Error, Observer, Stage, Step, Tensor, Unobserved};
use scumble_engine::{families, memory, runs_plain};
use scumble_testkit::tiny::{self, Variant};

fn card() -> Device {
    let device = precision().device;
    assert!(!device.is_cpu(), "SCUMBLE_TEST_DEVICE names a card, such as cuda:0");
    device
}

/// They were tried when the card was opened.
#[test]
#[ignore = "needs a card: scripts/gpu-check"]
fn kernels_agree_with_the_cpu() {
    assert_eq!(runs_plain(&card()), None);
}

#[test]
#[ignore = "needs a card: scripts/gpu-check"]
fn memory_that_does_not_suffice_is_an_error_and_nothing_worse() {
    let device = card();
    let all = memory(&device).expect("a card knows its memory").total as usize;
    let too_much = Tensor::zeros(all / 4 + (1 << 20), DType::F32, &device);
    let error = Error::from(too_much.expect_err("more than there is"));
    assert!(error.is_out_of_memory(), "{error}");
    let sum = Tensor::ones(1000, DType::F32, &device).and_then(|x| x.sum_all()?.to_scalar::<f32>()).expect("room");
    assert_eq!(sum, 1000.0);
}

/// Stops after a step.
#[derive(Default)]
struct Impatient {
    steps: AtomicUsize,
}

impl Observer for Impatient {
    fn stage(&self, _: Stage) -> Control {
        Control::Continue
    }

    fn step(&self, _: &Step<'_>) -> Control {
        self.steps.fetch_add(1, Ordering::Relaxed);
        Control::Cancel
    }
}

#[test]
#[ignore = "needs a card: scripts/gpu-check"]
fn a_cancelled_picture_leaves_the_card_as_it_was() {
    card();
    let folder = tiny::of(Variant::Schnell).tempdir();
    let pipeline = families::open(Source::Folder(folder.path().into()), &precision()).expect("the tiny checkpoint");
    let impatient = Impatient::default();
    let stopped = pipeline.generate(&Variant::Schnell.call(), &Context { observer: &impatient, trace: None });
    assert!(matches!(stopped, Err(Error::Cancelled)) && impatient.steps.load(Ordering::Relaxed) == 1);
    let drawn = pipeline.generate(&Variant::Schnell.call(), &Context { observer: &Unobserved, trace: None });
    assert!(!drawn.expect("a picture").is_empty());
}
