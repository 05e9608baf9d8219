//! Ways into objects: parts of a [`Value`] by their paths, with errors that say where something is not as it has to be.
//!
//! **Invariant:** nothing here makes a part that is not there, but for the two functions that say so (`entry` and `annotate`), and
//! `unannotate` takes out again what `annotate` made.

use serde_json::{Value, json};

use crate::{
    object::{Kind, ObjectRef, Objects},
    route::{BEFORE, RouteError},
    split::Split,
};

/// The label that names the release for which an object was made.
pub(crate) const RELEASE: &str = "haldane.dev/release";

/// What is wrong within an object that the caller knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// Something does not have the form that is needed.
    Form { path: String, expected: String },
    /// The router has no way to do this.
    Cannot(String),
}

/// A result within an object that the caller knows.
pub(crate) type Part<T> = Result<T, Wrong>;

impl Wrong {
    /// Says that something else was expected at a path.
    pub(crate) fn at(path: &str, expected: impl Into<String>) -> Self {
        Self::Form {
            path: path.to_owned(),
            expected: expected.into(),
        }
    }

    /// Says that something else was expected at a path than the value that is there.
    pub(crate) fn found(path: &str, expected: &str, found: &Value) -> Self {
        let found = match found {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
            Value::Object(_) => "a mapping",
        };
        Self::at(path, format!("expected {expected}, found {found}"))
    }

    /// Adds the object, or the router.
    pub(crate) fn of(self, router: &'static str, object: &ObjectRef) -> RouteError {
        match self {
            Self::Form { path, expected } => RouteError::Form {
                object: object.clone(),
                path,
                expected,
            },
            Self::Cannot(what) => RouteError::Cannot { router, what },
        }
    }
}

/// Returns an object that has to be there.
pub(crate) fn find<'a>(objects: &'a Objects, target: &ObjectRef) -> Result<&'a Value, RouteError> {
    objects
        .get(target)
        .ok_or_else(|| RouteError::Missing(target.clone()))
}

/// Returns the part at a path.
pub(crate) fn part<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |at, key| at.get(key))
}

/// Returns the text at a path.
pub(crate) fn text<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    part(value, path)?.as_str()
}

/// Returns the part at a path, to be changed.
pub(crate) fn part_mut<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |at, key| at.get_mut(key))
}

/// Returns the member of a mapping, made if it is not there.
pub(crate) fn entry<'a>(
    value: &'a mut Value,
    path: &str,
    key: &str,
    made: Value,
) -> Part<&'a mut Value> {
    match value {
        Value::Object(map) => Ok(map.entry(key).or_insert(made)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(Wrong::found(path, "a mapping", value))
        }
    }
}

/// Takes a member out of a mapping.
pub(crate) fn remove(value: &mut Value, key: &str) -> Option<Value> {
    value.as_object_mut()?.remove(key)
}

/// Returns the lists at a path, each with its own path; `*` stands for every member of a list. What is not there is no list.
///
/// # Errors
/// When something on the way, or the end, is of another type.
pub(crate) fn lists<'a>(
    value: &'a mut Value,
    path: &[&str],
) -> Part<Vec<(String, &'a mut Vec<Value>)>> {
    let mut found = Vec::new();
    walk(value, path, String::new(), &mut found)?;
    Ok(found)
}

fn walk<'a>(
    value: &'a mut Value,
    path: &[&str],
    at: String,
    found: &mut Vec<(String, &'a mut Vec<Value>)>,
) -> Part<()> {
    let (is_list, is_mapping) = (value.is_array(), value.is_object());
    match (path.split_first(), value) {
        (_, Value::Null) => {}
        (None, Value::Array(list)) => found.push((at, list)),
        (Some((&"*", rest)), Value::Array(list)) => {
            for (index, member) in list.iter_mut().enumerate() {
                walk(member, rest, format!("{at}[{index}]"), found)?;
            }
        }
        (Some((key, rest)), Value::Object(map)) if *key != "*" => {
            if let Some(member) = map.get_mut(*key) {
                let at = if at.is_empty() {
                    (*key).to_owned()
                } else {
                    format!("{at}.{key}")
                };
                walk(member, rest, at, found)?;
            }
        }
        (wanted, _) => {
            let found = match (is_list, is_mapping) {
                (true, _) => "a list",
                (_, true) => "a mapping",
                (false, false) => "a single value",
            };
            let expected = match wanted {
                None | Some((&"*", _)) => "a list",
                Some(_) => "a mapping",
            };
            return Err(Wrong::at(
                &at,
                format!("expected {expected}, found {found}"),
            ));
        }
    }
    Ok(())
}

