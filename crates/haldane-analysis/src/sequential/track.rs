//! What is known of one metric: its evidence, its open batch, its traffic.

use std::time::Duration;

use haldane_core::Weight;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    config::{Against, Config, Direction, Kind, Metric, Source},
    events::Events,
    full::{self, Time},
    gauge::Gauge,
    latency::{Heat, Latency},
    real::{Reals, real},
    tally::{Closing, Counts, Pair, Window, closing},
};
use crate::sample::Bucket;

/// Over how many seconds traffic is averaged, for forecasts.
const TRAFFIC_SECONDS: f64 = 30.0;

/// What is known of one metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Track {
    name: String,
    kind: Kind,
    pub(crate) source: Source,
    /// The end of the newest data.
    pub(crate) newest: Option<Timestamp>,
    /// The end of the newest data with the canary in it.
    pub(crate) seen: Option<Timestamp>,
    open: Option<Window>,
    /// Exposures of stable and of the canary in a second.
    traffic: Reals<2>,
    pub(crate) evidence: Evidence,
}

/// The evidence, by the metric's kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Evidence {
    Events(Box<Events>),
    Latency(Box<Latency>),
    Gauge(Box<Gauge>),
}

/// What was counted of stable and of the canary.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Input<'a> {
    Counts(Counts, Counts),
    Latency(&'a [Bucket], &'a [Bucket]),
    Pods(&'a [u64], &'a [u64]),
}

/// When something was counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) window: Window,
    pub(crate) weight: Weight,
    /// Whether the canary was cold.
    pub(crate) is_cold: bool,
}

impl Track {
    pub(crate) fn new(metric: &Metric) -> Self {
        Self {
            name: metric.name.clone(),
            kind: metric.kind,
            source: metric.source,
            newest: None,
            seen: None,
            open: None,
            traffic: Reals([0.0; 2]),
            evidence: match metric.kind {
                Kind::Ratio | Kind::Counter | Kind::Conversion => {
                    Evidence::Events(Box::new(Events::new()))
                }
                Kind::Latency => Evidence::Latency(Box::new(Latency::new())),
                Kind::Gauge => Evidence::Gauge(Box::new(Gauge::NONE)),
            },
        }
    }

    /// Returns the metric's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether this is what is known of `metric`.
    pub(crate) fn is_of(&self, metric: &Metric) -> bool {
        self.name == metric.name && self.kind == metric.kind && self.source == metric.source
    }

    /// Returns what the evidence of harm is worth.
    pub(crate) fn worth(&self) -> f64 {
        match &self.evidence {
            Evidence::Events(events) => events.worth(),
            Evidence::Latency(latency) => latency.worth(),
            Evidence::Gauge(gauge) => gauge.worth(),
        }
    }

    /// Whether both versions break a limit, so that neither is to blame.
    pub(crate) fn is_shared(&self, metric: &Metric) -> bool {
        match &self.evidence {
            Evidence::Events(events) => events.shared(metric).is_some(),
            Evidence::Gauge(gauge) => gauge.shared().is_some(),
            Evidence::Latency(_) => false,
        }
    }

    /// Returns the exposures of stable and of the canary in a second.
    pub(crate) const fn traffic(&self) -> (f64, f64) {
        let Reals([stable, canary]) = self.traffic;
        (stable, canary)
    }

    /// Takes what was counted, and says whether the canary alarms at full weight.
    pub(crate) fn take(
        &mut self,
        config: &Config,
        metric: &Metric,
        input: &Input<'_>,
        moment: Moment,
    ) -> bool {
        let Moment {
            window,
            weight,
            is_cold,
        } = moment;
        let seconds = window.seconds();
        let (stable, canary) = match (&mut self.evidence, input) {
            (Evidence::Events(events), Input::Counts(stable, canary)) => {
                let pair = oriented(metric, *stable, *canary);
                events.open.add(pair);
                (stable.exposure, canary.exposure)
            }
            (Evidence::Latency(latency), Input::Latency(stable, canary)) => {
                let heat = if is_cold {
                    Heat::Cold(config.cold_leeway())
                } else {
                    Heat::Warm(config.settings().leeway)
                };
                latency.add(stable, canary, heat, seconds);
                (count(stable), count(canary))
            }
            (Evidence::Gauge(gauge), Input::Pods(stable, canary)) => {
                let is_measured = match metric.against {
                    Against::Stable(_) => {
                        gauge.add(stable, canary, metric.harm().ratio - 1.0, seconds)
                    }
                    Against::Limit(limit) => gauge.hold_to(stable, canary, limit),
                };
                if !is_measured {
                    return false;
                }
                (1, 1)
            }
            (
                Evidence::Events(_) | Evidence::Latency(_) | Evidence::Gauge(_),
                Input::Counts(..) | Input::Latency(..) | Input::Pods(..),
            ) => return false,
        };
        self.newest = Some(window.to);
        if canary > 0 {
            self.seen = Some(window.to);
        }
        self.note(stable, canary, seconds);
        self.close(config, metric, window, weight)
    }

