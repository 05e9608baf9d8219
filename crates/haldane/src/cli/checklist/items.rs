//! The checklists, and what is seen of each of their lines.

use std::time::Duration;

use haldane_api::{
    http::{RolloutHistory, RolloutView, StepState},
    text::show_duration,
};
use haldane_core::{
    guard::{Metric, Severity},
    plan::{Ask, Hold, Mode, OnFailure, Plan, Step, metric::Kind},
    verdict::Verdict,
};

use super::{Checklist, Item, State, facts::Facts};
use crate::cli::words::bps;

/// Why a plan is not known.
const NO_PLAN: &str = "it stands in the plan, which is not told here; -f haldane.yaml has it";

/// Why what people wrote for each other is left open.
const DOCUMENT: &str = "a document can't be seen from here";

/// Returns the checklists.
pub(super) fn checklists(facts: &Facts) -> Vec<Checklist> {
    let list = |title, items| Checklist { title, items };
    vec![
        list("Planning", planning(facts)),
        list("Deployment", deployment(facts)),
        list("Monitoring", monitoring(facts)),
        list("Rollback", rollback(facts)),
    ]
}

fn planning(facts: &Facts) -> Vec<Item> {
    vec![
        strategy(facts),
        thresholds(facts),
        Item::new(
            "Rollback plan documented",
            State::Unknown,
            format!(
                "{DOCUMENT}; `haldane abort {}` is what it may say",
                facts.service.name
            ),
        ),
        measured(facts),
        alerting("Alerting set up", facts),
        duration(facts),
        approval(facts),
    ]
}

fn strategy(facts: &Facts) -> Item {
    let text = "Canary strategy defined";
    let weights: Vec<String> = match (&facts.plan, &facts.service.rollout) {
        (Some(plan), _) => weights(plan),
        (None, Some(rollout)) => {
            let shares = rollout.steps.iter().map(|step| step.weight_bps.to_string());
            let mut shares: Vec<String> = shares.collect();
            shares.dedup();
            shares
        }
        (None, None) => return Item::new(text, State::Unknown, NO_PLAN),
    };
    if weights.is_empty() {
        return Item::new(text, State::Open, "the plan sends no share of traffic");
    }
    Item::new(text, State::Done, weights.join(", "))
}

fn weights(plan: &Plan) -> Vec<String> {
    let steps = plan.steps().iter();
    let weights = steps.filter_map(|step| match step {
        Step::SetWeight(weight) => Some(weight.to_string()),
        Step::TestTraffic
        | Step::Hold(_)
        | Step::ScaleCanary(_)
        | Step::Analysis(_)
        | Step::Experiment(_)
        | Step::HeaderRoute(_)
        | Step::Mirror(_)
        | Step::Gate(_) => None,
    });
    weights.collect()
}

fn thresholds(facts: &Facts) -> Item {
    let text = "Metrics thresholds set";
    let names = limits(facts);
    match names {
        None => Item::new(text, State::Unknown, NO_PLAN),
        Some(names) if names.is_empty() => {
            Item::new(text, State::Open, "the plan has no guard and no judge")
        }
        Some(names) => Item::new(text, State::Done, names.join(", ")),
    }
}

/// Returns what a rollout is judged by, in words; `None` where that is not known.
fn limits(facts: &Facts) -> Option<Vec<String>> {
    if let Some(plan) = &facts.plan {
        let rules = plan.rules();
        let guards = rules.guards.iter();
        let mut names: Vec<String> = guards
            .map(|guard| format!("{} {}", guard.metric, guard.limit_text()))
            .collect();
        if rules.judge.is_some() {
            names.push("compared with stable".to_owned());
        }
        return Some(names);
    }
    let judgement = facts.service.rollout.as_ref()?.judgement.as_ref()?;
    let guards = judgement.guards.iter();
    let mut names: Vec<String> = guards
        .map(|guard| format!("{} {}", guard.metric, guard.limit))
        .collect();
    if judgement.comparison.is_some() {
        names.push("compared with stable".to_owned());
    }
    Some(names)
}

