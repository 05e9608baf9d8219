//! Where requests go: one address, with what is known of its health.
//!
//! The state is shared by all clones, so that the host marks an endpoint once and every table and thread sees it with the next
//! request, without a new table.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http::HeaderValue;

/// How long an endpoint that refused a connection is passed over: long enough to keep traffic off a dead process, short enough to
/// notice its successor at once.
const SUSPECT_FOR: Duration = Duration::from_secs(1);

/// One address of a version. Clones share the state of health.
#[derive(Clone, Debug)]
pub struct Endpoint {
    addr: SocketAddr,
    authority: Option<HeaderValue>,
    state: Arc<State>,
}

/// A text that can't be sent as `Host`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{authority:?} is not a host name with an optional port")]
pub struct AuthorityError {
    authority: String,
}

#[derive(Debug)]
struct State {
    is_healthy: AtomicBool,
    /// When the suspicion ends, in milliseconds since `born`; 0 for none.
    suspect_until_ms: AtomicU64,
    born: Instant,
}

impl Endpoint {
    /// Returns a healthy endpoint that is sent the client's own `Host`.
    #[must_use]
    pub fn new(addr: SocketAddr) -> Self {
        let state = State {
            is_healthy: AtomicBool::new(true),
            suspect_until_ms: AtomicU64::new(0),
            born: Instant::now(),
        };
        Self {
            addr,
            authority: None,
            state: Arc::new(state),
        }
    }

    /// Returns a healthy endpoint that is sent `authority` as `Host`, as an upstream given by its URL needs.
    ///
    /// # Errors
    /// When `authority` is not a host name or address with an optional port.
    pub fn try_with_authority(addr: SocketAddr, authority: &str) -> Result<Self, AuthorityError> {
        let error = || AuthorityError {
            authority: authority.to_owned(),
        };
        if authority.is_empty() || authority.contains('@') {
            return Err(error());
        }
        let parsed: http::uri::Authority = authority.parse().map_err(|_| error())?;
        let value = HeaderValue::from_str(parsed.as_str()).map_err(|_| error())?;
        Ok(Self {
            authority: Some(value),
            ..Self::new(addr)
        })
    }

    /// Returns the address.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sets whether new requests may go here. The stable arm uses an unhealthy endpoint only when it has no other.
    pub fn set_healthy(&self, is_healthy: bool) {
        self.state.is_healthy.store(is_healthy, Relaxed);
    }

    /// Whether new requests may go here as far as the host knows.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.state.is_healthy.load(Relaxed)
    }

    /// Whether a connection was refused here a moment ago.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        let until = self.state.suspect_until_ms.load(Relaxed);
        until != 0 && self.age_ms() < until
    }

    pub(crate) const fn authority(&self) -> Option<&HeaderValue> {
        self.authority.as_ref()
    }

    pub(crate) fn suspect(&self) {
        let for_ms = u64::try_from(SUSPECT_FOR.as_millis()).unwrap_or(u64::MAX);
        self.state
            .suspect_until_ms
            .store(self.age_ms().saturating_add(for_ms), Relaxed);
    }

    pub(crate) fn absolve(&self) {
        self.state.suspect_until_ms.store(0, Relaxed);
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.state.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_their_health() {
        let endpoint = Endpoint::new(([127, 0, 0, 1], 1).into());
        let clone = endpoint.clone();
        endpoint.set_healthy(false);
        clone.suspect();
        assert!(!clone.is_healthy());
        assert!(endpoint.is_suspect());
        endpoint.absolve();
        assert!(!clone.is_suspect());
    }

    #[test]
    fn an_authority_that_would_break_the_request_is_refused() {
        let addr = ([127, 0, 0, 1], 1).into();
        for authority in ["", "a b", "a\r\nx: y", "user@host", "a/b"] {
            assert!(
                Endpoint::try_with_authority(addr, authority).is_err(),
                "{authority:?}"
            );
        }
        for authority in ["shop.example", "shop.example:8080", "[::1]:80"] {
            assert!(
                Endpoint::try_with_authority(addr, authority).is_ok(),
                "{authority:?}"
            );
        }
    }
}
