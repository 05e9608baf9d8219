//! Looks: how the judges of a rollout are asked, second by second.
//!
//! Whoever judges, live or again from a [recording](crate::recording), does it by these functions, so that the same seconds give the
//! same answers.
//!
//! **Invariant:** each observation is given to the judges once, to those of the whole rollout.

use haldane_core::{
    plan::Plan,
    verdict::{Judgement, Share, Subject},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    band,
    panel::{self, Answer, Memory},
    sequential::Observed,
    series::{BATCHES_MAX, Series},
};

/// How many batches are kept for judging and for the figures: five minutes, which the widest usual window needs. Of a canary with few
/// requests an hour is kept.
const BATCHES_KEPT: usize = 300;

/// How many observations wait for the judge at most: those of a full set of metrics over a few minutes without judgement.
pub const OBSERVED_MAX: usize = 512;

/// One question to the judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(Subject, Timestamp)", into = "(Subject, Timestamp)")]
pub struct Asked {
    /// What it is about.
    pub subject: Subject,
    /// Samples from before don't speak for it.
    pub since: Timestamp,
}

/// What the judges of one rollout know between looks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Knowledge {
    /// What those of the whole rollout remember.
    pub background: Memory,
    /// What those of the current step remember.
    pub step: StepMemory,
    /// What was observed and not looked at yet.
    pub observed: Vec<Observed>,
    /// How the metrics compare with what is usual.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bands: Vec<band::Evidence>,
}

/// What the judges of the current step remember.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepMemory {
    step: Option<u32>,
    memory: Memory,
}

/// Returns what keeps the batches that judges still see.
#[must_use]
pub const fn series() -> Series {
    Series::reaching(BATCHES_KEPT, BATCHES_MAX)
}

impl Knowledge {
    /// Takes in what was observed; the oldest is given up where too much waits.
    pub fn hear(&mut self, told: impl IntoIterator<Item = Observed>) {
        self.observed.extend(told);
        let surplus = self.observed.len().saturating_sub(OBSERVED_MAX);
        self.observed.drain(..surplus);
    }

    /// Takes in how the metrics compare with what is usual, where that was looked at anew.
    pub fn compare(&mut self, bands: Option<Vec<band::Evidence>>) {
        if let Some(bands) = bands {
            self.bands = bands;
        }
    }

    /// Lets the judges of what is asked about look at everything that is new.
    pub fn look(&mut self, plan: &Plan, asked: Asked, series: &Series, now: Timestamp) -> Answer {
        let question = panel::question(plan, asked.subject, asked.since, now);
        let answer = match asked.subject {
            Subject::Background => {
                let observed = std::mem::take(&mut self.observed);
                panel::judge(&question, series, &observed, &mut self.background)
            }
            Subject::Step(step) => panel::judge(&question, series, &[], self.step.of(step)),
        };
        answer.with_bands(self.bands.clone())
    }
}

impl StepMemory {
    /// Returns what the judges of a step remember; each step begins with nothing.
    fn of(&mut self, step: u32) -> &mut Memory {
        if self.step != Some(step) {
            *self = Self {
                step: Some(step),
                memory: Memory::default(),
            };
        }
        &mut self.memory
    }
}

/// Whether an answer is what people are shown: the whole rollout's, or a step's where nothing else is judged.
#[must_use]
pub fn is_shown(plan: &Plan, subject: Subject) -> bool {
    subject == Subject::Background || !plan.rules().is_judged()
}

/// Returns what the rollout is told of a judgement: nothing of the split of requests where they are not split by the weight.
#[must_use]
pub fn told(judgement: Judgement, is_split: bool) -> Judgement {
    let share = if is_split {
        judgement.share
    } else {
        Share::Fits
    };
    Judgement { share, ..judgement }
}
