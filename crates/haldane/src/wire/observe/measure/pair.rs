//! The counters of both versions, which advance together over the same time, or not at all.

use std::{collections::BTreeMap, time::Duration};

use haldane_source::{
    Absence, Labels, Point,
    delta::{Alignment, Counters, First, Increase, Rule, Span, align},
    reading::AHEAD_MAX,
};
use jiff::Timestamp;

use super::{Gap, NAMES};

/// How series are treated: processes may be older than the rollout, and no outage is remembered for more than a day.
const RULE: Rule = Rule {
    first: First::Nothing,
    keep: Duration::from_secs(24 * 3_600),
};

/// How far the versions' times may lie apart: a part of the shorter one. More is not compared by the judge either.
const SKEW_PART: u32 = 5;

/// After so many halves of the time between samples the next one is missing: two targets of the same interval lie less than one apart.
const MISSING_HALVES: u32 = 3;

/// The counters of both versions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pair {
    /// Stable's counters and the canary's, from when both were there.
    counters: Option<[Counters; 2]>,
    /// Whether these are native histograms.
    is_native: [bool; 2],
    /// Until when it was counted.
    until: Option<Timestamp>,
    /// At the beginning: until when a version stood still, whose series had ended.
    stood: [Option<Timestamp>; 2],
}

/// The samples of a version's series.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    pub(crate) points: Vec<Point>,
    /// Whether latencies are native histograms.
    pub(crate) is_native: bool,
}

/// What both versions advanced by.
#[derive(Clone, Debug)]
pub(crate) struct Advance {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    pub(crate) skew: Duration,
    pub(crate) stable: Increase,
    pub(crate) canary: Increase,
}

impl Pair {
    /// Returns until when it was counted, if anything was.
    pub(crate) const fn until(&self) -> Option<Timestamp> {
        self.until
    }

    /// Returns whether the latencies of stable and of the canary are native histograms.
    pub(crate) const fn is_native(&self) -> [bool; 2] {
        self.is_native
    }

    /// Advances by the samples of stable and of the canary.
    ///
    /// # Errors
    /// When nothing was counted of both; see [`Gap`]. The samples are not taken then, and the next ones count that time, too.
    pub(crate) fn advance(
        &mut self,
        samples: [Samples; 2],
        now: Timestamp,
    ) -> Result<Advance, Gap> {
        let [one, other] = samples.each_ref().map(|samples| samples.is_native);
        let [stable, canary] = samples.map(|samples| samples.points);
        // Of a version that is not there yet nothing is known.
        let is_native = [
            if stable.is_empty() { other } else { one },
            if canary.is_empty() { one } else { other },
        ];
        if stable.is_empty() != canary.is_empty() && self.until.is_none() {
            self.wait([&stable, &canary], is_native)?;
        }
        for (of, points) in NAMES.iter().zip([&stable, &canary]) {
            let newest = points.iter().map(|point| point.at).max();
            let newest = newest.ok_or(Gap::Absent {
                of,
                why: Absence::Empty,
            })?;
            // Once taken, it would stand before all that comes at its right time.
            let by = newest.duration_since(now);
            if by.is_positive() && by.unsigned_abs() > AHEAD_MAX {
                let by = by.unsigned_abs();
                let why = Absence::Ahead { by };
                return Err(Gap::Absent { of, why });
            }
        }
        let stood = ended([&stable, &canary]);
        // While one stands still, the beginning goes on, or the versions would have begun at different times.
        let still_begins = self.until.is_none() && stood != [None, None];
        // Whoever begins to scrape native histograms begins to count anew: what they hold was counted by the classic ones.
        let known = self.counters.as_ref();
        let Some(known) = known.filter(|_| is_native == self.is_native && !still_begins) else {
            self.counters = Some(begin([&stable, &canary], stood)?);
            self.is_native = is_native;
            self.stood = stood;
            return Err(Gap::Beginning);
        };
        let [mut stable_counters, mut canary_counters] = known.clone();
        let stable = take(&mut stable_counters, &stable, NAMES[0], self.stood[0])?;
        let canary = take(&mut canary_counters, &canary, NAMES[1], self.stood[1])?;
        let (Some(one), Some(other)) = (stable.span(), canary.span()) else {
            return Err(Gap::Repeated);
        };
        let skew = skew(one, other)?;
        let (from, to) = (one.from.min(other.from), one.to.max(other.to));
        // Means of many series may go back a little; each increment is counted once all the same.
        let from = from.max(self.until.unwrap_or(from));
        if to <= from {
            return Err(Gap::Repeated);
        }
        self.counters = Some([stable_counters, canary_counters]);
        self.until = Some(to);
        self.stood = [None, None];
        Ok(Advance {
            from,
            to,
            skew,
            stable,
            canary,
        })
    }

