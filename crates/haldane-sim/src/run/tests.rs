//! Tests of the simulator itself: it repeats itself, and it finds what is broken.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a broken machine is the real one but for one case"
)]

use haldane_core::{
    Weight,
    plan::Plan,
    rollout::{Action, Facts, Input, Phase, State, Transition, effects, step},
    verdict::{Share, Verdict},
};
use jiff::Timestamp;

use super::*;
use crate::host::{Saving, Unsaved};

/// Rollouts that once broke a rule, each with the place where the host died if that mattered. They are played in each test run.
const REGRESSIONS: &[(u64, Option<u64>)] = &[
    // A refused save of one decision kept a lost canary from losing its traffic.
    (3_801_876_508_185_471_393, None),
    // A start without a readable decision took traffic back to a stable that was then let go at once.
    (9_894_164_015_513_482_600, None),
    // What the router did before an order was taken for what it did after it, and a canary was stopped under requests in flight.
    (1_748_876_074_740_269_243, None),
    // A canary was made smaller before the traffic that it was too small for had left.
    (7_828_100_712_599_699_471, None),
    // A gate that was the last step promoted without the verdict or the person that the plan asked for.
    (15_608_609_106_445_325_008, None),
    // A judge that had just been started was taken for one without data, and a good canary was rolled back after a restart.
    (1_637_471_902_548_905_139, Some(72)),
];

/// How many rollouts it may take until something broken is found.
const SEARCH_MAX: u64 = 8_000;

fn found(conduct: Conduct) -> Option<Violation> {
    (0..SEARCH_MAX).find_map(|index| play(mix(index), conduct).violation)
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..40 {
        let (one, lines) = trace(seed, None);
        let (other, again) = trace(seed, None);
        assert_eq!(lines, again);
        assert_eq!(one.hash, other.hash);
        assert_eq!(
            one.hash,
            play(seed, Conduct::default()).hash,
            "lines change nothing"
        );
    }
    assert_ne!(trace(1, None).0.hash, trace(2, None).0.hash);
}

#[test]
fn what_once_broke_a_rule_no_longer_does() {
    for (seed, death) in REGRESSIONS {
        let (outcome, lines) = trace(*seed, *death);
        let lines = lines.join("\n");
        assert!(outcome.violation.is_none(), "{seed} {death:?}\n{lines}");
        if death.is_some() {
            let undisturbed = play_dying(*seed, u64::MAX);
            assert_eq!(outcome.end, undisturbed.end, "{seed} {death:?}\n{lines}");
        }
    }
}

#[test]
fn many_rollouts_break_no_rule() {
    let summary = run(600, 7, |_| {});
    assert!(summary.failure.is_none(), "{:?}", summary.failure);
    assert_eq!(summary.rollouts, 600);
    assert!(summary.deaths > 0);
    for end in ["Completed", "RolledBack", "Failed"] {
        assert!(summary.ends.contains_key(end), "{:?}", summary.ends);
    }
}

#[test]
fn what_was_never_met_is_said() {
    let missing = Coverage::default().missing();
    assert_eq!(missing.len(), 9 * 15 + 8 + crate::fault::Fault::ALL.len());
    assert!(missing.contains(&"abort while Promoting".to_owned()));
    assert!(missing.contains(&"a crash after persist".to_owned()));
    assert!(missing.contains(&"ClockBack".to_owned()));
    assert!(!run(1, 1, |_| {}).is_good());
}

#[test]
fn a_host_that_acts_before_it_saves_is_found() {
    let violation = found(Conduct {
        saving: Saving::Last,
        ..Conduct::default()
    });
    assert!(rule(violation.as_ref()).starts_with("P1"), "{violation:?}");
}

#[test]
fn a_host_that_needs_the_disk_to_abort_is_found() {
    let violation = found(Conduct {
        unsaved: Unsaved::Discarded,
        ..Conduct::default()
    });
    let rule = rule(violation.as_ref());
    assert!(
        rule.starts_with("P2") || rule.starts_with("P4"),
        "{violation:?}"
    );
}

/// Machines with one mistake each.
#[test]
fn a_broken_machine_is_found() {
    for (name, machine) in [
        (
            "sends traffic to a lost canary",
            ignores_loss as fn(&Plan, &State, &Input, Timestamp) -> Transition,
        ),
        ("takes missing data for a pass", trusts_silence),
        ("does not hear an abort", is_deaf),
        ("goes back in time", follows_the_clock),
        ("never gives up", is_patient),
        ("forgets that it ended", starts_over),
        ("stops a canary with traffic", stops_early),
    ] {
        let violation = found(Conduct {
            step: machine,
            ..Conduct::default()
        });
        assert!(violation.is_some(), "{name}");
    }
}

