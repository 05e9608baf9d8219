//! Tests of `lint`.

mod objects;
mod release;

use std::time::Duration;

use super::{
    rules::{NO_COMPARISON, NO_HEALTH_CHECK, UNMEASURED_GUARD},
    *,
};
use crate::file::parse;

/// A service with few requests, by which the examples of the rules about traffic are checked.
fn little_traffic() -> Traffic<'static> {
    Traffic {
        request_rate_milli: 1_000,
        stable_ppm: 1_000,
        canary_ppm: 10_000,
        find: &|held| {
            let seen: Duration = held
                .iter()
                .map(|(weight, time)| time.mul_f64(f64::from(weight.as_bps()) / 10_000.0))
                .sum();
            (seen > Duration::from_mins(30)).then_some(seen)
        },
    }
}

/// Returns the ids of the rules that a text breaks, each once.
fn ids(text: &str) -> Vec<&'static str> {
    let found = check(text, None).findings.into_iter();
    let mut ids: Vec<&str> = found.map(|one| one.rule.id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Returns the ids of the rules that the example of a rule breaks; those about traffic are told when it is known.
fn ids_of_example(rule: &Rule, text: &str) -> Vec<&'static str> {
    let traffic = little_traffic();
    let traffic = rule.title.contains("--rps").then_some(&traffic);
    let found = check(text, traffic).findings.into_iter();
    found.map(|one| one.rule.id).collect()
}

/// Returns what is said of a service with the given rollout.
fn remarks(stable: &str, rollout: &str) -> Vec<Remark> {
    let text = format!(
        "services: {{ a: {{ listen: 0, stable: {{ version: v1, {stable} }}, health: {{ path: /health }}, rollout: {rollout} }} }}"
    );
    let file = parse(&text).unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"));
    lint_file(&file, None)
}

/// Returns where a rule is broken by a service with the given rollout.
fn paths_of(rule: &Rule, stable: &str, rollout: &str) -> Vec<String> {
    let found = remarks(stable, rollout).into_iter();
    found
        .filter(|one| one.rule == rule)
        .map(|one| one.path.trim_start_matches("services.a.").to_owned())
        .collect()
}

/// Returns where a guard has nothing to be compared with.
fn paths(stable: &str, rollout: &str) -> Vec<String> {
    paths_of(&NO_COMPARISON, stable, rollout)
}

#[test]
fn each_rule_is_listed_once_and_its_examples_break_and_keep_it() {
    let mut names = std::collections::BTreeSet::new();
    for rule in RULES {
        assert!(names.insert(rule.id), "{} is there twice", rule.id);
        let (bad, good) = (
            ids_of_example(rule, rule.bad),
            ids_of_example(rule, rule.good),
        );
        assert!(bad.contains(&rule.id), "{}: {bad:?}", rule.id);
        assert!(!good.contains(&rule.id), "{}: {good:?}", rule.id);
        assert!(!good.contains(&"invalid"), "{}", rule.id);
        assert!(
            rule.id == "invalid" || !bad.contains(&"invalid"),
            "{}: {:?}",
            rule.id,
            check(rule.bad, None)
        );
    }
}

#[test]
fn whatever_is_found_has_a_rule_a_place_and_words() {
    for rule in RULES {
        let lines = rule.bad.lines().count();
        for one in check(rule.bad, Some(&little_traffic())).findings {
            assert!(RULES.contains(&one.rule), "{one:?}");
            assert!((1..=lines).contains(&one.line) && one.column > 0, "{one:?}");
            assert!(!one.reason.is_empty() && !one.fix.is_empty(), "{one:?}");
            assert!(
                !one.reason.ends_with('.') && !one.fix.ends_with('.'),
                "{one:?}"
            );
        }
        let is_id = |c: char| c.is_ascii_lowercase() || c == '-';
        assert!(rule.id.chars().all(is_id), "{}", rule.id);
    }
}

