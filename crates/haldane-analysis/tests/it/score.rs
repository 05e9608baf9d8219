//! The score judge: against R's `wilcox.test`, on a whole configuration, and by what must hold for any points.
//!
//! `tests/fixtures/score/shift.json` is what R says of each pair of arms; `generate.R` beside it wrote it.

use std::{collections::BTreeMap, path::PathBuf};

use haldane_analysis::score::{
    Answer, Arm, Classification, Config, Effect, Measure, Metric, NanStrategy, Outcome, Thresholds,
    judge,
};
use haldane_core::verdict::Verdict;
use proptest::prelude::*;

/// What R says of one pair of arms.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    name: String,
    experiment: Vec<f64>,
    control: Vec<f64>,
    interval: [f64; 2],
    estimate: f64,
    cles: f64,
    mean_ratio: f64,
    classification: Classification,
}

fn fixture(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/score", name]
        .iter()
        .collect();
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn cases() -> BTreeMap<String, Case> {
    let cases: Vec<Case> = serde_json::from_str(&fixture("shift.json")).unwrap();
    cases
        .into_iter()
        .map(|case| (case.name.clone(), case))
        .collect()
}

fn points(values: &[f64]) -> Vec<Option<f64>> {
    values.iter().copied().map(Some).collect()
}

fn arm(name: &str, points: &[Option<f64>]) -> Arm {
    Arm {
        points: BTreeMap::from([(name.to_owned(), points.to_vec())]),
    }
}

fn one(metric: Metric, experiment: &[Option<f64>], control: &[Option<f64>]) -> Answer {
    let config = Config {
        metrics: vec![metric],
        ..Config::default()
    };
    judge(
        &config,
        Thresholds::default(),
        &arm("m", experiment),
        &arm("m", control),
    )
}

fn metric() -> Metric {
    Metric::new("m", "g")
}

fn by_cles() -> Metric {
    Metric {
        effect: Effect::of(Measure::Cles),
        ..metric()
    }
}

#[track_caller]
fn assert_close(found: f64, expected: f64, what: &str) {
    let slack = 1e-12 * expected.abs().max(1.0);
    assert!(
        (found - expected).abs() <= slack,
        "{what}: {found}, not {expected}"
    );
}

#[test]
fn shifts_are_those_of_r() {
    let cases = cases();
    assert_eq!(cases.len(), 29);
    for (name, case) in &cases {
        let (experiment, control) = (points(&case.experiment), points(&case.control));
        let answer = one(metric(), &experiment, &control);
        let shift = answer.metrics[0].shift.expect(name);
        assert_close(shift.lower, case.interval[0], name);
        assert_close(shift.upper, case.interval[1], name);
        assert_close(shift.estimate, case.estimate, name);
        assert_eq!(
            answer.metrics[0].classification, case.classification,
            "{name}"
        );
        let ratio = answer.metrics[0].effect;
        match (
            case.experiment.iter().sum::<f64>(),
            case.control.iter().sum::<f64>(),
        ) {
            (0.0, _) | (_, 0.0) => assert_eq!(ratio, None, "{name}"),
            _ => assert_close(ratio.expect(name), case.mean_ratio, name),
        }
        let cles = one(by_cles(), &experiment, &control).metrics[0].effect;
        assert_close(cles.expect(name), case.cles, name);
    }
}

/// The arms for `canary.json`, out of the fixture's.
fn shop() -> (Arm, Arm) {
    let cases = cases();
    let (mut experiment, mut control) = (Arm::default(), Arm::default());
    let mut put = |metric: &str, case: &str| {
        let case = &cases[case];
        experiment
            .points
            .insert(metric.to_owned(), points(&case.experiment));
        control
            .points
            .insert(metric.to_owned(), points(&case.control));
    };
    put("errors", "error_counts");
    put("latency", "far_outlier");
    put("cpu", "shifted_normal_30");
    put("memory", "lower_normal_60");
    put("orders", "lower_normal_60");
    // A counter without an error in an interval has no value there.
    for points in [&mut experiment, &mut control] {
        for point in points.points.get_mut("errors").unwrap() {
            *point = point.filter(|count| *count > 0.0);
        }
    }
    // Memory went up: the same points, the other way round.
    let memory = experiment.points["memory"].clone();
    let memory = control.points.insert("memory".to_owned(), memory).unwrap();
    experiment.points.insert("memory".to_owned(), memory);
    (experiment, control)
}

#[test]
fn a_whole_configuration_is_judged() {
    let config = Config::from_json(&fixture("canary.json")).unwrap();
    assert_eq!(config.warnings, []);
    let thresholds = config.thresholds.unwrap();
    let (experiment, control) = shop();
    let answer = judge(&config, thresholds, &experiment, &control);
    let found: Vec<_> = answer
        .metrics
        .iter()
        .map(|metric| (metric.name.as_str(), metric.classification, metric.critical))
        .collect();
    use Classification::{High, Low, Nodata, Pass};
    assert_eq!(
        found,
        [
            ("errors", Pass, false),
            ("latency", Pass, false),
            ("cpu", High, false),
            ("memory", Pass, false),
            ("orders", Low, false),
            ("restarts", Nodata, false),
        ]
    );
    let groups: Vec<_> = answer
        .groups
        .iter()
        .map(|group| (group.name.as_str(), group.score, group.weight))
        .collect();
    assert_eq!(
        groups,
        [
            ("Business", 0.0, 20.0),
            ("Errors", 100.0, 40.0),
            ("Latency", 100.0, 20.0),
            ("System", 50.0, 20.0),
        ]
    );
    assert_eq!(
        (answer.score, answer.verdict),
        (70.0, Verdict::Inconclusive)
    );
    assert_eq!(answer.classification, Outcome::Marginal);
    assert_eq!(answer.metrics[1].experiment.outliers, 1);
    assert_eq!(answer.metrics[0].experiment.count, 60);
    // Memory is higher for certain, by less than what is allowed.
    let memory = &answer.metrics[3];
    assert!(memory.shift.unwrap().lower > 0.25 * memory.shift.unwrap().estimate);
    assert_close(
        memory.effect.unwrap(),
        1.0 - cases()["lower_normal_60"].cles,
        "memory",
    );
}

#[test]
fn a_canary_with_errors_fails_at_once() {
    let config = Config::from_json(&fixture("canary.json")).unwrap();
    let (mut experiment, control) = shop();
    for point in experiment.points.get_mut("errors").unwrap() {
        *point = Some(point.unwrap_or(0.0) + 5.0);
    }
    let answer = judge(&config, config.thresholds.unwrap(), &experiment, &control);
    assert_eq!((answer.score, answer.verdict), (0.0, Verdict::Fail));
    assert!(answer.metrics[0].critical);
}

/// Points as they are measured: counts with many ties, smooth values, now and then a missing one.
fn measured() -> impl Strategy<Value = Vec<Option<f64>>> {
    let count = (0_u8..5).prop_map(f64::from);
    let smooth = -1e3..1e6_f64;
    let point = prop_oneof![8 => count.prop_map(Some), 8 => smooth.prop_map(Some), 1 => Just(None)];
    prop::collection::vec(point, 0..40)
}

fn settings() -> impl Strategy<Value = Metric> {
    (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(replace, critical, must_have_data, cles)| Metric {
            nan: if replace {
                NanStrategy::Replace
            } else {
                NanStrategy::Remove
            },
            critical,
            must_have_data,
            ..if cles { by_cles() } else { metric() }
        },
    )
}

/// A metric of a made-up configuration: what it says, and its group.
fn kinds() -> impl Strategy<Value = Vec<(u8, u8)>> {
    prop::collection::vec((0_u8..4, 0_u8..3), 1..8)
}

/// Judges metrics that pass, fail, have no data or must have some, with weights for the first groups.
fn score(kinds: &[(u8, u8)], weights: &[u8]) -> f64 {
    let low: Vec<_> = (0..8_u8).map(|value| Some(f64::from(value))).collect();
    let high: Vec<_> = (0..8_u8)
        .map(|value| Some(f64::from(value) + 100.0))
        .collect();
    let (mut experiment, mut control) = (Arm::default(), Arm::default());
    let mut config = Config {
        group_weights: weights
            .iter()
            .enumerate()
            .map(|(group, weight)| (group.to_string(), f64::from(*weight)))
            .collect(),
        ..Config::default()
    };
    for (index, (kind, group)) in kinds.iter().enumerate() {
        let name = index.to_string();
        let points = match kind {
            0 => low.clone(),
            1 => high.clone(),
            _ => vec![None],
        };
        experiment.points.insert(name.clone(), points);
        control.points.insert(name.clone(), low.clone());
        config.metrics.push(Metric {
            must_have_data: *kind == 3,
            ..Metric::new(&name, &group.to_string())
        });
    }
    judge(&config, Thresholds::default(), &experiment, &control).score
}

proptest! {
    #[test]
    fn the_order_of_points_does_not_matter(
        (experiment, shuffled) in measured().prop_flat_map(|points| (Just(points.clone()), Just(points).prop_shuffle())),
        control in measured(),
        settings in settings(),
    ) {
        let straight = one(settings.clone(), &experiment, &control);
        prop_assert_eq!(&one(settings.clone(), &shuffled, &control), &straight);
        let reversed: Vec<_> = control.iter().rev().copied().collect();
        prop_assert_eq!(&one(settings, &experiment, &reversed), &straight);
    }

    #[test]
    fn missing_points_that_are_removed_change_nothing(
        experiment in measured(),
        control in measured(),
        padding in 1_usize..20,
    ) {
        let straight = one(metric(), &experiment, &control);
        let mut padded = experiment;
        padded.splice(0..0, vec![None; padding]);
        padded.extend(vec![Some(f64::NAN); padding]);
        let mut found = one(metric(), &padded, &control);
        prop_assert_eq!(
            found.metrics[0].experiment.missing,
            straight.metrics[0].experiment.missing + 2 * u32::try_from(padding).unwrap()
        );
        found.metrics[0].experiment.missing = straight.metrics[0].experiment.missing;
        prop_assert_eq!(found, straight);
    }

    #[test]
    fn the_unit_does_not_change_the_effect(
        experiment in measured(),
        control in measured(),
        power in -10_i32..20,
        settings in settings(),
    ) {
        let unit = f64::powi(2.0, power);
        let scaled = |points: &[Option<f64>]| -> Vec<_> {
            points.iter().map(|point| point.map(|value| value * unit)).collect()
        };
        let straight = one(settings.clone(), &experiment, &control);
        let found = one(settings, &scaled(&experiment), &scaled(&control));
        prop_assert_eq!(found.metrics[0].effect, straight.metrics[0].effect);
        prop_assert_eq!(found.metrics[0].shift.is_some(), straight.metrics[0].shift.is_some());
    }

    #[test]
    fn a_clear_difference_is_found_in_any_unit(
        experiment in prop::collection::vec(50.0..60.0_f64, 6..30),
        control in prop::collection::vec(1.0..2.0_f64, 6..30),
        unit in 0.1..1e6_f64,
    ) {
        let scaled = |points: &[f64]| -> Vec<_> { points.iter().map(|value| Some(value * unit)).collect() };
        let (experiment, control) = (scaled(&experiment), scaled(&control));
        let up = one(metric(), &experiment, &control);
        prop_assert_eq!(up.metrics[0].classification, Classification::High);
        let down = one(metric(), &control, &experiment);
        prop_assert_eq!(down.metrics[0].classification, Classification::Low);
    }

    #[test]
    fn one_more_metric_that_passes_never_lowers_the_score(
        kinds in kinds(),
        group in 0_u8..4,
        weights in prop::sample::select(vec![vec![], vec![100], vec![30], vec![50, 50], vec![20, 30], vec![20, 30, 50]]),
    ) {
        let before = score(&kinds, &weights);
        let mut more = kinds;
        more.push((0, group));
        prop_assert!(score(&more, &weights) >= before);
    }

    #[test]
    fn any_points_have_an_answer(
        experiment in prop::collection::vec(prop::option::of(any::<f64>()), 0..12),
        control in prop::collection::vec(prop::option::of(any::<f64>()), 0..12),
        settings in settings(),
    ) {
        let answer = one(settings, &experiment, &control);
        prop_assert!((0.0..=100.0).contains(&answer.score));
        let measured = experiment.iter().chain(&control).flatten().any(|value| value.is_finite());
        prop_assert!(answer.verdict != Verdict::Pass || measured);
        let text = serde_json::to_string(&answer).unwrap();
        prop_assert_eq!(serde_json::from_str::<Answer>(&text).unwrap().verdict, answer.verdict);
    }
}
