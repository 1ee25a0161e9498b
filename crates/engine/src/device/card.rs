//! NVIDIA cards: what is here, and the one handle to each.
//!
//! Every card has one handle and one stream, which all jobs on it share: two handles to one card would be two devices that
//! cannot use each other's tensors, and work of one stream is done in the order in which it was given, whichever threads give it.
//!
//! Compiled, not run on hardware.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use candle_core::Device;
use candle_core::cuda_backend::cudarc::driver::{CudaContext, DriverError, result, sys};
use candle_core::cuda_backend::{CudaError, cudarc};

use super::{Card, Memory};
use crate::nn::tried;

/// The compute capability from which our kernels, and bfloat16, are there: Ampere, 2020.
const OLDEST: (i32, i32) = (8, 0);

/// A card that was opened.
struct Open {
    device: Device,
    /// Why plain forms run there.
    plain: Option<String>,
}

static OPEN: Mutex<BTreeMap<usize, Open>> = Mutex::new(BTreeMap::new());

/// The cards of this machine, in the driver's order.
///
/// # Errors
/// What is missing, for people.
pub(super) fn look() -> Result<Vec<Card>, String> {
    guarded(|| {
        libraries()?;
        driver()?;
        (0..count()?).map(card).collect()
    })
}

/// The handle to a card; every call gets the same one.
///
/// # Errors
/// What is missing, for people.
pub(super) fn open(index: usize) -> Result<Device, String> {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(Open { device, .. }) = open.get(&index) {
        return Ok(device.clone());
    }
    let (device, plain) = guarded(|| {
        let device = opened(index)?;
        let plain = tried(&device).err();
        Ok((device, plain))
    })?;
    open.insert(index, Open { device: device.clone(), plain });
    Ok(device)
}

/// A new handle.
fn opened(index: usize) -> Result<Device, String> {
    libraries()?;
    driver()?;
    let count = count()?;
    if index >= count {
        let known = (0..count).map(|index| format!("cuda:{index}")).collect::<Vec<_>>().join(", ");
        return Err(format!("there is no such card; there are: {known}"));
    }
    let Card { name, capability, .. } = card(index)?;
    if capability < OLDEST {
        let ((major, minor), (least, _)) = (capability, OLDEST);
        return Err(format!("{name} has compute capability {major}.{minor}; cards from {least}.0 on are supported"));
    }
    let device = Device::new_cuda_with_stream(index).map_err(|e| e.to_string())?;
    prepare(&device).map_err(|e| e.to_string())?;
    Ok(device)
}

/// Why plain forms run on a card in place of our kernels, where they do.
pub(super) fn runs_plain(device: &Device) -> Option<String> {
    let Device::Cuda(device) = device else { return None };
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.get(&device.cuda_stream().context().ordinal())?.plain.clone()
}

/// What a card has in all, and what of it nobody uses; nothing for a device that is no card, or does not say.
pub(super) fn memory(device: &Device) -> Option<Memory> {
    let Device::Cuda(device) = device else { return None };
    let (free, total) = device.cuda_stream().context().mem_get_info().ok()?;
    Some(Memory { free: free as u64, total: total as u64 })
}

/// Gives memory that was freed back to the card, for others.
pub(super) fn trim(device: &Device) {
    let Device::Cuda(device) = device else { return };
    let stream = device.cuda_stream();
    // what the stream still frees is not free before that; a card that cannot do this now will say so to the next who asks
    // it for something
    let _ = stream.synchronize().and_then(|()| {
        let context = stream.context();
        context.bind_to_thread()?;
        #[expect(unsafe_code, reason = "the driver's interface")]
        // SAFETY: the device is open, and its pool lives as long as the process.
        unsafe {
            result::mem_pool::trim_to(result::device::get_default_mem_pool(context.cu_device())?, 0)
        }
    });
}

/// Whether an error says that a card's memory did not suffice.
pub(super) fn is_out_of_memory(error: &candle_core::Error) -> bool {
    use candle_core::Error;
    match error {
        Error::WithBacktrace { inner, .. } | Error::WithPath { inner, .. } | Error::Context { inner, .. } => {
            is_out_of_memory(inner)
        }
        Error::Cuda(inner) => match inner.downcast_ref::<CudaError>() {
            Some(CudaError::Cuda(error) | CudaError::Load { cuda: error, .. }) => {
                error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY
            }
            // workspace that a product could not get
            Some(CudaError::Cublas(error)) => {
                error.0 == cudarc::cublas::sys::cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED
            }
            _ => false,
        },
        _ => false,
    }
}

