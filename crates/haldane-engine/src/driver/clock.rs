//! The time by which rollouts live: it rises evenly, whatever is done to the wall clock.
//!
//! A wall clock that is put forward must not end a wait early, and one that is put back must not blind the judge until it has caught
//! up. So the driver takes the wall clock's time once and goes on from there by the machine's uptime. Windows and freezes are the
//! exception: people mean the wall clock by them.
//!
//! **Invariant:** time never goes back while a rollout goes on, also not over a restart.

use jiff::{SignedDuration, Timestamp};

/// A difference to the wall clock that is not worth a new beginning of all counts.
const DRIFT_MAX: SignedDuration = SignedDuration::from_secs(1);

/// The driver's time.
#[derive(Debug)]
pub(super) struct DriverTime {
    /// What is added to the uptime.
    offset: SignedDuration,
}

impl DriverTime {
    /// Returns a time that goes on from the wall clock's, or from the last one that a rollout was told, if that is later.
    pub(super) fn new(wall: Timestamp, told: Timestamp, uptime: SignedDuration) -> Self {
        let from = wall.max(told);
        Self {
            offset: from.as_duration().saturating_sub(uptime),
        }
    }

    /// Returns the time.
    pub(super) fn at(&self, uptime: SignedDuration) -> Timestamp {
        Timestamp::from_duration(self.offset.saturating_add(uptime)).unwrap_or(Timestamp::MAX)
    }

    /// Takes over the wall clock's time where it is another one; returns whether it was.
    pub(super) fn follow(&mut self, wall: Timestamp, uptime: SignedDuration) -> bool {
        let is_other = wall.duration_since(self.at(uptime)).abs() > DRIFT_MAX;
        if is_other {
            *self = Self::new(wall, wall, uptime);
        }
        is_other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const fn up(seconds: i64) -> SignedDuration {
        SignedDuration::from_secs(seconds)
    }

    #[test]
    fn time_goes_on_by_the_uptime_alone() {
        let time = DriverTime::new(at(1_000), at(0), up(50));
        assert_eq!(time.at(up(50)), at(1_000));
        assert_eq!(time.at(up(60)), at(1_010));
    }

    #[test]
    fn time_begins_no_earlier_than_a_rollout_was_told() {
        let time = DriverTime::new(at(1_000), at(4_600), up(50));
        assert_eq!(time.at(up(51)), at(4_601));
    }

    #[test]
    fn the_wall_clock_is_followed_only_where_it_differs() {
        let mut time = DriverTime::new(at(1_000), at(0), up(0));
        assert!(!time.follow(at(1_011), up(10)));
        assert_eq!(time.at(up(10)), at(1_010));
        assert!(time.follow(at(500), up(10)));
        assert_eq!(time.at(up(10)), at(500));
    }
}
