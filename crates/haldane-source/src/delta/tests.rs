//! Counters: resets, processes that come and go, gaps, and values that are none.

use proptest::prelude::*;

use super::*;

const RULE: Rule = Rule {
    first: First::Nothing,
    keep: Duration::from_secs(300),
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn pod(name: &str) -> Labels {
    [("pod", name)].into_iter().collect()
}

fn point(second: i64, name: &str, value: Value) -> Point {
    Point {
        at: at(second),
        labels: pod(name),
        value,
    }
}

fn points(values: &[(i64, &str, f64)]) -> Vec<Point> {
    let values = values.iter();
    values
        .map(|(second, name, value)| point(*second, name, Value::of(*value)))
        .collect()
}

/// Advances through the readings and returns the last increase.
fn last(rule: Rule, readings: &[&[(i64, &str, f64)]]) -> Increase {
    let mut counters = Counters::default();
    let mut increase = Increase::default();
    for reading in readings {
        increase = counters.advance(&points(reading), rule).unwrap();
    }
    increase
}

#[test]
fn the_difference_of_each_series_is_counted() {
    let increase = last(
        RULE,
        &[
            &[(10, "a", 100.0), (11, "b", 7.0)],
            &[(25, "a", 130.0), (26, "b", 8.0)],
        ],
    );
    assert_eq!(increase.count(), 31);
    assert_eq!(increase.deltas.len(), 2);
    let expected = Span {
        from: Timestamp::from_millisecond(10_500).unwrap(),
        to: Timestamp::from_millisecond(25_500).unwrap(),
    };
    assert_eq!(increase.span(), Some(expected));
    assert_eq!((increase.resets, increase.appeared), (0, 0));
}

#[test]
fn leap_seconds_and_changes_of_the_clock_are_seconds_like_all_others() {
    let check = |times: [&str; 3], seconds: u64| {
        let times = times.map(|time| time.parse::<Timestamp>().unwrap());
        let mut counters = Counters::default();
        let mut all = Duration::ZERO;
        let mut count = 0;
        for (at, value) in times.into_iter().zip([10.0, 14.0, 19.0]) {
            let labels = pod("a");
            let value = Value::of(value);
            let point = Point { at, labels, value };
            let increase = counters.advance(&[point], RULE).unwrap();
            count += increase.count();
            let span = increase
                .span()
                .map(|span| span.to.duration_since(span.from));
            all += span.map_or(Duration::ZERO, |span| span.unsigned_abs());
        }
        assert_eq!((count, all.as_secs()), (9, seconds), "{times:?}");
    };
    // At the end of 2016 a second was inserted, which no metric system tells.
    check(
        [
            "2016-12-31T23:59:58Z",
            "2016-12-31T23:59:59Z",
            "2017-01-01T00:00:01Z",
        ],
        3,
    );
    // In New York this hour came twice.
    check(
        [
            "2026-11-01T01:30:00-04:00",
            "2026-11-01T01:59:59-04:00",
            "2026-11-01T01:30:00-05:00",
        ],
        3_600,
    );
}

#[test]
fn a_restart_counts_what_came_after_it() {
    let increase = last(RULE, &[&[(10, "a", 100.0)], &[(25, "a", 4.0)]]);
    assert_eq!((increase.count(), increase.resets), (4, 1));
    // Not on the sum: the other pod's growth must not hide the restart.
    let increase = last(
        RULE,
        &[
            &[(10, "a", 100.0), (10, "b", 100.0)],
            &[(25, "a", 10.0), (25, "b", 290.0)],
        ],
    );
    assert_eq!((increase.count(), increase.resets), (200, 1));
}

#[test]
fn a_new_series_counts_only_if_its_process_is_new() {
    let readings: [&[(i64, &str, f64)]; 2] =
        [&[(10, "a", 100.0)], &[(25, "a", 101.0), (25, "b", 50.0)]];
    let increase = last(RULE, &readings);
    assert_eq!((increase.count(), increase.appeared), (1, 1));
    let rule = Rule {
        first: First::Everything,
        ..RULE
    };
    let increase = last(rule, &readings);
    assert_eq!((increase.count(), increase.appeared), (51, 1));
    assert_eq!(increase.deltas[1].from, at(10));
}

/// Returns points of pods that count by code.
fn coded(values: &[(i64, &str, &str, f64)]) -> Vec<Point> {
    let values = values.iter();
    values
        .map(|(second, name, code, value)| Point {
            at: at(*second),
            labels: [("pod", *name), ("code", *code)].into_iter().collect(),
            value: Value::of(*value),
        })
        .collect()
}

#[test]
fn the_first_failure_of_an_old_process_is_counted() {
    let mut counters = Counters::default();
    let is_failed = |labels: &Labels| labels.get("code") == Some("500");
    let mut count = |reading: &[(i64, &str, &str, f64)]| {
        let increase = counters.advance(&coded(reading), RULE).unwrap();
        (increase.count(), increase.count_where(is_failed))
    };
    assert_eq!(count(&[(10, "a", "200", 100.0)]), (0, 0));
    // "a" was there without failures; of "b" nobody knows since when its failures count.
    let second = [
        (25, "a", "200", 110.0),
        (25, "a", "500", 2.0),
        (25, "b", "200", 50.0),
        (25, "b", "500", 40.0),
    ];
    assert_eq!(count(&second), (12, 2));
    // A series that is away for long, while its process is not, goes on where it was.
    assert_eq!(count(&[(1_000, "a", "200", 120.0)]), (10, 0));
    assert_eq!(
        count(&[(1_015, "a", "200", 120.0), (1_015, "a", "500", 3.0)]),
        (1, 1)
    );
}

#[test]
fn without_the_name_of_a_process_nothing_is_concluded() {
    let reading = |second, code: &str| {
        vec![Point {
            at: at(second),
            labels: [("job", "shop"), ("code", code)].into_iter().collect(),
            value: Value::of(5.0),
        }]
    };
    let mut counters = Counters::default();
    counters.advance(&reading(10, "200"), RULE).unwrap();
    let increase = counters.advance(&reading(25, "500"), RULE).unwrap();
    assert_eq!((increase.count(), increase.appeared), (0, 1));
}

#[test]
fn a_series_that_comes_back_is_not_counted_twice() {
    let rule = Rule {
        first: First::Everything,
        ..RULE
    };
    let mut counters = Counters::default();
    let mut count = |reading: &[(i64, &str, f64)]| {
        let increase = counters.advance(&points(reading), rule).unwrap();
        (increase.count(), increase.vanished)
    };
    assert_eq!(count(&[(10, "a", 100.0), (10, "b", 5.0)]), (105, 0));
    assert_eq!(count(&[(25, "b", 6.0)]), (1, 1));
    assert_eq!(count(&[(40, "b", 6.0)]), (0, 1));
    assert_eq!(count(&[(55, "a", 130.0), (55, "b", 6.0)]), (30, 0));
}

#[test]
fn a_vanished_series_is_forgotten_after_a_while() {
    let mut counters = Counters::default();
    for second in [10, 200, 311] {
        let mut reading = points(&[(second, "b", 6.0)]);
        if second == 10 {
            reading.extend(points(&[(10, "a", 100.0)]));
        }
        counters.advance(&reading, RULE).unwrap();
    }
    let names: Vec<_> = counters.series.iter().map(|t| t.labels.clone()).collect();
    assert_eq!(names, [pod("b")]);
}

#[test]
fn a_gap_gives_one_large_difference() {
    let increase = last(RULE, &[&[(10, "a", 100.0)], &[(250, "a", 500.0)]]);
    assert_eq!(increase.count(), 400);
    let span = increase.span().unwrap();
    assert_eq!((span.from, span.to), (at(10), at(250)));
}

#[test]
fn no_point_is_counted_twice() {
    let readings: [&[(i64, &str, f64)]; 3] = [
        &[(10, "a", 100.0), (25, "a", 110.0)],
        &[(10, "a", 100.0), (25, "a", 110.0), (40, "a", 115.0)],
        &[(40, "a", 115.0)],
    ];
    let second = last(RULE, &readings[..2]);
    assert_eq!((second.count(), second.repeated), (5, 2));
    let third = last(RULE, &readings);
    assert_eq!((third.count(), third.repeated), (0, 1));
    assert_eq!(third.deltas, []);
}

#[test]
fn a_restart_between_two_points_of_a_range_is_seen() {
    let increase = last(
        RULE,
        &[
            &[(10, "a", 100.0)],
            &[(25, "a", 120.0), (40, "a", 5.0), (55, "a", 130.0)],
        ],
    );
    assert_eq!((increase.count(), increase.resets), (20 + 5 + 125, 1));
}

#[test]
fn what_is_no_counter_is_refused_and_changes_nothing() {
    let mut counters = Counters::default();
    counters
        .advance(&points(&[(10, "a", 100.0)]), RULE)
        .unwrap();
    let before = counters.clone();
    let mut refused = |points: Vec<Point>, expected: &str| {
        let error = counters.advance(&points, RULE).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(counters, before);
    };
    refused(
        points(&[(25, "a", -1.0)]),
        r#"{pod="a"} is below zero, which no counter is"#,
    );
    refused(
        points(&[(25, "a", f64::INFINITY)]),
        r#"{pod="a"} is +Inf, which no counter is"#,
    );
    refused(
        points(&[(25, "a", 1.0), (25, "a", 2.0)]),
        r#"{pod="a"} has two values at 1970-01-01T00:00:25Z"#,
    );
    let histogram = Histogram::try_from_cumulative(vec![(f64::INFINITY, 1.0)], None).unwrap();
    refused(
        vec![point(25, "a", Value::Histogram(histogram))],
        r#"{pod="a"} is once a count and once a histogram"#,
    );
    let many: Vec<_> = (0..=SERIES_MAX)
        .map(|index| point(25, &index.to_string(), Value::of(1.0)))
        .collect();
    refused(many, "more than 10000 series: the query selects too much");
}

#[test]
fn values_that_are_none_are_left_out_and_told() {
    let mut counters = Counters::default();
    counters
        .advance(&points(&[(10, "a", 100.0)]), RULE)
        .unwrap();
    let reading = [
        point(25, "a", Value::of(f64::NAN)),
        point(26, "a", Value::Null),
        point(27, "a", Value::of_text("x")),
    ];
    let increase = counters.advance(&reading, RULE).unwrap();
    assert_eq!((increase.count(), increase.skipped), (0, 3));
    assert_eq!((increase.vanished, increase.span()), (1, None));
    let increase = counters
        .advance(&points(&[(40, "a", 103.0)]), RULE)
        .unwrap();
    assert_eq!(increase.count(), 3);
}

#[test]
fn histograms_are_counted_by_bucket() {
    let histogram = |second, name: &str, fast: f64, all: f64| {
        let bounds = vec![(0.1, fast), (f64::INFINITY, all)];
        let histogram = Histogram::try_from_cumulative(bounds, None).unwrap();
        point(second, name, Value::Histogram(histogram))
    };
    let mut counters = Counters::default();
    let first = [histogram(10, "a", 5.0, 6.0), histogram(10, "b", 1.0, 1.0)];
    counters.advance(&first, RULE).unwrap();
    // "a" twice within one reading, "b" after a restart.
    let second = [
        histogram(25, "a", 7.0, 9.0),
        histogram(40, "a", 8.0, 10.0),
        histogram(40, "b", 0.0, 3.0),
    ];
    let increase = counters.advance(&second, RULE).unwrap();
    assert_eq!((increase.count(), increase.resets), (7, 1));
    assert_eq!(
        increase.latencies(Unit::Seconds),
        Counted::list([(100_000, 3), (u64::MAX, 4)])
    );
}

#[test]
fn ten_million_a_second_and_one_an_hour_are_exact() {
    let increase = last(
        RULE,
        &[
            &[(0, "a", 8e15), (0, "b", 1.0)],
            &[(3_600, "a", 8e15 + 3.6e10), (3_600, "b", 2.0)],
        ],
    );
    assert_eq!(increase.count(), 36_000_000_001);
}

proptest! {
    #[test]
    fn every_increment_is_counted_once_however_it_is_read(
        increments in prop::collection::vec((0_u16..100, prop::bool::weighted(0.1)), 2..60),
        cuts in prop::collection::vec(1_usize..8, 1..30),
        overlap in 0_usize..4,
    ) {
        // A counter over time; a restart sets it to the increment.
        let mut value = 0.0;
        let mut truth = 0;
        let mut all = Vec::new();
        for (second, (increment, is_restart)) in increments.iter().enumerate() {
            // A restart is visible only if the value falls.
            let is_restart = *is_restart && f64::from(*increment) < value;
            value = if is_restart { f64::from(*increment) } else { value + f64::from(*increment) };
            if second > 0 {
                truth += u64::from(*increment);
            }
            all.push(point(second as i64, "a", Value::of(value)));
        }
        let mut counters = Counters::default();
        let mut sum = 0;
        let mut begin = 0;
        let mut cuts = cuts.iter().cycle();
        while begin < all.len() {
            let end = (begin + cuts.next().unwrap()).min(all.len());
            let batch = &all[begin.saturating_sub(overlap)..end];
            sum += counters.advance(batch, RULE).unwrap().count();
            // A restart of the host between any two readings changes nothing.
            let stored = serde_json::to_string(&counters).unwrap();
            counters = serde_json::from_str(&stored).unwrap();
            begin = end;
        }
        prop_assert_eq!(sum, truth);
    }
}

#[test]
fn a_series_of_a_process_that_was_met_without_it_counts_from_zero() {
    let of = |pod: &str, version: &str, second, value: f64| Point {
        at: at(second),
        labels: [("pod", pod), ("version", version)].into_iter().collect(),
        value: Value::of(value),
    };
    let mut counters = Counters::default();
    counters.meet(&[of("router", "v1", 5, 100.0), of("router", "v1", 10, 110.0)]);
    let points = [of("router", "v2", 20, 7.0), of("other", "v2", 20, 1_000.0)];
    let increase = counters.advance(&points, RULE).unwrap();
    assert_eq!((increase.count(), increase.deltas.len()), (7, 1));
    assert_eq!(increase.span().map(|span| span.from), Some(at(10)));
    // Met again, it has not begun anew.
    counters.meet(&[of("router", "v1", 25, 120.0)]);
    let increase = counters
        .advance(&[of("router", "v2", 30, 9.0)], RULE)
        .unwrap();
    assert_eq!(increase.count(), 2);
}
