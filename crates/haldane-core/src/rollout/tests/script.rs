//! A small language for tables: plans and what happens as words, the state that follows as one line.
//!
//! Plan: `25%` weight, `1m` or `30s` hold, `wait` hold until resumed, `evidence=10..60` hold until evidence, `test` test traffic,
//! `scale=full|match|N|N%`, `analysis=30`, `experiment=30`, `header`, `noheader`, `mirror=10%`, `approval=60`, `hook=60`, `run=60`.
//!
//! Script: `+30s`, `+5m` time passes; `tick`; `ready` all replicas, `ready=N`, `fixed=N`; `applied` traffic as wanted with nothing in
//! flight, `applied+N` with requests in flight, `at=50%` other traffic; `pass`, `fail`, `inconclusive`, `nodata`, `warned`,
//! `mismatch`, `so-far` (a pass that is not shown), `suspect`, `old-pass`, `stale-pass`, and the same as `own:pass` for the step's own judge, `other:pass` for another step's; `yes`,
//! `no`, `other-yes` of a gate; `open`, `closed`, `upto=25%`; the commands, as `promote`, `promote@2`, `full`, `set=50%`; `restarted` forgets the
//! facts.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::any::{command, entered, restarted, start, workloads};
use crate::{
    guard::{Guard, Limit, Metric, Severity},
    plan::{
        Analysis, Arm, Ask, Experiment, ExperimentArm, Gate, HeaderMatch, HeaderRoute, Hold, Plan,
        PlanParts, Rules, Scale, Step, ValueMatch,
    },
    rollout::{
        Action, Calendar, GateAnswer, GateKey, Input, Phase, Refusal, State, Traffic, TrafficSeen,
        effect, effects, is_lawful, step,
    },
    verdict::{Judgement, Share, Standing, Subject, Unusual, Verdict},
    weight::Weight,
};

/// How many replicas stable has in these tables.
pub(super) const STABLE: u32 = 4;

/// A rollout in the middle of a script.
pub(super) struct Script {
    pub(super) plan: Plan,
    pub(super) state: State,
    pub(super) now: Timestamp,
    refusal: Option<Refusal>,
}

/// Plays a script and compares where it leads.
#[track_caller]
pub(super) fn check(plan: &Plan, script: &str, expected: &str) {
    assert_eq!(Script::play(plan, script).line(), expected, "{script}");
}

/// Returns rules with one critical guard.
pub(super) fn guarded() -> Rules {
    Rules {
        guards: vec![guard()],
        ..Rules::default()
    }
}

pub(super) fn plan(words: &str, rules: Rules) -> Plan {
    let steps = words.split_whitespace().map(step_of).collect();
    Plan::try_new(PlanParts { steps, rules }).unwrap()
}

fn step_of(word: &str) -> Step {
    let (name, value) = word.split_once('=').unwrap_or((word, ""));
    match name {
        "wait" => Step::Hold(Hold::UntilResumed),
        "evidence" => {
            let (min, max) = value.split_once("..").unwrap();
            Step::Hold(Hold::UntilEvidence {
                min: seconds(min),
                max: seconds(max),
            })
        }
        "test" => Step::TestTraffic,
        "scale" => Step::ScaleCanary(match value {
            "full" => Scale::Full,
            "match" => Scale::MatchWeight,
            _ if value.ends_with('%') => Scale::ShareOfFull(weight(value)),
            _ => Scale::Replicas(value.parse().unwrap()),
        }),
        "analysis" => Step::Analysis(analysis(value)),
        "experiment" => Step::Experiment(Experiment {
            arms: vec![ExperimentArm {
                name: "baseline".to_owned(),
                of: Arm::Stable,
                replicas: 1,
                weight: Weight::ZERO,
            }],
            analysis: analysis(value),
        }),
        "header" | "noheader" => Step::HeaderRoute(HeaderRoute {
            name: "team".to_owned(),
            matches: if name == "header" {
                vec![HeaderMatch {
                    header: "x-team".to_owned(),
                    value: ValueMatch::Present,
                }]
            } else {
                Vec::new()
            },
        }),
        "mirror" => Step::Mirror(weight(value)),
        "approval" => gate(Ask::Approval, value),
        "hook" => gate(
            Ask::Webhook {
                url: "http://127.0.0.1/".to_owned(),
            },
            value,
        ),
        "run" => gate(
            Ask::Run {
                argv: vec!["true".to_owned()],
            },
            value,
        ),
        _ if word.ends_with('%') => Step::SetWeight(weight(word)),
        _ => Step::Hold(Hold::For(time(word))),
    }
}

