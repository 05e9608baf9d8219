//! When a plan would do what, if nothing goes wrong.

use std::{io::Write, time::Duration};

use haldane_api::text::show_duration;
use haldane_core::{
    Weight,
    guard::Unit,
    plan::{Ask, Hold, Mode, OnFailure, Plan, Scale, Step},
};

use crate::cli::{globals::Globals, table::Table, words::count};

/// How far a plan is at the earliest.
#[derive(Debug, Default)]
struct Clock {
    at: Duration,
    /// Whether something before takes as long as a person, the evidence or a gate takes.
    is_open: bool,
}

/// One line of the timetable.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    at: String,
    weight: Weight,
    text: String,
}

/// Writes the timetable of a plan, and what is judged meanwhile.
pub(super) fn write(plan: &Plan, globals: &Globals, out: &mut impl Write) -> anyhow::Result<()> {
    let mut table = Table::new(["AT", "WEIGHT", "WHAT"]);
    for line in lines(plan) {
        table.push([
            line.at.into(),
            line.weight.to_string().into(),
            line.text.into(),
        ]);
    }
    table.write(out, globals.width, globals.paint)?;
    writeln!(out)?;
    let guards = &plan.rules().guards;
    if !plan.rules().is_judged() {
        writeln!(out, "Nothing is judged.")?;
    } else {
        writeln!(
            out,
            "Judged meanwhile: {}.",
            on_failure(plan.rules().on_failure)
        )?;
    }
    if let Some(judge) = &plan.rules().judge {
        writeln!(
            out,
            "  compared with stable: at most {} of rollouts of a good version are rolled back",
            Unit::Share.show(u64::from(judge.alpha_ppm))
        )?;
    }
    for guard in guards {
        writeln!(
            out,
            "  {} {} ({})",
            guard.metric,
            guard.limit_text(),
            guard.severity
        )?;
    }
    writeln!(out, "Nothing was changed.")?;
    Ok(())
}

fn lines(plan: &Plan) -> Vec<Line> {
    let (mut clock, mut weight, mut lines) = (Clock::default(), Weight::ZERO, Vec::new());
    let rules = plan.rules();
    lines.push(Line {
        at: clock.text(),
        weight,
        text: "start the canary and wait until it is ready".to_owned(),
    });
    let last = plan.steps().len().saturating_sub(1);
    for (index, step) in plan.steps().iter().enumerate() {
        if let Step::SetWeight(next) = step {
            weight = *next;
        }
        lines.push(Line {
            at: clock.text(),
            weight,
            text: text(step),
        });
        clock.pass(step);
        let is_wait = matches!(step, Step::Hold(_));
        if index < last && is_wait && rules.advance != Mode::Auto {
            clock.is_open = true;
            lines.push(Line {
                at: clock.text(),
                weight,
                text: going_on(rules.advance),
            });
        }
    }
    if rules.promote != Mode::Auto {
        clock.is_open = true;
    }
    lines.push(Line {
        at: clock.text(),
        weight: Weight::FULL,
        text: promotion(plan),
    });
    if !rules.bake.is_zero() {
        let text = format!(
            "keep the old version warm for {}",
            show_duration(rules.bake)
        );
        lines.push(Line {
            at: clock.text(),
            weight: Weight::FULL,
            text,
        });
        clock.add(rules.bake);
    }
    lines.push(Line {
        at: clock.text(),
        weight: Weight::FULL,
        text: "stop the old version".to_owned(),
    });
    lines
}

impl Clock {
    fn text(&self) -> String {
        let at = show_duration(self.at);
        if self.is_open {
            format!("{at} or later")
        } else {
            at
        }
    }

    fn add(&mut self, time: Duration) {
        self.at = self.at.saturating_add(time);
    }

