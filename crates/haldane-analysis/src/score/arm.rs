//! The measurements of one version: each metric with its points.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::config::METRICS_MAX;

/// The most points of one metric: one each second for a day.
pub const POINTS_MAX: usize = 100_000;

/// The measurements of one version: from the name of a metric to its points, `None` where one is missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Arm {
    /// The points of each metric, in the order of time.
    pub points: BTreeMap<String, Vec<Option<f64>>>,
}

/// Why a text is not an arm.
#[derive(Debug, thiserror::Error)]
pub enum ArmError {
    /// It is not a map from names to lists of numbers.
    #[error("expected a map from metrics to lists of numbers or null (line {}, column {})", .0.line(), .0.column())]
    Syntax(#[source] serde_json::Error),
    /// It has too many metrics.
    #[error("{0} metrics are more than {METRICS_MAX}")]
    Metrics(usize),
    /// A metric has too many points.
    #[error("{count} points of metric {metric:?} are more than {POINTS_MAX}")]
    Points {
        /// Which metric.
        metric: String,
        /// How many points it has.
        count: usize,
    },
}

impl Arm {
    /// Reads a map from metrics to lists of points, `null` for a missing one.
    ///
    /// # Errors
    /// When the text is not that, or too long.
    pub fn from_json(text: &str) -> Result<Self, ArmError> {
        let arm: Self = serde_json::from_str(text).map_err(ArmError::Syntax)?;
        if arm.points.len() > METRICS_MAX {
            return Err(ArmError::Metrics(arm.points.len()));
        }
        match arm
            .points
            .iter()
            .find(|(_, points)| points.len() > POINTS_MAX)
        {
            Some((metric, points)) => Err(ArmError::Points {
                metric: metric.clone(),
                count: points.len(),
            }),
            None => Ok(arm),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arm_is_a_map_of_points() {
        let arm = Arm::from_json(r#"{"cpu": [1, null, 2.5], "errors": []}"#).unwrap();
        assert_eq!(arm.points["cpu"], [Some(1.0), None, Some(2.5)]);
        assert_eq!(arm.points["errors"], []);
        assert_eq!(
            serde_json::to_string(&arm).unwrap(),
            r#"{"cpu":[1.0,null,2.5],"errors":[]}"#
        );
    }

    #[test]
    fn what_is_no_arm_is_refused_with_its_place() {
        for (text, expected) in [
            (r#"{"cpu": [1, "x"]}"#, "(line 1, column 15)"),
            (r#"{"cpu": 1}"#, "(line 1, column 9)"),
            ("[]", "(line 1, column 0)"),
            ("{\n\"cpu\": [1,", "(line 2, column 10)"),
            (r#"{"cpu": [1e999]}"#, "(line 1, column 14)"),
        ] {
            let error = Arm::from_json(text).unwrap_err().to_string();
            assert!(error.ends_with(expected), "{text}: {error}");
        }
    }

    #[test]
    fn an_arm_has_a_largest_size() {
        let points = vec!["1"; POINTS_MAX + 1].join(",");
        let error = Arm::from_json(&format!(r#"{{"cpu": [{points}]}}"#)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "100001 points of metric \"cpu\" are more than 100000"
        );
        let metrics: Vec<_> = (0..=METRICS_MAX)
            .map(|name| format!("\"{name}\":[]"))
            .collect();
        let error = Arm::from_json(&format!("{{{}}}", metrics.join(","))).unwrap_err();
        assert_eq!(error.to_string(), "1001 metrics are more than 1000");
    }
}
