//! The plan: the ordered steps of a rollout and the rules that hold during all of them.
//!
//! One language for every dialect: Argo's canary steps and blue-green, Flagger's step weights, iterations and mirrors, CodeDeploy's
//! named configurations and the plain list of shares with a hold between them are all written in it, without special cases.
//!
//! **Invariant:** a [`Plan`] that passed [`Plan::try_new`] has at least one step, no more than [`STEPS_MAX`], weights that do not
//! fall below zero or rise over all, and a deadline for every wait.

pub mod check;
pub mod metric;
pub mod preset;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::check::{PlanProblem, STEPS_MAX};
use crate::{guard::Guard, weight::Weight};

/// What a rollout does: its steps, and the rules that hold during all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PlanParts", into = "PlanParts")]
pub struct Plan {
    steps: Vec<Step>,
    rules: Rules,
}

/// The parts of a plan before they are checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanParts {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// The rules that hold during all steps.
    pub rules: Rules,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Send this share of traffic to the canary.
    SetWeight(Weight),
    /// Open the canary to requests that ask for it by the override header, at weight 0.
    TestTraffic,
    /// Wait.
    Hold(Hold),
    /// Change the canary's size.
    ScaleCanary(Scale),
    /// Judge for a while with own guards; the step ends with a verdict.
    Analysis(Analysis),
    /// Run fresh copies of versions beside each other and judge them.
    Experiment(Experiment),
    /// Route requests with certain headers to the canary, whatever the weight.
    HeaderRoute(HeaderRoute),
    /// Copy a share of stable's requests to the canary and drop its answers; zero ends it.
    Mirror(Weight),
    /// Ask somebody or something whether to go on.
    Gate(Gate),
}

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hold {
    /// For a fixed time.
    For(Duration),
    /// Until a person resumes.
    UntilResumed,
    /// Until the judge has seen enough, but at least `min` and at most `max`.
    UntilEvidence {
        /// The shortest wait.
        min: Duration,
        /// The longest wait.
        max: Duration,
    },
}

/// How many replicas the canary has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scale {
    /// As many as the canary has when all traffic is its own.
    Full,
    /// The full number times the weight, rounded up, at least one.
    MatchWeight,
    /// This share of the full number, rounded up, at least one.
    #[serde(alias = "ShareOfStable")]
    ShareOfFull(Weight),
    /// A fixed number.
    Replicas(u32),
}

/// A judged step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Analysis {
    /// The name shown to people.
    pub name: String,
    /// How long to collect samples before the verdict.
    pub duration: Duration,
    /// The limits to keep.
    pub guards: Vec<Guard>,
}

/// Fresh copies of versions, judged beside each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Experiment {
    /// The copies to run.
    pub arms: Vec<ExperimentArm>,
    /// How they are judged.
    pub analysis: Analysis,
}

/// One copy in an experiment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExperimentArm {
    /// The name shown to people: `baseline`, `canary`.
    pub name: String,
    /// Which version is copied.
    pub of: Arm,
    /// How many replicas it has.
    pub replicas: u32,
    /// Its share of traffic; zero means none.
    pub weight: Weight,
}

/// One of the two versions of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Arm {
    /// The version serving users.
    Stable,
    /// The version on trial.
    Canary,
}

/// A rule that sends matching requests to the canary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderRoute {
    /// The rule's name: setting the same name again replaces it.
    pub name: String,
    /// What must all match; empty removes the rule.
    pub matches: Vec<HeaderMatch>,
}

/// A condition on one header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderMatch {
    /// The header's name, in lower case.
    pub header: String,
    /// What its value must be.
    pub value: ValueMatch,
}

/// A condition on a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ValueMatch {
    /// Exactly this.
    Exact(String),
    /// Beginning with this.
    Prefix(String),
    /// Matching this regular expression as a whole (RE2 syntax).
    Regex(String),
    /// Any value.
    Present,
}

/// A question whose answer lets the rollout go on or ends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// The name shown to people.
    pub name: String,
    /// Who is asked.
    pub ask: Ask,
    /// How long to wait for the answer; none by then counts as a no.
    pub timeout: Duration,
}

