//! The judges of one rollout: each pair of versions is judged by its own counts, and the worst of them decides.
//!
//! **Invariant:** of several pairs the judges together have no more chance to take a good canary for a bad one than those of one.

use haldane_analysis::{
    Evidence, Series,
    looks::{self, Asked, Knowledge},
    panel::Memory,
};
use haldane_core::{
    plan::{Plan, PlanParts},
    verdict::{Judgement, Share, Standing, Verdict},
};
use jiff::{SignedDuration, Timestamp};
use tracing::debug;

use super::record::Live;
use crate::{meter::Measured, turn::Key};

/// The time between two looks of the judges.
pub(super) const LOOK: SignedDuration = SignedDuration::from_secs(1);

/// What the judges of one rollout know.
#[derive(Debug)]
pub(super) struct Bench {
    /// The judges of each pair; those of a Deployment or a StatefulSet are one.
    pairs: Vec<Judges>,
    /// What the worst of them said last.
    pub judged: Option<(Judgement, Evidence)>,
    /// When they looked last.
    looked: Option<Timestamp>,
    /// Why something gives no data at present.
    pub faults: Vec<String>,
}

/// The judges of one pair.
#[derive(Debug)]
struct Judges {
    /// What the pair is called where there are others.
    name: String,
    series: Series,
    known: Knowledge,
}

/// What the judges of one pair say.
struct Said<'a> {
    name: &'a str,
    judgement: Judgement,
    evidence: Evidence,
}

impl Bench {
    /// Returns judges that know what the rollout's record says, for pairs of these names.
    pub(super) fn of(live: &Live, names: &[String]) -> Self {
        let known = std::iter::once(&live.judges).chain(&live.more_judges);
        let known = known.cloned().chain(std::iter::repeat(Memory::default()));
        let judges = names.iter().zip(known).map(|(name, background)| Judges {
            name: name.clone(),
            series: looks::series(),
            known: Knowledge {
                background,
                ..Knowledge::default()
            },
        });
        Self {
            pairs: judges.collect(),
            judged: None,
            looked: None,
            faults: Vec::new(),
        }
    }

    /// Whether these are the judges of pairs of these names.
    pub(super) fn is_of(&self, names: &[String]) -> bool {
        self.pairs.iter().map(|pair| &pair.name).eq(names)
    }

    /// Whether it is time to look, and takes that in.
    pub(super) fn is_due(&mut self, now: Timestamp) -> bool {
        let is_due = self.looked.is_none_or(|at| now.duration_since(at) >= LOOK);
        if is_due {
            self.looked = Some(now);
            self.faults.clear();
        }
        is_due
    }

    /// Takes in what was measured of a pair.
    pub(super) fn hear(&mut self, key: &Key, index: usize, measured: Measured) {
        let is_one = self.pairs.len() == 1;
        let Some(pair) = self.pairs.get_mut(index) else {
            return;
        };
        for batch in measured.batches {
            if let Err(why) = pair.series.push(batch) {
                debug!(release = %key, %why, "Batch left out");
            }
        }
        pair.known.hear(measured.told);
        let named = |fault: String| match is_one {
            true => fault,
            false => format!("{}: {fault}", pair.name),
        };
        self.faults.extend(measured.faults.into_iter().map(named));
    }

    /// Lets the judges look, and returns what they say together.
    pub(super) fn look(&mut self, plan: &Plan, asked: Asked, now: Timestamp) -> Option<Judgement> {
        let shared = shared(plan, self.pairs.len());
        let plan_of_one = shared.as_ref().unwrap_or(plan);
        let said = self.pairs.iter_mut().map(|pair| {
            let answer = pair.known.look(plan_of_one, asked, &pair.series, now);
            Said {
                name: &pair.name,
                judgement: answer.judgement,
                evidence: answer.evidence,
            }
        });
        let (judgement, evidence) = worst(said.collect())?;
        if looks::is_shown(plan, asked.subject) {
            self.judged = Some((judgement.clone(), evidence));
        }
        Some(judgement)
    }

    /// Puts down what the judges are to remember.
    pub(super) fn note(&self, live: &mut Live) {
        let mut known = self.pairs.iter().map(|pair| pair.known.background.clone());
        live.judges = known.next().unwrap_or_default();
        live.more_judges = known.collect();
    }
}

/// Returns the plan by which each of several pairs is judged: a good canary has as many chances to look bad by accident as there are
/// pairs, so each has its part of what is allowed; `None` for one pair.
fn shared(plan: &Plan, pairs: usize) -> Option<Plan> {
    let pairs = u32::try_from(pairs).ok().filter(|pairs| *pairs > 1)?;
    let mut parts: PlanParts = plan.clone().into();
    let judge = parts.rules.judge.as_mut()?;
    judge.alpha_ppm = judge.alpha_ppm.checked_div(pairs)?.max(1);
    Plan::try_new(parts).ok()
}

