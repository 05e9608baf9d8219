//! `haldane deploy`: begins the rollout of a version.

mod flags;
mod kube;
mod preflight;
mod timetable;

use std::{
    collections::BTreeMap,
    env, fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;
use haldane_api::{
    command, file,
    http::{Answer, DeployRequest},
};
use haldane_controller::client::Route;
use haldane_core::{ServiceName, VersionName, plan::Plan};
use serde_json::{Value, json};

pub(crate) use self::flags::PlanFlags;
pub(super) use self::timetable::text as step_text;
use super::{
    exit::{Exit, UsageError, talk},
    globals::Globals,
    home::HomeError,
    result,
    subject::Subject,
    wait::{self, WaitArgs},
    words::count,
};

/// The release file that is read where none is named.
const RELEASE_FILE: &str = "haldane.yaml";

/// Begins the rollout of a version.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service, on Kubernetes the release: NAME or NS/NAME
    name: Subject,
    /// On Kubernetes: the image to try, such as shop:v2. Where there is a Release, its workload gets it and the controller rolls it out;
    /// else this terminal does, and no image is needed where the canary of a pair of Deployments has it already
    image: Option<String>,
    /// The version's name, as it is shown and as `undo --to` takes it; on Kubernetes it is the image's tag
    #[arg(long, value_name = "VERSION")]
    version: Option<VersionName>,
    /// The program and its arguments, with `$PORT` for the port to listen on; in single quotes, so that your shell leaves `$PORT` alone
    #[arg(long, value_name = "COMMAND", conflicts_with = "url")]
    run: Option<String>,
    /// Instead of --run: where the version runs already, such as http://10.0.0.7:8080; may be given several times
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    url: Vec<String>,
    /// How many replicas at full size, 1 to 256; by default as many as stable has
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(file::REPLICAS_MAX)))]
    replicas: Option<u32>,
    /// A variable that is added to the service's environment; a name that is already there gets this value. May be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// The program's working directory; by default the service's
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Why, for those who read the history later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only show what the plan would do and when, on Kubernetes also what was found and looked at; nothing is changed, and the daemon is
    /// not asked
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// With --dry-run and no option of the plan: the release file that has the service's own plan [default: haldane.yaml]. On
    /// Kubernetes: a manifest with the Release that says how; it is not applied
    #[arg(short, long, visible_alias = "config", value_name = "FILE")]
    file: Option<PathBuf>,
    /// On Kubernetes without a Release: what splits the traffic. By default that of which an object with the service's name is there
    #[arg(long, value_name = "MESH", value_enum, conflicts_with = "file")]
    mesh: Option<kube::MeshName>,
    /// On Kubernetes without a Release: the Prometheus that knows the requests, as reachable from this terminal
    #[arg(long, value_name = "URL", conflicts_with = "file")]
    prometheus: Option<String>,
    /// On Kubernetes without a Release: begin although a check says that something is missing
    #[arg(long)]
    skip_validation: bool,
    /// On Kubernetes without a Release: who splits the traffic, such as httproute/shop or httpproxy/shop; may be given several times.
    /// By default the route with the service's name does, or the numbers of pods
    #[arg(long, value_name = "KIND/NAME", value_delimiter = ',', value_parser = kube::route, conflicts_with = "file")]
    route: Vec<Route>,
    /// On Kubernetes: the container that gets the image, where there are several
    #[arg(long, value_name = "NAME")]
    container: Option<String>,
    #[command(flatten)]
    wait: WaitArgs,
    // The last, because its heading holds for all that follow.
    #[command(flatten)]
    plan: PlanFlags,
}

/// Runs the command.
pub(crate) async fn run(
    args: &Args,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    if let Some(access) = &globals.access {
        return kube::run(args, access, globals, out).await;
    }
    if args.dry_run {
        let plan = args.plan_to_show()?;
        result::write(globals, out, &haldane_api::long::plan_long(&plan), |out| {
            timetable::write(&plan, globals, out)
        })?;
        return Ok(Exit::Done);
    }
    let here = env::current_dir().context("finding the current directory")?;
    let request = args.request(&globals.actor, &here)?;
    if let Some(hint) = request.run.as_deref().and_then(port_hint) {
        talk(hint);
    }
    let path = format!("/v1/services/{}/deploy", args.name.name);
    let answer: Answer = globals.client().post(&path, &request).await?;
    wait::finish(&args.name, &answer, &args.wait, globals, out).await
}

