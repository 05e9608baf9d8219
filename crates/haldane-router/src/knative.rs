//! Knative: the traffic targets of a Service or a Route.
//!
//! A target is a revision or a configuration of the name that the release's Service has: Knative makes a Service of the same name for
//! each revision. Percents are whole, and make 100 together.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    edit,
    forms::{Edit, Form, Members, Numbers},
    kinds::{KNATIVE_ROUTE, KNATIVE_SERVICE},
    object::{Change, ObjectRef, Objects},
    report::condition,
    route::{Accepted, Capabilities, Proof, RouteError, Router, Seen},
    split::Split,
    weighted::Absent,
};

/// Splits the traffic of a Knative Service or Route; exactly one is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Knative {
    /// The name of a Knative Service, whose targets are revisions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The name of a Knative Route, whose targets are revisions or configurations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
}

/// What it can do.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    name: "Knative",
    weight: true,
    header: false,
    header_regex: false,
    mirror: false,
    mirror_share: false,
    sticky: false,
    proof: Proof::Objects,
};

impl Knative {
    fn target(&self, namespace: &str) -> Option<ObjectRef> {
        match (&self.service, &self.route) {
            (Some(name), None) => Some(KNATIVE_SERVICE.named(namespace, name)),
            (None, Some(name)) => Some(KNATIVE_ROUTE.named(namespace, name)),
            (Some(_), Some(_)) | (None, None) => None,
        }
    }

    fn edit(&self, split: &Split) -> Result<Edit<'_>, RouteError> {
        let target = self.target(&split.namespace).ok_or_else(|| {
            CAPABILITIES.cannot("split without exactly one of `service` and `route`")
        })?;
        let canary = split.canary.service.clone();
        Ok(Edit {
            target,
            forms: vec![Form {
                router: &CAPABILITIES,
                rules: &[],
                backends: &["spec", "traffic"],
                members: Members {
                    weight: "percent",
                    numbers: Numbers::Percent,
                    absent: Absent::Is(0),
                    name: Box::new(name),
                    rename: Box::new(move |member| {
                        edit::remove(member, "tag");
                        for field in FIELDS {
                            if let Some(name) = member.get_mut(field) {
                                *name = json!(canary);
                            }
                        }
                    }),
                    stable: split.stable.service.clone(),
                    canary: split.canary.service.clone(),
                },
                only: &[],
                has_weights: true,
                head: None,
                mirror: None,
                single: None,
            }],
        })
    }
}

impl Router for Knative {
    fn objects(&self, namespace: &str) -> Vec<ObjectRef> {
        self.target(namespace).into_iter().collect()
    }

    fn desired(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>, RouteError> {
        self.edit(split)?.desired(split, objects)
    }

    fn cleared(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>, RouteError> {
        self.edit(split)?.cleared(split, objects)
    }

    fn seen(&self, split: &Split, objects: &Objects) -> Result<Seen, RouteError> {
        self.edit(split)?.seen(split, objects)
    }

    fn accepted(&self, split: &Split, objects: &Objects) -> Accepted {
        let target = self.target(&split.namespace);
        let object = target.and_then(|target| objects.get(&target));
        let silent = Accepted::Pending("Knative has not reported on it yet".to_owned());
        match object {
            Some(object) => condition(object, &["Ready"], CAPABILITIES.name, silent),
            None => silent,
        }
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }
}

const FIELDS: [&str; 2] = ["revisionName", "configurationName"];

/// A target without percents is a tag: it takes no part.
fn name(member: &Value) -> Option<String> {
    member.get("percent")?;
    let named = FIELDS.iter().find_map(|field| edit::text(member, &[field]));
    Some(named.unwrap_or("the latest revision").to_owned())
}

#[cfg(test)]
mod tests;
