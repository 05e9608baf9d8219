//! The adapters that join the engine's ports to the proxy, the supervisor and the rest of this machine.
//!
//! The driver asks from its own thread; [`machine::Machine`] is what all ports of the standalone home share.

pub(crate) mod asker;
pub(crate) mod gates;
mod job;
pub(crate) mod machine;
pub(crate) mod meter;
pub(crate) mod notify;
pub(crate) mod observe;
mod sampler;
mod table;
pub(crate) mod web;

use std::{sync::LazyLock, time::Instant};

use haldane_engine::port::Clock;
use jiff::{SignedDuration, Timestamp};

/// From when uptime counts.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The wall clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn uptime(&self) -> SignedDuration {
        SignedDuration::try_from(START.elapsed()).unwrap_or(SignedDuration::MAX)
    }
}
