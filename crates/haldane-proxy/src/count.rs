//! Counts what happened to each version, without a lock on the way of a request.
//!
//! Each data thread adds to shards of its own; a reader adds the shards up. An *attempt* is one request sent (or tried to be sent) to
//! one endpoint. It ends exactly once: with the upstream's status, with a fault that the proxy saw, or by the client going away. A
//! request that failed at the canary and was then served by stable is two attempts, one for each.
//!
//! **Invariant:** counters only rise until they are forgotten.

mod attempt;
mod conversion;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed},
        },
    },
    time::Instant,
};

use haldane_core::{ServiceName, VersionName, Weight};
use http::StatusCode;

use self::conversion::ConversionSeries;
pub use self::conversion::{CONVERSIONS_MAX, Conversion, ConversionReading};
pub(crate) use self::{
    attempt::{Attempt, Hold},
    conversion::{ConversionShard, Marks},
};
use crate::{
    histogram::{BUCKETS, Histogram, bucket_of, to_us},
    table::Table,
};

/// Series kept of versions that are in no table any more. A host that never forgets would otherwise grow without bound.
const RETIRED_SERIES_MAX: usize = 1_024;

/// What the proxy saw go wrong between it and an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// No connection could be opened; nothing was sent.
    Connect,
    /// The connection broke before the head of a response.
    Reset,
    /// No head of a response in time.
    Timeout,
    /// The body of the response broke off or stalled.
    Body,
    /// What came back was no HTTP/1.1 response to the request.
    Protocol,
    /// All connections that the endpoint may have were in use, and none came free in time; nothing was sent.
    Saturated,
}

/// A limit of the proxy that a client met. None of these counts for a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// The head of a request took too long.
    HeaderTime,
    /// The head of a request was too large.
    HeaderSize,
    /// The body of a request stalled.
    BodyTime,
    /// The body of a request was too large.
    BodySize,
    /// The client didn't read its response.
    WriteTime,
    /// A listener had too many connections.
    Connections,
    /// The request had no single meaning.
    BadRequest,
    /// The request had been here before.
    Loop,
    /// No route led anywhere.
    NotFound,
    /// A connection could not be accepted.
    Accept,
    /// The proxy had no file descriptor or port left for a connection to an endpoint.
    Resources,
}

/// All counters at one moment, since the proxy started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// By service and version: all of the table, and former ones until they are forgotten.
    pub versions: BTreeMap<(ServiceName, VersionName), VersionReading>,
    /// How often each limit was met.
    pub limits: BTreeMap<Limit, u64>,
    /// Open connections of clients.
    pub connections: u64,
}

/// The counters of one version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionReading {
    /// Its share of the split; `None` if it is in no table any more.
    pub share: Option<Weight>,
    /// Attempts that ended with a complete response, by class: `status[0]` counts 1xx to `status[4]` 5xx.
    pub status: [u64; 5],
    /// Attempts that ended with a fault.
    pub faults: FaultCounts,
    /// Attempts that ended because the client went away or broke its request off. They say nothing about the version.
    pub aborted_by_client: u64,
    /// Requests meant for this version that found no usable endpoint and went to stable (or got a 503). Not attempts.
    pub unavailable: u64,
    /// Requests sent again because a kept-open connection had closed in the meantime. Not attempts: they say nothing about the version.
    pub resent: u64,
    /// Attempts on unmeasured paths, counted here only.
    pub unmeasured: u64,
    /// Requests that this version holds right now, unmeasured ones included.
    pub in_flight: u64,
    /// From the choice of an endpoint to the last byte of the body, so with the wait for a connection, of attempts that ended with a
    /// response or a [`Fault::Timeout`].
    pub latency: Histogram,
    /// Attempts that were counted for conversions, by the metric's name.
    pub conversions: BTreeMap<String, ConversionReading>,
}

/// Attempts that ended with a fault, by fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// See [`Fault::Connect`].
    pub connect: u64,
    /// See [`Fault::Reset`].
    pub reset: u64,
    /// See [`Fault::Timeout`].
    pub timeout: u64,
    /// See [`Fault::Body`].
    pub body: u64,
    /// See [`Fault::Protocol`].
    pub protocol: u64,
    /// See [`Fault::Saturated`].
    pub saturated: u64,
}

