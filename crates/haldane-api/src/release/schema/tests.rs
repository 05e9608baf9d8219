//! Tests of the definition of `Release`. What the API server makes of it is tested on a real one, in `haldane-plane`.

use proptest::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize as _;

use super::*;
use crate::{file, long, schema::tests::is_valid, strategy};

/// Calls `look` for each schema inside a schema, with its path.
fn walk(schema: &Value, path: &str, look: &mut dyn FnMut(&Map<String, Value>, &str)) {
    let map = schema.as_object().unwrap();
    look(map, path);
    for word in ["items", "additionalProperties"] {
        if let Some(inner) = map.get(word) {
            walk(inner, &format!("{path}.{word}"), look);
        }
    }
    for (name, member) in map
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        walk(member, &format!("{path}.{name}"), look);
    }
}

/// What is told of a schema's structure: the paths at which it is not structural.
fn unstructured(schema: &Value) -> Vec<String> {
    const WORDS: [&str; 23] = [
        "additionalProperties",
        "anyOf",
        "description",
        "enum",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "oneOf",
        "pattern",
        "properties",
        "required",
        "type",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-validations",
    ];
    let mut found = Vec::new();
    walk(schema, "", &mut |map, path| {
        let is_open = map.contains_key("x-kubernetes-preserve-unknown-fields");
        let has_type = map.get("type").is_some_and(Value::is_string);
        if !is_open && !has_type && !map.contains_key("x-kubernetes-int-or-string") {
            found.push(format!("{path} has no type"));
        }
        let is_known =
            |word: &str| WORDS.contains(&word) || word == "x-kubernetes-preserve-unknown-fields";
        found.extend(
            map.keys()
                .filter(|word| !is_known(word))
                .map(|word| format!("{path}.{word}")),
        );
    });
    found
}

fn release_schema() -> Value {
    definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

fn accepts(spec: &Value) -> bool {
    let schema = release_schema();
    is_valid(&schema["properties"]["spec"], &schema, spec)
}

#[test]
fn the_definition_is_structural_and_small_enough_for_kubectl() {
    assert_eq!(unstructured(&release_schema()), Vec::<String>::new());
    // `kubectl apply` keeps a copy in an annotation, and all annotations together may have 256 KiB.
    assert!(definition().to_string().len() < 200_000);
}

#[test]
fn every_value_has_a_doc() {
    let mut bare = Vec::new();
    walk(
        &release_schema()["properties"]["spec"],
        "spec",
        &mut |map, path| {
            let is_named = !path.ends_with(".items") && !path.ends_with(".additionalProperties");
            if is_named && !map.contains_key("description") {
                bare.push(path.to_owned());
            }
        },
    );
    assert_eq!(bare, Vec::<String>::new());
}

#[test]
fn what_the_reader_takes_is_valid() {
    let workload = json!({ "deployment": { "name": "shop" } });
    for rollout in [
        json!({}),
        json!({ "steps": ["5%", { "hold": "1m" }, { "testTraffic": true }], "hold": { "min": "1m", "max": "2m" } }),
        json!({ "guards": "none", "canaryScale": 3 }),
        json!({ "guards": { "errorRate": "5%", "restarts": 2, "p95": { "continue": "1s" } }, "judge": { "alpha": "1%" } }),
        json!({ "guards": [{ "metric": "errorRate", "rollback": "5%" }], "judge": "threshold" }),
        json!({ "windows": [{ "days": ["mon", "tue"] }, { "days": "sat,sun" }] }),
    ] {
        let spec = json!({ "workload": workload, "rollout": rollout });
        let read: Spec = serde_json::from_value(spec.clone()).unwrap();
        assert!(read.to_plan().is_ok(), "{spec}: {:?}", read.to_plan());
        assert!(accepts(&spec), "{spec}");
    }
}

/// The same releases are given to a real API server.
#[test]
fn releases_that_the_api_server_takes_are_read() {
    const GOOD: &str = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../haldane-plane/tests/smoke/definition/good.yaml"
    ));
    let documents = serde_norway::Deserializer::from_str(GOOD);
    let releases: Vec<Value> = documents
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|release| !release.is_null())
        .collect();
    assert_eq!(releases.len(), 5);
    for release in releases {
        assert!(accepts(&release["spec"]), "{release}");
        let spec: Spec = serde_json::from_value(release["spec"].clone()).unwrap();
        if let Err(problems) = spec.to_plan() {
            panic!("{release}: {problems:?}");
        }
    }
}

