//! Limits as values, absolute or taken from stable.

use haldane_core::guard::{Limit, Metric, Worse};

use crate::reading::{Reading, WHOLE_PPM};

/// Returns `limit` as a value of `metric`, given what was read of stable; `None` if that gives no limit.
///
/// A multiple of zero would break at the first error or restart, which stable would also have had with a little more traffic or
/// time. So for multiples stable counts as having at least
/// - for `errorRate`: 3 errors in as many requests as it had (the rule of three: a version without an error in `n` requests has, with
///   95 % confidence, a rate of at most `3/n`). It is a floor and not only for zero, else stable's first error would *lower* the limit;
/// - for `restarts`: one.
///
/// A latency, processor use or memory of zero is no measurement to take a multiple of, and gives no limit. Nor does a latency of
/// stable beyond the last bound of its buckets.
pub(crate) fn resolve(metric: Metric, limit: Limit, stable: &Reading) -> Option<u64> {
    match limit {
        Limit::Absolute(value) => Some(value),
        Limit::Points(_) => known(stable).map(|value| limit.value(value)),
        Limit::Times(_) => multipliable(metric, stable).map(|value| limit.value(value)),
    }
}

/// Whether `value` is beyond `limit`, seen from the good side; at the limit is not beyond.
pub(crate) const fn is_beyond(metric: Metric, value: u64, limit: u64) -> bool {
    match metric.worse() {
        Worse::Higher => value > limit,
        Worse::Lower => value < limit,
    }
}

fn multipliable(metric: Metric, stable: &Reading) -> Option<u64> {
    let value = known(stable)?;
    match metric {
        Metric::ErrorRate => {
            let three = (3 * WHOLE_PPM)
                .div_ceil(stable.requests.max(1))
                .min(WHOLE_PPM);
            Some(value.max(three))
        }
        Metric::Restarts => Some(value.max(1)),
        Metric::SuccessRate | Metric::Ready => Some(value),
        Metric::Mean | Metric::P50 | Metric::P95 | Metric::P99 | Metric::Cpu | Metric::Memory => {
            (value > 0).then_some(value)
        }
    }
}

fn known(stable: &Reading) -> Option<u64> {
    stable.value.filter(|_| {
        stable
            .bounds
            .is_none_or(|bounds| bounds.upper_us != u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Bounds;

    const TWICE: Limit = Limit::Times(2_000);

    #[test]
    fn a_multiple_is_taken_of_what_stable_plausibly_has() {
        use Metric::{Cpu, ErrorRate, Mean, Ready, Restarts};
        for (metric, limit, (value, requests), expected) in [
            (ErrorRate, TWICE, (10_000, 1_000), Some(20_000)),
            (ErrorRate, TWICE, (0, 1_000), Some(6_000)),
            (ErrorRate, TWICE, (1_000, 1_000), Some(6_000)),
            (ErrorRate, TWICE, (0, 7_000_000), Some(2)),
            (ErrorRate, TWICE, (0, 1), Some(2_000_000)),
            (ErrorRate, Limit::Points(50_000), (0, 100), Some(50_000)),
            (ErrorRate, Limit::Absolute(7), (0, 0), Some(7)),
            (Restarts, TWICE, (0, 0), Some(2)),
            (Restarts, TWICE, (3, 0), Some(6)),
            (Cpu, TWICE, (0, 100), None),
            (Mean, TWICE, (40, 100), Some(80)),
            (Mean, TWICE, (0, 100), None),
            (Ready, TWICE, (0, 0), Some(0)),
        ] {
            let stable = Reading {
                value: Some(value),
                bounds: None,
                requests,
            };
            assert_eq!(
                resolve(metric, limit, &stable),
                expected,
                "{metric} {limit:?} {stable:?}"
            );
        }
    }

    #[test]
    fn an_unbounded_latency_of_stable_gives_no_limit() {
        let bounds = Bounds {
            lower_us: 10_000_000,
            upper_us: u64::MAX,
        };
        let stable = Reading {
            value: Some(bounds.value()),
            bounds: Some(bounds),
            requests: 500,
        };
        assert_eq!(resolve(Metric::P95, TWICE, &stable), None);
    }
}
