//! Reading and changing objects that others wrote: every mistake is told with its place.
//!
//! **Invariant:** nothing is created on the way but what is set.

use serde_json::{Map, Value};

use crate::{
    object::{Change, ObjectRef, Objects},
    route::RouteError,
};

type Result<T> = std::result::Result<T, RouteError>;

/// A place in an object, as people write it: `spec.rules[0].backendRefs`.
#[derive(Clone, Debug)]
pub(crate) struct Place<'a> {
    object: &'a ObjectRef,
    path: String,
}

impl<'a> Place<'a> {
    /// Returns the place of the object itself.
    pub(crate) const fn of(object: &'a ObjectRef) -> Self {
        Self {
            object,
            path: String::new(),
        }
    }

    /// Returns the object.
    pub(crate) const fn object(&self) -> &'a ObjectRef {
        self.object
    }

    /// Returns the path.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Returns the place of a member of this map.
    pub(crate) fn key(&self, key: &str) -> Self {
        let is_plain = !key.contains(['.', '/']);
        let path = match (self.path.is_empty(), is_plain) {
            (true, true) => key.to_owned(),
            (false, true) => format!("{}.{key}", self.path),
            (_, false) => format!("{}[\"{key}\"]", self.path),
        };
        Self {
            object: self.object,
            path,
        }
    }

    /// Returns the place further down these members.
    pub(crate) fn keys(&self, keys: &[&str]) -> Self {
        keys.iter().fold(self.clone(), |at, key| at.key(key))
    }

    /// Returns the place of an item of this list.
    pub(crate) fn item(&self, index: usize) -> Self {
        Self {
            object: self.object,
            path: format!("{}[{index}]", self.path),
        }
    }

    /// Tells that something else stands here than was expected.
    pub(crate) fn wrong(&self, expected: &str, found: Option<&Value>) -> RouteError {
        let found = match found {
            None | Some(Value::Null) => "nothing".to_owned(),
            Some(Value::Array(items)) => format!("a list of {}", items.len()),
            Some(Value::Object(_)) => "a map".to_owned(),
            Some(value @ (Value::Bool(_) | Value::Number(_) | Value::String(_))) => {
                value.to_string()
            }
        };
        RouteError::Form {
            object: self.object.clone(),
            path: self.path.clone(),
            expected: format!("expected {expected}, found {found}"),
        }
    }

    /// Tells what is wrong here in other words.
    pub(crate) fn refused(&self, why: &str) -> RouteError {
        RouteError::Form {
            object: self.object.clone(),
            path: self.path.clone(),
            expected: why.to_owned(),
        }
    }
}

/// Returns an object that must be there.
pub(crate) fn object<'o>(objects: &'o Objects, target: &ObjectRef) -> Result<&'o Value> {
    objects
        .get(target)
        .ok_or_else(|| RouteError::Missing(target.clone()))
}

/// Returns what stands at the end of these members.
pub(crate) fn get<'v>(value: &'v Value, keys: &[&str]) -> Option<&'v Value> {
    keys.iter().try_fold(value, |value, key| value.get(key))
}

/// Returns what stands at the end of these members, to be changed.
pub(crate) fn get_mut<'v>(value: &'v mut Value, keys: &[&str]) -> Option<&'v mut Value> {
    keys.iter().try_fold(value, |value, key| value.get_mut(key))
}

/// Returns the text at the end of these members.
pub(crate) fn text<'v>(value: &'v Value, keys: &[&str]) -> Option<&'v str> {
    get(value, keys).and_then(Value::as_str)
}

/// Returns a list; one that is missing is empty.
pub(crate) fn list(value: &Value, keys: &[&str], at: &Place<'_>) -> Result<Vec<Value>> {
    match get(value, keys) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => Ok(items.clone()),
        other => Err(at.keys(keys).wrong("a list", other)),
    }
}

/// Sets a member, and the maps above it where they are missing.
pub(crate) fn set(value: &mut Value, keys: &[&str], new: Value, at: &Place<'_>) -> Result<()> {
    let Some((key, rest)) = keys.split_first() else {
        *value = new;
        return Ok(());
    };
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    if let Value::Object(members) = value {
        let member = members.entry((*key).to_owned()).or_insert(Value::Null);
        return set(member, rest, new, &at.key(key));
    }
    Err(at.wrong("a map", Some(value)))
}

