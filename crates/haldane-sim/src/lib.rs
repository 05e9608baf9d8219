//! A virtual world that the real decision core runs in.
//!
//! Each rollout has a seed. From it follow a plan, a world with its troubles (slow replicas, a late router, missing data, people who
//! meddle, jumping clocks, a failing disk) and the moments at which the host dies. The host does what production does, around the
//! real [`haldane_core::rollout::step`], and a checker looks at each call, each order and each end.
//!
//! **Invariant:** the same seed gives the same trace, byte for byte.

#[cfg(test)]
mod bands;
mod chance;
mod check;
mod coverage;
mod draw;
mod fault;
pub mod forecast;
mod host;
pub mod judges;
mod log;
mod run;
mod store;
mod variate;
mod world;

pub use self::{
    coverage::Coverage,
    fault::Fault,
    host::{Conduct, Saving, Unsaved},
    run::{Failure, Outcome, Summary, play, run, trace},
};
