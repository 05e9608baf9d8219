//! What is known of the cluster: the objects of the watched kinds, as compact text.
//!
//! Text takes a tenth of the memory of a parsed object; a turn parses the few objects that it looks at. Versions are compared as
//! numbers, so that what a late watch, a second API server or a stale list tells never replaces what is known already, the answers
//! to our own writes above all.
//!
//! **Invariant:** an object that was replaced never comes back.

mod gone;
mod shelf;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use haldane_router::{Kind, ObjectRef};
use serde_json::Value;

use crate::{
    cache::{gone::Gone, shelf::Shelf},
    turn::{Seen, Sight},
};

use crate::cache::shelf::Object;
pub(crate) use crate::cache::shelf::parse_version;

/// The objects of all watches.
pub(crate) struct Cache {
    contents: RwLock<Contents>,
}

/// The contents at one moment. Nothing changes while it lives, so it lives short.
pub(crate) struct View<'a> {
    contents: RwLockReadGuard<'a, Contents>,
}

/// The namespace and the name of an object.
pub(crate) type Name = (Box<str>, Box<str>);

/// How far the watch of a kind in a namespace is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// It has not told everything yet.
    #[default]
    Unknown,
    /// The cluster has no such kind, with the reason.
    NoKind(String),
    /// There is nothing to see, with the reason.
    Unavailable(String),
    /// It has told everything.
    Synced,
}

/// An object that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Touched {
    /// The object.
    pub target: ObjectRef,
    /// The uids of those that control it, or did.
    pub controllers: Vec<Box<str>>,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub objects: usize,
    pub bytes: usize,
}

struct Contents {
    /// Those that are watched; empty for all.
    namespaces: BTreeSet<String>,
    shelves: BTreeMap<&'static Kind, Shelf>,
    gone: Gone,
}

impl Cache {
    /// Makes one for these namespaces, or for all where none is named.
    pub(crate) fn new(namespaces: BTreeSet<String>) -> Self {
        let contents = Contents {
            namespaces,
            shelves: BTreeMap::new(),
            gone: Gone::default(),
        };
        Self {
            contents: RwLock::new(contents),
        }
    }

    pub(crate) fn view(&self) -> View<'_> {
        // Nothing panics while it writes.
        let contents = self.contents.read().unwrap_or_else(PoisonError::into_inner);
        View { contents }
    }

    /// Takes an object in, unless something newer is known of it. Tells whether anything changed.
    pub(crate) fn put(&self, kind: &'static Kind, object: Value) -> Option<Touched> {
        let object = Object::new(kind, object)?;
        let mut contents = self.write();
        if contents.gone.contains(&object.uid) {
            return None;
        }
        let target = kind.named(&object.namespace, &object.name);
        let controllers = contents.shelf(kind).put(object)?;
        Some(Touched {
            target,
            controllers,
        })
    }

    /// Takes in that a watch saw an object go.
    pub(crate) fn remove(&self, kind: &'static Kind, object: Value) -> Option<Touched> {
        let object = Object::new(kind, object)?;
        let mut contents = self.write();
        contents.gone.remove(&object.uid);
        let shelf = contents.shelf(kind);
        let known = shelf.version(&object.namespace, &object.name)?;
        if known > object.version {
            return None; // It was made anew.
        }
        let controllers = shelf.remove(&object.namespace, &object.name)?;
        Some(touched(kind, &object.namespace, &object.name, controllers))
    }

    /// Takes in that we deleted an object: its watch still has to tell what came before.
    pub(crate) fn deleted(&self, target: &ObjectRef, uid: &str) -> Option<Touched> {
        let mut contents = self.write();
        contents.gone.insert(uid);
        let shelf = contents.shelf(target.kind);
        if shelf.uid(&target.namespace, &target.name)? != uid {
            return None;
        }
        let controllers = shelf.remove(&target.namespace, &target.name)?;
        Some(touched(
            target.kind,
            &target.namespace,
            &target.name,
            controllers,
        ))
    }

    /// Takes in that a read found nothing where this version was known when it was asked. Its watch may know better.
    pub(crate) fn missing(&self, target: &ObjectRef, version: u64) -> Option<Touched> {
        let mut contents = self.write();
        let shelf = contents.shelf(target.kind);
        if shelf.version(&target.namespace, &target.name)? > version {
            return None;
        }
        let controllers = shelf.remove(&target.namespace, &target.name)?;
        Some(touched(
            target.kind,
            &target.namespace,
            &target.name,
            controllers,
        ))
    }

    /// Drops what a list of this version did not name; an empty namespace stands for all.
    pub(crate) fn sweep(
        &self,
        kind: &'static Kind,
        namespace: &str,
        listed: &BTreeSet<Name>,
        version: u64,
    ) -> Vec<Touched> {
        let mut contents = self.write();
        let shelf = contents.shelf(kind);
        let names = shelf.names_until(namespace, version);
        let left = names.into_iter().filter(|name| !listed.contains(name));
        left.filter_map(|(namespace, name)| {
            let controllers = shelf.remove(&namespace, &name)?;
            Some(touched(kind, &namespace, &name, controllers))
        })
        .collect()
    }

    /// Drops all objects of a kind: a cluster whose history was turned back counts its versions anew.
    pub(crate) fn clear(&self, kind: &'static Kind, namespace: &str) -> Vec<Touched> {
        self.sweep(kind, namespace, &BTreeSet::new(), u64::MAX)
    }

    /// Sets how far a watch is, and tells whether that is new.
    pub(crate) fn settle(
        &self,
        kind: &'static Kind,
        namespace: &str,
        readiness: Readiness,
    ) -> bool {
        let mut contents = self.write();
        contents.shelf(kind).settle(namespace, readiness)
    }

    /// Sets the version under which the cluster serves a kind.
    pub(crate) fn serve(&self, kind: &'static Kind, version: &'static str) {
        self.write().shelf(kind).served = Some(version);
    }

    fn write(&self) -> RwLockWriteGuard<'_, Contents> {
        self.contents
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    fn shelf(&mut self, kind: &'static Kind) -> &mut Shelf {
        self.shelves.entry(kind).or_default()
    }
}

