//! What a request holds while it is with a version: each attempt ends exactly once.

use std::{
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, Release},
    },
    time::Instant,
};

use super::{
    Outcome, Shard,
    conversion::{ConversionShard, Marks},
};

/// A request is with a version as long as this lives.
#[derive(Debug)]
pub(crate) struct Hold(Arc<Shard>);

/// An attempt under way; dropped without an end, it was aborted by the client.
#[derive(Debug)]
pub(crate) struct Attempt {
    shard: Arc<Shard>,
    /// What it counts for besides.
    conversions: Option<(Arc<ConversionShard>, Marks)>,
    began: Instant,
    is_measured: bool,
    has_ended: bool,
}

impl Hold {
    pub(crate) fn new(shard: Arc<Shard>) -> Self {
        shard.entered.fetch_add(1, Relaxed);
        Self(shard)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.left.fetch_add(1, Release);
    }
}

impl Attempt {
    pub(crate) fn begin(shard: Arc<Shard>, is_measured: bool) -> Self {
        Self {
            shard,
            conversions: None,
            began: Instant::now(),
            is_measured,
            has_ended: false,
        }
    }

    /// Has it count for conversions, if its request meets any pattern.
    pub(crate) fn with_conversions(
        mut self,
        counters: Option<&Arc<ConversionShard>>,
        marks: Marks,
    ) -> Self {
        let counters = counters.filter(|_| !marks.is_none());
        self.conversions = counters.map(|counters| (Arc::clone(counters), marks));
        self
    }

    /// Ends the attempt; a second end is ignored.
    pub(crate) fn end(&mut self, outcome: Outcome) {
        if self.has_ended {
            return;
        }
        self.has_ended = true;
        if self.is_measured {
            self.shard.end(outcome, self.began);
            if let Some((counters, marks)) = &self.conversions {
                counters.count(*marks, outcome);
            }
        } else {
            self.shard.unmeasured.fetch_add(1, Relaxed);
        }
    }

    /// Ends the attempt without a trace: it says nothing about the version.
    pub(crate) fn cancel(mut self) {
        self.has_ended = true;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.end(Outcome::AbortedByClient);
    }
}
