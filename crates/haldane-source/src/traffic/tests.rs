//! Traffic: what is asked, and what the answers of real exporters count.

use haldane_analysis::Bucket;
use jiff::Timestamp;

use super::*;
use crate::{
    delta::{Counters, First, Rule},
    histogram::{Bucket as Native, Histogram},
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn names() -> BTreeMap<String, String> {
    let names = [("namespace", "test"), ("ingress", "shop")].into_iter();
    names
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Reads series as exporters write them: `name{a="b"} 1`.
fn scrape(second: i64, text: &str) -> Vec<Point> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let read = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap();
        let labels = labels.split(',').map(|pair| {
            let (label, value) = pair.split_once('=').unwrap();
            (label, value.trim_matches('"'))
        });
        Point {
            at: at(second),
            labels: [(NAME, name)].into_iter().chain(labels).collect(),
            value: Value::of(value.parse().unwrap()),
        }
    };
    lines.map(read).collect()
}

/// Counts between two scrapes.
fn count(traffic: &Traffic, before: Vec<Point>, after: Vec<Point>) -> Counted {
    let mut counters = Counters::default();
    let rule = Rule {
        first: First::Nothing,
        keep: Duration::from_secs(300),
    };
    let mut advance = |points| {
        let reading = Reading {
            points,
            ..Reading::default()
        };
        let series = traffic.series(reading);
        let increase = counters.advance(&series.points, rule).unwrap();
        assert_eq!(increase.skipped, 0);
        traffic.counted(&increase, series.is_native)
    };
    advance(before);
    advance(after)
}

