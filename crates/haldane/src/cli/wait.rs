//! Waiting for the end of a rollout, for scripts.

use std::{io::Write, time::Duration};

use anyhow::Context;
use haldane_api::{
    http::{Answer, RolloutHistory, RolloutView, ServiceView},
    text::{TextError, parse_duration},
};
use haldane_core::{RolloutId, VersionName};
use serde::Serialize;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    exit::{Exit, talk},
    globals::Globals,
    home::{Followed, Home, HomeError, Seen},
    result,
    subject::Subject,
    words::clean,
};

/// How long the daemon may be away before waiting for it is given up: it may be started again meanwhile.
const LOST_MAX: Duration = Duration::from_secs(60);

/// The longest wait where none is given; longer than any plan's own deadlines add up to in practice.
const WAIT_MAX: Duration = Duration::from_hours(366 * 24);

/// How long the controller may take to begin a rollout.
const BEGIN_MAX: Duration = Duration::from_secs(30);

/// What stands for a phase while the rollout has not begun.
const QUEUED: &str = "Queued";

/// What stands for a phase where the rollout never begins.
const REPLACED: &str = "Replaced";

/// Whether and how long to wait.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct WaitArgs {
    /// Wait until the rollout is over (exit code 0 promoted, 3 rolled back, 1 failed) or waits for a person (5)
    #[arg(long)]
    wait: bool,
    /// With --wait: how long to wait at most, such as 30m (exit code 4); by default as long as it takes
    #[arg(long, value_name = "TIME", value_parser = time, requires = "wait")]
    timeout: Option<Duration>,
}

impl WaitArgs {
    /// Whether it is to be waited.
    pub(crate) const fn is_given(&self) -> bool {
        self.wait
    }

    /// Whether the wait is limited.
    pub(crate) const fn is_limited(&self) -> bool {
        self.timeout.is_some()
    }
}

/// Where a rollout stood when the wait ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Standing {
    /// `None` while it has not begun.
    rollout: Option<RolloutId>,
    phase: String,
    message: String,
    /// Whether it goes on only when a person says so; a pause for a window ends by itself.
    #[serde(rename = "waitsForPerson")]
    waits_for_person: bool,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Awaited {
    /// A rollout.
    Rollout(RolloutId),
    /// The next rollout, other than this one, which must have begun by then.
    Next(Option<RolloutId>, Instant),
    /// The rollout of a version that begins when another one has ended.
    Version(VersionName),
}

/// Tells what became of a request that begins a rollout, and waits for the rollout's end if that was asked for.
pub(crate) async fn finish(
    service: &Subject,
    answer: &Answer,
    args: &WaitArgs,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    if !args.wait {
        result::write_answer(globals, out, answer)?;
        return Ok(Exit::Done);
    }
    for message in &answer.messages {
        talk(&clean(message));
    }
    let home = globals.home().await?;
    let awaited = match &answer.rollout {
        Some(id) => Awaited::Rollout(id.clone()),
        None => next_version(&*home, service).await?,
    };
    end_of(&*home, service, awaited, args, globals, out).await
}

/// Waits for the end of the rollout that is to begin after `before`, if that was asked for.
pub(crate) async fn finish_next(
    home: &dyn Home,
    (service, before): (&Subject, Option<RolloutId>),
    args: &WaitArgs,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    if !args.wait {
        return Ok(Exit::Done);
    }
    let awaited = Awaited::Next(before, Instant::now() + BEGIN_MAX);
    end_of(home, service, awaited, args, globals, out).await
}

async fn end_of(
    home: &dyn Home,
    service: &Subject,
    awaited: Awaited,
    args: &WaitArgs,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let limit = args.timeout.unwrap_or(WAIT_MAX);
    let (exit, standing) = tokio::select! {
        ended = wait(home, service, awaited, limit) => ended?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("listening for SIGINT")?;
            talk(&format!("interrupted; the rollout goes on: `haldane status {service}`"));
            return Ok(Exit::Failed);
        }
    };
    result::write(globals, out, &standing, |out| {
        let Standing {
            rollout,
            phase,
            message,
            waits_for_person: _,
        } = &standing;
        let name = rollout
            .as_ref()
            .map_or(service.name.as_str(), RolloutId::as_str);
        Ok(writeln!(out, "{name}: {phase}: {}", clean(message))?)
    })?;
    Ok(exit)
}

/// Returns what an answer without a rollout means: the version that is queued, or that of the rollout that began meanwhile.
async fn next_version(home: &dyn Home, service: &Subject) -> anyhow::Result<Awaited> {
    let view = home.service(service).await?;
    let version = view
        .queued
        .or_else(|| view.rollout.map(|rollout| rollout.canary));
    let version = version.context("there is no rollout to wait for")?;
    Ok(Awaited::Version(version))
}

