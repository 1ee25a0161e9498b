//! How much memory the LoRAs of a call may take: what the model that they change warrants.

use super::file::File;
use super::lookup::{Part, Target};
use super::module::{Module, Said};
use crate::error::Result;

/// Rank that costs nothing: what small matrices may have beyond their own size.
const FREE_RANK: usize = 256;

/// Numbers that are left for the LoRAs of a call.
pub(super) struct Budget {
    left: usize,
}

impl Budget {
    /// So many as all of the model's parts hold.
    pub(super) fn of(parts: &[Part<'_>]) -> Self {
        let shapes = parts.iter().flat_map(|part| part.weights.asked().into_values());
        let numbers = shapes.map(|shape| {
            let rows = shape.first().copied().unwrap_or(1);
            warranted(rows, shape.iter().skip(1).product())
        });
        Self { left: numbers.fold(0, usize::saturating_add) }
    }

    /// Takes what a module's change holds.
    pub(super) fn spend(&mut self, file: &File, said: &Said) -> Result<()> {
        let left = self.left.checked_sub(said.numbers());
        self.left = left.ok_or_else(|| {
            file.refuse("with it, the LoRAs of this call hold more numbers than the model itself; leave some out")
        })?;
        Ok(())
    }
}

/// A file whose tensors are larger than what they change says nothing that the matrices themselves could not say shorter.
pub(super) fn check(file: &File, modules: &[Module<'_>]) -> Result<()> {
    let of = |target: &Target| warranted(target.rows(), target.columns);
    let most = modules.iter().map(|module| of(&module.target)).fold(0, usize::saturating_add);
    let tensors = modules.iter().flat_map(|module| module.roles.values());
    let held = tensors.map(|name| file.shape(name).iter().product()).fold(0, usize::saturating_add);
    if held > most {
        let problem = format!("its tensors hold {held} numbers; for what they change, {most} are the most");
        return Err(file.refuse(problem));
    }
    Ok(())
}

/// Numbers that a change of a matrix may have.
fn warranted(rows: usize, columns: usize) -> usize {
    rows.saturating_mul(columns).saturating_add(FREE_RANK.saturating_mul(rows.saturating_add(columns)))
}
