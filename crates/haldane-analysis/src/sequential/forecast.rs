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
    wealth::{Cash, Wealth},
};

/// Beyond this nothing is told.
const SECONDS_MAX: f64 = 86_400.0;

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
    /// Returns in how many seconds harm is shown, if the canary's rate is `effect` times stable's, or the limit.
    pub(crate) fn of_events(&self, metric: &Metric, events: &Events, effect: f64) -> Option<u64> {
        let form = Form::of(metric);
        let share = match form {
            Form::Limit(limit) => limit.share(),
            Form::Rare(_) | Form::Rises(_) | Form::Falls(_) => events.share(),
        };
        let arms = self.arms(share, effect);
        let logs = form.harm(&arms, share, events.phi(metric));
        let bets = capital(&events.harm, &events.cash, form.prior());
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
        let bets = capital(&bound.harm, &latency.cash, latency.prior());
        soonest(&bets, &logs, self.harm)
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

/// Returns what each bet has to grow from: what it is worth, or what can be bet on it anew.
fn capital(bets: &Wealth<8>, cash: &Cash, prior: [f64; 8]) -> [f64; 8] {
    let mut capital = prior.map(|prior| prior * cash.ready());
    for (capital, bet) in capital.iter_mut().zip(bets.bets()) {
        *capital = capital.max(bet);
    }
    capital
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The forecast of ten times as many errors at 1 % of 10 requests a second, of which the canary gets a twentieth.
    fn outlook(per_second: f64) -> Outlook {
        Outlook {
            stable_per_second: per_second * 0.95,
            canary_per_second: per_second * 0.05,
            harm: 100.0,
            fine: 20.0,
        }
    }

    fn known() -> Events {
        let mut events = Events::new();
        events.known.exposure = 100_000;
        events.known.events = 1_000;
        events
    }

    #[test]
    fn a_forecast_is_near_what_is_simulated() {
        let (metric, events) = (Metric::errors(), known());
        // The median that simulation finds is 91 s; without any loss to the choice of guesses it would be 80 s.
        let seconds = outlook(10.0).of_events(&metric, &events, 10.0);
        assert!(
            seconds.is_some_and(|seconds| (85..120).contains(&seconds)),
            "{seconds:?}"
        );
        let more = outlook(1_000.0).of_events(&metric, &events, 10.0);
        assert!(more.is_some_and(|seconds| seconds <= 2), "{more:?}");
    }

    #[test]
    fn what_can_not_be_told_within_a_day_is_not_told() {
        let (metric, events) = (Metric::errors(), known());
        assert_eq!(outlook(0.001).of_events(&metric, &events, 2.0), None);
        assert_eq!(outlook(0.0).of_events(&metric, &events, 2.0), None);
        assert_eq!(
            outlook(10.0).of_events(&metric, &events, 1.0),
            None,
            "a canary like stable is never worse"
        );
        assert_eq!(outlook(0.0).fine_events(&metric, &events), None);
    }
}
