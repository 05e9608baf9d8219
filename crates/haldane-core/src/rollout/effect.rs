//! What a rollout asks of its host, as a function of where it stands.
//!
//! Effects name a wanted end condition, so that doing one twice, late or after a lost turn does no harm.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    name::VersionName,
    plan::{Ask, Gate, HeaderRoute, Hold, Plan, Scale, Step},
    rollout::{
        input::GateKey,
        state::{Pause, Paused, Phase, Progress, Promotion, Resume, Stage, State},
    },
    verdict::Subject,
    weight::Weight,
};

/// One thing that the host must bring about. The order in a list is the order in which to begin them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// Route like this.
    EnsureTraffic(Traffic),
    /// Run both versions at these sizes.
    EnsureWorkloads(WorkloadWish),
    /// Judge, beginning with samples from this time.
    EnsureJudged {
        /// What to judge.
        subject: Subject,
        /// Where samples begin.
        since: Timestamp,
    },
    /// Ask this gate's web service, command or Job, unless it was asked already.
    EnsureAsked(GateKey),
    /// Make this version the stable one, for good.
    EnsureStable(VersionName),
    /// Tell people where the rollout stands; the key is the same for the same news.
    Notify {
        /// For leaving out what was told already.
        key: String,
        /// The news in one sentence.
        text: String,
    },
}

/// How to route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// The canary's share.
    pub weight: Weight,
    /// Whether requests that ask for the canary by the override get it.
    pub is_open_to_override: bool,
    /// Rules that send requests to the canary whatever the weight, oldest first.
    pub header_routes: Vec<HeaderRoute>,
    /// The share of stable's requests that the canary gets a copy of.
    pub mirror: Weight,
}

/// How large both versions are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadWish {
    /// Whether stable runs; its size is the home's own.
    pub has_stable: bool,
    /// What the canary does.
    pub canary: CanaryWish,
}

/// What the canary's replicas are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CanaryWish {
    /// None runs.
    Stopped,
    /// What runs goes on, and nothing is added: traffic may still go there.
    Kept,
    /// Run at this size.
    Running(CanarySize),
}

/// How large the canary is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanarySize {
    /// The size by the plan.
    pub scale: Scale,
    /// The weight that it must be able to carry.
    pub weight: Weight,
    /// Replicas older than this are to be replaced.
    pub restart_since: Option<Timestamp>,
}

impl Traffic {
    /// All traffic to stable, and no way to the canary.
    pub const STABLE_ONLY: Self = Self {
        weight: Weight::ZERO,
        is_open_to_override: false,
        header_routes: Vec::new(),
        mirror: Weight::ZERO,
    };

    /// Whether no request can reach the canary.
    #[must_use]
    pub const fn is_stable_only(&self) -> bool {
        self.weight.is_zero()
            && !self.is_open_to_override
            && self.header_routes.is_empty()
            && self.mirror.is_zero()
    }
}

impl CanarySize {
    /// Returns the number of replicas, given how many the canary has at its full size: the one that it has once it is promoted.
    #[must_use]
    pub fn replicas(&self, full: u32) -> u32 {
        match self.scale {
            Scale::Full => full.max(1),
            Scale::MatchWeight => self.weight.of(full).max(1),
            Scale::ShareOfFull(share) => share.of(full).max(1),
            Scale::Replicas(count) => count,
        }
    }
}

/// Returns the routing that a rollout wants.
#[must_use]
pub fn traffic(plan: &Plan, state: &State) -> Traffic {
    match &state.phase {
        Phase::Pending(_)
        | Phase::Preparing(_)
        | Phase::RollingBack(_)
        | Phase::RolledBack(_)
        | Phase::Failed(_) => Traffic::STABLE_ONLY,
        _ if state.lost.is_some() => Traffic::STABLE_ONLY,
        Phase::Progressing(progress) => at_step(plan, progress.step, progress.weight),
        Phase::Paused(paused) => match paused.from {
            Resume::Step(_) | Resume::Promotion(_) if paused.takes_traffic_away() => {
                Traffic::STABLE_ONLY
            }
            Resume::Step(progress) => at_step(plan, progress.step, paused.weight),
            Resume::Promotion(_) => all_open(paused.weight),
        },
        Phase::Promoting(promotion) => all_open(promotion.weight),
        Phase::Completed(_) => all_open(Weight::FULL),
    }
}

