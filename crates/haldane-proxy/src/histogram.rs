//! Latencies as counts in log-linear buckets: a pure value that can be merged, subtracted and asked.
//!
//! Sixteen buckets per power of two, in microseconds, so that any answer is within 1/16 of the truth from one microsecond to half an
//! hour, at 3.5 KiB. All arithmetic is on integers: the same counts give the same answers everywhere.
//!
//! **Invariant:** the number of values is the sum of the buckets.

use std::time::Duration;

/// Buckets per power of two, as a power of two.
const SUB_BITS: u32 = 4;

/// Buckets per power of two.
const SUB: u64 = 1 << SUB_BITS;

/// The highest power of two with buckets of its own: 2^31 µs is 35 minutes, longer than any time-out. Longer latencies count there.
const EXPONENT_MAX: u32 = 30;

/// The number of buckets.
pub(crate) const BUCKETS: usize = ((EXPONENT_MAX - SUB_BITS + 2) as usize) << SUB_BITS;

/// Counts of latencies in log-linear buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
    sum_us: u64,
}

impl Histogram {
    /// Returns a histogram without values.
    #[must_use]
    pub fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            sum_us: 0,
        }
    }

    /// Returns the histogram of `counts` whose values add up to `sum_us`.
    pub(crate) fn from_counts(counts: impl Iterator<Item = u64>, sum_us: u64) -> Self {
        let mut counts: Vec<u64> = counts.take(BUCKETS).collect();
        counts.resize(BUCKETS, 0);
        Self { counts, sum_us }
    }

    /// Adds one value.
    pub fn record(&mut self, value: Duration) {
        let us = to_us(value);
        if let Some(count) = self.counts.get_mut(bucket_of(us)) {
            *count = count.saturating_add(1);
        }
        self.sum_us = self.sum_us.saturating_add(us);
    }

    /// Adds all values of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }

    /// Returns what came since `earlier`, a former state of the same histogram.
    ///
    /// Where `earlier` is ahead (the counters began anew), the difference is nothing, never a wrapped number.
    #[must_use]
    pub fn saturating_sub(&self, earlier: &Self) -> Self {
        let counts = self.counts.iter().zip(&earlier.counts);
        Self {
            counts: counts
                .map(|(now, then)| now.saturating_sub(*then))
                .collect(),
            sum_us: self.sum_us.saturating_sub(earlier.sum_us),
        }
    }

    /// Returns the number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts
            .iter()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Returns the sum of all values.
    #[must_use]
    pub const fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us)
    }

    /// Returns the mean, if there is a value.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        self.sum_us
            .checked_div(self.count())
            .map(Duration::from_micros)
    }

    /// Returns the value that `bps` basis points of all values don't exceed (9,500 is the 95th percentile), if there is a value.
    ///
    /// Within a bucket the values are taken to lie evenly.
    #[must_use]
    pub fn quantile(&self, bps: u16) -> Option<Duration> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let bps = u128::from(bps.min(10_000));
        let rank = (u128::from(total) * bps).div_ceil(10_000).max(1);
        let mut below: u128 = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            let count = u128::from(*count);
            if count > 0 && below + count >= rank {
                let width = u128::from(width_of(bucket));
                let into = (rank - below) * width / count;
                let us = u128::from(floor_of(bucket)) + into.min(width - 1);
                return Some(Duration::from_micros(u64::try_from(us).unwrap_or(u64::MAX)));
            }
            below += count;
        }
        None
    }

    /// Returns every bucket in order, as the highest latency it counts (microseconds) and its count.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.counts.iter().enumerate().map(|(bucket, count)| {
            let top = floor_of(bucket)
                .saturating_add(width_of(bucket))
                .saturating_sub(1);
            (top, *count)
        })
    }

    /// Returns how many values are above `bound`.
    ///
    /// The bucket that `bound` lies in counts as above when `bound` is in its lower half, so the answer is exact but for values
    /// within 1/16 of the bound.
    #[must_use]
    pub fn count_above(&self, bound: Duration) -> u64 {
        let us = to_us(bound);
        let bucket = bucket_of(us);
        let within = us.saturating_sub(floor_of(bucket));
        let first = if within.saturating_mul(2) < width_of(bucket).saturating_sub(1) {
            bucket
        } else {
            bucket.saturating_add(1)
        };
        self.counts
            .iter()
            .skip(first)
            .fold(0, |sum, count| sum.saturating_add(*count))
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns whole microseconds; more than 584,000 years count as that.
pub(crate) fn to_us(value: Duration) -> u64 {
    u64::try_from(value.as_micros()).unwrap_or(u64::MAX)
}

/// Returns the bucket that counts a latency of `us`.
pub(crate) fn bucket_of(us: u64) -> usize {
    let us = us.min((1 << (EXPONENT_MAX + 1)) - 1);
    if us < SUB {
        return usize::try_from(us).unwrap_or(0);
    }
    let shift = us.ilog2() - SUB_BITS;
    let octave = u64::from(shift) + 1;
    usize::try_from((octave << SUB_BITS) + ((us >> shift) & (SUB - 1))).unwrap_or(BUCKETS - 1)
}

/// Returns the lowest latency that `bucket` counts.
fn floor_of(bucket: usize) -> u64 {
    let bucket = u64::try_from(bucket).unwrap_or(0);
    if bucket < SUB {
        return bucket;
    }
    let shift = (bucket >> SUB_BITS) - 1;
    (SUB + (bucket & (SUB - 1))) << shift
}

/// Returns how many different latencies `bucket` counts.
fn width_of(bucket: usize) -> u64 {
    match bucket >> SUB_BITS {
        0 | 1 => 1,
        octave => 1 << (octave - 1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values_us: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::new();
        values_us
            .into_iter()
            .for_each(|us| histogram.record(Duration::from_micros(us)));
        histogram
    }

    #[test]
    fn buckets_meet_without_gap_or_overlap() {
        for bucket in 1..BUCKETS {
            let end = floor_of(bucket - 1) + width_of(bucket - 1);
            assert_eq!(floor_of(bucket), end, "bucket {bucket}");
            assert_eq!(bucket_of(floor_of(bucket)), bucket);
            assert_eq!(bucket_of(floor_of(bucket) + width_of(bucket) - 1), bucket);
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_of_a_ramp_are_within_a_sixteenth() {
        let histogram = of(1..=100_000);
        for (bps, us) in [
            (5_000, 50_000_i64),
            (9_500, 95_000),
            (9_900, 99_000),
            (10_000, 100_000),
        ] {
            let got = i64::try_from(histogram.quantile(bps).unwrap().as_micros()).unwrap();
            assert!((got - us).abs() <= us / 16, "{bps}: {got}");
        }
        assert_eq!(histogram.count(), 100_000);
        assert_eq!(histogram.mean(), Some(Duration::from_micros(50_000)));
    }

    #[test]
    fn an_empty_histogram_has_no_quantile() {
        assert_eq!(Histogram::new().quantile(9_500), None);
        assert_eq!(Histogram::new().mean(), None);
        assert_eq!(Histogram::new().count_above(Duration::ZERO), 0);
    }

    #[test]
    fn above_counts_only_what_is_slower() {
        let histogram = of([1_000, 2_000, 400_000, 600_000, 900_000]);
        assert_eq!(histogram.count_above(Duration::from_millis(500)), 2);
        assert_eq!(histogram.count_above(Duration::ZERO), 5);
        assert_eq!(histogram.count_above(Duration::from_secs(3_600)), 0);
    }

    #[test]
    fn a_counter_that_began_anew_gives_no_difference() {
        assert_eq!(of([5]).saturating_sub(&of([5, 5, 5])).count(), 0);
    }

    proptest! {
        #[test]
        fn the_difference_undoes_the_merge(
            a in prop::collection::vec(0_u64..5_000_000_000, 0..50),
            b in prop::collection::vec(0_u64..5_000_000_000, 0..50),
        ) {
            let (earlier, later) = (of(a), of(b));
            let mut both = earlier.clone();
            both.merge(&later);
            prop_assert_eq!(both.saturating_sub(&earlier), later);
        }

        #[test]
        fn one_value_is_its_own_quantile(us in 0_u64..2_000_000_000, bps in 0_u16..=10_000) {
            let got = u64::try_from(of([us]).quantile(bps).unwrap().as_micros()).unwrap();
            prop_assert!(got.abs_diff(us) <= us / 16, "{} for {}", got, us);
        }
    }
}
