//! One StatefulSet: its new template is tried in its highest pods, and goes to all of them when it was good.
//!
//! The set's partition is held above any number of pods, so that Kubernetes makes no pod from a new template by itself, whether Haldane
//! runs or not, and however the set is scaled; the template stays what Git says. The canary's pods are the set's own with the highest
//! ordinals: the partition is lowered to let Kubernetes replace them. As long as one pod is left that was not replaced, Kubernetes
//! remembers the old template as the current one; so the last pod goes only after the promotion, and until then all the others can
//! be taken back. Kubernetes does not do that by itself: the partition is raised, and the canary's pods are deleted, one after the
//! other, to be made anew from the current template.
//!
//! There is no way to send a pod of a set more or less traffic than another, so the share of pods is the share of traffic.
//!
//! **Invariant:** the partition is open below the canary's pods only while the template is the version that was promoted; and no pod is
//! deleted that Kubernetes would not make from stable's template.

use std::collections::{BTreeMap, BTreeSet};

use haldane_api::release::{SetWorkload, mark};
use haldane_router::{Backend, ObjectRef};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Blocked, CanaryReplicas, Deployment, Live, Record, Rest, Scene, Stable, Version, View,
};
use crate::{
    host::{
        json::{self as read, map_mut, put, set as put_at},
        stateful_set::{HELD, Pod, StatefulSet, next_to_go, seen},
    },
    kinds::{CONTROLLER_REVISION, POD, STATEFUL_SET},
    meter::Place,
    turn::{FIELD_MANAGER, Key, Urgency, What, Write},
};

/// What stands in a record for a version that was promoted and that not all pods have yet.
const ALL_BUT_LAST: &str = "partition";

/// One StatefulSet.
#[derive(Clone, Debug)]
pub(in crate::host) struct Stateful {
    name: String,
}

impl Stateful {
    pub(super) fn new(workload: &SetWorkload) -> Self {
        Self {
            name: workload.name.clone(),
        }
    }

    pub(super) fn reads(&self, key: &Key) -> BTreeSet<ObjectRef> {
        [
            STATEFUL_SET.named(&key.namespace, &self.name),
            POD.named(&key.namespace, &format!("{}-0", self.name)),
        ]
        .into()
    }

    pub(super) fn workload(&self, key: &Key) -> ObjectRef {
        STATEFUL_SET.named(&key.namespace, &self.name)
    }

    /// Returns who gets requests on both sides: the same, as no router tells them apart.
    pub(super) fn backends(&self) -> (Backend, Backend) {
        let backend = Backend {
            service: self.name.clone(),
            labels: BTreeMap::new(),
        };
        (backend.clone(), backend)
    }

    fn set(&self, view: &View<'_>) -> Result<StatefulSet, Blocked> {
        let found = view.need(&STATEFUL_SET, &self.name)?;
        view.check_claim(&STATEFUL_SET, &found)?;
        Ok(StatefulSet(Deployment(found)))
    }

    /// Refuses a set whose pods Kubernetes would make from the newest template whatever the partition says.
    fn check_kind(&self, set: &StatefulSet) -> Result<(), Blocked> {
        if set.is_rolling() {
            return Ok(());
        }
        Err(Blocked {
            reason: "Unsuitable",
            message: format!(
                "StatefulSet {} has spec.updateStrategy.type OnDelete; expected RollingUpdate",
                self.name
            ),
        })
    }

    /// Returns the pods of the set, by their places.
    fn pods(&self, view: &View<'_>, set: &StatefulSet) -> Result<Vec<Pod>, Blocked> {
        let uid = read::uid(set.object());
        let owned = view.sight.owned(&POD, &view.key.namespace, uid);
        // Who is not watched yet has no pods, as it seems.
        view.find(&POD, &format!("{}-0", self.name))?;
        Ok(set.pods(&owned, view.now))
    }

    fn offered(set: &StatefulSet, stable: Option<&Stable>) -> Version {
        let template = (set.0.template(), set.0.selector());
        let version = Version::of(&[template], stable.map(|one| &one.version));
        match stable {
            // A version keeps the name that it had when it was on trial.
            Some(stable) if stable.version.hash == version.hash => stable.version.clone(),
            Some(_) | None => version,
        }
    }

