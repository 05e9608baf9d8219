//! What a rollout asks of its host, phase by phase.

use super::script::{Script, guarded, plan};
use crate::{
    plan::{HeaderRoute, OnFailure, Plan, Rules, Scale},
    rollout::{CanaryWish, Effect, Traffic, describe, effect},
    verdict::Subject,
    weight::Weight,
};

/// The second step of a plan like `10% 1m …`, at work.
const HOLDING: &str = "tick ready applied tick applied";

/// Writes the effects after a script, in order, in short.
fn asked(plan: &Plan, script: &str) -> Vec<String> {
    let script = Script::play(plan, script);
    effect::effects(plan, &script.state)
        .into_iter()
        .map(|effect| match effect {
            Effect::EnsureTraffic(traffic) => format!(
                "route {}{}{}{}",
                traffic.weight,
                if traffic.is_open_to_override {
                    " open"
                } else {
                    ""
                },
                if traffic.header_routes.is_empty() {
                    ""
                } else {
                    " by header"
                },
                if traffic.mirror.is_zero() {
                    String::new()
                } else {
                    format!(" mirror {}", traffic.mirror)
                },
            ),
            Effect::EnsureWorkloads(wish) => {
                let canary = match wish.canary {
                    CanaryWish::Running(size) => format!("run {} of 4", size.replicas(4)),
                    other => format!("{other:?}").to_lowercase(),
                };
                format!(
                    "{canary}{}",
                    if wish.has_stable {
                        ""
                    } else {
                        " without stable"
                    }
                )
            }
            Effect::EnsureJudged { subject, since } => {
                let age = script.now.duration_since(since).as_secs();
                let subject = match subject {
                    Subject::Background => "guards".to_owned(),
                    Subject::Step(step) => format!("step {step}"),
                };
                format!("judge {subject} for {age}s")
            }
            Effect::EnsureAsked(key) => format!("ask {key}"),
            Effect::EnsureStable(version) => format!("keep {version}"),
            Effect::Notify { text, .. } => text,
        })
        .collect()
}

#[test]
fn each_phase_asks_for_what_it_needs() {
    let rules = Rules {
        canary_scale: Scale::MatchWeight,
        ..guarded()
    };
    let plan = plan("25% 1m 100%", rules);
    for (script, expected) in [
        ("", vec!["route 0%", "stopped", "waits to begin"]),
        (
            "tick",
            vec!["route 0%", "run 1 of 4", "starts v2 without traffic"],
        ),
        (
            "tick ready applied",
            vec![
                "route 0%",
                "run 1 of 4",
                "judge guards for 0s",
                "step 1 of 3: send 25% to the canary",
            ],
        ),
        (
            "tick ready applied tick applied +5s tick",
            vec![
                "route 25% open",
                "run 1 of 4",
                "judge guards for 5s",
                "step 2 of 3: hold for 1m",
            ],
        ),
        (
            "tick ready applied tick applied restarted",
            vec![
                "route 25% open",
                "kept",
                "judge guards for 0s",
                "step 2 of 3: hold for 1m",
            ],
        ),
        (
            "tick ready applied tick applied ready=0",
            vec![
                "route 0%",
                "run 1 of 4",
                "judge guards for 0s",
                "step 2 of 3: hold for 1m",
            ],
        ),
        (
            "tick ready applied tick applied +9s pause",
            vec![
                "route 25% open",
                "run 1 of 4",
                "judge guards for 9s",
                "paused: paused by ann, since 1970-01-12T13:46:49Z",
            ],
        ),
        (
            "tick ready applied tick applied set=50%",
            vec![
                "route 50% open",
                "run 2 of 4",
                "judge guards for 0s",
                "paused: weight set by ann, since 1970-01-12T13:46:40Z",
            ],
        ),
        // What was seen at 50 % is not made smaller before the traffic has left.
        (
            "tick ready applied tick applied set=50% applied resume",
            vec![
                "route 25% open",
                "run 2 of 4",
                "judge guards for 0s",
                "step 2 of 3: hold for 1m",
            ],
        ),
        (
            "tick ready applied tick applied set=50% applied resume applied",
            vec![
                "route 25% open",
                "run 1 of 4",
                "judge guards for 0s",
                "step 2 of 3: hold for 1m",
            ],
        ),
        (
            "tick ready applied tick applied +7s full",
            vec![
                "route 25% open",
                "run 4 of 4",
                "judge guards for 0s",
                "moving all traffic to the canary",
            ],
        ),
        (
            "tick ready applied tick applied full tick +4s pause",
            vec![
                "route 100% open",
                "run 4 of 4",
                "judge guards for 4s",
                "paused: paused by ann, since 1970-01-12T13:46:44Z",
            ],
        ),
        (
            "tick ready applied tick applied full tick applied",
            vec![
                "route 100% open",
                "run 4 of 4",
                "letting the old version end its requests",
            ],
        ),
        (
            "tick ready applied tick applied full tick applied applied",
            vec![
                "keep v2",
                "route 100% open",
                "run 4 of 4 without stable",
                "promoted v2: promoted by an operator",
            ],
        ),
        (
            "tick ready applied tick applied full tick applied applied restarted",
            vec![
                "keep v2",
                "route 100% open",
                "run 4 of 4",
                "promoted v2: promoted by an operator",
            ],
        ),
        (
            "tick ready applied tick applied abort",
            vec!["route 0%", "kept", "rolling back: aborted by ann"],
        ),
        (
            "tick ready applied tick applied abort applied",
            vec!["route 0%", "stopped", "rolled back to v1: aborted by ann"],
        ),
        (
            "tick ready applied abort at=5% +6m tick",
            vec![
                "route 0%",
                "kept",
                "failed: traffic was not verified at 0% in time",
            ],
        ),
    ] {
        assert_eq!(asked(&plan, script), expected, "{script}");
    }
}

