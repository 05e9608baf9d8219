//! A version of a service whose own metrics say something else than the proxy sees, and which knows the truth.

use std::{
    io::{self, BufRead, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::spawn,
    time::Duration,
};

use haldane_proxy::{DELIMITED_TYPE, Delimited, NativeHistogram, TEXT_TYPE, prefers_delimited};

/// What a version does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nature {
    /// Each n-th request gets 404, which the proxy takes for the client's fault; 0 for none.
    pub(crate) every: u64,
    /// How long its work takes at least by its own measure, in milliseconds; the most is twice that.
    pub(crate) work_ms: u64,
    /// The bounds of its classic histogram, in seconds.
    pub(crate) bounds: &'static [f64],
    /// Whether it has a native one, too.
    pub(crate) is_native: bool,
}

/// A good version.
pub(crate) const GOOD: Nature = Nature {
    every: 0,
    work_ms: 40,
    bounds: &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5],
    is_native: true,
};

/// A version in threads of the test, without end.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) addr: SocketAddr,
    inside: Arc<Inside>,
}

#[derive(Debug)]
struct Inside {
    nature: Nature,
    name: &'static str,
    counts: Mutex<Counts>,
    is_mute: AtomicBool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    pub(crate) lost: u64,
    within: Vec<u64>,
    durations: NativeHistogram,
}

impl Version {
    pub(crate) fn start(name: &'static str, nature: Nature) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let counts = Counts {
            within: vec![0; nature.bounds.len()],
            ..Counts::default()
        };
        let inside = Arc::new(Inside {
            nature,
            name,
            counts: Mutex::new(counts),
            is_mute: AtomicBool::new(false),
        });
        let this = Self { addr, inside };
        let version = this.clone();
        spawn(move || {
            for stream in listener.incoming() {
                let (stream, version) = (stream.unwrap(), version.clone());
                // Whoever goes away in the middle of a request may.
                spawn(move || version.inside.answer_all(stream).ok());
            }
        });
        this
    }

    /// Returns what really happened.
    pub(crate) fn counts(&self) -> Counts {
        self.inside.counts.lock().unwrap().clone()
    }

    /// Tells no metrics, or tells them again.
    pub(crate) fn mute(&self, is_mute: bool) {
        self.inside.is_mute.store(is_mute, Ordering::Relaxed);
    }
}

impl Inside {
    fn answer_all(&self, stream: TcpStream) -> io::Result<()> {
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        loop {
            let head = read_head(&mut reader)?;
            if head.is_empty() {
                return Ok(());
            }
            let (status, content_type, body) = self.answer(&head);
            let length = body.len();
            let name = self.name;
            let head = format!(
                "HTTP/1.1 {status}\r\nx-shop-version: {name}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
            );
            writer.write_all(&[head.as_bytes(), &body].concat())?;
        }
    }

    fn answer(&self, head: &str) -> (&'static str, &'static str, Vec<u8>) {
        let is_for = |path: &str| head.starts_with(&format!("GET {path} "));
        if is_for("/metrics") && self.is_mute.load(Ordering::Relaxed) {
            return ("503 Service Unavailable", "text/plain", Vec::new());
        }
        if is_for("/metrics") {
            let mut lines = head.lines();
            let accept = lines.find_map(|line| line.strip_prefix("Accept: "));
            let (content_type, body) = self.metrics(accept.unwrap_or_default());
            return ("200 OK", content_type, body);
        }
        let is_lost = !is_for("/health") && self.count();
        let status = if is_lost { "404 Not Found" } else { "200 OK" };
        (status, "text/plain", b"ok".to_vec())
    }

    /// Counts one request, and returns whether it is lost.
    fn count(&self) -> bool {
        let Nature {
            every,
            work_ms,
            bounds,
            ..
        } = self.nature;
        let mut counts = self.counts.lock().unwrap();
        let number = counts.requests;
        let is_lost = every > 0 && number.is_multiple_of(every);
        let work = Duration::from_millis(work_ms + work_ms * (number % 16) / 16);
        counts.requests += 1;
        counts.lost += u64::from(is_lost);
        for (bound, within) in bounds.iter().zip(&mut counts.within) {
            *within += u64::from(work.as_secs_f64() <= *bound);
        }
        counts.durations.add(work, 1);
        is_lost
    }

    fn metrics(&self, accept: &str) -> (&'static str, Vec<u8>) {
        let counts = self.counts.lock().unwrap().clone();
        let (requests, lost, name) = (counts.requests, counts.lost, self.name);
        let fine = requests - lost;
        let mut text = format!(
            "# TYPE http_requests_total counter\n\
             http_requests_total{{version=\"{name}\",code=\"200\"}} {fine}\n\
             http_requests_total{{version=\"{name}\",code=\"404\"}} {lost}\n\
             # TYPE http_request_duration_seconds histogram\n"
        );
        let metric = "http_request_duration_seconds";
        for (bound, within) in self.nature.bounds.iter().zip(&counts.within) {
            text += &format!("{metric}_bucket{{version=\"{name}\",le=\"{bound}\"}} {within}\n");
        }
        let sum = counts.durations.sum().as_secs_f64();
        text += &format!("{metric}_bucket{{version=\"{name}\",le=\"+Inf\"}} {requests}\n");
        text += &format!("{metric}_sum{{version=\"{name}\"}} {sum}\n");
        text += &format!("{metric}_count{{version=\"{name}\"}} {requests}\n");
        if !self.nature.is_native || !prefers_delimited(accept) {
            return (TEXT_TYPE, text.into_bytes());
        }
        let mut delimited = Delimited::of_text(&text);
        delimited.add_native(metric, &[("version", name)], &counts.durations);
        (DELIMITED_TYPE, delimited.encode())
    }
}

/// Reads a request's head; nothing at the end.
pub(crate) fn read_head(reader: &mut impl BufRead) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(String::new());
        }
    }
    Ok(head)
}