    /// Forgets the evidence that the canary is fine.
    pub(crate) fn refresh(&mut self) {
        match &mut self.evidence {
            Evidence::Events(events) => events.refresh(),
            Evidence::Latency(latency) => latency.refresh(),
            Evidence::Gauge(_) => {}
        }
    }

    /// Takes a fault for likely just now.
    pub(crate) fn suspect(&mut self, metric: &Metric) {
        match &mut self.evidence {
            Evidence::Events(events) => events.suspect(metric),
            Evidence::Latency(latency) => latency.suspect(),
            Evidence::Gauge(_) => {}
        }
    }

    /// Ends the open batch if it is time to, and says whether the canary alarms at full weight.
    fn close(&mut self, config: &Config, metric: &Metric, window: Window, weight: Weight) -> bool {
        let open = Window {
            from: self.open.map_or(window.from, |open| open.from),
            to: window.to,
        };
        let (stable, canary) = match &self.evidence {
            Evidence::Events(events) => (events.open.stable.exposure, events.open.canary.exposure),
            Evidence::Latency(latency) => latency.open,
            Evidence::Gauge(_) => return false,
        };
        let closing = closing(stable, canary, open.length(), weight.is_full());
        if closing == Closing::Open {
            self.open = Some(open);
            return false;
        }
        self.open = None;
        self.end(config, metric, closing, open)
    }

    /// Ends the open batch without comparing what is in it.
    pub(crate) fn part(&mut self, config: &Config, metric: &Metric) {
        if let Some(open) = self.open.take() {
            self.end(config, metric, Closing::Apart, open);
        }
    }

    fn end(&mut self, config: &Config, metric: &Metric, closing: Closing, open: Window) -> bool {
        let time = Time {
            // What lies between two batches, as when a scrape was missed, is not watched.
            seconds: open.length().min(LENGTH_WATCHED_MAX).as_secs_f64(),
            horizon_seconds: config.horizon_seconds(),
        };
        let level = config.alpha() * config.share(metric);
        let alone = match &mut self.evidence {
            Evidence::Events(events) => events.close(metric, closing, time, level),
            Evidence::Latency(latency) => latency.close(metric, closing, time, level),
            Evidence::Gauge(_) => None,
        };
        metric.critical && alone.is_some_and(|worth| worth >= full::bound(level))
    }

    /// Averages the traffic.
    fn note(&mut self, stable: u64, canary: u64, seconds: f64) {
        let Reals([old_stable, old_canary]) = self.traffic;
        let part = seconds / (TRAFFIC_SECONDS + seconds);
        let mean = |old: f64, count: u64| {
            let rate = real(count) / seconds;
            // The first traffic is taken as it is, so that forecasts are right from the first minute on.
            if old > 0.0 {
                old + part * (rate - old)
            } else {
                rate
            }
        };
        self.traffic = Reals([mean(old_stable, stable), mean(old_canary, canary)]);
    }
}

/// The longest time that one batch stands for.
const LENGTH_WATCHED_MAX: Duration = Duration::from_secs(3_600);

/// Returns the counts with more being worse, and never more events than exposures where each exposure can be one event only.
fn oriented(metric: &Metric, stable: Counts, canary: Counts) -> Pair {
    let bounded = |counts: Counts| match metric.kind {
        Kind::Counter => counts,
        Kind::Ratio | Kind::Conversion | Kind::Latency | Kind::Gauge => Counts {
            events: counts.events.min(counts.exposure),
            ..counts
        },
    };
    let is_complement = metric.kind == Kind::Ratio && metric.direction == Direction::LowerIsWorse;
    let side = |counts: Counts| {
        if is_complement {
            bounded(counts).complement()
        } else {
            bounded(counts)
        }
    };
    Pair {
        stable: side(stable),
        canary: side(canary),
    }
}

/// Returns how many latencies are in buckets.
pub(super) fn count(buckets: &[Bucket]) -> u64 {
    buckets
        .iter()
        .fold(0, |sum, bucket| sum.saturating_add(bucket.count))
}
