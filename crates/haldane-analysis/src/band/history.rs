//! What is known of a metric: one value for every five minutes of the last eight weeks, by the hour of the week.
//!
//! The value of five minutes is what stable showed in them. Hours are UTC's: an hour is an hour when clocks are put forward or back, and
//! a service whose users live by another clock has the band of the hour before for the week or two after.
//!
//! What is usual is, in this order, what the first of these tells: the same hour of the same day of the week, from three weeks on; the
//! same hour of any day, from three days on; all of the last week, from a day on. Each needs two dozen values. Median and median
//! absolute deviation take no notice of an incident in fewer than half of them, so nothing has to be left out for them.
//!
//! **Invariant:** at most [`WEEKS_MAX`] weeks are kept, and none from the future: a clock that was wrong leaves nothing behind that
//! counts once it is right.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Measure, short};

/// The time that one value stands for.
pub const SLOT: SignedDuration = SignedDuration::from_mins(5);

/// The weeks that are kept.
pub const WEEKS_MAX: usize = 8;

/// The hours of a week.
pub const HOURS: u8 = 168;

/// The fewest values that make a band: two hours of them.
const VALUES_MIN: usize = 24;

/// How many weeks of the same hour tell what is usual at it.
const WEEKS_MIN: usize = 3;

/// How many days of the same hour do.
const DAYS_MIN: usize = 3;

/// For how long anything must be known before anything is called unusual.
const RECENT_MIN_HOURS: i64 = 24;

/// How far back all hours count alike.
const RECENT_HOURS: i64 = 168;

/// The values of an hour.
const SLOTS: usize = 12;

/// How many usual deviations a band reaches to either side.
///
/// The tails of real metrics are heavier than a bell's: with three, a healthy service would leave its bands every other day.
const REACH: u64 = 5;

/// What is usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Band {
    /// The middle.
    pub median: u64,
    /// Less is unusual.
    pub low: u64,
    /// More is unusual.
    pub high: u64,
    /// Of how many values it is made.
    pub values: u32,
    /// Of which time.
    pub span: Span,
}

/// Of which time a band is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Span {
    /// The same hour of so many weeks.
    Weeks(u32),
    /// The same hour of so many days.
    Days(u32),
    /// All hours of so many days.
    Recent(u32),
}

/// What is known of one metric, or as much of it as was put in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    cells: BTreeMap<u8, Cell>,
}

/// What is known of one hour of the week.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Week>", into = "Vec<Week>")]
pub struct Cell {
    /// Oldest first.
    weeks: Vec<Week>,
}

/// One hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Week {
    /// Which week, counted from the first Monday of 1970 (or, before it, down from there).
    week: i64,
    slots: Slots,
}

/// The values of an hour in their short form; stored as digits to base sixteen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Slots([u16; SLOTS]);

/// Why what was stored is no hour.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum CellError {
    /// There are more weeks than are kept, or not one after the other.
    #[error("expected at most {WEEKS_MAX} weeks in their order")]
    Weeks,
    /// An hour's values are not as they are written.
    #[error("expected {} digits to base sixteen", SLOTS * DIGITS)]
    Digits,
}

/// Stands where nothing was learned; no number has this form.
const NOTHING: u16 = u16::MAX;

/// The digits of one value.
const DIGITS: usize = 4;

/// Returns the number of the hour within its week, from Monday's first.
#[must_use]
pub fn hour_of_week(at: Timestamp) -> u8 {
    let hour = hours(at).rem_euclid(i64::from(HOURS));
    u8::try_from(hour).unwrap_or(0)
}

/// Returns the number of the five minutes that a time lies in.
#[must_use]
pub fn slot(at: Timestamp) -> i64 {
    at.as_second().div_euclid(SLOT.as_secs())
}

/// Returns the hours since the Monday before 1970 began.
fn hours(at: Timestamp) -> i64 {
    // 1970 began on a Thursday.
    const MONDAY: i64 = 72;
    at.as_second().div_euclid(3_600).saturating_add(MONDAY)
}

fn week(at: Timestamp) -> i64 {
    hours(at).div_euclid(i64::from(HOURS))
}

impl History {
    /// Takes in what is known of an hour of the week; there is no hour beyond [`HOURS`].
    pub fn put(&mut self, hour: u8, cell: Cell) {
        if hour < HOURS {
            self.cells.insert(hour, cell);
        }
    }

    /// Returns what is known of an hour of the week.
    #[must_use]
    pub fn cell(&self, hour: u8) -> Option<&Cell> {
        self.cells.get(&hour)
    }

    /// Learns the value of the five minutes that a time lies in; the later of two values stays.
    pub fn learn(&mut self, at: Timestamp, value: u64) {
        let cell = self.cells.entry(hour_of_week(at)).or_default();
        cell.learn(at, value);
    }

    /// Returns what is usual at a time; `None` if there is not enough history.
    #[must_use]
    pub fn band(&self, measure: Measure, at: Timestamp) -> Option<Band> {
        let spans = [self.weeks(at), self.days(at), self.recent(at)];
        let (values, span) = spans.into_iter().flatten().next()?;
        Some(around(measure, values, span))
    }

    /// Returns the values of the same hour of the week.
    fn weeks(&self, at: Timestamp) -> Option<(Vec<u64>, Span)> {
        let cell = self.cells.get(&hour_of_week(at))?;
        let known: Vec<&Week> = cell.kept(week(at)).collect();
        let values = values(known.iter().copied());
        let is_enough = known.len() >= WEEKS_MIN && values.len() >= VALUES_MIN;
        is_enough.then(|| (values, Span::Weeks(count(known.len()))))
    }

