//! What is in one file of weights: of which model, which components, under whose names. All of it is read from the tensors; what
//! a file is called does not count.

mod assembled;
mod autoencoder;
mod configs;
mod llamacpp;
#[cfg(test)]
mod published;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub(crate) use assembled::{Assembled, Given};

use super::names::Names;
use super::{auraflow, f_lite, flux, hidream, omnigen2, sd35};
use crate::error::Result;
use crate::weights::container::Container;
use crate::weights::{Order, Part, Piece};

/// A component that was found in a file.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) kind: Kind,
    /// Before all its names.
    pub(crate) prefix: String,
    pub(crate) naming: Naming,
}

/// What a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A transformer of the pipeline class.
    Transformer(&'static str),
    Vae,
    Clip,
    T5,
    Llama,
}

/// Whose names its tensors have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Naming {
    /// Those that models ask for.
    Same,
    /// A publisher's.
    Publisher(&'static Names),
    /// Those of latent diffusion's own autoencoder.
    Autoencoder,
    /// llama.cpp's for T5 encoders.
    T5Cpp,
    /// llama.cpp's for Llama, with heads of this width.
    LlamaCpp(usize),
}

/// A component of a file, which is opened whenever it is read.
#[derive(Clone, Debug)]
pub(crate) struct PartFile {
    pub(crate) path: PathBuf,
    found: Found,
    /// The name of a tensor that its model has no use for.
    unused: Option<&'static str>,
}

/// A component of a class: its name, what it is, and what bundles call it.
struct Slot {
    name: &'static str,
    kind: Kind,
    short: &'static str,
}

/// What may stand before a transformer's names, and before an autoencoder's.
const TRANSFORMER_AT: [&str; 3] = ["model.diffusion_model.", "model.", ""];
const VAE_AT: [&str; 3] = ["first_stage_model.", "vae.", ""];

/// Tensors that only one family has: all that stand in one entry.
const TRANSFORMERS: &[(&str, Naming, &[&str])] = &[
    (flux::FAMILY.class, Naming::Publisher(&flux::NAMES), &["double_blocks.0.img_attn.proj.weight"]),
    (sd35::FAMILY.class, Naming::Publisher(&sd35::NAMES), &["joint_blocks.0.x_block.attn.qkv.weight"]),
    (auraflow::FAMILY.class, Naming::Publisher(&auraflow::NAMES), &["double_layers.0.modX.1.weight"]),
    (
        hidream::FAMILY.class,
        Naming::Same,
        &["caption_projection.0.linear.weight", "double_stream_blocks.0.block.ff_i.shared_experts.w3.weight"],
    ),
    (
        flux::FAMILY.class,
        Naming::Same,
        &["transformer_blocks.0.attn.add_q_proj.weight", "single_transformer_blocks.0.proj_mlp.weight"],
    ),
    (sd35::FAMILY.class, Naming::Same, &["pos_embed.pos_embed", "transformer_blocks.0.attn.add_q_proj.weight"]),
    (auraflow::FAMILY.class, Naming::Same, &["joint_transformer_blocks.0.ff.linear_1.weight", "register_tokens"]),
    (f_lite::FAMILY.class, Naming::Same, &["blocks.0.cross_attn.context_kv.weight", "patch_embed.patch_proj.weight"]),
    (
        omnigen2::FAMILY.class,
        Naming::Same,
        &["context_refiner.0.attn.to_q.weight", "ref_image_patch_embedder.weight", "image_index_embedding"],
    ),
];

/// Tensors that only one kind of encoder has.
const ENCODERS: &[(Kind, Naming, &str)] = &[
    (Kind::Clip, Naming::Same, "text_model.encoder.layers.0.self_attn.q_proj.weight"),
    (Kind::Clip, Naming::Same, "encoder.layers.0.self_attn.q_proj.weight"),
    (Kind::T5, Naming::Same, "encoder.block.0.layer.0.SelfAttention.q.weight"),
    (Kind::Llama, Naming::Same, "model.layers.0.self_attn.q_proj.weight"),
    (Kind::T5, Naming::T5Cpp, "enc.blk.0.attn_q.weight"),
    (Kind::Llama, Naming::LlamaCpp(LLAMA_HEAD), "blk.0.attn_q.weight"),
];

/// The width of a head of Llama 3.1.
const LLAMA_HEAD: usize = 128;

