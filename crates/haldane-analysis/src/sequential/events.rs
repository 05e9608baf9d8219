//! The evidence on one metric of events among exposures: ratios, counters, conversions, and limits.
//!
//! **Invariant:** each batch is bet on with what earlier batches told: its dispersion, and stable's share.

use serde::{Deserialize, Serialize};

use super::{
    absolute::{self, Limit, Recent},
    bernoulli,
    config::{Against, Direction, Kind, Metric},
    count::{self, Edge},
    dispersion::{self, Clumps, Slots},
    full::{Frozen, Time},
    interval::Likelihood,
    noninferiority::{self, Accept},
    real::real,
    tally::{Arms, Closing, Counts, Pair},
    wealth::{Cash, STAKE_SUSPECT, Wealth},
};

/// How many exposures of stable must be known before shares are bet on: a guess made of nothing loses much in the first batch.
const KNOWN_MIN: u64 = 30;

/// The largest share of which late events are taken for that: nearer to 1 all batches are full, and nothing would be told.
const LATE_SHARE_MAX: f64 = 0.95;

/// The evidence on one metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Events {
    /// The open batch.
    pub(crate) open: Pair,
    /// All that was compared.
    pub(crate) total: Pair,
    /// All that is known of stable.
    pub(crate) known: Counts,
    slots: Slots,
    clumps: Clumps,
    pub(crate) cash: Cash,
    pub(crate) harm: Wealth<8>,
    pub(crate) accept: Accept,
    pub(crate) likelihood: Likelihood,
    pub(crate) frozen: Frozen,
    /// What both did lately, where there is a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recent: Option<Recent>,
}

/// How a metric of events is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    /// As rare events, against stable.
    Rare(Edge),
    /// As a share that may rise, against stable.
    Rises(Edge),
    /// As a share that may fall, against stable.
    Falls(Edge),
    /// Against a limit.
    Limit(Limit),
}

impl Form {
    pub(crate) fn of(metric: &Metric) -> Self {
        let edge = metric.harm();
        match (metric.against, metric.kind, metric.direction) {
            (Against::Limit(_), Kind::Conversion, Direction::LowerIsWorse) => {
                Self::Limit(Limit::Falls(edge.slack))
            }
            (Against::Limit(_), Kind::Conversion, Direction::HigherIsWorse) => {
                Self::Limit(Limit::Rises(edge.slack))
            }
            // Its complement is counted.
            (Against::Limit(_), _, Direction::LowerIsWorse) => {
                Self::Limit(Limit::Rare(1.0 - edge.slack))
            }
            (Against::Limit(_), _, Direction::HigherIsWorse) => {
                Self::Limit(Limit::Rare(edge.slack))
            }
            (Against::Stable(_), Kind::Conversion, Direction::LowerIsWorse) => Self::Falls(edge),
            (Against::Stable(_), Kind::Conversion, Direction::HigherIsWorse) => Self::Rises(edge),
            (
                Against::Stable(_),
                Kind::Ratio | Kind::Counter | Kind::Latency | Kind::Gauge,
                Direction::LowerIsWorse | Direction::HigherIsWorse,
            ) => Self::Rare(edge),
        }
    }

    /// Returns how the stake is spread over the guesses.
    pub(crate) const fn prior(self) -> [f64; 8] {
        match self {
            Self::Rare(_) | Self::Limit(Limit::Rare(_)) => count::PRIOR,
            Self::Rises(_) | Self::Limit(Limit::Rises(_)) => bernoulli::RISES_PRIOR,
            Self::Falls(_) | Self::Limit(Limit::Falls(_)) => [0.125; 8],
        }
    }

    /// Returns the logarithms of the factors of the bets on harm.
    pub(crate) fn harm(self, arms: &Arms, share: f64, phi: f64) -> [f64; 8] {
        match self {
            Self::Rare(edge) => count::logs(arms, edge, &count::GUESSES, phi),
            Self::Limit(Limit::Rare(limit)) => absolute::logs(arms, limit, &count::GUESSES, phi),
            Self::Limit(Limit::Rises(limit)) => {
                bernoulli::RISES.map(|guess| absolute::share_log(arms, limit, guess.ratio, phi))
            }
            Self::Limit(Limit::Falls(limit)) => bernoulli::DROPS
                .map(|odds_ratio| absolute::share_log(arms, limit, 1.0 / odds_ratio, phi)),
            Self::Rises(edge) => bernoulli::RISES
                .map(|guess| bernoulli::rise(arms, share, guess.ratio, edge.ratio) / phi),
            Self::Falls(edge) => bernoulli::DROPS
                .map(|odds_ratio| bernoulli::drop(arms, share, odds_ratio, edge.ratio) / phi),
        }
    }

    /// Returns the logarithms of the factors of the bets that the canary is fine.
    pub(crate) fn accept(self, arms: &Arms, pass: Edge, share: f64, phi: f64) -> [f64; 6] {
        match self {
            Self::Rare(_) | Self::Rises(_) | Self::Limit(_) => {
                count::logs(arms, pass, &noninferiority::GUESSES, phi)
            }
            Self::Falls(_) => bernoulli::KEEPS
                .map(|odds_ratio| bernoulli::rise(arms, share, odds_ratio, pass.ratio) / phi),
        }
    }
}

