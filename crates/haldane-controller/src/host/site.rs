//! What runs the versions of a release: what is seen of it, and what it must become.

mod alone;
mod pairs;
mod stateful;

use std::collections::BTreeSet;

use haldane_api::release::{Spec, Stage, TERMINAL_ANNOTATION, Terminal, mark};
use haldane_core::rollout::{Replicas, Trouble, TroubleKind};
use haldane_router::{Backend, Kind, ObjectRef};
use jiff::Timestamp;
use serde_json::Value;

pub(super) use self::alone::SPREAD_MAX;
use self::{alone::Alone, pairs::Pairs, stateful::Stateful};
use super::{
    deployment::Deployment,
    json,
    record::{Live, Record, Stable},
    release::Home,
    share::Room,
    version::Version,
};
use crate::{
    kinds::{DEPLOYMENT, ENDPOINT_SLICE, RELEASE, SERVICE},
    meter::Places,
    turn::{Key, Seen, Sight, Write},
};

/// What runs the versions of a release.
#[derive(Clone, Debug)]
pub(super) enum Site {
    /// One Deployment of the user, and one of ours beside it while a version is on trial.
    Alone(Alone),
    /// Deployments of the user on both sides.
    Pairs(Pairs),
    /// One StatefulSet of the user, whose pods are of either version.
    Stateful(Stateful),
}

/// What a site sees.
pub(super) struct View<'a> {
    /// The release.
    pub key: &'a Key,
    /// The uid of what it is kept in.
    pub uid: &'a str,
    /// What it is kept in.
    pub home: &'a Home,
    /// Whether routers split the traffic; else the share of replicas does.
    pub is_routed: bool,
    /// Whether it ends, so that what is gone is gone.
    pub is_ending: bool,
    /// The cluster.
    pub sight: &'a dyn Sight,
    /// The time.
    pub now: Timestamp,
}

/// What is seen of both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scene {
    /// Stable's replicas.
    pub stable: Replicas,
    /// The canary's, where it exists.
    pub canary: Option<Replicas>,
    /// How many replicas the canary has at its full size.
    pub full: u32,
    /// How many replicas each Deployment of stable is to have, where they are the user's.
    pub sizes: Vec<u32>,
    /// Why the canary is not ready, as far as is known.
    pub trouble: Option<Trouble>,
    /// The version that the user's objects ask for.
    pub offered: Version,
}

impl Scene {
    /// Returns what is seen where the workload can't be looked at: nothing that is ready.
    pub(super) fn blind(live: &Live, blocked: &Blocked) -> Self {
        Self {
            stable: Replicas::default(),
            canary: None,
            full: live.full,
            sizes: Vec::new(),
            trouble: Some(Trouble {
                kind: TroubleKind::NotReady,
                said: blocked.message.clone(),
            }),
            offered: live.canary.clone(),
        }
    }
}

/// How large the canary is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CanaryReplicas {
    /// How many replicas.
    pub count: u32,
    /// Those that are older than this are to be replaced.
    pub restart_since: Option<Timestamp>,
}

/// What there is to do while no rollout goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rest {
    /// What to write.
    pub writes: Vec<Write>,
    /// Where stable runs from now on; to be kept before anything else.
    pub stable: Option<Stable>,
    /// Whether stable's Service leads to stable, so that traffic may go there alone.
    pub is_stable_reached: bool,
    /// Whether nothing of the last canary runs any more.
    pub is_stopped: bool,
    /// The commands by which what Git says follows what was promoted, where it must.
    pub follow: Option<String>,
    /// What still goes on, in one sentence; `None` when everything is as it is to stay.
    pub goes_on: Option<String>,
    /// When to look again.
    pub at: Option<Timestamp>,
}

/// Why nothing can be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blocked {
    /// In one word.
    pub reason: &'static str,
    /// In one sentence.
    pub message: String,
}

/// Why there are no routers for StatefulSets.
const NO_ROUTERS: &str = "spec.routers: none for a StatefulSet: the pods of both its versions have one Service, and their share is that of \
     the traffic";

/// Why there are no DaemonSets.
const NO_DAEMON_SETS: &str = "spec.workload.daemonSet: DaemonSets can't be rolled out: Kubernetes makes all their pods from the newest \
     template, so that none could be taken back; expected deployment, pairs or statefulSet";

impl Blocked {
    /// Whether it passes by itself: what is watched is not known yet.
    pub(super) fn is_passing(&self) -> bool {
        self.reason == "Watching"
    }
}

