//! Endpoints that do as they are told, one thread for each connection.

use std::{
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use crate::wire::{Message, Wire};

/// What an endpoint does with a request.
pub(crate) enum Act {
    /// Sends these bytes and goes on.
    Send(Vec<u8>),
    /// Sends these bytes and closes, without having said so.
    SendAndClose(Vec<u8>),
    /// Closes at once.
    Close,
    /// Does what it likes with the connection, then closes.
    Custom(Box<dyn FnOnce(&mut Wire) + Send>),
}

/// An endpoint, until it is killed or dropped.
pub(crate) struct TestEndpoint {
    pub(crate) addr: SocketAddr,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    is_dead: AtomicBool,
    seen: Mutex<Vec<Message>>,
    opened: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
    connections: Mutex<Vec<TcpStream>>,
}

impl TestEndpoint {
    /// Starts an endpoint whose answer depends on the request and its number on the connection, from 0.
    pub(crate) fn start(act: impl Fn(&Message, usize) -> Act + Send + Sync + 'static) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), act)
    }

    pub(crate) fn start_at(
        addr: SocketAddr,
        act: impl Fn(&Message, usize) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(addr).unwrap();
        let addr = listener.local_addr().unwrap();
        let inner = Arc::new(Inner::default());
        let (act, of_thread) = (Arc::new(act), Arc::clone(&inner));
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if of_thread.is_dead.load(SeqCst) {
                    return;
                }
                let copy = stream.try_clone().unwrap();
                of_thread.connections.lock().unwrap().push(copy);
                let (inner, act) = (Arc::clone(&of_thread), Arc::clone(&act));
                thread::spawn(move || serve(stream, &inner, &*act));
            }
        });
        Self { addr, inner }
    }

    /// Starts an endpoint that answers 200 with `name`.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::start(move |_, _| Act::Send(ok(name)))
    }

    /// Returns all requests so far.
    pub(crate) fn seen(&self) -> Vec<Message> {
        self.inner.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.inner.seen.lock().unwrap().len()
    }

    /// Returns how many connections there have been.
    pub(crate) fn opened(&self) -> usize {
        self.inner.opened.load(SeqCst)
    }

    /// Returns how many connections there are.
    pub(crate) fn open(&self) -> usize {
        self.inner.open.load(SeqCst)
    }

    /// Returns how many connections there have been at once.
    pub(crate) fn most_open(&self) -> usize {
        self.inner.most_open.load(SeqCst)
    }

    /// Stops listening and cuts all connections, as the death of a process does.
    pub(crate) fn kill(&self) {
        if self.inner.is_dead.swap(true, SeqCst) {
            return;
        }
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.addr));
        for connection in self.inner.connections.lock().unwrap().drain(..) {
            drop(connection.shutdown(Shutdown::Both));
        }
    }
}

impl Drop for TestEndpoint {
    fn drop(&mut self) {
        self.kill();
    }
}

fn serve(stream: TcpStream, inner: &Inner, act: &dyn Fn(&Message, usize) -> Act) {
    inner.opened.fetch_add(1, SeqCst);
    let open = inner.open.fetch_add(1, SeqCst) + 1;
    inner.most_open.fetch_max(open, SeqCst);
    let mut wire = Wire::new(stream);
    // An idle connection of the proxy is no failure of the test.
    wire.stream.set_read_timeout(None).unwrap();
    let mut nth = 0;
    while let Ok(Some(request)) = wire.request() {
        if inner.is_dead.load(SeqCst) {
            break;
        }
        inner.seen.lock().unwrap().push(request.clone());
        let is_over = match act(&request, nth) {
            Act::Send(bytes) => wire.send(bytes).is_err(),
            Act::SendAndClose(bytes) => {
                drop(wire.send(bytes));
                true
            }
            Act::Close => true,
            Act::Custom(act) => {
                act(&mut wire);
                true
            }
        };
        if is_over {
            break;
        }
        nth += 1;
    }
    // The copy kept for `kill` would hold the connection open.
    drop(wire.stream.shutdown(Shutdown::Both));
    inner.open.fetch_sub(1, SeqCst);
}

/// Returns a 200 with a body.
pub(crate) fn ok(body: &str) -> Vec<u8> {
    status(200, body)
}

pub(crate) fn status(status: u16, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
