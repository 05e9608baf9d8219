//! Tests of `measure`.

use haldane_analysis::Bucket;
use haldane_source::{Value, histogram::Histogram, reading::NotFinite, template};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

/// A sample of a series of one process.
fn sample(labels: &[(&str, &str)], second: i64, value: f64) -> Point {
    let process = [("instance", "a"), ("job", "shop")];
    Point {
        at: at(second),
        labels: process.into_iter().chain(labels.iter().copied()).collect(),
        value: Value::of(value),
    }
}

fn reading(points: Vec<Point>) -> Reading {
    Reading {
        points,
        ..Reading::default()
    }
}

/// Requests and failures until a second.
fn requests(second: i64, fine: f64, failed: f64) -> Answers {
    Answers {
        events: reading(vec![
            sample(&[("code", "200")], second, fine),
            sample(&[("code", "500")], second, failed),
        ]),
        exposure: None,
    }
}

fn plain() -> Measuring {
    let template = template::find("plain").unwrap();
    Measuring::new(Counting::Requests(Box::new(*template)))
}

fn counts(exposure: u64, events: u64) -> Read {
    Read::Counts(Counts { exposure, events })
}

/// Counts from second 0 on.
fn begun() -> Measuring {
    let mut measuring = plain();
    let gap = measuring.take(requests(0, 100.0, 5.0), requests(0, 10.0, 1.0), at(1));
    assert_eq!(gap, Err(Gap::Beginning));
    measuring
}

#[test]
fn a_canary_whose_earlier_rollout_is_still_remembered_is_counted_from_its_first_request() {
    let many = |seconds: std::ops::RangeInclusive<i64>, first: f64| {
        let mut points = Vec::new();
        for second in seconds {
            let value = first + f64::from(i32::try_from(second).unwrap());
            points.push(sample(&[("code", "200")], second, value));
        }
        Answers {
            events: reading(points),
            exposure: None,
        }
    };
    let mut measuring = plain();
    // The earlier canary ended a minute ago.
    let gap = measuring.take(many(0..=100, 1_000.0), many(0..=40, 500.0), at(101));
    assert_eq!(gap, Err(Gap::Beginning));
    let gap = measuring.take(many(50..=101, 1_000.0), many(0..=40, 500.0), at(102));
    // It still begins: both versions have begun to be counted at the same time then.
    assert_eq!(gap, Err(Gap::Beginning));
    // The new one has counted twice by its first sample.
    let canary = Answers {
        events: reading(vec![sample(&[("code", "200")], 102, 2.0)]),
        exposure: None,
    };
    let measured = measuring.take(many(50..=102, 1_000.0), canary, at(103));
    let measured = measured.unwrap();
    assert_eq!((measured.from, measured.to), (at(101), at(102)));
    assert_eq!(measured.stable, counts(1, 0));
    assert_eq!(measured.canary, counts(2, 0));
}

#[test]
fn a_canary_that_comes_soon_after_another_is_counted_at_once_and_by_itself() {
    let every_five = |seconds: std::ops::RangeInclusive<i64>, fine: f64, failed: f64| {
        let mut points = Vec::new();
        for second in seconds.step_by(5) {
            points.push(sample(&[("code", "200")], second, fine));
            points.push(sample(&[("code", "500")], second, failed));
        }
        Answers {
            events: reading(points),
            exposure: None,
        }
    };
    let mut measuring = plain();
    // The earlier canary's last sample is one scrape old: it may only be late.
    let gap = measuring.take(
        every_five(0..=100, 1_000.0, 0.0),
        every_five(0..=95, 60.0, 100.0),
        at(101),
    );
    assert_eq!(gap, Err(Gap::Beginning));
    // It has ended.
    let gap = measuring.take(
        every_five(0..=105, 1_000.0, 0.0),
        every_five(0..=95, 60.0, 100.0),
        at(106),
    );
    assert_eq!(gap, Err(Gap::Beginning));
    // The next one has already counted more good ones than that, and fewer failures.
    let mut canary = every_five(0..=95, 60.0, 100.0);
    canary
        .events
        .points
        .extend(every_five(110..=110, 70.0, 80.0).events.points);
    let measured = measuring.take(every_five(0..=110, 1_000.0, 0.0), canary, at(111));
    let measured = measured.unwrap();
    assert_eq!((measured.from, measured.to), (at(105), at(110)));
    assert_eq!(measured.canary, counts(150, 80));
}

