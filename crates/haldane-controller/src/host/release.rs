//! A release as it is read from its object.

use haldane_api::release::{COMMAND_ANNOTATION, CommandError, CommandNote, Spec, Status};
use haldane_core::rollout::Actor;
use haldane_router::ObjectRef;
use serde_json::Value;

use super::json;

/// What keeps a release from being gone before its objects are as they were.
pub(crate) const FINALIZER: &str = "haldane.dev/restore";

/// A release.
#[derive(Clone, Debug)]
pub(super) struct Release {
    /// The object.
    pub object: Value,
    /// What a person wants, or why that can't be read.
    pub spec: Result<Spec, String>,
    /// What is true of it.
    pub status: Status,
    /// Where it is kept.
    pub home: Home,
}

/// Where a release is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// In a Release; it stays until somebody deletes it.
    Own,
    /// On a workload of the user's, by a terminal; it ends with its rollout.
    Carried {
        /// The workload.
        by: ObjectRef,
        /// Who wants the version to be tried that they are asked for.
        actor: Actor,
        /// Whether the objects have the version that is to be tried.
        is_offered: bool,
        /// Whether the terminal put that version there, and takes it away again where it was not good.
        is_put: bool,
    },
}

impl Release {
    /// Reads an object.
    pub(super) fn read(object: Value, home: Home) -> Self {
        let spec = object.get("spec").cloned().unwrap_or_default();
        let status = object.get("status").cloned();
        let status = status.and_then(|status| serde_json::from_value(status).ok());
        Self {
            spec: serde_json::from_value(spec).map_err(|error| format!("spec: {error}")),
            status: status.unwrap_or_default(),
            object,
            home,
        }
    }

    /// Returns its uid.
    pub(super) fn uid(&self) -> &str {
        json::uid(&self.object)
    }

    /// Returns the generation of its spec.
    pub(super) fn generation(&self) -> Option<i64> {
        self.object.pointer("/metadata/generation")?.as_i64()
    }

    /// Whether somebody deleted it.
    pub(super) fn is_deleted(&self) -> bool {
        self.object.pointer("/metadata/deletionTimestamp").is_some()
    }

    /// Returns its finalizers.
    pub(super) fn finalizers(&self) -> Vec<String> {
        let found = self.object.pointer("/metadata/finalizers");
        let found = found.and_then(Value::as_array).into_iter().flatten();
        found
            .filter_map(|one| one.as_str().map(str::to_owned))
            .collect()
    }

    /// Returns the last command that was given, if there is one.
    pub(super) fn command(&self) -> Option<Result<CommandNote, (String, CommandError)>> {
        let text = json::annotation(&self.object, COMMAND_ANNOTATION)?;
        Some(CommandNote::parse(text).map_err(|error| (text.to_owned(), error)))
    }
}
