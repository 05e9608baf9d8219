//! Tests of `metrics`.

use std::fs;

use jiff::Timestamp;
use serde_json::Value;

use super::*;
use crate::{
    cli::testing::{Daemon, Reply},
    wire::web::server::{Act, Server, say},
};

#[tokio::test]
async fn templates_are_listed_and_their_queries_shown() {
    let daemon = Daemon::start([]);
    let (exit, listed) = daemon.run("metrics show").await;
    assert_eq!(exit.unwrap(), Exit::Done);
    for template in template::list() {
        assert!(listed.contains(template.name), "{listed}");
    }
    let (_, shown) = daemon
        .run("metrics show istio --set namespace=shop --stable shop-1 --canary shop-2 --window 5m")
        .await;
    assert!(
        shown.contains("destination_workload=\"shop-2\"}[300s]"),
        "{shown}"
    );
    assert!(
        shown.contains("destination_workload_namespace=\"shop\""),
        "{shown}"
    );
    let json = daemon.run("metrics show plain -o json").await.1;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json["stable"]["requests"],
        "http_requests_total{service=\"shop\",version=\"v1\"}[60s]"
    );
    for line in ["metrics show nothing", "metrics show istio --set a"] {
        let error = daemon.run(line).await.0.unwrap_err();
        assert_eq!(crate::cli::exit::exit_of(&error), Exit::Usage, "{line}");
    }
}

/// Runs a check against what does this with each question.
async fn check(act: Act, options: &str) -> (Exit, String) {
    let server = Server::start([act]).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("haldane.yaml");
    let text = format!(
        "sources: {{ prom: {{ prometheus: http://{} }} }}\nservices: {{ shop: {{ listen: 0, stable: {{ version: v1, run: a }}, metrics: {{ errors-seen: {{ kind: ratio, source: prom, template: plain }} }} }} }}",
        server.address
    );
    fs::write(&path, text).unwrap();
    let line = format!("metrics check -f {}{options}", path.display());
    let (exit, out) = Daemon::start([]).run(&line).await;
    (exit.unwrap(), out)
}

/// What Prometheus says of requests that ended now, after so many seconds.
fn samples(age: i64) -> String {
    let to = Timestamp::now().as_second() - age;
    let from = to - 10;
    let series = |code: u16, first: u32, last: u32| {
        format!(
            r#"{{"metric":{{"code":"{code}","instance":"a"}},"values":[[{from},"{first}"],[{to},"{last}"]]}}"#
        )
    };
    format!(
        r#"{{"status":"success","data":{{"resultType":"matrix","result":[{},{}]}}}}"#,
        series(200, 100, 190),
        series(500, 5, 15)
    )
}

#[tokio::test]
async fn a_check_tells_value_age_and_labels() {
    let (exit, out) = check(say(200, "", &samples(2)), " --canary v2").await;
    assert_eq!(exit, Exit::Done, "{out}");
    assert!(out.contains("10.0000%: 10 of 100 in 2m"), "{out}");
    assert!(out.contains("v2 (canary)"), "{out}");
    assert!(out.contains("code=200|500"), "{out}");
    let (_, json) = check(say(200, "", &samples(2)), " shop -o json").await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json.as_array().unwrap().len(),
        1,
        "without --canary stable alone"
    );
    assert_eq!(json[0]["labels"]["code"][1], "500");
    assert_eq!(json[0]["missing"], Value::Null);
    assert!(
        (2..60).contains(&json[0]["ageSeconds"].as_u64().unwrap()),
        "{json}"
    );
}

#[tokio::test]
async fn what_is_missing_is_told_and_fails() {
    let empty = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
    for (act, why) in [
        (say(200, "", empty), "missing: stable: no data"),
        (say(200, "", &samples(90)), "s old; expected at most 1m"),
        (
            say(500, "", "oh no"),
            "missing: unavailable (status 500): oh no",
        ),
        (Act::Close, "missing: "),
    ] {
        let (exit, out) = check(act.clone(), "").await;
        assert_eq!(exit, Exit::Failed, "{act:?}: {out}");
        assert!(out.contains(why), "{why:?} in {out}");
    }
}

#[tokio::test]
async fn of_conversions_a_check_tells_what_the_daemon_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("haldane.yaml");
    let text = "services: { shop: { listen: 0, stable: { version: v1, run: a }, metrics: { bought: { kind: conversion, hit: POST /buy 2xx, of: GET /cart } } } }";
    fs::write(&path, text).unwrap();
    let line = format!("metrics check -f {} --canary v2", path.display());
    let counters = r#"haldane_proxy_conversion_hits_total{service="shop",version="v1",metric="bought"} 3
