//! Answers from the store: rollouts with their history, in words.

use haldane_api::http::{EntryView, RolloutHistory};
use haldane_core::{
    RolloutId, ServiceName,
    plan::Plan,
    rollout::{self, Effect, Input, State},
};

use tracing::warn;

use super::Driver;
use crate::{
    evidence,
    handle::RequestError,
    record::{Entry, RolloutRecord},
    recording::{self, Part},
    store::{EntryRow, RolloutRow},
};

/// The most rollouts told at once.
const ROLLOUTS_MAX: u32 = 200;

/// The most decisions told of one rollout.
const ENTRIES_MAX: u32 = 10_000;

impl Driver {
    pub(super) fn history(
        &mut self,
        service: &ServiceName,
        limit: u32,
        has_entries: bool,
    ) -> Result<Vec<RolloutHistory>, RequestError> {
        if !self.homes.contains_key(service) {
            return Err(unknown(service));
        }
        let rows = self.store.rollouts(service, limit.min(ROLLOUTS_MAX))?;
        // One that cannot be read hides none of the others.
        let readable = rows.iter().filter(|row| {
            let result = RolloutRecord::read(row);
            if let Err(error) = &result {
                warn!(rollout = %row.id, error = error.to_chain(), "Rollout left out of the history");
            }
            result.is_ok()
        });
        readable.map(|row| self.tell(row, has_entries)).collect()
    }

    pub(super) fn rollout(&mut self, id: &RolloutId) -> Result<RolloutHistory, RequestError> {
        let row = self.row(id)?;
        self.tell(&row, true)
    }

    /// Returns a part of what is stored of a rollout.
    pub(super) fn stored(&mut self, id: &RolloutId, from: u64) -> Result<Part, RequestError> {
        let rollout = if from == 0 {
            Some((
                self.row(id)?,
                self.store.entries(id, recording::ENTRIES_MAX)?,
            ))
        } else {
            None
        };
        let rows = self.store.recording(id, from, recording::ROWS_MAX)?;
        Ok(Part { rollout, rows })
    }

    fn row(&mut self, id: &RolloutId) -> Result<RolloutRow, RequestError> {
        let not_found = || RequestError::NotFound(format!("there is no rollout {id}"));
        let service = id
            .as_str()
            .rsplit_once('-')
            .and_then(|(service, _)| service.parse().ok())
            .ok_or_else(not_found)?;
        let rows = self.store.rollouts(&service, ROLLOUTS_MAX)?;
        let row = rows.into_iter().find(|row| &row.id == id);
        row.ok_or_else(not_found)
    }

    fn tell(
        &mut self,
        row: &RolloutRow,
        has_entries: bool,
    ) -> Result<RolloutHistory, RequestError> {
        let record = RolloutRecord::read(row)?;
        let entries = if has_entries {
            self.store.entries(&row.id, ENTRIES_MAX)?
        } else {
            Vec::new()
        };
        Ok(RolloutHistory {
            id: row.id.clone(),
            kind: record.wish.kind.name().to_owned(),
            by: record.wish.actor.name.clone(),
            reason: record.wish.actor.reason.clone(),
            stable: record.stable.version.clone(),
            canary: record.wish.spec.version.clone(),
            phase: record.state.phase.name().to_owned(),
            message: rollout::message(&record.state),
            started_at: row.started_at,
            ended_at: row.ended_at,
            entries: entries.iter().map(entry).collect::<Result<_, _>>()?,
        })
    }
}

/// Returns the key of the news about where a rollout stands.
pub(super) fn key_of_news(plan: &Plan, state: &State) -> String {
    let mut effects = rollout::effects(plan, state).into_iter();
    let key = effects.find_map(|wish| match wish {
        Effect::Notify { key, .. } => Some(key),
        Effect::EnsureTraffic(_)
        | Effect::EnsureWorkloads(_)
        | Effect::EnsureJudged { .. }
        | Effect::EnsureAsked(_)
        | Effect::EnsureStable(_) => None,
    });
    key.unwrap_or_default()
}

pub(super) fn unknown(service: &ServiceName) -> RequestError {
    RequestError::NotFound(format!("there is no service {service}"))
}

fn entry(row: &EntryRow) -> Result<EntryView, RequestError> {
    let entry = Entry::read(row)?;
    let by = match &entry.input {
        Some(Input::Command(command)) => Some(command.actor.to_string()),
        Some(_) | None => None,
    };
    let cause = entry.input.as_ref().map_or("begin", Input::cause);
    Ok(EntryView {
        number: row.number,
        at: row.at,
        phase: entry.state.phase.name().to_owned(),
        step: entry.state.step().map(|step| step.saturating_add(1)),
        weight_bps: entry.state.weight(),
        text: entry.text,
        cause: cause.to_owned(),
        by,
        judgement: entry.evidence.as_ref().map(|evidence| {
            evidence::view(
                entry
                    .facts
                    .background
                    .as_ref()
                    .or(entry.facts.step.as_ref()),
                evidence,
            )
        }),
    })
}
