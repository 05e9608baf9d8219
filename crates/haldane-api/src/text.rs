//! Short forms: times, shares, sizes and limits as people write them, and back.
//!
//! Numbers are read by hand into fixed point: a float would turn `0.07%` into something near it, and two readers of one file into
//! two plans. What a number cannot say exactly is refused, never rounded.
//!
//! ```
//! use std::time::Duration;
//! use haldane_api::text::{parse_duration, parse_duration_or, show_duration, Unit};
//!
//! assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5_400)));
//! assert_eq!(parse_duration_or("5", Unit::Minutes), Ok(Duration::from_secs(300)));
//! assert_eq!(show_duration(Duration::from_secs(300)), "5m");
//! assert_eq!(parse_duration("5").unwrap_err().to_string(), r#""5" has no unit; expected a time such as 5m"#);
//! ```

use std::time::Duration;

use haldane_core::{
    Weight,
    guard::{self, Limit, Metric},
};

use crate::tree::shorten;

/// The unit that a bare number has where the caller allows one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Minutes.
    Minutes,
}

/// Why a text is not what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// A bare number where the unit matters.
    #[error("{text:?} has no unit; expected {expected}")]
    NoUnit {
        /// The text, cut to a length that fits a message.
        text: String,
        /// What would have been right.
        expected: &'static str,
    },
    /// Not a number with one of the units.
    #[error("cannot read {text:?}; expected {expected}")]
    Unreadable {
        /// The text, cut to a length that fits a message.
        text: String,
        /// What would have been right.
        expected: &'static str,
    },
    /// More digits than can be kept.
    #[error("{text:?} is finer than {finest}; expected fewer digits")]
    TooFine {
        /// The text, cut to a length that fits a message.
        text: String,
        /// The smallest difference that is kept.
        finest: &'static str,
    },
    /// More than can be meant.
    #[error("{text:?} is too large; expected {expected}")]
    TooLarge {
        /// The text, cut to a length that fits a message.
        text: String,
        /// What would have been right.
        expected: &'static str,
    },
}

/// What a quantity is called in messages.
struct Words {
    expected: &'static str,
    finest: &'static str,
    most: &'static str,
}

const TIME: Words = Words {
    expected: "a time such as 5m",
    finest: "a nanosecond",
    most: "at most 8784h (a year)",
};
const LATENCY: Words = Words {
    expected: "a time such as 500ms",
    finest: "a microsecond",
    most: "a shorter time",
};
const WEIGHT: Words = Words {
    expected: "a share such as 5%",
    finest: "0.01%",
    most: "at most 100%",
};
const SHARE: Words = Words {
    expected: "a share such as 5%",
    finest: "0.0001%",
    most: "at most 100%",
};
const PROCESSOR: Words = Words {
    expected: "a share of a processor such as 80%",
    finest: "0.0001%",
    most: "a smaller share",
};
const BYTES: Words = Words {
    expected: "a size such as 64MiB",
    finest: "a byte",
    most: "a smaller size",
};
const NUMBER: Words = Words {
    expected: "a number such as 250 or 0.5, or a size such as 512MiB",
    finest: "0.001",
    most: "a smaller number",
};
const COUNT: Words = Words {
    expected: "a number such as 2",
    finest: "1",
    most: "a smaller number",
};
const MULTIPLE: Words = Words {
    expected: "a multiple of stable's value such as 2x or +50%",
    finest: "0.001x",
    most: "a smaller multiple",
};
const POINTS: Words = Words {
    expected: "percentage points above stable's share such as +5pp",
    finest: "0.0001pp",
    most: "fewer points",
};

/// The longest time: far more than any field allows, and small enough that sums of times stay in range.
const TIME_MAX_NANOS: u128 = 366 * 24 * 3_600 * 1_000_000_000;

