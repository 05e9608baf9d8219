//! A recording judged again.

use haldane_core::{plan::Plan, verdict::Judgement};
use jiff::Timestamp;

use super::{Moment, Second};
use crate::{
    evidence::Evidence,
    looks::{self, Asked, Knowledge},
    panel::{Answer, Memory},
    series::Series,
};

/// The judges, at a moment of a recording.
#[derive(Debug)]
pub struct Playback<'a> {
    plan: &'a Plan,
    series: Series,
    known: Knowledge,
    /// Whether it has begun.
    has_begun: bool,
    /// The end of the newest second.
    newest: Option<Timestamp>,
    /// How often the judges of the whole rollout, or of a step, looked.
    looks: u64,
    /// The beginnings that don't go on where the second before ended, by what the judges know.
    breaks: Vec<Timestamp>,
    shown: Option<Judged>,
}

/// What the judges said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// When.
    pub at: Timestamp,
    /// To what question.
    pub asked: Asked,
    /// What the rollout was told.
    pub judgement: Judgement,
    /// What that rests on.
    pub evidence: Evidence,
}

impl<'a> Playback<'a> {
    /// Returns the judges of a plan before the first moment.
    #[must_use]
    pub fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            series: looks::series(),
            known: Knowledge::default(),
            has_begun: false,
            newest: None,
            looks: 0,
            breaks: Vec::new(),
            shown: None,
        }
    }

    /// Goes on by one moment; returns what the judges said in it.
    pub fn play(&mut self, moment: &Moment) -> Vec<Judged> {
        match moment {
            Moment::Segment(segment) => {
                // What was not looked at yet is lost with a process and proves nothing.
                let is_whole = self.known.background == segment.known.background;
                if self.has_begun && !is_whole {
                    self.breaks.push(segment.at);
                }
                self.has_begun = true;
                self.series = looks::series();
                self.known = segment.known.clone();
                self.shown = None;
                Vec::new()
            }
            Moment::Past(batch) => {
                // One that was refused then is refused now.
                let _is_taken = self.series.push(batch.clone());
                Vec::new()
            }
            Moment::Second(second) => self.look(second),
            Moment::Full(_) => {
                // What is said from here on is not known.
                self.shown = None;
                Vec::new()
            }
        }
    }

    /// Returns what the judges of the whole rollout remember.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        &self.known.background
    }

    /// Returns the end of the newest second.
    #[must_use]
    pub const fn newest(&self) -> Option<Timestamp> {
        self.newest
    }

    /// Returns how often the judges looked.
    #[must_use]
    pub const fn looks(&self) -> u64 {
        self.looks
    }

    /// Returns where the judges began with something else than they knew at the end of what is recorded before: seconds are missing there.
    #[must_use]
    pub fn breaks(&self) -> &[Timestamp] {
        &self.breaks
    }

    /// Returns what people were shown last.
    #[must_use]
    pub const fn shown(&self) -> Option<&Judged> {
        self.shown.as_ref()
    }

    fn look(&mut self, second: &Second) -> Vec<Judged> {
        let now = second.batch.to;
        self.newest = Some(now);
        // One that was refused then is refused now.
        let _is_taken = self.series.push(second.batch.clone());
        self.known.hear(second.told.iter().cloned());
        self.known.compare(second.bands.clone());
        let mut all = Vec::new();
        for asked in &second.asked {
            self.looks = self.looks.saturating_add(1);
            let Answer {
                judgement,
                evidence,
            } = self.known.look(self.plan, *asked, &self.series, now);
            let judged = Judged {
                at: now,
                asked: *asked,
                judgement: looks::told(judgement, second.is_split),
                evidence,
            };
            if looks::is_shown(self.plan, asked.subject) {
                self.shown = Some(judged.clone());
            }
            all.push(judged);
        }
        all
    }
}
