//! Rollouts on Kubernetes without a controller: the same loop in this terminal, which any other can take up.
//!
//! What goes on is told on stderr. The first ^C leaves the rollout where it is: traffic stays split as it is, and nobody judges it until
//! a terminal goes on. The second one does not wait for what is being written.

use std::{io::Write, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use haldane_api::{
    http::{CommandName, CommandRequest},
    release::{SECRETS_DIR, Stage, Status},
};
use haldane_controller::{
    client::{Access, Carried, Cluster, TerminalError},
    host::{Ports, Progress},
    terminal::Terminal,
};
use jiff::Timestamp;
use serde::Serialize;
use tokio::{
    runtime::Handle,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use super::{
    exit::{Exit, UsageError, talk},
    globals::Globals,
    home::HomeError,
    result,
    subject::Subject,
    words::clean,
};
use crate::wire::{asker::ClusterAsker, meter::ClusterMeter};

/// How often it is looked who has the lease.
const LOOK: Duration = Duration::from_secs(2);

/// How long the lease of one who died is waited for: it lasts 15 s, and is looked at every 2 s.
const LEASE_MAX: Duration = Duration::from_secs(45);

/// What a terminal is to bring to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The rollout, whatever comes of it.
    Rollout {
        /// Whether it was noted just now, so that what keeps it from beginning ends it.
        is_new: bool,
    },
    /// The way back.
    Abort,
}

/// How a rollout ended.
#[derive(Debug, Serialize)]
struct Ended {
    rollout: Option<String>,
    phase: String,
    message: String,
}

/// What a terminal came to.
enum Came {
    /// The end; with what kept it from beginning, if something did.
    Over(Box<Status>, Option<String>),
    /// Somebody asked it to stop.
    Stopped,
}

/// Both ways in which a person says that it is enough.
struct Enough {
    interrupt: Signal,
    terminate: Signal,
}

/// Finds the cluster.
pub(crate) async fn connect(access: &Access) -> Result<Cluster, HomeError> {
    Ok(Cluster::connect(access, Timestamp::now).await?)
}

/// Says what kind of failure a reason is.
pub(crate) fn usage(error: TerminalError) -> anyhow::Error {
    match error {
        TerminalError::Usage(text) => UsageError(text).into(),
        TerminalError::Cluster(error) => HomeError::from(error).into(),
        TerminalError::Release(_) | TerminalError::Claimed { .. } | TerminalError::GoesOn(_) => {
            error.into()
        }
    }
}

/// Carries `resume` or `abort` out for a release that no terminal looks after; `None` where somebody does, or a controller.
pub(crate) async fn steer(
    subject: &Subject,
    request: &CommandRequest,
    access: &Access,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Option<Exit>> {
    let cluster = connect(access).await?;
    let named = subject.namespace.as_deref();
    let namespace = named.unwrap_or_else(|| cluster.namespace());
    if cluster
        .has_release(namespace, &subject.name)
        .await
        .map_err(HomeError::from)?
    {
        return Ok(None);
    }
    let carried = cluster.carried(namespace, &subject.name).await;
    let Some(carried) = carried.map_err(HomeError::from)? else {
        return Ok(None);
    };
    let attended = cluster.is_attended(namespace, &subject.name).await;
    if carried.stage == Stage::Over || attended.map_err(HomeError::from)? {
        return Ok(None);
    }
    let ending = if request.command == CommandName::Abort {
        if carried.is_live {
            let given = cluster.annotate_command(&carried, request).await;
            given.map_err(HomeError::from)?;
        } else {
            cluster.give_up(&carried).await.map_err(HomeError::from)?;
        }
        Ending::Abort
    } else {
        Ending::Rollout { is_new: false }
    };
    let exit = go_on(&cluster, access, &carried, ending, globals, out).await?;
    Ok(Some(exit))
}

/// Goes on with a release until its end, or until somebody says that it is enough.
pub(crate) async fn go_on(
    cluster: &Cluster,
    access: &Access,
    carried: &Carried,
    ending: Ending,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let mut enough = Enough::listen()?;
    let runtime = Handle::current();
    let ports = Ports {
        meter: Arc::new(ClusterMeter::new(&runtime, PathBuf::from(SECRETS_DIR))),
        asker: Arc::new(ClusterAsker::new(&runtime)),
    };
    let terminal = Terminal::connect(access, carried, ports).await?;
    let own = terminal.identity().to_owned();
    let (mut leading, mut progress) = (terminal.leading(), terminal.progress());
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(terminal.run(stop.clone()));
    let came = tokio::select! {
        came = async {
            lead((cluster, carried), &own, &mut leading).await?;
            bring((cluster, carried), ending, &mut progress).await
        } => came,
        () = enough.said() => Ok(Came::Stopped),
    };
    if matches!(came, Ok(Came::Stopped)) {
        let name = &carried.name;
        talk(&format!(
            "{name} stands where it is: traffic stays split, and nobody judges it. `haldane resume {name} --kube` goes on, `haldane abort {name} --kube` goes back; again ^C: don't wait for what is being written"
        ));
    }
    stop.cancel();
    tokio::select! {
        _ = tasks.join_next() => {}
        () = enough.said() => {}
    }
    match came? {
        Came::Stopped => Ok(Exit::Failed),
        Came::Over(status, refused) => tell_end(&status, refused, ending, globals, out),
    }
}

/// Waits for the end.
async fn bring(
    (cluster, carried): (&Cluster, &Carried),
    ending: Ending,
    progress: &mut watch::Receiver<Progress>,
) -> anyhow::Result<Came> {
    let mut told = String::new();
    let (mut refused, mut was_live) = (None, false);
    loop {
        let now = progress.borrow_and_update().clone();
        if let Some(problem) = &now.problem {
            anyhow::bail!("{}: {problem}", carried.name);
        }
        if now.stage == Some(Stage::Over) {
            return Ok(Came::Over(
                Box::new(now.status),
                refused.filter(|_| !was_live),
            ));
        }
        was_live |= now.is_live;
        let line = format!("{}: {}", now.status.phase, clean(&now.status.message));
        if !now.status.phase.is_empty() && line != told {
            talk(&line);
            told = line;
        }
        // Nor does it keep somebody from the way back.
        let is_impatient = ending != Ending::Rollout { is_new: false };
        if is_impatient && refused.is_none() && !now.is_live && now.stage != Some(Stage::Leaving) {
            refused = hindrance(&now.status);
            if refused.is_some() {
                cluster.give_up(carried).await.map_err(HomeError::from)?;
            }
        }
        progress
            .changed()
            .await
            .context("the rollout's loop ended")?;
    }
}

/// Waits until this terminal is the one that writes; one that another looks after is left to that.
async fn lead(
    (cluster, carried): (&Cluster, &Carried),
    own: &str,
    leading: &mut watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let namespace = &carried.target.namespace;
    let end = Instant::now() + LEASE_MAX;
    let mut first = None;
    while !*leading.borrow_and_update() {
        let holder = cluster.holder(namespace, &carried.name).await;
        // Who has just got it hears of that a moment after the cluster shows it.
        let other = holder.map_err(HomeError::from)?;
        if let Some(holder) = other.filter(|holder| holder.identity != own) {
            match &first {
                None => {
                    talk(&format!(
                        "waits for {}, who looked after it last; if nothing is heard from there, it takes some 20 s",
                        holder.identity
                    ));
                    first = Some(holder);
                }
                Some(before) if *before != holder => {
                    anyhow::bail!("{} looks after it from another terminal", holder.identity);
                }
                Some(_) => {}
            }
        }
        anyhow::ensure!(
            Instant::now() < end,
            "the lease was not got within {} s",
            LEASE_MAX.as_secs()
        );
        tokio::select! {
            changed = leading.changed() => changed.context("the rollout's loop ended")?,
            () = time::sleep(LOOK) => {}
        }
    }
    Ok(())
}

/// Returns what keeps a rollout from beginning that does not pass by itself.
fn hindrance(status: &Status) -> Option<String> {
    let stalled = status
        .conditions
        .iter()
        .find(|one| one.r#type == "Stalled")?;
    // What became of the last rollout keeps nobody from the next one.
    let is_past = ["RolledBack", "Failed"].contains(&stalled.reason.as_str());
    (stalled.status == "True" && !is_past).then(|| stalled.message.clone())
}

fn tell_end(
    status: &Status,
    refused: Option<String>,
    ending: Ending,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    if let Some(why) = refused.filter(|_| ending != Ending::Abort) {
        anyhow::bail!("{why}; nothing was changed");
    }
    let last = status.history.first();
    let ended = Ended {
        rollout: last.map(|past| past.rollout.clone()),
        phase: last.map_or_else(|| "Idle".to_owned(), |past| past.phase.clone()),
        message: last.map_or_else(
            || "no rollout began".to_owned(),
            |past| past.message.clone(),
        ),
    };
    result::write(globals, out, &ended, |out| {
        let name = ended.rollout.as_deref().unwrap_or("the release");
        Ok(writeln!(
            out,
            "{name}: {}: {}",
            ended.phase,
            clean(&ended.message)
        )?)
    })?;
    Ok(match (ended.phase.as_str(), ending) {
        ("Completed", Ending::Rollout { .. }) | ("RolledBack" | "Idle", Ending::Abort) => {
            Exit::Done
        }
        ("RolledBack" | "Idle", Ending::Rollout { .. }) => Exit::Aborted,
        _ => Exit::Failed,
    })
}

impl Enough {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("listening for SIGINT")?,
            terminate: signal(SignalKind::terminate()).context("listening for SIGTERM")?,
        })
    }

    /// Waits until it is said once more.
    async fn said(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
