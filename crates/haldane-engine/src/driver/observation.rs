//! What is seen of the world: replicas, routes, the calendar, counts, and what the judges say of them.

use haldane_analysis::{Batch, panel};
use haldane_core::{
    ServiceName, Weight,
    plan::{Bands, Plan},
    rollout::{self, Effect, Input, TrafficSeen, Workloads, effect},
    verdict::{Judgement, Share, Subject},
};
use jiff::{SignedDuration, Timestamp};
use tracing::debug;

use super::{
    Driver,
    effects::{full_size, service_dir},
    home::{Home, Live},
};
use crate::{
    calendar,
    port::{Ports, Trial, Watch},
};

/// The time between two looks at the counters; batches are this long.
const BATCH: SignedDuration = SignedDuration::from_secs(1);

/// How often what the judges remember is stored.
const KEEP_JUDGES: SignedDuration = SignedDuration::from_secs(5);

/// How many observations wait for the judge at most: those of a full set of metrics over a few minutes without judgement.
const OBSERVED_MAX: usize = 512;

/// How long after a start of the daemon a canary whose replicas exist is not yet taken for lost: its health is asked anew, and until
/// it answers it gets no requests anyhow.
const TAKE_UP_GRACE: SignedDuration = SignedDuration::from_secs(5);

impl Driver {
    /// Returns what is seen of the world, judgements left out.
    pub(super) fn gather(&mut self, name: &ServiceName, now: Timestamp) -> Vec<Input> {
        let wall = self.ports.clock.now();
        let Some(home) = self.homes.get_mut(name) else {
            return Vec::new();
        };
        let stable = &home.record.stable.version;
        home.stable_seen = self.ports.workloads.seen(name, stable);
        home.stable_trouble = self.ports.workloads.trouble(name, stable);
        let Some(live) = live_mut(home) else {
            return Vec::new();
        };
        // People mean the wall clock by windows.
        let calendar = calendar::look(live.plan().rules(), wall);
        workloads(name, live, &mut self.ports, now)
            .map(Input::Workloads)
            .into_iter()
            .chain([Input::Calendar(calendar)])
            .chain(traffic(name, live, &mut self.ports).map(Input::Traffic))
            .collect()
    }

    /// Closes the open batch when it is full, and lets the judges look.
    pub(super) fn sample(&mut self, name: &ServiceName, now: Timestamp) -> Vec<Input> {
        let Some(home) = self.homes.get_mut(name) else {
            return Vec::new();
        };
        if now.duration_since(home.batch_from) < BATCH {
            return Vec::new();
        }
        let (stable, canary) = match home.live() {
            Some(live) => (&live.state().stable, Some(&live.state().canary)),
            None => (&home.record.stable.version, None),
        };
        let mut take = |version| self.ports.measurements.take(name, version);
        let (stable, canary) = (take(stable), canary.map(take).unwrap_or_default());
        let seen = self.ports.traffic.seen(name);
        let weight = seen.map_or(Weight::ZERO, |seen| seen.route.routing.weight);
        let batch = Batch {
            from: home.batch_from,
            to: now,
            stable,
            canary,
            weight,
        };
        home.batch_from = now;
        if let Err(why) = home.series.push(batch) {
            debug!(service = %name, %why, "Batch left out");
        }
        observe(name, home, &mut self.ports, weight, now);
        self.look_at_bands(name, now);
        let inputs = self.homes.get_mut(name).map(|home| judge(home, now));
        self.keep_judges(name, now);
        inputs.unwrap_or_default()
    }

    /// Stores what the judges remember every few seconds, so that a restart neither counts twice nor forgets.
    ///
    /// Between two decisions nothing depends on it; if the disk fails, the next time will do.
    fn keep_judges(&mut self, name: &ServiceName, now: Timestamp) {
        let live = self.homes.get(name).and_then(Home::live);
        let is_due = |live: &&Live| {
            let since = live.kept.unwrap_or(live.record.started_at);
            live.is_durable()
                && live.record.judges.sequential.is_some()
                && now.duration_since(since) >= KEEP_JUDGES
        };
        let Some(write) = live.filter(is_due).map(|live| live.record.write()) else {
            return;
        };
        let result = write.and_then(|write| self.commit(&[write]));
        if let Err(error) = result {
            debug!(service = %name, %error, "What the judges remember was not stored");
        }
        if let Some(live) = self.homes.get_mut(name).and_then(live_mut) {
            live.kept = Some(now);
        }
    }
}

fn live_mut(home: &mut Home) -> Option<&mut Live> {
    home.rollout
        .as_mut()
        .filter(|live| !live.state().phase.is_terminal())
}