/// Checks which rules a rollout breaks, but for those that every short file does.
fn check_rollout(rollout: &str, expected: &[&str]) {
    let text = format!(
        "notify: [{{ webhook: 'https://example.com' }}]\nservices: {{ a: {{ listen: 0, stable: {{ version: v1, run: a, replicas: 2 }}, health: {{ path: /health }}, rollout: {rollout} }} }}"
    );
    let found: Vec<&str> = check(&text, None)
        .findings
        .iter()
        .map(|one| one.rule.id)
        .collect();
    assert_eq!(found, expected, "{rollout}");
}

#[test]
fn something_is_said_where_it_hurts_and_nowhere_else() {
    for (rollout, expected) in [
        ("{}", &[][..]),
        ("{ preset: blue-green }", &[]),
        ("{ preset: fast }", &[]),
        ("{ preset: slow }", &[]),
        ("{ preset: AllAtOnce }", &["all-at-once"]),
        ("{ preset: Canary10Percent30Minutes }", &[]),
        ("{ preset: Canary10Percent5Minutes }", &["jump-to-full"]),
        ("{ guards: none }", &["blind-canary"]),
        ("{ guards: none, judge: sequential }", &[]),
        (
            "{ guards: none, steps: [5%, { gate: { approval: true } }, { weight: 100% }], hold: 10m }",
            &[],
        ),
        ("{ steps: [100%] }", &["all-at-once"]),
        (
            "{ steps: [{ weight: 0% }, { hold: 2m }, 100%] }",
            &["all-at-once"],
        ),
        ("{ steps: [{ testTraffic: true }, 100%] }", &[]),
        ("{ steps: [60%, 100%] }", &["big-first-step"]),
        ("{ steps: [50%, 100%] }", &[]),
        ("{ steps: [5%, 100%], hold: 10m }", &[]),
        ("{ steps: [5%, { hold: untilResumed }, 100%] }", &[]),
        ("{ hold: 59s }", &["fast-rollout", "short-hold"]),
        ("{ hold: { min: 10s, max: 5m } }", &[]),
        ("{ hold: 1m }", &["fast-rollout"]),
        (
            "{ hold: 1m, steps: [5%, { hold: untilResumed }, 50%] }",
            &[],
        ),
        ("{ hold: 5m, guards: { restarts: 2 } }", &[]),
        ("{ hold: 2m, sampling: { window: 10s } }", &[]),
        ("{ onFailure: hold }", &["no-rollback-trigger"]),
        (
            "{ judge: threshold, guards: { errorRate: { continue: +1pp, severity: warn }, p95: 1s }, steps: [5%, 50%] }",
            &[],
        ),
        (
            "{ judge: threshold, guards: [{ metric: errorRate, continue: +1pp, severity: warn }, { metric: p95, continue: 1s, severity: warn }], steps: [5%, 50%] }",
            &["no-rollback-trigger"],
        ),
        (
            "{ onNoData: advance, onInconclusive: advance }",
            &["passes-without-data"; 2],
        ),
        ("{ guards: { successRate: 70% } }", &["loose-threshold"]),
        (
            "{ guards: { errorRate: 2x }, steps: [5%, 50%] }",
            &["multiple-of-nothing"],
        ),
        (
            "{ guards: { errorRate: +1pp, p95: 2x }, steps: [5%, 50%] }",
            &[],
        ),
        (
            "{ steps: [5%, { hold: 10m }, 50%, 100%], judgeFromStep: 2 }",
            &["late-judge"],
        ),
        ("{ steps: [5%, 5%, 50%] }", &["steps-do-not-rise"]),
    ] {
        check_rollout(rollout, expected);
    }
}

#[test]
fn what_is_not_started_here_has_no_processor_to_measure() {
    let rollout = "{ guards: { errorRate: 5%, cpu: 80%, restarts: 1, ready: 90% } }";
    assert_eq!(
        paths_of(&UNMEASURED_GUARD, "url: http://127.0.0.1:9001", rollout),
        ["rollout.guards.cpu", "rollout.guards.restarts"]
    );
    assert_eq!(paths_of(&UNMEASURED_GUARD, "run: a", rollout), [""; 0]);
}

