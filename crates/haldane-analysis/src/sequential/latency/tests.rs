//! Tests of the latency judge.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::sequential::{Leeway, chance::Chance};

const TIME: Time = Time {
    seconds: 1.0,
    horizon_seconds: 1_200.0,
};

/// As the default is.
const WARM: Heat = Heat::Warm(Leeway {
    share_ppm: 100_000,
    least: Duration::from_millis(2),
});

/// Bounds of which nine tenths, a half, a tenth, a hundredth and a thousandth are above the last ones.
const CLASSIC: [(u64, f64); 6] = [
    (10_000, 0.1),
    (50_000, 0.4),
    (100_000, 0.4),
    (200_000, 0.09),
    (400_000, 0.009),
    (u64::MAX, 0.001),
];

/// Latencies of `n` requests; each is in the next bucket with chance `slower`.
fn latencies(chance: &mut Chance, n: u64, slower: f64) -> Vec<Bucket> {
    let mut counts = [0; CLASSIC.len()];
    for _ in 0..n {
        let mut left = chance.unit();
        let place = CLASSIC.iter().position(|(_, share)| {
            left -= share;
            left < 0.0
        });
        let place = place.unwrap_or(CLASSIC.len() - 1);
        let moved = usize::from(chance.unit() < slower);
        counts[(place + moved).min(CLASSIC.len() - 1)] += 1;
    }
    Bucket::list(CLASSIC.iter().map(|(us, _)| *us).zip(counts))
}

/// Latency with five minutes of stable's history at 100 requests a second.
fn taught(chance: &mut Chance) -> Latency {
    let mut latency = Latency::new();
    for _ in 0..300 {
        latency.add(&latencies(chance, 100, 0.0), &[], WARM, 1.0);
        latency.close(&Metric::latency(), Closing::Apart, TIME, 0.01);
    }
    latency
}

/// After how many seconds of 90 and 10 requests harm is shown at a level of 1/100.
fn found(chance: &mut Chance, slower: f64, seconds: u64) -> Option<u64> {
    let mut latency = taught(chance);
    (0..seconds).find(|_| {
        let stable = latencies(chance, 90, 0.0);
        let canary = latencies(chance, 10, slower);
        latency.add(&stable, &canary, WARM, 1.0);
        latency.close(&Metric::latency(), Closing::Compare, TIME, 0.01);
        latency.worth() >= 100.0
    })
}

fn bounds(latency: &Latency) -> Vec<u64> {
    latency.bounds.iter().map(|bound| bound.us).collect()
}

#[test]
fn bounds_are_chosen_where_stable_has_both_sides() {
    let latency = taught(&mut Chance::new(1));
    assert_eq!(bounds(&latency), [50_000, 100_000, 200_000, 400_000]);
    assert_eq!(latency.shown().map(|bound| bound.us), Some(100_000));
}

#[test]
fn a_slower_canary_is_found_and_a_like_one_is_not() {
    let mut chance = Chance::new(5);
    let alarms = (0..40).filter(|_| found(&mut chance, 0.0, 120).is_some());
    assert_eq!(alarms.count(), 0);
    let seconds = found(&mut chance, 0.8, 120);
    assert!(seconds.is_some_and(|seconds| seconds < 30), "{seconds:?}");
}

#[test]
fn buckets_that_differ_cost_power_and_never_a_false_alarm() {
    let mut chance = Chance::new(9);
    let mut latency = taught(&mut chance);
    for _ in 0..120 {
        let stable = latencies(&mut chance, 90, 0.0);
        // The same latencies, in one bucket that holds all bounds.
        let canary = [Bucket {
            lower_us: 0,
            upper_us: u64::MAX,
            count: 10,
        }];
        latency.add(&stable, &canary, WARM, 1.0);
        latency.close(&Metric::latency(), Closing::Compare, TIME, 0.01);
    }
    assert!(latency.worth() < 1.0, "{}", latency.worth());
    let pass = Metric::latency().pass().unwrap();
    let least = latency.accepted(pass).unwrap().accept.best();
    assert!(least < 1.5, "undecided latencies never pass: {least}");
    assert_eq!(latency.across_percent(), 10);
}

#[test]
fn too_little_is_known_of_few_latencies() {
    let mut chance = Chance::new(2);
    let mut latency = Latency::new();
    let few = latencies(&mut chance, 199, 0.0);
    latency.add(&few, &[], WARM, 1.0);
    let one = latencies(&mut chance, 1, 0.0);
    latency.add(&one, &one, WARM, 1.0);
    assert!(latency.bounds.is_empty(), "199 are too few");
    latency.add(&one, &one, WARM, 1.0);
    assert!(!latency.bounds.is_empty(), "200 are enough");
    assert_eq!(latency.open, (1, 1));
}

