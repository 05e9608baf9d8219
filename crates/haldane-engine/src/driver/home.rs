//! One service with its rollout, and what a turn does for it.

use std::collections::{BTreeMap, BTreeSet};

use haldane_analysis::{
    Evidence, Series,
    looks::{self, Knowledge},
};
use haldane_api::file::Service;
use haldane_core::{
    ServiceName, VersionName,
    plan::Plan,
    rollout::{Facts, Input, Phase, Replicas, State, Trouble},
    verdict::Judgement,
};
use jiff::Timestamp;

use super::{
    Driver,
    bands::{Known, Learning},
    recorder::Recorder,
};
use crate::{
    record::{RolloutRecord, ServiceRecord},
    store::{RolloutRow, Write},
};

/// How many moves a rollout may make in one turn; each costs a commit, and a plan of zero-length steps must not block the others.
const MOVES_PER_TURN_MAX: u32 = 16;

/// A service as it runs.
pub(super) struct Home {
    /// What is kept of it.
    pub(super) record: ServiceRecord,
    /// The rollout that goes on, or the last one.
    pub(super) rollout: Option<Live>,
    /// What was counted.
    pub(super) series: Series,
    /// What is learned from.
    pub(super) learning: Learning,
    /// How stable's replicas were seen last.
    pub(super) stable_seen: Replicas,
    /// Why some of them are not ready, as far as is known.
    pub(super) stable_trouble: Option<Trouble>,
    /// Rollouts that were rolled back and of which not everybody was told yet, oldest first.
    pub(super) aftermaths: Vec<RolloutRecord>,
    /// A rollout that could not be taken up from the store, if there is one.
    pub(super) aside: Option<Aside>,
    /// When the open batch began.
    pub(super) batch_from: Timestamp,
    /// Versions that were let go and whose counts can be forgotten when they are routed no more.
    pub(super) let_go: BTreeSet<VersionName>,
}

/// A rollout as it runs.
pub(super) struct Live {
    /// What is kept of it.
    pub(super) record: RolloutRecord,
    /// What the background judge said last.
    pub(super) judged: Option<(Judgement, Evidence)>,
    /// What the judges know; what the background ones remember of it goes to the record when that is stored.
    pub(super) known: Knowledge,
    /// What the judges saw and is not stored yet.
    pub(super) recorder: Recorder,
    /// What is usual, and what is not.
    pub(super) usual: Known,
    /// When what the judges remember was stored last.
    pub(super) kept: Option<Timestamp>,
    /// Writes of decisions that took traffic away before they were durable.
    pub(super) pending: Vec<Write>,
    /// The key of the last news told.
    pub(super) told: String,
    /// Why it does not go on, if its next decision would break a rule.
    pub(super) fault: Option<String>,
    /// When it was taken up from the store, until its canary was seen ready.
    pub(super) taken_up: Option<Timestamp>,
}

/// A rollout in the store that makes no sense: stable serves alone until somebody decides.
pub(super) struct Aside {
    /// As it is in the store.
    pub(super) row: RolloutRow,
    /// What is wrong with it, in one sentence.
    pub(super) why: String,
}

impl Home {
    pub(super) fn new(record: ServiceRecord, now: Timestamp) -> Self {
        Self {
            record,
            rollout: None,
            series: looks::series(),
            learning: Learning::new(now),
            stable_seen: Replicas {
                wanted: 0,
                ready: 0,
                existing: 0,
                is_fixed: false,
            },
            stable_trouble: None,
            aftermaths: Vec::new(),
            aside: None,
            batch_from: now,
            let_go: BTreeSet::new(),
        }
    }

    /// Returns the rollout that goes on.
    pub(super) fn live(&self) -> Option<&Live> {
        self.rollout
            .as_ref()
            .filter(|live| !live.state().phase.is_terminal())
    }

    /// Returns the rollout whose effects still hold: one that goes on, or one that failed on its way back.
    pub(super) fn ruling(&self) -> Option<&Live> {
        self.rollout.as_ref().filter(|live| {
            let phase = &live.state().phase;
            !phase.is_terminal() || matches!(phase, Phase::Failed(_))
        })
    }

    /// Keeps what was counted of stable alone, which the judges learn from, and counts from now.
    pub(super) fn count_from_idle(&mut self, now: Timestamp) {
        self.series.keep_idle();
        self.batch_from = now;
    }

