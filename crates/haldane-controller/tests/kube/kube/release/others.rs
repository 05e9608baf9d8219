//! The cluster is not as it should be: a router's kind is missing, a Release is huge, clocks differ, a controller takes over.

use std::sync::Arc;

use haldane_controller::{
    host::ReleaseHost,
    kinds::RELEASE,
    turn::{Host, Key, Sight, Then, Turn},
};
use haldane_plane::Addon;
use haldane_router::Kind;
use jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::kube::{
    release::shop::{Plan, Shop, condition, host, release},
    rig::start_with,
};

static SPLIT: Kind = Kind {
    group: "split.smi-spec.io",
    kind: "TrafficSplit",
    plural: "trafficsplits",
    versions: &["v1alpha2"],
};

/// A host whose clock is wrong.
struct Skewed {
    inner: ReleaseHost,
    ahead: SignedDuration,
}

impl Host for Skewed {
    fn kind(&self) -> &'static Kind {
        self.inner.kind()
    }

    fn kinds(&self) -> Vec<&'static Kind> {
        self.inner.kinds()
    }

    fn turn(&self, key: &Key, sight: &dyn Sight, now: Timestamp) -> Turn {
        let mut turn = self.inner.turn(key, sight, now + self.ahead);
        if let Then::At(at) = turn.then {
            turn.then = Then::At(at - self.ahead);
        }
        turn
    }

    fn forget(&self, key: &Key) {
        self.inner.forget(key);
    }
}

fn skewed(minutes: i64) -> Arc<Skewed> {
    Arc::new(Skewed {
        inner: host(),
        ahead: SignedDuration::from_mins(minutes),
    })
}

#[tokio::test]
async fn controllers_whose_clocks_differ_go_on_with_the_same_rollout() {
    let shop = Shop::new("skewed", &Plan::held()).await;
    shop.taken_over().await.end();
    let ahead = start_with(shop.config(), skewed(5));
    shop.deploy("shop:v2").await;
    shop.weighs("20%").await;
    ahead.end();
    // Five minutes back: what is stored is later than now.
    let behind = start_with(shop.config(), skewed(0));
    shop.command("1", "promote").await;
    shop.weighs("50%").await;
    shop.command("2", "promote").await;
    shop.ends("Completed", "v2").await;
    behind.end();
    let ahead = start_with(shop.config(), skewed(5));
    shop.deploy("shop:v3").await;
    shop.weighs("20%").await;
    shop.command("3", "abort").await;
    shop.ends("RolledBack", "v2").await;
    ahead.end();
}

#[tokio::test]
async fn a_controller_takes_over_in_the_middle_of_a_step() {
    let shop = Shop::new("taken", &Plan::held()).await;
    let first = shop.taken_over().await;
    let second = shop.start();
    let load = shop.load(100);
    shop.deploy("shop:v2").await;
    shop.weighs("20%").await;
    shop.command("1", "promote").await;
    first.end();
    shop.weighs("50%").await;
    // One that dies gives its lease not back.
    let third = shop.start();
    second.kill();
    shop.command("2", "promote").await;
    let status = shop.ends("Completed", "v2").await;
    assert_eq!(status["history"].as_array().unwrap().len(), 1);
    let decisions = status["decisions"].as_array().unwrap();
    let numbers = decisions.iter().map(|one| one["number"].as_u64().unwrap());
    let expected: Vec<u64> = (0..decisions.len() as u64).collect();
    assert_eq!(numbers.collect::<Vec<_>>(), expected, "{decisions:#?}");
    assert_eq!(decisions.last().unwrap()["phase"], "Completed");
    load.end().none_dropped();
    third.end();
}

#[tokio::test]
async fn a_router_whose_kind_is_missing_is_told_and_used_when_it_comes() {
    let shop = Shop::bare("kindless").await;
    let mut split = release(&Plan::short());
    split["spec"]["routers"] = json!([{"smi": {"trafficSplit": "shop"}}]);
    shop.put("kubectl", &RELEASE, "shop", split).await;
    let running = shop.start();
    shop.shows("that a kind is missing", |status| {
        let message = status["message"].as_str().unwrap_or_default();
        message.contains("the cluster has no kind")
            && condition(status, "Ready")["status"] == "False"
    })
    .await;
    shop.rig.plane.install(Addon::Smi).await.unwrap();
    let backends = json!([{"service": "shop", "weight": 100}]);
    let object = json!({"spec": {"service": "shop", "backends": backends}});
    shop.put("kubectl", &SPLIT, "shop", object).await;
    shop.rests("Idle", "v1").await;
    shop.deploy("shop:v2").await;
    shop.ends("Completed", "v2").await;
    running.end();
}

#[tokio::test]
async fn a_plan_of_a_thousand_steps_is_followed_and_a_longer_one_refused() {
    // Each weight is followed by its hold.
    let plan = |weights: u32| Plan {
        steps: (0..weights)
            .map(|step| format!("{}%", 1 + step / 20))
            .collect(),
        hold: "1h",
        ready: "60s",
    };
    let shop = Shop::new("thousand", &plan(501)).await;
    let running = shop.start();
    shop.shows("a refusal", |status| {
        let valid = condition(status, "Valid");
        let message = valid["message"].as_str().unwrap_or_default();
        valid["status"] == "False" && message.contains("1002 steps; expected at most 1000")
    })
    .await;
    shop.put("kubectl", &RELEASE, "shop", release(&plan(500)))
        .await;
    shop.rests("Idle", "v1").await;
    shop.deploy("shop:v2").await;
    shop.weighs("1%").await;
    let status = shop.status().await;
    assert_eq!(status["step"], "2/1000");
    shop.command("1", "abort").await;
    shop.ends("RolledBack", "v1").await;
    running.end();
}

#[tokio::test]
async fn a_release_as_large_as_the_server_takes_is_rolled_out() {
    let shop = Shop::new("large", &Plan::short()).await;
    let running = shop.taken_over().await;
    // All annotations of an object together may have 256 KiB.
    let long = |bytes: usize| json!({"metadata": {"annotations": {"long": "x".repeat(bytes)}}});
    let too_long = Patch::Merge(long(1_024 * 1_024));
    let params = PatchParams::default();
    let refused = shop.api(&RELEASE).patch("shop", &params, &too_long).await;
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("may not be more than 262144 bytes")
    );
    shop.patch("kubectl", &RELEASE, "shop", &long(200 * 1_024))
        .await;
    // Fields that the kind does not know are dropped or refused by the server.
    let unknown = json!({"spec": {"unknown": {"a": 1}}});
    shop.patch("kubectl", &RELEASE, "shop", &unknown).await;
    let kept = shop.get(&RELEASE, "shop").await.unwrap();
    assert_eq!(kept["spec"].get("unknown"), None);
    shop.deploy("shop:v2").await;
    shop.ends("Completed", "v2").await;
    let kept: Option<Value> = shop.get(&RELEASE, "shop").await;
    let long = kept.unwrap()["metadata"]["annotations"]["long"].clone();
    assert_eq!(long.as_str().unwrap().len(), 200 * 1_024);
    running.end();
}
