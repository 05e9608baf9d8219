//! The judges of others, on the same seconds.

use std::collections::{BTreeSet, VecDeque};

use haldane_analysis::{Batch, Sample, recording::Moment};
use haldane_core::{Weight, verdict::Verdict};
use jiff::Timestamp;

use super::{Extent, Finding, Progress, batch};
use crate::judges::{
    Decider, Judge, Latency, Scenario, Schedule, Turn,
    latency::quantile,
    peer::{Argo, FixedWindow, Flagger, Kayenta},
    traffic::{Counts, Second},
};

/// The longest time that any of them looks back, seconds.
const RECENT: u32 = 300;

/// All of them.
pub(super) struct Others {
    bounds_us: Vec<u64>,
    seats: Vec<Seat>,
    kayenta: Kayenta,
    recent: Recent,
}

/// One that decides as it goes.
struct Seat {
    judge: Judge,
    decider: Box<dyn Decider>,
    finding: Option<Finding>,
}

/// What the canary did in the last seconds.
#[derive(Default)]
struct Recent(VecDeque<(u32, Counts)>);

impl Others {
    pub(super) fn new(moments: &[Moment]) -> Self {
        let bounds_us = bounds(moments);
        let scenario = Scenario {
            latency: (!bounds_us.is_empty()).then(|| Latency::usual(bounds_us.clone())),
            ..Scenario::errors(0.0, 0.0, 0.0)
        };
        // When weights change is seen in the data; the schedule is never asked.
        let schedule = Schedule {
            steps: vec![Weight::FULL],
            hold: u32::MAX,
        };
        let seat = |judge: Judge, decider: Box<dyn Decider>| Seat {
            judge,
            decider,
            finding: None,
        };
        let flagger = Flagger::new(&scenario, schedule.clone(), 0.99);
        let fixed = FixedWindow::new(&scenario, schedule.clone());
        Self {
            seats: vec![
                seat(Judge::Flagger, Box::new(flagger)),
                seat(Judge::Argo, Box::new(Argo::new(schedule.clone()))),
                seat(Judge::FixedWindow, Box::new(fixed)),
            ],
            kayenta: Kayenta::new(&scenario, schedule),
            bounds_us,
            recent: Recent::default(),
        }
    }

    pub(super) fn play(mut self, moments: &[Moment], extent: &Extent) -> Vec<Finding> {
        let mut progress = Progress::default();
        let mut kayenta: Option<Finding> = None;
        let Some(begin) = extent.canary_from else {
            return self.unasked();
        };
        let seconds: Vec<&Batch> = moments
            .iter()
            .filter_map(batch)
            .filter(|batch| batch.from >= begin)
            .collect();
        let is_in_use = |batch: &&&Batch| !batch.weight.is_zero() || batch.canary.requests > 0;
        // What came after the canary's last traffic is nothing to judge it by.
        let end = seconds.iter().rposition(|batch| is_in_use(&batch));
        let seconds = seconds
            .get(..end.map_or(0, |end| end.saturating_add(1)))
            .unwrap_or_default();
        let mut done = 0_u32;
        for (index, batch) in seconds.iter().enumerate() {
            progress.add(batch, extent);
            let at = second_of(begin, batch.to);
            // Two batches may end in the same second; the later one is told as the next.
            let at = at.max(done.saturating_add(1));
            self.pass(done, at, batch, progress);
            done = at;
            let next = seconds.get(index.saturating_add(1)).map(|next| next.weight);
            let is_end_of_step =
                next.is_none_or(|next| next > batch.weight) && !batch.weight.is_full();
            let is_open = kayenta
                .as_ref()
                .is_none_or(|said| said.verdict != Verdict::Fail);
            if is_end_of_step && is_open {
                let answer = self.kayenta.judge();
                let name = Judge::Kayenta.name();
                let why = format!("score {:.0}: {}", answer.score, answer.reason);
                kayenta = Some(progress.finding(name, answer.verdict, why));
            }
        }
        let mut findings = self.conclude(progress);
        findings.push(kayenta.unwrap_or_else(|| {
            let why =
                "it judges at the end of a step below all traffic, and there was none".to_owned();
            progress.finding(Judge::Kayenta.name(), Verdict::NoData, why)
        }));
        findings
    }

    /// Lets the seconds up to the end of a batch pass, and puts what was counted into the last one.
    fn pass(&mut self, done: u32, at: u32, batch: &Batch, progress: Progress) {
        let full = Second {
            stable: self.counts(&batch.stable),
            canary: self.counts(&batch.canary),
            ..Second::empty(batch.weight)
        };
        self.recent.push(at, &full.canary);
        let empty = Second::empty(batch.weight);
        for second in done.saturating_add(1)..=at {
            let content = if second == at { &full } else { &empty };
            self.kayenta.gather(second, content);
            for seat in self.seats.iter_mut().filter(|seat| seat.finding.is_none()) {
                let verdict = match seat.decider.hear(second, content) {
                    Turn::On => continue,
                    Turn::RollBack => Verdict::Fail,
                    Turn::Pause => Verdict::Inconclusive,
                };
                let why = self
                    .recent
                    .why(seat.judge, verdict, second, &self.bounds_us);
                seat.finding = Some(progress.finding(seat.judge.name(), verdict, why));
            }
        }
    }

