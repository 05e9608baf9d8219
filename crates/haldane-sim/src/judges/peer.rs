//! The other judges: Haldane's own thresholds, and the rules that people use today.

mod window;

use std::time::Duration;

use haldane_analysis::{
    Batch, Sample, Series, argo, flagger, score,
    threshold::{self, Memory, Question},
};
use haldane_core::{
    Weight,
    guard::{Guard, Limit, Metric, Severity},
    plan::Sampling,
    verdict::{Subject, Verdict},
};
use jiff::{SignedDuration, Timestamp};

use self::window::Windows;
use super::{
    Decider, Schedule, Turn,
    latency::quantile,
    traffic::{Counts, Scenario, Second},
};

/// Haldane's threshold judge with the limit of 5 % errors that a release file has by default.
pub(super) struct Threshold {
    schedule: Schedule,
    guard: Guard,
    sampling: Sampling,
    series: Series,
    memory: Memory,
}

/// More than 5 % errors in the last five minutes, or a 99th percentile above a second, looked at each minute.
pub(super) struct FixedWindow {
    schedule: Schedule,
    bounds_us: Vec<u64>,
    minutes: Windows,
}

/// Flagger as its documentation sets it up: each minute the success rate and the 99th percentile of that minute, five failed checks.
pub(super) struct Flagger {
    schedule: Schedule,
    success: flagger::Metric,
    duration: flagger::Metric,
    checks: flagger::Checks,
    kept: u32,
    bounds_us: Vec<u64>,
    minutes: Windows,
}

/// Argo Rollouts as its documentation sets it up: each 30 s the success rate of the last minute, two failures tolerated.
pub(super) struct Argo {
    schedule: Schedule,
    limits: argo::Limits,
    run: argo::MetricRun,
    halves: Windows,
}

/// Kayenta: points of a minute, judged on all of them at the end of each step but the last.
pub(super) struct Kayenta {
    schedule: Schedule,
    config: score::Config,
    experiment: score::Arm,
    control: score::Arm,
    bounds_us: Vec<u64>,
    canary: Windows,
    stable: Windows,
}

impl Threshold {
    pub(super) fn new(schedule: Schedule) -> Self {
        let limit = Limit::Absolute(50_000);
        Self {
            schedule,
            guard: Guard {
                metric: Metric::ErrorRate,
                pass: limit,
                fail: limit,
                failures: 0,
                severity: Severity::Critical,
            },
            sampling: Sampling::default(),
            series: Series::bounded(300),
            memory: Memory::default(),
        }
    }
}

impl Decider for Threshold {
    fn weight(&self, at: u32) -> Option<Weight> {
        self.schedule.weight(at)
    }

    fn hear(&mut self, at: u32, second: &Second) -> Turn {
        let (from, to) = (moment(at.saturating_sub(1)), moment(at));
        let batch = Batch {
            from,
            to,
            stable: sample(&second.stable),
            canary: sample(&second.canary),
            weight: second.weight,
        };
        // Seconds follow each other; the series refuses none.
        let _in_order = self.series.push(batch);
        let question = Question {
            subject: Subject::Background,
            guards: std::slice::from_ref(&self.guard),
            sampling: &self.sampling,
            since: Timestamp::UNIX_EPOCH,
            now: to,
        };
        let answer = threshold::judge(&question, &self.series, &self.memory);
        self.memory = answer.memory;
        if answer.judgement.verdict == Verdict::Fail {
            Turn::RollBack
        } else {
            Turn::On
        }
    }
}

impl FixedWindow {
    pub(super) fn new(scenario: &Scenario, schedule: Schedule) -> Self {
        Self {
            schedule,
            bounds_us: bounds(scenario),
            minutes: Windows::new(60, 5),
        }
    }

    fn is_broken(&self, window: &Counts) -> bool {
        let is_failing = window.failures as f64 > 0.05 * window.requests as f64;
        let slow = quantile(&self.bounds_us, &window.latencies, 0.99);
        is_failing || slow.is_some_and(|us| us > 1e6)
    }
}

impl Decider for FixedWindow {
    fn weight(&self, at: u32) -> Option<Weight> {
        self.schedule.weight(at)
    }

