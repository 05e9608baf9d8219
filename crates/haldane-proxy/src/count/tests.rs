//! Tests of `count`.

use super::*;
use crate::table::{Arm, Override, Route, ServiceRoute, ServiceSpec, Timeouts};

fn table(version: &str) -> Table {
    table_of(version, vec![])
}

fn table_of(version: &str, conversions: Vec<Conversion>) -> Table {
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
        conversions,
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

fn conversion(metric: &str, hit: &str, of: &str) -> Conversion {
    Conversion {
        metric: metric.to_owned(),
        hit: hit.parse().unwrap(),
        of: of.parse().unwrap(),
    }
}

/// Counts one attempt of this request.
fn convert(
    counters: &Counters,
    rules: &Arc<[Conversion]>,
    (method, path): (&str, &str),
    outcome: Outcome,
) {
    let (service, version) = ("s".parse().unwrap(), "v1".parse().unwrap());
    let conversions = counters.conversions(0, &service, &version, rules);
    Attempt::begin(shard(counters, 0, "v1"), true)
        .with_conversions(conversions.as_ref(), Marks::of(rules, method, path))
        .end(outcome);
}

fn ok() -> Outcome {
    Outcome::Status(StatusCode::OK)
}

/// Returns hits and exposures of each conversion.
fn converted(counters: &Counters, rules: &[Conversion]) -> Vec<(String, u64, u64)> {
    let table = table_of("v1", rules.to_vec());
    let reading = of(&counters.read(&table), "v1").conversions.into_iter();
    reading
        .map(|(metric, one)| (metric, one.hits, one.exposures))
        .collect()
}

#[test]
fn an_attempt_counts_once_for_each_pattern_that_it_meets() {
    let counters = Counters::new(1);
    let rules: Arc<[_]> = [
        conversion("bought", "POST /buy 2xx", "GET /cart"),
        conversion("refused", "POST /buy 4xx", "POST /buy"),
        conversion("seen", "/items/** !5xx", "* /**"),
    ]
    .into();
    let status = |code| Outcome::Status(StatusCode::from_u16(code).unwrap());
    for (request, outcome) in [
        (("GET", "/cart"), ok()),
        (("GET", "/cart"), status(500)),
        (("POST", "/cart"), ok()),
        (("POST", "/buy"), status(201)),
        (("POST", "/buy"), status(409)),
        (("POST", "/buy"), Outcome::Fault(Fault::Reset)),
        (("GET", "/items/7"), ok()),
        (("GET", "/items/7"), Outcome::Fault(Fault::Timeout)),
        // What the client broke off says nothing.
        (("GET", "/cart"), Outcome::AbortedByClient),
    ] {
        convert(&counters, &rules, request, outcome);
    }
    let expected = [("bought", 1, 2), ("refused", 1, 3), ("seen", 1, 8)];
    let expected = expected.map(|(metric, hits, of)| (metric.to_owned(), hits, of));
    assert_eq!(converted(&counters, &rules), expected);
}

#[test]
fn attempts_that_are_not_measured_are_no_conversions() {
    let counters = Counters::new(1);
    let rules: Arc<[_]> = [conversion("bought", "POST /buy", "GET /cart")].into();
    let (service, version) = ("s".parse().unwrap(), "v1".parse().unwrap());
    let conversions = counters.conversions(0, &service, &version, &rules);
    Attempt::begin(shard(&counters, 0, "v1"), false)
        .with_conversions(conversions.as_ref(), Marks::of(&rules, "GET", "/cart"))
        .end(ok());
    assert_eq!(converted(&counters, &rules), [("bought".to_owned(), 0, 0)]);
}

#[test]
fn what_is_declared_anew_begins_with_nothing() {
    let counters = Counters::new(2);
    let old: Arc<[_]> = [conversion("bought", "POST /buy", "GET /cart")].into();
    let new: Arc<[_]> = [conversion("bought", "POST /pay", "GET /cart")].into();
    convert(&counters, &old, ("GET", "/cart"), ok());
    let before = of(&counters.read(&table_of("v1", old.to_vec())), "v1");
    counters.bound(&table_of("v1", new.to_vec()));
    convert(&counters, &new, ("POST", "/pay"), ok());
    assert_eq!(converted(&counters, &new), [("bought".to_owned(), 1, 0)]);
    let after = of(&counters.read(&table_of("v1", new.to_vec())), "v1");
    let since = after.saturating_sub(&before).conversions["bought"];
    assert_eq!((since.hits, since.exposures), (1, 0));
    // What a slow thread still counted by the old patterns is nobody's.
    convert(&counters, &old, ("GET", "/cart"), ok());
    assert_eq!(converted(&counters, &new), [("bought".to_owned(), 1, 0)]);
    counters.bound(&table_of("v1", vec![]));
    assert_eq!(converted(&counters, &[]), []);
}

#[test]
fn conversions_are_forgotten_with_their_version() {
    let counters = Counters::new(1);
    let rules: Arc<[_]> = [conversion("bought", "POST /buy", "GET /cart")].into();
    convert(&counters, &rules, ("GET", "/cart"), ok());
    assert!(counters.forget(&"s".parse().unwrap(), &"v1".parse().unwrap()));
    assert_eq!(converted(&counters, &rules), []);
    convert(&counters, &rules, ("GET", "/cart"), ok());
    assert_eq!(converted(&counters, &rules), [("bought".to_owned(), 0, 1)]);
}

#[test]
fn a_service_without_conversions_has_no_counters_for_them() {
    let counters = Counters::new(1);
    let (service, version) = ("s".parse().unwrap(), "v1".parse().unwrap());
    let none = counters.conversions(0, &service, &version, &Arc::from([]));
    assert!(none.is_none());
    assert!(Marks::of(&[], "GET", "/cart").is_none());
    let many = vec![conversion("m", "/a 2xx", "/a"); CONVERSIONS_MAX];
    assert_eq!(Marks::of(&many, "GET", "/a"), Marks::of(&many, "PUT", "/a"));
    assert!(!Marks::of(&many, "GET", "/a").is_none());
}
