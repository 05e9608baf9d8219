//! `haldane verify`: whether a service is well after a deployment: replicas healthy, errors normal, latency acceptable, resources in bounds.
//!
//! **Invariant:** what could not be measured is never told as passed.

use std::{io::Write, time::Duration};

use haldane_api::{
    http::{BandFinding, ObjectView, ServiceView, VersionView},
    text::{Unit, parse_duration_or, parse_limit},
};
use haldane_core::guard::{Limit, Metric};
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{
    exit::Exit,
    figure::{Figure, Status},
    globals::Globals,
    home::{Home, HomeError},
    paint::Tone,
    result,
    subject::Subject,
    table::{Cell, Table},
    words::clean,
};

/// How soon it is looked again with --within.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Verifies a service after its deployment.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service, on Kubernetes the release: NAME or NS/NAME
    name: Subject,
    /// The largest share of requests that may fail; a bare number is percent [default: 5%]
    #[arg(long, value_name = "LIMIT", value_parser = error_rate)]
    error_threshold: Option<u64>,
    /// The largest 95th percentile of latency; a bare number is milliseconds [default: only warn above 500ms]
    #[arg(long, value_name = "LIMIT", value_parser = p95)]
    latency_p95: Option<u64>,
    /// The largest 99th percentile of latency; a bare number is milliseconds [default: 1s]
    #[arg(long, value_name = "LIMIT", value_parser = p99)]
    latency_p99: Option<u64>,
    /// The largest use of one processor by a replica; a bare number is percent [default: only warn above 80%]
    #[arg(long, value_name = "LIMIT", value_parser = cpu)]
    cpu: Option<u64>,
    /// The most memory of a replica, such as 512MiB. By default there is no such limit
    #[arg(long, value_name = "LIMIT", value_parser = memory)]
    memory: Option<u64>,
    /// A minute without requests is no failure
    #[arg(long)]
    without_traffic: bool,
    /// What is only worth a look fails, too
    #[arg(long)]
    strict: bool,
    /// Look again until all is well, at most so long; a bare number is seconds
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    within: Option<Duration>,
}

/// What was found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verified {
    service: String,
    version: String,
    is_well: bool,
    checks: Vec<Check>,
    at: Timestamp,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    name: &'static str,
    status: Found,
    /// Whether the service is not well because of it.
    fails: bool,
    /// What was seen, and what it was held against.
    text: String,
}

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Found {
    Passed,
    Warning,
    Failed,
    NoData,
}

/// Runs the command.
pub(crate) async fn run(
    args: &Args,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let home = globals.home().await?;
    let until = args
        .within
        .and_then(|within| Instant::now().checked_add(within));
    let verified = loop {
        let verified = verify(args, &*home).await?;
        let is_over = until.is_none_or(|until| Instant::now() >= until);
        if verified.is_well || is_over {
            break verified;
        }
        sleep(LOOK_AGAIN).await;
    };
    result::write(globals, out, &verified, |out| {
        write(&verified, globals, out)
    })?;
    Ok(if verified.is_well {
        Exit::Done
    } else {
        Exit::Failed
    })
}

async fn verify(args: &Args, home: &dyn Home) -> Result<Verified, HomeError> {
    let service = home.service(&args.name).await?;
    let mut checks = vec![rollout(&service), replicas(&service), restarts(&service)];
    checks.extend(figures(&service, args));
    checks.extend(usual(&service));
    for check in &mut checks {
        let is_worth_a_look = args.strict && check.status == Found::Warning;
        check.fails |= check.status == Found::Failed || is_worth_a_look;
    }
    Ok(Verified {
        service: Subject::of(&service).to_string(),
        version: service.stable.version.to_string(),
        is_well: !checks.iter().any(|check| check.fails),
        checks,
        at: service.at,
    })
}

impl Check {
    fn new(name: &'static str, status: Found, text: String) -> Self {
        Self {
            name,
            status,
            fails: false,
            text,
        }
    }
}

/// Whether the last deployment has ended as one wants it to.
fn rollout(service: &ServiceView) -> Check {
    let Some(rollout) = &service.rollout else {
        return Check::new("rollout", Found::Passed, "there was none so far".to_owned());
    };
    let status = match rollout.phase.as_str() {
        "Completed" if rollout.is_applied => Found::Passed,
        _ => Found::Failed,
    };
    let text = match (rollout.is_over, rollout.is_applied) {
        (true, true) => format!("{} {}: {}", rollout.id, rollout.phase, rollout.message),
        (true, false) => format!(
            "{} {}, but the router does not do what was decided",
            rollout.id, rollout.phase
        ),
        (false, _) => format!(
            "{} goes on, {} at {}",
            rollout.id, rollout.phase, rollout.weight_bps
        ),
    };
    Check::new("rollout", status, text)
}

