//! What `haldane generate manifests` writes, on a cluster: taken by the API server to the letter, run by it, and rolled out.

use std::{fs, path::Path};

use haldane_plane::{Addon, Scrape};
use http::Method;
use serde::Deserialize as _;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::rig::{Ended, Rig, eventually};

const SERVICE: &str = "auth-service";

/// The namespace in which a service is rolled out, and its host.
const NS: &str = "made-contour";
const HOST: &str = "contour.example";

/// Each mesh with the kinds that it needs; ingress-nginx and nobody at all need none.
const MESHES: [(&str, Option<Addon>); 7] = [
    ("istio", Some(Addon::Istio)),
    ("linkerd", Some(Addon::Linkerd)),
    ("nginx", None),
    ("gateway-api", None),
    ("contour", Some(Addon::Contour)),
    ("traefik", Some(Addon::TraefikApi)),
    ("none", None),
];

/// Every object of every mesh is taken with all its fields, and pods run where only restricted ones may. One of the services is then
/// rolled out from a terminal with no more rights than its manifests give to a pipeline: a good version, and a bad one.
pub(crate) async fn a_service_runs_and_is_rolled_out(rig: &Rig) {
    let scrape = Addon::Prometheus(Scrape::EachSecond);
    for addon in MESHES.iter().filter_map(|(_, addon)| *addon) {
        rig.install(addon).await;
    }
    rig.install(Addon::PrometheusOperator).await;
    rig.install(scrape).await;
    define(rig).await;
    a_chart_gives_the_same_objects(rig).await;
    for (mesh, _) in MESHES {
        let line = format!("{} -n made-{mesh} --create-namespace", line(mesh));
        for object in objects(rig, &line).await {
            apply(rig, &object).await;
        }
    }
    for (mesh, _) in MESHES {
        serves(rig, &format!("made-{mesh}"), "auth:v1").await;
    }
    rolled_out(rig, &rig.address(scrape).await).await;
}

/// Helm makes of the chart what is generated without it, whatever splits the traffic.
async fn a_chart_gives_the_same_objects(rig: &Rig) {
    let helm = haldane_plane::program("helm").unwrap();
    for (mesh, _) in MESHES {
        let directory = rig.path(&format!("chart-{mesh}")).display().to_string();
        let chart = format!("{} --format helm --output-dir {directory}", line(mesh));
        rig.haldane(&chart).await.has(0, "values.yaml");
        let mut command = Command::new(&helm);
        command.args(["template", "any", &directory]);
        let rendered = crate::rig::ended(command).await;
        rendered.has(0, "");
        let rendered = serde_norway::Deserializer::from_str(&rendered.out);
        let mut rendered: Vec<Value> = rendered
            .map(|one| Value::deserialize(one).unwrap())
            .collect();
        let mut expected = objects(rig, &line(mesh)).await;
        for all in [&mut rendered, &mut expected] {
            all.sort_by_key(|one| format!("{} {}", one["kind"], one["metadata"]["name"]));
        }
        assert_eq!(rendered, expected, "{mesh}");
    }
}

/// Puts the real definition where one stands that takes anything.
async fn define(rig: &Rig) {
    let definition = rig.haldane("generate crds release -o json").await.json();
    apply(rig, &definition).await;
    let path = "/apis/haldane.dev/v1alpha1/namespaces/default/releases?fieldValidation=Strict";
    let wrong = json!({
        "apiVersion": "haldane.dev/v1alpha1", "kind": "Release", "metadata": {"name": "wrong"},
        "spec": {"workload": {"deployment": {"name": "wrong"}}, "rollouts": {}},
    });
    eventually(
        "a definition that refuses what it does not know",
        async || {
            let refused = rig.call(Method::POST, path, &wrong).await.err();
            let is_refused = refused.is_some_and(|text| text.contains("rollouts"));
            if !is_refused {
                let path = "/apis/haldane.dev/v1alpha1/namespaces/default/releases/wrong";
                rig.call(Method::DELETE, path, &Value::Null).await.ok();
            }
            is_refused.then_some(())
        },
    )
    .await;
}

fn line(mesh: &str) -> String {
    let gateway = "--gateway projectcontour/contour --deployer pipeline";
    format!(
        "generate manifests {SERVICE} --image auth:v1 --mesh {mesh} --host {mesh}.example {gateway}"
    )
}

async fn objects(rig: &Rig, line: &str) -> Vec<Value> {
    let ended = rig.haldane(&format!("{line} -o json")).await;
    ended.json()["items"].as_array().unwrap().clone()
}

