//! One replica in the daemon's memory: its phase, its process, its history.

use std::{os::fd::OwnedFd, time::Instant};

use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;

use crate::{
    decide::{self, Cause, Phase},
    fleet::wall_clock,
    home::{Record, ReplicaKey},
    process::Process,
    seen::{Exit, Failure, LastExit, ReplicaId, ReplicaSeen, ReplicaState},
    spec::{Config, VersionSpec, WishedVersion},
    start::StartError,
};

/// One replica.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) phase: Phase,
    pub(crate) process: Option<Process>,
    /// Whether the leader has ended and only its followers are left.
    has_lost_leader: bool,
    /// What it runs, or ran last; what it is to run stands in the wish.
    pub(crate) spec: VersionSpec,
    pub(crate) generation: u64,
    pub(crate) run: u64,
    pub(crate) port: u16,
    /// In a row, without a good while in between.
    pub(crate) failures: u32,
    started_at: Option<Timestamp>,
    healthy_since: Option<Instant>,
    /// The wall-clock time of the next start.
    retry_at: Timestamp,
    last_exit: Option<LastExit>,
    last_failure: Option<Failure>,
}

impl Replica {
    /// Returns a replica that was never started.
    pub(crate) fn new(spec: VersionSpec, generation: u64, now: Instant) -> Self {
        Self {
            phase: Phase::Idle { retry_at: now },
            process: None,
            has_lost_leader: false,
            spec,
            generation,
            run: 0,
            port: 0,
            failures: 0,
            started_at: None,
            healthy_since: None,
            retry_at: wall_clock(),
            last_exit: None,
            last_failure: None,
        }
    }

    /// Returns the replica of a record, with the process that still runs of it.
    pub(crate) fn recorded(record: Record, process: Option<Process>, now: Instant) -> Self {
        let mut replica = Self::new(record.spec, record.generation, now);
        if process.is_some() {
            replica.phase = Phase::Adopted {
                deadline: decide::after(now, replica.spec.start_grace),
            };
            replica.started_at = Some(record.started_at);
        }
        Self {
            process,
            run: record.run,
            port: record.port,
            ..replica
        }
    }

    /// Whether its last start isn't what is wished now.
    pub(crate) fn is_stale(&self, wished: &WishedVersion) -> bool {
        self.generation != wished.generation || !self.spec.is_same_process(&wished.spec)
    }

    /// Makes the wish what the next start runs.
    pub(crate) fn prepare(&mut self, wished: &WishedVersion) {
        if self.is_stale(wished) {
            self.failures = 0;
            self.last_failure = None;
        }
        self.spec = wished.spec.clone();
        self.generation = wished.generation;
        self.run = self.run.saturating_add(1);
    }

    pub(crate) fn started(&mut self, process: Process, record: &Record, now: Instant) {
        self.phase = Phase::Starting {
            deadline: decide::after(now, self.spec.start_grace),
        };
        self.process = Some(process);
        self.port = record.port;
        self.started_at = Some(record.started_at);
    }

    pub(crate) fn failed_to_start(
        &mut self,
        key: &ReplicaKey,
        error: &StartError,
        now: Instant,
        config: &Config,
    ) {
        let text = chain(error);
        tracing::warn!(%key, error = text, "Replica can't be started");
        self.last_failure = Some(Failure::NotStarted {
            why: text,
            is_lasting: error.is_lasting(),
        });
        self.back_off(now, config);
    }

    pub(crate) fn report_health(&mut self, is_healthy: bool, now: Instant) {
        match self.phase {
            Phase::Starting { .. } | Phase::Adopted { .. } if is_healthy => {
                self.phase = Phase::Running { is_healthy };
                self.healthy_since = Some(now);
                self.last_failure = None;
            }
            Phase::Running { is_healthy: before } if before != is_healthy => {
                self.phase = Phase::Running { is_healthy };
                self.healthy_since = is_healthy.then_some(now);
            }
            Phase::Idle { .. }
            | Phase::Starting { .. }
            | Phase::Adopted { .. }
            | Phase::Running { .. }
            | Phase::Draining { .. }
            | Phase::Terminating { .. }
            | Phase::Killing { .. } => {}
        }
    }

