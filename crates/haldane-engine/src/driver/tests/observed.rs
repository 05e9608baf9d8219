//! What metric systems tell of a rollout: it decides beside the requests, and its absence holds.

use super::bench::{Bench, SHOP, version};

/// The shop's file with a metric of another system.
pub(super) fn with_payments() -> String {
    let metrics =
        "    metrics: { payments: { kind: ratio, source: prom, template: plain } }\n    rollout:";
    let sources = "sources: { prom: { prometheus: http://127.0.0.1:9090 } }\nservices:";
    SHOP.replacen("    rollout:", metrics, 1)
        .replacen("services:", sources, 1)
        .replacen("hold: 5s", "hold: 20s", 1)
}

/// Deploys a version whose payments fail like this, in parts of a thousand; stable's fail once in a thousand.
fn deployed(canary: Option<u64>) -> Bench {
    let mut bench = Bench::new();
    bench.apply(&with_payments()).unwrap();
    bench.turns(3);
    {
        let mut world = bench.world.lock();
        world.payments.insert(version("v1"), 1);
        if let Some(canary) = canary {
            world.payments.insert(version("v2"), canary);
        }
    }
    bench.deploy("v2").unwrap();
    bench
}

#[test]
fn a_canary_is_taken_back_by_what_only_a_metric_system_sees() {
    let mut bench = deployed(Some(60));
    bench.until("RolledBack");
    let story = format!("{:?}", bench.view().rollout);
    assert!(story.contains("payments"), "{story}");
}

#[test]
fn a_good_canary_passes_with_it() {
    let mut bench = deployed(Some(1));
    bench.until("Completed");
}

#[test]
fn without_its_data_nothing_goes_on_and_nothing_fails_before_the_deadline() {
    let mut bench = deployed(None);
    bench.until_weight(10);
    bench.turns(45);
    assert_eq!(bench.routed(), 10);
    let shown = format!("{:?}", bench.view().rollout);
    assert!(
        shown.contains("payments was not seen of the canary"),
        "{shown}"
    );
    // It comes back, and the rollout goes on.
    bench.world.lock().payments.insert(version("v2"), 1);
    bench.until("Completed");
}

#[test]
fn a_plan_of_its_own_is_judged_by_the_metrics_of_the_service() {
    let mut bench = Bench::new();
    bench.apply(&with_payments()).unwrap();
    bench.turns(3);
    let rollout = serde_json::json!({ "steps": ["10%", "100%"], "hold": "20s" });
    bench
        .deploy_with("v2", |request| request.rollout = Some(rollout))
        .unwrap();
    bench.until_weight(10);
    bench.turns(30);
    let shown = format!("{:?}", bench.view().rollout);
    assert!(shown.contains("payments has no data yet"), "{shown}");
}

#[test]
fn nobody_is_asked_about_a_canary_once_the_rollout_is_over() {
    let mut bench = deployed(Some(1));
    bench.until_weight(10);
    assert_eq!(bench.world.lock().asked_canary, Some(version("v2")));
    bench.until("Completed");
    bench.turns(3);
    assert_eq!(bench.world.lock().asked_canary, None);
}
