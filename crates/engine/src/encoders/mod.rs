//! Encoders of texts and pictures, shared by the families that use them.

mod block;
mod class_tower;
mod clip;
mod llama;
mod preprocess;
mod siglip;
mod t5;

pub use block::EncoderActivation;
pub use class_tower::{ClassTower, ClassTowerConfig, Make};
pub use clip::{ClipConfig, ClipOutput, ClipText};
pub use llama::{Llama, LlamaConfig, RopeScaling};
pub use preprocess::Preprocess;
pub use siglip::{SiglipConfig, SiglipVision};
pub use t5::{T5Config, T5Encoder};
