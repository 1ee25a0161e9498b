//! What an endpoint is: an id, fields, and the family of models that can answer it.

use serde_json::{Map, Value};

use crate::endpoints::ENDPOINTS;
use crate::error::Problem;
use crate::field::{Field, Kind, Scope, Shape};
use crate::image_format::ImageFormat;
use crate::input::Input;
use crate::output::OutputShape;

/// A row of the table of endpoints.
#[derive(Debug)]
pub struct Endpoint {
    /// Such as `fal-ai/flux/schnell`.
    pub id: &'static str,
    /// For people.
    pub title: &'static str,
    /// One sentence.
    pub description: &'static str,
    /// What can answer.
    pub family: Family,
    /// The input: its fields in page order.
    pub input: Shape,
    /// What comes back.
    pub output: OutputShape,
    /// Where the size of a picture comes from when no `image_size` says it: the first that applies.
    pub sizing: &'static [Sizing],
    /// The format of pictures where no field chooses one.
    pub format: ImageFormat,
    /// An input worth trying: an object of JSON, the fields that its page's own example sets.
    pub example: &'static str,
}

/// Which kind of model answers an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Our own small model, inside the binary.
    Starter,
    /// FLUX.1 schnell: no guidance, few steps.
    FluxSchnell,
    /// FLUX.1 dev: embedded guidance.
    FluxDev,
    /// AuraFlow.
    AuraFlow,
    /// Stable Diffusion 3.5 large.
    StableDiffusion35,
    /// HiDream-I1: full, dev or fast.
    HiDream,
    /// OmniGen2.
    OmniGen2,
    /// F-Lite, standard or texture.
    FLite,
    /// Weights that their maker keeps; reached through the maker's own API.
    Closed(Maker),
}

/// Who keeps a closed model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Maker {
    /// Black Forest Labs: FLUX pro.
    Bfl,
    /// Ideogram.
    Ideogram,
    /// Google: Imagen, Gemini.
    Google,
    /// Recraft.
    Recraft,
}

/// Where the size of a picture comes from.
#[derive(Clone, Copy, Debug)]
pub enum Sizing {
    /// The `aspect_ratio` field: ratio, width, height.
    Ratio(&'static [(&'static str, u32, u32)]),
    /// As the picture that the input holds at this JSON pointer.
    Like(&'static str),
    /// Always so many pixels, width first.
    Fixed(u32, u32),
}

impl Endpoint {
    /// Checks a caller's JSON and fills every default.
    ///
    /// # Errors
    /// Every problem at once, as fal lists them.
    pub fn parse(&'static self, body: &Value, scope: Scope) -> Result<Input, Vec<Problem>> {
        crate::validate::parse(self, body, scope)
    }

    /// The input's fields, in page order.
    pub fn fields(&self) -> &'static [Field] {
        self.input.fields
    }

    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields().iter().find(|f| f.name == name)
    }

    /// Another endpoint of the same family that has a field of this name: the one that is most like this one.
    pub fn sibling_with(&self, name: &str) -> Option<&'static Endpoint> {
        let has = |other: &&Endpoint| other.family == self.family && other.field(name).is_some();
        let like = |other: &&Endpoint| other.edits() == self.edits();
        let mut siblings = ENDPOINTS.iter().filter(has);
        siblings.clone().find(like).or_else(|| siblings.next())
    }

    /// Whether it starts from a picture that the caller gives.
    pub fn edits(&self) -> bool {
        self.fields().iter().any(|f| matches!(f.kind, Kind::Image) && f.is_required())
    }

    /// Whether any of its fields, however deep, is a picture.
    pub fn takes_pictures(&self) -> bool {
        let is_picture = |f: &Field| matches!(f.kind.single(), Kind::Image | Kind::Mask { .. });
        self.fields().iter().any(is_picture) || self.shapes().iter().any(|shape| shape.fields.iter().any(is_picture))
    }

    /// Whether it takes adapters: LoRAs, a ControlNet, an IP-Adapter.
    pub fn takes_weights(&self) -> bool {
        self.shapes().iter().any(|shape| shape.fields.iter().any(|f| matches!(f.kind, Kind::Weights { .. })))
    }

    /// fal's word for what goes in and comes out.
    pub fn category(&self) -> &'static str {
        if self.edits() { "image-to-image" } else { "text-to-image" }
    }

    /// What its files are called, without the end.
    pub const fn file_stem(&self) -> &'static str {
        match self.family {
            Family::Closed(Maker::Google) => "output",
            _ => "image",
        }
    }

    /// The class that `model_index.json` names in a checkpoint that can answer it. Whether the engine runs it, the engine
    /// knows.
    pub fn pipeline(&self) -> Option<&'static str> {
        match self.id {
            // of the first its maker keeps the weights, and has published a sibling
            "fal-ai/flux-pro/v1/fill" | "fal-ai/flux-lora-fill" => Some("FluxFillPipeline"),
            _ => self.family.pipeline(),
        }
    }

    /// An input worth trying, as its page shows it.
    pub fn example(&self) -> Map<String, Value> {
        serde_json::from_str(self.example).unwrap_or_default()
    }

    /// The least of the example that is accepted.
    pub fn least_example(&self) -> Map<String, Value> {
        let needed = |name: &str| self.field(name).is_some_and(Field::is_required);
        self.example().into_iter().filter(|(name, _)| needed(name)).collect()
    }

    /// A whole input: the example over every default, in page order.
    pub fn full_example(&self) -> Map<String, Value> {
        let mut example = self.example();
        let filled = |f: &Field| Some((f.name.to_owned(), example.remove(f.name).or_else(|| f.default())?));
        self.fields().iter().filter_map(filled).collect()
    }

    /// The objects that the input is made of, innermost first, each once.
    pub fn shapes(&self) -> Vec<&'static Shape> {
        let mut found = Vec::new();
        collect(self.fields(), &mut found);
        found
    }
}

