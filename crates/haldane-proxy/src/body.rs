//! Bodies on their way through: never held, always watched.
//!
//! The body of a request carries the client's limits; its [`BodyWatch`] tells the waiting side whose fault an end was. The body of a
//! response carries the attempt, so that counting, latency and the return of the connection happen with its last byte.
//!
//! **Invariant:** at most one frame of a body is in our hands.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::{
    connection::{Busy, ConnectionState},
    count::{Attempt, Fault, Hold, Outcome},
    pool::{Lease, Pending},
};

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body stalled")]
    Stalled,
    #[error("the body is too large")]
    TooLarge,
    #[error("the body broke off")]
    Broken(#[source] hyper::Error),
}

/// The body of a request.
#[derive(Debug)]
pub(crate) enum RequestBody {
    Empty,
    Client(Box<ClientBody>),
}

/// A body that a client sends.
#[derive(Debug)]
pub(crate) struct ClientBody {
    incoming: Incoming,
    watch: Arc<BodyWatch>,
    connection: Arc<ConnectionState>,
    bytes_left: u64,
    idle: IdleTimer,
}

/// What the body of a request is waiting for, seen from outside.
#[derive(Debug)]
pub(crate) struct BodyWatch {
    stage: AtomicU8,
    /// When the last byte passed, in milliseconds since `born`.
    progress_ms: AtomicU64,
    born: Instant,
}

/// What the body of a request is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum BodyStage {
    /// The endpoint takes its time.
    Offered = 0,
    /// The client takes its time.
    Awaited = 1,
    /// All is sent.
    Done = 2,
    /// The client sent nothing for too long.
    Stalled = 3,
    /// The client sent too much.
    TooLarge = 4,
    /// The client broke off.
    Broken = 5,
}

/// The body of a response to a client.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    source: Source,
    _busy: Busy,
}

/// The body of a response from an endpoint.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) incoming: Incoming,
    pub(crate) status: StatusCode,
    pub(crate) bond: Bond,
    pub(crate) idle: IdleTimer,
}

/// What ends with the body of a response.
#[derive(Debug)]
pub(crate) struct Bond {
    attempt: Attempt,
    _hold: Hold,
    _pending: Pending,
    lease: Option<Lease>,
    /// The body of the request, if it had one: it may be still on its way.
    watch: Option<Arc<BodyWatch>>,
}

#[derive(Debug)]
pub(crate) enum Source {
    Own(Option<Bytes>),
    Relay(Relay),
}

/// Fires when there was no progress for some time. Costs nothing as long as nothing waits.
#[derive(Debug)]
pub(crate) struct IdleTimer {
    limit: Duration,
    progress: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl ClientBody {
    pub(crate) fn new(
        incoming: Incoming,
        bytes_max: u64,
        idle: Duration,
        connection: Arc<ConnectionState>,
    ) -> Self {
        let watch = BodyWatch {
            stage: AtomicU8::new(BodyStage::Offered as u8),
            progress_ms: AtomicU64::new(0),
            born: Instant::now(),
        };
        Self {
            incoming,
            watch: Arc::new(watch),
            connection,
            bytes_left: bytes_max,
            idle: IdleTimer::new(idle),
        }
    }

    /// Whether the client said how long the body is.
    pub(crate) fn has_length(&self) -> bool {
        self.incoming.size_hint().exact().is_some()
    }

    pub(crate) fn watch(&self) -> Arc<BodyWatch> {
        Arc::clone(&self.watch)
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                self.watch.set(BodyStage::Awaited);
                ready!(self.idle.poll_expired(cx));
                self.watch.set(BodyStage::Stalled);
                return Poll::Ready(Some(Err(BodyError::Stalled)));
            }
        };
        self.idle.progress();
        self.watch.progress();
        let Some(frame) = frame else {
            self.watch.set(BodyStage::Done);
            self.connection.set_sending(false);
            return Poll::Ready(None);
        };
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                self.watch.set(BodyStage::Broken);
                return Poll::Ready(Some(Err(BodyError::Broken(error))));
            }
        };
        let bytes = frame
            .data_ref()
            .map_or(0, |data| u64::try_from(data.len()).unwrap_or(u64::MAX));
        let Some(bytes_left) = self.bytes_left.checked_sub(bytes) else {
            self.watch.set(BodyStage::TooLarge);
            return Poll::Ready(Some(Err(BodyError::TooLarge)));
        };
        self.bytes_left = bytes_left;
        let is_last = self.incoming.is_end_stream();
        self.connection.set_sending(!is_last);
        self.watch.set(if is_last {
            BodyStage::Done
        } else {
            BodyStage::Offered
        });
        Poll::Ready(Some(Ok(frame)))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Client(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Client(body) => body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Client(body) => body.incoming.size_hint(),
        }
    }
}

