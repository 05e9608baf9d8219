//! The last batches of samples, oldest first, in a bounded ring.
//!
//! A service with few requests keeps more of them: what one batch lacks, an hour of them may have.
//!
//! **Invariant:** batches never overlap and their times only rise; there are at most [`BATCHES_MAX`].

use std::{collections::VecDeque, time::Duration};

use haldane_core::Weight;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{sample::Sample, share::Split};

/// The most batches kept: an hour of one-second batches, sixty times the default window.
///
/// At 100 filled buckets a version and batch, far more than a service fills in a second, that is 17 MiB; a quiet one stays under 2 MiB.
pub const BATCHES_MAX: usize = 3_600;

/// How many filled buckets are kept beyond the bound on batches: half a megabyte.
const BUCKETS_KEPT_MAX: usize = 20_000;

/// The most buckets of one sample: twice what a log-linear histogram with sixteen buckets per power of two has up to half an hour.
pub const BUCKETS_MAX: usize = 1_024;

/// What was counted and measured of both versions from one time to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// When counting began.
    pub from: Timestamp,
    /// When it ended.
    pub to: Timestamp,
    /// What was counted of stable.
    pub stable: Sample,
    /// What was counted of the canary.
    pub canary: Sample,
    /// The weight that was verified to be in force.
    pub weight: Weight,
}

/// The last batches, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    batches: VecDeque<Batch>,
    batches_max: usize,
    reach_max: usize,
    /// How many buckets all batches have.
    buckets: usize,
    dropped: u64,
    refused: u64,
}

/// The sum of the batches of a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// How many batches were summed.
    pub batches: u32,
    /// When the oldest of them began; when the window began if there is none.
    pub from: Timestamp,
    /// When the newest of them ended; the same as `from` if there is none.
    pub to: Timestamp,
    /// The time that the batches cover: less than `to - from` where some are missing.
    pub covered: Duration,
    /// What was counted of stable.
    pub stable: Sample,
    /// What was counted of the canary.
    pub canary: Sample,
    /// How requests were split at the newest weight; `None` if there is no batch.
    pub split: Option<Split>,
}

/// Why a batch was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// It ends when it begins, or before.
    #[error("the batch from {from} to {to} covers no time")]
    Empty {
        /// Its beginning.
        from: Timestamp,
        /// Its end.
        to: Timestamp,
    },
    /// It begins before the newest batch ends: it was counted twice, or the clock went back. A host whose clock was set back by more
    /// than it can wait for starts a new series.
    #[error("the batch begins at {from}, before the newest one ended at {newest}")]
    Overlap {
        /// Its beginning.
        from: Timestamp,
        /// The end of the newest batch.
        newest: Timestamp,
    },
    /// It has more than [`BUCKETS_MAX`] buckets.
    #[error("a sample has {found} buckets; expected at most {BUCKETS_MAX}")]
    Buckets {
        /// How many it has.
        found: usize,
    },
}

impl Series {
    /// Returns a series without batches, for up to [`BATCHES_MAX`].
    #[must_use]
    pub const fn new() -> Self {
        Self::bounded(BATCHES_MAX)
    }

    /// Returns a series without batches, for up to `batches_max`, at most [`BATCHES_MAX`].
    ///
    /// A host whose windows are short saves memory with it. A window longer than the series is judged by what the series holds.
    #[must_use]
    pub const fn bounded(batches_max: usize) -> Self {
        Self::reaching(batches_max, batches_max)
    }

    /// Returns a series for up to `batches_max`, and for up to `reach_max` while the canary gets traffic and all batches have few buckets: a
    /// service with few requests needs many batches, and they are small.
    #[must_use]
    pub const fn reaching(batches_max: usize, reach_max: usize) -> Self {
        Self {
            batches: VecDeque::new(),
            batches_max: least(batches_max, BATCHES_MAX),
            reach_max: least(reach_max, BATCHES_MAX),
            buckets: 0,
            dropped: 0,
            refused: 0,
        }
    }

    /// Adds a batch, and drops the oldest when there are too many.
    ///
    /// # Errors
    /// When the batch covers no time, begins before the newest one ended, or has too many buckets; it is counted and not taken.
    pub fn push(&mut self, batch: Batch) -> Result<(), PushError> {
        self.check(&batch)
            .inspect_err(|_| self.refused = self.refused.saturating_add(1))?;
        self.buckets = self.buckets.saturating_add(buckets(&batch));
        self.batches.push_back(batch);
        while let Some(oldest) = self.batches.front().filter(|oldest| self.is_over(oldest)) {
            self.buckets = self.buckets.saturating_sub(buckets(oldest));
            self.batches.pop_front();
            self.dropped = self.dropped.saturating_add(1);
        }
        Ok(())
    }

    /// Keeps the newest batches in which no request went to the canary: what is known of stable alone.
    pub fn keep_idle(&mut self) {
        let busy = self.batches.iter().rposition(is_busy);
        self.batches
            .drain(..busy.map_or(0, |last| last.saturating_add(1)));
        self.buckets = self.batches.iter().map(buckets).sum();
    }

    /// Returns the newest batch.
    #[must_use]
    pub fn newest(&self) -> Option<&Batch> {
        self.batches.back()
    }

    /// Returns the batches, oldest first.
    pub fn batches(&self) -> impl ExactSizeIterator<Item = &Batch> {
        self.batches.iter()
    }