fn measured(facts: &Facts) -> Item {
    let text = "Monitoring configured";
    let requests = facts.service.stable.figures.requests;
    if requests > 0 {
        let reason = format!("{requests} requests of stable were counted last");
        return Item::new(text, State::Done, reason);
    }
    let reason = "no request of stable was counted last: there is no traffic, or nobody counts it";
    Item::new(text, State::Open, reason)
}

fn alerting(text: &str, facts: &Facts) -> Item {
    match facts.told {
        Some(0) => Item::new(text, State::Open, "the file's notify names nobody"),
        Some(count) => {
            let reason =
                format!("notify names {count}; alerts of other systems can't be seen from here");
            Item::new(text, State::Done, reason)
        }
        None if facts.is_in_cluster => {
            let reason = "alerts are kept by your Prometheus, which is not asked for them";
            Item::new(text, State::Unknown, reason)
        }
        None => {
            let reason = "who is told stands in the release file; -f haldane.yaml names it";
            Item::new(text, State::Unknown, reason)
        }
    }
}

fn duration(facts: &Facts) -> Item {
    let text = "Canary duration defined";
    let Some(plan) = &facts.plan else {
        return Item::new(text, State::Unknown, NO_PLAN);
    };
    let (mut time, mut is_manual) = (plan.rules().bake, false);
    for step in plan.steps() {
        match step {
            Step::Hold(Hold::For(hold) | Hold::UntilEvidence { max: hold, .. }) => {
                time = time.saturating_add(*hold);
            }
            Step::Hold(Hold::UntilResumed) => is_manual = true,
            Step::Analysis(analysis) => time = time.saturating_add(analysis.duration),
            Step::Experiment(one) => time = time.saturating_add(one.analysis.duration),
            Step::SetWeight(_)
            | Step::TestTraffic
            | Step::ScaleCanary(_)
            | Step::HeaderRoute(_)
            | Step::Mirror(_)
            | Step::Gate(_) => {}
        }
    }
    if time == Duration::ZERO && !is_manual {
        return Item::new(text, State::Open, "the steps take no time");
    }
    let more = if is_manual {
        ", and until a person goes on"
    } else {
        ""
    };
    let reason = format!("at most {}{more}", show_duration(time));
    Item::new(text, State::Done, reason)
}

fn approval(facts: &Facts) -> Item {
    let text = "Approval of the promotion decided";
    let Some(plan) = &facts.plan else {
        return Item::new(text, State::Unknown, NO_PLAN);
    };
    let asks = |step: &Step| match step {
        Step::Gate(gate) => matches!(gate.ask, Ask::Approval),
        Step::Hold(hold) => matches!(hold, Hold::UntilResumed),
        Step::SetWeight(_)
        | Step::TestTraffic
        | Step::ScaleCanary(_)
        | Step::Analysis(_)
        | Step::Experiment(_)
        | Step::HeaderRoute(_)
        | Step::Mirror(_) => false,
    };
    let reason = match plan.rules().promote {
        Mode::Manual => "a person promotes",
        Mode::Hybrid => "a person promotes when something is doubtful",
        Mode::Auto if plan.steps().iter().any(asks) => "a person is asked on the way",
        Mode::Auto => "the judge promotes by itself (promote: auto)",
    };
    Item::new(text, State::Done, reason)
}

