//! The judges together: what the plan's rules ask of them, and what they say as one.
//!
//! The [sequential judge](sequential) compares the canary with stable, and the [threshold judge](threshold) holds it against the plan's
//! guards; either may be left out. Together they say:
//!
//! 1. **Fail** when either does. The sequential judge's reason comes first: it is the one that is bounded.
//! 2. **Inconclusive** when requests go elsewhere than the weight says, when a metric that only holds shows harm, or when the canary looks
//!    bad with all traffic ([`Standing::Suspect`]).
//! 3. Else what the guards say. Without guards a pass needs as many requests of the canary as a guard would
//!    ([`Sampling::requests_min`](haldane_core::plan::Sampling)).
//!
//! A pass is [`Standing::Shown`] when the sequential judge has evidence that the canary is no worse than accepted; until then it means that
//! no harm was found so far, which is what a hold of a fixed time asks for.
//!
//! A limit that a metric declares is judged as a metric of its own, `NAME limit`, beside the comparison with stable.
//!
//! What other systems measure ([`haldane_core::plan::metric`]) goes to the sequential judge, too. Where a required metric of theirs has no
//! fresh data of the canary in this step, the panel says **no data**, whatever the proxy's requests look like.
//!
//! **Invariant:** no pass without fresh data of the canary since the step began, of each required metric.

use std::time::Duration;

use haldane_core::{
    guard::Guard,
    plan::{Hold, Plan, Sampling, Sequential, Step, metric},
    verdict::{Judgement, Share, Standing, Subject, Verdict},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    band,
    evidence::Evidence,
    sequential::{
        self, Against, Config, Kind, Leeway, Margin, Metric, Observed, Problems, Settings, Source,
        State, Why,
    },
    series::{Held, Series},
    threshold,
};

/// The shortest time for which a rollout is planned, as far as the sequential judge cares.
const HORIZON_MIN: Duration = Duration::from_mins(1);

/// The longest such time.
const HORIZON_MAX: Duration = Duration::from_hours(24);

/// How often a rollout may go back from all traffic; after that a comparison was the answer.
const STEP_BACKS_MAX: u32 = 2;

/// What to judge, and how.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What the judgement is about.
    pub subject: Subject,
    /// The limits to keep.
    pub guards: &'a [Guard],
    /// How the sequential judge compares, if it does.
    pub judge: Option<&'a Sequential>,
    /// What other systems measure.
    pub metrics: &'a [metric::Metric],
    /// How long the rollout is planned to last.
    pub horizon: Duration,
    /// How samples are used.
    pub sampling: &'a Sampling,
    /// Batches that began earlier don't speak for what is judged now.
    pub since: Timestamp,
    /// The time.
    pub now: Timestamp,
}

/// What the judges remember between looks; empty at the rollout's start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// What the threshold judge remembers.
    pub guards: threshold::Memory,
    /// What the sequential judge knows; `None` until it looked first.
    pub sequential: Option<State>,
    /// Where the samples of the first question began; what is older is stable's history.
    pub started: Option<Timestamp>,
    /// How often it looked bad with all traffic.
    pub suspicions: u32,
    /// Whether it does so at present.
    pub is_suspect: bool,
}

/// The judges' answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Answer {
    /// What the state machine is told.
    pub judgement: Judgement,
    /// What the judgement rests on.
    pub evidence: Evidence,
}

impl Answer {
    /// Adds how the metrics compare with what is usual; what is unusual is told, and changes no verdict.
    pub fn with_bands(self, bands: Vec<band::Evidence>) -> Self {
        Self {
            judgement: Judgement {
                unusual: band::unusual(&bands),
                ..self.judgement
            },
            evidence: Evidence {
                bands,
                ..self.evidence
            },
        }
    }
}

/// Returns the question about a subject: of a step its own limits, in the background all rules of the plan.
#[must_use]
pub fn question(plan: &Plan, subject: Subject, since: Timestamp, now: Timestamp) -> Question<'_> {
    let rules = plan.rules();
    let (guards, judge, metrics) = match subject {
        Subject::Background => (
            rules.guards.as_slice(),
            rules.judge.as_ref(),
            rules.metrics.as_slice(),
        ),
        Subject::Step(step) => {
            let guards = plan.step(step).map(own_guards).unwrap_or_default();
            (guards, None, &[][..])
        }
    };
    Question {
        subject,
        guards,
        judge,
        metrics,
        horizon: horizon(plan),
        sampling: &rules.sampling,
        since,
        now,
    }
}

