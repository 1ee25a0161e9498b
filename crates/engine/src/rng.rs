//! Torch's CPU random generator, bit for bit.
//!
//! A seed gives the same noise here as `torch.randn(…, generator=torch.Generator("cpu").manual_seed(seed))` gives on
//! x86 with AVX2 or better, so an image of ours can be held against diffusers' image. Facts: MT19937
//! (Matsumoto and Nishimura, 1998), torch's `normal_fill`, and the Cephes single-precision ln, sin and cos that torch
//! vectorises with fused multiply-add.

use candle_core::{Device, Tensor};

use crate::error::Result;

const N: usize = 624;
const M: usize = 397;

/// A generator of its own for each job; nothing here is global.
#[derive(Clone)]
pub struct Generator {
    state: [u32; N],
    next: usize,
    /// The second value of a pair drawn by the short rule, kept across calls as torch does.
    cached: Option<f64>,
}

impl Generator {
    /// Torch seeds the twister with the low 32 bits; seeds that differ by 2³² collide there and so here.
    pub fn new(seed: u64) -> Self {
        let mut state = [0u32; N];
        state[0] = seed as u32;
        for i in 1..N {
            let previous = state[i - 1];
            state[i] = 1_812_433_253u32.wrapping_mul(previous ^ (previous >> 30)).wrapping_add(i as u32);
        }
        Self { state, next: N, cached: None }
    }

    /// `n` standard normal values as `torch.randn(n)` draws them in float32.
    pub fn randn(&mut self, n: usize) -> Vec<f32> {
        if n < 16 {
            return (0..n).map(|_| self.normal_f64() as f32).collect();
        }
        let mut out: Vec<f32> = (0..n).map(|_| self.uniform()).collect();
        for block in out.chunks_exact_mut(16) {
            box_muller(block);
        }
        if !n.is_multiple_of(16) {
            // torch draws the last sixteen anew, overlapping the block before
            let tail = &mut out[n - 16..];
            tail.fill_with(|| self.uniform());
            box_muller(tail);
        }
        out
    }

    /// Standard normal noise of the given shape, float32, on the CPU.
    pub fn noise(&mut self, shape: &[usize]) -> Result<Tensor> {
        let values = self.randn(shape.iter().product());
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    }

    fn uniform(&mut self) -> f32 {
        (self.next_u32() & 0x00ff_ffff) as f32 * (1.0 / 16_777_216.0)
    }

    fn normal_f64(&mut self) -> f64 {
        if let Some(value) = self.cached.take() {
            return value;
        }
        let (u1, u2) = (self.uniform_f64(), self.uniform_f64());
        let radius = (-2.0 * (-u2).ln_1p()).sqrt();
        let angle = 2.0 * std::f64::consts::PI * u1;
        self.cached = Some(radius * angle.sin());
        radius * angle.cos()
    }

