//! The networks of adapters: loaded when a call first asks for them, and the last one of each kind kept.

use std::sync::Arc;

use super::Sd35;
use super::controlnet::Sd35ControlNet;
use super::guides::{self, Guides};
use super::ip_adapter::Sd35IpAdapter;
use crate::adapters::{AdapterFiles, Blame, ControlNet, IpAdapter, Kept};
use crate::call::Call;
use crate::encoders::{Preprocess, SiglipConfig, SiglipVision};
use crate::error::Result;
use crate::families::Context;
use crate::observer::Stage;
use crate::stages::Canvas;
use crate::weights::{Loose, Precision};

/// The image encoder that the published adapters were trained with.
const ENCODER: &str = "google/siglip-so400m-patch14-384, whose states are 1152 wide";

/// What is kept of adapters between calls.
#[derive(Default)]
pub(super) struct Adapters {
    control: Kept<Sd35ControlNet>,
    picture: Kept<Sd35IpAdapter>,
    encoder: Kept<ImageEncoder>,
}

/// An image encoder and what it wants pictures to be like.
pub(super) struct ImageEncoder {
    pub(super) tower: SiglipVision,
    pub(super) preprocess: Preprocess,
}

impl Sd35 {
    /// Loads the networks that a call asks for, and shows them its pictures.
    pub(super) fn attach(&self, canvas: Canvas, call: &Call, context: &Context<'_>) -> Result<Guides> {
        guides::check(call)?;
        let mut attached = Guides::default();
        // nothing at a scale of nothing
        if let Some(control) = call.controlnet.as_ref().filter(|control| control.scale != 0.0) {
            let network = self.adapters.controlnet(self, control, context)?;
            attached.control = Some(self.control_guide(control, network, canvas, context)?);
        }
        if let Some(ip) = call.ip_adapter.as_ref().filter(|ip| ip.scale != 0.0) {
            let adapter = self.adapters.ip_adapter(self, ip, context)?;
            attached.picture = self.picture_guide(call, ip, canvas, context, adapter)?;
        }
        Ok(attached)
    }

    /// Adapters compute in the model's own type.
    fn adapter_precision(&self) -> Precision {
        Precision { dtype: Some(self.dtype), ..self.precision.clone() }
    }
}

impl Adapters {
    fn controlnet(&self, model: &Sd35, control: &ControlNet, context: &Context<'_>) -> Result<Arc<Sd35ControlNet>> {
        let what = "a ControlNet of Stable Diffusion 3.5 Large";
        let blame = Blame { field: &["controlnet", "path"], name: &control.files.name, what };
        kept(&self.control, &control.files, &blame, context, || {
            let base = model.transformer.config();
            Sd35ControlNet::open(&control.files, base, &model.adapter_precision(), &blame)
        })
    }

    fn ip_adapter(&self, model: &Sd35, ip: &IpAdapter, context: &Context<'_>) -> Result<Arc<Sd35IpAdapter>> {
        let what = "an IP-Adapter of Stable Diffusion 3.5 Large";
        let blame = Blame { field: &["ip_adapter", "path"], name: &ip.files.name, what };
        kept(&self.picture, &ip.files, &blame, context, || {
            Sd35IpAdapter::open(&ip.files, model.transformer.config(), &model.adapter_precision(), &blame)
        })
    }

    /// The image encoder of an adapter, whose states must be as wide as the adapter takes them.
    pub(super) fn image_encoder(
        &self,
        model: &Sd35,
        ip: &IpAdapter,
        adapter: &Sd35IpAdapter,
        context: &Context<'_>,
    ) -> Result<Arc<ImageEncoder>> {
        let field = &["ip_adapter", "image_encoder_path"];
        let blame = Blame { field, name: &ip.encoder.name, what: "a vision model of SigLIP" };
        let encoder = kept(&self.encoder, &ip.encoder, &blame, context, || {
            ImageEncoder::open(&ip.encoder, &model.adapter_precision(), adapter.encoder_width(), &blame)
        })?;
        // one that was kept from a call with another adapter
        fits(&blame, encoder.tower.config().hidden, adapter.encoder_width())?;
        Ok(encoder)
    }
}

/// What is kept of these files, or loaded now: the observer hears of that, and may refuse.
fn kept<T>(
    kept: &Kept<T>,
    files: &AdapterFiles,
    blame: &Blame<'_>,
    context: &Context<'_>,
    open: impl FnOnce() -> Result<T>,
) -> Result<Arc<T>> {
    let loaded = files.identity().and_then(|identity| {
        kept.get(identity, || {
            context.observer.stage(Stage::Load).check()?;
            open()
        })
    });
    loaded.map_err(|error| blame.of(error))
}

impl ImageEncoder {
    fn open(files: &AdapterFiles, precision: &Precision, width: usize, blame: &Blame<'_>) -> Result<Self> {
        let tensors = Loose::open(&files.weights)?.named(SiglipVision::name)?;
        let has = |part: &str| tensors.names().any(|name| name.ends_with(part));
        if has("embeddings.class_embedding") || !tensors.has("embeddings.patch_embedding.bias") {
            let is = if has("embeddings.class_embedding") {
                "a vision model of CLIP"
            } else {
                "not a vision model of SigLIP"
            };
            return Err(blame.problem(format!("it is {is}; the encoder that fits is {ENCODER}")));
        }
        // before gigabytes are read
        fits(blame, tensors.size("embeddings.patch_embedding.bias", 0)?, width)?;
        let config = SiglipConfig::read(files.config()?.as_ref(), &tensors)?;
        let preprocess = match files.preprocessor()? {
            Some(file) => Preprocess::read(&file, &Preprocess::siglip(config.image))?,
            None => Preprocess::siglip(config.image),
        };
        if (preprocess.width / config.patch, preprocess.height / config.patch) != (config.grid(), config.grid()) {
            return Err(blame.problem(format!(
                "its preprocessor_config.json makes pictures of {}×{}, and it was trained on {1}×{1}",
                preprocess.width, config.image
            )));
        }
        let weights = tensors.weights(precision);
        let tower = SiglipVision::load(&config, &weights)?;
        weights.finish(|name| SiglipVision::ignores(&config, name))?;
        Ok(Self { tower, preprocess })
    }
}

fn fits(blame: &Blame<'_>, got: usize, wanted: usize) -> Result<()> {
    if got == wanted {
        return Ok(());
    }
    let problem =
        format!("its states are {got} wide and the adapter takes {wanted}; the encoder that fits is {ENCODER}");
    Err(blame.problem(problem))
}
