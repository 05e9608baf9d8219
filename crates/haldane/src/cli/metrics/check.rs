//! `haldane metrics check`: every metric of a file, asked for now.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use haldane_analysis::sequential::Reading as Read;
use haldane_api::{
    file::{self, Service},
    text::{show_duration, show_milli},
};
use haldane_core::{
    ServiceName, VersionName,
    plan::metric::{Ask, Direction, Kind, Metric, Source as MetricSource},
};
use haldane_source::Reading;
use haldane_supervisor::job::Jobs;
use jiff::Timestamp;
use serde::Serialize;

use super::{CheckArgs, counted::Proxy};
use crate::{
    cli::{
        exit::{Exit, UsageError},
        globals::Globals,
        paint::Tone,
        result,
        source::Source,
        table::{Cell, Table},
    },
    wire::observe::{
        ask::Asker,
        measure::{Answers, Counting, GAUGE_SCALE},
        question::{Queries, Question, window},
        watcher::ask_both,
    },
};

/// How long a metric system may take; a person waits.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How many values of one label are listed.
const VALUES_MAX: usize = 8;

/// What a metric system said of one metric of one version.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    service: String,
    metric: String,
    kind: &'static str,
    source: String,
    version: String,
    /// `stable` or `canary`.
    arm: &'static str,
    /// The value in words.
    value: Option<String>,
    /// How old the newest value is.
    age_seconds: Option<u64>,
    /// How many series there are.
    series: usize,
    /// The labels that were seen, each with some of its values.
    labels: BTreeMap<String, Vec<String>>,
    /// What is missing, and why.
    missing: Option<String>,
    /// Which limit is broken now.
    broken: Option<String>,
    /// What was asked.
    queries: Vec<String>,
}

pub(super) async fn run(
    args: &CheckArgs,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let source = Source::read(&args.file)?;
    let file = source.parse();
    let file = file.map_err(|problems| anyhow::anyhow!("{}", problems.join("\n")))?;
    if let Some(name) = &args.service
        && !file.services.contains_key(name)
    {
        return Err(UsageError(format!("{} has no service {name}", source.name())).into());
    }
    let base_dir = source.base_dir()?;
    let is_asked = |name: &ServiceName| args.service.as_ref().is_none_or(|one| one == name);
    let asker = Asker::new(ANSWER_TIMEOUT, Jobs::alone());
    let services = || file.services.iter().filter(|(name, _)| is_asked(name));
    let is_counted = |metric: &Metric| matches!(metric.ask, Ask::Requests(_));
    let mut metrics = services().flat_map(|(_, service)| &service.plan.rules().metrics);
    let proxy = if metrics.any(is_counted) {
        Proxy::read(globals).await
    } else {
        Proxy::Silent(String::new())
    };
    let mut findings = Vec::new();
    for (name, service) in services() {
        let asker = asker.in_dir(Some(directory(&base_dir, service)));
        let stable = args.stable.as_ref().unwrap_or(&service.stable.version);
        for metric in &service.plan.rules().metrics {
            let versions = (stable, args.canary.as_ref());
            findings.extend(check((&asker, &proxy), name, metric, versions).await);
        }
    }
    result::write(globals, out, &findings, |out| {
        write(&findings, &source.name(), globals, out)
    })?;
    let is_fine = |finding: &Finding| finding.missing.is_none() && finding.broken.is_none();
    let is_fine = findings.iter().all(is_fine);
    Ok(if is_fine { Exit::Done } else { Exit::Failed })
}

/// Returns the directory in which the commands of a service are run: that of its processes, else that of the file.
fn directory(base_dir: &Path, service: &Service) -> PathBuf {
    match &service.stable.source {
        file::Source::Run { dir, .. } => base_dir.join(dir),
        file::Source::Urls(_) => base_dir.to_owned(),
    }
}

