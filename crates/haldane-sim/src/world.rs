//! The virtual world: replicas, a router, measurements, gates, a calendar and people, with their troubles.
//!
//! The world keeps true time in milliseconds since the rollout began; the host sees it through a wall clock that may jump.

mod fleet;
mod judge;
mod people;
mod router;

use haldane_core::{
    plan::Plan,
    rollout::{
        Calendar, CanaryWish, Command, GateAnswer, GateKey, Input, State, TrafficSeen,
        WorkloadWish, Workloads,
    },
};
use jiff::{SignedDuration, Timestamp};

pub(crate) use self::{fleet::Fleet, router::Router};
use self::{
    judge::{Judge, Moment},
    people::People,
};
use crate::{
    chance::Chance,
    fault::{Fault, Faults},
};

/// When the world began, by its wall clock.
const EPOCH_SECONDS: i64 = 1_700_000_000;

const HOUR_MILLIS: i64 = 3_600_000;

/// Everything outside the host.
#[derive(Clone, Debug)]
pub(crate) struct World {
    /// True time.
    pub(crate) now: i64,
    pub(crate) faults: Faults,
    pub(crate) canary: Fleet,
    pub(crate) router: Router,
    pub(crate) judge: Judge,
    people: People,
    stable: u32,
    /// How far the wall clock is ahead of true time.
    skew: i64,
    jump_at: i64,
    gates: Gates,
    calendar: Option<Vec<i64>>,
    chance: Chance,
}

#[derive(Clone, Debug, Default)]
struct Gates {
    asked: Vec<GateKey>,
    coming: Vec<(i64, GateAnswer)>,
}

impl World {
    pub(crate) fn new(seed: u64, plan: &Plan, mut faults: Faults) -> Self {
        let mut chance = Chance::new(seed, 2);
        let stable = u32::try_from(chance.below(4))
            .unwrap_or(0)
            .saturating_add(1);
        let closes = faults.is_drawn(Fault::CalendarCloses);
        let has_calendar = closes || !plan.rules().windows.is_empty();
        let calendar = has_calendar.then(|| {
            if closes {
                closings(&mut chance)
            } else {
                Vec::new()
            }
        });
        Self {
            now: 0,
            canary: Fleet::new(seed, stable, &mut faults),
            router: Router::new(seed),
            judge: Judge::new(seed),
            people: People::new(seed),
            stable,
            skew: 0,
            jump_at: chance.seconds(0, 200),
            gates: Gates::default(),
            calendar,
            chance,
            faults,
        }
    }

    /// Returns what the wall clock says.
    pub(crate) fn clock(&self) -> Timestamp {
        Timestamp::from_second(EPOCH_SECONDS)
            .unwrap_or(Timestamp::UNIX_EPOCH)
            .checked_add(SignedDuration::from_millis(
                self.now.saturating_add(self.skew),
            ))
            .unwrap_or(Timestamp::MAX)
    }

    /// Lets true time pass.
    pub(crate) fn pass(&mut self, millis: i64) {
        self.now = self.now.saturating_add(millis.max(1));
        if self.now >= self.jump_at {
            self.jump_at = i64::MAX;
            self.jump();
        }
        self.router.pass(self.now, &mut self.faults);
    }

    pub(crate) fn was_always_bad(&self) -> bool {
        self.judge.is_bad(0)
    }

    pub(crate) fn was_ever_bad(&self) -> bool {
        self.judge.is_bad(i64::MAX)
    }

    /// Returns what can be observed; what can't is left out.
    pub(crate) fn observe(&mut self) -> Vec<Input> {
        let mut seen = vec![Input::Workloads(self.workloads())];
        if let Some(traffic) = self.traffic() {
            seen.push(Input::Traffic(traffic));
        }
        if let Some(calendar) = self.calendar() {
            seen.push(Input::Calendar(calendar));
        }
        let moment = Moment {
            now: self.now,
            clock: self.clock(),
            has_data: self.canary.ready(self.now) > 0,
        };
        let judgements = self.judge.judgements(moment, &mut self.faults);
        seen.extend(judgements.into_iter().map(Input::Judged));
        seen.extend(self.foreign_answer().map(Input::Gate));
        seen.extend(self.answers().into_iter().map(Input::Gate));
        seen
    }

    /// Returns what people want, given what they see.
    pub(crate) fn commands(&mut self, state: &State) -> Vec<Command> {
        self.people.commands(self.now, state, &mut self.faults)
    }

