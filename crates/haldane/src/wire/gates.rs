//! The gates of this machine: web services and commands that are asked whether a rollout may go on.
//!
//! The driver states on each turn which gate is to be asked; the asking is a task of its own, and its answer goes back as an event.
//! One rollout stands at one gate, so asking for another key ends what was asked before. After a rollback the same way tells its hooks.
//!
//! A web service gets a POST of `{rollout, step, service, stable, canary, stableUrl, canaryUrl, gate, why, key}`, where `key` is the same
//! for each repetition of the same question. It answers with 2xx to go on, unless its JSON body says
//! `{"status": "InProgress", "retryAfterSeconds": 30}` (it is asked again then) or `{"status": "Failed", "message": "…"}`. Hooks made
//! for ECS say the same by `hookStatus` and `callBackDelay`. Other codes end the rollout; where the service is down or overloaded it
//! is asked again as long as there is time.
//!
//! **Invariant:** what can't be understood never opens a gate: an answer that is too large, or that should be JSON and isn't.

mod ask;
mod hook;

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use haldane_core::{
    RolloutId,
    plan::{Ask, Gate},
    rollout::{GateAnswer, GateKey},
};
use haldane_engine::port::{GateSubject, Gates};
use haldane_supervisor::job::Jobs;
use tokio::{runtime::Handle, sync::watch, time::Instant};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use self::ask::Asking;
use crate::wire::web::{REQUEST_TIMEOUT, Web};

/// How long to wait before an answer is offered again to a driver that is too busy to take it.
const OFFER_INTERVAL: Duration = Duration::from_millis(200);

/// How long before the rollout's own deadline the asking ends: then history tells what was said rather than that time ran out.
const MARGIN_MAX: Duration = Duration::from_secs(1);

/// Asks gates.
pub(crate) struct GateKeeper {
    runtime: Handle,
    tasks: TaskTracker,
    web: Web,
    jobs: Jobs,
    pace: Pace,
    answer: Arc<dyn Fn(GateAnswer) -> bool + Send + Sync>,
    asked: BTreeMap<RolloutId, Asked>,
}

/// How long to wait between two tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// After the first failure; each further wait is twice the one before.
    pub(crate) first: Duration,
    /// At most.
    pub(crate) max: Duration,
}

/// The last gate that was asked for a rollout, also after it has answered.
struct Asked {
    key: GateKey,
    /// Addresses come and go while a gate is asked.
    subject: watch::Sender<GateSubject>,
    /// Ends the task when it is dropped.
    _stop: DropGuard,
}

impl GateKeeper {
    /// Returns a keeper whose tasks run on this runtime and whose commands are these jobs, and that offers each answer until it is
    /// taken (true).
    pub(crate) fn new(
        runtime: &Handle,
        jobs: Jobs,
        answer: impl Fn(GateAnswer) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::sharing(Web::new(REQUEST_TIMEOUT), runtime, jobs, answer)
    }

    /// Returns the same with a client that others use, too.
    pub(crate) fn sharing(
        web: Web,
        runtime: &Handle,
        jobs: Jobs,
        answer: impl Fn(GateAnswer) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self {
            runtime: runtime.clone(),
            tasks: TaskTracker::new(),
            web,
            jobs,
            pace: Pace {
                first: Duration::from_secs(1),
                max: Duration::from_secs(30),
            },
            answer: Arc::new(answer),
            asked: BTreeMap::new(),
        }
    }
}

impl Gates for GateKeeper {
    fn ask(&mut self, key: &GateKey, gate: &Gate, subject: &GateSubject) {
        let asked = self.asked.get(&key.rollout);
        if let Some(asked) = asked.filter(|asked| &asked.key == key) {
            asked.subject.send_if_modified(|known| {
                let is_changed = known != subject;
                known.clone_from(subject);
                is_changed
            });
            return;
        }
        if gate.ask == Ask::Approval {
            return;
        }
        let (subject_now, subject_seen) = watch::channel(subject.clone());
        let margin = (gate.timeout / 10).min(MARGIN_MAX);
        let asking = Asking {
            key: key.clone(),
            gate: gate.clone(),
            subject: subject_seen,
            web: self.web.clone(),
            jobs: self.jobs.clone(),
            pace: self.pace,
            deadline: Instant::now() + time_left(key, gate.timeout).saturating_sub(margin),
            margin,
        };
        let answer = Arc::clone(&self.answer);
        let ask_and_tell = async move {
            let said = asking.answer().await;
            while !answer(said.clone()) {
                tokio::time::sleep(OFFER_INTERVAL).await;
            }
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        self.tasks.spawn_on(
            async move {
                if stopped.run_until_cancelled(ask_and_tell).await.is_none() {
                    tracing::debug!("Gate is no longer asked");
                }
            },
            &self.runtime,
        );
        let asked = Asked {
            key: key.clone(),
            subject: subject_now,
            _stop: stop.drop_guard(),
        };
        self.asked.insert(key.rollout.clone(), asked);
    }

    fn forget(&mut self, rollout: &RolloutId) {
        self.asked.remove(rollout);
    }
}

impl fmt::Debug for GateKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateKeeper")
            .field("asked", &self.asked.keys())
            .finish_non_exhaustive()
    }
}

/// Returns what is left of the time since the gate's step was entered; a clock that went back doesn't add to it.
fn time_left(key: &GateKey, timeout: Duration) -> Duration {
    let entered = SystemTime::from(key.entered);
    let waited = SystemTime::now()
        .duration_since(entered)
        .unwrap_or_default();
    timeout.saturating_sub(waited)
}

#[cfg(test)]
mod tests;