    pub(super) fn look(&self, view: &View<'_>, record: &Record) -> Result<Scene, Blocked> {
        let set = self.set(view)?;
        let pods = self.pods(view, &set)?;
        let stable = record.stable.as_ref();
        let own = stable.map_or("", |stable| stable.pods.as_str());
        let (old, new): (Vec<&Pod>, Vec<&Pod>) = pods.iter().partition(|pod| pod.revision == own);
        let asked = asked(&set);
        let offered = Self::offered(&set, stable);
        let canary = record.live.as_ref().map(|live| {
            let is_on_trial = |pod: &&&Pod| {
                pod.revision == set.update_revision() && offered.hash == live.canary.hash
            };
            let on_trial: Vec<&Pod> = new.iter().filter(is_on_trial).copied().collect();
            let mut canary = seen(&on_trial, asked);
            canary.existing = seen(&new, asked).existing;
            canary
        });
        Ok(Scene {
            stable: seen(&old, set.0.replicas().saturating_sub(asked)),
            canary,
            full: set.0.replicas().saturating_sub(1).max(1),
            sizes: Vec::new(),
            trouble: new.iter().find_map(|pod| pod.trouble.clone()),
            offered,
        })
    }

    pub(super) fn adopt(&self, view: &View<'_>) -> Result<Stable, Blocked> {
        let set = self.set(view)?;
        self.check_kind(&set)?;
        if !set.is_rolled_out() || set.0.replicas() == 0 {
            return Err(Blocked {
                reason: "Waiting",
                message: format!(
                    "waits until StatefulSet {} is rolled out and has a pod",
                    self.name
                ),
            });
        }
        Ok(whole(&set, Self::offered(&set, None), view.now))
    }

    pub(super) fn canary(
        &self,
        view: &View<'_>,
        record: &Record,
        live: &Live,
        size: &CanaryReplicas,
    ) -> Result<Vec<Write>, Blocked> {
        let set = self.set(view)?;
        let Some(stable) = &record.stable else {
            return Ok(Vec::new());
        };
        let is_offered = Self::offered(&set, Some(stable)).hash == live.canary.hash;
        if !is_offered && size.count > 0 {
            return Ok(Vec::new());
        }
        // As long as one pod is stable's, Kubernetes remembers its template.
        let count = size.count.min(set.0.replicas().saturating_sub(1));
        let partition = if count == 0 {
            HELD
        } else {
            set.0.replicas().saturating_sub(count)
        };
        let urgency = if partition > set.partition() {
            Urgency::Traffic
        } else {
            Urgency::Rest
        };
        if let Some(write) = self.parted(view, &set, partition, urgency) {
            return Ok(vec![write]);
        }
        let pods = self.pods(view, &set)?;
        let back = self.taken_back(view, (&set, &pods), stable);
        if back.is_some() {
            return Ok(back.into_iter().collect());
        }
        let is_old = |pod: &&Pod| {
            let since = size.restart_since;
            pod.index >= partition && since.is_some() && pod.made_at < since
        };
        let old: Vec<&Pod> = pods.iter().filter(is_old).collect();
        let next = next_to_go(&pods, &old, set.0.replicas());
        Ok(next.map(|pod| deletion(view, pod)).into_iter().collect())
    }

    /// Returns what takes the next pod back that is above stable's template and below the partition.
    fn taken_back(
        &self,
        view: &View<'_>,
        (set, pods): (&StatefulSet, &[Pod]),
        stable: &Stable,
    ) -> Option<Write> {
        // Only then does a pod that is deleted come back with stable's template.
        let comes_back = set.is_rolling()
            && set.0.is_observed()
            && !stable.pods.is_empty()
            && set.current_revision() == stable.pods;
        let strays = strays(set, pods, stable);
        let next = next_to_go(pods, &strays, set.0.replicas()).filter(|_| comes_back)?;
        Some(deletion(view, next))
    }

    /// Returns what sets the partition, where it is another.
    fn parted(
        &self,
        view: &View<'_>,
        set: &StatefulSet,
        partition: u32,
        urgency: Urgency,
    ) -> Option<Write> {
        let mut wanted = set.object().clone();
        part(&mut wanted, partition);
        let target = view.name(&STATEFUL_SET, &self.name);
        put(&target, Some(set.object()), &wanted, urgency)
    }

    pub(super) fn rest(
        &self,
        view: &View<'_>,
        record: &Record,
        stable: &Stable,
    ) -> Result<Rest, Blocked> {
        let set = self.set(view)?;
        self.check_kind(&set)?;
        let offered = Self::offered(&set, Some(stable));
        if stable.beside.is_some() {
            return Ok(self.take_in(view, record, stable, &set));
        }
        let writes: Vec<Write> = self.claimed(view, &set, HELD).into_iter().collect();
        if set.is_rolled_out() && set.current_revision() != stable.pods {
            // Somebody let Kubernetes roll it out while nobody held the partition: that is what serves now.
            return Ok(Rest {
                goes_on: Some(format!(
                    "{} was rolled out by somebody else, unjudged",
                    offered.name
                )),
                stable: Some(whole(&set, offered, view.now)),
                ..Rest::default()
            });
        }
        let pods = self.pods(view, &set)?;
        let left = strays(&set, &pods, stable).len();
        let is_new = offered.hash != stable.version.hash
            && record.judged.as_ref() != Some(&offered.hash)
            && record.live.is_none();
        if writes.is_empty() && left == 0 && is_new && set.0.replicas() < 2 {
            return Err(Blocked {
                reason: "TooFew",
                message: format!(
                    "StatefulSet {} has {} replicas; {} waits until it has at least 2, one for each version",
                    self.name,
                    set.0.replicas(),
                    offered.name
                ),
            });
        }
        let back = self.taken_back(view, (&set, &pods), stable);
        let waits = format!(
            "{left} pods of StatefulSet {} go back to {}",
            self.name, stable.version.name
        );
        Ok(Rest {
            is_stable_reached: left == 0 && writes.is_empty(),
            is_stopped: left == 0,
            goes_on: (left > 0).then_some(waits),
            writes: if writes.is_empty() {
                back.into_iter().collect()
            } else {
                writes
            },
            ..Rest::default()
        })
    }

