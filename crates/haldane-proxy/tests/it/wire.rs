//! HTTP/1.1 by hand, so that neither side of a test shares code with the proxy.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// No exchange of a test takes longer, unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A request or response as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    /// The first line and the headers, with line ends as `\n`.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// A connection that reads whole messages.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    ahead: Vec<u8>,
}

impl Message {
    pub(crate) fn status(&self) -> u16 {
        self.head
            .split(' ')
            .nth(1)
            .unwrap_or_default()
            .parse()
            .unwrap_or(0)
    }

    pub(crate) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns all values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let lines = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'));
        lines
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// Whether the proxy made this response itself, and says so.
    pub(crate) fn is_own(&self) -> bool {
        self.header("proxy-status")
            .is_some_and(|value| value.starts_with("haldane; error="))
    }
}

impl Wire {
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        Self::new(TcpStream::connect_timeout(&addr, PATIENCE).unwrap())
    }

    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            ahead: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends a request without body and returns the response.
    pub(crate) fn get(&mut self, path: &str, headers: &str) -> io::Result<Message> {
        self.send(format!(
            "GET {path} HTTP/1.1\r\nhost: test\r\n{headers}\r\n"
        ))?;
        self.response("GET")
    }

    pub(crate) fn post(&mut self, path: &str, body: &str) -> io::Result<Message> {
        let length = body.len();
        self.send(format!(
            "POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\n{body}"
        ))?;
        self.response("POST")
    }

    /// Reads a request with its body; `None` at the end of the connection.
    pub(crate) fn request(&mut self) -> io::Result<Option<Message>> {
        let Some(head) = self.head()? else {
            return Ok(None);
        };
        let mut message = Message {
            head,
            body: Vec::new(),
        };
        message.body = self.body(&message, 0)?;
        Ok(Some(message))
    }

    pub(crate) fn response(&mut self, method: &str) -> io::Result<Message> {
        loop {
            let head = self.head()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let mut message = Message {
                head,
                body: Vec::new(),
            };
            if message.status() == 100 {
                continue;
            }
            if method != "HEAD" && !matches!(message.status(), 204 | 304) {
                message.body = self.body(&message, usize::MAX)?;
            }
            return Ok(message);
        }
    }

    /// Whether the other side closes without sending more.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        self.ahead.is_empty()
            && match self.stream.read(&mut byte) {
                Ok(count) => count == 0,
                Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
            }
    }

    pub(crate) fn head(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = find(&self.ahead, b"\r\n\r\n") {
                let head: Vec<u8> = self.ahead.drain(..end + 4).collect();
                let head = String::from_utf8_lossy(&head).replace("\r\n", "\n");
                return Ok(Some(head.trim_end().to_owned()));
            }
            if self.fill()? == 0 {
                let is_clean = self.ahead.is_empty();
                return if is_clean {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// Reads a body; without framing it has `unframed` bytes, or all until the end.
    fn body(&mut self, message: &Message, unframed: usize) -> io::Result<Vec<u8>> {
        if message.header("transfer-encoding").is_some() {
            let mut body = Vec::new();
            while let Some(chunk) = self.chunk()? {
                body.extend(chunk);
            }
            return Ok(body);
        }
        match message.header("content-length") {
            Some(length) => self.take(length.parse().unwrap()),
            None if unframed == 0 => Ok(Vec::new()),
            None => {
                while self.fill()? > 0 {}
                Ok(std::mem::take(&mut self.ahead))
            }
        }
    }

    /// Reads one chunk; `None` for the last.
    pub(crate) fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let size = loop {
            if let Some(end) = find(&self.ahead, b"\r\n") {
                let line: Vec<u8> = self.ahead.drain(..end + 2).collect();
                break usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).unwrap();
            }
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let mut chunk = self.take(size + 2)?;
        chunk.truncate(size);
        Ok((size > 0).then_some(chunk))
    }

    fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.ahead.len() < count {
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.ahead.drain(..count).collect())
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let count = self.stream.read(&mut buffer)?;
        self.ahead.extend(&buffer[..count]);
        Ok(count)
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
