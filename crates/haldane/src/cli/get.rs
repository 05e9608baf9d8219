//! `haldane get`: what runs, as a table, as a tree, as a live view, or against the file.

mod detail;

use std::{collections::BTreeMap, io::Write};

use haldane_api::http::{RolloutView, ServiceView, StepState, VersionView};
use tokio::task::JoinSet;

use super::{
    exit::{Exit, UsageError, talk},
    globals::{Format, Globals},
    home::{Followed, Scope, Seen},
    live, paint,
    paint::Tone,
    result,
    snapshot::Snapshot,
    subject::Subject,
    table::{Cell, Table},
    words::{NOTHING, bps_or_nothing, clean, span, time_of_day},
};

/// Shows services and their rollouts.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service, on Kubernetes the release: NAME or NS/NAME; all of them by default
    name: Option<Subject>,
    /// On Kubernetes: the releases of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Go on showing changes: full-screen on a terminal, a line for each change elsewhere
    #[arg(short, long, conflicts_with = "diff")]
    watch: bool,
    /// Show where what runs differs from the file that was applied last
    #[arg(long)]
    diff: bool,
}

/// Runs the command.
pub(crate) async fn run(
    args: &Args,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let home = globals.home().await?;
    let scope = args.scope()?;
    let (services, one) = match &args.name {
        Some(name) => {
            let one = Snapshot::ask(&*home, name).await?;
            (vec![one.service.clone()], Some(one))
        }
        None => (home.services(scope).await?, None),
    };
    if args.watch {
        let followed = one.as_ref().map_or(Followed::All(scope), |one| {
            Followed::One(Subject::of(&one.service))
        });
        return watch(followed, services, globals, out).await;
    }
    if args.diff {
        return diff(&services, globals, out);
    }
    match &one {
        Some(one) => result::write(globals, out, &one.service, |out| {
            detail::write(one, globals, out)
        })?,
        None => result::write(globals, out, &services, |out| {
            write_services(&services, scope, globals, out)
        })?,
    }
    Ok(Exit::Done)
}

impl Args {
    fn scope(&self) -> Result<Scope, UsageError> {
        match (&self.name, self.all_namespaces) {
            (None, true) => Ok(Scope::Everywhere),
            (_, false) => Ok(Scope::Here),
            (Some(name), true) => Err(UsageError(format!(
                "{name} and --all-namespaces; expected one of them"
            ))),
        }
    }
}

async fn watch(
    followed: Followed,
    services: Vec<ServiceView>,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    if globals.is_terminal && globals.format == Format::Table {
        let title = match &followed {
            Followed::One(subject) => format!("haldane get {subject} -w"),
            Followed::All(_) => "haldane get -w".to_owned(),
        };
        return live::session::run(
            live::session::Config {
                title,
                followed,
                first: services,
                csv: None,
                until: None,
            },
            globals,
        )
        .await;
    }
    let is_everywhere = followed == Followed::All(Scope::Everywhere);
    let mut tasks = JoinSet::new();
    let home = globals.home().await?;
    let mut seen = home.follow(followed, &mut tasks);
    let (mut told, mut is_lost) = (BTreeMap::new(), false);
    while let Some(next) = seen.recv().await {
        match next {
            Seen::Lost(error) => {
                if !is_lost {
                    talk(&format!("{error}; trying again"));
                }
                is_lost = true;
            }
            Seen::Service(view) => {
                is_lost = false;
                if globals.format != Format::Table {
                    result::write_next(globals, out, &view)?;
                    continue;
                }
                let subject = Subject::of(&view);
                let name = shown_name(&subject, is_everywhere);
                let line = change_line(&name, &view);
                if told.insert(subject, line.clone()).as_ref() != Some(&line) {
                    let line = format!("{}  {line}\n", time_of_day(view.at, &globals.zone));
                    out.write_all(line.as_bytes())?;
                    out.flush()?;
                }
            }
        }
    }
    Ok(Exit::Done)
}

fn diff(services: &[ServiceView], globals: &Globals, out: &mut impl Write) -> anyhow::Result<Exit> {
    let differences: BTreeMap<&str, &Vec<String>> = services
        .iter()
        .map(|service| (service.name.as_str(), &service.differences))
        .collect();
    result::write(globals, out, &differences, |out| {
        for (name, differences) in &differences {
            for difference in *differences {
                writeln!(out, "{name}: {}", clean(difference))?;
            }
        }
        if differences
            .values()
            .all(|differences| differences.is_empty())
        {
            writeln!(out, "What runs is what the file says.")?;
        }
        Ok(())
    })?;
    Ok(Exit::Done)
}

