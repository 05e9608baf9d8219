//! What the tests share: objects, waiting with a deadline, and looking at the machine's processes.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use haldane_plane::Plane;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{Pod, Service},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::{
        CustomResourceDefinition, CustomResourceDefinitionCondition,
    },
};
use kube::{
    Api, Client,
    api::{DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams},
    discovery::{Scope, pinned_kind},
};
use serde::Deserialize as _;
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

/// Returns the text of a file of this repository.
pub(crate) fn file(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Returns where this repository is.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the objects of a manifest.
pub(crate) fn objects(manifest: &str) -> Vec<Value> {
    serde_norway::Deserializer::from_str(manifest)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|object| !object.is_null())
        .collect()
}

/// Applies an object of any kind.
pub(crate) async fn apply(client: &Client, object: &Value) {
    let part = |name: &str| object[name].as_str().unwrap();
    let (group, version) = part("apiVersion")
        .split_once('/')
        .unwrap_or_else(|| ("", part("apiVersion")));
    let kind = GroupVersionKind::gvk(group, version, part("kind"));
    let (resource, capabilities) = pinned_kind(client, &kind).await.unwrap();
    let metadata = &object["metadata"];
    let api: Api<DynamicObject> = match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => {
            let namespace = metadata["namespace"].as_str().unwrap_or("default");
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
    };
    let name = metadata["name"].as_str().unwrap();
    let applied = api
        .patch(name, &PatchParams::apply("test"), &Patch::Apply(object))
        .await;
    applied.unwrap_or_else(|error| panic!("{object}: {error}"));
}

/// Installs the kinds of Haldane and waits until the API server serves Releases.
pub(crate) async fn define_releases(client: &Client) -> CustomResourceDefinition {
    for name in ["releases", "releasegroups"] {
        for object in objects(&file(&format!("deploy/crds/haldane.dev_{name}.yaml"))) {
            apply(client, &object).await;
        }
    }
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    eventually("Release established", async || {
        let definition = api.get("releases.haldane.dev").await.unwrap();
        let conditions = definition.status.as_ref()?.conditions.as_ref()?;
        let is = |it: &CustomResourceDefinitionCondition| {
            it.type_ == "Established" && it.status == "True"
        };
        conditions.iter().any(is).then_some(definition)
    })
    .await
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
