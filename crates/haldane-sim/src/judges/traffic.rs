//! The traffic of a comparison: what each second counts, at whatever weight the judge has chosen.

use haldane_core::Weight;

use super::{
    fleet::Fleet,
    latency::{Latency, Shares},
    pods::{Pods, Usage},
};
use crate::{
    chance::{Chance, mix},
    variate::{binomial, geometric, poisson},
};

/// What both versions are like.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Requests per second to the service.
    pub requests_per_second: f64,
    /// The share of requests that stable fails, 0 to 1.
    pub stable: f64,
    /// The share that the canary fails from `onset` on; until then it is as stable.
    pub canary: f64,
    /// When the canary turns bad, in seconds.
    pub onset: u32,
    /// A trouble that both versions have for a while.
    pub incident: Option<Incident>,
    /// Whether failures come alone.
    pub clumps: Clumps,
    /// How quickly both answer, where that is judged as well.
    pub latency: Option<Latency>,
    /// How many requests are hits of a business, where that is judged as well.
    pub conversion: Option<Conversion>,
    /// What the pods of both use, where that is judged as well.
    pub pods: Option<Pods>,
}

/// Shares of requests that are hits, such as purchases.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conversion {
    /// Stable's, 0 to 1.
    pub stable: f64,
    /// The canary's.
    pub canary: f64,
}

/// A trouble outside both versions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Incident {
    /// When it begins, in seconds.
    pub from: u32,
    /// When it is over.
    pub to: u32,
    /// What it adds to both shares of failures.
    pub share: f64,
}

/// Whether failures come alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clumps {
    /// Each request fails for itself.
    Alone,
    /// Each failure is so many at once.
    Of(u32),
    /// Each failure is several at once, geometrically many with this mean.
    Geometric(f64),
}

/// What one version did in a second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) requests: u64,
    pub(super) failures: u64,
    /// By bucket, one more than there are bounds; empty where latency is not drawn.
    pub(super) latencies: Vec<u64>,
    /// Hits; none where conversion is not drawn.
    pub(super) hits: u64,
}

/// What both versions did in a second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Second {
    pub(super) weight: Weight,
    pub(super) stable: Counts,
    pub(super) canary: Counts,
    /// How many replicas the canary has.
    pub(super) replicas: u64,
    /// What pods use, once a minute.
    pub(super) usage: Option<Usage>,
}

/// Draws seconds; the same one at the same weight is always the same.
pub(super) struct Traffic<'a> {
    scenario: &'a Scenario,
    seed: u64,
    stable_latencies: Option<Shares>,
    canary_latencies: Option<Shares>,
}

/// What one version is like in one second.
struct Arm<'a> {
    /// Which stream of chance it draws from.
    stream: u64,
    requests: f64,
    failures: f64,
    hits: f64,
    latencies: Option<&'a Shares>,
}

impl Scenario {
    /// Returns two versions that fail requests independently, and nothing else.
    #[must_use]
    pub const fn errors(requests_per_second: f64, stable: f64, canary: f64) -> Self {
        Self {
            requests_per_second,
            stable,
            canary,
            onset: 0,
            incident: None,
            clumps: Clumps::Alone,
            latency: None,
            conversion: None,
            pods: None,
        }
    }

    /// Returns both shares of failures in a second: stable's, the canary's.
    fn shares(&self, at: u32) -> (f64, f64) {
        let canary = if at >= self.onset {
            self.canary
        } else {
            self.stable
        };
        let added = self
            .incident
            .filter(|incident| (incident.from..incident.to).contains(&at))
            .map_or(0.0, |incident| incident.share);
        (self.stable + added, canary + added)
    }

    /// Returns the failures of a second that users would not have met with stable.
    pub(super) fn excess(&self, at: u32, weight: Weight) -> f64 {
        let (stable, canary) = self.shares(at);
        (canary - stable) * self.requests_per_second * share_of(weight)
    }
}

impl Clumps {
    fn draw(self, requests: u64, share: f64, chance: &mut Chance) -> u64 {
        let expected = requests as f64 * share;
        let failures = match self {
            Self::Alone => return binomial(requests, share, chance),
            Self::Of(size) => {
                poisson(expected / f64::from(size.max(1)), chance).saturating_mul(u64::from(size))
            }
            Self::Geometric(mean) => {
                let clumps = poisson(expected / mean.max(1.0), chance);
                let more: u64 = (0..clumps)
                    .map(|_| geometric(1.0 / mean.max(1.0), chance))
                    .sum();
                clumps.saturating_add(more)
            }
        };
        failures.min(requests)
    }
}

