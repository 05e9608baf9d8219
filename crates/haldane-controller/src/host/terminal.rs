//! The host of one release that is kept on a workload, while a terminal rolls it out.
//!
//! It gives the workload for a `Release` to the usual host, and what that wants written of the `Release` to the workload. It adds one
//! thing that otherwise a person does: when stable is held, the new image is put into the workload.

use haldane_api::release::{Image, Stage, Status, Terminal};
use haldane_core::rollout::Actor;
use haldane_router::{Kind, ObjectRef};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use super::{
    Ports, ReleaseHost,
    command::{REASON_CHARS_MAX, WHO_CHARS_MAX},
    record::Record,
    release::{Home, Release},
};
use crate::{
    carrier::{self, Carrier},
    kinds::DEPLOYMENT,
    turn::{Host, Key, Seen, Sight, Then, Turn, Urgency, What, Write},
};

/// Where a release stands that a terminal rolls out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What is kept; `None` before it was seen, and when the workload or what is kept on it is gone.
    pub stage: Option<Stage>,
    /// Its status.
    pub status: Status,
    /// Whether a rollout goes on.
    pub is_live: bool,
    /// What keeps it from being kept or read.
    pub problem: Option<String>,
}

/// The host of one release that is kept on a workload.
#[derive(Debug)]
pub struct TerminalHost {
    inner: ReleaseHost,
    carrier: ObjectRef,
    key: Key,
    progress: watch::Sender<Progress>,
}

impl TerminalHost {
    /// Returns the host of the release of this name on a workload, and where it stands from then on.
    #[must_use]
    pub fn new(ports: Ports, carrier: ObjectRef, name: &str) -> (Self, watch::Receiver<Progress>) {
        let (progress, rx) = watch::channel(Progress::default());
        let host = Self {
            inner: ReleaseHost::new(ports),
            key: Key {
                namespace: carrier.namespace.clone(),
                name: name.to_owned(),
            },
            carrier,
            progress,
        };
        (host, rx)
    }

    fn tell(&self, progress: Progress) {
        self.progress.send_if_modified(|before| {
            let is_news = *before != progress;
            *before = progress;
            is_news
        });
    }

    fn tell_problem(&self, problem: String) {
        self.progress.send_if_modified(|progress| {
            let is_news = progress.problem.as_ref() != Some(&problem);
            progress.problem = Some(problem);
            is_news
        });
    }

    fn carried(&self, carrier: &Carrier, sight: &dyn Sight, now: Timestamp) -> Turn {
        let record = carrier.status().record;
        let record = record.and_then(|text| Record::read(&text).ok());
        let is_live = record.as_ref().is_some_and(|record| record.live.is_some());
        self.tell(Progress {
            stage: Some(carrier.terminal.stage),
            status: carrier.status(),
            is_live,
            problem: None,
        });
        let stage = carrier.terminal.stage;
        let trial = trial(carrier, sight);
        let home = Home::Carried {
            by: carrier.target.clone(),
            actor: actor(&carrier.terminal),
            is_offered: stage != Stage::Holding,
            is_put: trial.as_ref().is_some_and(|trial| trial.is_there),
        };
        let release = Release::carried(carrier.release(), &self.key, home);
        // What others have was looked at before it began; from then on they see that a terminal has it.
        let mut turn = self.inner.turn_of(&self.key, release, None, sight, now);
        let is_held = record.is_some_and(|record| record.stable.is_some());
        let mut next = None;
        if stage == Stage::Holding && is_held && turn.writes.is_empty() {
            // Of a pair it is another object, and is seen there first.
            let trial = trial.filter(|trial| trial.is_there || trial.write.is_some());
            next = trial
                .as_ref()
                .filter(|trial| trial.is_there || trial.target == carrier.target)
                .map(|_| Stage::Going);
            turn.then = trial.as_ref().map_or(turn.then, |_| Then::Again);
            turn.writes.extend(trial.and_then(|trial| trial.write));
        }
        match carrier.carry(std::mem::take(&mut turn.writes), next) {
            Ok(writes) => turn.writes = writes,
            Err(no_room) => {
                self.tell_problem(no_room.to_string());
                // Nothing that follows can be kept: only a change of the objects helps.
                turn.then = Then::OnChange;
                turn.events.clear();
            }
        }
        turn
    }
}

