//! Which releases name which objects, so that of two that name the same one only the first changes it.
//!
//! An object is had by the release whose record says that it was taken over with it; among those that say so, or none does, by the one
//! that was made first, and of two of the same second by the name. Who has what is read from the releases each time: what is kept here
//! only tells which of them to read. So nothing is written for it, and nobody's object is marked.
//!
//! Releases may share a route, as long as each has Services of its own in it.

use std::collections::{BTreeMap, BTreeSet};

use haldane_api::release::Spec;
use haldane_router::ObjectRef;
use serde_json::Value;

use super::{
    json,
    release::{Release, named},
    site::Blocked,
};
use crate::{
    kinds::RELEASE,
    turn::{Key, Seen, Sight},
};

/// Which releases name which objects.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// What each release names, by namespace and name.
    named: BTreeMap<String, BTreeMap<String, Named>>,
    by: BTreeMap<ObjectRef, BTreeSet<Key>>,
}

/// What one release names, or named until its spec changed last.
#[derive(Debug)]
struct Named {
    uid: String,
    generation: Option<i64>,
    objects: BTreeSet<ObjectRef>,
}

/// What one release names.
struct Claim {
    /// When it was made.
    since: String,
    name: String,
    /// What its spec names.
    wanted: BTreeSet<ObjectRef>,
    /// What it was taken over with.
    held: BTreeSet<ObjectRef>,
}

impl Claims {
    /// Takes in what a release names, and returns the others of its namespace that name some of it.
    pub(super) fn take_in(
        &mut self,
        key: &Key,
        release: &Release,
        sight: &dyn Sight,
    ) -> BTreeSet<Key> {
        self.put(key, release);
        let known = self.named.get(&key.namespace).map_or(0, BTreeMap::len);
        if known != sight.count_in(&RELEASE, &key.namespace) {
            self.meet(&key.namespace, sight);
        }
        let own = self.known(key).into_iter();
        let own = own.flat_map(|named| &named.objects);
        let mut others: BTreeSet<Key> = own
            .filter_map(|object| self.by.get(object))
            .flatten()
            .cloned()
            .collect();
        others.remove(key);
        others
    }

    /// Takes in the releases of a namespace that had no turn yet.
    fn meet(&mut self, namespace: &str, sight: &dyn Sight) {
        for name in sight.names_in(&RELEASE, namespace) {
            let key = Key {
                namespace: namespace.to_owned(),
                name,
            };
            if self.known(&key).is_some() {
                continue;
            }
            if let Seen::Found(object) = sight.get(&target(&key)) {
                self.put(&key, &Release::read(object, &key));
            }
        }
    }

    fn put(&mut self, key: &Key, release: &Release) {
        let (uid, generation) = (release.uid(), release.generation());
        let known = self.known(key);
        if known.is_some_and(|known| known.uid == uid && known.generation == generation) {
            return;
        }
        self.remove(key);
        let objects = Claim::of(key, release).all();
        for object in &objects {
            let names = self.by.entry(object.clone()).or_default();
            names.insert(key.clone());
        }
        let named = Named {
            uid: uid.to_owned(),
            generation,
            objects,
        };
        let here = self.named.entry(key.namespace.clone()).or_default();
        here.insert(key.name.clone(), named);
    }

    fn known(&self, key: &Key) -> Option<&Named> {
        self.named.get(&key.namespace)?.get(&key.name)
    }

    /// Forgets a release.
    pub(super) fn remove(&mut self, key: &Key) {
        let Some(here) = self.named.get_mut(&key.namespace) else {
            return;
        };
        let named = here.remove(&key.name).into_iter();
        if here.is_empty() {
            self.named.remove(&key.namespace);
        }
        for object in named.flat_map(|named| named.objects) {
            if let Some(names) = self.by.get_mut(&object) {
                names.remove(key);
                if names.is_empty() {
                    self.by.remove(&object);
                }
            }
        }
    }
}

impl Claim {
    fn of(key: &Key, release: &Release) -> Self {
        let of = |spec| named(spec, key);
        let wanted = release.spec.as_ref().map(of).unwrap_or_default();
        let held = if release.is_taken_over() {
            // A record of an earlier build does not tell; it was taken over with what the spec names.
            let kept = release.kept();
            kept.map_or_else(|| wanted.clone(), |kept| named(&kept, key))
        } else {
            BTreeSet::new()
        };
        let made = json::text(&release.object, "/metadata/creationTimestamp");
        Self {
            since: made.unwrap_or_default().to_owned(),
            name: key.name.clone(),
            wanted,
            held,
        }
    }

    fn all(&self) -> BTreeSet<ObjectRef> {
        self.wanted.union(&self.held).cloned().collect()
    }

    /// Returns whose an object is: that of the least of these.
    fn rank(&self, object: &ObjectRef) -> (bool, &str, &str) {
        (!self.held.contains(object), &self.since, &self.name)
    }

    /// Returns an object that another release wants and this one has before it.
    fn first_of(&self, other: &Self) -> Option<ObjectRef> {
        let all = self.all();
        let mut shared = other.wanted.intersection(&all);
        let found = shared.find(|object| self.rank(object) < other.rank(object));
        found.cloned()
    }
}

/// Refuses what a release names and another one has.
pub(super) fn check(
    key: &Key,
    release: &Release,
    sight: &dyn Sight,
    others: &BTreeSet<Key>,
) -> Result<(), Blocked> {
    if others.is_empty() {
        return Ok(());
    }
    let own = Claim::of(key, release);
    for other in others {
        let Seen::Found(object) = sight.get(&target(other)) else {
            continue;
        };
        let theirs = Claim::of(other, &Release::read(object, other));
        if let Some(object) = theirs.first_of(&own) {
            return Err(Blocked {
                reason: "Claimed",
                message: format!("{object} belongs to Release {}", other.name),
            });
        }
    }
    Ok(())
}

/// Returns an object that a release with this spec would change and that one of these has, with its name.
pub(crate) fn had(spec: &Spec, key: &Key, releases: Vec<Value>) -> Option<(ObjectRef, String)> {
    let wanted = named(spec, key);
    releases.into_iter().find_map(|object| {
        let name = json::text(&object, "/metadata/name")?.to_owned();
        let other = Key {
            namespace: key.namespace.clone(),
            name: name.clone(),
        };
        let claim = Claim::of(&other, &Release::read(object, &other));
        let shared = claim.all().into_iter().find(|one| wanted.contains(one))?;
        Some((shared, name))
    })
}

/// Returns the object of a release.
pub(super) fn target(key: &Key) -> ObjectRef {
    RELEASE.named(&key.namespace, &key.name)
}
