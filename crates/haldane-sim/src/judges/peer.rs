//! The other judges: Haldane's own thresholds, and the rules that people use today.

use std::{collections::VecDeque, time::Duration};

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

use super::{
    Decider, Schedule, Turn,
    traffic::{Counts, Second},
};

/// Haldane's threshold judge with the limit of 5 % errors that a release file has by default.
pub(super) struct Threshold {
    schedule: Schedule,
    guard: Guard,
    sampling: Sampling,
    series: Series,
    memory: Memory,
}

/// More than 5 % errors in the last five minutes, looked at each minute.
pub(super) struct FixedWindow {
    schedule: Schedule,
    minutes: Minutes,
}

/// Flagger as its documentation sets it up: each minute the success rate of that minute, five failed checks.
pub(super) struct Flagger {
    schedule: Schedule,
    metric: flagger::Metric,
    checks: flagger::Checks,
    kept: u32,
    minutes: Minutes,
}

/// Argo Rollouts as its documentation sets it up: each 30 s the success rate of the last minute, two failures tolerated.
pub(super) struct Argo {
    schedule: Schedule,
    limits: argo::Limits,
    run: argo::MetricRun,
    halves: Minutes,
}

/// Kayenta: points of a minute, judged on all of them at the end of each step but the last.
pub(super) struct Kayenta {
    schedule: Schedule,
    config: score::Config,
    experiment: score::Arm,
    control: score::Arm,
    canary: Minutes,
    stable: Minutes,
}

/// The counts of the canary by spans of equal length, the last few of them.
pub(super) struct Minutes {
    /// The length of a span, seconds.
    every: u32,
    /// How many are kept.
    kept: usize,
    open: Counts,
    closed: VecDeque<Counts>,
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
    pub(super) fn new(schedule: Schedule) -> Self {
        Self {
            schedule,
            minutes: Minutes::new(60, 5),
        }
    }
}

impl Decider for FixedWindow {
    fn weight(&self, at: u32) -> Option<Weight> {
        self.schedule.weight(at)
    }

    fn hear(&mut self, at: u32, second: &Second) -> Turn {
        let is_over = |success: f64| 1.0 - success > 0.05;
        match self.minutes.hear(at, &second.canary) {
            Some(window) if window.success().is_some_and(is_over) => Turn::RollBack,
            Some(_) | None => Turn::On,
        }
    }
}

/// How many failed checks Flagger rolls back at.
const FLAGGER_THRESHOLD: u32 = 5;

impl Flagger {
    /// Returns Flagger with this least success rate, 0 to 1.
    pub(super) fn new(schedule: Schedule, success_min: f64) -> Self {
        Self {
            schedule,
            metric: flagger::Metric {
                name: "request-success-rate".to_owned(),
                kind: flagger::Kind::SuccessRate,
                limit: flagger::Limit::Range {
                    min: Some(success_min * 100.0),
                    max: None,
                },
            },
            checks: flagger::Checks::default(),
            kept: 0,
            minutes: Minutes::new(60, 1),
        }
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
        let reading = minute.success().map_or(flagger::Reading::NoData, |share| {
            flagger::Reading::Value(share * 100.0)
        });
        let check = flagger::Check::all([(&self.metric, &reading)]);
        match self
            .checks
            .tick(FLAGGER_THRESHOLD, &flagger::Tick::Checked(check))
        {
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
            halves: Minutes::new(30, 2),
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

impl Kayenta {
    pub(super) fn new(schedule: Schedule) -> Self {
        let metric = score::Metric {
            direction: score::Direction::Increase,
            ..score::Metric::new(ERRORS, "errors")
        };
        Self {
            schedule,
            config: score::Config {
                metrics: vec![metric],
                group_weights: [("errors".to_owned(), 100.0)].into(),
                thresholds: None,
                warnings: Vec::new(),
            },
            experiment: score::Arm::default(),
            control: score::Arm::default(),
            canary: Minutes::new(60, 1),
            stable: Minutes::new(60, 1),
        }
    }
}

/// The metric's name.
const ERRORS: &str = "errors";

impl Decider for Kayenta {
    fn weight(&self, at: u32) -> Option<Weight> {
        self.schedule.weight(at)
    }

    fn hear(&mut self, at: u32, second: &Second) -> Turn {
        let canary = self.canary.hear(at, &second.canary);
        let stable = self.stable.hear(at, &second.stable);
        let (Some(canary), Some(stable)) = (canary, stable) else {
            return Turn::On;
        };
        for (arm, minute) in [(&mut self.experiment, canary), (&mut self.control, stable)] {
            arm.points
                .entry(ERRORS.to_owned())
                .or_default()
                .push(minute.success().map(|success| 1.0 - success));
        }
        let is_end_of_step = at.is_multiple_of(self.schedule.hold.max(1));
        if !is_end_of_step || at >= self.schedule.length() {
            return Turn::On;
        }
        let answer = score::judge(&self.config, THRESHOLDS, &self.experiment, &self.control);
        if answer.verdict == Verdict::Fail {
            Turn::RollBack
        } else {
            Turn::On
        }
    }
}

impl Minutes {
    pub(super) fn new(every: u32, kept: usize) -> Self {
        Self {
            every,
            kept,
            open: Counts::default(),
            closed: VecDeque::new(),
        }
    }

    /// Takes in a second; returns the sum of the last spans whenever one is full.
    pub(super) fn hear(&mut self, at: u32, second: &Counts) -> Option<Counts> {
        self.open.add(second);
        if !at.is_multiple_of(self.every) {
            return None;
        }
        self.closed.push_back(std::mem::take(&mut self.open));
        while self.closed.len() > self.kept {
            self.closed.pop_front();
        }
        let mut sum = Counts::default();
        for span in &self.closed {
            sum.add(span);
        }
        Some(sum)
    }
}

/// Returns the moment so many seconds after the beginning.
pub(super) fn moment(seconds: u32) -> Timestamp {
    Timestamp::UNIX_EPOCH
        .checked_add(SignedDuration::from_secs(i64::from(seconds)))
        .unwrap_or(Timestamp::MAX)
}

/// Returns the counts of a second in the judges' form, without latencies.
pub(super) fn sample(counts: &Counts) -> Sample {
    Sample {
        requests: counts.requests,
        failures: counts.failures,
        ..Sample::default()
    }
}
