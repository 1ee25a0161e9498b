//! The devices of a process: one lane each, with models of its own. Jobs go where their model already is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use scumble_engine::{Device, Error, device, give_back, runs_plain};
use scumble_meters::{All, Meters};

use super::residency::{Key, Residency};
use crate::memory;

/// The lanes of a process.
#[derive(Default)]
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    /// How many jobs each has.
    jobs: Mutex<Vec<usize>>,
}

/// A device and the models that are loaded there.
pub(super) struct Lane {
    name: String,
    pub(super) device: Device,
    pub(super) residency: Residency,
}

/// A job's place in a lane, until it is dropped.
pub(super) struct Place {
    lanes: Arc<Lanes>,
    index: usize,
}

impl Lanes {
    /// A lane for each device by its name, in this order. `memory` is what the owner gives each device, in bytes; processors
    /// that are named several times share it.
    ///
    /// # Errors
    /// A device that this build does not reach.
    pub(crate) fn open(names: &[String], memory: Option<u64>, meters: &Meters) -> Result<Self, String> {
        let devices = names.iter().map(|name| device(name).map_err(|error| error.to_string()));
        let devices = devices.collect::<Result<Vec<_>, _>>()?;
        let processors = devices.iter().filter(|device| device.is_cpu()).count() as u64;
        let lane = |(name, device): (&String, Device)| {
            if let Some(why) = runs_plain(&device) {
                tracing::warn!(
                    device = name,
                    why,
                    "our kernels are wrong on this device and are not used; please report this"
                );
            }
            let (budget, whole) = memory::of_device(&device, memory);
            let sharing = if device.is_cpu() { processors.max(1) } else { 1 };
            let [budget, whole] = [budget, whole].map(|bytes| bytes.map(|bytes| bytes / sharing));
            Lane { name: name.clone(), device, residency: Residency::new(budget, whole, meters.clone()) }
        };
        let lanes: Vec<Lane> = names.iter().zip(devices).map(lane).collect();
        let jobs = Mutex::new(vec![0; lanes.len()]);
        Ok(Self { lanes, jobs })
    }

    /// One, for a single job.
    pub(super) fn one(device: Device) -> Self {
        let (budget, whole) = memory::of_device(&device, None);
        let lane = Lane { name: String::new(), device, residency: Residency::new(budget, whole, Meters::new()) };
        Self { lanes: vec![lane], jobs: Mutex::new(vec![0]) }
    }

    /// How many there are; none where runners are not ours.
    pub(crate) fn count(&self) -> usize {
        self.lanes.len()
    }

    /// The devices' names, for people.
    pub(crate) fn names(&self) -> String {
        self.lanes.iter().map(|lane| lane.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Tells what is in memory, by device; lanes of one name add up.
    pub(crate) fn show(&self, to: &All) {
        let to = &to.models;
        for gauge in [&to.loaded, &to.bytes, &to.limit] {
            gauge.reset();
        }
        for Lane { name, residency, .. } in &self.lanes {
            to.loaded.with_label_values(&[name]).add(residency.count() as f64);
            to.bytes.with_label_values(&[name]).add(residency.bytes() as f64);
            if let Some(limit) = residency.budget() {
                to.limit.with_label_values(&[name]).add(limit as f64);
            }
        }
    }

    /// The lane with the fewest jobs; of several the one where the model is.
    pub(super) fn place(self: &Arc<Self>, key: &Key) -> Place {
        let mut jobs = self.jobs();
        let rank = |index: &usize| (jobs[*index], !self.lanes[*index].residency.has(key));
        let index = (0..self.lanes.len()).min_by_key(rank).unwrap_or_default();
        jobs[index] += 1;
        Place { lanes: self.clone(), index }
    }

    /// Lets go of models that nobody has used for so long.
    pub(crate) fn let_go_idle(&self, longest: Duration) {
        self.lanes.iter().for_each(|lane| lane.residency.let_go_idle(longest));
    }

    fn jobs(&self) -> MutexGuard<'_, Vec<usize>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    /// Makes room for the next job where this one ran out of it: what is computed with is more than was planned for, or somebody
    /// else uses the device too.
    pub(super) fn after(&self, error: &Error) {
        if error.is_out_of_memory() {
            tracing::warn!(device = self.name, "the memory of the device did not suffice; models that nobody uses go");
            self.residency.let_go_idle(Duration::ZERO);
            give_back(&self.device);
        }
    }
}

impl std::ops::Deref for Place {
    type Target = Lane;

    fn deref(&self) -> &Lane {
        &self.lanes.lanes[self.index]
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lanes.jobs()[self.index] -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_spread_over_free_lanes() -> Result<(), String> {
        let lanes = Arc::new(Lanes::open(&["cpu".to_owned(), "cpu".to_owned()], None, &Meters::new())?);
        let key = Key { files: vec![(String::new(), "a".into())], dtype: String::new() };
        let (first, second) = (lanes.place(&key), lanes.place(&key));
        assert_eq!([first.index, second.index], [0, 1]);
        drop(first);
        assert_eq!(lanes.place(&key).index, 0, "the one that is free");
        assert_eq!((lanes.count(), lanes.names().as_str()), (2, "cpu, cpu"));
        assert!(
            Lanes::open(&["cpu".to_owned(), "cuda:0".to_owned()], None, &Meters::new()).is_err(),
            "not in this build"
        );
        Ok(())
    }

    #[test]
    fn processors_share_one_budget() -> Result<(), String> {
        let names = |count: usize| vec!["cpu".to_owned(); count];
        let of = |count| {
            Ok::<_, String>(Lanes::open(&names(count), Some(1_000), &Meters::new())?.lanes[0].residency.budget())
        };
        assert_eq!([of(1)?, of(2)?], [Some(850), Some(425)]);
        Ok(())
    }
}
