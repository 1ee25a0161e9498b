//! Tiled decoding against diffusers' `AutoencoderKL.enable_tiling()`.
//!
//! `golden/tiling.safetensors` is made by `golden/make_tiling.py`.

use scumble_engine::rng::Generator;
use scumble_engine::vae::{Tiling, Vae, VaeConfig};
use scumble_engine::weights::{Checkpoint, Precision, Source};
use scumble_engine::{DType, Device, Tensor};
use scumble_testkit::tiny::{self, Variant};

const TILED: Tiling = Tiling { above: 64, tile: 8, factor: 8 };
const WHOLE: Tiling = Tiling { above: usize::MAX, tile: 8, factor: 8 };

fn vae() -> Vae {
    let folder = tiny::of(Variant::Dev).tempdir();
    let checkpoint = Checkpoint::open(Source::Folder(folder.path().into())).expect("the tiny checkpoint");
    let config = VaeConfig::read(&checkpoint.config("vae/config.json").expect("a file")).expect("a configuration");
    let precision = Precision { device: Device::Cpu, dtype: Some(DType::F32) };
    let weights = checkpoint.weights("vae", "diffusion_pytorch_model", &precision).expect("weights");
    Vae::load(&config, &weights).expect("an autoencoder")
}

fn noise() -> Tensor {
    Generator::new(7).noise(&[1, 16, 13, 18]).expect("noise")
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    (a - b).and_then(|d| d.abs()?.max_all()?.to_scalar()).expect("tensors of one shape")
}

#[test]
fn tiled_decoding_agrees_with_diffusers() {
    let golden =
        candle_core::safetensors::load("tests/golden/tiling.safetensors", &Device::Cpu).expect("the golden file");
    let tiled = vae().decode(&noise(), &TILED).expect("a picture");
    assert_eq!(tiled.dims(), [1, 3, 104, 144]);
    // seen: 5.2e-6, for values up to about 4
    let difference = largest_difference(&golden["tiled"], &tiled);
    assert!(difference < 3e-5, "off by {difference:e}");
}

#[test]
fn one_tile_is_the_whole() {
    let small = noise().narrow(2, 0, 8).and_then(|z| z.narrow(3, 0, 8)).expect("one tile");
    let vae = vae();
    let (tiled, whole) =
        (vae.decode(&small, &TILED).expect("a picture"), vae.decode(&small, &WHOLE).expect("a picture"));
    assert_eq!(largest_difference(&tiled, &whole), 0.0);
}

/// Norms over a tile see other statistics than norms over the picture, so random weights keep tiles apart; what they
/// agree on is what is drawn where.
#[test]
fn tiles_draw_what_the_whole_draws() {
    let vae = vae();
    let (tiled, whole) =
        (vae.decode(&noise(), &TILED).expect("a picture"), vae.decode(&noise(), &WHOLE).expect("a picture"));
    let correlation = correlation(&tiled, &whole);
    // seen: 0.87
    assert!(correlation > 0.8, "{correlation}");
}

fn correlation(a: &Tensor, b: &Tensor) -> f64 {
    let numbers =
        |x: &Tensor| -> Vec<f64> { x.to_dtype(DType::F64).and_then(|x| x.flatten_all()?.to_vec1()).expect("numbers") };
    let centred = |x: Vec<f64>| {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        x.into_iter().map(move |v| v - mean).collect::<Vec<f64>>()
    };
    let (a, b) = (centred(numbers(a)), centred(numbers(b)));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
}