fn deployment(facts: &Facts) -> Vec<Item> {
    let Some(rollout) = &facts.service.rollout else {
        let plan = facts.plan.as_ref();
        let weights = plan.map(weights).unwrap_or_default();
        let open = |text: String| Item::new(text, State::Open, "no rollout has begun");
        let steps = weights
            .into_iter()
            .map(|weight| open(format!("send {weight}")));
        return [open("Deploy to canary".to_owned())]
            .into_iter()
            .chain(steps)
            .collect();
    };
    let mut items = vec![deployed(facts, rollout)];
    items.extend(rollout.steps.iter().map(|step| {
        let (state, reason) = match step.state {
            StepState::Done if rollout.phase == "Completed" => (State::Done, "done"),
            StepState::Done => (State::Done, "done in this rollout"),
            StepState::Current if rollout.is_over => (State::Open, "the rollout ended here"),
            StepState::Current => (State::Open, "at work"),
            StepState::Next if rollout.is_over => (State::Open, "the rollout ended before"),
            StepState::Next => (State::Open, "to come"),
        };
        Item::new(step.text.clone(), state, reason)
    }));
    items.push(watched(rollout));
    let state = if rollout.phase == "Completed" {
        State::Done
    } else {
        State::Open
    };
    let reason = format!("{}: {}", rollout.phase, rollout.message);
    items.push(Item::new("Rollout to 100%", state, reason));
    items
}

fn deployed(facts: &Facts, rollout: &RolloutView) -> Item {
    let text = "Deploy to canary";
    if rollout.is_over {
        let reason = format!("{} ran as canary of {}", rollout.canary, rollout.id);
        return Item::new(text, State::Done, reason);
    }
    match &facts.service.canary {
        Some(canary) => {
            let (ready, wanted) = (canary.replicas_ready, canary.replicas_wanted);
            let is_there = ready > 0 && ready >= wanted;
            let state = if is_there { State::Done } else { State::Open };
            let reason = format!("{} has {ready} of {wanted} replicas ready", canary.version);
            Item::new(text, state, reason)
        }
        None => Item::new(text, State::Open, "there is no canary yet"),
    }
}

fn watched(rollout: &RolloutView) -> Item {
    let text = "Monitor metrics";
    match &rollout.judgement {
        Some(judgement) if judgement.verdict != Verdict::NoData => {
            let observed = rollout
                .observed_bps
                .map(|share| format!(", {} of the traffic seen", bps(share)));
            let reason = format!(
                "{}: {}{}",
                judgement.verdict,
                judgement.reason,
                observed.unwrap_or_default()
            );
            Item::new(text, State::Done, reason)
        }
        Some(judgement) => Item::new(text, State::Open, judgement.reason.clone()),
        None => Item::new(text, State::Open, "the judge has said nothing"),
    }
}

fn monitoring(facts: &Facts) -> Vec<Item> {
    let errors = [Metric::ErrorRate, Metric::SuccessRate];
    let latency = [Metric::Mean, Metric::P50, Metric::P95, Metric::P99];
    vec![
        judged("Error rate monitored", "errors", &errors, facts),
        judged("Latency monitored", "latency", &latency, facts),
        business(facts),
        resources(facts),
        alerting("Alerts configured", facts),
    ]
}

/// Tells whether a metric of requests is judged: by the judge under its name, or by guards.
fn judged(text: &str, name: &str, metrics: &[Metric], facts: &Facts) -> Item {
    let of_judge = "the judge compares it with stable".to_owned();
    if let Some(plan) = &facts.plan {
        let rules = plan.rules();
        let guards = rules
            .guards
            .iter()
            .filter(|guard| metrics.contains(&guard.metric));
        let guards: Vec<String> = guards
            .map(|guard| format!("{} {}", guard.metric, guard.limit_text()))
            .collect();
        return match (rules.judge.is_some(), guards.is_empty()) {
            (_, false) => Item::new(text, State::Done, guards.join(", ")),
            (true, true) => Item::new(text, State::Done, of_judge),
            (false, true) => Item::new(
                text,
                State::Open,
                "no guard is on it, and no judge compares it",
            ),
        };
    }
    let judgement = facts
        .service
        .rollout
        .as_ref()
        .and_then(|one| one.judgement.as_ref());
    let Some(judgement) = judgement else {
        return Item::new(text, State::Unknown, NO_PLAN);
    };
    let mut guards = judgement.guards.iter();
    let is_guarded =
        guards.find(|guard| metrics.iter().any(|metric| metric.name() == guard.metric));
    if let Some(guard) = is_guarded {
        return Item::new(
            text,
            State::Done,
            format!("{} {}", guard.metric, guard.limit),
        );
    }
    let compared = judgement.comparison.iter().flat_map(|one| &one.metrics);
    if compared.into_iter().any(|metric| metric.name == name) {
        return Item::new(text, State::Done, of_judge);
    }
    Item::new(text, State::Open, "the last judgement says nothing of it")
}

