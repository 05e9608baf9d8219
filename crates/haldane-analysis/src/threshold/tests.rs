//! Tests of `threshold`.

use haldane_core::{
    Weight,
    guard::{Limit, Metric},
};

use super::*;
use crate::{
    sample::{Bounds, Bucket, Sample},
    series::Batch,
    testing::{SAMPLING, ask, at, batch, guard, limited, requests, series},
};

const NONE: (u64, u64) = (0, 0);
const CPU: Metric = Metric::Cpu;
const MEMORY: Metric = Metric::Memory;
const RESTARTS: Metric = Metric::Restarts;
const READY: Metric = Metric::Ready;
const NOTHING: Limit = Limit::Absolute(0);
const MOST: Limit = Limit::Absolute(800_000);
const ALL: Limit = Limit::Absolute(1_000_000);
const TWICE: Limit = Limit::Times(2_000);
const MIB: u64 = 1 << 20;
const TWICE_MIB: &str = "memory 2MiB, at most 2x stable, that is 2MiB";
const OVER_MIB: &str = "memory just over 2MiB, at most 2x stable, that is 2MiB";
const NO_CANARY: &str = "no value of cpu for the canary";
const NO_STABLE: &str = "no value of cpu for stable";
const ZERO_CPU: &str = "the cpu of stable is zero: no multiple of it is a limit";

fn counts((all, failed): (u64, u64)) -> Sample {
    requests(all, failed)
}

/// The verdict and reason on one batch of (requests, failures) each.
fn on_counts(guard: &Guard, stable: (u64, u64), canary: (u64, u64)) -> (Verdict, String) {
    let series = series([(counts(stable), counts(canary))]);
    let judgement = ask(std::slice::from_ref(guard), &series, 1).judgement;
    (judgement.verdict, judgement.reason)
}

fn check(guard: &Guard, stable: (u64, u64), canary: (u64, u64), verdict: Verdict, reason: &str) {
    let found = on_counts(guard, stable, canary);
    assert_eq!(
        found,
        (verdict, reason.to_owned()),
        "{guard:?} {stable:?} {canary:?}"
    );
}

/// A sample with `fast` latencies in (0, 100 ms], `middle` in (100, 200] and `slow` in (200, 400].
fn latencies(fast: u64, middle: u64, slow: u64) -> Sample {
    Sample {
        requests: fast + middle + slow,
        latency_sum_us: fast * 100_000 + middle * 200_000 + slow * 400_000,
        latency: Bucket::list([(100_000, fast), (200_000, middle), (400_000, slow)]),
        ..Sample::default()
    }
}

/// A sample of latencies with this sum.
fn mean(count: u64, latency_sum_us: u64) -> Sample {
    Sample {
        latency_sum_us,
        ..requests(count, 0)
    }
}

/// The verdict and reason on one sample of the canary, without stable.
fn on_canary(guard: &Guard, canary: Sample) -> (Verdict, String) {
    let series = series([(Sample::default(), canary)]);
    let judgement = ask(std::slice::from_ref(guard), &series, 1).judgement;
    (judgement.verdict, judgement.reason)
}

/// A sample of one gauge.
fn gauged(metric: Metric, value: Option<u64>) -> Sample {
    let mut gauges = Gauges::default();
    match metric {
        Metric::Cpu => gauges.cpu_ppm = value,
        Metric::Memory => gauges.memory_bytes = value,
        Metric::Restarts => gauges.restarts = value,
        Metric::Ready => gauges.ready_ppm = value,
        Metric::ErrorRate
        | Metric::SuccessRate
        | Metric::Mean
        | Metric::P50
        | Metric::P95
        | Metric::P99 => panic!("{metric} is no gauge"),
    }
    Sample {
        gauges,
        ..Sample::default()
    }
}

#[test]
fn an_error_rate_is_broken_only_beyond_its_limit() {
    let guard = limited(Metric::ErrorRate, Limit::Absolute(50_000));
    for (canary, verdict, reason) in [
        (
            (112, 54),
            Verdict::Fail,
            "error rate 48.21% over 112 requests, at most 5%",
        ),
        (
            (200, 10),
            Verdict::Pass,
            "error rate 5% over 200 requests, at most 5%",
        ),
        (
            (200, 11),
            Verdict::Fail,
            "error rate 5.5% over 200 requests, at most 5%",
        ),
        (
            (100_000, 5_001),
            Verdict::Fail,
            "error rate just over 5% over 100000 requests, at most 5%",
        ),
        (
            (100, 0),
            Verdict::Pass,
            "error rate 0% over 100 requests, at most 5%",
        ),
        (
            (100, 900),
            Verdict::Fail,
            "error rate 100% over 100 requests, at most 5%",
        ),
    ] {
        check(&guard, NONE, canary, verdict, reason);
    }
}

