//! Pairs of Deployments that people made: nothing is created; templates are copied and replicas are set.
//!
//! A version begins where a canary's template is put in place, and ends where it is copied to stable. Several pairs go together: they
//! are one version, and the worst of them decides.
//!
//! **Invariant:** stable's template becomes nothing but what was judged.

use std::collections::{BTreeMap, BTreeSet};

use haldane_api::release::Pair;
use haldane_core::rollout::{Replicas, Trouble};
use haldane_router::{Backend, ObjectRef};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Blocked, CanaryReplicas, Deployment, Live, Record, Rest, SPREAD_MAX, Scene, Stable, Version,
    View,
};
use crate::{
    host::{
        deployment::restart,
        json::{self as read, put, set},
        pods,
        version::transplanted,
    },
    kinds::{DEPLOYMENT, SERVICE},
    meter::Place,
    turn::{Key, Urgency, Write},
};

/// Pairs that go together.
#[derive(Clone, Debug)]
pub(in crate::host) struct Pairs(Vec<Pair>);

/// Both Deployments of a pair.
struct Sides<'a> {
    pair: &'a Pair,
    stable: Deployment,
    canary: Option<Deployment>,
}

impl Pairs {
    pub(super) fn new(pairs: &[Pair]) -> Self {
        Self(pairs.to_vec())
    }

    pub(super) fn reads(&self, key: &Key) -> BTreeSet<ObjectRef> {
        let of = |pair: &Pair| {
            let (stable, canary) = services(pair);
            [
                DEPLOYMENT.named(&key.namespace, &pair.stable),
                DEPLOYMENT.named(&key.namespace, &pair.canary),
                SERVICE.named(&key.namespace, stable),
                SERVICE.named(&key.namespace, canary),
            ]
        };
        self.0.iter().flat_map(of).collect()
    }

    pub(super) fn workloads(&self, key: &Key) -> Vec<ObjectRef> {
        let both = self.0.iter().flat_map(|pair| [&pair.stable, &pair.canary]);
        both.map(|name| DEPLOYMENT.named(&key.namespace, name))
            .collect()
    }

    pub(super) fn backends(&self) -> Vec<(Backend, Backend)> {
        let side = |role: &str, service: &str| Backend {
            service: service.to_owned(),
            labels: BTreeMap::from([("version".to_owned(), role.to_owned())]),
        };
        let of = |pair: &Pair| {
            let (stable, canary) = services(pair);
            (side("stable", stable), side("canary", canary))
        };
        self.0.iter().map(of).collect()
    }

    fn sides(&self, view: &View<'_>) -> Result<Vec<Sides<'_>>, Blocked> {
        let mut sides = Vec::new();
        for pair in &self.0 {
            sides.push(Sides {
                pair,
                stable: view.deployment(&pair.stable)?,
                canary: view.find(&DEPLOYMENT, &pair.canary)?.map(Deployment),
            });
        }
        Ok(sides)
    }

    pub(super) fn look(&self, view: &View<'_>, record: &Record) -> Result<Scene, Blocked> {
        let sides = self.sides(view)?;
        for side in &sides {
            view.check_claim(&DEPLOYMENT, &side.stable.0)?;
        }
        let canaries: Option<Vec<&Deployment>> =
            sides.iter().map(|side| side.canary.as_ref()).collect();
        let stable = record.stable.as_ref().map(|stable| &stable.version);
        let offered = match canaries {
            Some(canaries) => version(&canaries, stable),
            None => version(&stables(&sides), stable),
        };
        let seen = |side: &Sides<'_>| {
            let canary = side.canary.as_ref()?;
            Some(Replicas {
                is_fixed: canary.is_autoscaled(),
                ..canary.seen()
            })
        };
        let canary: Option<Vec<Replicas>> = sides.iter().map(seen).collect();
        let full = sides.iter().map(Sides::full).min().unwrap_or(1);
        let sizes = sides.iter().map(|side| side.stable.replicas());
        Ok(Scene {
            stable: worst(
                &sides
                    .iter()
                    .map(|side| side.stable.seen())
                    .collect::<Vec<_>>(),
            ),
            canary: canary.map(|all| worst(&all)),
            // An autoscaler may shrink stable while the canary has its traffic.
            full: record.live().map_or(full, |live| full.max(live.full)),
            sizes: sizes.collect(),
            trouble: record.live().and_then(|_| {
                let mut sides = sides.iter();
                sides.find_map(|side| side.trouble(view))
            }),
            offered,
        })
    }

    pub(super) fn adopt(&self, view: &View<'_>) -> Result<Stable, Blocked> {
        let sides = self.sides(view)?;
        if let Some(side) = sides.iter().find(|side| side.stable.seen().ready == 0) {
            return Err(Blocked {
                reason: "Waiting",
                message: format!("waits for a ready pod of Deployment {}", side.pair.stable),
            });
        }
        Ok(Stable {
            version: version(&stables(&sides), None),
            pods: String::new(),
            beside: None,
            since: view.now,
        })
    }

