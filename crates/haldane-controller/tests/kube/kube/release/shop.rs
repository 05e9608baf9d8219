//! A shop in a namespace of its own: a Deployment, its Service, the objects of its router and a Release.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use haldane_controller::{
    Config,
    asker::{Asker, Subject},
    host::{Ports, ReleaseHost},
    kinds::{DEPLOYMENT, RELEASE, REPLICA_SET, SERVICE},
    meter::{Measured, Meter, Watch},
    turn::Key,
};
use haldane_core::{
    RolloutId,
    plan::Gate,
    rollout::{GateAnswer, GateKey},
};
use haldane_plane::{Addon, Fault, Matcher, Rule, RuleId, Verb};
use haldane_router::Kind;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
    discovery::ApiResource,
};
use serde_json::{Value, json};
use tokio::{sync::OnceCell, time};

use crate::kube::{
    release::{
        load::{Load, Visit, visit},
        road::Road,
    },
    rig::{Rig, Running, eventually, start_with},
};

/// How long a rollout of a few seconds may take on a machine that others use, too.
const TIMEOUT: Duration = Duration::from_secs(150);

/// How often the objects are looked at.
const INTERVAL: Duration = Duration::from_millis(50);

/// A shop.
pub(crate) struct Shop {
    pub rig: Rig,
    pub gateway: SocketAddr,
    road: Road,
    /// What the objects of the road were before the first rollout.
    before: Vec<Value>,
}

/// How a plan goes, and how long a canary may take to be ready.
pub(crate) struct Plan {
    pub steps: Value,
    pub hold: &'static str,
    pub ready: &'static str,
}

/// A weight that the route had from a time on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weighed {
    pub at: Instant,
    pub bps: u64,
}

impl Plan {
    /// Two steps, long enough to count requests in.
    pub(crate) fn long() -> Self {
        Self {
            steps: json!(["20%", "50%"]),
            hold: "4s",
            ready: "60s",
        }
    }

    /// Two steps, as fast as it goes.
    pub(crate) fn short() -> Self {
        Self {
            hold: "1s",
            ..Self::long()
        }
    }

    /// Two steps, and the first one waits for a person.
    pub(crate) fn held() -> Self {
        Self {
            hold: "1h",
            ..Self::long()
        }
    }
}

impl Shop {
    /// Returns a shop in version v1, with the Release that rolls it out; nobody looks after it yet.
    pub(crate) async fn new(ns: &str, plan: &Plan) -> Self {
        Self::by(ns, plan, Road::contour).await
    }

    /// Returns such a shop behind another router.
    pub(crate) async fn by(ns: &str, plan: &Plan, road: impl FnOnce(&str) -> Road) -> Self {
        let shop = Self::behind(ns, road).await;
        let mut release = release(plan);
        release["spec"]["routers"] = shop.road.routers.clone();
        shop.put("kubectl", &RELEASE, "shop", release).await;
        shop
    }

    /// Returns a shop without a Release.
    pub(crate) async fn bare(ns: &str) -> Self {
        Self::behind(ns, Road::contour).await
    }

    async fn behind(ns: &str, road: impl FnOnce(&str) -> Road) -> Self {
        let rig = Rig::new(ns).await;
        let road = road(&format!("{ns}.example"));
        let gateway = prepared(&rig, road.addon).await;
        let mut shop = Self {
            rig,
            gateway,
            road,
            before: Vec::new(),
        };
        shop.apply_git("kubectl", "shop:v1").await;
        eventually("a shop that is open", async || {
            let deployment = shop.get(&DEPLOYMENT, "shop").await?;
            (deployment["status"]["availableReplicas"] == json!(3)).then_some(())
        })
        .await;
        eventually("a router that leads there", async || {
            let visit = shop.visit(None).await;
            (visit.outcome.as_deref() == Ok("v1")).then_some(())
        })
        .await;
        shop.before = shop.roads().await;
        shop
    }

    /// Returns the user's part of the router's objects.
    async fn roads(&self) -> Vec<Value> {
        let mut all = Vec::new();
        for (kind, _) in &self.road.objects {
            let found = self.get(kind, "shop").await;
            all.push(found.map_or(Value::Null, |object| own_part(&object)));
        }
        all
    }

    /// Returns what the router says of the object that is split.
    pub(crate) async fn road_status(&self) -> Value {
        let (kind, _) = self.road.objects.first().unwrap();
        let object = self.get(kind, "shop").await.unwrap();
        object["status"].clone()
    }