fn rule(violation: Option<&Violation>) -> &'static str {
    violation.map_or("nothing", |violation| violation.rule)
}

fn with(plan: &Plan, transition: Transition, change: impl FnOnce(&mut State)) -> Transition {
    let mut state = transition.state;
    change(&mut state);
    Transition {
        effects: effects(plan, &state),
        state,
        refusal: transition.refusal,
    }
}

fn ignores_loss(plan: &Plan, state: &State, input: &Input, now: Timestamp) -> Transition {
    with(plan, step(plan, state, input, now), |state| {
        state.lost = None
    })
}

fn trusts_silence(plan: &Plan, state: &State, input: &Input, now: Timestamp) -> Transition {
    let input = match input {
        Input::Judged(judgement) if judgement.verdict != Verdict::Fail => {
            let mut judgement = judgement.clone();
            judgement.verdict = Verdict::Pass;
            judgement.share = Share::Fits;
            Input::Judged(judgement)
        }
        _ => input.clone(),
    };
    let transition = step(plan, state, &input, now);
    // It keeps what it was really told.
    with(plan, transition, |after| {
        after.facts.background.clone_from(&state.facts.background);
        after.facts.step.clone_from(&state.facts.step);
    })
}

fn is_deaf(plan: &Plan, state: &State, input: &Input, now: Timestamp) -> Transition {
    match input {
        Input::Command(command) if command.action == Action::Abort => {
            step(plan, state, &Input::Tick, now)
        }
        _ => step(plan, state, input, now),
    }
}

fn follows_the_clock(plan: &Plan, state: &State, input: &Input, now: Timestamp) -> Transition {
    with(plan, step(plan, state, input, now), |state| {
        state.seen = now
    })
}

fn is_patient(plan: &Plan, state: &State, input: &Input, now: Timestamp) -> Transition {
    let transition = step(plan, state, input, now);
    match (&state.phase, &transition.state.phase) {
        (Phase::Paused(_), Phase::RollingBack(_)) if !matches!(input, Input::Command(_)) => {
            with(plan, transition, |after| {
                after.phase = state.phase.clone();
                after.lost = state.lost;
            })
        }
        _ => transition,
    }
}

fn starts_over(plan: &Plan, state: &State, input: &Input, now: Timestamp) -> Transition {
    let transition = step(plan, state, input, now);
    match (&state.phase, input) {
        (Phase::RolledBack(_), Input::Command(_)) => with(plan, transition, |after| {
            let fresh = haldane_core::rollout::begin(
                after.id.clone(),
                after.stable.clone(),
                after.canary.clone(),
                plan,
                now,
            );
            *after = State {
                facts: Facts::default(),
                ..fresh
            };
        }),
        _ => transition,
    }
}

fn stops_early(plan: &Plan, state: &State, input: &Input, now: Timestamp) -> Transition {
    let transition = step(plan, state, input, now);
    match &transition.state.phase {
        Phase::RollingBack(rollback) => {
            let phase = Phase::RolledBack(Ended {
                at: transition.state.seen,
                why: rollback.why.clone(),
            });
            with(plan, transition, |after| after.phase = phase)
        }
        _ => transition,
    }
}

#[test]
fn a_drawn_plan_has_every_kind_of_step() {
    let mut chance = Chance::new(1, 1);
    let plans: Vec<Plan> = (0..300).map(|_| draw::plan(&mut chance).unwrap()).collect();
    let text = format!("{plans:?}");
    for kind in [
        "SetWeight",
        "TestTraffic",
        "Hold(For",
        "UntilResumed",
        "UntilEvidence",
        "ScaleCanary",
        "MatchWeight",
        "ShareOfFull",
        "Replicas",
        "Analysis",
        "Experiment",
        "HeaderRoute",
        "Mirror",
        "Approval",
        "Webhook",
        "Run",
        "PauseAtZero",
        "Rollback",
        "Advance",
        "Manual",
        "Hybrid",
        "windows: [Window",
    ] {
        assert!(text.contains(kind), "{kind}");
    }
    assert!(plans.iter().any(|plan| plan.weight_at(0) == Weight::FULL));
}
