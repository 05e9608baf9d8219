//! Past counts from a Prometheus, by the plan's metrics.
//!
//! Counters are asked for as raw samples, an hour at once where the answer is not too large; what is not asked for with `{{window}}` is
//! asked for step by step. Both are then counted as a daemon counts them, interval by interval: each increment once, over restarts and
//! gaps. The first ratio stands for the requests that a proxy would have counted, the first latency for their latencies.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Context;
use haldane_analysis::{
    Sample,
    sequential::{Counts, Observed, Reading as Read},
};
use haldane_core::{
    ServiceName, VersionName, Weight,
    plan::metric::{Kind, Metric, Provider},
};
use haldane_source::{Error, Point, Reading, provider::prometheus::Form};
use haldane_supervisor::job::Jobs;
use jiff::{SignedDuration, Timestamp};

use super::past::Row;
use crate::{
    cli::exit::UsageError,
    wire::observe::{
        ask::{AskError, Asker, Span},
        measure::{Answers, Gap, Measured, Measuring},
        question::{Queries, Question, window},
    },
};

/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How much time is asked about at once, where the answer is not too large.
const CHUNK: Duration = Duration::from_hours(1);

/// How many steps are asked for at once: what a Prometheus gives.
const STEPS_MAX: u32 = 11_000;

/// How often the time that is asked about at once is halved.
const HALVES_MAX: u32 = 5;

/// The longest time that is replayed.
const SPAN_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The most points of one version and query: a week of ten series, scraped each fifteen seconds.
const POINTS_MAX: usize = 500_000;

/// What is asked.
pub(super) struct Asked<'a> {
    pub(super) service: &'a ServiceName,
    pub(super) stable: &'a VersionName,
    pub(super) canary: &'a VersionName,
    pub(super) url: &'a str,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) metrics: &'a [Metric],
}

/// What was counted.
pub(super) struct Answer {
    pub(super) rows: Vec<Row>,
    /// What could not be used, a sentence each.
    pub(super) notes: Vec<String>,
}

/// What was counted by one metric.
struct Counted {
    kind: Kind,
    observed: Vec<Observed>,
}

/// One version's points of one query, oldest first, and how far they were used.
struct Points {
    events: Vec<Point>,
    exposure: Option<Vec<Point>>,
}

/// Asks for all metrics, and counts.
pub(super) async fn ask(asked: &Asked<'_>) -> anyhow::Result<Answer> {
    if asked.to <= asked.from || asked.to.duration_since(asked.from) > SPAN_MAX {
        let text = "expected --to to be after --from, by a week at most";
        return Err(UsageError(text.to_owned()).into());
    }
    let is_asked = |metric: &&Metric| metric.source.provider == Provider::Prometheus;
    let metrics: Vec<&Metric> = asked.metrics.iter().filter(is_asked).collect();
    let others = asked.metrics.iter().filter(|metric| !is_asked(metric));
    let mut notes: Vec<String> = others
        .map(|metric| {
            format!(
                "{} is left out: it is no metric of a Prometheus",
                metric.name
            )
        })
        .collect();
    if metrics.is_empty() {
        let service = asked.service;
        let text =
            format!("{service} declares no metric of a Prometheus; expected one in the file");
        return Err(UsageError(text).into());
    }
    let asker = Asker::new(ANSWER_TIMEOUT, Jobs::alone());
    let mut all = Vec::new();
    for metric in metrics {
        let mut metric = metric.clone();
        asked.url.clone_into(&mut metric.source.address);
        let counted = count(&asker, asked, &metric).await;
        let counted = counted.with_context(|| format!("asking for {}", metric.name))?;
        match counted {
            Ok(counted) => all.push(counted),
            Err(why) => notes.push(format!("{} has no data: {why}", metric.name)),
        }
    }
    let rows = rows(all);
    if rows.is_empty() {
        notes.insert(0, "no requests were counted of both versions".to_owned());
        anyhow::bail!("{}", notes.join("; "));
    }
    Ok(Answer { rows, notes })
}

