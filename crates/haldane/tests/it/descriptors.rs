//! A daemon that has no file descriptor left: it goes on, does not spin, and serves again as soon as some are free.

use std::{
    fs,
    io::{BufReader, ErrorKind, Write as _},
    net::{SocketAddr, TcpStream},
    thread::sleep,
    time::{Duration, Instant},
};

use haldane_core::Weight;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::it::{
    http::{TIMEOUT, exchange, get},
    load::{Load, Seen, tally},
    rig::{Daemon, Rig, deploy_shop, free_addr, shop_file, until},
};

/// How many clients connect and ask nothing: more than there are descriptors.
const IDLERS: usize = 64;

/// How many descriptors are left when the idle clients come: enough for the daemon's own files, not for all clients.
const SPARE: u64 = 16;

/// How long the daemon has none left: several rounds of health checks and of looks at the processes.
const DROUGHT: Duration = Duration::from_secs(3);

/// The most of one processor that a daemon may use that can do nothing.
const BUSY_MAX: f64 = 0.5;

/// What a client asks for that comes when there are none.
const REQUEST: &[u8] = b"GET /products HTTP/1.1\r\nhost: shop\r\n\r\n";

/// Lets the daemon have so many descriptors; `None` as many as the tests themselves.
fn limit(daemon: &Daemon, descriptors: Option<u64>) {
    let ours = getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: descriptors.or(ours.current),
        maximum: ours.maximum,
    };
    prlimit(Pid::from_raw(daemon.pid()), Resource::Nofile, limit).unwrap();
}

/// Returns how many descriptors the daemon has open.
fn open(daemon: &Daemon) -> u64 {
    let entries = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
    u64::try_from(entries.count()).unwrap()
}

/// Returns the processor time that the daemon has used.
fn used(daemon: &Daemon) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    // `proc(5)` counts from 1, and the first field here is the third there.
    let ticks: u64 = [14, 15]
        .map(|number| fields[number - 3].parse::<u64>().unwrap())
        .iter()
        .sum();
    Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second())
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&addr, TIMEOUT).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}

#[test]
fn a_daemon_without_descriptors_goes_on_and_serves_again_when_some_are_free() {
    let rig = Rig::new();
    let (daemon, addr) = start(&rig);
    check_drought(&rig, daemon, addr);
}

#[test]
fn a_daemon_without_descriptors_keeps_the_children_that_it_took_over() {
    let rig = Rig::new();
    let (daemon, addr) = start(&rig);
    daemon.kill();
    // It knows them by `/proc` alone, which takes descriptors to read.
    let daemon = rig.up();
    check_drought(&rig, daemon, addr);
}

/// Starts a daemon in the middle of a rollout.
fn start(rig: &Rig) -> (Daemon, SocketAddr) {
    let addr = free_addr();
    let plan = "{ steps: [50%, 100%], hold: untilResumed, guards: none, deadlines: { lost: 20s } }";
    rig.write_file(&shop_file(addr, plan));
    let daemon = rig.up();
    daemon.api.wait_ready("shop");
    let request = deploy_shop("v2", "good");
    daemon.api.deploy("shop", &request).unwrap();
    wait_half(&daemon);
    (daemon, addr)
}

/// Waits until the rollout is where [`start`] has brought it, with all its replicas.
fn wait_half(daemon: &Daemon) {
    until("all replicas are ready", || {
        let view = daemon.api.service("shop");
        let canary = view.canary.map(|canary| canary.replicas_ready);
        (canary == Some(2) && view.stable.replicas_ready == 2).then_some(())
    });
    let half = Weight::try_from_bps(5_000).unwrap();
    daemon.api.wait_weight("shop", half);
}

/// Checks that a daemon lives through a time without descriptors and loses nothing by it.
fn check_drought(rig: &Rig, daemon: Daemon, addr: SocketAddr) {
    wait_half(&daemon);
    let children = rig.replicas();
    // These have their connections already.
    let load = Load::start(addr, 2, Duration::from_millis(20));
    load.gather(100);

    let before = rig.log().len();
    limit(&daemon, Some(open(&daemon) + SPARE));
    let idlers: Vec<TcpStream> = (0..IDLERS).map(|_| connect(addr)).collect();
    let mut waiting = BufReader::new(connect(addr));
    waiting.get_mut().write_all(REQUEST).unwrap();
    let busy = busy_during(&daemon, DROUGHT);
    assert!(busy < BUSY_MAX, "{busy} of a processor");
    assert!(is_unanswered(waiting.get_ref()), "there are some left");
    let log = rig.log().split_off(before);
    assert!(log.contains("Too many open files"), "{log}");
    drop(idlers);

    // Who came when there were none is not forgotten.
    exchange(&mut waiting, "", b"").unwrap();
    until("the proxy serves again", || {
        let answer = get(addr, "shop", "/products").ok()?;
        (answer.status == 200).then_some(())
    });
    wait_half(&daemon);
    load.gather(100);
    let seen = load.stop();
    assert!(seen.iter().all(Seen::is_good), "{:?}", tally(&seen));
    assert_eq!(rig.replicas(), children);
    limit(&daemon, None);
    daemon.stop(rig);
}

fn is_unanswered(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Returns how much of one processor the daemon uses during this time.
fn busy_during(daemon: &Daemon, time: Duration) -> f64 {
    let (began, before) = (Instant::now(), used(daemon));
    sleep(time);
    (used(daemon) - before).as_secs_f64() / began.elapsed().as_secs_f64()
}
