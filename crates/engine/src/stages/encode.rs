//! What pipelines share on the way from a text to its states.

use candle_core::{DType, Device, Tensor};

use crate::call::Call;
use crate::error::Result;
use crate::families::Context;
use crate::observer::Stage;

/// What the prompt of a call becomes, and where it is guided away from another text, what that one becomes. `encode` gets the
/// text, and before it its name in golden files.
pub(crate) fn prompts<T>(
    call: &Call,
    context: &Context<'_>,
    encode: impl Fn(&str, &str) -> Result<T>,
) -> Result<(T, Option<T>)> {
    context.observer.stage(Stage::TextEncode).check()?;
    let prompt = encode("prompt", &call.prompt)?;
    let negative = call.is_guided().then(|| encode("negative", &call.negative)).transpose()?;
    Ok((prompt, negative))
}

/// One batch of both, as transformers read it in one pass: what is led away from comes first.
pub(crate) fn one_batch(prompt: Tensor, negative: Option<Tensor>) -> Result<Tensor> {
    Ok(match negative {
        Some(negative) => Tensor::cat(&[negative, prompt], 0)?,
        None => prompt,
    })
}

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
