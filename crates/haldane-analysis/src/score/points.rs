//! One arm's points of one metric, made ready for comparison: missing ones removed or replaced, outliers removed, sorted.

use serde::{Deserialize, Serialize};

use super::{
    config::{NanStrategy, OutlierStrategy},
    shift::count,
};

/// What is left of an arm's points after cleaning, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// How many points were compared, replaced ones included.
    pub count: u32,
    /// How many were missing, and so removed or replaced by zero.
    pub missing: u32,
    /// How many were removed as outliers.
    pub outliers: u32,
    /// The mean; none without points.
    pub mean: Option<f64>,
    /// The standard deviation; none with fewer than two points.
    pub std: Option<f64>,
    /// The smallest; none without points.
    pub min: Option<f64>,
    /// The largest; none without points.
    pub max: Option<f64>,
}

/// The points of one arm that are compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Points {
    /// Sorted, so that the order in which they came can't change a sum's last bit.
    pub(super) sorted: Vec<f64>,
    /// How many were missing.
    pub(super) missing: usize,
    /// How many were outliers.
    pub(super) outliers: usize,
}

impl Points {
    /// Cleans an arm's points.
    pub(super) fn new(raw: &[Option<f64>], nan: NanStrategy, outliers: OutlierStrategy) -> Self {
        let present = raw.iter().filter(|point| is_present(point)).count();
        let missing = raw.len().saturating_sub(present);
        let mut sorted: Vec<f64> = raw
            .iter()
            .filter_map(|point| match nan {
                NanStrategy::Remove => point.filter(|value| value.is_finite()),
                NanStrategy::Replace => {
                    Some(point.filter(|value| value.is_finite()).unwrap_or(0.0))
                }
            })
            .collect();
        sorted.sort_by(f64::total_cmp);
        let before = sorted.len();
        if let OutlierStrategy::Remove { factor } = outliers
            && let Some((lower, upper)) = fences(&sorted, factor)
        {
            sorted.retain(|value| (lower..=upper).contains(value));
        }
        Self {
            missing,
            outliers: before.saturating_sub(sorted.len()),
            sorted,
        }
    }

    /// Returns the value that all points have, `None` if they differ or if there are none.
    pub(super) fn constant(&self) -> Option<f64> {
        let (first, last) = (self.sorted.first()?, self.sorted.last()?);
        (first == last).then_some(*first)
    }

    /// Returns the mean, `None` without points.
    pub(super) fn mean(&self) -> Option<f64> {
        let points = count(self.sorted.len());
        (points > 0.0).then(|| {
            let mean = self.sorted.iter().sum::<f64>() / points;
            // The second pass takes out what rounding put in.
            mean + self.sorted.iter().map(|value| value - mean).sum::<f64>() / points
        })
    }

    /// Returns the figures for people.
    pub(super) fn summary(&self) -> Summary {
        let clamp = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Summary {
            count: clamp(self.sorted.len()),
            missing: clamp(self.missing),
            outliers: clamp(self.outliers),
            mean: self.mean().filter(|mean| mean.is_finite()),
            std: self.deviation().filter(|deviation| deviation.is_finite()),
            min: self.sorted.first().copied(),
            max: self.sorted.last().copied(),
        }
    }

    /// Returns the same points with a little noise, sorted: normal, its deviation [`NOISE`] of the value, drawn from `seed`.
    ///
    /// Two arms that are constant, each at its own value, have no spread to measure a shift by.
    pub(super) fn blurred(&self, seed: u64) -> Self {
        let mut chance = Chance(seed);
        let mut sorted: Vec<f64> = self
            .sorted
            .iter()
            .map(|value| value + chance.normal() * NOISE * value.abs())
            .collect();
        sorted.sort_by(f64::total_cmp);
        Self {
            sorted,
            ..self.clone()
        }
    }

    fn deviation(&self) -> Option<f64> {
        let mean = self.mean()?;
        let degrees = count(self.sorted.len()) - 1.0;
        let squares: f64 = self
            .sorted
            .iter()
            .map(|value| (value - mean) * (value - mean))
            .sum();
        (degrees > 0.0).then(|| libm::sqrt(squares / degrees))
    }
}

/// The deviation of the noise for constant arms, as a share of their value.
const NOISE: f64 = 1e-5;

/// Whether a point is a number; what is not finite counts as missing.
pub(super) fn is_present(point: &Option<f64>) -> bool {
    point.is_some_and(f64::is_finite)
}

/// Returns the fences beyond which a point is an outlier: those of Tukey, but never inside of the 1st and 99th percentile.
fn fences(sorted: &[f64], factor: f64) -> Option<(f64, f64)> {
    let (first, third) = (quantile(sorted, 0.25)?, quantile(sorted, 0.75)?);
    let reach = factor * (third - first);
    Some((
        quantile(sorted, 0.01)?.min(first - reach),
        quantile(sorted, 0.99)?.max(third + reach),
    ))
}

