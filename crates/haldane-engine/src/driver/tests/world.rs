//! The other side of the ports: a world in memory that does what a test says, and notes what was asked of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use haldane_analysis::{
    Bucket, Sample,
    sequential::{Counts, Observed, Reading},
};
use haldane_api::file::{Notify as NotifyTarget, Service};
use haldane_core::{
    RolloutId, ServiceName, VersionName, Weight,
    plan::Gate,
    rollout::{GateKey, Replicas, Trouble},
};
use jiff::{SignedDuration, Timestamp};

use crate::port::{
    Clock, GateSubject, Gates, Measurements, News, Notify, Ports, Route, RouteSeen, Size, Traffic,
    VersionWish, Watch, Workloads,
};

/// Requests per second to each service.
pub(super) const RATE: u64 = 200;

pub(super) type Key = (ServiceName, VersionName);

/// The world; clones share it.
#[derive(Clone)]
pub(super) struct World(Arc<Mutex<Inside>>);

pub(super) struct Inside {
    pub(super) wall: Timestamp,
    pub(super) uptime: SignedDuration,
    /// Which services are listened for.
    pub(super) services: BTreeMap<ServiceName, Service>,
    /// Why no address can be had.
    pub(super) listen_fault: Option<String>,
    pub(super) wishes: BTreeMap<ServiceName, Vec<VersionWish>>,
    pub(super) replicas: BTreeMap<Key, Running>,
    /// How many turns a new replica takes to be ready.
    pub(super) start_turns: u32,
    /// Versions whose replicas do not answer.
    pub(super) deaf: BTreeSet<VersionName>,
    /// What is wrong with versions.
    pub(super) troubles: BTreeMap<VersionName, Trouble>,
    /// Addresses that are not the ones that were asked for.
    pub(super) listeners: BTreeMap<SocketAddr, SocketAddr>,
    pub(super) routes: BTreeMap<ServiceName, Routed>,
    /// How many turns the router takes; `None` for ever.
    pub(super) router_turns: Option<u32>,
    /// Requests in flight, while the version is let go.
    pub(super) in_flight: BTreeMap<VersionName, u64>,
    /// Which share of a version's requests fails, in parts of a thousand.
    pub(super) failing: BTreeMap<VersionName, u64>,
    pub(super) counted: BTreeMap<Key, (u64, u64)>,
    told: BTreeMap<Key, (u64, u64)>,
    /// Which share of a version's payments fails, in parts of a thousand, as a metric system tells; nothing is told where it is empty.
    pub(super) payments: BTreeMap<VersionName, u64>,
    /// Until when payments were told.
    pub(super) paid_until: Option<Timestamp>,
    /// About which canary metric systems are asked.
    pub(super) asked_canary: Option<VersionName>,
    pub(super) forgotten: Vec<VersionName>,
    pub(super) asked: Vec<(GateKey, GateSubject)>,
    pub(super) gates_forgotten: Vec<RolloutId>,
    pub(super) news: Vec<News>,
    pub(super) targets: Vec<NotifyTarget>,
    /// What a world must never see.
    pub(super) violations: Vec<String>,
}

/// A version that runs.
pub(super) struct Running {
    pub(super) count: u32,
    pub(super) restart_since: Option<Timestamp>,
    /// How many turns are left until it is ready.
    pub(super) turns: u32,
}

/// A service's routing.
pub(super) struct Routed {
    /// What was asked for last.
    pub(super) wanted: Route,
    /// What is in force.
    pub(super) applied: Route,
    turns: u32,
}

