//! Tallies: how many of how many, of both versions, in one batch or in all.
//!
//! Seconds are merged until a batch holds [`EXPOSURE_MIN`] exposures of both versions, or [`LENGTH_MAX`] has passed with at least one of each:
//! with about one canary request a batch, what the batch says about stable would be thrown away with the seconds that have none.
//! What has no partner for [`PARTNER_MAX`] is not compared at all: the other version's requests of another hour are no control.
//!
//! **Invariant:** when a batch ends depends on exposures and on time only, never on events; else each end would favor a result.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::real::real;

/// How many exposures of each version end a batch.
pub(crate) const EXPOSURE_MIN: u64 = 3;

/// After which time a batch ends with fewer.
pub(crate) const LENGTH_MAX: Duration = Duration::from_secs(15);

/// How long one version's exposures wait for the other's.
pub(crate) const PARTNER_MAX: Duration = Duration::from_secs(60);

/// Events among exposures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// How many could have been an event: requests, sessions, or the seconds that pods lived.
    pub exposure: u64,
    /// How many were.
    pub events: u64,
}

/// The counts of both versions; stored without names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[u64; 4]", into = "[u64; 4]")]
pub(crate) struct Pair {
    pub(crate) stable: Counts,
    pub(crate) canary: Counts,
}

/// A [`Pair`] as the formulas need it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arms {
    pub(crate) stable_n: f64,
    pub(crate) stable_k: f64,
    pub(crate) canary_n: f64,
    pub(crate) canary_k: f64,
}

/// From when to when an open batch lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

/// What to do with an open batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// Wait for more.
    Open,
    /// Both versions are in it: compare them.
    Compare,
    /// There is only the canary, as there is at full weight.
    Alone,
    /// There is only stable, or what waited for a partner too long: nothing to compare.
    Apart,
}

impl Counts {
    /// No counts.
    pub(crate) const NONE: Self = Self {
        exposure: 0,
        events: 0,
    };

    /// Adds counts.
    pub(crate) const fn add(&mut self, other: Self) {
        self.exposure = self.exposure.saturating_add(other.exposure);
        self.events = self.events.saturating_add(other.events);
    }

    /// Returns the counts of what was not an event.
    pub(crate) const fn complement(self) -> Self {
        Self {
            exposure: self.exposure,
            events: self.exposure.saturating_sub(self.events),
        }
    }

    /// Returns the share of events in parts per million.
    pub(crate) fn ppm(self) -> Option<u64> {
        let events = u128::from(self.events).saturating_mul(1_000_000);
        let ppm = events.checked_div(u128::from(self.exposure))?;
        u64::try_from(ppm).ok()
    }
}

impl Pair {
    /// No counts.
    pub(crate) const NONE: Self = Self {
        stable: Counts::NONE,
        canary: Counts::NONE,
    };

    pub(crate) const fn add(&mut self, other: Self) {
        self.stable.add(other.stable);
        self.canary.add(other.canary);
    }

    pub(crate) const fn arms(self) -> Arms {
        Arms {
            stable_n: real(self.stable.exposure),
            stable_k: real(self.stable.events),
            canary_n: real(self.canary.exposure),
            canary_k: real(self.canary.events),
        }
    }
}

impl From<[u64; 4]> for Pair {
    fn from([stable, stable_events, canary, canary_events]: [u64; 4]) -> Self {
        Self {
            stable: Counts {
                exposure: stable,
                events: stable_events,
            },
            canary: Counts {
                exposure: canary,
                events: canary_events,
            },
        }
    }
}

impl From<Pair> for [u64; 4] {
    fn from(Pair { stable, canary }: Pair) -> Self {
        [
            stable.exposure,
            stable.events,
            canary.exposure,
            canary.events,
        ]
    }
}

impl Arms {
    /// Returns the arms with the versions exchanged.
    pub(crate) const fn swapped(self) -> Self {
        Self {
            stable_n: self.canary_n,
            stable_k: self.canary_k,
            canary_n: self.stable_n,
            canary_k: self.stable_k,
        }
    }

    /// Returns the events of both.
    pub(crate) fn events(self) -> f64 {
        self.stable_k + self.canary_k
    }
}

impl Window {
    pub(crate) fn length(self) -> Duration {
        self.to.duration_since(self.from).unsigned_abs()
    }

    pub(crate) fn seconds(self) -> f64 {
        self.length().as_secs_f64()
    }
}

/// Says whether an open batch of these exposures and this length ends.
///
/// At full weight stable has no requests, and the canary's batches end without them.
pub(crate) fn closing(stable: u64, canary: u64, length: Duration, is_full: bool) -> Closing {
    let fewest = stable.min(canary);
    if fewest >= EXPOSURE_MIN || (fewest > 0 && length >= LENGTH_MAX) {
        Closing::Compare
    } else if is_full && stable == 0 && (canary >= EXPOSURE_MIN || length >= LENGTH_MAX) {
        Closing::Alone
    } else if length >= PARTNER_MAX || (canary == 0 && length >= LENGTH_MAX) {
        Closing::Apart
    } else {
        Closing::Open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_ends_on_exposures_and_time() {
        for (stable, canary, seconds, is_full, expected) in [
            (100, 2, 1, false, Closing::Open),
            (100, 3, 1, false, Closing::Compare),
            (2, 100, 1, false, Closing::Open),
            (100, 1, 14, false, Closing::Open),
            (100, 1, 15, false, Closing::Compare),
            (100, 0, 14, false, Closing::Open),
            (100, 0, 15, false, Closing::Apart),
            (0, 1, 15, false, Closing::Open),
            (0, 1, 60, false, Closing::Apart),
            (0, 3, 1, true, Closing::Alone),
            (0, 3, 1, false, Closing::Open),
            (1, 3, 1, true, Closing::Open),
            (0, 0, 15, false, Closing::Apart),
        ] {
            let length = Duration::from_secs(seconds);
            assert_eq!(
                closing(stable, canary, length, is_full),
                expected,
                "{stable} {canary} {seconds} {is_full}"
            );
        }
    }
}
