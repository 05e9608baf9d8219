//! Conversions: requests that are hits, and requests that could lead to one, by version.
//!
//! What a request may count for is known from its method and path when it comes, and whether it does from its end: so it is matched once,
//! kept as a few bits, and counted with its attempt. A service without conversions has no bits and no counters.
//!
//! **Invariant:** the counters of one set of patterns are never those of another: what is declared anew begins with nothing.

use std::sync::{
    Arc,
    atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use haldane_core::plan::metric::RequestPattern;

use super::Outcome;

/// The most conversions of a service: each takes two of the bits that a request carries.
pub const CONVERSIONS_MAX: usize = 16;

/// Requests that are counted for a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversion {
    /// The metric's name.
    pub metric: String,
    /// What happened.
    pub hit: RequestPattern,
    /// What could lead to it.
    pub of: RequestPattern,
}

/// The counters of one conversion of one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConversionReading {
    /// Attempts that were hits.
    pub hits: u64,
    /// Attempts that could lead to one.
    pub exposures: u64,
    /// Another number for counters that began anew.
    pub generation: u64,
}

/// The counters of one version on one thread, in the order of the patterns.
#[derive(Debug)]
pub(crate) struct ConversionShard {
    rules: Arc<[Conversion]>,
    counts: Box<[Count]>,
}

/// The counters of one version for one set of patterns.
#[derive(Debug)]
pub(crate) struct ConversionSeries {
    rules: Arc<[Conversion]>,
    generation: u64,
    /// By thread.
    shards: Vec<Arc<ConversionShard>>,
}

/// Which patterns a request meets, as far as that is known before its end: two bits for each conversion, the hit's first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks(u32);

#[derive(Debug, Default)]
struct Count {
    hits: AtomicU64,
    exposures: AtomicU64,
}

impl ConversionReading {
    /// Returns what came since `earlier`.
    pub(crate) const fn saturating_sub(self, earlier: Self) -> Self {
        if self.generation != earlier.generation {
            return self;
        }
        Self {
            hits: self.hits.saturating_sub(earlier.hits),
            exposures: self.exposures.saturating_sub(earlier.exposures),
            generation: self.generation,
        }
    }
}

impl Marks {
    /// Returns the patterns that a request meets.
    pub(crate) fn of(rules: &[Conversion], method: &str, path: &str) -> Self {
        let bit = |pattern: &RequestPattern| u32::from(pattern.is_request(method, path));
        let bits = rules.iter().rev().fold(0, |bits, rule| {
            bits << 2 | bit(&rule.of) << 1 | bit(&rule.hit)
        });
        Self(bits)
    }

    pub(crate) const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Returns whether the hit's and the exposure's pattern are met, for each conversion.
    fn pairs(self) -> impl Iterator<Item = (bool, bool)> {
        let bits = std::iter::successors(Some(self.0), |bits| Some(bits >> 2));
        bits.map(|bits| (bits & 1 != 0, bits & 2 != 0))
    }
}

impl ConversionShard {
    /// Counts an attempt that ended. One that the client broke off says nothing.
    pub(super) fn count(&self, marks: Marks, outcome: Outcome) {
        let status = match outcome {
            Outcome::Status(status) => Some(status.as_u16()),
            Outcome::Fault(_) => None,
            Outcome::AbortedByClient => return,
        };
        let rules = self.rules.iter().zip(&self.counts);
        for ((rule, count), (is_hit, is_exposure)) in rules.zip(marks.pairs()) {
            if is_exposure && rule.of.is_end(status) {
                count.exposures.fetch_add(1, Relaxed);
            }
            if is_hit && rule.hit.is_end(status) {
                // After the exposure, where both are the same request.
                count.hits.fetch_add(1, Release);
            }
        }
    }
}

impl ConversionSeries {
    pub(super) fn new(rules: &Arc<[Conversion]>, generation: u64, threads: usize) -> Self {
        let shard = |_| {
            Arc::new(ConversionShard {
                rules: Arc::clone(rules),
                counts: rules.iter().map(|_| Count::default()).collect(),
            })
        };
        Self {
            rules: Arc::clone(rules),
            generation,
            shards: (0..threads).map(shard).collect(),
        }
    }

    pub(super) fn is_of(&self, rules: &[Conversion]) -> bool {
        *self.rules == *rules
    }

    pub(super) fn shard(&self, thread: usize) -> Option<Arc<ConversionShard>> {
        self.shards.get(thread).cloned()
    }

    /// Returns each conversion's counts by the metric's name.
    pub(super) fn readings(&self) -> impl Iterator<Item = (String, ConversionReading)> {
        let rules = self.rules.iter().enumerate();
        rules.map(|(place, rule)| {
            let start = ConversionReading {
                generation: self.generation,
                ..ConversionReading::default()
            };
            let counts = self.shards.iter().filter_map(|one| one.counts.get(place));
            let sum = counts.fold(start, |sum, count| {
                // Hits first, so that no hit is seen before the exposure that it belongs to.
                let hits = count.hits.load(Acquire);
                ConversionReading {
                    hits: sum.hits.saturating_add(hits),
                    exposures: sum.exposures.saturating_add(count.exposures.load(Relaxed)),
                    ..sum
                }
            });
            (rule.metric.clone(), sum)
        })
    }
}
