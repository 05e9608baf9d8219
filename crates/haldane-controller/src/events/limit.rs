//! Which events are told. Pure: the time is passed in.

use std::{collections::BTreeMap, time::Duration};

use haldane_router::ObjectRef;
use tokio::time::Instant;

use crate::turn::Event;

/// Events of one object that are told at once, and what lies between them after that: ten in five minutes.
const BURST: u32 = 10;
const PACE: Duration = Duration::from_secs(30);

/// How long the same event is not told again.
const SAME: Duration = Duration::from_secs(600);

/// Different events of one object that are remembered.
const KINDS_MAX: usize = 16;

/// Objects that are remembered; past that, those that had no event for long are forgotten.
const OBJECTS_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Limit {
    objects: BTreeMap<ObjectRef, Recent>,
}

/// What becomes of an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Tell {
        /// How often it happened since it was told last.
        count: u32,
        /// For how long it has been happening.
        lasted: Duration,
    },
    Repeated,
    TooMany,
}

#[derive(Debug)]
struct Recent {
    paid_until: Instant,
    last: Instant,
    told: Vec<Told>,
}

#[derive(Debug)]
struct Told {
    event: Event,
    at: Instant,
    /// When it first happened again, and how often.
    again_since: Option<Instant>,
    again: u32,
}

impl Limit {
    pub(super) fn judge(&mut self, key: &ObjectRef, event: &Event, now: Instant) -> Verdict {
        if self.objects.len() >= OBJECTS_MAX && !self.objects.contains_key(key) {
            self.forget(now);
        }
        let recent = self.objects.entry(key.clone()).or_insert_with(|| Recent {
            paid_until: now,
            last: now,
            told: Vec::new(),
        });
        recent.last = now;
        let same = recent.told.iter_mut().find(|told| told.event == *event);
        if let Some(same) = same
            && now.saturating_duration_since(same.at) < SAME
        {
            same.again_since.get_or_insert(now);
            same.again = same.again.saturating_add(1);
            return Verdict::Repeated;
        }
        if !recent.pay(now) {
            return Verdict::TooMany;
        }
        recent.tell(event, now)
    }

    /// Forgets who had no event for a while; where that is nobody, everybody.
    fn forget(&mut self, now: Instant) {
        self.objects
            .retain(|_, recent| now.saturating_duration_since(recent.last) < SAME);
        if self.objects.len() >= OBJECTS_MAX {
            self.objects.clear();
        }
    }
}

impl Recent {
    fn pay(&mut self, now: Instant) -> bool {
        let from = self.paid_until.max(now);
        let ahead = from.saturating_duration_since(now);
        let is_due = ahead <= PACE.saturating_mul(BURST.saturating_sub(1));
        if is_due {
            self.paid_until = from.checked_add(PACE).unwrap_or(from);
        }
        is_due
    }

    fn tell(&mut self, event: &Event, now: Instant) -> Verdict {
        let place = self.told.iter().position(|told| told.event == *event);
        let before = place.map(|place| self.told.remove(place));
        if self.told.len() >= KINDS_MAX {
            self.told.remove(0);
        }
        self.told.push(Told {
            event: event.clone(),
            at: now,
            again_since: None,
            again: 0,
        });
        let again = before.as_ref().map_or(0, |told| told.again);
        let since = before.and_then(|told| told.again_since);
        Verdict::Tell {
            count: again.saturating_add(1),
            lasted: since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::RELEASE;

    const SECOND: Duration = Duration::from_secs(1);
    const ONCE: Verdict = Verdict::Tell {
        count: 1,
        lasted: Duration::ZERO,
    };

    fn key(name: &str) -> ObjectRef {
        RELEASE.named("shop", name)
    }

    fn event(message: &str) -> Event {
        Event {
            is_warning: false,
            reason: "Step",
            message: message.to_owned(),
        }
    }

    #[test]
    fn the_same_event_is_told_again_after_a_while_with_how_often_it_happened() {
        let (mut limit, start) = (Limit::default(), Instant::now());
        let mut judge = |seconds| limit.judge(&key("a"), &event("x"), start + SECOND * seconds);
        assert_eq!(judge(0), ONCE);
        assert_eq!(judge(100), Verdict::Repeated);
        assert_eq!(judge(599), Verdict::Repeated);
        let told = Verdict::Tell {
            count: 3,
            lasted: SECOND * 500,
        };
        assert_eq!(judge(600), told);
        assert_eq!(judge(601), Verdict::Repeated);
    }

    #[test]
    fn an_object_has_ten_events_and_then_one_each_half_minute() {
        let (mut limit, start) = (Limit::default(), Instant::now());
        let mut count = |at: Duration, name: &str| {
            let events = (0..50).map(|number| event(&format!("{at:?} {number}")));
            events
                .filter(|event| limit.judge(&key(name), event, start + at) == ONCE)
                .count()
        };
        assert_eq!(count(Duration::ZERO, "a"), 10);
        assert_eq!(count(SECOND * 29, "a"), 0);
        assert_eq!(count(SECOND * 60, "a"), 2);
        assert_eq!(count(SECOND * 60, "b"), 10);
    }

    #[test]
    fn what_is_remembered_has_a_maximum() {
        let (mut limit, start) = (Limit::default(), Instant::now());
        for number in 0..=OBJECTS_MAX {
            limit.judge(&key(&number.to_string()), &event("x"), start);
        }
        assert!(limit.objects.len() <= OBJECTS_MAX);
        for number in 0..100 {
            let at = start + SAME * number;
            limit.judge(&key("a"), &event(&number.to_string()), at);
        }
        assert_eq!(limit.objects[&key("a")].told.len(), KINDS_MAX);
    }
}
