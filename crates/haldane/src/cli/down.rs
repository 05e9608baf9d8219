//! `haldane down`: drains and stops everything that the daemon started, and the daemon itself.

use std::{fs, io::Write, time::Duration};

use haldane_api::http::{Answer, DaemonView};
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::{
    client::{Client, ClientError},
    exit::{Exit, talk},
    globals::Globals,
    result,
};

/// Draining has a deadline in each service's plan; with many services and slow processes it adds up.
const DOWN_TIMEOUT: Duration = Duration::from_mins(10);

/// How often to look whether the daemon is gone.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Runs the command; it ends when the daemon is gone.
pub(crate) async fn run(globals: &Globals, out: &mut impl Write) -> anyhow::Result<Exit> {
    let client = globals.client();
    // Its socket goes before the process does.
    let pid = client.get::<DaemonView>("/v1/daemon").await?.pid;
    let answer: Answer = client
        .post_within("/v1/down", &json!({}), DOWN_TIMEOUT)
        .await?;
    result::write_answer(globals, out, &answer)?;
    out.flush()?;
    if timeout(DOWN_TIMEOUT, gone(&client, pid)).await.is_err() {
        talk("the daemon is still there; see what it waits for with `haldane get`");
        return Ok(Exit::TimedOut);
    }
    Ok(Exit::Done)
}

async fn gone(client: &Client, pid: u32) {
    loop {
        let answer = client.get::<DaemonView>("/v1/daemon").await;
        if matches!(answer, Err(ClientError::NoDaemon { .. })) && has_ended(pid) {
            return;
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Whether a process is gone, or only waits for its parent to notice.
fn has_ended(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_some_and(|rest| rest.starts_with('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::{Daemon, Reply};

    #[tokio::test]
    async fn the_command_ends_when_the_daemon_has() {
        let answer = json!({ "messages": ["stopping"], "rollout": null, "isDurable": true });
        // A process id that is surely none.
        let view = json!({ "version": "1", "pid": u32::MAX, "startedAt": "2026-11-21T12:00:00Z", "dataDir": "/d", "storeFault": null });
        let daemon = Daemon::start([
            ("GET /v1/daemon", Reply::json(200, &view)),
            ("POST /v1/down", Reply::json(200, &answer)),
        ]);
        let globals = daemon.globals();
        let mut out = Vec::new();
        let ends = async {
            // The command has its answer when it looks for the daemon again and again.
            while daemon.asked().len() < 4 {
                tokio::task::yield_now().await;
            }
            drop(daemon);
        };
        let (exit, ()) = tokio::join!(run(&globals, &mut out), ends);
        assert_eq!(exit.unwrap(), Exit::Done);
        assert_eq!(String::from_utf8(out).unwrap(), "stopping\n");
    }

    #[test]
    fn a_process_that_runs_has_not_ended() {
        assert!(!has_ended(std::process::id()));
        assert!(has_ended(u32::MAX));
    }
}
