//! A change of a matrix, in the form in which it is small.

use candle_core::{D, DType, Device, Tensor};

use crate::error::Result;

/// What is added to a matrix `[rows, columns]`; a tensor of more dimensions counts as one, its first dimension as rows.
#[derive(Clone, Debug)]
pub enum Delta {
    /// `up` · `down`: `[rows, rank]` and `[rank, columns]`.
    Pair {
        /// `[rank, columns]`.
        down: Tensor,
        /// `[rows, rank]`.
        up: Tensor,
    },
    /// The Kronecker product of two matrices, and which of its rows: (first, count), in this order.
    Kron {
        /// Multiplies whole copies of `right`.
        left: Tensor,
        /// The block that is repeated.
        right: Tensor,
        /// Rows that count.
        rows: Vec<(usize, usize)>,
    },
    /// (`a.0` · `b.0`) ∘ (`a.1` · `b.1`), entry by entry: each `a` `[rows, rank]`, each `b` `[rank, columns]`.
    Hadamard {
        /// Left factors.
        a: [Tensor; 2],
        /// Right factors.
        b: [Tensor; 2],
    },
    /// Every number, `[rows, columns]`.
    Whole(Tensor),
}

impl Delta {
    /// The entrywise product of two products of low rank, which is itself one of the product of their ranks: as that, where
    /// it saves anything.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn hadamard(a: [Tensor; 2], b: [Tensor; 2]) -> Result<Self> {
        let (rows, columns) = (a[0].dim(0)?, b[0].dim(1)?);
        let (first, second) = (a[0].dim(1)?, a[1].dim(1)?);
        let rank = first.saturating_mul(second);
        if rank.saturating_mul(rows + columns) > rows * columns {
            return Ok(Self::Hadamard { a, b });
        }
        let up = a[0].unsqueeze(2)?.broadcast_mul(&a[1].unsqueeze(1)?)?.reshape((rows, rank))?;
        let down = b[0].unsqueeze(1)?.broadcast_mul(&b[1].unsqueeze(0)?)?.reshape((rank, columns))?;
        Ok(Self::Pair { down, up })
    }

    /// Whether a product with it takes less than the matrix itself would.
    pub fn is_small(&self) -> bool {
        match self {
            Self::Pair { down, up } => {
                let (rows, columns) = (up.dims()[0], down.dims()[1]);
                down.elem_count() + up.elem_count() <= rows * columns
            }
            Self::Kron { left, right, .. } => {
                let [a, b, c, d] = sides(left, right);
                let between = Order::of([a, b, c, d]).between;
                left.elem_count() + right.elem_count() + between <= (a * c * b * d).max(2 * (a * c + b * d))
            }
            Self::Hadamard { .. } | Self::Whole(_) => false,
        }
    }

    /// How many numbers it holds.
    pub fn numbers(&self) -> usize {
        match self {
            Self::Pair { down: a, up: b } | Self::Kron { left: a, right: b, .. } => a.elem_count() + b.elem_count(),
            Self::Hadamard { a, b } => a.iter().chain(b).map(Tensor::elem_count).sum(),
            Self::Whole(all) => all.elem_count(),
        }
    }

    /// x Δᵀ for `[n, columns]`: `[n, rows]`.
    ///
    /// # Errors
    /// Shapes that do not fit, or a device out of memory.
    pub fn product(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Pair { down, up } => Ok(x.matmul(&down.t()?)?.matmul(&up.t()?)?),
            Self::Kron { left, right, rows } => kron_product(x, left, right, rows),
            Self::Hadamard { .. } | Self::Whole(_) => Ok(x.matmul(&self.whole()?.to_dtype(x.dtype())?.t()?)?),
        }
    }

    /// All of it, `[rows, columns]`.
    ///
    /// # Errors
    /// Shapes that do not fit, or a device out of memory.
    pub fn whole(&self) -> Result<Tensor> {
        match self {
            Self::Pair { down, up } => Ok(up.matmul(down)?),
            Self::Kron { left, right, rows } => {
                let ((a, b), (c, d)) = (left.dims2()?, right.dims2()?);
                let product = left.reshape((a, 1, b, 1))?.broadcast_mul(&right.reshape((1, c, 1, d))?)?;
                select(&product.reshape((a * c, b * d))?, 0, rows)
            }
            Self::Hadamard { a, b } => Ok((a[0].matmul(&b[0])? * a[1].matmul(&b[1])?)?),
            Self::Whole(all) => Ok(all.clone()),
        }
    }

    /// These rows of it: (first, count), in this order.
    ///
    /// # Errors
    /// Rows that it does not have.
    pub fn rows(&self, wanted: &[(usize, usize)]) -> Result<Self> {
        let cut = |t: &Tensor| select(t, 0, wanted);
        Ok(match self {
            Self::Pair { down, up } => Self::Pair { down: down.clone(), up: cut(up)? },
            Self::Kron { left, right, rows: whole } if is_all(whole, left.dim(0)? * right.dim(0)?) => {
                Self::Kron { left: left.clone(), right: right.clone(), rows: wanted.to_vec() }
            }
            Self::Kron { .. } => Self::Whole(cut(&self.whole()?)?),
            Self::Hadamard { a: [first, second], b } => Self::Hadamard { a: [cut(first)?, cut(second)?], b: b.clone() },
            Self::Whole(all) => Self::Whole(cut(all)?),
        })
    }

    /// A multiple of it.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn scaled(&self, factor: f64) -> Result<Self> {
        let times = |t: &Tensor| -> Result<Tensor> { Ok((t * factor)?) };
        Ok(match self {
            Self::Pair { down, up } => Self::Pair { down: down.clone(), up: times(up)? },
            Self::Kron { left, right, rows } => {
                Self::Kron { left: left.clone(), right: times(right)?, rows: rows.clone() }
            }
            Self::Hadamard { a: [first, second], b } => {
                Self::Hadamard { a: [times(first)?, second.clone()], b: b.clone() }
            }
            Self::Whole(all) => Self::Whole(times(all)?),
        })
    }

    /// In another type, on a device.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn to(&self, dtype: DType, device: &Device) -> Result<Self> {
        let to = |t: &Tensor| -> Result<Tensor> { Ok(t.to_dtype(dtype)?.to_device(device)?) };
        Ok(match self {
            Self::Pair { down, up } => Self::Pair { down: to(down)?, up: to(up)? },
            Self::Kron { left, right, rows } => Self::Kron { left: to(left)?, right: to(right)?, rows: rows.clone() },
            Self::Hadamard { a, b } => Self::Hadamard { a: [to(&a[0])?, to(&a[1])?], b: [to(&b[0])?, to(&b[1])?] },
            Self::Whole(all) => Self::Whole(to(all)?),
        })
    }
}

