//! What a caller may ask of a pipeline.

use crate::adapters::{ControlNet, IpAdapter, Lora};
use crate::error::{Error, Result};
use crate::pixels::Pixels;

/// One call, whatever the model. A pipeline says with an error what it cannot follow.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// What to draw.
    pub prompt: String,
    /// What to keep out, for models that are guided by two passes.
    pub negative: String,
    /// Width in pixels; rounded down to what the model can draw.
    pub width: usize,
    /// Height in pixels; rounded down likewise.
    pub height: usize,
    /// Whether the size is only a shape: the picture gets the area that the model was trained at, where it has one (HiDream-I1).
    pub to_trained_area: bool,
    /// Denoising steps, at least 1.
    pub steps: usize,
    /// Guidance, in the model's own way: an input of the transformer (FLUX), or away from the negative prompt, in two
    /// passes per step (SD3.5, AuraFlow).
    pub guidance: f64,
    /// For models that take guidance as an input, or none at all: guidance against the negative prompt as well, in two
    /// passes per step; none at 1 or below.
    pub true_cfg: f64,
    /// Seed of torch's CPU generator.
    pub seed: u64,
    /// Pictures from one batch of noise, at least 1.
    pub images: usize,
    /// The picture to start from, for models that change one.
    pub picture: Option<Pixels>,
    /// Where to change it: white is drawn anew.
    pub mask: Option<Pixels>,
    /// The pictures that the prompt speaks of as image 1, image 2 and so on, for models that draw from several (OmniGen2).
    pub pictures: Vec<Pixels>,
    /// How closely those are followed: guidance away from what would be drawn without them, in a third pass per step; none
    /// at 1 or below.
    pub picture_guidance: f64,
    /// The shares of the steps between which guidance is on, both included, for models that let callers say it (OmniGen2).
    pub guided_steps: [f64; 2],
    /// Who takes the steps, in models that let callers choose (OmniGen2).
    pub solver: Solver,
    /// How far the picture is changed, above 0 and up to 1: the share of the steps that is taken.
    pub strength: f64,
    /// Text tokens of the longest text encoder; `None` for what the model was trained with.
    pub max_sequence_length: Option<usize>,
    /// LoRAs to apply; their changes are summed.
    pub loras: Vec<Lora>,
    /// A ControlNet to guide the model.
    pub controlnet: Option<ControlNet>,
    /// An IP-Adapter, and the picture that it follows.
    pub ip_adapter: Option<IpAdapter>,
    /// How much of the transformer's work may be taken over from the step before.
    pub acceleration: Acceleration,
    /// For F-Lite: adaptive projected guidance (Sadat et al., 2024), which keeps of guidance what is not along the picture
    /// itself, scaled down until its standard deviation is at most this. Its authors take 0.03.
    pub apg: Option<f64>,
}

/// How much of the transformer's work a step may take over from the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acceleration {
    /// Nothing: every step is computed in full.
    #[default]
    None,
    /// Where the picture hardly suffers.
    Regular,
    /// Where speed matters more.
    High,
}

/// Who takes the steps from noise to picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Solver {
    /// Straight on, as far as the next step.
    #[default]
    Euler,
    /// DPM-Solver++ of order 2: bent as the step before says.
    Dpm,
}

/// Which sizes a loaded model draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Sides are rounded down to a multiple of this many pixels.
    pub multiple: usize,
    /// The longest side, where the model knows no positions beyond it.
    pub longest: Option<usize>,
}

impl Call {
    /// Checks what every pipeline needs.
    ///
    /// # Errors
    /// [`Error::Parameter`].
    pub fn check(&self) -> Result<()> {
        let at_least_one = |name, value: usize| match value {
            0 => Err(Error::Parameter { name, problem: "must be at least 1, got 0".into() }),
            _ => Ok(()),
        };
        at_least_one("num_inference_steps", self.steps)?;
        at_least_one("num_images", self.images)?;
        let finite = |name, value: f64| match value.is_finite() {
            true => Ok(()),
            false => Err(Error::Parameter { name, problem: "must be a finite number".into() }),
        };
        finite("guidance_scale", self.guidance)?;
        finite("guidance_scale", self.true_cfg)?;
        finite("image_guidance_scale", self.picture_guidance)?;
        for (name, share) in ["cfg_range_start", "cfg_range_end"].into_iter().zip(self.guided_steps) {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::Parameter { name, problem: format!("must be 0 to 1, got {share}") });
            }
        }
        if !(self.strength > 0.0 && self.strength <= 1.0) {
            let problem = format!("must be above 0 and at most 1, got {}", self.strength);
            return Err(Error::Parameter { name: "strength", problem });
        }
        if let Some(threshold) = self.apg.filter(|threshold| !(threshold.is_finite() && *threshold > 0.0)) {
            let problem = format!("must be a finite number above 0, got {threshold}");
            return Err(Error::Parameter { name: "apg", problem });
        }
        Ok(())
    }

    /// Whether a second pass leads away from the negative prompt, in models that are guided so.
    pub(crate) fn is_guided(&self) -> bool {
        self.guidance > 1.0
    }

    /// The number of text tokens, where a model takes up to `most`.
    ///
    /// # Errors
    /// [`Error::Parameter`] for none and for too many.
    pub fn text_tokens(&self, usual: usize, most: usize) -> Result<usize> {
        let length = self.max_sequence_length.unwrap_or(usual);
        if length == 0 || length > most {
            let problem = format!("must be 1 to {most}, got {length}");
            return Err(Error::Parameter { name: "max_sequence_length", problem });
        }
        Ok(length)
    }
}

impl Sizes {
    /// Width and height of the picture that this call gets: rounded down to the multiple, as diffusers does for FLUX.
    ///
    /// # Errors
    /// [`Error::Parameter`] where nothing would be left, or a side is longer than the model knows.
    pub fn fit(&self, call: &Call) -> Result<(usize, usize)> {
        let Self { multiple, longest } = *self;
        let refuse = |allowed: String| {
            let problem = format!("must be {allowed}, got {}×{}", call.width, call.height);
            Err(Error::Parameter { name: "image_size", problem })
        };
        let (width, height) = (call.width / multiple * multiple, call.height / multiple * multiple);
        if width == 0 || height == 0 {
            return refuse(format!("at least {multiple}×{multiple}"));
        }
        match longest {
            Some(most) if width > most || height > most => {
                refuse(format!("at most {most} pixels on each side, as far as this model knows positions"))
            }
            _ => Ok((width, height)),
        }
    }
}
