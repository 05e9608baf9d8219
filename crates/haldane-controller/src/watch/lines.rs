//! The lines of a body that comes in pieces.

use http_body_util::BodyExt as _;
use kube::client::Body;

use crate::api::Failure;

/// The longest line: etcd takes objects of 1.5 MiB, and JSON may need several times as much.
const LINE_BYTES_MAX: usize = 32 << 20;

pub(super) struct Lines {
    body: Body,
    buffer: Vec<u8>,
    /// How much of the buffer has no end of a line in it.
    searched: usize,
}

impl Lines {
    pub(super) const fn new(body: Body) -> Self {
        Self {
            body,
            buffer: Vec::new(),
            searched: 0,
        }
    }

    /// Returns the next line; nothing after the last. Whoever stops waiting loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            if let Some(line) = self.split() {
                return Ok(Some(line));
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(Failure::Garbled(format!(
                    "a line is longer than {LINE_BYTES_MAX} bytes"
                )));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(Failure::Unanswered(error.to_string())),
                None => return Ok(None),
            }
        }
    }

    fn split(&mut self) -> Option<Vec<u8>> {
        let rest = self.buffer.get(self.searched..).unwrap_or_default();
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            return None;
        };
        let end = self.searched.saturating_add(end).saturating_add(1);
        let rest = self.buffer.split_off(end);
        self.searched = 0;
        Some(std::mem::replace(&mut self.buffer, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_whole_and_what_was_cut_off_is_none() {
        let body = Body::from(b"{\"a\": 1}\n{\"b\": 2}\n{\"cut".to_vec());
        let mut lines = Lines::new(body);
        assert_eq!(lines.next().await.unwrap().unwrap(), b"{\"a\": 1}\n");
        assert_eq!(lines.next().await.unwrap().unwrap(), b"{\"b\": 2}\n");
        assert_eq!(lines.next().await.unwrap(), None);
    }
}
