//! Questions to others: the gate that a rollout stands at, and who is told after one was rolled back.
//!
//! Web services are asked by the asker, and Jobs by writes of the host itself. What is asked follows from the record alone, so that
//! after a restart the same is asked again.
//!
//! **Invariant:** nothing waits for who is told after a rollback, and what they answer changes nothing but what people read.

use haldane_core::{
    RolloutId, ServiceName, VersionName,
    plan::{Ask, Gate, Plan, Step},
    rollout::{self, Effect, Ended, GateAnswer, GateKey},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    act::{Act, Setting},
    job::{self, Look},
    record::Live,
};
use crate::{asker::Subject, kinds::JOB, turn::Write};

/// How many rollouts that were rolled back may wait to be told; who rolls back more often in a few minutes has told enough.
const TOLD_MAX: usize = 4;

/// Longest answer that is kept.
const SAID_CHARS_MAX: usize = 300;

/// Longest reason of a rollback that is told.
const WHY_CHARS_MAX: usize = 1_000;

/// Why a gate that nobody answered is shut.
const NO_ANSWER: &str = "no answer in time";

/// A rollout that was rolled back, and who is still to be told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Aftermath {
    /// The rollout.
    pub rollout: RolloutId,
    /// The version that serves.
    pub stable: VersionName,
    /// The version that was on trial.
    pub canary: VersionName,
    /// Why it was rolled back.
    pub why: String,
    /// Who is still to be told; the first one is told now.
    pub gates: Vec<Gate>,
    /// Its number, as if it were one more step of the plan.
    pub step: u32,
    /// Since when it is told.
    pub since: Timestamp,
}

/// A question that is open.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub key: GateKey,
    pub gate: Gate,
    pub stable: VersionName,
    pub canary: VersionName,
    /// Why the rollout ended, if it did.
    pub why: Option<String>,
}

impl Aftermath {
    /// Returns who is to be told of a rollout that was rolled back; `None` where nobody is.
    fn of(live: &Live, plan: &Plan, why: &str, now: Timestamp) -> Option<Self> {
        let gates = plan.rules().after_rollback.clone();
        (!gates.is_empty()).then(|| Self {
            rollout: live.state.id.clone(),
            stable: live.state.stable.clone(),
            canary: live.state.canary.clone(),
            why: why.chars().take(WHY_CHARS_MAX).collect(),
            gates,
            step: plan.step_count(),
            since: now,
        })
    }

    fn question(&self) -> Option<Question> {
        Some(Question {
            key: GateKey {
                rollout: self.rollout.clone(),
                step: self.step,
                entered: self.since,
            },
            gate: self.gates.first()?.clone(),
            stable: self.stable.clone(),
            canary: self.canary.clone(),
            why: Some(self.why.clone()),
        })
    }

    /// Returns what is left when the one who is told now has answered.
    fn next(mut self, now: Timestamp) -> Option<Self> {
        self.gates = self.gates.split_off(1.min(self.gates.len()));
        self.step = self.step.saturating_add(1);
        self.since = now;
        (!self.gates.is_empty()).then_some(self)
    }
}

impl Question {
    /// Returns when there must be an answer.
    pub(super) fn until(&self) -> Timestamp {
        let until = self.key.entered.checked_add(self.gate.timeout);
        until.unwrap_or(Timestamp::MAX)
    }

    pub(super) fn answer(&self, is_open: bool, said: impl Into<String>) -> GateAnswer {
        GateAnswer {
            key: self.key.clone(),
            is_open,
            said: said.into(),
        }
    }
}

