//! Applying a release file: what it says is compared with what the last file said, never with what runs.

use std::{collections::BTreeMap, path::Path};

use haldane_api::{
    file::{self, File, Notify, Service, Source, VersionSpec},
    http::{Answer, ApplyRequest},
};
use haldane_core::{
    ServiceName,
    rollout::{Actor, Phase},
};
use jiff::Timestamp;
use tracing::warn;

use super::{
    Driver, done,
    home::{Home, files},
};
use crate::{
    handle::RequestError,
    record::{Kind, RolloutRecord, ServiceRecord, Wish, write_version},
    store::Write,
};

/// What applying a file means for one service.
enum Change {
    /// It is new.
    Add(Box<Service>),
    /// Nothing in the file changed.
    Keep,
    /// Settings changed, but not the version.
    Set(Box<Service>),
    /// The version changed; a rollout follows.
    Ship(Box<Service>),
    /// It is no longer in the file.
    Remove,
    /// It is no longer in the file, and stays because nobody asked for its removal.
    Leave,
}

impl Driver {
    pub(super) fn apply(
        &mut self,
        request: &ApplyRequest,
        now: Timestamp,
    ) -> Result<Answer, RequestError> {
        let file = read(request)?;
        for service in file.services.values() {
            self.check_plan(&service.plan)?;
        }
        let changes = self.compare(&file, request.prune);
        if request.dry_run {
            let messages = changes
                .iter()
                .map(|(name, change)| self.say(name, change, "would be "))
                .collect();
            return Ok(Answer {
                messages,
                rollout: None,
                is_durable: true,
            });
        }
        self.listen(&file, &changes)?;
        let result = self
            .carry_out_all(changes, &request.by, now)
            .and_then(|answer| {
                self.keep_surroundings(&file, &request.base_dir)?;
                Ok(answer)
            });
        if result.is_err() {
            self.listen_as_before(&files(&self.homes));
        }
        result
    }

    fn carry_out_all(
        &mut self,
        changes: BTreeMap<ServiceName, Change>,
        by: &str,
        now: Timestamp,
    ) -> Result<Answer, RequestError> {
        let mut answer = Answer {
            messages: Vec::new(),
            rollout: None,
            is_durable: true,
        };
        for (name, change) in changes {
            answer.messages.push(self.say(&name, &change, ""));
            if let Some(more) = self.carry_out(&name, change, by, now)? {
                let messages = more.messages.iter();
                let messages = messages.map(|message| format!("{name}: {message}"));
                answer.messages.extend(messages);
                answer.rollout = answer.rollout.or(more.rollout);
                answer.is_durable &= more.is_durable;
            }
            self.turn_of(&name, now);
        }
        Ok(answer)
    }

    /// Tells from now on whom the file names, and keeps where the file lies; the store knows both by service, so that a start without
    /// a file does as well.
    fn keep_surroundings(&mut self, file: &File, base_dir: &str) -> Result<(), RequestError> {
        let mut changed = Vec::new();
        for (name, home) in &self.homes {
            let record = ServiceRecord {
                notify: file.notify.clone(),
                base_dir: Some(base_dir.to_owned()),
                ..home.record.clone()
            };
            if file.services.contains_key(name) && home.record != record {
                changed.push((name.clone(), record));
            }
        }
        let writes: Result<Vec<Write>, _> = changed
            .iter()
            .map(|(name, record)| record.write(name))
            .collect();
        // What a service is told of itself matters even where nothing can be kept.
        if !changed.is_empty() && self.store.absence().is_none() {
            self.commit(&writes?)?;
        }
        for (name, record) in changed {
            if let Some(home) = self.homes.get_mut(&name) {
                home.record = record;
            }
        }
        self.tell_whom();
        Ok(())
    }

    /// Hands over who is to be told, each once.
    pub(super) fn tell_whom(&mut self) {
        let mut targets: Vec<Notify> = Vec::new();
        for target in self.homes.values().flat_map(|home| &home.record.notify) {
            if !targets.contains(target) {
                targets.push(target.clone());
            }
        }
        self.ports.notify.configure(&targets);
    }