    /// Asks once, with this cookie.
    pub(crate) async fn visit(&self, cookie: Option<&str>) -> Visit {
        visit(self.gateway, &self.host(), cookie).await
    }

    /// Returns the controller's settings.
    pub(crate) fn config(&self) -> Config {
        self.rig.config()
    }

    /// Starts a controller.
    pub(crate) fn start(&self) -> Running<ReleaseHost> {
        start_with(self.config(), Arc::new(host()))
    }

    /// Starts a controller and waits until it has taken the shop over.
    pub(crate) async fn taken_over(&self) -> Running<ReleaseHost> {
        let running = self.start();
        self.rests("Idle", "v1").await;
        eventually("the Deployment paused", async || {
            let shop = self.get(&DEPLOYMENT, "shop").await?;
            (shop["spec"]["paused"] == json!(true)).then_some(())
        })
        .await;
        running
    }

    /// Begins to send requests.
    pub(crate) fn load(&self, rps: u32) -> Load {
        Load::begin(self.gateway, self.host(), rps)
    }

    fn host(&self) -> String {
        format!("{}.example", self.rig.ns)
    }

    pub(crate) fn api(&self, kind: &Kind) -> Api<DynamicObject> {
        let version = kind.versions[0];
        let resource = ApiResource {
            group: kind.group.to_owned(),
            version: version.to_owned(),
            api_version: kind.api_version(),
            kind: kind.kind.to_owned(),
            plural: kind.plural.to_owned(),
        };
        Api::namespaced_with(self.rig.client.clone(), &self.rig.ns, &resource)
    }

    pub(crate) async fn get(&self, kind: &Kind, name: &str) -> Option<Value> {
        let found = self.api(kind).get_opt(name).await.unwrap()?;
        Some(serde_json::to_value(found).unwrap())
    }

    /// Applies an object on the server, over whatever others say.
    pub(crate) async fn put(&self, by: &str, kind: &Kind, name: &str, mut object: Value) {
        object["apiVersion"] = json!(kind.api_version());
        object["kind"] = json!(kind.kind);
        object["metadata"]["name"] = json!(name);
        let params = PatchParams::apply(by).force();
        let applied = self
            .api(kind)
            .patch(name, &params, &Patch::Apply(object))
            .await;
        applied.unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// Patches an object as this field manager.
    pub(crate) async fn patch(&self, by: &str, kind: &Kind, name: &str, patch: &Value) {
        let params = PatchParams {
            field_manager: Some(by.to_owned()),
            ..PatchParams::default()
        };
        let patched = self
            .api(kind)
            .patch(name, &params, &Patch::Merge(patch))
            .await;
        patched.unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    pub(crate) async fn delete(&self, kind: &Kind, name: &str) {
        let params = DeleteParams::default();
        self.api(kind).delete(name, &params).await.unwrap();
    }

    /// Applies the manifests of the repository with this image, on the server.
    pub(crate) async fn apply_git(&self, by: &str, image: &str) {
        for (kind, object) in self.manifests(image) {
            self.put(by, kind, "shop", object).await;
        }
    }

    /// Applies the manifests of the repository with this image, as `kubectl apply` does by default: a patch of what they say.
    pub(crate) async fn merge_git(&self, image: &str) {
        for (kind, object) in self.manifests(image) {
            self.patch("kubectl-client-side-apply", kind, "shop", &object)
                .await;
        }
    }

    fn manifests(&self, image: &str) -> Vec<(&'static Kind, Value)> {
        let service = json!({"spec": {
            "selector": {"app": "shop"},
            "ports": [{"port": 80, "targetPort": 8080}],
        }});
        let mut all = vec![(&DEPLOYMENT, deployment(image)), (&SERVICE, service)];
        all.extend(self.road.objects.iter().cloned());
        all
    }

    /// Sets the image, as `kubectl set image` does.
    pub(crate) async fn deploy(&self, image: &str) {
        let containers = json!([{"name": "shop", "image": image}]);
        let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        self.patch("kubectl-set", &DEPLOYMENT, "shop", &patch).await;
    }

    /// Gives a command by the annotation.
    pub(crate) async fn command(&self, id: &str, name: &str) {
        let note = json!({"id": id, "name": name, "by": "ann", "reason": "a test"}).to_string();
        let patch = json!({"metadata": {"annotations": {"haldane.dev/command": note}}});
        self.patch("kubectl-annotate", &RELEASE, "shop", &patch)
            .await;
    }

    pub(crate) async fn status(&self) -> Value {
        let release = self.get(&RELEASE, "shop").await.unwrap();
        release["status"].clone()
    }

    /// Waits until `is_meant` holds for the Release's status.
    pub(crate) async fn shows(&self, what: &str, is_meant: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let status = self.status().await;
            if is_meant(&status) {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "not seen in time: {what}: {}",
                self.picture().await
            );
            time::sleep(INTERVAL).await;
        }
    }

    /// Waits until a step is entered and in force.
    pub(crate) async fn weighs(&self, weight: &str) {
        let what = format!("{weight} in force");
        self.shows(&what, |status| {
            status["weight"] == json!(weight)
                && status["phase"] == "Progressing"
                && condition(status, "Applied")["status"] == "True"
        })
        .await;
    }

    /// Waits until nothing goes on any more, and the Release has come to this.
    pub(crate) async fn rests(&self, phase: &str, stable: &str) -> Value {
        let what = format!("{phase} with {stable}");
        self.shows(&what, |status| {
            status["phase"] == phase
                && status["stable"] == stable
                && condition(status, "Reconciling")["status"] == "False"
        })
        .await
    }

    /// Waits until a rollout has come to this, and fails if anything is not as it was before but the version.
    pub(crate) async fn ends(&self, phase: &str, stable: &str) -> Value {
        let status = self.rests(phase, stable).await;
        self.is_whole(stable).await;
        status
    }

    /// Waits until the shop consists of the user's objects alone, in this version.
    pub(crate) async fn is_whole(&self, version: &str) {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let wrong = self.what_differs(version).await;
            let Some(wrong) = wrong else { return };
            assert!(
                Instant::now() < deadline,
                "{wrong}: {}",
                self.picture().await
            );
            time::sleep(INTERVAL).await;
        }
    }

