//! The figures of a release while a rollout goes on: requests from its metric system, processors and memory from the cluster.
//!
//! Neither can be watched, so both are asked again and again while somebody looks at one release, and never otherwise. **Invariant:** a
//! figure that nobody told is none, with the reason beside it; and one of a rollout is never shown with another.

use std::{collections::BTreeMap, time::Duration};

use haldane_analysis::figures::{Arm, Figures};
use haldane_api::http::{FiguresView, ObjectView, ServiceView};
use haldane_controller::client::{Cluster, Looked, Usage};
use haldane_core::RolloutId;
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep},
};

use crate::wire::meter::spot::Spot;

/// The time between two questions to the metric system.
const EVERY: Duration = Duration::from_secs(2);

/// The time between two questions about what pods use: clusters measure that every 15 s.
const USAGE_EVERY: Duration = Duration::from_secs(15);

/// What pods use, by name, or why that is not known.
type Used = Result<BTreeMap<String, Usage>, String>;

/// Asks for figures.
#[derive(Debug)]
pub(super) struct Gauge {
    cluster: Cluster,
    spot: Spot,
    /// What pods use, as it was told last, and when it is asked for again.
    usage: Option<(Used, Option<Instant>)>,
}

/// What was measured of a rollout.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    rollout: Option<RolloutId>,
    requests: Option<Result<Figures, String>>,
    usage: Option<Used>,
}

impl Gauge {
    /// Returns what asks for figures of releases of this cluster.
    pub(super) fn new(cluster: Cluster) -> Self {
        Self {
            spot: Spot::new(cluster.clone()),
            cluster,
            usage: None,
        }
    }

    /// Asks for the figures of a release whose rollout goes on.
    pub(super) async fn read(&mut self, looked: &Looked) -> Measured {
        let rollout = looked.view.rollout.as_ref().filter(|one| !one.is_over);
        let Some(rollout) = rollout else {
            return Measured::default();
        };
        let namespace = looked.view.namespace.as_deref().unwrap_or_default();
        let requests = match &looked.watch {
            Some(watch) => {
                let asked = self.spot.figures(watch, looked.since, Timestamp::now());
                Some(asked.await)
            }
            None => None,
        };
        Measured {
            rollout: Some(rollout.id.clone()),
            requests,
            usage: Some(self.usage(namespace).await),
        }
    }

    /// Asks again and again for the figures of the release that is shown, until nobody listens.
    pub(super) async fn follow(
        mut self,
        mut shown: watch::Receiver<Option<Looked>>,
        told: mpsc::Sender<Measured>,
    ) {
        loop {
            let looked = shown.borrow_and_update().clone();
            if let Some(looked) = looked.filter(is_live) {
                let measured = self.read(&looked).await;
                if told.send(measured).await.is_err() {
                    return;
                }
                sleep(EVERY).await;
            } else if shown.changed().await.is_err() {
                return;
            }
        }
    }

    async fn usage(&mut self, namespace: &str) -> Used {
        if let Some((known, due)) = &self.usage
            && due.is_none_or(|due| Instant::now() < due)
        {
            return known.clone();
        }
        let asked = self.cluster.usage(namespace).await;
        // Who does not measure does not begin to, and who says no says it again.
        let is_final = asked.as_ref().is_err_and(|error| error.is_final());
        let due = (!is_final).then(|| Instant::now() + USAGE_EVERY);
        let told = asked.map_err(|error| error.to_string());
        self.usage = Some((told.clone(), due));
        told
    }
}

impl Measured {
    /// Puts the figures into a view, if they are of the rollout that goes on there.
    pub(super) fn put_into(&self, view: &mut ServiceView) {
        let live = view.rollout.as_ref().filter(|one| !one.is_over);
        if live.is_none() || live.map(|one| &one.id) != self.rollout.as_ref() {
            return;
        }
        match &self.requests {
            Some(Ok(figures)) => put(view, figures),
            Some(Err(why)) => view.notices.push(format!("no data of requests: {why}")),
            None => {}
        }
        match &self.usage {
            Some(Ok(usage)) => put_usage(view, usage),
            Some(Err(why)) => view
                .notices
                .push(format!("no data of cpu and memory: {why}")),
            None => {}
        }
    }
}

fn is_live(looked: &Looked) -> bool {
    let rollout = looked.view.rollout.as_ref();
    rollout.is_some_and(|rollout| !rollout.is_over)
}

/// Puts what was counted of requests.
fn put(view: &mut ServiceView, figures: &Figures) {
    put_arm(&mut view.stable.figures, &figures.stable);
    if let Some(canary) = &mut view.canary {
        put_arm(&mut canary.figures, &figures.canary);
    }
    if let Some(rollout) = &mut view.rollout {
        let share = figures.canary.traffic_share_bps;
        rollout.observed_bps = share.map(u64::from);
    }
}

fn put_arm(figures: &mut FiguresView, arm: &Arm) {
    figures.requests = arm.requests;
    figures.error_rate_ppm = arm.error_rate_ppm;
    figures.request_rate_milli = arm.request_rate_milli;
    figures.p50_us = arm.p50_us;
    figures.p95_us = arm.p95_us;
    figures.p99_us = arm.p99_us;
    figures.success_rate_ppm = arm.success_rate_ppm;
    figures.traffic_share_bps = arm.traffic_share_bps.map(u64::from);
}

/// Puts what the pods of each version use, one with another.
fn put_usage(view: &mut ServiceView, usage: &BTreeMap<String, Usage>) {
    let mut used: BTreeMap<&str, Vec<Usage>> = BTreeMap::new();
    gather(&view.objects, "stable", usage, &mut used);
    let canary = view.canary.iter_mut().map(|version| ("canary", version));
    for (role, version) in std::iter::once(("stable", &mut view.stable)).chain(canary) {
        let used = used.get(role).map_or(&[][..], Vec::as_slice);
        let count = u64::try_from(used.len()).unwrap_or(u64::MAX);
        let mean = |of: fn(&Usage) -> u64| {
            let sum = used.iter().map(of).fold(0, u64::saturating_add);
            sum.checked_div(count)
        };
        version.figures.cpu_ppm = mean(|one| one.cpu_ppm);
        version.figures.memory_bytes = mean(|one| one.memory_bytes);
    }
}

/// Gathers what pods use by their role, which is their owner's where they have none.
fn gather<'a>(
    objects: &'a [ObjectView],
    role: &'a str,
    usage: &BTreeMap<String, Usage>,
    used: &mut BTreeMap<&'a str, Vec<Usage>>,
) {
    for object in objects {
        let role = object.role.as_deref().unwrap_or(role);
        let of_pod = usage.get(&object.name).filter(|_| object.kind == "Pod");
        if let Some(of_pod) = of_pod {
            used.entry(role).or_default().push(*of_pod);
        }
        gather(&object.owned, role, usage, used);
    }
}

#[cfg(test)]
mod tests;