#[test]
fn a_success_rate_is_broken_only_below_its_limit() {
    let guard = limited(Metric::SuccessRate, Limit::Absolute(950_000));
    for (canary, verdict, reason) in [
        (
            (200, 10),
            Verdict::Pass,
            "success rate 95% over 200 requests, at least 95%",
        ),
        (
            (200, 11),
            Verdict::Fail,
            "success rate 94.5% over 200 requests, at least 95%",
        ),
        (
            (20, 6),
            Verdict::Fail,
            "success rate 70% over 20 requests, at least 95%",
        ),
    ] {
        check(&guard, NONE, canary, verdict, reason);
    }
}

#[test]
fn before_the_minimum_only_a_hopeless_guard_is_decided() {
    // 5 of the 100 requests that are needed may fail.
    let guard = limited(Metric::ErrorRate, Limit::Absolute(50_000));
    for (canary, verdict, reason) in [
        (
            (5, 5),
            Verdict::NoData,
            "needs 100 requests, has 5 (about 19 s at 5 rps)",
        ),
        (
            (6, 6),
            Verdict::Fail,
            "error rate 100% over 6 requests, at most 5%",
        ),
        (
            (99, 6),
            Verdict::Fail,
            "error rate 6.06% over 99 requests, at most 5%",
        ),
        (
            (99, 5),
            Verdict::NoData,
            "needs 100 requests, has 99 (about 1 s at 99 rps)",
        ),
        (
            (100, 5),
            Verdict::Pass,
            "error rate 5% over 100 requests, at most 5%",
        ),
        (
            (1, 0),
            Verdict::NoData,
            "needs 100 requests, has 1 (about 99 s at 1 rps)",
        ),
        ((0, 0), Verdict::NoData, "needs 100 requests, has 0"),
    ] {
        check(&guard, NONE, canary, verdict, reason);
    }
}

#[test]
fn how_long_the_minimum_takes_is_told_by_the_rate_of_the_window() {
    let guard = limited(Metric::ErrorRate, Limit::Absolute(50_000));
    let batches = [10, 9, 9, 9].map(|canary| (Sample::default(), requests(canary, 0)));
    let reason = ask(&[guard], &series(batches), 4).judgement.reason;
    assert_eq!(reason, "needs 100 requests, has 37 (about 7 s at 9.2 rps)");
}

/// Seconds of which each `apart`th has one request of the canary, and the newest of them fail, up to `failures`.
fn sparse(seconds: u64, apart: u64, failures: u64) -> Series {
    let second = |second: u64| {
        let canary = u64::from(second.is_multiple_of(apart));
        let is_failing = second >= seconds.saturating_sub(failures * apart);
        let failed = if is_failing { canary } else { 0 };
        (requests(9 * canary, 0), requests(canary, failed))
    };
    series((0..seconds).map(second))
}

#[test]
fn few_requests_reach_back_until_there_are_enough() {
    let guards = [limited(Metric::ErrorRate, Limit::Absolute(50_000))];
    for (seconds, apart, failures, verdict, reason) in [
        (
            500,
            5,
            0,
            Verdict::Pass,
            "error rate 0% over 100 requests, at most 5%",
        ),
        // No further than that: what is older is forgotten.
        (
            900,
            5,
            0,
            Verdict::Pass,
            "error rate 0% over 100 requests, at most 5%",
        ),
        (
            900,
            5,
            6,
            Verdict::Fail,
            "error rate 6% over 100 requests, at most 5%",
        ),
        (
            250,
            5,
            6,
            Verdict::Fail,
            "error rate 12% over 50 requests, at most 5%",
        ),
        (
            250,
            5,
            5,
            Verdict::NoData,
            "needs 100 requests, has 50 (about 4 min at 12 a minute)",
        ),
        (
            2_000,
            60,
            0,
            Verdict::NoData,
            "needs 100 requests, has 34 (about 64 min at 61 an hour, and samples are kept for 60 min: give it more weight or a lower requestsMin)",
        ),
        (
            3_600,
            3_600,
            0,
            Verdict::NoData,
            "needs 100 requests, has 1 (about 99 h at 1 an hour, and samples are kept for 60 min: give it more weight or a lower requestsMin)",
        ),
    ] {
        let series = sparse(seconds, apart, failures);
        let judgement = ask(&guards, &series, i64::try_from(seconds).unwrap()).judgement;
        assert_eq!(judgement.reason, reason, "{seconds} {apart} {failures}");
        assert_eq!(judgement.verdict, verdict, "{reason}");
    }
}

