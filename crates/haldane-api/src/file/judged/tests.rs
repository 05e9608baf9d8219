//! What a `Release` says of its plan and its requests, and every mistake that is told.

use super::*;

const SOURCES: &str = "sources: { prom: { prometheus: http://prometheus.monitoring:9090 }, dd: { datadog: 'https://api.datadoghq.com', auth: { apiKey: { file: /etc/haldane/secrets/shop/dd/api }, appKey: { file: /etc/haldane/secrets/shop/dd/app } } } }";

fn requests(text: &str) -> Requests {
    let text = format!("{SOURCES}\nrequests: {text}");
    let judged = parse_judged_plan(&text);
    let judged = judged.unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"));
    judged.requests.unwrap()
}

/// Checks what is told, each with its path.
#[track_caller]
fn check(text: &str, expected: &[(&str, &str)]) {
    let problems = parse_judged_plan(&format!("{SOURCES}\n{text}")).unwrap_err();
    let found: Vec<(&str, &str)> = problems
        .iter()
        .map(|problem| (problem.path.as_str(), problem.message.as_str()))
        .collect();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for ((path, message), (expected_path, part)) in found.iter().zip(expected) {
        assert_eq!(path, expected_path, "{message}");
        assert!(message.contains(part), "{part:?} in {message:?}");
    }
}

#[test]
fn each_template_calls_a_version_as_its_mesh_does() {
    for (name, _, workload) in keys::TEMPLATES {
        let ingress = "variables: { ingress: shop }";
        let read = requests(&format!("{{ source: prom, template: {name}, {ingress} }}"));
        assert_eq!(read.counted, CountedBy::Template(name.to_owned()));
        assert_eq!(read.workload, workload, "{name}");
        assert!(
            Home::Cluster
                .names()
                .iter()
                .any(|known| workload == format!("{{{{{known}}}}}"))
        );
    }
    let read =
        requests("{ source: prom, template: istio, workload: 'shop-{{side}}', interval: 15s }");
    assert_eq!(read.workload, "shop-{{side}}");
    assert_eq!(read.interval, Duration::from_secs(15));
}

#[test]
fn series_of_ones_own_are_read_whole() {
    let read = requests(
        r#"
        source: prom
        counter: http_requests_total
        select: 'namespace="{{namespace}}",pod=~"{{replicaset}}-.+"'
        failed: 'code=~"5..|timeout"'
        latency: http_request_duration_ms
        unit: ms"#
            .replace("\n        ", "\n  ")
            .as_str(),
    );
    let expected = CountedBy::Series {
        counter: "http_requests_total".to_owned(),
        select: r#"namespace="{{namespace}}",pod=~"{{replicaset}}-.+""#.to_owned(),
        failed: r#"code=~"5..|timeout""#.to_owned(),
        latency: Some(("http_request_duration_ms".to_owned(), Unit::Milliseconds)),
    };
    assert_eq!((read.counted, read.interval), (expected, INTERVAL));
}

#[test]
fn mistakes_of_requests_are_all_told() {
    check(
        "requests: { source: dd, template: istio, unit: ms }",
        &[
            ("requests.source", "only Prometheus"),
            ("requests.unit", "the template says this"),
        ],
    );
    check(
        "requests: { source: nobody, template: itsio }",
        &[
            ("requests.source", "no source is named \"nobody\""),
            ("requests.template", "did you mean \"istio\"?"),
        ],
    );
    check(
        "requests: { source: prom }",
        &[("requests", "expected one of template, counter")],
    );
    check(
        "requests: { source: prom, counter: 9lives, failed: 'code=~\"5[0-9]\"', interval: 1h }",
        &[
            ("requests", "select is missing"),
            ("requests.counter", "no name of a series"),
            ("requests.failed", "cannot read"),
            ("requests.interval", "expected 1s to 5m"),
        ],
    );
    for (select, part) in [
        ("{a=\\\"{{side}}\\\"}", "without braces"),
        ("a=\\\"b\\\"", "the same for both versions"),
        (
            "a=\\\"{{sides}}\\\"",
            "nothing is known to fill in for {{sides}}",
        ),
    ] {
        let text = format!(
            "requests: {{ source: prom, counter: a, failed: 'b=\"c\"', select: \"{select}\" }}"
        );
        let problems = parse_judged_plan(&format!("{SOURCES}\n{text}")).unwrap_err();
        assert!(
            problems
                .iter()
                .any(|one| one.path == "requests.select" && one.message.contains(part)),
            "{problems:#?}"
        );
    }
    for workload in ["shop", "{{namespace}}", "{{workload}}"] {
        let text = format!("requests: {{ source: prom, template: istio, workload: '{workload}' }}");
        let problems = parse_judged_plan(&format!("{SOURCES}\n{text}")).unwrap_err();
        assert_eq!(problems[0].path, "requests.workload", "{workload}");
    }
    check(
        "requests: { source: prom, template: istio, variables: { deployment: a } }",
        &[("requests.variables.deployment", "can't be set")],
    );
}

