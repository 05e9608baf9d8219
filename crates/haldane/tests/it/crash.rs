//! `kill -9` of the daemon, at any moment: decisions go on where they were, and the children answer throughout.

mod judged;

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

/// How the daemon is killed where nobody judges; that takes more kills on a busy machine, where fewer are near a persist.
const UNJUDGED: Tempo = Tempo {
    behavior: "good",
    kills: 100,
    near: 30,
    kills_max: 200,
    aimed_of_ten: 7,
    life: |chance| chance.time_below(LIFE_MAX),
};

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

/// How and how often the daemon is killed.
#[derive(Clone, Copy)]
struct Tempo {
    /// How each version on trial behaves.
    behavior: &'static str,
    /// How many kills there are at least.
    kills: usize,
    /// How many of them must be within [`NEAR`] of a persist.
    near: usize,
    /// How many kills there are at most.
    kills_max: usize,
    /// How many kills of ten wait for a persist.
    aimed_of_ten: u64,
    /// Draws how long a daemon lives that is killed just anywhere.
    life: fn(&mut Chance) -> Duration,
}

/// Rollouts under fire.
struct Siege {
    rig: Arc<Rig>,
    tempo: Tempo,
    chance: Chance,
    log: PathBuf,
    killed_at: Vec<SystemTime>,
    near: usize,
    /// How often the proxy's own weight was compared with the decided one.
    compared: usize,
    /// What was durable at the last look.
    last: Option<RolloutHistory>,
    /// How many kills followed a look at a rollout in this phase and at this weight.
    fell: BTreeMap<(String, u16), usize>,
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
    let mut siege = Siege::new(&rig, UNJUDGED);
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
        siege.killed_at.len(),
        siege.near,
        histories.len() - 1
    );
    println!(
        "{} comparisons of weights; clients saw {:?}",
        siege.compared,
        tally(&seen)
    );
    assert!(
        siege.near >= UNJUDGED.near,
        "only {} kills near a persist",
        siege.near
    );
    assert!(
        siege.compared >= UNJUDGED.kills / 4,
        "only {} comparisons",
        siege.compared
    );
    check_histories(&histories);
    check_children(&children, &histories);
    check_answers(&seen, &histories);
}

impl Siege {
    fn new(rig: &Arc<Rig>, tempo: Tempo) -> Self {
        let seed = seed();
        println!("RIG_SEED={seed}");
        Self {
            rig: Arc::clone(rig),
            tempo,
            chance: Chance::new(seed),
            log: rig.data_dir().join("haldane.db-wal"),
            killed_at: Vec::new(),
            near: 0,
            compared: 0,
            last: None,
            fell: BTreeMap::new(),
        }
    }

    fn is_over(&self) -> bool {
        let kills = self.killed_at.len();
        let is_enough = kills >= self.tempo.kills && self.near >= self.tempo.near;
        is_enough || kills >= self.tempo.kills_max
    }

    /// Rolls out the next version while the daemon is killed again and again.
    fn roll_out(&mut self, mut daemon: Daemon, number: usize) -> (RolloutHistory, Daemon) {
        let (id, version) = (format!("shop-{number}"), format!("v{}", number + 1));
        self.last = None;
        loop {
            let before = self.persisted();
            let history = daemon.api.rollout(&id).ok();
            let asking = history
                .is_none()
                .then(|| ask(&daemon.api, &version, self.tempo.behavior));
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
        let is_aimed = self.chance.below(10) < self.tempo.aimed_of_ten;
        if is_aimed {
            let deadline = Instant::now() + PERSIST_WAIT;
            while self.persisted() == before && Instant::now() < deadline {
                sleep(Duration::from_micros(100));
            }
            sleep(self.chance.time_below(NEAR * 3 / 5));
        } else {
            sleep((self.tempo.life)(&mut self.chance));
        }
        let is_changed = self.persisted() != before;
        let at = daemon.kill();
        self.killed_at.push(at);
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
            self.killed_at.len()
        ));
    }

    /// Checks that nothing durable was lost or changed, and that the proxy does what was decided.
    fn look(&mut self, api: &Api, history: &RolloutHistory) {
        if let Some(entry) = history
            .entries
            .last()
            .filter(|_| history.ended_at.is_none())
        {
            let place = (history.phase.clone(), entry.weight_bps.as_bps());
            *self.fell.entry(place).or_default() += 1;
        }
        if let Some(last) = self.last.replace(history.clone()) {
            assert_eq!(history.entries[..last.entries.len()], last.entries[..]);
        }
        let published = api.published("shop", history.canary.as_str());
        let again = api.rollout(history.id.as_str()).unwrap();
        // Where nothing was decided meanwhile, both spoke of the same moment.
        if let (Some(last), true) = (history.entries.last(), again.entries == history.entries) {
            let decided = last.weight_bps.as_bps();
            // A canary that was let go has left the table.
            let published = published.or_else(|| (decided == 0).then_some(0));
            assert_eq!(published, Some(decided), "{last:?}");
            self.compared += 1;
        }
    }

    fn persisted(&self) -> Option<(u64, SystemTime)> {
        stamp(&self.log).ok()
    }
}

/// Asks for a version, of a daemon that may be killed meanwhile.
fn ask(api: &Api, version: &str, behavior: &str) -> JoinHandle<()> {
    let (api, request) = (api.clone(), deploy_shop(version, behavior));
    spawn(move || drop(api.deploy("shop", &request)))
}

/// Returns the seed of all draws: a failed run's, where it is given.
fn seed() -> u64 {
    std::env::var("RIG_SEED").map_or(7, |seed| seed.parse().unwrap())
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
        let let_go = let_go(number, histories);
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

/// Returns from when a version needs no processes: its own rollout goes back, or one that followed has put another in its place.
fn let_go(number: usize, histories: &[RolloutHistory]) -> Option<SystemTime> {
    let is_promoted = |history: &&RolloutHistory| history.phase == "Completed";
    let own = number.checked_sub(2).map(|own| &histories[own]);
    if let Some(own) = own.filter(|own| !is_promoted(own)) {
        let back = own
            .entries
            .iter()
            .find(|entry| entry.phase == "RollingBack" || entry.phase == "RolledBack");
        return back.map(|back| back.at.into());
    }
    let next = histories[number - 1..].iter().find(is_promoted)?;
    next.ended_at.map(SystemTime::from)
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
    const REQUESTS_MIN: usize = 1_000;
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
    load.gather(REQUESTS_MIN);
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
