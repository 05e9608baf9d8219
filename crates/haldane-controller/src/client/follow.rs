//! Following releases by watches: what changed is told, and nothing is asked for again.
//!
//! [`Scene`] is pure: it takes what the watches say and tells which releases look different now. **Invariant:** nothing is told of a
//! release before everything that its view is made of was seen once, so that no replica seems to be missing that is not.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::{
    StreamExt as _,
    stream::{BoxStream, SelectAll},
};
use haldane_api::release::TERMINAL_ANNOTATION;
use haldane_core::ServiceName;
use haldane_router::Kind;
use jiff::Timestamp;
use kube::{
    api::DynamicObject,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event},
    },
};
use serde_json::Value;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    Cluster, ClusterError, Looked, is_without, looked, to_value,
    tree::{self, Inventory},
};
use crate::{
    carrier::{Carrier, annotation},
    kinds::{DAEMON_SET, DEPLOYMENT, POD, RELEASE, REPLICA_SET, STATEFUL_SET},
    release::Release,
};

/// How long changes are collected: a rollout changes many objects at once.
const COLLECT: Duration = Duration::from_millis(100);

/// Views that wait for their reader; more only make what is shown older.
const QUEUE_LEN: usize = 16;

/// What is seen of a cluster.
#[derive(Debug)]
pub enum Sighting {
    /// A release looks like this now.
    Service(Box<Looked>),
    /// The cluster can't be heard; it is tried again.
    Lost(ClusterError),
}

