//! Apache APISIX: the backends of an ApisixRoute, with header rules of a higher priority beside them.

use haldane_core::plan::{HeaderMatch, HeaderRoute, ValueMatch};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    edit::{self, Place},
    forms::{Edit, Form, Head, Members, Numbers},
    kinds::APISIX_ROUTE,
    object::{Change, ObjectRef, Objects},
    pattern::literally,
    report::condition,
    route::{Accepted, Capabilities, Proof, RouteError, Router, Seen},
    rules::Rules,
    split::Split,
    weighted::{Absent, Side},
};

/// Splits the requests of an ApisixRoute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Apisix {
    /// The ApisixRoute's name.
    pub route: String,
    /// The names of its `http` rules that are split; none stands for all with the stable Service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
}

/// What it can do.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    name: "APISIX",
    weight: true,
    header: true,
    header_regex: true,
    mirror: false,
    mirror_share: false,
    sticky: false,
    proof: Proof::Objects,
};

/// The weight of a backend that tells none.
const WEIGHT_DEFAULT: u64 = 100;

impl Apisix {
    fn edit(&self, split: &Split) -> Edit<'_> {
        let canary = split.canary.service.clone();
        Edit {
            target: APISIX_ROUTE.named(&split.namespace, &self.route),
            forms: vec![Form {
                router: &CAPABILITIES,
                rules: &["spec", "http"],
                backends: &["backends"],
                members: Members {
                    weight: "weight",
                    numbers: Numbers::Free,
                    absent: Absent::Is(WEIGHT_DEFAULT),
                    name: Box::new(|member| {
                        edit::text(member, &["serviceName"]).map(str::to_owned)
                    }),
                    rename: Box::new(move |member| {
                        if let Some(name) = member.get_mut("serviceName") {
                            *name = json!(canary);
                        }
                    }),
                    stable: split.stable.service.clone(),
                    canary: split.canary.service.clone(),
                },
                only: &self.rules,
                has_weights: true,
                head: Some(Head {
                    mark: "name",
                    add: Box::new(add_head),
                }),
                mirror: None,
                single: None,
            }],
        }
    }

    /// Upstreams share the weights of the backends; there is no telling them apart here.
    fn check(edit: &Edit<'_>, object: &Value) -> Result<(), RouteError> {
        let at = Place::of(&edit.target).keys(&["spec", "http"]);
        let rules = edit::get(object, &["spec", "http"]).and_then(Value::as_array);
        let is_stable = |backend: &Value| {
            let mut forms = edit.forms.iter();
            forms.any(|form| form.entries().side(backend) == Side::Stable)
        };
        for (index, rule) in rules.into_iter().flatten().enumerate() {
            let list = |key: &str| rule.get(key).and_then(Value::as_array);
            let is_split = list("backends").is_some_and(|list| list.iter().any(is_stable));
            if is_split && list("upstreams").is_some_and(|list| !list.is_empty()) {
                return Err(at
                    .item(index)
                    .key("upstreams")
                    .refused("expected none beside the backends, found some"));
            }
        }
        Ok(())
    }
}

impl Router for Apisix {
    fn objects(&self, namespace: &str) -> Vec<ObjectRef> {
        vec![APISIX_ROUTE.named(namespace, &self.route)]
    }

    fn desired(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>, RouteError> {
        let edit = self.edit(split);
        // Going back to stable must not fail over this.
        if !split.traffic.is_stable_only() {
            Self::check(&edit, edit::object(objects, &edit.target)?)?;
        }
        edit.desired(split, objects)
    }

    fn cleared(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>, RouteError> {
        self.edit(split).cleared(split, objects)
    }

    fn seen(&self, split: &Split, objects: &Objects) -> Result<Seen, RouteError> {
        self.edit(split).seen(split, objects)
    }

    fn accepted(&self, split: &Split, objects: &Objects) -> Accepted {
        let target = APISIX_ROUTE.named(&split.namespace, &self.route);
        objects.get(&target).map_or_else(
            || Accepted::Pending(format!("{target} does not exist")),
            |object| {
                let names = ["Accepted", "ResourcesAvailable"];
                condition(object, &names, CAPABILITIES.name, Accepted::Unreported)
            },
        )
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }
}

fn add_head(
    rule: &mut Value,
    route: &HeaderRoute,
    number: usize,
    at: &Place<'_>,
) -> Result<(), RouteError> {
    let priority = rule.get("priority").and_then(Value::as_i64).unwrap_or(0);
    let name = format!("haldane-{}-{number}", route.name);
    edit::set(rule, &["priority"], json!(priority.saturating_add(1)), at)?;
    edit::set(rule, &["name"], json!(name), at)?;
    let list = edit::list_mut(rule, &["match", "exprs"], at)?;
    list.extend(route.matches.iter().map(expression));
    Ok(())
}

fn expression(wanted: &HeaderMatch) -> Value {
    let (op, value) = match &wanted.value {
        ValueMatch::Exact(value) => ("Equal", value.clone()),
        ValueMatch::Prefix(value) => ("RegexMatch", format!("^{}", literally(value))),
        ValueMatch::Regex(value) => ("RegexMatch", format!("^(?:{value})$")),
        ValueMatch::Present => ("RegexMatch", ".*".to_owned()),
    };
    json!({ "subject": { "scope": "Header", "name": wanted.header }, "op": op, "value": value })
}

#[cfg(test)]
mod tests;