#[test]
fn one_query_asks_for_everything_of_a_version() {
    let traffic = Traffic::of_template("contour", Side::Canary).unwrap();
    let query = traffic.query("shop-canary", &names(), Duration::from_secs(30));
    assert_eq!(
        query.unwrap(),
        r#"{__name__=~"envoy_cluster_upstream_rq|envoy_cluster_upstream_rq_time_bucket|envoy_cluster_upstream_rq_time_sum|envoy_cluster_upstream_rq_time",envoy_cluster_name=~"test_shop\\-canary_[0-9a-zA-Z-]+"}[30s]"#
    );
    let of = |side| {
        let traffic = Traffic::of_template("nginx", side).unwrap();
        traffic
            .query("unused", &names(), Duration::from_secs(30))
            .unwrap()
    };
    assert!(of(Side::Stable).ends_with(r#"ingress="shop",canary=""}[30s]"#));
    assert!(of(Side::Canary).ends_with(r#"ingress="shop",canary!=""}[30s]"#));
    assert!(Traffic::of_template("nobody", Side::Stable).is_err());
}

#[test]
fn every_template_can_be_asked_and_a_missing_name_is_told() {
    for template in template::list() {
        let values = template.names().into_iter().map(|name| (name, "a"));
        let values = values.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let values: BTreeMap<String, String> = values.collect();
        for side in [Side::Stable, Side::Canary] {
            let traffic = Traffic::of_template(template.name, side).unwrap();
            let second = Duration::from_secs(1);
            traffic.query("shop", &values, second).unwrap();
            let missing = traffic.query("shop", &BTreeMap::new(), second);
            assert_eq!(missing.is_ok(), values.is_empty(), "{}", template.name);
        }
    }
}

#[test]
fn envoy_counts_requests_failures_latencies_and_their_sum() {
    let traffic = Traffic::of_template("contour", Side::Stable).unwrap();
    let scraped = |second, fine: u32, failed: u32, fast: u32, sum: u32| {
        let all = fine + failed;
        scrape(
            second,
            &format!(
                r#"
                envoy_cluster_upstream_rq{{envoy_response_code="200",instance="e:1"}} {fine}
                envoy_cluster_upstream_rq{{envoy_response_code="503",instance="e:1"}} {failed}
                envoy_cluster_upstream_rq_time_bucket{{le="25",instance="e:1"}} {fast}
                envoy_cluster_upstream_rq_time_bucket{{le="+Inf",instance="e:1"}} {all}
                envoy_cluster_upstream_rq_time_sum{{instance="e:1"}} {sum}
                "#
            ),
        )
    };
    let counted = count(
        &traffic,
        scraped(10, 100, 5, 90, 900),
        scraped(25, 150, 7, 130, 1_600),
    );
    let expected = Counted {
        requests: 52,
        failures: 2,
        latency_sum_us: 700_000,
        latency: Bucket::list([(25_000, 40), (u64::MAX, 12)]),
    };
    assert_eq!(counted, expected);
    // A restart of Envoy: what it counted since its new beginning.
    let counted = count(
        &traffic,
        scraped(10, 100, 5, 90, 900),
        scraped(25, 8, 1, 7, 70),
    );
    assert_eq!(
        (counted.requests, counted.failures, counted.latency_sum_us),
        (9, 1, 70_000)
    );
}

#[test]
fn of_a_histogram_only_the_series_that_are_meant_count() {
    let traffic = Traffic::of_template("apisix", Side::Stable).unwrap();
    let scraped = |second, count: u32| {
        let line = |kind: &str| {
            format!(
                r#"
                apisix_http_latency_bucket{{type="{kind}",le="+Inf",instance="a"}} {count}
                apisix_http_latency_sum{{type="{kind}",instance="a"}} {count}
                "#
            )
        };
        let status = format!(r#"apisix_http_status{{code="200",instance="a"}} {count}"#);
        scrape(
            second,
            &format!("{status}\n{}{}", line("request"), line("upstream")),
        )
    };
    let counted = count(&traffic, scraped(10, 1), scraped(20, 11));
    assert_eq!((counted.requests, counted.latency_sum_us), (10, 10_000));
    assert_eq!(counted.latency, Bucket::list([(u64::MAX, 10)]));
}

#[test]
fn native_histograms_count_once_and_stand_for_their_counter() {
    let traffic = Traffic::of_template("gateway-api", Side::Stable).unwrap();
    let name = "http_request_duration_seconds";
    let point = |second, status: &str, count: f64| {
        let buckets = vec![Native {
            lower: 0.5,
            upper: 1.0,
            count,
        }];
        let histogram = Histogram::try_new(buckets, Some(count * 0.75)).unwrap();
        Point {
            at: at(second),
            labels: [(NAME, name), ("status", status), ("pod", "a")]
                .into_iter()
                .collect(),
            value: Value::Histogram(histogram),
        }
    };
    let scraped = |second, fine, failed| {
        let mut points = vec![point(second, "200", fine), point(second, "500", failed)];
        // Who stores both forms has each request twice.
        points.extend(scrape(
            second,
            &format!(r#"{name}_bucket{{le="+Inf",status="200",pod="a"}} {fine}"#),
        ));
        points
    };
    let counted = count(&traffic, scraped(10, 10.0, 1.0), scraped(20, 30.0, 5.0));
    let bucket = Bucket {
        lower_us: 500_000,
        upper_us: 1_000_000,
        count: 24,
    };
    let expected = Counted {
        requests: 24,
        failures: 4,
        latency_sum_us: 18_000_000,
        latency: vec![bucket],
    };
    assert_eq!(counted, expected);
}

#[test]
fn without_a_histogram_requests_are_counted_alone() {
    let traffic = Traffic {
        counter: "hits_total".to_owned(),
        select: r#"pod=~"{{workload}}-.+""#.to_owned(),
        failed: r#"result="failed""#.to_owned(),
        latency: None,
    };
    let query = traffic.query("a.b", &BTreeMap::new(), Duration::from_secs(30));
    assert_eq!(
        query.unwrap(),
        r#"{__name__=~"hits_total",pod=~"a\\.b-.+"}[30s]"#
    );
    let scraped = |second, fine: u32, failed: u32| {
        scrape(
            second,
            &format!(
                "hits_total{{result=\"fine\",pod=\"a\"}} {fine}\nhits_total{{result=\"failed\",pod=\"a\"}} {failed}"
            ),
        )
    };
    let counted = count(&traffic, scraped(10, 1, 0), scraped(20, 4, 2));
    let expected = Counted {
        requests: 5,
        failures: 2,
        ..Counted::default()
    };
    assert_eq!(counted, expected);
}
