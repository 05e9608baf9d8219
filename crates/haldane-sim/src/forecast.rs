//! Forecasts: what a plan would do with a version that fails so often and answers so slowly.
//!
//! The real [`step`] and the real judge decide, on counts that are drawn for each second: requests by a Poisson distribution, failures by
//! a binomial one, latencies by a log-normal one. Everything else goes well: replicas are ready a few seconds after they were asked
//! for, the router applies a weight at once, gates that ask a program open, windows are open, and processor and memory stay in their
//! limits. Where the plan asks a person, the forecast ends: it can't know the answer.
//!
//! **Invariant:** the same scenario and seed give the same run.

mod counts;

use std::{collections::BTreeMap, time::Duration};

use haldane_analysis::{
    Batch, Series,
    panel::{self, Memory},
};
use haldane_core::{
    RolloutId, ServiceName, VersionName,
    plan::Plan,
    rollout::{
        Calendar, CanaryWish, Effect, Facts, GateAnswer, Input, Paused, Phase, Reason, Replicas,
        Resume, State, Traffic, TrafficSeen, WorkloadWish, Workloads, begin, next_deadline, step,
    },
    verdict::{Judgement, Share, Subject},
};
use jiff::{SignedDuration, Timestamp};

use self::counts::{Arm, bounds};
use crate::chance::{Chance, mix};

/// How long a replica takes to become ready.
const START: SignedDuration = SignedDuration::from_secs(3);

/// How many replicas stable has.
const REPLICAS: u32 = 2;

/// The length of a batch, as in production.
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// The batches that are kept, as in production: an hour covers every window.
const BATCHES_KEPT: usize = haldane_analysis::series::BATCHES_MAX;

/// The most decisions at one moment; a plan moves by one step each.
const SETTLE_MAX: usize = 4_096;

/// The longest run, in turns of at least a second: more than two days of judging.
const TURNS_MAX: u32 = 200_000;

/// What is to be forecast.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The plan.
    pub plan: Plan,
    /// Requests per second to the service.
    pub requests_per_second: f64,
    /// How the version that serves users is.
    pub stable: Quality,
    /// How the version on trial is.
    pub canary: Quality,
}

/// How a version answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// The share of requests that fail, parts per million.
    pub error_ppm: u64,
    /// The median of its latency.
    pub latency_median: Duration,
    /// The spread of its latency: the standard deviation of the logarithm.
    pub latency_sigma: f64,
}

/// How one run went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// How it ended.
    pub end: End,
    /// Where it was then.
    pub place: Place,
    /// Why, in the words of the rollout.
    pub why: String,
    /// How long it took.
    pub length: Duration,
    /// Requests that the canary got.
    pub canary_requests: u64,
    /// Requests that it failed.
    pub canary_failures: u64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The canary was promoted.
    Promoted,
    /// The canary was judged bad and rolled back.
    RolledBack,
    /// There was no evidence to go on by the deadline, and the canary was rolled back.
    NoEvidence,
    /// The plan waits for a person.
    Person,
    /// It was not over within the longest time that is simulated.
    Unfinished,
}

/// Where a rollout was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Before the first step.
    Start,
    /// At the step of this index.
    Step(u32),
    /// After the last step.
    Promotion,
}

/// How many runs went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many there were.
    pub runs: u32,
    /// How many ended so.
    pub ends: BTreeMap<End, u32>,
    /// How long those took that were promoted.
    pub promoted_after: Option<Spread<Duration>>,
    /// How long those took that were rolled back, for a verdict or for none.
    pub rolled_back_after: Option<Spread<Duration>>,
    /// Requests that the canary got.
    pub canary_requests: Option<Spread<u64>>,
    /// Requests that it failed.
    pub canary_failures: Option<Spread<u64>>,
    /// Where they ended: how many, and why the first of them did.
    pub places: BTreeMap<(Place, End), (u32, String)>,
}

