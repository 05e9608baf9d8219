//! Releases of a StatefulSet: what Kubernetes itself does with partitions and pods that are deleted.

use std::{
    fs,
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
};

use haldane_controller::{
    Controller,
    asker::{Asker, Subject},
    host::{Ports, ReleaseHost},
    kinds::{POD, RELEASE, STATEFUL_SET},
    meter::{Measured, Meter, Watch},
    turn::Key,
};
use haldane_core::{
    RolloutId,
    plan::Gate,
    rollout::{GateAnswer, GateKey},
};
use haldane_router::Kind;
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
    discovery::ApiResource,
};
use serde_json::{Value, json};
use tokio::{
    runtime,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use crate::kube::rig::{QUIET, Rig, eventually};

static DEFINITION: Kind = Kind {
    group: "apiextensions.k8s.io",
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
    versions: &["v1"],
};

/// The partition by which no pod is made from a new template.
const HELD: u32 = 1_000_000_000;

/// A StatefulSet of four pods and its Release in a namespace of their own.
struct Db(Rig);

/// A controller of Releases that runs on a thread of its own.
struct Running {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// A pod: its name, the tag of its image, and whether it is ready.
type Pod = (String, String, bool);

impl Db {
    /// Returns one whose pods are ready, in version v1.
    async fn new(ns: &str, rollout: Value) -> Self {
        let db = Self(Rig::new(ns).await);
        db.define().await;
        db.apply("db:v1").await;
        let release =
            json!({"spec": {"workload": {"statefulSet": {"name": "db"}}, "rollout": rollout}});
        db.put(&RELEASE, "db", release).await;
        eventually("four pods", async || {
            (db.ready("v1").await == 4).then_some(())
        })
        .await;
        db
    }

    async fn define(&self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../deploy/crds/haldane.dev_releases.yaml");
        let text = fs::read_to_string(path).unwrap();
        let definition: Value = serde_norway::from_str(&text).unwrap();
        let name = definition["metadata"]["name"].as_str().unwrap().to_owned();
        let api: Api<DynamicObject> = Api::all_with(self.0.client.clone(), &resource(&DEFINITION));
        let params = PatchParams::apply("setup").force();
        api.patch(&name, &params, &Patch::Apply(definition))
            .await
            .unwrap();
        eventually("the kind of Releases", async || {
            self.api(&RELEASE)
                .list(&ListParams::default())
                .await
                .ok()
                .map(|_| ())
        })
        .await;
    }

    fn api(&self, kind: &Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.0.client.clone(), &self.0.ns, &resource(kind))
    }

    async fn get(&self, kind: &Kind, name: &str) -> Value {
        serde_json::to_value(self.api(kind).get(name).await.unwrap()).unwrap()
    }

    /// Applies an object as a repository does that says nothing else of it.
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

    async fn patch(&self, kind: &Kind, name: &str, patch: &Value) {
        let params = PatchParams::default();
        let patched = self
            .api(kind)
            .patch(name, &params, &Patch::Merge(patch))
            .await;
        patched.unwrap();
    }

    /// Applies the manifest with this image; it says nothing of partitions.
    async fn apply(&self, image: &str) {
        let set = json!({"spec": {
            "serviceName": "db",
            "replicas": 4,
            "selector": {"matchLabels": {"app": "db"}},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [{"name": "db", "image": image}]},
            },
        }});
        self.put(&STATEFUL_SET, "db", set).await;
    }

    async fn command(&self, id: &str, name: &str) {
        let command = json!({"id": id, "name": name, "by": "ann"}).to_string();
        let patch = json!({"metadata": {"annotations": {"haldane.dev/command": command}}});
        self.patch(&RELEASE, "db", &patch).await;
    }

    async fn pods(&self) -> Vec<Pod> {
        let pods = self.api(&POD).list(&ListParams::default()).await.unwrap();
        let mut found: Vec<Pod> = pods.items.iter().map(pod).collect();
        found.sort();
        found
    }

    /// Returns how many pods of a version are ready.
    async fn ready(&self, tag: &str) -> usize {
        let pods = self.pods().await;
        pods.iter().filter(|pod| pod.1 == tag && pod.2).count()
    }

    async fn partition(&self) -> Value {
        let set = self.get(&STATEFUL_SET, "db").await;
        set["spec"]["updateStrategy"]["rollingUpdate"]["partition"].clone()
    }

    /// Waits until nothing goes on any more: a phase, and all pods in this version under a held partition.
    async fn rests(&self, phase: &str, tag: &str) {
        let what = format!("{phase} with {tag}");
        eventually(&what, async || {
            let status = &self.get(&RELEASE, "db").await["status"];
            let ready = self.ready(tag).await;
            let is_at_rest = status["phase"] == phase
                && status["stable"] == tag
                && ready == 4
                && self.pods().await.len() == 4
                && self.partition().await == HELD;
            is_at_rest.then_some(())
        })
        .await;
    }

    fn start(&self) -> Running {
        let config = self.0.config();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let host = ReleaseHost::new(Ports {
                meter: Arc::new(Silence),
                asker: Arc::new(Silence),
            });
            runtime.block_on(async {
                let controller = Controller::connect(config, vec![Arc::new(host)])
                    .await
                    .unwrap();
                controller.run(stopped).await;
            });
        });
        Running {
            stop,
            thread: Some(thread),
        }
    }

    /// Starts a controller and waits until it has taken the set over.
    async fn taken_over(&self) -> Running {
        let running = self.start();
        self.rests("Idle", "v1").await;
        running
    }
}