/// Who is asked at a gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// A person, who promotes or aborts.
    Approval,
    /// A web service: 2xx goes on, a body `{"status": "InProgress"}` asks again later, anything else ends it.
    Webhook {
        /// Where to send the question.
        url: String,
    },
    /// A command: exit code 0 goes on.
    Run {
        /// Program and arguments, with `$CANARY_URL`, `$STABLE_URL` and `$VERSION` replaced.
        argv: Vec<String>,
    },
    /// A Kubernetes Job made of a suspended CronJob: that it completes goes on, that it fails ends it.
    Job {
        /// The CronJob's name.
        cron_job: String,
    },
}

/// The rules that hold during all steps of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// The limits that the background judge watches.
    pub guards: Vec<Guard>,
    /// How the sequential judge compares the canary with stable, beside the limits; `None` leaves it out.
    #[serde(default)]
    pub judge: Option<Sequential>,
    /// What other systems measure, for the sequential judge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<metric::Metric>,
    /// Whether what is usual at each hour is learned and compared with.
    #[serde(default)]
    pub bands: Bands,
    /// How the background judge samples.
    pub sampling: Sampling,
    /// The first step during which the background judge rules.
    pub judge_from_step: u32,
    /// The canary's size unless a step changes it.
    pub canary_scale: Scale,
    /// What to do when the canary is judged bad.
    pub on_failure: OnFailure,
    /// What to do when the judge can't tell at the end of a wait.
    pub on_inconclusive: OnDoubt,
    /// What to do when there is not enough data at the end of a wait.
    pub on_no_data: OnDoubt,
    /// Who decides at the end of each wait but the last.
    pub advance: Mode,
    /// Who decides to promote.
    pub promote: Mode,
    /// How long the old version stays warm, and judging goes on, after all traffic has moved.
    pub bake: Duration,
    /// How long each kind of wait may last.
    pub deadlines: Deadlines,
    /// When weight may rise; empty means always.
    pub windows: Vec<Window>,
    /// When weight may not rise.
    pub freezes: Vec<Freeze>,
    /// Whom the host tells after the rollout was rolled back, one after another; what they answer changes nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after_rollback: Vec<Gate>,
}

/// How the sequential judge compares the canary with stable.
///
/// Its errors are bounded over the whole rollout, however often it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequential {
    /// The bound on the chance to roll back a canary that is no worse than `harm` allows, all metrics together (α), parts per million.
    pub alpha_ppm: u32,
    /// The bound on the chance to take a canary that is worse than accepted for shown good, by each metric (β), parts per million.
    pub beta_ppm: u32,
    /// Harm is where the canary's rate is beyond this multiple of stable's (ρ0), thousandths.
    pub harm_permille: u32,
    /// A canary is accepted as shown good up to this multiple of stable's rate (ρ1), thousandths, ...
    pub accept_permille: u32,
    /// ... plus this share of its requests (ε1), parts per million.
    pub accept_ppm: u32,
    /// A latency of the canary counts as slower than a bound from this share of the bound above it on, parts per million, ...
    #[serde(default = "Sequential::leeway_ppm_default")]
    pub leeway_ppm: u32,
    /// ... and at least from this time above it on.
    #[serde(default = "Sequential::leeway_min_default")]
    pub leeway_min: Duration,
    /// For this time after its first request, and after replicas were added, the canary may be slower by much more.
    #[serde(default = "Sequential::warm_up_default")]
    pub warm_up: Duration,
}

/// Whether what is usual at each hour is learned and compared with.
///
/// What is unusual is shown, and a reason to ask a person where the plan is hybrid; it neither fails nor passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bands {
    /// It is.
    #[default]
    Learned,
    /// It is not: nothing is learned, and metric systems are asked during rollouts alone.
    None,
}

/// How samples are collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sampling {
    /// How far back samples are used.
    pub window: Duration,
    /// How many requests of a version a verdict on it needs.
    pub requests_min: u32,
    /// How old the newest sample may be.
    pub stale_after: Duration,
}

/// What to do when the canary is judged bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnFailure {
    /// Roll back.
    Rollback,
    /// Stay at the current weight and wait for a person (for releases that cannot be undone).
    Hold,
    /// Take the canary's traffic away, keep it running, and wait for a person.
    PauseAtZero,
}

