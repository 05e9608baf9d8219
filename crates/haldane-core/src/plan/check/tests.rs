//! Tests of what makes a plan valid.

use super::*;
use crate::{
    guard::{Metric, Severity},
    plan::{Arm, Experiment, ExperimentArm, Freeze, HeaderMatch, HeaderRoute, ValueMatch, preset},
};

fn parts(steps: Vec<Step>) -> PlanParts {
    PlanParts {
        steps,
        rules: Rules::default(),
    }
}

fn paths(parts: PlanParts) -> Vec<String> {
    Plan::try_new(parts)
        .err()
        .unwrap_or_default()
        .into_iter()
        .map(|problem| problem.path)
        .collect()
}

/// Compares the paths of what is wrong with these steps.
#[track_caller]
fn check_steps_of(steps: &[Step], expected: &[&str]) {
    assert_eq!(paths(parts(steps.to_vec())), expected, "{steps:?}");
}

/// Compares the paths of what is wrong with one step and these rules.
#[track_caller]
fn check_rules_of(change: impl FnOnce(&mut Rules), expected: &[&str]) {
    let mut parts = parts(vec![Step::SetWeight(Weight::FULL)]);
    change(&mut parts.rules);
    let rules = format!("{:?}", parts.rules);
    assert_eq!(paths(parts), expected, "{rules}");
}

fn guard(metric: Metric, pass: Limit, fail: Limit) -> Guard {
    Guard {
        metric,
        pass,
        fail,
        failures: 0,
        severity: Severity::Critical,
    }
}

fn error_rate() -> Guard {
    guard(
        Metric::ErrorRate,
        Limit::Absolute(50_000),
        Limit::Absolute(50_000),
    )
}

fn analysis(duration: Duration, guards: Vec<Guard>) -> Analysis {
    Analysis {
        name: "smoke".to_owned(),
        duration,
        guards,
    }
}

fn gate(ask: Ask, timeout: Duration) -> Step {
    Step::Gate(Gate {
        name: "qa".to_owned(),
        ask,
        timeout,
    })
}

const MINUTE: Duration = Duration::from_mins(1);
const YEAR: Duration = Duration::from_hours(8_784);
const TOO_LONG: Duration = Duration::from_secs(8_784 * 3_600 + 1);

#[test]
fn all_mistakes_are_reported_at_once_with_their_paths() {
    let mut bad = parts(vec![
        Step::SetWeight(Weight::from_percent(50)),
        Step::SetWeight(Weight::from_percent(5)),
        Step::Hold(Hold::UntilEvidence {
            min: Duration::from_mins(2),
            max: Duration::from_mins(1),
        }),
        Step::ScaleCanary(Scale::Replicas(0)),
    ]);
    bad.rules.judge_from_step = 9;
    bad.rules.sampling.requests_min = 0;
    bad.rules.deadlines.drain = Duration::ZERO;
    bad.rules.guards = vec![guard(Metric::P95, Limit::Points(1), Limit::Points(1))];
    assert_eq!(
        paths(bad),
        [
            "steps[1]",
            "steps[2].min",
            "steps[3]",
            "guards[0].p95",
            "guards[0].p95",
            "judgeFromStep",
            "sampling.requestsMin",
            "deadlines.drain"
        ]
    );
}

#[test]
fn weights_rise_stay_or_drop_to_nothing() {
    let steps = |percents: &[u8]| -> Vec<Step> {
        let weights = percents.iter().copied().map(Weight::from_percent);
        weights.map(Step::SetWeight).collect()
    };
    check_steps_of(&steps(&[50, 0, 5]), &[]);
    check_steps_of(&steps(&[50, 50, 100]), &[]);
    check_steps_of(&steps(&[0, 0]), &[]);
    check_steps_of(&steps(&[50, 49]), &["steps[1]"]);
    check_steps_of(&steps(&[50, 5, 4, 6]), &["steps[1]", "steps[2]"]);
    // Test traffic is at weight 0.
    let mut tested = steps(&[50, 5]);
    tested.insert(1, Step::TestTraffic);
    check_steps_of(&tested, &[]);
}

#[test]
fn a_plan_without_steps_or_with_too_many_is_refused() {
    check_steps_of(&[], &["steps"]);
    check_steps_of(&vec![Step::TestTraffic; STEPS_MAX], &[]);
    check_steps_of(&vec![Step::TestTraffic; STEPS_MAX + 1], &["steps"]);
}