    /// Begins with one version alone: what the other has later in the processes that are known by then is new.
    fn wait(&mut self, arms: [&Vec<Point>; 2], is_native: [bool; 2]) -> Result<(), Gap> {
        let [mut stable, mut canary] = begin(arms, [None, None])?;
        stable.meet(arms[1]);
        canary.meet(arms[0]);
        self.counters = Some([stable, canary]);
        self.is_native = is_native;
        self.stood = [None, None];
        Ok(())
    }
}

/// Begins to count at the newest time of which both versions know, or what stood still at the time until which it did.
fn begin(arms: [&Vec<Point>; 2], stood: [Option<Timestamp>; 2]) -> Result<[Counters; 2], Gap> {
    let mut counters = [Counters::default(), Counters::default()];
    let moving = arms.iter().zip(stood).filter(|(_, stood)| stood.is_none());
    let newest = moving.filter_map(|(points, _)| points.iter().map(|point| point.at).max());
    let common = newest.min();
    let apart = |at: Timestamp| common.map(|common| at.duration_since(common).unsigned_abs());
    let sides = NAMES.into_iter().zip(arms).zip(stood);
    for (((of, points), stood), counters) in sides.zip(&mut counters) {
        let mut nearest: BTreeMap<&Labels, &Point> = BTreeMap::new();
        for point in points {
            let known = nearest.entry(&point.labels).or_insert(point);
            let is_nearer = match stood {
                Some(_) => point.at > known.at,
                None => apart(point.at) < apart(known.at),
            };
            if is_nearer {
                *known = point;
            }
        }
        let known = nearest.into_values().map(|point| Point {
            at: stood.unwrap_or(point.at),
            ..point.clone()
        });
        advance(counters, &known.collect::<Vec<_>>(), of)?;
    }
    Ok(counters)
}

/// Takes new points, of a version that may have stood still before.
fn take(
    counters: &mut Counters,
    points: &[Point],
    of: &'static str,
    stood: Option<Timestamp>,
) -> Result<Increase, Gap> {
    let mut anew = counters.clone();
    let increase = advance(counters, points, of)?;
    let Some(stood) = stood.filter(|_| increase.resets > 0) else {
        return Ok(increase);
    };
    // Who came back with one counter at a lower value has begun them all anew: what an earlier rollout's canary counted is no part
    // of the others.
    anew.forget();
    let fresh: Vec<Point> = points
        .iter()
        .filter(|point| point.at > stood)
        .cloned()
        .collect();
    let increase = advance(&mut anew, &fresh, of)?;
    *counters = anew;
    Ok(increase)
}

/// Returns for each version whose series have ended until when it is known to have stood still: what an earlier rollout's pods counted
/// stays as it is until there are new ones.
fn ended(arms: [&Vec<Point>; 2]) -> [Option<Timestamp>; 2] {
    let points = arms.iter().flat_map(|points| points.iter());
    let latest = points.map(|point| point.at).max();
    arms.map(|points| latest.filter(|latest| has_ended(points, *latest)))
}

/// Whether a version's series have no sample where the next one should be, by the time between their own.
fn has_ended(points: &[Point], latest: Timestamp) -> bool {
    let mut times: BTreeMap<&Labels, Vec<Timestamp>> = BTreeMap::new();
    for point in points {
        times.entry(&point.labels).or_default().push(point.at);
    }
    let shortest = |times: &mut Vec<Timestamp>| {
        times.sort_unstable();
        let pairs = times.iter().zip(times.iter().skip(1));
        pairs
            .map(|(one, next)| next.duration_since(*one).unsigned_abs())
            .min()
    };
    let interval = times.values_mut().filter_map(shortest).max();
    let newest = points.iter().map(|point| point.at).max();
    newest.zip(interval).is_some_and(|(newest, interval)| {
        let silent = latest.duration_since(newest).unsigned_abs();
        silent > interval.saturating_mul(MISSING_HALVES) / 2
    })
}

/// Advances the counters of one version.
///
/// # Errors
/// When the values are no counters.
pub(super) fn advance(
    counters: &mut Counters,
    points: &[Point],
    of: &'static str,
) -> Result<Increase, Gap> {
    let increase = counters.advance(points, RULE);
    let increase = increase.map_err(|why| Gap::NoCounter { of, why })?;
    match increase.skipped {
        0 => Ok(increase),
        count => Err(Gap::NoNumber { of, count }),
    }
}

/// Returns how far both versions' times lie apart, if that is little enough.
fn skew(stable: Span, canary: Span) -> Result<Duration, Gap> {
    let length = |span: Span| span.to.duration_since(span.from).unsigned_abs();
    let apart = |a: Timestamp, b: Timestamp| a.duration_since(b).unsigned_abs();
    let skew = apart(stable.from, canary.from).max(apart(stable.to, canary.to));
    let bound = length(stable).min(length(canary)) / SKEW_PART;
    match align(stable, canary, bound, &[]) {
        Alignment::Aligned => Ok(skew),
        Alignment::Apart { skew } | Alignment::Skewed { skew } => Err(Gap::Apart(skew)),
        Alignment::Empty => Err(Gap::Repeated),
    }
}
