//! Fields that name adapters: LoRAs, ControlNets, IP-Adapters.

use super::fields::{number, text};
use crate::field::{Field, Fill, Kind, Shape};

const LORA_PATH: Field = weights(
    "path",
    Kind::Weights { pickles: false },
    "Where the LoRA is: owner/name or owner/name/file.safetensors of a Hugging Face repository, the URL of a safetensors \
     file, such a file as a data URI, or a path that the owner of this server allows.",
);
const LORA_SCALE: Field =
    number("scale", (0.0, 4.0), 1.0, "How strongly it is applied: 1 as it was trained, 0 not at all.");

/// A LoRA as most endpoints have it.
pub(super) const LORA: Shape = Shape { name: "LoraWeight", fields: &[LORA_PATH, LORA_SCALE], apart: &[] };

/// A LoRA with a field of its own for the file.
pub(super) const LORA_WITH_NAME: Shape = Shape {
    name: "LoraWeight",
    fields: &[
        LORA_PATH,
        text("weight_name", Fill::Nothing, "Which safetensors file, where the repository or folder has several."),
        LORA_SCALE,
    ],
    apart: &[],
};

/// Several LoRAs.
pub(super) const fn loras(lora: &'static Kind, help: &'static str) -> Field {
    Field { name: "loras", kind: Kind::List { item: lora, max: 16 }, fill: Fill::EmptyList, help }
}

/// LoRAs without a name for the file.
pub(super) const LORAS: Field = loras(&Kind::Object(&LORA), "LoRAs to apply, all of them together.");

/// A field of text that names weights.
pub(super) const fn weights(name: &'static str, kind: Kind, help: &'static str) -> Field {
    Field { name, kind, fill: Fill::Required, help }
}