    /// Lets Kubernetes replace the last pods, once a version was promoted.
    fn take_in(
        &self,
        view: &View<'_>,
        record: &Record,
        stable: &Stable,
        set: &StatefulSet,
    ) -> Rest {
        let name = &stable.version.name;
        let own = |stable: Stable, said: String| Rest {
            stable: Some(stable),
            goes_on: Some(said),
            ..Rest::default()
        };
        let is_offered = Self::offered(set, Some(stable)).hash == stable.version.hash;
        if is_offered && set.is_rolled_out() {
            let now = whole(set, stable.version.clone(), view.now);
            return own(now, format!("all pods run {name}"));
        }
        if !is_offered && set.partition() >= HELD && set.0.is_observed() {
            // Kubernetes knows what was promoted only if all pods got it before the template changed.
            let is_old = set.current_revision() == stable.pods;
            let old = record.previous.clone().filter(|_| is_old);
            let version = old.unwrap_or_else(|| stable.version.clone());
            let said = format!("the template changed; {} is what stays", version.name);
            let stays = Stable {
                version,
                pods: set.current_revision().to_owned(),
                beside: None,
                since: view.now,
            };
            return own(stays, said);
        }
        let partition = if is_offered { 0 } else { HELD };
        let updated = read::count(set.object(), "/status/updatedReplicas");
        Rest {
            writes: self.claimed(view, set, partition).into_iter().collect(),
            goes_on: Some(format!(
                "StatefulSet {} takes {name} in ({updated} of {} pods)",
                self.name,
                set.0.replicas()
            )),
            ..Rest::default()
        }
    }

    /// Returns what marks the set as ours and sets its partition, where that is not so.
    fn claimed(&self, view: &View<'_>, set: &StatefulSet, partition: u32) -> Option<Write> {
        let mut wanted = set.object().clone();
        if read::annotation(&wanted, mark::BEFORE).is_none() {
            let before = if set.partition() >= HELD {
                0
            } else {
                set.partition()
            };
            note(&mut wanted, mark::BEFORE, &before.to_string());
        }
        note(&mut wanted, mark::CLAIM, &view.key.name);
        part(&mut wanted, partition);
        let target = view.name(&STATEFUL_SET, &self.name);
        put(&target, Some(set.object()), &wanted, Urgency::Rest)
    }

    pub(super) fn leave(&self, view: &View<'_>, record: &Record) -> Result<Vec<Write>, Blocked> {
        let Some(found) = view.find(&STATEFUL_SET, &self.name)? else {
            return Ok(Vec::new());
        };
        let set = StatefulSet(Deployment(found));
        // What was never ours, or another release has, keeps what its owner says.
        if read::annotation(set.object(), mark::CLAIM) != Some(view.key.name.as_str()) {
            return Ok(Vec::new());
        }
        let stable = record.stable.as_ref();
        let offered = Self::offered(&set, stable);
        let is_serving = stable.is_none_or(|stable| stable.version.hash == offered.hash);
        let before = read::annotation(set.object(), mark::BEFORE);
        let before = before.and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut wanted = set.object().clone();
        if let Some(annotations) = map_mut(&mut wanted, "/metadata/annotations") {
            annotations.remove(mark::CLAIM);
            annotations.remove(mark::BEFORE);
        }
        // What was not judged or was found bad is not let loose by taking Haldane away.
        if is_serving {
            part(&mut wanted, before);
        }
        let target = view.name(&STATEFUL_SET, &self.name);
        Ok(put(&target, Some(set.object()), &wanted, Urgency::Rest)
            .into_iter()
            .collect())
    }