/// Whether all replicas that are wanted answer.
fn replicas(service: &ServiceView) -> Check {
    let version = &service.stable;
    let is_whole = version.replicas_wanted > 0 && version.replicas_ready >= version.replicas_wanted;
    let mut ailing = Vec::new();
    collect_ailing(&service.objects, &mut ailing);
    let mut text = format!(
        "{} of {} answer",
        version.replicas_ready, version.replicas_wanted
    );
    if !is_whole && !ailing.is_empty() {
        text.push_str(": ");
        text.push_str(&ailing.join(", "));
    }
    Check::new(
        "replicas",
        if is_whole {
            Found::Passed
        } else {
            Found::Failed
        },
        text,
    )
}

/// Names the pods that are not ready, and what is wrong with them.
fn collect_ailing(objects: &[ObjectView], ailing: &mut Vec<String>) {
    for object in objects {
        let is_canary = object.role.as_deref() == Some("canary");
        if object.kind == "Pod" && object.ready < object.wanted && !is_canary {
            let state = object.state.as_deref().unwrap_or("not ready");
            ailing.push(format!("{} {state}", object.name));
        }
        collect_ailing(&object.owned, ailing);
    }
}

fn restarts(service: &ServiceView) -> Check {
    match service.stable.figures.restarts {
        None => Check::new("restarts", Found::NoData, "not counted".to_owned()),
        Some(0) => Check::new(
            "restarts",
            Found::Passed,
            "none since the rollout began".to_owned(),
        ),
        Some(number) => Check::new(
            "restarts",
            Found::Warning,
            format!("{number} since the rollout began"),
        ),
    }
}

/// Holds the figures of the last minute against the limits.
fn figures(service: &ServiceView, args: &Args) -> Vec<Check> {
    let needed = !args.without_traffic;
    [
        (
            "errors",
            Figure::ErrorRate,
            Metric::ErrorRate,
            args.error_threshold,
            needed,
        ),
        (
            "p95 latency",
            Figure::P95,
            Metric::P95,
            args.latency_p95,
            needed,
        ),
        (
            "p99 latency",
            Figure::P99,
            Metric::P99,
            args.latency_p99,
            needed,
        ),
        (
            "cpu",
            Figure::Cpu,
            Metric::Cpu,
            args.cpu,
            args.cpu.is_some(),
        ),
        (
            "memory",
            Figure::Memory,
            Metric::Memory,
            args.memory,
            args.memory.is_some(),
        ),
    ]
    .map(|(name, figure, metric, limit, is_needed)| Looked {
        name,
        figure,
        metric,
        limit,
        is_needed,
    })
    .iter()
    .map(|looked| looked.check(&service.stable))
    .collect()
}

/// A figure, and what it is held against.
struct Looked {
    name: &'static str,
    figure: Figure,
    metric: Metric,
    /// A person's own limit.
    limit: Option<u64>,
    /// Whether it fails when nothing was measured.
    is_needed: bool,
}

impl Looked {
    fn check(&self, version: &VersionView) -> Check {
        let Self {
            name,
            figure,
            metric,
            limit,
            is_needed,
        } = *self;
        let Some(value) = figure.value(&version.figures) else {
            let needs_requests = matches!(figure, Figure::ErrorRate | Figure::P95 | Figure::P99);
            let text = if needs_requests {
                "no requests in the last minute"
            } else {
                "not measured"
            };
            let mut check = Check::new(name, Found::NoData, text.to_owned());
            check.fails = is_needed;
            return check;
        };
        let status = match limit {
            Some(limit) if value > limit => Found::Failed,
            Some(_) => Found::Passed,
            None => match figure.stable_status(version) {
                Status::Ok => Found::Passed,
                Status::Warning => Found::Warning,
                Status::Critical => Found::Failed,
                Status::NoData => Found::NoData,
            },
        };
        let told = limit.map(|limit| format!("at most {}", metric.unit().show(limit)));
        let told = told.unwrap_or_else(|| figure.limit(None));
        let shown = figure.show(version);
        let text = if told.is_empty() {
            shown
        } else {
            format!("{shown}, {told}")
        };
        Check::new(name, status, text)
    }
}

