//! Skipper by its table, and by the laws of all routers.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::trial::{self, Rule};

#[test]
fn every_case_of_the_table_holds() {
    trial::cases(include_str!("cases.yaml"));
}

fn object(rules: &[Rule]) -> Value {
    let backend = |name: &str| json!({ "backendName": name });
    let routes: Vec<Value> = rules
        .iter()
        .enumerate()
        .map(|(index, rule)| json!({ "path": format!("/{index}"), "backends": rule.list(backend, "weight") }))
        .chain([json!({ "path": "/default" })])
        .collect();
    let backends: Vec<Value> = ["shop", "cart", "blog"]
        .iter()
        .map(|name| json!({ "name": name, "serviceName": name }))
        .collect();
    json!({
        "apiVersion": "zalando.org/v1",
        "kind": "RouteGroup",
        "metadata": { "name": "shop", "namespace": "default" },
        "spec": { "backends": backends, "defaultBackends": [{ "backendName": "shop" }], "routes": routes },
    })
}

fn ingress(stable: Option<u16>, other: u16) -> Value {
    let path = |name: &str| json!({ "path": "/", "backend": { "service": { "name": name } } });
    let weights = stable.map(|stable| json!({ "shop": stable, "other": other }).to_string());
    let mut object = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "name": "shop", "namespace": "default" },
        "spec": { "rules": [{ "http": { "paths": [path("other"), path("shop")] } }] },
    });
    if let Some(weights) = weights {
        object["metadata"]["annotations"] = json!({ "zalando.org/backend-weights": weights });
    }
    object
}

proptest! {
    #![proptest_config(trial::config())]
    #[test]
    fn the_laws_hold(rules in trial::rules(100), one in trial::splits(true, false), two in trial::splits(true, false)) {
        let router = Skipper { route_group: Some("shop".to_owned()), ingress: None };
        // The canary is no backend of the user's here.
        let is_pair = |rule: &Rule| rule.backends.iter().any(|(name, _)| name == "shop-canary");
        prop_assume!(rules.iter().all(|rule| rule.is_even() && !is_pair(rule)));
        trial::laws(&router, &[object(&rules)], &[one, two], 50);
    }

    #[test]
    fn the_laws_hold_on_an_ingress(
        stable in prop::option::of(1..100_u16),
        other in 0..100_u16,
        one in trial::splits(false, false),
        two in trial::splits(false, false),
    ) {
        let router = Skipper { route_group: None, ingress: Some("shop".to_owned()) };
        trial::laws(&router, &[ingress(stable, other)], &[one, two], 50);
    }
}
