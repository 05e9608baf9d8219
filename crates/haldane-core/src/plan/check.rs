//! What makes a plan valid, and what a home can do of it.
//!
//! All mistakes are reported at once, each with the path of its field, because a person who fixes one at a time loses an hour.

use std::{fmt, time::Duration};

use crate::{
    guard::{Guard, Limit, Unit},
    plan::{
        Analysis, Ask, Gate, Hold, Plan, PlanParts, Rules, Scale, Sequential, Step, Window, metric,
    },
    weight::Weight,
};

/// The most steps a plan may have: Argo users have asked for hundreds; a thousand bounds the stored size.
pub const STEPS_MAX: usize = 1_000;

/// The most guards a plan or an analysis may have.
pub const GUARDS_MAX: usize = 100;

/// The most windows or freezes a plan may have.
const CALENDAR_MAX: usize = 100;

/// The most hooks for one moment of a rollout.
pub const HOOKS_MAX: usize = 10;

/// The longest name of a CronJob: Kubernetes leaves room for what it adds to it.
const CRON_JOB_CHARS_MAX: usize = 52;

/// The longest time that any field may give: a year. It keeps every sum of times in range.
const TIME_MAX: Duration = Duration::from_hours(366 * 24);

/// The largest number of replicas of a canary.
const REPLICAS_MAX: u32 = 10_000;

/// The largest bound on a judge's errors, parts per million.
const ERROR_PPM_MAX: u32 = 200_000;

/// The largest multiple of stable's rate, thousandths.
const RATIO_PERMILLE_MAX: u32 = 100_000;

/// The largest share that may be added to stable's rate, parts per million.
const ACCEPT_PPM_MAX: u32 = 500_000;

/// The most that a latency may be above a bound without counting, parts per million of the bound.
const LEEWAY_PPM_MAX: u32 = 1_000_000;

/// The most that it always may be.
const LEEWAY_MIN_MAX: Duration = Duration::from_secs(10);

/// The longest warm-up: what takes longer is warmed up before the rollout.
const WARM_UP_MAX: Duration = Duration::from_mins(10);

/// One mistake in a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanProblem {
    /// The path of the field, as in `steps[2].hold`.
    pub path: String,
    /// What is wrong and what was expected.
    pub message: String,
}

/// What a home can do beyond weights, holds, scaling and judging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Copying requests to the canary.
    pub mirror: bool,
    /// Running fresh copies of versions.
    pub experiment: bool,
    /// Routing by header to the canary.
    pub header_route: bool,
    /// Matching headers by regular expression.
    pub header_regex: bool,
    /// Asking commands.
    pub command: bool,
    /// Asking Jobs.
    pub job: bool,
}

impl Plan {
    /// Checks the parts and makes them a plan.
    ///
    /// # Errors
    /// Every mistake found, each with the path of its field.
    pub fn try_new(parts: PlanParts) -> Result<Self, Vec<PlanProblem>> {
        let mut found = Problems::default();
        check_steps(&parts.steps, &mut found);
        check_rules(&parts.rules, parts.steps.len(), &mut found);
        if found.0.is_empty() {
            Ok(Self {
                steps: parts.steps,
                rules: parts.rules,
            })
        } else {
            Err(found.0)
        }
    }

    /// Returns what in this plan a home with these abilities cannot do.
    #[must_use]
    pub fn problems_for(&self, abilities: Abilities) -> Vec<PlanProblem> {
        let mut found = Problems::default();
        for (index, step) in self.steps.iter().enumerate() {
            let lacks = match step {
                Step::Mirror(_) => !abilities.mirror,
                Step::Experiment(_) => !abilities.experiment,
                Step::HeaderRoute(route) => {
                    let has_regex = route
                        .matches
                        .iter()
                        .any(|one| matches!(one.value, crate::plan::ValueMatch::Regex(_)));
                    !abilities.header_route || (has_regex && !abilities.header_regex)
                }
                Step::Gate(gate) => {
                    check_asked(&format!("steps[{index}]"), gate, abilities, &mut found);
                    false
                }
                Step::SetWeight(_)
                | Step::TestTraffic
                | Step::Hold(_)
                | Step::ScaleCanary(_)
                | Step::Analysis(_) => false,
            };
            if lacks {
                found.add(format!("steps[{index}]"), "this home cannot do such a step");
            }
        }
        for (index, gate) in self.rules.after_rollback.iter().enumerate() {
            let path = format!("hooks.afterRollback[{index}]");
            check_asked(&path, gate, abilities, &mut found);
        }
        found.0
    }
}

