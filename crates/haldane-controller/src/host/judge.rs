//! How a rollout is judged: what was measured goes to the judges, what they say goes to the rollout.

use std::sync::Arc;

use haldane_analysis::looks::{self, Asked};
use haldane_api::release::JudgedPlan;
use haldane_core::{
    Weight,
    plan::Plan,
    rollout::{self, Effect, Input, effect},
};

use super::{
    Ports,
    act::{Act, Setting, feed},
    bench::Bench,
    record::{Live, Record},
    routes::Routes,
    site::{Blocked, Site, View},
};
use crate::{
    meter::{Places, Watch},
    turn::Key,
};

/// How many pairs a release may have; its schema says so, too.
const PAIRS_MAX: usize = 32;

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
            let Setting { site, routes, .. } = setting;
            let watches = measured((site, routes), &self.view, &self.record, &live, &judged);
            for (index, watch) in watches.iter().enumerate() {
                let key = key_of(self.view.key, index);
                self.ports.meter.watch(&key, Some(watch));
            }
            inputs.extend(self.look(setting, &plan, &live, asked));
        }
        for input in inputs {
            if let Some(live) = &mut self.record.live {
                feed(&plan, &mut live.state, &input, self.view.now);
            }
            self.note(input.cause(), None);
        }
        Ok(())
    }

    fn look(
        &mut self,
        setting: &Setting<'_>,
        plan: &Plan,
        live: &Live,
        asked: Vec<Asked>,
    ) -> Vec<Input> {
        let (key, now) = (self.view.key, self.view.now);
        let backends = setting.site.backends().into_iter();
        let names: Vec<String> = backends.map(|(stable, _)| stable.service).collect();
        let known = self.memory.bench.take().filter(|known| known.is_of(&names));
        let mut bench = known.unwrap_or_else(|| Bench::of(live, &names));
        let mut inputs = Vec::new();
        if bench.is_due(now) {
            for index in 0..names.len() {
                let measured = self.ports.meter.take(&key_of(key, index));
                bench.hear(key, index, measured);
            }
            let routing = effect::traffic(plan, &live.state);
            let is_split = !routing.weight.is_zero() && routing.header_routes.is_empty();
            for asked in asked {
                let judgement = bench.look(plan, asked, now);
                let told = judgement.map(|judgement| looks::told(judgement, is_split));
                inputs.extend(told.map(Input::Judged));
            }
            if let Some(live) = &mut self.record.live {
                bench.note(live);
            }
        }
        self.memory.bench = Some(bench);
        inputs
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
        self.memory.judged = self.memory.judged();
        self.memory.bench = None;
        unwatch(self.ports, self.view.key);
        self.ports.asker.forget(self.view.key, &live.state.id);
    }
}

/// Measures nothing of a release any more.
pub(super) fn unwatch(ports: &Ports, key: &Key) {
    for index in 0..PAIRS_MAX {
        ports.meter.watch(&key_of(key, index), None);
    }
}

/// Returns the key by which a pair is measured: of the first that of the release, of others one that no release can have.
fn key_of(key: &Key, index: usize) -> Key {
    Key {
        namespace: key.namespace.clone(),
        name: match index {
            0 => key.name.clone(),
            _ => format!("{}/{index}", key.name),
        },
    }
}

/// Returns how the versions of a rollout are measured, of each pair.
pub(super) fn measured(
    (site, routes): (&Site, &Routes<'_>),
    view: &View<'_>,
    record: &Record,
    live: &Live,
    judged: &JudgedPlan,
) -> Vec<Watch> {
    let watch = |(index, mut places): (usize, Places)| {
        routes.name(view, index, &mut places);
        Watch {
            rollout: live.state.id.clone(),
            stable: live.state.stable.clone(),
            canary: live.state.canary.clone(),
            weight: Weight::try_from_bps(live.routed).unwrap_or_default(),
            metrics: judged.plan.rules().metrics.clone(),
            requests: judged.requests.clone(),
            places,
        }
    };
    let places = site.places(view, record, live);
    places.into_iter().enumerate().map(watch).collect()
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
