//! `haldane generate dashboard`: Grafana dashboards about canaries.

use std::io::Write;

use haldane_kit::dashboard;

use super::{limits::LimitArgs, watched::WatchedArgs};
use crate::cli::{
    exit::{Exit, UsageError},
    globals::Globals,
    result,
};

/// Which dashboard, and of which service.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Which one
    #[arg(value_enum, default_value_t)]
    board: Board,
    /// The service, for all but overview and rollouts
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// What its versions are called.
    #[command(flatten)]
    watched: WatchedArgs,
    /// From where on a number is red.
    #[command(flatten)]
    limits: LimitArgs,
}

/// A dashboard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Board {
    /// All canaries for which alerts are generated
    #[default]
    Overview,
    /// Everything about one service
    Service,
    /// How the traffic of one service is split
    Traffic,
    /// How often both versions of a service fail, and how
    Errors,
    /// How long both versions of a service take
    Latency,
    /// All rollouts, and Haldane itself
    Rollouts,
}

/// Runs the command.
pub(super) fn run(args: &Args, globals: &Globals, out: &mut impl Write) -> anyhow::Result<Exit> {
    let thresholds = args.limits.thresholds(args.service.as_deref())?;
    let watched = || {
        let name = args.service.as_deref();
        let name = name.ok_or_else(|| {
            UsageError("this dashboard is of one service: name it by --service".to_owned())
        })?;
        args.watched.watched(name, globals)
    };
    let board = match args.board {
        Board::Overview => dashboard::overview(&thresholds),
        Board::Rollouts => dashboard::rollouts(),
        Board::Service => dashboard::service(&watched()?, &thresholds),
        Board::Traffic => dashboard::traffic(&watched()?),
        Board::Errors => dashboard::errors(&watched()?, &thresholds),
        Board::Latency => dashboard::latency(&watched()?, &thresholds),
    };
    result::write(globals, out, &board, |_| Ok(()))?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::cli::{
        exit::{Exit, exit_of},
        testing::Daemon,
    };

    #[tokio::test]
    async fn a_dashboard_is_json_and_those_of_a_service_need_its_name() {
        let daemon = Daemon::start([]);
        for (line, title) in [
            ("", "Canaries: overview"),
            (" rollouts", "Canaries: all rollouts"),
            (
                " traffic --service auth",
                "Canary of default/auth: traffic split",
            ),
            (
                " errors --service auth --mesh nginx",
                "Canary of default/auth: error comparison",
            ),
            (
                " latency --service auth --mesh http",
                "Canary of default/auth: latency distribution",
            ),
            (
                " service --service auth --mesh traefik",
                "Canary of default/auth: service",
            ),
        ] {
            let (exit, out) = daemon.run(&format!("generate dashboard{line}")).await;
            assert_eq!(exit.unwrap(), Exit::Done);
            let board: Value = serde_json::from_str(&out).unwrap();
            assert_eq!(board["title"], title);
        }
        for line in [
            "service",
            "errors --mesh linkerd",
            "overview -f haldane.yaml",
        ] {
            let error = daemon
                .run(&format!("generate dashboard {line}"))
                .await
                .0
                .unwrap_err();
            assert!(error.to_string().contains("--service"), "{error:#}");
            assert_eq!(exit_of(&error), Exit::Usage, "{line}");
        }
    }

    #[tokio::test]
    async fn a_limit_is_where_a_panel_turns_red() {
        let daemon = Daemon::start([]);
        let (_, out) = daemon.run("generate dashboard --error-threshold 2.5").await;
        assert!(out.contains("0.025"), "{out}");
    }
}
