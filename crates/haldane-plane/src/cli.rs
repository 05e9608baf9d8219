//! The command line: `cargo xtask plane …` for people, `host` for the process inside.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::{
    process,
    signal::{
        ctrl_c,
        unix::{SignalKind, signal},
    },
};
use tracing_subscriber::EnvFilter;

use crate::{
    components::{self, COMPONENTS, Cache},
    fault::{Rule, RuleId, RuleReport},
    host,
    plane::{self, Plane},
    site::Site,
};

/// A real Kubernetes to test against, on one machine without containers.
#[derive(Debug, Parser)]
#[command(name = "haldane-plane", bin_name = "cargo xtask plane")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Builds what is missing of the control plane: ten minutes on two cores, once for each version.
    Setup {
        /// Only tell what is missing; fail when something is, or when this machine can't have a plane.
        #[arg(long, env = "HALDANE_PLANE_CHECK")]
        check: bool,
    },
    /// Builds what is missing and starts a plane, which runs until `down`.
    Up {
        #[command(flatten)]
        named: Named,
        /// Stay, and end the plane with this command.
        #[arg(long, env = "HALDANE_PLANE_FOREGROUND")]
        foreground: bool,
    },
    /// Ends a plane; nothing of it is left.
    Down(Named),
    /// Lists the planes that run.
    Status,
    /// Prints the path of a plane's kubeconfig: `export KUBECONFIG=$(cargo xtask plane kubeconfig)`.
    Kubeconfig {
        #[command(flatten)]
        named: Named,
        /// Through the fault injector.
        #[arg(long, env = "HALDANE_PLANE_FAULTS")]
        faults: bool,
    },
    /// Runs a program inside a plane, where pods can be reached: `exec -- curl http://10.128.0.3:8080`.
    Exec {
        #[command(flatten)]
        named: Named,
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        line: Vec<String>,
    },
    /// Runs Helm, which needs no plane to render the chart: `helm template haldane deploy/helm/haldane`.
    #[command(disable_help_flag = true)]
    Helm {
        /// What Helm is told.
        #[arg(
            env = "HALDANE_PLANE_HELM",
            trailing_var_arg = true,
            allow_hyphen_values = true
        )]
        line: Vec<String>,
    },
    /// Lets requests through the fault injector go wrong.
    #[command(subcommand)]
    Fault(FaultCommand),
    /// Is the first process inside a plane.
    #[command(hide = true)]
    Host(host::Args),
}

#[derive(Debug, Subcommand)]
enum FaultCommand {
    /// Adds a rule: `{"fault": {"refuse": "conflict"}, "on": {"verbs": ["patch"]}, "times": 1}`.
    Add {
        #[command(flatten)]
        named: Named,
        /// The rule, in JSON.
        #[arg(env = "HALDANE_PLANE_RULE", value_parser = rule)]
        rule: Rule,
    },
    /// Takes a rule away.
    Remove {
        #[command(flatten)]
        named: Named,
        /// Its number.
        #[arg(env = "HALDANE_PLANE_RULE_ID")]
        id: u64,
    },
    /// Lists the rules and how often each was followed.
    List(Named),
}

