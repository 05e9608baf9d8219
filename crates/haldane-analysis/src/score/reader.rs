//! Reads a configuration out of JSON, and tells all mistakes at once, each with its path.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::config::{
    Config, Direction, Effect, JUDGE, METRICS_MAX, Measure, Metric, NanStrategy, OutlierStrategy,
    Problem, Thresholds,
};

/// From how many interquartile ranges on a point is an outlier, if the file doesn't say.
const OUTLIER_FACTOR: f64 = 3.0;

/// How far a sum of weights may be from 100 by rounding: `33.3` three times is meant.
const WEIGHT_SLACK: f64 = 0.5;

type Object = Map<String, Value>;

/// What was found wrong so far.
#[derive(Default)]
struct Reader {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

/// An object, and where it is.
struct Section<'a> {
    fields: &'a Object,
    path: String,
}

/// Reads a canary configuration, alone or in the body of a request for a judgment.
pub(super) fn config(value: &Value) -> Result<Config, Vec<Problem>> {
    let mut reader = Reader::default();
    let config = reader.document(value).unwrap_or_default();
    if reader.problems.is_empty() {
        let warnings = reader.warnings;
        Ok(Config { warnings, ..config })
    } else {
        Err(reader.problems)
    }
}

impl Section<'_> {
    /// Returns the path of a field of this object.
    fn at(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Returns a field; `null` is the same as none.
    fn get(&self, key: &str) -> Option<&Value> {
        self.fields.get(key).filter(|value| !value.is_null())
    }
}

impl Reader {
    fn document(&mut self, value: &Value) -> Option<Config> {
        let is_request = value.get("canaryConfig").is_some();
        if !is_request {
            return self.canary(value, String::new());
        }
        let body = self.section(value, String::new(), &["canaryConfig", "executionRequest"])?;
        let config = self.canary(body.get("canaryConfig")?, "canaryConfig".to_owned());
        let request = self.inner(
            &body,
            "executionRequest",
            &["scopes", "thresholds", "siteLocal"],
        );
        let thresholds = request.and_then(|request| self.thresholds(&request, "thresholds"));
        config.map(|config| Config {
            thresholds: thresholds.or(config.thresholds),
            ..config
        })
    }

    fn canary(&mut self, value: &Value, path: String) -> Option<Config> {
        const KNOWN: [&str; 13] = [
            "applications",
            "classifier",
            "configVersion",
            "createdTimestamp",
            "createdTimestampIso",
            "description",
            "id",
            "judge",
            "metrics",
            "name",
            "templates",
            "updatedTimestamp",
            "updatedTimestampIso",
        ];
        let canary = self.section(value, path, &KNOWN)?;
        self.judge(&canary);
        let metrics = self.metrics(&canary);
        let classifier = self.inner(&canary, "classifier", &["groupWeights", "scoreThresholds"]);
        let (group_weights, thresholds) = classifier.map_or_else(Default::default, |classifier| {
            let weights = self.weights(&classifier, &metrics);
            (weights, self.thresholds(&classifier, "scoreThresholds"))
        });
        Some(Config {
            metrics,
            group_weights,
            thresholds,
            warnings: Vec::new(),
        })
    }

    fn judge(&mut self, canary: &Section<'_>) {
        let Some(judge) = self.inner(canary, "judge", &["name", "judgeConfigurations"]) else {
            return;
        };
        if let Some(name) = self.text(&judge, "name")
            && name != JUDGE
        {
            self.problem(judge.at("name"), format!("no judge {name:?}, only {JUDGE}"));
        }
    }