/// Units of time in nanoseconds, longest first.
const TIME_UNITS: [(&str, u128); 8] = [
    ("d", 24 * 3_600 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("ns", 1),
];

/// Units of size in bytes.
const BYTE_UNITS: [(&str, u128); 14] = [
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
];

/// Reads a time: `500ms`, `1.5s`, `5m`, `1h30m`, `7d`.
///
/// # Errors
/// When a unit is missing or unknown, or the time is finer than a nanosecond or longer than a year.
pub fn parse_duration(text: &str) -> Result<Duration, TextError> {
    let nanos = time(text, &TIME)?;
    to_duration(nanos).ok_or_else(|| TIME.too_large(text))
}

/// Reads a time whose bare number has the given unit, as the deploy script's options have it.
///
/// # Errors
/// As for [`parse_duration`], except that a number without unit is fine.
pub fn parse_duration_or(text: &str, unit: Unit) -> Result<Duration, TextError> {
    let is_bare = text.trim().chars().all(|c| c.is_ascii_digit() || c == '.');
    if !is_bare {
        return parse_duration(text);
    }
    let nanos_per_unit = match unit {
        Unit::Seconds => 1_000_000_000,
        Unit::Minutes => 60 * 1_000_000_000,
    };
    let nanos = fixed(text.trim(), nanos_per_unit).map_err(|bad| TIME.error(text, bad))?;
    to_duration(nanos).ok_or_else(|| TIME.too_large(text))
}

/// Reads a weight: `5%`, `12.5%`, `0.01%`.
///
/// # Errors
/// When the percent sign is missing, or the share is finer than 0.01 % or more than 100 %.
pub fn parse_weight(text: &str) -> Result<Weight, TextError> {
    let bps = percent(text, 100, &WEIGHT)?;
    to_weight(bps).ok_or_else(|| WEIGHT.too_large(text))
}

/// Reads shares in percent with commas between, as the deploy script's option has them: `5,25,50,100`, `5%,25%`.
///
/// # Errors
/// When one of them is no share.
pub fn parse_share_list(text: &str) -> Result<Vec<Weight>, TextError> {
    let share = |part: &str| {
        let number = part.trim();
        let number = number.strip_suffix('%').unwrap_or(number).trim_end();
        let bps = fixed(number, 100).map_err(|bad| WEIGHT.error(part, bad))?;
        to_weight(bps).ok_or_else(|| WEIGHT.too_large(part))
    };
    text.split(',').map(share).collect()
}

/// Reads a size: `64MiB`, `64MB`, `512B`.
///
/// # Errors
/// When the unit is missing or unknown, or the size is no whole number of bytes.
pub fn parse_bytes(text: &str) -> Result<u64, TextError> {
    let (number, unit) = split(text);
    if unit.is_empty() && !number.is_empty() {
        return Err(BYTES.no_unit(text));
    }
    let known = BYTE_UNITS.iter().find(|(name, _)| *name == unit);
    let (_, scale) = known.ok_or_else(|| BYTES.unreadable(text))?;
    let bytes = fixed(number, *scale).map_err(|bad| BYTES.error(text, bad))?;
    u64::try_from(bytes).map_err(|_| BYTES.too_large(text))
}

/// Reads a whole number.
///
/// # Errors
/// When it is none, or too large.
pub fn parse_count(text: &str) -> Result<u64, TextError> {
    let count = fixed(text.trim(), 1).map_err(|bad| COUNT.error(text, bad))?;
    u64::try_from(count).map_err(|_| COUNT.too_large(text))
}

/// Reads a guard's limit: a value in the metric's unit (`5%`, `500ms`, `64MiB`, `2`), a multiple of stable's value (`2x`, `+50%`)
/// or, for shares, percentage points above stable's (`+5pp`).
///
/// ```
/// # use haldane_api::text::parse_limit;
/// # use haldane_core::guard::{Limit, Metric};
/// assert_eq!(parse_limit(Metric::ErrorRate, "0.5%"), Ok(Limit::Absolute(5_000)));
/// assert_eq!(parse_limit(Metric::P95, "+50%"), Ok(Limit::Times(1_500)));
/// assert_eq!(parse_limit(Metric::ErrorRate, "+5pp"), Ok(Limit::Points(50_000)));
/// ```
///
/// # Errors
/// When the text is none of them.
pub fn parse_limit(metric: Metric, text: &str) -> Result<Limit, TextError> {
    let trimmed = text.trim();
    if let Some(more) = trimmed.strip_prefix('+') {
        return parse_increase(metric, text, more);
    }
    if let Some(times) = trimmed.strip_suffix('x') {
        let times = fixed(times.trim_end(), 1_000).map_err(|bad| MULTIPLE.error(text, bad))?;
        return u32::try_from(times)
            .map(Limit::Times)
            .map_err(|_| MULTIPLE.too_large(text));
    }
    let value = match metric.unit() {
        guard::Unit::Share => parse_share(text)?,
        guard::Unit::Processor => {
            let ppm = percent(text, 10_000, &PROCESSOR)?;
            u64::try_from(ppm).map_err(|_| PROCESSOR.too_large(text))?
        }
        guard::Unit::Micros => {
            let nanos = time(text, &LATENCY)?;
            if nanos % 1_000 != 0 {
                return Err(LATENCY.error(text, Bad::TooFine));
            }
            u64::try_from(nanos / 1_000).map_err(|_| LATENCY.too_large(text))?
        }
        guard::Unit::Bytes => parse_bytes(text)?,
        guard::Unit::Count => parse_count(text)?,
    };
    Ok(Limit::Absolute(value))
}

/// Reads a number of no unit in thousandths, or a size in thousandths of a byte.
///
/// ```
/// # use haldane_api::text::parse_milli;
/// assert_eq!(parse_milli("0.25"), Ok(250));
/// assert_eq!(parse_milli("64KiB"), Ok(65_536_000));
/// ```
///
/// # Errors
/// When the text is neither.
pub fn parse_milli(text: &str) -> Result<u64, TextError> {
    let (number, unit) = split(text);
    let value = if unit.is_empty() {
        fixed(number, 1_000).map_err(|bad| NUMBER.error(text, bad))?
    } else {
        let bytes = parse_bytes(text).map_err(|_| NUMBER.unreadable(text))?;
        u128::from(bytes).saturating_mul(1_000)
    };
    u64::try_from(value).map_err(|_| NUMBER.too_large(text))
}

/// Writes thousandths so that [`parse_milli`] reads the same.
#[must_use]
pub fn show_milli(milli: u64) -> String {
    decimal(milli, 1_000, 3)
}

/// Writes a time with the largest unit that says it exactly: `5m`, `90s`, `1500ms`.
#[must_use]
pub fn show_duration(time: Duration) -> String {
    if time.is_zero() {
        return "0s".to_owned();
    }
    let nanos = time.as_nanos();
    // Days are read but not written: other tools that read such times don't know them.
    let units = TIME_UNITS.iter().skip(1);
    let exact = units
        .into_iter()
        .find(|(_, size)| nanos.is_multiple_of(*size));
    exact.map_or_else(String::new, |(name, size)| {
        format!("{}{name}", nanos / size)
    })
}

/// Writes a size with the largest binary unit that says it exactly: `10MiB`, `1500B`.
#[must_use]
pub fn show_bytes(bytes: u64) -> String {
    let exact = [
        ("TiB", 1_u64 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
    ]
    .into_iter()
    .find(|(_, size)| bytes != 0 && bytes.is_multiple_of(*size));
    exact.map_or_else(
        || format!("{bytes}B"),
        |(name, size)| format!("{}{name}", bytes / size),
    )
}

/// Writes a guard's limit so that [`parse_limit`] reads the same.
#[must_use]
pub fn show_limit(metric: Metric, limit: Limit) -> String {
    match limit {
        Limit::Times(thousandths) => format!("{}x", decimal(u64::from(thousandths), 1_000, 3)),
        Limit::Points(ppm) => format!("+{}pp", decimal(u64::from(ppm), 10_000, 4)),
        Limit::Absolute(value) => match metric.unit() {
            guard::Unit::Share | guard::Unit::Processor => {
                format!("{}%", decimal(value, 10_000, 4))
            }
            guard::Unit::Micros => show_micros(value),
            guard::Unit::Bytes => show_bytes(value),
            guard::Unit::Count => value.to_string(),
        },
    }
}

fn show_micros(micros: u64) -> String {
    let exact = [("s", 1_000_000), ("ms", 1_000)]
        .into_iter()
        .find(|(_, size)| micros.is_multiple_of(*size));
    exact.map_or_else(
        || format!("{micros}us"),
        |(name, size)| format!("{}{name}", micros / size),
    )
}

/// Writes `value / unit` exactly; `unit` is ten to the power of `digits`.
fn decimal(value: u64, unit: u64, digits: usize) -> String {
    let text = format!("{}.{:0digits$}", value / unit, value % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn parse_increase(metric: Metric, text: &str, more: &str) -> Result<Limit, TextError> {
    if let Some(points) = more.strip_suffix("pp") {
        if metric.unit() != guard::Unit::Share {
            return Err(MULTIPLE.unreadable(text));
        }
        let ppm = fixed(points.trim_end(), 10_000).map_err(|bad| POINTS.error(text, bad))?;
        return u32::try_from(ppm)
            .map(Limit::Points)
            .map_err(|_| POINTS.too_large(text));
    }
    let Some(percent) = more.strip_suffix('%') else {
        return Err(MULTIPLE.unreadable(text));
    };
    let more = fixed(percent.trim_end(), 10).map_err(|bad| MULTIPLE.error(text, bad))?;
    let thousandths = more
        .checked_add(1_000)
        .and_then(|times| u32::try_from(times).ok());
    thousandths
        .map(Limit::Times)
        .ok_or_else(|| MULTIPLE.too_large(text))
}

fn parse_share(text: &str) -> Result<u64, TextError> {
    let ppm = percent(text, 10_000, &SHARE)?;
    let ppm = u64::try_from(ppm).map_err(|_| SHARE.too_large(text))?;
    if ppm > 1_000_000 {
        Err(SHARE.too_large(text))
    } else {
        Ok(ppm)
    }
}

fn percent(text: &str, per_percent: u128, words: &Words) -> Result<u128, TextError> {
    let (number, unit) = split(text);
    match unit {
        "%" => fixed(number, per_percent).map_err(|bad| words.error(text, bad)),
        "" if !number.is_empty() => Err(words.no_unit(text)),
        _ => Err(words.unreadable(text)),
    }
}

/// Reads a time in nanoseconds: one or more numbers with units, longest first.
fn time(text: &str, words: &Words) -> Result<u128, TextError> {
    let mut rest = text.trim();
    let mut total: u128 = 0;
    let mut last = u128::MAX;
    loop {
        let (number, after) = split(rest);
        let end = after
            .find(|c: char| c.is_ascii_digit() || c.is_whitespace())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        if unit.is_empty() {
            let is_bare = !number.is_empty() && after.is_empty();
            return Err(if is_bare {
                words.no_unit(text)
            } else {
                words.unreadable(text)
            });
        }
        let known = TIME_UNITS
            .iter()
            .find(|(name, size)| *name == unit && *size < last);
        let (_, size) = known.ok_or_else(|| words.unreadable(text))?;
        let part = fixed(number, *size).map_err(|bad| words.error(text, bad))?;
        total = total
            .checked_add(part)
            .ok_or_else(|| words.too_large(text))?;
        last = *size;
        rest = next.trim_start();
        if rest.is_empty() {
            return Ok(total);
        }
    }
}

/// Splits a leading number from its unit; space between them is allowed, because people write `5 %`.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

/// What is wrong with a number.
#[derive(Clone, Copy)]
enum Bad {
    Unreadable,
    TooFine,
    TooLarge,
}

/// Reads a decimal number times `scale`, exactly.
fn fixed(number: &str, scale: u128) -> Result<u128, Bad> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return Err(Bad::Unreadable);
    }
    let fraction = fraction.trim_end_matches('0');
    let (whole, digits) = (
        number_of(whole)?,
        u32::try_from(fraction.len()).map_err(|_| Bad::TooFine)?,
    );
    let ten = 10_u128.checked_pow(digits).ok_or(Bad::TooFine)?;
    let fraction = if fraction.is_empty() {
        0
    } else {
        number_of(fraction)?
    };
    let parts = fraction.checked_mul(scale).ok_or(Bad::TooFine)?;
    if parts % ten != 0 {
        return Err(Bad::TooFine);
    }
    whole
        .checked_mul(scale)
        .and_then(|whole| whole.checked_add(parts / ten))
        .ok_or(Bad::TooLarge)
}

fn number_of(digits: &str) -> Result<u128, Bad> {
    digits.parse().map_err(|_| Bad::TooLarge)
}

fn to_duration(nanos: u128) -> Option<Duration> {
    if nanos > TIME_MAX_NANOS {
        return None;
    }
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    let rest = u32::try_from(nanos % 1_000_000_000).ok()?;
    Some(Duration::new(seconds, rest))
}

fn to_weight(bps: u128) -> Option<Weight> {
    u16::try_from(bps)
        .ok()
        .and_then(|bps| Weight::try_from_bps(bps).ok())
}

impl Words {
    fn no_unit(&self, text: &str) -> TextError {
        TextError::NoUnit {
            text: shorten(text),
            expected: self.expected,
        }
    }

    fn unreadable(&self, text: &str) -> TextError {
        TextError::Unreadable {
            text: shorten(text),
            expected: self.expected,
        }
    }

    fn too_large(&self, text: &str) -> TextError {
        TextError::TooLarge {
            text: shorten(text),
            expected: self.most,
        }
    }

    fn error(&self, text: &str, bad: Bad) -> TextError {
        match bad {
            Bad::Unreadable => self.unreadable(text),
            Bad::TooFine => TextError::TooFine {
                text: shorten(text),
                finest: self.finest,
            },
            Bad::TooLarge => self.too_large(text),
        }
    }
}

#[cfg(test)]
mod tests;