    fn hear(&mut self, at: u32, second: &Second) -> Turn {
        match self.minutes.hear(at, &second.canary) {
            Some(window) if self.is_broken(&window) => Turn::RollBack,
            Some(_) | None => Turn::On,
        }
    }
}

/// How many failed checks Flagger rolls back at.
const FLAGGER_THRESHOLD: u32 = 5;

impl Flagger {
    /// Returns Flagger with this least success rate, 0 to 1.
    pub(super) fn new(scenario: &Scenario, schedule: Schedule, success_min: f64) -> Self {
        let metric =
            |name: &str, kind: flagger::Kind, min: Option<f64>, max: Option<f64>| flagger::Metric {
                name: name.to_owned(),
                kind,
                limit: flagger::Limit::Range { min, max },
            };
        let success = success_min * 100.0;
        Self {
            schedule,
            success: metric(
                "request-success-rate",
                flagger::Kind::SuccessRate,
                Some(success),
                None,
            ),
            duration: metric(
                "request-duration",
                flagger::Kind::Duration,
                None,
                Some(500.0),
            ),
            checks: flagger::Checks::default(),
            kept: 0,
            bounds_us: bounds(scenario),
            minutes: Windows::new(60, 1),
        }
    }

    fn check(&self, minute: &Counts) -> flagger::Check {
        let reading = |value: Option<f64>| match value {
            Some(value) => flagger::Reading::Value(value),
            None => flagger::Reading::NoData,
        };
        let success = reading(minute.success().map(|share| share * 100.0));
        if self.bounds_us.is_empty() {
            return flagger::Check::all([(&self.success, &success)]);
        }
        let us = quantile(&self.bounds_us, &minute.latencies, 0.99);
        let duration = reading(us.map(|us| us / 1_000.0));
        flagger::Check::all([(&self.success, &success), (&self.duration, &duration)])
    }
}

impl Decider for Flagger {
    fn weight(&self, at: u32) -> Option<Weight> {
        // Only minutes with a good check bring it further.
        self.schedule
            .weight(self.kept.saturating_mul(60).saturating_add(at % 60))
    }

    fn hear(&mut self, at: u32, second: &Second) -> Turn {
        let Some(minute) = self.minutes.hear(at, &second.canary) else {
            return Turn::On;
        };
        let tick = flagger::Tick::Checked(self.check(&minute));
        match self.checks.tick(FLAGGER_THRESHOLD, &tick) {
            flagger::Decision::Advance => self.kept = self.kept.saturating_add(1),
            flagger::Decision::Halt => {}
            flagger::Decision::RollBack => return Turn::RollBack,
        }
        Turn::On
    }
}

impl Argo {
    pub(super) fn new(schedule: Schedule) -> Self {
        let limits = argo::Limits {
            failure_limit: Some(2),
            ..argo::Limits::new(None, Some(Duration::from_secs(30)))
        };
        Self {
            schedule,
            limits,
            run: argo::MetricRun::default(),
            halves: Windows::new(30, 2),
        }
    }
}

impl Decider for Argo {
    fn weight(&self, at: u32) -> Option<Weight> {
        self.schedule.weight(at)
    }

    fn hear(&mut self, at: u32, second: &Second) -> Turn {
        let window = self.halves.hear(at, &second.canary);
        let Some(success) = window.and_then(|window| window.success()) else {
            return Turn::On;
        };
        let outcome = argo::Outcome::of(Some(success >= 0.95), Some(success < 0.90));
        match self.run.measure(&self.limits, outcome) {
            argo::Phase::Failed | argo::Phase::Error => Turn::RollBack,
            argo::Phase::Inconclusive => Turn::Pause,
            argo::Phase::Pending | argo::Phase::Running | argo::Phase::Successful => Turn::On,
        }
    }
}

/// The scores of Kayenta's documentation.
const THRESHOLDS: score::Thresholds = score::Thresholds {
    pass: 95.0,
    marginal: 75.0,
};

/// The metrics' names.
const ERRORS: &str = "errors";
const LATENCY: &str = "latency";
const USAGE: &str = "usage";

