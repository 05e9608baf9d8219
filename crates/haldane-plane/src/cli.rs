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
    addon::Addon,
    bench,
    components::{self, COMPONENTS, Cache, Component, Need},
    control::InstalledAddon,
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
    /// Builds what is missing of the control plane and of the add-ons that tests use: ten minutes on two cores, once for each
    /// version.
    Setup {
        #[command(flatten)]
        added: Added,
        /// Only tell what is missing; fail when something is, or when this machine can't have a plane.
        #[arg(long, env = "HALDANE_PLANE_CHECK")]
        check: bool,
    },
    /// Builds what is missing and starts a plane, which runs until `down`.
    Up {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        added: Added,
        /// Stay, and end the plane with this command.
        #[arg(long, env = "HALDANE_PLANE_FOREGROUND")]
        foreground: bool,
    },
    /// Builds what is missing of add-ons and installs them in a plane that runs.
    Install {
        #[command(flatten)]
        named: Named,
        /// Which: `contour`, `prometheus`, `gateway-api`; a wrong name lists all of them.
        #[arg(env = "HALDANE_PLANE_ADDONS", required = true, value_delimiter = ',')]
        addons: Vec<Addon>,
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
    /// Takes the figures of the controller on planes of its own: `cargo xtask bench kube` builds it before.
    Bench(bench::Args),
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

#[derive(Debug, clap::Args)]
struct Added {
    /// Add-ons, such as `contour,prometheus`; a wrong name lists all of them.
    #[arg(long, env = "HALDANE_PLANE_WITH", value_delimiter = ',')]
    with: Vec<Addon>,
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
        Command::Setup { added, check: true } => return check(&added.with, out).await,
        Command::Setup {
            added,
            check: false,
        } => Cache::of_user()?.fill(&usual(&added.with), out)?,
        Command::Up {
            named,
            added,
            foreground: false,
        } => up(&named.name, &added.with, out).await?,
        Command::Up {
            named,
            added,
            foreground: true,
        } => stay(&named.name, &added.with, out).await?,
        Command::Install { named, addons } => {
            let plane = Plane::attach(&named.name).await?;
            Cache::of_user()?.fill(&needed(addons), out)?;
            install(&plane, addons, out).await?;
        }
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
        Command::Bench(args) => bench::run(args, out).await?,
        Command::Host(args) => host::run(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What the tests of the plane use, and what `addons` need.
fn usual(addons: &[Addon]) -> Vec<&'static Component> {
    let is_usual = |it: &&Component| it.need == Need::Tests || it.is_needed_by(addons);
    COMPONENTS.iter().filter(is_usual).collect()
}

/// What a plane with `addons` needs.
fn needed(addons: &[Addon]) -> Vec<&'static Component> {
    let components = COMPONENTS.iter();
    components.filter(|it| it.is_needed_by(addons)).collect()
}

async fn check(addons: &[Addon], out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let cache = Cache::of_user()?;
    let mut is_complete = true;
    for component in usual(addons) {
        let is_here = cache.has(component);
        is_complete &= is_here;
        let word = if is_here { "present" } else { "missing" };
        writeln!(out, "{component}: {word}")?;
    }
    plane::check_namespaces().await?;
    Ok(if is_complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn up(name: &str, addons: &[Addon], out: &mut dyn Write) -> anyhow::Result<()> {
    Cache::of_user()?.fill(&needed(addons), out)?;
    let plane = Plane::start_detached(name).await?;
    tell_ready(&plane, out)?;
    install(&plane, addons, out).await
}

async fn stay(name: &str, addons: &[Addon], out: &mut dyn Write) -> anyhow::Result<()> {
    Cache::of_user()?.fill(&needed(addons), out)?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for signals")?;
    let plane = Plane::start_named(name).await?;
    tell_ready(&plane, out)?;
    install(&plane, addons, out).await?;
    tokio::select! {
        interrupted = ctrl_c() => interrupted.context("listening for signals")?,
        _ = terminate.recv() => {}
    }
    plane.stop().await?;
    Ok(())
}

async fn install(plane: &Plane, addons: &[Addon], out: &mut dyn Write) -> anyhow::Result<()> {
    for addon in addons {
        plane.install(*addon).await?;
        let all = plane.status().await?.addons;
        let mut found = all.iter().filter(|installed| installed.addon == *addon);
        found.try_for_each(|installed| write_addon(installed, out))?;
        out.flush()?;
    }
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
            Ok(status) => {
                writeln!(
                    out,
                    "{name}: API server {}, fault injector {} ({} rules), {} containers, files in {directory}",
                    status.api, status.faults, status.rules, status.containers
                )?;
                let mut addons = status.addons.iter();
                addons.try_for_each(|installed| write_addon(installed, out))?;
            }
            Err(error) => writeln!(out, "{name}: not ready ({error:#}), files in {directory}")?,
        }
    }
    Ok(())
}

fn write_addon(installed: &InstalledAddon, out: &mut dyn Write) -> io::Result<()> {
    match installed.address {
        Some(address) => writeln!(out, "  {}: http://{address}", installed.addon),
        None => writeln!(out, "  {}", installed.addon),
    }
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
