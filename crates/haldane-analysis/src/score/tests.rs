//! Tests of the score judge: every classification, every rule of the score, every verdict.

use super::*;

const NAN: Option<f64> = None;

fn arm(points: &[(&str, &[Option<f64>])]) -> Arm {
    Arm {
        points: points
            .iter()
            .map(|(name, points)| ((*name).to_owned(), points.to_vec()))
            .collect(),
    }
}

fn some(points: &[f64]) -> Vec<Option<f64>> {
    points.iter().copied().map(Some).collect()
}

fn metric() -> Metric {
    Metric::new("m", "g")
}

fn config(metrics: Vec<Metric>, weights: &[(&str, f64)]) -> Config {
    Config {
        metrics,
        group_weights: weights
            .iter()
            .map(|(group, weight)| ((*group).to_owned(), *weight))
            .collect(),
        ..Config::default()
    }
}

/// Judges one metric.
fn one(metric: Metric, experiment: &[Option<f64>], control: &[Option<f64>]) -> Answer {
    let config = config(vec![metric], &[]);
    judge(
        &config,
        Thresholds::default(),
        &arm(&[("m", experiment)]),
        &arm(&[("m", control)]),
    )
}

fn classify(metric: Metric, experiment: &[f64], control: &[f64]) -> (Classification, bool) {
    let answer = one(metric, &some(experiment), &some(control));
    (answer.metrics[0].classification, answer.metrics[0].critical)
}

