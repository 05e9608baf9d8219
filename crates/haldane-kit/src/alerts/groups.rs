//! The alerts, group by group.
//!
//! Haldane rolls back by itself, long before most of these fire. They are for what it can't do: tell a person, watch a canary that
//! nobody judges, and notice a rollout that stands still.

use crate::{
    alerts::{Alert, Group, ROLLBACK_TRIGGERS, Request, Rule, Severity},
    decimal::{decimal, duration, percent, seconds},
    watched::{Side, Watched},
};

/// Returns the eight groups, and those that were asked for.
pub(super) fn list(request: &Request) -> Vec<Group> {
    let mut groups = vec![
        group("canary-error-rate", error_rate(request)),
        group("canary-latency", latency(request)),
        group("canary-availability", availability(request)),
        group("canary-resources", resources(request)),
        group("canary-traffic", traffic(request)),
        group("canary-deployment", deployment(request)),
        group("canary-health-checks", health_checks(request)),
        group("canary-progressive-delivery", progress(request)),
        group("canary-users", users(request)),
    ];
    if request.has_flagger {
        groups.push(group("canary-flagger", flagger(request)));
    }
    groups
}

fn group(name: &'static str, alerts: Vec<Alert>) -> Group {
    let rules = alerts.into_iter().map(Rule::Alert).collect();
    Group { name, rules }
}

fn error_rate(request: &Request) -> Vec<Alert> {
    let (of, sel) = (of(request), request.watched.recorded());
    let enough = enough(request);
    let ppm = request.thresholds.error_rate_ppm;
    vec![
        Alert {
            name: "CanaryHighErrorRate",
            severity: Severity::Critical,
            minutes: 1,
            expr: format!(
                "canary:error_rate:5m{sel} > {}\nand {enough}",
                decimal(ppm, 1_000_000)
            ),
            summary: format!(
                "More than {} of the requests to the canary of {of} fail",
                percent(ppm)
            ),
            description: format!(
                "{{{{ $value | humanizePercentage }}}} of the canary's requests failed in the last 5 minutes; the limit is {}.",
                percent(ppm)
            ),
        },
        Alert {
            name: "CanaryErrorRateHigherThanStable",
            severity: Severity::Warning,
            minutes: 5,
            expr: format!(
                "canary:error_rate:5m{sel} > 2 * stable:error_rate:5m{sel}\nand canary:error_rate:5m{sel} > 0.01\nand {enough}"
            ),
            summary: format!("The canary of {of} fails more than twice as often as stable"),
            description:
                "{{ $value | humanizePercentage }} of the canary's requests failed in the last 5 minutes, more than twice stable's share."
                    .to_owned(),
        },
    ]
}

fn latency(request: &Request) -> Vec<Alert> {
    let (of, sel, enough) = (of(request), request.watched.recorded(), enough(request));
    let over = |name, severity, minutes, quantile: &str, limit| Alert {
        name,
        severity,
        minutes,
        expr: format!(
            "canary:latency_{quantile}:5m{sel} > {}\nand {enough}",
            seconds(limit)
        ),
        summary: format!(
            "The {quantile} latency of the canary of {of} is above {}",
            duration(limit)
        ),
        description: format!(
            "The canary's {quantile} latency is {{{{ $value | humanizeDuration }}}} over the last 5 minutes; the limit is {}.",
            duration(limit)
        ),
    };
    let stable = request.watched.quantile(Side::Stable, "0.95");
    let limits = &request.thresholds;
    vec![
        over("CanaryHighLatencyP95", Severity::Warning, 5, "p95", limits.latency_p95),
        over("CanaryHighLatencyP99", Severity::Critical, 2, "p99", limits.latency_p99),
        Alert {
            name: "CanaryLatencyHigherThanStable",
            severity: Severity::Warning,
            minutes: 5,
            expr: format!(
                "canary:latency_p95:5m{sel}\n> on ()\n1.5 * {stable}\nand on () {enough}"
            ),
            summary: format!("The canary of {of} is more than 1.5 times as slow as stable"),
            description:
                "The canary's p95 latency is {{ $value | humanizeDuration }}, more than 1.5 times stable's."
                    .to_owned(),
        },
    ]
}

