//! Which seconds are compared, and what late hits would do to a comparison that took them all.

use haldane_core::verdict::{Subject, Verdict};

use super::*;
use crate::{
    sequential::{Config, Metric, Question, Settings, State, chance::Chance, real::exp},
    testing::at,
};

const WITHIN: Duration = Duration::from_secs(60);

fn counts(exposure: u64, events: u64) -> Counts {
    Counts { exposure, events }
}

fn routing(percent: u8, change: u64) -> Routing {
    Routing {
        weight: Weight::from_percent(percent),
        is_by_chance: true,
        change,
    }
}

fn second(second: i64, routing: Option<Routing>, stable: Counts, canary: Counts) -> Counted {
    Counted {
        from: at(second),
        to: at(second + 1),
        routing,
        stable,
        canary,
    }
}

/// Feeds ten and ten visitors a second, and returns the batches by their beginnings and ends.
fn batches(routing: impl Fn(i64) -> Option<Routing>, seconds: i64) -> Vec<(i64, i64)> {
    let mut conversions = Conversions::new("bought".to_owned(), WITHIN);
    let found = (0..seconds).filter_map(|now| {
        conversions.add(&second(now, routing(now), counts(10, 3), counts(10, 3)))
    });
    found
        .map(|one| (one.from.as_second(), one.to.as_second()))
        .map(|(from, to)| (from - at(0).as_second(), to - at(0).as_second()))
        .collect()
}

#[test]
fn seconds_count_once_requests_were_routed_the_same_way_for_long_enough() {
    let found = batches(|_| Some(routing(25, 0)), 75);
    assert_eq!(found, [(61, 66), (66, 71)]);
}

#[test]
fn each_change_begins_anew_also_one_that_was_taken_back() {
    let turn = |now| Some(routing(25, if now < 70 { 0 } else { 1 }));
    // What was open at the change is left out.
    assert_eq!(batches(turn, 137), [(61, 66), (131, 136)]);
    let weight = |now| Some(routing(if now < 70 { 25 } else { 50 }, 0));
    assert_eq!(batches(weight, 137), [(61, 66), (131, 136)]);
    let unknown = |now| (now != 70).then_some(routing(25, 0));
    assert_eq!(batches(unknown, 138), [(61, 66), (132, 137)]);
}

#[test]
fn people_who_are_sent_by_a_header_are_no_comparison() {
    let chosen = Routing {
        is_by_chance: false,
        ..routing(25, 0)
    };
    assert_eq!(batches(|_| Some(chosen), 300), []);
}

#[test]
fn who_asks_for_a_version_without_a_share_by_name_is_left_out() {
    for (percent, stable, canary) in [(0, 70, 0), (100, 0, 35)] {
        let mut conversions = Conversions::new("bought".to_owned(), Duration::from_secs(1));
        let told = (0..9).find_map(|now| {
            let counted = second(now, Some(routing(percent, 0)), counts(14, 3), counts(7, 1));
            conversions.add(&counted)
        });
        let told = told.unwrap();
        let exposure = |reading: Option<Reading>| match reading {
            Some(Reading::Counts(counts)) => counts.exposure,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            (exposure(told.stable), exposure(told.canary)),
            (stable, canary)
        );
    }
}

#[test]
fn hits_beyond_the_visitors_of_a_batch_are_carried_into_the_next() {
    let mut conversions = Conversions::new("bought".to_owned(), Duration::from_secs(1));
    let routing = Some(routing(50, 0));
    let mut found = Vec::new();
    for now in 0..20 {
        // The canary's hits come in one second.
        let hits = if now == 6 { 40 } else { 0 };
        let counted = second(now, routing, counts(10, 1), counts(5, hits));
        found.extend(conversions.add(&counted));
    }
    let read: Vec<_> = found
        .iter()
        .map(|one| (one.stable.clone().unwrap(), one.canary.clone().unwrap()))
        .collect();
    let both = |stable, canary| (Reading::Counts(stable), Reading::Counts(canary));
    assert_eq!(
        read,
        [
            both(counts(50, 5), counts(25, 25)),
            both(counts(50, 5), counts(25, 15)),
            both(counts(50, 5), counts(25, 0)),
        ]
    );
}

#[test]
fn few_visitors_are_gathered_for_longer() {
    let mut conversions = Conversions::new("bought".to_owned(), Duration::from_secs(1));
    let lengths: Vec<_> = (0..50)
        .filter_map(|now| {
            let counted = second(now, Some(routing(5, 0)), counts(10, 1), counts(1, 0));
            conversions.add(&counted)
        })
        .map(|one| one.to.duration_since(one.from).as_secs())
        .collect();
    assert_eq!(lengths, [15, 15, 15]);
}

