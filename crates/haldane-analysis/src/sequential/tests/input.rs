//! Bad input: it is refused with a reason, or the answer is honest.

use std::time::Duration;

use super::*;

fn refused(found: Result<(), Refused>) -> String {
    found.unwrap_err().to_string()
}

#[test]
fn a_batch_is_used_once() {
    let config = errors();
    let mut state = State::new(&config);
    let first = batch(0, 10, (1, 90), (1, 10));
    state.observe(&config, &first).unwrap();
    let before = state.clone();
    let again = refused(state.observe(&config, &first));
    assert!(
        again.ends_with("before the newest one ended at 2023-11-14T22:13:21Z"),
        "{again}"
    );
    assert_eq!(state.refused(), 1);
    assert_eq!(state.data().tracks, before.data().tracks);
    let backwards = Batch {
        from: at(9),
        to: at(8),
        ..first
    };
    assert!(refused(state.observe(&config, &backwards)).ends_with("when it begins or before"));
}

#[test]
fn looking_twice_at_the_same_is_looking_once() {
    let config = errors();
    let mut series = Series::new();
    for second in 0..20 {
        series.push(batch(second, 10, (1, 90), (0, 10))).unwrap();
    }
    let input = Input {
        series: &series,
        observed: &[],
        started: at(0),
    };
    let mut state = State::new(&config);
    let first = look(&config, &mut state, &input, &question(0, 20));
    let once = state.clone();
    let second = look(&config, &mut state, &input, &question(0, 20));
    assert_eq!((first, once), (second, state));
}

#[test]
fn another_canary_of_before_is_not_this_one() {
    let config = config(|settings| settings.metrics.push(Metric::conversion("checkout")));
    let mut series = Series::new();
    for second in 0..60 {
        series
            .push(batch(second, 50, (1, 1_000), (900, 1_000)))
            .unwrap();
    }
    let before = observed("checkout", 0, counts(500, 1_000), counts(0, 1_000));
    let check = |started: i64, expected: Why| {
        let mut state = State::new(&config);
        let input = Input {
            series: &series,
            observed: std::slice::from_ref(&before),
            started: at(started),
        };
        let answer = look(&config, &mut state, &input, &question(60, 60));
        assert_eq!(answer.evidence.harmed_at.is_some(), expected == Why::Harm);
        assert_eq!(state.conclude(&config, &question(60, 60)).why, expected);
    };
    check(60, Why::NoSamples);
    check(0, Why::Harm);
}

#[test]
fn data_that_is_missing_or_old_never_passes() {
    let config = errors();
    let empty = State::new(&config);
    assert_eq!(
        conclude(&empty, &config, 0),
        (Verdict::NoData, Why::NoSamples)
    );
    let mut state = State::new(&config);
    feed(&mut state, &config, (0, 60), (50, (1, 1_000), (0, 1_000)));
    for (now, expected) in [
        (60, Verdict::Pass),
        (75, Verdict::Pass),
        (76, Verdict::NoData),
        (45, Verdict::Pass),
        (44, Verdict::NoData),
    ] {
        assert_eq!(verdict_at(&state, &config, at(now)), expected, "{now}");
    }
    let reason = |now| state.judge(&config, &question(0, now)).judgement.reason;
    assert_eq!(reason(100), "errors: the newest data is 40 s old");
    assert_eq!(
        reason(10),
        "the newest samples end later than now: the clocks disagree"
    );
}

#[test]
fn a_step_without_the_canary_never_passes() {
    let config = errors();
    let mut state = State::new(&config);
    feed(&mut state, &config, (0, 60), (50, (1, 1_000), (0, 1_000)));
    feed(&mut state, &config, (60, 100), (50, (1, 1_000), (0, 0)));
    let conclusion = state.conclude(&config, &question(60, 100));
    assert_ne!(conclusion.verdict, Verdict::Pass);
}

#[test]
fn a_required_metric_that_is_missing_is_no_data() {
    let config = config(|settings| {
        settings.metrics.push(Metric {
            required: true,
            ..Metric::conversion("checkout")
        });
    });
    let mut state = State::new(&config);
    feed(&mut state, &config, (0, 60), (50, (1, 1_000), (0, 1_000)));
    assert_eq!(
        conclude(&state, &config, 60),
        (Verdict::NoData, Why::Missing)
    );
    let reason = state.judge(&config, &question(0, 60)).judgement.reason;
    assert_eq!(reason, "checkout: no data");
}

