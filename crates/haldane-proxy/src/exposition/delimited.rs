//! The protobuf form of an exposition: the one in which Prometheus takes native histograms.
//!
//! Its messages are those of `io.prometheus.client`, each preceded by its length; only the fields that are used here are declared. It
//! is read off the text form, so that both tell the same and a metric is written in one place; distributions are added to it, because
//! the text has no words for them.
//!
//! **Invariant:** what the text tells, this tells, under the same names, labels and values.

use prost::{Enumeration, Message};

use crate::exposition::native::{NativeHistogram, SCHEMA, ZERO_THRESHOLD};

/// The content type of [`Delimited::encode`].
pub const DELIMITED_TYPE: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// An exposition in the protobuf form.
#[derive(Clone, Debug, Default)]
pub struct Delimited {
    families: Vec<Family>,
}

/// All series of one metric.
#[derive(Clone, PartialEq, Message)]
struct Family {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    help: String,
    #[prost(enumeration = "Kind", tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metrics: Vec<Metric>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
enum Kind {
    Counter = 0,
    Gauge = 1,
    Untyped = 3,
    Histogram = 4,
}

/// One series; the member of the family's kind is set.
#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<Number>,
    #[prost(message, optional, tag = "3")]
    counter: Option<Number>,
    #[prost(message, optional, tag = "5")]
    untyped: Option<Number>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Eq, Hash, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Number {
    #[prost(double, tag = "1")]
    value: f64,
}

/// A classic histogram, a native one, or both.
#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "2")]
    sum: f64,
    #[prost(message, repeated, tag = "3")]
    buckets: Vec<Bucket>,
    #[prost(sint32, tag = "5")]
    schema: i32,
    #[prost(double, tag = "6")]
    zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    zero_count: u64,
    #[prost(message, repeated, tag = "12")]
    spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "13")]
    deltas: Vec<i64>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Bucket {
    #[prost(uint64, tag = "1")]
    cumulative: u64,
    #[prost(double, tag = "2")]
    upper: f64,
}

/// Native buckets side by side.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
struct Span {
    /// The first one's index; after another span, how many were left out between.
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

/// One line of the text form.
struct Sample<'a> {
    name: &'a str,
    labels: Vec<Label>,
    value: f64,
}

/// Returns whether this form is wanted at least as much as a text, by the header `Accept`.
#[must_use]
pub fn prefers_delimited(accept: &str) -> bool {
    let mut delimited = 0.0;
    let mut text = 0.0_f64;
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let has = |wanted: &str| {
            let mut parts = parts.clone();
            parts.any(|part| part.eq_ignore_ascii_case(wanted))
        };
        let quality = parts.clone().find_map(|part| part.strip_prefix("q="));
        let quality = quality.map_or(1.0, |quality| quality.parse().unwrap_or(0.0));
        if media.eq_ignore_ascii_case("application/vnd.google.protobuf") {
            if has("proto=io.prometheus.client.MetricFamily") && has("encoding=delimited") {
                delimited = quality;
            }
        } else {
            text = text.max(quality);
        }
    }
    delimited > 0.0 && delimited >= text
}

impl Delimited {
    /// Reads the text form, that of Prometheus or OpenMetrics. A line that is neither a description nor a sample is left out.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        let mut this = Self::default();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
                this.family(name).help = unescaped(help);
            } else if let Some((name, kind)) = line
                .strip_prefix("# TYPE ")
                .and_then(|rest| rest.split_once(' '))
            {
                this.family(name).kind = Kind::of_word(kind).into();
            } else if let Some(sample) = Sample::of_line(line) {
                this.take(sample);
            }
        }
        this
    }

    /// Adds a distribution to the histogram with these labels, which the text told by its classic buckets; count and sum are then
    /// those of the distribution.
    pub fn add_native(&mut self, name: &str, labels: &[(&str, &str)], native: &NativeHistogram) {
        let labels = labels.iter().map(|(name, value)| Label {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        });
        let family = self.family(name);
        family.kind = Kind::Histogram.into();
        let histogram = family
            .metric(labels.collect())
            .histogram
            .get_or_insert_default();
        histogram.count = native.count();
        histogram.sum = native.sum().as_secs_f64();
        histogram.schema = SCHEMA;
        histogram.zero_threshold = ZERO_THRESHOLD;
        histogram.zero_count = native.zero_count();
        (histogram.spans, histogram.deltas) = spans(native);
    }

    /// Returns the messages, each after its length.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let families = self.families.iter();
        families
            .flat_map(Message::encode_length_delimited_to_vec)
            .collect()
    }

    /// Returns the family of that name, which is the last one unless it is new: families come one after the other.
    fn family(&mut self, name: &str) -> &mut Family {
        let at = self.families.iter().rposition(|known| known.name == name);
        let at = at.unwrap_or_else(|| {
            self.families.push(Family {
                name: name.to_owned(),
                kind: Kind::Untyped.into(),
                ..Family::default()
            });
            self.families.len().saturating_sub(1)
        });
        // The place was just found or made.
        #[expect(clippy::indexing_slicing, reason = "a position of this list")]
        &mut self.families[at]
    }

    fn take(&mut self, sample: Sample<'_>) {
        let described = self.families.last();
        let described = described.map(|family| (family.name.clone(), family.kind()));
        let (name, kind) = match described {
            Some((name, kind)) if sample.name.starts_with(&name) => (name, kind),
            Some(_) | None => (sample.name.to_owned(), Kind::Untyped),
        };
        let suffix = sample.name.get(name.len()..).unwrap_or_default();
        let family = self.family(&name);
        match kind {
            Kind::Counter => {
                // OpenMetrics describes `requests` and counts `requests_total`; this form has one name.
                sample.name.clone_into(&mut family.name);
                family.metric(sample.labels).counter = Some(Number {
                    value: sample.value,
                });
            }
            Kind::Gauge => {
                family.metric(sample.labels).gauge = Some(Number {
                    value: sample.value,
                })
            }
            Kind::Untyped => {
                family.metric(sample.labels).untyped = Some(Number {
                    value: sample.value,
                })
            }
            Kind::Histogram => family.take_part(suffix, sample),
        }
    }
}

