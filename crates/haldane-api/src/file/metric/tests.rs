//! Tests of sources and metrics in the file.

use std::time::Duration;

use haldane_core::plan::metric::Given;

use super::*;
use crate::{file, lint, long, schema, yaml};

const SOURCES: &str = "sources: { prom: { prometheus: http://127.0.0.1:9090 } }";

fn file(sources: &str, metrics: &str, rollout: &str) -> String {
    format!(
        "{sources}\nservices:\n  a:\n    listen: 0\n    stable: {{ version: v1, run: a }}\n    rollout: {rollout}\n    metrics:\n{metrics}"
    )
}

fn metrics(text: &str) -> Vec<Metric> {
    let text = file(SOURCES, text, "{}");
    let file = file::parse(&text).unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"));
    let service = file.services.into_values().next().unwrap();
    service.plan.rules().metrics.clone()
}

fn mistakes(text: &str) -> Vec<String> {
    let problems = file::parse(text).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn check_mistakes(text: &str, expected: &[&str]) {
    let found = mistakes(text);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{expected:?} in {found:?}");
    }
}

const FULL: &str = "
sources:
  prom:
    prometheus: https://prometheus.example.com/base
    auth: { username: me, password: { file: /run/secrets/prometheus } }
    headers: { X-Team: shop, X-Api-Key: { env: PROMETHEUS_KEY } }
    tenant: shop
services:
  shop:
    listen: 8080
    stable: { version: v1, run: ./shop }
    health: { path: /health }
    metrics:
      mesh: { kind: ratio, source: prom, template: istio, variables: { namespace: shop }, workload: 'shop-{{version}}' }
      slow: { kind: latency, source: prom, query: 'b_bucket{v=\"{{version}}\"}[{{window}}]', unit: ms, interval: 15s, staleAfter: 2m }
      sales:
        kind: conversion
        source: prom
        events: 'bought_total{v=\"{{version}}\"}[{{window}}]'
        exposure: 'seen_total{v=\"{{version}}\"}[{{window}}]'
        harm: 0.95x
        accept: 0.9x
        weight: 3
        required: true
      restarts: { kind: counter, source: prom, events: 'restarts_total{v=\"{{version}}\"}[{{window}}]', critical: false }
      bought: { kind: conversion, hit: POST /checkout 2xx, of: GET /cart }
      refused: { kind: ratio, source: proxy, hit: 'POST /pay/** 4xx', of: 'POST /pay/**', staleAfter: 30s }
      memory: { kind: gauge, source: prom, query: 'memory{v=\"{{version}}\"}' }
";

#[test]
fn every_kind_is_read_with_its_defaults() {
    let file = file::parse(FULL).unwrap();
    let service = file.services.values().next().unwrap();
    let [bought, memory, mesh, refused, restarts, sales, slow] =
        service.plan.rules().metrics.as_slice()
    else {
        panic!("{:?}", service.plan.rules().metrics);
    };
    let Ask::Requests(requests) = &bought.ask else {
        panic!("{bought:?}");
    };
    assert_eq!(requests.hit.to_string(), "POST /checkout 2xx");
    assert_eq!(
        (requests.within.as_secs(), requests.is_at_once()),
        (60, false)
    );
    assert_eq!(bought.source, Source::proxy());
    assert_eq!(
        (bought.stale_after.as_secs(), bought.required),
        (120, false)
    );
    assert_eq!(
        (refused.stale_after.as_secs(), refused.required),
        (30, true)
    );
    assert_eq!(mesh.ask, Ask::Template("istio".to_owned()));
    assert_eq!(
        mesh.source.headers["X-Scope-OrgID"],
        Given::Text("shop".to_owned())
    );
    assert_eq!(
        mesh.source.headers["X-Api-Key"],
        Given::Env("PROMETHEUS_KEY".to_owned())
    );
    assert_eq!(mesh.source.auth["username"], Given::Text("me".to_owned()));
    assert_eq!(
        (mesh.critical, mesh.required, mesh.weight),
        (true, true, 15)
    );
    assert_eq!(mesh.interval, Duration::from_secs(5));
    assert_eq!(
        (slow.unit, slow.interval),
        (Unit::Milliseconds, Duration::from_secs(15))
    );
    assert_eq!((sales.margin.harm_permille, sales.required), (950, true));
    assert_eq!(sales.direction, Direction::LowerIsWorse);
    assert_eq!((restarts.critical, restarts.required), (false, false));
    assert_eq!(
        (memory.critical, memory.margin.harm_permille),
        (false, 1_150)
    );
}

