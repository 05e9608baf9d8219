//! The addresses that clients connect to: one socket for each data thread, all on the same port.
//!
//! **Invariant:** closing a listener loses no connection that the kernel has accepted for us.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};
use tracing::warn;

use crate::{connection::after, count::Limit, worker::Worker};

/// Connections that the kernel holds for each thread until they are accepted. It caps this at `net.core.somaxconn`.
const BACKLOG: i32 = 4_096;

/// Pause after a failed accept. The usual cause, no file descriptors, lasts until a connection ends; meanwhile clients wait in the
/// kernel's queue, and asking again at once would only burn the time that others need to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a listener that closes goes on after failed accepts, for the sake of what the kernel has accepted already.
const REST_PATIENCE: Duration = Duration::from_secs(1);

/// How often failed accepts are told of: often enough to be seen, rarely enough not to fill the log while it lasts.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Why an address can't be listened on.
#[derive(Debug, thiserror::Error)]
#[error("listen on {addr}: {doing}")]
pub struct ListenError {
    addr: SocketAddr,
    doing: Doing,
    #[source]
    source: io::Error,
}

/// One address that clients connect to.
#[derive(Debug)]
pub(crate) struct Listener {
    addr: SocketAddr,
    closing: CancellationToken,
    /// The tasks that accept; they end after `closing`.
    pub(crate) accepting: TaskTracker,
    open: Arc<AtomicUsize>,
    connections_max: usize,
}

/// A place among the connections of a listener.
#[derive(Debug)]
pub(crate) struct Seat(Arc<AtomicUsize>);

/// Failed accepts that nobody was told of yet.
#[derive(Debug, Default)]
struct Untold {
    count: u64,
    told: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum Doing {
    Probe,
    Bind,
}

impl ListenError {
    /// Returns the address.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Probe => "the address is taken or not ours",
            Self::Bind => "bind a socket for each thread",
        })
    }
}

impl Listener {
    pub(crate) fn new(
        addr: SocketAddr,
        closing: CancellationToken,
        connections_max: usize,
    ) -> Self {
        Self {
            addr,
            closing,
            accepting: TaskTracker::new(),
            open: Arc::default(),
            connections_max,
        }
    }

