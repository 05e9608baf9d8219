//! The series that a service's mesh, Kubernetes and Flagger expose, with their real names and labels, for a given course of things.

use haldane_kit::watched::{Mesh, Names, Watched, Workload};

/// The service of all tests.
pub(super) const SERVICE: &str = "auth-service";

/// Upper bounds of the latency buckets in seconds, and a value that lies in each.
const BOUNDS: [(&str, &str, f64); 7] = [
    ("0.05", "50", 0.03),
    ("0.1", "100", 0.08),
    ("0.25", "250", 0.2),
    ("0.5", "500", 0.4),
    ("1", "1000", 0.8),
    ("2.5", "2500", 2.0),
    ("5", "5000", 4.0),
];

/// How fast most requests are: within 0.1 s.
const FAST: usize = 1;

/// What happens to both versions.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) stable: Version,
    pub(super) canary: Version,
    /// Flagger's status, if it is there.
    pub(super) flagger: Option<f64>,
    /// Conversions and visitors of the canary in a minute.
    pub(super) conversions: (f64, f64),
}

/// What happens to one version.
#[derive(Clone, Debug)]
pub(super) struct Version {
    /// Requests in a minute; `None` where none was ever counted.
    pub(super) requests: Option<f64>,
    /// The share of them that fails.
    pub(super) failed: f64,
    /// The share of them in a bucket of its own, by the bucket's number.
    pub(super) slow: (usize, f64),
    pub(super) wanted: f64,
    pub(super) ready: f64,
    pub(super) is_progressing: bool,
    pub(super) pod: Pod,
}

/// What happens to a pod.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub(super) is_running: bool,
    pub(super) is_ready: bool,
    pub(super) is_looping: bool,
    pub(super) restarts_per_minute: f64,
    pub(super) readiness_failures_per_minute: f64,
    pub(super) liveness_failures_per_minute: f64,
    /// The share that it uses of its limit of half a processor.
    pub(super) cpu: f64,
    pub(super) memory_mib: f64,
}

/// A series in one stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Sample {
    /// A counter that grows by so much in a minute.
    Rate(f64),
    /// A gauge.
    Value(f64),
}

impl Default for World {
    /// All is well: a tenth of the traffic goes to the canary.
    fn default() -> Self {
        let canary = Version {
            requests: Some(60.0),
            failed: 0.005,
            slow: (FAST, 0.0),
            wanted: 2.0,
            ready: 2.0,
            is_progressing: true,
            pod: Pod {
                is_running: true,
                is_ready: true,
                is_looping: false,
                restarts_per_minute: 0.0,
                readiness_failures_per_minute: 0.0,
                liveness_failures_per_minute: 0.0,
                cpu: 0.4,
                memory_mib: 100.0,
            },
        };
        Self {
            stable: Version {
                requests: Some(540.0),
                wanted: 3.0,
                ready: 3.0,
                ..canary.clone()
            },
            canary,
            flagger: None,
            conversions: (12.0, 100.0),
        }
    }
}

/// Returns the service as it is watched.
pub(super) fn watched(mesh: Mesh, workload: Workload) -> Watched {
    let names = Names {
        service: SERVICE.to_owned(),
        namespace: "orion".to_owned(),
        stable: match workload {
            Workload::Pair => "auth-service-stable".to_owned(),
            Workload::Deployment => SERVICE.to_owned(),
        },
        canary: "auth-service-canary".to_owned(),
    };
    Watched::try_new(names, workload, mesh).unwrap()
}

/// Returns the names of the Deployment and of the Service of a version.
fn names(side: &str, workload: Workload) -> (String, String) {
    match (workload, side) {
        (Workload::Pair, _) => (format!("{SERVICE}-{side}"), format!("{SERVICE}-{side}")),
        (Workload::Deployment, "stable") => (SERVICE.to_owned(), SERVICE.to_owned()),
        (Workload::Deployment, _) => (
            format!("{SERVICE}-{side}-4be0a1c9"),
            format!("{SERVICE}-{side}"),
        ),
    }
}

