//! A namespace with one of the manifests, a controller that can be stopped, and what a person does there by hand.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
};

use haldane_controller::{
    Config, Controller,
    asker::{Asker, Subject},
    host::{Ports, ReleaseHost},
    meter::{Measured, Meter, Watch},
    turn::Key,
};
use haldane_core::{
    RolloutId,
    plan::Gate,
    rollout::{GateAnswer, GateKey},
};
use haldane_plane::Addon;
use http::Request;
use k8s_openapi::api::core::v1::Event;
use kube::{Api, api::ListParams};
use serde::Deserialize as _;
use serde_json::{Value, json};
use tokio::runtime;
use tokio_util::sync::CancellationToken;

use crate::kube::rig::{Rig, eventually};

const RELEASES: &str = "apis/haldane.dev/v1alpha1";
const DEPLOYMENTS: &str = "apis/apps/v1";

/// A manifest with where its router has the canary's weight.
pub(crate) struct Shape {
    pub manifest: &'static str,
    pub addon: Option<Addon>,
    /// The Release's name.
    pub release: &'static str,
    /// The first names of the Deployments.
    pub apps: &'static [&'static str],
    /// The router's object: its API, its plural and its name.
    pub object: [&'static str; 3],
    /// Where in it the canary's weight stands.
    pub weight: &'static str,
    /// Returns the JSON patch that gives the canary this weight.
    pub patch: fn(u64) -> Value,
    /// Who sets weights by hand.
    pub hand: &'static str,
}

/// A namespace with a manifest, and the controller there.
pub(crate) struct Cluster {
    pub rig: Rig,
    pub shape: Shape,
    controller: Option<Running>,
}

struct Running {
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl Cluster {
    /// Applies the manifest and waits until the Release is in control.
    pub(crate) async fn new(ns: &str, shape: Shape) -> Self {
        let rig = Rig::new(ns).await;
        if let Some(addon) = shape.addon {
            rig.plane.install(addon).await.unwrap();
        }
        let mut cluster = Self {
            rig,
            shape,
            controller: None,
        };
        cluster.define_releases().await;
        let manifest = cluster.shape.manifest;
        for object in serde_norway::Deserializer::from_str(manifest) {
            cluster.apply(&Value::deserialize(object).unwrap()).await;
        }
        cluster.start();
        cluster.phase("Idle").await;
        cluster
    }

    async fn define_releases(&self) {
        let text = include_str!("../../../../../../deploy/crds/haldane.dev_releases.yaml");
        let definition: Value = serde_norway::from_str(text).unwrap();
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/releases.haldane.dev";
        self.call("PATCH", path, "apply-patch+yaml", "test", &definition)
            .await;
        eventually("Release established", async || {
            let request = Request::get(format!("/{RELEASES}/releases"));
            let request = request.body(Vec::new()).unwrap();
            self.rig.client.request::<Value>(request).await.ok()
        })
        .await;
    }

    async fn apply(&self, object: &Value) {
        let text = |pointer: &str| object.pointer(pointer).unwrap().as_str().unwrap();
        let kind = text("/kind").to_lowercase();
        let plural = match kind.strip_suffix('s') {
            Some(_) => format!("{kind}es"),
            None => format!("{kind}s"),
        };
        let api = match text("/apiVersion") {
            "v1" => "api/v1".to_owned(),
            group => format!("apis/{group}"),
        };
        let path = self.path(&[&api, &plural, text("/metadata/name")]);
        // As `kubectl apply` does it for the first time.
        self.call("PATCH", &path, "apply-patch+yaml", "kubectl", object)
            .await;
    }

    fn path(&self, [api, plural, name]: &[&str; 3]) -> String {
        format!("/{api}/namespaces/{}/{plural}/{name}", self.rig.ns)
    }

    async fn call(&self, method: &str, path: &str, form: &str, by: &str, body: &Value) -> Value {
        let force = if form.starts_with("apply") {
            "&force=true"
        } else {
            ""
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{path}?fieldManager={by}{force}"))
            .header("content-type", format!("application/{form}"))
            .body(serde_json::to_vec(body).unwrap())
            .unwrap();
        let answer = self.rig.client.request(request).await;
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Starts a controller for this namespace.
    pub(crate) fn start(&mut self) {
        let config = Config {
            kubeconfig: Some(self.rig.plane.kubeconfig()),
            ..self.rig.config()
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let host = ReleaseHost::new(Ports {
                    meter: Arc::new(Nobody),
                    asker: Arc::new(Nobody),
                });
                let controller = Controller::connect(config, vec![Arc::new(host)])
                    .await
                    .unwrap();
                controller.run(stopped).await;
            });
        });
        self.controller = Some(Running { stop, thread });
    }

