//! Stands for `card` where this build has no CUDA.

use candle_core::Device;

use super::{Card, Memory};

pub(super) fn look() -> Result<Vec<Card>, String> {
    Err("this build of Scumble has no CUDA".into())
}

pub(super) fn open(_: usize) -> Result<Device, String> {
    Err("this build of Scumble has no CUDA".into())
}

pub(super) fn memory(_: &Device) -> Option<Memory> {
    None
}

pub(super) fn trim(_: &Device) {}

pub(super) fn is_out_of_memory(_: &candle_core::Error) -> bool {
    false
}

pub(super) fn runs_plain(_: &Device) -> Option<String> {
    None
}
