//! A transformer as a GGUF file: under its publisher's names, its matrices in blocks, as other programs read it too.

use std::collections::BTreeMap;
use std::io::{self, Write};

use candle_core::{DType, Device};

use super::names::Names;
use super::{auraflow, checked, flux, hidream, sd35};
use crate::error::{Error, Result};
use crate::observer::Reading;
use crate::stages::DIFFUSERS;
use crate::weights::{Checkpoint, Encoding, GgufEntry, Precision, Source, Weights, Written, gguf_head, gguf_padding};

const TRANSFORMER: &str = "transformer";
/// Tensors of at most so many numbers are no matrices.
const SMALL: usize = 1024;

/// What matrices become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Eight bits and a half for each number.
    Q8_0,
    /// Four bits and a half; five and a half where rows are no multiple of 256.
    Q4K,
}

/// How a family's transformer is written.
struct Shape {
    class: &'static str,
    /// `general.architecture`.
    architecture: &'static str,
    /// Its publisher's names; nothing where these are diffusers'.
    names: Option<&'static Names>,
    /// How the names of first and last layers begin, which stay as they are.
    kept: &'static [&'static str],
    /// What names contain whose numbers must be whole.
    wide: &'static [&'static str],
    /// Asks for every tensor of the transformer.
    load: fn(&Checkpoint, &Weights) -> Result<()>,
}

const SHAPES: &[Shape] = &[
    Shape {
        class: flux::FAMILY.class,
        architecture: "flux",
        names: Some(&flux::NAMES),
        kept: FLUX_KEPT,
        wide: &[],
        load: load_flux,
    },
    Shape {
        class: flux::FILL.class,
        architecture: "flux",
        names: Some(&flux::NAMES),
        kept: FLUX_KEPT,
        wide: &[],
        load: load_flux,
    },
    Shape {
        class: sd35::FAMILY.class,
        architecture: "sd3",
        names: Some(&sd35::NAMES),
        kept: &["final_layer.", "context_embedder.", "t_embedder.", "x_embedder.", "y_embedder.", "pos_embed"],
        wide: &[],
        load: |checkpoint, weights| {
            let config = sd35::Sd35Config::read(&checkpoint.config("transformer/config.json")?)?;
            sd35::Sd35Transformer::load(&config, weights).map(drop)
        },
    },
    Shape {
        class: auraflow::FAMILY.class,
        architecture: "aura",
        names: Some(&auraflow::NAMES),
        kept: &[
            "t_embedder.",
            "init_x_linear.",
            "modF.1.",
            "cond_seq_linear.",
            "final_linear.",
            "positional_encoding",
            "register_tokens",
        ],
        wide: &[],
        load: |checkpoint, weights| {
            let config = auraflow::AuraConfig::read(&checkpoint.config("transformer/config.json")?)?;
            auraflow::AuraTransformer::load(&config, weights).map(drop)
        },
    },
    Shape {
        class: hidream::FAMILY.class,
        architecture: "hidream",
        names: None,
        kept: &["x_embedder.", "t_embedder.", "p_embedder.", "final_layer.", "caption_projection."],
        wide: &[".ff_i.gate.weight", "img_emb.emb_pos"],
        load: |checkpoint, weights| {
            let config = hidream::HiDreamConfig::read(&checkpoint.config("transformer/config.json")?)?;
            hidream::HiDreamTransformer::load(&config, weights).map(drop)
        },
    },
];

const FLUX_KEPT: &[&str] = &["img_in.", "txt_in.", "time_in.", "vector_in.", "guidance_in.", "final_layer."];

fn load_flux(checkpoint: &Checkpoint, weights: &Weights) -> Result<()> {
    let config = flux::FluxConfig::read(&checkpoint.config("transformer/config.json")?)?;
    flux::FluxTransformer::load(&config, weights).map(drop)
}

/// A transformer that is to be written: names, shapes and types are known, and no number has been read.
pub struct Quantised {
    weights: Weights,
    architecture: &'static str,
    target: Target,
    tensors: Vec<Tensor>,
    /// Whether numbers were rounded to blocks before.
    is_twice: bool,
}

