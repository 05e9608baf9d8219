//! Warming up: a canary is slower in its first seconds than it will be, and that is no harm.
//!
//! Caches are empty, code is not compiled yet, connections have to be made. So for [`Settings::warm_up`](super::Settings::warm_up) after the
//! canary's first request, and again after more of its replicas are ready than ever before, a latency counts against it only if it is surely
//! above *three times* the bound, or 40 ms above it, whichever is more. A canary that is slow beyond all warming is found at once all the
//! same; one that is twice as slow is found a warm-up later. Nothing that is seen meanwhile shows that the canary is fine. Failures always
//! count: a cold canary may be slow, but it may not fail.
//!
//! **Invariant:** when a warm-up begins and ends depends on requests, replicas and time only, never on how requests went; and replicas that
//! come and go begin none.

use std::time::Duration;

use haldane_core::plan::Sequential;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// What a cold canary may be slower: twice the bound, so that it may take three times as long, or 40 ms.
pub(crate) const COLD: Leeway = Leeway {
    share_ppm: 2_000_000,
    least: Duration::from_millis(40),
};

/// By how much a latency may be above a bound without counting: a share of the bound, and at least some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Leeway {
    /// The share of the bound, in parts per million.
    pub share_ppm: u32,
    /// The least time.
    pub least: Duration,
}

/// Since when the canary warms up, and with how many replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Warming {
    since: Option<Timestamp>,
    /// The most replicas that were ever ready.
    replicas: u64,
}

impl Default for Leeway {
    fn default() -> Self {
        Self::of(&Sequential::default())
    }
}

impl Leeway {
    /// Returns the leeway of a plan's judge.
    #[must_use]
    pub const fn of(judge: &Sequential) -> Self {
        Self {
            share_ppm: judge.leeway_ppm,
            least: judge.leeway_min,
        }
    }

    /// Returns what may be above the bound without counting, in microseconds.
    pub(crate) fn us(self, bound_us: u64) -> u64 {
        let share = u128::from(bound_us)
            .saturating_mul(u128::from(self.share_ppm))
            .checked_div(1_000_000)
            .unwrap_or_default();
        let us = share.max(self.least.as_micros());
        u64::try_from(us).unwrap_or(u64::MAX)
    }
}

impl Warming {
    /// Takes notice of the canary in a window that began at `from`.
    pub(crate) fn note(&mut self, from: Timestamp, requests: u64, replicas: Option<u64>) {
        let is_grown = replicas.is_some_and(|replicas| replicas > self.replicas);
        self.replicas = self.replicas.max(replicas.unwrap_or_default());
        if (self.since.is_none() && requests > 0) || (self.since.is_some() && is_grown) {
            self.since = Some(from);
        }
    }

    /// Whether what begins at `from` belongs to a canary that is still cold.
    pub(crate) fn is_cold(&self, from: Timestamp, warm_up: Duration) -> bool {
        let warm_up = SignedDuration::try_from(warm_up).unwrap_or(SignedDuration::MAX);
        self.since
            .is_some_and(|since| from.duration_since(since) < warm_up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Which of the seconds are cold with a warm-up of three, where each second has these requests and ready replicas.
    fn cold(seconds: &[(u64, Option<u64>)]) -> Vec<i64> {
        let mut warming = Warming::default();
        let mut cold = Vec::new();
        for (second, (requests, replicas)) in (0..).zip(seconds) {
            warming.note(at(second), *requests, *replicas);
            if warming.is_cold(at(second), Duration::from_secs(3)) {
                cold.push(second);
            }
        }
        cold
    }

    #[test]
    fn a_warm_up_begins_with_the_first_request_and_with_each_new_replica() {
        assert_eq!(cold(&[(0, None); 4]), [0_i64; 0]);
        assert_eq!(
            cold(&[(0, None), (1, None), (0, None), (5, None), (5, None)]),
            [1, 2, 3]
        );
        let replicas = |ready: u64| (1, Some(ready));
        assert_eq!(cold(&[replicas(2); 6]), [0, 1, 2]);
        let grown = [2, 2, 2, 2, 3, 3, 3, 3].map(replicas);
        assert_eq!(cold(&grown), [0, 1, 2, 4, 5, 6]);
        // What was ready before the first request is not new with it.
        let ready_before = [(0, Some(1)), (0, Some(4)), (1, Some(4)), (1, Some(4))];
        assert_eq!(cold(&ready_before), [2, 3]);
    }

    #[test]
    fn replicas_that_come_and_go_begin_none() {
        let flapping = [2, 2, 2, 1, 2, 0, 2, 1].map(|ready| (1, Some(ready)));
        assert_eq!(cold(&flapping), [0, 1, 2]);
    }

    #[test]
    fn no_warm_up_is_none() {
        let mut warming = Warming::default();
        warming.note(at(0), 1, Some(1));
        assert!(!warming.is_cold(at(0), Duration::ZERO));
    }
}
