//! The canary under load: its share, its end, its sudden death, and connections that it resets.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{JoinHandle, spawn},
    time::{Duration, Instant},
};

use haldane_api::http::CommandName;
use haldane_core::Weight;
use rustix::process::Signal;

use crate::it::{
    http::{Answer, TIMEOUT, exchange},
    load::{Load, Seen, check_share, tally},
    rig::{Rig, deploy_shop, deploy_url, free_addr, shop_file, signal, storm, until},
};

/// How many requests tell the share.
const REQUESTS_MIN: usize = 20_000;

/// How many requests after an abort show that none goes to the canary any more: at 5 % there would be hundreds.
const REQUESTS_AFTER: usize = 5_000;

/// How many requests make a peak before each death.
const REQUESTS_BETWEEN: usize = 500;

/// How many clients ask at once, each as fast as it is answered.
const CLIENTS: usize = 32;

#[test]
fn the_share_is_exact_and_after_an_abort_it_is_nothing() {
    const WEIGHT_BPS: u16 = 500;
    let _storm = storm();
    let rig = Rig::new();
    let addr = free_addr();
    rig.write_file(&shop_file(
        addr,
        "{ steps: [5%, 100%], hold: untilResumed, guards: none }",
    ));
    let daemon = rig.up();
    daemon.api.wait_ready("shop");
    daemon
        .api
        .deploy("shop", &deploy_shop("v2", "good"))
        .unwrap();
    daemon
        .api
        .wait_weight("shop", Weight::try_from_bps(WEIGHT_BPS).unwrap());
    let load = Load::start(addr, CLIENTS, Duration::ZERO);
    load.gather(REQUESTS_MIN);
    let before = Instant::now();
    let aborted = daemon.api.command("shop", CommandName::Abort).unwrap();
    let answered = Instant::now();
    assert!(aborted.is_durable);
    load.gather(REQUESTS_AFTER);
    let seen = load.stop();
    assert!(seen.iter().all(Seen::is_good), "{:?}", tally(&seen));
    let is_canary = |one: &&Seen| one.version() == Some("v2");
    let split: Vec<&Seen> = seen.iter().filter(|one| one.sent_at < before).collect();
    let canary = split.iter().copied().filter(is_canary).count();
    check_share(canary, split.len(), WEIGHT_BPS);
    let late = seen.iter().filter(|one| one.sent_at > answered);
    assert!(late.clone().count() >= REQUESTS_AFTER - CLIENTS);
    assert_eq!(late.filter(is_canary).count(), 0);
    assert_eq!(daemon.api.wait_over("shop-1").phase, "RolledBack");
    daemon.stop(&rig);
}

#[test]
fn when_all_canaries_die_at_peak_no_client_notices() {
    let _storm = storm();
    let rig = Rig::new();
    let addr = free_addr();
    let plan = "{ steps: [50%, 100%], hold: untilResumed, guards: none, deadlines: { lost: 10s } }";
    rig.write_file(&shop_file(addr, plan));
    let daemon = rig.up();
    daemon.api.wait_ready("shop");
    daemon
        .api
        .deploy("shop", &deploy_shop("v2", "good"))
        .unwrap();
    let half = Weight::try_from_bps(5_000).unwrap();
    daemon.api.wait_weight("shop", half);
    let stable = rig.shops("v1");
    let load = Load::start(addr, CLIENTS, Duration::ZERO);
    for _ in 0..3 {
        load.gather(REQUESTS_BETWEEN);
        let canaries = rig.shops("v2");
        assert_eq!(canaries.len(), 2);
        for canary in &canaries {
            signal(canary.pid, Signal::KILL);
        }
        let killed_at = jiff::Timestamp::now();
        until("the canary is back", || {
            let shops = rig.shops("v2");
            let is_new = shops.len() == 2 && shops.iter().all(|shop| !canaries.contains(shop));
            let view = daemon.api.service("shop");
            let is_ready = view.canary.is_some_and(|canary| canary.replicas_ready == 2);
            (is_new && is_ready && view.at > killed_at).then_some(())
        });
    }
    daemon.api.wait_weight("shop", half);
    let seen = load.stop();
    assert!(seen.iter().all(Seen::is_good), "{:?}", tally(&seen));
    assert_eq!(rig.shops("v1"), stable);
    assert!(seen.iter().any(|one| one.version() == Some("v2")));
    daemon.stop(&rig);
}