#[test]
fn a_health_path_is_asked_for() {
    let file = parse("services: { a: { listen: 0, stable: { version: v1, run: a } } }").unwrap();
    let mut found = lint_file(&file, None).into_iter();
    let found = found.find(|one| *one.rule == NO_HEALTH_CHECK);
    assert_eq!(found.unwrap().path, "services.a.health");
}

/// Checks the place of the only finding of a rule.
fn check_place(text: &str, id: &str, expected: &str) {
    let report = check(text, None);
    let mut found = report.findings.iter().filter(|one| one.rule.id == id);
    let one = found.next().unwrap_or_else(|| panic!("{id}: {report:#?}"));
    assert_eq!(
        format!("{}:{} {}", one.line, one.column, one.path),
        expected
    );
    assert_eq!(found.next(), None);
}

#[test]
fn a_finding_has_the_place_where_it_was_written() {
    let head =
        "services:\n  a:\n    listen: 0\n    stable: { version: v1, run: a }\n    rollout:\n";
    for (rollout, id, expected) in [
        // A bare share is two steps of the plan, and one of the text.
        (
            "      steps:\n        - 5%\n        - 10%\n        - 100%\n",
            "jump-to-full",
            "9:11 services.a.rollout.steps[2]",
        ),
        (
            "      steps:\n        - 5%\n        - { hold: 30s }\n        - 50%\n",
            "short-hold",
            "8:13 services.a.rollout.steps[1].hold",
        ),
        (
            "      hold: 30s\n",
            "short-hold",
            "6:7 services.a.rollout.hold",
        ),
        (
            "      preset: AllAtOnce\n",
            "all-at-once",
            "6:7 services.a.rollout.preset",
        ),
        (
            "      steps: [5%, { weight: 100% }]\n      beforePromote: [{ gate: { run: a } }]\n",
            "invalid",
            "7:7 services.a.rollout.beforePromote",
        ),
        (
            "      guards: none\n",
            "blind-canary",
            "6:7 services.a.rollout.guards",
        ),
        (
            "      steps:\n        - 5%\n        - { weight: 100% }\n        - { analysis: { duration: 1m, guards: { p95: 2x } } }\n",
            "no-comparison",
            "9:49 services.a.rollout.steps[2].analysis.guards.p95",
        ),
        // What is missing has the place of what would hold it.
        (
            "      hold: 5m\n",
            "no-health-check",
            "2:3 services.a.health",
        ),
    ] {
        check_place(&format!("{head}{rollout}"), id, expected);
    }
}

#[test]
fn a_mistake_says_what_was_expected_as_its_fix() {
    let report = check("services:\n  auth: { lisen: 8080 }", None);
    let one = report
        .findings
        .iter()
        .find(|one| one.path.ends_with("lisen"))
        .unwrap();
    assert_eq!((one.line, one.column, one.rule.id), (2, 11, "invalid"));
    assert!(one.reason.starts_with("unknown key"), "{one:?}");
    assert!(one.fix.contains("listen"), "{one:?}");
}

#[test]
fn the_limits_of_chance_follow_the_traffic() {
    let ids = |rollout: &str, request_rate_milli: u64| -> Vec<&str> {
        let text = format!(
            "services: {{ a: {{ listen: 0, stable: {{ version: v1, run: a }}, rollout: {{ steps: [20%, 50%], {rollout} }} }} }}"
        );
        let traffic = Traffic {
            request_rate_milli,
            ..little_traffic()
        };
        let found = check(&text, Some(&traffic)).findings.into_iter();
        let ids = found.map(|one| one.rule.id);
        ids.filter(|id| id.ends_with("threshold") || id.ends_with("requests"))
            .collect()
    };
    // 60 requests in a window of a minute at 20 %: with 100 of them three sigmas are about one percent.
    assert_eq!(
        ids("guards: { errorRate: 0.9% }", 5_000),
        ["narrow-threshold"]
    );
    assert_eq!(ids("guards: { errorRate: 1.2% }", 5_000), [""; 0]);
    assert_eq!(ids("guards: { errorRate: 0.9% }", 500_000), [""; 0]);
    // 0.23 % is what chance explains at 6000 requests; ten times that is far away, and nothing else judges.
    let loose = "judge: threshold, guards: { errorRate: 5% }";
    assert_eq!(ids(loose, 500_000), ["loose-threshold"]);
    assert_eq!(ids("guards: { errorRate: 5% }", 500_000), [""; 0]);
    // 20 % of one request in three seconds, for five minutes.
    assert_eq!(ids("guards: { errorRate: 5% }", 333), ["few-requests"]);
}