impl Args {
    fn request(&self, by: &str, here: &Path) -> anyhow::Result<DeployRequest> {
        if self.name.namespace.is_some() {
            return Err(HomeError::Namespace(self.name.clone()).into());
        }
        self.check_for_machine()?;
        let version = self.version.clone();
        let version = version.ok_or_else(|| UsageError("--version is missing".to_owned()))?;
        let run = self.run.as_deref().map(|text| {
            command::split(text).map_err(|error| UsageError(format!("--run: {error}")))
        });
        let rollout = self.plan.rollout();
        if let Some(rollout) = &rollout {
            read_plan(&self.name.name, rollout)?;
        }
        let dir = self
            .dir
            .as_ref()
            .map(|dir| here.join(dir).display().to_string());
        Ok(DeployRequest {
            version,
            run: run.transpose()?,
            env: self.env.iter().cloned().collect::<BTreeMap<_, _>>(),
            dir,
            urls: (!self.url.is_empty()).then(|| self.url.clone()),
            replicas: self.replicas,
            rollout,
            by: by.to_owned(),
            reason: self.reason.clone(),
        })
    }

    /// Refuses what only a cluster understands, and the lack of what this machine needs.
    fn check_for_machine(&self) -> Result<(), UsageError> {
        let of_cluster = [
            (self.image.is_some(), "IMAGE"),
            (self.file.is_some(), "-f without --dry-run"),
            (!self.route.is_empty(), "--route"),
            (self.mesh.is_some(), "--mesh"),
            (self.prometheus.is_some(), "--prometheus"),
            (self.skip_validation, "--skip-validation"),
            (self.container.is_some(), "--container"),
        ];
        if let Some((_, what)) = of_cluster.iter().find(|(is_given, _)| *is_given) {
            let text = format!("{what} is a matter of Kubernetes; give --kube, too");
            return Err(UsageError(text));
        }
        if self.run.is_none() && self.url.is_empty() {
            let text = "what is to run is missing; expected --run COMMAND, or --url URL";
            return Err(UsageError(text.to_owned()));
        }
        Ok(())
    }

    fn plan_to_show(&self) -> anyhow::Result<Plan> {
        if let Some(rollout) = self.plan.rollout() {
            return Ok(read_plan(&self.name.name, &rollout)?);
        }
        let path = self.file.as_deref();
        let path = path.unwrap_or_else(|| Path::new(RELEASE_FILE));
        let shown = path.display();
        let text = fs::read_to_string(path);
        let text = text.with_context(|| {
            format!(
                "reading the service's own plan from {shown}; give -f FILE, or options of the plan"
            )
        })?;
        let file = file::parse(&text);
        let file = file.map_err(|problems| {
            anyhow::anyhow!(
                "{shown} has {}; see `haldane lint -f {shown}`",
                count(problems.len(), "mistake", "mistakes")
            )
        })?;
        let service = file.services.get(&self.name.name);
        let service =
            service.ok_or_else(|| UsageError(format!("{shown} has no service {}", self.name)))?;
        Ok(service.plan.clone())
    }
}

/// Reads a plan from the `rollout` part of a release file, with the file's own reader, so that a mistake is told before anything is
/// asked of the daemon.
pub(super) fn read_plan(name: &ServiceName, rollout: &Value) -> Result<Plan, UsageError> {
    let around = json!({
        "services": {
            name.as_str(): {
                "listen": "127.0.0.1:0",
                "stable": { "version": "stable", "url": "http://127.0.0.1:1" },
                "rollout": rollout,
            },
        },
    });
    let service = |file: file::File| file.services.into_values().next();
    match file::parse(&around.to_string()).map(service) {
        Ok(Some(service)) => Ok(service.plan),
        Ok(None) => Err(UsageError("the options make no plan".to_owned())),
        Err(problems) => {
            let texts: Vec<&str> = problems
                .iter()
                .map(|problem| problem.message.as_str())
                .collect();
            Err(UsageError(texts.join("\n")))
        }
    }
}

/// Returns a hint where it looks as if the user's shell has replaced `$PORT` by nothing.
fn port_hint(words: &[String]) -> Option<&'static str> {
    let is_flag = |word: &str| word == "--port" || word == "-p";
    let empty_after =
        |pair: &[String]| matches!(pair, [flag, next] if is_flag(flag) && next.starts_with('-'));
    let is_lost = words
        .last()
        .is_some_and(|last| is_flag(last) || last == "--port=" || last.ends_with(':'))
        || words.windows(2).any(empty_after);
    is_lost.then_some("hint: the command names no port; in double quotes your shell replaces $PORT itself, so use single quotes")
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("expected NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests;