    fn compare(&self, file: &File, prune: bool) -> BTreeMap<ServiceName, Change> {
        let gone = self
            .homes
            .keys()
            .filter(|name| !file.services.contains_key(*name));
        let gone = gone.map(|name| {
            (
                name.clone(),
                if prune { Change::Remove } else { Change::Leave },
            )
        });
        let named = file.services.iter().map(|(name, service)| {
            let service = Box::new(service.clone());
            let change = match self.homes.get(name) {
                None => Change::Add(service),
                Some(home) if home.record.file == *service => Change::Keep,
                Some(home) if is_other_version(home, &service.stable) => Change::Ship(service),
                Some(_) => Change::Set(service),
            };
            (name.clone(), change)
        });
        gone.chain(named).collect()
    }

    /// Listens where the new file says, before anything is written down: an address that cannot be had changes nothing.
    fn listen(
        &mut self,
        file: &File,
        changes: &BTreeMap<ServiceName, Change>,
    ) -> Result<(), RequestError> {
        let before = files(&self.homes);
        let mut after = before.clone();
        after.extend(file.services.clone());
        after.retain(|name, _| !matches!(changes.get(name), Some(Change::Remove)));
        self.ports.traffic.configure(&after).map_err(|why| {
            self.listen_as_before(&before);
            RequestError::Refused(why)
        })
    }

    fn listen_as_before(&mut self, services: &BTreeMap<ServiceName, Service>) {
        if let Err(why) = self.ports.traffic.configure(services) {
            warn!(%why, "Some addresses cannot be listened on");
        }
    }

    fn carry_out(
        &mut self,
        name: &ServiceName,
        change: Change,
        by: &str,
        now: Timestamp,
    ) -> Result<Option<Answer>, RequestError> {
        match change {
            Change::Keep | Change::Leave => Ok(None),
            Change::Add(file) => self.add(name, *file, now),
            Change::Set(file) => self.set(name, *file).map(|()| None),
            Change::Ship(file) => self.ship(name, *file, by, now).map(Some),
            Change::Remove => self.remove(name).map(|()| None),
        }
    }

    /// Adds a service; one that the store knew but could not tell goes on from its last rollout.
    fn add(
        &mut self,
        name: &ServiceName,
        file: Service,
        now: Timestamp,
    ) -> Result<Option<Answer>, RequestError> {
        if self.store.absence().is_some() {
            let stable = file.stable.clone();
            self.serve(name, new_record(file, stable, 1), now);
            return Ok(None);
        }
        let last = self.store.rollouts(name, 1)?.into_iter().next();
        let number = last.as_ref().map_or(0, |row| row.number);
        let serves = last
            .and_then(|row| RolloutRecord::read(&row).ok())
            .map(|last| {
                if matches!(last.state.phase, Phase::Completed(_)) {
                    last.wish.spec
                } else {
                    last.stable
                }
            });
        let is_known = number > 0;
        let stable = serves.unwrap_or_else(|| file.stable.clone());
        let record = new_record(file, stable, number.saturating_add(1));
        let version = write_version(name, &record.stable, now)?;
        self.commit(&[record.write(name)?, version])?;
        let serves = record.stable.version.clone();
        self.serve(name, record, now);
        self.unreadable.remove(name);
        self.show_store();
        if !is_known {
            return Ok(None);
        }
        self.take_up(name)?;
        Ok(Some(done(format!(
            "the store knows of it: {serves} serves"
        ))))
    }

    /// Takes a service in as it is recorded.
    fn serve(&mut self, name: &ServiceName, record: ServiceRecord, now: Timestamp) {
        self.ports.workloads.configure(name, &record.file);
        self.homes.insert(name.clone(), Home::new(record, now));
    }

    fn set(&mut self, name: &ServiceName, file: Service) -> Result<(), RequestError> {
        let Some(home) = self.homes.get(name) else {
            return Ok(());
        };
        let serving = &home.record.stable;
        // The same version from another source is the same version: its replicas are replaced by the supervisor.
        let stable = if serving.version == file.stable.version {
            file.stable.clone()
        } else {
            serving.clone()
        };
        let record = ServiceRecord {
            file,
            stable,
            ..home.record.clone()
        };
        self.put(name, record)
    }

