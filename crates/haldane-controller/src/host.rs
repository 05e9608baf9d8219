//! The host of one release after another: what is seen goes in, what to write comes out; nothing is waited for.
//!
//! A turn reads the release and its objects, lets the core decide, and gives either the write that makes the decision durable in the
//! release's status, or, when nothing is to be made durable, the writes that follow from it. So a crash between any two writes leaves
//! a status from which the same writes follow again.
//!
//! **Invariant:** what follows from a decision is written only while that decision is in the status that was read; but traffic may be
//! taken from the canary first.

mod act;
mod begin;
mod command;
mod deployment;
pub(crate) mod glance;
mod hands;
mod json;
mod judge;
mod leave;
mod memory;
mod pods;
mod record;
mod release;
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

pub(crate) use self::release::FINALIZER;
pub use self::terminal::{Progress, TerminalHost};
pub(crate) use self::terminal::{first_record, is_live};
use self::{
    act::Act,
    memory::Memory,
    release::{Home, Release},
};
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
    pub const fn new(ports: Ports) -> Self {
        Self {
            ports,
            memories: Mutex::new(BTreeMap::new()),
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
        let target = RELEASE.named(&key.namespace, &key.name);
        let Seen::Found(object) = sight.get(&target) else {
            return Turn::default();
        };
        self.turn_of(key, &Release::read(object, Home::Own), sight, now)
    }

    fn forget(&self, key: &Key) {
        self.memories().remove(key);
        self.ports.meter.watch(key, None);
        self.ports.asker.remove(key);
    }
}

impl ReleaseHost {
    /// Returns what to write now for a release that was read.
    fn turn_of(&self, key: &Key, release: &Release, sight: &dyn Sight, now: Timestamp) -> Turn {
        // No two turns of one release run at the same time, so its memory can be taken out meanwhile.
        let memory = self.memories().remove(key).unwrap_or_default();
        let (turn, memory) = Act::new((key, release), memory, &self.ports, sight, now).run();
        self.memories().insert(key.clone(), memory);
        turn
    }

    fn memories(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, Memory>> {
        // A turn that panicked took its memory along; the others are whole.
        self.memories.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
