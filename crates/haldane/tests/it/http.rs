//! A blocking HTTP/1.1 client, small enough to see what it does.

use std::{
    io::{self, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// How long one answer may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(15);

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the connection takes no further request.
    fn is_last(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// A connection that is kept as long as the server keeps it.
#[derive(Debug)]
pub(crate) struct Client {
    addr: SocketAddr,
    kept: Option<BufReader<TcpStream>>,
}

impl Client {
    pub(crate) fn new(addr: SocketAddr) -> Self {
        Self { addr, kept: None }
    }

    /// Asks once. A kept connection that the server closed meanwhile is replaced, as every client does.
    pub(crate) fn get(&mut self, host: &str, path: &str) -> io::Result<Answer> {
        let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        if let Some(mut kept) = self.kept.take() {
            match exchange(&mut kept, &head, b"") {
                Ok(answer) => return Ok(self.keep(kept, answer)),
                Err(error) if is_stale(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let stream = TcpStream::connect_timeout(&self.addr, TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let mut fresh = BufReader::new(stream);
        let answer = exchange(&mut fresh, &head, b"")?;
        Ok(self.keep(fresh, answer))
    }

    fn keep(&mut self, stream: BufReader<TcpStream>, answer: Answer) -> Answer {
        self.kept = (!answer.is_last()).then_some(stream);
        answer
    }
}

/// Asks once over a connection of its own.
pub(crate) fn get(addr: SocketAddr, host: &str, path: &str) -> io::Result<Answer> {
    Client::new(addr).get(host, path)
}

/// Sends a request and reads the whole answer.
pub(crate) fn exchange<S: Read + Write>(
    stream: &mut BufReader<S>,
    head: &str,
    body: &[u8],
) -> io::Result<Answer> {
    stream.get_mut().write_all(head.as_bytes())?;
    stream.get_mut().write_all(body)?;
    let first = line(stream)?.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionReset))?;
    let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.ok_or_else(|| broken(&first))?;
    let mut headers = Vec::new();
    loop {
        let line = line(stream)?.ok_or_else(|| broken("the head is cut"))?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| broken(&line))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut answer = Answer {
        status,
        headers,
        body: Vec::new(),
    };
    answer.body = read_body(stream, &answer)?;
    Ok(answer)
}

fn read_body(stream: &mut impl io::BufRead, answer: &Answer) -> io::Result<Vec<u8>> {
    if let Some(length) = answer.header("content-length") {
        let length = length.parse().map_err(|_| broken(length))?;
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        return Ok(body);
    }
    let mut body = Vec::new();
    if answer.header("transfer-encoding").is_none() {
        stream.read_to_end(&mut body)?;
        return Ok(body);
    }
    loop {
        let size = line(stream)?.ok_or_else(|| broken("a chunk is missing"))?;
        let size = usize::from_str_radix(&size, 16).map_err(|_| broken(&size))?;
        let at = body.len();
        body.resize(at + size, 0);
        stream.read_exact(&mut body[at..])?;
        line(stream)?;
        if size == 0 {
            return Ok(body);
        }
    }
}

/// Returns the next line without its end; nothing when there is no more.
fn line(stream: &mut impl io::BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    let length = stream.read_line(&mut line)?;
    Ok((length > 0).then(|| line.trim_end().to_owned()))
}

/// Whether the server had closed the connection before it saw the request.
fn is_stale(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
