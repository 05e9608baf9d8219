//! Tests of `schema`.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{
    file, long,
    read::Problems,
    strategy,
    tree::{self, Kind, Node},
};

/// Whether a value is of the form that a schema describes; patterns, and what is said in other words of Kubernetes, are not looked at.
pub(crate) fn is_valid(schema: &Value, root: &Value, value: &Value) -> bool {
    let rules = schema.as_object().unwrap();
    rules
        .iter()
        .all(|(key, rule)| keeps(key, rule, schema, root, value))
}

/// Whether a value keeps one rule of a schema.
fn keeps(key: &str, rule: &Value, schema: &Value, root: &Value, value: &Value) -> bool {
    let is = |one: &Value| is_valid(one, root, value);
    let rules = || rule.as_array().unwrap().iter();
    match key {
        "$ref" => is(root
            .pointer(rule.as_str().unwrap().trim_start_matches('#'))
            .unwrap()),
        "type" if rule.is_array() => rules().any(|one| is_type(one, value)),
        "type" => is_type(rule, value),
        "const" => value == rule,
        "enum" => rules().any(|one| one == value),
        "minimum" => value
            .as_u64()
            .is_none_or(|value| value >= rule.as_u64().unwrap()),
        "maximum" => value
            .as_u64()
            .is_none_or(|value| value <= rule.as_u64().unwrap()),
        "anyOf" => rules().any(is),
        "oneOf" => rules().filter(|one| is(one)).count() == 1,
        "required" => {
            !value.is_object() || rules().all(|name| value.get(name.as_str().unwrap()).is_some())
        }
        "items" => value
            .as_array()
            .is_none_or(|items| items.iter().all(|item| is_valid(rule, root, item))),
        "properties" => value.as_object().is_none_or(|map| {
            map.iter()
                .all(|(key, value)| rule.get(key).is_none_or(|one| is_valid(one, root, value)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|map| {
            let known = |key: &String| {
                schema
                    .get("properties")
                    .is_some_and(|known| known.get(key).is_some())
            };
            map.iter()
                .filter(|(key, _)| !known(key))
                .all(|(_, value)| rule.is_object() && is_valid(rule, root, value))
        }),
        "x-kubernetes-int-or-string" => value.is_string() || value.is_u64(),
        "minProperties" => members(value).is_none_or(|count| count >= rule.as_u64().unwrap()),
        "maxProperties" => members(value).is_none_or(|count| count <= rule.as_u64().unwrap()),
        "minLength" => chars(value).is_none_or(|count| count >= rule.as_u64().unwrap()),
        "maxLength" => chars(value).is_none_or(|count| count <= rule.as_u64().unwrap()),
        "maxItems" => value
            .as_array()
            .is_none_or(|items| items.len() <= usize::try_from(rule.as_u64().unwrap()).unwrap()),
        "$schema" | "$defs" | "title" | "description" | "pattern" | "format" => true,
        kubernetes if kubernetes.starts_with("x-kubernetes-") => true,
        other => panic!("{other}"),
    }
}

fn members(value: &Value) -> Option<u64> {
    value
        .as_object()
        .map(|map| u64::try_from(map.len()).unwrap())
}

fn chars(value: &Value) -> Option<u64> {
    value
        .as_str()
        .map(|text| u64::try_from(text.chars().count()).unwrap())
}

fn is_type(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        other => panic!("{other}"),
    }
}

/// What an editor's YAML reader makes of a text: unquoted numbers and `true` are no texts.
fn as_editors_see(node: &Node) -> Value {
    match &node.kind {
        Kind::Text(text) if text.inset == Some(0) => match text.text.as_str() {
            "true" => json!(true),
            "false" => json!(false),
            plain => plain
                .parse::<u64>()
                .map(|number| json!(number))
                .unwrap_or_else(|_| {
                    plain
                        .parse::<f64>()
                        .map_or_else(|_| json!(plain), |number| json!(number))
                }),
        },
        Kind::Text(text) => json!(text.text),
        Kind::Null | Kind::Broken => Value::Null,
        Kind::List(items) => items.iter().map(as_editors_see).collect(),
        Kind::Map(entries) => Value::Object(
            entries
                .iter()
                .map(|entry| (entry.key.clone(), as_editors_see(&entry.value)))
                .collect(),
        ),
    }
}

fn accepts(text: &str) -> bool {
    let schema = schema();
    let node = tree::read(text, &mut Problems::default()).unwrap();
    is_valid(&schema, &schema, &as_editors_see(&node))
}

#[test]
fn files_that_are_read_are_valid() {
    let service = "listen: 8080, stable: { version: v1, run: ./a }";
    for text in [
        include_str!("../file/full.yaml").to_owned(),
        format!("services: {{ a: {{ {service} }} }}"),
        format!(
            "services: {{ a: {{ {service}, rollout: {{ guards: {{ restarts: 2, p95: 500ms }}, hold: untilResumed }} }} }}"
        ),
        format!(
            "version: 1\nnotify: {{ webhook: http://a }}\nservices: {{ a: {{ {service}, unmeasured: /x, override: off }} }}"
        ),
    ] {
        assert!(file::parse(&text).is_ok(), "{text}");
        assert!(accepts(&text), "{text}");
    }
    let file = file::parse(include_str!("../file/full.yaml")).unwrap();
    let schema = schema();
    assert!(is_valid(&schema, &schema, &long::file_long(&file)));
}

#[test]
fn mistakes_of_form_are_not_valid() {
    let service = "listen: 8080, stable: { version: v1, run: ./a }";
    for text in [
        "{}".to_owned(),
        "services: []".to_owned(),
        "services: { a: {} }".to_owned(),
        format!("version: 2\nservices: {{ a: {{ {service} }} }}"),
        format!("services: {{ a: {{ {service}, lisen: 1 }} }}"),
        "services: { a: { listen: 1, stable: { version: v1 } } }".to_owned(),
        "services: { a: { listen: 1, stable: { version: v1, run: a, url: http://b } } }".to_owned(),
        format!("services: {{ a: {{ {service}, stopGrace: 10 }} }}"),
        format!("services: {{ a: {{ {service}, rollout: {{ steps: [5] }} }} }}"),
        format!(
            "services: {{ a: {{ {service}, rollout: {{ steps: [{{ weight: 5%, hold: 5m }}] }} }} }}"
        ),
        format!("services: {{ a: {{ {service}, rollout: {{ onFailure: retry }} }} }}"),
        format!("services: {{ a: {{ {service}, rollout: {{ guards: {{ p95: {{}} }} }} }} }}"),
        format!("services: {{ a: {{ {service}, rollout: {{ guards: {{ p96: 1s }} }} }} }}"),
    ] {
        assert!(file::parse(&text).is_err(), "{text}");
        assert!(!accepts(&text), "{text}");
    }
}

/// Collects the references in a schema.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_table_is_defined_and_used() {
    let schema = schema();
    let defined: BTreeSet<String> = schema["$defs"]
        .as_object()
        .unwrap()
        .keys()
        .map(|name| format!("#/$defs/{name}"))
        .collect();
    let mut used = BTreeSet::new();
    references(&schema, &mut used);
    assert_eq!(defined.len(), TABLES.len());
    assert_eq!(used, defined);
}

/// The reader asks for exactly the keys of each table, which the tests' builds check at each map; this is the other half.
#[test]
fn every_key_of_the_reader_is_in_the_schema_and_the_other_way_round() {
    let schema = schema();
    for table in TABLES {
        let properties: BTreeSet<&str> = schema["$defs"][table.name]["properties"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let keys: BTreeSet<&str> = table.keys.iter().map(|key| key.name).collect();
        assert_eq!(properties, keys, "{}", table.name);
        assert_eq!(
            keys.len(),
            table.keys.len(),
            "{} has a key twice",
            table.name
        );
        assert!(
            table.exactly_one_of.iter().all(|name| keys.contains(name)),
            "{}",
            table.name
        );
    }
    let full = schema["$defs"]["Health"]["properties"]["interval"]["description"]
        .as_str()
        .unwrap();
    assert_eq!(full, "The time between two checks. Default: 1s.");
}

proptest! {
    #[test]
    fn every_long_plan_is_valid(plan in strategy::plan()) {
        let schema = schema();
        let long = long::plan_long(&plan);
        prop_assert!(is_valid(&schema["$defs"]["Rollout"], &schema, &long), "{long}");
    }
}