/// In which order a vector is multiplied with the two factors of a Kronecker product.
struct Order {
    /// Whether `right` comes first.
    right_first: bool,
    /// Numbers between the two, for one vector: never more than the mean of rows and columns.
    between: usize,
}

impl Order {
    /// For a left factor `[a, b]` and a right one `[c, d]`, the order with fewer numbers on the way: in the other one, a
    /// row times a column would take as many as the whole matrix for every vector.
    fn of([a, b, c, d]: [usize; 4]) -> Self {
        let (right, left) = (b.saturating_mul(c), a.saturating_mul(d));
        Self { right_first: right <= left, between: right.min(left) }
    }
}

fn sides(left: &Tensor, right: &Tensor) -> [usize; 4] {
    let side = |t: &Tensor, i: usize| t.dims().get(i).copied().unwrap_or(1);
    [side(left, 0), side(left, 1), side(right, 0), side(right, 1)]
}

/// x kron(left, right)ᵀ without the product of the two: one factor on every piece of a row of x, then the other.
fn kron_product(x: &Tensor, left: &Tensor, right: &Tensor, rows: &[(usize, usize)]) -> Result<Tensor> {
    let [a, b, c, d] = sides(left, right);
    let n = x.dim(0)?;
    let across = |x: Tensor, pieces: usize| -> Result<Tensor> {
        let turned = x.transpose(1, 2)?.contiguous()?.reshape((n * pieces, b))?.matmul(&left.t()?)?;
        Ok(turned.reshape((n, pieces, a))?.transpose(1, 2)?.contiguous()?)
    };
    let all = if Order::of([a, b, c, d]).right_first {
        let inner = x.contiguous()?.reshape((n * b, d))?.matmul(&right.t()?)?.reshape((n, b, c))?;
        across(inner, c)?
    } else {
        let inner = across(x.contiguous()?.reshape((n, b, d))?, d)?;
        inner.reshape((n * a, d))?.matmul(&right.t()?)?
    };
    select(&all.reshape((n, a * c))?, D::Minus1, rows)
}

