//! One service with its rollout: how inputs are gathered, decisions made durable, and effects stated.

use std::collections::BTreeMap;

use haldane_analysis::{Batch, Evidence, Series, threshold};
use haldane_api::file::{Source, VersionSpec};
use haldane_core::{
    ServiceName,
    plan::{Plan, Step},
    rollout::{
        self, CanaryWish, Effect, GateAnswer, Input, Phase, Refusal, Replicas, State, Traffic, TrafficSeen, Transition, Workloads,
        effect,
    },
    verdict::{Judgement, Share, Subject},
};
use jiff::Timestamp;
use tracing::{debug, error, info, warn};

use super::{BATCH, Driver};
use crate::{
    calendar,
    port::{GateSubject, News, Ports, Route, Size, VersionWish},
    record::{Entry, RolloutRecord, ServiceRecord, Wish, write_version},
    store::{StoreError, Write},
};

/// How many batches are kept for judging and for the figures: five minutes, which the widest usual window needs.
const BATCHES_KEPT: usize = 300;

/// How many moves a rollout may make in one turn; each costs a commit, and a plan of zero-length steps must not block the others.
const MOVES_PER_TURN_MAX: u32 = 16;

/// A service as it runs.
pub(super) struct Home {
    /// What is kept of it.
    pub(super) record: ServiceRecord,
    /// The rollout that goes on, or the last one.
    pub(super) rollout: Option<Live>,
    /// What was counted.
    pub(super) series: Series,
    /// How stable's replicas were seen last.
    pub(super) stable_seen: Replicas,
    /// What a person should know, if anything is wrong.
    pub(super) fault: Option<String>,
    /// When the open batch began.
    batch_from: Timestamp,
}

/// A rollout as it runs.
pub(super) struct Live {
    /// What is kept of it.
    pub(super) record: RolloutRecord,
    /// What the background judge said last.
    pub(super) judged: Option<(Judgement, Evidence)>,
    /// What the judge of the current step remembers, and the step.
    step_memory: (Option<u32>, threshold::Memory),
    /// Writes of a lowering that took effect before it was durable.
    pending: Option<Vec<Write>>,
    /// The key of the last news told.
    told: String,
}

impl Home {
    pub(super) fn new(record: ServiceRecord, now: Timestamp) -> Self {
        Self {
            record,
            rollout: None,
            series: Series::bounded(BATCHES_KEPT),
            stable_seen: Replicas::default(),
            fault: None,
            batch_from: now,
        }
    }

    pub(super) fn resume(&mut self, record: RolloutRecord) {
        self.rollout = Some(Live::new(record));
    }

    /// Returns the rollout that goes on.
    pub(super) fn live(&self) -> Option<&Live> {
        self.rollout.as_ref().filter(|live| !live.record.state.phase.is_terminal())
    }

    /// Returns the rollout whose effects still hold: one that goes on, or one that failed on its way back.
    pub(super) fn ruling(&self) -> Option<&Live> {
        self.rollout
            .as_ref()
            .filter(|live| !live.record.state.phase.is_terminal() || matches!(live.record.state.phase, Phase::Failed(_)))
    }
}

impl Live {
    fn new(record: RolloutRecord) -> Self {
        Self {
            record,
            judged: None,
            step_memory: (None, threshold::Memory::default()),
            pending: None,
            told: String::new(),
        }
    }

    /// Whether what was decided last is durable.
    pub(super) const fn is_durable(&self) -> bool {
        self.pending.is_none()
    }

    pub(super) const fn plan(&self) -> &Plan {
        &self.record.wish.plan
    }

    pub(super) const fn state(&self) -> &State {
        &self.record.state
    }
}

impl Driver {
    /// Lets one service's rollout move as far as it can, and states all its effects again.
    pub(super) fn turn_of(&mut self, name: &ServiceName, now: Timestamp) {
        self.retry_pending(name);
        for input in self.gather(name, now) {
            self.feed(name, &input, now);
        }
        for input in self.sample(name, now) {
            self.feed(name, &input, now);
        }
        self.settle(name, now);
        self.state_effects(name, now);
        self.begin_queued(name, now);
    }

