//! Tests of `series`.

use proptest::prelude::*;

use super::*;
use crate::{
    sample::Bucket,
    testing::{at, batch, requests},
};

const WINDOW: Duration = Duration::from_secs(60);

fn count(second: i64, stable: u64, canary: u64) -> Batch {
    batch(second, requests(stable, 0), requests(canary, 0))
}

fn weighted(second: i64, percent: u8) -> Batch {
    Batch {
        weight: Weight::from_percent(percent),
        ..count(second, 1 << second, 1)
    }
}

#[test]
fn batches_that_overlap_or_go_back_are_refused() {
    let mut series = Series::new();
    series.push(count(10, 1, 1)).unwrap();
    let half = Batch {
        from: at(10),
        to: at(12),
        ..count(10, 1, 1)
    };
    for batch in [count(10, 1, 1), count(3, 1, 1), half] {
        let (from, newest) = (batch.from, at(11));
        assert_eq!(series.push(batch), Err(PushError::Overlap { from, newest }));
    }
    let empty = Batch {
        from: at(20),
        to: at(20),
        ..count(10, 1, 1)
    };
    assert_eq!(
        series.push(empty),
        Err(PushError::Empty {
            from: at(20),
            to: at(20)
        })
    );
    assert_eq!((series.batches().len(), series.refused()), (1, 4));
    series.push(count(11, 1, 1)).unwrap();
    assert_eq!(series.newest().map(|newest| newest.to), Some(at(12)));
}

#[test]
fn a_batch_with_too_many_buckets_is_refused() {
    let of = |buckets: u64| {
        let mut batch = count(0, 1, 1);
        batch.canary.latency = Bucket::list((1..=buckets).map(|upper| (upper, 1)));
        batch
    };
    let max = BUCKETS_MAX as u64;
    let refused = Series::new().push(of(max + 1));
    assert_eq!(
        refused,
        Err(PushError::Buckets {
            found: BUCKETS_MAX + 1
        })
    );
    assert_eq!(Series::new().push(of(max)), Ok(()));
}

#[test]
fn a_series_reaches_further_back_while_it_is_small_and_has_a_canary() {
    let check = |weight: u8, buckets: u64, expected: usize| {
        let mut series = Series::reaching(10, 1_000);
        for second in 0..2_000 {
            let histogram = (1..=buckets).map(|place| (place, 1));
            let mut batch = batch(
                second,
                Sample {
                    latency: Bucket::list(histogram),
                    ..Sample::default()
                },
                Sample::default(),
            );
            batch.weight = Weight::from_percent(weight);
            series.push(batch).unwrap();
        }
        assert_eq!(series.batches().len(), expected, "{weight} {buckets}");
        assert_eq!(series.dropped(), 2_000 - expected as u64);
    };
    check(5, 1, 1_000);
    check(0, 1, 10);
    check(5, 100, BUCKETS_KEPT_MAX / 100);
    check(5, 1_024, 19);
}

#[test]
fn the_oldest_batch_makes_room_and_is_counted() {
    let mut series = Series::bounded(3);
    for second in 0..5 {
        series.push(count(second, 1, 1)).unwrap();
    }
    let kept: Vec<Timestamp> = series.batches().map(|batch| batch.from).collect();
    assert_eq!(kept, [at(2), at(3), at(4)]);
    assert_eq!(series.dropped(), 2);
    let mut nothing = Series::bounded(0);
    nothing.push(count(0, 1, 1)).unwrap();
    assert_eq!((nothing.newest(), nothing.dropped()), (None, 1));
}

#[test]
fn no_series_is_larger_than_the_maximum() {
    let mut series = Series::bounded(usize::MAX);
    for second in 0..=i64::try_from(BATCHES_MAX).unwrap() {
        series.push(count(second, 1, 1)).unwrap();
    }
    assert_eq!((series.batches().len(), series.dropped()), (BATCHES_MAX, 1));
}

#[test]
fn totals_are_of_whole_batches_in_the_window() {
    let mut series = Series::new();
    for second in [0, 1, 2, 5, 6] {
        series.push(count(second, 100, 1 << second)).unwrap();
    }
    let half = at(1).checked_add(Duration::from_millis(500)).unwrap();
    for (since, now, window, canary, from, to, covered) in [
        (at(0), at(7), 60, 0b110_0111, at(0), at(7), 5),
        (at(1), at(7), 60, 0b110_0110, at(1), at(7), 4),
        (half, at(7), 60, 0b110_0100, at(2), at(7), 3),
        (at(0), at(7), 2, 0b110_0000, at(5), at(7), 2),
        (at(0), at(6), 60, 0b010_0111, at(0), at(6), 4),
        (at(7), at(9), 60, 0, at(7), at(7), 0),
        (at(0), at(500), 60, 0, at(440), at(440), 0),
        (at(4), at(1), 60, 0, at(4), at(4), 0),
    ] {
        let totals = series.totals(since, now, Duration::from_secs(window));
        assert_eq!(totals.canary.requests, canary);
        assert_eq!((totals.from, totals.to), (from, to));
        assert_eq!(totals.covered, Duration::from_secs(covered));
        assert_eq!(u64::from(totals.batches), covered);
        assert_eq!(totals.split.is_some(), covered > 0);
    }
    let all = series.totals(Timestamp::MIN, at(7), Duration::MAX);
    assert_eq!(all.batches, 5, "a window beyond all time is all time");
}

#[test]
fn a_split_leaves_out_batches_beside_a_change_of_weight() {
    for (percents, since, expected) in [
        (vec![10, 10, 10, 10], 0, 0b0110),
        (vec![5, 10, 10, 10, 10], 0, 0b01100),
        (vec![10, 10, 5, 10, 10, 10], 0, 0b01_0000),
        (vec![10, 10, 10, 10, 5], 0, 0),
        (vec![10, 10, 10, 10, 10], 2, 0b01100),
        (vec![10, 10], 0, 0),
        (vec![10], 0, 0),
    ] {
        let mut series = Series::new();
        for (second, percent) in (0..).zip(&percents) {
            series.push(weighted(second, *percent)).unwrap();
        }
        let now = at(i64::try_from(percents.len()).unwrap());
        let split = series.totals(at(since), now, WINDOW).split.unwrap();
        assert_eq!(split.stable, expected, "{percents:?}");
        assert_eq!(
            split.weight,
            Weight::from_percent(*percents.last().unwrap())
        );
    }
}

#[test]
fn a_split_ends_where_the_window_ends() {
    let mut series = Series::new();
    for second in 0..6 {
        series.push(weighted(second, 10)).unwrap();
    }
    let split = series.totals(at(0), at(4), WINDOW).split.unwrap();
    assert_eq!(split.stable, 0b0110);
}

proptest! {
    #[test]
    fn batches_never_overlap_and_never_exceed_the_maximum(
        max in 0_usize..10,
        times in prop::collection::vec((0_i64..100, -1_i64..5), 0..60),
    ) {
        let mut series = Series::bounded(max);
        for (pushed, (from, length)) in times.iter().enumerate() {
            let batch = Batch { from: at(*from), to: at(from + length), ..count(0, 1, 1) };
            let taken = series.push(batch.clone()).is_ok();
            prop_assert_eq!(taken && max > 0, series.newest() == Some(&batch) && taken);
            prop_assert!(series.batches().len() <= max);
            let counted = series.batches().len() as u64 + series.dropped() + series.refused();
            prop_assert_eq!(counted, pushed as u64 + 1);
        }
        let all: Vec<&Batch> = series.batches().collect();
        prop_assert!(all.windows(2).all(|pair| pair[0].to <= pair[1].from));
    }
}