#[test]
fn versions_that_are_scraped_at_different_times_begin_together() {
    let mut measuring = plain();
    let mut stable = requests(0, 100.0, 5.0);
    let later = requests(10, 190.0, 6.0).events.points;
    stable.events.points.extend(later);
    let gap = measuring.take(stable, requests(0, 10.0, 1.0), at(11));
    assert_eq!(gap, Err(Gap::Beginning));
    let measured = measuring.take(requests(20, 200.0, 6.0), requests(20, 20.0, 2.0), at(21));
    let measured = measured.unwrap();
    assert_eq!((measured.from, measured.to), (at(0), at(20)));
    assert_eq!(measured.stable, counts(101, 1));
}

#[test]
fn what_was_counted_before_is_not_counted_and_the_rest_once() {
    let mut measuring = begun();
    let measured = measuring.take(requests(10, 190.0, 6.0), requests(10, 19.0, 2.0), at(11));
    let expected = Measured {
        from: at(0),
        to: at(10),
        skew: Duration::ZERO,
        stable: counts(91, 1),
        canary: counts(10, 1),
    };
    assert_eq!(measured, Ok(expected));
    let again = measuring.take(requests(10, 190.0, 6.0), requests(10, 19.0, 2.0), at(16));
    assert_eq!(again, Err(Gap::Repeated));
    let next = measuring.take(requests(20, 200.0, 6.0), requests(20, 20.0, 2.0), at(21));
    let next = next.unwrap();
    assert_eq!((next.from, next.stable), (at(10), counts(10, 0)));
}

#[test]
fn what_a_router_counts_of_a_canary_that_was_not_there_yet_is_counted_whole() {
    let mut measuring = plain();
    let nothing = || requests(0, 0.0, 0.0);
    let absent = Answers::default;
    assert!(matches!(
        measuring.take(requests(0, 100.0, 5.0), absent(), at(1)),
        Err(Gap::Absent {
            of: "the canary",
            ..
        })
    ));
    let measured = measuring.take(requests(10, 190.0, 6.0), requests(10, 9.0, 1.0), at(11));
    let measured = measured.unwrap();
    assert_eq!(
        (measured.stable, measured.canary),
        (counts(91, 1), counts(10, 1))
    );
    assert_eq!((measured.from, measured.to), (at(0), at(10)));
    // It is not there for a while, and comes again: once only.
    assert!(
        measuring
            .take(requests(20, 200.0, 6.0), absent(), at(21))
            .is_err()
    );
    let measured = measuring.take(requests(30, 210.0, 6.0), requests(30, 12.0, 2.0), at(31));
    assert_eq!(measured.unwrap().canary, counts(4, 1));
    // What another process has of it may be older.
    let mut measuring = plain();
    assert!(measuring.take(nothing(), absent(), at(1)).is_err());
    let mut elsewhere = requests(10, 90.0, 10.0);
    for point in &mut elsewhere.events.points {
        let others = [
            ("instance", "b"),
            ("code", point.labels.get("code").unwrap()),
        ];
        point.labels = others.into_iter().collect();
    }
    let gap = measuring.take(requests(10, 5.0, 0.0), elsewhere, at(11));
    assert_eq!(gap, Err(Gap::Repeated));
}

#[test]
fn a_version_that_is_late_is_waited_for_and_nothing_is_lost() {
    let mut measuring = begun();
    let late = || requests(0, 10.0, 1.0);
    let gap = measuring.take(requests(10, 190.0, 6.0), late(), at(11));
    assert_eq!(gap, Err(Gap::Repeated));
    let gap = measuring.take(requests(20, 290.0, 6.0), requests(10, 20.0, 1.0), at(21));
    assert_eq!(gap, Err(Gap::Apart(Duration::from_secs(10))));
    let measured = measuring.take(requests(30, 390.0, 6.0), requests(30, 40.0, 1.0), at(31));
    let measured = measured.unwrap();
    assert_eq!((measured.from, measured.to), (at(0), at(30)));
    assert_eq!(
        (measured.stable, measured.canary),
        (counts(291, 1), counts(30, 0))
    );
}