    /// Returns how many batches were dropped to make room.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Returns how many batches were refused.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Sums the batches that lie wholly at or after `since` and within `window` before `now`.
    #[must_use]
    pub fn totals(&self, since: Timestamp, now: Timestamp, window: Duration) -> Totals {
        let start = start(since, now, window);
        let used = || self.within(start, now);
        let from = used().next().map_or(start, |batch| batch.from);
        Totals {
            batches: u32::try_from(used().count()).unwrap_or(u32::MAX),
            from,
            to: used().next_back().map_or(from, |batch| batch.to),
            covered: used().fold(Duration::ZERO, |sum, batch| {
                sum.saturating_add(batch.length())
            }),
            stable: Sample::sum(used().map(|batch| &batch.stable)),
            canary: Sample::sum(used().map(|batch| &batch.canary)),
            split: self.split(start, now),
        }
    }

    /// Returns the shortest window, of at least `window`, with enough in it; if there is not, one with all since `since`.
    ///
    /// It never reaches to or beyond a batch that is longer than `window`: what came while nobody looked is not looked at by the way.
    pub(crate) fn reach(
        &self,
        (since, now): (Timestamp, Timestamp),
        window: Duration,
        is_enough: impl Fn(Held) -> bool,
    ) -> Duration {
        let start = start(since, now, window);
        let mut held = Held::default();
        for batch in self.within(since, now).rev() {
            let is_before = batch.from < start;
            if is_before && (batch.length() > window || is_enough(held)) {
                break;
            }
            held.add(batch);
            if is_before {
                held.window = now.duration_since(batch.from).unsigned_abs();
            }
        }
        held.window.max(window)
    }

    /// Returns for how long samples are kept at most, by the length of the newest batch.
    pub(crate) fn kept_max(&self) -> Duration {
        let batches = u32::try_from(self.reach_max).unwrap_or(u32::MAX);
        self.newest().map_or(Duration::ZERO, |newest| {
            newest.length().saturating_mul(batches)
        })
    }

    /// Returns the batches that lie wholly between `start` and `end`, oldest first.
    pub(crate) fn within(
        &self,
        start: Timestamp,
        end: Timestamp,
    ) -> impl DoubleEndedIterator<Item = &Batch> {
        let first = self.batches.partition_point(|batch| batch.from < start);
        let last = self.batches.partition_point(|batch| batch.to <= end);
        self.batches.range(first.min(last)..last)
    }

    /// Counts how requests were split, over the last batches of one weight.
    ///
    /// Only batches count whose neighbors on both sides have the same weight: in those beside a change, part of the requests may have
    /// been sent by the other weight. So the check lags by one batch.
    fn split(&self, start: Timestamp, end: Timestamp) -> Option<Split> {
        let weight = self.within(start, end).next_back()?.weight;
        let mut split = Split {
            weight,
            stable: 0,
            canary: 0,
        };
        let before = self.batches.iter();
        let middle = self.batches.iter().skip(1);
        let after = self.batches.iter().skip(2);
        let last_first = before.zip(middle).zip(after).rev();
        for ((before, batch), after) in last_first.skip_while(|(_, after)| after.to > end) {
            if batch.weight != weight || batch.from < start {
                break;
            }
            if before.weight == weight && after.weight == weight {
                split.stable = split.stable.saturating_add(batch.stable.requests);
                split.canary = split.canary.saturating_add(batch.canary.requests);
            }
        }
        Some(split)
    }

    /// Whether there is no room for the oldest batch.
    fn is_over(&self, oldest: &Batch) -> bool {
        let count = self.batches.len();
        let is_small = self.buckets <= BUCKETS_KEPT_MAX && count <= self.reach_max;
        count > self.batches_max && !(is_busy(oldest) && is_small)
    }

    fn check(&self, batch: &Batch) -> Result<(), PushError> {
        let (from, to) = (batch.from, batch.to);
        if to <= from {
            return Err(PushError::Empty { from, to });
        }
        if let Some(newest) = self
            .newest()
            .map(|newest| newest.to)
            .filter(|newest| from < *newest)
        {
            return Err(PushError::Overlap { from, newest });
        }
        match batch.stable.latency.len().max(batch.canary.latency.len()) {
            found if found > BUCKETS_MAX => Err(PushError::Buckets { found }),
            _ => Ok(()),
        }
    }
}

impl Default for Series {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// Returns the time that the batch covers.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.to.duration_since(self.from).unsigned_abs()
    }
}

/// How many requests and latencies a window holds, of both versions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    pub(crate) stable: Count,
    pub(crate) canary: Count,
    window: Duration,
}

/// How many requests and latencies there are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) requests: u64,
    pub(crate) latencies: u64,
}

impl Held {
    fn add(&mut self, batch: &Batch) {
        for (count, sample) in [
            (&mut self.stable, &batch.stable),
            (&mut self.canary, &batch.canary),
        ] {
            count.requests = count.requests.saturating_add(sample.requests);
            count.latencies = count.latencies.saturating_add(sample.latency_count());
        }
    }
}

const fn least(a: usize, b: usize) -> usize {
    if a < b { a } else { b }
}

/// Whether the canary had requests, or should have had some.
const fn is_busy(batch: &Batch) -> bool {
    batch.canary.requests > 0 || !batch.weight.is_zero()
}

fn buckets(batch: &Batch) -> usize {
    let (stable, canary) = (&batch.stable.latency, &batch.canary.latency);
    stable.len().saturating_add(canary.len())
}

/// Returns the beginning of the window: `window` before `now`, but not before `since`.
fn start(since: Timestamp, now: Timestamp, window: Duration) -> Timestamp {
    now.checked_sub(window)
        .map_or(since, |start| start.max(since))
}

#[cfg(test)]
mod tests;
