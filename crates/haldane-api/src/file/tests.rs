//! Tests of `file`.

use std::time::{Duration, Instant};

use haldane_core::{
    Weight,
    guard::{Guard, Limit, Metric, Severity},
    plan::{Hold, Mode, OnFailure, Plan, Scale, Step},
};
use proptest::prelude::*;

use super::*;

fn one(text: &str) -> Service {
    let file = parse(text).unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"));
    file.services.into_values().next().unwrap()
}

/// Reads a service with the given rollout.
fn rollout(text: &str) -> Plan {
    one(&format!(
        "services: {{ a: {{ listen: 0, stable: {{ version: v1, run: a }}, rollout: {text} }} }}"
    ))
    .plan
}

fn shown(text: &str) -> String {
    match parse(text) {
        Ok(_) => "no mistake".to_owned(),
        Err(problems) => problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

/// Writes steps for comparison: `5% hold 5m …`.
fn outline(plan: &Plan) -> String {
    let step = |step: &Step| match step {
        Step::SetWeight(weight) => weight.to_string(),
        Step::Hold(Hold::For(time)) => crate::text::show_duration(*time),
        Step::Hold(hold) => format!("{hold:?}"),
        Step::TestTraffic
        | Step::ScaleCanary(_)
        | Step::Analysis(_)
        | Step::Experiment(_)
        | Step::HeaderRoute(_)
        | Step::Mirror(_)
        | Step::Gate(_) => format!("{step:?}"),
    };
    plan.steps().iter().map(step).collect::<Vec<_>>().join(" ")
}

fn guard(metric: Metric, limit: Limit, severity: Severity) -> Guard {
    Guard {
        metric,
        pass: limit,
        fail: limit,
        failures: 0,
        severity,
    }
}

#[test]
fn the_smallest_file_has_every_default() {
    let service = one(
        "services: { auth: { listen: 8080, stable: { version: v1, run: ./auth --port $PORT } } }",
    );
    assert_eq!(service.listen, ["0.0.0.0:8080".parse().unwrap()]);
    assert_eq!((service.host, service.path), (None, None));
    assert_eq!(service.stable.version.as_str(), "v1");
    let argv = ["./auth", "--port", "$PORT"].map(str::to_owned).to_vec();
    let source = Source::Run {
        argv,
        env: BTreeMap::new(),
        dir: ".".to_owned(),
        user: None,
        replicas: 1,
    };
    assert_eq!(service.stable.source, source);
    assert_eq!(service.health, Health::default());
    assert_eq!(service.unmeasured, Vec::<String>::new());
    assert_eq!(
        (service.stop_grace, service.start_grace),
        (Duration::from_secs(10), Duration::from_mins(1))
    );
    assert_eq!(service.overrides.header.as_deref(), Some("x-canary"));
    assert_eq!(service.limits.body_bytes, 10 * 1024 * 1024);
    assert_eq!(service.plan, default_plan());
    assert_eq!(outline(&service.plan), "5% 5m 25% 5m 50% 5m 100% 5m");
    assert_eq!(
        service.plan.rules().guards,
        [
            guard(
                Metric::ErrorRate,
                Limit::Absolute(50_000),
                Severity::Critical
            ),
            guard(Metric::P99, Limit::Absolute(1_000_000), Severity::Critical),
            guard(Metric::P95, Limit::Absolute(500_000), Severity::Warn),
        ]
    );
}

#[test]
fn everything_can_be_said() {
    let file = parse(include_str!("full.yaml")).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let hook = "https://hooks.example.com/haldane?team=shop".to_owned();
    assert_eq!(file.notify, [Notify::Webhook { url: hook }]);
    let auth = &file.services[&"auth".parse().unwrap()];
    assert_eq!(
        auth.listen
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["0.0.0.0:8080", "[::1]:8443"]
    );
    assert_eq!(
        auth.host.as_ref().map(HostPattern::as_str),
        Some("*.example.com")
    );
    assert_eq!(auth.path.as_deref(), Some("/auth"));
    let Source::Run {
        argv,
        env,
        dir,
        user,
        replicas,
    } = &auth.stable.source
    else {
        panic!("{auth:?}")
    };
    assert_eq!(argv, &["./auth", "--port", "$PORT", "--name", "a b"]);
    assert_eq!(
        env.iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>(),
        ["DEBUG=no", "MODE=production", "RATE=1.10"]
    );
    assert_eq!(
        (dir.as_str(), user.as_deref(), *replicas),
        ("./services", Some("nobody"), 2)
    );
    assert_eq!(
        auth.overrides,
        Override {
            header: Some("x-try".to_owned()),
            cookie: None,
            query: Some("canary".to_owned())
        }
    );
    assert_eq!(auth.unmeasured, ["/health", "/metrics"]);
    assert_eq!(auth.timeouts.response, Duration::from_secs(90));
    let shop = &file.services[&"shop".parse().unwrap()];
    assert_eq!(shop.stable.version.as_str(), "1.10");
    assert_eq!(shop.overrides, Override::OFF);
    assert_eq!(outline(&shop.plan), "10% 5m 100%");
    assert!(shop.plan.rules().guards.is_empty());
}

#[test]
fn every_rule_can_be_said() {
    let auth = one(include_str!("full.yaml"));
    let rules = auth.plan.rules();
    assert_eq!(rules.guards.len(), 7);
    assert_eq!(
        rules.guards[0],
        guard(Metric::ErrorRate, Limit::Points(5_000), Severity::Critical)
    );
    let p95 = Guard {
        metric: Metric::P95,
        pass: Limit::Absolute(500_000),
        fail: Limit::Absolute(1_000_000),
        failures: 2,
        severity: Severity::Warn,
    };
    assert_eq!(rules.guards[1], p95);
    assert_eq!(
        rules.guards[2],
        guard(Metric::Mean, Limit::Times(1_500), Severity::Critical)
    );
    assert_eq!(
        (rules.on_failure, rules.advance, rules.promote),
        (OnFailure::PauseAtZero, Mode::Hybrid, Mode::Manual)
    );
    assert_eq!(
        (rules.canary_scale, rules.bake),
        (Scale::MatchWeight, Duration::from_mins(10))
    );
    assert_eq!(
        (rules.deadlines.ready, rules.deadlines.lost),
        (Duration::from_mins(1), Duration::from_secs(30))
    );
    assert_eq!(rules.windows[0].days, [1, 2, 3, 4, 5]);
    assert_eq!(
        (rules.windows[1].from_minute, rules.windows[1].to_minute),
        (630, 1_440)
    );
    assert_eq!(rules.freezes[0].to.to_string(), "2027-01-01T23:00:00Z");
    assert_eq!(auth.plan.step_count(), 17);
}

#[test]
fn bare_shares_hold_unless_a_hold_of_their_own_follows() {
    for (text, expected) in [
        ("{}", "5% 5m 25% 5m 50% 5m 100% 5m"),
        ("{ hold: 10s }", "5% 10s 25% 10s 50% 10s 100% 10s"),
        ("{ steps: [5%, 100%] }", "5% 5m 100% 5m"),
        (
            "{ steps: [5%, { hold: 1h }, 100%], hold: 1m }",
            "5% 1h 100% 1m",
        ),
        ("{ steps: [{ weight: 5% }, 100%], hold: 1m }", "5% 100% 1m"),
        (
            "{ steps: [1%, 5%], hold: { min: 1s, max: 2s } }",
            "1% UntilEvidence { min: 1s, max: 2s } 5% UntilEvidence { min: 1s, max: 2s }",
        ),
        ("{ preset: fast }", "5% 10m 25% 10m 50% 10m 100% 10m"),
    ] {
        assert_eq!(outline(&rollout(text)), expected, "{text}");
    }
}

#[test]
fn the_judge_begins_at_an_entry_of_the_list() {
    for (text, expected) in [
        ("{ steps: [5%, 25%, 100%], judgeFromStep: 1 }", 2),
        (
            "{ steps: [{ weight: 5% }, { hold: 1m }, 100%], judgeFromStep: 1 }",
            1,
        ),
        ("{ judgeFromStep: 3 }", 6),
        ("{ preset: fast, judgeFromStep: 3 }", 3),
    ] {
        assert_eq!(rollout(text).rules().judge_from_step, expected, "{text}");
    }
}

#[test]
fn guards_are_the_usual_ones_unless_given_and_none_only_when_said() {
    assert_eq!(rollout("{ steps: [5%] }").rules().guards, default_guards());
    assert_eq!(rollout("{ preset: slow }").rules().guards, default_guards());
    for text in ["{ guards: {} }", "{ guards: none }", "{ guards: [] }"] {
        assert!(rollout(text).rules().guards.is_empty(), "{text}");
    }
    let both = rollout("{ guards: { p99: 1s, errorRate: { continue: 1%, rollback: 5% } } }");
    let error_rate = Guard {
        pass: Limit::Absolute(10_000),
        ..guard(
            Metric::ErrorRate,
            Limit::Absolute(50_000),
            Severity::Critical,
        )
    };
    assert_eq!(
        both.rules().guards,
        [
            guard(Metric::P99, Limit::Absolute(1_000_000), Severity::Critical),
            error_rate
        ]
    );
    let two = rollout(
        "{ guards: [{ metric: p95, rollback: 1s }, { metric: p95, continue: 500ms, severity: warn }] }",
    );
    assert_eq!(
        two.rules().guards[1],
        guard(Metric::P95, Limit::Absolute(500_000), Severity::Warn)
    );
}

#[test]
fn days_may_go_over_the_weekend() {
    for (text, expected) in [
        ("mon-fri", vec![1, 2, 3, 4, 5]),
        ("sat,sun", vec![6, 7]),
        ("fri - Mon", vec![5, 6, 7, 1]),
        ("[mon, wed-thu]", vec![1, 3, 4]),
    ] {
        let text = if text.starts_with('[') {
            text.to_owned()
        } else {
            format!("'{text}'")
        };
        assert_eq!(
            rollout(&format!("{{ windows: [{{ days: {text} }}] }}"))
                .rules()
                .windows[0]
                .days,
            expected,
            "{text}"
        );
    }
}

#[test]
fn the_first_step_may_be_a_small_share_with_a_space() {
    assert_eq!(
        rollout(r#"{ steps: [{ weight: "5 %" }, 100%] }"#).weight_at(0),
        Weight::from_percent(5)
    );
}

#[test]
fn json_is_read_like_yaml() {
    let json = r#"{"services": {"auth": {"listen": [8080], "stable": {"version": "v1", "run": ["./auth"], "replicas": 2}, "rollout": {"steps": ["5%", {"testTraffic": true}]}}}}"#;
    let yaml = "services:\n  auth:\n    listen: 8080\n    stable: { version: v1, run: ./auth, replicas: 2 }\n    rollout:\n      steps:\n      - 5%\n      - testTraffic: true\n";
    assert_eq!(parse(json), parse(yaml));
    assert!(parse(json).is_ok());
}

#[test]
fn a_file_is_stored_as_json_and_checked_again() {
    let file = parse(include_str!("full.yaml")).unwrap();
    let json = serde_json::to_string(&file).unwrap();
    assert_eq!(serde_json::from_str::<File>(&json).unwrap(), file);
    assert!(
        serde_json::from_str::<File>(&json.replace("http://shop.internal:80", "ftp://shop"))
            .is_err()
    );
    assert!(serde_json::from_str::<File>(&json.replace("*.example.com", "*.*")).is_err());
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let mut count = 0;
    for case in include_str!("mistakes.txt").split("@@@\n").skip(1) {
        let (text, expected) = case.split_once("\n>>>\n").unwrap();
        assert_eq!(shown(text), expected.trim_end(), "{text}");
        count += 1;
    }
    assert!(count > 90, "{count}");
}

#[test]
fn letters_that_do_not_show_are_told_with_their_place() {
    for (text, expected) in [
        (
            "\u{feff}services: 1",
            "1:11: services: \"1\"; expected a map of services by name",
        ),
        (
            "services: \0",
            "1:11: services: this is not YAML: found unprintable character",
        ),
        (
            "é: 1\nüü: &x 1",
            "1:1: services is missing; expected the services by name (a-z, 0-9 and '-')\n1:1: é: unknown key \"é\"; expected one of version, notify, sources, services\n2:1: üü: unknown key \"üü\"; expected one of version, notify, sources, services\n2:5: üü: an anchor (&); expected plain values, written out where they are used",
        ),
    ] {
        assert_eq!(shown(text), expected, "{text:?}");
    }
}

#[test]
fn only_the_first_hundred_mistakes_are_told() {
    let text: String = (0..500).map(|index| format!("key{index}: 1\n")).collect();
    let problems = parse(&text).unwrap_err();
    assert_eq!(problems.len(), PROBLEMS_MAX + 1);
    assert_eq!(problems[PROBLEMS_MAX].message, "and 401 more mistakes");
}

/// Texts that blow up careless readers; all end within seconds even in a debug build, most in no time.
#[test]
fn bombs_end_soon() {
    let full = |unit: &str| unit.repeat(TEXT_BYTES_MAX / unit.len());
    let laughs: String = (1..9)
        .map(|n| {
            format!(
                "x{n}: &x{n} [{}]\n",
                vec![format!("*x{}", n - 1); 9].join(", ")
            )
        })
        .collect();
    for text in [
        "a".repeat(TEXT_BYTES_MAX + 1),
        format!("x0: &x0 lol\n{laughs}"),
        full("["),
        full("{"),
        full("- "),
        full("? "),
        full("a: "),
        full("[],"),
        format!("[{}", full("a,").split_at(TEXT_BYTES_MAX - 2).0),
        full("a\n"),
        full(" \n"),
        full("#\n"),
        full("\t"),
        full("\"\\n"),
        full("'"),
        full("|\n "),
        full("&a "),
        full("!"),
        full("%"),
        full("---\n"),
        full("a:\n - "),
        format!(
            "services: {{ a: {{ listen: [{}",
            full("80, ").split_at(TEXT_BYTES_MAX - 40).0
        ),
        format!("a: {}", "9".repeat(TEXT_BYTES_MAX - 3)),
        (0..60_000).map(|index| format!("k{index}: 1\n")).collect(),
        "same: 1\n".repeat(60_000),
    ] {
        let start = Instant::now();
        let problems = parse(&text).unwrap_err();
        let (took, head) = (start.elapsed(), text.chars().take(20).collect::<String>());
        assert!(took < Duration::from_secs(20), "{took:?} for {head:?}");
        assert!(problems.len() <= PROBLEMS_MAX + 1, "{head:?}");
        assert!(
            problems
                .iter()
                .all(|problem| problem.to_string().len() < 4_000),
            "{head:?}"
        );
    }
}

/// The full file with some bytes dropped, doubled or replaced: closer to what people save than noise is.
fn damaged() -> impl Strategy<Value = String> {
    let edit = (
        any::<prop::sample::Index>(),
        0..40_usize,
        prop_oneof!["[ -~\n\t]{0,3}", "[:\\[\\]{},&*!|>'\"%#-]{1,2}"],
    );
    prop::collection::vec(edit, 1..5).prop_map(|edits| {
        let mut text: Vec<char> = include_str!("full.yaml").chars().collect();
        for (index, length, new) in edits {
            let from = index.index(text.len());
            let to = (from + length).min(text.len());
            text.splice(from..to, new.chars());
        }
        text.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let text = String::from_utf8_lossy(&bytes);
        prop_assert!(parse(&text).is_err());
    }

    #[test]
    fn a_damaged_file_is_read_or_its_mistakes_lie_inside(text in damaged()) {
        if let Err(problems) = parse(&text) {
            prop_assert!(!problems.is_empty());
            for problem in problems {
                prop_assert!(problem.line >= 1 && problem.line <= text.lines().count() + 1, "{problem}");
                prop_assert!(problem.column >= 1, "{problem}");
            }
        }
    }
}
