//! Matrices and tables.

use candle_core::{DType, Tensor};

use crate::checkpoint::Weights;
use crate::error::Result;

/// y = x Wᵀ + b.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor, // [output, input]
    bias: Option<Tensor>,
}

impl Linear {
    /// With bias: `weight` `[output, input]` and `bias` `[output]`.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load(w: &Weights, input: usize, output: usize) -> Result<Self> {
        Ok(Self { weight: w.get((output, input), "weight")?, bias: Some(w.get(output, "bias")?) })
    }

    /// Without bias.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load_no_bias(w: &Weights, input: usize, output: usize) -> Result<Self> {
        Self::load_no_bias_as(w, input, output, None)
    }

    /// Without bias, in a type of its own where one is given.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load_no_bias_as(w: &Weights, input: usize, output: usize, dtype: Option<DType>) -> Result<Self> {
        let weight = match dtype {
            Some(dtype) => w.get_as((output, input), "weight", Some(dtype))?,
            None => w.get((output, input), "weight")?,
        };
        Ok(Self { weight, bias: None })
    }

    /// The type that it computes in.
    pub fn dtype(&self) -> DType {
        self.weight.dtype()
    }

    /// `[.., input]` to `[.., output]`.
    ///
    /// # Errors
    /// Shapes that do not fit, or a device out of memory.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (output, input) = self.weight.dims2()?;
        let mut dims = x.dims().to_vec();
        // one large product instead of one per batch entry
        let rows = x.elem_count() / input;
        let y = x.to_dtype(self.weight.dtype())?.reshape((rows, input))?.matmul(&self.weight.t()?)?;
        let y = match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        };
        if let Some(last) = dims.last_mut() {
            *last = output;
        }
        Ok(y.reshape(dims)?)
    }
}

/// A table of vectors, one per id.
#[derive(Clone, Debug)]
pub struct Embedding {
    table: Tensor, // [ids, width]
}

impl Embedding {
    /// `weight` `[ids, width]`.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load(w: &Weights, ids: usize, width: usize) -> Result<Self> {
        Ok(Self { table: w.get((ids, width), "weight")? })
    }

    /// `[n]` ids to `[n, width]`.
    ///
    /// # Errors
    /// An id outside the table.
    pub fn forward(&self, ids: &[u32]) -> Result<Tensor> {
        let ids = Tensor::new(ids, self.table.device())?;
        Ok(self.table.index_select(&ids, 0)?)
    }
}
