//! What is kept of decisions, and how little room it takes.

use haldane_analysis::GuardEvidence;
use haldane_core::{
    RolloutId,
    guard::{Metric, Severity},
    rollout::{Reason, Rollback, Wait, begin},
    verdict::{Share, Standing, Subject},
};
use jiff::{SignedDuration, Timestamp};

use super::*;

const AT: &str = "2026-11-21T10:00:00Z";

fn state(number: u64, plan: &Plan) -> State {
    let id = RolloutId::new(&"shop".parse().unwrap(), number);
    let (from, to) = ("v1".parse().unwrap(), "v2".parse().unwrap());
    begin(id, from, to, plan, AT.parse().unwrap())
}

/// Another decision in the same phase: replicas are replaced again.
fn restarted(state: &State) -> State {
    let now = state.seen + SignedDuration::from_secs(1);
    State {
        restart_since: Some(now),
        seen: now,
        ..state.clone()
    }
}

/// The way back.
fn rolling_back(state: &State) -> State {
    let rollback = Rollback {
        why: Reason::Judged("errorRate 6.2% is beyond 5%".to_owned()),
        drained_by: state.seen,
        wait: Wait::of(std::time::Duration::from_secs(60), state.seen),
    };
    State {
        phase: Phase::RollingBack(rollback),
        ..state.clone()
    }
}

fn ann(reason: &str) -> Actor {
    Actor {
        name: "ann".to_owned(),
        reason: Some(reason.to_owned()),
    }
}

fn guard(verdict: Verdict, index: usize) -> GuardEvidence {
    GuardEvidence {
        metric: Metric::ErrorRate,
        severity: Severity::Critical,
        limit: format!("{index}: below {}", "5% ".repeat(100)),
        limit_value: None,
        stable: Some(1_000),
        canary: Some(62_000),
        canary_bounds: None,
        stable_requests: 480,
        canary_requests: 120,
        bad: None,
        verdict,
        failed: 0,
        reason: "errorRate 6.2% is beyond 5% ".repeat(50),
    }
}

fn judged(verdict: Verdict, guards: usize) -> (Judgement, Evidence) {
    let at: Timestamp = AT.parse().unwrap();
    let judgement = Judgement {
        subject: Subject::Background,
        verdict,
        broken: None,
        share: Share::Fits,
        standing: Standing::default(),
        unusual: None,
        since: at,
        at,
        reason: "\u{1}told€ ".repeat(100),
    };
    let mut guards: Vec<GuardEvidence> = (0..guards).map(|at| guard(Verdict::Pass, at)).collect();
    if let Some(last) = guards.last_mut() {
        last.verdict = verdict;
    }
    let evidence = Evidence {
        from: at,
        to: at,
        guards,
        split: None,
        observed_bps: None,
        share: Share::Fits,
        sequential: None,
        bands: Vec::new(),
    };
    (judgement, evidence)
}

#[test]
fn however_much_is_decided_the_journal_stays_small_and_keeps_the_first() {
    let plan = haldane_api::file::default_plan();
    let mut journal = Journal::default();
    let bad = judged(Verdict::Fail, 100);
    for number in 1..=4 {
        let mut state = state(number, &plan);
        let by = ann(&"\"because\"\n€ ".repeat(100));
        let why = Why {
            cause: "begin",
            by: Some(&by),
            judged: None,
        };
        journal.note(&plan, &state, &why);
        for _ in 0..100 {
            state = restarted(&state);
            let why = Why {
                cause: "judge",
                by: Some(&by),
                judged: Some(&bad),
            };
            journal.note(&plan, &state, &why);
            let all = journal.decisions();
            assert!(all.len() <= DECISIONS_MAX, "{}", all.len());
            assert!(bytes(&all) <= BYTES_MAX, "{}", bytes(&all));
        }
        let own = |one: &&Decision| one.rollout == format!("shop-{number}");
        let own: Vec<&Decision> = journal.decisions().iter().filter(own).collect();
        assert_eq!((own[0].number, own[0].cause.as_str()), (0, "begin"));
        assert_eq!(own.last().unwrap().number, 100);
    }
}

#[test]
fn what_failed_is_kept_before_what_passed() {
    let kept = seen(&judged(Verdict::Fail, 40));
    assert!(bytes(&kept) <= JUDGED_BYTES_MAX);
    assert_eq!(kept.guards[0].verdict, Verdict::Fail);
    let requests = kept.requests.unwrap();
    assert_eq!((requests.stable, requests.canary), (480, 120));
}

#[test]
fn the_same_decision_is_noted_once_and_a_pass_in_a_step_without_its_details() {
    let plan = haldane_api::file::default_plan();
    let mut journal = Journal::default();
    let fine = judged(Verdict::Pass, 1);
    let why = || Why {
        cause: "time",
        by: None,
        judged: Some(&fine),
    };
    let state = state(1, &plan);
    journal.note(&plan, &state, &why());
    journal.note(&plan, &state, &why());
    let [first] = journal.decisions() else {
        panic!("{:?}", journal.decisions());
    };
    let kept = first.judged.as_ref().unwrap();
    assert_eq!((kept.verdict, kept.guards.len()), (Verdict::Pass, 0));
    assert!(kept.reason.ends_with('…'));
    // Whoever goes on from the status does not note it again.
    let mut next = Journal::of(journal.decisions(), Some(&state));
    next.note(&plan, &state, &why());
    assert_eq!(next.decisions().len(), 1);
    // What was said already is not said again.
    next.note(&plan, &restarted(&state), &why());
    assert_eq!(next.decisions().last().unwrap().judged, None);
    next.note(&plan, &rolling_back(&state), &why());
    let last = next.decisions().last().unwrap();
    assert_eq!((last.number, last.phase.as_str()), (2, "RollingBack"));
    assert_eq!(last.judged.as_ref().unwrap().guards.len(), 1);
}
