//! The router: it is told where traffic is to go, and in its own time sends it there.

use haldane_core::{
    Weight,
    rollout::{Traffic, TrafficSeen},
};

use crate::{
    chance::Chance,
    fault::{Fault, Faults},
};

/// The router and the requests in flight behind it.
#[derive(Clone, Debug)]
pub(crate) struct Router {
    applied: Traffic,
    order: Option<Order>,
    stuck: (i64, i64),
    dead_from: i64,
    reset_at: i64,
    unreadable: (i64, i64),
    /// How long requests take to end after traffic has left.
    tail: i64,
    canary_busy_until: i64,
    stable_busy_until: i64,
    chance: Chance,
}

#[derive(Clone, Debug)]
struct Order {
    traffic: Traffic,
    due: i64,
    is_halfway: bool,
}

impl Router {
    pub(super) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed, 4);
        let span = |chance: &mut Chance, length| {
            let from = chance.seconds(0, 150);
            (from, from.saturating_add(chance.seconds(5, length)))
        };
        Self {
            applied: Traffic::STABLE_ONLY,
            order: None,
            stuck: span(&mut chance, 70),
            dead_from: chance.seconds(0, 200),
            reset_at: chance.seconds(20, 200),
            unreadable: span(&mut chance, 60),
            tail: chance.seconds(0, 4),
            canary_busy_until: 0,
            stable_busy_until: 0,
            chance,
        }
    }

    pub(crate) const fn applied(&self) -> &Traffic {
        &self.applied
    }

    /// Returns where traffic goes or will go by the last order.
    pub(crate) fn target(&self) -> &Traffic {
        self.order
            .as_ref()
            .map_or(&self.applied, |order| &order.traffic)
    }

    pub(crate) const fn canary_in_flight(&self, now: i64) -> u64 {
        if self.canary_busy_until > now { 3 } else { 0 }
    }

    pub(crate) const fn stable_in_flight(&self, now: i64) -> u64 {
        if self.stable_busy_until > now { 5 } else { 0 }
    }

    pub(crate) fn ensure(&mut self, traffic: &Traffic, now: i64, faults: &mut Faults) {
        if self.target() == traffic {
            return;
        }
        let delay = if faults.strikes(Fault::LateRouter) {
            self.chance.seconds(1, 30)
        } else {
            0
        };
        self.order = Some(Order {
            traffic: traffic.clone(),
            due: now.saturating_add(delay),
            is_halfway: false,
        });
        self.pass(now, faults);
    }

    pub(super) fn pass(&mut self, now: i64, faults: &mut Faults) {
        if now >= self.reset_at {
            self.reset_at = i64::MAX;
            if faults.strikes(Fault::RouterReset) {
                self.applied = Traffic::STABLE_ONLY;
                self.order = None;
            }
        }
        self.obey(now, faults);
        let tail = if faults.is_drawn(Fault::LongRequests) {
            25_000
        } else {
            self.tail
        };
        if !self.applied.is_stable_only() {
            self.canary_busy_until = now.saturating_add(tail);
        }
        if !self.applied.weight.is_full() {
            self.stable_busy_until = now.saturating_add(tail);
        }
    }

    pub(super) fn read(&self, now: i64, faults: &mut Faults) -> Option<TrafficSeen> {
        if is_within(now, self.unreadable) && faults.strikes(Fault::UnreadableRouter) {
            return None;
        }
        if faults.is_drawn(Fault::LongRequests) && self.canary_in_flight(now) > 0 {
            faults.strikes(Fault::LongRequests);
        }
        Some(TrafficSeen {
            applied: self.applied.clone(),
            stable_in_flight: self.stable_in_flight(now),
            canary_in_flight: self.canary_in_flight(now),
        })
    }

    fn obey(&mut self, now: i64, faults: &mut Faults) {
        let Some(order) = &mut self.order else {
            return;
        };
        if order.due > now
            || (is_within(now, self.stuck) && faults.strikes(Fault::StuckRouter))
            || (now >= self.dead_from && faults.strikes(Fault::DeadRouter))
        {
            return;
        }
        if !order.is_halfway && faults.strikes(Fault::PartialRouter) {
            order.is_halfway = true;
            order.due = now.saturating_add(self.chance.seconds(1, 15));
            self.applied.weight = between(self.applied.weight, order.traffic.weight);
            return;
        }
        self.applied = order.traffic.clone();
        self.order = None;
    }
}

fn between(one: Weight, other: Weight) -> Weight {
    let sum = one.as_bps().saturating_add(other.as_bps());
    Weight::try_from_bps(sum / 2).unwrap_or(Weight::ZERO)
}

const fn is_within(now: i64, span: (i64, i64)) -> bool {
    span.0 <= now && now < span.1
}
