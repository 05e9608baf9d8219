//! Tests of Gateway API.

use std::collections::BTreeMap;

use haldane_core::{
    Weight,
    plan::{HeaderMatch, HeaderRoute, ValueMatch},
    rollout::Traffic,
};
use serde_json::json;

use super::Gateway;
use crate::{Backend, Router, Split, tests::case};

#[test]
fn every_case_of_the_table_holds() {
    case::run(include_str!("cases.yaml"));
}

#[test]
fn two_releases_share_a_route_in_peace() {
    let gateway = Gateway {
        http_route: Some("edge".to_owned()),
        ..Gateway::default()
    };
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "edge", "namespace": "demo"},
        "spec": {"rules": [
            {"matches": [{"path": {"type": "PathPrefix", "value": "/cart"}}], "backendRefs": [{"name": "cart"}]},
            {"backendRefs": [{"name": "shop", "weight": 2}, {"name": "old", "weight": 1}]},
        ]},
    });
    let first = case::named(&gateway, &[route]);
    let mut objects = first.clone();
    let splits = [split("shop", 10), split("cart", 50)];
    for split in &splits {
        let changes = gateway.desired(split, &objects).unwrap();
        case::apply(&mut objects, changes);
    }
    for split in &splits {
        assert_eq!(gateway.desired(split, &objects), Ok(Vec::new()));
        let seen = gateway.seen(split, &objects).unwrap();
        assert_eq!(seen.weight, split.traffic.weight);
    }
    for split in &splits {
        let changes = gateway.cleared(split, &objects).unwrap();
        case::apply(&mut objects, changes);
    }
    assert_eq!(objects, first);
}

fn split(release: &str, percent: u8) -> Split {
    let backend = |service: String| Backend {
        service,
        labels: BTreeMap::new(),
    };
    let condition = HeaderMatch {
        header: format!("x-{release}"),
        value: ValueMatch::Exact("new".to_owned()),
    };
    Split {
        release: release.to_owned(),
        namespace: "demo".to_owned(),
        stable: backend(release.to_owned()),
        canary: backend(format!("{release}-canary")),
        traffic: Traffic {
            weight: Weight::from_percent(percent),
            is_open_to_override: true,
            header_routes: vec![HeaderRoute {
                name: "new".to_owned(),
                matches: vec![condition],
            }],
            mirror: Weight::from_percent(5),
        },
        ask_by: None,
    }
}
