//! The value of one metric in one sample.

use haldane_core::guard::Metric;

use crate::sample::{Bounds, Sample};

/// Parts per million of a whole.
pub(crate) const WHOLE_PPM: u64 = 1_000_000;

/// The value of one metric in one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The value in the metric's unit, `None` if nothing was measured.
    pub(crate) value: Option<u64>,
    /// Between which bounds it lies, where it is a quantile.
    pub(crate) bounds: Option<Bounds>,
    /// How many requests it is made of: those with a latency where it is made of latencies.
    pub(crate) requests: u64,
}

/// Reads `metric` from `sample`.
pub(crate) fn read(metric: Metric, sample: &Sample) -> Reading {
    let gauges = &sample.gauges;
    match metric {
        Metric::ErrorRate => of_requests(sample, failures(sample)),
        Metric::SuccessRate => {
            of_requests(sample, sample.requests.saturating_sub(failures(sample)))
        }
        Metric::Mean => {
            let requests = sample.latency_count();
            Reading {
                value: sample.latency_sum_us.checked_div(requests),
                bounds: None,
                requests,
            }
        }
        Metric::P50 | Metric::P95 | Metric::P99 => {
            let bounds =
                rest_ppm(metric).and_then(|rest| sample.quantile(WHOLE_PPM.saturating_sub(rest)));
            let requests = sample.latency_count();
            Reading {
                value: bounds.map(Bounds::value),
                bounds,
                requests,
            }
        }
        Metric::Cpu => of_gauge(sample, gauges.cpu_ppm),
        Metric::Memory => of_gauge(sample, gauges.memory_bytes),
        Metric::Restarts => of_gauge(sample, gauges.restarts),
        Metric::Ready => of_gauge(sample, gauges.ready_ppm),
    }
}

/// Returns the failures of the sample.
///
/// Sources that count without locks may see a failure a batch before its request; never more than all requests have failed.
pub(crate) fn failures(sample: &Sample) -> u64 {
    sample.failures.min(sample.requests)
}

/// Returns which share of latencies may lie beyond a quantile, `None` for other metrics.
pub(crate) const fn rest_ppm(metric: Metric) -> Option<u64> {
    match metric {
        Metric::P50 => Some(500_000),
        Metric::P95 => Some(50_000),
        Metric::P99 => Some(10_000),
        Metric::ErrorRate
        | Metric::SuccessRate
        | Metric::Mean
        | Metric::Cpu
        | Metric::Memory
        | Metric::Restarts
        | Metric::Ready => None,
    }
}

/// Returns `part / whole` in parts per million, cut, `None` of nothing.
pub(crate) fn ratio_ppm(part: u64, whole: u64) -> Option<u64> {
    let scaled = u128::from(part).saturating_mul(u128::from(WHOLE_PPM));
    scaled
        .checked_div(u128::from(whole))
        .and_then(|ratio| u64::try_from(ratio).ok())
}

fn of_requests(sample: &Sample, part: u64) -> Reading {
    Reading {
        value: ratio_ppm(part, sample.requests),
        bounds: None,
        requests: sample.requests,
    }
}

const fn of_gauge(sample: &Sample, value: Option<u64>) -> Reading {
    Reading {
        value,
        bounds: None,
        requests: sample.requests,
    }
}
