//! Conversions that the proxy counts: a canary whose checkout turns half of the buyers away, with answers that are no failures.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{JoinHandle, sleep, spawn},
    time::Duration,
};

use haldane_api::http::RolloutHistory;

use crate::it::{
    http::{TIMEOUT, exchange},
    rig::{PATIENCE, Rig, calm, deploy_url, free_addr, within},
};

/// How many visitors are in the shop at once.
const VISITORS: usize = 12;

/// How long a visitor looks at the cart.
const THINKING: Duration = Duration::from_millis(30);

/// Of how many visitors one leaves without buying.
const LEAVING: usize = 3;

/// A shop of which the checkout turns every n-th buyer away.
struct Shop {
    addr: SocketAddr,
    is_over: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl Shop {
    /// Starts a shop that turns every `refused`-th buyer away, nobody with 0.
    fn start(refused: usize) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let is_over = Arc::<AtomicBool>::default();
        let end = Arc::clone(&is_over);
        let server = spawn(move || {
            let buyers = Arc::<AtomicUsize>::default();
            for stream in listener.incoming() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(stream), buyers) = (stream, Arc::clone(&buyers)) else {
                    continue;
                };
                // Ends when the proxy closes the connection.
                spawn(move || serve(stream, &buyers, refused).ok());
            }
        });
        Self {
            addr,
            is_over,
            server: Some(server),
        }
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        TcpStream::connect(self.addr).ok();
        if let Some(Err(_)) = self.server.take().map(JoinHandle::join) {
            eprintln!("the shop broke off");
        }
    }
}

fn serve(stream: TcpStream, buyers: &AtomicUsize, refused: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if stream.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let (mut line, mut length) = (String::new(), 0);
        while stream.read_line(&mut line)? > 2 {
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            line.clear();
        }
        io::copy(&mut (&mut stream).take(length), &mut io::sink())?;
        let is_refused = first.starts_with("POST /checkout")
            && refused > 0
            && buyers
                .fetch_add(1, Ordering::Relaxed)
                .is_multiple_of(refused);
        let status = if is_refused { "409 Conflict" } else { "200 OK" };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok");
        stream.get_mut().write_all(answer.as_bytes())?;
    }
}

/// Visitors who look at their cart, think, and mostly buy.
struct Visitors {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<usize>>,
}

impl Visitors {
    fn start(addr: SocketAddr) -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let threads = (0..VISITORS).map(|_| {
            let is_over = Arc::clone(&is_over);
            spawn(move || visit_on(addr, &is_over))
        });
        Self {
            threads: threads.collect(),
            is_over,
        }
    }

    /// Lets everybody finish, and returns how many visits failed.
    fn stop(mut self) -> usize {
        self.is_over.store(true, Ordering::Relaxed);
        let threads = self.threads.drain(..);
        threads.map(|thread| thread.join().unwrap()).sum()
    }
}

impl Drop for Visitors {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn visit_on(addr: SocketAddr, is_over: &AtomicBool) -> usize {
    let connect = || {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        BufReader::new(stream)
    };
    let (mut stream, mut failed) = (connect(), 0);
    let cart = "GET /cart HTTP/1.1\r\nhost: shop\r\n\r\n";
    let checkout = "POST /checkout HTTP/1.1\r\nhost: shop\r\ncontent-length: 4\r\n\r\n";
    for visit in 0.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let is_seen = exchange(&mut stream, cart, b"").is_ok_and(|answer| answer.status == 200);
        sleep(THINKING);
        let is_leaving = visit % LEAVING == 0;
        let is_answered = is_leaving
            || exchange(&mut stream, checkout, b"pay!").is_ok_and(|answer| answer.status < 500);
        if !(is_seen && is_answered) {
            failed += 1;
            stream = connect();
        }
    }
    failed
}

/// Plays a rollout of a canary that turns every `refused`-th buyer away, and returns its history and what the daemon says of it.
fn play(refused: usize, hold: &str) -> (RolloutHistory, String, String) {
    let _calm = calm();
    let rig = Rig::new();
    let addr = free_addr();
    let (stable, canary) = (Shop::start(0), Shop::start(refused));
    rig.write_file(&format!(
        "services:
  shop:
    listen: {addr}
    stable: {{ version: v1, url: \"http://{}\" }}
    health: {{ path: /health, interval: 100ms, timeout: 1s }}
    rollout: {{ steps: [50%, 100%], hold: {hold}, guards: {{ errorRate: 5% }}, sampling: {{ window: 10s, requestsMin: 20 }} }}
    metrics:
      bought: {{ kind: conversion, hit: POST /checkout 2xx, of: GET /cart, within: 1s, required: true }}
",
        stable.addr
    ));
    let daemon = rig.up();
    daemon.api.wait_ready("shop");
    let visitors = Visitors::start(addr);
    let request = deploy_url("v2", canary.addr);
    daemon.api.deploy("shop", &request).unwrap();
    let history = within(6 * PATIENCE, "the rollout is over", || {
        let history = daemon.api.rollout("shop-1").unwrap();
        history.ended_at.is_some().then_some(history)
    });
    let metrics = daemon.api.metrics();
    let file = rig.path("haldane.yaml");
    let check = ["metrics", "check", "-f", file.to_str().unwrap()];
    let check = rig.haldane(&check).output().unwrap();
    assert_eq!(visitors.stop(), 0, "visits failed");
    daemon.stop(&rig);
    let check = String::from_utf8(check.stdout).unwrap();
    (history, metrics, check)
}

#[test]
fn a_canary_that_turns_half_of_the_buyers_away_is_rolled_back_for_it() {
    let (history, metrics, check) = play(2, "{ min: 20s, max: 80s }");
    assert_eq!(history.phase, "RolledBack", "{history:?}");
    assert!(history.message.contains("bought: "), "{}", history.message);
    assert!(history.message.contains(" against "), "{}", history.message);
    let line =
        r#"haldane_proxy_conversion_exposures_total{service="shop",version="v1",metric="bought"}"#;
    assert!(metrics.contains(line), "{metrics}");
    assert!(check.contains(" so far"), "{check}");
}

#[test]
fn a_canary_at_which_as_many_buy_is_promoted() {
    let (history, _, _) = play(0, "20s");
    assert_eq!(history.phase, "Completed", "{history:?}");
}
