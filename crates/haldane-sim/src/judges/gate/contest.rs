//! Contests: in every cell where a peer keeps to what is promised here, we are neither later nor dearer than it.
//!
//! A peer that rolls more than 1 % of healthy canaries back is no match: it finds bad ones by rejecting everything. One that stops more than
//! 1 % of healthy rollouts for a person keeps its excess errors low by that; then only times are compared.
//!
//! One exception: Kayenta has no margin, and half as many errors again are so near to ours of a tenth that what counts as harm decides, not
//! the judge. There our judge without a margin stands for us in errors; in times we are compared as we are.

use super::{MISTAKES_MAX, Outcome, STANDARD_ERRORS, errors, excess, share};
use crate::judges::{
    Judge, Run, summarize,
    table::{Crew, PEERS, RATES, Row, regressed},
};

/// Up to this multiple of stable's rate a canary is near the margin.
const NEAR_MARGIN: f64 = 1.5;

/// The services with the same traffic and the same errors of stable.
#[derive(Clone, Debug)]
pub struct Contest {
    /// A healthy canary: it shows which peers may be compared with.
    healthy: Row,
    /// The bad ones.
    bad: Vec<Row>,
}

/// A peer that may be compared with.
#[derive(Clone, Copy, Debug)]
struct Peer {
    judge: Judge,
    /// Whether it stops healthy rollouts for a person.
    is_pausing: bool,
}

/// Returns every contest.
#[must_use]
pub fn contests() -> Vec<Contest> {
    let contests = [0.001, 0.01].into_iter().flat_map(|base| {
        RATES.map(|rps| Contest {
            healthy: errors(base, base, rps),
            bad: regressed(base)
                .into_iter()
                .map(|canary| errors(base, canary, rps))
                .collect(),
        })
    });
    contests.collect()
}

impl Contest {
    /// Returns the name of the healthy canary's scenario.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.healthy.name
    }

    /// Plays the contest.
    #[must_use]
    pub fn play(&self, runs: u32, seed: u64, crew: &Crew<'_>) -> Vec<Outcome> {
        let peers = PEERS.into_iter().filter_map(|judge| {
            let healthy = self.healthy.play(judge, runs, seed, crew);
            let of = |is: &dyn Fn(&Run) -> bool| share(&healthy, is) > MISTAKES_MAX;
            let is_wild = of(&|run| run.rolled_back.is_some());
            (!is_wild).then_some(Peer {
                judge,
                is_pausing: of(&|run| run.paused.is_some()),
            })
        });
        let peers: Vec<Peer> = peers.collect();
        let mut outcomes = Vec::new();
        for row in &self.bad {
            let ours = row.play(Judge::Sequential, runs, seed, crew);
            for peer in &peers {
                let theirs = row.play(peer.judge, runs, seed, crew);
                outcomes.push(peer.sooner(row, &ours, &theirs));
                if peer.is_pausing {
                    continue;
                }
                outcomes.push(if peer.judge == Judge::Kayenta && is_near_margin(row) {
                    let strict = row.play(Judge::Strict, runs, seed, crew);
                    let outcome = peer.cheaper(row, &strict, &theirs);
                    Outcome {
                        must: format!("without a margin: {}", outcome.must),
                        ..outcome
                    }
                } else {
                    peer.cheaper(row, &ours, &theirs)
                });
            }
        }
        outcomes
    }
}

/// Whether a canary is so little worse that the margin matters more than the judge.
fn is_near_margin(row: &Row) -> bool {
    row.scenario.canary <= NEAR_MARGIN * row.scenario.stable
}

impl Peer {
    /// Says whether we are no later than the peer: by the time at which it has found half, we have, too.
    fn sooner(&self, row: &Row, ours: &[Run], theirs: &[Run]) -> Outcome {
        let time = |runs: &[Run]| summarize(runs).seconds_p50;
        let words =
            |time: Option<u32>| time.map_or_else(|| "never".to_owned(), |at| format!("{at} s"));
        let limit = time(theirs);
        let is_met = limit.is_none_or(|limit| {
            let within = share(ours, &|run| run.rolled_back.is_some_and(|at| at <= limit));
            // Both medians are measured.
            let error = libm::sqrt(0.5 / ours.len().max(1) as f64);
            within + STANDARD_ERRORS * error >= 0.5
        });
        let found = format!("{}; {}", words(time(ours)), words(limit));
        self.outcome(row, "no later", found, is_met)
    }

