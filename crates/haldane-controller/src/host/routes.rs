//! The routers of a release together: what they must be told, and what they do.

use std::collections::{BTreeMap, BTreeSet};

use haldane_api::release::{AskBy, Spec};
use haldane_core::{
    Weight,
    plan::{HeaderMatch, ValueMatch, check::Abilities},
    rollout::Traffic,
};
use haldane_router::{Accepted, Backend, Change, ObjectRef, Objects, RouteError, Router, Split};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    json::{self, put},
    site::{Blocked, View},
};
use crate::{
    kinds::SERVICE,
    meter::Places,
    turn::{Key, Seen, Urgency, What, Write},
};

/// Systems that write what a repository says, again and again: what they wrote is no wish of a person.
const REPEATERS: [&str; 6] = [
    "argocd-controller",
    "argocd-application-controller",
    "kustomize-controller",
    "helm-controller",
    "flux",
    "gitops",
];

/// The routers of a release.
pub(super) struct Routes<'a> {
    routers: Vec<&'a dyn Router>,
    namespace: String,
    /// What is split: one, or each pair of several that go together.
    splits: Vec<Split>,
}

/// What the routers were seen to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Looked {
    /// The routing, as far as it can be told apart from what is wanted.
    pub applied: Traffic,
    /// Why it is not what is wanted.
    pub why_not: Option<String>,
    /// A weight that somebody else wrote, with who it was.
    pub by: Option<String>,
    /// When that was written.
    pub at: Option<Timestamp>,
    /// Whether the objects name the canary at all.
    pub is_named: bool,
}

impl Looked {
    /// Returns that a routing which takes all traffic away is not in force yet.
    pub(super) fn still(wanted: &Traffic, why: &str) -> Self {
        differing(wanted, wanted.weight, why.to_owned(), None)
    }
}

impl<'a> Routes<'a> {
    /// Returns the routers of a release, for its backends: stable and canary of each pair.
    pub(super) fn of(
        spec: &'a Spec,
        key: &Key,
        backends: Vec<(Backend, Backend)>,
    ) -> Result<Self, Blocked> {
        let routers = spec.routers.iter().enumerate().map(|(index, route)| {
            route.router().map_err(|error| Blocked {
                reason: "Invalid",
                message: format!("spec.routers[{index}]: {error}"),
            })
        });
        let split = |(index, (stable, canary)): (usize, (Backend, Backend))| Split {
            // What is kept for a pair in an object that others share is its own.
            release: match index {
                0 => key.name.clone(),
                _ => format!("{}.{}", key.name, stable.service),
            },
            namespace: key.namespace.clone(),
            stable,
            canary,
            traffic: Traffic::STABLE_ONLY,
            ask_by: spec.ask_by.as_ref().map(ask_by),
        };
        Ok(Self {
            routers: routers.collect::<Result<_, _>>()?,
            namespace: key.namespace.clone(),
            splits: backends.into_iter().enumerate().map(split).collect(),
        })
    }

    /// Returns what all of them can do.
    pub(super) fn abilities(&self) -> Abilities {
        let all = |can: fn(&dyn Router) -> bool| {
            !self.routers.is_empty() && self.routers.iter().all(|router| can(*router))
        };
        Abilities {
            mirror: all(|router| router.capabilities().mirror),
            experiment: false,
            header_route: all(|router| router.capabilities().header),
            header_regex: all(|router| router.capabilities().header_regex),
            // Who writes a release is not who runs the controller.
            command: false,
            job: true,
        }
    }

    /// Names the first object of the first router that splits a pair, as metric systems do.
    pub(super) fn name(&self, view: &View<'_>, index: usize, places: &mut Places) {
        let objects = self.objects(view).unwrap_or_default();
        let is_of = |router: &&&dyn Router| {
            let own = router.objects(&self.namespace);
            let mut own = own.iter().filter_map(|target| objects.get(target));
            let split = self.splits.get(index);
            split.is_some_and(|split| own.any(|object| names(object, split)))
        };
        let found = self.routers.iter().find(is_of);
        let router = found.or_else(|| self.routers.first());
        let objects = router.map(|router| router.objects(&self.namespace));
        let first = objects.into_iter().flatten().next();
        let Some(first) = first else { return };
        if first.kind.kind == "Ingress" {
            places.ingress = Some(first.name);
        } else {
            places.route = Some(first.name);
        }
    }