#[test]
fn every_wait_has_an_end_within_a_year() {
    for (hold, expected) in [
        (Hold::For(Duration::ZERO), &[][..]),
        (Hold::For(YEAR), &[][..]),
        (Hold::For(TOO_LONG), &["steps[0]"][..]),
        (Hold::UntilResumed, &[][..]),
        (
            Hold::UntilEvidence {
                min: MINUTE,
                max: MINUTE,
            },
            &[][..],
        ),
        (
            Hold::UntilEvidence {
                min: MINUTE,
                max: TOO_LONG,
            },
            &["steps[0].max"][..],
        ),
        (
            Hold::UntilEvidence {
                min: Duration::ZERO,
                max: Duration::ZERO,
            },
            &["steps[0].max"][..],
        ),
        (
            Hold::UntilEvidence {
                min: MINUTE + MINUTE,
                max: MINUTE,
            },
            &["steps[0].min"][..],
        ),
    ] {
        check_steps_of(&[Step::Hold(hold)], expected);
    }
}

#[test]
fn what_is_judged_by_itself_has_an_end_and_guards() {
    let experiment = |arms: usize, analysis| {
        let arm = ExperimentArm {
            name: "baseline".to_owned(),
            of: Arm::Stable,
            replicas: 1,
            weight: Weight::ZERO,
        };
        Step::Experiment(Experiment {
            arms: vec![arm; arms],
            analysis,
        })
    };
    for (duration, guards, expected) in [
        (MINUTE, vec![error_rate()], &[][..]),
        (Duration::ZERO, vec![error_rate()], &["duration"][..]),
        (TOO_LONG, vec![error_rate()], &["duration"][..]),
        (MINUTE, Vec::new(), &["guards"][..]),
        (
            MINUTE,
            vec![guard(Metric::P95, Limit::Points(1), Limit::Times(2_000))],
            &["guards[0].p95"][..],
        ),
    ] {
        let under = |path: &str| -> Vec<String> {
            expected.iter().map(|key| format!("{path}.{key}")).collect()
        };
        let judged = analysis(duration, guards);
        assert_eq!(
            paths(parts(vec![Step::Analysis(judged.clone())])),
            under("steps[0]")
        );
        assert_eq!(
            paths(parts(vec![experiment(1, judged)])),
            under("steps[0].analysis")
        );
    }
    check_steps_of(
        &[experiment(0, analysis(MINUTE, vec![error_rate()]))],
        &["steps[0].arms"],
    );
}

#[test]
fn a_gate_asks_somebody_and_not_forever() {
    let webhook = |url: &str| Ask::Webhook {
        url: url.to_owned(),
    };
    let run = |argv: &[&str]| Ask::Run {
        argv: argv.iter().map(ToString::to_string).collect(),
    };
    let job = |name: &str| Ask::Job {
        cron_job: name.to_owned(),
    };
    for (ask, expected) in [
        (Ask::Approval, &[][..]),
        (webhook("http://a"), &[][..]),
        (webhook("https://a"), &[][..]),
        (webhook("ftp://a"), &["steps[0].webhook"][..]),
        (webhook(""), &["steps[0].webhook"][..]),
        (run(&["a"]), &[][..]),
        (run(&["a", ""]), &[][..]),
        (run(&[""]), &["steps[0].run"][..]),
        (run(&[]), &["steps[0].run"][..]),
        (job("shop-smoke"), &[][..]),
        (job("smoke.shop-1"), &[][..]),
        (job(""), &["steps[0].job"][..]),
        (job("Smoke"), &["steps[0].job"][..]),
        (job("../smoke"), &["steps[0].job"][..]),
        (job("smoke-"), &["steps[0].job"][..]),
        (job("smoke..shop"), &["steps[0].job"][..]),
        (job(&"a".repeat(52)), &[][..]),
        (job(&"a".repeat(53)), &["steps[0].job"][..]),
    ] {
        check_steps_of(&[gate(ask, MINUTE)], expected);
    }
    check_steps_of(
        &[gate(Ask::Approval, Duration::ZERO)],
        &["steps[0].timeout"],
    );
    check_steps_of(&[gate(Ask::Approval, TOO_LONG)], &["steps[0].timeout"]);
}

