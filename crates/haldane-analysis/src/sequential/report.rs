//! The report: evidence in fixed point, and what it means in words.

use haldane_core::{Weight, verdict::Verdict};

use super::{
    bernoulli,
    config::{Against, Config, Direction, Kind, Metric},
    events::Events,
    evidence::{Detection, Estimate, Evidence, MetricEvidence, Value, Worth},
    forecast::Outlook,
    gauge::Gauge,
    interval::Interval,
    judge::{Conclusion, Question, Why},
    latency::Latency,
    mismatch,
    real::{self, ppm, real},
    state::Data,
    tally::{Counts, Pair},
    track::{self, Track},
};
use crate::share::Split;

/// The sizes of harm that forecasts are made for, in percent of stable's rate.
const WORSE_PERCENT: [u32; 2] = [200, 1_000];

/// The sizes where less is worse.
const LESS_PERCENT: [u32; 2] = [80, 50];

/// Returns the evidence.
pub(crate) fn evidence(config: &Config, data: &Data, conclusion: &Conclusion) -> Evidence {
    let split = data.mismatch.split();
    let pairs = config.metrics().iter().zip(&data.tracks).enumerate();
    Evidence {
        from: data.first,
        to: data.newest(),
        harm: worth(data.worth(config), 1.0 / config.alpha()),
        harmed_at: data.failed.as_ref().map(|(_, at)| *at),
        metrics: pairs
            .map(|(place, (metric, track))| {
                let verdict = if conclusion.decided == Some(place) {
                    conclusion.verdict
                } else {
                    alone(config, metric, track)
                };
                of_metric(config, metric, track, verdict)
            })
            .collect(),
        split,
        observed_bps: Split::observed_bps(&split),
        mismatch: worth(data.mismatch.worth(), mismatch::WORTH_ALARM),
        share: conclusion.share,
    }
}

/// Says what a metric means alone.
fn alone(config: &Config, metric: &Metric, track: &Track) -> Verdict {
    let is_fine = || {
        let pass = metric.pass()?;
        let best = match &track.evidence {
            track::Evidence::Events(events) => events.accept.best(),
            track::Evidence::Latency(latency) => latency.accepted(pass)?.accept.best(),
            track::Evidence::Gauge(_) => return None,
        };
        (best >= 1.0 / config.beta()).then_some(())
    };
    if track.newest.is_none() {
        Verdict::NoData
    } else if is_fine().is_some() {
        Verdict::Pass
    } else {
        Verdict::Inconclusive
    }
}

fn of_metric(config: &Config, metric: &Metric, track: &Track, verdict: Verdict) -> MetricEvidence {
    let (stable_per_second, canary_per_second) = track.traffic();
    let outlook = Outlook {
        stable_per_second,
        canary_per_second,
        harm: 1.0 / (config.alpha() * config.share(metric)),
        fine: 1.0 / config.beta(),
    };
    let start = MetricEvidence {
        name: metric.name.clone(),
        kind: metric.kind,
        verdict,
        bound_us: None,
        stable: Value::default(),
        canary: Value::default(),
        ratio: None,
        harm: worth(track.worth(), outlook.harm),
        fine: None,
        dispersion_milli: 1_000,
        traffic_milli: real::count((stable_per_second + canary_per_second) * 1e3)
            .unwrap_or_default(),
        detects: Vec::new(),
        fine_in_seconds: None,
        reason: String::new(),
    };
    let mut evidence = match &track.evidence {
        track::Evidence::Events(events) => of_events(config, metric, events, outlook, start),
        track::Evidence::Latency(latency) => of_latency(config, metric, latency, outlook, start),
        track::Evidence::Gauge(gauge) => of_gauge(gauge, start),
    };
    evidence.reason = sentence(metric, &evidence);
    evidence
}

