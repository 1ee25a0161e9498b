//! `scumble/starter`.

use super::fields::{SEED, SYNC_MODE, guidance, num_images, output_format, steps, text};
use crate::endpoint::{Endpoint, Family};
use crate::field::{Field, Fill, Kind, Shape};
use crate::image_format::ImageFormat;
use crate::output::OutputShape;

/// Every word of the starter's vocabulary (`starter/scenes.py`), by what it is for.
macro_rules! words {
    () => {
        "Shapes: circle, circles, disc, discs, dot, dots, square, squares, triangle, triangles, star, stars, ring, rings, \
         donut, donuts, heart, hearts, cross, crosses, plus, pluses. Colours: red, orange, yellow, green, cyan, turquoise, \
         blue, purple, violet, pink, brown, black, white, gray, grey. Numbers: a, one, single, 1, two, 2, pair, three, 3. \
         Sizes: small, little, tiny, large, big, huge. Places: left, right, top, bottom, center, centered, centre, \
         middle, corner, side, half, front. Between them: the, of, on, in, at, to, with, and, next, over, against, \
         background, picture, image, drawing."
    };
}

/// What the starter's page and its jobs' logs say of the words it knows. A test holds it against the tokenizer.
pub const STARTER_WORDS: &str = words!();

pub(super) const STARTER: Endpoint = Endpoint {
    id: "scumble/starter",
    title: "Starter",
    description: "Draws coloured shapes on a plain background. Small, built in, and runs anywhere in a second.",
    family: Family::Starter,
    input: Shape {
        name: "StarterInput",
        fields: &[
            text(
                "prompt",
                Fill::Required,
                concat!("What the picture shows, in words that this small model knows. Others are ignored. ", words!()),
            ),
            Field {
                name: "image_size",
                kind: Kind::ImageSize { min: 64, max: 512, area: 512 * 512, step: 32 },
                fill: Fill::Size(256, 256),
                help: "The size of the picture, 64 to 512 pixels a side; rounded down to a multiple of 32. A larger one is \
                       scaled down to that, its ratio kept.",
            },
            steps(1, 50, 16),
            SEED,
            guidance(1.0, 10.0, 2.0),
            SYNC_MODE,
            num_images(4),
            output_format("png"),
        ],
        apart: &[],
    },
    output: OutputShape::FULL,
    sizing: &[],
    format: ImageFormat::Png,
    example: r#"{"prompt": "two small yellow stars on a purple background"}"#,
};