impl Site {
    /// Returns the site of a release.
    pub(super) fn of(spec: &Spec) -> Result<Self, Blocked> {
        let workload = &spec.workload;
        let chosen = [
            workload.deployment.is_some(),
            !workload.pairs.is_empty(),
            workload.stateful_set.is_some(),
            workload.daemon_set.is_some(),
        ];
        let count = chosen.iter().filter(|is_set| **is_set).count();
        if count != 1 {
            let message = "spec.workload: expected exactly one of deployment, pairs, statefulSet";
            return Err(invalid(message));
        }
        if let Some(deployment) = &workload.deployment {
            return Ok(Self::Alone(Alone::new(deployment)));
        }
        let Some(set) = &workload.stateful_set else {
            return if workload.pairs.is_empty() {
                Err(invalid(NO_DAEMON_SETS))
            } else {
                Ok(Self::Pairs(Pairs::new(&workload.pairs)))
            };
        };
        if spec.routers.is_empty() {
            Ok(Self::Stateful(Stateful::new(set)))
        } else {
            Err(invalid(NO_ROUTERS))
        }
    }

    /// Returns where the canary's pods are, where the share of pods splits the traffic.
    pub(super) const fn room(&self) -> Room {
        match self {
            Self::Alone(_) | Self::Pairs(_) => Room::Beside,
            Self::Stateful(_) => Room::Within,
        }
    }

    /// Returns the objects that matter.
    pub(super) fn reads(&self, key: &Key, record: &Record) -> BTreeSet<ObjectRef> {
        match self {
            Self::Alone(site) => site.reads(key, record),
            Self::Pairs(site) => site.reads(key),
            Self::Stateful(site) => site.reads(key),
        }
    }

    /// Returns the user's objects that run the versions.
    pub(super) fn workloads(&self, key: &Key) -> Vec<ObjectRef> {
        match self {
            Self::Alone(site) => vec![site.workload(key)],
            Self::Pairs(site) => site.workloads(key),
            Self::Stateful(site) => vec![site.workload(key)],
        }
    }

    /// Returns who gets requests on both sides, of each pair.
    pub(super) fn backends(&self) -> Vec<(Backend, Backend)> {
        match self {
            Self::Alone(site) => vec![site.backends()],
            Self::Pairs(site) => site.backends(),
            Self::Stateful(site) => vec![site.backends()],
        }
    }

    /// Returns what is seen.
    pub(super) fn look(&self, view: &View<'_>, record: &Record) -> Result<Scene, Blocked> {
        match self {
            Self::Alone(site) => site.look(view, record),
            Self::Pairs(site) => site.look(view, record),
            Self::Stateful(site) => site.look(view, record),
        }
    }

    /// Returns the version that serves, of a release that is new.
    pub(super) fn adopt(&self, view: &View<'_>) -> Result<Stable, Blocked> {
        match self {
            Self::Alone(site) => site.adopt(view),
            Self::Pairs(site) => site.adopt(view),
            Self::Stateful(site) => site.adopt(view),
        }
    }

    /// Returns what keeps the objects of a release that is new as they are.
    pub(super) fn held(&self, view: &View<'_>) -> Result<Vec<Write>, Blocked> {
        match self {
            Self::Alone(site) => site.held_back(view),
            Self::Pairs(_) | Self::Stateful(_) => Ok(Vec::new()),
        }
    }

    /// Returns what makes the canary as large as it is to be.
    pub(super) fn canary(
        &self,
        view: &View<'_>,
        record: &Record,
        live: &Live,
        size: &CanaryReplicas,
    ) -> Result<Vec<Write>, Blocked> {
        match self {
            Self::Alone(site) => site.canary(view, record, live, size),
            Self::Pairs(site) => site.canary(view, size),
            Self::Stateful(site) => site.canary(view, record, live, size),
        }
    }

    /// Returns what leads stable's Service to stable again while a rollout goes on, if somebody led it elsewhere.
    pub(super) fn pinned(&self, view: &View<'_>, record: &Record) -> Result<Vec<Write>, Blocked> {
        match (self, &record.stable) {
            (Self::Alone(site), Some(stable)) if view.is_routed => site.pinned(view, stable),
            (Self::Alone(_) | Self::Pairs(_) | Self::Stateful(_), Some(_) | None) => Ok(Vec::new()),
        }
    }