impl Kayenta {
    pub(super) fn new(scenario: &Scenario, schedule: Schedule) -> Self {
        let drawn = [
            (ERRORS, true),
            (LATENCY, scenario.latency.is_some()),
            (USAGE, scenario.pods.is_some()),
        ];
        let metrics = drawn.into_iter().filter(|(_, is_drawn)| *is_drawn);
        let metrics = metrics.map(|(name, _)| score::Metric {
            direction: score::Direction::Increase,
            ..score::Metric::new(name, "all")
        });
        Self {
            schedule,
            config: score::Config {
                metrics: metrics.collect(),
                group_weights: [("all".to_owned(), 100.0)].into(),
                thresholds: None,
                warnings: Vec::new(),
            },
            experiment: score::Arm::default(),
            control: score::Arm::default(),
            bounds_us: bounds(scenario),
            canary: Windows::new(60, 1),
            stable: Windows::new(60, 1),
        }
    }

    /// Adds a minute's points; rates in percent and latencies in milliseconds, for shifts are estimated to 1e-4 of the unit.
    fn add(&mut self, second: &Second, canary: &Counts, stable: &Counts) {
        let usage = second.usage.as_ref();
        let (canary_usage, stable_usage) = (
            usage.map(|usage| usage.canary.as_slice()),
            usage.map(|usage| usage.stable.as_slice()),
        );
        for (arm, minute, usage) in [
            (&mut self.experiment, canary, canary_usage),
            (&mut self.control, stable, stable_usage),
        ] {
            let mut push = |name: &str, point: Option<f64>| {
                arm.points.entry(name.to_owned()).or_default().push(point);
            };
            push(
                ERRORS,
                minute.success().map(|success| 100.0 * (1.0 - success)),
            );
            if !self.bounds_us.is_empty() {
                let us = quantile(&self.bounds_us, &minute.latencies, 0.95);
                push(LATENCY, us.map(|us| us / 1_000.0));
            }
            if let Some(pods) = usage {
                let sum: u64 = pods.iter().sum();
                push(USAGE, Some(sum as f64 / 1e4 / pods.len().max(1) as f64));
            }
        }
    }

    /// Takes in a second; says whether a minute is over with it.
    pub(super) fn gather(&mut self, at: u32, second: &Second) -> bool {
        let canary = self.canary.hear(at, &second.canary);
        let stable = self.stable.hear(at, &second.stable);
        let (Some(canary), Some(stable)) = (canary, stable) else {
            return false;
        };
        self.add(second, &canary, &stable);
        true
    }

    /// Judges all points so far.
    pub(super) fn judge(&self) -> score::Answer {
        score::judge(&self.config, THRESHOLDS, &self.experiment, &self.control)
    }
}

impl Decider for Kayenta {
    fn weight(&self, at: u32) -> Option<Weight> {
        self.schedule.weight(at)
    }

    fn hear(&mut self, at: u32, second: &Second) -> Turn {
        let is_minute = self.gather(at, second);
        let is_end_of_step = at.is_multiple_of(self.schedule.hold.max(1));
        let is_last = self
            .schedule
            .weight(at.saturating_sub(1))
            .is_none_or(Weight::is_full);
        if !is_minute || !is_end_of_step || is_last {
            return Turn::On;
        }
        if self.judge().verdict == Verdict::Fail {
            Turn::RollBack
        } else {
            Turn::On
        }
    }
}

/// Returns the moment so many seconds after the beginning.
pub(super) fn moment(seconds: u32) -> Timestamp {
    Timestamp::UNIX_EPOCH
        .checked_add(SignedDuration::from_secs(i64::from(seconds)))
        .unwrap_or(Timestamp::MAX)
}

/// Returns the bounds of the latency buckets; none where latency is not drawn.
pub(super) fn bounds(scenario: &Scenario) -> Vec<u64> {
    let latency = scenario.latency.as_ref();
    latency.map_or_else(Vec::new, |latency| latency.bounds_us.clone())
}

/// Returns the counts of a second in the judges' form, without latencies.
fn sample(counts: &Counts) -> Sample {
    Sample {
        requests: counts.requests,
        failures: counts.failures,
        ..Sample::default()
    }
}

#[cfg(test)]
mod tests;
