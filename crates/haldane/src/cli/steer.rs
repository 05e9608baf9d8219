//! The commands that steer a rollout: `promote`, `pause`, `resume`, `abort`, `retry`, `undo`, `restart`, `set-weight`.
//!
//! They stand together because they are one request with one field changed.

use std::io::Write;

use haldane_api::http::{CommandName, CommandRequest, RolloutHistory};
use haldane_core::{VersionName, Weight};

use super::{
    deploy::PlanFlags,
    exit::{Exit, talk},
    globals::Globals,
    history::HISTORY_MAX,
    quantity, result,
    subject::Subject,
    terminal,
    wait::{self, WaitArgs},
    words::clean,
};

/// Whom a command is for, and why it is given.
#[derive(Debug, clap::Args)]
pub(crate) struct Target {
    /// The service, on Kubernetes the release: NAME or NS/NAME
    name: Subject,
    /// Why, for those who read the history later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Ends the current wait.
#[derive(Debug, clap::Args)]
pub(crate) struct PromoteArgs {
    #[command(flatten)]
    target: Target,
    /// Leave out all further steps and send all traffic to the canary
    #[arg(long)]
    full: bool,
    /// Only if this step (counted from 1) is still the current one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    step: Option<u32>,
}

/// Begins the last rollout again.
#[derive(Debug, clap::Args)]
pub(crate) struct RetryArgs {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    wait: WaitArgs,
    // The last, because its heading holds for all that follow.
    #[command(flatten)]
    plan: PlanFlags,
}

/// Goes back to an earlier version.
#[derive(Debug, clap::Args)]
pub(crate) struct UndoArgs {
    #[command(flatten)]
    target: Target,
    /// The version to go back to; by default the one before
    #[arg(long, value_name = "VERSION")]
    to: Option<VersionName>,
    #[command(flatten)]
    wait: WaitArgs,
    // The last, because its heading holds for all that follow.
    #[command(flatten)]
    plan: PlanFlags,
}

/// Sets the canary's share by hand.
#[derive(Debug, clap::Args)]
pub(crate) struct SetWeightArgs {
    #[command(flatten)]
    target: Target,
    /// The canary's share of traffic: percent such as 10% or 12.5%, or basis points such as 1250bps
    #[arg(value_parser = quantity::weight)]
    weight: Weight,
}

/// Runs `promote`.
pub(crate) async fn promote(
    args: &PromoteArgs,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let request = CommandRequest {
        step: args.step,
        full: args.full,
        ..plain(CommandName::Promote, &args.target, globals)
    };
    send(&args.target, &request, globals, out).await
}

/// Runs `pause`, `resume`, `abort` or `restart`, which have nothing to set.
pub(crate) async fn simple(
    command: CommandName,
    target: &Target,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let request = plain(command, target, globals);
    if let Some(access) = &globals.access
        && matches!(command, CommandName::Resume | CommandName::Abort)
        && let Some(exit) = terminal::steer(&target.name, &request, access, globals, out).await?
    {
        return Ok(exit);
    }
    send(target, &request, globals, out).await
}

/// Runs `retry`.
pub(crate) async fn retry(
    args: &RetryArgs,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let plain = plain(CommandName::Retry, &args.target, globals);
    let request = CommandRequest {
        rollout: args.plan.rollout(),
        ..plain
    };
    begin(&args.target, &request, &args.wait, globals, out).await
}

/// Runs `undo`.
pub(crate) async fn undo(
    args: &UndoArgs,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let plain = plain(CommandName::Undo, &args.target, globals);
    let request = CommandRequest {
        to: args.to.clone(),
        rollout: args.plan.rollout(),
        ..plain
    };
    if let Some(version) = &args.to {
        let home = globals.home().await?;
        // A history that can't be read is no reason not to go back.
        let past = home.history(&args.target.name, HISTORY_MAX).await;
        let past = past.unwrap_or_default();
        if let Some(warning) = warning(&past, version) {
            talk(&warning);
        }
    }
    begin(&args.target, &request, &args.wait, globals, out).await
}

/// Runs `set-weight`.
pub(crate) async fn set_weight(
    args: &SetWeightArgs,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let plain = plain(CommandName::SetWeight, &args.target, globals);
    send(
        &args.target,
        &CommandRequest {
            weight_bps: Some(args.weight),
            ..plain
        },
        globals,
        out,
    )
    .await
}

/// Returns a command with nothing set but who gives it.
pub(crate) fn request(command: CommandName, by: &str) -> CommandRequest {
    CommandRequest {
        command,
        step: None,
        full: false,
        weight_bps: None,
        to: None,
        rollout: None,
        by: by.to_owned(),
        reason: None,
    }
}

/// Returns what a person should know who goes back to a version that did not stand its trial; the newest rollout is the first.
fn warning(past: &[RolloutHistory], version: &VersionName) -> Option<String> {
    let last = past.iter().find(|one| one.canary == *version)?;
    let what = match last.phase.as_str() {
        "RolledBack" => "was rolled back",
        "Failed" => "failed",
        _ => return None,
    };
    Some(format!(
        "warning: {version} {what} in {} ({}); going back to it all the same",
        last.id,
        clean(&last.message)
    ))
}

fn plain(command: CommandName, target: &Target, globals: &Globals) -> CommandRequest {
    CommandRequest {
        reason: target.reason.clone(),
        ..request(command, &globals.actor)
    }
}

async fn send(
    target: &Target,
    request: &CommandRequest,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let home = globals.home().await?;
    let answer = home.command(&target.name, request).await?;
    result::write_answer(globals, out, &answer)?;
    Ok(Exit::Done)
}

/// Sends a command that begins a rollout, and waits for its end if that was asked for.
async fn begin(
    target: &Target,
    request: &CommandRequest,
    wait: &WaitArgs,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let home = globals.home().await?;
    let answer = home.command(&target.name, request).await?;
    wait::finish(&target.name, &answer, wait, globals, out).await
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::testing::{Daemon, Reply};

    async fn asked(line: &str) -> (String, Value) {
        let answer = json!({ "messages": ["done"], "rollout": "auth-7", "isDurable": true });
        let daemon = Daemon::start([
            ("POST /v1/services/auth/commands", Reply::json(200, &answer)),
            (
                "GET /v1/services/auth/history",
                Reply::json(200, &json!([])),
            ),
        ]);
        let (exit, out) = daemon.run(line).await;
        assert_eq!(
            (exit.unwrap(), out.as_str()),
            (Exit::Done, "done\n"),
            "{line}"
        );
        let (call, mut body) = daemon.asked().pop().unwrap();
        // What is not set is left out, so that the table below shows what is.
        let map = body.as_object_mut().unwrap();
        map.retain(|_, value| !value.is_null() && *value != json!(false));
        (call, body)
    }

    #[tokio::test]
    async fn each_command_is_one_request() {
        for (line, expected) in [
            ("promote auth", json!({ "command": "Promote" })),
            (
                "promote auth --full --step 3",
                json!({ "command": "Promote", "full": true, "step": 3 }),
            ),
            (
                "pause auth --reason lunch",
                json!({ "command": "Pause", "reason": "lunch" }),
            ),
            ("resume auth", json!({ "command": "Resume" })),
            ("abort auth", json!({ "command": "Abort" })),
            ("retry auth", json!({ "command": "Retry" })),
            ("restart auth", json!({ "command": "Restart" })),
            ("undo auth", json!({ "command": "Undo" })),
            (
                "set-weight auth 12.5%",
                json!({ "command": "SetWeight", "weightBps": 1_250 }),
            ),
            (
                "set-weight auth 1250bps",
                json!({ "command": "SetWeight", "weightBps": 1_250 }),
            ),
            (
                "undo auth --to v1 --steps 50,100 --hold 1 --auto-promote",
                json!({
                    "command": "Undo", "to": "v1",
                    "rollout": { "steps": ["50%", "100%"], "hold": "1m", "promote": "auto" },
                }),
            ),
        ] {
            let mut expected = expected;
            expected["by"] = json!("ann@desk");
            assert_eq!(
                asked(line).await,
                ("POST /v1/services/auth/commands".to_owned(), expected),
                "{line}"
            );
        }
    }

    #[test]
    fn going_back_to_what_was_rolled_back_is_worth_a_warning() {
        let past = |number: u64, canary: &str, phase: &str| -> RolloutHistory {
            let one = json!({
                "id": format!("auth-{number}"), "kind": "deploy", "by": "ann", "reason": null, "stable": "v1", "canary": canary,
                "phase": phase, "message": "error rate 30%", "startedAt": "2026-11-21T11:50:00Z", "endedAt": null, "entries": [],
            });
            serde_json::from_value(one).unwrap()
        };
        let past = [
            past(4, "v2", "Completed"),
            past(3, "v3", "RolledBack"),
            past(2, "v2", "RolledBack"),
            past(1, "v4", "Failed"),
        ];
        let told = |version: &str| warning(&past, &version.parse().unwrap());
        assert_eq!(
            told("v3").as_deref(),
            Some(
                "warning: v3 was rolled back in auth-3 (error rate 30%); going back to it all the same"
            )
        );
        assert_eq!(
            told("v4").as_deref(),
            Some("warning: v4 failed in auth-1 (error rate 30%); going back to it all the same")
        );
        assert_eq!(told("v2"), None, "it was promoted since");
        assert_eq!(told("v1"), None, "it was never on trial here");
    }

    #[tokio::test]
    async fn an_abort_that_is_not_durable_says_so() {
        let answer =
            json!({ "messages": ["weight is 0%"], "rollout": "auth-7", "isDurable": false });
        let daemon =
            Daemon::start([("POST /v1/services/auth/commands", Reply::json(200, &answer))]);
        let (_, out) = daemon.run("abort auth").await;
        assert!(out.contains("applied, not durable"), "{out}");
    }

    #[tokio::test]
    async fn what_the_daemon_refuses_is_a_failure() {
        let refusal = json!({ "error": "no rollout goes on" });
        let daemon = Daemon::start([(
            "POST /v1/services/auth/commands",
            Reply::json(409, &refusal),
        )]);
        let (exit, out) = daemon.run("resume auth").await;
        let error = exit.unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), out.as_str()),
            ("no rollout goes on", "")
        );
        assert_eq!(crate::cli::exit::exit_of(&error), Exit::Failed);
    }

    #[test]
    fn a_weight_needs_its_percent_sign() {
        let line = ["haldane", "set-weight", "auth", "10"];
        let error = <crate::cli::Cli as clap::Parser>::try_parse_from(line).unwrap_err();
        assert!(error.to_string().contains("such as 5000bps"), "{error}");
    }
}
