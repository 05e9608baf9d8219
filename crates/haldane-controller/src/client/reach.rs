//! What a person reaches through the API server: a Service of the cluster, and what the cluster measures of pods.
//!
//! **Invariant:** an answer has a bound in time and size, whoever gives it.

use std::collections::BTreeMap;

use http_body_util::{BodyExt as _, Limited};
use kube::client::Body;
use serde_json::Value;
use tokio::time::timeout;

use super::{CALL_TIMEOUT, Cluster, ClusterError, Result};
use crate::kinds::POD_METRICS;

/// Why nobody knows what pods use.
const NOT_MEASURED: &str = "this cluster has no metrics.k8s.io";

/// The ports that stand for none in a URL.
const PORTS: [(&str, u16); 2] = [("http", 80), ("https", 443)];

/// A Service of the cluster, as a URL names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InCluster {
    is_tls: bool,
    service: String,
    namespace: String,
    port: u16,
}

/// What a pod uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of processors, in parts per million of one.
    pub cpu_ppm: u64,
    /// Of memory.
    pub memory_bytes: u64,
}

impl InCluster {
    /// Reads a URL whose host is a Service's name, seen from a namespace; returns it with the rest of the URL.
    #[must_use]
    pub fn parse<'a>(url: &'a str, namespace: &str) -> Option<(Self, &'a str)> {
        let (scheme, rest) = url.split_once("://")?;
        let (_, port) = PORTS.into_iter().find(|(name, _)| *name == scheme)?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end)?;
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (authority, port),
        };
        let mut labels = host.trim_end_matches('.').split('.');
        let service = labels.next().filter(|label| is_label(label))?;
        let named = labels.next().unwrap_or(namespace);
        let is_cluster = labels.next().is_none_or(|label| label == "svc");
        (is_label(named) && is_cluster).then(|| {
            let service = Self {
                is_tls: scheme == "https",
                service: service.to_owned(),
                namespace: named.to_owned(),
                port,
            };
            (service, path)
        })
    }

    /// Returns the path of its proxy on the API server.
    fn path(&self) -> String {
        let tls = if self.is_tls { "https:" } else { "" };
        let Self {
            service,
            namespace,
            port,
            ..
        } = self;
        format!("/api/v1/namespaces/{namespace}/services/{tls}{service}:{port}/proxy")
    }
}

impl std::fmt::Display for InCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "service {} in {}", self.service, self.namespace)
    }
}

impl Cluster {
    /// Gets something of a Service through the API server, which sends it on with its own network and the person's rights.
    ///
    /// # Errors
    /// When the API server is not reached, does not allow it, or its answer is longer than so many bytes.
    pub async fn get_of(
        &self,
        service: &InCluster,
        path: &str,
        bytes_max: usize,
    ) -> Result<(u16, Vec<u8>)> {
        let path = format!("{}{path}", service.path());
        let request = http::Request::get(path).body(Body::empty());
        let request = request.map_err(|error| ClusterError::Other(error.to_string()))?;
        let asked = async {
            let answer = self.client.send(request).await;
            let answer = answer.map_err(|error| ClusterError::of(&error, &self.url))?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), bytes_max).collect().await;
            let body = body.map_err(|error| ClusterError::Other(error.to_string()))?;
            Ok((status, body.to_bytes().to_vec()))
        };
        let answered = timeout(CALL_TIMEOUT, asked).await;
        answered.unwrap_or(Err(ClusterError::TimedOut(CALL_TIMEOUT)))
    }

    /// Tells what the pods of a namespace use, by name, where the cluster measures that (`metrics.k8s.io`).
    ///
    /// # Errors
    /// When it does not, or may not be asked.
    pub async fn usage(&self, namespace: &str) -> Result<BTreeMap<String, Usage>> {
        let found = self.list(&POD_METRICS, Some(namespace)).await;
        let found = found.map_err(|error| {
            if matches!(error, ClusterError::NoDefinition) {
                ClusterError::Unsupported(NOT_MEASURED)
            } else {
                error
            }
        })?;
        let named = found.iter().filter_map(|object| {
            let name = object.pointer("/metadata/name")?.as_str()?;
            Some((name.to_owned(), usage(object)?))
        });
        Ok(named.collect())
    }
}

