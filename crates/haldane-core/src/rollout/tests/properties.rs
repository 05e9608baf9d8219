//! What must hold for every plan and every sequence of inputs.

use jiff::Timestamp;
use proptest::prelude::*;

use super::any::{
    Event, Move, any_events, any_plan, command, entered, resolve, restarted, start, workloads,
};
use crate::{
    plan::Plan,
    rollout::{
        Action, Calendar, GateAnswer, Input, Phase, State, TrafficSeen, Transition, effect,
        effects, invariants, is_lawful, next_deadline, step,
    },
    verdict::{Judgement, Share, Standing, Subject, Verdict},
};

/// More calls than any rollout of these plans needs when nothing happens but time: each step at most enters, rises, is asked about
/// and expires, and each of those has at most three deadlines.
const CALLS_MAX: usize = 120;

/// Makes one event happen and checks everything that must hold of one call.
fn call(plan: &Plan, state: &State, clock: Timestamp, event: &Event) -> (Timestamp, State) {
    let before = match event.what {
        Move::Restart => restarted(state),
        _ => state.clone(),
    };
    let (clock, input) = resolve(plan, &before, clock, event);
    let transition = step(plan, &before, &input, clock);
    check(plan, &before, &input, clock, &transition);
    (clock, transition.state)
}

fn check(plan: &Plan, before: &State, input: &Input, clock: Timestamp, transition: &Transition) {
    let after = &transition.state;
    let context = || format!("\n{before:#?}\n{input:#?}\n{after:#?}");
    if let Err(violation) = is_lawful(plan, before, input, after) {
        panic!("{violation}{}", context());
    }
    assert_eq!(
        transition,
        &step(plan, before, input, clock),
        "same inputs, same outputs"
    );
    assert_eq!(
        transition.effects,
        effects(plan, after),
        "effects follow from the state"
    );
    assert_eq!(
        next_deadline(after).is_some(),
        !after.phase.is_terminal(),
        "every wait has a deadline{}",
        context()
    );
    let is_command = matches!(input, Input::Command(_));
    assert!(
        transition.refusal.is_none() || (is_command && before.is_same_decision(after)),
        "a refused command changes nothing{}",
        context()
    );
    if !is_command && is_judged_bad(plan, before, after) {
        let (was, is) = (
            effect::traffic(plan, before).weight,
            effect::traffic(plan, after).weight,
        );
        assert!(is <= was, "a bad verdict never raises weight{}", context());
        assert!(
            matches!(
                after.phase,
                Phase::Paused(_) | Phase::RollingBack(_) | Phase::Completed(_)
            ) || after.phase == before.phase,
            "a bad verdict never leads on{}",
            context()
        );
    }
}

/// Whether the plan's guards were found broken, by evidence that speaks for where `before` was.
fn is_judged_bad(plan: &Plan, before: &State, after: &State) -> bool {
    let is_fail = |judgement: &Judgement| {
        judgement.verdict == Verdict::Fail && judgement.since >= entered(before)
    };
    let is_on_trial = matches!(
        before.phase,
        Phase::Progressing(_) | Phase::Paused(_) | Phase::Promoting(_)
    );
    let is_ruling = before.step().map_or_else(
        || !plan.rules().guards.is_empty(),
        |index| plan.is_judged_at(index),
    );
    is_on_trial && is_ruling && after.facts.background.as_ref().is_some_and(is_fail)
}

fn reach(plan: &Plan, events: &[Event]) -> (Timestamp, State) {
    let state = start(plan);
    events
        .iter()
        .fold((state.seen, state), |(clock, state), event| {
            call(plan, &state, clock, event)
        })
}

/// Stops before the event that ends the rollout.
fn reach_alive(plan: &Plan, events: &[Event]) -> (Timestamp, State) {
    let mut reached = {
        let state = start(plan);
        (state.seen, state)
    };
    for event in events {
        let next = call(plan, &reached.1, reached.0, event);
        if next.1.phase.is_terminal() {
            break;
        }
        reached = next;
    }
    reached
}

