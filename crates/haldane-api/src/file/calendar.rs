//! Windows and freezes of the file.

use haldane_core::plan::{Freeze, Window};
use jiff::Timestamp;

use super::TEXT_CHARS_MAX;
use crate::{
    keys,
    read::{At, Problems},
    tree::shorten,
};

/// The days' names, from Monday.
pub(crate) const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// The longest name of a time zone; the longest known has 32 bytes.
const ZONE_BYTES_MAX: usize = 64;

/// Reads a weekly window.
pub(super) fn read_window(at: &At<'_>, out: &mut Problems) -> Option<Window> {
    let fields = at.fields(&keys::WINDOW, out)?;
    let days = fields.or("days", vec![1, 2, 3, 4, 5, 6, 7], |at| read_days(at, out));
    let from_minute = fields.or("from", 0, |at| {
        at.parsed("a time of day such as 09:00", parse_minute, out)
    });
    let to_minute = fields.or("to", 1_440, |at| {
        at.parsed("a time of day such as 17:00", parse_minute, out)
    });
    let time_zone = fields.or("timeZone", "UTC".to_owned(), |at| read_zone(at, out));
    Some(Window {
        days,
        from_minute,
        to_minute,
        time_zone,
    })
}

/// Reads a freeze.
pub(super) fn read_freeze(at: &At<'_>, out: &mut Problems) -> Option<Freeze> {
    let fields = at.fields(&keys::FREEZE, out)?;
    let from = fields
        .need("from", out)
        .and_then(|at| read_timestamp(&at, out));
    let to = fields
        .need("to", out)
        .and_then(|at| read_timestamp(&at, out));
    let reason = fields.or("reason", String::new(), |at| {
        let reason = at.text("a text", out)?;
        if reason.len() > TEXT_CHARS_MAX {
            out.add(
                at,
                format!("a long text; expected at most {TEXT_CHARS_MAX} bytes"),
            );
        }
        Some(reason.to_owned())
    });
    Some(Freeze {
        from: from?,
        to: to?,
        reason,
    })
}

fn read_timestamp(at: &At<'_>, out: &mut Problems) -> Option<Timestamp> {
    let expected = "a point in time such as 2026-12-20T00:00:00Z";
    let parse = |text: &str| {
        text.parse::<Timestamp>()
            .map_err(|_| format!("cannot read {:?}; expected {expected}", shorten(text)))
    };
    at.parsed(expected, parse, out)
}

/// Reads `mon-fri`, `sat,sun`, or a list of such texts.
fn read_days(at: &At<'_>, out: &mut Problems) -> Option<Vec<u8>> {
    let items = at.items_or_one();
    let days: Vec<_> = items
        .iter()
        .map(|at| at.parsed("days such as mon-fri", parse_days, out))
        .collect();
    let days: Vec<Vec<u8>> = days.into_iter().collect::<Option<_>>()?;
    Some(days.concat())
}

fn parse_days(text: &str) -> Result<Vec<u8>, String> {
    let error = || {
        format!(
            "cannot read {:?}; expected days such as mon-fri or sat,sun",
            shorten(text)
        )
    };
    let day = |name: &str| {
        let name = name.trim().to_ascii_lowercase();
        (1..=7)
            .zip(DAYS)
            .find(|(_, known)| *known == name)
            .map(|(day, _)| day)
            .ok_or_else(error)
    };
    let mut days: Vec<u8> = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        if first <= last {
            days.extend(first..=last);
        } else {
            days.extend((first..=7).chain(1..=last)); // Over the weekend, as in `fri-mon`.
        }
    }
    Ok(days)
}

/// Reads a time of day in minutes; `24:00` is the end of the day.
fn parse_minute(text: &str) -> Result<u16, String> {
    let error = || {
        format!(
            "cannot read {:?}; expected a time of day such as 09:00, at most 24:00",
            shorten(text)
        )
    };
    let (hour, minute) = text.split_once(':').ok_or_else(error)?;
    let number = |text: &str| {
        let is_number = matches!(text.len(), 1 | 2) && text.bytes().all(|b| b.is_ascii_digit());
        if is_number {
            text.parse::<u16>().ok()
        } else {
            None
        }
    };
    let (hour, minute) = number(hour)
        .zip(number(minute).filter(|_| minute.len() == 2))
        .ok_or_else(error)?;
    let of_day = hour.saturating_mul(60).saturating_add(minute);
    if minute < 60 && of_day <= 1_440 {
        Ok(of_day)
    } else {
        Err(error())
    }
}

/// Reads a time zone's name by its form; whether the machine knows it is checked where it is used.
fn read_zone(at: &At<'_>, out: &mut Problems) -> Option<String> {
    let expected = "a time zone such as Europe/Berlin or UTC";
    let zone = at.text(expected, out)?;
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+');
    let is_zone = zone.starts_with(|c: char| c.is_ascii_alphabetic())
        && zone.len() <= ZONE_BYTES_MAX
        && zone.chars().all(is_allowed);
    if !is_zone {
        out.add(
            at,
            format!("cannot read {:?}; expected {expected}", shorten(zone)),
        );
        return None;
    }
    Some(zone.to_owned())
}
