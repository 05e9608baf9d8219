//! APISIX by its table, and by the laws of all routers.

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
        .enumerate()
        .map(|(index, rule)| {
            let backends = rule.list(|name| json!({ "serviceName": name }), "weight");
            json!({ "name": format!("rule-{index}"), "backends": backends })
        })
        .collect();
    json!({
        "apiVersion": "apisix.apache.org/v2",
        "kind": "ApisixRoute",
        "metadata": { "name": "shop", "namespace": "default" },
        "spec": { "http": rules },
    })
}

proptest! {
    #![proptest_config(trial::config())]
    #[test]
    fn the_laws_hold(rules in trial::rules(100), one in trial::splits(true, false), two in trial::splits(true, false)) {
        let router = Apisix { route: "shop".to_owned(), rules: Vec::new() };
        trial::laws(&router, &[object(&rules)], &[one, two], 50);
    }
}
