//! The objects of a bench: written many at once, and followed by watches.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, pin_mut, stream};
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    runtime::watcher::{self, Event},
};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time, time::Instant};

use super::wait::until;
use crate::host;

/// Requests under way at the same time.
pub(super) const PARALLEL: usize = 32;

/// How long one request may take.
const REQUEST_MAX: Duration = Duration::from_secs(60);

/// How long a new kind may take until it is served.
const DEFINE_MAX: Duration = Duration::from_secs(30);

/// The kinds that the controller looks after.
const DEFINITIONS: [&str; 2] = [
    include_str!("../../../../deploy/crds/haldane.dev_releases.yaml"),
    include_str!("../../../../deploy/crds/haldane.dev_releasegroups.yaml"),
];

/// A kind of objects.
#[derive(Debug)]
pub(super) struct Kind {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
}

pub(super) static NAMESPACE: Kind = kind("", "v1", "Namespace", "namespaces");
pub(super) static SERVICE: Kind = kind("", "v1", "Service", "services");
pub(super) static EVENT: Kind = kind("", "v1", "Event", "events");
pub(super) static DEPLOYMENT: Kind = kind("apps", "v1", "Deployment", "deployments");
pub(super) static ROUTE: Kind = kind("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes");
pub(super) static RELEASE: Kind = kind("haldane.dev", "v1alpha1", "Release", "releases");

impl Kind {
    /// Whether it is the same kind.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.plural == other.plural && self.group == other.group
    }
}

/// A cluster, with the namespace in which a bench works.
#[derive(Clone)]
pub(super) struct Cluster {
    client: Client,
    namespace: String,
}

/// What is known of the objects of one kind, by name, each as it was last told.
#[derive(Debug)]
pub(super) struct Followed<T> {
    known: Arc<Mutex<BTreeMap<String, T>>>,
    _watch: JoinSet<()>,
}

impl Cluster {
    /// Makes the namespace and the kinds.
    pub(super) async fn prepare(client: Client, namespace: &str) -> anyhow::Result<Self> {
        let cluster = Self {
            client,
            namespace: namespace.to_owned(),
        };
        for definition in DEFINITIONS {
            let defined = time::timeout(DEFINE_MAX, host::define(&cluster.client, definition));
            defined.await.context("a kind is not served in time")??;
        }
        cluster
            .create(&NAMESPACE, json!({"metadata": {"name": namespace}}))
            .await?;
        Ok(cluster)
    }

    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    fn api(&self, kind: &Kind) -> Api<DynamicObject> {
        let resource = resource(kind);
        if kind.is(&NAMESPACE) {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
        }
    }

    /// Creates an object.
    pub(super) async fn create(&self, kind: &Kind, object: Value) -> anyhow::Result<()> {
        let name = object
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let doing = format!("creating {} {name}", kind.kind);
        let resource = resource(kind);
        let mut object: DynamicObject = serde_json::from_value(typed(object, &resource))?;
        object.metadata.namespace = (!kind.is(&NAMESPACE)).then(|| self.namespace.clone());
        let api = self.api(kind);
        let parameters = PostParams::default();
        bounded(api.create(&parameters, &object))
            .await
            .context(doing)?;
        Ok(())
    }

