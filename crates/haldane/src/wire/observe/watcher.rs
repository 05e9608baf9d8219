//! The task of one metric of one service: ask, count, tell, wait.

use std::time::Duration;

use haldane_analysis::sequential::Observed;
use haldane_core::{
    RolloutId,
    plan::metric::{Ask, Metric, Provider},
};
use haldane_source::{Reading, Retry};
use jiff::Timestamp;
use tokio::time::sleep;
use tracing::{
    debug,
    field::{DisplayValue, display},
    info, warn,
};

use super::{
    Shared,
    ask::{AskError, Asker},
    measure::{Answers, Gap, Measured, Measuring},
    question::{Queries, Question},
    share::Shares,
};

/// How many questions may be repeated at once without a good answer between; each good answer gives one back.
const REPETITIONS_MAX: u32 = 3;

/// The longest pause that a metric system is granted; its data is old by then anyway.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// One metric of one service, while a rollout goes on or while none does.
pub(super) struct Watcher {
    /// What it is called in the log.
    pub(super) service: String,
    /// The rollout that goes on.
    pub(super) rollout: Option<RolloutId>,
    /// The time between two questions.
    pub(super) interval: Duration,
    pub(super) metric: Metric,
    pub(super) asker: Asker,
    pub(super) question: Question,
    pub(super) measuring: Measuring,
    pub(super) shares: Shares,
    pub(super) shared: Shared,
}

/// Why there is nothing to tell.
#[derive(Debug, thiserror::Error)]
enum Silence {
    #[error("{0}")]
    Ask(#[from] AskError),
    #[error("{0}")]
    Gap(#[from] Gap),
}

impl Watcher {
    /// Watches without end.
    pub(super) async fn watch(mut self) {
        let mut repetitions = REPETITIONS_MAX;
        let mut trouble: Option<String> = None;
        loop {
            let mut result = self.turn().await;
            let is_passing = |silence: &Silence| silence.retry() == Retry::Now;
            if result.as_ref().is_err_and(is_passing) && repetitions > 0 {
                repetitions = repetitions.saturating_sub(1);
                result = self.turn().await;
            }
            let mut pause = self.interval;
            match result {
                Ok(measured) => {
                    repetitions = repetitions.saturating_add(1).min(REPETITIONS_MAX);
                    self.tell(measured);
                    self.note(&mut trouble, None);
                }
                Err(Silence::Gap(
                    gap @ (Gap::Beginning | Gap::Begun(_) | Gap::Repeated | Gap::Apart(_)),
                )) => {
                    debug!(service = self.service, rollout = self.rollout(), metric = self.metric.name, %gap, "Nothing was counted");
                }
                Err(silence) => {
                    if let Retry::After(wanted) = silence.retry() {
                        pause = pause.max(wanted.min(PAUSE_MAX));
                    }
                    self.note(&mut trouble, Some(silence.to_string()));
                }
            }
            sleep(pause).await;
        }
    }

    async fn turn(&mut self) -> Result<Measured, Silence> {
        let now = Timestamp::now();
        let Some(canary) = &self.question.canary else {
            let stable = self.answers(&self.question.stable, now).await?;
            // Measured against itself, stable is counted by the same rules as beside a canary.
            return Ok(self.measuring.take(stable.clone(), stable, now)?);
        };
        let (stable, canary) = tokio::try_join!(
            self.answers(&self.question.stable, now),
            self.answers(canary, now),
        )?;
        let measured = self.measuring.take(stable, canary, now)?;
        // Only templates are known to count the requests that the weight divides.
        if matches!(self.metric.ask, Ask::Template(_)) {
            let [from, to] = [measured.from, measured.to].map(|at| self.shared.weight_at(at));
            self.shares.check(&measured, from, to)?;
        }
        Ok(measured)
    }

    async fn answers(&self, queries: &Queries, now: Timestamp) -> Result<Answers, AskError> {
        ask_both(&self.asker, &self.metric, queries, now).await
    }

    fn tell(&self, measured: Measured) {
        let Measured {
            from,
            to,
            skew,
            stable,
            canary,
        } = measured;
        debug!(service = self.service, rollout = self.rollout(), metric = self.metric.name, %from, %to, ?stable, ?canary, "Metric was counted");
        self.shared.tell(Observed {
            metric: self.metric.name.clone(),
            from,
            to,
            skew,
            weight: self.shared.weight_at(to),
            stable: Some(stable),
            canary: self.question.canary.is_some().then_some(canary),
        });
    }

    /// Returns the rollout for the log.
    fn rollout(&self) -> Option<DisplayValue<&RolloutId>> {
        self.rollout.as_ref().map(display)
    }

    /// Says when trouble begins, changes and ends, once each.
    fn note(&self, known: &mut Option<String>, trouble: Option<String>) {
        if *known == trouble {
            return;
        }
        self.shared.note_trouble(&self.metric.name, trouble.clone());
        match &trouble {
            Some(why) => {
                warn!(service = self.service, rollout = self.rollout(), metric = self.metric.name, source = self.metric.source.name, %why, "Metric has no data")
            }
            None => {
                info!(
                    service = self.service,
                    rollout = self.rollout(),
                    metric = self.metric.name,
                    source = self.metric.source.name,
                    "Metric has data again"
                )
            }
        }
        *known = trouble;
    }
}

impl Silence {
    fn retry(&self) -> Retry {
        match self {
            Self::Ask(error) => error.retry(),
            Self::Gap(_) => Retry::Never,
        }
    }
}

/// Asks all queries of one version.
pub(crate) async fn ask_both(
    asker: &Asker,
    metric: &Metric,
    queries: &Queries,
    now: Timestamp,
) -> Result<Answers, AskError> {
    let ask = async |text: &str| {
        if metric.source.provider == Provider::Command {
            return asker.run(metric, text, &queries.variables, now).await;
        }
        asker.ask(metric, text, now).await
    };
    let exposure = async {
        let none: Result<Option<Reading>, AskError> = Ok(None);
        match &queries.exposure {
            Some(text) => ask(text).await.map(Some),
            None => none,
        }
    };
    let (events, exposure) = tokio::try_join!(ask(&queries.events), exposure)?;
    Ok(Answers { events, exposure })
}
