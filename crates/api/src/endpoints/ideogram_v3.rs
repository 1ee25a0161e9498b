//! Ideogram 3: five endpoints around one set of style fields.

use super::fields::{
    IMAGE_URL, NEGATIVE_PROMPT, PROMPT, SEED, SYNC_MODE, boolean, choice, maker_size, mask_url, number,
    number_of_images, text,
};
use super::ideogram_v2::{FILES_AND_SEED, V2};
use super::rgb::RGB_COLOR;
use super::samples::{INPAINTING, sample_picture};
use crate::endpoint::{Endpoint, Sizing};
use crate::field::{Field, Fill, Kind, Shade, Shape};

const NUM_IMAGES: Field =
    number_of_images(8, "How many pictures to make. All are made in one call to the maker, from one seed.");

const PALETTE_MEMBER: Shape = Shape {
    name: "ColorPaletteMember",
    fields: &[
        Field { name: "rgb", kind: Kind::Object(&RGB_COLOR), fill: Fill::Required, help: "The colour." },
        number("color_weight", (0.05, 1.0), 0.5, "How much of it."),
    ],
    apart: &[],
};

const PALETTE: Shape = Shape {
    name: "ColorPalette",
    fields: &[
        Field {
            name: "members",
            kind: Kind::List { item: &Kind::Object(&PALETTE_MEMBER), max: 8 },
            fill: Fill::Nothing,
            help: "Up to eight colours with their weights.",
        },
        Field {
            name: "name",
            kind: Kind::Choice(&["EMBER", "FRESH", "JUNGLE", "MAGIC", "MELON", "MOSAIC", "PASTEL", "ULTRAMARINE"]),
            fill: Fill::Nothing,
            help: "One of the maker's palettes.",
        },
    ],
    apart: &[("name", "members")],
};

const STYLE_PICTURES: Field = Field {
    name: "image_urls",
    kind: Kind::List { item: &Kind::Image, max: 10 },
    fill: Fill::Nothing,
    help: "Pictures whose style to follow: URLs or data URIs of JPEG, PNG or WebP, 10 MB together.",
};
const SPEED: Field = choice(
    "rendering_speed",
    &["TURBO", "BALANCED", "QUALITY"],
    "BALANCED",
    "Faster and cheaper, or slower and better.",
);
const COLORS: Field = Field {
    name: "color_palette",
    kind: Kind::Object(&PALETTE),
    fill: Fill::Nothing,
    help: "Colours to use: either a palette's name or members.",
};
const STYLE_CODES: Field = Field {
    name: "style_codes",
    kind: Kind::List { item: &Kind::Hex { digits: 8 }, max: 10 },
    fill: Fill::Nothing,
    help: "Codes of styles, eight hexadecimal digits each; not together with style or image_urls.",
};
const STYLE: Field = Field {
    name: "style",
    kind: Kind::Choice(&["AUTO", "GENERAL", "REALISTIC", "DESIGN"]),
    fill: Fill::Nothing,
    help: "The style of the picture; not together with style_codes.",
};
const EXPAND_PROMPT: Field =
    boolean("expand_prompt", true, "Whether the maker's MagicPrompt makes the prompt longer first.");
const SIZE: Field = maker_size(Fill::Text("square_hd"));
const STYLES_APART: &[(&str, &str)] = &[("style_codes", "style"), ("style_codes", "image_urls")];

pub(super) const GENERATE: Endpoint = Endpoint {
    id: "fal-ai/ideogram/v3",
    title: "Ideogram 3",
    description: "Pictures from text, with readable lettering, palettes and style references, by Ideogram.",
    input: Shape {
        name: "BaseTextToImageInputV3",
        fields: &[
            STYLE_PICTURES,
            SPEED,
            COLORS,
            STYLE_CODES,
            STYLE,
            EXPAND_PROMPT,
            NUM_IMAGES,
            SEED,
            SYNC_MODE,
            PROMPT,
            SIZE,
            NEGATIVE_PROMPT,
        ],
        apart: STYLES_APART,
    },
    output: FILES_AND_SEED,
    sizing: &[],
    example: r#"{"prompt": "A shop sign in gilded letters that says \"Clocks and Weather\""}"#,
    ..V2
};