/// The counters of all versions and threads.
#[derive(Debug)]
pub(crate) struct Counters {
    threads: usize,
    series: Mutex<BTreeMap<(ServiceName, VersionName), Series>>,
    /// How often counters of conversions began.
    generations: AtomicU64,
    limits: [AtomicU64; Limit::ALL.len()],
    connections: AtomicU64,
}

/// The counters of one version.
#[derive(Debug)]
struct Series {
    /// By thread.
    shards: Vec<Arc<Shard>>,
    /// For the conversions of the table, and of an older one that some thread may still have.
    conversions: Vec<ConversionSeries>,
}

/// The counters of one version on one thread.
#[derive(Debug)]
pub(crate) struct Shard {
    status: [AtomicU64; 5],
    faults: [AtomicU64; 6],
    aborted_by_client: AtomicU64,
    unavailable: AtomicU64,
    resent: AtomicU64,
    unmeasured: AtomicU64,
    entered: AtomicU64,
    left: AtomicU64,
    latency_sum_us: AtomicU64,
    latency: [AtomicU64; BUCKETS],
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Status(StatusCode),
    Fault(Fault),
    AbortedByClient,
}

/// An open connection of a client.
#[derive(Debug)]
pub(crate) struct ConnectionCount(Arc<Counters>);

impl Limit {
    /// All limits.
    pub const ALL: [Self; 11] = [
        Self::HeaderTime,
        Self::HeaderSize,
        Self::BodyTime,
        Self::BodySize,
        Self::WriteTime,
        Self::Connections,
        Self::BadRequest,
        Self::Loop,
        Self::NotFound,
        Self::Accept,
        Self::Resources,
    ];

    /// Returns the name as a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HeaderTime => "header_time",
            Self::HeaderSize => "header_size",
            Self::BodyTime => "body_time",
            Self::BodySize => "body_size",
            Self::WriteTime => "write_time",
            Self::Connections => "connections",
            Self::BadRequest => "bad_request",
            Self::Loop => "loop",
            Self::NotFound => "not_found",
            Self::Accept => "accept",
            Self::Resources => "resources",
        }
    }
}

impl VersionReading {
    /// Returns the attempts that say something about the version: all that ended but those that the client broke off.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.status
            .iter()
            .fold(self.faults.total(), |sum, count| sum.saturating_add(*count))
    }

    /// Returns the attempts that ended with a 5xx or a fault.
    #[must_use]
    pub const fn failures(&self) -> u64 {
        let [.., server_errors] = self.status;
        self.faults.total().saturating_add(server_errors)
    }

    /// Returns what came since `earlier`; `share` and `in_flight` are those of now.
    #[must_use]
    pub fn saturating_sub(&self, earlier: &Self) -> Self {
        let mut status = self.status;
        for (now, then) in status.iter_mut().zip(earlier.status) {
            *now = now.saturating_sub(then);
        }
        Self {
            share: self.share,
            status,
            faults: self.faults.saturating_sub(earlier.faults),
            aborted_by_client: self
                .aborted_by_client
                .saturating_sub(earlier.aborted_by_client),
            unavailable: self.unavailable.saturating_sub(earlier.unavailable),
            resent: self.resent.saturating_sub(earlier.resent),
            unmeasured: self.unmeasured.saturating_sub(earlier.unmeasured),
            in_flight: self.in_flight,
            latency: self.latency.saturating_sub(&earlier.latency),
            conversions: self.conversions_since(earlier),
        }
    }

    fn conversions_since(&self, earlier: &Self) -> BTreeMap<String, ConversionReading> {
        let since = self.conversions.iter().map(|(metric, now)| {
            let earlier = earlier.conversions.get(metric).copied();
            (
                metric.clone(),
                now.saturating_sub(earlier.unwrap_or_default()),
            )
        });
        since.collect()
    }

    fn add(&mut self, shard: &Shard) {
        // `left` first: a request that leaves between the two reads must not make the difference negative.
        let left = shard.left.load(Acquire);
        let in_flight = shard.entered.load(Relaxed).saturating_sub(left);
        for (sum, count) in self.status.iter_mut().zip(&shard.status) {
            *sum = sum.saturating_add(count.load(Relaxed));
        }
        let [connect, reset, timeout, body, protocol, saturated] =
            shard.faults.each_ref().map(|count| count.load(Relaxed));
        let faults = FaultCounts {
            connect,
            reset,
            timeout,
            body,
            protocol,
            saturated,
        };
        self.faults = self.faults.saturating_add(faults);
        let counts = shard.latency.iter().map(|count| count.load(Relaxed));
        self.latency.merge(&Histogram::from_counts(
            counts,
            shard.latency_sum_us.load(Relaxed),
        ));
        for (sum, count) in [
            (
                &mut self.aborted_by_client,
                shard.aborted_by_client.load(Relaxed),
            ),
            (&mut self.unavailable, shard.unavailable.load(Relaxed)),
            (&mut self.resent, shard.resent.load(Relaxed)),
            (&mut self.unmeasured, shard.unmeasured.load(Relaxed)),
            (&mut self.in_flight, in_flight),
        ] {
            *sum = sum.saturating_add(count);
        }
    }
}

