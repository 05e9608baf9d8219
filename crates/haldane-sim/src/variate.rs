//! Draws from distributions: counts and times as chance has them.
//!
//! Large counts are drawn by Hörmann's transformed rejection ("The transformed rejection method for generating Poisson random variables",
//! 1993, algorithm PTRS; "The generation of binomial random variates", 1993, algorithm BTRS): exact in the tails, which is where false
//! alarms are.

use crate::chance::Chance;

/// From this mean on, transformed rejection is the faster way, and valid.
const REJECTION_MEAN_MIN: f64 = 12.0;

/// The most candidates; each is taken with a chance of about 0.85, so that the last is never reached.
const CANDIDATES_MAX: u32 = 1_000;

/// Draws the number of independent events where so many are expected.
pub(crate) fn poisson(mean: f64, chance: &mut Chance) -> u64 {
    if mean > REJECTION_MEAN_MIN {
        return poisson_of_many(mean, chance);
    }
    // The number of independent gaps that fit.
    let (mut count, mut used) = (0_u64, exponential(chance));
    while used < mean {
        count = count.saturating_add(1);
        used += exponential(chance);
    }
    count
}

/// Draws how many of `count` happen, each with the chance `share`.
pub(crate) fn binomial(count: u64, share: f64, chance: &mut Chance) -> u64 {
    if share > 0.5 {
        return count.saturating_sub(binomial(count, 1.0 - share, chance));
    }
    if share <= 0.0 {
        return 0;
    }
    if count as f64 * share > REJECTION_MEAN_MIN {
        return binomial_of_many(count as f64, share, chance);
    }
    // From one hit to the next: gaps are geometric.
    let scale = -libm::log1p(-share);
    let (mut hits, mut at) = (0_u64, exponential(chance) / scale);
    while at < count as f64 {
        hits = hits.saturating_add(1);
        at = libm::floor(at) + 1.0 + exponential(chance) / scale;
    }
    hits
}

/// Draws how often a trial fails before its first success, each with the chance `share` of success.
pub(crate) fn geometric(share: f64, chance: &mut Chance) -> u64 {
    if share >= 1.0 {
        return 0;
    }
    to_count(libm::floor(
        exponential(chance) / -libm::log1p(-share.max(f64::MIN_POSITIVE)),
    ))
}

/// Draws from the standard normal distribution.
pub(crate) fn normal(chance: &mut Chance) -> f64 {
    let radius = libm::sqrt(2.0 * exponential(chance));
    radius * libm::cos(std::f64::consts::TAU * unit(chance))
}

/// Returns the nearest count; none below zero.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded, at least zero, and far below 2⁵³"
)]
pub(crate) fn to_count(number: f64) -> u64 {
    libm::round(number).max(0.0) as u64
}

fn poisson_of_many(mean: f64, chance: &mut Chance) -> u64 {
    let b = 0.931 + 2.53 * libm::sqrt(mean);
    let a = -0.059 + 0.024_83 * b;
    let inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
    let sure = 0.9277 - 3.6224 / (b - 2.0);
    for _ in 0..CANDIDATES_MAX {
        let (u, v) = (unit(chance) - 0.5, unit(chance));
        let edge = 0.5 - u.abs();
        let k = libm::floor((2.0 * a / edge + b) * u + mean + 0.43);
        if edge >= 0.07 && v <= sure {
            return to_count(k);
        }
        if k < 0.0 || (edge < 0.013 && v > edge) {
            continue;
        }
        let height = libm::log(v * inverse_alpha / (a / (edge * edge) + b));
        if height <= k * libm::log(mean) - mean - libm::lgamma(k + 1.0) {
            return to_count(k);
        }
    }
    to_count(mean)
}

