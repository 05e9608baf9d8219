//! Tests of `meter`.

mod exporter;
mod prometheus;

use std::net::SocketAddr;

use haldane_api::release::{JudgedPlan, Spec};
use haldane_controller::meter::{Place, Places};
use haldane_core::Weight;
use serde_json::{Value, json};

use super::*;
use crate::wire::web::server::{Act, Server, say, until};

/// What a release says of its plan, asking each second.
fn judged(address: SocketAddr, requests: &Value, metrics: &Value, rollout: &Value) -> JudgedPlan {
    let mut requests = requests.clone();
    requests["source"] = json!("prom");
    requests["interval"] = json!("1s");
    let spec = Spec {
        sources: Some(json!({ "prom": { "prometheus": format!("http://{address}") } })),
        requests: Some(requests),
        metrics: Some(metrics.clone()),
        rollout: Some(rollout.clone()),
        ..Spec::default()
    };
    spec.to_judged_plan().unwrap()
}

fn key() -> Key {
    Key {
        namespace: "test".to_owned(),
        name: "shop".to_owned(),
    }
}

fn places() -> Places {
    let place = |name: &str| Place {
        deployment: name.to_owned(),
        service: name.to_owned(),
        replica_set: None,
    };
    Places {
        namespace: "test".to_owned(),
        ingress: None,
        route: None,
        stable: place("shop"),
        canary: place("shop-canary"),
    }
}

fn watch(judged: JudgedPlan) -> Watch {
    Watch {
        rollout: "shop-1".parse().unwrap(),
        stable: "v1".parse().unwrap(),
        canary: "v2".parse().unwrap(),
        weight: Weight::from_percent(10),
        metrics: judged.plan.rules().metrics.clone(),
        requests: judged.requests,
        places: places(),
    }
}

/// A release whose router is Contour, as said by a server.
fn contour(server: &Server) -> Watch {
    let requests = json!({ "template": "contour" });
    watch(judged(server.address, &requests, &json!({}), &json!({})))
}

fn meter() -> ClusterMeter {
    ClusterMeter::new(&Handle::current(), PathBuf::from("/etc/haldane/secrets"))
}

/// What Prometheus says about requests of an Envoy that were counted until a second of this minute.
fn answer(second: i64, count: u32) -> Act {
    let at = Timestamp::now().as_second() - 30 + second;
    let series = |name: &str, more: &str| {
        format!(
            r#"{{"metric":{{"__name__":"envoy_cluster_upstream_rq{name}","instance":"e"{more}}},"values":[[{at},"{count}"]]}}"#
        )
    };
    let result = [
        series("", r#","envoy_response_code":"200""#),
        series("", r#","envoy_response_code":"500""#),
        series("_time_bucket", r#","le":"25""#),
        series("_time_bucket", r#","le":"+Inf""#),
        series("_time_sum", ""),
    ];
    let result = result.join(",");
    say(
        200,
        "",
        &format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{result}]}}}}"#),
    )
}

const EMPTY: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;

