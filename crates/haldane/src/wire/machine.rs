//! One machine as the engine's ports see it: processes, their health, and the routes to them.
//!
//! Processes come from the supervisor, health from the proxy's checker, routes go to the proxy; this is where the three meet. All of
//! it is a function of what is wished and what is seen, recomputed on each turn and handed on only where it differs.
//!
//! **Invariant:** the supervisor is told of a wish only when every service has stated its own, so that none is stopped by omission.

mod endpoints;
mod trouble;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use haldane_analysis::sequential::{Observed, Routing};
use haldane_api::file::{self, Service, Source, Upstream};
use haldane_core::{
    ServiceName, VersionName, Weight,
    rollout::{Replicas, Trouble, TroubleKind},
};
use haldane_engine::port::{
    Measurements, Route, RouteSeen, Size, Traffic, VersionWish, Watch, Workloads,
};
use haldane_proxy::{Conversion, Endpoint, Health, HealthChecker, Proxy, Reading, Target};
use haldane_supervisor::{
    self as supervisor, ReplicaSeen, Snapshot, Supervisor, VersionKey, WishedVersion,
};
use tokio::{runtime::Handle, sync::watch};
use tracing::{debug, error, warn};

use super::{
    observe::{Observer, Proxied},
    sampler::Sampler,
    table,
};

/// How long a version's old processes keep answering requests in flight before they are told to end.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// How long the proxy's threads may take to go over to a new table before it counts as not applied.
const SETTLE_TIMEOUT: Duration = Duration::from_millis(500);

/// The engine's ports on this machine; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    runtime: Handle,
    proxy: Arc<Proxy>,
    supervisor: Arc<Supervisor>,
    checker: HealthChecker,
    health: watch::Receiver<BTreeMap<SocketAddr, Health>>,
    services: BTreeMap<ServiceName, Setup>,
    listeners: BTreeMap<SocketAddr, SocketAddr>,
    endpoints: BTreeMap<EndpointKey, Known>,
    targets: Vec<Target>,
    /// The addresses of versions that were given by URL, each with the host to ask for.
    given: BTreeMap<VersionKey, Given>,
    asked: supervisor::Wish,
    /// The number of that wish; what the supervisor saw before it had it is about another one.
    asked_number: u64,
    sampler: Sampler,
    observer: Observer,
}

/// One service on this machine.
#[derive(Debug)]
struct Setup {
    file: Service,
    wishes: Vec<VersionWish>,
    /// What is to be routed.
    route: Option<Route>,
    /// How often that was changed.
    changes: u64,
    /// What every thread of the proxy was seen to route.
    applied: Option<Route>,
    /// What is counted for what is watched; without it it is what the file declares.
    watched: Option<Vec<Conversion>>,
}

/// One address of one version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct EndpointKey {
    service: ServiceName,
    version: VersionName,
    addr: SocketAddr,
    /// Which run of the process; an address that was given has none.
    run: u64,
}

#[derive(Debug)]
struct Known {
    endpoint: Endpoint,
    /// The process behind it, if it is one of ours.
    replica: Option<supervisor::ReplicaId>,
    /// The host that it is asked for, if not the client's.
    authority: Option<String>,
    /// A number of its own for the checker.
    target: u64,
}

#[derive(Debug)]
struct Given {
    resolved_at: Instant,
    urls: Vec<Upstream>,
    addresses: Vec<(SocketAddr, String)>,
}

