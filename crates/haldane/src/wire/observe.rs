//! What is observed of a rollout besides its requests: metric systems of other people, asked again and again, each metric by a task of its own;
//! and conversions, which the proxy counts.
//!
//! Between rollouts they are asked about stable alone, at a calmer pace, so that what is usual is known when the next one begins.
//!
//! The driver states on each turn what is watched and takes along what was told since; it never waits for an answer. A metric
//! system that is slow, broken or gone shows as data that grows old, which the judge knows how to take: nothing passes by it, and
//! nothing fails by it.
//!
//! **Invariant:** what a metric system says about one rollout never reaches another: each rollout has tasks and counters of its own.

pub(crate) mod ask;
pub(crate) mod measure;
pub(crate) mod question;
mod share;
pub(crate) mod watcher;

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use haldane_analysis::sequential::{Conversions, Counted, Counts, Observed, Routing};
use haldane_core::{
    RolloutId, ServiceName, VersionName, Weight,
    plan::metric::{Ask, Metric, Provider},
};
use haldane_engine::port::{Trial, Watch};
use haldane_supervisor::job::Jobs;
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tracing::warn;

use self::{
    ask::Asker,
    measure::Measuring,
    question::{Named, Question, window},
    share::Shares,
    watcher::Watcher,
};
use super::sampler::Converted;

/// How many observations wait for the driver at most; it takes them once a second.
const TOLD_MAX: usize = 256;

/// How many changes of the weight are remembered: more than any plan makes while an answer is on its way.
const WEIGHTS_MAX: usize = 64;

/// The time between two questions about stable alone: five of them tell what is usual in five minutes.
const CALM_INTERVAL: Duration = Duration::from_mins(1);

/// How long a question may take, with everything that belongs to it: looking up the name, all pages, and the one repetition.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Asks metric systems.
#[derive(Debug)]
pub(super) struct Observer {
    runtime: Handle,
    tasks: TaskTracker,
    asker: Asker,
    watched: BTreeMap<ServiceName, Watched>,
}

/// What the proxy counted since the last look.
#[derive(Debug, Default)]
pub(super) struct Proxied {
    /// How requests are routed, if that is known.
    pub(super) routing: Option<Routing>,
    /// Of stable and of the canary.
    pub(super) counts: [Converted; 2],
}

/// Whose metrics are asked for, and in whose name.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    /// What it is called in the log.
    pub(super) label: &'a str,
    /// Stable, as queries name it.
    pub(super) stable: Named<'a>,
    /// The canary, as queries name it, if there is one.
    pub(super) canary: Option<Named<'a>>,
    /// Who asks.
    pub(super) asker: &'a Asker,
}

/// A service that is watched.
#[derive(Debug)]
pub(super) struct Watched {
    subject: Subject,
    /// What the proxy counts, by the metric's name.
    conversions: BTreeMap<String, Conversions>,
    /// When it was looked at last.
    looked_at: Option<Timestamp>,
    shared: Shared,
    /// Ends the tasks when it is dropped.
    _stop: DropGuard,
}

/// What is watched; anything else is another watch.
#[derive(Debug, PartialEq, Eq)]
struct Subject {
    /// The rollout and the version on trial; `None` while stable is asked about alone.
    trial: Option<(RolloutId, VersionName)>,
    stable: VersionName,
    metrics: Vec<Metric>,
}

/// What the tasks of a rollout share with the driver.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared(Arc<Mutex<Inside>>);

#[derive(Debug, Default)]
struct Inside {
    told: VecDeque<Observed>,
    /// When which weight came into force.
    weights: VecDeque<(Timestamp, Weight)>,
    /// Why metrics have no data at present, by their names.
    troubles: BTreeMap<String, String>,
}

impl Observer {
    /// Returns an observer whose tasks run on this runtime and whose commands are these jobs.
    pub(super) fn new(runtime: &Handle, jobs: Jobs) -> Self {
        Self {
            runtime: runtime.clone(),
            tasks: TaskTracker::new(),
            asker: Asker::new(ANSWER_TIMEOUT, jobs),
            watched: BTreeMap::new(),
        }
    }

    /// Returns who asks.
    pub(super) const fn asker(&self) -> &Asker {
        &self.asker
    }

    /// Watches this of a service, or nothing, and returns what was told since the last call.
    pub(super) fn observed(
        &mut self,
        service: &ServiceName,
        watch: Option<&Watch<'_>>,
        proxied: &Proxied,
    ) -> Vec<Observed> {
        let Some(watch) = watch else {
            self.forget(service);
            return Vec::new();
        };
        let is_same = |known: &Watched| known.subject.is_of(watch);
        if !self.watched.get(service).is_some_and(is_same) {
            let asker = self.asker.in_dir(watch.dir.map(PathBuf::from));
            let names = BTreeMap::new();
            let named = |version| Named {
                service: service.as_str(),
                version,
                names: &names,
            };
            let about = About {
                label: service.as_str(),
                stable: named(watch.stable),
                canary: watch.trial.map(|trial| named(trial.canary)),
                asker: &asker,
            };
            let watched = self.begin(about, watch);
            self.watched.insert(service.clone(), watched);
        }
        let Some(watched) = self.watched.get_mut(service) else {
            return Vec::new();
        };
        let mut told = watched.take(proxied, watch.now);
        watched.shared.note_weight(watch.now, watch.weight);
        told.extend(watched.shared.told());
        told
    }