impl Kind {
    /// For messages.
    fn told(self) -> String {
        match self {
            Self::Transformer(class) => format!("a transformer of {class}"),
            Self::Vae => "an autoencoder".into(),
            Self::Clip => "a CLIP text encoder".into(),
            Self::T5 => "a T5 encoder".into(),
            Self::Llama => "a Llama".into(),
        }
    }
}

/// The components of a class that may come from files of their own; nothing for classes that come as folders only.
fn slots(class: &str) -> &'static [Slot] {
    const fn slot(name: &'static str, kind: Kind, short: &'static str) -> Slot {
        Slot { name, kind, short }
    }
    const CLIP_L: Slot = slot("text_encoder", Kind::Clip, "clip_l");
    const CLIP_G: Slot = slot("text_encoder_2", Kind::Clip, "clip_g");
    const VAE: Slot = slot("vae", Kind::Vae, "");
    const FLUX: &[Slot] = &[
        slot("transformer", Kind::Transformer(flux::FAMILY.class), ""),
        VAE,
        CLIP_L,
        slot("text_encoder_2", Kind::T5, "t5xxl"),
    ];
    const FILL: &[Slot] = &[
        slot("transformer", Kind::Transformer(flux::FILL.class), ""),
        VAE,
        CLIP_L,
        slot("text_encoder_2", Kind::T5, "t5xxl"),
    ];
    const SD35: &[Slot] = &[
        slot("transformer", Kind::Transformer(sd35::FAMILY.class), ""),
        VAE,
        CLIP_L,
        CLIP_G,
        slot("text_encoder_3", Kind::T5, "t5xxl"),
    ];
    const AURA: &[Slot] = &[
        slot("transformer", Kind::Transformer(auraflow::FAMILY.class), ""),
        VAE,
        slot("text_encoder", Kind::T5, "pile_t5xl"),
    ];
    const HIDREAM: &[Slot] = &[
        slot("transformer", Kind::Transformer(hidream::FAMILY.class), ""),
        VAE,
        CLIP_L,
        CLIP_G,
        slot("text_encoder_3", Kind::T5, "t5xxl"),
        slot("text_encoder_4", Kind::Llama, "llama"),
    ];
    const F_LITE: &[Slot] =
        &[slot("dit_model", Kind::Transformer(f_lite::FAMILY.class), ""), VAE, slot("text_encoder", Kind::T5, "t5xxl")];
    const OMNIGEN2: &[Slot] = &[slot("transformer", Kind::Transformer(omnigen2::FAMILY.class), ""), VAE];
    let tables = [
        (flux::FAMILY.class, FLUX),
        (flux::FILL.class, FILL),
        (sd35::FAMILY.class, SD35),
        (auraflow::FAMILY.class, AURA),
        (hidream::FAMILY.class, HIDREAM),
        (f_lite::FAMILY.class, F_LITE),
        (omnigen2::FAMILY.class, OMNIGEN2),
    ];
    tables.into_iter().find_map(|(name, slots)| (name == class).then_some(slots)).unwrap_or_default()
}

/// Whether two classes share encoders and autoencoder.
fn is_same_family(a: &str, b: &str) -> bool {
    let is_flux = |class: &str| [flux::FAMILY.class, flux::FILL.class].contains(&class);
    a == b || is_flux(a) && is_flux(b)
}

/// All components in a file.
///
/// # Errors
/// [`crate::Error::Damaged`] for a file that holds none, or two transformers, or encodings that are not read at all.
pub(crate) fn recognise(file: &Container) -> Result<Vec<Found>> {
    if let Some(name) = file.names().find(|name| name.contains(".quant_state.bitsandbytes__")) {
        return Err(file.damaged(format!(
            "it is quantised with bitsandbytes (NF4 or FP4: {name}), which is not read; the same weights exist as fp8 \
             and as GGUF"
        )));
    }
    let mut found = Vec::new();
    let transformers = TRANSFORMER_AT.iter().flat_map(|prefix| TRANSFORMERS.iter().map(move |entry| (prefix, entry)));
    for (prefix, (class, naming, probes)) in transformers {
        if probes.iter().all(|probe| file.has(&format!("{prefix}{probe}"))) {
            let class = if is_fill(file, prefix) { flux::FILL.class } else { class };
            found.push(Found { kind: Kind::Transformer(class), prefix: (*prefix).to_owned(), naming: *naming });
        }
    }
    if let [first, second, ..] = &found[..] {
        return Err(file.damaged(format!("it holds {} and {}", first.kind.told(), second.kind.told())));
    }
    let autoencoders = [
        (Naming::Autoencoder, "decoder.mid.block_1.norm1.weight"),
        (Naming::Same, "decoder.mid_block.resnets.0.norm1.weight"),
    ];
    for prefix in VAE_AT {
        let naming = autoencoders.iter().find(|(_, probe)| file.has(&format!("{prefix}{probe}")));
        found.extend(naming.map(|(naming, _)| Found { kind: Kind::Vae, prefix: prefix.to_owned(), naming: *naming }));
    }
    for (kind, naming, probe) in ENCODERS {
        for name in file.names().filter(|name| name.ends_with(probe)) {
            let prefix = &name[..name.len() - probe.len()];
            let is_whole =
                prefix.is_empty() || prefix.starts_with("text_encoders.") && prefix.ends_with(".transformer.");
            if is_whole {
                found.push(Found { kind: *kind, prefix: prefix.to_owned(), naming: *naming });
            }
        }
    }
    if found.is_empty() {
        let first = file.names().next().unwrap_or("none");
        return Err(file.damaged(format!(
            "its tensors are of no model that is read from one file (the first is {first}); expected FLUX.1, Stable \
             Diffusion 3.5, AuraFlow, HiDream-I1, OmniGen2 or F-Lite, an autoencoder, CLIP, T5 or Llama"
        )));
    }
    Ok(found)
}

