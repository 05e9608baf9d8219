//! A driver on a scripted world and a real store, turned by hand; each scenario ends with a check of all history.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    thread,
};

use haldane_api::http::{
    Answer, ApplyRequest, CommandName, CommandRequest, DaemonView, DeployRequest, Recomputed,
    RecomputedView, ServiceView,
};
use haldane_core::{
    ServiceName, VersionName, Weight,
    plan::{Plan, check::Abilities},
    rollout::{self, Input, State, effect},
};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::{
    failing::{Crash, Failing, Faults},
    world::World,
};
use crate::{
    driver::{Driver, Setup},
    handle::{Engine, Event, Reply, RequestError},
    record::{CommandRecord, Entry, RolloutRecord},
    recording::Stored,
    store::{
        CommandRow, RolloutRow, Store, absent::AbsentStore, lock::DirectoryLock,
        sqlite::SqliteStore,
    },
};

/// The beginning of time in these tests: a Friday noon.
pub(super) const START: &str = "2026-11-20T12:00:00Z";

/// A release file with one service, judged by its error rate.
pub(super) const SHOP: &str = "
services:
  shop:
    listen: 127.0.0.1:8080
    stable: { version: v1, run: ./shop --port $PORT, replicas: 2 }
    rollout:
      steps: [10%, 50%, 100%]
      hold: 5s
      guards: { errorRate: 5% }
      sampling: { window: 10s, requestsMin: 20, staleAfter: 15s }
      deadlines: { ready: 20s, lost: 20s, traffic: 20s, evidence: 30s, drain: 5s }
";

/// What a test stands at.
pub(super) struct Bench {
    pub(super) world: World,
    pub(super) faults: Faults,
    driver: Option<Driver>,
    engine: Option<Engine>,
    lock: DirectoryLock,
    dir: TempDir,
    /// Whether the weight may be above the last durable one; for tests that damage the store.
    pub(super) is_damaged: bool,
}

impl Bench {
    pub(super) fn new() -> Self {
        let mut bench = Self::closed();
        bench.open();
        bench
    }

    /// Returns a bench whose store could not be opened.
    pub(super) fn without_store(store: AbsentStore) -> Self {
        let mut bench = Self::closed();
        // There is no history to check.
        bench.is_damaged = true;
        bench.open_with(Box::new(store));
        bench
    }

