//! Histograms: joining, differences, and the judges' form.

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn classic(bounds: &[(f64, f64)]) -> Histogram {
    Histogram::try_from_cumulative(bounds.to_vec(), None).unwrap()
}

fn native(buckets: &[(f64, f64, f64)]) -> Histogram {
    let buckets = buckets.iter().map(|(lower, upper, count)| Bucket {
        lower: *lower,
        upper: *upper,
        count: *count,
    });
    Histogram::try_new(buckets.collect(), None).unwrap()
}

fn bucket(second: i64, le: &str, value: Value) -> Point {
    Point {
        at: at(second),
        labels: [("pod", "a"), ("le", le)].into_iter().collect(),
        value,
    }
}

#[test]
fn cumulative_counts_become_buckets() {
    let histogram = classic(&[(f64::INFINITY, 10.0), (0.1, 4.0), (0.5, 9.0)]);
    assert_eq!(histogram.count(), 10.0);
    assert_eq!(
        histogram.to_latencies(Unit::Seconds),
        Counted::list([(100_000, 4), (500_000, 5), (u64::MAX, 1)])
    );
    assert_eq!(
        histogram.to_latencies(Unit::Milliseconds),
        Counted::list([(100, 4), (500, 5), (u64::MAX, 1)])
    );
}

#[test]
fn what_is_no_histogram_is_refused() {
    let refused = |bounds: &[(f64, f64)]| {
        assert!(Histogram::try_from_cumulative(bounds.to_vec(), None).is_err());
    };
    refused(&[]);
    refused(&[(0.1, 4.0), (0.5, 9.0)]);
    refused(&[(0.1, 4.0), (f64::INFINITY, 3.0)]);
    refused(&[(0.1, f64::NAN), (f64::INFINITY, 3.0)]);
    refused(&[(0.1, 1.0), (0.1, 1.0), (f64::INFINITY, 3.0)]);
    let many: Vec<_> = (0..2_000).map(|bound| (f64::from(bound), 0.0)).collect();
    refused(&[many, vec![(f64::INFINITY, 0.0)]].concat());
    let overlapping = [(0.0, 2.0, 1.0), (1.0, 3.0, 1.0)].map(|(lower, upper, count)| Bucket {
        lower,
        upper,
        count,
    });
    assert!(Histogram::try_new(overlapping.to_vec(), None).is_err());
}

#[test]
fn what_was_counted_since_is_the_difference() {
    let before = classic(&[(0.1, 4.0), (0.5, 9.0), (f64::INFINITY, 10.0)]);
    let after = classic(&[(0.1, 5.0), (0.5, 12.0), (f64::INFINITY, 14.0)]);
    let (delta, is_reset) = after.since(&before);
    assert_eq!(delta.count(), 4.0);
    assert!(!is_reset);
    let counts: Vec<_> = delta.buckets().iter().map(|b| b.count).collect();
    assert_eq!(counts, [1.0, 2.0, 1.0]);
}

#[test]
fn one_bucket_that_fell_resets_all_of_them() {
    // After a restart the slow bucket has already more than before; only the fast one shows the restart.
    let before = classic(&[(0.1, 100.0), (f64::INFINITY, 101.0)]);
    let after = classic(&[(0.1, 90.0), (f64::INFINITY, 110.0)]);
    let (delta, is_reset) = after.since(&before);
    assert!(is_reset);
    assert_eq!(delta.count(), 110.0);
}

#[test]
fn a_native_histogram_may_become_coarser() {
    let before = native(&[(1.0, 1.5, 2.0), (1.5, 2.0, 3.0), (2.0, 3.0, 1.0)]);
    let after = native(&[(1.0, 2.0, 6.0), (2.0, 4.0, 1.0)]);
    let (delta, is_reset) = after.since(&before);
    assert!(!is_reset);
    let counts: Vec<_> = delta.buckets().iter().map(|b| b.count).collect();
    assert_eq!(counts, [1.0, 0.0]);
}

#[test]
fn other_bounds_mean_that_counting_began_anew() {
    let before = native(&[(1.0, 2.0, 5.0)]);
    for after in [
        native(&[(1.0, 1.5, 4.0), (1.5, 2.0, 4.0)]),
        native(&[(2.0, 3.0, 9.0)]),
        native(&[(1.0, 2.0, 4.0)]),
    ] {
        let (delta, is_reset) = after.since(&before);
        assert!(is_reset);
        assert_eq!(delta, after);
    }
}

#[test]
fn series_of_buckets_are_joined() {
    let points = vec![
        bucket(1, "0.1", Value::of(1.0)),
        bucket(2, "0.1", Value::of(2.0)),
        bucket(1, "+Inf", Value::of(3.0)),
        bucket(2, "+Inf", Value::of(4.0)),
        Point {
            at: at(1),
            labels: Labels::default(),
            value: Value::of(7.0),
        },
    ];
    let joined = join_classic(points);
    assert_eq!(joined.len(), 3);
    assert_eq!(joined[0].value, Value::Number(7.0));
    let labels: Labels = [("pod", "a")].into_iter().collect();
    for (point, count) in joined[1..].iter().zip([3.0, 4.0]) {
        assert_eq!(point.labels, labels);
        let Value::Histogram(histogram) = &point.value else {
            panic!("{point:?}");
        };
        assert_eq!(histogram.count(), count);
    }
}

#[test]
fn a_histogram_that_is_not_whole_is_told() {
    let check = |points: Vec<Point>, expected: &str| {
        let values = join_classic(points).into_iter().map(|point| point.value);
        let other = Value::Other(expected.to_owned());
        let others = values.filter(|value| matches!(value, Value::Other(_)));
        assert_eq!(others.collect::<Vec<_>>(), [other]);
    };
    check(
        vec![
            bucket(1, "0.1", Value::of(1.0)),
            bucket(1, "+Inf", Value::of(3.0)),
            bucket(2, "+Inf", Value::of(4.0)),
        ],
        "a histogram without one of its buckets",
    );
    check(
        vec![
            bucket(1, "0.1", Value::of(f64::NAN)),
            bucket(1, "+Inf", Value::of(3.0)),
        ],
        "a histogram with a bucket that has no count",
    );
    check(
        vec![bucket(1, "0.1", Value::of(1.0))],
        "not a histogram: malformed answer at a histogram: expected a bucket up to +Inf",
    );
}

#[test]
fn a_stored_histogram_is_the_same_to_the_last_bit() {
    let histogram = Histogram {
        sum: Some(0.1 + 0.2),
        ..classic(&[(0.1, 4.0), (f64::INFINITY, 10.0)])
    };
    let text = serde_json::to_string(&histogram).unwrap();
    assert_eq!(serde_json::from_str::<Histogram>(&text).unwrap(), histogram);
}

#[test]
fn zero_buckets_and_tiny_bounds_stay_possible() {
    let histogram = native(&[
        (-1e-128, 1e-128, 2.0),
        (1e-9, 2e-9, 1.0),
        (1e-7, 0.001, 5.0),
        (0.001, f64::INFINITY, 0.2),
    ]);
    let latencies = histogram.to_latencies(Unit::Seconds);
    assert!(
        latencies.iter().all(|b| b.lower_us < b.upper_us),
        "{latencies:?}"
    );
    assert_eq!(latencies.iter().map(|b| b.count).sum::<u64>(), 8);
}
