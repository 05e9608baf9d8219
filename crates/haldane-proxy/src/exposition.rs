//! The counters as Prometheus reads them.
//!
//! Written by hand: the counters live in shards of the data threads, not in a registry, and the text format is small. Whoever asks for
//! the protobuf form gets the latencies as native histograms, too: those are finer than any list of bounds.

mod delimited;
mod native;

use std::{
    fmt::{self, Write},
    time::Duration,
};

use haldane_core::{ServiceName, VersionName};

use crate::count::{ConversionReading, Reading, VersionReading};

pub use self::{
    delimited::{DELIMITED_TYPE, Delimited, prefers_delimited},
    native::NativeHistogram,
};

/// The content type of [`render_metrics`].
pub const TEXT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The histogram of latencies.
const LATENCY: &str = "haldane_proxy_request_duration_seconds";

/// The usual bounds of a latency histogram, in milliseconds.
const BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000];

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Writes `reading` in the text format of Prometheus, [`TEXT_TYPE`].
///
/// Labels are names from the configuration and fixed words: their number is bounded by the table.
#[must_use]
pub fn render_metrics(reading: &Reading) -> String {
    let mut text = String::new();
    // Writing to a string can't fail.
    write_all(&mut text, reading).unwrap_or_default();
    text
}

/// Returns `text`, what [`render_metrics`] gave and whatever was added to it, in the protobuf form of Prometheus, with the latencies of
/// the same `reading` as native histograms.
#[must_use]
pub fn encode_metrics(text: &str, reading: &Reading) -> Vec<u8> {
    let mut delimited = Delimited::of_text(text);
    for (labels, version) in versions(reading) {
        let native = NativeHistogram::of_latencies(&version.latency);
        let labels = [
            ("service", labels.service.as_str()),
            ("version", labels.version.as_str()),
        ];
        delimited.add_native(LATENCY, &labels, &native);
    }
    delimited.encode()
}

fn write_all(out: &mut String, reading: &Reading) -> fmt::Result {
    requests(out, reading)?;
    conversions(out, reading)?;
    gauges(out, reading)?;
    latency(out, reading)?;
    head(
        out,
        "haldane_proxy_limits_total",
        "counter",
        "Limits of the proxy that clients met.",
    )?;
    for (limit, count) in &reading.limits {
        writeln!(
            out,
            "haldane_proxy_limits_total{{limit=\"{}\"}} {count}",
            limit.as_str()
        )?;
    }
    head(
        out,
        "haldane_proxy_connections",
        "gauge",
        "Open connections of clients.",
    )?;
    writeln!(out, "haldane_proxy_connections {}", reading.connections)
}

fn requests(out: &mut String, reading: &Reading) -> fmt::Result {
    let name = "haldane_proxy_requests_total";
    head(
        out,
        name,
        "counter",
        "Attempts that ended, by class of the status or fault, and by who made it.",
    )?;
    for (labels, version) in versions(reading) {
        for (class, count) in CLASSES.iter().zip(version.status) {
            writeln!(
                out,
                "{name}{{{labels},class=\"{class}\",origin=\"upstream\"}} {count}"
            )?;
        }
        for (fault, count) in version.faults.labeled() {
            writeln!(
                out,
                "{name}{{{labels},class=\"{fault}\",origin=\"proxy\"}} {count}"
            )?;
        }
        let aborted = version.aborted_by_client;
        writeln!(
            out,
            "{name}{{{labels},class=\"aborted\",origin=\"client\"}} {aborted}"
        )?;
    }
    type Counter = (&'static str, &'static str, fn(&VersionReading) -> u64);
    let counters: [Counter; 3] = [
        (
            "haldane_proxy_unavailable_total",
            "Requests that found no usable endpoint of the version.",
            |version| version.unavailable,
        ),
        (
            "haldane_proxy_resent_total",
            "Requests sent again because a kept connection had closed.",
            |version| version.resent,
        ),
        (
            "haldane_proxy_unmeasured_requests_total",
            "Attempts on paths left out of measurement.",
            |version| version.unmeasured,
        ),
    ];
    for (name, help, count) in counters {
        head(out, name, "counter", help)?;
        for (labels, version) in versions(reading) {
            writeln!(out, "{name}{{{labels}}} {}", count(version))?;
        }
    }
    Ok(())
}

/// Labels are the names of declared metrics: as many as the files declare.
fn conversions(out: &mut String, reading: &Reading) -> fmt::Result {
    type Counter = (&'static str, &'static str, fn(&ConversionReading) -> u64);
    let counters: [Counter; 2] = [
        (
            "haldane_proxy_conversion_hits_total",
            "Attempts that were hits of a declared metric.",
            |counts| counts.hits,
        ),
        (
            "haldane_proxy_conversion_exposures_total",
            "Attempts that could lead to a hit of a declared metric.",
            |counts| counts.exposures,
        ),
    ];
    for (name, help, count) in counters {
        head(out, name, "counter", help)?;
        for (labels, version) in versions(reading) {
            for (metric, counts) in &version.conversions {
                writeln!(
                    out,
                    "{name}{{{labels},metric=\"{metric}\"}} {}",
                    count(counts)
                )?;
            }
        }
    }
    Ok(())
}