    /// Returns the address with its real port.
    pub(crate) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) const fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Returns a place for one more connection, if there is room.
    pub(crate) fn seat(&self) -> Option<Seat> {
        if self.open.fetch_add(1, Relaxed) < self.connections_max {
            return Some(Seat(Arc::clone(&self.open)));
        }
        self.open.fetch_sub(1, Relaxed);
        None
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Binds `count` sockets to `addr`, and returns them with the address they got.
///
/// Sockets that share a port would silently share it with another process of the same user, too. So unless the port is `ours`
/// already, it is first bound for itself alone, which tells whether anybody has it.
pub(crate) fn bind(
    addr: SocketAddr,
    count: usize,
    ours: bool,
) -> Result<(SocketAddr, Vec<std::net::TcpListener>), ListenError> {
    let error = |doing| {
        move |source| ListenError {
            addr,
            doing,
            source,
        }
    };
    if addr.port() != 0 && !ours {
        let probe = socket(addr).map_err(error(Doing::Probe))?;
        probe.bind(&addr.into()).map_err(error(Doing::Probe))?;
    }
    let mut real = addr;
    let mut sockets = Vec::new();
    for _ in 0..count {
        let listener = bind_shared(real).map_err(error(Doing::Bind))?;
        real = listener.local_addr().map_err(error(Doing::Bind))?;
        sockets.push(listener);
    }
    Ok((real, sockets))
}

fn bind_shared(addr: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = socket(addr)?;
    socket.set_reuse_port(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a former process that linger must not keep us from the port.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// Accepts connections for `worker` until the listener closes; then those still in the kernel's queue.
pub(crate) async fn accept(
    worker: Arc<Worker>,
    listener: Arc<Listener>,
    socket: std::net::TcpListener,
    until: TaskTrackerToken,
) {
    let addr = listener.addr();
    let socket = match TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => return warn!(%addr, %error, "Can not accept connections"),
    };
    let mut untold = Untold::default();
    loop {
        tokio::select! {
            biased;
            () = listener.closing().cancelled() => break,
            accepted = socket.accept() => match accepted {
                Ok((stream, peer)) => worker.serve(stream, peer, &listener),
                Err(error) => {
                    worker.counters().hit(Limit::Accept);
                    if let Some(failed) = untold.add(Instant::now()) {
                        warn!(%addr, %error, failed, "Connections not accepted");
                    }
                    if !is_of_one_connection(&error) {
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
    }
    if let Ok(socket) = socket.into_std() {
        accept_rest(&worker, &listener, &socket).await;
    }
    drop(until);
}

/// Serves what waits in the kernel's queue, which would be reset with the socket's end.
async fn accept_rest(
    worker: &Arc<Worker>,
    listener: &Arc<Listener>,
    socket: &std::net::TcpListener,
) {
    let end = after(Instant::now(), REST_PATIENCE);
    loop {
        let accepted = socket.accept().and_then(|(stream, peer)| {
            stream.set_nonblocking(true)?;
            Ok((tokio::net::TcpStream::from_std(stream)?, peer))
        });
        match accepted {
            Ok((stream, peer)) => worker.serve(stream, peer, listener),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => {
                worker.counters().hit(Limit::Accept);
                if Instant::now() >= end {
                    return warn!(addr = %listener.addr(), %error, "Connections lost");
                }
                if !is_of_one_connection(&error) {
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Whether only the connection that was to be accepted is gone, so that the next one may be fine.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

impl Untold {
    /// Adds a failure; returns how many there are to tell of, if it is time.
    fn add(&mut self, now: Instant) -> Option<u64> {
        self.count = self.count.saturating_add(1);
        let is_time = self
            .told
            .is_none_or(|told| now.saturating_duration_since(told) >= TELL_EVERY);
        is_time.then(|| {
            self.told = Some(now);
            std::mem::take(&mut self.count)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use arc_swap::ArcSwap;

    use super::*;
    use crate::{config::Config, count::Counters, table::Table, via::Pseudonym, worker::Shared};

    #[tokio::test]
    async fn what_the_kernel_has_accepted_is_served_after_the_close() {
        let shared = Shared {
            table: ArcSwap::from_pointee(Table::empty()),
            counters: Arc::new(Counters::new(1)),
            pseudonym: Pseudonym::new(),
            config: Config::default(),
        };
        let worker = Arc::new(Worker::new(Arc::new(shared), 0));
        let (addr, mut sockets) = bind(([127, 0, 0, 1], 0).into(), 1, false).unwrap();
        let mut client = std::net::TcpStream::connect(addr).unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
            .unwrap();

        let closing = CancellationToken::new();
        closing.cancel();
        let listener = Arc::new(Listener::new(addr, closing, 1));
        let until = listener.accepting.token();
        accept(Arc::clone(&worker), listener, sockets.remove(0), until).await;
        worker.clients.close();
        worker.clients.wait().await;

        let mut response = String::new();
        client.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1.1 404 "), "{response}");
        assert!(response.contains("connection: close"), "{response}");
    }

    #[test]
    fn failures_are_told_of_at_once_and_then_together() {
        let mut untold = Untold::default();
        let began = Instant::now();
        assert_eq!(untold.add(began), Some(1));
        for ms in 1..200 {
            assert_eq!(untold.add(began + Duration::from_millis(ms * 50)), None);
        }
        assert_eq!(untold.add(began + TELL_EVERY), Some(200));
        assert_eq!(untold.add(began + TELL_EVERY), None);
    }

    #[test]
    fn a_listener_has_no_more_seats_than_it_may() {
        let addr = ([127, 0, 0, 1], 1).into();
        let listener = Listener::new(addr, CancellationToken::new(), 2);
        let (first, _second) = (listener.seat().unwrap(), listener.seat().unwrap());
        assert!(listener.seat().is_none());
        drop(first);
        assert!(listener.seat().is_some());
    }
}