#[test]
fn the_long_form_reads_back_as_the_same_and_fits_the_schema() {
    let file = file::parse(FULL).unwrap();
    let text = yaml::to_yaml(&long::file_long(&file));
    assert_eq!(file::parse(&text), Ok(file.clone()), "{text}");
    let schema = schema::schema();
    assert!(schema["$defs"]["Metric"]["properties"]["template"]["enum"].is_array());
    let found = lint::lint_file(&file, None);
    assert!(
        found
            .iter()
            .all(|one| one.rule.severity == lint::Severity::Note),
        "{found:#?}"
    );
}

#[test]
fn a_literal_secret_is_refused_wherever_it_stands() {
    let with = |source: &str| {
        format!(
            "sources: {{ p: {{ {source} }} }}\nservices: {{ a: {{ listen: 0, stable: {{ version: v1, run: a }} }} }}"
        )
    };
    let literal = "a secret is never written into the file; expected { env: NAME }";
    for source in [
        "prometheus: http://a, auth: { token: abc }",
        "prometheus: http://a, auth: { username: a, password: b }",
        "prometheus: http://a, headers: { Authorization: Bearer abc }",
        "prometheus: http://a, headers: { x-api-key: abc }",
    ] {
        check_mistakes(&with(source), &[literal]);
    }
    check_mistakes(
        &with("prometheus: 'http://me:abc@a/'"),
        &["credentials in a URL"],
    );
    check_mistakes(
        &with("prometheus: http://a, auth: { token: { file: here } }"),
        &["no absolute path"],
    );
    check_mistakes(
        &with("prometheus: http://a, auth: { token: { env: A, file: /b } }"),
        &["both env and file"],
    );
    check_mistakes(
        &with("prometheus: http://a, auth: { username: a }"),
        &["prometheus takes token, or username and password; found username"],
    );
    check_mistakes(
        &with("auth: {}"),
        &["nothing given; expected one of prometheus"],
    );
}

#[test]
fn all_mistakes_are_told_at_once_each_with_its_place() {
    let text = file(
        SOURCES,
        "      one: { kind: ratio, template: plain }
      two: { kind: ratio, source: datadog, template: plain }
      three: { kind: ratio, source: prom, template: istio }
      four: { kind: ratio, source: prom, template: plain, harm: 2x, accept: 1.5x }
      five: { kind: ratio, source: prom, events: 'e[1m]', exposure: 'x{v=\"{{version}}\"}{{nothing}}[1m]' }
      eight: { kind: ratio, source: prom, events: 'rate(e{v=\"{{version}}\"}[1m])', exposure: 'sum(x{v=\"{{version}}\"})[5m:1m]' }
      errors: { kind: ratio, source: prom, template: plain }
      six: { kind: gauge, source: prom, template: plain }
      seven: { kind: ratio, source: prom }",
        "{}",
    );
    check_mistakes(
        &text,
        &[
            "8:12: services.a.metrics.one: source is missing; expected the name of the metric system to ask",
            "9:35: services.a.metrics.two.source: no source is named \"datadog\"; expected one of prom",
            "10:53: services.a.metrics.three.template: the template istio needs the variable namespace",
            "services.a.metrics.four.accept: nothing can be shown good within what counts as harm",
            "services.a.metrics.five.events: the same for both versions",
            "services.a.metrics.five.exposure: nothing is known to fill in for {{nothing}}",
            "services.a.metrics.eight.events: no raw samples of counters; expected a selector that ends in [{{window}}]",
            "services.a.metrics.eight.exposure: no raw samples of counters",
            "14:7: services.a.metrics.errors: the judge has a metric of this name already",
            "services.a.metrics.six.template: templates know failed requests (ratio) and latency",
            "16:14: services.a.metrics.seven: nothing to ask; expected template, query, events and exposure, or hit and of",
        ],
    );
}

#[test]
fn metrics_need_sources_and_the_judge_that_looks_at_them() {
    let one = "      m: { kind: ratio, source: prom, template: plain }";
    check_mistakes(
        &file("", one, "{}"),
        &["no source is named \"prom\"; expected it to be declared under sources"],
    );
    check_mistakes(
        &file(SOURCES, one, "{ judge: threshold }"),
        &["only the sequential judge looks at metrics"],
    );
    let both = file(
        SOURCES,
        "      m: { kind: ratio, source: prom }",
        "{ bake: soon }",
    );
    assert_eq!(mistakes(&both).len(), 2, "{:?}", mistakes(&both));
}