/// Returns the guards that a step brings itself.
#[must_use]
pub fn own_guards(step: &Step) -> &[Guard] {
    match step {
        Step::Analysis(analysis) => &analysis.guards,
        Step::Experiment(experiment) => &experiment.analysis.guards,
        Step::SetWeight(_)
        | Step::TestTraffic
        | Step::Hold(_)
        | Step::ScaleCanary(_)
        | Step::HeaderRoute(_)
        | Step::Mirror(_)
        | Step::Gate(_) => &[],
    }
}

/// Uses what is new in `series` and what was observed since the last look, and judges.
pub fn judge(
    question: &Question<'_>,
    series: &Series,
    observed: &[Observed],
    memory: &mut Memory,
) -> Answer {
    let limits = threshold::Question {
        subject: question.subject,
        guards: question.guards,
        sampling: question.sampling,
        since: question.since,
        now: question.now,
    };
    let guards = threshold::judge(&limits, series, &memory.guards);
    memory.guards = guards.memory;
    let config = question
        .judge
        .map(|judge| Config::try_new(settings(judge, question)));
    let config = match config {
        Some(Ok(config)) => config,
        None => {
            return Answer {
                judgement: guards.judgement,
                evidence: guards.evidence,
            };
        }
        // A judge that was asked for and can't work must not be taken for one that has nothing to say.
        Some(Err(problems)) => return unasked(guards.judgement, guards.evidence, &problems),
    };
    let state = memory.sequential.get_or_insert_with(|| State::new(&config));
    let observed = with_limits(question, observed);
    let input = sequential::Input {
        series,
        observed: &observed,
        started: *memory.started.get_or_insert(question.since),
    };
    let asked = sequential::Question {
        subject: question.subject,
        since: question.since,
        now: question.now,
    };
    let compared = sequential::look(&config, state, &input, &asked);
    let why = state.conclude(&config, &asked).why;
    let absent = absent(&config, state, question);
    let is_suspect = memory.hear(why == Why::Alarm);
    let judgements = (&guards.judgement, &compared.judgement);
    let (verdict, reason) = together(question, series, judgements, (why, is_suspect));
    // What must be known and isn't can't pass, whichever judge said so.
    let (verdict, reason) = match (verdict, absent) {
        (Verdict::Pass, Some(reason)) => (Verdict::NoData, reason),
        (verdict, _) => (verdict, reason),
    };
    let broken = compared.judgement.broken.filter(|_| why == Why::Harm);
    Answer {
        judgement: Judgement {
            subject: question.subject,
            verdict,
            broken: guards.judgement.broken.max(broken),
            share: if why == Why::Mismatch {
                Share::Mismatch
            } else {
                guards.judgement.share
            },
            standing: match (verdict, why) {
                (_, Why::Alarm) if is_suspect => Standing::Suspect,
                (Verdict::Pass, Why::Shown) => Standing::Shown,
                _ => Standing::Open,
            },
            unusual: None,
            since: question.since,
            at: compared.judgement.at.max(guards.judgement.at),
            reason,
        },
        evidence: Evidence {
            sequential: Some(compared.evidence),
            ..guards.evidence
        },
    }
}

/// Returns what the limits say where the sequential judge can't be asked: they may still fail, and never pass alone.
fn unasked(judgement: Judgement, evidence: Evidence, problems: &Problems) -> Answer {
    let judgement = if judgement.verdict == Verdict::Fail {
        judgement
    } else {
        Judgement {
            verdict: Verdict::NoData,
            standing: Standing::Open,
            reason: format!("the sequential judge can't work with this plan: {problems}"),
            ..judgement
        }
    };
    Answer {
        judgement,
        evidence,
    }
}

