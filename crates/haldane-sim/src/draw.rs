//! Plans drawn by chance, over every kind of step and rule.
//!
//! Times are seconds, not hours: the machine compares times and does not care how long they are, and short ones make many rollouts
//! fit into a minute.

use std::time::Duration;

use haldane_core::{
    Weight,
    guard::{Guard, Limit, Metric, Severity},
    plan::{
        Analysis, Arm, Ask, Bands, Deadlines, Experiment, ExperimentArm, Gate, HeaderMatch,
        HeaderRoute, Hold, Mode, OnDoubt, OnFailure, Plan, PlanParts, PlanProblem, Rules, Sampling,
        Scale, Sequential, Step, ValueMatch, Window, preset,
    },
};

use crate::chance::Chance;

/// The most steps of a drawn plan.
const STEPS_MAX: u64 = 8;

/// Draws a plan; one in ten is a preset.
pub(crate) fn plan(chance: &mut Chance) -> Result<Plan, Vec<PlanProblem>> {
    let rules = rules(chance);
    if chance.happens(100) {
        let name = chance.pick(
            "blue-green",
            &[
                "Linear50PercentEvery1Minute",
                "Canary10Percent5Minutes",
                "AllAtOnce",
            ],
        );
        if let Some(plan) = preset::find(name, rules.clone()) {
            return Ok(plan);
        }
    }
    let count = chance.below(STEPS_MAX).saturating_add(1);
    let mut weight = Weight::ZERO;
    let steps = (0..count)
        .map(|_| step(chance, &mut weight))
        .collect::<Vec<_>>();
    let judge_from_step = u32::try_from(chance.below(count)).unwrap_or(0);
    let judge_from_step = chance.pick(0, &[judge_from_step]);
    Plan::try_new(PlanParts {
        steps,
        rules: Rules {
            judge_from_step,
            ..rules
        },
    })
}

fn step(chance: &mut Chance, weight: &mut Weight) -> Step {
    match chance.below(16) {
        0..=4 => {
            let drawn = share(chance);
            // Weights rise or drop to nothing.
            *weight = if drawn.is_zero() {
                drawn
            } else {
                drawn.max(*weight)
            };
            Step::SetWeight(*weight)
        }
        5 => {
            *weight = Weight::ZERO;
            Step::TestTraffic
        }
        6..=8 => Step::Hold(hold(chance)),
        9 => Step::ScaleCanary(scale(chance)),
        10 => Step::Analysis(analysis(chance)),
        11 => Step::Experiment(Experiment {
            arms: vec![ExperimentArm {
                name: "baseline".to_owned(),
                of: Arm::Stable,
                replicas: 1,
                weight: Weight::ZERO,
            }],
            analysis: analysis(chance),
        }),
        12 => Step::HeaderRoute(header_route(chance)),
        13 => Step::Mirror(share(chance)),
        _ => Step::Gate(gate(chance)),
    }
}

fn hold(chance: &mut Chance) -> Hold {
    match chance.below(6) {
        0..=2 => Hold::For(time(chance)),
        3 => Hold::UntilResumed,
        _ => {
            let min = time(chance);
            Hold::UntilEvidence {
                min,
                max: min.saturating_add(time(chance)),
            }
        }
    }
}

fn scale(chance: &mut Chance) -> Scale {
    let share = share(chance);
    let count = u32::try_from(chance.below(4))
        .unwrap_or(0)
        .saturating_add(1);
    chance.pick(
        Scale::Full,
        &[
            Scale::MatchWeight,
            Scale::ShareOfFull(share),
            Scale::Replicas(count),
        ],
    )
}

fn analysis(chance: &mut Chance) -> Analysis {
    Analysis {
        name: "check".to_owned(),
        duration: time(chance),
        guards: vec![guard()],
    }
}

fn header_route(chance: &mut Chance) -> HeaderRoute {
    let condition = HeaderMatch {
        header: "x-team".to_owned(),
        value: ValueMatch::Present,
    };
    HeaderRoute {
        name: chance.pick("team", &["beta"]).to_owned(),
        matches: if chance.happens(300) {
            Vec::new()
        } else {
            vec![condition]
        },
    }
}

fn gate(chance: &mut Chance) -> Gate {
    let ask = match chance.below(4) {
        0 => Ask::Approval,
        1 => Ask::Webhook {
            url: "http://127.0.0.1/gate".to_owned(),
        },
        2 => Ask::Run {
            argv: vec!["smoke-test".to_owned()],
        },
        _ => Ask::Job {
            cron_job: "smoke-test".to_owned(),
        },
    };
    let timeout = chance.below(30).saturating_add(40);
    Gate {
        name: "gate".to_owned(),
        // A person who was not answered, because the host died, asks again; a good canary must have time for that.
        timeout: Duration::from_secs(match ask {
            Ask::Approval => timeout.saturating_mul(2),
            Ask::Webhook { .. } | Ask::Run { .. } | Ask::Job { .. } => timeout,
        }),
        ask,
    }
}

fn rules(chance: &mut Chance) -> Rules {
    let modes = [Mode::Auto, Mode::Manual, Mode::Hybrid];
    let doubts = [OnDoubt::Hold, OnDoubt::Rollback];
    Rules {
        guards: if chance.happens(800) {
            vec![guard()]
        } else {
            Vec::new()
        },
        judge: chance.happens(500).then(Sequential::default),
        metrics: Vec::new(),
        bands: Bands::Learned,
        sampling: Sampling {
            window: Duration::from_secs(20),
            requests_min: 100,
            stale_after: Duration::from_secs(15),
        },
        judge_from_step: 0,
        canary_scale: scale(chance),
        on_failure: chance.pick(
            OnFailure::Rollback,
            &[OnFailure::Hold, OnFailure::PauseAtZero],
        ),
        on_inconclusive: chance.pick(OnDoubt::Advance, &doubts),
        on_no_data: chance.pick(OnDoubt::Advance, &doubts),
        advance: chance.pick(Mode::Auto, &modes),
        promote: chance.pick(Mode::Auto, &modes),
        bake: chance.pick(Duration::ZERO, &[Duration::from_secs(30)]),
        deadlines: Deadlines {
            window: Duration::from_secs(200),
            ready: Duration::from_secs(60),
            lost: Duration::from_secs(20),
            traffic: Duration::from_secs(40),
            evidence: Duration::from_secs(90),
            confirm: Duration::from_secs(20),
            person: Duration::from_secs(200),
            drain: Duration::from_secs(10),
        },
        windows: if chance.happens(300) {
            vec![window()]
        } else {
            Vec::new()
        },
        freezes: Vec::new(),
        after_rollback: Vec::new(),
    }
}

fn window() -> Window {
    Window {
        days: vec![1, 2, 3, 4, 5],
        from_minute: 540,
        to_minute: 1_020,
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

fn time(chance: &mut Chance) -> Duration {
    Duration::from_secs(chance.below(40).saturating_add(5))
}

pub(crate) fn share(chance: &mut Chance) -> Weight {
    Weight::from_percent(chance.pick(0, &[1, 5, 10, 25, 25, 50, 50, 75, 100, 100]))
}
