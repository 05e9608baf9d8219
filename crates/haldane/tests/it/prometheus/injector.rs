//! A proxy in front of Prometheus, between which and the daemon things go wrong.

use std::{
    io::{self, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread::{sleep, spawn},
    time::Duration,
};

use serde_json::{Value, json};

use super::{server::ask, version::read_head};
use crate::it::rig::free_addr;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Nobody listens.
    Refused,
    /// There is no answer.
    Hang,
    /// The answer comes, a byte at a time.
    Drip,
    /// The connection closes without one.
    Close,
    /// Half of the answer comes.
    Half,
    /// This code, with a body for people.
    Code(u16),
    /// A page of markup.
    Page,
    /// Somewhere else, which is a link-local address.
    Redirect,
    /// The same place, again and again.
    Loop,
    /// A small answer that unpacks to a large one.
    Bomb,
    /// An answer of 500 MB.
    Huge,
    /// Bytes that are no text.
    NotText,
    /// Nothing was found.
    Empty,
    /// Each value is this.
    Value(&'static str),
    /// The answer before the fault, again and again.
    Stale,
    /// All samples are so many seconds older or, below zero, younger.
    Shifted(i64),
    /// A store behind it did not answer.
    Partial,
    /// The same, as others say it.
    IsPartial,
    /// The answer is a text.
    Text,
    /// The answer is a bare number.
    Scalar,
    /// Each series comes twice, with different values.
    Twice,
    /// Only stable is found.
    NoCanary,
}

/// The proxy.
#[derive(Clone, Debug)]
pub(crate) struct Injector {
    pub(crate) addr: SocketAddr,
    fault: Arc<Mutex<Fault>>,
    /// The last good answers, by question without its time.
    good: Arc<Mutex<Vec<(String, String)>>>,
    /// How many requests came.
    asked: Arc<AtomicU64>,
    /// How many bytes of one answer were taken at most.
    taken: Arc<AtomicU64>,
}

/// How large [`Fault::Huge`] is.
const HUGE_BYTES: u64 = 500 << 20;

impl Injector {
    pub(crate) fn start(behind: SocketAddr) -> Self {
        let addr = free_addr();
        let this = Self {
            addr,
            fault: Arc::new(Mutex::new(Fault::None)),
            good: Arc::default(),
            asked: Arc::default(),
            taken: Arc::default(),
        };
        let mut listener = TcpListener::bind(addr).unwrap();
        let injector = this.clone();
        spawn(move || {
            loop {
                let (stream, _) = listener.accept().unwrap();
                if injector.fault() == Fault::Refused {
                    drop((stream, listener));
                    while injector.fault() == Fault::Refused {
                        sleep(Duration::from_millis(5));
                    }
                    listener = TcpListener::bind(addr).unwrap();
                    continue;
                }
                let injector = injector.clone();
                // Whoever goes away in the middle may.
                spawn(move || injector.serve(stream, behind).ok());
            }
        });
        this
    }

    pub(crate) fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
        if fault == Fault::Refused {
            // The listener looks at it with the next connection.
            TcpStream::connect(self.addr).ok();
        }
    }

    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    fn serve(&self, stream: TcpStream, behind: SocketAddr) -> io::Result<()> {
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        let head = read_head(&mut reader)?;
        let Some(path) = head.split(' ').nth(1) else {
            return Ok(());
        };
        self.asked.fetch_add(1, Ordering::Relaxed);
        let fine = || ask(behind, path).map_or_else(String::new, |answer| answer.text());
        let fault = self.fault();
        if let Some(reply) = self.reply(fault, path, &fine) {
            return writer.write_all(&reply);
        }
        if fault == Fault::Hang {
            // Until the other side gives up.
            return reader.read(&mut [0]).map(|_| ());
        }
        if fault == Fault::Drip {
            return drip(&mut writer, &answer("200 OK", fine().as_bytes()));
        }
        if fault == Fault::Huge {
            let mut sent = 0;
            let result = flood(&mut writer, &mut sent);
            self.taken.fetch_max(sent, Ordering::Relaxed);
            return result;
        }
        Ok(())
    }

    /// Returns what is sent in one piece; `None` if that is not how it goes.
    fn reply(&self, fault: Fault, path: &str, fine: &dyn Fn() -> String) -> Option<Vec<u8>> {
        let question = path.split_once("&time=");
        let question = question.map_or(path, |(question, _)| question);
        let body = match fault {
            Fault::Code(code) => return Some(answer(&format!("{code} No"), b"no")),
            Fault::Redirect => {
                let elsewhere = "302 Found\r\nlocation: http://169.254.169.254/";
                return Some(answer(elsewhere, b""));
            }
            Fault::Loop => {
                let here = format!("307 Again\r\nlocation: http://{}{path}", self.addr);
                return Some(answer(&here, b""));
            }
            Fault::Bomb => return Some(answer("200 OK\r\ncontent-encoding: gzip", bomb())),
            Fault::NotText => {
                return Some(answer("200 OK", b"{\"status\":\"success\xff\xfe\"}"));
            }
            Fault::None => {
                let body = fine();
                self.keep(question, &body);
                body
            }
            Fault::NoCanary if !question.contains("v2") => fine(),
            Fault::Empty | Fault::NoCanary => EMPTY.to_owned(),
            Fault::Stale => self.before(question),
            Fault::Page => "<html>Sign in</html>".to_owned(),
            Fault::Text => of_type("string"),
            Fault::Scalar => of_type("scalar"),
            Fault::Value(value) => spoiled(&fine(), |pair| pair[1] = json!(value)),
            Fault::Shifted(seconds) => spoiled(&fine(), |pair| {
                pair[0] = json!(pair[0].as_f64().unwrap() - seconds as f64);
            }),
            Fault::Twice => twice(&fine()),
            Fault::Partial => with(&fine(), "warnings", json!(["a store did not answer"])),
            Fault::IsPartial => with(&fine(), "isPartial", json!(true)),
            Fault::Half => {
                let whole = answer("200 OK", fine().as_bytes());
                return whole.get(..whole.len() - 20).map(<[u8]>::to_vec);
            }
            Fault::Refused | Fault::Hang | Fault::Drip | Fault::Huge | Fault::Close => return None,
        };
        Some(answer("200 OK", body.as_bytes()))
    }

    fn keep(&self, question: &str, body: &str) {
        let mut good = self.good.lock().unwrap();
        good.retain(|(known, _)| known != question);
        good.push((question.to_owned(), body.to_owned()));
    }

    fn before(&self, question: &str) -> String {
        let good = self.good.lock().unwrap();
        let mut known = good.iter().filter(|(known, _)| known == question);
        known
            .next()
            .map_or_else(|| EMPTY.to_owned(), |(_, body)| body.clone())
    }
}

