//! Tables as people write them, and their mistakes.

use super::*;

const HEADER: &str = "time,stable_requests,stable_errors,canary_requests,canary_errors";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn counts_are_those_between_two_rows() {
    let text = format!(
        "# a comment\n{HEADER},weight,canary_le_100ms,canary_le_50ms,stable_le_50ms,stable_le_100ms\n\n\
         2026-11-21T10:00:10Z, 90, 1, 10, 2, 10%, 9, 5, 80, 85\n\
         \"2026-11-21T10:00:25Z\",95,0,5,0,500bps,5,5,90,95\n"
    );
    let rows = read(&text, false).unwrap();
    assert_eq!(
        (rows[0].from, rows[0].to),
        (at("2026-11-21T09:59:55Z"), at("2026-11-21T10:00:10Z"))
    );
    assert_eq!(
        (rows[1].from, rows[1].to),
        (rows[0].to, at("2026-11-21T10:00:25Z"))
    );
    assert_eq!((rows[0].canary.requests, rows[0].canary.failures), (10, 2));
    assert_eq!(rows[1].weight.unwrap().as_bps(), 500);
    let latency = Bucket::list([(50_000, 5), (100_000, 4), (u64::MAX, 1)]);
    assert_eq!(rows[0].canary.latency, latency);
    assert_eq!(rows[1].canary.latency, Bucket::list([(50_000, 5)]));
}

#[test]
fn a_header_without_end_is_one_mistake_and_many_wrong_columns_are_a_screenful() {
    let told = |header: &str| {
        let problems = read(header, false).unwrap_err();
        (problems.len(), problems[0].to_string())
    };
    let (count, first) = told(&",".repeat(1_000_000));
    assert_eq!(count, 1, "{first}");
    assert!(first.contains("more than 262 columns"), "{first}");
    let (count, first) = told(&",".repeat(200));
    assert_eq!(count, PROBLEMS_MAX, "{first}");
}

#[test]
fn the_mark_that_spreadsheets_put_first_is_no_column() {
    let rows = format!("{HEADER}\n100,50,1,5,1\n110,50,1,5,1\n");
    let marked = read(&format!("\u{feff}{rows}"), false).unwrap();
    assert_eq!(marked.len(), read(&rows, false).unwrap().len());
}

#[test]
fn totals_are_taken_from_each_other_and_may_begin_again() {
    let text = format!(
        "{HEADER},stable_le_1s,canary_le_1s\n100,50,1,5,1,49,5\n110,150,3,15,1,149,15\n120,20,0,30,2,20,29\n"
    );
    let rows = read(&text, true).unwrap();
    let counts: Vec<[u64; 4]> = rows
        .iter()
        .map(|row| {
            [
                row.stable.requests,
                row.stable.failures,
                row.canary.requests,
                row.canary.failures,
            ]
        })
        .collect();
    assert_eq!(counts, [[100, 2, 10, 0], [20, 0, 15, 1]]);
    assert_eq!(rows[0].from, Timestamp::from_second(100).unwrap());
    assert_eq!(
        rows[1].canary.latency,
        Bucket::list([(1_000_000, 14), (u64::MAX, 1)])
    );
}

#[test]
fn seconds_may_have_parts() {
    assert_eq!(
        moment("1800000000.25").unwrap().as_millisecond(),
        1_800_000_000_250
    );
    for text in [
        "",
        "now",
        "1e9",
        "-5",
        "1.2.3",
        "1.0123456789",
        "99999999999999",
    ] {
        let error = moment(text).unwrap_err();
        assert!(
            error.contains("is no time; expected one such as"),
            "{error}"
        );
    }
}

/// Checks that a table has these mistakes.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let problems = read(text, false).unwrap_err();
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.starts_with(expected), "{problem}");
    }
}

#[test]
fn each_mistake_is_told_with_its_line_and_column() {
    check(
        "",
        &["1:1: the table is empty; expected a header such as time,"],
    );
    check("# only a comment\n", &["1:1: the table is empty"]);
    check(
        "time,stable_requests,canary_requests,canary_errors,stable_latency\n",
        &[
            "1:52: \"stable_latency\" is no column; expected time,stable_requests",
            "1:1: the column stable_errors is missing",
        ],
    );
    check(
        &format!("{HEADER},time\n"),
        &["1:1: the column time is there 2 times"],
    );
    check(
        &format!("{HEADER},stable_le_5\n"),
        &["1:66: \"stable_le_5\": "],
    );
    check(
        &format!("{HEADER},stable_le_5ms\n"),
        &["1:1: the versions have different bounds of latency"],
    );
    check(
        &format!("{HEADER}\n1,2,0,1,0\n"),
        &["1:1: 1 rows; expected at least two"],
    );
    check(
        &format!("{HEADER}\n1,2,0,1\n2,x,0,1.5,0\n2,1,0,1,0\n"),
        &[
            "2:1: 4 cells; expected 5, as in the header",
            "3:3: \"x\" is no count; expected a whole number",
            "3:7: \"1.5\" is no count",
            "4:1: 1970-01-01T00:00:02Z is not after the row before",
        ],
    );
}

#[test]
fn counts_that_can_not_be_are_told_with_their_line() {
    check(
        &format!("{HEADER}\n1,2,3,1,0\n2,1,0,1,4\n"),
        &[
            "2:1: stable: 3 errors among 2 requests; expected at most as many",
            "3:1: canary: 4 errors among 1 requests",
        ],
    );
    check(
        &format!(
            "{HEADER},stable_le_1s,stable_le_2s,canary_le_1s,canary_le_2s\n1,9,0,9,0,5,4,1,1\n2,9,0,9,0,5,6,1,10\n"
        ),
        &[
            "2:1: stable: 4 requests within 2000000 us, but 5 within less",
            "3:1: canary: 10 requests within the largest bound, but 9 in all",
        ],
    );
    check(
        &format!("{HEADER}\n1,2,0,1,0\n9999999,1,0,1,0\n"),
        &["3:1: 1970-04-26T17:46:39Z is more than 31 days after"],
    );
    check(
        &format!("{HEADER},weight\n1,2,0,1,0,5\n2,2,0,1,0,5%\n"),
        &["2:11: \"5\" has no unit"],
    );
    let many = "1,x,0,1,0\n".repeat(1_000);
    assert_eq!(
        read(&format!("{HEADER}\n{many}"), false).unwrap_err().len(),
        PROBLEMS_MAX
    );
}

#[test]
fn the_example_of_the_documentation_is_read() {
    let text = include_str!("../../../../../../docs/replay.md");
    let (_, rest) = text.split_once("```csv\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let rows = read(example, false).unwrap();
    assert!(rows.len() >= 3);
    assert!(
        rows.iter()
            .any(|row| row.canary.requests > 0 && !row.canary.latency.is_empty())
    );
}
