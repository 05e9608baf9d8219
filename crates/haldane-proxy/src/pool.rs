//! Connections to one endpoint, kept open by one thread.
//!
//! The last one used is taken first, so that those not needed grow old and are closed. A connection comes back only after the last
//! byte of a response, and is used again only if hyper holds it clean and ready.
//!
//! **Invariant:** no connection serves two requests at once, and none is used again after an unfinished response.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_util::task::TaskTracker;
use tracing::trace;

use crate::{
    body::RequestBody,
    socket::{Peek, Socket},
};

/// Bytes read ahead from an endpoint, and the limit for the head of a response.
const READ_BYTES_MAX: usize = 64 * 1024;

/// How long a connection may have idled to carry a request that can't be sent twice. The longer it idled, the likelier the other
/// side is about to close it.
const IDLE_FOR_UNREPEATABLE: Duration = Duration::from_millis(500);

/// Linux's numbers for what we ran out of: files of the process, files of the system, buffers.
const OUT_OF_RESOURCES: [i32; 3] = [24, 23, 105];

/// The connections of one thread to one endpoint.
#[derive(Debug)]
pub(crate) struct Pool {
    addr: SocketAddr,
    idle_timeout: Duration,
    idle_max: usize,
    idle: Mutex<Vec<Idle>>,
    pending: AtomicU32,
}

/// A connection in use.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) sender: SendRequest<RequestBody>,
    pub(crate) is_reused: bool,
    peek: Peek,
    pool: Arc<Pool>,
}

/// A request counts as pending at an endpoint as long as this lives.
#[derive(Debug)]
pub(crate) struct Pending(Arc<Pool>);

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectError {
    /// The endpoint refused or can't be reached.
    Refused,
    /// The endpoint didn't answer in time.
    TimedOut,
    /// We have no file descriptor or port left: nothing the endpoint could help.
    OutOfResources,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<RequestBody>,
    peek: Peek,
    since: Instant,
}

impl Pool {
    pub(crate) fn new(addr: SocketAddr, idle_timeout: Duration, idle_max: usize) -> Self {
        Self {
            addr,
            idle_timeout,
            idle_max,
            idle: Mutex::default(),
            pending: AtomicU32::new(0),
        }
    }

    pub(crate) fn pending(&self) -> u32 {
        self.pending.load(Relaxed)
    }

    /// Returns a kept connection, if there is a good one. For a request that can't be sent twice it must be used lately, and is
    /// looked at before it is trusted.
    pub(crate) fn take(self: &Arc<Self>, is_repeatable: bool) -> Option<Lease> {
        let idle_max = if is_repeatable {
            self.idle_timeout
        } else {
            self.idle_timeout.min(IDLE_FOR_UNREPEATABLE)
        };
        let now = Instant::now();
        let mut idle = self.lock();
        idle.retain(|entry| !entry.sender.is_closed());
        let at = idle.iter().rposition(|entry| {
            entry.sender.is_ready()
                && now.saturating_duration_since(entry.since) <= idle_max
                && (is_repeatable || entry.peek.is_quiet())
        })?;
        let Idle { sender, peek, .. } = idle.remove(at);
        drop(idle);
        Some(Lease {
            sender,
            is_reused: true,
            peek,
            pool: Arc::clone(self),
        })
    }

    /// Opens a connection.
    pub(crate) async fn connect(
        self: &Arc<Self>,
        within: Duration,
        tasks: &TaskTracker,
    ) -> Result<Lease, ConnectError> {
        let stream = timeout(within, TcpStream::connect(self.addr))
            .await
            .map_err(|_| ConnectError::TimedOut)?
            .map_err(|error| ConnectError::of(&error))?;
        stream
            .set_nodelay(true)
            .map_err(|error| ConnectError::of(&error))?;
        let (socket, peek) = Socket::new(stream);
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(READ_BYTES_MAX)
            .handshake(TokioIo::new(socket))
            .await
            .map_err(|_| ConnectError::Refused)?;
        let addr = self.addr;
        tasks.spawn(async move {
            if let Err(error) = connection.await {
                trace!(%addr, %error, "Connection to endpoint ended");
            }
        });
        Ok(Lease {
            sender,
            is_reused: false,
            peek,
            pool: Arc::clone(self),
        })
    }

    /// Closes what is closed on the other side or idle for too long.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let is_fresh =
            |entry: &Idle| now.saturating_duration_since(entry.since) <= self.idle_timeout;
        self.lock()
            .retain(|entry| is_fresh(entry) && !entry.sender.is_closed());
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Keeps the connection for the next request, if it is still open and there is room.
    pub(crate) fn give_back(self) {
        if self.sender.is_closed() {
            return;
        }
        let mut idle = self.pool.lock();
        if idle.len() < self.pool.idle_max {
            idle.push(Idle {
                sender: self.sender,
                peek: self.peek,
                since: Instant::now(),
            });
        }
    }
}

impl Pending {
    pub(crate) fn new(pool: &Arc<Pool>) -> Self {
        pool.pending.fetch_add(1, Relaxed);
        Self(Arc::clone(pool))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Relaxed);
    }
}

impl ConnectError {
    fn of(error: &io::Error) -> Self {
        let is_ours = error.kind() == io::ErrorKind::AddrNotAvailable
            || error
                .raw_os_error()
                .is_some_and(|code| OUT_OF_RESOURCES.contains(&code));
        if is_ours {
            Self::OutOfResources
        } else {
            Self::Refused
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream as StdStream};

    use super::*;

    /// Returns a pool with one kept connection, and the other end of it.
    async fn kept(tasks: &TaskTracker) -> (Arc<Pool>, StdStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let pool = Arc::new(Pool::new(addr, Duration::from_secs(60), 8));
        let lease = pool.connect(Duration::from_secs(5), tasks).await.unwrap();
        let (other, _) = listener.accept().unwrap();
        while !lease.sender.is_ready() {
            tokio::task::yield_now().await;
        }
        lease.give_back();
        (pool, other)
    }

    #[tokio::test]
    async fn a_kept_connection_is_taken_again() {
        let tasks = TaskTracker::new();
        let (pool, _other) = kept(&tasks).await;
        let lease = pool.take(false).unwrap();
        assert!(lease.is_reused);
        assert!(pool.take(true).is_none(), "only once");
    }

    #[tokio::test]
    async fn an_unrepeatable_request_gets_no_connection_that_has_just_closed() {
        let tasks = TaskTracker::new();
        let (pool, other) = kept(&tasks).await;
        drop(other);
        // The runtime has not run since, so hyper doesn't know yet.
        assert!(pool.take(false).is_none());
        assert!(pool.take(true).is_some());
    }

    #[tokio::test]
    async fn an_unrepeatable_request_gets_no_connection_that_idled_long() {
        let tasks = TaskTracker::new();
        let (pool, _other) = kept(&tasks).await;
        for entry in &mut *pool.lock() {
            entry.since -= IDLE_FOR_UNREPEATABLE + Duration::from_millis(1);
        }
        assert!(pool.take(false).is_none());
        assert!(pool.take(true).is_some());
    }

    #[tokio::test]
    async fn a_closed_or_old_connection_is_swept() {
        let tasks = TaskTracker::new();
        let (pool, _other) = kept(&tasks).await;
        pool.sweep();
        assert_eq!(pool.lock().len(), 1);
        for entry in &mut *pool.lock() {
            entry.since -= Duration::from_secs(61);
        }
        assert!(pool.take(true).is_none(), "too old");
        pool.sweep();
        assert_eq!(pool.lock().len(), 0);
    }
}