fn availability(request: &Request) -> Vec<Alert> {
    let (of, sel, enough) = (of(request), request.watched.recorded(), enough(request));
    let canary = request.watched.deployment(Side::Canary);
    let ppm = request.thresholds.success_rate_ppm;
    vec![
        Alert {
            name: "CanaryLowSuccessRate",
            severity: Severity::Critical,
            minutes: 2,
            expr: format!(
                "canary:success_rate:5m{sel} < {}\nand {enough}",
                decimal(ppm, 1_000_000)
            ),
            summary: format!(
                "Less than {} of the requests to the canary of {of} succeed",
                percent(ppm)
            ),
            description: format!(
                "{{{{ $value | humanizePercentage }}}} of the canary's requests succeeded in the last 5 minutes; at least {} must.",
                percent(ppm)
            ),
        },
        Alert {
            name: "CanaryPodsNotReady",
            severity: Severity::Warning,
            minutes: 5,
            expr: format!(
                "kube_deployment_spec_replicas{{{canary}}}\n- kube_deployment_status_replicas_ready{{{canary}}} > 0"
            ),
            summary: format!("Pods of the canary of {of} are not ready"),
            description: "{{ $value }} of the canary's pods have not been ready for 5 minutes."
                .to_owned(),
        },
    ]
}

fn resources(request: &Request) -> Vec<Alert> {
    let (of, sel) = (of(request), request.watched.recorded());
    let over = |name, figure: &str, what: &str, ppm| Alert {
        name,
        severity: Severity::Warning,
        minutes: 5,
        expr: format!("canary:{figure}:5m{sel} > {}", decimal(ppm, 1_000_000)),
        summary: format!(
            "The canary of {of} uses more than {} of its {what}",
            percent(ppm)
        ),
        description: format!(
            "The canary's busiest container uses {{{{ $value | humanizePercentage }}}} of the {what} that it may use."
        ),
    };
    let [canary, stable] =
        [Side::Canary, Side::Stable].map(|side| request.watched.memory_bytes(side));
    let limits = &request.thresholds;
    vec![
        over("CanaryHighCPUUsage", "cpu_usage", "processor time", limits.cpu_ppm),
        over("CanaryHighMemoryUsage", "memory_usage", "memory", limits.memory_ppm),
        Alert {
            name: "CanaryMemoryUsageHigherThanStable",
            severity: Severity::Info,
            minutes: 15,
            expr: format!("{canary}\n> 1.5 * {stable}"),
            summary: format!(
                "A pod of the canary of {of} holds more than 1.5 times as much memory as one of stable"
            ),
            description:
                "A pod of the canary holds {{ $value | humanize1024 }}B in memory, more than 1.5 times what one of stable does."
                    .to_owned(),
        },
    ]
}

fn traffic(request: &Request) -> Vec<Alert> {
    let (of, sel) = (of(request), request.watched.recorded());
    let canary = request.watched.deployment(Side::Canary);
    let stable = request.watched.request_rate(Side::Stable);
    let ppm = request.thresholds.traffic_ppm;
    vec![
        Alert {
            name: "CanaryReceivingNoTraffic",
            severity: Severity::Warning,
            minutes: 10,
            expr: format!(
                "(sum(canary:request_rate:5m{sel}) or vector(0)) == 0\n\
                 and on () kube_deployment_status_replicas_ready{{{canary}}} > 0\nand on () {stable} > 0"
            ),
            summary: format!("The canary of {of} is ready, but gets no requests"),
            description:
                "No request reached the canary in the last 10 minutes, while stable was asked. What nobody asks can't be judged."
                    .to_owned(),
        },
        Alert {
            name: "CanaryTrafficSplitMisconfigured",
            severity: Severity::Warning,
            minutes: 15,
            expr: format!(
                "canary:traffic_percentage:5m{sel} > {}",
                decimal(ppm, 10_000)
            ),
            summary: format!(
                "The canary of {of} gets more than {} of the traffic",
                percent(ppm)
            ),
            description: format!(
                "The canary gets {{{{ $value | printf \"%.1f\" }}}}% of the requests, and has got more than {} for 15 minutes.",
                percent(ppm)
            ),
        },
    ]
}

