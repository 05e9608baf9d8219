//! What one metric's comparison says: higher, lower, neither, or not known.

use serde::{Deserialize, Serialize};

use super::{
    config::{Direction, Effect, Measure, Metric, NanStrategy},
    points::{Points, is_present},
    shift::{self, Shift},
};

/// Which part of the estimated shift the interval must leave free around zero.
const TOLERANCE: f64 = 0.25;

/// Seeds of the noise for constant arms; any two will do, if they stay the same.
const SEEDS: (u64, u64) = (1, 2);

/// What is said of one metric, in Kayenta's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Classification {
    /// No difference that matters.
    Pass,
    /// The experiment is higher.
    High,
    /// The experiment is lower.
    Low,
    /// There is nothing to compare.
    Nodata,
    /// There is nothing to compare, and there must be: a failure.
    NodataFailMetric,
    /// The points can't be compared.
    Error,
}

/// The comparison of one metric.
pub(super) struct Comparison {
    pub(super) classification: Classification,
    pub(super) critical: bool,
    pub(super) effect: Option<f64>,
    pub(super) shift: Option<Shift>,
    pub(super) experiment: Points,
    pub(super) control: Points,
    /// Whether at least one arm had a point.
    pub(super) is_measured: bool,
    pub(super) reason: String,
}

/// What the rules say, before it is put into words.
struct Finding {
    classification: Classification,
    critical: bool,
    effect: Option<f64>,
    shift: Option<Shift>,
}

impl Classification {
    /// Whether this counts in the score of a group.
    pub(super) const fn is_counted(self) -> bool {
        match self {
            Self::Pass | Self::High | Self::Low | Self::NodataFailMetric => true,
            Self::Nodata | Self::Error => false,
        }
    }
}

/// Compares the points of both arms; `None` for an arm that doesn't know the metric.
pub(super) fn compare(
    metric: &Metric,
    experiment: Option<&[Option<f64>]>,
    control: Option<&[Option<f64>]>,
) -> Comparison {
    let clean = |own: Option<&[Option<f64>]>, other: Option<&[Option<f64>]>| {
        // A series missing on one side is one of missing points, as many as the other side has.
        let unknown = vec![None; other.map_or(0, <[_]>::len)];
        Points::new(own.unwrap_or(&unknown), metric.nan, metric.outliers)
    };
    let (canary, baseline) = (clean(experiment, control), clean(control, experiment));
    let finding = find(metric, &canary, &baseline);
    let points = [experiment, control];
    Comparison {
        classification: finding.classification,
        critical: finding.critical,
        effect: finding.effect,
        shift: finding.shift,
        is_measured: points
            .iter()
            .flatten()
            .any(|points| points.iter().any(is_present)),
        reason: reason(&finding, &canary, &baseline),
        experiment: canary,
        control: baseline,
    }
}

fn find(metric: &Metric, experiment: &Points, control: &Points) -> Finding {
    let settled = |classification, critical| Finding {
        classification,
        critical,
        effect: None,
        shift: None,
    };
    if experiment.sorted.is_empty() || control.sorted.is_empty() {
        return match metric.nan {
            NanStrategy::Replace => settled(Classification::Pass, false),
            NanStrategy::Remove if metric.must_have_data && !metric.critical => {
                settled(Classification::NodataFailMetric, false)
            }
            NanStrategy::Remove => settled(Classification::Nodata, metric.critical),
        };
    }
    let constants = (experiment.constant(), control.constant());
    let is_one_value = constants.0.is_some() && constants.0 == constants.1;
    if experiment.sorted == control.sorted || is_one_value {
        return settled(Classification::Pass, false);
    }
    let shift = match constants {
        (Some(_), Some(_)) => {
            let (first, second) = SEEDS;
            between(&experiment.blurred(first), &control.blurred(second))
        }
        (Some(_) | None, None) | (None, Some(_)) => between(experiment, control),
    };
    match shift {
        Some(shift) => decide(
            metric,
            shift,
            effect(metric.effect.measure, experiment, control),
        ),
        None => settled(Classification::Error, false),
    }
}

fn between(experiment: &Points, control: &Points) -> Option<Shift> {
    shift::between(&experiment.sorted, &control.sorted, shift::Z)
}

fn decide(metric: &Metric, shift: Shift, effect: Option<f64>) -> Finding {
    let Effect {
        allowed_increase,
        allowed_decrease,
        critical_increase,
        critical_decrease,
        ..
    } = metric.effect;
    let bound = TOLERANCE * shift.estimate.abs();
    // An effect that can't be told doesn't stand in the way.
    let reaches = |limit: f64| effect.is_none_or(|effect| effect >= limit);
    let falls_to = |limit: f64| effect.is_none_or(|effect| effect <= limit);
    let (may_rise, may_fall) = match metric.direction {
        Direction::Increase => (false, true),
        Direction::Decrease => (true, false),
        Direction::Either => (false, false),
    };
    let is_high = !may_rise && shift.lower > bound && reaches(allowed_increase);
    let is_low = !may_fall && shift.upper < -bound && falls_to(allowed_decrease);
    let (classification, critical) = match (is_high, is_low) {
        (true, _) => (
            Classification::High,
            metric.critical && reaches(critical_increase),
        ),
        (false, true) => (
            Classification::Low,
            metric.critical && falls_to(critical_decrease),
        ),
        (false, false) => (Classification::Pass, false),
    };
    Finding {
        classification,
        critical,
        effect,
        shift: Some(shift),
    }
}

fn effect(measure: Measure, experiment: &Points, control: &Points) -> Option<f64> {
    let effect = match measure {
        Measure::MeanRatio => {
            let (experiment, control) = (experiment.mean()?, control.mean()?);
            (experiment != 0.0 && control != 0.0).then(|| experiment / control)
        }
        Measure::Cles => shift::probability(&experiment.sorted, &control.sorted),
    };
    effect.filter(|effect| effect.is_finite())
}

fn reason(finding: &Finding, experiment: &Points, control: &Points) -> String {
    let critical = if finding.critical {
        ", and the metric is critical"
    } else {
        ""
    };
    match (finding.classification, finding.shift) {
        (Classification::High, Some(Shift { lower, upper, .. })) => {
            format!("higher than control by {lower:.6} to {upper:.6}{critical}")
        }
        (Classification::Low, Some(Shift { lower, upper, .. })) => {
            let (least, most) = (-upper, -lower);
            format!("lower than control by {least:.6} to {most:.6}{critical}")
        }
        (Classification::Nodata | Classification::NodataFailMetric, _) => {
            let arms = match (experiment.sorted.is_empty(), control.sorted.is_empty()) {
                (true, true) => "either arm",
                (true, false) => "the experiment",
                (false, _) => "the control",
            };
            format!("no points of {arms}{critical}")
        }
        (Classification::Error, _) => "too few different points for an interval".to_owned(),
        (_, Some(_)) => "no difference that matters".to_owned(),
        (_, None) if experiment.sorted.is_empty() || control.sorted.is_empty() => {
            "no points, which count as zero".to_owned()
        }
        (_, None) => "both arms are the same".to_owned(),
    }
}