/// The middle of some values, and what 95 % of them don't exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread<T> {
    /// The median.
    pub p50: T,
    /// The 95th percentile.
    pub p95: T,
}

/// Everything outside the rollout.
struct World<'a> {
    scenario: &'a Scenario,
    now: Timestamp,
    traffic: Traffic,
    /// When the canary's replicas were asked for.
    canary_born: Vec<Timestamp>,
    gate: Option<GateAnswer>,
    judged: Vec<(Subject, Timestamp)>,
    series: Series,
    memory: Memory,
    step_memory: (Option<u32>, Memory),
    stable: Arm,
    canary: Arm,
    canary_requests: u64,
    canary_failures: u64,
    chance: Chance,
}

/// Plays the rollout of this seed.
#[must_use]
pub fn play(scenario: &Scenario, seed: u64) -> Run {
    let plan = &scenario.plan;
    let mut world = World::new(scenario, seed);
    let began = world.now;
    let mut place = Place::Start;
    let mut state = begin(names().0, names().1, names().2, plan, began);
    for _ in 0..TURNS_MAX {
        state = world.settle(state);
        place = place_of(&state.phase).unwrap_or(place);
        if let Some((end, why)) = end_of(&state.phase) {
            return world.finish(end, place, why, began);
        }
        world.pass(&state);
        state.facts = world.judge(&state);
    }
    world.finish(
        End::Unfinished,
        place,
        "it takes longer than is simulated".to_owned(),
        began,
    )
}

/// Returns the seed of the run of this index; every run of a forecast has its own.
#[must_use]
pub const fn seed_of(seed: u64, index: u32) -> u64 {
    mix(seed ^ mix(index as u64))
}

/// Sums up runs, in any order.
#[must_use]
pub fn summarize(runs: &[Run]) -> Summary {
    let (mut ends, mut places) = (BTreeMap::new(), BTreeMap::new());
    for run in runs {
        let count: &mut u32 = ends.entry(run.end).or_default();
        *count = count.saturating_add(1);
        let (count, _): &mut (u32, String) = places
            .entry((run.place, run.end))
            .or_insert_with(|| (0, run.why.clone()));
        *count = count.saturating_add(1);
    }
    let lengths = |is_meant: fn(End) -> bool| {
        spread(
            runs.iter()
                .filter(|run| is_meant(run.end))
                .map(|run| run.length),
        )
    };
    Summary {
        runs: u32::try_from(runs.len()).unwrap_or(u32::MAX),
        ends,
        promoted_after: lengths(|end| end == End::Promoted),
        rolled_back_after: lengths(|end| matches!(end, End::RolledBack | End::NoEvidence)),
        canary_requests: spread(runs.iter().map(|run| run.canary_requests)),
        canary_failures: spread(runs.iter().map(|run| run.canary_failures)),
        places,
    }
}

fn spread<T: Copy + Ord>(values: impl Iterator<Item = T>) -> Option<Spread<T>> {
    let mut sorted: Vec<T> = values.collect();
    sorted.sort_unstable();
    let ranked = |percent: usize| {
        let rank = sorted.len().saturating_mul(percent).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied()
    };
    Some(Spread {
        p50: ranked(50)?,
        p95: ranked(95)?,
    })
}

fn names() -> (RolloutId, VersionName, VersionName) {
    #[expect(clippy::expect_used, reason = "constant input; every test reads it")]
    let name = |text: &str| text.parse::<VersionName>().expect("a valid name");
    #[expect(clippy::expect_used, reason = "constant input; every test reads it")]
    let service = "forecast".parse::<ServiceName>().expect("a valid name");
    (RolloutId::new(&service, 1), name("stable"), name("canary"))
}

