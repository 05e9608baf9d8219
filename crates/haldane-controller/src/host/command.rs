//! Commands that people give by an annotation.

use haldane_api::{
    file,
    http::CommandName,
    release::{CommandAnswer, CommandNote},
};
use haldane_core::{
    Weight,
    rollout::{Action, Actor},
};
use sha2::{Digest as _, Sha256};

use super::{
    act::Act,
    record::{Asked, Kind},
    site::Scene,
};

/// Longest name of who gave a command that is kept.
pub(super) const WHO_CHARS_MAX: usize = 100;

/// Longest reason that is kept.
pub(super) const REASON_CHARS_MAX: usize = 500;

impl Act<'_> {
    /// Carries out the command that was given last, once.
    pub(super) fn obey(&mut self, scene: &Scene) {
        let Some(command) = self.release.command() else {
            return;
        };
        let (id, name, by, result) = match command {
            Ok(note) if self.record.commands.contains(&note.id) => return,
            Ok(note) => {
                let result = self.carry_out(&note, scene);
                (note.id.clone(), note.name.clone(), who(&note), result)
            }
            Err((text, error)) => {
                let id = unreadable(&text);
                if self.record.commands.contains(&id) {
                    return;
                }
                (id, String::new(), String::new(), Err(error.to_string()))
            }
        };
        self.answer((id, name, by), result);
    }

    /// Tells what became of a command, and remembers that it was given.
    pub(super) fn answer(
        &mut self,
        (id, name, by): (String, String, String),
        result: Result<String, String>,
    ) {
        let (result, message) = match result {
            Ok(message) => ("Done", message),
            Err(why) => ("Refused", why),
        };
        self.tell(
            result == "Refused",
            "Command",
            format!("{name} by {by}: {message}"),
        );
        self.record.answered(&id);
        self.memory.answer = Some(CommandAnswer {
            id,
            name,
            by,
            result: result.to_owned(),
            message,
            at: self.view.now,
        });
    }

    pub(super) fn carry_out(
        &mut self,
        note: &CommandNote,
        scene: &Scene,
    ) -> Result<String, String> {
        let command = note.command().map_err(|error| error.to_string())?;
        let step = note.step.map(|step| step.saturating_sub(1));
        let action = match command {
            CommandName::Promote if note.full => Action::PromoteFull { step },
            CommandName::Promote => Action::Promote { step },
            CommandName::Pause => Action::Pause,
            CommandName::Resume => Action::Resume,
            CommandName::Abort => Action::Abort,
            CommandName::SetWeight => Action::SetWeight(weight(note)?),
            CommandName::Restart => Action::Restart,
            CommandName::Retry => return self.retry(note, scene),
            CommandName::Undo => return self.undo(note),
        };
        let Some(live) = self.record.live() else {
            return Err("no rollout goes on".to_owned());
        };
        let id = live.state.id.clone();
        self.command(action, actor(note))
            .map_err(|refusal| format!("{id}: {refusal}"))?;
        let phase = self.record.live.as_ref();
        let phase = phase.map_or("over", |live| live.state.phase.name());
        Ok(format!("{id}: {}: {phase}", note.name))
    }

    /// Has the version tried again that was judged last.
    fn retry(&mut self, note: &CommandNote, scene: &Scene) -> Result<String, String> {
        if let Some(live) = self.record.live() {
            return Err(format!("{} goes on", live.state.id));
        }
        let is_judged = self.record.judged.as_ref() == Some(&scene.offered.hash);
        let stable = self.record.stable.as_ref();
        let is_stable = stable.is_some_and(|one| one.version.hash == scene.offered.hash);
        if is_stable || !is_judged {
            return Err(
                "there is no version that was rolled back and is still asked for".to_owned(),
            );
        }
        self.record.asked = Some(Asked {
            kind: Kind::Retry,
            actor: actor(note),
            to: None,
            plan: own_plan(note)?,
        });
        self.record.judged = None;
        Ok(format!("{} is tried again", scene.offered.name))
    }

    /// Has the version before this one tried, at once unless a plan is given.
    fn undo(&mut self, note: &CommandNote) -> Result<String, String> {
        if let Some(live) = self.record.live() {
            return Err(format!("{} goes on; abort it first", live.state.id));
        }
        let Some(previous) = self.record.previous.clone() else {
            return Err("no version served before this one".to_owned());
        };
        if note
            .to
            .as_ref()
            .is_some_and(|to| to != previous.name.as_str())
        {
            return Err(format!(
                "only {} can be gone back to; set another template in the Deployment",
                previous.name
            ));
        }
        let plan = match own_plan(note)? {
            Some(plan) => plan,
            None => at_once()?,
        };
        let said = format!("goes back to {}; what Git says must follow", previous.name);
        self.record.judged = None;
        self.record.asked = Some(Asked {
            kind: Kind::Undo,
            actor: actor(note),
            to: Some(previous),
            plan: Some(plan),
        });
        Ok(said)
    }
}

fn who(note: &CommandNote) -> String {
    note.by.chars().take(WHO_CHARS_MAX).collect()
}

fn actor(note: &CommandNote) -> Actor {
    let reason = note.reason.as_ref();
    Actor {
        name: who(note),
        reason: reason.map(|text| text.chars().take(REASON_CHARS_MAX).collect()),
    }
}

fn weight(note: &CommandNote) -> Result<Weight, String> {
    let bps = note.weight_bps.ok_or("set-weight needs weightBps")?;
    Weight::try_from_bps(bps).map_err(|error| error.to_string())
}

/// Returns the plan that a command brings along.
fn own_plan(note: &CommandNote) -> Result<Option<String>, String> {
    let Some(rollout) = &note.rollout else {
        return Ok(None);
    };
    read_plan(&rollout.to_string()).map(Some)
}

/// Returns the plan that moves all traffic in one step, unjudged.
fn at_once() -> Result<String, String> {
    read_plan(r#"{"steps": ["100%"], "hold": "0s", "guards": "none"}"#)
}

fn read_plan(text: &str) -> Result<String, String> {
    let plan = file::parse_rollout(text).map_err(|problems| {
        let problems = problems.iter();
        let all: Vec<String> = problems
            .map(|problem| format!("{}: {}", problem.path, problem.message))
            .collect();
        all.join("; ")
    })?;
    serde_json::to_string(&plan).map_err(|error| error.to_string())
}

/// Returns an id for a command that has none, so that it is refused once.
fn unreadable(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let begin = digest.iter().take(4);
    let hash: String = begin.map(|byte| format!("{byte:02x}")).collect();
    format!("unreadable-{hash}")
}
