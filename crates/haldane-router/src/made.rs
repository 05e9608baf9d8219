//! Objects that are made for a release: known by a label, and by a mark in the annotation that keeps what was before.
//!
//! **Invariant:** an object that somebody else made is never taken for ours.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    before,
    edit::{self, Place},
    object::{Change, ObjectRef, Objects},
    route::RouteError,
    split::Split,
};

/// The label that names the release for which an object was made.
const RELEASE: &str = "haldane.dev/release";

/// What is kept with an object that was made.
#[derive(Serialize, Deserialize)]
struct Made {
    /// A mark of what it was made to say.
    created: String,
}

/// Whether an object was made for this release.
pub(crate) fn is_made(object: &Value, split: &Split) -> bool {
    edit::text(object, &["metadata", "labels", RELEASE]) == Some(split.release.as_str())
        && before::read::<Made>(object, &split.release).is_some()
}

/// Returns what must change so that an object of ours says this: nothing if it does so already, but for what a server filled in.
///
/// # Errors
/// When somebody else's object has the name.
pub(crate) fn kept(
    target: ObjectRef,
    split: &Split,
    spec: &Value,
    objects: &Objects,
) -> Result<Option<Change>, RouteError> {
    let at = Place::of(&target);
    let created = before::mark(&spec.to_string());
    let mut next = match objects.get(&target) {
        None => json!({
            "apiVersion": target.kind.api_version(),
            "kind": target.kind.kind,
            "metadata": {
                "name": target.name,
                "namespace": target.namespace,
                "labels": { RELEASE: split.release },
            },
        }),
        Some(present) if !is_made(present, split) => {
            return Err(at.keys(&["metadata", "labels", RELEASE]).refused(&format!(
                "expected no object of this name, or one that was made for the release {}",
                split.release
            )));
        }
        Some(present) => {
            // The mark tells when a member was left out since, which `covers` does not see.
            let made = before::read::<Made>(present, &split.release);
            let is_so = made.is_some_and(|made| made.created == created);
            if is_so && edit::get(present, &["spec"]).is_some_and(|found| covers(found, spec)) {
                return Ok(None);
            }
            present.clone()
        }
    };
    edit::set(&mut next, &["spec"], spec.clone(), &at)?;
    before::write(&mut next, &split.release, Some(&Made { created }), &at)?;
    Ok(Some(Change::Put(target, next)))
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
