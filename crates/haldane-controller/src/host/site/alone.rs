//! One Deployment: its new template is tried in a Deployment of ours beside it, and taken in when it was good.
//!
//! The user's Deployment is kept paused, so that Kubernetes does not roll a new template out by itself, whether Haldane runs or not;
//! it still scales, and its spec stays what Git says. Where routers split the traffic, its Service is pinned to the pods of stable by
//! one more key in its selector, and the canary has a Service of its own. A version that was promoted serves from our Deployment until
//! the user's has taken the same template in: behind the Service, without traffic, so that a bad start of it harms nobody.
//!
//! **Invariant:** the user's Deployment is not paused only while its template is the version that serves.

mod service;

pub(in crate::host) use self::service::SPREAD_MAX;

use std::collections::{BTreeMap, BTreeSet};

use haldane_api::release::{DeploymentWorkload, mark};
use haldane_router::{Backend, ObjectRef};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::{
    Blocked, CanaryReplicas, Deployment, Live, Record, Rest, Scene, Stable, Version, View,
};
use crate::{
    host::{
        deployment::restart,
        json::{self as read, map_mut, put, set},
        pods,
        version::{POD_HASH, labels},
    },
    kinds::{DEPLOYMENT, REPLICA_SET, SERVICE},
    meter::Place,
    turn::{Key, Urgency, What, Write},
};

/// The label of a canary's pods: the checksum of their template.
const VERSION: &str = "haldane.dev/version";

/// The value of the label `haldane.dev/role` on what is on trial.
const CANARY: &str = "canary";

/// How much of a Deployment's name goes into that of its canary.
const NAME_MAX: usize = 48;

/// One Deployment.
#[derive(Clone, Debug)]
pub(in crate::host) struct Alone {
    name: String,
    service: String,
    canary_service: String,
}

impl Alone {
    pub(super) fn new(workload: &DeploymentWorkload) -> Self {
        let service = workload.service.clone();
        let service = service.unwrap_or_else(|| workload.name.clone());
        let canary_service = workload.canary_service.clone();
        Self {
            name: workload.name.clone(),
            canary_service: canary_service.unwrap_or_else(|| format!("{service}-canary")),
            service,
        }
    }

    pub(super) fn reads(&self, key: &Key, record: &Record) -> BTreeSet<ObjectRef> {
        let beside = record.stable.as_ref().and_then(|one| one.beside.clone());
        let canary = record.live.as_ref().map(|live| self.beside(&live.canary));
        let deployments = [Some(self.name.clone()), beside, canary];
        let services = [&self.service, &self.canary_service];
        deployments
            .iter()
            .flatten()
            .map(|name| DEPLOYMENT.named(&key.namespace, name))
            .chain(
                services
                    .iter()
                    .map(|name| SERVICE.named(&key.namespace, name)),
            )
            .collect()
    }

    pub(super) fn workload(&self, key: &Key) -> ObjectRef {
        DEPLOYMENT.named(&key.namespace, &self.name)
    }

    pub(super) fn backends(&self) -> (Backend, Backend) {
        let backend = |service: &String, role: &str| Backend {
            service: service.clone(),
            labels: BTreeMap::from([(mark::ROLE.to_owned(), role.to_owned())]),
        };
        (
            backend(&self.service, "stable"),
            backend(&self.canary_service, CANARY),
        )
    }

    /// Returns the name of our Deployment for a version.
    fn beside(&self, version: &Version) -> String {
        let name: String = self.name.chars().take(NAME_MAX).collect();
        format!("{name}-canary-{}", version.short())
    }

    pub(super) fn look(&self, view: &View<'_>, record: &Record) -> Result<Scene, Blocked> {
        let deployment = view.deployment(&self.name)?;
        view.check_claim(&DEPLOYMENT, &deployment.0)?;
        let stable = record.stable.as_ref();
        let serving = match stable.and_then(|one| one.beside.as_ref()) {
            Some(name) => view.deployment(name)?,
            None => deployment.clone(),
        };
        let live = record.live.as_ref();
        let canary = match live {
            Some(live) => view.find(&DEPLOYMENT, &self.beside(&live.canary))?,
            None => None,
        };
        let canary = canary.map(Deployment);
        let full = live.map_or(0, |live| live.full);
        Ok(Scene {
            stable: serving.seen(),
            canary: canary.as_ref().map(Deployment::seen),
            full: full.max(deployment.replicas()),
            sizes: vec![deployment.replicas()],
            trouble: canary.as_ref().and_then(|one| {
                let said = one.trouble().filter(|_| live.is_some());
                said.or_else(|| pods::trouble(view, one))
            }),
            offered: self.offered(&deployment, stable),
        })
    }

