//! What people and programs see of a service: its record, its rollout and its figures, in one body.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use haldane_analysis::{figures, figures::Arm};
use haldane_api::{
    file::{Source, VersionSpec},
    http::{FiguresView, RolloutView, ServiceView, StepState, StepView, VersionView},
};
use haldane_core::{
    ServiceName,
    plan::Plan,
    rollout::{self, Pause, Phase, Replicas, State, effect},
    verdict::{Share, Unusual, Verdict},
};
use jiff::Timestamp;

use super::home::{Home, Live};
use crate::evidence;

/// The window of the figures.
const FIGURES_WINDOW: Duration = Duration::from_secs(60);

/// Returns what is seen of a service.
pub(super) fn service(
    name: &ServiceName,
    home: &Home,
    listeners: &BTreeMap<SocketAddr, SocketAddr>,
    now: Timestamp,
) -> ServiceView {
    let live = home.live();
    let since = live.map_or(Timestamp::MIN, |live| live.record.started_at);
    let totals = home.series.totals(since, now, FIGURES_WINDOW);
    let figures = figures::figures(&totals);
    let facts = live.and_then(|live| live.state().facts.workloads.as_ref());
    let stable = live.map_or(&home.record.stable, |live| &live.record.stable);
    ServiceView {
        name: name.clone(),
        namespace: None,
        listen: home
            .record
            .file
            .listen
            .iter()
            .map(|asked| listeners.get(asked).unwrap_or(asked).to_string())
            .collect(),
        stable: version(
            stable,
            facts.map(|seen| seen.stable).unwrap_or(home.stable_seen),
            &figures.stable,
            restarts(&totals.stable),
        ),
        canary: live.map(|live| {
            let seen = facts.map(|seen| seen.canary).unwrap_or_default();
            version(
                &live.record.wish.spec,
                seen,
                &figures.canary,
                restarts(&totals.canary),
            )
        }),
        rollout: home
            .rollout
            .as_ref()
            .map(|live| rollout(live, figures.canary.traffic_share_bps.map(u64::from))),
        queued: home
            .record
            .queued
            .as_ref()
            .map(|wish| wish.spec.version.clone()),
        differences: differences(home),
        notices: notices(home),
        objects: Vec::new(),
        at: now,
    }
}

fn restarts(sample: &haldane_analysis::Sample) -> Option<u64> {
    sample.gauges.restarts
}

fn version(spec: &VersionSpec, seen: Replicas, arm: &Arm, restarts: Option<u64>) -> VersionView {
    VersionView {
        version: spec.version.clone(),
        source: match &spec.source {
            Source::Run { argv, .. } => argv.join(" "),
            Source::Urls(urls) => urls
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" "),
        },
        replicas_wanted: seen.wanted,
        replicas_ready: seen.ready,
        replicas_existing: seen.existing,
        figures: FiguresView {
            requests: arm.requests,
            error_rate_ppm: arm.error_rate_ppm,
            request_rate_milli: arm.request_rate_milli,
            p50_us: arm.p50_us,
            p95_us: arm.p95_us,
            p99_us: arm.p99_us,
            success_rate_ppm: arm.success_rate_ppm,
            cpu_ppm: arm.cpu_ppm,
            memory_bytes: arm.memory_bytes,
            restarts,
            ready_ppm: arm.ready_ppm,
            traffic_share_bps: arm.traffic_share_bps.map(u64::from),
        },
    }
}

fn rollout(live: &Live, observed_bps: Option<u64>) -> RolloutView {
    let (plan, state) = (live.plan(), live.state());
    let outlook = rollout::outlook(plan, state);
    let wish = &live.record.wish;
    RolloutView {
        id: state.id.clone(),
        kind: wish.kind.name().to_owned(),
        by: wish.actor.name.clone(),
        reason: wish.actor.reason.clone(),
        stable: state.stable.clone(),
        canary: state.canary.clone(),
        phase: state.phase.name().to_owned(),
        is_over: state.phase.is_terminal(),
        step: state.step().map(|step| step.saturating_add(1)),
        steps: steps(plan, state),
        weight_bps: state.weight(),
        observed_bps: observed_bps.filter(|_| !state.phase.is_terminal()),
        waits_for_person: matches!(
            &state.phase,
            Phase::Paused(paused)
                if !matches!(paused.why, Pause::Closed(_) | Pause::Confirming(_))
        ),
        is_applied: state
            .facts
            .traffic
            .as_ref()
            .is_some_and(|seen| seen.applied == effect::traffic(plan, state)),
        message: rollout::message(state),
        next: outlook.text,
        next_at: outlook.at,
        started_at: live.record.started_at,
        ended_at: ended_at(state),
        judgement: live
            .judged
            .as_ref()
            .map(|(said, seen)| evidence::view(Some(said), seen)),
        recommendation: recommendation(live),
    }
}

const fn ended_at(state: &State) -> Option<Timestamp> {
    match &state.phase {
        Phase::Completed(ended) | Phase::RolledBack(ended) | Phase::Failed(ended) => Some(ended.at),
        Phase::Pending(_)
        | Phase::Preparing(_)
        | Phase::Progressing(_)
        | Phase::Paused(_)
        | Phase::Promoting(_)
        | Phase::RollingBack(_) => None,
    }
}