fn of_events(
    config: &Config,
    metric: &Metric,
    events: &Events,
    outlook: Outlook,
    start: MetricEvidence,
) -> MetricEvidence {
    let effects = if metric.kind == Kind::Conversion && metric.direction == Direction::LowerIsWorse
    {
        LESS_PERCENT
    } else {
        WORSE_PERCENT
    };
    MetricEvidence {
        stable: value(events.total.stable),
        canary: value(events.total.canary),
        ratio: estimate(
            events.total.stable,
            events.total.canary,
            events
                .likelihood
                .interval(events.phi(metric), config.beta()),
        ),
        fine: metric
            .pass()
            .map(|_| worth(events.accept.best(), outlook.fine)),
        dispersion_milli: milli(events.phi(metric)),
        detects: detections(effects, |effect| outlook.of_events(metric, events, effect)),
        fine_in_seconds: outlook.fine_events(metric, events),
        ..start
    }
}

fn of_latency(
    config: &Config,
    metric: &Metric,
    latency: &Latency,
    outlook: Outlook,
    start: MetricEvidence,
) -> MetricEvidence {
    // Where harm shows, the bound at which it does; else the one near the 94th percentile.
    let is_harm = start.harm.is_reached();
    let found = if is_harm {
        latency.harm()
    } else {
        let shown = latency.shown();
        shown.map(|bound| (bound, latency.compared(bound)))
    };
    let Some((bound, Pair { stable, canary })) = found else {
        return start;
    };
    let is_shown = latency.shown().is_some_and(|shown| shown.us == bound.us);
    let phi = latency.phi(bound, metric);
    let interval = latency.likelihood.interval(phi, config.beta());
    let ratio = estimate(stable, canary, interval);
    MetricEvidence {
        bound_us: Some(bound.us),
        stable: value(stable),
        canary: value(canary),
        // The interval is known at the bound shown only.
        ratio: ratio.map(|ratio| Estimate {
            low_ppm: ratio.low_ppm.filter(|_| is_shown),
            high_ppm: ratio.high_ppm.filter(|_| is_shown),
            ..ratio
        }),
        fine: metric
            .pass()
            .and_then(|pass| latency.accepted(pass))
            .map(|least| worth(least.accept.best(), outlook.fine)),
        dispersion_milli: milli(phi),
        detects: detections(WORSE_PERCENT, |effect| {
            outlook.of_latency(metric, latency, effect)
        }),
        fine_in_seconds: outlook.fine_latency(metric, latency),
        ..start
    }
}

fn of_gauge(gauge: &Gauge, start: MetricEvidence) -> MetricEvidence {
    let (stable, canary) = gauge.last();
    let value = |mean: f64| Value {
        value: real::count(mean).filter(|value| *value > 0),
        ..Value::default()
    };
    let ratio = (stable > 0.0).then(|| ppm(canary / stable)).flatten();
    MetricEvidence {
        stable: value(stable),
        canary: value(canary),
        ratio: ratio.map(|ratio_ppm| Estimate {
            ratio_ppm,
            low_ppm: None,
            high_ppm: None,
        }),
        ..start
    }
}

fn value(counts: Counts) -> Value {
    Value {
        value: counts.ppm(),
        exposure: counts.exposure,
        events: counts.events,
    }
}

fn estimate(stable: Counts, canary: Counts, interval: Interval) -> Option<Estimate> {
    let rate = |counts: Counts| bernoulli::estimate(real(counts.events), real(counts.exposure));
    // Without a single event there is nothing to divide.
    let is_without = stable.events == 0 && canary.events == 0;
    if stable.exposure == 0 || canary.exposure == 0 || is_without {
        return None;
    }
    Some(Estimate {
        ratio_ppm: ppm(rate(canary) / rate(stable))?,
        low_ppm: interval.low.and_then(ppm),
        high_ppm: interval.high.and_then(ppm),
    })
}

fn detections(percents: [u32; 2], seconds: impl Fn(f64) -> Option<u64>) -> Vec<Detection> {
    let of = |rate_percent: u32| Detection {
        rate_percent,
        seconds: seconds(f64::from(rate_percent) / 100.0),
    };
    percents.map(of).to_vec()
}

fn worth(worth: f64, bound: f64) -> Worth {
    Worth {
        log10_milli: log10_milli(worth),
        bound_log10_milli: log10_milli(bound),
    }
}

fn log10_milli(x: f64) -> i64 {
    real::whole(libm::floor(libm::log10(x.max(1e-200)) * 1e3 + 1e-6)).unwrap_or_default()
}

fn milli(x: f64) -> u64 {
    real::count(x * 1e3).unwrap_or_default()
}

