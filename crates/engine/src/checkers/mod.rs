//! Networks that look at finished pictures and say whether not everybody should see them.
//!
//! A checker is a repository of its own, in transformers' layout: `config.json`, `model.safetensors` or `pytorch_model.bin`,
//! `preprocessor_config.json`. It computes in float32, whatever its files hold: what it says must not depend on the device's
//! widest type.

mod compvis;
mod falconsai;
mod files;

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use crate::encoders::Preprocess;
use crate::error::{Error, Result};
use crate::families::Context;
use crate::observer::Reading;
use crate::pixels::Pixels;
use crate::weights::Precision;

pub use compvis::{CompVis, CompVisConfig};
pub use falconsai::{Falconsai, FalconsaiConfig};
use files::Files;

/// The checkers that this engine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CheckerKind {
    /// CompVis' `stable-diffusion-safety-checker`: CLIP, and the distance to what it must not be near to.
    CompVis,
    /// Falconsai's `nsfw_image_detection`: a ViT with two classes.
    Falconsai,
}

impl CheckerKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::CompVis, Self::Falconsai];

    /// As settings name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CompVis => "compvis",
            Self::Falconsai => "falconsai",
        }
    }

    /// The one of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Where it is published.
    pub const fn repository(self) -> &'static str {
        match self {
            Self::CompVis => "CompVis/stable-diffusion-safety-checker",
            Self::Falconsai => "Falconsai/nsfw_image_detection",
        }
    }
}

/// A loaded checker.
pub struct Checker {
    network: Network,
    preprocess: Preprocess,
    device: Device,
}

enum Network {
    CompVis(CompVis),
    Falconsai(Falconsai),
}

impl Checker {
    /// Loads one from its folder onto a device; `reading` hears of it and may stop it.
    ///
    /// # Errors
    /// Files that are missing, or that are not those of this kind.
    pub fn open(kind: CheckerKind, folder: &Path, device: &Device, reading: Option<Arc<dyn Reading>>) -> Result<Self> {
        Self::read(kind, folder, device, reading, false)
    }

    /// Whether one could be loaded: everything but the tensors themselves is read.
    ///
    /// # Errors
    /// As [`Checker::open`].
    pub fn examine(kind: CheckerKind, folder: &Path) -> Result<()> {
        Self::read(kind, folder, &Device::Cpu, None, true).map(drop)
    }

    /// What one takes in memory, in bytes.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn takes(folder: &Path) -> Result<u64> {
        Ok(Files::open(folder)?.tensors.takes(&wide(&Device::Cpu)))
    }

    fn read(
        kind: CheckerKind,
        folder: &Path,
        device: &Device,
        reading: Option<Arc<dyn Reading>>,
        check_only: bool,
    ) -> Result<Self> {
        let Files { config, preprocessor, tensors } = Files::open(folder)?;
        let rule = |name: &str| match kind {
            CheckerKind::CompVis => CompVis::name(name),
            CheckerKind::Falconsai => Falconsai::name(name),
        };
        let weights = tensors.named(rule)?.weights(&wide(device));
        let weights = if check_only { weights.check_only() } else { weights };
        let weights = reading.map_or_else(|| weights.clone(), |reading| weights.heard_by(&reading));
        let (network, usual) = match kind {
            CheckerKind::CompVis => {
                let sizes = CompVisConfig::read(&config)?;
                let usual = Preprocess::clip(sizes.tower.image);
                (Network::CompVis(CompVis::load(&sizes, &weights)?), usual)
            }
            CheckerKind::Falconsai => {
                let sizes = FalconsaiConfig::read(&config)?;
                let usual = Preprocess::vit(sizes.tower.image);
                (Network::Falconsai(Falconsai::load(&sizes, &weights)?), usual)
            }
        };
        weights.finish(|name| name.ends_with("position_ids"))?;
        let preprocess = match &preprocessor {
            Some(file) => Preprocess::read(file, &usual)?,
            None => usual.clone(),
        };
        if let Some(file) =
            preprocessor.filter(|_| (preprocess.width, preprocess.height) != (usual.width, usual.height))
        {
            let got = format!("{}×{}", preprocess.width, preprocess.height);
            let wanted = format!("{}×{}, as the network was trained", usual.width, usual.height);
            return Err(file.unsupported("size", got, &wanted));
        }
        Ok(Self { network, preprocess, device: device.clone() })
    }

    /// Whether this picture is one that not everybody should see.
    ///
    /// With a trace, every number before the decision is kept.
    ///
    /// # Errors
    /// [`Error::Cancelled`] where the observer says so; [`Error::NotFinite`] where the network computes no numbers, which says
    /// nothing of the picture; a device out of memory.
    pub fn flags(&self, picture: &Pixels, context: &Context<'_>) -> Result<bool> {
        let pixels = self.preprocess.apply(picture)?.to_device(&self.device)?;
        kept(context, "pixels", &pixels)?;
        match &self.network {
            Network::CompVis(network) => network.flags(&pixels, context),
            Network::Falconsai(network) => network.flags(&pixels, context),
        }
    }
}

fn wide(device: &Device) -> Precision {
    Precision { device: device.clone(), dtype: Some(DType::F32) }
}

/// Keeps a tensor in the trace, where there is one.
fn kept(context: &Context<'_>, name: &str, tensor: &Tensor) -> Result<()> {
    context.trace.map_or(Ok(()), |trace| trace.put(name, tensor))
}

/// The numbers of a row; what is none says nothing, least of all that a picture is harmless.
fn finite(row: &Tensor) -> Result<Vec<f32>> {
    let values = row.flatten_all()?.to_vec1::<f32>()?;
    if values.iter().all(|value| value.is_finite()) {
        return Ok(values);
    }
    Err(Error::NotFinite { place: "in the safety checker".into(), dtype: DType::F32 })
}