/// Asks for one metric of both versions.
async fn check(
    (asker, proxy): (&Asker, &Proxy),
    service: &ServiceName,
    metric: &Metric,
    (stable, canary): (&VersionName, Option<&VersionName>),
) -> Vec<Finding> {
    let finding = |arm, version: &VersionName| Finding {
        service: service.to_string(),
        metric: metric.name.clone(),
        kind: metric.kind.name(),
        source: metric.source.name.clone(),
        version: version.to_string(),
        arm,
        ..Finding::default()
    };
    let mut findings = Vec::new();
    if let Ask::Requests(requests) = &metric.ask {
        for (arm, version) in [("stable", Some(stable)), ("canary", canary)] {
            let Some(version) = version else { continue };
            findings.push(Finding {
                value: Some(proxy.value(service, version, metric)),
                queries: vec![
                    format!("hit: {}", requests.hit),
                    format!("of: {}", requests.of),
                ],
                ..finding(arm, version)
            });
        }
        return findings;
    }
    let asked = Question::try_new(metric, service, stable, canary);
    for (arm, version) in [("stable", Some(stable)), ("canary", canary)] {
        let Some(version) = version else { continue };
        let mut finding = finding(arm, version);
        match &asked {
            Ok(question) => {
                let of_canary = question.canary.as_ref().filter(|_| arm == "canary");
                let queries = of_canary.unwrap_or(&question.stable);
                finding
                    .ask(asker, metric, queries, &question.counting())
                    .await;
            }
            Err(error) => finding.missing = Some(error.to_string()),
        }
        findings.push(finding);
    }
    findings
}

impl Finding {
    async fn ask(
        &mut self,
        asker: &Asker,
        metric: &Metric,
        queries: &Queries,
        counting: &Counting,
    ) {
        self.queries = [Some(&queries.events), queries.exposure.as_ref()]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        let now = Timestamp::now();
        let answers = match ask_both(asker, metric, queries, now).await {
            Ok(answers) => answers,
            Err(error) => {
                self.missing = Some(error.to_string());
                return;
            }
        };
        self.describe(&answers, now);
        let total = if is_so_far(metric) {
            Counting::so_far(&answers, self.arm)
        } else {
            counting.total(answers, now, self.arm)
        };
        match total {
            Ok(total) => {
                self.broken = metric.limit.and_then(|limit| broken(&total, metric, limit));
                self.value = Some(value(&total, metric));
            }
            Err(gap) => self.missing = Some(gap.to_string()),
        }
        let age = self.age_seconds.map(Duration::from_secs);
        if let Some(age) = age.filter(|age| *age > metric.stale_after) {
            let limit = show_duration(metric.stale_after);
            let age = age.as_secs();
            self.missing = Some(format!(
                "the newest value is {age} s old; expected at most {limit}"
            ));
        }
    }

    /// Notes which series there are, and how old they are.
    fn describe(&mut self, answers: &Answers, now: Timestamp) {
        let readings = [Some(&answers.events), answers.exposure.as_ref()];
        let points = || {
            readings
                .into_iter()
                .flatten()
                .flat_map(|reading: &Reading| &reading.points)
        };
        let newest = points().map(|point| point.at).max();
        let age = newest.map(|newest| now.duration_since(newest));
        self.age_seconds = age.map(|age| u64::try_from(age.as_secs()).unwrap_or(0));
        let series: BTreeSet<_> = points().map(|point| &point.labels).collect();
        self.series = series.len();
        let mut seen: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (name, value) in series.iter().flat_map(|labels| labels.iter()) {
            seen.entry(name).or_default().insert(value);
        }
        let listed = seen.into_iter().map(|(name, values)| {
            let surplus = values.len().saturating_sub(VALUES_MAX);
            let mut values: Vec<String> = values
                .into_iter()
                .take(VALUES_MAX)
                .map(str::to_owned)
                .collect();
            if surplus > 0 {
                values.push(format!("… {surplus} more"));
            }
            (name.to_owned(), values)
        });
        self.labels = listed.collect();
    }
}

/// Whether a metric system tells what was counted since its counters began, rather than in the last minutes.
fn is_so_far(metric: &Metric) -> bool {
    metric.kind != Kind::Gauge && metric.source.provider.has_totals()
}

/// Says which limit is broken, if it is.
fn broken(total: &Read, metric: &Metric, limit: u64) -> Option<String> {
    let (found, is_gauge) = match total {
        Read::Counts(counts) => (ppm(counts.events, counts.exposure)?, false),
        Read::Pods(pods) => {
            let count = u64::try_from(pods.len()).ok()?;
            let sum = pods.iter().copied().fold(0, u64::saturating_add);
            (sum.checked_div(count)?, true)
        }
        Read::Latency(_) => return None,
    };
    let is_broken = match metric.direction {
        Direction::HigherIsWorse => found > limit,
        Direction::LowerIsWorse => found < limit,
    };
    let shown = |value| {
        if is_gauge {
            show_milli(value)
        } else {
            share_of(value)
        }
    };
    is_broken.then(|| format!("{} breaks the limit of {}", shown(found), shown(limit)))
}