/// Says in one sentence what the whole means.
pub(crate) fn reason(
    config: &Config,
    data: &Data,
    question: &Question,
    conclusion: &Conclusion,
    evidence: &Evidence,
) -> String {
    let decided = conclusion
        .decided
        .and_then(|place| evidence.metrics.get(place));
    let name = decided.map_or("a metric", |metric| metric.name.as_str());
    let sentence = decided.map_or("", |metric| metric.reason.as_str());
    match conclusion.why {
        Why::Harm => format!("the canary is worse: {sentence}"),
        Why::NoSamples => "no samples yet".to_owned(),
        Why::Clock => "the newest samples end later than now: the clocks disagree".to_owned(),
        Why::Mismatch => format!(
            "at weight {} the canary got {} of {} requests: traffic does not go where it is sent",
            evidence.split.weight,
            evidence.split.canary,
            evidence.split.canary.saturating_add(evidence.split.stable)
        ),
        Why::Alarm => alarm(name, Weight::from_percent(50)),
        Why::Held => format!("held: {sentence}"),
        Why::Shared => {
            let pairs = conclusion
                .decided
                .and_then(|place| config.metrics().get(place).zip(data.tracks.get(place)));
            let said = pairs.and_then(|(metric, track)| shared(metric, track));
            said.unwrap_or_else(|| format!("held: stable breaks the limit of {name}, too"))
        }
        Why::Bounds => format!(
            "{name}: the versions count latencies in buckets with different bounds, which can't be compared"
        ),
        Why::Missing => match data.tracks.get(conclusion.decided.unwrap_or_default()) {
            Some(Track {
                newest: Some(newest),
                ..
            }) => {
                let age = question.now.duration_since(*newest).as_secs();
                format!("{name}: the newest data is {age} s old")
            }
            Some(_) | None => format!("{name}: no data"),
        },
        Why::Unseen => format!("{name}: the canary has no data in this step yet"),
        Why::Gathering => format!("not sure yet: {sentence}"),
        Why::Soak => format!(
            "fine so far; the step is watched for at least {} s",
            config.settings().soak.as_secs()
        ),
        Why::Shown => {
            "the canary is shown to be within the margin on every required metric".to_owned()
        }
    }
}

/// Says that both versions break a limit.
fn shared(metric: &Metric, track: &Track) -> Option<String> {
    let Against::Limit(limit) = metric.against else {
        return None;
    };
    let [stable, canary] = match &track.evidence {
        track::Evidence::Events(events) => events.shared(metric)?,
        track::Evidence::Gauge(gauge) => {
            let (stable, canary) = gauge.shared()?;
            [stable, canary].map(real::count)
        }
        track::Evidence::Latency(_) => return None,
    };
    let (stable, canary) = (unit(metric.kind, stable), unit(metric.kind, canary));
    let (name, limit) = (&metric.name, unit(metric.kind, Some(limit)));
    Some(format!(
        "held: stable breaks the limit, too, so the canary is not to blame: {name}: {canary} of the canary and {stable} of stable, against {limit}"
    ))
}

/// Says what an alarm at full weight asks for.
pub(crate) fn alarm(metric: &str, to: Weight) -> String {
    format!(
        "{metric} rose at full weight, where there is nothing to compare with: go back to {to} to see whether it is the canary"
    )
}

/// Says what is known of one metric: `errors: 1.02% against 0.1% of 650 and 12340 (×10, from 4 to 20); needs about 2 min …`.
fn sentence(metric: &Metric, evidence: &MetricEvidence) -> String {
    let MetricEvidence {
        name,
        stable,
        canary,
        ..
    } = evidence;
    let unit = |value| unit(metric.kind, value);
    let of = match (evidence.bound_us, evidence.kind) {
        (Some(us), _) => format!("{name} above {}", duration(us)),
        (None, Kind::Latency) => {
            return format!("{name}: too few of stable's latencies are known to choose bounds");
        }
        (None, Kind::Ratio | Kind::Counter | Kind::Gauge | Kind::Conversion) => name.clone(),
    };
    let mut text = match metric.against {
        Against::Stable(_) => format!(
            "{of}: {} against {}",
            unit(canary.value),
            unit(stable.value)
        ),
        Against::Limit(limit) => {
            let limit = unit(Some(limit));
            format!("{of}: {} against a limit of {limit}", unit(canary.value))
        }
    };
    if stable.exposure > 0 || canary.exposure > 0 {
        let counts = format!(
            " ({} of {}, {} of {}",
            canary.events, canary.exposure, stable.events, stable.exposure
        );
        text.push_str(&counts);
        if let Some(ratio) = evidence.ratio {
            text.push_str(&times(&ratio));
        }
        text.push(')');
    }
    if evidence.verdict == Verdict::Inconclusive && !evidence.harm.is_reached() {
        text.push_str(&wait(metric, evidence));
    }
    text
}

