//! Judges against each other on the same random traffic: how often each rolls back a canary, after how long, and at whose cost.
//!
//! Requests arrive by a Poisson process, at each second split by the weight; failures and latencies are drawn from what each version is
//! like. Two judges at the same weight see the same requests. The peers follow their own published rules; their sources are named at each.
//!
//! **Invariant:** the same scenario, schedule and seed give the same run.

mod fleet;
pub mod gate;
mod latency;
mod peer;
mod pods;
pub mod replay;
mod sequential;
mod summary;
pub mod table;
mod traffic;
mod wald;

use std::ops::Range;

use haldane_core::Weight;

pub use self::{
    fleet::Cold,
    latency::{Connections, Latency},
    pods::Pods,
    summary::{Figures, summarize},
    traffic::{Clumps, Conversion, Incident, Scenario},
    wald::wald_seconds,
};
use self::{
    fleet::Fleet,
    peer::{Argo, FixedWindow, Flagger, Kayenta, Threshold},
    sequential::{Manner, Sequential},
    traffic::{Second, Traffic},
};

/// The weights of a rollout, each held equally long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The canary's shares of traffic, in their order.
    pub steps: Vec<Weight>,
    /// How long each is held, seconds; at least one.
    pub hold: u32,
}

/// Who judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Judge {
    /// Haldane's sequential judge, looked at each second.
    Sequential,
    /// The same, advancing as soon as the canary is shown to be no worse, at the latest after the hold.
    Adaptive,
    /// The sequential judge, fed by batches of 5 s as a scraper brings them.
    Scraped,
    /// The sequential judge without a margin: each difference is harm, be it ever so small.
    Strict,
    /// The sequential judge for services that are cold for long: with a warm-up of 20 s.
    Patient,
    /// Haldane's threshold judge with the default limit of 5 % errors.
    Threshold,
    /// Flagger: success rate of the last minute at least 99 %, five failed checks.
    Flagger,
    /// Flagger by somebody who knew stable's error rate and set the limit to three times it.
    FlaggerTuned,
    /// Argo Rollouts: each 30 s the success rate of the last minute, passing from 95 %, failing below 90 %, more than two failures.
    Argo,
    /// A rule as scripts have it: more than 5 % errors in the last five minutes, looked at each minute.
    FixedWindow,
    /// Kayenta: minute points, judged at the end of each step but the last by the Mann-Whitney test.
    Kayenta,
}

/// How one run went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    /// When the canary was rolled back, in seconds.
    pub rolled_back: Option<u32>,
    /// When the rollout was stopped for a person to look.
    pub paused: Option<u32>,
    /// When the last step was over.
    pub promoted: Option<u32>,
    /// Failures that users met, at least until the planned end, and would not have met with stable, as expected from the weights.
    pub excess_errors: f64,
    /// How many requests the canary got.
    pub canary_requests: u64,
}

/// What a judge wants after a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// To go on.
    On,
    /// To take the canary back.
    RollBack,
    /// A person.
    Pause,
}

/// A judge at work.
trait Decider {
    /// Returns the canary's share of the second that begins; `None` when the last step is over.
    fn weight(&self, at: u32) -> Option<Weight>;
    /// Takes in what was counted in the second that ended at `at`.
    fn hear(&mut self, at: u32, second: &Second) -> Turn;
}

impl Schedule {
    /// Returns how long the whole takes, in seconds.
    #[must_use]
    pub fn length(&self) -> u32 {
        let count = u32::try_from(self.steps.len()).unwrap_or(u32::MAX);
        self.hold.max(1).saturating_mul(count)
    }

    fn weight(&self, at: u32) -> Option<Weight> {
        let step = usize::try_from(at / self.hold.max(1)).unwrap_or(usize::MAX);
        self.steps.get(step).copied()
    }
}

