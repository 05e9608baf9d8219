//! Tests of `threshold`.

use haldane_core::guard::{Limit, Metric};
use proptest::prelude::*;

use super::*;
use crate::{
    sample::{Bucket, Sample},
    testing::{SAMPLING, at, series},
};

fn limit() -> impl Strategy<Value = Limit> {
    prop_oneof![
        (0_u64..1_200_000).prop_map(Limit::Absolute),
        (0_u32..3_000).prop_map(Limit::Times),
        (0_u32..100_000).prop_map(Limit::Points),
    ]
}

fn guard() -> impl Strategy<Value = Guard> {
    let metric = prop::sample::select(Metric::ALL.to_vec());
    let severity = prop::sample::select(vec![Severity::Warn, Severity::Critical]);
    let pass_only = limit().prop_map(|limit| (limit, limit));
    let limits = prop_oneof![pass_only, (limit(), limit())];
    (metric, limits, 0_u32..3, severity).prop_map(|(metric, (pass, fail), failures, severity)| {
        Guard {
            metric,
            pass,
            fail,
            failures,
            severity,
        }
    })
}

prop_compose! {
    fn sample()(
        counts in prop::collection::vec(0_u64..30, 4),
        unanswered in 0_u64..10,
        failures in 0_u64..40,
        latency_sum_us in 0_u64..50_000_000,
        cpu_ppm in prop::option::of(0_u64..1_200_000),
        memory_bytes in prop::option::of(0_u64..1_200_000),
        restarts in prop::option::of(0_u64..3),
        ready_ppm in prop::option::of(0_u64..=1_000_000),
    ) -> Sample {
        let bounds = [10_000, 100_000, 1_000_000, u64::MAX];
        Sample {
            requests: counts.iter().sum::<u64>() + unanswered,
            failures,
            latency_sum_us,
            latency: Bucket::list(bounds.into_iter().zip(counts)),
            gauges: Gauges { cpu_ppm, memory_bytes, restarts, ready_ppm, replicas: None },
        }
    }
}

fn batches() -> impl Strategy<Value = Vec<(Sample, Sample)>> {
    prop::collection::vec((sample(), sample()), 0..6)
}

fn look(guards: &[Guard], series: &Series, second: i64, memory: &Memory) -> Answer {
    let subject = Subject::Background;
    let (since, now) = (at(0), at(second));
    judge(
        &Question {
            subject,
            guards,
            sampling: &SAMPLING,
            since,
            now,
        },
        series,
        memory,
    )
}

/// Requests of the canary that count for a metric: those with a latency where it is made of latencies.
fn requests_for(metric: Metric, batches: &[(Sample, Sample)]) -> u64 {
    let count = |sample: &Sample| match metric {
        Metric::ErrorRate | Metric::SuccessRate => sample.requests,
        Metric::Mean | Metric::P50 | Metric::P95 | Metric::P99 => {
            sample.latency.iter().map(|bucket| bucket.count).sum()
        }
        Metric::Cpu | Metric::Memory | Metric::Restarts | Metric::Ready => u64::MAX,
    };
    batches
        .iter()
        .fold(0, |sum, (_, canary)| sum.saturating_add(count(canary)))
}

proptest! {
    #[test]
    fn too_few_requests_or_stale_samples_never_pass(
        guards in prop::collection::vec(guard(), 0..4),
        batches in batches(),
        second in -40_i64..40,
    ) {
        let answer = look(&guards, &series(batches.clone()), second, &Memory::default());
        let verdict = answer.judgement.verdict;
        if verdict == Verdict::Pass {
            prop_assert!(!guards.is_empty() && !batches.is_empty());
            prop_assert!((second - i64::try_from(batches.len()).unwrap()).abs() <= 15);
            for guard in guards.iter().filter(|guard| guard.severity == Severity::Critical) {
                let has = requests_for(guard.metric, &batches);
                prop_assert!(!guard.metric.is_of_requests() || has >= 100, "{guard:?} {has}");
            }
        }
        for (guard, evidence) in guards.iter().zip(&answer.evidence.guards) {
            if evidence.verdict == Verdict::Pass && guard.metric.is_of_requests() {
                prop_assert!(requests_for(guard.metric, &batches) >= 100);
            }
            if evidence.verdict == Verdict::Pass {
                prop_assert!(evidence.canary.is_some());
            }
        }
    }

    #[test]
    fn more_failures_never_make_a_failure_better(
        guards in prop::collection::vec(guard(), 1..4),
        batches in prop::collection::vec((sample(), sample()), 1..6),
        more in prop::collection::vec(0_u64..20, 6),
    ) {
        let second = i64::try_from(batches.len()).unwrap();
        let worse: Vec<(Sample, Sample)> = batches
            .iter()
            .zip(&more)
            .map(|((stable, canary), more)| {
                (stable.clone(), Sample { failures: canary.failures + more, ..canary.clone() })
            })
            .collect();
        let before = look(&guards, &series(batches), second, &Memory::default());
        let after = look(&guards, &series(worse), second, &Memory::default());
        if before.judgement.verdict == Verdict::Fail {
            prop_assert_eq!(after.judgement.verdict, Verdict::Fail);
        }
        prop_assert!(after.judgement.broken >= before.judgement.broken);
        // A warn guard that is surely broken has data, which it may have lacked before.
        if before.judgement.verdict != Verdict::Pass && after.judgement.broken == before.judgement.broken {
            prop_assert_ne!(after.judgement.verdict, Verdict::Pass);
        }
    }

    #[test]
    fn a_restart_gives_the_same_answer(
        guards in prop::collection::vec(guard(), 0..4),
        batches in batches(),
        second in 0_i64..10,
    ) {
        let series = series(batches);
        let first = look(&guards, &series, second, &Memory::default());
        prop_assert_eq!(&look(&guards, &series.clone(), second, &Memory::default()), &first);
        let stored: Memory = serde_json::from_str(&serde_json::to_string(&first.memory).unwrap()).unwrap();
        prop_assert_eq!(&stored, &first.memory);
        // Looking again with what was remembered changes nothing: no batch is counted twice.
        prop_assert_eq!(&look(&guards, &series, second, &stored), &first);
    }

    #[test]
    fn numbers_of_any_size_are_judged(
        guards in prop::collection::vec(guard(), 1..4),
        requests in any::<u64>(),
        failures in any::<u64>(),
        count in any::<u64>(),
        value in any::<u64>(),
    ) {
        let gauges = Gauges {
            cpu_ppm: Some(value),
            memory_bytes: Some(value),
            restarts: Some(value),
            ready_ppm: Some(value),
            replicas: Some(value),
        };
        let latency = Bucket::list([(value, count), (u64::MAX, requests)]);
        let sample = Sample { requests, failures, latency_sum_us: value, latency, gauges };
        let series = series([(sample.clone(), sample.clone()), (sample.clone(), sample)]);
        let answer = look(&guards, &series, 2, &Memory::default());
        prop_assert!(!answer.judgement.reason.is_empty());
    }
}
