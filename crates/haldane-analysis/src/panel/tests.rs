//! What the judges say together, on seconds whose counts are exact shares.

use std::collections::BTreeMap;

use haldane_core::{
    Weight,
    guard::{Limit, Metric, Severity},
};
use jiff::SignedDuration;

use super::*;
use crate::{
    Bucket,
    sample::Sample,
    sequential::{Counts, Reading},
    series::Batch,
};

/// Requests of the service in a second.
const RATE: u64 = 1_000;

/// A rollout: both versions at a weight, and the judges' memory.
struct Rollout {
    now: Timestamp,
    series: Series,
    /// What a metric system told.
    observed: Vec<Observed>,
    memory: Memory,
    /// Failed requests of both versions so far, to spread shares evenly: stable's, the canary's, times a million.
    owed: [u64; 2],
}

impl Rollout {
    fn new() -> Self {
        let mut rollout = Self {
            now: Timestamp::UNIX_EPOCH,
            series: Series::bounded(300),
            observed: Vec::new(),
            memory: Memory::default(),
            owed: [0, 0],
        };
        rollout.pass(120, 0, [1_000, 0]);
        rollout
    }

    /// Lets seconds pass at a weight in percent; failures are parts per million.
    fn pass(&mut self, seconds: u32, percent: u8, failing: [u64; 2]) {
        for _ in 0..seconds {
            let canary = RATE * u64::from(percent) / 100;
            let [stable, canary] = [(0, RATE - canary), (1, canary)].map(|(arm, requests)| {
                self.owed[arm] += requests * failing[arm];
                let failures = self.owed[arm] / 1_000_000;
                self.owed[arm] %= 1_000_000;
                let slow = requests / 10;
                Sample {
                    requests,
                    failures,
                    latency: Bucket::list([
                        (50_000, requests - slow),
                        (100_000, slow),
                        (u64::MAX, 0),
                    ]),
                    ..Sample::default()
                }
            });
            let from = self.now;
            self.now += SignedDuration::from_secs(1);
            let batch = Batch {
                from,
                to: self.now,
                stable,
                canary,
                weight: Weight::from_percent(percent),
            };
            self.series.push(batch).unwrap();
        }
    }

    fn judge(&mut self, plan: &Plan, since: Timestamp) -> Answer {
        judge(
            &question(plan, Subject::Background, since, self.now),
            &self.series,
            &self.observed,
            &mut self.memory,
        )
    }
}

fn plan(judge: Option<Sequential>, limit_ppm: Option<u64>) -> Plan {
    let guards = limit_ppm.map(|ppm| Guard {
        metric: Metric::ErrorRate,
        pass: Limit::Absolute(ppm),
        fail: Limit::Absolute(ppm),
        failures: 0,
        severity: Severity::Critical,
    });
    let rules = haldane_core::plan::Rules {
        guards: guards.into_iter().collect(),
        judge,
        ..haldane_core::plan::Rules::default()
    };
    let steps = haldane_core::plan::preset::shares(&[5, 50, 100], Duration::from_mins(5), rules);
    Plan::try_new(steps).unwrap()
}

/// What the judges say after some seconds at 10 %.
fn verdict(plan: &Plan, seconds: u32, failing: [u64; 2]) -> (Verdict, Standing) {
    let mut rollout = Rollout::new();
    let since = rollout.now;
    rollout.pass(seconds, 10, failing);
    let judgement = rollout.judge(plan, since).judgement;
    (judgement.verdict, judgement.standing)
}

