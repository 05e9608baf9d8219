//! Knative by its table, and by the laws of all routers.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::trial;

#[test]
fn every_case_of_the_table_holds() {
    trial::cases(include_str!("cases.yaml"));
}

fn object(stable: u8) -> Value {
    json!({
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": { "name": "web", "namespace": "default" },
        "spec": { "traffic": [
            { "revisionName": "other", "percent": 100 - stable },
            { "revisionName": "shop", "percent": stable },
        ] },
    })
}

proptest! {
    #![proptest_config(trial::config())]
    #[test]
    fn the_laws_hold(
        stable in 50..=100_u8,
        one in trial::splits(false, false),
        two in trial::splits(false, false),
    ) {
        let router = Knative { service: Some("web".to_owned()), route: None };
        // Half of the traffic in whole percents: two of its hundred parts are one.
        trial::laws(&router, &[object(stable)], &[one, two], 200);
    }
}