    /// Says whether the canary does no more harm than under the peer.
    fn cheaper(&self, row: &Row, ours: &[Run], theirs: &[Run]) -> Outcome {
        let ((ours, error), (theirs, other)) = (excess(ours), excess(theirs));
        let is_met = ours <= theirs + STANDARD_ERRORS * libm::hypot(error, other);
        let found = format!("{ours:.2}; {theirs:.2}");
        self.outcome(row, "no more excess errors", found, is_met)
    }

    fn outcome(&self, row: &Row, must: &str, found: String, is_met: bool) -> Outcome {
        Outcome {
            what: row.name.clone(),
            wald: row.wald(),
            must: format!("{must} than {}", self.judge.name()),
            found,
            is_met,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Peer = Peer {
        judge: Judge::Argo,
        is_pausing: false,
    };

    fn at(rolled_back: Option<u32>, excess_errors: f64) -> Vec<Run> {
        let run = Run {
            rolled_back,
            paused: None,
            promoted: rolled_back.is_none().then_some(1_200),
            excess_errors,
            canary_requests: 0,
        };
        vec![run; 1_000]
    }

    #[test]
    fn who_is_later_loses() {
        let check = |ours: Option<u32>, theirs: Option<u32>, expected: bool| {
            let row = errors(0.001, 0.01, 100);
            let outcome = PEER.sooner(&row, &at(ours, 1.0), &at(theirs, 1.0));
            assert_eq!(outcome.is_met, expected, "{ours:?}, {theirs:?}");
        };
        check(Some(5), Some(5), true);
        check(Some(5), None, true);
        check(None, None, true);
        check(Some(6), Some(5), false);
        check(None, Some(5), false);
    }

    #[test]
    fn who_is_dearer_loses() {
        let check = |ours: f64, theirs: f64, expected: bool| {
            let row = errors(0.001, 0.01, 100);
            let outcome = PEER.cheaper(&row, &at(None, ours), &at(None, theirs));
            assert_eq!(outcome.is_met, expected, "{ours}, {theirs}");
        };
        check(1.0, 1.0, true);
        check(1.0, 2.0, true);
        check(1.01, 1.0, false);
    }

    #[test]
    fn peers_that_stop_healthy_canaries_are_no_match() {
        let contest = Contest {
            healthy: errors(0.01, 0.01, 10),
            bad: vec![errors(0.01, 0.5, 10)],
        };
        let crew: &Crew<'_> = &|runs, play| (0..runs).map(play).collect();
        let outcomes = contest.play(60, 1, crew);
        let of = |peer: Judge| {
            let end = format!("than {}", peer.name());
            let of_peer = outcomes
                .iter()
                .filter(|outcome| outcome.must.ends_with(&end));
            of_peer.count()
        };
        // Flagger rolls nearly all of them back; Argo pauses a third.
        assert_eq!(
            (of(Judge::Flagger), of(Judge::Argo), of(Judge::Kayenta)),
            (0, 1, 2)
        );
        assert!(
            outcomes.iter().all(|outcome| outcome.is_met),
            "{outcomes:?}"
        );
    }

    #[test]
    fn only_half_as_many_again_is_near_the_margin() {
        for (canary, expected) in [(0.0015, true), (0.002, false), (0.01, false)] {
            let row = errors(0.001, canary, 1_000);
            assert_eq!(is_near_margin(&row), expected, "{canary}");
        }
    }

    #[test]
    fn the_cells_are_those_of_the_reference() {
        let cells = contests()
            .iter()
            .map(|contest| contest.bad.len())
            .sum::<usize>();
        assert_eq!(cells, 33);
    }
}
