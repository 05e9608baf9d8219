//! What no state and no transition may be: each rule is shown to be broken, and to hold beside it.

use jiff::SignedDuration;

use super::{
    any::command,
    script::{Script, guarded, plan},
};
use crate::{
    plan::{Mode, Plan, Rules},
    rollout::{
        Action, Approval, Input, Paused, Phase, Progress, Promotion, Resume, State, invariants,
        is_lawful,
    },
    verdict::Verdict,
    weight::Weight,
};

/// The second step of a plan like `10% 1m …`, at work.
const HOLDING: &str = "tick ready applied tick applied";

/// What is expected of what breaks no rule.
const LAWFUL: &str = "";

const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// Compares the rule that a state breaks, made of where a script leads.
#[track_caller]
fn check(plan: &Plan, script: &str, change: fn(&mut State), rule: &str) {
    let mut state = Script::play(plan, script).state;
    change(&mut state);
    let broken = invariants(plan, &state).map_or_else(|broken| broken.rule, |()| LAWFUL);
    assert_eq!(broken, rule, "{script}\n{state:#?}");
}

/// Compares the rule that is broken by going from where one script leads to where another does, changed, because of an input.
#[track_caller]
fn check_move(
    plan: &Plan,
    (from, to): (&str, &str),
    input: &Input,
    change: fn(&mut State),
    rule: &str,
) {
    let before = Script::play(plan, from).state;
    let mut after = Script::play(plan, to).state;
    change(&mut after);
    let broken =
        is_lawful(plan, &before, input, &after).map_or_else(|broken| broken.rule, |()| LAWFUL);
    assert_eq!(broken, rule, "{from}\n{to}\n{after:#?}");
}

fn as_it_is(_: &mut State) {}

fn progress(state: &mut State) -> &mut Progress {
    match &mut state.phase {
        Phase::Progressing(progress)
        | Phase::Paused(Paused {
            from: Resume::Step(progress),
            ..
        }) => progress,
        other => panic!("{other:?}"),
    }
}

fn promotion(state: &mut State) -> &mut Promotion {
    match &mut state.phase {
        Phase::Promoting(promotion)
        | Phase::Paused(Paused {
            from: Resume::Promotion(promotion),
            ..
        }) => promotion,
        other => panic!("{other:?}"),
    }
}

fn paused(state: &mut State) -> &mut Paused {
    match &mut state.phase {
        Phase::Paused(paused) => paused,
        other => panic!("{other:?}"),
    }
}

fn by_verdict(state: &mut State) {
    progress(state).approval = Some(Approval::Verdict);
}

fn by_nobody(state: &mut State) {
    progress(state).approval = None;
}

#[test]
fn a_violation_says_what_was_found() {
    let plan = plan("10% 1m 100%", guarded());
    let mut state = Script::play(&plan, HOLDING).state;
    progress(&mut state).step = 9;
    let violation = invariants(&plan, &state).unwrap_err();
    assert_eq!(violation.to_string(), "the step exists: 9");
}

#[test]
fn a_step_exists_with_a_weight_and_times_that_make_sense() {
    let plan = plan("10% 1m 100%", guarded());
    let order = "a step's times are in order";
    for (change, rule) in [
        (as_it_is as fn(&mut State), LAWFUL),
        (|state| progress(state).step = 3, "the step exists"),
        (
            |state| progress(state).weight = Weight::from_percent(11),
            "a step's weight is at most the plan's",
        ),
        (
            |state| progress(state).entered += SECOND,
            "a step began in the past",
        ),
        (
            |state| {
                let progress = progress(state);
                progress.due = progress.entered - SECOND;
            },
            order,
        ),
        (
            |state| {
                let progress = progress(state);
                progress.over = progress.due - SECOND;
            },
            order,
        ),
        (
            |state| {
                let progress = progress(state);
                progress.deadline = progress.over - SECOND;
            },
            order,
        ),
    ] {
        check(&plan, HOLDING, change, rule);
        // What a pause interrupted is held to the same.
        let script = format!("{HOLDING} set=5%");
        check(&plan, &script, change, rule);
    }
}

