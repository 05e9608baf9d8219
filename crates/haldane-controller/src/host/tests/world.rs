//! A cluster as data: writes are taken as the API server takes them, and Deployments, StatefulSets and endpoints follow.
//!
//! What it does is what the controllers of Kubernetes were seen to do on the test plane; the same rollouts run there, too.

use std::{collections::BTreeMap, sync::Arc};

use haldane_core::{
    RolloutId,
    plan::Gate,
    rollout::{GateAnswer, GateKey},
};
use haldane_router::{Kind, ObjectRef};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::{
    asker::{Asker, Subject},
    host::{Ports, ReleaseHost, json::difference},
    kinds::{
        CONTROLLER_REVISION, DEPLOYMENT, ENDPOINT_SLICE, POD, RELEASE, REPLICA_SET, SERVICE,
        STATEFUL_SET,
    },
    meter::{Measured, Meter, Watch},
    turn::{Event, Host, Key, Seen, Sight, Then, What, Write},
};

/// The namespace of everything.
pub(super) const NS: &str = "prod";

/// How many turns may follow each other at once.
const TURNS_MAX: u32 = 60;

/// A cluster.
pub(super) struct World {
    pub(super) objects: BTreeMap<ObjectRef, Value>,
    /// What has turns, by name, in the order in which they have them: releases, or workloads that carry one.
    pub(super) releases: Vec<String>,
    pub(super) host: Box<dyn Host>,
    /// What makes another host, when one died.
    pub(super) make: fn() -> Box<dyn Host>,
    pub(super) now: Timestamp,
    /// Every write, in words.
    pub(super) log: Vec<String>,
    pub(super) events: Vec<Event>,
    /// Of the last change.
    pub(super) number: u64,
    /// How many writes are still taken; the host dies at the next one.
    pub(super) writes_left: Option<u32>,
    pub(super) deaths: u32,
    /// Whether nobody of the canary is ready.
    pub(super) is_canary_deaf: bool,
    /// A kind that the cluster does not know any more.
    pub(super) absent: Option<&'static Kind>,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            objects: BTreeMap::new(),
            releases: vec!["shop".to_owned()],
            host: silent(),
            make: silent,
            now: "2026-11-21T10:00:00Z".parse().unwrap(),
            log: Vec::new(),
            events: Vec::new(),
            number: 100,
            is_canary_deaf: false,
            absent: None,
            writes_left: None,
            deaths: 0,
        }
    }

    /// Returns the same cluster with a host that knows nothing yet.
    pub(super) fn again(&self) -> Self {
        Self {
            objects: self.objects.clone(),
            now: self.now,
            number: self.number,
            ..Self::new()
        }
    }

    pub(super) fn key(name: &str) -> Key {
        Key {
            namespace: NS.to_owned(),
            name: name.to_owned(),
        }
    }

    fn next(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Puts an object as a person would.
    pub(super) fn apply(&mut self, kind: &'static Kind, name: &str, object: Value) {
        self.apply_by("kubectl", kind, name, object);
    }

    pub(super) fn apply_by(
        &mut self,
        by: &str,
        kind: &'static Kind,
        name: &str,
        mut object: Value,
    ) {
        let target = kind.named(NS, name);
        object["apiVersion"] = json!(kind.api_version());
        object["kind"] = json!(kind.kind);
        object["metadata"]["name"] = json!(name);
        object["metadata"]["namespace"] = json!(NS);
        match self.objects.get(&target).cloned() {
            Some(old) => {
                let mut new = old;
                merge(&mut new, &object);
                self.store(&target, new, by, false);
            }
            None => self.store(&target, object, by, false),
        }
    }

    /// Patches an object as a person would.
    pub(super) fn patch(&mut self, by: &str, kind: &'static Kind, name: &str, patch: &Value) {
        let target = kind.named(NS, name);
        let mut object = self.objects[&target].clone();
        merge(&mut object, patch);
        self.store(&target, object, by, false);
    }

    /// Patches the status of an object as the controller of its kind does.
    pub(super) fn report(&mut self, by: &str, kind: &'static Kind, name: &str, patch: &Value) {
        let target = kind.named(NS, name);
        let mut object = self.objects[&target].clone();
        merge(&mut object, patch);
        self.store(&target, object, by, true);
    }

    /// Scales an object, as autoscalers and `kubectl scale` do; the API server keeps no time of that.
    pub(super) fn scale(&mut self, by: &str, kind: &'static Kind, name: &str, replicas: u32) {
        let target = kind.named(NS, name);
        let mut object = self.objects[&target].clone();
        let mut writers = object["metadata"]["managedFields"].clone();
        let others = writers.as_array_mut().unwrap();
        others.retain(|one| one["subresource"] != "scale");
        others.push(json!({"manager": by, "subresource": "scale", "operation": "Update"}));
        object["spec"]["replicas"] = json!(replicas);
        self.store(&target, object, by, false);
        let stored = self.objects.get_mut(&target).unwrap();
        stored["metadata"]["managedFields"] = writers;
    }

    fn store(&mut self, target: &ObjectRef, mut object: Value, by: &str, is_status: bool) {
        let old = self.objects.get(target).cloned();
        if old.as_ref() == Some(&object) {
            return;
        }
        let number = self.next();
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata
            .entry("uid")
            .or_insert_with(|| json!(format!("uid-{number}")));
        metadata.insert("resourceVersion".to_owned(), json!(number.to_string()));
        let now = self.now.to_string();
        metadata
            .entry("creationTimestamp")
            .or_insert_with(|| json!(now));
        let spec_of = |object: &Value| object.get("spec").cloned();
        let is_changed = old.as_ref().and_then(&spec_of) != spec_of(&object);
        let generation = old
            .as_ref()
            .map_or(0, |old| old["metadata"]["generation"].as_u64().unwrap_or(0));
        object["metadata"]["generation"] = json!(generation + u64::from(is_changed && !is_status));
        if !is_status {
            let replicas = |object: &Value| object.pointer("/spec/replicas").cloned();
            let scaled = old
                .iter()
                .filter(|old| replicas(old) == replicas(&object))
                .flat_map(|old| old["metadata"]["managedFields"].as_array().unwrap())
                .find(|one| one["subresource"] == "scale");
            let last = json!({"manager": by, "time": self.now.to_string(), "operation": "Update"});
            let writers: Vec<Value> = [last].into_iter().chain(scaled.cloned()).collect();
            object["metadata"]["managedFields"] = json!(writers);
        }
        let is_gone = object["metadata"].get("deletionTimestamp").is_some()
            && object["metadata"]["finalizers"]
                .as_array()
                .is_none_or(Vec::is_empty);
        if is_gone {
            self.objects.remove(target);
        } else {
            self.objects.insert(target.clone(), object);
        }
    }

    pub(super) fn get(&self, kind: &'static Kind, name: &str) -> &Value {
        let target = kind.named(NS, name);
        self.objects
            .get(&target)
            .unwrap_or_else(|| panic!("{target} is missing"))
    }

    pub(super) fn find(&self, kind: &'static Kind, name: &str) -> Option<&Value> {
        self.objects.get(&kind.named(NS, name))
    }

    pub(super) fn status(&self) -> &Value {
        &self.get(&RELEASE, "shop")["status"]
    }

    pub(super) fn delete(&mut self, kind: &'static Kind, name: &str) {
        let target = kind.named(NS, name);
        let has_finalizers = self.objects[&target]["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|all| !all.is_empty());
        if has_finalizers {
            let now = self.now.to_string();
            self.patch(
                "kubectl",
                kind,
                name,
                &json!({"metadata": {"deletionTimestamp": now}}),
            );
        } else {
            self.objects.remove(&target);
        }
    }

    /// Lets the host write until nothing follows any more, and Kubernetes follow; returns when the host wants to look again.
    pub(super) fn settle(&mut self) -> Option<Timestamp> {
        for _ in 0..TURNS_MAX {
            self.follow();
            let before = self.number;
            let mut next: Vec<Then> = Vec::new();
            for name in self.releases.clone() {
                next.push(self.turn_of(&name));
                self.follow();
            }
            let is_over = |then: &Then| match then {
                Then::Again => false,
                Then::OnChange => true,
                Then::At(at) => *at > self.now,
            };
            if before == self.number && next.iter().all(is_over) {
                let times = next.iter().filter_map(|then| match then {
                    Then::At(at) => Some(*at),
                    Then::Again | Then::OnChange => None,
                });
                return times.min();
            }
        }
        let last = &self.log[self.log.len().saturating_sub(12)..];
        panic!("no end of writes: {last:#?}");
    }

    /// Takes the writes of one turn.
    pub(super) fn turn(&mut self) {
        self.follow();
        self.turn_of(&self.releases[0].clone());
        self.follow();
    }

    fn turn_of(&mut self, name: &str) -> Then {
        let key = Self::key(name);
        if self.find(self.host.kind(), name).is_none() {
            self.host.forget(&key);
            return Then::OnChange;
        }
        let turn = self
            .host
            .turn(&key, &Eyes(&self.objects, self.absent), self.now);
        if self.take(&turn.writes) {
            self.events.extend(turn.events);
        }
        turn.then
    }

    /// Takes a kind away with all its objects, as when its definition is deleted.
    pub(super) fn take_away(&mut self, kind: &'static Kind) {
        self.objects.retain(|target, _| target.kind != kind);
        self.absent = Some(kind);
        self.number += 1;
    }

    /// Lets time pass, looking whenever the host wants to.
    pub(super) fn pass(&mut self, seconds: i64) {
        let end = self.now + SignedDuration::from_secs(seconds);
        loop {
            let next = self.settle();
            match next {
                Some(at) if at < end => self.now = at,
                Some(_) | None => break,
            }
        }
        self.now = end;
        self.settle();
    }

    pub(super) fn take(&mut self, writes: &[Write]) -> bool {
        for write in writes {
            if let Some(left) = &mut self.writes_left {
                if *left == 0 {
                    // It dies before this write; what it knew is gone.
                    self.host = (self.make)();
                    self.writes_left = None;
                    self.deaths += 1;
                    return false;
                }
                *left -= 1;
            }
            if let Err(why) = self.write(write) {
                self.log.push(format!("{}: {why}", write.target));
                return false;
            }
        }
        true
    }

    fn write(&mut self, write: &Write) -> Result<(), String> {
        let target = &write.target;
        let seen = self.objects.get(target).cloned();
        match &write.what {
            What::Create(object) => {
                if seen.is_some() {
                    return Err("exists".to_owned());
                }
                self.log.push(format!("create {target}"));
                self.store(target, object.clone(), "haldane-controller", false);
            }
            What::Merge {
                patch,
                resource_version,
            }
            | What::MergeStatus {
                patch,
                resource_version,
            } => {
                let mut object = seen.ok_or("missing")?;
                let version = object["metadata"]["resourceVersion"].as_str();
                if resource_version
                    .as_deref()
                    .is_some_and(|wanted| Some(wanted) != version)
                {
                    return Err("conflict".to_owned());
                }
                let is_status = matches!(write.what, What::MergeStatus { .. });
                self.log.push(format!(
                    "{} {target} {}",
                    if is_status { "status" } else { "merge" },
                    short(patch)
                ));
                merge(&mut object, patch);
                self.store(target, object, "haldane-controller", is_status);
            }
            What::Delete { uid } => {
                let object = seen.ok_or("missing")?;
                if object["metadata"]["uid"] != json!(uid) {
                    return Err("another uid".to_owned());
                }
                self.log.push(format!("delete {target}"));
                self.objects.remove(target);
            }
        }
        Ok(())
    }

    /// Lets the controllers of Kubernetes do all that they have to do.
    pub(super) fn follow(&mut self) {
        self.collect_garbage();
        let deployments: Vec<(ObjectRef, Value)> = self.of(&DEPLOYMENT);
        for (target, deployment) in deployments {
            self.follow_deployment(&target, deployment);
        }
        for (target, set) in self.of(&STATEFUL_SET) {
            self.follow_stateful_set(&target, set);
        }
        for (target, service) in self.of(&SERVICE) {
            self.follow_service(&target, &service);
        }
    }

    fn of(&self, kind: &'static Kind) -> Vec<(ObjectRef, Value)> {
        let all = self.objects.iter();
        all.filter(|(target, _)| target.kind == kind)
            .map(|(target, object)| (target.clone(), object.clone()))
            .collect()
    }

    fn collect_garbage(&mut self) {
        let uids: Vec<Value> = self
            .objects
            .values()
            .map(|object| object["metadata"]["uid"].clone())
            .collect();
        self.objects.retain(|_, object| {
            let owners = object["metadata"]["ownerReferences"].as_array();
            owners.is_none_or(|owners| owners.iter().all(|owner| uids.contains(&owner["uid"])))
        });
    }

    fn follow_deployment(&mut self, target: &ObjectRef, mut deployment: Value) {
        let uid = deployment["metadata"]["uid"].clone();
        let template = deployment["spec"]["template"].clone();
        let hash = format!("{:x}", checksum(&template));
        let replicas = deployment["spec"]["replicas"].as_u64().unwrap_or(1);
        let is_paused = deployment["spec"]["paused"] == json!(true);
        let mine = |object: &Value| object["metadata"]["ownerReferences"][0]["uid"] == uid;
        let sets: Vec<(ObjectRef, Value)> = self
            .of(&REPLICA_SET)
            .into_iter()
            .filter(|(_, set)| mine(set))
            .collect();
        let name = format!("{}-{hash}", target.name);
        let has_new = sets.iter().any(|(set, _)| set.name == name);
        if !is_paused && !has_new {
            let mut labelled = template.clone();
            labelled["metadata"]["labels"]["pod-template-hash"] = json!(hash);
            let set = json!({
                "metadata": {
                    "labels": labelled["metadata"]["labels"],
                    "ownerReferences": [{"uid": uid, "controller": true}],
                },
                "spec": {"replicas": 0, "template": labelled},
            });
            self.apply_by("kube-controller-manager", &REPLICA_SET, &name, set);
        }
        // A paused Deployment scales the one that is active; else the new one has all.
        for (set, object) in self
            .of(&REPLICA_SET)
            .into_iter()
            .filter(|(_, set)| mine(set))
        {
            let is_new = set.name == name;
            let is_active = object["spec"]["replicas"].as_u64() > Some(0);
            let size = match (is_paused, is_new, is_active) {
                (false, true, _) | (true, _, true) => replicas,
                (false, false, _) | (true, _, false) => 0,
            };
            let mut object = object;
            object["spec"]["replicas"] = json!(size);
            self.store(&set, object, "kube-controller-manager", false);
        }
        let sizes = |is_new: bool| -> u64 {
            let sets = self.of(&REPLICA_SET).into_iter();
            sets.filter(|(set, object)| mine(object) && (!is_new || set.name == name))
                .map(|(_, object)| object["spec"]["replicas"].as_u64().unwrap_or(0))
                .sum()
        };
        let is_bad = template.to_string().contains("broken");
        let ready = if is_bad { 0 } else { sizes(false) };
        // A template that is never rolled out to its end: the old pods go on serving.
        let is_slow = template.to_string().contains("slow");
        let updated = if is_slow { 0 } else { sizes(true) };
        deployment["status"] = json!({
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": sizes(false),
            "updatedReplicas": updated,
            "readyReplicas": ready,
            "availableReplicas": ready,
        });
        self.store(target, deployment, "kube-controller-manager", true);
    }

    /// Does what one look of the StatefulSet controller does: it makes a pod or replaces one, and writes the status.
    fn follow_stateful_set(&mut self, target: &ObjectRef, mut set: Value) {
        let uid = set["metadata"]["uid"].clone();
        let owner = json!([{"uid": uid, "controller": true}]);
        let template = set["spec"]["template"].clone();
        let newest = format!("{}-{:x}", target.name, checksum(&template));
        if self.find(&CONTROLLER_REVISION, &newest).is_none() {
            let mut kept = template.clone();
            kept["$patch"] = json!("replace");
            let revision = json!({
                "metadata": {"ownerReferences": owner},
                "data": {"spec": {"template": kept}},
            });
            self.apply_by(
                "kube-controller-manager",
                &CONTROLLER_REVISION,
                &newest,
                revision,
            );
        }
        let current = set["status"]["currentRevision"].as_str();
        let current = current.unwrap_or(&newest).to_owned();
        let replicas = set["spec"]["replicas"].as_u64().unwrap_or(1);
        let partition = set["spec"]["updateStrategy"]["rollingUpdate"]["partition"]
            .as_u64()
            .unwrap_or(0);
        for (pod, _) in self.of(&POD) {
            let ordinal: u64 = pod.name.rsplit('-').next().unwrap().parse().unwrap();
            if ordinal >= replicas {
                self.objects.remove(&pod);
            }
        }
        self.move_one_pod(
            &target.name,
            &owner,
            (replicas, partition),
            (&current, &newest),
        );
        let pods = self.of(&POD);
        let count =
            |test: &dyn Fn(&Value) -> bool| pods.iter().filter(|(_, pod)| test(pod)).count();
        let ready = count(&is_ready) as u64;
        let updated = count(&|pod| revision_of(pod) == newest) as u64;
        let is_complete = [ready, updated, pods.len() as u64]
            .iter()
            .all(|count| *count == replicas);
        let metadata = &set["metadata"]["generation"];
        set["status"] = json!({
            "observedGeneration": metadata,
            "replicas": pods.len(),
            "updatedReplicas": updated,
            "readyReplicas": ready,
            "availableReplicas": ready,
            "currentRevision": if is_complete { &newest } else { &current },
            "updateRevision": newest,
        });
        self.store(target, set, "kube-controller-manager", true);
    }

    fn move_one_pod(
        &mut self,
        name: &str,
        owner: &Value,
        (replicas, partition): (u64, u64),
        (current, newest): (&str, &str),
    ) {
        for ordinal in 0..replicas {
            let pod = format!("{name}-{ordinal}");
            match self.find(&POD, &pod) {
                Some(found) if is_ready(found) => {}
                // What is above waits for it.
                Some(_) => return,
                None => {
                    let revision = if ordinal < partition { current } else { newest };
                    let data = self.get(&CONTROLLER_REVISION, revision)["data"].to_string();
                    let ready = if data.contains("broken") {
                        "False"
                    } else {
                        "True"
                    };
                    let object = json!({
                        "metadata": {
                            "ownerReferences": owner,
                            "labels": {"controller-revision-hash": revision},
                            "creationTimestamp": self.now.to_string(),
                        },
                        "status": {"conditions": [{"type": "Ready", "status": ready}]},
                    });
                    self.apply_by("kube-controller-manager", &POD, &pod, object);
                    return;
                }
            }
        }
        for ordinal in (partition..replicas).rev() {
            let pod = format!("{name}-{ordinal}");
            if revision_of(self.get(&POD, &pod)) != newest {
                self.delete(&POD, &pod);
                return;
            }
        }
    }

    fn follow_service(&mut self, target: &ObjectRef, service: &Value) {
        let selector = service["spec"]["selector"].as_object().unwrap().clone();
        let is_ready = !(self.is_canary_deaf && target.name.ends_with("-canary"));
        let mut endpoints = Vec::new();
        for (set, object) in self.of(&REPLICA_SET) {
            let labels = &object["spec"]["template"]["metadata"]["labels"];
            if selector.iter().all(|(key, value)| &labels[key] == value) {
                for index in 0..object["spec"]["replicas"].as_u64().unwrap_or(0) {
                    endpoints.push(json!({
                        "conditions": {"ready": is_ready},
                        "targetRef": {"name": format!("{}-{index}", set.name)},
                    }));
                }
            }
        }
        let slice = json!({
            "metadata": {"ownerReferences": [{"uid": service["metadata"]["uid"], "controller": true}]},
            "endpoints": endpoints,
        });
        self.apply_by(
            "kube-controller-manager",
            &ENDPOINT_SLICE,
            &format!("{}-x", target.name),
            slice,
        );
    }
}

/// Returns a host that measures nothing and asks nobody.
pub(super) fn silent() -> Box<dyn Host> {
    Box::new(ReleaseHost::new(ports()))
}

/// Returns ports that nobody answers at.
pub(super) fn ports() -> Ports {
    Ports {
        meter: Arc::new(Silence),
        asker: Arc::new(Silence),
    }
}

/// Nobody measures, and nobody answers.
#[derive(Debug)]
pub(super) struct Silence;

impl Meter for Silence {
    fn watch(&self, _: &Key, _: Option<&Watch>) {}

    fn take(&self, _: &Key) -> Measured {
        Measured::default()
    }
}

impl Asker for Silence {
    fn ask(&self, _: &Key, _: &GateKey, _: &Gate, _: &Subject) {}

    fn answers(&self, _: &Key) -> Vec<GateAnswer> {
        Vec::new()
    }

    fn forget(&self, _: &Key, _: &RolloutId) {}

    fn remove(&self, _: &Key) {}
}

/// What the host sees of a world.
pub(super) struct Eyes<'a>(
    pub(super) &'a BTreeMap<ObjectRef, Value>,
    pub(super) Option<&'static Kind>,
);

