//! Random plans, and random moves of the world that are resolved against the state at hand, so that they get far.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::{collection::vec, option, prelude::*, sample::select};

use crate::{
    guard::{Guard, Limit, Metric, Severity},
    plan::{
        Analysis, Arm, Ask, Bands, Deadlines, Experiment, ExperimentArm, Gate, HeaderMatch,
        HeaderRoute, Hold, Mode, OnDoubt, OnFailure, Plan, PlanParts, Rules, Sampling, Scale,
        Sequential, Step, ValueMatch, Window,
    },
    rollout::{
        Action, Actor, Calendar, Command, Facts, GateAnswer, GateKey, Input, Paused, Phase,
        Replicas, Resume, State, Traffic, TrafficSeen, Trouble, TroubleKind, Workloads, begin,
        effect, next_deadline,
    },
    verdict::{Judgement, Share, Standing, Subject, Unusual, Verdict},
    weight::Weight,
};

/// The most replicas of stable in these tests.
const STABLE_MAX: u32 = 4;

/// One thing that happens, and how much time passed before it.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) passed: Passed,
    pub(super) what: Move,
}

/// How much time passes.
#[derive(Clone, Debug)]
pub(super) enum Passed {
    Seconds(i64),
    ToDeadline,
}

/// Something that happens; most inputs are built from the state, so that they are about what goes on.
#[derive(Clone, Debug)]
pub(super) enum Move {
    Tick,
    Workloads {
        stable: u32,
        ready: u32,
        is_fixed: bool,
    },
    AllReady,
    Trouble(TroubleKind),
    TrafficAsWanted {
        in_flight: u64,
    },
    TrafficOther(Weight),
    Judged(JudgedMove),
    Gate {
        is_this: bool,
        is_open: bool,
    },
    Calendar {
        is_open: bool,
    },
    Command(Action),
    CommandAtStep {
        is_full: bool,
        offset: u32,
    },
    /// The host starts again from what it stored.
    Restart,
}

/// What a judge says, in terms of what goes on.
#[derive(Clone, Debug)]
pub(super) struct JudgedMove {
    is_own: bool,
    step_offset: u32,
    verdict: Verdict,
    broken: Option<Severity>,
    share: Share,
    standing: Standing,
    unusual: Option<Unusual>,
    /// Seconds from the beginning of the step.
    since: i64,
    /// Seconds before now.
    age: i64,
}

pub(super) fn start(plan: &Plan) -> State {
    begin(
        "shop-1".parse().unwrap(),
        "v1".parse().unwrap(),
        "v2".parse().unwrap(),
        plan,
        Timestamp::from_second(1_000_000).unwrap(),
    )
}

/// The clock that the machine is told, which may go backwards, and the input.
pub(super) fn resolve(
    plan: &Plan,
    state: &State,
    clock: Timestamp,
    event: &Event,
) -> (Timestamp, Input) {
    let clock = match event.passed {
        Passed::Seconds(seconds) => clock
            .checked_add(SignedDuration::from_secs(seconds))
            .unwrap_or(clock),
        Passed::ToDeadline => next_deadline(state).unwrap_or(clock),
    };
    (clock, input(plan, state, clock, &event.what))
}

fn input(plan: &Plan, state: &State, clock: Timestamp, what: &Move) -> Input {
    match what {
        Move::Tick | Move::Restart => Input::Tick,
        Move::Workloads {
            stable,
            ready,
            is_fixed,
        } => Input::Workloads(workloads(*stable, *ready, *is_fixed)),
        Move::AllReady => Input::Workloads(workloads(STABLE_MAX, STABLE_MAX, false)),
        Move::Trouble(kind) => Input::Workloads(Workloads {
            canary_trouble: Some(Trouble {
                kind: *kind,
                said: "it does not start".to_owned(),
            }),
            ..workloads(STABLE_MAX, 0, false)
        }),
        Move::TrafficAsWanted { in_flight } => Input::Traffic(TrafficSeen {
            applied: effect::traffic(plan, state),
            stable_in_flight: *in_flight,
            canary_in_flight: *in_flight,
        }),
        Move::TrafficOther(weight) => Input::Traffic(TrafficSeen {
            applied: Traffic {
                weight: *weight,
                ..Traffic::STABLE_ONLY
            },
            stable_in_flight: 0,
            canary_in_flight: 0,
        }),
        Move::Judged(judged) => Input::Judged(judgement(state, clock, judged)),
        Move::Gate { is_this, is_open } => Input::Gate(GateAnswer {
            key: GateKey {
                rollout: state.id.clone(),
                step: state.step().unwrap_or(0),
                entered: if *is_this {
                    entered(state)
                } else {
                    Timestamp::UNIX_EPOCH
                },
            },
            is_open: *is_open,
            said: "said".to_owned(),
        }),
        Move::Calendar { is_open: true } => Input::Calendar(Calendar::Open),
        Move::Calendar { is_open: false } => Input::Calendar(Calendar::Closed {
            why: "freeze".to_owned(),
        }),
        Move::Command(action) => command(action.clone()),
        Move::CommandAtStep { is_full, offset } => {
            let step = Some(state.step().unwrap_or(0) + offset);
            command(if *is_full {
                Action::PromoteFull { step }
            } else {
                Action::Promote { step }
            })
        }
    }
}

