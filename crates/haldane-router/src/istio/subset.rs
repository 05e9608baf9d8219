//! The subsets of a DestinationRule: that both are there, with the labels of their pods.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{NAME, Result};
use crate::{
    before,
    edit::{self, Place},
    object::{Change, ObjectRef, Objects},
    route::RouteError,
    split::{Backend, Split},
};

/// A DestinationRule whose subsets are stable and canary. The VirtualService names the stable subset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subsets {
    /// The name of the DestinationRule.
    pub name: String,
    /// The name of stable's subset; `stable` if left out.
    #[serde(default = "stable")]
    pub stable_subset: String,
    /// The name of the canary's subset; `canary` if left out. It is added if it is not there.
    #[serde(default = "canary")]
    pub canary_subset: String,
}

/// What the subsets were before, by name.
type SubsetsBefore = BTreeMap<String, SubsetBefore>;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct SubsetBefore {
    /// Whether it was not there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    added: bool,
    /// Whether it had no labels at all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    bare: bool,
    /// The labels that were set, each with what was there and what was written.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, (Option<String>, String)>,
}

impl Subsets {
    /// Returns what must change in the DestinationRule.
    pub(super) fn desired(
        &self,
        split: &Split,
        target: &ObjectRef,
        objects: &Objects,
    ) -> Result<Option<Change>> {
        let at = Place::of(target);
        let present = edit::object(objects, target)?;
        let mut subsets = edit::list(present, &["spec", "subsets"], &at)?;
        let before: Option<SubsetsBefore> = before::read(present, &split.release);
        let mut before = before.unwrap_or_default();
        for (name, side) in [
            (&self.stable_subset, &split.stable),
            (&self.canary_subset, &split.canary),
        ] {
            let kept = before.entry(name.clone()).or_default();
            ensure(&mut subsets, name, side, kept, &at)?;
        }
        let mut object = present.clone();
        edit::set(
            &mut object,
            &["spec", "subsets"],
            Value::Array(subsets),
            &at,
        )?;
        if object == *present {
            return Ok(None);
        }
        before::write(&mut object, &split.release, Some(&before), &at)?;
        Ok(Some(Change::Put(target.clone(), object)))
    }
}

/// Returns what must change in the DestinationRule so that nothing of us is left.
pub(super) fn cleared(
    split: &Split,
    target: &ObjectRef,
    objects: &Objects,
) -> Result<Option<Change>> {
    let at = Place::of(target);
    let present = edit::object(objects, target)?;
    let Some(before) = before::read::<SubsetsBefore>(present, &split.release) else {
        return Ok(None);
    };
    let mut subsets = edit::list(present, &["spec", "subsets"], &at)?;
    subsets.retain(|subset| {
        let kept = edit::text(subset, &["name"]).and_then(|name| before.get(name));
        !kept.is_some_and(|kept| kept.added)
    });
    for subset in &mut subsets {
        let kept = edit::text(subset, &["name"]).and_then(|name| before.get(name));
        if let Some(kept) = kept.cloned() {
            put_back(subset, &kept);
        }
    }
    let mut object = present.clone();
    let had_none = subsets.is_empty();
    edit::set(
        &mut object,
        &["spec", "subsets"],
        Value::Array(subsets),
        &at,
    )?;
    if had_none && let Some(spec) = object.get_mut("spec") {
        edit::remove(spec, "subsets");
    }
    before::write::<SubsetsBefore>(&mut object, &split.release, None, &at)?;
    Ok(Some(Change::Put(target.clone(), object)))
}

/// Returns the host that the DestinationRule is for.
pub(super) fn host<'o>(target: &ObjectRef, objects: &'o Objects) -> Result<&'o str> {
    let object = edit::object(objects, target)?;
    let host = edit::get(object, &["spec", "host"]);
    host.and_then(Value::as_str).ok_or_else(|| {
        Place::of(target)
            .keys(&["spec", "host"])
            .wrong("the name of a Service", host)
    })
}

fn ensure(
    subsets: &mut Vec<Value>,
    name: &str,
    side: &Backend,
    kept: &mut SubsetBefore,
    at: &Place<'_>,
) -> Result<()> {
    let is_it = |subset: &Value| edit::text(subset, &["name"]) == Some(name);
    let place = at.keys(&["spec", "subsets"]);
    let index = subsets.iter().position(is_it);
    let Some((index, subset)) = index.and_then(|index| Some((index, subsets.get_mut(index)?)))
    else {
        if side.labels.is_empty() {
            return Err(RouteError::Cannot {
                router: NAME,
                what: format!("add the subset {name}: no label tells its pods from the others"),
            });
        }
        subsets.push(json!({"name": name, "labels": side.labels}));
        *kept = SubsetBefore {
            added: true,
            ..SubsetBefore::default()
        };
        return Ok(());
    };
    let place = place.item(index);
    for (key, value) in &side.labels {
        let present = edit::get(subset, &["labels", key]);
        if present.and_then(Value::as_str) == Some(value) {
            continue;
        }
        if !kept.added {
            kept.bare |= subset.get("labels").is_none();
            let was = present.and_then(Value::as_str).map(str::to_owned);
            let first = kept.labels.remove(key).map_or(was, |(first, _)| first);
            kept.labels.insert(key.clone(), (first, value.clone()));
        }
        edit::set(subset, &["labels", key], json!(value), &place)?;
    }
    Ok(())
}

fn put_back(subset: &mut Value, kept: &SubsetBefore) {
    let Some(labels) = subset.get_mut("labels").and_then(Value::as_object_mut) else {
        return;
    };
    for (key, (was, written)) in &kept.labels {
        if labels.get(key).and_then(Value::as_str) != Some(written) {
            continue;
        }
        match was {
            Some(was) => labels.insert(key.clone(), json!(was)),
            None => labels.remove(key),
        };
    }
    if kept.bare && labels.is_empty() {
        edit::remove(subset, "labels");
    }
}

fn stable() -> String {
    "stable".to_owned()
}

fn canary() -> String {
    "canary".to_owned()
}
