//! A person's way into a cluster: reading releases, following them, giving them commands, and looking at what keeps them from working.
//!
//! It has the rights of the person's kubeconfig and no others, and works whether a controller runs or not. **Invariants:** of the
//! cluster nothing is changed but annotations of one release, or of the workload that carries it; every call has a deadline; nothing is
//! followed by polling that can be watched.

mod detect;
mod doctor;
mod error;
mod follow;
mod image;
mod reach;
mod steer;
mod terminal;
mod tree;

use std::{path::PathBuf, time::Duration};

use haldane_api::http::{RecomputationView, RolloutHistory, ServiceView};
use haldane_core::{RolloutId, ServiceName};
pub use haldane_router::Route;
use haldane_router::{Kind, ObjectRef};
use jiff::Timestamp;
use kube::{
    Api, Client, Config,
    api::{ApiResource, DynamicObject, ListParams},
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use serde_json::{Value, json};
use tokio::time::timeout;

pub(crate) use self::terminal::lease_name;
use self::tree::Inventory;
pub use self::{
    detect::{Detected, Mesh},
    doctor::{Check, Health},
    error::ClusterError,
    follow::Sighting,
    image::Given,
    reach::{InCluster, Usage},
    terminal::{Carried, Holder, TerminalError, Wanted},
};
use crate::{
    carrier::Carrier,
    host::glance,
    kinds::{DAEMON_SET, DEPLOYMENT, POD, RELEASE, REPLICA_SET, STATEFUL_SET},
    meter::Watch,
    release::Release,
    turn::{Seen, Sight},
    view,
};

/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How many objects are asked for at once: an answer stays below a few megabytes.
const PAGE_LEN: u32 = 500;

/// The most pages of one kind: what is more than this is nothing that a person reads.
const PAGES_MAX: u32 = 100;

type Result<T, E = ClusterError> = std::result::Result<T, E>;

/// Which cluster is meant, and which namespace in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The kubeconfig; none means as `kubectl` has it: `$KUBECONFIG`, `~/.kube/config`, or that of the pod that this runs in.
    pub kubeconfig: Option<PathBuf>,
    /// The context in it; none means the current one.
    pub context: Option<String>,
    /// The namespace; none means the context's own.
    pub namespace: Option<String>,
}

/// How a release looks, and how its versions are measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// How it looks; without figures of requests, which only metric systems have.
    pub view: ServiceView,
    /// How the versions of the rollout that goes on are measured, if one does and requests are counted.
    pub watch: Option<Watch>,
    /// Since when the canary's weight is what it is, as far as its decisions tell.
    pub since: Option<Timestamp>,
}

/// A cluster, as a person sees it.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    url: String,
    namespace: String,
    clock: fn() -> Timestamp,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("Cluster");
        out.field("url", &self.url);
        out.field("namespace", &self.namespace);
        out.finish_non_exhaustive()
    }
}

impl Cluster {
    /// Finds the cluster; it is not asked anything yet.
    ///
    /// # Errors
    /// When it is not known which one is meant, or how to get into it.
    pub async fn connect(access: &Access, clock: fn() -> Timestamp) -> Result<Self> {
        let config = config(access).await?;
        let url = config.cluster_url.to_string();
        let namespace = access.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let client =
            Client::try_from(config).map_err(|error| ClusterError::NoAccess(error.to_string()))?;
        Ok(Self {
            client,
            url,
            namespace,
            clock,
        })
    }

    /// Returns the namespace that is meant where none is named.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Reads a release.
    ///
    /// # Errors
    /// When it can't be read, or does not exist.
    pub async fn release(&self, namespace: &str, name: &ServiceName) -> Result<Release> {
        let api = self.api(&RELEASE, Some(namespace));
        let own = self.call(api.get_opt(name.as_str())).await;
        let missing = match own {
            Ok(Some(object)) => return Ok(Release::read(&to_value(object, &RELEASE))?),
            Ok(None) => None,
            Err(error) if is_without(&error) => Some(error),
            Err(error) => return Err(error),
        };
        // Without a controller it is kept on its workload.
        if let Ok(Some(carrier)) = self.carrier(namespace, name).await {
            return Ok(Release::read(&carrier.release())?);
        }
        match missing {
            Some(error) => Err(error),
            None => Err(self.missing(namespace, name).await),
        }
    }

    /// Reads all releases of a namespace, or of all of them; those whose names are none are left out.
    ///
    /// # Errors
    /// When they can't be read.
    pub async fn releases(&self, namespace: Option<&str>) -> Result<Vec<Release>> {
        let carried = self.carriers(namespace).await.unwrap_or_default();
        let mut found = match self.list(&RELEASE, namespace).await {
            Ok(found) => found,
            Err(error) if is_without(&error) && !carried.is_empty() => Vec::new(),
            Err(error) => return Err(error),
        };
        found.extend(carried.iter().map(Carrier::release));
        let read = |object: &Value| match Release::read(object) {
            Ok(release) => Some(release),
            Err(error) => {
                tracing::error!(%error, source = ?std::error::Error::source(&error), "Release left out");
                None
            }
        };
        Ok(found.iter().filter_map(read).collect())
    }