pub(super) fn command(action: Action) -> Input {
    Input::Command(Command {
        action,
        actor: Actor {
            name: "ann".to_owned(),
            reason: None,
        },
    })
}

pub(super) fn workloads(stable: u32, ready: u32, is_fixed: bool) -> Workloads {
    let replicas = |count| Replicas {
        wanted: count,
        ready: count,
        existing: count,
        is_fixed,
    };
    Workloads {
        stable: replicas(stable),
        canary: replicas(ready),
        canary_full: stable,
        canary_trouble: None,
    }
}

/// Forgets what a host does not store.
pub(super) fn restarted(state: &State) -> State {
    State {
        facts: Facts::default(),
        ..state.clone()
    }
}

pub(super) fn entered(state: &State) -> Timestamp {
    match &state.phase {
        Phase::Progressing(progress)
        | Phase::Paused(Paused {
            from: Resume::Step(progress),
            ..
        }) => progress.entered,
        Phase::Promoting(promotion)
        | Phase::Paused(Paused {
            from: Resume::Promotion(promotion),
            ..
        }) => promotion.entered,
        Phase::Pending(_)
        | Phase::Preparing(_)
        | Phase::Completed(_)
        | Phase::RollingBack(_)
        | Phase::RolledBack(_)
        | Phase::Failed(_) => state.seen,
    }
}

fn judgement(state: &State, clock: Timestamp, judged: &JudgedMove) -> Judgement {
    let seconds = SignedDuration::from_secs;
    let step = state.step().unwrap_or(0) + judged.step_offset;
    Judgement {
        subject: if judged.is_own {
            Subject::Step(step)
        } else {
            Subject::Background
        },
        verdict: judged.verdict,
        broken: judged.broken,
        share: judged.share,
        standing: judged.standing,
        unusual: judged.unusual.clone(),
        since: entered(state) + seconds(judged.since),
        at: clock - seconds(judged.age),
        reason: "because".to_owned(),
    }
}

pub(super) fn any_events() -> impl Strategy<Value = Vec<Event>> {
    vec(any_event(), 1..60)
}

fn any_event() -> impl Strategy<Value = Event> {
    let passed = prop_oneof![
        6 => Just(Passed::Seconds(0)),
        6 => (1_i64..90).prop_map(Passed::Seconds),
        1 => (-4_000_i64..30_000).prop_map(Passed::Seconds),
        4 => Just(Passed::ToDeadline),
    ];
    (passed, any_move()).prop_map(|(passed, what)| Event { passed, what })
}

fn any_trouble() -> impl Strategy<Value = TroubleKind> {
    prop_oneof![
        Just(TroubleKind::CannotStart),
        (0_u32..9).prop_map(TroubleKind::StartsFail),
        Just(TroubleKind::NotReady),
    ]
}

fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        8 => Just(Move::Tick),
        10 => Just(Move::AllReady),
        3 => (0..=STABLE_MAX, 0..=STABLE_MAX, any::<bool>()).prop_map(|(stable, ready, is_fixed)| Move::Workloads { stable, ready, is_fixed }),
        1 => any_trouble().prop_map(Move::Trouble),
        14 => prop_oneof![3 => Just(0_u64), 1 => 1_u64..9].prop_map(|in_flight| Move::TrafficAsWanted { in_flight }),
        2 => any_weight().prop_map(Move::TrafficOther),
        12 => any_judged().prop_map(Move::Judged),
        4 => (prop::bool::weighted(0.8), prop::bool::weighted(0.8)).prop_map(|(is_this, is_open)| Move::Gate { is_this, is_open }),
        4 => prop::bool::weighted(0.7).prop_map(|is_open| Move::Calendar { is_open }),
        5 => any_action().prop_map(Move::Command),
        2 => (any::<bool>(), 0_u32..2).prop_map(|(is_full, offset)| Move::CommandAtStep { is_full, offset }),
        1 => Just(Move::Restart),
    ]
}

fn any_judged() -> impl Strategy<Value = JudgedMove> {
    let verdict = prop_oneof![
        6 => Just(Verdict::Pass),
        1 => Just(Verdict::Fail),
        1 => Just(Verdict::Inconclusive),
        1 => Just(Verdict::NoData),
    ];
    let broken = prop_oneof![
        4 => Just(None),
        1 => Just(Some(Severity::Warn)),
        1 => Just(Some(Severity::Critical)),
    ];
    let share = prop_oneof![5 => Just(Share::Fits), 1 => Just(Share::Mismatch)];
    let standing = prop_oneof![
        2 => Just(Standing::Open),
        6 => Just(Standing::Shown),
        1 => Just(Standing::Suspect),
    ];
    let unusual = prop_oneof![
        6 => Just(None),
        1 => Just(Some(Unusual::Environment("p95".to_owned()))),
        1 => Just(Some(Unusual::Suspect("p95".to_owned()))),
    ];
    let since = prop_oneof![6 => Just(0_i64), 1 => -5_i64..30];
    let age = prop_oneof![6 => Just(0_i64), 1 => -5_i64..100];
    let step_offset = prop_oneof![6 => Just(0_u32), 1 => Just(1_u32)];
    (
        any::<bool>(),
        step_offset,
        verdict,
        broken,
        share,
        (standing, unusual),
        since,
        age,
    )
        .prop_map(
            |(is_own, step_offset, verdict, broken, share, (standing, unusual), since, age)| {
                JudgedMove {
                    is_own,
                    step_offset,
                    verdict,
                    broken,
                    share,
                    standing,
                    unusual,
                    since,
                    age,
                }
            },
        )
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => Just(Action::Promote { step: None }),
        1 => Just(Action::PromoteFull { step: None }),
        2 => Just(Action::Pause),
        4 => Just(Action::Resume),
        1 => Just(Action::Abort),
        1 => Just(Action::Restart),
        2 => any_weight().prop_map(Action::SetWeight),
        1 => Just(Action::Supersede("v3".parse().unwrap())),
        1 => Just(Action::BackToStable),
    ]
}

pub(super) fn any_plan() -> impl Strategy<Value = Plan> {
    (
        vec(any_step(), 1..7),
        any_rules(),
        any::<prop::sample::Index>(),
    )
        .prop_map(|(mut steps, rules, from)| {
            rise(&mut steps);
            let judge_from_step = u32::try_from(from.index(steps.len())).unwrap();
            let rules = Rules {
                judge_from_step,
                ..rules
            };
            Plan::try_new(PlanParts { steps, rules }).unwrap()
        })
}

/// Makes the weights rise or drop to nothing, as a plan demands.
fn rise(steps: &mut [Step]) {
    let mut weight = Weight::ZERO;
    for step in steps {
        match step {
            Step::SetWeight(next) if next.is_zero() => weight = Weight::ZERO,
            Step::SetWeight(next) => {
                weight = weight.max(*next);
                *next = weight;
            }
            Step::TestTraffic => weight = Weight::ZERO,
            _ => {}
        }
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => any_weight().prop_map(Step::SetWeight),
        1 => Just(Step::TestTraffic),
        4 => any_hold().prop_map(Step::Hold),
        1 => any_scale().prop_map(Step::ScaleCanary),
        2 => any_analysis().prop_map(Step::Analysis),
        1 => any_analysis().prop_map(experiment),
        1 => (0_usize..2).prop_map(header_route),
        1 => any_weight().prop_map(Step::Mirror),
        2 => any_gate().prop_map(Step::Gate),
    ]
}