impl World {
    /// Returns all series, and those of others with names alike, which fail all the time.
    pub(super) fn series(&self, mesh: Mesh, workload: Workload) -> Vec<(String, Sample)> {
        let mut series = Vec::new();
        for (side, version) in [("stable", &self.stable), ("canary", &self.canary)] {
            let (deployment, service) = names(side, workload);
            let name = match mesh {
                Mesh::Istio | Mesh::Linkerd => &deployment,
                Mesh::Nginx | Mesh::Contour | Mesh::Traefik | Mesh::Http => &service,
            };
            series.extend(version.requests(mesh, "orion", SERVICE, name, side));
            series.extend(version.objects("orion", &deployment));
        }
        let failing = Version {
            failed: 1.0,
            slow: (6, 1.0),
            ready: 0.0,
            ..self.canary.clone()
        };
        series.extend(failing.requests(mesh, "other", SERVICE, "auth-service-canary", "canary"));
        series.extend(failing.objects("other", "auth-service-canary"));
        series.extend(failing.objects("orion", "auth-service-canary-debug"));
        if let Some(status) = self.flagger {
            let labels = r#"{name="auth-service",namespace="orion"}"#;
            series.push((
                format!("flagger_canary_status{labels}"),
                Sample::Value(status),
            ));
        }
        let (sold, seen) = self.conversions;
        let labels = r#"{version="canary"}"#;
        series.push((format!("orders_total{labels}"), Sample::Rate(sold)));
        series.push((format!("visitors_total{labels}"), Sample::Rate(seen)));
        series
    }
}

impl Version {
    fn requests(
        &self,
        mesh: Mesh,
        namespace: &str,
        service: &str,
        name: &str,
        side: &str,
    ) -> Vec<(String, Sample)> {
        let Some(all) = self.requests else {
            return Vec::new();
        };
        let Seen {
            counter,
            labels,
            good,
            bad,
            histogram,
            is_ms,
        } = Seen::by(mesh, namespace, service, name, side);
        let mut series = vec![
            (
                format!("{counter}{{{labels},{good}}}"),
                Sample::Rate(all * (1.0 - self.failed)),
            ),
            (
                format!("{counter}{{{labels},{bad}}}"),
                Sample::Rate(all * self.failed),
            ),
        ];
        let (bucket, share) = self.slow;
        let slow = all * share;
        let mut within = 0.0;
        let mut sum = 0.0;
        for (index, (seconds, milliseconds, value)) in BOUNDS.into_iter().enumerate() {
            let mut here = 0.0;
            if index == FAST {
                here += all - slow;
            }
            if index == bucket {
                here += slow;
            }
            within += here;
            sum += here * if is_ms { value * 1_000.0 } else { value };
            let bound = if is_ms { milliseconds } else { seconds };
            series.push((
                format!("{histogram}_bucket{{{labels},le=\"{bound}\"}}"),
                Sample::Rate(within),
            ));
        }
        series.extend([
            (
                format!("{histogram}_bucket{{{labels},le=\"+Inf\"}}"),
                Sample::Rate(all),
            ),
            (format!("{histogram}_sum{{{labels}}}"), Sample::Rate(sum)),
        ]);
        let count = format!("{histogram}_count");
        // Traefik's counter is the histogram's own.
        if count != counter {
            series.push((format!("{count}{{{labels}}}"), Sample::Rate(all)));
        }
        series
    }

