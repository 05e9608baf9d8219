//! What may go wrong in the virtual world.

use std::collections::{BTreeMap, BTreeSet};

use crate::chance::Chance;

macro_rules! faults {
    ($($(#[$doc:meta])* $fault:ident,)*) => {
        /// One kind of trouble.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault { $($(#[$doc])* $fault,)* }

        impl Fault {
            /// Every kind of trouble.
            pub const ALL: &[Self] = &[$(Self::$fault,)*];
        }
    };
}

faults! {
    /// Replicas of the canary start slowly, some too slowly.
    SlowStart,
    /// The canary never becomes ready.
    NeverReady,
    /// The canary's replicas are not ready for short times.
    Flap,
    /// All of the canary's replicas die and do not come back.
    Dies,
    /// The canary's number of replicas is someone else's.
    FixedReplicas,
    /// The router takes its time.
    LateRouter,
    /// The router is at another weight for a while before it is at the one it was told.
    PartialRouter,
    /// The router does nothing for a while.
    StuckRouter,
    /// The router does nothing from some time on.
    DeadRouter,
    /// The router falls back to stable by itself.
    RouterReset,
    /// The router cannot be read for a while.
    UnreadableRouter,
    /// Requests take longer to end than the drain deadline.
    LongRequests,
    /// Measurements come late.
    LaggingData,
    /// Measurements stop for a while.
    MissingData,
    /// A judgement on evidence from before the step comes in.
    OldJudgement,
    /// A judgement comes in again.
    RepeatedJudgement,
    /// A judgement on another step comes in.
    ForeignJudgement,
    /// The judge can't tell.
    Noise,
    /// The share of traffic does not fit the weight.
    Mismatch,
    /// A guard of severity warn is broken.
    Warning,
    /// Something is not as usual at this hour.
    Unusual,
    /// The canary looks bad where it has all traffic.
    Suspicion,
    /// The judge found no harm, and cannot say more.
    Unshown,
    /// A gate answers late.
    GateLate,
    /// A gate never answers.
    GateNever,
    /// A gate answers twice.
    GateTwice,
    /// An answer to another asking comes in.
    GateForeign,
    /// A gate says no.
    GateNo,
    /// The calendar closes and opens again.
    CalendarCloses,
    /// Nobody answers what a person is asked.
    Absent,
    /// People give commands that fit or don't.
    Meddling,
    /// Two people promote the same step.
    DoublePromote,
    /// One person promotes and another aborts at once.
    PromoteAndAbort,
    /// The wall clock goes back by an hour.
    ClockBack,
    /// The wall clock jumps an hour ahead.
    ClockAhead,
    /// The machine sleeps for eight hours.
    Suspend,
    /// An effect does nothing.
    LostEffect,
    /// An effect is executed twice.
    RepeatedEffect,
    /// The host dies.
    Crash,
    /// The disk refuses to write for a while.
    DiskRefuses,
    /// The disk says that it refused, and wrote.
    DiskLies,
    /// The store cannot be read at a start.
    Unreadable,
}

/// The troubles of one rollout, and which of them really happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    drawn: BTreeSet<Fault>,
    happened: BTreeMap<Fault, u64>,
}

impl Faults {
    /// Draws the troubles of one rollout: none in one of six, else up to four.
    pub(crate) fn draw(chance: &mut Chance) -> Self {
        let count = chance.pick(0, &[1, 2, 2, 3, 4]);
        let all = u64::try_from(Fault::ALL.len()).unwrap_or(0);
        match chance.below(1_000) {
            // Few rollouts fail; what is done to those that did is drawn more often.
            0..20 => return Self::of(&[Fault::DeadRouter, Fault::Meddling]),
            // Few hosts die just when all is done.
            20..40 => return Self::of(&[Fault::Unreadable, Fault::LateRouter]),
            // Few aborts meet a disk that refuses.
            40..60 => return Self::of(&[Fault::DiskRefuses, Fault::PromoteAndAbort]),
            _ => {}
        }
        let drawn = (0..count)
            .filter_map(|_| {
                let index = usize::try_from(chance.below(all)).ok()?;
                Fault::ALL.get(index).copied()
            })
            .collect();
        Self {
            drawn,
            happened: BTreeMap::new(),
        }
    }

    pub(crate) fn of(faults: &[Fault]) -> Self {
        Self {
            drawn: faults.iter().copied().collect(),
            happened: BTreeMap::new(),
        }
    }

    pub(crate) fn is_drawn(&self, fault: Fault) -> bool {
        self.drawn.contains(&fault)
    }

    pub(crate) fn is_none(&self) -> bool {
        self.drawn.is_empty()
    }

    /// Whether this trouble was drawn; if so, it is counted as having happened.
    pub(crate) fn strikes(&mut self, fault: Fault) -> bool {
        let is_drawn = self.is_drawn(fault);
        if is_drawn {
            let count = self.happened.entry(fault).or_default();
            *count = count.saturating_add(1);
        }
        is_drawn
    }

    /// Whether this trouble was drawn and strikes now, as it does `permille` times in a thousand.
    pub(crate) fn strikes_at_times(
        &mut self,
        fault: Fault,
        permille: u64,
        chance: &mut Chance,
    ) -> bool {
        self.is_drawn(fault) && chance.happens(permille) && self.strikes(fault)
    }

    pub(crate) const fn happened(&self) -> &BTreeMap<Fault, u64> {
        &self.happened
    }

    pub(crate) const fn drawn(&self) -> &BTreeSet<Fault> {
        &self.drawn
    }
}
