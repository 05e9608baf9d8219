//! The plan of a release: its keys are those of the release file, read by the same reader.

use haldane_core::plan::Plan;
use serde_json::{Map, Value};

use super::{JudgedPlan, Spec};
use crate::{file, read::Problem};

impl Spec {
    /// Returns the plan with the metrics that it is judged by.
    ///
    /// # Errors
    /// Every mistake, each with its path below `spec`.
    pub fn to_plan(&self) -> Result<Plan, Vec<Problem>> {
        self.to_judged_plan().map(|judged| judged.plan)
    }

    /// Returns the plan and where its requests are counted.
    ///
    /// # Errors
    /// Every mistake, each with its path below `spec`.
    pub fn to_judged_plan(&self) -> Result<JudgedPlan, Vec<Problem>> {
        let parts = [
            ("sources", &self.sources),
            ("metrics", &self.metrics),
            ("requests", &self.requests),
            ("rollout", &self.rollout),
        ];
        let parts = parts
            .into_iter()
            .filter_map(|(key, part)| Some((key.to_owned(), part.clone()?)));
        file::parse_judged_plan(&Value::Object(parts.collect::<Map<_, _>>()).to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plan_has_the_keys_and_short_forms_of_the_release_file() {
        let spec = Spec {
            rollout: Some(
                json!({"steps": ["5%", "50%"], "hold": "30s", "guards": {"errorRate": "5%"}}),
            ),
            ..Spec::default()
        };
        assert_eq!(spec.to_plan().unwrap().step_count(), 4);
        assert_eq!(Spec::default().to_plan().unwrap(), file::default_plan());
    }

    #[test]
    fn a_mistake_is_told_with_its_path() {
        let spec = Spec {
            rollout: Some(json!({"steps": ["500%"], "holt": "1m"})),
            ..Spec::default()
        };
        let problems = spec.to_plan().unwrap_err();
        let paths: Vec<&str> = problems
            .iter()
            .map(|problem| problem.path.as_str())
            .collect();
        assert_eq!(paths, ["rollout.holt", "rollout.steps[0]"]);
    }
}
