//! From counters to what was counted: the difference of each series between two readings.
//!
//! Differences are made per series, never of sums: a restart of one process among many must show. A value below the last one means that
//! the process began anew, and counts whole (the rule of Prometheus). A series that is seen for the first time counts from zero where
//! its process is known to be new, or was seen before without it: the first `code="500"` of an old process is one failure, not none,
//! or stable would look better than it is. A series that vanished gives nothing, and is remembered in case it comes back. After a gap
//! in the scrapes the one large difference is one batch, which is as valid as many small ones.
//!
//! So requests and failures are best counted from one query without a matcher for failures, and told apart by
//! [`Increase::count_where`]: a query for failures alone never shows that a process without them is there.
//!
//! [`Counters`] is stored with the decision that used its differences, so that a restart neither counts twice nor forgets.
//!
//! **Invariant:** each increment of a counter is in at most one [`Increase`], as long as no series comes back after [`Rule::keep`].

mod align;

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    time::Duration,
};

use haldane_analysis::Bucket as Counted;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use crate::delta::align::{Alignment, align};
use crate::{
    histogram::{Histogram, Unit, to_count},
    reading::{Labels, NotFinite, Point, Value},
};

/// The most series of one query: pods × codes × routes of a large service. More are a query without the right selectors.
pub const SERIES_MAX: usize = 10_000;

/// The labels that tell one process from another, where there is one of the first three.
const PROCESS: [&str; 4] = ["instance", "pod", "kubernetes_pod_name", "job"];

/// The last value of each series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// In the order of their labels.
    series: Vec<Tracked>,
    /// The end of the last increase.
    until: Option<Timestamp>,
}

/// How series are treated at their beginning and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What the first value of a series counts.
    pub first: First,
    /// How long a series is remembered after its process vanished; longer than any outage of the metric system.
    pub keep: Duration,
}

/// What the first value of a series counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// Nothing, unless its process was seen before without it: the process may be older than the rollout.
    Nothing,
    /// All of it: every process of this version is younger than the rollout.
    Everything,
}

/// What was counted between two readings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Increase {
    /// By series, in the order of their labels; only those with a value at both ends.
    pub deltas: Vec<Delta>,
    /// How many series began anew.
    pub resets: usize,
    /// How many series were seen for the first time.
    pub appeared: usize,
    /// How many known series had no new value.
    pub vanished: usize,
    /// How many values were no counts (NaN, null, a text), and so not used.
    pub skipped: usize,
    /// How many values were already counted, or older than that.
    pub repeated: usize,
}

/// What was counted of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Delta {
    /// Which series.
    pub labels: Labels,
    /// Since when.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
    /// How much.
    pub amount: Amount,
}

/// A count, or counts between bounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Amount {
    /// A count.
    Count(#[serde(with = "crate::histogram::bits")] f64),
    /// Counts between bounds.
    Histogram(Histogram),
}

/// The time that an increase covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
}

/// Why values are no counters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// A counter is below zero.
    #[error("{labels} is below zero, which no counter is")]
    Negative {
        /// Which series.
        labels: Labels,
    },
    /// A counter is infinite.
    #[error("{labels} is {what}, which no counter is")]
    Infinite {
        /// Which series.
        labels: Labels,
        /// What it is.
        what: NotFinite,
    },
    /// One series has two values for the same time: two scrapers, or a query that dropped a label.
    #[error("{labels} has two values at {at}")]
    Duplicate {
        /// Which series.
        labels: Labels,
        /// When.
        at: Timestamp,
    },
    /// One series is a count and a histogram.
    #[error("{labels} is once a count and once a histogram")]
    Mixed {
        /// Which series.
        labels: Labels,
    },
    /// There are too many series.
    #[error("more than {SERIES_MAX} series: the query selects too much")]
    TooMany,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Tracked {
    labels: Labels,
    at: Timestamp,
    value: Amount,
}

/// One series: its last value, and its new ones.
struct Course<'a> {
    labels: &'a Labels,
    last: Option<&'a Tracked>,
    /// When its process was last seen before.
    process_at: Option<Timestamp>,
    values: BTreeMap<Timestamp, Amount>,
}

