//! Splitting without a router: a Service spreads requests over the pods of both versions, so that their numbers are the split.
//!
//! What can be reached is coarse, and it is told as it is: of ten pods one is 10 %, and a weight of 5 % is 10 % too.
//!
//! **Invariants:** there are never fewer pods than the release has, and never more than it may have. A weight above zero has at least one
//! canary, and one below full at least one pod of stable.

use haldane_core::Weight;

use crate::shares::part_of;

/// How many pods of each version there are to be, and the split that they make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    /// Pods of stable.
    pub stable: u32,
    /// Pods of the canary.
    pub canary: u32,
    /// The canary's share of the requests with these numbers.
    pub reached: Weight,
}

/// How many pods there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// At least so many: the size of the release.
    pub least: u32,
    /// At most so many, with those that may be added while a rollout goes on.
    pub most: u32,
}

/// Two versions don't fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{weight} needs a pod of each version, and there may be {most} in all")]
pub struct TooFew {
    weight: Weight,
    most: u32,
}

/// No split needs more pods beyond the least than this: among so many in a row one number divides every weight exactly.
const EXTRA_MAX: u32 = 10_000;

/// Returns the numbers whose share is nearest to a weight; of several the fewest pods, and of these the fewest canaries.
///
/// # Errors
/// When the weight needs both versions, and there is no room for two pods.
///
/// ```
/// # use haldane_core::Weight;
/// # use haldane_router::ratio::{Room, nearest};
/// let ratio = nearest(Weight::from_percent(5), Room { least: 10, most: 13 }).unwrap();
/// assert_eq!((ratio.stable, ratio.canary, ratio.reached.to_string()), (12, 1, "7.69%".to_owned()));
/// ```
pub fn nearest(weight: Weight, room: Room) -> Result<Ratio, TooFew> {
    let most = room.most.max(room.least);
    if weight.is_zero() {
        return Ok(ratio(room.least, 0, weight));
    }
    if weight.is_full() {
        return Ok(ratio(0, room.least, weight));
    }
    let least = room.least.max(2);
    let last = most.min(least.saturating_add(EXTRA_MAX));
    (least..=last)
        .flat_map(|total| around(weight, total).map(move |canary| (total, canary)))
        .min_by(|one, two| {
            let (left, right) = (error(weight, *one), error(weight, *two));
            // Two fractions, compared without dividing.
            let left = left * u128::from(two.0);
            left.cmp(&(right * u128::from(one.0)))
        })
        .map(|(total, canary)| ratio(total.saturating_sub(canary), canary, weight))
        .ok_or(TooFew { weight, most })
}

/// Returns the canary's share with the pods that there are; nothing if there are none.
#[must_use]
pub fn reached(stable: u32, canary: u32) -> Option<Weight> {
    let all = u64::from(stable).saturating_add(u64::from(canary));
    part_of(u64::from(canary), all)
}

fn ratio(stable: u32, canary: u32, weight: Weight) -> Ratio {
    Ratio {
        stable,
        canary,
        reached: reached(stable, canary).unwrap_or(weight),
    }
}

/// Returns the two whole numbers of canaries between which the exact one is.
fn around(weight: Weight, total: u32) -> impl Iterator<Item = u32> {
    let above = weight.of(total);
    let highest = total.saturating_sub(1).max(1);
    [above.saturating_sub(1), above]
        .into_iter()
        .map(move |canary| canary.clamp(1, highest))
}

/// Returns by how much a number of canaries misses the weight, times 10,000 and the total.
fn error(weight: Weight, (total, canary): (u32, u32)) -> u128 {
    let wanted = u128::from(total) * u128::from(weight.as_bps());
    (u128::from(canary) * u128::from(Weight::FULL.as_bps())).abs_diff(wanted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bps(weight_bps: u16) -> Weight {
        Weight::try_from_bps(weight_bps).unwrap()
    }

    #[test]
    fn the_nearest_share_is_taken_and_told() {
        for (weight, least, most, stable, canary, reached) in [
            (0, 10, 12, 10, 0, 0),
            (10_000, 10, 12, 0, 10, 10_000),
            (1_000, 10, 10, 9, 1, 1_000),
            (500, 10, 10, 9, 1, 1_000),
            (500, 10, 20, 19, 1, 500),
            (500, 4, 4, 3, 1, 2_500),
            (500, 4, 5, 4, 1, 2_000),
            (9_900, 10, 10, 1, 9, 9_000),
            (5_000, 3, 3, 2, 1, 3_333),
            (5_000, 3, 4, 2, 2, 5_000),
            (3_333, 3, 3, 2, 1, 3_333),
            (5_000, 1, 2, 1, 1, 5_000),
            (1, 1, 2, 1, 1, 5_000),
            (0, 0, 0, 0, 0, 0),
            (5_000, 0, 3, 1, 1, 5_000),
        ] {
            let ratio = nearest(bps(weight), Room { least, most }).unwrap();
            let found = (ratio.stable, ratio.canary, ratio.reached.as_bps());
            assert_eq!(
                found,
                (stable, canary, reached),
                "{weight} of {least} to {most}"
            );
        }
    }

    #[test]
    fn one_pod_cannot_be_of_both_versions() {
        let error = nearest(bps(500), Room { least: 1, most: 1 }).unwrap_err();
        assert_eq!(
            error.to_string(),
            "5% needs a pod of each version, and there may be 1 in all"
        );
    }

    #[test]
    fn no_pods_have_no_share() {
        assert_eq!(reached(0, 0), None);
        assert_eq!(reached(0, 3), Some(Weight::FULL));
    }

    proptest! {
        #![proptest_config(crate::trial::config())]
        #[test]
        fn nothing_else_in_the_room_is_nearer(weight in 1..10_000_u16, least in 0..40_u32, extra in 0..20_u32) {
            let (weight, room) = (bps(weight), Room { least, most: least + extra });
            let Ok(ratio) = nearest(weight, room) else {
                prop_assert!(room.most < 2);
                return Ok(());
            };
            let total = ratio.stable + ratio.canary;
            prop_assert!(ratio.stable > 0 && ratio.canary > 0);
            prop_assert!((room.least..=room.most).contains(&total));
            prop_assert_eq!(Some(ratio.reached), reached(ratio.stable, ratio.canary));
            let missed = |total: u32, canary: u32| {
                (f64::from(canary) / f64::from(total) - f64::from(weight.as_bps()) / 10_000.0).abs()
            };
            for other in room.least.max(2)..=room.most {
                for canary in 1..other {
                    prop_assert!(missed(total, ratio.canary) <= missed(other, canary) + 1e-12);
                }
            }
        }

        #[test]
        fn a_higher_weight_has_no_lower_share(one in 0..=10_000_u16, two in 0..=10_000_u16, least in 2..40_u32) {
            let room = Room { least, most: least };
            let share = |weight| nearest(bps(weight), room).unwrap().reached;
            prop_assert!(share(one.min(two)) <= share(one.max(two)));
        }
    }
}