    fn counts(&self, sample: &Sample) -> Counts {
        let mut latencies = vec![0_u64; self.bounds_us.len().saturating_add(1)];
        for bucket in &sample.latency {
            let place = self
                .bounds_us
                .partition_point(|bound| *bound < bucket.upper_us);
            if let Some(count) = latencies.get_mut(place) {
                *count = count.saturating_add(bucket.count);
            }
        }
        if self.bounds_us.is_empty() {
            latencies.clear();
        }
        Counts {
            requests: sample.requests,
            failures: sample.failures,
            latencies,
            hits: 0,
        }
    }

    /// Returns what those who decide as they go said; who did not take the canary back would have gone on.
    fn conclude(self, progress: Progress) -> Vec<Finding> {
        let verdict = if progress.requests > 0 {
            Verdict::Pass
        } else {
            Verdict::NoData
        };
        let last = u32::try_from(progress.seconds).unwrap_or(u32::MAX);
        let (recent, bounds_us) = (self.recent, self.bounds_us);
        let said = self.seats.into_iter().map(|seat| {
            seat.finding.unwrap_or_else(|| {
                let why = format!("goes on: {}", recent.seen(seat.judge, last, &bounds_us));
                progress.finding(seat.judge.name(), verdict, why)
            })
        });
        said.collect()
    }

    fn unasked(self) -> Vec<Finding> {
        let names = self.seats.iter().map(|seat| seat.judge.name());
        let names = names.chain([Judge::Kayenta.name()]);
        let why = "the canary had no traffic";
        names
            .map(|name| Progress::default().finding(name, Verdict::NoData, why.to_owned()))
            .collect()
    }
}

impl Recent {
    fn push(&mut self, at: u32, counts: &Counts) {
        self.0.push_back((at, counts.clone()));
        while self
            .0
            .front()
            .is_some_and(|(first, _)| first.saturating_add(RECENT) <= at)
        {
            self.0.pop_front();
        }
    }

    fn last(&self, at: u32, seconds: u32) -> Counts {
        let mut sum = Counts::default();
        let is_within = |then: u32| then <= at && then.saturating_add(seconds) > at;
        for (_, counts) in self.0.iter().filter(|(then, _)| is_within(*then)) {
            sum.add(counts);
        }
        sum
    }

    /// Says why a judge took the canary back, or stopped for a person.
    fn why(&self, judge: Judge, verdict: Verdict, at: u32, bounds_us: &[u64]) -> String {
        let seen = self.seen(judge, at, bounds_us);
        let rule = match judge {
            Judge::Flagger => "five checks failed (success below 99 %, or p99 above 500 ms)",
            Judge::Argo if verdict == Verdict::Fail => {
                "more than two measurements failed (success below 90 %)"
            }
            Judge::Argo => {
                "a measurement could not tell (success below 95 %): it waits for a person"
            }
            Judge::FixedWindow => "more than 5 % errors, or p99 above 1 s",
            Judge::Sequential
            | Judge::Adaptive
            | Judge::Scraped
            | Judge::Strict
            | Judge::Patient
            | Judge::Threshold
            | Judge::FlaggerTuned
            | Judge::Kayenta => return seen,
        };
        format!("{rule}: {seen}")
    }

    /// Says what a judge saw last.
    fn seen(&self, judge: Judge, at: u32, bounds_us: &[u64]) -> String {
        let (seconds, time) = match judge {
            Judge::FixedWindow => (300, "five minutes"),
            Judge::Sequential
            | Judge::Adaptive
            | Judge::Scraped
            | Judge::Strict
            | Judge::Patient
            | Judge::Threshold
            | Judge::Flagger
            | Judge::FlaggerTuned
            | Judge::Argo
            | Judge::Kayenta => (60, "minute"),
        };
        let counts = self.last(at, seconds);
        let success = counts.success().map_or_else(
            || "no requests".to_owned(),
            |share| {
                format!(
                    "{:.2} % of {} requests succeeded",
                    share * 100.0,
                    counts.requests
                )
            },
        );
        let slow = quantile(bounds_us, &counts.latencies, 0.99);
        let slow = slow.map_or_else(String::new, |us| format!(", p99 {:.0} ms", us / 1_000.0));
        format!("{success} in the last {time}{slow}")
    }
}

/// Returns every bound of a bucket, ascending.
fn bounds(moments: &[Moment]) -> Vec<u64> {
    let samples = moments
        .iter()
        .filter_map(batch)
        .flat_map(|batch| [&batch.stable, &batch.canary]);
    let buckets = samples.flat_map(|sample| &sample.latency);
    let bounds: BTreeSet<u64> = buckets
        .flat_map(|bucket| [bucket.lower_us, bucket.upper_us])
        .filter(|bound| (1..u64::MAX).contains(bound))
        .collect();
    bounds.into_iter().collect()
}

/// Returns in which second after the beginning a time lies.
fn second_of(begin: Timestamp, at: Timestamp) -> u32 {
    let milliseconds = at.duration_since(begin).unsigned_abs().as_millis();
    u32::try_from(milliseconds.div_ceil(1_000)).unwrap_or(u32::MAX)
}
