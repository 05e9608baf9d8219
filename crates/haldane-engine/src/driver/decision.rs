//! How a decision is made and becomes durable.
//!
//! **Invariants:** a decision that could send more traffic to a version is in force only after its commit; one that takes traffic away
//! is in force at once, and while it is not durable nothing but another such one follows.

use haldane_core::{
    ServiceName,
    request::cancels_queued,
    rollout::{self, GateAnswer, Input, Phase, Refusal, State, Transition, effect, invariants},
};
use jiff::Timestamp;
use tracing::{error, info, warn};

use super::{
    Driver,
    effects::route,
    home::{Home, Live},
};
use crate::{
    handle::RequestError,
    record::{CommandRecord, Entry, RolloutRecord, ServiceRecord, write_version},
    store::{StoreError, Write},
};

/// What became of an input.
pub(super) enum Outcome {
    /// The decision stays the same.
    Same,
    /// It was decided, and is in force; whether it is durable tells the rollout.
    Decided,
    /// The command was refused.
    Refused(Refusal),
    /// A decision was due, and could not be made.
    NotTaken(RequestError),
}

/// A decision before it is made.
struct Draft {
    record: RolloutRecord,
    /// What is kept of the service, where the decision changes it.
    service: Option<ServiceRecord>,
    entry: Entry,
    writes: Vec<Write>,
    /// What the judges saw until then.
    recording: Vec<Write>,
}

impl Driver {
    /// Tells a rollout one thing, and makes durable what follows.
    pub(super) fn feed(&mut self, name: &ServiceName, input: &Input, now: Timestamp) -> Outcome {
        let Some(live) = self
            .homes
            .get_mut(name)
            .and_then(|home| home.rollout.as_mut())
        else {
            return Outcome::Same;
        };
        let Transition { state, refusal, .. } =
            rollout::step(live.plan(), live.state(), input, now);
        if let Some(refusal) = refusal {
            live.record.state = state;
            return Outcome::Refused(refusal);
        }
        if state.is_same_decision(live.state()) {
            live.record.state = state;
            return Outcome::Same;
        }
        if let Err(violation) = invariants(live.plan(), &state) {
            let why = format!(
                "{} does not go on, its traffic stays: {violation}",
                state.id
            );
            live.record.state.facts = state.facts;
            if live.fault.as_ref() != Some(&why) {
                error!(rollout = %state.id, %violation, "Decision breaks an invariant; it is not taken");
                live.fault = Some(why.clone());
            }
            return Outcome::NotTaken(RequestError::Refused(why));
        }
        match self.decide(name, input, state) {
            Ok(()) => Outcome::Decided,
            Err(error) => Outcome::NotTaken(error.into()),
        }
    }

    /// Makes a decision durable; one that takes traffic away takes effect first, and stands even if the disk fails.
    fn decide(&mut self, name: &ServiceName, input: &Input, next: State) -> Result<(), StoreError> {
        let Some(home) = self.homes.get_mut(name) else {
            return Ok(());
        };
        let Some(live) = home.rollout.as_mut() else {
            return Ok(());
        };
        let may_precede = takes_away(live, &next);
        let draft = draft(name, &home.record, live, input, next)?;
        if may_precede {
            let routing = effect::traffic(live.plan(), &draft.record.state);
            self.ports
                .traffic
                .ensure(name, &route(&live.record, routing));
        }
        // What is in force already is made durable with it, or neither is.
        let writes = [live.pending.as_slice(), &draft.writes].concat();
        let result = self.commit(&[writes.as_slice(), &draft.recording].concat());
        let Some(home) = self.homes.get_mut(name) else {
            return result;
        };
        let Some(live) = home.rollout.as_mut() else {
            return result;
        };
        let state = &draft.record.state;
        match &result {
            Ok(()) => {
                info!(rollout = %state.id, phase = state.phase.name(), weight = %state.weight(), "{}", draft.entry.text);
                live.pending.clear();
                live.fault = None;
                live.recorder.stored(&draft.record.recorded);
                live.record = draft.record;
                home.record = draft.service.unwrap_or_else(|| home.record.clone());
                self.let_go(name);
                result
            }
            Err(_) if may_precede => {
                warn!(rollout = %state.id, phase = state.phase.name(), weight = %state.weight(), "Applied, not durable: {}", draft.entry.text);
                // What the judges saw may wait; it is not worth a second failure.
                live.pending = writes;
                live.record = RolloutRecord {
                    recorded: live.record.recorded,
                    ..draft.record
                };
                home.record = draft.service.unwrap_or_else(|| home.record.clone());
                Ok(())
            }
            // What was heard stays heard; the decision is made again on the next turn.
            Err(_) => {
                live.record.state.facts = draft.record.state.facts;
                result
            }
        }
    }

