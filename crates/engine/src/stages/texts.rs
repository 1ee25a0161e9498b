//! What prompts became before: a call with the same ones needs no text encoder.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Tensor;
use hashlink::LruCache;

use crate::call::Call;
use crate::error::Result;
use crate::families::Context;
use crate::observer::Stage;

/// What is kept of one model, in bytes: dozens of prompts, or two of HiDream-I1's, which come from every layer of Llama.
const BYTES: usize = 256 << 20;

/// What prompts of a model became. A clone shares them.
#[derive(Clone)]
pub(crate) struct Texts<T> {
    kept: Arc<Mutex<Kept<T>>>,
}

/// Something that takes memory.
pub(crate) trait Bytes {
    /// How much.
    fn bytes(&self) -> usize;
}

/// Those that were not asked for longest go first.
struct Kept<T> {
    texts: LruCache<Key, T>,
    bytes: usize,
}

/// All that says what the texts of a call become.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    prompt: String,
    /// Where it counts.
    negative: Option<String>,
    images: usize,
    tokens: Option<usize>,
}

impl<T: Bytes + Clone> Texts<T> {
    /// What the prompts of this call become; `is_guided` says whether the negative one is among them. A call that changes the
    /// encoders, or whose tensors are written down, has them encoded.
    pub(crate) fn of(
        &self,
        call: &Call,
        is_guided: bool,
        context: &Context<'_>,
        encode: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if !call.loras.is_empty() || context.trace.is_some() {
            return encode();
        }
        let key = Key {
            prompt: call.prompt.clone(),
            negative: is_guided.then(|| call.negative.clone()),
            images: call.images,
            tokens: call.max_sequence_length,
        };
        let known = self.with(|kept| kept.texts.get(&key).cloned());
        context.observer.prompts(known.is_some());
        if let Some(known) = known {
            context.observer.stage(Stage::TextEncode).check()?;
            return Ok(known);
        }
        let text = encode()?;
        self.with(|kept| kept.put(key, text.clone()));
        Ok(text)
    }

    fn with<R>(&self, work: impl FnOnce(&mut Kept<T>) -> R) -> R {
        work(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Default for Texts<T> {
    fn default() -> Self {
        Self { kept: Arc::new(Mutex::new(Kept { texts: LruCache::new_unbounded(), bytes: 0 })) }
    }
}

impl<T: Bytes> Kept<T> {
    fn put(&mut self, key: Key, text: T) {
        self.bytes += text.bytes() + key.bytes();
        // two calls may have encoded the same
        if let Some(twin) = self.texts.remove(&key) {
            self.bytes -= twin.bytes() + key.bytes();
        }
        self.texts.insert(key, text);
        while self.bytes > BYTES
            && let Some((key, text)) = self.texts.remove_lru()
        {
            self.bytes -= text.bytes() + key.bytes();
        }
    }
}

impl Bytes for Key {
    fn bytes(&self) -> usize {
        self.prompt.len() + self.negative.as_ref().map_or(0, String::len)
    }
}

impl Bytes for Tensor {
    fn bytes(&self) -> usize {
        self.elem_count() * self.dtype().size_in_bytes()
    }
}

impl<A: Bytes, B: Bytes> Bytes for (A, B) {
    fn bytes(&self) -> usize {
        self.0.bytes() + self.1.bytes()
    }
}

impl<T: Bytes> Bytes for Option<T> {
    fn bytes(&self) -> usize {
        self.as_ref().map_or(0, T::bytes)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::call::{Acceleration, Solver};
    use crate::observer::Unobserved;

    fn call() -> Call {
        Call {
            prompt: "a fox".into(),
            negative: "b".into(),
            width: 64,
            height: 64,
            to_trained_area: false,
            steps: 1,
            guidance: 1.0,
            true_cfg: 1.0,
            seed: 0,
            images: 1,
            picture: None,
            mask: None,
            pictures: Vec::new(),
            picture_guidance: 1.0,
            guided_steps: [0.0, 1.0],
            solver: Solver::Euler,
            strength: 1.0,
            max_sequence_length: None,
            loras: Vec::new(),
            controlnet: None,
            ip_adapter: None,
            acceleration: Acceleration::None,
            apg: None,
        }
    }

    fn encoded(texts: &Texts<Tensor>, call: &Call, is_guided: bool, width: usize) -> Result<bool> {
        let context = Context { observer: &Unobserved, trace: None };
        let mut is_new = false;
        let text = texts.of(call, is_guided, &context, || {
            is_new = true;
            // of any size in the room of one number
            Ok(Tensor::zeros((), DType::F32, &Device::Cpu)?.broadcast_as(width)?)
        })?;
        assert_eq!(text.elem_count(), width);
        Ok(is_new)
    }

    #[test]
    fn what_says_the_same_is_encoded_once() -> Result<()> {
        let (texts, call) = (Texts::default(), call());
        assert!(encoded(&texts, &call, false, 3)?);
        assert!(!encoded(&texts, &Call { seed: 9, steps: 7, negative: "c".into(), ..call.clone() }, false, 3)?);
        for other in [
            Call { prompt: "a fax".into(), ..call.clone() },
            Call { images: call.images + 1, ..call.clone() },
            Call { max_sequence_length: Some(77), ..call.clone() },
        ] {
            assert!(encoded(&texts, &other, false, 3)?);
        }
        assert!(encoded(&texts, &call, true, 4)? && !encoded(&texts, &call, true, 4)?);
        assert!(encoded(&texts, &Call { negative: "c".into(), ..call }, true, 5)?);
        Ok(())
    }

    #[test]
    fn the_least_recent_ones_go_where_they_are_many() -> Result<()> {
        let (texts, width) = (Texts::default(), BYTES / 4 / 4);
        let call = |n: usize| Call { prompt: format!("{n} foxes"), ..call() };
        for n in 0..4 {
            assert!(encoded(&texts, &call(n), false, width)?);
            assert!(!encoded(&texts, &call(0), false, width)?);
        }
        // four take the room with their words; the first was used last
        assert!(encoded(&texts, &call(1), false, width)?);
        assert!(!encoded(&texts, &call(0), false, width)?);
        assert!(texts.with(|kept| kept.bytes) <= BYTES);
        // one that is larger than all of the room is not kept
        assert!(encoded(&texts, &call(9), false, 5 * width)? && encoded(&texts, &call(9), false, 5 * width)?);
        Ok(())
    }
}