    pub(super) fn canary(
        &self,
        view: &View<'_>,
        size: &CanaryReplicas,
    ) -> Result<Vec<Write>, Blocked> {
        let mut writes = Vec::new();
        for side in self.sides(view)? {
            let Some(canary) = &side.canary else { continue };
            let mut wanted = canary.0.clone();
            let count = match (size.count, canary.replicas()) {
                (0, _) => 0,
                (_, present) if present > 0 && canary.is_autoscaled() => present,
                // Who runs more canaries than we would keeps them.
                (wanted, present) => present.max(wanted),
            };
            set(&mut wanted, &["spec", "replicas"], json!(count));
            restart(&mut wanted, size.restart_since);
            let target = view.name(&DEPLOYMENT, &side.pair.canary);
            writes.extend(put(&target, Some(&canary.0), &wanted, Urgency::Rest));
        }
        Ok(writes)
    }

    pub(super) fn grown(&self, view: &View<'_>, live: &Live) -> Result<Vec<Write>, Blocked> {
        let sides = self.sides(view)?;
        let grown = sides.iter().zip(&live.sizes).filter_map(|(side, least)| {
            let target = view.name(&DEPLOYMENT, &side.pair.stable);
            side.stable.grown(&target, *least)
        });
        Ok(grown.collect())
    }

    pub(super) fn rest(
        &self,
        view: &View<'_>,
        record: &Record,
        stable: &Stable,
        is_drained: bool,
    ) -> Result<Rest, Blocked> {
        let sides = self.sides(view)?;
        if stable.beside.is_some() {
            return Ok(take_in(view, &sides, stable));
        }
        let mut rest = Rest {
            is_stable_reached: true,
            is_stopped: sides.iter().all(Sides::is_stopped),
            goes_on: record.stop.then(|| "the canary is stopped".to_owned()),
            follow: Some(joined(
                sides
                    .iter()
                    .map(|side| image_command(side.pair, &side.stable)),
            )),
            ..Rest::default()
        };
        if record.stop && is_drained {
            for side in sides.iter().filter(|side| !side.is_stopped()) {
                let Some(canary) = &side.canary else { continue };
                let mut wanted = canary.0.clone();
                set(&mut wanted, &["spec", "replicas"], json!(0));
                let target = view.name(&DEPLOYMENT, &side.pair.canary);
                rest.writes
                    .extend(put(&target, Some(&canary.0), &wanted, Urgency::Rest));
            }
        }
        Ok(rest)
    }

    /// Returns the commands by which stable's manifests follow the canaries that are promoted.
    pub(super) fn follow(&self, view: &View<'_>) -> Result<Option<String>, Blocked> {
        let sides = self.sides(view)?;
        let images = joined(sides.iter().filter_map(|side| {
            let canary = side.canary.as_ref()?;
            Some(image_command(side.pair, canary))
        }));
        let is_more = sides.iter().any(Sides::is_more_than_images);
        let more = if is_more {
            "; more than images changed, so take the templates of the canaries"
        } else {
            ""
        };
        Ok(Some(format!("{images}{more}")))
    }

    /// Tells who took a canary away, and how, if somebody did.
    pub(super) fn taken_away(&self, view: &View<'_>) -> Result<Option<String>, Blocked> {
        for side in self.sides(view)? {
            let name = &side.pair.canary;
            match &side.canary {
                None => return Ok(Some(format!("Deployment {name} was deleted"))),
                Some(canary) if canary.replicas() == 0 => {
                    let by = read::scaled_by_whom(&canary.0);
                    return Ok(Some(format!("Deployment {name} was scaled to 0{by}")));
                }
                Some(_) => {}
            }
        }
        Ok(None)
    }

    /// Returns what metric systems call both sides of each pair.
    pub(super) fn places(&self) -> Vec<(Place, Place)> {
        let place = |deployment: &str, service: &str| Place {
            deployment: deployment.to_owned(),
            service: service.to_owned(),
            replica_set: None,
        };
        let of = |pair: &Pair| {
            let (stable, canary) = services(pair);
            (place(&pair.stable, stable), place(&pair.canary, canary))
        };
        self.0.iter().map(of).collect()
    }

    /// Returns where a version serves that was just promoted.
    pub(in crate::host) fn promoted(live: &Live, now: Timestamp) -> Stable {
        Stable {
            version: live.canary.clone(),
            pods: String::new(),
            beside: Some("canary".to_owned()),
            since: now,
        }
    }
}

