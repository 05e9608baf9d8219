//! What the panels of each dashboard ask.

use std::time::Duration;

use crate::{
    alerts::Thresholds,
    dashboard::panel::{Limit, Panel, Shape},
    watched::{Side, Watched},
};

/// The matchers of what was chosen.
const CHOSEN: &str = r#"namespace=~"$namespace",service=~"$service""#;

/// The name of a series among those of many services.
const BY_SERVICE: &str = "{{namespace}}/{{service}}";

/// Both versions, each with its name.
const SIDES: [(&str, Side); 2] = [("stable", Side::Stable), ("canary", Side::Canary)];

pub(super) fn overview(thresholds: &Thresholds) -> Vec<Panel> {
    let lines = |title, unit, limit, figure| Panel {
        title,
        shape: Shape::Lines,
        unit,
        limit,
        queries: vec![(BY_SERVICE, recorded(figure))],
    };
    let share = |title, limit, figure| lines(title, "percentunit", limit, figure);
    let errors = Some(Limit::Above(thresholds.error_rate_ppm));
    let success = Some(Limit::Below(thresholds.success_rate_ppm));
    let [cpu, memory] =
        [thresholds.cpu_ppm, thresholds.memory_ppm].map(|ppm| Some(Limit::Above(ppm)));
    let [p95, p99] = [thresholds.latency_p95, thresholds.latency_p99].map(above);
    let mut panels = vec![
        lines(
            "The canary's share of the traffic",
            "percent",
            None,
            "canary:traffic_percentage",
        ),
        lines(
            "Requests to the canary",
            "reqps",
            None,
            "canary:request_rate",
        ),
        share("Error rate of the canary", errors, "canary:error_rate"),
        share("Error rate of stable", errors, "stable:error_rate"),
        share("Success rate of the canary", success, "canary:success_rate"),
        lines("p50 of the canary", "s", None, "canary:latency_p50"),
        lines("p95 of the canary", "s", p95, "canary:latency_p95"),
        lines("p99 of the canary", "s", p99, "canary:latency_p99"),
        share(
            "Processor time of the canary, share of its limit",
            cpu,
            "canary:cpu_usage",
        ),
        share(
            "Memory of the canary, share of its limit",
            memory,
            "canary:memory_usage",
        ),
        firing(alerts()),
    ];
    panels.splice(0..0, worst(errors, p95));
    panels
}

/// Returns how many canaries and alerts there are, and the worst figures of all.
fn worst(errors: Option<Limit>, p95: Option<Limit>) -> [Panel; 4] {
    let with_traffic = format!(
        "count({} > 0) or vector(0)",
        recorded("canary:request_rate")
    );
    let firing = format!("count({}) or vector(0)", alerts());
    let max = |figure| format!("max({})", recorded(figure));
    [
        number("Canaries with traffic", "none", None, with_traffic),
        number(
            "How many alerts fire",
            "none",
            Some(Limit::Above(1_000_000)),
            firing,
        ),
        number(
            "Highest error rate",
            "percentunit",
            errors,
            max("canary:error_rate"),
        ),
        number("Slowest p95", "s", p95, max("canary:latency_p95")),
    ]
}

pub(super) fn rollouts() -> Vec<Panel> {
    let bars = |title, unit, figure: &str| Panel {
        title,
        shape: Shape::Bars,
        unit,
        limit: None,
        queries: vec![(BY_SERVICE, recorded(figure))],
    };
    let lines = |title, unit, legend, query: &str| Panel {
        title,
        shape: Shape::Lines,
        unit,
        limit: None,
        queries: vec![(legend, query.to_owned())],
    };
    vec![
        bars(
            "The canary's share of the traffic now",
            "percent",
            "canary:traffic_percentage",
        ),
        bars(
            "Error rate of the canary now",
            "percentunit",
            "canary:error_rate",
        ),
        lines(
            "The canary's share of the traffic",
            "percent",
            BY_SERVICE,
            &recorded("canary:traffic_percentage"),
        ),
        firing(alerts()),
        lines(
            "Weights of Haldane's own proxy",
            "percentunit",
            "{{service}} {{version}}",
            "haldane_proxy_weight_ratio",
        ),
        lines(
            "Controllers that lead",
            "none",
            "controllers",
            "sum(haldane_controller_leader)",
        ),
        lines(
            "Decisions of the controller",
            "ops",
            "{{result}}",
            "sum by (result) (rate(haldane_controller_turns_total[5m]))",
        ),
        lines(
            "Writes of the controller",
            "ops",
            "{{kind}} {{result}}",
            "sum by (kind, result) (rate(haldane_controller_writes_total[5m]))",
        ),
        lines(
            "Releases that wait for their turn",
            "none",
            "releases",
            "sum(haldane_controller_queue_depth)",
        ),
        lines(
            "p99 of the controller's writes",
            "s",
            "p99",
            "histogram_quantile(0.99, sum by (le) (rate(haldane_controller_write_duration_seconds_bucket[5m])))",
        ),
    ]
}

