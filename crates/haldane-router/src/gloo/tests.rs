//! Gloo by its table, and by the laws of all routers.

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
        .map(|rule| {
            let destination =
                |name: &str| json!({ "kube": { "ref": { "name": name }, "port": 80 } });
            let list = rule.list(|name| json!({ "destination": destination(name) }), "weight");
            match rule.backends.as_slice() {
                [(name, None)] => json!({ "routeAction": { "single": destination(name) } }),
                _ => json!({ "routeAction": { "multi": { "destinations": list } } }),
            }
        })
        .collect();
    json!({
        "apiVersion": "gateway.solo.io/v1",
        "kind": "RouteTable",
        "metadata": { "name": "shop", "namespace": "default" },
        "spec": { "routes": routes },
    })
}

proptest! {
    #![proptest_config(trial::config())]
    #[test]
    fn the_laws_hold(rules in trial::rules(100), one in trial::splits(true, false), two in trial::splits(true, false)) {
        let router = Gloo { route_table: Some("shop".to_owned()), ..Gloo::default() };
        prop_assume!(rules.iter().all(Rule::is_even));
        trial::laws(&router, &[object(&rules)], &[one, two], 50);
    }
}
