//! Applying a release file: what it says is compared with what the last file said, never with what runs.

use std::{collections::BTreeMap, path::Path};

use haldane_api::{
    file::{self, File, Service, Source, VersionSpec},
    http::{Answer, ApplyRequest},
};
use haldane_core::{ServiceName, rollout::Actor};
use jiff::Timestamp;

use super::{
    Driver,
    home::{Home, files},
    tell::store,
};
use crate::{
    handle::RequestError,
    record::{Kind, ServiceRecord, Wish, write_version},
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
        self.targets.clone_from(&file.notify);
        self.ports.notify.configure(&self.targets);
        let mut answer = Answer {
            messages: Vec::new(),
            rollout: None,
            is_durable: true,
        };
        for (name, change) in changes {
            answer.messages.push(self.say(&name, &change, ""));
            if let Some(more) = self.carry_out(&name, change, &request.by, now)? {
                answer.messages.extend(
                    more.messages
                        .into_iter()
                        .map(|message| format!("{name}: {message}")),
                );
                answer.rollout = more.rollout;
            }
            self.turn_of(&name, now);
        }
        Ok(answer)
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
        if let Err(error) = self.ports.traffic.configure(&after) {
            if let Err(why) = self.ports.traffic.configure(&before) {
                tracing::warn!(%why, "Some addresses cannot be listened on");
            }
            return Err(RequestError::Refused(error));
        }
        Ok(())
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
            Change::Add(file) => {
                let stable = file.stable.clone();
                let record = ServiceRecord {
                    file: *file,
                    stable,
                    next_number: 1,
                    queued: None,
                    restart_since: None,
                };
                let writes = [
                    record.write(name).map_err(store)?,
                    write_version(name, &record.stable, now).map_err(store)?,
                ];
                self.write(&writes)?;
                self.ports.workloads.configure(name, &record.file);
                self.homes.insert(name.clone(), Home::new(record, now));
                Ok(None)
            }
            Change::Set(file) => {
                let Some(home) = self.homes.get(name) else {
                    return Ok(None);
                };
                // The same version from another source is the same version: its replicas are replaced by the supervisor.
                let is_serving = home.record.stable.version == file.stable.version;
                let stable = if is_serving {
                    file.stable.clone()
                } else {
                    home.record.stable.clone()
                };
                self.put(
                    name,
                    ServiceRecord {
                        file: *file,
                        stable,
                        ..home.record.clone()
                    },
                )?;
                Ok(None)
            }
            Change::Ship(file) => {
                let Some(home) = self.homes.get(name) else {
                    return Ok(None);
                };
                let wish = Wish {
                    spec: file.stable.clone(),
                    plan: file.plan.clone(),
                    kind: Kind::Apply,
                    actor: Actor {
                        name: by.to_owned(),
                        reason: Some("the release file changed".to_owned()),
                    },
                };
                self.put(
                    name,
                    ServiceRecord {
                        file: *file,
                        ..home.record.clone()
                    },
                )?;
                self.want(name, wish, now).map(Some)
            }
            Change::Remove => {
                self.write(&[Write::RemoveService(name.clone())])?;
                self.homes.remove(name);
                self.ports.workloads.remove(name);
                Ok(None)
            }
        }
    }

    fn put(&mut self, name: &ServiceName, record: ServiceRecord) -> Result<(), RequestError> {
        self.write(&[record.write(name).map_err(store)?])?;
        self.ports.workloads.configure(name, &record.file);
        if let Some(home) = self.homes.get_mut(name) {
            home.record = record;
        }
        Ok(())
    }

    fn write(&mut self, writes: &[Write]) -> Result<(), RequestError> {
        let result = self.store.commit(writes);
        self.note_store(result.as_ref().err());
        result.map_err(store)
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

/// Whether the file names another version than the last file did, and than the one that serves.
fn is_other_version(home: &Home, wanted: &VersionSpec) -> bool {
    home.record.file.stable.version != wanted.version
        && home.record.stable.version != wanted.version
}

fn read(request: &ApplyRequest) -> Result<File, RequestError> {
    let mut file = file::parse(&request.text).map_err(|problems| RequestError::Invalid {
        error: format!("{} mistakes in the file", problems.len()),
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