    fn closed() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirectoryLock::take(dir.path()).unwrap();
        Self {
            world: World::new(START.parse().unwrap()),
            faults: Faults::default(),
            driver: None,
            engine: None,
            lock,
            dir,
            is_damaged: false,
        }
    }

    /// Returns a bench with the shop, which serves.
    pub(super) fn with_shop() -> Self {
        let mut bench = Self::new();
        bench.apply(SHOP).unwrap();
        bench.turns(3);
        bench
    }

    fn open(&mut self) {
        // Wishes are in the memory of the process; what runs is not.
        self.world.lock().wishes.clear();
        let inner = SqliteStore::open(self.dir.path(), &self.lock).unwrap();
        let faults = self.faults.clone();
        self.open_with(Box::new(Failing { inner, faults }));
    }

    fn open_with(&mut self, store: Box<dyn Store + Send>) {
        let abilities = Abilities {
            mirror: false,
            experiment: false,
            header_route: true,
            header_regex: false,
            command: true,
            job: false,
        };
        let daemon = DaemonView {
            version: "0".to_owned(),
            pid: 1,
            started_at: START.parse().unwrap(),
            data_dir: self.dir.path().display().to_string(),
            store_fault: None,
        };
        let setup = Setup {
            ports: self.world.ports(),
            store,
            abilities,
            daemon,
        };
        let (driver, engine) = Driver::open(setup).unwrap();
        self.driver = Some(driver);
        self.engine = Some(engine);
    }

    /// Ends the driver without a word, as `kill -9` does, and opens it again.
    pub(super) fn restart(&mut self) {
        self.driver = None;
        self.open();
    }

    /// Ends the driver, lets a test damage what is stored, and opens it again.
    pub(super) fn restart_with(&mut self, damage: impl FnOnce(&mut dyn Store)) {
        self.driver = None;
        let mut store = SqliteStore::open(self.dir.path(), &self.lock).unwrap();
        damage(&mut store);
        drop(store);
        self.is_damaged = true;
        self.open();
    }

    /// Does something, and restarts the driver if it ended in the midst of it; returns whether it did.
    pub(super) fn survive(&mut self, action: impl FnOnce(&mut Self)) -> bool {
        match catch_unwind(AssertUnwindSafe(|| action(self))) {
            Ok(()) => false,
            Err(cause) if cause.is::<Crash>() => {
                self.restart();
                true
            }
            Err(cause) => resume_unwind(cause),
        }
    }

    pub(super) fn driver(&mut self) -> &mut Driver {
        self.driver.as_mut().unwrap()
    }

    /// Hands the driver out; the bench has none until it is restarted.
    pub(super) fn take_driver(&mut self) -> Driver {
        self.driver.take().unwrap()
    }

    pub(super) fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    /// Lets a second pass and gives the driver one turn.
    pub(super) fn turn(&mut self) {
        self.world.pass(1);
        self.turn_now();
    }

    /// Gives the driver one turn.
    pub(super) fn turn_now(&mut self) {
        let driver = self.driver();
        let now = driver.now();
        driver.turn(now);
        driver.publish(now);
        self.check_weight();
    }

    pub(super) fn turns(&mut self, count: u32) {
        (0..count).for_each(|_| self.turn());
    }

    /// Turns until the shop's rollout is in a phase.
    pub(super) fn until(&mut self, phase: &str) {
        self.until_view(phase, |view| {
            view.rollout.as_ref().is_some_and(|it| it.phase == phase)
        });
    }

    /// Turns until the shop's rollout has a weight, in percent.
    pub(super) fn until_weight(&mut self, percent: u16) {
        self.until_view(&percent.to_string(), |view| {
            view.rollout
                .as_ref()
                .is_some_and(|it| it.weight_bps.as_bps() == percent * 100)
        });
    }

    pub(super) fn until_view(&mut self, what: &str, is_there: impl Fn(&ServiceView) -> bool) {
        for _ in 0..300 {
            if is_there(&self.view()) {
                return;
            }
            self.turn();
        }
        panic!("never {what}: {:#?}", self.view().rollout);
    }

    pub(super) fn view(&self) -> ServiceView {
        self.engine().views()[&shop()].clone()
    }

    pub(super) fn phase(&self) -> String {
        self.view().rollout.map(|it| it.phase).unwrap_or_default()
    }

    pub(super) fn rollout_id(&self) -> String {
        self.view()
            .rollout
            .map(|it| it.id.to_string())
            .unwrap_or_default()
    }

    /// Returns the weight that was asked of the router, in percent.
    pub(super) fn routed(&self) -> u16 {
        self.world.lock().weight(&shop()).as_bps() / 100
    }

    pub(super) fn ask<T>(
        &mut self,
        event: impl FnOnce(Reply<T>) -> Event,
    ) -> Result<T, RequestError> {
        let (reply, mut answer) = oneshot::channel();
        self.driver().take(event(reply));
        self.check_weight();
        answer.try_recv().map_err(|_| RequestError::Unavailable)?
    }

    pub(super) fn apply(&mut self, text: &str) -> Result<Answer, RequestError> {
        self.apply_with(text, |_| {})
    }

    pub(super) fn apply_with(
        &mut self,
        text: &str,
        change: impl FnOnce(&mut ApplyRequest),
    ) -> Result<Answer, RequestError> {
        let mut request = ApplyRequest {
            text: text.to_owned(),
            base_dir: "/srv".to_owned(),
            prune: false,
            dry_run: false,
            by: "ann".to_owned(),
        };
        change(&mut request);
        self.ask(|reply| Event::Apply(request, reply))
    }

    pub(super) fn deploy(&mut self, version: &str) -> Result<Answer, RequestError> {
        self.deploy_with(version, |_| {})
    }

    pub(super) fn deploy_with(
        &mut self,
        version: &str,
        change: impl FnOnce(&mut DeployRequest),
    ) -> Result<Answer, RequestError> {
        let mut request = DeployRequest {
            version: self::version(version),
            run: Some(vec![
                "./shop".to_owned(),
                "--port".to_owned(),
                "$PORT".to_owned(),
            ]),
            env: [].into(),
            dir: None,
            urls: None,
            replicas: None,
            rollout: None,
            by: "ann".to_owned(),
            reason: Some("ticket 7".to_owned()),
        };
        change(&mut request);
        self.ask(|reply| Event::Deploy(shop(), request, reply))
    }

    pub(super) fn command(&mut self, command: CommandName) -> Result<Answer, RequestError> {
        self.command_with(command, |_| {})
    }

    pub(super) fn command_with(
        &mut self,
        command: CommandName,
        change: impl FnOnce(&mut CommandRequest),
    ) -> Result<Answer, RequestError> {
        let mut request = CommandRequest {
            command,
            step: None,
            full: false,
            weight_bps: None,
            to: None,
            rollout: None,
            by: "bob".to_owned(),
            reason: Some("because".to_owned()),
        };
        change(&mut request);
        self.ask(|reply| Event::Command(shop(), request, reply))
    }

    pub(super) fn set_weight(&mut self, percent: u16) -> Result<Answer, RequestError> {
        self.command_with(CommandName::SetWeight, |request| {
            request.weight_bps = Some(weight(percent));
        })
    }

    pub(super) fn broken_disk(&self, is_broken: bool) {
        self.faults.set(|script| script.is_broken = is_broken);
    }

    /// Returns what was asked of the shop and what became of it, oldest first: `abort by bob: refused`.
    pub(super) fn trail(&mut self) -> Vec<String> {
        let rows = self.driver().store.commands(&shop(), 100).unwrap();
        rows.iter().rev().map(said).collect()
    }

    /// Returns the decisions of a rollout: `Progressing 10 %: judge`.
    pub(super) fn story(&mut self, rollout: &str) -> Vec<String> {
        let id = rollout.parse().unwrap();
        let told = self.ask(|reply| Event::Rollout(id, reply)).unwrap();
        let entries = told.entries.iter();
        let tell = |entry: &haldane_api::http::EntryView| {
            format!("{} {}", entry.phase, entry.weight_bps.as_bps() / 100)
        };
        entries.map(tell).collect()
    }

    /// Returns the decisions of a rollout as they are stored.
    pub(super) fn entries(&mut self, rollout: &str) -> Vec<Entry> {
        let rows = self
            .driver()
            .store
            .entries(&rollout.parse().unwrap(), 10_000);
        rows.unwrap()
            .iter()
            .map(|row| Entry::read(row).unwrap())
            .collect()
    }

    /// P1: no more is asked of the router than the last durable decision allows.
    fn check_weight(&mut self) {
        if self.is_damaged {
            return;
        }
        for row in self.driver().store.live_rollouts().unwrap() {
            let record = RolloutRecord::read(&row).unwrap();
            let durable = effect::traffic(&record.wish.plan, &record.state).weight;
            let routed = self.world.lock().weight(&row.service);
            assert!(routed <= durable, "{}: {routed} over {durable}", row.id);
        }
        assert_eq!(self.world.lock().violations, [""; 0]);
    }

    /// P5 and P10: history has no gaps, every transition is lawful, and decided again gives the same.
    fn check_history(&mut self) {
        let store = &mut self.driver().store;
        for service in store.services().unwrap() {
            for row in store.rollouts(&service.name, 100).unwrap() {
                let Ok(record) = RolloutRecord::read(&row) else {
                    continue;
                };
                let rows = store.entries(&row.id, 10_000).unwrap();
                let numbers: Vec<u64> = rows.iter().map(|row| row.number).collect();
                let all: Vec<u64> = (0..record.entries).collect();
                assert_eq!(numbers, all, "{}: gaps", row.id);
                let plan = &record.wish.plan;
                let mut before: Option<State> = None;
                for row in &rows {
                    let entry = Entry::read(row).unwrap();
                    check_entry(plan, before.as_ref(), &entry, row.at);
                    before = Some(entry.state);
                }
                // What the judges remember is stored between decisions, and the time with it.
                let last = before.map(|before| {
                    assert!(before.seen <= record.state.seen, "{}: time", row.id);
                    State {
                        seen: record.state.seen,
                        ..before
                    }
                });
                assert_eq!(last.as_ref(), Some(&record.state), "{}: last", row.id);
                check_recording(store.as_mut(), &row);
            }
        }
    }
}

