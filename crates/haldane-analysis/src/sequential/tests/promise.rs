//! What is promised: few false rollbacks, quick true ones, passes on evidence only.

use super::*;
use crate::sequential::chance::Chance;

/// A rollout of 5, 25, 50 and 100 % with a minute each, at 200 requests a second, after two minutes of history; ends with the first failure.
struct Rollout {
    stable: f64,
    canary: f64,
    /// From which second to which both versions are worse by how much.
    incident: Option<(i64, i64, f64)>,
    /// In clumps of how many errors come.
    clump: u64,
    onset: i64,
}

const HEALTHY: Rollout = Rollout {
    stable: 0.01,
    canary: 0.01,
    incident: None,
    clump: 1,
    onset: 0,
};

/// When a rollout failed, and whether it was asked to step back.
struct Outcome {
    failed: Option<i64>,
    stepped_back: bool,
}

impl Rollout {
    fn run(&self, config: &Config, seed: u64) -> Outcome {
        let mut chance = Chance::new(seed);
        let mut state = State::new(config);
        let mut stepped_back = false;
        for second in -600..240 {
            let percent = match second {
                ..0 => 0,
                _ if stepped_back => 50,
                0..60 => 5,
                60..120 => 25,
                120..180 => 50,
                180.. => 100,
            };
            let extra = self
                .incident
                .filter(|(from, to, _)| (*from..*to).contains(&second))
                .map_or(0.0, |(_, _, extra)| extra);
            let canary_n = chance.of(200, f64::from(percent) / 100.0);
            let mut events = |n: u64, p: f64| {
                let clump = real::real(self.clump);
                (chance.of(n, (p + extra) / clump) * self.clump).min(n)
            };
            let p = if second >= self.onset {
                self.canary
            } else {
                self.stable
            };
            let canary = (events(canary_n, p), canary_n);
            let stable = (events(200 - canary_n, self.stable), 200 - canary_n);
            let second = second + 600;
            state
                .observe(config, &batch(second, percent, stable, canary))
                .unwrap();
            let conclusion = state.conclude(config, &question(0, second + 1));
            if conclusion.verdict == Verdict::Fail {
                return Outcome {
                    failed: Some(second - 599),
                    stepped_back,
                };
            }
            stepped_back |= conclusion.step_back;
        }
        Outcome {
            failed: None,
            stepped_back,
        }
    }

    fn failures(&self, config: &Config, runs: u64) -> usize {
        let failed = (0..runs).filter(|seed| self.run(config, *seed).failed.is_some());
        failed.count()
    }

    fn median(&self, config: &Config) -> i64 {
        let mut seconds: Vec<i64> = (0..31)
            .map(|seed| self.run(config, seed).failed.unwrap_or(i64::MAX))
            .collect();
        seconds.sort_unstable();
        seconds[15]
    }
}

#[test]
fn few_healthy_rollouts_are_rolled_back() {
    // Without margin, so that chance has all the room it may have: α is 1 %, of 100 runs at most four.
    let config = config(|settings| {
        let Against::Stable(margin) = &mut settings.metrics[0].against else {
            panic!("errors are compared");
        };
        margin.harm_ratio_ppm = 1_000_000;
    });
    let incident = Rollout {
        incident: Some((20, 100, 0.15)),
        ..HEALTHY
    };
    let clumped = Rollout {
        clump: 10,
        ..HEALTHY
    };
    for (name, rollout) in [
        ("healthy", HEALTHY),
        ("an incident of both", incident),
        ("clumps of ten", clumped),
    ] {
        let failed = rollout.failures(&config, 100);
        assert!(failed <= 4, "{name}: {failed} of 100");
    }
}

#[test]
fn a_bad_canary_is_found_soon() {
    let bad = |canary| Rollout { canary, ..HEALTHY };
    let config = errors();
    for (canary, seconds_max) in [(0.1, 10), (0.5, 2)] {
        let median = bad(canary).median(&config);
        assert!(median <= seconds_max, "{canary}: {median} s");
    }
    let late = Rollout {
        onset: 100,
        ..bad(0.1)
    };
    let median = late.median(&config);
    assert!((100..108).contains(&median), "late: {median} s");
}

