//! The state of one rollout: everything that a decision may depend on, as data.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    name::{RolloutId, VersionName},
    rollout::input::{Facts, GateKey},
    weight::Weight,
};

/// One attempt to replace stable by canary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Which rollout this is.
    pub id: RolloutId,
    /// The version serving users when it began.
    pub stable: VersionName,
    /// The version on trial.
    pub canary: VersionName,
    /// Where it stands.
    pub phase: Phase,
    /// The wait for a ready replica of the canary, if it lost its last one.
    pub lost: Option<Wait>,
    /// Replicas of the canary that are older than this are to be replaced (the command `restart`).
    pub restart_since: Option<Timestamp>,
    /// The latest time that this rollout was told; time never goes back from here.
    pub seen: Timestamp,
    /// What was last heard of the world. Not part of the decision: a host that starts again begins without it.
    #[serde(skip)]
    pub facts: Facts,
}

/// Where a rollout stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Waiting for a window to open; nothing has been started.
    Pending(Wait),
    /// The canary starts, without traffic.
    Preparing(Preparing),
    /// A step is at work.
    Progressing(Progress),
    /// Waiting for a person or a window.
    Paused(Paused),
    /// All traffic moves to the canary, and the old version is let go.
    Promoting(Promotion),
    /// The canary is the new stable.
    Completed(Ended),
    /// Traffic leaves the canary.
    RollingBack(Rollback),
    /// Stable serves all traffic; the canary is gone.
    RolledBack(Ended),
    /// The safe side could not be reached or the state made no sense; a person must look.
    Failed(Ended),
}

/// A wait with its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// When it began.
    pub since: Timestamp,
    /// When it is over at the latest.
    pub deadline: Timestamp,
}

/// The canary is starting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preparing {
    /// The wait for it.
    pub wait: Wait,
    /// Who asked to pause before the first step, if anybody.
    pub pause_asked: Option<Actor>,
}

/// A step at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The index of the step.
    pub step: u32,
    /// The weight in force; it rises to the step's when the canary can carry it.
    pub weight: Weight,
    /// What allowed the steps so far, `None` while no verdict was needed yet.
    pub approval: Option<Approval>,
    /// When it was entered; evidence from before does not speak for it.
    pub entered: Timestamp,
    /// When it may end at the earliest.
    pub due: Timestamp,
    /// When it has waited long enough, with or without what it waits for: a hold's `max`, a gate's timeout, a judge's first word.
    pub over: Timestamp,
    /// When it ends at the latest, one way or the other.
    pub deadline: Timestamp,
}

/// A pause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// What was going on.
    pub from: Resume,
    /// Why it waits, and so what ends it.
    pub why: Pause,
    /// The weight in force meanwhile.
    pub weight: Weight,
    /// The wait for it to end.
    pub wait: Wait,
}

/// What a pause interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resume {
    /// A step.
    Step(Progress),
    /// A promotion.
    Promotion(Promotion),
}

/// Why a rollout is paused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pause {
    /// A person asked for it.
    Operator(Actor),
    /// A person set the weight.
    Override(Actor),
    /// The plan says to wait for a person here.
    Planned,
    /// A person decides whether to go on.
    Question(String),
    /// The canary was judged bad, and the plan says to wait for a person.
    Failure(String),
    /// No window is open, or a freeze is on; the rollout goes on by itself when it may.
    Closed(String),
    /// The canary looked bad with all traffic: stable has half of it for a while, so that the two can be compared.
    Confirming(String),
}

/// The way from the last step to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promotion {
    /// How far it is.
    pub stage: Stage,
    /// The weight in force; it rises to all when the canary can carry it.
    pub weight: Weight,
    /// What allowed it.
    pub by: Approval,
    /// When the stage began; evidence from before does not speak for it.
    pub entered: Timestamp,
    /// When the stage may end at the earliest.
    pub due: Timestamp,
    /// When the stage ends at the latest.
    pub deadline: Timestamp,
}

