//! The chart and the plain manifests: applied to a real API server, with no more rights than are needed.

use std::{
    fs,
    process::{Command, Output},
};

use haldane_plane::{Plane, program};
use http::Request;
use k8s_openapi::api::{apps::v1::Deployment, authorization::v1::SelfSubjectAccessReview};
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use crate::smoke::rig::{apply, define_releases, eventually, file, object, objects, root};

/// How the plain manifests are made.
const PLAIN: &str = "namespace.create=true,crds.install=false";

fn helm(args: &[&str]) -> Output {
    let mut command = Command::new(program("helm").unwrap());
    command.args(args).current_dir(root());
    command.output().unwrap()
}

/// Renders the chart as the installation `name` in the namespace `haldane`.
fn render(name: &str, values: &str) -> String {
    let chart = "deploy/helm/haldane";
    let output = helm(&[
        "template",
        name,
        chart,
        "--namespace",
        "haldane",
        "--set",
        values,
    ]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn kinds(manifest: &str) -> Vec<String> {
    let kinds = objects(manifest)
        .into_iter()
        .map(|object| object["kind"].as_str().unwrap().to_owned());
    kinds.collect()
}

fn find(manifest: &str, kind: &str) -> Value {
    let mut objects = objects(manifest).into_iter();
    objects.find(|object| object["kind"] == kind).unwrap()
}

fn args(manifest: &str) -> Value {
    find(manifest, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"].clone()
}

#[test]
fn the_plain_manifests_are_what_the_chart_gives() {
    assert_eq!(
        render("haldane", PLAIN),
        file("deploy/manifests/install.yaml"),
        "stale; run `cargo xtask plane helm -- template haldane deploy/helm/haldane --namespace haldane \
         --set {PLAIN} > deploy/manifests/install.yaml`"
    );
    let output = helm(&["lint", "--strict", "deploy/helm/haldane"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let chart: Value = serde_norway::from_str(&file("deploy/helm/haldane/Chart.yaml")).unwrap();
    for key in ["version", "appVersion"] {
        assert_eq!(chart[key], env!("CARGO_PKG_VERSION"), "{key}");
    }
}

#[test]
fn the_image_is_what_the_chart_expects() {
    let image = file("deploy/Containerfile");
    let pod = &find(&render("haldane", PLAIN), "Deployment")["spec"]["template"]["spec"];
    let security = &pod["securityContext"];
    let user = format!(
        "USER {}:{}\n",
        security["runAsUser"], security["runAsGroup"]
    );
    assert!(image.contains(&user), "{user}");
    let port = &pod["containers"][0]["ports"][0]["containerPort"];
    assert!(image.contains(&format!("EXPOSE {port}\n")), "{port}");
    let args = &pod["containers"][0]["args"];
    assert_eq!(args[1], format!("--listen=0.0.0.0:{port}"));
}

#[test]
fn the_definition_stays_when_the_chart_goes() {
    let manifest = render("haldane", "shadow=false");
    let all = objects(&manifest).into_iter();
    let mut definitions: Vec<Value> = all
        .filter(|object| object["kind"] == "CustomResourceDefinition")
        .collect();
    for definition in &mut definitions {
        let annotations = definition["metadata"].as_object_mut().unwrap();
        let annotations = annotations.remove("annotations").unwrap();
        assert_eq!(annotations, json!({"helm.sh/resource-policy": "keep"}));
    }
    let committed = ["releases", "releasegroups"]
        .map(|name| objects(&file(&format!("deploy/crds/haldane.dev_{name}.yaml"))));
    assert_eq!(definitions, committed.concat());
}

#[test]
fn values_change_what_they_say() {
    let manifest = render("haldane", "qps=20");
    let usual = json!([
        "controller",
        "--listen=0.0.0.0:8081",
        "--lease-namespace=haldane",
        "--qps=20",
    ]);
    assert_eq!(args(&manifest), usual);
    assert!(!kinds(&manifest).contains(&"PodMonitor".to_owned()));
    let values = "namespaces={a,b},shadow=true,podMonitor.enabled=true,podDisruptionBudget.enabled=false,\
                  networkPolicy.enabled=false,crds.install=false,rbac.aggregate=false,serviceAccount.create=false,\
                  serviceAccount.name=mine";
    let manifest = render("a", values);
    let kinds = kinds(&manifest);
    let expected = [
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "Role",
        "Role",
        "RoleBinding",
        "RoleBinding",
        "RoleBinding",
        "Service",
        "Deployment",
        "PodMonitor",
    ];
    assert_eq!(kinds, expected);
    let mut wanted = usual;
    wanted[3] = json!("--qps=100");
    let more = [json!("--namespaces=a,b"), json!("--shadow")];
    wanted.as_array_mut().unwrap().extend(more);
    assert_eq!(args(&manifest), wanted);
    let pod = &find(&manifest, "Deployment")["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "mine");
}

#[test]
fn every_router_of_a_release_can_be_switched_on() {
    let definition = &objects(&file("deploy/crds/haldane.dev_releases.yaml"))[0];
    let spec =
        &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let routers = spec["properties"]["routers"]["items"]["properties"].as_object();
    let values: Value = serde_norway::from_str(&file("deploy/helm/haldane/values.yaml")).unwrap();
    let known = values["routers"].as_object().unwrap();
    let rules = |values: &str| {
        let manifest = render("haldane", values);
        let mut objects = objects(&manifest).into_iter();
        let role =
            objects.find(|it| it["kind"] == "ClusterRole" && it["metadata"]["name"] == "haldane");
        role.unwrap()["rules"].as_array().unwrap().len()
    };
    let off: Vec<String> = known
        .keys()
        .map(|name| format!("routers.{name}=false"))
        .collect();
    let off = off.join(",");
    let none = rules(&off);
    for name in routers.unwrap().keys() {
        assert!(known.contains_key(name), "{name}");
        assert!(
            rules(&format!("{off},routers.{name}=true")) > none,
            "{name}"
        );
    }
}

#[test]
fn secrets_are_where_releases_of_their_namespace_may_name_them() {
    let values = "secrets[0].namespace=shop,secrets[0].secret=shop-metrics";
    let manifest = render("haldane", values);
    let pod = &find(&manifest, "Deployment")["spec"]["template"]["spec"];
    let mount = &pod["containers"][0]["volumeMounts"][0];
    assert_eq!(mount["mountPath"], "/etc/haldane/secrets/shop");
    assert_eq!(mount["name"], pod["volumes"][0]["name"]);
    let secret = json!({"secretName": "shop-metrics", "optional": true});
    assert_eq!(pod["volumes"][0]["secret"], secret);
}

#[test]
fn mistakes_in_values_are_refused() {
    for (values, expected) in [
        ("replicas=many", "at '/replicas': got string, want integer"),
        (
            "namspaces=a",
            "additional properties 'namspaces' not allowed",
        ),
        (
            "routers.ngnix=true",
            "additional properties 'ngnix' not allowed",
        ),
        ("namespaces={A}", "at '/namespaces/0'"),
        ("qps=0", "at '/qps'"),
    ] {
        let output = helm(&["template", "a", "deploy/helm/haldane", "--set", values]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{values}");
        assert!(told.contains(expected), "{values}: {told}");
    }
}

/// Returns a client with the rights of a service account.
async fn client_as(plane: &Plane, admin: &Client, account: &str) -> Client {
    let path = format!("/api/v1/namespaces/haldane/serviceaccounts/{account}/token");
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600},
    });
    let request = Request::post(path)
        .header("content-type", "application/json")
        .body(body.to_string().into_bytes());
    let answer: Value = admin.request(request.unwrap()).await.unwrap();
    let text = fs::read_to_string(plane.kubeconfig()).unwrap();
    let mut kubeconfig: Value = serde_json::from_str(&text).unwrap();
    kubeconfig["users"][0]["user"]["token"] = answer["status"]["token"].clone();
    let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    Client::try_from(config.unwrap()).unwrap()
}

/// Asks whether the client may do this: `VERB GROUP/RESOURCE[/SUBRESOURCE] NAMESPACE`.
async fn may(client: &Client, question: &str) -> bool {
    let mut words = question.split(' ');
    let (verb, what, namespace) = (words.next(), words.next(), words.next());
    let mut what = what.unwrap().split('/');
    let (group, resource, subresource) = (what.next(), what.next(), what.next());
    let attributes = json!({
        "verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": namespace,
    });
    let review = object(json!({"metadata": {}, "spec": {"resourceAttributes": attributes}}));
    let api = Api::<SelfSubjectAccessReview>::all(client.clone());
    let answer = api.create(&PostParams::default(), &review).await.unwrap();
    answer.status.unwrap().allowed
}

async fn check(client: &Client, expected: bool, questions: &[&str]) {
    for question in questions {
        assert_eq!(may(client, question).await, expected, "{question}");
    }
}

/// What the controller needs in each namespace that it looks after.
const NEEDED: [&str; 27] = [
    "watch apiextensions.k8s.io/customresourcedefinitions",
    "watch haldane.dev/releases shop",
    "patch haldane.dev/releases shop",
    "patch haldane.dev/releases/status shop",
    "watch haldane.dev/releasegroups shop",
    "patch haldane.dev/releasegroups/status shop",
    "watch apps/deployments shop",
    "create apps/deployments shop",
    "patch apps/deployments shop",
    "delete apps/deployments shop",
    "watch apps/replicasets shop",
    "watch /pods shop",
    "watch /services shop",
    "create /services shop",
    "delete /services shop",
    "watch discovery.k8s.io/endpointslices shop",
    "update haldane.dev/releases/finalizers shop",
    "create /events shop",
    "patch events.k8s.io/events shop",
    "patch gateway.networking.k8s.io/httproutes shop",
    "patch gateway.networking.k8s.io/grpcroutes shop",
    "patch networking.istio.io/virtualservices shop",
    "patch networking.istio.io/destinationrules shop",
    "create networking.k8s.io/ingresses shop",
    "delete networking.k8s.io/ingresses shop",
    "patch policy.linkerd.io/httproutes shop",
    "patch split.smi-spec.io/trafficsplits shop",
];

/// What it must not be able to do anywhere.
const DENIED: [&str; 21] = [
    "get /secrets shop",
    "list /secrets haldane",
    "get /configmaps shop",
    "create /pods shop",
    "delete /pods shop",
    "create /pods/exec shop",
    "create haldane.dev/releases shop",
    "delete haldane.dev/releases shop",
    "patch haldane.dev/releasegroups shop",
    "patch apps/replicasets shop",
    "patch apps/statefulsets shop",
    "list batch/cronjobs shop",
    "create batch/jobs shop",
    "get coordination.k8s.io/leases shop",
    "delete coordination.k8s.io/leases haldane",
    "patch projectcontour.io/httpproxies shop",
    "delete gateway.networking.k8s.io/httproutes shop",
    "create rbac.authorization.k8s.io/roles shop",
    "create /serviceaccounts/token haldane",
    "patch /namespaces shop",
    "patch apiextensions.k8s.io/customresourcedefinitions",
];

#[tokio::test]
async fn an_installation_runs_with_the_rights_that_it_needs_and_no_others() {
    let plane = Plane::start().await.unwrap();
    let admin = plane.client().await.unwrap();
    define_releases(&admin).await;
    for namespace in ["shop", "other"] {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        apply(&admin, &namespace).await;
    }
    for object in objects(&file("deploy/manifests/install.yaml")) {
        apply(&admin, &object).await;
    }
    // The namespace takes restricted pods alone, and so these are.
    let deployments = Api::<Deployment>::namespaced(admin.clone(), "haldane");
    eventually("two controllers", async || {
        let status = deployments.get("haldane").await.unwrap().status?;
        (status.available_replicas == Some(2)).then_some(())
    })
    .await;
    let client = client_as(&plane, &admin, "haldane").await;
    check(&client, true, &NEEDED).await;
    check(
        &client,
        true,
        &["list haldane.dev/releases", "patch apps/deployments other"],
    )
    .await;
    check(
        &client,
        true,
        &["create coordination.k8s.io/leases haldane"],
    )
    .await;
    check(&client, true, &["patch coordination.k8s.io/leases haldane"]).await;
    check(&client, false, &DENIED).await;

    let values = "namespaces={shop},crds.install=false,rbac.aggregate=false,routers.contour=true,workloads.statefulSets=true,gates.jobs=true,\
                  rbac.extraRules[0].apiGroups={example.com},rbac.extraRules[0].resources={routes},\
                  rbac.extraRules[0].verbs={patch}";
    for object in objects(&render("limited", values)) {
        apply(&admin, &object).await;
    }
    let client = client_as(&plane, &admin, "limited-haldane").await;
    check(&client, true, &NEEDED).await;
    check(
        &client,
        true,
        &["create coordination.k8s.io/leases haldane"],
    )
    .await;
    let added = [
        "patch projectcontour.io/httpproxies shop",
        "patch apps/statefulsets shop",
        "list apps/controllerrevisions shop",
        "delete /pods shop",
        "watch batch/cronjobs shop",
        "create batch/jobs shop",
        "delete batch/jobs shop",
        "patch example.com/routes shop",
    ];
    check(&client, true, &added).await;
    let elsewhere = [
        "list haldane.dev/releases",
        "list haldane.dev/releases other",
        "patch apps/deployments other",
        "watch discovery.k8s.io/endpointslices other",
        "get /secrets shop",
        "create batch/jobs other",
        "create batch/cronjobs shop",
    ];
    check(&client, false, &elsewhere).await;
    plane.stop().await.unwrap();
}
