//! Plans and files at random, over every kind of step and rule.

use std::time::Duration;

use haldane_core::{
    Weight,
    guard::{Guard, Limit, Metric, Severity, Unit, Worse},
    plan::{
        Analysis, Arm, Ask, Bands, Deadlines, Experiment, ExperimentArm, Freeze, Gate, HeaderMatch,
        HeaderRoute, Hold, Mode, OnDoubt, OnFailure, Plan, PlanParts, Rules, Sampling, Scale,
        Sequential, Step, ValueMatch, Window,
    },
};
use jiff::Timestamp;
use proptest::{collection::vec, option, prelude::*, sample::select};

/// Any metric with any limit that it allows.
pub(crate) fn limit() -> impl Strategy<Value = (Metric, Limit)> {
    select(&Metric::ALL[..]).prop_flat_map(|metric| {
        let is_share = metric.unit() == Unit::Share;
        let absolute = if is_share {
            (0..=1_000_000_u64).boxed()
        } else {
            any_size().boxed()
        };
        let absolute = absolute.prop_map(Limit::Absolute);
        let times = any::<u32>().prop_map(Limit::Times);
        let points = any::<u32>().prop_map(Limit::Points);
        let limit = if is_share {
            prop_oneof![absolute, times, points].boxed()
        } else {
            prop_oneof![absolute, times].boxed()
        };
        (Just(metric), limit)
    })
}

fn any_size() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..2_000_u64,
        any::<u64>(),
        (0..2_000_u64).prop_map(|count| count << 20),
        (0..2_000_u64).prop_map(|count| count * 1_000_000)
    ]
}

fn weight() -> impl Strategy<Value = Weight> {
    prop_oneof![
        0..=10_000_u16,
        (0..=100_u16).prop_map(|percent| percent * 100)
    ]
    .prop_map(|bps| Weight::try_from_bps(bps).unwrap())
}

/// A time of at most a year, often a round one.
fn time() -> impl Strategy<Value = Duration> {
    let year = 366_u64 * 24 * 3_600;
    prop_oneof![
        (0..=year).prop_map(Duration::from_secs),
        (0..=8_784_u64).prop_map(Duration::from_hours),
        (0..=1_000_u64).prop_map(Duration::from_mins),
        (0..=1_000_000_u64).prop_map(Duration::from_millis),
        (0..year * 1_000_000_000).prop_map(Duration::from_nanos),
    ]
}

fn wait() -> impl Strategy<Value = Duration> {
    time().prop_filter("a wait is above zero", |time| !time.is_zero())
}

/// A text of which YAML might think anything.
pub(crate) fn text() -> impl Strategy<Value = String> {
    let odd = select(
        &[
            "true",
            "off",
            "null",
            "~",
            "1",
            "0x1f",
            "1e309",
            "09:00",
            "2026-12-20",
            "- a",
            "a: b",
            "a #b",
            "#",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "`",
            "'",
            "\"",
            "\\",
            "a\nb",
            " a ",
            "\t",
            "é",
            "\u{feff}",
            "\u{85}",
            "\u{2028}",
            "\u{7f}",
            "{a}",
            "[a]",
            "|",
            ">",
            "?",
            "---",
            "...",
            "a:",
            "<<",
            "=",
            "🦜",
            "\u{ffff}",
            "\0",
        ][..],
    );
    prop_oneof![
        odd.prop_map(str::to_owned),
        "[a-z]{1,8}",
        any::<String>(),
        "\\PC{0,20}"
    ]
}

fn name() -> impl Strategy<Value = String> {
    text().prop_filter("a name is not empty", |name| {
        !name.trim().is_empty() && name.len() <= 1_000
    })
}

fn guard() -> impl Strategy<Value = Guard> {
    let severity = select(&[Severity::Warn, Severity::Critical][..]);
    (limit(), any::<u64>(), any::<bool>(), any::<u32>(), severity).prop_map(
        |((metric, one), more, is_one, failures, severity)| {
            let other = match one {
                Limit::Absolute(value) if metric.unit() == Unit::Share => {
                    Limit::Absolute(value.saturating_add(more).min(1_000_000))
                }
                Limit::Absolute(value) => Limit::Absolute(value.saturating_add(more)),
                Limit::Times(times) => {
                    Limit::Times(times.saturating_add(u32::try_from(more % 5_000).unwrap()))
                }
                Limit::Points(_) => Limit::Absolute(more % 1_000_001),
            };
            let other = if is_one { one } else { other };
            let (pass, fail) = match metric.worse() {
                Worse::Higher => (one, other),
                Worse::Lower => (other, one),
            };
            Guard {
                metric,
                pass,
                fail,
                failures,
                severity,
            }
        },
    )
}

