//! Contour by its table, and by the laws of all routers.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::trial::{self, Rule};

#[test]
fn the_table_holds() {
    trial::cases(include_str!("cases.yaml"));
}

fn object(rules: &[Rule]) -> Value {
    let routes: Vec<Value> = rules
        .iter()
        .enumerate()
        .map(|(index, rule)| {
            let services: Vec<Value> = rule
                .backends
                .iter()
                .map(|(name, weight)| match weight {
                    Some(weight) => json!({ "name": name, "port": 80, "weight": weight }),
                    None => json!({ "name": name, "port": 80 }),
                })
                .collect();
            json!({ "conditions": [{ "prefix": format!("/{index}") }], "services": services })
        })
        .collect();
    json!({
        "apiVersion": "projectcontour.io/v1",
        "kind": "HTTPProxy",
        "metadata": { "name": "shop", "namespace": "default" },
        "spec": { "routes": routes },
    })
}

proptest! {
    #[test]
    fn the_laws_hold(rules in trial::rules(100), one in trial::splits(true, true), two in trial::splits(true, true)) {
        let router = Contour { http_proxy: "shop".to_owned() };
        // A list in which only some tell a weight gives the others none: there is nothing of stable's to split.
        prop_assume!(rules.iter().all(|rule| {
            let told = rule.backends.iter().filter(|(_, weight)| weight.is_some()).count();
            told == 0 || told == rule.backends.len()
        }));
        trial::laws(&router, &[object(&rules)], &[one, two], 50);
    }
}
