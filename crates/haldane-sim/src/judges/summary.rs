//! Many runs in a few figures.

use super::Run;

/// What many runs of one judge amount to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// How many there were.
    pub runs: u32,
    /// The share that was rolled back.
    pub rollback_share: f64,
    /// The share that was stopped for a person.
    pub paused_share: f64,
    /// The share that was promoted.
    pub promoted_share: f64,
    /// Until when half of all runs were rolled back, in seconds; `None` where fewer were.
    pub seconds_p50: Option<u32>,
    /// Until when 95 % of all runs were rolled back.
    pub seconds_p95: Option<u32>,
    /// Until when half of all runs were promoted.
    pub promoted_p50: Option<u32>,
    /// Until when 95 % of all runs were promoted.
    pub promoted_p95: Option<u32>,
    /// The mean of the failures that users would not have met with stable.
    pub excess_errors: f64,
}

/// Sums up runs, in any order.
#[must_use]
pub fn summarize(runs: &[Run]) -> Figures {
    let share = |is: &dyn Fn(&Run) -> bool| {
        runs.iter().filter(|run| is(run)).count() as f64 / runs.len().max(1) as f64
    };
    let sorted = |of: &dyn Fn(&Run) -> Option<u32>| {
        let mut times: Vec<u32> = runs.iter().filter_map(of).collect();
        times.sort_unstable();
        times
    };
    let (rolled_back, promoted) = (sorted(&|run| run.rolled_back), sorted(&|run| run.promoted));
    // Of all runs, those that never ended so count as never.
    let until = |times: &[u32], percent: usize| {
        let rank = runs.len().saturating_mul(percent).div_ceil(100);
        times.get(rank.checked_sub(1)?).copied()
    };
    Figures {
        runs: u32::try_from(runs.len()).unwrap_or(u32::MAX),
        rollback_share: share(&|run| run.rolled_back.is_some()),
        paused_share: share(&|run| run.paused.is_some()),
        promoted_share: share(&|run| run.promoted.is_some()),
        seconds_p50: until(&rolled_back, 50),
        seconds_p95: until(&rolled_back, 95),
        promoted_p50: until(&promoted, 50),
        promoted_p95: until(&promoted, 95),
        excess_errors: runs.iter().map(|run| run.excess_errors).sum::<f64>()
            / runs.len().max(1) as f64,
    }
}