fn any_hold() -> impl Strategy<Value = Hold> {
    prop_oneof![
        3 => any_time().prop_map(Hold::For),
        1 => Just(Hold::UntilResumed),
        2 => (any_time(), any_time()).prop_map(|(min, more)| Hold::UntilEvidence { min, max: min + more }),
    ]
}

fn any_scale() -> impl Strategy<Value = Scale> {
    prop_oneof![
        Just(Scale::Full),
        Just(Scale::MatchWeight),
        any_weight().prop_map(Scale::ShareOfFull),
        (1_u32..5).prop_map(Scale::Replicas),
    ]
}

fn any_analysis() -> impl Strategy<Value = Analysis> {
    any_time().prop_map(|duration| Analysis {
        name: "check".to_owned(),
        duration,
        guards: vec![guard()],
    })
}

fn experiment(analysis: Analysis) -> Step {
    Step::Experiment(Experiment {
        arms: vec![ExperimentArm {
            name: "baseline".to_owned(),
            of: Arm::Stable,
            replicas: 1,
            weight: Weight::ZERO,
        }],
        analysis,
    })
}

fn header_route(matches: usize) -> Step {
    let one = HeaderMatch {
        header: "x-team".to_owned(),
        value: ValueMatch::Present,
    };
    Step::HeaderRoute(HeaderRoute {
        name: "team".to_owned(),
        matches: vec![one; matches],
    })
}

fn any_gate() -> impl Strategy<Value = Gate> {
    let ask = prop_oneof![
        Just(Ask::Approval),
        Just(Ask::Webhook {
            url: "http://127.0.0.1/".to_owned()
        }),
        Just(Ask::Run {
            argv: vec!["true".to_owned()]
        }),
        Just(Ask::Job {
            cron_job: "smoke".to_owned()
        }),
    ];
    (ask, any_time()).prop_map(|(ask, timeout)| Gate {
        name: "gate".to_owned(),
        ask,
        timeout,
    })
}

fn any_rules() -> impl Strategy<Value = Rules> {
    let guards = prop_oneof![1 => Just(Vec::new()), 3 => Just(vec![guard()])];
    let mode = || select(vec![Mode::Auto, Mode::Auto, Mode::Manual, Mode::Hybrid]);
    let doubt = || select(vec![OnDoubt::Advance, OnDoubt::Hold, OnDoubt::Rollback]);
    let failure = select(vec![
        OnFailure::Rollback,
        OnFailure::Hold,
        OnFailure::PauseAtZero,
    ]);
    let bake = prop_oneof![Just(Duration::ZERO), any_time()];
    (
        guards,
        any_scale(),
        failure,
        (doubt(), doubt()),
        (mode(), mode()),
        bake,
        option::weighted(0.3, Just(window())),
        option::weighted(0.5, Just(Sequential::default())),
    )
        .prop_map(
            |(guards, canary_scale, on_failure, doubts, modes, bake, window, judge)| Rules {
                guards,
                judge,
                metrics: Vec::new(),
                bands: Bands::Learned,
                sampling: Sampling::default(),
                judge_from_step: 0,
                canary_scale,
                on_failure,
                on_inconclusive: doubts.0,
                on_no_data: doubts.1,
                advance: modes.0,
                promote: modes.1,
                bake,
                deadlines: Deadlines::default(),
                windows: window.into_iter().collect(),
                freezes: Vec::new(),
                after_rollback: Vec::new(),
            },
        )
}

fn window() -> Window {
    Window {
        days: vec![1],
        from_minute: 0,
        to_minute: 1_440,
        time_zone: "UTC".to_owned(),
    }
}

fn guard() -> Guard {
    Guard {
        metric: Metric::ErrorRate,
        pass: Limit::Absolute(50_000),
        fail: Limit::Absolute(50_000),
        failures: 0,
        severity: Severity::Critical,
    }
}

fn any_time() -> impl Strategy<Value = Duration> {
    (1_u64..120).prop_map(Duration::from_secs)
}

fn any_weight() -> impl Strategy<Value = Weight> {
    select(vec![0_u8, 1, 5, 10, 25, 50, 80, 100]).prop_map(Weight::from_percent)
}