pub(super) fn service(watched: &Watched, thresholds: &Thresholds) -> Vec<Panel> {
    let canary = Side::Canary;
    let mut panels = vec![
        number(
            "The canary's share now",
            "percent",
            None,
            watched.traffic_percentage(),
        ),
        number(
            "Error rate of the canary now",
            "percentunit",
            Some(Limit::Above(thresholds.error_rate_ppm)),
            watched.error_rate(canary),
        ),
        number(
            "p95 of the canary now",
            "s",
            above(thresholds.latency_p95),
            watched.quantile(canary, "0.95"),
        ),
        number(
            "Success rate of the canary now",
            "percentunit",
            Some(Limit::Below(thresholds.success_rate_ppm)),
            format!("1 - {}", watched.error_rate(canary)),
        ),
        both("Requests", "reqps", None, |side| watched.request_rate(side)),
        error_rates(watched, thresholds),
        p(watched, "p50", "0.5", None),
        p(watched, "p95", "0.95", above(thresholds.latency_p95)),
        p(watched, "p99", "0.99", above(thresholds.latency_p99)),
        both(
            "Mean latency",
            "s",
            above(thresholds.latency_mean),
            |side| watched.mean(side),
        ),
    ];
    panels.extend(pods(watched, thresholds));
    let names = watched.names();
    panels.push(firing(format!(
        r#"ALERTS{{alertname=~"Canary.+",alertstate="firing",namespace="{}",service="{}"}}"#,
        names.namespace, names.service
    )));
    panels
}

/// Returns what the pods need and how they are.
fn pods(watched: &Watched, thresholds: &Thresholds) -> Vec<Panel> {
    let of_pods = |side, query: &str| query.replace("PODS", &watched.pods(side));
    vec![
        both(
            "Processor time, share of the limit",
            "percentunit",
            Some(Limit::Above(thresholds.cpu_ppm)),
            |side| watched.cpu_usage(side),
        ),
        both(
            "Memory, share of the limit",
            "percentunit",
            Some(Limit::Above(thresholds.memory_ppm)),
            |side| watched.memory_usage(side),
        ),
        both("Memory of a pod", "bytes", None, |side| {
            watched.memory_bytes(side)
        }),
        both("Pods that are ready", "none", None, |side| {
            let deployment = watched.deployment(side);
            format!("sum(kube_deployment_status_replicas_ready{{{deployment}}})")
        }),
        both("Restarts in an hour", "none", None, |side| {
            of_pods(
                side,
                "sum(increase(kube_pod_container_status_restarts_total{PODS}[1h]))",
            )
        }),
        both("Age of the oldest pod", "s", None, |side| {
            of_pods(side, "time() - min(kube_pod_start_time{PODS})")
        }),
        both("Network", "Bps", None, |side| {
            of_pods(
                side,
                "sum(rate(container_network_receive_bytes_total{PODS}[5m])) + sum(rate(container_network_transmit_bytes_total{PODS}[5m]))",
            )
        }),
        both("Disk", "Bps", None, |side| {
            of_pods(
                side,
                "sum(rate(container_fs_reads_bytes_total{PODS}[5m])) + sum(rate(container_fs_writes_bytes_total{PODS}[5m]))",
            )
        }),
    ]
}

pub(super) fn traffic(watched: &Watched) -> Vec<Panel> {
    vec![
        Panel {
            title: "The canary's share now",
            shape: Shape::Number,
            unit: "percent",
            limit: None,
            queries: vec![("", watched.traffic_percentage())],
        },
        Panel {
            title: "Requests now",
            shape: Shape::Number,
            unit: "reqps",
            limit: None,
            queries: SIDES
                .map(|(name, side)| (name, watched.request_rate(side)))
                .into(),
        },
        Panel {
            title: "The canary's share of the traffic",
            shape: Shape::Lines,
            unit: "percent",
            limit: None,
            queries: vec![("canary", watched.traffic_percentage())],
        },
        Panel {
            title: "Requests, one version on top of the other",
            shape: Shape::Stack,
            unit: "reqps",
            limit: None,
            queries: SIDES
                .map(|(name, side)| (name, watched.request_rate(side)))
                .into(),
        },
        both("Requests for each ready pod", "reqps", None, |side| {
            let (rate, deployment) = (watched.request_rate(side), watched.deployment(side));
            format!("{rate}\n/\nsum(kube_deployment_status_replicas_ready{{{deployment}}} > 0)")
        }),
    ]
}

