//! `scumble/starter`.

use super::{NUM_IMAGES, PROMPT, SEED, SYNC_MODE, output_format};
use crate::endpoint::{Endpoint, Family, Field, Fill, Kind};

pub(super) const STARTER: Endpoint = Endpoint {
    id: "scumble/starter",
    title: "Starter",
    description: "Draws coloured shapes on a plain background. Small, built in, and runs anywhere in a second.",
    family: Family::Starter,
    fields: &[
        PROMPT,
        Field {
            name: "image_size",
            kind: Kind::ImageSize { min: 64, max: 512, area: 512 * 512 },
            fill: Fill::Size(256, 256),
            help: "The size of the generated image, 64 to 512 pixels a side; rounded down to a multiple of 32.",
        },
        Field {
            name: "num_inference_steps",
            kind: Kind::Integer { min: 1, max: 50 },
            fill: Fill::Integer(16),
            help: "The number of inference steps to perform.",
        },
        SEED,
        Field {
            name: "guidance_scale",
            kind: Kind::Number { min: 1.0, max: 10.0 },
            fill: Fill::Number(2.0),
            help: "How closely the image follows the prompt; 1 is twice as fast.",
        },
        SYNC_MODE,
        NUM_IMAGES,
        output_format("png"),
    ],
    example: "two small yellow stars on a purple background",
};