/// Writes a value of a kind of metric.
fn unit(kind: Kind, value: Option<u64>) -> String {
    match (value, kind) {
        (None, _) => "nothing".to_owned(),
        (Some(milli), Kind::Gauge) => decimal(milli, 1_000),
        // Exposure of a counter is the seconds that pods lived.
        (Some(ppm), Kind::Counter) => {
            let per_hour = decimal(ppm.saturating_mul(3_600), 1_000_000);
            format!("{per_hour} an hour")
        }
        (Some(ppm), Kind::Ratio | Kind::Latency | Kind::Conversion) => percent(ppm),
    }
}

/// Says how many times stable's rate the canary's is: `, ×10, from 4 to 20`.
fn times(ratio: &Estimate) -> String {
    let end = |ppm: u64| decimal(ppm, 1_000_000);
    let range = match (ratio.low_ppm, ratio.high_ppm) {
        (Some(low), Some(high)) => format!(", from {} to {}", end(low), end(high)),
        (Some(low), None) => format!(", at least {}", end(low)),
        (None, Some(high)) => format!(", at most {}", end(high)),
        (None, None) => String::new(),
    };
    format!(", ×{}{range}", end(ratio.ratio_ppm))
}

/// Says how long it will take: `; needs about 2 min at 40/s to see 2×`.
fn wait(metric: &Metric, evidence: &MetricEvidence) -> String {
    let traffic = decimal(evidence.traffic_milli, 1_000);
    let Some(first) = evidence.detects.first() else {
        return String::new();
    };
    let worse = decimal(u64::from(first.rate_percent), 100);
    let to_see = match metric.kind {
        Kind::Conversion => format!("to see it fall to {worse}×"),
        Kind::Latency => format!("to see {worse}× as many slow ones"),
        Kind::Ratio | Kind::Counter | Kind::Gauge => format!("to see {worse}× as many"),
    };
    match (first.seconds, evidence.fine_in_seconds) {
        (Some(seconds), Some(fine)) => format!(
            "; needs about {} at {traffic}/s {to_see}, {} to show that it is fine",
            span(seconds),
            span(fine)
        ),
        (Some(seconds), None) => format!("; needs about {} at {traffic}/s {to_see}", span(seconds)),
        (None, _) => format!("; needs more than a day at {traffic}/s {to_see}"),
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        0..=99 => format!("{seconds} s"),
        100..=5_999 => format!("{} min", seconds.saturating_add(30) / 60),
        6_000.. => format!("{} h", seconds.saturating_add(1_800) / 3_600),
    }
}

fn percent(ppm: u64) -> String {
    format!("{}%", decimal(ppm, 10_000))
}

fn duration(us: u64) -> String {
    format!("{} ms", decimal(us, 1_000))
}

/// Writes `value / unit` with the digits that matter: at most three after the point, and two where there is a whole part.
fn decimal(value: u64, unit: u64) -> String {
    let whole = value.checked_div(unit).unwrap_or_default();
    let rest = value.checked_rem(unit).unwrap_or_default();
    let digits: usize = match whole {
        0 => 3,
        1..=9 => 2,
        10..=99 => 1,
        100.. => 0,
    };
    let scale = 10_u64.pow(u32::try_from(digits).unwrap_or_default());
    let rest = u128::from(rest)
        .saturating_mul(u128::from(scale))
        .checked_div(u128::from(unit))
        .unwrap_or_default();
    let text = format!("{whole}.{rest:0digits$}");
    if digits == 0 {
        return whole.to_string();
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
