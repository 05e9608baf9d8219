//! What goes wrong between the controller and the server during a rollout: it ends as the one that nothing disturbs.

use haldane_plane::{Fault, Refusal, Verb};
use tokio::time;

use crate::kube::{
    release::shop::{Plan, Shop, condition},
    rig::QUIET,
};

/// What a rollout reads.
const READ: [&str; 6] = [
    "releases",
    "deployments",
    "replicasets",
    "services",
    "endpointslices",
    "httproutes",
];

/// What a rollout writes.
const WRITTEN: [&str; 5] = [
    "releases",
    "releases/status",
    "deployments",
    "services",
    "httproutes",
];

const WRITES: [Verb; 3] = [Verb::Create, Verb::Patch, Verb::Delete];

/// Promotes a version while this happens to these requests, and fails if it never did.
async fn promoted_despite(ns: &str, faults: &[Fault], verbs: &[Verb], on: &[&str], times: u64) {
    let shop = Shop::new(ns, &Plan::short()).await;
    let running = shop.taken_over().await;
    let load = shop.load(50);
    let mut rules = Vec::new();
    for resource in on {
        for fault in faults {
            let rule = shop.rule(*fault, verbs, resource, Some(times)).await;
            rules.push(rule);
        }
    }
    shop.deploy("shop:v2").await;
    let status = shop.ends("Completed", "v2").await;
    assert_eq!(status["history"].as_array().unwrap().len(), 1);
    let mut hits = 0;
    for rule in rules {
        hits += shop.unrule(rule).await;
    }
    let on = u64::try_from(on.len()).unwrap();
    assert!(hits >= on, "{ns}: the faults happened {hits} times");
    load.end().none_dropped();
    running.end();
}

#[tokio::test]
async fn conflicts_one_after_another() {
    let conflict = [Fault::Refuse(Refusal::Conflict)];
    let on = ["releases/status", "httproutes", "deployments"];
    promoted_despite("k1", &conflict, &[Verb::Patch], &on, 20).await;
}

#[tokio::test]
async fn watches_that_are_cut_or_expire() {
    let faults = [Fault::CutWatch, Fault::ExpireWatch];
    promoted_despite("k2", &faults, &[Verb::Watch], &READ, 2).await;
}

#[tokio::test]
async fn a_server_that_is_busy_broken_or_slow() {
    let faults = [
        Fault::Refuse(Refusal::TooManyRequests),
        Fault::Refuse(Refusal::InternalError),
        Fault::Slow { delay_ms: 700 },
    ];
    promoted_despite("k6", &faults, &WRITES, &WRITTEN, 1).await;
}

#[tokio::test]
async fn answers_that_get_lost() {
    let faults = [Fault::Lost, Fault::DoneBut(Refusal::Timeout)];
    promoted_despite("lost", &faults, &WRITES, &WRITTEN, 1).await;
}

#[tokio::test]
async fn watches_that_are_silent_and_lists_that_are_old() {
    let shop = Shop::new("k3", &Plan::held()).await;
    let running = shop.taken_over().await;
    let load = shop.load(50);
    // The lists that are answered from now on are those of the first look, before anything changed.
    let mut stale = Vec::new();
    for resource in READ {
        stale.push(shop.rule(Fault::Stale, &[Verb::List], resource, None).await);
        shop.rule(Fault::ExpireWatch, &[Verb::Watch], resource, Some(1))
            .await;
    }
    time::sleep(QUIET).await;
    shop.deploy("shop:v2").await;
    shop.weighs("20%").await;
    for resource in READ {
        shop.rule(Fault::ExpireWatch, &[Verb::Watch], resource, Some(1))
            .await;
    }
    time::sleep(QUIET).await;
    assert_eq!(shop.share().await, 2_000);
    for rule in stale {
        assert!(shop.unrule(rule).await > 0);
    }
    // Nothing is heard of what happens now, until the rules are gone.
    let mut held = Vec::new();
    for resource in READ {
        held.push(
            shop.rule(Fault::HoldWatch, &[Verb::Watch], resource, None)
                .await,
        );
    }
    time::sleep(QUIET).await;
    shop.command("1", "promote").await;
    time::sleep(QUIET).await;
    assert_eq!(shop.share().await, 2_000);
    for rule in held {
        shop.unrule(rule).await;
    }
    shop.weighs("50%").await;
    shop.command("2", "promote").await;
    shop.ends("Completed", "v2").await;
    load.end().none_dropped();
    running.end();
}

#[tokio::test]
async fn a_route_that_may_not_be_written_any_more_is_told_and_an_abort_comes_when_it_may() {
    let shop = Shop::new("forbidden", &Plan::held()).await;
    let running = shop.taken_over().await;
    shop.deploy("shop:v2").await;
    shop.weighs("20%").await;
    let forbidden = Fault::Refuse(Refusal::Forbidden);
    let rule = shop
        .rule(forbidden, &[Verb::Patch], "httproutes", None)
        .await;
    shop.command("1", "promote").await;
    shop.shows("that the weight is not in force", |status| {
        status["weight"] == "50%" && condition(status, "Applied")["status"] == "False"
    })
    .await;
    assert_eq!(shop.share().await, 2_000);
    shop.command("2", "abort").await;
    shop.shows("that it rolls back", |status| {
        status["phase"] == "RollingBack"
    })
    .await;
    // As long as requests may come, the canary stays.
    time::sleep(QUIET).await;
    let canaries = shop.running().await;
    assert!(canaries.contains(&"shop:v2".to_owned()), "{canaries:?}");
    assert!(shop.unrule(rule).await > 0);
    shop.ends("RolledBack", "v1").await;
    running.end();
}