pub(super) fn errors(watched: &Watched, thresholds: &Thresholds) -> Vec<Panel> {
    let by_status = |title, side| Panel {
        title,
        shape: Shape::Stack,
        unit: "reqps",
        limit: None,
        queries: vec![(
            watched.mesh().status_legend(),
            watched.request_rate_by_status(side),
        )],
    };
    let (canary, stable) = (
        watched.error_rate(Side::Canary),
        watched.error_rate(Side::Stable),
    );
    vec![
        error_rates(watched, thresholds),
        Panel {
            title: "How many times as often as stable the canary fails",
            shape: Shape::Lines,
            unit: "none",
            limit: Some(Limit::Above(2_000_000)),
            queries: vec![("canary / stable", format!("({canary})\n/\n({stable} > 0)"))],
        },
        by_status("Answers of the canary by status", Side::Canary),
        by_status("Answers of stable by status", Side::Stable),
        both("Failed requests", "reqps", None, |side| {
            format!("sum{}", watched.failure_rate(side))
        }),
        both(
            "Success rate",
            "percentunit",
            Some(Limit::Below(thresholds.success_rate_ppm)),
            |side| format!("1 - {}", watched.error_rate(side)),
        ),
    ]
}

pub(super) fn latency(watched: &Watched, thresholds: &Thresholds) -> Vec<Panel> {
    let heat = |title, side| Panel {
        title,
        shape: Shape::Heat,
        unit: watched.bucket_unit(),
        limit: None,
        queries: vec![("{{le}}", watched.heat(side))],
    };
    let (canary, stable) = (
        watched.quantile(Side::Canary, "0.95"),
        watched.quantile(Side::Stable, "0.95"),
    );
    vec![
        heat("Latency of the canary", Side::Canary),
        heat("Latency of stable", Side::Stable),
        p(watched, "p50", "0.5", None),
        p(watched, "p95", "0.95", above(thresholds.latency_p95)),
        p(watched, "p99", "0.99", above(thresholds.latency_p99)),
        both("Mean", "s", above(thresholds.latency_mean), |side| {
            watched.mean(side)
        }),
        p(watched, "Slowest bucket in use", "1", None),
        Panel {
            title: "How many times as slow as stable the canary's p95 is",
            shape: Shape::Lines,
            unit: "none",
            limit: Some(Limit::Above(1_500_000)),
            queries: vec![("canary / stable", format!("({canary})\n/\n({stable} > 0)"))],
        },
    ]
}

fn error_rates(watched: &Watched, thresholds: &Thresholds) -> Panel {
    both(
        "Error rate",
        "percentunit",
        Some(Limit::Above(thresholds.error_rate_ppm)),
        |side| watched.error_rate(side),
    )
}

fn p(watched: &Watched, title: &'static str, quantile: &str, limit: Option<Limit>) -> Panel {
    both(title, "s", limit, |side| watched.quantile(side, quantile))
}

/// Returns a recorded figure of what was chosen.
fn recorded(figure: &str) -> String {
    format!("{figure}:5m{{{CHOSEN}}}")
}

fn number(title: &'static str, unit: &'static str, limit: Option<Limit>, query: String) -> Panel {
    Panel {
        title,
        shape: Shape::Number,
        unit,
        limit,
        queries: vec![("", query)],
    }
}

/// Returns lines for both versions.
fn both(
    title: &'static str,
    unit: &'static str,
    limit: Option<Limit>,
    query: impl Fn(Side) -> String,
) -> Panel {
    Panel {
        title,
        shape: Shape::Lines,
        unit,
        limit,
        queries: SIDES.map(|(name, side)| (name, query(side))).into(),
    }
}

fn firing(query: String) -> Panel {
    Panel {
        title: "Alerts that fire",
        shape: Shape::Table,
        unit: "none",
        limit: None,
        queries: vec![("", query)],
    }
}

fn alerts() -> String {
    format!(r#"ALERTS{{alertname=~"Canary.+",alertstate="firing",{CHOSEN}}}"#)
}

fn above(limit: Duration) -> Option<Limit> {
    let micros = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
    Some(Limit::Above(micros))
}
