//! Conversions that the proxy counts: which seconds are compared, and how they become batches.
//!
//! A visitor who looks at the cart checks out some time later. While nothing changes that doesn't matter: as many hits of earlier visitors
//! come as hits of these are still to come. But when the weight rises, the canary's carts rise at once and its checkouts only later, and for
//! as long as visitors take, its share looks too small and stable's too large. So seconds are compared only while requests were routed the
//! same way for a given time before them; others are left out for both versions. While people are sent by a header, who is with the
//! canary is chosen and buys as the chosen do, which is no comparison at all.
//!
//! Seconds are merged until [`EXPOSURE_MIN`] visitors of each version are in a batch, for [`LENGTH_MIN`] at least and [`LENGTH_MAX`] at most.
//! Late hits may still be more than the visitors of their batch. The exact form for shares knows no more events than exposures, so what is too
//! much is **carried** into the next batch. Merging until there are enough visitors would end batches on what happened in them, just when hits
//! are few, and cutting the surplus off would lose most of the smaller version's hits; what is carried is counted once, a little later.
//!
//! **Invariant:** each hit and each visitor is used at most once; when a batch ends depends on visitors and on time only.

use std::time::Duration;

use haldane_core::Weight;
use jiff::{SignedDuration, Timestamp};

use super::{
    observed::{Observed, Reading},
    tally::{Counts, Pair},
};

/// How many visitors of each version end a batch: with few the hits of others would often be more than they.
const EXPOSURE_MIN: u64 = 20;

/// How long a batch is at least.
const LENGTH_MIN: SignedDuration = SignedDuration::from_secs(5);

/// After which time it ends with fewer visitors.
const LENGTH_MAX: SignedDuration = SignedDuration::from_secs(15);

/// Gathers what the proxy counts of one metric during one rollout.
#[derive(Clone, Debug)]
pub struct Conversions {
    metric: String,
    within: Duration,
    /// How requests were routed last, and since when.
    steady: Option<(Routing, Timestamp)>,
    open: Option<Open>,
    /// Hits that were more than the visitors of their batch.
    carried: Pair,
}

/// How requests were routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routing {
    /// The weight in force.
    pub weight: Weight,
    /// Whether the weight alone says who goes to the canary, and no header does.
    pub is_by_chance: bool,
    /// Another number after each change of the routing, also of one that was taken back at once.
    pub change: u64,
}

/// What was counted from one look to the next.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// When counting began.
    pub from: Timestamp,
    /// When it ended.
    pub to: Timestamp,
    /// How requests were routed at the end; `None` if that is not known.
    pub routing: Option<Routing>,
    /// Hits among stable's visitors.
    pub stable: Counts,
    /// Hits among the canary's visitors.
    pub canary: Counts,
}

/// The batch that is being filled.
#[derive(Clone, Copy, Debug)]
struct Open {
    from: Timestamp,
    to: Timestamp,
    counts: Pair,
}

impl Conversions {
    /// Begins with nothing: how requests were routed before is not known.
    #[must_use]
    pub const fn new(metric: String, within: Duration) -> Self {
        Self {
            metric,
            within,
            steady: None,
            open: None,
            carried: Pair::NONE,
        }
    }

    /// Takes in what was counted, and returns a batch when one is full.
    pub fn add(&mut self, counted: &Counted) -> Option<Observed> {
        let Some(routing) = self.steady_for(counted) else {
            self.open = None;
            self.carried = Pair::NONE;
            return None;
        };
        let open = self.open.get_or_insert(Open {
            from: counted.from,
            to: counted.from,
            counts: Pair::NONE,
        });
        open.to = counted.to;
        // Without a share by chance there are only those who asked for the version by name.
        let if_shared = |counts: Counts, is_shared: bool| {
            if is_shared { counts } else { Counts::NONE }
        };
        open.counts.add(Pair {
            stable: if_shared(counted.stable, !routing.weight.is_full()),
            canary: if_shared(counted.canary, !routing.weight.is_zero()),
        });
        let open = *open;
        if !open.is_full(routing.weight) {
            return None;
        }
        self.open = None;
        let whole = |counts: Counts, carried: &mut Counts| {
            let events = counts.events.saturating_add(carried.events);
            let used = events.min(counts.exposure);
            carried.events = events.saturating_sub(used);
            Some(Reading::Counts(Counts {
                events: used,
                ..counts
            }))
        };
        Some(Observed {
            metric: self.metric.clone(),
            from: open.from,
            to: open.to,
            skew: Duration::ZERO,
            weight: routing.weight,
            stable: whole(open.counts.stable, &mut self.carried.stable),
            canary: whole(open.counts.canary, &mut self.carried.canary),
        })
    }

    /// Returns the routing, if it was the same for long enough.
    fn steady_for(&mut self, counted: &Counted) -> Option<Routing> {
        let Some(routing) = counted.routing else {
            self.steady = None;
            return None;
        };
        let since = match self.steady {
            Some((known, since)) if known == routing => since,
            // It may have changed until the very end of what was counted.
            Some(_) | None => counted.to,
        };
        self.steady = Some((routing, since));
        let passed = counted.from.duration_since(since);
        let is_long = !passed.is_negative() && passed.unsigned_abs() >= self.within;
        (is_long && routing.is_by_chance).then_some(routing)
    }
}

impl Open {
    fn is_full(&self, weight: Weight) -> bool {
        let (stable, canary) = (self.counts.stable.exposure, self.counts.canary.exposure);
        let fewest = if weight.is_zero() {
            stable
        } else if weight.is_full() {
            canary
        } else {
            stable.min(canary)
        };
        let length = self.to.duration_since(self.from);
        length >= LENGTH_MAX || (length >= LENGTH_MIN && fewest >= EXPOSURE_MIN)
    }
}

#[cfg(test)]
mod tests;
