//! A component inside one file: its tensors under the names that models ask for, whatever the file calls them and however it
//! stores them. Each is read and decoded when it is asked for.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Shape, Tensor};

use super::bytes::Kept;
use super::container::{Container, Entry};
use super::encoding::{Encoding, READ};
use super::held::Precision;
use super::matrix::{Packed, Rounding};
use super::scales::{self, Scale, Scales};
use crate::device::upload;
use crate::error::{Error, Result};

/// What a model's tensor is in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Its name there, with the prefix.
    pub(crate) stored: String,
    /// Its rows in there, where they are not all.
    pub(crate) rows: Option<Range<usize>>,
    /// How its rows are ordered there.
    pub(crate) order: Order,
}

/// The order of rows in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// As models want them.
    Same,
    /// The second half comes first.
    Swapped,
    /// The halves of each of so many heads alternate.
    Interleaved(usize),
}

/// A component of a file.
pub(crate) struct Part {
    file: Container,
    pieces: BTreeMap<String, Piece>,
    scales: Scales,
}

impl Part {
    /// Tensors of a file below a prefix, but for those that `is_unused`. `pieces` makes of their names and shapes what models
    /// call them; what nobody knows keeps its name.
    ///
    /// # Errors
    /// [`Error::Damaged`] where the file's scales are not understood, or its tensors are not what `pieces` expects.
    pub(crate) fn new(
        file: Container,
        prefix: &str,
        is_unused: impl Fn(&str) -> bool,
        pieces: impl FnOnce(&BTreeMap<&str, &[usize]>) -> std::result::Result<BTreeMap<String, Piece>, String>,
    ) -> Result<Self> {
        let scales = scales::read(&file, prefix)?;
        let theirs: BTreeMap<&str, &[usize]> = file
            .names()
            .filter(|name| !scales.helpers.contains(*name))
            .filter_map(|name| Some((name.strip_prefix(prefix)?, &*file.get(name)?.shape)))
            .filter(|(name, _)| !is_unused(name))
            .collect();
        let pieces = pieces(&theirs).map_err(|reason| file.damaged(reason))?;
        drop(theirs);
        Ok(Self { file, pieces, scales })
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// The names of its tensors.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.pieces.keys().map(String::as_str)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.pieces.contains_key(name)
    }

    /// How a tensor is stored.
    pub(super) fn stored_as(&self, name: &str) -> Option<Encoding> {
        Some(self.file.get(&self.pieces.get(name)?.stored)?.encoding.clone())
    }

    /// What all tensors take in memory, in bytes.
    pub(super) fn takes(&self, precision: &Precision) -> u64 {
        let dtype = precision.computed().unwrap_or_else(|| self.usual());
        let takes = |(name, piece): (&String, &Piece)| {
            let shape = self.shape(name)?;
            let count = shape.iter().product::<usize>();
            let entry = self.file.get(&piece.stored)?;
            let held = precision.holds(&entry.encoding);
            Some(match held
                .unit()
                .filter(|_| entry.is_packable() && entry.shape.len() == 2 && precision.device.is_cpu())
            {
                // its bytes stay as they are
                Some((values, bytes)) => count / values * bytes,
                None => count * dtype.size_in_bytes(),
            } as u64)
        };
        self.pieces.iter().filter_map(takes).sum()
    }

