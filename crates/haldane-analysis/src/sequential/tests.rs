//! Tests of the whole judge: promises, restarts, bad input.

mod input;
mod limit;
mod promise;
mod restart;

use haldane_core::{
    Weight,
    verdict::{Subject, Verdict},
};
use jiff::Timestamp;

use super::*;
use crate::{
    sample::{Bucket, Sample},
    series::Batch,
    testing::at,
};

/// Failed of all requests.
type Part = (u64, u64);

fn config(change: impl FnOnce(&mut Settings)) -> Config {
    let mut settings = Settings {
        metrics: vec![Metric::errors()],
        ..Settings::standard()
    };
    change(&mut settings);
    Config::try_new(settings).unwrap()
}

fn errors() -> Config {
    config(|_| {})
}

fn sample((failures, requests): Part) -> Sample {
    Sample {
        requests,
        failures,
        ..Sample::default()
    }
}

/// A batch of one second.
fn batch(second: i64, percent: u8, stable: Part, canary: Part) -> Batch {
    Batch {
        from: at(second),
        to: at(second + 1),
        stable: sample(stable),
        canary: sample(canary),
        weight: Weight::from_percent(percent),
    }
}

fn question(since: i64, now: i64) -> Question {
    Question {
        subject: Subject::Background,
        since: at(since),
        now: at(now),
    }
}

/// Feeds one-second batches from `from` to `to`.
fn feed(
    state: &mut State,
    config: &Config,
    (from, to): (i64, i64),
    (percent, stable, canary): (u8, Part, Part),
) {
    for second in from..to {
        state
            .observe(config, &batch(second, percent, stable, canary))
            .unwrap();
    }
}

/// What is concluded right after the newest batch, of a step that began with the first.
fn conclude(state: &State, config: &Config, second: i64) -> (Verdict, Why) {
    let conclusion = state.conclude(config, &question(0, second));
    (conclusion.verdict, conclusion.why)
}

/// What was counted of a metric in a minute.
fn observed(metric: &str, minute: i64, stable: Reading, canary: Reading) -> Observed {
    Observed {
        metric: metric.to_owned(),
        from: at(minute * 60),
        to: at(minute * 60 + 60),
        skew: std::time::Duration::ZERO,
        weight: Weight::from_percent(10),
        stable: Some(stable),
        canary: Some(canary),
    }
}

const fn counts(events: u64, exposure: u64) -> Reading {
    Reading::Counts(Counts { exposure, events })
}

fn latencies(fast: u64, slow: u64) -> Vec<Bucket> {
    Bucket::list([
        (50_000, fast),
        (100_000, fast),
        (500_000, slow),
        (u64::MAX, 0),
    ])
}

fn verdict_at(state: &State, config: &Config, now: Timestamp) -> Verdict {
    let question = Question {
        subject: Subject::Background,
        since: at(0),
        now,
    };
    state.conclude(config, &question).verdict
}

#[test]
fn what_stable_did_before_the_canary_had_traffic_is_no_comparison() {
    let config = errors();
    let mut state = State::new(&config);
    // An outage that ends just before the rollout begins.
    feed(&mut state, &config, (0, 90), (0, (0, 20), (0, 0)));
    feed(&mut state, &config, (90, 94), (0, (20, 20), (0, 0)));
    feed(&mut state, &config, (94, 104), (10, (0, 18), (0, 2)));
    let answer = state.judge(&config, &question(94, 104));
    let errors = &answer.evidence.metrics[0];
    assert_eq!((errors.stable.events, errors.canary.events), (0, 0));
    assert!(errors.stable.exposure <= 180, "{errors:?}");
    // A forecast from the first seconds on rests on the traffic that there is.
    assert!(
        (18_000..22_000).contains(&errors.traffic_milli),
        "{errors:?}"
    );
}