    fn workloads(&mut self) -> Workloads {
        Workloads {
            stable: fleet::all_ready(self.stable),
            canary: self.canary.seen(self.now, &mut self.faults),
            canary_full: self.stable,
            canary_trouble: self.canary.trouble(self.now),
        }
    }

    pub(crate) const fn stable(&self) -> u32 {
        self.stable
    }

    /// Resizes the canary.
    pub(crate) fn size(&mut self, wish: WorkloadWish) {
        let (now, clock) = (self.now, self.clock());
        match wish.canary {
            CanaryWish::Stopped => self.canary.resize(0, now, clock, &mut self.faults),
            CanaryWish::Kept => {}
            CanaryWish::Running(size) => {
                self.canary
                    .resize(size.replicas(self.stable), now, clock, &mut self.faults);
                if let Some(since) = size.restart_since {
                    self.canary.replace(since, now, clock, &mut self.faults);
                }
            }
        }
        if !wish.has_stable {
            self.stable = 0;
        }
    }

    /// Asks a gate, unless it was asked already.
    pub(crate) fn ask(&mut self, key: &GateKey) {
        if self.gates.asked.contains(key) {
            return;
        }
        self.gates.asked.push(key.clone());
        if self.faults.strikes(Fault::GateNever) {
            return;
        }
        let delay = if self.faults.strikes(Fault::GateLate) {
            self.chance.seconds(20, 100)
        } else {
            self.chance.seconds(0, 5)
        };
        let answer = GateAnswer {
            key: key.clone(),
            is_open: !self.faults.strikes(Fault::GateNo),
            said: "answered".to_owned(),
        };
        let due = self.now.saturating_add(delay);
        if self.faults.strikes(Fault::GateTwice) {
            let again = due.saturating_add(7_000);
            self.gates.coming.push((again, answer.clone()));
        }
        self.gates.coming.push((due, answer));
    }

    /// An answer to a question that was never asked, or was asked long ago.
    fn foreign_answer(&mut self) -> Option<GateAnswer> {
        let strikes = self
            .faults
            .strikes_at_times(Fault::GateForeign, 200, &mut self.chance);
        let rollout = "shop-1".parse().ok().filter(|_| strikes)?;
        let step = u32::try_from(self.chance.below(8)).unwrap_or(0);
        Some(GateAnswer {
            key: GateKey {
                rollout,
                step,
                entered: Timestamp::UNIX_EPOCH,
            },
            is_open: self.chance.happens(500),
            said: "foreign".to_owned(),
        })
    }

    fn answers(&mut self) -> Vec<GateAnswer> {
        let now = self.now;
        let (due, coming) = std::mem::take(&mut self.gates.coming)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.gates.coming = coming;
        let due: Vec<(i64, GateAnswer)> = due;
        due.into_iter().map(|(_, answer)| answer).collect()
    }

    /// The host that asked is gone, and with it who waits for the answers.
    pub(crate) fn forget_asked(&mut self) {
        self.gates = Gates::default();
    }

    pub(crate) fn traffic(&mut self) -> Option<TrafficSeen> {
        self.router.read(self.now, &mut self.faults)
    }

    fn calendar(&mut self) -> Option<Calendar> {
        let toggles = self.calendar.as_ref()?;
        let passed = toggles.iter().filter(|at| **at <= self.now).count();
        if passed % 2 == 0 {
            return Some(Calendar::Open);
        }
        self.faults.strikes(Fault::CalendarCloses);
        let why = "a freeze is on".to_owned();
        Some(Calendar::Closed { why })
    }

    fn jump(&mut self) {
        if self.faults.strikes(Fault::ClockBack) {
            self.skew = self.skew.saturating_sub(HOUR_MILLIS);
        }
        if self.faults.strikes(Fault::ClockAhead) {
            self.skew = self.skew.saturating_add(HOUR_MILLIS);
        }
        if self.faults.strikes(Fault::Suspend) {
            // All of the machine sleeps, and so does what is measured on it.
            self.skew = self.skew.saturating_add(HOUR_MILLIS.saturating_mul(8));
        }
    }
}

/// Draws when the calendar closes and opens: an even number of times, so that it ends open.
fn closings(chance: &mut Chance) -> Vec<i64> {
    let first = chance.seconds(0, 90);
    let mut at = chance.pick(0, &[first]);
    let count = chance.pick(2, &[2, 4]);
    (0..count)
        .map(|_| {
            let toggle = at;
            at = chance.seconds(0, 90).saturating_add(at);
            toggle
        })
        .collect()
}