impl World {
    pub(super) fn new(wall: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Inside {
            wall,
            uptime: SignedDuration::from_secs(1_000),
            services: BTreeMap::new(),
            listen_fault: None,
            wishes: BTreeMap::new(),
            replicas: BTreeMap::new(),
            start_turns: 0,
            deaf: BTreeSet::new(),
            troubles: BTreeMap::new(),
            listeners: BTreeMap::new(),
            routes: BTreeMap::new(),
            router_turns: Some(0),
            in_flight: BTreeMap::new(),
            failing: BTreeMap::new(),
            counted: BTreeMap::new(),
            told: BTreeMap::new(),
            payments: BTreeMap::new(),
            paid_until: None,
            asked_canary: None,
            forgotten: Vec::new(),
            asked: Vec::new(),
            gates_forgotten: Vec::new(),
            news: Vec::new(),
            targets: Vec::new(),
            violations: Vec::new(),
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap()
    }

    pub(super) fn ports(&self) -> Ports {
        Ports {
            workloads: Box::new(self.clone()),
            traffic: Box::new(self.clone()),
            measurements: Box::new(self.clone()),
            gates: Box::new(self.clone()),
            notify: Box::new(self.clone()),
            clock: Box::new(self.clone()),
        }
    }

    /// Lets time pass and requests come.
    pub(super) fn pass(&self, seconds: i64) {
        let mut inside = self.lock();
        let time = SignedDuration::from_secs(seconds);
        inside.wall += time;
        inside.uptime += time;
        let Inside {
            routes,
            counted,
            failing,
            ..
        } = &mut *inside;
        for (name, routed) in routes {
            let route = &routed.applied;
            let weight = route.canary.as_ref().map_or(0, |_| share(&route.routing));
            let arms = [
                (Some(&route.stable), 10_000 - weight),
                (route.canary.as_ref(), weight),
            ];
            for (spec, share) in arms {
                let Some(spec) = spec else { continue };
                let count = counted.entry((name.clone(), spec.version.clone()));
                let count = count.or_default();
                let requests = RATE * seconds.unsigned_abs() * share / 10_000;
                count.0 += requests;
                count.1 += requests * failing.get(&spec.version).unwrap_or(&0) / 1_000;
            }
        }
    }

    /// Sets the wall clock to another time, and nothing else.
    pub(super) fn jump(&self, seconds: i64) {
        self.lock().wall += SignedDuration::from_secs(seconds);
    }
}

impl Inside {
    /// Returns the weight that was asked for last.
    pub(super) fn weight(&self, service: &ServiceName) -> Weight {
        let routed = self.routes.get(service);
        routed.map_or(Weight::ZERO, |routed| routed.wanted.routing.weight)
    }

    pub(super) fn runs(&self, service: &ServiceName, version: &str) -> u32 {
        let key = (service.clone(), version.parse().unwrap());
        self.replicas.get(&key).map_or(0, |running| running.count)
    }

    fn start(&mut self, service: &ServiceName, wish: &VersionWish) {
        let key = (service.clone(), wish.spec.version.clone());
        let turns = self.start_turns;
        let Size::Replicas(count) = wish.size else {
            return;
        };
        let running = self.replicas.entry(key).or_insert(Running {
            count,
            restart_since: wish.restart_since,
            turns,
        });
        running.count = count;
        running.restart_since = wish.restart_since;
    }

    /// Stops what nobody wishes any more, and notes where users would have met it.
    fn stop(&mut self) {
        let wishes = &self.wishes;
        let is_wished = |(service, version): &Key| {
            wishes
                .get(service)
                .is_some_and(|wishes| wishes.iter().any(|wish| &wish.spec.version == version))
        };
        let gone: Vec<Key> = self
            .replicas
            .keys()
            .filter(|key| !is_wished(key))
            .cloned()
            .collect();
        for key in gone {
            if let Some(routed) = self
                .routes
                .get(&key.0)
                .filter(|_| self.services.contains_key(&key.0))
            {
                let weight = share(&routed.applied.routing);
                let has_canary = routed.applied.canary.as_ref();
                let is_canary = has_canary.is_some_and(|spec| spec.version == key.1);
                let is_stable = routed.applied.stable.version == key.1;
                if (is_canary && weight > 0) || (is_stable && weight < 10_000) {
                    self.violations
                        .push(format!("{} was stopped under traffic", key.1));
                }
            }
            self.replicas.remove(&key);
        }
    }
}

fn share(routing: &haldane_core::rollout::Traffic) -> u64 {
    u64::from(routing.weight.as_bps())
}

impl Workloads for World {
    fn configure(&mut self, service: &ServiceName, setup: &Service) {
        self.lock().services.insert(service.clone(), setup.clone());
    }

