//! The objects of one kind.

use std::collections::{BTreeMap, BTreeSet};

use haldane_router::Kind;
use serde_json::{Value, json};

use crate::{
    cache::{Name, Readiness, Size},
    kinds::{JOB, POD},
    turn::FIELD_MANAGER,
};

/// What `kubectl apply` keeps for itself; it doubles an object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

#[derive(Default)]
pub(super) struct Shelf {
    /// How far the watch of each namespace is; the one of all namespaces has no name.
    pub parts: BTreeMap<String, Readiness>,
    pub served: Option<&'static str>,
    pub size: Size,
    objects: BTreeMap<Box<str>, BTreeMap<Box<str>, Entry>>,
    /// The namespaces and names of what an object with this uid controls.
    owned: BTreeMap<Box<str>, BTreeSet<Name>>,
}

/// An object as it came, without what nobody here reads.
#[derive(Debug)]
pub(crate) struct Object {
    pub namespace: Box<str>,
    pub name: Box<str>,
    pub uid: Box<str>,
    pub version: u64,
    controller: Option<Box<str>>,
    text: Box<str>,
}

struct Entry {
    uid: Box<str>,
    version: u64,
    controller: Option<Box<str>>,
    text: Box<str>,
}

impl Object {
    /// Reads what is needed to keep it; nothing where it has no name.
    pub(crate) fn new(kind: &'static Kind, mut object: Value) -> Option<Self> {
        let fields = object.as_object_mut()?;
        // The items of a list don't say what they are.
        fields
            .entry("kind")
            .or_insert_with(|| Value::from(kind.kind));
        fields
            .entry("apiVersion")
            .or_insert_with(|| Value::from(kind.api_version()));
        if [&POD, &JOB].contains(&kind) {
            // Thousands of them come by, and only how they are is ever asked.
            fields.remove("spec");
        }
        let metadata = fields.get_mut("metadata")?.as_object_mut()?;
        let writers = metadata.remove("managedFields");
        let writers = writers.as_ref().and_then(writers_of);
        metadata.extend(writers.map(|writers| ("managedFields".to_owned(), writers)));
        if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
            annotations.remove(LAST_APPLIED);
        }
        if is_pod(kind) {
            metadata.remove("annotations");
        }
        let text = |key: &str| -> Box<str> {
            let value = metadata.get(key).and_then(Value::as_str);
            value.unwrap_or_default().into()
        };
        let name = text("name");
        if name.is_empty() {
            return None;
        }
        let (namespace, uid) = (text("namespace"), text("uid"));
        let version = parse_version(&text("resourceVersion"));
        let controller = controller(metadata.get("ownerReferences"));
        if is_pod(kind) {
            fields.remove("spec");
        }
        Some(Self {
            namespace,
            name,
            uid,
            version,
            controller,
            text: object.to_string().into(),
        })
    }
}

/// Whether these are pods: there are many, and nobody here asks what is in them, only how they are and whose.
fn is_pod(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.kind == "Pod"
}

/// Returns who wrote an object last, its status aside, and who scaled it last, in the form of `managedFields` without the fields. Times
/// are whole seconds: within the same one it is somebody else rather than us. The API server keeps no time of who scaled an object; but
/// it forgets that when somebody else sets the number.
fn writers_of(fields: &Value) -> Option<Value> {
    let text = |one: &Value, key: &str| one.get(key).and_then(Value::as_str).map(str::to_owned);
    let own = fields.as_array()?.iter();
    let (scaled, own): (Vec<&Value>, Vec<&Value>) = own
        .filter(|one| text(one, "subresource").as_deref() != Some("status"))
        .partition(|one| text(one, "subresource").as_deref() == Some("scale"));
    let last = own.into_iter().max_by_key(|one| {
        (
            text(one, "time"),
            text(one, "manager") != Some(FIELD_MANAGER.to_owned()),
        )
    });
    let last = last.map(|one| json!({"manager": text(one, "manager"), "time": text(one, "time")}));
    let scaled = scaled.last();
    let scaled = scaled.map(|one| json!({"manager": text(one, "manager"), "subresource": "scale"}));
    let writers: Vec<Value> = last.into_iter().chain(scaled).collect();
    (!writers.is_empty()).then_some(Value::Array(writers))
}

impl Shelf {
    pub(super) fn settle(&mut self, namespace: &str, readiness: Readiness) -> bool {
        let part = self.parts.entry(namespace.to_owned()).or_default();
        let is_new = *part != readiness;
        *part = readiness;
        is_new
    }