#[test]
fn names_may_have_dots() {
    let found = metrics("      a.b: { kind: ratio, source: prom, template: plain }");
    assert_eq!(found.first().unwrap().name, "a.b");
    let text = file(
        SOURCES,
        "      a.b: { kind: ratio, source: prom, template: plain, interval: 2h, staleAfter: 3h }",
        "{}",
    );
    check_mistakes(
        &text,
        &["services.a.metrics.a.b.interval: expected 1s to 1h"],
    );
}

#[test]
fn advice_is_given_on_what_rarely_is_meant() {
    let advice = |text: &str| -> Vec<String> {
        let file = file::parse(text).unwrap();
        let found = lint::lint_file(&file, None).into_iter();
        found
            .filter(|one| one.rule.severity != lint::Severity::Note)
            .map(|one| format!("{}: {}; {}", one.path, one.reason, one.fix))
            .collect()
    };
    let text = FULL
        .replace("https://prometheus", "http://prometheus")
        .replace("staleAfter: 2m", "staleAfter: 20s")
        .replace(
            "services:",
            "  idle: { prometheus: 'http://[::1]:9090', auth: { token: { env: A } } }\nservices:",
        );
    let found = advice(&text);
    let expected = [
        "sources.idle: no metric is taken from it",
        "sources.prom: its credentials go over the network unencrypted",
        "services.shop.metrics.slow.staleAfter: one late answer makes its data old, and nothing passes; expected at least 30s",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{expected:?} in {found:?}");
    }
}

/// Returns a file with one source and one metric of it.
fn of(source: &str, metric: &str) -> String {
    format!(
        "sources: {{ s: {{ {source} }} }}\nservices: {{ a: {{ listen: 0, stable: {{ version: v1, run: a }}, metrics: {{ m: {{ source: s, {metric} }} }} }} }}"
    )
}

const COUNTS: &str = "kind: ratio, events: 'e {{version}}', exposure: 'x {{version}}'";

#[test]
fn every_provider_has_its_options_and_credentials() {
    let token = "auth: { token: { env: T } }";
    let aws = "region: eu-west-1, auth: { accessKeyId: A, secretAccessKey: { env: S } }";
    for source in [
        format!("cloudWatch: https://a, {aws}"),
        "datadog: https://a, auth: { apiKey: { env: A }, appKey: { env: B } }".to_owned(),
        format!("dynatrace: https://a, {token}"),
        format!("google: https://a, project: p, {token}"),
        "graphite: http://a".to_owned(),
        format!("influxdb: http://a, org: o, {token}"),
        format!("influxdb: http://a, database: d, {token}"),
        format!("newRelic: https://a, account: 1234, {token}"),
        format!("signalFx: https://a, {token}"),
        "splunk: https://a:8089, auth: { username: u, password: { env: P } }".to_owned(),
        format!("wavefront: https://a, {token}"),
    ] {
        let text = of(&source, COUNTS);
        let file = file::parse(&text).unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"));
        let again = yaml::to_yaml(&long::file_long(&file));
        assert_eq!(file::parse(&again), Ok(file.clone()), "{again}");
        let service = file.services.into_values().next().unwrap();
        let metric = service.plan.rules().metrics.first().unwrap();
        assert_eq!(metric.interval, Duration::from_secs(60));
        assert_eq!(metric.stale_after, Duration::from_secs(300));
    }
}

#[test]
fn what_a_provider_lacks_or_does_not_have_is_told() {
    for (source, metric, expected) in [
        (
            "cloudWatch: https://a, auth: { token: { env: T } }",
            COUNTS,
            &[
                "cloudWatch takes accessKeyId and secretAccessKey",
                "region is missing; cloudWatch needs it",
            ][..],
        ),
        (
            "datadog: https://a, auth: {}",
            COUNTS,
            &["datadog needs credentials"],
        ),
        (
            "graphite: http://a, project: p",
            COUNTS,
            &["graphite has no project"],
        ),
        (
            "graphite: http://a",
            "kind: ratio, template: plain",
            &["templates are queries for Prometheus"],
        ),
        (
            "graphite: http://a, prometheus: http://b",
            COUNTS,
            &["both prometheus and graphite"],
        ),
        (
            "newRelic: https://a, account: mine, auth: { token: { env: T } }",
            COUNTS,
            &["expected the account's number"],
        ),
    ] {
        let mut found = mistakes(&of(source, metric));
        found.sort_by_key(|text| !text.contains("auth"));
        assert_eq!(found.len(), expected.len(), "{source}: {found:#?}");
        for part in expected {
            assert!(
                found.iter().any(|one| one.contains(part)),
                "{part:?} in {found:#?}"
            );
        }
    }
}

