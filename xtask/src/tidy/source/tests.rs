//! Each rule about source files, shown to fail.

use super::*;

const TABLES: &str = "\
| crate | pure | may use |
|---|---|---|
| `engine` | no | – |

| restricted | only in |
|---|---|
| `std::process::Command` | `supervisor` |
| `tokio::process` | `supervisor` |
";

fn found(owner: &str, path: &str, text: &str) -> Vec<String> {
    let architecture = Architecture::parse(TABLES).unwrap();
    let problems = Source::new(owner, path, text).problems(&architecture);
    problems.iter().map(|problem| problem.to_string()).collect()
}

fn check(body: &str, expected: &[&str]) {
    let text = format!("//! Doc.\n{body}\n");
    assert_eq!(found("engine", "src/a.rs", &text), expected, "{body}");
}

fn check_path(path: &str, expected: &[&str]) {
    assert_eq!(found("engine", path, "//! Doc.\n"), expected, "{path}");
}

#[test]
fn a_file_without_its_doc_is_refused() {
    let expected = ["src/a.rs: expected the file to begin with its `//!` doc"];
    assert_eq!(found("engine", "src/a.rs", "use std::fmt;\n"), expected);
}

#[test]
fn a_long_file_is_refused() {
    let lines = "\n".repeat(LINES_MAX - 2);
    check(&lines, &[]);
    check(
        &format!("\n{lines}"),
        &["src/a.rs: 601 lines without tests; at most 600"],
    );
}

#[test]
fn tests_at_the_end_do_not_count() {
    let tests = "\n".repeat(LINES_MAX);
    check(&format!("#[cfg(test)]\nmod tests {{\n{tests}}}"), &[]);
    let text = format!("//! Doc.\n{tests}");
    assert!(found("engine", "src/a/tests.rs", &text).is_empty());
    assert!(found("engine", "crates/a/tests/it/b.rs", &text).is_empty());
    assert_eq!(found("engine", "src/latests.rs", &text).len(), 1);
}

#[test]
fn modules_that_name_nothing_are_refused() {
    check_path(
        "src/utils.rs",
        &["src/utils.rs: `utils` names nothing of the domain"],
    );
    check_path(
        "src/misc/a.rs",
        &["src/misc/a.rs: `misc` names nothing of the domain"],
    );
    let inline = "src/a.rs:2: `helpers` names nothing of the domain";
    check("mod helpers {}\nmod window_manager;", &[inline]);
    check_path(
        "src/a/mod.rs",
        &["src/a/mod.rs: expected `name.rs` beside `name/`, not `mod.rs`"],
    );
}

#[test]
fn lints_are_expected_not_allowed() {
    let problem = "src/a.rs:3: expected `#[expect(…, reason = \"…\")]` instead of `allow`";
    check("fn a() {}\n#[allow(dead_code)]", &[problem]);
    check(
        "fn a() {}\n#![cfg_attr(test, allow(dead_code))]",
        &[problem],
    );
    check(
        "#[expect(dead_code, reason = \"allow\")]\nfn allow() {} // #[allow(x)]",
        &[],
    );
}

#[test]
fn tests_are_never_ignored() {
    check(
        "#[test]\n#[ignore]",
        &["src/a.rs:3: an ignored test can't fail: run it or remove it"],
    );
    check(
        "#[ignore = \"slow\"]",
        &["src/a.rs:2: an ignored test can't fail: run it or remove it"],
    );
    check("fn ignore() {}", &[]);
}

#[test]
fn leftovers_are_refused() {
    let problem = "src/a.rs:2: unfinished work belongs into an issue, not into a comment";
    check("// TODO: later", &[problem]);
    check("/* FIXME */", &[problem]);
    check("const TEXT: &str = \"TODO\"; // TODOS is a name.", &[]);
}

#[test]
fn processes_belong_to_the_supervisor() {
    let command = "src/a.rs: ARCHITECTURE.md does not let `engine` use `std::process::Command`";
    for body in [
        "use std::process::Command;",
        "use std::{fmt, process::{Command, ExitCode}};",
        "pub(crate) use std::process::Command as Spawn;",
        "use std::process;\nfn a() { process::Command::new(b); }",
        "use std::process as p;\nfn a() -> p::Command {}",
        "fn a() { std::process::Command::new(b); }",
        "fn a() {\n    use std::{\n        process::{self, ExitCode},\n    };\n    process::Command::new(b);\n}",
    ] {
        check(body, &[command]);
    }
    check(
        "#[cfg(test)]\nmod tests {\n    fn a() {}\n}\nuse std::process::Command;",
        &[command],
    );
    check(
        "use tokio::process;",
        &["src/a.rs: ARCHITECTURE.md does not let `engine` use `tokio::process`"],
    );
}

#[test]
fn what_is_no_process_is_free() {
    for body in [
        "use std::process::ExitCode;",
        "use haldane_supervisor::process::Command;",
        "use crate::process;\nfn a() { process::Command::new(b); }",
        "//! `std::process::Command`\nconst A: &str = \"std::process::Command\";",
        "#[cfg(test)]\nmod tests {\n    use std::process::Command;\n}",
        "#[cfg(test)]\nmod tests;\nfn a() {}",
    ] {
        check(body, &[]);
    }
    let text = "//! Doc.\nuse std::process::Command;\n";
    assert!(found("supervisor", "src/a.rs", text).is_empty());
}
