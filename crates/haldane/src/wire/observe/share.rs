//! Whether the requests that a metric system counted of each version can be theirs, by the weight.
//!
//! Labels that are swapped, and a query that also finds the processes of stable, make a bad canary look good. Both show as a canary
//! that got more requests than stable although it has a third of the weight at most. Less than that is not looked at: metric systems
//! also count health checks, requests between services, and what came by a header.

use haldane_analysis::sequential::{Counts, Reading as Read};
use haldane_core::Weight;

use super::measure::{Gap, Measured};

/// How many requests it takes to tell.
const REQUESTS_MIN: u64 = 200;

/// Up to which weight stable must have got more, in percent.
const WEIGHT_MAX_PERCENT: u8 = 33;

/// What was counted since the weight changed, or since it was last looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shares {
    weight: Weight,
    stable: u64,
    canary: u64,
    /// What was found with the last [`REQUESTS_MIN`] requests.
    found: Option<(u64, u64)>,
}

impl Shares {
    /// Looks at what was counted while these weights were in force, at its beginning and at its end.
    ///
    /// # Errors
    /// When it can't be of these versions.
    pub(super) fn check(
        &mut self,
        measured: &Measured,
        from: Weight,
        to: Weight,
    ) -> Result<(), Gap> {
        let is_changing = from != to;
        if to != self.weight || is_changing {
            *self = Self {
                weight: to,
                ..Self::default()
            };
        }
        if is_changing || to == Weight::ZERO || to > Weight::from_percent(WEIGHT_MAX_PERCENT) {
            return Ok(());
        }
        self.stable = self.stable.saturating_add(requests(&measured.stable));
        self.canary = self.canary.saturating_add(requests(&measured.canary));
        if self.stable.saturating_add(self.canary) >= REQUESTS_MIN {
            let is_swapped = self.canary > self.stable;
            self.found = is_swapped.then_some((self.stable, self.canary));
            (self.stable, self.canary) = (0, 0);
        }
        match self.found {
            None => Ok(()),
            Some((stable, canary)) => Err(Gap::Swapped {
                stable,
                canary,
                weight: to,
            }),
        }
    }
}

fn requests(read: &Read) -> u64 {
    match read {
        Read::Counts(Counts { exposure, .. }) => *exposure,
        Read::Latency(buckets) => buckets
            .iter()
            .fold(0, |sum, bucket| sum.saturating_add(bucket.count)),
        Read::Pods(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use haldane_analysis::Bucket;
    use jiff::Timestamp;

    use super::*;

    fn measured(stable: u64, canary: u64) -> Measured {
        let counts = |exposure| {
            Read::Counts(Counts {
                exposure,
                events: 0,
            })
        };
        Measured {
            from: Timestamp::UNIX_EPOCH,
            to: Timestamp::UNIX_EPOCH,
            skew: Duration::ZERO,
            stable: counts(stable),
            canary: counts(canary),
        }
    }

    #[test]
    fn a_canary_with_more_requests_than_stable_is_another() {
        let ten = Weight::from_percent(10);
        let mut shares = Shares::default();
        let mut check =
            |stable, canary, from, to| shares.check(&measured(stable, canary), from, to);
        // Too few to tell.
        assert_eq!(check(10, 90, ten, ten), Ok(()));
        let swapped = Gap::Swapped {
            stable: 20,
            canary: 180,
            weight: ten,
        };
        assert_eq!(check(10, 90, ten, ten), Err(swapped.clone()));
        // Until as many say something else.
        assert_eq!(check(90, 10, ten, ten), Err(swapped));
        assert_eq!(check(90, 10, ten, ten), Ok(()));
        // Stable's and the canary's together.
        assert!(check(190, 210, ten, ten).is_err());
        assert_eq!(check(1_000, 0, ten, ten), Ok(()));
    }

    #[test]
    fn a_larger_weight_and_one_that_changes_tell_nothing() {
        let [zero, ten, half] = [0, 10, 50].map(Weight::from_percent);
        let mut shares = Shares::default();
        let mut check = |from, to| shares.check(&measured(0, 500), from, to);
        assert_eq!(check(zero, zero), Ok(()));
        assert_eq!(check(half, half), Ok(()));
        assert_eq!(check(half, ten), Ok(()));
        assert_eq!(check(ten, half), Ok(()));
        assert!(check(ten, ten).is_err());
        assert_eq!(check(ten, half), Ok(()));
    }

    #[test]
    fn latencies_are_requests_and_pods_are_none() {
        let bucket = |count| Bucket {
            lower_us: 0,
            upper_us: 1,
            count,
        };
        assert_eq!(requests(&Read::Latency(vec![bucket(2), bucket(3)])), 5);
        assert_eq!(requests(&Read::Pods(vec![7])), 0);
    }
}