/// What the judges said follows again from what is recorded, and the decisions from that.
fn check_recording(store: &mut dyn Store, row: &RolloutRow) {
    let view = stored(store, row).recompute(&|| false);
    assert!(view.is_same, "{view:#?}");
    let is_other = |one: &&RecomputedView| one.result != Recomputed::Same;
    assert_eq!(view.decisions.iter().find(is_other), None, "{view:#?}");
}

/// Returns all that is stored of a rollout.
pub(super) fn stored(store: &mut dyn Store, row: &RolloutRow) -> Stored {
    let entries = store.entries(&row.id, 1_000).unwrap();
    let rows = store.recording(&row.id, 0, u32::MAX).unwrap();
    Stored::try_new(row, entries, rows).unwrap()
}

fn check_entry(plan: &Plan, before: Option<&State>, entry: &Entry, at: jiff::Timestamp) {
    assert_eq!(entry.state.seen, at, "{}", entry.text);
    let (Some(before), Some(input)) = (before, &entry.input) else {
        assert!(before.is_none() && entry.input.is_none(), "{}", entry.text);
        return;
    };
    let facts = entry.facts.clone();
    let before = State {
        facts: facts.clone(),
        ..before.clone()
    };
    let again = rollout::step(plan, &before, input, at);
    assert_eq!(again.refusal, None, "{}", entry.text);
    let stored = State {
        facts,
        ..entry.state.clone()
    };
    assert_eq!(again.state, stored, "{} is not decided again", entry.text);
    // Who is told after a rollback answers, and nothing changes by it.
    let is_told = before.phase.is_terminal() && matches!(input, Input::Gate(_));
    let is_same = stored.is_same_decision(&before);
    assert_eq!(is_same, is_told, "{} twice", entry.text);
    rollout::is_lawful(plan, &before, input, &stored).unwrap();
}

impl Drop for Bench {
    fn drop(&mut self) {
        if !thread::panicking() && !self.is_damaged {
            self.check_history();
        }
    }
}

pub(super) fn shop() -> ServiceName {
    "shop".parse().unwrap()
}

pub(super) fn version(name: &str) -> VersionName {
    name.parse().unwrap()
}

pub(super) fn weight(percent: u16) -> Weight {
    Weight::try_from_bps(percent * 100).unwrap()
}

/// Returns why a request was refused.
pub(super) fn why(result: Result<Answer, RequestError>) -> String {
    match result {
        Err(RequestError::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

fn said(row: &CommandRow) -> String {
    let tagged: serde_json::Value = serde_json::from_str(&row.body).unwrap();
    let record: CommandRecord = serde_json::from_value(tagged["body"].clone()).unwrap();
    let outcome = if record.refusal.is_some() {
        ": refused"
    } else {
        ""
    };
    let rollout = record
        .rollout
        .map(|id| format!(" {id}"))
        .unwrap_or_default();
    format!("{}{rollout} by {}{outcome}", record.name, record.actor)
}
