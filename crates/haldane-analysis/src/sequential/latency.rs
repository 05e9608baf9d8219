//! Latency: how many requests were slower than each of a few bounds?
//!
//! Above each bound the canary's and stable's exceedances are compared: as [rare events](super::count) where fewer than 10 % of stable's are
//! above it, else as [shares](super::bernoulli). The evidence is the mean over bounds and guesses, against "the canary is slower at none of
//! them". No quantile is interpolated anywhere, so buckets of any scheme do.
//!
//! The bounds are those of stable's own buckets, chosen once, from stable's latencies alone, where between 0.02 % and 85 % are above; at most
//! [`BOUNDS_MAX`], spread over that range. What of the canary is above a bound by no more than the [leeway](super::Leeway) is not counted against it, as
//! far as its buckets tell: near the middle of a narrow distribution the smallest shift moves a large share over a bound. While it is
//! [cold](super::warming) the leeway is wide, and its buckets must be sure of it. A bucket with a bound inside, as when the versions' schemes
//! differ, counts for the version that it would speak against: the canary's as faster, stable's as slower for a rollback, and the other way for
//! a pass. So differing schemes cost power, never a false rollback, and are told.
//!
//! **Invariant:** bounds never change once the canary was compared at them.

mod choice;
mod cold;

use serde::{Deserialize, Serialize};

pub(crate) use self::cold::Heat;
use self::{choice::Learned, cold::Cold};
use super::{
    bernoulli,
    config::Metric,
    count::{self, Edge},
    dispersion::{self, Clumps, Slots},
    full::{Frozen, Time},
    interval::Likelihood,
    noninferiority::{self, Accept},
    real::real,
    tally::{Arms, Closing, Pair},
    wealth::{Cash, STAKE_SUSPECT, Wealth},
};
use crate::sample::Bucket;

/// The most bounds.
pub const BOUNDS_MAX: usize = 6;

/// Below this share above a bound, exceedances are taken for rare events: the exact form would win a twentieth of the time and costs five times
/// as much.
const RARE: f64 = 0.1;

/// A margin for passing that allows this share allows everything.
const VACUOUS: f64 = 0.95;

/// The evidence on latency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// Stable's latencies while bounds are not chosen yet.
    learned: Learned,
    bounds: Vec<Bound>,
    /// Latencies of the open batch: stable's and the canary's.
    pub(crate) open: (u64, u64),
    /// Whether there are some of a cold canary among them.
    #[serde(default)]
    is_cold: bool,
    /// Latencies that were compared.
    pub(crate) total: (u64, u64),
    /// Stable's latencies that are known.
    known: u64,
    /// Compared latencies in buckets with a bound inside.
    across: u64,
    slots: Slots,
    pub(crate) cash: Cash,
    #[serde(default, skip_serializing_if = "Cold::is_none")]
    cold: Cold,
    /// Which bound is shown to people, and watched at full weight.
    shown: u8,
    pub(crate) likelihood: Likelihood,
    pub(crate) frozen: Frozen,
}

/// The evidence at one bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Packed", into = "Packed")]
pub(crate) struct Bound {
    /// The bound.
    pub(crate) us: u64,
    /// What is above it in the open batch: stable's surely and possibly, the canary's surely and possibly.
    open: [u64; 4],
    /// What was compared: stable's and the canary's surely above.
    total: [u64; 2],
    /// Stable's that are known.
    known: u64,
    clumps: Clumps,
    pub(crate) harm: Wealth<8>,
    pub(crate) accept: Accept,
}

/// A [`Bound`] as it is stored: without names, for there are several of them.
type Packed = (u64, [u64; 4], [u64; 2], u64, Clumps, Wealth<8>, Accept);

impl Latency {
    /// Nothing seen.
    pub(crate) const fn new() -> Self {
        Self {
            learned: Learned::NONE,
            bounds: Vec::new(),
            open: (0, 0),
            is_cold: false,
            total: (0, 0),
            known: 0,
            across: 0,
            slots: Slots::NONE,
            cash: Cash::ALL,
            cold: Cold::NONE,
            shown: 0,
            likelihood: Likelihood::NONE,
            frozen: Frozen::NONE,
        }
    }