type Name = (String, String);
type Told = (&'static Kind, watcher::Result<Event<DynamicObject>>);

impl Cluster {
    /// Follows one release with its objects, or all of a namespace or the cluster, until the receiver or the tasks are dropped.
    pub fn follow(
        &self,
        namespace: Option<&str>,
        name: Option<&ServiceName>,
        tasks: &mut JoinSet<()>,
    ) -> mpsc::Receiver<Sighting> {
        let (tx, rx) = mpsc::channel(QUEUE_LEN);
        let mut kinds = vec![&RELEASE, &DEPLOYMENT, &STATEFUL_SET, &DAEMON_SET];
        if name.is_some() {
            kinds.extend([&REPLICA_SET, &POD]);
        }
        let mut events = SelectAll::new();
        for kind in &kinds {
            events.push(self.watch(kind, namespace, name));
        }
        let one = name.map(|name| (namespace.unwrap_or_default().to_owned(), name.clone()));
        let cluster = self.clone();
        tasks.spawn(async move { cluster.pass_on(events, Scene::new(&kinds, one), &tx).await });
        rx
    }

    fn watch(
        &self,
        kind: &'static Kind,
        namespace: Option<&str>,
        name: Option<&ServiceName>,
    ) -> BoxStream<'static, Told> {
        let mut config = watcher::Config::default();
        if let (Some(name), true) = (name, *kind == RELEASE) {
            config = config.fields(&format!("metadata.name={name}"));
        }
        watcher::watcher(self.api(kind, namespace), config)
            .default_backoff()
            .map(move |event| (kind, event))
            .boxed()
    }

    /// Passes on what changes until the reader is gone.
    async fn pass_on(
        &self,
        mut events: SelectAll<BoxStream<'static, Told>>,
        mut scene: Scene,
        tx: &mpsc::Sender<Sighting>,
    ) {
        let mut due: Option<Instant> = None;
        loop {
            let collected = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let told = tokio::select! {
                () = tx.closed() => return,
                () = collected => {
                    due = None;
                    for sighting in scene.changes((self.clock)()) {
                        if tx.send(sighting).await.is_err() {
                            return;
                        }
                    }
                    continue;
                }
                told = events.next() => told,
            };
            match told {
                None => return,
                Some((kind, Ok(event))) => {
                    scene.take(kind, event);
                    due.get_or_insert_with(|| Instant::now() + COLLECT);
                }
                Some((kind, Err(error))) => {
                    let error = self.of_watch(&error);
                    if *kind != RELEASE || is_without(&error) {
                        // Somebody who may not see pods can follow their release all the same.
                        scene.do_without(kind, error);
                        due.get_or_insert_with(|| Instant::now() + COLLECT);
                    } else if tx.send(Sighting::Lost(error)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Says what an error of a watch means.
    pub(super) fn of_watch(&self, error: &watcher::Error) -> ClusterError {
        match error {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => ClusterError::of(error, &self.url),
            watcher::Error::WatchError(status) => ClusterError::of_status(status),
            watcher::Error::NoResourceVersion => ClusterError::Other(error.to_string()),
        }
    }
}

/// What the watches have told so far.
#[derive(Debug)]
struct Scene {
    /// The one release that is followed, if it is one.
    one: Option<(String, ServiceName)>,
    /// The kinds that have not told everything yet.
    awaited: BTreeSet<&'static Kind>,
    objects: BTreeMap<&'static Kind, BTreeMap<Name, Value>>,
    /// Releases that are kept on workloads, by kind of these and then by their own names.
    carried: BTreeMap<&'static Kind, BTreeMap<Name, Value>>,
    /// Why there are no Releases of their own.
    without: Option<ClusterError>,
    /// What a list that goes on has told so far.
    listed: BTreeMap<&'static Kind, BTreeMap<Name, Value>>,
    /// Releases that may look different.
    dirty: BTreeSet<Name>,
    told: BTreeMap<Name, Looked>,
}

impl Scene {
    fn new(kinds: &[&'static Kind], one: Option<(String, ServiceName)>) -> Self {
        Self {
            one,
            awaited: kinds.iter().copied().collect(),
            objects: BTreeMap::new(),
            carried: BTreeMap::new(),
            without: None,
            listed: BTreeMap::new(),
            dirty: BTreeSet::new(),
            told: BTreeMap::new(),
        }
    }

    fn take(&mut self, kind: &'static Kind, event: Event<DynamicObject>) {
        match event {
            Event::Init => {
                self.listed.insert(kind, BTreeMap::new());
            }
            Event::InitApply(object) => {
                let (name, object) = named(object, kind);
                self.listed.entry(kind).or_default().insert(name, object);
            }
            Event::InitDone => {
                let listed = self.listed.remove(kind).unwrap_or_default();
                let before = self.objects.insert(kind, listed).unwrap_or_default();
                self.awaited.remove(kind);
                if *kind == RELEASE {
                    self.dirty.extend(before.into_keys());
                }
                self.carry_all(kind);
                let releases: Vec<Name> = self.releases().map(|(name, _)| name.clone()).collect();
                self.dirty.extend(releases);
            }
            Event::Apply(object) => {
                let (name, object) = named(object, kind);
                self.mark(kind, &name, &object);
                self.carry(kind, &object);
                self.objects.entry(kind).or_default().insert(name, object);
            }
            Event::Delete(object) => {
                let (name, object) = named(object, kind);
                self.mark(kind, &name, &object);
                self.objects.entry(kind).or_default().remove(&name);
                self.carry_all(kind);
            }
        }
    }

    /// Stops waiting for a kind that we may not see.
    fn do_without(&mut self, kind: &'static Kind, error: ClusterError) {
        if error.is_final() {
            self.awaited.remove(kind);
        }
        if *kind == RELEASE {
            self.without = Some(error);
        }
    }

    /// Returns all releases with their names, also those that are kept on workloads.
    fn releases(&self) -> impl Iterator<Item = (&Name, &Value)> {
        let own = self.objects.get(&RELEASE).into_iter();
        own.chain(self.carried.values()).flatten()
    }

    /// Takes in the release that a workload carries, if it is one that is followed.
    fn carry(&mut self, kind: &'static Kind, object: &Value) {
        let Some(Ok(carrier)) = Carrier::read(kind, object.clone()) else {
            return;
        };
        let name = (
            carrier.target.namespace.clone(),
            carrier.terminal.name.clone(),
        );
        let one = self.one.as_ref();
        if one.is_none_or(|(_, one)| one.as_str() == name.1) {
            self.dirty.insert(name.clone());
            let carried = self.carried.entry(kind).or_default();
            carried.insert(name, carrier.release());
        }
    }

    /// Takes in the releases that the workloads of a kind carry, and no others.
    fn carry_all(&mut self, kind: &'static Kind) {
        self.dirty.extend(
            self.carried
                .remove(kind)
                .into_iter()
                .flat_map(BTreeMap::into_keys),
        );
        let all = self
            .objects
            .get(kind)
            .into_iter()
            .flat_map(BTreeMap::values);
        let carrying: Vec<Value> = all
            .filter(|object| annotation(object, TERMINAL_ANNOTATION).is_some())
            .cloned()
            .collect();
        for object in &carrying {
            self.carry(kind, object);
        }
    }

    /// Notes which releases a changed object concerns.
    fn mark(&mut self, kind: &'static Kind, name: &Name, object: &Value) {
        if *kind == RELEASE {
            self.dirty.insert(name.clone());
            return;
        }
        let releases = self.releases();
        let concerned = releases.filter(|((namespace, _), release)| {
            // Of one release all objects matter; of many only those that their rows are made of.
            self.one.is_some()
                || *namespace == name.0
                    && Release::read(release).is_ok_and(|release| tree::is_root(&release, object))
        });
        let concerned: Vec<Name> = concerned.map(|(name, _)| name.clone()).collect();
        self.dirty.extend(concerned);
    }

    /// Returns what looks different now; nothing until everything was seen once.
    fn changes(&mut self, now: Timestamp) -> Vec<Sighting> {
        if !self.awaited.is_empty() {
            return Vec::new();
        }
        let dirty = std::mem::take(&mut self.dirty);
        let mut changes = Vec::new();
        for name in dirty {
            let Some(view) = self.view(&name, now) else {
                self.told.remove(&name);
                continue;
            };
            if self
                .told
                .get(&name)
                .is_none_or(|before| is_news(before, &view))
            {
                self.told.insert(name, view.clone());
                changes.push(Sighting::Service(Box::new(view)));
            }
        }
        if self.told.is_empty()
            && let Some(error) = self.without.take()
        {
            changes.push(Sighting::Lost(error));
        } else if let Some((namespace, name)) = &self.one
            && self.told.is_empty()
        {
            let (namespace, name) = (namespace.clone(), name.clone());
            changes.push(Sighting::Lost(ClusterError::Gone { namespace, name }));
        }
        changes
    }

    fn view(&self, name: &Name, now: Timestamp) -> Option<Looked> {
        let own = self.objects.get(&RELEASE).and_then(|all| all.get(name));
        let release = own.or_else(|| self.carried.values().find_map(|all| all.get(name)))?;
        let release = Release::read(release).ok()?;
        let of = |kind: &'static Kind| {
            self.objects
                .get(kind)
                .into_iter()
                .flat_map(BTreeMap::values)
        };
        let workloads = [&DEPLOYMENT, &STATEFUL_SET, &DAEMON_SET];
        let inventory = Inventory {
            workloads: workloads.into_iter().flat_map(of).collect(),
            replica_sets: of(&REPLICA_SET).collect(),
            pods: of(&POD).collect(),
        };
        let mut looked = looked(&release, &inventory, now);
        if self.one.is_none() {
            // Who looks at many looks at none of them closely.
            looked.view.objects = Vec::new();
            looked.watch = None;
        }
        Some(looked)
    }
}

/// Whether two views differ in more than the time.
fn is_news(before: &Looked, now: &Looked) -> bool {
    let mut before = before.clone();
    before.view.at = now.view.at;
    before != *now
}

fn named(mut object: DynamicObject, kind: &Kind) -> (Name, Value) {
    object.metadata.managed_fields = None;
    let name = (
        object.metadata.namespace.clone().unwrap_or_default(),
        object.metadata.name.clone().unwrap_or_default(),
    );
    (name, to_value(object, kind))
}

#[cfg(test)]
mod tests;
