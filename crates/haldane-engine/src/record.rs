//! What the driver keeps of services and rollouts, and how it is stored.
//!
//! Bodies are JSON under a version tag, so that a later release can still read what an earlier one wrote.

use haldane_analysis::{Evidence, band::Cell, panel::Memory};
use haldane_api::file::{Notify, Service, VersionSpec};
use haldane_core::{
    RolloutId, ServiceName, VersionName,
    plan::Plan,
    rollout::{Actor, Facts, Input, Phase, State},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::store::{
    BandRow, CommandRow, EntryRow, RolloutRow, ServiceRow, StoreError, VersionRow, Write,
};

/// The form in which bodies are written today.
const FORM: u32 = 1;

/// A service as the driver keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServiceRecord {
    /// What the file that was last applied says of it.
    pub(crate) file: Service,
    /// Where that file lies; `None` in what was written before this was kept.
    #[serde(default)]
    pub(crate) base_dir: Option<String>,
    /// Who is told of it, as that file says for all its services.
    pub(crate) notify: Vec<Notify>,
    /// The version that serves.
    pub(crate) stable: VersionSpec,
    /// The number of the next rollout.
    pub(crate) next_number: u64,
    /// What begins when the rollout that goes on has ended.
    pub(crate) queued: Option<Wish>,
    /// Replicas of stable that are older than this are to be replaced.
    pub(crate) restart_since: Option<Timestamp>,
}

/// A wish for a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wish {
    /// The version.
    pub(crate) spec: VersionSpec,
    /// How to get there.
    pub(crate) plan: Plan,
    /// What was asked for.
    pub(crate) kind: Kind,
    /// Who asked.
    pub(crate) actor: Actor,
}

/// How a rollout began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// By `deploy`.
    Deploy,
    /// By `apply` of a file with another version.
    Apply,
    /// By `retry`.
    Retry,
    /// By `undo`.
    Undo,
}

/// A rollout as the driver keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RolloutRecord {
    /// Its number within the service.
    pub(crate) number: u64,
    /// The service.
    pub(crate) service: ServiceName,
    /// The version that served when it began.
    pub(crate) stable: VersionSpec,
    /// The version on trial, the plan, and who asked.
    pub(crate) wish: Wish,
    /// Where it stands.
    pub(crate) state: State,
    /// When it began.
    pub(crate) started_at: Timestamp,
    /// How many decisions its history has.
    pub(crate) entries: u64,
    /// What the background judges remember.
    #[serde(default)]
    pub(crate) judges: Memory,
    /// What is recorded of it.
    #[serde(default)]
    pub(crate) recorded: Recorded,
    /// Who was told that it was rolled back.
    #[serde(default)]
    pub(crate) told: Told,
}

/// Who was told that a rollout was rolled back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    /// How many of those that the plan names.
    pub(crate) count: u32,
    /// When the last of them answered.
    pub(crate) since: Option<Timestamp>,
}

/// How much is recorded of what the judges of a rollout saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recorded {
    /// In how many rows.
    pub(crate) rows: u64,
    /// How long they are together.
    pub(crate) bytes: u64,
    /// When recording stopped because there was too much, if it did.
    pub(crate) full: Option<Timestamp>,
}

/// One decision in a rollout's history: enough to decide it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// What the rollout was told; `None` for its beginning.
    pub(crate) input: Option<Input>,
    /// What was known of the world.
    pub(crate) facts: Facts,
    /// The state after it.
    pub(crate) state: State,
    /// The news in one sentence.
    pub(crate) text: String,
    /// The judge's evidence at that moment.
    pub(crate) evidence: Option<Evidence>,
}

/// A command that somebody gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommandRecord {
    /// What was asked for.
    pub(crate) name: String,
    /// Who asked.
    pub(crate) actor: Actor,
    /// The rollout that it was about.
    pub(crate) rollout: Option<RolloutId>,
    /// Why it was not carried out, if it was not.
    pub(crate) refusal: Option<String>,
}