    fn offered(&self, deployment: &Deployment, stable: Option<&Stable>) -> Version {
        let template = (deployment.template(), deployment.selector());
        let version = Version::of(&[template], stable.map(|one| &one.version));
        match stable {
            // A version keeps the name that it had when it was on trial.
            Some(stable) if stable.version.hash == version.hash => stable.version.clone(),
            Some(_) | None => version,
        }
    }

    pub(super) fn adopt(&self, view: &View<'_>) -> Result<Stable, Blocked> {
        let deployment = view.deployment(&self.name)?;
        view.check_claim(&DEPLOYMENT, &deployment.0)?;
        if view.is_routed {
            view.need(&SERVICE, &self.service)?;
        }
        let version = self.offered(&deployment, None);
        if !deployment.is_rolled_out() || deployment.replicas() == 0 {
            if let Some(held) = self.adopt_held(view, &deployment) {
                return Ok(held);
            }
            return Err(Blocked {
                reason: "Waiting",
                message: format!(
                    "waits until Deployment {} is rolled out and has a pod",
                    self.name
                ),
            });
        }
        let pods = self.pods_of(view, &deployment, &version)?;
        Ok(Stable {
            version,
            pods,
            beside: None,
            since: view.now,
        })
    }

    /// Returns what serves of a Deployment that we hold already, and that got another template before it was adopted: it was held
    /// while it was rolled out, so its pods are of one ReplicaSet.
    fn adopt_held(&self, view: &View<'_>, deployment: &Deployment) -> Option<Stable> {
        if !self.held(view, deployment, true, 0).is_empty() {
            return None;
        }
        let uid = read::uid(&deployment.0);
        let sets = view.sight.owned(&REPLICA_SET, &view.key.namespace, uid);
        let mut active = sets
            .iter()
            .filter(|set| read::count(set, "/spec/replicas") > 0);
        let (set, None) = (active.next()?, active.next()) else {
            return None;
        };
        let template = set.pointer("/spec/template")?;
        Some(Stable {
            version: Version::of(&[(template, deployment.selector())], None),
            pods: read::text(set, &format!("/metadata/labels/{POD_HASH}"))?.to_owned(),
            beside: None,
            since: view.now,
        })
    }

    /// Returns what keeps a Deployment from rolling out by itself that is about to be adopted.
    pub(super) fn held_back(&self, view: &View<'_>) -> Result<Vec<Write>, Blocked> {
        let deployment = view.deployment(&self.name)?;
        Ok(self.held(view, &deployment, true, 0))
    }

    /// Returns the label by which the pods of a version are told from others of the same Deployment.
    fn pods_of(
        &self,
        view: &View<'_>,
        deployment: &Deployment,
        version: &Version,
    ) -> Result<String, Blocked> {
        let uid = read::uid(&deployment.0);
        let sets = view.sight.owned(&REPLICA_SET, &view.key.namespace, uid);
        let is_of = |set: &&Value| {
            let template = set.pointer("/spec/template").unwrap_or(&Value::Null);
            Version::of(&[(template, deployment.selector())], None).hash == version.hash
        };
        let found = sets.iter().rev().find(is_of);
        let hash = found.and_then(|set| read::text(set, &format!("/metadata/labels/{POD_HASH}")));
        hash.map(str::to_owned).ok_or_else(|| Blocked {
            reason: "Waiting",
            message: format!(
                "waits for the ReplicaSet of {} in Deployment {}",
                version.name,
                deployment.name()
            ),
        })
    }

