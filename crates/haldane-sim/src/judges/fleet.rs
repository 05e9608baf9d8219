//! The canary's replicas: one more each time the weight is higher than ever before, and cold until their caches are filled.

use haldane_core::Weight;

/// How much slower replicas are when they begin, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cold {
    /// The multiple that a request takes at first.
    pub factor: f64,
    /// After so many seconds a third of what it takes more is left: the factor falls exponentially.
    pub seconds: f64,
}

/// The canary's replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fleet {
    /// How many there are.
    pub(super) replicas: u64,
    /// The weight that they were made for.
    weight: Weight,
    /// When the last was added. All share its coldness, for it takes its share of all requests from others.
    since: u32,
}

impl Cold {
    /// From this multiple on nobody can tell.
    const GONE: f64 = 1.001;

    /// Returns what a request takes more after so many seconds, as a multiple; `None` once that is next to nothing.
    pub(super) fn after(self, seconds: u32) -> Option<f64> {
        let left = libm::exp(-f64::from(seconds) / self.seconds);
        let factor = 1.0 + (self.factor - 1.0) * left;
        (factor > Self::GONE).then_some(factor)
    }
}

impl Fleet {
    /// None yet.
    pub(super) const NONE: Self = Self {
        replicas: 0,
        weight: Weight::ZERO,
        since: 0,
    };

    /// Adds a replica at `at` if the weight is higher than ever before.
    pub(super) fn serve(&mut self, at: u32, weight: Weight) {
        if weight > self.weight {
            *self = Self {
                replicas: self.replicas.saturating_add(1),
                weight,
                since: at,
            };
        }
    }

    /// Returns for how many seconds the last replica has been there.
    pub(super) const fn age(&self, at: u32) -> u32 {
        at.saturating_sub(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_added_for_more_weight_than_ever() {
        let mut fleet = Fleet::NONE;
        for (at, percent, replicas, age) in [
            (0, 5, 1, 0),
            (9, 5, 1, 9),
            (10, 50, 2, 0),
            (12, 5, 2, 2),
            (14, 50, 2, 4),
            (20, 51, 3, 0),
        ] {
            fleet.serve(at, Weight::from_percent(percent));
            assert_eq!((fleet.replicas, fleet.age(at)), (replicas, age), "{at}");
        }
    }

    #[test]
    fn coldness_falls_and_ends() {
        let cold = Cold {
            factor: 3.0,
            seconds: 4.0,
        };
        assert_eq!(cold.after(0), Some(3.0));
        let third = cold.after(4).unwrap();
        assert!((third - 1.735_8).abs() < 1e-3, "{third}");
        assert_eq!(cold.after(60), None);
    }
}
