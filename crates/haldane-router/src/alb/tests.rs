//! AWS ALB by its table, and by the laws of all routers.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::trial;

#[test]
fn every_case_of_the_table_holds() {
    trial::cases(include_str!("cases.yaml"));
}

/// Returns an Ingress: with an action in which stable has a share, or without one.
fn object(share: Option<(u16, u16)>) -> Value {
    let port = if share.is_some() {
        json!({ "name": "use-annotation" })
    } else {
        json!({ "number": 80 })
    };
    let backend = json!({ "service": { "name": "shop", "port": port } });
    let mut object = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "name": "web", "namespace": "default" },
        "spec": { "rules": [{ "http": { "paths": [{ "path": "/", "backend": backend }] } }] },
    });
    if let Some((stable, other)) = share {
        let groups = json!([
            { "serviceName": "other", "servicePort": "80", "weight": other },
            { "serviceName": "shop", "servicePort": "80", "weight": stable },
        ]);
        let action = json!({ "type": "forward", "forwardConfig": { "targetGroups": groups } });
        object["metadata"]["annotations"] =
            json!({ "alb.ingress.kubernetes.io/actions.shop": format!("{action:#}") });
    }
    object
}

proptest! {
    #![proptest_config(trial::config())]
    #[test]
    fn the_laws_hold(
        share in prop::option::of((4..10_u16, 0..10_u16)),
        sticky_seconds in prop::option::of(1..100_u32),
        one in trial::splits(false, false),
        two in trial::splits(false, false),
        asks in any::<bool>(),
    ) {
        let router = Alb {
            ingress: "web".to_owned(),
            action: None,
            sticky_seconds,
            annotation_prefix: prefix_default(),
        };
        let mut two = two;
        if asks {
            two = trial::split(two.traffic.weight.as_bps(), 0, Vec::new(), Some("x-canary".to_owned()));
        }
        // A group has at most 999 parts, of which stable has four tenths at least.
        trial::laws(&router, &[object(share)], &[one, two], 30);
    }
}