/// What a line of `get -w` tells; the same text means that nothing worth a line has changed.
fn change_line(name: &str, view: &ServiceView) -> String {
    let Some(rollout) = &view.rollout else {
        return format!("{name}  {} serves", view.stable.version);
    };
    let RolloutView {
        phase,
        weight_bps,
        message,
        canary,
        ..
    } = rollout;
    let step = step_text(rollout);
    format!(
        "{name}  {canary}  {phase}  step {step}  weight {weight_bps}  {}",
        clean(message)
    )
}

/// Writes all services, one a line.
fn write_services(
    services: &[ServiceView],
    scope: Scope,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    if services.is_empty() {
        let text = match (&globals.access, scope) {
            (None, _) => "No services; `haldane apply -f haldane.yaml` brings some.",
            (Some(_), Scope::Here) => "No releases in this namespace; -A shows those of all.",
            (Some(_), Scope::Everywhere) => "No releases in this cluster.",
        };
        writeln!(out, "{text}")?;
        return Ok(());
    }
    let mut table = Table::new([
        "NAME", "PHASE", "STEP", "WEIGHT", "OBSERVED", "STABLE", "CANARY", "READY", "AGE",
        "MESSAGE",
    ]);
    for service in services {
        let name = shown_name(&Subject::of(service), scope == Scope::Everywhere);
        table.push(row(name, service));
    }
    table.write(out, globals.width, globals.paint)?;
    for service in services {
        for notice in &service.notices {
            let name = shown_name(&Subject::of(service), scope == Scope::Everywhere);
            writeln!(out, "{name}: {}", clean(notice))?;
        }
    }
    Ok(())
}

/// Returns a name as it is shown: the namespace only where there are several.
fn shown_name(subject: &Subject, is_everywhere: bool) -> String {
    if is_everywhere {
        subject.to_string()
    } else {
        subject.name.to_string()
    }
}

/// Returns the row of a service in the table of all.
fn row(name: String, service: &ServiceView) -> [Cell; 10] {
    let stable = service.stable.version.as_str();
    let Some(rollout) = &service.rollout else {
        let nothing = || Cell::from(NOTHING);
        let message = "no rollout";
        return [
            name.into(),
            nothing(),
            nothing(),
            nothing(),
            nothing(),
            stable.into(),
            nothing(),
            ready_text(service).into(),
            nothing(),
            message.into(),
        ];
    };
    let (_, tone) = paint::phase(&rollout.phase);
    let age = span(rollout.started_at, rollout.ended_at.unwrap_or(service.at));
    let nothing = || NOTHING.to_owned();
    let (canary, weight, observed) = if rollout.canary == service.stable.version {
        // What was the canary has become stable: there is none that could have a share.
        (nothing(), nothing(), nothing())
    } else {
        (
            rollout.canary.to_string(),
            rollout.weight_bps.to_string(),
            bps_or_nothing(rollout.observed_bps),
        )
    };
    [
        name.into(),
        Cell::new(tone, &rollout.phase),
        step_text(rollout).into(),
        weight.into(),
        observed.into(),
        stable.into(),
        canary.into(),
        ready_text(service).into(),
        age.into(),
        rollout.message.as_str().into(),
    ]
}

/// Returns how many replicas are ready of those that are wanted, stable's and then the canary's: `2/2`, `2/2+1/1`.
fn ready_text(service: &ServiceView) -> String {
    let ready = |version: &VersionView| {
        let (ready, wanted) = (version.replicas_ready, version.replicas_wanted);
        format!("{ready}/{wanted}")
    };
    let all = std::iter::once(&service.stable).chain(&service.canary);
    if service.namespace.is_some() && all.clone().all(|one| one.replicas_existing == 0) {
        // Nobody said which objects run it, or we may not see them.
        return NOTHING.to_owned();
    }
    all.map(ready).collect::<Vec<_>>().join("+")
}

/// Returns how far a rollout is: `3/8`, and [`NOTHING`] before the first step and after the last.
pub(crate) fn step_text(rollout: &RolloutView) -> String {
    rollout.step.map_or_else(
        || NOTHING.to_owned(),
        |step| format!("{step}/{}", rollout.steps.len()),
    )
}

