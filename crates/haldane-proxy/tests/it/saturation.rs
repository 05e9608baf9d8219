//! More requests at once than connections that an endpoint may have.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use haldane_proxy::{Config, FaultCounts, ServiceSpec};

use crate::{
    endpoint::{Act, TestEndpoint, ok},
    rig::{Rig, arm, await_that, config, pair, single, spec},
    wire::{PATIENCE, Wire},
};

/// Returns a proxy whose endpoints may have `connections`, with `waiting` requests that wait.
fn rig(connections: usize, waiting: usize, spec: ServiceSpec) -> Rig {
    let rig = Rig::start(Config {
        upstream_connections_max: NonZeroUsize::new(connections).unwrap(),
        upstream_waiting_max: waiting,
        ..config()
    });
    rig.publish(spec);
    rig
}

/// Returns an endpoint that answers once for each message, whoever of `clones` asked.
fn gated(name: &'static str) -> (TestEndpoint, mpsc::Sender<()>) {
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let endpoint = TestEndpoint::start(move |_, _| {
        gate.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        Act::Send(ok(name))
    });
    (endpoint, open)
}

fn ask(rig: &Rig) -> Wire {
    let mut client = rig.connect();
    client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    client
}

#[test]
fn a_burst_opens_no_more_connections_than_it_may() {
    let endpoint = TestEndpoint::start(|request, _| {
        // Long enough that all clients are waiting most of the time.
        thread::sleep(Duration::from_millis(1));
        Act::Send(ok(request.path()))
    });
    let rig = rig(4, 64, single(&endpoint));
    let clients: Vec<_> = (0..64)
        .map(|number| {
            let mut client = rig.connect();
            thread::spawn(move || {
                for at in 0..20 {
                    let path = format!("/{number}/{at}");
                    let response = match number % 4 {
                        0 => client.post(&path, "body"),
                        _ => client.get(&path, ""),
                    };
                    assert_eq!(response.unwrap().text(), path);
                }
            })
        })
        .collect();
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
    let v1 = rig.version("v1");
    assert_eq!((v1.status[1], v1.failures(), v1.resent), (1_280, 0, 0));
    // They are handed on from request to request, not opened anew for each.
    assert!(endpoint.opened() <= 8, "{} connections", endpoint.opened());
    assert!(
        endpoint.most_open() <= 5,
        "{} at once",
        endpoint.most_open()
    );
}

#[test]
fn endpoints_that_close_after_each_response_serve_all_who_wait() {
    let endpoint = TestEndpoint::start(|_, _| Act::SendAndClose(ok("v1")));
    let rig = rig(2, 32, single(&endpoint));
    let clients: Vec<_> = (0..32)
        .map(|_| {
            let mut client = rig.connect();
            thread::spawn(move || {
                (0..10).for_each(|_| assert_eq!(client.get("/", "").unwrap().status(), 200));
            })
        })
        .collect();
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
    assert_eq!(rig.version("v1").failures(), 0);
}

#[test]
fn other_replicas_are_used_before_anybody_waits() {
    let ((a, open_a), (b, open_b)) = (gated("a"), gated("b"));
    let rig = rig(2, 8, spec(vec![arm("v1", 10_000, &[a.addr, b.addr])]));
    let mut clients: Vec<_> = (0..4).map(|_| ask(&rig)).collect();
    await_that("both are full", || (a.count(), b.count()) == (2, 2));
    clients.push(ask(&rig));
    await_that("it waits", || rig.version("v1").in_flight == 5);
    assert_eq!((a.count(), b.count()), (2, 2));
    for open in [open_a, open_b] {
        (0..5).for_each(|_| open.send(()).unwrap());
    }
    for client in &mut clients {
        assert_eq!(client.response("GET").unwrap().status(), 200);
    }
    assert_eq!((a.opened(), b.opened()), (2, 2));
}