async fn wait(
    home: &dyn Home,
    service: &Subject,
    mut awaited: Awaited,
    limit: Duration,
) -> anyhow::Result<(Exit, Standing)> {
    let mut tasks = JoinSet::new();
    let mut seen = home.follow(Followed::One(service.clone()), &mut tasks);
    let end = Instant::now().checked_add(limit);
    let end = end.unwrap_or_else(|| Instant::now() + WAIT_MAX);
    let mut standing = Standing::unknown();
    let mut lost: Option<Instant> = None;
    while let Some(next) = next_until(&mut seen, awaited.end().map_or(end, |by| by.min(end))).await
    {
        let found = match next {
            Seen::Lost(error) => Err(error),
            Seen::Service(view) => look(home, service, &mut awaited, &view).await,
        };
        match found {
            Err(error) => {
                let since = *lost.get_or_insert_with(|| {
                    talk(&format!("{error}; waiting for it"));
                    Instant::now()
                });
                if error.is_final() || since.elapsed() > LOST_MAX {
                    return Err(error.into());
                }
            }
            Ok(now) => {
                lost = None;
                let exit = now.exit();
                if now != standing {
                    standing = now;
                    if exit.is_none() {
                        talk(&format!("{}: {}", standing.phase, clean(&standing.message)));
                    }
                }
                if let Some(exit) = exit {
                    return Ok((exit, standing));
                }
            }
        }
    }
    if awaited.end().is_some_and(|by| by <= Instant::now()) {
        standing = Standing::not_begun();
    }
    Ok((Exit::TimedOut, standing))
}

/// Looks where what is awaited stands. A version becomes its rollout as soon as that has begun, so that the rollout is found in the
/// history even when the next one has taken its place.
async fn look(
    home: &dyn Home,
    service: &Subject,
    awaited: &mut Awaited,
    view: &ServiceView,
) -> Result<Standing, HomeError> {
    if let Awaited::Next(before, _) = awaited {
        match &view.rollout {
            Some(rollout) if Some(&rollout.id) != before.as_ref() => {
                *awaited = Awaited::Rollout(rollout.id.clone());
            }
            Some(_) | None => return Ok(Standing::unknown()),
        }
    }
    if let Awaited::Version(version) = awaited {
        if view.queued.as_ref() == Some(version) {
            return Ok(Standing::queued(version));
        }
        match &view.rollout {
            Some(rollout) if rollout.canary == *version => {
                *awaited = Awaited::Rollout(rollout.id.clone());
            }
            Some(_) | None => return Ok(Standing::replaced(version)),
        }
    }
    let Awaited::Rollout(id) = awaited else {
        return Ok(Standing::unknown());
    };
    match &view.rollout {
        Some(rollout) if rollout.id == *id => Ok(Standing::of_view(rollout)),
        Some(_) | None => {
            let history = home.rollout(service, id).await?;
            Ok(Standing::of_history(history))
        }
    }
}

async fn next_until(seen: &mut mpsc::Receiver<Seen>, end: Instant) -> Option<Seen> {
    tokio::select! {
        next = seen.recv() => next,
        () = sleep_until(end) => None,
    }
}

impl Awaited {
    /// Returns until when it must have begun, where that has not been seen yet.
    const fn end(&self) -> Option<Instant> {
        match self {
            Self::Next(_, by) => Some(*by),
            Self::Rollout(_) | Self::Version(_) => None,
        }
    }
}

impl Standing {
    fn new(phase: &str, message: String) -> Self {
        Self {
            rollout: None,
            phase: phase.to_owned(),
            message,
            waits_for_person: false,
        }
    }

    fn unknown() -> Self {
        Self::new("Unknown", "nothing was heard of it".to_owned())
    }

    fn queued(version: &VersionName) -> Self {
        let message = format!("{version} begins when the rollout that goes on has ended");
        Self::new(QUEUED, message)
    }

    fn not_begun() -> Self {
        let seconds = BEGIN_MAX.as_secs();
        let message = format!(
            "no controller has begun a rollout within {seconds} s; does one run? `haldane doctor --kube` tells"
        );
        Self::new(QUEUED, message)
    }

    fn replaced(version: &VersionName) -> Self {
        let message = format!("{version} was replaced before it began");
        Self::new(REPLACED, message)
    }

    fn of_view(view: &RolloutView) -> Self {
        Self {
            rollout: Some(view.id.clone()),
            phase: view.phase.clone(),
            message: view.message.clone(),
            waits_for_person: view.waits_for_person,
        }
    }

    fn of_history(history: RolloutHistory) -> Self {
        Self {
            rollout: Some(history.id),
            waits_for_person: history.phase == "Paused",
            phase: history.phase,
            message: history.message,
        }
    }

    /// Returns how the wait ends here, if it does.
    fn exit(&self) -> Option<Exit> {
        match self.phase.as_str() {
            "Completed" => Some(Exit::Done),
            "RolledBack" | REPLACED => Some(Exit::Aborted),
            "Failed" => Some(Exit::Failed),
            _ => self.waits_for_person.then_some(Exit::Waiting),
        }
    }
}

fn time(text: &str) -> Result<Duration, TextError> {
    parse_duration(text)
}