fn binomial_of_many(count: f64, share: f64, chance: &mut Chance) -> u64 {
    let deviation = libm::sqrt(count * share * (1.0 - share));
    let b = 1.15 + 2.53 * deviation;
    let a = -0.0873 + 0.0248 * b + 0.01 * share;
    let center = count * share + 0.5;
    let alpha = (2.83 + 5.1 / b) * deviation;
    let sure = 0.92 - 4.2 / b;
    let mode = libm::floor((count + 1.0) * share);
    let odds = libm::log(share / (1.0 - share));
    let ways = |k: f64| libm::lgamma(k + 1.0) + libm::lgamma(count - k + 1.0);
    let ways_of_mode = ways(mode);
    for _ in 0..CANDIDATES_MAX {
        let (u, v) = (unit(chance) - 0.5, unit(chance));
        let edge = 0.5 - u.abs();
        let k = libm::floor((2.0 * a / edge + b) * u + center);
        if k < 0.0 || k > count {
            continue;
        }
        if edge >= 0.07 && v <= sure {
            return to_count(k);
        }
        let height = libm::log(v * alpha / (a / (edge * edge) + b));
        if height <= ways_of_mode - ways(k) + (k - mode) * odds {
            return to_count(k);
        }
    }
    to_count(count * share)
}

/// Draws from 0 (excluded) to 1 (included), of 2⁵³ equally likely numbers.
pub(crate) fn unit(chance: &mut Chance) -> f64 {
    (chance.next() >> 11).saturating_add(1) as f64 / (1_u64 << 53) as f64
}

fn exponential(chance: &mut Chance) -> f64 {
    -libm::log(unit(chance))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: u32 = 40_000;

    #[test]
    fn draws_have_the_mean_and_the_spread_of_their_distribution() {
        let mut chance = Chance::new(1, 1);
        let mut check =
            |name: &str, mean: f64, variance: f64, draw: &dyn Fn(&mut Chance) -> u64| {
                let draws: Vec<f64> = (0..DRAWS).map(|_| draw(&mut chance) as f64).collect();
                let found = draws.iter().sum::<f64>() / f64::from(DRAWS);
                let spread =
                    draws.iter().map(|draw| (draw - found).powi(2)).sum::<f64>() / f64::from(DRAWS);
                // More than four standard errors.
                assert!(
                    (found - mean).abs() < 0.025 * variance.sqrt(),
                    "{name}: mean {found}"
                );
                assert!(
                    (spread / variance - 1.0).abs() < 0.06,
                    "{name}: variance {spread}"
                );
            };
        check("few requests", 3.0, 3.0, &|chance| poisson(3.0, chance));
        check("some requests", 12.5, 12.5, &|chance| poisson(12.5, chance));
        check("many requests", 900.0, 900.0, &|chance| {
            poisson(900.0, chance)
        });
        check("rare", 1.0, 0.99, &|chance| binomial(100, 0.01, chance));
        check("frequent", 8.0, 1.6, &|chance| binomial(10, 0.8, chance));
        check("some hits", 13.0, 12.831, &|chance| {
            binomial(1_000, 0.013, chance)
        });
        check("many hits", 400.0, 240.0, &|chance| {
            binomial(1_000, 0.4, chance)
        });
        check("failures before", 2.0, 6.0, &|chance| {
            geometric(1.0 / 3.0, chance)
        });
        assert_eq!(
            (binomial(7, 0.0, &mut chance), binomial(7, 1.0, &mut chance)),
            (0, 7)
        );
    }

    /// The tails by the distribution's own sums; a normal distribution would have 0.00135 beyond three deviations on either side.
    #[test]
    fn tails_are_those_of_the_distribution_and_not_of_a_normal_one() {
        let mut chance = Chance::new(2, 1);
        let share = |draw: &mut dyn FnMut() -> u64, is_far: &dyn Fn(u64) -> bool| {
            f64::from((0..200_000).map(|_| u32::from(is_far(draw()))).sum::<u32>()) / 200_000.0
        };
        // P(X ≥ 37) = 0.000 423 and P(X ≤ 6) = 0.000 255 at a mean of 20.
        let high = share(&mut || poisson(20.0, &mut chance), &|count| count >= 37);
        assert!((0.000_22..0.000_6).contains(&high), "{high}");
        let low = share(&mut || poisson(20.0, &mut chance), &|count| count <= 6);
        assert!((0.000_11..0.000_4).contains(&low), "{low}");
        // P(X ≥ 37) = 0.000 393 at 2,000 of 1 %.
        let high = share(&mut || binomial(2_000, 0.01, &mut chance), &|count| {
            count >= 37
        });
        assert!((0.000_2..0.000_6).contains(&high), "{high}");
    }
}
