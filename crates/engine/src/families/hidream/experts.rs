//! A mixture of feed-forwards, the experts, of which every token sees few.

use candle_core::{D, DType, Tensor};

use super::config::HiDreamConfig;
use crate::error::Result;
use crate::nn::SwiGlu;
use crate::weights::Weights;

/// Names of the three matrices of a feed-forward: `w2(silu(w1 x) · w3 x)`.
pub(super) const FEED: [&str; 3] = ["w1", "w3", "w2"];

/// Experts of which a gate chooses for every token, and one that all tokens share.
pub(super) struct Experts {
    gate: Tensor, // [experts, width], float32
    routed: Vec<SwiGlu>,
    shared: SwiGlu,
    /// How many a token sees.
    activated: usize,
}

/// The tokens that one expert sees, and how much each counts.
#[derive(Clone, Debug, Default, PartialEq)]
struct Route {
    tokens: Vec<u32>,
    shares: Vec<f32>,
}

impl Experts {
    pub(super) fn load(config: &HiDreamConfig, w: &Weights) -> Result<Self> {
        let (width, experts) = (config.width(), w.pp("experts"));
        let expert = |i| SwiGlu::load(&experts.pp(i), FEED, width, config.wide());
        Ok(Self {
            gate: w.pp("gate").get((config.experts, width), "weight")?.to_dtype(DType::F32)?,
            routed: (0..config.experts).map(expert).collect::<Result<_>>()?,
            shared: SwiGlu::load(&w.pp("shared_experts"), FEED, width, config.wide_shared())?,
            activated: config.activated,
        })
    }

    /// `[batch, tokens, width]`. Each expert computes the tokens that were sent to it, and no others; their sums are taken
    /// in the order of the experts.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let width = x.dim(D::Minus1)?;
        let rows = x.reshape((x.elem_count() / width, width))?;
        let mut sum = rows.zeros_like()?;
        for (expert, route) in self.routed.iter().zip(self.routes(&rows)?) {
            if route.tokens.is_empty() {
                continue;
            }
            let count = route.tokens.len();
            let tokens = Tensor::from_vec(route.tokens, count, x.device())?;
            let shares = Tensor::from_vec(route.shares, (count, 1), x.device())?.to_dtype(x.dtype())?;
            let said = expert.forward(&rows.index_select(&tokens, 0)?)?.broadcast_mul(&shares)?;
            sum = sum.index_add(&tokens, &said, 0)?;
        }
        Ok((sum.reshape(x.dims())? + self.shared.forward(x)?)?)
    }

    /// Who sees what of `[tokens, width]`. The gate is computed in float32: where two experts are nearly as good, a
    /// rounded number would send the token elsewhere.
    fn routes(&self, rows: &Tensor) -> Result<Vec<Route>> {
        let scores = rows.to_dtype(DType::F32)?.matmul(&self.gate.t()?)?.to_vec2::<f32>()?;
        Ok(routes(&scores, self.activated))
    }
}

/// Of every token's scores the softmax, and of that the largest few; their shares are left as they are.
fn routes(scores: &[Vec<f32>], activated: usize) -> Vec<Route> {
    let mut routes = vec![Route::default(); scores.first().map_or(0, Vec::len)];
    for (token, scores) in scores.iter().enumerate() {
        let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f32> = scores.iter().map(|score| (score - largest).exp()).collect();
        let sum: f32 = powers.iter().sum();
        let mut order: Vec<usize> = (0..powers.len()).collect();
        order.sort_by(|a, b| powers[*b].total_cmp(&powers[*a]));
        for expert in order.into_iter().take(activated) {
            routes[expert].tokens.push(token as u32);
            routes[expert].shares.push(powers[expert] / sum);
        }
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_goes_to_its_best_experts_with_their_shares() {
        let scores = [vec![0.0, 2f32.ln(), 5f32.ln(), f32::NEG_INFINITY], vec![3f32.ln(), 0.0, 0.0, 3f32.ln()]];
        let found = routes(&scores, 2);
        let tokens: Vec<_> = found.iter().map(|route| route.tokens.clone()).collect();
        assert_eq!(tokens, [vec![1], vec![0], vec![0], vec![1]]);
        let shares: Vec<f32> = found.iter().flat_map(|route| route.shares.clone()).collect();
        for (share, expected) in shares.iter().zip([3.0 / 8.0, 2.0 / 8.0, 5.0 / 8.0, 3.0 / 8.0]) {
            assert!((share - expected).abs() < 1e-6, "{shares:?}");
        }
        assert!(routes(&[], 2).is_empty());
    }
}