/// Returns a quantile by linear interpolation between the order statistics (type 7 of R); `None` without points.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = count(sorted.len().checked_sub(1)?) * share;
    let below = libm::floor(place);
    // The place lies within the slice, so that it fits; skipping that many gives the two neighbors without an index.
    let mut from = sorted
        .iter()
        .enumerate()
        .skip_while(|(index, _)| count(*index) < below);
    let (_, low) = from.next()?;
    let high = from.next().map_or(low, |(_, high)| high);
    Some(low + (place - below) * (high - low))
}

/// Seeded numbers (splitmix64), made normal by the transform of Box and Muller.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number above 0 and at most 1.
    fn uniform(&mut self) -> f64 {
        let bits = u32::try_from(self.next() >> 32).unwrap_or(u32::MAX);
        (f64::from(bits) + 1.0) / 4_294_967_296.0
    }

    fn normal(&mut self) -> f64 {
        let (radius, angle) = (self.uniform(), self.uniform());
        libm::sqrt(-2.0 * libm::log(radius)) * libm::cos(2.0 * std::f64::consts::PI * angle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: OutlierStrategy = OutlierStrategy::Keep;

    fn points(values: &[f64]) -> Points {
        let raw: Vec<_> = values.iter().copied().map(Some).collect();
        Points::new(&raw, NanStrategy::Remove, KEEP)
    }

    #[test]
    fn quantiles_are_those_of_type_seven() {
        let sorted = [1.0, 2.0, 4.0, 8.0, 16.0];
        for (share, expected) in [
            (0.0, 1.0),
            (0.01, 1.04),
            (0.25, 2.0),
            (0.5, 4.0),
            (0.75, 8.0),
            (0.9, 12.8),
            (0.99, 15.68),
            (1.0, 16.0),
        ] {
            let found = quantile(&sorted, share).unwrap();
            assert!((found - expected).abs() < 1e-12, "{share}: {found}");
        }
        assert_eq!(quantile(&[7.0], 0.99), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn missing_points_are_removed_or_zero() {
        let raw = [
            Some(2.0),
            None,
            Some(f64::NAN),
            Some(f64::INFINITY),
            Some(-1.0),
        ];
        let removed = Points::new(&raw, NanStrategy::Remove, KEEP);
        assert_eq!((removed.sorted, removed.missing), (vec![-1.0, 2.0], 3));
        let replaced = Points::new(&raw, NanStrategy::Replace, KEEP);
        assert_eq!(
            (replaced.sorted, replaced.missing),
            (vec![-1.0, 0.0, 0.0, 0.0, 2.0], 3)
        );
    }

    /// Returns how many of 300 points from 0 to 9, and the given ones, are outliers.
    fn outliers(others: &[f64], factor: f64) -> usize {
        let usual = (0..300).map(|value| Some(f64::from(value % 10)));
        let raw: Vec<_> = usual.chain(others.iter().copied().map(Some)).collect();
        let cleaned = Points::new(
            &raw,
            NanStrategy::Remove,
            OutlierStrategy::Remove { factor },
        );
        assert_eq!(cleaned.sorted.len() + cleaned.outliers, raw.len());
        cleaned.outliers
    }

    #[test]
    fn only_what_is_beyond_both_fences_is_an_outlier() {
        // The quartiles are 2 and 7, so that the fences are at -13 and 22.
        for (others, expected) in [
            (&[22.0, -13.0][..], 0),
            (&[22.1], 1),
            (&[-13.1], 1),
            (&[1e9, -1e9], 2),
            // More than one point in a hundred is no exception any more.
            (&[1e9, 1e9, 1e9, 1e9, 1e9], 0),
            (&[-1e9, -1e9, -1e9, -1e9, -1e9], 0),
        ] {
            assert_eq!(outliers(others, 3.0), expected, "{others:?}");
        }
        assert_eq!(outliers(&[22.1, -13.1], 4.0), 0);
        let kept = Points::new(&[Some(0.0), Some(1e9)], NanStrategy::Remove, KEEP);
        assert_eq!((kept.outliers, kept.sorted.len()), (0, 2));
    }

    #[test]
    fn noise_is_small_and_always_the_same() {
        let constant = points(&[100.0; 50]);
        let blurred = constant.blurred(1);
        assert_eq!(blurred, constant.blurred(1));
        assert_ne!(blurred, constant.blurred(2));
        let summary = blurred.summary();
        assert!((summary.mean.unwrap() - 100.0).abs() < 1e-3);
        assert!((summary.std.unwrap() - 1e-3).abs() < 3e-4, "{summary:?}");
        assert_eq!(points(&[0.0; 5]).blurred(1), points(&[0.0; 5]));
    }

    #[test]
    fn a_summary_without_points_has_no_figures() {
        assert_eq!(Points::default().summary(), Summary::default());
        let two = points(&[1.0, 3.0]).summary();
        assert_eq!(
            (two.mean, two.min, two.max),
            (Some(2.0), Some(1.0), Some(3.0))
        );
        assert!((two.std.unwrap() - std::f64::consts::SQRT_2).abs() < 1e-15);
        assert_eq!(points(&[5.0]).summary().std, None);
    }
}