    /// Puts an object in the place of an older one and returns who controls it or did; nothing where nothing changed.
    pub(super) fn put(&mut self, object: Object) -> Option<Vec<Box<str>>> {
        let known = self.version(&object.namespace, &object.name);
        // Versions that are no numbers are all 0: then what comes last wins.
        let is_old = known.is_some_and(|known| known > object.version);
        let is_same = self
            .entry(&object.namespace, &object.name)
            .is_some_and(|entry| entry.text == object.text);
        if is_old || is_same {
            return None;
        }
        let mut controllers = self
            .remove(&object.namespace, &object.name)
            .unwrap_or_default();
        if let Some(uid) = &object.controller {
            let names = self.owned.entry(uid.clone()).or_default();
            names.insert((object.namespace.clone(), object.name.clone()));
            if !controllers.contains(uid) {
                controllers.push(uid.clone());
            }
        }
        let entry = Entry {
            uid: object.uid,
            version: object.version,
            controller: object.controller,
            text: object.text,
        };
        self.size.objects = self.size.objects.saturating_add(1);
        self.size.bytes = self.size.bytes.saturating_add(entry.text.len());
        let objects = self.objects.entry(object.namespace).or_default();
        objects.insert(object.name, entry);
        Some(controllers)
    }

    /// Drops an object and returns who controlled it, if it was there.
    pub(super) fn remove(&mut self, namespace: &str, name: &str) -> Option<Vec<Box<str>>> {
        let objects = self.objects.get_mut(namespace)?;
        let entry = objects.remove(name)?;
        if objects.is_empty() {
            self.objects.remove(namespace);
        }
        self.size.objects = self.size.objects.saturating_sub(1);
        self.size.bytes = self.size.bytes.saturating_sub(entry.text.len());
        if let Some(uid) = &entry.controller
            && let Some(names) = self.owned.get_mut(uid)
        {
            names.remove(&(namespace.into(), name.into()));
            if names.is_empty() {
                self.owned.remove(uid);
            }
        }
        Some(entry.controller.into_iter().collect())
    }

    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<Value> {
        self.entry(namespace, name).and_then(Entry::parse)
    }

    pub(super) fn version(&self, namespace: &str, name: &str) -> Option<u64> {
        self.entry(namespace, name).map(|entry| entry.version)
    }

    pub(super) fn uid(&self, namespace: &str, name: &str) -> Option<&str> {
        self.entry(namespace, name).map(|entry| &*entry.uid)
    }

    /// Returns what this one controls, oldest first.
    pub(super) fn owned(&self, namespace: &str, uid: &str) -> Vec<Value> {
        let names = self.owned.get(uid).into_iter().flatten();
        let here = names.filter(|(place, _)| **place == *namespace);
        let mut objects: Vec<Value> = here
            .filter_map(|(namespace, name)| self.get(namespace, name))
            .collect();
        // Names are in order already, and sorting keeps that among those of one second.
        objects.sort_by(|one, other| created(one).cmp(created(other)));
        objects
    }

    /// Returns how many there are in a namespace.
    pub(super) fn count_in(&self, namespace: &str) -> usize {
        self.objects.get(namespace).map_or(0, BTreeMap::len)
    }

    /// Returns the names of what is no newer than `version`; an empty namespace stands for all.
    pub(super) fn names_until(&self, namespace: &str, version: u64) -> Vec<Name> {
        let places = self.objects.iter();
        let places = places.filter(|(place, _)| namespace.is_empty() || ***place == *namespace);
        let entries = places.flat_map(|(place, objects)| {
            let old = objects.iter().filter(|(_, entry)| entry.version <= version);
            old.map(|(name, _)| (place.clone(), name.clone()))
        });
        entries.collect()
    }

    fn entry(&self, namespace: &str, name: &str) -> Option<&Entry> {
        self.objects.get(namespace)?.get(name)
    }
}

impl Entry {
    fn parse(&self) -> Option<Value> {
        // It was written by us, so it can be read.
        serde_json::from_str(&self.text).ok()
    }
}

/// Returns a resource version as a number; Kubernetes promises that they grow.
pub(crate) fn parse_version(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

fn created(object: &Value) -> &str {
    let time = object.pointer("/metadata/creationTimestamp");
    time.and_then(Value::as_str).unwrap_or_default()
}

fn controller(owners: Option<&Value>) -> Option<Box<str>> {
    let owners = owners?.as_array()?;
    let is_controller = |owner: &&Value| owner.get("controller") == Some(&Value::Bool(true));
    let uid = owners.iter().find(is_controller)?.get("uid")?.as_str()?;
    Some(uid.into())
}