#[test]
fn reaching_back_neither_makes_old_samples_new_nor_gauges_old() {
    let guards = [limited(Metric::ErrorRate, Limit::Absolute(50_000))];
    let old = ask(&guards, &sparse(500, 5, 0), 516).judgement;
    assert_eq!(
        old.reason,
        "the newest sample is 16 s old, at most 15 s is allowed"
    );
    // Busy processors of long ago are no reason, although the requests of then are counted.
    let busy = |second: i64| Sample {
        gauges: Gauges {
            cpu_ppm: Some(if second < 200 { 1_000_000 } else { 100_000 }),
            ..Gauges::default()
        },
        ..requests(u64::from(second % 5 == 0), 0)
    };
    let series = series((0..500).map(|second| (requests(2, 0), busy(second))));
    let guards = [
        limited(Metric::ErrorRate, Limit::Absolute(50_000)),
        limited(CPU, MOST),
    ];
    let answer = ask(&guards, &series, 500);
    assert_eq!(answer.judgement.verdict, Verdict::Pass);
    assert_eq!(answer.evidence.guards[1].canary, Some(100_000));
}

#[test]
fn what_came_while_nobody_looked_is_not_reached_for() {
    let guards = [limited(Metric::ErrorRate, Limit::Absolute(50_000))];
    let mut series = Series::new();
    let late = Batch {
        to: at(7_200),
        ..batch(0, requests(9_000, 0), requests(1_000, 0))
    };
    series.push(late).unwrap();
    for second in 7_200..7_210 {
        let new = batch(second, requests(9, 0), requests(1, 0));
        series.push(new).unwrap();
    }
    let judgement = ask(&guards, &series, 7_210).judgement;
    assert_eq!(
        judgement.reason,
        "needs 100 requests, has 10 (about 90 s at 1 rps)"
    );
}

#[test]
fn a_limit_against_stable_reaches_back_for_stable_too() {
    let guards = [limited(Metric::ErrorRate, TWICE)];
    let both = |second: i64| {
        let stable = u64::from(second % 10 == 0);
        (requests(stable, stable), requests(5, 5))
    };
    let answer = ask(&guards, &series((0..1_100).map(both)), 1_100);
    let evidence = &answer.evidence.guards[0];
    assert_eq!(
        (evidence.stable_requests, evidence.canary_requests),
        (100, 5_000)
    );
    assert_eq!(answer.judgement.verdict, Verdict::Pass);
}

#[test]
fn no_requests_are_no_data_even_without_a_minimum() {
    let sampling = Sampling {
        requests_min: 0,
        ..SAMPLING
    };
    let guards = [limited(Metric::ErrorRate, Limit::Absolute(50_000))];
    let series = series([(Sample::default(), Sample::default())]);
    let (subject, since, now) = (Subject::Background, at(0), at(1));
    let question = Question {
        subject,
        guards: &guards,
        sampling: &sampling,
        since,
        now,
    };
    let judgement = judge(&question, &series, &Memory::default()).judgement;
    assert_eq!(judgement.verdict, Verdict::NoData);
    assert_eq!(judgement.reason, "needs 1 requests, has 0");
}

#[test]
fn an_error_rate_against_stable_needs_requests_of_both() {
    let guard = limited(Metric::ErrorRate, Limit::Times(2_000));
    for (stable, canary, verdict) in [
        ((1_000, 50), (200, 20), Verdict::Pass),
        ((1_000, 50), (200, 21), Verdict::Fail),
        // Early: 10 of the first 100 may fail.
        ((1_000, 50), (20, 10), Verdict::NoData),
        ((1_000, 50), (20, 11), Verdict::Fail),
        ((99, 5), (20, 20), Verdict::NoData),
        ((99, 0), (200, 200), Verdict::NoData),
        // Stable without errors, or with one, counts as 3 in 1,000.
        ((1_000, 0), (1_000, 6), Verdict::Pass),
        ((1_000, 0), (1_000, 7), Verdict::Fail),
        ((1_000, 1), (1_000, 6), Verdict::Pass),
        // Twice of more than half is all.
        ((1_000, 1_000), (1_000, 1_000), Verdict::Pass),
    ] {
        assert_eq!(
            on_counts(&guard, stable, canary).0,
            verdict,
            "{stable:?} {canary:?}"
        );
    }
    let reason = "error rate 55% over 20 requests, at most 2x stable, that is 10%";
    check(&guard, (1_000, 50), (20, 11), Verdict::Fail, reason);
    let reason = "needs 100 requests of stable, has 99 (about 1 s at 99 rps)";
    check(&guard, (99, 0), (200, 200), Verdict::NoData, reason);
}

#[test]
fn an_error_rate_may_be_points_above_stable() {
    let guard = limited(Metric::ErrorRate, Limit::Points(50_000));
    for (stable, canary, verdict) in [
        ((1_000, 0), (100, 5), Verdict::Pass),
        ((1_000, 0), (100, 6), Verdict::Fail),
        ((1_000, 10), (100, 6), Verdict::Pass),
        ((0, 0), (100, 6), Verdict::NoData),
    ] {
        assert_eq!(
            on_counts(&guard, stable, canary).0,
            verdict,
            "{stable:?} {canary:?}"
        );
    }
}

