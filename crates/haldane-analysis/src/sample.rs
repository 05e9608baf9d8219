//! Samples: what was counted and measured of one version during one batch.
//!
//! Latencies come as counts in buckets, each with both of its bounds. A bucket that knows its own lower bound means the same alone, in
//! a list without the empty ones, and beside buckets of another scheme; so lists of any schemes merge by union without loss, and a
//! source sends only the buckets that hold something.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What was counted and measured of one version during one batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Requests that count: attempts at the version, without those left out of measurement.
    pub requests: u64,
    /// Those of them that failed: a 5xx of the version, or no complete answer from it.
    pub failures: u64,
    /// The sum of the latencies counted in `latency`.
    pub latency_sum_us: u64,
    /// Latencies by bucket. A source that knows only the sum gives one bucket from 0 to [`u64::MAX`].
    pub latency: Vec<Bucket>,
    /// What was measured, not counted.
    pub gauges: Gauges,
}

/// A count of latencies between two bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Every latency in the bucket is above this, or at it in the lowest bucket.
    pub lower_us: u64,
    /// Every latency in the bucket is at most this; [`u64::MAX`] means no bound.
    pub upper_us: u64,
    /// How many there are.
    pub count: u64,
}

/// What a version's replicas use and how they are; `None` where it was not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gauges {
    /// Processor use per replica, in parts per million of one processor.
    pub cpu_ppm: Option<u64>,
    /// Resident memory per replica.
    pub memory_bytes: Option<u64>,
    /// Restarts since the rollout began, all together.
    pub restarts: Option<u64>,
    /// Share of wanted replicas that are ready.
    pub ready_ppm: Option<u64>,
    /// How many replicas are ready.
    #[serde(default)]
    pub replicas: Option<u64>,
}

/// Bounds of a value that is known only to lie between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// The value is at least this.
    pub lower_us: u64,
    /// The value is at most this; [`u64::MAX`] means no bound.
    pub upper_us: u64,
}

impl Bucket {
    /// Returns the filled buckets of a histogram given as (upper bound, count), ascending and without gaps.
    ///
    /// The counts are those of each bucket alone, not cumulative as Prometheus has them.
    ///
    /// ```
    /// # use haldane_analysis::Bucket;
    /// let buckets = Bucket::list([(10, 4), (20, 0), (u64::MAX, 1)]);
    /// assert_eq!(buckets, [
    ///     Bucket { lower_us: 0, upper_us: 10, count: 4 },
    ///     Bucket { lower_us: 20, upper_us: u64::MAX, count: 1 },
    /// ]);
    /// ```
    #[must_use]
    pub fn list(histogram: impl IntoIterator<Item = (u64, u64)>) -> Vec<Self> {
        let mut lower_us = 0;
        let mut buckets = Vec::new();
        for (upper_us, count) in histogram {
            if count > 0 {
                buckets.push(Self {
                    lower_us,
                    upper_us,
                    count,
                });
            }
            lower_us = upper_us;
        }
        buckets
    }
}

impl Sample {
    /// Adds what `later` counted; of gauges, its values replace these where it has them.
    pub fn merge(&mut self, later: &Self) {
        *self = Self {
            gauges: self.gauges.updated(later.gauges),
            ..Self::sum([&*self, later])
        };
    }

