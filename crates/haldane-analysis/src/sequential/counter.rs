//! Counters: how much did each series grow?
//!
//! A counter only rises while its process lives, and begins again at zero with the next one. So growth is told per series and never from
//! sums: a lower value than before is the growth since a restart. A series seen for the first time tells nothing but where it stands,
//! unless its pod started after the rollout did: then all of it is growth. A series that is gone takes nothing back. After a gap in the
//! scrapes the growth over the whole gap counts once.
//!
//! **Invariant:** a value that is negative, infinite or not a number makes the whole reading missing; it is never taken for zero.

use std::collections::BTreeMap;

/// The most series of one version of one metric; with more, the reading is missing rather than incomplete.
pub const SERIES_MAX: usize = 10_000;

/// The counters of one version, as last read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    series: BTreeMap<String, f64>,
}

/// One series of one reading.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// What tells the series from the others: its labels.
    pub series: String,
    /// The counter's value.
    pub value: f64,
    /// Whether its process started after the rollout.
    pub is_new: bool,
}

/// Why a reading can't be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ReadingError {
    /// A value is negative, infinite or not a number.
    #[error("series {series} has the value {value}; a counter is a finite number from 0 on")]
    Value {
        /// The series.
        series: String,
        /// What it says.
        value: f64,
    },
    /// There are more than [`SERIES_MAX`] series.
    #[error("{found} series; expected at most {SERIES_MAX}")]
    Series {
        /// How many there are.
        found: usize,
    },
}

impl Counters {
    /// Returns counters that were never read.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a reading of all series, and returns by how much they grew together, rounded; `None` if no series was seen before.
    ///
    /// # Errors
    /// When a value can't be a counter's, or there are too many series; then nothing changes.
    pub fn advance(&mut self, points: &[Point]) -> Result<Option<u64>, ReadingError> {
        if points.len() > SERIES_MAX {
            return Err(ReadingError::Series {
                found: points.len(),
            });
        }
        let is_count = |value: f64| value.is_finite() && value >= 0.0;
        if let Some(point) = points.iter().find(|point| !is_count(point.value)) {
            return Err(ReadingError::Value {
                series: point.series.clone(),
                value: point.value,
            });
        }
        let growths = points.iter().filter_map(|point| {
            let before = self.series.get(&point.series).copied();
            growth(before, point)
        });
        let (count, sum) = growths.fold((0_u32, 0.0), |(count, sum), growth| {
            (count.saturating_add(1), sum + growth)
        });
        self.series = points
            .iter()
            .map(|point| (point.series.clone(), point.value))
            .collect();
        Ok((count > 0).then(|| super::real::count(sum)).flatten())
    }
}

/// Returns by how much one series grew, `None` if that is not known.
fn growth(before: Option<f64>, point: &Point) -> Option<f64> {
    match before {
        Some(before) if point.value >= before => Some(point.value - before),
        Some(_) => Some(point.value),
        None => point.is_new.then_some(point.value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(series: &str, value: f64) -> Point {
        Point {
            series: series.to_owned(),
            value,
            is_new: false,
        }
    }

    /// What each series says, and by how much all grew.
    type Read<'a> = (&'a [(&'a str, f64)], Option<u64>);

    fn check(readings: &[Read<'_>]) {
        let mut counters = Counters::new();
        for (points, expected) in readings {
            let points: Vec<_> = points
                .iter()
                .map(|(series, value)| point(series, *value))
                .collect();
            assert_eq!(
                counters.advance(&points).unwrap(),
                *expected,
                "{points:?} of {readings:?}"
            );
        }
    }

    #[test]
    fn growth_is_told_per_series() {
        check(&[
            (&[("a", 100.0), ("b", 50.0)], None),
            (&[("a", 110.0), ("b", 55.0)], Some(15)),
        ]);
    }

    #[test]
    fn a_counter_that_goes_backwards_began_again() {
        // By sums this would be a fall from 150 to 113.
        check(&[
            (&[("a", 100.0), ("b", 50.0)], None),
            (&[("a", 3.0), ("b", 60.0)], Some(13)),
        ]);
    }

    #[test]
    fn series_that_come_and_go_add_nothing() {
        check(&[
            (&[("a", 100.0)], None),
            (&[("a", 101.0), ("b", 5_000.0)], Some(1)),
            (&[("b", 5_002.0)], Some(2)),
            (&[], None),
        ]);
    }

    #[test]
    fn a_pod_of_the_rollout_counts_from_its_start() {
        let mut counters = Counters::new();
        let new = Point {
            is_new: true,
            ..point("c", 7.0)
        };
        assert_eq!(counters.advance(&[new]), Ok(Some(7)));
    }

    #[test]
    fn what_is_no_count_is_missing_and_changes_nothing() {
        let mut counters = Counters::new();
        counters.advance(&[point("a", 5.0)]).unwrap();
        for value in [f64::NAN, f64::INFINITY, -1.0] {
            assert!(counters.advance(&[point("a", value)]).is_err(), "{value}");
        }
        assert_eq!(counters.advance(&[point("a", 6.0)]), Ok(Some(1)));
        let many = vec![point("a", 1.0); SERIES_MAX + 1];
        assert!(counters.advance(&many).is_err());
    }
}
