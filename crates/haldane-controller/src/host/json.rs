//! Reading fields of objects, and the patch between two of them.

use haldane_router::ObjectRef;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::turn::{Urgency, What, Write};

/// Returns a text.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer)?.as_str()
}

/// Returns a whole number, 0 where there is none: so the API leaves zero out.
pub(super) fn count(object: &Value, pointer: &str) -> u32 {
    let number = object.pointer(pointer).and_then(Value::as_u64);
    number.map_or(0, |number| u32::try_from(number).unwrap_or(u32::MAX))
}

/// Returns a map, empty where there is none.
pub(super) fn map(object: &Value, pointer: &str) -> Map<String, Value> {
    let found = object.pointer(pointer).and_then(Value::as_object);
    found.cloned().unwrap_or_default()
}

/// Returns a map within, to be changed.
pub(super) fn map_mut<'a>(
    object: &'a mut Value,
    pointer: &str,
) -> Option<&'a mut Map<String, Value>> {
    object.pointer_mut(pointer)?.as_object_mut()
}

/// Sets a field, with the maps on the way to it; what is no map there is replaced by one.
pub(super) fn set(object: &mut Value, path: &[&str], value: Value) {
    let Some((key, rest)) = path.split_first() else {
        *object = value;
        return;
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    if let Some(map) = object.as_object_mut() {
        set(map.entry(*key).or_insert(Value::Null), rest, value);
    }
}

/// Returns an annotation.
pub(super) fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.pointer("/metadata/annotations")?.get(name)?.as_str()
}

/// Returns the uid, empty where there is none.
pub(super) fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid").unwrap_or_default()
}

/// Returns the resource version.
pub(super) fn resource_version(object: &Value) -> Option<String> {
    text(object, "/metadata/resourceVersion").map(str::to_owned)
}

/// Returns ` by MANAGER` for who wrote an object last, as far as it tells.
pub(super) fn by_whom(object: &Value) -> String {
    by(last_manager(object))
}

/// Returns ` by MANAGER` for who gave an object its size, as far as it tells.
pub(super) fn scaled_by_whom(object: &Value) -> String {
    by(last_scaler(object).or_else(|| last_manager(object)))
}

fn by(manager: Option<&str>) -> String {
    manager.map_or_else(String::new, |manager| format!(" by {manager}"))
}

/// Returns who set an object's number of replicas, if that was done by scaling it.
pub(super) fn last_scaler(object: &Value) -> Option<&str> {
    let fields = object.pointer("/metadata/managedFields")?.as_array()?;
    let scaled = fields
        .iter()
        .find(|one| text(one, "/subresource") == Some("scale"))?;
    text(scaled, "/manager")
}

/// Returns who wrote an object last other than its status and its size, as far as it tells.
pub(super) fn last_manager(object: &Value) -> Option<&str> {
    let fields = object.pointer("/metadata/managedFields")?.as_array()?;
    let own = fields
        .iter()
        .filter(|one| text(one, "/subresource").is_none());
    let last = own.max_by_key(|one| text(one, "/time"))?;
    text(last, "/manager")
}

/// Returns when an object was written last other than its status and its size, as far as it tells.
pub(super) fn last_written(object: &Value) -> Option<Timestamp> {
    let fields = object.pointer("/metadata/managedFields")?.as_array()?;
    let own = fields
        .iter()
        .filter(|one| text(one, "/subresource").is_none());
    own.filter_map(|one| text(one, "/time")?.parse().ok()).max()
}

/// Returns the write that makes `wanted` of `seen`; `None` where it is that already.
pub(super) fn put(
    target: &ObjectRef,
    seen: Option<&Value>,
    wanted: &Value,
    urgency: Urgency,
) -> Option<Write> {
    let what = match seen {
        None => What::Create(wanted.clone()),
        Some(seen) => What::Merge {
            patch: difference(seen, wanted)?,
            resource_version: resource_version(seen),
        },
    };
    Some(Write {
        target: target.clone(),
        what,
        urgency,
    })
}

/// Returns the JSON merge patch (RFC 7386) that makes `wanted` of `seen`; `None` where they are equal.
pub(super) fn difference(seen: &Value, wanted: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (seen, wanted) else {
        return (seen != wanted).then(|| wanted.clone());
    };
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        match old.get(key) {
            Some(before) => {
                if let Some(change) = difference(before, value) {
                    patch.insert(key.clone(), change);
                }
            }
            None => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_names_what_differs_and_nothing_else() {
        let seen = json!({"a": 1, "b": {"c": [1, 2], "d": "x", "e": {"f": 1}}, "g": true});
        for (wanted, patch) in [
            (seen.clone(), None),
            (
                json!({"a": 2, "b": seen["b"], "g": true}),
                Some(json!({"a": 2})),
            ),
            (
                json!({"a": 1, "b": {"c": [1], "d": "x", "e": {}}, "g": true}),
                Some(json!({"b": {"c": [1], "e": {"f": null}}})),
            ),
            (json!({"a": 1}), Some(json!({"b": null, "g": null}))),
            (
                json!({"a": 1, "b": "flat", "g": true, "n": {"m": 1}}),
                Some(json!({"b": "flat", "n": {"m": 1}})),
            ),
        ] {
            assert_eq!(difference(&seen, &wanted), patch);
        }
    }
}