#[test]
fn a_sum_without_buckets_has_no_bounds() {
    let mut latency = Latency::new();
    let all = [Bucket {
        lower_us: 0,
        upper_us: u64::MAX,
        count: 1_000,
    }];
    for _ in 0..5 {
        latency.add(&all, &all, WARM, 100.0);
    }
    assert!(latency.bounds.is_empty());
    assert_eq!(latency.worth().to_bits(), 1_f64.to_bits());
}

#[test]
fn many_buckets_are_learned_in_little_space() {
    let mut latency = Latency::new();
    let fine = |count| Bucket::list((1..=500).map(|place| (place * 1_000, count)));
    for _ in 0..5 {
        latency.add(&fine(1), &[], WARM, 1.0);
    }
    let learned = latency.learned.buckets();
    assert!(learned.len() <= 64, "{}", learned.len());
    assert_eq!(sum(learned), 2_500);
    latency.add(&fine(1), &fine(1), WARM, 1.0);
    assert_eq!(
        latency.bounds.len(),
        BOUNDS_MAX - 2,
        "{:?}",
        bounds(&latency)
    );
}

proptest! {
    #[test]
    fn surely_above_is_never_more_than_possibly(list in proptest::collection::vec((0_u64..100, 1_u64..50, 0_u64..9), 0..20), us in 0_u64..200) {
        let buckets: Vec<Bucket> = list.iter().map(|(lower, width, count)| Bucket {
            lower_us: *lower,
            upper_us: lower + width,
            count: *count,
        }).collect();
        let (surely, possibly) = above(&buckets, us, 0);
        prop_assert!(surely <= possibly && possibly <= sum(&buckets));
    }
}

/// Narrow latencies in the fine buckets of a proxy.
#[test]
fn a_shift_of_less_than_a_tenth_or_two_milliseconds_is_no_harm() {
    let bucket = |lower_us: u64, count: u64| Bucket {
        lower_us,
        upper_us: lower_us + 512,
        count,
    };
    for (canary_us, is_harm) in [
        (7_680, false),
        (8_192, false),
        (8_704, false),
        (9_216, false),
        (12_288, true),
    ] {
        let mut latency = Latency::new();
        let mut worth = 0.0_f64;
        for second in 0..60 {
            let stable = [bucket(7_680, 45), bucket(8_192, 45)];
            let canary = [bucket(canary_us, 10)];
            let canary = if second < 20 { &[][..] } else { &canary[..] };
            latency.add(&stable, canary, WARM, 1.0);
            let closing = if second < 20 {
                Closing::Apart
            } else {
                Closing::Compare
            };
            latency.close(&Metric::latency(), closing, TIME, 0.01);
            worth = worth.max(latency.worth());
        }
        assert!(!latency.bounds.is_empty());
        assert_eq!(worth > 100.0, is_harm, "{canary_us}: {worth}");
    }
}

/// What the evidence is worth after ten seconds of a canary that is cold for three, and takes these times.
fn cold_then_warm(cold_us: u64, warm_us: u64) -> (f64, f64) {
    let bucket = |us: u64, count: u64| Bucket {
        lower_us: us,
        upper_us: us + us / 16,
        count,
    };
    let mut latency = Latency::new();
    let stable = [bucket(9_000, 85), bucket(15_000, 5)];
    let leeway = |share_ppm| Leeway {
        share_ppm,
        least: Duration::from_millis(2),
    };
    for _ in 0..20 {
        latency.add(&stable, &[], WARM, 1.0);
        latency.close(&Metric::latency(), Closing::Apart, TIME, 0.01);
    }
    let mut worth = [0.0; 2];
    for (place, heat, us, seconds) in [
        (0, Heat::Cold(leeway(2_000_000)), cold_us, 3),
        (1, WARM, warm_us, 7),
    ] {
        for _ in 0..seconds {
            latency.add(&stable, &[bucket(us, 10)], heat, 1.0);
            latency.close(&Metric::latency(), Closing::Compare, TIME, 0.01);
            worth[place] = latency.worth();
        }
    }
    let [cold, warm] = worth;
    (cold, warm)
}

#[test]
fn a_cold_canary_is_slow_only_beyond_all_warming() {
    let (cold, warm) = cold_then_warm(25_000, 9_000);
    assert!(cold < 1.0 && warm < 1.0, "{cold}, {warm}");
    let (cold, _) = cold_then_warm(60_000, 9_000);
    assert!(cold > 100.0, "six times as slow is found at once: {cold}");
    let (cold, warm) = cold_then_warm(25_000, 25_000);
    assert!(cold < 1.0 && warm > 100.0, "{cold}, {warm}");
}

#[test]
fn what_a_cold_canary_lost_is_little() {
    let (cold, _) = cold_then_warm(9_000, 9_000);
    assert!(cold >= 0.8, "a fifth at most: {cold}");
}
