//! Tensors by name and shape, with an account of which were asked for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Shape, Tensor};
use safetensors::tensor::TensorInfo;

use super::delta::Delta;
use super::encoding::Encoding;
use super::findings::Findings;
use super::matrix::{Matrix, Packed, Rounding};
use super::overlay::{Overlay, changed};
use super::part::Part;
use super::shards::Shards;
use crate::device::upload;
use crate::error::{Error, Result};
use crate::observer::Reading;

/// Where tensors go and in which type they are computed with.
#[derive(Clone, Debug)]
pub struct Precision {
    /// The device that will hold them.
    pub device: Device,
    /// The type they are converted to; `None` keeps the file's own type, but for float16, in which large models
    /// overflow: it becomes bfloat16.
    ///
    /// On a CPU computation is in float32, and this is only how matrices are held: in their file's own type, which is
    /// exact, but for float32 where a smaller type is named, which halves them. Products with blocks of whole numbers (GGUF)
    /// round their other side to eight bits too, unless float32 is named; and where bfloat16 is named and this processor is
    /// faster with it, products with bfloat16 round theirs to that.
    pub dtype: Option<DType>,
}

impl Precision {
    /// The type of computation, where it does not hang on the file.
    pub(super) fn computed(&self) -> Option<DType> {
        if self.device.is_cpu() { Some(DType::F32) } else { self.dtype }
    }

    /// How products with matrices as they are held may round what these are multiplied with.
    pub(super) fn rounding(&self) -> Rounding {
        let here = self.device.is_cpu();
        Rounding {
            groups: here && self.dtype != Some(DType::F32),
            halves: here && self.dtype == Some(DType::BF16) && scumble_kernels::halves_pay(),
        }
    }

    /// The type of computation with a tensor that is stored in this one.
    pub(super) fn becomes(&self, stored: DType) -> DType {
        match (self.computed(), stored) {
            (Some(dtype), _) => dtype,
            (None, DType::F16) => DType::BF16,
            (None, other) => other,
        }
    }

    /// The type that a matrix is held in: its own, or on a CPU a smaller one that was named.
    pub(super) fn holds(&self, stored: &Encoding) -> Encoding {
        match (self.dtype, stored) {
            (Some(smaller @ (DType::BF16 | DType::F16)), Encoding::Plain(DType::F32)) => Encoding::Plain(smaller),
            _ => stored.clone(),
        }
    }
}

/// The tensors of one component below a name prefix. Cheap to clone; all clones share one account.
#[derive(Clone)]
pub struct Weights {
    shared: Arc<Shared>,
    prefix: String,
    /// Only check names and shapes: nothing is read from the file.
    check_only: bool,
    /// What is changed on the way out.
    overlay: Option<Arc<Overlay>>,
    /// Who hears how the reading goes on.
    reading: Option<Arc<dyn Reading>>,
}

struct Shared {
    origin: Origin,
    precision: Precision,
    asked: Mutex<BTreeMap<String, Vec<usize>>>,
    /// What was handed out, where it is to be kept.
    kept: Option<Mutex<HashMap<String, Matrix>>>,
    /// Takes what is wrong with tensors, where all of it is wanted and not only the first.
    findings: Option<Findings>,
}

#[derive(Clone)]
enum Origin {
    Files(Arc<Shards>),
    /// A component inside one file.
    Part(Arc<Part>),
    /// Tensors that were read before; a graph over them shares their storage.
    Held(Arc<Held>),
    /// No files: every request is answered with zeros and recorded.
    Recorder,
}

struct Held {
    listing: PathBuf,
    tensors: HashMap<String, Matrix>,
}

impl Weights {
    pub(super) fn of(shards: Arc<Shards>, precision: &Precision) -> Self {
        Self::new(Origin::Files(shards), precision.clone(), false)
    }

    pub(crate) fn of_part(part: Arc<Part>, precision: &Precision) -> Self {
        Self::new(Origin::Part(part), precision.clone(), false)
    }

