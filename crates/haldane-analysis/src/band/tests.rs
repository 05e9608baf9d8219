//! Tests of `band`.

use jiff::{SignedDuration, Timestamp};

use super::{history::SLOT, *};
use crate::{
    sample::Bucket,
    sequential::{Counts, Observed},
};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const WEEK: SignedDuration = SignedDuration::from_hours(168);
const DAY: SignedDuration = SignedDuration::from_hours(24);

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A Friday noon.
fn noon() -> Timestamp {
    at("2026-11-20T12:00:00Z")
}

/// Learns the twelve values of an hour.
fn learn_hour(history: &mut History, from: Timestamp, value: impl Fn(u64) -> u64) {
    for slot in 0..12 {
        let time = SLOT.checked_mul(i32::try_from(slot).unwrap()).unwrap();
        history.learn(from + time, value(slot));
    }
}

/// A history of the same hour of the last weeks, around 1000.
fn weekly(weeks: i32) -> History {
    let mut history = History::default();
    for week in (1..=weeks).rev() {
        let from = noon() - WEEK * week;
        learn_hour(&mut history, from, |slot| 990 + slot * 2);
    }
    history
}

fn share(name: &str, direction: Direction) -> Metric {
    Metric {
        name: name.to_owned(),
        measure: Measure::Share,
        direction,
    }
}

const fn counts(events: u64, exposure: u64) -> Option<Reading> {
    Some(Reading::Counts(Counts { exposure, events }))
}

fn seen(stable: Option<Reading>, canary: Option<Reading>) -> Seen {
    Seen {
        stable,
        canary,
        covered: std::time::Duration::from_secs(300),
    }
}

#[test]
fn the_same_hour_of_the_week_tells_from_three_weeks_on_and_for_eight() {
    for (weeks, expected) in [
        (0, None),
        (1, None),
        (2, None),
        (3, Some(Span::Weeks(3))),
        (8, Some(Span::Weeks(7))),
        (20, Some(Span::Weeks(7))),
    ] {
        let band = weekly(weeks).band(Measure::Gauge, noon());
        assert_eq!(band.map(|band| band.span), expected, "{weeks} weeks");
    }
    let band = weekly(3).band(Measure::Gauge, noon()).unwrap();
    assert_eq!((band.median, band.values), (1_000, 36));
    // A quarter of the median: the deviations of 1 to 12 are less.
    assert_eq!((band.low, band.high), (750, 1_250));
    // Another hour is another matter.
    let later = noon() + SignedDuration::from_hours(1);
    assert_eq!(weekly(8).band(Measure::Gauge, later), None);
}

#[test]
fn without_weeks_the_same_hour_of_other_days_tells_and_then_all_of_the_last_days() {
    let mut history = History::default();
    for days in [1, 2] {
        learn_hour(&mut history, noon() - DAY * days, |_| 1_000);
    }
    // Two days: their hours are all that is known of the last days.
    let band = history.band(Measure::Gauge, noon()).unwrap();
    assert_eq!(band.span, Span::Recent(2));
    learn_hour(&mut history, noon() - DAY * 3, |_| 1_000);
    let band = history.band(Measure::Gauge, noon()).unwrap();
    assert_eq!(band.span, Span::Days(3));
    // Another hour has the last days alone, and after a week not even them.
    let later = noon() + SignedDuration::from_hours(2);
    let band = history.band(Measure::Gauge, later).unwrap();
    assert_eq!((band.span, band.values), (Span::Recent(3), 36));
    assert_eq!(history.band(Measure::Gauge, later + WEEK), None);
}

#[test]
fn a_first_day_is_no_history() {
    let mut history = History::default();
    for hour in 1..24 {
        let from = noon() - SignedDuration::from_hours(hour);
        learn_hour(&mut history, from, |_| 1_000);
        assert_eq!(history.band(Measure::Gauge, noon()), None, "{hour}");
    }
    learn_hour(&mut history, noon() - DAY, |_| 1_000);
    let band = history.band(Measure::Gauge, noon()).unwrap();
    assert_eq!((band.span, band.values), (Span::Recent(2), 288));
}

