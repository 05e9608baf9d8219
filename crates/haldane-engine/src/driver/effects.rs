//! What a service asks of the ports, given where it stands; all of it may be stated again and again.
//!
//! **Invariant:** no version is stopped that the router was last seen to send requests to.

use haldane_api::file::{Source, VersionSpec};
use haldane_core::{
    ServiceName,
    plan::Step,
    rollout::{self, CanaryWish, Effect, Traffic},
};
use jiff::Timestamp;

use super::{
    Driver, aftermath,
    home::{Home, Live},
};
use crate::{
    port::{GateSubject, News, Ports, Route, RouteSeen, Size, VersionWish},
    record::RolloutRecord,
};

impl Driver {
    /// States the effects of where a service stands.
    pub(super) fn state_effects(&mut self, name: &ServiceName, now: Timestamp) {
        let Some(home) = self.homes.get_mut(name) else {
            return;
        };
        match home.ruling() {
            Some(live) => {
                for wish in rollout::effects(live.plan(), live.state()) {
                    bring_about(name, home, live, wish, &mut self.ports);
                }
            }
            None => steady(name, home, &mut self.ports),
        }
        aftermath::ask(name, home, &mut self.ports);
        if let Some(live) = home.rollout.as_mut() {
            tell_news(name, live, &mut self.ports, now);
        }
    }
}

fn bring_about(name: &ServiceName, home: &Home, live: &Live, wish: Effect, ports: &mut Ports) {
    match wish {
        Effect::EnsureTraffic(traffic) => {
            ports.traffic.ensure(name, &route(&live.record, traffic));
        }
        // While a decision is not durable, nothing is stopped by it.
        Effect::EnsureWorkloads(wish) if live.is_durable() => {
            let wishes = version_wishes(&live.record, &wish, home.record.restart_since);
            ensure_workloads(name, wishes, ports);
        }
        Effect::EnsureAsked(key) => {
            if let Some(Step::Gate(gate)) = live.plan().step(key.step) {
                let subject = gate_subject(name, home, &live.record, ports);
                ports.gates.ask(&key, gate, &subject);
            }
        }
        // Judging happens with each batch, and making stable with the commit; news are told apart.
        Effect::EnsureWorkloads(_)
        | Effect::EnsureJudged { .. }
        | Effect::EnsureStable(_)
        | Effect::Notify { .. } => {}
    }
}

/// Serves stable alone.
fn steady(name: &ServiceName, home: &Home, ports: &mut Ports) {
    let stable = home.record.stable.clone();
    let wish = VersionWish {
        size: Size::Replicas(full_size(&stable)),
        spec: stable.clone(),
        restart_since: home.record.restart_since,
    };
    let route = Route {
        stable,
        canary: None,
        routing: Traffic::STABLE_ONLY,
    };
    ports.traffic.ensure(name, &route);
    ensure_workloads(name, vec![wish], ports);
}

/// Runs these versions, and keeps those that still get requests.
fn ensure_workloads(name: &ServiceName, mut wishes: Vec<VersionWish>, ports: &mut Ports) {
    for spec in ports.traffic.seen(name).iter().flat_map(served) {
        if wishes.iter().all(|wish| wish.spec.version != spec.version) {
            wishes.push(VersionWish {
                spec: spec.clone(),
                size: Size::Kept,
                restart_since: None,
            });
        }
    }
    ports.workloads.ensure(name, &wishes);
}

/// Returns the versions that requests are sent to.
fn served(seen: &RouteSeen) -> impl Iterator<Item = &VersionSpec> {
    let Route {
        stable,
        canary,
        routing,
    } = &seen.route;
    let canary = canary.as_ref().filter(|_| !routing.is_stable_only());
    let stable = Some(stable).filter(|_| canary.is_none() || !routing.weight.is_full());
    stable.into_iter().chain(canary)
}

/// Returns the route of a rollout.
pub(super) fn route(record: &RolloutRecord, routing: Traffic) -> Route {
    Route {
        stable: record.stable.clone(),
        canary: Some(record.wish.spec.clone()),
        routing,
    }
}

fn version_wishes(
    record: &RolloutRecord,
    wish: &rollout::WorkloadWish,
    restart_since: Option<Timestamp>,
) -> Vec<VersionWish> {
    let stable = wish.has_stable.then(|| VersionWish {
        spec: record.stable.clone(),
        size: Size::Replicas(full_size(&record.stable)),
        restart_since,
    });
    let canary = |size, restart_since| VersionWish {
        spec: record.wish.spec.clone(),
        size,
        restart_since,
    };
    let canary = match wish.canary {
        CanaryWish::Stopped => None,
        CanaryWish::Kept => Some(canary(Size::Kept, None)),
        CanaryWish::Running(size) => Some(canary(
            Size::Replicas(size.replicas(full_size(&record.wish.spec))),
            size.restart_since,
        )),
    };
    stable.into_iter().chain(canary).collect()
}

/// Returns how many replicas a version has at full size.
pub(super) fn full_size(spec: &VersionSpec) -> u32 {
    match &spec.source {
        Source::Run { replicas, .. } => *replicas,
        Source::Urls(urls) => u32::try_from(urls.len()).unwrap_or(u32::MAX),
    }
}

pub(super) fn gate_subject(
    name: &ServiceName,
    home: &Home,
    record: &RolloutRecord,
    ports: &mut Ports,
) -> GateSubject {
    let mut url = |spec: &VersionSpec| {
        let address = ports.traffic.address(name, &spec.version)?;
        Some(format!("http://{address}"))
    };
    GateSubject {
        service: name.clone(),
        stable: record.stable.version.clone(),
        canary: record.wish.spec.version.clone(),
        stable_url: url(&record.stable),
        canary_url: url(&record.wish.spec),
        dir: service_dir(home, Some(record)).cloned(),
        why: None,
    }
}

/// Returns the directory in which commands about a service are run, and about its rollout, if there is one.
pub(super) fn service_dir<'a>(
    home: &'a Home,
    record: Option<&'a RolloutRecord>,
) -> Option<&'a String> {
    let stable = record.map_or(&home.record.stable, |record| &record.stable);
    let canary = record.map(|record| &record.wish.spec);
    let mut specs = canary.into_iter().chain([stable]);
    specs.find_map(dir).or(home.record.base_dir.as_ref())
}

/// Returns the directory that a version's processes are run in.
const fn dir(spec: &VersionSpec) -> Option<&String> {
    match &spec.source {
        Source::Run { dir, .. } => Some(dir),
        Source::Urls(_) => None,
    }
}

/// Tells where a rollout stands, once.
fn tell_news(name: &ServiceName, live: &mut Live, ports: &mut Ports, now: Timestamp) {
    for wish in rollout::effects(live.plan(), live.state()) {
        let Effect::Notify { key, text } = wish else {
            continue;
        };
        if live.told != key {
            let (rollout, phase) = (live.state().id.clone(), live.state().phase.name());
            ports.notify.tell(&News {
                key: key.clone(),
                service: name.clone(),
                rollout,
                phase,
                text,
                at: now,
            });
            live.told = key;
        }
    }
}
