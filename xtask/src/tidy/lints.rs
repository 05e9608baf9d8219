//! Clippy reads the nearest `clippy.toml` and does not merge: each one must repeat the root's thresholds, and those of pure
//! crates must forbid the world.

use crate::tidy::Problem;

/// What a pure crate may not name: time, ambient input, waiting, and collections whose order differs per run.
const IMPURE: [&str; 7] = [
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "jiff::Timestamp::now",
    "std::env::var",
    "std::thread::sleep",
    "std::collections::HashMap",
    "std::collections::HashSet",
];

/// Returns what is wrong with the `clippy.toml` of a crate, or with its absence.
pub(super) fn problems(path: &str, text: Option<&str>, root: &str, is_pure: bool) -> Vec<Problem> {
    let Some(text) = text else {
        let missing = Problem::new(path, "a pure crate has its own clippy.toml");
        return if is_pure { vec![missing] } else { Vec::new() };
    };
    let repeated = thresholds(root).filter(|line| !text.lines().any(|own| own.trim() == *line));
    let mut wrong: Vec<String> = repeated
        .map(|line| format!("expected `{line}`, as in the root"))
        .collect();
    if is_pure {
        let forbidden = |path: &str| text.contains(&format!("path = \"{path}\""));
        let missing = IMPURE.iter().filter(|path| !forbidden(path));
        wrong.extend(missing.map(|path| format!("expected `{path}` to be disallowed")));
    }
    wrong
        .into_iter()
        .map(|what| Problem::new(path, what))
        .collect()
}

/// Returns the lines that set one value; lists are each crate's own.
fn thresholds(root: &str) -> impl Iterator<Item = &str> {
    let lines = root.lines().map(str::trim);
    lines.filter(|line| {
        !line.starts_with(['#', '{']) && line.contains(" = ") && !line.ends_with('[')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str =
        "# why\nlines = 70\nallow-in-tests = true\nmethods = [\n  { path = \"x\" },\n]\n";

    fn check(text: Option<&str>, is_pure: bool, expected: &[&str]) {
        let problems = problems("clippy.toml", text, ROOT, is_pure);
        let problems: Vec<String> = problems.into_iter().map(|problem| problem.what).collect();
        assert_eq!(problems, expected);
    }

    fn pure(but: &str) -> String {
        let bans = IMPURE.iter().filter(|path| **path != but);
        let bans: String = bans
            .map(|path| format!("  {{ path = \"{path}\" }},\n"))
            .collect();
        format!("lines = 70\nallow-in-tests = true\ndisallowed-methods = [\n{bans}]\n")
    }

    #[test]
    fn a_pure_crate_needs_a_file_of_its_own() {
        check(None, true, &["a pure crate has its own clippy.toml"]);
        check(None, false, &[]);
        check(Some(&pure("")), true, &[]);
    }

    #[test]
    fn a_pure_crate_forbids_the_clock() {
        let expected = "expected `std::time::SystemTime::now` to be disallowed";
        check(Some(&pure("std::time::SystemTime::now")), true, &[expected]);
    }

    #[test]
    fn thresholds_are_repeated() {
        check(
            Some("lines = 700\nallow-in-tests = true\n"),
            false,
            &["expected `lines = 70`, as in the root"],
        );
    }
}