    /// Weights without files: every tensor exists, holds zeros and takes no memory. What a model asks for can be read
    /// with [`Weights::asked`]; so the names and shapes of a 24 GB configuration can be tested in a millisecond.
    pub fn recorder() -> Self {
        let precision = Precision { device: Device::Cpu, dtype: Some(DType::F32) };
        Self::new(Origin::Recorder, precision, true)
    }

    fn new(origin: Origin, precision: Precision, check_only: bool) -> Self {
        let shared = Shared { origin, precision, asked: Mutex::default(), kept: None, findings: None };
        Self { shared: Arc::new(shared), prefix: String::new(), check_only, overlay: None, reading: None }
    }

    /// The same weights, whose reading somebody hears and may stop.
    pub(crate) fn heard_by(&self, reading: &Arc<dyn Reading>) -> Self {
        Self { reading: Some(reading.clone()), ..self.clone() }
    }

    /// The same weights, to be looked at: requests are checked only, and what is wrong with a tensor is written down there,
    /// not an error.
    pub(super) fn examined(&self, findings: &Findings) -> Self {
        let Shared { origin, precision, .. } = &*self.shared;
        let (origin, precision, findings) = (origin.clone(), precision.clone(), Some(findings.clone()));
        let shared = Shared { origin, precision, asked: Mutex::default(), kept: None, findings };
        Self { shared: Arc::new(shared), check_only: true, ..self.clone() }
    }

    /// The same weights with a new account that keeps what is handed out, for [`Weights::held`].
    #[must_use]
    pub fn keeping(&self) -> Self {
        let Shared { origin, precision, findings, .. } = &*self.shared;
        let (origin, precision, findings) = (origin.clone(), precision.clone(), findings.clone());
        let shared = Shared { origin, precision, asked: Mutex::default(), kept: Some(Mutex::default()), findings };
        Self { shared: Arc::new(shared), ..self.clone() }
    }