#[test]
fn metrics_name_versions_as_the_cluster_does() {
    let text = format!(
        "{SOURCES}\nmetrics:\n  a: {{ kind: ratio, source: prom, template: contour }}\n  b: {{ kind: gauge, source: prom, query: 'm{{pod=~\"{{{{replicaset}}}}-.+\"}}' }}"
    );
    let plan = parse_judged_plan(&text).unwrap().plan;
    let workloads = plan
        .rules()
        .metrics
        .iter()
        .map(|metric| metric.workload.as_str());
    assert_eq!(
        workloads.collect::<Vec<_>>(),
        ["{{service}}", "{{deployment}}"]
    );
    // In a release file there is nothing of that.
    let file = format!(
        "{SOURCES}\nservices: {{ a: {{ listen: 0, stable: {{ version: v1, run: a }}, metrics: {{ m: {{ kind: gauge, source: prom, query: \"{{{{replicaset}}}}\" }} }} }} }}"
    );
    let problems = super::super::parse(&file).unwrap_err();
    assert!(
        problems.iter().any(|one| one
            .message
            .contains("nothing is known to fill in for {{replicaset}}")),
        "{problems:#?}"
    );
}

#[test]
fn a_release_does_nothing_in_the_name_of_the_controller() {
    check(
        "metrics: { m: { kind: conversion, hit: POST /buy, of: GET /cart } }\nrollout: { steps: [5%, { gate: { run: ./smoke } }, 100%] }",
        &[
            ("metrics.m", "only Haldane's own proxy"),
            ("rollout.steps[1].gate.run", "runs no commands"),
        ],
    );
    for (source, is_fine) in [
        ("{ command: cat /etc/passwd }", false),
        (
            "{ prometheus: http://a, auth: { token: { env: TOKEN } } }",
            false,
        ),
        (
            "{ prometheus: http://a, headers: { X-A: { env: PATH } } }",
            false,
        ),
        (
            "{ prometheus: http://a, auth: { token: { file: /var/run/secrets/kubernetes.io/serviceaccount/token } } }",
            false,
        ),
        (
            "{ prometheus: http://a, auth: { token: { file: /etc/haldane/secrets/shop/../../../passwd } } }",
            false,
        ),
        (
            "{ prometheus: http://a, auth: { token: { file: /etc/haldane/secrets/token } } }",
            false,
        ),
        (
            "{ prometheus: http://a, auth: { token: { file: /etc/haldane/secrets/shop/prom/token } } }",
            true,
        ),
        ("{ prometheus: http://a, headers: { X-Team: shop } }", true),
    ] {
        let read = parse_judged_plan(&format!("sources: {{ s: {source} }}"));
        assert_eq!(read.is_ok(), is_fine, "{source}: {read:?}");
    }
}

#[test]
fn samples_of_scrapes_may_be_older_unless_the_release_says() {
    let stale_after = |rest: &str| {
        let judged = parse_judged_plan(&format!("{SOURCES}\n{rest}")).unwrap();
        judged.plan.rules().sampling.stale_after.as_secs()
    };
    assert_eq!(stale_after("rollout: { hold: 1m }"), 15);
    let requests = "requests: { source: prom, template: istio }";
    assert_eq!(stale_after(requests), 60);
    let rollout = "rollout: { sampling: { staleAfter: 20s } }";
    assert_eq!(stale_after(&format!("{requests}\n{rollout}")), 20);
    let rollout = "rollout: { sampling: { window: 3m } }";
    assert_eq!(stale_after(&format!("{requests}\n{rollout}")), 60);
}
