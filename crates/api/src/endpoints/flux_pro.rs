//! FLUX pro, by Black Forest Labs.

use super::fields::{
    IMAGE_URL, PROMPT, SAFETY_TOLERANCE, SEED, SYNC_MODE, boolean, choice, guidance, maker_size, mask_url,
    number_of_images, output_format, steps, text,
};
use super::samples::{INPAINTING, sample_picture};
use crate::endpoint::{Endpoint, Family, Maker, Sizing};
use crate::field::{Field, Fill, Shade, Shape};
use crate::image_format::ImageFormat;
use crate::output::OutputShape;

const SAFETY_CHECKER: Field = boolean(
    "enable_safety_checker",
    true,
    "Without effect: Black Forest Labs always checks, as strictly as safety_tolerance says.",
);
const NUM_IMAGES: Field = number_of_images(
    4,
    "How many pictures to make. Each is a call of its own with a seed of its own: the given one, then the next numbers.",
);
const SIZE: Field = maker_size(Fill::Text("landscape_4_3"));
const NO_PROMPT: Field = text("prompt", Fill::Text(""), "What to change or add; may be left empty.");
const RAW: Field = boolean("raw", false, "Whether pictures look less processed, more like photographs.");
const ASPECT_RATIO: Field = choice(
    "aspect_ratio",
    &["21:9", "16:9", "4:3", "1:1", "3:4", "9:16", "9:21"],
    "16:9",
    "The shape of the picture: width to height.",
);
/// About four megapixels, as the maker draws them.
const RATIOS: &[(&str, u32, u32)] = &[
    ("21:9", 3136, 1344),
    ("16:9", 2752, 1536),
    ("4:3", 2368, 1792),
    ("1:1", 2048, 2048),
    ("3:4", 1792, 2368),
    ("9:16", 1536, 2752),
    ("9:21", 1344, 3136),
];

pub(super) const PRO: Endpoint = Endpoint {
    id: "fal-ai/flux-pro",
    title: "FLUX.1 [pro]",
    description: "Pictures from text by Black Forest Labs' closed FLUX. Served by its successor FLUX1.1 [pro], which \
                  ignores steps and guidance.",
    family: Family::Closed(Maker::Bfl),
    input: Shape {
        name: "FluxProTextToImageInput",
        fields: &[
            PROMPT,
            SIZE,
            steps(1, 50, 28),
            SEED,
            guidance(1.0, 20.0, 3.5),
            SYNC_MODE,
            NUM_IMAGES,
            SAFETY_TOLERANCE,
            output_format("jpeg"),
        ],
        apart: &[],
    },
    output: OutputShape::FULL,
    sizing: &[],
    format: ImageFormat::Jpeg,
    example: r#"{
        "prompt": "A narrow street after rain, paper lanterns mirrored in the puddles, a cat under an umbrella",
        "image_size": "landscape_4_3", "num_inference_steps": 28, "guidance_scale": 3.5, "num_images": 1,
        "safety_tolerance": "2", "output_format": "jpeg"
    }"#,
};

pub(super) const PRO_1_1: Endpoint = Endpoint {
    id: "fal-ai/flux-pro/v1.1",
    title: "FLUX1.1 [pro]",
    description: "Pictures from text by Black Forest Labs' faster, closed FLUX; sides up to 1440 pixels.",
    input: Shape {
        name: "FluxProPlusTextToImageInput",
        fields: &[PROMPT, SIZE, SEED, SYNC_MODE, NUM_IMAGES, SAFETY_CHECKER, SAFETY_TOLERANCE, output_format("jpeg")],
        apart: &[],
    },
    example: r#"{"prompt": "A narrow street after rain, paper lanterns mirrored in the puddles, a cat under an umbrella"}"#,
    ..PRO
};

pub(super) const ULTRA: Endpoint = Endpoint {
    id: "fal-ai/flux-pro/v1.1-ultra",
    title: "FLUX1.1 [pro] ultra",
    description: "Pictures from text with about four megapixels, by Black Forest Labs.",
    input: Shape {
        name: "FluxProUltraTextToImageInput",
        fields: &[
            PROMPT,
            SEED,
            SYNC_MODE,
            NUM_IMAGES,
            SAFETY_CHECKER,
            SAFETY_TOLERANCE,
            output_format("jpeg"),
            ASPECT_RATIO,
            RAW,
        ],
        apart: &[],
    },
    sizing: &[Sizing::Ratio(RATIOS)],
    ..PRO_1_1
};

pub(super) const FILL: Endpoint = Endpoint {
    id: "fal-ai/flux-pro/v1/fill",
    title: "FLUX.1 [pro] Fill",
    description: "Paints the white part of a mask anew, so that it fits the rest of the picture and the prompt.",
    input: Shape {
        name: "FluxProFillInput",
        fields: &[
            text("prompt", Fill::Required, "What the masked part shows."),
            SEED,
            SYNC_MODE,
            NUM_IMAGES,
            SAFETY_TOLERANCE,
            output_format("jpeg"),
            IMAGE_URL,
            mask_url(
                Shade::White,
                "Where to paint: a picture of the same size, white where it changes. A URL or a data URI.",
            ),
        ],
        apart: &[],
    },
    sizing: &[Sizing::Like("/image_url")],
    example: INPAINTING,
    ..PRO
};

const REDUX_EXAMPLE: &str = concat!(r#"{"image_url": ""#, sample_picture!(), r#""}"#);

pub(super) const REDUX: Endpoint = Endpoint {
    id: "fal-ai/flux-pro/v1/redux",
    title: "FLUX.1 [pro] Redux",
    description: "Variations of a picture, guided by a prompt if there is one.",
    input: Shape {
        name: "FluxProReduxInput",
        fields: &[
            NO_PROMPT,
            SIZE,
            steps(1, 50, 28),
            SEED,
            guidance(1.0, 20.0, 3.5),
            SYNC_MODE,
            NUM_IMAGES,
            SAFETY_TOLERANCE,
            output_format("jpeg"),
            IMAGE_URL,
        ],
        apart: &[],
    },
    example: REDUX_EXAMPLE,
    ..PRO
};

pub(super) const REDUX_1_1: Endpoint =
    Endpoint { id: "fal-ai/flux-pro/v1.1/redux", title: "FLUX1.1 [pro] Redux", ..REDUX };

pub(super) const ULTRA_REDUX: Endpoint = Endpoint {
    id: "fal-ai/flux-pro/v1.1-ultra/redux",
    title: "FLUX1.1 [pro] ultra Redux",
    description: "Variations of a picture with about four megapixels, guided by a prompt if there is one.",
    input: Shape {
        name: "FluxProUltraTextToImageInputRedux",
        fields: &[
            NO_PROMPT,
            SEED,
            SYNC_MODE,
            NUM_IMAGES,
            SAFETY_CHECKER,
            SAFETY_TOLERANCE,
            output_format("jpeg"),
            ASPECT_RATIO,
            RAW,
            IMAGE_URL,
        ],
        apart: &[],
    },
    sizing: &[Sizing::Ratio(RATIOS)],
    example: REDUX_EXAMPLE,
    ..PRO
};
