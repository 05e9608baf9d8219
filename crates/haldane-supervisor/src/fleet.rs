//! The replicas of one data directory, and one turn of their care.
//!
//! A turn notices ends, decides (see [`crate::decide`]), acts, and looks after the logs. It never waits for a child: what takes
//! time is a phase with a deadline.

mod adopt;
mod replica;

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use jiff::Timestamp;
use rustix::process::Signal;

use crate::{
    decide::{self, Action, Cause, Phase, View},
    fleet::replica::Replica,
    home::{Home, Record, ReplicaKey, Start},
    job::Jobs,
    logs, port,
    process::{self, Process},
    seen::{ReplicaId, ReplicaSeen},
    spec::{Config, REPLICAS_MAX, VersionKey, Wish},
    start::{self, Place, StartError},
};

/// The most steps that one replica takes in one turn: a drain without grace is followed by SIGTERM at once, and a start that fails
/// at once by one more.
const STEPS_PER_TURN_MAX: u32 = 4;

/// The replicas of one data directory.
#[derive(Debug)]
pub(crate) struct Fleet {
    home: Home,
    config: Config,
    /// None until the host has said what it wants; until then nothing is started or stopped.
    wish: Option<Wish>,
    replicas: BTreeMap<ReplicaKey, Replica>,
    logs_at: Instant,
    /// When to look once more for children of an earlier daemon that were between fork and exec at the first look.
    sweep_at: Option<Instant>,
}

impl Fleet {
    pub(crate) fn ensure(&mut self, wish: Wish) {
        for (key, replica) in &mut self.replicas {
            let wished = wish.versions.get(&key.version);
            if let Some(wished) = wished.filter(|w| w.spec.is_same_process(&replica.spec)) {
                replica.spec = wished.spec.clone();
            }
        }
        self.wish = Some(wish);
    }

    pub(crate) fn report_health(&mut self, id: &ReplicaId, is_healthy: bool, now: Instant) {
        if let Some(replica) = self.run_mut(id) {
            replica.report_health(is_healthy, now);
        }
    }

    pub(crate) fn report_drained(&mut self, id: &ReplicaId, now: Instant) {
        if let Some(replica) = self.run_mut(id)
            && let Phase::Draining { until } = &mut replica.phase
        {
            *until = now;
        }
    }

