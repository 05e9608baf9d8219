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
    /// Until when half of all runs were stopped for a person.
    pub paused_p50: Option<u32>,
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
    let rolled_back = sorted(&|run| run.rolled_back);
    let (paused, promoted) = (sorted(&|run| run.paused), sorted(&|run| run.promoted));
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
        paused_p50: until(&paused, 50),
        promoted_p50: until(&promoted, 50),
        promoted_p95: until(&promoted, 95),
        excess_errors: runs.iter().map(|run| run.excess_errors).sum::<f64>()
            / runs.len().max(1) as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rolled_back: Option<u32>, paused: Option<u32>, promoted: Option<u32>) -> Run {
        Run {
            rolled_back,
            paused,
            promoted,
            excess_errors: f64::from(rolled_back.unwrap_or(40)),
            canary_requests: 0,
        }
    }

    #[test]
    fn those_that_never_end_so_count_as_never() {
        let runs = [
            run(Some(30), None, None),
            run(None, None, Some(1_200)),
            run(Some(10), None, None),
            run(None, Some(90), None),
        ];
        let figures = summarize(&runs);
        assert_eq!(figures.runs, 4);
        assert_eq!(
            (
                figures.rollback_share,
                figures.paused_share,
                figures.promoted_share
            ),
            (0.5, 0.25, 0.25)
        );
        assert_eq!((figures.seconds_p50, figures.seconds_p95), (Some(30), None));
        assert_eq!((figures.paused_p50, figures.promoted_p50), (None, None));
        assert_eq!(figures.excess_errors, 30.0);
    }

    #[test]
    fn quantiles_are_of_all_runs() {
        let runs: Vec<Run> = (1..=100).map(|at| run(Some(at), None, None)).collect();
        let figures = summarize(&runs);
        assert_eq!(
            (figures.seconds_p50, figures.seconds_p95),
            (Some(50), Some(95))
        );
        let none = summarize(&[]);
        assert_eq!((none.seconds_p50, none.rollback_share), (None, 0.0));
    }
}
