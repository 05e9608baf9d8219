//! Contour by its table, and by the laws of all routers.

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

#[test]
fn two_releases_share_an_object_without_touching_each_other() {
    let router = Contour {
        http_proxy: "shop".to_owned(),
    };
    let rules = ["shop", "cart"].map(|name| Rule {
        backends: vec![(name.to_owned(), None)],
    });
    let plain = trial::named(&router, &[object(&rules)]);
    let shop = trial::split(500, 0, Vec::new(), Some("x-canary".to_owned()));
    let mut cart = trial::split(2_000, 1_000, Vec::new(), Some("x-canary".to_owned()));
    cart.release = "cart".to_owned();
    cart.stable.service = "cart".to_owned();
    cart.canary.service = "cart-canary".to_owned();
    let mut now = plain.clone();
    for split in [&shop, &cart] {
        let changes = router.desired(split, &now).unwrap();
        trial::make(&mut now, changes);
    }
    for split in [&shop, &cart] {
        assert_eq!(router.desired(split, &now).unwrap(), Vec::new());
        let seen = router.seen(split, &now).unwrap().weight;
        assert_eq!(seen, split.traffic.weight);
    }
    let changes = router.cleared(&shop, &now).unwrap();
    trial::make(&mut now, changes);
    assert_eq!(router.desired(&cart, &now).unwrap(), Vec::new());
    let changes = router.cleared(&cart, &now).unwrap();
    trial::make(&mut now, changes);
    assert_eq!(now, plain);
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
