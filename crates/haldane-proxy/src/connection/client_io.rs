//! The socket of a client as hyper sees it: notes what the connection is doing, makes the parser's answers ours, and closes so that
//! the last answer arrives.
//!
//! What is no request hyper answers itself, with nothing but a status and then the end. Such an answer is known by what it is not: no
//! handler has been called since everything before was flushed. It gets the line that says whose it is. An answer to garbage that
//! follows another response so closely that both leave at once goes as hyper made it.
//!
//! A client that is still sending when its connection closes is reset by the kernel, and may lose the answer that it has not read yet.
//! So such a connection is closed in one direction first, and what still comes is thrown away for a while.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::Sleep};

use crate::{connection::ConnectionState, refuse::BAD_REQUEST};

/// How long what a client still sends is thrown away: enough for the answer to get there and for the client to take notice, too short
/// to be worth holding connections open by it.
const DISCARD_FOR: Duration = Duration::from_secs(2);

/// Bytes thrown away at a time.
const DISCARD_BYTES: usize = 4 * 1024;

/// Reads in a row that throw something away, before others get their turn.
const DISCARDS_MAX: usize = 16;

/// The socket of a client.
pub(super) struct ClientIo {
    inner: TokioIo<TcpStream>,
    state: Arc<ConnectionState>,
    /// An answer of the parser, made ours, as far as it is not written yet.
    own: Vec<u8>,
    discard_until: Option<Pin<Box<Sleep>>>,
}

impl ClientIo {
    pub(super) fn new(stream: TcpStream, state: Arc<ConnectionState>) -> Self {
        Self {
            inner: TokioIo::new(stream),
            state,
            own: Vec::new(),
            discard_until: None,
        }
    }

    /// Takes `bytes` to be written later, if they are an answer of the parser.
    fn take_own(&mut self, bytes: &[u8]) -> bool {
        match stamped(bytes) {
            Some(answer) => {
                self.state.note_own_answer();
                self.own = answer;
                true
            }
            None => false,
        }
    }

    fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.own.is_empty() {
            let poll = Pin::new(&mut self.inner).poll_write(cx, &self.own);
            let count = ready!(self.state.note_write(poll))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.own.drain(..count.min(self.own.len()));
        }
        Poll::Ready(Ok(()))
    }

    /// Reads until the end, but not for long.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let until = self
            .discard_until
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(DISCARD_FOR)));
        if until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        for _ in 0..DISCARDS_MAX {
            let mut bytes = [0; DISCARD_BYTES];
            let mut buf = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.inner).poll_read(cx, buf.unfilled())) {
                Ok(()) if !buf.filled().is_empty() => {}
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Read for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.state.note_read();
        Poll::Ready(Ok(()))
    }
}

impl Write for ClientIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.state.has_answer() && self.take_own(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        let poll = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.state.note_write(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !self.state.has_answer() {
            let bytes = bufs.iter().flat_map(|buf| buf.iter().copied());
            let bytes: Vec<u8> = bytes.collect();
            if self.take_own(&bytes) {
                return Poll::Ready(Ok(bytes.len()));
            }
        }
        let poll = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.state.note_write(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes when it has nothing left to write.
        self.state.note_flush();
        ready!(self.poll_own(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_own(cx))?;
        ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
        if self.state.is_sending() {
            ready!(self.poll_discard(cx));
        }
        Poll::Ready(Ok(()))
    }
}

/// Returns an answer of the parser with the lines that say whose it is and that it is the last, if `bytes` is one.
fn stamped(bytes: &[u8]) -> Option<Vec<u8>> {
    let line_end = bytes.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let (first, rest) = bytes.split_at_checked(line_end)?;
    if !first.starts_with(b"HTTP/1.1 4") {
        return None;
    }
    let mut lines = format!("proxy-status: {BAD_REQUEST}\r\n");
    if !rest.windows(11).any(|at| at == b"connection:") {
        lines.push_str("connection: close\r\n");
    }
    Some([first, lines.as_bytes(), rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_is_stamped() {
        let answer = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
        let stamped_answer = String::from_utf8(stamped(answer).unwrap()).unwrap();
        assert_eq!(
            stamped_answer,
            "HTTP/1.1 400 Bad Request\r\nproxy-status: haldane; error=http_request_error\r\nconnection: close\r\n\
             content-length: 0\r\n\r\n"
        );
        for other in [
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 400 Bad Request",
            "0\r\n\r\n",
            "",
        ] {
            assert_eq!(stamped(other.as_bytes()), None, "{other:?}");
        }
    }

    #[test]
    fn an_answer_that_ends_the_connection_already_says_so_once() {
        let answer = b"HTTP/1.1 431 X\r\nconnection: close\r\n\r\n";
        let text = String::from_utf8(stamped(answer).unwrap()).unwrap();
        assert_eq!(text.matches("connection:").count(), 1, "{text}");
    }
}