/// A rollout of 5, 25 and 50 % with three minutes each. Visitors stay with their version; those who buy do so after 20 s on average.
#[derive(Clone, Copy)]
struct Shop {
    visitors_per_second: f64,
    stable: f64,
    canary: f64,
    within: Duration,
    hold_seconds: i64,
}

const HEALTHY: Shop = Shop {
    visitors_per_second: 100.0,
    stable: 0.3,
    canary: 0.3,
    within: WITHIN,
    hold_seconds: 180,
};

const DELAY_SECONDS: f64 = 20.0;

/// Judges by the conversions alone, so that all of alpha is theirs.
fn config() -> Config {
    let settings = Settings {
        metrics: vec![Metric {
            required: true,
            late: true,
            ..Metric::conversion("bought")
        }],
        ..Settings::standard()
    };
    Config::try_new(settings).unwrap()
}

impl Shop {
    /// Returns after how many seconds it is rolled back, if it is.
    fn run(&self, config: &Config, seed: u64) -> Option<i64> {
        let mut chance = Chance::new(seed);
        let mut state = State::new(config);
        let mut conversions = Conversions::new("bought".to_owned(), self.within);
        // Who will buy, and has not yet.
        let mut waiting = [0_u64; 2];
        let soon = 1.0 - exp(-1.0 / DELAY_SECONDS);
        for now in -120..3 * self.hold_seconds {
            let percent = match now {
                ..0 => 0,
                _ if now < self.hold_seconds => 5,
                _ if now < 2 * self.hold_seconds => 25,
                _ => 50,
            };
            let visitors = chance.poisson(self.visitors_per_second);
            let canary = chance.of(visitors, f64::from(percent) / 100.0);
            let exposures = [visitors - canary, canary];
            let mut hits = [0; 2];
            for (arm, share) in [self.stable, self.canary].into_iter().enumerate() {
                waiting[arm] += chance.of(exposures[arm], share);
                hits[arm] = chance.of(waiting[arm], soon);
                waiting[arm] -= hits[arm];
            }
            let counted = second(
                now + 120,
                Some(routing(percent, 0)),
                counts(exposures[0], hits[0]),
                counts(exposures[1], hits[1]),
            );
            let Some(observed) = conversions.add(&counted) else {
                continue;
            };
            state.observe_metric(config, &observed).unwrap();
            let question = Question {
                subject: Subject::Background,
                since: at(0),
                now: observed.to,
            };
            if state.conclude(config, &question).verdict == Verdict::Fail {
                return Some(now);
            }
        }
        None
    }

    fn rolled_back(&self, replicates: u64) -> Vec<i64> {
        let config = config();
        // Two at once: it takes a while.
        std::thread::scope(|scope| {
            let run = |first| {
                let (config, seeds) = (&config, (first..replicates).step_by(2));
                scope.spawn(move || -> Vec<i64> {
                    seeds.filter_map(|seed| self.run(config, seed)).collect()
                })
            };
            let halves = [0, 1].map(run);
            halves
                .into_iter()
                .flat_map(|half| half.join().unwrap())
                .collect()
        })
    }
}

/// How many replicates stand for "hardly any".
const REPLICATES: u64 = 2_000;

/// How many of them may be rolled back where one in a hundred is promised: three standard errors more than twenty.
const ROLLED_BACK_MAX: usize = 33;

#[test]
fn late_hits_roll_back_hardly_any_healthy_canary() {
    let count = HEALTHY.rolled_back(REPLICATES).len();
    assert!(count <= ROLLED_BACK_MAX, "{count} of {REPLICATES}");
}

#[test]
fn most_visitors_who_buy_do_no_harm_either() {
    // The counts of a batch differ by ten times as much as those of a share would.
    let shop = Shop {
        visitors_per_second: 50.0,
        stable: 0.9,
        canary: 0.9,
        ..HEALTHY
    };
    let count = shop.rolled_back(400).len();
    assert!(count <= 10, "{count} of 400");
}

#[test]
fn without_the_time_for_late_hits_many_healthy_canaries_would_be_rolled_back() {
    let shop = Shop {
        within: Duration::ZERO,
        ..HEALTHY
    };
    let count = shop.rolled_back(200).len();
    assert!(count >= 40, "{count} of 200");
}

#[test]
fn a_true_drop_by_a_third_is_found() {
    let shop = Shop {
        canary: 0.21,
        ..HEALTHY
    };
    let mut seconds = shop.rolled_back(200);
    seconds.sort_unstable();
    assert!(seconds.len() >= 198, "{} of 200", seconds.len());
    // Within the second step, most of which is waiting for late hits.
    let median = seconds[seconds.len() / 2];
    assert!(median <= 2 * HEALTHY.hold_seconds, "{median} s");
}