/// What was not as usual when the judge looked last.
fn usual(service: &ServiceView) -> Option<Check> {
    let judgement = service.rollout.as_ref()?.judgement.as_ref()?;
    let bands: Vec<_> = judgement
        .bands
        .iter()
        .filter(|band| band.finding != BandFinding::Unknown)
        .collect();
    if bands.is_empty() {
        return None;
    }
    let unusual = bands
        .iter()
        .filter(|band| band.finding != BandFinding::Usual);
    let texts: Vec<String> = unusual
        .map(|band| format!("{}: {}", band.metric, band.reason))
        .collect();
    Some(if texts.is_empty() {
        Check::new(
            "usual",
            Found::Passed,
            "all is as usual at this hour".to_owned(),
        )
    } else {
        Check::new("usual", Found::Warning, texts.join("; "))
    })
}

fn write(verified: &Verified, globals: &Globals, out: &mut impl Write) -> anyhow::Result<()> {
    let mut table = Table::new(["CHECK", "RESULT", "WHAT"]);
    for check in &verified.checks {
        let (tone, word) = match check.status {
            Found::Passed => (Tone::Good, "passed"),
            Found::Warning => (Tone::Warn, "warning"),
            Found::Failed => (Tone::Bad, "FAILED"),
            Found::NoData if check.fails => (Tone::Bad, "NO DATA"),
            Found::NoData => (Tone::Dim, "no data"),
        };
        table.push([
            check.name.into(),
            Cell::new(tone, word),
            clean(&check.text).into(),
        ]);
    }
    table.write(out, globals.width, globals.paint)?;
    let (tone, word) = if verified.is_well {
        (Tone::Good, "is well")
    } else {
        (Tone::Bad, "is NOT well")
    };
    let word = globals.paint.tone(tone, word);
    Ok(writeln!(
        out,
        "{} with {} {word}.",
        clean(&verified.service),
        clean(&verified.version)
    )?)
}

fn seconds(text: &str) -> Result<Duration, String> {
    parse_duration_or(text, Unit::Seconds).map_err(|error| error.to_string())
}

fn error_rate(text: &str) -> Result<u64, String> {
    absolute(Metric::ErrorRate, text, "%")
}

fn p95(text: &str) -> Result<u64, String> {
    absolute(Metric::P95, text, "ms")
}

fn p99(text: &str) -> Result<u64, String> {
    absolute(Metric::P99, text, "ms")
}

fn cpu(text: &str) -> Result<u64, String> {
    absolute(Metric::Cpu, text, "%")
}

fn memory(text: &str) -> Result<u64, String> {
    absolute(Metric::Memory, text, "B")
}

