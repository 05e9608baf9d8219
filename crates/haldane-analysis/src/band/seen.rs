//! What was measured of both versions in a stretch of time, as bands take it.

use std::time::Duration;

use haldane_core::guard;

use super::{ERRORS, LATENCY, Measure, REQUEST_RATE};
use crate::{
    reading::{WHOLE_PPM, ratio_ppm, read},
    sample::Sample,
    sequential::{Counts, Observed, Reading},
    series::Totals,
};

/// Which percentile of latencies has a band.
pub(super) const QUANTILE: guard::Metric = guard::Metric::P95;

/// Fewer latencies than this have no 95th percentile to learn: it would be the slowest of them.
const LATENCIES_MIN: u64 = 20;

/// A rate over less than this is none: requests come in bursts of seconds.
const RATE_TIME_MIN: Duration = Duration::from_mins(1);

/// What was measured of both versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Of stable; of a rate, of the whole service.
    pub stable: Option<Reading>,
    /// Of the canary.
    pub canary: Option<Reading>,
    /// How much time the measurements cover.
    pub covered: Duration,
}

/// Returns what the proxy counted, by the names of its metrics.
#[must_use]
pub fn of_requests(totals: &Totals) -> [(&'static str, Seen); 3] {
    let seen = |read: fn(&Sample) -> Reading| Seen {
        stable: Some(read(&totals.stable)),
        canary: Some(read(&totals.canary)),
        covered: totals.covered,
    };
    let rate = Reading::Counts(Counts {
        exposure: totals.covered.as_secs(),
        events: totals
            .stable
            .requests
            .saturating_add(totals.canary.requests),
    });
    [
        (
            ERRORS,
            seen(|sample| {
                Reading::Counts(Counts {
                    exposure: sample.requests,
                    events: crate::reading::failures(sample),
                })
            }),
        ),
        (
            LATENCY,
            seen(|sample| Reading::Latency(sample.latency.clone())),
        ),
        (
            REQUEST_RATE,
            Seen {
                stable: (totals.covered >= RATE_TIME_MIN).then_some(rate),
                canary: None,
                covered: totals.covered,
            },
        ),
    ]
}

/// Returns what a metric system told of one metric, oldest first: counts and latencies added, of pods the newest.
#[must_use]
pub fn of_observed<'a>(told: impl IntoIterator<Item = &'a Observed>) -> Seen {
    told.into_iter().fold(Seen::default(), |seen, observed| {
        let length = observed.to.duration_since(observed.from).unsigned_abs();
        Seen {
            stable: joined(seen.stable, observed.stable.as_ref()),
            canary: joined(seen.canary, observed.canary.as_ref()),
            covered: seen.covered.saturating_add(length),
        }
    })
}

fn joined(known: Option<Reading>, next: Option<&Reading>) -> Option<Reading> {
    let Some(next) = next else {
        return known;
    };
    Some(match (known, next) {
        (Some(Reading::Counts(known)), Reading::Counts(next)) => Reading::Counts(Counts {
            exposure: known.exposure.saturating_add(next.exposure),
            events: known.events.saturating_add(next.events),
        }),
        (Some(Reading::Latency(known)), Reading::Latency(next)) => {
            let sample = |latency| Sample {
                latency,
                ..Sample::default()
            };
            let both = [sample(known), sample(next.clone())];
            Reading::Latency(Sample::sum(&both).latency)
        }
        (_, next) => next.clone(),
    })
}

impl Measure {
    /// Returns the value of a reading; `None` if it has none, or too little to have one.
    #[must_use]
    pub fn value(self, reading: &Reading) -> Option<u64> {
        match reading {
            Reading::Counts(counts) => ratio_ppm(counts.events, counts.exposure),
            Reading::Latency(buckets) => {
                let sample = Sample {
                    latency: buckets.clone(),
                    ..Sample::default()
                };
                let reading = read(QUANTILE, &sample);
                reading.value.filter(|_| reading.requests >= LATENCIES_MIN)
            }
            Reading::Pods(pods) => {
                let sum = pods
                    .iter()
                    .fold(0_u128, |sum, pod| sum.saturating_add(u128::from(*pod)));
                let count = u128::try_from(pods.len()).ok()?;
                u64::try_from(sum.checked_div(count)?).ok()
            }
        }
    }

    /// Returns the least by which a band reaches beyond its median, whatever the history: a flat one must not make noise unusual.
    pub(super) fn reach_min(self, median: u64) -> u64 {
        let least = match self {
            // Two of a thousand requests, and two milliseconds: nobody asks a person for less.
            Self::Share => WHOLE_PPM / 500,
            Self::Latency => 2_000,
            Self::Gauge | Self::Rate => 0,
        };
        least.max(median / 4)
    }
}