/// What to do at the end of a wait when the evidence does not decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnDoubt {
    /// Go on; at the last step this acts as `Hold`, because nothing is promoted on doubt.
    Advance,
    /// Wait for evidence until the deadline, then do what a failure does.
    Hold,
    /// Roll back.
    Rollback,
}

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// The judge.
    Auto,
    /// A person.
    Manual,
    /// The judge while all is well; a person when a guard is broken, something is not as usual, or the judge can't tell. A broken
    /// critical guard takes the canary's traffic away while the person is asked.
    Hybrid,
}

/// How long each kind of wait may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadlines {
    /// For a window to open.
    pub window: Duration,
    /// For a version to become ready.
    pub ready: Duration,
    /// For the canary to come back after its last ready replica was lost.
    pub lost: Duration,
    /// For traffic to be applied and verified.
    pub traffic: Duration,
    /// For evidence, after the planned wait is over.
    pub evidence: Duration,
    /// For harm to show while stable has half of the traffic again, because the canary looked bad with all of it.
    #[serde(default = "Deadlines::confirm_default")]
    pub confirm: Duration,
    /// For a person.
    pub person: Duration,
    /// For requests in flight to end before a version is stopped.
    pub drain: Duration,
}

/// A weekly span of time, in a time zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Days of the week, 1 (Monday) to 7 (Sunday).
    pub days: Vec<u8>,
    /// The minute of the day at which it opens, 0 to 1439.
    pub from_minute: u16,
    /// The minute of the day at which it closes, 1 to 1440, after `from_minute`.
    pub to_minute: u16,
    /// The time zone's IANA name.
    pub time_zone: String,
}

/// A span of time in which weight may not rise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// When it begins.
    pub from: Timestamp,
    /// When it ends.
    pub to: Timestamp,
    /// Why, for people.
    pub reason: String,
}

impl Plan {
    /// Returns the steps, in order; there is at least one.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Returns the rules that hold during all steps.
    #[must_use]
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Returns the plan with these metrics in place of its own.
    ///
    /// # Errors
    /// Every mistake in them, each with the path of its key.
    pub fn with_metrics(mut self, metrics: Vec<metric::Metric>) -> Result<Self, Vec<PlanProblem>> {
        self.rules.metrics = metrics;
        Self::try_new(self.into())
    }

    /// Returns the step of this index.
    #[must_use]
    pub fn step(&self, index: u32) -> Option<&Step> {
        usize::try_from(index)
            .ok()
            .and_then(|index| self.steps.get(index))
    }

    /// Returns the number of steps.
    #[must_use]
    pub fn step_count(&self) -> u32 {
        u32::try_from(self.steps.len()).unwrap_or(u32::MAX)
    }

    /// Whether this is the last step.
    #[must_use]
    pub fn is_last(&self, index: u32) -> bool {
        index.saturating_add(1) >= self.step_count()
    }

    /// Returns the weight that the plan asks for during the step of this index.
    #[must_use]
    pub fn weight_at(&self, index: u32) -> Weight {
        self.upto(index)
            .rev()
            .find_map(|step| match step {
                Step::SetWeight(weight) => Some(*weight),
                Step::TestTraffic => Some(Weight::ZERO),
                Step::Hold(_)
                | Step::ScaleCanary(_)
                | Step::Analysis(_)
                | Step::Experiment(_)
                | Step::HeaderRoute(_)
                | Step::Mirror(_)
                | Step::Gate(_) => None,
            })
            .unwrap_or(Weight::ZERO)
    }

    /// Returns the canary's size during the step of this index.
    #[must_use]
    pub fn scale_at(&self, index: u32) -> Scale {
        self.upto(index)
            .rev()
            .find_map(|step| {
                if let Step::ScaleCanary(scale) = step {
                    Some(*scale)
                } else {
                    None
                }
            })
            .unwrap_or(self.rules.canary_scale)
    }

    /// Returns the mirrored share during the step of this index.
    #[must_use]
    pub fn mirror_at(&self, index: u32) -> Weight {
        self.upto(index)
            .rev()
            .find_map(|step| {
                if let Step::Mirror(share) = step {
                    Some(*share)
                } else {
                    None
                }
            })
            .unwrap_or(Weight::ZERO)
    }

