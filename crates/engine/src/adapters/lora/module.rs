//! What a file says of one module, as a change of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;

use super::file::File;
use super::keys::{Role, Side, short};
use super::lookup::Target;
use super::metadata::Metadata;
use crate::error::{Error, Result};
use crate::weights::Delta;

/// Numbers that are few, whatever the matrix.
const MOST_SMALL: usize = 1 << 16;

/// The tensors of a file that speak of one module.
pub(super) struct Module<'a> {
    /// Their names without their ends.
    pub(super) stem: &'a str,
    pub(super) target: Arc<Target>,
    /// Their names.
    pub(super) roles: BTreeMap<Role, &'a str>,
}

/// What a module's tensors say.
pub(super) struct Said {
    /// Of the whole weight, in the order of rows that the file has.
    pub(super) delta: Option<Delta>,
    /// Of the whole bias, `[rows, 1]`, likewise.
    pub(super) bias: Vec<Delta>,
    /// Beside it, differences: `[rows, columns]`.
    pub(super) diff: Option<Delta>,
    /// Lengths to bring rows or columns to, as the file has them: `[rows, 1]` or `[1, columns]`.
    pub(super) magnitude: Option<Tensor>,
}

impl Said {
    /// How many numbers it holds.
    pub(super) fn numbers(&self) -> usize {
        let deltas = self.delta.iter().chain(&self.bias).chain(&self.diff);
        let magnitude = self.magnitude.as_ref().map_or(0, Tensor::elem_count);
        deltas.map(Delta::numbers).fold(magnitude, usize::saturating_add)
    }
}

/// The three ways of writing a change in few numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pair,
    Hadamard,
    Kron,
}

impl Module<'_> {
    /// Reads it all; nothing is multiplied whose product would not have the module's shape.
    pub(super) fn read(&self, file: &File, folder: &str, metadata: &Metadata) -> Result<Said> {
        let reader = Reader { module: self, file, folder, metadata };
        let (delta, factor) = match reader.kind()? {
            None => (None, 1.0),
            Some(Kind::Pair) => reader.pair().map(|(delta, factor)| (Some(delta), factor))?,
            Some(Kind::Hadamard) => reader.hadamard().map(|(delta, factor)| (Some(delta), factor))?,
            Some(Kind::Kron) => reader.kron().map(|(delta, factor)| (Some(delta), factor))?,
        };
        let delta = delta.map(|delta| delta.scaled(factor)).transpose()?;
        let up_bias = reader.difference(Role::UpBias, 1)?.map(|bias| bias.scaled(factor)).transpose()?;
        let said = Said {
            magnitude: reader.magnitude(delta.is_some())?,
            bias: up_bias.into_iter().chain(reader.difference(Role::DiffBias, 1)?).collect(),
            diff: reader.difference(Role::Diff, self.target.columns)?,
            delta,
        };
        if said.delta.is_none() && said.diff.is_none() && said.bias.is_empty() {
            return Err(reader.refuse("has factors, but nothing that they belong to"));
        }
        Ok(said)
    }
}

/// Looks into a file for one module.
struct Reader<'a> {
    module: &'a Module<'a>,
    file: &'a File,
    folder: &'a str,
    metadata: &'a Metadata,
}

