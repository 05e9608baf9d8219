//! `kill -9` of the daemon, at any moment: decisions go on where they were, and the children answer throughout.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    thread::{JoinHandle, sleep, spawn},
    time::{Duration, Instant, SystemTime},
};

use haldane_api::http::{EntryView, RolloutHistory};
use haldane_core::Weight;

use crate::it::{
    api::Api,
    chance::Chance,
    children::{Child, Watch},
    load::{Load, Seen, check_share, tally},
    rig::{Daemon, Rig, deploy_shop, free_addr, shop_file, stamp, storm, until},
};

/// How often the daemon is killed.
const KILLS: usize = 100;

/// How many of these must be within [`NEAR`] of a persist; on a busy machine that takes more kills.
const NEAR_MIN: usize = 30;
const KILLS_MAX: usize = 200;

/// The time around a persist, in which its effects are begun, too.
const NEAR: Duration = Duration::from_millis(5);

/// How long a kill waits for a persist before it comes anyway.
const PERSIST_WAIT: Duration = Duration::from_secs(2);

/// The longest life of a daemon that is killed just anywhere: a third of a rollout.
const LIFE_MAX: Duration = Duration::from_millis(700);

/// No judge: what was counted dies with the daemon, so verdicts would come later and later.
const ROLLOUT: &str =
    "{ steps: [10%, 50%, 100%], hold: 300ms, guards: none, deadlines: { lost: 20s } }";

/// What was decided, without when.
type Decision = (String, Option<u32>, Weight, String);

/// Rollouts under fire.
struct Siege {
    rig: Arc<Rig>,
    chance: Chance,
    log: PathBuf,
    kills: usize,
    near: usize,
    /// How often the proxy's own weight was compared with the decided one.
    compared: usize,
    /// What was durable at the last look.
    last: Option<RolloutHistory>,
}

#[test]
fn the_daemon_may_be_killed_a_hundred_times() {
    let _storm = storm();
    let rig = Arc::new(Rig::new());
    let addr = free_addr();
    rig.write_file(&shop_file(addr, ROLLOUT));
    let mut daemon = rig.up();
    daemon.api.wait_ready("shop");
    let children = Watch::start(&rig);
    let load = Load::start(addr, 2, Duration::from_millis(10));
    let undisturbed = {
        daemon
            .api
            .deploy("shop", &deploy_shop("v2", "good"))
            .unwrap();
        daemon.api.wait_over("shop-1")
    };
    assert_eq!(undisturbed.phase, "Completed");
    let mut siege = Siege::new(&rig);
    let mut histories = vec![undisturbed];
    while !siege.is_over() {
        let (history, survivor) = siege.roll_out(daemon, histories.len() + 1);
        histories.push(history);
        daemon = survivor;
    }
    let children = children.stop();
    let seen = load.stop();
    daemon.stop(&rig);

    println!(
        "{} kills, {} of them near a persist, over {} rollouts",
        siege.kills,
        siege.near,
        histories.len() - 1
    );
    println!(
        "{} comparisons of weights; clients saw {:?}",
        siege.compared,
        tally(&seen)
    );
    assert!(
        siege.near >= NEAR_MIN,
        "only {} kills near a persist",
        siege.near
    );
    assert!(
        siege.compared >= KILLS / 4,
        "only {} comparisons",
        siege.compared
    );
    check_histories(&histories);
    check_children(&children, &histories);
    check_answers(&seen, &histories);
}

impl Siege {
    fn new(rig: &Arc<Rig>) -> Self {
        Self {
            rig: Arc::clone(rig),
            chance: Chance::new(7),
            log: rig.data_dir().join("haldane.db-wal"),
            kills: 0,
            near: 0,
            compared: 0,
            last: None,
        }
    }

    const fn is_over(&self) -> bool {
        self.kills >= KILLS && self.near >= NEAR_MIN || self.kills >= KILLS_MAX
    }

    /// Rolls out the next version while the daemon is killed again and again.
    fn roll_out(&mut self, mut daemon: Daemon, number: usize) -> (RolloutHistory, Daemon) {
        let (id, version) = (format!("shop-{number}"), format!("v{}", number + 1));
        self.last = None;
        loop {
            let before = self.persisted();
            let history = daemon.api.rollout(&id).ok();
            let asking = history.is_none().then(|| ask(&daemon.api, &version));
            if let Some(history) = history {
                self.look(&daemon.api, &history);
                if history.ended_at.is_some() {
                    return (history, daemon);
                }
            }
            if self.is_over() && asking.is_none() {
                return (daemon.api.wait_over(&id), daemon);
            }
            self.kill(daemon, before);
            if let Some(asking) = asking {
                asking.join().unwrap();
            }
            daemon = self.rig.up();
        }
    }

    /// Kills the daemon: just after it has written something down, or just anywhere.
    fn kill(&mut self, daemon: Daemon, before: Option<(u64, SystemTime)>) {
        let is_aimed = self.chance.below(10) < 7;
        if is_aimed {
            let deadline = Instant::now() + PERSIST_WAIT;
            while self.persisted() == before && Instant::now() < deadline {
                sleep(Duration::from_micros(100));
            }
            sleep(self.chance.time_below(NEAR * 3 / 5));
        } else {
            sleep(self.chance.time_below(LIFE_MAX));
        }
        let is_changed = self.persisted() != before;
        let at = daemon.kill();
        self.kills += 1;
        let written = self.persisted().map(|(_, written)| written);
        let apart = written.map(|written| {
            at.duration_since(written)
                .unwrap_or_else(|early| early.duration())
        });
        if is_changed && apart.is_some_and(|apart| apart <= NEAR) {
            self.near += 1;
        }
        self.rig.note(&format!(
            "kill {}: {apart:?} after a write, aimed: {is_aimed}",
            self.kills
        ));
    }

