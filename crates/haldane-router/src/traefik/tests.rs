//! Traefik by its table, and by the laws of all routers.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::trial::{self, Rule};

#[test]
fn every_case_of_the_table_holds() {
    trial::cases(include_str!("cases.yaml"));
}

fn object(rules: &[Rule]) -> Value {
    let routes: Vec<Value> = rules
        .iter()
        .enumerate()
        .map(|(index, rule)| {
            json!({
                "match": format!("PathPrefix(`/{index}`)"),
                "kind": "Rule",
                "services": rule.list(|name| json!({ "name": name, "port": 80 }), "weight"),
            })
        })
        .collect();
    json!({
        "apiVersion": "traefik.io/v1alpha1",
        "kind": "IngressRoute",
        "metadata": { "name": "shop", "namespace": "default" },
        "spec": { "routes": routes },
    })
}

proptest! {
    #![proptest_config(trial::config())]
    #[test]
    fn the_laws_hold(rules in trial::rules(100), one in trial::splits(true, false), two in trial::splits(true, false)) {
        let router = Traefik { ingress_route: Some("shop".to_owned()), ..Traefik::default() };
        trial::laws(&router, &[object(&rules)], &[one, two], 50);
    }
}
