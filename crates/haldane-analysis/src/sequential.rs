//! The sequential judge: sure to roll hardly any healthy canary back, however often and however long one looks.
//!
//! What a test of once says is worth nothing when it is asked every second. This judge bets against "the canary is fine" with each batch, with
//! bets that are not expected to win if it is; what they are worth together reaches `1/α` in at most a share of `α` of healthy rollouts, at any
//! time, over all metrics and steps (Ville's inequality). The same machinery, turned round, shows that a canary *is* fine, so that a rollout
//! may advance on evidence.
//!
//! - What is bet on, over sizes of harm and the time of its onset: `count` for rare events, `bernoulli` for shares, `latency` above a few
//!   bounds, `absolute` for limits, `gauge` for what pods use; `wealth` holds the bets.
//! - `noninferiority` turns the bets round. `dispersion` tempers them where events come in clumps.
//! - `full` watches the step of all traffic, where there is nothing to compare with. `mismatch` watches the split of requests.
//! - `warming` says while the canary is cold. `tally` says when a batch ends, `conversion` which of the proxy's own counts of visitors and
//!   buyers make one, [`counter`] reads counters that begin again, `interval` and `forecast` tell people where it stands.
//! - `judge` brings everything together.
//!
//! With weights `w_m`, `Σ w_m = 1`, of the critical metrics, `E = Σ w_m·E_m` is what all bets together are worth, whatever the metrics have to do
//! with each other; it reaches its bound no later than any metric alone reaches `1/(w_m·α)`. A pass needs every required metric at its own
//! level `β`.
//!
//! What is promised needs requests that are split without regard to what they are, and clumps no larger than stable has shown them. A fault
//! that spreads from the canary to what both versions share is no difference; a [limit](Against::Limit) finds it.
//!
//! ```
//! # use haldane_analysis::{Batch, Sample, sequential::{Config, Question, Settings, State}};
//! # use haldane_core::{Weight, verdict::{Subject, Verdict}};
//! # use jiff::Timestamp;
//! let config = Config::try_new(Settings::standard())?;
//! let mut state = State::new(&config);
//! let second = |second: i64| Timestamp::from_second(second).unwrap();
//! let count = |requests, failures| Sample { requests, failures, ..Sample::default() };
//! for now in 0..10 {
//!     state.observe(&config, &Batch {
//!         from: second(now), to: second(now + 1), weight: Weight::from_percent(10),
//!         stable: count(90, 1), canary: count(10, 5),
//!     })?;
//! }
//! let question = Question { subject: Subject::Background, since: second(0), now: second(10) };
//! let answer = state.judge(&config, &question);
//! assert_eq!(answer.judgement.verdict, Verdict::Fail);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![expect(
    clippy::float_arithmetic,
    reason = "bets are real numbers; what leaves this module is in fixed point, and libm makes it alike on every machine"
)]

mod absolute;
mod bernoulli;
mod config;
mod conversion;
mod count;
pub mod counter;
mod dispersion;
mod events;
mod evidence;
mod forecast;
mod full;
mod gauge;
mod interval;
mod judge;
mod latency;
mod mismatch;
mod noninferiority;
mod observed;
mod real;
mod report;
mod state;
mod tally;
mod track;
mod warming;
mod wealth;

#[cfg(test)]
mod chance;
#[cfg(test)]
mod tests;

pub use config::{
    Against, Config, Direction, Kind, METRICS_MAX, Margin, Metric, NAME_BYTES_MAX, Problem,
    Problems, Settings, Source,
};
pub use conversion::{Conversions, Counted, Routing};
pub use evidence::{Detection, Estimate, Evidence, MetricEvidence, Value, Worth};
pub use judge::{Answer, Conclusion, Question, StepBack, Why};
pub use latency::BOUNDS_MAX;
pub use observed::{Observed, Reading};
pub use state::{Refused, State};
pub use tally::Counts;
pub use warming::Leeway;

use jiff::Timestamp;

use crate::series::Series;

/// What there is to look at.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The batches of requests; those that were used already are passed over.
    pub series: &'a Series,
    /// What was observed of other metrics; what was used already is passed over.
    pub observed: &'a [Observed],
    /// When the rollout began. What was counted before is stable's history; another canary's requests in it are not this one's.
    pub started: Timestamp,
}

/// Uses what is new, and judges.
///
/// A state of other settings is refitted: metrics that both declare keep their evidence.
pub fn look(config: &Config, state: &mut State, input: &Input<'_>, question: &Question) -> Answer {
    state.refit(config);
    state.catch_up(config, input);
    state.judge(config, question)
}
