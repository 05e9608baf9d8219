//! Waiting for the end of a rollout, for scripts.

use std::{io::Write, time::Duration};

use haldane_api::{
    http::{Answer, RolloutHistory, RolloutView},
    text::{TextError, parse_duration},
};
use haldane_core::{RolloutId, ServiceName};
use serde::Serialize;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    client::{Client, ClientError, Seen, follow},
    exit::{Exit, talk},
    globals::Globals,
    result,
    words::clean,
};

/// How long the daemon may be away before waiting for it is given up: it may be started again meanwhile.
const LOST_MAX: Duration = Duration::from_secs(60);

/// The longest wait where none is given; longer than any plan's own deadlines add up to in practice.
const WAIT_MAX: Duration = Duration::from_hours(366 * 24);

/// Whether and how long to wait.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct WaitArgs {
    /// Wait until the rollout is over (exit code 0 promoted, 3 rolled back, 1 failed) or waits for a person (5)
    #[arg(long, env = "HALDANE_WAIT")]
    wait: bool,
    /// With --wait: how long to wait at most, such as 30m (exit code 4)
    #[arg(long, value_name = "TIME", value_parser = time, requires = "wait", env = "HALDANE_TIMEOUT")]
    timeout: Option<Duration>,
}

/// Where a rollout stood when the wait ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Standing {
    rollout: RolloutId,
    phase: String,
    message: String,
}

/// Tells what became of a request that begins a rollout, and waits for the rollout's end if that was asked for.
pub(crate) async fn finish(
    service: &ServiceName,
    answer: &Answer,
    args: &WaitArgs,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let Some(id) = answer.rollout.as_ref().filter(|_| args.wait) else {
        result::write_answer(globals, out, answer)?;
        return Ok(Exit::Done);
    };
    for message in &answer.messages {
        talk(&clean(message));
    }
    let limit = args.timeout.unwrap_or(WAIT_MAX);
    let (exit, standing) = wait(&globals.client(), service, id, limit).await?;
    result::write(globals, out, &standing, |out| {
        let Standing { rollout, phase, message } = &standing;
        Ok(writeln!(out, "{rollout}: {phase}: {}", clean(message))?)
    })?;
    Ok(exit)
}

async fn wait(
    client: &Client,
    service: &ServiceName,
    id: &RolloutId,
    limit: Duration,
) -> anyhow::Result<(Exit, Standing)> {
    let mut tasks = JoinSet::new();
    let mut seen = follow(client, format!("/v1/events?service={service}"), &mut tasks);
    let end = Instant::now().checked_add(limit);
    let end = end.unwrap_or_else(|| Instant::now() + WAIT_MAX);
    let message = "nothing was heard of it".to_owned();
    let mut standing = Standing { rollout: id.clone(), phase: "Unknown".to_owned(), message };
    let mut lost: Option<Instant> = None;
    while let Some(next) = next_until(&mut seen, end).await {
        match next {
            Seen::Lost(error) => {
                let since = *lost.get_or_insert_with(|| {
                    talk(&format!("{error}; waiting for it"));
                    Instant::now()
                });
                if is_final(&error) || since.elapsed() > LOST_MAX {
                    return Err(error.into());
                }
            }
            Seen::Service(view) => {
                lost = None;
                let Some(rollout) = view.rollout else { continue };
                let (exit, now) = if rollout.id == *id {
                    (exit_of_view(&rollout), Standing::of_view(&rollout))
                } else {
                    let history: RolloutHistory = client.get(&format!("/v1/rollouts/{id}")).await?;
                    (exit_of_phase(&history.phase), Standing::of_history(history))
                };
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
    Ok((Exit::TimedOut, standing))
}

async fn next_until(seen: &mut mpsc::Receiver<Seen>, end: Instant) -> Option<Seen> {
    tokio::select! {
        next = seen.recv() => next,
        () = sleep_until(end) => None,
    }
}

/// Whether trying again can't help.
fn is_final(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { status, .. } => status.is_client_error(),
        ClientError::Denied { .. } | ClientError::Unreadable(_) => true,
        ClientError::NoDaemon { .. }
        | ClientError::Connect { .. }
        | ClientError::Broken(_)
        | ClientError::TimedOut(_) => false,
    }
}

impl Standing {
    fn of_view(view: &RolloutView) -> Self {
        Self { rollout: view.id.clone(), phase: view.phase.clone(), message: view.message.clone() }
    }

    fn of_history(history: RolloutHistory) -> Self {
        Self { rollout: history.id, phase: history.phase, message: history.message }
    }
}

/// Returns how the wait ends here, if it ends.
fn exit_of_view(rollout: &RolloutView) -> Option<Exit> {
    exit_of_phase(&rollout.phase)
}

fn exit_of_phase(phase: &str) -> Option<Exit> {
    match phase {
        "Completed" => Some(Exit::Done),
        "RolledBack" => Some(Exit::Aborted),
        "Failed" => Some(Exit::Failed),
        "Paused" => Some(Exit::Waiting),
        _ => None,
    }
}

fn time(text: &str) -> Result<Duration, TextError> {
    parse_duration(text)
}
