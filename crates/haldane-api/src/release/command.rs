//! Commands to a release, as they reach the controller: an annotation, so that `kubectl annotate` can give them, too.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::http::CommandName;

/// The annotation that carries the last command, as JSON.
pub const COMMAND_ANNOTATION: &str = "haldane.dev/command";

/// A command's text may be this long.
const BYTES_MAX: usize = 4_096;

/// The commands as typed.
const NAMES: [(&str, CommandName); 8] = [
    ("promote", CommandName::Promote),
    ("pause", CommandName::Pause),
    ("resume", CommandName::Resume),
    ("abort", CommandName::Abort),
    ("retry", CommandName::Retry),
    ("undo", CommandName::Undo),
    ("restart", CommandName::Restart),
    ("set-weight", CommandName::SetWeight),
];

/// A command to a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommandNote {
    /// Names this asking of it: a command is carried out once for each id.
    pub id: String,
    /// What to do, as typed: `promote`, `pause`, `resume`, `abort`, `retry`, `undo`, `restart` or `set-weight`.
    pub name: String,
    /// Who wants it.
    #[serde(default)]
    pub by: String,
    /// When it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of `promote` and `abort`: only if this step, from 1, is still the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// Of `promote`: leave out all further steps.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub full: bool,
    /// Of `set-weight`: basis points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_bps: Option<u16>,
    /// Of `undo`: the version to go back to; none means the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Of `retry` and `undo`: the plan, as under `rollout:`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<serde_json::Value>,
}

/// Why an annotation is no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("annotation {COMMAND_ANNOTATION}: {0}")]
pub struct CommandError(String);

impl CommandNote {
    /// Reads the annotation's text.
    ///
    /// # Errors
    /// When it is not a command, with what was expected.
    pub fn parse(text: &str) -> Result<Self, CommandError> {
        if text.len() > BYTES_MAX {
            let found = text.len();
            return Err(CommandError(format!(
                "{found} bytes; expected at most {BYTES_MAX}"
            )));
        }
        let note: Self = serde_json::from_str(text).map_err(|error| {
            CommandError(format!(
                r#"{error}; expected JSON such as {{"id": "1", "name": "abort", "by": "ann"}}"#
            ))
        })?;
        note.command()?;
        if note.id.is_empty() {
            return Err(CommandError(
                "`id` is empty; expected a text that no command before had".to_owned(),
            ));
        }
        Ok(note)
    }

    /// Returns what to do.
    ///
    /// # Errors
    /// When there is no such command.
    pub fn command(&self) -> Result<CommandName, CommandError> {
        let found = NAMES.iter().find(|(name, _)| *name == self.name);
        found.map(|(_, command)| *command).ok_or_else(|| {
            let names = NAMES.map(|(name, _)| name).join(", ");
            CommandError(format!(
                "`{}` is no command; expected one of {names}",
                self.name
            ))
        })
    }
}

/// Returns a command's name as typed.
#[must_use]
pub fn typed(command: CommandName) -> &'static str {
    let found = NAMES.iter().find(|(_, one)| *one == command);
    found.map_or("", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_needs_an_id_and_a_known_name() {
        let note = CommandNote::parse(r#"{"id": "7", "name": "abort", "by": "ann"}"#).unwrap();
        assert_eq!(
            (note.command(), note.by.as_str()),
            (Ok(CommandName::Abort), "ann")
        );
        for (text, expected) in [
            (r#"{"id": "", "name": "abort"}"#, "`id` is empty"),
            (
                r#"{"id": "1", "name": "explode"}"#,
                "`explode` is no command",
            ),
            (r#"{"name": "abort"}"#, "missing field `id`"),
            ("abort", "expected value"),
        ] {
            let error = CommandNote::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(CommandNote::parse(&" ".repeat(5_000)).is_err());
    }
}
