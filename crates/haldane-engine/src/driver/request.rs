//! What people ask of a service: versions to try, and commands on the rollout that goes on.

use std::time::Duration;

use haldane_api::{
    file::{self, Source, VersionSpec},
    http::{Answer, CommandName, CommandRequest, DeployRequest},
};
use haldane_core::{
    ServiceName, VersionName, Weight,
    plan::{Plan, PlanParts, Rules, Step},
    request::{Admission, admit},
    rollout::{Action, Actor, Command, Input, Phase},
};
use jiff::Timestamp;

use super::{
    Driver, done,
    home::{Home, Live},
    tell::{store, unknown},
};
use crate::{
    calendar,
    handle::RequestError,
    record::{CommandRecord, Kind, ServiceRecord, Wish, read_version},
};

impl Driver {
    pub(super) fn deploy(
        &mut self,
        name: &ServiceName,
        request: DeployRequest,
        now: Timestamp,
    ) -> Result<Answer, RequestError> {
        let home = self.homes.get(name).ok_or_else(|| unknown(name))?;
        let plan = match &request.rollout {
            Some(rollout) => self.read_plan(rollout)?,
            None => home.record.file.plan.clone(),
        };
        let actor = Actor {
            name: request.by.clone(),
            reason: request.reason.clone(),
        };
        let spec = version_spec(home, request)?;
        self.want(
            name,
            Wish {
                spec,
                plan,
                kind: Kind::Deploy,
                actor,
            },
            now,
        )
    }

    /// Brings a version on its way: now, after the rollout that goes on, or not at all where it is there already.
    pub(super) fn want(
        &mut self,
        name: &ServiceName,
        wish: Wish,
        now: Timestamp,
    ) -> Result<Answer, RequestError> {
        let home = self.homes.get(name).ok_or_else(|| unknown(name))?;
        let live = home.live().map(Live::state);
        let version = wish.spec.version.clone();
        self.check_plan(&wish.plan)?;
        match admit(&home.record.stable.version, live, &version) {
            Admission::Serving if home.record.stable == wish.spec => Err(RequestError::Refused(
                format!("{version} serves already; `restart` replaces its replicas"),
            )),
            Admission::Serving => Err(RequestError::Refused(format!(
                "{version} serves already, from another source; give the new build a name of its own"
            ))),
            Admission::OnTrial => Err(RequestError::Refused(format!(
                "{version} is on trial already"
            ))),
            Admission::Begin => {
                let id = self.begin(name, wish, now).map_err(store)?;
                self.turn_of(name, now);
                let rollout = id.clone();
                let id = id.map(|id| id.to_string()).unwrap_or_default();
                Ok(Answer {
                    messages: vec![format!("rollout {id} begins: {version}")],
                    rollout,
                    is_durable: true,
                })
            }
            Admission::BackToStable => {
                let message = format!(
                    "{version} is stable: the rollout that goes on ends, stable goes on serving"
                );
                self.act(name, Action::BackToStable, wish.actor, now)
                    .map(|answer| Answer {
                        messages: vec![message],
                        ..answer
                    })
            }
            Admission::Queue => self.queue(name, wish).map(|()| {
                done(format!(
                    "{version} begins when the rollout that is ending has ended"
                ))
            }),
            Admission::Supersede => {
                let actor = wish.actor.clone();
                self.queue(name, wish)?;
                self.act(name, Action::Supersede(version.clone()), actor, now)?;
                Ok(done(format!(
                    "the rollout that goes on ends first, then {version} begins"
                )))
            }
        }
    }

    pub(super) fn command(
        &mut self,
        name: &ServiceName,
        request: &CommandRequest,
        now: Timestamp,
    ) -> Result<Answer, RequestError> {
        let home = self.homes.get(name).ok_or_else(|| unknown(name))?;
        let actor = Actor {
            name: request.by.clone(),
            reason: request.reason.clone(),
        };
        let step = request.step.map(|step| step.saturating_sub(1));
        let action = match request.command {
            CommandName::Promote if request.full => Action::PromoteFull { step },
            CommandName::Promote => Action::Promote { step },
            CommandName::Pause => Action::Pause,
            CommandName::Resume => Action::Resume,
            CommandName::Abort => Action::Abort,
            CommandName::SetWeight => Action::SetWeight(
                request
                    .weight_bps
                    .ok_or_else(|| invalid("set-weight needs a weight"))?,
            ),
            CommandName::Restart if home.live().is_none() => {
                return self.restart_stable(name, &actor, now);
            }
            CommandName::Restart => Action::Restart,
            CommandName::Retry => {
                let plan = request
                    .rollout
                    .as_ref()
                    .map(|rollout| self.read_plan(rollout))
                    .transpose()?;
                return self.retry(name, plan, actor, now);
            }
            CommandName::Undo => {
                let plan = request
                    .rollout
                    .as_ref()
                    .map(|rollout| self.read_plan(rollout))
                    .transpose()?;
                return self.undo(name, request.to.as_ref(), plan, actor, now);
            }
        };
        self.act(name, action, actor, now)
    }

