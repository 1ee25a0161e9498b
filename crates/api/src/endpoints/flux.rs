//! FLUX.1, from text and from a picture.
//!
//! The fields of `dev/image-to-image` are those of <https://fal.ai/models/fal-ai/flux/dev/image-to-image/llms.txt>.

use super::fields::{
    IMAGE_URL, PROMPT, SAFETY_CHECKER, SEED, SYNC_MODE, acceleration, guidance, local_size, num_images, output_format,
    steps, strength,
};
use super::samples::STARTING_FROM_A_PICTURE;
use crate::endpoint::{Endpoint, Family, Sizing};
use crate::field::{Field, Fill, Shape};
use crate::image_format::ImageFormat;
use crate::output::OutputShape;

const SPEEDS: &[&str] = &["none", "regular", "high"];

/// With so few steps no two of them are alike.
const SCHNELL_SPEED: Field = Field {
    help: "How often a step takes over work from the step before: only high does, which is faster and \
           changes the picture. With so few steps, none and regular are the same.",
    ..acceleration(SPEEDS, "regular")
};

pub(super) const SCHNELL: Endpoint = Endpoint {
    id: "fal-ai/flux/schnell",
    title: "FLUX.1 [schnell]",
    description: "The fast FLUX: a picture from text in one to four steps.",
    family: Family::FluxSchnell,
    input: Shape {
        name: "SchnellTextToImageInput",
        fields: &[
            PROMPT,
            local_size(Fill::Text("landscape_4_3")),
            steps(1, 12, 4),
            SEED,
            SYNC_MODE,
            num_images(4),
            SAFETY_CHECKER,
            output_format("png"),
            SCHNELL_SPEED,
        ],
        apart: &[],
    },
    output: OutputShape::FULL,
    sizing: &[],
    format: ImageFormat::Png,
    example: r#"{"prompt": "The eye of a tiger, very near, every hair of the fur sharp, soft light from the side"}"#,
};

pub(super) const SCHNELL_1: Endpoint = Endpoint {
    id: "fal-ai/flux-1/schnell",
    example: r#"{
        "prompt": "The eye of a tiger, very near, every hair of the fur sharp, soft light from the side",
        "image_size": "landscape_4_3", "num_inference_steps": 4, "num_images": 1, "enable_safety_checker": true,
        "output_format": "png", "acceleration": "regular"
    }"#,
    ..SCHNELL
};

pub(super) const DEV: Endpoint = Endpoint {
    id: "fal-ai/flux/dev",
    title: "FLUX.1 [dev]",
    description: "The guided FLUX with 12 billion parameters: careful pictures from text, in about 28 steps.",
    family: Family::FluxDev,
    input: Shape {
        name: "DevTextToImageInput",
        fields: &[
            PROMPT,
            local_size(Fill::Text("landscape_4_3")),
            steps(1, 50, 28),
            SEED,
            guidance(1.0, 20.0, 3.5),
            SYNC_MODE,
            num_images(4),
            SAFETY_CHECKER,
            output_format("jpeg"),
            acceleration(SPEEDS, "none"),
        ],
        apart: &[],
    },
    output: OutputShape::FULL,
    sizing: &[],
    format: ImageFormat::Jpeg,
    example: r#"{
        "prompt": "A lighthouse keeper reads by lamplight while a storm bends the glass, oil on canvas",
        "image_size": "landscape_4_3", "num_inference_steps": 28, "guidance_scale": 3.5, "num_images": 1,
        "enable_safety_checker": true, "output_format": "jpeg"
    }"#,
};

pub(super) const DEV_PICTURE: Endpoint = Endpoint {
    id: "fal-ai/flux/dev/image-to-image",
    title: "FLUX.1 [dev] image to image",
    description: "A picture drawn anew from another one and a prompt, by the guided FLUX.",
    input: Shape {
        name: "DevImageToImageInput",
        fields: &[
            IMAGE_URL,
            strength(0.95),
            steps(10, 50, 40),
            PROMPT,
            SEED,
            guidance(1.0, 20.0, 3.5),
            SYNC_MODE,
            num_images(4),
            SAFETY_CHECKER,
            output_format("jpeg"),
            acceleration(SPEEDS, "none"),
        ],
        apart: &[],
    },
    sizing: &[Sizing::Like("/image_url")],
    example: STARTING_FROM_A_PICTURE,
    ..DEV
};