impl Sight for Eyes<'_> {
    fn get(&self, target: &ObjectRef) -> Seen {
        if self.1 == Some(target.kind) {
            return Seen::NoKind(format!("the cluster has no kind {}", target.kind.kind));
        }
        self.0
            .get(target)
            .map_or(Seen::Missing, |object| Seen::Found(object.clone()))
    }

    fn owned(&self, kind: &'static Kind, _: &str, uid: &str) -> Vec<Value> {
        let of = |object: &&Value| object["metadata"]["ownerReferences"][0]["uid"] == json!(uid);
        let all = self.0.iter().filter(|(target, _)| target.kind == kind);
        let mut found: Vec<Value> = all.map(|(_, object)| object).filter(of).cloned().collect();
        found.sort_by_key(|object| {
            let version = object["metadata"]["uid"].as_str().unwrap();
            version.trim_start_matches("uid-").parse::<u64>().unwrap()
        });
        found
    }

    fn count_in(&self, kind: &'static Kind, namespace: &str) -> usize {
        self.names_in(kind, namespace).len()
    }

    fn names_in(&self, kind: &'static Kind, _: &str) -> Vec<String> {
        let all = self.0.keys().filter(|target| target.kind == kind);
        all.map(|target| target.name.clone()).collect()
    }
}

