//! What a call's adapters come to, before its first step.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::Sd35;
use super::controlnet::Sd35ControlNet;
use super::ip_adapter::{PictureAttention, Sd35IpAdapter};
use super::transformer::Sd35Inputs;
use crate::adapters::{ControlNet, IpAdapter};
use crate::call::Call;
use crate::error::{Error, Result};
use crate::families::Context;
use crate::observer::Observer;
use crate::stages::Canvas;
use crate::trace::Trace;

/// How strongly a picture may be followed: 1 is much already.
const STRONGEST: f64 = 10.0;

/// The adapters of a call with what they were shown.
#[derive(Default)]
pub(super) struct Guides {
    pub(super) control: Option<ControlGuide>,
    pub(super) picture: Option<PictureGuide>,
}

/// A ControlNet with its picture.
pub(super) struct ControlGuide {
    network: Arc<Sd35ControlNet>,
    /// The picture's latents, `[1, channels, h, w]`, or one for each of the batch.
    latents: Tensor,
    /// The same as tokens.
    tokens: Tensor,
    scale: f64,
    /// After which share of the steps it begins and ends.
    span: (f64, f64),
}

/// An IP-Adapter with its picture.
pub(super) struct PictureGuide {
    adapter: Arc<Sd35IpAdapter>,
    /// The image encoder's states: nothing for the negative prompt, where there is one, then the picture's;
    /// `[1 or 2, tokens, width]`.
    states: Tensor,
    images: usize,
    scale: f64,
    mask: Option<Tensor>,
}

/// Numbers that would mean nothing.
pub(super) fn check(call: &Call) -> Result<()> {
    let refuse = |field: [&str; 2], name: &str, problem: String| {
        Err(Error::Adapter { field: field.map(str::to_owned).into(), name: name.to_owned(), problem })
    };
    if let Some(ControlNet { files, picture, scale, start, end }) = &call.controlnet {
        if !scale.is_finite() {
            return refuse(["controlnet", "conditioning_scale"], &files.name, "must be a finite number".into());
        }
        if !(0.0 <= *start && start <= end && *end <= 1.0) {
            let problem = format!("must not end before it starts, and both between 0 and 1; got {start} and {end}");
            return refuse(["controlnet", "end_percentage"], &files.name, problem);
        }
        if picture.width == 0 || picture.height == 0 {
            return refuse(["controlnet", "control_image_url"], &files.name, "its picture has no pixels".into());
        }
    }
    if let Some(IpAdapter { files, picture, mask, mask_threshold, scale, .. }) = &call.ip_adapter {
        if !(-STRONGEST..=STRONGEST).contains(scale) {
            let problem = format!("must be between -{STRONGEST} and {STRONGEST}, got {scale}");
            return refuse(["ip_adapter", "scale"], &files.name, problem);
        }
        if !(0.0..=1.0).contains(mask_threshold) {
            let problem = format!("must be between 0 and 1, got {mask_threshold}");
            return refuse(["ip_adapter", "mask_threshold"], &files.name, problem);
        }
        if picture.width == 0 || picture.height == 0 {
            return refuse(["ip_adapter", "image_url"], &files.name, "its picture has no pixels".into());
        }
        if mask.as_ref().is_some_and(|mask| mask.width == 0 || mask.height == 0) {
            return refuse(["ip_adapter", "mask_image_url"], &files.name, "its mask has no pixels".into());
        }
    }
    Ok(())
}

impl Sd35 {
    /// The ControlNet's picture, encoded: the mean of what the autoencoder sees, unless the trace has the reference's draw.
    pub(super) fn control_guide(
        &self,
        control: &ControlNet,
        network: Arc<Sd35ControlNet>,
        canvas: Canvas,
        context: &Context<'_>,
    ) -> Result<ControlGuide> {
        let factor = self.vae.config().factor();
        let picture = control.picture.resized(canvas.width * factor, canvas.height * factor).to_unit()?;
        let picture = picture.to_device(&self.device)?;
        let (mean, log_variance) = self.vae.encode(&picture)?;
        if let Some(trace) = context.trace {
            trace.put("vae.encode.0.in", &picture)?;
            trace.put("vae.encode.0.mean", &mean)?;
            trace.put("vae.encode.0.logvar", &log_variance)?;
        }
        let z = match context.trace.and_then(|trace| trace.draw("vae.encode.0")) {
            Some(noise) => {
                let noise = noise.to_dtype(mean.dtype())?.to_device(&self.device)?;
                noise.broadcast_mul(&(log_variance * 0.5)?.exp()?)?.broadcast_add(&mean)?
            }
            None => mean,
        };
        let latents = self.vae.scale(&z)?.to_dtype(self.dtype)?;
        let tokens = network.embed(&latents)?;
        Ok(ControlGuide { network, latents, tokens, scale: control.scale, span: (control.start, control.end) })
    }