#[test]
fn mistakes_in_what_the_proxy_counts_are_told_with_their_place() {
    let with = |metric: &str| {
        format!(
            "services:\n  shop:\n    listen: 8080\n    stable: {{ version: v1, run: a }}\n    metrics:\n      m: {metric}"
        )
    };
    for (metric, expected) in [
        (
            "{ kind: conversion, hit: POST checkout, of: GET /cart }",
            &[
                "6:35: services.shop.metrics.m.hit: no path in \"POST checkout\"; expected [METHOD] PATH [STATUS]",
            ][..],
        ),
        (
            "{ kind: conversion, hit: POST /checkout 2x, of: get /cart }",
            &[
                "metrics.m.hit: \"2x\" is no status",
                "metrics.m.of: \"get\" is no method",
            ],
        ),
        (
            "{ kind: conversion, hit: POST /checkout 2xx }",
            &["metrics.m: of is missing"],
        ),
        (
            "{ kind: gauge, hit: POST /checkout 2xx, of: GET /cart }",
            &[
                "metrics.m.kind: hits among requests are a share of them; expected conversion or ratio",
            ],
        ),
        (
            "{ kind: conversion, source: prom, hit: POST /checkout 2xx, of: GET /cart }",
            &["metrics.m.source: hit and of are counted by the proxy itself; expected no source"],
        ),
        (
            "{ kind: conversion, source: proxy, query: 'a {{version}}' }",
            &["metrics.m.source: nothing for the proxy to count; expected hit and of"],
        ),
        (
            "{ kind: conversion, hit: /a 2xx, of: /b, query: up, within: 2h }",
            &[
                "metrics.m.query: the proxy is asked nothing",
                "metrics.m.within: expected 1s to 1h",
            ],
        ),
        (
            "{ kind: conversion, hit: /a 2xx, of: /b, staleAfter: 1m }",
            &["metrics.m.staleAfter: data would be old before it counts"],
        ),
        (
            "{ kind: conversion, hit: /a, of: '* /a' }",
            &["metrics.m.hit: the same as of"],
        ),
    ] {
        check_mistakes(&with(metric), expected);
    }
    let taken = "sources: { proxy: { prometheus: http://127.0.0.1:9090 } }\n".to_owned()
        + &with("{ kind: conversion, hit: /a, of: /b }");
    check_mistakes(&taken, &["the proxy itself has this name"]);
}

#[test]
fn a_step_that_is_too_short_for_late_hits_is_advised_against() {
    let advice = |hold: &str| {
        let text = format!(
            "services: {{ shop: {{ listen: 8080, stable: {{ version: v1, run: a }}, health: {{ path: /health }}, rollout: {{ hold: {hold}, sampling: {{ window: 10s }} }}, metrics: {{ m: {{ kind: conversion, hit: POST /buy, of: GET /cart }} }} }} }}"
        );
        let found = lint::lint_file(&file::parse(&text).unwrap(), None).into_iter();
        let unseen = found.filter(|one| one.rule.id == "unseen-conversion");
        unseen.map(|one| one.path).collect::<Vec<_>>()
    };
    assert_eq!(advice("30s"), ["services.shop.metrics.m.within"]);
    assert_eq!(advice("2m"), [""; 0]);
}

#[test]
fn systems_without_samples_of_counters_are_read() {
    let plain = "auth: { username: u, password: { env: P }, ca: { file: /ca } }";
    for (source, metric, interval) in [
        ("web: https://a/kpi".to_owned(), "kind: conversion, events: '/{{version}} $.a', exposure: 'POST ?v={{version}} $.b', limit: 2.5%", 15),
        (format!("web: https://a, headers: {{ X-Team: a }}, {plain}"), "kind: gauge, query: '/{{version}}', limit: 0.125", 15),
        ("command: [sh, -c, 'echo \"1 | 2\"; exit']".to_owned(), "kind: counter, events: sold", 15),
        (format!("skywalking: http://a, {plain}"), COUNTS, 60),
        (format!("keptn: http://a, {plain}"), "kind: gauge, query: 'keptnmetric/a/b-{{version}}', limit: 512MiB", 60),
        ("externalMetrics: http://a, auth: { clientCertificate: { file: /c }, clientKey: { env: K } }".to_owned(), "kind: gauge, query: 'a/b-{{version}}'", 60),
    ] {
        let text = of(&source, metric);
        let file = file::parse(&text).unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"));
        let again = yaml::to_yaml(&long::file_long(&file));
        assert_eq!(file::parse(&again), Ok(file.clone()), "{again}");
        let service = file.services.into_values().next().unwrap();
        let metric = service.plan.rules().metrics.first().unwrap();
        assert_eq!(metric.interval, Duration::from_secs(interval), "{text}");
        let limits = [("2.5%", 25_000), ("0.125", 125), ("512MiB", 536_870_912_000)];
        let limit = limits.into_iter().find(|(limit, _)| text.contains(&format!("limit: {limit}")));
        assert_eq!(metric.limit, limit.map(|(_, limit)| limit), "{text}");
    }
}