#[test]
fn one_version_alone_gives_nothing() {
    let mut measuring = begun();
    for (stable, canary, of) in [
        (requests(10, 200.0, 5.0), Answers::default(), "the canary"),
        (Answers::default(), requests(10, 20.0, 5.0), "stable"),
    ] {
        let gap = measuring.take(stable, canary, at(11));
        assert_eq!(
            gap,
            Err(Gap::Absent {
                of,
                why: Absence::Empty
            })
        );
    }
}

#[test]
fn what_is_no_number_gives_nothing_and_costs_nothing() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0] {
        let mut measuring = begun();
        let broken = measuring.take(requests(10, 190.0, 6.0), requests(10, value, 2.0), at(11));
        assert!(
            matches!(broken, Err(Gap::NoNumber { .. } | Gap::NoCounter { .. })),
            "{value}: {broken:?}"
        );
        let next = measuring.take(requests(20, 200.0, 6.0), requests(20, 20.0, 2.0), at(21));
        assert_eq!(next.unwrap().from, at(0), "{value}");
    }
    assert_eq!(Value::of(f64::NAN), Value::NotFinite(NotFinite::NaN));
}

#[test]
fn a_restart_counts_from_nothing_and_never_below() {
    let mut measuring = begun();
    let measured = measuring.take(requests(10, 200.0, 5.0), requests(10, 4.0, 0.0), at(11));
    assert_eq!(measured.unwrap().canary, counts(4, 0));
}

#[test]
fn the_first_failure_of_a_known_process_is_one() {
    let part = |second, value| Some(reading(vec![sample(&[("name", "seen")], second, value)]));
    let events = |points| reading(points);
    let mut measuring = Measuring::new(Counting::Shares);
    let none = |second, seen| Answers {
        events: events(Vec::new()),
        exposure: part(second, seen),
    };
    let gap = measuring.take(none(0, 50.0), none(0, 5.0), at(1));
    assert_eq!(gap, Err(Gap::Beginning));
    // A query with a matcher for failures answers nothing until there is one.
    let failed = Answers {
        events: events(vec![sample(&[("name", "failed")], 10, 3.0)]),
        exposure: part(10, 15.0),
    };
    let measured = measuring.take(none(10, 90.0), failed, at(11)).unwrap();
    assert_eq!(
        (measured.stable, measured.canary),
        (counts(40, 0), counts(10, 3))
    );
    let without = Answers {
        events: events(vec![sample(&[("name", "failed")], 20, 4.0)]),
        exposure: Some(Reading::default()),
    };
    let gap = measuring.take(none(20, 99.0), without, at(21));
    assert!(
        matches!(
            gap,
            Err(Gap::Absent {
                of: "the canary",
                ..
            })
        ),
        "{gap:?}"
    );
}

#[test]
fn events_in_time_are_by_the_seconds_of_each_series() {
    let mut measuring = Measuring::new(Counting::Time);
    let restarts = |pods: &[&str], second, value| Answers {
        events: reading(
            pods.iter()
                .map(|pod| sample(&[("pod", pod)], second, value))
                .collect(),
        ),
        exposure: None,
    };
    let begin = measuring.take(
        restarts(&["a", "b"], 0, 3.0),
        restarts(&["c"], 0, 1.0),
        at(1),
    );
    assert_eq!(begin, Err(Gap::Beginning));
    let measured = measuring.take(
        restarts(&["a", "b"], 30, 3.0),
        restarts(&["c"], 30, 5.0),
        at(31),
    );
    let measured = measured.unwrap();
    assert_eq!(
        (measured.stable, measured.canary),
        (counts(60, 0), counts(30, 4))
    );
}