    /// Returns what gives stable the size again that it had, where an autoscaler shrank it while the canary had its traffic.
    pub(super) fn grown(
        &self,
        view: &View<'_>,
        record: &Record,
        live: &Live,
    ) -> Result<Vec<Write>, Blocked> {
        match self {
            Self::Alone(site) => site.grown(view, record, live),
            Self::Pairs(site) => site.grown(view, live),
            Self::Stateful(_) => Ok(Vec::new()),
        }
    }

    /// Returns what there is to do while no rollout goes on.
    pub(super) fn rest(
        &self,
        view: &View<'_>,
        record: &Record,
        stable: &Stable,
        is_drained: bool,
    ) -> Result<Rest, Blocked> {
        match self {
            Self::Alone(site) => site.rest(view, record, stable, is_drained),
            Self::Pairs(site) => site.rest(view, record, stable, is_drained),
            Self::Stateful(site) => site.rest(view, record, stable),
        }
    }

    /// Whether the canary is an object of the user's, which is stopped and not removed.
    pub(super) const fn is_kept(&self) -> bool {
        match self {
            Self::Alone(_) | Self::Stateful(_) => false,
            Self::Pairs(_) => true,
        }
    }

    /// Returns where a version serves that was just promoted in the place of an old one.
    pub(super) fn promoted(&self, live: &Live, old: Option<&Stable>, now: Timestamp) -> Stable {
        match self {
            Self::Alone(site) => site.promoted(live, now),
            Self::Pairs(_) => Pairs::promoted(live, now),
            Self::Stateful(_) => Stateful::promoted(live, old, now),
        }
    }

    /// Returns the commands by which what Git says follows what is promoted, where it must.
    pub(super) fn follow(&self, view: &View<'_>) -> Result<Option<String>, Blocked> {
        match self {
            Self::Alone(_) => Ok(None),
            Self::Pairs(site) => site.follow(view),
            Self::Stateful(_) => Ok(None),
        }
    }

    /// Returns what puts an earlier version's template in place again.
    pub(super) fn put_back(&self, view: &View<'_>, to: &Version) -> Result<Vec<Write>, Blocked> {
        match self {
            Self::Alone(site) => site.put_back(view, to),
            Self::Stateful(site) => site.put_back(view, to),
            Self::Pairs(_) => Err(Blocked {
                reason: "CannotUndo",
                message: format!(
                    "the template of {} is kept nowhere; put it into the canary Deployments",
                    to.name
                ),
            }),
        }
    }

    /// Returns what puts stable's template in place again where a version was tried that was not good.
    pub(super) fn restored(&self, view: &View<'_>, stable: &Stable) -> Result<Vec<Write>, Blocked> {
        match self {
            Self::Alone(site) => site.put_back(view, &stable.version),
            Self::Stateful(site) => site.put_back(view, &stable.version),
            // The canary's own Deployment has it, and is stopped.
            Self::Pairs(_) => Ok(Vec::new()),
        }
    }

    /// Tells how somebody took a canary away that was running, if somebody did.
    pub(super) fn taken_away(
        &self,
        view: &View<'_>,
        live: &Live,
    ) -> Result<Option<String>, Blocked> {
        match self {
            Self::Alone(site) => site.taken_away(view, live),
            Self::Pairs(site) => site.taken_away(view),
            Self::Stateful(site) => site.taken_away(view),
        }
    }

    /// Returns what metric systems call both sides, of each pair.
    pub(super) fn places(&self, view: &View<'_>, record: &Record, live: &Live) -> Vec<Places> {
        let sides = match self {
            Self::Alone(site) => vec![site.places(record, live)],
            Self::Pairs(site) => site.places(),
            Self::Stateful(site) => vec![site.places(view, record)],
        };
        let places = |(stable, canary)| Places {
            namespace: view.key.namespace.clone(),
            ingress: None,
            route: None,
            stable,
            canary,
        };
        sides.into_iter().map(places).collect()
    }

    /// Whether nothing of a canary runs that the user's own Service would lead to.
    pub(super) fn is_quiet(&self, view: &View<'_>) -> Result<bool, Blocked> {
        match self {
            Self::Alone(site) => site.is_quiet(view),
            Self::Pairs(_) | Self::Stateful(_) => Ok(true),
        }
    }

    /// Returns what is left to do when the release is deleted; stable has all the traffic by then.
    pub(super) fn leave(&self, view: &View<'_>, record: &Record) -> Result<Vec<Write>, Blocked> {
        match self {
            Self::Alone(site) => site.leave(view, record),
            Self::Pairs(_) => Ok(Vec::new()),
            Self::Stateful(site) => site.leave(view, record),
        }
    }
}

