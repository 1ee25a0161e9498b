//! Recraft 2.

use super::fields::{PROMPT, boolean, choice, maker_size, text};
use super::rgb::RGB_COLOR;
use crate::endpoint::{Endpoint, Family, Maker};
use crate::field::{Field, Fill, Kind, Shape};
use crate::image_format::ImageFormat;
use crate::output::{FileShape, OutputShape};

const STYLES: &[&str] = &[
    "any",
    "realistic_image",
    "digital_illustration",
    "vector_illustration",
    "realistic_image/b_and_w",
    "realistic_image/enterprise",
    "realistic_image/hard_flash",
    "realistic_image/hdr",
    "realistic_image/motion_blur",
    "realistic_image/natural_light",
    "realistic_image/studio_portrait",
    "digital_illustration/2d_art_poster",
    "digital_illustration/2d_art_poster_2",
    "digital_illustration/3d",
    "digital_illustration/80s",
    "digital_illustration/engraving_color",
    "digital_illustration/glow",
    "digital_illustration/grain",
    "digital_illustration/hand_drawn",
    "digital_illustration/hand_drawn_outline",
    "digital_illustration/handmade_3d",
    "digital_illustration/infantile_sketch",
    "digital_illustration/kawaii",
    "digital_illustration/pixel_art",
    "digital_illustration/psychedelic",
    "digital_illustration/seamless",
    "digital_illustration/voxel",
    "digital_illustration/watercolor",
    "vector_illustration/cartoon",
    "vector_illustration/doodle_line_art",
    "vector_illustration/engraving",
    "vector_illustration/flat_2",
    "vector_illustration/kawaii",
    "vector_illustration/line_art",
    "vector_illustration/line_circuit",
    "vector_illustration/linocut",
    "vector_illustration/seamless",
    "icon/broken_line",
    "icon/colored_outline",
    "icon/colored_shapes",
    "icon/colored_shapes_gradient",
    "icon/doodle_fill",
    "icon/doodle_offset_fill",
    "icon/offset_fill",
    "icon/outline",
    "icon/outline_gradient",
    "icon/uneven_fill",
];

pub(super) const V2: Endpoint = Endpoint {
    id: "fal-ai/recraft/v2/text-to-image",
    title: "Recraft 2",
    description: "Pictures, vector drawings and icons from text, by Recraft.",
    family: Family::Closed(Maker::Recraft),
    input: Shape {
        name: "RecraftV2TextToImageInput",
        fields: &[
            PROMPT,
            maker_size(Fill::Text("square_hd")),
            choice("style", STYLES, "realistic_image", "The style; vector drawings and icons cost twice as much."),
            Field {
                name: "colors",
                kind: Kind::List { item: &Kind::Object(&RGB_COLOR), max: 32 },
                fill: Fill::EmptyList,
                help: "Colours to prefer.",
            },
            text("style_id", Fill::Nothing, "A style of your own, by its id; used instead of style."),
            boolean("enable_safety_checker", false, "Whether the maker refuses what not everybody should see."),
        ],
        apart: &[],
    },
    output: OutputShape {
        file: FileShape::File { with_data: true },
        timings: false,
        seed: false,
        flags: false,
        prompt: false,
    },
    sizing: &[],
    format: ImageFormat::Webp,
    example: r#"{
        "prompt": "a red panda on a scooter in an old town", "image_size": "square_hd", "style": "realistic_image",
        "colors": []
    }"#,
};
