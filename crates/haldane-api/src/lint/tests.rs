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
            "{ guards: { errorRate: 2x }, steps: [5%, { weight: 100% }] }",
            &["rollout.guards.errorRate"][..],
        ),
        (
            "{ guards: { errorRate: +1pp, p95: 2x }, steps: [5%, { weight: 100% }] }",
            &none[..],
        ),
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
fn the_advice_says_where_and_what_to_do() {
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
        let file = parse(&format!(
            "services: {{ a: {{ listen: 0, stable: {{ version: v1, run: a }}, health: {{ path: /health }}, rollout: {rollout} }} }}"
        ));
        let advice = lint(&file.unwrap());
        let messages: Vec<&str> = advice.iter().map(|one| one.message.as_str()).collect();
        assert_eq!(messages, [message], "{rollout}");
    }
}