fn steps(plan: &Plan, state: &State) -> Vec<StepView> {
    let at = match &state.phase {
        Phase::Pending(_) | Phase::Preparing(_) => Some((0, StepState::Next)),
        Phase::Promoting(_) | Phase::Completed(_) => None,
        Phase::Progressing(_)
        | Phase::Paused(_)
        | Phase::RollingBack(_)
        | Phase::RolledBack(_)
        | Phase::Failed(_) => state.step().map(|step| (step, StepState::Current)),
    };
    let is_going_back = matches!(
        state.phase,
        Phase::RollingBack(_) | Phase::RolledBack(_) | Phase::Failed(_)
    );
    (0..plan.step_count())
        .map(|index| StepView {
            text: effect::describe(plan, index),
            weight_bps: plan.weight_at(index),
            state: match at {
                Some((step, state)) if step == index => state,
                Some((step, _)) if index > step => StepState::Next,
                None if is_going_back => StepState::Next,
                Some(_) | None => StepState::Done,
            },
        })
        .collect()
}

/// Returns what a person could do.
fn recommendation(live: &Live) -> String {
    let said = live.judged.as_ref().map(|(said, _)| said);
    let verdict = said.map(|said| said.verdict);
    let is_elsewhere = said.is_some_and(|said| said.share == Share::Mismatch);
    let unusual = said.and_then(|said| said.unusual.as_ref());
    let (is_unusual, is_suspect) = (
        unusual.is_some(),
        matches!(unusual, Some(Unusual::Suspect(_))),
    );
    let seen = live.state().facts.workloads.as_ref();
    let is_stable_down = seen.is_some_and(|seen| {
        seen.stable.ready == 0 && seen.stable.wanted > 0 && seen.canary.ready > 0
    });
    let text = match &live.state().phase {
        Phase::Progressing(_) | Phase::Paused(_) if is_stable_down => {
            "stable is down and the canary is not: `promote --full` or `set-weight 100%` sends it all traffic, or mend stable"
        }
        Phase::Paused(paused) => match (&paused.why, verdict) {
            (Pause::Failure(_), _) | (_, Some(Verdict::Fail)) => "abort: the canary was judged bad",
            (Pause::Closed(_), _) => "wait: it goes on when its window opens",
            (Pause::Confirming(_), _) => "wait: the comparison decides",
            (_, Some(Verdict::Pass)) if is_suspect => {
                "look at what is not usual of the canary, then `promote` or `abort`"
            }
            (_, Some(Verdict::Pass)) if is_unusual => {
                "look at what is not usual around the canary, then `promote` or wait"
            }
            (_, Some(Verdict::Pass)) => "promote: every guard passes",
            (_, Some(Verdict::Inconclusive | Verdict::NoData) | None) => {
                "look at the evidence before you decide"
            }
        },
        Phase::Progressing(_) | Phase::Promoting(_) => match verdict {
            Some(Verdict::Fail) => "nothing to do: it is being rolled back",
            Some(Verdict::Pass) if is_elsewhere => {
                "watch: requests do not go where the weight sends them, so it does not go on"
            }
            Some(Verdict::Pass) => "nothing to do: every guard passes",
            Some(Verdict::Inconclusive) => "watch: some guards do not decide yet",
            Some(Verdict::NoData) => "wait: there is not enough data yet",
            None => "nothing to do",
        },
        Phase::Failed(_) => "look at the routing and the canary: traffic could not be verified",
        Phase::RolledBack(_) => {
            "fix the version, then `deploy` it again; `retry` tries the same once more"
        }
        Phase::Preparing(_) if rollout::trouble(live.state()).is_some() => {
            "look at the canary's output (`haldane logs`) and at how it is started"
        }
        Phase::Pending(_) | Phase::Preparing(_) | Phase::Completed(_) | Phase::RollingBack(_) => {
            "nothing to do"
        }
    };
    text.to_owned()
}

fn differences(home: &Home) -> Vec<String> {
    let (runs, says) = (&home.record.stable, &home.record.file.stable);
    if runs.version != says.version {
        return vec![format!(
            "runs {}, the file that was last applied says {}",
            runs.version, says.version
        )];
    }
    if runs != says {
        return vec![format!(
            "runs {} from another source than the file that was last applied says",
            runs.version
        )];
    }
    Vec::new()
}

fn notices(home: &Home) -> Vec<String> {
    let mut notices = Vec::new();
    if let Some(live) = home.rollout.as_ref()
        && !live.is_durable()
    {
        notices.push(
            "weight was lowered, but the decision is not durable yet: the store does not take it"
                .to_owned(),
        );
    }
    notices.extend(home.rollout.as_ref().and_then(|live| live.fault.clone()));
    if let Some(trouble) = &home.stable_trouble {
        let stable = &home.record.stable.version;
        notices.push(format!("{stable} is not ready: {}", trouble.said));
    }
    if let Some(state) = home.live().map(Live::state)
        && let Some(trouble) = rollout::trouble(state)
    {
        notices.push(format!("{} is not ready: {}", state.canary, trouble.said));
    }
    notices.extend(home.aside.as_ref().map(|aside| aside.why.clone()));
    notices
}