#[test]
fn who_waits_too_long_is_told_that_the_limit_is_reached() {
    let (endpoint, _open) = gated("v1");
    let mut hasty = single(&endpoint);
    hasty.timeouts.connect = Duration::from_millis(100);
    let rig = rig(1, 8, hasty);
    let _first = ask(&rig);
    await_that("it is full", || endpoint.count() == 1);
    let began = Instant::now();
    let response = rig.connect().post("/", "body").unwrap();
    assert!(began.elapsed() >= Duration::from_millis(100));
    assert_eq!((response.status(), response.is_own()), (503, true));
    assert_eq!(
        response.header("proxy-status"),
        Some("haldane; error=connection_limit_reached")
    );
    assert_eq!(response.header("retry-after"), Some("1"));
    let v1 = rig.version("v1");
    assert_eq!((v1.faults.saturated, v1.failures()), (1, 1));
    assert_eq!((endpoint.count(), endpoint.opened()), (1, 1));
}

#[test]
fn a_canary_that_is_full_leaves_its_requests_to_stable_and_fails() {
    let stable = TestEndpoint::named("v1");
    let (canary, _open) = gated("v2");
    let mut hasty = pair(&stable, &canary, 10_000);
    hasty.timeouts.connect = Duration::from_millis(100);
    let rig = rig(1, 8, hasty);
    let _first = ask(&rig);
    await_that("it is full", || canary.count() == 1);
    // Nothing was sent, so a POST may go on.
    assert_eq!(rig.connect().post("/", "body").unwrap().text(), "v1");
    assert_eq!(
        rig.version("v2").faults,
        FaultCounts {
            saturated: 1,
            ..FaultCounts::default()
        }
    );
    assert_eq!((rig.version("v1").requests(), stable.count()), (1, 1));
}

/// An abort is over when the canary gets nothing new, whoever stood in line for it.
#[test]
fn who_waits_for_a_canary_whose_share_falls_to_zero_goes_to_stable_at_once() {
    for is_gone in [false, true] {
        let stable = TestEndpoint::named("v1");
        let (canary, open) = gated("v2");
        let rig = rig(1, 8, pair(&stable, &canary, 10_000));
        let mut first = ask(&rig);
        await_that("it is full", || canary.count() == 1);
        let mut waiting: Vec<_> = (0..4).map(|_| ask(&rig)).collect();
        await_that("they wait", || rig.version("v2").in_flight == 5);
        let began = Instant::now();
        rig.publish(if is_gone {
            single(&stable)
        } else {
            pair(&stable, &canary, 0)
        });
        rig.host.block_on(rig.proxy.settle());
        for client in &mut waiting {
            assert_eq!(client.response("GET").unwrap().text(), "v1");
        }
        assert!(
            began.elapsed() < Duration::from_millis(900),
            "not only after the time-out: {:?}",
            began.elapsed()
        );
        open.send(()).unwrap();
        assert_eq!(first.response("GET").unwrap().text(), "v2");
        assert_eq!((canary.count(), rig.version("v2").failures()), (1, 0));
    }
}

#[test]
fn who_waits_for_stable_waits_on_when_it_leaves_the_table() {
    let (old, open) = gated("v1");
    let new = TestEndpoint::named("v2");
    let rig = rig(1, 8, single(&old));
    let mut first = ask(&rig);
    await_that("it is full", || old.count() == 1);
    let mut second = ask(&rig);
    await_that("one waits", || rig.version("v1").in_flight == 2);
    rig.publish(spec(vec![arm("v2", 10_000, &[new.addr])]));
    rig.host.block_on(rig.proxy.settle());
    assert_eq!(rig.connect().get("/", "").unwrap().text(), "v2");
    (0..2).for_each(|_| open.send(()).unwrap());
    for client in [&mut first, &mut second] {
        assert_eq!(client.response("GET").unwrap().text(), "v1");
    }
}

