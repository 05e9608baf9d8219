//! The share check: did requests go where the weight sent them?
//!
//! A router may accept a weight and not apply it; then a verdict compares the wrong things. So the canary's share of the counted
//! requests is compared with the verified weight (sample-ratio mismatch).
//!
//! Retries and requests placed by the override header move the share a little, whatever the weight; [`SLACK_PERCENT`] allows for them.
//! A plan step that sends the canary more than that by override, at weight 0, is seen as a mismatch unless the host leaves those
//! requests out of its samples.

use haldane_core::{Weight, verdict::Share};
use serde::{Deserialize, Serialize};

/// How many requests a check needs: below, four standard deviations are wider than most mistakes.
pub const REQUESTS_MIN: u64 = 200;

/// How many standard deviations are taken for chance: one false alarm in 16,000 looks at independent data.
const DEVIATIONS: u128 = 4;

/// What retries and overrides may move, in percent of all requests.
pub const SLACK_PERCENT: u64 = 1;

/// How requests were split at one weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// The weight that was verified.
    pub weight: Weight,
    /// Requests to stable.
    pub stable: u64,
    /// Requests to the canary.
    pub canary: u64,
}

impl Split {
    /// Returns the canary's share of the requests in basis points, `None` without requests.
    #[must_use]
    pub fn observed_bps(&self) -> Option<u16> {
        observed_bps(self.stable, self.canary)
    }

    /// Whether the split fits the weight.
    ///
    /// It does not when the canary's requests are further from `n·p` than `4·√(n·p·(1−p))` plus 1 % of `n`, on at least
    /// [`REQUESTS_MIN`] requests. At weight 0 and at full weight there is no chance in it, and only the 1 % is left.
    #[must_use]
    pub fn check(&self) -> Share {
        const ALL: u128 = 10_000;
        let requests = self.stable.saturating_add(self.canary);
        if requests < REQUESTS_MIN {
            return Share::Fits;
        }
        // Everything in 1/10,000 of a request, so that n·p and the deviation are exact.
        let (n, share) = (u128::from(requests), u128::from(self.weight.as_bps()));
        let expected = n.saturating_mul(share);
        let observed = u128::from(self.canary).saturating_mul(ALL);
        let deviation = expected.saturating_mul(ALL.saturating_sub(share)).isqrt();
        let slack = u128::from(requests / 100 * SLACK_PERCENT).saturating_mul(ALL);
        if observed.abs_diff(expected) > deviation.saturating_mul(DEVIATIONS).saturating_add(slack)
        {
            Share::Mismatch
        } else {
            Share::Fits
        }
    }
}

/// Returns the canary's share of the requests in basis points, `None` without requests.
pub(crate) fn observed_bps(stable: u64, canary: u64) -> Option<u16> {
    let canary = u128::from(canary);
    let share = canary
        .saturating_mul(10_000)
        .checked_div(canary.saturating_add(u128::from(stable)))?;
    u16::try_from(share).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_away_from_the_weight_is_a_mismatch() {
        let (fits, mismatch) = (Share::Fits, Share::Mismatch);
        // At 10 % of 1,000, four deviations are 37.9 and the slack is 10.
        for (percent, stable, canary, expected) in [
            (10, 900, 100, fits),
            (10, 853, 147, fits),
            (10, 852, 148, mismatch),
            (10, 947, 53, fits),
            (10, 948, 52, mismatch),
            (10, 1_000, 0, mismatch),
            (0, 1_000, 0, fits),
            (0, 990, 10, fits),
            (0, 989, 11, mismatch),
            (100, 0, 1_000, fits),
            (100, 10, 990, fits),
            (100, 11, 989, mismatch),
            (50, 199, 0, fits),
            (50, 200, 0, mismatch),
            (50, 0, 0, fits),
            (5, 95_000_000, 5_000_000, fits),
            (5, 93_500_000, 6_500_000, mismatch),
        ] {
            let split = Split {
                weight: Weight::from_percent(percent),
                stable,
                canary,
            };
            assert_eq!(split.check(), expected, "{split:?}");
        }
    }

    #[test]
    fn the_observed_share_is_known_only_with_requests() {
        let split = |stable, canary| Split {
            weight: Weight::ZERO,
            stable,
            canary,
        };
        assert_eq!(split(0, 0).observed_bps(), None);
        assert_eq!(split(877, 123).observed_bps(), Some(1_230));
        assert_eq!(split(0, u64::MAX).observed_bps(), Some(10_000));
    }
}