/// Returns the sizes that a rollout wants.
#[must_use]
pub fn workloads(plan: &Plan, state: &State) -> WorkloadWish {
    let running = |scale, weight| {
        CanaryWish::Running(CanarySize {
            scale,
            weight,
            restart_since: state.restart_since,
        })
    };
    let canary = match &state.phase {
        Phase::Pending(_) | Phase::RolledBack(_) => CanaryWish::Stopped,
        Phase::Preparing(_) => running(plan.scale_at(0), plan.weight_at(0)),
        Phase::Progressing(progress)
        | Phase::Paused(Paused {
            from: Resume::Step(progress),
            ..
        }) => match &state.facts.traffic {
            Some(seen) => running(
                plan.scale_at(progress.step),
                plan.weight_at(progress.step)
                    .max(state.weight())
                    .max(seen.applied.weight),
            ),
            // A host that starts again does not know yet what the canary carries.
            None => CanaryWish::Kept,
        },
        Phase::Paused(Paused {
            from: Resume::Promotion(_),
            ..
        })
        | Phase::Promoting(_)
        | Phase::Completed(_) => running(Scale::Full, Weight::FULL),
        Phase::RollingBack(_) | Phase::Failed(_) => CanaryWish::Kept,
    };
    // A host that could not read its last decision took all traffic back to stable; it must be seen to have left again.
    let has_left = state
        .facts
        .traffic
        .as_ref()
        .is_some_and(|seen| seen.applied.weight.is_full());
    WorkloadWish {
        has_stable: !(matches!(state.phase, Phase::Completed(_)) && has_left),
        canary,
    }
}

/// Returns everything that a rollout asks of its host.
#[must_use]
pub fn effects(plan: &Plan, state: &State) -> Vec<Effect> {
    let mut effects = vec![
        Effect::EnsureTraffic(traffic(plan, state)),
        Effect::EnsureWorkloads(workloads(plan, state)),
    ];
    effects.extend(judging(plan, state));
    effects.extend(asking(plan, state));
    if let Phase::Completed(_) = state.phase {
        effects.insert(0, Effect::EnsureStable(state.canary.clone()));
    }
    effects.push(news(plan, state));
    effects
}

impl Paused {
    /// Whether this pause keeps traffic from the canary that the step would send.
    fn takes_traffic_away(&self) -> bool {
        matches!(self.why, Pause::Failure(_)) && self.weight.is_zero()
    }
}

fn all_open(weight: Weight) -> Traffic {
    Traffic {
        weight,
        is_open_to_override: true,
        ..Traffic::STABLE_ONLY
    }
}

fn at_step(plan: &Plan, step: u32, weight: Weight) -> Traffic {
    Traffic {
        weight,
        is_open_to_override: is_tested_at(plan, step) || !weight.is_zero(),
        header_routes: plan.header_routes_at(step),
        mirror: plan.mirror_at(step),
    }
}

/// Whether a test-traffic step came before this one or is it.
fn is_tested_at(plan: &Plan, step: u32) -> bool {
    (0..=step).any(|index| matches!(plan.step(index), Some(Step::TestTraffic)))
}

fn judging(plan: &Plan, state: &State) -> Vec<Effect> {
    let background = |since| Effect::EnsureJudged {
        subject: Subject::Background,
        since,
    };
    let is_judged = plan.rules().is_judged();
    match &state.phase {
        Phase::Progressing(progress)
        | Phase::Paused(Paused {
            from: Resume::Step(progress),
            ..
        }) => {
            let own = matches!(
                plan.step(progress.step),
                Some(Step::Analysis(_) | Step::Experiment(_))
            )
            .then_some(Effect::EnsureJudged {
                subject: Subject::Step(progress.step),
                since: progress.entered,
            });
            let ruling = plan
                .is_judged_at(progress.step)
                .then(|| background(progress.entered));
            own.into_iter().chain(ruling).collect()
        }
        Phase::Promoting(
            promotion @ Promotion {
                stage: Stage::Shifting | Stage::Baking,
                ..
            },
        )
        | Phase::Paused(Paused {
            from: Resume::Promotion(promotion),
            ..
        }) => is_judged
            .then(|| background(promotion.entered))
            .into_iter()
            .collect(),
        Phase::Pending(_)
        | Phase::Preparing(_)
        | Phase::Promoting(_)
        | Phase::Completed(_)
        | Phase::RollingBack(_)
        | Phase::RolledBack(_)
        | Phase::Failed(_) => Vec::new(),
    }
}

