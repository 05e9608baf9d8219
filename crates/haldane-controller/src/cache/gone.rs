//! The uids of what we deleted, until the watches have told it, too.
//!
//! A uid is never used again, so keeping one for too long does no harm. Forgetting one too early lets an object come back for the
//! moment until its watch tells that it is gone.

use std::collections::{BTreeSet, VecDeque};

/// Far more than a watch is ever behind.
const UIDS_MAX: usize = 4_096;

#[derive(Default)]
pub(super) struct Gone {
    uids: BTreeSet<Box<str>>,
    order: VecDeque<Box<str>>,
}

impl Gone {
    pub(super) fn insert(&mut self, uid: &str) {
        if !self.uids.insert(uid.into()) {
            return;
        }
        self.order.push_back(uid.into());
        if self.order.len() > UIDS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.uids.remove(&oldest);
        }
    }

    pub(super) fn contains(&self, uid: &str) -> bool {
        self.uids.contains(uid)
    }

    pub(super) fn remove(&mut self, uid: &str) {
        if self.uids.remove(uid) {
            self.order.retain(|other| **other != *uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut gone = Gone::default();
        for number in 0..=UIDS_MAX {
            gone.insert(&number.to_string());
        }
        assert!(!gone.contains("0"));
        assert!(gone.contains("1"));
        gone.remove("1");
        assert!(!gone.contains("1"));
        assert_eq!(gone.order.len(), gone.uids.len());
    }
}
