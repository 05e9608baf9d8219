//! What a provider answered: points in time, each with its labels and a value that is told as what it is.
//!
//! A number is finite. Whatever else a provider sends (NaN, null, a text) stays visible as that, and [`Reading::one`] says why there is
//! no number: nobody has to guess whether a zero was one.
//!
//! **Invariant:** nothing that is not a finite number in the answer becomes one.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result, short},
    histogram::Histogram,
    json::Node,
};

/// The most points of one answer: as many as CloudWatch gives at once, and more than any judge uses.
pub const POINTS_MAX: usize = 100_800;

/// The most warnings kept of one answer.
pub const WARNINGS_MAX: usize = 16;

/// The most labels of one series; Prometheus installations usually allow 30 to 40.
const LABELS_MAX: usize = 128;

/// How far ahead of us a provider's clock may be.
pub const AHEAD_MAX: Duration = Duration::from_secs(30);

/// What a provider answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// The points, as the provider ordered them; series by series, usually.
    pub points: Vec<Point>,
    /// What the provider warns of, in its words.
    pub warnings: Vec<String>,
    /// Why the answer is not whole; `None` if it is.
    pub partial: Option<String>,
    /// Where the next page begins, if there is one.
    pub next: Option<Page>,
}

/// One value of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// When it was measured, or for which time it was computed.
    pub at: Timestamp,
    /// Which series it belongs to.
    pub labels: Labels,
    /// The value.
    pub value: Value,
}

/// A value, or what is in its place.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A finite number.
    Number(f64),
    /// A number that isn't one, or has no end.
    NotFinite(NotFinite),
    /// The provider has a point here, but no value.
    Null,
    /// A distribution.
    Histogram(Histogram),
    /// Something else: a text, a boolean, a list; the beginning of it.
    Other(String),
}

/// A float that is not a number to calculate with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFinite {
    /// Not a number: 0/0.
    NaN,
    /// Above all numbers.
    PlusInfinity,
    /// Below all numbers.
    MinusInfinity,
}

/// The names and values that tell one series from another.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Labels(Arc<BTreeMap<String, String>>);

/// Where the next page of an answer begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page(pub(crate) String);

/// A number and when it was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number {
    /// When.
    pub at: Timestamp,
    /// The number; finite.
    pub value: f64,
}

/// Why a reading holds no number to judge by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Absence {
    /// There is no point at all.
    #[error("no data")]
    Empty,
    /// The newest point is too old.
    #[error("the newest value is {} s old", age.as_secs())]
    Stale {
        /// How old.
        age: Duration,
    },
    /// The newest point is in the future: the clocks disagree.
    #[error("the newest value is {} s ahead of our clock", by.as_secs())]
    Ahead {
        /// By how much.
        by: Duration,
    },
    /// The newest point has no value.
    #[error("the newest value is null")]
    Null,
    /// The newest value is NaN or infinite.
    #[error("the newest value is {0}")]
    NotFinite(NotFinite),
    /// The newest value is not a number.
    #[error("the newest value is {found}, not a number")]
    WrongType {
        /// What it is.
        found: String,
    },
    /// The answer is not whole.
    #[error("the answer is partial: {reason}")]
    Partial {
        /// What the provider says.
        reason: String,
    },
    /// There is more than one series, and no telling which is meant.
    #[error("{series} series, where one was expected")]
    Several {
        /// How many.
        series: usize,
    },
    /// One series has two values for the same time.
    #[error("two values for the same time")]
    Ambiguous,
}

impl Reading {
    /// Returns the newest number of the only series.
    ///
    /// # Errors
    /// When there is none, for a reason that is never the same as a bad value.
    pub fn one(&self, now: Timestamp, age_max: Duration) -> Result<Number, Absence> {
        let mut newest = self.newest(now, age_max)?;
        match (newest.pop(), newest.len()) {
            (Some((_, number)), 0) => Ok(number),
            (Some(_), rest) => Err(Absence::Several {
                series: rest.saturating_add(1),
            }),
            (None, _) => Err(Absence::Empty),
        }
    }