/// Returns sign, word and tone of a step.
pub(crate) fn step_sign(state: StepState) -> (&'static str, &'static str, Tone) {
    match state {
        StepState::Done => ("✔", "done", Tone::Good),
        StepState::Current => ("●", "now ", Tone::Busy),
        StepState::Next => ("○", "next", Tone::Dim),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::testing::{Daemon, Reply, service_json};

    fn daemon() -> Daemon {
        let mut idle = service_json("Completed");
        idle["name"] = json!("cart");
        idle["rollout"] = Value::Null;
        idle["canary"] = Value::Null;
        idle["differences"] = json!([]);
        let services = json!([service_json("Progressing"), idle]);
        Daemon::start([
            ("GET /v1/services", Reply::json(200, &services)),
            (
                "GET /v1/services/auth",
                Reply::json(200, &service_json("Progressing")),
            ),
            ("GET /v1/services/cart", Reply::json(200, &idle)),
        ])
    }

    #[tokio::test]
    async fn all_services_are_a_table() {
        let (exit, out) = daemon().run("get").await;
        assert_eq!(exit.unwrap(), Exit::Done);
        insta::assert_snapshot!(out);
    }

    #[tokio::test]
    async fn a_canary_that_was_promoted_is_one_no_more() {
        let mut service = service_json("Completed");
        service["stable"]["version"] = json!("v2");
        service["canary"] = Value::Null;
        service["rollout"]["step"] = Value::Null;
        service["rollout"]["weightBps"] = json!(10_000);
        let services = json!([service]);
        let daemon = Daemon::start([("GET /v1/services", Reply::json(200, &services))]);
        let expected = "\
NAME  PHASE      STEP  WEIGHT  OBSERVED  STABLE  CANARY  READY  AGE  MESSAGE
auth  Completed  -     -       -         v2      -       2/2    10m
    holding at 25% for 5m
";
        assert_eq!(daemon.run("get").await.1, expected);
    }

    #[tokio::test]
    async fn one_service_is_a_tree() {
        let (_, out) = daemon().run("get auth").await;
        insta::assert_snapshot!(out);
    }

    /// A reader that leaves after some lines.
    struct Head {
        lines: Vec<u8>,
        lines_max: usize,
    }

    impl Write for Head {
        fn write(&mut self, piece: &[u8]) -> std::io::Result<usize> {
            if self.lines.split(|byte| *byte == b'\n').count() > self.lines_max {
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
            self.lines.extend_from_slice(piece);
            Ok(piece.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn watching_tells_what_is_worth_a_line_until_the_reader_leaves() {
        let mut figures_only = service_json("Progressing");
        figures_only["canary"]["figures"]["requests"] = json!(9);
        let changes = [
            service_json("Progressing"),
            figures_only,
            service_json("Paused"),
            service_json("Completed"),
        ];
        let daemon = Daemon::start([
            ("GET /v1/services/auth", Reply::json(200, &changes[0])),
            ("GET /v1/events", Reply::events(&changes)),
        ]);
        let mut out = Head {
            lines: Vec::new(),
            lines_max: 2,
        };
        let error = daemon.run_into("get auth -w", &mut out).await.unwrap_err();
        assert_eq!(
            crate::cli::exit::exit_of(&error),
            Exit::Done,
            "a reader that has seen enough is no error"
        );
        let expected = "\
12:00:00  auth  v2  Progressing  step 4/6  weight 25%  holding at 25% for 5m
12:00:00  auth  v2  Paused  step 4/6  weight 25%  holding at 25% for 5m
";
        assert_eq!(String::from_utf8(out.lines).unwrap(), expected);
    }

    #[tokio::test]
    async fn differences_from_the_file_are_told() {
        let daemon = daemon();
        assert_eq!(
            daemon.run("get --diff").await.1,
            "auth: stable is v1, the file says v0\n"
        );
        assert_eq!(
            daemon.run("get cart --diff").await.1,
            "What runs is what the file says.\n"
        );
    }

    #[tokio::test]
    async fn programs_get_what_the_api_says() {
        let daemon = daemon();
        let out: Value = serde_json::from_str(&daemon.run("get auth -o json").await.1).unwrap();
        assert_eq!(out, service_json("Progressing"));
        let (_, out) = daemon.run("get -o yaml").await;
        assert!(
            out.starts_with("- ") && out.contains("\n  phase: ")
                || out.contains("phase: Progressing"),
            "{out}"
        );
    }

    #[tokio::test]
    async fn an_unknown_service_is_a_failure() {
        let (exit, _) = daemon().run("get nobody").await;
        assert_eq!(
            exit.unwrap_err().to_string(),
            "nothing at /v1/services/nobody"
        );
    }
}