    /// Returns the bound that is shown to people.
    pub(crate) fn shown(&self) -> Option<&Bound> {
        self.bounds.get(usize::from(self.shown))
    }

    /// Returns the bound that speaks most against the canary.
    fn worst(&self) -> Option<&Bound> {
        let worst = |a: &&Bound, b: &&Bound| a.harm.sum().total_cmp(&b.harm.sum());
        self.bounds.iter().max_by(worst)
    }

    /// Returns what was compared where harm shows: the bound, and what of both versions is above it. Of a cold canary only what is far above.
    pub(crate) fn harm(&self) -> Option<(&Bound, Pair)> {
        let worst = self.worst()?;
        if self.cold.worth() > worst.harm.sum() {
            return Some((self.shown()?, self.cold.total));
        }
        Some((worst, self.compared(worst)))
    }

    /// Returns what was compared at a bound.
    pub(crate) fn compared(&self, bound: &Bound) -> Pair {
        let [stable, canary] = bound.total;
        Pair::from([self.total.0, stable, self.total.1, canary])
    }

    /// Returns the share of compared latencies whose bucket has a bound inside, in percent.
    pub(crate) fn across_percent(&self) -> u64 {
        let all = self.total.0.saturating_add(self.total.1);
        u128::from(self.across)
            .saturating_mul(100)
            .checked_div(u128::from(all))
            .and_then(|percent| u64::try_from(percent).ok())
            .unwrap_or_default()
    }

    /// Returns what the evidence of harm is worth.
    pub(crate) fn worth(&self) -> f64 {
        let bets: f64 = self.bounds.iter().map(|bound| bound.harm.sum()).sum();
        bets + self.cold.worth() + self.cash.left()
    }

    /// Returns the worth of the evidence for the canary, at the bound where it is least; `None` if there is no bound to pass by.
    pub(crate) fn accepted(&self, pass: Edge) -> Option<&Bound> {
        let needed = self
            .bounds
            .iter()
            .filter(|bound| pass.ratio * self.share(bound) + pass.slack < VACUOUS);
        needed.min_by(|a, b| a.accept.best().total_cmp(&b.accept.best()))
    }

    /// Returns stable's share above the bound.
    pub(crate) fn share(&self, bound: &Bound) -> f64 {
        bernoulli::estimate(real(bound.known), real(self.known))
    }

    /// Returns the dispersion at the bound: its own, and at least the median of all bounds, which is surer than any of them alone. A pause
    /// that clumps only the slowest requests does not temper what is bet at the others.
    pub(crate) fn phi(&self, bound: &Bound, metric: &Metric) -> f64 {
        let index = bound.clumps.index(&self.slots).max(self.index());
        dispersion::phi(index, &self.slots, metric.clumping())
    }

    /// Returns the median index of dispersion of all bounds, the lower one of two.
    fn index(&self) -> f64 {
        let mut indexes = [0.0; BOUNDS_MAX];
        for (index, bound) in indexes.iter_mut().zip(&self.bounds) {
            *index = bound.clumps.index(&self.slots);
        }
        let count = self.bounds.len().min(BOUNDS_MAX);
        let (indexes, _) = indexes.split_at_mut(count);
        indexes.sort_unstable_by(f64::total_cmp);
        let middle = count.saturating_sub(1) / 2;
        indexes.get(middle).copied().unwrap_or(1.0)
    }

    /// Returns the logarithms of the factors at a bound, for harm.
    pub(crate) fn harm_logs(share: f64, arms: &Arms, edge: Edge, phi: f64) -> [f64; 8] {
        if share < RARE {
            count::logs(arms, edge, &bernoulli::RISES, phi)
        } else {
            bernoulli::RISES
                .map(|guess| bernoulli::rise(arms, share, guess.ratio, edge.ratio) / phi)
        }
    }

