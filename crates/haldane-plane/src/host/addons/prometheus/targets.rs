//! Which pods Prometheus asks. Debian's Prometheus is built without the discovery of Kubernetes, so its file of targets is written
//! here, with the labels and annotations that everybody's rules for that discovery use.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use anyhow::Context as _;
use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event},
    },
};
use serde_json::{Value, json};
use tokio::time::{self, Instant};
use tracing::warn;

/// Where a pod that names no port answers.
const PORT: i32 = 8080;

/// How long changes are collected: less than the shortest interval of scraping.
const COLLECT_FOR: Duration = Duration::from_millis(100);

/// Keeps `file` true for as long as it is polled.
pub(super) async fn follow(client: Client, file: &Path) {
    let pods = watcher::watcher(Api::<Pod>::all(client), watcher::Config::default());
    let mut pods = std::pin::pin!(pods.default_backoff());
    let mut targets = Targets::default();
    loop {
        if !targets.take_for(COLLECT_FOR, &mut pods).await {
            return;
        }
        if let Err(error) = targets.write(file) {
            warn!(%error, "Writing Prometheus' targets failed");
        }
    }
}

/// The targets of each pod, by its id.
#[derive(Debug, Default)]
struct Targets {
    pods: BTreeMap<String, Vec<Value>>,
    /// Those of a list that is not complete yet.
    listed: BTreeMap<String, Vec<Value>>,
}

impl Targets {
    /// Waits for a change and takes what follows it soon; returns whether there may be more.
    async fn take_for(
        &mut self,
        period: Duration,
        pods: &mut (impl Stream<Item = watcher::Result<Event<Pod>>> + Unpin),
    ) -> bool {
        let mut next = pods.next().await;
        let deadline = Instant::now() + period;
        loop {
            match next {
                Some(Ok(event)) => self.take(event),
                Some(Err(error)) => warn!(%error, "Watching pods failed"),
                None => return false,
            }
            match time::timeout_at(deadline, pods.next()).await {
                Ok(more) => next = more,
                Err(_) => return true,
            }
        }
    }

    fn take(&mut self, event: Event<Pod>) {
        let of = |pod: &Pod| (pod.uid().unwrap_or_default(), targets(pod));
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(pod) => self.listed.extend([of(&pod)]),
            Event::InitDone => self.pods = std::mem::take(&mut self.listed),
            Event::Apply(pod) => self.pods.extend([of(&pod)]),
            Event::Delete(pod) => drop(self.pods.remove(&of(&pod).0)),
        }
    }

    fn write(&self, file: &Path) -> anyhow::Result<()> {
        let all: Vec<&Value> = self.pods.values().flatten().collect();
        let fresh = file.with_extension("fresh");
        fs::write(&fresh, serde_json::to_vec(&all)?).context("writing")?;
        // Prometheus never sees half of it.
        fs::rename(&fresh, file).context("renaming")
    }
}

/// One target for each container of a pod that runs.
fn targets(pod: &Pod) -> Vec<Value> {
    let status = pod.status.as_ref();
    let ip = status.and_then(|status| status.pod_ip.as_deref());
    let phase = status.and_then(|status| status.phase.as_deref());
    let annotation = |name: &str| pod.annotations().get(name).map(String::as_str);
    let (Some(ip), Some("Running")) = (ip, phase) else {
        return Vec::new();
    };
    if annotation("prometheus.io/scrape") == Some("false") {
        return Vec::new();
    }
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let target = |container: &Container| {
        let port = port(container).to_string();
        let mut labels: BTreeMap<String, String> = pod
            .labels()
            .iter()
            .map(|(name, value)| (label(name), value.clone()))
            .collect();
        let own = [
            ("namespace", pod.namespace().unwrap_or_default()),
            ("pod", pod.name_any()),
            ("container", container.name.clone()),
        ];
        let path =
            annotation("prometheus.io/path").map(|path| ("__metrics_path__", path.to_owned()));
        labels.extend(
            own.into_iter()
                .chain(path)
                .map(|(name, value)| (name.to_owned(), value)),
        );
        let port = annotation("prometheus.io/port").unwrap_or(&port);
        json!({"targets": [format!("{ip}:{port}")], "labels": labels})
    };
    let all = containers.map(target);
    // All containers of a pod share the port that its annotation names.
    let count = annotation("prometheus.io/port").map_or(usize::MAX, |_| 1);
    all.take(count).collect()
}

fn port(container: &Container) -> i32 {
    let mut ports = container.ports.iter().flatten();
    let is_tcp = |protocol: Option<&str>| protocol.is_none_or(|it| it == "TCP");
    let tcp = ports.find(|port| is_tcp(port.protocol.as_deref()));
    tcp.map_or(PORT, |port| port.container_port)
}

/// Turns the name of a pod's label into one of Prometheus.
fn label(name: &str) -> String {
    name.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(change: impl FnOnce(&mut Value)) -> Pod {
        let mut pod = json!({
            "metadata": {"name": "shop-1", "namespace": "default", "uid": "1", "labels": {"app.kubernetes.io/name": "shop"}},
            "spec": {"containers": [{"name": "shop"}]},
            "status": {"phase": "Running", "podIP": "10.128.0.3"},
        });
        change(&mut pod);
        serde_json::from_value(pod).unwrap()
    }

    fn addresses(pod: &Pod) -> Vec<String> {
        let all = targets(pod).into_iter();
        all.map(|it| it["targets"][0].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn a_pod_that_runs_is_asked_with_its_names() {
        let labels = json!({
            "namespace": "default", "pod": "shop-1", "container": "shop", "app_kubernetes_io_name": "shop",
        });
        let expected = json!({"targets": ["10.128.0.3:8080"], "labels": labels});
        assert_eq!(targets(&pod(|_| ())), [expected]);
        assert!(targets(&pod(|pod| pod["status"]["phase"] = json!("Pending"))).is_empty());
    }

    #[test]
    fn ports_and_annotations_are_obeyed() {
        let two = json!([
            {"name": "shop", "ports": [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 9000}]},
            {"name": "side"},
        ]);
        let of = |annotations: Value| {
            addresses(&pod(|pod| {
                pod["spec"]["containers"] = two.clone();
                pod["metadata"]["annotations"] = annotations;
            }))
        };
        assert_eq!(of(json!({})), ["10.128.0.3:9000", "10.128.0.3:8080"]);
        assert_eq!(of(json!({"prometheus.io/port": "7"})), ["10.128.0.3:7"]);
        assert!(of(json!({"prometheus.io/scrape": "false"})).is_empty());
    }

    #[test]
    fn a_pod_that_is_gone_is_asked_no_more() {
        let mut seen = Targets::default();
        let (one, other) = (pod(|_| ()), pod(|pod| pod["metadata"]["uid"] = json!("2")));
        seen.take(Event::Apply(one.clone()));
        seen.take(Event::Apply(other.clone()));
        seen.take(Event::Delete(one));
        assert_eq!(seen.pods.keys().collect::<Vec<_>>(), ["2"]);
        // A list that begins anew takes away what it does not name, at its end.
        seen.take(Event::Init);
        assert_eq!(seen.pods.len(), 1);
        seen.take(Event::InitDone);
        assert!(seen.pods.is_empty());
    }
}
