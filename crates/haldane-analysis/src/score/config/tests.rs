//! Tests of reading Kayenta's configuration.

use super::*;

fn read(text: &str) -> Config {
    Config::from_json(text).unwrap()
}

/// Returns the mistakes of a configuration with one metric, into which `fields` are put.
fn problems(fields: &str) -> Vec<String> {
    let text = format!(r#"{{"metrics": [{{"name": "cpu", "groups": ["g"]}}], {fields}}}"#);
    told(&text)
}

fn told(text: &str) -> Vec<String> {
    match Config::from_json(text) {
        Err(ConfigError::Invalid(problems)) => problems.iter().map(Problem::to_string).collect(),
        Err(ConfigError::Syntax(error)) => vec![error.to_string()],
        Ok(_) => vec![],
    }
}

fn analysis(fields: &str) -> String {
    format!(
        r#"{{"metrics": [{{"name": "cpu", "groups": ["g"], "analysisConfigurations": {{"canary": {{{fields}}}}}}}]}}"#
    )
}

#[test]
fn what_is_not_said_is_kayentas_default() {
    let config = read(r#"{"metrics": [{"name": "cpu", "groups": ["g"]}]}"#);
    assert_eq!(config.metrics, [Metric::new("cpu", "g")]);
    assert_eq!((config.thresholds, config.warnings), (None, vec![]));
    let cles = read(&analysis(r#""effectSize": {"measure": "cles"}"#));
    assert_eq!(cles.metrics[0].effect, Effect::of(Measure::Cles));
    let outliers = read(&analysis(r#""outliers": {"strategy": "remove"}"#));
    assert_eq!(
        outliers.metrics[0].outliers,
        OutlierStrategy::Remove { factor: 3.0 }
    );
}

#[test]
fn every_field_of_the_analysis_is_read() {
    let config = read(&analysis(
        r#""direction": "decrease", "nanStrategy": "replace", "critical": true, "mustHaveData": "true", "muted": false,
           "outliers": {"strategy": "remove", "outlierFactor": 1.5},
           "effectSize": {"measure": "cles", "allowedIncrease": 0.6, "allowedDecrease": "0.4", "criticalIncrease": 0.9, "criticalDecrease": 0.1}"#,
    ));
    assert_eq!(
        config.metrics,
        [Metric {
            direction: Direction::Decrease,
            nan: NanStrategy::Replace,
            outliers: OutlierStrategy::Remove { factor: 1.5 },
            critical: true,
            must_have_data: true,
            effect: Effect {
                measure: Measure::Cles,
                allowed_increase: 0.6,
                allowed_decrease: 0.4,
                critical_increase: 0.9,
                critical_decrease: 0.1,
            },
            ..Metric::new("cpu", "g")
        }]
    );
}

#[test]
fn a_request_for_a_judgment_brings_its_own_thresholds() {
    let canary = r#"{"metrics": [{"name": "cpu", "groups": ["g"]}],
        "classifier": {"groupWeights": {"g": 100}, "scoreThresholds": {"pass": 80, "marginal": 60}}}"#;
    let own = Thresholds {
        pass: 80.0,
        marginal: 60.0,
    };
    assert_eq!(read(canary).thresholds, Some(own));
    let request = |thresholds: &str| {
        read(&format!(
            r#"{{"canaryConfig": {canary}, "executionRequest": {{"scopes": {{}}, "thresholds": {thresholds}}}}}"#
        ))
    };
    let other = Thresholds {
        pass: 95.0,
        marginal: 75.0,
    };
    let asked = request(r#"{"pass": "95", "marginal": 75.0}"#);
    assert_eq!(asked.thresholds, Some(other));
    assert_eq!(request("null").thresholds, Some(own));
    assert_eq!(asked.group_weights["g"], 100.0);
}

#[test]
fn unknown_fields_are_told_with_their_paths_all_at_once() {
    let text = r#"{"metrics": [
        {"name": "a", "groups": ["g"], "query": {"anything": ["goes"]}},
        {"name": "b", "groups": ["g"], "group": 1, "analysisConfigurations": {"canary": {"criticality": "x", "effectSize": {"allowed": 1}}, "other": {}}}
      ], "classifier": {"weights": {}}, "extra": 1}"#;
    let paths: Vec<_> = told(text)
        .iter()
        .map(|problem| problem.split(": unknown field").next().unwrap().to_owned())
        .collect();
    let canary = "metrics[1].analysisConfigurations";
    let mut expected = vec![
        "extra".to_owned(),
        "metrics[1].group".to_owned(),
        format!("{canary}.other"),
        format!("{canary}.canary.criticality"),
        format!("{canary}.canary.effectSize.allowed"),
        "classifier.weights".to_owned(),
    ];
    let mut found = paths;
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    let nested = format!(r#"{{"canaryConfig": {text}, "config": {{}}}}"#);
    assert!(
        told(&nested)
            .iter()
            .any(|problem| problem.starts_with("canaryConfig.extra: "))
    );
    assert!(
        told(&nested)
            .iter()
            .any(|problem| problem.starts_with("config: unknown"))
    );
}

#[test]
fn values_that_make_no_sense_are_refused() {
    for (fields, expected) in [
        (
            r#""judge": {"name": "dredd-v1.0"}"#,
            "judge.name: no judge \"dredd-v1.0\", only NetflixACAJudge-v1.0",
        ),
        (
            r#""judge": "NetflixACAJudge-v1.0""#,
            "judge: expected an object",
        ),
        (
            r#""classifier": {"groupWeights": {"g": -1}}"#,
            "classifier.groupWeights.g: expected a number, at least 0",
        ),
        (
            r#""classifier": {"groupWeights": {"g": "much"}}"#,
            "classifier.groupWeights.g: expected a number, at least 0",
        ),
        (
            r#""classifier": {"groupWeights": [1]}"#,
            "classifier.groupWeights: expected groups with their weights",
        ),
        (
            r#""classifier": {"groupWeights": {"g": 101}}"#,
            "classifier.groupWeights: the weights add up to 101, which is more than 100",
        ),
        (
            r#""classifier": {"scoreThresholds": {"pass": 50, "marginal": 60}}"#,
            "classifier.scoreThresholds.marginal: 60 is above the score that passes, 50",
        ),
        (
            r#""classifier": {"scoreThresholds": {"pass": 101, "marginal": 60}}"#,
            "classifier.scoreThresholds.pass: a score is at most 100",
        ),
        (
            r#""classifier": {"scoreThresholds": {"pass": 50}}"#,
            "classifier.scoreThresholds.marginal: missing",
        ),
    ] {
        assert_eq!(problems(fields), [expected]);
    }
    for (fields, expected) in [
        (r#""critical": 1"#, "critical: expected true or false"),
        (r#""direction": 1"#, "direction: expected text"),
        (
            r#""outliers": {"outlierFactor": "NaN"}"#,
            "outliers.outlierFactor: expected a number, at least 0",
        ),
        (r#""effectSize": []"#, "effectSize: expected an object"),
    ] {
        let expected = format!("metrics[0].analysisConfigurations.canary.{expected}");
        assert_eq!(told(&analysis(fields)), [expected]);
    }
}

#[test]
fn metrics_are_needed_each_with_its_own_name() {
    for (text, expected) in [
        ("{}", "metrics: expected a list of metrics"),
        (r#"{"metrics": {}}"#, "metrics: expected a list of metrics"),
        (
            r#"{"metrics": []}"#,
            "metrics: expected 1 to 1000 metrics, not 0",
        ),
        (
            r#"{"metrics": [{"groups": ["g"]}]}"#,
            "metrics[0].name: expected the metric's name",
        ),
        (
            r#"{"metrics": [{"name": "a"}, {"name": "a"}]}"#,
            "metrics[1].name: a second metric with the name \"a\"",
        ),
        (
            r#"{"metrics": [{"name": "a", "groups": "g"}]}"#,
            "metrics[0].groups: expected a list of groups",
        ),
        (
            r#"{"metrics": [{"name": "a", "groups": ["g", 1]}]}"#,
            "metrics[0].groups[1]: expected text",
        ),
        (r#"{"metrics": [1]}"#, "metrics[0]: expected an object"),
        ("[]", ": expected an object"),
    ] {
        assert_eq!(told(text), [expected], "{text}");
    }
}

#[test]
fn what_is_not_json_is_told_with_its_place() {
    let error = Config::from_json("{\"metrics\": [\n  {,").unwrap_err();
    assert_eq!(
        error.to_string(),
        "canary configuration is not JSON (line 2, column 4)"
    );
}

#[test]
fn what_kayenta_takes_for_its_default_is_taken_so_and_told() {
    let config = read(&analysis(
        r#""direction": "up", "nanStrategy": "none", "outliers": {"strategy": "drop"}"#,
    ));
    assert_eq!(config.metrics, [Metric::new("cpu", "g")]);
    let warnings: Vec<_> = config.warnings.iter().map(Problem::to_string).collect();
    let canary = "metrics[0].analysisConfigurations.canary";
    assert_eq!(
        warnings,
        [
            format!(
                "{canary}.direction: \"up\" is none of either, increase, decrease; taken for the first"
            ),
            format!(
                "{canary}.nanStrategy: \"none\" is none of remove, replace; taken for the first"
            ),
            format!(
                "{canary}.outliers.strategy: \"drop\" is none of keep, remove; taken for the first"
            ),
        ]
    );
}

#[test]
fn weights_that_can_not_be_earned_are_told() {
    for (weights, expected) in [
        (r#"{"g": 100}"#, vec![]),
        (r#"{"g": 99.9}"#, vec![]),
        ("{}", vec![]),
        (
            r#"{"g": 60}"#,
            vec![
                "classifier.groupWeights: the weights add up to 60, and no other group has the rest",
            ],
        ),
        (
            r#"{"g": 60, "h": 40}"#,
            vec![
                "classifier.groupWeights.h: no metric is in this group, so that its weight is never earned",
            ],
        ),
    ] {
        let config = read(&format!(
            r#"{{"metrics": [{{"name": "cpu", "groups": ["g"]}}], "classifier": {{"groupWeights": {weights}}}}}"#
        ));
        let warnings: Vec<_> = config.warnings.iter().map(Problem::to_string).collect();
        assert_eq!(warnings, expected, "{weights}");
    }
    let grouped = read(r#"{"metrics": [{"name": "cpu"}]}"#);
    assert_eq!(
        grouped.warnings[0].to_string(),
        "metrics[0].groups: in no group, so that it never counts"
    );
}
