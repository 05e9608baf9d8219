//! Connections of one thread to one endpoint: those kept open, and how many there may be at all.
//!
//! The last one used is taken first, so that those not needed grow old and are closed. A connection comes back only after the last
//! byte of a response, and is used again only if hyper holds it clean and ready.
//!
//! A burst must not become as many connections: they would overflow the endpoint's queue, and each attempt that the kernel drops there
//! costs a second. So there is a cap; who meets it waits for the next connection that comes free, for as long as opening one may take.
//! Below the cap none of this costs anything: only opening a connection counts, and giving one back looks whether somebody waits.
//!
//! **Invariants:**
//! - No connection serves two requests at once, and none is used again after an unfinished response.
//! - Somebody waits only while the cap is met, and what comes free goes to who has waited longest.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::task::TaskTracker;
use tracing::trace;

use crate::{
    body::RequestBody,
    connection::after,
    socket::{Peek, Socket},
};

/// Bytes read ahead from an endpoint, and the limit for the head of a response; hyper refuses what is still no head at twice this.
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
    limits: PoolLimits,
    connections: Mutex<Connections>,
    pending: AtomicU32,
}

/// How many connections there may be, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolLimits {
    /// Time that an idle connection is kept.
    pub(crate) idle_timeout: Duration,
    /// Idle connections kept.
    pub(crate) idle_max: usize,
    /// Connections open at once, idle ones included.
    pub(crate) open_max: usize,
    /// Requests that wait for a connection.
    pub(crate) waiting_max: usize,
}

/// What connection a request can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Any that is good: the request can be sent again.
    Any,
    /// One used lately that is looked at before it is trusted, or a fresh one: the request can't be sent again.
    Recent,
    /// A fresh one: a kept one has failed the request already.
    Fresh,
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
    /// The endpoint has all connections that it may have, and none came free in time.
    Saturated,
    /// The version gets no requests any more.
    Withdrawn,
    /// We have no file descriptor or port left: nothing the endpoint could help.
    OutOfResources,
}

#[derive(Debug)]
struct Connections {
    idle: Vec<Idle>,
    /// Connections that exist or are being opened: as many as there are [`Slot`]s.
    open: usize,
    /// Who waits, longest first. One whose other end is gone has given up.
    waiting: VecDeque<oneshot::Sender<Grant>>,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<RequestBody>,
    peek: Peek,
    since: Instant,
}

/// The right to have one connection open; as long as this lives, it counts. The task of the connection holds it, and the pool holds
/// the other end of that, so it must not keep the pool.
#[derive(Debug)]
struct Slot(Weak<Pool>);

/// Where somebody waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    First,
    Last,
}

/// What somebody who needs a connection is given.
#[derive(Debug)]
enum Grant {
    Open(Slot),
    Kept(Idle),
}

impl Pool {
    pub(crate) fn new(addr: SocketAddr, limits: PoolLimits) -> Self {
        let connections = Connections {
            idle: Vec::new(),
            open: 0,
            waiting: VecDeque::new(),
        };
        Self {
            addr,
            limits,
            connections: Mutex::new(connections),
            pending: AtomicU32::new(0),
        }
    }

    pub(crate) fn pending(&self) -> u32 {
        self.pending.load(Relaxed)
    }

    /// Returns a kept connection, if there is a good one.
    pub(crate) fn take(self: &Arc<Self>, want: Want) -> Option<Lease> {
        let idle_max = self.idle_max(want)?;
        let now = Instant::now();
        let mut connections = self.lock();
        let idle = &mut connections.idle;
        idle.retain(|entry| !entry.sender.is_closed());
        let at = idle
            .iter()
            .rposition(|entry| entry.is_good(want, idle_max, now))?;
        let entry = idle.remove(at);
        drop(connections);
        Some(self.lease(entry))
    }

    /// Returns a fresh connection. Where the endpoint has all that it may have, it is the next good one that comes free, waited for
    /// as long as opening one may take.
    pub(crate) async fn connect(
        self: &Arc<Self>,
        want: Want,
        within: Duration,
        tasks: &TaskTracker,
    ) -> Result<Lease, ConnectError> {
        let end = after(Instant::now(), within);
        let mut asked = self.ask(Place::Last)?;
        loop {
            let granted = timeout_at(end, asked).await;
            let granted = granted.map_err(|_| ConnectError::Saturated)?;
            match granted.map_err(|_| ConnectError::Withdrawn)? {
                Grant::Open(slot) => return self.open(slot, within, tasks).await,
                Grant::Kept(entry) => {
                    let idle_max = self.idle_max(want);
                    if idle_max.is_some_and(|max| entry.is_good(want, max, Instant::now())) {
                        return Ok(self.lease(entry));
                    }
                    // Its end makes room, and who had waited longest is the first to get that.
                    asked = self.ask(Place::First)?;
                    drop(entry);
                }
            }
        }
    }

