//! What every pipeline does: load its components, write down what the text became, walk down the schedule, decode.

mod canvas;
mod decode;
mod denoise;
mod encode;
mod guidance;
mod load;
mod picture;
mod reuse;
mod texts;
mod working;

pub(crate) use canvas::{Canvas, crop_positions, pack, patch, unpack, unpatch};
pub(crate) use decode::{decode, decode_to, preview};
pub(crate) use denoise::{begin, blocks, predicted, trace_input, walk};
pub(crate) use encode::{ids_tensor, one_batch, prompts, repeated, trace_texts};
pub(crate) use guidance::{doubled, guided, guided_halves, projected_halves};
pub(crate) use load::{DIFFUSERS, Held, TRANSFORMERS, instead_of_half, load, load_held, load_vae};
pub(crate) use picture::{fitted, noised, sampled};
pub(crate) use reuse::FirstBlock;
pub(crate) use texts::{Bytes, Texts};
pub(crate) use working::working;