    /// Returns the newest number of each series, in the order of their labels.
    ///
    /// # Errors
    /// When the answer is partial or empty, or when the newest point of one series is not a fresh number.
    pub fn newest(
        &self,
        now: Timestamp,
        age_max: Duration,
    ) -> Result<Vec<(Labels, Number)>, Absence> {
        if let Some(reason) = &self.partial {
            let reason = reason.clone();
            return Err(Absence::Partial { reason });
        }
        if self.next.is_some() {
            let reason = "there are more pages".to_owned();
            return Err(Absence::Partial { reason });
        }
        let mut newest: BTreeMap<&Labels, &Point> = BTreeMap::new();
        for point in &self.points {
            let known = newest.entry(&point.labels).or_insert(point);
            if known.at == point.at && known.value != point.value {
                return Err(Absence::Ambiguous);
            }
            if known.at < point.at {
                *known = point;
            }
        }
        if newest.is_empty() {
            return Err(Absence::Empty);
        }
        let numbers = newest.into_iter().map(|(labels, point)| {
            let number = point.fresh(now, age_max)?;
            Ok((labels.clone(), number))
        });
        numbers.collect()
    }

    /// Returns the reading if it is whole.
    ///
    /// # Errors
    /// When a part is missing, or a page was not read.
    pub fn whole(self) -> Result<Self> {
        let reason = match (&self.partial, &self.next) {
            (None, None) => return Ok(self),
            (Some(reason), _) => reason.clone(),
            (None, Some(_)) => "there are more pages".to_owned(),
        };
        Err(Error::Partial { message: reason })
    }

    /// Adds the points of the next page.
    ///
    /// # Errors
    /// When there are too many points in all.
    pub fn append(&mut self, page: Self) -> Result<()> {
        for point in page.points {
            self.push(point)?;
        }
        for warning in page.warnings {
            self.warn(&warning);
        }
        self.partial = self.partial.take().or(page.partial);
        self.next = page.next;
        Ok(())
    }

    /// Adds a point.
    pub(crate) fn push(&mut self, point: Point) -> Result<()> {
        if self.points.len() >= POINTS_MAX {
            return Err(Error::TooLarge {
                what: "points",
                max: POINTS_MAX,
            });
        }
        self.points.push(point);
        Ok(())
    }

    /// Adds a warning, up to [`WARNINGS_MAX`].
    pub(crate) fn warn(&mut self, text: &str) {
        if self.warnings.len() < WARNINGS_MAX {
            self.warnings.push(short(text));
        }
    }

    /// Says that the answer is not whole.
    pub(crate) fn partial(&mut self, reason: &str) {
        self.partial.get_or_insert_with(|| short(reason));
    }

    /// Says where the next page begins; an empty place means that there is none.
    pub(crate) fn next_page(&mut self, place: Option<&str>) {
        let place = place.filter(|place| !place.is_empty());
        self.next = place.map(|place| Page(place.to_owned()));
    }
}

impl Point {
    fn fresh(&self, now: Timestamp, age_max: Duration) -> Result<Number, Absence> {
        let age = now.duration_since(self.at);
        if age.is_negative() && age.unsigned_abs() > AHEAD_MAX {
            let by = age.unsigned_abs();
            return Err(Absence::Ahead { by });
        }
        if !age.is_negative() && age.unsigned_abs() > age_max {
            let age = age.unsigned_abs();
            return Err(Absence::Stale { age });
        }
        match &self.value {
            Value::Number(value) => Ok(Number {
                at: self.at,
                value: *value,
            }),
            Value::NotFinite(what) => Err(Absence::NotFinite(*what)),
            Value::Null => Err(Absence::Null),
            Value::Histogram(_) => Err(Absence::WrongType {
                found: "a histogram".to_owned(),
            }),
            Value::Other(text) => Err(Absence::WrongType {
                found: text.clone(),
            }),
        }
    }
}

