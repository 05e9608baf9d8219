//! Haldane's judges: as the plan has them together, and each alone.

use haldane_analysis::{
    Series,
    looks::{self, Knowledge},
    panel::{self, Memory, Question},
    recording::{Moment, Second},
    sequential::Observed,
};
use haldane_core::{
    Weight,
    plan::{Plan, Sequential},
    verdict::{Standing, Subject, Verdict},
};
use jiff::Timestamp;

use super::{Asking, Extent, Finding, Progress};

/// The names of the judges.
const TOGETHER: &str = "haldane";
const SEQUENTIAL: &str = "sequential";
const GUARDS: &str = "guards";

/// All of them.
pub(super) struct Own<'a> {
    plan: &'a Plan,
    asking: Asking,
    series: Series,
    /// What was observed and not looked at yet.
    waiting: Knowledge,
    seats: Vec<Seat<'a>>,
    /// The weight, and since when it is in force.
    weight: (Weight, Option<Timestamp>),
}

/// One of them.
struct Seat<'a> {
    name: &'static str,
    has_guards: bool,
    judge: Option<&'a Sequential>,
    memory: Memory,
    shown_at: Option<Timestamp>,
    /// What it said last.
    finding: Option<Finding>,
    /// Whether it has taken the canary back.
    is_over: bool,
}

/// What stands in where a plan has no sequential judge.
static USUAL: std::sync::LazyLock<Sequential> = std::sync::LazyLock::new(Sequential::default);

impl<'a> Own<'a> {
    pub(super) fn new(plan: &'a Plan, asking: Asking) -> Self {
        let rules = plan.rules();
        let mut seats = vec![Seat::new(TOGETHER, true, rules.judge.as_ref())];
        let usual = rules.judge.as_ref().unwrap_or_else(|| &USUAL);
        seats.push(Seat::new(SEQUENTIAL, false, Some(usual)));
        if !rules.guards.is_empty() {
            seats.push(Seat::new(GUARDS, true, None));
        }
        if !rules.is_judged() {
            seats.retain(|seat| seat.name != TOGETHER);
        }
        Self {
            plan,
            asking,
            series: looks::series(),
            waiting: Knowledge::default(),
            seats,
            weight: (Weight::ZERO, None),
        }
    }

    pub(super) fn play(mut self, moments: &[Moment], extent: &Extent) -> Vec<Finding> {
        let mut progress = Progress::default();
        for moment in moments {
            match moment {
                Moment::Segment(segment) => {
                    self.series = looks::series();
                    self.waiting.observed.clone_from(&segment.known.observed);
                    let own = self.seats.iter_mut().filter(|seat| seat.name == TOGETHER);
                    if self.asking == Asking::AsRecorded {
                        own.for_each(|seat| seat.memory = segment.known.background.clone());
                    }
                }
                Moment::Past(batch) => {
                    // One that was refused then is refused now.
                    let _is_taken = self.series.push(batch.clone());
                }
                Moment::Second(second) => {
                    progress.add(&second.batch, extent);
                    self.look(second, progress);
                }
                Moment::Full(_) => {}
            }
            if self.seats.iter().all(|seat| seat.is_over) {
                break;
            }
        }
        let unasked = |seat: &Seat<'_>| {
            let why = "it was never asked: the canary had no traffic to be judged by";
            progress.finding(seat.name, Verdict::NoData, why.to_owned())
        };
        let finding = |mut seat: Seat<'_>| {
            let said = seat.finding.take().unwrap_or_else(|| unasked(&seat));
            Finding {
                shown_at: seat.shown_at,
                ..said
            }
        };
        self.seats.into_iter().map(finding).collect()
    }

    fn look(&mut self, second: &Second, progress: Progress) {
        let batch = &second.batch;
        if self.weight.0 != batch.weight {
            self.weight = (batch.weight, Some(batch.from));
        }
        // One that was refused then is refused now.
        let _is_taken = self.series.push(batch.clone());
        self.waiting.hear(second.told.iter().cloned());
        let recorded = second.background().map(|asked| asked.since);
        let since = match self.asking {
            Asking::AsRecorded => recorded,
            Asking::Always => {
                recorded.or_else(|| self.weight.1.filter(|_| !batch.weight.is_zero()))
            }
        };
        let Some(since) = since else { return };
        let observed = std::mem::take(&mut self.waiting.observed);
        let question = panel::question(self.plan, Subject::Background, since, batch.to);
        for seat in self.seats.iter_mut().filter(|seat| !seat.is_over) {
            seat.look(&question, &self.series, &observed, progress);
        }
    }
}

impl<'a> Seat<'a> {
    fn new(name: &'static str, has_guards: bool, judge: Option<&'a Sequential>) -> Self {
        Self {
            name,
            has_guards,
            judge,
            memory: Memory::default(),
            shown_at: None,
            finding: None,
            is_over: false,
        }
    }

    fn look(
        &mut self,
        question: &Question<'_>,
        series: &Series,
        observed: &[Observed],
        progress: Progress,
    ) {
        let question = Question {
            guards: if self.has_guards {
                question.guards
            } else {
                &[]
            },
            judge: self.judge,
            ..*question
        };
        let judgement = panel::judge(&question, series, observed, &mut self.memory).judgement;
        if judgement.standing == Standing::Shown && self.judge.is_some() {
            self.shown_at = self.shown_at.or(progress.at);
        }
        self.is_over = judgement.verdict == Verdict::Fail;
        self.finding = Some(progress.finding(self.name, judgement.verdict, judgement.reason));
    }
}
