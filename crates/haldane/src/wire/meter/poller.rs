//! The task that counts the requests of one release: ask, count, tell, wait.

use std::{collections::BTreeMap, time::Duration};

use haldane_analysis::{Batch, Sample};
use haldane_api::release::{CountedBy, Requests};
use haldane_core::plan::metric::{Kind, Unit};
use haldane_source::{
    Absence, Error, Retry,
    histogram::Unit as SourceUnit,
    provider::prometheus,
    traffic::{Counted, Latency, Side, Traffic},
};
use jiff::Timestamp;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::{Batches, REQUESTS};
use crate::wire::observe::{
    About, Shared,
    ask::{Addressee, AskError, Asker, Span},
    measure::{
        Gap, STABLE,
        pair::{Advance, Pair, Samples},
    },
    question::Named,
};

/// Of how much time samples are asked for at the beginning: two scrapes of a minute.
const WINDOW_FIRST: Duration = Duration::from_mins(2);

/// How much more than the time since the last count is asked for: samples that came late.
const WINDOW_MORE: Duration = Duration::from_secs(30);

/// The longest time that is asked for: who was gone for longer begins with the newest.
const WINDOW_MAX: Duration = Duration::from_mins(5);

/// After this time without anything new, that is told.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The longest pause that a metric system is granted; its data is old by then anyway.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Counts the requests of one release.
pub(super) struct Poller {
    label: String,
    requests: Requests,
    asker: Asker,
    arms: [Arm; 2],
    pair: Pair,
    /// Since when nothing was counted.
    silent_since: Timestamp,
    shared: Shared,
    batches: Batches,
}

/// One version.
pub(super) struct Arm {
    pub(super) traffic: Traffic,
    /// What the metric system calls it.
    workload: String,
    names: BTreeMap<String, String>,
}