#[test]
fn a_wait_has_begun_and_ends_later() {
    let plan = plan("10% 1m 100%", guarded());
    let rule = "a wait's times are in order";
    for script in ["", "tick", "tick ready applied pause", "tick abort"] {
        check(&plan, script, as_it_is, LAWFUL);
        let early = |state: &mut State| {
            let wait = wait(state);
            wait.deadline = wait.since - SECOND;
        };
        check(&plan, script, early, rule);
        check(&plan, script, |state| wait(state).since += SECOND, rule);
    }
}

fn wait(state: &mut State) -> &mut crate::rollout::Wait {
    match &mut state.phase {
        Phase::Pending(wait) => wait,
        Phase::Preparing(preparing) => &mut preparing.wait,
        Phase::Paused(paused) => &mut paused.wait,
        Phase::RollingBack(rollback) => &mut rollback.wait,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_a_person_or_a_failure_pauses_at_another_weight() {
    let rule = "a pause keeps the weight unless a person set it or the canary failed";
    let manual = Rules {
        advance: Mode::Manual,
        ..guarded()
    };
    for (words, script, rule) in [
        ("10% wait 100%", "pause", rule),
        ("10% wait 100%", "tick", rule),
        ("10% 1m 100%", "+1m pass", rule),
        ("10% 1m 100%", "full pause", rule),
        ("10% 1m 100%", "set=5%", LAWFUL),
        ("10% 1m 100%", "full set=5%", LAWFUL),
    ] {
        let plan = plan(words, manual.clone());
        let script = format!("{HOLDING} {script}");
        check(&plan, &script, as_it_is, LAWFUL);
        for change in [
            (|state| paused(state).weight = Weight::from_percent(9)) as fn(&mut State),
            |state| paused(state).weight = Weight::from_percent(11),
        ] {
            check(&plan, &script, change, rule);
        }
    }
    let hybrid = Rules {
        advance: Mode::Hybrid,
        ..guarded()
    };
    let plan = plan("10% 1m 100%", hybrid);
    check(&plan, &format!("{HOLDING} fail"), as_it_is, LAWFUL);
}

#[test]
fn a_promotion_has_its_weight_its_reason_and_its_times() {
    let plan = plan("10% 1m 100%", guarded());
    let order = "a promotion's times are in order";
    let draining = format!("{HOLDING} full tick applied");
    for (change, rule) in [
        (as_it_is as fn(&mut State), LAWFUL),
        (
            |state| promotion(state).weight = Weight::from_percent(99),
            "a promotion goes on only with all traffic",
        ),
        (
            |state| promotion(state).by = Approval::Unjudged,
            "nothing is promoted unjudged where the plan has a judge",
        ),
        (|state| promotion(state).by = Approval::Verdict, LAWFUL),
        (
            |state| {
                let promotion = promotion(state);
                promotion.entered += SECOND;
                promotion.due += SECOND;
            },
            order,
        ),
        (
            |state| {
                let promotion = promotion(state);
                promotion.due = promotion.entered - SECOND;
            },
            order,
        ),
        (
            |state| {
                let promotion = promotion(state);
                promotion.deadline = promotion.due - SECOND;
            },
            order,
        ),
    ] {
        check(&plan, &draining, change, rule);
    }
    // What a pause interrupted is held to the same.
    check(
        &plan,
        &format!("{HOLDING} full pause"),
        |state| promotion(state).entered += SECOND,
        order,
    );
    check(&plan, &format!("{HOLDING} full"), as_it_is, LAWFUL);
    let unjudged = super::script::plan("10% 1m 100%", Rules::default());
    check(
        &unjudged,
        &draining,
        |state| promotion(state).by = Approval::Unjudged,
        LAWFUL,
    );
}

#[test]
fn an_end_lies_in_the_past_and_only_a_canary_on_trial_is_lost() {
    let plan = plan("10% 1m 100%", guarded());
    for script in [
        "abort applied",
        "tick ready applied abort at=5% +6m tick",
        "tick ready applied tick applied full tick applied applied",
    ] {
        check(&plan, script, as_it_is, LAWFUL);
        check(
            &plan,
            script,
            |state| state.seen -= SECOND,
            "an end lies in the past",
        );
    }
    for (script, rule) in [
        ("tick", "only a canary on trial can be lost"),
        ("abort", "only a canary on trial can be lost"),
        (HOLDING, LAWFUL),
        ("tick ready applied tick applied pause", LAWFUL),
        ("tick ready applied tick applied full", LAWFUL),
    ] {
        let lose = |state: &mut State| {
            state.lost = Some(crate::rollout::Wait::of(
                std::time::Duration::from_secs(30),
                state.seen,
            ));
        };
        check(&plan, script, lose, rule);
    }
}

#[test]
fn a_rollout_keeps_its_name_and_its_end_and_time_goes_on() {
    let plan = plan("10% 1m 100%", guarded());
    let stays = |script: &str, change, rule| {
        check_move(&plan, (script, script), &Input::Tick, change, rule);
    };
    let ended = "abort applied";
    let name = "a rollout keeps its name and versions";
    let end = "a terminal phase never changes";
    stays(HOLDING, as_it_is, LAWFUL);
    stays(HOLDING, |state| state.id = "shop-2".parse().unwrap(), name);
    stays(HOLDING, |state| state.canary = "v3".parse().unwrap(), name);
    stays(HOLDING, |state| state.stable = "v0".parse().unwrap(), name);
    stays(ended, as_it_is, LAWFUL);
    stays(ended, |state| state.restart_since = Some(state.seen), end);
    check_move(&plan, (ended, "abort"), &Input::Tick, as_it_is, end);
    check_move(
        &plan,
        ("tick +1s tick", "tick"),
        &Input::Tick,
        as_it_is,
        "time never goes back",
    );
}

#[test]
fn what_was_heard_is_no_decision_and_all_else_is() {
    let plan = plan("10% 1m 100%", guarded());
    let state = Script::play(&plan, HOLDING).state;
    let is_same = |change: fn(&mut State)| {
        let mut other = state.clone();
        change(&mut other);
        state.is_same_decision(&other)
    };
    assert!(is_same(as_it_is));
    assert!(is_same(|state| state.seen += SECOND));
    assert!(is_same(
        |state| state.facts = crate::rollout::Facts::default()
    ));
    let changes: [fn(&mut State); 6] = [
        |state| progress(state).deadline += SECOND,
        |state| {
            state.lost = Some(crate::rollout::Wait::of(
                std::time::Duration::ZERO,
                state.seen,
            ))
        },
        |state| state.restart_since = Some(state.seen),
        |state| state.id = "shop-2".parse().unwrap(),
        |state| state.stable = "v0".parse().unwrap(),
        |state| state.canary = "v3".parse().unwrap(),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        assert!(!is_same(change), "{index}");
    }
}

#[test]
fn an_abort_leads_away_from_traffic() {
    let plan = plan("10% 1m 100%", guarded());
    let rule = "an abort leads away from traffic out of every live phase";
    for (action, to, rule) in [
        (Action::Abort, HOLDING, rule),
        (Action::BackToStable, HOLDING, rule),
        (Action::Pause, HOLDING, LAWFUL),
        (
            Action::Abort,
            "tick ready applied tick applied abort",
            LAWFUL,
        ),
    ] {
        check_move(&plan, (HOLDING, to), &command(action), as_it_is, rule);
    }
}

#[test]
fn weight_rises_by_the_plan_or_an_override_to_a_canary_that_is_there() {
    let plan = plan("10% 1m 50% 1m 100%", guarded());
    let rule = "weight rises only by the plan or by an override";
    let begun = "tick ready applied";
    let moved = |script: (&str, &str), change, rule| {
        check_move(&plan, script, &Input::Tick, change, rule);
    };
    moved(
        (begun, begun),
        |state| progress(state).weight = Weight::from_percent(10),
        LAWFUL,
    );
    moved(
        (begun, begun),
        |state| progress(state).weight = Weight::from_percent(5),
        rule,
    );
    let full = "tick ready applied full";
    moved(
        (full, full),
        |state| promotion(state).weight = Weight::FULL,
        LAWFUL,
    );
    moved(
        (full, full),
        |state| promotion(state).weight = Weight::from_percent(99),
        rule,
    );
    // What was set by hand is what was asked for.
    let set = |percent| command(Action::SetWeight(Weight::from_percent(percent)));
    for (input, rule) in [
        (set(5), LAWFUL),
        (set(4), rule),
        (command(Action::Pause), rule),
    ] {
        check_move(
            &plan,
            (begun, "tick ready applied set=5%"),
            &input,
            as_it_is,
            rule,
        );
    }
    // Back from a loss it is what it was.
    let lost = "tick ready applied tick applied set=5% ready=0";
    let back = format!("{lost} ready");
    moved((lost, &back), as_it_is, LAWFUL);
    moved(
        (lost, &back),
        |state| paused(state).weight = Weight::from_percent(6),
        rule,
    );
    // Nobody has to be there for a person's word; for the plan's, somebody has to.
    let none_ready = |state: &mut State| {
        if let Some(seen) = &mut state.facts.workloads {
            seen.canary.ready = 0;
        }
    };
    check_move(
        &plan,
        (begun, "tick ready applied set=5%"),
        &set(5),
        none_ready,
        LAWFUL,
    );
    moved(
        (begun, "tick ready applied tick"),
        none_ready,
        "no weight for a canary without ready replicas",
    );
}

#[test]
fn a_verdict_allows_what_it_speaks_for() {
    let rule = "only a verdict or a person allows what was not allowed";
    let lenient = plan("10% 1m 100%", guarded());
    for (said, rule) in [
        ("pass", LAWFUL),
        ("warned", LAWFUL),
        ("nodata", rule),
        ("inconclusive", rule),
        ("mismatch", rule),
        ("stale-pass", rule),
        ("old-pass", rule),
        ("own:pass", rule),
        ("tick", rule),
    ] {
        let from = format!("{HOLDING} +59s {said}");
        let to = format!("{from} promote");
        check_move(&lenient, (&from, &to), &Input::Tick, by_verdict, rule);
    }
    for (words, rules, said, rule) in [
        ("10% analysis=30 100%", Rules::default(), "own:pass", LAWFUL),
        (
            "10% experiment=30 100%",
            Rules::default(),
            "own:pass",
            LAWFUL,
        ),
        ("10% analysis=30 100%", Rules::default(), "other:pass", rule),
        ("10% analysis=30 100%", Rules::default(), "pass", rule),
        ("10% analysis=30 100%", guarded(), "own:pass pass", LAWFUL),
        ("10% analysis=30 100%", guarded(), "own:pass nodata", rule),
        ("10% analysis=30 100%", guarded(), "own:nodata pass", rule),
        // Where nothing is judged nothing passes.
        ("10% 1m 100%", Rules::default(), "pass", rule),
    ] {
        let plan = plan(words, rules);
        let from = format!("{HOLDING} +29s {said}");
        let to = format!("{from} promote");
        check_move(&plan, (&from, &to), &Input::Tick, by_verdict, rule);
    }
}

#[test]
fn a_person_or_a_plan_without_guards_allows_by_name() {
    let rule = "only a verdict or a person allows what was not allowed";
    let to = format!("{HOLDING} promote");
    let judged = plan("10% 1m 100%", guarded());
    let unjudged = plan("10% 1m 100%", Rules::default());
    let promote = command(Action::Promote { step: None });
    check_move(&judged, (HOLDING, &to), &promote, as_it_is, LAWFUL);
    check_move(&judged, (HOLDING, &to), &Input::Tick, as_it_is, rule);
    let by_default = |state: &mut State| progress(state).approval = Some(Approval::Unjudged);
    check_move(&judged, (HOLDING, &to), &promote, by_default, rule);
    check_move(&unjudged, (HOLDING, &to), &Input::Tick, by_default, LAWFUL);
    check_move(&unjudged, (HOLDING, &to), &Input::Tick, by_nobody, LAWFUL);
}

#[test]
fn a_judged_wait_ends_on_a_positive_verdict_or_where_the_plan_says_so() {
    let rule = "a judged wait ends by itself only on a positive verdict";
    let from = format!("{HOLDING} +59s nodata");
    let to = format!("{from} promote");
    for (advance, rule) in [
        (Mode::Auto, LAWFUL),
        (Mode::Hybrid, rule),
        (Mode::Manual, rule),
    ] {
        let rules = Rules {
            advance,
            ..guarded()
        };
        for words in ["10% 1m 100%", "10% evidence=10..60 100%"] {
            let plan = plan(words, rules.clone());
            check_move(&plan, (&from, &to), &Input::Tick, by_nobody, rule);
        }
    }
    // At the last step nothing but a verdict will do, whatever allowed the steps before.
    let by_name = "tick ready applied promote tick applied +59s nodata";
    let done = format!("{by_name} full");
    let plan = plan("10% 1m", guarded());
    check_move(&plan, (by_name, &done), &Input::Tick, as_it_is, rule);
    let promote = command(Action::PromoteFull { step: None });
    check_move(&plan, (by_name, &done), &promote, as_it_is, LAWFUL);
}

#[test]
fn a_manual_wait_is_ended_by_a_person() {
    let rule = "a manual wait is ended by a person";
    let manual = |advance, promote| Rules {
        advance,
        promote,
        ..Rules::default()
    };
    let (to_next, to_end) = (format!("{HOLDING} promote"), format!("{HOLDING} full"));
    for (words, advance, promote, to, rule) in [
        ("10% 1m 100%", Mode::Manual, Mode::Auto, &to_next, rule),
        ("10% 1m 100%", Mode::Auto, Mode::Manual, &to_next, LAWFUL),
        (
            "10% header 100%",
            Mode::Manual,
            Mode::Auto,
            &to_next,
            LAWFUL,
        ),
        ("10% 1m", Mode::Auto, Mode::Manual, &to_end, rule),
        ("10% header", Mode::Auto, Mode::Manual, &to_end, rule),
        ("10% header", Mode::Manual, Mode::Auto, &to_end, LAWFUL),
    ] {
        let plan = plan(words, manual(advance, promote));
        let by_default = |state: &mut State| {
            if let Phase::Promoting(promotion) = &mut state.phase {
                promotion.by = Approval::Unjudged;
            } else {
                by_nobody(state);
            }
        };
        check_move(&plan, (HOLDING, to), &Input::Tick, by_default, rule);
    }
}

#[test]
fn what_was_judged_bad_does_not_go_on() {
    let plan = plan("10% 1m 100%", guarded());
    let from = format!("{HOLDING} +59s nodata");
    let to = format!("{from} promote");
    let found_bad = |state: &mut State| {
        by_nobody(state);
        if let Some(judgement) = &mut state.facts.background {
            judgement.verdict = Verdict::Fail;
        }
    };
    check_move(
        &plan,
        (&from, &to),
        &Input::Tick,
        found_bad,
        "a canary that was judged bad does not go on",
    );
}

#[test]
fn phases_and_steps_follow_each_other() {
    let plan = plan("10% 1m 50% 1m 100%", guarded());
    let rule = "phases follow each other as designed";
    let promote = command(Action::Promote { step: None });
    for (from, to, rule) in [
        ("", HOLDING, rule),
        ("tick", "", rule),
        ("tick", "tick ready applied full", rule),
        (HOLDING, "tick", rule),
        ("tick ready applied tick applied pause", "tick", rule),
        ("tick ready applied full", "tick ready applied", rule),
        ("abort", "", rule),
        ("abort", "tick", rule),
        ("", "abort", LAWFUL),
        ("tick", "abort", LAWFUL),
        (HOLDING, "tick ready applied tick applied promote", LAWFUL),
        (
            HOLDING,
            "tick ready applied tick applied promote promote",
            "steps follow each other",
        ),
        (HOLDING, "tick ready applied promote", LAWFUL),
        (HOLDING, "tick ready applied", "steps follow each other"),
    ] {
        let hold_weight = |state: &mut State| {
            // How far the weight may go is another rule's.
            if let Phase::Progressing(progress) = &mut state.phase {
                progress.weight = Weight::ZERO;
            }
        };
        check_move(&plan, (from, to), &promote, hold_weight, rule);
    }
}