#[test]
fn after_a_rollback_nobody_approves() {
    let hook = |ask: Ask| Gate {
        name: "tell".to_owned(),
        ask,
        timeout: MINUTE,
    };
    let webhook = |url: &str| {
        hook(Ask::Webhook {
            url: url.to_owned(),
        })
    };
    for (hooks, expected) in [
        (vec![webhook("http://a")], &[][..]),
        (
            vec![webhook("http://a"), hook(Ask::Approval)],
            &["hooks.afterRollback[1].approval"][..],
        ),
        (vec![webhook("a")], &["hooks.afterRollback[0].webhook"][..]),
        (vec![webhook("http://a"); HOOKS_MAX], &[][..]),
        (
            vec![webhook("http://a"); HOOKS_MAX + 1],
            &["hooks.afterRollback"][..],
        ),
    ] {
        check_rules_of(|rules| rules.after_rollback = hooks, expected);
    }
}

#[test]
fn a_canary_has_a_replica_and_not_too_many() {
    for (scale, is_valid) in [
        (Scale::Full, true),
        (Scale::MatchWeight, true),
        (Scale::ShareOfFull(Weight::ZERO), true),
        (Scale::Replicas(0), false),
        (Scale::Replicas(1), true),
        (Scale::Replicas(10_000), true),
        (Scale::Replicas(10_001), false),
    ] {
        let expected = |path| if is_valid { vec![] } else { vec![path] };
        check_steps_of(&[Step::ScaleCanary(scale)], &expected("steps[0]"));
        check_rules_of(|rules| rules.canary_scale = scale, &expected("canaryScale"));
    }
    let route = |name: &str| {
        Step::HeaderRoute(HeaderRoute {
            name: name.to_owned(),
            matches: Vec::new(),
        })
    };
    check_steps_of(&[route("team")], &[]);
    check_steps_of(&[route("")], &["steps[0].name"]);
}

#[test]
fn rules_are_checked_one_by_one() {
    check_rules_of(|_| {}, &[]);
    check_rules_of(|rules| rules.judge_from_step = 1, &["judgeFromStep"]);
    check_rules_of(|rules| rules.bake = YEAR, &[]);
    check_rules_of(|rules| rules.bake = TOO_LONG, &["bake"]);
    for time in [Duration::ZERO, TOO_LONG] {
        check_rules_of(|rules| rules.sampling.window = time, &["sampling.window"]);
        check_rules_of(
            |rules| rules.sampling.stale_after = time,
            &["sampling.staleAfter"],
        );
        let all = |rules: &mut Rules| {
            let waits = &mut rules.deadlines;
            for wait in [
                &mut waits.window,
                &mut waits.ready,
                &mut waits.lost,
                &mut waits.traffic,
                &mut waits.evidence,
                &mut waits.confirm,
                &mut waits.person,
                &mut waits.drain,
            ] {
                *wait = time;
            }
        };
        check_rules_of(
            all,
            &[
                "deadlines.window",
                "deadlines.ready",
                "deadlines.lost",
                "deadlines.traffic",
                "deadlines.evidence",
                "deadlines.confirm",
                "deadlines.person",
                "deadlines.drain",
            ],
        );
    }
    check_rules_of(|rules| rules.sampling.requests_min = 1, &[]);
    check_rules_of(
        |rules| rules.sampling.requests_min = 0,
        &["sampling.requestsMin"],
    );
}

#[test]
fn a_judge_bounds_its_errors_and_can_show_something_good() {
    let both = &["judge.alpha", "judge.beta"][..];
    for (ppm, expected) in [(0, both), (1, &[][..]), (200_000, &[][..]), (200_001, both)] {
        let judge = Sequential {
            alpha_ppm: ppm,
            beta_ppm: ppm,
            ..Sequential::default()
        };
        check_rules_of(|rules| rules.judge = Some(judge), expected);
    }
    for (harm_permille, accept_permille, accept_ppm, expected) in [
        (999, 1_500, 0, &["judge.harm"][..]),
        (1_000, 1_500, 0, &[][..]),
        (100_001, 100_000, 0, &["judge.harm", "judge.accept"][..]),
        // Wider by a multiple or by a share, but wider.
        (1_500, 1_501, 0, &[][..]),
        (1_500, 1_500, 1, &[][..]),
        (1_500, 1_500, 0, &["judge.accept"][..]),
        (1_500, 1_499, 1, &["judge.accept"][..]),
        (100_000, 100_000, 1, &[][..]),
        (1_500, 100_001, 0, &["judge.accept"][..]),
        (1_500, 1_600, 500_000, &[][..]),
        (1_500, 1_600, 500_001, &["judge.acceptPlus"][..]),
    ] {
        let judge = Sequential {
            harm_permille,
            accept_permille,
            accept_ppm,
            ..Sequential::default()
        };
        check_rules_of(|rules| rules.judge = Some(judge), expected);
    }
}

