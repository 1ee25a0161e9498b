//! What an input is made of.

/// One field of an input.
#[derive(Debug)]
pub struct Field {
    /// Its name on the wire.
    pub name: &'static str,
    /// Type and limits.
    pub kind: Kind,
    /// What fills it when it is left out.
    pub fill: Fill,
    /// For people.
    pub help: &'static str,
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Any text.
    Text,
    /// A whole number within limits.
    Integer {
        /// Least value.
        min: i64,
        /// Greatest value.
        max: i64,
    },
    /// A number within limits; infinite ones are none.
    Number {
        /// Least value.
        min: f64,
        /// Greatest value.
        max: f64,
    },
    /// Yes or no.
    Boolean,
    /// One of several words, in page order.
    Choice(&'static [&'static str]),
    /// A preset's name, or an object with width and height. What is too large for the model is scaled to its limits.
    ImageSize {
        /// Least side in pixels.
        min: u32,
        /// Greatest side in pixels.
        max: u32,
        /// Greatest area in pixels.
        area: u64,
        /// Sides of a size that was fitted are multiples of this.
        step: u32,
    },
    /// Any non-negative whole number up to 2⁶⁴ − 1.
    Seed,
    /// A picture: its URL, or itself as a data URI.
    Image,
    /// A black and white picture that says where, in a picture: URL or data URI.
    Mask {
        /// The field beside it that has that picture; where there is none, it is the one that is made.
        of: Option<&'static str>,
        /// The colour of the part that is meant.
        marks: Shade,
    },
    /// Where the weights of an adapter are: a repository, a URL, a path, or themselves as a data URI. Fields beside it that
    /// begin like it and end in `subfolder` and `weight_name` say which file.
    Weights {
        /// Whether pickles (`.bin`) will do; safetensors always do.
        pickles: bool,
    },
    /// So many hexadecimal digits.
    Hex {
        /// How many.
        digits: usize,
    },
    /// Several values of one kind.
    List {
        /// Their kind.
        item: &'static Kind,
        /// At most so many.
        max: usize,
    },
    /// Fields in a field.
    Object(&'static Shape),
}

/// Which colour of a mask marks the part that is meant; makers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shade {
    /// White on black.
    White,
    /// Black on white.
    Black,
}

/// An object with a published name and fields of its own.
#[derive(Debug)]
pub struct Shape {
    /// As it is published: `LoraWeight`.
    pub name: &'static str,
    /// Its fields, in page order.
    pub fields: &'static [Field],
    /// Pairs of fields that cannot both be given.
    pub apart: &'static [(&'static str, &'static str)],
}

/// What happens when a field is left out.
#[derive(Clone, Copy, Debug)]
pub enum Fill {
    /// That is an error.
    Required,
    /// It stays out.
    Nothing,
    /// A text, preset or choice.
    Text(&'static str),
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// Yes or no.
    Boolean(bool),
    /// A size in pixels, width first.
    Size(u32, u32),
    /// A list without entries.
    EmptyList,
}

/// From where a call comes, which decides how far it may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Over HTTP: exactly the published fields.
    Wire,
    /// The owner's own command line: also what the engine can do beyond the page (any number of steps, a size
    /// everywhere, `max_sequence_length`).
    Local,
}

impl Field {
    /// Whether a call without it is refused.
    pub const fn is_required(&self) -> bool {
        matches!(self.fill, Fill::Required)
    }

    /// Whether only fal itself can follow it. Programs know such fields, so documents have them; a form that is sent here
    /// offers none.
    pub fn only_at_fal(&self) -> bool {
        self.name == "fill_image"
    }

    /// What stands there when a caller leaves it out, `false` and `0` too.
    pub fn default(&self) -> Option<serde_json::Value> {
        self.fill.value()
    }
}

impl Fill {
    /// The filling, where there is one.
    pub fn value(self) -> Option<serde_json::Value> {
        match self {
            Self::Required | Self::Nothing => None,
            Self::Text(text) => Some(text.into()),
            Self::Integer(n) => Some(n.into()),
            Self::Number(n) => Some(n.into()),
            Self::Boolean(b) => Some(b.into()),
            Self::Size(width, height) => Some(serde_json::json!({ "width": width, "height": height })),
            Self::EmptyList => Some(serde_json::json!([])),
        }
    }
}

impl Kind {
    /// The type as documents name it: `integer`, `list<LoraWeight>`.
    pub fn type_name(&self) -> String {
        match self {
            Self::Text | Self::Image | Self::Mask { .. } | Self::Weights { .. } | Self::Hex { .. } => "string".into(),
            Self::Boolean => "boolean".into(),
            Self::Integer { .. } | Self::Seed => "integer".into(),
            Self::Number { .. } => "float".into(),
            Self::Choice(_) => "enum".into(),
            Self::ImageSize { .. } => "ImageSize or enum".into(),
            Self::List { item, .. } => format!("list<{}>", item.type_name()),
            Self::Object(shape) => shape.name.into(),
        }
    }

    /// The kind of a single value: a list's items, or this.
    pub const fn single(&self) -> &Self {
        match self {
            Self::List { item, .. } => item,
            kind => kind,
        }
    }
}
