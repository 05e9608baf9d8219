//! The verdict: what all evidence together says.
//!
//! In this order:
//!
//! 1. Harm was shown by the critical metrics together, at any time: **fail**. It stays.
//! 2. No data since the step began, or a clock that is behind the data: **no data**.
//! 3. Requests go elsewhere than the weight says; an alarm at full weight; harm of a metric that only holds; a limit that stable breaks, too;
//!    versions whose latencies can't be compared: **inconclusive**, and it says which.
//! 4. A required metric is missing, old, or was not seen of the canary in this step: **no data**.
//! 5. A required metric has not shown yet that the canary is fine, or the soak is not over: **inconclusive**.
//! 6. **Pass.**
//!
//! What happens when a step's time is over without a verdict is the caller's decision.

use haldane_core::{
    Weight,
    guard::Severity,
    verdict::{Judgement, Share, Standing, Subject, Verdict},
};
use jiff::Timestamp;

use super::{
    config::{Config, Metric},
    evidence::Evidence,
    report,
    state::{Data, State},
    track::{self, Track},
};

/// The weight at which both versions are compared again after an alarm at full weight.
const STEP_BACK: Weight = Weight::from_percent(50);

/// From how many percent of latencies with a bound inside their bucket on, the versions' bounds are taken to differ.
const ACROSS_PERCENT_MAX: u64 = 5;

/// What to judge.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// What the judgement is about.
    pub subject: Subject,
    /// When the present step began.
    pub since: Timestamp,
    /// The time.
    pub now: Timestamp,
}

/// The verdict, and what decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Conclusion {
    /// The verdict.
    pub verdict: Verdict,
    /// Why.
    pub why: Why,
    /// The place of the metric that decided, among the settings' metrics.
    pub decided: Option<usize>,
    /// Whether the weight should go back, because the canary alarms at full weight.
    pub step_back: bool,
    /// Whether requests go where the weight sends them.
    pub share: Share,
}

/// Why a verdict is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The canary is shown to be worse.
    Harm,
    /// There are no samples since the step began.
    NoSamples,
    /// The newest samples end after `now`, by more than can be waited for.
    Clock,
    /// Requests go elsewhere.
    Mismatch,
    /// The canary alarms at full weight, where nothing can be compared.
    Alarm,
    /// A metric that only holds shows harm.
    Held,
    /// Stable breaks a limit, too.
    Shared,
    /// The versions' latencies are counted in buckets with different bounds.
    Bounds,
    /// A required metric has no data, or old data.
    Missing,
    /// A required metric was not seen of the canary in this step.
    Unseen,
    /// A required metric needs more data.
    Gathering,
    /// The soak is not over.
    Soak,
    /// All required metrics have shown that the canary is fine.
    Shown,
}

/// The judge's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Answer {
    /// What the state machine is told.
    pub judgement: Judgement,
    /// The wish to go back to a weight at which both versions can be compared.
    pub step_back: Option<StepBack>,
    /// What the judgement rests on.
    pub evidence: Evidence,
}

/// The wish to go back to a weight at which both versions can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepBack {
    /// The metric that alarmed.
    pub metric: String,
    /// The weight to go back to.
    pub to: Weight,
    /// Why, in one sentence.
    pub reason: String,
}

impl State {
    /// Says what all evidence together means, without a word for people.
    pub fn conclude(&self, config: &Config, question: &Question) -> Conclusion {
        let data = self.data();
        let (verdict, why, decided) = decide(config, data, question);
        Conclusion {
            verdict,
            why,
            decided,
            step_back: is_stepping_back(data),
            share: share(data),
        }
    }

    /// Says what all evidence together means, with the evidence.
    pub fn judge(&self, config: &Config, question: &Question) -> Answer {
        let data = self.data();
        let conclusion = self.conclude(config, question);
        let evidence = report::evidence(config, data, &conclusion);
        let reason = report::reason(config, data, question, &conclusion, &evidence);
        let step_back = data
            .alarm
            .clone()
            .filter(|_| conclusion.step_back)
            .map(|metric| StepBack {
                reason: report::alarm(&metric, STEP_BACK),
                metric,
                to: STEP_BACK,
            });
        let at = data.newest().unwrap_or(question.since);
        let is_harm = matches!(conclusion.why, Why::Harm | Why::Held | Why::Alarm);
        let severity = match conclusion.verdict {
            Verdict::Fail => Severity::Critical,
            Verdict::Pass | Verdict::Inconclusive | Verdict::NoData => Severity::Warn,
        };
        Answer {
            judgement: Judgement {
                subject: question.subject,
                verdict: conclusion.verdict,
                broken: is_harm.then_some(severity),
                share: conclusion.share,
                standing: if conclusion.verdict == Verdict::Pass {
                    Standing::Shown
                } else if conclusion.step_back {
                    Standing::Suspect
                } else {
                    Standing::Open
                },
                unusual: None,
                since: begin(data, question),
                at,
                reason,
            },
            step_back,
            evidence,
        }
    }
}