impl Family {
    fn metric(&mut self, labels: Vec<Label>) -> &mut Metric {
        let at = self
            .metrics
            .iter()
            .rposition(|known| known.labels == labels);
        let at = at.unwrap_or_else(|| {
            self.metrics.push(Metric {
                labels,
                ..Metric::default()
            });
            self.metrics.len().saturating_sub(1)
        });
        #[expect(clippy::indexing_slicing, reason = "a position of this list")]
        &mut self.metrics[at]
    }

    /// Takes a line of a histogram.
    fn take_part(&mut self, suffix: &str, mut sample: Sample<'_>) {
        let le = sample.labels.iter().position(|label| label.name == "le");
        let le = le.map(|at| sample.labels.remove(at).value);
        let upper = le.and_then(|le| le.parse().ok());
        let metric = self.metric(sample.labels);
        let histogram = metric.histogram.get_or_insert_default();
        match (suffix, upper) {
            ("_bucket", Some(upper)) => histogram.buckets.push(Bucket {
                cumulative: whole(sample.value),
                upper,
            }),
            ("_sum", None) => histogram.sum = sample.value,
            ("_count", None) => histogram.count = whole(sample.value),
            (_, _) => {}
        }
    }
}

impl Kind {
    fn of_word(word: &str) -> Self {
        match word {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            _ => Self::Untyped,
        }
    }
}

impl<'a> Sample<'a> {
    /// Reads `name{label="value",…} 1`.
    fn of_line(line: &'a str) -> Option<Self> {
        if line.starts_with('#') {
            return None;
        }
        let end = line.find(['{', ' '])?;
        let (name, mut rest) = line.split_at(end);
        let mut labels = Vec::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            while !rest.starts_with('}') {
                let (name, value) = rest.trim_start_matches(',').split_once("=\"")?;
                let end = end_of_value(value)?;
                let (value, after) = value.split_at(end);
                labels.push(Label {
                    name: name.to_owned(),
                    value: unescaped(value),
                });
                rest = after.strip_prefix('"')?;
            }
            rest = rest.strip_prefix('}')?;
        }
        let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
        Some(Self {
            name,
            labels,
            value,
        })
    }
}

/// Returns where the quotation mark is that ends a value.
fn end_of_value(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    let mut places = text.char_indices();
    let end = places.find(|(_, c)| {
        let is_end = *c == '"' && !is_escaped;
        is_escaped = *c == '\\' && !is_escaped;
        is_end
    });
    end.map(|(at, _)| at)
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some(other) => other,
                None => '\\',
            },
            other => other,
        });
    }
    out
}

/// Returns a count that the text tells; none below zero.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float becomes the nearest count that fits"
)]
const fn whole(value: f64) -> u64 {
    value.max(0.0) as u64
}

/// Returns the filled buckets: where they are, and by how much each differs from the one before.
fn spans(native: &NativeHistogram) -> (Vec<Span>, Vec<i64>) {
    let (mut spans, mut deltas): (Vec<Span>, Vec<i64>) = Default::default();
    let (mut next, mut before) = (0_i32, 0_i64);
    for (index, count) in native.buckets() {
        match spans.last_mut() {
            Some(span) if index == next => span.length = span.length.saturating_add(1),
            Some(_) | None => spans.push(Span {
                offset: index.saturating_sub(next),
                length: 1,
            }),
        }
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        deltas.push(count.saturating_sub(before));
        (next, before) = (index.saturating_add(1), count);
    }
    (spans, deltas)
}

#[cfg(test)]
mod tests;
