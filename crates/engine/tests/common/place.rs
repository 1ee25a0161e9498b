//! Where tests of numbers compute, which `scripts/gpu-check` says.

use scumble_engine::weights::Precision;
use scumble_engine::{DType, device};

/// On the device that `SCUMBLE_TEST_DEVICE` names, in the type of `SCUMBLE_TEST_DTYPE`: the CPU and float32 if they are not set.
pub(crate) fn precision() -> Precision {
    let named = |name: &str, usual: &str| std::env::var(name).unwrap_or_else(|_| usual.to_owned());
    let dtype = match named("SCUMBLE_TEST_DTYPE", "float32").as_str() {
        "float32" => DType::F32,
        "bfloat16" => DType::BF16,
        other => panic!("SCUMBLE_TEST_DTYPE is float32 or bfloat16, not {other}"),
    };
    let device = device(&named("SCUMBLE_TEST_DEVICE", "cpu")).expect("the device of SCUMBLE_TEST_DEVICE");
    Precision { device, dtype: Some(dtype) }
}

/// By how much more than on a CPU a tensor may be off: sums there have another order, and products of float32 do not keep all
/// their bits in every library.
pub(crate) fn slack(precision: &Precision) -> f64 {
    if precision.device.is_cpu() { 1.0 } else { 20.0 }
}