#[test]
fn between_two_limits_a_guard_is_inconclusive() {
    let two = |metric, pass, fail| Guard {
        pass: Limit::Absolute(pass),
        fail: Limit::Absolute(fail),
        ..guard(metric)
    };
    let errors = two(Metric::ErrorRate, 20_000, 50_000);
    let successes = two(Metric::SuccessRate, 980_000, 950_000);
    for (canary, verdict) in [
        ((200, 4), Verdict::Pass),
        ((200, 5), Verdict::Inconclusive),
        ((200, 10), Verdict::Inconclusive),
        ((200, 11), Verdict::Fail),
        // Beyond the first limit and not the second, the minimum is still needed.
        ((50, 4), Verdict::NoData),
    ] {
        assert_eq!(on_counts(&errors, NONE, canary).0, verdict, "{canary:?}");
        assert_eq!(on_counts(&successes, NONE, canary).0, verdict, "{canary:?}");
    }
    let reason = "error rate 2.5% over 200 requests, at most 2% (fails beyond 5%)";
    check(&errors, NONE, (200, 5), Verdict::Inconclusive, reason);
}

#[test]
fn a_failing_limit_that_is_absolute_needs_no_stable() {
    let guard = Guard {
        pass: Limit::Times(2_000),
        fail: Limit::Absolute(50_000),
        ..guard(Metric::ErrorRate)
    };
    assert_eq!(on_counts(&guard, NONE, (100, 6)).0, Verdict::Fail);
    let reason = "needs 100 requests of stable, has 0";
    check(&guard, NONE, (100, 0), Verdict::NoData, reason);
}

#[test]
fn quantiles_count_requests_surely_slower_than_the_limit() {
    use Metric::{P50, P95, P99};
    for (metric, limit_ms, (fast, middle, slow), verdict, reason) in [
        (P95, 200, (190, 0, 10), Verdict::Pass, "p95 100ms"),
        (P95, 200, (189, 0, 11), Verdict::Fail, "p95 400ms"),
        (P99, 200, (189, 9, 2), Verdict::Pass, "p99 200ms"),
        (P99, 200, (197, 0, 3), Verdict::Fail, "p99 400ms"),
        (P50, 100, (100, 100, 0), Verdict::Pass, "p50 100ms"),
        (P50, 100, (99, 101, 0), Verdict::Fail, "p50 200ms"),
        // The limit lies inside the bucket that holds the quantile.
        (
            P95,
            300,
            (0, 0, 200),
            Verdict::Pass,
            "p95 between 200ms and 400ms",
        ),
        // Early: 5 of the first 100 may be slow.
        (P95, 200, (0, 0, 6), Verdict::Fail, "p95 400ms"),
    ] {
        let guard = limited(metric, Limit::Absolute(limit_ms * 1_000));
        let found = on_canary(&guard, latencies(fast, middle, slow));
        assert_eq!(found, (verdict, format!("{reason}, at most {limit_ms}ms")));
    }
    let guard = limited(P95, Limit::Absolute(200_000));
    let (verdict, reason) = on_canary(&guard, latencies(1, 0, 5));
    assert_eq!(verdict, Verdict::NoData);
    assert_eq!(reason, "needs 100 requests, has 6 (about 16 s at 6 rps)");
}

#[test]
fn quantiles_against_stable_take_the_upper_bound_of_its_bucket() {
    let guard = limited(Metric::P95, Limit::Times(1_500));
    let (fast, slow) = (latencies(100, 0, 0), latencies(0, 0, 100));
    let few = latencies(99, 0, 0);
    let mut endless = fast.clone();
    endless.latency = Bucket::list([(100_000, 50), (u64::MAX, 50)]);
    let beyond = "the p95 of stable is beyond what its buckets can tell";
    for (stable, canary, verdict, reason) in [
        (
            &fast,
            &fast,
            Verdict::Pass,
            "p95 100ms, at most 1.5x stable, that is 150ms",
        ),
        (
            &fast,
            &slow,
            Verdict::Fail,
            "p95 400ms, at most 1.5x stable, that is 150ms",
        ),
        (
            &fast,
            &endless,
            Verdict::Pass,
            "p95 over 100ms, at most 1.5x stable, that is 150ms",
        ),
        (&endless, &slow, Verdict::NoData, beyond),
        (
            &few,
            &slow,
            Verdict::NoData,
            "needs 100 requests of stable, has 99 (about 1 s at 99 rps)",
        ),
    ] {
        let series = series([(stable.clone(), canary.clone())]);
        let judgement = ask(std::slice::from_ref(&guard), &series, 1).judgement;
        assert_eq!(
            (judgement.verdict, judgement.reason.as_str()),
            (verdict, reason)
        );
    }
}

