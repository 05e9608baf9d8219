//! Judged rollouts under `kill -9`: what was counted dies with the daemon, so verdicts come later, but never other ones.

use haldane_core::verdict::Verdict;

use super::*;

/// How often the daemon is killed in each of these tests.
const KILLS: usize = 24;

/// The weights of the plan, from none to all.
const WEIGHTS_BPS: [u16; 4] = [0, 1_000, 5_000, 10_000];

/// How long each step holds at least; a verdict takes longer.
const HOLD: Duration = Duration::from_secs(1);

/// How many requests of the canary a verdict needs.
const REQUESTS_MIN: usize = 20;

/// How many clients ask.
const CLIENTS: usize = 4;

/// The plan of [`WEIGHTS_BPS`], [`HOLD`] and [`REQUESTS_MIN`]: its odd steps set a weight, its even ones hold.
const JUDGED: &str = "{ steps: [10%, 50%, 100%], hold: 1s, guards: { errorRate: 5% }, \
                      sampling: { window: 10s, requestsMin: 20 }, deadlines: { lost: 20s } }";

/// Some daemons live long enough for a verdict, most don't.
const GOOD: Tempo = Tempo {
    behavior: "good",
    kills: KILLS,
    near: 0,
    kills_max: KILLS,
    aimed_of_ten: 2,
    life: |chance| {
        let long = if chance.below(10) < 3 { 1_500 } else { 0 };
        Duration::from_millis(long) + chance.time_below(Duration::from_millis(1_500))
    },
};

/// A daemon counts by the second: one that lives longer has found the canary out.
const BAD: Tempo = Tempo {
    behavior: "errors",
    life: |chance| chance.time_below(Duration::from_millis(1_300)),
    ..GOOD
};

/// What was seen of rollouts under fire.
struct Story {
    histories: Vec<RolloutHistory>,
    children: BTreeMap<i32, Child>,
    seen: Vec<Seen>,
    killed_at: Vec<SystemTime>,
    /// The stable version in the end.
    stable: String,
    /// The same moment on the clients' clock and on the daemon's.
    began: (Instant, SystemTime),
}

#[test]
fn a_good_canary_is_promoted_however_often_the_daemon_is_killed() {
    let story = besiege(GOOD);
    for history in &story.histories {
        check_path(history);
        assert_eq!(history.phase, "Completed", "{history:#?}");
        story.check_verdicts(history);
    }
    let last = story.histories.last().unwrap();
    assert_eq!(story.stable, last.canary.as_str());
    check_children(&story.children, &story.histories);
    check_answers(&story.seen, &story.histories);
}

#[test]
fn a_bad_canary_is_rolled_back_however_often_the_daemon_is_killed() {
    let story = besiege(BAD);
    for history in &story.histories {
        check_path(history);
        assert_eq!(history.phase, "RolledBack", "{history:#?}");
        assert!(history.message.contains("errors: "), "{history:#?}");
        let weights = history.entries.iter().map(|entry| entry.weight_bps);
        assert_eq!(weights.max().map(Weight::as_bps), Some(WEIGHTS_BPS[1]));
        assert_eq!(history.stable.as_str(), "v1");
    }
    assert_eq!(story.stable, "v1");
    check_children(&story.children, &story.histories);
    story.check_harm();
}

/// Rolls out versions that behave so while the daemon is killed again and again, until the last rollout is over.
fn besiege(tempo: Tempo) -> Story {
    let _storm = storm();
    let rig = Arc::new(Rig::new());
    let addr = free_addr();
    rig.write_file(&shop_file(addr, JUDGED));
    let mut daemon = rig.up();
    daemon.api.wait_ready("shop");
    let began = (Instant::now(), SystemTime::now());
    let children = Watch::start(&rig);
    let load = Load::start(addr, CLIENTS, Duration::from_millis(3));
    let mut siege = Siege::new(&rig, tempo);
    let mut histories = Vec::new();
    while !siege.is_over() {
        let (history, survivor) = siege.roll_out(daemon, histories.len() + 1);
        histories.push(history);
        daemon = survivor;
    }
    // A view follows a decision a moment later.
    let ended = histories
        .iter()
        .filter_map(|history| history.ended_at)
        .max();
    let stable = until("the service is seen after its last rollout", || {
        let view = daemon.api.service("shop");
        (Some(view.at) > ended).then(|| view.stable.version.to_string())
    });
    let children = children.stop();
    let seen = load.stop();
    daemon.stop(&rig);
    println!(
        "{} kills over {} rollouts; they fell into {:?}; clients saw {:?}",
        siege.killed_at.len(),
        histories.len(),
        siege.fell,
        tally(&seen)
    );
    assert!(siege.killed_at.len() >= KILLS);
    assert!(
        siege.compared >= KILLS / 2,
        "{} comparisons",
        siege.compared
    );
    let with_traffic = siege.fell.iter().filter(|((_, weight), _)| *weight > 0);
    let with_traffic: usize = with_traffic.map(|(_, kills)| kills).sum();
    assert!(with_traffic >= KILLS / 4, "{:?}", siege.fell);
    Story {
        histories,
        children,
        seen,
        killed_at: siege.killed_at,
        stable,
        began,
    }
}

