//! `haldane monitor`: stable and canary side by side, until told to stop.

pub(crate) mod csv;

use std::{io::Write, path::PathBuf, time::Duration};

use haldane_api::{
    http::{ServiceView, VersionView},
    text::{TextError, Unit, parse_duration_or},
};
use jiff::Timestamp;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use self::csv::Csv;
use super::{
    bands, comparison,
    exit::{Exit, UsageError, talk},
    figure::{Figure, Status},
    get::step_text,
    globals::{Format, Globals},
    home::{Followed, Seen},
    live, result,
    snapshot::as_of,
    subject::Subject,
    words::{NOTHING, bps_or_nothing, clean, time_of_day},
};

/// Shows stable and canary side by side.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service, on Kubernetes the release: NAME or NS/NAME
    name: Subject,
    /// How often figures are written to the export, and to stdout where that is no terminal; a bare number is seconds
    #[arg(long, value_name = "TIME", value_parser = seconds, default_value = "5s")]
    interval: Duration,
    /// When to stop, such as 90s; a bare number is minutes. By default never
    #[arg(long, value_name = "TIME", value_parser = minutes)]
    duration: Option<Duration>,
    /// Write the figures to a file as CSV; without a name to haldane-metrics.csv
    #[arg(
        long,
        value_name = "FILE",
        num_args = 0..=1,
        default_missing_value = "haldane-metrics.csv",
    )]
    export_metrics: Option<PathBuf>,
}

/// Runs the command.
pub(crate) async fn run(
    args: &Args,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    if args.interval.is_zero() {
        return Err(
            UsageError("--interval 0; expected a time above zero such as 5s".to_owned()).into(),
        );
    }
    // A service that does not exist is told before the screen is taken.
    let home = globals.home().await?;
    let first = home.service(&args.name).await?;
    let csv = args
        .export_metrics
        .as_deref()
        .map(Csv::create)
        .transpose()?;
    let until = args
        .duration
        .and_then(|duration| Instant::now().checked_add(duration));
    if globals.is_terminal && globals.format == Format::Table {
        let title = format!("haldane monitor {}", args.name);
        let followed = Followed::One(Subject::of(&first));
        let csv = csv.map(|csv| live::session::Export {
            csv,
            interval: args.interval,
        });
        return live::session::run(
            live::session::Config {
                title,
                followed,
                first: vec![first],
                csv,
                until,
            },
            globals,
        )
        .await;
    }
    lines(first, args, csv, until, globals, out).await
}

/// Writes some lines at each interval.
async fn lines(
    first: ServiceView,
    args: &Args,
    mut csv: Option<Csv>,
    until: Option<Instant>,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let (mut last, mut is_lost) = (first, false);
    // What was told the last time is not told again.
    let mut told: Vec<String> = Vec::new();
    let mut tasks = JoinSet::new();
    let home = globals.home().await?;
    let mut seen = home.follow(Followed::One(Subject::of(&last)), &mut tasks);
    let mut ticks = interval(args.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let end = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = ticks.tick() => {
                if let Some(csv) = &mut csv {
                    csv.add(&last, Timestamp::now())?;
                }
                match globals.format {
                    Format::Table => {
                        write_lines(&last, globals, out)?;
                        let news = last.notices.iter().filter(|one| !told.contains(one));
                        for notice in news {
                            writeln!(out, "  notice: {}", clean(notice))?;
                        }
                        told.clone_from(&last.notices);
                    }
                    Format::Json | Format::Yaml => result::write_next(globals, out, &last)?,
                }
                out.flush()?;
            }
            () = end => return Ok(Exit::Done),
            next = seen.recv() => match next {
                Some(Seen::Service(view)) => {
                    last = *view;
                    is_lost = false;
                }
                Some(Seen::Lost(error)) => {
                    if !is_lost {
                        talk(&format!("{error}; trying again"));
                    }
                    is_lost = true;
                }
                None => return Ok(Exit::Failed),
            },
        }
    }
}