    /// Adds the latencies of both versions.
    pub(crate) fn add(&mut self, stable: &[Bucket], canary: &[Bucket], heat: Heat, seconds: f64) {
        let canary_n = sum(canary);
        if self.bounds.is_empty() {
            self.choose(canary_n > 0);
        }
        let stable_n = sum(stable);
        if self.bounds.is_empty() {
            if stable_n > 0 {
                self.learned.add(stable, seconds);
            }
            return;
        }
        self.open.0 = self.open.0.saturating_add(stable_n);
        self.open.1 = self.open.1.saturating_add(canary_n);
        let is_cold = matches!(heat, Heat::Cold(_));
        self.is_cold |= is_cold;
        let shown = usize::from(self.shown);
        for (index, bound) in self.bounds.iter_mut().enumerate() {
            let (stable, canary) = (above(stable, bound.us, 0), heat.above(canary, bound.us));
            let counts = [stable.0, stable.1, canary.0, canary.1];
            for (open, count) in bound.open.iter_mut().zip(counts) {
                *open = open.saturating_add(count);
            }
            if index == shown && canary_n > 0 && !is_cold {
                let across = (stable.1 - stable.0).saturating_add(canary.1 - canary.0);
                self.across = self.across.saturating_add(across);
            }
        }
    }

    /// Ends the open batch, unless it goes on, and says what the evidence against a canary alone is worth.
    pub(crate) fn close(
        &mut self,
        metric: &Metric,
        closing: Closing,
        time: Time,
        level: f64,
    ) -> Option<f64> {
        let mut alone = None;
        match closing {
            Closing::Open => return None,
            Closing::Compare if self.is_cold => self.compare_cold(metric),
            Closing::Compare => self.compare(metric, time),
            Closing::Alone => {
                if let Some(bound) = self.shown() {
                    let arms = bound.against(self.open);
                    let phi = self.phi(bound, metric);
                    alone = Some(self.frozen.alone(&arms, metric.harm(), phi, time, level));
                }
            }
            Closing::Apart => {}
        }
        let turn = self.slots.add(self.open.0, time.seconds);
        self.known = self.known.saturating_add(self.open.0);
        for bound in &mut self.bounds {
            let [stable, ..] = bound.open;
            bound.known = bound.known.saturating_add(stable);
            bound.clumps.add(stable, turn);
            bound.open = [0; 4];
        }
        self.open = (0, 0);
        self.is_cold = false;
        alone
    }

    /// Forgets the evidence that the canary is fine.
    pub(crate) fn refresh(&mut self) {
        for bound in &mut self.bounds {
            bound.accept = Accept::NONE;
        }
    }

    /// Bets half of the cash on a fault that begins now, and forgets the evidence that the canary is fine.
    pub(crate) fn suspect(&mut self) {
        let prior = self.prior();
        let stake = self.cash.part(STAKE_SUSPECT);
        for bound in &mut self.bounds {
            bound.harm.grow(stake, prior, &[0.0; 8]);
        }
        self.refresh();
        self.frozen = Frozen::NONE;
    }

    /// Returns how a stake is spread over the guesses at one bound.
    pub(crate) fn prior(&self) -> [f64; 8] {
        let bounds = u64::try_from(self.bounds.len().max(1)).unwrap_or(u64::MAX);
        bernoulli::RISES_PRIOR.map(|prior| prior / real(bounds))
    }

    /// Compares what there is of a cold canary.
    fn compare_cold(&mut self, metric: &Metric) {
        let Some(bound) = self.shown() else { return };
        let [_, stable, canary, _] = bound.open;
        let phi = self.phi(bound, metric);
        let batch = Pair::from([self.open.0, stable, self.open.1, canary]);
        self.cold.bet(&mut self.cash, batch, metric.harm(), phi);
    }