    /// What kube-state-metrics, cAdvisor and the kubelet expose.
    fn objects(&self, namespace: &str, name: &str) -> Vec<(String, Sample)> {
        let deployment = format!(r#"namespace="{namespace}",deployment="{name}""#);
        let pod = format!(r#"namespace="{namespace}",pod="{name}-7d4b9c6f5-x2x9k""#);
        let container = format!(r#"{pod},container="auth""#);
        let value = |is: bool| Sample::Value(f64::from(u8::from(is)));
        let mib = |mib: f64| Sample::Value(mib * 1_048_576.0);
        let of = |metric: &str, labels: &str, more: &str, sample| {
            (format!("{metric}{{{labels}{more}}}"), sample)
        };
        let mut series = vec![
            of(
                "kube_deployment_spec_replicas",
                &deployment,
                "",
                Sample::Value(self.wanted),
            ),
            of(
                "kube_deployment_status_replicas_ready",
                &deployment,
                "",
                Sample::Value(self.ready),
            ),
            of(
                "kube_deployment_status_condition",
                &deployment,
                r#",condition="Progressing",status="false""#,
                value(!self.is_progressing),
            ),
            of(
                "kube_pod_container_resource_limits",
                &container,
                r#",resource="cpu",unit="core""#,
                Sample::Value(0.5),
            ),
            of(
                "kube_pod_container_resource_limits",
                &container,
                r#",resource="memory",unit="byte""#,
                mib(200.0),
            ),
            of(
                "container_cpu_usage_seconds_total",
                &container,
                r#",cpu="total",id="/kubepods/x""#,
                Sample::Rate(self.pod.cpu * 0.5 * 60.0),
            ),
            // The sandbox of the pod.
            of(
                "container_cpu_usage_seconds_total",
                &pod,
                r#",container="""#,
                Sample::Rate(90.0),
            ),
            of(
                "container_memory_working_set_bytes",
                &container,
                r#",id="/kubepods/x""#,
                mib(self.pod.memory_mib),
            ),
        ];
        series.extend(self.pod.health(&pod, &container));
        series
    }
}

impl Pod {
    fn health(&self, pod: &str, container: &str) -> Vec<(String, Sample)> {
        let value = |is: bool| Sample::Value(f64::from(u8::from(is)));
        vec![
            (
                format!("kube_pod_container_status_restarts_total{{{container}}}"),
                Sample::Rate(self.restarts_per_minute),
            ),
            (
                format!(
                    "kube_pod_container_status_waiting_reason{{{container},reason=\"CrashLoopBackOff\"}}"
                ),
                value(self.is_looping),
            ),
            (
                format!("kube_pod_status_ready{{{pod},condition=\"false\"}}"),
                value(!self.is_ready),
            ),
            (
                format!("kube_pod_status_phase{{{pod},phase=\"Running\"}}"),
                value(self.is_running),
            ),
            (
                format!(
                    "prober_probe_total{{{container},probe_type=\"Readiness\",result=\"failed\"}}"
                ),
                Sample::Rate(self.readiness_failures_per_minute),
            ),
            (
                format!(
                    "prober_probe_total{{{container},probe_type=\"Liveness\",result=\"failed\"}}"
                ),
                Sample::Rate(self.liveness_failures_per_minute),
            ),
        ]
    }
}

/// How a mesh sees a version.
#[derive(Debug)]
struct Seen {
    counter: &'static str,
    labels: String,
    good: &'static str,
    bad: &'static str,
    histogram: &'static str,
    is_ms: bool,
}

impl Seen {
    fn by(mesh: Mesh, namespace: &str, service: &str, name: &str, side: &str) -> Self {
        match mesh {
            Mesh::Istio => Self {
                counter: "istio_requests_total",
                labels: format!(
                    r#"reporter="destination",destination_workload_namespace="{namespace}",destination_workload="{name}""#
                ),
                good: r#"response_code="200""#,
                bad: r#"response_code="503""#,
                histogram: "istio_request_duration_milliseconds",
                is_ms: true,
            },
            Mesh::Linkerd => Self {
                counter: "response_total",
                labels: format!(
                    r#"namespace="{namespace}",deployment="{name}",direction="inbound""#
                ),
                good: r#"classification="success",status_code="200""#,
                bad: r#"classification="failure",status_code="500""#,
                histogram: "response_latency_ms",
                is_ms: true,
            },
            Mesh::Nginx => Self {
                counter: "nginx_ingress_controller_requests",
                labels: match side {
                    "canary" => format!(
                        r#"namespace="{namespace}",ingress="{service}",canary="{namespace}-{name}-80""#
                    ),
                    _ => format!(r#"namespace="{namespace}",ingress="{service}",canary="""#),
                },
                good: r#"status="200""#,
                bad: r#"status="502""#,
                histogram: "nginx_ingress_controller_response_duration_seconds",
                is_ms: false,
            },
            Mesh::Contour => Self {
                counter: "envoy_cluster_upstream_rq",
                labels: format!(r#"envoy_cluster_name="{namespace}_{name}_80""#),
                good: r#"envoy_response_code="200""#,
                bad: r#"envoy_response_code="503""#,
                histogram: "envoy_cluster_upstream_rq_time",
                is_ms: true,
            },
            Mesh::Traefik => Self {
                counter: "traefik_service_request_duration_seconds_count",
                labels: format!(r#"service="{namespace}-{name}-80@kubernetescrd""#),
                good: r#"code="200""#,
                bad: r#"code="500""#,
                histogram: "traefik_service_request_duration_seconds",
                is_ms: false,
            },
            Mesh::Http => Self {
                counter: "http_requests_total",
                // These series know no namespace but that of their pod.
                labels: format!(
                    r#"service="{}",version="{side}""#,
                    if namespace == "orion" {
                        service
                    } else {
                        "other"
                    }
                ),
                good: r#"code="200""#,
                bad: r#"code="500""#,
                histogram: "http_request_duration_seconds",
                is_ms: false,
            },
        }
    }
}