/// A tensor of the file.
struct Tensor {
    name: String,
    shape: Vec<usize>,
    written: Written,
    /// Names and shapes of what it is made of, in the order of its rows.
    parts: Vec<(String, Vec<usize>)>,
    /// Whether its halves are in the other order in the file.
    swapped: bool,
}

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Unwritten {
    /// What is read, or whoever asked to stop.
    #[error(transparent)]
    Read(#[from] Error),
    /// Where it is written to.
    #[error(transparent)]
    Write(#[from] io::Error),
}

impl Quantised {
    /// Finds the transformer of a checkpoint, of this class where one is named, and makes sure that all of it is there. What
    /// else the checkpoint holds or lacks does not count.
    ///
    /// # Errors
    /// Everything that can be wrong with a transformer; [`Error::Unsupported`] for a class whose names in such files nobody
    /// knows.
    pub fn plan(class: Option<&str>, source: Source, target: Target) -> Result<Self> {
        let checkpoint = checked(Checkpoint::open(source)?, class)?;
        let shape = SHAPES.iter().find(|shape| shape.class == checkpoint.class()).ok_or_else(|| {
            let known: Vec<&str> = SHAPES.iter().map(|shape| shape.class).collect();
            Error::Unsupported {
                path: checkpoint.path("model_index.json"),
                key: "a GGUF file of _class_name".into(),
                value: checkpoint.class().into(),
                supported: known.join(", "),
            }
        })?;
        let precision = Precision { device: Device::Cpu, dtype: Some(DType::F32) };
        let weights = checkpoint.weights(TRANSFORMER, DIFFUSERS, &precision)?;
        (shape.load)(&checkpoint, &weights.check_only())?;
        weights.finish(|_| false)?;
        let ours = weights.asked();
        let stored = |name: &str| weights.stored_as(name);
        let is_twice = ours.keys().any(|name| matches!(stored(name), Some(Encoding::Blocks(_))));
        let tensors = shape.tensors(&ours, &stored, target);
        let named: usize = tensors.iter().map(|tensor| tensor.parts.len()).sum();
        if named != ours.len() {
            let has = |name: &&String| tensors.iter().any(|t| t.parts.iter().any(|(part, _)| part == *name));
            let first = ours.keys().find(|name| !has(name)).map_or("", String::as_str);
            let reason = format!("tensor {first} has no name in its publisher's files");
            return Err(Error::Damaged { path: weights.listing(), reason });
        }
        Ok(Self { weights, architecture: shape.architecture, target, tensors, is_twice })
    }

    /// How long the file will be.
    pub fn bytes(&self) -> u64 {
        let each = |entry: &GgufEntry<'_>| entry.length() as u64 + gguf_padding(entry.length() as u64) as u64;
        self.head().len() as u64 + self.entries().iter().map(each).sum::<u64>()
    }

    /// Whether the numbers come from blocks already, and lose a second time.
    pub fn is_twice(&self) -> bool {
        self.is_twice
    }

    /// Writes the file, one tensor in memory at a time. `heard` is told of every byte that was written, and may stop it.
    ///
    /// # Errors
    /// [`Unwritten`]; what was written so far is of no use then.
    pub fn write(&self, out: &mut dyn Write, heard: &dyn Reading) -> std::result::Result<(), Unwritten> {
        let head = self.head();
        out.write_all(&head)?;
        heard.read(head.len() as u64).check()?;
        for tensor in &self.tensors {
            let mut length = 0;
            for (name, shape) in &tensor.parts {
                let bytes = self.encoded(tensor, name, shape)?;
                out.write_all(&bytes)?;
                heard.read(bytes.len() as u64).check()?;
                length += bytes.len() as u64;
            }
            let padding = gguf_padding(length);
            out.write_all(&vec![0; padding])?;
            heard.read(padding as u64).check()?;
        }
        Ok(())
    }

    /// The bytes of some rows.
    fn encoded(&self, tensor: &Tensor, name: &str, shape: &[usize]) -> Result<Vec<u8>> {
        let read = self.weights.get_as(shape, name, Some(DType::F32))?;
        let mut numbers = read.flatten_all()?.to_vec1::<f32>()?;
        drop(read);
        if tensor.swapped {
            let half = numbers.len() / 2;
            numbers.rotate_left(half);
        }
        tensor.written.encode(&numbers).ok_or_else(|| Error::Damaged {
            path: self.weights.listing(),
            reason: format!("tensor {name} holds numbers that are not finite, or too large for {:?}", tensor.written),
        })
    }

    fn entries(&self) -> Vec<GgufEntry<'_>> {
        self.tensors.iter().map(|t| GgufEntry { name: &t.name, shape: &t.shape, written: t.written }).collect()
    }

    fn head(&self) -> Vec<u8> {
        // as llama.cpp numbers files that are mostly of one type
        let file_type = match self.target {
            Target::Q8_0 => 7,
            Target::Q4K => 14,
        };
        gguf_head(self.architecture, file_type, &self.entries())
    }
}

impl Shape {
    /// The tensors of the file behind those of diffusers.
    fn tensors(
        &self,
        ours: &BTreeMap<String, Vec<usize>>,
        stored: &dyn Fn(&str) -> Option<Encoding>,
        target: Target,
    ) -> Vec<Tensor> {
        let written =
            |name: &str, shape: &[usize], first: &str| self.written(name, shape, stored(first).as_ref(), target);
        let Some(names) = self.names else {
            let same = |(name, shape): (&String, &Vec<usize>)| Tensor {
                name: name.clone(),
                shape: shape.clone(),
                written: written(name, shape, name),
                parts: vec![(name.clone(), shape.clone())],
                swapped: false,
            };
            return ours.iter().map(same).collect();
        };
        let tensor = |(name, original): (String, super::names::Original)| {
            let parts =
                original.parts.iter().filter_map(|part| Some((part.name.clone(), ours.get(&part.name)?.clone())));
            Tensor {
                written: written(&name, &original.shape, &original.parts[0].name),
                parts: parts.collect(),
                swapped: original.swapped,
                shape: original.shape,
                name,
            }
        };
        names.originals(ours).into_iter().map(tensor).collect()
    }

    /// The type of a tensor: matrices in blocks, as far as their rows are whole ones; first and last layers as they are; what
    /// is small in float32, or in the float16 that it comes in.
    fn written(&self, name: &str, shape: &[usize], stored: Option<&Encoding>, target: Target) -> Written {
        let as_stored = match stored {
            Some(Encoding::Plain(DType::BF16)) => Written::BF16,
            Some(Encoding::Plain(DType::F16)) => Written::F16,
            _ => Written::F32,
        };
        if self.wide.iter().any(|part| name.contains(part)) {
            return Written::F32;
        }
        if shape.len() < 2 || shape.iter().product::<usize>() <= SMALL {
            return if as_stored == Written::F16 { Written::F16 } else { Written::F32 };
        }
        if shape.len() > 2 || self.kept.iter().any(|start| name.starts_with(start)) {
            return as_stored;
        }
        let kinds: &[Written] = match target {
            Target::Q8_0 => &[Written::Q8_0],
            Target::Q4K => &[Written::Q4K, Written::Q5_0],
        };
        let columns = shape[1];
        kinds.iter().copied().find(|kind| kind.fits(columns)).unwrap_or(as_stored)
    }
}
