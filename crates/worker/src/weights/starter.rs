//! The starter's weights, linked into the binary: the diffusers folder that `starter/train.py` saved.

use scumble_engine::weights::{EmbeddedFile, Source};

/// Embeds files of `starter/weights` under their own paths.
macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_bytes!(concat!("../../../../starter/weights/", $path)))),*]
    };
}

static FILES: &[EmbeddedFile] = files![
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "text_encoder_2/config.json",
    "text_encoder_2/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "tokenizer_2/tokenizer.json",
    "tokenizer_2/tokenizer_config.json",
    "transformer/config.json",
    "transformer/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
];

/// `scumble/starter`'s checkpoint.
pub(crate) fn starter() -> Source {
    Source::Embedded { name: "scumble/starter (built in)", files: FILES }
}
