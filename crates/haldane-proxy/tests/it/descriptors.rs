//! X7: the proxy runs out of file descriptors.
//!
//! The limit holds for a process, and the clients need descriptors, too. So the test starts itself once more, with few of them, to be
//! the proxy.

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use haldane_proxy::{Config, Limit};

use crate::{
    endpoint::TestEndpoint,
    rig::{Rig, arm, await_that, config, spec},
    wire::Wire,
};

/// Tells the child where its endpoint is.
const ENDPOINT: &str = "HALDANE_TEST_ENDPOINT";

/// Descriptors of the child. It needs about 15 for itself.
const FILES: usize = 48;

const NAME: &str = "descriptors::a_proxy_without_descriptors_waits_and_goes_on";

/// Is the proxy until its input ends; tells its address, then how many accepts failed.
fn child(endpoint: SocketAddr) {
    let rig = Rig::start(Config {
        upstream_idle_timeout: Duration::from_secs(60),
        ..config()
    });
    rig.publish(spec(vec![arm("v1", 10_000, &[endpoint])]));
    let mut out = std::io::stdout();
    writeln!(out, "\naddr={}", rig.addr).unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    writeln!(out, "failed={}", rig.proxy.read().limits[&Limit::Accept]).unwrap();
}

#[test]
fn a_proxy_without_descriptors_waits_and_goes_on() {
    if let Ok(endpoint) = env::var(ENDPOINT) {
        return child(endpoint.parse().unwrap());
    }
    let endpoint = TestEndpoint::named("v1");
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -n $1 && shift && exec \"$@\"", "sh"])
        .arg(FILES.to_string())
        .arg(env::current_exe().unwrap())
        .args([NAME, "--exact", "--nocapture", "--test-threads=1"])
        .env(ENDPOINT, endpoint.addr.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = |key: &str| {
        let mut lines = lines.by_ref().map(Result::unwrap);
        lines.find_map(|line| Some(line.strip_prefix(key)?.to_owned()))
    };
    let addr: SocketAddr = told("addr=").unwrap().parse().unwrap();
    let began = Instant::now();

    let mut first = Wire::connect(addr);
    assert_eq!(first.get("/", "").unwrap().status(), 200);
    // The kernel accepts them all; the proxy can't.
    let mut crowd: Vec<_> = (0..2 * FILES).map(|_| Wire::connect(addr)).collect();
    let mut last = crowd.pop().unwrap();
    last.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    last.stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    assert!(last.head().is_err(), "nobody can have accepted it yet");
    // Who is in already is served on, over the connection kept to the endpoint.
    for _ in 0..5 {
        assert_eq!(first.get("/", "").unwrap().status(), 200);
        thread::sleep(Duration::from_millis(20));
    }
    drop(crowd);
    last.stream
        .set_read_timeout(Some(crate::wire::PATIENCE))
        .unwrap();
    assert_eq!(
        last.response("GET").unwrap().status(),
        200,
        "it waited in the kernel's queue"
    );
    assert_eq!(Wire::connect(addr).get("/", "").unwrap().status(), 200);

    let pauses = began.elapsed().as_millis() / 50 + 1;
    drop(child.stdin.take());
    let failed: u128 = told("failed=").unwrap().parse().unwrap();
    assert!(
        (1..=pauses).contains(&failed),
        "{failed} in {pauses} pauses"
    );
    await_that("the proxy ends", || child.try_wait().unwrap().is_some());
}
