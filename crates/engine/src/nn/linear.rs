//! Matrices and tables.

use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use scumble_kernels::{Activation, Finish, Plain, Residual};

use super::activation::apply;
use super::attention::attention_in;
use super::card;
use super::gate::{gate_fits, plain_gated};
use super::kernel::{Numbers, in_order, unfit};
use super::then::Then;
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
        self.run(x, Then::default())
    }

    /// The product, then an activation.
    ///
    /// # Errors
    /// As [`Linear::forward`].
    pub fn activated(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        self.run(x, Then { activation: Some(activation), ..Then::default() })
    }

    /// The product times `factors`, number by number.
    ///
    /// # Errors
    /// As [`Linear::forward`].
    pub fn times(&self, x: &Tensor, factors: &Tensor) -> Result<Tensor> {
        self.run(x, Then { times: Some(factors), ..Then::default() })
    }

    /// `onto` plus the product.
    ///
    /// # Errors
    /// As [`Linear::forward`].
    pub fn added(&self, x: &Tensor, onto: &Tensor) -> Result<Tensor> {
        self.run(x, Then { onto: Some((onto, None)), ..Then::default() })
    }

    /// `onto` plus `gate` times the product, for an `x` of `[batch, tokens, input]` and a gate of `[batch, output]`.
    ///
    /// # Errors
    /// As [`Linear::forward`].
    pub fn gated(&self, x: &Tensor, onto: &Tensor, gate: &Tensor) -> Result<Tensor> {
        self.run(x, Then { onto: Some((onto, Some(gate))), ..Then::default() })
    }

    /// [`attention`](super::attention) as exact as the products of this matrix: where they are rounded to bfloat16, its are too.
    ///
    /// # Errors
    /// As [`attention`](super::attention).
    pub fn attention(&self, q: &Tensor, k: &Tensor, v: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let scale = 1.0 / (q.dim(3)? as f64).sqrt();
        attention_in(self.matrix.rounds_to_halves(), q, k, v, scale, bias)
    }

    fn run(&self, x: &Tensor, then: Then<'_>) -> Result<Tensor> {
        let (output, input) = self.matrix.dims();
        let mut dims = x.dims().to_vec();
        if dims.last() != Some(&input) {
            let reason = format!("a matrix of {input} columns got {dims:?}");
            return Err(unfit(reason));
        }
        // one large product instead of one per batch entry
        let rows = x.elem_count() / input;
        super::work::count(rows, input, output);
        let x = x.to_dtype(self.dtype())?.reshape((rows, input))?;
        if let Some(last) = dims.last_mut() {
            *last = output;
        }
        if self.device().is_cpu() {
            return self.here(&x, then, &dims);
        }
        let sums = self.sums(&x)?;
        match card::finished(&sums, self.bias.as_ref(), then)? {
            Some(y) => Ok(y.reshape(dims)?),
            None => self.plain(sums, then, &dims),
        }
    }

    /// By our kernels: `x` `[rows, input]` to the shape `dims`.
    fn here(&self, x: &Tensor, then: Then<'_>, dims: &[usize]) -> Result<Tensor> {
        let (output, input) = self.matrix.dims();
        let x = in_order(x)?;
        let mut sums = scumble_kernels::zeros(x.dim(0)? * output);
        let tensors =
            [self.bias.as_ref(), then.times, then.onto.map(|(onto, _)| onto), then.onto.and_then(|(_, gate)| gate)];
        let tensors = tensors.map(|t| t.map(in_order).transpose());
        let [bias, times, onto, gate] = tensors;
        let (bias, times, onto, gate) = (bias?, times?, onto?, gate?);
        let (bias, times, onto, gate) = (numbers(&bias)?, numbers(&times)?, numbers(&onto)?, numbers(&gate)?);
        fits(&times, sums.len())?;
        fits(&onto, sums.len())?;
        if let Some(gate) = &gate {
            gate_fits(x.dim(0)?, output, gate.len())?;
        }
        let ends = Finish {
            bias: bias.as_deref(),
            activation: then.activation,
            times: times.as_deref(),
            residual: onto.as_deref().map(|onto| Residual { onto, gate: gate.as_deref() }),
        };
        let now = if self.beside.is_empty() { ends } else { Finish::default() };
        match &self.matrix {
            Matrix::Packed(packed) => packed.product(&Numbers::of(&x)?, &now, &mut sums),
            Matrix::Whole(weight) => {
                let weight = in_order(weight)?;
                let weight = Numbers::of(&weight)?;
                scumble_kernels::product(&Numbers::of(&x)?, &Plain::new(&weight, input), &now, &mut sums);
            }
        }
        if !self.beside.is_empty() {
            for delta in &self.beside {
                let change = in_order(&delta.product(&x)?)?;
                let onto = Some(Residual { onto: &Numbers::of(&change)?, gate: None });
                scumble_kernels::finish(&mut sums, output, &Finish { residual: onto, ..Finish::default() });
            }
            scumble_kernels::finish(&mut sums, output, &ends);
        }
        Ok(Tensor::from_vec(sums, dims, x.device())?)
    }

    /// x Wᵀ with what stands beside W, by candle.
    fn sums(&self, x: &Tensor) -> Result<Tensor> {
        let weight = self.matrix.whole()?.reshape(self.matrix.dims())?;
        let plain = x.matmul(&weight.t()?)?;
        self.beside.iter().try_fold(plain, |y, delta| Ok((y + delta.product(x)?)?))
    }

    /// What follows the sums, by candle, on every device: what kernels are held against.
    fn plain(&self, sums: Tensor, then: Then<'_>, dims: &[usize]) -> Result<Tensor> {
        let y = match &self.bias {
            Some(bias) => sums.broadcast_add(bias)?,
            None => sums,
        };
        let y = then.activation.map_or(Ok(y.clone()), |kind| apply(&y, kind))?.reshape(dims)?;
        let y = then.times.map_or(Ok(y.clone()), |times| y * times)?;
        match then.onto {
            Some((onto, Some(gate))) => plain_gated(onto, gate, &y),
            Some((onto, None)) => Ok((onto + y)?),
            None => Ok(y),
        }
    }
}