/// Returns how both versions' replicas are; `None` while that is not known after a start.
fn workloads(
    name: &ServiceName,
    live: &mut Live,
    ports: &mut Ports,
    now: Timestamp,
) -> Option<Workloads> {
    let canary = &live.record.wish.spec;
    let seen = Workloads {
        stable: ports.workloads.seen(name, &live.record.stable.version),
        canary: ports.workloads.seen(name, &canary.version),
        canary_full: full_size(canary),
        canary_trouble: ports.workloads.trouble(name, &canary.version),
    };
    if seen.canary.ready > 0 || seen.canary.existing == 0 {
        live.taken_up = None;
    }
    let is_early = |at: Timestamp| now.duration_since(at) < TAKE_UP_GRACE;
    (!live.taken_up.is_some_and(is_early)).then_some(seen)
}

/// Returns what the router does; one that still serves another pair of versions shows nothing of this rollout.
fn traffic(name: &ServiceName, live: &Live, ports: &mut Ports) -> Option<TrafficSeen> {
    let seen = ports.traffic.seen(name)?;
    let (stable, canary) = (&live.state().stable, &live.state().canary);
    let route = seen.route;
    let is_ours = &route.stable.version == stable
        && route
            .canary
            .as_ref()
            .is_none_or(|spec| &spec.version == canary);
    is_ours.then_some(TrafficSeen {
        applied: route.routing,
        stable_in_flight: seen.stable_in_flight,
        canary_in_flight: seen.canary_in_flight,
    })
}

/// Takes in what metric systems told: of the rollout that goes on, or of stable alone where something is learned from it.
fn observe(name: &ServiceName, home: &mut Home, ports: &mut Ports, weight: Weight, now: Timestamp) {
    let watch = watch(home, weight, now);
    let told = ports.measurements.observed(name, watch.as_ref());
    home.learning.hear(&told, now);
    let Some(live) = live_mut(home) else {
        return;
    };
    live.observed.extend(told);
    let surplus = live.observed.len().saturating_sub(OBSERVED_MAX);
    live.observed.drain(..surplus);
}

/// Returns about what metric systems are asked; `None` if nobody would use the answer.
fn watch(home: &Home, weight: Weight, now: Timestamp) -> Option<Watch<'_>> {
    let (live, rules) = (home.live(), home.rules());
    let is_learned = rules.bands == Bands::Learned;
    let is_used = is_learned || (live.is_some() && rules.judge.is_some());
    (is_used && !rules.metrics.is_empty()).then(|| Watch {
        trial: live.map(|live| Trial {
            rollout: &live.state().id,
            canary: &live.state().canary,
        }),
        stable: live.map_or(&home.record.stable.version, |live| &live.state().stable),
        weight,
        metrics: &rules.metrics,
        dir: service_dir(home, live.map(|live| &live.record)).map(String::as_str),
        now,
    })
}

/// Lets the judges look at what was counted and observed.
fn judge(home: &mut Home, now: Timestamp) -> Vec<Input> {
    let Some(live) = home
        .rollout
        .as_mut()
        .filter(|live| !live.state().phase.is_terminal())
    else {
        return Vec::new();
    };
    let plan = live.record.wish.plan.clone();
    let mut inputs = Vec::new();
    for wish in rollout::effects(&plan, live.state()) {
        let Effect::EnsureJudged { subject, since } = wish else {
            continue;
        };
        let question = panel::question(&plan, subject, since, now);
        let observed = match subject {
            Subject::Background => std::mem::take(&mut live.observed),
            Subject::Step(_) => Vec::new(),
        };
        let memory = memory(live, subject);
        let answer = panel::judge(&question, &home.series, &observed, memory);
        let answer = answer.with_bands(live.known.found.clone());
        if subject == Subject::Background || !plan.rules().is_judged() {
            live.judged = Some((answer.judgement.clone(), answer.evidence));
        }
        inputs.push(Input::Judged(with_split(&plan, live, answer.judgement)));
    }
    inputs
}

/// Returns what the judge of a subject remembers; each step begins with nothing.
fn memory(live: &mut Live, subject: Subject) -> &mut panel::Memory {
    let Subject::Step(step) = subject else {
        return &mut live.record.judges;
    };
    if live.step_memory.0 != Some(step) {
        live.step_memory = (Some(step), panel::Memory::default());
    }
    &mut live.step_memory.1
}

/// Leaves the split out where requests reach the canary by name or by rule: those are no part of it and say nothing about it.
fn with_split(plan: &Plan, live: &Live, judgement: Judgement) -> Judgement {
    let routing = effect::traffic(plan, live.state());
    let is_split = !routing.weight.is_zero() && routing.header_routes.is_empty();
    let share = if is_split {
        judgement.share
    } else {
        Share::Fits
    };
    Judgement { share, ..judgement }
}