    pub(super) fn canary(
        &self,
        view: &View<'_>,
        record: &Record,
        live: &Live,
        size: &CanaryReplicas,
    ) -> Result<Vec<Write>, Blocked> {
        let deployment = view.deployment(&self.name)?;
        let name = self.beside(&live.canary);
        let target = view.name(&DEPLOYMENT, &name);
        let Some(seen) = view.find(&DEPLOYMENT, &name)? else {
            if live.is_started || self.offered(&deployment, None).hash != live.canary.hash {
                return Ok(Vec::new());
            }
            if size.count == 0 {
                return Ok(Vec::new());
            }
            let wanted = self.beside_object(view, &deployment, &live.canary, size.count);
            let mut writes = self.canary_service(view, Some((record, &live.canary)))?;
            writes.extend(put(&target, None, &wanted, Urgency::Rest));
            return Ok(writes);
        };
        // Without its Service some routers refuse the whole route. Without the user's there is none to make it of; that keeps no canary up.
        let mut writes = match self.canary_service(view, Some((record, &live.canary))) {
            Err(_) if size.count == 0 => Vec::new(),
            writes => writes?,
        };
        let wanted = resized(&seen, size);
        writes.extend(put(&target, Some(&seen), &wanted, Urgency::Rest));
        Ok(writes)
    }

    pub(super) fn grown(
        &self,
        view: &View<'_>,
        record: &Record,
        live: &Live,
    ) -> Result<Vec<Write>, Blocked> {
        let stable = record.stable.as_ref();
        // What serves beside it has a size of its own.
        if stable.is_some_and(|stable| stable.beside.is_some()) {
            return Ok(Vec::new());
        }
        let deployment = view.deployment(&self.name)?;
        let least = live.sizes.first().copied().unwrap_or(0);
        let target = view.name(&DEPLOYMENT, &self.name);
        Ok(deployment.grown(&target, least).into_iter().collect())
    }

    /// Returns our Deployment for a version, from the user's.
    fn beside_object(
        &self,
        view: &View<'_>,
        deployment: &Deployment,
        version: &Version,
        replicas: u32,
    ) -> Value {
        let marks = self.marks(view, version);
        let mut template = deployment.template().clone();
        let mut all = labels(&template);
        all.extend(marks.clone());
        if let Some(template) = template.as_object_mut() {
            let metadata = template.entry("metadata").or_insert_with(|| json!({}));
            set(metadata, &["labels"], Value::Object(all.clone()));
        }
        let mut spec = json!({
            "replicas": replicas,
            "revisionHistoryLimit": 0,
            "selector": {"matchLabels": marks},
            "template": template,
        });
        for key in ["minReadySeconds", "progressDeadlineSeconds"] {
            if let Some(value) = deployment.0.pointer(&format!("/spec/{key}")) {
                set(&mut spec, &[key], value.clone());
            }
        }
        json!({
            "apiVersion": DEPLOYMENT.api_version(),
            "kind": DEPLOYMENT.kind,
            "metadata": {
                "name": self.beside(version),
                "namespace": view.key.namespace,
                "labels": all,
                "ownerReferences": [view.owner()],
            },
            "spec": spec,
        })
    }

    /// Returns the labels that pods of our Deployments have and others have not.
    fn marks(&self, view: &View<'_>, version: &Version) -> Map<String, Value> {
        let marks = [
            (mark::RELEASE, view.key.name.as_str()),
            (mark::ROLE, CANARY),
            (VERSION, &version.hash),
        ];
        let marks = marks.iter();
        marks
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect()
    }

