//! Latencies: log-normal, slow in the tail, or slow by the connection, and seen in the buckets of a histogram.

use super::fleet::Cold;
use crate::{chance::Chance, variate::binomial};

/// How quickly versions answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency {
    /// Stable's median.
    pub median_us: f64,
    /// The standard deviation of the logarithm.
    pub sigma: f64,
    /// The canary's latencies are this multiple of stable's.
    pub scale: f64,
    /// And take so much longer.
    pub shift_us: f64,
    /// How cold the canary's replicas are at first.
    pub cold: Option<Cold>,
    /// This share of the canary's requests takes ten times as long.
    pub tail: f64,
    /// The upper bounds of the histogram's buckets, ascending, without the last, unbounded one.
    pub bounds_us: Vec<u64>,
    /// Whether requests are slow together; both versions have this.
    pub connections: Option<Connections>,
}

/// Requests of one connection, which are all slow or none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Connections {
    /// How many requests of a second share a connection.
    pub requests: u32,
    /// The share of connections that are slow, 0 to 1.
    pub slow: f64,
    /// The multiple that a request takes on a slow connection.
    pub factor: f64,
}

/// How likely a latency is to be in each bucket, given that it is in none before.
pub(super) struct Shares {
    usual: Vec<f64>,
    slow: Option<(Connections, Vec<f64>)>,
}

impl Latency {
    /// Returns the latencies of the reference: a median of 100 ms, a 95th percentile of 268 ms and a 99th of 404 ms, of both versions alike.
    #[must_use]
    pub const fn usual(bounds_us: Vec<u64>) -> Self {
        Self {
            median_us: 100_000.0,
            sigma: 0.6,
            scale: 1.0,
            shift_us: 0.0,
            cold: None,
            tail: 0.0,
            bounds_us,
            connections: None,
        }
    }

    /// Returns the bounds of Istio's classic histograms.
    #[must_use]
    pub fn istio() -> Vec<u64> {
        [1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000]
            .map(|ms: u64| ms.saturating_mul(1_000))
            .to_vec()
    }

    /// Returns bounds as native histograms have them: each a factor of √2 above the one before, from 4 ms to 16 s.
    #[must_use]
    pub fn native() -> Vec<u64> {
        (4..=28)
            .map(|half: u32| crate::variate::to_count(1_000.0 * libm::exp2(f64::from(half) / 2.0)))
            .collect()
    }

    /// Returns the bounds of Haldane's own proxy from 2 to 131 ms: sixteen to each power of two.
    #[must_use]
    pub fn proxy() -> Vec<u64> {
        let powers = (11..17).map(|power: u32| 1_u64 << power);
        let bounds =
            powers.flat_map(|low| (0..16).map(move |part| low.saturating_add(low / 16 * part)));
        bounds.chain([1 << 17]).collect()
    }

    pub(super) fn stable_shares(&self) -> Shares {
        self.shares(Slowness::NONE)
    }

    pub(super) fn canary_shares(&self) -> Shares {
        self.shares(self.canary())
    }

    /// Returns the canary's shares so many seconds after replicas began, `None` once they are warm.
    pub(super) fn cold_shares(&self, age: u32) -> Option<Shares> {
        let canary = self.canary();
        let factor = self.cold?.after(age)?;
        Some(self.shares(canary.times(factor)))
    }

    const fn canary(&self) -> Slowness {
        Slowness {
            scale: self.scale,
            shift_us: self.shift_us,
            tail: self.tail,
        }
    }

    /// Returns the shares of stable's and of the canary's latencies above each bound, of all connections together: of a warm canary, and without
    /// the shift, which is within the leeway.
    pub(super) fn above(&self) -> Vec<(f64, f64)> {
        let above = |bound: u64, slowness: Slowness| {
            let at = |slowness: Slowness| 1.0 - self.up_to(bound, slowness);
            self.connections.map_or_else(
                || at(slowness),
                |slow| {
                    (1.0 - slow.slow) * at(slowness) + slow.slow * at(slowness.times(slow.factor))
                },
            )
        };
        let canary = Slowness {
            shift_us: 0.0,
            ..self.canary()
        };
        let both = |&bound: &u64| (above(bound, Slowness::NONE), above(bound, canary));
        self.bounds_us.iter().map(both).collect()
    }