    /// Brings the file's version on its way, then keeps the file: where the first fails, applying it again is not left out.
    fn ship(
        &mut self,
        name: &ServiceName,
        file: Service,
        by: &str,
        now: Timestamp,
    ) -> Result<Answer, RequestError> {
        let wish = Wish {
            spec: file.stable.clone(),
            plan: file.plan.clone(),
            kind: Kind::Apply,
            actor: Actor {
                name: by.to_owned(),
                reason: Some("the release file changed".to_owned()),
            },
        };
        let answer = match self.want(name, wish, now) {
            // What the file wants is there, or on its way by another command.
            Err(RequestError::Refused(why)) => done(why),
            result => result?,
        };
        if let Some(home) = self.homes.get(name) {
            let record = ServiceRecord {
                file,
                ..home.record.clone()
            };
            self.put(name, record)?;
        }
        Ok(answer)
    }

    fn remove(&mut self, name: &ServiceName) -> Result<(), RequestError> {
        self.commit(&[Write::RemoveService(name.clone())])?;
        let Some(home) = self.homes.remove(name) else {
            return Ok(());
        };
        self.ports.workloads.remove(name);
        self.ports.measurements.observed(name, None);
        let mut gone = home.let_go;
        gone.insert(home.record.stable.version);
        for told in &home.aftermaths {
            self.ports.gates.forget(&told.state.id);
        }
        if let Some(live) = home.rollout {
            self.ports.gates.forget(&live.state().id);
            gone.extend([live.state().stable.clone(), live.state().canary.clone()]);
        }
        for version in &gone {
            self.ports.measurements.forget(name, version);
        }
        Ok(())
    }

    fn put(&mut self, name: &ServiceName, record: ServiceRecord) -> Result<(), RequestError> {
        self.commit(&[record.write(name)?])?;
        self.ports.workloads.configure(name, &record.file);
        if let Some(home) = self.homes.get_mut(name) {
            home.record = record;
        }
        Ok(())
    }

    fn say(&self, name: &ServiceName, change: &Change, would: &str) -> String {
        let runs = self.homes.get(name).map(|home| &home.record.stable.version);
        match change {
            Change::Add(service) => {
                format!("{name}: {would}added, {} serves", service.stable.version)
            }
            Change::Keep => match runs.filter(|runs| {
                self.homes
                    .get(name)
                    .is_some_and(|home| home.record.file.stable.version != **runs)
            }) {
                Some(runs) => {
                    format!("{name}: unchanged; runs {runs}, which is not what the file says")
                }
                None => format!("{name}: unchanged"),
            },
            Change::Set(_) => format!("{name}: {would}changed in its settings"),
            Change::Ship(service) => format!("{name}: {would}moved to {}", service.stable.version),
            Change::Remove => format!("{name}: {would}stopped and removed"),
            Change::Leave => {
                format!("{name}: no longer in the file; it goes on (`--prune` removes it)")
            }
        }
    }
}

/// Whether the file names another version than the last file did, and than the one that serves; while a rollout goes on, the one
/// that serves may be what it is to go back to.
fn is_other_version(home: &Home, wanted: &VersionSpec) -> bool {
    home.record.file.stable.version != wanted.version
        && (home.live().is_some() || home.record.stable.version != wanted.version)
}

/// Returns the record of a service that was not known.
const fn new_record(file: Service, stable: VersionSpec, next_number: u64) -> ServiceRecord {
    ServiceRecord {
        file,
        stable,
        base_dir: None,
        notify: Vec::new(),
        next_number,
        queued: None,
        restart_since: None,
    }
}

fn read(request: &ApplyRequest) -> Result<File, RequestError> {
    let mut file = file::parse(&request.text).map_err(|problems| RequestError::Invalid {
        error: match problems.len() {
            1 => "1 mistake in the file".to_owned(),
            count => format!("{count} mistakes in the file"),
        },
        problems: problems.iter().map(ToString::to_string).collect(),
    })?;
    for service in file.services.values_mut() {
        if let Source::Run { dir, .. } = &mut service.stable.source {
            *dir = Path::new(&request.base_dir)
                .join(&*dir)
                .display()
                .to_string();
        }
    }
    Ok(file)
}