    pub(super) fn rest(
        &self,
        view: &View<'_>,
        record: &Record,
        stable: &Stable,
        is_drained: bool,
    ) -> Result<Rest, Blocked> {
        let deployment = view.deployment(&self.name)?;
        view.check_claim(&DEPLOYMENT, &deployment.0)?;
        let takes_in = stable.beside.is_some()
            && self.offered(&deployment, Some(stable)).hash == stable.version.hash;
        if takes_in && deployment.is_rolled_out() {
            let own = Stable {
                version: stable.version.clone(),
                pods: self.pods_of(view, &deployment, &stable.version)?,
                beside: None,
                since: view.now,
            };
            return Ok(Rest {
                stable: Some(own),
                goes_on: Some(format!("Deployment {} runs it now", self.name)),
                ..Rest::default()
            });
        }
        // An autoscaler may have shrunk it while others had its traffic.
        let beside = stable.beside.as_ref().filter(|_| takes_in);
        let beside = beside
            .map(|name| view.find(&DEPLOYMENT, name))
            .transpose()?;
        let least = beside.flatten().map(|one| Deployment(one).replicas());
        let mut rest = Rest {
            writes: self.held(view, &deployment, !takes_in, least.unwrap_or(0)),
            is_stable_reached: true,
            is_stopped: true,
            ..Rest::default()
        };
        if takes_in {
            let updated = read::count(&deployment.0, "/status/updatedReplicas");
            rest.goes_on = Some(format!(
                "Deployment {} takes {} in ({updated} of {} pods)",
                self.name,
                stable.version.name,
                deployment.replicas()
            ));
        }
        if view.is_routed {
            self.lead(view, stable, &mut rest)?;
        }
        if record.live.is_none() && rest.is_stable_reached && is_drained {
            self.clear_away(view, stable, &mut rest);
        }
        Ok(rest)
    }

    /// Returns what keeps the user's Deployment from rolling out by itself, or lets it, with at least so many replicas.
    fn held(
        &self,
        view: &View<'_>,
        deployment: &Deployment,
        is_paused: bool,
        replicas_min: u32,
    ) -> Vec<Write> {
        let mut wanted = deployment.0.clone();
        if deployment.replicas() < replicas_min {
            set(&mut wanted, &["spec", "replicas"], json!(replicas_min));
        }
        if is_paused {
            set(&mut wanted, &["spec", "paused"], json!(true));
        } else if let Some(spec) = map_mut(&mut wanted, "/spec") {
            spec.remove("paused");
        }
        set(
            &mut wanted,
            &["metadata", "annotations", mark::CLAIM],
            json!(view.key.name),
        );
        let target = view.name(&DEPLOYMENT, &self.name);
        put(&target, Some(&deployment.0), &wanted, Urgency::Rest)
            .into_iter()
            .collect()
    }

    /// Removes our Deployments that nobody needs any more.
    fn clear_away(&self, view: &View<'_>, stable: &Stable, rest: &mut Rest) {
        let ours = view.sight.owned(&DEPLOYMENT, &view.key.namespace, view.uid);
        for object in &ours {
            let name = read::text(object, "/metadata/name").unwrap_or_default();
            let is_needed = stable.beside.as_deref() == Some(name);
            if !is_needed && object.pointer("/metadata/deletionTimestamp").is_none() {
                rest.writes.push(Write {
                    target: view.name(&DEPLOYMENT, name),
                    what: What::Delete {
                        uid: read::uid(object).to_owned(),
                    },
                    urgency: Urgency::Rest,
                });
            }
        }
    }

    /// Whether neither our Deployments nor pods of theirs are there any more.
    pub(super) fn is_quiet(&self, view: &View<'_>) -> Result<bool, Blocked> {
        let ours = view.sight.owned(&DEPLOYMENT, &view.key.namespace, view.uid);
        Ok(ours.is_empty() && !self.has_canary_pods(view)?)
    }

    pub(super) fn leave(&self, view: &View<'_>, record: &Record) -> Result<Vec<Write>, Blocked> {
        let mut writes = Vec::new();
        let deployment = view.find(&DEPLOYMENT, &self.name)?.map(Deployment);
        // What another release has is not ours to put back.
        if deployment
            .as_ref()
            .is_some_and(|found| view.check_claim(&DEPLOYMENT, &found.0).is_err())
        {
            return Ok(writes);
        }
        if let Some(service) = view.find(&SERVICE, &self.service)? {
            let mut wanted = service.clone();
            if let Some(selector) = map_mut(&mut wanted, "/spec/selector") {
                selector.remove(POD_HASH);
            }
            let target = view.name(&SERVICE, &self.service);
            writes.extend(put(&target, Some(&service), &wanted, Urgency::Traffic));
        }
        let Some(deployment) = deployment else {
            return Ok(writes);
        };
        // One that was never ours keeps what its owner says.
        if read::annotation(&deployment.0, mark::CLAIM).is_none() {
            return Ok(writes);
        }
        let stable = record.stable.as_ref();
        let offered = self.offered(&deployment, stable);
        let is_serving = stable.is_none_or(|stable| stable.version.hash == offered.hash);
        let mut wanted = deployment.0.clone();
        if let Some(annotations) = map_mut(&mut wanted, "/metadata/annotations") {
            annotations.remove(mark::CLAIM);
        }
        // What was not judged or was found bad is not let loose by taking Haldane away.
        if is_serving && let Some(spec) = map_mut(&mut wanted, "/spec") {
            spec.remove("paused");
        }
        let target = view.name(&DEPLOYMENT, &self.name);
        writes.extend(put(&target, Some(&deployment.0), &wanted, Urgency::Rest));
        Ok(writes)
    }