#[test]
fn guards_are_judged_from_their_step_on_and_while_baking() {
    let rules = Rules {
        judge_from_step: 2,
        bake: std::time::Duration::from_mins(1),
        ..guarded()
    };
    let plan = plan("10% 1m 100%", rules);
    assert!(!asked(&plan, HOLDING).concat().contains("judge"));
    assert!(
        asked(&plan, &format!("{HOLDING} +1m tick"))
            .concat()
            .contains("judge guards")
    );
    assert!(
        asked(&plan, &format!("{HOLDING} full tick applied +3s tick"))
            .concat()
            .contains("judge guards for 3s")
    );
}

#[test]
fn routing_follows_the_steps() {
    let plan = plan(
        "test header 10% mirror=20% noheader mirror=0% 0% 1m",
        Rules::default(),
    );
    let mut script = Script::play(&plan, "tick ready applied");
    let mut routes = Vec::new();
    for _ in 0..9 {
        let route = effect::traffic(&plan, &script.state);
        routes.push(format!(
            "{} {} {}{}",
            script.state.step().unwrap_or(99),
            route.weight,
            if route.is_open_to_override {
                "open"
            } else {
                "shut"
            },
            match (route.header_routes.is_empty(), route.mirror.is_zero()) {
                (true, true) => "",
                (false, true) => " header",
                (true, false) => " mirror",
                (false, false) => " header mirror",
            }
        ));
        script.go_on("applied");
    }
    assert_eq!(
        routes,
        [
            "0 0% open",
            "1 0% open header",
            "2 0% open header",
            "2 10% open header",
            "3 10% open header mirror",
            "4 10% open mirror",
            "5 10% open",
            "6 0% open",
            "7 0% open",
        ]
    );
}

#[test]
fn nothing_but_weight_opens_a_canary_that_was_not_tested() {
    let plan = plan("0% 1m 10% 0% 1m", Rules::default());
    assert_eq!(asked(&plan, HOLDING)[0], "route 0%");
    assert_eq!(
        asked(&plan, &format!("{HOLDING} set=10%"))[0],
        "route 10% open"
    );
}

#[test]
fn each_way_to_the_canary_is_one() {
    let shut = Traffic::STABLE_ONLY;
    assert!(shut.is_stable_only());
    let rule = HeaderRoute {
        name: "team".to_owned(),
        matches: Vec::new(),
    };
    for open in [
        Traffic {
            weight: Weight::from_percent(1),
            ..shut.clone()
        },
        Traffic {
            is_open_to_override: true,
            ..shut.clone()
        },
        Traffic {
            header_routes: vec![rule],
            ..shut.clone()
        },
        Traffic {
            mirror: Weight::from_percent(1),
            ..shut
        },
    ] {
        assert!(!open.is_stable_only(), "{open:?}");
    }
}

#[test]
fn a_pause_after_a_failure_at_weight_zero_shuts_every_way_to_the_canary() {
    let rules = Rules {
        on_failure: OnFailure::PauseAtZero,
        ..guarded()
    };
    let plan = plan("test header mirror=10% 10% 1m 100%", rules);
    let reach = "tick ready applied applied applied applied tick applied";
    assert_eq!(
        asked(&plan, reach)[0],
        "route 10% open by header mirror 10%"
    );
    assert_eq!(asked(&plan, &format!("{reach} fail"))[0], "route 0%");
    assert_eq!(
        asked(&plan, &format!("{reach} set=0%"))[0],
        "route 0% open by header mirror 10%"
    );
    assert_eq!(asked(&plan, &format!("{reach} fail"))[1], "run 4 of 4");
    let baking = Rules {
        bake: std::time::Duration::from_mins(1),
        on_failure: OnFailure::PauseAtZero,
        ..guarded()
    };
    let plan = super::script::plan("100%", baking);
    let reach = "tick ready applied tick applied pass applied";
    assert_eq!(asked(&plan, &format!("{reach} fail"))[0], "route 0%");
    assert_eq!(asked(&plan, &format!("{reach} set=0%"))[0], "route 0% open");
}

