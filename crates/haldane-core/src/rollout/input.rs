//! What a rollout is told: the passing of time, what was seen of the world, verdicts and commands.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    name::{RolloutId, VersionName},
    rollout::{effect::Traffic, state::Actor},
    verdict::Judgement,
    weight::Weight,
};

/// One thing that a rollout is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// How the versions' replicas are.
    Workloads(Workloads),
    /// What the router does.
    Traffic(TrafficSeen),
    /// What a judge says.
    Judged(Judgement),
    /// What a gate says.
    Gate(GateAnswer),
    /// Whether weight may rise now.
    Calendar(Calendar),
    /// What a person wants.
    Command(Command),
}

/// What was last heard of the world.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// How the versions' replicas are.
    pub workloads: Option<Workloads>,
    /// What the router does.
    pub traffic: Option<TrafficSeen>,
    /// The last judgement on the plan's own guards.
    pub background: Option<Judgement>,
    /// The last judgement on a step's own guards.
    pub step: Option<Judgement>,
    /// The last answer of a gate.
    pub gate: Option<GateAnswer>,
    /// Whether weight may rise now.
    pub calendar: Option<Calendar>,
}

/// How the replicas of both versions are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workloads {
    /// Of stable.
    pub stable: Replicas,
    /// Of the canary.
    pub canary: Replicas,
    /// How many replicas the canary has at its full size.
    #[serde(default)]
    pub canary_full: u32,
    /// Why the canary is not ready, as far as its home knows.
    #[serde(default)]
    pub canary_trouble: Option<Trouble>,
}

/// Why a version is not ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What follows from it.
    pub kind: TroubleKind,
    /// What is wrong, for people.
    pub said: String,
}

/// What follows from a trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TroubleKind {
    /// It cannot be started before somebody changes something: its program is missing, say.
    CannotStart,
    /// A replica has failed so many times in a row: it was not started, ended by itself, or never became ready.
    StartsFail(u32),
    /// It runs, and is not ready yet.
    NotReady,
}

/// How the replicas of one version are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replicas {
    /// How many its home was asked for.
    pub wanted: u32,
    /// How many answer their health check.
    pub ready: u32,
    /// How many exist at all, ready, starting or stopping.
    pub existing: u32,
    /// Whether the number is not the home's to change, as with a version that was given by address.
    pub is_fixed: bool,
}

/// What the router was seen to do; it must have been looked at after the last order to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficSeen {
    /// The routing that was read back.
    pub applied: Traffic,
    /// Requests in flight at stable.
    pub stable_in_flight: u64,
    /// Requests in flight at the canary.
    pub canary_in_flight: u64,
}

/// Names one asking of one gate, so that a late or repeated answer is not taken for another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GateKey {
    /// The rollout.
    pub rollout: RolloutId,
    /// The index of the gate's step.
    pub step: u32,
    /// When the step was entered.
    pub entered: Timestamp,
}

/// What a gate says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateAnswer {
    /// Which asking it answers.
    pub key: GateKey,
    /// Whether the rollout may go on.
    pub is_open: bool,
    /// What was said, for people.
    pub said: String,
}

/// Whether weight may rise now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Calendar {
    /// It may.
    Open,
    /// It may, as far as this weight.
    UpTo {
        /// The weight.
        weight: Weight,
        /// Why no further, for people.
        why: String,
    },
    /// It may not.
    Closed {
        /// Why, for people.
        why: String,
    },
}

/// What a person wants of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// What to do.
    pub action: Action,
    /// Who wants it, and why.
    pub actor: Actor,
}

/// The commands on a rollout. Retry and undo are not among them: they begin a new rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// End the current wait and go to the next step.
    Promote {
        /// Only if this step is still the current one.
        step: Option<u32>,
    },
    /// Leave out all further steps and move all traffic.
    PromoteFull {
        /// Only if this step is still the current one.
        step: Option<u32>,
    },
    /// Wait for a person.
    Pause,
    /// End a pause.
    Resume,
    /// Take the canary's traffic away and end the rollout.
    Abort,
    /// Replace the canary's replicas.
    Restart,
    /// Set the weight by hand, and pause.
    SetWeight(Weight),
    /// End the rollout because a newer version is to be tried.
    Supersede(VersionName),
    /// End the rollout because the stable version was asked for again.
    BackToStable,
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The rollout is over.
    #[error("the rollout is over ({0}); `retry` or `deploy` begins a new one")]
    Over(String),
    /// The rollout is no longer at the expected step.
    #[error("the rollout is at {now}, not at step {expected}")]
    StepMoved {
        /// The step that was expected.
        expected: u32,
        /// Where it is.
        now: String,
    },
    /// The command makes no sense in this phase.
    #[error("not possible while {phase}: {why}")]
    NotNow {
        /// The phase.
        phase: String,
        /// What would be needed.
        why: String,
    },
}

impl Input {
    /// Returns what a decision followed from: `time`, `workloads`, `traffic`, `judge`, `gate`, `calendar` or the command's name.
    #[must_use]
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::Tick => "time",
            Self::Workloads(_) => "workloads",
            Self::Traffic(_) => "traffic",
            Self::Judged(_) => "judge",
            Self::Gate(_) => "gate",
            Self::Calendar(_) => "calendar",
            Self::Command(command) => command.action.name(),
        }
    }
}

impl Action {
    /// Returns the command's name as typed: `set-weight`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Promote { .. } => "promote",
            Self::PromoteFull { .. } => "promote --full",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abort => "abort",
            Self::Restart => "restart",
            Self::SetWeight(_) => "set-weight",
            Self::Supersede(_) => "supersede",
            Self::BackToStable => "back-to-stable",
        }
    }
}

impl Facts {
    /// Takes in what an input tells of the world.
    #[must_use]
    pub fn with(&self, input: &Input) -> Self {
        let mut facts = self.clone();
        match input {
            Input::Tick | Input::Command(_) => {}
            Input::Workloads(seen) => facts.workloads = Some(seen.clone()),
            Input::Traffic(seen) => facts.traffic = Some(seen.clone()),
            Input::Judged(judgement) => match judgement.subject {
                crate::verdict::Subject::Background => facts.background = Some(judgement.clone()),
                crate::verdict::Subject::Step(_) => facts.step = Some(judgement.clone()),
            },
            Input::Gate(answer) => facts.gate = Some(answer.clone()),
            Input::Calendar(calendar) => facts.calendar = Some(calendar.clone()),
        }
        facts
    }
}

impl fmt::Display for GateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.rollout, self.step)
    }
}
