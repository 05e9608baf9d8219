//! The definitions of the kinds `Release` and `ReleaseGroup` for the API server: what `kubectl apply -f deploy/crds` installs.
//!
//! The form of the spec and of the status comes from the types beside this module, that of `rollout`, `metrics` and `sources` from
//! the tables that their reader follows. The API server wants *structural* schemas: each value has one type. Where a short form
//! gives a key several, the schema lets through what it can't tell, and the controller's reader, which is stricter in any case,
//! reports it in the condition `Valid`.

mod group;
mod keys;
mod types;

use schemars::schema_for;
use serde_json::{Map, Value, json};

pub use self::group::group_definition;
use super::{GROUP, Spec, Status, VERSION};
use crate::keys::JUDGED_PLAN;

/// The name of a release is the beginning of other names and a label's value: this is what they leave of 63 characters.
const NAME_CHARS_MAX: usize = 50;

/// Returns the CustomResourceDefinition of releases.
#[must_use]
pub fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("releases.{GROUP}") },
        "spec": {
            "group": GROUP,
            "names": {
                "kind": "Release",
                "listKind": "ReleaseList",
                "plural": "releases",
                "singular": "release",
                "shortNames": ["rel"],
                "categories": ["all"],
            },
            "scope": "Namespaced",
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "subresources": { "status": {} },
                "additionalPrinterColumns": columns(),
                "schema": { "openAPIV3Schema": schema() },
            }],
        },
    })
}

/// Returns the columns of `kubectl get`.
fn columns() -> Value {
    let column = |name: &str, path: &str, doc: &str| json!({ "name": name, "type": "string", "jsonPath": path, "description": doc });
    json!([
        column("Phase", ".status.phase", "The phase of the rollout."),
        column("Step", ".status.step", "The step at work of all."),
        column("Weight", ".status.weight", "The canary's share that is decided."),
        column("Stable", ".status.stable", "The version that serves users."),
        column("Canary", ".status.canary", "The version on trial."),
        { "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" },
        {
            "name": "Message", "type": "string", "jsonPath": ".status.message", "priority": 1,
            "description": "Why it stands where it stands.",
        },
    ])
}

fn schema() -> Value {
    let name_rule = rule(
        &format!("size(self.metadata.name) <= {NAME_CHARS_MAX}"),
        &format!("the name of a Release may have at most {NAME_CHARS_MAX} characters"),
    );
    json!({
        "description": "A service and how its versions are rolled out.",
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": { "type": "string" },
            "kind": { "type": "string" },
            "metadata": { "type": "object" },
            "spec": spec(),
            "status": types::structural(schema_for!(Status).as_value()),
        },
        "x-kubernetes-validations": [name_rule],
    })
}

fn spec() -> Value {
    let mut spec = types::structural(schema_for!(Spec).as_value());
    insert(&mut spec, "/properties", keys::properties(&JUDGED_PLAN));
    one_member(&mut spec, "/properties/workload", "workload");
    one_member(&mut spec, "/properties/routers/items", "router");
    if let Some(Value::Object(pair)) =
        spec.pointer_mut("/properties/workload/properties/pairs/items")
    {
        let rules = [rule(
            "self.stable != self.canary",
            "stable and canary must be two Deployments",
        )];
        pair.insert("x-kubernetes-validations".to_owned(), json!(rules));
    }
    spec
}

fn insert(schema: &mut Value, pointer: &str, more: Map<String, Value>) {
    if let Some(Value::Object(map)) = schema.pointer_mut(pointer) {
        map.extend(more);
    }
}

/// Says of the map at `pointer` that exactly one of its members is set.
fn one_member(schema: &mut Value, pointer: &str, what: &str) {
    let Some(Value::Object(map)) = schema.pointer_mut(pointer) else {
        return;
    };
    let members = map.get("properties").and_then(Value::as_object);
    let names: Vec<&str> = members
        .into_iter()
        .flat_map(Map::keys)
        .map(String::as_str)
        .collect();
    if !names.is_empty() {
        let rule = exactly_one(&names, what);
        map.insert("x-kubernetes-validations".to_owned(), json!([rule]));
    }
}

/// Returns the rule that exactly one of these members is set.
fn exactly_one(names: &[&str], what: &str) -> Value {
    let has = names
        .iter()
        .map(|name| format!("has(self.{name})"))
        .collect::<Vec<_>>()
        .join(", ");
    rule(
        &format!("[{has}].filter(it, it).size() == 1"),
        &format!("a {what} needs exactly one of {}", names.join(", ")),
    )
}

/// Returns a rule in CEL and what is said when it is broken.
fn rule(cel: &str, message: &str) -> Value {
    json!({ "rule": cel, "message": message })
}

#[cfg(test)]
mod tests;