    /// Forgets what was counted, and counts from now.
    pub(super) fn count_anew(&mut self, now: Timestamp) {
        self.series = looks::series();
        self.learning = Learning::new(now);
        self.batch_from = now;
    }
}

impl Live {
    pub(super) fn new(record: RolloutRecord) -> Self {
        Self {
            known: Knowledge {
                background: record.judges.clone(),
                ..Knowledge::default()
            },
            recorder: Recorder::new(&record.recorded),
            record,
            judged: None,
            usual: Known::default(),
            kept: None,
            pending: Vec::new(),
            told: String::new(),
            fault: None,
            taken_up: None,
        }
    }

    /// Whether what was decided last is durable.
    pub(super) const fn is_durable(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) const fn plan(&self) -> &Plan {
        &self.record.wish.plan
    }

    pub(super) const fn state(&self) -> &State {
        &self.record.state
    }
}

impl Driver {
    /// Lets one service's rollout move as far as it can, and states all its effects again.
    pub(super) fn turn_of(&mut self, name: &ServiceName, now: Timestamp) {
        self.retry_pending(name);
        let mut seen = self.sample(name, now);
        seen.extend(self.gather(name, now));
        self.hear(name, &seen, now);
        self.settle(name, now);
        self.state_effects(name, now);
        self.forget_gone(name);
        self.begin_queued(name, now);
    }

    /// Tells a rollout what was seen, all facts first, so that none is judged beside something older than itself.
    fn hear(&mut self, name: &ServiceName, seen: &[Input], now: Timestamp) {
        let Some(live) = self
            .homes
            .get_mut(name)
            .and_then(|home| home.rollout.as_mut())
        else {
            return;
        };
        let known = live.record.state.facts.clone();
        let facts = seen
            .iter()
            .fold(known.clone(), |facts, input| facts.with(input));
        live.record.state.facts = facts;
        // What was known before is the cause of nothing; time may be.
        for input in seen.iter().filter(|input| is_news(&known, input)) {
            self.feed(name, input, now);
        }
    }

    /// Gives a rollout the passing of time until it moves no more.
    fn settle(&mut self, name: &ServiceName, now: Timestamp) {
        for _ in 0..MOVES_PER_TURN_MAX {
            let Some(before) = self.state_of(name).cloned() else {
                return;
            };
            self.feed(name, &Input::Tick, now);
            if self
                .state_of(name)
                .is_none_or(|after| after.is_same_decision(&before))
            {
                return;
            }
            let seen = self.gather(name, now);
            self.hear(name, &seen, now);
        }
    }

    /// Returns the state of a service's rollout that goes on.
    fn state_of(&self, name: &ServiceName) -> Option<&State> {
        self.homes.get(name).and_then(Home::live).map(Live::state)
    }

    /// Forgets the counts of versions that were let go and get no requests any more.
    ///
    /// A version may come back; what was counted of it before must not be judged then.
    fn forget_gone(&mut self, name: &ServiceName) {
        let Some(home) = self
            .homes
            .get_mut(name)
            .filter(|home| !home.let_go.is_empty())
        else {
            return;
        };
        let Some(seen) = self.ports.traffic.seen(name) else {
            return;
        };
        let routed = [Some(&seen.route.stable), seen.route.canary.as_ref()];
        let is_gone =
            |version: &VersionName| routed.iter().flatten().all(|spec| &spec.version != version);
        for version in home.let_go.iter().filter(|version| is_gone(version)) {
            self.ports.measurements.forget(name, version);
        }
        home.let_go.retain(|version| !is_gone(version));
    }
}

/// Whether an input tells what was not known; the number of requests in flight alone decides nothing.
fn is_news(known: &Facts, input: &Input) -> bool {
    match input {
        Input::Traffic(seen) => known
            .traffic
            .as_ref()
            .is_none_or(|known| known.applied != seen.applied),
        Input::Tick
        | Input::Workloads(_)
        | Input::Judged(_)
        | Input::Gate(_)
        | Input::Calendar(_)
        | Input::Command(_) => &known.with(input) != known,
    }
}

/// Returns the services' files, for the router.
pub(super) fn files(homes: &BTreeMap<ServiceName, Home>) -> BTreeMap<ServiceName, Service> {
    homes
        .iter()
        .map(|(name, home)| (name.clone(), home.record.file.clone()))
        .collect()
}
