//! One target of news: its queue, and the worker that empties it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reqwest::StatusCode;
use serde_json::Value;
use tokio::{
    select,
    sync::Notify,
    time::{Instant, sleep},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, warn};

use super::{LETTERS_MAX, Pace, Post};
use crate::wire::web::{self, Head, Web, WebError};

/// Somebody who is told.
pub(super) struct Target {
    letters: Arc<Letters>,
    /// Lets the worker end when it is dropped.
    _stop: DropGuard,
}

/// What waits to be posted.
struct Letters {
    /// The only part of the URL that may be told.
    host: String,
    queue: Mutex<Queue>,
    arrived: Notify,
}

#[derive(Default)]
struct Queue {
    letters: VecDeque<Letter>,
    dropped: u64,
}

struct Letter {
    key: String,
    body: Value,
    since: Instant,
}

struct Worker {
    url: String,
    letters: Arc<Letters>,
    web: Web,
    pace: Pace,
    stop: CancellationToken,
}

/// What to do after a try.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Next {
    /// It was taken.
    Done,
    /// Try again after this time, for that reason.
    Again(Duration, String),
    /// Leave it, for that reason.
    GiveUp(String),
}

impl Target {
    pub(super) fn open(url: &str, post: &Post) -> Self {
        let letters = Arc::new(Letters {
            host: web::host(url),
            queue: Mutex::default(),
            arrived: Notify::new(),
        });
        let stop = CancellationToken::new();
        let worker = Worker {
            url: url.to_owned(),
            letters: Arc::clone(&letters),
            web: post.web.clone(),
            pace: post.pace,
            stop: stop.clone(),
        };
        post.tasks.spawn_on(worker.run(), &post.runtime);
        Self {
            letters,
            _stop: stop.drop_guard(),
        }
    }

    pub(super) fn push(&self, key: &str, body: &Value) {
        let letter = Letter {
            key: key.to_owned(),
            body: body.clone(),
            since: Instant::now(),
        };
        let mut queue = self.letters.lock();
        if queue.letters.len() >= LETTERS_MAX {
            queue.letters.pop_front();
            queue.dropped = queue.dropped.saturating_add(1);
            warn!(
                host = self.letters.host,
                dropped = queue.dropped,
                "Oldest news dropped; too many wait"
            );
        }
        queue.letters.push_back(letter);
        drop(queue);
        self.letters.arrived.notify_one();
    }
}

impl Letters {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Every change of the queue is one step, so a panicking holder leaves it whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    async fn run(self) {
        while let Some(letter) = self.next().await {
            if !self.deliver(&letter).await {
                let left = self.letters.lock().letters.len().saturating_add(1);
                warn!(
                    host = self.letters.host,
                    left, "News left untold at the end"
                );
                return;
            }
        }
    }

    /// Returns the next letter, or none when no more will come.
    async fn next(&self) -> Option<Letter> {
        loop {
            if let Some(letter) = self.letters.lock().letters.pop_front() {
                return Some(letter);
            }
            if self.stop.is_cancelled() {
                return None;
            }
            select! {
                () = self.letters.arrived.notified() => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    /// Posts one letter until it is taken or given up; once the end has come, false after one more try in vain.
    async fn deliver(&self, letter: &Letter) -> bool {
        let host = &self.letters.host;
        let mut backoff = self.pace.first;
        loop {
            let is_last = self.stop.is_cancelled();
            let answer = self.web.tell(&self.url, &letter.body).await;
            let (wait, why) = match next(&answer, backoff, letter.since.elapsed(), &self.pace) {
                Next::Done => {
                    debug!(host, key = letter.key, "News told");
                    return true;
                }
                Next::Again(wait, why) => (wait, why),
                Next::GiveUp(why) => {
                    warn!(host, key = letter.key, why, "News given up");
                    return true;
                }
            };
            debug!(host, key = letter.key, why, ?wait, "News was not taken");
            if is_last {
                return false;
            }
            backoff = backoff.saturating_mul(2).min(self.pace.max);
            select! {
                () = sleep(wait) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }
}

fn next(answer: &Result<Head, WebError>, backoff: Duration, age: Duration, pace: &Pace) -> Next {
    let (why, is_passing, at_least) = match answer {
        Ok(head) if head.status.is_success() => return Next::Done,
        Ok(head) => {
            let is_passing = head.status.is_server_error()
                || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS]
                    .contains(&head.status);
            (
                format!("HTTP {}", head.status),
                is_passing,
                head.retry_after.unwrap_or_default(),
            )
        }
        Err(error) => (error.to_string(), error.is_passing(), Duration::ZERO),
    };
    let wait = backoff.max(at_least);
    if is_passing && age.saturating_add(wait) < pace.give_up {
        Next::Again(wait, why)
    } else {
        Next::GiveUp(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        first: Duration::from_secs(1),
        max: Duration::from_mins(5),
        give_up: Duration::from_hours(24),
    };

    fn head(status: u16, retry_after: Option<u64>) -> Result<Head, WebError> {
        let status = StatusCode::from_u16(status).map_err(|_| WebError::Url)?;
        Ok(Head {
            status,
            retry_after: retry_after.map(Duration::from_secs),
            is_json: false,
        })
    }

    #[track_caller]
    fn check(answer: &Result<Head, WebError>, age_hours: u64, expected: &Next) {
        let next = next(
            answer,
            Duration::from_secs(8),
            Duration::from_hours(age_hours),
            &PACE,
        );
        assert_eq!(&next, expected);
    }

    fn again(seconds: u64, why: &str) -> Next {
        Next::Again(Duration::from_secs(seconds), why.to_owned())
    }

    #[test]
    fn troubles_are_waited_out_and_refusals_are_not() {
        check(&head(200, None), 0, &Next::Done);
        check(
            &head(503, None),
            0,
            &again(8, "HTTP 503 Service Unavailable"),
        );
        check(&head(408, None), 0, &again(8, "HTTP 408 Request Timeout"));
        check(
            &Err(WebError::Broken("refused".to_owned())),
            0,
            &again(8, "refused"),
        );
        check(
            &head(404, None),
            0,
            &Next::GiveUp("HTTP 404 Not Found".to_owned()),
        );
        check(
            &head(302, None),
            0,
            &Next::GiveUp("HTTP 302 Found".to_owned()),
        );
        check(
            &Err(WebError::Url),
            0,
            &Next::GiveUp("the URL is none of the web".to_owned()),
        );
    }

    #[test]
    fn a_target_may_ask_for_more_time_but_not_for_less() {
        check(
            &head(429, Some(60)),
            0,
            &again(60, "HTTP 429 Too Many Requests"),
        );
        check(
            &head(429, Some(0)),
            0,
            &again(8, "HTTP 429 Too Many Requests"),
        );
        check(
            &head(503, Some(u64::MAX)),
            0,
            &Next::GiveUp("HTTP 503 Service Unavailable".to_owned()),
        );
    }

    #[test]
    fn old_news_is_given_up() {
        check(
            &head(500, None),
            23,
            &again(8, "HTTP 500 Internal Server Error"),
        );
        check(
            &head(500, None),
            24,
            &Next::GiveUp("HTTP 500 Internal Server Error".to_owned()),
        );
        check(&head(200, None), 99, &Next::Done);
    }
}
