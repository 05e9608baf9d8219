//! How soon a bad canary could be told from stable by anybody: the time that the best test needs at a service's traffic.

use std::time::Duration;

use haldane_api::lint::Held;
use haldane_core::Weight;
use haldane_sim::judges::{Scenario, Schedule, wald_seconds};

/// How exactly the steps' times are taken.
const TICK: Duration = Duration::from_secs(10);

/// The longest time that is looked at: what is not found in a week is not found.
const TICKS_MAX: usize = 7 * 24 * 360;

/// Returns what says when a canary that fails so many parts per million is found, at so many thousandths of a request per second.
pub(super) fn finder(
    rate_milli: u64,
    stable_ppm: u64,
    canary_ppm: u64,
) -> impl Fn(&[Held]) -> Option<Duration> {
    let scenario = Scenario::errors(
        rate_milli as f64 / 1e3,
        stable_ppm as f64 / 1e6,
        canary_ppm as f64 / 1e6,
    );
    move |held| {
        let steps: Vec<Weight> = held
            .iter()
            .flat_map(|(weight, time)| std::iter::repeat_n(*weight, ticks(*time)))
            .take(TICKS_MAX)
            .collect();
        let hold = u32::try_from(TICK.as_secs()).ok()?;
        let seconds = wald_seconds(&scenario, &Schedule { steps, hold })?;
        Some(Duration::from_secs(u64::from(seconds)))
    }
}

/// Returns how many ticks a time has, rounded up.
fn ticks(time: Duration) -> usize {
    let ticks = time.as_secs().div_ceil(TICK.as_secs());
    usize::try_from(ticks).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_traffic_and_longer_steps_find_more() {
        let held = |minutes| {
            [5, 25, 50].map(|percent| (Weight::from_percent(percent), Duration::from_mins(minutes)))
        };
        // The reference value of the simulator: 90 s for 0.1 % to 1 % at 100 requests a second.
        let found = finder(100_000, 1_000, 10_000)(&held(5));
        assert_eq!(found, Some(Duration::from_secs(90)));
        assert_eq!(finder(1_000, 1_000, 10_000)(&held(5)), None);
        assert!(finder(1_000, 1_000, 10_000)(&held(60)).is_some());
        assert_eq!(
            finder(100_000, 1_000, 1_000)(&held(60)),
            None,
            "it is as good"
        );
        assert_eq!(finder(100_000, 1_000, 10_000)(&[]), None);
    }
}
