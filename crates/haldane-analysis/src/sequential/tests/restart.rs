//! A restart at any batch changes nothing, to the last bit.

use proptest::prelude::*;

use super::*;

/// One second of both versions.
#[derive(Clone, Debug)]
struct Second {
    percent: u8,
    stable: Part,
    canary: Part,
    fast: (u64, u64),
    slow: (u64, u64),
    conversions: (u64, u64),
}

fn second() -> impl Strategy<Value = Second> {
    let part = |max: u64| (0..=max).prop_flat_map(|n| (0..=n.min(20), Just(n)));
    (
        prop_oneof![Just(0_u8), Just(5), Just(50), Just(100)],
        part(2_000),
        part(500),
        (0_u64..300, 0_u64..100),
        (0_u64..60, 0_u64..60),
        (0_u64..400, 0_u64..100),
    )
        .prop_map(
            |(percent, stable, canary, fast, slow, conversions)| Second {
                percent,
                stable,
                canary,
                fast,
                slow,
                conversions,
            },
        )
}

fn all() -> Config {
    config(|settings| {
        settings.fresh = true;
        let limit = Metric {
            against: Against::Limit(20_000),
            critical: false,
            required: false,
            ..Metric::errors()
        };
        settings.metrics = vec![
            Metric::errors(),
            Metric::latency(),
            Metric::conversion("checkout"),
            Metric::counter("restarts"),
            Metric::gauge("cpu"),
            Metric {
                name: "slo".to_owned(),
                ..limit
            },
        ];
    })
}

fn take(state: &mut State, config: &Config, second: i64, data: &Second) {
    let mut batch = batch(second, data.percent, data.stable, data.canary);
    batch.stable.latency = latencies(data.fast.0, data.slow.0);
    batch.canary.latency = latencies(data.fast.1, data.slow.1);
    state.observe(config, &batch).unwrap();
    for (metric, stable, canary) in [
        (
            "checkout",
            counts(data.conversions.0, 1_000),
            counts(data.conversions.1, 200),
        ),
        ("restarts", counts(0, 10), counts(data.stable.0 / 10, 2)),
        (
            "cpu",
            Reading::Pods(vec![100, 90, 1 + data.slow.0]),
            Reading::Pods(vec![data.fast.1]),
        ),
    ] {
        let observed = Observed {
            from: batch.from,
            to: batch.to,
            ..observed(metric, 0, stable, canary)
        };
        state.observe_metric(config, &observed).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_restart_after_every_batch_gives_the_same_answers(data in proptest::collection::vec(second(), 1..60)) {
        let config = all();
        let mut kept = State::new(&config);
        let mut restarted = kept.clone();
        for (second, data) in (0..).zip(&data) {
            take(&mut kept, &config, second, data);
            take(&mut restarted, &config, second, data);
            let stored = serde_json::to_string(&restarted).unwrap();
            restarted = serde_json::from_str(&stored).unwrap();
            prop_assert_eq!(&restarted, &kept);
            let question = question(0, second + 1);
            prop_assert_eq!(restarted.judge(&config, &question), kept.judge(&config, &question));
        }
    }

    #[test]
    fn no_input_brings_a_number_that_can_not_be_stored(counts in proptest::collection::vec((any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>()), 1..20)) {
        let config = all();
        let mut state = State::new(&config);
        for (second, (a, b, c, d)) in (0..).zip(counts) {
            let mut batch = batch(second, 50, (a, b), (c, d));
            batch.stable.latency = latencies(a / 4, b / 4);
            batch.canary.latency = latencies(c / 4, d / 4);
            state.observe(&config, &batch).unwrap();
            let stored = serde_json::to_string(&state).unwrap();
            prop_assert_eq!(serde_json::from_str::<State>(&stored).unwrap(), state.clone());
        }
    }
}

#[test]
fn a_state_of_another_form_is_refused() {
    let stored = serde_json::to_string(&State::new(&errors())).unwrap();
    let other = stored.replacen("\"form\":1", "\"form\":2", 1);
    let error = serde_json::from_str::<State>(&other).unwrap_err();
    assert_eq!(error.to_string(), "the state has the form 2; expected 1");
}

#[test]
fn a_change_of_settings_keeps_what_both_declare() {
    let (one, two) = (errors(), all());
    let mut state = State::new(&one);
    feed(&mut state, &one, (0, 5), (10, (1, 90), (8, 10)));
    assert_eq!(conclude(&state, &one, 5), (Verdict::Fail, Why::Harm));
    let known = state.data().tracks[0].clone();
    state.refit(&two);
    assert_eq!(state.data().tracks.len(), 6);
    assert_eq!(state.data().tracks[0], known);
    assert_eq!(conclude(&state, &two, 5), (Verdict::Fail, Why::Harm));
}

#[test]
fn the_state_of_a_rollout_is_small() {
    let config = Config::try_new(Settings::standard()).unwrap();
    let mut state = State::new(&config);
    for second in 0..400 {
        let percent = if second < 200 { 0 } else { 10 };
        let mut batch = batch(second, percent, (u64::from(second % 7 == 0), 900), (0, 100));
        let fine = |scale: u64| {
            let histogram =
                (1..=80_u64).map(|place| (place * 7_919, scale * place.min(80 - place)));
            Bucket::list(histogram)
        };
        batch.stable.latency = fine(3);
        batch.canary.latency = if percent == 0 { Vec::new() } else { fine(1) };
        state.observe(&config, &batch).unwrap();
        let bytes = serde_json::to_string(&state).unwrap().len();
        assert!(bytes <= 4_096, "{bytes} after {second} s");
    }
}

/// The state as the first released form stored it.
const FORM_1: &str = include_str!("state-form-1.json");

#[test]
fn every_form_that_was_ever_stored_is_read() {
    let config = errors();
    let mut state: State = serde_json::from_str(FORM_1).unwrap();
    feed(&mut state, &config, (120, 121), (10, (1, 90), (0, 10)));
    assert_eq!(state.newest(), Some(at(121)));
}

#[test]
fn what_was_stored_before_warm_ups_were_known_is_read() {
    let mut stored: serde_json::Value = serde_json::from_str(FORM_1).unwrap();
    let known = stored.as_object_mut().unwrap();
    assert!(known.remove("warming").is_some());
    let mut state: State = serde_json::from_value(stored).unwrap();
    let config = errors();
    feed(&mut state, &config, (120, 121), (10, (1, 90), (0, 10)));
    assert_eq!(state.newest(), Some(at(121)));
}

#[test]
fn the_form_is_what_it_is_said_to_be() {
    let config = errors();
    let mut state = State::new(&config);
    feed(&mut state, &config, (0, 120), (10, (1, 90), (0, 10)));
    assert_eq!(serde_json::to_string(&state).unwrap(), FORM_1.trim());
}
