//! Fixed-point numbers as text, for queries and for people: no float ever comes near an output.

use std::time::Duration;

/// Returns `value / one` with as many places as it needs; `one` is a power of ten.
pub(crate) fn decimal(value: u64, one: u64) -> String {
    let one = one.max(1);
    let (whole, rest) = (value / one, value % one);
    if rest == 0 {
        return whole.to_string();
    }
    let places = usize::try_from(one.ilog10()).unwrap_or_default();
    let digits = format!("{rest:0places$}");
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

/// Returns parts per million as percent: `5%`.
pub(crate) fn percent(ppm: u64) -> String {
    format!("{}%", decimal(ppm, 10_000))
}

/// Returns a time in seconds: `0.5`.
pub(crate) fn seconds(time: Duration) -> String {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    decimal(micros, 1_000_000)
}

/// Returns a time for people: `500ms`, `1s`.
pub(crate) fn duration(time: Duration) -> String {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    if micros.is_multiple_of(1_000_000) {
        format!("{}s", micros / 1_000_000)
    } else {
        format!("{}ms", decimal(micros, 1_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_places_that_they_need() {
        for (value, one, text) in [
            (50_000, 1_000_000, "0.05"),
            (0, 100, "0"),
            (1_000_000, 1_000_000, "1"),
            (1_234_500, 1_000, "1234.5"),
            (7, 1, "7"),
        ] {
            assert_eq!(decimal(value, one), text);
        }
        assert_eq!(percent(995_000), "99.5%");
        assert_eq!(seconds(Duration::from_millis(1_500)), "1.5");
        assert_eq!(duration(Duration::from_micros(1_500)), "1.5ms");
        assert_eq!(duration(Duration::from_secs(90)), "90s");
    }
}