    /// The IP-Adapter's picture, encoded; `None` where a mask keeps it out of everything.
    pub(super) fn picture_guide(
        &self,
        call: &Call,
        ip: &IpAdapter,
        canvas: Canvas,
        context: &Context<'_>,
        adapter: Arc<Sd35IpAdapter>,
    ) -> Result<Option<PictureGuide>> {
        let mask = ip.mask.as_ref().map(|mask| {
            let factor = self.vae.config().factor();
            let fitted = mask.resized(canvas.width * factor, canvas.height * factor);
            let white = |brightness: f32| f64::from(brightness) >= ip.mask_threshold;
            fitted.cells(2 * factor).into_iter().map(|cell| f32::from(u8::from(white(cell)))).collect::<Vec<_>>()
        });
        if mask.as_ref().is_some_and(|cells| cells.iter().all(|cell| *cell == 0.0)) {
            return Ok(None);
        }
        let encoder = self.adapters.image_encoder(self, ip, &adapter, context)?;
        let pixels = encoder.preprocess.apply(&ip.picture)?.to_device(&self.device)?;
        let states = encoder.tower.forward(&pixels.to_dtype(encoder.tower.dtype())?, context.observer)?;
        let states = states.to_dtype(self.dtype)?;
        if let Some(trace) = context.trace {
            trace.put("input.ip_pixel_values", &pixels)?;
            trace.put("ip_adapter.image_embeds", &states)?;
        }
        let guided = call.is_guided();
        let states = if guided { Tensor::cat(&[&states.zeros_like()?, &states], 0)? } else { states };
        let on_device = |cells: Vec<f32>| -> Result<Tensor> {
            let count = cells.len();
            Ok(Tensor::from_vec(cells, (1, count, 1), &Device::Cpu)?.to_dtype(self.dtype)?.to_device(&self.device)?)
        };
        let mask = mask.map(on_device).transpose()?;
        Ok(Some(PictureGuide { adapter, states, images: call.images, scale: ip.scale, mask }))
    }
}

impl ControlGuide {
    /// Whether it acts at a step.
    pub(super) fn is_active(&self, index: usize, steps: usize) -> bool {
        let (start, end) = self.span;
        let share = |steps_done: usize| steps_done as f64 / steps as f64;
        !(share(index) < start || share(index + 1) > end)
    }

    /// What the model adds after its blocks. `image` is the model's embedding of the noisy latents.
    pub(super) fn residuals(
        &self,
        image: &Tensor,
        inputs: &Sd35Inputs<'_>,
        trace: Option<&Trace>,
    ) -> Result<Vec<Tensor>> {
        let residuals = self.network.forward(image, &self.tokens, inputs, self.scale)?;
        if let Some(trace) = trace {
            trace.put("step0.controlnet.in.controlnet_cond", &self.latents)?;
            trace.put("step0.controlnet.in.pooled_projections", inputs.pooled)?;
            if trace.wants_blocks() {
                for (i, residual) in residuals.iter().enumerate() {
                    trace.put(&format!("step0.controlnet.out.0.{i}"), residual)?;
                }
            }
        }
        Ok(residuals)
    }
}

impl PictureGuide {
    /// The adapter at a timestep.
    pub(super) fn at(
        &self,
        timestep: f32,
        trace: Option<&Trace>,
        observer: &dyn Observer,
    ) -> Result<PictureAttention<'_>> {
        let timestep = Tensor::full(timestep, self.states.dim(0)?, self.states.device())?.to_dtype(DType::F32)?;
        let (tokens, embedded) = self.adapter.picture(&self.states, &timestep, observer)?;
        if let Some(trace) = trace {
            trace.put("step0.image_proj.out.0", &tokens)?;
            trace.put("step0.image_proj.out.1", &embedded)?;
        }
        let (tokens, embedded) = (self.for_each_image(&tokens)?, self.for_each_image(&embedded)?);
        PictureAttention::new(&self.adapter, (tokens, &embedded), self.scale, self.mask.as_ref())
    }

    /// Every entry of a batch once for each picture that is drawn.
    fn for_each_image(&self, x: &Tensor) -> Result<Tensor> {
        let rows: Vec<u32> = (0..x.dim(0)? as u32).flat_map(|row| std::iter::repeat_n(row, self.images)).collect();
        Ok(x.index_select(&Tensor::new(&rows[..], x.device())?, 0)?)
    }
}