fn select(t: &Tensor, dim: impl candle_core::shape::Dim + Copy, ranges: &[(usize, usize)]) -> Result<Tensor> {
    let length = t.dim(dim)?;
    if is_all(ranges, length) {
        return Ok(t.clone());
    }
    let parts =
        ranges.iter().map(|(first, count)| Ok(t.narrow(dim, *first, *count)?)).collect::<Result<Vec<Tensor>>>()?;
    // copied, so that a part does not hold the whole
    Ok(Tensor::cat(&parts, dim)?.contiguous()?)
}

fn is_all(ranges: &[(usize, usize)], length: usize) -> bool {
    ranges == [(0, length)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Generator;

    fn close(a: &Tensor, b: &Tensor) -> Result<bool> {
        Ok(a.dims() == b.dims() && (a - b)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-5)
    }

    #[test]
    fn every_form_agrees_with_the_whole_of_it() -> Result<()> {
        let mut g = Generator::new(3);
        let mut noise = |shape: &[usize]| g.noise(shape);
        let loha = |g: &mut dyn FnMut(&[usize]) -> Result<Tensor>, rank: usize| -> Result<Delta> {
            let (a, b) = ([g(&[24, rank])?, g(&[24, rank])?], [g(&[rank, 20])?, g(&[rank, 20])?]);
            Delta::hadamard(a, b)
        };
        let forms = [
            Delta::Pair { down: noise(&[3, 20])?, up: noise(&[24, 3])? },
            Delta::Kron { left: noise(&[4, 5])?, right: noise(&[6, 4])?, rows: vec![(0, 24)] },
            Delta::Kron { left: noise(&[1, 20])?, right: noise(&[24, 1])?, rows: vec![(0, 24)] },
            Delta::Kron { left: noise(&[24, 1])?, right: noise(&[1, 20])?, rows: vec![(0, 24)] },
            loha(&mut noise, 2)?,
            loha(&mut noise, 7)?,
            Delta::Whole(noise(&[24, 20])?),
        ];
        assert!(matches!((&forms[4], &forms[5]), (Delta::Pair { .. }, Delta::Hadamard { .. })));
        let x = noise(&[5, 20])?;
        for form in forms {
            let whole = form.whole()?;
            assert!(close(&form.product(&x)?, &x.matmul(&whole.t()?)?)?, "{form:?}");
            assert!(close(&form.scaled(-0.5)?.whole()?, &(&whole * -0.5)?)?, "{form:?}");
            let swapped = form.rows(&[(12, 12), (0, 12)])?;
            let expected = Tensor::cat(&[whole.narrow(0, 12, 12)?, whole.narrow(0, 0, 12)?], 0)?;
            assert!(close(&swapped.whole()?, &expected)?, "{form:?}");
            assert!(close(&swapped.product(&x)?, &x.matmul(&expected.t()?)?)?, "{form:?}");
            assert!(close(&swapped.rows(&[(5, 3)])?.whole()?, &expected.narrow(0, 5, 3)?)?, "{form:?}");
        }
        Ok(())
    }

    /// In the wrong order, 3072 columns times 3072 rows would be between the factors for every token.
    #[test]
    fn no_order_of_factors_takes_more_than_vectors_do() -> Result<()> {
        for [a, b, c, d] in
            [[1, 3072, 3072, 1], [3072, 1, 1, 3072], [64, 48, 48, 64], [1, 1, 3072, 3072], [8, 1, 2, 4000]]
        {
            let between = Order::of([a, b, c, d]).between;
            assert!(2 * between <= a * c + b * d, "{between} between [{a}, {b}] and [{c}, {d}]");
        }
        let ones = |shape: (usize, usize)| Tensor::ones(shape, DType::F32, &Device::Cpu);
        let bomb = Delta::Kron { left: ones((1, 3072))?, right: ones((3072, 1))?, rows: vec![(0, 3072)] };
        assert!(bomb.is_small());
        // 38 GB in the other order
        let product = bomb.product(&ones((1024, 3072))?)?;
        assert_eq!(product.dims(), [1024, 3072]);
        assert_eq!(product.max_all()?.to_scalar::<f32>()?, 3072.0);
        Ok(())
    }
}
