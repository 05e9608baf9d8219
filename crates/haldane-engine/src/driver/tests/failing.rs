//! A store whose commits fail when a test says so, in front of the real one.

use std::{
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard},
};

use haldane_core::{RolloutId, ServiceName};

use crate::store::{
    BandRow, CommandRow, EntryRow, RecordingRow, RolloutRow, ServiceRow, Store, StoreError,
    VersionRow, Write,
};

/// What ends a driver in the midst of a commit, as a power cut does.
pub(super) struct Crash;

/// When commits fail; clones share it.
#[derive(Clone, Default)]
pub(super) struct Faults(Arc<Mutex<Script>>);

#[derive(Default)]
pub(super) struct Script {
    /// Whether the disk is broken.
    pub(super) is_broken: bool,
    /// Whether it is broken for the next commit alone.
    pub(super) breaks_once: bool,
    /// The commit, counted from 1, at which the process ends: before it is made, or right after.
    pub(super) crash: Option<(u64, Moment)>,
    /// How many commits there were.
    pub(super) commits: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Before,
    After,
}

/// A store in front of another.
pub(super) struct Failing<S> {
    pub(super) inner: S,
    pub(super) faults: Faults,
}

impl Faults {
    fn lock(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.lock());
    }

    pub(super) fn commits(&self) -> u64 {
        self.lock().commits
    }

    /// Counts a commit; returns whether the process ends before or after it.
    fn next(&self) -> Result<Option<Moment>, StoreError> {
        let mut script = self.lock();
        if script.is_broken || std::mem::take(&mut script.breaks_once) {
            return Err(StoreError::io("write", "no space left on device"));
        }
        script.commits += 1;
        let commits = script.commits;
        let crash = script.crash.filter(|(number, _)| *number == commits);
        if crash.is_some() {
            script.crash = None;
        }
        Ok(crash.map(|(_, moment)| moment))
    }
}

fn crash() -> ! {
    std::panic::resume_unwind(Box::new(Crash))
}

impl<S: Store> Store for Failing<S> {
    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        match self.faults.next()? {
            None => self.inner.commit(writes),
            Some(Moment::Before) => crash(),
            Some(Moment::After) => {
                self.inner.commit(writes)?;
                crash()
            }
        }
    }

    fn services(&mut self) -> Result<Vec<ServiceRow>, StoreError> {
        self.inner.services()
    }

    fn live_rollouts(&mut self) -> Result<Vec<RolloutRow>, StoreError> {
        self.inner.live_rollouts()
    }

    fn rollouts(
        &mut self,
        service: &ServiceName,
        limit: u32,
    ) -> Result<Vec<RolloutRow>, StoreError> {
        self.inner.rollouts(service, limit)
    }

    fn entries(&mut self, rollout: &RolloutId, limit: u32) -> Result<Vec<EntryRow>, StoreError> {
        self.inner.entries(rollout, limit)
    }

    fn recording(
        &mut self,
        rollout: &RolloutId,
        from: u64,
        limit: u32,
    ) -> Result<Vec<RecordingRow>, StoreError> {
        self.inner.recording(rollout, from, limit)
    }

    fn commands(
        &mut self,
        service: &ServiceName,
        limit: u32,
    ) -> Result<Vec<CommandRow>, StoreError> {
        self.inner.commands(service, limit)
    }

    fn versions(&mut self, service: &ServiceName) -> Result<Vec<VersionRow>, StoreError> {
        self.inner.versions(service)
    }

    fn bands(
        &mut self,
        service: &ServiceName,
        metric: &str,
        hours: RangeInclusive<u8>,
    ) -> Result<Vec<BandRow>, StoreError> {
        self.inner.bands(service, metric, hours)
    }
}