impl Counters {
    /// Takes new points and returns what was counted since the last ones.
    ///
    /// Points may come in any order and overlap those of before; each is counted once.
    ///
    /// # Errors
    /// When the points are no counters, or too many series. Nothing has changed then.
    pub fn advance(&mut self, points: &[Point], rule: Rule) -> Result<Increase, DeltaError> {
        let mut increase = Increase::default();
        let fresh = sorted(points, &mut increase)?;
        let mut known: BTreeMap<&Labels, &Tracked> = BTreeMap::new();
        for tracked in &self.series {
            known.insert(&tracked.labels, tracked);
        }
        let newest = fresh.values().flat_map(|values| values.keys()).max();
        let newest = newest.copied().or(self.until);
        let processes = self.processes();
        let mut alive = BTreeSet::new();
        let mut series = Vec::new();
        for (labels, values) in fresh {
            let process = process(labels);
            let course = Course {
                labels,
                last: known.remove(labels),
                process_at: processes
                    .get(&process)
                    .copied()
                    .filter(|_| !process.is_empty()),
                values,
            };
            alive.insert(process);
            let tracked = course.follow(rule.first, self.until, &mut increase)?;
            series.extend(tracked);
        }
        increase.vanished = increase.vanished.saturating_add(known.len());
        for tracked in known.into_values() {
            let age = newest.map(|newest| newest.duration_since(tracked.at));
            let is_young =
                age.is_none_or(|age| age.is_negative() || age.unsigned_abs() <= rule.keep);
            // A series that comes back while its process lives must not look new.
            if is_young || alive.contains(&process(&tracked.labels)) {
                series.push(tracked.clone());
            }
        }
        if series.len() > SERIES_MAX {
            return Err(DeltaError::TooMany);
        }
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        self.series = series;
        self.until = newest.max(self.until);
        Ok(increase)
    }

    /// Takes in that the processes of these points live, so that a series of theirs that comes later counts from zero.
    ///
    /// A router counts both versions in one process: that the canary had no series there yet is worth knowing.
    pub fn meet(&mut self, points: &[Point]) {
        self.live(points.iter().map(|point| (&point.labels, point.at)));
    }

    /// Forgets what was counted of each process, but not that it lives: it has begun to count anew.
    ///
    /// Whoever takes the next points leaves out those of before.
    pub fn forget(&mut self) {
        let (known, rest) = mem::take(&mut self.series)
            .into_iter()
            .partition(|tracked| !process(&tracked.labels).is_empty());
        self.series = rest;
        let known: Vec<Tracked> = known;
        self.live(known.iter().map(|tracked| (&tracked.labels, tracked.at)));
    }

    fn live<'a>(&mut self, seen: impl Iterator<Item = (&'a Labels, Timestamp)>) {
        let mut met: BTreeMap<Labels, Timestamp> = BTreeMap::new();
        for (labels, seen) in seen.filter(|(labels, _)| !process(labels).is_empty()) {
            let pairs = PROCESS.iter();
            let pairs = pairs.filter_map(|name| Some((*name, labels.get(name)?)));
            let at = met.entry(pairs.collect()).or_insert(seen);
            *at = seen.max(*at);
        }
        self.series
            .retain(|tracked| !met.contains_key(&tracked.labels));
        self.series
            .extend(met.into_iter().map(|(labels, at)| Tracked {
                labels,
                at,
                value: Amount::Count(0.0),
            }));
        self.series.sort_by(|a, b| a.labels.cmp(&b.labels));
    }

    /// Returns when each process was last seen.
    fn processes(&self) -> BTreeMap<Vec<&str>, Timestamp> {
        let mut processes = BTreeMap::new();
        for tracked in &self.series {
            let at = processes
                .entry(process(&tracked.labels))
                .or_insert(tracked.at);
            *at = tracked.at.max(*at);
        }
        processes
    }
}

impl Increase {
    /// Returns the sum of all counts, in whole numbers; histograms count their values.
    #[must_use]
    pub fn count(&self) -> u64 {
        to_count(self.deltas.iter().map(|delta| delta.amount.count()).sum())
    }

    /// Returns the sum of the counts of those series that `is_meant` chooses: the failed ones, for instance.
    #[must_use]
    pub fn count_where(&self, is_meant: impl Fn(&Labels) -> bool) -> u64 {
        let meant = self.deltas.iter().filter(|delta| is_meant(&delta.labels));
        to_count(meant.map(|delta| delta.amount.count()).sum())
    }

    /// Returns all latencies in the form of the judges; overlapping buckets of several schemes stay apart.
    #[must_use]
    pub fn latencies(&self, unit: Unit) -> Vec<Counted> {
        let mut sums: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        for delta in &self.deltas {
            if let Amount::Histogram(histogram) = &delta.amount {
                for bucket in histogram.to_latencies(unit) {
                    let sum = sums.entry((bucket.upper_us, bucket.lower_us)).or_default();
                    *sum = sum.saturating_add(bucket.count);
                }
            }
        }
        let buckets = sums.into_iter();
        buckets
            .map(|((upper_us, lower_us), count)| Counted {
                lower_us,
                upper_us,
                count,
            })
            .collect()
    }

    /// Returns the time that it covers: the mean of its series, which are scraped at different moments; `None` without any.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        let mean = |of: fn(&Delta) -> Timestamp| {
            let sum = self.deltas.iter().fold(0_i128, |sum, delta| {
                sum.saturating_add(of(delta).as_nanosecond())
            });
            let count = i128::try_from(self.deltas.len()).ok()?;
            Timestamp::from_nanosecond(sum.checked_div(count)?).ok()
        };
        Some(Span {
            from: mean(|delta| delta.from)?,
            to: mean(|delta| delta.to)?,
        })
    }
}

impl Amount {
    fn count(&self) -> f64 {
        match self {
            Self::Count(count) => *count,
            Self::Histogram(histogram) => histogram.count(),
        }
    }