/// Checks that the weight rose by the plan's steps alone, one after the other, and fell to nothing or not at all.
fn check_path(history: &RolloutHistory) {
    let weights = history
        .entries
        .iter()
        .map(|entry| entry.weight_bps.as_bps());
    let mut weights: Vec<u16> = weights.collect();
    weights.dedup();
    if weights.len() > 1 && weights.last() == Some(&0) {
        weights.pop();
    }
    assert!(
        WEIGHTS_BPS.starts_with(&weights),
        "{weights:?}: {history:#?}"
    );
    let numbers = history.entries.iter().map(|entry| entry.number);
    let count = u64::try_from(history.entries.len()).unwrap();
    assert!(numbers.eq(0..count), "{history:#?}");
}

impl Story {
    /// Checks that each hold of a promotion ended by a verdict, and that one daemon had counted enough for it.
    fn check_verdicts(&self, history: &RolloutHistory) {
        let mut passed = 0;
        for (at, entry) in history.entries.iter().enumerate().skip(1) {
            let before = &history.entries[at - 1];
            let was_holding = before.step.is_some_and(|step| step % 2 == 0);
            if !was_holding || entry.step == before.step {
                continue;
            }
            let verdict = entry.judgement.as_ref().map(|judgement| judgement.verdict);
            assert_eq!(verdict, Some(Verdict::Pass), "{entry:#?}");
            let mut entries = history.entries.iter();
            let begin = entries.find(|entry| entry.step == before.step).unwrap();
            let (from, to) = (SystemTime::from(begin.at), SystemTime::from(entry.at));
            assert!(
                to.duration_since(from).unwrap() >= HOLD,
                "{begin:#?} {entry:#?}"
            );
            let counted = self.counted(history.canary.as_str(), from, to);
            // Of what was under way when the hold began, each client knows one.
            assert!(
                counted + CLIENTS >= REQUESTS_MIN,
                "{counted} requests: {entry:#?}"
            );
            passed += 1;
        }
        assert_eq!(passed, WEIGHTS_BPS.len() - 1, "{history:#?}");
    }

    /// Returns how many requests the daemon that lived at the end of this time may have counted of a version within it.
    fn counted(&self, version: &str, from: SystemTime, to: SystemTime) -> usize {
        let kills = self.killed_at.iter().copied();
        let from = kills.filter(|at| *at <= to).fold(from, SystemTime::max);
        let span = self.at(from)..self.at(to);
        let seen = self.seen.iter().filter(|one| span.contains(&one.sent_at));
        seen.filter(|one| one.version() == Some(version)).count()
    }

    fn at(&self, time: SystemTime) -> Instant {
        let (instant, began) = self.began;
        instant + time.duration_since(began).unwrap_or_default()
    }

    /// Checks that clients met bad answers of canaries alone, and no more of them than the plan allows.
    fn check_harm(&self) {
        let seen = &self.seen;
        let is_bad = |one: &&Seen| matches!(&one.got, Ok((500, Some(version))) if version != "v1");
        let is_stable = |one: &&Seen| one.is_good() && one.version() == Some("v1");
        let is_canary = |one: &&Seen| one.version().is_some_and(|version| version != "v1");
        let expected = |one: &Seen| one.got.is_err() || one.is_good() || is_bad(&one);
        assert!(seen.iter().all(expected), "{:?}", tally(seen));
        assert!(seen.iter().any(|one| is_bad(&one)), "{:?}", tally(seen));
        let stable = seen.iter().filter(is_stable).count();
        let canary = seen.iter().filter(is_canary).count();
        // The share is exact over a block of requests, and each daemon begins a block of its own on each of its threads.
        let rounding = (KILLS + 1) * 2 * REQUESTS_MIN;
        assert!(canary * 9 <= stable + rounding, "{:?}", tally(seen));
    }
}