impl FaultCounts {
    /// Returns all faults together.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.connect
            .saturating_add(self.reset)
            .saturating_add(self.timeout)
            .saturating_add(self.body)
            .saturating_add(self.protocol)
            .saturating_add(self.saturated)
    }

    /// Returns each fault with its label.
    #[must_use]
    pub const fn labeled(&self) -> [(&'static str, u64); 6] {
        [
            ("connect", self.connect),
            ("reset", self.reset),
            ("timeout", self.timeout),
            ("body", self.body),
            ("protocol", self.protocol),
            ("saturated", self.saturated),
        ]
    }

    fn combine(self, other: Self, with: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            connect: with(self.connect, other.connect),
            reset: with(self.reset, other.reset),
            timeout: with(self.timeout, other.timeout),
            body: with(self.body, other.body),
            protocol: with(self.protocol, other.protocol),
            saturated: with(self.saturated, other.saturated),
        }
    }

    fn saturating_add(self, other: Self) -> Self {
        self.combine(other, u64::saturating_add)
    }

    fn saturating_sub(self, other: Self) -> Self {
        self.combine(other, u64::saturating_sub)
    }
}

impl Counters {
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            threads,
            series: Mutex::default(),
            generations: AtomicU64::new(0),
            limits: std::array::from_fn(|_| AtomicU64::new(0)),
            connections: AtomicU64::new(0),
        }
    }

    /// Returns the shard of a version for one thread. For when a table is new, never for each request.
    pub(crate) fn shard(
        &self,
        thread: usize,
        service: &ServiceName,
        version: &VersionName,
    ) -> Arc<Shard> {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let series = self.series_of(&mut series, service, version);
        series.shards.get(thread).cloned().unwrap_or_default()
    }

    /// Returns the counters of a version's conversions for one thread, if there are any conversions. For when a table is new, too.
    pub(crate) fn conversions(
        &self,
        thread: usize,
        service: &ServiceName,
        version: &VersionName,
        rules: &Arc<[Conversion]>,
    ) -> Option<Arc<ConversionShard>> {
        if rules.is_empty() {
            return None;
        }
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let known = &mut self.series_of(&mut series, service, version).conversions;
        if let Some(known) = known.iter().find(|known| known.is_of(rules)) {
            return known.shard(thread);
        }
        let generation = self.generations.fetch_add(1, Relaxed).saturating_add(1);
        let new = ConversionSeries::new(rules, generation, self.threads);
        let shard = new.shard(thread);
        known.push(new);
        shard
    }

    fn series_of<'a>(
        &self,
        series: &'a mut BTreeMap<(ServiceName, VersionName), Series>,
        service: &ServiceName,
        version: &VersionName,
    ) -> &'a mut Series {
        series
            .entry((service.clone(), version.clone()))
            .or_insert_with(|| Series {
                shards: (0..self.threads).map(|_| Arc::default()).collect(),
                conversions: Vec::new(),
            })
    }

    pub(crate) fn hit(&self, limit: Limit) {
        let at = Limit::ALL.iter().position(|other| *other == limit);
        if let Some(count) = at.and_then(|at| self.limits.get(at)) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn read(&self, table: &Table) -> Reading {
        let shares: BTreeMap<_, _> = table
            .services()
            .flat_map(|service| service.arms().iter().map(move |arm| (service.name(), arm)))
            .map(|(service, arm)| ((service.clone(), arm.version.clone()), arm.share))
            .collect();
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let mut versions: BTreeMap<_, VersionReading> = shares
            .keys()
            .map(|key| (key.clone(), VersionReading::default()))
            .collect();
        for (key, series) in series.iter() {
            let reading = versions.entry(key.clone()).or_default();
            series.shards.iter().for_each(|shard| reading.add(shard));
            let mut services = table.services();
            let route = services.find(|route| *route.name() == key.0);
            let current = route.and_then(|route| {
                let mut known = series.conversions.iter();
                known.find(|known| known.is_of(route.conversions()))
            });
            let readings = current.into_iter().flat_map(ConversionSeries::readings);
            reading.conversions = readings.collect();
        }
        for (key, reading) in &mut versions {
            reading.share = shares.get(key).copied();
        }
        let limits = Limit::ALL.iter().zip(&self.limits);
        Reading {
            versions,
            limits: limits
                .map(|(limit, count)| (*limit, count.load(Relaxed)))
                .collect(),
            connections: self.connections.load(Relaxed),
        }
    }

    pub(crate) fn in_flight(&self, service: &ServiceName, version: &VersionName) -> u64 {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let series = series.get(&(service.clone(), version.clone()));
        series.map_or(0, Series::in_flight)
    }

    /// Drops the counters of a version. Returns whether there were any.
    pub(crate) fn forget(&self, service: &ServiceName, version: &VersionName) -> bool {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        series.remove(&(service.clone(), version.clone())).is_some()
    }

    /// Drops counters of versions outside `table` while there are too many of them, and of conversions that it doesn't have.
    pub(crate) fn bound(&self, table: &Table) {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        for ((service, _), series) in series.iter_mut() {
            let mut services = table.services();
            if let Some(route) = services.find(|route| route.name() == service) {
                let is_current = |known: &ConversionSeries| known.is_of(route.conversions());
                series.conversions.retain(is_current);
            }
        }
        let is_live = |(service, version): &(ServiceName, VersionName)| {
            let mut services = table.services().filter(|route| route.name() == service);
            services.any(|route| route.arms().iter().any(|arm| arm.version == *version))
        };
        if series.len() <= RETIRED_SERIES_MAX {
            return;
        }
        let retired = series
            .iter()
            .filter(|(key, series)| !is_live(key) && series.in_flight() == 0);
        let excess = series.len() - RETIRED_SERIES_MAX;
        let dropped: Vec<_> = retired.map(|(key, _)| key.clone()).take(excess).collect();
        series.retain(|key, _| !dropped.contains(key));
    }
}

