//! How rollouts begin and end.

use std::sync::Arc;

use haldane_api::release::Past;
use haldane_core::{
    RolloutId, ServiceName,
    plan::Plan,
    request::{Admission, admit},
    rollout::{self, Action, Actor, Ended, Phase, Reason},
};
use serde_json::json;

use super::{
    act::{Act, Setting},
    json as read,
    record::{Kind, Live, Stable},
    release::{FINALIZER, Home},
    site::{Blocked, Rest, Scene},
};
use crate::{
    kinds::RELEASE,
    turn::{Urgency, What, Write},
};

/// What is missing where a plan asks for a verdict and nothing is measured.
const NOTHING_TO_JUDGE_BY: &str = "spec.requests: missing; expected where requests are counted, since the rollout is judged by \
     them; or spec.metrics, or spec.rollout.guards: none for a rollout that nobody judges";

impl Act<'_> {
    /// Takes a release over that is new: what changes its version by itself is held first, so that what is adopted stays what serves.
    pub(super) fn take_over(&mut self, setting: &Setting<'_>) -> Result<(), Blocked> {
        if self.release.is_deleted() {
            return Ok(());
        }
        // A plan that can't be followed is told before it is needed.
        self.plan_for(setting, None)?;
        let stable = setting.site.adopt(&self.view)?;
        let writes = setting.site.held(&self.view)?;
        if writes.is_empty() {
            self.record.stable = Some(stable);
        } else {
            self.is_taking_over = true;
            self.rest = Some(Rest {
                writes,
                ..Rest::default()
            });
        }
        Ok(())
    }

    /// Begins a rollout, where the objects ask for a version that does not serve and was not judged.
    pub(super) fn begin(&mut self, setting: &Setting<'_>, scene: &Scene) -> Result<(), Blocked> {
        let Some(stable) = self.record.stable.clone() else {
            return Ok(());
        };
        if !self.is_new(&stable, scene) {
            return Ok(());
        }
        let offered = &scene.offered;
        // Who goes back waits until the objects say so.
        let asked = self.record.asked.clone();
        let target = asked.as_ref().and_then(|asked| asked.to.as_ref());
        if target.is_some_and(|to| to.hash != offered.hash) {
            return Ok(());
        }
        setting.routes.check(&self.view)?;
        let plan = self.plan_for(setting, asked.as_ref().and_then(|one| one.plan.as_ref()))?;
        let service: ServiceName = self.view.key.name.parse().map_err(|error| Blocked {
            reason: "Invalid",
            message: format!("metadata.name: {error}"),
        })?;
        let id = RolloutId::new(&service, self.record.next_number);
        let (from, to) = (stable.version.name.clone(), offered.name.clone());
        let state = rollout::begin(id.clone(), from, to, &plan, self.view.now);
        self.record.next_number = self.record.next_number.saturating_add(1);
        self.record.asked = None;
        self.record.stop = false;
        self.record.live = Some(Live {
            state,
            canary: offered.clone(),
            kind: asked.as_ref().map_or(Kind::Deploy, |asked| asked.kind),
            actor: asked.map_or_else(|| self.who_deploys(), |asked| asked.actor),
            started_at: self.view.now,
            full: scene.full,
            sizes: scene.sizes.clone(),
            is_started: false,
            routed: 0,
            judges: haldane_analysis::panel::Memory::default(),
            more_judges: Vec::new(),
        });
        self.memory.bench = None;
        self.memory.judged = None;
        self.memory.plan = Some(Arc::new(plan));
        let by = self.record.live.as_ref().map(|live| live.actor.clone());
        self.note("begin", by.as_ref());
        self.memory.cleared = None;
        self.memory.introduced = None;
        self.memory.led = None;
        self.rest = None;
        let said = format!("{id}: {} beside {}", offered.name, stable.version.name);
        self.tell(false, "RolloutBegins", said);
        // One that need not wait for a window does not wait for a write of that either.
        self.gather(setting, scene)?;
        self.settle(setting, scene)?;
        // What the routers do is looked at for what is wanted now.
        self.gather(setting, scene)
    }

    /// Returns who begins a rollout by changing a template.
    fn who_deploys(&self) -> Actor {
        match self.view.home {
            Home::Carried {
                actor,
                is_put: true,
                ..
            } => actor.clone(),
            Home::Carried { is_put: false, .. } | Home::Own => somebody(),
        }
    }

    /// Whether the objects ask for a version that does not serve and was not judged.
    pub(super) fn is_new(&self, stable: &Stable, scene: &Scene) -> bool {
        let hash = &scene.offered.hash;
        *hash != stable.version.hash && self.record.judged.as_ref() != Some(hash)
    }

    fn plan_for(&mut self, setting: &Setting<'_>, own: Option<&String>) -> Result<Plan, Blocked> {
        let invalid = |message: String| Blocked {
            reason: "Invalid",
            message,
        };
        let plan = match own {
            Some(text) => serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?,
            None => self.judged_plan(setting)?.plan.clone(),
        };
        let rules = plan.rules();
        if rules.is_judged() && rules.metrics.is_empty() && setting.spec.requests.is_none() {
            return Err(invalid(NOTHING_TO_JUDGE_BY.to_owned()));
        }
        let problems = plan.problems_for(setting.routes.abilities());
        if problems.is_empty() {
            return Ok(plan);
        }
        let problems = problems.iter().map(ToString::to_string);
        Err(invalid(problems.collect::<Vec<_>>().join("; ")))
    }

    /// Ends the rollout that goes on where the objects ask for another version.
    pub(super) fn follow(&mut self, scene: &Scene) {
        let Some(live) = self.record.live() else {
            return;
        };
        let Some(stable) = &self.record.stable else {
            return;
        };
        let offered = &scene.offered;
        if offered.hash == live.canary.hash {
            return;
        }
        // A template is told from others by its checksum; names may be alike.
        let wanted = if offered.hash == stable.version.hash {
            &live.state.stable
        } else {
            &offered.name
        };
        let action = match admit(&live.state.stable, Some(&live.state), wanted) {
            Admission::BackToStable => Action::BackToStable,
            Admission::Supersede | Admission::OnTrial => Action::Supersede(offered.name.clone()),
            Admission::Queue | Admission::Begin | Admission::Serving => return,
        };
        let said = format!("the objects ask for {}", offered.name);
        if self.command(action, somebody()).is_ok() {
            self.tell(false, "Superseded", said);
        }
    }

    /// Takes in that a rollout is over.
    pub(super) fn finish(&mut self, setting: &Setting<'_>) -> Result<(), Blocked> {
        let Some(live) = self.record.live.clone() else {
            return Ok(());
        };
        let ended = match &live.state.phase {
            Phase::Completed(ended) => {
                let follow = setting.site.follow(&self.view)?;
                let old = self.record.stable.take();
                let promoted = setting.site.promoted(&live, old.as_ref(), self.view.now);
                self.record.stable = Some(promoted);
                self.record.previous = old.map(|stable| stable.version);
                if let Some(follow) = follow {
                    self.tell(
                        false,
                        "GitMustFollow",
                        format!("what Git says must follow: {follow}"),
                    );
                }
                ended.clone()
            }
            Phase::RolledBack(ended) => ended.clone(),
            // As long as traffic may still be there, everything stays as it is.
            Phase::Failed(ended) if self.not_applied.is_none() => ended.clone(),
            Phase::Failed(_)
            | Phase::Pending(_)
            | Phase::Preparing(_)
            | Phase::Progressing(_)
            | Phase::Paused(_)
            | Phase::Promoting(_)
            | Phase::RollingBack(_) => return Ok(()),
        };
        // Who was replaced by a newer one before it was judged may be tried again.
        if !is_withdrawn(&ended.why) {
            self.record.judged = Some(live.canary.hash.clone());
        }
        if live.kind == Kind::Recall && matches!(live.state.phase, Phase::Completed(_)) {
            let previous = self.record.previous.as_ref();
            self.record.judged = previous.map(|version| version.hash.clone());
        }
        self.record.stop = setting.site.is_kept();
        self.record.live = None;
        if !matches!(live.state.phase, Phase::Completed(_)) {
            self.begin_aftermath(&live, &ended);
        }
        self.memory.plan = None;
        self.let_go(&live);
        self.tell_end(&live, &ended);
        self.memory.remember(past(&live, &ended));
        Ok(())
    }

    fn tell_end(&mut self, live: &Live, ended: &Ended) {
        let said = format!("{}: {}: {}", live.state.id, live.canary.name, ended.why);
        match &live.state.phase {
            Phase::Completed(_) => self.tell(false, "Promoted", said),
            Phase::Failed(_) => self.tell(true, "Failed", said),
            Phase::RolledBack(_)
            | Phase::Pending(_)
            | Phase::Preparing(_)
            | Phase::Progressing(_)
            | Phase::Paused(_)
            | Phase::Promoting(_)
            | Phase::RollingBack(_) => self.tell(true, "RolledBack", said),
        }
    }

    /// Returns what puts an earlier version's template in place again, where somebody asked for that.
    pub(super) fn put_back(&self, setting: &Setting<'_>) -> Result<Vec<Write>, Blocked> {
        match self
            .record
            .asked
            .as_ref()
            .and_then(|asked| asked.to.as_ref())
        {
            Some(to) => setting.site.put_back(&self.view, to),
            None => Ok(Vec::new()),
        }
    }

    /// Returns the write that lets a release be gone only when its objects are as they were.
    pub(super) fn finalizer(&self) -> Option<Write> {
        let mut finalizers = self.release.finalizers();
        if finalizers.iter().any(|one| one == FINALIZER) {
            return None;
        }
        finalizers.push(FINALIZER.to_owned());
        Some(self.of_metadata(&json!({"finalizers": finalizers})))
    }

    /// Returns a write of the release's own metadata.
    pub(super) fn of_metadata(&self, metadata: &serde_json::Value) -> Write {
        Write {
            target: self.view.name(&RELEASE, &self.view.key.name),
            what: What::Merge {
                patch: json!({"metadata": metadata}),
                resource_version: read::resource_version(&self.release.object),
            },
            urgency: Urgency::Rest,
        }
    }
}

/// Returns who changes a template.
fn somebody() -> Actor {
    Actor {
        name: "kubernetes".to_owned(),
        reason: None,
    }
}

/// Whether the objects asked for another version before this one was judged.
const fn is_withdrawn(why: &Reason) -> bool {
    matches!(why, Reason::Superseded(_) | Reason::BackToStable)
}

fn past(live: &Live, ended: &Ended) -> Past {
    Past {
        rollout: live.state.id.to_string(),
        stable: live.state.stable.to_string(),
        canary: live.canary.name.to_string(),
        phase: live.state.phase.name().to_owned(),
        message: ended.why.to_string(),
        withdrawn: is_withdrawn(&ended.why),
        by: live.actor.name.clone(),
        started_at: live.started_at,
        ended_at: ended.at,
    }
}
