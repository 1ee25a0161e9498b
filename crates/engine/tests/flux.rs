//! What only FLUX does: changing a picture, taking steps over from the one before.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops and shows where")]

mod common;

use std::sync::Mutex;

use common::{draw, edit, largest_difference, mean_difference, open, open_in};
use scumble_engine::families::Context;
use scumble_engine::{Acceleration, Call, Control, DType, Error, Observer, Pixels, Step};
use scumble_testkit::tiny::{self, Variant};

/// Notes what a run says.
#[derive(Default)]
struct Ear {
    steps: Mutex<Vec<(usize, usize)>>,
    remarks: Mutex<Vec<String>>,
}

impl Observer for Ear {
    fn step(&self, step: &Step<'_>) -> Control {
        self.steps.lock().unwrap().push((step.done, step.total));
        Control::Continue
    }

    fn remark(&self, sentence: &str) {
        self.remarks.lock().unwrap().push(sentence.to_owned());
    }
}

// ------------------------------------------------------------------------------------------- image to image

fn change(strength: f64) -> Call {
    Call { picture: Some(tiny::picture(96, 64)), strength, steps: 8, ..Variant::Dev.call() }
}

#[test]
fn a_picture_is_changed_as_far_as_strength_says() {
    let pipeline = open(Variant::Dev);
    let whole = draw(&*pipeline, &change(1.0)).remove(0);
    let near = draw(&*pipeline, &change(0.25)).remove(0);
    let nearest = draw(&*pipeline, &change(0.125)).remove(0);
    // what the autoencoder makes of the picture alone is where the walk of no steps would end
    assert!(mean_difference(&nearest, &near) < mean_difference(&nearest, &whole));
    let other = Call { picture: Some(tiny::mask(96, 64)), ..change(0.25) };
    assert_ne!(draw(&*pipeline, &other)[0], near);
    let two = draw(&*pipeline, &Call { images: 2, ..change(0.5) });
    assert!(largest_difference(&two[0], &two[1]) > 1, "each has noise of its own");
    let resized = Call { picture: Some(tiny::picture(31, 200)), ..change(0.5) };
    assert_eq!(draw(&*pipeline, &resized)[0].width, 96);
}

#[test]
fn so_many_of_the_last_steps_are_taken() {
    let pipeline = open(Variant::Dev);
    for (strength, steps) in [(1.0, 8), (0.5, 4), (0.51, 5), (0.01, 1)] {
        let ear = Ear::default();
        pipeline.generate(&change(strength), &Context { observer: &ear, trace: None }).unwrap();
        let seen = ear.steps.into_inner().unwrap();
        assert_eq!((seen.len(), seen.last()), (steps, Some(&(steps, steps))), "at {strength}");
    }
}

#[test]
fn pictures_without_pixels_are_refused_and_text_alone_still_draws() {
    let pipeline = open(Variant::Dev);
    let plain = draw(&*pipeline, &Variant::Dev.call());
    let empty = Call { picture: Some(Pixels { width: 0, height: 0, rgb: Vec::new() }), ..change(0.5) };
    let refused = pipeline.generate(&empty, &Context { observer: &Ear::default(), trace: None });
    assert!(matches!(refused, Err(Error::Parameter { name: "image_url", .. })), "{refused:?}");
    draw(&*pipeline, &change(0.5));
    assert_eq!(draw(&*pipeline, &Variant::Dev.call()), plain, "the encoder that was loaded changes nothing");
}

// --------------------------------------------------------------------------------------------- acceleration

fn accelerated(variant: Variant, acceleration: Acceleration) -> (Vec<Pixels>, Vec<String>) {
    let ear = Ear::default();
    let call = Call { acceleration, steps: 20, ..variant.call() };
    let pictures = open(variant).generate(&call, &Context { observer: &ear, trace: None }).unwrap();
    (pictures, ear.remarks.into_inner().unwrap())
}

#[test]
fn the_distilled_model_takes_steps_over_only_where_speed_matters_most() {
    let (none, said) = accelerated(Variant::Schnell, Acceleration::None);
    assert!(said.is_empty(), "{said:?}");
    let (regular, said) = accelerated(Variant::Schnell, Acceleration::Regular);
    assert!(said.is_empty(), "{said:?}");
    assert_eq!(none, regular, "bit for bit");
    let (_, said) = accelerated(Variant::Schnell, Acceleration::High);
    assert_eq!(said, ["acceleration: no step was alike enough to take work over"]);
}

/// Random networks jump from step to step as trained ones never do; with the noise level turned down they are calm.
#[test]
fn the_guided_model_takes_more_steps_over_the_more_is_allowed() {
    let folder = tiny::of(Variant::Dev).tempdir();
    edit(&folder.path().join("transformer/diffusion_pytorch_model.safetensors"), |tensors| {
        let level = tensors.get_mut("time_text_embed.timestep_embedder.linear_2.weight").unwrap();
        *level = (&*level * 0.02).unwrap();
    });
    let pipeline = open_in(folder.path(), Some(DType::F32)).unwrap();
    let run = |acceleration| {
        let ear = Ear::default();
        let call = Call { acceleration, steps: 20, ..Variant::Dev.call() };
        let pictures = pipeline.generate(&call, &Context { observer: &ear, trace: None }).unwrap();
        let said = ear.remarks.into_inner().unwrap();
        let count = said.first().map(|said| said.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap());
        (pictures, count.unwrap_or(0))
    };
    let (none, nothing) = run(Acceleration::None);
    let ((regular, few), (high, many)) = (run(Acceleration::Regular), run(Acceleration::High));
    eprintln!("{few} and {many} of 20 steps taken over");
    assert!(nothing == 0 && 0 < few && few < many && many < 20, "{nothing}, {few} and {many}");
    assert!(mean_difference(&none[0], &regular[0]) > 0.0 && mean_difference(&none[0], &high[0]) > 0.0);
}

/// The one trained network that is at hand: figures for docs/MODELS.md, with `--nocapture`.
#[test]
fn a_trained_network_loses_little() {
    let pipeline = open_in(std::path::Path::new("../../starter/weights"), Some(DType::F32)).unwrap();
    for (prompt, steps) in [("two small yellow stars on a purple background", 16), ("a red circle", 28)] {
        let run = |acceleration| {
            let ear = Ear::default();
            let size = Call { width: 256, height: 256, guidance: 1.0, true_cfg: 2.0, ..Variant::Schnell.call() };
            let call = Call { prompt: prompt.into(), steps, acceleration, max_sequence_length: None, ..size };
            let began = std::time::Instant::now();
            let pictures = pipeline.generate(&call, &Context { observer: &ear, trace: None }).unwrap();
            (pictures, ear.remarks.into_inner().unwrap(), began.elapsed())
        };
        let (none, _, whole) = run(Acceleration::None);
        let (high, said, less) = run(Acceleration::High);
        let loss = mean_difference(&none[0], &high[0]);
        eprintln!(
            "{prompt}: {}; {loss:.2} levels on average; {:.2} of the time",
            said[0],
            less.div_duration_f64(whole)
        );
        assert!(loss < 4.0, "{loss}");
    }
}
