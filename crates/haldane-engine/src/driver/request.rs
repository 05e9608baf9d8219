//! What people ask of a service: versions to try, and commands on the rollout that goes on.
//!
//! Every command leaves a row with who wanted what and why: in the commit of what it brought about, or by itself where it was refused
//! or changed nothing.

use std::collections::BTreeMap;

use haldane_api::{
    file::{self, REPLICAS_MAX, Source, VersionSpec},
    http::{Answer, CommandName, CommandRequest, DeployRequest},
};
use haldane_core::{
    ServiceName, VersionName,
    plan::Plan,
    request::{Admission, admit, cancels_queued},
    rollout::{Action, Actor, Command, Input, Phase},
};
use jiff::Timestamp;
use tracing::warn;

use super::{
    Driver,
    decision::Outcome,
    done,
    home::{Home, Live},
    tell::unknown,
};
use crate::{
    calendar,
    handle::RequestError,
    record::{CommandRecord, Kind, ServiceRecord, Wish},
    store::StoreError,
};

impl Driver {
    pub(super) fn deploy(
        &mut self,
        name: &ServiceName,
        request: DeployRequest,
        now: Timestamp,
    ) -> Result<Answer, RequestError> {
        self.check_store()?;
        let home = self.homes.get(name).ok_or_else(|| unknown(name))?;
        let plan = match &request.rollout {
            Some(rollout) => read_plan(rollout, home)?,
            None => home.record.file.plan.clone(),
        };
        let actor = Actor {
            name: request.by.clone(),
            reason: request.reason.clone(),
        };
        let wish = Wish {
            spec: version_spec(home, request)?,
            plan,
            kind: Kind::Deploy,
            actor: actor.clone(),
        };
        let result = self.want(name, wish, now);
        self.note_refusal(name, "deploy", actor, &result, now);
        result
    }

    /// Brings a version on its way: now, after the rollout that goes on, or not at all where it is there already.
    pub(super) fn want(
        &mut self,
        name: &ServiceName,
        wish: Wish,
        now: Timestamp,
    ) -> Result<Answer, RequestError> {
        let home = self.homes.get(name).ok_or_else(|| unknown(name))?;
        let stable = &home.record.stable;
        let live = home.live().map(Live::state);
        let version = wish.spec.version.clone();
        self.check_plan(&wish.plan)?;
        match admit(&stable.version, live, &version) {
            Admission::Serving if stable == &wish.spec => Err(refused(format!(
                "{version} serves already; `restart` replaces its replicas"
            ))),
            Admission::Serving => Err(refused(format!(
                "{version} serves already, from another source; give the new build a name of its own"
            ))),
            Admission::OnTrial => Err(refused(format!("{version} is on trial already"))),
            Admission::Begin => self.want_now(name, wish, now),
            Admission::BackToStable => {
                let message = format!(
                    "{version} is stable: the rollout that goes on ends, stable goes on serving"
                );
                let mut answer = self.act(name, Action::BackToStable, wish.actor, now)?;
                answer.messages.insert(0, message);
                Ok(answer)
            }
            Admission::Queue if serves_next(home) == Some(&version) => {
                self.set_queue(name, None)?;
                Ok(done(format!(
                    "{version} serves when the rollout that is ending has ended"
                )))
            }
            Admission::Queue => {
                self.set_queue(name, Some(wish))?;
                Ok(done(format!(
                    "{version} begins when the rollout that is ending has ended"
                )))
            }
            Admission::Supersede => {
                let actor = wish.actor.clone();
                // The wish is durable first: what goes on ends because of it, also after a restart.
                self.set_queue(name, Some(wish))?;
                let ended = self.act(name, Action::Supersede(version.clone()), actor, now)?;
                let message = format!("the rollout that goes on ends first, then {version} begins");
                // It concerns the rollout that is to come, which has no id yet; not the one that ends.
                Ok(Answer {
                    is_durable: ended.is_durable,
                    ..done(message)
                })
            }
        }
    }

    fn want_now(
        &mut self,
        name: &ServiceName,
        wish: Wish,
        now: Timestamp,
    ) -> Result<Answer, RequestError> {
        let version = wish.spec.version.clone();
        let rollout = self.begin(name, wish, now)?;
        self.turn_of(name, now);
        let id = rollout.as_ref().map(ToString::to_string);
        let message = format!("rollout {} begins: {version}", id.unwrap_or_default());
        Ok(Answer {
            rollout,
            ..done(message)
        })
    }

