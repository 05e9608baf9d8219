//! The judge's state: what it learned so far, as data.
//!
//! A host feeds each batch once and stores the state with its decision. After a restart it goes on with the stored state, and every later
//! verdict is the same to the last bit. What was spent of α stays spent.
//!
//! **Invariant:** a batch is used at most once; batches end later and later.

use haldane_core::Weight;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    config::{Config, Kind, Metric, Source},
    mismatch::Mismatch,
    observed::{Observed, Reading},
    tally::{Counts, Window},
    track::{Input, Moment, Track, count},
    warming::Warming,
};
use crate::{
    reading,
    sample::Sample,
    series::{BUCKETS_MAX, Batch},
};

/// The form in which state is stored.
const FORM: u32 = 1;

/// What the judge learned so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct State {
    data: Data,
}

/// Why a batch was not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It ends when it begins, or before.
    #[error("the batch ends at {to}, when it begins or before")]
    Empty {
        /// Its end.
        to: Timestamp,
    },
    /// It begins before the newest one ended: it was used already, or the clock went back.
    #[error("the batch begins at {from}, before the newest one ended at {newest}")]
    Overlap {
        /// Its beginning.
        from: Timestamp,
        /// The end of the newest one.
        newest: Timestamp,
    },
    /// There is no such metric, or it is made of requests.
    #[error("no metric {metric:?} is declared as observed")]
    Unknown {
        /// Its name.
        metric: String,
    },
    /// What was observed is of another kind than the metric.
    #[error("what was observed of {metric:?} is not of its kind, {kind:?}")]
    Kind {
        /// Its name.
        metric: String,
        /// Its kind.
        kind: Kind,
    },
    /// One of the versions is missing.
    #[error("{metric:?} is missing for {of}")]
    Missing {
        /// Its name.
        metric: String,
        /// Which version.
        of: &'static str,
    },
    /// The versions' windows lie too far apart.
    #[error(
        "the windows of {metric:?} lie {skew_ms} ms apart; expected at most a fifth of their length"
    )]
    Skewed {
        /// Its name.
        metric: String,
        /// How far they lie apart.
        skew_ms: u128,
    },
    /// There are too many buckets.
    #[error("{found} buckets; expected at most {BUCKETS_MAX}")]
    Buckets {
        /// How many there are.
        found: usize,
    },
}

/// What is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Data {
    /// When the first batch began.
    pub(crate) first: Option<Timestamp>,
    /// When the newest batch of requests ended.
    batch: Option<Timestamp>,
    /// The newest weight.
    pub(crate) weight: Weight,
    pub(crate) mismatch: Mismatch,
    #[serde(default)]
    warming: Warming,
    /// The metric that showed harm first, and when.
    pub(crate) failed: Option<(String, Timestamp)>,
    /// The metric that alarmed at full weight.
    pub(crate) alarm: Option<String>,
    /// How many batches were refused.
    pub(crate) refused: u64,
    pub(crate) tracks: Vec<Track>,
}

/// [`Data`] with the form it has.
#[derive(Serialize, Deserialize)]
struct Stored {
    form: u32,
    #[serde(flatten)]
    data: Data,
}

/// A stored form that this version doesn't know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the state has the form {found}; expected {FORM}")]
struct FormError {
    found: u32,
}