/// Returns what several say together, with what the worst of them saw: a failure of one is one, and only what all of them pass is
/// passed.
fn worst(mut said: Vec<Said<'_>>) -> Option<(Judgement, Evidence)> {
    let is_one = said.len() == 1;
    let broken = said.iter().filter_map(|one| one.judgement.broken).max();
    let since = said.iter().map(|one| one.judgement.since).min()?;
    let at = said.iter().map(|one| one.judgement.at).min()?;
    let unusual = said.iter().find_map(|one| one.judgement.unusual.clone());
    let is_mismatch = said
        .iter()
        .any(|one| one.judgement.share == Share::Mismatch);
    let stands = |standing: Standing| move |one: &Said<'_>| one.judgement.standing == standing;
    let standing = match () {
        () if said.iter().any(stands(Standing::Suspect)) => Standing::Suspect,
        () if said.iter().all(stands(Standing::Shown)) => Standing::Shown,
        () => Standing::Open,
    };
    // Of those that are as bad the first pair is told of.
    said.sort_by_key(|one| badness(one.judgement.verdict));
    let worst = said.into_iter().next()?;
    let reason = match is_one {
        true => worst.judgement.reason,
        false => format!("{}: {}", worst.name, worst.judgement.reason),
    };
    let judgement = Judgement {
        broken,
        share: if is_mismatch {
            Share::Mismatch
        } else {
            Share::Fits
        },
        standing,
        unusual,
        since,
        at,
        reason,
        ..worst.judgement
    };
    Some((judgement, worst.evidence))
}

const fn badness(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Fail => 0,
        Verdict::NoData => 1,
        Verdict::Inconclusive => 2,
        Verdict::Pass => 3,
    }
}

#[cfg(test)]
mod tests {
    use haldane_core::{guard::Severity, verdict::Subject};

    use super::*;

    fn judgement(verdict: Verdict) -> Judgement {
        Judgement {
            subject: Subject::Background,
            verdict,
            broken: None,
            share: Share::Fits,
            standing: Standing::Open,
            unusual: None,
            since: Timestamp::UNIX_EPOCH,
            at: Timestamp::UNIX_EPOCH,
            reason: verdict.to_string(),
        }
    }

    fn nothing_seen() -> Evidence {
        Evidence {
            from: Timestamp::UNIX_EPOCH,
            to: Timestamp::UNIX_EPOCH,
            guards: Vec::new(),
            split: None,
            observed_bps: None,
            share: Share::Fits,
            sequential: None,
            bands: Vec::new(),
        }
    }

    fn together(judgements: Vec<Judgement>) -> Judgement {
        let names = ["auth", "user", "meals"];
        let said = names.iter().zip(judgements);
        let said = said.map(|(name, judgement)| Said {
            name,
            judgement,
            evidence: nothing_seen(),
        });
        worst(said.collect()).unwrap().0
    }

    #[test]
    fn the_worst_verdict_is_that_of_all() {
        use Verdict::{Fail, Inconclusive, NoData, Pass};
        for (verdicts, expected, reason) in [
            (vec![Pass], Pass, "pass"),
            (vec![Pass, Pass], Pass, "auth: pass"),
            (
                vec![Pass, Inconclusive, Pass],
                Inconclusive,
                "user: inconclusive",
            ),
            (vec![Inconclusive, NoData], NoData, "user: no data"),
            (vec![NoData, Pass, Fail], Fail, "meals: fail"),
            (vec![Fail, Fail], Fail, "auth: fail"),
        ] {
            let all = together(verdicts.into_iter().map(judgement).collect());
            assert_eq!((all.verdict, all.reason.as_str()), (expected, reason));
        }
    }

    #[test]
    fn what_one_of_them_saw_is_not_lost() {
        let broken = Judgement {
            broken: Some(Severity::Critical),
            ..judgement(Verdict::Pass)
        };
        let elsewhere = Judgement {
            share: Share::Mismatch,
            standing: Standing::Shown,
            at: Timestamp::MAX,
            ..judgement(Verdict::Pass)
        };
        let all = together(vec![elsewhere.clone(), broken]);
        assert_eq!(all.broken, Some(Severity::Critical));
        assert_eq!(all.share, Share::Mismatch);
        // One is not sure yet, and has the older data.
        assert_eq!(all.standing, Standing::Open);
        assert_eq!(all.at, Timestamp::UNIX_EPOCH);
        let sure = together(vec![elsewhere.clone(), elsewhere]);
        assert_eq!(sure.standing, Standing::Shown);
    }

    #[test]
    fn each_of_several_pairs_has_its_part_of_what_is_allowed() {
        let text = r#"{"steps": ["10%"], "judge": {"alpha": "3%"}}"#;
        let plan = haldane_api::file::parse_rollout(text).unwrap();
        assert_eq!(shared(&plan, 1), None);
        let judge = shared(&plan, 3).unwrap().rules().judge;
        assert_eq!(judge.unwrap().alpha_ppm, 10_000);
    }
}
