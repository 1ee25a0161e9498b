//! HiDream-I1.

use super::adapters::{LORA_WITH_NAME, loras};
use super::fields::{
    NEGATIVE_PROMPT, PROMPT, SAFETY_CHECKER, SEED, SYNC_MODE, guidance, local_size, num_images, output_format, steps,
};
use crate::endpoint::{Endpoint, Family};
use crate::field::{Field, Fill, Kind, Shape};
use crate::image_format::ImageFormat;
use crate::output::OutputShape;

const SIZE: Field = local_size(Fill::Size(1024, 1024));

pub(super) const FULL: Endpoint = Endpoint {
    id: "fal-ai/hidream-i1-full",
    title: "HiDream-I1 Full",
    description: "Pictures from text by an open model with 17 billion parameters and four text encoders, with LoRAs.",
    family: Family::HiDream,
    input: Shape {
        name: "HidreamI1FullInput",
        fields: &[
            PROMPT,
            NEGATIVE_PROMPT,
            SIZE,
            steps(1, 50, 50),
            SEED,
            guidance(0.0, 20.0, 5.0),
            SYNC_MODE,
            num_images(4),
            SAFETY_CHECKER,
            output_format("jpeg"),
            loras(&Kind::Object(&LORA_WITH_NAME), "LoRAs to apply, all of them together."),
        ],
        apart: &[],
    },
    output: OutputShape::FULL,
    sizing: &[],
    format: ImageFormat::Jpeg,
    example: r#"{
        "prompt": "A paper-cut fox reads a newspaper on a park bench, autumn leaves falling in layers of card",
        "negative_prompt": "", "image_size": {"width": 1024, "height": 1024}, "num_inference_steps": 50,
        "guidance_scale": 5, "num_images": 1, "enable_safety_checker": true, "output_format": "jpeg", "loras": []
    }"#,
};

/// fal lists it without a page among those that this table follows. Programs that call it send it what FAST takes, with 28
/// steps where nobody says otherwise: what its publisher names for it.
pub(super) const DEV: Endpoint = Endpoint {
    id: "fal-ai/hidream-i1-dev",
    title: "HiDream-I1 Dev",
    description: "HiDream-I1, distilled to 28 steps.",
    input: Shape {
        name: "HidreamI1DevInput",
        fields: &[
            PROMPT,
            NEGATIVE_PROMPT,
            SIZE,
            steps(1, 50, 28),
            SEED,
            SYNC_MODE,
            num_images(4),
            SAFETY_CHECKER,
            output_format("jpeg"),
        ],
        apart: &[],
    },
    example: r#"{
        "prompt": "A paper-cut fox reads a newspaper on a park bench, autumn leaves falling in layers of card",
        "negative_prompt": "", "image_size": {"width": 1024, "height": 1024}, "num_inference_steps": 28,
        "num_images": 1, "enable_safety_checker": true, "output_format": "jpeg"
    }"#,
    ..FULL
};

pub(super) const FAST: Endpoint = Endpoint {
    id: "fal-ai/hidream-i1-fast",
    title: "HiDream-I1 Fast",
    description: "HiDream-I1, distilled to 16 steps.",
    input: Shape {
        name: "HidreamI1FastInput",
        fields: &[
            PROMPT,
            NEGATIVE_PROMPT,
            SIZE,
            steps(1, 50, 16),
            SEED,
            SYNC_MODE,
            num_images(4),
            SAFETY_CHECKER,
            output_format("jpeg"),
        ],
        apart: &[],
    },
    example: r#"{
        "prompt": "A paper-cut fox reads a newspaper on a park bench, autumn leaves falling in layers of card",
        "negative_prompt": "", "image_size": {"width": 1024, "height": 1024}, "num_inference_steps": 16,
        "num_images": 1, "enable_safety_checker": true, "output_format": "jpeg"
    }"#,
    ..FULL
};
