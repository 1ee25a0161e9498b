//! `scumble/starter`.

use super::fields::{PROMPT, SEED, SYNC_MODE, guidance, num_images, output_format, steps};
use crate::endpoint::{Endpoint, Family};
use crate::field::{Field, Fill, Kind, Shape};
use crate::image_format::ImageFormat;
use crate::output::OutputShape;

pub(super) const STARTER: Endpoint = Endpoint {
    id: "scumble/starter",
    title: "Starter",
    description: "Draws coloured shapes on a plain background. Small, built in, and runs anywhere in a second.",
    family: Family::Starter,
    input: Shape {
        name: "StarterInput",
        fields: &[
            PROMPT,
            Field {
                name: "image_size",
                kind: Kind::ImageSize { min: 64, max: 512, area: 512 * 512, step: 32 },
                fill: Fill::Size(256, 256),
                help: "The size of the picture, 64 to 512 pixels a side; rounded down to a multiple of 32. A larger one is \
                       scaled down to that, its ratio kept.",
            },
            steps(1, 50, 16),
            SEED,
            guidance(1.0, 10.0, 2.0),
            SYNC_MODE,
            num_images(4),
            output_format("png"),
        ],
        apart: &[],
    },
    output: OutputShape::FULL,
    sizing: &[],
    format: ImageFormat::Png,
    example: r#"{"prompt": "two small yellow stars on a purple background"}"#,
};
