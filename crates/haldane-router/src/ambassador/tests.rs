//! Ambassador by its table, and by the laws of all routers.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::trial;

#[test]
fn every_case_of_the_table_holds() {
    trial::cases(include_str!("cases.yaml"));
}

#[test]
fn a_mapping_of_somebody_else_is_not_taken() {
    let router = Ambassador {
        mapping: "shop".to_owned(),
        canary_mapping: None,
    };
    let split = trial::split(500, 0, Vec::new(), Some("x-canary".to_owned()));
    let object = |name: &str| {
        let spec = json!({ "prefix": "/", "service": "shop" });
        (
            MAPPING.named("default", name),
            json!({ "metadata": { "name": name }, "spec": spec }),
        )
    };
    let objects: BTreeMap<_, _> = [object("shop"), object("shop-haldane-1")].into();
    assert_eq!(
        router.desired(&split, &objects).unwrap_err().to_string(),
        "Mapping default/shop-haldane-1: metadata.labels[haldane.dev/release]: expected no object of this name, \
         or one that was made for the release shop"
    );
    assert_eq!(router.cleared(&split, &objects).unwrap(), Vec::new());
}

proptest! {
    #![proptest_config(trial::config())]
    #[test]
    fn the_laws_hold(one in trial::splits(true, false), two in trial::splits(true, false)) {
        let router = Ambassador { mapping: "shop".to_owned(), canary_mapping: None };
        let object = json!({
            "apiVersion": "getambassador.io/v3alpha1",
            "kind": "Mapping",
            "metadata": { "name": "shop", "namespace": "default" },
            "spec": { "prefix": "/", "service": "shop:80" },
        });
        // Whole percents.
        trial::laws(&router, &[object], &[one, two], 100);
    }
}