    fn metrics(&mut self, canary: &Section<'_>) -> Vec<Metric> {
        let path = canary.at("metrics");
        let Some(values) = canary.get("metrics").and_then(Value::as_array) else {
            self.problem(path, "expected a list of metrics".to_owned());
            return Vec::new();
        };
        if values.is_empty() || values.len() > METRICS_MAX {
            let message = format!("expected 1 to {METRICS_MAX} metrics, not {}", values.len());
            self.problem(path, message);
            return Vec::new();
        }
        let mut names = BTreeSet::new();
        let mut metrics = Vec::new();
        for (index, value) in values.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if let Some(metric) = self.metric(value, path.clone()) {
                if !names.insert(metric.name.clone()) {
                    let message = format!("a second metric with the name {:?}", metric.name);
                    self.problem(format!("{path}.name"), message);
                }
                metrics.push(metric);
            }
        }
        metrics
    }

    fn metric(&mut self, value: &Value, path: String) -> Option<Metric> {
        const KNOWN: [&str; 5] = [
            "analysisConfigurations",
            "groups",
            "name",
            "query",
            "scopeName",
        ];
        let section = self.section(value, path, &KNOWN)?;
        let name = self.text(&section, "name").unwrap_or_default();
        if name.is_empty() {
            self.problem(section.at("name"), "expected the metric's name".to_owned());
        }
        let metric = Metric {
            groups: self.groups(&section),
            ..Metric::new(&name, "")
        };
        let analysis = self.inner(&section, "analysisConfigurations", &["canary"]);
        match analysis {
            Some(analysis) => self.analysis(&analysis, metric),
            None => Some(metric),
        }
    }

    fn groups(&mut self, metric: &Section<'_>) -> Vec<String> {
        let path = metric.at("groups");
        let mut groups = Vec::new();
        match metric.get("groups") {
            Some(Value::Array(values)) => {
                for (index, value) in values.iter().enumerate() {
                    match value.as_str() {
                        Some(group) => groups.push(group.to_owned()),
                        None => {
                            self.problem(format!("{path}[{index}]"), "expected text".to_owned());
                        }
                    }
                }
            }
            Some(_) => self.problem(path.clone(), "expected a list of groups".to_owned()),
            None => {}
        }
        if groups.is_empty() {
            self.warn(path, "in no group, so that it never counts".to_owned());
        }
        groups
    }

    fn analysis(&mut self, analysis: &Section<'_>, metric: Metric) -> Option<Metric> {
        const KNOWN: [&str; 7] = [
            "critical",
            "direction",
            "effectSize",
            "mustHaveData",
            "muted",
            "nanStrategy",
            "outliers",
        ];
        let Some(canary) = self.inner(analysis, "canary", &KNOWN) else {
            return Some(metric);
        };
        Some(Metric {
            direction: self.choice(
                &canary,
                "direction",
                &[
                    ("either", Direction::Either),
                    ("increase", Direction::Increase),
                    ("decrease", Direction::Decrease),
                ],
            ),
            nan: self.choice(
                &canary,
                "nanStrategy",
                &[
                    ("remove", NanStrategy::Remove),
                    ("replace", NanStrategy::Replace),
                ],
            ),
            outliers: self.outliers(&canary),
            critical: self.flag(&canary, "critical"),
            must_have_data: self.flag(&canary, "mustHaveData"),
            muted: self.flag(&canary, "muted"),
            effect: self.effect(&canary),
            ..metric
        })
    }

    fn outliers(&mut self, canary: &Section<'_>) -> OutlierStrategy {
        let Some(outliers) = self.inner(canary, "outliers", &["strategy", "outlierFactor"]) else {
            return OutlierStrategy::Keep;
        };
        let factor = self.size(&outliers, "outlierFactor");
        let factor = factor.unwrap_or(OUTLIER_FACTOR);
        let remove = OutlierStrategy::Remove { factor };
        let choices = [("keep", OutlierStrategy::Keep), ("remove", remove)];
        self.choice(&outliers, "strategy", &choices)
    }

    fn effect(&mut self, canary: &Section<'_>) -> Effect {
        const KNOWN: [&str; 5] = [
            "allowedDecrease",
            "allowedIncrease",
            "criticalDecrease",
            "criticalIncrease",
            "measure",
        ];
        let Some(size) = self.inner(canary, "effectSize", &KNOWN) else {
            return Effect::of(Measure::default());
        };
        let measures = [("meanRatio", Measure::MeanRatio), ("cles", Measure::Cles)];
        let none = Effect::of(self.choice(&size, "measure", &measures));
        let mut of = |key, none| self.size(&size, key).unwrap_or(none);
        Effect {
            measure: none.measure,
            allowed_increase: of("allowedIncrease", none.allowed_increase),
            allowed_decrease: of("allowedDecrease", none.allowed_decrease),
            critical_increase: of("criticalIncrease", none.critical_increase),
            critical_decrease: of("criticalDecrease", none.critical_decrease),
        }
    }

    fn weights(&mut self, classifier: &Section<'_>, metrics: &[Metric]) -> BTreeMap<String, f64> {
        let mut weights = BTreeMap::new();
        let Some(value) = classifier.get("groupWeights") else {
            return weights;
        };
        let path = classifier.at("groupWeights");
        let Some(fields) = value.as_object() else {
            self.problem(path, "expected groups with their weights".to_owned());
            return weights;
        };
        let section = Section { fields, path };
        for group in fields.keys() {
            if let Some(weight) = self.size(&section, group) {
                weights.insert(group.clone(), weight);
            }
        }
        let sum: f64 = weights.values().sum();
        let groups: BTreeSet<_> = metrics.iter().flat_map(|metric| &metric.groups).collect();
        let is_shared = groups.iter().any(|group| !weights.contains_key(*group));
        for group in weights.keys().filter(|group| !groups.contains(group)) {
            let message = "no metric is in this group, so that its weight is never earned";
            self.warn(section.at(group), message.to_owned());
        }
        if sum > 100.0 + WEIGHT_SLACK {
            let message = format!("the weights add up to {sum}, which is more than 100");
            self.problem(section.path, message);
        } else if sum < 100.0 - WEIGHT_SLACK && !is_shared {
            let message = format!("the weights add up to {sum}, and no other group has the rest");
            self.warn(section.path, message);
        }
        weights
    }

    fn thresholds(&mut self, parent: &Section<'_>, key: &str) -> Option<Thresholds> {
        let section = self.inner(parent, key, &["pass", "marginal"])?;
        let (pass, marginal) = (self.size(&section, "pass"), self.size(&section, "marginal"));
        for (key, value) in [("pass", pass), ("marginal", marginal)] {
            if section.get(key).is_none() {
                self.problem(section.at(key), "missing".to_owned());
            }
            if value.is_some_and(|value| value > 100.0) {
                self.problem(section.at(key), "a score is at most 100".to_owned());
            }
        }
        let (pass, marginal) = (pass?, marginal?);
        if marginal > pass {
            let message = format!("{marginal} is above the score that passes, {pass}");
            self.problem(section.at("marginal"), message);
        }
        Some(Thresholds { pass, marginal })
    }

    /// Reads the object in a field, `None` if there is none.
    fn inner<'a>(
        &mut self,
        parent: &'a Section<'_>,
        key: &str,
        known: &[&str],
    ) -> Option<Section<'a>> {
        let value = parent.get(key)?;
        self.section(value, parent.at(key), known)
    }

    fn section<'a>(
        &mut self,
        value: &'a Value,
        path: String,
        known: &[&str],
    ) -> Option<Section<'a>> {
        let Some(fields) = value.as_object() else {
            self.problem(path, "expected an object".to_owned());
            return None;
        };
        let section = Section { fields, path };
        for key in fields.keys().filter(|key| !known.contains(&key.as_str())) {
            let message = format!("unknown field; known are {}", known.join(", "));
            self.problem(section.at(key), message);
        }
        Some(section)
    }

    fn text(&mut self, section: &Section<'_>, key: &str) -> Option<String> {
        let value = section.get(key)?;
        if value.as_str().is_none() {
            self.problem(section.at(key), "expected text".to_owned());
        }
        value.as_str().map(str::to_owned)
    }

    /// Reads a flag, written as one or as text.
    fn flag(&mut self, section: &Section<'_>, key: &str) -> bool {
        match section.get(key) {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(text)) if text == "true" => true,
            Some(Value::String(text)) if text == "false" => false,
            Some(_) => {
                self.problem(section.at(key), "expected true or false".to_owned());
                false
            }
        }
    }

    /// Reads a number that is not negative, written as one or as text.
    fn size(&mut self, section: &Section<'_>, key: &str) -> Option<f64> {
        let value = section.get(key)?;
        let number = match value {
            Value::String(text) => text.parse().ok(),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => value.as_f64(),
        };
        let size = number.filter(|number| number.is_finite() && *number >= 0.0);
        if size.is_none() {
            self.problem(section.at(key), "expected a number, at least 0".to_owned());
        }
        size
    }

    /// Reads one of several words; the first one is the default, also for words that are none of them, as in Kayenta.
    fn choice<T: Copy + Default>(
        &mut self,
        section: &Section<'_>,
        key: &str,
        choices: &[(&str, T)],
    ) -> T {
        let Some(word) = self.text(section, key) else {
            return T::default();
        };
        let found = choices.iter().find(|(name, _)| *name == word);
        if found.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            let message = format!(
                "{word:?} is none of {}; taken for the first",
                names.join(", ")
            );
            self.warn(section.at(key), message);
        }
        found.map_or_else(T::default, |(_, choice)| *choice)
    }

    fn problem(&mut self, path: String, message: String) {
        self.problems.push(Problem { path, message });
    }

    fn warn(&mut self, path: String, message: String) {
        self.warnings.push(Problem { path, message });
    }
}
