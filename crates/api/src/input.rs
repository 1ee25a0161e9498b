//! A checked input.

use serde_json::{Map, Value};

use crate::endpoint::{Endpoint, Sizing};
use crate::field::{Field, Kind};
use crate::image_format::ImageFormat;
use crate::image_size::ImageSize;

/// An input that has passed validation: every default is filled, every value is of its type and within its limits.
#[derive(Clone, Debug)]
pub struct Input {
    endpoint: &'static Endpoint,
    values: Map<String, Value>,
    heard: Heard,
}

/// What of a caller's own words the values do not show any more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    /// Names that no field has.
    pub(crate) ignored: Ignored,
    /// The size that was asked for and the one that the model draws instead.
    pub(crate) scaled: Option<(ImageSize, ImageSize)>,
}

/// Names that an endpoint does not have: the first of them, and how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ignored {
    names: Vec<String>,
    more: usize,
}

impl Ignored {
    /// So many are named, and so much of each.
    const NAMES: usize = 20;
    const CHARS: usize = 64;

    pub(crate) fn of<'a>(mut names: impl Iterator<Item = &'a String>) -> Self {
        let short = |name: &String| match name.char_indices().nth(Self::CHARS) {
            Some((end, _)) => format!("{}…", &name[..end]),
            None => name.clone(),
        };
        Self { names: names.by_ref().take(Self::NAMES).map(short).collect(), more: names.count() }
    }
}

/// The field that says whether finished pictures are looked at.
pub const SAFETY_CHECKER: &str = "enable_safety_checker";

/// What all endpoints have in common, typed.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageRequest {
    /// What to draw.
    pub prompt: String,
    /// What to keep out.
    pub negative_prompt: String,
    /// Size of the pictures.
    pub size: Size,
    /// Denoising steps.
    pub steps: u32,
    /// Guidance scale, where the endpoint has one.
    pub guidance: Option<f64>,
    /// Seed, where the caller gave one.
    pub seed: Option<u64>,
    /// Pictures.
    pub images: u32,
    /// File format.
    pub format: ImageFormat,
    /// Whether pictures come back inside the answer.
    pub sync_mode: bool,
    /// Text tokens; only from the owner's own command line.
    pub max_sequence_length: Option<u32>,
}

/// How large a picture shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Size {
    /// So many pixels.
    Pixels(ImageSize),
    /// As large as the picture at this URL, or in this data URI.
    Like(String),
}

impl Size {
    /// In pixels; `measured` is the size of the picture it follows, where that could be read.
    pub fn pixels(&self, measured: Option<ImageSize>) -> ImageSize {
        match self {
            Self::Pixels(size) => *size,
            Self::Like(_) => measured.unwrap_or(ImageSize { width: 1024, height: 1024 }),
        }
    }
}

/// Weights of an adapter that an input refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputWeights {
    /// Where in the input: names of fields and places in lists.
    pub path: Vec<String>,
    /// A repository, a URL, a path, or themselves as a data URI.
    pub source: String,
    /// The folder in it, where one was named, and where in the input.
    pub subfolder: Option<(Vec<String>, String)>,
    /// The file in it, where one was named, and where in the input.
    pub weight_name: Option<(Vec<String>, String)>,
    /// The names of the fields beside that say which folder and which file, where there are such fields.
    pub beside: [Option<String>; 2],
    /// Whether pickles will do.
    pub pickles: bool,
}

/// A picture that an input refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputPicture {
    /// Where in the input: names of fields and places in lists.
    pub path: Vec<String>,
    /// Its URL, or itself as a data URI.
    pub url: String,
}

impl Input {
    /// From values that validation made.
    pub(crate) fn checked(endpoint: &'static Endpoint, values: Map<String, Value>, heard: Heard) -> Self {
        Self { endpoint, values, heard }
    }

