//! What the tests share: objects, waiting with a deadline, and looking at the machine's processes.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use haldane_plane::Plane;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Service},
};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use serde_json::{Value, json};
use tokio::time::{self, Instant};

/// Several planes start at the same time on two cores.
const TIMEOUT: Duration = Duration::from_secs(90);

const INTERVAL: Duration = Duration::from_millis(50);

/// Waits until `look` sees something.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "not seen in time: {what}");
        time::sleep(INTERVAL).await;
    }
}

/// A Deployment called `name` with one container of this image.
pub(crate) fn deployment(name: &str, image: &str, replicas: u32) -> Deployment {
    object(json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": pod_template(name, image),
        },
    }))
}

/// A Service in front of it.
pub(crate) fn service(name: &str) -> Service {
    let ports = json!([{"port": 80, "targetPort": 8080}]);
    object(json!({
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": ports},
    }))
}

/// A Pod of its own.
pub(crate) fn pod(name: &str, image: &str, change: impl FnOnce(&mut Value)) -> Pod {
    let mut pod = pod_template(name, image);
    pod["metadata"]["name"] = json!(name);
    change(&mut pod);
    object(pod)
}

fn pod_template(name: &str, image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": name, "image": image}]},
    })
}

pub(crate) fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

pub(crate) async fn create<T>(api: &Api<T>, object: &T)
where
    T: kube::Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    api.create(&PostParams::default(), object).await.unwrap();
}

/// Returns the pods of `app` once `count` of them are ready.
pub(crate) async fn ready(client: &Client, app: &str, count: usize) -> Vec<Pod> {
    let api = Api::<Pod>::default_namespaced(client.clone());
    let labels = ListParams::default().labels(&format!("app={app}"));
    let what = format!("{count} ready pods of {app}");
    eventually(&what, async || {
        let pods = api.list(&labels).await.unwrap().items;
        let ready: Vec<Pod> = pods
            .into_iter()
            .filter(|pod| is_ready(pod) && !is_ending(pod))
            .collect();
        (ready.len() == count).then_some(ready)
    })
    .await
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let mut conditions = conditions.into_iter();
    conditions.any(|it| it.type_ == "Ready" && it.status == "True")
}

fn is_ending(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

pub(crate) fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap()
}

pub(crate) fn address(pod: &Pod) -> SocketAddr {
    let ip: IpAddr = pod
        .status
        .as_ref()
        .unwrap()
        .pod_ip
        .as_ref()
        .unwrap()
        .parse()
        .unwrap();
    (ip, 8080).into()
}

/// Waits until a connection to `address` is refused by the kernel.
pub(crate) async fn refuses(plane: &Plane, address: SocketAddr) {
    eventually("a refused connection", async || {
        let error = plane.connect(address).await.err()?;
        assert!(
            format!("{error:?}").contains("ConnectionRefused"),
            "{error:?}"
        );
        Some(())
    })
    .await;
}

/// Returns the processes that name `directory` in their command line.
pub(crate) fn processes(directory: &Path) -> Vec<u32> {
    let wanted = directory.display().to_string();
    let names = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&wanted)
    };
    pids().into_iter().filter(names).collect()
}

/// Returns the network namespaces of `pids`.
pub(crate) fn networks(pids: &[u32]) -> Vec<String> {
    let network = |pid: &u32| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    pids.iter()
        .filter_map(network)
        .map(|link| link.display().to_string())
        .collect()
}

pub(crate) fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}
