//! Which release has its turn next. Pure: the time is passed in.
//!
//! A release has one turn at a time; what wakes it meanwhile brings one more. Each has a pace: some turns may follow each other at
//! once, then they come evenly spaced, so that a release that never comes to rest takes nothing from the others. After a turn that
//! failed it comes back by itself, later each time; a change brings it back at once, so that an abort never waits behind a write that
//! is refused again and again.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use haldane_router::ObjectRef;
use tokio::time::Instant;

/// Turns that may follow each other at once.
const BURST: u32 = 30;

/// What lies between them after that.
const PACE: Duration = Duration::from_millis(200);

/// How long a release waits after its first failure, and at most.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// How long it waits at most when others wrote what it was about to write: the server is well, and an abort may be what waits.
const CONFLICT_MAX: Duration = Duration::from_secs(1);

/// Who waits for a turn.
#[derive(Debug)]
pub(crate) struct Queue {
    seed: u64,
    entries: BTreeMap<ObjectRef, Entry>,
    ready: VecDeque<ObjectRef>,
    /// When those come back that wait for a time.
    alarms: BTreeSet<(Instant, ObjectRef)>,
}

/// How a turn went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There is nothing more to do.
    Rest,
    /// Something follows at once.
    Again,
    /// There is something to do after this time.
    After(Duration),
    /// Somebody else wrote in between. The first time this is tried again at once.
    Conflict,
    /// A write failed.
    Failed,
    /// The release is gone.
    Gone,
}

#[derive(Debug, Default)]
struct Entry {
    phase: Phase,
    failures: u32,
    /// When it would have had all its turns, had they come evenly.
    paid_until: Option<Instant>,
    alarm: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Resting,
    Ready,
    Running,
    /// It was woken while it runs.
    RunningAgain,
}

impl Queue {
    /// Makes an empty one; the seed keeps several controllers from coming back at the same moment.
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            seed,
            entries: BTreeMap::new(),
            ready: VecDeque::new(),
            alarms: BTreeSet::new(),
        }
    }

    /// Gives a release a turn as soon as its pace allows.
    pub(crate) fn wake(&mut self, key: &ObjectRef, now: Instant) {
        let entry = match self.entries.get_mut(key) {
            Some(entry) => entry,
            None => self.entries.entry(key.clone()).or_default(),
        };
        match entry.phase {
            Phase::Ready | Phase::RunningAgain => {}
            Phase::Running => entry.phase = Phase::RunningAgain,
            Phase::Resting => {
                let due = entry.due(now);
                if due <= now {
                    self.make_ready(key);
                } else {
                    self.set_alarm(key, due);
                }
            }
        }
    }

    /// Gives a turn to each release that ever had one.
    pub(crate) fn wake_known(&mut self, now: Instant) {
        let keys: Vec<ObjectRef> = self.entries.keys().cloned().collect();
        keys.iter().for_each(|key| self.wake(key, now));
    }

    /// Returns who has its turn now.
    pub(crate) fn take(&mut self, now: Instant) -> Option<ObjectRef> {
        self.ring(now);
        let key = self.ready.pop_front()?;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.phase = Phase::Running;
            entry.pay(now);
        }
        Some(key)
    }

    /// Takes in how a turn went.
    pub(crate) fn done(&mut self, key: &ObjectRef, outcome: Outcome, now: Instant) {
        let seed = self.seed;
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let was_woken = entry.phase == Phase::RunningAgain;
        entry.phase = Phase::Resting;
        let failures = entry.failures;
        let wait = match outcome {
            Outcome::Rest | Outcome::Again | Outcome::Gone => None,
            Outcome::After(wait) => Some(wait),
            Outcome::Conflict => {
                let later = failures.checked_sub(1);
                Some(later.map_or(Duration::ZERO, |failures| {
                    backoff(seed, key, failures, CONFLICT_MAX)
                }))
            }
            Outcome::Failed => Some(backoff(seed, key, failures, BACKOFF_MAX)),
        };
        let is_failure = matches!(outcome, Outcome::Conflict | Outcome::Failed);
        entry.failures = if is_failure {
            failures.saturating_add(1)
        } else {
            0
        };
        if was_woken || outcome == Outcome::Again {
            self.wake(key, now);
        } else if let Some(wait) = wait {
            self.set_alarm(key, now.checked_add(wait).unwrap_or(now));
        } else if outcome == Outcome::Gone {
            self.entries.remove(key);
        }
    }

    /// Returns when somebody has a turn next, if nothing changes.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        if !self.ready.is_empty() {
            return Some(now);
        }
        self.alarms.first().map(|(at, _)| *at)
    }

    /// Returns how many wait for a worker.
    pub(crate) fn depth(&self) -> usize {
        self.ready.len()
    }

    /// Returns how often the turns of a release have failed since the last that did not.
    pub(crate) fn failures(&self, key: &ObjectRef) -> u32 {
        self.entries.get(key).map_or(0, |entry| entry.failures)
    }

    fn ring(&mut self, now: Instant) {
        while let Some((at, key)) = self.alarms.first().cloned() {
            if at > now {
                break;
            }
            self.clear_alarm(&key);
            self.wake(&key, now);
        }
    }

    fn make_ready(&mut self, key: &ObjectRef) {
        self.clear_alarm(key);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.phase = Phase::Ready;
            self.ready.push_back(key.clone());
        }
    }

    fn set_alarm(&mut self, key: &ObjectRef, at: Instant) {
        self.clear_alarm(key);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.alarm = Some(at);
            self.alarms.insert((at, key.clone()));
        }
    }

    fn clear_alarm(&mut self, key: &ObjectRef) {
        let entry = self.entries.get_mut(key);
        if let Some(at) = entry.and_then(|entry| entry.alarm.take()) {
            self.alarms.remove(&(at, key.clone()));
        }
    }
}