const LOW: [f64; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
const HIGH: [f64; 6] = [11.0, 12.0, 13.0, 14.0, 15.0, 16.0];

#[test]
fn the_direction_says_which_change_is_bad() {
    use Classification::{High, Low, Pass};
    for (direction, up, down) in [
        (Direction::Either, High, Low),
        (Direction::Increase, High, Pass),
        (Direction::Decrease, Pass, Low),
    ] {
        let metric = Metric {
            direction,
            ..metric()
        };
        assert_eq!(classify(metric.clone(), &HIGH, &LOW).0, up, "{direction:?}");
        assert_eq!(
            classify(metric.clone(), &LOW, &HIGH).0,
            down,
            "{direction:?}"
        );
        assert_eq!(classify(metric, &LOW, &LOW).0, Pass, "{direction:?}");
    }
}

#[test]
fn missing_data_is_told_by_strategy_and_flags() {
    use Classification::{Nodata, NodataFailMetric, Pass};
    use NanStrategy::{Remove, Replace};
    for (nan, critical, must_have_data, expected) in [
        (Remove, false, false, (Nodata, false)),
        (Remove, true, false, (Nodata, true)),
        (Remove, false, true, (NodataFailMetric, false)),
        (Remove, true, true, (Nodata, true)),
        (Replace, false, false, (Pass, false)),
        (Replace, true, true, (Pass, false)),
    ] {
        let metric = Metric {
            nan,
            critical,
            must_have_data,
            ..metric()
        };
        for (experiment, control) in [(&[][..], &LOW[..]), (&LOW, &[]), (&[], &[])] {
            let found = classify(metric.clone(), experiment, control);
            assert_eq!(found, expected, "{metric:?}");
        }
        let found = one(metric.clone(), &[NAN, NAN], &[NAN]).metrics[0].classification;
        assert_eq!(found, expected.0, "{metric:?}");
    }
}

#[test]
fn replaced_points_are_zeros_also_where_a_whole_series_is_missing() {
    let metric = Metric {
        nan: NanStrategy::Replace,
        ..metric()
    };
    let nulls = [NAN; 6];
    let answer = one(metric.clone(), &some(&HIGH), &nulls);
    assert_eq!(answer.metrics[0].classification, Classification::High);
    assert_eq!(
        (
            answer.metrics[0].control.count,
            answer.metrics[0].control.missing
        ),
        (6, 6)
    );
    // The mean ratio can't be told, and doesn't stand in the way.
    assert_eq!(answer.metrics[0].effect, None);
    let absent = judge(
        &config(vec![metric], &[]),
        Thresholds::default(),
        &arm(&[("m", &some(&HIGH))]),
        &Arm::default(),
    );
    assert_eq!(absent, answer);
}

#[test]
fn arms_that_are_the_same_pass_without_a_test() {
    for (experiment, control) in [
        (&[3.0, 1.0, 2.0][..], &[1.0, 2.0, 3.0][..]),
        (&[7.0, 7.0, 7.0], &[7.0]),
        (&[0.0], &[-0.0]),
    ] {
        let answer = one(metric(), &some(experiment), &some(control));
        assert_eq!(answer.metrics[0].classification, Classification::Pass);
        assert_eq!(answer.metrics[0].shift, None);
        assert_eq!(answer.verdict, Verdict::Pass);
    }
}

#[test]
fn constant_arms_that_differ_are_told_apart_and_always_alike() {
    let (five, six) = (vec![Some(5.0); 10], vec![Some(6.0); 10]);
    let answer = one(metric(), &six, &five);
    assert_eq!(answer.metrics[0].classification, Classification::High);
    assert_eq!(one(metric(), &six, &five), answer);
    assert_eq!(
        one(metric(), &five, &six).metrics[0].classification,
        Classification::Low
    );
    // Zero gets no noise, and needs none.
    let zero = vec![Some(0.0); 10];
    assert_eq!(
        one(metric(), &six, &zero).metrics[0].classification,
        Classification::High
    );
    // The effect is that of the points, not of the noise.
    assert_eq!(answer.metrics[0].effect, Some(1.2));
}

#[test]
fn one_point_against_another_can_not_be_compared() {
    let answer = one(metric(), &some(&[2.0]), &some(&[1.0]));
    assert_eq!(answer.metrics[0].classification, Classification::Error);
    // Kayenta passes it; the verdict doesn't.
    assert_eq!(
        (answer.score, answer.classification),
        (100.0, Outcome::Pass)
    );
    assert_eq!(answer.verdict, Verdict::NoData);
}

#[test]
fn an_effect_must_reach_what_is_not_allowed() {
    use Classification::{High, Low, Pass};
    let ratio = |allowed_increase, allowed_decrease| Effect {
        allowed_increase,
        allowed_decrease,
        ..Effect::of(Measure::MeanRatio)
    };
    let cles = |allowed_increase, allowed_decrease| Effect {
        allowed_increase,
        allowed_decrease,
        ..Effect::of(Measure::Cles)
    };
    // The means are 13.5 and 3.5: a ratio of 3.857 one way, and of 0.259 the other.
    for (effect, up, down) in [
        (ratio(1.0, 1.0), High, Low),
        (ratio(3.857, 0.260), High, Low),
        (ratio(3.858, 0.259), Pass, Pass),
        (cles(0.5, 0.5), High, Low),
        (cles(1.0, 0.0), High, Low),
        (cles(1.01, -0.01), Pass, Pass),
    ] {
        let metric = Metric { effect, ..metric() };
        assert_eq!(classify(metric.clone(), &HIGH, &LOW).0, up, "{effect:?}");
        assert_eq!(classify(metric, &LOW, &HIGH).0, down, "{effect:?}");
    }
}

#[test]
fn a_critical_metric_fails_the_whole_from_its_critical_effect_on() {
    let critical = |critical_increase, critical_decrease| Metric {
        critical: true,
        effect: Effect {
            critical_increase,
            critical_decrease,
            ..Effect::of(Measure::MeanRatio)
        },
        ..metric()
    };
    assert_eq!(
        classify(critical(3.8, 0.0), &HIGH, &LOW),
        (Classification::High, true)
    );
    assert_eq!(
        classify(critical(3.9, 0.0), &HIGH, &LOW),
        (Classification::High, false)
    );
    assert_eq!(
        classify(critical(9.0, 0.3), &LOW, &HIGH),
        (Classification::Low, true)
    );
    assert_eq!(
        classify(critical(9.0, 0.2), &LOW, &HIGH),
        (Classification::Low, false)
    );

    let metrics = vec![
        critical(1.0, 1.0),
        Metric::new("n", "g"),
        Metric::new("o", "g"),
    ];
    let (low, high) = (some(&LOW), some(&HIGH));
    let answer = judge(
        &config(metrics, &[]),
        Thresholds {
            pass: 50.0,
            marginal: 10.0,
        },
        &arm(&[("m", &high), ("n", &low), ("o", &low)]),
        &arm(&[("m", &low), ("n", &low), ("o", &low)]),
    );
    assert_eq!((answer.score, answer.verdict), (0.0, Verdict::Fail));
    assert!(
        answer
            .reason
            .starts_with("critical metric \"m\": higher than control by"),
        "{answer:?}"
    );
    // The group keeps what it has: two of three.
    assert!((answer.groups[0].score - 200.0 / 3.0).abs() < 1e-12);
}

/// Judges metrics that pass, fail, have no data or must have some, each in its groups, and returns the score.
fn score(metrics: &[(char, &[&str])], weights: &[(&str, f64)]) -> Answer {
    let (low, high) = (some(&LOW), some(&HIGH));
    let (mut config, mut experiment) = (config(Vec::new(), weights), Arm::default());
    let mut control = Arm::default();
    for (index, (kind, groups)) in metrics.iter().enumerate() {
        let name = format!("{kind}{index}");
        let points = match kind {
            'p' | 'u' => low.clone(),
            'h' => high.clone(),
            _ => vec![NAN; 6],
        };
        experiment.points.insert(name.clone(), points);
        control.points.insert(name.clone(), low.clone());
        config.metrics.push(Metric {
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            must_have_data: *kind == 'f',
            ..Metric::new(&name, "")
        });
    }
    judge(&config, Thresholds::default(), &experiment, &control)
}

#[test]
fn the_score_is_the_weighted_sum_of_the_groups() {
    let all: &[(&str, f64)] = &[("a", 60.0), ("b", 40.0)];
    for (metrics, weights, expected) in [
        (&[('p', &["a"][..])][..], &[][..], 100.0),
        (&[('p', &["a"]), ('h', &["a"])], &[], 50.0),
        (&[('p', &["a"]), ('h', &["a"]), ('p', &["a"])], &[], 66.67),
        // Groups without a weight share what is left.
        (&[('p', &["a"]), ('h', &["b"]), ('p', &["c"])], &[], 66.67),
        (
            &[('h', &["a"]), ('p', &["b"]), ('h', &["c"])],
            &[("a", 70.0)],
            15.0,
        ),
        (&[('p', &["a"]), ('h', &["b"])], all, 60.0),
        // A metric counts in each of its groups, and in none if it has none.
        (&[('p', &["a"]), ('h', &["a", "b"])], all, 30.0),
        (&[('p', &["a"]), ('h', &[])], &[], 100.0),
        // A weight without a metric is never earned.
        (&[('p', &["a"])], all, 60.0),
        // No data counts neither way; a group with nothing else has all.
        (&[('p', &["a"]), ('n', &["a"]), ('h', &["b"])], all, 60.0),
        (&[('h', &["a"]), ('n', &["b"]), ('p', &["a"])], all, 70.0),
        // Data that must be there, and isn't, fails.
        (&[('p', &["a"]), ('f', &["a"])], &[], 50.0),
        (&[('f', &["a"])], &[], 0.0),
    ] {
        assert_eq!(
            score(metrics, weights).score,
            expected,
            "{metrics:?} {weights:?}"
        );
    }
}

#[test]
fn no_data_for_half_of_the_metrics_is_no_score() {
    let third = score(&[('p', &["a"]), ('p', &["a"]), ('n', &["a"])], &[]);
    assert_eq!((third.score, third.verdict), (100.0, Verdict::Pass));
    let half = score(&[('p', &["a"]), ('n', &["a"])], &[]);
    assert_eq!((half.score, half.verdict), (0.0, Verdict::NoData));
    assert_eq!(half.classification, Outcome::Fail);
    assert_eq!(half.reason, "1 of 2 metrics have no data");
    // What must have data is a failure instead, and no reason to give up.
    let must = score(&[('p', &["a"]), ('f', &["a"])], &[]);
    assert_eq!((must.score, must.verdict), (50.0, Verdict::Fail));
}

#[test]
fn a_muted_metric_is_shown_and_never_counts() {
    let metrics = vec![
        metric(),
        Metric {
            muted: true,
            critical: true,
            ..Metric::new("n", "g")
        },
        Metric {
            muted: true,
            ..Metric::new("o", "g")
        },
    ];
    let (low, high) = (some(&LOW), some(&HIGH));
    let answer = judge(
        &config(metrics, &[]),
        Thresholds::default(),
        &arm(&[("m", &low), ("n", &high)]),
        &arm(&[("m", &low), ("n", &low)]),
    );
    assert_eq!((answer.score, answer.verdict), (100.0, Verdict::Pass));
    let found: Vec<_> = answer
        .metrics
        .iter()
        .map(|metric| metric.classification)
        .collect();
    assert_eq!(
        found,
        [
            Classification::Pass,
            Classification::High,
            Classification::Nodata
        ]
    );
    assert!(answer.metrics[1].critical && answer.metrics[1].muted);
}

#[test]
fn thresholds_are_reached_by_being_equal() {
    let thresholds = Thresholds {
        pass: 66.67,
        marginal: 50.0,
    };
    for (score, outcome) in [
        (66.67, Outcome::Pass),
        (66.66, Outcome::Marginal),
        (50.0, Outcome::Marginal),
        (49.99, Outcome::Fail),
    ] {
        assert_eq!(thresholds.classify(score), outcome, "{score}");
    }
}

#[test]
fn the_verdict_follows_the_score() {
    let pass: &[(char, &[&str])] = &[('p', &["a"])];
    assert_eq!(score(pass, &[]).verdict, Verdict::Pass);
    let four: &[(char, &[&str])] = &[('p', &["a"]), ('p', &["a"]), ('p', &["a"]), ('h', &["a"])];
    let marginal = score(four, &[]);
    assert_eq!(
        (marginal.verdict, marginal.classification),
        (Verdict::Inconclusive, Outcome::Marginal)
    );
    assert_eq!(marginal.reason, "score 75 is below 95, and at least 75");
    let fail: &[(char, &[&str])] = &[('h', &["a"]), ('p', &["a"])];
    assert_eq!(score(fail, &[]).verdict, Verdict::Fail);
}

#[test]
fn nothing_compared_is_never_a_pass() {
    // No metric; zeros instead of all points of both arms; a metric in no group; only a muted one.
    let replace = Metric {
        nan: NanStrategy::Replace,
        ..metric()
    };
    let no_group = Metric {
        groups: Vec::new(),
        ..metric()
    };
    let muted = Metric {
        muted: true,
        ..metric()
    };
    let lenient = Thresholds {
        pass: 0.0,
        marginal: 0.0,
    };
    let points = some(&LOW);
    let (measured, nulls) = (arm(&[("m", &points)]), arm(&[("m", &[NAN; 6])]));
    for (metrics, arm) in [
        (vec![], &measured),
        (vec![replace.clone()], &nulls),
        (vec![replace.clone()], &Arm::default()),
        (vec![no_group], &measured),
        (vec![muted], &measured),
    ] {
        let answer = judge(&config(metrics, &[]), lenient, arm, arm);
        assert_eq!(answer.verdict, Verdict::NoData, "{answer:?}");
        assert!(answer.score.is_sign_positive(), "{answer:?}");
    }
    // Zeros in one arm only are what the configuration asked for.
    let zeros = arm(&[("m", &[Some(0.0); 6])]);
    let answer = judge(&config(vec![replace], &[]), lenient, &zeros, &nulls);
    assert_eq!(answer.verdict, Verdict::Pass);
}

#[test]
fn what_only_an_arm_has_is_left_out() {
    let points = some(&LOW);
    let answer = judge(
        &config(vec![metric()], &[]),
        Thresholds::default(),
        &arm(&[("m", &points), ("other", &[NAN])]),
        &arm(&[("m", &points)]),
    );
    assert_eq!(answer.metrics.len(), 1);
    assert_eq!(answer.verdict, Verdict::Pass);
}

#[test]
fn outliers_are_removed_on_request() {
    let noisy: Vec<_> = (0..300).map(|index| f64::from(index % 7)).collect();
    let mut spiked = noisy.clone();
    spiked.push(1e9);
    let keep = one(metric(), &some(&spiked), &some(&noisy));
    assert_eq!(keep.metrics[0].experiment.outliers, 0);
    let remove = Metric {
        outliers: OutlierStrategy::Remove { factor: 3.0 },
        ..metric()
    };
    let answer = one(remove, &some(&spiked), &some(&noisy));
    assert_eq!(answer.metrics[0].experiment.outliers, 1);
    assert_eq!(answer.metrics[0].shift, None, "the arms are the same then");
}

#[test]
fn numbers_at_the_end_of_their_range_are_no_panic() {
    let huge = some(&[f64::MAX, f64::MAX / 2.0, f64::MAX / 3.0]);
    let negative = some(&[f64::MIN, f64::MIN / 2.0, f64::MIN / 3.0]);
    let answer = one(metric(), &huge, &negative);
    assert_eq!(answer.metrics[0].classification, Classification::Error);
    let tiny = some(&[f64::MIN_POSITIVE, 5e-324, 0.0]);
    assert_eq!(
        one(metric(), &tiny, &some(&[0.0])).metrics[0].classification,
        Classification::Pass
    );
}

#[test]
fn the_answer_has_the_documented_shape() {
    let answer = one(metric(), &some(&HIGH), &some(&LOW));
    let value = serde_json::to_value(&answer).unwrap();
    let keys = |value: &serde_json::Value| {
        let mut keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys.join(" ")
    };
    assert_eq!(
        keys(&value),
        "classification groups metrics reason score verdict"
    );
    assert_eq!(
        keys(&value["groups"][0]),
        "counted name passed score weight"
    );
    assert_eq!(
        keys(&value["metrics"][0]),
        "classification control critical effect experiment groups measure muted name reason shift"
    );
    assert_eq!(value["verdict"], "Fail");
    assert_eq!(value["metrics"][0]["classification"], "High");
    assert_eq!(value["metrics"][0]["critical"], false);
    assert_eq!(value["metrics"][0]["measure"], "meanRatio");
}
