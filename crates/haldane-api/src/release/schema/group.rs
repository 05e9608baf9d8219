//! The definition of the kind `ReleaseGroup`.

use schemars::schema_for;
use serde_json::{Value, json};

use super::{NAME_CHARS_MAX, rule, types};
use crate::release::{
    GROUP, VERSION,
    group::{Spec, Status},
};

/// Returns the CustomResourceDefinition of groups.
#[must_use]
pub fn group_definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("releasegroups.{GROUP}") },
        "spec": {
            "group": GROUP,
            "names": {
                "kind": "ReleaseGroup",
                "listKind": "ReleaseGroupList",
                "plural": "releasegroups",
                "singular": "releasegroup",
                "shortNames": ["relgroup"],
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
    json!([
        {
            "name": "Phase", "type": "string", "jsonPath": ".status.phase",
            "description": "The phase of the round that goes on or of the last one.",
        },
        {
            "name": "Round", "type": "integer", "jsonPath": ".status.round.number",
            "description": "The round that goes on.",
        },
        { "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" },
        {
            "name": "Message", "type": "string", "jsonPath": ".status.message",
            "description": "Why it stands where it stands.",
        },
    ])
}

fn schema() -> Value {
    let name_rule = rule(
        &format!("size(self.metadata.name) <= {NAME_CHARS_MAX}"),
        &format!("the name of a ReleaseGroup may have at most {NAME_CHARS_MAX} characters"),
    );
    let mut spec = types::structural(schema_for!(Spec).as_value());
    if let Value::Object(spec) = &mut spec {
        let rules = [
            rule(
                "self.members.all(m, !has(m.after) || m.after.all(a, self.members.exists(x, x.release == a)))",
                "after names members of the group",
            ),
            rule(
                "self.members.all(m, !has(m.after) || !m.after.exists(a, a == m.release))",
                "a member can't come after itself",
            ),
        ];
        spec.insert("x-kubernetes-validations".to_owned(), json!(rules));
    }
    json!({
        "description": "Releases whose new versions go together.",
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": { "type": "string" },
            "kind": { "type": "string" },
            "metadata": { "type": "object" },
            "spec": spec,
            "status": types::structural(schema_for!(Status).as_value()),
        },
        "x-kubernetes-validations": [name_rule],
    })
}
