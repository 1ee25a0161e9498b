//! Ideogram 2.

use super::fields::{NEGATIVE_PROMPT, PROMPT, SEED, SYNC_MODE, boolean, choice};
use crate::endpoint::{Endpoint, Family, Maker, Sizing};
use crate::field::Shape;
use crate::image_format::ImageFormat;
use crate::output::{FileShape, OutputShape};

/// What all of Ideogram's endpoints answer.
pub(super) const FILES_AND_SEED: OutputShape =
    OutputShape { file: FileShape::File { with_data: false }, timings: false, seed: true, flags: false, prompt: false };

/// About one megapixel, from the maker's list of sizes.
const RATIOS: &[(&str, u32, u32)] = &[
    ("10:16", 800, 1280),
    ("16:10", 1280, 800),
    ("9:16", 736, 1312),
    ("16:9", 1312, 736),
    ("4:3", 1152, 864),
    ("3:4", 864, 1152),
    ("1:1", 1024, 1024),
    ("1:3", 512, 1536),
    ("3:1", 1536, 512),
    ("3:2", 1248, 832),
    ("2:3", 832, 1248),
];

pub(super) const V2: Endpoint = Endpoint {
    id: "fal-ai/ideogram/v2",
    title: "Ideogram 2",
    description: "Pictures from text, with readable lettering in them, by Ideogram.",
    family: Family::Closed(Maker::Ideogram),
    input: Shape {
        name: "IdeogramV2Input",
        fields: &[
            PROMPT,
            choice(
                "aspect_ratio",
                &["10:16", "16:10", "9:16", "16:9", "4:3", "3:4", "1:1", "1:3", "3:1", "3:2", "2:3"],
                "1:1",
                "The shape of the picture: width to height.",
            ),
            boolean("expand_prompt", true, "Whether the maker's MagicPrompt makes the prompt longer first."),
            SEED,
            choice(
                "style",
                &["auto", "general", "realistic", "design", "render_3D", "anime"],
                "auto",
                "The style of the picture.",
            ),
            SYNC_MODE,
            NEGATIVE_PROMPT,
        ],
        apart: &[],
    },
    output: FILES_AND_SEED,
    sizing: &[Sizing::Ratio(RATIOS)],
    format: ImageFormat::Png,
    example: r#"{
        "prompt": "A poster of a skeleton who reads the news in the bath, the headline says \"STILL HERE\"",
        "aspect_ratio": "1:1", "expand_prompt": true, "style": "auto"
    }"#,
};
