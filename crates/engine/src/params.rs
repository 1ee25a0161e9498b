//! What a caller may ask of a pipeline.

use crate::error::{Error, Result};

/// A text-to-image call.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// What to draw.
    pub prompt: String,
    /// Width in pixels; rounded down to what the model can draw.
    pub width: usize,
    /// Height in pixels; rounded down likewise.
    pub height: usize,
    /// Denoising steps, at least 1.
    pub steps: usize,
    /// Guidance that the model takes as an input; ignored by models that do not.
    pub guidance: f64,
    /// True guidance against the empty prompt, in two passes per step; none at 1 or below.
    pub true_cfg: f64,
    /// Seed of torch's CPU generator.
    pub seed: u64,
    /// Pictures from one batch of noise, at least 1.
    pub images: usize,
    /// Text tokens of the T5 encoder; `None` for what the model was trained with.
    pub max_sequence_length: Option<usize>,
}

impl Params {
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
        if !(self.guidance.is_finite() && self.true_cfg.is_finite()) {
            return Err(Error::Parameter { name: "guidance_scale", problem: "must be a finite number".into() });
        }
        Ok(())
    }

    /// Width and height rounded down to a multiple, as diffusers does.
    ///
    /// # Errors
    /// [`Error::Parameter`] where nothing would be left.
    pub fn size(&self, multiple: usize) -> Result<(usize, usize)> {
        let (width, height) = (self.width / multiple * multiple, self.height / multiple * multiple);
        if width == 0 || height == 0 {
            return Err(Error::Parameter {
                name: "image_size",
                problem: format!("must be at least {multiple}×{multiple}, got {}×{}", self.width, self.height),
            });
        }
        Ok((width, height))
    }
}