#[test]
fn an_observation_that_can_not_be_used_says_why() {
    let config = config(|settings| settings.metrics.push(Metric::conversion("checkout")));
    let mut state = State::new(&config);
    let good = observed("checkout", 0, counts(1, 10), counts(1, 10));
    let cases = [
        (
            Observed {
                metric: "nothing".to_owned(),
                ..good.clone()
            },
            "no metric \"nothing\" is declared as observed",
        ),
        (
            Observed {
                metric: "errors".to_owned(),
                ..good.clone()
            },
            "no metric \"errors\" is declared as observed",
        ),
        (
            Observed {
                canary: None,
                ..good.clone()
            },
            "\"checkout\" is missing for the canary",
        ),
        (
            Observed {
                skew: Duration::from_secs(13),
                ..good.clone()
            },
            "the windows of \"checkout\" lie 13000 ms apart; expected at most a fifth of their length",
        ),
        (
            Observed {
                stable: Some(Reading::Pods(vec![1])),
                ..good.clone()
            },
            "what was observed of \"checkout\" is not of its kind, Conversion",
        ),
    ];
    let fresh = state.data().tracks.clone();
    for (observed, expected) in &cases {
        assert_eq!(refused(state.observe_metric(&config, observed)), *expected);
    }
    assert_eq!(state.data().tracks, fresh);
    state.observe_metric(&config, &good).unwrap();
    let again = refused(state.observe_metric(&config, &good));
    assert!(again.contains("before the newest one ended"), "{again}");
    assert_eq!(state.refused(), 6);
}

#[test]
fn ten_million_requests_a_second_and_one_an_hour_both_work() {
    let config = errors();
    let mut much = State::new(&config);
    let healthy = (10_000, 5_000_000);
    feed(&mut much, &config, (0, 60), (50, healthy, healthy));
    assert_eq!(conclude(&much, &config, 60), (Verdict::Pass, Why::Shown));
    feed(
        &mut much,
        &config,
        (60, 62),
        (50, healthy, (20_000, 5_000_000)),
    );
    assert_eq!(conclude(&much, &config, 62), (Verdict::Fail, Why::Harm));

    let mut little = State::new(&config);
    for second in 0..7_200 {
        let one = u64::from(second % 3_600 == 0);
        let batch = batch(second, 50, (0, one), (one, one));
        little.observe(&config, &batch).unwrap();
    }
    assert_eq!(
        conclude(&little, &config, 7_200),
        (Verdict::Inconclusive, Why::Gathering)
    );
    let answer = little.judge(&config, &question(0, 7_200));
    let detection = answer.evidence.metrics[0].detects[0];
    assert_eq!(detection.seconds, None, "not within a day");
    assert!(
        answer.judgement.reason.contains("needs more than a day"),
        "{}",
        answer.judgement.reason
    );
}

#[test]
fn more_failures_than_requests_are_all_requests() {
    let config = errors();
    let mut state = State::new(&config);
    feed(&mut state, &config, (0, 3), (50, (0, 100), (500, 100)));
    let answer = state.judge(&config, &question(0, 3));
    assert_eq!(answer.evidence.metrics[0].canary.value, Some(1_000_000));
}

#[test]
fn histograms_with_other_bounds_are_told_and_never_pass() {
    let config = config(|settings| settings.metrics.push(Metric::latency()));
    let mut state = State::new(&config);
    for second in 0..120 {
        let mut batch = batch(second, 50, (1, 1_000), (0, 1_000));
        batch.stable.latency = latencies(490, 20);
        batch.canary.latency = Bucket::list([(70_000, 700), (300_000, 300)]);
        state.observe(&config, &batch).unwrap();
    }
    assert_eq!(
        conclude(&state, &config, 120),
        (Verdict::Inconclusive, Why::Bounds)
    );
    let reason = state.judge(&config, &question(0, 120)).judgement.reason;
    assert_eq!(
        reason,
        "latency: the versions count latencies in buckets with different bounds, which can't be compared"
    );
}

#[test]
fn too_many_buckets_are_refused() {
    let config = errors();
    let mut state = State::new(&config);
    let mut batch = batch(0, 50, (1, 1_000), (0, 1_000));
    batch.canary.latency = Bucket::list((1..=1_025).map(|place| (place, 1)));
    assert_eq!(
        refused(state.observe(&config, &batch)),
        "1025 buckets; expected at most 1024"
    );
}
