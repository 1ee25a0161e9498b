//! Tensors as addresses on a card, and kernels started over them.

use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaSlice, CudaStream, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::{CudaDType, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, DType, Shape, Storage, StorageRef, Tensor, bail};
use half::bf16;

use super::kernels::Kernel;

/// An argument of a kernel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arg {
    /// An address on the card; 0 for what is left out.
    Pointer(u64),
    Long(i64),
    Int(i32),
    Float(f32),
}

/// What is left out.
pub(super) const NOTHING: Arg = Arg::Pointer(0);

impl Arg {
    /// The letter that [`Kernel::takes`] has for it.
    fn letter(self) -> char {
        match self {
            Self::Pointer(_) => 'p',
            Self::Long(_) => 'l',
            Self::Int(_) => 'i',
            Self::Float(_) => 'f',
        }
    }
}

/// A length or a stride.
pub(super) fn long(x: usize) -> Arg {
    // no tensor is longer
    Arg::Long(x as i64)
}

/// A length that is never large, such as a head's width.
pub(super) fn int(x: usize) -> candle_core::Result<Arg> {
    i32::try_from(x).map(Arg::Int).map_err(|_| candle_core::Error::Msg(format!("{x} is too large for a kernel")))
}

/// Blocks, in three dimensions, and the threads of each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub(super) blocks: [usize; 3],
    pub(super) threads: u32,
}

impl Grid {
    /// Blocks side by side.
    pub(super) fn line(blocks: usize, threads: u32) -> Self {
        Self { blocks: [blocks, 1, 1], threads }
    }

    /// As the driver takes it; nothing where it would not.
    fn config(self) -> Option<LaunchConfig> {
        let [x, y, z] = self.blocks;
        let narrow = |blocks| u16::try_from(blocks).ok().map(u32::from);
        let blocks = (i32::try_from(x).ok()? as u32, narrow(y)?, narrow(z)?);
        Some(LaunchConfig { grid_dim: blocks, block_dim: (self.threads, 1, 1), shared_mem_bytes: 0 })
    }
}

/// The numbers of a tensor on a card, which stay where they are as long as this lives.
pub(super) struct Numbers<'a> {
    storage: StorageRef<'a>,
    first: usize,
}

impl<'a> Numbers<'a> {
    /// From a tensor's first number on, with strides as they are.
    pub(super) fn of(x: &'a Tensor) -> Self {
        let (storage, layout) = x.storage_and_layout();
        Self { storage, first: layout.start_offset() }
    }

    /// Where they are.
    pub(super) fn at(&self) -> candle_core::Result<Arg> {
        let Storage::Cuda(storage) = &*self.storage else { bail!("kernels for cards take tensors on one") };
        match self.storage.dtype() {
            DType::BF16 => Ok(address(storage.as_cuda_slice::<bf16>()?, self.first)),
            DType::F32 => Ok(address(storage.as_cuda_slice::<f32>()?, self.first)),
            other => bail!("kernels for cards take bfloat16 and float32, not {other:?}"),
        }
    }
}

/// Where a number is, counted from the first.
fn address<T>(slice: &CudaSlice<T>, index: usize) -> Arg {
    // one stream does all work of this card in order, so nobody needs to be told that this is in use
    let (start, _) = slice.device_ptr(slice.stream());
    Arg::Pointer(start + (index * size_of::<T>()) as u64)
}

/// The address of a tensor that may be left out.
pub(super) fn maybe(x: Option<&Numbers<'_>>) -> candle_core::Result<Arg> {
    x.map_or(Ok(NOTHING), Numbers::at)
}

/// A tensor of this shape and type, on the card of `like`, that `write` fills: it gets the address, and has to see that a kernel
/// writes every number.
pub(super) fn written(
    like: &Tensor,
    dtype: DType,
    shape: impl Into<Shape>,
    write: impl FnOnce(&CudaDevice, Arg) -> candle_core::Result<()>,
) -> candle_core::Result<Tensor> {
    let (device, shape) = (like.device().as_cuda_device()?, shape.into());
    match dtype {
        DType::BF16 => written_as::<bf16>(device, shape, write),
        DType::F32 => written_as::<f32>(device, shape, write),
        other => bail!("kernels for cards give bfloat16 and float32, not {other:?}"),
    }
}

fn written_as<T: CudaDType + DeviceRepr>(
    device: &CudaDevice,
    shape: Shape,
    write: impl FnOnce(&CudaDevice, Arg) -> candle_core::Result<()>,
) -> candle_core::Result<Tensor> {
    // a card has no memory of no bytes
    #[expect(unsafe_code, reason = "memory of a card is not cleared before a kernel writes all of it")]
    // SAFETY: nobody reads it before the kernel has written it, since one stream does both; that all is written is the kernel's
    // part, which its tests see to.
    let slice = unsafe { device.alloc::<T>(shape.elem_count().max(1)) }?;
    if shape.elem_count() > 0 {
        write(device, address(&slice, 0))?;
    }
    let storage = Storage::Cuda(CudaStorage::wrap_cuda_slice(slice, device.clone()));
    Ok(Tensor::from_storage(storage, shape, BackpropOp::none(), false))
}

/// Starts a kernel. It runs after everything that was started on this card before; what goes wrong in it is told by whoever
/// waits for it next.
pub(super) fn launch(device: &CudaDevice, kernel: &Kernel, grid: Grid, args: &[Arg]) -> candle_core::Result<()> {
    let function = device.get_or_load_custom_func(kernel.name, kernel.module.name, kernel.module.ptx)?;
    start(&device.cuda_stream(), &function, (kernel.name, kernel.takes), grid, args)
}

/// The same for a function that is at hand, by its name and what it takes.
pub(super) fn start(
    stream: &CudaStream,
    function: &CudaFunction,
    (name, takes): (&str, &str),
    grid: Grid,
    args: &[Arg],
) -> candle_core::Result<()> {
    let given = || args.iter().map(|arg| arg.letter());
    if !given().eq(takes.chars()) {
        bail!("{name} takes {takes}, and got {}", given().collect::<String>())
    }
    let Some(config) = grid.config() else { bail!("{name} would need {:?} blocks", grid.blocks) };
    let mut call = stream.launch_builder(function);
    for arg in args {
        match arg {
            Arg::Pointer(x) => call.arg(x),
            Arg::Long(x) => call.arg(x),
            Arg::Int(x) => call.arg(x),
            Arg::Float(x) => call.arg(x),
        };
    }
    #[expect(unsafe_code, reason = "a kernel does with its arguments what its source says")]
    // SAFETY: number and kinds of the arguments are the kernel's, as was just looked at, and tests hold the tables against
    // sources; addresses are those of tensors that the caller holds, with sizes that it has checked.
    unsafe { call.launch(config) }.w()?;
    Ok(())
}