/// Whether a value says all that is wanted; it may say more, as it does where a server fills in defaults.
pub(crate) fn covers(value: &Value, wanted: &Value) -> bool {
    match (value, wanted) {
        (Value::Object(value), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, wanted)| value.get(key).is_some_and(|value| covers(value, wanted))),
        (Value::Array(value), Value::Array(wanted)) => {
            value.len() == wanted.len()
                && value
                    .iter()
                    .zip(wanted)
                    .all(|(value, wanted)| covers(value, wanted))
        }
        (value, wanted) => value == wanted,
    }
}

/// Returns an annotation.
pub(crate) fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    text(object, &["metadata", "annotations", key])
}

/// Sets an annotation.
pub(crate) fn annotate(object: &mut Value, key: &str, text: String) -> Part<()> {
    let metadata = entry(object, "", "metadata", json!({}))?;
    let annotations = entry(metadata, "metadata", "annotations", json!({}))?;
    *entry(annotations, "metadata.annotations", key, Value::Null)? = Value::String(text);
    Ok(())
}

/// Takes an annotation out, and with the last one the place where they stood.
pub(crate) fn unannotate(object: &mut Value, key: &str) {
    let Some(metadata) = part_mut(object, &["metadata"]) else {
        return;
    };
    if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
        annotations.remove(key);
        if annotations.is_empty() {
            remove(metadata, "annotations");
        }
    }
}

/// Returns an object that belongs to the release of a split.
pub(crate) fn made(kind: &Kind, name: &str, split: &Split, spec: &Value) -> Value {
    let before = json!({ "created": digest(spec) });
    json!({
        "apiVersion": kind.api_version(),
        "kind": kind.kind,
        "metadata": {
            "name": name,
            "namespace": split.namespace,
            "labels": { RELEASE: split.release },
            "annotations": { BEFORE: before.to_string() },
        },
        "spec": spec,
    })
}

/// Whether an object was made by [`made`] for this release.
pub(crate) fn is_made(object: &Value, split: &Split) -> bool {
    text(object, &["metadata", "labels", RELEASE]) == Some(split.release.as_str())
        && annotation(object, BEFORE)
            .and_then(|before| serde_json::from_str::<Value>(before).ok())
            .is_some_and(|before| before.get("created").is_some())
}

/// Returns an object of ours as it should be: nothing if it is so already, but for what a server filled in.
///
/// # Errors
/// When somebody else's object has the name.
pub(crate) fn keep_made(
    target: &ObjectRef,
    split: &Split,
    spec: &Value,
    objects: &Objects,
) -> Result<Option<Value>, RouteError> {
    let wanted = made(target.kind, &target.name, split, spec);
    match objects.get(target) {
        None => Ok(Some(wanted)),
        Some(there) if !is_made(there, split) => Err(RouteError::Form {
            object: target.clone(),
            path: format!("metadata.labels[{RELEASE}]"),
            expected: format!(
                "expected no object of this name, or one that was made for the release {}",
                split.release
            ),
        }),
        // The annotation tells when a member was left out since, which `covers` does not see.
        Some(there) if covers(there, &wanted) => Ok(None),
        Some(there) => {
            let mut next = there.clone();
            if let (Some(next), Value::Object(wanted)) = (next.as_object_mut(), wanted) {
                next.extend(wanted.into_iter().filter(|(key, _)| key == "spec"));
            }
            let before = json!({ "created": digest(next.get("spec").unwrap_or(&Value::Null)) });
            annotate(&mut next, BEFORE, before.to_string())
                .map_err(|wrong| wrong.of("haldane", target))?;
            Ok(Some(next))
        }
    }
}

/// Returns a short mark of a value (FNV-1a): another one for another value, as far as it goes.
pub(crate) fn digest(value: &Value) -> String {
    let mark = value
        .to_string()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |mark, byte| {
            (mark ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    format!("{mark:016x}")
}

/// Quotes what means something else in regular expressions.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for letter in text.chars() {
        if r"\.+*?()|[]{}^$".contains(letter) {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted
}
