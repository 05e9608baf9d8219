//! What is written is read; what is judged again is the same.

use haldane_core::{
    Weight,
    plan::{Plan, PlanParts, Rules, Sequential, Step},
    verdict::{Subject, Verdict},
};
use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;
use crate::{
    looks,
    sample::{Bucket, Gauges, Sample},
};

/// One metric that only the canary has out of its band.
fn unusual() -> Vec<band::Evidence> {
    vec![band::Evidence {
        name: "errors".to_owned(),
        measure: band::Measure::Share,
        finding: band::Finding::Suspect,
        band: None,
        stable: Some(1),
        canary: Some(2),
        reason: "more errors than usual".to_owned(),
    }]
}

fn at(nanoseconds: i64) -> Timestamp {
    let from = Timestamp::from_second(1_800_000_000).unwrap();
    from + SignedDuration::from_nanos(nanoseconds)
}

fn sample() -> impl Strategy<Value = Sample> {
    let bucket =
        (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(lower_us, upper_us, count)| Bucket {
            lower_us,
            upper_us,
            count,
        });
    let gauges = proptest::option::of(any::<u64>());
    (
        any::<[u64; 3]>(),
        proptest::collection::vec(bucket, 0..5),
        (gauges.clone(), gauges),
    )
        .prop_map(
            |([requests, failures, sum], latency, (cpu_ppm, restarts))| Sample {
                requests,
                failures,
                latency_sum_us: sum,
                latency,
                gauges: Gauges {
                    cpu_ppm,
                    restarts,
                    ..Gauges::default()
                },
            },
        )
}

proptest! {
    #[test]
    fn any_second_is_read_as_it_was_written(
        stable in sample(),
        canary in sample(),
        time in any::<i32>(),
        length in any::<u32>(),
        percent in 0_u8..=100,
        is_split in any::<bool>(),
    ) {
        let from = at(i64::from(time));
        let second = Second {
            batch: Batch {
                from,
                to: from + SignedDuration::from_nanos(i64::from(length)),
                stable,
                canary,
                weight: Weight::from_percent(percent),
            },
            told: Vec::new(),
            bands: is_split.then(unusual),
            asked: vec![Asked { subject: Subject::Background, since: from }, Asked { subject: Subject::Step(3), since: from }],
            is_split,
        };
        let moments = [Moment::Past(second.batch.clone()), Moment::Second(second), Moment::Full(from)];
        for moment in moments {
            let text = serde_json::to_string(&moment).unwrap();
            prop_assert_eq!(serde_json::from_str::<Moment>(&text).unwrap(), moment);
        }
    }
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

/// Returns a second like many: latencies in forty buckets.
fn second(number: i64, failing: u64) -> Batch {
    let sample = |requests: u64, failures: u64| Sample {
        requests,
        failures,
        latency_sum_us: requests * 20_123,
        latency: Bucket::list(
            (1..=40_u64).map(|place| (place * 1_024 + place % 3, 1 + requests * place / 820)),
        ),
        gauges: Gauges::default(),
    };
    Batch {
        from: at(number * 1_000_123_456),
        to: at((number + 1) * 1_000_123_456),
        stable: sample(90, 0),
        canary: sample(10, failing),
        weight: Weight::from_percent(10),
    }
}

#[test]
fn what_was_judged_is_judged_again_in_the_same_words() {
    let plan = plan();
    let mut series = looks::series();
    let mut known = Knowledge::default();
    let past = (0..20).map(|number| Batch {
        canary: Sample::default(),
        weight: Weight::ZERO,
        ..second(number, 0)
    });
    let mut moments = vec![Moment::Segment(Box::new(Segment {
        at: at(0),
        known: known.clone(),
    }))];
    for batch in past {
        series.push(batch.clone()).unwrap();
        moments.push(Moment::Past(batch));
    }
    let asked = Asked {
        subject: Subject::Background,
        since: second(20, 0).from,
    };
    let mut live = Vec::new();
    for number in 20..60 {
        let batch = second(number, u64::from(number > 40));
        series.push(batch.clone()).unwrap();
        let bands = (number == 30).then(unusual);
        known.compare(bands.clone());
        live.push(known.look(&plan, asked, &series, batch.to));
        moments.push(Moment::Second(Second {
            batch,
            told: Vec::new(),
            bands,
            asked: vec![asked],
            is_split: true,
        }));
    }
    assert!(
        live.iter()
            .any(|answer| answer.judgement.verdict == Verdict::Fail)
    );
    let unusual = live.iter().filter(|it| it.judgement.unusual.is_some());
    assert_eq!(unusual.count(), 30);
    let text: Vec<String> = moments
        .iter()
        .map(|moment| serde_json::to_string(moment).unwrap())
        .collect();
    let mut playback = Playback::new(&plan);
    let again: Vec<Judged> = text
        .iter()
        .flat_map(|line| playback.play(&serde_json::from_str(line).unwrap()))
        .collect();
    assert_eq!(again.len(), live.len());
    for (again, live) in again.iter().zip(&live) {
        assert_eq!(
            (&again.judgement, &again.evidence),
            (&live.judgement, &live.evidence)
        );
    }
    assert_eq!(playback.memory(), &known.background);
    assert_eq!((playback.looks(), playback.breaks().len()), (40, 0));
    // The module's promise, for a hundred requests a second; what is unusual comes beside it, where it changes.
    let seconds = moments.iter().zip(&text).skip(21);
    let plain = seconds
        .filter(|(moment, _)| !matches!(moment, Moment::Second(second) if second.bands.is_some()));
    let longest = plain.map(|(_, line)| line.len()).max().unwrap();
    assert!((600..=1_200).contains(&longest), "{longest} bytes a second");
}

#[test]
fn a_segment_that_knows_more_than_is_recorded_is_a_break() {
    let plan = plan();
    let mut playback = Playback::new(&plan);
    let segment = |known: &Knowledge| {
        Moment::Segment(Box::new(Segment {
            at: at(7),
            known: known.clone(),
        }))
    };
    let mut known = Knowledge::default();
    playback.play(&segment(&known));
    playback.play(&segment(&known));
    assert_eq!(playback.breaks(), []);
    known.background.suspicions = 1;
    playback.play(&segment(&known));
    assert_eq!(playback.breaks(), [at(7)]);
}