    /// Closes what is closed on the other side or idle for too long.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let is_fresh = |entry: &Idle| entry.idled(now) <= self.limits.idle_timeout;
        let mut connections = self.lock();
        connections
            .idle
            .retain(|entry| is_fresh(entry) && !entry.sender.is_closed());
        connections.waiting.retain(|waiter| !waiter.is_closed());
    }

    /// Whether somebody waits.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.lock().waiting.is_empty()
    }

    /// Lets nobody wait any more.
    pub(crate) fn turn_away(&self) {
        self.lock().waiting.clear();
    }

    /// Returns where a grant will come: at once below the cap.
    fn ask(self: &Arc<Self>, place: Place) -> Result<oneshot::Receiver<Grant>, ConnectError> {
        let (tx, rx) = oneshot::channel();
        let mut connections = self.lock();
        if connections.open < self.limits.open_max {
            connections.open += 1;
            // The other end is in our hands.
            drop(tx.send(Grant::Open(Slot(Arc::downgrade(self)))));
            return Ok(rx);
        }
        match place {
            Place::First => connections.waiting.push_front(tx),
            Place::Last => {
                if connections.waiting.len() >= self.limits.waiting_max {
                    connections.waiting.retain(|waiter| !waiter.is_closed());
                }
                if connections.waiting.len() >= self.limits.waiting_max {
                    return Err(ConnectError::Saturated);
                }
                connections.waiting.push_back(tx);
                // None of the idle ones was good enough, so the oldest makes room.
                if !connections.idle.is_empty() {
                    drop(connections.idle.remove(0));
                }
            }
        }
        Ok(rx)
    }

    async fn open(
        self: &Arc<Self>,
        slot: Slot,
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
            drop(slot);
        });
        Ok(Lease {
            sender,
            is_reused: false,
            peek,
            pool: Arc::clone(self),
        })
    }

    /// Returns how long a connection may have idled to be what is wanted; `None` if none may.
    fn idle_max(&self, want: Want) -> Option<Duration> {
        match want {
            Want::Any => Some(self.limits.idle_timeout),
            Want::Recent => Some(self.limits.idle_timeout.min(IDLE_FOR_UNREPEATABLE)),
            Want::Fresh => None,
        }
    }

    fn lease(self: &Arc<Self>, entry: Idle) -> Lease {
        Lease {
            sender: entry.sender,
            is_reused: true,
            peek: entry.peek,
            pool: Arc::clone(self),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Gives the connection to who has waited longest, or keeps it for the next request, if it is still open and there is room.
    pub(crate) fn give_back(self) {
        if self.sender.is_closed() {
            return;
        }
        let entry = Idle {
            sender: self.sender,
            peek: self.peek,
            since: Instant::now(),
        };
        let mut connections = self.pool.lock();
        if !connections.waiting.is_empty() && !entry.sender.is_ready() {
            // Nobody would be told when it becomes ready, but of its end they are.
            return;
        }
        if let Some(Grant::Kept(entry)) = connections.pass_on(Grant::Kept(entry))
            && connections.idle.len() < self.pool.limits.idle_max
        {
            connections.idle.push(entry);
        }
    }
}

impl Connections {
    /// Gives `grant` to who has waited longest; returns it if nobody waits.
    fn pass_on(&mut self, mut grant: Grant) -> Option<Grant> {
        while let Some(waiter) = self.waiting.pop_front() {
            match waiter.send(grant) {
                Ok(()) => return None,
                Err(unsent) => grant = unsent,
            }
        }
        Some(grant)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(pool) = self.0.upgrade() else {
            return;
        };
        let next = Self(std::mem::take(&mut self.0));
        let mut connections = pool.lock();
        if let Some(Grant::Open(mut unwanted)) = connections.pass_on(Grant::Open(next)) {
            unwanted.0 = Weak::new();
            connections.open = connections.open.saturating_sub(1);
        }
    }
}

impl Idle {
    fn is_good(&self, want: Want, idle_max: Duration, now: Instant) -> bool {
        self.sender.is_ready()
            && self.idled(now) <= idle_max
            && (want == Want::Any || self.peek.is_quiet())
    }

    fn idled(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
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
    pub(crate) fn of(error: &io::Error) -> Self {
        let is_ours = error.kind() == io::ErrorKind::AddrNotAvailable || is_out_of_resources(error);
        if is_ours {
            Self::OutOfResources
        } else {
            Self::Refused
        }
    }
}

/// Whether the error says that the process or the system has no file or memory left.
pub(crate) fn is_out_of_resources(error: &io::Error) -> bool {
    error
        .raw_os_error()
        .is_some_and(|code| OUT_OF_RESOURCES.contains(&code))
}

#[cfg(test)]
mod tests;