/// A stored body with the version of its form.
#[derive(Serialize, Deserialize)]
struct Tagged<T> {
    form: u32,
    body: T,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Apply => "apply",
            Self::Retry => "retry",
            Self::Undo => "undo",
        }
    }
}

impl ServiceRecord {
    pub(crate) fn write(&self, name: &ServiceName) -> Result<Write, StoreError> {
        Ok(Write::PutService(ServiceRow {
            name: name.clone(),
            body: to_body(self)?,
        }))
    }

    pub(crate) fn read(row: &ServiceRow) -> Result<Self, StoreError> {
        from_body(&row.body)
    }
}

impl RolloutRecord {
    pub(crate) fn write(&self) -> Result<Write, StoreError> {
        let ended_at = match &self.state.phase {
            Phase::Completed(ended) | Phase::RolledBack(ended) | Phase::Failed(ended) => {
                Some(ended.at)
            }
            Phase::Pending(_)
            | Phase::Preparing(_)
            | Phase::Progressing(_)
            | Phase::Paused(_)
            | Phase::Promoting(_)
            | Phase::RollingBack(_) => None,
        };
        Ok(Write::PutRollout(RolloutRow {
            id: self.state.id.clone(),
            service: self.service.clone(),
            number: self.number,
            started_at: self.started_at,
            ended_at,
            body: to_body(self)?,
        }))
    }

    pub(crate) fn read(row: &RolloutRow) -> Result<Self, StoreError> {
        from_body(&row.body)
    }
}

impl Entry {
    pub(crate) fn write(&self, number: u64, at: Timestamp) -> Result<Write, StoreError> {
        Ok(Write::AddEntry(EntryRow {
            rollout: self.state.id.clone(),
            number,
            at,
            body: to_body(self)?,
        }))
    }

    pub(crate) fn read(row: &EntryRow) -> Result<Self, StoreError> {
        from_body(&row.body)
    }
}

impl CommandRecord {
    pub(crate) fn write(&self, service: &ServiceName, at: Timestamp) -> Result<Write, StoreError> {
        Ok(Write::AddCommand(CommandRow {
            service: service.clone(),
            at,
            body: to_body(self)?,
        }))
    }
}

/// Returns the row that makes a version the last used of a service.
pub(crate) fn write_version(
    service: &ServiceName,
    spec: &VersionSpec,
    at: Timestamp,
) -> Result<Write, StoreError> {
    Ok(Write::PutVersion(VersionRow {
        service: service.clone(),
        version: spec.version.clone(),
        used_at: at,
        body: to_body(spec)?,
    }))
}

/// Returns where a known version comes from.
pub(crate) fn read_version(row: &VersionRow) -> Result<(VersionName, VersionSpec), StoreError> {
    Ok((row.version.clone(), from_body(&row.body)?))
}

/// Returns the row of what is usual of a metric in an hour of the week.
pub(crate) fn write_band(
    service: &ServiceName,
    metric: &str,
    hour: u8,
    cell: &Cell,
) -> Result<Write, StoreError> {
    Ok(Write::PutBand(BandRow {
        service: service.clone(),
        metric: metric.to_owned(),
        hour,
        body: to_body(cell)?,
    }))
}

/// Returns what is usual of a metric in an hour of the week.
pub(crate) fn read_band(row: &BandRow) -> Result<Cell, StoreError> {
    from_body(&row.body)
}

fn to_body<T: Serialize>(body: &T) -> Result<String, StoreError> {
    serde_json::to_string(&Tagged { form: FORM, body })
        .map_err(|source| StoreError::io("write", source))
}

fn from_body<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    let tagged: Tagged<T> =
        serde_json::from_str(text).map_err(|source| StoreError::io("read", source))?;
    if tagged.form != FORM {
        let known = format!(
            "a body of form {}; this release knows form {FORM}",
            tagged.form
        );
        return Err(StoreError::io("read", known));
    }
    Ok(tagged.body)
}

impl StoreError {
    /// Writes the error with everything behind it.
    pub(crate) fn to_chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        text
    }

    pub(crate) fn io(
        doing: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Io {
            doing,
            source: source.into(),
        }
    }
}
