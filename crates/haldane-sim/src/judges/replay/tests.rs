//! Judges on data whose counts are known.

use haldane_analysis::{
    Batch, Bucket, Sample,
    looks::Asked,
    recording::{Moment, Second},
};
use haldane_core::{
    Weight,
    plan::{Plan, PlanParts, Rules, Sequential, Step},
    verdict::Subject,
};
use jiff::SignedDuration;

use super::*;

/// When the canary gets traffic, after so many intervals.
const HISTORY: u32 = 40;

fn at(second: u32) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_secs(i64::from(second))
}

/// Returns intervals of so many seconds, the canary at 10 %; in each it has so many failures and slow requests of ten a second.
fn data(count: u32, every: u32, failing: u32, slow: u32) -> Vec<Moment> {
    let moments = (0..HISTORY + count).map(|number| {
        let (from, to) = (at(number * every), at((number + 1) * every));
        let has_canary = number >= HISTORY;
        let sample = |requests: u32, failures: u32, slow: u32| Sample {
            requests: u64::from(requests),
            failures: u64::from(failures),
            latency: Bucket::list([
                (10_000, u64::from((requests - slow) / 2)),
                (20_000, u64::from((requests - slow) * 3 / 10)),
                (
                    50_000,
                    u64::from(requests - slow - (requests - slow) / 2 - (requests - slow) * 3 / 10),
                ),
                (2_000_000, u64::from(slow)),
            ]),
            ..Sample::default()
        };
        let canary = if has_canary {
            sample(10 * every, failing, slow)
        } else {
            Sample::default()
        };
        let asked = Asked {
            subject: Subject::Background,
            since: at(HISTORY * every),
        };
        Moment::Second(Second {
            batch: Batch {
                from,
                to,
                stable: sample(90 * every, u32::from(number % 7 == 0), 0),
                canary,
                weight: Weight::from_percent(if has_canary { 10 } else { 0 }),
            },
            told: Vec::new(),
            bands: None,
            asked: has_canary.then_some(asked).into_iter().collect(),
            is_split: true,
        })
    });
    moments.collect()
}

fn plan() -> Plan {
    let rules = Rules {
        judge: Some(Sequential::default()),
        ..Rules::default()
    };
    let steps = vec![
        Step::SetWeight(Weight::from_percent(10)),
        Step::SetWeight(Weight::FULL),
    ];
    Plan::try_new(PlanParts { steps, rules }).unwrap()
}

fn verdicts(moments: &[Moment]) -> Vec<(&'static str, Verdict, u64)> {
    let findings = replay(&plan(), moments, Asking::AsRecorded);
    assert_eq!(findings, replay(&plan(), moments, Asking::AsRecorded));
    findings
        .into_iter()
        .map(|finding| (finding.judge, finding.verdict, finding.seconds))
        .collect()
}

#[test]
fn a_good_canary_is_taken_back_by_nobody() {
    for every in [1, 15] {
        let all = verdicts(&data(600 / every, every, 0, 0));
        assert!(
            all.iter().all(|(_, verdict, _)| *verdict == Verdict::Pass),
            "{all:?}"
        );
        assert_eq!(all.len(), 6);
    }
}

#[test]
fn each_judge_is_told_with_its_time() {
    // A fifth fails: Flagger goes back with the check after five failed ones, Argo needs three measurements of half a minute, a fixed window the first minute.
    let all = verdicts(&data(600, 1, 2, 0));
    let of = |name: &str| *all.iter().find(|(judge, ..)| *judge == name).unwrap();
    assert_eq!(of("flagger"), ("flagger", Verdict::Fail, 360));
    assert_eq!(of("argo"), ("argo", Verdict::Fail, 90));
    assert_eq!(of("fixed_window"), ("fixed_window", Verdict::Fail, 60));
    assert_eq!(of("kayenta").1, Verdict::Fail);
    let (_, verdict, seconds) = of("haldane");
    assert!(verdict == Verdict::Fail && seconds <= 10, "{all:?}");
    assert_eq!(of("sequential").2, seconds);
}

#[test]
fn intervals_of_many_seconds_are_told_at_their_end() {
    let all = verdicts(&data(40, 15, 30, 0));
    let of = |name: &str| *all.iter().find(|(judge, ..)| *judge == name).unwrap();
    assert_eq!(of("flagger"), ("flagger", Verdict::Fail, 360));
    assert_eq!(of("argo"), ("argo", Verdict::Fail, 90));
    assert_eq!(of("fixed_window"), ("fixed_window", Verdict::Fail, 60));
}

#[test]
fn slow_answers_are_seen_by_those_who_look_at_them() {
    let all = replay(&plan(), &data(600, 1, 0, 3), Asking::AsRecorded);
    let why = |name: &str| {
        let found = all.iter().find(|finding| finding.judge == name).unwrap();
        (found.verdict, found.why.clone())
    };
    assert_eq!(why("argo").0, Verdict::Pass);
    let (verdict, text) = why("fixed_window");
    assert_eq!(verdict, Verdict::Fail);
    assert!(text.ends_with("p99 1935 ms"), "{text}");
    assert_eq!(why("haldane").0, Verdict::Fail);
}

#[test]
fn without_traffic_there_is_nothing_to_say() {
    let all = verdicts(&data(0, 1, 0, 0));
    assert!(
        all.iter()
            .all(|(_, verdict, _)| *verdict == Verdict::NoData),
        "{all:?}"
    );
}

#[test]
fn the_canary_is_judged_up_to_its_last_request() {
    let mut moments = data(100, 1, 0, 0);
    let mut rest = data(0, 1, 0, 0);
    for moment in &mut rest {
        if let Moment::Second(second) = moment {
            second.batch.from += SignedDuration::from_secs(1_000);
            second.batch.to += SignedDuration::from_secs(1_000);
        }
    }
    moments.extend(rest);
    let all = verdicts(&moments);
    let argo = all.iter().find(|(judge, ..)| *judge == "argo").unwrap();
    assert_eq!(argo.2, 100, "{all:?}");
}

#[test]
fn a_plan_without_judges_leaves_those_of_others() {
    let plan = Plan::try_new(PlanParts {
        steps: plan().steps().to_vec(),
        rules: Rules::default(),
    })
    .unwrap();
    let all = replay(&plan, &data(60, 1, 0, 0), Asking::Always);
    let names: Vec<&str> = all.iter().map(|finding| finding.judge).collect();
    assert_eq!(
        names,
        ["sequential", "flagger", "argo", "fixed_window", "kayenta"]
    );
}