impl State {
    /// Returns the state of a rollout that is about to begin.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let tracks = config.metrics().iter().map(Track::new).collect();
        Self {
            data: Data {
                first: None,
                batch: None,
                weight: Weight::ZERO,
                mismatch: Mismatch::NONE,
                warming: Warming::default(),
                failed: None,
                alarm: None,
                refused: 0,
                tracks,
            },
        }
    }

    /// Returns the end of the newest batch that was used.
    #[must_use]
    pub fn newest(&self) -> Option<Timestamp> {
        self.data.newest()
    }

    /// Returns the end of the newest data of a metric.
    #[must_use]
    pub fn newest_of(&self, metric: &str) -> Option<Timestamp> {
        self.data.track(metric)?.newest
    }

    /// Returns the end of the newest data of a metric that had the canary in it.
    #[must_use]
    pub fn seen_of(&self, metric: &str) -> Option<Timestamp> {
        self.data.track(metric)?.seen
    }

    /// Returns how many batches and observations were refused.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.data.refused
    }

    /// Keeps what is known of the metrics that `config` still declares with the same kind and source, and begins anew with others.
    pub fn refit(&mut self, config: &Config) {
        let fits = |track: &Track, metric: &Metric| track.is_of(metric);
        let tracks = &mut self.data.tracks;
        let same = tracks.len() == config.metrics().len()
            && tracks
                .iter()
                .zip(config.metrics())
                .all(|(track, metric)| fits(track, metric));
        if same {
            return;
        }
        let known = |metric: &Metric| tracks.iter().find(|track| fits(track, metric)).cloned();
        self.data.tracks = config
            .metrics()
            .iter()
            .map(|metric| known(metric).unwrap_or_else(|| Track::new(metric)))
            .collect();
    }

    /// Uses a batch of requests. Batches without requests to the canary are stable's history: five to ten minutes of them, before the rollout
    /// begins, choose the latency bounds and teach the dispersion.
    ///
    /// All requests of the batch are compared, also at weight 0; a host that sends the canary chosen requests leaves them out.
    ///
    /// # Errors
    /// When the batch can't be used; then nothing changes but the count of refused ones.
    pub fn observe(&mut self, config: &Config, batch: &Batch) -> Result<(), Refused> {
        self.check(batch)
            .inspect_err(|_| self.data.refused = self.data.refused.saturating_add(1))?;
        let window = Window {
            from: batch.from,
            to: batch.to,
        };
        let data = &mut self.data;
        data.first = data.first.or(Some(batch.from));
        data.batch = Some(batch.to);
        let (stable, canary) = (&batch.stable, &batch.canary);
        data.mismatch.add(
            batch.weight,
            stable.requests,
            canary.requests,
            window.length(),
        );
        data.turn(config, batch.weight);
        let replicas = canary.gauges.replicas;
        data.warming.note(batch.from, canary.requests, replicas);
        let moment = moment(config, &data.warming, window, batch.weight);
        let mut alarm = None;
        for (metric, track) in config.metrics().iter().zip(&mut data.tracks) {
            let input = match (metric.source, metric.kind) {
                (Source::Requests, Kind::Latency) => {
                    Input::Latency(&stable.latency, &canary.latency)
                }
                (Source::Requests, Kind::Ratio) => {
                    Input::Counts(failures(stable), failures(canary))
                }
                (
                    Source::Requests | Source::Observed,
                    Kind::Ratio | Kind::Counter | Kind::Latency | Kind::Gauge | Kind::Conversion,
                ) => continue,
            };
            if track.take(config, metric, &input, moment) {
                alarm = alarm.or(Some(metric));
            }
        }
        data.conclude(config, alarm);
        Ok(())
    }

    /// Uses what was observed of one metric.
    ///
    /// # Errors
    /// When it can't be used; then nothing changes but the count of refused ones.
    pub fn observe_metric(&mut self, config: &Config, observed: &Observed) -> Result<(), Refused> {
        let found = self.take(config, observed);
        if found.is_err() {
            self.data.refused = self.data.refused.saturating_add(1);
        }
        found
    }

    /// Uses what is new of the input. What can't be used is counted and told by the missing data.
    pub(crate) fn catch_up(&mut self, config: &Config, input: &super::Input<'_>) {
        let batch = self.data.batch;
        let is_new =
            |from: Timestamp, newest: Option<Timestamp>| newest.is_none_or(|end| from >= end);
        // A refused one is counted, and missing.
        for batch in input.series.batches().filter(|new| is_new(new.from, batch)) {
            if batch.from < input.started {
                self.observe(config, &history(batch)).unwrap_or_default();
            } else {
                self.observe(config, batch).unwrap_or_default();
            }
        }
        for observed in input.observed {
            let pairs = config.metrics().iter().zip(&self.data.tracks);
            let newest = pairs
                .filter(|(metric, _)| metric.name == observed.metric)
                .find_map(|(_, track)| track.newest);
            if !is_new(observed.from, newest) {
                continue;
            }
            if observed.from < input.started {
                self.observe_metric(config, &observed.history())
                    .unwrap_or_default();
            } else {
                self.observe_metric(config, observed).unwrap_or_default();
            }
        }
    }

    pub(crate) const fn data(&self) -> &Data {
        &self.data
    }

    fn take(&mut self, config: &Config, observed: &Observed) -> Result<(), Refused> {
        let Observed {
            metric: name,
            from,
            to,
            ..
        } = observed;
        let data = &mut self.data;
        let mut pairs = config.metrics().iter().zip(&mut data.tracks);
        let Some((metric, track)) = pairs.find(|(metric, _)| metric.name == *name) else {
            return Err(Refused::Unknown {
                metric: name.clone(),
            });
        };
        if metric.source != Source::Observed {
            return Err(Refused::Unknown {
                metric: name.clone(),
            });
        }
        check_window(*from, *to, track.newest)?;
        if observed.is_skewed() {
            return Err(Refused::Skewed {
                metric: name.clone(),
                skew_ms: observed.skew.as_millis(),
            });
        }
        let input = input(metric, observed)?;
        let window = Window {
            from: *from,
            to: *to,
        };
        if let Input::Latency(_, canary) = input {
            data.warming.note(*from, count(canary), None);
        }
        let moment = moment(config, &data.warming, window, observed.weight);
        let is_alarm = track.take(config, metric, &input, moment);
        data.first = Some(data.first.map_or(*from, |first| first.min(*from)));
        if !has_requests(config) {
            data.turn(config, observed.weight);
        }
        data.conclude(config, is_alarm.then_some(metric));
        Ok(())
    }

    fn check(&self, batch: &Batch) -> Result<(), Refused> {
        check_window(batch.from, batch.to, self.data.batch)?;
        match batch.stable.latency.len().max(batch.canary.latency.len()) {
            found if found > BUCKETS_MAX => Err(Refused::Buckets { found }),
            _ => Ok(()),
        }
    }
}