/// Asks for one metric, and counts; or says why there is nothing to count.
async fn count(
    asker: &Asker,
    asked: &Asked<'_>,
    metric: &Metric,
) -> anyhow::Result<Result<Counted, String>> {
    let question = |window| {
        Question::over(
            window,
            metric,
            asked.service,
            asked.stable,
            Some(asked.canary),
        )
    };
    let (short, long) = (question(CHUNK / 2)?, question(CHUNK)?);
    let is_raw = short.stable != long.stable;
    if !is_raw && short.stable.events.trim_end().ends_with(']') {
        let why = "its query has a time of its own; expected {{window}} there";
        return Ok(Err(why.to_owned()));
    }
    let of_stable = |window| question(window).map(|it| it.stable);
    let of_canary = |window| {
        let question = question(window)?;
        question.canary.ok_or_else(|| Error::Invalid {
            what: "the canary",
            why: "nobody is asked about it".to_owned(),
        })
    };
    let (stable, canary) = tokio::try_join!(
        points(asker, asked, metric, &of_stable, is_raw),
        points(asker, asked, metric, &of_canary, is_raw),
    )?;
    Ok(observe(
        metric,
        asked,
        Measuring::new(long.counting()),
        &stable,
        &canary,
    ))
}

/// Asks for all points of one version.
async fn points(
    asker: &Asker,
    asked: &Asked<'_>,
    metric: &Metric,
    queries: &(dyn Fn(Duration) -> Result<Queries, Error> + Sync),
    is_raw: bool,
) -> anyhow::Result<Points> {
    let mut chunk = if is_raw {
        CHUNK
    } else {
        CHUNK.max(metric.interval.saturating_mul(STEPS_MAX / 2))
    };
    let mut halves = 0;
    let mut from = asked.from;
    let mut found = Points {
        events: Vec::new(),
        exposure: None,
    };
    while from < asked.to {
        let to = (from + chunk).min(asked.to);
        let length = to.duration_since(from).unsigned_abs().max(metric.interval);
        let span = Span {
            from,
            to,
            form: if is_raw { Form::Instant } else { Form::Range },
        };
        let asking = ask_both(
            asker,
            metric,
            queries(Duration::from_secs(length.as_secs().max(1)))?,
            span,
        );
        match asking.await {
            Err(AskError::Source(Error::TooLarge { .. })) if halves < HALVES_MAX => {
                halves += 1;
                chunk = (chunk / 2).max(metric.interval);
            }
            answer => {
                found.extend(answer?)?;
                from = to;
            }
        }
    }
    found.sort();
    Ok(found)
}

async fn ask_both(
    asker: &Asker,
    metric: &Metric,
    queries: Queries,
    span: Span,
) -> Result<Answers, AskError> {
    let events = asker.ask_over(metric, &queries.events, span).await?;
    let exposure = match &queries.exposure {
        Some(text) => Some(asker.ask_over(metric, text, span).await?),
        None => None,
    };
    Ok(Answers { events, exposure })
}

/// Counts interval by interval what a daemon would have seen then.
fn observe(
    metric: &Metric,
    asked: &Asked<'_>,
    mut measuring: Measuring,
    stable: &Points,
    canary: &Points,
) -> Result<Counted, String> {
    let mut observed = Vec::new();
    let mut trouble: Option<Gap> = None;
    let mut now = asked.from;
    while now < asked.to {
        now = (now + metric.interval).min(asked.to);
        let since = now - window(metric);
        match measuring.take(stable.within(since, now), canary.within(since, now), now) {
            Ok(measured) => observed.push(told(metric, measured)),
            Err(Gap::Beginning | Gap::Begun(_) | Gap::Repeated) => {}
            Err(gap) => trouble = Some(gap),
        }
    }
    if observed.is_empty() {
        return Err(trouble.map_or_else(|| "nothing was counted".to_owned(), |gap| gap.to_string()));
    }
    Ok(Counted {
        kind: metric.kind,
        observed,
    })
}

