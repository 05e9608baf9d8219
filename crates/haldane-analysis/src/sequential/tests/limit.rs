//! Limits of their own: shown for the canary alone, and not blamed on it while stable breaks them, too.

use super::*;

/// A limit of 1 % on failed requests.
fn slo(critical: bool) -> Config {
    config(|settings| {
        settings.metrics.push(Metric {
            name: "slo".to_owned(),
            against: Against::Limit(10_000),
            critical,
            required: false,
            ..Metric::errors()
        });
    })
}

#[test]
fn a_limit_that_the_canary_breaks_alone_decides() {
    // A canary like stable in all but the limit's last minutes: nothing else can decide.
    for (critical, expected) in [
        (true, (Verdict::Fail, Why::Harm)),
        (false, (Verdict::Inconclusive, Why::Held)),
    ] {
        let config = config(|settings| {
            settings.metrics = vec![
                Metric::latency(),
                slo(critical).settings().metrics[1].clone(),
            ];
        });
        let mut state = State::new(&config);
        feed(&mut state, &config, (0, 60), (50, (5, 1_000), (30, 1_000)));
        assert_eq!(conclude(&state, &config, 60), expected);
        let reason = state.judge(&config, &question(0, 60)).judgement.reason;
        assert!(reason.contains("slo: 3% against a limit of 1%"), "{reason}");
    }
}

#[test]
fn an_incident_of_both_versions_holds_and_is_never_blamed_on_the_canary() {
    for percent in [5, 50, 95] {
        let canary = u64::from(percent) * 200;
        let stable = 20_000 - canary;
        let config = slo(true);
        let mut state = State::new(&config);
        let parts = |thousandth: u64| {
            (
                percent,
                (stable * thousandth / 1_000, stable),
                (canary * thousandth / 1_000, canary),
            )
        };
        feed(&mut state, &config, (0, 300), parts(5));
        feed(&mut state, &config, (300, 360), parts(100));
        assert_eq!(
            conclude(&state, &config, 360),
            (Verdict::Inconclusive, Why::Shared),
            "{percent}"
        );
        let reason = state.judge(&config, &question(0, 360)).judgement.reason;
        assert!(
            reason.starts_with(
                "held: stable breaks the limit, too, so the canary is not to blame: slo: "
            ),
            "{reason}"
        );
        // When it is over, nothing of it is left against the canary.
        feed(&mut state, &config, (360, 900), parts(5));
        assert_eq!(conclude(&state, &config, 900).0, Verdict::Pass, "{percent}");
    }
}

#[test]
fn a_canary_that_breaks_a_limit_after_an_incident_is_still_found() {
    let config = slo(true);
    let mut state = State::new(&config);
    feed(
        &mut state,
        &config,
        (0, 60),
        (50, (100, 1_000), (100, 1_000)),
    );
    feed(&mut state, &config, (60, 600), (50, (8, 1_000), (8, 1_000)));
    feed(
        &mut state,
        &config,
        (600, 700),
        (50, (8, 1_000), (100, 1_000)),
    );
    assert_eq!(conclude(&state, &config, 700), (Verdict::Fail, Why::Harm));
}

#[test]
fn a_conversion_must_not_fall_below_its_limit() {
    let config = config(|settings| {
        settings.metrics.push(Metric {
            name: "checkout".to_owned(),
            against: Against::Limit(100_000),
            critical: false,
            required: false,
            ..Metric::conversion("checkout")
        });
    });
    for (stable, canary, expected) in [
        (300, 120, None),
        (150, 60, Some(Why::Held)),
        (60, 60, Some(Why::Shared)),
        (60, 150, None),
    ] {
        let mut state = State::new(&config);
        for minute in 0..10 {
            let (stable, canary) = (counts(stable, 1_000), counts(canary, 1_000));
            let observed = observed("checkout", minute, stable, canary);
            state.observe_metric(&config, &observed).unwrap();
        }
        let why = conclude(&state, &config, 600).1;
        let why = Some(why).filter(|why| matches!(why, Why::Held | Why::Shared));
        assert_eq!(why, expected, "{stable} {canary}");
    }
}

#[test]
fn a_share_that_should_be_high_is_held_to_a_limit_from_below() {
    let config = config(|settings| {
        settings.metrics.push(Metric {
            name: "good".to_owned(),
            source: Source::Observed,
            direction: Direction::LowerIsWorse,
            against: Against::Limit(990_000),
            critical: false,
            required: false,
            ..Metric::errors()
        });
    });
    for (canary, is_held) in [(995, false), (900, true)] {
        let mut state = State::new(&config);
        for minute in 0..10 {
            let (stable, canary) = (counts(998, 1_000), counts(canary, 1_000));
            let observed = observed("good", minute, stable, canary);
            state.observe_metric(&config, &observed).unwrap();
        }
        let why = conclude(&state, &config, 600).1;
        assert_eq!(why == Why::Held, is_held, "{canary}: {why:?}");
    }
}

#[test]
fn a_gauge_is_held_to_a_limit_after_two_answers() {
    let slow = |critical| Metric {
        against: Against::Limit(250_000),
        critical,
        ..Metric::gauge("p99")
    };
    let run = |critical: bool, answers: &[(u64, u64)]| {
        let config = config(|settings| settings.metrics.push(slow(critical)));
        let mut state = State::new(&config);
        let good = (50, (0, 1_000), (0, 1_000));
        feed(&mut state, &config, (0, 60), good);
        let mut second = 60;
        for (minute, (stable, canary)) in (1..).zip(answers) {
            second = minute * 60 + 60;
            feed(&mut state, &config, (second - 60, second), good);
            let pods = |value: &u64| Reading::Pods(vec![value * 1_000]);
            let observed = observed("p99", minute, pods(stable), pods(canary));
            state.observe_metric(&config, &observed).unwrap();
            let text = serde_json::to_string(&state).unwrap();
            state = serde_json::from_str(&text).unwrap();
        }
        (
            conclude(&state, &config, second),
            state.judge(&config, &question(0, second)).judgement.reason,
        )
    };
    let (found, reason) = run(false, &[(200, 300), (200, 310)]);
    assert_eq!(found, (Verdict::Inconclusive, Why::Held));
    assert_eq!(reason, "held: p99: 310 against a limit of 250");
    assert_eq!(run(false, &[(200, 300)]).0.0, Verdict::Pass);
    assert_eq!(run(false, &[(200, 300), (200, 240)]).0.0, Verdict::Pass);
    let (found, _) = run(true, &[(200, 300), (200, 310)]);
    assert_eq!(found, (Verdict::Fail, Why::Harm));
    for critical in [false, true] {
        let (found, reason) = run(critical, &[(290, 300), (270, 310)]);
        assert_eq!(found, (Verdict::Inconclusive, Why::Shared));
        assert_eq!(
            reason,
            "held: stable breaks the limit, too, so the canary is not to blame: p99: 310 of the canary and 270 of stable, against 250"
        );
    }
}