    /// Creates many objects, in this order as far as it matters to nobody.
    pub(super) async fn create_all(
        &self,
        objects: Vec<(&'static Kind, Value)>,
    ) -> anyhow::Result<()> {
        let creates = objects
            .into_iter()
            .map(|(kind, object)| self.create(kind, object));
        stream::iter(creates)
            .buffer_unordered(PARALLEL)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(())
    }

    /// Changes an object by a merge patch.
    pub(super) async fn patch(&self, kind: &Kind, name: &str, patch: &Value) -> anyhow::Result<()> {
        let api = self.api(kind);
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch));
        let patched = bounded(api.patch(name, &parameters, &patch)).await;
        patched.with_context(|| format!("changing {} {name}", kind.kind))?;
        Ok(())
    }

    /// Changes an object's status by a merge patch.
    pub(super) async fn patch_status(
        &self,
        kind: &Kind,
        name: &str,
        patch: &Value,
    ) -> anyhow::Result<()> {
        let api = self.api(kind);
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch));
        let patched = bounded(api.patch_status(name, &parameters, &patch)).await;
        patched.with_context(|| format!("changing the status of {} {name}", kind.kind))?;
        Ok(())
    }

    /// Changes the status of many objects in the same way.
    pub(super) async fn patch_all_statuses(
        &self,
        kind: &Kind,
        names: &[String],
        patch: &Value,
    ) -> anyhow::Result<()> {
        let patches = names
            .iter()
            .map(|name| self.patch_status(kind, name, patch));
        stream::iter(patches)
            .buffer_unordered(PARALLEL)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(())
    }

    /// Deletes an object.
    pub(super) async fn delete(&self, kind: &Kind, name: &str) -> anyhow::Result<()> {
        let api = self.api(kind);
        let parameters = DeleteParams::background();
        let deleted = bounded(api.delete(name, &parameters)).await;
        deleted.with_context(|| format!("deleting {} {name}", kind.kind))?;
        Ok(())
    }

    /// Follows the objects of a kind; `see` returns what is kept of one, given what was kept before.
    pub(super) fn follow<T: Send + 'static>(
        &self,
        kind: &Kind,
        see: impl Fn(&Value, Option<T>) -> T + Send + 'static,
    ) -> Followed<T> {
        let known = Arc::new(Mutex::new(BTreeMap::new()));
        let (api, kept) = (self.api(kind), Arc::clone(&known));
        let mut watch = JoinSet::new();
        watch.spawn(async move {
            let events = watcher::watcher(api, watcher::Config::default());
            pin_mut!(events);
            // A watch that broke comes back by itself, and tells everything anew.
            while let Some(event) = events.next().await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                match event {
                    Ok(Event::Apply(object) | Event::InitApply(object)) => {
                        let name = object.metadata.name.clone().unwrap_or_default();
                        let value = serde_json::to_value(object).unwrap_or_default();
                        let before = kept.remove(&name);
                        kept.insert(name, see(&value, before));
                    }
                    Ok(Event::Delete(object)) => {
                        kept.remove(&object.metadata.name.unwrap_or_default());
                    }
                    Ok(Event::Init | Event::InitDone) | Err(_) => {}
                }
            }
        });
        Followed {
            known,
            _watch: watch,
        }
    }
}

impl<T> Followed<T> {
    /// Returns what `look` sees in what is known.
    pub(super) fn look<R>(&self, look: impl FnOnce(&BTreeMap<String, T>) -> R) -> R {
        look(&self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until so many of the objects are as wanted, and returns when that was.
    pub(super) async fn all(
        &self,
        what: &str,
        count: usize,
        most: Duration,
        is_wanted: impl Fn(&T) -> bool,
    ) -> anyhow::Result<Instant> {
        let mut seen = 0;
        let waited = until(what, most, async || {
            seen = self.look(|known| known.values().filter(|one| is_wanted(one)).count());
            Ok((seen >= count).then(Instant::now))
        });
        let waited = waited.await;
        waited.with_context(|| format!("{seen} of {count}"))
    }
}

const fn kind(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
) -> Kind {
    Kind {
        group,
        version,
        kind,
        plural,
    }
}

fn resource(kind: &Kind) -> ApiResource {
    let slash = if kind.group.is_empty() { "" } else { "/" };
    ApiResource {
        group: kind.group.to_owned(),
        version: kind.version.to_owned(),
        api_version: format!("{}{slash}{}", kind.group, kind.version),
        kind: kind.kind.to_owned(),
        plural: kind.plural.to_owned(),
    }
}

fn typed(mut object: Value, resource: &ApiResource) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".to_owned(), json!(resource.api_version));
        fields.insert("kind".to_owned(), json!(resource.kind));
    }
    object
}

async fn bounded<T>(request: impl Future<Output = kube::Result<T>>) -> anyhow::Result<T> {
    let answer = time::timeout(REQUEST_MAX, request).await;
    Ok(answer.context("the API server does not answer")??)
}