    /// Returns the values of the same hour of any day.
    fn days(&self, at: Timestamp) -> Option<(Vec<u64>, Span)> {
        let hour_of_day = |hour: u8| hour % 24;
        let same = hour_of_day(hour_of_week(at));
        let cells = self.cells.iter();
        let cells = cells.filter(|(hour, _)| hour_of_day(**hour) == same);
        let known: Vec<&Week> = cells.flat_map(|(_, cell)| cell.kept(week(at))).collect();
        let values = values(known.iter().copied());
        let is_enough = known.len() >= DAYS_MIN && values.len() >= VALUES_MIN;
        is_enough.then(|| (values, Span::Days(count(known.len()))))
    }

    /// Returns all values of the last days.
    fn recent(&self, at: Timestamp) -> Option<(Vec<u64>, Span)> {
        let now = hours(at);
        let known = self.cells.iter().flat_map(|(hour, cell)| {
            let hour_in = |week: i64| {
                week.saturating_mul(i64::from(HOURS))
                    .saturating_add(i64::from(*hour))
            };
            cell.weeks
                .iter()
                .map(move |week| (hour_in(week.week), week))
        });
        let is_recent = |hour: i64| hour <= now && now.saturating_sub(hour) < RECENT_HOURS;
        let known: Vec<(i64, &Week)> = known.filter(|(hour, _)| is_recent(*hour)).collect();
        let oldest = known.iter().map(|(hour, _)| *hour).min()?;
        let days: BTreeSet<i64> = known.iter().map(|(hour, _)| hour.div_euclid(24)).collect();
        let values = values(known.iter().map(|(_, week)| *week));
        let is_enough =
            now.saturating_sub(oldest) >= RECENT_MIN_HOURS && values.len() >= VALUES_MIN;
        is_enough.then(|| (values, Span::Recent(count(days.len()))))
    }
}

impl Cell {
    fn learn(&mut self, at: Timestamp, value: u64) {
        let number = week(at);
        let is_kept = |week: i64| week <= number && number.saturating_sub(week) < weeks_max();
        self.weeks.retain(|known| is_kept(known.week));
        if self.weeks.last().is_none_or(|last| last.week != number) {
            self.weeks.push(Week {
                week: number,
                slots: Slots([NOTHING; SLOTS]),
            });
        }
        let of_hour = slot(at).rem_euclid(i64::try_from(SLOTS).unwrap_or(1));
        let slots = self.weeks.last_mut().map(|week| &mut week.slots.0);
        let place = slots.and_then(|slots| slots.get_mut(usize::try_from(of_hour).ok()?));
        if let Some(place) = place {
            *place = short::write(value);
        }
    }

    /// Returns the weeks that count at the time of this one.
    fn kept(&self, now: i64) -> impl Iterator<Item = &Week> {
        let is_kept =
            move |week: &&Week| week.week <= now && now.saturating_sub(week.week) < weeks_max();
        self.weeks.iter().filter(is_kept)
    }
}

fn weeks_max() -> i64 {
    i64::try_from(WEEKS_MAX).unwrap_or(i64::MAX)
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn values<'a>(weeks: impl Iterator<Item = &'a Week>) -> Vec<u64> {
    let slots = weeks.flat_map(|week| week.slots.0);
    slots
        .filter(|short| *short != NOTHING)
        .map(short::read)
        .collect()
}

/// Returns the band around the middle of these values.
fn around(measure: Measure, mut values: Vec<u64>, span: Span) -> Band {
    let median = median(&mut values);
    let mut deviations: Vec<u64> = values.iter().map(|value| value.abs_diff(median)).collect();
    let deviation = self::median(&mut deviations);
    // Of a bell the median deviation is 0.6745 of the standard one.
    let standard = u128::from(deviation).saturating_mul(14_826) / 10_000;
    let reach = u64::try_from(standard.saturating_mul(u128::from(REACH))).unwrap_or(u64::MAX);
    let reach = reach.max(measure.reach_min(median));
    Band {
        median,
        low: median.saturating_sub(reach),
        high: median.saturating_add(reach),
        values: count(values.len()),
        span,
    }
}

/// Returns the middle of values, the lower one of two; 0 of none.
fn median(values: &mut [u64]) -> u64 {
    values.sort_unstable();
    let middle = values.len().saturating_sub(1) / 2;
    values.get(middle).copied().unwrap_or(0)
}

impl TryFrom<Vec<Week>> for Cell {
    type Error = CellError;

    fn try_from(weeks: Vec<Week>) -> Result<Self, CellError> {
        let is_ascending = weeks.is_sorted_by(|one, next| one.week < next.week);
        if weeks.len() > WEEKS_MAX || !is_ascending {
            return Err(CellError::Weeks);
        }
        Ok(Self { weeks })
    }
}

impl From<Cell> for Vec<Week> {
    fn from(cell: Cell) -> Self {
        cell.weeks
    }
}

impl TryFrom<String> for Slots {
    type Error = CellError;

    fn try_from(text: String) -> Result<Self, CellError> {
        let is_written = text.len() == SLOTS.saturating_mul(DIGITS)
            && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_written {
            return Err(CellError::Digits);
        }
        let mut slots = [NOTHING; SLOTS];
        for (index, place) in slots.iter_mut().enumerate() {
            let from = index.saturating_mul(DIGITS);
            let digits = text.get(from..from.saturating_add(DIGITS));
            let number = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
            *place = number.ok_or(CellError::Digits)?;
        }
        Ok(Self(slots))
    }
}

impl From<Slots> for String {
    fn from(slots: Slots) -> Self {
        let digits = slots.0.iter().map(|short| format!("{short:04x}"));
        digits.collect()
    }
}
