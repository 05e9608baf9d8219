//! Who is told after a rollout was rolled back, one after another.
//!
//! **Invariant:** nothing waits for them, and what they answer is history: it changes nothing. Each is told at least once, also where
//! the daemon died meanwhile or the next rollout has begun.

use haldane_core::{
    RolloutId, ServiceName,
    plan::Gate,
    rollout::{self, GateAnswer, GateKey, Input},
};
use jiff::Timestamp;
use tracing::{info, warn};

use super::{Driver, effects::gate_subject, home::Home};
use crate::{
    port::Ports,
    record::{Entry, RolloutRecord, Told},
    store::{StoreError, Write},
};

/// How many rollouts of a service may wait to be told; who rolls back more often in a few minutes has told enough.
const AFTERMATHS_MAX: usize = 4;

/// Returns who is to be told of a rollout now, and the key of that question.
fn question(record: &RolloutRecord) -> Option<(GateKey, &Gate)> {
    let ended = record.state.taken_back()?;
    let plan = &record.wish.plan;
    let count = record.told.count;
    let gate = plan
        .rules()
        .after_rollback
        .get(usize::try_from(count).ok()?)?;
    let key = GateKey {
        rollout: record.state.id.clone(),
        // As if it were one more step of the plan.
        step: plan.step_count().saturating_add(count),
        entered: record.told.since.unwrap_or(ended.at),
    };
    Some((key, gate))
}

/// Asks who is to be told now.
pub(super) fn ask(name: &ServiceName, home: &Home, ports: &mut Ports) {
    for record in &home.aftermaths {
        let Some((key, gate)) = question(record) else {
            continue;
        };
        let mut subject = gate_subject(name, home, record, ports);
        subject.why = record.state.taken_back().map(|ended| ended.why.to_string());
        ports.gates.ask(&key, gate, &subject);
    }
}

impl Home {
    /// Notes that a rollout is over, if somebody is to be told of that; returns one of which nobody is told any more.
    pub(super) fn begin_aftermath(&mut self, record: &RolloutRecord) -> Option<RolloutId> {
        question(record)?;
        self.aftermaths.push(record.clone());
        if self.aftermaths.len() <= AFTERMATHS_MAX {
            return None;
        }
        let left = self.aftermaths.remove(0).state.id;
        warn!(rollout = %left, "Not everybody is told of it: there were too many rollbacks");
        Some(left)
    }
}

impl Driver {
    /// Takes up what was not told yet when the daemon ended.
    pub(super) fn take_up_aftermaths(&mut self, name: &ServiceName) -> Result<(), StoreError> {
        let count = u32::try_from(AFTERMATHS_MAX).unwrap_or(u32::MAX);
        let rows = self.store.rollouts(name, count)?;
        let Some(home) = self.homes.get_mut(name) else {
            return Ok(());
        };
        // One that can't be read is told of already.
        for record in rows
            .iter()
            .rev()
            .filter_map(|row| RolloutRecord::read(row).ok())
        {
            home.begin_aftermath(&record);
        }
        Ok(())
    }

    /// Hears somebody who was told; false if nobody was asked that.
    pub(super) fn hear_aftermath(&mut self, answer: &GateAnswer, now: Timestamp) -> bool {
        let of = |(name, home): (&ServiceName, &Home)| {
            let mut records = home.aftermaths.iter().enumerate();
            let (index, record) = records
                .find(|(_, record)| question(record).is_some_and(|(key, _)| key == answer.key))?;
            Some((name.clone(), index, record.clone()))
        };
        let Some((name, index, record)) = self.homes.iter().find_map(of) else {
            return false;
        };
        let result = heard(&record, answer, now);
        let result = result.and_then(|(record, writes)| self.commit(&writes).map(|()| record));
        if let Ok(record) = result {
            self.go_on_with(&name, index, record);
        } else {
            // It is asked again, and says it again.
            self.ports.gates.forget(&answer.key.rollout);
        }
        true
    }

    fn go_on_with(&mut self, name: &ServiceName, index: usize, record: RolloutRecord) {
        let Some(home) = self.homes.get_mut(name) else {
            return;
        };
        let id = record.state.id.clone();
        if let Some(live) = home.rollout.as_mut().filter(|live| live.state().id == id) {
            live.record.told = record.told;
            live.record.entries = record.entries;
        }
        let is_over = question(&record).is_none();
        if is_over {
            home.aftermaths.remove(index);
            self.ports.gates.forget(&id);
        } else if let Some(known) = home.aftermaths.get_mut(index) {
            *known = record;
        }
    }
}

/// Returns a rollout of which one more was told, and what makes that durable.
fn heard(
    record: &RolloutRecord,
    answer: &GateAnswer,
    now: Timestamp,
) -> Result<(RolloutRecord, Vec<Write>), StoreError> {
    let name = question(record).map_or("", |(_, gate)| gate.name.as_str());
    let text = format!("{name}: {}", answer.said);
    info!(rollout = %record.state.id, is_open = answer.is_open, "{text}");
    let input = Input::Gate(answer.clone());
    let state = rollout::step(&record.wish.plan, &record.state, &input, now).state;
    let entry = Entry {
        input: Some(input),
        facts: state.facts.clone(),
        state: state.clone(),
        text,
        evidence: None,
    };
    let write = entry.write(record.entries, state.seen)?;
    let record = RolloutRecord {
        told: Told {
            count: record.told.count.saturating_add(1),
            since: Some(state.seen),
        },
        entries: record.entries.saturating_add(1),
        state,
        ..record.clone()
    };
    let writes = vec![record.write()?, write];
    Ok((record, writes))
}