/// Returns when the present step's data begins.
fn begin(data: &Data, question: &Question) -> Timestamp {
    data.first
        .map_or(question.since, |first| first.max(question.since))
}

fn share(data: &Data) -> Share {
    if data.mismatch.is_alarm() {
        Share::Mismatch
    } else {
        Share::Fits
    }
}

fn is_stepping_back(data: &Data) -> bool {
    data.alarm.is_some() && data.weight.is_full()
}

fn decide(config: &Config, data: &Data, question: &Question) -> (Verdict, Why, Option<usize>) {
    let place = |name: &String| {
        let mut metrics = config.metrics().iter();
        metrics.position(|metric| metric.name == *name)
    };
    if let Some((name, _)) = &data.failed {
        return (Verdict::Fail, Why::Harm, place(name));
    }
    let Some(newest) = data.newest().filter(|newest| *newest > question.since) else {
        return (Verdict::NoData, Why::NoSamples, None);
    };
    let ahead = newest.duration_since(question.now);
    if ahead.is_positive() && ahead.unsigned_abs() > config.settings().stale_after {
        return (Verdict::NoData, Why::Clock, None);
    }
    if let Some((why, decided)) = hold(config, data, data.alarm.as_ref().and_then(place)) {
        return (Verdict::Inconclusive, why, decided);
    }
    let required = || pairs(config, data).filter(|(_, (metric, _))| metric.required);
    for (place, (metric, track)) in required() {
        if let Some(why) = absence(config, metric, track, question) {
            return (Verdict::NoData, why, Some(place));
        }
    }
    for (place, (metric, track)) in required() {
        if metric.can_pass() && !is_fine(config, metric, track) {
            return (Verdict::Inconclusive, Why::Gathering, Some(place));
        }
    }
    let watched = newest.duration_since(begin(data, question));
    if watched.unsigned_abs() < config.settings().soak {
        return (Verdict::Inconclusive, Why::Soak, None);
    }
    (Verdict::Pass, Why::Shown, None)
}

/// Says what holds the rollout.
fn hold(config: &Config, data: &Data, alarmed: Option<usize>) -> Option<(Why, Option<usize>)> {
    if data.mismatch.is_alarm() {
        return Some((Why::Mismatch, None));
    }
    if is_stepping_back(data) {
        return Some((Why::Alarm, alarmed));
    }
    let bound = 1.0 / config.alpha();
    for (place, (metric, track)) in pairs(config, data) {
        if !metric.critical && track.worth() >= bound {
            return Some((Why::Held, Some(place)));
        }
        if track.is_shared(metric) {
            return Some((Why::Shared, Some(place)));
        }
        let is_across = match &track.evidence {
            track::Evidence::Latency(latency) => latency.across_percent() > ACROSS_PERCENT_MAX,
            track::Evidence::Events(_) | track::Evidence::Gauge(_) => false,
        };
        if metric.required && is_across {
            return Some((Why::Bounds, Some(place)));
        }
    }
    None
}

/// Says what is missing of a metric.
fn absence(config: &Config, metric: &Metric, track: &Track, question: &Question) -> Option<Why> {
    let stale_after = config.stale_after(metric);
    let is_old = |end: Timestamp| {
        let age = question.now.duration_since(end);
        age.is_positive() && age.unsigned_abs() > stale_after
    };
    if track.newest.is_none_or(is_old) {
        return Some(Why::Missing);
    }
    track
        .seen
        .is_none_or(|seen| seen <= question.since)
        .then_some(Why::Unseen)
}

/// Whether a metric has shown that the canary is fine.
fn is_fine(config: &Config, metric: &Metric, track: &Track) -> bool {
    let bound = 1.0 / config.beta();
    let Some(pass) = metric.pass() else {
        return false;
    };
    match &track.evidence {
        track::Evidence::Events(events) => events.accept.best() >= bound,
        track::Evidence::Latency(latency) => latency
            .accepted(pass)
            .is_some_and(|least| least.accept.best() >= bound),
        track::Evidence::Gauge(_) => false,
    }
}

fn pairs<'a>(
    config: &'a Config,
    data: &'a Data,
) -> impl Iterator<Item = (usize, (&'a Metric, &'a Track))> {
    config.metrics().iter().zip(&data.tracks).enumerate()
}
