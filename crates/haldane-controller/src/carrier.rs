//! The workload that carries a release which has no object of its own: the release is in its annotations.
//!
//! Pure: a workload gives the `Release` that would stand for it, and the writes of that `Release` become writes of the workload.
//! **Invariant:** of a workload nothing is written here but three annotations; all writes of one turn to it are one write, so that
//! they are done together or not at all.

use haldane_api::release::{
    COMMAND_ANNOTATION, Image, Stage, Status, TERMINAL_ANNOTATION, TERMINAL_STATUS_ANNOTATION,
    Terminal, TerminalError,
};
use haldane_router::{Kind, ObjectRef};
use serde_json::{Map, Value, json};

use crate::{
    host::{FINALIZER, is_live},
    kinds::{DEPLOYMENT, RELEASE, STATEFUL_SET},
    turn::{Urgency, What, Write},
};

/// What all annotations of an object may have together; the API server takes no more.
pub(crate) const ANNOTATIONS_BYTES_MAX: usize = 256 << 10;

/// The kinds of workloads that can carry a release.
pub(crate) static KINDS: [&Kind; 2] = [&DEPLOYMENT, &STATEFUL_SET];

/// A workload that carries a release.
#[derive(Clone, Debug)]
pub(crate) struct Carrier {
    /// The workload.
    pub target: ObjectRef,
    /// What is rolled out.
    pub terminal: Terminal,
    object: Value,
    status: Value,
}

/// Why the state of a release has no room on its workload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the annotations of {target} would have {bytes} bytes; Kubernetes takes {ANNOTATIONS_BYTES_MAX}: let a controller roll it out"
)]
pub(crate) struct NoRoom {
    target: ObjectRef,
    bytes: usize,
}

/// The annotations of a carrier as they become; `None` where one stays as it is.
#[derive(Default)]
struct Changes {
    status: Option<Value>,
    stage: Option<Stage>,
    /// What else is written of the workload.
    rest: Option<Value>,
}

impl Carrier {
    /// Reads a workload; nothing where it carries no release.
    pub(crate) fn read(kind: &'static Kind, object: Value) -> Option<Result<Self, TerminalError>> {
        let terminal = Terminal::parse(annotation(&object, TERMINAL_ANNOTATION)?);
        Some(terminal.map(|terminal| {
            Self {
                target: kind.named(
                    text(&object, "/metadata/namespace"),
                    text(&object, "/metadata/name"),
                ),
                status: annotation(&object, TERMINAL_STATUS_ANNOTATION)
                    .and_then(|text| serde_json::from_str(text).ok())
                    .unwrap_or_else(|| json!({})),
                terminal,
                object,
            }
        }))
    }

    /// Returns the status.
    pub(crate) fn status(&self) -> Status {
        serde_json::from_value(self.status.clone()).unwrap_or_default()
    }

    /// Whether a rollout goes on.
    pub(crate) fn is_live(&self) -> bool {
        is_live(&self.status())
    }

    /// Returns the `Release` that stands for it.
    pub(crate) fn release(&self) -> Value {
        let at = |path| self.object.pointer(path).cloned().unwrap_or_default();
        let mut metadata = json!({
            "name": self.terminal.name,
            "namespace": self.target.namespace,
            "uid": at("/metadata/uid"),
            "resourceVersion": at("/metadata/resourceVersion"),
            // What is wanted stays the same as long as a rollout goes on.
            "generation": 1,
        });
        let command = annotation(&self.object, COMMAND_ANNOTATION);
        if let Some(map) = metadata.as_object_mut() {
            if let Some(command) = command {
                map.insert(
                    "annotations".to_owned(),
                    json!({COMMAND_ANNOTATION: command}),
                );
            }
            if self.terminal.stage != Stage::Over {
                map.insert("finalizers".to_owned(), json!([FINALIZER]));
            }
            if self.terminal.stage == Stage::Leaving {
                // When that was matters to nobody.
                map.insert(
                    "deletionTimestamp".to_owned(),
                    json!("1970-01-01T00:00:00Z"),
                );
            }
        }
        json!({
            "apiVersion": RELEASE.api_version(),
            "kind": RELEASE.kind,
            "metadata": metadata,
            "spec": self.terminal.spec,
            "status": self.status,
        })
    }

    /// Returns the writes with those of the `Release` as what they are of the workload, which gets to a stage with them if one is named.
    ///
    /// # Errors
    /// When the annotations would be too long: then nothing is written.
    pub(crate) fn carry(
        &self,
        writes: Vec<Write>,
        stage: Option<Stage>,
    ) -> Result<Vec<Write>, NoRoom> {
        let mut changes = Changes {
            stage,
            ..Changes::default()
        };
        let mut carried: Vec<Write> = Vec::new();
        let mut place = stage.map(|_| (0, Urgency::Rest));
        for write in writes {
            let is_own = *write.target.kind == RELEASE;
            if !is_own && write.target != self.target {
                carried.push(write);
                continue;
            }
            place = place.or(Some((carried.len(), write.urgency)));
            match (write.what, is_own) {
                (What::MergeStatus { patch, .. }, true) => {
                    let status = changes.status.get_or_insert_with(|| self.status.clone());
                    if let Some(patch) = patch.get("status") {
                        apply(status, patch);
                    }
                }
                (What::Merge { patch, .. }, true) => {
                    let finalizers = patch.pointer("/metadata/finalizers");
                    if finalizers
                        .and_then(Value::as_array)
                        .is_some_and(Vec::is_empty)
                    {
                        changes.stage = Some(Stage::Over);
                    }
                }
                (What::Delete { .. }, true) => changes.stage = Some(Stage::Leaving),
                (What::Merge { patch, .. } | What::MergeStatus { patch, .. }, false) => {
                    join(changes.rest.get_or_insert_with(|| json!({})), patch);
                }
                (What::Create(_), _) | (What::Delete { .. }, false) => {}
            }
        }
        if let Some((place, urgency)) = place {
            let write = Write {
                target: self.target.clone(),
                what: What::Merge {
                    patch: self.patch(changes)?,
                    resource_version: Some(
                        text(&self.object, "/metadata/resourceVersion").to_owned(),
                    ),
                },
                urgency,
            };
            carried.insert(place, write);
        }
        Ok(carried)
    }