/// A server that is well, and closes each connection that asks for anything else before it answers.
struct Resetter {
    addr: SocketAddr,
    /// How many requests it took and did not answer.
    taken: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl Resetter {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let (taken, is_over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (count, end) = (Arc::clone(&taken), Arc::clone(&is_over));
        let server = spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                // A client that gave up meanwhile is no matter.
                if stream.is_ok_and(|stream| answer_or_reset(stream).is_ok_and(|is_reset| is_reset))
                {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self {
            addr,
            taken,
            is_over,
            server: Some(server),
        }
    }

    fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Resetter {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        TcpStream::connect(self.addr).ok();
        if let Some(Err(_)) = self.server.take().map(JoinHandle::join) {
            eprintln!("the resetting server broke off");
        }
    }
}

/// Answers a question for its health, and resets any other connection; returns whether it did.
fn answer_or_reset(mut stream: TcpStream) -> io::Result<bool> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut begin = [0; HEALTH.len()];
    stream.read_exact(&mut begin)?;
    if begin != *HEALTH {
        // What was not read makes the kernel reset the connection.
        return Ok(true);
    }
    let mut head = BufReader::new(stream);
    let mut line = String::new();
    while head.read_line(&mut line)? > 2 {
        line.clear();
    }
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    head.get_mut().write_all(answer)?;
    Ok(false)
}

/// How a question for the server's health begins.
const HEALTH: &[u8; 11] = b"GET /health";

#[test]
fn a_canary_that_resets_connections_fails_no_get_and_is_rolled_back_for_it() {
    let rig = Rig::new();
    let addr = free_addr();
    let canary = Resetter::start();
    rig.write_file(&shop_file(
        addr,
        "{ steps: [50%, 100%], hold: untilResumed, guards: { errorRate: 5% }, \
           sampling: { window: 10s, requestsMin: 20 } }",
    ));
    let daemon = rig.up();
    daemon.api.wait_ready("shop");
    let load = Load::start(addr, 4, Duration::from_millis(5));
    let request = deploy_url("v2", canary.addr);
    daemon.api.deploy("shop", &request).unwrap();
    let history = daemon.api.wait_over("shop-1");
    let seen = load.stop();
    assert_eq!(history.phase, "RolledBack");
    assert!(
        history.message.contains("errors: 100% against 0%"),
        "{history:?}"
    );
    // Each request that the canary did not answer went to stable.
    assert!(canary.taken() > 0);
    let is_stable = |one: &Seen| one.is_good() && one.version() == Some("v1");
    assert!(seen.iter().all(is_stable), "{:?}", tally(&seen));
    daemon.stop(&rig);
}

#[test]
fn a_post_that_the_canary_reset_is_told_to_the_client_and_not_sent_again() {
    const POSTS: usize = 200;
    let rig = Rig::new();
    let addr = free_addr();
    let canary = Resetter::start();
    let plan = "{ steps: [50%, 100%], hold: untilResumed, guards: none }";
    rig.write_file(&shop_file(addr, plan));
    let daemon = rig.up();
    daemon.api.wait_ready("shop");
    let request = deploy_url("v2", canary.addr);
    daemon.api.deploy("shop", &request).unwrap();
    let half = Weight::try_from_bps(5_000).unwrap();
    daemon.api.wait_weight("shop", half);
    let head = "POST /checkout HTTP/1.1\r\nhost: shop\r\ncontent-length: 4\r\n\r\n";
    let answers: Vec<_> = (0..POSTS)
        .map(|_| {
            let stream = TcpStream::connect(addr).unwrap();
            stream.set_read_timeout(Some(TIMEOUT)).unwrap();
            exchange(&mut BufReader::new(stream), head, b"pay!").unwrap()
        })
        .collect();
    let (served, failed): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == 200);
    let is_stable = |answer: &&Answer| answer.header("x-shop-version") == Some("v1");
    assert!(served.iter().all(is_stable), "{served:?}");
    let told = Some("haldane; error=connection_terminated");
    let is_told = |answer: &&Answer| answer.status == 502 && answer.header("proxy-status") == told;
    assert!(failed.iter().all(is_told), "{failed:?}");
    // As many as it took: none of them was sent to anybody else, or twice.
    assert_eq!(canary.taken(), failed.len());
    check_share(failed.len(), POSTS, 5_000);
    daemon.stop(&rig);
}
