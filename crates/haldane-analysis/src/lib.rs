//! Judges: samples in, verdict with evidence out.
//!
//! Hosts count requests of both versions in batches of about a second ([`Batch`]) and keep the last of them ([`Series`]). A judge
//! looks at the batches of its window and answers with a judgement for the state machine and with [`Evidence`] for the store and for
//! people. [`sequential`] is the default: it bets on evidence as it comes. [`threshold`] judges by limits on minimum samples. What is shown to people while it works is in [`figures`].
//!
//! The peers' judges stand beside it: [`score`] is Kayenta's, on points of two arms; [`argo`] and [`flagger`] are the rules by which Argo
//! Rollouts and Flagger assess measurements that were compared elsewhere.
//!
//! Counts, times and bytes are integers (parts per million, microseconds; products in 128 bits). Floats are only in modules that say why
//! they need them, and there only in operations that give the same bits everywhere. So the same samples give the same verdict, byte for
//! byte, on every machine and in replay.
//!
//! **Invariant:** nothing in this crate reads the outside world or panics; missing, stale or partial data is never a pass.

#![warn(clippy::float_arithmetic)]

pub mod argo;
pub mod band;
pub mod evidence;
pub mod figures;
pub mod flagger;
pub mod looks;
pub mod panel;
pub mod recording;
pub mod sample;
pub mod score;
pub mod sequential;
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
