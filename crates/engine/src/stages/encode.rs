//! What pipelines share on the way from a text to its states.

use candle_core::{DType, Device, Tensor};

use crate::error::Result;
use crate::families::Context;

/// Token ids as golden files hold them, `[1, tokens]`.
pub(crate) fn ids_tensor(ids: &[u32]) -> Result<Tensor> {
    let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
    let count = ids.len();
    Ok(Tensor::from_vec(ids, (1, count), &Device::Cpu)?)
}

/// States of one text in the transformer's type, once for each picture of a batch.
pub(crate) fn repeated(states: &Tensor, images: usize, dtype: DType) -> Result<Tensor> {
    let mut copies = vec![1; states.rank()];
    copies[0] = images;
    Ok(states.to_dtype(dtype)?.repeat(copies)?)
}

/// Writes down what a text became, under the names of the golden files.
pub(crate) fn trace_texts(context: &Context<'_>, label: &str, parts: &[(&str, &Tensor)]) -> Result<()> {
    let Some(trace) = context.trace else { return Ok(()) };
    parts.iter().try_for_each(|(name, tensor)| trace.put(&format!("{label}.{name}"), tensor))
}