    /// Returns the objects that matter.
    pub(super) fn reads(&self) -> BTreeSet<ObjectRef> {
        let objects = self.routers.iter();
        objects
            .flat_map(|router| router.objects(&self.namespace))
            .collect()
    }

    /// Returns the objects that split all their requests alike, so that they can't be shared.
    pub(super) fn undivided(&self) -> BTreeSet<ObjectRef> {
        let objects = self.routers.iter();
        objects
            .flat_map(|router| router.undivided(&self.namespace))
            .collect()
    }

    /// Returns the objects as they are seen.
    fn objects(&self, view: &View<'_>) -> Result<Objects, Blocked> {
        let mut objects = BTreeMap::new();
        for target in self.reads() {
            match view.sight.get(&target) {
                Seen::Found(object) => {
                    objects.insert(target, object);
                }
                Seen::Missing => {}
                // What can't be there gives the canary nothing, and has nothing of ours.
                Seen::NoKind(_) if view.is_ending => {}
                Seen::NoKind(why) => {
                    return Err(Blocked {
                        reason: "Missing",
                        message: format!("{target} does not exist: {why}"),
                    });
                }
                Seen::Unknown => {
                    return Err(Blocked {
                        reason: "Watching",
                        message: format!("{} are not watched yet", target.kind.plural),
                    });
                }
                Seen::Unavailable(why) => {
                    return Err(Blocked {
                        reason: "Unavailable",
                        message: format!("{} can't be watched: {why}", target.kind.plural),
                    });
                }
            }
        }
        Ok(objects)
    }

    /// Returns what must be written for this routing.
    pub(super) fn toward(&self, view: &View<'_>, traffic: &Traffic) -> Result<Vec<Write>, Blocked> {
        let seen = self.objects(view)?;
        let mut changes = Changes::new(&seen);
        for (router, split) in self.parts(view, &seen, traffic)? {
            if is_untouched(router, &split, &changes.objects) {
                continue;
            }
            let made = router.desired(&split, &changes.objects);
            changes.take(made.map_err(|error| blocked(&error))?);
        }
        Ok(changes.written())
    }

    /// Returns what must be written so that the routers know of the canary, and give it nothing.
    ///
    /// A data plane may hear of a route before it hears of who is new in it, and then has nobody to ask. So the canary is made known
    /// before it gets a share, and it keeps its place for a while when it has none any more.
    pub(super) fn introduced(&self, view: &View<'_>) -> Result<Vec<Write>, Blocked> {
        let seen = self.objects(view)?;
        let mut changes = Changes::new(&seen);
        for (router, split) in self.parts(view, &seen, &Traffic::STABLE_ONLY)? {
            let made = router.desired(&split, &changes.objects);
            changes.take(made.map_err(|error| blocked(&error))?);
        }
        Ok(changes.written())
    }

    /// Returns why a router does not take its objects as they are. One that refuses the canary at weight zero, where that costs nothing,
    /// would answer its share with errors.
    pub(super) fn refused(&self, view: &View<'_>) -> Result<Option<String>, Blocked> {
        let objects = self.objects(view)?;
        let parts = self.parts(view, &objects, &Traffic::STABLE_ONLY)?;
        let mut told = parts
            .iter()
            .map(|(router, split)| router.accepted(split, &objects));
        Ok(told.find_map(|one| match one {
            Accepted::Yes | Accepted::Unreported => None,
            Accepted::Pending(why) | Accepted::No(why) => Some(why),
        }))
    }

    /// Whether the routers may be told of the canary now: some refuse a whole route in which a Service leads nowhere.
    pub(super) fn can_name(&self, view: &View<'_>) -> bool {
        let is_needed = self.routers.iter().any(|router| router.needs_endpoints());
        let mut splits = self.splits.iter();
        !is_needed || splits.all(|split| view.has_endpoints(&split.canary.service))
    }

    /// Returns what must be written so that nothing of ours is left.
    pub(super) fn cleared(&self, view: &View<'_>) -> Result<Vec<Write>, Blocked> {
        let seen = self.objects(view)?;
        let mut changes = Changes::new(&seen);
        for router in &self.routers {
            for split in &self.splits {
                let made = router.cleared(split, &changes.objects);
                changes.take(made.map_err(|error| blocked(&error))?);
            }
        }
        Ok(changes.written())
    }

