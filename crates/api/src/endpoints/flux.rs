//! FLUX.1 text to image.

use super::{NUM_IMAGES, PROMPT, SEED, SYNC_MODE, output_format};
use crate::endpoint::{Endpoint, Family, Field, Fill, Kind};

const EXAMPLE: &str = "Extreme close-up of a single tiger eye, direct frontal view. Detailed iris and pupil.";

const IMAGE_SIZE: Field = Field {
    name: "image_size",
    // the page allows sides up to 14142; the engine draws up to four megapixels
    kind: Kind::ImageSize { min: 16, max: 14142, area: 4_194_304 },
    fill: Fill::Text("landscape_4_3"),
    help: "The size of the generated image; rounded down to a multiple of 16.",
};

const SAFETY: Field = Field {
    name: "enable_safety_checker",
    kind: Kind::Boolean,
    fill: Fill::Boolean(true),
    help: "If true, the safety checker is enabled.",
};

const fn acceleration(default: &'static str) -> Field {
    Field {
        name: "acceleration",
        kind: Kind::Choice(&["none", "regular", "high"]),
        fill: Fill::Text(default),
        help: "The speed of the generation. Accepted for compatibility: images are always computed in full here.",
    }
}

const fn steps(default: i64, max: i64) -> Field {
    Field {
        name: "num_inference_steps",
        kind: Kind::Integer { min: 1, max },
        fill: Fill::Integer(default),
        help: "The number of inference steps to perform.",
    }
}

const SCHNELL_FIELDS: &[Field] = &[
    PROMPT,
    IMAGE_SIZE,
    steps(4, 12),
    SEED,
    SYNC_MODE,
    NUM_IMAGES,
    SAFETY,
    output_format("png"),
    acceleration("regular"),
];

pub(super) const SCHNELL: Endpoint = Endpoint {
    id: "fal-ai/flux/schnell",
    title: "FLUX.1 [schnell]",
    description: "Turbo mode of the FLUX text-to-image model: an image in 1 to 4 steps.",
    family: Family::FluxSchnell,
    fields: SCHNELL_FIELDS,
    example: EXAMPLE,
};

pub(super) const SCHNELL_1: Endpoint = Endpoint { id: "fal-ai/flux-1/schnell", ..SCHNELL };

pub(super) const DEV: Endpoint = Endpoint {
    id: "fal-ai/flux/dev",
    title: "FLUX.1 [dev]",
    description: "The guided FLUX text-to-image model with 12 billion parameters.",
    family: Family::FluxDev,
    fields: &[
        PROMPT,
        IMAGE_SIZE,
        steps(28, 50),
        SEED,
        Field {
            name: "guidance_scale",
            kind: Kind::Number { min: 1.0, max: 20.0 },
            fill: Fill::Number(3.5),
            help: "How closely the image follows the prompt.",
        },
        SYNC_MODE,
        NUM_IMAGES,
        SAFETY,
        output_format("jpeg"),
        acceleration("none"),
    ],
    example: EXAMPLE,
};