const GAUGE: &str = "kind: gauge, query: 'keptnmetric/a/b-{{version}}'";
const WEB: &str = "kind: gauge, query: '/{{version}} $.a'";

/// Sources, metrics of them, and what is said of both.
const REFUSED: [(&str, &str, &str); 20] = [
    (
        "web: http://a",
        "kind: gauge, query: 'kpi/{{version}}'",
        "expected [METHOD] [/PATH]",
    ),
    (
        "web: http://a",
        "kind: gauge, query: $.a",
        "the same for both versions",
    ),
    (
        "web: http://a",
        "kind: latency, query: '/{{version}}'",
        "only Prometheus answers buckets",
    ),
    (
        "web: http://a, auth: { apiKey: { env: A } }",
        WEB,
        "web takes token, or username and password; found apiKey",
    ),
    (
        "keptn: http://a",
        "kind: gauge, query: 'analysis/a/{{version}}'",
        "expected keptnmetric/NAMESPACE/NAME",
    ),
    (
        "keptn: http://a",
        "kind: ratio, events: 'keptnmetric/a/{{version}}', exposure: 'keptnmetric/b/{{version}}'",
        "expected gauge",
    ),
    (
        "skywalking: http://a",
        "kind: gauge, query: 'shop-{{version}}'",
        "expected SERVICE EXPRESSION",
    ),
    (
        "skywalking: http://a",
        "kind: counter, events: '{{version}} service_cpm'",
        "expected exposure beside events",
    ),
    ("command: a | b", "kind: gauge, query: $", "needs a shell"),
    (
        "command: a, auth: { token: { env: A } }",
        "kind: gauge, query: $",
        "command takes no credentials",
    ),
    (
        "command: a, auth: { ca: { env: A } }",
        "kind: gauge, query: $",
        "a command is no server",
    ),
    (
        "command: a, headers: { a: b }",
        "kind: gauge, query: $",
        "headers and tenant are sent to Prometheus and the web only",
    ),
    (
        "keptn: http://a, auth: { clientKey: { env: A } }",
        GAUGE,
        "clientCertificate is missing beside clientKey",
    ),
    (
        "keptn: http://a, auth: { ca: here }",
        GAUGE,
        "a secret is never written into the file",
    ),
    (
        "web: http://a",
        "kind: gauge, query: '/{{version}}', limit: 5%",
        "cannot read \"5%\"",
    ),
    (
        "web: http://a",
        "kind: gauge, query: '/{{version}}', limit: 0",
        "nothing is below 0",
    ),
    (
        "web: http://a",
        "kind: ratio, events: '/{{version}}', exposure: '/{{version}}', limit: 1.5x",
        "a limit stands alone",
    ),
    (
        "web: http://a",
        "kind: ratio, events: '/{{version}}', exposure: '/{{version}}', limit: 100%",
        "expected more than 0% and less than 100%",
    ),
    (
        "web: http://a",
        "kind: counter, events: '/{{version}}', limit: 1%",
        "events in time have no limit",
    ),
    (
        "prometheus: http://a",
        "kind: latency, query: 'b{v=\"{{version}}\"}[1m]', limit: 1%",
        "buckets tell no limit",
    ),
];

#[test]
fn what_such_systems_can_not_be_asked_is_told() {
    for (source, metric, expected) in REFUSED {
        let found = mistakes(&of(source, metric));
        let found: Vec<&String> = found
            .iter()
            .filter(|one| !one.contains("no source is named"))
            .collect();
        assert_eq!(found.len(), 1, "{source} {metric}: {found:#?}");
        assert!(found[0].contains(expected), "{expected:?} in {found:?}");
    }
}
