//! Measurements and the verdicts on them, from a truth that the host does not know.

use haldane_core::{
    guard::Severity,
    verdict::{Judgement, Share, Standing, Subject, Unusual, Verdict},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    chance::Chance,
    fault::{Fault, Faults},
};

/// How much evidence a verdict needs.
const WARM_UP: SignedDuration = SignedDuration::from_secs(3);

/// How often a judge suspects a good canary; a real one takes a comparison for an answer.
const SUSPICIONS_MAX: u32 = 2;

/// The judges and what they are asked for.
#[derive(Clone, Debug)]
pub(crate) struct Judge {
    wanted: Vec<(Subject, Timestamp)>,
    bad_from: Option<i64>,
    lag: SignedDuration,
    missing: (i64, i64),
    last: Option<Judgement>,
    suspicions: u32,
    chance: Chance,
}

/// When and on what is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// True time.
    pub(super) now: i64,
    /// What the wall clock says.
    pub(super) clock: Timestamp,
    /// Whether the canary answers at all.
    pub(super) has_data: bool,
}

impl Judge {
    pub(super) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed, 5);
        let bad_from = match chance.below(10) {
            0..=6 => None,
            7 => Some(0),
            _ => Some(chance.seconds(0, 200)),
        };
        let from = chance.seconds(0, 120);
        Self {
            wanted: Vec::new(),
            bad_from,
            lag: SignedDuration::from_millis(chance.seconds(5, 30)),
            missing: (from, from.saturating_add(chance.seconds(10, 120))),
            last: None,
            suspicions: 0,
            chance,
        }
    }

    /// Whether the canary is truly bad at this time.
    pub(super) fn is_bad(&self, now: i64) -> bool {
        self.bad_from.is_some_and(|from| from <= now)
    }

    /// Forgets what was asked for; what is wanted is told anew.
    pub(crate) fn clear(&mut self) {
        self.wanted.clear();
    }

    pub(crate) fn ensure(&mut self, subject: Subject, since: Timestamp) {
        self.wanted.retain(|(known, _)| *known != subject);
        self.wanted.push((subject, since));
    }

    pub(super) fn judgements(&mut self, moment: Moment, faults: &mut Faults) -> Vec<Judgement> {
        let wanted = self.wanted.clone();
        let mut given = Vec::new();
        for (subject, since) in wanted {
            given.extend(self.judge(subject, since, moment, faults));
        }
        if faults.strikes_at_times(Fault::ForeignJudgement, 300, &mut self.chance) {
            let step = u32::try_from(self.chance.below(9)).unwrap_or(0);
            let verdict = self.chance.pick(Verdict::Pass, &[Verdict::Fail]);
            given.push(judgement(
                Subject::Step(step),
                verdict,
                Timestamp::UNIX_EPOCH,
                moment.clock,
            ));
        }
        given
    }

    fn judge(
        &mut self,
        subject: Subject,
        since: Timestamp,
        moment: Moment,
        faults: &mut Faults,
    ) -> Option<Judgement> {
        let Moment { now, clock, .. } = moment;
        if self.missing.0 <= now && now < self.missing.1 && faults.strikes(Fault::MissingData) {
            return None;
        }
        if faults.strikes_at_times(Fault::OldJudgement, 300, &mut self.chance) {
            let before = SignedDuration::from_secs(60);
            return Some(judgement(subject, Verdict::Pass, since - before, clock));
        }
        if faults.strikes_at_times(Fault::RepeatedJudgement, 300, &mut self.chance) {
            return self.last.clone();
        }
        let at = if faults.strikes(Fault::LaggingData) {
            clock - self.lag
        } else {
            clock
        };
        if at.duration_since(since) < WARM_UP {
            return None;
        }
        let mut judged = judgement(subject, self.verdict(moment, faults), since, at);
        if faults.strikes_at_times(Fault::Mismatch, 300, &mut self.chance) {
            judged.share = Share::Mismatch;
        }
        if faults.strikes_at_times(Fault::Warning, 400, &mut self.chance) {
            judged.broken = Some(Severity::Warn);
        }
        if faults.strikes_at_times(Fault::Unusual, 400, &mut self.chance) {
            let kind = self.chance.pick(
                Unusual::Suspect as fn(String) -> Unusual,
                &[Unusual::Environment],
            );
            judged.unusual = Some(kind("p95".to_owned()));
        }
        if faults.strikes_at_times(Fault::Unshown, 400, &mut self.chance) {
            judged.standing = Standing::Open;
        }
        if judged.verdict == Verdict::Pass
            && self.suspicions < SUSPICIONS_MAX
            && faults.strikes_at_times(Fault::Suspicion, 100, &mut self.chance)
        {
            judged.verdict = Verdict::Inconclusive;
            judged.standing = Standing::Suspect;
            self.suspicions = self.suspicions.saturating_add(1);
        }
        self.last = Some(judged.clone());
        Some(judged)
    }

    fn verdict(&mut self, moment: Moment, faults: &mut Faults) -> Verdict {
        if !moment.has_data {
            return Verdict::NoData;
        }
        if faults.strikes_at_times(Fault::Noise, 400, &mut self.chance) {
            return self.chance.pick(Verdict::Inconclusive, &[Verdict::NoData]);
        }
        if self.is_bad(moment.now) {
            Verdict::Fail
        } else {
            Verdict::Pass
        }
    }
}

fn judgement(subject: Subject, verdict: Verdict, since: Timestamp, at: Timestamp) -> Judgement {
    Judgement {
        subject,
        verdict,
        broken: (verdict == Verdict::Fail).then_some(Severity::Critical),
        share: Share::Fits,
        standing: if verdict == Verdict::Pass {
            Standing::Shown
        } else {
            Standing::Open
        },
        unusual: None,
        since,
        at,
        reason: "errorRate".to_owned(),
    }
}
