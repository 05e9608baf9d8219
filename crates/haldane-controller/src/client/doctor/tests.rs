//! Looks at what a cluster may answer.

use serde_json::json;

use super::*;

const NOW: &str = "2026-11-21T12:00:00Z";

fn lease(holder: &str, renewed: &str) -> Lease {
    serde_json::from_value(json!({
        "metadata": {"name": "haldane-controller"},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed},
    }))
    .unwrap()
}

#[test]
fn a_controller_is_alive_while_its_lease_is_renewed() {
    let fresh = lease("pod-a", "2026-11-21T11:59:57.000000Z");
    let old = lease("pod-b", "2026-11-21T11:58:00.000000Z");
    let released = lease("", "2026-11-21T11:59:59.000000Z");
    for (leases, health, text) in [
        (
            Ok(vec![old.clone(), fresh]),
            Health::Good,
            "pod-a leads, heard of 3 s ago",
        ),
        (
            Ok(vec![old]),
            Health::Bad,
            "pod-b has not been heard of for 120 s",
        ),
        (Ok(vec![released]), Health::Bad, "none leads"),
        (Ok(Vec::new()), Health::Bad, "none leads"),
        (
            Err(ClusterError::Forbidden("ann may not".to_owned())),
            Health::Doubtful,
            "it can't be told whether one runs: ann may not",
        ),
    ] {
        let check = of_leases(&leases, NOW.parse().unwrap());
        assert_eq!(check.health, health, "{check:?}");
        assert!(check.text.starts_with(text), "{check:?}");
    }
}

#[test]
fn the_definitions_version_is_compared() {
    let served = |versions: &[&str]| Ok(versions.iter().map(ToString::to_string).collect());
    for (served, health, text) in [
        (
            served(&["v1alpha1", "v1"]),
            Health::Good,
            "haldane.dev/v1alpha1 is served",
        ),
        (
            served(&["v2"]),
            Health::Bad,
            "the cluster serves haldane.dev/v2, this command needs v1alpha1",
        ),
        (
            served(&[]),
            Health::Bad,
            "this cluster has no Releases; install",
        ),
    ] {
        let check = of_definition(served);
        assert_eq!(check.health, health, "{check:?}");
        assert!(check.text.starts_with(text), "{check:?}");
    }
}

#[test]
fn a_release_is_as_well_as_its_conditions() {
    let release = |status: Value| {
        let object = json!({
            "metadata": {"name": "shop", "namespace": "web"},
            "spec": {"workload": {"deployment": {"name": "shop"}}},
            "status": status,
        });
        Release::read(&object).unwrap()
    };
    let condition = |kind: &str, status: &str| {
        json!([{
            "type": kind, "status": status, "reason": "NotAccepted", "message": "the gateway refuses",
            "lastTransitionTime": NOW,
        }])
    };
    for (status, health, text) in [
        (
            json!({}),
            Health::Doubtful,
            "web/shop: no controller has looked at it",
        ),
        (
            json!({"observedGeneration": 1, "phase": "Idle"}),
            Health::Good,
            "web/shop: Idle",
        ),
        (
            json!({"observedGeneration": 1, "phase": "Idle", "conditions": condition("Ready", "False")}),
            Health::Good,
            "web/shop: Idle",
        ),
        (
            json!({"observedGeneration": 1, "conditions": condition("Applied", "False")}),
            Health::Bad,
            "web/shop: the gateway refuses (NotAccepted)",
        ),
    ] {
        let check = of_conditions("web/shop", &release(status));
        assert_eq!(check.health, health, "{check:?}");
        assert!(check.text.starts_with(text), "{check:?}");
    }
}

#[test]
fn a_route_that_is_none_is_told_with_its_place() {
    let mut release = Release::read(&json!({"metadata": {"name": "shop"}})).unwrap();
    release.spec.routers = vec![haldane_router::Route::default()];
    let mut bad = Vec::new();
    assert_eq!(routes_of(&release.spec, "web", &mut bad), []);
    assert_eq!(bad, ["routers[0]: expected exactly one router, found 0"]);
}

#[test]
fn what_the_controller_needs_depends_on_the_release() {
    let object = json!({
        "metadata": {"name": "shop", "namespace": "web"},
        "spec": {
            "workload": {"statefulSet": {"name": "db"}},
            "routers": [{"gateway": {"httpRoute": "shop"}}, {"gateway": {"httpRoute": "shop-beta"}}],
            "rollout": {"steps": [{"weight": "5%"}, {"gate": {"job": "smoke"}}]},
        },
    });
    let release = Release::read(&object).unwrap();
    let plan = release.spec.to_plan().unwrap();
    let objects = routes_of(&release.spec, "web", &mut Vec::new());
    let needs = needs_of(&release.spec, Some(&plan), &objects);
    let resources: Vec<&str> = needs.iter().map(|need| need.1).collect();
    let expected = [
        "httproutes",
        "statefulsets",
        "controllerrevisions",
        "pods",
        "cronjobs",
        "jobs",
    ];
    assert_eq!(resources, expected);
    let of_deployment = Release::read(&json!({"metadata": {"name": "shop"}})).unwrap();
    assert_eq!(needs_of(&of_deployment.spec, None, &[]), []);
}