fn asking(plan: &Plan, state: &State) -> Option<Effect> {
    let Phase::Progressing(progress) = &state.phase else {
        return None;
    };
    if progress.weight < plan.weight_at(progress.step) {
        return None;
    }
    match plan.step(progress.step) {
        Some(Step::Gate(Gate {
            ask: Ask::Webhook { .. } | Ask::Run { .. } | Ask::Job { .. },
            ..
        })) => Some(Effect::EnsureAsked(state.gate_key(progress))),
        Some(
            Step::Gate(Gate {
                ask: Ask::Approval, ..
            })
            | Step::SetWeight(_)
            | Step::TestTraffic
            | Step::Hold(_)
            | Step::ScaleCanary(_)
            | Step::Analysis(_)
            | Step::Experiment(_)
            | Step::HeaderRoute(_)
            | Step::Mirror(_),
        )
        | None => None,
    }
}

impl State {
    pub(crate) fn gate_key(&self, progress: &Progress) -> GateKey {
        GateKey {
            rollout: self.id.clone(),
            step: progress.step,
            entered: progress.entered,
        }
    }
}

fn news(plan: &Plan, state: &State) -> Effect {
    let (at, text) = match &state.phase {
        Phase::Pending(_) => (String::new(), "waits to begin".to_owned()),
        Phase::Preparing(_) => (
            String::new(),
            format!("starts {} without traffic", state.canary),
        ),
        Phase::Progressing(progress) => (
            progress.step.to_string(),
            format!(
                "step {} of {}: {}",
                progress.step + 1,
                plan.step_count(),
                describe(plan, progress.step)
            ),
        ),
        Phase::Paused(paused) => (
            // One step may be paused more than once, each time for another reason.
            paused.wait.since.to_string(),
            format!("paused: {paused}"),
        ),
        Phase::Promoting(promotion) => (
            format!("{:?}", promotion.stage),
            promotion.stage.text().to_owned(),
        ),
        Phase::Completed(ended) => (
            String::new(),
            format!("promoted {}: {}", state.canary, ended.why),
        ),
        Phase::RollingBack(rollback) => (String::new(), format!("rolling back: {}", rollback.why)),
        Phase::RolledBack(ended) => (
            String::new(),
            format!("rolled back to {}: {}", state.stable, ended.why),
        ),
        Phase::Failed(ended) => (String::new(), format!("failed: {}", ended.why)),
    };
    Effect::Notify {
        key: format!("{}/{}/{at}", state.id, state.phase.name()),
        text,
    }
}

/// Returns what is decided, in one sentence: the news, and whether stable serves alone meanwhile.
#[must_use]
pub fn decided(plan: &Plan, state: &State) -> String {
    let Effect::Notify { text, .. } = news(plan, state) else {
        return state.phase.name().to_owned();
    };
    match state.lost {
        Some(_) => format!("{text} (no replica of the canary is ready; stable serves alone)"),
        None => text,
    }
}

impl Stage {
    /// Returns what happens in this stage, for people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Shifting => "moving all traffic to the canary",
            Self::Baking => "all traffic moved; the old version stays warm",
            Self::Draining => "letting the old version end its requests",
        }
    }
}

/// Returns what a step does, in a few words for people.
#[must_use]
pub fn describe(plan: &Plan, step: u32) -> String {
    match plan.step(step) {
        Some(Step::SetWeight(weight)) => format!("send {weight} to the canary"),
        Some(Step::TestTraffic) => "open the canary to test requests".to_owned(),
        Some(Step::Hold(Hold::For(time))) => format!("hold for {}", seconds(*time)),
        Some(Step::Hold(Hold::UntilResumed)) => "wait for a person".to_owned(),
        Some(Step::Hold(Hold::UntilEvidence { min, max })) => {
            format!(
                "hold until there is evidence, {} to {}",
                seconds(*min),
                seconds(*max)
            )
        }
        Some(Step::ScaleCanary(_)) => "resize the canary".to_owned(),
        Some(Step::Analysis(analysis)) => format!("analysis {}", analysis.name),
        Some(Step::Experiment(experiment)) => format!("experiment {}", experiment.analysis.name),
        Some(Step::HeaderRoute(route)) => format!("header route {}", route.name),
        Some(Step::Mirror(share)) => format!("mirror {share} to the canary"),
        Some(Step::Gate(gate)) => format!("gate {}", gate.name),
        None => "the end".to_owned(),
    }
}

fn seconds(time: std::time::Duration) -> String {
    if time.subsec_millis() != 0 {
        return format!("{}ms", time.as_millis());
    }
    let (minutes, rest) = (time.as_secs() / 60, time.as_secs() % 60);
    match (minutes, rest) {
        (0, rest) => format!("{rest}s"),
        (minutes, 0) => format!("{minutes}m"),
        (minutes, rest) => format!("{minutes}m{rest}s"),
    }
}