#[test]
fn a_judge_overlooks_only_so_much() {
    let check = |change: fn(&mut Sequential), expected: &[&str]| {
        let mut judge = Sequential::default();
        change(&mut judge);
        check_rules_of(|rules| rules.judge = Some(judge), expected);
    };
    check(|judge| judge.leeway_ppm = 0, &[]);
    check(|judge| judge.leeway_ppm = 1_000_000, &[]);
    check(|judge| judge.leeway_ppm = 1_000_001, &["judge.leeway"]);
    check(|judge| judge.leeway_min = Duration::ZERO, &[]);
    check(|judge| judge.leeway_min = Duration::from_secs(10), &[]);
    check(
        |judge| judge.leeway_min = Duration::from_secs(11),
        &["judge.leewayMin"],
    );
    check(|judge| judge.warm_up = Duration::ZERO, &[]);
    check(|judge| judge.warm_up = Duration::from_mins(10), &[]);
    check(
        |judge| judge.warm_up = Duration::from_secs(601),
        &["judge.warmUp"],
    );
}

#[test]
fn a_guards_limits_fit_its_metric() {
    check_rules_of(|rules| rules.guards = vec![error_rate(); GUARDS_MAX], &[]);
    check_rules_of(
        |rules| rules.guards = vec![error_rate(); GUARDS_MAX + 1],
        &["guards"],
    );
    for (metric, limit, is_valid) in [
        (Metric::ErrorRate, Limit::Absolute(1_000_000), true),
        (Metric::ErrorRate, Limit::Absolute(1_000_001), false),
        (Metric::P95, Limit::Absolute(1_000_001), true),
        (Metric::ErrorRate, Limit::Points(1), true),
        (Metric::P95, Limit::Points(1), false),
        (Metric::P95, Limit::Times(2_000), true),
        (Metric::ErrorRate, Limit::Times(2_000), true),
    ] {
        let path = format!("guards[0].{metric}");
        let expected = if is_valid {
            vec![]
        } else {
            vec![path.as_str()]
        };
        let fine = Limit::Times(1_000);
        for (pass, fail) in [(limit, fine), (fine, limit)] {
            check_rules_of(
                |rules| rules.guards = vec![guard(metric, pass, fail)],
                &expected,
            );
        }
    }
}

#[test]
fn windows_and_freezes_begin_before_they_end() {
    let window = |days: &[u8], from_minute, to_minute| Window {
        days: days.to_vec(),
        from_minute,
        to_minute,
        time_zone: "UTC".to_owned(),
    };
    for (window, expected) in [
        (window(&[1, 7], 0, 1_440), &[][..]),
        (window(&[1], 1_438, 1_439), &[][..]),
        (window(&[1], 0, 1_441), &["windows[0]"][..]),
        (window(&[1], 60, 60), &["windows[0]"][..]),
        (window(&[1], 61, 60), &["windows[0]"][..]),
        (window(&[], 0, 1), &["windows[0].days"][..]),
        (window(&[0], 0, 1), &["windows[0].days"][..]),
        (window(&[1, 8], 0, 1), &["windows[0].days"][..]),
    ] {
        check_rules_of(|rules| rules.windows = vec![window], expected);
    }
    let time = |text: &str| text.parse().unwrap();
    let freeze = |to: &str| Freeze {
        from: time("2026-12-20T00:00:00Z"),
        to: time(to),
        reason: "holidays".to_owned(),
    };
    let ends_later = freeze("2026-12-20T00:00:01Z");
    for (freeze, expected) in [
        (ends_later.clone(), &[][..]),
        (freeze("2026-12-20T00:00:00Z"), &["freezes[0]"][..]),
        (freeze("2026-12-19T00:00:00Z"), &["freezes[0]"][..]),
    ] {
        check_rules_of(|rules| rules.freezes = vec![freeze], expected);
    }
    let open = window(&[1], 0, 1);
    check_rules_of(
        |rules| rules.windows = vec![open.clone(); CALENDAR_MAX],
        &[],
    );
    check_rules_of(
        |rules| rules.windows = vec![open; CALENDAR_MAX + 1],
        &["windows"],
    );
    check_rules_of(
        |rules| rules.freezes = vec![ends_later.clone(); CALENDAR_MAX],
        &[],
    );
    check_rules_of(
        |rules| rules.freezes = vec![ends_later; CALENDAR_MAX + 1],
        &["windows"],
    );
}

