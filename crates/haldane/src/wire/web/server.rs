//! A web server for tests that does just what it is told, however wrong.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the server does with one request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Sends these bytes and closes.
    Say(String),
    /// Keeps the connection and says nothing.
    Hang,
    /// Sends the head of an answer, and then its body byte by byte.
    Drip,
    /// Sends so many bytes of body, announced or not.
    Flood(u64, bool),
    /// Closes without a word.
    Close,
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Value>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    /// Starts a server that does one act per request, and the last one again and again.
    pub(crate) async fn start(acts: impl Into<Vec<Act>>) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), acts).await
    }

    pub(crate) async fn start_at(address: SocketAddr, acts: impl Into<Vec<Act>>) -> Self {
        // Whoever had the address before may take a moment to let it go.
        let bind = || std::net::TcpListener::bind(address).ok();
        let listener = until(bind).await;
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
        let (acts, seen_here) = (acts.into(), Arc::clone(&seen));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let act = acts[acts.len().min(number + 1) - 1].clone();
                connections.spawn(serve(stream, act, Arc::clone(&seen_here)));
            }
        });
        Self {
            address,
            seen,
            _tasks: tasks,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/secret?token=hush", self.address)
    }

    /// Returns the bodies of the requests; of those without one the head.
    pub(crate) fn seen(&self) -> Vec<Value> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits for so many requests and returns their bodies.
    pub(crate) async fn requests(&self, count: usize) -> Vec<Value> {
        until(|| Some(self.seen()).filter(|seen| seen.len() >= count)).await
    }
}

/// Returns an answer with this code and body.
pub(crate) fn say(code: u16, headers: &str, body: &str) -> Act {
    let length = body.len();
    Act::Say(format!(
        "HTTP/1.1 {code} X\r\n{headers}content-length: {length}\r\n\r\n{body}"
    ))
}

/// Polls until there is an answer.
#[track_caller]
pub(crate) fn until<T>(mut answer: impl FnMut() -> Option<T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = answer() {
                return answer;
            }
            assert!(Instant::now() < deadline, "never so: {caller}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

async fn serve(mut stream: TcpStream, act: Act, seen: Arc<Mutex<Vec<Value>>>) {
    let Some(body) = read_request(&mut stream).await else {
        return;
    };
    seen.lock().unwrap().push(body);
    // The other side may go away at any time, and often that is the point of the test.
    let done = match act {
        Act::Say(text) => stream.write_all(text.as_bytes()).await,
        Act::Hang => std::future::pending().await,
        Act::Close => Ok(()),
        Act::Drip => {
            let mut sent = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
                .await;
            while sent.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
                sent = stream.write_all(b" ").await;
            }
            sent
        }
        Act::Flood(bytes, is_announced) => flood(&mut stream, bytes, is_announced).await,
    };
    done.ok();
}

async fn flood(stream: &mut TcpStream, bytes: u64, is_announced: bool) -> std::io::Result<()> {
    let length = if is_announced {
        format!("content-length: {bytes}\r\n")
    } else {
        String::new()
    };
    stream
        .write_all(format!("HTTP/1.1 200 OK\r\n{length}\r\n").as_bytes())
        .await?;
    let chunk = vec![b' '; 1 << 16];
    let mut left = bytes;
    while left > 0 {
        let count = left.min(1 << 16);
        stream
            .write_all(&chunk[..usize::try_from(count).unwrap()])
            .await?;
        left -= count;
    }
    Ok(())
}

async fn read_request(stream: &mut TcpStream) -> Option<Value> {
    let mut request = Vec::new();
    loop {
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let told = head.to_ascii_lowercase();
        let length = told.split("content-length: ").nth(1);
        let length = length.and_then(|rest| rest.lines().next());
        if body.len() < length.map_or(0, |length| length.parse().unwrap()) {
            continue;
        }
        // Metric systems are asked at paths of their own.
        if !told.contains("/secret") {
            return Some(Value::String(format!("{head}\r\n")));
        }
        assert!(
            told.starts_with("post /secret?token=hush http/1.1\r\n"),
            "{told}"
        );
        return Some(serde_json::from_str(body).unwrap());
    }
}
