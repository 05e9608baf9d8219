//! Which write goes out next: so many in a second, so many at once, and the urgent ones first.
//!
//! Where the API server is slow, writes that are under way keep others waiting. So each urgency may fill only a part of the room: what
//! moves traffic always finds some.
//!
//! **Invariant:** no write goes before one that is more urgent and waits already.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{self, Instant},
};

use crate::turn::Urgency;

/// How many writes of an urgency may be under way, those of a higher one included.
const fn room(urgency: Urgency) -> usize {
    match urgency {
        Urgency::Traffic => 64,
        Urgency::Status => 56,
        Urgency::Rest => 48,
        Urgency::Event => 8,
    }
}

/// Lets writes through.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    state: Arc<Mutex<State>>,
}

/// One write that is under way.
#[derive(Debug)]
pub(crate) struct Permit {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// What lies between two writes.
    pace: Duration,
    /// How far ahead of its pace it may be.
    ahead: Duration,
    /// When all writes so far would have gone out, had they gone evenly.
    paid_until: Instant,
    /// Until when the server wants to be left alone.
    held_until: Instant,
    in_flight: usize,
    waiting: BTreeMap<Ticket, Arc<Notify>>,
    next: u64,
}

type Ticket = (Urgency, u64);

/// A place in the line; leaving it lets the next one look.
struct Place<'a> {
    gate: &'a Gate,
    ticket: Ticket,
}

enum Look {
    Go,
    /// Look again when called.
    Wait,
    /// Look again when called, or at this time.
    Until(Instant),
}

impl Gate {
    /// Makes one for this many writes in a second, and this many at once after a pause.
    pub(crate) fn new(qps: u32, burst: u32) -> Self {
        let now = Instant::now();
        let pace = Duration::from_secs(1) / qps.max(1);
        let state = State {
            pace,
            ahead: pace.saturating_mul(burst.max(1).saturating_sub(1)),
            paid_until: now,
            held_until: now,
            in_flight: 0,
            waiting: BTreeMap::new(),
            next: 0,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Waits until a write of this urgency may go out.
    pub(crate) async fn enter(&self, urgency: Urgency) -> Permit {
        let (ticket, called) = self.state().line_up(urgency);
        let place = Place { gate: self, ticket };
        loop {
            let look = self.state().look(ticket, Instant::now());
            match look {
                Look::Go => break,
                Look::Wait => called.notified().await,
                Look::Until(at) => {
                    tokio::select! {
                        () = called.notified() => {}
                        () = time::sleep_until(at) => {}
                    }
                }
            }
        }
        drop(place);
        Permit {
            state: Arc::clone(&self.state),
        }
    }

    /// Lets nothing through for a while: the server asked for it.
    pub(crate) fn hold(&self, wait: Duration) {
        let mut state = self.state();
        if let Some(until) = Instant::now().checked_add(wait) {
            state.held_until = state.held_until.max(until);
        }
    }

    /// Returns how many writes wait.
    pub(crate) fn depth(&self) -> usize {
        self.state().waiting.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn line_up(&mut self, urgency: Urgency) -> (Ticket, Arc<Notify>) {
        let ticket = (urgency, self.next);
        self.next = self.next.saturating_add(1);
        let called = Arc::new(Notify::new());
        self.waiting.insert(ticket, Arc::clone(&called));
        (ticket, called)
    }

    fn look(&mut self, ticket: Ticket, now: Instant) -> Look {
        let is_first = self
            .waiting
            .first_key_value()
            .is_some_and(|(first, _)| *first == ticket);
        if !is_first || self.in_flight >= room(ticket.0) {
            return Look::Wait;
        }
        let paid = self.paid_until.checked_sub(self.ahead);
        let due = paid.map_or(self.held_until, |paid| paid.max(self.held_until));
        if due > now {
            return Look::Until(due);
        }
        let from = self.paid_until.max(now);
        self.paid_until = from.checked_add(self.pace).unwrap_or(from);
        self.in_flight = self.in_flight.saturating_add(1);
        Look::Go
    }

    /// Lets the first in the line look. Where it has no room, nobody behind it has.
    fn call(&self) {
        if let Some((_, called)) = self.waiting.first_key_value() {
            called.notify_one();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.waiting.remove(&self.ticket);
        state.call();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.in_flight = state.in_flight.saturating_sub(1);
        state.call();
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Enters for each of these in this order and returns the order in which they came through.
    async fn order(gate: &Gate, urgencies: &[Urgency]) -> Vec<Urgency> {
        let through = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        for urgency in urgencies.iter().copied() {
            let (gate, through) = (gate.clone(), Arc::clone(&through));
            tasks.spawn(async move {
                drop(gate.enter(urgency).await);
                through.lock().unwrap().push(urgency);
            });
        }
        tasks.join_all().await;
        Arc::into_inner(through).unwrap().into_inner().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_at_once_and_then_so_many_in_a_second() {
        let gate = Gate::new(100, 20);
        let start = Instant::now();
        for _ in 0..20 {
            drop(gate.enter(Urgency::Rest).await);
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..100 {
            drop(gate.enter(Urgency::Rest).await);
        }
        let took = start.elapsed();
        assert!(took >= MS * 990 && took <= MS * 1_120, "{took:?}");
        // A pause gives back the burst and no more.
        time::sleep(Duration::from_secs(60)).await;
        let start = Instant::now();
        for _ in 0..21 {
            drop(gate.enter(Urgency::Rest).await);
        }
        assert!(start.elapsed() >= MS * 10, "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn the_urgent_go_first() {
        let gate = Gate::new(10, 1);
        drop(gate.enter(Urgency::Rest).await);
        let came = [
            Urgency::Event,
            Urgency::Rest,
            Urgency::Status,
            Urgency::Traffic,
            Urgency::Rest,
        ];
        let expected = [
            Urgency::Traffic,
            Urgency::Status,
            Urgency::Rest,
            Urgency::Rest,
            Urgency::Event,
        ];
        assert_eq!(order(&gate, &came).await, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn slow_writes_leave_room_for_urgent_ones() {
        let gate = Gate::new(1_000, 1_000);
        let mut under_way = Vec::new();
        for _ in 0..48 {
            under_way.push(gate.enter(Urgency::Rest).await);
        }
        let full = time::timeout(MS * 100, gate.enter(Urgency::Rest)).await;
        assert!(full.is_err());
        let permit = time::timeout(MS * 100, gate.enter(Urgency::Traffic)).await;
        drop(permit.unwrap());
        under_way.pop();
        let permit = time::timeout(MS * 100, gate.enter(Urgency::Rest)).await;
        drop(permit.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_asks_for_it_is_left_alone() {
        let gate = Gate::new(1_000, 1_000);
        gate.hold(Duration::from_secs(3));
        let start = Instant::now();
        drop(gate.enter(Urgency::Traffic).await);
        assert!(start.elapsed() >= Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_the_line_keeps_nobody_waiting() {
        let gate = Gate::new(10, 1);
        drop(gate.enter(Urgency::Rest).await);
        let impatient = time::timeout(MS * 10, gate.enter(Urgency::Traffic));
        let (left, permit) = tokio::join!(impatient, gate.enter(Urgency::Rest));
        assert!(left.is_err());
        drop(permit);
        assert_eq!(gate.depth(), 0);
    }
}
