//! Tests of Argo's rules.

use std::time::Duration;

use super::*;

const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

/// Runs measurements, one letter each (s, f, i, e), and returns where the metric is after each.
fn phases(limits: &Limits, outcomes: &str) -> Vec<Phase> {
    let mut run = MetricRun::default();
    outcomes
        .chars()
        .map(|letter| run.measure(limits, outcome(letter)))
        .collect()
}

fn outcome(letter: char) -> Outcome {
    match letter {
        's' => Outcome::Successful,
        'f' => Outcome::Failed,
        'i' => Outcome::Inconclusive,
        'e' => Outcome::Error,
        other => panic!("no outcome {other}"),
    }
}

fn last(limits: &Limits, outcomes: &str) -> Phase {
    phases(limits, outcomes).pop().unwrap()
}

fn limits() -> Limits {
    Limits::new(None, MINUTE)
}

fn metric(name: &str, limits: Limits) -> Metric {
    Metric {
        name: name.to_owned(),
        limits,
        dry_run: false,
    }
}

#[test]
fn a_measurement_is_assessed_by_its_conditions() {
    use Outcome::{Failed, Inconclusive, Successful};
    for (success, failure, expected) in [
        (None, None, Successful),
        (Some(true), None, Successful),
        (Some(false), None, Failed),
        (None, Some(false), Successful),
        (None, Some(true), Failed),
        (Some(true), Some(true), Failed),
        (Some(false), Some(true), Failed),
        (Some(true), Some(false), Successful),
        (Some(false), Some(false), Inconclusive),
    ] {
        assert_eq!(
            Outcome::of(success, failure),
            expected,
            "{success:?} {failure:?}"
        );
    }
}

#[test]
fn without_an_interval_a_metric_is_measured_once() {
    for (count, interval, expected) in [
        (None, None, Some(1)),
        (Some(0), None, Some(1)),
        (Some(1), None, Some(1)),
        (None, MINUTE, None),
        (Some(0), MINUTE, None),
        (Some(5), MINUTE, Some(5)),
    ] {
        assert_eq!(Limits::new(count, interval).count, expected);
    }
    assert_eq!(last(&Limits::new(None, None), "s"), Phase::Successful);
}

#[test]
fn failures_are_counted_over_the_whole_run() {
    let limits = Limits {
        failure_limit: Some(2),
        ..limits()
    };
    assert_eq!(last(&limits, "fsfsss"), Phase::Running);
    assert_eq!(last(&limits, "fsfssf"), Phase::Failed);
    assert_eq!(
        last(
            &Limits {
                failure_limit: None,
                ..limits
            },
            "ffffffff"
        ),
        Phase::Running
    );
    let three = Limits::new(Some(3), MINUTE);
    assert_eq!(last(&three, "ssf"), Phase::Failed);
}

#[test]
fn inconclusive_measurements_are_counted_over_the_whole_run() {
    let limits = Limits {
        inconclusive_limit: 1,
        ..limits()
    };
    assert_eq!(last(&limits, "issss"), Phase::Running);
    assert_eq!(last(&limits, "isssi"), Phase::Inconclusive);
}

#[test]
fn only_errors_in_a_row_end_a_metric() {
    assert_eq!(last(&limits(), "eeee"), Phase::Running);
    assert_eq!(last(&limits(), "eeeee"), Phase::Error);
    assert_eq!(last(&limits(), "eeeeseeee"), Phase::Running);
    let tolerant = Limits {
        inconclusive_limit: 9,
        failure_limit: Some(9),
        ..limits()
    };
    assert_eq!(last(&tolerant, "eeeeieeeefeeee"), Phase::Running);
}

#[test]
fn errors_do_not_use_up_the_count() {
    let limits = Limits::new(Some(2), MINUTE);
    assert_eq!(last(&limits, "eese"), Phase::Running);
    assert_eq!(last(&limits, "eeses"), Phase::Successful);
}

#[test]
fn tolerated_failures_do_not_spoil_the_count() {
    let limits = Limits {
        failure_limit: Some(1),
        inconclusive_limit: 1,
        ..Limits::new(Some(3), MINUTE)
    };
    assert_eq!(last(&limits, "fis"), Phase::Successful);
    assert_eq!(last(&limits, "fif"), Phase::Failed);
}

#[test]
fn enough_successes_in_a_row_end_a_metric_at_once() {
    let limits = Limits {
        failure_limit: Some(2),
        consecutive_success_limit: 3,
        ..Limits::new(Some(6), MINUTE)
    };
    assert_eq!(
        phases(&limits, "sss"),
        [Phase::Running, Phase::Running, Phase::Successful]
    );
    assert_eq!(last(&limits, "ssfsss"), Phase::Successful);
    assert_eq!(last(&limits, "ssess"), Phase::Running);
    // The count is used up without them: undecided, and failed where failures are ignored.
    assert_eq!(last(&limits, "ssfssf"), Phase::Inconclusive);
    let only = Limits {
        failure_limit: None,
        ..limits
    };
    assert_eq!(last(&only, "ssfssf"), Phase::Failed);
    assert_eq!(last(&only, "ffssf"), Phase::Running);
}

