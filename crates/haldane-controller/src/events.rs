//! Kubernetes Events: what people see in `kubectl describe`. They never hold up anything else, and never flood the server.
//!
//! The same event is told once in a while, with how often it happened; an object has so many in five minutes; and what does not fit
//! into the line is dropped and counted. Events of the core group are used: they are one write each, and every client shows them.

mod limit;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use haldane_router::{Kind, ObjectRef};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::Instant};
use tracing::debug;

use crate::{
    events::limit::{Limit, Verdict},
    lease::random,
    metrics::Metrics,
    turn::{Event, FIELD_MANAGER, Seen, Sight as _, Urgency, What, Write},
    writer::{Stop, Writer},
};

/// Events that wait; more than any burst of decisions makes.
const WAITING_MAX: usize = 1_024;

/// What the API server takes.
const MESSAGE_BYTES_MAX: usize = 1_024;

/// Leaves room for the part of an event's name that makes it unique.
const NAME_BYTES_MAX: usize = 230;

static EVENT: Kind = Kind {
    group: "",
    kind: "Event",
    plural: "events",
    versions: &["v1"],
};

/// Takes events.
#[derive(Clone)]
pub(crate) struct Events {
    tx: mpsc::Sender<Notice>,
    metrics: Arc<Metrics>,
    limit: Arc<Mutex<Limit>>,
}

/// Sends them.
pub(crate) struct Teller {
    rx: mpsc::Receiver<Notice>,
    metrics: Arc<Metrics>,
    writer: Arc<Writer>,
}

/// An event that is to be told.
struct Notice {
    about: ObjectRef,
    event: Event,
    count: u32,
    lasted: Duration,
}

/// Makes both ends.
pub(crate) fn events(writer: Arc<Writer>, metrics: Arc<Metrics>) -> (Events, Teller) {
    let (tx, rx) = mpsc::channel(WAITING_MAX);
    let events = Events {
        tx,
        metrics: Arc::clone(&metrics),
        limit: Arc::default(),
    };
    let teller = Teller {
        rx,
        metrics,
        writer,
    };
    (events, teller)
}

impl Events {
    /// Tells people something about an object, if there is room.
    pub(crate) fn tell(&self, about: &ObjectRef, event: Event) {
        let verdict = {
            // Nothing panics while it holds the lock.
            let mut limit = self.limit.lock().unwrap_or_else(PoisonError::into_inner);
            limit.judge(about, &event, Instant::now())
        };
        match verdict {
            Verdict::Tell { count, lasted } => {
                let notice = Notice {
                    about: about.clone(),
                    event,
                    count,
                    lasted,
                };
                if self.tx.try_send(notice).is_err() {
                    self.metrics.count_dropped_event("full");
                }
            }
            Verdict::Repeated => self.metrics.count_dropped_event("repeated"),
            Verdict::TooMany => self.metrics.count_dropped_event("too_many"),
        }
    }
}

impl Teller {
    /// Sends events as long as anybody has some.
    pub(crate) async fn run(mut self) {
        while let Some(notice) = self.rx.recv().await {
            self.send(self.write(&notice)).await;
        }
    }

    async fn send(&self, write: Option<Write>) {
        let Some(write) = write else {
            return self.metrics.count_dropped_event("gone");
        };
        match self.writer.send(&write).await {
            Ok(_) => {}
            Err(Stop::Fenced) => self.metrics.count_dropped_event("fenced"),
            Err(Stop::Failed(failure)) => {
                debug!(%failure, "Event not written");
                self.metrics.count_dropped_event("failed");
            }
        }
    }

    /// Returns the write of an event, if what it is about is still there.
    fn write(&self, notice: &Notice) -> Option<Write> {
        let Notice {
            about,
            event,
            count,
            lasted,
        } = notice;
        let Seen::Found(object) = self.writer.cache.view().get(about) else {
            return None;
        };
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let stem: String = about.name.chars().take(NAME_BYTES_MAX).collect();
        let name = format!("{}.{:016x}", stem.trim_end_matches(['.', '-']), random());
        let now = Timestamp::now();
        let first = now.checked_sub(*lasted).unwrap_or(now);
        let body = json!({
            "involvedObject": {
                "apiVersion": text("/apiVersion"),
                "kind": about.kind.kind,
                "namespace": about.namespace,
                "name": about.name,
                "uid": text("/metadata/uid"),
                "resourceVersion": text("/metadata/resourceVersion"),
            },
            "type": if event.is_warning { "Warning" } else { "Normal" },
            "reason": event.reason,
            "message": shortened(&event.message),
            "source": {"component": FIELD_MANAGER},
            "reportingComponent": FIELD_MANAGER,
            "firstTimestamp": seconds(first),
            "lastTimestamp": seconds(now),
            "count": count,
        });
        Some(Write {
            target: EVENT.named(&about.namespace, &name),
            what: What::Create(body),
            urgency: Urgency::Event,
        })
    }
}

fn seconds(time: Timestamp) -> String {
    format!("{time:.0}")
}

fn shortened(message: &str) -> &str {
    let mut end = message.len().min(MESSAGE_BYTES_MAX);
    while !message.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    message.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_between_letters() {
        assert_eq!(shortened("short"), "short");
        let long = format!("{}ä", "x".repeat(MESSAGE_BYTES_MAX - 1));
        assert_eq!(shortened(&long).len(), MESSAGE_BYTES_MAX - 1);
    }

    #[test]
    fn times_are_whole_seconds() {
        let time: Timestamp = "2026-11-21T10:00:00.75Z".parse().unwrap();
        assert_eq!(seconds(time), "2026-11-21T10:00:00Z");
    }
}
