//! Messages over a unix socket: one line of JSON each, and with it open files.
//!
//! Open files are what crosses the border of a network namespace: a listener made outside accepts inside, and a connection made
//! inside is used outside, both without anything that copies bytes between them.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{io::Interest, net::UnixStream};

/// The longest line, and how many files come with one.
const LINE_MAX: usize = 1 << 20;
const FILES_MAX: usize = 4;

/// Sends one message, and with it `files`.
pub(crate) async fn send(
    stream: &UnixStream,
    message: &impl Serialize,
    files: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    let mut rest = line.as_slice();
    let mut files = files;
    while !rest.is_empty() {
        let write = || send_some(stream, rest, files);
        let sent = stream.async_io(Interest::WRITABLE, write).await?;
        files = &[]; // They go with the first byte.
        rest = rest.get(sent..).unwrap_or_default();
    }
    Ok(())
}

fn send_some(stream: &UnixStream, bytes: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::Error::other("too many files for one message"));
    }
    let bytes = [IoSlice::new(bytes)];
    // Whoever hung up is an error, not a signal.
    Ok(rustix::net::sendmsg(
        stream,
        &bytes,
        &mut control,
        SendFlags::NOSIGNAL,
    )?)
}

/// Receives one message and the files that came with it; an error of kind `UnexpectedEof` when the other side has hung up.
pub(crate) async fn receive<T: DeserializeOwned>(
    stream: &UnixStream,
) -> io::Result<(T, Vec<OwnedFd>)> {
    let (mut line, mut files) = (Vec::new(), Vec::new());
    while !line.ends_with(b"\n") {
        let read = || receive_some(stream, &mut line, &mut files);
        if stream.async_io(Interest::READABLE, read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.len() > LINE_MAX {
            return Err(io::Error::other("the message is too long"));
        }
    }
    Ok((serde_json::from_slice(&line)?, files))
}

fn receive_some(
    stream: &UnixStream,
    line: &mut Vec<u8>,
    files: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffer = [IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = rustix::net::recvmsg(stream, &mut buffer, &mut control, flags)?.bytes;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            files.extend(received);
        }
    }
    line.extend_from_slice(bytes.get(..received).unwrap_or_default());
    Ok(received)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Seek as _, Write as _},
        os::fd::AsFd as _,
    };

    use super::*;

    #[tokio::test]
    async fn long_messages_and_files_arrive_whole() {
        let (here, there) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"inside").unwrap();
        let text = "x".repeat(300_000);
        let files = [file.as_fd()];
        let (sent, received) = tokio::join!(send(&here, &text, &files), receive::<String>(&there));
        sent.unwrap();
        let (line, files) = received.unwrap();
        assert_eq!(line, text);
        let mut received = std::fs::File::from(files.into_iter().next().unwrap());
        received.rewind().unwrap();
        let mut content = String::new();
        received.read_to_string(&mut content).unwrap();
        assert_eq!(content, "inside");
    }

    #[tokio::test]
    async fn hanging_up_is_seen() {
        let (here, there) = UnixStream::pair().unwrap();
        drop(here);
        let error = receive::<String>(&there).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_message_without_end_is_refused() {
        let (here, there) = UnixStream::pair().unwrap();
        let text = "x".repeat(LINE_MAX + 1);
        let (_, received) = tokio::join!(send(&here, &text, &[]), async {
            let received = receive::<String>(&there).await;
            drop(there);
            received
        });
        assert_eq!(received.unwrap_err().to_string(), "the message is too long");
    }
}
