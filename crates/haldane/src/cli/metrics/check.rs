//! `haldane metrics check`: every metric of a file, asked for now.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    time::Duration,
};

use haldane_analysis::sequential::Reading as Read;
use haldane_api::text::show_duration;
use haldane_core::{
    ServiceName, VersionName,
    plan::metric::{Kind, Metric},
};
use haldane_source::Reading;
use jiff::Timestamp;
use serde::Serialize;

use super::CheckArgs;
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
    let is_asked = |name: &ServiceName| args.service.as_ref().is_none_or(|one| one == name);
    let asker = Asker::new(ANSWER_TIMEOUT);
    let mut findings = Vec::new();
    for (name, service) in file.services.iter().filter(|(name, _)| is_asked(name)) {
        let stable = args.stable.as_ref().unwrap_or(&service.stable.version);
        for metric in &service.plan.rules().metrics {
            let versions = (stable, args.canary.as_ref());
            findings.extend(check(&asker, name, metric, versions).await);
        }
    }
    result::write(globals, out, &findings, |out| {
        write(&findings, &source.name(), globals, out)
    })?;
    let is_whole = findings.iter().all(|finding| finding.missing.is_none());
    Ok(if is_whole { Exit::Done } else { Exit::Failed })
}

/// Asks for one metric of both versions.
async fn check(
    asker: &Asker,
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
    let asked = Question::try_new(metric, service, stable, canary);
    let mut findings = Vec::new();
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
        match counting.total(answers, now, self.arm) {
            Ok(total) => self.value = Some(value(&total, metric)),
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

/// Says a value in words.
fn value(total: &Read, metric: &Metric) -> String {
    let time = show_duration(window(metric));
    match total {
        Read::Counts(counts) if metric.kind == Kind::Counter => {
            format!("{} of {} in {time}", counts.events, counts.exposure)
        }
        Read::Counts(counts) => {
            let (events, exposure) = (counts.events, counts.exposure);
            let ppm = u128::from(events)
                .saturating_mul(1_000_000)
                .checked_div(u128::from(exposure));
            let share = ppm.map_or_else(String::new, |ppm| {
                format!("{}.{:04}%: ", ppm / 10_000, ppm % 10_000)
            });
            format!("{share}{events} of {exposure} in {time}")
        }
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
            format!("{all} in {time}{bound}")
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
        writeln!(out, "{file}: no metrics of other systems")?;
        return Ok(());
    }
    let mut table = Table::new(["SERVICE", "METRIC", "VERSION", "AGE", "VALUE"]);
    for finding in findings {
        let age = finding
            .age_seconds
            .map_or_else(|| "-".to_owned(), |age| format!("{age}s"));
        let value = match (&finding.missing, &finding.value) {
            (Some(why), _) => Cell::new(Tone::Bad, format!("missing: {why}")),
            (None, value) => value.clone().unwrap_or_default().into(),
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
        writeln!(out, "\n{metric} of {version}: {series} series")?;
        for line in finding.queries.iter().chain(&labels) {
            writeln!(out, "  {}", crate::cli::words::clean(line))?;
        }
    }
    Ok(())
}