#[test]
fn gates_are_asked_when_their_weight_is_in_force() {
    let plan = plan(
        "10% hook=60 run=60 approval=60 50% hook=60 100%",
        Rules::default(),
    );
    let has_asked = |script: &str| {
        asked(&plan, script)
            .into_iter()
            .filter(|line| line.starts_with("ask"))
            .collect::<Vec<_>>()
    };
    assert_eq!(has_asked("tick ready applied"), Vec::<String>::new());
    assert_eq!(has_asked(HOLDING), ["ask shop-1/1"]);
    assert_eq!(has_asked(&format!("{HOLDING} yes")), ["ask shop-1/2"]);
    assert_eq!(
        has_asked(&format!("{HOLDING} yes yes")),
        Vec::<String>::new()
    );
    assert_eq!(has_asked(&format!("{HOLDING} pause")), Vec::<String>::new());
    // After an override the step's weight must be in force again first.
    assert_eq!(
        has_asked(&format!("{HOLDING} set=5% resume")),
        Vec::<String>::new()
    );
    assert_eq!(
        has_asked(&format!("{HOLDING} set=5% resume tick")),
        ["ask shop-1/1"]
    );
}

#[test]
fn an_own_judge_begins_with_its_step() {
    for kind in ["analysis", "experiment"] {
        let plan = plan(&format!("10% {kind}=30 100%"), guarded());
        let lines = asked(&plan, &format!("{HOLDING} +4s tick")).join(", ");
        assert!(
            lines.contains("judge step 1 for 4s, judge guards for 4s"),
            "{lines}"
        );
        let paused = asked(&plan, &format!("{HOLDING} +4s pause")).join(", ");
        assert!(
            paused.contains("judge step 1 for 4s, judge guards for 4s"),
            "{paused}"
        );
    }
}

#[test]
fn sizes_follow_the_plan() {
    for (scale, at_10, at_100) in [("full", 4, 4), ("match", 1, 4), ("50%", 2, 2), ("3", 3, 3)] {
        let plan = plan(&format!("scale={scale} 10% 1m 100% 1m"), Rules::default());
        let run = |script: &str| asked(&plan, script)[1].clone();
        assert_eq!(
            run(&format!("{HOLDING} tick applied")),
            format!("run {at_10} of 4"),
            "{scale}"
        );
        assert_eq!(
            run(&format!("{HOLDING} tick applied +1m tick tick")),
            format!("run {at_100} of 4"),
            "{scale}"
        );
        // A promotion needs all.
        assert_eq!(run(&format!("{HOLDING} full")), "run 4 of 4", "{scale}");
    }
    let size = |scale, stable| {
        crate::rollout::CanarySize {
            scale,
            weight: Weight::from_percent(1),
            restart_since: None,
        }
        .replicas(stable)
    };
    assert_eq!(size(Scale::Full, 0), 1);
    assert_eq!(size(Scale::MatchWeight, 0), 1);
    assert_eq!(size(Scale::ShareOfFull(Weight::ZERO), 9), 1);
    assert_eq!(size(Scale::MatchWeight, 101), 2);
    assert_eq!(size(Scale::Replicas(7), 1), 7);
}

#[test]
fn each_news_has_its_own_key() {
    let plan = plan(
        "10% 1m 50% 1m 100%",
        Rules {
            bake: std::time::Duration::from_mins(1),
            ..Rules::default()
        },
    );
    let key = |script: &str| {
        let script = Script::play(&plan, script);
        match effect::effects(&plan, &script.state).pop() {
            Some(Effect::Notify { key, .. }) => key,
            other => panic!("{other:?}"),
        }
    };
    let keys = [
        "",
        "tick",
        "tick ready applied",
        HOLDING,
        "tick ready applied tick applied +1s pause",
        "tick ready applied tick applied +1s pause +1s set=5%",
        "tick ready applied tick applied +1s pause +1s resume +1s pause",
        "tick ready applied tick applied full",
        "tick ready applied tick applied full tick applied",
        "tick ready applied tick applied full tick applied +1m applied+1",
        "tick ready applied tick applied full tick applied +1m applied+1 applied",
        "tick ready applied tick applied abort",
        "tick ready applied tick applied abort applied",
    ]
    .map(key);
    let distinct: std::collections::BTreeSet<&String> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len(), "{keys:#?}");
    // The same news twice has the same key.
    assert_eq!(key(HOLDING), key(&format!("{HOLDING} +5s tick")));
    assert_eq!(key("tick ready applied"), key("tick ready applied tick"));
    assert_eq!(
        key("tick ready applied tick applied +1s pause +9s tick"),
        key("tick ready applied tick applied +1s pause")
    );
}

#[test]
fn steps_are_described_for_people() {
    let plan = plan(
        "10% test 90s 45s wait evidence=30..120 scale=2 analysis=5 experiment=5 header mirror=5% approval=5",
        Rules::default(),
    );
    let texts: Vec<String> = (0..13).map(|step| describe(&plan, step)).collect();
    assert_eq!(
        texts,
        [
            "send 10% to the canary",
            "open the canary to test requests",
            "hold for 1m30s",
            "hold for 45s",
            "wait for a person",
            "hold until there is evidence, 30s to 2m",
            "resize the canary",
            "analysis smoke",
            "experiment smoke",
            "header route team",
            "mirror 5% to the canary",
            "gate qa",
            "the end",
        ]
    );
}