#[test]
fn a_guard_against_stable_needs_one_with_traffic() {
    let none: [&str; 0] = [];
    let p95 = &["rollout.guards.p95"][..];
    for (rollout, expected) in [
        // Steps that end with a bare share hold there.
        ("{ guards: { p95: 2x } }", p95),
        ("{ guards: { p95: 2x }, preset: fast }", p95),
        ("{ guards: { p95: 2x }, steps: [5%, 50%] }", &none[..]),
        ("{ guards: { p95: 2x }, steps: [5%, 99.99%] }", &none[..]),
        (
            "{ guards: { p95: { continue: 500ms, rollback: 2x } } }",
            p95,
        ),
        ("{ guards: { p95: { continue: +50%, rollback: 2s } } }", p95),
        ("{ guards: { p95: 2s } }", &none[..]),
        (
            "{ guards: { errorRate: +1pp, successRate: 0.9x, mean: 2x, p50: 2x, p99: 2x, cpu: 2x } }",
            &[
                "rollout.guards.errorRate",
                "rollout.guards.successRate",
                "rollout.guards.mean",
                "rollout.guards.p50",
                "rollout.guards.p99",
                "rollout.guards.cpu",
            ][..],
        ),
        // Stable's replicas stay until the end, with or without traffic.
        (
            "{ guards: { memory: 2x, restarts: 2x, ready: 0.9x } }",
            &none[..],
        ),
        // A warn guard is not waited for, unless nothing else can pass.
        (
            "{ guards: { errorRate: 5%, p95: { continue: 2x, severity: warn } } }",
            &none[..],
        ),
        (
            "{ guards: { p99: { continue: 1s, severity: warn }, p95: { continue: 2x, severity: warn } } }",
            &none[..],
        ),
        ("{ guards: { p95: { continue: 2x, severity: warn } } }", p95),
    ] {
        assert_eq!(paths("run: a", rollout), expected, "{rollout}");
    }
}

#[test]
fn a_guard_against_stable_needs_stable_where_a_verdict_is_needed() {
    let none: [&str; 0] = [];
    let p95 = &["rollout.guards.p95"][..];
    for (rollout, expected) in [
        // With a verdict from before nothing is waited for at the end, but in a bake.
        (
            "{ guards: { p95: 2x }, steps: [5%, { weight: 100% }] }",
            &none[..],
        ),
        (
            "{ guards: { p95: 2x }, steps: [5%, { weight: 100% }], bake: 1m }",
            p95,
        ),
        (
            "{ guards: { p95: 2x }, steps: [5%, { weight: 100% }], bake: 1m, onNoData: advance }",
            &none[..],
        ),
        (
            "{ guards: { p95: 2x }, steps: [5%, { weight: 100% }], bake: 1m, promote: manual }",
            &none[..],
        ),
        ("{ guards: { p95: 2x }, preset: blue-green }", &none[..]),
        (
            "{ guards: { p95: 2x }, preset: Linear10PercentEvery1Minute }",
            p95,
        ),
        (
            "{ guards: { p95: 2x }, preset: Canary10Percent5Minutes }",
            &none[..],
        ),
        // Nothing before allowed the promotion, so it needs its verdict at the end.
        (
            "{ guards: { p95: 2x }, steps: [{ testTraffic: true }, { weight: 100% }] }",
            p95,
        ),
        (
            "{ guards: { p95: 2x }, steps: [{ testTraffic: true }, { gate: { approval: true } }, { weight: 100% }] }",
            &none[..],
        ),
        (
            "{ guards: { p95: 2x }, steps: [{ testTraffic: true }, { hold: untilResumed }, { weight: 100% }] }",
            &none[..],
        ),
        (
            "{ guards: { p95: 2x }, steps: [5%, { weight: 100% }, { gate: { run: a } }], judgeFromStep: 1 }",
            p95,
        ),
        // Who advances by hand at 5% is a person who allowed the rest.
        (
            "{ guards: { p95: 2x }, steps: [5%, { weight: 100% }], judgeFromStep: 1, advance: manual }",
            &none[..],
        ),
        // In between, the plan may go on without data; at the last wait it may not.
        (
            "{ guards: { p95: 2x }, steps: [5%, 100%, { gate: { run: a } }], onNoData: advance }",
            &none[..],
        ),
        (
            "{ guards: { p95: 2x }, steps: [5%, 100%, { gate: { run: a } }] }",
            p95,
        ),
        ("{ guards: { p95: 2x }, onNoData: advance }", p95),
    ] {
        assert_eq!(paths("run: a", rollout), expected, "{rollout}");
    }
}

