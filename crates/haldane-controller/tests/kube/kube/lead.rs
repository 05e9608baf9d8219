//! Who writes: one controller of two, none in the shadow, and none that was stopped and does not know it.

use std::{
    sync::{atomic::Ordering, mpsc},
    time::Duration,
};

use haldane_plane::{Fault, Matcher, Refusal, Rule};
use kube::api::{ListParams, PostParams};
use tokio::time::{self, Instant};

use crate::kube::rig::{QUIET, Rig, eventually, start};

#[tokio::test]
async fn the_lease_is_given_back_and_the_next_one_takes_over_at_once() {
    let rig = Rig::new("handover").await;
    rig.source("map", "1", None).await;
    let first = rig.start();
    rig.copied("map", "1").await;
    let holder = rig.holder().await.unwrap();
    let second = rig.start();
    second.answers("/readyz", "ready: standing by").await;
    assert_eq!(rig.holder().await.unwrap(), holder);
    assert_eq!(second.host.turns.load(Ordering::SeqCst), 0);
    first.end();
    let ended = Instant::now();
    second.answers("/readyz", "ready: leading").await;
    // It looks each two seconds; a lease that nobody gave back lasts fifteen.
    assert!(
        ended.elapsed() < Duration::from_secs(8),
        "{:?}",
        ended.elapsed()
    );
    rig.set("map", "2").await;
    rig.copied("map", "2").await;
    second.end();
    assert_eq!(rig.holder().await.unwrap_or_default(), "");
    rig.counts("create", "configmaps", 1).await;
    rig.counts("patch", "configmaps", 1).await;
}

#[tokio::test]
async fn a_leader_that_was_stopped_writes_nothing_when_it_goes_on() {
    let rig = Rig::new("stopped").await;
    rig.source("map", "1", None).await;
    let first = rig.start();
    rig.copied("map", "1").await;
    let second = rig.start();
    second.answers("/readyz", "ready: standing by").await;
    // The first one stops in the middle of a turn that has something to write.
    let (begun_tx, begun) = mpsc::channel();
    let (go_on, go_on_rx) = mpsc::channel();
    *first.host.stop.lock().unwrap() = Some((begun_tx, go_on_rx));
    rig.set("map", "2").await;
    let begun = tokio::task::spawn_blocking(move || begun.recv_timeout(Duration::from_secs(60)));
    begun.await.unwrap().unwrap();
    // The second one takes over and does it.
    rig.copied("map", "2").await;
    second.answers("/readyz", "ready: leading").await;
    rig.set("map-copy", "by hand").await;
    rig.copied("map", "2").await;
    let patches = rig.count("patch", "configmaps");
    assert_eq!(patches, 2);
    // The first one goes on with what it had decided long ago.
    go_on.send(()).unwrap();
    first.answers("/readyz", "ready: standing by").await;
    time::sleep(QUIET).await;
    rig.counts("patch", "configmaps", patches).await;
    let metrics = first.get("/metrics").await;
    let patch = "haldane_controller_writes_total{kind=\"ConfigMap\",verb=\"patch\"";
    assert!(!metrics.contains(patch), "{metrics}");
    first.end();
    second.end();
}

#[tokio::test]
async fn who_cannot_renew_its_lease_stops_writing_until_it_can() {
    let rig = Rig::new("unrenewed").await;
    rig.source("map", "1", None).await;
    let running = rig.start();
    rig.copied("map", "1").await;
    let on = Matcher {
        namespace: Some(rig.ns.clone()),
        ..Matcher::new(&[], "leases")
    };
    let rule = Rule::always(Fault::Refuse(Refusal::Unavailable), on);
    let id = rig.plane.add_rule(rule).await.unwrap();
    running.answers("/readyz", "ready: standing by").await;
    rig.set("map", "2").await;
    time::sleep(QUIET).await;
    assert_eq!(rig.value("map-copy").await.unwrap(), "1");
    rig.plane.remove_rule(id).await.unwrap();
    rig.copied("map", "2").await;
    rig.counts("patch", "configmaps", 1).await;
    running.end();
}

#[tokio::test]
async fn the_shadow_tells_and_writes_nothing() {
    let rig = Rig::new("shadow").await;
    rig.source("map", "1", None).await;
    let mut config = rig.config();
    config.is_shadow = true;
    let running = start(config);
    let line = |count: u32| {
        format!(
            "haldane_controller_shadow_writes_total{{kind=\"ConfigMap\",verb=\"create\"}} {count}\n"
        )
    };
    running.answers("/metrics", &line(1)).await;
    running.answers("/readyz", "in the shadow").await;
    // The same write is told once.
    let map = rig.maps().get("map").await.unwrap();
    let mut changed = map.clone();
    changed.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
    let turns = running.host.turns.load(Ordering::SeqCst);
    rig.maps()
        .replace("map", &PostParams::default(), &changed)
        .await
        .unwrap();
    eventually("one more turn", async || {
        (running.host.turns.load(Ordering::SeqCst) > turns).then_some(())
    })
    .await;
    running.answers("/metrics", &line(1)).await;
    rig.set("map", "2").await;
    running.answers("/metrics", &line(2)).await;
    assert_eq!(rig.value("map-copy").await, None);
    assert_eq!(rig.holder().await, None);
    let events = rig.events().list(&ListParams::default()).await.unwrap();
    assert_eq!(events.items.len(), 0);
    running.end();
    let writes = ["create", "patch", "update", "delete"];
    assert!(
        rig.calls()
            .iter()
            .all(|call| !writes.contains(&call.0.as_str()))
    );
}

#[tokio::test]
async fn who_never_rests_and_who_breaks_take_nothing_from_the_others() {
    let rig = Rig::new("restless").await;
    rig.source("broken", "1", None).await;
    rig.annotate("broken", "break").await;
    rig.source("map", "1", None).await;
    let running = rig.start();
    rig.copied("map", "1").await;
    let line = "haldane_controller_turns_total{result=\"broken\"}";
    running.answers("/metrics", line).await;
    rig.annotate("map", "restless").await;
    rig.set("map", "2").await;
    rig.copied("map", "2").await;
    let before = running.host.turns.load(Ordering::SeqCst);
    time::sleep(QUIET).await;
    let turns = running.host.turns.load(Ordering::SeqCst) - before;
    assert!((5..60).contains(&turns), "{turns}");
    running.tell_to_end();
    running.end();
}
