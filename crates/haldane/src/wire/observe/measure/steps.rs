//! What was counted in steps of time, as systems without counters tell it: a step is used once, and only when it is over.
//!
//! A step counts as over when twice its length has passed since its time: some systems name a step by its beginning, and its data
//! takes a while to arrive.

use std::time::Duration;

use haldane_analysis::sequential::{Counts, Reading as Read};
use haldane_source::{Absence, Point, Value};
use jiff::Timestamp;

use super::{Answers, Gap, Measured, NAMES};

/// How many lengths of a step pass until it is over and told.
const LENGTHS: u32 = 2;

/// What was counted of both versions in the steps that are over, after `until`.
///
/// # Errors
/// When there is nothing of one version, or nothing new of both.
pub(super) fn take(
    arms: &[Answers; 2],
    step: Duration,
    until: Option<Timestamp>,
    now: Timestamp,
) -> Result<Measured, Gap> {
    let [stable, canary] = arms;
    let limit = over(stable, step, now, NAMES[0])?.min(over(canary, step, now, NAMES[1])?);
    let Some(from) = until else {
        return Err(Gap::Begun(limit));
    };
    if limit <= from {
        return Err(Gap::Repeated);
    }
    let [stable, canary] = [
        counts(stable, from, limit, NAMES[0]),
        counts(canary, from, limit, NAMES[1]),
    ];
    Ok(Measured {
        from,
        to: limit,
        skew: Duration::ZERO,
        stable: stable?,
        canary: canary?,
    })
}

/// Returns what all steps of an answer hold together.
///
/// # Errors
/// When there is nothing.
pub(super) fn total(answers: &Answers, of: &'static str) -> Result<Read, Gap> {
    let exposure = answers.exposure.as_ref().unwrap_or(&answers.events);
    let first = exposure.points.iter().map(|point| point.at).min();
    let last = exposure.points.iter().map(|point| point.at).max();
    let why = Absence::Empty;
    let (first, last) = first.zip(last).ok_or(Gap::Absent { of, why })?;
    counts(answers, first - Duration::from_nanos(1), last, of)
}

/// Returns the newest step of what could have happened that is over.
fn over(
    answers: &Answers,
    step: Duration,
    now: Timestamp,
    of: &'static str,
) -> Result<Timestamp, Gap> {
    let exposure = answers.exposure.as_ref().unwrap_or(&answers.events);
    let wait = step.saturating_mul(LENGTHS);
    let is_over = |point: &&Point| {
        let age = now.duration_since(point.at);
        !age.is_negative() && age.unsigned_abs() >= wait && point.value != Value::Null
    };
    let ends = exposure.points.iter().filter(is_over).map(|point| point.at);
    let why = Absence::Empty;
    ends.max().ok_or(Gap::Absent { of, why })
}

/// Returns what was counted after `from` up to `to`.
fn counts(
    answers: &Answers,
    from: Timestamp,
    to: Timestamp,
    of: &'static str,
) -> Result<Read, Gap> {
    let sum = |points: &[Point]| {
        let points = points
            .iter()
            .filter(|point| from < point.at && point.at <= to);
        points
            .map(|point| value(point, of))
            .sum::<Result<f64, Gap>>()
    };
    let events = sum(&answers.events.points)?;
    let exposure = match &answers.exposure {
        Some(reading) => sum(&reading.points)?,
        None => events,
    };
    let (exposure, events) = (whole(exposure), whole(events));
    Ok(Read::Counts(Counts { exposure, events }))
}

fn value(point: &Point, of: &'static str) -> Result<f64, Gap> {
    match point.value {
        Value::Number(number) if number >= 0.0 => Ok(number),
        // Nothing happened, in the words of most systems.
        Value::Null => Ok(0.0),
        Value::Number(_) => Err(Gap::Negative { of }),
        Value::NotFinite(_) | Value::Histogram(_) | Value::Other(_) => {
            Err(Gap::NoNumber { of, count: 1 })
        }
    }
}

/// Returns a sum of counts as one; estimated counts of sampling systems have fractions.
fn whole(sum: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounded and not negative; what is too large is the largest"
    )]
    let whole = sum.round() as u64;
    whole
}