    /// Does what is due, and returns when to come again even if nothing happens.
    pub(crate) fn turn(&mut self, now: Instant) -> Option<Instant> {
        for (key, replica) in &mut self.replicas {
            replica.notice_end(key, now, &self.config);
        }
        self.add_missing(now);
        for _ in 0..STEPS_PER_TURN_MAX {
            let steps = self.decide(now);
            if steps.is_empty() {
                break;
            }
            for (key, action) in steps {
                self.act(&key, action, now);
            }
        }
        if self.logs_at <= now {
            self.logs_at = decide::after(now, self.config.check_interval);
            self.replicas.keys().for_each(|key| self.rotate_log(key));
        }
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.sweep_at = None;
            self.sweep();
        }
        self.next_deadline(now)
    }

    /// Returns who runs single commands for this daemon.
    pub(crate) fn jobs(&self) -> Jobs {
        Jobs::new(self.home.jobs())
    }

    pub(crate) fn seen(&self) -> Vec<ReplicaSeen> {
        self.replicas
            .iter()
            .map(|(key, replica)| replica.seen(key))
            .collect()
    }

    /// Returns what becomes readable when something happens that calls for a turn.
    pub(crate) fn pidfds(&self) -> impl Iterator<Item = &OwnedFd> {
        self.replicas.values().filter_map(Replica::pidfd)
    }

    fn run_mut(&mut self, id: &ReplicaId) -> Option<&mut Replica> {
        let ReplicaId {
            service,
            version,
            index,
            run,
        } = id.clone();
        let key = ReplicaKey {
            version: VersionKey { service, version },
            index,
        };
        self.replicas
            .get_mut(&key)
            .filter(|replica| replica.run == run)
    }

    fn add_missing(&mut self, now: Instant) {
        for (version, wished) in self.wish.iter().flat_map(|wish| &wish.versions) {
            for index in 0..wished.replicas.min(REPLICAS_MAX) {
                let key = ReplicaKey {
                    version: version.clone(),
                    index,
                };
                self.replicas
                    .entry(key)
                    .or_insert_with(|| Replica::new(wished.spec.clone(), wished.generation, now));
            }
        }
    }

    fn decide(&self, now: Instant) -> Vec<(ReplicaKey, Action)> {
        let Some(wish) = &self.wish else {
            return Vec::new();
        };
        let mut views: BTreeMap<&VersionKey, BTreeMap<u32, View>> = BTreeMap::new();
        for (key, replica) in &self.replicas {
            let wished = wish.versions.get(&key.version);
            let is_stale = wished.is_some_and(|wished| replica.is_stale(wished));
            let view = View {
                phase: replica.phase,
                is_stale,
            };
            views
                .entry(&key.version)
                .or_default()
                .insert(key.index, view);
        }
        let mut actions = Vec::new();
        for (version, views) in views {
            let wished = wish
                .versions
                .get(version)
                .map_or(0, |wished| wished.replicas);
            let steps = decide::decide(&views, wished.min(REPLICAS_MAX), now);
            let key = |index| ReplicaKey {
                version: version.clone(),
                index,
            };
            actions.extend(
                steps
                    .into_iter()
                    .map(|(index, action)| (key(index), action)),
            );
        }
        actions
    }

    fn act(&mut self, key: &ReplicaKey, action: Action, now: Instant) {
        match action {
            Action::Start => self.start(key, now),
            Action::Remove => self.remove(key),
            Action::Drain => self.with(key, |replica| replica.drain(now)),
            Action::Terminate(cause) => self.with(key, |replica| {
                tracing::info!(%key, %cause, "Replica is told to end");
                if cause == Cause::Failed {
                    replica.was_never_healthy();
                }
                replica.phase = Phase::Terminating {
                    until: decide::after(now, replica.spec.stop_grace),
                    cause,
                };
                replica.signal(Signal::TERM);
            }),
            Action::Kill(cause) => self.with(key, |replica| {
                tracing::warn!(%key, %cause, "Replica did not end in time and is killed");
                replica.phase = Phase::Killing { cause };
                replica.signal(Signal::KILL);
            }),
        }
    }

    fn with(&mut self, key: &ReplicaKey, change: impl FnOnce(&mut Replica)) {
        if let Some(replica) = self.replicas.get_mut(key) {
            change(replica);
        }
    }

    fn start(&mut self, key: &ReplicaKey, now: Instant) {
        let wished = self
            .wish
            .as_ref()
            .and_then(|wish| wish.versions.get(&key.version));
        let taken = self.replicas.iter().filter(|(other, _)| *other != key);
        let taken: BTreeSet<u16> = taken.map(|(_, replica)| replica.port).collect();
        let Some((wished, replica)) = wished.zip(self.replicas.get_mut(key)) else {
            return;
        };
        replica.prepare(wished);
        match launch(&self.home, key, replica, &taken) {
            Ok((process, record)) => {
                let (run, port, pid) = (record.run, record.port, process.mark().pid);
                tracing::info!(%key, run, pid, port, "Replica started");
                replica.started(process, &record, now);
            }
            Err(error) => replica.failed_to_start(key, &error, now, &self.config),
        }
    }

    fn remove(&mut self, key: &ReplicaKey) {
        self.rotate_log(key);
        self.replicas.remove(key);
        if let Err(error) = self.home.remove(key) {
            tracing::warn!(%key, %error, "Replica record was not removed");
        }
        let service = &key.version.service;
        let is_used =
            |version: &VersionKey| self.replicas.keys().any(|key| key.version == *version);
        if let Err(error) = logs::prune(
            self.home.dir(),
            service,
            self.config.log_versions_kept,
            is_used,
        ) {
            tracing::debug!(%service, %error, "Old logs were not removed");
        }
    }

    fn rotate_log(&self, key: &ReplicaKey) {
        let Some(replica) = self.replicas.get(key) else {
            return;
        };
        let path = logs::path(self.home.dir(), key);
        if let Err(error) = logs::rotate(&path, replica.spec.log) {
            tracing::warn!(%key, %error, "Log was not rotated");
        }
    }

    /// Kills the processes of this data directory that belong to no replica and to no command of this daemon: what is left of
    /// replicas without a record, and of commands that the daemon before ran when it was killed.
    fn sweep(&self) {
        let processes = self
            .replicas
            .values()
            .filter_map(|replica| replica.process.as_ref());
        let known: BTreeSet<&str> = processes.map(Process::token).collect();
        let is_stray = |token: &str| {
            self.home.is_ours(token)
                && !known.contains(token)
                && !token.starts_with(self.home.jobs())
        };
        let count = process::kill_by_token(is_stray);
        if count > 0 {
            tracing::warn!(
                count,
                "Processes that an earlier daemon left without a record were killed"
            );
        }
    }

    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        // Logs, ends where there is no pidfd, and groups that outlive their leader.
        let check = (!self.replicas.is_empty()).then_some(self.logs_at);
        let phases = self
            .replicas
            .values()
            .filter_map(|replica| decide::deadline(replica.phase));
        // What is past and wasn't acted upon waits for a wish, not for time.
        let later = phases.chain(self.sweep_at).filter(|at| *at > now);
        later.chain(check).min()
    }
}

/// Writes the intent, starts the child, and writes who it is.
fn launch(
    home: &Home,
    key: &ReplicaKey,
    replica: &Replica,
    taken: &BTreeSet<u16>,
) -> Result<(Process, Record), StartError> {
    let port = port::choose(Some(replica.port), taken).map_err(StartError::Port)?;
    let start = Start {
        key,
        run: replica.run,
        generation: replica.generation,
        port,
        spec: &replica.spec,
        started_at: wall_clock(),
    };
    let mut record = home.intend(&start).map_err(StartError::Token)?;
    save(home, &record);
    let path = logs::path(home.dir(), key);
    let log = logs::open(&path)
        .inspect_err(|error| tracing::warn!(%key, %error, "Output is lost: no log"));
    let place = Place {
        key,
        port,
        token: &record.token,
        log: log.ok(),
    };
    let child = start::spawn(&replica.spec, place)?;
    let process = Process::started(child, record.token.clone()).ok_or(StartError::Vanished)?;
    record.process = Some(process.mark());
    save(home, &record);
    Ok((process, record))
}

/// Saves the record if the disk allows; serving matters more.
///
/// A child without a record costs one restart: the next daemon finds it by its token, and replaces it.
fn save(home: &Home, record: &Record) {
    if let Err(error) = home.save(record) {
        tracing::error!(key = %record.key(), %error, "Replica record was not saved");
    }
}

fn wall_clock() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let nanoseconds = since.subsec_nanos().cast_signed();
    Timestamp::new(seconds, nanoseconds).unwrap_or(Timestamp::MAX)
}
