//! A service as its metric system sees it: what its two versions are called there, and the pieces of PromQL that ask about them.
//!
//! The queries of requests, failures and latencies are those of [`haldane_source::template`], over five minutes; those of pods are of
//! kube-state-metrics, cAdvisor and the kubelet.
//!
//! **Invariant:** every name is a DNS label, so that none needs an escape in a query, in a pattern or in YAML.

use std::{collections::BTreeMap, fmt, time::Duration};

use haldane_core::{ServiceName, name::NameError};
use haldane_source::{
    histogram::Unit,
    template::{self, Arm, Variables},
};

/// The window of all rates: the `5m` in the names of the recording rules.
const WINDOW: Duration = Duration::from_secs(300);

/// The pattern of the hash in the name of a Deployment of Haldane's own.
const HASH: &str = "[0-9a-f]+";

/// Who counts the requests of both versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mesh {
    /// Istio's sidecars or waypoints.
    Istio,
    /// Linkerd's proxies.
    Linkerd,
    /// ingress-nginx with a canary Ingress.
    Nginx,
    /// Contour's Envoy.
    Contour,
    /// Traefik.
    Traefik,
    /// The pods' own `http_requests_total` and `http_request_duration_seconds`.
    Http,
}

/// One of the two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The version that serves users.
    Stable,
    /// The version on trial.
    Canary,
}

/// How the Deployments of both versions are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Two Deployments that stay, whose names are those of both versions.
    Pair,
    /// One Deployment, stable's, and beside it for each new version one of Haldane's own: the canary's name, a dash and a hash.
    Deployment,
}

/// Names of a service and its versions, as they were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The service.
    pub service: String,
    /// Its namespace.
    pub namespace: String,
    /// The Deployment, and the Service, of stable.
    pub stable: String,
    /// The Deployment, and the Service, of the canary.
    pub canary: String,
}

/// A service whose metrics are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    names: Names,
    workload: Workload,
    mesh: Mesh,
    unit: Unit,
    stable: Arm,
    canary: Arm,
}

/// Why a service can't be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchedError {
    /// A name is no DNS label.
    #[error("the {what}: {source}")]
    Name {
        /// Which name.
        what: &'static str,
        /// What is wrong with it.
        source: NameError,
    },
    /// Both versions have the same name.
    #[error("stable and canary are both called {0:?}, so that nothing tells them apart")]
    Same(String),
    /// The names don't fit the queries.
    #[error("the queries of {mesh}: {source}")]
    Queries {
        /// Whose queries.
        mesh: Mesh,
        /// Why.
        source: haldane_source::Error,
    },
}

impl Mesh {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Istio,
        Self::Linkerd,
        Self::Nginx,
        Self::Contour,
        Self::Traefik,
        Self::Http,
    ];

    /// Returns its name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Istio => "istio",
            Self::Linkerd => "linkerd",
            Self::Nginx => "nginx",
            Self::Contour => "contour",
            Self::Traefik => "traefik",
            Self::Http => "http",
        }
    }

    /// Returns the label that holds the status of an answer.
    pub(crate) const fn status_label(self) -> &'static str {
        match self {
            Self::Istio => "response_code",
            Self::Linkerd => "status_code",
            Self::Nginx => "status",
            Self::Contour => "envoy_response_code",
            Self::Traefik | Self::Http => "code",
        }
    }

    /// Returns how Grafana names a series by that label.
    pub(crate) const fn status_legend(self) -> &'static str {
        match self {
            Self::Istio => "{{response_code}}",
            Self::Linkerd => "{{status_code}}",
            Self::Nginx => "{{status}}",
            Self::Contour => "{{envoy_response_code}}",
            Self::Traefik | Self::Http => "{{code}}",
        }
    }

    /// Returns the name of the template with its queries.
    const fn template(self) -> &'static str {
        match self {
            Self::Http => "plain",
            Self::Istio | Self::Linkerd | Self::Nginx | Self::Contour | Self::Traefik => {
                self.as_str()
            }
        }
    }
}

impl fmt::Display for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Side {
    /// Returns its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Canary => "canary",
        }
    }
}

