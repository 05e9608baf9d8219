//! The time that a query covers.

use std::time::Duration;

use jiff::Timestamp;

use crate::error::{Error, Result};

/// The most points of one series: what Prometheus allows in a range.
pub const STEPS_MAX: u64 = 11_000;

/// The time that a query covers, and the distance of the points asked for.
///
/// A query for one value gives it as of the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    from: Timestamp,
    to: Timestamp,
    step: Duration,
}

impl Window {
    /// Returns the window from `from` to `to` in steps of `step`.
    ///
    /// # Errors
    /// When it covers no time, the step is below a second, or there are more than [`STEPS_MAX`] steps.
    pub fn try_new(from: Timestamp, to: Timestamp, step: Duration) -> Result<Self> {
        let refuse = |why: &str| Err(Error::invalid("the window", why));
        if to <= from {
            return refuse("expected it to end after it begins");
        }
        if from < Timestamp::UNIX_EPOCH {
            return refuse("expected it to begin after 1970");
        }
        if step < Duration::from_secs(1) {
            return refuse("expected a step of at least a second");
        }
        let window = Self { from, to, step };
        let steps = window.length().as_secs().checked_div(step.as_secs());
        if steps.is_none_or(|steps| steps > STEPS_MAX) {
            return refuse("expected at most 11000 steps");
        }
        Ok(window)
    }

    /// Returns the beginning.
    #[must_use]
    pub const fn from(&self) -> Timestamp {
        self.from
    }

    /// Returns the end.
    #[must_use]
    pub const fn to(&self) -> Timestamp {
        self.to
    }

    /// Returns the distance of the points asked for.
    #[must_use]
    pub const fn step(&self) -> Duration {
        self.step
    }

    /// Returns how much time it covers.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.to.duration_since(self.from).unsigned_abs()
    }

    /// Returns the step in whole seconds, at least one.
    pub(crate) fn step_seconds(&self) -> u64 {
        self.step.as_secs().max(1)
    }
}

/// Returns seconds since 1970 with milliseconds, as Prometheus reads them.
pub(crate) fn seconds(at: Timestamp) -> String {
    let milliseconds = at.as_millisecond();
    let whole = milliseconds.div_euclid(1_000);
    match milliseconds.rem_euclid(1_000) {
        0 => whole.to_string(),
        rest => format!("{whole}.{rest:03}"),
    }
}

/// Returns the time of `seconds` since 1970, to the millisecond.
pub(crate) fn from_seconds(seconds: f64) -> Option<Timestamp> {
    from_milliseconds_float(seconds * 1_000.0)
}

/// Returns the time of `milliseconds` since 1970, which providers send as integers and as floats.
pub(crate) fn from_milliseconds_float(milliseconds: f64) -> Option<Timestamp> {
    let rounded = libm::round(milliseconds);
    // From 1970 to the year 9999; NaN is not within.
    if !(0.0..=253_402_300_799_999.0).contains(&rounded) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounded, and far below 2⁵³"
    )]
    let milliseconds = rounded as i64;
    Timestamp::from_millisecond(milliseconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_window_that_makes_no_sense_is_refused() {
        let second = Duration::from_secs(1);
        assert!(Window::try_new(at(10), at(10), second).is_err());
        assert!(Window::try_new(at(10), at(9), second).is_err());
        assert!(Window::try_new(at(-5), at(9), second).is_err());
        assert!(Window::try_new(at(0), at(9), Duration::ZERO).is_err());
        assert!(Window::try_new(at(0), at(11_001), second).is_err());
        assert!(Window::try_new(at(0), at(11_000), second).is_ok());
    }

    #[test]
    fn times_keep_their_milliseconds() {
        let time = Timestamp::from_millisecond(1_700_000_000_007).unwrap();
        assert_eq!(seconds(time), "1700000000.007");
        assert_eq!(seconds(at(12)), "12");
        assert_eq!(from_seconds(1_700_000_000.007), Some(time));
        assert_eq!(from_milliseconds_float(1_700_000_000_007.0), Some(time));
        for milliseconds in (1_700_000_000_000_i64..).step_by(37).take(1_000) {
            let time = Timestamp::from_millisecond(milliseconds).unwrap();
            assert_eq!(from_seconds(seconds(time).parse().unwrap()), Some(time));
        }
        assert_eq!(from_seconds(f64::NAN), None);
        assert_eq!(from_seconds(1e300), None);
    }
}