#[test]
fn mistakes_of_form_are_not_valid() {
    let workload = json!({ "deployment": { "name": "shop" } });
    for rollout in [
        json!({ "holt": "1m" }),
        json!({ "steps": "5%" }),
        json!({ "steps": [{}] }),
        json!({ "steps": [{ "weight": "5%", "mirror": "5%" }] }),
        json!({ "steps": [{ "gate": { "approval": true, "webhook": "http://a" } }] }),
        json!({ "hold": { "min": "1m" } }),
        json!({ "guards": { "p95": {} } }),
        json!({ "onFailure": "explode" }),
    ] {
        let spec = json!({ "workload": workload, "rollout": rollout });
        let read: Spec = serde_json::from_value(spec.clone()).unwrap();
        assert!(read.to_plan().is_err(), "{spec}");
        // Structural schemas let unknown keys through; the API server drops or refuses them itself.
        assert!(
            spec["rollout"].get("holt").is_some() || !accepts(&spec),
            "{spec}"
        );
    }
    assert!(!accepts(&json!({})));
}

#[test]
fn exactly_one_router_and_one_workload_are_asked_for() {
    let schema = release_schema();
    let rule =
        &schema["properties"]["spec"]["properties"]["workload"]["x-kubernetes-validations"][0];
    assert_eq!(
        rule["rule"],
        "[has(self.daemonSet), has(self.deployment), has(self.pairs), has(self.statefulSet)].filter(it, it).size() == 1"
    );
    let entry = &schema["properties"]["spec"]["properties"]["routers"]["items"];
    let members = entry
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    for (name, _) in members {
        let rule = entry["x-kubernetes-validations"][0]["rule"]
            .as_str()
            .unwrap();
        assert!(rule.contains(&format!("has(self.{name})")), "{rule}");
    }
    let mut routers = json!({ "properties": { "gateway": {}, "nginx": {} } });
    one_member(&mut routers, "", "router");
    assert_eq!(
        routers["x-kubernetes-validations"][0]["message"],
        "a router needs exactly one of gateway, nginx"
    );
}

/// A type as routers have them, with all that is hard to say structurally.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is looked at")]
struct Sample {
    /// The inner one.
    inner: Option<Inner>,
    /// Ports.
    #[serde(default)]
    ports: Vec<u16>,
    /// Words.
    kind: Kind,
    /// How many.
    #[serde(default = "two")]
    count: u32,
    /// Labels.
    labels: std::collections::BTreeMap<String, Inner>,
    /// Whatever.
    extra: Option<Value>,
    /// A number or a text.
    either: Either,
}

/// Inside.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is looked at")]
struct Inner {
    /// Its name.
    name: Option<String>,
}

/// Words with docs.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is looked at")]
enum Kind {
    /// One.
    One,
    /// Two.
    Two,
}

/// One of two types.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is looked at")]
enum Either {
    Number(u32),
    Text(String),
}

fn two() -> u32 {
    2
}

#[test]
fn types_become_structural() {
    let schema = types::structural(schema_for!(Sample).as_value());
    let inner = json!({
        "type": "object", "description": "Inside.",
        "properties": { "name": { "type": "string", "description": "Its name." } },
    });
    let mut member = inner.clone();
    member["description"] = json!("The inner one.");
    assert_eq!(
        schema,
        json!({
            "type": "object",
            "description": "A type as routers have them, with all that is hard to say structurally.",
            "required": ["kind", "labels", "either"],
            "properties": {
                "inner": member,
                "ports": {
                    "type": "array", "description": "Ports.",
                    "items": { "type": "integer", "minimum": 0, "maximum": 65_535 },
                },
                "kind": { "type": "string", "enum": ["One", "Two"], "description": "Words." },
                "count": { "type": "integer", "minimum": 0, "maximum": 4_294_967_295_u32, "description": "How many. Default: 2." },
                "labels": { "type": "object", "additionalProperties": inner, "description": "Labels." },
                "extra": { "x-kubernetes-preserve-unknown-fields": true, "description": "Whatever." },
                "either": { "x-kubernetes-preserve-unknown-fields": true, "description": "A number or a text." },
            },
        })
    );
}

proptest! {
    #[test]
    fn every_long_plan_without_commands_is_valid(plan in strategy::plan()) {
        let mut long = long::plan_long(&plan);
        let is_command = |gate: &&mut Value| gate.get("run").is_some();
        for step in long["steps"].as_array_mut().unwrap() {
            if let Some(gate) = step.get_mut("gate").filter(is_command) {
                *gate = json!({ "approval": true });
            }
        }
        for gate in long["hooks"]["afterRollback"].as_array_mut().unwrap() {
            if gate.get("run").is_some() {
                *gate = json!({ "job": "smoke" });
            }
        }
        prop_assert!(accepts(&json!({ "workload": { "deployment": { "name": "shop" } }, "rollout": long })), "{long}");
    }
}

#[test]
fn the_default_plan_is_valid_in_its_long_form() {
    let long = long::plan_long(&file::default_plan());
    assert!(accepts(
        &json!({ "workload": { "deployment": { "name": "shop" } }, "rollout": long })
    ));
}