impl Series {
    fn in_flight(&self) -> u64 {
        self.shards
            .iter()
            .fold(0, |sum, shard| sum.saturating_add(shard.in_flight()))
    }
}

impl ConnectionCount {
    pub(crate) fn new(counters: Arc<Counters>) -> Self {
        counters.connections.fetch_add(1, Relaxed);
        Self(counters)
    }
}

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            status: Default::default(),
            faults: Default::default(),
            aborted_by_client: AtomicU64::new(0),
            unavailable: AtomicU64::new(0),
            resent: AtomicU64::new(0),
            unmeasured: AtomicU64::new(0),
            entered: AtomicU64::new(0),
            left: AtomicU64::new(0),
            latency_sum_us: AtomicU64::new(0),
            latency: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Shard {
    pub(crate) fn count_unavailable(&self) {
        self.unavailable.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_resent(&self) {
        self.resent.fetch_add(1, Relaxed);
    }

    fn in_flight(&self) -> u64 {
        let left = self.left.load(Acquire);
        self.entered.load(Relaxed).saturating_sub(left)
    }

    fn end(&self, outcome: Outcome, began: Instant) {
        let (count, has_latency) = match outcome {
            Outcome::Status(status) => {
                let class = usize::from(status.as_u16() / 100).saturating_sub(1);
                (self.status.get(class), true)
            }
            Outcome::Fault(Fault::Connect) => (self.faults.first(), false),
            Outcome::Fault(Fault::Reset) => (self.faults.get(1), false),
            Outcome::Fault(Fault::Timeout) => (self.faults.get(2), true),
            Outcome::Fault(Fault::Body) => (self.faults.get(3), false),
            Outcome::Fault(Fault::Protocol) => (self.faults.get(4), false),
            Outcome::Fault(Fault::Saturated) => (self.faults.get(5), false),
            Outcome::AbortedByClient => (Some(&self.aborted_by_client), false),
        };
        if let Some(count) = count {
            count.fetch_add(1, Relaxed);
        }
        if has_latency {
            let us = to_us(began.elapsed());
            self.latency_sum_us.fetch_add(us, Relaxed);
            if let Some(count) = self.latency.get(bucket_of(us)) {
                count.fetch_add(1, Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests;