impl Value {
    /// Returns the value of a float.
    #[must_use]
    pub const fn of(number: f64) -> Self {
        if number.is_nan() {
            Self::NotFinite(NotFinite::NaN)
        } else if number.is_finite() {
            Self::Number(number)
        } else if number > 0.0 {
            Self::NotFinite(NotFinite::PlusInfinity)
        } else {
            Self::NotFinite(NotFinite::MinusInfinity)
        }
    }

    /// Returns the value of a text that holds a number, as Prometheus and CSV write them; nothing is null.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        let text = text.trim();
        if text.is_empty() {
            return Self::Null;
        }
        text.parse()
            .map_or_else(|_| Self::Other(format!("{:?}", short(text))), Self::of)
    }

    /// Returns the value of a JSON value, where a text that holds a number is one.
    pub(crate) fn of_json_or_text(value: &serde_json::Value) -> Self {
        value
            .as_str()
            .map_or_else(|| Self::of_json(value), Self::of_text)
    }

    /// Returns the value of a JSON value, which is a number only if it is one in JSON.
    pub(crate) fn of_json(value: &serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Number(number) => number.as_f64().map_or(Self::Null, Self::of),
            serde_json::Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
                "nan" => Self::NotFinite(NotFinite::NaN),
                "infinity" | "+infinity" | "inf" | "+inf" => {
                    Self::NotFinite(NotFinite::PlusInfinity)
                }
                "-infinity" | "-inf" => Self::NotFinite(NotFinite::MinusInfinity),
                _ => Self::Other(format!("{:?}", short(text))),
            },
            serde_json::Value::Bool(_)
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_) => Self::Other(short(&value.to_string())),
        }
    }
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NaN => "NaN",
            Self::PlusInfinity => "+Inf",
            Self::MinusInfinity => "-Inf",
        })
    }
}

impl Labels {
    /// Returns the value of one label.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns names and values in the order of the names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        let pairs = self.0.iter();
        pairs.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns these without one.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        let mut labels = self.0.as_ref().clone();
        labels.remove(name);
        Self(Arc::new(labels))
    }

    /// Checks that a series has no more labels than a series may have: each of its points goes by them.
    pub(crate) const fn check_count(count: usize) -> Result<()> {
        if count > LABELS_MAX {
            return Err(Error::TooLarge {
                what: "labels",
                max: LABELS_MAX,
            });
        }
        Ok(())
    }

    /// Reads the members of a JSON object; values that are not texts are written as JSON, null is left out.
    pub(crate) fn of_json(node: Node<'_>) -> Result<Self> {
        let members = node.members()?;
        Self::check_count(members.len())?;
        let pairs = members.filter(|(_, node)| !node.value().is_null());
        let pairs = pairs.map(|(name, node)| {
            let text = node.value().as_str().map(str::to_owned);
            let text = text.unwrap_or_else(|| short(&node.value().to_string()));
            (name.to_owned(), text)
        });
        Ok(pairs.collect())
    }
}

impl FromIterator<(String, String)> for Labels {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(Arc::new(pairs.into_iter().collect()))
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Labels {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter();
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }
}

impl From<BTreeMap<String, String>> for Labels {
    fn from(labels: BTreeMap<String, String>) -> Self {
        Self(Arc::new(labels))
    }
}

impl From<Labels> for BTreeMap<String, String> {
    fn from(labels: Labels) -> Self {
        labels.0.as_ref().clone()
    }
}

impl fmt::Display for Labels {
    /// Writes `{a="1", b="2"}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self.iter().map(|(n, v)| format!("{n}={v:?}")).collect();
        write!(f, "{{{}}}", pairs.join(", "))
    }
}

