//! Noise schedules and the steps between them.

mod flow_euler;

pub use flow_euler::{FlowEuler, FlowEulerConfig, Schedule};
