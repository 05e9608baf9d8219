//! How a rollout is judged: what was measured goes to the judges, what they say goes to the rollout.

use std::sync::Arc;

use haldane_analysis::{
    Evidence, Series,
    looks::{self, Asked, Knowledge},
};
use haldane_api::release::JudgedPlan;
use haldane_core::{
    plan::Plan,
    rollout::{self, Effect, Input, effect},
    verdict::Judgement,
};
use jiff::{SignedDuration, Timestamp};
use tracing::debug;

use super::{
    act::{Act, Setting, feed},
    record::Live,
    site::Blocked,
};
use crate::meter::Watch;

/// The time between two looks of the judges.
pub(super) const LOOK: SignedDuration = SignedDuration::from_secs(1);

/// What the judges of one rollout know.
#[derive(Debug)]
pub(super) struct Bench {
    series: Series,
    known: Knowledge,
    /// What they said last.
    pub judged: Option<(Judgement, Evidence)>,
    /// When they looked last.
    looked: Option<Timestamp>,
    /// Why something gives no data at present.
    pub faults: Vec<String>,
}

impl Bench {
    /// Returns judges that know what the rollout's record says.
    pub(super) fn of(live: &Live) -> Self {
        Self {
            series: looks::series(),
            known: Knowledge {
                background: live.judges.clone(),
                ..Knowledge::default()
            },
            judged: None,
            looked: None,
            faults: Vec::new(),
        }
    }

    fn is_due(&self, now: Timestamp) -> bool {
        self.looked.is_none_or(|at| now.duration_since(at) >= LOOK)
    }
}

impl Act<'_> {
    /// Lets the judges look at what was measured, and tells the rollout what they and its gates say.
    pub(super) fn judge(&mut self, setting: &Setting<'_>) -> Result<(), Blocked> {
        let (Some(live), Some(plan)) = (self.record.live().cloned(), self.memory.plan.clone())
        else {
            return Ok(());
        };
        let answers = self.hear_answers().into_iter();
        let mut inputs: Vec<Input> = answers.map(Input::Gate).collect();
        let asked = questions(&plan, &live);
        if !asked.is_empty() {
            let judged = self.judged_plan(setting)?;
            let watch = self.watch(setting, &live, &judged);
            self.ports.meter.watch(self.view.key, Some(&watch));
            inputs.extend(self.look(&plan, &live, asked));
        }
        if let Some(live) = &mut self.record.live {
            for input in inputs {
                feed(&plan, &mut live.state, &input, self.view.now);
            }
        }
        Ok(())
    }

    fn look(&mut self, plan: &Plan, live: &Live, asked: Vec<Asked>) -> Vec<Input> {
        let now = self.view.now;
        let bench = self.memory.bench.get_or_insert_with(|| Bench::of(live));
        if !bench.is_due(now) {
            return Vec::new();
        }
        bench.looked = Some(now);
        let measured = self.ports.meter.take(self.view.key);
        for batch in measured.batches {
            if let Err(why) = bench.series.push(batch) {
                debug!(release = %self.view.key, %why, "Batch left out");
            }
        }
        bench.known.hear(measured.told);
        bench.faults = measured.faults;
        let routing = effect::traffic(plan, &live.state);
        let is_split = !routing.weight.is_zero() && routing.header_routes.is_empty();
        let mut inputs = Vec::new();
        for asked in asked {
            let answer = bench.known.look(plan, asked, &bench.series, now);
            if looks::is_shown(plan, asked.subject) {
                bench.judged = Some((answer.judgement.clone(), answer.evidence));
            }
            inputs.push(Input::Judged(looks::told(answer.judgement, is_split)));
        }
        if let Some(live) = &mut self.record.live {
            live.judges = bench.known.background.clone();
        }
        inputs
    }

    fn watch(&self, setting: &Setting<'_>, live: &Live, judged: &JudgedPlan) -> Watch {
        let mut places = setting.site.places(&self.view, &self.record, live);
        setting.routes.name(&mut places);
        Watch {
            rollout: live.state.id.clone(),
            stable: live.state.stable.clone(),
            canary: live.state.canary.clone(),
            weight: haldane_core::Weight::try_from_bps(live.routed).unwrap_or_default(),
            metrics: judged.plan.rules().metrics.clone(),
            requests: judged.requests.clone(),
            places,
        }
    }

    /// Returns the plan of the spec with what it is judged by; read once for each spec.
    pub(super) fn judged_plan(
        &mut self,
        setting: &Setting<'_>,
    ) -> Result<Arc<JudgedPlan>, Blocked> {
        let generation = self.release.generation();
        if let Some((known, judged)) = &self.memory.judged_plan
            && *known == generation
        {
            return Ok(Arc::clone(judged));
        }
        let judged = setting.spec.to_judged_plan().map_err(|problems| {
            let problems = problems.iter();
            let all: Vec<String> = problems
                .map(|problem| format!("spec.{}: {}", problem.path, problem.message))
                .collect();
            Blocked {
                reason: "Invalid",
                message: all.join("; "),
            }
        })?;
        let judged = Arc::new(judged);
        self.memory.judged_plan = Some((generation, Arc::clone(&judged)));
        Ok(judged)
    }

    /// Measures and asks nothing more for a rollout that is over.
    pub(super) fn let_go(&mut self, live: &Live) {
        self.memory.bench = None;
        self.ports.meter.watch(self.view.key, None);
        self.ports.asker.forget(self.view.key, &live.state.id);
    }
}

/// Returns what the rollout that goes on wants to be judged.
fn questions(plan: &Plan, live: &Live) -> Vec<Asked> {
    let asked = |wish| match wish {
        Effect::EnsureJudged { subject, since } => Some(Asked { subject, since }),
        Effect::EnsureTraffic(_)
        | Effect::EnsureWorkloads(_)
        | Effect::EnsureAsked(_)
        | Effect::EnsureStable(_)
        | Effect::Notify { .. } => None,
    };
    let wishes = rollout::effects(plan, &live.state);
    wishes.into_iter().filter_map(asked).collect()
}