/// All that a home can do.
const ALL: Abilities = Abilities {
    mirror: true,
    experiment: true,
    header_route: true,
    header_regex: true,
    command: true,
    job: true,
};

#[test]
fn what_a_home_cannot_do_is_said_step_by_step() {
    let route = |value| {
        Step::HeaderRoute(HeaderRoute {
            name: "team".to_owned(),
            matches: vec![HeaderMatch {
                header: "x-team".to_owned(),
                value,
            }],
        })
    };
    let plan = Plan::try_new(parts(vec![
        Step::SetWeight(Weight::FULL),
        Step::Mirror(Weight::FULL),
        Step::Experiment(Experiment {
            arms: vec![ExperimentArm {
                name: "baseline".to_owned(),
                of: Arm::Stable,
                replicas: 1,
                weight: Weight::ZERO,
            }],
            analysis: analysis(MINUTE, vec![error_rate()]),
        }),
        route(ValueMatch::Present),
        route(ValueMatch::Regex("a.*".to_owned())),
    ]))
    .unwrap();
    for (abilities, expected) in [
        (ALL, &[][..]),
        (
            Abilities {
                mirror: false,
                ..ALL
            },
            &["steps[1]"][..],
        ),
        (
            Abilities {
                experiment: false,
                ..ALL
            },
            &["steps[2]"][..],
        ),
        (
            Abilities {
                header_regex: false,
                ..ALL
            },
            &["steps[4]"][..],
        ),
        (
            Abilities {
                header_route: false,
                ..ALL
            },
            &["steps[3]", "steps[4]"][..],
        ),
    ] {
        let problems = plan.problems_for(abilities);
        let paths: Vec<&str> = problems.iter().map(|one| one.path.as_str()).collect();
        assert_eq!(paths, expected, "{abilities:?}");
    }
}

#[test]
fn a_stored_plan_is_checked_again() {
    let mut bad = parts(Vec::new());
    bad.rules.bake = TOO_LONG;
    let json = serde_json::to_string(&bad).unwrap();
    let error = serde_json::from_str::<Plan>(&json).unwrap_err().to_string();
    let expected = "the plan is not valid: steps: expected at least one step; bake: longer than a year; expected a time of at most 8784h";
    assert!(error.contains(expected), "{error}");
    let plan = preset::find("fast", Rules::default()).unwrap();
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
}

#[test]
fn whom_a_home_cannot_ask_is_said_gate_by_gate() {
    let asks = [
        Ask::Run {
            argv: vec!["smoke".to_owned()],
        },
        Ask::Job {
            cron_job: "smoke".to_owned(),
        },
    ];
    let mut parts = parts(asks.iter().cloned().map(|ask| gate(ask, MINUTE)).collect());
    let hook = |ask| Gate {
        name: "tell".to_owned(),
        ask,
        timeout: MINUTE,
    };
    parts.rules.after_rollback = asks.map(hook).to_vec();
    let plan = Plan::try_new(parts).unwrap();
    for (abilities, expected) in [
        (ALL, &[][..]),
        (
            Abilities {
                command: false,
                ..ALL
            },
            &["steps[0].run", "hooks.afterRollback[0].run"][..],
        ),
        (
            Abilities { job: false, ..ALL },
            &["steps[1].job", "hooks.afterRollback[1].job"][..],
        ),
    ] {
        let problems = plan.problems_for(abilities);
        let paths: Vec<&str> = problems.iter().map(|one| one.path.as_str()).collect();
        assert_eq!(paths, expected, "{abilities:?}");
    }
}
