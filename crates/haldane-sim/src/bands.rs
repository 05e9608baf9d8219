//! How often healthy rollouts would be called unusual, and whether twice the latency is: learned bands on seasonal traffic.
//!
//! A service with a day and a week: five times the requests at noon as at night, half of them on Sundays, slower when it is busy, each
//! five minutes a little different from the ones before. Weeks of it are learned; then a rollout is looked at again and again.

use std::time::Duration;

use haldane_analysis::{
    Bucket,
    band::{self, Finding, History, Measure, Seen, history},
    sequential::{Counts, Direction, Reading},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    chance::Chance,
    variate::{binomial, normal, poisson, to_count},
};

/// The buckets of a power of two.
const BUCKETS: u32 = 8;

/// How many powers of two latencies reach to either side of their middle.
const POWERS: u32 = 3;

/// The rollout: ten minutes at 5 %, then ten minutes at 50 %.
const ROLLOUT_SECONDS: i64 = 1_200;

/// The time between two looks.
const LOOK_SECONDS: i64 = 30;

/// How many looks one window is: five minutes.
const LOOKS: usize = 10;

/// A service.
#[derive(Clone, Copy)]
struct Service {
    /// Requests in a second, on the average of the day.
    rate: f64,
    /// The share that fails, ever.
    errors: f64,
    /// Of the logarithm of the load and of the latency, from one five minutes to the next.
    noise: f64,
    /// What the canary's latencies are multiplied with.
    slower: f64,
}

/// One stretch of requests.
#[derive(Clone, Default)]
struct Stretch {
    requests: u64,
    failures: u64,
    latency: Vec<Bucket>,
}

fn start() -> Timestamp {
    "2026-11-20T12:10:00Z".parse().unwrap()
}

fn metrics() -> Vec<band::Metric> {
    band::metrics(&haldane_core::plan::Rules::default())
}

impl Service {
    /// Returns the load at a time, as a multiple of the average.
    fn load(&self, at: Timestamp) -> f64 {
        let hour = at.as_second().rem_euclid(86_400) as f64 / 3_600.0;
        let day = 1.0 + 0.66 * libm::cos((hour - 12.0) / 24.0 * std::f64::consts::TAU);
        let is_sunday = history::hour_of_week(at) >= 144;
        if is_sunday { day / 2.0 } else { day }
    }

    /// Returns what came in some seconds, of a share of all requests.
    fn stretch(
        &self,
        at: Timestamp,
        seconds: f64,
        share: f64,
        weather: [f64; 2],
        slower: f64,
        chance: &mut Chance,
    ) -> Stretch {
        let load = self.load(at) * libm::exp(self.noise * weather[0]);
        let requests = poisson(self.rate * load * seconds * share, chance);
        let middle = 30_000.0 * (1.0 + load / 4.0) * libm::exp(self.noise * weather[1]) * slower;
        Stretch {
            requests,
            failures: binomial(requests, self.errors, chance),
            latency: latencies(requests, middle, chance),
        }
    }
}

/// Draws latencies around a middle, most of them within a factor of two, in buckets.
fn latencies(requests: u64, middle: f64, chance: &mut Chance) -> Vec<Bucket> {
    // The bounds are the same whatever the middle, as a proxy's are.
    let first = libm::floor(libm::log2(middle)) - f64::from(POWERS);
    let below = |bound: f64| {
        let z = libm::log(bound / middle) / 0.5;
        0.5 * (1.0 + libm::erf(z / std::f64::consts::SQRT_2))
    };
    let (mut left, mut passed) = (requests, 0.0);
    let mut histogram = Vec::new();
    let last = 2 * POWERS * BUCKETS;
    for index in 0..=last {
        let bound = libm::exp2(first + f64::from(index) / f64::from(BUCKETS));
        let share = below(bound);
        let count = if index == last {
            left
        } else {
            let of_rest = (share - passed) / (1.0 - passed).max(f64::MIN_POSITIVE);
            binomial(left, of_rest.clamp(0.0, 1.0), chance)
        };
        left -= count;
        passed = share;
        histogram.push((to_count(bound), count));
    }
    Bucket::list(histogram)
}

fn readings(stretch: &Stretch) -> [Reading; 2] {
    [
        Reading::Counts(Counts {
            exposure: stretch.requests,
            events: stretch.failures,
        }),
        Reading::Latency(stretch.latency.clone()),
    ]
}

fn rate(requests: u64, seconds: u64) -> Reading {
    Reading::Counts(Counts {
        exposure: seconds,
        events: requests,
    })
}

/// Learns the hours that the rollout will be in, of the last weeks.
fn learned(service: &Service, weeks: i32, chance: &mut Chance) -> Vec<History> {
    let mut histories = vec![History::default(); 3];
    for back in (1..=weeks).rev() {
        let from = start() - SignedDuration::from_hours(168) * back - SignedDuration::from_mins(10);
        let mut weather = [normal(chance), normal(chance)];
        for slot in 0..12 {
            let at = from + history::SLOT * slot;
            weather = next(weather, chance);
            let seen = service.stretch(at, 300.0, 1.0, weather, 1.0, chance);
            let [errors, latency] = readings(&seen);
            let all = rate(seen.requests, 300);
            let values = [
                (Measure::Share, errors),
                (Measure::Latency, latency),
                (Measure::Rate, all),
            ];
            for (history, (measure, reading)) in histories.iter_mut().zip(values) {
                if let Some(value) = measure.value(&reading) {
                    history.learn(at, value);
                }
            }
        }
    }
    histories
}