#[derive(Debug, clap::Args)]
struct Named {
    /// Which plane; any number may run.
    #[arg(long, env = "HALDANE_PLANE_NAME", default_value = "default")]
    name: String,
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    if matches!(args.command, Command::Host(_)) {
        let filter = EnvFilter::new("info");
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(false)
            .with_writer(io::stderr)
            .init();
    }
    match run(&args.command, &mut io::stdout()) {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to tell it to when standard error is closed, too.
            writeln!(io::stderr(), "error: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(command: &Command, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match command {
        Command::Setup { check: true } => return check(out).await,
        Command::Setup { check: false } => Cache::of_user()?.fill(out)?,
        Command::Up {
            named,
            foreground: false,
        } => up(&named.name, out).await?,
        Command::Up {
            named,
            foreground: true,
        } => stay(&named.name, out).await?,
        Command::Down(named) => down(&named.name, out).await?,
        Command::Status => status(out).await?,
        Command::Kubeconfig { named, faults } => {
            let plane = Plane::attach(&named.name).await?;
            let path = if *faults {
                plane.faults_kubeconfig()
            } else {
                plane.kubeconfig()
            };
            writeln!(out, "{}", path.display())?;
        }
        Command::Exec { named, line } => return exec(&named.name, line).await,
        Command::Helm { line } => {
            let helm = components::program("helm")?;
            return finish(process::Command::new(helm).args(line)).await;
        }
        Command::Fault(command) => fault(command, out).await?,
        Command::Host(args) => host::run(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn check(out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let missing = Cache::of_user()?.missing();
    for component in &COMPONENTS {
        let is_missing = missing.iter().any(|other| other.name == component.name);
        writeln!(
            out,
            "{component}: {}",
            if is_missing { "missing" } else { "present" }
        )?;
    }
    plane::check_namespaces().await?;
    Ok(if missing.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn up(name: &str, out: &mut dyn Write) -> anyhow::Result<()> {
    Cache::of_user()?.fill(out)?;
    tell_ready(&Plane::start_detached(name).await?, out)
}

async fn stay(name: &str, out: &mut dyn Write) -> anyhow::Result<()> {
    Cache::of_user()?.fill(out)?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for signals")?;
    let plane = Plane::start_named(name).await?;
    tell_ready(&plane, out)?;
    tokio::select! {
        interrupted = ctrl_c() => interrupted.context("listening for signals")?,
        _ = terminate.recv() => {}
    }
    plane.stop().await?;
    Ok(())
}

fn tell_ready(plane: &Plane, out: &mut dyn Write) -> anyhow::Result<()> {
    let (name, kubeconfig) = (plane.name(), plane.kubeconfig());
    writeln!(
        out,
        "plane `{name}` is ready: export KUBECONFIG={}",
        kubeconfig.display()
    )?;
    out.flush()?;
    Ok(())
}

async fn down(name: &str, out: &mut dyn Write) -> anyhow::Result<()> {
    Plane::attach(name).await?.stop().await?;
    writeln!(out, "plane `{name}` is gone")?;
    Ok(())
}

async fn status(out: &mut dyn Write) -> anyhow::Result<()> {
    let sites = Site::all()?;
    if sites.is_empty() {
        writeln!(out, "no plane runs")?;
    }
    for site in sites {
        let (name, directory) = (site.name(), site.path().display().to_string());
        let status = match Plane::attach(&name).await {
            Ok(plane) => plane.status().await.map_err(anyhow::Error::from),
            Err(error) => Err(error.into()),
        };
        match status {
            Ok(status) => writeln!(
                out,
                "{name}: API server {}, fault injector {} ({} rules), {} containers, files in {directory}",
                status.api, status.faults, status.rules, status.containers
            )?,
            Err(error) => writeln!(out, "{name}: not ready ({error:#}), files in {directory}")?,
        }
    }
    Ok(())
}

async fn exec(name: &str, line: &[String]) -> anyhow::Result<ExitCode> {
    let (program, args) = line.split_first().context("nothing to run")?;
    let mut command = Plane::attach(name).await?.command(program).await?;
    finish(command.args(args)).await
}

/// Runs a program to its end and passes its exit code on.
async fn finish(command: &mut process::Command) -> anyhow::Result<ExitCode> {
    let status = command.status().await.with_context(|| {
        let program = command.as_std().get_program();
        format!("running {}", program.to_string_lossy())
    })?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

async fn fault(command: &FaultCommand, out: &mut dyn Write) -> anyhow::Result<()> {
    match command {
        FaultCommand::Add { named, rule } => {
            let RuleId(id) = Plane::attach(&named.name)
                .await?
                .add_rule(rule.clone())
                .await?;
            writeln!(out, "{id}")?;
        }
        FaultCommand::Remove { named, id } => {
            let report = Plane::attach(&named.name)
                .await?
                .remove_rule(RuleId(*id))
                .await?;
            write_rule(&report.with_context(|| format!("no rule {id}"))?, out)?;
        }
        FaultCommand::List(named) => {
            let reports = Plane::attach(&named.name).await?.rules().await?;
            reports
                .iter()
                .try_for_each(|report| write_rule(report, out))?;
        }
    }
    Ok(())
}

fn write_rule(report: &RuleReport, out: &mut dyn Write) -> anyhow::Result<()> {
    let rule = serde_json::to_string(&report.rule)?;
    writeln!(
        out,
        "{}: {rule} happened {} times",
        report.id.0, report.hits
    )?;
    Ok(())
}

fn rule(text: &str) -> Result<Rule, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_rule_that_is_none_is_a_usage_error() {
        let line = ["plane", "fault", "add", r#"{"fault": "sometimes"}"#];
        let error = Args::try_parse_from(line).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(
            error.to_string().contains("unknown variant `sometimes`"),
            "{error}"
        );
    }
}
