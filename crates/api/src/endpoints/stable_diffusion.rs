//! Stable Diffusion 3.5 large.

use super::adapters::{LORAS, weights};
use super::fields::{
    NEGATIVE_PROMPT, PROMPT, SAFETY_CHECKER, SEED, SYNC_MODE, guidance, local_size, num_images, number, output_format,
    steps, text,
};
use crate::endpoint::{Endpoint, Family, Sizing};
use crate::field::{Field, Fill, Kind, Shade, Shape};
use crate::image_format::ImageFormat;
use crate::output::OutputShape;

const CONTROL_NET: Shape = Shape {
    name: "ControlNet",
    fields: &[
        weights(
            "path",
            Kind::Weights { pickles: false },
            "Where the ControlNet is: owner/name or owner/name/file.safetensors of a Hugging Face repository, the URL of a \
             safetensors file, or a path that the owner of this server allows.",
        ),
        Field {
            name: "control_image_url",
            kind: Kind::Image,
            fill: Fill::Required,
            help: "The picture that guides the drawing: a URL or a data URI.",
        },
        number("conditioning_scale", (0.0, 2.0), 1.0, "How strongly it guides."),
        number(
            "start_percentage",
            (0.0, 1.0),
            0.0,
            "After which share of the steps it begins to guide: 0 is from the first step.",
        ),
        number(
            "end_percentage",
            (0.0, 1.0),
            1.0,
            "After which share of the steps it stops guiding: 1 is after the last step.",
        ),
    ],
    apart: &[],
};

const IP_ADAPTER: Shape = Shape {
    name: "IPAdapter",
    fields: &[
        weights(
            "path",
            Kind::Weights { pickles: true },
            "Where the IP-Adapter is: owner/name of a Hugging Face repository, the URL of a file, or a path that the owner \
             of this server allows.",
        ),
        text("subfolder", Fill::Nothing, "The folder in it that holds the weights."),
        text("weight_name", Fill::Nothing, "The file that holds the weights: safetensors, or .bin with tensors only."),
        weights(
            "image_encoder_path",
            Kind::Weights { pickles: true },
            "Where the image encoder is that the IP-Adapter was trained with: as path.",
        ),
        text("image_encoder_subfolder", Fill::Nothing, "The folder in it that holds the encoder's weights."),
        text(
            "image_encoder_weight_name",
            Fill::Nothing,
            "The file that holds the encoder's weights: safetensors, or .bin with tensors only.",
        ),
        Field {
            name: "image_url",
            kind: Kind::Image,
            fill: Fill::Required,
            help: "The picture to follow: a URL or a data URI.",
        },
        Field {
            name: "mask_image_url",
            kind: Kind::Mask { of: None, marks: Shade::White },
            fill: Fill::Nothing,
            help: "A mask of the picture that is made: white where the adapter acts. A URL or a data URI.",
        },
        number("mask_threshold", (0.01, 0.99), 0.5, "The brightness from which the mask counts as white."),
        Field {
            name: "scale",
            kind: Kind::Number { min: f64::NEG_INFINITY, max: f64::INFINITY },
            fill: Fill::Required,
            help: "How strongly the picture is followed: usually 0.5 to 1; 0 is not at all.",
        },
    ],
    apart: &[],
};

pub(super) const LARGE: Endpoint = Endpoint {
    id: "fal-ai/stable-diffusion-v35-large",
    title: "Stable Diffusion 3.5 Large",
    description: "Pictures from text by Stability AI's open model, with LoRAs, a ControlNet or an IP-Adapter.",
    family: Family::StableDiffusion35,
    input: Shape {
        name: "StableDiffusionV35LargeInput",
        fields: &[
            PROMPT,
            NEGATIVE_PROMPT,
            steps(1, 50, 28),
            SEED,
            guidance(0.0, 20.0, 3.5),
            SYNC_MODE,
            num_images(4),
            SAFETY_CHECKER,
            output_format("jpeg"),
            Field {
                name: "controlnet",
                kind: Kind::Object(&CONTROL_NET),
                fill: Fill::Nothing,
                help: "A ControlNet that guides the drawing.",
            },
            Field {
                help: "The size of the picture, up to four megapixels; rounded down to a multiple of 16. A larger one is \
                       scaled down to that, its ratio kept. If left out, it is that of the control picture, or \
                       landscape_4_3 if there is none.",
                ..local_size(Fill::Nothing)
            },
            LORAS,
            Field {
                name: "ip_adapter",
                kind: Kind::Object(&IP_ADAPTER),
                fill: Fill::Nothing,
                help: "An IP-Adapter: a picture that the result follows.",
            },
        ],
        apart: &[],
    },
    output: OutputShape::FULL,
    sizing: &[Sizing::Like("/controlnet/control_image_url"), Sizing::Fixed(1024, 768)],
    format: ImageFormat::Jpeg,
    example: r#"{
        "prompt": "A garden at dusk where the cherry trees glow from within, lanterns drifting over still water",
        "negative_prompt": "", "num_inference_steps": 28, "guidance_scale": 3.5, "num_images": 1,
        "enable_safety_checker": true, "output_format": "jpeg"
    }"#,
};
