//! The canary's share of traffic, as a fixed-point number.
//!
//! Basis points (1/10,000) are fine enough for the smallest share anyone asked for (0.01 %) and exact in every arithmetic.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The canary's share of traffic in basis points, from 0 (none) to 10,000 (all).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(try_from = "u16", into = "u16")]
pub struct Weight(u16);

impl Weight {
    /// No traffic: every request goes to stable.
    pub const ZERO: Self = Self(0);
    /// All traffic: every request goes to the canary.
    pub const FULL: Self = Self(10_000);

    /// Returns the weight of `bps` basis points.
    ///
    /// # Errors
    /// When `bps` is more than 10,000.
    pub fn try_from_bps(bps: u16) -> Result<Self, WeightError> {
        if bps <= Self::FULL.0 {
            Ok(Self(bps))
        } else {
            Err(WeightError { bps })
        }
    }

    /// Returns the weight of `percent` percent; more than 100 counts as 100.
    #[must_use]
    pub const fn from_percent(percent: u8) -> Self {
        if percent >= 100 {
            Self::FULL
        } else {
            Self(percent as u16 * 100)
        }
    }

    /// Returns the basis points, 0 to 10,000.
    #[must_use]
    pub const fn as_bps(self) -> u16 {
        self.0
    }

    /// Whether no traffic goes to the canary.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Whether all traffic goes to the canary.
    #[must_use]
    pub const fn is_full(self) -> bool {
        self.0 == Self::FULL.0
    }

    /// Returns how many of `count` things this share is, rounded up, so that a share above zero is never none of them.
    ///
    /// ```
    /// # use haldane_core::Weight;
    /// assert_eq!(Weight::from_percent(10).of(3), 1);
    /// assert_eq!(Weight::ZERO.of(3), 0);
    /// assert_eq!(Weight::FULL.of(3), 3);
    /// ```
    #[must_use]
    pub fn of(self, count: u32) -> u32 {
        let share = u64::from(count)
            .saturating_mul(u64::from(self.0))
            .div_ceil(u64::from(Self::FULL.0));
        u32::try_from(share).unwrap_or(count)
    }
}

/// A number of basis points above 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a weight is at most 10000 basis points (100 %), not {bps}")]
pub struct WeightError {
    bps: u16,
}

impl fmt::Display for Weight {
    /// Writes percent with as many digits as needed: `5%`, `12.5%`, `0.01%`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, hundredths) = (self.0 / 100, self.0 % 100);
        match (hundredths / 10, hundredths % 10) {
            (0, 0) => write!(f, "{whole}%"),
            (tenths, 0) => write!(f, "{whole}.{tenths}%"),
            (tenths, rest) => write!(f, "{whole}.{tenths}{rest}%"),
        }
    }
}

impl TryFrom<u16> for Weight {
    type Error = WeightError;

    fn try_from(bps: u16) -> Result<Self, WeightError> {
        Self::try_from_bps(bps)
    }
}

impl From<Weight> for u16 {
    fn from(weight: Weight) -> Self {
        weight.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_is_written_with_the_digits_it_needs() {
        for (bps, text) in [
            (0, "0%"),
            (1, "0.01%"),
            (10, "0.1%"),
            (500, "5%"),
            (1250, "12.5%"),
            (10_000, "100%"),
        ] {
            let weight = Weight::try_from_bps(bps).unwrap();
            assert_eq!((weight.as_bps(), weight.to_string().as_str()), (bps, text));
        }
    }

    #[test]
    fn more_than_all_is_refused() {
        assert_eq!(
            Weight::try_from_bps(10_001),
            Err(WeightError { bps: 10_001 })
        );
        assert!(serde_json::from_str::<Weight>("10001").is_err());
    }
}