impl Memory {
    /// Returns whether a suspicion counts: each one once, and only so many.
    const fn hear(&mut self, is_suspect: bool) -> bool {
        if is_suspect && !self.is_suspect {
            self.suspicions = self.suspicions.saturating_add(1);
        }
        self.is_suspect = is_suspect;
        is_suspect && self.suspicions <= STEP_BACKS_MAX
    }
}

/// Brings both judges' words together.
fn together(
    question: &Question<'_>,
    series: &Series,
    (guards, compared): (&Judgement, &Judgement),
    (why, is_suspect): (Why, bool),
) -> (Verdict, String) {
    let said = |judgement: &Judgement, verdict| (verdict, judgement.reason.clone());
    match (guards.verdict, why) {
        (_, Why::Harm) => said(compared, Verdict::Fail),
        (Verdict::Fail, _) => said(guards, Verdict::Fail),
        (_, Why::Alarm) if is_suspect => said(compared, Verdict::Inconclusive),
        (_, Why::NoSamples | Why::Clock) => said(compared, Verdict::NoData),
        (_, Why::Held | Why::Shared | Why::Bounds) => said(compared, Verdict::Inconclusive),
        (
            _,
            Why::Mismatch | Why::Alarm | Why::Missing | Why::Unseen | Why::Gathering | Why::Soak,
        ) if question.guards.is_empty() => match too_few(question, series) {
            Some(reason) => (Verdict::NoData, reason),
            None => said(compared, Verdict::Pass),
        },
        (_, Why::Shown) if question.guards.is_empty() => said(compared, Verdict::Pass),
        (Verdict::Pass, _) => (
            Verdict::Pass,
            format!("{}; {}", guards.reason, compared.reason),
        ),
        (Verdict::Inconclusive | Verdict::NoData, _) => said(guards, guards.verdict),
    }
}

/// Says what is missing where no guard does: a verdict on few requests is none.
fn too_few(question: &Question<'_>, series: &Series) -> Option<String> {
    let (since, now) = (question.since, question.now);
    let wanted = u64::from(question.sampling.requests_min);
    let is_enough = |held: Held| held.canary.requests >= wanted;
    let reach = series.reach((since, now), question.sampling.window, is_enough);
    let totals = series.totals(since, now, reach);
    let found = totals.canary.requests;
    let outlook = threshold::outlook(found, wanted, totals.covered, series.kept_max());
    let outlook = outlook.map_or_else(String::new, |outlook| format!(" ({outlook})"));
    (found < wanted).then(|| format!("{found} of {wanted} requests that a verdict needs{outlook}"))
}

/// Says which required metric of another system has no fresh data of the canary in this step.
fn absent(config: &Config, state: &State, question: &Question<'_>) -> Option<String> {
    let metrics = config.settings().metrics.iter();
    let mut missing = metrics
        .filter(|metric| metric.required && metric.source == Source::Observed)
        .filter_map(|metric| {
            let name = metric.name.as_str();
            let stale_after = metric
                .stale_after
                .unwrap_or_else(|| config.settings().stale_after);
            let age = state
                .newest_of(name)
                .map(|newest| question.now.duration_since(newest));
            let reason = match age {
                None => Some(format!("{name} has no data yet")),
                Some(age) if age.is_positive() && age.unsigned_abs() > stale_after => {
                    let seconds = age.as_secs();
                    Some(format!("the newest data of {name} is {seconds} s old"))
                }
                Some(_) => state
                    .seen_of(name)
                    .is_none_or(|seen| seen <= question.since)
                    .then(|| format!("{name} was not seen of the canary in this step")),
            };
            reason.map(|reason| (name, reason))
        });
    let (name, reason) = missing.next()?;
    Some(match wait_of(name, question.metrics) {
        Some(within) => format!(
            "{reason}; it is compared from {} s after each change of the weight on",
            within.as_secs()
        ),
        None => reason,
    })
}

/// Returns how long a metric that the proxy counts waits after each change of the weight.
fn wait_of(name: &str, metrics: &[metric::Metric]) -> Option<Duration> {
    let metric = metrics.iter().find(|metric| metric.name == name)?;
    match &metric.ask {
        metric::Ask::Requests(requests) => Some(requests.within),
        metric::Ask::Template(_) | metric::Ask::Query(_) | metric::Ask::Counts { .. } => None,
    }
}