    /// Returns the header routes in force during the step of this index, oldest first.
    #[must_use]
    pub fn header_routes_at(&self, index: u32) -> Vec<HeaderRoute> {
        let mut routes: Vec<HeaderRoute> = Vec::new();
        for step in self.upto(index) {
            if let Step::HeaderRoute(route) = step {
                routes.retain(|known| known.name != route.name);
                if !route.matches.is_empty() {
                    routes.push(route.clone());
                }
            }
        }
        routes
    }

    /// Returns who decides at the end of the step of this index.
    #[must_use]
    pub fn mode_at(&self, index: u32) -> Mode {
        if self.is_last(index) {
            self.rules.promote
        } else {
            self.rules.advance
        }
    }

    /// Whether the background judge rules during the step of this index.
    #[must_use]
    pub fn is_judged_at(&self, index: u32) -> bool {
        self.rules.is_judged() && index >= self.rules.judge_from_step
    }

    fn upto(&self, index: u32) -> std::slice::Iter<'_, Step> {
        let end = usize::try_from(index)
            .unwrap_or(usize::MAX)
            .saturating_add(1);
        self.steps
            .get(..end.min(self.steps.len()))
            .unwrap_or_default()
            .iter()
    }
}

impl Rules {
    /// Whether anything judges in the background.
    #[must_use]
    pub const fn is_judged(&self) -> bool {
        self.judge.is_some() || !self.guards.is_empty()
    }
}

impl Sequential {
    /// A tenth slower is what colder connections, caches and processors of a version with little traffic make.
    const fn leeway_ppm_default() -> u32 {
        100_000
    }

    /// Of a service that answers in a few milliseconds they make more than a tenth.
    const fn leeway_min_default() -> Duration {
        Duration::from_millis(2)
    }

    /// Longer would find a canary that is twice as slow later than ten seconds after its start, at 100 requests a second.
    const fn warm_up_default() -> Duration {
        Duration::from_secs(4)
    }
}

impl Default for Sequential {
    /// One false rollback in a hundred rollouts at most; harm beyond 1.1 times stable's rate; shown good up to 1.5 times plus 0.2 pp; a tenth
    /// or 2 ms slower is no slower.
    fn default() -> Self {
        Self {
            alpha_ppm: 10_000,
            beta_ppm: 50_000,
            harm_permille: 1_100,
            accept_permille: 1_500,
            accept_ppm: 2_000,
            leeway_ppm: Self::leeway_ppm_default(),
            leeway_min: Self::leeway_min_default(),
            warm_up: Self::warm_up_default(),
        }
    }
}

impl Deadlines {
    /// A failure rate ten times stable's shows at half of 100 requests a second within a minute.
    const fn confirm_default() -> Duration {
        Duration::from_mins(5)
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            window: Duration::from_hours(7 * 24),
            ready: Duration::from_mins(10),
            lost: Duration::from_secs(30),
            traffic: Duration::from_mins(5),
            evidence: Duration::from_hours(1),
            confirm: Self::confirm_default(),
            person: Duration::from_hours(7 * 24),
            drain: Duration::from_secs(30),
        }
    }
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            window: Duration::from_mins(1),
            requests_min: 100,
            stale_after: Duration::from_secs(15),
        }
    }
}

impl Default for Rules {
    /// Nothing is watched, everything is automatic, a bad canary is rolled back.
    fn default() -> Self {
        Self {
            guards: Vec::new(),
            judge: None,
            metrics: Vec::new(),
            bands: Bands::Learned,
            sampling: Sampling::default(),
            judge_from_step: 0,
            canary_scale: Scale::Full,
            on_failure: OnFailure::Rollback,
            on_inconclusive: OnDoubt::Hold,
            on_no_data: OnDoubt::Hold,
            advance: Mode::Auto,
            promote: Mode::Auto,
            bake: Duration::ZERO,
            deadlines: Deadlines::default(),
            windows: Vec::new(),
            freezes: Vec::new(),
            after_rollback: Vec::new(),
        }
    }
}
