//! Pipelines that deliver a service: build, test, scan, benchmark, deploy, verify, for the usual systems.
//!
//! Each is a text with a few gaps, as a person would have written it; what goes into the gaps is checked where it is read, so that it
//! needs no quotes in any of them. The rollout runs in the pipeline's own job, as `haldane deploy` does it without a controller; with
//! Argo CD and Flux it is the controller that rolls out. **Invariant:** every command line in them is one of this program's, which a test
//! reads with the program's own reader.

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::words::{BaseName, FilePath, Image, Label};

/// Where the program comes from.
const HALDANE: &str = "haldane-dev/haldane";

/// What a pipeline is to deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    /// The service.
    pub service: BaseName,
    /// Where it lives.
    pub namespace: Label,
    /// The image that is built; its tag is the commit.
    pub image: Image,
    /// The file in the repository that has the manifests, with the Release.
    pub manifest: FilePath,
}

/// Who runs pipelines, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// A workflow of GitHub Actions.
    Github,
    /// The composite action of GitHub that rolls out.
    GithubAction,
    /// The composite action of GitHub that puts the program on the path.
    GithubSetup,
    /// A declarative pipeline of Jenkins.
    Jenkins,
    /// A step of a shared library of Jenkins.
    JenkinsLibrary,
    /// GitLab CI.
    Gitlab,
    /// Tasks and a Pipeline of Tekton.
    Tekton,
    /// How Argo CD does it.
    Argocd,
    /// How Flux does it.
    Flux,
}

/// A name of no system.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no system: expected one of {names}", names = System::ALL.map(System::as_str).join(", "))]
pub struct SystemError(String);

/// Returns the pipeline as text.
#[must_use]
pub fn text(pipeline: &Pipeline, system: System) -> String {
    let manifest = pipeline.manifest.as_str();
    let directory = manifest
        .rsplit_once('/')
        .map_or(".", |(directory, _)| directory);
    let gaps = [
        ("@SERVICE@", pipeline.service.as_str()),
        ("@NAMESPACE@", pipeline.namespace.as_str()),
        ("@REPOSITORY@", pipeline.image.repository()),
        ("@MANIFEST@", manifest),
        ("@DIRECTORY@", directory),
        ("@HALDANE@", HALDANE),
    ];
    let template = system.template().to_owned();
    gaps.iter()
        .fold(template, |text, (gap, value)| text.replace(gap, value))
}