/// The weather of five minutes has something of the five before.
fn next(weather: [f64; 2], chance: &mut Chance) -> [f64; 2] {
    weather.map(|last| 0.8 * last + 0.6 * normal(chance))
}

/// Returns what was found over a whole rollout: whether anything was ever suspect, and whether the surroundings were.
fn rollout(service: &Service, weeks: i32, seed: u64) -> [bool; 2] {
    let mut chance = Chance::new(seed, 77);
    let histories = learned(service, weeks, &mut chance);
    let (mut windows, mut weather) = (
        Vec::<[Stretch; 2]>::new(),
        [normal(&mut chance), normal(&mut chance)],
    );
    let mut found = [false; 2];
    let mut second = 0;
    while second < ROLLOUT_SECONDS {
        let at = start() + SignedDuration::from_secs(second);
        if second % 300 == 0 {
            weather = next(weather, &mut chance);
        }
        let share = if second < ROLLOUT_SECONDS / 2 {
            0.05
        } else {
            0.5
        };
        let seconds = LOOK_SECONDS as f64;
        let mut arm =
            |share, slower| service.stretch(at, seconds, share, weather, slower, &mut chance);
        windows.push([arm(1.0 - share, 1.0), arm(share, service.slower)]);
        let from = windows.len().saturating_sub(LOOKS);
        let window = &windows[from..];
        for finding in look(&histories, window, at) {
            found[0] |= finding == Finding::Suspect;
            found[1] |= finding == Finding::Environment;
        }
        second += LOOK_SECONDS;
    }
    found
}

fn look(histories: &[History], window: &[[Stretch; 2]], at: Timestamp) -> Vec<Finding> {
    let sum = |arm: usize| {
        let parts = window.iter().map(|arms| &arms[arm]);
        let samples: Vec<_> = parts
            .map(|part| haldane_analysis::Sample {
                requests: part.requests,
                failures: part.failures,
                latency: part.latency.clone(),
                ..haldane_analysis::Sample::default()
            })
            .collect();
        let sum = haldane_analysis::Sample::sum(&samples);
        Stretch {
            requests: sum.requests,
            failures: sum.failures,
            latency: sum.latency,
        }
    };
    let (stable, canary) = (sum(0), sum(1));
    let seconds = u64::try_from(window.len()).unwrap() * LOOK_SECONDS.unsigned_abs();
    let seen = |stable, canary| Seen {
        stable: Some(stable),
        canary,
        covered: Duration::from_secs(seconds),
    };
    let [stable_errors, stable_latency] = readings(&stable);
    let [canary_errors, canary_latency] = readings(&canary);
    let all = [
        seen(stable_errors, Some(canary_errors)),
        seen(stable_latency, Some(canary_latency)),
        seen(rate(stable.requests + canary.requests, seconds), None),
    ];
    let found = metrics().into_iter().zip(histories).zip(all);
    found
        .map(|((metric, history), seen)| {
            assert_eq!(metric.direction, Direction::HigherIsWorse);
            band::look(&metric, history.band(metric.measure, at), &seen).finding
        })
        .collect()
}

/// Returns how many of the rollouts had something suspect, and something of their surroundings.
fn shares(service: &Service, weeks: i32, rollouts: u64) -> [u64; 2] {
    let mut shares = [0; 2];
    for seed in 0..rollouts {
        for (share, was) in shares.iter_mut().zip(rollout(service, weeks, seed)) {
            *share += u64::from(was);
        }
    }
    shares
}

const CALM: Service = Service {
    rate: 20.0,
    errors: 0.002,
    noise: 0.05,
    slower: 1.0,
};

#[test]
fn healthy_rollouts_are_hardly_ever_unusual() {
    let quiet = Service {
        rate: 0.5,
        errors: 0.02,
        ..CALM
    };
    let restless = Service {
        noise: 0.15,
        ..CALM
    };
    for (name, service, weeks) in [
        ("calm", CALM, 3),
        ("restless", restless, 5),
        ("quiet", quiet, 5),
    ] {
        let [suspect, environment] = shares(&service, weeks, 100);
        assert!(suspect <= 1, "{name}: {suspect} of 100 are suspect");
        assert!(
            environment <= 1,
            "{name}: {environment} of 100 are in bad weather"
        );
    }
}

#[test]
fn twice_the_latency_is_found() {
    for (rate, weeks) in [(20.0, 5), (100.0, 3)] {
        let slow = Service {
            rate,
            slower: 2.0,
            ..CALM
        };
        let [suspect, environment] = shares(&slow, weeks, 20);
        assert_eq!([suspect, environment], [20, 0], "{rate} a second");
    }
}