#[test]
fn what_is_said_to_come_is_not_taken_so_that_the_present_is() {
    let mut measuring = Measuring::new(Counting::Shares);
    let shares = |second, count| Answers {
        events: reading(vec![sample(&[], second, 0.0)]),
        exposure: Some(reading(vec![sample(&[], second, count)])),
    };
    let mut take = |second, count, now| {
        let taken = measuring.take(shares(second, count), shares(second, count), at(now));
        taken.map(|measured| measured.canary)
    };
    assert_eq!(take(0, 5.0, 1), Err(Gap::Beginning));
    assert!(matches!(
        take(3_600, 9.0, 10),
        Err(Gap::Absent {
            of: "stable",
            why: Absence::Ahead { .. }
        })
    ));
    // A clock that is a little ahead is nothing special.
    assert_eq!(take(20, 9.0, 11), Ok(counts(4, 0)));
}

#[test]
fn a_native_histogram_is_taken_before_a_classic_one_and_never_with_it() {
    let mut measuring = Measuring::new(Counting::Latency(Unit::Seconds));
    let classic = |second, count| {
        reading(vec![
            sample(&[("le", "1"), ("instance", "a")], second, count),
            sample(&[("le", "+Inf"), ("instance", "a")], second, count),
        ])
    };
    let native = |second, count| {
        let bucket = haldane_source::histogram::Bucket {
            lower: 0.5,
            upper: 1.0,
            count,
        };
        let histogram = Histogram::try_new(vec![bucket], None).unwrap();
        let mut point = sample(&[("instance", "a")], second, 0.0);
        point.value = Value::Histogram(histogram);
        reading(vec![point])
    };
    let only_classic = |second, count| Answers {
        events: classic(second, count),
        exposure: Some(Reading::default()),
    };
    let both = |second, count| Answers {
        events: classic(second, count),
        exposure: Some(native(second, count)),
    };
    let latencies = |lower_us, count| {
        Read::Latency(vec![Bucket {
            lower_us,
            upper_us: 1_000_000,
            count,
        }])
    };
    let mut take = |second: i64, answers: Answers| {
        let measured = measuring.take(answers.clone(), answers, at(second + 1));
        measured.map(|measured| measured.canary)
    };
    assert_eq!(take(0, only_classic(0, 10.0)), Err(Gap::Beginning));
    assert_eq!(take(10, only_classic(10, 14.0)), Ok(latencies(0, 4)));
    // What the native one holds was counted already.
    assert_eq!(take(20, both(20, 20.0)), Err(Gap::Beginning));
    assert_eq!(take(30, both(30, 25.0)), Ok(latencies(500_000, 5)));
    assert_eq!(take(40, only_classic(40, 30.0)), Err(Gap::Beginning));
    assert_eq!(take(50, only_classic(50, 33.0)), Ok(latencies(0, 3)));
}

#[test]
fn buckets_become_latencies_and_a_missing_bucket_nothing() {
    let mut measuring = Measuring::new(Counting::Latency(Unit::Seconds));
    let buckets = |second, counts: [f64; 2]| Answers {
        events: reading(vec![
            sample(&[("le", "0.1")], second, counts[0]),
            sample(&[("le", "+Inf")], second, counts[1]),
        ]),
        exposure: None,
    };
    let begin = measuring.take(buckets(0, [1.0, 2.0]), buckets(0, [0.0, 0.0]), at(1));
    assert_eq!(begin, Err(Gap::Beginning));
    let measured = measuring.take(buckets(10, [5.0, 9.0]), buckets(10, [1.0, 1.0]), at(11));
    let bucket = |lower_us, upper_us, count| Bucket {
        lower_us,
        upper_us,
        count,
    };
    let stable = vec![bucket(0, 100_000, 4), bucket(100_000, u64::MAX, 3)];
    assert_eq!(measured.unwrap().stable, Read::Latency(stable));
    let mut broken = buckets(20, [9.0, 9.0]);
    broken.events.points.pop();
    let gap = measuring.take(broken, buckets(20, [1.0, 1.0]), at(21));
    assert!(
        matches!(gap, Err(Gap::NoNumber { of: "stable", .. })),
        "{gap:?}"
    );
}

