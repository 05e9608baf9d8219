//! Forecasts: how long will it take to know, at the traffic of now?
//!
//! Each bet grows by its expected logarithm in one second of such traffic; the soonest to reach its bound tells the time. Stable's rate is the
//! one known so far. It is an expectation, for people; no decision rests on it.

use super::{
    config::Metric,
    count,
    events::{Events, Form},
    latency::Latency,
    noninferiority::{self, Accept},
    real::{self, ln},
    tally::Arms,
};

/// Beyond this nothing is told.
const SECONDS_MAX: f64 = 86_400.0;

/// What is left of the stake for a bet on a fault that begins now.
const LATE_STAKE: f64 = 0.01;

/// The traffic in a second, and the levels to reach.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outlook {
    pub(crate) stable_per_second: f64,
    pub(crate) canary_per_second: f64,
    /// From what worth on harm is shown.
    pub(crate) harm: f64,
    /// From what worth on the canary is shown to be fine.
    pub(crate) fine: f64,
}

impl Outlook {
    /// Returns in how many seconds harm is shown, if the canary's rate is `effect` times stable's.
    pub(crate) fn of_events(&self, metric: &Metric, events: &Events, effect: f64) -> Option<u64> {
        let form = Form::of(metric);
        let share = events.share();
        let arms = self.arms(share, effect);
        let logs = form.harm(&arms, share, events.phi(metric));
        let bets = form.prior().map(|prior| prior * LATE_STAKE);
        soonest(&bets, &logs, self.harm)
    }

    /// Returns in how many seconds harm is shown, if `effect` times as many requests are slower than the bound shown.
    pub(crate) fn of_latency(
        &self,
        metric: &Metric,
        latency: &Latency,
        effect: f64,
    ) -> Option<u64> {
        let bound = latency.shown()?;
        let share = latency.share(bound);
        let arms = self.arms(share, effect);
        let phi = latency.phi(bound, metric);
        let logs = Latency::harm_logs(share, &arms, metric.harm(), phi);
        soonest(&[latency.prior() * LATE_STAKE; 8], &logs, self.harm)
    }

    /// Returns in how many seconds a canary like stable is shown to be fine.
    pub(crate) fn fine_events(&self, metric: &Metric, events: &Events) -> Option<u64> {
        let pass = metric.pass()?;
        let share = events.share();
        let arms = self.arms(share, 1.0);
        let logs = Form::of(metric).accept(&arms, pass, share, events.phi(metric));
        self.fine(&events.accept, &logs)
    }

    /// Returns in how many seconds a canary like stable is shown to be fine.
    pub(crate) fn fine_latency(&self, metric: &Metric, latency: &Latency) -> Option<u64> {
        let pass = metric.pass()?;
        let bound = latency.accepted(pass)?;
        let arms = self.arms(latency.share(bound), 1.0);
        let phi = latency.phi(bound, metric);
        let logs = count::logs(&arms, pass, &noninferiority::GUESSES, phi);
        self.fine(&bound.accept, &logs)
    }

    fn fine(&self, accept: &Accept, logs: &[f64; 6]) -> Option<u64> {
        if accept.best() >= self.fine {
            return Some(0);
        }
        soonest(&accept.bets(), logs, self.fine)
    }

    /// Returns what one second is expected to bring.
    fn arms(&self, share: f64, effect: f64) -> Arms {
        let canary_share = (share * effect).min(1.0);
        Arms {
            stable_n: self.stable_per_second,
            stable_k: self.stable_per_second * share,
            canary_n: self.canary_per_second,
            canary_k: self.canary_per_second * canary_share,
        }
    }
}

/// Returns in how many seconds the first of the bets alone reaches the bound.
fn soonest<const N: usize>(bets: &[f64; N], logs: &[f64; N], bound: f64) -> Option<u64> {
    let seconds = bets
        .iter()
        .zip(logs)
        .filter(|(bet, log)| **bet > 0.0 && **log > 0.0)
        .map(|(bet, log)| (ln(bound) - ln(*bet)).max(0.0) / log)
        .fold(f64::INFINITY, f64::min);
    (seconds <= SECONDS_MAX).then(|| real::count(libm::ceil(seconds)))?
}
