//! The host of one release after another: what is seen goes in, what to write comes out; nothing is waited for.
//!
//! A turn reads the release and its objects, lets the core decide, and gives either the write that makes the decision durable in the
//! release's status, or, when nothing is to be made durable, the writes that follow from it. So a crash between any two writes leaves
//! a status from which the same writes follow again.
//!
//! **Invariant:** what follows from a decision is written only while that decision is in the status that was read; but traffic may be
//! taken from the canary first.

mod act;
mod ask;
mod begin;
mod bench;
mod claims;
mod command;
mod deployment;
mod fault;
pub(crate) mod glance;
mod group;
mod hands;
mod job;
mod journal;
mod json;
mod judge;
mod leave;
mod membership;
mod memory;
mod pods;
mod record;
mod release;
mod rest;
mod routes;
mod share;
mod site;
mod stateful_set;
mod status;
mod terminal;
mod version;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use haldane_router::Kind;
use jiff::Timestamp;

pub(crate) use self::claims::had;
pub use self::group::GroupHost;
pub(crate) use self::release::FINALIZER;
pub use self::terminal::{Progress, TerminalHost};
pub(crate) use self::terminal::{first_record, is_live};
use self::{act::Act, claims::Claims, memory::Memory, release::Release, site::Blocked};
use crate::{
    asker::Asker,
    kinds::{DEPLOYMENT, ENDPOINT_SLICE, RELEASE, REPLICA_SET, SERVICE},
    meter::Meter,
    turn::{Host, Key, Seen, Sight, Turn},
};

/// The host of releases.
pub struct ReleaseHost {
    ports: Ports,
    memories: Mutex<BTreeMap<Key, Memory>>,
    claims: Mutex<Claims>,
}

/// Whom the host hears of the world beside the API server; none of them is ever waited for.
#[derive(Clone, Debug)]
pub struct Ports {
    /// Measures releases.
    pub meter: Arc<dyn Meter>,
    /// Asks gates.
    pub asker: Arc<dyn Asker>,
}

impl ReleaseHost {
    /// Returns a host that knows nothing yet.
    #[must_use]
    pub fn new(ports: Ports) -> Self {
        Self {
            ports,
            memories: Mutex::default(),
            claims: Mutex::default(),
        }
    }
}

impl fmt::Debug for ReleaseHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReleaseHost").finish_non_exhaustive()
    }
}

impl Host for ReleaseHost {
    fn kind(&self) -> &'static Kind {
        &RELEASE
    }

    fn kinds(&self) -> Vec<&'static Kind> {
        vec![&DEPLOYMENT, &REPLICA_SET, &SERVICE, &ENDPOINT_SLICE]
    }

    fn turn(&self, key: &Key, sight: &dyn Sight, now: Timestamp) -> Turn {
        let Seen::Found(object) = sight.get(&claims::target(key)) else {
            return Turn::default();
        };
        let release = Release::read(object, key);
        let others = self.claims().take_in(key, &release, sight);
        let refusal = claims::check(key, &release, sight, &others).err();
        let mut turn = self.turn_of(key, release, refusal, sight, now);
        // What others have may be let go.
        turn.reads.extend(others.iter().map(claims::target));
        turn
    }

    fn forget(&self, key: &Key) {
        self.memories().remove(key);
        self.claims().remove(key);
        judge::unwatch(&self.ports, key);
        self.ports.asker.remove(key);
    }
}

impl ReleaseHost {
    /// Returns what to write now for a release that was read; where it must not have what it names, it goes on with what it had.
    fn turn_of(
        &self,
        key: &Key,
        mut release: Release,
        refusal: Option<Blocked>,
        sight: &dyn Sight,
        now: Timestamp,
    ) -> Turn {
        if let Some(fault) = release.spec.as_ref().err().cloned().or(refusal) {
            release.fall_back(fault);
        }
        // No two turns of one release run at the same time, so its memory can be taken out meanwhile.
        let memory = self.memories().remove(key).unwrap_or_default();
        let (turn, memory) = Act::new((key, &release), memory, &self.ports, sight, now).run();
        self.memories().insert(key.clone(), memory);
        turn
    }

    fn memories(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, Memory>> {
        // A turn that panicked took its memory along; the others are whole.
        self.memories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claims(&self) -> std::sync::MutexGuard<'_, Claims> {
        // They only tell whom to ask, and each turn takes its own in anew.
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
