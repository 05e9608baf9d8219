//! The meter of the Kubernetes home: what metric systems count of releases, each release by tasks of its own.
//!
//! The requests of both versions are counted by their router, mesh or pods, and a Prometheus knows them: one task asks for them, and
//! makes of each new scrape a batch, as the standalone home's proxy would have counted it. Declared metrics are asked for by the same
//! tasks as in the standalone home. How many questions a metric system gets at once is bounded over all releases.
//!
//! **Invariant:** each increment is counted at most once, and what was there before the first look never.
//!
//! **Invariant:** of a release no secret is used but those in its namespace's directory.

mod names;
mod poller;
pub(crate) mod spot;

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use haldane_analysis::Batch;
use haldane_controller::{
    meter::{Measured, Meter, Watch},
    turn::Key,
};
use haldane_engine::port::{self, Trial};
use haldane_source::traffic::Side;
use haldane_supervisor::job::Jobs;
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tracing::warn;

use self::{names::names, poller::Poller};
use super::observe::{About, Observer, Shared, Watched, question::Named};

/// How many batches wait for the host at most: twenty minutes of scrapes, while it takes them every few seconds.
const BATCHES_MAX: usize = 256;

/// What the requests are called among the metrics; none of those can have a blank in its name.
const REQUESTS: &str = "the requests";

/// Measures releases.
#[derive(Debug)]
pub(crate) struct ClusterMeter {
    runtime: Handle,
    tasks: TaskTracker,
    observer: Observer,
    secrets_dir: PathBuf,
    watched: Mutex<BTreeMap<Key, Metered>>,
}

/// A release that is measured.
#[derive(Debug)]
struct Metered {
    watch: Watch,
    observed: Watched,
    batches: Batches,
    /// Ends the counting of requests when it is dropped.
    _stop: DropGuard,
}

/// The batches that wait for the host.
#[derive(Clone, Debug, Default)]
struct Batches(Arc<Mutex<VecDeque<Batch>>>);

impl ClusterMeter {
    /// Returns a meter whose tasks run on this runtime, for releases whose secrets are in this directory, by namespace.
    pub(crate) fn new(runtime: &Handle, secrets_dir: PathBuf) -> Self {
        Self {
            runtime: runtime.clone(),
            tasks: TaskTracker::new(),
            observer: Observer::new(runtime, Jobs::alone()),
            secrets_dir,
            watched: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Metered>> {
        // What a panicking holder left is still the last thing that was known.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, key: &Key, watch: &Watch, now: Timestamp) -> Metered {
        // A namespace has a DNS label for a name, which leads nowhere else.
        let secrets = self.secrets_dir.join(&key.namespace);
        let asker = self.observer.asker().for_user(secrets);
        let label = key.to_string();
        let of = |side| names(&watch.places, side);
        let names = [of(Side::Stable), of(Side::Canary)];
        let [stable, canary] = [
            (&watch.places.stable, &watch.stable, &names[0]),
            (&watch.places.canary, &watch.canary, &names[1]),
        ]
        .map(|(place, version, names)| Named {
            service: &place.service,
            version,
            names,
        });
        let about = About {
            label: &label,
            stable,
            canary: Some(canary),
            asker: &asker,
        };
        let observed = self.observer.begin(
            about,
            &port::Watch {
                trial: Some(Trial {
                    rollout: &watch.rollout,
                    canary: &watch.canary,
                }),
                stable: &watch.stable,
                weight: watch.weight,
                metrics: &watch.metrics,
                dir: None,
                now,
            },
        );
        let batches = Batches::default();
        let stop = CancellationToken::new();
        let shared = observed.shared().clone();
        let poller = self.poller(watch, about, &shared, &batches);
        if let Some(poller) = poller {
            let stopped = stop.clone();
            self.tasks.spawn_on(
                async move {
                    // Without end but for this one.
                    stopped.run_until_cancelled(Box::pin(poller.poll())).await;
                },
                &self.runtime,
            );
        }
        Metered {
            watch: watch.clone(),
            observed,
            batches,
            _stop: stop.drop_guard(),
        }
    }

    fn poller(
        &self,
        watch: &Watch,
        about: About<'_>,
        shared: &Shared,
        batches: &Batches,
    ) -> Option<Poller> {
        let requests = watch.requests.as_ref()?;
        let poller = Poller::try_new(requests, about, shared.clone(), batches.clone());
        poller
            .inspect_err(|error| {
                warn!(release = about.label, %error, "Requests can't be counted");
                shared.note_trouble(REQUESTS, Some(error.to_string()));
            })
            .ok()
    }
}

impl Meter for ClusterMeter {
    fn watch(&self, key: &Key, watch: Option<&Watch>) {
        let mut watched = self.lock();
        let Some(watch) = watch else {
            watched.remove(key);
            return;
        };
        let now = Timestamp::now();
        let is_same = |known: &Metered| is_same(&known.watch, watch);
        if !watched.get(key).is_some_and(is_same) {
            watched.insert(key.clone(), self.begin(key, watch, now));
        }
        if let Some(metered) = watched.get(key) {
            metered.observed.shared().note_weight(now, watch.weight);
        }
    }

    fn take(&self, key: &Key) -> Measured {
        let watched = self.lock();
        let Some(metered) = watched.get(key) else {
            return Measured::default();
        };
        let shared = metered.observed.shared();
        Measured {
            batches: metered.batches.take(),
            told: shared.told(),
            faults: shared.troubles(),
        }
    }
}

impl Batches {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Batch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, batch: Batch) {
        let mut batches = self.lock();
        if batches.len() >= BATCHES_MAX {
            batches.pop_front();
        }
        batches.push_back(batch);
    }

    fn take(&self) -> Vec<Batch> {
        self.lock().drain(..).collect()
    }
}

/// Whether two watches are the same but for their weights.
fn is_same(known: &Watch, watch: &Watch) -> bool {
    let Watch {
        rollout,
        stable,
        canary,
        weight: _,
        metrics,
        requests,
        places,
    } = known;
    rollout == &watch.rollout
        && stable == &watch.stable
        && canary == &watch.canary
        && places == &watch.places
        && requests == &watch.requests
        && metrics == &watch.metrics
}

#[cfg(test)]
mod tests;