fn collect(fields: &'static [Field], found: &mut Vec<&'static Shape>) {
    for field in fields {
        if let Kind::Object(shape) = field.kind.single() {
            collect(shape.fields, found);
            if !found.iter().any(|known| known.name == shape.name) {
                found.push(shape);
            }
        }
    }
}

impl Maker {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Bfl, Self::Ideogram, Self::Google, Self::Recraft];

    /// As settings name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bfl => "bfl",
            Self::Ideogram => "ideogram",
            Self::Google => "google",
            Self::Recraft => "recraft",
        }
    }

    /// For people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Bfl => "Black Forest Labs",
            Self::Ideogram => "Ideogram",
            Self::Google => "Google",
            Self::Recraft => "Recraft",
        }
    }

    /// The environment variable that holds the owner's key.
    pub const fn key_variable(self) -> &'static str {
        match self {
            Self::Bfl => "BFL_API_KEY",
            Self::Ideogram => "IDEOGRAM_API_KEY",
            Self::Google => "GEMINI_API_KEY",
            Self::Recraft => "RECRAFT_API_KEY",
        }
    }
}

impl Family {
    /// Who has to be asked, if the weights are not published.
    pub const fn maker(self) -> Option<Maker> {
        match self {
            Self::Closed(maker) => Some(maker),
            _ => None,
        }
    }

    /// The class of its pipeline, as a folder in diffusers' layout names it; none where no weights are published.
    /// Whether the engine has that pipeline is the engine's to say.
    pub const fn pipeline(self) -> Option<&'static str> {
        match self {
            Self::Starter | Self::FluxSchnell | Self::FluxDev => Some("FluxPipeline"),
            Self::AuraFlow => Some("AuraFlowPipeline"),
            Self::StableDiffusion35 => Some("StableDiffusion3Pipeline"),
            Self::HiDream => Some("HiDreamImagePipeline"),
            Self::OmniGen2 => Some("OmniGen2Pipeline"),
            Self::FLite => Some("FLitePipeline"),
            Self::Closed(_) => None,
        }
    }

    /// For people: what the models of this family are called.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Starter => "Scumble starter",
            Self::FluxSchnell | Self::FluxDev => "FLUX.1",
            Self::AuraFlow => "AuraFlow",
            Self::StableDiffusion35 => "Stable Diffusion 3.5",
            Self::HiDream => "HiDream-I1",
            Self::OmniGen2 => "OmniGen2",
            Self::FLite => "F-Lite",
            Self::Closed(Maker::Bfl) => "FLUX.1 [pro]",
            Self::Closed(Maker::Ideogram) => "Ideogram",
            Self::Closed(Maker::Google) => "Imagen",
            Self::Closed(Maker::Recraft) => "Recraft",
        }
    }
}
