//! Turns: how many questions one metric system gets at the same time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many questions a metric system gets at the same time: Prometheus answers 20 at once, and has other users.
const AT_ONCE_MAX: usize = 12;

/// How many metric systems are remembered while nobody asks them.
const IDLE_MAX: usize = 100;

/// Whose turn it is, by the systems' addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Mutex<BTreeMap<String, Arc<Semaphore>>>>);

impl Turns {
    /// Waits until a system may be asked; its turn ends when what is returned is dropped.
    pub(super) async fn take(&self, address: &str) -> Option<OwnedSemaphorePermit> {
        // It is closed by nobody.
        self.of(address).acquire_owned().await.ok()
    }

    fn of(&self, address: &str) -> Arc<Semaphore> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(semaphore) = known.get(address) {
            return Arc::clone(semaphore);
        }
        if known.len() >= IDLE_MAX {
            // Whoever waits or asks has a share of it.
            known.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        }
        let semaphore = Arc::new(Semaphore::new(AT_ONCE_MAX));
        known.insert(address.to_owned(), Arc::clone(&semaphore));
        semaphore
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_system_gets_so_many_questions_at_once_and_others_do_not_wait_for_it() {
        let turns = Turns::default();
        let mut taken = Vec::new();
        for _ in 0..AT_ONCE_MAX {
            taken.push(turns.take("a").await);
        }
        assert_eq!(turns.of("a").available_permits(), 0);
        assert!(turns.take("b").await.is_some());
        taken.pop();
        assert!(turns.take("a").await.is_some());
    }

    #[test]
    fn systems_that_nobody_asks_are_forgotten() {
        let turns = Turns::default();
        let busy = turns.of("busy");
        for number in 0..1_000 {
            turns.of(&format!("a{number}"));
        }
        assert!(turns.0.lock().unwrap().len() <= IDLE_MAX);
        assert!(Arc::ptr_eq(&busy, &turns.of("busy")));
    }
}