const EMPTY: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;

fn answer(status: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// Sends a byte ten times in a second.
fn drip(writer: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    for byte in bytes {
        writer.write_all(&[*byte])?;
        sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn flood(writer: &mut TcpStream, sent: &mut u64) -> io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {HUGE_BYTES}\r\n\r\n");
    writer.write_all(head.as_bytes())?;
    let spaces = [b' '; 64 << 10];
    while *sent < HUGE_BYTES {
        writer.write_all(&spaces)?;
        *sent += spaces.len() as u64;
    }
    Ok(())
}

/// Returns 64 MB of zeros, packed.
fn bomb() -> &'static [u8] {
    static BOMB: OnceLock<Vec<u8>> = OnceLock::new();
    BOMB.get_or_init(|| {
        let mut command = Command::new("sh");
        command.args(["-c", "head -c 67108864 /dev/zero | gzip"]);
        let packed = command.stderr(Stdio::null()).output().unwrap().stdout;
        assert!((1_000..1_000_000).contains(&packed.len()), "gzip works");
        packed
    })
}

/// Returns an answer of a type that holds one value without labels.
fn of_type(kind: &str) -> String {
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let data = json!({ "resultType": kind, "result": [now, "12"] });
    json!({ "status": "success", "data": data }).to_string()
}

fn with(body: &str, key: &str, value: Value) -> String {
    let mut body: Value = serde_json::from_str(body).unwrap_or_default();
    body[key] = value;
    body.to_string()
}

/// Changes each sample: `[1700000000.1,"12"]`.
fn spoiled(body: &str, change: impl Fn(&mut Value)) -> String {
    let mut body: Value = serde_json::from_str(body).unwrap_or_default();
    for series in body["data"]["result"].as_array_mut().into_iter().flatten() {
        let samples = series["values"].as_array_mut();
        samples.into_iter().flatten().for_each(&change);
    }
    body.to_string()
}

fn twice(body: &str) -> String {
    let other = spoiled(body, |pair| pair[1] = json!("7"));
    let mut body: Value = serde_json::from_str(body).unwrap_or_default();
    let mut other: Value = serde_json::from_str(&other).unwrap_or_default();
    if let (Some(series), Some(others)) = (
        body["data"]["result"].as_array_mut(),
        other["data"]["result"].as_array_mut(),
    ) {
        series.append(others);
    }
    body.to_string()
}