fn place_of(phase: &Phase) -> Option<Place> {
    match phase {
        Phase::Pending(_) | Phase::Preparing(_) => Some(Place::Start),
        Phase::Progressing(progress)
        | Phase::Paused(Paused {
            from: Resume::Step(progress),
            ..
        }) => Some(Place::Step(progress.step)),
        Phase::Promoting(_)
        | Phase::Completed(_)
        | Phase::Paused(Paused {
            from: Resume::Promotion(_),
            ..
        }) => Some(Place::Promotion),
        // They say nothing of where they came from.
        Phase::RollingBack(_) | Phase::RolledBack(_) | Phase::Failed(_) => None,
    }
}

/// Returns how a run ended, if it has.
fn end_of(phase: &Phase) -> Option<(End, String)> {
    match phase {
        Phase::Completed(ended) => Some((End::Promoted, ended.why.to_string())),
        Phase::RolledBack(ended) | Phase::Failed(ended) => {
            let end = if matches!(ended.why, Reason::NoEvidence(_)) {
                End::NoEvidence
            } else {
                End::RolledBack
            };
            Some((end, ended.why.to_string()))
        }
        Phase::Paused(paused) => Some((End::Person, paused.why.to_string())),
        Phase::Pending(_)
        | Phase::Preparing(_)
        | Phase::Progressing(_)
        | Phase::Promoting(_)
        | Phase::RollingBack(_) => None,
    }
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, seed: u64) -> Self {
        let bounds = bounds(scenario);
        Self {
            scenario,
            now: Timestamp::UNIX_EPOCH,
            traffic: Traffic::STABLE_ONLY,
            canary_born: Vec::new(),
            gate: None,
            judged: Vec::new(),
            series: Series::bounded(BATCHES_KEPT),
            memory: Memory::default(),
            step_memory: (None, Memory::default()),
            stable: Arm::new(&scenario.stable, &bounds),
            canary: Arm::new(&scenario.canary, &bounds),
            canary_requests: 0,
            canary_failures: 0,
            chance: Chance::new(seed, 7),
        }
    }

    fn finish(&self, end: End, place: Place, why: String, began: Timestamp) -> Run {
        Run {
            end,
            place,
            why,
            length: self.now.duration_since(began).unsigned_abs(),
            canary_requests: self.canary_requests,
            canary_failures: self.canary_failures,
        }
    }

    /// Lets the rollout decide until nothing more follows from this moment.
    fn settle(&mut self, mut state: State) -> State {
        for _ in 0..SETTLE_MAX {
            let told = (
                self.traffic.clone(),
                self.canary_born.len(),
                self.gate.clone(),
            );
            let heard = State {
                facts: self.tell(&state.facts),
                ..state.clone()
            };
            let next = step(&self.scenario.plan, &heard, &Input::Tick, self.now);
            self.obey(next.effects);
            let is_settled = next.state.is_same_decision(&state)
                && told
                    == (
                        self.traffic.clone(),
                        self.canary_born.len(),
                        self.gate.clone(),
                    );
            state = next.state;
            if is_settled {
                break;
            }
        }
        state
    }

    /// Adds to what is known what is seen now.
    fn tell(&self, known: &Facts) -> Facts {
        let ready = self
            .canary_born
            .iter()
            .filter(|born| ready_at(**born) <= self.now)
            .count();
        let count = |number| u32::try_from(number).unwrap_or(u32::MAX);
        let stable = Replicas {
            wanted: REPLICAS,
            ready: REPLICAS,
            existing: REPLICAS,
            is_fixed: false,
        };
        let wanted = count(self.canary_born.len());
        let canary = Replicas {
            wanted,
            ready: count(ready),
            existing: wanted,
            is_fixed: false,
        };
        Facts {
            workloads: Some(Workloads {
                stable,
                canary,
                canary_full: REPLICAS,
                canary_trouble: None,
            }),
            traffic: Some(TrafficSeen {
                applied: self.traffic.clone(),
                stable_in_flight: 0,
                canary_in_flight: 0,
            }),
            calendar: Some(Calendar::Open),
            gate: self.gate.clone(),
            ..known.clone()
        }
    }

    fn obey(&mut self, effects: Vec<Effect>) {
        self.judged.clear();
        for effect in effects {
            match effect {
                Effect::EnsureTraffic(traffic) => self.traffic = traffic,
                Effect::EnsureWorkloads(wish) => self.scale(&wish),
                Effect::EnsureJudged { subject, since } => self.judged.push((subject, since)),
                Effect::EnsureAsked(key) => {
                    let said = "the forecast takes gates to open".to_owned();
                    self.gate = Some(GateAnswer {
                        key,
                        is_open: true,
                        said,
                    });
                }
                Effect::EnsureStable(_) | Effect::Notify { .. } => {}
            }
        }
    }

    fn scale(&mut self, wish: &WorkloadWish) {
        let wanted = match wish.canary {
            CanaryWish::Stopped => 0,
            CanaryWish::Kept => return,
            CanaryWish::Running(size) => size.replicas(REPLICAS),
        };
        self.canary_born
            .resize(usize::try_from(wanted).unwrap_or(usize::MAX), self.now);
    }

    /// Lets time pass, and counts the requests meanwhile.
    fn pass(&mut self, state: &State) {
        let from = self.now;
        let length = if self.judged.is_empty() {
            self.until_next(state)
        } else {
            SECOND
        };
        self.now = from.checked_add(length).unwrap_or(Timestamp::MAX);
        let expected = self.scenario.requests_per_second * length.as_secs_f64();
        let share = f64::from(self.traffic.weight.as_bps()) / 10_000.0;
        let canary = self.canary.draw(expected * share, &mut self.chance);
        self.canary_requests = self.canary_requests.saturating_add(canary.requests);
        self.canary_failures = self.canary_failures.saturating_add(canary.failures);
        if !self.judged.is_empty() {
            let stable = self.stable.draw(expected * (1.0 - share), &mut self.chance);
            let batch = Batch {
                from,
                to: self.now,
                stable,
                canary,
                weight: self.traffic.weight,
            };
            // Time only goes on here, so the series takes every batch.
            self.series.push(batch).ok();
        }
    }

    /// Returns how long nothing can happen, in whole seconds: where nobody judges, only deadlines and replicas count.
    fn until_next(&self, state: &State) -> SignedDuration {
        let starts = self
            .canary_born
            .iter()
            .map(|born| ready_at(*born))
            .filter(|at| *at > self.now);
        let next = starts.chain(next_deadline(state)).min().unwrap_or(self.now);
        let seconds = next.duration_since(self.now).as_secs();
        let rest = SignedDuration::from_secs(seconds);
        let up = if next.duration_since(self.now) > rest {
            1
        } else {
            0
        };
        SignedDuration::from_secs(seconds.saturating_add(up)).max(SECOND)
    }

    /// Lets the judges look, and returns what is known after it.
    fn judge(&mut self, state: &State) -> Facts {
        let plan = &self.scenario.plan;
        let mut facts = state.facts.clone();
        for (subject, since) in self.judged.clone() {
            let memory = match subject {
                Subject::Background => &mut self.memory,
                Subject::Step(index) => {
                    if self.step_memory.0 != Some(index) {
                        self.step_memory = (Some(index), Memory::default());
                    }
                    &mut self.step_memory.1
                }
            };
            // What other systems will measure is not known beforehand, so it holds nothing up here.
            let question = panel::Question {
                metrics: &[],
                ..panel::question(plan, subject, since, self.now)
            };
            let answer = panel::judge(&question, &self.series, &[], memory);
            // Requests that reach the canary by a rule are no part of the split, so they say nothing about it.
            let is_split = !self.traffic.weight.is_zero() && self.traffic.header_routes.is_empty();
            let share = if is_split {
                answer.judgement.share
            } else {
                Share::Fits
            };
            facts = facts.with(&Input::Judged(Judgement {
                share,
                ..answer.judgement
            }));
        }
        facts
    }
}

fn ready_at(born: Timestamp) -> Timestamp {
    born.checked_add(START).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