impl TryFrom<PlanParts> for Plan {
    type Error = InvalidPlan;

    fn try_from(parts: PlanParts) -> Result<Self, InvalidPlan> {
        Self::try_new(parts).map_err(InvalidPlan)
    }
}

impl From<Plan> for PlanParts {
    fn from(plan: Plan) -> Self {
        Self {
            steps: plan.steps,
            rules: plan.rules,
        }
    }
}

/// A stored plan that does not hold what every plan must.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct InvalidPlan(pub Vec<PlanProblem>);

impl fmt::Display for InvalidPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the plan is not valid")?;
        for (index, problem) in self.0.iter().enumerate() {
            write!(f, "{} {problem}", if index == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

impl fmt::Display for PlanProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

#[derive(Default)]
struct Problems(Vec<PlanProblem>);

impl Problems {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(PlanProblem {
            path: path.into(),
            message: message.into(),
        });
    }

    fn check_time(&mut self, path: &str, time: Duration) {
        if time > TIME_MAX {
            self.add(path, "longer than a year; expected a time of at most 8784h");
        }
    }

    fn check_wait(&mut self, path: &str, time: Duration) {
        if time.is_zero() {
            self.add(
                path,
                "every wait needs a deadline; expected a time above zero",
            );
        }
        self.check_time(path, time);
    }
}

fn check_steps(steps: &[Step], found: &mut Problems) {
    if steps.is_empty() {
        found.add("steps", "expected at least one step");
    }
    if steps.len() > STEPS_MAX {
        found.add(
            "steps",
            format!("{} steps; expected at most {STEPS_MAX}", steps.len()),
        );
        return;
    }
    let mut weight = Weight::ZERO;
    for (index, step) in steps.iter().enumerate() {
        let path = format!("steps[{index}]");
        match step {
            Step::SetWeight(next) => {
                // P3: within one rollout weight rises by the plan or drops to nothing.
                if *next < weight && !next.is_zero() {
                    found.add(path, format!("the weight falls from {weight} to {next}; expected it to rise, or to drop to 0%"));
                }
                weight = *next;
            }
            Step::TestTraffic => weight = Weight::ZERO,
            Step::Hold(hold) => check_hold(&path, *hold, found),
            Step::ScaleCanary(scale) => check_scale(&path, *scale, found),
            Step::Analysis(analysis) => check_analysis(&path, analysis, found),
            Step::Experiment(experiment) => {
                if experiment.arms.is_empty() {
                    found.add(
                        format!("{path}.arms"),
                        "expected at least one version to run",
                    );
                }
                check_analysis(&format!("{path}.analysis"), &experiment.analysis, found);
            }
            Step::HeaderRoute(route) => {
                if route.name.is_empty() {
                    found.add(format!("{path}.name"), "expected a name");
                }
            }
            Step::Mirror(_) => {}
            Step::Gate(gate) => check_gate(&path, gate, found),
        }
    }
}

fn check_hold(path: &str, hold: Hold, found: &mut Problems) {
    match hold {
        Hold::For(time) => found.check_time(path, time),
        Hold::UntilResumed => {}
        Hold::UntilEvidence { min, max } => {
            found.check_wait(&format!("{path}.max"), max);
            if min > max {
                found.add(
                    format!("{path}.min"),
                    "longer than max; expected at most max",
                );
            }
        }
    }
}

fn check_scale(path: &str, scale: Scale, found: &mut Problems) {
    match scale {
        Scale::Replicas(0) => found.add(
            path,
            "a canary without replicas gets no traffic; expected at least 1",
        ),
        Scale::Replicas(count) if count > REPLICAS_MAX => {
            found.add(
                path,
                format!("{count} replicas; expected at most {REPLICAS_MAX}"),
            );
        }
        Scale::Full | Scale::MatchWeight | Scale::ShareOfFull(_) | Scale::Replicas(_) => {}
    }
}

fn check_analysis(path: &str, analysis: &Analysis, found: &mut Problems) {
    found.check_wait(&format!("{path}.duration"), analysis.duration);
    if analysis.guards.is_empty() {
        found.add(
            format!("{path}.guards"),
            "expected at least one guard to judge by",
        );
    }
    check_guards(&format!("{path}.guards"), &analysis.guards, found);
}

fn check_gate(path: &str, gate: &Gate, found: &mut Problems) {
    found.check_wait(&format!("{path}.timeout"), gate.timeout);
    match &gate.ask {
        Ask::Approval => {}
        Ask::Webhook { url } => {
            if !(url.starts_with("http://") || url.starts_with("https://")) {
                found.add(
                    format!("{path}.webhook"),
                    "expected a URL that begins with http:// or https://",
                );
            }
        }
        Ask::Run { argv } => {
            if argv.first().is_none_or(String::is_empty) {
                found.add(
                    format!("{path}.run"),
                    "expected a program and its arguments",
                );
            }
        }
        Ask::Job { cron_job } => {
            if !is_cron_job(cron_job) {
                found.add(
                    format!("{path}.job"),
                    format!(
                        "expected the name of a CronJob, at most {CRON_JOB_CHARS_MAX} characters"
                    ),
                );
            }
        }
    }
}

/// Whether this is the name of an object of Kubernetes that is short enough for a CronJob.
fn is_cron_job(name: &str) -> bool {
    let is_part = |part: &str| {
        let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !part.is_empty()
            && part.chars().all(is_inner)
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    name.len() <= CRON_JOB_CHARS_MAX && name.split('.').all(is_part)
}

/// Tells where a home can't ask whom a gate asks.
fn check_asked(path: &str, gate: &Gate, abilities: Abilities, found: &mut Problems) {
    match &gate.ask {
        Ask::Run { .. } if !abilities.command => found.add(
            format!("{path}.run"),
            "no commands are run here; expected a webhook or a job",
        ),
        Ask::Job { .. } if !abilities.job => found.add(
            format!("{path}.job"),
            "there are no Jobs but on Kubernetes; expected a webhook or a command (run)",
        ),
        Ask::Approval | Ask::Webhook { .. } | Ask::Run { .. } | Ask::Job { .. } => {}
    }
}

fn check_after_rollback(gates: &[Gate], found: &mut Problems) {
    let path = "hooks.afterRollback";
    if gates.len() > HOOKS_MAX {
        let count = gates.len();
        found.add(path, format!("{count} hooks; expected at most {HOOKS_MAX}"));
    }
    for (index, gate) in gates.iter().enumerate() {
        let path = format!("{path}[{index}]");
        check_gate(&path, gate, found);
        if gate.ask == Ask::Approval {
            found.add(
                format!("{path}.approval"),
                "nothing is left to approve after a rollback; expected a webhook, a command or a job",
            );
        }
    }
}

fn check_judge(judge: &Sequential, found: &mut Problems) {
    for (key, ppm) in [("alpha", judge.alpha_ppm), ("beta", judge.beta_ppm)] {
        if !(1..=ERROR_PPM_MAX).contains(&ppm) {
            found.add(
                format!("judge.{key}"),
                "a bound on errors; expected more than 0 % and at most 20 %",
            );
        }
    }
    if !(1_000..=RATIO_PERMILLE_MAX).contains(&judge.harm_permille) {
        found.add(
            "judge.harm",
            "the multiple of stable's rate beyond which the canary is harmful; expected 1x to 100x",
        );
    }
    let is_wider = judge.accept_permille > judge.harm_permille
        || (judge.accept_permille == judge.harm_permille && judge.accept_ppm > 0);
    if !is_wider || judge.accept_permille > RATIO_PERMILLE_MAX {
        found.add(
            "judge.accept",
            "nothing can be shown good within what counts as harm; expected more than judge.harm and at most 100x",
        );
    }
    if judge.accept_ppm > ACCEPT_PPM_MAX {
        found.add("judge.acceptPlus", "expected at most 50pp");
    }
    if judge.leeway_ppm > LEEWAY_PPM_MAX {
        found.add(
            "judge.leeway",
            "a canary that takes twice as long is slower; expected at most 100%",
        );
    }
    if judge.leeway_min > LEEWAY_MIN_MAX {
        found.add("judge.leewayMin", "expected at most 10s");
    }
    if judge.warm_up > WARM_UP_MAX {
        found.add("judge.warmUp", "expected at most 10m");
    }
}

fn check_rules(rules: &Rules, steps: usize, found: &mut Problems) {
    check_guards("guards", &rules.guards, found);
    if let Some(judge) = &rules.judge {
        check_judge(judge, found);
    }
    found.0.extend(metric::problems(rules));
    if usize::try_from(rules.judge_from_step).unwrap_or(usize::MAX) >= steps.max(1) {
        found.add(
            "judgeFromStep",
            format!(
                "{} is not a step; expected 0 to {}",
                rules.judge_from_step,
                steps.saturating_sub(1)
            ),
        );
    }
    check_scale("canaryScale", rules.canary_scale, found);
    found.check_time("bake", rules.bake);
    found.check_wait("sampling.window", rules.sampling.window);
    found.check_wait("sampling.staleAfter", rules.sampling.stale_after);
    if rules.sampling.requests_min == 0 {
        found.add(
            "sampling.requestsMin",
            "a verdict on no requests is none; expected at least 1",
        );
    }
    let waits = &rules.deadlines;
    for (name, time) in [
        ("window", waits.window),
        ("ready", waits.ready),
        ("lost", waits.lost),
        ("traffic", waits.traffic),
        ("evidence", waits.evidence),
        ("confirm", waits.confirm),
        ("person", waits.person),
        ("drain", waits.drain),
    ] {
        found.check_wait(&format!("deadlines.{name}"), time);
    }
    check_calendar(rules, found);
    check_after_rollback(&rules.after_rollback, found);
}

fn check_guards(path: &str, guards: &[Guard], found: &mut Problems) {
    if guards.len() > GUARDS_MAX {
        found.add(
            path,
            format!("{} guards; expected at most {GUARDS_MAX}", guards.len()),
        );
    }
    for (index, guard) in guards.iter().enumerate() {
        for limit in [guard.pass, guard.fail] {
            let is_share = guard.metric.unit() == Unit::Share;
            let message = match limit {
                Limit::Absolute(value) if is_share && value > 1_000_000 => {
                    "more than all; expected at most 100%"
                }
                Limit::Points(_) if !is_share => {
                    "percentage points of something that is no share; expected a value or a multiple"
                }
                Limit::Absolute(_) | Limit::Times(_) | Limit::Points(_) => continue,
            };
            found.add(format!("{path}[{index}].{}", guard.metric), message);
        }
    }
}

fn check_calendar(rules: &Rules, found: &mut Problems) {
    if rules.windows.len() > CALENDAR_MAX || rules.freezes.len() > CALENDAR_MAX {
        found.add(
            "windows",
            format!("too many windows or freezes; expected at most {CALENDAR_MAX} of each"),
        );
    }
    for (index, window) in rules.windows.iter().enumerate() {
        check_window(&format!("windows[{index}]"), window, found);
    }
    for (index, freeze) in rules.freezes.iter().enumerate() {
        if freeze.from >= freeze.to {
            found.add(
                format!("freezes[{index}]"),
                "ends before it begins; expected `to` after `from`",
            );
        }
    }
}

fn check_window(path: &str, window: &Window, found: &mut Problems) {
    if window.days.is_empty() || window.days.iter().any(|day| !(1..=7).contains(day)) {
        found.add(
            format!("{path}.days"),
            "expected days of the week, 1 (Monday) to 7 (Sunday)",
        );
    }
    if window.from_minute >= window.to_minute || window.to_minute > 1_440 {
        found.add(
            path,
            "ends before it begins, or after midnight; expected `to` after `from` on the same day",
        );
    }
}

#[cfg(test)]
mod tests;