/// One stream uses the memory of a card, so nobody needs to be told when another is done with it; and freed memory stays with
/// the process, where it would go back to the card at every synchronisation.
fn prepare(device: &Device) -> Result<(), DriverError> {
    let Device::Cuda(device) = device else { return Ok(()) };
    let stream = device.cuda_stream();
    let context = stream.context();
    context.bind_to_thread()?;
    let mut all = u64::MAX;
    #[expect(unsafe_code, reason = "the driver's interface")]
    // SAFETY: nothing was allocated yet, and all that will be is used by this stream alone. The device is open, and the attribute
    // is a number of 64 bits.
    unsafe {
        device.disable_event_tracking();
        let pool = result::device::get_default_mem_pool(context.cu_device())?;
        let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        result::mem_pool::set_attribute(pool, threshold, (&raw mut all).cast())
    }
}

/// What our kernels need of the driver: they are written for CUDA 13.0.
const CUDA: i32 = 13_000;

/// Whether the driver is new enough.
fn driver() -> Result<(), String> {
    let mut version = 0;
    #[expect(unsafe_code, reason = "the driver's interface")]
    // SAFETY: it writes a number.
    let asked = unsafe { sys::cuDriverGetVersion(&raw mut version) }.result();
    asked.map_err(|error| said("the driver does not answer", error))?;
    let words = |version: i32| format!("{}.{}", version / 1000, version % 1000 / 10);
    match version < CUDA {
        true => Err(format!(
            "the driver is one for CUDA {}, and {} is needed: update it to release 580 or later",
            words(version),
            words(CUDA)
        )),
        false => Ok(()),
    }
}

/// A function that a library lacks is told by a panic of the crate that loads it.
fn guarded<T>(ask: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let gone = |_| Err("a library of CUDA lacks something that is needed; update the driver and CUDA".to_owned());
    catch_unwind(AssertUnwindSafe(ask)).unwrap_or_else(gone)
}

fn count() -> Result<usize, String> {
    match CudaContext::device_count() {
        Ok(count) if count > 0 => Ok(count as usize),
        Ok(_) => Err("the driver finds no card".into()),
        Err(error) => Err(said("the driver does not start", error)),
    }
}

fn card(index: usize) -> Result<Card, String> {
    let ask = || -> Result<Card, DriverError> {
        let context = CudaContext::new(index)?;
        let (free, total) = context.mem_get_info()?;
        let memory = Memory { free: free as u64, total: total as u64 };
        Ok(Card { name: context.name()?, capability: context.compute_capability()?, memory })
    };
    ask().map_err(|error| said(&format!("cuda:{index} cannot be asked"), error))
}

/// A driver's error in a sentence.
fn said(what: &str, DriverError(code): DriverError) -> String {
    format!("{what} ({code:?})")
}

/// Looks for the libraries before their first use: where one is missing, that would end the process.
fn libraries() -> Result<(), String> {
    let needed = [("cuda", "NVIDIA's driver"), ("cublas", "CUDA's libraries"), ("curand", "CUDA's libraries")];
    let missing = needed.into_iter().find(|(name, _)| !is_found(name));
    missing.map_or(Ok(()), |(name, from)| Err(format!("lib{name} is not found; it comes with {from}")))
}

/// Whether the loader finds a library under one of the names that it will be looked for. The driver's is of version 1, CUDA's
/// have numbers of their own, which hang on the toolkit that a release is built with (`scripts/build-cuda`).
fn is_found(name: &str) -> bool {
    let opens = |version: &str| {
        let file = libloading::library_filename(name);
        let file = format!("{}{version}", file.display());
        #[expect(unsafe_code, reason = "opening a library runs what it does at its start")]
        // SAFETY: these are NVIDIA's, which do nothing there that would matter to us.
        unsafe {
            libloading::Library::new(file).is_ok()
        }
    };
    ["", ".13", ".10", ".1"].into_iter().any(opens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_that_memory_did_not_suffice_is_known() {
        let of = |code| candle_core::Error::Cuda(Box::new(CudaError::Cuda(DriverError(code))));
        assert!(is_out_of_memory(&of(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)));
        assert!(is_out_of_memory(&of(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY).bt()));
        assert!(!is_out_of_memory(&of(sys::CUresult::CUDA_ERROR_ILLEGAL_ADDRESS)));
        assert!(!is_out_of_memory(&candle_core::Error::Msg("out of memory".into())));
    }
}
