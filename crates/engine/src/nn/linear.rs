//! Matrices and tables.

use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};

use crate::error::{Error, Result};
use crate::weights::{Delta, Matrix, Weights};

/// y = x Wᵀ + b.
#[derive(Clone, Debug)]
pub struct Linear {
    matrix: Matrix,
    bias: Option<Tensor>,
    /// Changes of W that have products of their own.
    beside: Vec<Delta>,
}

impl Linear {
    /// With bias: `weight` `[output, input]` and `bias` `[output]`.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load(w: &Weights, input: usize, output: usize) -> Result<Self> {
        Ok(Self { bias: Some(w.get(output, "bias")?), ..Self::load_no_bias(w, input, output)? })
    }

    /// Without bias.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load_no_bias(w: &Weights, input: usize, output: usize) -> Result<Self> {
        let (matrix, beside) = w.get_matrix((output, input), "weight")?;
        Ok(Self { matrix, bias: None, beside })
    }

    /// A convolution whose patches do not overlap, over patches that are rows already, ordered channel, row, column:
    /// `weight` `[output, channels, patch, patch]` and `bias`.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load_patches(w: &Weights, channels: usize, patch: usize, output: usize) -> Result<Self> {
        let bias = Some(w.get(output, "bias")?);
        Ok(Self { bias, ..Self::load_patches_no_bias(w, channels, patch, output)? })
    }

    /// The same without bias.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load_patches_no_bias(w: &Weights, channels: usize, patch: usize, output: usize) -> Result<Self> {
        let (matrix, beside) = w.get_matrix((output, channels, patch, patch), "weight")?;
        Ok(Self { matrix, bias: None, beside })
    }

    /// The type that it computes in.
    pub fn dtype(&self) -> DType {
        self.matrix.dtype()
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        self.matrix.device()
    }

    /// `[.., input]` to `[.., output]`.
    ///
    /// # Errors
    /// Shapes that do not fit, or a device out of memory.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (output, input) = self.matrix.dims();
        let mut dims = x.dims().to_vec();
        // one large product instead of one per batch entry
        let rows = x.elem_count() / input;
        let x = x.to_dtype(self.dtype())?.reshape((rows, input))?;
        let plain = self.matrix.product(&x)?;
        let y = self.beside.iter().try_fold(plain, |y, delta| -> Result<Tensor> { Ok((y + delta.product(&x)?)?) })?;
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
    table: Matrix, // [ids, width]
    /// The file that it comes from.
    path: PathBuf,
}

impl Embedding {
    /// `weight` `[ids, width]`.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load(w: &Weights, ids: usize, width: usize) -> Result<Self> {
        Ok(Self { table: w.get_table((ids, width), "weight")?, path: w.listing() })
    }

    /// `[n]` ids to `[n, width]`.
    ///
    /// # Errors
    /// [`Error::Damaged`] for an id outside the table: it and the tokenizer are of different models.
    pub fn forward(&self, ids: &[u32]) -> Result<Tensor> {
        let (rows, _) = self.table.dims();
        if let Some(id) = ids.iter().find(|id| **id as usize >= rows) {
            let reason = format!(
                "its table knows {rows} tokens, and the tokenizer gives the id {id}: they are of different models"
            );
            return Err(Error::Damaged { path: self.path.clone(), reason });
        }
        self.table.select(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_the_table_lacks_is_told() -> Result<()> {
        let table = Matrix::Whole(Tensor::zeros((3, 2), DType::F32, &Device::Cpu)?);
        let embedding = Embedding { table, path: "text_encoder/model.safetensors".into() };
        assert_eq!(embedding.forward(&[2, 0])?.dims(), [2, 2]);
        let error = embedding.forward(&[0, 3]).expect_err("there is no row 3");
        assert!(error.is_checkpoint(), "{error}");
        assert!(
            error.to_string().contains("text_encoder/model.safetensors") && error.to_string().contains("id 3"),
            "{error}"
        );
        Ok(())
    }
}
