//! The command line for alerts.

use std::fs;

use clap::Parser;
use serde_json::Value;

use super::*;
use crate::cli::{Cli, exit::exit_of, run as run_cli, testing};

async fn generated(line: &str) -> anyhow::Result<String> {
    let dir = tempfile::tempdir().unwrap();
    let words = ["haldane", "generate", "alerts"];
    let cli = Cli::try_parse_from(words.into_iter().chain(line.split(' ')))?;
    let globals = Globals {
        access: cli.globals.kube.access(None),
        format: cli.globals.output,
        ..testing::globals(dir.path())
    };
    let mut out = Vec::new();
    run_cli(cli.command, &globals, &mut out).await?;
    Ok(String::from_utf8(out)?)
}

/// The queries by the name of their alert or figure.
async fn queries(line: &str) -> Vec<(String, String)> {
    let text = generated(&format!("{line} --plain -o json")).await.unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let groups = value["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    rules
        .map(|rule| {
            let name = text(&rule["alert"]) + &text(&rule["record"]);
            (name, text(&rule["expr"]))
        })
        .collect()
}

#[track_caller]
fn check(queries: &[(String, String)], name: &str, part: &str) {
    let (_, query) = queries.iter().find(|(other, _)| other == name).unwrap();
    assert!(query.contains(part), "{name}: {query}");
}

#[tokio::test]
async fn a_rule_is_an_object_of_the_operator_unless_a_plain_file_is_wanted() {
    let object = generated("auth-service -n orion --mesh linkerd")
        .await
        .unwrap();
    for line in [
        "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\n",
        "  name: auth-service-canary\n  namespace: orion\n",
        "        - alert: CanaryHighErrorRate\n          expr: |\n            canary:error_rate:5m{namespace=\"orion\"",
        "          for: 1m\n",
    ] {
        assert!(object.contains(line), "{line}\n{object}");
    }
    let labels = generated("auth --label release=prometheus --label a.b/c=d")
        .await
        .unwrap();
    assert!(
        labels.contains("    release: prometheus\n") && labels.contains("    a.b/c: d\n"),
        "{labels}"
    );
    let plain = generated("auth-service --plain").await.unwrap();
    assert!(
        plain.starts_with("groups:\n  - name: canary-recording\n"),
        "{plain}"
    );
    assert!(plain.contains("namespace=\"default\""), "{plain}");
}

#[tokio::test]
async fn an_option_wins_over_the_plan_and_the_plan_over_what_is_usual() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("haldane.yaml");
    let text = "services: { auth: { listen: 8080, stable: { version: v1, run: ./a }, \
        rollout: { steps: [5%], guards: { errorRate: 2%, p95: 300ms, p99: 2x } } } }";
    fs::write(&path, text).unwrap();
    let all = queries(&format!(
        "auth -f {} --latency-p95 250 --success-rate 99.5 --cpu-max 70",
        path.display()
    ))
    .await;
    check(&all, "CanaryHighErrorRate", "> 0.02\n");
    check(&all, "CanaryHighLatencyP95", "> 0.25\n");
    // A limit against stable is no number for an alert.
    check(&all, "CanaryHighLatencyP99", "> 1\n");
    check(&all, "CanaryLowSuccessRate", "< 0.995\n");
    check(&all, "CanaryHighCPUUsage", "> 0.7\n");
    check(&all, "CanaryHighMemoryUsage", "> 0.8\n");
    assert_eq!(all.len(), 30);
}

#[tokio::test]
async fn a_deployment_has_its_canary_beside_it() {
    let all = queries("auth --workload deployment").await;
    check(
        &all,
        "canary:request_rate:5m",
        "destination_workload=~\"auth-canary-[0-9a-f]+\"}",
    );
    check(
        &all,
        "stable:error_rate:5m",
        "destination_workload=\"auth\"}",
    );
    check(
        &all,
        "CanaryPodsNotReady",
        "deployment=~\"auth-canary-[0-9a-f]+\"}",
    );
    let all = queries("auth --workload deployment --mesh contour").await;
    check(
        &all,
        "canary:request_rate:5m",
        "envoy_cluster_name=~\"default_auth-canary_[0-9a-zA-Z-]+\"}",
    );
}

#[tokio::test]
async fn what_else_is_asked_for_is_added() {
    let line = "auth --flagger --conversions orders_total{version=\"canary\"} --visitors visits_total --conversion-min 2";
    let all = queries(line).await;
    check(&all, "CanaryLowConversionRate", "< 0.02\n");
    check(
        &all,
        "CanaryStuck",
        "flagger_canary_status{namespace=\"default\",name=\"auth\"} == 0\n",
    );
    assert_eq!(all.len(), 33);
}

#[tokio::test]
async fn routes_tell_whom_they_should() {
    let email = "auth -n orion --alertmanager email --email-to ops@x.org --email-from bot@x.org --smarthost smtp.x.org:587";
    for (line, receiver, part) in [
        (
            "auth -n orion --alertmanager slack",
            "canary-slack",
            "channel: \"#deployments\"\n",
        ),
        (
            "auth -n orion --alertmanager slack --channel #ops",
            "canary-slack",
            "channel: \"#ops\"\n",
        ),
        (
            "auth -n orion --alertmanager pagerduty",
            "canary-pagerduty",
            "routing_key_file: /etc/",
        ),
        (email, "canary-email", "smarthost: smtp.x.org:587\n"),
    ] {
        let text = generated(line).await.unwrap();
        assert!(text.contains(part), "{text}");
        let config: Value = serde_norway::from_str(&text).unwrap();
        assert_eq!(config["route"]["routes"][0]["receiver"], receiver);
        assert_eq!(config["receivers"][1]["name"], receiver);
        assert_eq!(
            config["route"]["routes"][0]["matchers"][1],
            "namespace=\"orion\""
        );
    }
}

#[tokio::test]
async fn names_and_numbers_that_can_not_be_are_refused() {
    for (line, part) in [
        ("Auth", "the service: \"Auth\" is not a service name"),
        ("auth -n a.b", "the namespace: "),
        ("auth --stable a --canary a", "nothing tells them apart"),
        ("auth --error-threshold 101", "--error-threshold"),
        ("auth --latency-p95 5%", "--latency-p95"),
        ("auth --stalled-max 90s", "whole minutes"),
        ("auth --mesh consul", "possible values"),
        ("auth --conversions orders_total", "--visitors"),
        ("auth --label release", "expected KEY=VALUE"),
        ("auth --label a/b/c=d", "expected KEY=VALUE"),
        ("auth --alertmanager email", "--smarthost"),
        ("auth --alertmanager slack --plain", "--plain"),
        ("auth --smarthost smtp:587", "--alertmanager"),
        ("auth --conversions sum(a) --visitors b", "expected NAME or"),
        (
            "auth --conversions a{b=\"} --visitors b",
            "expected NAME or",
        ),
    ] {
        let error = generated(line).await.unwrap_err();
        assert!(format!("{error:#}").contains(part), "{line}: {error:#}");
        if error.downcast_ref::<clap::Error>().is_none() {
            assert_eq!(exit_of(&error), Exit::Usage, "{line}");
        }
    }
}
