//! The durable store: what survives a crash, and how it may fail.

use haldane_core::rollout::{Facts, State};

use crate::{
    chance::Chance,
    fault::{Fault, Faults},
};

/// The durable decisions of one rollout.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    state: State,
    /// How many decisions were recorded; each save names the number it expects, so that none is recorded twice.
    count: u64,
    refuses: (i64, i64),
    /// Until when the store cannot be read, once it was tried at a start.
    unreadable_until: Option<i64>,
    chance: Chance,
}

/// Why a save failed, as the host sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SaveError {
    /// The disk refused; whether it wrote is not known.
    Refused,
    /// The host's decision does not follow the recorded one.
    Conflict,
}

impl Store {
    pub(crate) fn new(seed: u64, state: &State) -> Self {
        let mut chance = Chance::new(seed, 7);
        let from = chance.seconds(0, 150);
        Self {
            state: durable(state),
            count: 0,
            refuses: (from, from.saturating_add(chance.seconds(5, 60))),
            unreadable_until: None,
            chance,
        }
    }

    /// Returns the last recorded decision, for the checker.
    pub(crate) const fn last(&self) -> &State {
        &self.state
    }

    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn save(
        &mut self,
        count: u64,
        state: &State,
        now: i64,
        faults: &mut Faults,
    ) -> Result<(), SaveError> {
        if count != self.count {
            return Err(SaveError::Conflict);
        }
        if self.refuses.0 <= now && now < self.refuses.1 && faults.strikes(Fault::DiskRefuses) {
            return Err(SaveError::Refused);
        }
        self.state = durable(state);
        self.count = self.count.saturating_add(1);
        if faults.strikes_at_times(Fault::DiskLies, 150, &mut self.chance) {
            return Err(SaveError::Refused);
        }
        Ok(())
    }

    /// Reads the last decision and its number.
    pub(crate) fn load(&self) -> (State, u64) {
        (self.state.clone(), self.count)
    }

    /// Reads the last decision at a start, through its stored form; `None` when it cannot be read.
    pub(crate) fn load_at_start(&mut self, now: i64, faults: &mut Faults) -> Option<(State, u64)> {
        if faults.is_drawn(Fault::Unreadable) {
            let until = match self.unreadable_until {
                Some(until) => until,
                None => now.saturating_add(self.chance.seconds(1, 40)),
            };
            self.unreadable_until = Some(until);
            if now < until && faults.strikes(Fault::Unreadable) {
                return None;
            }
        }
        let text = serde_json::to_string(&self.state).ok()?;
        let state = serde_json::from_str(&text).ok()?;
        Some((state, self.count))
    }
}

fn durable(state: &State) -> State {
    State {
        facts: Facts::default(),
        ..state.clone()
    }
}