impl Outcome {
    /// Returns its name in the metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Again => "again",
            Self::After(_) => "later",
            Self::Conflict => "conflict",
            Self::Failed => "failed",
            Self::Gone => "gone",
        }
    }
}

impl Entry {
    /// Returns when its pace allows the next turn.
    fn due(&self, now: Instant) -> Instant {
        let ahead = PACE.saturating_mul(BURST);
        let paid = self.paid_until.and_then(|paid| paid.checked_sub(ahead));
        paid.map_or(now, |paid| paid.max(now))
    }

    fn pay(&mut self, now: Instant) {
        let from = self.paid_until.map_or(now, |paid| paid.max(now));
        self.paid_until = from.checked_add(PACE);
    }
}

/// Returns how long to wait after this many failures: twice as long each time up to `max`, and a quarter more or less by chance.
fn backoff(seed: u64, key: &ObjectRef, failures: u32, max: Duration) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.min(16));
    let wait = BACKOFF_MIN.saturating_mul(doubled).min(max);
    let bytes = key.namespace.bytes().chain(key.name.bytes());
    let mixed = bytes.fold(seed ^ u64::from(failures), |mixed, byte| {
        mix(mixed ^ u64::from(byte))
    });
    let share = u32::try_from(mixed % 501).unwrap_or(250); // 0 to 500 thousandths
    wait.saturating_mul(750_u32.saturating_add(share)) / 1_000
}

