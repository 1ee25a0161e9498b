//! Weights from a mapped file to a card.
//!
//! The driver copies straight from memory that it knows to stay where it is; from other memory it copies twice, and the caller
//! waits. So bytes go through two buffers of such memory: while one is on its way, the other is filled by all threads, which
//! also read the file from the disk meanwhile.
//!
//! Compiled, not run on hardware.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::{CudaEvent, CudaStream, DeviceRepr, PinnedHostSlice};
use candle_core::cuda_backend::{CudaDType, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, DType, Device, Result, Shape, Storage, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;

/// Bytes of a buffer.
const BUFFER: usize = 32 << 20;
/// Bytes that a thread copies at a time.
const PIECE: usize = 1 << 20;

/// A tensor on a card, from its bytes in a file.
pub(super) fn upload(bytes: &[u8], dtype: DType, shape: &Shape, device: &CudaDevice) -> Result<Tensor> {
    match dtype {
        DType::BF16 => upload_as::<bf16>(bytes, shape, device),
        DType::F16 => upload_as::<f16>(bytes, shape, device),
        DType::F32 => upload_as::<f32>(bytes, shape, device),
        _ => Tensor::from_raw_buffer(bytes, dtype, shape.dims(), &Device::Cuda(device.clone())),
    }
}

fn upload_as<T: CudaDType + DeviceRepr>(bytes: &[u8], shape: &Shape, device: &CudaDevice) -> Result<Tensor> {
    let count = shape.elem_count();
    if bytes.len() != count * size_of::<T>() {
        candle_core::bail!("{} bytes do not make a tensor of {shape:?}", bytes.len())
    }
    #[expect(unsafe_code, reason = "memory of a card is not cleared before it is written")]
    // SAFETY: all of it is written below, by the stream that whoever reads it uses.
    let mut numbers = unsafe { device.alloc::<T>(count.max(1)) }?;
    if count > 0 {
        let mut all = numbers.slice_mut(..);
        #[expect(unsafe_code, reason = "the file has the numbers as bytes")]
        // SAFETY: any bytes are numbers of these types, and there are as many.
        let to = unsafe { all.transmute_mut::<u8>(bytes.len()) };
        let Some(mut to) = to else { candle_core::bail!("{} bytes do not fit", bytes.len()) };
        let stream = device.cuda_stream();
        let mut open = STAGES.lock().unwrap_or_else(PoisonError::into_inner);
        let stage = match open.entry(stream.context().ordinal()) {
            std::collections::btree_map::Entry::Occupied(stage) => stage.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => place.insert(Stage::new(&stream)?),
        };
        for (i, piece) in bytes.chunks(BUFFER).enumerate() {
            let at = i * BUFFER;
            let buffer = stage.next()?;
            buffer.fill(piece)?;
            stream.memcpy_htod(buffer.filled(piece.len())?, &mut to.slice_mut(at..at + piece.len())).w()?;
            buffer.sent = Some(stream.record_event(None).w()?);
        }
    }
    let storage = Storage::Cuda(CudaStorage::wrap_cuda_slice(numbers, device.clone()));
    Ok(Tensor::from_storage(storage, shape, BackpropOp::none(), false))
}

/// The buffers of each card, by its number. They are kept: making one takes longer than filling it.
static STAGES: Mutex<BTreeMap<usize, Stage>> = Mutex::new(BTreeMap::new());

/// Two buffers, used in turn.
struct Stage {
    buffers: [Buffer; 2],
    turn: usize,
}

struct Buffer {
    memory: PinnedHostSlice<u8>,
    /// Told when what was in it last has been copied.
    sent: Option<CudaEvent>,
}

impl Stage {
    fn new(stream: &CudaStream) -> Result<Self> {
        let buffer = || -> Result<Buffer> {
            #[expect(unsafe_code, reason = "memory that is not cleared")]
            // SAFETY: bytes may be anything, and are written before they are read.
            let memory = unsafe { stream.context().alloc_pinned::<u8>(BUFFER) }.w()?;
            Ok(Buffer { memory, sent: None })
        };
        Ok(Self { buffers: [buffer()?, buffer()?], turn: 0 })
    }

    /// A buffer that may be written.
    fn next(&mut self) -> Result<&mut Buffer> {
        self.turn = (self.turn + 1) % self.buffers.len();
        let buffer = &mut self.buffers[self.turn];
        if let Some(sent) = buffer.sent.take() {
            sent.synchronize().w()?;
        }
        Ok(buffer)
    }
}

impl Buffer {
    fn fill(&mut self, from: &[u8]) -> Result<()> {
        let to = &mut self.memory.as_mut_slice().w()?[..from.len()];
        to.par_chunks_mut(PIECE).zip(from.par_chunks(PIECE)).for_each(|(to, from)| to.copy_from_slice(from));
        Ok(())
    }

    fn filled(&self, count: usize) -> Result<&[u8]> {
        Ok(&self.memory.as_slice().w()?[..count])
    }
}