fn business(facts: &Facts) -> Item {
    let text = "Business metrics monitored";
    let Some(plan) = &facts.plan else {
        let reason = "the plan says which metrics are declared; -f haldane.yaml has it";
        return Item::new(text, State::Unknown, reason);
    };
    let metrics = plan.rules().metrics.iter();
    let names: Vec<&str> = metrics
        .filter(|metric| metric.kind == Kind::Conversion)
        .map(|metric| metric.name.as_str())
        .collect();
    if names.is_empty() {
        return Item::new(text, State::Open, "no conversion is declared under metrics");
    }
    Item::new(text, State::Done, names.join(", "))
}

fn resources(facts: &Facts) -> Item {
    let text = "Resource usage monitored";
    let figures = &facts.service.stable.figures;
    match (figures.cpu_ppm, figures.memory_bytes) {
        (Some(_), Some(_)) => Item::new(
            text,
            State::Done,
            "processor and memory of stable are measured",
        ),
        (Some(_), None) | (None, Some(_)) | (None, None) => Item::new(
            text,
            State::Open,
            "processor and memory of stable are not measured",
        ),
    }
}

fn rollback(facts: &Facts) -> Vec<Item> {
    let documented = "Rollback procedure documented";
    vec![
        triggers(facts),
        Item::new(documented, State::Unknown, DOCUMENT),
        tested(&facts.history),
        automated(facts),
    ]
}

fn triggers(facts: &Facts) -> Item {
    let text = "Rollback triggers defined";
    let has = match (&facts.plan, &facts.service.rollout) {
        (Some(plan), _) => {
            let rules = plan.rules();
            let critical = rules
                .guards
                .iter()
                .any(|guard| guard.severity == Severity::Critical);
            rules.judge.is_some() || critical
        }
        (
            None,
            Some(RolloutView {
                judgement: Some(judgement),
                ..
            }),
        ) => {
            let critical = judgement
                .guards
                .iter()
                .any(|guard| guard.severity == Severity::Critical);
            judgement.comparison.is_some() || critical
        }
        (None, Some(_) | None) => return Item::new(text, State::Unknown, NO_PLAN),
    };
    if has {
        Item::new(
            text,
            State::Done,
            "a critical guard or the judge takes a bad canary back",
        )
    } else {
        Item::new(
            text,
            State::Open,
            "nothing that is measured takes a bad canary back",
        )
    }
}

fn tested(history: &[RolloutHistory]) -> Item {
    let text = "Rollback tested";
    match history.iter().find(|one| one.phase == "RolledBack") {
        Some(past) => {
            let at = past.ended_at.map(|at| format!(" at {at}"));
            let reason = format!("{} was rolled back{}", past.id, at.unwrap_or_default());
            Item::new(text, State::Done, reason)
        }
        None => {
            let reason = "none of the rollouts that are remembered was rolled back; deploy a version that fails, and see";
            Item::new(text, State::Open, reason)
        }
    }
}

fn automated(facts: &Facts) -> Item {
    let text = "Rollback automated";
    let Some(plan) = &facts.plan else {
        return Item::new(text, State::Unknown, NO_PLAN);
    };
    match plan.rules().on_failure {
        OnFailure::Rollback => Item::new(text, State::Done, "onFailure: rollback"),
        OnFailure::PauseAtZero => {
            let reason = "onFailure: pauseAtZero takes the traffic away, and a person decides";
            Item::new(text, State::Done, reason)
        }
        OnFailure::Hold => Item::new(
            text,
            State::Open,
            "onFailure: hold leaves the users where they are",
        ),
    }
}