fn numbers(x: &Option<Tensor>) -> Result<Option<Numbers<'_>>> {
    Ok(x.as_ref().map(Numbers::of).transpose()?)
}

fn fits(x: &Option<Numbers<'_>>, count: usize) -> Result<()> {
    match x {
        Some(x) if x.len() != count => Err(unfit(format!("a product of {count} numbers meets {}", x.len()))),
        _ => Ok(()),
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
    use crate::rng::Generator;

    #[test]
    fn what_follows_a_product_agrees_with_the_plain_form() -> Result<()> {
        let mut g = Generator::new(7);
        let (batch, tokens, input, output) = (2, 9, 40, 24);
        let pair = Delta::Pair { down: g.noise(&[3, input])?, up: g.noise(&[output, 3])? };
        for beside in [Vec::new(), vec![pair]] {
            let matrix = Matrix::Whole(g.noise(&[output, input])?);
            let linear = Linear { matrix, bias: Some(g.noise(&[output])?), beside };
            let x = g.noise(&[batch, tokens, input])?;
            let (times, onto) = (g.noise(&[batch, tokens, output])?, g.noise(&[batch, tokens, output])?);
            let gate = g.noise(&[batch, output])?;
            let all =
                Then { activation: Some(Activation::Silu), times: Some(&times), onto: Some((&onto, Some(&gate))) };
            let added = Then { onto: Some((&onto, None)), ..Then::default() };
            for then in [Then::default(), all, added] {
                let expected =
                    linear.plain(linear.sums(&x.reshape((batch * tokens, input))?)?, then, &[batch, tokens, output])?;
                let far = (linear.run(&x, then)? - expected)?.abs()?.max_all()?.to_scalar::<f32>()?;
                assert!(far < 1e-4, "{far}");
            }
        }
        Ok(())
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() -> Result<()> {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu);
        let linear = Linear { matrix: Matrix::Whole(zeros(&[4, 3])?), bias: None, beside: Vec::new() };
        assert!(linear.forward(&zeros(&[2, 6])?).is_err());
        assert!(linear.added(&zeros(&[2, 3])?, &zeros(&[3, 4])?).is_err());
        assert!(linear.gated(&zeros(&[1, 3, 3])?, &zeros(&[1, 3, 4])?, &zeros(&[2, 4])?).is_err());
        Ok(())
    }

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