    fn compare(&mut self, metric: &Metric, time: Time) {
        self.cold.end(&mut self.cash);
        let prior = self.prior();
        let stake = self.cash.stake(time.seconds, time.horizon_seconds);
        let (edge, pass) = (metric.harm(), metric.pass());
        let open = self.open;
        let median = self.index();
        for (index, bound) in self.bounds.iter_mut().enumerate() {
            let dispersion = bound.clumps.index(&self.slots).max(median);
            let phi = dispersion::phi(dispersion, &self.slots, metric.clumping());
            let share = bernoulli::estimate(real(bound.known), real(self.known));
            let against = bound.against(open);
            let logs = Self::harm_logs(share, &against, edge, phi);
            bound.harm.grow(stake, prior, &logs);
            if let Some(pass) = pass {
                let logs = count::logs(&bound.toward(open), pass, &noninferiority::GUESSES, phi);
                bound.accept.grow(&logs);
            }
            let [stable, _, canary, _] = bound.open;
            let [total_stable, total_canary] = bound.total;
            bound.total = [
                total_stable.saturating_add(stable),
                total_canary.saturating_add(canary),
            ];
            if index == usize::from(self.shown) {
                let pair = Pair::from([open.0, stable, open.1, canary]);
                self.likelihood.add(pair, phi);
                self.frozen.beside(pair.stable);
            }
        }
        self.total.0 = self.total.0.saturating_add(open.0);
        self.total.1 = self.total.1.saturating_add(open.1);
    }

    /// Begins to compare at bounds, if enough is known to choose them.
    fn choose(&mut self, is_canary: bool) {
        let Some((bounds, shown)) = self.learned.choose(is_canary) else {
            return;
        };
        self.known = sum(self.learned.buckets());
        let bound = |us: u64| Bound::new(us, above(self.learned.buckets(), us, 0).0);
        self.bounds = bounds.into_iter().map(bound).collect();
        self.shown = shown;
        self.learned = Learned::NONE;
    }
}

impl Heat {
    /// Returns how many of the canary's latencies are surely above the bound, and how many possibly.
    fn above(self, canary: &[Bucket], us: u64) -> (u64, u64) {
        match self {
            Self::Warm(leeway) => above(canary, us, leeway.us(us)),
            Self::Cold(leeway) => above(canary, us.saturating_add(leeway.us(us)), 0),
        }
    }
}

impl Bound {
    const fn new(us: u64, known: u64) -> Self {
        Self {
            us,
            open: [0; 4],
            total: [0; 2],
            known,
            clumps: Clumps::NONE,
            harm: Wealth::NONE,
            accept: Accept::NONE,
        }
    }

    /// Returns the open batch, with what is undecided in favor of the canary.
    const fn against(&self, (stable_n, canary_n): (u64, u64)) -> Arms {
        let [_, stable, canary, _] = self.open;
        Arms {
            stable_n: real(stable_n),
            stable_k: real(stable),
            canary_n: real(canary_n),
            canary_k: real(canary),
        }
    }

    /// Returns the open batch, with what is undecided against the canary.
    const fn toward(&self, (stable_n, canary_n): (u64, u64)) -> Arms {
        let [stable, _, _, canary] = self.open;
        Arms {
            stable_n: real(stable_n),
            stable_k: real(stable),
            canary_n: real(canary_n),
            canary_k: real(canary),
        }
    }
}

impl From<Packed> for Bound {
    fn from((us, open, total, known, clumps, harm, accept): Packed) -> Self {
        Self {
            us,
            open,
            total,
            known,
            clumps,
            harm,
            accept,
        }
    }
}

impl From<Bound> for Packed {
    fn from(bound: Bound) -> Self {
        let Bound {
            us,
            open,
            total,
            known,
            clumps,
            harm,
            accept,
        } = bound;
        (us, open, total, known, clumps, harm, accept)
    }
}

fn sum(buckets: &[Bucket]) -> u64 {
    buckets
        .iter()
        .fold(0, |sum, bucket| sum.saturating_add(bucket.count))
}

/// Returns how many latencies are surely above the bound, and how many possibly; without those in buckets that end within the leeway.
fn above(buckets: &[Bucket], us: u64, leeway_us: u64) -> (u64, u64) {
    let (mut surely, mut possibly) = (0_u64, 0_u64);
    for bucket in buckets {
        if bucket.upper_us > us.saturating_add(leeway_us) {
            possibly = possibly.saturating_add(bucket.count);
            if bucket.lower_us >= us {
                surely = surely.saturating_add(bucket.count);
            }
        }
    }
    (surely, possibly)
}

#[cfg(test)]
mod tests;
