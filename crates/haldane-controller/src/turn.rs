//! Turns: what a release wants written, given what is seen.

use std::{collections::BTreeSet, fmt};

use haldane_router::{Kind, ObjectRef, Objects};
use jiff::Timestamp;
use serde_json::Value;

/// The field manager of everything that the controller writes: by it our own writes are known.
pub const FIELD_MANAGER: &str = "haldane-controller";

/// Names what is reconciled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The namespace.
    pub namespace: String,
    /// The name of the release.
    pub name: String,
}

/// Whoever decides what to write; it does no I/O and waits for nothing.
pub trait Host: Send + Sync {
    /// Returns the kind whose objects are reconciled.
    fn kind(&self) -> &'static Kind;

    /// Returns the kinds that are watched from the beginning, beside the reconciled one.
    fn kinds(&self) -> Vec<&'static Kind>;

    /// Returns what to write now for one object.
    fn turn(&self, key: &Key, sight: &dyn Sight, now: Timestamp) -> Turn;

    /// Takes in that an object is gone.
    fn forget(&self, key: &Key);
}

/// What is seen of the cluster: the present contents of the watches, with what was written since.
pub trait Sight {
    /// Returns an object.
    fn get(&self, target: &ObjectRef) -> Seen;

    /// Returns the objects of a kind that have the object with this uid as their controller, oldest first.
    fn owned(&self, kind: &'static Kind, namespace: &str, uid: &str) -> Vec<Value>;

    /// Returns how many objects of a kind there are in a namespace; costs nothing.
    fn count_in(&self, kind: &'static Kind, namespace: &str) -> usize;

    /// Returns the names of all objects of a kind in a namespace.
    fn names_in(&self, kind: &'static Kind, namespace: &str) -> Vec<String>;
}

/// What is known of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Its kind is not watched yet, or the watch has not told everything.
    Unknown,
    /// The cluster does not have its kind, and so no such object; with the reason.
    NoKind(String),
    /// The cluster does not let us see it; with the reason.
    Unavailable(String),
    /// It does not exist.
    Missing,
    /// It is this, of `metadata.managedFields` only who wrote it last, and when, and who scaled it last.
    Found(Value),
}

/// What follows from one look at a release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// What to write, in this order; nothing more after one that fails.
    pub writes: Vec<Write>,
    /// What to do when they are done.
    pub then: Then,
    /// What people are told by events, after all writes.
    pub events: Vec<Event>,
    /// The objects that matter: a change in one of them brings the next turn. Kinds that are not watched yet are from now on.
    pub reads: BTreeSet<ObjectRef>,
}

/// What to do after a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Then {
    /// Look again at once: something follows from what was written.
    Again,
    /// Look again when something changes, or at this time.
    #[default]
    OnChange,
    /// Look again when something changes, at the latest at this time.
    At(Timestamp),
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The object.
    pub target: ObjectRef,
    /// What is done with it.
    pub what: What,
    /// How urgent it is.
    pub urgency: Urgency,
}

/// What is done with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It is created like this; that it exists already is a conflict.
    Create(Value),
    /// A JSON merge patch. With a resource version it is refused where the object has changed since.
    Merge {
        /// The patch.
        patch: Value,
        /// The version of the object that it was made for.
        resource_version: Option<String>,
    },
    /// A JSON merge patch of the status.
    MergeStatus {
        /// The patch.
        patch: Value,
        /// The version of the object that it was made for.
        resource_version: Option<String>,
    },
    /// It is deleted; only the one with this uid.
    Delete {
        /// The uid.
        uid: String,
    },
}

/// How urgent a write is; where the API server is slow, those come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// It takes traffic from a version or sends it there.
    Traffic,
    /// A decision.
    Status,
    /// All else but events.
    Rest,
    /// Events.
    Event,
}

/// What people are told by a Kubernetes event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whether it is something to look at.
    pub is_warning: bool,
    /// One word.
    pub reason: &'static str,
    /// One sentence.
    pub message: String,
}

/// Takes the objects of these references out of what is seen.
#[must_use]
pub fn gather(reads: &BTreeSet<ObjectRef>, sight: &dyn Sight) -> Objects {
    let found = reads.iter().filter_map(|target| match sight.get(target) {
        Seen::Found(object) => Some((target.clone(), object)),
        Seen::Unknown | Seen::NoKind(_) | Seen::Unavailable(_) | Seen::Missing => None,
    });
    found.collect()
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