/// How far a promotion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// All traffic is moving to the canary.
    Shifting,
    /// All traffic is there; the old version stays warm and judging goes on.
    Baking,
    /// The old version ends its requests in flight.
    Draining,
}

/// What allowed a promotion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Approval {
    /// A positive verdict of the judge.
    Verdict,
    /// A person's command.
    Operator,
    /// The plan asks for no verdict.
    Unjudged,
}

/// Traffic is leaving the canary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// Why.
    pub why: Reason,
    /// When requests that are still in flight are given up.
    pub drained_by: Timestamp,
    /// The wait for traffic to be gone.
    pub wait: Wait,
}

/// The end of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When it ended.
    pub at: Timestamp,
    /// Why it ended so.
    pub why: Reason,
}

/// Who did something, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The person or system.
    pub name: String,
    /// The reason given, if any.
    pub reason: Option<String>,
}

/// Why a rollout ended or is ending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// It went through its plan.
    Promoted(Approval),
    /// A person aborted it.
    Aborted(Actor),
    /// The canary was judged bad.
    Judged(String),
    /// There was no evidence to go on by the deadline.
    NoEvidence(String),
    /// The canary could not be started, or failed too often before it was ever ready.
    CannotStart(String),
    /// The canary was not ready by the deadline, for this reason.
    Unready(String),
    /// The canary was not ready by the deadline.
    NotReady,
    /// The canary lost all its ready replicas and did not get one back by the deadline.
    Lost,
    /// Traffic was not verified as applied by the deadline.
    TrafficNotApplied(Weight),
    /// A gate said no or did not answer in time.
    Gate {
        /// Which gate.
        key: GateKey,
        /// What it said.
        said: String,
    },
    /// Nobody decided by the deadline.
    NoDecision,
    /// No window opened by the deadline.
    NoWindow,
    /// A newer version took its place.
    Superseded(VersionName),
    /// The stable version was asked for again.
    BackToStable,
    /// Its state made no sense.
    Broken(String),
}

impl Phase {
    /// Returns the phase's name: `Progressing`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pending(_) => "Pending",
            Self::Preparing(_) => "Preparing",
            Self::Progressing(_) => "Progressing",
            Self::Paused(_) => "Paused",
            Self::Promoting(_) => "Promoting",
            Self::Completed(_) => "Completed",
            Self::RollingBack(_) => "RollingBack",
            Self::RolledBack(_) => "RolledBack",
            Self::Failed(_) => "Failed",
        }
    }

    /// Whether nothing more will happen.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        match self {
            Self::Completed(_) | Self::RolledBack(_) | Self::Failed(_) => true,
            Self::Pending(_)
            | Self::Preparing(_)
            | Self::Progressing(_)
            | Self::Paused(_)
            | Self::Promoting(_)
            | Self::RollingBack(_) => false,
        }
    }
}

impl State {
    /// Returns the weight that is decided, before a lost canary takes it away.
    #[must_use]
    pub const fn weight(&self) -> Weight {
        match &self.phase {
            Phase::Progressing(progress) => progress.weight,
            Phase::Paused(paused) => paused.weight,
            Phase::Promoting(promotion) => promotion.weight,
            Phase::Completed(_) => Weight::FULL,
            Phase::Pending(_)
            | Phase::Preparing(_)
            | Phase::RollingBack(_)
            | Phase::RolledBack(_)
            | Phase::Failed(_) => Weight::ZERO,
        }
    }

    /// Returns the index of the step that is at work or interrupted.
    #[must_use]
    pub const fn step(&self) -> Option<u32> {
        match &self.phase {
            Phase::Progressing(progress)
            | Phase::Paused(Paused {
                from: Resume::Step(progress),
                ..
            }) => Some(progress.step),
            Phase::Pending(_)
            | Phase::Preparing(_)
            | Phase::Paused(_)
            | Phase::Promoting(_)
            | Phase::Completed(_)
            | Phase::RollingBack(_)
            | Phase::RolledBack(_)
            | Phase::Failed(_) => None,
        }
    }