    /// Adds what was counted between `before` and `after`, and returns whether counting began anew.
    fn add(&mut self, before: Option<&Self>, after: &Self) -> Option<bool> {
        match (self, after) {
            (Self::Count(sum), Self::Count(new)) => {
                let old = match before {
                    None => 0.0,
                    Some(Self::Count(old)) => *old,
                    Some(Self::Histogram(_)) => return None,
                };
                let is_reset = *new < old;
                *sum += if is_reset { *new } else { *new - old };
                Some(is_reset)
            }
            (Self::Histogram(sum), Self::Histogram(new)) => {
                let (since, is_reset) = match before {
                    None => (new.clone(), false),
                    Some(Self::Histogram(old)) => new.since(old),
                    Some(Self::Count(_)) => return None,
                };
                *sum = sum.plus(&since);
                Some(is_reset)
            }
            (Self::Count(_), Self::Histogram(_)) | (Self::Histogram(_), Self::Count(_)) => None,
        }
    }

    /// Returns nothing, of the same kind.
    fn nothing(&self) -> Self {
        match self {
            Self::Count(_) => Self::Count(0.0),
            Self::Histogram(_) => Self::Histogram(Histogram::default()),
        }
    }
}

/// Orders the points by series and time; what is no count is noted and left out.
fn sorted<'a>(
    points: &'a [Point],
    increase: &mut Increase,
) -> Result<BTreeMap<&'a Labels, BTreeMap<Timestamp, Amount>>, DeltaError> {
    let mut fresh: BTreeMap<&Labels, BTreeMap<Timestamp, Amount>> = BTreeMap::new();
    for point in points {
        let labels = || point.labels.clone();
        let amount = match &point.value {
            Value::Number(number) if *number < 0.0 => {
                return Err(DeltaError::Negative { labels: labels() });
            }
            Value::Number(number) => Amount::Count(*number),
            Value::Histogram(histogram) => Amount::Histogram(histogram.clone()),
            Value::NotFinite(NotFinite::NaN) | Value::Null | Value::Other(_) => {
                increase.skipped = increase.skipped.saturating_add(1);
                continue;
            }
            Value::NotFinite(what) => {
                return Err(DeltaError::Infinite {
                    labels: labels(),
                    what: *what,
                });
            }
        };
        let values = fresh.entry(&point.labels).or_default();
        match values.get(&point.at) {
            Some(known) if *known != amount => {
                return Err(DeltaError::Duplicate {
                    labels: labels(),
                    at: point.at,
                });
            }
            Some(_) => increase.repeated = increase.repeated.saturating_add(1),
            None => {
                values.insert(point.at, amount);
            }
        }
    }
    Ok(fresh)
}

impl Course<'_> {
    /// Follows the series through its new values, notes the difference, and returns its last value.
    fn follow(
        self,
        first: First,
        until: Option<Timestamp>,
        increase: &mut Increase,
    ) -> Result<Option<Tracked>, DeltaError> {
        let mut current = self.last.cloned();
        let mut delta: Option<Delta> = None;
        let mut is_reset = false;
        for (at, value) in self.values {
            let before = match &current {
                Some(known) if at <= known.at => {
                    increase.repeated = increase.repeated.saturating_add(1);
                    continue;
                }
                Some(known) => Some((known.at, Some(&known.value))),
                None => {
                    increase.appeared = increase.appeared.saturating_add(1);
                    let process_at = self.process_at.filter(|seen| *seen < at);
                    // Where it began is not known: after its process was seen, at the end of the last increase, or now.
                    let from = process_at.or(until).unwrap_or(at).min(at);
                    let is_new = first == First::Everything || process_at.is_some();
                    is_new.then_some((from, None))
                }
            };
            if let Some((from, before)) = before {
                let delta = delta.get_or_insert_with(|| Delta {
                    labels: self.labels.clone(),
                    from,
                    to: at,
                    amount: value.nothing(),
                });
                let added = delta.amount.add(before, &value);
                is_reset |= added.ok_or_else(|| DeltaError::Mixed {
                    labels: self.labels.clone(),
                })?;
                delta.to = at;
            }
            let labels = self.labels.clone();
            current = Some(Tracked { labels, at, value });
        }
        if delta.is_none() && self.last.is_some() {
            increase.vanished = increase.vanished.saturating_add(1);
        }
        increase.resets = increase.resets.saturating_add(usize::from(is_reset));
        increase.deltas.extend(delta);
        Ok(current)
    }
}

/// Returns what tells the series' process from others; nothing where that is not known.
fn process(labels: &Labels) -> Vec<&str> {
    let [.., job] = PROCESS;
    let names = PROCESS.iter();
    let is_known = names
        .clone()
        .any(|name| *name != job && labels.get(name).is_some());
    if !is_known {
        return Vec::new();
    }
    names
        .map(|name| labels.get(name).unwrap_or_default())
        .collect()
}

#[cfg(test)]
mod tests;