impl Watched {
    /// Returns the service with these names.
    ///
    /// # Errors
    /// When a name is no DNS label, or both versions have the same one.
    pub fn try_new(names: Names, workload: Workload, mesh: Mesh) -> Result<Self, WatchedError> {
        for (what, name) in [
            ("service", &names.service),
            ("namespace", &names.namespace),
            ("stable Deployment", &names.stable),
            ("canary Deployment", &names.canary),
        ] {
            let read: Result<ServiceName, NameError> = name.parse();
            read.map_err(|source| WatchedError::Name { what, source })?;
        }
        if names.stable == names.canary {
            return Err(WatchedError::Same(names.stable));
        }
        let rendered = template::render(mesh.template(), &variables(&names, mesh));
        let rendered = rendered.map_err(|source| WatchedError::Queries { mesh, source })?;
        let mut canary = rendered.canary;
        if workload == Workload::Deployment {
            // Where a mesh counts by Deployment, its name ends with the hash.
            let (exact, hashed) = (
                format!("=\"{}\"", names.canary),
                format!("=~\"{}-{HASH}\"", names.canary),
            );
            for query in [
                &mut canary.requests,
                &mut canary.failures,
                &mut canary.buckets,
            ] {
                *query = query.replace(&exact, &hashed);
            }
        }
        Ok(Self {
            names,
            workload,
            mesh,
            unit: rendered.unit,
            stable: rendered.stable,
            canary,
        })
    }

    /// Returns the names.
    #[must_use]
    pub const fn names(&self) -> &Names {
        &self.names
    }

    /// Returns who counts the requests.
    #[must_use]
    pub const fn mesh(&self) -> Mesh {
        self.mesh
    }

