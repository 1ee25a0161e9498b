//! The number types that tensors come in.

use half::{bf16, f16};

/// A float that kernels read and write; they compute in float32.
pub trait Element: Copy + Default + Send + Sync + 'static {
    /// Widens, exactly.
    fn to_f32(self) -> f32;
    /// Rounds to nearest, ties to even.
    fn from_f32(value: f32) -> Self;

    /// Widens a run of values.
    fn load(source: &[Self], target: &mut [f32]) {
        for (t, s) in target.iter_mut().zip(source) {
            *t = s.to_f32();
        }
    }

    /// Rounds a run of values.
    fn store(source: &[f32], target: &mut [Self]) {
        for (t, s) in target.iter_mut().zip(source) {
            *t = Self::from_f32(*s);
        }
    }
}

impl Element for f32 {
    fn to_f32(self) -> f32 {
        self
    }
    fn from_f32(value: f32) -> Self {
        value
    }
    fn load(source: &[Self], target: &mut [f32]) {
        target.copy_from_slice(source);
    }
    fn store(source: &[f32], target: &mut [Self]) {
        target.copy_from_slice(source);
    }
}

impl Element for bf16 {
    fn to_f32(self) -> f32 {
        bf16::to_f32(self)
    }
    fn from_f32(value: f32) -> Self {
        bf16::from_f32(value)
    }
}

impl Element for f16 {
    fn to_f32(self) -> f32 {
        f16::to_f32(self)
    }
    fn from_f32(value: f32) -> Self {
        f16::from_f32(value)
    }
}
