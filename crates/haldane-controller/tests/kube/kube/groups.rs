//! Three Releases that go together: in their order, and back when one of them fails.

use std::{fs, path::Path, sync::Arc};

use haldane_controller::{
    host::GroupHost,
    kinds::{DEPLOYMENT, RELEASE, RELEASE_GROUP, SERVICE},
};
use haldane_router::Kind;
use kube::{
    Api,
    api::{DynamicObject, ListParams, Patch, PatchParams},
    discovery::ApiResource,
};
use serde_json::{Value, json};

use crate::kube::{
    release::shop::host,
    rig::{Rig, eventually, start_all},
};

static DEFINITION: Kind = Kind {
    group: "apiextensions.k8s.io",
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
    versions: &["v1"],
};

const MEMBERS: [&str; 3] = ["api", "worker", "web"];

/// Three Deployments with their Releases and the group, in a namespace of their own.
struct Store(Rig);

impl Store {
    async fn new(ns: &str) -> Self {
        let store = Self(Rig::new(ns).await);
        for kind in [&RELEASE, &RELEASE_GROUP] {
            store.define(kind).await;
        }
        let group = json!({"spec": {
            "members": [
                {"release": "api"},
                {"release": "worker", "after": ["api"]},
                {"release": "web", "after": ["api"]},
            ],
            "barriers": [{"at": "25%"}, {"at": "promotion"}],
        }});
        store.put(&RELEASE_GROUP, "store", group).await;
        store.deploy(["v1", "v1", "v1"]).await;
        for name in MEMBERS {
            let service = json!({"spec": {"selector": {"app": name}, "ports": [{"port": 80}]}});
            store.put(&SERVICE, name, service).await;
            store.put(&RELEASE, name, release(name)).await;
        }
        store
    }

    async fn define(&self, kind: &Kind) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!(
            "../../deploy/crds/haldane.dev_{}.yaml",
            kind.plural
        ));
        let text = fs::read_to_string(path).unwrap();
        let definition: Value = serde_norway::from_str(&text).unwrap();
        let name = definition["metadata"]["name"].as_str().unwrap().to_owned();
        let api: Api<DynamicObject> = Api::all_with(self.0.client.clone(), &resource(&DEFINITION));
        let params = PatchParams::apply("setup").force();
        api.patch(&name, &params, &Patch::Apply(definition))
            .await
            .unwrap();
        eventually("a kind that is served", async || {
            let found = self.api(kind).list(&ListParams::default()).await;
            found.ok().map(drop)
        })
        .await;
    }

    fn api(&self, kind: &Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.0.client.clone(), &self.0.ns, &resource(kind))
    }

    async fn status(&self, kind: &Kind, name: &str) -> Value {
        let object = self.api(kind).get(name).await.unwrap();
        object.data["status"].clone()
    }

    async fn put(&self, kind: &Kind, name: &str, mut object: Value) {
        object["apiVersion"] = json!(kind.api_version());
        object["kind"] = json!(kind.kind);
        object["metadata"]["name"] = json!(name);
        let params = PatchParams::apply("git").force();
        let applied = self
            .api(kind)
            .patch(name, &params, &Patch::Apply(object))
            .await;
        applied.unwrap();
    }

    async fn deploy(&self, tags: [&str; 3]) {
        for (name, tag) in MEMBERS.into_iter().zip(tags) {
            let deployment = json!({"spec": {
                "replicas": 4,
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {"containers": [{"name": name, "image": format!("{name}:{tag}")}]},
                },
            }});
            self.put(&DEPLOYMENT, name, deployment).await;
        }
    }

    /// Waits until a round is over and all members are at rest; checks meanwhile that nobody begins before the API is promoted.
    async fn ends(&self, round: u64, phase: &str, (before, after): (&str, &str)) -> Value {
        eventually(&format!("round {round} {phase}"), async || {
            // The others are looked at first, so that the API can only be further than it was then.
            let mut has_begun = false;
            let mut is_at_rest = true;
            for name in ["worker", "web", "api"] {
                let status = self.status(&RELEASE, name).await;
                let is_canary_up = ["Preparing", "Progressing", "Promoting"]
                    .iter()
                    .any(|phase| status["phase"] == **phase);
                if name == "api" {
                    assert!(!has_begun || status["stable"] != before, "{status:#}");
                } else {
                    has_begun |= is_canary_up && status["stable"] == before;
                }
                let conditions = status["conditions"].as_array().cloned();
                let is_still = conditions.into_iter().flatten().any(|condition| {
                    condition["type"] == "Reconciling" && condition["status"] == "False"
                });
                is_at_rest &= is_still && status["stable"] == after;
            }
            let status = self.status(&RELEASE_GROUP, "store").await;
            let last = &status["history"][0];
            let is_over = last["number"] == round && last["phase"] == phase;
            (is_over && is_at_rest).then_some(status)
        })
        .await
    }
}

fn release(name: &str) -> Value {
    json!({"spec": {
        "workload": {"deployment": {"name": name}},
        "group": "store",
        "rollout": {
            "steps": ["25%", "50%"], "hold": "1s", "guards": "none", "bake": "0s",
            "deadlines": {"ready": "5s", "drain": "1s"},
        },
    }})
}

fn resource(kind: &Kind) -> ApiResource {
    ApiResource {
        group: kind.group.to_owned(),
        version: kind.versions[0].to_owned(),
        api_version: kind.api_version(),
        kind: kind.kind.to_owned(),
        plural: kind.plural.to_owned(),
    }
}

#[tokio::test]
async fn three_releases_go_in_their_order_and_back_together() {
    let store = Store::new("groups").await;
    let running = start_all(
        store.0.config(),
        Arc::new(host()),
        vec![Arc::new(GroupHost)],
    );
    for name in MEMBERS {
        eventually("a release that is taken over", async || {
            let status = store.status(&RELEASE, name).await;
            (status["stable"] == "v1").then_some(())
        })
        .await;
    }
    store.deploy(["v2", "v2", "v2"]).await;
    let status = store.ends(1, "Completed", ("v1", "v2")).await;
    assert_eq!(status["message"], "round 1: promoted: api, web, worker");
    // The API is promoted, and goes back when the worker never gets ready.
    store.deploy(["v3", "does-not-exist", "v3"]).await;
    eventually("an API in version v3", async || {
        let status = store.status(&RELEASE, "api").await;
        (status["stable"] == "v3").then_some(())
    })
    .await;
    let status = store.ends(2, "RolledBack", ("v2", "v2")).await;
    let message = status["message"].as_str().unwrap();
    assert!(message.contains("worker was rolled back"), "{message}");
    running.end();
}