impl Running {
    /// Ends it and waits until it has.
    fn end(mut self) {
        self.stop.cancel();
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Nobody measures, and nobody answers.
#[derive(Debug)]
struct Silence;

impl Meter for Silence {
    fn watch(&self, _: &Key, _: Option<&Watch>) {}

    fn take(&self, _: &Key) -> Measured {
        Measured::default()
    }
}

impl Asker for Silence {
    fn ask(&self, _: &Key, _: &GateKey, _: &Gate, _: &Subject) {}

    fn answers(&self, _: &Key) -> Vec<GateAnswer> {
        Vec::new()
    }

    fn forget(&self, _: &Key, _: &RolloutId) {}

    fn remove(&self, _: &Key) {}
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

fn pod(object: &DynamicObject) -> Pod {
    let image = object.data["spec"]["containers"][0]["image"].as_str();
    let conditions = object.data["status"]["conditions"].as_array();
    let is_ready = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    (
        object.metadata.name.clone().unwrap(),
        image.unwrap().rsplit(':').next().unwrap().to_owned(),
        is_ready && object.metadata.deletion_timestamp.is_none(),
    )
}

fn rollout(bake: &str, ready: &str) -> Value {
    json!({
        "steps": ["25%", "50%"], "hold": "2s", "guards": "none", "bake": bake,
        "deadlines": {"ready": ready, "drain": "1s"},
    })
}

#[tokio::test]
async fn a_good_version_goes_from_the_highest_pods_to_all_and_back_by_undo() {
    let db = Db::new("sets-promoted", rollout("3s", "60s")).await;
    let running = db.taken_over().await;
    db.apply("db:v2").await;
    let mut seen = Vec::new();
    eventually("the promotion", async || {
        let pods = db.pods().await;
        let status = &db.get(&RELEASE, "db").await["status"];
        let canaries: Vec<&str> = pods
            .iter()
            .filter(|pod| pod.1 == "v2")
            .map(|pod| pod.0.as_str())
            .collect();
        if seen.last() != Some(&canaries.len()) {
            seen.push(canaries.len());
        }
        let is_over = status["phase"] == "Completed";
        let is_first_left = canaries.iter().all(|name| *name != "db-0");
        assert!(is_over || is_first_left, "{status:#} {pods:?}");
        is_over.then_some(())
    })
    .await;
    assert!(seen.is_sorted(), "{seen:?}");
    assert!(
        [0, 1, 2, 3].iter().all(|count| seen.contains(count)),
        "{seen:?}"
    );
    db.rests("Completed", "v2").await;
    db.command("1", "undo").await;
    db.rests("Completed", "v1").await;
    let set = db.get(&STATEFUL_SET, "db").await;
    let image = &set["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(image, "db:v1");
    running.end();
}

#[tokio::test]
async fn a_version_that_never_is_ready_is_taken_back() {
    // Long enough for a scheduler that tries again after a pod of this name was deleted.
    let db = Db::new("sets-broken", rollout("0s", "15s")).await;
    let running = db.taken_over().await;
    db.apply("db:does-not-exist").await;
    db.rests("RolledBack", "v1").await;
    let message = db.get(&RELEASE, "db").await["status"]["message"].to_string();
    assert!(message.contains("pod db-3: ErrImagePull"), "{message}");
    db.apply("db:v3").await;
    db.rests("Completed", "v3").await;
    running.end();
}

#[tokio::test]
async fn an_abort_takes_ready_pods_back_one_after_the_other() {
    let db = Db::new("sets-aborted", rollout("1h", "60s")).await;
    let running = db.taken_over().await;
    db.apply("db:v2").await;
    eventually("three canaries", async || {
        (db.ready("v2").await == 3).then_some(())
    })
    .await;
    db.command("1", "abort").await;
    eventually("the rollback", async || {
        let pods = db.pods().await;
        let ready = pods.iter().filter(|pod| pod.2).count();
        assert!(ready >= 3, "{pods:?}");
        (db.ready("v1").await == 4).then_some(())
    })
    .await;
    db.rests("RolledBack", "v1").await;
    running.end();
}

#[tokio::test]
async fn a_template_that_changes_while_nobody_looks_reaches_no_pod() {
    let db = Db::new("sets-down", rollout("0s", "60s")).await;
    db.taken_over().await.end();
    db.apply("db:v2").await;
    // Whatever makes Kubernetes make a pod: the loss of one, and more of them.
    let lost = DeleteParams::default();
    db.api(&POD).delete("db-3", &lost).await.unwrap();
    let scaled = json!({"spec": {"replicas": 6}});
    db.patch(&STATEFUL_SET, "db", &scaled).await;
    eventually("six pods", async || {
        (db.ready("v1").await == 6).then_some(())
    })
    .await;
    let end = Instant::now() + QUIET;
    while Instant::now() < end {
        let pods = db.pods().await;
        assert!(pods.iter().all(|pod| pod.1 == "v1"), "{pods:?}");
        time::sleep(QUIET / 20).await;
    }
    let scaled = json!({"spec": {"replicas": 4}});
    db.patch(&STATEFUL_SET, "db", &scaled).await;
    let running = db.start();
    db.rests("Completed", "v2").await;
    running.end();
}