    /// Returns what puts the template of an earlier version in place again; Kubernetes keeps it in a ControllerRevision.
    pub(super) fn put_back(&self, view: &View<'_>, to: &Version) -> Result<Vec<Write>, Blocked> {
        let set = self.set(view)?;
        if Self::offered(&set, None).hash == to.hash {
            return Ok(Vec::new());
        }
        let uid = read::uid(set.object());
        let namespace = &view.key.namespace;
        let revisions = view.sight.owned(&CONTROLLER_REVISION, namespace, uid);
        view.find(&CONTROLLER_REVISION, set.current_revision())?;
        let template = revisions.iter().find_map(|revision| {
            let mut template = revision.pointer("/data/spec/template")?.clone();
            template.as_object_mut()?.remove("$patch");
            let version = Version::of(&[(&template, set.0.selector())], None);
            (version.hash == to.hash).then_some(template)
        });
        let Some(template) = template else {
            return Err(Blocked {
                reason: "CannotUndo",
                message: format!(
                    "no ControllerRevision of StatefulSet {} has the template of {} any more",
                    self.name, to.name
                ),
            });
        };
        let mut wanted = set.object().clone();
        put_at(&mut wanted, &["spec", "template"], template);
        let target = view.name(&STATEFUL_SET, &self.name);
        Ok(put(&target, Some(set.object()), &wanted, Urgency::Rest)
            .into_iter()
            .collect())
    }

    /// Tells who took the canary away, and how, if somebody did.
    pub(super) fn taken_away(&self, view: &View<'_>) -> Result<Option<String>, Blocked> {
        let set = self.set(view)?;
        if asked(&set) > 0 {
            return Ok(None);
        }
        let (name, by) = (&self.name, read::by_whom(set.object()));
        let (replicas, partition) = (set.0.replicas(), set.partition());
        Ok(Some(if replicas < 2 {
            format!(
                "StatefulSet {name} was scaled to {replicas}: there is no room for two versions"
            )
        } else {
            format!("the partition of StatefulSet {name} was set to {partition}{by}")
        }))
    }

    /// Returns what metric systems call both sides: set and Service are the same, so each goes by its revision alone, and numbers that
    /// are of both are never taken for those of one.
    pub(super) fn places(&self, view: &View<'_>, record: &Record) -> (Place, Place) {
        let place = |revision: &str| Place {
            deployment: revision.to_owned(),
            service: revision.to_owned(),
            replica_set: (!revision.is_empty()).then(|| revision.to_owned()),
        };
        let stable = record.stable.as_ref();
        let own = stable.map_or("", |stable| stable.pods.as_str());
        let set = self.set(view).ok();
        let newest = set.as_ref().map_or("", StatefulSet::update_revision);
        let canary = if newest == own { "" } else { newest };
        (place(own), place(canary))
    }

    /// Returns where a version serves that was just promoted: in all pods but the last ones.
    pub(in crate::host) fn promoted(live: &Live, old: Option<&Stable>, now: Timestamp) -> Stable {
        Stable {
            version: live.canary.clone(),
            pods: old.map(|old| old.pods.clone()).unwrap_or_default(),
            beside: Some(ALL_BUT_LAST.to_owned()),
            since: now,
        }
    }
}

/// Returns a version that all pods of a set have.
fn whole(set: &StatefulSet, version: Version, now: Timestamp) -> Stable {
    Stable {
        version,
        pods: set.current_revision().to_owned(),
        beside: None,
        since: now,
    }
}

/// Returns for how many pods the newest template was asked for.
fn asked(set: &StatefulSet) -> u32 {
    let opened = set.opened();
    // Who scales the set to less than our partition did not mean the canary: the partition follows.
    let is_ours = set.partition() < HELD && read::last_manager(set.object()) == Some(FIELD_MANAGER);
    if opened == 0 && is_ours && set.0.replicas() > 1 {
        1
    } else {
        opened
    }
}

/// Returns the pods below the partition that have another template than stable's.
fn strays<'a>(set: &StatefulSet, pods: &'a [Pod], stable: &Stable) -> Vec<&'a Pod> {
    let is_stray = |pod: &&Pod| pod.index < set.partition() && pod.revision != stable.pods;
    pods.iter().filter(is_stray).collect()
}

fn deletion(view: &View<'_>, pod: &Pod) -> Write {
    Write {
        target: view.name(&POD, &pod.name),
        what: What::Delete {
            uid: pod.uid.clone(),
        },
        urgency: Urgency::Traffic,
    }
}

fn part(wanted: &mut Value, partition: u32) {
    let path = ["spec", "updateStrategy", "rollingUpdate", "partition"];
    // Kubernetes fills in what is left out.
    if read::count(wanted, "/spec/updateStrategy/rollingUpdate/partition") != partition {
        put_at(wanted, &path, json!(partition));
    }
}

fn note(wanted: &mut Value, name: &str, value: &str) {
    put_at(wanted, &["metadata", "annotations", name], json!(value));
}