fn hold() -> impl Strategy<Value = Hold> {
    let evidence = (time(), wait()).prop_map(|(one, other)| Hold::UntilEvidence {
        min: one.min(other),
        max: one.max(other),
    });
    prop_oneof![
        time().prop_map(Hold::For),
        Just(Hold::UntilResumed),
        evidence
    ]
}

fn scale() -> impl Strategy<Value = Scale> {
    prop_oneof![
        Just(Scale::Full),
        Just(Scale::MatchWeight),
        weight().prop_map(Scale::ShareOfFull),
        (1..=10_000_u32).prop_map(Scale::Replicas),
    ]
}

fn analysis() -> impl Strategy<Value = Analysis> {
    (name(), wait(), vec(guard(), 1..4)).prop_map(|(name, duration, guards)| Analysis {
        name,
        duration,
        guards,
    })
}

fn experiment() -> impl Strategy<Value = Experiment> {
    let of = select(&[Arm::Stable, Arm::Canary][..]);
    let arm = (name(), of, any::<u32>(), weight()).prop_map(|(name, of, replicas, weight)| {
        ExperimentArm {
            name,
            of,
            replicas,
            weight,
        }
    });
    (vec(arm, 1..3), analysis()).prop_map(|(arms, analysis)| Experiment { arms, analysis })
}

fn header_route() -> impl Strategy<Value = HeaderRoute> {
    let value = prop_oneof![
        text().prop_map(ValueMatch::Exact),
        text().prop_map(ValueMatch::Prefix),
        text().prop_map(ValueMatch::Regex),
        Just(ValueMatch::Present),
    ];
    let one = ("[a-z0-9!#$%&'*+.^_`|~-]{1,9}", value)
        .prop_map(|(header, value)| HeaderMatch { header, value });
    (name(), vec(one, 0..3)).prop_map(|(name, matches)| HeaderRoute { name, matches })
}

fn gate() -> impl Strategy<Value = Gate> {
    let ask = prop_oneof![
        Just(Ask::Approval),
        "https?://[a-z]{1,9}/[!-~]{0,9}".prop_map(|url| Ask::Webhook { url }),
        (name(), vec(text(), 0..4)).prop_map(|(program, mut argv)| {
            argv.insert(0, program);
            Ask::Run { argv }
        }),
        "[a-z]{1,9}(-[a-z0-9]{1,9}){0,2}".prop_map(|cron_job| Ask::Job { cron_job }),
    ];
    (name(), ask, wait()).prop_map(|(name, ask, timeout)| Gate { name, ask, timeout })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        weight().prop_map(Step::SetWeight),
        Just(Step::TestTraffic),
        hold().prop_map(Step::Hold),
        scale().prop_map(Step::ScaleCanary),
        analysis().prop_map(Step::Analysis),
        experiment().prop_map(Step::Experiment),
        header_route().prop_map(Step::HeaderRoute),
        weight().prop_map(Step::Mirror),
        gate().prop_map(Step::Gate),
    ]
}

/// Lets weights rise: each is at least the one before, unless it is zero.
fn risen(steps: Vec<Step>) -> Vec<Step> {
    let mut weight = Weight::ZERO;
    let rise = |step| match step {
        Step::SetWeight(next) if !next.is_zero() => {
            weight = weight.max(next);
            Step::SetWeight(weight)
        }
        Step::SetWeight(_) | Step::TestTraffic => {
            weight = Weight::ZERO;
            step
        }
        Step::Hold(_)
        | Step::ScaleCanary(_)
        | Step::Analysis(_)
        | Step::Experiment(_)
        | Step::HeaderRoute(_)
        | Step::Mirror(_)
        | Step::Gate(_) => step,
    };
    steps.into_iter().map(rise).collect()
}