/// Returns a share in parts per million; `None` of nothing.
fn ppm(events: u64, exposure: u64) -> Option<u64> {
    let ppm = u128::from(events).saturating_mul(1_000_000);
    u64::try_from(ppm.checked_div(u128::from(exposure))?).ok()
}

fn share_of(ppm: u64) -> String {
    format!("{}.{:04}%", ppm / 10_000, ppm % 10_000)
}

/// Says a value in words.
fn value(total: &Read, metric: &Metric) -> String {
    let time = if is_so_far(metric) {
        "so far".to_owned()
    } else {
        format!("in {}", show_duration(window(metric)))
    };
    match total {
        Read::Counts(counts) if metric.kind == Kind::Counter => match &metric.ask {
            // Of those that tell no time the exposure stands for nothing.
            Ask::Counts { exposure: None, .. } if is_so_far(metric) => {
                format!("{} {time}", counts.events)
            }
            Ask::Counts { .. } | Ask::Query(_) | Ask::Template(_) | Ask::Requests(_) => {
                format!("{} of {} {time}", counts.events, counts.exposure)
            }
        },
        Read::Counts(counts) => format!("{} {time}", share(counts.events, counts.exposure)),
        Read::Latency(buckets) => {
            let all = buckets
                .iter()
                .map(|bucket| bucket.count)
                .fold(0, u64::saturating_add);
            let median = all.div_ceil(2);
            let mut below = 0_u64;
            let bound = buckets.iter().find(|bucket| {
                below = below.saturating_add(bucket.count);
                below >= median && median > 0
            });
            let bound = bound
                .filter(|bucket| bucket.upper_us < u64::MAX)
                .map_or_else(String::new, |bucket| {
                    let bound = show_duration(Duration::from_micros(bucket.upper_us));
                    format!(", half of them within {bound}")
                });
            format!("{all} {time}{bound}")
        }
        Read::Pods(pods) => {
            let values: Vec<String> = pods
                .iter()
                .take(VALUES_MAX)
                .map(|pod| unscaled(*pod))
                .collect();
            format!("{} pods: {}", pods.len(), values.join(", "))
        }
    }
}

/// Says how many of how many: `30.0000%: 3 of 10`.
pub(super) fn share(events: u64, exposure: u64) -> String {
    let ppm = u128::from(events)
        .saturating_mul(1_000_000)
        .checked_div(u128::from(exposure));
    let share = ppm.map_or_else(String::new, |ppm| {
        format!("{}.{:04}%: ", ppm / 10_000, ppm % 10_000)
    });
    format!("{share}{events} of {exposure}")
}

/// Returns a gauge as it was before it became a whole number.
fn unscaled(value: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown to three places")]
    let value = value as f64 / GAUGE_SCALE;
    value.to_string()
}

fn write(
    findings: &[Finding],
    file: &str,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    if findings.is_empty() {
        writeln!(out, "{file}: no metrics besides requests")?;
        return Ok(());
    }
    let mut table = Table::new(["SERVICE", "METRIC", "VERSION", "AGE", "VALUE"]);
    for finding in findings {
        let age = finding
            .age_seconds
            .map_or_else(|| "-".to_owned(), |age| format!("{age}s"));
        let value = match (&finding.missing, &finding.value) {
            (Some(why), _) => Cell::new(Tone::Bad, format!("missing: {why}")),
            (None, value) => {
                let value = value.clone().unwrap_or_default();
                match &finding.broken {
                    Some(broken) => Cell::new(Tone::Bad, format!("{value}; {broken}")),
                    None => value.into(),
                }
            }
        };
        let version = format!("{} ({})", finding.version, finding.arm);
        let (service, metric) = (&finding.service, &finding.metric);
        table.push([
            service.into(),
            metric.into(),
            version.into(),
            age.into(),
            value,
        ]);
    }
    table.write(out, globals.width, globals.paint)?;
    for finding in findings {
        let labels = finding.labels.iter().filter(|(name, _)| *name != "le");
        let labels: Vec<String> = labels
            .map(|(name, values)| format!("{name}={}", values.join("|")))
            .collect();
        let Finding {
            metric,
            version,
            series,
            ..
        } = finding;
        if finding.source == MetricSource::PROXY {
            writeln!(out, "\n{metric} of {version}, counted by the proxy")?;
        } else {
            writeln!(out, "\n{metric} of {version}: {series} series")?;
        }
        for line in finding.queries.iter().chain(&labels) {
            writeln!(out, "  {}", crate::cli::words::clean(line))?;
        }
    }
    Ok(())
}
