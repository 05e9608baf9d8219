//! The objects that run a release, as a tree: workloads, their revisions, their pods.
//!
//! Pure. **Invariant:** what is told is bounded, and what is left out is counted.

use std::collections::BTreeMap;

use haldane_api::{
    http::ObjectView,
    release::{Workload, mark},
};
use serde_json::Value;

use crate::release::Release;

/// The most pods of one owner that are told: more are no longer read.
const PODS_MAX: usize = 20;

/// The annotation by which Kubernetes counts the revisions of a Deployment.
const REVISION: &str = "deployment.kubernetes.io/revision";

/// The objects of one namespace, or of all, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Inventory<'a> {
    /// The Deployments, StatefulSets and DaemonSets.
    pub workloads: Vec<&'a Value>,
    /// The ReplicaSets.
    pub replica_sets: Vec<&'a Value>,
    /// The pods.
    pub pods: Vec<&'a Value>,
}

/// Returns the objects that run a release, the owners first.
pub(super) fn tree(release: &Release, seen: &Inventory<'_>) -> Vec<ObjectView> {
    let named = named(&release.spec.workload);
    let mut found: Vec<ObjectView> = seen
        .workloads
        .iter()
        .filter(|object| namespace(object) == release.namespace)
        .filter_map(|object| {
            let key = (text(object, "/kind"), text(object, "/metadata/name"));
            let known = named.get(&key).copied();
            let is_labelled = label(object, mark::RELEASE) == Some(release.name.as_str());
            (known.is_some() || is_labelled).then(|| workload(object, known.flatten(), seen))
        })
        .collect();
    // Stable ones first, then by name.
    found.sort_by(|a, b| {
        let rank = |one: &ObjectView| one.role.as_deref() == Some("canary");
        (rank(a), &a.name).cmp(&(rank(b), &b.name))
    });
    found
}

/// Whether an object is one of those that a release's tree begins with.
pub(super) fn is_root(release: &Release, object: &Value) -> bool {
    let key = (text(object, "/kind"), text(object, "/metadata/name"));
    let is_ours = label(object, mark::RELEASE) == Some(release.name.as_str())
        || named(&release.spec.workload).contains_key(&key);
    is_ours && namespace(object) == release.namespace
}