fn calendar() -> impl Strategy<Value = (Vec<Window>, Vec<Freeze>)> {
    let window = (
        vec(1..=7_u8, 1..9),
        0..1_440_u16,
        1..=1_440_u16,
        select(&["UTC", "Europe/Berlin", "Etc/GMT+5"][..]),
    )
        .prop_filter("it opens before it closes", |(_, from, to, _)| from < to)
        .prop_map(|(days, from_minute, to_minute, zone)| Window {
            days,
            from_minute,
            to_minute,
            time_zone: zone.to_owned(),
        });
    let freeze = (
        -100_000_000_000_i64..200_000_000_000,
        1..1_000_000_i64,
        0..1_000_000_000_i32,
        text(),
    )
        .prop_filter("a reason is short", |(.., reason)| reason.len() <= 1_000)
        .prop_map(|(from, length, nanos, reason)| Freeze {
            from: Timestamp::new(from, if from < 0 { 0 } else { nanos }).unwrap(),
            to: Timestamp::new(from + length + 1, 0).unwrap(),
            reason,
        });
    (vec(window, 0..3), vec(freeze, 0..3))
}

fn deadlines() -> impl Strategy<Value = Deadlines> {
    [
        wait(),
        wait(),
        wait(),
        wait(),
        wait(),
        wait(),
        wait(),
        wait(),
    ]
    .prop_map(
        |[
            window,
            ready,
            lost,
            traffic,
            evidence,
            confirm,
            person,
            drain,
        ]| Deadlines {
            window,
            ready,
            lost,
            traffic,
            evidence,
            confirm,
            person,
            drain,
        },
    )
}

fn sequential() -> impl Strategy<Value = Sequential> {
    (
        1..=200_000_u32,
        1..=200_000_u32,
        1_000..50_000_u32,
        1..50_000_u32,
        0..=500_000_u32,
        (0..=1_000_000_u32, 0..=10_000_u64, 0..=600_u64),
    )
        .prop_map(
            |(alpha_ppm, beta_ppm, harm_permille, wider, accept_ppm, leeway)| Sequential {
                alpha_ppm,
                beta_ppm,
                harm_permille,
                accept_permille: harm_permille + wider,
                accept_ppm,
                leeway_ppm: leeway.0,
                leeway_min: Duration::from_millis(leeway.1),
                warm_up: Duration::from_secs(leeway.2),
            },
        )
}

fn rules() -> impl Strategy<Value = Rules> {
    let sampling =
        (wait(), 1..=u32::MAX, wait()).prop_map(|(window, requests_min, stale_after)| Sampling {
            window,
            requests_min,
            stale_after,
        });
    let doubt = || select(&[OnDoubt::Advance, OnDoubt::Hold, OnDoubt::Rollback][..]);
    let mode = || select(&[Mode::Auto, Mode::Manual, Mode::Hybrid][..]);
    let failure = select(&[OnFailure::Rollback, OnFailure::Hold, OnFailure::PauseAtZero][..]);
    let can_answer = |hook: &Gate| hook.ask != Ask::Approval;
    let after_rollback = vec(gate().prop_filter("nobody approves", can_answer), 0..3);
    let choices = (failure, doubt(), doubt(), mode(), mode());
    (
        (
            vec(guard(), 0..5),
            option::of(sequential()),
            select(&[Bands::Learned, Bands::None][..]),
        ),
        sampling,
        any::<u32>(),
        scale(),
        choices,
        time(),
        deadlines(),
        (calendar(), after_rollback),
    )
        .prop_map(
            |(
                (guards, judge, bands),
                sampling,
                judge_from_step,
                canary_scale,
                choices,
                bake,
                deadlines,
                ((windows, freezes), after_rollback),
            )| {
                let (on_failure, on_inconclusive, on_no_data, advance, promote) = choices;
                Rules {
                    guards,
                    judge,
                    metrics: Vec::new(),
                    bands,
                    sampling,
                    judge_from_step,
                    canary_scale,
                    on_failure,
                    on_inconclusive,
                    on_no_data,
                    advance,
                    promote,
                    bake,
                    deadlines,
                    windows,
                    freezes,
                    after_rollback,
                }
            },
        )
}

/// Any valid plan.
pub(crate) fn plan() -> impl Strategy<Value = Plan> {
    (vec(step(), 1..12), rules()).prop_map(|(steps, rules)| {
        let count = u32::try_from(steps.len()).unwrap();
        let rules = Rules {
            judge_from_step: rules.judge_from_step % count,
            ..rules
        };
        Plan::try_new(PlanParts {
            steps: risen(steps),
            rules,
        })
        .unwrap()
    })
}
