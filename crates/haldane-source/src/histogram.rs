//! Distributions as counts between bounds, classic and native alike.
//!
//! Classic Prometheus histograms come as one cumulative series per bound (`le`), native ones as lists of buckets. Both become lists of
//! buckets that know both of their bounds, so that everything after this works on one form and histograms of several schemes add up
//! without loss.

use std::collections::BTreeMap;

use haldane_analysis::Bucket as Counted;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    reading::{Labels, Point, Value},
};

/// The most buckets of one histogram; native histograms are limited to 160 by default where they are made.
pub const BUCKETS_MAX: usize = 1_024;

/// The label of a classic bucket's upper bound.
const LE: &str = "le";

/// A distribution: how many values lie between which bounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// The buckets, by their bounds.
    buckets: Vec<Bucket>,
    /// The sum of all values, where it is known.
    #[serde(with = "bits_or_none")]
    pub sum: Option<f64>,
}

/// A count of values between two bounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Values are above this; `-Inf` means no bound.
    #[serde(with = "bits")]
    pub lower: f64,
    /// Values are at most this; `+Inf` means no bound.
    #[serde(with = "bits")]
    pub upper: f64,
    /// How many there are.
    #[serde(with = "bits")]
    pub count: f64,
}

/// The unit in which latencies were measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
}

impl Histogram {
    /// Returns the histogram of `buckets`.
    ///
    /// # Errors
    /// When there are too many, bounds or counts are impossible, or buckets overlap.
    pub fn try_new(mut buckets: Vec<Bucket>, sum: Option<f64>) -> Result<Self> {
        if buckets.len() > BUCKETS_MAX {
            return Err(Error::TooLarge {
                what: "buckets",
                max: BUCKETS_MAX,
            });
        }
        buckets.sort_by(|a, b| a.lower.total_cmp(&b.lower));
        let refuse = |what: &str| Err(Error::malformed(what, "a histogram"));
        let is_possible = |bucket: &Bucket| {
            bucket.lower < bucket.upper && bucket.count >= 0.0 && bucket.count.is_finite()
        };
        if !buckets.iter().all(is_possible) {
            return refuse("buckets with a lower and a higher bound and a finite count");
        }
        let mut pairs = buckets.iter().zip(buckets.iter().skip(1));
        if pairs.any(|(low, high)| low.upper > high.lower) {
            return refuse("buckets that don't overlap");
        }
        let sum = sum.filter(|sum| sum.is_finite());
        Ok(Self { buckets, sum })
    }

    /// Returns the histogram of classic buckets: upper bounds with cumulative counts.
    ///
    /// # Errors
    /// When the bound `+Inf` is missing, a bound is not a number, or the counts fall.
    pub fn try_from_cumulative(mut bounds: Vec<(f64, f64)>, sum: Option<f64>) -> Result<Self> {
        bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
        if bounds.last().map(|(upper, _)| *upper) != Some(f64::INFINITY) {
            return Err(Error::malformed("a bucket up to +Inf", "a histogram"));
        }
        // A histogram whose lowest bound is positive holds durations or sizes, which have no negative values.
        let is_positive = bounds.first().is_some_and(|(upper, _)| *upper > 0.0);
        let mut lower = if is_positive { 0.0 } else { f64::NEG_INFINITY };
        let mut before = 0.0;
        let mut buckets = Vec::with_capacity(bounds.len());
        for (upper, cumulative) in bounds {
            let count = cumulative - before;
            if count.is_nan() || count < 0.0 {
                return Err(Error::malformed(
                    "counts that rise with their bounds",
                    "a histogram",
                ));
            }
            buckets.push(Bucket {
                lower,
                upper,
                count,
            });
            (lower, before) = (upper, cumulative);
        }
        Self::try_new(buckets, sum)
    }

    /// Returns the buckets, by their bounds.
    #[must_use]
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// Returns how many values there are.
    #[must_use]
    pub fn count(&self) -> f64 {
        self.buckets.iter().map(|bucket| bucket.count).sum()
    }

    /// Returns what was counted between `before` and this, and whether counting began anew in between.
    ///
    /// Native histograms become coarser while they live, never finer: so a bucket of `before` that lies in none of these, or a count
    /// that fell, means that the process began anew, and that all of this was counted since.
    #[must_use]
    pub fn since(&self, before: &Self) -> (Self, bool) {
        let mut left = self.buckets.clone();
        for old in before.buckets.iter().filter(|old| old.count > 0.0) {
            let holder = left
                .iter_mut()
                .find(|new| new.lower <= old.lower && old.upper <= new.upper);
            match holder {
                Some(new) if new.count >= old.count => new.count -= old.count,
                _ => return (self.clone(), true),
            }
        }
        let sum = match (self.sum, before.sum) {
            (Some(new), Some(old)) => Some(new - old),
            _ => None,
        };
        (Self { buckets: left, sum }, false)
    }

