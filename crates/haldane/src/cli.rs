//! The command line: what a person can ask for, and how it is asked of the daemon.
//!
//! Each command turns its arguments into a request, and writes the answer to whatever it is given to write to. Most ask a
//! [`home::Home`], and don't know whether that is this machine's daemon or a cluster. **Invariant:** what runs is changed through the
//! daemon's API or by commands on Releases alone, so that everything done here can be done by other programs, too.

mod apply;
mod bands;
mod checklist;
pub(crate) mod client;
mod comparison;
mod completions;
mod deploy;
mod doctor;
mod down;
pub(crate) mod exit;
mod explain;
mod figure;
mod generate;
mod get;
pub(crate) mod globals;
mod history;
mod home;
mod judge;
mod kube;
mod line;
mod lint;
pub(crate) mod live;
mod logs;
mod metrics;
mod migrations;
mod monitor;
pub(crate) mod paint;
pub(crate) mod place;
mod plan;
pub(crate) mod quantity;
mod reference;
mod replay;
mod report;
mod result;
mod schema;
mod simulate;
mod snapshot;
mod source;
mod status;
mod steer;
mod subject;
pub(crate) mod table;
mod terminal;
#[cfg(test)]
mod testing;
mod verify;
mod wait;
pub(crate) mod words;

use std::io::Write;

use haldane_api::http::CommandName;

pub(crate) use self::{
    exit::{Exit, UsageError, finish},
    globals::{GlobalArgs, Globals},
};

/// Where a newcomer begins.
const BEGINNING: &str = "\
Begin with:
  haldane demo                    see it work; needs nothing
  haldane get --kube              the Releases of a cluster; also as `kubectl haldane get`
  haldane lint -f haldane.yaml    check the release file of your own services
  haldane up -f haldane.yaml      run them; then, in another terminal:
  haldane deploy NAME --version v2 --run './program --port $PORT' --wait
  haldane monitor NAME            watch a rollout

Each command's --help has examples.";

