//! Controllers that die after each of their writes: the next one goes on, to the same end.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use haldane_controller::{
    host::ReleaseHost,
    turn::{Host, Key, Sight, Turn},
};
use haldane_router::Kind;
use jiff::Timestamp;
use tokio::sync::Notify;

use crate::kube::{
    release::shop::{Plan, Shop, host},
    rig::start_with,
};

/// A host that writes once and is dead after that.
struct Mortal {
    inner: ReleaseHost,
    has_written: AtomicBool,
    died: Notify,
}

impl Host for Mortal {
    fn kind(&self) -> &'static Kind {
        self.inner.kind()
    }

    fn kinds(&self) -> Vec<&'static Kind> {
        self.inner.kinds()
    }

    fn turn(&self, key: &Key, sight: &dyn Sight, now: Timestamp) -> Turn {
        if self.has_written.load(Ordering::SeqCst) {
            // A turn that wrote is followed by another one, when its write was answered.
            self.died.notify_one();
            return Turn::default();
        }
        let mut turn = self.inner.turn(key, sight, now);
        turn.writes.truncate(1);
        self.has_written
            .store(!turn.writes.is_empty(), Ordering::SeqCst);
        turn
    }

    fn forget(&self, key: &Key) {
        self.inner.forget(key);
    }
}

/// Lets one controller after another look after a shop, each until its first write; counts them.
async fn die_each_time(shop: &Shop, deaths: &mut u32) {
    loop {
        let host = Arc::new(Mortal {
            inner: host(),
            has_written: AtomicBool::new(false),
            died: Notify::new(),
        });
        let mut config = shop.config();
        // The lease of one that died would be waited for each time.
        config.lease_name = format!("haldane-{deaths}");
        let running = start_with(config, Arc::clone(&host));
        host.died.notified().await;
        running.kill();
        *deaths += 1;
    }
}

/// Plays a story while each controller dies after its first write.
async fn mortal(ns: &str, story: impl AsyncFnOnce(&Shop)) {
    let shop = Shop::new(ns, &Plan::short()).await;
    shop.taken_over().await.end();
    let load = shop.load(50);
    let mut deaths = 0;
    tokio::select! {
        () = die_each_time(&shop, &mut deaths) => {}
        () = story(&shop) => {}
    }
    assert!(deaths > 6, "only {deaths} died");
    load.end().none_dropped();
}

#[tokio::test]
async fn a_promotion_outlives_a_death_after_each_write() {
    mortal("mortal-promotion", async |shop| {
        shop.deploy("shop:v2").await;
        let status = shop.ends("Completed", "v2").await;
        assert_eq!(status["history"].as_array().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_abort_outlives_a_death_after_each_write() {
    mortal("mortal-abort", async |shop| {
        shop.deploy("shop:v2").await;
        shop.shows("a step", |status| status["weight"] == "20%")
            .await;
        shop.command("1", "abort").await;
        shop.ends("RolledBack", "v1").await;
    })
    .await;
}

#[tokio::test]
async fn an_undo_outlives_a_death_after_each_write() {
    mortal("mortal-undo", async |shop| {
        shop.deploy("shop:v2").await;
        shop.ends("Completed", "v2").await;
        shop.command("1", "undo").await;
        shop.ends("Completed", "v1").await;
    })
    .await;
}
