//! Findings on what runs pods.

use super::{Finding, Spot, World};
use crate::lint::rules::{
    LATEST_TAG, NO_LIVENESS_PROBE, NO_READINESS_PROBE, NO_RESOURCES, SHARED_STATE, SINGLE_REPLICA,
};

/// What a container must ask for and be limited to.
const RESOURCES: [&[&str]; 3] = [
    &["requests", "cpu"],
    &["requests", "memory"],
    &["limits", "memory"],
];

/// Returns what is to be said of a workload.
pub(super) fn check_workload(root: &Spot<'_>, kind: &str, world: &World) -> Vec<Finding> {
    // A Rollout with a workloadRef has none.
    let Some(pod) = root.at(&["spec", "template", "spec"]) else {
        return Vec::new();
    };
    let containers = pod.items_at(&["containers"]);
    let mut findings: Vec<Finding> = containers.iter().flat_map(check_container).collect();
    if matches!(kind, "Deployment" | "Rollout") {
        findings.extend(check_replicas(root, world));
        let volumes = pod.items_at(&["volumes"]);
        findings.extend(volumes.iter().filter_map(|one| check_volume(one, world)));
    }
    findings
}

fn check_container(container: &Spot<'_>) -> Vec<Finding> {
    let name = container.text_at(&["name"]).unwrap_or("the container");
    let mut findings = Vec::new();
    for (key, rule) in [
        ("readinessProbe", &NO_READINESS_PROBE),
        ("livenessProbe", &NO_LIVENESS_PROBE),
    ] {
        if container.lacks(&[key]) {
            findings.push(container.say_missing(key, rule, format!("{name} has no {key}")));
        }
    }
    let missing: Vec<String> = RESOURCES
        .iter()
        .filter(|keys| container.lacks(&[&["resources"], **keys].concat()))
        .map(|keys| keys.join("."))
        .collect();
    if !missing.is_empty() {
        let reason = format!("{name} has no {}", missing.join(", "));
        findings.push(container.say_missing("resources", &NO_RESOURCES, reason));
    }
    let image = container.at(&["image"]);
    findings.extend(image.and_then(|image| {
        let text = image.text()?;
        is_latest(text).then(|| image.say(&LATEST_TAG, format!("{text:?} may be any version")))
    }));
    findings
}

/// Whether an image names no version. One that a template fills in is not known.
fn is_latest(image: &str) -> bool {
    if image.contains('@') || image.contains(['$', '{']) || image.is_empty() {
        return false;
    }
    let name = image.rsplit('/').next().unwrap_or_default();
    name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn check_replicas(root: &Spot<'_>, world: &World) -> Option<Finding> {
    let name = root.text_at(&["metadata", "name"]).unwrap_or_default();
    let is_canary = name.ends_with("-canary") || world.canaries.contains(name);
    if is_canary || world.scaled.contains(name) {
        return None;
    }
    let spec = root.at(&["spec"])?;
    let reason = "its only pod serves everybody, and nobody while it moves to another node";
    match spec.at(&["replicas"]) {
        Some(replicas) => {
            (replicas.text() == Some("1")).then(|| replicas.say(&SINGLE_REPLICA, reason))
        }
        None => spec
            .lacks(&["replicas"])
            .then(|| spec.say_missing("replicas", &SINGLE_REPLICA, reason)),
    }
}

fn check_volume(volume: &Spot<'_>, world: &World) -> Option<Finding> {
    let name = volume.text_at(&["name"]).unwrap_or_default();
    if let Some(host) = volume.at(&["hostPath"]) {
        let reason = format!(
            "{name} is a directory of the node, which the pods of both versions there share"
        );
        return Some(host.say(&SHARED_STATE, reason));
    }
    let claim = volume.at(&["persistentVolumeClaim"])?;
    if claim.text_at(&["readOnly"]) == Some("true") {
        return None;
    }
    let claimed = claim.text_at(&["claimName"]).unwrap_or_default();
    let modes = world.claims.get(claimed);
    let has = |mode: &str| modes.is_some_and(|modes| modes.iter().any(|one| one == mode));
    let reason = if has("ReadWriteMany") {
        format!("both versions write to the claim {claimed} at the same time")
    } else if has("ReadWriteOnce") || has("ReadWriteOncePod") {
        format!(
            "the claim {claimed} is of one node (ReadWriteOnce), so the canary's pods elsewhere never start"
        )
    } else if has("ReadOnlyMany") {
        return None;
    } else {
        format!("both versions mount the claim {claimed}")
    };
    Some(claim.say(&SHARED_STATE, reason))
}
