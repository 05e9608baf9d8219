//! Traffic by the share of replicas, where no router splits it: every pod of either version gets as much as any other.
//!
//! Where the canary's pods come beside stable's, stable's size is not ours to change, so shares of more than a half are not reached;
//! where they come in the place of stable's, the last one of stable stays. What is reached is told.

use haldane_core::{
    Weight,
    plan::Plan,
    rollout::{CanaryWish, Phase, Replicas, State, effect},
};

/// Where the canary's pods are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Beside stable's, which stay.
    Beside,
    /// In the place of stable's: both together are one more than the canary has at its full size.
    Within,
}

/// How large the versions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// How many replicas stable is to have.
    pub stable: u32,
    /// How many the canary has at its full size.
    pub full: u32,
}

/// Returns how many canary replicas come nearest to a share of all, beside so many of stable; at most as many as `full`.
///
/// A share above zero is at least one replica.
pub(super) fn replicas(weight: Weight, stable: u32, full: u32) -> u32 {
    if weight.is_zero() {
        return 0;
    }
    let (share, all) = (u64::from(weight.as_bps()), u64::from(Weight::FULL.as_bps()));
    let rest = all.saturating_sub(share);
    let product = share.saturating_mul(u64::from(stable));
    let nearest = product
        .saturating_mul(2)
        .saturating_add(rest)
        .checked_div(rest.saturating_mul(2));
    let nearest = nearest.map_or(full, |count| u32::try_from(count).unwrap_or(full));
    nearest.clamp(1, full.max(1))
}

/// Returns how many replicas of all come nearest to a share of them; at least one for a share above zero, and never all.
fn within(weight: Weight, full: u32) -> u32 {
    if weight.is_zero() {
        return 0;
    }
    let all = u64::from(full).saturating_add(1);
    let (share, whole) = (u64::from(weight.as_bps()), u64::from(Weight::FULL.as_bps()));
    let product = share.saturating_mul(all).saturating_mul(2);
    let nearest = product
        .saturating_add(whole)
        .checked_div(whole.saturating_mul(2));
    let nearest = nearest.map_or(full, |count| u32::try_from(count).unwrap_or(full));
    nearest.clamp(1, full.max(1))
}

/// Returns the share of one side's replicas.
pub(super) fn reached(canary: u32, stable: u32) -> Weight {
    let all = u64::from(canary).saturating_add(u64::from(stable));
    let bps = u64::from(canary)
        .saturating_mul(u64::from(Weight::FULL.as_bps()))
        .checked_div(all)
        .unwrap_or(0);
    let bps = u16::try_from(bps).unwrap_or(0);
    Weight::try_from_bps(bps).unwrap_or(Weight::ZERO)
}

/// Returns how many replicas the canary is to have, given what is seen of both; `None` where it keeps what it has.
pub(super) fn wanted(state: &State, plan: &Plan, room: Room, size: &Size) -> Option<u32> {
    // Who gets no traffic by its pods' number has no pods; but one that starts is started by its plan, and one that lost its pods is
    // given time to get them back.
    let is_starting = matches!(state.phase, Phase::Pending(_) | Phase::Preparing(_));
    if effect::traffic(plan, state).is_stable_only() && !is_starting && state.lost.is_none() {
        return Some(0);
    }
    match effect::workloads(plan, state).canary {
        CanaryWish::Stopped | CanaryWish::Kept => None,
        CanaryWish::Running(wish) => Some(match room {
            Room::Beside => replicas(wish.weight, size.stable, size.full),
            Room::Within => within(wish.weight, size.full),
        }),
    }
}

/// Returns the canary's replicas as the plan counts them: all that are needed where those that carry its share are ready.
pub(super) fn counted(seen: Replicas, wanted: Option<u32>, full: u32) -> Replicas {
    match wanted {
        Some(wanted) if seen.ready >= wanted => Replicas {
            ready: full.max(1),
            wanted: full.max(1),
            ..seen
        },
        Some(_) | None => seen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_share_is_taken_and_told() {
        for (percent, stable, full, expected, share) in [
            (0, 4, 4, 0, 0),
            (1, 4, 4, 1, 2_000),
            (10, 9, 9, 1, 1_000),
            (25, 4, 4, 1, 2_000),
            (25, 6, 6, 2, 2_500),
            (50, 4, 4, 4, 5_000),
            (75, 4, 4, 4, 5_000),
            (100, 4, 4, 4, 5_000),
            (100, 0, 3, 3, 10_000),
            (10, 100, 100, 11, 990),
        ] {
            let count = replicas(Weight::from_percent(percent), stable, full);
            assert_eq!(count, expected, "{percent}% beside {stable}");
            assert_eq!(
                reached(count, stable).as_bps(),
                share,
                "{percent}% beside {stable}"
            );
        }
    }

    #[test]
    fn the_nearest_share_of_all_is_taken_and_one_pod_is_left() {
        for (percent, all, expected) in [
            (0, 4, 0),
            (1, 4, 1),
            (25, 4, 1),
            (37, 4, 1),
            (38, 4, 2),
            (50, 4, 2),
            (87, 4, 3),
            (100, 4, 3),
            (50, 3, 2),
            (100, 2, 1),
            (10, 100, 10),
        ] {
            let count = within(Weight::from_percent(percent), all - 1);
            assert_eq!(count, expected, "{percent}% of {all}");
        }
    }
}
