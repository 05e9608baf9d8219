//! Windows and freezes: whether weight may rise at a given time.
//!
//! Windows are weekly spans in a time zone. On a day with a change of clocks a span is what its wall-clock times say: one that begins
//! in the hour that is left out begins when the clock comes out of it, and in an hour that comes twice it is open both times.

use haldane_core::{
    plan::{Freeze, Rules, Window},
    rollout::Calendar,
};
use jiff::{Timestamp, tz::TimeZone};

/// Returns whether weight may rise now by these rules.
#[must_use]
pub fn look(rules: &Rules, now: Timestamp) -> Calendar {
    if let Some(freeze) = rules.freezes.iter().find(|freeze| is_frozen(freeze, now)) {
        let why = format!("frozen until {}: {}", freeze.to, freeze.reason);
        return Calendar::Closed { why };
    }
    if rules.windows.is_empty() || rules.windows.iter().any(|window| is_open(window, now)) {
        return Calendar::Open;
    }
    let spans: Vec<String> = rules.windows.iter().map(describe).collect();
    Calendar::Closed {
        why: format!("outside of its windows ({})", spans.join(", ")),
    }
}

/// Returns the time zones of these rules that this machine does not know.
#[must_use]
pub fn unknown_zones(rules: &Rules) -> Vec<String> {
    rules
        .windows
        .iter()
        .filter(|window| TimeZone::get(&window.time_zone).is_err())
        .map(|window| window.time_zone.clone())
        .collect()
}

fn is_frozen(freeze: &Freeze, now: Timestamp) -> bool {
    freeze.from <= now && now < freeze.to
}

/// Whether a window is open; one in a time zone that is not known here is closed, which is the safe side.
fn is_open(window: &Window, now: Timestamp) -> bool {
    let Ok(zone) = TimeZone::get(&window.time_zone) else {
        return false;
    };
    let local = now.to_zoned(zone);
    let day = local.weekday().to_monday_one_offset().unsigned_abs();
    let minute =
        u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
    window.days.contains(&day) && (window.from_minute..window.to_minute).contains(&minute)
}

fn describe(window: &Window) -> String {
    const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let days: Vec<&str> = window
        .days
        .iter()
        .filter_map(|day| DAYS.get(usize::from(*day).saturating_sub(1)).copied())
        .collect();
    let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    format!(
        "{} {}-{} {}",
        days.join(","),
        clock(window.from_minute),
        clock(window.to_minute),
        window.time_zone
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(windows: Vec<Window>, freezes: Vec<Freeze>) -> Rules {
        Rules {
            windows,
            freezes,
            ..Rules::default()
        }
    }

    fn office(from_minute: u16, to_minute: u16, days: &[u8]) -> Window {
        Window {
            days: days.to_vec(),
            from_minute,
            to_minute,
            time_zone: "Europe/Berlin".to_owned(),
        }
    }

    fn is_open_at(rules: &Rules, at: &str) -> bool {
        look(rules, at.parse().unwrap()) == Calendar::Open
    }

    #[test]
    fn a_window_is_read_in_its_own_time_zone() {
        let rules = rules(vec![office(9 * 60, 17 * 60, &[1, 2, 3, 4, 5])], Vec::new());
        // Friday 2026-11-20: Berlin is UTC+1.
        for (at, open) in [
            ("2026-11-20T07:59:59Z", false),
            ("2026-11-20T08:00:00Z", true),
            ("2026-11-20T15:59:59Z", true),
            ("2026-11-20T16:00:00Z", false),
            ("2026-11-21T10:00:00Z", false),
        ] {
            assert_eq!(is_open_at(&rules, at), open, "{at}");
        }
    }

    #[test]
    fn a_window_in_the_hour_that_is_left_out_opens_after_it() {
        // Sunday 2026-03-29: 02:00 to 03:00 does not exist in Berlin.
        let rules = rules(vec![office(2 * 60 + 30, 4 * 60, &[7])], Vec::new());
        assert!(!is_open_at(&rules, "2026-03-29T00:59:59Z"));
        assert!(is_open_at(&rules, "2026-03-29T01:00:00Z"));
        assert!(!is_open_at(&rules, "2026-03-29T02:00:00Z"));
    }

    #[test]
    fn a_window_in_the_hour_that_comes_twice_is_open_both_times() {
        // Sunday 2026-10-25: 02:00 to 03:00 comes twice in Berlin.
        let rules = rules(vec![office(2 * 60, 3 * 60, &[7])], Vec::new());
        for at in ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"] {
            assert!(is_open_at(&rules, at), "{at}");
        }
        assert!(!is_open_at(&rules, "2026-10-25T02:00:00Z"));
    }

    #[test]
    fn a_freeze_closes_an_open_window() {
        let freeze = Freeze {
            from: "2026-11-20T12:00:00Z".parse().unwrap(),
            to: "2026-11-20T13:00:00Z".parse().unwrap(),
            reason: "earnings".to_owned(),
        };
        let rules = rules(Vec::new(), vec![freeze]);
        assert!(is_open_at(&rules, "2026-11-20T11:59:59Z"));
        assert!(!is_open_at(&rules, "2026-11-20T12:00:00Z"));
        assert!(is_open_at(&rules, "2026-11-20T13:00:00Z"));
    }

    #[test]
    fn a_time_zone_that_is_not_known_keeps_the_window_closed() {
        let window = Window {
            time_zone: "Mars/Olympus".to_owned(),
            ..office(0, 1440, &[1, 2, 3, 4, 5, 6, 7])
        };
        let rules = rules(vec![window], Vec::new());
        assert!(!is_open_at(&rules, "2026-11-20T12:00:00Z"));
        assert_eq!(unknown_zones(&rules), ["Mars/Olympus"]);
    }
}