    fn look(&mut self) {
        let mut inside = self.lock();
        for running in inside.replicas.values_mut() {
            running.turns = running.turns.saturating_sub(1);
        }
        let Some(turns) = inside.router_turns else {
            return;
        };
        for routed in inside.routes.values_mut() {
            routed.turns = routed.turns.min(turns).saturating_sub(1);
            if routed.turns == 0 {
                routed.applied = routed.wanted.clone();
            }
        }
    }

    fn act(&mut self) {
        let mut inside = self.lock();
        for (service, wishes) in inside.wishes.clone() {
            for wish in &wishes {
                inside.start(&service, wish);
            }
        }
        inside.stop();
    }

    fn ensure(&mut self, service: &ServiceName, wishes: &[VersionWish]) {
        self.lock().wishes.insert(service.clone(), wishes.to_vec());
    }

    fn seen(&mut self, service: &ServiceName, version: &VersionName) -> Replicas {
        let inside = self.lock();
        let key = (service.clone(), version.clone());
        let Some(running) = inside.replicas.get(&key) else {
            return Replicas::default();
        };
        let is_ready = running.turns == 0 && !inside.deaf.contains(version);
        let wishes = inside.wishes.get(service).into_iter().flatten();
        let mut sizes = wishes.filter(|wish| &wish.spec.version == version);
        let wanted = sizes.next_back().map(|wish| match wish.size {
            Size::Replicas(count) => count,
            Size::Kept => running.count,
        });
        Replicas {
            // What is wanted is known only to those who were asked.
            wanted: wanted.unwrap_or(0),
            ready: if is_ready { running.count } else { 0 },
            existing: running.count,
            is_fixed: false,
        }
    }

    fn trouble(&mut self, _: &ServiceName, version: &VersionName) -> Option<Trouble> {
        self.lock().troubles.get(version).cloned()
    }

    fn remove(&mut self, service: &ServiceName) {
        let mut inside = self.lock();
        inside.services.remove(service);
        inside.wishes.remove(service);
        inside.routes.remove(service);
    }
}

impl Traffic for World {
    fn configure(&mut self, services: &BTreeMap<ServiceName, Service>) -> Result<(), String> {
        let mut inside = self.lock();
        let is_more = services
            .keys()
            .any(|name| !inside.services.contains_key(name));
        if let Some(why) = inside.listen_fault.clone().filter(|_| is_more) {
            return Err(why);
        }
        inside.services.clone_from(services);
        Ok(())
    }

    fn listeners(&mut self) -> BTreeMap<SocketAddr, SocketAddr> {
        self.lock().listeners.clone()
    }

    fn ensure(&mut self, service: &ServiceName, route: &Route) {
        let canary = route.canary.as_ref().map(|spec| &spec.version);
        let is_ready = canary.is_some_and(|it| Workloads::seen(self, service, it).ready > 0);
        let mut inside = self.lock();
        if inside.weight(service) < route.routing.weight
            && inside.routes.contains_key(service)
            && !is_ready
        {
            let violation = format!("{canary:?} gets traffic and is not ready");
            inside.violations.push(violation);
        }
        let turns = inside.router_turns.unwrap_or(u32::MAX);
        let routed = inside.routes.entry(service.clone());
        let routed = routed.or_insert_with(|| Routed {
            wanted: route.clone(),
            applied: route.clone(),
            turns: 0,
        });
        if &routed.wanted != route {
            routed.wanted = route.clone();
            routed.turns = turns;
        }
        if routed.turns == 0 {
            routed.applied = route.clone();
        }
    }