fn write_lines(
    service: &ServiceView,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let at = time_of_day(service.at, &globals.zone);
    let rollout = service.rollout.as_ref();
    match rollout {
        Some(rollout) => {
            let phase = globals.paint.phase(&rollout.phase);
            let (step, observed) = (step_text(rollout), bps_or_nothing(rollout.observed_bps));
            let message = clean(&rollout.message);
            let weight = rollout.weight_bps;
            writeln!(
                out,
                "{at}  {}  {phase}  step {step}  weight {weight}, observed {observed}  {message}",
                service.name
            )?;
        }
        None => writeln!(out, "{at}  {}  no rollout", service.name)?,
    }
    let is_in_cluster = service.namespace.is_some();
    write_version(
        ("stable", &service.stable),
        is_in_cluster,
        &|figure, version| figure.stable_status(version),
        globals,
        out,
    )?;
    if let Some(canary) = &service.canary {
        write_version(
            ("canary", canary),
            is_in_cluster,
            &|figure, version| figure.canary_status(version, rollout),
            globals,
            out,
        )?;
    }
    if let Some(judgement) = rollout.and_then(|rollout| rollout.judgement.as_ref()) {
        let verdict = globals.paint.verdict(judgement.verdict);
        let as_of = as_of(service, judgement, &globals.zone);
        writeln!(
            out,
            "  verdict: {verdict}: {}{as_of}",
            clean(&judgement.reason)
        )?;
        for metric in judgement.comparison.iter().flat_map(|known| &known.metrics) {
            writeln!(out, "  compared: {}", comparison::short(metric))?;
        }
        for (tone, text) in bands::unusual(judgement) {
            writeln!(out, "  unusual: {}", globals.paint.tone(tone, &text))?;
        }
    }
    if let Some(rollout) = rollout {
        writeln!(out, "  recommendation: {}", clean(&rollout.recommendation))?;
    }
    Ok(())
}

/// Writes the figures of one version.
fn write_version(
    (role, version): (&str, &VersionView),
    is_in_cluster: bool,
    status: &dyn Fn(Figure, &VersionView) -> Status,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    write!(out, "  {role} {}:", version.version)?;
    // Whoever has no metric system for a release is not told so ten times.
    let is_measured = !is_in_cluster || version.figures.request_rate_milli.is_some();
    let known = Figure::ALL
        .into_iter()
        .filter(|figure| is_measured || figure.show(version) != NOTHING);
    for (index, figure) in known.enumerate() {
        let status = status(figure, version);
        let word = globals.paint.tone(status.tone(), status.word());
        let comma = if index == 0 { "" } else { "," };
        write!(
            out,
            "{comma} {} {} {word}",
            figure.label(),
            figure.show(version)
        )?;
    }
    writeln!(out)?;
    Ok(())
}

fn seconds(text: &str) -> Result<Duration, TextError> {
    parse_duration_or(text, Unit::Seconds)
}

fn minutes(text: &str) -> Result<Duration, TextError> {
    parse_duration_or(text, Unit::Minutes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::{Daemon, Reply, service_json};

    fn daemon() -> Daemon {
        let auth = service_json("Progressing");
        Daemon::start([
            ("GET /v1/services/auth", Reply::json(200, &auth)),
            ("GET /v1/events", Reply::events(&[auth])),
        ])
    }

    #[tokio::test]
    async fn figures_are_lines_where_there_is_no_terminal() {
        let (exit, out) = daemon()
            .run("monitor auth --interval 1h --duration 300ms")
            .await;
        assert_eq!(exit.unwrap(), Exit::Done);
        insta::assert_snapshot!(out);
    }

    #[tokio::test]
    async fn the_export_has_rows_for_each_interval() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.csv");
        let line = format!(
            "monitor auth --interval 100ms --duration 250ms --export-metrics {}",
            path.display()
        );
        let (exit, _) = daemon().run(&line).await;
        assert_eq!(exit.unwrap(), Exit::Done);
        let text = std::fs::read_to_string(path).unwrap();
        assert!(
            text.starts_with("time,service,") && text.lines().count() >= 3,
            "{text}"
        );
        assert!(
            text.lines()
                .skip(1)
                .all(|line| line.contains(",auth,auth-7,Progressing,")),
            "{text}"
        );
    }

    #[test]
    fn bare_numbers_have_the_scripts_units() {
        assert_eq!(seconds("10"), Ok(Duration::from_secs(10)));
        assert_eq!(minutes("30"), Ok(Duration::from_mins(30)));
        assert_eq!(minutes("30s"), Ok(Duration::from_secs(30)));
    }

    #[tokio::test]
    async fn an_interval_of_nothing_is_refused() {
        let error = daemon()
            .run("monitor auth --interval 0")
            .await
            .0
            .unwrap_err();
        assert_eq!(crate::cli::exit::exit_of(&error), Exit::Usage);
    }
}
