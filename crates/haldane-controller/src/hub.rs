//! Where a change becomes a turn: the cache, who looks at what, and who waits.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use haldane_router::{Kind, ObjectRef};
use tokio::{sync::Notify, time::Instant};

use crate::{
    cache::{Cache, Readiness, Touched},
    interest::{Interest, Looks},
    queue::{Outcome, Queue},
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
    kinds: Vec<&'static Kind>,
    /// Whether turns are given. Otherwise nobody waits for one: those who stand by for months keep no list of what has changed.
    is_awake: AtomicBool,
}

impl Hub {
    pub(crate) fn new(cache: Arc<Cache>, kinds: Vec<&'static Kind>, seed: u64) -> Self {
        Self {
            cache,
            interest: Mutex::default(),
            queue: Mutex::new(Queue::new(seed)),
            changed: Notify::new(),
            kinds,
            is_awake: AtomicBool::new(false),
        }
    }

    /// Gives turns from now on, and one to everybody: what happened before was not noted.
    pub(crate) fn wake_up(&self) {
        self.is_awake.store(true, Ordering::SeqCst);
        lock(&self.queue).wake_known(Instant::now());
        for kind in &self.kinds {
            self.wake_kind(kind);
        }
    }

    /// Gives no turns any more.
    pub(crate) fn fall_asleep(&self) {
        self.is_awake.store(false, Ordering::SeqCst);
    }

    /// Wakes those whom a change concerns.
    pub(crate) fn touched(&self, touched: &Touched) {
        let keys = lock(&self.interest).of(touched);
        let own = self.kinds.contains(&touched.target.kind);
        let own = own.then_some(&touched.target);
        self.wake(keys.iter().map(Arc::as_ref).chain(own));
    }

    /// Takes in how far a watch is, and wakes those who look at its kind if that is new.
    pub(crate) fn settle(&self, kind: &'static Kind, namespace: &str, readiness: Readiness) {
        if !self.cache.settle(kind, namespace, readiness) {
            return;
        }
        if self.kinds.contains(&kind) {
            self.wake_kind(kind);
        }
        let keys = lock(&self.interest).of_kind(kind);
        self.wake(keys.iter().map(Arc::as_ref));
        // Whether all watches have told everything may be new, too.
        self.changed.notify_one();
    }

    fn wake_kind(&self, kind: &'static Kind) {
        let names = self.cache.view().names(kind);
        let keys = names
            .into_iter()
            .map(|(namespace, name)| kind.named(&namespace, &name));
        let keys: Vec<ObjectRef> = keys.collect();
        self.wake(keys.iter());
    }

    fn wake<'a>(&self, keys: impl Iterator<Item = &'a ObjectRef>) {
        if !self.is_awake.load(Ordering::SeqCst) {
            return;
        }
        let now = Instant::now();
        let mut queue = lock(&self.queue);
        for key in keys {
            queue.wake(key, now);
        }
        drop(queue);
        self.changed.notify_one();
    }

    /// Waits until somebody was woken, or how far a watch is has changed.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Sets what a release looks at; nothing once it is gone. The view that it looked at is still held, so that no change is missed.
    pub(crate) fn look(&self, key: &ObjectRef, looks: Option<Looks>) {
        let mut interest = lock(&self.interest);
        match looks {
            Some(looks) => interest.set(key, looks),
            None => interest.remove(key),
        }
    }

    pub(crate) fn take(&self) -> Option<ObjectRef> {
        lock(&self.queue).take(Instant::now())
    }

    pub(crate) fn done(&self, key: &ObjectRef, outcome: Outcome) {
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

    pub(crate) fn failures(&self, key: &ObjectRef) -> u32 {
        lock(&self.queue).failures(key)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds a lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    static MAP: Kind = Kind {
        group: "",
        kind: "ConfigMap",
        plural: "configmaps",
        versions: &["v1"],
    };

    fn hub() -> Hub {
        Hub::new(Arc::new(Cache::new([].into())), vec![&MAP], 1)
    }

    fn change(hub: &Hub, name: &str, version: u32) {
        let object = json!({
            "metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": version.to_string()},
        });
        let touched = hub.cache.put(&MAP, object);
        hub.touched(&touched.unwrap());
    }

    fn taken(hub: &Hub) -> Vec<String> {
        let taken: Vec<ObjectRef> = std::iter::from_fn(|| hub.take()).collect();
        for key in &taken {
            hub.done(key, Outcome::Rest);
        }
        taken.into_iter().map(|key| key.name).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn who_stands_by_keeps_no_list_and_misses_nothing() {
        let hub = hub();
        change(&hub, "a", 1);
        assert_eq!(taken(&hub), [] as [&str; 0]);
        hub.wake_up();
        assert_eq!(taken(&hub), ["a"]);
        change(&hub, "b", 2);
        assert_eq!(taken(&hub), ["b"]);
        hub.fall_asleep();
        change(&hub, "c", 3);
        // What went meanwhile has one more turn, which finds that out.
        hub.cache.deleted(&MAP.named("shop", "b"), "b");
        assert_eq!(taken(&hub), [] as [&str; 0]);
        hub.wake_up();
        assert_eq!(taken(&hub), ["a", "b", "c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_wakes_those_who_looked() {
        let hub = hub();
        hub.wake_up();
        change(&hub, "a", 1);
        assert_eq!(taken(&hub), ["a"]);
        let key = MAP.named("shop", "a");
        let looks = Looks {
            reads: [MAP.named("shop", "b")].into(),
            owned: [].into(),
        };
        hub.look(&key, Some(looks));
        change(&hub, "b", 2);
        assert_eq!(taken(&hub), ["a", "b"]);
        hub.settle(&MAP, "", Readiness::Synced);
        assert_eq!(taken(&hub), ["a", "b"]);
        hub.settle(&MAP, "", Readiness::Synced);
        assert_eq!(taken(&hub), [] as [&str; 0]);
    }
}