    /// Whether the routers still know of the canary when nothing of ours is left, since the user's own objects name it; it gets nothing.
    pub(super) fn keeps_canary(&self, view: &View<'_>) -> Result<bool, Blocked> {
        let seen = self.objects(view)?;
        let mut changes = Changes::new(&seen);
        let parts = self.parts(view, &seen, &Traffic::STABLE_ONLY)?;
        for (router, split) in &parts {
            let made = router.cleared(split, &changes.objects);
            changes.take(made.map_err(|error| blocked(&error))?);
        }
        let is_kept = |(router, split): &(&dyn Router, Split)| {
            let canary = format!("\"{}\"", split.canary.service);
            let own = router.objects(&self.namespace);
            let mut own = own.iter().filter_map(|target| changes.objects.get(target));
            let is_named = own.any(|object| {
                let spec = object.get("spec").map(Value::to_string);
                spec.unwrap_or_default().contains(&canary)
            });
            let shown = router.seen(split, &changes.objects);
            is_named && shown.is_ok_and(|shown| shown.weight.is_zero())
        };
        Ok(!parts.is_empty() && parts.iter().all(is_kept))
    }

    /// Returns what the routers do, compared with what is wanted.
    pub(super) fn look(&self, view: &View<'_>, wanted: &Traffic) -> Result<Looked, Blocked> {
        let objects = self.objects(view)?;
        for (router, split) in self.parts(view, &objects, wanted)? {
            if is_untouched(router, &split, &objects) {
                continue;
            }
            let seen = router
                .seen(&split, &objects)
                .map_err(|error| blocked(&error))?
                .weight;
            let changes = router
                .desired(&split, &objects)
                .map_err(|error| blocked(&error))?;
            if !changes.is_empty() {
                let said = format!("{} shows {seen}", router.capabilities().name);
                let canary = format!("\"{}\"", split.canary.service);
                return Ok(Looked {
                    is_named: changes.iter().any(|change| {
                        let object = objects.get(change.target());
                        object.is_some_and(|object| object.to_string().contains(&canary))
                    }),
                    at: at(&changes, &objects),
                    ..differing(wanted, seen, said, by(&changes, &objects))
                });
            }
            match router.accepted(&split, &objects) {
                Accepted::Yes | Accepted::Unreported => {}
                Accepted::Pending(why) | Accepted::No(why) => {
                    return Ok(differing(wanted, seen, why, None));
                }
            }
        }
        Ok(Looked {
            applied: wanted.clone(),
            why_not: None,
            by: None,
            at: None,
            is_named: true,
        })
    }

    /// Refuses several pairs of which no router splits one.
    pub(super) fn check(&self, view: &View<'_>) -> Result<(), Blocked> {
        let all = Traffic {
            weight: Weight::FULL,
            ..Traffic::STABLE_ONLY
        };
        self.parts(view, &self.objects(view)?, &all).map(drop)
    }

    /// Returns which router splits what: of several pairs, those that its objects name.
    fn parts(
        &self,
        view: &View<'_>,
        objects: &Objects,
        traffic: &Traffic,
    ) -> Result<Vec<(&'a dyn Router, Split)>, Blocked> {
        let mut parts = Vec::new();
        for (index, split) in self.splits.iter().enumerate() {
            let before = parts.len();
            for router in &self.routers {
                let own = router.objects(&self.namespace);
                if view.is_ending && own.iter().any(|target| is_of_no_kind(view, target)) {
                    continue;
                }
                let mut own = own.iter().filter_map(|target| objects.get(target));
                if self.splits.len() == 1 || own.any(|object| names(object, split)) {
                    let traffic = traffic.clone();
                    let split = split.clone();
                    parts.push((*router, Split { traffic, ..split }));
                }
            }
            let is_left_out = parts.len() == before && !self.routers.is_empty();
            if is_left_out && !traffic.is_stable_only() {
                let (stable, canary) = (&split.stable.service, &split.canary.service);
                return Err(Blocked {
                    reason: "NotRouted",
                    message: format!(
                        "spec.workload.pairs[{index}]: no router names the Service {stable} or {canary}"
                    ),
                });
            }
        }
        Ok(parts)
    }
}

