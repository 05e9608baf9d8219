//! News for people: each piece is logged here and posted to every configured webhook.
//!
//! Each target has a queue and a worker of its own, so that one that is down holds up neither the driver nor the others. A piece
//! is posted as `{key, service, rollout, phase, text, at}` until the target takes it, in order; a repeated one has the same `key`.
//!
//! **Invariant:** telling never waits and never takes more memory than [`LETTERS_MAX`] pieces per target: where one has been away
//! for so long that more wait, the oldest are dropped and counted.

mod target;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    time::Duration,
};

use haldane_api::file::Notify as NotifyTarget;
use haldane_engine::port::{News, Notify};
use serde_json::json;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tracing::info;

use self::target::Target;
use crate::wire::web::{REQUEST_TIMEOUT, Web};

/// How many pieces of news wait for one target: days of them, for a rollout makes about ten.
const LETTERS_MAX: usize = 100;

/// How many keys are remembered to know repeated news; more than any driver repeats at once.
const KEYS_MAX: usize = 1_000;

/// Tells people what happens. Once it is dropped, what waits is tried once more while the runtime runs.
pub(crate) struct Notifier {
    post: Post,
    keys: VecDeque<String>,
    targets: BTreeMap<String, Target>,
}

/// What it takes to post.
#[derive(Clone, Debug)]
struct Post {
    runtime: Handle,
    tasks: TaskTracker,
    web: Web,
    pace: Pace,
}

/// When to try again, and when no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    /// The wait after the first failure; each further one is twice the one before.
    first: Duration,
    /// The longest wait of our own.
    max: Duration,
    /// The age at which news is old news.
    give_up: Duration,
}

impl Notifier {
    /// Returns a notifier without targets, whose tasks run on this runtime.
    pub(crate) fn new(runtime: &Handle) -> Self {
        let pace = Pace {
            first: Duration::from_secs(1),
            max: Duration::from_mins(5),
            give_up: Duration::from_hours(24),
        };
        Self::with(runtime, Web::new(REQUEST_TIMEOUT), pace)
    }

    fn with(runtime: &Handle, web: Web, pace: Pace) -> Self {
        let post = Post {
            runtime: runtime.clone(),
            tasks: TaskTracker::new(),
            web,
            pace,
        };
        Self {
            post,
            keys: VecDeque::new(),
            targets: BTreeMap::new(),
        }
    }

    /// Whether this key is new; it isn't the next time.
    fn is_new(&mut self, key: &str) -> bool {
        if self.keys.iter().any(|known| known == key) {
            return false;
        }
        if self.keys.len() >= KEYS_MAX {
            self.keys.pop_front();
        }
        self.keys.push_back(key.to_owned());
        true
    }
}

impl Notify for Notifier {
    fn configure(&mut self, targets: &[NotifyTarget]) {
        let mut known = std::mem::take(&mut self.targets);
        for NotifyTarget::Webhook { url } in targets {
            // A target that stays keeps what waits for it; one that goes gets a last try.
            let kept = known.remove(url);
            self.targets
                .entry(url.clone())
                .or_insert_with(|| kept.unwrap_or_else(|| Target::open(url, &self.post)));
        }
    }

    fn tell(&mut self, news: &News) {
        if !self.is_new(&news.key) {
            return;
        }
        let News {
            key,
            service,
            rollout,
            phase,
            text,
            at,
        } = news;
        info!(%service, %rollout, phase, key, "{text}");
        let body = json!({ "key": key, "service": service, "rollout": rollout, "phase": phase, "text": text, "at": at });
        for target in self.targets.values() {
            target.push(key, &body);
        }
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URLs are secrets.
        f.debug_struct("Notifier")
            .field("targets", &self.targets.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