/// Why there is nothing to tell.
#[derive(Debug, thiserror::Error)]
enum Silence {
    #[error("{0}")]
    Ask(#[from] AskError),
    #[error("{0}")]
    Gap(#[from] Gap),
    #[error("{0}")]
    Query(#[from] Error),
    #[error("{of}: no samples for {query}")]
    Nothing { of: &'static str, query: String },
    #[error("nothing new since {0:.0}")]
    Old(Timestamp),
}

impl Poller {
    /// Returns what counts requests as declared.
    ///
    /// # Errors
    /// When something that is to be filled in is not known, or can't stand where it should.
    pub(super) fn try_new(
        requests: &Requests,
        about: About<'_>,
        shared: Shared,
        batches: Batches,
    ) -> Result<Self, Error> {
        let stable = Arm::try_new(requests, about.stable, Side::Stable)?;
        // Nobody is asked about stable alone.
        let canary = about.canary.unwrap_or(about.stable);
        let canary = Arm::try_new(requests, canary, Side::Canary)?;
        Ok(Self {
            label: about.label.to_owned(),
            requests: requests.clone(),
            asker: about.asker.clone(),
            arms: [stable, canary],
            pair: Pair::default(),
            silent_since: Timestamp::now(),
            shared,
            batches,
        })
    }

    /// Counts without end.
    pub(super) async fn poll(mut self) {
        let mut trouble: Option<String> = None;
        loop {
            let now = Timestamp::now();
            let result = self.turn(now).await;
            let mut pause = self.requests.interval;
            match result {
                Ok(batch) => {
                    self.silent_since = batch.to;
                    self.batches.push(batch);
                    self.note(&mut trouble, None);
                }
                Err(silence) => {
                    if let Retry::After(wanted) = silence.retry() {
                        pause = pause.max(wanted.min(PAUSE_MAX));
                    }
                    self.note_silence(&mut trouble, &silence, now);
                }
            }
            sleep(pause).await;
        }
    }

    async fn turn(&mut self, now: Timestamp) -> Result<Batch, Silence> {
        let window = window(self.pair.until(), now);
        let [stable, canary] = &self.arms;
        let samples = tokio::try_join!(
            self.samples(stable, window, now),
            self.samples(canary, window, now),
        )?;
        let advance = self.pair.advance(samples.into(), now);
        match advance {
            Ok(advance) => Ok(self.batch(&advance)),
            Err(Gap::Absent {
                of,
                why: Absence::Empty,
            }) => {
                let arm = if of == STABLE { stable } else { canary };
                // With a time that stays the same, so that it is told once.
                let query = arm.query(WINDOW_FIRST)?;
                Err(Silence::Nothing { of, query })
            }
            Err(gap) => Err(gap.into()),
        }
    }

    async fn samples(
        &self,
        arm: &Arm,
        window: Duration,
        now: Timestamp,
    ) -> Result<Samples, Silence> {
        let query = arm.query(window)?;
        let addressee = Addressee {
            source: &self.requests.source,
            kind: Kind::Ratio,
            interval: self.requests.interval,
        };
        let span = Span {
            from: now - window,
            to: now,
            form: prometheus::Form::Instant,
        };
        let reading = self.asker.ask_source(addressee, &query, span).await?;
        let series = arm.traffic.series(reading);
        Ok(Samples {
            points: series.points,
            is_native: series.is_native,
        })
    }

    fn batch(&self, advance: &Advance) -> Batch {
        let [stable, canary] = &self.arms;
        let [is_native, is_canary_native] = self.pair.is_native();
        let batch = Batch {
            from: advance.from,
            to: advance.to,
            stable: sample(stable.traffic.counted(&advance.stable, is_native)),
            canary: sample(canary.traffic.counted(&advance.canary, is_canary_native)),
            weight: self.shared.weight_at(advance.to),
        };
        debug!(
            release = self.label, from = %batch.from, to = %batch.to, weight = %batch.weight,
            stable = batch.stable.requests, stable_failures = batch.stable.failures,
            canary = batch.canary.requests, canary_failures = batch.canary.failures,
            "Requests were counted"
        );
        batch
    }

    /// Takes in why nothing was counted; that a scrape is not yet there is no trouble for a while.
    fn note_silence(&self, known: &mut Option<String>, silence: &Silence, now: Timestamp) {
        let is_usual = matches!(
            silence,
            Silence::Gap(Gap::Beginning | Gap::Begun(_) | Gap::Repeated | Gap::Apart(_))
        );
        let is_early = matches!(silence, Silence::Nothing { of, .. } if *of != STABLE)
            && self.shared.weight_at(now).is_zero();
        if is_early {
            debug!(release = self.label, "The canary has no requests yet");
            return self.note(known, None);
        }
        let silent = now.duration_since(self.silent_since);
        let is_long = silent.is_positive() && silent.unsigned_abs() > SILENCE_MAX;
        match (is_usual, is_long) {
            (false, _) => self.note(known, Some(silence.to_string())),
            (true, true) => self.note(known, Some(Silence::Old(self.silent_since).to_string())),
            (true, false) => {
                debug!(release = self.label, why = %silence, "No requests were counted");
            }
        }
    }

    /// Says when trouble begins, changes and ends, once each.
    fn note(&self, known: &mut Option<String>, trouble: Option<String>) {
        if *known == trouble {
            return;
        }
        self.shared.note_trouble(REQUESTS, trouble.clone());
        let source = &self.requests.source.name;
        match &trouble {
            Some(why) => warn!(
                release = self.label,
                source, why, "Requests are not counted"
            ),
            None => info!(
                release = self.label,
                source, "Nothing keeps requests from being counted any more"
            ),
        }
        *known = trouble;
    }
}

impl Arm {
    /// Returns how one side is asked about.
    ///
    /// # Errors
    /// When something that is to be filled in is not known, or can't stand where it should.
    pub(super) fn try_new(
        requests: &Requests,
        named: Named<'_>,
        side: Side,
    ) -> Result<Self, Error> {
        let arm = Self {
            traffic: traffic(&requests.counted, side)?,
            workload: named.workload(&requests.workload, &requests.variables)?,
            names: named.values(&requests.variables),
        };
        // What can't be asked is told at once.
        arm.query(WINDOW_FIRST)?;
        Ok(arm)
    }

    /// Returns the query for the samples of so much time.
    ///
    /// # Errors
    /// When a name can't stand where its placeholder does.
    pub(super) fn query(&self, window: Duration) -> Result<String, Error> {
        self.traffic.query(&self.workload, &self.names, window)
    }
}

impl Silence {
    fn retry(&self) -> Retry {
        match self {
            Self::Ask(error) => error.retry(),
            Self::Gap(_) | Self::Query(_) | Self::Nothing { .. } | Self::Old(_) => Retry::Never,
        }
    }
}

/// Returns where the requests of one side are counted.
fn traffic(counted: &CountedBy, side: Side) -> Result<Traffic, Error> {
    let (counter, select, failed, latency) = match counted {
        CountedBy::Template(name) => return Traffic::of_template(name, side),
        CountedBy::Series {
            counter,
            select,
            failed,
            latency,
        } => (counter, select, failed, latency),
    };
    Ok(Traffic {
        counter: counter.clone(),
        select: select.clone(),
        failed: failed.clone(),
        latency: latency.as_ref().map(|(histogram, unit)| Latency {
            histogram: histogram.clone(),
            and: None,
            unit: match unit {
                Unit::Seconds => SourceUnit::Seconds,
                Unit::Milliseconds => SourceUnit::Milliseconds,
                Unit::Microseconds => SourceUnit::Microseconds,
            },
        }),
    })
}

/// Returns of how much time samples are asked for: all since the last count, and those that came late.
fn window(until: Option<Timestamp>, now: Timestamp) -> Duration {
    let since = until.map(|until| now.duration_since(until));
    let window = since.map_or(WINDOW_FIRST, |since| {
        let since = if since.is_negative() {
            Duration::ZERO
        } else {
            since.unsigned_abs()
        };
        since.saturating_add(WINDOW_MORE)
    });
    Duration::from_secs(window.min(WINDOW_MAX).as_secs().max(1))
}

/// Returns what was counted as the judges see it.
pub(super) fn sample(counted: Counted) -> Sample {
    Sample {
        requests: counted.requests,
        failures: counted.failures,
        latency_sum_us: counted.latency_sum_us,
        latency: counted.latency,
        ..Sample::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_hardly_asked_for_again() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let seconds = |until: Option<i64>| {
            let until = until.map(|ago| now - Duration::from_secs(ago.unsigned_abs()));
            window(until, now).as_secs()
        };
        assert_eq!(seconds(None), 120);
        assert_eq!(seconds(Some(0)), 30);
        assert_eq!(seconds(Some(15)), 45);
        assert_eq!(seconds(Some(3_600)), 300);
        // A metric system whose clock is ahead.
        assert_eq!(
            window(Some(now + Duration::from_secs(9)), now).as_secs(),
            30
        );
    }
}
