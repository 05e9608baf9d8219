//! Kuma by its table, and by the laws of all routers.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::trial::{self, Rule};

#[test]
fn every_case_of_the_table_holds() {
    trial::cases(include_str!("cases.yaml"));
}

fn object(rules: &[Rule]) -> Value {
    let rules: Vec<Value> = rules
        .iter()
        .map(|rule| {
            let backends = rule.list(|name| json!({ "kind": "MeshService", "name": name }), "weight");
            json!({ "matches": [{ "path": { "value": "/" } }], "default": { "backendRefs": backends } })
        })
        .collect();
    json!({
        "apiVersion": "kuma.io/v1alpha1",
        "kind": "MeshHTTPRoute",
        "metadata": { "name": "shop", "namespace": "default" },
        "spec": { "to": [{ "rules": rules }] },
    })
}

proptest! {
    #![proptest_config(trial::config())]
    #[test]
    fn the_laws_hold(rules in trial::rules(100), one in trial::splits(true, true), two in trial::splits(true, true)) {
        let router = Kuma { mesh_http_route: "shop".to_owned() };
        trial::laws(&router, &[object(&rules)], &[one, two], 50);
    }
}