#[test]
fn an_incident_of_a_whole_hour_leaves_the_band_where_it_was() {
    let mut history = weekly(4);
    let before = history.band(Measure::Gauge, noon()).unwrap();
    learn_hour(&mut history, noon() - WEEK, |_| 900_000);
    let after = history.band(Measure::Gauge, noon()).unwrap();
    assert!(after.high < before.high + 50, "{after:?}");
    assert!(after.low.abs_diff(before.low) < 50, "{after:?}");
}

#[test]
fn a_history_that_varies_makes_a_wide_band_and_a_flat_one_no_line() {
    let around = |spread: u64, measure| {
        let mut history = History::default();
        for week in (1..=4).rev() {
            learn_hour(&mut history, noon() - WEEK * week, |slot| {
                1_000 + slot * spread
            });
        }
        history.band(measure, noon()).unwrap()
    };
    // Eleven steps of 200: a deviation of 600, six of which reach below zero.
    let wide = around(200, Measure::Gauge);
    assert_eq!((wide.low, wide.high), (0, 6_445));
    assert_eq!(around(0, Measure::Gauge).high, 1_250);
    assert_eq!(around(0, Measure::Share).high, 3_000);
    assert_eq!(around(0, Measure::Latency).high, 3_000);
}

#[test]
fn clocks_that_are_put_forward_or_back_change_no_hour() {
    let hour = |text| history::hour_of_week(at(text));
    // On Sunday 2026-10-25 in Berlin the hour from 2 to 3 came twice; both are hours of their own.
    let night = [
        "2026-10-25T01:30:00+02:00",
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T02:30:00+01:00",
        "2026-10-25T03:30:00+01:00",
    ];
    let first = hour("2026-10-25T01:30:00+02:00");
    assert_eq!(night.map(|text| hour(text) - first), [0, 1, 2, 3]);
    // The noon of users is another hour of UTC afterwards.
    let before = hour("2026-10-23T12:00:00+02:00");
    assert_eq!(hour("2026-10-30T12:00:00+01:00"), before + 1);
}

#[test]
fn hours_are_counted_from_monday_in_utc() {
    for (text, hour) in [
        ("2026-11-16T00:00:00Z", 0),
        ("2026-11-16T00:59:59Z", 0),
        ("2026-11-20T12:00:00Z", 4 * 24 + 12),
        ("2026-11-22T23:59:59Z", 167),
        ("1970-01-01T00:00:00Z", 72),
        ("1969-12-29T00:00:00Z", 0),
        ("1969-12-28T23:59:59Z", 167),
        // A leap second is the last of its minute.
        ("2016-12-31T23:59:60Z", 5 * 24 + 23),
    ] {
        assert_eq!(history::hour_of_week(at(text)), hour, "{text}");
    }
    assert_eq!(history::slot(noon()) + 1, history::slot(noon() + SLOT));
    assert_eq!(
        history::slot(noon()),
        history::slot(noon() + MINUTE * 4 + SignedDuration::from_secs(59))
    );
}

#[test]
fn what_a_wrong_clock_left_behind_does_not_count_once_it_is_right() {
    let mut history = weekly(4);
    let before = history.band(Measure::Gauge, noon());
    // The clock jumps to the same hour of a far year, and back.
    let far = noon() + WEEK * 500;
    assert_eq!(history.band(Measure::Gauge, far), None);
    let mut wrong = history.clone();
    wrong.learn(far, 5);
    wrong.learn(noon(), 1_000);
    assert_eq!(wrong.band(Measure::Gauge, noon()), None, "only one value");
    // It goes back by a week: what was learned later is not known yet.
    let early = noon() - WEEK * 2;
    history.learn(early, 1_000);
    assert_eq!(
        history.band(Measure::Gauge, early).unwrap().span,
        Span::Weeks(3)
    );
    assert_ne!(history.band(Measure::Gauge, noon()), before);
    let span = history.band(Measure::Gauge, noon()).unwrap().span;
    assert_eq!(span, Span::Weeks(3), "the week after it is forgotten");
}