/// Returns the well-mixed successor of a number (splitmix64).
pub(crate) const fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::RELEASE;

    const MS: Duration = Duration::from_millis(1);

    fn key(name: &str) -> ObjectRef {
        RELEASE.named("shop", name)
    }

    /// Runs one turn and returns how long it took until it came.
    fn turn(queue: &mut Queue, now: &mut Instant, outcome: Outcome) -> Duration {
        let start = *now;
        *now = queue.next(*now).unwrap().max(*now);
        let key = queue.take(*now).unwrap();
        queue.done(&key, outcome, *now);
        *now - start
    }

    #[test]
    fn a_release_has_one_turn_at_a_time_and_one_more_for_what_came_meanwhile() {
        let (mut queue, now) = (Queue::new(1), Instant::now());
        queue.wake(&key("a"), now);
        queue.wake(&key("a"), now);
        assert_eq!(queue.depth(), 1);
        assert_eq!(queue.take(now), Some(key("a")));
        queue.wake(&key("a"), now);
        queue.wake(&key("a"), now);
        assert_eq!(queue.take(now), None);
        queue.done(&key("a"), Outcome::Rest, now);
        assert_eq!(queue.take(now), Some(key("a")));
        queue.done(&key("a"), Outcome::Rest, now);
        assert_eq!((queue.take(now), queue.next(now)), (None, None));
    }

    #[test]
    fn turns_come_in_the_order_of_waking() {
        let (mut queue, now) = (Queue::new(1), Instant::now());
        for name in ["c", "a", "b"] {
            queue.wake(&key(name), now);
        }
        let taken: Vec<String> = std::iter::from_fn(|| queue.take(now))
            .map(|key| key.name)
            .collect();
        assert_eq!(taken, ["c", "a", "b"]);
    }

    #[test]
    fn a_deadline_brings_a_turn_and_a_change_brings_it_earlier() {
        let (mut queue, mut now) = (Queue::new(1), Instant::now());
        queue.wake(&key("a"), now);
        turn(&mut queue, &mut now, Outcome::After(MS * 5_000));
        assert_eq!(queue.next(now), Some(now + MS * 5_000));
        assert_eq!(queue.take(now + MS * 4_999), None);
        queue.wake(&key("a"), now + MS * 1_000);
        assert_eq!(queue.take(now + MS * 1_000), Some(key("a")));
        // The old deadline is forgotten.
        queue.done(&key("a"), Outcome::Rest, now + MS * 1_000);
        assert_eq!(queue.next(now), None);
    }

    #[test]
    fn failures_wait_longer_each_time_and_a_good_turn_begins_anew() {
        let (mut queue, mut now) = (Queue::new(1), Instant::now());
        queue.wake(&key("a"), now);
        turn(&mut queue, &mut now, Outcome::Failed);
        for expected in [
            200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000,
        ] {
            let waited = turn(&mut queue, &mut now, Outcome::Failed);
            let expected = MS * expected;
            assert!(
                waited >= expected * 3 / 4 && waited <= expected * 5 / 4,
                "{waited:?}"
            );
        }
        assert_eq!(queue.failures(&key("a")), 11);
        turn(&mut queue, &mut now, Outcome::Rest);
        queue.wake(&key("a"), now);
        turn(&mut queue, &mut now, Outcome::Failed);
        assert!(turn(&mut queue, &mut now, Outcome::Rest) <= MS * 250);
    }

    #[test]
    fn the_first_conflict_is_tried_again_at_once_and_fifty_are_not_a_storm() {
        let (mut queue, mut now) = (Queue::new(1), Instant::now());
        queue.wake(&key("a"), now);
        let waits: Vec<Duration> = (0..50)
            .map(|_| turn(&mut queue, &mut now, Outcome::Conflict))
            .collect();
        assert_eq!(waits[..2], [Duration::ZERO, Duration::ZERO]);
        assert!(waits[2] >= MS * 150 && waits[2] <= MS * 250);
        assert!(waits[49] >= MS * 750 && waits[49] <= MS * 1_250);
    }

    #[test]
    fn a_change_does_not_wait_for_the_end_of_a_backoff() {
        let (mut queue, mut now) = (Queue::new(1), Instant::now());
        queue.wake(&key("a"), now);
        for _ in 0..10 {
            turn(&mut queue, &mut now, Outcome::Failed);
        }
        queue.wake(&key("a"), now);
        assert_eq!(queue.take(now), Some(key("a")));
    }

    #[test]
    fn a_release_that_never_rests_is_slowed_down_and_others_are_not() {
        let (mut queue, mut now) = (Queue::new(1), Instant::now());
        let start = now;
        queue.wake(&key("a"), now);
        for _ in 0..31 {
            turn(&mut queue, &mut now, Outcome::Again);
        }
        assert_eq!(now, start);
        assert_eq!(turn(&mut queue, &mut now, Outcome::Again), PACE);
        assert_eq!(turn(&mut queue, &mut now, Outcome::Again), PACE);
        queue.wake(&key("b"), now);
        assert_eq!(queue.take(now), Some(key("b")));
        // After a while it may be quick again.
        now += PACE * 40;
        turn(&mut queue, &mut now, Outcome::Again);
        assert_eq!(turn(&mut queue, &mut now, Outcome::Again), Duration::ZERO);
    }

    #[test]
    fn what_is_gone_leaves_nothing_behind() {
        let (mut queue, mut now) = (Queue::new(1), Instant::now());
        queue.wake(&key("a"), now);
        turn(&mut queue, &mut now, Outcome::After(MS));
        turn(&mut queue, &mut now, Outcome::Gone);
        assert!(queue.entries.is_empty() && queue.alarms.is_empty() && queue.ready.is_empty());
        // Unless it came back meanwhile.
        queue.wake(&key("a"), now);
        assert_eq!(queue.take(now), Some(key("a")));
        queue.wake(&key("a"), now);
        queue.done(&key("a"), Outcome::Gone, now);
        assert_eq!(queue.take(now), Some(key("a")));
    }

    #[test]
    fn each_waits_a_little_differently() {
        let waits: BTreeSet<Duration> = (0..20)
            .map(|number| backoff(7, &key(&number.to_string()), 3, BACKOFF_MAX))
            .collect();
        assert!(waits.len() > 15, "{waits:?}");
        let again = || backoff(7, &key("a"), 3, BACKOFF_MAX);
        assert_eq!(again(), again());
    }
}