    /// What was handed out so far, under its names: a second model over it shares the storage of the first, and the files
    /// are not needed any more. Weights that keep nothing hold nothing.
    #[must_use]
    pub fn held(&self) -> Self {
        let tensors = self.shared.kept.as_ref().map(|kept| kept.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let held = Held { listing: self.listing(), tensors: tensors.unwrap_or_default() };
        let shared = Shared {
            origin: Origin::Held(Arc::new(held)),
            precision: self.shared.precision.clone(),
            asked: Mutex::new(self.asked()),
            kept: None,
            findings: None,
        };
        Self { shared: Arc::new(shared), ..self.clone() }
    }

    /// The same weights, changed as they are handed out; what was handed out before stays as it is.
    #[must_use]
    pub fn with(&self, overlay: Overlay) -> Self {
        Self { overlay: Some(Arc::new(overlay)), ..self.clone() }
    }

    /// A held tensor by its full name, unchanged.
    pub fn stored(&self, full: &str) -> Option<&Matrix> {
        match &self.shared.origin {
            Origin::Held(held) => held.tensors.get(full),
            Origin::Files(_) | Origin::Part(_) | Origin::Recorder => None,
        }
    }

    /// The same weights one level down: `pp("blocks").pp(3)` is `blocks.3.`.
    #[must_use]
    pub fn pp(&self, part: impl std::fmt::Display) -> Self {
        Self { prefix: format!("{}{part}.", self.prefix), ..self.clone() }
    }

    /// The same weights, but requests only check that name and shape are right and get zeros without storage: for the
    /// parts of a file that this call does not need.
    #[must_use]
    pub fn check_only(&self) -> Self {
        Self { check_only: true, ..self.clone() }
    }

    /// Where the tensors will be.
    pub fn device(&self) -> &Device {
        &self.shared.precision.device
    }

    /// Whether a tensor of this name is in the files. A recorder has none.
    pub fn has(&self, name: &str) -> bool {
        match &self.shared.origin {
            Origin::Files(shards) => shards.find(&self.full(name)).is_some(),
            Origin::Part(part) => part.has(&self.full(name)),
            Origin::Held(held) => held.tensors.contains_key(&self.full(name)),
            Origin::Recorder => false,
        }
    }

    /// What is in the files, by full names, as the files have it; a recorder has nothing.
    pub fn names_and_shapes(&self) -> BTreeMap<String, Vec<usize>> {
        match &self.shared.origin {
            Origin::Files(shards) => {
                shards.names().filter_map(|name| Some((name.to_owned(), shards.find(name)?.1.shape.clone()))).collect()
            }
            Origin::Part(part) => part.shapes(),
            Origin::Held(_) | Origin::Recorder => BTreeMap::new(),
        }
    }

    /// How a tensor is stored, by its full name; nothing for what is in no file.
    pub(crate) fn stored_as(&self, full: &str) -> Option<Encoding> {
        match &self.shared.origin {
            Origin::Files(shards) => shards.find(full).map(|(_, info)| Encoding::of_safetensors(info.dtype)),
            Origin::Part(part) => part.stored_as(full),
            Origin::Held(_) | Origin::Recorder => None,
        }
    }

    /// A tensor in the type of computation.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::Misshapen`], or [`Error::Damaged`] for a type that is no float.
    pub fn get(&self, shape: impl Into<Shape>, name: &str) -> Result<Tensor> {
        self.get_as(shape, name, self.shared.precision.computed())
    }

    /// A tensor in a type of its own, for the few that must stay wide.
    ///
    /// # Errors
    /// As [`Weights::get`].
    pub fn get_as(&self, shape: impl Into<Shape>, name: &str, dtype: Option<DType>) -> Result<Tensor> {
        let (shape, full) = (shape.into(), self.full(name));
        let base = self.base(&shape, &full, dtype)?;
        match self.overlay.as_ref().map(|overlay| overlay.of(&full)) {
            Some(changes) if !changes.is_empty() => changed(&base, changes.iter()),
            _ => Ok(base),
        }
    }

    /// A tensor that stands in products, first dimension output: with it, what is to be added to the product, so that a
    /// matrix with a small change needs no second copy.
    ///
    /// # Errors
    /// As [`Weights::get`].
    pub fn get_matrix(&self, shape: impl Into<Shape>, name: &str) -> Result<(Matrix, Vec<Delta>)> {
        let (shape, full) = (shape.into(), self.full(name));
        let base = self.base_matrix(&shape, &full)?;
        let changes = self.overlay.as_ref().map(|overlay| overlay.of(&full)).unwrap_or_default();
        if changes.is_empty() {
            return Ok((base, Vec::new()));
        }
        let (beside, inside): (Vec<_>, Vec<_>) = changes.iter().partition(|change| change.can_stand_beside());
        let beside = beside.iter().map(|change| change.delta.to(base.dtype(), base.device())).collect::<Result<_>>()?;
        if inside.is_empty() {
            return Ok((base, beside));
        }
        Ok((Matrix::Whole(changed(&base.whole()?.reshape(shape)?, inside.into_iter())?), beside))
    }

    /// A table that is looked up row by row.
    ///
    /// # Errors
    /// As [`Weights::get`].
    pub fn get_table(&self, shape: impl Into<Shape>, name: &str) -> Result<Matrix> {
        let (shape, full) = (shape.into(), self.full(name));
        if self.overlay.as_ref().is_some_and(|overlay| !overlay.of(&full).is_empty()) {
            return Ok(Matrix::Whole(self.get(shape, name)?));
        }
        self.base_matrix(&shape, &full)
    }

    /// A matrix, on a CPU in its file's own bytes where that is possible.
    fn base_matrix(&self, shape: &Shape, full: &str) -> Result<Matrix> {
        let precision = &self.shared.precision;
        let read = match &self.shared.origin {
            Origin::Held(_) => None,
            _ if self.check_only || !precision.device.is_cpu() => None,
            Origin::Files(shards) => {
                let (_, info) = find(shards, full, shape)?;
                let (encoding, raw) = (Encoding::of_safetensors(info.dtype), shards.keep(full)?);
                Packed::whole_rows(shape, encoding, raw).map(|packed| packed.held_as(precision, full)).transpose()?
            }
            Origin::Part(part) => {
                part.check(full, shape.dims())?;
                let packed = part.packed(full, shape.dims())?;
                packed.map(|packed| packed.held_as(precision, full)).transpose()?
            }
            Origin::Recorder => None,
        };
        let packed = match (&self.shared.origin, read) {
            (Origin::Held(held), _) => held.packed(full, shape),
            (_, read) => read.map(|packed| Matrix::Packed(Arc::new(packed))),
        };
        let Some(packed) = packed else { return Ok(Matrix::Whole(self.base(shape, full, precision.computed())?)) };
        if let Matrix::Packed(packed) = &packed {
            self.tell(packed.bytes.len())?;
            packed.bytes.touch();
        }
        self.asked_mut().insert(full.to_owned(), shape.dims().to_vec());
        if let Some(kept) = &self.shared.kept {
            kept.lock().unwrap_or_else(PoisonError::into_inner).insert(full.to_owned(), packed.clone());
        }
        Ok(packed)
    }

    fn base(&self, shape: &Shape, full: &str, dtype: Option<DType>) -> Result<Tensor> {
        self.asked_mut().insert(full.to_owned(), shape.dims().to_vec());
        let tensor = match &self.shared.origin {
            Origin::Recorder => self.zeros(shape, dtype)?,
            Origin::Files(shards) => self.found(self.read(shards, full, shape, dtype), shape, dtype)?,
            Origin::Part(part) => self.found(self.read_part(part, full, shape, dtype), shape, dtype)?,
            Origin::Held(held) => held.get(full, shape, dtype)?,
        };
        self.tell(tensor.elem_count() * tensor.dtype().size_in_bytes())?;
        if let Some(kept) = &self.shared.kept {
            kept.lock().unwrap_or_else(PoisonError::into_inner).insert(full.to_owned(), Matrix::Whole(tensor.clone()));
        }
        Ok(tensor)
    }

    /// Tells how many bytes came into memory.
    fn tell(&self, bytes: usize) -> Result<()> {
        match (&self.reading, &self.shared.origin) {
            (Some(reading), Origin::Files(_) | Origin::Part(_)) if !self.check_only => {
                reading.read(bytes as u64).check()
            }
            _ => Ok(()),
        }
    }

    /// What was read; where all that is wrong is wanted, it is written down and zeros stand for what could not be read.
    fn found(&self, read: Result<Tensor>, shape: &Shape, dtype: Option<DType>) -> Result<Tensor> {
        match (read, &self.shared.findings) {
            (Err(wrong), Some(findings)) => {
                findings.add(wrong);
                self.zeros(shape, dtype)
            }
            (read, _) => read,
        }
    }

    /// Ends the account: a tensor that nobody asked for and `ignore` does not excuse is an error.
    ///
    /// # Errors
    /// [`Error::ExtraTensors`].
    pub fn finish(&self, ignore: impl Fn(&str) -> bool) -> Result<()> {
        let origin = &self.shared.origin;
        let asked = self.asked_mut();
        let is_extra = |name: &&str| !asked.contains_key(*name) && !ignore(name);
        let extra: BTreeSet<&str> = match origin {
            Origin::Files(shards) => shards.names().filter(is_extra).collect(),
            Origin::Part(part) => part.names().filter(is_extra).collect(),
            Origin::Held(_) | Origin::Recorder => return Ok(()),
        };
        let Some(first) = extra.first() else { return Ok(()) };
        let error = |name: &str, count: usize| {
            let file = match origin {
                Origin::Files(shards) => shards.find(name).map(|(path, _)| path.to_owned()),
                _ => None,
            };
            let file = file.unwrap_or_else(|| self.listing());
            Error::ExtraTensors { file, count, first: name.to_owned() }
        };
        let Some(findings) = &self.shared.findings else { return Err(error(first, extra.len())) };
        extra.iter().for_each(|name| findings.add(error(name, 1)));
        Ok(())
    }

    /// Every name that was asked for, with its shape.
    pub fn asked(&self) -> BTreeMap<String, Vec<usize>> {
        self.asked_mut().clone()
    }

    /// The file or index that stands behind these weights, for messages.
    pub fn listing(&self) -> PathBuf {
        match &self.shared.origin {
            Origin::Files(shards) => shards.listing.clone(),
            Origin::Part(part) => part.path().to_owned(),
            Origin::Held(held) => held.listing.clone(),
            Origin::Recorder => PathBuf::from("(recorder)"),
        }
    }

    fn read(&self, shards: &Shards, full: &str, shape: &Shape, dtype: Option<DType>) -> Result<Tensor> {
        let (stored, _) = find(shards, full, shape)?;
        if self.check_only {
            return self.zeros(shape, dtype);
        }
        let device = self.device();
        let wanted = Precision { device: device.clone(), dtype }.becomes(stored);
        Ok(upload(&shards.bytes(full)?, stored, shape, device)?.to_dtype(wanted)?)
    }

    fn read_part(&self, part: &Part, full: &str, shape: &Shape, dtype: Option<DType>) -> Result<Tensor> {
        part.check(full, shape.dims())?;
        if self.check_only { self.zeros(shape, dtype) } else { part.read(full, shape.dims(), dtype, self.device()) }
    }

    /// Zeros of any size in the storage of one number.
    fn zeros(&self, shape: &Shape, dtype: Option<DType>) -> Result<Tensor> {
        let dtype = dtype.unwrap_or(DType::F32);
        Ok(Tensor::zeros((), dtype, self.device())?.broadcast_as(shape)?)
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn asked_mut(&self) -> MutexGuard<'_, BTreeMap<String, Vec<usize>>> {
        self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// A matrix in its file's own bytes, where it is held so and has this shape.
    fn packed(&self, full: &str, shape: &Shape) -> Option<Matrix> {
        let packed = self.tensors.get(full).filter(|held| matches!(held, Matrix::Packed(_)))?;
        let rows = shape.dims().first().copied().unwrap_or(1);
        (packed.dims() == (rows, shape.elem_count() / rows.max(1))).then(|| packed.clone())
    }

    fn get(&self, full: &str, shape: &Shape, dtype: Option<DType>) -> Result<Tensor> {
        let missing = || Error::MissingTensor { file: self.listing.clone(), name: full.to_owned() };
        let tensor = match self.tensors.get(full).ok_or_else(missing)? {
            packed @ Matrix::Packed(_) if self.packed(full, shape).is_some() => packed.whole()?.reshape(shape)?,
            held => held.whole()?,
        };
        if tensor.dims() != shape.dims() {
            return Err(Error::Misshapen {
                file: self.listing.clone(),
                name: full.to_owned(),
                expected: shape.dims().to_vec(),
                got: tensor.dims().to_vec(),
            });
        }
        Ok(tensor.to_dtype(dtype.unwrap_or(tensor.dtype()))?)
    }
}

/// The type of a tensor in these files, and what they say of it.
///
/// # Errors
/// [`Error::MissingTensor`], [`Error::Misshapen`], [`Error::Damaged`] for a type that is not read.
fn find<'a>(shards: &'a Shards, full: &str, shape: &Shape) -> Result<(DType, &'a TensorInfo)> {
    let missing = || Error::MissingTensor { file: shards.listing.clone(), name: full.to_owned() };
    let (path, info) = shards.find(full).ok_or_else(missing)?;
    if info.shape != shape.dims() {
        return Err(Error::Misshapen {
            file: path.to_owned(),
            name: full.to_owned(),
            expected: shape.dims().to_vec(),
            got: info.shape.clone(),
        });
    }
    let stored = stored_dtype(info.dtype).ok_or_else(|| Error::Damaged {
        path: path.to_owned(),
        reason: format!("tensor {full} has type {:?}; float32, bfloat16 and float16 are read", info.dtype),
    })?;
    Ok((stored, info))
}

pub(super) fn stored_dtype(dtype: safetensors::Dtype) -> Option<DType> {
    match dtype {
        safetensors::Dtype::F32 => Some(DType::F32),
        safetensors::Dtype::F16 => Some(DType::F16),
        safetensors::Dtype::BF16 => Some(DType::BF16),
        _ => None,
    }
}