#[test]
fn an_incident_at_full_weight_steps_back_and_rolls_nothing_back() {
    let incident = Rollout {
        incident: Some((190, 400, 0.2)),
        ..HEALTHY
    };
    let outcomes: Vec<_> = (0..40).map(|seed| incident.run(&errors(), seed)).collect();
    let back = outcomes.iter().filter(|outcome| outcome.stepped_back);
    assert_eq!(back.count(), 40);
    let failed = outcomes.iter().filter(|outcome| outcome.failed.is_some());
    assert!(failed.count() <= 2);
}

#[test]
fn a_fault_at_full_weight_is_told_beside_stable() {
    let fault = Rollout {
        canary: 0.1,
        onset: 190,
        ..HEALTHY
    };
    for seed in 0..20 {
        let outcome = fault.run(&errors(), seed);
        assert!(outcome.stepped_back);
        assert!(
            outcome.failed.is_some_and(|second| second < 215),
            "{:?}",
            outcome.failed
        );
    }
}

#[test]
fn a_step_back_is_asked_for_until_stable_is_back() {
    let config = errors();
    let mut state = State::new(&config);
    feed(&mut state, &config, (0, 100), (50, (1, 100), (1, 100)));
    feed(&mut state, &config, (100, 110), (100, (0, 0), (50, 200)));
    let answer = state.judge(&config, &question(0, 110));
    let step_back = answer.step_back.unwrap();
    assert_eq!(step_back.to, Weight::from_percent(50));
    assert_eq!(step_back.metric, "errors");
    assert_eq!(answer.judgement.verdict, Verdict::Inconclusive);
    feed(&mut state, &config, (110, 111), (50, (1, 100), (1, 100)));
    let answer = state.judge(&config, &question(0, 111));
    assert_eq!(answer.step_back, None);
    assert_eq!(
        answer.judgement.verdict,
        Verdict::Inconclusive,
        "the evidence for a pass begins anew"
    );
}

#[test]
fn a_pass_needs_evidence_and_soak() {
    let config = errors();
    let mut state = State::new(&config);
    feed(&mut state, &config, (0, 10), (50, (1, 1_000), (1, 1_000)));
    assert_eq!(
        conclude(&state, &config, 10),
        (Verdict::Inconclusive, Why::Soak)
    );
    feed(&mut state, &config, (10, 31), (50, (1, 1_000), (1, 1_000)));
    assert_eq!(conclude(&state, &config, 31), (Verdict::Pass, Why::Shown));

    let mut little = State::new(&config);
    feed(&mut little, &config, (0, 60), (50, (0, 5), (0, 5)));
    assert_eq!(
        conclude(&little, &config, 60),
        (Verdict::Inconclusive, Why::Gathering)
    );
    let reason = little.judge(&config, &question(0, 60)).judgement.reason;
    assert!(
        reason.starts_with("not sure yet: errors: 0% against 0% (0 of 300, 0 of 300"),
        "{reason}"
    );
    assert!(reason.contains("to see 2× as many"), "{reason}");
}

#[test]
fn a_harm_once_shown_stays() {
    let config = errors();
    let mut state = State::new(&config);
    feed(&mut state, &config, (0, 5), (10, (1, 90), (8, 10)));
    feed(&mut state, &config, (5, 300), (10, (1, 90), (0, 10)));
    assert_eq!(conclude(&state, &config, 300), (Verdict::Fail, Why::Harm));
    let answer = state.judge(&config, &question(0, 300));
    assert_eq!(answer.evidence.metrics[0].verdict, Verdict::Fail);
    assert!(
        answer
            .judgement
            .reason
            .starts_with("the canary is worse: errors: ")
    );
}

#[test]
fn with_fresh_evidence_each_step_shows_it_anew() {
    let fresh = config(|settings| settings.fresh = true);
    for (config, expected) in [(errors(), Why::Soak), (fresh, Why::Gathering)] {
        let mut state = State::new(&config);
        feed(&mut state, &config, (0, 40), (25, (1, 900), (0, 300)));
        assert_eq!(conclude(&state, &config, 40), (Verdict::Pass, Why::Shown));
        feed(&mut state, &config, (40, 42), (50, (1, 100), (0, 100)));
        assert_eq!(state.conclude(&config, &question(40, 42)).why, expected);
    }
}

