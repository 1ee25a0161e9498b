//! FLUX.1 [dev] with LoRAs: from text, from a picture, and into the masked part of one.
//!
//! Fields, defaults and words are those of fal's published types: `FluxLoraInput`, `ImageToImageInput` and
//! `FluxLoraFillInput` in <https://github.com/fal-ai/fal-js/blob/main/libs/client/src/types/endpoints.ts>; limits those of
//! <https://fal.ai/models/fal-ai/flux-lora/image-to-image/llms.txt> and
//! <https://fal.ai/models/fal-ai/flux-lora/inpainting/llms.txt>. For the guidance of Fill no limits were found: it has its
//! siblings'.

use super::adapters::LORAS;
use super::fields::{
    IMAGE_URL, PROMPT, SAFETY_CHECKER, SEED, SYNC_MODE, acceleration, boolean, guidance, local_size, mask_url,
    num_images, output_format, picture_size, steps, strength, text,
};
use super::samples::{INPAINTING, STARTING_FROM_A_PICTURE};
use crate::endpoint::{Endpoint, Family, Sizing};
use crate::field::{Field, Fill, Kind, Shade, Shape};
use crate::image_format::ImageFormat;
use crate::output::OutputShape;

const ACCELERATION: Field = acceleration(&["none", "regular"], "none");

pub(super) const TEXT: Endpoint = Endpoint {
    id: "fal-ai/flux-lora",
    title: "FLUX.1 [dev] with LoRAs",
    description: "Pictures from text by FLUX.1 [dev], in a style or with a subject that LoRAs have learned.",
    family: Family::FluxDev,
    input: Shape {
        name: "FluxLoraInput",
        fields: &[
            PROMPT,
            local_size(Fill::Text("landscape_4_3")),
            steps(1, 50, 28),
            SEED,
            LORAS,
            guidance(0.0, 35.0, 3.5),
            SYNC_MODE,
            num_images(4),
            SAFETY_CHECKER,
            output_format("jpeg"),
            ACCELERATION,
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

pub(super) const PICTURE: Endpoint = Endpoint {
    id: "fal-ai/flux-lora/image-to-image",
    title: "FLUX.1 [dev] with LoRAs, image to image",
    description: "A picture drawn anew from another one and a prompt by FLUX.1 [dev], with LoRAs.",
    input: Shape {
        name: "FluxLoraImageToImageInput",
        fields: &[
            PROMPT,
            picture_size(),
            steps(1, 50, 28),
            SEED,
            LORAS,
            guidance(0.0, 35.0, 3.5),
            SYNC_MODE,
            num_images(4),
            SAFETY_CHECKER,
            output_format("jpeg"),
            IMAGE_URL,
            strength(0.85),
            ACCELERATION,
        ],
        apart: &[],
    },
    sizing: &[Sizing::Like("/image_url")],
    example: STARTING_FROM_A_PICTURE,
    ..TEXT
};

const FILL_IMAGE: Shape = Shape {
    name: "ImageFillInput",
    fields: &[
        Field {
            name: "fill_image_url",
            kind: Kind::List { item: &Kind::Image, max: 4 },
            fill: Fill::EmptyList,
            help: "The pictures to put there: URLs or data URIs.",
        },
        boolean("in_context_fill", false, "Whether they are looked at together with the picture that is filled."),
        boolean("use_prompt", false, "Whether the prompt counts too."),
    ],
    apart: &[],
};

pub(super) const FILL: Endpoint = Endpoint {
    id: "fal-ai/flux-lora-fill",
    title: "FLUX.1 [dev] Fill with LoRAs",
    description: "Paints the white part of a mask anew by FLUX.1 Fill [dev], so that it fits the rest of the picture, with \
                  LoRAs.",
    input: Shape {
        name: "FluxLoraFillInput",
        fields: &[
            text("prompt", Fill::Text(""), "What the masked part shows; may be left empty."),
            picture_size(),
            steps(1, 50, 28),
            SEED,
            LORAS,
            guidance(0.0, 35.0, 30.0),
            SYNC_MODE,
            num_images(4),
            SAFETY_CHECKER,
            output_format("jpeg"),
            Field { help: "The picture to paint into: a URL or a data URI.", ..IMAGE_URL },
            mask_url(
                Shade::White,
                "Where to paint: a picture of the same size, white where it changes. A URL or a data URI.",
            ),
            ACCELERATION,
            boolean(
                "paste_back",
                true,
                "Whether what is not masked is taken from the picture that was given, as it was. Where the mask is grey, \
                 both are mixed.",
            ),
            boolean("resize_to_original", false, "Whether the result gets the size of the picture that was given."),
            Field {
                name: "fill_image",
                kind: Kind::Object(&FILL_IMAGE),
                fill: Fill::Nothing,
                help: "Pictures to put into the masked part. Heeded only where fal itself makes the pictures; here a call \
                       with it is refused.",
            },
        ],
        apart: &[],
    },
    sizing: &[Sizing::Like("/image_url")],
    example: INPAINTING,
    ..TEXT
};