pub(super) const EDIT: Endpoint = Endpoint {
    id: "fal-ai/ideogram/v3/edit",
    title: "Ideogram 3 Edit",
    description: "Paints the masked part of a picture anew, by Ideogram.",
    input: Shape {
        name: "EditImageInputV3",
        fields: &[
            STYLE_PICTURES,
            SPEED,
            COLORS,
            STYLE_CODES,
            EXPAND_PROMPT,
            NUM_IMAGES,
            SEED,
            SYNC_MODE,
            text("prompt", Fill::Required, "What the masked part shows."),
            IMAGE_URL,
            mask_url(
                Shade::Black,
                "Where to paint: a picture of the same size, black where it changes. A URL or a data URI.",
            ),
        ],
        apart: &[("style_codes", "image_urls")],
    },
    sizing: &[Sizing::Like("/image_url")],
    example: INPAINTING,
    ..GENERATE
};

pub(super) const REMIX: Endpoint = Endpoint {
    id: "fal-ai/ideogram/v3/remix",
    title: "Ideogram 3 Remix",
    description: "A new picture from a prompt and an old one, by Ideogram.",
    input: Shape {
        name: "RemixImageInputV3",
        fields: &[
            STYLE_PICTURES,
            SPEED,
            COLORS,
            STYLE_CODES,
            STYLE,
            EXPAND_PROMPT,
            NUM_IMAGES,
            SEED,
            SYNC_MODE,
            text("prompt", Fill::Required, "What the new picture shows."),
            IMAGE_URL,
            number("strength", (0.01, 1.0), 0.8, "How much of the old picture stays."),
            SIZE,
            NEGATIVE_PROMPT,
        ],
        apart: STYLES_APART,
    },
    example: concat!(r#"{"prompt": "the same hill in winter", "image_url": ""#, sample_picture!(), r#""}"#),
    ..GENERATE
};

pub(super) const REFRAME: Endpoint = Endpoint {
    id: "fal-ai/ideogram/v3/reframe",
    title: "Ideogram 3 Reframe",
    description: "Extends a picture beyond its edges to another size, by Ideogram.",
    input: Shape {
        name: "ReframeImageInputV3",
        fields: &[
            STYLE_PICTURES,
            SPEED,
            COLORS,
            STYLE_CODES,
            STYLE,
            NUM_IMAGES,
            SEED,
            SYNC_MODE,
            IMAGE_URL,
            maker_size(Fill::Required),
        ],
        apart: STYLES_APART,
    },
    example: concat!(r#"{"image_url": ""#, sample_picture!(), r#"", "image_size": "square_hd"}"#),
    ..GENERATE
};

pub(super) const REPLACE_BACKGROUND: Endpoint = Endpoint {
    id: "fal-ai/ideogram/v3/replace-background",
    title: "Ideogram 3 Replace Background",
    description: "Puts what a picture shows before another background, by Ideogram.",
    input: Shape {
        name: "ReplaceBackgroundInputV3",
        fields: &[
            STYLE_PICTURES,
            SPEED,
            COLORS,
            STYLE_CODES,
            STYLE,
            EXPAND_PROMPT,
            NUM_IMAGES,
            SEED,
            SYNC_MODE,
            text("prompt", Fill::Required, "What the new background shows."),
            IMAGE_URL,
        ],
        apart: STYLES_APART,
    },
    sizing: &[Sizing::Like("/image_url")],
    example: concat!(r#"{"prompt": "a beach at noon", "image_url": ""#, sample_picture!(), r#""}"#),
    ..GENERATE
};