    /// Gives a rollout the passing of time until it moves no more.
    fn settle(&mut self, name: &ServiceName, now: Timestamp) {
        for _ in 0..MOVES_PER_TURN_MAX {
            let before = self.homes.get(name).and_then(Home::live).map(|live| live.state().clone());
            let Some(before) = before else { return };
            self.feed(name, &Input::Tick, now);
            let after = self.homes.get(name).and_then(|home| home.rollout.as_ref()).map(Live::state);
            if after.is_none_or(|after| after.is_same_decision(&before)) {
                return;
            }
            for input in self.gather(name, now) {
                self.feed(name, &input, now);
            }
        }
    }

    /// Tells a rollout one thing, and makes durable what follows.
    pub(super) fn feed(&mut self, name: &ServiceName, input: &Input, now: Timestamp) -> Option<Refusal> {
        let live = self.homes.get_mut(name)?.rollout.as_mut()?;
        if live.pending.is_some() && !matches!(input, Input::Command(_)) {
            return None;
        }
        let Transition { state, refusal, .. } = rollout::step(live.plan(), live.state(), input, now);
        if state.is_same_decision(live.state()) {
            live.record.state = state;
            return refusal;
        }
        if let Err(violation) = rollout::invariants(live.plan(), &state) {
            error!(rollout = %state.id, %violation, "Decision breaks an invariant; it is not taken");
            return None;
        }
        if live.pending.is_none() {
            self.decide(name, input, state, now);
        }
        refusal
    }

    /// Makes a decision durable; one that lowers weight takes effect first, and stands even if the disk fails.
    fn decide(&mut self, name: &ServiceName, input: &Input, next: State, now: Timestamp) {
        let Some(home) = self.homes.get_mut(name) else { return };
        let Some(live) = home.rollout.as_mut() else { return };
        let was = effect::traffic(live.plan(), live.state());
        let is = effect::traffic(live.plan(), &next);
        let lowers = is.weight < was.weight || (is.is_stable_only() && !was.is_stable_only());
        if lowers {
            self.ports.traffic.ensure(name, &route(&live.record, is));
        }
        let text = tell_text(live.plan(), &next);
        let record = RolloutRecord { state: next, entries: live.record.entries.saturating_add(1), ..live.record.clone() };
        let service = (matches!(record.state.phase, Phase::Completed(_))).then(|| ServiceRecord {
            stable: record.wish.spec.clone(),
            restart_since: None,
            ..home.record.clone()
        });
        let entry = Entry {
            input: Some(input.clone()),
            facts: record.state.facts.clone(),
            state: record.state.clone(),
            text,
            evidence: live.judged.as_ref().map(|(_, evidence)| evidence.clone()),
        };
        let writes = match decision_writes(name, &record, &entry, service.as_ref(), now) {
            Ok(writes) => writes,
            Err(source) => {
                error!(rollout = %record.state.id, error = %source, "Decision cannot be written down; it is not taken");
                return;
            }
        };
        let result = self.store.commit(&writes);
        info!(rollout = %record.state.id, phase = record.state.phase.name(), weight = %record.state.weight(), durable = result.is_ok(), "{}", entry.text);
        match &result {
            Ok(()) => {
                live.record = record;
                if let Some(service) = service {
                    home.record = service;
                }
            }
            Err(_) if lowers => {
                live.record = record;
                live.pending = Some(writes);
            }
            // What was heard stays heard; the decision is made again on the next turn.
            Err(_) => live.record.state.facts = record.state.facts,
        }
        self.note_store(result.as_ref().err());
    }

    fn retry_pending(&mut self, name: &ServiceName) {
        let Some(live) = self.homes.get_mut(name).and_then(|home| home.rollout.as_mut()) else { return };
        let Some(writes) = &live.pending else { return };
        let result = self.store.commit(writes);
        if result.is_ok() {
            live.pending = None;
        }
        self.note_store(result.as_ref().err());
    }

