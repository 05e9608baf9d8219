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
            let services = rule.list(|name| json!({ "name": name, "port": 80 }), "weight");
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
    #![proptest_config(trial::config())]
    #[test]
    fn the_laws_hold(rules in trial::rules(100), one in trial::splits(true, true), two in trial::splits(true, true)) {
        let router = Contour { http_proxy: "shop".to_owned() };
        // A list in which only some tell a weight gives the others none: there is nothing of stable's to split.
        prop_assume!(rules.iter().all(Rule::is_even));
        trial::laws(&router, &[object(&rules)], &[one, two], 50);
    }
}