/// Answers each of these to both questions of a turn.
async fn server(acts: impl IntoIterator<Item = Act>) -> Server {
    let acts = acts.into_iter().flat_map(|act| [act.clone(), act]);
    Server::start(acts.collect::<Vec<_>>()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_new_is_counted_once_with_the_weight_of_its_time() {
    let server = server([answer(0, 100), answer(10, 130)]).await;
    let meter = meter();
    let mut watch = contour(&server);
    let taken = until(|| {
        meter.watch(&key(), Some(&watch));
        // Another weight is the same watch.
        watch.weight = Weight::from_percent(20);
        Some(meter.take(&key())).filter(|taken| !taken.batches.is_empty())
    });
    let taken = taken.await;
    let [batch] = taken.batches.as_slice() else {
        panic!("{taken:?}")
    };
    let sample = &batch.stable;
    assert_eq!(
        (sample.requests, sample.failures, sample.latency_count()),
        (60, 30, 30)
    );
    assert_eq!(sample.latency_sum_us, 30_000);
    assert_eq!(batch.canary, batch.stable);
    assert_eq!(batch.length().as_secs(), 10);
    // The first weight is the only one that was in force so early.
    assert_eq!(batch.weight, Weight::from_percent(10));
    assert_eq!(meter.take(&key()), Measured::default());
    let asked = server.seen().len();
    server.requests(asked + 2).await;
    assert_eq!(meter.take(&key()), Measured::default());
    // Nobody is asked any more.
    meter.watch(&key(), None);
    meter.tasks.close();
    tokio::time::timeout(std::time::Duration::from_secs(20), meter.tasks.wait())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_rollout_counts_nothing_of_the_one_before() {
    let server = server([answer(0, 100), answer(10, 130), answer(20, 500)]).await;
    let meter = meter();
    let mut watch = contour(&server);
    meter.watch(&key(), Some(&watch));
    server.requests(4).await;
    watch.rollout = "shop-2".parse().unwrap();
    let mut seen = Vec::new();
    let shared = server.requests(8);
    meter.watch(&key(), Some(&watch));
    shared.await;
    seen.extend(meter.take(&key()).batches);
    assert_eq!(seen, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_data_the_reason_is_told_until_there_is_some() {
    for (act, reason) in [
        (
            say(500, "", "boom"),
            "the requests: unavailable (status 500",
        ),
        (
            say(200, "", EMPTY),
            "the requests: stable: no samples for {__name__=~",
        ),
        (say(200, "", "<html>"), "the requests: "),
        (Act::Close, "the requests: "),
    ] {
        let server = server([act, answer(0, 1), answer(10, 2)]).await;
        let meter = meter();
        let watch = contour(&server);
        meter.watch(&key(), Some(&watch));
        let told = until(|| Some(meter.take(&key())).filter(|taken| !taken.faults.is_empty()));
        let told = told.await;
        assert_eq!(told.batches, []);
        assert!(told.faults[0].starts_with(reason), "{told:?}");
        let taken = until(|| Some(meter.take(&key())).filter(|taken| !taken.batches.is_empty()));
        assert_eq!(taken.await.faults, [""; 0]);
    }
}

#[tokio::test]
async fn what_can_not_be_asked_is_told_at_once() {
    let server = server([say(200, "", EMPTY)]).await;
    let meter = meter();
    let template = |name: &str, more: Value| {
        let mut requests = json!({ "template": name });
        for (key, value) in more.as_object().unwrap() {
            requests[key] = value.clone();
        }
        let judged = judged(server.address, &requests, &json!({}), &json!({}));
        meter.watch(&key(), Some(&watch(judged)));
        meter.take(&key()).faults
    };
    let faults = template("nginx", json!({}));
    assert!(
        faults[0].contains("expected a value for `ingress`"),
        "{faults:?}"
    );
    let faults = template("istio", json!({ "workload": "{{replicaset}}" }));
    assert!(
        faults[0].contains("nothing is known for \"replicaset\""),
        "{faults:?}"
    );
    assert_eq!(
        template("nginx", json!({ "variables": { "ingress": "shop" } })),
        [""; 0]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_secrets_of_another_namespace_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    for namespace in ["test", "other"] {
        std::fs::create_dir(dir.path().join(namespace)).unwrap();
        std::fs::write(dir.path().join(namespace).join("token"), namespace).unwrap();
    }
    for (namespace, is_read) in [("test", true), ("other", false), ("test/../other", false)] {
        let server = server([answer(0, 1), answer(10, 2)]).await;
        let meter = ClusterMeter::new(&Handle::current(), dir.path().to_owned());
        let mut watch = contour(&server);
        let path = format!("{}/{namespace}/token", dir.path().display());
        let given = haldane_core::plan::metric::Given::File(path);
        let requests = watch.requests.as_mut().unwrap();
        requests.source.auth.insert("token".to_owned(), given);
        meter.watch(&key(), Some(&watch));
        if is_read {
            let heads = server.requests(1).await;
            let head = heads[0].as_str().unwrap().to_ascii_lowercase();
            assert!(head.contains("authorization: bearer test"), "{head}");
        } else {
            let faults = until(|| Some(meter.take(&key()).faults).filter(|told| !told.is_empty()));
            let faults = faults.await;
            assert!(faults[0].contains("may name files in"), "{faults:?}");
            assert_eq!(server.seen().len(), 0);
        }
    }
}

#[test]
fn the_newest_batches_wait_for_the_host() {
    let batches = Batches::default();
    let at = |second: usize| Timestamp::from_second(i64::try_from(second).unwrap()).unwrap();
    for second in 0..1_000 {
        batches.push(Batch {
            from: at(second),
            to: at(second + 1),
            stable: haldane_analysis::Sample::default(),
            canary: haldane_analysis::Sample::default(),
            weight: Weight::ZERO,
        });
    }
    let taken = batches.take();
    assert_eq!(taken.len(), BATCHES_MAX);
    assert_eq!(taken[0].from, at(1_000 - BATCHES_MAX));
    assert_eq!(batches.take(), []);
}
