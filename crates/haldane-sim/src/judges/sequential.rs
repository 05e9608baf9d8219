//! Haldane's sequential judge at work: looked at each second, with the steps of the rollout as it really takes them.

use std::time::Duration;

use haldane_analysis::{
    Batch, Bucket, Sample,
    sequential::{Config, Question, Settings, State},
};
use haldane_core::{
    Weight,
    verdict::{Subject, Verdict},
};

use super::{
    Decider, Schedule, Turn,
    peer::moment,
    traffic::{Counts, Scenario, Second, Traffic},
};

/// How long stable was counted before the rollout, seconds.
const HISTORY: u32 = 600;

/// How often a rollout steps back from all traffic.
const STEP_BACKS_MAX: u32 = 2;

/// The judge, and where its rollout stands.
pub(super) struct Sequential {
    schedule: Schedule,
    config: Config,
    state: State,
    /// The upper bounds of the latency buckets; empty where latency is not drawn.
    bounds_us: Vec<u64>,
    is_adaptive: bool,
    step: usize,
    entered: u32,
    /// Until when stable has half of the traffic again.
    compared_until: Option<u32>,
    step_backs: u32,
}

impl Sequential {
    /// Returns a rollout that holds each step for its time.
    pub(super) fn new(scenario: &Scenario, schedule: Schedule, seed: u64) -> Self {
        let mut settings = Settings::standard();
        settings.horizon = std::time::Duration::from_secs(u64::from(schedule.length()));
        for metric in &mut settings.metrics {
            // What is not drawn must not be waited for; its share of the error bound stays unused.
            metric.required &= scenario.latency.is_some() || metric.name == "errors";
        }
        let config = Config::try_new(settings);
        #[expect(clippy::expect_used, reason = "constant input; every run reads it")]
        let config = config.expect("the standard settings are valid");
        let mut judge = Self {
            state: State::new(&config),
            bounds_us: scenario
                .latency
                .as_ref()
                .map(|latency| latency.bounds_us.clone())
                .unwrap_or_default(),
            config,
            schedule,
            is_adaptive: false,
            step: 0,
            entered: 0,
            compared_until: None,
            step_backs: 0,
        };
        let traffic = Traffic::new(scenario, seed);
        for at in 0..HISTORY {
            let second = Second {
                weight: Weight::ZERO,
                stable: traffic.history(at),
                canary: Counts::default(),
            };
            judge.observe(at, &second);
        }
        judge
    }

    /// Returns a rollout that goes on as soon as the canary is shown to be no worse.
    pub(super) fn adaptive(scenario: &Scenario, schedule: Schedule, seed: u64) -> Self {
        Self {
            is_adaptive: true,
            ..Self::new(scenario, schedule, seed)
        }
    }

    /// Gives the judge a second that began so many seconds after the counting began.
    fn observe(&mut self, from: u32, second: &Second) {
        let batch = Batch {
            from: moment(from),
            to: moment(from.saturating_add(1)),
            stable: self.sample(&second.stable),
            canary: self.sample(&second.canary),
            weight: second.weight,
        };
        // Seconds follow each other; none is refused.
        let _in_order = self.state.observe(&self.config, &batch);
    }

    fn sample(&self, counts: &Counts) -> Sample {
        let uppers = self.bounds_us.iter().copied().chain([u64::MAX]);
        Sample {
            requests: counts.requests,
            failures: counts.failures,
            latency: Bucket::list(uppers.zip(counts.latencies.iter().copied())),
            ..Sample::default()
        }
    }

    fn hold_ends(&self) -> u32 {
        self.entered.saturating_add(self.schedule.hold.max(1))
    }
}

impl Decider for Sequential {
    fn weight(&self, _at: u32) -> Option<Weight> {
        let weight = self.schedule.steps.get(self.step).copied()?;
        Some(match self.compared_until {
            Some(_) => weight.min(Weight::from_percent(50)),
            None => weight,
        })
    }

    fn hear(&mut self, at: u32, second: &Second) -> Turn {
        self.observe(
            HISTORY.saturating_add(at).saturating_sub(1),
            second,
        );
        let question = Question {
            subject: Subject::Background,
            since: moment(HISTORY.saturating_add(self.entered)),
            now: moment(HISTORY.saturating_add(at)),
        };
        let conclusion = self.state.conclude(&self.config, &question);
        if conclusion.verdict == Verdict::Fail {
            return Turn::RollBack;
        }
        if let Some(until) = self.compared_until {
            if until <= at {
                (self.compared_until, self.entered) = (None, at);
            }
            return Turn::On;
        }
        if conclusion.step_back && self.step_backs < STEP_BACKS_MAX {
            let confirm = u32::try_from(Duration::from_mins(5).as_secs());
            self.compared_until = Some(at.saturating_add(confirm.unwrap_or(u32::MAX)));
            self.step_backs = self.step_backs.saturating_add(1);
            return Turn::On;
        }
        let is_shown = self.is_adaptive && conclusion.verdict == Verdict::Pass;
        if is_shown || self.hold_ends() <= at {
            (self.step, self.entered) = (self.step.saturating_add(1), at);
        }
        Turn::On
    }
}