    /// Stops the controller; it forgets what is not in the status.
    pub(crate) fn stop(&mut self) {
        let running = self.controller.take().unwrap();
        running.stop.cancel();
        running.thread.join().unwrap();
    }

    async fn get(&self, [api, plural, name]: [&str; 3]) -> Value {
        let request = Request::get(self.path(&[api, plural, name]));
        let request = request.body(Vec::new()).unwrap();
        self.rig.client.request(request).await.unwrap()
    }

    pub(crate) async fn release(&self) -> Value {
        self.get([RELEASES, "releases", self.shape.release]).await
    }

    pub(crate) async fn message(&self) -> String {
        let release = self.release().await;
        let message = release.pointer("/status/message").and_then(Value::as_str);
        message.unwrap_or_default().to_owned()
    }

    /// Waits until the Release is in a phase.
    pub(crate) async fn phase(&self, phase: &str) {
        eventually(&format!("{} {phase}", self.rig.ns), async || {
            let release = self.release().await;
            (release.pointer("/status/phase") == Some(&json!(phase))).then_some(())
        })
        .await;
    }

    /// Waits until the Release is done with everything: its conditions say that nothing goes on.
    pub(crate) async fn rest(&self) {
        eventually(&format!("{} at rest", self.rig.ns), async || {
            let release = self.release().await;
            let conditions = release.pointer("/status/conditions")?.as_array()?;
            let of = |name: &str| conditions.iter().find(|one| one["type"] == name);
            let is_calm =
                of("Reconciling")?["status"] == "False" && of("Applied")?["status"] == "True";
            // What was before is kept until routers have forgotten the canary.
            let is_clear = !self
                .object()
                .await
                .to_string()
                .contains("haldane.dev/before");
            (is_calm && is_clear).then_some(())
        })
        .await;
    }

    /// Returns the router's object.
    pub(crate) async fn object(&self) -> Value {
        self.get(self.shape.object).await
    }

    /// Returns the canary's weight, in percent.
    pub(crate) async fn weight(&self) -> u64 {
        let object = self.object().await;
        match object.pointer(self.shape.weight) {
            Some(Value::String(text)) => text.parse().unwrap(),
            found => found.and_then(Value::as_u64).unwrap_or(0),
        }
    }

    /// Waits until the canary has a weight.
    pub(crate) async fn weighs(&self, wanted: u64) {
        eventually(&format!("{} weight {wanted}", self.rig.ns), async || {
            (self.weight().await == wanted).then_some(())
        })
        .await;
    }

    /// Gives the canary a weight by hand.
    pub(crate) async fn set_weight(&self, weight: u64) {
        let path = self.path(&self.shape.object);
        let patch = (self.shape.patch)(weight);
        self.call("PATCH", &path, "json-patch+json", self.shape.hand, &patch)
            .await;
    }

    pub(crate) async fn deployment(&self, name: &str) -> Value {
        self.get([DEPLOYMENTS, "deployments", name]).await
    }

    pub(crate) async fn image(&self, name: &str) -> String {
        let deployment = self.deployment(name).await;
        let image = deployment.pointer("/spec/template/spec/containers/0/image");
        image.unwrap().as_str().unwrap().to_owned()
    }

    pub(crate) async fn replicas(&self, name: &str) -> u64 {
        let deployment = self.deployment(name).await;
        deployment["spec"]["replicas"].as_u64().unwrap()
    }

    /// Waits until no canary has a replica.
    pub(crate) async fn stopped(&self) {
        for app in self.shape.apps {
            let name = format!("{app}-canary");
            eventually(&format!("{name} stopped"), async || {
                (self.replicas(&name).await == 0).then_some(())
            })
            .await;
        }
    }

    async fn patch_deployment(&self, name: &str, by: &str, patch: &Value) {
        let path = self.path(&[DEPLOYMENTS, "deployments", name]);
        let form = "strategic-merge-patch+json";
        self.call("PATCH", &path, form, by, patch).await;
    }