impl Data {
    fn track(&self, metric: &str) -> Option<&Track> {
        self.tracks.iter().find(|track| track.name() == metric)
    }

    /// Returns the end of the newest data of any source.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        let observed = self.tracks.iter().filter_map(|track| track.newest).max();
        self.batch.max(observed)
    }

    /// Takes notice of the weight.
    fn turn(&mut self, config: &Config, weight: Weight) {
        if !weight.is_full() {
            self.alarm = None;
        }
        if self.weight.is_zero() && !weight.is_zero() {
            // What stable did before the canary had traffic is its history, and nothing to compare with.
            let pairs = config.metrics().iter().zip(&mut self.tracks);
            pairs.for_each(|(metric, track)| track.part(config, metric));
        }
        let is_step = weight > self.weight && !weight.is_full();
        if config.settings().fresh && is_step {
            for track in &mut self.tracks {
                track.refresh();
            }
        }
        self.weight = weight;
    }

    /// Latches what was decided.
    fn conclude(&mut self, config: &Config, alarm: Option<&Metric>) {
        if let (None, Some(metric)) = (&self.alarm, alarm) {
            self.alarm = Some(metric.name.clone());
            let pairs = config.metrics().iter().zip(&mut self.tracks);
            for (metric, track) in pairs {
                track.suspect(metric);
            }
        }
        if self.failed.is_none() && self.worth(config) >= 1.0 / config.alpha() {
            let worth = |(metric, track): &(&Metric, &Track)| config.share(metric) * track.worth();
            let pairs = config.metrics().iter().zip(&self.tracks);
            let worst = pairs
                .filter(|(metric, _)| metric.critical)
                .max_by(|a, b| worth(a).total_cmp(&worth(b)));
            self.failed = worst
                .zip(self.newest())
                .map(|((metric, _), at)| (metric.name.clone(), at));
        }
    }

    /// Returns what the evidence of harm of all critical metrics together is worth.
    pub(crate) fn worth(&self, config: &Config) -> f64 {
        config
            .metrics()
            .iter()
            .zip(&self.tracks)
            .filter(|(metric, _)| metric.critical)
            .map(|(metric, track)| config.share(metric) * track.worth())
            .sum()
    }
}