    fn patch(&self, changes: Changes) -> Result<Value, NoRoom> {
        let mut annotations = Map::new();
        let mut status = changes.status;
        if let Some(stage) = changes.stage {
            let terminal = Terminal {
                stage,
                ..self.terminal.clone()
            };
            let text = serde_json::to_string(&terminal).unwrap_or_default();
            annotations.insert(TERMINAL_ANNOTATION.to_owned(), json!(text));
        }
        if changes.stage == Some(Stage::Over) {
            // People look back; nobody goes on from here.
            let last = status.get_or_insert_with(|| self.status.clone());
            if let Some(last) = last.as_object_mut() {
                last.remove("record");
                last.remove("plan");
            }
            annotations.insert(COMMAND_ANNOTATION.to_owned(), Value::Null);
        }
        if let Some(status) = status {
            let text = status.to_string();
            annotations.insert(TERMINAL_STATUS_ANNOTATION.to_owned(), json!(text));
        }
        let mut patch = changes.rest.unwrap_or_else(|| json!({}));
        join(
            &mut patch,
            json!({"metadata": {"annotations": annotations}}),
        );
        let mut after = self.object.clone();
        apply(&mut after, &patch);
        let bytes = annotations_bytes(&after);
        if bytes > ANNOTATIONS_BYTES_MAX {
            let target = self.target.clone();
            return Err(NoRoom { target, bytes });
        }
        Ok(patch)
    }
}

/// Returns how many bytes the annotations of an object have, as the API server counts them.
pub(crate) fn annotations_bytes(object: &Value) -> usize {
    let all = object.pointer("/metadata/annotations");
    let all = all.and_then(Value::as_object).into_iter().flatten();
    let bytes =
        all.map(|(key, value)| key.len().saturating_add(value.as_str().map_or(0, str::len)));
    bytes.fold(0, usize::saturating_add)
}

/// Whether the container of a workload has the image.
pub(crate) fn has_image(object: &Value, image: &Image) -> bool {
    containers(object)
        .iter()
        .any(|one| text(one, "/name") == image.container && text(one, "/image") == image.image)
}

/// Returns the patch that gives a container of a workload another image; `None` where it has no such container.
pub(crate) fn image_patch(object: &Value, image: &Image) -> Option<Value> {
    let mut containers = containers(object).to_vec();
    let one = containers
        .iter_mut()
        .find(|one| text(one, "/name") == image.container)?;
    one.as_object_mut()?
        .insert("image".to_owned(), json!(image.image));
    Some(json!({"spec": {"template": {"spec": {"containers": containers}}}}))
}

/// Returns the containers of a workload's template.
pub(crate) fn containers(object: &Value) -> &[Value] {
    object
        .pointer("/spec/template/spec/containers")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Returns an annotation.
pub(crate) fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.pointer("/metadata/annotations")?.get(name)?.as_str()
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    let found = object.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_default()
}

/// Applies a JSON merge patch (RFC 7386).
fn apply(object: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    let Some(map) = object.as_object_mut() else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            map.remove(key);
        } else {
            apply(map.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Makes one merge patch of two: what it does is what both do, one after the other.
fn join(patch: &mut Value, later: Value) {
    match (patch, later) {
        (Value::Object(map), Value::Object(later)) => {
            for (key, value) in later {
                match map.get_mut(&key) {
                    Some(before) => join(before, value),
                    None => {
                        map.insert(key, value);
                    }
                }
            }
        }
        (patch, later) => *patch = later,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_patches_become_one_that_does_what_both_do() {
        let object = json!({"a": 1, "b": {"c": 1, "d": 2}, "e": {"f": 1}});
        let (first, second) = (
            json!({"a": null, "b": {"c": null}, "e": 5}),
            json!({"b": {"d": 3, "x": null}, "e": {"g": 1}}),
        );
        let mut after = object.clone();
        apply(&mut after, &first);
        apply(&mut after, &second);
        let mut joined = first;
        join(&mut joined, second);
        let mut at_once = object;
        apply(&mut at_once, &joined);
        assert_eq!(after, json!({"b": {"d": 3}, "e": {"g": 1}}));
        // What becomes a map again from a number is one without what was there before.
        assert_eq!(at_once["b"], after["b"]);
        assert_eq!(at_once.get("a"), None);
    }

    #[test]
    fn a_workload_without_the_annotation_carries_nothing() {
        let object = json!({"metadata": {"name": "shop", "annotations": {"other": "{}"}}});
        assert!(Carrier::read(&DEPLOYMENT, object).is_none());
        let object = json!({"metadata": {"annotations": {TERMINAL_ANNOTATION: "{}"}}});
        assert!(Carrier::read(&DEPLOYMENT, object).unwrap().is_err());
    }
}
