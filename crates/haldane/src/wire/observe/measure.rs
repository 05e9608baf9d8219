//! From answers to what was counted: both versions over the same time, each increment once.
//!
//! Counting begins where both versions are seen for the first time. From then on the counts of an answer are used only if both versions
//! have new ones that cover the same time; else nothing is taken over, and the next answer counts that time, too.
//!
//! **Invariant:** a value that is no number, a part of an answer, or one version alone gives no counts at all.

pub(crate) mod pair;
mod steps;

use std::time::Duration;

use haldane_analysis::sequential::{Counts, Reading as Read};
use haldane_core::Weight;
use haldane_source::{
    Absence, Labels, Point, Reading,
    delta::{Amount, Counters, DeltaError, Increase},
    histogram::{Unit, join_classic},
    template::Template,
};
use jiff::Timestamp;

use self::pair::{Advance, Pair, Samples, advance};

/// What gauges are multiplied with before they become whole numbers; the judge compares ratios.
pub(crate) const GAUGE_SCALE: f64 = 1_000.0;

/// Tells the series of both queries apart.
const PART: &str = "haldane_part";
const EVENTS: &str = "events";
const EXPOSURE: &str = "exposure";

/// What answers are made into.
#[derive(Clone, Debug)]
pub(crate) enum Counting {
    /// Requests of a template, the failed ones by their labels.
    Requests(Box<Template>),
    /// Events among exposures.
    Shares,
    /// Events by exposure; there may be more of them.
    Parts,
    /// Events in the seconds that their series lived.
    Time,
    /// Latencies in this unit.
    Latency(Unit),
    /// Events among exposures, as systems without counters tell them for each step of this length.
    Steps {
        /// The length.
        step: Duration,
    },
    /// What each pod uses.
    Pods {
        /// How old a value may be.
        age_max: Duration,
    },
}

/// What was counted so far.
#[derive(Clone, Debug)]
pub(crate) struct Measuring {
    counting: Counting,
    pair: Pair,
    /// Until when it was counted, of what is no counter.
    until: Option<Timestamp>,
}

/// The answers about one version.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers {
    /// What happened, or all that there is.
    pub(crate) events: Reading,
    /// What could have happened, where that was asked for; of latencies the same as native histograms.
    pub(crate) exposure: Option<Reading>,
}

/// What was counted of both versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Measured {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    pub(crate) skew: Duration,
    pub(crate) stable: Read,
    pub(crate) canary: Read,
}

/// Why nothing was counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Gap {
    /// There is nothing of one version.
    #[error("{of}: {why}")]
    Absent {
        /// Of which.
        of: &'static str,
        /// Why.
        why: Absence,
    },
    /// The values are no counters.
    #[error("{of}: {why}")]
    NoCounter {
        /// Of which version.
        of: &'static str,
        /// Why.
        why: DeltaError,
    },
    /// Some values are no numbers.
    #[error("{of}: {count} values are no numbers")]
    NoNumber {
        /// Of which version.
        of: &'static str,
        /// How many.
        count: usize,
    },
    /// A gauge is below zero.
    #[error("{of}: a value is below zero")]
    Negative {
        /// Of which version.
        of: &'static str,
    },
    /// Counting has just begun.
    #[error("counting begins")]
    Beginning,
    /// Counting has just begun, after this time.
    #[error("counting begins after {0}")]
    Begun(Timestamp),
    /// There is nothing new of at least one version.
    #[error("nothing new since the last answer")]
    Repeated,
    /// The versions' times lie apart.
    #[error("the versions were measured {} ms apart", .0.as_millis())]
    Apart(Duration),
    /// The canary got more requests than its weight allows.
    #[error(
        "{canary} requests to the canary and {stable} to stable, with {weight} of the weight: the labels are swapped, or the canary's query finds processes of stable"
    )]
    Swapped {
        /// Stable's.
        stable: u64,
        /// The canary's.
        canary: u64,
        /// What the canary should get.
        weight: Weight,
    },
}

/// What stable is called where something is told of it.
pub(crate) const STABLE: &str = "stable";

const NAMES: [&str; 2] = [STABLE, "the canary"];

impl Counting {
    /// Returns what the answers about one version hold altogether.
    ///
    /// # Errors
    /// When they hold nothing that could be counted.
    pub(crate) fn total(
        &self,
        answers: Answers,
        now: Timestamp,
        of: &'static str,
    ) -> Result<Read, Gap> {
        if let Self::Pods { age_max } = self {
            let (pods, _) = pods(&answers, now, *age_max, of)?;
            return Ok(Read::Pods(pods));
        }
        if let Self::Steps { .. } = self {
            return steps::total(&answers, of);
        }
        let points = self.points(answers);
        if points.is_empty() {
            let why = Absence::Empty;
            return Err(Gap::Absent { of, why });
        }
        let increase = advance(&mut Counters::default(), &points, of)?;
        Ok(self.read(&increase))
    }

    /// Returns what counters without history show: what was counted since they began.
    ///
    /// # Errors
    /// When they show nothing that is a count.
    pub(crate) fn so_far(answers: &Answers, of: &'static str) -> Result<Read, Gap> {
        steps::total(answers, of)
    }

