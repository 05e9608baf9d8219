//! Tests of `text`.

use proptest::prelude::*;

use super::*;

fn shown<T: std::fmt::Debug>(result: Result<T, TextError>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn times_are_read() {
    for (text, expected) in [
        ("5m", "300s"),
        ("500ms", "500ms"),
        ("1.5s", "1.5s"),
        ("250us", "250µs"),
        ("250µs", "250µs"),
        ("1h30m", "5400s"),
        ("1h 30m 5s", "5405s"),
        ("5 m", "300s"),
        ("7d", "604800s"),
        ("0s", "0ns"),
        ("0.000000001s", "1ns"),
        ("500", r#""500" has no unit; expected a time such as 5m"#),
        ("", r#"cannot read ""; expected a time such as 5m"#),
        ("m", r#"cannot read "m"; expected a time such as 5m"#),
        ("-5m", r#"cannot read "-5m"; expected a time such as 5m"#),
        ("5M", r#"cannot read "5M"; expected a time such as 5m"#),
        (
            "30m1h",
            r#"cannot read "30m1h"; expected a time such as 5m"#,
        ),
        ("5m5m", r#"cannot read "5m5m"; expected a time such as 5m"#),
        ("5m5", r#""5m5" has no unit; expected a time such as 5m"#),
        (
            "1..5s",
            r#"cannot read "1..5s"; expected a time such as 5m"#,
        ),
        (".5s", r#"cannot read ".5s"; expected a time such as 5m"#),
        (
            "1e309",
            r#"cannot read "1e309"; expected a time such as 5m"#,
        ),
        (
            "0.0000000001s",
            r#""0.0000000001s" is finer than a nanosecond; expected fewer digits"#,
        ),
        (
            "367d",
            r#""367d" is too large; expected at most 8784h (a year)"#,
        ),
        (
            "99999999999999999999999999999999999999999d",
            r#""99999999999999999999999999999999999999999d" is too large; expected at most 8784h (a year)"#,
        ),
    ] {
        assert_eq!(shown(parse_duration(text)), expected, "{text:?}");
    }
}

#[test]
fn a_bare_number_has_the_unit_of_the_option() {
    for (text, unit, expected) in [
        ("5", Unit::Minutes, "300s"),
        ("0.5", Unit::Minutes, "30s"),
        ("5", Unit::Seconds, "5s"),
        ("5s", Unit::Minutes, "5s"),
        (
            "",
            Unit::Minutes,
            r#"cannot read ""; expected a time such as 5m"#,
        ),
        (
            ".",
            Unit::Minutes,
            r#"cannot read "."; expected a time such as 5m"#,
        ),
    ] {
        assert_eq!(shown(parse_duration_or(text, unit)), expected, "{text:?}");
    }
}

#[test]
fn weights_are_read() {
    for (text, expected) in [
        ("5%", "Weight(500)"),
        ("5 %", "Weight(500)"),
        ("12.5%", "Weight(1250)"),
        ("0.01%", "Weight(1)"),
        ("5.000%", "Weight(500)"),
        ("100%", "Weight(10000)"),
        ("5", r#""5" has no unit; expected a share such as 5%"#),
        (
            "0.001%",
            r#""0.001%" is finer than 0.01%; expected fewer digits"#,
        ),
        (
            "100.01%",
            r#""100.01%" is too large; expected at most 100%"#,
        ),
        ("-5%", r#"cannot read "-5%"; expected a share such as 5%"#),
        ("five", r#"cannot read "five"; expected a share such as 5%"#),
        ("5%%", r#"cannot read "5%%"; expected a share such as 5%"#),
    ] {
        assert_eq!(shown(parse_weight(text)), expected, "{text:?}");
    }
}

#[test]
fn lists_of_shares_are_those_of_the_deploy_script() {
    for (text, expected) in [
        (
            "5,25,50,100",
            "[Weight(500), Weight(2500), Weight(5000), Weight(10000)]",
        ),
        ("5%, 12.5%", "[Weight(500), Weight(1250)]"),
        ("5,,10", r#"cannot read ""; expected a share such as 5%"#),
        ("5,101", r#""101" is too large; expected at most 100%"#),
        ("", r#"cannot read ""; expected a share such as 5%"#),
    ] {
        assert_eq!(shown(parse_share_list(text)), expected, "{text:?}");
    }
}

#[test]
fn limits_follow_the_metric() {
    for (metric, text, expected) in [
        (Metric::ErrorRate, "5%", "Absolute(50000)"),
        (Metric::ErrorRate, "0.5%", "Absolute(5000)"),
        (Metric::ErrorRate, "+5pp", "Points(50000)"),
        (Metric::ErrorRate, "+0.5 pp", "Points(5000)"),
        (Metric::ErrorRate, "2x", "Times(2000)"),
        (Metric::SuccessRate, "0.98x", "Times(980)"),
        (Metric::P95, "500ms", "Absolute(500000)"),
        (Metric::P95, "1.5s", "Absolute(1500000)"),
        (Metric::P95, "+50%", "Times(1500)"),
        (Metric::P95, "+12.5%", "Times(1125)"),
        (Metric::Cpu, "250%", "Absolute(2500000)"),
        (Metric::Memory, "64MiB", "Absolute(67108864)"),
        (Metric::Memory, "64MB", "Absolute(64000000)"),
        (Metric::Memory, "1.5GiB", "Absolute(1610612736)"),
        (Metric::Restarts, "2", "Absolute(2)"),
    ] {
        assert_eq!(
            shown(parse_limit(metric, text)),
            expected,
            "{metric} {text:?}"
        );
    }
}

#[test]
fn limits_of_another_unit_are_refused() {
    let cases = r#"
p95       | 500      | "500" has no unit; expected a time such as 500ms
p95       | 5%       | cannot read "5%"; expected a time such as 500ms
p95       | 100ns    | "100ns" is finer than a microsecond; expected fewer digits
p95       | +5pp     | cannot read "+5pp"; expected a multiple of stable's value such as 2x or +50%
p95       | +50      | cannot read "+50"; expected a multiple of stable's value such as 2x or +50%
p95       | x        | cannot read "x"; expected a multiple of stable's value such as 2x or +50%
p95       | 1.0001x  | "1.0001x" is finer than 0.001x; expected fewer digits
p95       | 5000000x | "5000000x" is too large; expected a smaller multiple
errorRate | 0.05     | "0.05" has no unit; expected a share such as 5%
errorRate | 500%     | "500%" is too large; expected at most 100%
errorRate | 1e309    | cannot read "1e309"; expected a share such as 5%
errorRate | +999999pp | "+999999pp" is too large; expected fewer points
cpu       | 80       | "80" has no unit; expected a share of a processor such as 80%
memory    | 64       | "64" has no unit; expected a size such as 64MiB
memory    | 64mb     | cannot read "64mb"; expected a size such as 64MiB
restarts  | 2.5      | "2.5" is finer than 1; expected fewer digits
restarts  | 1e309    | cannot read "1e309"; expected a number such as 2
"#;
    for case in cases.trim().lines() {
        let [name, text, expected] = case.splitn(3, '|').map(str::trim).collect::<Vec<_>>()[..]
        else {
            panic!("{case}");
        };
        let metric = Metric::ALL
            .into_iter()
            .find(|metric| metric.name() == name)
            .unwrap();
        assert_eq!(shown(parse_limit(metric, text)), expected, "{case}");
    }
}

#[test]
fn a_long_text_is_cut_in_the_message() {
    let message = parse_weight(&"9".repeat(100_000)).unwrap_err().to_string();
    assert!(message.len() < 200, "{message}");
}

#[test]
fn times_and_sizes_are_written_with_the_largest_exact_unit() {
    for (millis, text) in [
        (300_000, "5m"),
        (90_000, "90s"),
        (1_500, "1500ms"),
        (7_200_000, "2h"),
        (604_800_000, "168h"),
        (0, "0s"),
    ] {
        assert_eq!(show_duration(Duration::from_millis(millis)), text);
    }
    assert_eq!(show_duration(Duration::from_nanos(1_001)), "1001ns");
    assert_eq!(show_duration(Duration::from_micros(7)), "7us");
    for (bytes, text) in [
        (0, "0B"),
        (1_500, "1500B"),
        (10 << 20, "10MiB"),
        (3 << 40, "3TiB"),
    ] {
        assert_eq!(show_bytes(bytes), text);
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(nanos in 0_u64..=31_622_400_000_000_000, limit in crate::strategy::limit(), bps in 0_u16..=10_000) {
        let time = Duration::from_nanos(nanos);
        prop_assert_eq!(parse_duration(&show_duration(time)), Ok(time));
        let (metric, limit) = limit;
        prop_assert_eq!(parse_limit(metric, &show_limit(metric, limit)), Ok(limit));
        let weight = Weight::try_from_bps(bps).unwrap();
        prop_assert_eq!(parse_weight(&weight.to_string()), Ok(weight));
    }

    #[test]
    fn no_text_panics(text in ".*") {
        for metric in Metric::ALL {
            let again = parse_limit(metric, &text).map(|limit| parse_limit(metric, &show_limit(metric, limit)));
            prop_assert!(again.is_err() || again == Ok(parse_limit(metric, &text)));
        }
        let bare = parse_duration_or(&text, Unit::Seconds);
        prop_assert!(parse_duration(&text).is_err() || bare == parse_duration(&text));
        prop_assert!(parse_share_list(&text).is_err() || text.contains(|c: char| c.is_ascii_digit()));
    }
}