fn is_ready(pod: &Value) -> bool {
    pod["status"]["conditions"][0]["status"] == "True"
}

fn revision_of(pod: &Value) -> &str {
    pod["metadata"]["labels"]["controller-revision-hash"]
        .as_str()
        .unwrap()
}

fn merge(object: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let map = object.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

fn checksum(value: &Value) -> u32 {
    let text = value.to_string();
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// Returns a patch without what is long.
fn short(patch: &Value) -> String {
    let mut patch = patch.clone();
    if let Some(status) = patch.get_mut("status").and_then(Value::as_object_mut) {
        status.retain(|key, _| ["phase", "step", "weight", "message"].contains(&key.as_str()));
    }
    let kept = patch.pointer_mut("/metadata/annotations/haldane.dev~1terminal-status");
    if let Some(Value::String(text)) = kept {
        let status: Value = serde_json::from_str(text).unwrap();
        *text = format!(
            "{} {} {}",
            status["phase"], status["weight"], status["message"]
        );
    }
    patch.to_string()
}

#[test]
fn the_world_merges_as_the_api_server_does() {
    let mut object = json!({"a": 1, "b": {"c": 2, "d": [1]}});
    let wanted = json!({"b": {"c": 3, "d": []}, "e": {"f": 1}});
    let patch = difference(&object, &wanted).unwrap();
    merge(&mut object, &patch);
    assert_eq!(object, wanted);
}