fn deployment(request: &Request) -> Vec<Alert> {
    let of = of(request);
    let [canary, stable] =
        [Side::Canary, Side::Stable].map(|side| request.watched.deployment(side));
    let time = hours(request.thresholds.running_minutes);
    vec![
        Alert {
            name: "CanaryVersionDivergence",
            severity: Severity::Info,
            minutes: 5,
            expr: format!(
                "kube_deployment_status_replicas_ready{{{canary}}} > 0\n\
                 unless on () kube_deployment_status_replicas_ready{{{stable}}} > 0"
            ),
            summary: format!("The canary of {of} runs without a stable version beside it"),
            description:
                "{{ $value }} pods of the canary are ready and none of stable: there is nothing to compare with, and nothing to go back to."
                    .to_owned(),
        },
        Alert {
            name: "CanaryStagnant",
            severity: Severity::Info,
            minutes: 5,
            expr: format!(
                "min_over_time(kube_deployment_spec_replicas{{{canary}}}[{time}]) > 0\n\
                 and kube_deployment_spec_replicas{{{canary}}} offset {time} > 0"
            ),
            summary: format!("A canary of {of} has been running for more than {time}"),
            description: format!(
                "The canary has had replicas for more than {time}: promote it or abort it."
            ),
        },
    ]
}

fn health_checks(request: &Request) -> Vec<Alert> {
    let of = of(request);
    let pods = request.watched.pods(Side::Canary);
    let probes = |kind: &str| {
        format!(
            "sum by (pod) (increase(prober_probe_total{{{pods},probe_type=\"{kind}\",result=\"failed\"}}[5m])) > 2"
        )
    };
    vec![
        Alert {
            name: "CanaryPodCrashLooping",
            severity: Severity::Critical,
            minutes: 1,
            expr: format!(
                "sum by (pod) (increase(kube_pod_container_status_restarts_total{{{pods}}}[10m])) > 2\n\
                 or max by (pod) (max_over_time(kube_pod_container_status_waiting_reason{{{pods},reason=\"CrashLoopBackOff\"}}[5m])) > 0"
            ),
            summary: format!("A pod of the canary of {of} crashes again and again"),
            description:
                "The pod {{ $labels.pod }} waits to be started again after a crash, or was started more than twice in 10 minutes."
                    .to_owned(),
        },
        Alert {
            name: "CanaryReadinessProbesFailing",
            severity: Severity::Warning,
            minutes: 5,
            expr: format!(
                "{}\nor\nmax by (pod) (kube_pod_status_ready{{{pods},condition=\"false\"}}) > 0\n\
                 and max by (pod) (kube_pod_status_phase{{{pods},phase=\"Running\"}}) > 0",
                probes("Readiness")
            ),
            summary: format!("A pod of the canary of {of} runs, but is not ready"),
            description: "The readiness probe of the pod {{ $labels.pod }} has failed for 5 minutes."
                .to_owned(),
        },
        Alert {
            name: "CanaryLivenessProbesFailing",
            severity: Severity::Critical,
            minutes: 1,
            expr: probes("Liveness"),
            summary: format!("The liveness probe of a pod of the canary of {of} fails"),
            description:
                "The liveness probe of the pod {{ $labels.pod }} failed {{ $value | printf \"%.0f\" }} times in 5 minutes."
                    .to_owned(),
        },
    ]
}

fn progress(request: &Request) -> Vec<Alert> {
    let (of, sel) = (of(request), request.watched.recorded());
    let canary = request.watched.deployment(Side::Canary);
    let names = request.watched.names();
    let minutes = request.thresholds.stalled_minutes;
    let half = minutes.div_ceil(2);
    let share = format!("canary:traffic_percentage:5m{sel}");
    vec![
        Alert {
            name: "CanaryRolloutStalled",
            severity: Severity::Warning,
            minutes: 10,
            expr: format!(
                "{share} > 0.5\nand {share} < 99.5\nand {share} offset {minutes}m > 0.5\n\
                 and abs(avg_over_time({share}[{half}m]) - avg_over_time({share}[{half}m] offset {half}m)) < 2\n\
                 or on () kube_deployment_status_condition{{{canary},condition=\"Progressing\",status=\"false\"}} == 1"
            ),
            summary: format!("The rollout of {of} does not go on"),
            description: format!(
                "The canary's share of the traffic has been the same for more than {}, or its Deployment does not progress.",
                hours(minutes)
            ),
        },
        Alert {
            name: "CanaryAutomatedRollbackRecommended",
            severity: Severity::Critical,
            minutes: 0,
            expr: format!(
                "count(ALERTS{{alertstate=\"firing\",namespace=\"{}\",service=\"{}\",alertname=~\"{}\"}}) > 0",
                names.namespace,
                names.service,
                ROLLBACK_TRIGGERS.join("|")
            ),
            summary: format!("The canary of {of} should be rolled back"),
            description:
                "{{ $value }} critical alerts about the canary fire. Haldane rolls back by itself where the plan says so; else: haldane abort."
                    .to_owned(),
        },
    ]
}