    async fn what_differs(&self, version: &str) -> Option<String> {
        let deployments = self.names(&DEPLOYMENT).await;
        if deployments != ["shop"] {
            return Some(format!("Deployments {deployments:?}"));
        }
        let running = self.running().await;
        if running != vec![format!("shop:{version}"); 3] {
            return Some(format!("pods of {running:?}"));
        }
        let roads = self.roads().await;
        (roads != self.before)
            .then(|| format!("the router has {roads:?}, and had {:?}", self.before))
    }

    /// Returns the names of all objects of a kind.
    pub(crate) async fn names(&self, kind: &Kind) -> Vec<String> {
        let all = self.api(kind).list(&ListParams::default()).await.unwrap();
        let names = all
            .items
            .into_iter()
            .filter_map(|object| object.metadata.name);
        names.collect()
    }

    /// Returns the image of each pod that is wanted, by its ReplicaSet.
    pub(crate) async fn running(&self) -> Vec<String> {
        let sets = self.api(&REPLICA_SET).list(&ListParams::default()).await;
        let mut images = Vec::new();
        for set in sets.unwrap().items {
            let image = set
                .data
                .pointer("/spec/template/spec/containers/0/image")
                .cloned();
            let count = set.data["spec"]["replicas"].as_u64().unwrap_or(0);
            let image = image
                .unwrap_or_default()
                .as_str()
                .unwrap_or_default()
                .to_owned();
            images.extend((0..count).map(|_| image.clone()));
        }
        images.sort();
        images
    }

    /// Returns the canary's share in the route, in basis points.
    pub(crate) async fn share(&self) -> u64 {
        let (kind, _) = self.road.objects.first().unwrap();
        let split = self.get(kind, "shop").await.unwrap();
        let backends = split.pointer(self.road.backends).cloned();
        let backends = backends.unwrap_or_default();
        let backends = backends.as_array().unwrap();
        let weight = |one: &Value| one["weight"].as_u64().unwrap_or(1);
        let all: u64 = backends.iter().map(weight).sum();
        let canary: u64 = backends
            .iter()
            .filter(|one| one["name"] == "shop-canary")
            .map(weight)
            .sum();
        (canary * 10_000).checked_div(all).unwrap_or(0)
    }

    /// Follows the weights of the route until the Release has come to this.
    pub(crate) async fn followed(&self, phase: &str, stable: &str) -> Vec<Weighed> {
        let deadline = Instant::now() + TIMEOUT;
        let mut weights: Vec<Weighed> = Vec::new();
        loop {
            let bps = self.share().await;
            if weights.last().map(|last| last.bps) != Some(bps) {
                weights.push(Weighed {
                    at: Instant::now(),
                    bps,
                });
            }
            let status = self.status().await;
            let is_over = status["phase"] == phase
                && status["stable"] == stable
                && condition(&status, "Reconciling")["status"] == "False";
            if is_over {
                return weights;
            }
            assert!(
                Instant::now() < deadline,
                "not {phase}: {}",
                self.picture().await
            );
            time::sleep(INTERVAL).await;
        }
    }