/// Returns the lists at the end of these members, each with its place; `*` stands for every item of a list. What is not there is no list.
pub(crate) fn lists<'v, 'a>(
    value: &'v mut Value,
    keys: &[&str],
    at: &Place<'a>,
) -> Result<Vec<(Place<'a>, &'v mut Vec<Value>)>> {
    let mut found = Vec::new();
    collect(value, keys, at.clone(), &mut found)?;
    Ok(found)
}

fn collect<'v, 'a>(
    value: &'v mut Value,
    keys: &[&str],
    at: Place<'a>,
    found: &mut Vec<(Place<'a>, &'v mut Vec<Value>)>,
) -> Result<()> {
    let is_list = matches!(keys.first(), None | Some(&"*"));
    let is_right = if is_list {
        value.is_array()
    } else {
        value.is_object()
    };
    if !is_right && !value.is_null() {
        return Err(at.wrong(if is_list { "a list" } else { "a map" }, Some(value)));
    }
    match (keys.split_first(), value) {
        (None, Value::Array(list)) => found.push((at, list)),
        (Some((_, rest)), Value::Array(list)) => {
            for (index, item) in list.iter_mut().enumerate() {
                collect(item, rest, at.item(index), found)?;
            }
        }
        (Some((key, rest)), Value::Object(members)) => {
            if let Some(member) = members.get_mut(*key) {
                collect(member, rest, at.key(key), found)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Returns the list at the end of these members, with what is missing on the way made.
pub(crate) fn list_mut<'v>(
    value: &'v mut Value,
    keys: &[&str],
    at: &Place<'_>,
) -> Result<&'v mut Vec<Value>> {
    let mut value = value;
    let mut at = at.clone();
    for key in keys {
        if value.is_null() {
            *value = Value::Object(Map::new());
        }
        let Value::Object(members) = value else {
            return Err(at.wrong("a map", Some(value)));
        };
        value = members.entry((*key).to_owned()).or_insert(Value::Null);
        at = at.key(key);
    }
    if value.is_null() {
        *value = Value::Array(Vec::new());
    }
    match value {
        Value::Array(list) => Ok(list),
        other => Err(at.wrong("a list", Some(other))),
    }
}

/// Returns the change that makes one object of another; none if they are the same.
pub(crate) fn change(target: &ObjectRef, present: &Value, next: Value) -> Vec<Change> {
    if next == *present {
        Vec::new()
    } else {
        vec![Change::Put(target.clone(), next)]
    }
}

/// Removes a member and returns it.
pub(crate) fn remove(value: &mut Value, key: &str) -> Option<Value> {
    value
        .as_object_mut()
        .and_then(|members| members.remove(key))
}

/// Removes the member at the end of these keys, and the maps above it that are empty then.
pub(crate) fn prune(value: &mut Value, keys: &[&str]) {
    let Some((key, rest)) = keys.split_first() else {
        return;
    };
    if !rest.is_empty() {
        let Some(member) = value.get_mut(*key) else {
            return;
        };
        let was_empty = member.as_object().is_some_and(Map::is_empty);
        prune(member, rest);
        if was_empty || !member.as_object().is_some_and(Map::is_empty) {
            return;
        }
    }
    remove(value, key);
}

/// Returns an annotation.
pub(crate) fn annotation<'v>(object: &'v Value, name: &str) -> Option<&'v str> {
    text(object, &["metadata", "annotations", name])
}

/// Sets or removes an annotation; without any left there is no map of them.
pub(crate) fn annotate(
    object: &mut Value,
    name: &str,
    text: Option<String>,
    at: &Place<'_>,
) -> Result<()> {
    if let Some(text) = text {
        return set(
            object,
            &["metadata", "annotations", name],
            Value::String(text),
            at,
        );
    }
    let Some(metadata) = object.get_mut("metadata") else {
        return Ok(());
    };
    let Some(annotations) = metadata.get_mut("annotations") else {
        return Ok(());
    };
    let was_there = remove(annotations, name).is_some();
    if was_there && annotations.as_object().is_some_and(Map::is_empty) {
        remove(metadata, "annotations");
    }
    Ok(())
}
