//! The protobuf form against the text form, and as bytes.

use std::time::Duration;

use super::*;

const TEXT: &str = r#"# HELP requests_total Requests, "all" of them.
# TYPE requests_total counter
requests_total{service="shop",code="200"} 12
requests_total{service="a \"b\" \\ c\nd",code="500"} 0
# TYPE weight gauge
weight 0.25
# TYPE seconds histogram
seconds_bucket{service="shop",le="0.1"} 1
seconds_bucket{service="shop",le="+Inf"} 3
seconds_sum{service="shop"} 4.5
seconds_count{service="shop"} 3
"#;

fn label(name: &str, value: &str) -> Label {
    Label {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

/// Reads the messages again.
fn decoded(bytes: &[u8]) -> Vec<Family> {
    let mut rest = bytes;
    let mut families = Vec::new();
    while !rest.is_empty() {
        families.push(Family::decode_length_delimited(&mut rest).unwrap());
    }
    families
}

#[test]
fn what_the_text_tells_is_told() {
    let families = decoded(&Delimited::of_text(TEXT).encode());
    let [requests, weight, seconds] = families.as_slice() else {
        panic!("{families:?}")
    };
    assert_eq!(
        (requests.name.as_str(), requests.help.as_str()),
        ("requests_total", "Requests, \"all\" of them.")
    );
    assert_eq!(requests.kind(), Kind::Counter);
    let counts: Vec<f64> = requests
        .metrics
        .iter()
        .map(|metric| metric.counter.unwrap().value)
        .collect();
    assert_eq!(counts, [12.0, 0.0]);
    assert_eq!(
        requests.metrics[1].labels,
        [label("service", "a \"b\" \\ c\nd"), label("code", "500")]
    );
    assert_eq!(weight.metrics[0].gauge.unwrap().value, 0.25);
    let histogram = seconds.metrics[0].histogram.as_ref().unwrap();
    assert_eq!((histogram.count, histogram.sum), (3, 4.5));
    let bounds: Vec<(u64, f64)> = histogram
        .buckets
        .iter()
        .map(|bucket| (bucket.cumulative, bucket.upper))
        .collect();
    assert_eq!(bounds, [(1, 0.1), (3, f64::INFINITY)]);
    // Without a distribution it is no native histogram.
    assert_eq!((histogram.zero_threshold, histogram.spans.len()), (0.0, 0));
}

#[test]
fn a_counter_of_open_metrics_has_the_name_of_its_samples() {
    let text = "# HELP http_requests Answered.\n# TYPE http_requests counter\nhttp_requests_total{code=\"200\"} 7\n# EOF\n";
    let families = Delimited::of_text(text).families;
    assert_eq!(families.len(), 1);
    assert_eq!(families[0].name, "http_requests_total");
    assert_eq!(families[0].metrics[0].counter.unwrap().value, 7.0);
}

#[test]
fn a_distribution_is_told_as_spans_and_differences() {
    let mut native = NativeHistogram::default();
    for (us, count) in [(0, 2), (1_000_000, 3), (1_050_000, 1), (2_000_000, 5)] {
        native.add(Duration::from_micros(us), count);
    }
    let mut delimited = Delimited::of_text(TEXT);
    delimited.add_native("seconds", &[("service", "shop")], &native);
    let families = decoded(&delimited.encode());
    let [metric] = families[2].metrics.as_slice() else {
        panic!("{families:?}")
    };
    let histogram = metric.histogram.as_ref().unwrap();
    let span = |offset, length| Span { offset, length };
    assert_eq!(histogram.spans, [span(0, 2), span(6, 1)]);
    assert_eq!(histogram.deltas, [3, -2, 4]);
    assert_eq!((histogram.zero_count, histogram.count), (2, 11));
    assert_eq!((histogram.schema, histogram.sum), (3, 14.05));
    // The classic buckets are still there.
    assert_eq!(histogram.buckets.len(), 2);
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let bytes = Delimited::of_text("# TYPE a gauge\na{b=\"c\"} 1\n").encode();
    let one = 1.0_f64.to_le_bytes();
    let mut expected = vec![
        26, // the length
        0x0a, 1, b'a', // 1: name
        0x18, 1, // 3: type, a gauge
        0x22, 19, // 4: metric
        0x0a, 6, 0x0a, 1, b'b', 0x12, 1, b'c', // 1: label
        0x12, 9, 0x09, // 2: gauge, 1: value
    ];
    expected.extend(one);
    assert_eq!(bytes, expected);
}

#[test]
fn the_form_is_that_which_is_wanted_most() {
    let proto = DELIMITED_TYPE;
    let check =
        |accept: &str, expected| assert_eq!(prefers_delimited(accept), expected, "{accept}");
    check("", false);
    check("*/*", false);
    check("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", false);
    check(proto, true);
    check(
        &format!(
            "{proto},application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5,*/*;q=0.1"
        ),
        true,
    );
    check(
        &format!("application/openmetrics-text;version=1.0.0;q=0.5,{proto};q=0.4"),
        false,
    );
    check(&format!("{proto};q=0"), false);
    check(&format!("{proto};q=x"), false);
    check(
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
        false,
    );
    check("application/vnd.google.protobuf", false);
}
