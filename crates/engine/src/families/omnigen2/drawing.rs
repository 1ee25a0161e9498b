//! From noise to latents: the same scene, read once or up to three times at each step.

use candle_core::Tensor;

use super::guidance::{both, is_led};
use super::transformer::{OmniGen2Transformer, Places, Reading, Scene, Watched};
use crate::call::Call;
use crate::error::Result;
use crate::families::{Context, Probe};
use crate::samplers::Sampler;
use crate::stages::{self, Canvas};
use crate::trace::Trace;
use crate::vae::Vae;

/// All that stays the same from step to step.
pub(super) struct Drawing<'a> {
    pub(super) transformer: &'a OmniGen2Transformer,
    pub(super) vae: &'a Vae,
    pub(super) canvas: Canvas,
    pub(super) places: Places,
    /// The prompt with the given pictures.
    pub(super) prompt: Reading,
    pub(super) away: Option<Away>,
    pub(super) call: &'a Call,
    pub(super) context: &'a Context<'a>,
}

/// What the steps that are guided are led away from.
pub(super) struct Away {
    /// How far the text leads.
    pub(super) text: f64,
    /// The negative text without pictures.
    pub(super) without: Reading,
    /// How far pictures lead, and the negative text with them.
    pub(super) with: Option<(f64, Reading)>,
}

impl Drawing<'_> {
    pub(super) fn walk(&self, latents: Tensor, sampler: impl Sampler) -> Result<Tensor> {
        let predict = |index: usize, time: f32, latents: &Tensor| self.velocity(index, time, latents);
        let preview = |latents: &Tensor| stages::preview(self.vae, &latents.narrow(0, 0, 1)?);
        stages::walk(latents, sampler, self.context, &preview, &predict)
    }

    /// noise − data, which is what samplers want to know; the transformer says the opposite.
    fn velocity(&self, index: usize, time: f32, latents: &Tensor) -> Result<Tensor> {
        let probe = stages::blocks(self.context, index);
        let watched = self.watched(probe.as_ref().map(|probe| probe as Probe<'_>));
        let scene = self.transformer.scene(latents, &self.places, time, watched)?;
        let given = |trace: &Trace| stages::trace_input(trace, &[("hidden_states", latents)]);
        let prompt = stages::predicted(self.context, index, given, |probe| self.pass(&scene, &self.prompt, probe))?;
        let Some(away) = self.away.as_ref().filter(|_| is_led(index, self.call)) else { return Ok(prompt.neg()?) };
        let without = self.pass(&scene, &away.without, None)?;
        let towards = match &away.with {
            None => stages::guided(&prompt, &without, away.text)?,
            Some((scale, reading)) => both(&without, &self.pass(&scene, reading, None)?, &prompt, away.text, *scale)?,
        };
        Ok(towards.neg()?)
    }

    fn pass(&self, scene: &Scene, reading: &Reading, probe: Option<Probe<'_>>) -> Result<Tensor> {
        self.transformer.forward(scene, reading, self.canvas, self.watched(probe))
    }

    fn watched<'a>(&'a self, probe: Option<Probe<'a>>) -> Watched<'a> {
        Watched { observer: self.context.observer, probe }
    }
}
