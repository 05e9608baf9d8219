//! Whether counts could come from inside of a band.
//!
//! Of `n` independent requests of which each fails with a chance of at most `h`, `n·h + t` or more fail with a chance of at most
//! `exp(-t² / (2·(n·h + t/3)))` (Bernstein's inequality; it holds for Poisson counts, too). What is less likely than [`SURPRISE`] is
//! taken for surely outside. So one error of twenty requests is none, and a thousand of a thousand are.

use crate::{
    reading::{WHOLE_PPM, rest_ppm},
    sample::{Bucket, Sample},
    sequential::Counts,
};

/// The surprise from which on counts are taken for outside: a chance of e⁻¹⁴, one in a million.
///
/// A rollout is looked at hundreds of times, in several metrics, each of whose requests may come in clumps.
const SURPRISE: u128 = 14;

/// Whether there are surely more events than a rate gives, in parts per million of the exposure.
pub(super) fn is_above(counts: Counts, rate_ppm: u64) -> bool {
    let (events, expected) = scaled(counts, rate_ppm);
    is_surprising(events.saturating_sub(expected), expected)
}

/// Whether there are surely fewer.
pub(super) fn is_below(counts: Counts, rate_ppm: u64) -> bool {
    let (events, expected) = scaled(counts, rate_ppm);
    is_surprising(expected.saturating_sub(events), expected)
}

/// Whether surely more latencies lie above a bound than may above the 95th percentile.
pub(super) fn is_slower(buckets: &[Bucket], bound_us: u64) -> bool {
    let sample = Sample {
        latency: buckets.to_vec(),
        ..Sample::default()
    };
    let counts = Counts {
        exposure: sample.latency_count(),
        events: sample.slower_than(bound_us),
    };
    rest_ppm(super::seen::QUANTILE).is_some_and(|rest| is_above(counts, rest))
}

/// Returns the events, and how many are expected, in millionths.
fn scaled(counts: Counts, rate_ppm: u64) -> (u128, u128) {
    let events = u128::from(counts.events).saturating_mul(u128::from(WHOLE_PPM));
    let expected = u128::from(counts.exposure).saturating_mul(u128::from(rate_ppm));
    (events, expected)
}

/// Whether `t² > 2·SURPRISE·(e + t/3)`, with `t` and `e` in millionths.
fn is_surprising(excess: u128, expected: u128) -> bool {
    let whole = u128::from(WHOLE_PPM);
    let bound = expected
        .saturating_add(excess / 3)
        .saturating_mul(whole)
        .saturating_mul(2 * SURPRISE);
    excess.saturating_mul(excess) > bound
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn counts(events: u64, exposure: u64) -> Counts {
        Counts { exposure, events }
    }

    #[test]
    fn few_requests_are_no_surprise_and_many_are() {
        // A band up to half a percent.
        for (events, exposure, expected) in [
            (0, 0, false),
            (1, 20, false),
            (2, 20, false),
            (20, 20, true),
            (5, 1_000, false),
            (15, 1_000, false),
            (30, 1_000, true),
            (500, 100_000, false),
            (600, 100_000, false),
            (700, 100_000, true),
        ] {
            let is = is_above(counts(events, exposure), 5_000);
            assert_eq!(is, expected, "{events} of {exposure}");
        }
    }

    #[test]
    fn what_is_missing_surprises_likewise() {
        for (events, exposure, expected) in [(0, 10, false), (0, 1_000, true), (80, 1_000, false)] {
            let is = is_below(counts(events, exposure), 100_000);
            assert_eq!(is, expected, "{events} of {exposure}");
        }
    }

    #[test]
    fn the_largest_counts_do_not_overflow() {
        assert!(is_above(counts(u64::MAX, 1), 1));
        assert!(!is_above(counts(u64::MAX, u64::MAX), u64::MAX));
        assert!(is_below(counts(0, u64::MAX / 2), 1_000));
    }

    #[test]
    fn latencies_beyond_a_bound_are_counted() {
        let buckets = |fast, slow| Bucket::list([(100_000, fast), (200_000, slow)]);
        assert!(!is_slower(&buckets(95, 5), 100_000));
        assert!(!is_slower(&buckets(18, 2), 100_000));
        assert!(is_slower(&buckets(800, 200), 100_000));
        assert!(
            !is_slower(&buckets(800, 200), 150_000),
            "undecided within its bucket"
        );
    }
}
