//! Imagen 4, by Google; retired, and answered by Gemini's image models since.

use super::fields::{NEGATIVE_PROMPT, PROMPT, SEED, choice, number_of_images};
use crate::endpoint::{Endpoint, Family, Maker, Sizing};
use crate::field::{Field, Shape};
use crate::image_format::ImageFormat;
use crate::output::{FileShape, OutputShape};

const NUM_IMAGES: Field = number_of_images(
    4,
    "How many pictures to make. Each is a call of its own with a seed of its own: the given one, then the next numbers.",
);

/// What Gemini draws at its size 1K.
const RATIOS: &[(&str, u32, u32)] =
    &[("1:1", 1024, 1024), ("16:9", 1376, 768), ("9:16", 768, 1376), ("3:4", 896, 1200), ("4:3", 1200, 896)];

pub(super) const PREVIEW: Endpoint = Endpoint {
    id: "fal-ai/imagen4/preview",
    title: "Imagen 4",
    description: "Pictures from text by Google. Imagen 4 was retired in August 2026: Gemini 3.1 Flash Image answers.",
    family: Family::Closed(Maker::Google),
    input: Shape {
        name: "Imagen4PreviewInput",
        fields: &[
            PROMPT,
            NEGATIVE_PROMPT,
            choice(
                "aspect_ratio",
                &["1:1", "16:9", "9:16", "3:4", "4:3"],
                "1:1",
                "The shape of the picture: width to height.",
            ),
            NUM_IMAGES,
            SEED,
        ],
        apart: &[],
    },
    output: OutputShape {
        file: FileShape::File { with_data: true },
        timings: false,
        seed: true,
        flags: false,
        prompt: false,
    },
    sizing: &[Sizing::Ratio(RATIOS)],
    format: ImageFormat::Png,
    example: r#"{
        "prompt": "An old radio on a kitchen sill in late sun, its dial glowing, a note beside it says \"back soon\"",
        "aspect_ratio": "1:1", "num_images": 1
    }"#,
};

pub(super) const FAST: Endpoint = Endpoint {
    id: "fal-ai/imagen4/preview/fast",
    title: "Imagen 4 Fast",
    description: "Pictures from text by Google, sooner. Imagen 4 Fast was retired in August 2026: Gemini 3.1 Flash \
                  Image answers, thinking as little as it can.",
    ..PREVIEW
};