    /// Returns the matchers of the recorded series of this service.
    pub(crate) fn recorded(&self) -> String {
        let Names {
            namespace, service, ..
        } = &self.names;
        format!(r#"{{namespace="{namespace}",service="{service}"}}"#)
    }

    /// Returns the matchers of a Deployment, without braces.
    pub(crate) fn deployment(&self, side: Side) -> String {
        let namespace = &self.names.namespace;
        match self.hashed(side) {
            Some(name) => format!(r#"namespace="{namespace}",deployment=~"{name}""#),
            None => format!(
                r#"namespace="{namespace}",deployment="{}""#,
                self.name(side)
            ),
        }
    }

    /// Returns the matchers of a Deployment's pods, without braces.
    pub(crate) fn pods(&self, side: Side) -> String {
        let namespace = &self.names.namespace;
        let name = self.hashed(side);
        let name = name.unwrap_or_else(|| self.name(side).to_owned());
        format!(r#"namespace="{namespace}",pod=~"{name}-[a-z0-9]+-[a-z0-9]+""#)
    }

    /// Returns the requests per second; no sample where nothing was ever counted.
    pub(crate) fn request_rate(&self, side: Side) -> String {
        format!("sum(rate({}))", pretty(&self.arm(side).requests))
    }

    /// Returns the requests per second by status.
    pub(crate) fn request_rate_by_status(&self, side: Side) -> String {
        let (label, requests) = (self.mesh.status_label(), &self.arm(side).requests);
        format!("sum by ({label}) (rate({}))", pretty(requests))
    }

    /// Returns the failed requests per second; 0 where none was ever counted.
    pub(crate) fn failure_rate(&self, side: Side) -> String {
        let failures = pretty(&self.arm(side).failures);
        format!("(sum(rate({failures})) or vector(0))")
    }

    /// Returns the share of requests that failed, 0 to 1; no sample without requests.
    pub(crate) fn error_rate(&self, side: Side) -> String {
        let (failed, all) = (self.failure_rate(side), self.request_rate(side));
        format!("{failed}\n/\n({all} > 0)")
    }

    /// Returns a quantile of latency in seconds.
    pub(crate) fn quantile(&self, side: Side, quantile: &str) -> String {
        let buckets = pretty(&self.arm(side).buckets);
        let quantile = format!("histogram_quantile({quantile}, sum by (le) (rate({buckets})))");
        self.in_seconds(&quantile)
    }

    /// Returns the mean latency in seconds.
    pub(crate) fn mean(&self, side: Side) -> String {
        let buckets = pretty(&self.arm(side).buckets);
        let of = |suffix: &str| buckets.replacen("_bucket{", &format!("{suffix}{{"), 1);
        let (sum, count) = (of("_sum"), of("_count"));
        self.in_seconds(&format!("sum(rate({sum})) / sum(rate({count}))"))
    }

    /// Returns the buckets of latency, as a heat map wants them.
    pub(crate) fn heat(&self, side: Side) -> String {
        let buckets = pretty(&self.arm(side).buckets);
        format!("sum by (le) (increase({buckets}))")
    }

    /// Returns the unit of the buckets, in Grafana's words.
    pub(crate) const fn bucket_unit(&self) -> &'static str {
        match self.unit {
            Unit::Seconds => "s",
            Unit::Milliseconds => "ms",
            Unit::Microseconds => "µs",
        }
    }

    /// Returns the canary's share of all requests in percent; no sample without requests.
    pub(crate) fn traffic_percentage(&self) -> String {
        let (canary, stable) = (
            self.request_rate(Side::Canary),
            self.request_rate(Side::Stable),
        );
        format!("100 * {canary}\n/\n({canary} + ({stable} or vector(0)) > 0)")
    }

    /// Returns the share of its limit of processor time that the busiest container uses; of its request where it has no limit.
    pub(crate) fn cpu_usage(&self, side: Side) -> String {
        let pods = self.pods(side);
        let used =
            format!(r#"rate(container_cpu_usage_seconds_total{{{pods},container!=""}}[5m])"#);
        of_limit(&used, &pods, "cpu")
    }

    /// Returns the share of its limit of memory that the fullest container holds; of its request where it has no limit.
    pub(crate) fn memory_usage(&self, side: Side) -> String {
        let pods = self.pods(side);
        let used = format!(
            r#"avg_over_time(container_memory_working_set_bytes{{{pods},container!=""}}[5m])"#
        );
        of_limit(&used, &pods, "memory")
    }

    /// Returns the bytes that a pod holds in memory, on average.
    pub(crate) fn memory_bytes(&self, side: Side) -> String {
        let pods = self.pods(side);
        format!(r#"avg(sum by (pod) (container_memory_working_set_bytes{{{pods},container!=""}}))"#)
    }

    /// Returns the pattern of the Deployments of a version, if more than one may be its.
    fn hashed(&self, side: Side) -> Option<String> {
        let is_hashed = side == Side::Canary && self.workload == Workload::Deployment;
        is_hashed.then(|| format!("{}-{HASH}", self.names.canary))
    }

    fn name(&self, side: Side) -> &str {
        match side {
            Side::Stable => &self.names.stable,
            Side::Canary => &self.names.canary,
        }
    }

    const fn arm(&self, side: Side) -> &Arm {
        match side {
            Side::Stable => &self.stable,
            Side::Canary => &self.canary,
        }
    }

    fn in_seconds(&self, query: &str) -> String {
        match self.unit {
            Unit::Seconds => query.to_owned(),
            Unit::Milliseconds => format!("{query} / 1000"),
            Unit::Microseconds => format!("{query} / 1000000"),
        }
    }
}

/// Returns what is filled into the template.
fn variables(names: &Names, mesh: Mesh) -> Variables {
    let (stable, canary) = match mesh {
        Mesh::Http => (Side::Stable.as_str(), Side::Canary.as_str()),
        Mesh::Istio | Mesh::Linkerd | Mesh::Nginx | Mesh::Contour | Mesh::Traefik => {
            (names.stable.as_str(), names.canary.as_str())
        }
    };
    let filled = [
        ("namespace", &names.namespace),
        ("service", &names.service),
        ("ingress", &names.service),
    ];
    let filled = filled.map(|(name, value)| (name.to_owned(), value.clone()));
    Variables {
        stable: stable.to_owned(),
        canary: canary.to_owned(),
        window: WINDOW,
        names: BTreeMap::from(filled),
    }
}

/// Writes the window as people do, and drops the escapes of dashes: names are DNS labels, and stand outside of brackets.
fn pretty(selector: &str) -> String {
    selector.replace("[300s]", "[5m]").replace(r"\\-", "-")
}

fn of_limit(used: &str, pods: &str, resource: &str) -> String {
    let of = |what: &str| {
        format!(
            r#"sum by (pod, container) (kube_pod_container_resource_{what}{{{pods},resource="{resource}"}})"#
        )
    };
    let (limits, requests) = (of("limits"), of("requests"));
    format!(
        "max(\n  sum by (pod, container) ({used})\n  / on (pod, container)\n  ({limits}\n    or {requests})\n)"
    )
}