    fn uniform_f64(&mut self) -> f64 {
        let high = u64::from(self.next_u32());
        let low = u64::from(self.next_u32());
        ((high << 32 | low) & ((1 << 53) - 1)) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    fn next_u32(&mut self) -> u32 {
        if self.next == N {
            self.twist();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn twist(&mut self) {
        for i in 0..N {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
            let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ odd;
        }
        self.next = 0;
    }
}

/// Sixteen uniforms in [0, 1) become sixteen normals: eight radii, eight angles.
fn box_muller(d: &mut [f32]) {
    for j in 0..8 {
        let radius = (-2.0 * ln(1.0 - d[j])).sqrt();
        let (sin, cos) = sin_cos(2.0 * std::f32::consts::PI * d[j + 8]);
        d[j] = radius * cos;
        d[j + 8] = radius * sin;
    }
}

/// Cephes `logf` for normal positive x, each multiply-add rounded once.
fn ln(x: f32) -> f32 {
    const P: [f32; 9] = [
        7.037_683_6e-2,
        -1.151_461e-1,
        1.167_699_84e-1,
        -1.242_014_1e-1,
        1.424_932_3e-1,
        -1.666_805_8e-1,
        2.000_071_4e-1,
        -2.499_999_4e-1,
        3.333_333e-1,
    ];
    let bits = x.to_bits();
    let mut e = (bits >> 23) as i32 - 126;
    let m = f32::from_bits((bits & 0x007f_ffff) | 0x3f00_0000); // in [0.5, 1)
    let t = if m < std::f32::consts::FRAC_1_SQRT_2 {
        e -= 1;
        (m - 1.0) + m
    } else {
        m - 1.0
    };
    let (e, z) = (e as f32, t * t);
    let mut y = P[0];
    for c in &P[1..] {
        y = y.mul_add(t, *c);
    }
    y *= t;
    y = y.mul_add(z, e * -2.121_944_4e-4);
    y = (-z).mul_add(0.5, y);
    e.mul_add(0.693_359_4, t + y)
}

/// Cephes `sinf` and `cosf` for x ≥ 0 with the three-part reduction by π/4.
fn sin_cos(x: f32) -> (f32, f32) {
    let j = ((x * 1.273_239_5) as i32 + 1) & !1;
    let y = j as f32;
    let mut x = y.mul_add(-0.785_156_25, x);
    x = y.mul_add(-2.418_756_5e-4, x);
    x = y.mul_add(-3.774_895e-8, x);
    let z = x * x;
    let mut c = 2.443_315_7e-5f32;
    c = c.mul_add(z, -1.388_731_6e-3);
    c = c.mul_add(z, 4.166_664_6e-2);
    c = (c * z).mul_add(z, -(z * 0.5)) + 1.0;
    let mut s = -1.951_529_6e-4f32;
    s = s.mul_add(z, 8.332_161e-3);
    s = s.mul_add(z, -1.666_665_5e-1);
    s = (s * z).mul_add(x, x);
    let (sin, cos) = if j & 2 == 0 { (s, c) } else { (c, s) };
    (if j & 4 != 0 { -sin } else { sin }, if !(j - 2) & 4 != 0 { -cos } else { cos })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seed: u64, n: usize, first: [u32; 2], sha256_prefix: &str) {
        use sha2::{Digest, Sha256};
        let values = Generator::new(seed).randn(n);
        assert_eq!([values[0].to_bits(), values[1].to_bits()], first, "seed {seed}");
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let hash: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
        assert!(hash.starts_with(sha256_prefix), "seed {seed}, n {n}: {hash}");
    }

    /// Hashes of `torch.randn(n)` recorded from torch 2.15 on x86 with AVX2.
    #[test]
    fn equals_torch_bit_for_bit() {
        check(0, 16, [0xbf90_1b85, 0xbf93_808a], "7648137a3102464260446542");
        check(42, 16 * 128 * 128, [0x3ff6_a529, 0x3fbe_5f53], "9d775f7135ddb2c8e138af1e");
        check(1234, 4 * 128 * 128, [0xbde4_ccb4, 0xbefe_410f], "d347e1a605b8d6feff371f6d");
        check((1 << 32) + 5, 64, [0x3feb_d177, 0x3f04_d5ca], "557f8fb952afdad687d712ef");
    }

    #[test]
    fn equals_torch_where_the_tail_is_drawn_anew() {
        check(7, 1000, [0xbf51_f456, 0x3eca_902b], "4b1786693e247183aa6805ed");
    }

    #[test]
    fn equals_torch_for_fewer_than_sixteen_values() {
        check(5, 15, [0xbef9_3b54, 0xbf1a_940d], "f676b47f73a0799cc24b08e2");
    }

    #[test]
    fn one_batch_equals_consecutive_single_draws() {
        let (mut a, mut b) = (Generator::new(9), Generator::new(9));
        let batch = a.randn(64);
        let singles = [b.randn(32), b.randn(32)].concat();
        assert_eq!(batch, singles);
    }
}
