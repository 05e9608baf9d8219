//! Reading StatefulSets and their pods.
//!
//! A pod's ordinal and its partition decide which template it is made from: below the partition from that of `status.currentRevision`,
//! from there on from the newest. Kubernetes replaces pods by newer ones, never by older ones: those must be deleted to come back.

use haldane_core::rollout::{Replicas, Trouble};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{deployment::Deployment, json, pods};

/// The partition by which no pod is ever made from a new template, however many there are.
pub(super) const HELD: u32 = 1_000_000_000;

/// The label by which Kubernetes tells which template a pod was made from.
const REVISION: &str = "/metadata/labels/controller-revision-hash";

/// A StatefulSet as it is seen: it has the fields of a Deployment, and some more.
#[derive(Clone, Debug)]
pub(super) struct StatefulSet(pub Deployment);

/// A pod of a StatefulSet.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub name: String,
    pub uid: String,
    /// Its place among the set's pods, from 0.
    pub index: u32,
    /// The name of the revision that it was made from.
    pub revision: String,
    pub is_ending: bool,
    pub is_available: bool,
    pub made_at: Option<Timestamp>,
    /// What keeps it from being ready, as far as it says.
    pub trouble: Option<Trouble>,
}

impl StatefulSet {
    /// Returns the object.
    pub(super) const fn object(&self) -> &Value {
        &self.0.0
    }

    /// Returns the place from which on pods are made from the newest template.
    pub(super) fn partition(&self) -> u32 {
        json::count(
            self.object(),
            "/spec/updateStrategy/rollingUpdate/partition",
        )
    }

    /// Returns how many pods are to be made from the newest template.
    pub(super) fn opened(&self) -> u32 {
        self.0.replicas().saturating_sub(self.partition())
    }

    /// Whether Kubernetes minds the partition at all.
    pub(super) fn is_rolling(&self) -> bool {
        let kind = json::text(self.object(), "/spec/updateStrategy/type");
        kind.is_none_or(|kind| kind == "RollingUpdate")
    }

    /// Returns the name of the revision that pods below the partition are made from.
    pub(super) fn current_revision(&self) -> &str {
        json::text(self.object(), "/status/currentRevision").unwrap_or_default()
    }

    /// Returns the name of the revision of the newest template.
    pub(super) fn update_revision(&self) -> &str {
        json::text(self.object(), "/status/updateRevision").unwrap_or_default()
    }

    /// Whether all its pods are of its present template and available, so that no other is known as the current one.
    pub(super) fn is_rolled_out(&self) -> bool {
        let wanted = self.0.replicas();
        self.0.is_observed()
            && !self.current_revision().is_empty()
            && self.current_revision() == self.update_revision()
            && ["replicas", "updatedReplicas", "availableReplicas"]
                .iter()
                .all(|name| json::count(self.object(), &format!("/status/{name}")) == wanted)
    }

    /// Reads its pods, by their places.
    pub(super) fn pods(&self, objects: &[Value], now: Timestamp) -> Vec<Pod> {
        let wanted = self.0.replicas();
        let are_all_available = json::count(self.object(), "/status/availableReplicas") == wanted
            && self.0.is_observed();
        let rest = Rest {
            start: json::count(self.object(), "/spec/ordinals/start"),
            min_ready: json::count(self.object(), "/spec/minReadySeconds"),
            are_all_available,
            now,
        };
        let mut pods: Vec<Pod> = objects
            .iter()
            .filter_map(|object| pod(object, &rest))
            .collect();
        pods.sort_by_key(|pod| pod.index);
        pods
    }
}

/// What must be known to read a pod, beside itself.
struct Rest {
    start: u32,
    min_ready: u32,
    are_all_available: bool,
    now: Timestamp,
}

fn pod(object: &Value, rest: &Rest) -> Option<Pod> {
    let name = json::text(object, "/metadata/name")?;
    let ordinal: u32 = name.rsplit('-').next()?.parse().ok()?;
    let time = |pointer| json::text(object, pointer)?.parse().ok();
    let is_ending = object.pointer("/metadata/deletionTimestamp").is_some();
    let ready = ready(object);
    let is_ready = ready.is_some();
    let ready_since =
        ready.and_then(|ready| json::text(ready, "/lastTransitionTime")?.parse().ok());
    let settled = ready_since.and_then(|since: Timestamp| {
        let wait = SignedDuration::from_secs(i64::from(rest.min_ready));
        since.checked_add(wait).ok()
    });
    let is_settled = rest.min_ready == 0
        || rest.are_all_available
        || settled.is_some_and(|settled| settled <= rest.now);
    Some(Pod {
        name: name.to_owned(),
        uid: json::uid(object).to_owned(),
        index: ordinal.saturating_sub(rest.start),
        revision: json::text(object, REVISION).unwrap_or_default().to_owned(),
        is_ending,
        is_available: is_ready && is_settled && !is_ending,
        made_at: time("/metadata/creationTimestamp"),
        trouble: pods::of_pod(object).filter(|_| !is_ready && !is_ending),
    })
}

/// Returns how some pods are, of which so many are wanted.
pub(super) fn seen(pods: &[&Pod], wanted: u32) -> Replicas {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Replicas {
        wanted,
        ready: count(pods.iter().filter(|pod| pod.is_available).count()),
        existing: count(pods.len()),
        is_fixed: false,
    }
}