impl Machine {
    pub(crate) fn new(runtime: Handle, proxy: Arc<Proxy>, supervisor: Arc<Supervisor>) -> Self {
        let checker = HealthChecker::new();
        let health = checker.watch();
        let inner = Inner {
            observer: Observer::new(&runtime, supervisor.jobs().clone()),
            runtime,
            proxy,
            supervisor,
            checker,
            health,
            services: BTreeMap::new(),
            listeners: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            targets: Vec::new(),
            given: BTreeMap::new(),
            asked: supervisor::Wish::default(),
            asked_number: 0,
            sampler: Sampler::default(),
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// Returns the real addresses that are listened on, by the addresses that were asked for.
    pub(crate) fn listeners(&self) -> BTreeMap<SocketAddr, SocketAddr> {
        self.lock().listeners.clone()
    }

    /// Returns an address at which a version answers.
    pub(crate) fn address_of(
        &self,
        service: &ServiceName,
        version: &VersionName,
    ) -> Option<SocketAddr> {
        let inner = self.lock();
        let mut known = inner.endpoints.iter().filter(|(key, known)| {
            &key.service == service && &key.version == version && known.endpoint.is_healthy()
        });
        known.next().map(|(key, _)| key.addr)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What a panicking holder left is still the last thing that was known.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Workloads for Machine {
    fn configure(&mut self, service: &ServiceName, setup: &Service) {
        self.lock().setup(service, setup);
    }

    fn look(&mut self) {
        self.lock().look();
    }

    fn act(&mut self) {
        self.lock().act();
    }

    fn ensure(&mut self, service: &ServiceName, wishes: &[VersionWish]) {
        if let Some(setup) = self.lock().services.get_mut(service)
            && setup.wishes != wishes
        {
            setup.wishes = wishes.to_vec();
        }
    }

    fn seen(&mut self, service: &ServiceName, version: &VersionName) -> Replicas {
        self.lock().replicas(service, version)
    }

    fn trouble(&mut self, service: &ServiceName, version: &VersionName) -> Option<Trouble> {
        self.lock().trouble(service, version)
    }

    fn remove(&mut self, service: &ServiceName) {
        let mut inner = self.lock();
        inner.services.remove(service);
        inner.observer.forget(service);
        inner.publish();
    }
}

impl Traffic for Machine {
    fn configure(&mut self, services: &BTreeMap<ServiceName, Service>) -> Result<(), String> {
        let mut inner = self.lock();
        let addrs: BTreeSet<SocketAddr> = services
            .values()
            .flat_map(|service| service.listen.iter().copied())
            .collect();
        let addrs: Vec<SocketAddr> = addrs.into_iter().collect();
        let proxy = Arc::clone(&inner.proxy);
        let real = inner
            .runtime
            .block_on(proxy.listen(&addrs))
            .map_err(|error| describe(&error))?;
        inner.listeners = addrs.into_iter().zip(real).collect();
        for (name, service) in services {
            inner.setup(name, service);
        }
        inner.publish();
        Ok(())
    }

    fn listeners(&mut self) -> BTreeMap<SocketAddr, SocketAddr> {
        Self::listeners(self)
    }

    fn ensure(&mut self, service: &ServiceName, route: &Route) {
        let mut inner = self.lock();
        let Some(setup) = inner.services.get_mut(service) else {
            return;
        };
        if setup.route.as_ref() == Some(route) && setup.applied.as_ref() == Some(route) {
            return;
        }
        if setup.route.as_ref() != Some(route) {
            setup.changes = setup.changes.saturating_add(1);
        }
        setup.route = Some(route.clone());
        inner.look();
        inner.publish();
    }

    fn seen(&mut self, service: &ServiceName) -> Option<RouteSeen> {
        let inner = self.lock();
        let route = inner.services.get(service)?.applied.clone()?;
        let in_flight = |version| inner.proxy.in_flight(service, version);
        Some(RouteSeen {
            stable_in_flight: in_flight(&route.stable.version),
            canary_in_flight: route
                .canary
                .as_ref()
                .map_or(0, |canary| in_flight(&canary.version)),
            route,
        })
    }

    fn address(&mut self, service: &ServiceName, version: &VersionName) -> Option<SocketAddr> {
        self.address_of(service, version)
    }
}

impl Measurements for Machine {
    fn take(&mut self, service: &ServiceName, version: &VersionName) -> haldane_analysis::Sample {
        let mut inner = self.lock();
        let replicas = inner.replicas(service, version);
        let Inner {
            sampler,
            proxy,
            supervisor,
            ..
        } = &mut *inner;
        sampler.refresh(proxy, supervisor);
        sampler.take(service, version, replicas)
    }

    fn forget(&mut self, service: &ServiceName, version: &VersionName) {
        let mut inner = self.lock();
        inner.sampler.forget(service, version);
        inner.proxy.forget(service, version);
    }

    fn observed(&mut self, service: &ServiceName, watch: Option<&Watch<'_>>) -> Vec<Observed> {
        self.lock().observed(service, watch)
    }
}

impl Inner {
    fn setup(&mut self, name: &ServiceName, file: &Service) {
        match self.services.get_mut(name) {
            Some(setup) => setup.file = file.clone(),
            None => {
                let setup = Setup {
                    file: file.clone(),
                    wishes: Vec::new(),
                    route: None,
                    changes: 0,
                    applied: None,
                    watched: None,
                };
                self.services.insert(name.clone(), setup);
            }
        }
    }

    fn observed(&mut self, service: &ServiceName, watch: Option<&Watch<'_>>) -> Vec<Observed> {
        let mut converted = |version| self.sampler.converted(service, version);
        let counts = watch.map(|watch| {
            let canary = watch.trial.map(|trial| converted(trial.canary));
            [converted(watch.stable), canary.unwrap_or_default()]
        });
        let Some(setup) = self.services.get_mut(service) else {
            return self.observer.observed(service, None, &Proxied::default());
        };
        let proxied = Proxied {
            routing: setup.routing(),
            counts: counts.unwrap_or_default(),
        };
        let watched = watch.map(|watch| table::conversions(watch.metrics));
        if setup.watched != watched {
            let before = setup.conversions();
            setup.watched = watched;
            if setup.conversions() != before {
                self.publish();
            }
        }
        self.observer.observed(service, watch, &proxied)
    }

    /// Hands the routes to the proxy, and notes them as applied when every thread has gone over to them.
    fn publish(&mut self) {
        let conversions: BTreeMap<_, _> = self
            .services
            .iter()
            .map(|(name, setup)| (name, setup.conversions()))
            .collect();
        let inputs = self.services.iter().filter_map(|(name, setup)| {
            let route = setup.route.as_ref()?;
            let endpoints = |version: &VersionName| self.endpoints_of(name, version);
            let canary = route
                .canary
                .as_ref()
                .map(|canary| endpoints(&canary.version))
                .unwrap_or_default();
            Some(table::Input {
                name,
                file: &setup.file,
                route,
                conversions: conversions.get(name).map_or(&[], Vec::as_slice),
                stable: endpoints(&route.stable.version),
                canary,
            })
        });
        let table = match table::build(inputs, &self.listeners) {
            Ok(table) => table,
            Err(why) => {
                error!(%why, "Routes cannot be built; the last ones stay");
                return;
            }
        };
        self.proxy.publish(table);
        let proxy = Arc::clone(&self.proxy);
        let settled = self
            .runtime
            .block_on(async { tokio::time::timeout(SETTLE_TIMEOUT, proxy.settle()).await });
        if settled.is_err() {
            warn!("Proxy threads are slow to take the new routes");
        }
        for setup in self.services.values_mut() {
            // Threads may be on either table until they have settled: then nothing is known, rather than the old.
            setup.applied = setup.route.clone().filter(|_| settled.is_ok());
        }
    }

    fn endpoints_of(&self, service: &ServiceName, version: &VersionName) -> Vec<Endpoint> {
        self.endpoints
            .iter()
            .filter(|(key, _)| &key.service == service && &key.version == version)
            .map(|(_, known)| known.endpoint.clone())
            .collect()
    }

    fn replicas(&self, service: &ServiceName, version: &VersionName) -> Replicas {
        let Some(setup) = self.services.get(service) else {
            return Replicas::default();
        };
        let wish = setup
            .wishes
            .iter()
            .find(|wish| &wish.spec.version == version);
        let endpoints = self
            .endpoints
            .iter()
            .filter(|(key, _)| &key.service == service && &key.version == version);
        let ready = endpoints
            .filter(|(_, known)| known.endpoint.is_healthy())
            .count();
        let is_given = wish.is_some_and(|wish| matches!(wish.spec.source, Source::Urls(_)));
        let existing = if is_given {
            self.endpoints_of(service, version).len()
        } else {
            self.supervisor
                .snapshot()
                .replicas
                .iter()
                .filter(|replica| is_of(replica, service, version))
                .count()
        };
        let wanted = wish.map_or(0, |wish| match (&wish.spec.source, wish.size) {
            (Source::Urls(urls), _) => u32::try_from(urls.len()).unwrap_or(u32::MAX),
            (Source::Run { .. }, Size::Replicas(count)) => count,
            (Source::Run { .. }, Size::Kept) => u32::try_from(existing).unwrap_or(u32::MAX),
        });
        Replicas {
            wanted,
            ready: u32::try_from(ready).unwrap_or(u32::MAX),
            existing: u32::try_from(existing).unwrap_or(u32::MAX),
            is_fixed: is_given,
        }
    }

    /// Returns why some replicas of a version are not ready.
    fn trouble(&self, service: &ServiceName, version: &VersionName) -> Option<Trouble> {
        let setup = self.services.get(service)?;
        let mut wishes = setup.wishes.iter();
        let wish = wishes.find(|wish| &wish.spec.version == version)?;
        if matches!(wish.spec.source, Source::Urls(_)) {
            return self.trouble_of_given(service, version, &setup.file.health);
        }
        let snapshot = self.supervisor.snapshot();
        let key = VersionKey {
            service: service.clone(),
            version: version.clone(),
        };
        // What was seen of another command line or before a restart says nothing about this one.
        let asked = self.asked.versions.get(&key)?;
        let wished = self.wished(&key, setup, wish, &snapshot)?;
        let is_current = snapshot.wish == self.asked_number
            && (&wished.spec, wished.generation) == (&asked.spec, asked.generation);
        let replicas = snapshot.replicas.iter();
        let replicas = replicas.filter(|replica| is_of(replica, service, version));
        is_current
            .then(|| trouble::gravest(replicas, &setup.file.health))
            .flatten()
    }

    fn trouble_of_given(
        &self,
        service: &ServiceName,
        version: &VersionName,
        health: &file::Health,
    ) -> Option<Trouble> {
        let mut endpoints = self.endpoints.iter().filter(|(key, known)| {
            &key.service == service && &key.version == version && !known.endpoint.is_healthy()
        });
        let (key, _) = endpoints.next()?;
        Some(Trouble {
            kind: TroubleKind::NotReady,
            said: format!("{} does not {}", key.addr, trouble::question(health)),
        })
    }

    /// Tells the supervisor what all services wish.
    fn act(&mut self) {
        let snapshot = self.supervisor.snapshot();
        let mut wish = supervisor::Wish::default();
        for (name, setup) in &self.services {
            for version in &setup.wishes {
                let key = VersionKey {
                    service: name.clone(),
                    version: version.spec.version.clone(),
                };
                if let Some(wished) = self.wished(&key, setup, version, &snapshot) {
                    wish.versions.insert(key, wished);
                }
            }
        }
        if wish != self.asked {
            debug!(versions = wish.versions.len(), "Supervisor is asked anew");
            self.asked = wish.clone();
            self.asked_number = self.supervisor.ensure(wish);
        }
    }

    fn wished(
        &self,
        key: &VersionKey,
        setup: &Setup,
        wish: &VersionWish,
        snapshot: &Snapshot,
    ) -> Option<WishedVersion> {
        let Source::Run {
            argv,
            env,
            dir,
            user,
            ..
        } = &wish.spec.source
        else {
            return None;
        };
        let asked = self.asked.versions.get(key);
        let replicas = match wish.size {
            Size::Replicas(count) => count,
            // What was asked for before goes on; after a start of the daemon that is what is there.
            Size::Kept => asked.map_or_else(
                || {
                    let kept = snapshot
                        .replicas
                        .iter()
                        .filter(|replica| is_of(replica, &key.service, &key.version));
                    u32::try_from(kept.count()).unwrap_or(u32::MAX)
                },
                |asked| asked.replicas,
            ),
        };
        let restart = wish.restart_since.map_or(0, |since| {
            u64::try_from(since.as_millisecond()).unwrap_or(0)
        });
        let spec = supervisor::VersionSpec {
            argv: argv.clone(),
            env: env.clone(),
            dir: Some(dir.into()),
            user: user.clone(),
            drain_grace: DRAIN_GRACE,
            stop_grace: setup.file.stop_grace,
            start_grace: setup.file.start_grace,
            log: supervisor::LogLimits::default(),
        };
        Some(WishedVersion {
            spec,
            replicas: replicas.min(supervisor::REPLICAS_MAX),
            generation: restart,
        })
    }
}

impl Setup {
    /// Returns what is counted besides.
    fn conversions(&self) -> Vec<Conversion> {
        let watched = self.watched.clone();
        watched.unwrap_or_else(|| table::conversions(&self.file.plan.rules().metrics))
    }

    /// Returns how requests are routed, if all threads are known to do it.
    fn routing(&self) -> Option<Routing> {
        let applied = self.applied.as_ref()?;
        let routing = &applied.routing;
        Some(Routing {
            weight: applied
                .canary
                .as_ref()
                .map_or(Weight::ZERO, |_| routing.weight),
            is_by_chance: routing.header_routes.is_empty(),
            change: self.changes,
        })
    }
}

fn is_of(replica: &ReplicaSeen, service: &ServiceName, version: &VersionName) -> bool {
    &replica.id.service == service && &replica.id.version == version
}

fn describe(error: &dyn std::error::Error) -> String {
    error
        .source()
        .map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// What a machine counts at one moment, for the daemon's metrics.
impl Machine {
    /// Returns how long the processes of any service may take to end once they are told to.
    pub(crate) fn stop_grace(&self) -> Duration {
        let inner = self.lock();
        let graces = inner.services.values().map(|setup| setup.file.stop_grace);
        graces.max().unwrap_or_default().saturating_add(DRAIN_GRACE)
    }

    pub(crate) fn reading(&self) -> Reading {
        self.lock().proxy.read()
    }
}