    /// Sets the image of all canaries, as `kubectl set image` does.
    pub(crate) async fn set_version(&self, version: &str) {
        for app in self.shape.apps {
            self.set_image(app, version).await;
        }
    }

    /// Sets the image of one canary.
    pub(crate) async fn set_image(&self, app: &str, version: &str) {
        let containers = json!([{"name": app, "image": format!("{app}:{version}")}]);
        let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        let name = format!("{app}-canary");
        self.patch_deployment(&name, "kubectl-set", &patch).await;
    }

    /// Scales a Deployment as `kubectl scale` does: by its subresource.
    pub(crate) async fn scale(&self, name: &str, replicas: u64) {
        let path = self.path(&[DEPLOYMENTS, "deployments", name]);
        let patch = json!({"spec": {"replicas": replicas}});
        let path = format!("{path}/scale");
        self.call("PATCH", &path, "merge-patch+json", "kubectl", &patch)
            .await;
    }

    pub(crate) async fn delete(&self, name: &str) {
        let path = self.path(&[DEPLOYMENTS, "deployments", name]);
        let body = json!({"propagationPolicy": "Background"});
        self.call("DELETE", &path, "json", "kubectl", &body).await;
    }

    /// Applies the canary Deployments of the manifest again, with this version.
    pub(crate) async fn apply_canaries(&self, version: &str) {
        for object in serde_norway::Deserializer::from_str(self.shape.manifest) {
            let mut object = Value::deserialize(object).unwrap();
            let name = object["metadata"]["name"].as_str().unwrap();
            if object["kind"] == "Deployment" && name.ends_with("-canary") {
                let container = &mut object["spec"]["template"]["spec"]["containers"][0];
                container["image"] =
                    json!(format!("{}:{version}", container["name"].as_str().unwrap()));
                self.apply(&object).await;
            }
        }
    }

    /// Gives a command by the annotation.
    pub(crate) async fn command(&self, id: &str, name: &str) {
        let path = self.path(&[RELEASES, "releases", self.shape.release]);
        let note = json!({"id": id, "name": name, "by": "ann", "at": "2026-11-21T10:00:00Z"});
        let annotations = json!({"haldane.dev/command": note.to_string()});
        let patch = json!({"metadata": {"annotations": annotations}});
        self.call("PATCH", &path, "merge-patch+json", "kubectl", &patch)
            .await;
    }

    /// Waits until an event of the Release has this in its message.
    pub(crate) async fn told(&self, wanted: &str) {
        let events = Api::<Event>::namespaced(self.rig.client.clone(), &self.rig.ns);
        eventually(&format!("an event: {wanted}"), async || {
            let all = events.list(&ListParams::default()).await.unwrap();
            let is_it = |event: &Event| {
                let message = event.message.as_deref().unwrap_or_default();
                message.contains(wanted)
            };
            all.items.iter().any(is_it).then_some(())
        })
        .await;
    }

    /// Returns who has which fields of an object: for each manager, all that it has as text.
    pub(crate) fn fields_of(object: &Value, manager: &str) -> String {
        let all = object["metadata"]["managedFields"].as_array().unwrap();
        let own = all
            .iter()
            .filter(|one| one["manager"] == manager && one.get("subresource").is_none());
        own.map(|one| one["fieldsV1"].to_string()).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(running) = &self.controller {
            running.stop.cancel();
        }
    }
}

/// Nobody measures, and nobody answers.
#[derive(Debug)]
struct Nobody;

impl Meter for Nobody {
    fn watch(&self, _: &Key, _: Option<&Watch>) {}

    fn take(&self, _: &Key) -> Measured {
        Measured::default()
    }
}

impl Asker for Nobody {
    fn ask(&self, _: &Key, _: &GateKey, _: &Gate, _: &Subject) {}

    fn answers(&self, _: &Key) -> Vec<GateAnswer> {
        Vec::new()
    }

    fn forget(&self, _: &Key, _: &RolloutId) {}

    fn remove(&self, _: &Key) {}
}

/// Returns the JSON patch that replaces these values.
pub(crate) fn replace(values: &[(&str, Value)]) -> Value {
    let replaced =
        |(path, value): &(&str, Value)| json!({"op": "replace", "path": path, "value": value});
    values.iter().map(replaced).collect()
}
