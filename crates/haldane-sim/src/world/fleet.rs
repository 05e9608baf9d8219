//! The canary's replicas.

use haldane_core::rollout::{Replicas, Trouble, TroubleKind};
use jiff::Timestamp;

use crate::{
    chance::Chance,
    fault::{Fault, Faults},
};

/// The replicas of one version.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    replicas: Vec<Replica>,
    wanted: u32,
    fixed: Option<u32>,
    /// When no replica is ready, whatever else holds.
    outages: Vec<Outage>,
    /// What the home says of a canary that never becomes ready; it may know nothing.
    never_ready: Option<TroubleKind>,
    chance: Chance,
}

#[derive(Clone, Copy, Debug)]
struct Replica {
    born: Timestamp,
    ready_at: i64,
}

#[derive(Clone, Copy, Debug)]
struct Outage {
    fault: Fault,
    from: i64,
    to: i64,
}

pub(super) const fn all_ready(count: u32) -> Replicas {
    Replicas {
        wanted: count,
        ready: count,
        existing: count,
        is_fixed: false,
    }
}

impl Fleet {
    pub(super) fn new(seed: u64, stable: u32, faults: &mut Faults) -> Self {
        let mut chance = Chance::new(seed, 3);
        let fixed = faults
            .strikes(Fault::FixedReplicas)
            .then(|| chance.pick(1, &[stable]));
        let outages = outages(faults, &mut chance);
        let never_ready = Chance::new(seed, 10).pick(
            None,
            &[
                None,
                Some(TroubleKind::CannotStart),
                Some(TroubleKind::NotReady),
                Some(TroubleKind::StartsFail(7)),
            ],
        );
        Self {
            replicas: Vec::new(),
            wanted: 0,
            fixed,
            outages,
            never_ready,
            chance,
        }
    }

    pub(crate) fn existing(&self) -> u32 {
        u32::try_from(self.replicas.len()).unwrap_or(u32::MAX)
    }

    pub(crate) const fn is_fixed(&self) -> bool {
        self.fixed.is_some()
    }

    pub(crate) fn ready(&self, now: i64) -> u32 {
        if self.outage(now).is_some() {
            return 0;
        }
        if let Some(count) = self.fixed {
            return count;
        }
        let ready = self.replicas.iter().filter(|one| one.ready_at <= now);
        u32::try_from(ready.count()).unwrap_or(u32::MAX)
    }

    pub(super) fn seen(&self, now: i64, faults: &mut Faults) -> Replicas {
        if let Some(outage) = self.outage(now) {
            faults.strikes(outage.fault);
        }
        Replicas {
            wanted: self.fixed.unwrap_or(self.wanted),
            ready: self.ready(now),
            existing: self.fixed.unwrap_or_else(|| self.existing()),
            is_fixed: self.is_fixed(),
        }
    }

    /// Returns what the home says of a canary that is not ready.
    pub(super) fn trouble(&self, now: i64) -> Option<Trouble> {
        let fault = self.outage(now)?.fault;
        let kind = if fault == Fault::NeverReady {
            self.never_ready?
        } else if fault == Fault::Dies {
            TroubleKind::StartsFail(9)
        } else {
            // A replica that is away for moments has failed at most now and then.
            TroubleKind::StartsFail(2)
        };
        Some(Trouble {
            kind,
            said: "it does not start".to_owned(),
        })
    }

    pub(super) fn resize(&mut self, count: u32, now: i64, clock: Timestamp, faults: &mut Faults) {
        self.wanted = count;
        self.replicas
            .truncate(usize::try_from(count).unwrap_or(usize::MAX));
        while self.existing() < count {
            let replica = self.begin(now, clock, faults);
            self.replicas.push(replica);
        }
    }

    /// Replaces one replica that is older than this, when all others are ready.
    pub(super) fn replace(
        &mut self,
        since: Timestamp,
        now: i64,
        clock: Timestamp,
        faults: &mut Faults,
    ) {
        if self.replicas.iter().any(|one| one.ready_at > now) {
            return;
        }
        let replica = self.begin(now, clock, faults);
        if let Some(old) = self.replicas.iter_mut().find(|one| one.born < since) {
            *old = replica;
        }
    }

    fn begin(&mut self, now: i64, clock: Timestamp, faults: &mut Faults) -> Replica {
        let delay = if faults.strikes(Fault::SlowStart) {
            self.chance.seconds(5, 70)
        } else {
            self.chance.seconds(0, 4)
        };
        Replica {
            born: clock,
            ready_at: now.saturating_add(delay),
        }
    }

    fn outage(&self, now: i64) -> Option<Outage> {
        self.outages
            .iter()
            .find(|outage| outage.from <= now && now < outage.to)
            .copied()
    }
}

fn outages(faults: &Faults, chance: &mut Chance) -> Vec<Outage> {
    let mut outages = Vec::new();
    if faults.is_drawn(Fault::NeverReady) {
        outages.push(Outage {
            fault: Fault::NeverReady,
            from: 0,
            to: i64::MAX,
        });
    }
    if faults.is_drawn(Fault::Flap) {
        for _ in 0..3 {
            let from = chance.seconds(0, 150);
            let to = from.saturating_add(chance.seconds(1, 15));
            outages.push(Outage {
                fault: Fault::Flap,
                from,
                to,
            });
        }
    }
    if faults.is_drawn(Fault::Dies) {
        outages.push(Outage {
            fault: Fault::Dies,
            from: chance.seconds(0, 150),
            to: i64::MAX,
        });
    }
    outages
}
