//! What is kept of a release in its status, in a form of its own: enough to go on after a restart as if nothing had happened.

use haldane_analysis::panel::Memory;
use haldane_core::rollout::{Actor, State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::{ask::Aftermath, version::Version};

/// The form in which records are written today.
const FORM: u32 = 1;

/// How many ids of commands are remembered, so that an old one that comes back is known.
const COMMANDS_MAX: usize = 16;

/// What is kept of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    /// The form.
    pub form: u32,
    /// The number of the next rollout.
    pub next_number: u64,
    /// The version that serves, once it is known.
    pub stable: Option<Stable>,
    /// The version that served before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Version>,
    /// The checksum of the template that was judged last: it is not tried again unless somebody asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<String>,
    /// The rollout that goes on, or one that ended and left something to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Live>,
    /// Whether the canary of the last rollout is still to be stopped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stop: bool,
    /// Who asked for the rollout that begins next, and how, if it was a command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// Rollouts that were rolled back, and who is still to be told of them, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<Aftermath>,
    /// The names of Jobs that are asked, or were and may still run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<String>,
    /// The ids of the last commands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
    /// The part of the spec that says what is changed, as it was carried out last: by it everything is put back even if the spec can't be
    /// read any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
}

/// What a record tells at one look, whatever else it holds.
#[derive(Debug, Deserialize)]
pub(super) struct Glance {
    /// The version that serves, once it is known.
    pub stable: Option<IgnoredAny>,
    /// As in [`Record`].
    #[serde(default)]
    pub kept: Option<String>,
}

impl Glance {
    /// Reads a record; `None` where it is none.
    pub(super) fn of(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// The version that serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stable {
    /// Which.
    pub version: Version,
    /// The label of its pods by which their Deployment tells them from others; empty where nobody asks.
    pub pods: String,
    /// The Deployment that runs it where that is one of ours, because the user's has not taken it in yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<String>,
    /// Since when it runs where it runs.
    pub since: Timestamp,
}

/// A rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Live {
    /// Where it stands.
    pub state: State,
    /// The version on trial.
    pub canary: Version,
    /// How it began.
    pub kind: Kind,
    /// Who began it.
    pub actor: Actor,
    /// When it began.
    pub started_at: Timestamp,
    /// How many replicas the canary has at its full size: as many as stable had at most since then.
    pub full: u32,
    /// How many replicas each Deployment of stable had at most since then: an autoscaler may shrink it while the canary has its traffic.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sizes: Vec<u32>,
    /// Whether the canary was started, so that one that is gone was taken away by somebody.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_started: bool,
    /// The weight that was last seen in force, basis points.
    #[serde(default)]
    pub routed: u16,
    /// What the judges of the whole rollout remember.
    #[serde(default)]
    pub judges: Memory,
    /// Where there are several pairs: what the judges of the others remember, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_judges: Vec<Memory>,
}

impl Live {
    /// Takes in how large everything is now.
    pub(super) fn grow(&mut self, full: u32, sizes: &[u32]) {
        self.full = self.full.max(full);
        self.sizes.resize(self.sizes.len().max(sizes.len()), 0);
        for (most, size) in self.sizes.iter_mut().zip(sizes) {
            *most = (*most).max(*size);
        }
    }
}

/// How a rollout began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    /// By a new template.
    Deploy,
    /// By `retry`.
    Retry,
    /// By `undo`.
    Undo,
    /// By the release's group, which takes its round back.
    Recall,
}

impl Kind {
    /// Whether it goes back to the version before.
    pub(super) const fn is_back(self) -> bool {
        match self {
            Self::Undo | Self::Recall => true,
            Self::Deploy | Self::Retry => false,
        }
    }
}

/// A command that begins a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    /// How.
    pub kind: Kind,
    /// Who.
    pub actor: Actor,
    /// Of `undo`: the version to go back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Version>,
    /// The plan, as JSON of the core's; none means the release's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
}

/// Why a record can't be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    /// It is not ours, or was cut.
    #[error("status.record can't be read")]
    Form(#[source] serde_json::Error),
    /// A later release wrote it.
    #[error("status.record has form {0}; this release reads up to {FORM}")]
    Later(u32),
}

impl Record {
    /// Returns the record of a release that is new.
    pub(super) const fn new() -> Self {
        Self {
            form: FORM,
            next_number: 1,
            stable: None,
            previous: None,
            judged: None,
            live: None,
            stop: false,
            asked: None,
            told: Vec::new(),
            jobs: Vec::new(),
            commands: Vec::new(),
            kept: None,
        }
    }

    /// Reads what [`Record::to_text`] wrote.
    pub(super) fn read(text: &str) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Tag {
            form: u32,
        }
        let tag: Tag = serde_json::from_str(text).map_err(RecordError::Form)?;
        if tag.form > FORM {
            return Err(RecordError::Later(tag.form));
        }
        serde_json::from_str(text).map_err(RecordError::Form)
    }

    /// Returns the record as text.
    pub(super) fn to_text(&self) -> String {
        #[expect(clippy::expect_used, reason = "maps with text keys and finite numbers")]
        serde_json::to_string(self).expect("a record is JSON")
    }

    /// Returns the rollout that goes on.
    pub(super) fn live(&self) -> Option<&Live> {
        self.live
            .as_ref()
            .filter(|live| !live.state.phase.is_terminal())
    }

    /// Remembers that a command was answered.
    pub(super) fn answered(&mut self, id: &str) {
        self.commands.push(id.to_owned());
        let surplus = self.commands.len().saturating_sub(COMMANDS_MAX);
        self.commands.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_a_later_release_is_not_read() {
        assert_eq!(
            Record::read(&Record::new().to_text()).unwrap(),
            Record::new()
        );
        let later = r#"{"form": 2, "strange": true}"#;
        assert!(matches!(Record::read(later), Err(RecordError::Later(2))));
        for text in ["", "{}", "{\"form\":1}", "[1"] {
            assert!(
                matches!(Record::read(text), Err(RecordError::Form(_))),
                "{text}"
            );
        }
    }
}
