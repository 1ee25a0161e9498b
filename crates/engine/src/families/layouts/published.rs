//! Published files, by the names and shapes of all their tensors: what is found in them, which sizes follow, and that their
//! models ask for exactly what is there.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use super::{Kind, PartFile, configs, recognise};
use crate::encoders::{ClipConfig, ClipText, Llama, LlamaConfig, T5Config, T5Encoder};
use crate::error::Result;
use crate::families::auraflow::{AuraConfig, AuraTransformer};
use crate::families::f_lite::{FLiteConfig, FLiteTransformer};
use crate::families::flux::{FluxConfig, FluxTransformer};
use crate::families::hidream::{HiDreamConfig, HiDreamTransformer};
use crate::families::omnigen2::{OmniGen2Config, OmniGen2Transformer};
use crate::families::sd35::{Sd35Config, Sd35Transformer};
use crate::vae::{Vae, VaeConfig};
use crate::weights::container::Container;
use crate::weights::{Config, Precision, Weights};

const FLUX: &str = "FluxPipeline";
const FILL: &str = "FluxFillPipeline";
const SD35: &str = "StableDiffusion3Pipeline";
const AURA: &str = "AuraFlowPipeline";
const HIDREAM: &str = "HiDreamImagePipeline";
const F_LITE: &str = "FLitePipeline";
const OMNIGEN2: &str = "OmniGen2Pipeline";

fn file(name: &str, prefix: &str) -> Container {
    let path = format!("{}/tests/tensors/{name}.json.gz", env!("CARGO_MANIFEST_DIR"));
    let packed = std::fs::read(&path).expect("a listing");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).expect("a text");
    let shapes: BTreeMap<String, Vec<usize>> = serde_json::from_str(&text).expect("names and shapes");
    Container::of_shapes(name, shapes.into_iter().map(|(name, shape)| (format!("{prefix}{name}"), shape)).collect())
}

/// Finds a component of a file, reads its sizes from it, and loads it without reading a number.
fn loads<T>(
    (name, prefix): (&str, &str),
    (class, component, kind): (&str, &str, Kind),
    ignores: impl Fn(&str) -> bool,
    load: impl FnOnce(&Config, &Weights) -> Result<T>,
) -> T {
    let file = file(name, prefix);
    let found = recognise(&file).expect("it is known").into_iter().find(|found| found.kind == kind);
    let found = found.unwrap_or_else(|| panic!("{name}: no {}", kind.told()));
    let part = PartFile::new(name.into(), found, class, component).part(file).expect("tensors that can be cut");
    let config = configs::of(class, component, kind, &part, None).expect("shapes that tell sizes");
    let config = serde_json::to_vec(&config).expect("JSON");
    let config = Config::parse(name.into(), &config).expect("an object");
    let precision = Precision { device: candle_core::Device::Cpu, dtype: None };
    let weights = Weights::of_part(Arc::new(part), &precision).check_only();
    let loaded = load(&config, &weights).unwrap_or_else(|error| panic!("{name}: {error}"));
    weights.finish(ignores).unwrap_or_else(|error| panic!("{name}: {error}"));
    loaded
}

fn none(_: &str) -> bool {
    false
}

#[test]
fn flux() {
    for prefix in ["", "model.diffusion_model."] {
        for (name, class, input, guided) in
            [("flux1-schnell", FLUX, 64, false), ("flux1-dev", FLUX, 64, true), ("flux1-fill-dev", FILL, 384, true)]
        {
            for listing in ["transformer.original", "transformer"] {
                let at = (&*format!("{name}__{listing}"), prefix);
                let config = loads(at, (class, "transformer", Kind::Transformer(class)), none, |config, w| {
                    let config = FluxConfig::read(config)?;
                    FluxTransformer::load(&config, w).map(|_| config)
                });
                assert_eq!((config.in_channels, config.out_channels, config.guidance), (input, 64, guided));
                assert_eq!((config.heads, config.head_width), (24, 128));
                assert_eq!((config.double_blocks, config.single_blocks), (19, 38));
            }
        }
    }
}

#[test]
fn autoencoders() {
    for (name, class, latent, scaling) in [
        ("flux1__vae.original", FLUX, 16, 0.3611),
        ("flux1__vae", FLUX, 16, 0.3611),
        ("sd35-large__checkpoint.original", SD35, 16, 1.5305),
        ("auraflow-v0.3__checkpoint.original", AURA, 4, 0.13025),
        ("hidream-i1__vae", HIDREAM, 16, 0.3611),
    ] {
        let config = loads((name, ""), (class, "vae", Kind::Vae), none, |config, w| {
            let config = VaeConfig::read(config)?;
            Vae::load(&config, w).map(|_| config)
        });
        assert_eq!((config.latent_channels, config.scaling, config.groups), (latent, scaling, 32));
        assert_eq!((&config.channels[..], config.layers), (&[128, 256, 512, 512][..], 2));
    }
}

