//! Fields that several endpoints share.

use crate::field::{Field, Fill, Kind, Shade};
use crate::image_size::SIDE_MAX;

/// What to draw.
pub(super) const PROMPT: Field = text("prompt", Fill::Required, "What the picture shows.");

pub(super) const NEGATIVE_PROMPT: Field = text("negative_prompt", Fill::Text(""), "What to keep out of the picture.");

pub(super) const SEED: Field = Field {
    name: "seed",
    kind: Kind::Seed,
    fill: Fill::Nothing,
    help: "The same seed and the same prompt given to the same version of the model give the same picture.",
};

pub(super) const SYNC_MODE: Field =
    boolean("sync_mode", false, "Whether the pictures come back inside the answer, as data URIs.");

/// Of a model that runs here, where a checker looks at pictures if the owner has set one.
pub(super) const SAFETY_CHECKER: Field = boolean(
    "enable_safety_checker",
    true,
    "Whether finished pictures are looked at, by the checker that the owner of this server has set ([safety] checker). \
     Where none is set, nothing is checked, and the log of the request says so.",
);

pub(super) const SAFETY_TOLERANCE: Field = Field {
    name: "safety_tolerance",
    kind: Kind::Choice(&["1", "2", "3", "4", "5", "6"]),
    fill: Fill::Text("2"),
    help: "How much the maker's moderation lets pass: 1 is the strictest.",
};

/// The picture to start from.
pub(super) const IMAGE_URL: Field = Field {
    name: "image_url",
    kind: Kind::Image,
    fill: Fill::Required,
    help: "The picture to start from: a URL or a data URI.",
};

/// A field of text.
pub(super) const fn text(name: &'static str, fill: Fill, help: &'static str) -> Field {
    Field { name, kind: Kind::Text, fill, help }
}

/// A field of yes or no.
pub(super) const fn boolean(name: &'static str, default: bool, help: &'static str) -> Field {
    Field { name, kind: Kind::Boolean, fill: Fill::Boolean(default), help }
}

/// A field of a number within limits.
pub(super) const fn number(name: &'static str, (min, max): (f64, f64), default: f64, help: &'static str) -> Field {
    Field { name, kind: Kind::Number { min, max }, fill: Fill::Number(default), help }
}

/// A field of one of several words.
pub(super) const fn choice(
    name: &'static str,
    words: &'static [&'static str],
    default: &'static str,
    help: &'static str,
) -> Field {
    Field { name, kind: Kind::Choice(words), fill: Fill::Text(default), help }
}

/// The mask over `image_url`; makers differ in which of its colours is painted anew.
pub(super) const fn mask_url(marks: Shade, help: &'static str) -> Field {
    Field { name: "mask_url", kind: Kind::Mask { of: Some("image_url"), marks }, fill: Fill::Required, help }
}

/// How many pictures of a model that runs here, one where nobody says.
pub(super) const fn num_images(max: i64) -> Field {
    number_of_images(
        max,
        "How many pictures to make. All are one draw from the seed: the first is what the seed gives alone, and the \
         others come with it only. No other seed gives the third of four by itself.",
    )
}

/// How many pictures of a maker's model, with how they hang on the seed there.
pub(super) const fn number_of_images(max: i64, help: &'static str) -> Field {
    Field { name: "num_images", kind: Kind::Integer { min: 1, max }, fill: Fill::Integer(1), help }
}

/// How many steps of denoising.
pub(super) const fn steps(min: i64, max: i64, default: i64) -> Field {
    Field {
        name: "num_inference_steps",
        kind: Kind::Integer { min, max },
        fill: Fill::Integer(default),
        help: "How many steps of denoising: more take longer and bring out more.",
    }
}

/// How closely the prompt is followed.
pub(super) const fn guidance(min: f64, max: f64, default: f64) -> Field {
    number("guidance_scale", (min, max), default, "How closely the picture follows the prompt.")
}

/// The file format, with the endpoint's own default.
pub(super) const fn output_format(default: &'static str) -> Field {
    choice("output_format", &["jpeg", "png"], default, "The file format of the pictures.")
}

/// A size for a model that runs here. Pages allow sides up to 14142; the engine draws up to four megapixels, and what is
/// larger is scaled to that.
pub(super) const fn local_size(fill: Fill) -> Field {
    Field {
        name: "image_size",
        kind: Kind::ImageSize { min: 16, max: SIDE_MAX, area: 4_194_304, step: 16 },
        fill,
        help: "The size of the picture, up to four megapixels; rounded down to a multiple of 16. A larger one is scaled \
               down to that, its ratio kept.",
    }
}

/// The same where the picture that is given decides it.
pub(super) const fn picture_size() -> Field {
    Field {
        help: "The size of the picture, up to four megapixels; rounded down to a multiple of 16. If left out, it is that of \
               the picture that was given. A larger one is scaled down, its ratio kept.",
        ..local_size(Fill::Nothing)
    }
}

/// How much of a given picture is drawn anew.
pub(super) const fn strength(default: f64) -> Field {
    number(
        "strength",
        (0.01, 1.0),
        default,
        "How much of the given picture is drawn anew: 1 all of it, small numbers keep most. Of the steps, this share is \
         taken.",
    )
}

/// How far steps that change little are left out.
pub(super) const fn acceleration(words: &'static [&'static str], default: &'static str) -> Field {
    choice(
        "acceleration",
        words,
        default,
        "How often a step takes over work from the step before, where the two are alike: faster, and \
         the picture differs a little. none computes all of them.",
    )
}

/// A size for a maker's model, which draws the nearest that it can.
pub(super) const fn maker_size(fill: Fill) -> Field {
    Field {
        name: "image_size",
        kind: Kind::ImageSize { min: 1, max: SIDE_MAX, area: 16_777_216, step: 1 },
        fill,
        help: "The size of the picture; the maker draws the nearest that its model has.",
    }
}
