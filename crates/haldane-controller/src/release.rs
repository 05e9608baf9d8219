//! A `Release` as it stands in the cluster: its names, what is wanted of it, and what its status says.
//!
//! **Invariant:** reading never fails but for a name that no service can have: a release whose spec or status a person or a later
//! version broke can still be shown, with what is wrong.

use haldane_api::release::{COMMAND_ANNOTATION, CommandNote, Spec, Status};
use haldane_core::{NameError, ServiceName};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A release as it stands in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: ServiceName,
    /// The generation of its spec.
    pub generation: Option<i64>,
    /// What is wanted; the default one where it can't be read.
    pub spec: Spec,
    /// What is true; the default one where it can't be read.
    pub status: Status,
    /// The last command that was given, answered or not.
    pub command: Option<CommandNote>,
    /// What could not be read, a sentence each.
    pub problems: Vec<String>,
}

/// Why an object is no release.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("release {namespace}/{name}")]
pub struct ReleaseError {
    namespace: String,
    name: String,
    source: NameError,
}

impl Release {
    /// Reads the object.
    ///
    /// # Errors
    /// When its name has characters that names of services don't have.
    pub fn read(object: &Value) -> Result<Self, ReleaseError> {
        let text = |path| object.pointer(path).and_then(Value::as_str);
        let name = text("/metadata/name").unwrap_or_default();
        let namespace = text("/metadata/namespace").unwrap_or_default().to_owned();
        let name = match name.parse() {
            Ok(name) => name,
            Err(source) => {
                let name = name.to_owned();
                return Err(ReleaseError {
                    namespace,
                    name,
                    source,
                });
            }
        };
        let mut problems = Vec::new();
        let spec = part(object, "spec", &mut problems);
        let status = part(object, "status", &mut problems);
        let annotations = object.pointer("/metadata/annotations");
        let note = annotations
            .and_then(|all| all.get(COMMAND_ANNOTATION))
            .and_then(Value::as_str);
        let command = note.and_then(|text| match CommandNote::parse(text) {
            Ok(note) => Some(note),
            Err(error) => {
                problems.push(error.to_string());
                None
            }
        });
        Ok(Self {
            namespace,
            name,
            generation: object
                .pointer("/metadata/generation")
                .and_then(Value::as_i64),
            spec,
            status,
            command,
            problems,
        })
    }
}

fn part<T: DeserializeOwned + Default>(object: &Value, key: &str, problems: &mut Vec<String>) -> T {
    let Some(value) = object.get(key).filter(|value| !value.is_null()) else {
        return T::default();
    };
    T::deserialize(value).unwrap_or_else(|error| {
        problems.push(format!("its {key} can't be read: {error}"));
        T::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_broken_is_told_and_the_rest_is_read() {
        let object = json!({
            "metadata": {
                "name": "shop", "namespace": "web", "generation": 3,
                "annotations": {COMMAND_ANNOTATION: r#"{"id": "7", "name": "explode"}"#},
            },
            "spec": {"workload": {"deployment": {"name": "shop"}}, "colour": "red"},
            "status": {"phase": "Paused"},
        });
        let release = Release::read(&object).unwrap();
        assert_eq!(
            (release.name.as_str(), release.namespace.as_str()),
            ("shop", "web")
        );
        assert_eq!(
            (release.generation, release.status.phase.as_str()),
            (Some(3), "Paused")
        );
        let [spec, command] = release.problems.as_slice() else {
            panic!("{:?}", release.problems);
        };
        assert!(spec.contains("unknown field `colour`"), "{spec}");
        assert!(command.contains("`explode` is no command"), "{command}");
    }

    #[test]
    fn a_name_that_is_no_services_is_told_with_its_namespace() {
        let object = json!({"metadata": {"name": "a.b", "namespace": "web"}});
        let error = Release::read(&object).unwrap_err();
        assert_eq!(error.to_string(), "release web/a.b");
    }
}