#[test]
fn stable_diffusion() {
    for name in ["sd35-large__checkpoint.original", "sd35-large__transformer"] {
        let config = loads((name, ""), (SD35, "transformer", Kind::Transformer(SD35)), none, |config, w| {
            let config = Sd35Config::read(config)?;
            Sd35Transformer::load(&config, w).map(|_| config)
        });
        assert_eq!((config.blocks, config.heads, config.head_width, config.side), (38, 38, 64, 192));
    }
    let clip = |component: &'static str| {
        let at = (&*format!("sd35-large__{component}"), "");
        loads(at, (SD35, component, Kind::Clip), ClipText::ignores, |config, w| {
            let config = ClipConfig::read(config)?;
            ClipText::load_projected(&config, w).map(|_| config)
        })
    };
    let (l, g) = (clip("text_encoder"), clip("text_encoder_2"));
    assert_eq!([l.heads, g.heads, l.projection, g.projection, l.layers, g.layers], [12, 20, 768, 1280, 12, 32]);
    assert_ne!(format!("{:?}", l.activation), format!("{:?}", g.activation));
}

#[test]
fn aura_flow() {
    let name = "auraflow-v0.3__checkpoint.original";
    let config = loads((name, ""), (AURA, "transformer", Kind::Transformer(AURA)), none, |config, w| {
        let config = AuraConfig::read(config)?;
        AuraTransformer::load(&config, w).map(|_| config)
    });
    assert_eq!((config.heads, config.head_width, config.side, config.text_width), (12, 256, 96, 2048));
    let config = loads((name, ""), (AURA, "text_encoder", Kind::T5), T5Encoder::ignores, |config, w| {
        let config = T5Config::read(config)?;
        T5Encoder::load(&config, w).map(|_| config)
    });
    assert_eq!((config.heads, config.d_kv, config.d_ff, config.own_distances), (32, 64, 5120, true));
}

#[test]
fn hidream_and_its_encoders() {
    for prefix in ["", "model.diffusion_model."] {
        let at = ("hidream-i1__transformer", prefix);
        let config = loads(at, (HIDREAM, "transformer", Kind::Transformer(HIDREAM)), none, |config, w| {
            let config = HiDreamConfig::read(config)?;
            HiDreamTransformer::load(&config, w).map(|_| config)
        });
        assert_eq!((config.heads, config.head_width, config.experts, config.activated), (20, 128, 4, 2));
    }
    let at = ("hidream-i1__text_encoder_3", "");
    let config = loads(at, (HIDREAM, "text_encoder_3", Kind::T5), T5Encoder::ignores, |config, w| {
        let config = T5Config::read(config)?;
        T5Encoder::load(&config, w).map(|_| config)
    });
    assert_eq!((config.heads, config.d_kv, config.layers, config.own_distances), (64, 64, 24, false));
    let at = ("hidream-i1__text_encoder_4", "");
    let config = loads(at, (HIDREAM, "text_encoder_4", Kind::Llama), Llama::ignores, |config, w| {
        let config = LlamaConfig::read(config)?;
        Llama::load(&config, w).map(|_| config)
    });
    assert_eq!((config.heads, config.kv_heads, config.head_width, config.theta), (32, 8, 128, 500_000.0));
    assert!(config.scaling.is_some());
}

#[test]
fn f_lite() {
    for (name, depth) in [("f-lite__dit_model", 40), ("f-lite-7b__dit_model", 28)] {
        for prefix in ["", "model.diffusion_model."] {
            let kind = Kind::Transformer(F_LITE);
            let config = loads((name, prefix), (F_LITE, "dit_model", kind), none, |config, w| {
                let config = FLiteConfig::read(config)?;
                FLiteTransformer::load(&config, w).map(|_| config)
            });
            assert_eq!((config.depth, config.heads, config.width, config.wide), (depth, 12, 3072, 12288));
            assert_eq!((config.channels, config.text_width), (16, 4096));
            assert!(config.mixes_values && !config.trains_norms);
        }
    }
}

#[test]
fn omnigen2() {
    for prefix in ["", "model.diffusion_model."] {
        let (at, kind) = (("omnigen2__transformer", prefix), Kind::Transformer(OMNIGEN2));
        let config = loads(at, (OMNIGEN2, "transformer", kind), none, |config, w| {
            let config = OmniGen2Config::read(config)?;
            OmniGen2Transformer::load(&config, w).map(|_| config)
        });
        assert_eq!((config.layers, config.refiners, config.heads, config.kv_heads), (32, 2, 21, 7));
        assert_eq!((config.width, config.wide, config.text_width, config.axes), (2520, 10240, 2048, [40; 3]));
    }
}
