//! Devices by name, and what is known of them.

#[cfg(feature = "cuda")]
mod card;
#[cfg(not(feature = "cuda"))]
#[path = "no_card.rs"]
mod card;
#[cfg(feature = "cuda")]
mod upload;

use candle_core::utils::{cuda_is_available, metal_is_available};
use candle_core::{DType, Device, Shape, Tensor};

use crate::error::{Error, Result};

/// A graphics card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// As its maker names it.
    pub name: String,
    /// Its compute capability, major and minor.
    pub capability: (i32, i32),
    /// What it has.
    pub memory: Memory,
}

/// A device's memory of its own, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What nobody uses now, this process or another.
    pub free: u64,
    /// All of it.
    pub total: u64,
}

/// The kinds of devices that this build can compute on, as [`device`] names them.
pub fn devices() -> Vec<&'static str> {
    let known = [("cpu", true), ("cuda:0", cuda_is_available()), ("metal", metal_is_available())];
    known.into_iter().filter(|(_, built)| *built).map(|(name, _)| name).collect()
}

/// A device by its name in configurations: one of [`devices`], with the number of the card behind the colon. A card has one
/// handle: every call gets the same.
///
/// # Errors
/// [`Error::Parameter`] for a name that means nothing, a device that this build does not reach, or one that is not here.
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
            let opened = match kind {
                "cuda" => card::open(index),
                _ => Device::new_metal(index).map_err(|e| e.to_string()),
            };
            opened.map_err(|problem| refuse(format!("'{name}' cannot be used: {problem}")))
        }
        _ => Err(refuse(format!("'{name}' is unknown; this build computes on: {}", built()))),
    }
}

/// NVIDIA's cards of this machine, in the driver's order, which `cuda:0` and so on count.
///
/// # Errors
/// What is missing, as a sentence without its end: CUDA in this build, a driver, a library, a card.
pub fn cards() -> std::result::Result<Vec<Card>, String> {
    card::look()
}

/// A device's own memory; nothing for a CPU, or where nobody can say.
pub fn memory(device: &Device) -> Option<Memory> {
    card::memory(device)
}

/// Why our kernels are not used on a device that has some, where they are not: they were tried when it was opened, and one was
/// wrong. Pictures take longer there, and are right.
pub fn runs_plain(device: &Device) -> Option<String> {
    card::runs_plain(device)
}

/// Gives memory that this process has freed back to the device, for the process's next and for others.
pub fn give_back(device: &Device) {
    card::trim(device);
}

/// A tensor on a device, from its bytes in a file, the low ones first.
pub(crate) fn upload(bytes: &[u8], dtype: DType, shape: &Shape, device: &Device) -> candle_core::Result<Tensor> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(card) => upload::upload(bytes, dtype, shape, card),
        _ => Tensor::from_raw_buffer(bytes, dtype, shape.dims(), &Device::Cpu)?.to_device(device),
    }
}

/// Whether an error says that a device's memory did not suffice.
pub(crate) fn is_out_of_memory(error: &candle_core::Error) -> bool {
    card::is_out_of_memory(error)
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

    #[test]
    fn a_machine_without_cards_says_what_is_missing() {
        if let Err(missing) = cards() {
            assert!(["CUDA", "driver", "lib"].iter().any(|word| missing.contains(word)), "{missing}");
        }
        assert_eq!(memory(&Device::Cpu), None);
        give_back(&Device::Cpu);
    }

    /// With CUDA in the build and no card in the machine, which is what anybody may have.
    #[cfg(feature = "cuda")]
    #[test]
    fn a_card_that_is_not_here_is_an_error_and_nothing_worse() {
        if cards().is_err() {
            let said = device("cuda:0").expect_err("no card").to_string();
            assert!(said.contains("'cuda:0' cannot be used"), "{said}");
        }
    }
}
