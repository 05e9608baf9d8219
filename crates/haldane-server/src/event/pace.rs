//! Which view is to be sent next, and when: a pure decision on what was sent and what is.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use haldane_api::http::ServiceView;
use haldane_core::ServiceName;
use haldane_engine::handle::Views;
use tokio::time::Instant;

/// The least time between two events of one service: four a second are as many as a person can read.
pub(super) const INTERVAL: Duration = Duration::from_millis(250);

/// What one client has been sent.
#[derive(Debug)]
pub(super) struct Pace {
    wanted: Option<ServiceName>,
    /// Services to look at before all are looked at again, so that none waits for another that changes all the time.
    due: VecDeque<ServiceName>,
    sent: BTreeMap<ServiceName, Sent>,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'views> {
    /// Send this view; it counts as sent.
    Send(&'views ServiceView),
    /// Look again when a view changes, or at this time.
    Wait(Option<Instant>),
}

#[derive(Debug)]
struct Sent {
    view: ServiceView,
    at: Instant,
}

impl Pace {
    /// Returns the pace of a client that was sent nothing yet and wants this service, or all.
    pub(super) const fn new(wanted: Option<ServiceName>) -> Self {
        Self {
            wanted,
            due: VecDeque::new(),
            sent: BTreeMap::new(),
        }
    }

    /// Decides what to do at `now`.
    pub(super) fn next<'views>(&mut self, views: &'views Views, now: Instant) -> Next<'views> {
        let mut until = None;
        if self.due.is_empty() {
            until = self.look(views, now);
        }
        while let Some(name) = self.due.pop_front() {
            if let Some(view) = views.get(&name) {
                self.sent.insert(
                    name,
                    Sent {
                        view: view.clone(),
                        at: now,
                    },
                );
                return Next::Send(view);
            }
        }
        Next::Wait(until)
    }

    /// Queues all services that may be sent now, and returns when the next of the others may.
    fn look(&mut self, views: &Views, now: Instant) -> Option<Instant> {
        self.sent.retain(|name, _| views.contains_key(name));
        let mut until: Option<Instant> = None;
        let wanted = views
            .values()
            .filter(|view| self.wanted.as_ref().is_none_or(|name| *name == view.name));
        for view in wanted {
            let due = self
                .sent
                .get_mut(&view.name)
                .map_or(Some(now), |sent| sent.due(view));
            match due {
                Some(at) if at > now => until = Some(until.map_or(at, |until| until.min(at))),
                Some(_) => self.due.push_back(view.name.clone()),
                None => {}
            }
        }
        until
    }
}

impl Sent {
    /// Returns when `view` may follow this one, if it says anything else; that the same was true later is no news.
    fn due(&mut self, view: &ServiceView) -> Option<Instant> {
        self.view.at = view.at;
        (self.view != *view).then_some(self.at + INTERVAL)
    }
}

#[cfg(test)]
mod tests;