impl Act<'_> {
    /// Returns what the gate said that the rollout stands at.
    pub(super) fn hear_answers(&mut self) -> Vec<GateAnswer> {
        let Some(question) = self.standing_at() else {
            return Vec::new();
        };
        let said = self.memory.said(&question.key);
        said.into_iter()
            .chain(self.answer_of_job(&question))
            .collect()
    }

    /// Hears those who were told after a rollback; goes on with the next one.
    pub(super) fn hear_aftermath(&mut self) {
        let Some(told) = self.record.told.first().cloned() else {
            return;
        };
        let Some(question) = told.question() else {
            self.record.told.remove(0);
            return;
        };
        let is_late = question.until() <= self.view.now;
        let late = || is_late.then(|| question.answer(false, NO_ANSWER));
        let answer = self.memory.said(&question.key);
        let answer = answer.or_else(|| self.answer_of_job(&question));
        let Some(answer) = answer.or_else(late) else {
            return;
        };
        let words: String = answer.said.chars().take(SAID_CHARS_MAX).collect();
        let said = format!("{}: {words}", question.gate.name);
        self.tell(
            !answer.is_open,
            "AfterRollback",
            format!("{}: {said}", told.rollout),
        );
        self.memory.add_to(&told.rollout, &said);
        let rollout = told.rollout.clone();
        self.record.told.remove(0);
        match told.next(self.view.now) {
            Some(next) => self.record.told.insert(0, next),
            None => self.ports.asker.forget(self.view.key, &rollout),
        }
    }

    /// Notes who is to be told of a rollout that was rolled back.
    pub(super) fn begin_aftermath(&mut self, live: &Live, ended: &Ended) {
        let plan = self.memory.plan.as_deref();
        let aftermath =
            plan.and_then(|plan| Aftermath::of(live, plan, &ended.why.to_string(), self.view.now));
        // With the Release what it remembers is gone, too.
        let Some(aftermath) = aftermath.filter(|_| !self.release.is_deleted()) else {
            return;
        };
        self.record.told.push(aftermath);
        if self.record.told.len() > TOLD_MAX {
            let left = self.record.told.remove(0);
            self.ports.asker.forget(self.view.key, &left.rollout);
            let said = "not everybody is told: there were too many rollbacks";
            let said = format!("{}: {said}", left.rollout);
            self.tell(true, "AfterRollback", said);
        }
    }

    /// Returns all questions that are open.
    fn questions(&self) -> Vec<Question> {
        let told = self.record.told.first();
        let told = told.and_then(Aftermath::question);
        self.standing_at().into_iter().chain(told).collect()
    }

    /// Returns the question of the gate that the rollout stands at.
    fn standing_at(&self) -> Option<Question> {
        let (live, plan) = (self.record.live()?, self.memory.plan.as_ref()?);
        let wishes = rollout::effects(plan, &live.state).into_iter();
        let mut keys = wishes.filter_map(|wish| match wish {
            Effect::EnsureAsked(key) => Some(key),
            Effect::EnsureTraffic(_)
            | Effect::EnsureWorkloads(_)
            | Effect::EnsureJudged { .. }
            | Effect::EnsureStable(_)
            | Effect::Notify { .. } => None,
        });
        let key = keys.next()?;
        let Some(Step::Gate(gate)) = plan.step(key.step) else {
            return None;
        };
        Some(Question {
            key,
            gate: gate.clone(),
            stable: live.state.stable.clone(),
            canary: live.state.canary.clone(),
            why: None,
        })
    }

    fn answer_of_job(&self, question: &Question) -> Option<GateAnswer> {
        match &question.gate.ask {
            Ask::Job { cron_job } => {
                job::look(&self.view, question, cron_job).answer(question, self.view.now)
            }
            Ask::Approval | Ask::Webhook { .. } | Ask::Run { .. } => None,
        }
    }

    /// Looks after the questions that are open at the end of a turn: what is to be seen of them, when, and what they wait for.
    pub(super) fn note_questions(&mut self) {
        let questions = self.questions();
        for question in &questions {
            let mut waits = "waits for an answer".to_owned();
            let at = match &question.gate.ask {
                Ask::Job { cron_job } => {
                    let name = job::name(&question.key);
                    self.reads.extend(job::reads(&self.view, &name, cron_job));
                    if let Look::Waits(why) = job::look(&self.view, question, cron_job) {
                        waits = why;
                    }
                    if !self.record.jobs.contains(&name) {
                        self.record.jobs.push(name);
                    }
                    Some(job::until(question))
                }
                Ask::Webhook { .. } | Ask::Run { .. } => {
                    self.view.now.checked_add(super::bench::LOOK).ok()
                }
                Ask::Approval => None,
            };
            let said = format!("{}: {waits}", question.gate.name);
            self.waits.get_or_insert(said);
            self.asked_at = self.asked_at.into_iter().chain(at).min();
        }
        let is_asked = |name: &String| {
            let mut asked = questions.iter();
            asked.any(|question| job::name(&question.key) == *name)
        };
        let view = &self.view;
        self.record
            .jobs
            .retain(|name| is_asked(name) || job::may_run(view, name));
        let surplus = self.record.jobs.len().saturating_sub(job::JOBS_MAX);
        self.record.jobs.drain(..surplus);
        let jobs = self.record.jobs.iter();
        let jobs = jobs.map(|name| self.view.name(&JOB, name));
        self.reads.extend(jobs);
    }

    /// Asks all questions that are open; returns the writes by which Jobs are made, and deleted that nobody asks any more.
    pub(super) fn ask(&self, setting: &Setting<'_>) -> Vec<Write> {
        let mut writes = Vec::new();
        let mut asked = Vec::new();
        for question in self.questions() {
            let Some(subject) = self.subject(setting, &question) else {
                continue;
            };
            if let Ask::Job { cron_job } = &question.gate.ask {
                asked.push(job::name(&question.key));
                if let Look::Make(template) = job::look(&self.view, &question, cron_job) {
                    writes.push(job::make(&self.view, &question, &template, &subject));
                }
                continue;
            }
            self.ports
                .asker
                .ask(self.view.key, &question.key, &question.gate, &subject);
        }
        let left = self
            .record
            .jobs
            .iter()
            .filter(|name| !asked.contains(*name));
        writes.extend(left.filter_map(|name| job::end(&self.view, name)));
        writes
    }

    fn subject(&self, setting: &Setting<'_>, question: &Question) -> Option<Subject> {
        let service: ServiceName = self.view.key.name.parse().ok()?;
        let backends = setting.site.backends();
        let (stable, canary) = backends.first()?;
        let namespace = &self.view.key.namespace;
        let url = |service: &str| Some(format!("http://{service}.{namespace}.svc"));
        Some(Subject {
            service,
            stable: question.stable.clone(),
            canary: question.canary.clone(),
            stable_url: url(&stable.service),
            canary_url: url(&canary.service),
            why: question.why.clone(),
        })
    }
}