impl<'a> Traffic<'a> {
    pub(super) fn new(scenario: &'a Scenario, seed: u64) -> Self {
        let latency = scenario.latency.as_ref();
        Self {
            scenario,
            seed,
            stable_latencies: latency.map(Latency::stable_shares),
            canary_latencies: latency.map(Latency::canary_shares),
        }
    }

    /// Draws the second that begins at `at`.
    pub(super) fn second(&self, at: u32, weight: Weight, fleet: &Fleet) -> Second {
        let share = share_of(weight);
        let (stable, canary) = self.scenario.shares(at);
        let requests = self.scenario.requests_per_second;
        let hits = self.scenario.conversion;
        let latency = self.scenario.latency.as_ref();
        let cold = latency.and_then(|latency| latency.cold_shares(fleet.age(at)));
        let stable = Arm {
            stream: STABLE,
            requests: requests * (1.0 - share),
            failures: stable,
            hits: hits.map_or(0.0, |hits| hits.stable),
            latencies: self.stable_latencies.as_ref(),
        };
        let canary = Arm {
            stream: CANARY,
            requests: requests * share,
            failures: canary,
            hits: hits.map_or(0.0, |hits| hits.canary),
            latencies: cold.as_ref().or(self.canary_latencies.as_ref()),
        };
        let pods = self.scenario.pods.as_ref();
        let minute = at.saturating_add(1);
        Second {
            weight,
            stable: self.draw(at, &stable),
            canary: self.draw(at, &canary),
            replicas: fleet.replicas,
            usage: pods
                .filter(|_| minute.is_multiple_of(60))
                .map(|pods| pods.usage(minute / 60, self.seed)),
        }
    }

    /// Returns what stable alone counts in a second before the rollout.
    pub(super) fn history(&self, at: u32) -> Counts {
        let stable = Arm {
            stream: HISTORY,
            requests: self.scenario.requests_per_second,
            failures: self.scenario.stable,
            hits: self.scenario.conversion.map_or(0.0, |hits| hits.stable),
            latencies: self.stable_latencies.as_ref(),
        };
        self.draw(at, &stable)
    }

    fn draw(&self, at: u32, arm: &Arm<'_>) -> Counts {
        // A stream for each second and version, so that what was drawn before at another weight changes nothing here.
        let chance = &mut Chance::new(mix(self.seed ^ mix(u64::from(at))), arm.stream);
        let requests = poisson(arm.requests, chance);
        let failing = arm.failures.clamp(0.0, 1.0);
        Counts {
            requests,
            failures: self.scenario.clumps.draw(requests, failing, chance),
            latencies: arm
                .latencies
                .map(|shares| shares.draw(requests, chance))
                .unwrap_or_default(),
            hits: binomial(requests, arm.hits, chance),
        }
    }
}

/// The streams of chance.
const STABLE: u64 = 1;
const CANARY: u64 = 2;
const HISTORY: u64 = 3;

impl Second {
    /// Returns a second without requests.
    pub(super) fn empty(weight: Weight) -> Self {
        Self {
            weight,
            stable: Counts::default(),
            canary: Counts::default(),
            replicas: 0,
            usage: None,
        }
    }
}

impl Counts {
    pub(super) fn add(&mut self, later: &Self) {
        self.requests = self.requests.saturating_add(later.requests);
        self.failures = self.failures.saturating_add(later.failures);
        self.hits = self.hits.saturating_add(later.hits);
        self.latencies
            .resize(self.latencies.len().max(later.latencies.len()), 0);
        for (sum, count) in self.latencies.iter_mut().zip(&later.latencies) {
            *sum = sum.saturating_add(*count);
        }
    }

    /// Returns the share of requests that did not fail; `None` without requests.
    pub(super) fn success(&self) -> Option<f64> {
        let good = self.requests.saturating_sub(self.failures);
        (self.requests > 0).then(|| good as f64 / self.requests as f64)
    }
}

/// Returns the weight as a share, 0 to 1.
pub(super) fn share_of(weight: Weight) -> f64 {
    f64::from(weight.as_bps()) / 10_000.0
}

#[cfg(test)]
mod tests;