    /// Returns the sum of `samples`, oldest first: counts added, processor and memory as the mean of the samples that have them,
    /// restarts, readiness and replicas as last known.
    #[must_use]
    pub fn sum<'a>(samples: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sum = Self::default();
        let (mut cpu, mut memory) = (Mean::default(), Mean::default());
        let mut latency: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        for sample in samples {
            sum.requests = sum.requests.saturating_add(sample.requests);
            sum.failures = sum.failures.saturating_add(sample.failures);
            sum.latency_sum_us = sum.latency_sum_us.saturating_add(sample.latency_sum_us);
            for bucket in sample.latency.iter().filter(|bucket| bucket.count > 0) {
                let count = latency
                    .entry((bucket.upper_us, bucket.lower_us))
                    .or_default();
                *count = count.saturating_add(bucket.count);
            }
            cpu.add(sample.gauges.cpu_ppm);
            memory.add(sample.gauges.memory_bytes);
            sum.gauges.restarts = sample.gauges.restarts.or(sum.gauges.restarts);
            sum.gauges.ready_ppm = sample.gauges.ready_ppm.or(sum.gauges.ready_ppm);
            sum.gauges.replicas = sample.gauges.replicas.or(sum.gauges.replicas);
        }
        sum.gauges.cpu_ppm = cpu.value();
        sum.gauges.memory_bytes = memory.value();
        sum.latency = latency
            .into_iter()
            .map(|((upper_us, lower_us), count)| Bucket {
                lower_us,
                upper_us,
                count,
            })
            .collect();
        sum
    }

    /// Returns how many latencies were counted.
    ///
    /// It may differ from `requests`: an attempt without an answer has no latency.
    #[must_use]
    pub fn latency_count(&self) -> u64 {
        self.latency
            .iter()
            .fold(0, |sum, bucket| sum.saturating_add(bucket.count))
    }

    /// Returns how many latencies were surely above `limit_us`: those in buckets whose lower bound is at or above it.
    ///
    /// A bucket with the limit inside is undecided and counts as not above, so that a limit is kept or broken with an error of less
    /// than one bucket, in favor of the version.
    #[must_use]
    pub fn slower_than(&self, limit_us: u64) -> u64 {
        self.latency
            .iter()
            .filter(|bucket| bucket.lower_us >= limit_us)
            .fold(0, |sum, bucket| sum.saturating_add(bucket.count))
    }

    /// Returns the bounds of the latency below which `share_ppm` of all latencies lie; `None` without latencies.
    ///
    /// The value of that rank is at least the lower bound of that rank, and at most the upper bound of that rank, whatever the schemes
    /// of the buckets. So the lower bound is at or above a limit exactly when more than the rest is surely above it.
    #[must_use]
    pub fn quantile(&self, share_ppm: u64) -> Option<Bounds> {
        let count = u128::from(self.latency_count());
        let rank = count
            .saturating_mul(u128::from(share_ppm))
            .div_ceil(1_000_000)
            .max(1);
        let mut lowers: Vec<(u64, u64)> = self
            .latency
            .iter()
            .map(|bucket| (bucket.lower_us, bucket.count))
            .collect();
        let mut uppers: Vec<(u64, u64)> = self
            .latency
            .iter()
            .map(|bucket| (bucket.upper_us, bucket.count))
            .collect();
        lowers.sort_unstable();
        uppers.sort_unstable();
        Some(Bounds {
            lower_us: at_rank(&lowers, rank)?,
            upper_us: at_rank(&uppers, rank)?,
        })
    }
}

impl Gauges {
    /// Returns these with the values of `later` where it has them.
    #[must_use]
    pub fn updated(self, later: Self) -> Self {
        Self {
            cpu_ppm: later.cpu_ppm.or(self.cpu_ppm),
            memory_bytes: later.memory_bytes.or(self.memory_bytes),
            restarts: later.restarts.or(self.restarts),
            ready_ppm: later.ready_ppm.or(self.ready_ppm),
            replicas: later.replicas.or(self.replicas),
        }
    }
}

impl Bounds {
    /// Returns the value to show: the upper bound, or the lower one where there is no upper.
    #[must_use]
    pub const fn value(self) -> u64 {
        if self.upper_us == u64::MAX {
            self.lower_us
        } else {
            self.upper_us
        }
    }
}

/// A mean in the making.
#[derive(Default)]
struct Mean {
    sum: u128,
    count: u128,
}

impl Mean {
    fn add(&mut self, value: Option<u64>) {
        if let Some(value) = value {
            self.sum = self.sum.saturating_add(u128::from(value));
            self.count = self.count.saturating_add(1);
        }
    }

    fn value(&self) -> Option<u64> {
        self.sum
            .checked_div(self.count)
            .and_then(|mean| u64::try_from(mean).ok())
    }
}