impl Host for TerminalHost {
    fn kind(&self) -> &'static Kind {
        self.carrier.kind
    }

    fn kinds(&self) -> Vec<&'static Kind> {
        self.inner.kinds()
    }

    fn turn(&self, key: &Key, sight: &dyn Sight, now: Timestamp) -> Turn {
        let Seen::Found(object) = sight.get(&self.carrier) else {
            return Turn::default();
        };
        // All workloads of the namespace are seen; one of them is ours.
        if key.name != self.carrier.name {
            return Turn::default();
        }
        let mut turn = match Carrier::read(self.carrier.kind, object) {
            Some(Ok(carrier)) if carrier.terminal.stage == Stage::Over => {
                self.inner.forget(&self.key);
                self.tell(Progress {
                    stage: Some(Stage::Over),
                    status: carrier.status(),
                    is_live: false,
                    problem: None,
                });
                Turn::default()
            }
            Some(Ok(carrier)) => self.carried(&carrier, sight, now),
            Some(Err(error)) => {
                self.tell_problem(error.to_string());
                Turn::default()
            }
            None => {
                self.tell(Progress {
                    problem: Some(format!("{} carries no rollout any more", self.carrier)),
                    ..Progress::default()
                });
                Turn::default()
            }
        };
        turn.reads.insert(self.carrier.clone());
        turn
    }

    fn forget(&self, key: &Key) {
        if key.name == self.carrier.name {
            self.inner.forget(&self.key);
            self.tell(Progress {
                problem: Some(format!("{} was deleted", self.carrier)),
                ..Progress::default()
            });
        }
    }
}

/// Returns who wants it, and why, as it is told.
fn actor(terminal: &Terminal) -> Actor {
    let short = |text: &str, chars_max| text.chars().take(chars_max).collect();
    Actor {
        name: short(&terminal.by, WHO_CHARS_MAX),
        reason: terminal
            .reason
            .as_ref()
            .map(|text| short(text, REASON_CHARS_MAX)),
    }
}

/// Returns the record of a release that begins, so that its rollouts go on counting from those that its workload remembers.
pub(crate) fn first_record(status: &Status) -> String {
    let number = |id: &String| id.rsplit_once('-')?.1.parse::<u64>().ok();
    let past = status.history.iter().filter_map(|one| number(&one.rollout));
    Record {
        next_number: past.max().unwrap_or(0).saturating_add(1),
        ..Record::new()
    }
    .to_text()
}

/// Whether a status tells of a rollout that goes on.
pub(crate) fn is_live(status: &Status) -> bool {
    let record = status.record.as_deref().map(Record::read);
    record.is_some_and(|record| record.is_ok_and(|record| record.live.is_some()))
}

/// The image that is put on trial.
struct Trial {
    /// The workload that gets it: of a pair the canary's own.
    target: ObjectRef,
    /// Whether it is in the workload already.
    is_there: bool,
    /// What puts it there.
    write: Option<Write>,
}

fn trial(carrier: &Carrier, sight: &dyn Sight) -> Option<Trial> {
    let image = carrier.terminal.image.as_ref()?;
    let target = trial_target(carrier);
    let Seen::Found(object) = sight.get(&target) else {
        return None;
    };
    let is_there = carrier::has_image(&object, image);
    let write = (!is_there).then(|| put_image(&target, &object, image));
    Some(Trial {
        is_there,
        write: write.flatten(),
        target,
    })
}

/// Returns the workload that gets the new image.
fn trial_target(carrier: &Carrier) -> ObjectRef {
    match carrier.terminal.spec.workload.pairs.first() {
        Some(pair) => DEPLOYMENT.named(&carrier.target.namespace, &pair.canary),
        None => carrier.target.clone(),
    }
}

fn put_image(target: &ObjectRef, object: &Value, image: &Image) -> Option<Write> {
    Some(Write {
        target: target.clone(),
        what: What::Merge {
            patch: carrier::image_patch(object, image)?,
            resource_version: super::json::resource_version(object),
        },
        urgency: Urgency::Rest,
    })
}