impl TryFrom<Stored> for State {
    type Error = FormError;

    fn try_from(stored: Stored) -> Result<Self, FormError> {
        if stored.form == FORM {
            Ok(Self { data: stored.data })
        } else {
            Err(FormError { found: stored.form })
        }
    }
}

impl From<State> for Stored {
    fn from(state: State) -> Self {
        Self {
            form: FORM,
            data: state.data,
        }
    }
}

/// Returns the batch without the canary.
fn history(batch: &Batch) -> Batch {
    Batch {
        stable: batch.stable.clone(),
        canary: Sample::default(),
        weight: Weight::ZERO,
        from: batch.from,
        to: batch.to,
    }
}

fn moment(config: &Config, warming: &Warming, window: Window, weight: Weight) -> Moment {
    Moment {
        window,
        weight,
        is_cold: warming.is_cold(window.from, config.settings().warm_up),
    }
}

fn has_requests(config: &Config) -> bool {
    let mut metrics = config.metrics().iter();
    metrics.any(|metric| metric.source == Source::Requests)
}

fn failures(sample: &Sample) -> Counts {
    Counts {
        exposure: sample.requests,
        events: reading::failures(sample),
    }
}

fn check_window(from: Timestamp, to: Timestamp, newest: Option<Timestamp>) -> Result<(), Refused> {
    if to <= from {
        return Err(Refused::Empty { to });
    }
    match newest {
        Some(newest) if from < newest => Err(Refused::Overlap { from, newest }),
        Some(_) | None => Ok(()),
    }
}

/// Returns both versions' readings, of the metric's kind.
fn input<'a>(metric: &Metric, observed: &'a Observed) -> Result<Input<'a>, Refused> {
    let missing = |of| Refused::Missing {
        metric: metric.name.clone(),
        of,
    };
    let stable = observed.stable.as_ref().ok_or_else(|| missing("stable"))?;
    let canary = observed
        .canary
        .as_ref()
        .ok_or_else(|| missing("the canary"))?;
    let is_events = matches!(metric.kind, Kind::Ratio | Kind::Counter | Kind::Conversion);
    match (stable, canary) {
        (Reading::Counts(stable), Reading::Counts(canary)) if is_events => {
            Ok(Input::Counts(*stable, *canary))
        }
        (Reading::Latency(stable), Reading::Latency(canary)) if metric.kind == Kind::Latency => {
            match stable.len().max(canary.len()) {
                found if found > BUCKETS_MAX => Err(Refused::Buckets { found }),
                _ => Ok(Input::Latency(stable, canary)),
            }
        }
        (Reading::Pods(stable), Reading::Pods(canary)) if metric.kind == Kind::Gauge => {
            Ok(Input::Pods(stable, canary))
        }
        (
            Reading::Counts(_) | Reading::Latency(_) | Reading::Pods(_),
            Reading::Counts(_) | Reading::Latency(_) | Reading::Pods(_),
        ) => Err(Refused::Kind {
            metric: metric.name.clone(),
            kind: metric.kind,
        }),
    }
}