    pub(super) fn command(
        &mut self,
        name: &ServiceName,
        request: &CommandRequest,
        now: Timestamp,
    ) -> Result<Answer, RequestError> {
        self.check_store()?;
        let actor = Actor {
            name: request.by.clone(),
            reason: request.reason.clone(),
        };
        let result = self.obey(name, request, actor.clone(), now);
        self.note_refusal(name, command_name(request), actor, &result, now);
        result
    }

    fn obey(
        &mut self,
        name: &ServiceName,
        request: &CommandRequest,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Answer, RequestError> {
        let home = self.homes.get(name).ok_or_else(|| unknown(name))?;
        let step = request.step.map(|step| step.saturating_sub(1));
        let rollout = request.rollout.as_ref();
        let plan = rollout.map(|one| read_plan(one, home)).transpose()?;
        let action = match request.command {
            CommandName::Promote if request.full => Action::PromoteFull { step },
            CommandName::Promote => Action::Promote { step },
            CommandName::Pause => Action::Pause,
            CommandName::Resume => Action::Resume,
            CommandName::Abort if home.live().is_none() && home.aside.is_some() => {
                let id = self.end_aside(name, &actor, now)?;
                let message = "it is set aside; stable goes on serving".to_owned();
                return Ok(Answer {
                    rollout: id,
                    ..done(message)
                });
            }
            CommandName::Abort => Action::Abort,
            CommandName::SetWeight => {
                let weight = request.weight_bps;
                Action::SetWeight(weight.ok_or_else(|| invalid("set-weight needs a weight"))?)
            }
            CommandName::Restart if home.live().is_none() => {
                return self.restart_stable(name, &actor, now);
            }
            CommandName::Restart => Action::Restart,
            CommandName::Retry => return self.retry(name, plan, actor, now),
            CommandName::Undo => return self.undo(name, request.to.as_ref(), plan, actor, now),
        };
        self.act(name, action, actor, now)
    }

    /// Carries out a command on the rollout that goes on.
    fn act(
        &mut self,
        name: &ServiceName,
        action: Action,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Answer, RequestError> {
        let home = self.homes.get(name).ok_or_else(|| unknown(name))?;
        let Some(live) = &home.rollout else {
            return Err(refused(format!(
                "{name} has no rollout; `deploy` begins one"
            )));
        };
        let id = live.state().id.clone();
        // Who takes it back takes it back in the same commit as the rollout, or with the row of the command.
        let queued = home.record.queued.as_ref().map(|wish| &wish.spec.version);
        let taken_back = queued.filter(|_| cancels_queued(&action)).cloned();
        let trail = CommandRecord {
            name: action.name().to_owned(),
            actor: actor.clone(),
            rollout: Some(id.clone()),
            refusal: None,
        };
        let input = Input::Command(Command { action, actor });
        match self.feed(name, &input, now) {
            Outcome::Refused(refusal) => return Err(refused(format!("{id}: {refusal}"))),
            Outcome::NotTaken(error) => return Err(error),
            // The decision was committed with its command.
            Outcome::Decided => {}
            Outcome::Same => {
                let result = self.commit(&[trail.write(name, now)?]);
                if self.is_durable(name) {
                    result?;
                }
                if taken_back.is_some() {
                    self.set_queue(name, None)?;
                }
            }
        }
        self.turn_of(name, now);
        let live = self.homes.get(name).and_then(|home| home.rollout.as_ref());
        let phase = live.map_or("gone", |live| live.state().phase.name());
        let is_durable = self.is_durable(name);
        let mut messages = vec![format!("{id}: {}: {phase}", trail.name)];
        messages.extend(
            taken_back.map(|version| format!("{version}, which was to follow, does not begin")),
        );
        if !is_durable {
            messages.push("applied, not durable: the store does not take the decision; it is written as soon as it can be".to_owned());
        }
        Ok(Answer {
            messages,
            rollout: Some(id),
            is_durable,
        })
    }

    /// Whether what was decided last for a service is durable.
    fn is_durable(&self, name: &ServiceName) -> bool {
        let live = self.homes.get(name).and_then(|home| home.rollout.as_ref());
        live.is_none_or(Live::is_durable)
    }

    /// Writes down that somebody asked for what was refused; the refusal stands even if that fails.
    fn note_refusal(
        &mut self,
        name: &ServiceName,
        command: &str,
        actor: Actor,
        result: &Result<Answer, RequestError>,
        now: Timestamp,
    ) {
        let Err(RequestError::Refused(why)) = result else {
            return;
        };
        let live = self.homes.get(name).and_then(|home| home.rollout.as_ref());
        let trail = CommandRecord {
            name: command.to_owned(),
            actor,
            rollout: live.map(|live| live.state().id.clone()),
            refusal: Some(why.clone()),
        };
        let written = trail
            .write(name, now)
            .and_then(|write| self.commit(&[write]));
        if let Err(error) = written {
            warn!(service = %name, command, error = error.to_chain(), "Refusal is not written down");
        }
    }

    fn restart_stable(
        &mut self,
        name: &ServiceName,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Answer, RequestError> {
        let home = self.homes.get(name).ok_or_else(|| unknown(name))?;
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
        self.commit(&[record.write(name)?, trail.write(name, now)?])?;
        if let Some(home) = self.homes.get_mut(name) {
            home.record = record;
        }
        self.turn_of(name, now);
        Ok(done(format!(
            "{name}: replicas of stable are replaced one by one"
        )))
    }

    /// Refuses what would have to be decided where there is no store.
    fn check_store(&self) -> Result<(), RequestError> {
        match self.store.absence() {
            Some(why) => Err(StoreError::Absent {
                why: why.to_owned(),
            }
            .into()),
            None => Ok(()),
        }
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

/// Reads the `rollout` part of a release file; the metrics that the service declares are judged by it, too.
fn read_plan(rollout: &serde_json::Value, home: &Home) -> Result<Plan, RequestError> {
    let refuse = |problems: Vec<String>| RequestError::Invalid {
        error: "the rollout is not valid".to_owned(),
        problems,
    };
    let plan = file::parse_rollout(&rollout.to_string()).map_err(|problems| {
        let problems = problems.iter();
        refuse(
            problems
                .map(|problem| format!("{}: {}", problem.path, problem.message))
                .collect(),
        )
    })?;
    if plan.rules().judge.is_none() {
        // Who asks for the limits alone gets them alone.
        return Ok(plan);
    }
    let metrics = home.record.file.plan.rules().metrics.clone();
    plan.with_metrics(metrics)
        .map_err(|problems| refuse(problems.iter().map(ToString::to_string).collect()))
}

/// Returns the version that serves when the rollout that is ending has ended.
fn serves_next(home: &Home) -> Option<&VersionName> {
    let state = home.live()?.state();
    Some(match &state.phase {
        Phase::Promoting(_) => &state.canary,
        Phase::Pending(_)
        | Phase::Preparing(_)
        | Phase::Progressing(_)
        | Phase::Paused(_)
        | Phase::Completed(_)
        | Phase::RollingBack(_)
        | Phase::RolledBack(_)
        | Phase::Failed(_) => &state.stable,
    })
}

/// Returns a command as typed.
const fn command_name(request: &CommandRequest) -> &'static str {
    match request.command {
        CommandName::Promote if request.full => "promote --full",
        CommandName::Promote => "promote",
        CommandName::Pause => "pause",
        CommandName::Resume => "resume",
        CommandName::Abort => "abort",
        CommandName::Retry => "retry",
        CommandName::Undo => "undo",
        CommandName::Restart => "restart",
        CommandName::SetWeight => "set-weight",
    }
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
                    BTreeMap::new(),
                ),
            };
            // What is given is added to what stable has; a name that is there already gets the new value.
            let env = env.into_iter().chain(request.env).collect();
            let replicas = request.replicas.unwrap_or(replicas);
            if !(1..=REPLICAS_MAX).contains(&replicas) {
                return Err(invalid(&format!(
                    "{replicas} replicas; expected 1 to {REPLICAS_MAX}"
                )));
            }
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

pub(super) fn invalid(error: &str) -> RequestError {
    RequestError::Invalid {
        error: error.to_owned(),
        problems: Vec::new(),
    }
}

pub(super) const fn refused(why: String) -> RequestError {
    RequestError::Refused(why)
}