#[test]
fn the_later_of_two_values_stays() {
    let mut history = weekly(3);
    let again = history.clone();
    let time = noon() - WEEK + MINUTE;
    history.learn(time, 77_000);
    assert_ne!(history, again);
    history.learn(time + MINUTE, 990);
    assert_eq!(history, again);
}

#[test]
fn an_hour_is_read_as_it_was_written_and_damage_is_refused() {
    let history = weekly(2);
    let cell = history.cell(history::hour_of_week(noon())).unwrap();
    let text = serde_json::to_string(cell).unwrap();
    let hour = "03de03e003e203e403e603e803ea03ec03ee03f003f203f4";
    let written = [2966, 2967].map(|week| format!(r#"{{"week":{week},"slots":"{hour}"}}"#));
    assert_eq!(text, format!("[{}]", written.join(",")));
    assert_eq!(&serde_json::from_str::<Cell>(&text).unwrap(), cell);
    let full = weekly(8);
    let full = serde_json::to_string(full.cell(history::hour_of_week(noon())).unwrap()).unwrap();
    assert!(full.len() < 700, "{}", full.len());
    let week = |number: i64| format!(r#"{{"week":{number},"slots":"{}"}}"#, "0".repeat(48));
    let weeks = |numbers: &[i64]| {
        let weeks: Vec<String> = numbers.iter().map(|number| week(*number)).collect();
        format!("[{}]", weeks.join(","))
    };
    for (text, is_read) in [
        (weeks(&[]), true),
        (weeks(&[1, 2, 9]), true),
        (weeks(&[2, 1]), false),
        (weeks(&[1, 1]), false),
        (weeks(&[1, 2, 3, 4, 5, 6, 7, 8, 9]), false),
        (weeks(&[1]).replace('0', "g"), false),
        (weeks(&[1]).replace("00", "0"), false),
        (weeks(&[1]).replacen("00", "é", 1), false),
        ("{}".to_owned(), false),
    ] {
        let read = serde_json::from_str::<Cell>(&text);
        assert_eq!(read.is_ok(), is_read, "{text}: {read:?}");
    }
}

#[test]
fn where_a_band_is_left_tells_the_canary_from_its_surroundings() {
    let metric = share("errors", Direction::HigherIsWorse);
    let band = Band {
        median: 1_000,
        low: 0,
        high: 3_000,
        values: 60,
        span: Span::Weeks(5),
    };
    let (good, bad, few) = (counts(10, 10_000), counts(500, 10_000), counts(1, 20));
    for (stable, canary, expected) in [
        (&good, &good, Finding::Usual),
        (&good, &bad, Finding::Suspect),
        (&bad, &bad, Finding::Environment),
        (&bad, &good, Finding::Environment),
        (&bad, &None, Finding::Environment),
        (&good, &few, Finding::Usual),
        (&few, &bad, Finding::Suspect),
        (&None, &bad, Finding::Suspect),
        (&None, &good, Finding::Usual),
        (&good, &None, Finding::Unknown),
        (&good, &counts(0, 0), Finding::Unknown),
        (&None, &None, Finding::Unknown),
    ] {
        let seen = seen(stable.clone(), canary.clone());
        let found = look(&metric, Some(band), &seen);
        assert_eq!(found.finding, expected, "{stable:?} {canary:?}");
        let found = look(&metric, None, &seen);
        assert_eq!(found.finding, Finding::Unknown, "no band");
    }
}

#[test]
fn findings_are_told_in_words() {
    let band = |median: u64, span| Band {
        median,
        low: median - median / 5,
        high: median + median / 5,
        values: 60,
        span,
    };
    let latency = Metric {
        measure: Measure::Latency,
        ..share("latency", Direction::HigherIsWorse)
    };
    let all = |upper| {
        Some(Reading::Latency(Bucket::list([
            (upper - 1, 0),
            (upper, 1_000),
        ])))
    };
    let rate = Metric {
        measure: Measure::Rate,
        ..share(REQUEST_RATE, Direction::HigherIsWorse)
    };
    let gauge = Metric {
        measure: Measure::Gauge,
        ..share("memory", Direction::HigherIsWorse)
    };
    let sold = share("sold", Direction::LowerIsWorse);
    let pods = |each: u64| Some(Reading::Pods(vec![each; 3]));
    let weeks = band(100_000, Span::Weeks(5));
    let days = |days| band(120_500_000, Span::Days(days));
    let said = [
        look(&latency, Some(weeks), &seen(all(95_000), all(420_000))),
        look(&latency, Some(weeks), &seen(None, all(420_000))),
        look(&latency, Some(weeks), &seen(all(300_000), all(310_000))),
        look(&latency, Some(weeks), &seen(all(95_000), all(99_000))),
        look(&latency, Some(weeks), &seen(all(95_000), None)),
        look(&latency, None, &seen(all(95_000), all(99_000))),
        look(&rate, Some(days(3)), &seen(counts(120_000, 300), None)),
        look(&rate, Some(days(1)), &seen(counts(36_000, 300), None)),
        look(
            &gauge,
            Some(band(2_500, Span::Recent(2))),
            &seen(pods(2_400), pods(9_120)),
        ),
        look(
            &sold,
            Some(weeks),
            &seen(counts(1_000, 10_000), counts(300, 10_000)),
        ),
    ];
    let said: Vec<String> = said
        .iter()
        .map(|found| format!("{:?} {}: {}", found.finding, found.name, found.reason))
        .collect();
    let expected = [
        "Suspect latency: p95 420ms of the canary; usual at this hour of the week is 80ms to 120ms (5 weeks); stable is in its band with 95ms",
        "Suspect latency: p95 420ms of the canary; usual at this hour of the week is 80ms to 120ms (5 weeks); stable has too few requests to compare with",
        "Environment latency: p95 300ms of stable, 310ms of the canary; usual at this hour of the week is 80ms to 120ms (5 weeks)",
        "Usual latency: p95 99ms; usual at this hour of the week is 80ms to 120ms (5 weeks)",
        "Unknown latency: too little was measured; usual at this hour of the week is 80ms to 120ms (5 weeks)",
        "Unknown latency: not enough history yet to know what is usual; about a day of it is needed",
        "Environment request rate: 400/s; usual at this hour is 96.4/s to 144/s (3 days)",
        "Usual request rate: 120/s; usual at this hour is 96.4/s to 144/s (1 day)",
        "Suspect memory: 9.12 of the canary; usual is 2 to 3 (2 days); stable is in its band with 2.4",
        "Suspect sold: 3% of the canary; usual at this hour of the week is 8% to 12% (5 weeks); stable is in its band with 10%",
    ];
    assert_eq!(said, expected);
}

#[test]
fn one_odd_pod_is_no_canary_and_a_rate_may_leave_its_band_to_either_side() {
    let band = Band {
        median: 1_000_000,
        low: 750_000,
        high: 1_250_000,
        values: 60,
        span: Span::Weeks(5),
    };
    let gauge = Metric {
        measure: Measure::Gauge,
        ..share("memory", Direction::HigherIsWorse)
    };
    let found = |pods: &[u64]| {
        let seen = seen(None, Some(Reading::Pods(pods.to_vec())));
        look(&gauge, Some(band), &seen).finding
    };
    assert_eq!(found(&[1_000_000, 9_000_000]), Finding::Usual);
    assert_eq!(found(&[9_000_000, 9_000_000, 1]), Finding::Suspect);
    assert_eq!(found(&[]), Finding::Unknown);
    let rate = Metric {
        measure: Measure::Rate,
        ..share(REQUEST_RATE, Direction::HigherIsWorse)
    };
    // One in a second.
    for (events, expected) in [
        (300, Finding::Usual),
        (100, Finding::Environment),
        (600, Finding::Environment),
        (340, Finding::Usual),
    ] {
        let found = look(&rate, Some(band), &seen(counts(events, 300), None));
        assert_eq!(found.finding, expected, "{events}");
    }
}

#[test]
fn the_canary_comes_before_its_surroundings() {
    let found = |finding, name: &str| Evidence {
        name: name.to_owned(),
        measure: Measure::Share,
        finding,
        band: None,
        stable: None,
        canary: None,
        reason: "because".to_owned(),
    };
    let usual = found(Finding::Usual, "a");
    let unknown = found(Finding::Unknown, "b");
    let environment = found(Finding::Environment, "c");
    let suspect = found(Finding::Suspect, "d");
    assert_eq!(unusual(&[usual.clone(), unknown.clone()]), None);
    assert_eq!(
        unusual(&[usual, unknown, environment.clone()]),
        Some(Unusual::Environment("c: because".to_owned()))
    );
    assert_eq!(
        unusual(&[environment, suspect]),
        Some(Unusual::Suspect("d: because".to_owned()))
    );
}

#[test]
fn what_metric_systems_tell_is_added_up_and_of_pods_the_newest_counts() {
    let told = |minute: i32, reading: Reading| Observed {
        metric: "m".to_owned(),
        from: noon() + MINUTE * minute,
        to: noon() + MINUTE * (minute + 1),
        skew: std::time::Duration::ZERO,
        weight: haldane_core::Weight::ZERO,
        stable: Some(reading),
        canary: None,
    };
    let sum = |readings: [Reading; 2]| {
        let [one, other] = readings;
        of_observed(&[told(0, one), told(1, other)])
    };
    let both = sum([counts(1, 10).unwrap(), counts(2, 30).unwrap()]);
    assert_eq!((both.stable, both.canary), (counts(3, 40), None));
    assert_eq!(both.covered.as_secs(), 120);
    let slow = |count| Reading::Latency(Bucket::list([(10, count)]));
    assert_eq!(sum([slow(1), slow(2)]).stable, Some(slow(3)));
    let pods = |each| Reading::Pods(vec![each]);
    assert_eq!(sum([pods(1), pods(2)]).stable, Some(pods(2)));
    assert_eq!(of_observed([]), Seen::default());
}

#[test]
fn a_percentile_of_a_few_latencies_is_not_learned() {
    let of = |count| Measure::Latency.value(&Reading::Latency(Bucket::list([(10, count)])));
    assert_eq!((of(19), of(20)), (None, Some(10)));
    let share = |events, exposure| Measure::Share.value(&counts(events, exposure).unwrap());
    assert_eq!((share(0, 0), share(1, 3)), (None, Some(333_333)));
    assert_eq!(Measure::Gauge.value(&Reading::Pods(Vec::new())), None);
}

#[test]
fn what_the_proxy_counted_is_taken_apart_and_a_rate_needs_a_minute() {
    let sample = |requests, failures| crate::Sample {
        requests,
        failures,
        latency: Bucket::list([(10, requests)]),
        ..crate::Sample::default()
    };
    let seen = |seconds| {
        let mut series = crate::Series::new();
        let batch = crate::Batch {
            from: noon(),
            to: noon() + SignedDuration::from_secs(seconds),
            stable: sample(90, 3),
            canary: sample(10, 20),
            weight: haldane_core::Weight::from_percent(10),
        };
        series.push(batch).unwrap();
        let window = std::time::Duration::from_secs(300);
        of_requests(&series.totals(noon(), noon() + MINUTE * 5, window))
    };
    let [(_, errors), (_, latency), (name, rate)] = seen(60);
    // More failures than requests are as many as there are requests.
    assert_eq!(
        [errors.stable, errors.canary],
        [counts(3, 90), counts(10, 10)]
    );
    assert!(matches!(latency.canary, Some(Reading::Latency(buckets)) if buckets[0].count == 10));
    assert_eq!(
        (name, rate.stable, rate.canary),
        (REQUEST_RATE, counts(100, 60), None)
    );
    let [_, _, (_, rate)] = seen(59);
    assert_eq!(rate.stable, None);
}