fn users(request: &Request) -> Vec<Alert> {
    let (of, enough) = (of(request), enough(request));
    let (limit, ppm) = (
        request.thresholds.latency_mean,
        request.thresholds.conversion_ppm,
    );
    let mut alerts = vec![Alert {
        name: "CanaryHighMeanLatency",
        severity: Severity::Warning,
        minutes: 2,
        expr: format!(
            "{} > {}\nand on () {enough}",
            request.watched.mean(Side::Canary),
            seconds(limit)
        ),
        summary: format!(
            "The mean latency of the canary of {of} is above {}",
            duration(limit)
        ),
        description: format!(
            "The canary needs {{{{ $value | humanizeDuration }}}} for a request on average; the limit is {}.",
            duration(limit)
        ),
    }];
    if let Some(conversion) = &request.conversion {
        let (sold, seen) = (&conversion.conversions, &conversion.visitors);
        alerts.push(Alert {
            name: "CanaryLowConversionRate",
            severity: Severity::Warning,
            minutes: 10,
            expr: format!(
                "(sum(increase({sold}[30m])) or vector(0)) / sum(increase({seen}[30m])) < {}\n\
                 and sum(increase({seen}[30m])) >= 100",
                decimal(ppm, 1_000_000)
            ),
            summary: format!(
                "Less than {} of the visitors of the canary of {of} convert",
                percent(ppm)
            ),
            description: format!(
                "{{{{ $value | humanizePercentage }}}} of the canary's visitors converted in the last 30 minutes; at least {} should.",
                percent(ppm)
            ),
        });
    }
    alerts
}

/// Flagger's status is 0 while a canary runs, 1 when it is well and 2 when it has failed.
fn flagger(request: &Request) -> Vec<Alert> {
    let of = of(request);
    let names = request.watched.names();
    let status = format!(
        "flagger_canary_status{{namespace=\"{}\",name=\"{}\"}}",
        names.namespace, names.service
    );
    vec![
        Alert {
            name: "CanaryFailed",
            severity: Severity::Warning,
            minutes: 1,
            expr: format!("{status} > 1"),
            summary: format!("Flagger rolled the canary of {of} back"),
            description:
                "Flagger's analysis of {{ $labels.name }} in {{ $labels.namespace }} failed."
                    .to_owned(),
        },
        Alert {
            name: "CanaryStuck",
            severity: Severity::Critical,
            minutes: 30,
            expr: format!("{status} == 0"),
            summary: format!("Flagger's canary of {of} is stuck"),
            description:
                "The canary of {{ $labels.name }} has been analyzed for more than 30 minutes."
                    .to_owned(),
        },
    ]
}

/// Returns what an alert is about.
fn of(request: &Request) -> String {
    let names = request.watched.names();
    format!("{}/{}", names.namespace, names.service)
}

/// Returns whether there were so many requests that shares and latencies say something.
fn enough(
    Request {
        watched,
        thresholds,
        ..
    }: &Request,
) -> String {
    let sel = Watched::recorded(watched);
    format!(
        "canary:request_rate:5m{sel} * 300 >= {}",
        thresholds.requests_min
    )
}

/// Returns a time of minutes, in hours where it is whole ones.
fn hours(minutes: u64) -> String {
    if minutes.is_multiple_of(60) {
        format!("{}h", minutes / 60)
    } else {
        format!("{minutes}m")
    }
}