impl Form {
    /// Returns the least dispersion where events come later than their exposures.
    ///
    /// The `k` events of a batch are then those of earlier exposures and independent of its `n`: of `k − p·n` the variance is `n·(p + p²)`. The forms
    /// expect `n·p·(1 − p)` of a share, and `n·p` of rare events.
    fn late(self, share: f64) -> f64 {
        let share = share.clamp(0.0, LATE_SHARE_MAX);
        match self {
            Self::Rises(_) | Self::Falls(_) => (1.0 + share) / (1.0 - share),
            Self::Rare(_) | Self::Limit(_) => 1.0 + share,
        }
    }
}

impl Events {
    /// Nothing seen.
    pub(crate) fn new() -> Self {
        Self {
            open: Pair::default(),
            total: Pair::default(),
            known: Counts::default(),
            slots: Slots::NONE,
            clumps: Clumps::NONE,
            cash: Cash::ALL,
            harm: Wealth::NONE,
            accept: Accept::NONE,
            likelihood: Likelihood::NONE,
            frozen: Frozen::NONE,
            recent: None,
        }
    }

    /// Returns stable's and the canary's share of late where both break the limit.
    pub(crate) fn shared(&self, metric: &Metric) -> Option<[Option<u64>; 2]> {
        let Form::Limit(limit) = Form::of(metric) else {
            return None;
        };
        let recent = self.recent.filter(|recent| recent.is_shared(limit))?;
        Some(recent.shares())
    }

    /// Returns what the evidence of harm is worth.
    pub(crate) fn worth(&self) -> f64 {
        self.harm.sum() + self.cash.left()
    }

    /// Returns the dispersion that the next batch is tempered by.
    pub(crate) fn phi(&self, metric: &Metric) -> f64 {
        let index = self.clumps.index(&self.slots);
        if !metric.late {
            return dispersion::phi(index, &self.slots, metric.clumping());
        }
        // What is known already is no sign of more.
        let late = Form::of(metric).late(self.share());
        late * dispersion::phi(index / late, &self.slots, metric.clumping())
    }

    /// Returns stable's share as known so far.
    pub(crate) fn share(&self) -> f64 {
        bernoulli::estimate(real(self.known.events), real(self.known.exposure))
    }

    /// Ends the open batch, unless it goes on, and says what the evidence against a canary alone is worth.
    pub(crate) fn close(
        &mut self,
        metric: &Metric,
        closing: Closing,
        time: Time,
        level: f64,
    ) -> Option<f64> {
        let form = Form::of(metric);
        let phi = self.phi(metric);
        let open = self.open;
        let arms = open.arms();
        let mut alone = None;
        if let (Form::Limit(_), true) = (form, closing != Closing::Open) {
            let recent = self.recent.get_or_insert(Recent::NONE);
            recent.add(&arms, time.seconds);
        }
        match closing {
            Closing::Open => return None,
            Closing::Compare => self.compare(metric, form, phi, time),
            Closing::Alone | Closing::Apart => {
                if let Form::Limit(_) = form {
                    self.bet(form, &arms, phi, time);
                    self.total.canary.add(open.canary);
                } else if closing == Closing::Alone && metric.can_fall_back() {
                    alone = Some(self.frozen.alone(&arms, metric.harm(), phi, time, level));
                }
            }
        }
        self.known.add(open.stable);
        let turn = self.slots.add(open.stable.exposure, time.seconds);
        self.clumps.add(open.stable.events, turn);
        self.open = Pair::default();
        alone
    }

    /// Forgets the evidence that the canary is fine.
    pub(crate) const fn refresh(&mut self) {
        self.accept = Accept::NONE;
    }

    /// Bets half of the cash on a fault that begins now, and forgets the evidence that the canary is fine.
    pub(crate) fn suspect(&mut self, metric: &Metric) {
        let stake = self.cash.part(STAKE_SUSPECT);
        self.harm.grow(stake, Form::of(metric).prior(), &[0.0; 8]);
        self.refresh();
        self.frozen = Frozen::NONE;
    }

    fn compare(&mut self, metric: &Metric, form: Form, phi: f64, time: Time) {
        let open = self.open;
        let is_share = matches!(form, Form::Rises(_) | Form::Falls(_));
        if is_share && self.known.exposure < KNOWN_MIN {
            return;
        }
        let arms = open.arms();
        self.bet(form, &arms, phi, time);
        if let Some(pass) = metric.pass() {
            let logs = form.accept(&arms, pass, self.share(), phi);
            self.accept.grow(&logs);
        }
        self.likelihood.add(open, phi);
        self.total.add(open);
        self.frozen.beside(open.stable);
    }

    fn bet(&mut self, form: Form, arms: &Arms, phi: f64, time: Time) {
        let is_excused = match (form, self.recent) {
            (Form::Limit(limit), Some(recent)) => recent.excuses(limit, arms),
            _ => false,
        };
        if arms.canary_n <= 0.0 || is_excused {
            return;
        }
        let logs = form.harm(arms, self.share(), phi);
        let stake = self.cash.stake(time.seconds, time.horizon_seconds);
        self.harm.grow(stake, form.prior(), &logs);
    }
}