impl BodyWatch {
    pub(crate) fn stage(&self) -> BodyStage {
        match self.stage.load(Relaxed) {
            0 => BodyStage::Offered,
            1 => BodyStage::Awaited,
            2 => BodyStage::Done,
            3 => BodyStage::Stalled,
            4 => BodyStage::TooLarge,
            _ => BodyStage::Broken,
        }
    }

    /// Returns when the last byte passed.
    pub(crate) fn last_progress(&self) -> Instant {
        let after = Duration::from_millis(self.progress_ms.load(Relaxed));
        self.born.checked_add(after).unwrap_or(self.born)
    }

    fn set(&self, stage: BodyStage) {
        self.stage.store(stage as u8, Relaxed);
    }

    fn progress(&self) {
        let ms = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.progress_ms.store(ms, Relaxed);
    }
}

impl BodyStage {
    /// Whether the client is to blame for the end of the body.
    pub(crate) const fn is_clients_fault(self) -> bool {
        match self {
            Self::Stalled | Self::TooLarge | Self::Broken => true,
            Self::Offered | Self::Awaited | Self::Done => false,
        }
    }
}

impl ResponseBody {
    pub(crate) const fn new(source: Source, busy: Busy) -> Self {
        Self {
            source,
            _busy: busy,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.get_mut().source {
            Source::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Relay(relay) => relay.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(bytes) => bytes.is_none(),
            Source::Relay(relay) => relay.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(bytes) => {
                let bytes = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(bytes).unwrap_or(u64::MAX))
            }
            Source::Relay(relay) => relay.incoming.size_hint(),
        }
    }
}

impl Relay {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending => {
                ready!(self.idle.poll_expired(cx));
                Poll::Ready(Some(Err(self.fail(BodyError::Stalled))))
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.idle.progress();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                Poll::Ready(Some(Err(self.fail(BodyError::Broken(error)))))
            }
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
        }
    }

    fn finish(&mut self) {
        self.bond.attempt.end(Outcome::Status(self.status));
        if let Some(lease) = self.bond.lease.take() {
            lease.give_back();
        }
    }

    fn fail(&mut self, error: BodyError) -> BodyError {
        let is_clients_fault = self
            .bond
            .watch
            .as_ref()
            .is_some_and(|watch| watch.stage().is_clients_fault());
        self.bond.attempt.end(if is_clients_fault {
            Outcome::AbortedByClient
        } else {
            Outcome::Fault(Fault::Body)
        });
        self.bond.lease = None;
        error
    }
}

impl Bond {
    pub(crate) const fn new(
        attempt: Attempt,
        hold: Hold,
        pending: Pending,
        lease: Lease,
        watch: Option<Arc<BodyWatch>>,
    ) -> Self {
        Self {
            attempt,
            _hold: hold,
            _pending: pending,
            lease: Some(lease),
            watch,
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // A body of known length is not asked again after its last byte, an empty one never.
        if self.incoming.is_end_stream() {
            self.finish();
        }
    }
}

impl IdleTimer {
    pub(crate) const fn new(limit: Duration) -> Self {
        Self {
            limit,
            progress: None,
            sleep: None,
        }
    }

    fn progress(&mut self) {
        // Only a timer that runs needs to know.
        if self.sleep.is_some() {
            self.progress = Some(Instant::now());
        }
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        loop {
            ready!(sleep.as_mut().poll(cx));
            match self
                .progress
                .take()
                .and_then(|progress| progress.checked_add(limit))
            {
                Some(deadline) if deadline > Instant::now() => sleep.as_mut().reset(deadline),
                Some(_) | None => return Poll::Ready(()),
            }
        }
    }
}