/// Returns the sequential judge's settings, which a plan gives in short.
fn settings(judge: &Sequential, question: &Question<'_>) -> Settings {
    let ppm = |permille: u32| permille.saturating_mul(1_000);
    let mut settings = Settings {
        alpha_ppm: judge.alpha_ppm,
        beta_ppm: judge.beta_ppm,
        // The plan's own hold says how long a step is watched at least.
        soak: Duration::ZERO,
        horizon: question.horizon.clamp(HORIZON_MIN, HORIZON_MAX),
        stale_after: question.sampling.stale_after,
        leeway: Leeway::of(judge),
        warm_up: judge.warm_up,
        ..Settings::standard()
    };
    for metric in &mut settings.metrics {
        if let Against::Stable(margin) = &mut metric.against {
            margin.harm_ratio_ppm = ppm(judge.harm_permille);
            margin.pass_ratio_ppm = ppm(judge.accept_permille);
            if metric.kind == Kind::Ratio {
                margin.pass_slack_ppm = judge.accept_ppm;
            }
        }
    }
    settings
        .metrics
        .extend(question.metrics.iter().flat_map(declared));
    settings
}

/// Returns a declared metric as the judge takes it, and its limit as one of its own.
fn declared(metric: &metric::Metric) -> impl Iterator<Item = Metric> {
    let compared = compared(metric);
    let limited = metric.limit.map(|limit| Metric {
        name: limit_name(&metric.name),
        against: Against::Limit(limit),
        // A limit shows no canary to be as good as stable.
        required: false,
        ..compared.clone()
    });
    [Some(compared), limited].into_iter().flatten()
}

/// Returns the name under which the limit of a metric is judged; no declared metric has a space in its name.
fn limit_name(metric: &str) -> String {
    format!("{metric} limit")
}

/// Returns what was observed, for the limits of metrics, too.
fn with_limits(question: &Question<'_>, observed: &[Observed]) -> Vec<Observed> {
    let limited = |name: &String| {
        let mut metrics = question.metrics.iter();
        metrics.any(|metric| metric.limit.is_some() && metric.name == *name)
    };
    let limits = observed.iter().filter(|one| limited(&one.metric));
    let limits = limits.map(|one| Observed {
        metric: limit_name(&one.metric),
        ..one.clone()
    });
    observed.iter().cloned().chain(limits).collect()
}

fn compared(metric: &metric::Metric) -> Metric {
    let ppm = |permille: u32| permille.saturating_mul(1_000);
    Metric {
        name: metric.name.clone(),
        source: Source::Observed,
        kind: metric.kind,
        direction: metric.direction,
        against: Against::Stable(Margin {
            harm_ratio_ppm: ppm(metric.margin.harm_permille),
            harm_slack_ppm: 0,
            pass_ratio_ppm: ppm(metric.margin.accept_permille),
            pass_slack_ppm: metric.margin.accept_ppm,
        }),
        weight: metric.weight,
        critical: metric.critical,
        required: metric.required,
        // Independent events; what stable shows may raise it.
        clumping_milli: 1_000,
        late: matches!(&metric.ask, metric::Ask::Requests(requests) if !requests.is_at_once()),
        stale_after: Some(metric.stale_after),
    }
}

/// Returns how long the steps of a plan take together, as far as it is planned.
fn horizon(plan: &Plan) -> Duration {
    let times = plan.steps().iter().map(|step| match step {
        Step::Hold(Hold::For(time)) => *time,
        Step::Hold(Hold::UntilEvidence { max, .. }) => *max,
        Step::Analysis(analysis) => analysis.duration,
        Step::Experiment(experiment) => experiment.analysis.duration,
        Step::Hold(Hold::UntilResumed)
        | Step::SetWeight(_)
        | Step::TestTraffic
        | Step::ScaleCanary(_)
        | Step::HeaderRoute(_)
        | Step::Mirror(_)
        | Step::Gate(_) => Duration::ZERO,
    });
    times.fold(plan.rules().bake, Duration::saturating_add)
}

#[cfg(test)]
mod tests;
