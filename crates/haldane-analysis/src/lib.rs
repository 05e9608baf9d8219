//! Judges: samples in, verdict with evidence out.
//!
//! Hosts count requests of both versions in batches of about a second ([`Batch`]) and keep the last of them ([`Series`]). A judge
//! looks at the batches of its window and answers with a judgement for the state machine and with [`Evidence`] for the store and for
//! people. There is one judge, [`threshold`]: limits on minimum samples. What is shown to people while it works is in [`figures`].
//!
//! All arithmetic is on integers (parts per million, microseconds, bytes; products in 128 bits), so that the same samples give the same
//! verdict, byte for byte, on every machine and in replay.
//!
//! **Invariant:** nothing in this crate reads the outside world, uses floats or panics; missing, stale or partial data is never a pass.

#![warn(clippy::float_arithmetic)]

pub mod evidence;
pub mod figures;
pub mod sample;
pub mod series;
pub mod share;
pub mod threshold;

mod limit;
mod reading;
#[cfg(test)]
mod testing;

pub use evidence::{Evidence, GuardEvidence};
pub use sample::{Bounds, Bucket, Gauges, Sample};
pub use series::{Batch, PushError, Series, Totals};
