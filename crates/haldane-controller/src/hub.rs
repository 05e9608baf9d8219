//! Where a change becomes a turn: the cache, who looks at what, and who waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use haldane_router::Kind;
use tokio::{sync::Notify, time::Instant};

use crate::{
    cache::{Cache, Readiness, Touched},
    interest::{Interest, Looks},
    queue::{Outcome, Queue},
    turn::Key,
};

/// What watches fill and workers empty.
///
/// Locks are taken in the order of the fields, and none is held while anything is waited for.
pub(crate) struct Hub {
    pub cache: Arc<Cache>,
    interest: Mutex<Interest>,
    queue: Mutex<Queue>,
    changed: Notify,
    /// What is reconciled.
    kind: &'static Kind,
}

impl Hub {
    pub(crate) fn new(cache: Arc<Cache>, kind: &'static Kind, seed: u64) -> Self {
        Self {
            cache,
            interest: Mutex::default(),
            queue: Mutex::new(Queue::new(seed)),
            changed: Notify::new(),
            kind,
        }
    }

    /// Wakes those whom a change concerns.
    pub(crate) fn touched(&self, touched: &Touched) {
        let keys = lock(&self.interest).of(touched);
        let own = (touched.target.kind == self.kind).then(|| Key {
            namespace: touched.target.namespace.clone(),
            name: touched.target.name.clone(),
        });
        if keys.is_empty() && own.is_none() {
            return;
        }
        let now = Instant::now();
        let mut queue = lock(&self.queue);
        for key in keys.iter().map(Arc::as_ref).chain(&own) {
            queue.wake(key, now);
        }
        drop(queue);
        self.changed.notify_one();
    }

    /// Takes in how far a watch is, and wakes those who look at its kind if that is new.
    pub(crate) fn settle(&self, kind: &'static Kind, namespace: &str, readiness: Readiness) {
        if !self.cache.settle(kind, namespace, readiness) {
            return;
        }
        if kind == self.kind {
            self.wake_all();
            return;
        }
        let keys = lock(&self.interest).of_kind(kind);
        let now = Instant::now();
        let mut queue = lock(&self.queue);
        for key in &keys {
            queue.wake(key, now);
        }
        drop(queue);
        self.changed.notify_one();
    }

    /// Wakes everybody.
    pub(crate) fn wake_all(&self) {
        let names = self.cache.view().names(self.kind);
        let now = Instant::now();
        let mut queue = lock(&self.queue);
        for (namespace, name) in names {
            let key = Key {
                namespace: namespace.into_string(),
                name: name.into_string(),
            };
            queue.wake(&key, now);
        }
        drop(queue);
        self.changed.notify_one();
    }

    /// Waits until somebody was woken, or how far a watch is has changed.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Sets what a release looks at; nothing once it is gone. The view that it looked at is still held, so that no change is missed.
    pub(crate) fn look(&self, key: &Key, looks: Option<Looks>) {
        let mut interest = lock(&self.interest);
        match looks {
            Some(looks) => interest.set(key, looks),
            None => interest.remove(key),
        }
    }

    pub(crate) fn take(&self) -> Option<Key> {
        lock(&self.queue).take(Instant::now())
    }

    pub(crate) fn done(&self, key: &Key, outcome: Outcome) {
        lock(&self.queue).done(key, outcome, Instant::now());
        self.changed.notify_one();
    }

    /// Returns when somebody has a turn next, if nothing changes.
    pub(crate) fn next(&self) -> Option<Instant> {
        lock(&self.queue).next(Instant::now())
    }

    pub(crate) fn depth(&self) -> usize {
        lock(&self.queue).depth()
    }

    pub(crate) fn failures(&self, key: &Key) -> u32 {
        lock(&self.queue).failures(key)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds a lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
