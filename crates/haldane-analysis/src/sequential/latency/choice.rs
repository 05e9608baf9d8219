//! The choice of latency bounds, from stable's latencies alone.

use serde::{Deserialize, Serialize};

use super::{BOUNDS_MAX, above, sum};
use crate::{
    sample::Bucket,
    sequential::{
        bernoulli,
        real::{Reals, ln, real},
    },
};

/// The most buckets kept while bounds are not chosen yet; neighbors are merged beyond it.
const BUCKETS_MAX: usize = 64;

/// How many latencies of stable a choice needs.
const CHOICE_MIN: u64 = 200;

/// From how many on, and after how many seconds, bounds are chosen although there is no canary yet, so that clumps can be learned at them.
const CHOICE_EARLY: (u64, f64) = (1_000, 60.0);

/// Which shares of stable's latencies may be above a bound.
const SHARES: (f64, f64) = (2e-4, 0.85);

/// The shares that bounds are chosen near to.
const TARGETS: [f64; BOUNDS_MAX] = [0.06, 0.01, 0.3, 0.002, 0.6, 0.0006];

/// How far from its target a bound may be, as a factor, in logarithms.
const NEAR: f64 = 0.9;

/// Stable's latencies, and for how many seconds they were counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Packed", into = "Packed")]
pub(crate) struct Learned {
    buckets: Vec<Bucket>,
    seconds: Reals<1>,
}

/// [`Learned`] as it is stored: buckets without names.
type Packed = (Reals<1>, Vec<(u64, u64, u64)>);

impl Learned {
    /// Nothing learned.
    pub(crate) const NONE: Self = Self {
        buckets: Vec::new(),
        seconds: Reals([0.0]),
    };

    /// Returns the latencies.
    pub(crate) fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// Adds latencies of that many seconds.
    pub(crate) fn add(&mut self, latencies: &[Bucket], seconds: f64) {
        for new in latencies {
            let holder = self
                .buckets
                .iter_mut()
                .find(|held| held.lower_us <= new.lower_us && new.upper_us <= held.upper_us);
            match holder {
                Some(held) => held.count = held.count.saturating_add(new.count),
                None => self.buckets.push(*new),
            }
        }
        self.buckets
            .sort_unstable_by_key(|bucket| (bucket.upper_us, bucket.lower_us));
        while self.buckets.len() > BUCKETS_MAX {
            self.buckets = coarser(&self.buckets);
        }
        let Reals([before]) = self.seconds;
        self.seconds = Reals([before + seconds]);
    }

    /// Chooses bounds, if enough is known, and says which of them to show; they ascend.
    pub(crate) fn choose(&self, is_canary: bool) -> Option<(Vec<u64>, u8)> {
        let count = sum(&self.buckets);
        let Reals([seconds]) = self.seconds;
        let is_early = count >= CHOICE_EARLY.0 && seconds >= CHOICE_EARLY.1;
        if count < CHOICE_MIN || !(is_canary || is_early) {
            return None;
        }
        let mut candidates = candidates(&self.buckets, count);
        let mut chosen: Vec<u64> = Vec::new();
        for target in TARGETS {
            let distance = |share: f64| (ln(share) - ln(target)).abs();
            let nearest = candidates
                .iter()
                .enumerate()
                .filter(|(_, (_, share))| distance(*share) < NEAR)
                .min_by(|(_, (_, a)), (_, (_, b))| distance(*a).total_cmp(&distance(*b)));
            if let Some((index, (us, _))) = nearest {
                chosen.push(*us);
                candidates.remove(index);
            }
        }
        // The first that was chosen is nearest to the 94th percentile, the one that people look at.
        let shown = chosen.first().copied()?;
        chosen.sort_unstable();
        let place = chosen.iter().position(|us| *us == shown)?;
        Some((chosen, u8::try_from(place).ok()?))
    }
}

impl From<Packed> for Learned {
    fn from((seconds, buckets): Packed) -> Self {
        let bucket = |(lower_us, upper_us, count)| Bucket {
            lower_us,
            upper_us,
            count,
        };
        Self {
            buckets: buckets.into_iter().map(bucket).collect(),
            seconds,
        }
    }
}

impl From<Learned> for Packed {
    fn from(learned: Learned) -> Self {
        let tuple = |bucket: Bucket| (bucket.lower_us, bucket.upper_us, bucket.count);
        let buckets = learned.buckets.into_iter().map(tuple);
        (learned.seconds, buckets.collect())
    }
}

/// Returns the bounds that could be chosen, with stable's share above each.
fn candidates(buckets: &[Bucket], count: u64) -> Vec<(u64, f64)> {
    let mut candidates: Vec<(u64, f64)> = buckets
        .iter()
        .filter(|bucket| bucket.upper_us < u64::MAX)
        .map(|bucket| (bucket.upper_us, above(buckets, bucket.upper_us, 0)))
        .filter(|(_, (surely, possibly))| surely == possibly)
        .map(|(us, (surely, _))| (us, bernoulli::estimate(real(surely), real(count))))
        .filter(|(_, share)| (SHARES.0..SHARES.1).contains(share))
        .collect();
    candidates.dedup_by_key(|(us, _)| *us);
    candidates
}

/// Returns the buckets with each two neighbors made one.
fn coarser(buckets: &[Bucket]) -> Vec<Bucket> {
    buckets
        .chunks(2)
        .filter_map(|chunk| {
            let (first, last) = (chunk.first()?, chunk.last()?);
            Some(Bucket {
                lower_us: first.lower_us.min(last.lower_us),
                upper_us: last.upper_us,
                count: sum(chunk),
            })
        })
        .collect()
}