    /// Notes that the time for its start is over.
    pub(crate) fn was_never_healthy(&mut self) {
        self.last_failure = Some(Failure::NeverHealthy(self.spec.start_grace));
    }

    pub(crate) fn drain(&mut self, now: Instant) {
        self.phase = Phase::Draining {
            until: decide::after(now, self.spec.drain_grace),
        };
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }

    /// Follows up an ended leader: first the rest of its processes must go, then the replica is free for its next start.
    pub(crate) fn notice_end(&mut self, key: &ReplicaKey, now: Instant, config: &Config) {
        if self
            .healthy_since
            .is_some_and(|since| now.duration_since(since) >= config.healthy_reset)
        {
            self.failures = 0;
        }
        let Some(process) = &self.process else { return };
        let Some(exit) = process.exit() else { return };
        self.has_lost_leader = true;
        let cause = match self.phase {
            // A helper that still cleans up has until the deadline.
            Phase::Terminating { until, .. } if now < until && process.has_followers() => return,
            Phase::Terminating { cause, .. } | Phase::Killing { cause } => cause,
            Phase::Draining { .. } => Cause::Asked,
            Phase::Idle { .. }
            | Phase::Starting { .. }
            | Phase::Adopted { .. }
            | Phase::Running { .. } => {
                self.last_failure = Some(Failure::Ended(exit));
                Cause::Failed
            }
        };
        if process.has_followers() {
            self.phase = Phase::Killing { cause };
            process.signal(Signal::KILL);
            return;
        }
        self.ended(key, exit, cause, now, config);
    }

    /// Returns what becomes readable when the leader ends; nothing once that was noticed, for it would stay readable.
    pub(crate) fn pidfd(&self) -> Option<&OwnedFd> {
        self.process
            .as_ref()
            .filter(|_| !self.has_lost_leader)?
            .pidfd()
    }

    pub(crate) fn seen(&self, key: &ReplicaKey) -> ReplicaSeen {
        let state = match self.phase {
            Phase::Idle { .. } => ReplicaState::BackingOff {
                until: self.retry_at,
            },
            Phase::Starting { .. } | Phase::Adopted { .. } => ReplicaState::Starting,
            Phase::Running { .. } => ReplicaState::Running,
            Phase::Draining { .. } => ReplicaState::Draining,
            Phase::Terminating { .. } | Phase::Killing { .. } => ReplicaState::Stopping,
        };
        ReplicaSeen {
            id: ReplicaId {
                service: key.version.service.clone(),
                version: key.version.version.clone(),
                index: key.index,
                run: self.run,
            },
            state,
            is_healthy: self.phase == Phase::Running { is_healthy: true },
            pid: self.process.as_ref().map(|process| process.mark().pid),
            port: self.port,
            restarts: self.run.saturating_sub(1),
            started_at: self.started_at,
            last_exit: self.last_exit,
            failures: self.failures,
            last_failure: self.last_failure.clone(),
        }
    }

    fn ended(&mut self, key: &ReplicaKey, exit: Exit, cause: Cause, now: Instant, config: &Config) {
        self.has_lost_leader = false;
        if let Some(process) = self.process.take() {
            process.reap();
        }
        self.started_at = None;
        self.last_exit = Some(LastExit {
            exit,
            at: wall_clock(),
        });
        match cause {
            Cause::Asked => {
                tracing::info!(%key, %exit, "Replica stopped");
                self.failures = 0;
                self.healthy_since = None;
                self.phase = Phase::Idle { retry_at: now };
                self.retry_at = wall_clock();
            }
            Cause::Failed => {
                self.back_off(now, config);
                tracing::warn!(%key, %exit, failures = self.failures, "Replica failed");
            }
        }
    }

    fn back_off(&mut self, now: Instant, config: &Config) {
        self.failures = self.failures.saturating_add(1);
        self.healthy_since = None;
        let wait = decide::backoff(self.failures, config);
        self.phase = Phase::Idle {
            retry_at: decide::after(now, wait),
        };
        let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
        self.retry_at = wall_clock().saturating_add(wait).unwrap_or(Timestamp::MAX);
    }
}

/// Returns the error and what caused it in one line.
fn chain(error: &StartError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