    /// The endpoint it is for.
    pub fn endpoint(&self) -> &'static Endpoint {
        self.endpoint
    }

    /// The values, in the endpoint's field order.
    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// As one JSON object, for the queue.
    pub fn to_json(&self) -> Value {
        Value::Object(self.values.clone())
    }

    /// Names that the endpoint does not have, by their paths: the first twenty, each cut after 64 characters.
    pub fn ignored(&self) -> &[String] {
        &self.heard.ignored.names
    }

    /// What the caller should know of how the input was read, in sentences for the job's log.
    pub fn notes(&self) -> Vec<String> {
        let id = self.endpoint.id;
        let Heard { ignored, scaled } = &self.heard;
        let more = ignored.more;
        let ignored = ignored.names.iter().map(|name| match self.endpoint.sibling_with(name) {
            Some(other) => format!("{id} has no field {name}; it was ignored ({} has it)", other.id),
            None => format!("{id} has no field {name}; it was ignored"),
        });
        let more = (more > 0).then(|| format!("…and {more} more fields that {id} does not have; they were ignored"));
        let scaled = scaled.map(|(asked, drawn)| {
            let text = |size: ImageSize| format!("{}x{}", size.width, size.height);
            format!("{id} does not draw {}; the picture is scaled to {}", text(asked), text(drawn))
        });
        ignored.chain(more).chain(scaled).collect()
    }

    /// The typed view of what endpoints have in common.
    pub fn request(&self) -> ImageRequest {
        let whole = |name: &str| self.values.get(name).and_then(Value::as_u64);
        let small = |name: &str, default: u32| whole(name).and_then(|n| n.try_into().ok()).unwrap_or(default);
        let text = |name: &str| self.values.get(name).and_then(Value::as_str);
        ImageRequest {
            prompt: text("prompt").unwrap_or_default().to_owned(),
            negative_prompt: text("negative_prompt").unwrap_or_default().to_owned(),
            size: self.size(),
            steps: small("num_inference_steps", 1),
            guidance: self.values.get("guidance_scale").and_then(Value::as_f64),
            seed: whole("seed"),
            images: small("num_images", 1),
            format: self.format(),
            sync_mode: self.values.get("sync_mode").and_then(Value::as_bool).unwrap_or(false),
            max_sequence_length: whole("max_sequence_length").and_then(|n| n.try_into().ok()),
        }
    }

    /// Every picture that the input refers to, in the endpoint's field order.
    pub fn pictures(&self) -> Vec<InputPicture> {
        let mut found = Vec::new();
        for field in self.endpoint.fields() {
            if let Some(value) = self.values.get(field.name) {
                find_pictures(&field.kind, value, &mut vec![field.name.to_owned()], &mut found);
            }
        }
        found
    }

    /// The weights of every adapter that the input refers to, in the endpoint's field order.
    pub fn weights(&self) -> Vec<InputWeights> {
        let mut found = Vec::new();
        find_weights(self.endpoint.fields(), &self.values, &mut Vec::new(), &mut found);
        found
    }

    fn size(&self) -> Size {
        let asked = match self.values.get("image_size") {
            Some(Value::String(preset)) => ImageSize::preset(preset),
            Some(object) => Some(ImageSize::of_object(object)),
            None => None,
        };
        let decided = || self.endpoint.sizing.iter().find_map(|sizing| self.sized(sizing));
        asked.map(Size::Pixels).or_else(decided).unwrap_or(Size::Pixels(ImageSize { width: 1024, height: 1024 }))
    }

    fn sized(&self, sizing: &Sizing) -> Option<Size> {
        match *sizing {
            Sizing::Fixed(width, height) => Some(Size::Pixels(ImageSize { width, height })),
            Sizing::Like(pointer) => {
                let (first, rest) = pointer.trim_start_matches('/').split_once('/').unwrap_or((&pointer[1..], ""));
                let value = self.values.get(first)?;
                let value = if rest.is_empty() { value } else { value.get(rest)? };
                Some(Size::Like(value.as_str()?.to_owned()))
            }
            Sizing::Ratio(table) => {
                let asked = self.values.get("aspect_ratio")?.as_str()?;
                let (_, width, height) = *table.iter().find(|(ratio, ..)| *ratio == asked)?;
                Some(Size::Pixels(ImageSize { width, height }))
            }
        }
    }

    fn format(&self) -> ImageFormat {
        let text = |name: &str| self.values.get(name).and_then(Value::as_str);
        if let Some(format) = text("output_format").and_then(ImageFormat::of_extension) {
            return format;
        }
        // Recraft's styles decide on the kind of picture: `vector_illustration/…` and `icon/…` are drawn as shapes
        let vector = |style: &str| matches!(style.split('/').next(), Some("vector_illustration" | "icon"));
        match self.endpoint.format {
            ImageFormat::Webp if text("style").is_some_and(vector) => ImageFormat::Svg,
            format => format,
        }
    }
}

fn find_pictures(kind: &Kind, value: &Value, path: &mut Vec<String>, found: &mut Vec<InputPicture>) {
    match (kind, value) {
        (Kind::Image | Kind::Mask { .. }, Value::String(url)) => {
            found.push(InputPicture { path: path.clone(), url: url.clone() });
        }
        (Kind::List { item, .. }, Value::Array(values)) => {
            for (place, value) in values.iter().enumerate() {
                path.push(place.to_string());
                find_pictures(item, value, path, found);
                path.pop();
            }
        }
        (Kind::Object(shape), Value::Object(values)) => {
            for field in shape.fields {
                if let Some(value) = values.get(field.name) {
                    path.push(field.name.to_owned());
                    find_pictures(&field.kind, value, path, found);
                    path.pop();
                }
            }
        }
        _ => {}
    }
}

fn find_weights(fields: &[Field], values: &Map<String, Value>, path: &mut Vec<String>, found: &mut Vec<InputWeights>) {
    for field in fields {
        let Some(value) = values.get(field.name) else { continue };
        path.push(field.name.to_owned());
        match (field.kind, value) {
            (Kind::Weights { pickles }, Value::String(source)) => {
                let is_field = |name: &String| fields.iter().any(|field| field.name == name);
                let named = |end: &str| beside_name(field.name, end).filter(is_field);
                let beside = |end: &str| beside(field.name, end, values, path);
                found.push(InputWeights {
                    path: path.clone(),
                    source: source.clone(),
                    subfolder: beside("subfolder"),
                    weight_name: beside("weight_name"),
                    beside: [named("subfolder"), named("weight_name")],
                    pickles,
                });
            }
            (Kind::Object(shape), Value::Object(values)) => find_weights(shape.fields, values, path, found),
            (Kind::List { item: Kind::Object(shape), .. }, Value::Array(items)) => {
                for (place, item) in items.iter().enumerate() {
                    let Value::Object(values) = item else { continue };
                    path.push(place.to_string());
                    find_weights(shape.fields, values, path, found);
                    path.pop();
                }
            }
            _ => {}
        }
        path.pop();
    }
}

/// The name of the field beside `name` that begins like it and ends so.
fn beside_name(name: &str, end: &str) -> Option<String> {
    Some(format!("{}{end}", name.strip_suffix("path")?))
}

/// What stands in the field beside `name` that begins like it and ends so; an empty text says nothing.
fn beside(name: &str, end: &str, values: &Map<String, Value>, path: &[String]) -> Option<(Vec<String>, String)> {
    let field = beside_name(name, end)?;
    let text = values.get(&field)?.as_str().filter(|text| !text.is_empty())?;
    let around = path.split_last().map_or(&[][..], |(_, around)| around);
    Some((around.iter().cloned().chain([field]).collect(), text.to_owned()))
}