    /// Returns the sum of two histograms; buckets with the same bounds become one, others stay as they are.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let mut buckets = self.buckets.clone();
        for bucket in &other.buckets {
            let same = buckets
                .iter_mut()
                .find(|known| known.lower == bucket.lower && known.upper == bucket.upper);
            match same {
                Some(known) => known.count += bucket.count,
                None => buckets.push(*bucket),
            }
        }
        buckets.sort_by(|a, b| a.lower.total_cmp(&b.lower));
        let sum = match (self.sum, other.sum) {
            (Some(one), Some(two)) => Some(one + two),
            (Some(one), None) if other.buckets.is_empty() => Some(one),
            (None, Some(two)) if self.buckets.is_empty() => Some(two),
            (None | Some(_), None) | (None, Some(_)) => None,
        };
        Self { buckets, sum }
    }

    /// Returns the latencies in the form of the judges: bounds in microseconds, whole counts, filled buckets only.
    ///
    /// Bounds are rounded to the microsecond, so that neighbors stay neighbors. Buckets of two schemes may overlap; the judges know.
    #[must_use]
    pub fn to_latencies(&self, unit: Unit) -> Vec<Counted> {
        let filled = self.buckets.iter().filter(|bucket| bucket.count >= 0.5);
        let buckets = filled.map(|bucket| {
            let lower_us = unit.to_microseconds(bucket.lower);
            // Two bounds within one microsecond: the bucket gets all of it.
            let upper_us = unit.to_microseconds(bucket.upper);
            let upper_us = upper_us.max(lower_us.saturating_add(1));
            Counted {
                lower_us,
                upper_us,
                count: to_count(bucket.count),
            }
        });
        buckets.collect()
    }
}

impl Unit {
    pub(crate) fn to_microseconds(self, bound: f64) -> u64 {
        if bound == f64::INFINITY {
            return u64::MAX;
        }
        to_count(match self {
            Self::Seconds => bound * 1_000_000.0,
            Self::Milliseconds => bound * 1_000.0,
            Self::Microseconds => bound,
        })
    }
}

/// Turns the series of classic histograms into histograms, one for each time and set of labels besides `le`.
///
/// Other points stay as they are. Buckets that don't make a histogram (one was not scraped, `+Inf` is missing, counts fall) become a
/// value of another type, with the reason: a histogram without one of its buckets would look like a fast one.
#[must_use]
pub fn join_classic(points: Vec<Point>) -> Vec<Point> {
    let mut groups: BTreeMap<(Labels, Timestamp), Vec<(f64, Value)>> = BTreeMap::new();
    let mut bases: BTreeMap<Labels, Labels> = BTreeMap::new();
    let mut joined = Vec::new();
    for point in points {
        let Some(upper) = point.labels.get(LE).and_then(|le| le.parse::<f64>().ok()) else {
            joined.push(point);
            continue;
        };
        let base = bases
            .entry(point.labels.clone())
            .or_insert_with(|| point.labels.without(LE));
        let group = groups.entry((base.clone(), point.at)).or_default();
        group.push((upper, point.value));
    }
    // A series that is missing at one time and there at another: its histogram is not whole at that time.
    let mut widths: BTreeMap<Labels, usize> = BTreeMap::new();
    for ((labels, _), bounds) in &groups {
        let width = widths.entry(labels.clone()).or_default();
        *width = bounds.len().max(*width);
    }
    for ((labels, at), bounds) in groups {
        let is_whole = widths.get(&labels) == Some(&bounds.len());
        let value = join(bounds, is_whole);
        joined.push(Point { at, labels, value });
    }
    joined
}

fn join(bounds: Vec<(f64, Value)>, is_whole: bool) -> Value {
    let mut counts = Vec::with_capacity(bounds.len());
    for (upper, value) in bounds {
        match value {
            Value::Number(count) => counts.push((upper, count)),
            Value::NotFinite(_) | Value::Null | Value::Histogram(_) | Value::Other(_) => {
                return Value::Other("a histogram with a bucket that has no count".to_owned());
            }
        }
    }
    if !is_whole {
        return Value::Other("a histogram without one of its buckets".to_owned());
    }
    match Histogram::try_from_cumulative(counts, None) {
        Ok(histogram) => Value::Histogram(histogram),
        Err(error) => Value::Other(format!("not a histogram: {error}")),
    }
}

/// Returns the nearest count; none below zero, and no more than can be told apart.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float becomes the nearest value that fits"
)]
pub(crate) fn to_count(number: f64) -> u64 {
    libm::round(number).max(0.0) as u64
}

/// Floats as their bits: exact after a restart, infinite bounds included.
pub(crate) mod bits {
    use serde::{Deserialize as _, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
    pub(crate) fn serialize<S: Serializer>(number: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(number.to_bits())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        u64::deserialize(from).map(f64::from_bits)
    }
}

mod bits_or_none {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    #[expect(clippy::ref_option, reason = "serde's form")]
    pub(crate) fn serialize<S: Serializer>(number: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
        number.map(f64::to_bits).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(f64::from_bits))
    }
}

#[cfg(test)]
mod tests;
