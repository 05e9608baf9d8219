//! Settings of the data plane, with their reasons.

use std::{num::NonZeroUsize, thread, time::Duration};

/// Time for the head of a request: above any honest client's, low enough that slow ones can't hold many connections.
pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Time that a client's connection may stay open between requests. Longer than most clients keep theirs, so that they close first.
pub const CLIENT_IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// Time that a client may take no byte of a response that is ready.
pub const CLIENT_WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Time that an idle connection to an endpoint is kept. Below the 5 seconds after which common servers close theirs, so that we do
/// it first and no request meets a closing connection.
pub const UPSTREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Bytes of the head of a request. Browsers and servers commonly stop at 8 to 64 KiB.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;

/// Bytes of the body of a request. Bodies are streamed, so this bounds time and traffic, not memory.
pub const BODY_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Connections open at once on one listener. Each costs some KiB and one file descriptor, and one more towards an endpoint.
pub const CONNECTIONS_MAX: usize = 10_000;

/// Idle connections kept to one endpoint by one thread.
pub const UPSTREAM_IDLE_MAX: usize = 128;

/// Connections open at once to one endpoint from one thread. This many new ones fit into the queue in which the kernel keeps those
/// that a common server has not accepted yet (511 to 4,096), and few servers answer more at once. A service whose responses last, such
/// as streams of events, needs as many as it has clients.
pub const UPSTREAM_CONNECTIONS_MAX: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// Requests that wait for a connection to one endpoint on one thread. Each waits no longer than opening a connection may take; what
/// this bounds is how many a stuck endpoint can make wait at once.
pub const UPSTREAM_WAITING_MAX: usize = 4_096;

/// Settings of the data plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How many data threads run.
    pub threads: NonZeroUsize,
    /// The seed of everything random: the split and the choice between equally loaded endpoints.
    pub seed: u64,
    /// Whether `X-Forwarded-*` of clients is believed and added to, as behind another proxy.
    pub trust_forwarded: bool,
    /// Whether responses say in `x-haldane-version` which version made them. For tests and demonstrations.
    pub expose_version: bool,
    /// What a client may use.
    pub limits: Limits,
    /// Time that an idle connection to an endpoint is kept.
    pub upstream_idle_timeout: Duration,
    /// Idle connections kept to one endpoint by one thread.
    pub upstream_idle_max: usize,
    /// Connections open at once to one endpoint from one thread, idle ones included.
    pub upstream_connections_max: NonZeroUsize,
    /// Requests that wait for a connection to one endpoint on one thread.
    pub upstream_waiting_max: usize,
}

/// What a client may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time for the head of a request.
    pub header_read_timeout: Duration,
    /// Time that a connection may stay open between requests.
    pub idle_timeout: Duration,
    /// Time that the client may take no byte of a response that is ready.
    pub write_timeout: Duration,
    /// Bytes of the head of a request; at least 8 KiB, whatever is set.
    pub header_bytes_max: usize,
    /// Bytes of the body of a request.
    pub body_bytes_max: u64,
    /// Connections open at once on one listener.
    pub connections_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            threads: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            seed: 0,
            trust_forwarded: false,
            expose_version: false,
            limits: Limits::default(),
            upstream_idle_timeout: UPSTREAM_IDLE_TIMEOUT,
            upstream_idle_max: UPSTREAM_IDLE_MAX,
            upstream_connections_max: UPSTREAM_CONNECTIONS_MAX,
            upstream_waiting_max: UPSTREAM_WAITING_MAX,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_read_timeout: HEADER_READ_TIMEOUT,
            idle_timeout: CLIENT_IDLE_TIMEOUT,
            write_timeout: CLIENT_WRITE_TIMEOUT,
            header_bytes_max: HEADER_BYTES_MAX,
            body_bytes_max: BODY_BYTES_MAX,
            connections_max: CONNECTIONS_MAX,
        }
    }
}
