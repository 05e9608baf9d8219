//! What is usual of each service: learned from stable all the time, and compared with while a rollout goes on.
//!
//! Every five minutes what stable showed in them is added to the store, one row for each metric and hour of the week; nothing of it
//! stays in memory. A rollout reads it once an hour and looks at it every few seconds. What was counted while the canary had all traffic
//! is not stable's, so nothing but the number of requests is learned of it.
//!
//! **Invariant:** no decision waits for this, and none fails by it: what can't be read or written is left out.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::RangeInclusive,
};

use haldane_analysis::{
    band::{self, Band, History, history},
    sequential::Observed,
};
use haldane_core::{
    ServiceName,
    plan::{Bands, Rules},
};
use jiff::{SignedDuration, Timestamp};
use tracing::{debug, warn};

use super::{
    Driver,
    home::{Home, Live},
};
use crate::{
    record::{read_band, write_band},
    store::{StoreError, Write},
};

/// How many services learn in one turn: a thousand of them have learned after a few seconds, and no turn is long.
const LEARNED_PER_TURN: usize = 16;

/// The time between two looks of a rollout.
const LOOK: SignedDuration = SignedDuration::from_secs(5);

/// What of five minutes must have been measured to stand for them.
const COVERED_MIN: SignedDuration = SignedDuration::from_secs(150);

/// How many observations are kept of the last minutes: those of a full set of metrics, each asked for every five seconds.
const TOLD_MAX: usize = 1_024;

/// What a service learns from.
#[derive(Debug)]
pub(super) struct Learning {
    /// The five minutes that are being measured.
    slot: i64,
    /// What metric systems told in the last minutes, oldest first.
    told: VecDeque<Observed>,
}

/// What a rollout knows of what is usual.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The hour of the week that the bands are of.
    hour: Option<u8>,
    bands: BTreeMap<String, Band>,
    /// When it was looked at last.
    looked: Option<Timestamp>,
}

impl Learning {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            slot: history::slot(now),
            told: VecDeque::new(),
        }
    }

    /// Takes in what metric systems told, and forgets what is older than five minutes.
    pub(super) fn hear(&mut self, told: &[Observed], now: Timestamp) {
        self.told.extend(told.iter().cloned());
        let is_old = |observed: &Observed| now.duration_since(observed.to) >= history::SLOT;
        while self.told.len() > TOLD_MAX || self.told.front().is_some_and(is_old) {
            self.told.pop_front();
        }
    }
}

impl Home {
    /// Returns the rules by which its metrics are asked for and learned: the rollout's, or those of the file.
    pub(super) fn rules(&self) -> &Rules {
        let live = self.live().map(Live::plan);
        live.unwrap_or(&self.record.file.plan).rules()
    }

    /// Returns what was measured of each metric from one time to another.
    fn seen(&self, from: Timestamp, to: Timestamp) -> BTreeMap<String, band::Seen> {
        let totals = self.series.totals(from, to, history::SLOT.unsigned_abs());
        let own = band::of_requests(&totals);
        let mut seen: BTreeMap<String, band::Seen> = own
            .into_iter()
            .map(|(name, seen)| (name.to_owned(), seen))
            .collect();
        for metric in &self.rules().metrics {
            let is_of = |observed: &&Observed| {
                observed.metric == metric.name && observed.to > from && observed.to <= to
            };
            let told = self.learning.told.iter().filter(is_of);
            seen.insert(metric.name.clone(), band::of_observed(told));
        }
        seen
    }
}

impl Driver {
    /// Lets some of the services that have five more minutes behind them learn from these.
    pub(super) fn learn(&mut self, now: Timestamp) {
        let slot = history::slot(now);
        let from = now - history::SLOT;
        // What was measured lies in the five minutes before these.
        let at = now - COVERED_MIN;
        let is_due = |home: &Home| home.learning.slot != slot;
        let due = self.homes.iter().filter(|(_, home)| is_due(home));
        let due: Vec<ServiceName> = due
            .map(|(name, _)| name.clone())
            .take(LEARNED_PER_TURN)
            .collect();
        let mut writes = Vec::new();
        for name in &due {
            writes.extend(self.learned(name, (from, now), at));
            if let Some(home) = self.homes.get_mut(name) {
                home.learning.slot = slot;
            }
        }
        self.keep_learned(&writes);
    }

    /// Lets all services learn from what they have of the present five minutes, because there will be no more.
    pub(super) fn learn_last(&mut self, now: Timestamp) {
        let since = now.as_second().rem_euclid(history::SLOT.as_secs());
        let from = now - SignedDuration::from_secs(since);
        let names: Vec<ServiceName> = self.homes.keys().cloned().collect();
        let writes = names
            .iter()
            .map(|name| self.learned(name, (from, now), now));
        let writes: Vec<Write> = writes.collect::<Vec<_>>().concat();
        self.keep_learned(&writes);
    }

