//! Tests of `openapi`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

fn json() -> Value {
    serde_json::from_str(&openapi_json().unwrap()).unwrap()
}

/// Returns what the value refers to, at any depth.
fn references(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(fields) => {
            let own = fields.get("$ref").and_then(Value::as_str);
            own.into_iter()
                .chain(fields.values().flat_map(references))
                .collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

#[test]
fn table_and_document_have_the_same_routes() {
    let document = json();
    let documented: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .keys()
                .map(|method| (method.clone(), path.clone()))
        })
        .collect();
    let rows: Vec<_> = routes()
        .iter()
        .map(|route| {
            (
                serde_json::to_value(&route.method)
                    .unwrap()
                    .as_str()
                    .unwrap()
                    .to_owned(),
                route.path.to_owned(),
            )
        })
        .collect();
    assert_eq!(
        rows.len(),
        documented.len(),
        "a route stands in the table twice"
    );
    assert_eq!(rows.into_iter().collect::<BTreeSet<_>>(), documented);
}

#[test]
fn every_reference_leads_somewhere() {
    let document = json();
    assert_eq!(document["openapi"], "3.1.0");
    let references = references(&document);
    assert!(references.len() > 30, "{references:?}");
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn operations_have_their_own_ids_an_answer_and_the_parameters_of_their_path() {
    let document = json();
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            assert!(
                ids.insert(operation["operationId"].as_str().unwrap()),
                "{path}"
            );
            assert!(
                operation["responses"]["200"]["content"].is_object(),
                "{path}"
            );
            let parameters = operation["parameters"]
                .as_array()
                .map_or(&[][..], Vec::as_slice);
            let in_path = parameters
                .iter()
                .filter(|parameter| parameter["in"] == "path")
                .count();
            assert_eq!(in_path, path.matches('{').count(), "{path}");
        }
    }
}

#[test]
fn a_body_is_described_as_it_is_read() {
    let deploy = &json()["components"]["schemas"]["DeployRequest"];
    assert_eq!(deploy["required"], serde_json::json!(["version", "by"]));
    assert_eq!(deploy["additionalProperties"], false);
    let history = &json()["paths"]["/v1/services/{name}/history"]["get"]["parameters"];
    let names: Vec<_> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|parameter| &parameter["name"])
        .collect();
    assert_eq!(names, ["limit", "entries", "name"]);
}