haldane_proxy_conversion_exposures_total{service="shop",version="v1",metric="bought"} 10
"#;
    let daemon = Daemon::start([("GET /metrics", Reply::text(200, counters))]);
    let (exit, out) = daemon.run(&line).await;
    assert_eq!(exit.unwrap(), Exit::Done, "{out}");
    for part in [
        "30.0000%: 3 of 10 so far",
        "no such version runs",
        "hit: POST /buy 2xx",
        "of: GET /cart",
    ] {
        assert!(out.contains(part), "{part:?} in {out}");
    }
    let globals = crate::cli::testing::globals(dir.path());
    let mut out = Vec::new();
    let args = CheckArgs {
        service: None,
        file: path,
        stable: None,
        canary: None,
    };
    let exit = check::run(&args, &globals, &mut out).await.unwrap();
    let out = String::from_utf8(out).unwrap();
    assert_eq!(exit, Exit::Done, "{out}");
    assert!(
        out.contains("no daemon runs; the proxy counts it once there is traffic"),
        "{out}"
    );
}

/// Runs a check of a file with this source and metric, in a directory of its own.
async fn check_one(source: &str, metric: &str) -> (Exit, String) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("counts.json"), r#"{"sold": 4, "seen": 80}"#).unwrap();
    let path = dir.path().join("haldane.yaml");
    let text = format!(
        "sources: {{ s: {{ {source} }} }}\nservices: {{ shop: {{ listen: 0, stable: {{ version: v1, run: a }}, metrics: {{ m: {{ source: s, {metric} }} }} }} }}"
    );
    fs::write(&path, text).unwrap();
    let line = format!("metrics check -f {}", path.display());
    let (exit, out) = Daemon::start([]).run(&line).await;
    (exit.unwrap(), out)
}

#[tokio::test]
async fn the_web_and_commands_tell_what_was_counted_so_far() {
    let server = Server::start([say(200, "", r#"{"sold": 4, "seen": 80}"#)]).await;
    let web = format!("web: http://{}", server.address);
    // In the directory of the service's processes, which is the file's.
    let command = "command: cat counts.json".to_owned();
    for (source, place) in [(web, "?v={{version}} "), (command, "")] {
        let counts = format!("events: '{place}$.sold', exposure: '{place}$.seen'");
        let (exit, out) = check_one(&source, &format!("kind: conversion, {counts}")).await;
        assert_eq!(exit, Exit::Done, "{out}");
        assert!(out.contains("5.0000%: 4 of 80 so far"), "{out}");
        let (exit, out) =
            check_one(&source, &format!("kind: counter, events: '{place}$.sold'")).await;
        assert_eq!(exit, Exit::Done, "{out}");
        assert!(out.contains(" 4 so far"), "{out}");
        let (exit, out) =
            check_one(&source, &format!("kind: gauge, query: '{place}$.nothing'")).await;
        assert_eq!(exit, Exit::Failed, "{out}");
        assert!(out.contains("missing: stable: no data"), "{out}");
    }
    let (exit, out) = check_one("command: 'false'", "kind: gauge, query: $").await;
    assert_eq!(exit, Exit::Failed, "{out}");
    assert!(
        out.contains("missing: the command failed: exit code 1"),
        "{out}"
    );
}

#[tokio::test]
async fn a_limit_that_stable_breaks_already_is_told_and_fails() {
    let command = "command: cat counts.json";
    for (metric, broken) in [
        (
            "kind: ratio, events: $.sold, exposure: $.seen, limit: 5%",
            None,
        ),
        (
            "kind: ratio, events: $.sold, exposure: $.seen, limit: 4.9%",
            Some("4 of 80 so far; 5.0000% breaks the limit of 4.9000%"),
        ),
        (
            "kind: conversion, events: $.sold, exposure: $.seen, limit: 5%",
            None,
        ),
        (
            "kind: conversion, events: $.sold, exposure: $.seen, limit: 6%",
            Some("5.0000% breaks the limit of 6.0000%"),
        ),
        ("kind: gauge, query: $.seen, limit: 80", None),
        (
            "kind: gauge, query: '$.*', limit: 41.5",
            Some("2 pods: 80, 4; 42 breaks the limit of 41.5"),
        ),
    ] {
        let (exit, out) = check_one(command, metric).await;
        match broken {
            None => assert_eq!(exit, Exit::Done, "{metric}: {out}"),
            Some(broken) => {
                assert_eq!(exit, Exit::Failed, "{metric}: {out}");
                assert!(out.contains(broken), "{broken:?} in {out}");
            }
        }
    }
}