#[test]
fn requests_without_latencies_pass_no_latency_guard() {
    let canary = Sample {
        requests: 500,
        ..Sample::default()
    };
    for metric in [Metric::Mean, Metric::P50, Metric::P95, Metric::P99] {
        let guard = limited(metric, Limit::Absolute(500_000));
        let judgement = ask(&[guard], &series([(Sample::default(), canary.clone())]), 1).judgement;
        assert_eq!(judgement.verdict, Verdict::NoData, "{metric}");
        assert_eq!(judgement.reason, "needs 100 latencies, has 0");
    }
}

#[test]
fn a_mean_is_the_sum_by_the_count_and_needs_the_minimum() {
    let absolute = limited(Metric::Mean, Limit::Absolute(50_000));
    for (count, sum, verdict, reason) in [
        (
            100,
            5_000_000,
            Verdict::Pass,
            "mean latency 50ms, at most 50ms",
        ),
        (
            100,
            5_000_001,
            Verdict::Fail,
            "mean latency just over 50ms, at most 50ms",
        ),
        (
            100,
            6_000_000,
            Verdict::Fail,
            "mean latency 60ms, at most 50ms",
        ),
        (
            50,
            90_000_000,
            Verdict::NoData,
            "needs 100 requests, has 50 (about 1 s at 50 rps)",
        ),
    ] {
        let found = on_canary(&absolute, mean(count, sum));
        assert_eq!(found, (verdict, reason.to_owned()));
    }
}

#[test]
fn a_mean_against_stable_needs_one_of_stable() {
    for (count, sum, canary_sum, verdict) in [
        (100, 4_000_000, 8_000_000, Verdict::Pass),
        (100, 4_000_000, 8_000_001, Verdict::Fail),
        (99, 4_000_000, 8_000_001, Verdict::NoData),
        (100, 0, 8_000_001, Verdict::NoData),
    ] {
        let series = series([(mean(count, sum), mean(100, canary_sum))]);
        let judgement = ask(&[limited(Metric::Mean, TWICE)], &series, 1).judgement;
        assert_eq!(judgement.verdict, verdict, "{}", judgement.reason);
    }
}

#[test]
fn gauges_need_a_value_and_no_requests() {
    let (pass, fail, missing) = (Verdict::Pass, Verdict::Fail, Verdict::NoData);
    for (metric, limit, stable, canary, verdict, reason) in [
        (CPU, MOST, None, Some(800_000), pass, "cpu 80%, at most 80%"),
        (CPU, MOST, None, Some(910_000), fail, "cpu 91%, at most 80%"),
        (CPU, MOST, Some(1), None, missing, NO_CANARY),
        (CPU, TWICE, None, Some(1), missing, NO_STABLE),
        (CPU, TWICE, Some(10), Some(20), pass, ""),
        (CPU, TWICE, Some(10), Some(21), fail, ""),
        (CPU, TWICE, Some(0), Some(1), missing, ZERO_CPU),
        (MEMORY, TWICE, Some(MIB), Some(2 * MIB), pass, TWICE_MIB),
        (MEMORY, TWICE, Some(MIB), Some(2 * MIB + 1), fail, OVER_MIB),
        (
            RESTARTS,
            NOTHING,
            None,
            Some(0),
            pass,
            "restarts 0, at most 0",
        ),
        (
            RESTARTS,
            NOTHING,
            None,
            Some(1),
            fail,
            "restarts 1, at most 0",
        ),
        (RESTARTS, TWICE, Some(0), Some(2), pass, ""),
        (RESTARTS, TWICE, Some(0), Some(3), fail, ""),
        (
            READY,
            ALL,
            None,
            Some(1_000_000),
            pass,
            "ready 100%, at least 100%",
        ),
        (
            READY,
            ALL,
            None,
            Some(999_999),
            fail,
            "ready 99.99%, at least 100%",
        ),
    ] {
        let series = series([(gauged(metric, stable), gauged(metric, canary))]);
        let judgement = ask(&[limited(metric, limit)], &series, 1).judgement;
        assert_eq!(
            judgement.verdict, verdict,
            "{metric} {limit:?} {stable:?} {canary:?}"
        );
        assert!(
            reason.is_empty() || judgement.reason == reason,
            "{}",
            judgement.reason
        );
    }
}