    fn shares(&self, slowness: Slowness) -> Shares {
        Shares {
            usual: self.buckets(slowness),
            slow: self
                .connections
                .map(|slow| (slow, self.buckets(slowness.times(slow.factor)))),
        }
    }

    fn buckets(&self, slowness: Slowness) -> Vec<f64> {
        let mut below = 0.0;
        let bounded = self.bounds_us.iter().map(|&bound| {
            let upto = self.up_to(bound, slowness);
            let rest = 1.0 - below;
            let share = if rest > 0.0 {
                ((upto - below) / rest).clamp(0.0, 1.0)
            } else {
                1.0
            };
            below = upto;
            share
        });
        bounded.chain([1.0]).collect()
    }

    fn up_to(&self, bound: u64, slowness: Slowness) -> f64 {
        let Slowness {
            scale,
            shift_us,
            tail,
        } = slowness;
        let left = (bound as f64 - shift_us).max(0.0);
        let of = |scale: f64| {
            let deviations = libm::log(left / (self.median_us * scale)) / self.sigma;
            0.5 * libm::erfc(-deviations / std::f64::consts::SQRT_2)
        };
        (1.0 - tail) * of(scale) + tail * of(scale * 10.0)
    }
}

/// What latencies are, compared with stable's.
#[derive(Clone, Copy)]
struct Slowness {
    scale: f64,
    shift_us: f64,
    tail: f64,
}

impl Slowness {
    /// Stable's own.
    const NONE: Self = Self {
        scale: 1.0,
        shift_us: 0.0,
        tail: 0.0,
    };

    fn times(self, factor: f64) -> Self {
        Self {
            scale: self.scale * factor,
            ..self
        }
    }
}

impl Shares {
    /// Draws the buckets of so many requests.
    pub(super) fn draw(&self, requests: u64, chance: &mut Chance) -> Vec<u64> {
        let Some((connections, buckets)) = &self.slow else {
            return multinomial(requests, &self.usual, chance);
        };
        let slow = connections.draw(requests, chance);
        let mut counts = multinomial(requests.saturating_sub(slow), &self.usual, chance);
        for (count, more) in counts.iter_mut().zip(multinomial(slow, buckets, chance)) {
            *count = count.saturating_add(more);
        }
        counts
    }
}

impl Connections {
    /// Draws how many of these requests are on slow connections.
    fn draw(self, requests: u64, chance: &mut Chance) -> u64 {
        let each = u64::from(self.requests.max(1));
        let full = binomial(requests / each, self.slow, chance).saturating_mul(each);
        let rest = binomial(1, self.slow, chance).saturating_mul(requests % each);
        full.saturating_add(rest)
    }
}

fn multinomial(requests: u64, shares: &[f64], chance: &mut Chance) -> Vec<u64> {
    let mut rest = requests;
    let drawn = shares.iter().map(|&share| {
        let count = binomial(rest, share, chance);
        rest = rest.saturating_sub(count);
        count
    });
    drawn.collect()
}