/// Ships new versions safely: beside the old one, with a little real traffic, judged, then promoted or rolled back
#[derive(Debug, clap::Args)]
#[command(name = "haldane", version, disable_help_subcommand = true, after_help = after_help())]
pub(crate) struct Cli {
    /// The options that every command has.
    #[command(flatten)]
    pub globals: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Returns what stands below the list of commands.
fn after_help() -> String {
    let codes = exit::MEANINGS.map(|(exit, meaning)| format!("  {}  {meaning}", exit.code()));
    format!(
        "{BEGINNING}\n\nExit codes:\n{}\n\nVariables:\n{}",
        codes.join("\n"),
        line::VARIABLES
    )
}

/// What a person can ask for.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show the whole of it on this machine: two versions of a shop, real load, a rollout, its end
    #[command(after_help = "\
Examples:
  haldane demo                       a good version is promoted
  haldane demo --canary errors       a version whose requests fail is rolled back
  haldane demo --canary errors=10%
  haldane demo --canary slow --rps 200
  haldane demo --canary crash -o json

Needs no daemon, takes up to 90 seconds and leaves nothing behind. Exit code 0 when the version
ended as one of its kind should, else 1.")]
    Demo(crate::demo::DemoArgs),
    /// Run the daemon in the foreground: proxy, processes, store and API
    #[command(after_help = "\
Examples:
  haldane up -f haldane.yaml
  haldane up                    go on with what the store knows
  kill -HUP PID                 read the release file again
  HALDANE_LOG=debug haldane up -f haldane.yaml

^C, SIGTERM and `haldane down` drain and stop everything that was started. After a kill -9 the
versions' processes go on, and the next start takes them over.")]
    Up(crate::up::UpArgs),
    /// Run the controller in the foreground: rollouts of every Release of a Kubernetes cluster
    #[command(after_help = "\
Examples:
  haldane controller                           with the kubeconfig's current context
  haldane controller --namespaces shop,pay
  haldane controller --shadow                  decide, but write nothing

^C and SIGTERM finish the write under way and give the Lease back, so that the next controller
goes on at once. What was decided stands in each Release's status.")]
    Controller(crate::controller::ControllerArgs),
    /// The demo's shop
    #[command(hide = true)]
    Shop(crate::demo::shop::ShopArgs),
    /// The figures that are promised
    #[command(hide = true)]
    Bench(crate::bench::BenchArgs),
    /// Stop everything that the daemon started, and the daemon
    #[command(after_help = "\
Examples:
  haldane down

Returns when the daemon is gone; exit code 4 where it still is after ten minutes.")]
    Down,
    /// Make the daemon run what a release file says
    #[command(after_help = "\
Examples:
  haldane apply -f haldane.yaml
  haldane apply -f haldane.yaml --dry-run   only tell what would change
  haldane apply -f haldane.yaml --prune     remove services that left the file")]
    Apply(apply::Args),
    /// Check release files and manifests: mistakes, and what is likely to hurt
    #[command(after_help = "\
Examples:
  haldane lint -f haldane.yaml
  cat haldane.yaml | haldane lint -f -
  haldane lint deploy/*.yaml                 Releases, Rollouts, Canaries, Ingresses, Deployments
  haldane lint --rps 20                      are the steps long enough for the traffic?
  haldane lint --deny warnings --format junit > lint.xml
  haldane lint --format sarif > lint.sarif
  haldane lint --fix ingress.yaml
  haldane lint --rules

Exit code 1 where there are errors; with --deny where there is what is denied.")]
    Lint(lint::Args),
    /// Show the checklists of a service, ticked where that is seen: planning, deployment, monitoring, rollback
    #[command(after_help = "\
Examples:
  haldane checklist auth
  haldane checklist auth -f haldane.yaml     with what the plan says
  haldane checklist --kube web/shop
  haldane checklist auth -o json

[x] was seen to be so, [ ] was looked for and is not, [?] can't be seen from here: the reason says
why. Exit code 0, whatever is open.")]
    Checklist(checklist::Args),
    /// Begin the rollout of a version
    #[command(after_help = "\
Without an option of the plan, the service's own plan from the release file is used. With one,
the others have the defaults shown, and a person promotes unless --auto-promote is given.

Examples:
  haldane deploy auth --version v2 --run './auth2 --port $PORT'
  haldane deploy auth --version v2 --url http://10.0.0.7:8080 --wait --timeout 1h
  haldane deploy auth --version v2 --run './auth2 --port $PORT' --traffic-steps 5,25,50,100 \\
      --step-duration 5 --error-threshold 3 --latency-p95 300 --auto-promote
  haldane deploy auth --version v2 --steps 10,100 --hold 30s --dry-run
  haldane deploy shop shop:v2 --kube --wait --timeout 1h   where there is a Release
  haldane deploy shop shop:v2 --kube --route httproute/shop --steps 10,50 --hold 2m \\
      --auto-promote --skip-analysis --reason 'internal tool'   without a controller

Exit code 0 when the rollout has begun; with --wait how it ended: 0 promoted, 1 failed, 3 rolled
back, 4 not over within --timeout, 5 waiting for a person.")]
    Deploy(Box<deploy::Args>),
    /// Show services and their rollouts
    #[command(after_help = "\
Examples:
  haldane get
  haldane get auth
  haldane get -w                follow changes
  haldane get auth --diff       where what runs differs from the file
  haldane get auth -o json
  haldane get --kube -A         the releases of all namespaces
  haldane get -n web shop       a release with its ReplicaSets and pods

STEP is the step at work of all, WEIGHT the canary's share as decided and OBSERVED as counted,
READY the replicas ready of those wanted, stable's and, after a plus, the canary's.")]
    Get(get::Args),
    /// Say where a service stands and what comes next
    #[command(after_help = "\
Examples:
  haldane status auth
  haldane status -n web shop")]
    Status(status::Args),
    /// Show past rollouts, or every decision of one
    #[command(after_help = "\
Examples:
  haldane history auth
  haldane history auth 7        every decision of auth-7 with its evidence")]
    History(history::Args),
    /// Check that a service is well after its deployment: replicas, errors, latency, resources
    #[command(after_help = "\
Examples:
  haldane verify auth
  haldane verify auth --error-threshold 1 --latency-p95 300 --within 2m
  haldane verify -n web shop --memory 512MiB -o json

Exit code 1 where a check fails, or where there is no data for one that is needed.")]
    Verify(verify::Args),
    /// Say why a rollout stands where it stands, and whether its decisions follow again from what is stored
    #[command(after_help = "\
Examples:
  haldane explain auth
  haldane explain auth -o json

Each decision is made again from what the judges saw and from the state before it, and compared
to the last bit. A Release's status has no room for what they saw: on Kubernetes its decisions are
told with what is kept of it, and not made again.")]
    Explain(explain::Args),
    /// Show what the processes of a version write
    #[command(after_help = "\
Examples:
  haldane logs auth -f
  haldane logs auth --version v2 --replica 0 --lines 500")]
    Logs(logs::Args),
    /// Show stable and canary side by side
    #[command(after_help = "\
Examples:
  haldane monitor auth
  haldane monitor -n web shop   from the Prometheus of the release, asked from here
  haldane monitor auth --interval 10 --duration 30 --export-metrics out.csv")]
    Monitor(monitor::Args),
    /// End the current wait and go on
    #[command(after_help = "\
Examples:
  haldane promote auth
  haldane promote auth --step 3          only if step 3 is still the current one
  haldane promote auth --full --reason 'hotfix'
  haldane promote web/shop --kube        a release in namespace web

Exit code on Kubernetes: 4 where no controller answers within 30 s.")]
    Promote(steer::PromoteArgs),
    /// Keep a rollout where it is until resumed
    #[command(after_help = "Examples:\n  haldane pause auth --reason 'looking into p99'")]
    Pause(steer::Target),
    /// End a pause
    #[command(after_help = "Examples:\n  haldane resume auth")]
    Resume(steer::Target),
    /// Send all traffic back to stable, now, and end the rollout
    #[command(after_help = "Examples:\n  haldane abort auth --reason 'customers complain'")]
    Abort(steer::Target),
    /// Begin the last rollout again, with its plan unless options of one are given
    #[command(after_help = "\
Examples:
  haldane retry auth --wait
  haldane retry auth --steps 1,10,100 --hold 10m")]
    Retry(Box<steer::RetryArgs>),
    /// Go back to an earlier version, at once unless steps are given
    #[command(after_help = "\
Examples:
  haldane undo auth
  haldane undo auth --to v1 --steps 50,100 --hold 1 --auto-promote")]
    Undo(Box<steer::UndoArgs>),
    /// Replace the canary's processes by new ones of the same version
    #[command(after_help = "Examples:\n  haldane restart auth")]
    Restart(steer::Target),
    /// Set the canary's share of traffic by hand
    #[command(after_help = "\
Examples:
  haldane set-weight auth 10% --reason 'more traffic before lunch'
  haldane set-weight auth 50bps          half a percent")]
    SetWeight(steer::SetWeightArgs),
    /// Show plans in their long form
    #[command(after_help = "Examples:\n  haldane plan show\n  haldane plan show fast")]
    Plan(plan::Args),
    /// Tell what a plan would do with a version that fails so often: how long it takes, and whom it hits
    #[command(after_help = "\
Examples:
  haldane simulate --canary 1%                             with the default plan
  haldane simulate --base 0.1% --canary 5% --rps 20 --steps 5,25,50,100 --hold 5m
  haldane simulate auth -f haldane.yaml --canary 0% --canary-latency 2x
  haldane simulate --preset Canary10Percent5Minutes --canary 10% -o json
  haldane simulate --judges --base 0.1% --canary 1% --rps 100 --steps 5,25,50,100 --hold 5m")]
    Simulate(Box<simulate::Args>),
    /// Tell what each judge would have decided on past data, and when
    #[command(after_help = "\
Examples:
  haldane replay shop                      the shop's last rollout, as it was recorded
  haldane replay shop-3 --save shop-3.ndjson
  haldane replay --recording shop-3.ndjson -f haldane.yaml     by another plan
  haldane replay --csv counts.csv
  haldane replay shop --csv counts.csv -f haldane.yaml
  haldane replay shop -f haldane.yaml --prometheus http://127.0.0.1:9090 \\
      --from 2026-11-21T10:00:00Z --to 2026-11-21T10:30:00Z --stable v1 --canary v2

A table has the columns time,stable_requests,stable_errors,canary_requests,canary_errors, and if
wanted weight, and stable_le_100ms and canary_le_100ms for each bound of latency: see
docs/replay.md. Exit code 0, whatever the judges say.")]
    Replay(Box<replay::Args>),
    /// Judge two sets of points as Kayenta does
    #[command(after_help = "\
Examples:
  haldane judge --config canary.json --experiment canary-points.json --control stable-points.json
  haldane judge --config canary.json --experiment e.json --control c.json --pass 90 -o json

The points are a JSON map from each metric's name to the list of its values, null for a missing
one. Exit code: 0 pass, 3 fail, 5 marginal, 1 no data.")]
    Judge(judge::Args),
    /// Show the queries of metric systems, or ask them now
    Metrics(metrics::Args),
    /// Write what became of a rollout, or of all of a time, for people who were not there
    #[command(after_help = "\
Examples:
  haldane report auth > auth.md               its last rollout, as Markdown
  haldane report auth 7 --html > auth-7.html  a page with plots that needs nothing beside it
  haldane report --since 30d                  rollbacks, causes, change failure rate, time to restore
  haldane report auth --since 90d -o json
  haldane report --since 7d --kube -A")]
    Report(report::Args),
    /// Check changes of a database's schema
    #[command(subcommand)]
    Migrations(migrations::Migrations),
    /// Write the JSON Schema of the release file
    #[command(after_help = "Examples:\n  haldane schema > haldane.schema.json")]
    Schema,
    /// Write what is installed beside Haldane
    #[command(subcommand)]
    Generate(generate::Target),
    /// Write completions for a shell
    #[command(after_help = "\
Examples:
  haldane completions bash > /etc/bash_completion.d/haldane
  haldane completions zsh > ~/.zfunc/_haldane")]
    Completions(completions::Args),
    /// Tell what may keep Haldane from working here, and what to do about it
    #[command(after_help = "\
Examples:
  haldane doctor -f haldane.yaml
  haldane doctor --kube -A
  haldane doctor -n web --url https://shop.example.com/

Exit code 1 where a check fails; warnings alone are 0.")]
    Doctor(doctor::Args),
    /// Write the reference of all commands as Markdown
    #[command(hide = true)]
    HelpMarkdown,
}

/// Does what was asked for.
pub(crate) async fn run(
    command: Command,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    if globals.access.is_some()
        && let Some(name) = command.of_machine()
    {
        return Err(of_machine(name).into());
    }
    match command {
        Command::Demo(args) => crate::demo::run(&args, globals, out).await,
        Command::Up(args) => {
            globals.place.check()?;
            crate::up::run(args, globals).await
        }
        Command::Controller(args) => crate::controller::run(args, globals).await,
        Command::Shop(args) => crate::demo::shop::run(args).await,
        Command::Bench(args) => crate::bench::run(&args, globals, out).await,
        Command::Down => down::run(globals, out).await,
        Command::Apply(args) => apply::run(&args, globals, out).await,
        Command::Lint(args) => lint::run(&args, globals, out),
        Command::Checklist(args) => checklist::run(&args, globals, out).await,
        Command::Deploy(args) => deploy::run(&args, globals, out).await,
        Command::Get(args) => get::run(&args, globals, out).await,
        Command::Status(args) => status::run(&args, globals, out).await,
        Command::History(args) => history::run(&args, globals, out).await,
        Command::Verify(args) => verify::run(&args, globals, out).await,
        Command::Explain(args) => explain::run(&args, globals, out).await,
        Command::Logs(args) => logs::run(&args, globals, out).await,
        Command::Monitor(args) => monitor::run(&args, globals, out).await,
        Command::Promote(args) => steer::promote(&args, globals, out).await,
        Command::Pause(target) => steer::simple(CommandName::Pause, &target, globals, out).await,
        Command::Resume(target) => steer::simple(CommandName::Resume, &target, globals, out).await,
        Command::Abort(target) => steer::simple(CommandName::Abort, &target, globals, out).await,
        Command::Retry(args) => steer::retry(&args, globals, out).await,
        Command::Undo(args) => steer::undo(&args, globals, out).await,
        Command::Restart(target) => {
            steer::simple(CommandName::Restart, &target, globals, out).await
        }
        Command::SetWeight(args) => steer::set_weight(&args, globals, out).await,
        Command::Plan(args) => plan::run(&args, globals, out).await,
        Command::Simulate(args) => simulate::run(&args, globals, out),
        Command::Replay(args) => replay::run(&args, globals, out).await,
        Command::Judge(args) => judge::run(&args, globals, out),
        Command::Metrics(args) => metrics::run(&args, globals, out).await,
        Command::Report(args) => report::run(&args, globals, out).await,
        Command::Migrations(args) => migrations::run(&args, globals, out),
        Command::Schema => schema::run(globals, out),
        Command::Generate(target) => generate::run(&target, globals, out),
        Command::Completions(args) => completions::run(&args, out),
        Command::Doctor(args) => doctor::run(&args, globals, out).await,
        Command::HelpMarkdown => reference::run(out),
    }
}

impl Command {
    /// Returns the name of a command that is about this machine and its daemon alone; `None` where a cluster can be meant, or where
    /// neither is asked.
    const fn of_machine(&self) -> Option<&'static str> {
        match self {
            Self::Demo(_) => Some("demo"),
            Self::Up(_) => Some("up"),
            Self::Shop(_) => Some("shop"),
            Self::Bench(_) => Some("bench"),
            Self::Down => Some("down"),
            Self::Apply(_) => Some("apply"),
            Self::Logs(_) => Some("logs"),
            Self::Replay(_) => Some("replay"),
            Self::Deploy(_)
            | Self::Get(_)
            | Self::Status(_)
            | Self::History(_)
            | Self::Explain(_)
            | Self::Verify(_)
            | Self::Monitor(_)
            | Self::Promote(_)
            | Self::Pause(_)
            | Self::Resume(_)
            | Self::Abort(_)
            | Self::Retry(_)
            | Self::Undo(_)
            | Self::Restart(_)
            | Self::SetWeight(_)
            | Self::Doctor(_)
            | Self::Plan(_)
            | Self::Lint(_)
            | Self::Checklist(_)
            | Self::Simulate(_)
            | Self::Judge(_)
            | Self::Metrics(_)
            | Self::Migrations(_)
            | Self::Report(_)
            | Self::Schema
            | Self::Generate(_)
            | Self::Controller(_)
            | Self::Completions(_)
            | Self::HelpMarkdown => None,
        }
    }
}

/// Returns why a command can't be meant for a cluster, and what does the same there.
fn of_machine(name: &str) -> UsageError {
    let instead = match name {
        "apply" => "; there `kubectl apply -f release.yaml` says what a release should be",
        "up" => "; there `haldane controller` does that",
        "down" => {
            "; there deleting a Release leaves its workload as it was, with stable serving alone"
        }
        "replay" => {
            "; a Release's past is in its Prometheus: `haldane replay NAME -f FILE --prometheus URL --from TIME --to TIME`, \
             without --kube"
        }
        "logs" => "; there `kubectl logs` shows them, for the pods that `haldane get NAME` names",
        _ => "",
    };
    UsageError(format!(
        "{name} is about this machine's daemon, not about a cluster (--kube){instead}"
    ))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use haldane_controller::client::Access;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[tokio::test]
    async fn what_is_about_this_machine_alone_refuses_a_cluster() {
        let dir = tempfile::tempdir().unwrap();
        for (line, expected) in [
            ("up", "there `haldane controller` does that"),
            ("down", "there deleting a Release"),
            ("demo", "demo is about this machine's daemon"),
            ("apply", "there `kubectl apply -f release.yaml`"),
            (
                "deploy a --version v2 --run b",
                "--version is a matter of this machine's daemon",
            ),
            ("logs a", "there `kubectl logs` shows them"),
            ("replay a", "--prometheus URL --from TIME"),
        ] {
            let words = ["haldane"].into_iter().chain(line.split(' '));
            let cli = <Cli as clap::Parser>::try_parse_from(words).unwrap();
            let mut globals = testing::globals(dir.path());
            globals.access = Some(Access::default());
            let error = run(cli.command, &globals, &mut Vec::new())
                .await
                .unwrap_err();
            assert!(error.to_string().contains(expected), "{line}: {error}");
            assert_eq!(exit::exit_of(&error), Exit::Usage, "{line}");
        }
    }

    #[tokio::test]
    async fn a_namespace_needs_a_cluster() {
        let daemon = testing::Daemon::start([]);
        for line in [
            "get web/shop",
            "abort web/shop",
            "history web/shop",
            "get -A",
            "doctor -A",
        ] {
            let error = daemon.run(line).await.0.unwrap_err();
            assert_eq!(exit::exit_of(&error), Exit::Usage, "{line}: {error}");
            assert!(error.to_string().contains("give --kube"), "{line}: {error}");
        }
        assert_eq!(daemon.asked(), []);
    }
}