impl Reader<'_> {
    fn kind(&self) -> Result<Option<Kind>> {
        let kinds = self.module.roles.keys().filter_map(|role| match role {
            Role::Down | Role::Up | Role::Mid | Role::UpBias => Some(Kind::Pair),
            Role::Hada(_) => Some(Kind::Hadamard),
            Role::Lokr(_) | Role::LokrWhole(_) => Some(Kind::Kron),
            Role::Magnitude | Role::Diff | Role::DiffBias | Role::Alpha | Role::Scale | Role::Unknown => None,
        });
        let mut kinds: Vec<Kind> = kinds.collect();
        kinds.dedup();
        match kinds[..] {
            [] => Ok(None),
            [kind] => Ok(Some(kind)),
            _ => Err(self.refuse("is changed in two ways at once (LoRA, LoHa, LoKr)")),
        }
    }

    /// B · A, and the factor.
    fn pair(&self) -> Result<(Delta, f64)> {
        let (down, up) = (self.need(Role::Down)?, self.need(Role::Up)?);
        let (rank, columns) = self.shape(down)?;
        let (rows, up_rank) = self.shape(up)?;
        self.check_rank(rank)?;
        let factor = self.factor(Some(rank))?;
        if let Some(mid) = self.get(Role::Mid) {
            return Ok((self.through(down, mid, up)?, factor));
        }
        let missing = match self.module.target.narrow {
            Some(narrow) if narrow == columns => self.module.target.columns - narrow,
            _ => 0,
        };
        self.check_product((rows, columns + missing), rank == up_rank, &[up, down])?;
        // nothing is changed of what a narrower model does not see
        let down = self.flat(down)?.pad_with_zeros(1, 0, missing)?;
        Ok((Delta::Pair { down, up: self.flat(up)? }, factor))
    }

    /// A convolution's pair with a small convolution between: `[p, q, height, width]` between `[q, in]` and `[out, p]`.
    fn through(&self, down: &str, mid: &str, up: &str) -> Result<Delta> {
        let ((q, input), (rows, up_rank)) = (self.shape(down)?, self.shape(up)?);
        let shape = self.file.shape(mid);
        let [p, mid_rank, height, width] = shape[..] else {
            return Err(self
                .file
                .refuse(format!("{} should have four dimensions, and has shape {shape:?}", short(mid))));
        };
        let columns = input.saturating_mul(height).saturating_mul(width);
        self.check_rank(p)?;
        // what comes of it is as wide as the matrix, and so high
        if p > rows {
            return Err(
                self.refuse(&format!("has rank {p} in a convolution of {rows} channels; at most {rows} are of use"))
            );
        }
        self.check_product((rows, columns), up_rank == p && mid_rank == q, &[up, mid, down])?;
        // [p, place, q] · [q, in], then back to channel before place
        let places = self.file.tensor(mid)?.reshape((p, q, height * width))?.transpose(1, 2)?.contiguous()?;
        let all = places.reshape((p * height * width, q))?.matmul(&self.flat(down)?)?;
        let all = all.reshape((p, height * width, input))?.transpose(1, 2)?.contiguous()?;
        Ok(Delta::Pair { down: all.reshape((p, columns))?, up: self.flat(up)? })
    }

    /// (w1_a · w1_b) ∘ (w2_a · w2_b), and the factor.
    fn hadamard(&self) -> Result<(Delta, f64)> {
        use Side::{First, Second};
        let key = |first, second| self.need(Role::Hada((first, second)));
        let (a, b) = ([key(First, First)?, key(Second, First)?], [key(First, Second)?, key(Second, Second)?]);
        for (a, b) in a.into_iter().zip(b) {
            let ((rows, a_rank), (rank, columns)) = (self.shape(a)?, self.shape(b)?);
            self.check_rank(rank)?;
            self.check_product((rows, columns), a_rank == rank, &[a, b])?;
        }
        let factor = self.factor(Some(self.shape(b[0])?.0))?;
        let flat = |keys: [&str; 2]| -> Result<[Tensor; 2]> { Ok([self.flat(keys[0])?, self.flat(keys[1])?]) };
        Ok((Delta::hadamard(flat(a)?, flat(b)?)?, factor))
    }

    /// kron(w1, w2), and the factor: that of whichever is in two parts, w2 first; 1 where both are whole.
    fn kron(&self) -> Result<(Delta, f64)> {
        let (left, right) = (self.side(Side::First)?, self.side(Side::Second)?);
        let shape = (left.rows.saturating_mul(right.rows), left.columns.saturating_mul(right.columns));
        self.check_product(shape, true, &[left.keys[0], right.keys[0]])?;
        let factor = self.factor(right.rank.or(left.rank))?;
        for (side, other) in [(&left, &right), (&right, &left)] {
            // of one number and a product it is the product
            if let ([a, b], 1) = (&side.keys[..], other.rows * other.columns) {
                let up = self.flat(a)?.broadcast_mul(&self.multiplied(other)?)?;
                return Ok((Delta::Pair { down: self.flat(b)?, up }, factor));
            }
            let (own, all) = (side.rows * side.columns, shape.0 * shape.1);
            if side.rank.is_some() && own > all / 4 + MOST_SMALL {
                let problem =
                    "has a LoKr factor in two parts that is nearly as large as the matrix; a smaller one is of use";
                return Err(self.refuse(problem));
            }
        }
        let delta = Delta::Kron {
            rows: vec![(0, left.rows * right.rows)],
            left: self.multiplied(&left)?,
            right: self.multiplied(&right)?,
        };
        Ok((delta, factor))
    }

    /// What there is of w1 or w2.
    fn side(&self, side: Side) -> Result<KronSide<'_>> {
        let parts = [Role::Lokr((side, Side::First)), Role::Lokr((side, Side::Second))];
        let has_parts = parts.iter().any(|part| self.get(*part).is_some());
        match self.get(Role::LokrWhole(side)) {
            Some(_) if has_parts => Err(self.refuse("has a factor of LoKr both whole and in two parts")),
            Some(key) => {
                let (rows, columns) = self.shape(key)?;
                Ok(KronSide { keys: vec![key], rows, columns, rank: None })
            }
            None if !has_parts => Err(self.missing(Role::LokrWhole(side))),
            None => {
                let (a, b) = (self.need(parts[0])?, self.need(parts[1])?);
                let ((rows, a_rank), (rank, columns)) = (self.shape(a)?, self.shape(b)?);
                self.check_rank(rank)?;
                if a_rank != rank {
                    return Err(self.no_product(&[a, b]));
                }
                Ok(KronSide { keys: vec![a, b], rows, columns, rank: Some(rank) })
            }
        }
    }

    fn multiplied(&self, side: &KronSide<'_>) -> Result<Tensor> {
        match side.keys[..] {
            [a, b] => Ok(self.flat(a)?.matmul(&self.flat(b)?)?),
            _ => self.flat(side.keys[0]),
        }
    }

    /// Numbers to be added to rows of so many columns.
    fn difference(&self, role: Role, columns: usize) -> Result<Option<Delta>> {
        let Some(key) = self.get(role) else { return Ok(None) };
        let (found, rows) = (self.file.shape(key), self.module.target.rows());
        // of a vector's one column nothing is said; a table of one row may lack that dimension
        if found.first() != Some(&rows) && rows != 1 || found.iter().product::<usize>() != rows * columns {
            let wanted = if columns == 1 { format!("[{rows}]") } else { format!("[{rows}, {columns}]") };
            return Err(self.file.refuse(format!("{} has shape {found:?}; {wanted} is needed", short(key))));
        }
        Ok(Some(Delta::Whole(self.file.tensor(key)?.reshape((rows, columns))?)))
    }

    fn magnitude(&self, has_delta: bool) -> Result<Option<Tensor>> {
        let Some(key) = self.get(Role::Magnitude) else { return Ok(None) };
        if !has_delta {
            return Err(self.refuse("has magnitudes (DoRA), but no matrices"));
        }
        let (rows, columns) = (self.module.target.rows(), self.module.target.columns);
        match self.shape(key)? {
            shape if shape == (rows, 1) || shape == (1, columns) => Ok(Some(self.flat(key)?)),
            _ => {
                let wanted = format!("[{rows}], [{rows}, 1] or [1, {columns}] is needed");
                Err(self.file.refuse(format!("{} has shape {:?}; {wanted}", short(key), self.file.shape(key))))
            }
        }
    }

    /// alpha / rank, or what stands in for it, times the module's own scale. Without a rank, alpha means nothing.
    fn factor(&self, rank: Option<usize>) -> Result<f64> {
        let own = self.get(Role::Scale).map_or(Ok(1.0), |key| self.file.number(key))?;
        let factor = match (rank, self.get(Role::Alpha)) {
            (None, _) => 1.0,
            (Some(rank), Some(key)) => self.file.number(key)? / rank as f64,
            (Some(rank), None) => self.metadata.factor(self.file, self.folder, self.module.target.module(), rank)?,
        };
        Ok(own * factor)
    }

    fn get(&self, role: Role) -> Option<&str> {
        self.module.roles.get(&role).copied()
    }

    fn need(&self, role: Role) -> Result<&str> {
        self.get(role).ok_or_else(|| self.missing(role))
    }

    fn missing(&self, role: Role) -> Error {
        let has = self.module.roles.values().next().map_or_else(String::new, |key| short(key));
        self.file.refuse(format!("{has} is there, but its {} is missing", role.spelling()))
    }

    /// First dimension, and all others together.
    fn shape(&self, key: &str) -> Result<(usize, usize)> {
        let shape = self.file.shape(key);
        match (shape.first(), shape.iter().product::<usize>()) {
            (Some(first), count) if count > 0 => Ok((*first, count / first)),
            _ => Err(self.file.refuse(format!("{} should be a matrix, and has shape {shape:?}", short(key)))),
        }
    }

    fn flat(&self, key: &str) -> Result<Tensor> {
        Ok(self.file.tensor(key)?.reshape(self.shape(key)?)?)
    }

    /// A change of higher rank would cost more than the matrix, and say nothing that the matrix cannot hold.
    fn check_rank(&self, rank: usize) -> Result<()> {
        let Target { columns, .. } = *self.module.target;
        let most = self.module.target.rows().max(columns);
        if rank > most {
            return Err(self.refuse(&format!("has rank {rank}; a matrix of its size has at most {most}")));
        }
        Ok(())
    }

    fn check_product(&self, shape: (usize, usize), fits: bool, keys: &[&str]) -> Result<()> {
        let wanted = (self.module.target.rows(), self.module.target.columns);
        if fits && shape == wanted { Ok(()) } else { Err(self.no_product(keys)) }
    }

    fn no_product(&self, keys: &[&str]) -> Error {
        let found: Vec<String> = keys.iter().map(|key| format!("{} {:?}", short(key), self.file.shape(key))).collect();
        let wanted = [self.module.target.rows(), self.module.target.columns];
        let problem =
            format!("{} do not multiply to the shape of this model's matrix, {wanted:?}", found.join(" and "));
        self.file.refuse(format!("{problem}: it was made for another model"))
    }

    fn refuse(&self, problem: &str) -> Error {
        self.file.refuse(format!("{} {problem}", short(self.module.stem)))
    }
}

/// One of the two factors of a Kronecker product.
struct KronSide<'a> {
    /// One matrix, or two to be multiplied.
    keys: Vec<&'a str>,
    rows: usize,
    columns: usize,
    /// Of the two.
    rank: Option<usize>,
}