/// Returns the workloads that a spec names, each with its role where it has one.
fn named(workload: &Workload) -> BTreeMap<(&'static str, &str), Option<&'static str>> {
    let mut named = BTreeMap::new();
    if let Some(one) = &workload.deployment {
        named.insert(("Deployment", one.name.as_str()), None);
    }
    for pair in &workload.pairs {
        named.insert(("Deployment", pair.stable.as_str()), Some("stable"));
        named.insert(("Deployment", pair.canary.as_str()), Some("canary"));
    }
    if let Some(one) = &workload.stateful_set {
        named.insert(("StatefulSet", one.name.as_str()), None);
    }
    if let Some(one) = &workload.daemon_set {
        named.insert(("DaemonSet", one.name.as_str()), None);
    }
    named
}

fn workload(object: &Value, role: Option<&str>, seen: &Inventory<'_>) -> ObjectView {
    let mut view = object_view(object, "/spec/template/spec/containers/0/image");
    view.role = role
        .or_else(|| label(object, mark::ROLE))
        .map(str::to_owned);
    let (wanted, ready) = if view.kind == "DaemonSet" {
        ("/status/desiredNumberScheduled", "/status/numberReady")
    } else {
        ("/spec/replicas", "/status/readyReplicas")
    };
    // Kubernetes fills in one replica where none are told.
    view.wanted = number(object, wanted).unwrap_or_else(|| u32::from(view.kind != "DaemonSet"));
    view.ready = number(object, ready).unwrap_or(0);
    let (pods, left_out) = pods(object, view.role.as_deref(), seen);
    let mut sets: Vec<ObjectView> = owned(&seen.replica_sets, object)
        .map(|set| replica_set(set, view.role.as_deref(), seen))
        .collect();
    let all = sets.len();
    sets.retain(|set| set.wanted > 0 || set.ready > 0 || !set.owned.is_empty());
    let empty = u32::try_from(all.saturating_sub(sets.len())).unwrap_or(u32::MAX);
    let newest = |set: &ObjectView| {
        set.revision
            .as_ref()
            .and_then(|text| text.parse::<u64>().ok())
    };
    sets.sort_by_key(|set| std::cmp::Reverse(newest(set)));
    // Where one revision is on trial, the others are what it is compared with.
    if sets.iter().any(|set| set.role.as_deref() == Some("canary")) {
        for set in sets.iter_mut().filter(|set| set.role.is_none()) {
            set.role = Some("stable".to_owned());
        }
    }
    view.owned = sets;
    view.owned.extend(pods);
    view.left_out = empty.saturating_add(left_out);
    view
}

fn replica_set(object: &Value, role: Option<&str>, seen: &Inventory<'_>) -> ObjectView {
    let mut view = object_view(object, "/spec/template/spec/containers/0/image");
    view.role = label(object, mark::ROLE).or(role).map(str::to_owned);
    view.revision = object
        .pointer("/metadata/annotations")
        .and_then(|all| all.get(REVISION))
        .and_then(Value::as_str)
        .map(str::to_owned);
    view.wanted = number(object, "/spec/replicas").unwrap_or(1);
    view.ready = number(object, "/status/readyReplicas").unwrap_or(0);
    (view.owned, view.left_out) = pods(object, view.role.as_deref(), seen);
    view
}

/// Returns the pods of an owner, and how many more there are.
fn pods(owner: &Value, role: Option<&str>, seen: &Inventory<'_>) -> (Vec<ObjectView>, u32) {
    let mut all: Vec<ObjectView> = owned(&seen.pods, owner).map(|one| pod(one, role)).collect();
    // Those that are not well are what somebody looks for.
    all.sort_by(|a, b| (a.ready, &a.name).cmp(&(b.ready, &b.name)));
    let left_out = all.len().saturating_sub(PODS_MAX);
    all.truncate(PODS_MAX);
    (all, u32::try_from(left_out).unwrap_or(u32::MAX))
}

fn pod(object: &Value, role: Option<&str>) -> ObjectView {
    let mut view = object_view(object, "/spec/containers/0/image");
    let conditions = list(object, "/status/conditions");
    let is_ready = conditions
        .iter()
        .any(|one| text(one, "/type") == "Ready" && text(one, "/status") == "True");
    let containers = list(object, "/status/containerStatuses");
    let restarts = containers
        .iter()
        .filter_map(|one| number(one, "/restartCount"));
    view.role = label(object, mark::ROLE).or(role).map(str::to_owned);
    view.wanted = 1;
    view.ready = u32::from(is_ready);
    view.restarts = Some(restarts.fold(0, u32::saturating_add));
    view.state = Some(pod_state(object, is_ready, containers).to_owned());
    view
}

/// Returns what a pod does or what is wrong with it, as `kubectl get pods` has it.
fn pod_state<'a>(object: &'a Value, is_ready: bool, containers: &'a [Value]) -> &'a str {
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        return "Terminating";
    }
    let reasons = containers.iter().flat_map(|one| {
        ["/state/waiting/reason", "/state/terminated/reason"].map(|path| text(one, path))
    });
    let reason = reasons.into_iter().find(|reason| !reason.is_empty());
    let phase = text(object, "/status/phase");
    match reason {
        Some(reason) => reason,
        None if phase == "Running" && !is_ready => "NotReady",
        None => phase,
    }
}

fn object_view(object: &Value, image: &str) -> ObjectView {
    let image = text(object, image);
    ObjectView {
        kind: text(object, "/kind").to_owned(),
        name: text(object, "/metadata/name").to_owned(),
        role: None,
        revision: None,
        ready: 0,
        wanted: 0,
        restarts: None,
        image: (!image.is_empty()).then(|| image.to_owned()),
        state: None,
        owned: Vec::new(),
        left_out: 0,
    }
}

/// Returns the objects that have `owner` as their controller.
fn owned<'a>(objects: &[&'a Value], owner: &Value) -> impl Iterator<Item = &'a Value> {
    let uid = text(owner, "/metadata/uid").to_owned();
    objects.iter().copied().filter(move |object| {
        let owners = list(object, "/metadata/ownerReferences");
        owners.iter().any(|one| {
            text(one, "/uid") == uid && one.pointer("/controller") == Some(&Value::Bool(true))
        })
    })
}

fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.pointer("/metadata/labels")?.get(key)?.as_str()
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object
        .pointer(path)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn number(object: &Value, path: &str) -> Option<u32> {
    let number = object.pointer(path)?.as_u64()?;
    Some(u32::try_from(number).unwrap_or(u32::MAX))
}

fn list<'a>(object: &'a Value, path: &str) -> &'a [Value] {
    object
        .pointer(path)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests;