/// Returns the Services of backends.
pub(super) fn services(backends: Vec<(Backend, Backend)>, key: &Key) -> BTreeSet<ObjectRef> {
    let all = backends
        .into_iter()
        .flat_map(|(stable, canary)| [stable, canary]);
    all.map(|backend| SERVICE.named(&key.namespace, &backend.service))
        .collect()
}

/// Changes that follow each other, as the writes that they come to.
struct Changes<'a> {
    seen: &'a Objects,
    /// The objects as they are after the changes so far.
    objects: Objects,
    /// What was changed, in its order.
    targets: Vec<ObjectRef>,
}

impl<'a> Changes<'a> {
    fn new(seen: &'a Objects) -> Self {
        Self {
            seen,
            objects: seen.clone(),
            targets: Vec::new(),
        }
    }

    fn take(&mut self, changes: Vec<Change>) {
        for change in changes {
            if !self.targets.contains(change.target()) {
                self.targets.push(change.target().clone());
            }
            match change {
                Change::Put(target, wanted) => drop(self.objects.insert(target, wanted)),
                Change::Delete(target) => drop(self.objects.remove(&target)),
            }
        }
    }

    fn written(self) -> Vec<Write> {
        let write = |target: ObjectRef| match (self.objects.get(&target), self.seen.get(&target)) {
            (Some(wanted), seen) => put(&target, seen, wanted, Urgency::Traffic),
            (None, Some(seen)) => Some(Write {
                what: What::Delete {
                    uid: json::uid(seen).to_owned(),
                },
                target,
                urgency: Urgency::Traffic,
            }),
            (None, None) => None,
        };
        self.targets.into_iter().filter_map(write).collect()
    }
}

/// Whether an object names one of the Services, alone or with its namespace.
fn names(object: &Value, split: &Split) -> bool {
    let text = object.get("spec").map(Value::to_string).unwrap_or_default();
    let is_named = |service: &str| {
        [format!("\"{service}\""), format!("\"{service}.")]
            .iter()
            .any(|name| text.contains(name))
    };
    is_named(&split.stable.service) || is_named(&split.canary.service)
}

/// Whether a manager writes what a repository says.
pub(super) fn is_repeater(manager: &str) -> bool {
    REPEATERS.iter().any(|name| manager.contains(name))
}

/// Whether all traffic is wanted on stable, and a router has never heard of a canary.
fn is_untouched(router: &dyn Router, split: &Split, objects: &Objects) -> bool {
    split.traffic.is_stable_only()
        && router
            .cleared(split, objects)
            .is_ok_and(|changes| changes.is_empty())
        && router
            .seen(split, objects)
            .is_ok_and(|seen| seen.weight.is_zero())
}

/// Returns a routing that is not the wanted one: with the weight that is seen, or where that is right, with another mark that tells it
/// apart.
fn differing(wanted: &Traffic, seen: Weight, why: String, by: Option<String>) -> Looked {
    let is_open_to_override = if seen == wanted.weight {
        !wanted.is_open_to_override
    } else {
        wanted.is_open_to_override
    };
    Looked {
        applied: Traffic {
            weight: seen,
            is_open_to_override,
            ..wanted.clone()
        },
        why_not: Some(why),
        at: None,
        by,
        is_named: true,
    }
}

/// Returns when the first of these objects was written last.
fn at(changes: &[Change], objects: &Objects) -> Option<Timestamp> {
    let first = changes.first()?;
    json::last_written(objects.get(first.target())?)
}

/// Returns who wrote the first of these objects last.
fn by(changes: &[Change], objects: &Objects) -> Option<String> {
    let first = changes.first()?;
    let manager = json::last_manager(objects.get(first.target())?)?;
    Some(manager.to_owned())
}

fn blocked(error: &RouteError) -> Blocked {
    Blocked {
        reason: match error {
            RouteError::Missing(_) => "Missing",
            RouteError::NotOne(_) | RouteError::Form { .. } | RouteError::Cannot { .. } => {
                "NotRouted"
            }
        },
        message: error.to_string(),
    }
}

fn ask_by(ask: &AskBy) -> HeaderMatch {
    HeaderMatch {
        header: ask.header.to_lowercase(),
        value: ValueMatch::Exact(ask.value.clone()),
    }
}

/// Whether the cluster does not know the kind of an object.
fn is_of_no_kind(view: &View<'_>, target: &ObjectRef) -> bool {
    matches!(view.sight.get(target), Seen::NoKind(_))
}