#[test]
fn the_queue_is_bounded() {
    let (endpoint, open) = gated("v1");
    let rig = rig(1, 1, single(&endpoint));
    let mut first = ask(&rig);
    await_that("it is full", || endpoint.count() == 1);
    let mut second = ask(&rig);
    await_that("the second waits", || rig.version("v1").in_flight == 2);
    let began = Instant::now();
    assert_eq!(rig.connect().get("/", "").unwrap().status(), 503);
    assert!(
        began.elapsed() < Duration::from_millis(900),
        "refused at once, not after {:?}",
        began.elapsed()
    );
    (0..2).for_each(|_| open.send(()).unwrap());
    for client in [&mut first, &mut second] {
        assert_eq!(client.response("GET").unwrap().status(), 200);
    }
}

#[test]
fn who_waits_and_leaves_takes_nobodys_place() {
    let (endpoint, open) = gated("v1");
    let rig = rig(1, 1, single(&endpoint));
    let mut first = ask(&rig);
    await_that("it is full", || endpoint.count() == 1);
    let impatient = ask(&rig);
    await_that("one waits", || rig.version("v1").in_flight == 2);
    drop(impatient);
    await_that("it has left", || rig.version("v1").in_flight == 1);
    let mut third = ask(&rig);
    await_that("another waits", || rig.version("v1").in_flight == 2);
    (0..2).for_each(|_| open.send(()).unwrap());
    for client in [&mut first, &mut third] {
        assert_eq!(client.response("GET").unwrap().status(), 200);
    }
    assert_eq!(rig.version("v1").aborted_by_client, 1);
}

#[test]
fn a_request_that_is_cut_off_makes_room() {
    let (endpoint, open) = gated("v1");
    let rig = rig(1, 1, single(&endpoint));
    for _ in 0..3 {
        let before = endpoint.count();
        let client = ask(&rig);
        await_that("it is there", || endpoint.count() > before);
        drop(client);
        await_that("it is gone", || rig.version("v1").in_flight == 0);
    }
    (0..4).for_each(|_| open.send(()).unwrap());
    assert_eq!(rig.connect().get("/", "").unwrap().status(), 200);
}

/// The tables that name a version come and go; the connections that nobody can use any more must go, too.
#[test]
fn connections_end_with_the_last_table_that_names_their_endpoint() {
    let (old, new) = (TestEndpoint::named("v1"), TestEndpoint::named("v2"));
    let rig = rig(4, 4, single(&old));
    let mut client = rig.connect();
    assert_eq!(client.get("/", "").unwrap().text(), "v1");
    assert_eq!(old.open(), 1);
    rig.publish(spec(vec![arm("v2", 10_000, &[new.addr])]));
    assert_eq!(client.get("/", "").unwrap().text(), "v2");
    await_that("it is closed", || old.open() == 0);
}

/// An endpoint that takes each kept connection's second request and closes: full or not, no request is sent more than twice.
#[test]
fn a_request_that_met_a_closing_connection_gets_a_fresh_one_even_where_all_wait() {
    let endpoint = TestEndpoint::start(|_, nth| match nth {
        0 => Act::Send(ok("v1")),
        _ => Act::Close,
    });
    let endpoint = Arc::new(endpoint);
    let rig = rig(2, 32, single(&endpoint));
    let clients: Vec<_> = (0..16)
        .map(|number| {
            let mut client = rig.connect();
            thread::spawn(move || {
                for at in 0..10 {
                    let path = format!("/{number}/{at}");
                    assert_eq!(client.get(&path, "").unwrap().status(), 200);
                }
            })
        })
        .collect();
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
    let v1 = rig.version("v1");
    assert_eq!((v1.status[1], v1.failures()), (160, 0));
    assert!(v1.resent > 0);
    let mut times = std::collections::BTreeMap::<_, u32>::new();
    for seen in endpoint.seen() {
        *times.entry(seen.path().to_owned()).or_default() += 1;
    }
    assert!(times.values().all(|times| *times <= 2), "{times:?}");
}
