//! Kinds that are not there, rights that are taken away, and both coming back.

use std::{fs, time::Duration};

use haldane_controller::turn::Seen;
use haldane_plane::{Fault, Matcher, Rule, Verb};
use k8s_openapi::{
    api::rbac::v1::{Role, RoleBinding},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, PostParams},
    discovery::ApiResource,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::kube::{
    copies::WIDGET,
    rig::{Rig, Running, eventually, object, start},
};

/// The group of roles.
const GROUP: &str = "rbac.authorization.k8s.io";

fn definition() -> CustomResourceDefinition {
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    object(json!({
        "metadata": {"name": "widgets.test.haldane.dev"},
        "spec": {
            "group": WIDGET.group,
            "scope": "Namespaced",
            "names": {"plural": WIDGET.plural, "kind": WIDGET.kind},
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": any},
            }],
        },
    }))
}

/// Waits until the host sees its widget like this.
async fn sees(running: &Running, what: &str, is_meant: impl Fn(&Seen) -> bool) {
    eventually(what, async || {
        let seen = running.host.widget.lock().unwrap().clone();
        seen.filter(&is_meant).map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_kind_that_is_missing_is_told_and_found_when_it_comes() {
    let rig = Rig::new("kinds").await;
    rig.source("map", "1", Some("w")).await;
    let running = rig.start();
    // The rest goes on without it.
    rig.copied("map", "1").await;
    sees(
        &running,
        "a reason",
        |seen| matches!(seen, Seen::NoKind(reason) if reason.contains("test.haldane.dev")),
    )
    .await;
    let lists = rig.count("list", "widgets");

    let definitions = Api::<CustomResourceDefinition>::all(rig.client.clone());
    let params = PostParams::default();
    definitions.create(&params, &definition()).await.unwrap();
    let installed = Instant::now();
    sees(&running, "an empty kind", |seen| *seen == Seen::Missing).await;
    assert!(installed.elapsed() < Duration::from_secs(20));
    // It was not looked for again and again: each look asks for both versions.
    assert!(rig.count("list", "widgets") <= lists + 12);

    // It is served under the second best version only, and status is written there.
    let resource = ApiResource {
        group: WIDGET.group.to_owned(),
        version: "v1".to_owned(),
        api_version: "test.haldane.dev/v1".to_owned(),
        kind: WIDGET.kind.to_owned(),
        plural: WIDGET.plural.to_owned(),
    };
    let widgets = Api::<DynamicObject>::namespaced_with(rig.client.clone(), &rig.ns, &resource);
    let widget = DynamicObject::new("w", &resource).data(json!({"spec": {}}));
    eventually("a widget", async || {
        widgets.create(&params, &widget).await.ok()
    })
    .await;
    eventually("the status", async || {
        let widget = widgets.get("w").await.unwrap();
        (widget.data.pointer("/status/told") == Some(&Value::from("1"))).then_some(())
    })
    .await;

    // Taken away, it is told as missing again.
    let name = "widgets.test.haldane.dev";
    definitions
        .delete(name, &DeleteParams::default())
        .await
        .unwrap();
    sees(&running, "a kind that went", |seen| {
        matches!(seen, Seen::NoKind(_))
    })
    .await;
    running.end();
}

#[tokio::test]
async fn rights_that_are_taken_away_are_told_and_used_when_they_come_back() {
    let rig = Rig::new("rights").await;
    let params = PostParams::default();
    let roles = Api::<Role>::namespaced(rig.client.clone(), &rig.ns);
    let all = json!([
        "get", "list", "watch", "create", "patch", "update", "delete"
    ]);
    let role: Role = object(json!({
        "metadata": {"name": "limited"},
        "rules": [
            {"apiGroups": [""], "resources": ["configmaps", "events"], "verbs": all},
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": all},
        ],
    }));
    roles.create(&params, &role).await.unwrap();
    let bindings = Api::<RoleBinding>::namespaced(rig.client.clone(), &rig.ns);
    let binding: RoleBinding = object(json!({
        "metadata": {"name": "limited"},
        "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": "limited"},
        "subjects": [{"apiGroup": GROUP, "kind": "User", "name": "limited"}],
    }));
    bindings.create(&params, &binding).await.unwrap();

    let mut config = rig.config();
    config.kubeconfig = Some(impersonated(&rig, "limited"));
    rig.source("map", "1", Some("w")).await;
    let running = start(config);
    rig.copied("map", "1").await;
    // What it may not see it tells, and goes on.
    sees(
        &running,
        "a reason",
        |seen| matches!(seen, Seen::Unavailable(reason) if reason.contains("forbidden")),
    )
    .await;

    // An open watch outlives its right; the next one does not get it.
    let deleted = DeleteParams::default();
    bindings.delete("limited", &deleted).await.unwrap();
    let on = Matcher {
        namespace: Some(rig.ns.clone()),
        ..Matcher::new(&[Verb::Watch], "configmaps")
    };
    let cut = rig
        .plane
        .add_rule(Rule::once(Fault::CutWatch, on))
        .await
        .unwrap();
    running.answers("/readyz", "503").await;
    running.answers("/readyz", "waiting for ConfigMap").await;
    rig.set("map", "2").await;

    bindings.create(&params, &binding).await.unwrap();
    rig.copied("map", "2").await;
    running.answers("/readyz", "ready: leading").await;
    rig.plane.remove_rule(cut).await.unwrap();
    running.end();
}

/// Returns a kubeconfig that acts as somebody else.
fn impersonated(rig: &Rig, user: &str) -> std::path::PathBuf {
    let text = fs::read_to_string(rig.plane.faults_kubeconfig()).unwrap();
    let mut config = kube::config::Kubeconfig::from_yaml(&text).unwrap();
    for user_info in &mut config.auth_infos {
        if let Some(info) = &mut user_info.auth_info {
            info.impersonate = Some(user.to_owned());
        }
    }
    let path = rig.file("kubeconfig");
    fs::write(&path, serde_json::to_string(&config).unwrap()).unwrap();
    path
}
