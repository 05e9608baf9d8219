//! Haldane's sequential judge at work: looked at as batches come, with the steps of the rollout as it really takes them.

use std::time::Duration;

use haldane_analysis::{
    Batch, Bucket, Gauges, Sample,
    sequential::{
        Against, Config, Counts as Tally, Metric, Observed, Question, Reading, Settings, State, Why,
    },
};
use haldane_core::{
    Weight,
    plan::Deadlines,
    verdict::{Subject, Verdict},
};

use super::{
    Decider, Schedule, Turn,
    peer::{bounds, moment},
    traffic::{Counts, Scenario, Second, Traffic},
};

/// How long stable was counted before the rollout, seconds.
const HISTORY: u32 = 600;

/// The names of the metrics that are not made of requests.
const CONVERSION: &str = "conversion";
const USAGE: &str = "usage";

/// The judge, and where its rollout stands.
pub(super) struct Sequential {
    schedule: Schedule,
    manner: Manner,
    config: Config,
    state: State,
    /// The upper bounds of the latency buckets; empty where latency is not drawn.
    bounds_us: Vec<u64>,
    is_converting: bool,
    /// The open batch, and its seconds.
    open: (Second, u32),
    step: usize,
    entered: u32,
    /// Until when stable has half of the traffic again.
    compared_until: Option<u32>,
}

/// How the judge is set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// The length of a batch, seconds.
    pub(super) batch: u32,
    /// Whether a step ends as soon as the canary is shown to be no worse.
    pub(super) is_adaptive: bool,
    /// Whether each difference is harm, be it ever so small.
    pub(super) is_strict: bool,
    /// How long the canary may be cold, seconds, if not as long as by default.
    pub(super) warm_up: Option<u64>,
}

impl Manner {
    /// As in production: batches of a second, and each step held for its time.
    pub(super) const USUAL: Self = Self {
        batch: 1,
        is_adaptive: false,
        is_strict: false,
        warm_up: None,
    };
}

impl Sequential {
    pub(super) fn new(scenario: &Scenario, schedule: Schedule, manner: Manner, seed: u64) -> Self {
        let config = Config::try_new(settings(scenario, &schedule, manner));
        #[expect(clippy::expect_used, reason = "constant input; every run reads it")]
        let config = config.expect("the standard settings are valid");
        let mut judge = Self {
            state: State::new(&config),
            bounds_us: bounds(scenario),
            is_converting: scenario.conversion.is_some(),
            open: (Second::empty(Weight::ZERO), 0),
            manner,
            config,
            schedule,
            step: 0,
            entered: 0,
            compared_until: None,
        };
        let traffic = Traffic::new(scenario, seed);
        for at in 0..HISTORY {
            let second = Second {
                stable: traffic.history(at),
                ..Second::empty(Weight::ZERO)
            };
            judge.gather(at.saturating_add(1), &second);
        }
        judge
    }

    /// Adds a second, and gives the judge the batch if that is full; says whether it was.
    fn gather(&mut self, ended: u32, second: &Second) -> bool {
        let (open, seconds) = &mut self.open;
        (open.weight, open.replicas) = (second.weight, second.replicas);
        open.stable.add(&second.stable);
        open.canary.add(&second.canary);
        *seconds = seconds.saturating_add(1);
        if *seconds < self.manner.batch {
            return false;
        }
        let empty = (Second::empty(second.weight), 0);
        let (batch, seconds) = std::mem::replace(&mut self.open, empty);
        self.observe(ended.saturating_sub(seconds), ended, &batch);
        true
    }

    fn observe(&mut self, from: u32, to: u32, batch: &Second) {
        let Second {
            weight,
            stable,
            canary,
            replicas,
            ..
        } = batch;
        let batch = Batch {
            from: moment(from),
            to: moment(to),
            stable: self.sample(stable),
            canary: Sample {
                gauges: Gauges {
                    replicas: Some(*replicas),
                    ..Gauges::default()
                },
                ..self.sample(canary)
            },
            weight: *weight,
        };
        // Batches follow each other; none is refused.
        let _in_order = self.state.observe(&self.config, &batch);
        if self.is_converting {
            let hits = |counts: &Counts| {
                Some(Reading::Counts(Tally {
                    exposure: counts.requests,
                    events: counts.hits,
                }))
            };
            let observed = observed(
                CONVERSION,
                (from, to),
                *weight,
                [hits(stable), hits(canary)],
            );
            let _in_order = self.state.observe_metric(&self.config, &observed);
        }
    }