    /// Returns the pause that it is in, if any.
    #[must_use]
    pub const fn paused(&self) -> Option<&Paused> {
        match &self.phase {
            Phase::Paused(paused) => Some(paused),
            Phase::Pending(_)
            | Phase::Preparing(_)
            | Phase::Progressing(_)
            | Phase::Promoting(_)
            | Phase::Completed(_)
            | Phase::RollingBack(_)
            | Phase::RolledBack(_)
            | Phase::Failed(_) => None,
        }
    }

    /// Returns when and why it was taken back, once it was.
    #[must_use]
    pub const fn taken_back(&self) -> Option<&Ended> {
        match &self.phase {
            Phase::RolledBack(ended) | Phase::Failed(ended) => Some(ended),
            Phase::Pending(_)
            | Phase::Preparing(_)
            | Phase::Progressing(_)
            | Phase::Paused(_)
            | Phase::Promoting(_)
            | Phase::RollingBack(_)
            | Phase::Completed(_) => None,
        }
    }

    /// Whether it waits until its weight may rise again.
    #[must_use]
    pub fn is_held_back(&self) -> bool {
        let is_closed = |paused: &Paused| matches!(paused.why, Pause::Closed(_));
        matches!(self.phase, Phase::Pending(_)) || self.paused().is_some_and(is_closed)
    }

    /// Whether only a person's command lets it go on.
    #[must_use]
    pub fn waits_for_person(&self) -> bool {
        self.paused()
            .is_some_and(|paused| !matches!(paused.why, Pause::Closed(_) | Pause::Confirming(_)))
    }

    /// Whether two states hold the same decision, whatever was heard of the world since.
    #[must_use]
    pub fn is_same_decision(&self, other: &Self) -> bool {
        self.phase == other.phase
            && self.lost == other.lost
            && self.restart_since == other.restart_since
            && self.id == other.id
            && self.stable == other.stable
            && self.canary == other.canary
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator(actor) => write!(f, "paused by {actor}"),
            Self::Override(actor) => write!(f, "weight set by {actor}"),
            Self::Planned => f.write_str("the plan waits for a person here"),
            Self::Question(why) | Self::Failure(why) | Self::Closed(why) => f.write_str(why),
            Self::Confirming(why) => write!(f, "compared with stable again: {why}"),
        }
    }
}

impl fmt::Display for Paused {
    /// Writes why it waits and since when: `paused by ann (lunch), since 2026-01-02T03:04:05Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whole seconds: who reads this has waited longer than that.
        write!(f, "{}, since {:.0}", self.why, self.wait.since)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Promoted(Approval::Verdict) => f.write_str("every step passed"),
            Self::Promoted(Approval::Operator) => f.write_str("promoted by an operator"),
            Self::Promoted(Approval::Unjudged) => {
                f.write_str("every step ended; the plan asks for no verdict")
            }
            Self::Aborted(actor) => write!(f, "aborted by {actor}"),
            Self::Judged(why) => f.write_str(why),
            Self::NoEvidence(why) => write!(f, "no evidence to go on: {why}"),
            Self::CannotStart(why) => write!(f, "the canary cannot start: {why}"),
            Self::Unready(why) => write!(f, "the canary did not become ready in time: {why}"),
            Self::NotReady => f.write_str("the canary did not become ready in time"),
            Self::Lost => f.write_str("the canary lost all its ready replicas"),
            Self::TrafficNotApplied(weight) => {
                write!(f, "traffic was not verified at {weight} in time")
            }
            Self::Gate { key, said } => write!(f, "gate {key}: {said}"),
            Self::NoDecision => f.write_str("nobody decided in time"),
            Self::NoWindow => f.write_str("no window opened in time"),
            Self::Superseded(version) => write!(f, "superseded by {version}"),
            Self::BackToStable => f.write_str("the stable version was asked for again"),
            Self::Broken(why) => write!(f, "the rollout's state made no sense: {why}"),
        }
    }
}