    fn keep_learned(&mut self, writes: &[Write]) {
        if writes.is_empty() {
            return;
        }
        if let Err(error) = self.commit(writes) {
            debug!(%error, "What was learned of the last minutes was not stored");
        }
    }

    /// Returns what a service learns of the five minutes at a time, from what was measured from one time to another.
    fn learned(
        &mut self,
        name: &ServiceName,
        (from, to): (Timestamp, Timestamp),
        at: Timestamp,
    ) -> Vec<Write> {
        let home = self.homes.get(name);
        let Some(home) = home.filter(|_| self.store.absence().is_none()) else {
            return Vec::new();
        };
        let seen = home.seen(from, to);
        let values = band::metrics(home.rules())
            .into_iter()
            .filter_map(|metric| {
                let seen = seen.get(&metric.name)?;
                let is_covered = seen.covered >= COVERED_MIN.unsigned_abs();
                let stable = seen.stable.as_ref().filter(|_| is_covered)?;
                Some((metric.name, metric.measure.value(stable)?))
            });
        let values: Vec<(String, u64)> = values.collect();
        let mut writes = Vec::new();
        for (metric, value) in values {
            match self.added(name, &metric, at, value) {
                Ok(write) => writes.extend(write),
                Err(error) => {
                    debug!(service = %name, metric, %error, "Nothing was learned");
                }
            }
        }
        writes
    }

    /// Returns the row of an hour with one more value.
    fn added(
        &mut self,
        name: &ServiceName,
        metric: &str,
        at: Timestamp,
        value: u64,
    ) -> Result<Option<Write>, StoreError> {
        let hour = history::hour_of_week(at);
        let mut history = self.remembered(name, metric, hour..=hour)?;
        history.learn(at, value);
        let cell = history.cell(hour);
        cell.map(|cell| write_band(name, metric, hour, cell))
            .transpose()
    }

    /// Returns what is known of a metric in these hours; a damaged row is as if nothing was known of its hour.
    fn remembered(
        &mut self,
        name: &ServiceName,
        metric: &str,
        hours: RangeInclusive<u8>,
    ) -> Result<History, StoreError> {
        let mut history = History::default();
        for row in self.store.bands(name, metric, hours)? {
            match read_band(&row) {
                Ok(cell) => history.put(row.hour, cell),
                Err(error) => {
                    let why = error.to_chain();
                    warn!(service = %name, metric, hour = row.hour, %why, "What was learned of an hour cannot be read; it is learned anew");
                }
            }
        }
        Ok(history)
    }

    /// Compares a rollout's versions with what is usual, every few seconds; in between there is nothing new.
    pub(super) fn look_at_bands(
        &mut self,
        name: &ServiceName,
        now: Timestamp,
    ) -> Option<Vec<band::Evidence>> {
        let live = self.homes.get(name).and_then(Home::live)?;
        let is_early = |looked: Timestamp| now.duration_since(looked) < LOOK;
        if live.plan().rules().bands == Bands::None || live.usual.looked.is_some_and(is_early) {
            return None;
        }
        let metrics = band::metrics(live.plan().rules());
        let hour = history::hour_of_week(now);
        if live.usual.hour != Some(hour) {
            let bands = self.bands_at(name, &metrics, now);
            let live = self.live_of(name)?;
            live.usual.bands = bands;
            live.usual.hour = Some(hour);
        }
        let home = self.homes.get(name)?;
        let live = home.live()?;
        let from = live.record.started_at.max(now - history::SLOT);
        let seen = home.seen(from, now);
        let nothing = band::Seen::default();
        let found = metrics.iter().map(|metric| {
            let band = live.usual.bands.get(&metric.name).copied();
            let seen = seen.get(&metric.name).unwrap_or(&nothing);
            band::look(metric, band, seen)
        });
        let found = found.collect();
        self.live_of(name)?.usual.looked = Some(now);
        Some(found)
    }

    /// Returns what is usual of each metric at a time.
    fn bands_at(
        &mut self,
        name: &ServiceName,
        metrics: &[band::Metric],
        now: Timestamp,
    ) -> BTreeMap<String, Band> {
        let mut bands = BTreeMap::new();
        for metric in metrics {
            let hours = 0..=history::HOURS.saturating_sub(1);
            match self.remembered(name, &metric.name, hours) {
                Ok(history) => {
                    let band = history.band(metric.measure, now);
                    bands.extend(band.map(|band| (metric.name.clone(), band)));
                }
                Err(error) => {
                    let why = error.to_chain();
                    warn!(service = %name, metric = metric.name, %why, "What is usual cannot be read");
                }
            }
        }
        bands
    }

    fn live_of(&mut self, name: &ServiceName) -> Option<&mut Live> {
        let home = self.homes.get_mut(name)?;
        home.rollout.as_mut()
    }
}
