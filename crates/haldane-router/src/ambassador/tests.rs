//! Tests of Ambassador.

use haldane_core::{
    plan::{HeaderMatch, ValueMatch},
    rollout::Traffic,
};
use serde_json::json;

use super::*;
use crate::{Objects, tests::case};

#[test]
fn every_case_of_the_table_holds() {
    case::run(include_str!("cases.yaml"));
}

#[test]
fn a_mapping_of_somebody_else_is_not_taken() {
    let router = Ambassador {
        mapping: "shop".to_owned(),
        canary_mapping: None,
    };
    let mut traffic = Traffic::STABLE_ONLY;
    traffic.is_open_to_override = true;
    let ask = HeaderMatch {
        header: "x-canary".to_owned(),
        value: ValueMatch::Present,
    };
    let split = case::split(traffic, Some(ask));
    let object = |name: &str| {
        let spec = json!({ "prefix": "/", "service": "shop" });
        (
            MAPPING.named("demo", name),
            json!({ "metadata": { "name": name }, "spec": spec }),
        )
    };
    let objects: Objects = [object("shop"), object("shop-haldane-1")].into();
    assert_eq!(
        router.desired(&split, &objects).unwrap_err().to_string(),
        "Mapping demo/shop-haldane-1: metadata.labels[\"haldane.dev/release\"]: expected no object of this name, \
         or one that was made for the release shop"
    );
    assert_eq!(router.cleared(&split, &objects).unwrap(), Vec::new());
}
