//! What is seen of the world: replicas, routes, the calendar, counts, and what the judges say of them.

use haldane_analysis::{
    Batch,
    looks::{self, Asked},
    recording::Second,
    sequential::Observed,
};
use haldane_core::{
    ServiceName, Weight,
    plan::Bands,
    rollout::{self, Effect, Input, TrafficSeen, Workloads, effect},
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
    record::RolloutRecord,
};

/// The time between two looks at the counters; batches are this long.
const BATCH: SignedDuration = SignedDuration::from_secs(1);

/// How often what the judges remember is stored, and what they saw.
const KEEP_JUDGES: SignedDuration = SignedDuration::from_secs(5);

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
        let asked = questions(home);
        record_beginning(home, &asked, &batch);
        if let Err(why) = home.series.push(batch.clone()) {
            debug!(service = %name, %why, "Batch left out");
        }
        let told = observe(name, home, &mut self.ports, weight, now);
        let bands = self.look_at_bands(name, now);
        let second = Second {
            batch,
            told,
            bands,
            asked,
            is_split: true,
        };
        let home = self.homes.get_mut(name);
        let inputs = home.map(|home| judge(home, second));
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
            let has_news = live.known.background.sequential.is_some() || live.recorder.has_lines();
            live.is_durable() && has_news && now.duration_since(since) >= KEEP_JUDGES
        };
        let Some(live) = live.filter(is_due) else {
            return;
        };
        let (recorded, rows) = live.recorder.rows(&live.record, now);
        let record = RolloutRecord {
            judges: live.known.background.clone(),
            recorded,
            ..live.record.clone()
        };
        let write = record.write();
        let result = write.and_then(|write| self.commit(&[vec![write], rows].concat()));
        let Some(live) = self.homes.get_mut(name).and_then(live_mut) else {
            return;
        };
        live.kept = Some(now);
        match result {
            Ok(()) => {
                live.record = record;
                live.recorder.stored(&recorded);
            }
            Err(error) => {
                debug!(service = %name, %error, "What the judges remember was not stored");
            }
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

/// Returns what metric systems told: of the rollout that goes on, or of stable alone where something is learned from it.
fn observe(
    name: &ServiceName,
    home: &mut Home,
    ports: &mut Ports,
    weight: Weight,
    now: Timestamp,
) -> Vec<Observed> {
    let watch = watch(home, weight, now);
    let told = ports.measurements.observed(name, watch.as_ref());
    home.learning.hear(&told, now);
    told
}

/// Returns what the rollout that goes on wants to be judged.
fn questions(home: &Home) -> Vec<Asked> {
    let wishes = home
        .live()
        .map(|live| rollout::effects(live.plan(), live.state()));
    let asked = |wish| match wish {
        Effect::EnsureJudged { subject, since } => Some(Asked { subject, since }),
        Effect::EnsureTraffic(_)
        | Effect::EnsureWorkloads(_)
        | Effect::EnsureAsked(_)
        | Effect::EnsureStable(_)
        | Effect::Notify { .. } => None,
    };
    wishes.into_iter().flatten().filter_map(asked).collect()
}

/// Begins to record where the judges are asked first, or the canary gets traffic first, since this process began.
fn record_beginning(home: &mut Home, asked: &[Asked], batch: &Batch) {
    let Some(live) = home
        .rollout
        .as_mut()
        .filter(|live| !live.state().phase.is_terminal())
    else {
        return;
    };
    if live.recorder.is_due() && !(asked.is_empty() && batch.weight.is_zero()) {
        let past = home.series.batches().cloned();
        live.recorder.begin(batch.from, &live.known, past);
    }
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
fn judge(home: &mut Home, second: Second) -> Vec<Input> {
    let Some(live) = home
        .rollout
        .as_mut()
        .filter(|live| !live.state().phase.is_terminal())
    else {
        return Vec::new();
    };
    let second = Second {
        bands: second.bands.filter(|bands| *bands != live.known.bands),
        is_split: is_split(live),
        ..second
    };
    live.recorder.add(&second);
    let Second {
        batch,
        told,
        bands,
        asked,
        is_split,
    } = second;
    live.known.hear(told);
    live.known.compare(bands);
    let now = batch.to;
    let plan = live.record.wish.plan.clone();
    let mut inputs = Vec::new();
    for asked in asked {
        let answer = live.known.look(&plan, asked, &home.series, now);
        if looks::is_shown(&plan, asked.subject) {
            live.judged = Some((answer.judgement.clone(), answer.evidence));
        }
        inputs.push(Input::Judged(looks::told(answer.judgement, is_split)));
    }
    inputs
}

/// Whether requests reach the canary by the weight alone: those that do by name or by rule are no part of the split and say nothing
/// about it.
fn is_split(live: &Live) -> bool {
    let routing = effect::traffic(live.plan(), live.state());
    !routing.weight.is_zero() && routing.header_routes.is_empty()
}
