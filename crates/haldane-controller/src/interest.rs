//! Which releases a change concerns: those whose last turn looked at the object, or at what its owner controls. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use haldane_router::{Kind, ObjectRef};

use crate::cache::Touched;

/// The objects of one kind that the object with this uid controls.
pub(crate) type Owned = (&'static Kind, Box<str>);

/// Who looks at what.
#[derive(Debug, Default)]
pub(crate) struct Interest {
    keys: BTreeMap<Arc<ObjectRef>, Looks>,
    readers: BTreeMap<ObjectRef, Vec<Arc<ObjectRef>>>,
    guardians: BTreeMap<Owned, Vec<Arc<ObjectRef>>>,
}

/// What one release looks at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Looks {
    pub reads: BTreeSet<ObjectRef>,
    pub owned: BTreeSet<Owned>,
}

impl Interest {
    /// Sets what a release looks at.
    pub(crate) fn set(&mut self, key: &ObjectRef, looks: Looks) {
        if self.keys.get(key) == Some(&looks) {
            return;
        }
        self.remove(key);
        let key = Arc::new(key.clone());
        for target in &looks.reads {
            let readers = self.readers.entry(target.clone()).or_default();
            readers.push(Arc::clone(&key));
        }
        for owned in &looks.owned {
            let guardians = self.guardians.entry(owned.clone()).or_default();
            guardians.push(Arc::clone(&key));
        }
        self.keys.insert(key, looks);
    }

    pub(crate) fn remove(&mut self, key: &ObjectRef) {
        let Some(looks) = self.keys.remove(key) else {
            return;
        };
        for target in &looks.reads {
            drop_key(&mut self.readers, target, key);
        }
        for owned in &looks.owned {
            drop_key(&mut self.guardians, owned, key);
        }
    }

    /// Returns whom a change concerns.
    pub(crate) fn of(&self, touched: &Touched) -> BTreeSet<Arc<ObjectRef>> {
        let readers = self.readers.get(&touched.target).into_iter();
        let controllers = touched.controllers.iter();
        let guardians = controllers.filter_map(|uid| {
            let owned = (touched.target.kind, uid.clone());
            self.guardians.get(&owned)
        });
        readers.chain(guardians).flatten().cloned().collect()
    }

    /// Returns who looks at objects of a kind.
    pub(crate) fn of_kind(&self, kind: &'static Kind) -> BTreeSet<Arc<ObjectRef>> {
        let looks = self.keys.iter().filter(|(_, looks)| {
            looks.reads.iter().any(|target| target.kind == kind)
                || looks.owned.iter().any(|(owned, _)| *owned == kind)
        });
        looks.map(|(key, _)| Arc::clone(key)).collect()
    }
}

impl Looks {
    /// Returns the kinds of all objects looked at.
    pub(crate) fn kinds(&self) -> BTreeSet<&'static Kind> {
        let reads = self.reads.iter().map(|target| target.kind);
        let owned = self.owned.iter().map(|(kind, _)| *kind);
        reads.chain(owned).collect()
    }
}

fn drop_key<T: Ord>(of: &mut BTreeMap<T, Vec<Arc<ObjectRef>>>, what: &T, key: &ObjectRef) {
    if let Some(keys) = of.get_mut(what) {
        keys.retain(|other| **other != *key);
        if keys.is_empty() {
            of.remove(what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::RELEASE;

    static MAP: Kind = Kind {
        group: "",
        kind: "ConfigMap",
        plural: "configmaps",
        versions: &["v1"],
    };
    static POD: Kind = Kind {
        group: "",
        kind: "Pod",
        plural: "pods",
        versions: &["v1"],
    };

    fn key(name: &str) -> ObjectRef {
        RELEASE.named("shop", name)
    }

    fn looks(reads: &[&str], owned: &[&str]) -> Looks {
        Looks {
            reads: reads.iter().map(|name| MAP.named("shop", name)).collect(),
            owned: owned.iter().map(|uid| (&POD, (*uid).into())).collect(),
        }
    }

    fn names(keys: &BTreeSet<Arc<ObjectRef>>) -> Vec<&str> {
        keys.iter().map(|key| key.name.as_str()).collect()
    }

    #[test]
    fn a_change_concerns_those_who_looked_last() {
        let mut interest = Interest::default();
        let touched = |name: &str| Touched {
            target: MAP.named("shop", name),
            controllers: Vec::new(),
        };
        interest.set(&key("a"), looks(&["x", "y"], &[]));
        interest.set(&key("b"), looks(&["y"], &[]));
        assert_eq!(names(&interest.of(&touched("x"))), ["a"]);
        assert_eq!(names(&interest.of(&touched("y"))), ["a", "b"]);
        interest.set(&key("a"), looks(&["z"], &[]));
        assert_eq!(names(&interest.of(&touched("x"))), [] as [&str; 0]);
        assert_eq!(names(&interest.of(&touched("y"))), ["b"]);
        assert_eq!(names(&interest.of_kind(&MAP)), ["a", "b"]);
    }

    #[test]
    fn what_an_owner_controls_concerns_those_who_asked_for_it() {
        let mut interest = Interest::default();
        interest.set(&key("a"), looks(&[], &["set"]));
        let pod = Touched {
            target: POD.named("shop", "new"),
            controllers: vec!["other".into(), "set".into()],
        };
        assert_eq!(names(&interest.of(&pod)), ["a"]);
        assert_eq!(names(&interest.of_kind(&POD)), ["a"]);
        interest.remove(&key("a"));
        assert!(interest.of(&pod).is_empty());
        assert!(interest.keys.is_empty() && interest.guardians.is_empty());
    }
}
