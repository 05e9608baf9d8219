//! One asking of one gate, from the question to the answer.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use haldane_core::{
    plan::{Ask, Gate},
    rollout::{GateAnswer, GateKey},
};
use haldane_engine::port::GateSubject;
use haldane_supervisor::job::{Job, JobEnd, Jobs};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};
use tracing::{debug, info, warn};

use super::{
    Pace,
    hook::{Heard, heard},
};
use crate::wire::{
    job,
    web::{self, Web},
};

/// How much of the end of a command's output is kept: a stack trace or the summary of a test run, and a decision stays small.
const OUTPUT_BYTES_MAX: usize = 4 << 10;

/// A gate that is being asked.
pub(super) struct Asking {
    pub(super) key: GateKey,
    pub(super) gate: Gate,
    /// Who is asked about, as the driver last knew it.
    pub(super) subject: watch::Receiver<GateSubject>,
    pub(super) web: Web,
    pub(super) jobs: Jobs,
    pub(super) pace: Pace,
    /// When the answer must be there.
    pub(super) deadline: Instant,
    /// How long before the rollout's own deadline that is.
    pub(super) margin: Duration,
}

/// What the gate says.
struct Said {
    is_open: bool,
    words: String,
}

impl Asking {
    /// Asks until there is an answer or the time is over.
    pub(super) async fn answer(self) -> GateAnswer {
        let Self { key, gate, .. } = &self;
        info!(gate = %key, name = gate.name, "Gate is asked");
        let said = match &gate.ask {
            Ask::Webhook { url } => self.ask_hook(url).await,
            Ask::Run { argv } => self.ask_command(argv).await,
            // A person answers by a command on the rollout; the keeper never gets here.
            Ask::Approval => closed("a person is to be asked".to_owned()),
            // The host of releases makes it itself; other homes refuse the plan.
            Ask::Job { .. } => closed("there are no Jobs here".to_owned()),
        };
        info!(gate = %key, name = gate.name, is_open = said.is_open, "Gate answered");
        GateAnswer {
            key: self.key,
            is_open: said.is_open,
            said: said.words,
        }
    }

    async fn ask_hook(&self, url: &str) -> Said {
        let mut last = "nothing was said".to_owned();
        let asked = timeout_at(self.deadline, self.ask_until_decided(url, &mut last)).await;
        asked.unwrap_or_else(|_| closed(format!("no answer in time; the last word: {last}")))
    }

    async fn ask_until_decided(&self, url: &str, last: &mut String) -> Said {
        let mut backoff = self.pace.first;
        loop {
            let answer = self.web.ask(url, &self.question()).await;
            let wait = match heard(&answer) {
                Heard::Open(words) => {
                    return Said {
                        is_open: true,
                        words,
                    };
                }
                Heard::Closed(words) => return closed(words),
                Heard::Undecided(words, again) => {
                    debug!(gate = %self.key, words, "Gate is undecided");
                    *last = words;
                    backoff = self.pace.first;
                    again
                }
                Heard::Unwell(words, at_least) => {
                    warn!(gate = %self.key, host = web::host(url), words, "Gate is asked again");
                    *last = words;
                    let wait = backoff.max(at_least);
                    backoff = backoff.saturating_mul(2).min(self.pace.max);
                    wait
                }
            };
            sleep(wait).await;
        }
    }

    fn question(&self) -> Value {
        let GateKey {
            rollout,
            step,
            entered,
        } = &self.key;
        let subject = self.subject.borrow();
        json!({
            "rollout": rollout,
            "step": step,
            "service": subject.service,
            "stable": subject.stable,
            "canary": subject.canary,
            "stableUrl": subject.stable_url,
            "canaryUrl": subject.canary_url,
            "gate": self.gate.name,
            "why": subject.why,
            "key": format!("{rollout}/{step}/{entered}"),
        })
    }

    async fn ask_command(&self, argv: &[String]) -> Said {
        let Ok(env) = timeout_at(self.deadline, self.variables(argv)).await else {
            return closed("no replica that the command asks for was ready in time".to_owned());
        };
        let job = Job {
            argv: argv.to_vec(),
            env,
            dir: self.subject.borrow().dir.as_ref().map(PathBuf::from),
            timeout: self.deadline.saturating_duration_since(Instant::now()),
            output_bytes_max: OUTPUT_BYTES_MAX,
        };
        let run = job::run(&self.jobs, job);
        // A command that ends when it is told to is heard; a stubborn one isn't waited for.
        match timeout_at(self.deadline + self.margin * 3 / 4, run).await {
            Ok(Ok(end)) => said_by(&end),
            Ok(Err(error)) => closed(format!("the command could not be run: {error}")),
            Err(_) => closed("its time was over, and it does not end when told to".to_owned()),
        }
    }

    /// Returns what a command is told; waits for an address that its arguments need.
    async fn variables(&self, argv: &[String]) -> BTreeMap<String, String> {
        let is_needed = |name: &str| argv.iter().any(|argument| argument.contains(name));
        let is_known = |subject: &GateSubject| {
            (subject.stable_url.is_some() || !is_needed("STABLE_URL"))
                && (subject.canary_url.is_some() || !is_needed("CANARY_URL"))
        };
        let mut subject = self.subject.clone();
        // It fails when the gate is no longer asked, and then this task ends anyway.
        let subject = match subject.wait_for(is_known).await {
            Ok(subject) => subject.clone(),
            Err(_) => self.subject.borrow().clone(),
        };
        let known = [
            ("STABLE_URL", subject.stable_url),
            ("CANARY_URL", subject.canary_url),
            ("VERSION", Some(subject.canary.to_string())),
        ];
        let known = known.into_iter();
        known
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }
}

const fn closed(words: String) -> Said {
    Said {
        is_open: false,
        words,
    }
}

fn said_by(end: &JobEnd) -> Said {
    let words = job::words(end);
    Said {
        is_open: end.is_success(),
        words,
    }
}
