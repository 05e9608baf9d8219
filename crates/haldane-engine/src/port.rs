//! The outside world as the driver sees it.
//!
//! Every `ensure` names a wanted end condition and returns at once; what became of it is seen later. So a port may be asked the same
//! thing on every turn, and a turn never waits for the world.

use std::{collections::BTreeMap, fmt, net::SocketAddr};

use haldane_analysis::{Sample, sequential::Observed};
use haldane_api::file::{Notify as NotifyTarget, Service, VersionSpec};
use haldane_core::{
    RolloutId, ServiceName, VersionName, Weight,
    plan::{Gate, metric::Metric},
    rollout::{GateKey, Replicas, Traffic as Routing, Trouble},
};
use jiff::{SignedDuration, Timestamp};

/// Everything outside of the driver.
pub struct Ports {
    /// Runs versions.
    pub workloads: Box<dyn Workloads>,
    /// Routes requests.
    pub traffic: Box<dyn Traffic>,
    /// Counts requests and measures replicas.
    pub measurements: Box<dyn Measurements>,
    /// Asks gates.
    pub gates: Box<dyn Gates>,
    /// Tells people.
    pub notify: Box<dyn Notify>,
    /// Tells the time.
    pub clock: Box<dyn Clock>,
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports").finish_non_exhaustive()
    }
}

/// Runs the versions of services.
pub trait Workloads: Send {
    /// Takes in how a service is set up: its health checks and graces.
    fn configure(&mut self, service: &ServiceName, setup: &Service);

    /// Looks at what has changed; called at the beginning of each turn.
    fn look(&mut self);

    /// Does what was asked for since the last call; called at the end of each turn, so that all services are known when it acts.
    fn act(&mut self);

    /// Runs exactly these versions of a service; others are stopped.
    fn ensure(&mut self, service: &ServiceName, wishes: &[VersionWish]);

    /// Returns how a version's replicas are.
    fn seen(&mut self, service: &ServiceName, version: &VersionName) -> Replicas;

    /// Returns why some replicas of a version are not ready, as far as is known of those that were asked for last.
    fn trouble(&mut self, service: &ServiceName, version: &VersionName) -> Option<Trouble>;

    /// Forgets a service; what runs of it is stopped.
    fn remove(&mut self, service: &ServiceName);
}

/// How large a version is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionWish {
    /// The version.
    pub spec: VersionSpec,
    /// Its size.
    pub size: Size,
    /// Replicas that are older than this are to be replaced.
    pub restart_since: Option<Timestamp>,
}

/// The size of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// This many replicas.
    Replicas(u32),
    /// What runs goes on, and nothing is added.
    Kept,
}

/// Routes the requests of services.
pub trait Traffic: Send {
    /// Listens for these services and no others.
    ///
    /// # Errors
    /// In words, when an address cannot be had; what was listened on before goes on.
    fn configure(&mut self, services: &BTreeMap<ServiceName, Service>) -> Result<(), String>;

    /// Returns the addresses that are really listened on, by those that were asked for.
    fn listeners(&mut self) -> BTreeMap<SocketAddr, SocketAddr>;

    /// Routes a service like this.
    fn ensure(&mut self, service: &ServiceName, route: &Route);

    /// Returns what is routed, and how many requests are in flight.
    fn seen(&mut self, service: &ServiceName) -> Option<RouteSeen>;

    /// Returns an address at which a version answers, if one of its replicas is ready.
    fn address(&mut self, service: &ServiceName, version: &VersionName) -> Option<SocketAddr>;
}

/// How a service's requests are routed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The version serving users.
    pub stable: VersionSpec,
    /// The version on trial.
    pub canary: Option<VersionSpec>,
    /// How requests are split between them.
    pub routing: Routing,
}

/// What is routed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSeen {
    /// The routing that was read back.
    pub route: Route,
    /// Requests in flight at stable.
    pub stable_in_flight: u64,
    /// Requests in flight at the canary.
    pub canary_in_flight: u64,
}

/// Counts requests and measures replicas.
pub trait Measurements: Send {
    /// Returns what was counted of a version since the last call for it.
    fn take(&mut self, service: &ServiceName, version: &VersionName) -> Sample;

    /// Forgets what is known of a version that was let go.
    fn forget(&mut self, service: &ServiceName, version: &VersionName);

    /// Has the metric systems asked from now on, and returns what they told since the last call; never waits for them.
    ///
    /// Without anything to watch nobody is asked any more.
    fn observed(&mut self, service: &ServiceName, watch: Option<&Watch<'_>>) -> Vec<Observed>;
}

/// About what metric systems are asked.
#[derive(Clone, Copy, Debug)]
pub struct Watch<'a> {
    /// The rollout that goes on. Without one stable is asked about alone and at a calmer pace, to learn what is usual.
    pub trial: Option<Trial<'a>>,
    /// The version serving users.
    pub stable: &'a VersionName,
    /// The weight that is in force.
    pub weight: Weight,
    /// What is asked.
    pub metrics: &'a [Metric],
    /// The service's directory, where commands are run; `None` where it has none.
    pub dir: Option<&'a str>,
    /// The time.
    pub now: Timestamp,
}

/// A rollout, for metric systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial<'a> {
    /// Its id.
    pub rollout: &'a RolloutId,
    /// The version on trial.
    pub canary: &'a VersionName,
}

/// Asks gates; answers come back as events.
pub trait Gates: Send {
    /// Begins to ask; asking the same key again does nothing.
    fn ask(&mut self, key: &GateKey, gate: &Gate, subject: &GateSubject);

    /// Stops asking for a rollout.
    fn forget(&mut self, rollout: &RolloutId);
}

/// What a gate is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateSubject {
    /// The service.
    pub service: ServiceName,
    /// The version serving users.
    pub stable: VersionName,
    /// The version on trial.
    pub canary: VersionName,
    /// An address of stable, where one is ready.
    pub stable_url: Option<String>,
    /// An address of the canary, where one is ready.
    pub canary_url: Option<String>,
    /// The directory that a command is run in, where one is known.
    pub dir: Option<String>,
    /// Why the rollout was rolled back, where that is what is told.
    pub why: Option<String>,
}

/// Tells people what happens.
pub trait Notify: Send {
    /// Takes in who is to be told.
    fn configure(&mut self, targets: &[NotifyTarget]);

    /// Tells a piece of news; never waits for anybody.
    fn tell(&mut self, news: &News);
}

/// A piece of news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The same for the same news, so that a repeated one can be left out.
    pub key: String,
    /// The service.
    pub service: ServiceName,
    /// The rollout.
    pub rollout: RolloutId,
    /// The rollout's phase.
    pub phase: &'static str,
    /// The news in one sentence.
    pub text: String,
    /// When it happened.
    pub at: Timestamp,
}

/// Tells the time.
pub trait Clock: Send {
    /// Returns the wall clock's time.
    fn now(&self) -> Timestamp;

    /// Returns a time that rises evenly, from a beginning that means nothing; it may stand still while the machine sleeps.
    fn uptime(&self) -> SignedDuration;
}
