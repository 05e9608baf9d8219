//! Tests of `haldane checklist`.

use std::fs;

use serde_json::{Value, json};

use super::*;
use crate::cli::testing::{Daemon, Reply, service_json};

fn daemon(service: &Value, history: &Value) -> Daemon {
    Daemon::start([
        ("GET /v1/services/auth", Reply::json(200, service)),
        ("GET /v1/services/auth/history", Reply::json(200, history)),
    ])
}

fn past(phase: &str) -> Value {
    json!({
        "id": "auth-6", "kind": "deploy", "by": "ann@desk", "reason": null, "stable": "v1", "canary": "v2", "phase": phase,
        "message": "", "startedAt": "2026-11-20T11:50:00Z", "endedAt": "2026-11-20T12:00:00Z", "entries": [],
    })
}

/// Runs the command beside a file that says this of the rollout.
async fn checklist(service: &Value, history: &Value, rollout: Option<&str>) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("haldane.yaml");
    let mut line = "checklist auth".to_owned();
    if let Some(rollout) = rollout {
        let text = format!(
            "notify: [{{ webhook: 'https://hooks.example.com' }}]\nservices: {{ auth: {{ listen: 8080, stable: {{ version: v1, run: a }}, {rollout} }} }}"
        );
        fs::write(&path, text).unwrap();
        line = format!("{line} -f {}", path.display());
    }
    let (exit, out) = daemon(service, history).run(&line).await;
    assert_eq!(exit.unwrap(), Exit::Done);
    out
}

#[tokio::test]
async fn what_is_seen_is_ticked_and_the_rest_is_open_with_its_reason() {
    let out = checklist(
        &service_json("Progressing"),
        &json!([past("RolledBack")]),
        None,
    )
    .await;
    let expected = "\
Planning
[x] Canary strategy defined: 5%, 25%, 100%
[x] Metrics thresholds set: errorRate at most 5%, p95 at most 500ms, compared with stable
[?] Rollback plan documented: a document can't be seen from here; `haldane abort auth` is what it may say
[x] Monitoring configured: 6000 requests of stable were counted last
[?] Alerting set up: who is told stands in the release file; -f haldane.yaml names it
[?] Canary duration defined: it stands in the plan, which is not told here; -f haldane.yaml has it
[?] Approval of the promotion decided: it stands in the plan, which is not told here; -f haldane.yaml has it

Deployment
[x] Deploy to canary: v2 has 1 of 1 replicas ready
[x] send 5%: done in this rollout
[x] hold 5m: done in this rollout
[x] send 25%: done in this rollout
[ ] hold 5m: at work
[ ] send 100%: to come
[ ] hold 5m: to come
[x] Monitor metrics: fail: errorRate 6.2% is beyond 5%, 24.83% of the traffic seen
[ ] Rollout to 100%: Progressing: holding at 25% for 5m

Monitoring
[x] Error rate monitored: errorRate at most 5%
[x] Latency monitored: p95 at most 500ms
[?] Business metrics monitored: the plan says which metrics are declared; -f haldane.yaml has it
[x] Resource usage monitored: processor and memory of stable are measured
[?] Alerts configured: who is told stands in the release file; -f haldane.yaml names it

Rollback
[x] Rollback triggers defined: a critical guard or the judge takes a bad canary back
[?] Rollback procedure documented: a document can't be seen from here
[x] Rollback tested: auth-6 was rolled back at 2026-11-20T12:00:00Z
[?] Rollback automated: it stands in the plan, which is not told here; -f haldane.yaml has it

13 of 25 are seen to be so; [?] can't be seen from here
";
    assert_eq!(out, expected);
}

#[tokio::test]
async fn a_file_says_what_is_planned() {
    let rollout = "rollout: { steps: [5%, 50%], hold: 10m, promote: manual }, metrics: { sales: { kind: conversion, hit: POST /buy, of: GET /cart } }";
    let out = checklist(&service_json("Completed"), &json!([]), Some(rollout)).await;
    for expected in [
        "[x] Canary strategy defined: 5%, 50%\n",
        "[x] Metrics thresholds set: errorRate ",
        "[x] Alerting set up: notify names 1;",
        "[x] Canary duration defined: at most 20m\n",
        "[x] Approval of the promotion decided: a person promotes\n",
        "[x] Rollout to 100%: Completed:",
        "[x] Business metrics monitored: sales\n",
        "[ ] Rollback tested: none of the rollouts",
        "[x] Rollback automated: onFailure: rollback\n",
    ] {
        assert!(out.contains(expected), "{expected}\n{out}");
    }
}

#[tokio::test]
async fn what_is_not_so_is_not_ticked() {
    let mut service = service_json("Progressing");
    service["rollout"] = Value::Null;
    service["canary"] = Value::Null;
    for figure in ["cpuPpm", "memoryBytes"] {
        service["stable"]["figures"][figure] = Value::Null;
    }
    service["stable"]["figures"]["requests"] = json!(0);
    let rollout = "rollout: { steps: [5%, 50%], guards: none, onFailure: hold }";
    let out = checklist(&service, &json!([past("Completed")]), Some(rollout)).await;
    for expected in [
        "[ ] Metrics thresholds set: the plan has no guard and no judge\n",
        "[ ] Monitoring configured: no request of stable",
        "[ ] Deploy to canary: no rollout has begun\n[ ] send 5%: no rollout has begun\n[ ] send 50%:",
        "[ ] Error rate monitored: no guard is on it",
        "[ ] Business metrics monitored: no conversion",
        "[ ] Resource usage monitored: ",
        "[ ] Rollback triggers defined: nothing",
        "[ ] Rollback tested: ",
        "[ ] Rollback automated: onFailure: hold",
    ] {
        assert!(out.contains(expected), "{expected}\n{out}");
    }
    let (exit, out) = daemon(&service, &json!([]))
        .run("checklist auth -o json")
        .await;
    assert_eq!(exit.unwrap(), Exit::Done);
    let lists: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(lists[0]["items"][0]["state"], "Unknown");
    assert_eq!(lists[3]["title"], "Rollback");
}
