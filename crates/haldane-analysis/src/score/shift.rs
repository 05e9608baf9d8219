//! How far the experiment lies above the control: the Mann-Whitney interval, as R's `wilcox.test(…, conf.int = TRUE, exact = FALSE)`.
//!
//! For each shift μ the experiment is moved down by μ and ranked together with the control, ties sharing the mean of their places. The
//! rank sum, standardized with corrections for ties and continuity, falls as μ rises; where it crosses the quantiles of the normal
//! distribution lie the ends of the interval, and where it crosses zero lies the estimate. Kayenta follows an R before 4.0, which
//! corrected the estimate for continuity, too.
//!
//! Ends and estimate are exact to [`root::TOLERANCE`], whatever the unit: differences of values that are not much larger drown in it.

use std::iter::Peekable;

use serde::{Deserialize, Serialize};

use super::root::{self, End};

/// The 99 % point of the standard normal distribution: an interval of 98 %.
pub(super) const Z: f64 = 2.326_347_874_040_840_8;

/// By how much the experiment is above the control, in the unit of the metric; negative if it is below.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shift {
    /// The Hodges-Lehmann estimate.
    pub estimate: f64,
    /// The lower end of the 98 % interval.
    pub lower: f64,
    /// The upper end of the 98 % interval.
    pub upper: f64,
}

/// Returns the shift between two sorted arms, with an interval of ±`z`; `None` if all points are tied at some shift.
pub(super) fn between(experiment: &[f64], control: &[f64], z: f64) -> Option<Shift> {
    let least = experiment.first()? - control.last()?;
    let most = experiment.last()? - control.first()?;
    let standardized = |shift: f64| standardized(experiment, control, shift);
    let ends = (
        End {
            at: least,
            value: standardized(least)?,
        },
        End {
            at: most,
            value: standardized(most)?,
        },
    );
    let crossing = |quantile: f64| {
        let (lower, upper) = (lowered(ends.0, quantile), lowered(ends.1, quantile));
        if lower.value <= 0.0 {
            return Some(least);
        }
        if upper.value >= 0.0 {
            return Some(most);
        }
        root::find(lower, upper, |at| Some(standardized(at)? - quantile))
    };
    Some(Shift {
        lower: crossing(z)?,
        upper: crossing(-z)?,
        estimate: root::find(ends.0, ends.1, standardized)?,
    })
}

/// Returns the share of pairs in which the experiment is above the control, ties counting half; `None` without points.
pub(super) fn probability(experiment: &[f64], control: &[f64]) -> Option<f64> {
    let (m, n) = (count(experiment.len()), count(control.len()));
    let ranks = ranks(experiment, control, 0.0)?;
    (m > 0.0 && n > 0.0).then(|| (2.0 * ranks.sum - m * (m + 1.0)) / (2.0 * m * n))
}

/// Returns a number of things as a float.
pub(super) fn count(things: usize) -> f64 {
    f64::from(u32::try_from(things).unwrap_or(u32::MAX))
}

/// Returns an end of the staircase moved down by a quantile.
fn lowered(end: End, quantile: f64) -> End {
    End {
        at: end.at,
        value: end.value - quantile,
    }
}

/// What ranking both arms together gives.
struct Ranks {
    /// The sum of the experiment's ranks.
    sum: f64,
    /// The sum of `t³ − t` over all groups of `t` tied points.
    ties: f64,
}

/// Returns the standardized rank sum of the experiment moved down by `shift`, `None` if all points are tied.
fn standardized(experiment: &[f64], control: &[f64], shift: f64) -> Option<f64> {
    let (m, n) = (count(experiment.len()), count(control.len()));
    let ranks = ranks(experiment, control, shift)?;
    let excess = ranks.sum - m * (m + 1.0) / 2.0 - m * n / 2.0;
    let continuity = if excess == 0.0 {
        0.0
    } else {
        0.5_f64.copysign(excess)
    };
    let all = m + n;
    let variance = (m * n / 12.0) * ((all + 1.0) - ranks.ties / (all * (all - 1.0)));
    (variance > 0.0).then(|| (excess - continuity) / libm::sqrt(variance))
}

/// Ranks the experiment, moved down by `shift`, together with the control; both are sorted. `None` for a shift that is no number.
fn ranks(experiment: &[f64], control: &[f64], shift: f64) -> Option<Ranks> {
    if !shift.is_finite() {
        return None;
    }
    let mut experiment = experiment.iter().map(|point| point - shift).peekable();
    let mut control = control.iter().copied().peekable();
    let (mut sum, mut ties, mut placed) = (0.0, 0.0, 0.0);
    while let Some(value) = least(experiment.peek(), control.peek()) {
        let of_experiment = take(&mut experiment, value);
        let tied = of_experiment + take(&mut control, value);
        sum += of_experiment * (placed + (tied + 1.0) / 2.0);
        ties += tied * tied * tied - tied;
        placed += tied;
    }
    Some(Ranks { sum, ties })
}

fn least(a: Option<&f64>, b: Option<&f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(*b)),
        (a, b) => a.or(b).copied(),
    }
}

/// Takes all points up to `value` and returns how many they were.
fn take(points: &mut Peekable<impl Iterator<Item = f64>>, value: f64) -> f64 {
    let mut taken = 0.0;
    while points.next_if(|point| *point <= value).is_some() {
        taken += 1.0;
    }
    taken
}