/// The world does at once what is asked.
fn cooperate(plan: &Plan, state: &State, clock: Timestamp) -> State {
    let traffic = Input::Traffic(TrafficSeen {
        applied: effect::traffic(plan, state),
        stable_in_flight: 0,
        canary_in_flight: 0,
    });
    let transition = step(plan, state, &traffic, clock);
    check(plan, state, &traffic, clock, &transition);
    transition.state
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_transition_is_lawful(plan in any_plan(), events in any_events()) {
        reach(&plan, &events);
    }

    #[test]
    fn every_state_is_stored_without_loss_but_of_facts(plan in any_plan(), events in any_events()) {
        let (_, state) = reach(&plan, &events);
        let stored = serde_json::to_string(&state).unwrap();
        let loaded: State = serde_json::from_str(&stored).unwrap();
        prop_assert_eq!(&loaded, &restarted(&state));
        prop_assert!(invariants(&plan, &loaded).is_ok());
        let plan_text = serde_json::to_string(&plan).unwrap();
        prop_assert_eq!(serde_json::from_str::<Plan>(&plan_text).unwrap(), plan);
    }

    #[test]
    fn abort_ends_every_live_rollout_safely(plan in any_plan(), events in any_events()) {
        let (clock, state) = reach_alive(&plan, &events);
        let aborted = step(&plan, &state, &command(Action::Abort), clock);
        prop_assert!(aborted.refusal.is_none());
        prop_assert!(effect::traffic(&plan, &aborted.state).is_stable_only());
        let again = step(&plan, &aborted.state, &command(Action::Abort), clock);
        prop_assert!(again.state.is_same_decision(&aborted.state), "abort is idempotent");
        let ended = cooperate(&plan, &aborted.state, clock);
        prop_assert!(matches!(ended.phase, Phase::RolledBack(_)), "{:?}", ended.phase);
    }

    #[test]
    fn no_rollout_waits_forever(plan in any_plan(), events in any_events()) {
        let (_, mut state) = reach_alive(&plan, &events);
        for _ in 0..CALLS_MAX {
            let Some(deadline) = next_deadline(&state) else { return Ok(()) };
            let transition = step(&plan, &state, &Input::Tick, deadline);
            check(&plan, &state, &Input::Tick, deadline, &transition);
            state = transition.state;
        }
        prop_assert!(false, "still {:?}", state.phase);
    }

    #[test]
    fn a_good_canary_in_a_good_world_is_promoted(plan in any_plan()) {
        let mut state = start(&plan);
        let mut now = state.seen;
        for _ in 0..CALLS_MAX * 4 {
            let next = a_good_turn(&plan, &state, now);
            // Everything that is possible now, and then what comes next.
            if next.is_same_decision(&state) {
                now = next_deadline(&next).unwrap_or(now);
            }
            state = next;
        }
        prop_assert!(matches!(state.phase, Phase::Completed(_)), "{:#?}", state.phase);
    }
}

/// Tells all good news there is, lets a person resume what waits for one, and does what is asked after each call.
fn a_good_turn(plan: &Plan, state: &State, now: Timestamp) -> State {
    let fresh = |subject| {
        Input::Judged(Judgement {
            subject,
            verdict: Verdict::Pass,
            broken: None,
            share: Share::Fits,
            standing: Standing::Shown,
            unusual: None,
            since: entered(state),
            at: now,
            reason: "good".to_owned(),
        })
    };
    let mut inputs = vec![
        Input::Calendar(Calendar::Open),
        Input::Workloads(workloads(4, 4, false)),
        fresh(Subject::Background),
        fresh(Subject::Step(state.step().unwrap_or(0))),
    ];
    if let Phase::Progressing(progress) = &state.phase {
        inputs.push(Input::Gate(GateAnswer {
            key: state.gate_key(progress),
            is_open: true,
            said: String::new(),
        }));
    }
    if matches!(state.phase, Phase::Paused(_)) {
        inputs.push(command(Action::Resume));
    }
    // All is heard before anything is decided, as a host does.
    let heard = State {
        facts: inputs
            .iter()
            .fold(state.facts.clone(), |facts, input| facts.with(input)),
        ..state.clone()
    };
    inputs.iter().fold(heard, |state, input| {
        let next = step(plan, &state, input, now).state;
        cooperate(plan, &next, now)
    })
}