/// Whether a transformer of FLUX sees a picture and a mask beside the latents.
fn is_fill(file: &Container, prefix: &str) -> bool {
    let side = |name: &str, dimension: usize| file.get(&format!("{prefix}{name}"))?.shape.get(dimension).copied();
    let wider = |input: Option<usize>, output: Option<usize>| input.zip(output).is_some_and(|(i, o)| i > o);
    wider(side("img_in.weight", 1), side("final_layer.linear.weight", 0))
        || wider(side("x_embedder.weight", 1), side("proj_out.weight", 0))
}

impl PartFile {
    fn new(path: PathBuf, found: Found, class: &str, component: &str) -> Self {
        // FLUX takes the state as it is; what stands there in bundles is identity or garbage
        let is_plain = is_same_family(class, flux::FAMILY.class) && component == "text_encoder";
        Self { path, found, unused: is_plain.then_some("text_projection.weight") }
    }

    /// Opens the file: names and shapes are known then, and no number has been read.
    ///
    /// # Errors
    /// What [`Container::open`] says, and scales or fused tensors that are not what they should be.
    pub(crate) fn open(&self) -> Result<Part> {
        self.part(Container::open(&self.path)?)
    }

    fn part(&self, file: Container) -> Result<Part> {
        let Found { prefix, naming, .. } = &self.found;
        let is_unused = |name: &str| Some(name) == self.unused || naming.is_unused(name);
        Part::new(file, prefix, is_unused, |theirs| naming.pieces(prefix, theirs))
    }
}

impl Naming {
    /// Tensors by the names that models ask for.
    fn pieces(
        self,
        prefix: &str,
        theirs: &BTreeMap<&str, &[usize]>,
    ) -> std::result::Result<BTreeMap<String, Piece>, String> {
        let piece = |name: &str, order: Order| Piece { stored: format!("{prefix}{name}"), rows: None, order };
        let renamed = |rule: &dyn Fn(&str) -> Option<String>| {
            let one = |name: &&str| (rule(name).unwrap_or_else(|| (*name).to_owned()), piece(name, Order::Same));
            theirs.keys().map(one).collect()
        };
        Ok(match self {
            Self::Publisher(names) => return names.pieces(prefix, theirs),
            Self::Same => renamed(&|_| None),
            Self::Autoencoder => {
                let levels = autoencoder::levels(theirs.keys().copied());
                renamed(&|name| autoencoder::renamed(name, levels))
            }
            Self::T5Cpp => renamed(&llamacpp::t5),
            Self::LlamaCpp(width) => {
                let mut pieces = BTreeMap::new();
                for (name, shape) in theirs {
                    let rows = shape.first().copied().unwrap_or(0);
                    let order = llamacpp::order(name, rows, width)?;
                    pieces.insert(llamacpp::llama(name).unwrap_or_else(|| (*name).to_owned()), piece(name, order));
                }
                pieces
            }
        })
    }

    /// Whether files of this kind hold a tensor that no encoder reads.
    fn is_unused(self, name: &str) -> bool {
        match self {
            // decoders of whole T5 models
            Self::T5Cpp => name.starts_with("dec.") || name == "output.weight",
            // said by the configuration too
            Self::LlamaCpp(_) => name == "rope_freqs.weight",
            Self::Same | Self::Publisher(_) | Self::Autoencoder => false,
        }
    }
}
