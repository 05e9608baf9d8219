//! One turn of one object: look, decide, write.
//!
//! The host looks at the cache as it is at one moment. Before anything in it can change, it is noted what the host looked at: so a
//! change after the look brings the next turn, however the two are timed.

use std::{cell::RefCell, collections::BTreeSet, sync::Arc, time::Duration};

use haldane_router::{Kind, ObjectRef};
use jiff::Timestamp;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    cache::View,
    events::Events,
    hub::Hub,
    interest::{Looks, Owned},
    metrics::Metrics,
    queue::Outcome,
    shadow::Shadow,
    turn::{Event, Host, Key, Seen, Sight, Then, Turn, Write},
    watch::Watches,
    writer::{Refusal, Writer},
};

/// The longest time until an object with a deadline has its next turn: clocks on walls are set while it waits.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// After how many turns without an answer people are told.
const SILENT_FAILURES: u32 = 3;

/// Works for everything that is reconciled.
pub(crate) struct Worker {
    pub hosts: Vec<Arc<dyn Host>>,
    pub hub: Arc<Hub>,
    pub watches: Watches,
    pub writer: Arc<Writer>,
    pub events: Events,
    pub metrics: Arc<Metrics>,
    /// Where nothing is written.
    pub shadow: Option<Shadow>,
    pub stop: CancellationToken,
}

/// The view of one turn, with what was asked of it.
struct Look<'a> {
    view: &'a View<'a>,
    owned: RefCell<BTreeSet<Owned>>,
}

impl Worker {
    /// Gives an object its turn.
    pub(crate) async fn turn(&self, about: &ObjectRef) -> Outcome {
        let Some(turn) = self.look(about) else {
            return Outcome::Gone;
        };
        if let Some(shadow) = &self.shadow {
            let is_done = turn.writes.is_empty();
            shadow.report(about, &turn.writes, &self.metrics);
            return if is_done || turn.then != Then::Again {
                after(turn.then)
            } else {
                Outcome::Rest
            };
        }
        for write in &turn.writes {
            if self.stop.is_cancelled() {
                return Outcome::Rest;
            }
            let written = self.writer.write(write).await;
            if let Some(touched) = &written.touched {
                self.hub.touched(touched);
            }
            if let Some(refusal) = written.refusal {
                return self.fail(about, write, &refusal);
            }
        }
        for event in turn.events {
            self.events.tell(about, event);
        }
        after(turn.then)
    }

    /// Lets the host of its kind decide; nothing once the object is gone.
    fn look(&self, about: &ObjectRef) -> Option<Turn> {
        let mut hosts = self.hosts.iter();
        let host = hosts.find(|host| host.kind() == about.kind)?;
        let key = Key {
            namespace: about.namespace.clone(),
            name: about.name.clone(),
        };
        let view = self.hub.cache.view();
        match view.get(about) {
            Seen::Missing => {
                host.forget(&key);
                self.hub.look(about, None);
                if let Some(shadow) = &self.shadow {
                    shadow.forget(about);
                }
                return None;
            }
            // Its watch wakes it when it is seen again.
            Seen::Unknown | Seen::NoKind(_) | Seen::Unavailable(_) => return Some(Turn::default()),
            Seen::Found(_) => {}
        }
        let look = Look {
            view: &view,
            owned: RefCell::default(),
        };
        let mut turn = host.turn(&key, &look, Timestamp::now());
        let looks = Looks {
            reads: std::mem::take(&mut turn.reads),
            owned: look.owned.into_inner(),
        };
        let kinds = looks.kinds();
        self.hub.look(about, Some(looks));
        drop(view);
        for kind in kinds {
            self.watches.ensure(kind);
        }
        Some(turn)
    }

    fn fail(&self, about: &ObjectRef, write: &Write, refusal: &Refusal) -> Outcome {
        let verb = write.verb().as_str();
        let warn = |text: &str| {
            let event = Event {
                is_warning: true,
                reason: "WriteFailed",
                message: format!("{verb} of {}: {text}", write.target),
            };
            self.events.tell(about, event);
        };
        match refusal {
            // If we lead again, this comes back.
            Refusal::Fenced => {
                info!(%about, target = %write.target, "Not written: not leading");
                Outcome::Failed
            }
            Refusal::Conflict => Outcome::Conflict,
            Refusal::Throttled => Outcome::Failed,
            Refusal::Refused(text) => {
                warn(text);
                Outcome::Failed
            }
            Refusal::Unclear(text) => {
                if self.hub.failures(about) >= SILENT_FAILURES {
                    warn(text);
                }
                Outcome::Failed
            }
        }
    }
}

impl Sight for Look<'_> {
    fn get(&self, target: &ObjectRef) -> Seen {
        self.view.get(target)
    }

    fn owned(&self, kind: &'static Kind, namespace: &str, uid: &str) -> Vec<Value> {
        self.owned.borrow_mut().insert((kind, uid.into()));
        self.view.owned(kind, namespace, uid)
    }

    fn count_in(&self, kind: &'static Kind, namespace: &str) -> usize {
        self.view.count_in(kind, namespace)
    }

    fn names_in(&self, kind: &'static Kind, namespace: &str) -> Vec<String> {
        self.view.names_in(kind, namespace)
    }
}

/// Returns what follows a turn that went well.
fn after(then: Then) -> Outcome {
    match then {
        Then::Again => Outcome::Again,
        Then::OnChange => Outcome::Rest,
        Then::At(time) => {
            let wait = Timestamp::now().duration_until(time);
            let wait = Duration::try_from(wait).unwrap_or_default();
            Outcome::After(wait.min(WAIT_MAX))
        }
    }
}
