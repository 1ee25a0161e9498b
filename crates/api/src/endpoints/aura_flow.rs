//! AuraFlow.

use super::fields::{PROMPT, SEED, boolean, guidance, num_images, steps};
use crate::endpoint::{Endpoint, Family, Sizing};
use crate::field::Shape;
use crate::image_format::ImageFormat;
use crate::output::{FileShape, OutputShape};

pub(super) const AURA_FLOW: Endpoint = Endpoint {
    id: "fal-ai/aura-flow",
    title: "AuraFlow",
    description: "Pictures from text by an openly developed model with 6.8 billion parameters.",
    family: Family::AuraFlow,
    input: Shape {
        name: "AuraFlowInput",
        fields: &[
            PROMPT,
            num_images(2),
            SEED,
            guidance(0.0, 20.0, 3.5),
            steps(20, 50, 50),
            boolean(
                "expand_prompt",
                true,
                "Whether the prompt is made longer first, where this server has a language model for it; the answer says which prompt \
                 was used.",
            ),
        ],
        apart: &[],
    },
    output: OutputShape { file: FileShape::LongImage, timings: false, seed: true, flags: false, prompt: true },
    sizing: &[Sizing::Fixed(1024, 1024)],
    format: ImageFormat::Png,
    example: r#"{
        "prompt": "A lizard made of blown glass on a warm stone, every scale catching the evening sun",
        "num_images": 1, "guidance_scale": 3.5, "num_inference_steps": 50, "expand_prompt": true
    }"#,
};
