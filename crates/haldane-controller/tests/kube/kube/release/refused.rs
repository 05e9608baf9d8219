//! What the API server does not let through: rights, policies, quotas; and a gateway that never reports.

use std::{fs, path::Path};

use haldane_controller::kinds::RELEASE;
use haldane_router::kinds::HTTP_ROUTE;
use k8s_openapi::api::{
    admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    authentication::v1::TokenRequest,
    core::v1::{Namespace, ServiceAccount},
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time;

use crate::kube::{
    release::shop::{Plan, Shop, condition, host, release},
    rig::{QUIET, eventually, object, start_with},
};

/// Where the chart puts the controller.
const HOME: &str = "haldane";

/// Whom the chart makes it.
const ACCOUNT: &str = "haldane";

/// The plain manifests.
fn manifests() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/manifests/install.yaml");
    let text = fs::read_to_string(path).unwrap();
    let documents = serde_norway::Deserializer::from_str(&text);
    let documents = documents.map(|document| serde::Deserialize::deserialize(document).unwrap());
    documents.collect()
}

async fn apply<T>(api: Api<T>, manifest: &Value)
where
    T: Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let name = manifest["metadata"]["name"].as_str().unwrap();
    let params = PatchParams::apply("kubectl").force();
    let applied = api.patch(name, &params, &Patch::Apply(manifest)).await;
    applied.unwrap_or_else(|error| panic!("{name}: {error}"));
}

/// Makes the controller's account with the rights of the plain manifests, and returns a kubeconfig with its token.
async fn account(shop: &Shop) -> std::path::PathBuf {
    let client = || shop.rig.client.clone();
    let home = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}});
    apply(Api::<Namespace>::all(client()), &home).await;
    for manifest in manifests() {
        match manifest["kind"].as_str().unwrap() {
            "ServiceAccount" => {
                apply(Api::<ServiceAccount>::namespaced(client(), HOME), &manifest).await;
            }
            "Role" => apply(Api::<Role>::namespaced(client(), HOME), &manifest).await,
            "RoleBinding" => {
                apply(Api::<RoleBinding>::namespaced(client(), HOME), &manifest).await;
            }
            "ClusterRole" => apply(Api::<ClusterRole>::all(client()), &manifest).await,
            "ClusterRoleBinding" => {
                apply(Api::<ClusterRoleBinding>::all(client()), &manifest).await;
            }
            _ => {}
        }
    }
    let accounts = Api::<ServiceAccount>::namespaced(client(), HOME);
    let request: TokenRequest =
        object(json!({"spec": {"audiences": [], "expirationSeconds": 600}}));
    let answer = accounts
        .create_token_request(ACCOUNT, &PostParams::default(), &request)
        .await
        .unwrap();
    let text = fs::read_to_string(shop.rig.plane.faults_kubeconfig()).unwrap();
    let mut kubeconfig: Value = serde_json::from_str(&text).unwrap();
    kubeconfig["users"][0]["user"]["token"] = json!(answer.status.unwrap().token);
    let path = shop.rig.file("kubeconfig");
    fs::write(&path, kubeconfig.to_string()).unwrap();
    path
}

#[tokio::test]
async fn the_rights_of_the_chart_are_enough_and_an_abort_waits_for_those_that_are_taken_away() {
    let shop = Shop::new("rightful", &Plan::held()).await;
    let mut config = shop.config();
    config.kubeconfig = Some(account(&shop).await);
    config.lease_namespace = Some(HOME.to_owned());
    let running = start_with(config, std::sync::Arc::new(host()));
    shop.rests("Idle", "v1").await;
    let load = shop.load(50);
    shop.deploy("shop:v2").await;
    shop.weighs("20%").await;
    shop.command("1", "promote").await;
    shop.weighs("50%").await;
    shop.command("2", "promote").await;
    shop.ends("Completed", "v2").await;

    shop.deploy("shop:v3").await;
    shop.weighs("20%").await;
    let bindings = Api::<ClusterRoleBinding>::all(shop.rig.client.clone());
    let binding = bindings.get("haldane").await.unwrap();
    let params = DeleteParams::default();
    bindings.delete("haldane", &params).await.unwrap();
    shop.command("3", "abort").await;
    time::sleep(QUIET).await;
    // What it sees it may still see; it may write nothing, and so nothing is half done.
    assert_eq!(shop.share().await, 2_000);
    assert_eq!(shop.status().await["phase"], "Progressing");
    let refused = "verb=\"patch\",result=\"forbidden\"";
    let metrics = running.get("/metrics").await;
    assert!(metrics.contains(refused), "{metrics}");
    let again: ClusterRoleBinding = object(json!({
        "metadata": {"name": "haldane"},
        "roleRef": binding.role_ref,
        "subjects": binding.subjects,
    }));
    bindings
        .create(&PostParams::default(), &again)
        .await
        .unwrap();
    shop.ends("RolledBack", "v2").await;
    load.end().none_dropped();
    running.end();
}

/// A plan whose weights must be in force soon.
fn hurried() -> Value {
    let mut release = release(&Plan::held());
    release["spec"]["rollout"]["deadlines"]["traffic"] = json!("4s");
    release
}

