//! F-Lite.

use super::fields::{
    NEGATIVE_PROMPT, PROMPT, SAFETY_CHECKER, SEED, SYNC_MODE, guidance, local_size, num_images, steps,
};
use crate::endpoint::{Endpoint, Family};
use crate::field::{Fill, Shape};
use crate::image_format::ImageFormat;
use crate::output::OutputShape;

pub(super) const STANDARD: Endpoint = Endpoint {
    id: "fal-ai/f-lite/standard",
    title: "F-Lite",
    description: "Pictures from text by a 10-billion-parameter model trained on licensed pictures only.",
    family: Family::FLite,
    // no limits are published for this one: these are what its siblings have
    input: Shape {
        name: "TextToImageInput",
        fields: &[
            PROMPT,
            NEGATIVE_PROMPT,
            local_size(Fill::Text("landscape_4_3")),
            steps(1, 50, 28),
            SEED,
            guidance(0.0, 20.0, 3.5),
            SYNC_MODE,
            num_images(4),
            SAFETY_CHECKER,
        ],
        apart: &[],
    },
    output: OutputShape::FULL,
    sizing: &[],
    format: ImageFormat::Jpeg,
    example: r#"{
        "prompt": "A mountain at sundown above a lake that doubles it, the snow on its top turning orange",
        "negative_prompt": "blurry, flat light", "image_size": "landscape_4_3", "num_inference_steps": 28,
        "guidance_scale": 3.5, "num_images": 1, "enable_safety_checker": true
    }"#,
};

pub(super) const TEXTURE: Endpoint = Endpoint {
    id: "fal-ai/f-lite/texture",
    title: "F-Lite Texture",
    description: "F-Lite with richer textures.",
    input: Shape { name: "TextToImageInputTexture", ..STANDARD.input },
    ..STANDARD
};