#[test]
fn cpu_is_averaged_and_restarts_and_readiness_are_the_last() {
    let gauges = |cpu_ppm, restarts, ready_ppm| Gauges {
        cpu_ppm,
        restarts,
        ready_ppm,
        memory_bytes: None,
        replicas: None,
    };
    let batches = [
        gauges(Some(1_000_000), Some(0), Some(500_000)),
        gauges(Some(600_000), Some(1), Some(1_000_000)),
        gauges(None, None, None),
    ];
    let series = series(batches.map(|gauges| {
        (
            Sample::default(),
            Sample {
                gauges,
                ..Sample::default()
            },
        )
    }));
    let guards = [
        limited(Metric::Cpu, Limit::Absolute(800_000)),
        limited(Metric::Restarts, Limit::Absolute(1)),
        limited(Metric::Ready, Limit::Absolute(1_000_000)),
    ];
    let answer = ask(&guards, &series, 3);
    let values: Vec<Option<u64>> = answer
        .evidence
        .guards
        .iter()
        .map(|guard| guard.canary)
        .collect();
    assert_eq!(values, [Some(800_000), Some(1), Some(1_000_000)]);
    assert_eq!(answer.judgement.verdict, Verdict::Pass);
}

#[test]
fn old_gauges_are_missing() {
    let gauges = Gauges {
        cpu_ppm: Some(1),
        memory_bytes: Some(1),
        restarts: Some(0),
        ready_ppm: Some(1_000_000),
        replicas: Some(1),
    };
    for metric in [Metric::Cpu, Metric::Memory, Metric::Restarts, Metric::Ready] {
        let limit = if metric == Metric::Ready {
            0
        } else {
            1_000_000
        };
        let guards = [limited(metric, Limit::Absolute(limit))];
        let first = (
            Sample::default(),
            Sample {
                gauges,
                ..Sample::default()
            },
        );
        let silent = std::iter::repeat_n((Sample::default(), Sample::default()), 19);
        let series = series(std::iter::once(first).chain(silent));
        let mut fresh = Series::new();
        for batch in series.batches().take(16) {
            fresh.push(batch.clone()).unwrap();
        }
        assert_eq!(
            ask(&guards, &fresh, 16).judgement.verdict,
            Verdict::Pass,
            "{metric}"
        );
        assert_eq!(
            ask(&guards, &series, 20).judgement.verdict,
            Verdict::NoData,
            "{metric}"
        );
    }
}

#[test]
fn missing_or_stale_samples_are_no_data() {
    let guards = [limited(Metric::ErrorRate, Limit::Absolute(50_000))];
    let bad = || series([(requests(900, 0), requests(100, 100))]);
    for (guards, series, second, reason) in [
        (&guards[..], bad(), 16, ""),
        (
            &guards[..],
            bad(),
            17,
            "the newest sample is 16 s old, at most 15 s is allowed",
        ),
        (&guards[..], bad(), -14, ""),
        (
            &guards[..],
            bad(),
            -15,
            "the clock went back 16 s behind the newest sample",
        ),
        (&guards[..], Series::new(), 1, "no samples yet"),
        (&[], bad(), 1, "nothing to judge by: there are no guards"),
    ] {
        let answer = ask(guards, &series, second);
        if reason.is_empty() {
            assert_eq!(answer.judgement.verdict, Verdict::Fail);
            continue;
        }
        assert_eq!(
            (answer.judgement.verdict, answer.judgement.reason.as_str()),
            (Verdict::NoData, reason)
        );
        assert_eq!(answer.judgement.broken, None);
        assert!(
            answer
                .evidence
                .guards
                .iter()
                .all(|guard| guard.verdict == Verdict::NoData)
        );
        assert_eq!(answer.evidence.guards.len(), guards.len());
    }
}

#[test]
fn samples_from_before_do_not_count() {
    let guards = [limited(Metric::ErrorRate, Limit::Absolute(50_000))];
    let batches = [
        (requests(900, 0), requests(100, 100)),
        (requests(900, 0), requests(100, 0)),
    ];
    let series = series(batches);
    for (since, verdict) in [(0, Verdict::Fail), (1, Verdict::Pass), (2, Verdict::NoData)] {
        let question = Question {
            subject: Subject::Step(3),
            guards: &guards,
            sampling: &SAMPLING,
            since: at(since),
            now: at(2),
        };
        let judgement = judge(&question, &series, &Memory::default()).judgement;
        assert_eq!(judgement.verdict, verdict);
        assert_eq!((judgement.since, judgement.at), (at(since), at(2)));
        assert_eq!(judgement.subject, Subject::Step(3));
    }
}

#[test]
fn a_window_shorter_than_a_batch_holds_nothing() {
    let sampling = Sampling {
        window: Duration::from_millis(500),
        ..SAMPLING
    };
    let guards = [limited(Metric::ErrorRate, Limit::Absolute(50_000))];
    let series = series([(requests(900, 0), requests(100, 0))]);
    let (subject, since, now) = (Subject::Background, at(0), at(1));
    let question = Question {
        subject,
        guards: &guards,
        sampling: &sampling,
        since,
        now,
    };
    let judgement = judge(&question, &series, &Memory::default()).judgement;
    assert_eq!(judgement.reason, "no samples within the window");
    assert_eq!(judgement.verdict, Verdict::NoData);
}