/// Applies an object on the server, which must know each of its fields.
async fn apply(rig: &Rig, object: &Value) {
    let text = |pointer: &str| object.pointer(pointer).unwrap().as_str().unwrap();
    let kind = text("/kind").to_lowercase();
    let plural = match (kind.strip_suffix('y'), kind.ends_with('s')) {
        (Some(stem), _) => format!("{stem}ies"),
        (None, true) => format!("{kind}es"),
        (None, false) => format!("{kind}s"),
    };
    let api = match text("/apiVersion") {
        "v1" => "api/v1".to_owned(),
        group => format!("apis/{group}"),
    };
    let namespace = object
        .pointer("/metadata/namespace")
        .and_then(Value::as_str);
    let namespace = namespace.map(|name| format!("namespaces/{name}/"));
    let path = format!(
        "/{api}/{}{plural}/{}?fieldManager=test&force=true&fieldValidation=Strict",
        namespace.unwrap_or_default(),
        text("/metadata/name"),
    );
    // A Release is taken as soon as its definition is served.
    eventually(&format!("{path} that is taken"), async || {
        let answer = rig.apply(&path, object).await;
        match answer {
            Ok(_) => Some(()),
            Err(error) if error.contains("NotFound") || error.contains("not find") => None,
            Err(error) => panic!("{path}: {error}"),
        }
    })
    .await;
}

/// Waits until stable has its pods, with this image, and the canary none.
async fn serves(rig: &Rig, namespace: &str, image: &str) {
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    eventually(&format!("{image} in {namespace}"), async || {
        let stable = rig.try_get(&format!("{path}/{SERVICE}-stable")).await?;
        let canary = rig.try_get(&format!("{path}/{SERVICE}-canary")).await?;
        let is_there = stable["spec"]["template"]["spec"]["containers"][0]["image"] == image
            && stable["status"]["availableReplicas"] == 3
            && stable["status"]["updatedReplicas"] == 3
            && canary["spec"]["replicas"] == 0;
        is_there.then_some(())
    })
    .await;
}

async fn rolled_out(rig: &Rig, prometheus: &str) {
    let account = json!({"metadata": {"name": "pipeline"}});
    let path = format!("/api/v1/namespaces/{NS}/serviceaccounts");
    rig.create(&path, &account).await;
    // A terminal leaves alone what a Release has; the file tells the same.
    let path = format!("/apis/haldane.dev/v1alpha1/namespaces/{NS}/releases/{SERVICE}");
    rig.call(Method::DELETE, &path, &Value::Null).await.unwrap();
    let line = format!(
        "{} -n {NS} --prometheus http://{prometheus} -o json",
        line("contour")
    );
    let mut all = rig.haldane(&line).await.json();
    let release = all["items"].as_array_mut().unwrap().last_mut().unwrap();
    assert_eq!(release["kind"], "Release");
    // As generated, but for the time that it takes.
    release["spec"]["rollout"]["steps"] = json!(["50%"]);
    release["spec"]["rollout"]["hold"] = json!("1s");
    let file = rig.path("release.yaml");
    fs::write(&file, release.to_string()).unwrap();
    let kubeconfig = rig.kubeconfig_with("pipeline.yaml", |text| {
        let mut config: Value = serde_json::from_str(&text).unwrap();
        let account = format!("system:serviceaccount:{NS}:pipeline");
        config["users"][0]["user"]["as"] = json!(account);
        config.to_string()
    });

    let deployed = deploy(rig, "auth:v2", &file, &kubeconfig).await;
    deployed.has(0, &format!("{SERVICE}-1: Completed: "));
    serves(rig, NS, "auth:v2").await;
    // By this a pipeline verifies that it is done.
    let line = format!(
        "status {SERVICE} -n {NS} -o json --kubeconfig {}",
        kubeconfig.display()
    );
    let status = crate::rig::ended(rig.program(&line)).await.json();
    assert_eq!(status["stable"]["version"], "v2");
    let deployed = deploy(rig, "auth:v3_errors-50", &file, &kubeconfig).await;
    deployed.has(3, &format!("{SERVICE}-2: RolledBack: "));
    serves(rig, NS, "auth:v2").await;
}

/// Rolls an image out while users send requests.
async fn deploy(rig: &Rig, image: &str, file: &Path, kubeconfig: &Path) -> Ended {
    let line = format!(
        "deploy {SERVICE} {image} -n {NS} -f {} --kubeconfig {}",
        file.display(),
        kubeconfig.display()
    );
    let users = async {
        loop {
            rig.visit(HOST).await;
        }
    };
    tokio::select! {
        ended = crate::rig::ended(rig.program(&line)) => ended,
        () = users => unreachable!(),
    }
}