    /// Returns the points of both queries as those of one, so that a process that is known by one of them is known.
    fn points(&self, answers: Answers) -> Vec<Point> {
        if matches!(self, Self::Latency(_)) {
            // Never both, or each request would count twice; the native one is finer.
            let is_native = self.is_native(&answers);
            return match answers.exposure {
                Some(native) if is_native => native.points,
                Some(_) | None => join_classic(answers.events.points),
            };
        }
        let mark = |part: &'static str| {
            move |point: Point| Point {
                labels: with_part(&point.labels, part),
                ..point
            }
        };
        let exposure = answers.exposure.map(|reading| reading.points);
        let is_seen = exposure.as_ref().is_none_or(|points| !points.is_empty());
        if !is_seen {
            // Events without anything that could have happened are of something else.
            return Vec::new();
        }
        let events = answers.events.points.into_iter().map(mark(EVENTS));
        let exposure = exposure.into_iter().flatten().map(mark(EXPOSURE));
        events.chain(exposure).collect()
    }

    /// Whether latencies are read from native histograms.
    fn is_native(&self, answers: &Answers) -> bool {
        let is_latency = matches!(self, Self::Latency(_));
        let native = answers.exposure.as_ref().filter(|_| is_latency);
        native.is_some_and(|reading| !reading.points.is_empty())
    }

    fn read(&self, increase: &Increase) -> Read {
        let part =
            |part: &'static str| increase.count_where(|labels| labels.get(PART) == Some(part));
        let (exposure, events) = match self {
            Self::Requests(template) => {
                let events = increase.count_where(|labels| template.is_failed(labels));
                (increase.count(), events)
            }
            // Two counters are scraped together, but not read together by their process.
            Self::Shares => (part(EXPOSURE), part(EVENTS).min(part(EXPOSURE))),
            Self::Parts => (part(EXPOSURE), part(EVENTS)),
            Self::Time => (seconds(increase), increase.count()),
            Self::Latency(unit) => return Read::Latency(increase.latencies(*unit)),
            // They are taken elsewhere.
            Self::Pods { .. } | Self::Steps { .. } => (0, 0),
        };
        Read::Counts(Counts { exposure, events })
    }
}

impl Measuring {
    pub(crate) fn new(counting: Counting) -> Self {
        Self {
            counting,
            pair: Pair::default(),
            until: None,
        }
    }

    /// Takes the answers about stable and the canary, and returns what was counted of both since the last time.
    ///
    /// # Errors
    /// When nothing was; see [`Gap`].
    pub(crate) fn take(
        &mut self,
        stable: Answers,
        canary: Answers,
        now: Timestamp,
    ) -> Result<Measured, Gap> {
        if let Counting::Pods { age_max } = self.counting {
            return self.take_pods([stable, canary], now, age_max);
        }
        if let Counting::Steps { step } = self.counting {
            let taken = steps::take(&[stable, canary], step, self.until, now);
            match &taken {
                Ok(Measured { to, .. }) | Err(Gap::Begun(to)) => self.until = Some(*to),
                Err(_) => {}
            }
            return taken;
        }
        let samples = [stable, canary].map(|answers| Samples {
            is_native: self.counting.is_native(&answers),
            points: self.counting.points(answers),
        });
        let Advance {
            from,
            to,
            skew,
            stable,
            canary,
        } = self.pair.advance(samples, now)?;
        Ok(Measured {
            from,
            to,
            skew,
            stable: self.counting.read(&stable),
            canary: self.counting.read(&canary),
        })
    }

    fn take_pods(
        &mut self,
        arms: [Answers; 2],
        now: Timestamp,
        age_max: Duration,
    ) -> Result<Measured, Gap> {
        let [stable, canary] = arms;
        let (stable, stable_end) = pods(&stable, now, age_max, NAMES[0])?;
        let (canary, canary_end) = pods(&canary, now, age_max, NAMES[1])?;
        let to = stable_end.min(canary_end);
        let Some(from) = self.until else {
            self.until = Some(to);
            return Err(Gap::Beginning);
        };
        if to <= from {
            return Err(Gap::Repeated);
        }
        self.until = Some(to);
        Ok(Measured {
            from,
            to,
            // Of each the newest value counts; how old it may be was checked.
            skew: Duration::ZERO,
            stable: Read::Pods(stable),
            canary: Read::Pods(canary),
        })
    }
}

/// Returns the newest value of each pod, and when the newest of them was measured.
fn pods(
    answers: &Answers,
    now: Timestamp,
    age_max: Duration,
    of: &'static str,
) -> Result<(Vec<u64>, Timestamp), Gap> {
    let newest = answers.events.newest(now, age_max);
    let newest = newest.map_err(|why| Gap::Absent { of, why })?;
    let ends = newest.iter().map(|(_, number)| number.at);
    let why = Absence::Empty;
    let end = ends.max().ok_or(Gap::Absent { of, why })?;
    let pods = newest.iter().map(|(_, number)| scaled(number.value));
    let pods: Option<Vec<u64>> = pods.collect();
    Ok((pods.ok_or(Gap::Negative { of })?, end))
}

fn with_part(labels: &Labels, part: &str) -> Labels {
    let pairs = labels.iter().chain([(PART, part)]);
    pairs.collect()
}

/// Returns the seconds that all series lived together.
fn seconds(increase: &Increase) -> u64 {
    let lived = increase.deltas.iter().map(|delta| match delta.amount {
        Amount::Count(_) | Amount::Histogram(_) => {
            delta.to.duration_since(delta.from).unsigned_abs()
        }
    });
    lived
        .fold(Duration::ZERO, Duration::saturating_add)
        .as_secs()
}

/// Returns a gauge as a whole number; `None` below zero.
fn scaled(value: f64) -> Option<u64> {
    let scaled = (value * GAUGE_SCALE).round();
    if !(0.0..=9e15).contains(&scaled) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounded, not negative, and below 2⁵³"
    )]
    let whole = scaled as u64;
    Some(whole)
}

#[cfg(test)]
mod tests;
