//! The traffic of a comparison: what each second counts, at whatever weight the judge has chosen.

use haldane_core::Weight;

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

/// How quickly versions answer: log-normal latencies, seen in the buckets of a histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency {
    /// Stable's median.
    pub median_us: f64,
    /// The standard deviation of the logarithm.
    pub sigma: f64,
    /// The canary's latencies are this multiple of stable's.
    pub scale: f64,
    /// This share of the canary's requests takes ten times as long.
    pub tail: f64,
    /// The upper bounds of the histogram's buckets, ascending, without the last, unbounded one.
    pub bounds_us: Vec<u64>,
}

/// What one version did in a second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) requests: u64,
    pub(super) failures: u64,
    /// By bucket, one more than there are bounds; empty where latency is not drawn.
    pub(super) latencies: Vec<u64>,
}

/// What both versions did in a second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Second {
    pub(super) weight: Weight,
    pub(super) stable: Counts,
    pub(super) canary: Counts,
}

/// Draws seconds; the same one at the same weight is always the same.
pub(super) struct Traffic<'a> {
    scenario: &'a Scenario,
    seed: u64,
    stable_shares: Vec<f64>,
    canary_shares: Vec<f64>,
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

impl Latency {
    /// Returns how likely a latency is to be in each bucket, given that it is in none before.
    fn shares(&self, scale: f64, tail: f64) -> Vec<f64> {
        let up_to = |bound: u64, scale: f64| {
            let deviations = libm::log(bound as f64 / (self.median_us * scale)) / self.sigma;
            0.5 * libm::erfc(-deviations / std::f64::consts::SQRT_2)
        };
        let mut below = 0.0;
        let bounded = self.bounds_us.iter().map(|&bound| {
            let upto = (1.0 - tail) * up_to(bound, scale) + tail * up_to(bound, scale * 10.0);
            let rest = 1.0 - below;
            let share = if rest > 0.0 {
                ((upto - below) / rest).clamp(0.0, 1.0)
            } else {
                1.0
            };
            below = upto;
            share
        });
        bounded.chain([1.0]).collect()
    }
}

impl<'a> Traffic<'a> {
    pub(super) fn new(scenario: &'a Scenario, seed: u64) -> Self {
        let shares = |of: &dyn Fn(&Latency) -> Vec<f64>| {
            scenario.latency.as_ref().map(of).unwrap_or_default()
        };
        Self {
            scenario,
            seed,
            stable_shares: shares(&|latency| latency.shares(1.0, 0.0)),
            canary_shares: shares(&|latency| latency.shares(latency.scale, latency.tail)),
        }
    }

    pub(super) fn second(&self, at: u32, weight: Weight) -> Second {
        let (stable, canary) = self.scenario.shares(at);
        let share = share_of(weight);
        let of = |arm: u64, expected: f64, failing: f64, latencies: &[f64]| {
            // A stream for each second and arm, so that what was drawn before at another weight changes nothing here.
            let mut chance = Chance::new(mix(self.seed ^ mix(u64::from(at))), arm);
            let requests = poisson(expected, &mut chance);
            let failures = self
                .scenario
                .clumps
                .draw(requests, failing.clamp(0.0, 1.0), &mut chance);
            let mut rest = requests;
            let latencies = latencies.iter().map(|&share| {
                let count = binomial(rest, share, &mut chance);
                rest = rest.saturating_sub(count);
                count
            });
            Counts {
                latencies: latencies.collect(),
                requests,
                failures,
            }
        };
        let rps = self.scenario.requests_per_second;
        Second {
            weight,
            stable: of(1, rps * (1.0 - share), stable, &self.stable_shares),
            canary: of(2, rps * share, canary, &self.canary_shares),
        }
    }

    /// Returns what stable alone counts in a second before the rollout.
    pub(super) fn history(&self, at: u32) -> Counts {
        let before = Self {
            seed: mix(!self.seed),
            stable_shares: self.stable_shares.clone(),
            canary_shares: Vec::new(),
            ..*self
        };
        before.second(at, Weight::ZERO).stable
    }
}

impl Counts {
    pub(super) fn add(&mut self, later: &Self) {
        self.requests = self.requests.saturating_add(later.requests);
        self.failures = self.failures.saturating_add(later.failures);
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

fn share_of(weight: Weight) -> f64 {
    f64::from(weight.as_bps()) / 10_000.0
}