#[test]
fn the_last_of_several_limits_decides() {
    // An error and a failure can't be passed by the same measurement, so the counts are given.
    let run = MetricRun {
        failed: 1,
        inconclusive: 1,
        consecutive_error: 5,
        ..MetricRun::default()
    };
    assert_eq!(
        run.reason(&limits()).unwrap(),
        "consecutiveErrors (5) > consecutiveErrorLimit (4)"
    );
    let run = MetricRun {
        consecutive_error: 0,
        ..run
    };
    assert_eq!(
        run.reason(&limits()).unwrap(),
        "inconclusive (1) > inconclusiveLimit (0)"
    );
    let run = MetricRun {
        inconclusive: 0,
        ..run
    };
    assert_eq!(
        run.reason(&limits()).unwrap(),
        "failed (1) > failureLimit (0)"
    );
    assert_eq!(MetricRun::default().reason(&limits()), None);
}

#[test]
fn a_metric_that_ended_never_changes() {
    let mut run = MetricRun::default();
    run.measure(&limits(), Outcome::Failed);
    let ended = run;
    run.measure(&limits(), Outcome::Successful);
    run.begin();
    run.terminate();
    assert_eq!(run, ended);
}

#[test]
fn a_run_ends_with_the_worst_of_its_metrics() {
    let once = Limits::new(None, None);
    for (outcomes, expected) in [
        ("ss", Phase::Successful),
        ("sf", Phase::Failed),
        ("si", Phase::Inconclusive),
        ("s", Phase::Running),
    ] {
        let metrics = [metric("a", once), metric("b", once)];
        let mut run = Run::new(&metrics);
        assert_eq!(run.phase(&metrics), Phase::Running);
        for (index, letter) in outcomes.chars().enumerate() {
            run.measure(&metrics, index, outcome(letter));
        }
        assert_eq!(run.phase(&metrics), expected, "{outcomes}");
    }
    assert!(Phase::Failed > Phase::Error && Phase::Error > Phase::Inconclusive);
    assert!(Phase::Inconclusive > Phase::Pending && Phase::Running > Phase::Successful);
}

#[test]
fn a_bad_metric_ends_the_others_once_their_measurement_is_done() {
    let metrics = [
        metric("a", limits()),
        metric("b", limits()),
        metric("c", limits()),
    ];
    let mut run = Run::new(&metrics);
    run.begin(1);
    assert_eq!(
        run.measure(&metrics, 0, Outcome::Inconclusive),
        Phase::Running
    );
    assert!(run.is_terminating(&metrics));
    // The one that was never measured ended well; the one being measured goes on, and may still make it worse.
    assert_eq!(run.metrics[2].phase, Phase::Successful);
    assert_eq!(run.metrics[1].phase, Phase::Running);
    assert_eq!(run.measure(&metrics, 1, Outcome::Failed), Phase::Failed);
}

#[test]
fn a_run_that_someone_ends_is_as_good_as_its_metrics() {
    let metrics = [metric("a", limits()), metric("b", limits())];
    let mut run = Run::new(&metrics);
    run.measure(&metrics, 0, Outcome::Successful);
    run.begin(1);
    assert_eq!(run.terminate(&metrics), Phase::Running);
    assert_eq!(
        run.measure(&metrics, 1, Outcome::Successful),
        Phase::Successful
    );
    let mut unmeasured = Run::new(&metrics);
    assert_eq!(unmeasured.terminate(&metrics), Phase::Successful);
}

#[test]
fn a_dry_run_never_counts() {
    let once = Limits::new(None, None);
    let metrics = [
        metric("a", once),
        Metric {
            dry_run: true,
            ..metric("b", once)
        },
    ];
    let mut run = Run::new(&metrics);
    assert_eq!(run.measure(&metrics, 1, Outcome::Failed), Phase::Running);
    assert!(!run.is_terminating(&metrics));
    assert_eq!(
        run.measure(&metrics, 0, Outcome::Successful),
        Phase::Successful
    );
    assert_eq!(run.metrics[1].phase, Phase::Failed);
}

#[test]
fn the_state_keeps_argos_names() {
    let mut run = MetricRun::default();
    run.measure(&limits(), Outcome::Error);
    let text = serde_json::to_string(&run).unwrap();
    assert_eq!(
        text,
        r#"{"phase":"Running","measuring":false,"count":0,"successful":0,"failed":0,"inconclusive":0,"error":1,"consecutiveError":1,"consecutiveSuccess":0}"#
    );
    assert_eq!(serde_json::from_str::<MetricRun>(&text).unwrap(), run);
}