/// Lets the server refuse a route that gives the canary anything.
async fn refuse_canaries(shop: &Shop) {
    let policy = |kind: &str, spec: Value| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": "no-canaries.test.haldane.dev"},
            "spec": spec,
        })
    };
    let rules = json!([{
        "apiGroups": [HTTP_ROUTE.group], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": [HTTP_ROUTE.plural],
    }]);
    let canary = "object.spec.rules.exists(rule, rule.backendRefs.exists(it, it.name == 'shop-canary' && it.weight > 0))";
    let refuses = policy(
        "ValidatingAdmissionPolicy",
        json!({
            "matchConstraints": {"resourceRules": rules},
            "validations": [{"expression": format!("!{canary}"), "message": "no canaries here"}],
        }),
    );
    let namespace = json!({"matchLabels": {"kubernetes.io/metadata.name": shop.rig.ns}});
    let binds = policy(
        "ValidatingAdmissionPolicyBinding",
        json!({
            "policyName": "no-canaries.test.haldane.dev",
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": namespace},
        }),
    );
    let client = || shop.rig.client.clone();
    apply(Api::<ValidatingAdmissionPolicy>::all(client()), &refuses).await;
    apply(
        Api::<ValidatingAdmissionPolicyBinding>::all(client()),
        &binds,
    )
    .await;
    // The server needs a moment until it follows a policy.
    eventually("the policy in force", async || {
        let mut tried = shop.get(&HTTP_ROUTE, "shop").await?;
        tried["spec"]["rules"][0]["backendRefs"] =
            json!([{"name": "shop-canary", "port": 80, "weight": 1}]);
        let params = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        let spec = Patch::Merge(json!({"spec": tried["spec"]}));
        let answer = shop.api(&HTTP_ROUTE).patch("shop", &params, &spec).await;
        answer.is_err().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_weight_that_a_policy_refuses_ends_the_rollout_by_its_deadline() {
    let shop = Shop::bare("policed").await;
    shop.put("kubectl", &RELEASE, "shop", hurried()).await;
    let running = shop.taken_over().await;
    refuse_canaries(&shop).await;
    let load = shop.load(50);
    shop.deploy("shop:v2").await;
    let status = shop.ends("RolledBack", "v1").await;
    let said = status["history"][0]["message"].as_str().unwrap();
    assert!(said.contains("traffic"), "{said}");
    let events = shop.rig.events();
    eventually("why it was refused", async || {
        let events = events.list(&ListParams::default()).await.unwrap();
        let mut said = events
            .items
            .iter()
            .filter_map(|event| event.message.as_ref());
        said.any(|said| said.contains("no canaries here"))
            .then_some(())
    })
    .await;
    load.end().none_dropped();
    running.end();
}

#[tokio::test]
async fn a_gateway_that_never_reports_is_told_and_the_canary_stays_as_long_as_requests_may_come() {
    let shop = Shop::bare("unreported").await;
    shop.put("kubectl", &RELEASE, "shop", hurried()).await;
    let running = shop.taken_over().await;
    shop.deploy("shop:v2").await;
    shop.weighs("20%").await;
    let parents = |names: &[&str]| {
        let parents: Vec<Value> = names
            .iter()
            .map(|name| json!({"name": name, "namespace": "projectcontour"}))
            .collect();
        json!({"spec": {"parentRefs": parents}})
    };
    // Who writes what a repository says means no weight by it.
    shop.patch(
        "argocd-controller",
        &HTTP_ROUTE,
        "shop",
        &parents(&["contour", "nobody"]),
    )
    .await;
    shop.command("1", "promote").await;
    // Neither the step nor the way back is ever reported.
    let status = shop
        .shows("that it failed", |status| status["phase"] == "Failed")
        .await;
    let applied = condition(&status, "Applied");
    assert_eq!(applied["status"], "False");
    let said = applied["message"].as_str().unwrap();
    assert!(said.contains("nobody has not reported"), "{said}");
    assert_eq!(shop.share().await, 0);
    let running_pods = shop.running().await;
    assert!(running_pods.contains(&"shop:v2".to_owned()));
    shop.patch(
        "argocd-controller",
        &HTTP_ROUTE,
        "shop",
        &parents(&["contour"]),
    )
    .await;
    shop.ends("Failed", "v1").await;
    running.end();
}

#[tokio::test]
async fn a_canary_for_which_there_is_no_room_is_rolled_back_with_the_reason() {
    let plan = Plan {
        ready: "8s",
        ..Plan::held()
    };
    let shop = Shop::new("crowded", &plan).await;
    let running = shop.taken_over().await;
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "3"}},
    });
    let quotas = Api::<k8s_openapi::api::core::v1::ResourceQuota>::namespaced(
        shop.rig.client.clone(),
        &shop.rig.ns,
    );
    apply(quotas.clone(), &quota).await;
    eventually("the quota counted", async || {
        quotas.get("few").await.unwrap().status?.used
    })
    .await;
    shop.deploy("shop:v2").await;
    let status = shop.ends("RolledBack", "v1").await;
    let said = status["history"][0]["message"].as_str().unwrap();
    assert!(said.contains("exceeded quota"), "{said}");
    running.end();
}