#[test]
fn gauges_are_the_newest_of_each_pod_and_old_ones_are_none() {
    let age_max = Duration::from_secs(30);
    let mut measuring = Measuring::new(Counting::Pods { age_max });
    let pods = |second, values: &[f64]| Answers {
        events: reading(
            values
                .iter()
                .enumerate()
                .map(|(pod, value)| sample(&[("pod", &pod.to_string())], second, *value))
                .collect(),
        ),
        exposure: None,
    };
    let begin = measuring.take(pods(0, &[0.5, 1.0]), pods(0, &[2.0]), at(1));
    assert_eq!(begin, Err(Gap::Beginning));
    let measured = measuring.take(pods(5, &[0.5, 1.0]), pods(5, &[2.0]), at(6));
    let measured = measured.unwrap();
    assert_eq!(measured.stable, Read::Pods(vec![500, 1_000]));
    assert_eq!(measured.canary, Read::Pods(vec![2_000]));
    let old = measuring.take(pods(10, &[0.5]), pods(10, &[2.0]), at(41));
    assert!(
        matches!(
            old,
            Err(Gap::Absent {
                of: "stable",
                why: Absence::Stale { .. }
            })
        ),
        "{old:?}"
    );
    let below = measuring.take(pods(40, &[0.5]), pods(40, &[-2.0]), at(41));
    assert_eq!(below, Err(Gap::Negative { of: "the canary" }));
}

/// What a system without counters tells: events and exposure of steps of a minute, the newest at a second.
fn steps(newest: i64, steps: &[(f64, f64)]) -> Answers {
    let count = i64::try_from(steps.len()).unwrap();
    let points = |pick: fn(&(f64, f64)) -> f64| {
        let numbered = (0..).zip(steps);
        let points = numbered.map(|(index, step)| {
            let second = newest - 60 * (count - 1 - index);
            sample(&[], second, pick(step))
        });
        reading(points.collect())
    };
    Answers {
        events: points(|step| step.0),
        exposure: Some(points(|step| step.1)),
    }
}

#[test]
fn each_step_is_counted_once_and_only_when_it_is_over() {
    let step = Duration::from_secs(60);
    let mut measuring = Measuring::new(Counting::Steps { step });
    let stable = [(1.0, 100.0), (2.0, 200.0), (3.0, 300.0)];
    let canary = [(1.0, 10.0), (1.0, 20.0), (9.0, 30.0)];
    // The newest step goes on, and the one before may still be added to.
    let begin = measuring.take(steps(120, &stable), steps(120, &canary), at(125));
    assert_eq!(begin, Err(Gap::Begun(at(0))));
    let again = measuring.take(steps(120, &stable), steps(120, &canary), at(130));
    assert_eq!(again, Err(Gap::Repeated));
    let measured = measuring.take(steps(120, &stable), steps(120, &canary), at(245));
    let measured = measured.unwrap();
    assert_eq!((measured.from, measured.to), (at(0), at(120)));
    assert_eq!(
        (measured.stable, measured.canary),
        (counts(500, 5), counts(50, 10))
    );
    let again = measuring.take(steps(120, &stable), steps(120, &canary), at(250));
    assert_eq!(again, Err(Gap::Repeated));
}

#[test]
fn a_step_that_one_version_has_not_is_waited_for() {
    let step = Duration::from_secs(60);
    let mut measuring = Measuring::new(Counting::Steps { step });
    let two = || steps(60, &[(0.0, 10.0), (0.0, 10.0)]);
    let begin = measuring.take(two(), two(), at(200));
    assert_eq!(begin, Err(Gap::Begun(at(60))));
    let three = steps(120, &[(0.0, 10.0), (0.0, 10.0), (5.0, 10.0)]);
    assert_eq!(
        measuring.take(three.clone(), two(), at(300)),
        Err(Gap::Repeated)
    );
    for empty in [Answers::default(), steps(120, &[])] {
        let gap = measuring.take(three.clone(), empty, at(300));
        let of = "the canary";
        assert_eq!(
            gap,
            Err(Gap::Absent {
                of,
                why: Absence::Empty
            })
        );
    }
    for value in [f64::NAN, -1.0] {
        let broken = steps(120, &[(0.0, 10.0), (0.0, 10.0), (value, 10.0)]);
        let gap = measuring.take(three.clone(), broken, at(300));
        assert!(
            matches!(gap, Err(Gap::NoNumber { .. } | Gap::Negative { .. })),
            "{gap:?}"
        );
    }
    let measured = measuring.take(three.clone(), three, at(300)).unwrap();
    assert_eq!((measured.from, measured.canary), (at(60), counts(10, 5)));
}