/// Returns what a pod uses: its containers together; `None` where one of them can't be read.
fn usage(object: &Value) -> Option<Usage> {
    let containers = object.pointer("/containers")?.as_array()?;
    let mut sum = Usage::default();
    for container in containers {
        let of = |name: &str| quantity(container.pointer(&format!("/usage/{name}"))?.as_str()?);
        let cpu_ppm = of("cpu")? / 1_000;
        let memory_bytes = of("memory")? / 1_000_000_000;
        sum.cpu_ppm = sum.cpu_ppm.saturating_add(u64::try_from(cpu_ppm).ok()?);
        sum.memory_bytes = sum
            .memory_bytes
            .saturating_add(u64::try_from(memory_bytes).ok()?);
    }
    Some(sum)
}

/// Reads a quantity of Kubernetes in billionths: `12345678n`, `250m`, `64Mi`.
fn quantity(text: &str) -> Option<u128> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, suffix) = text.split_at_checked(end.unwrap_or(text.len()))?;
    let unit: u128 = match suffix {
        "n" => 1,
        "u" => 1_000,
        "m" => 1_000_000,
        "" => 1_000_000_000,
        "k" => 1_000_000_000_000,
        "M" => 1_000_000_000_000_000,
        "G" => 1_000_000_000_000_000_000,
        "Ki" => 1_000_000_000 << 10,
        "Mi" => 1_000_000_000 << 20,
        "Gi" => 1_000_000_000 << 30,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let whole = whole.parse::<u128>().ok()?.checked_mul(unit)?;
    if part.is_empty() {
        return Some(whole);
    }
    let scale = 10_u128.checked_pow(u32::try_from(part.len()).ok()?)?;
    let part = part
        .parse::<u128>()
        .ok()?
        .checked_mul(unit)?
        .checked_div(scale)?;
    whole.checked_add(part)
}

fn is_label(text: &str) -> bool {
    let is_fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    // An address is none.
    !text.is_empty() && text.chars().all(is_fine) && text.chars().any(|c| c.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_services_url_leads_through_the_api_server() {
        for (url, expected) in [
            (
                "http://prometheus.monitoring.svc:9090/api/v1/query?query=up",
                Some("monitoring/services/prometheus:9090/proxy|/api/v1/query?query=up"),
            ),
            (
                "http://prom.mon.svc.cluster.local:9090",
                Some("mon/services/prom:9090/proxy|"),
            ),
            ("http://prom", Some("web/services/prom:80/proxy|")),
            (
                "https://prom.mon/prefix",
                Some("mon/services/https:prom:443/proxy|/prefix"),
            ),
            ("http://127.0.0.1:9090/", None),
            ("http://[::1]:9090/", None),
            ("http://prom.example.com/", None),
            ("http://a@prom.mon/", None),
            ("ftp://prom.mon", None),
        ] {
            let told = InCluster::parse(url, "web").map(|(service, rest)| {
                let path = service.path();
                let path = path.strip_prefix("/api/v1/namespaces/").unwrap();
                format!("{path}|{rest}")
            });
            assert_eq!(told.as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn containers_are_summed_and_what_can_not_be_read_is_not_told() {
        let pod = |usages: &[(&str, &str)]| {
            let containers: Vec<Value> = usages
                .iter()
                .map(|(cpu, memory)| json!({"usage": {"cpu": cpu, "memory": memory}}))
                .collect();
            usage(&json!({"metadata": {"name": "a"}, "containers": containers}))
        };
        assert_eq!(
            pod(&[("250m", "64Mi"), ("1500000n", "0.5Gi"), ("1", "100k")]),
            Some(Usage {
                cpu_ppm: 1_251_500,
                memory_bytes: (64 << 20) + (512 << 20) + 100_000,
            })
        );
        assert_eq!(pod(&[("250m", "64Mi"), ("1x", "1")]), None);
        assert_eq!(pod(&[("", "1")]), None);
    }
}
