//! Devices by name.

use candle_core::Device;

use crate::error::{Error, Result};

/// A device by its name in configurations: `cpu`, `cuda:0`, `metal`.
///
/// # Errors
/// [`Error::Parameter`] for a name that means nothing, or a device that this build does not reach.
pub fn device(name: &str) -> Result<Device> {
    let refuse = |problem: String| Error::Parameter { name: "device", problem };
    match name.split_once(':').unwrap_or((name, "0")) {
        ("cpu", "0") => Ok(Device::Cpu),
        (kind @ ("cuda" | "metal"), index) => {
            let index = index.parse().map_err(|_| refuse(format!("'{name}' has no device number")))?;
            let device = if kind == "cuda" { Device::new_cuda(index) } else { Device::new_metal(index) };
            device.map_err(|e| refuse(format!("'{name}' cannot be used: {e}")))
        }
        _ => Err(refuse(format!("'{name}' is unknown; use cpu, cuda:0 or metal"))),
    }
}