/// Returns the `rank`th of the values, each of which stands for its count, in ascending order.
fn at_rank(values: &[(u64, u64)], rank: u128) -> Option<u64> {
    let mut passed: u128 = 0;
    values.iter().find_map(|(value, count)| {
        passed = passed.saturating_add(u128::from(*count));
        (passed >= rank).then_some(*value)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn latencies(histogram: &[(u64, u64)]) -> Sample {
        Sample {
            latency: Bucket::list(histogram.iter().copied()),
            ..Sample::default()
        }
    }

    #[test]
    fn equal_bounds_add_up() {
        let mut sum = latencies(&[(10, 1), (20, 2), (u64::MAX, 3)]);
        sum.merge(&latencies(&[(10, 10), (20, 0), (u64::MAX, 30)]));
        assert_eq!(
            sum.latency,
            Bucket::list([(10, 11), (20, 2), (u64::MAX, 33)])
        );
    }

    #[test]
    fn a_coarse_bucket_is_not_taken_for_slow_beside_finer_ones() {
        let mut sum = latencies(&[(10, 5), (20, 5), (40, 5)]);
        sum.merge(&latencies(&[(5, 0), (40, 100), (80, 1)]));
        assert_eq!(sum.latency_count(), 116);
        assert_eq!(sum.slower_than(20), 5 + 1, "(5, 40] may all lie below 20");
        assert_eq!(sum.slower_than(5), 10 + 100 + 1, "(0, 10] is undecided");
        assert_eq!(
            sum.quantile(500_000),
            Some(Bounds {
                lower_us: 5,
                upper_us: 40
            })
        );
    }

    #[test]
    fn a_quantile_lies_in_the_bucket_of_its_rank() {
        let sample = latencies(&[(10, 50), (20, 45), (50, 4), (u64::MAX, 1)]);
        for (share_ppm, lower_us, upper_us) in [
            (500_000, 0, 10),
            (500_001, 10, 20),
            (950_000, 10, 20),
            (990_000, 20, 50),
            (1_000_000, 50, u64::MAX),
        ] {
            assert_eq!(
                sample.quantile(share_ppm),
                Some(Bounds { lower_us, upper_us }),
                "{share_ppm}"
            );
        }
        assert_eq!(sample.quantile(1_000_000).map(Bounds::value), Some(50));
        assert_eq!(Sample::default().quantile(500_000), None);
    }

    #[test]
    fn gauges_are_averaged_or_the_last_known() {
        let sample = |cpu_ppm, restarts| Sample {
            gauges: Gauges {
                cpu_ppm,
                restarts,
                ..Gauges::default()
            },
            ..Sample::default()
        };
        let all = [
            sample(Some(10), Some(1)),
            sample(None, Some(2)),
            sample(Some(20), None),
        ];
        let sum = Sample::sum(&all);
        assert_eq!(
            sum.gauges,
            Gauges {
                cpu_ppm: Some(15),
                restarts: Some(2),
                ..Gauges::default()
            }
        );
        let [mut first, _, last] = all;
        first.merge(&last);
        assert_eq!(
            first.gauges,
            Gauges {
                cpu_ppm: Some(20),
                restarts: Some(1),
                ..Gauges::default()
            }
        );
    }

    #[test]
    fn sums_stop_at_the_largest_number() {
        let mut sample = Sample {
            requests: u64::MAX,
            ..latencies(&[(10, u64::MAX)])
        };
        sample.merge(&sample.clone());
        assert_eq!(
            (sample.requests, sample.latency_count()),
            (u64::MAX, u64::MAX)
        );
    }

    /// Latencies sorted into the buckets of `bounds`, as a source would.
    fn counted(values: &[u64], bounds: &[u64]) -> Sample {
        let ends = bounds.iter().copied().chain([u64::MAX]);
        let mut lower = None;
        let mut histogram = Vec::new();
        for upper in ends {
            let is_inside =
                |value: &&u64| **value <= upper && lower.is_none_or(|lower| **value > lower);
            histogram.push((upper, values.iter().filter(is_inside).count() as u64));
            lower = Some(upper);
        }
        latencies(&histogram)
    }

    proptest! {
        #[test]
        fn merged_buckets_of_any_schemes_never_lie(
            left in prop::collection::vec(0_u64..1_000, 0..50),
            right in prop::collection::vec(0_u64..1_000, 1..50),
            left_bounds in prop::collection::btree_set(1_u64..1_000, 1..8),
            right_bounds in prop::collection::btree_set(1_u64..1_000, 1..8),
            limit in 0_u64..1_100,
            share_ppm in 1_u64..=1_000_000,
        ) {
            let bounds = |set: std::collections::BTreeSet<u64>| set.into_iter().collect::<Vec<_>>();
            let mut sum = counted(&left, &bounds(left_bounds));
            sum.merge(&counted(&right, &bounds(right_bounds)));
            let mut all: Vec<u64> = left.into_iter().chain(right).collect();
            all.sort_unstable();
            prop_assert_eq!(sum.latency_count(), all.len() as u64);
            // The lowest bucket begins at 0 and includes it: a limit of 0 is broken by any latency but 0 itself.
            let slower = all.iter().filter(|value| **value > limit || (limit == 0)).count() as u64;
            prop_assert!(sum.slower_than(limit) <= slower);
            let rank = (all.len() as u64 * share_ppm).div_ceil(1_000_000).max(1);
            let truth = all[usize::try_from(rank - 1).unwrap()];
            let found = sum.quantile(share_ppm).unwrap();
            prop_assert!(found.lower_us <= truth && truth <= found.upper_us);
            // The judge's count and the bounds shown to people agree.
            let is_beyond = u128::from(sum.slower_than(limit)) > u128::from(all.len() as u64 - rank);
            prop_assert_eq!(is_beyond, found.lower_us >= limit);
        }
    }
}
