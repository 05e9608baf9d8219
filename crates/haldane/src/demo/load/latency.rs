//! A histogram of latencies with a fixed size and a fixed relative error.
//!
//! Log-linear buckets over microseconds: exact below 64 µs, then 32 buckets for each doubling, so that a quantile is at most 1/32
//! (3.2 %) above the true one. Histograms of two runs merge by addition; means of quantiles would not.

use std::time::Duration;

/// Each doubling has 2⁵ buckets.
const SUB_BITS: u32 = 5;

/// Longer latencies count as this one: 2³⁶ µs are 19 hours.
const MICROS_MAX: u64 = (1 << 36) - 1;

/// The buckets that [`MICROS_MAX`] needs: two times 32 for the exact ones, 32 for each of the 30 doublings beyond 64 µs.
const BUCKETS: usize = 32 * 32;

/// Counts of latencies, from which quantiles are read.
#[derive(Clone, Debug)]
pub(crate) struct LatencyHistogram {
    counts: Vec<u64>,
    count: u64,
    max: Duration,
}

impl LatencyHistogram {
    /// Returns a histogram of nothing.
    pub(super) fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            count: 0,
            max: Duration::ZERO,
        }
    }

    /// Counts one latency.
    pub(super) fn record(&mut self, latency: Duration) {
        if let Some(bucket) = self.counts.get_mut(index_of(latency)) {
            *bucket = bucket.saturating_add(1);
        }
        self.count = self.count.saturating_add(1);
        self.max = self.max.max(latency);
    }

    /// Returns the latency that the share `q` (0 to 1) of all requests did not exceed; `None` of nothing.
    pub(crate) fn quantile(&self, q: f64) -> Option<Duration> {
        if self.count == 0 {
            return None;
        }
        let mut seen = 0_u64;
        for (index, &bucket) in self.counts.iter().enumerate() {
            seen = seen.saturating_add(bucket);
            // Both sides as shares: exact enough below 2⁵³ requests.
            if seen > 0 && seen as f64 >= q * self.count as f64 {
                return Some(upper_bound(index).min(self.max));
            }
        }
        Some(self.max)
    }

    /// Returns the 95th percentile.
    pub(crate) fn p95(&self) -> Option<Duration> {
        self.quantile(0.95)
    }

    /// Returns the 99th percentile.
    pub(crate) fn p99(&self) -> Option<Duration> {
        self.quantile(0.99)
    }
}

fn index_of(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros())
        .unwrap_or(u64::MAX)
        .min(MICROS_MAX);
    let bits = u64::BITS.saturating_sub(micros.leading_zeros());
    let shift = bits.saturating_sub(SUB_BITS + 1);
    let index = (u64::from(shift) << SUB_BITS).saturating_add(micros >> shift);
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// Returns the longest latency that falls into the bucket.
fn upper_bound(index: usize) -> Duration {
    let index = u64::try_from(index).unwrap_or(u64::MAX);
    let shift = (index >> SUB_BITS).saturating_sub(1);
    let first = index.saturating_sub(shift << SUB_BITS);
    Duration::from_micros((first.saturating_add(1) << shift).saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(micros: impl IntoIterator<Item = u64>, q: f64, expected_us: u64) {
        let mut histogram = LatencyHistogram::new();
        for us in micros {
            histogram.record(Duration::from_micros(us));
        }
        let found = u64::try_from(histogram.quantile(q).unwrap().as_micros()).unwrap();
        assert!(
            (expected_us..=expected_us + expected_us / 32).contains(&found),
            "quantile {q} is {found}, expected {expected_us}"
        );
    }

    #[test]
    fn quantiles_are_at_most_a_thirty_second_too_high() {
        check(1..=10_000, 0.5, 5_000);
        check(1..=10_000, 0.95, 9_500);
        check(1..=10_000, 0.99, 9_900);
        check(1..=10_000, 0.0, 1);
        check(1..=10_000, 1.0, 10_000);
        check([7], 0.99, 7);
        check([1_000; 99].into_iter().chain([2_000_000]), 0.99, 1_000);
        check([1_000; 99].into_iter().chain([2_000_000]), 0.999, 2_000_000);
    }

    #[test]
    fn every_latency_lies_in_its_bucket() {
        let powers = (0..36).map(|bit| 1_u64 << bit);
        for us in powers
            .flat_map(|us| [us - 1, us, us + 1])
            .chain([MICROS_MAX])
        {
            let index = index_of(Duration::from_micros(us));
            assert!(index < BUCKETS, "{us}");
            assert!(Duration::from_micros(us) <= upper_bound(index), "{us}");
            assert!(
                index == 0 || upper_bound(index - 1) < Duration::from_micros(us),
                "{us}"
            );
        }
    }

    #[test]
    fn a_latency_beyond_the_last_bucket_still_counts() {
        let mut histogram = LatencyHistogram::new();
        histogram.record(Duration::MAX);
        assert!(histogram.quantile(0.5).is_some());
        assert_eq!(
            histogram.quantile(1.0),
            Some(upper_bound(BUCKETS - 1).min(Duration::MAX))
        );
    }

    #[test]
    fn the_named_quantiles_are_those_of_their_names() {
        let mut histogram = LatencyHistogram::new();
        for us in 1..=10_000 {
            histogram.record(Duration::from_micros(us));
        }
        let named = [histogram.p95(), histogram.p99()];
        assert_eq!(named, [0.95, 0.99].map(|q| histogram.quantile(q)));
    }

    #[test]
    fn of_nothing_there_is_no_quantile() {
        assert_eq!(LatencyHistogram::new().p95(), None);
    }
}
