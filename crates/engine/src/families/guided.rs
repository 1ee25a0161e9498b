//! Which of two models of one class a folder holds, where only its configuration tells.

use super::flux;
use crate::weights::{Checkpoint, Source};

/// Whether guidance is an input of a FLUX.1 checkpoint's transformer: it is of \[dev\], and not of \[schnell\]. `None` for
/// other families, and where the configuration cannot be read, which loading it finds out.
pub fn is_guided(source: &Source) -> Option<bool> {
    let checkpoint = Checkpoint::open(source.clone()).ok()?;
    let is_flux = [flux::FAMILY.class, flux::FILL.class].contains(&checkpoint.class());
    let config = checkpoint.config("transformer/config.json").ok().filter(|_| is_flux)?;
    config.flag_or("guidance_embeds", false).ok()
}