/// Returns the one of `candidates` that may be deleted next: the highest, once every pod above has come back; a pod that is not ready
/// serves nobody, so it may go at once.
pub(super) fn next_to_go<'a>(all: &[Pod], candidates: &[&'a Pod], wanted: u32) -> Option<&'a Pod> {
    let left = || candidates.iter().filter(|pod| !pod.is_ending);
    if let Some(broken) = left().find(|pod| !pod.is_available) {
        return Some(broken);
    }
    let highest = left().max_by_key(|pod| pod.index)?;
    let is_back = |index: u32| {
        all.iter()
            .any(|pod| pod.index == index && pod.is_available && !pod.is_ending)
    };
    let above = highest.index.saturating_add(1)..wanted;
    let is_quiet = all.iter().all(|pod| !pod.is_ending);
    (is_quiet && above.into_iter().all(is_back)).then_some(*highest)
}

fn ready(object: &Value) -> Option<&Value> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| {
        json::text(condition, "/type") == Some("Ready")
            && json::text(condition, "/status") == Some("True")
    })
}

#[cfg(test)]
mod tests {
    use haldane_core::rollout::TroubleKind;
    use serde_json::json;

    use super::*;

    fn set(spec: &Value, status: &Value) -> StatefulSet {
        StatefulSet(Deployment(json!({
            "metadata": {"name": "db", "generation": 3},
            "spec": spec,
            "status": status,
        })))
    }

    fn pod(name: &str, is_ready: bool) -> Value {
        json!({
            "metadata": {"name": name, "uid": name, "labels": {"controller-revision-hash": "db-a"}},
            "status": {"conditions": [{
                "type": "Ready",
                "status": if is_ready { "True" } else { "False" },
                "lastTransitionTime": "2026-11-21T10:00:00Z",
            }]},
        })
    }

    fn pods(objects: &[Value]) -> Vec<Pod> {
        let set = set(&json!({"replicas": 3}), &json!({}));
        set.pods(objects, "2026-11-21T10:00:05Z".parse().unwrap())
    }

    #[test]
    fn a_pod_has_the_place_that_its_name_says() {
        let spec = json!({"replicas": 2, "ordinals": {"start": 5}, "minReadySeconds": 10});
        let ready = [pod("my-db-6", true), pod("my-db-5", true)];
        let now = |text: &str| text.parse().unwrap();
        let seen = set(&spec, &json!({})).pods(&ready, now("2026-11-21T10:00:09Z"));
        let places: Vec<(u32, bool)> = seen
            .iter()
            .map(|pod| (pod.index, pod.is_available))
            .collect();
        assert_eq!(places, [(0, false), (1, false)]);
        let later = set(&spec, &json!({})).pods(&ready, now("2026-11-21T10:00:10Z"));
        assert!(later.iter().all(|pod| pod.is_available));
        // Kubernetes counts the same seconds, by a clock of its own.
        let status = json!({"observedGeneration": 3, "availableReplicas": 2});
        let told = set(&spec, &status).pods(&ready, now("2026-11-21T10:00:09Z"));
        assert!(told.iter().all(|pod| pod.is_available));
    }

    #[test]
    fn pods_go_one_after_the_other_from_above_and_broken_ones_at_once() {
        let next = |objects: &[Value], candidates: &[u32]| {
            let all = pods(objects);
            let candidates: Vec<&Pod> = all
                .iter()
                .filter(|pod| candidates.contains(&pod.index))
                .collect();
            next_to_go(&all, &candidates, 3).map(|pod| pod.name.clone())
        };
        let whole = [pod("db-0", true), pod("db-1", true), pod("db-2", true)];
        assert_eq!(next(&whole, &[1, 2]), Some("db-2".to_owned()));
        assert_eq!(next(&whole, &[1]), Some("db-1".to_owned()));
        assert_eq!(next(&whole, &[]), None);
        assert_eq!(next(&whole[..2], &[1]), None, "db-2 is not back yet");
        let starting = [pod("db-0", true), pod("db-1", true), pod("db-2", false)];
        assert_eq!(next(&starting, &[1]), None, "db-2 is not ready yet");
        assert_eq!(next(&starting, &[1, 2]), Some("db-2".to_owned()));
        // Who is below does not hold anybody up.
        let below = [pod("db-0", false), pod("db-1", true), pod("db-2", true)];
        assert_eq!(next(&below, &[1, 2]), Some("db-2".to_owned()));
        let mut ending = whole.clone();
        ending[2]["metadata"]["deletionTimestamp"] = json!("2026-11-21T10:00:00Z");
        assert_eq!(next(&ending, &[1, 2]), None);
    }

    #[test]
    fn a_pod_that_does_not_start_says_why() {
        let mut object = pod("db-2", false);
        object["status"]["containerStatuses"] = json!([{
            "restartCount": 5,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
        }]);
        let trouble = pods(&[object.clone()])[0].trouble.clone().unwrap();
        assert_eq!(trouble.kind, TroubleKind::StartsFail(5));
        assert_eq!(trouble.said, "pod db-2: CrashLoopBackOff: back-off");
        object["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] =
            json!("ContainerCreating");
        assert_eq!(pods(&[object])[0].trouble, None);
    }

    #[test]
    fn a_set_is_rolled_out_when_no_other_revision_is_current() {
        let whole = json!({
            "observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2,
            "currentRevision": "db-a", "updateRevision": "db-a",
        });
        for (change, expected) in [
            (json!({}), true),
            (json!({"observedGeneration": 2}), false),
            (json!({"updatedReplicas": 1}), false),
            (json!({"availableReplicas": 1}), false),
            (json!({"updateRevision": "db-b"}), false),
        ] {
            let mut status = whole.clone();
            for (key, value) in change.as_object().unwrap() {
                status[key] = value.clone();
            }
            let seen = set(&json!({"replicas": 2}), &status);
            assert_eq!(seen.is_rolled_out(), expected, "{change}");
        }
    }
}