fn told(metric: &Metric, measured: Measured) -> Observed {
    Observed {
        metric: metric.name.clone(),
        from: measured.from,
        to: measured.to,
        skew: measured.skew,
        // It follows from the requests.
        weight: Weight::ZERO,
        stable: Some(measured.stable),
        canary: Some(measured.canary),
    }
}

/// Returns the rows: the times of the first ratio, or else of the first latency, with everything that was told until then.
fn rows(all: Vec<Counted>) -> Vec<Row> {
    let first = |kind: Kind| all.iter().find(|counted| counted.kind == kind);
    let (ratio, latency) = (first(Kind::Ratio), first(Kind::Latency));
    let Some(base) = ratio.or(latency) else {
        return Vec::new();
    };
    let row = |observed: &Observed| Row {
        from: observed.from,
        to: observed.to,
        stable: sample(observed.stable.as_ref()),
        canary: sample(observed.canary.as_ref()),
        weight: None,
        told: Vec::new(),
    };
    let mut rows: Vec<Row> = base.observed.iter().map(row).collect();
    if let Some(latency) = latency.filter(|_| ratio.is_some()) {
        for observed in &latency.observed {
            if let Some(row) = row_of(&mut rows, observed.to) {
                row.stable.merge(&latencies(observed.stable.as_ref()));
                row.canary.merge(&latencies(observed.canary.as_ref()));
            }
        }
    }
    for observed in all.into_iter().flat_map(|counted| counted.observed) {
        if let Some(row) = row_of(&mut rows, observed.to) {
            row.told.push(observed);
        }
    }
    rows
}

/// Returns the first row that ends at this time or later.
fn row_of(rows: &mut [Row], to: Timestamp) -> Option<&mut Row> {
    let place = rows.partition_point(|row| row.to < to);
    rows.get_mut(place)
}

/// Returns what was read as requests.
fn sample(read: Option<&Read>) -> Sample {
    match read {
        Some(Read::Counts(Counts { exposure, events })) => Sample {
            requests: *exposure,
            failures: *events,
            ..Sample::default()
        },
        Some(Read::Latency(_)) => {
            let sample = latencies(read);
            Sample {
                requests: sample.latency_count(),
                ..sample
            }
        }
        Some(Read::Pods(_)) | None => Sample::default(),
    }
}

fn latencies(read: Option<&Read>) -> Sample {
    match read {
        Some(Read::Latency(buckets)) => Sample {
            latency: buckets.clone(),
            ..Sample::default()
        },
        Some(Read::Counts(_) | Read::Pods(_)) | None => Sample::default(),
    }
}

impl Points {
    fn extend(&mut self, answers: Answers) -> anyhow::Result<()> {
        self.events.extend(answers.events.points);
        if let Some(reading) = answers.exposure {
            self.exposure.get_or_insert_default().extend(reading.points);
        }
        let most = self
            .exposure
            .as_ref()
            .map_or(0, Vec::len)
            .max(self.events.len());
        if most > POINTS_MAX {
            anyhow::bail!("more than {POINTS_MAX} samples of one version; expected a shorter time");
        }
        Ok(())
    }

    /// Brings them in order; what two questions answered is there once.
    fn sort(&mut self) {
        for points in [Some(&mut self.events), self.exposure.as_mut()]
            .into_iter()
            .flatten()
        {
            points.sort_by_key(|point| point.at);
            let mut seen = BTreeSet::new();
            let mut at = Timestamp::MIN;
            points.retain(|point| {
                if point.at != at {
                    at = point.at;
                    seen.clear();
                }
                seen.insert(point.labels.clone())
            });
        }
    }

    /// Returns what a daemon would have been answered.
    fn within(&self, since: Timestamp, now: Timestamp) -> Answers {
        let part = |points: &Vec<Point>| {
            let first = points.partition_point(|point| point.at <= since);
            let end = points.partition_point(|point| point.at <= now);
            Reading {
                points: points.get(first..end).unwrap_or_default().to_vec(),
                ..Reading::default()
            }
        };
        Answers {
            events: part(&self.events),
            exposure: self.exposure.as_ref().map(part),
        }
    }
}
