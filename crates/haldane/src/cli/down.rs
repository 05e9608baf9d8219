//! `haldane down`: drains and stops everything that the daemon started, and the daemon itself.

use std::{io::Write, time::Duration};

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
    let answer: Answer = client
        .post_within("/v1/down", &json!({}), DOWN_TIMEOUT)
        .await?;
    result::write_answer(globals, out, &answer)?;
    out.flush()?;
    if timeout(DOWN_TIMEOUT, gone(&client)).await.is_err() {
        talk("the daemon is still there; see what it waits for with `haldane get`");
        return Ok(Exit::TimedOut);
    }
    Ok(Exit::Done)
}

async fn gone(client: &Client) {
    loop {
        let answer = client.get::<DaemonView>("/v1/daemon").await;
        if matches!(answer, Err(ClientError::NoDaemon { .. })) {
            return;
        }
        sleep(LOOK_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::{Daemon, Reply};

    #[tokio::test]
    async fn the_command_ends_when_the_daemon_has() {
        let answer = json!({ "messages": ["stopping"], "rollout": null, "isDurable": true });
        let daemon = Daemon::start([("POST /v1/down", Reply::json(200, &answer))]);
        let globals = daemon.globals();
        let mut out = Vec::new();
        let ends = async {
            // The command has its answer when it looks for the daemon a second time.
            while daemon.asked().len() < 3 {
                tokio::task::yield_now().await;
            }
            drop(daemon);
        };
        let (exit, ()) = tokio::join!(run(&globals, &mut out), ends);
        assert_eq!(exit.unwrap(), Exit::Done);
        assert_eq!(String::from_utf8(out).unwrap(), "stopping\n");
    }
}
