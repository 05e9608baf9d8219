//! Tests of `lint`.

use super::*;
use crate::file::parse;

/// Returns the paths of the advice on a service with the given rollout.
fn paths(stable: &str, rollout: &str) -> Vec<String> {
    let text = format!(
        "services: {{ a: {{ listen: 0, stable: {{ version: v1, {stable} }}, health: {{ path: /health }}, rollout: {rollout} }} }}"
    );
    let file = parse(&text).unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"));
    lint(&file)
        .into_iter()
        .map(|advice| advice.path.trim_start_matches("services.a.").to_owned())
        .collect()
}

#[test]
fn advice_is_given_where_it_hurts_and_nowhere_else() {
    let none: [&str; 0] = [];
    for (rollout, expected) in [
        ("{}", &none[..]),
        ("{ preset: blue-green }", &none[..]),
        ("{ preset: AllAtOnce }", &["rollout.steps[0]"][..]),
        ("{ guards: none }", &["rollout.guards"][..]),
        (
            "{ guards: none, steps: [5%, { gate: { approval: true } }, { weight: 100% }] }",
            &none[..],
        ),
        ("{ steps: [100%] }", &["rollout.steps[0]"][..]),
        (
            "{ steps: [{ weight: 0% }, { hold: 2m }, 100%] }",
            &["rollout.steps[2]"][..],
        ),
        ("{ steps: [{ testTraffic: true }, 100%] }", &none[..]),
        ("{ steps: [60%, 100%] }", &["rollout.steps[0]"][..]),
        ("{ steps: [50%, 100%] }", &none[..]),
        ("{ hold: 59s }", &["rollout.steps[1]"][..]),
        ("{ hold: 10s, sampling: { window: 10s } }", &none[..]),
        ("{ hold: 10s, guards: { restarts: 2 } }", &none[..]),
        (
            "{ steps: [5%, { hold: 10s }, 100%], judgeFromStep: 2 }",
            &none[..],
        ),
        ("{ hold: { min: 1s, max: 30s } }", &["rollout.steps[1]"][..]),
        (
            "{ guards: { errorRate: 2x } }",
            &["rollout.guards.errorRate"][..],
        ),
        ("{ guards: { errorRate: +1pp, p95: 2x } }", &none[..]),
    ] {
        assert_eq!(paths("run: a", rollout), expected, "{rollout}");
    }
}

#[test]
fn what_is_not_started_here_has_no_processor_to_measure() {
    let rollout = "{ guards: { errorRate: 5%, cpu: 80%, restarts: 1, ready: 90% } }";
    assert_eq!(
        paths("url: http://127.0.0.1:9001", rollout),
        ["rollout.guards.cpu", "rollout.guards.restarts"]
    );
    assert_eq!(paths("run: a", rollout), Vec::<String>::new());
}

#[test]
fn a_health_path_is_asked_for() {
    let file = parse("services: { a: { listen: 0, stable: { version: v1, run: a } } }").unwrap();
    let paths: Vec<String> = lint(&file).into_iter().map(|advice| advice.path).collect();
    assert_eq!(paths, ["services.a.health"]);
}