#[test]
fn an_analysis_of_its_own_needs_stable_too() {
    let analysis = "{ analysis: { duration: 1m, guards: { p95: 2x } } }";
    let rest = "guards: { errorRate: 5% }";
    assert_eq!(
        paths(
            "run: a",
            &format!("{{ {rest}, steps: [5%, {{ weight: 100% }}, {analysis}] }}")
        ),
        ["rollout.steps[3].analysis.guards.p95"]
    );
    assert_eq!(
        paths(
            "run: a",
            &format!("{{ {rest}, steps: [5%, {analysis}, {{ weight: 100% }}] }}")
        ),
        Vec::<String>::new()
    );
}

#[test]
fn the_words_say_where_and_what_to_do() {
    for (rollout, message) in [
        (
            "{ guards: { p95: 2x } }",
            "compared with stable, which has no traffic during the hold at 100%, so the guard has no data there and never passes; give a fixed limit such as 5% or 500ms, or judge at a smaller share and end with { weight: 100% }, which does not hold",
        ),
        (
            "{ guards: { errorRate: 5% }, steps: [5%, { weight: 100% }, { analysis: { duration: 1m, guards: { p95: 2x } } }] }",
            "compared with stable, which has no traffic during the analysis at 100%, so the guard has no data there and never passes; give a fixed limit such as 5% or 500ms, or judge at a smaller share and end with { weight: 100% }, which does not hold",
        ),
        (
            "{ guards: { p95: 2x }, steps: [5%, { weight: 100% }, { experiment: { arms: [{ name: baseline, of: stable }], analysis: { duration: 1m, guards: { p95: 2x } } } }] }",
            "compared with stable, which has no traffic during the experiment at 100%, so the guard has no data there and never passes; give a fixed limit such as 5% or 500ms, or judge at a smaller share and end with { weight: 100% }, which does not hold",
        ),
        (
            "{ guards: { cpu: 2x }, preset: Linear50PercentEvery1Minute }",
            "compared with stable, which has no traffic during the bake, so it idles there and a good canary breaks the guard; give a fixed limit such as 5% or 500ms, or leave bake out",
        ),
        (
            "{ guards: { p95: 2x }, steps: [{ testTraffic: true }, { weight: 100% }] }",
            "compared with stable, which has no traffic at 100%, so the guard has no data there and never passes; give a fixed limit such as 5% or 500ms, or hold at a smaller share before",
        ),
    ] {
        let found = remarks("run: a", rollout).into_iter();
        let found = found.filter(|one| *one.rule == NO_COMPARISON);
        let messages: Vec<String> = found
            .map(|one| format!("{}; {}", one.reason, one.fix))
            .collect();
        assert_eq!(messages, [message], "{rollout}");
    }
}
