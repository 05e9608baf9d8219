//! Tests of `count`.

use super::*;
use crate::table::{Arm, Override, Route, ServiceRoute, ServiceSpec, Timeouts};

fn table(version: &str) -> Table {
    let version: VersionName = version.parse().unwrap();
    let arm = Arm {
        version: version.clone(),
        share: Weight::FULL,
        endpoints: vec![],
        is_reachable_by_override: false,
    };
    let service = ServiceRoute::try_new(ServiceSpec {
        name: "s".parse().unwrap(),
        arms: vec![arm],
        fallback: version,
        overrides: Override::default(),
        rules: vec![],
        unmeasured: vec![],
        conversions: vec![],
        timeouts: Timeouts::default(),
        body_bytes_max: u64::MAX,
    });
    Table::try_new(Vec::<Route>::new(), vec![service.unwrap()]).unwrap()
}

fn shard(counters: &Counters, thread: usize, version: &str) -> Arc<Shard> {
    counters.shard(thread, &"s".parse().unwrap(), &version.parse().unwrap())
}

fn of(reading: &Reading, version: &str) -> VersionReading {
    reading.versions[&("s".parse().unwrap(), version.parse().unwrap())].clone()
}

#[test]
fn shards_of_all_threads_add_up() {
    let counters = Counters::new(2);
    for thread in [0, 1] {
        let mut attempt = Attempt::begin(shard(&counters, thread, "v1"), true);
        attempt.end(Outcome::Status(StatusCode::OK));
        attempt.end(Outcome::Fault(Fault::Body));
        let mut attempt = Attempt::begin(shard(&counters, thread, "v1"), true);
        attempt.end(Outcome::Fault(Fault::Reset));
    }
    let reading = of(&counters.read(&table("v1")), "v1");
    assert_eq!(reading.status, [0, 2, 0, 0, 0]);
    assert_eq!(reading.faults.reset, 2);
    assert_eq!((reading.requests(), reading.failures()), (4, 2));
    assert_eq!(reading.latency.count(), 2);
    assert_eq!(reading.share, Some(Weight::FULL));
}

#[test]
fn an_attempt_that_is_dropped_was_aborted_by_the_client() {
    let counters = Counters::new(1);
    drop(Attempt::begin(shard(&counters, 0, "v1"), true));
    let reading = of(&counters.read(&table("v1")), "v1");
    assert_eq!((reading.aborted_by_client, reading.requests()), (1, 0));
}

#[test]
fn unmeasured_attempts_count_nowhere_else() {
    let counters = Counters::new(1);
    Attempt::begin(shard(&counters, 0, "v1"), false).end(Outcome::Fault(Fault::Connect));
    let reading = of(&counters.read(&table("v1")), "v1");
    assert_eq!(
        reading,
        VersionReading {
            unmeasured: 1,
            share: Some(Weight::FULL),
            ..Default::default()
        }
    );
}

#[test]
fn a_version_holds_a_request_until_it_is_let_go() {
    let counters = Counters::new(1);
    let hold = Hold::new(shard(&counters, 0, "v1"));
    let (service, version) = ("s".parse().unwrap(), "v1".parse().unwrap());
    assert_eq!(counters.in_flight(&service, &version), 1);
    drop(hold);
    assert_eq!(counters.in_flight(&service, &version), 0);
}

#[test]
fn counters_outlive_their_table_until_forgotten() {
    let counters = Counters::new(1);
    Attempt::begin(shard(&counters, 0, "v1"), true).end(Outcome::Status(StatusCode::OK));
    let reading = of(&counters.read(&table("v2")), "v1");
    assert_eq!((reading.share, reading.requests()), (None, 1));
    assert!(counters.forget(&"s".parse().unwrap(), &"v1".parse().unwrap()));
    assert_eq!(counters.read(&table("v2")).versions.len(), 1);
}

#[test]
fn retired_series_are_bounded() {
    let counters = Counters::new(1);
    let held = Hold::new(shard(&counters, 0, "a"));
    (0..RETIRED_SERIES_MAX + 10).for_each(|n| drop(shard(&counters, 0, &format!("b{n}"))));
    counters.bound(&table("b7"));
    let series = counters.read(&table("b7")).versions;
    assert_eq!(series.len(), RETIRED_SERIES_MAX);
    for kept in ["a", "b7"] {
        assert!(
            series.contains_key(&("s".parse().unwrap(), kept.parse().unwrap())),
            "{kept}"
        );
    }
    drop(held);
}

#[test]
fn the_difference_of_two_readings_is_what_came_between() {
    let counters = Counters::new(1);
    let shard = shard(&counters, 0, "v1");
    Attempt::begin(Arc::clone(&shard), true).end(Outcome::Status(StatusCode::OK));
    let earlier = of(&counters.read(&table("v1")), "v1");
    Attempt::begin(shard, true).end(Outcome::Fault(Fault::Timeout));
    let delta = of(&counters.read(&table("v1")), "v1").saturating_sub(&earlier);
    assert_eq!(
        (delta.requests(), delta.failures(), delta.latency.count()),
        (1, 1, 1)
    );
}