impl Sides<'_> {
    fn full(&self) -> u32 {
        let stable = self.stable.replicas();
        self.pair.replicas.unwrap_or(stable).max(1)
    }

    fn is_stopped(&self) -> bool {
        let canary = self.canary.as_ref();
        canary.is_none_or(|canary| canary.replicas() == 0)
    }

    /// Whether the canary's template differs from stable's in more than images.
    fn is_more_than_images(&self) -> bool {
        let Some(canary) = &self.canary else {
            return false;
        };
        let (from, to) = (canary.selector(), self.stable.selector());
        let old = self.stable.template();
        let new = transplanted(canary.template(), from, old, to);
        let bare = |template: &Value| {
            let mut bare = transplanted(template, to, old, to);
            let containers = bare.pointer_mut("/spec/containers");
            for one in containers
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                set(one, &["image"], Value::Null);
            }
            bare
        };
        bare(&new) != bare(old)
    }

    fn trouble(&self, view: &View<'_>) -> Option<Trouble> {
        let canary = self.canary.as_ref()?;
        canary.trouble().or_else(|| pods::trouble(view, canary))
    }
}

/// Copies the version that was promoted to stable, and tells when it serves there.
fn take_in(view: &View<'_>, sides: &[Sides<'_>], stable: &Stable) -> Rest {
    let own = |version: Version, since: Timestamp| Rest {
        stable: Some(Stable {
            version,
            pods: String::new(),
            beside: None,
            since,
        }),
        goes_on: Some("stable serves again".to_owned()),
        ..Rest::default()
    };
    let is_copied = version(&stables(sides), None).hash == stable.version.hash;
    if is_copied && sides.iter().all(|side| side.stable.is_rolled_out()) {
        return own(stable.version.clone(), view.now);
    }
    let canaries: Option<Vec<&Deployment>> =
        sides.iter().map(|side| side.canary.as_ref()).collect();
    let is_there = canaries
        .as_deref()
        .is_some_and(|canaries| version(canaries, None).hash == stable.version.hash);
    let is_ready = |one: &Deployment| one.seen().ready > 0;
    let serves = is_there && canaries.is_some_and(|all| all.into_iter().all(is_ready));
    if is_copied && !serves && sides.iter().all(|side| is_ready(&side.stable)) {
        // Somebody took the canary away, or put into it what nobody has judged: all of stable's pods are better than that.
        // Routers have known stable's pods all the time.
        let since = view.now.saturating_sub(SPREAD_MAX);
        return own(stable.version.clone(), since.unwrap_or(view.now));
    }
    if !is_copied && !is_there {
        // What was judged is nowhere any more: stable goes on with what it has.
        return own(version(&stables(sides), None), view.now);
    }
    let mut rest = Rest {
        goes_on: Some(format!("{} is copied to stable", stable.version.name)),
        ..Rest::default()
    };
    for side in sides.iter().filter(|_| !is_copied) {
        let Some(canary) = &side.canary else { continue };
        let mut wanted = side.stable.0.clone();
        let (from, to) = (canary.selector(), side.stable.selector());
        set(
            &mut wanted,
            &["spec", "template"],
            transplanted(canary.template(), from, side.stable.template(), to),
        );
        if side.stable.is_autoscaled() && side.stable.replicas() < canary.replicas() {
            // It was shrunk while the canary had its traffic, and is to take that over.
            set(&mut wanted, &["spec", "replicas"], json!(canary.replicas()));
        }
        let target = view.name(&DEPLOYMENT, &side.pair.stable);
        let write = put(&target, Some(&side.stable.0), &wanted, Urgency::Rest);
        rest.writes.extend(write);
    }
    rest
}

fn joined(commands: impl Iterator<Item = String>) -> String {
    commands.collect::<Vec<_>>().join("; ")
}

/// Returns the command that gives stable's Deployment the images of one of the pair's.
fn image_command(pair: &Pair, from: &Deployment) -> String {
    let image = |one: &Value| {
        let (name, image) = (read::text(one, "/name")?, read::text(one, "/image")?);
        Some(format!(" {name}={image}"))
    };
    let containers = from.template().pointer("/spec/containers");
    let containers = containers.and_then(Value::as_array).into_iter().flatten();
    let images: String = containers.filter_map(image).collect();
    format!("kubectl set image deployment/{}{images}", pair.stable)
}

fn services(pair: &Pair) -> (&str, &str) {
    (
        pair.stable_service.as_deref().unwrap_or(&pair.stable),
        pair.canary_service.as_deref().unwrap_or(&pair.canary),
    )
}

fn stables<'a>(sides: &'a [Sides<'_>]) -> Vec<&'a Deployment> {
    sides.iter().map(|side| &side.stable).collect()
}

fn version(deployments: &[&Deployment], other: Option<&Version>) -> Version {
    let templates: Vec<(&Value, &Value)> = deployments
        .iter()
        .map(|one| (one.template(), one.selector()))
        .collect();
    let version = Version::of(&templates, other);
    match other {
        Some(other) if other.hash == version.hash => other.clone(),
        Some(_) | None => version,
    }
}

/// Returns the replicas of several Deployments as those of the one that is furthest behind.
fn worst(all: &[Replicas]) -> Replicas {
    let behind = |one: &Replicas| one.wanted.saturating_sub(one.ready);
    let found = all.iter().max_by_key(|one| (behind(one), one.ready == 0));
    Replicas {
        existing: all.iter().map(|one| one.existing).max().unwrap_or(0),
        ..found.copied().unwrap_or_default()
    }
}