impl Judge {
    /// Those that people choose from, in the order in which they read them; `Scraped`, `Strict` and `Patient` are for the tables.
    pub const ALL: [Self; 8] = [
        Self::Sequential,
        Self::Adaptive,
        Self::Threshold,
        Self::Flagger,
        Self::FlaggerTuned,
        Self::Argo,
        Self::FixedWindow,
        Self::Kayenta,
    ];

    /// Returns the name in tables and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Adaptive => "adaptive",
            Self::Scraped => "scraped",
            Self::Strict => "strict",
            Self::Patient => "patient",
            Self::Threshold => "threshold",
            Self::Flagger => "flagger",
            Self::FlaggerTuned => "flagger_tuned",
            Self::Argo => "argo",
            Self::FixedWindow => "fixed_window",
            Self::Kayenta => "kayenta",
        }
    }

    fn decider(self, scenario: &Scenario, schedule: &Schedule, seed: u64) -> Box<dyn Decider> {
        let sequential = |manner: Manner| {
            let schedule = schedule.clone();
            Box::new(Sequential::new(scenario, schedule, manner, seed))
        };
        let schedule = schedule.clone();
        let usual = Manner::USUAL;
        match self {
            Self::Sequential => sequential(usual),
            Self::Adaptive => sequential(Manner {
                is_adaptive: true,
                ..usual
            }),
            Self::Scraped => sequential(Manner { batch: 5, ..usual }),
            Self::Strict => sequential(Manner {
                is_strict: true,
                ..usual
            }),
            Self::Patient => sequential(Manner {
                warm_up: Some(20),
                ..usual
            }),
            Self::Threshold => Box::new(Threshold::new(schedule)),
            Self::Flagger => Box::new(Flagger::new(scenario, schedule, 0.99)),
            Self::FlaggerTuned => {
                let success_min = 1.0 - 3.0 * scenario.stable;
                Box::new(Flagger::new(scenario, schedule, success_min))
            }
            Self::Argo => Box::new(Argo::new(schedule)),
            Self::FixedWindow => Box::new(FixedWindow::new(scenario, schedule)),
            Self::Kayenta => Box::new(Kayenta::new(scenario, schedule)),
        }
    }
}

/// Plays the rollout of this seed under one judge.
#[must_use]
pub fn play(judge: Judge, scenario: &Scenario, schedule: &Schedule, seed: u64) -> Run {
    let mut decider = judge.decider(scenario, schedule, seed);
    let traffic = Traffic::new(scenario, seed);
    let end = schedule.length();
    let mut run = Run {
        rolled_back: None,
        paused: None,
        promoted: None,
        excess_errors: 0.0,
        canary_requests: 0,
    };
    let mut fleet = Fleet::NONE;
    // Flagger stands still while checks fail, which its counter bounds; who steps back again and again counts as neither after this.
    for at in 0..end.saturating_mul(3) {
        let Some(weight) = decider.weight(at) else {
            run.promoted = Some(at);
            // Users go on with the new version until the planned end, so that a quick promotion hides no cost.
            run.suffer(scenario, Weight::FULL, at..end);
            break;
        };
        fleet.serve(at, weight);
        let second = traffic.second(at, weight, &fleet);
        let ended = at.saturating_add(1);
        run.suffer(scenario, weight, at..ended);
        run.canary_requests = run.canary_requests.saturating_add(second.canary.requests);
        match decider.hear(ended, &second) {
            Turn::On => {}
            Turn::RollBack => {
                run.rolled_back = Some(ended);
                break;
            }
            Turn::Pause => {
                // The weight stays while a person is waited for.
                run.paused = Some(ended);
                run.suffer(scenario, weight, ended..end);
                break;
            }
        }
    }
    run
}

impl Run {
    fn suffer(&mut self, scenario: &Scenario, weight: Weight, seconds: Range<u32>) {
        let excess = seconds.map(|at| scenario.excess(at, weight));
        self.excess_errors += excess.sum::<f64>();
    }
}

/// Returns the whole part of a number of seconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "held within what is asked for"
)]
fn whole(seconds: f64) -> u32 {
    seconds.clamp(0.0, f64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests;