    /// Returns what is seen of the world.
    fn gather(&mut self, name: &ServiceName, now: Timestamp) -> Vec<Input> {
        let Some(home) = self.homes.get_mut(name) else { return Vec::new() };
        home.stable_seen = self.ports.workloads.seen(name, &home.record.stable.version);
        let Some(live) = home.live() else { return Vec::new() };
        let (stable, canary) = (&live.record.stable, &live.record.wish.spec);
        let workloads = Workloads {
            stable: self.ports.workloads.seen(name, &stable.version),
            canary: self.ports.workloads.seen(name, &canary.version),
        };
        let traffic = self.ports.traffic.seen(name).filter(|seen| {
            // A router that still serves another pair of versions shows nothing of this rollout.
            seen.route.stable.version == stable.version
                && seen.route.canary.as_ref().is_none_or(|spec| spec.version == canary.version)
        });
        let traffic = traffic.map(|seen| TrafficSeen {
            applied: seen.route.routing,
            stable_in_flight: seen.stable_in_flight,
            canary_in_flight: seen.canary_in_flight,
        });
        let rules = live.plan().rules();
        [Some(Input::Workloads(workloads)), traffic.map(Input::Traffic), Some(Input::Calendar(calendar::look(rules, now)))]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Closes the open batch when it is full, and lets the judges look.
    fn sample(&mut self, name: &ServiceName, now: Timestamp) -> Vec<Input> {
        let Some(home) = self.homes.get_mut(name) else { return Vec::new() };
        let length = now.duration_since(home.batch_from);
        if length < BATCH.try_into().unwrap_or_default() && !length.is_negative() {
            return Vec::new();
        }
        if length.is_negative() {
            warn!(service = %name, "Wall clock went back; counting begins anew");
            home.series = Series::bounded(BATCHES_KEPT);
        }
        let live = home.rollout.as_ref().filter(|live| !live.record.state.phase.is_terminal());
        let (stable, canary) = live.map_or((&home.record.stable, None), |live| (&live.record.stable, Some(&live.record.wish.spec)));
        let applied = self.ports.traffic.seen(name).map_or(haldane_core::Weight::ZERO, |seen| seen.route.routing.weight);
        let batch = Batch {
            from: home.batch_from,
            to: now,
            stable: self.ports.measurements.take(name, &stable.version),
            canary: canary.map(|spec| self.ports.measurements.take(name, &spec.version)).unwrap_or_default(),
            weight: applied,
        };
        home.batch_from = now;
        if let Err(why) = home.series.push(batch) {
            debug!(service = %name, %why, "Batch left out");
        }
        self.judge(name, now)
    }

    fn judge(&mut self, name: &ServiceName, now: Timestamp) -> Vec<Input> {
        let Some(home) = self.homes.get_mut(name) else { return Vec::new() };
        let Some(live) = home.rollout.as_mut().filter(|live| !live.record.state.phase.is_terminal()) else { return Vec::new() };
        let plan = live.record.wish.plan.clone();
        let mut inputs = Vec::new();
        for wish in rollout::effects(&plan, live.state()) {
            let Effect::EnsureJudged { subject, since } = wish else { continue };
            let question = |guards| threshold::Question { subject, guards, sampling: &plan.rules().sampling, since, now };
            let answer = match subject {
                Subject::Background => {
                    let answer = threshold::judge(&question(&plan.rules().guards), &home.series, &live.record.memory);
                    live.record.memory = answer.memory.clone();
                    live.judged = Some((answer.judgement.clone(), answer.evidence.clone()));
                    answer
                }
                Subject::Step(step) => {
                    let guards = match plan.step(step) {
                        Some(Step::Analysis(analysis)) => analysis.guards.as_slice(),
                        Some(Step::Experiment(experiment)) => experiment.analysis.guards.as_slice(),
                        Some(
                            Step::SetWeight(_)
                            | Step::TestTraffic
                            | Step::Hold(_)
                            | Step::ScaleCanary(_)
                            | Step::HeaderRoute(_)
                            | Step::Mirror(_)
                            | Step::Gate(_),
                        )
                        | None => continue,
                    };
                    if live.step_memory.0 != Some(step) {
                        live.step_memory = (Some(step), threshold::Memory::default());
                    }
                    let answer = threshold::judge(&question(guards), &home.series, &live.step_memory.1);
                    live.step_memory.1 = answer.memory.clone();
                    if plan.rules().guards.is_empty() {
                        live.judged = Some((answer.judgement.clone(), answer.evidence.clone()));
                    }
                    answer
                }
            };
            // Requests that reach the canary by name or by rule are no part of the split, so they say nothing about it.
            let routing = effect::traffic(&plan, live.state());
            let is_split = !routing.weight.is_zero() && routing.header_routes.is_empty();
            let share = if is_split { answer.judgement.share } else { Share::Fits };
            inputs.push(Input::Judged(Judgement { share, ..answer.judgement }));
        }
        inputs
    }

    /// States the effects of where a service stands; all of them may be stated again and again.
    fn state_effects(&mut self, name: &ServiceName, now: Timestamp) {
        let Some(home) = self.homes.get_mut(name) else { return };
        let Some(live) = home.ruling() else {
            steady(name, home, &mut self.ports);
            if let Some(live) = home.rollout.as_mut() {
                tell_news(name, live, &mut self.ports, now);
            }
            return;
        };
        let is_durable = live.is_durable();
        for wish in rollout::effects(live.plan(), live.state()) {
            match wish {
                Effect::EnsureTraffic(traffic) => self.ports.traffic.ensure(name, &route(&live.record, traffic)),
                Effect::EnsureWorkloads(wish) if is_durable => {
                    let wishes = version_wishes(&live.record, &wish, home.record.restart_since);
                    self.ports.workloads.ensure(name, &wishes);
                }
                Effect::EnsureAsked(key) => {
                    if let Some(Step::Gate(gate)) = live.plan().step(key.step) {
                        self.ports.gates.ask(&key, gate, &gate_subject(name, &live.record));
                    }
                }
                // Judging happens with each batch, and making stable with the commit; news are told below.
                Effect::EnsureWorkloads(_) | Effect::EnsureJudged { .. } | Effect::EnsureStable(_) | Effect::Notify { .. } => {}
            }
        }
        if let Some(live) = home.rollout.as_mut() {
            tell_news(name, live, &mut self.ports, now);
        }
    }

    pub(super) fn hear_gate(&mut self, gate: GateAnswer, now: Timestamp) {
        let id = gate.key.rollout.clone();
        let name = self.homes.iter().find(|(_, home)| home.live().is_some_and(|live| live.state().id == id));
        match name.map(|(name, _)| name.clone()) {
            Some(name) => {
                self.feed(&name, &Input::Gate(gate), now);
            }
            None => info!(rollout = %id, "Gate answered for a rollout that is over; ignored"),
        }
    }

    /// Begins what was waiting for the rollout before it.
    fn begin_queued(&mut self, name: &ServiceName, now: Timestamp) {
        let Some(home) = self.homes.get_mut(name) else { return };
        if home.live().is_some() || home.record.queued.is_none() {
            return;
        }
        if let Some(wish) = home.record.queued.clone()
            && let Err(why) = self.begin(name, wish, now)
        {
            warn!(service = %name, %why, "Queued rollout cannot begin yet");
        }
    }

    /// Begins a rollout, durably.
    pub(super) fn begin(&mut self, name: &ServiceName, wish: Wish, now: Timestamp) -> Result<Option<haldane_core::RolloutId>, StoreError> {
        let Some(home) = self.homes.get_mut(name) else { return Ok(None) };
        let number = home.record.next_number;
        let id = haldane_core::RolloutId::new(name, number);
        let state = rollout::begin(id.clone(), home.record.stable.version.clone(), wish.spec.version.clone(), &wish.plan, now);
        let service = ServiceRecord { next_number: number.saturating_add(1), queued: None, ..home.record.clone() };
        let record = RolloutRecord {
            number,
            service: name.clone(),
            stable: home.record.stable.clone(),
            wish,
            state: state.clone(),
            started_at: now,
            entries: 1,
            memory: threshold::Memory::default(),
        };
        let entry = Entry {
            input: None,
            facts: state.facts.clone(),
            state,
            text: format!("begins: {} to {}", record.stable.version, record.wish.spec.version),
            evidence: None,
        };
        let writes = [
            service.write(name)?,
            write_version(name, &record.stable, now)?,
            write_version(name, &record.wish.spec, now)?,
            record.write()?,
            entry.write(0, now)?,
        ];
        let result = self.store.commit(&writes);
        self.note_store(result.as_ref().err());
        result?;
        info!(rollout = %id, "{}", entry.text);
        if let Some(home) = self.homes.get_mut(name) {
            home.record = service;
            home.series = Series::bounded(BATCHES_KEPT);
            home.batch_from = now;
            home.rollout = Some(Live::new(record));
        }
        Ok(Some(id))
    }
}

fn decision_writes(
    name: &ServiceName,
    record: &RolloutRecord,
    entry: &Entry,
    service: Option<&ServiceRecord>,
    now: Timestamp,
) -> Result<Vec<Write>, StoreError> {
    let mut writes = vec![record.write()?, entry.write(record.entries.saturating_sub(1), now)?];
    if let Some(service) = service {
        writes.push(service.write(name)?);
        writes.push(write_version(name, &service.stable, now)?);
    }
    Ok(writes)
}

/// Serves stable alone.
fn steady(name: &ServiceName, home: &Home, ports: &mut Ports) {
    let stable = home.record.stable.clone();
    let wish = VersionWish { size: Size::Replicas(full_size(&stable)), spec: stable.clone(), restart_since: home.record.restart_since };
    ports.traffic.ensure(name, &Route { stable, canary: None, routing: Traffic::STABLE_ONLY });
    ports.workloads.ensure(name, &[wish]);
}

fn route(record: &RolloutRecord, routing: Traffic) -> Route {
    Route { stable: record.stable.clone(), canary: Some(record.wish.spec.clone()), routing }
}

fn version_wishes(record: &RolloutRecord, wish: &rollout::WorkloadWish, restart_since: Option<Timestamp>) -> Vec<VersionWish> {
    let full = full_size(&record.stable);
    let stable = wish.has_stable.then(|| VersionWish { spec: record.stable.clone(), size: Size::Replicas(full), restart_since });
    let canary = |size, restart_since| VersionWish { spec: record.wish.spec.clone(), size, restart_since };
    let canary = match wish.canary {
        CanaryWish::Stopped => None,
        CanaryWish::Kept => Some(canary(Size::Kept, None)),
        CanaryWish::Running(size) => Some(canary(Size::Replicas(size.replicas(full)), size.restart_since)),
    };
    stable.into_iter().chain(canary).collect()
}

/// Returns how many replicas a version has at full size.
fn full_size(spec: &VersionSpec) -> u32 {
    match &spec.source {
        Source::Run { replicas, .. } => *replicas,
        Source::Urls(urls) => u32::try_from(urls.len()).unwrap_or(u32::MAX),
    }
}

fn gate_subject(name: &ServiceName, record: &RolloutRecord) -> GateSubject {
    GateSubject {
        service: name.clone(),
        stable: record.stable.version.clone(),
        canary: record.wish.spec.version.clone(),
        stable_url: None,
        canary_url: None,
    }
}

fn tell_text(plan: &Plan, state: &State) -> String {
    let news = rollout::effects(plan, state).into_iter().find_map(|wish| match wish {
        Effect::Notify { text, .. } => Some(text),
        Effect::EnsureTraffic(_)
        | Effect::EnsureWorkloads(_)
        | Effect::EnsureJudged { .. }
        | Effect::EnsureAsked(_)
        | Effect::EnsureStable(_) => None,
    });
    let lost = state.lost.map(|_| " (no replica of the canary is ready; stable serves alone)").unwrap_or_default();
    format!("{}{lost}", news.unwrap_or_else(|| state.phase.name().to_owned()))
}

/// Tells where a rollout stands, once.
fn tell_news(name: &ServiceName, live: &mut Live, ports: &mut Ports, now: Timestamp) {
    for wish in rollout::effects(live.plan(), live.state()) {
        let Effect::Notify { key, text } = wish else { continue };
        if live.told != key {
            let (rollout, phase) = (live.state().id.clone(), live.state().phase.name());
            ports.notify.tell(&News { key: key.clone(), service: name.clone(), rollout, phase, text, at: now });
            live.told = key;
        }
    }
}

/// Returns the services' files, for the router.
pub(super) fn files(homes: &BTreeMap<ServiceName, Home>) -> BTreeMap<ServiceName, haldane_api::file::Service> {
    homes.iter().map(|(name, home)| (name.clone(), home.record.file.clone())).collect()
}
