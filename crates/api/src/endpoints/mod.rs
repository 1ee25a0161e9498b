//! The table of endpoints: data, a file per family.

mod flux;
mod starter;

use crate::endpoint::{Endpoint, Field, Fill, Kind};

/// Everything that can be called.
pub static ENDPOINTS: &[Endpoint] = &[starter::STARTER, flux::SCHNELL, flux::SCHNELL_1, flux::DEV];

/// The endpoint of this id.
pub fn find(id: &str) -> Option<&'static Endpoint> {
    ENDPOINTS.iter().find(|e| e.id == id)
}

/// What to draw.
const PROMPT: Field =
    Field { name: "prompt", kind: Kind::Text, fill: Fill::Required, help: "The prompt to generate an image from." };

const SEED: Field = Field {
    name: "seed",
    kind: Kind::Seed,
    fill: Fill::Nothing,
    help: "The same seed and the same prompt given to the same version of the model give the same image.",
};

const SYNC_MODE: Field = Field {
    name: "sync_mode",
    kind: Kind::Boolean,
    fill: Fill::Boolean(false),
    help: "If true, the images come back inside the answer, as data URIs.",
};

const NUM_IMAGES: Field = Field {
    name: "num_images",
    kind: Kind::Integer { min: 1, max: 4 },
    fill: Fill::Integer(1),
    help: "The number of images to generate.",
};

/// A format field with its endpoint's own default.
const fn output_format(default: &'static str) -> Field {
    Field {
        name: "output_format",
        kind: Kind::Choice(&["jpeg", "png"]),
        fill: Fill::Text(default),
        help: "The format of the generated image.",
    }
}