    fn seen(&mut self, service: &ServiceName) -> Option<RouteSeen> {
        let inside = self.lock();
        let route = inside.routes.get(service)?.applied.clone();
        let in_flight = |version: &VersionName| *inside.in_flight.get(version).unwrap_or(&0);
        let canary = route.canary.as_ref();
        Some(RouteSeen {
            stable_in_flight: in_flight(&route.stable.version),
            canary_in_flight: canary.map_or(0, |spec| in_flight(&spec.version)),
            route,
        })
    }

    fn address(&mut self, service: &ServiceName, version: &VersionName) -> Option<SocketAddr> {
        let is_ready = Workloads::seen(self, service, version).ready > 0;
        let number = version.as_str().trim_start_matches('v');
        is_ready.then(|| format!("127.0.0.1:900{number}").parse().unwrap())
    }
}

impl Measurements for World {
    fn take(&mut self, service: &ServiceName, version: &VersionName) -> Sample {
        let mut inside = self.lock();
        let key = (service.clone(), version.clone());
        let now = *inside.counted.get(&key).unwrap_or(&(0, 0));
        let told = inside.told.insert(key, now).unwrap_or_default();
        let requests = now.0 - told.0;
        Sample {
            requests,
            failures: now.1 - told.1,
            latency_sum_us: requests * 5_000,
            latency: Bucket::list([(10_000, requests)]),
            ..Sample::default()
        }
    }

    fn forget(&mut self, service: &ServiceName, version: &VersionName) {
        let mut inside = self.lock();
        let key = (service.clone(), version.clone());
        inside.told.remove(&key);
        inside.forgotten.push(version.clone());
        // As the proxy does: the counters of a version that is routed stay.
        let is_routed = inside.routes.get(service).is_some_and(|routed| {
            let canary = routed.applied.canary.as_ref();
            &routed.applied.stable.version == version
                || canary.is_some_and(|spec| &spec.version == version)
        });
        if !is_routed {
            inside.counted.remove(&key);
        }
    }

    fn observed(&mut self, _: &ServiceName, watch: Option<&Watch<'_>>) -> Vec<Observed> {
        let mut inside = self.lock();
        let trial = watch.and_then(|watch| watch.trial);
        inside.asked_canary = trial.map(|trial| trial.canary.clone());
        let Some(watch) = watch else {
            inside.paid_until = None;
            return Vec::new();
        };
        let Some(from) = inside.paid_until.replace(watch.now) else {
            return Vec::new();
        };
        let payments = |version: &VersionName, share: u64| {
            let failing = inside.payments.get(version)?;
            let exposure = RATE * share / 100;
            let events = exposure * failing / 1_000;
            Some(Reading::Counts(Counts { exposure, events }))
        };
        let metrics = watch.metrics.iter();
        let told = metrics.map(|metric| Observed {
            metric: metric.name.clone(),
            from,
            to: watch.now,
            skew: std::time::Duration::ZERO,
            weight: watch.weight,
            stable: payments(watch.stable, 50),
            canary: watch.trial.and_then(|trial| payments(trial.canary, 50)),
        });
        told.collect()
    }
}

impl Gates for World {
    fn ask(&mut self, key: &GateKey, _: &Gate, subject: &GateSubject) {
        let mut inside = self.lock();
        if inside.asked.iter().all(|(asked, _)| asked != key) {
            inside.asked.push((key.clone(), subject.clone()));
        }
    }

    fn forget(&mut self, rollout: &RolloutId) {
        self.lock().gates_forgotten.push(rollout.clone());
    }
}

impl Notify for World {
    fn configure(&mut self, targets: &[NotifyTarget]) {
        self.lock().targets = targets.to_vec();
    }

    fn tell(&mut self, news: &News) {
        self.lock().news.push(news.clone());
    }
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        self.lock().wall
    }

    fn uptime(&self) -> SignedDuration {
        self.lock().uptime
    }
}