    /// Carries out a command on the rollout that goes on, and writes down who wanted what.
    fn act(
        &mut self,
        name: &ServiceName,
        action: Action,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Answer, RequestError> {
        let home = self.homes.get(name).ok_or_else(|| unknown(name))?;
        let Some(live) = &home.rollout else {
            return Err(RequestError::Refused(format!(
                "{name} has no rollout; `deploy` begins one"
            )));
        };
        let (id, before) = (live.state().id.clone(), live.state().clone());
        let command = action.name();
        let is_abort = matches!(
            action,
            Action::Abort | Action::BackToStable | Action::Supersede(_)
        );
        let input = Input::Command(Command {
            action,
            actor: actor.clone(),
        });
        let refusal = self.feed(name, &input, now);
        let live = self.homes.get(name).and_then(|home| home.rollout.as_ref());
        let is_durable = live.is_none_or(Live::is_durable);
        let has_moved = live.is_some_and(|live| !live.state().is_same_decision(&before));
        let record = CommandRecord {
            name: command.to_owned(),
            actor,
            rollout: Some(id.clone()),
            refusal: refusal.as_ref().map(ToString::to_string),
        };
        // The decision itself carries its command; this row is the trail of what was asked, refused or not.
        let trail = record
            .write(name, now)
            .and_then(|write| self.store.commit(&[write]));
        if let Some(refusal) = refusal {
            return Err(RequestError::Refused(format!("{id}: {refusal}")));
        }
        if let (Err(error), false) = (trail, has_moved) {
            return Err(store(error));
        }
        if !is_durable && !is_abort {
            return Err(RequestError::Store(
                "the command was not carried out".to_owned(),
            ));
        }
        self.turn_of(name, now);
        let state = self
            .homes
            .get(name)
            .and_then(|home| home.rollout.as_ref())
            .map(|live| live.state().phase.name());
        let mut messages = vec![format!("{id}: {command}: {}", state.unwrap_or("gone"))];
        if !is_durable {
            messages.push("applied, not durable: the store does not take the decision; it is written as soon as it can be".to_owned());
        }
        Ok(Answer {
            messages,
            rollout: Some(id),
            is_durable,
        })
    }

    fn queue(&mut self, name: &ServiceName, wish: Wish) -> Result<(), RequestError> {
        let home = self.homes.get_mut(name).ok_or_else(|| unknown(name))?;
        let record = ServiceRecord {
            queued: Some(wish),
            ..home.record.clone()
        };
        let result = record
            .write(name)
            .and_then(|write| self.store.commit(&[write]));
        if result.is_ok() {
            home.record = record;
        }
        self.note_store(result.as_ref().err());
        result.map_err(store)
    }

    fn restart_stable(
        &mut self,
        name: &ServiceName,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Answer, RequestError> {
        let home = self.homes.get_mut(name).ok_or_else(|| unknown(name))?;
        let record = ServiceRecord {
            restart_since: Some(now),
            ..home.record.clone()
        };
        let trail = CommandRecord {
            name: "restart".to_owned(),
            actor: actor.clone(),
            rollout: None,
            refusal: None,
        };
        let writes = [
            record.write(name).map_err(store)?,
            trail.write(name, now).map_err(store)?,
        ];
        let result = self.store.commit(&writes);
        if result.is_ok() {
            home.record = record;
        }
        self.note_store(result.as_ref().err());
        result.map_err(store)?;
        Ok(done(format!(
            "{name}: replicas of stable are replaced one by one"
        )))
    }

    fn retry(
        &mut self,
        name: &ServiceName,
        plan: Option<Plan>,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Answer, RequestError> {
        let home = self.homes.get(name).ok_or_else(|| unknown(name))?;
        let row = self
            .store
            .rollouts(name, 1)
            .map_err(store)?
            .into_iter()
            .next();
        let last = row
            .map(|row| crate::record::RolloutRecord::read(&row))
            .transpose()
            .map_err(store)?;
        let Some(last) = last else {
            return Err(RequestError::Refused(format!(
                "{name} has had no rollout; `deploy` begins one"
            )));
        };
        match &last.state.phase {
            Phase::RolledBack(_) | Phase::Failed(_) => {}
            Phase::Completed(_) => {
                return Err(RequestError::Refused(format!(
                    "{} was promoted; there is nothing to retry",
                    last.state.id
                )));
            }
            Phase::Pending(_)
            | Phase::Preparing(_)
            | Phase::Progressing(_)
            | Phase::Paused(_)
            | Phase::Promoting(_)
            | Phase::RollingBack(_) => {
                let (id, phase) = (&last.state.id, last.state.phase.name());
                return Err(RequestError::Refused(format!(
                    "{id} is {phase}; `abort` it first"
                )));
            }
        }
        if home.record.stable.version == last.wish.spec.version {
            return Err(RequestError::Refused(format!(
                "{} serves already",
                last.wish.spec.version
            )));
        }
        let plan = plan.unwrap_or(last.wish.plan);
        self.want(
            name,
            Wish {
                spec: last.wish.spec,
                plan,
                kind: Kind::Retry,
                actor,
            },
            now,
        )
    }

    fn undo(
        &mut self,
        name: &ServiceName,
        to: Option<&VersionName>,
        plan: Option<Plan>,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Answer, RequestError> {
        let home = self.homes.get(name).ok_or_else(|| unknown(name))?;
        let stable = home.record.stable.version.clone();
        let rules = home.record.file.plan.rules().clone();
        let target = match to {
            Some(version) => version.clone(),
            None => self.version_before(name, &stable)?,
        };
        let rows = self.store.versions(name).map_err(store)?;
        let row = rows
            .iter()
            .find(|row| row.version == target)
            .ok_or_else(|| {
                let known: Vec<&str> = rows.iter().map(|row| row.version.as_str()).collect();
                RequestError::NotFound(format!(
                    "{name} has had no version {target}; known: {}",
                    known.join(", ")
                ))
            })?;
        let (_, spec) = read_version(row).map_err(store)?;
        let plan = match plan {
            Some(plan) => plan,
            None => straight(rules).map_err(|why| invalid(&why))?,
        };
        self.want(
            name,
            Wish {
                spec,
                plan,
                kind: Kind::Undo,
                actor,
            },
            now,
        )
    }

    /// Returns the version that served before the one that serves now.
    fn version_before(
        &mut self,
        name: &ServiceName,
        stable: &VersionName,
    ) -> Result<VersionName, RequestError> {
        let rows = self
            .store
            .rollouts(name, u32::from(u8::MAX))
            .map_err(store)?;
        for row in rows {
            let record = crate::record::RolloutRecord::read(&row).map_err(store)?;
            if matches!(record.state.phase, Phase::Completed(_)) && &record.state.canary == stable {
                return Ok(record.state.stable);
            }
        }
        Err(RequestError::Refused(format!(
            "{name} has no earlier version; name one with --to"
        )))
    }

    fn read_plan(&self, rollout: &serde_json::Value) -> Result<Plan, RequestError> {
        file::parse_rollout(&rollout.to_string()).map_err(|problems| RequestError::Invalid {
            error: "the rollout is not valid".to_owned(),
            problems: problems
                .iter()
                .map(|problem| format!("{}: {}", problem.path, problem.message))
                .collect(),
        })
    }

    pub(super) fn check_plan(&self, plan: &Plan) -> Result<(), RequestError> {
        let mut problems: Vec<String> = plan
            .problems_for(self.abilities)
            .iter()
            .map(ToString::to_string)
            .collect();
        problems.extend(
            calendar::unknown_zones(plan.rules())
                .into_iter()
                .map(|zone| format!("windows: no time zone {zone:?} is known here")),
        );
        if problems.is_empty() {
            return Ok(());
        }
        Err(RequestError::Invalid {
            error: "the plan asks for what cannot be done here".to_owned(),
            problems,
        })
    }
}

/// Returns the plan that goes straight to all traffic once the version is healthy; a person decided already.
fn straight(rules: Rules) -> Result<Plan, String> {
    let rules = Rules {
        guards: Vec::new(),
        judge_from_step: 0,
        promote: haldane_core::plan::Mode::Auto,
        advance: haldane_core::plan::Mode::Auto,
        bake: Duration::ZERO,
        windows: Vec::new(),
        freezes: Vec::new(),
        ..rules
    };
    Plan::try_new(PlanParts {
        steps: vec![Step::SetWeight(Weight::FULL)],
        rules,
    })
    .map_err(|problems| {
        problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    })
}

fn version_spec(home: &Home, request: DeployRequest) -> Result<VersionSpec, RequestError> {
    let stable = &home.record.stable.source;
    let source = match (request.run, request.urls) {
        (Some(argv), None) => {
            if argv.first().is_none_or(String::is_empty) {
                return Err(invalid("`run` needs a program"));
            }
            let (dir, user, replicas, env) = match stable {
                Source::Run {
                    dir,
                    user,
                    replicas,
                    env,
                    ..
                } => (dir.clone(), user.clone(), *replicas, env.clone()),
                Source::Urls(urls) => (
                    String::from("."),
                    None,
                    u32::try_from(urls.len()).unwrap_or(1),
                    request.env.clone(),
                ),
            };
            let env = if request.env.is_empty() {
                env
            } else {
                request.env
            };
            let replicas = request.replicas.unwrap_or(replicas).max(1);
            Source::Run {
                argv,
                env,
                dir: request.dir.unwrap_or(dir),
                user,
                replicas,
            }
        }
        (None, Some(urls)) if !urls.is_empty() => {
            let parsed = urls
                .iter()
                .map(|url| url.parse().map_err(|why| invalid(&format!("{url}: {why}"))))
                .collect::<Result<_, _>>()?;
            Source::Urls(parsed)
        }
        (Some(_) | None, Some(_) | None) => {
            return Err(invalid("expected exactly one of `run` and `urls`"));
        }
    };
    Ok(VersionSpec {
        version: request.version,
        source,
    })
}

fn invalid(error: &str) -> RequestError {
    RequestError::Invalid {
        error: error.to_owned(),
        problems: Vec::new(),
    }
}