    /// Checks that nothing durable was lost or changed, and that the proxy does what was decided.
    fn look(&mut self, api: &Api, history: &RolloutHistory) {
        if let Some(last) = self.last.replace(history.clone()) {
            assert_eq!(history.entries[..last.entries.len()], last.entries[..]);
        }
        let published = api.published("shop", history.canary.as_str());
        let again = api.rollout(history.id.as_str()).unwrap();
        // Where nothing was decided meanwhile, both spoke of the same moment.
        if let (Some(last), true) = (history.entries.last(), again.entries == history.entries) {
            assert_eq!(published, Some(last.weight_bps.as_bps()), "{last:?}");
            self.compared += 1;
        }
    }

    fn persisted(&self) -> Option<(u64, SystemTime)> {
        stamp(&self.log).ok()
    }
}

/// Asks for a version, of a daemon that may be killed meanwhile.
fn ask(api: &Api, version: &str) -> JoinHandle<()> {
    let (api, request) = (api.clone(), deploy_shop(version, "good"));
    spawn(move || drop(api.deploy("shop", &request)))
}

fn decisions(entries: &[EntryView], canary: &str) -> Vec<Decision> {
    let decision = |entry: &EntryView| {
        let text = entry.text.replace(canary, "CANARY");
        let text = if entry.number == 0 {
            String::new()
        } else {
            text
        };
        (entry.phase.clone(), entry.step, entry.weight_bps, text)
    };
    entries.iter().map(decision).collect()
}

/// Checks that every rollout decided the same in the same order as the undisturbed one, the first.
fn check_histories(histories: &[RolloutHistory]) {
    let expected = decisions(&histories[0].entries, histories[0].canary.as_str());
    for history in histories {
        let numbers: Vec<u64> = history.entries.iter().map(|entry| entry.number).collect();
        assert!(
            numbers
                .iter()
                .copied()
                .eq(0..u64::try_from(numbers.len()).unwrap()),
            "{numbers:?}"
        );
        assert_eq!(
            decisions(&history.entries, history.canary.as_str()),
            expected,
            "{}",
            history.id
        );
    }
}

/// Checks that each version ran in two processes and no others, and that each of these answered until its version was let go.
fn check_children(children: &BTreeMap<i32, Child>, histories: &[RolloutHistory]) {
    for number in 1..=histories.len() + 1 {
        let version = format!("v{number}");
        let of_version: Vec<_> = children
            .iter()
            .filter(|(_, child)| child.version == version)
            .collect();
        assert_eq!(
            of_version.len(),
            2,
            "{version}: {of_version:#?} {:#?}",
            histories.get(number.saturating_sub(2))
        );
        // The version is stable until the rollout of the next one has ended.
        let let_go = histories
            .get(number - 1)
            .and_then(|history| history.ended_at)
            .map(SystemTime::from);
        for (pid, child) in of_version {
            assert!(child.answers > 0, "{version}: {pid} never answered");
            let early = child
                .silences
                .iter()
                .find(|(at, _)| let_go.is_none_or(|let_go| *at < let_go));
            assert_eq!(early, None, "{version}: {pid} was let go at {let_go:?}");
        }
    }
}

/// Checks that whoever got an answer got it from one of the versions, and that each version had its turn.
fn check_answers(seen: &[Seen], histories: &[RolloutHistory]) {
    assert!(
        seen.iter().all(|one| one.got.is_err() || one.is_good()),
        "{:?}",
        tally(seen)
    );
    for history in histories {
        let canary = history.canary.as_str();
        assert!(
            seen.iter().any(|one| one.version() == Some(canary)),
            "{canary}: {:?}",
            tally(seen)
        );
    }
}

#[test]
fn after_a_kill_the_same_share_of_requests_goes_to_the_canary() {
    const QUARTER: u16 = 2_500;
    let rig = Rig::new();
    let addr = free_addr();
    rig.write_file(&shop_file(
        addr,
        "{ steps: [25%, 100%], hold: untilResumed, guards: none }",
    ));
    let daemon = rig.up();
    daemon.api.wait_ready("shop");
    daemon
        .api
        .deploy("shop", &deploy_shop("v2", "good"))
        .unwrap();
    let weight = Weight::try_from_bps(QUARTER).unwrap();
    daemon.api.wait_weight("shop", weight);
    let shops = (rig.shops("v1"), rig.shops("v2"));
    daemon.kill();
    let daemon = rig.up();
    let load = until("the proxy serves again", || {
        crate::it::http::get(addr, "shop", "/products")
            .ok()
            .filter(|answer| answer.status == 200)
    });
    assert!(load.header("x-shop-version").is_some());
    let load = Load::start(addr, 8, Duration::ZERO);
    sleep(Duration::from_secs(2));
    let seen = load.stop();
    daemon.api.wait_weight("shop", weight);
    assert_eq!((rig.shops("v1"), rig.shops("v2")), shops);
    assert!(seen.iter().all(Seen::is_good), "{:?}", tally(&seen));
    let canary = seen
        .iter()
        .filter(|one| one.version() == Some("v2"))
        .count();
    check_share(canary, seen.len(), QUARTER);
    daemon.stop(&rig);
}