/// Whether a terminal rolls a workload out; one whose annotation can't be read is not touched either.
fn is_carrying(object: &Value) -> bool {
    let text = json::annotation(object, TERMINAL_ANNOTATION);
    text.is_some_and(|text| {
        Terminal::parse(text).map_or(true, |terminal| terminal.stage != Stage::Over)
    })
}

fn invalid(message: &str) -> Blocked {
    Blocked {
        reason: "Invalid",
        message: message.to_owned(),
    }
}

impl View<'_> {
    /// Returns an object that must be there.
    pub(super) fn need(&self, kind: &'static Kind, name: &str) -> Result<Value, Blocked> {
        let target = kind.named(&self.key.namespace, name);
        self.find(kind, name)?.ok_or_else(|| Blocked {
            reason: "Missing",
            message: format!("{target} does not exist"),
        })
    }

    /// Returns an object, if it is there.
    pub(super) fn find(&self, kind: &'static Kind, name: &str) -> Result<Option<Value>, Blocked> {
        let target = kind.named(&self.key.namespace, name);
        match self.sight.get(&target) {
            Seen::Found(object) => Ok(Some(object)),
            Seen::Missing | Seen::NoKind(_) => Ok(None),
            Seen::Unknown => Err(Blocked {
                reason: "Watching",
                message: format!("{} are not watched yet", kind.plural),
            }),
            Seen::Unavailable(why) => Err(Blocked {
                reason: "Unavailable",
                message: format!("{} can't be watched: {why}", kind.plural),
            }),
        }
    }

    /// Returns the endpoints of a Service.
    pub(super) fn endpoints(&self, service: &Value) -> Vec<Value> {
        let uid = json::uid(service);
        let slices = self.sight.owned(&ENDPOINT_SLICE, &self.key.namespace, uid);
        let all = slices
            .iter()
            .filter_map(|slice| slice.pointer("/endpoints")?.as_array());
        all.flatten().cloned().collect()
    }

    /// Whether a Service leads to somebody who is ready.
    pub(super) fn has_endpoints(&self, service: &str) -> bool {
        let service = self.find(&SERVICE, service).ok().flatten();
        let endpoints = service.map(|service| self.endpoints(&service));
        endpoints.into_iter().flatten().any(|one| is_ready(&one))
    }

    /// Refuses an object that another release has, or a terminal.
    pub(super) fn check_claim(&self, kind: &Kind, object: &Value) -> Result<(), Blocked> {
        if *self.home == Home::Own && is_carrying(object) {
            return Err(Blocked {
                reason: "Claimed",
                message: format!(
                    "{} {} is rolled out from a terminal (annotation {TERMINAL_ANNOTATION}); `haldane abort --kube` ends that",
                    kind.kind,
                    json::text(object, "/metadata/name").unwrap_or_default(),
                ),
            });
        }
        match json::annotation(object, mark::CLAIM) {
            Some(other) if other != self.key.name => Err(Blocked {
                reason: "Claimed",
                message: format!(
                    "{} {} belongs to Release {other} (annotation {})",
                    kind.kind,
                    json::text(object, "/metadata/name").unwrap_or_default(),
                    mark::CLAIM
                ),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Returns a Deployment that must be there.
    pub(super) fn deployment(&self, name: &str) -> Result<Deployment, Blocked> {
        self.need(&DEPLOYMENT, name).map(Deployment)
    }

    /// Names an object in the release's namespace.
    pub(super) fn name(&self, kind: &'static Kind, name: &str) -> ObjectRef {
        kind.named(&self.key.namespace, name)
    }

    /// Returns the reference by which an object belongs to the release.
    pub(super) fn owner(&self) -> Value {
        let (kind, name) = match self.home {
            Home::Own => (&RELEASE, &self.key.name),
            Home::Carried { by, .. } => (by.kind, &by.name),
        };
        serde_json::json!({
            "apiVersion": kind.api_version(),
            "kind": kind.kind,
            "name": name,
            "uid": self.uid,
            "controller": true,
            "blockOwnerDeletion": true,
        })
    }
}

/// Whether an endpoint is ready; one that does not tell is.
pub(super) fn is_ready(endpoint: &Value) -> bool {
    endpoint.pointer("/conditions/ready") != Some(&Value::Bool(false))
}
