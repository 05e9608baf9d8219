//! How a rollout begins: now, or when the one before it has ended.

use haldane_analysis::panel;
use haldane_core::{
    RolloutId, ServiceName,
    request::{Admission, admit},
    rollout::{self, Action, Actor, Command, Input},
};
use jiff::Timestamp;
use tracing::{debug, info};

use super::{
    Driver,
    home::{Aside, Home, Live},
};
use crate::{
    record::{
        CommandRecord, Entry, Recorded, RolloutRecord, ServiceRecord, Told, Wish, write_version,
    },
    store::{RolloutRow, StoreError, Write},
};

impl Driver {
    /// Begins what was waiting for the rollout before it, or ends that one if it does not know of it yet.
    pub(super) fn begin_queued(&mut self, name: &ServiceName, now: Timestamp) {
        let Some(home) = self.homes.get(name) else {
            return;
        };
        let Some(wish) = home.record.queued.clone() else {
            return;
        };
        if let Some(live) = home.live() {
            let (stable, version) = (&home.record.stable.version, wish.spec.version);
            if admit(stable, Some(live.state()), &version) == Admission::Supersede {
                let (action, actor) = (Action::Supersede(version), wish.actor);
                self.feed(name, &Input::Command(Command { action, actor }), now);
            }
            return;
        }
        let result = if wish.spec.version == home.record.stable.version {
            info!(service = %name, version = %wish.spec.version, "Queued version serves already");
            self.set_queue(name, None)
        } else {
            self.begin(name, wish, now).map(|_| ())
        };
        if let Err(why) = result {
            debug!(service = %name, %why, "Queued rollout cannot begin yet");
        }
    }

    /// Notes durably what begins when the rollout that goes on has ended.
    pub(super) fn set_queue(
        &mut self,
        name: &ServiceName,
        queued: Option<Wish>,
    ) -> Result<(), StoreError> {
        let Some(home) = self.homes.get(name) else {
            return Ok(());
        };
        if home.record.queued == queued {
            return Ok(());
        }
        let record = ServiceRecord {
            queued,
            ..home.record.clone()
        };
        self.commit(&[record.write(name)?])?;
        if let Some(home) = self.homes.get_mut(name) {
            home.record = record;
        }
        Ok(())
    }

    /// Begins a rollout, durably.
    pub(super) fn begin(
        &mut self,
        name: &ServiceName,
        wish: Wish,
        now: Timestamp,
    ) -> Result<Option<RolloutId>, StoreError> {
        let Some(home) = self.homes.get(name) else {
            return Ok(None);
        };
        let (service, record) = first(name, &home.record, wish, now);
        let writes = beginning(name, home, &service, &record, now)?;
        self.commit(&writes)?;
        let id = record.state.id.clone();
        info!(rollout = %id, canary = %record.wish.spec.version, "Rollout begins");
        if let Some(home) = self.homes.get_mut(name) {
            home.record = service;
            home.let_go.remove(&record.wish.spec.version);
            home.rollout = Some(Live::new(record));
            home.aside = None;
            home.count_from_idle(now);
        }
        Ok(Some(id))
    }

    /// Ends a rollout that could not be taken up, because a person says so.
    pub(super) fn end_aside(
        &mut self,
        name: &ServiceName,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Option<RolloutId>, StoreError> {
        let Some(aside) = self.homes.get(name).and_then(|home| home.aside.as_ref()) else {
            return Ok(None);
        };
        let id = aside.row.id.clone();
        let trail = CommandRecord {
            name: "abort".to_owned(),
            actor: actor.clone(),
            rollout: Some(id.clone()),
            refusal: None,
        };
        let writes = [ended(aside, now), trail.write(name, now)?];
        self.commit(&writes)?;
        if let Some(home) = self.homes.get_mut(name) {
            home.aside = None;
        }
        Ok(Some(id))
    }
}

/// Returns what is kept of a service and of its new rollout.
fn first(
    name: &ServiceName,
    service: &ServiceRecord,
    wish: Wish,
    now: Timestamp,
) -> (ServiceRecord, RolloutRecord) {
    let number = service.next_number;
    let (stable, canary) = (&service.stable.version, &wish.spec.version);
    let id = RolloutId::new(name, number);
    let state = rollout::begin(id, stable.clone(), canary.clone(), &wish.plan, now);
    let record = RolloutRecord {
        number,
        service: name.clone(),
        stable: service.stable.clone(),
        wish,
        state,
        started_at: now,
        entries: 1,
        judges: panel::Memory::default(),
        recorded: Recorded::default(),
        told: Told::default(),
    };
    let service = ServiceRecord {
        next_number: number.saturating_add(1),
        queued: None,
        ..service.clone()
    };
    (service, record)
}

fn beginning(
    name: &ServiceName,
    home: &Home,
    service: &ServiceRecord,
    record: &RolloutRecord,
    now: Timestamp,
) -> Result<Vec<Write>, StoreError> {
    let wish = &record.wish;
    let entry = Entry {
        input: None,
        facts: record.state.facts.clone(),
        state: record.state.clone(),
        text: format!("begins: {} to {}", record.stable.version, wish.spec.version),
        evidence: None,
    };
    let trail = CommandRecord {
        name: wish.kind.name().to_owned(),
        actor: wish.actor.clone(),
        rollout: Some(record.state.id.clone()),
        refusal: None,
    };
    let mut writes = vec![
        service.write(name)?,
        write_version(name, &record.stable, now)?,
        write_version(name, &wish.spec, now)?,
        record.write()?,
        entry.write(0, now)?,
        trail.write(name, now)?,
    ];
    writes.extend(home.aside.as_ref().map(|aside| ended(aside, now)));
    Ok(writes)
}

/// Returns the row by which a rollout that could not be taken up is over; what it says stays as it is.
fn ended(aside: &Aside, now: Timestamp) -> Write {
    Write::PutRollout(RolloutRow {
        ended_at: Some(now),
        ..aside.row.clone()
    })
}