impl Page {
    /// Returns the provider's token.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn point(second: i64, name: &str, value: Value) -> Point {
        Point {
            at: at(second),
            labels: [("pod", name)].into_iter().collect(),
            value,
        }
    }

    fn one(points: Vec<Point>) -> Result<f64, Absence> {
        let reading = Reading {
            points,
            ..Reading::default()
        };
        let number = reading.one(at(100), Duration::from_secs(20));
        number.map(|number| number.value)
    }

    #[test]
    fn the_newest_number_counts() {
        let points = vec![
            point(90, "a", Value::of(2.0)),
            point(95, "a", Value::of(3.0)),
            point(80, "a", Value::Null),
        ];
        assert_eq!(one(points), Ok(3.0));
    }

    #[test]
    fn each_reason_for_no_number_is_told_apart() {
        let check = |points, expected| assert_eq!(one(points), Err(expected));
        check(vec![], Absence::Empty);
        let age = Duration::from_secs(21);
        check(vec![point(79, "a", Value::of(0.0))], Absence::Stale { age });
        let by = Duration::from_secs(31);
        check(vec![point(131, "a", Value::of(0.0))], Absence::Ahead { by });
        check(vec![point(99, "a", Value::Null)], Absence::Null);
        check(
            vec![point(90, "a", Value::of(1.0)), point(99, "a", Value::Null)],
            Absence::Null,
        );
        check(
            vec![point(99, "a", Value::of(f64::NAN))],
            Absence::NotFinite(NotFinite::NaN),
        );
        check(
            vec![point(99, "a", Value::of(f64::NEG_INFINITY))],
            Absence::NotFinite(NotFinite::MinusInfinity),
        );
        check(
            vec![point(99, "a", Value::of_text("high"))],
            Absence::WrongType {
                found: "\"high\"".to_owned(),
            },
        );
        check(
            vec![
                point(99, "a", Value::of(1.0)),
                point(99, "b", Value::of(1.0)),
            ],
            Absence::Several { series: 2 },
        );
        check(
            vec![
                point(99, "a", Value::of(1.0)),
                point(99, "a", Value::of(2.0)),
            ],
            Absence::Ambiguous,
        );
        // The same sample twice is one.
        assert_eq!(
            one(vec![
                point(99, "a", Value::of(1.0)),
                point(99, "a", Value::of(1.0)),
            ]),
            Ok(1.0)
        );
    }

    #[test]
    fn a_partial_answer_is_no_number() {
        let mut reading = Reading {
            points: vec![point(99, "a", Value::of(1.0))],
            ..Reading::default()
        };
        reading.partial("two of three stores answered");
        assert!(matches!(
            reading.one(at(100), Duration::from_secs(20)),
            Err(Absence::Partial { .. })
        ));
        let message = "two of three stores answered".to_owned();
        assert_eq!(reading.clone().whole(), Err(Error::Partial { message }));
        reading.partial = None;
        assert!(reading.clone().whole().is_ok());
        reading.next_page(Some("2"));
        assert!(reading.one(at(100), Duration::from_secs(20)).is_err());
        assert!(reading.whole().is_err());
    }

    #[test]
    fn points_are_bounded_over_all_pages() {
        let page = |count: usize| Reading {
            points: vec![point(1, "a", Value::of(1.0)); count],
            ..Reading::default()
        };
        let mut reading = page(POINTS_MAX);
        assert!(reading.append(page(1)).is_err());
        let mut reading = page(1);
        let mut last = page(1);
        last.next_page(Some("more"));
        reading.append(last).unwrap();
        assert_eq!((reading.points.len(), reading.next.is_some()), (2, true));
    }

    #[test]
    fn a_json_text_is_no_number() {
        let of = |text: &str| Value::of_json(&serde_json::from_str(text).unwrap());
        assert_eq!(of("1.5"), Value::Number(1.5));
        assert_eq!(of("null"), Value::Null);
        assert_eq!(of("\"1.5\""), Value::Other("\"1.5\"".to_owned()));
        assert_eq!(of("\"NaN\""), Value::NotFinite(NotFinite::NaN));
        assert_eq!(of("true"), Value::Other("true".to_owned()));
    }
}
