//! The fence: whether a leader may still write.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

use crate::lease::{DEADLINE, DURATION};

/// How much earlier than the others may take over the last write has to be done.
const MARGIN: Duration = Duration::from_secs(1);

/// Tells how much time has passed.
pub(crate) trait Clock: Send + Sync {
    /// Returns the time since some moment; it never goes back.
    fn now(&self) -> Duration;
}

/// The time since the machine was started, that in which it slept included.
#[derive(Debug)]
pub(crate) struct BootClock;

/// Open while the lease is ours for sure.
pub(crate) struct Fence {
    clock: Arc<dyn Clock>,
    /// When the last good renewal was asked for, in nanoseconds; zero when there is none.
    renewed: AtomicU64,
}

impl Fence {
    pub(crate) const fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            renewed: AtomicU64::new(0),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Takes in that a renewal was granted that was asked for at this time.
    pub(crate) fn renew(&self, asked: Duration) {
        let nanos = u64::try_from(asked.as_nanos()).unwrap_or(u64::MAX);
        self.renewed.store(nanos.max(1), Ordering::SeqCst);
    }

    /// Lets nothing through any more.
    pub(crate) fn close(&self) {
        self.renewed.store(0, Ordering::SeqCst);
    }

    /// Returns how long a write that goes out now may take; nothing when none may go.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let renewed = match self.renewed.load(Ordering::SeqCst) {
            0 => return None,
            nanos => Duration::from_nanos(nanos),
        };
        let age = self.now().saturating_sub(renewed);
        if age >= DEADLINE {
            return None;
        }
        Some(DURATION.saturating_sub(MARGIN).saturating_sub(age))
    }
}

impl Clock for BootClock {
    fn now(&self) -> Duration {
        let time = clock_gettime(ClockId::Boottime);
        // It counts up from zero.
        Duration::try_from(time).unwrap_or_default()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A clock that is moved by hand.
    pub(crate) struct TestClock(AtomicU64);

    impl Default for TestClock {
        fn default() -> Self {
            Self(AtomicU64::new(1_000_000_000))
        }
    }

    impl TestClock {
        pub(crate) fn advance(&self, time: Duration) {
            let nanos = u64::try_from(time.as_nanos()).unwrap();
            self.0.fetch_add(nanos, Ordering::SeqCst);
        }
    }

    impl Clock for TestClock {
        fn now(&self) -> Duration {
            Duration::from_nanos(self.0.load(Ordering::SeqCst))
        }
    }

    #[test]
    fn a_leader_writes_until_ten_seconds_after_it_asked_for_its_last_renewal() {
        let clock = Arc::new(TestClock::default());
        let fence = Fence::new(Arc::clone(&clock) as Arc<dyn Clock>);
        assert_eq!(fence.time_left(), None);
        let asked = fence.now();
        clock.advance(Duration::from_secs(3)); // The answer took its time.
        fence.renew(asked);
        assert_eq!(fence.time_left(), Some(Duration::from_secs(11)));
        clock.advance(Duration::from_millis(6_999));
        assert_eq!(fence.time_left(), Some(Duration::from_millis(4_001)));
        clock.advance(Duration::from_millis(1));
        assert_eq!(fence.time_left(), None);
        // Stopped for a minute, then renewed late: it never comes back by itself.
        clock.advance(Duration::from_secs(60));
        assert_eq!(fence.time_left(), None);
        fence.renew(asked);
        assert_eq!(fence.time_left(), None);
        fence.renew(fence.now());
        assert!(fence.time_left().is_some());
        fence.close();
        assert_eq!(fence.time_left(), None);
    }

    #[test]
    fn the_machines_clock_goes_on() {
        let (first, second) = (BootClock.now(), BootClock.now());
        assert!(first > Duration::ZERO && second >= first);
    }
}