    /// Names and shapes, as far as anything is known.
    pub(crate) fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        self.pieces.keys().filter_map(|name| Some((name.clone(), self.shape(name)?))).collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let piece = self.pieces.get(name)?;
        let mut shape = self.file.get(&piece.stored)?.shape.clone();
        if let (Some(first), Some(rows)) = (shape.first_mut(), &piece.rows) {
            *first = rows.len();
        }
        Some(shape)
    }

    /// The type that it is computed in where nobody names one: that of its matrices; what they are made of in fp8 or in blocks
    /// needs more than float16 has room for.
    fn usual(&self) -> DType {
        let matrices = self.pieces.values().filter_map(|piece| self.file.get(&piece.stored));
        let (mut half, mut small) = (false, false);
        for entry in matrices.filter(|entry| entry.shape.len() > 1) {
            match entry.encoding {
                Encoding::Plain(DType::F32) => {}
                Encoding::Plain(DType::F16) => half = true,
                _ => small = true,
            }
        }
        match (small, half) {
            (false, false) => DType::F32,
            _ => DType::BF16,
        }
    }

    /// Makes sure that a tensor is there, is understood, and has this shape.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::Misshapen`], [`Error::Damaged`].
    pub(super) fn check(&self, name: &str, shape: &[usize]) -> Result<()> {
        let missing = || Error::MissingTensor { file: self.path().to_owned(), name: name.to_owned() };
        let (piece, found) = self.pieces.get(name).zip(self.shape(name)).ok_or_else(missing)?;
        // writers drop units, and matrices were convolutions of one pixel once
        let bare = |shape: &[usize]| shape.iter().copied().filter(|size| *size != 1).collect::<Vec<usize>>();
        if bare(&found) != bare(shape) {
            let (file, name) = (self.path().to_owned(), self.told(name, piece));
            return Err(Error::Misshapen { file, name, expected: shape.to_vec(), got: found });
        }
        match self.file.get(&piece.stored).map(|entry| &entry.encoding) {
            Some(Encoding::Unknown(kind)) => {
                Err(self.file.damaged(format!("tensor {} has the type {kind}; {READ} are read", piece.stored)))
            }
            _ => Ok(()),
        }
    }

    /// A tensor that was checked.
    ///
    /// # Errors
    /// [`Error::Unreadable`] for a file that cannot be read any more, [`Error::Tensor`].
    pub(super) fn read(&self, name: &str, shape: &[usize], dtype: Option<DType>, device: &Device) -> Result<Tensor> {
        let missing = || Error::MissingTensor { file: self.path().to_owned(), name: name.to_owned() };
        let piece = self.pieces.get(name).ok_or_else(missing)?;
        let entry = self.file.get(&piece.stored).ok_or_else(missing)?;
        let wanted = dtype.unwrap_or_else(|| self.usual());
        let rows = entry.shape.first().copied().unwrap_or(1).max(1);
        let wide = entry.count() / rows;
        let range = piece.rows.clone().unwrap_or(0..rows);
        // as it lies in the file
        if let (Encoding::Plain(stored), Order::Same, None) =
            (&entry.encoding, piece.order, self.scales.of.get(&piece.stored))
        {
            let each = wide * stored.size_in_bytes();
            let raw = self.file.bytes(entry, range.start * each..range.end * each)?;
            return Ok(upload(&raw, *stored, &Shape::from(shape), device)?.to_dtype(wanted)?);
        }
        let stored = self.values(piece, entry, &range, wide)?;
        let ordered = ordered(&stored.reshape((range.len(), wide))?, piece.order)?;
        Ok(ordered.to_dtype(wanted)?.reshape(shape)?.to_device(device)?)
    }

    /// The bytes of a matrix that was checked, where its rows are whole ones.
    ///
    /// # Errors
    /// [`Error::Unreadable`] for a file that cannot be read any more.
    pub(super) fn packed(&self, name: &str, shape: &[usize]) -> Result<Option<Packed>> {
        let Some((piece, entry)) = self.pieces.get(name).and_then(|piece| Some((piece, self.file.get(&piece.stored)?)))
        else {
            return Ok(None);
        };
        let (Some((values, bytes)), Some(all)) = (entry.encoding.unit(), entry.shape.first().copied()) else {
            return Ok(None);
        };
        let columns = entry.count() / all.max(1);
        let rows = piece.rows.clone().unwrap_or(0..all);
        let is_same = shape.first() == Some(&rows.len()) && !rows.is_empty();
        if !entry.is_packable() || !is_same {
            return Ok(None);
        }
        let scale = self.scales.of.get(&piece.stored).map(|scale| scale.of_rows(rows.clone()));
        if piece.order != Order::Same && matches!(scale, Some(Scale::Rows(_))) {
            return Ok(None);
        }
        let each = columns / values * bytes;
        let range = rows.start * each..rows.end * each;
        let bytes = match piece.order {
            Order::Same => self.file.keep(entry, range)?,
            order => {
                let raw = self.file.bytes(entry, range)?;
                let row = |row| &raw[order.stored(row, rows.len()) * each..][..each];
                Kept::Own(Arc::new((0..rows.len()).flat_map(row).copied().collect()))
            }
        };
        Ok(Some(Packed {
            bytes,
            encoding: entry.encoding.clone(),
            rows: rows.len(),
            columns,
            scale,
            rounding: Rounding::default(),
        }))
    }

    /// The numbers of some rows, scaled, in the file's order.
    fn values(&self, piece: &Piece, entry: &Entry, rows: &Range<usize>, wide: usize) -> Result<Tensor> {
        let scale = self.scales.of.get(&piece.stored);
        let (first, end) = (rows.start * wide, rows.end * wide);
        let (values, bytes) = entry.encoding.unit().unwrap_or((1, 1));
        if let (Encoding::Plain(dtype), None) = (&entry.encoding, scale) {
            let raw = self.file.bytes(entry, first * bytes..end * bytes)?;
            return Ok(Tensor::from_raw_buffer(&raw, *dtype, &[end - first], &Device::Cpu)?);
        }
        // blocks that lie across the cut are decoded whole
        let (from, to) = (first / values, end.div_ceil(values));
        let mut numbers = entry.encoding.decode(&self.file.bytes(entry, from * bytes..to * bytes)?);
        numbers.truncate(end - from * values);
        numbers.drain(..first - from * values);
        if let Some(scale) = scale {
            scale.apply(&mut numbers, rows.clone(), wide);
        }
        Ok(Tensor::from_vec(numbers, end - first, &Device::Cpu)?)
    }

    /// A tensor for messages: by the name that the model knows, and by the file's.
    fn told(&self, name: &str, piece: &Piece) -> String {
        if piece.stored == name { name.to_owned() } else { format!("{} (of which {name} is made)", piece.stored) }
    }
}

impl Order {
    /// Where a row of `count` is in the file.
    fn stored(self, row: usize, count: usize) -> usize {
        match self {
            Self::Same => row,
            Self::Swapped => (row + count / 2) % count,
            Self::Interleaved(heads) => {
                let (head, half) = (row / (count / heads), count / heads / 2);
                let (side, place) = (row % (2 * half) / half, row % half);
                head * 2 * half + 2 * place + side
            }
        }
    }
}

/// Rows in the order that models want.
fn ordered(rows: &Tensor, order: Order) -> Result<Tensor> {
    let (count, wide) = rows.dims2()?;
    Ok(match order {
        Order::Same => rows.clone(),
        Order::Swapped => {
            let half = count / 2;
            Tensor::cat(&[rows.narrow(0, half, count - half)?, rows.narrow(0, 0, half)?], 0)?
        }
        Order::Interleaved(heads) => {
            let turned = rows.reshape((heads, count / heads / 2, 2, wide))?.transpose(1, 2)?.contiguous()?;
            turned.reshape((count, wide))?
        }
    })
}