    /// Lets the time pass that a step takes at least.
    fn pass(&mut self, step: &Step) {
        match step {
            Step::Hold(Hold::For(time)) => self.add(*time),
            Step::Hold(Hold::UntilEvidence { min, .. }) => {
                self.add(*min);
                self.is_open = true;
            }
            Step::Analysis(analysis) => self.add(analysis.duration),
            Step::Experiment(experiment) => self.add(experiment.analysis.duration),
            Step::Hold(Hold::UntilResumed) | Step::Gate(_) => self.is_open = true,
            Step::SetWeight(_)
            | Step::TestTraffic
            | Step::ScaleCanary(_)
            | Step::HeaderRoute(_)
            | Step::Mirror(_) => {}
        }
    }
}

/// Says what a step does.
pub(in crate::cli) fn text(step: &Step) -> String {
    match step {
        Step::SetWeight(weight) => format!("send {weight} of the traffic to the canary"),
        Step::TestTraffic => "open the canary to requests that ask for it".to_owned(),
        Step::Hold(Hold::For(time)) => format!("hold for {}", show_duration(*time)),
        Step::Hold(Hold::UntilResumed) => "hold until a person resumes".to_owned(),
        Step::Hold(Hold::UntilEvidence { min, max }) => {
            format!(
                "hold for evidence, {} to {}",
                show_duration(*min),
                show_duration(*max)
            )
        }
        Step::ScaleCanary(scale) => format!("scale the canary {}", scale_text(*scale)),
        Step::Analysis(analysis) => format!(
            "judge {:?} for {}",
            analysis.name,
            show_duration(analysis.duration)
        ),
        Step::Experiment(experiment) => {
            let time = show_duration(experiment.analysis.duration);
            format!(
                "compare {} for {time}",
                count(experiment.arms.len(), "copy", "copies")
            )
        }
        Step::HeaderRoute(route) if route.matches.is_empty() => {
            format!("end the header route {:?}", route.name)
        }
        Step::HeaderRoute(route) => format!(
            "send requests by header route {:?} to the canary",
            route.name
        ),
        Step::Mirror(share) if share.is_zero() => "end mirroring".to_owned(),
        Step::Mirror(share) => format!("mirror {share} of stable's requests to the canary"),
        Step::Gate(gate) => {
            let whom = match &gate.ask {
                Ask::Approval => "a person".to_owned(),
                Ask::Webhook { url } => url.clone(),
                Ask::Run { argv } => argv.join(" "),
                Ask::Job { cron_job } => format!("a Job of CronJob {cron_job}"),
            };
            format!(
                "ask {whom} ({:?}, at most {})",
                gate.name,
                show_duration(gate.timeout)
            )
        }
    }
}

fn scale_text(scale: Scale) -> String {
    match scale {
        Scale::Full => "to its full size".to_owned(),
        Scale::MatchWeight => "with its weight".to_owned(),
        Scale::ShareOfFull(share) => format!("to {share} of its full size"),
        Scale::Replicas(replicas) => format!("to {}", count(replicas, "replica", "replicas")),
    }
}

fn going_on(mode: Mode) -> String {
    let text = match mode {
        Mode::Auto => "go on",
        Mode::Manual => "ask a person whether to go on",
        Mode::Hybrid => "go on if the verdict is clear, else ask a person",
    };
    text.to_owned()
}

fn promotion(plan: &Plan) -> String {
    let text = match plan.rules().promote {
        Mode::Auto if !plan.rules().is_judged() => "promote",
        Mode::Auto => "promote if the verdict is pass",
        Mode::Manual => "ask a person to promote",
        Mode::Hybrid => "promote if the verdict is pass, ask a person if it is not clear",
    };
    text.to_owned()
}

fn on_failure(on_failure: OnFailure) -> &'static str {
    match on_failure {
        OnFailure::Rollback => "a broken critical guard rolls back",
        OnFailure::Hold => "a broken critical guard holds and asks a person",
        OnFailure::PauseAtZero => {
            "a broken critical guard takes the canary's traffic away and asks a person"
        }
    }
}