fn gauges(out: &mut String, reading: &Reading) -> fmt::Result {
    head(
        out,
        "haldane_proxy_requests_in_flight",
        "gauge",
        "Requests that the version holds.",
    )?;
    for (labels, version) in versions(reading) {
        writeln!(
            out,
            "haldane_proxy_requests_in_flight{{{labels}}} {}",
            version.in_flight
        )?;
    }
    head(
        out,
        "haldane_proxy_weight_ratio",
        "gauge",
        "Share of the version in the split, 0 to 1.",
    )?;
    for (labels, version) in versions(reading) {
        if let Some(share) = version.share {
            let bps = share.as_bps();
            let (whole, rest) = (bps / 10_000, bps % 10_000);
            writeln!(
                out,
                "haldane_proxy_weight_ratio{{{labels}}} {whole}.{rest:04}"
            )?;
        }
    }
    Ok(())
}

fn latency(out: &mut String, reading: &Reading) -> fmt::Result {
    let name = LATENCY;
    head(
        out,
        name,
        "histogram",
        "Time from sending a request to the last byte of its response.",
    )?;
    for (labels, version) in versions(reading) {
        let count = version.latency.count();
        for bound in BOUNDS_MS.map(Duration::from_millis) {
            let within = count.saturating_sub(version.latency.count_above(bound));
            writeln!(
                out,
                "{name}_bucket{{{labels},le=\"{}\"}} {within}",
                Seconds(bound)
            )?;
        }
        writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}")?;
        writeln!(
            out,
            "{name}_sum{{{labels}}} {}",
            Seconds(version.latency.sum())
        )?;
        writeln!(out, "{name}_count{{{labels}}} {count}")?;
    }
    Ok(())
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

fn versions(reading: &Reading) -> impl Iterator<Item = (Labels<'_>, &VersionReading)> {
    reading
        .versions
        .iter()
        .map(|((service, version), counts)| (Labels { service, version }, counts))
}

/// The labels of a version. Names have no character that would need escaping.
struct Labels<'a> {
    service: &'a ServiceName,
    version: &'a VersionName,
}

/// A duration in seconds, without a float.
struct Seconds(Duration);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "service=\"{}\",version=\"{}\"",
            self.service, self.version
        )
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = format!("{:06}", self.0.subsec_micros());
        match micros.trim_end_matches('0') {
            "" => write!(f, "{}", self.0.as_secs()),
            digits => write!(f, "{}.{digits}", self.0.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use haldane_core::Weight;

    use super::*;
    use crate::{count::Limit, histogram::Histogram};

    fn reading() -> Reading {
        let mut latency = Histogram::new();
        [800, 30_000, 400_000]
            .iter()
            .for_each(|us| latency.record(Duration::from_micros(*us)));
        let version = VersionReading {
            share: Some(Weight::from_percent(5)),
            status: [0, 2, 0, 0, 1],
            aborted_by_client: 4,
            in_flight: 3,
            latency,
            conversions: [(
                "bought".to_owned(),
                ConversionReading {
                    hits: 2,
                    exposures: 7,
                    generation: 1,
                },
            )]
            .into(),
            ..VersionReading::default()
        };
        Reading {
            versions: [(("shop".parse().unwrap(), "v2".parse().unwrap()), version)].into(),
            limits: [(Limit::BodySize, 7)].into(),
            connections: 9,
        }
    }

    #[test]
    fn each_counter_has_its_line() {
        let text = render_metrics(&reading());
        for line in [
            r#"haldane_proxy_requests_total{service="shop",version="v2",class="2xx",origin="upstream"} 2"#,
            r#"haldane_proxy_requests_total{service="shop",version="v2",class="5xx",origin="upstream"} 1"#,
            r#"haldane_proxy_requests_total{service="shop",version="v2",class="reset",origin="proxy"} 0"#,
            r#"haldane_proxy_requests_total{service="shop",version="v2",class="aborted",origin="client"} 4"#,
            r#"haldane_proxy_requests_in_flight{service="shop",version="v2"} 3"#,
            r#"haldane_proxy_weight_ratio{service="shop",version="v2"} 0.0500"#,
            r#"haldane_proxy_request_duration_seconds_bucket{service="shop",version="v2",le="0.001"} 1"#,
            r#"haldane_proxy_request_duration_seconds_bucket{service="shop",version="v2",le="0.25"} 2"#,
            r#"haldane_proxy_request_duration_seconds_bucket{service="shop",version="v2",le="10"} 3"#,
            r#"haldane_proxy_request_duration_seconds_bucket{service="shop",version="v2",le="+Inf"} 3"#,
            r#"haldane_proxy_request_duration_seconds_sum{service="shop",version="v2"} 0.4308"#,
            r#"haldane_proxy_request_duration_seconds_count{service="shop",version="v2"} 3"#,
            r#"haldane_proxy_conversion_hits_total{service="shop",version="v2",metric="bought"} 2"#,
            r#"haldane_proxy_conversion_exposures_total{service="shop",version="v2",metric="bought"} 7"#,
            r#"haldane_proxy_limits_total{limit="body_size"} 7"#,
            "haldane_proxy_connections 9",
        ] {
            assert!(
                text.lines().any(|other| other == line),
                "{line} is not in\n{text}"
            );
        }
    }

    #[test]
    fn each_family_is_described_once_and_before_its_lines() {
        let text = render_metrics(&reading());
        let mut described: Vec<&str> = Vec::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let name = rest.split(' ').next().unwrap();
                assert!(!described.contains(&name), "{name} twice");
                described.push(name);
            } else if !line.starts_with('#') {
                let family = described.last().unwrap();
                assert!(line.starts_with(family), "{line} under {family}");
            }
        }
    }
}