impl View<'_> {
    /// Returns how far the watch is that sees this namespace.
    pub(crate) fn readiness(&self, kind: &'static Kind, namespace: &str) -> Readiness {
        let watched = &self.contents.namespaces;
        if !watched.is_empty() && !watched.contains(namespace) {
            let reason = format!("namespace {namespace:?} is not one of those that are watched");
            return Readiness::Unavailable(reason);
        }
        let part = if watched.is_empty() { "" } else { namespace };
        let shelf = self.contents.shelves.get(kind);
        let readiness = shelf.and_then(|shelf| shelf.parts.get(part));
        readiness.cloned().unwrap_or_default()
    }

    /// Returns the version under which the cluster serves a kind; the best one until that is known.
    pub(crate) fn served(&self, kind: &'static Kind) -> &'static str {
        let shelf = self.contents.shelves.get(kind);
        let served = shelf.and_then(|shelf| shelf.served);
        served.unwrap_or_else(|| kind.versions.first().copied().unwrap_or("v1"))
    }

    /// Returns the version of an object; zero where it is not known.
    pub(crate) fn version(&self, target: &ObjectRef) -> u64 {
        let shelf = self.contents.shelves.get(target.kind);
        let version = shelf.and_then(|shelf| shelf.version(&target.namespace, &target.name));
        version.unwrap_or(0)
    }

    /// Returns the names of all objects of a kind.
    pub(crate) fn names(&self, kind: &'static Kind) -> Vec<Name> {
        let shelf = self.contents.shelves.get(kind);
        shelf.map_or_else(Vec::new, |shelf| shelf.names_until("", u64::MAX))
    }

    /// Returns how much is kept of each kind.
    pub(crate) fn sizes(&self) -> Vec<(&'static Kind, Size)> {
        let shelves = self.contents.shelves.iter();
        shelves.map(|(kind, shelf)| (*kind, shelf.size)).collect()
    }
}

impl Sight for View<'_> {
    fn get(&self, target: &ObjectRef) -> Seen {
        match self.readiness(target.kind, &target.namespace) {
            Readiness::Unknown => Seen::Unknown,
            Readiness::NoKind(reason) => Seen::NoKind(reason),
            Readiness::Unavailable(reason) => Seen::Unavailable(reason),
            Readiness::Synced => {
                let shelf = self.contents.shelves.get(target.kind);
                let found = shelf.and_then(|shelf| shelf.get(&target.namespace, &target.name));
                found.map_or(Seen::Missing, Seen::Found)
            }
        }
    }

    fn owned(&self, kind: &'static Kind, namespace: &str, uid: &str) -> Vec<Value> {
        match self.readiness(kind, namespace) {
            Readiness::Unknown | Readiness::NoKind(_) | Readiness::Unavailable(_) => Vec::new(),
            Readiness::Synced => {
                let shelf = self.contents.shelves.get(kind);
                shelf.map_or_else(Vec::new, |shelf| shelf.owned(namespace, uid))
            }
        }
    }

    fn count_in(&self, kind: &'static Kind, namespace: &str) -> usize {
        let shelf = self.contents.shelves.get(kind);
        shelf.map_or(0, |shelf| shelf.count_in(namespace))
    }

    fn names_in(&self, kind: &'static Kind, namespace: &str) -> Vec<String> {
        match self.readiness(kind, namespace) {
            Readiness::Unknown | Readiness::NoKind(_) | Readiness::Unavailable(_) => Vec::new(),
            Readiness::Synced => {
                let shelf = self.contents.shelves.get(kind).into_iter();
                let names = shelf.flat_map(|shelf| shelf.names_until(namespace, u64::MAX));
                names.map(|(_, name)| name.into()).collect()
            }
        }
    }
}

fn touched(
    kind: &'static Kind,
    namespace: &str,
    name: &str,
    controllers: Vec<Box<str>>,
) -> Touched {
    Touched {
        target: kind.named(namespace, name),
        controllers,
    }
}

#[cfg(test)]
mod tests;
