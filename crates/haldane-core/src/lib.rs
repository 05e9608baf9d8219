//! The decision core of Haldane: what a rollout is, and how it moves.
//!
//! Everything here is data and pure functions. [`rollout::step`] takes a plan, a state, one input and the time, and gives the next
//! state with the effects that the host must bring about. There is no I/O, no clock, no randomness and no float in this crate, so
//! that the same inputs give the same decisions on every machine, in production, in replay and in the simulator.
//!
//! **Invariant:** nothing in this crate reads the outside world or panics.

#![warn(clippy::float_arithmetic)]

pub mod guard;
pub mod name;
pub mod plan;
pub mod request;
pub mod rollout;
pub mod verdict;
pub mod weight;

pub use name::{NameError, RolloutId, ServiceName, VersionName};
pub use weight::{Weight, WeightError};
