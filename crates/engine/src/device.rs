//! Devices by name.

use candle_core::Device;
use candle_core::utils::{cuda_is_available, metal_is_available};

use crate::error::{Error, Result};

/// The kinds of devices that this build can compute on, as [`device`] names them.
pub fn devices() -> Vec<&'static str> {
    let known = [("cpu", true), ("cuda:0", cuda_is_available()), ("metal", metal_is_available())];
    known.into_iter().filter(|(_, built)| *built).map(|(name, _)| name).collect()
}

/// A device by its name in configurations: one of [`devices`], with the number of the card behind the colon.
///
/// # Errors
/// [`Error::Parameter`] for a name that means nothing, or a device that this build does not reach.
pub fn device(name: &str) -> Result<Device> {
    let refuse = |problem: String| Error::Parameter { name: "device", problem };
    let built = || devices().join(" or ");
    match name.split_once(':').unwrap_or((name, "0")) {
        ("cpu", "0") => Ok(Device::Cpu),
        (kind @ ("cuda" | "metal"), _) if !devices().iter().any(|built| built.starts_with(kind)) => {
            Err(refuse(format!("'{name}' is not in this build of Scumble, which computes on: {}", built())))
        }
        (kind @ ("cuda" | "metal"), index) => {
            let index = index.parse().map_err(|_| refuse(format!("'{name}' has no device number")))?;
            let device = if kind == "cuda" { Device::new_cuda(index) } else { Device::new_metal(index) };
            device.map_err(|e| refuse(format!("'{name}' cannot be used: {e}")))
        }
        _ => Err(refuse(format!("'{name}' is unknown; this build computes on: {}", built()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_on_offer_is_known_and_no_other() {
        assert!(devices().contains(&"cpu") && device("cpu").is_ok());
        for name in ["cuda:0", "metal"].into_iter().filter(|name| !devices().contains(name)) {
            let said = device(name).expect_err("not in this build").to_string();
            assert!(said.contains(name) && said.contains("not in this build") && said.contains("cpu"), "{said}");
        }
        assert!(device("tpu").expect_err("no device").to_string().contains("unknown"));
    }
}