    /// Gives the judge what pods used in the minute that ended.
    fn watch(&mut self, ended: u32, second: &Second) {
        let Some(usage) = &second.usage else { return };
        let window = (ended.saturating_sub(60), ended);
        let pods = [&usage.stable, &usage.canary].map(|pods| Some(Reading::Pods(pods.clone())));
        let observed = observed(USAGE, window, second.weight, pods);
        // Minutes follow each other; none is refused.
        let _in_order = self.state.observe_metric(&self.config, &observed);
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

    /// Goes on by what the judge said at `at`.
    fn turn(&mut self, at: u32, is_new: bool) -> Turn {
        let question = Question {
            subject: Subject::Background,
            since: moment(HISTORY.saturating_add(self.entered)),
            now: moment(HISTORY.saturating_add(at)),
        };
        let conclusion = self.state.conclude(&self.config, &question);
        if conclusion.verdict == Verdict::Fail {
            return Turn::RollBack;
        }
        if matches!(conclusion.why, Why::Mismatch | Why::Held | Why::Bounds) {
            return Turn::Pause;
        }
        if let Some(until) = self.compared_until {
            if until <= at {
                (self.compared_until, self.entered) = (None, at);
            }
            return Turn::On;
        }
        if is_new && conclusion.step_back {
            let compared = Deadlines::default().confirm.as_secs();
            let compared = u32::try_from(compared).unwrap_or(u32::MAX);
            self.compared_until = Some(at.saturating_add(compared));
            return Turn::On;
        }
        let is_shown = self.manner.is_adaptive && conclusion.verdict == Verdict::Pass;
        if is_shown || self.hold_ends() <= at {
            (self.step, self.entered) = (self.step.saturating_add(1), at);
        }
        Turn::On
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
        let ended = HISTORY.saturating_add(at);
        let is_new = self.gather(ended, second);
        self.watch(ended, second);
        self.turn(at, is_new)
    }
}

/// Returns the settings of production, for what is drawn.
pub(super) fn settings(scenario: &Scenario, schedule: &Schedule, manner: Manner) -> Settings {
    let mut settings = Settings::standard();
    settings.horizon = Duration::from_secs(u64::from(schedule.length()));
    if let Some(seconds) = manner.warm_up {
        settings.warm_up = Duration::from_secs(seconds);
    }
    for metric in &mut settings.metrics {
        // What is not drawn must not be waited for; its share of the error bound stays unused.
        metric.required &= scenario.latency.is_some() || metric.name == "errors";
    }
    if scenario.conversion.is_some() {
        settings.metrics.push(Metric::conversion(CONVERSION));
    }
    if scenario.pods.is_some() {
        settings.metrics.push(Metric::gauge(USAGE));
    }
    if manner.is_strict {
        for metric in &mut settings.metrics {
            if let Against::Stable(margin) = &mut metric.against {
                margin.harm_ratio_ppm = 1_000_000;
            }
        }
    }
    settings
}

fn observed(
    metric: &str,
    (from, to): (u32, u32),
    weight: Weight,
    [stable, canary]: [Option<Reading>; 2],
) -> Observed {
    Observed {
        metric: metric.to_owned(),
        from: moment(from),
        to: moment(to),
        skew: Duration::ZERO,
        weight,
        stable,
        canary,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::{Judge, Latency, fleet::Fleet, play};

    fn schedule() -> Schedule {
        Schedule {
            steps: [5, 25, 50, 100].map(Weight::from_percent).to_vec(),
            hold: 300,
        }
    }

    fn scenario() -> Scenario {
        Scenario {
            latency: Some(Latency {
                scale: 1.05,
                ..Latency::usual(Latency::istio())
            }),
            ..Scenario::errors(100.0, 0.001, 0.005)
        }
    }

    /// Plays as [`play`] does, with a restart after each second: all that is left of the judge is what was stored.
    #[test]
    fn restarts_change_nothing() {
        let (scenario, schedule) = (scenario(), schedule());
        let mut judge = Sequential::new(&scenario, schedule.clone(), Manner::USUAL, 4);
        let traffic = Traffic::new(&scenario, 4);
        let mut fleet = Fleet::NONE;
        let (mut largest, mut rolled_back) = (0, None);
        for at in 0..schedule.length() {
            let weight = judge.weight(at).unwrap();
            fleet.serve(at, weight);
            let second = traffic.second(at, weight, &fleet);
            let turn = judge.hear(at + 1, &second);
            let stored = serde_json::to_string(&judge.state).unwrap();
            largest = largest.max(stored.len());
            let state: State = serde_json::from_str(&stored).unwrap();
            assert_eq!(state, judge.state, "{at}");
            judge.state = state;
            if turn == Turn::RollBack {
                rolled_back = Some(at + 1);
                break;
            }
        }
        let run = play(Judge::Sequential, &scenario, &schedule, 4);
        assert!(rolled_back.is_some(), "{run:?}");
        assert_eq!(rolled_back, run.rolled_back);
        assert!(largest <= 4_096, "{largest} bytes");
    }
}
