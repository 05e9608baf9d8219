//! Consul by its table, and by the laws of all routers.

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
        "apiVersion": "consul.hashicorp.com/v1alpha1",
        "kind": "ServiceSplitter",
        "metadata": { "name": "shop", "namespace": "default" },
        "spec": { "splits": [
            { "service": "old", "weight": 100 - stable },
            { "service": "shop", "weight": stable },
        ] },
    })
}

proptest! {
    #![proptest_config(trial::config())]
    #[test]
    fn the_laws_hold(
        stable in 50..=100_u8,
        one in trial::splits(true, false),
        two in trial::splits(true, false),
    ) {
        let router = Consul { splitter: "shop".to_owned(), subsets: None, router: true };
        trial::laws(&router, &[object(stable)], &[one, two], 1);
    }
}