fn gate(ask: Ask, timeout: &str) -> Step {
    Step::Gate(Gate {
        name: "qa".to_owned(),
        ask,
        timeout: seconds(timeout),
    })
}

fn analysis(duration: &str) -> Analysis {
    Analysis {
        name: "smoke".to_owned(),
        duration: seconds(duration),
        guards: vec![guard()],
    }
}

fn guard() -> Guard {
    Guard {
        metric: Metric::ErrorRate,
        pass: Limit::Absolute(50_000),
        fail: Limit::Absolute(50_000),
        failures: 0,
        severity: Severity::Critical,
    }
}

fn weight(text: &str) -> Weight {
    Weight::from_percent(text.trim_end_matches('%').parse().unwrap())
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs(text.parse().unwrap())
}

fn time(text: &str) -> Duration {
    let (number, factor) = match text.split_at(text.len() - 1) {
        (number, "s") => (number, 1),
        (number, "m") => (number, 60),
        (number, "h") => (number, 3_600),
        (number, "d") => (number, 86_400),
        _ => panic!("no time: {text}"),
    };
    Duration::from_secs(number.parse::<u64>().unwrap() * factor)
}

impl Script {
    pub(super) fn play(plan: &Plan, script: &str) -> Self {
        let state = start(plan);
        let mut played = Self {
            plan: plan.clone(),
            now: state.seen,
            state,
            refusal: None,
        };
        played.go_on(script);
        played
    }

    pub(super) fn go_on(&mut self, script: &str) {
        for word in script.split_whitespace() {
            self.hear(word);
        }
    }

    fn hear(&mut self, word: &str) {
        if let Some(passed) = word.strip_prefix('+') {
            self.now += time(passed);
            return;
        }
        if word == "restarted" {
            self.state = restarted(&self.state);
            return;
        }
        let input = self.input(word);
        let before = self.state.clone();
        let transition = step(&self.plan, &before, &input, self.now);
        if let Err(violation) = is_lawful(&self.plan, &before, &input, &transition.state) {
            panic!("{violation} at {word}\n{before:#?}");
        }
        assert_eq!(transition.effects, effects(&self.plan, &transition.state));
        self.refusal = transition.refusal;
        self.state = transition.state;
    }

    fn input(&self, word: &str) -> Input {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        match name {
            "tick" => Input::Tick,
            "ready" if value.is_empty() => Input::Workloads(workloads(STABLE, STABLE, false)),
            "ready" => Input::Workloads(workloads(STABLE, value.parse().unwrap(), false)),
            "fixed" => Input::Workloads(workloads(STABLE, value.parse().unwrap(), true)),
            "at" => self.traffic(
                Traffic {
                    weight: weight(value),
                    is_open_to_override: true,
                    ..Traffic::STABLE_ONLY
                },
                0,
            ),
            "open" => Input::Calendar(Calendar::Open),
            "closed" => Input::Calendar(Calendar::Closed {
                why: "a freeze is on".to_owned(),
            }),

            "upto" => Input::Calendar(Calendar::UpTo {
                weight: weight(value),
                why: "the others are not there yet".to_owned(),
            }),
            "yes" | "no" | "other-yes" => self.answer(name),
            _ => {
                if let Some(in_flight) = word.strip_prefix("applied") {
                    let wanted = effect::traffic(&self.plan, &self.state);
                    self.traffic(
                        wanted,
                        in_flight.trim_start_matches('+').parse().unwrap_or(0),
                    )
                } else if let Some(action) = action(word) {
                    command(action)
                } else {
                    self.judged(word)
                }
            }
        }
    }

