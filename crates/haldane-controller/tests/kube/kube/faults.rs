//! What goes wrong between the controller and the server: in the end each copy is right, and no write was made twice.

use std::sync::atomic::Ordering;

use haldane_plane::{Fault, Matcher, Refusal, Rule, RuleId, Verb};
use kube::api::ListParams;
use tokio::time;

use crate::kube::rig::{QUIET, Rig, eventually};

impl Rig {
    async fn rule(&self, fault: Fault, verb: Verb, times: Option<u64>) -> RuleId {
        let on = Matcher {
            namespace: Some(self.ns.clone()),
            agent: Some("haldane-controller".to_owned()),
            ..Matcher::new(&[verb], "configmaps")
        };
        let rule = Rule {
            times,
            ..Rule::always(fault, on)
        };
        self.plane.add_rule(rule).await.unwrap()
    }

    /// Takes a rule away and returns how often it was followed.
    async fn unrule(&self, id: RuleId) -> u64 {
        let report = self.plane.remove_rule(id).await.unwrap();
        report.unwrap().hits
    }
}

#[tokio::test]
async fn each_write_is_made_once_and_then_there_is_rest() {
    let rig = Rig::new("once").await;
    for number in 0..20 {
        rig.source(&format!("map-{number}"), "one", None).await;
    }
    let running = rig.start();
    for number in 0..20 {
        rig.copied(&format!("map-{number}"), "one").await;
    }
    running.answers("/readyz", "ready: leading").await;
    eventually("an event for each", async || {
        let events = rig.events().list(&ListParams::default()).await.unwrap();
        (events.items.len() == 20).then_some(())
    })
    .await;
    rig.counts("create", "configmaps", 20).await;
    rig.counts("create", "events", 20).await;
    let calls = rig.calls();
    for (verb, expected) in [("create", 40), ("get", 0), ("patch", 0), ("list", 1)] {
        let count = calls.iter().filter(|call| call.0 == verb).count();
        assert_eq!(count, expected, "{verb} in {calls:?}");
    }

    // Nothing changes, so nothing is asked and nothing is looked at.
    let turns = running.host.turns.load(Ordering::SeqCst);
    time::sleep(QUIET).await;
    assert_eq!(rig.calls().len(), calls.len());
    assert_eq!(running.host.turns.load(Ordering::SeqCst), turns);

    // Each change is followed, whoever made it.
    rig.set("map-3", "two").await;
    rig.copied("map-3", "two").await;
    rig.set("map-4-copy", "wrong").await;
    rig.copied("map-4", "one").await;
    rig.delete("map-5-copy").await;
    rig.copied("map-5", "one").await;
    rig.counts("patch", "configmaps", 2).await;
    rig.counts("create", "configmaps", 21).await;
    rig.counts("get", "configmaps", 0).await;

    // What is gone is forgotten.
    rig.delete("map-6").await;
    eventually("a source forgotten", async || {
        let forgotten = &running.host.forgotten;
        (forgotten.load(Ordering::SeqCst) > 0).then_some(())
    })
    .await;
    let metrics = running.get("/metrics").await;
    for line in [
        "haldane_controller_writes_total{kind=\"ConfigMap\",verb=\"create\",result=\"done\"} 21",
        "haldane_controller_reads_total{kind=\"ConfigMap\",verb=\"list\"} 1",
        "haldane_controller_leader 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    running.end();
}

#[tokio::test]
async fn writes_that_fail_are_made_again_and_none_is_made_twice() {
    let rig = Rig::new("writes").await;
    rig.source("map", "0", None).await;
    let running = rig.start();
    rig.copied("map", "0").await;
    let mut expected = 0;
    let mut gets = 0;
    // The fault, how often, how many requests reach the server, and how often the object is read for doubt.
    let faults = [
        (Fault::Refuse(Refusal::Conflict), 5, 1, 5),
        (Fault::Refuse(Refusal::TooManyRequests), 2, 1, 0),
        (Fault::Refuse(Refusal::InternalError), 2, 1, 2),
        (Fault::Refuse(Refusal::Forbidden), 3, 1, 0),
        (Fault::DoneBut(Refusal::Timeout), 1, 1, 1),
        (Fault::Lost, 1, 1, 1),
        (Fault::Silence, 1, 1, 1),
    ];
    for (number, (fault, times, reach, reads)) in (1..).zip(faults) {
        let id = rig.rule(fault, Verb::Patch, Some(times)).await;
        let value = number.to_string();
        rig.set("map", &value).await;
        rig.copied("map", &value).await;
        rig.followed(id, times).await;
        assert_eq!(rig.unrule(id).await, times, "{fault:?}");
        expected += reach;
        gets += reads;
        rig.counts("get", "configmaps", gets).await;
        rig.counts("patch", "configmaps", expected).await;
    }
    // A create whose answer is lost: one copy, one read.
    let id = rig.rule(Fault::Lost, Verb::Create, Some(1)).await;
    rig.source("other", "x", None).await;
    rig.followed(id, 1).await;
    rig.unrule(id).await;
    rig.copied("other", "x").await;
    rig.set("other", "y").await;
    rig.copied("other", "y").await;
    rig.counts("create", "configmaps", 2).await;
    // People are told what was refused.
    eventually("an event about the refusal", async || {
        let events = rig.events().list(&ListParams::default()).await.unwrap();
        let reasons = events.items.into_iter().filter_map(|event| event.reason);
        reasons.into_iter().find(|reason| reason == "WriteFailed")
    })
    .await;
    running.end();
}

#[tokio::test]
async fn watches_that_break_miss_nothing() {
    let rig = Rig::new("watches").await;
    rig.source("map", "0", None).await;
    let running = rig.start();
    rig.copied("map", "0").await;
    rig.counts("list", "configmaps", 1).await;

    // Cut: it goes on from where it was.
    let id = rig.rule(Fault::CutWatch, Verb::Watch, Some(1)).await;
    rig.followed(id, 1).await;
    rig.set("map", "1").await;
    rig.copied("map", "1").await;
    rig.unrule(id).await;
    rig.counts("list", "configmaps", 1).await;

    // Expired: it is listed again.
    let id = rig.rule(Fault::ExpireWatch, Verb::Watch, Some(1)).await;
    rig.followed(id, 1).await;
    rig.set("map", "2").await;
    rig.copied("map", "2").await;
    rig.unrule(id).await;
    rig.counts("list", "configmaps", 2).await;

    // Held: what we wrote is known all the same, and nothing is done twice.
    rig.counts("patch", "configmaps", 2).await;
    let id = rig.rule(Fault::HoldWatch, Verb::Watch, None).await;
    rig.followed(id, 1).await;
    rig.set("map", "3").await;
    time::sleep(QUIET).await;
    assert_eq!(rig.value("map-copy").await.unwrap(), "2");
    rig.unrule(id).await;
    rig.copied("map", "3").await;
    rig.counts("patch", "configmaps", 3).await;

    // Gone while nobody looked: the list tells it by what it does not name.
    let refused = rig
        .rule(Fault::Refuse(Refusal::Unavailable), Verb::Watch, None)
        .await;
    let cut = rig.rule(Fault::CutWatch, Verb::Watch, Some(1)).await;
    rig.followed(refused, 1).await;
    rig.delete("map-copy").await;
    let expired = rig
        .rule(Fault::Refuse(Refusal::Expired), Verb::Watch, Some(1))
        .await;
    rig.unrule(refused).await;
    rig.copied("map", "3").await;
    assert_eq!((rig.unrule(cut).await, rig.unrule(expired).await), (1, 1));
    rig.counts("list", "configmaps", 3).await;
    running.end();
}

#[tokio::test]
async fn what_was_written_is_known_before_a_watch_tells_it() {
    let rig = Rig::new("known").await;
    rig.source("map", "1", None).await;
    rig.annotate("map", "restless").await;
    let held = rig.rule(Fault::HoldWatch, Verb::Watch, None).await;
    let running = rig.start();
    rig.copied("map", "1").await;
    // It looks again and again, and no watch tells it of the copy.
    eventually("many turns", async || {
        let turns = running.host.turns.load(Ordering::SeqCst);
        (turns > 20).then_some(())
    })
    .await;
    rig.followed(held, 1).await;
    rig.counts("create", "configmaps", 1).await;
    rig.counts("get", "configmaps", 0).await;
    rig.unrule(held).await;
    running.end();
}

#[tokio::test]
async fn a_stale_list_takes_nothing_back() {
    let rig = Rig::new("stale").await;
    rig.source("map", "0", None).await;
    let running = rig.start();
    rig.copied("map", "0").await;
    // The list that is answered from now on is the one of this moment.
    let stale = rig.rule(Fault::Stale, Verb::List, None).await;
    let expired = rig.rule(Fault::ExpireWatch, Verb::Watch, Some(1)).await;
    rig.followed(stale, 1).await;
    rig.unrule(expired).await;
    rig.set("map", "1").await;
    rig.copied("map", "1").await;
    rig.counts("patch", "configmaps", 1).await;
    let expired = rig.rule(Fault::ExpireWatch, Verb::Watch, Some(1)).await;
    rig.followed(stale, 3).await;
    assert_eq!(rig.value("map-copy").await.unwrap(), "1");
    rig.counts("patch", "configmaps", 1).await;
    rig.unrule(stale).await;
    rig.unrule(expired).await;
    rig.set("map", "2").await;
    rig.copied("map", "2").await;
    rig.counts("patch", "configmaps", 2).await;
    running.end();
}