#[test]
fn tolerated_failures_are_counted_once_per_batch_over_the_whole_rollout() {
    let guards = [Guard {
        failures: 2,
        ..limited(Metric::ErrorRate, Limit::Absolute(50_000))
    }];
    let (good, bad) = (requests(1_000, 0), requests(100, 100));
    let mut memory = Memory::default();
    let mut series = Series::new();
    for (second, is_bad, count, verdict) in [
        (0, true, 1, Verdict::Inconclusive),
        (0, true, 1, Verdict::Inconclusive),
        (0, true, 1, Verdict::Inconclusive),
        (1, false, 1, Verdict::Pass),
        (2, true, 2, Verdict::Inconclusive),
        (3, false, 2, Verdict::Pass),
        (4, true, 3, Verdict::Fail),
        (4, true, 3, Verdict::Fail),
    ] {
        let canary = if is_bad { bad.clone() } else { good.clone() };
        // A second look at the same batch finds it there already.
        let is_new = series
            .newest()
            .is_none_or(|newest| newest.from < at(second));
        assert_eq!(
            series
                .push(batch(second, Sample::default(), canary))
                .is_ok(),
            is_new
        );
        // Each batch is judged alone: `since` moves, and the count stays.
        let question = Question {
            subject: Subject::Background,
            guards: &guards,
            sampling: &SAMPLING,
            since: at(second),
            now: at(second + 1),
        };
        let answer = judge(&question, &series, &memory);
        assert_eq!(answer.judgement.verdict, verdict, "{second}");
        assert_eq!(answer.evidence.guards[0].failed, count, "{second}");
        assert_eq!(answer.judgement.broken.is_some(), verdict == Verdict::Fail);
        if (second, verdict) == (2, Verdict::Inconclusive) {
            let reason =
                "error rate 100% over 100 requests, at most 5% (failed measurement 2, 2 tolerated)";
            assert_eq!(answer.judgement.reason, reason);
        }
        // What is remembered survives a restart.
        let stored = serde_json::to_string(&answer.memory).unwrap();
        memory = serde_json::from_str(&stored).unwrap();
    }
}

#[test]
fn failures_are_counted_for_each_guard() {
    let tolerant = |metric| Guard {
        failures: 1,
        ..limited(metric, Limit::Absolute(0))
    };
    let guards = [
        tolerant(Metric::ErrorRate),
        limited(Metric::P95, Limit::Absolute(900_000)),
    ];
    let answer = ask(
        &guards,
        &series([(Sample::default(), requests(100, 100))]),
        1,
    );
    let expected = [
        Failed {
            count: 1,
            last: Some(at(1)),
        },
        Failed::default(),
    ];
    assert_eq!(answer.memory.guards, expected);
}

#[test]
fn the_worst_critical_guard_decides() {
    let failing = limited(Metric::ErrorRate, Limit::Absolute(10_000));
    let doubtful = Guard {
        pass: Limit::Absolute(10_000),
        fail: Limit::Absolute(900_000),
        ..failing.clone()
    };
    let missing = limited(Metric::Cpu, Limit::Absolute(10_000));
    let kept = limited(Metric::ErrorRate, Limit::Absolute(900_000));
    let warn = |guard: &Guard| Guard {
        severity: Severity::Warn,
        ..guard.clone()
    };
    let (warning, critical) = (Some(Severity::Warn), Some(Severity::Critical));
    for (guards, verdict, broken) in [
        (
            vec![&kept, &missing, &doubtful, &failing],
            Verdict::Fail,
            critical,
        ),
        (
            vec![&kept, &missing, &doubtful],
            Verdict::Inconclusive,
            None,
        ),
        (vec![&kept, &missing], Verdict::NoData, None),
        (vec![&kept], Verdict::Pass, None),
        (vec![&kept, &warn(&failing)], Verdict::Pass, warning),
        (vec![&kept, &warn(&missing)], Verdict::Pass, None),
        (vec![&kept, &warn(&doubtful)], Verdict::Pass, None),
        (vec![&missing, &warn(&failing)], Verdict::NoData, warning),
        (vec![&failing, &warn(&failing)], Verdict::Fail, critical),
        (vec![&warn(&failing)], Verdict::Pass, warning),
        (vec![&warn(&missing)], Verdict::NoData, None),
        (vec![&warn(&missing), &warn(&kept)], Verdict::Pass, None),
    ] {
        let guards: Vec<Guard> = guards.into_iter().cloned().collect();
        let judgement = ask(
            &guards,
            &series([(Sample::default(), requests(100, 20))]),
            1,
        )
        .judgement;
        assert_eq!(
            (judgement.verdict, judgement.broken),
            (verdict, broken),
            "{guards:?}"
        );
    }
}