    fn traffic(&self, applied: Traffic, in_flight: u64) -> Input {
        Input::Traffic(TrafficSeen {
            applied,
            stable_in_flight: in_flight,
            canary_in_flight: in_flight,
        })
    }

    fn answer(&self, name: &str) -> Input {
        let seconds = SignedDuration::from_secs(i64::from(name == "other-yes"));
        Input::Gate(GateAnswer {
            key: GateKey {
                rollout: self.state.id.clone(),
                step: self.state.step().unwrap_or(0),
                entered: entered(&self.state) - seconds,
            },
            is_open: name != "no",
            said: "qa said so".to_owned(),
        })
    }

    fn judged(&self, word: &str) -> Input {
        let step = self.state.step().unwrap_or(0);
        let (subject, said) = match word.split_once(':') {
            Some(("own", said)) => (Subject::Step(step), said),
            Some(("other", said)) => (Subject::Step(step + 1), said),
            _ => (Subject::Background, word),
        };
        let verdict = match said {
            "pass" | "so-far" | "old-pass" | "stale-pass" | "warned" | "mismatch"
            | "suspicious" | "surrounded" => Verdict::Pass,
            "fail" | "old-fail" => Verdict::Fail,
            "inconclusive" | "suspect" => Verdict::Inconclusive,
            "nodata" => Verdict::NoData,
            _ => panic!("no such word: {word}"),
        };
        let standing = match said {
            "so-far" => Standing::Open,
            "suspect" => Standing::Suspect,
            _ if verdict == Verdict::Pass => Standing::Shown,
            _ => Standing::Open,
        };
        let is_old = said.starts_with("old-");
        let age = if said == "stale-pass" { 16 } else { 0 };
        Input::Judged(Judgement {
            subject,
            verdict,
            broken: (said == "warned").then_some(Severity::Warn),
            share: if said == "mismatch" {
                Share::Mismatch
            } else {
                Share::Fits
            },
            standing,
            unusual: match said {
                "suspicious" => Some(Unusual::Suspect("suspicious was measured".to_owned())),
                "surrounded" => Some(Unusual::Environment("surrounded was measured".to_owned())),
                _ => None,
            },
            since: entered(&self.state) - SignedDuration::from_millis(i64::from(is_old)),
            at: self.now - SignedDuration::from_secs(age),
            reason: format!("{said} was measured"),
        })
    }

    /// Returns where the rollout stands, in one line.
    pub(super) fn line(&self) -> String {
        let at = match &self.state.phase {
            Phase::Pending(_) => "pending".to_owned(),
            Phase::Preparing(_) => "preparing".to_owned(),
            Phase::Progressing(progress) => {
                format!("step {} at {}", progress.step, progress.weight)
            }
            Phase::Paused(paused) => format!("paused at {}: {}", paused.weight, paused.why),
            Phase::Promoting(promotion) => {
                format!("{:?} at {}", promotion.stage, promotion.weight)
            }
            Phase::Completed(ended) => format!("completed: {}", ended.why),
            Phase::RollingBack(rollback) => format!("rolling back: {}", rollback.why),
            Phase::RolledBack(ended) => format!("rolled back: {}", ended.why),
            Phase::Failed(ended) => format!("failed: {}", ended.why),
        };
        let lost = self.state.lost.map_or("", |_| " (lost)");
        let refusal = self
            .refusal
            .as_ref()
            .map_or_else(String::new, |refusal| format!("; refused: {refusal}"));
        format!("{at}{lost}{refusal}")
    }
}

fn action(word: &str) -> Option<Action> {
    let (name, at) = match word.split_once('@') {
        Some((name, at)) => (name, Some(at.parse().unwrap())),
        None => (word, None),
    };
    Some(match name {
        "promote" => Action::Promote { step: at },
        "full" => Action::PromoteFull { step: at },
        "pause" => Action::Pause,
        "resume" => Action::Resume,
        "abort" => Action::Abort,
        "restart" => Action::Restart,
        "supersede" => Action::Supersede("v3".parse().unwrap()),
        "back" => Action::BackToStable,
        _ => Action::SetWeight(weight(name.strip_prefix("set=")?)),
    })
}
