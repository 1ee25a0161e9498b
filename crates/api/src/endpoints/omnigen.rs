//! OmniGen2.

use super::fields::{
    SAFETY_CHECKER, SEED, SYNC_MODE, choice, local_size, num_images, number, output_format, steps, text,
};
use super::samples::sample_picture;
use crate::endpoint::{Endpoint, Family};
use crate::field::{Field, Fill, Kind, Shape};
use crate::image_format::ImageFormat;
use crate::output::OutputShape;

/// The published default, to the letter: with another the same seed gives another picture.
const NEGATIVE: &str = "(((deformed))), blurry, over saturation, bad anatomy, disfigured, poorly drawn face, mutation, \
                        mutated, (extra_limb), (ugly), (poorly drawn hands), fused fingers, messy drawing, broken legs \
                        censor, censored, censor_bar";

pub(super) const V2: Endpoint = Endpoint {
    id: "fal-ai/omnigen-v2",
    title: "OmniGen2",
    description: "Pictures from text, and from up to three pictures that the prompt refers to.",
    family: Family::OmniGen2,
    input: Shape {
        name: "OmnigenV2Input",
        fields: &[
            text("prompt", Fill::Required, "What to draw or to change; \"image 1\" names the first input picture."),
            Field {
                name: "input_image_urls",
                kind: Kind::List { item: &Kind::Image, max: 3 },
                fill: Fill::EmptyList,
                help: "Up to three pictures to change or to draw from: URLs or data URIs.",
            },
            Field {
                help: "The size of the picture, up to four megapixels; a larger one is scaled down to that, its ratio kept. \
                       What is not a multiple of 16, or has more pixels than 1024x1024, is drawn smaller and enlarged. With \
                       exactly one input picture it has no effect: the result is as large as that one, reduced to at most \
                       1024 pixels on a side.",
                ..local_size(Fill::Text("square_hd"))
            },
            steps(20, 50, 50),
            SEED,
            number("text_guidance_scale", (1.0, 8.0), 5.0, "How closely the picture follows the prompt."),
            number(
                "image_guidance_scale",
                (1.0, 3.0),
                2.0,
                "How closely it follows the input pictures: 1.3 to 2 for changes, 2 to 3 for new scenes.",
            ),
            text("negative_prompt", Fill::Text(NEGATIVE), "What to keep out of the picture."),
            number(
                "cfg_range_start",
                (0.0, 1.0),
                0.0,
                "After which share of the steps guidance begins: 0 is from the first step.",
            ),
            number(
                "cfg_range_end",
                (0.0, 1.0),
                1.0,
                "After which share of the steps guidance ends: 1 is after the last step.",
            ),
            choice("scheduler", &["euler", "dpmsolver"], "euler", "The solver that takes the steps."),
            SYNC_MODE,
            num_images(4),
            SAFETY_CHECKER,
            output_format("jpeg"),
        ],
        apart: &[],
    },
    output: OutputShape::FULL,
    sizing: &[],
    format: ImageFormat::Jpeg,
    example: concat!(
        r#"{"prompt": "Make the hill snowy", "input_image_urls": [""#,
        sample_picture!(),
        r#""], "image_size": "square_hd", "num_inference_steps": 50, "text_guidance_scale": 5,
        "image_guidance_scale": 2, "cfg_range_end": 1, "scheduler": "euler", "num_images": 1,
        "enable_safety_checker": true, "output_format": "jpeg"}"#
    ),
};