    /// Tries again to make durable what was in force before it was.
    pub(super) fn retry_pending(&mut self, name: &ServiceName) {
        let pending = |home: &Home| home.rollout.as_ref().map(|live| live.pending.clone());
        let writes = self.homes.get(name).and_then(pending).unwrap_or_default();
        if writes.is_empty() || self.commit(&writes).is_err() {
            return;
        }
        if let Some(live) = self
            .homes
            .get_mut(name)
            .and_then(|home| home.rollout.as_mut())
        {
            info!(rollout = %live.state().id, "Decision is durable now");
            live.pending.clear();
        }
    }

    /// Stops asking and counting for a rollout that is over.
    fn let_go(&mut self, name: &ServiceName) {
        let Some(home) = self.homes.get_mut(name) else {
            return;
        };
        let Some(live) = home.rollout.as_ref() else {
            return;
        };
        let gone = match &live.state().phase {
            Phase::Completed(_) => Some(live.state().stable.clone()),
            Phase::RolledBack(_) => Some(live.state().canary.clone()),
            // Traffic may still go to either version.
            Phase::Failed(_) => None,
            Phase::Pending(_)
            | Phase::Preparing(_)
            | Phase::Progressing(_)
            | Phase::Paused(_)
            | Phase::Promoting(_)
            | Phase::RollingBack(_) => return,
        };
        self.ports.gates.forget(&live.state().id);
        let record = live.record.clone();
        home.let_go.extend(gone);
        if let Some(left) = home.begin_aftermath(&record) {
            self.ports.gates.forget(&left);
        }
    }

    pub(super) fn hear_gate(&mut self, gate: GateAnswer, now: Timestamp) {
        let id = gate.key.rollout.clone();
        let is_of = |home: &Home| home.live().is_some_and(|live| live.state().id == id);
        let name = self.homes.iter().find(|(_, home)| is_of(home));
        match name.map(|(name, _)| name.clone()) {
            Some(name) => {
                self.feed(&name, &Input::Gate(gate), now);
            }
            None if self.hear_aftermath(&gate, now) => {}
            None => info!(rollout = %id, "Gate answered for a rollout that is over; ignored"),
        }
    }
}

/// Whether a decision only takes traffic away from the canary, and so may be in force before it is durable.
fn takes_away(live: &Live, next: &State) -> bool {
    let was = effect::traffic(live.plan(), live.state());
    let is = effect::traffic(live.plan(), next);
    if is.is_stable_only() {
        // Going back is in force at once even where no traffic was.
        return !was.is_stable_only() || matches!(next.phase, Phase::RollingBack(_));
    }
    // While one is pending only the way to zero is left, so that not many of them can gather.
    is.weight < was.weight && live.is_durable()
}

fn draft(
    name: &ServiceName,
    service: &ServiceRecord,
    live: &Live,
    input: &Input,
    next: State,
) -> Result<Draft, StoreError> {
    let text = rollout::decided(live.plan(), &next);
    let number = live.record.entries;
    let (recorded, recording) = live.recorder.rows(&live.record, next.seen);
    let record = RolloutRecord {
        state: next,
        entries: number.saturating_add(1),
        judges: live.known.background.clone(),
        recorded,
        ..live.record.clone()
    };
    let state = &record.state;
    let entry = Entry {
        input: Some(input.clone()),
        facts: state.facts.clone(),
        state: state.clone(),
        text,
        evidence: live.judged.as_ref().map(|(_, evidence)| evidence.clone()),
    };
    let service = changed(service, &record, input);
    // The time that the rollout was told, so that history can be decided again.
    let at = state.seen;
    let mut writes = vec![record.write()?, entry.write(number, at)?];
    if let Some(service) = &service {
        writes.push(service.write(name)?);
        writes.push(write_version(name, &service.stable, at)?);
    }
    if let Input::Command(command) = input {
        let trail = CommandRecord {
            name: command.action.name().to_owned(),
            actor: command.actor.clone(),
            rollout: Some(state.id.clone()),
            refusal: None,
        };
        writes.push(trail.write(name, at)?);
    }
    Ok(Draft {
        record,
        service,
        entry,
        writes,
        recording,
    })
}

/// Returns what is kept of the service where a decision changes it: a promotion, and who takes back what is queued.
fn changed(service: &ServiceRecord, next: &RolloutRecord, input: &Input) -> Option<ServiceRecord> {
    if matches!(next.state.phase, Phase::Completed(_)) {
        return Some(ServiceRecord {
            stable: next.wish.spec.clone(),
            restart_since: None,
            ..service.clone()
        });
    }
    let is_taken_back = matches!(input, Input::Command(command) if cancels_queued(&command.action));
    (is_taken_back && service.queued.is_some()).then(|| ServiceRecord {
        queued: None,
        ..service.clone()
    })
}