    /// Asks about a service no more.
    pub(super) fn forget(&mut self, service: &ServiceName) {
        self.watched.remove(service);
    }

    /// Begins to ask for what is watched, until what is returned is dropped.
    pub(super) fn begin(&self, about: About<'_>, watch: &Watch<'_>) -> Watched {
        let shared = Shared::default();
        let stop = CancellationToken::new();
        // The proxy's own counts are taken with the requests.
        let is_asked = |metric: &&Metric| metric.source.provider != Provider::Proxy;
        for metric in watch.metrics.iter().filter(is_asked) {
            let question = Question::of(window(metric), metric, about.stable, about.canary);
            let question = match question {
                Ok(question) => question,
                Err(error) => {
                    warn!(service = about.label, metric = metric.name, %error, "Metric can't be asked for");
                    shared.note_trouble(&metric.name, Some(error.to_string()));
                    continue;
                }
            };
            let watcher = Watcher {
                service: about.label.to_owned(),
                rollout: watch.trial.map(|trial| trial.rollout.clone()),
                interval: interval(metric, watch),
                metric: metric.clone(),
                asker: about.asker.clone(),
                measuring: Measuring::new(question.counting()),
                question,
                shares: Shares::default(),
                shared: shared.clone(),
            };
            let stopped = stop.clone();
            self.tasks.spawn_on(
                async move {
                    // Without end but for this one.
                    stopped.run_until_cancelled(Box::pin(watcher.watch())).await;
                },
                &self.runtime,
            );
        }
        let conversions = watch.metrics.iter().filter_map(|metric| {
            let Ask::Requests(requests) = &metric.ask else {
                return None;
            };
            let conversions = Conversions::new(metric.name.clone(), requests.within);
            Some((metric.name.clone(), conversions))
        });
        Watched {
            conversions: conversions.collect(),
            looked_at: None,
            subject: Subject {
                trial: watch
                    .trial
                    .map(|trial| (trial.rollout.clone(), trial.canary.clone())),
                stable: watch.stable.clone(),
                metrics: watch.metrics.to_vec(),
            },
            shared,
            _stop: stop.drop_guard(),
        }
    }
}

impl Watched {
    /// Returns what its tasks share with others.
    pub(super) const fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Takes in what the proxy counted since the last look; what came before the first is not this rollout's.
    fn take(&mut self, proxied: &Proxied, now: Timestamp) -> Vec<Observed> {
        let Some(from) = self.looked_at.replace(now) else {
            return Vec::new();
        };
        let mut told = Vec::new();
        for (metric, conversions) in &mut self.conversions {
            let [stable, canary] = proxied.counts.each_ref().map(|converted| {
                let counted = converted.get(metric).copied().unwrap_or_default();
                Counts {
                    exposure: counted.exposures,
                    events: counted.hits,
                }
            });
            told.extend(conversions.add(&Counted {
                from,
                to: now,
                routing: proxied.routing,
                stable,
                canary,
            }));
        }
        told
    }
}

impl Subject {
    fn is_of(&self, watch: &Watch<'_>) -> bool {
        let trial = self.trial.as_ref();
        let trial = trial.map(|(rollout, canary)| Trial { rollout, canary });
        trial == watch.trial && &self.stable == watch.stable && self.metrics == watch.metrics
    }
}

/// Returns the time between two questions: a minute and more where nobody waits for the answer.
fn interval(metric: &Metric, watch: &Watch<'_>) -> Duration {
    match watch.trial {
        Some(_) => metric.interval,
        None => metric.interval.max(CALM_INTERVAL),
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        // What a panicking holder left is still the last thing that was known.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in which weight is in force now.
    pub(super) fn note_weight(&self, now: Timestamp, weight: Weight) {
        self.lock().note_weight(now, weight);
    }

    /// Takes in why a metric has no data, or that it has some.
    pub(super) fn note_trouble(&self, metric: &str, trouble: Option<String>) {
        let mut inside = self.lock();
        match trouble {
            Some(trouble) => inside.troubles.insert(metric.to_owned(), trouble),
            None => inside.troubles.remove(metric),
        };
    }

    /// Returns why metrics have no data at present, one sentence each.
    pub(super) fn troubles(&self) -> Vec<String> {
        let inside = self.lock();
        let troubles = inside.troubles.iter();
        troubles
            .map(|(metric, why)| format!("{metric}: {why}"))
            .collect()
    }

    /// Returns what was told since the last call.
    pub(super) fn told(&self) -> Vec<Observed> {
        self.lock().told.drain(..).collect()
    }

    /// Tells the driver.
    fn tell(&self, observed: Observed) {
        let mut inside = self.lock();
        if inside.told.len() >= TOLD_MAX {
            inside.told.pop_front();
        }
        inside.told.push_back(observed);
    }

    /// Returns the weight that was in force at a time.
    pub(super) fn weight_at(&self, at: Timestamp) -> Weight {
        let inside = self.lock();
        let mut before = inside.weights.iter().rev();
        let known = before.find(|(from, _)| *from <= at);
        let known = known.or_else(|| inside.weights.front());
        known.map_or(Weight::ZERO, |(_, weight)| *weight)
    }
}

impl Inside {
    fn note_weight(&mut self, now: Timestamp, weight: Weight) {
        if self.weights.back().is_some_and(|(_, last)| *last == weight) {
            return;
        }
        if self.weights.len() >= WEIGHTS_MAX {
            self.weights.pop_front();
        }
        self.weights.push_back((now, weight));
    }
}

#[cfg(test)]
mod tests;
