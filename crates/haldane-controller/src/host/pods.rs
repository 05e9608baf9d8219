//! Why the pods of a Deployment are not ready, in Kubernetes' own words.
//!
//! Pods are looked at only where a canary has not been ready for a while: until then its Deployment tells enough.

use haldane_core::rollout::{Trouble, TroubleKind};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{deployment::Deployment, json, site::View};
use crate::kinds::{POD, REPLICA_SET};

/// How long a canary may take before its pods are asked why.
const PATIENCE: SignedDuration = SignedDuration::from_secs(10);

/// What can't get better before somebody changes something.
const HOPELESS: [&str; 2] = ["InvalidImageName", "ErrImageNeverPull"];

/// What waits, and may get better.
const WAITING: [&str; 6] = [
    "ImagePullBackOff",
    "ErrImagePull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
];

/// Returns why a Deployment's pods are not ready, if any says so.
pub(super) fn trouble(view: &View<'_>, deployment: &Deployment) -> Option<Trouble> {
    let seen = deployment.seen();
    let made = json::text(&deployment.0, "/metadata/creationTimestamp");
    let made: Option<Timestamp> = made.and_then(|text| text.parse().ok());
    let is_young = made.is_none_or(|at| view.now.duration_since(at) < PATIENCE);
    if seen.ready >= seen.wanted || is_young {
        return None;
    }
    let namespace = &view.key.namespace;
    let sets = view
        .sight
        .owned(&REPLICA_SET, namespace, json::uid(&deployment.0));
    let pods = sets
        .iter()
        .flat_map(|set| view.sight.owned(&POD, namespace, json::uid(set)));
    let troubles = pods.filter_map(|pod| of_pod(&pod));
    troubles.max_by_key(|trouble| match trouble.kind {
        TroubleKind::NotReady => 0,
        TroubleKind::StartsFail(times) => times,
        TroubleKind::CannotStart => u32::MAX,
    })
}

/// Returns why one pod is not ready, if it says so.
pub(super) fn of_pod(pod: &Value) -> Option<Trouble> {
    let name = json::text(pod, "/metadata/name").unwrap_or_default();
    let statuses = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let mut containers = statuses
        .iter()
        .filter_map(|path| pod.pointer(path)?.as_array())
        .flatten();
    let of_container = containers.find_map(|one| {
        let reason = json::text(one, "/state/waiting/reason")?;
        let message = json::text(one, "/state/waiting/message").unwrap_or_default();
        let restarts = json::count(one, "/restartCount");
        let kind = match reason {
            _ if HOPELESS.contains(&reason) => TroubleKind::CannotStart,
            "CrashLoopBackOff" => TroubleKind::StartsFail(restarts),
            _ if WAITING.contains(&reason) => TroubleKind::NotReady,
            _ => return None,
        };
        let said = format!("pod {name}: {reason}: {message}");
        Some(Trouble {
            kind,
            said: said.trim_end_matches([':', ' ']).to_owned(),
        })
    });
    of_container.or_else(|| {
        let conditions = pod.pointer("/status/conditions")?.as_array()?;
        let unplaced = conditions.iter().find(|one| {
            json::text(one, "/type") == Some("PodScheduled")
                && json::text(one, "/status") == Some("False")
        })?;
        let message = json::text(unplaced, "/message").unwrap_or("it finds no node");
        Some(Trouble {
            kind: TroubleKind::NotReady,
            said: format!("pod {name}: {message}"),
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_says_why_it_is_not_ready() {
        let waiting = |reason: &str, restarts: u32| {
            json!({"metadata": {"name": "shop-1"}, "status": {"containerStatuses": [
                {"restartCount": restarts, "state": {"waiting": {"reason": reason, "message": "because"}}},
            ]}})
        };
        for (pod, expected) in [
            (waiting("ContainerCreating", 0), None),
            (waiting("ImagePullBackOff", 0), Some(TroubleKind::NotReady)),
            (
                waiting("InvalidImageName", 0),
                Some(TroubleKind::CannotStart),
            ),
            (
                waiting("CrashLoopBackOff", 3),
                Some(TroubleKind::StartsFail(3)),
            ),
            (json!({"metadata": {"name": "shop-1"}, "status": {}}), None),
        ] {
            let found = of_pod(&pod);
            assert_eq!(found.as_ref().map(|one| one.kind), expected, "{pod}");
            if let Some(found) = found {
                assert!(
                    found.said.starts_with("pod shop-1: ") && found.said.ends_with(": because")
                );
            }
        }
        let unplaced = json!({"metadata": {"name": "shop-1"}, "status": {"conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/4 nodes are available"},
        ]}});
        assert_eq!(
            of_pod(&unplaced).unwrap().said,
            "pod shop-1: 0/4 nodes are available"
        );
    }
}
