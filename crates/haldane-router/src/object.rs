//! Objects of a cluster as data, and the changes that are wanted in them.

use std::{collections::BTreeMap, fmt};

use serde_json::Value;

/// A kind of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// Its API group; empty for the core group.
    pub group: &'static str,
    /// Its name as in `kind:`.
    pub kind: &'static str,
    /// Its name in URLs.
    pub plural: &'static str,
    /// The versions that are understood, best first.
    pub versions: &'static [&'static str],
}

/// Names one object of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: &'static Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The objects that are seen, whole but for `metadata.managedFields`.
pub type Objects = BTreeMap<ObjectRef, Value>;

/// One object as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It should be this; where it does not exist yet it is created.
    Put(ObjectRef, Value),
    /// It should not be there.
    Delete(ObjectRef),
}

impl Kind {
    /// Returns the best `apiVersion`.
    #[must_use]
    pub fn api_version(&self) -> String {
        let version = self.versions.first().copied().unwrap_or("v1");
        if self.group.is_empty() {
            version.to_owned()
        } else {
            format!("{}/{version}", self.group)
        }
    }

    /// Names an object of this kind.
    #[must_use]
    pub fn named(&'static self, namespace: &str, name: &str) -> ObjectRef {
        ObjectRef {
            kind: self,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl Change {
    /// Returns the object that is to change.
    #[must_use]
    pub const fn target(&self) -> &ObjectRef {
        match self {
            Self::Put(target, _) | Self::Delete(target) => target,
        }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.kind, self.namespace, self.name)
    }
}