/// Reads a limit that needs no other version; a bare number has the unit that the deploy script gave it.
fn absolute(metric: Metric, text: &str, unit: &str) -> Result<u64, String> {
    let is_bare = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let text = if is_bare {
        format!("{text}{unit}")
    } else {
        text.to_owned()
    };
    match parse_limit(metric, &text) {
        Ok(Limit::Absolute(value)) => Ok(value),
        Ok(Limit::Times(_) | Limit::Points(_)) => Err(format!(
            "{text:?} compares with another version; expected a fixed value"
        )),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::testing::{Daemon, Reply, service_json};

    async fn verify(change: impl FnOnce(&mut Value), options: &str) -> (Exit, String) {
        let mut service = service_json("Completed");
        service["rollout"]["judgement"]["bands"] = json!([]);
        change(&mut service);
        let daemon = Daemon::start([("GET /v1/services/auth", Reply::json(200, &service))]);
        let (exit, out) = daemon.run(&format!("verify auth{options}")).await;
        (exit.unwrap(), out)
    }

    #[tokio::test]
    async fn a_service_that_is_well_passes() {
        let (exit, out) = verify(|_| (), "").await;
        let expected = "\
CHECK        RESULT  WHAT
rollout      passed  auth-7 Completed: holding at 25% for 5m
replicas     passed  2 of 2 answer
restarts     passed  none since the rollout began
errors       passed  0.12%, at most 5%
p95 latency  passed  42ms, at most 500ms
p99 latency  passed  88.1ms, at most 1s
cpu          passed  3.2%, at most 80%
memory       passed  12.3MiB
auth with v1 is well.
";
        assert_eq!(out, expected);
        assert_eq!(exit, Exit::Done);
    }

    #[tokio::test]
    async fn each_thing_that_is_wrong_fails() {
        type Change = fn(&mut Value);
        let cases: [(Change, &str, &str); 12] = [
            (
                |one| one["rollout"]["phase"] = "RolledBack".into(),
                "",
                "rollout      FAILED",
            ),
            (
                |one| {
                    one["rollout"]["isOver"] = false.into();
                    one["rollout"]["phase"] = "Paused".into()
                },
                "",
                "rollout      FAILED  auth-7 goes on, Paused at 25%",
            ),
            (
                |one| one["rollout"]["isApplied"] = false.into(),
                "",
                "rollout      FAILED",
            ),
            (
                |one| one["stable"]["replicasReady"] = 1.into(),
                "",
                "replicas     FAILED  1 of 2 answer",
            ),
            (
                |one| one["stable"]["replicasWanted"] = 0.into(),
                "",
                "replicas     FAILED",
            ),
            (
                |one| one["stable"]["figures"]["errorRatePpm"] = 50_001.into(),
                "",
                "errors       FAILED",
            ),
            (
                |one| one["stable"]["figures"]["errorRatePpm"] = Value::Null,
                "",
                "errors       NO DATA",
            ),
            (
                |one| one["stable"]["figures"]["p99Us"] = 1_000_001.into(),
                "",
                "p99 latency  FAILED",
            ),
            (
                |_| (),
                " --error-threshold 0.1",
                "errors       FAILED  0.12%, at most 0.1%",
            ),
            (
                |_| (),
                " --latency-p95 40",
                "p95 latency  FAILED  42ms, at most 40ms",
            ),
            (|_| (), " --cpu 3%", "cpu          FAILED  3.2%, at most 3%"),
            (
                |_| (),
                " --memory 8MiB",
                "memory       FAILED  12.3MiB, at most 8MiB",
            ),
        ];
        for (change, options, expected) in cases {
            let (exit, out) = verify(change, options).await;
            assert!(out.contains(expected), "{expected}: {out}");
            assert_eq!(exit, Exit::Failed, "{out}");
            assert!(out.ends_with("auth with v1 is NOT well.\n"), "{out}");
        }
    }

    #[tokio::test]
    async fn what_is_worth_a_look_fails_only_where_that_is_asked() {
        let slow = |one: &mut Value| one["stable"]["figures"]["p95Us"] = 600_000.into();
        assert_eq!(verify(slow, "").await.0, Exit::Done);
        assert_eq!(verify(slow, " --strict").await.0, Exit::Failed);
        let restarted = |one: &mut Value| one["stable"]["figures"]["restarts"] = 2.into();
        let (exit, out) = verify(restarted, "").await;
        assert!(out.contains("restarts     warning  2 since"), "{out}");
        assert_eq!(exit, Exit::Done);
        let unusual = |one: &mut Value| {
            one["rollout"]["judgement"] = service_json("Completed")["rollout"]["judgement"].clone()
        };
        let (exit, out) = verify(unusual, "").await;
        assert!(out.contains("usual        warning"), "{out}");
        assert_eq!(exit, Exit::Done);
    }

    #[tokio::test]
    async fn silence_is_a_failure_unless_it_is_expected() {
        let silent = |one: &mut Value| {
            for figure in ["errorRatePpm", "p95Us", "p99Us", "cpuPpm"] {
                one["stable"]["figures"][figure] = Value::Null;
            }
        };
        assert_eq!(verify(silent, "").await.0, Exit::Failed);
        assert_eq!(verify(silent, " --without-traffic").await.0, Exit::Done);
        assert_eq!(
            verify(silent, " --without-traffic --cpu 50").await.0,
            Exit::Failed
        );
    }

    #[tokio::test]
    async fn pods_that_ail_are_named_and_programs_get_it_all() {
        let ailing = |one: &mut Value| {
            one["stable"]["replicasReady"] = 1.into();
            let pod = |name: &str, role: &str| {
                json!({
                    "kind": "Pod", "name": name, "role": role, "revision": null, "ready": 0, "wanted": 1, "restarts": 4,
                    "image": null, "state": "CrashLoopBackOff", "owned": [], "leftOut": 0,
                })
            };
            let mut set = pod("auth-1", "stable");
            set["kind"] = "ReplicaSet".into();
            set["owned"] = json!([pod("auth-1-x", "stable"), pod("auth-2-y", "canary")]);
            one["objects"] = json!([set]);
        };
        let (exit, out) = verify(ailing, " -o json").await;
        assert_eq!(exit, Exit::Failed);
        let told: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(
            (&told["isWell"], &told["service"]),
            (&false.into(), &"auth".into())
        );
        assert_eq!(
            told["checks"][1]["text"],
            "1 of 2 answer: auth-1-x CrashLoopBackOff"
        );
        assert_eq!(
            (&told["checks"][1]["status"], &told["checks"][1]["fails"]),
            (&"Failed".into(), &true.into())
        );
    }

    #[test]
    fn limits_are_fixed_values() {
        assert_eq!(error_rate("5"), Ok(50_000));
        assert_eq!(p95("300"), Ok(300_000));
        assert!(p95("1.5x").unwrap_err().contains("expected a fixed value"));
    }
}