#[test]
fn fewer_conversions_roll_back_and_more_do_not() {
    let config = config(|settings| settings.metrics.push(Metric::conversion("checkout")));
    for (canary, expected) in [
        (200, Why::Harm),
        (300, Why::NoSamples),
        (400, Why::NoSamples),
    ] {
        let mut state = State::new(&config);
        for minute in 0..10 {
            let observed = observed(
                "checkout",
                minute,
                counts(300, 1_000),
                counts(canary, 1_000),
            );
            state.observe_metric(&config, &observed).unwrap();
        }
        let conclusion = state.conclude(&config, &question(600, 600));
        assert_eq!(conclusion.why, expected, "{canary}");
    }
}

#[test]
fn a_success_rate_is_judged_by_what_failed() {
    let config = config(|settings| {
        settings.metrics = vec![Metric {
            name: "success".to_owned(),
            source: Source::Observed,
            direction: Direction::LowerIsWorse,
            ..Metric::errors()
        }];
    });
    for (succeeded, expected) in [(900, Why::Harm), (999, Why::Shown)] {
        let mut state = State::new(&config);
        for minute in 0..6 {
            let observed = observed(
                "success",
                minute,
                counts(990, 1_000),
                counts(succeeded, 1_000),
            );
            state.observe_metric(&config, &observed).unwrap();
        }
        let conclusion = state.conclude(&config, &question(0, 360));
        assert_eq!(conclusion.why, expected, "{succeeded}");
    }
}

#[test]
fn restarts_and_observed_latencies_are_judged() {
    let config = config(|settings| {
        let latency = Metric {
            name: "search".to_owned(),
            source: Source::Observed,
            ..Metric::latency()
        };
        settings.metrics = vec![latency, Metric::counter("restarts")];
    });
    for (slow, restarts, expected) in [
        (900, 0, Some("search")),
        (30, 8, Some("restarts")),
        (30, 0, None),
    ] {
        let mut state = State::new(&config);
        for minute in 0..8 {
            let reading = |slow| Reading::Latency(latencies(1_000, slow));
            let search = observed("search", minute, reading(30), reading(slow));
            state.observe_metric(&config, &search).unwrap();
            let pods = observed("restarts", minute, counts(0, 600), counts(restarts, 120));
            state.observe_metric(&config, &pods).unwrap();
        }
        let conclusion = state.conclude(&config, &question(0, 480));
        let decided = conclusion
            .decided
            .map(|place| config.metrics()[place].name.as_str());
        assert_eq!(decided, expected, "{conclusion:?}");
    }
}

#[test]
fn pods_that_use_more_hold() {
    let config = config(|settings| settings.metrics.push(Metric::gauge("cpu")));
    let mut state = State::new(&config);
    for minute in 0..12 {
        let stable = Reading::Pods(vec![100, 101, 99, 100]);
        let observed = observed("cpu", minute, stable, Reading::Pods(vec![250, 240]));
        state.observe_metric(&config, &observed).unwrap();
    }
    assert_eq!(
        conclude(&state, &config, 720),
        (Verdict::Inconclusive, Why::Held)
    );
    let answer = state.judge(&config, &question(0, 720));
    assert_eq!(answer.judgement.reason, "held: cpu: 0.245 against 0.1");
}

#[test]
fn requests_that_go_elsewhere_hold() {
    let config = errors();
    let mut state = State::new(&config);
    feed(&mut state, &config, (0, 40), (5, (0, 500), (0, 500)));
    assert_eq!(
        conclude(&state, &config, 40),
        (Verdict::Inconclusive, Why::Mismatch)
    );
    let judgement = state.judge(&config, &question(0, 40)).judgement;
    assert_eq!(judgement.share, haldane_core::verdict::Share::Mismatch);
    assert_eq!(
        judgement.reason,
        "at weight 5% the canary got 19000 of 38000 requests: traffic does not go where it is sent"
    );
}