    /// Returns what puts the template of an earlier version in place again; Kubernetes keeps it in a ReplicaSet.
    pub(super) fn put_back(&self, view: &View<'_>, to: &Version) -> Result<Vec<Write>, Blocked> {
        let deployment = view.deployment(&self.name)?;
        if self.offered(&deployment, None).hash == to.hash {
            return Ok(Vec::new());
        }
        let uid = read::uid(&deployment.0);
        let sets = view.sight.owned(&REPLICA_SET, &view.key.namespace, uid);
        let template = sets.iter().find_map(|set| {
            let template = set.pointer("/spec/template")?;
            let version = Version::of(&[(template, deployment.selector())], None);
            (version.hash == to.hash).then(|| template.clone())
        });
        let Some(mut template) = template else {
            return Err(Blocked {
                reason: "CannotUndo",
                message: format!(
                    "no ReplicaSet of Deployment {} has the template of {} any more",
                    self.name, to.name
                ),
            });
        };
        if let Some(labels) = map_mut(&mut template, "/metadata/labels") {
            labels.remove(POD_HASH);
        }
        let mut wanted = deployment.0.clone();
        set(&mut wanted, &["spec", "template"], template);
        let target = view.name(&DEPLOYMENT, &self.name);
        Ok(put(&target, Some(&deployment.0), &wanted, Urgency::Rest)
            .into_iter()
            .collect())
    }

    /// Tells who took the canary away, and how, if somebody did.
    pub(super) fn taken_away(
        &self,
        view: &View<'_>,
        live: &Live,
    ) -> Result<Option<String>, Blocked> {
        let name = self.beside(&live.canary);
        let Some(canary) = view.find(&DEPLOYMENT, &name)? else {
            return Ok(Some(format!("Deployment {name} was deleted")));
        };
        let by = read::scaled_by_whom(&canary);
        let is_gone = Deployment(canary).replicas() == 0;
        Ok(is_gone.then(|| format!("Deployment {name} was scaled to 0{by}")))
    }

    pub(super) fn places(&self, record: &Record, live: &Live) -> (Place, Place) {
        let stable = record.stable.as_ref();
        let beside = stable.and_then(|stable| stable.beside.clone());
        let deployment = beside.unwrap_or_else(|| self.name.clone());
        let pods = stable
            .map(|stable| stable.pods.as_str())
            .unwrap_or_default();
        let stable = Place {
            replica_set: (!pods.is_empty()).then(|| format!("{deployment}-{pods}")),
            deployment,
            service: self.service.clone(),
        };
        let canary = Place {
            deployment: self.beside(&live.canary),
            service: self.canary_service.clone(),
            replica_set: None,
        };
        (stable, canary)
    }

    /// Returns where a version serves that was just promoted.
    pub(in crate::host) fn promoted(&self, live: &Live, now: Timestamp) -> Stable {
        Stable {
            version: live.canary.clone(),
            pods: String::new(),
            beside: Some(self.beside(&live.canary)),
            since: now,
        }
    }
}

/// Returns our Deployment at another size.
fn resized(seen: &Value, size: &CanaryReplicas) -> Value {
    let mut wanted = seen.clone();
    set(&mut wanted, &["spec", "replicas"], json!(size.count));
    restart(&mut wanted, size.restart_since);
    wanted
}

fn later(now: Timestamp, wait: SignedDuration) -> Timestamp {
    now.checked_add(wait).unwrap_or(now)
}