impl System {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Github,
        Self::GithubAction,
        Self::GithubSetup,
        Self::Jenkins,
        Self::JenkinsLibrary,
        Self::Gitlab,
        Self::Tekton,
        Self::Argocd,
        Self::Flux,
    ];

    /// Returns its name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::GithubAction => "github-action",
            Self::GithubSetup => "github-setup",
            Self::Jenkins => "jenkins",
            Self::JenkinsLibrary => "jenkins-library",
            Self::Gitlab => "gitlab",
            Self::Tekton => "tekton",
            Self::Argocd => "argocd",
            Self::Flux => "flux",
        }
    }

    const fn template(self) -> &'static str {
        match self {
            Self::Github => include_str!("pipelines/github.yaml"),
            Self::GithubAction => include_str!("pipelines/github-action.yaml"),
            Self::GithubSetup => include_str!("pipelines/github-setup.yaml"),
            Self::Jenkins => include_str!("pipelines/jenkins.groovy"),
            Self::JenkinsLibrary => include_str!("pipelines/jenkins-library.groovy"),
            Self::Gitlab => include_str!("pipelines/gitlab.yaml"),
            Self::Tekton => include_str!("pipelines/tekton.yaml"),
            Self::Argocd => include_str!("pipelines/argocd.md"),
            Self::Flux => include_str!("pipelines/flux.md"),
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for System {
    type Err = SystemError;

    fn from_str(text: &str) -> Result<Self, SystemError> {
        let found = Self::ALL.into_iter().find(|system| system.as_str() == text);
        found.ok_or_else(|| SystemError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize as _;
    use serde_json::{Value, json};

    use super::*;

    fn text_of(system: System) -> String {
        let pipeline = Pipeline {
            service: "auth-service".parse().unwrap(),
            namespace: "orion".parse().unwrap(),
            image: "ghcr.io/orion/auth:v1".parse().unwrap(),
            manifest: "deploy/auth.yaml".parse().unwrap(),
        };
        text(&pipeline, system)
    }

    fn yaml(text: &str) -> Vec<Value> {
        serde_norway::Deserializer::from_str(text)
            .map(|document| Value::deserialize(document).unwrap())
            .collect()
    }

    #[test]
    fn no_gap_is_left() {
        for system in System::ALL {
            let text = text_of(system);
            let is_gap =
                |word: &str| word.len() > 2 && word.chars().all(|c| c.is_ascii_uppercase());
            let left: Vec<&str> = text.split('@').filter(|word| is_gap(word)).collect();
            assert!(left.is_empty(), "{system}: {left:?}");
        }
    }

    #[test]
    fn a_workflow_has_all_stages_in_order() {
        let workflow = &yaml(&text_of(System::Github))[0];
        let needs = |job: &str| workflow["jobs"][job]["needs"].clone();
        assert_eq!(needs("scan"), "build");
        assert_eq!(needs("benchmark"), "build");
        assert_eq!(needs("deploy"), json!(["test", "scan", "benchmark"]));
        assert_eq!(needs("verify"), "deploy");
        for job in workflow["jobs"].as_object().unwrap().values() {
            assert_eq!(job["runs-on"], "ubuntu-latest");
            assert!(
                job["steps"]
                    .as_array()
                    .is_some_and(|steps| !steps.is_empty())
            );
        }
    }

    #[test]
    fn the_workflow_gives_the_action_what_it_takes() {
        let action = &yaml(&text_of(System::GithubAction))[0];
        let inputs = action["inputs"].as_object().unwrap();
        let workflow = &yaml(&text_of(System::Github))[0];
        let steps = workflow["jobs"]["deploy"]["steps"].as_array().unwrap();
        let given = steps.last().unwrap()["with"].as_object().unwrap();
        for name in given.keys() {
            assert!(inputs.contains_key(name), "{name}");
        }
        let required = inputs.iter().filter(|(_, input)| input["required"] == true);
        for (name, _) in required {
            assert!(given.contains_key(name), "{name}");
        }
        // A step of a composite action says its shell.
        for system in [System::GithubAction, System::GithubSetup] {
            let action = &yaml(&text_of(system))[0];
            assert_eq!(action["runs"]["using"], "composite");
            for step in action["runs"]["steps"].as_array().unwrap() {
                assert_eq!(step["shell"], "bash", "{step}");
            }
        }
    }

    #[test]
    fn gitlab_has_a_job_for_each_stage() {
        let pipeline = &yaml(&text_of(System::Gitlab))[0];
        let stages = pipeline["stages"].as_array().unwrap();
        assert_eq!(stages.len(), 6);
        for stage in stages {
            let job = &pipeline[stage.as_str().unwrap()];
            assert_eq!(&job["stage"], stage);
            for line in job["script"].as_array().unwrap() {
                assert!(line.is_string(), "{line}");
            }
        }
    }

    #[test]
    fn a_pipeline_of_tekton_gives_each_task_what_it_takes() {
        let objects = yaml(&text_of(System::Tekton));
        let task = |name: &Value| objects.iter().find(|one| one["metadata"]["name"] == *name);
        let pipeline = objects
            .iter()
            .find(|one| one["kind"] == "Pipeline")
            .unwrap();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let all = [
            list(&pipeline["spec"]["tasks"]),
            list(&pipeline["spec"]["finally"]),
        ]
        .concat();
        assert_eq!(all.len(), 6);
        for one in all {
            let spec = &task(&one["taskRef"]["name"]).unwrap()["spec"];
            let given = list(&one["params"]);
            for param in list(&spec["params"]) {
                let is_given = given.iter().any(|it| it["name"] == param["name"]);
                assert!(is_given || param["default"].is_string(), "{one}: {param}");
            }
            for name in list(&spec["workspaces"]) {
                let bound = list(&one["workspaces"]);
                assert!(bound.iter().any(|it| it["name"] == name["name"]), "{one}");
            }
        }
    }

    #[test]
    fn what_is_told_of_git_tools_has_readable_objects() {
        for system in [System::Argocd, System::Flux] {
            let text = text_of(system);
            let mut parts = text.split("```yaml\n").skip(1);
            let object = parts.next().unwrap().split("```").next().unwrap();
            let object = &yaml(object)[0];
            assert_eq!(object["metadata"]["name"], "auth-service", "{system}");
        }
    }

    #[test]
    fn a_jenkinsfile_closes_what_it_opens() {
        for system in [System::Jenkins, System::JenkinsLibrary] {
            let text = text_of(system);
            for (open, close) in [('{', '}'), ('(', ')'), ('[', ']')] {
                let count = |c: char| text.matches(c).count();
                assert_eq!(count(open), count(close), "{system}: {open}");
            }
            assert_eq!(text.matches("'''").count() % 2, 0, "{system}");
        }
        let jenkins = text_of(System::Jenkins);
        for stage in ["Build", "Test", "Scan", "Benchmark", "Deploy", "Verify"] {
            assert!(jenkins.contains(&format!("stage('{stage}')")), "{stage}");
        }
    }
}