/// Returns the quantile of counts in buckets as Prometheus' `histogram_quantile` does: linear within a bucket, and the highest bound where
/// the rank lies beyond it. `None` without counts.
pub(super) fn quantile(bounds_us: &[u64], counts: &[u64], share: f64) -> Option<f64> {
    let all: u64 = counts.iter().sum();
    let rank = share * all as f64;
    let (mut below, mut lower) = (0_u64, 0_u64);
    for (&upper, &count) in bounds_us.iter().zip(counts) {
        let upto = below.saturating_add(count);
        if all > 0 && upto as f64 >= rank {
            let part = (rank - below as f64) / count.max(1) as f64;
            return Some(lower as f64 + (upper as f64 - lower as f64) * part);
        }
        (below, lower) = (upto, upper);
    }
    (all > 0).then_some(lower as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_latencies_are_those_of_the_reference() {
        let mut latency = Latency::usual(vec![100_000, 268_300, 403_800]);
        for ((stable, canary), expected) in latency.above().into_iter().zip([0.5, 0.05, 0.01]) {
            assert!((stable - expected).abs() < 1e-4, "{stable}");
            assert_eq!(stable.to_bits(), canary.to_bits());
        }
        latency.scale = 2.0;
        latency.bounds_us = vec![200_000];
        assert!((latency.above()[0].1 - 0.5).abs() < 1e-9);
        // Half above the median, and of the tail nearly all.
        (latency.scale, latency.tail) = (1.0, 0.2);
        latency.bounds_us = vec![100_000];
        let expected = 0.8 * 0.5 + 0.2 * 0.999_938;
        assert!((latency.above()[0].1 - expected).abs() < 1e-5);
    }

    #[test]
    fn drawn_latencies_have_the_shares_of_the_buckets() {
        let mut latency = Latency::usual(Latency::istio());
        (latency.scale, latency.tail) = (1.5, 0.02);
        let connections = Connections {
            requests: 10,
            slow: 0.1,
            factor: 4.0,
        };
        for connections in [None, Some(connections)] {
            latency.connections = connections;
            let mut chance = Chance::new(7, 1);
            let mut sums = vec![0_u64; latency.bounds_us.len() + 1];
            for _ in 0..4_000 {
                let drawn = latency.canary_shares().draw(100, &mut chance);
                assert_eq!(drawn.iter().sum::<u64>(), 100);
                for (sum, count) in sums.iter_mut().zip(drawn) {
                    *sum += count;
                }
            }
            for (place, (_, expected)) in latency.above().into_iter().enumerate() {
                let above: u64 = sums.iter().skip(place + 1).sum();
                let found = above as f64 / 400_000.0;
                // Four standard errors of clumps of ten.
                let error = 4.0 * (10.0 * expected * (1.0 - expected) / 400_000.0).sqrt();
                assert!(
                    (found - expected).abs() <= error + 1e-9,
                    "{place}: {found}, {expected}"
                );
            }
        }
    }

    #[test]
    fn requests_of_one_connection_are_slow_together() {
        let connections = Connections {
            requests: 10,
            slow: 0.2,
            factor: 4.0,
        };
        let mut chance = Chance::new(3, 1);
        let counts: Vec<u64> = (0..20_000)
            .map(|_| connections.draw(100, &mut chance))
            .collect();
        assert!(counts.iter().all(|count| count % 10 == 0));
        let mean = counts.iter().sum::<u64>() as f64 / 20_000.0;
        let spread = counts
            .iter()
            .map(|&count| (count as f64 - mean).powi(2))
            .sum::<f64>()
            / 20_000.0;
        assert!((mean - 20.0).abs() < 0.4, "{mean}");
        // Ten times that of independent requests.
        assert!((spread / 160.0 - 1.0).abs() < 0.06, "{spread}");
        assert!((0..200).all(|_| connections.draw(7, &mut chance).is_multiple_of(7)));
    }

    #[test]
    fn quantiles_are_those_of_prometheus() {
        let check = |counts: &[u64], share: f64, expected: Option<f64>| {
            assert_eq!(
                quantile(&[100, 200, 400], counts, share),
                expected,
                "{counts:?}"
            );
        };
        check(&[10, 0, 0, 0], 0.5, Some(50.0));
        check(&[50, 40, 10, 0], 0.95, Some(300.0));
        check(&[50, 50, 0, 0], 0.5, Some(100.0));
        check(&[0, 0, 0, 5], 0.5, Some(400.0));
        check(&[0, 0, 0, 0], 0.5, None);
    }

    #[test]
    fn native_bounds_double_in_two() {
        let bounds = Latency::native();
        assert_eq!((bounds[0], bounds[1], bounds[2]), (4_000, 5_657, 8_000));
        assert_eq!(bounds.last(), Some(&16_384_000));
    }
}