    /// Lets something go wrong between the controllers and the server.
    pub(crate) async fn rule(
        &self,
        fault: Fault,
        verbs: &[Verb],
        resource: &str,
        times: Option<u64>,
    ) -> RuleId {
        let on = Matcher {
            namespace: Some(self.rig.ns.clone()),
            agent: Some("haldane-controller".to_owned()),
            ..Matcher::new(verbs, resource)
        };
        let rule = Rule {
            times,
            ..Rule::always(fault, on)
        };
        self.rig.plane.add_rule(rule).await.unwrap()
    }

    /// Takes a rule away and returns how often it was followed.
    pub(crate) async fn unrule(&self, id: RuleId) -> u64 {
        let report = self.rig.plane.remove_rule(id).await.unwrap();
        report.unwrap().hits
    }

    /// Returns what is to be known when something was waited for in vain.
    pub(crate) async fn picture(&self) -> String {
        let mut status = match self.get(&RELEASE, "shop").await {
            Some(release) => release["status"].clone(),
            None => Value::Null,
        };
        let hidden = ["plan"];
        if let Some(status) = status.as_object_mut() {
            status.retain(|key, _| !hidden.contains(&key.as_str()));
        }
        let service = self.get(&SERVICE, "shop").await;
        format!(
            "{status:#}\nDeployments {:?}\npods of {:?}\nrouter {:?}\nselector {}",
            self.names(&DEPLOYMENT).await,
            self.running().await,
            self.roads().await,
            service.map_or(Value::Null, |it| it["spec"]["selector"].clone()),
        )
    }
}

/// Returns a host that measures nothing and asks nobody.
pub(crate) fn host() -> ReleaseHost {
    ReleaseHost::new(Ports {
        meter: Arc::new(Silence),
        asker: Arc::new(Silence),
    })
}

/// Returns a condition of a status.
pub(crate) fn condition<'a>(status: &'a Value, name: &str) -> &'a Value {
    let all = status["conditions"].as_array();
    let found = all
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == name);
    found.unwrap_or(&Value::Null)
}

/// Returns a Release with this plan.
pub(crate) fn release(plan: &Plan) -> Value {
    json!({"spec": {
        "workload": {"deployment": {"name": "shop"}},
        "routers": [{"gateway": {"httpRoute": "shop"}}],
        "rollout": {
            "steps": plan.steps,
            "hold": plan.hold,
            "guards": "none",
            "bake": "0s",
            "deadlines": {"ready": plan.ready, "drain": "2s"},
        },
    }})
}

/// Returns the shop's Deployment.
pub(crate) fn deployment(image: &str) -> Value {
    json!({"spec": {
        "replicas": 3,
        "selector": {"matchLabels": {"app": "shop"}},
        "template": {
            "metadata": {"labels": {"app": "shop"}},
            "spec": {"containers": [{"name": "shop", "image": image}]},
        },
    }})
}

/// Returns what a rollout must leave as it is.
fn own_part(route: &Value) -> Value {
    let metadata = &route["metadata"];
    json!({
        "spec": route["spec"],
        "annotations": metadata["annotations"],
        "labels": metadata["labels"],
    })
}

/// Installs what Releases need, and returns where requests go in.
async fn prepared(rig: &Rig, router: Addon) -> SocketAddr {
    static DEFINED: OnceCell<()> = OnceCell::const_new();
    DEFINED.get_or_init(|| define(rig)).await;
    rig.plane.install(router).await.unwrap();
    rig.plane.address(router).await.unwrap()
}

/// Installs the kind Release and waits until the API server serves it.
async fn define(rig: &Rig) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
    let text = fs::read_to_string(path.join("haldane.dev_releases.yaml")).unwrap();
    let definition: CustomResourceDefinition = serde_norway::from_str(&text).unwrap();
    let definitions = Api::<CustomResourceDefinition>::all(rig.client.clone());
    let params = PatchParams::apply("test");
    let name = "releases.haldane.dev";
    definitions
        .patch(name, &params, &Patch::Apply(&definition))
        .await
        .unwrap();
    eventually("the kind Release", async || {
        let found = definitions.get(name).await.unwrap();
        let conditions = found.status?.conditions?;
        let mut conditions = conditions.iter();
        conditions
            .any(|it| it.type_ == "Established" && it.status == "True")
            .then_some(())
    })
    .await;
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
