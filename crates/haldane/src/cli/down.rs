//! `haldane down`: drains and stops everything that the daemon started, and the daemon itself.

use std::{io::Write, time::Duration};

use haldane_api::http::Answer;
use serde_json::json;

use super::{exit::Exit, globals::Globals, result};

/// Draining has a deadline in each service's plan; with many services and slow processes it adds up.
const DOWN_TIMEOUT: Duration = Duration::from_mins(10);

/// Runs the command.
pub(crate) async fn run(globals: &Globals, out: &mut impl Write) -> anyhow::Result<Exit> {
    let answer: Answer = globals.client().post_within("/v1/down", &json!({}), DOWN_TIMEOUT).await?;
    result::write_answer(globals, out, &answer)?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::{Daemon, Reply};

    #[tokio::test]
    async fn the_daemon_is_asked_to_stop() {
        let answer = json!({ "messages": ["stopped auth v1"], "rollout": null, "isDurable": true });
        let daemon = Daemon::start([("POST /v1/down", Reply::json(200, &answer))]);
        let (exit, out) = daemon.run("down").await;
        assert_eq!((exit.unwrap(), out.as_str()), (Exit::Done, "stopped auth v1\n"));
    }
}