    /// Tells one release, with the objects that run it.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn service(&self, namespace: &str, name: &ServiceName) -> Result<Looked> {
        let release = self.release(namespace, name).await?;
        let now = (self.clock)();
        let found = self.found(&release).await;
        Ok(match found {
            Ok(found) => looked(&release, &found.inventory(), now),
            // What the release says is worth telling without them.
            Err(error) => {
                let mut looked = looked(&release, &Inventory::default(), now);
                let said = format!("its objects can't be told: {error}");
                looked.view.notices.push(said);
                looked
            }
        })
    }

    /// Tells the releases of a namespace, or of all of them.
    ///
    /// # Errors
    /// When they can't be read.
    pub async fn services(&self, namespace: Option<&str>) -> Result<Vec<ServiceView>> {
        let releases = self.releases(namespace).await?;
        if releases.is_empty() {
            return Ok(Vec::new());
        }
        // Without their workloads nothing is missing but how many replicas are ready.
        let workloads = self.workloads(namespace, &releases).await;
        let workloads = workloads.unwrap_or_default();
        let inventory = Inventory {
            workloads: workloads.iter().collect(),
            replica_sets: Vec::new(),
            pods: Vec::new(),
        };
        let now = (self.clock)();
        let told = releases.iter().map(|release| {
            let mut view = view::service(release, now);
            view::add_objects(&mut view, &tree::tree(release, &inventory));
            view
        });
        Ok(told.collect())
    }

    /// Tells the rollouts of a release, latest first.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn history(
        &self,
        namespace: &str,
        name: &ServiceName,
    ) -> Result<Vec<RolloutHistory>> {
        let release = self.release(namespace, name).await?;
        Ok(view::history(&release, (self.clock)()))
    }

    /// Tells one rollout of a release.
    ///
    /// # Errors
    /// When the release can't be read, or does not remember it.
    pub async fn rollout(
        &self,
        namespace: &str,
        name: &ServiceName,
        id: &RolloutId,
    ) -> Result<RolloutHistory> {
        let all = self.history(namespace, name).await?;
        let found = all.into_iter().find(|one| one.id == *id);
        found.ok_or_else(|| ClusterError::NoRollout {
            name: name.clone(),
            id: id.to_string(),
        })
    }

    /// Says why the decisions of a rollout can't be made again.
    ///
    /// # Errors
    /// Always: a status has no room for what the judges saw.
    pub const fn recomputation(&self) -> Result<RecomputationView> {
        Err(ClusterError::Unsupported(
            "on Kubernetes what the judges saw is not kept: a status has no room for it",
        ))
    }

    /// Returns why a release that was not found isn't there.
    async fn missing(&self, namespace: &str, name: &ServiceName) -> ClusterError {
        // A kind that does not exist has no objects either.
        let api = self.api(&RELEASE, Some(namespace));
        match self.call(api.list(&ListParams::default().limit(1))).await {
            Err(ClusterError::NoDefinition) => ClusterError::NoDefinition,
            Ok(_) | Err(_) => ClusterError::NotFound {
                namespace: namespace.to_owned(),
                name: name.clone(),
            },
        }
    }

    async fn found(&self, release: &Release) -> Result<Found> {
        let namespace = Some(release.namespace.as_str());
        let (workloads, replica_sets, pods) = tokio::try_join!(
            self.workloads(namespace, std::slice::from_ref(release)),
            self.list(&REPLICA_SET, namespace),
            self.list(&POD, namespace),
        )?;
        Ok(Found {
            workloads,
            replica_sets,
            pods,
        })
    }

    /// Reads the workloads that releases can be made of; kinds that none of them has are not asked for.
    async fn workloads(&self, namespace: Option<&str>, releases: &[Release]) -> Result<Vec<Value>> {
        let mut found = Vec::new();
        for kind in workload_kinds(releases) {
            found.extend(self.list(kind, namespace).await?);
        }
        Ok(found)
    }

    /// Reads all objects of a kind, page by page.
    async fn list(&self, kind: &'static Kind, namespace: Option<&str>) -> Result<Vec<Value>> {
        let api = self.api(kind, namespace);
        let mut params = ListParams::default().limit(PAGE_LEN);
        let mut found = Vec::new();
        for _ in 0..PAGES_MAX {
            let page = self.call(api.list(&params)).await?;
            found.extend(page.items.into_iter().map(|object| to_value(object, kind)));
            match page.metadata.continue_.filter(|next| !next.is_empty()) {
                Some(next) => params = params.continue_token(&next),
                None => break,
            }
        }
        Ok(found)
    }

    fn api(&self, kind: &Kind, namespace: Option<&str>) -> Api<DynamicObject> {
        let resource = resource(kind);
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    async fn call<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T> {
        match timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(ClusterError::of(&error, &self.url)),
            Err(_) => Err(ClusterError::TimedOut(CALL_TIMEOUT)),
        }
    }
}