#[test]
fn a_pass_says_what_was_kept_and_what_was_not() {
    let kept = limited(Metric::ErrorRate, Limit::Absolute(900_000));
    let warned = Guard {
        severity: Severity::Warn,
        ..limited(Metric::P95, Limit::Absolute(0))
    };
    let one = "error rate 20% over 100 requests, at most 90%";
    for (guards, reason) in [
        (vec![kept.clone()], one),
        (
            vec![kept.clone(), kept.clone()],
            "all 2 guards kept over 100 requests",
        ),
        (
            vec![kept, warned],
            "1 of 2 guards kept over 100 requests; warning: p95 10ms, at most 0ms",
        ),
    ] {
        let judgement = ask(
            &guards,
            &series([(Sample::default(), requests(100, 20))]),
            1,
        )
        .judgement;
        assert_eq!(judgement.reason, reason);
    }
}

#[test]
fn a_broken_warning_on_too_few_requests_is_no_pass() {
    let guards = [Guard {
        severity: Severity::Warn,
        ..limited(Metric::ErrorRate, Limit::Absolute(30_000))
    }];
    let judgement = ask(&guards, &series([(Sample::default(), requests(4, 4))]), 1).judgement;
    assert_eq!(
        (judgement.verdict, judgement.broken),
        (Verdict::NoData, Some(Severity::Warn))
    );
    let reason = "too few requests to pass; error rate 100% over 4 requests, at most 3%";
    assert_eq!(judgement.reason, reason);
}

#[test]
fn a_share_that_does_not_fit_the_weight_is_told_beside_the_verdict() {
    let guards = [limited(Metric::ErrorRate, Limit::Absolute(50_000))];
    for (canary, share, reason) in [
        (
            100,
            Share::Fits,
            "error rate 0% over 300 requests, at most 5%",
        ),
        (
            300,
            Share::Mismatch,
            "error rate 0% over 900 requests, at most 5%; the canary got 25% of 1200 requests at weight 10%",
        ),
    ] {
        // Only the middle one of three batches has neighbors of the same weight.
        let answer = ask(
            &guards,
            &series([(); 3].map(|()| (requests(900, 0), requests(canary, 0)))),
            3,
        );
        assert_eq!(
            (answer.judgement.share, answer.judgement.reason.as_str()),
            (share, reason)
        );
        assert_eq!(answer.judgement.verdict, Verdict::Pass);
        assert_eq!(
            (answer.evidence.share, answer.evidence.observed_bps),
            (share, Some(if canary == 100 { 1_000 } else { 2_500 }))
        );
    }
}

#[test]
fn a_change_of_weight_is_no_mismatch() {
    let guards = [limited(Metric::ErrorRate, Limit::Absolute(50_000))];
    let mut series = Series::new();
    for (second, percent, canary) in [
        (0, 5, 50),
        (1, 5, 50),
        (2, 5, 400),
        (3, 50, 500),
        (4, 50, 500),
    ] {
        let batch = batch(second, requests(1_000 - canary, 0), requests(canary, 0));
        series
            .push(Batch {
                weight: Weight::from_percent(percent),
                ..batch
            })
            .unwrap();
        let judgement = ask(&guards, &series, second + 1).judgement;
        assert_eq!(judgement.share, Share::Fits, "{second}");
    }
}

#[test]
fn evidence_holds_what_the_verdict_rests_on() {
    let guards = [limited(Metric::P95, Limit::Times(1_500))];
    let answer = ask(
        &guards,
        &series([(latencies(100, 0, 0), latencies(150, 20, 30))]),
        1,
    );
    let expected = GuardEvidence {
        metric: Metric::P95,
        severity: Severity::Critical,
        limit: "at most 1.5x stable".to_owned(),
        limit_value: Some(150_000),
        stable: Some(100_000),
        canary: Some(400_000),
        canary_bounds: Some(Bounds {
            lower_us: 200_000,
            upper_us: 400_000,
        }),
        stable_requests: 100,
        canary_requests: 200,
        bad: Some(30),
        verdict: Verdict::Fail,
        failed: 1,
        reason: "p95 400ms, at most 1.5x stable, that is 150ms".to_owned(),
    };
    assert_eq!(answer.evidence.guards, [expected]);
    assert_eq!((answer.evidence.from, answer.evidence.to), (at(0), at(1)));
    let stored = serde_json::to_string(&answer.evidence).unwrap();
    assert_eq!(
        serde_json::from_str::<Evidence>(&stored).unwrap(),
        answer.evidence
    );
}
