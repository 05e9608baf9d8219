//! Latencies in the buckets of Prometheus' native histograms: eight for each power of two, so that each is 9 % wide.
//!
//! The bounds are the same in every process for all time, which is what makes histograms of two versions comparable without anybody
//! agreeing on bounds.

use std::{collections::BTreeMap, time::Duration};

/// The scheme: 2³ buckets for each power of two.
pub(super) const SCHEMA: i32 = 3;

/// What is at most this many seconds counts as zero: a bound of the scheme just below a microsecond, the smallest latency told.
pub(super) const ZERO_THRESHOLD: f64 = 1.0 / 1_048_576.0;

/// Counts of latencies in exponential buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NativeHistogram {
    zero: u64,
    /// By index: bucket `i` holds what is above 2^((i-1)/8) seconds and at most 2^(i/8). From a microsecond to an hour these are 255.
    buckets: BTreeMap<i32, u64>,
    sum: Duration,
}

impl NativeHistogram {
    /// Adds so many values, of whole microseconds.
    pub fn add(&mut self, value: Duration, count: u64) {
        let bucket = if value.as_micros() == 0 {
            &mut self.zero
        } else {
            self.buckets.entry(index_of(value)).or_default()
        };
        *bucket = bucket.saturating_add(count);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.sum = self.sum.saturating_add(value.saturating_mul(count));
    }

    /// Returns the histogram of what a log-linear one counted.
    ///
    /// The buckets of that are up to 1/16 wide and go whole into the bucket of their upper end: so the bounds hold what is below them,
    /// and a value is told too high by 1/16 at most.
    #[must_use]
    pub(super) fn of_latencies(latencies: &crate::histogram::Histogram) -> Self {
        let mut this = Self::default();
        for (top_us, count) in latencies.buckets().filter(|(_, count)| *count > 0) {
            this.add(Duration::from_micros(top_us), count);
        }
        this.sum = latencies.sum();
        this
    }

    /// Returns how many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        let counts = self.buckets.values();
        counts.fold(self.zero, |sum, count| sum.saturating_add(*count))
    }

    /// Returns the sum of all values.
    #[must_use]
    pub const fn sum(&self) -> Duration {
        self.sum
    }

    pub(super) const fn zero_count(&self) -> u64 {
        self.zero
    }

    /// Returns the filled buckets, lowest first.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (i32, u64)> {
        self.buckets.iter().map(|(index, count)| (*index, *count))
    }
}

/// Returns the index of the bucket that holds a latency above zero.
#[expect(
    clippy::cast_possible_truncation,
    reason = "eight times the logarithm of a duration is small"
)]
fn index_of(value: Duration) -> i32 {
    (value.as_secs_f64().log2() * f64::from(1 << SCHEMA)).ceil() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_is_at_most_its_bound() {
        let check = |us: u64, index: i32| {
            assert_eq!(index_of(Duration::from_micros(us)), index, "{us} us");
        };
        check(1_000_000, 0);
        check(1_000_001, 1);
        check(1_090_507, 1);
        check(1_090_508, 2);
        check(2_000_000, 8);
        check(500_000, -8);
        check(250_000, -16);
        // A microsecond is above what counts as zero.
        check(1, -159);
    }

    #[test]
    fn nothing_is_lost_from_a_log_linear_histogram() {
        let mut latencies = crate::histogram::Histogram::new();
        for us in [0, 1, 7, 900, 901, 40_000, 3_000_000, 9_000_000_000] {
            latencies.record(Duration::from_micros(us));
        }
        let native = NativeHistogram::of_latencies(&latencies);
        assert_eq!((native.count(), native.zero_count()), (8, 1));
        assert_eq!(native.sum(), latencies.sum());
    }

    #[test]
    fn values_and_their_sum_are_counted() {
        let mut native = NativeHistogram::default();
        native.add(Duration::from_millis(5), 2);
        native.add(Duration::ZERO, 1);
        assert_eq!((native.count(), native.zero_count()), (3, 1));
        assert_eq!(native.sum(), Duration::from_millis(10));
        assert_eq!(native.buckets().collect::<Vec<_>>(), [(-61, 2)]);
    }
}