/// Whether somebody may not see Releases or there is no such kind, which is one to who has no right to it.
const fn is_without(error: &ClusterError) -> bool {
    matches!(
        error,
        ClusterError::NoDefinition | ClusterError::Forbidden(_)
    )
}

/// The objects of a release's namespace.
struct Found {
    workloads: Vec<Value>,
    replica_sets: Vec<Value>,
    pods: Vec<Value>,
}

impl Found {
    fn inventory(&self) -> Inventory<'_> {
        Inventory {
            workloads: self.workloads.iter().collect(),
            replica_sets: self.replica_sets.iter().collect(),
            pods: self.pods.iter().collect(),
        }
    }
}

/// Returns how a release looks among its objects.
fn looked(release: &Release, inventory: &Inventory<'_>, now: Timestamp) -> Looked {
    let objects = tree::tree(release, inventory);
    let mut view = view::service(release, now);
    view::add_objects(&mut view, &objects);
    view.objects = objects;
    let watch = glance::watch(release, inventory, now);
    let watch = watch.unwrap_or_else(|why| {
        view.notices.push(format!("no figures of requests: {why}"));
        None
    });
    Looked {
        view,
        watch,
        since: weighed_since(release),
    }
}

/// Returns when the rollout's last change of weight was decided.
fn weighed_since(release: &Release) -> Option<Timestamp> {
    let status = &release.status;
    let own = status.decisions.iter().rev();
    let own = own.filter(|one| Some(&one.rollout) == status.rollout.as_ref());
    let same = own.take_while(|one| Some(&one.weight) == status.weight.as_ref());
    same.last().map(|one| one.at)
}

impl Sight for Inventory<'_> {
    fn get(&self, target: &ObjectRef) -> Seen {
        let is_it = |object: &&&Value| {
            let text = |path| object.pointer(path).and_then(Value::as_str);
            text("/kind") == Some(target.kind.kind)
                && text("/metadata/name") == Some(target.name.as_str())
                && text("/metadata/namespace") == Some(target.namespace.as_str())
        };
        let found = self.workloads.iter().find(is_it);
        found.map_or(Seen::Missing, |object| Seen::Found((*object).clone()))
    }

    fn owned(&self, _: &'static Kind, _: &str, _: &str) -> Vec<Value> {
        Vec::new()
    }

    fn count_in(&self, _: &'static Kind, _: &str) -> usize {
        0
    }

    fn names_in(&self, _: &'static Kind, _: &str) -> Vec<String> {
        Vec::new()
    }
}

/// Returns the kinds of workloads that releases name.
fn workload_kinds(releases: &[Release]) -> Vec<&'static Kind> {
    let has = |is: fn(&Release) -> bool| releases.iter().any(is);
    let mut kinds = vec![&DEPLOYMENT];
    if has(|release| release.spec.workload.stateful_set.is_some()) {
        kinds.push(&STATEFUL_SET);
    }
    if has(|release| release.spec.workload.daemon_set.is_some()) {
        kinds.push(&DAEMON_SET);
    }
    kinds
}

async fn config(access: &Access) -> Result<Config> {
    let no_access = |error: KubeconfigError| ClusterError::NoAccess(error.to_string());
    let options = KubeConfigOptions {
        context: access.context.clone(),
        cluster: None,
        user: None,
    };
    if let Some(path) = &access.kubeconfig {
        let file = Kubeconfig::read_from(path).map_err(no_access)?;
        return Config::from_custom_kubeconfig(file, &options)
            .await
            .map_err(no_access);
    }
    match Config::from_kubeconfig(&options).await {
        Ok(config) => Ok(config),
        Err(error) if access.context.is_some() => Err(no_access(error)),
        // In a pod there is no kubeconfig, but an account of its own.
        Err(error) => Config::incluster().map_err(|_| no_access(error)),
    }
}

fn resource(kind: &Kind) -> ApiResource {
    let version = kind.versions.first().copied().unwrap_or("v1");
    ApiResource {
        group: kind.group.to_owned(),
        version: version.to_owned(),
        api_version: kind.api_version(),
        kind: kind.kind.to_owned(),
        plural: kind.plural.to_owned(),
    }
}

/// Returns an object as data; those of a list don't say what kind they are.
fn to_value(object: DynamicObject, kind: &Kind) -> Value {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    if let Some(map) = value.as_object_mut() {
        map.insert("kind".to_owned(), json!(kind.kind));
        map.insert("apiVersion".to_owned(), json!(kind.api_version()));
    }
    value
}
