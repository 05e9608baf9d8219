//! Figures and times as words.

use std::fmt::Display;

use jiff::{Timestamp, Zoned, tz::TimeZone};

/// Stands where there is nothing to tell.
pub(crate) const NOTHING: &str = "-";

/// Returns how long it is from one time to another, in at most two units: `4s`, `3m12s`, `2h5m`, `4d2h`.
pub(crate) fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = u64::try_from(to.duration_since(from).as_secs()).unwrap_or(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let two = |large: u64, unit: char, small: u64, part: char| {
        if small == 0 {
            format!("{large}{unit}")
        } else {
            format!("{large}{unit}{small}{part}")
        }
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => two(minutes, 'm', seconds % 60, 's'),
        (0, _, _) => two(hours, 'h', minutes % 60, 'm'),
        _ => two(days, 'd', hours % 24, 'h'),
    }
}

/// Returns a number of things in words: `1 mistake`, `2 mistakes`.
pub(crate) fn count<T: Copy + Display + PartialEq + From<u8>>(
    number: T,
    one: &str,
    many: &str,
) -> String {
    let noun = if number == T::from(1) { one } else { many };
    format!("{number} {noun}")
}

/// Returns a share of basis points in percent: `24.83%`.
pub(crate) fn bps(value: u64) -> String {
    haldane_core::guard::Unit::Share.show(value.saturating_mul(100))
}

/// Returns the same, or [`NOTHING`].
pub(crate) fn bps_or_nothing(value: Option<u64>) -> String {
    value.map_or_else(|| NOTHING.to_owned(), bps)
}

/// Returns the time of day: `12:00:31`.
pub(crate) fn time_of_day(at: Timestamp, zone: &TimeZone) -> String {
    local(at, zone).strftime("%H:%M:%S").to_string()
}

/// Returns date and time: `2026-11-21 12:00:31`.
pub(crate) fn date_and_time(at: Timestamp, zone: &TimeZone) -> String {
    local(at, zone).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Returns day and minute, for narrow tables: `11-21 12:00`.
pub(crate) fn day_and_minute(at: Timestamp, zone: &TimeZone) -> String {
    local(at, zone).strftime("%m-%d %H:%M").to_string()
}

/// Returns the name of the zone at that time: `UTC`, `CET`.
pub(crate) fn zone_name(at: Timestamp, zone: &TimeZone) -> String {
    local(at, zone).strftime("%Z").to_string()
}

/// Returns a text without what a terminal would obey: it came from a file, a person or another program.
pub(crate) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Returns a text cut to a number of characters; `…` stands for the rest.
pub(crate) fn cut(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    let kept: String = text.chars().take(chars.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// Returns a text in lines of at most so many characters, broken at spaces where there are any.
pub(crate) fn wrap(text: &str, chars: usize) -> Vec<String> {
    let chars = chars.max(1);
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let mut word = word.to_owned();
        if let Some(line) = lines.last_mut()
            && line.chars().count().saturating_add(word.chars().count()) < chars
        {
            line.push(' ');
            line.push_str(&word);
            continue;
        }
        while word.chars().count() > chars {
            let rest = word.chars().skip(chars).collect();
            lines.push(word.chars().take(chars).collect());
            word = rest;
        }
        lines.push(word);
    }
    lines
}

fn local(at: Timestamp, zone: &TimeZone) -> Zoned {
    at.to_zoned(zone.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_at_most_two_units_and_never_go_back() {
        for (seconds, expected) in [
            (-5, "0s"),
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (192, "3m12s"),
            (3_600, "1h"),
            (7_500, "2h5m"),
            (86_400 * 4 + 7_200, "4d2h"),
        ] {
            let to = Timestamp::from_second(1_000_000 + seconds).unwrap();
            assert_eq!(
                span(Timestamp::from_second(1_000_000).unwrap(), to),
                expected
            );
        }
    }

    #[test]
    fn texts_are_cut_wrapped_and_cleaned() {
        assert_eq!(cut("größer", 6), "größer");
        assert_eq!(cut("größere", 6), "größe…");
        assert_eq!(
            wrap("a bb ccc dddddddd", 4),
            ["a bb", "ccc", "dddd", "dddd"]
        );
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(clean("a\x1b[31mb\nc"), "a [31mb c");
    }

    #[test]
    fn one_thing_is_not_many() {
        let words = |number: u32| count(number, "copy", "copies");
        assert_eq!(
            [0, 1, 2].map(words),
            ["0 copies", "1 copy", "2 copies"].map(str::to_owned)
        );
    }

    #[test]
    fn shares_are_percent() {
        assert_eq!(bps(2_483), "24.83%");
        assert_eq!(bps_or_nothing(None), "-");
    }
}