/// A name, a plan, seconds, failing shares of both versions, and what the judges say then.
type Case = (&'static str, Plan, u32, [u64; 2], (Verdict, Standing));

fn check_verdicts<const N: usize>(cases: [Case; N]) {
    for (name, plan, seconds, failing, expected) in cases {
        assert_eq!(verdict(&plan, seconds, failing), expected, "{name}");
    }
}

#[test]
fn the_judges_together_fail_when_either_does_and_pass_when_both_do() {
    use Standing::{Open, Shown};
    use Verdict::{Fail, NoData, Pass};
    let compared = Some(Sequential::default());
    check_verdicts([
        (
            "both, good, early",
            plan(compared, Some(50_000)),
            5,
            [1_000, 1_000],
            (Pass, Open),
        ),
        (
            "both, good, late",
            plan(compared, Some(50_000)),
            120,
            [1_000, 1_000],
            (Pass, Shown),
        ),
        (
            "both, only worse than stable",
            plan(compared, Some(50_000)),
            30,
            [1_000, 30_000],
            (Fail, Open),
        ),
        (
            "both, bad on both versions",
            plan(compared, Some(50_000)),
            30,
            [100_000, 100_000],
            (Fail, Open),
        ),
        (
            "both, too few",
            plan(compared, Some(50_000)),
            0,
            [1_000, 1_000],
            (NoData, Open),
        ),
    ]);
}

#[test]
fn each_judge_rules_alone_where_the_other_is_left_out() {
    use Standing::{Open, Shown};
    use Verdict::{Fail, NoData, Pass};
    let compared = Some(Sequential::default());
    check_verdicts([
        (
            "limit alone, worse than stable",
            plan(None, Some(50_000)),
            30,
            [1_000, 30_000],
            (Pass, Shown),
        ),
        (
            "limit alone, beyond it",
            plan(None, Some(50_000)),
            30,
            [1_000, 80_000],
            (Fail, Open),
        ),
        (
            "compared alone, none",
            plan(compared, None),
            0,
            [1_000, 1_000],
            (NoData, Open),
        ),
        (
            "compared alone, good, early",
            plan(compared, None),
            5,
            [1_000, 1_000],
            (Pass, Open),
        ),
        (
            "compared alone, good, late",
            plan(compared, None),
            120,
            [1_000, 1_000],
            (Pass, Shown),
        ),
        (
            "compared alone, worse",
            plan(compared, None),
            30,
            [1_000, 30_000],
            (Fail, Open),
        ),
        (
            "compared alone, bad on both versions",
            plan(compared, None),
            30,
            [100_000, 100_000],
            (Pass, Shown),
        ),
    ]);
}

#[test]
fn few_requests_are_no_pass_where_no_guard_says_so() {
    let plan = plan(Some(Sequential::default()), None);
    let mut rollout = Rollout::new();
    let since = rollout.now;
    // A hundred a second at 10 %: the hundredth request comes with the first second.
    rollout.pass(1, 5, [1_000, 1_000]);
    let early = rollout.judge(&plan, since).judgement;
    assert_eq!(early.verdict, Verdict::NoData);
    assert_eq!(
        early.reason,
        "50 of 100 requests that a verdict needs (about 1 s at 50 rps)"
    );
    rollout.pass(1, 5, [1_000, 1_000]);
    assert_eq!(rollout.judge(&plan, since).judgement.verdict, Verdict::Pass);
}

#[test]
fn evidence_from_before_the_step_is_kept_and_speaks_only_with_new_data() {
    let plan = plan(Some(Sequential::default()), None);
    let mut rollout = Rollout::new();
    let since = rollout.now;
    rollout.pass(120, 10, [1_000, 1_000]);
    assert_eq!(
        rollout.judge(&plan, since).judgement.standing,
        Standing::Shown
    );
    let since = rollout.now;
    assert_eq!(
        rollout.judge(&plan, since).judgement.verdict,
        Verdict::NoData
    );
    rollout.pass(2, 25, [1_000, 1_000]);
    let next = rollout.judge(&plan, since).judgement;
    assert_eq!(
        (next.verdict, next.standing, next.since),
        (Verdict::Pass, Standing::Shown, since)
    );
}

#[test]
fn a_canary_that_looks_bad_with_all_traffic_is_suspect_at_most_twice() {
    let plan = plan(Some(Sequential::default()), None);
    let mut rollout = Rollout::new();
    let since = rollout.now;
    rollout.pass(60, 10, [1_000, 1_000]);
    let mut seen = Vec::new();
    for _ in 0..4 {
        // An incident that both versions share, seen where only one has traffic.
        rollout.pass(20, 100, [0, 100_000]);
        let alone = rollout.judge(&plan, since).judgement;
        assert_ne!(alone.verdict, Verdict::Fail, "{}", alone.reason);
        rollout.pass(20, 50, [100_000, 100_000]);
        let compared = rollout.judge(&plan, since).judgement;
        assert_ne!(compared.verdict, Verdict::Fail, "{}", compared.reason);
        seen.push((alone.standing == Standing::Suspect, compared.standing));
    }
    assert!(
        seen.iter()
            .all(|(_, compared)| *compared != Standing::Suspect)
    );
    let suspicions = seen.iter().filter(|(is_suspect, _)| *is_suspect).count();
    assert!((1..=2).contains(&suspicions), "{seen:?}");
}

#[test]
fn a_restart_changes_no_bit() {
    let plan = plan(Some(Sequential::default()), Some(50_000));
    let mut one = Rollout::new();
    let since = one.now;
    one.pass(40, 10, [1_000, 4_000]);
    let _first = one.judge(&plan, since);
    let stored = serde_json::to_string(&one.memory).unwrap();
    assert!(stored.len() < 16_384, "{} bytes", stored.len());
    let mut other = Rollout {
        memory: serde_json::from_str(&stored).unwrap(),
        series: one.series.clone(),
        ..Rollout::new()
    };
    (other.now, other.owed) = (one.now, one.owed);
    for rollout in [&mut one, &mut other] {
        rollout.pass(40, 10, [1_000, 4_000]);
    }
    assert_eq!(one.judge(&plan, since), other.judge(&plan, since));
    assert_eq!(one.memory, other.memory);
}

#[test]
fn the_horizon_is_what_the_steps_take() {
    let asked = plan(None, None);
    assert_eq!(
        question(
            &asked,
            Subject::Background,
            Timestamp::UNIX_EPOCH,
            Timestamp::UNIX_EPOCH
        )
        .horizon,
        Duration::from_mins(15)
    );
}

/// A required ratio of another system, beside the guard and the comparison of requests.
fn with_payments() -> Plan {
    let metric = metric::Metric {
        name: "payments".to_owned(),
        kind: Kind::Ratio,
        source: metric::Source {
            name: "prom".to_owned(),
            provider: metric::Provider::Prometheus,
            address: "http://127.0.0.1:9090".to_owned(),
            options: BTreeMap::new(),
            headers: BTreeMap::new(),
            auth: BTreeMap::new(),
        },
        ask: metric::Ask::Template("plain".to_owned()),
        variables: BTreeMap::new(),
        workload: metric::Metric::WORKLOAD.to_owned(),
        unit: metric::Unit::Seconds,
        direction: metric::Direction::HigherIsWorse,
        margin: metric::Margin::standard(Kind::Ratio, metric::Direction::HigherIsWorse),
        limit: None,
        weight: metric::Metric::WEIGHT,
        critical: true,
        required: true,
        interval: metric::Provider::Prometheus.interval(),
        stale_after: Duration::from_secs(20),
    };
    let plan = plan(Some(Sequential::default()), Some(50_000));
    plan.with_metrics(vec![metric]).unwrap()
}

impl Rollout {
    /// Lets a metric system tell of the last seconds, with this many failures of each version in ten thousand.
    fn tell(&mut self, seconds: i64, failing: [u64; 2]) {
        let [stable, canary] = [(900, failing[0]), (100, failing[1])].map(|(rate, failing)| {
            let exposure = rate * seconds.unsigned_abs();
            let events = exposure * failing / 10_000;
            Some(Reading::Counts(Counts { exposure, events }))
        });
        self.observed.push(Observed {
            metric: "payments".to_owned(),
            from: self.now - SignedDuration::from_secs(seconds),
            to: self.now,
            skew: Duration::ZERO,
            weight: Weight::from_percent(10),
            stable,
            canary,
        });
    }
}

#[test]
fn a_metric_that_the_proxy_counts_says_why_it_waits() {
    let mut metric = with_payments().rules().metrics[0].clone();
    metric.source = metric::Source::proxy();
    metric.stale_after = Duration::from_mins(2);
    metric.ask = metric::Ask::Requests(metric::Requests {
        hit: "POST /pay 2xx".parse().unwrap(),
        of: "GET /cart".parse().unwrap(),
        within: Duration::from_mins(1),
    });
    let plan = plan(Some(Sequential::default()), Some(50_000));
    let plan = plan.with_metrics(vec![metric]).unwrap();
    let mut rollout = Rollout::new();
    let since = rollout.now;
    rollout.pass(120, 10, [1_000, 1_000]);
    let judgement = rollout.judge(&plan, since).judgement;
    assert_eq!(judgement.verdict, Verdict::NoData);
    assert_eq!(
        judgement.reason,
        "payments has no data yet; it is compared from 60 s after each change of the weight on"
    );
}

#[test]
fn nothing_passes_without_a_required_metric_however_good_requests_look() {
    let plan = with_payments();
    let mut rollout = Rollout::new();
    let since = rollout.now;
    rollout.pass(120, 10, [1_000, 1_000]);
    let before = rollout.judge(&plan, since).judgement;
    assert_eq!(before.verdict, Verdict::NoData);
    assert_eq!(before.reason, "payments has no data yet");
    assert_eq!(before.standing, Standing::Open);
    rollout.tell(60, [10, 10]);
    assert_eq!(rollout.judge(&plan, since).judgement.verdict, Verdict::Pass);
    // Requests go on, the metric system does not.
    rollout.pass(21, 10, [1_000, 1_000]);
    let stale = rollout.judge(&plan, since).judgement;
    assert_eq!(stale.verdict, Verdict::NoData);
    assert_eq!(stale.reason, "the newest data of payments is 21 s old");
    rollout.tell(21, [10, 10]);
    assert_eq!(rollout.judge(&plan, since).judgement.verdict, Verdict::Pass);
    let next = rollout.now;
    rollout.pass(2, 25, [1_000, 1_000]);
    let unseen = rollout.judge(&plan, next).judgement;
    assert_eq!(unseen.verdict, Verdict::NoData);
    assert_eq!(
        unseen.reason,
        "payments was not seen of the canary in this step"
    );
}

#[test]
fn a_limit_is_judged_beside_the_comparison_and_not_blamed_where_stable_breaks_it() {
    let limited = |plan: &Plan| {
        let metrics = plan.rules().metrics.iter();
        let metrics = metrics.map(|metric| metric::Metric {
            limit: Some(20_000),
            ..metric.clone()
        });
        plan.clone().with_metrics(metrics.collect()).unwrap()
    };
    let plan = limited(&with_payments());
    let said = |failing: [u64; 2]| {
        let mut rollout = Rollout::new();
        let since = rollout.now;
        for _ in 0..24 {
            rollout.pass(5, 10, [1_000, 1_000]);
            rollout.tell(5, failing);
        }
        let answer = rollout.judge(&plan, since);
        let metrics = answer.evidence.sequential.unwrap().metrics;
        let names: Vec<String> = metrics.into_iter().map(|metric| metric.name).collect();
        assert_eq!(names, ["errors", "latency", "payments", "payments limit"]);
        (answer.judgement.verdict, answer.judgement.reason)
    };
    assert_eq!(said([100, 100]).0, Verdict::Pass);
    let (verdict, reason) = said([500, 500]);
    assert_eq!(verdict, Verdict::Inconclusive);
    assert_eq!(
        reason,
        "held: stable breaks the limit, too, so the canary is not to blame: payments limit: 5% of the canary and 5% of stable, against 2%"
    );
    let (verdict, reason) = said([190, 400]);
    assert_eq!(verdict, Verdict::Fail, "{reason}");
}

#[test]
fn a_metric_of_another_system_alone_shows_harm_and_a_missing_arm_never_does() {
    let plan = with_payments();
    let mut rollout = Rollout::new();
    let since = rollout.now;
    for _ in 0..12 {
        rollout.pass(5, 10, [1_000, 1_000]);
        rollout.tell(5, [10, 500]);
    }
    let missing = rollout.observed.iter().cloned().map(|observed| Observed {
        canary: None,
        ..observed
    });
    let mut halved = Rollout {
        observed: missing.collect(),
        series: rollout.series.clone(),
        ..Rollout::new()
    };
    halved.now = rollout.now;
    let judgement = rollout.judge(&plan, since).judgement;
    assert_eq!(judgement.verdict, Verdict::Fail, "{}", judgement.reason);
    assert!(
        judgement.reason.contains("payments"),
        "{}",
        judgement.reason
    );
    let judgement = halved.judge(&plan, since).judgement;
    assert_eq!(judgement.verdict, Verdict::NoData, "{}", judgement.reason);
}

#[test]
fn a_judge_that_cannot_work_lets_nothing_pass_and_takes_no_failure_back() {
    // More than all errors: a plan that was checked has no such bound.
    let wrong = Sequential {
        alpha_ppm: 0,
        ..Sequential::default()
    };
    let plan = plan(None, Some(50_000));
    for (failing, expected) in [
        ([1_000, 1_000], Verdict::NoData),
        ([1_000, 100_000], Verdict::Fail),
    ] {
        let mut rollout = Rollout::new();
        let since = rollout.now;
        rollout.pass(120, 10, failing);
        let question = Question {
            judge: Some(&wrong),
            ..question(&plan, Subject::Background, since, rollout.now)
        };
        let answer = judge(&question, &rollout.series, &[], &mut rollout.memory);
        assert_eq!(
            answer.judgement.verdict, expected,
            "{}",
            answer.judgement.reason
        );
    }
}

#[test]
fn what_is_unusual_is_told_and_changes_no_verdict() {
    let plan = plan(Some(Sequential::default()), Some(50_000));
    let mut rollout = Rollout::new();
    let since = rollout.now;
    rollout.pass(120, 10, [1_000, 1_000]);
    let usual = rollout.judge(&plan, since);
    assert_eq!(
        (usual.judgement.verdict, &usual.judgement.unusual),
        (Verdict::Pass, &None)
    );
    let bands = vec![band::Evidence {
        name: "latency".to_owned(),
        measure: band::Measure::Latency,
        finding: band::Finding::Suspect,
        band: None,
        stable: None,
        canary: Some(1),
        reason: "slow".to_owned(),
    }];
    let told = usual.clone().with_bands(bands.clone());
    assert_eq!(
        told.judgement,
        Judgement {
            unusual: Some(haldane_core::verdict::Unusual::Suspect(
                "latency: slow".to_owned()
            )),
            ..usual.judgement
        }
    );
    assert_eq!(
        told.evidence,
        Evidence {
            bands,
            ..usual.evidence
        }
    );
}

#[test]
fn evidence_from_before_there_were_bands_is_read() {
    let mut rollout = Rollout::new();
    let since = rollout.now;
    rollout.pass(5, 10, [1_000, 1_000]);
    let answer = rollout.judge(&plan(None, Some(50_000)), since);
    let mut evidence = serde_json::to_value(&answer.evidence).unwrap();
    evidence.as_object_mut().unwrap().remove("bands").unwrap();
    assert_eq!(
        serde_json::from_value::<Evidence>(evidence).unwrap(),
        answer.evidence
    );
    let mut judgement = serde_json::to_value(&answer.judgement).unwrap();
    judgement
        .as_object_mut()
        .unwrap()
        .remove("unusual")
        .unwrap();
    assert_eq!(
        serde_json::from_value::<Judgement>(judgement).unwrap(),
        answer.judgement
    );
}

#[test]
fn the_leeway_and_the_warm_up_of_a_plan_are_the_judges() {
    let judge = Sequential {
        leeway_ppm: 50_000,
        leeway_min: Duration::from_millis(7),
        warm_up: Duration::from_secs(9),
        ..Sequential::default()
    };
    let plan = plan(Some(judge), None);
    let now = Rollout::new().now;
    let found = settings(&judge, &question(&plan, Subject::Background, now, now));
    let leeway = Leeway {
        share_ppm: 50_000,
        least: Duration::from_millis(7),
    };
    assert_eq!(
        (found.leeway, found.warm_up),
        (leeway, Duration::from_secs(9))
    );
}
