//! Going back to an earlier version, and trying the last one again: both begin a rollout of their own.

use std::time::Duration;

use haldane_api::http::Answer;
use haldane_core::{
    ServiceName, VersionName, Weight,
    plan::{Mode, Plan, PlanParts, Rules, Step},
    rollout::{Actor, Phase},
};
use jiff::Timestamp;

use super::{
    Driver,
    home::Home,
    request::{invalid, refused},
    tell::unknown,
};
use crate::{
    handle::RequestError,
    record::{Kind, RolloutRecord, Wish, read_version},
};

/// How far back an earlier version is looked for.
const ROLLOUTS_MAX: u32 = 200;

impl Driver {
    /// Tries the last rollout's version again.
    pub(super) fn retry(
        &mut self,
        name: &ServiceName,
        plan: Option<Plan>,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Answer, RequestError> {
        let home = self.homes.get(name).ok_or_else(|| unknown(name))?;
        if let Some(live) = home.live() {
            let (id, phase) = (&live.state().id, live.state().phase.name());
            return Err(refused(format!("{id} is {phase}; `abort` it first")));
        }
        let Some(row) = self.store.rollouts(name, 1)?.into_iter().next() else {
            return Err(refused(format!(
                "{name} has had no rollout; `deploy` begins one"
            )));
        };
        let Ok(last) = RolloutRecord::read(&row) else {
            return Err(refused(format!(
                "{} cannot be read; `deploy` begins a new one",
                row.id
            )));
        };
        if matches!(last.state.phase, Phase::Completed(_)) {
            return Err(refused(format!(
                "{} was promoted; there is nothing to retry",
                row.id
            )));
        }
        let wish = Wish {
            plan: plan.unwrap_or(last.wish.plan),
            spec: last.wish.spec,
            kind: Kind::Retry,
            actor,
        };
        self.want(name, wish, now)
    }

    /// Goes back to an earlier version.
    pub(super) fn undo(
        &mut self,
        name: &ServiceName,
        to: Option<&VersionName>,
        plan: Option<Plan>,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Answer, RequestError> {
        let home = self.homes.get(name).ok_or_else(|| unknown(name))?;
        let target = match (to, home.live()) {
            (Some(version), _) => version.clone(),
            (None, None) => self.version_before(name)?,
            (None, Some(live)) => {
                let (id, phase) = (&live.state().id, live.state().phase.name());
                return Err(refused(format!(
                    "{id} is {phase}: `abort` takes it back; to go back further name a version with --to"
                )));
            }
        };
        let rows = self.store.versions(name)?;
        let row = rows.iter().find(|row| row.version == target);
        let row = row.ok_or_else(|| {
            let known: Vec<&str> = rows.iter().map(|row| row.version.as_str()).collect();
            let known = known.join(", ");
            RequestError::NotFound(format!(
                "{name} has had no version {target}; known: {known}"
            ))
        })?;
        let (_, spec) = read_version(row)?;
        let plan = match (plan, self.homes.get(name)) {
            (Some(plan), _) => plan,
            (None, Some(home)) => straight(home).map_err(|why| invalid(&why))?,
            (None, None) => return Err(unknown(name)),
        };
        let wish = Wish {
            spec,
            plan,
            kind: Kind::Undo,
            actor,
        };
        let notice = self.notice(name, &target)?;
        let mut answer = self.want(name, wish, now)?;
        answer.messages.extend(notice);
        Ok(answer)
    }

    /// Returns what a person should know who goes back to a version whose last rollout did not end well: going back has no guards.
    fn notice(
        &mut self,
        name: &ServiceName,
        target: &VersionName,
    ) -> Result<Option<String>, RequestError> {
        let rows = self.store.rollouts(name, ROLLOUTS_MAX)?;
        let mut records = rows.iter().filter_map(|row| RolloutRecord::read(row).ok());
        let is_last = |record: &RolloutRecord| {
            &record.state.canary == target && record.state.phase.is_terminal()
        };
        Ok(records.find(is_last).and_then(|record| {
            let (id, ended) = (&record.state.id, record.state.taken_back()?);
            let why = &ended.why;
            Some(format!(
                "notice: {target} was rolled back before, in {id}: {why}"
            ))
        }))
    }

    /// Returns the version that served before the one that serves now.
    fn version_before(&mut self, name: &ServiceName) -> Result<VersionName, RequestError> {
        let rows = self.store.rollouts(name, ROLLOUTS_MAX)?;
        let stable = self.homes.get(name).map(|home| &home.record.stable.version);
        let mut records = rows.iter().filter_map(|row| RolloutRecord::read(row).ok());
        let last = records.find(|record| {
            let is_promoted = matches!(record.state.phase, Phase::Completed(_));
            is_promoted && Some(&record.state.canary) == stable
        });
        let none = || refused(format!("{name} has no earlier version; name one with --to"));
        last.map(|record| record.state.stable).ok_or_else(none)
    }
}

/// Returns the plan that goes straight to all traffic once the version is healthy; a person decided already.
fn straight(home: &Home) -> Result<Plan, String> {
    let rules = Rules {
        guards: Vec::new(),
        judge: None,
        judge_from_step: 0,
        promote: Mode::Auto,
        advance: Mode::Auto,
        bake: Duration::ZERO,
        windows: Vec::new(),
        freezes: Vec::new(),
        after_rollback: Vec::new(),
        ..home.record.file.plan.rules().clone()
    };
    let steps = vec![Step::SetWeight(Weight::FULL)];
    Plan::try_new(PlanParts { steps, rules }).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        problems.join("; ")
    })
}
