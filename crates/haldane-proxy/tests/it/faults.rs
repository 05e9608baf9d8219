//! What endpoints do wrong, and what the client and the counters see of it.

use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use haldane_proxy::FaultCounts;

use crate::{
    endpoint::{Act, TestEndpoint, ok, status},
    rig::{Rig, arm, await_that, nowhere, pair, single, spec},
};

const NONE: FaultCounts = FaultCounts {
    connect: 0,
    reset: 0,
    timeout: 0,
    body: 0,
    protocol: 0,
    saturated: 0,
};

#[test]
fn a_5xx_of_the_endpoint_is_told_from_our_own() {
    let endpoint = TestEndpoint::start(|request, _| match request.path() {
        "/500" => Act::Send(status(500, "mine")),
        "/502" => Act::Send(status(502, "mine")),
        _ => Act::Close,
    });
    let rig = Rig::with(single(&endpoint));
    let mut client = rig.connect();
    for path in ["/500", "/502"] {
        let response = client.get(path, "").unwrap();
        assert!(
            !response.is_own() && response.text() == "mine",
            "{}",
            response.head
        );
    }
    let response = client.post("/", "x").unwrap();
    assert_eq!((response.status(), response.is_own()), (502, true));
    assert_eq!(
        response.header("proxy-status"),
        Some("haldane; error=connection_terminated")
    );
    let v1 = rig.version("v1");
    assert_eq!(
        (v1.status, v1.faults),
        ([0, 0, 0, 0, 2], FaultCounts { reset: 1, ..NONE })
    );
    assert_eq!((v1.requests(), v1.failures()), (3, 3));
}

#[test]
fn a_refused_connection_is_502_and_counted_as_such() {
    let rig = Rig::with(spec(vec![arm("v1", 10_000, &[nowhere()])]));
    let response = rig.connect().get("/", "").unwrap();
    assert_eq!((response.status(), response.is_own()), (502, true));
    assert_eq!(
        response.header("proxy-status"),
        Some("haldane; error=connection_refused")
    );
    assert_eq!(rig.version("v1").faults, FaultCounts { connect: 1, ..NONE });
}

#[test]
fn a_service_without_endpoints_is_503() {
    let rig = Rig::with(spec(vec![arm("v1", 10_000, &[])]));
    let response = rig.connect().get("/", "").unwrap();
    assert_eq!((response.status(), response.is_own()), (503, true));
    assert_eq!(
        (rig.version("v1").unavailable, rig.version("v1").requests()),
        (1, 0)
    );
}

#[test]
fn an_endpoint_that_does_not_answer_is_504() {
    let endpoint = TestEndpoint::start(|_, _| {
        Act::Custom(Box::new(|wire| {
            assert!(wire.is_closed(), "the proxy gives the connection up")
        }))
    });
    let mut hasty = single(&endpoint);
    hasty.timeouts.response_head = Duration::from_millis(100);
    let rig = Rig::with(hasty);
    let mut client = rig.connect();
    for has_body in [false, true] {
        let response = if has_body {
            client.post("/", "body")
        } else {
            client.get("/", "")
        };
        let response = response.unwrap();
        assert_eq!((response.status(), response.is_own()), (504, true));
    }
    let v1 = rig.version("v1");
    assert_eq!(v1.faults, FaultCounts { timeout: 2, ..NONE });
    assert_eq!(v1.latency.count(), 2, "a version that hangs is slow");
}

#[test]
fn a_response_that_breaks_off_breaks_off_for_the_client() {
    let endpoint = TestEndpoint::start(|request, _| match request.path() {
        "/length" => {
            Act::SendAndClose(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_vec())
        }
        _ => Act::SendAndClose(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n".to_vec(),
        ),
    });
    let rig = Rig::with(single(&endpoint));
    for path in ["/length", "/chunked"] {
        assert!(rig.connect().get(path, "").is_err(), "{path}");
    }
    await_that("both are counted", || rig.version("v1").faults.body == 2);
    assert_eq!(rig.version("v1").requests(), 2);
}

#[test]
fn a_response_that_stalls_is_cut_off() {
    let endpoint = TestEndpoint::start(|_, _| {
        Act::Custom(Box::new(|wire| {
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
                .unwrap();
            assert!(wire.is_closed(), "the proxy gives the connection up");
        }))
    });
    let mut hasty = single(&endpoint);
    hasty.timeouts.body_idle = Duration::from_millis(100);
    let rig = Rig::with(hasty);
    assert!(rig.connect().get("/", "").is_err());
    assert_eq!(rig.version("v1").faults, FaultCounts { body: 1, ..NONE });
}

#[test]
fn what_is_no_http_is_a_fault_of_the_protocol() {
    let endpoint = TestEndpoint::start(|request, _| match request.path() {
        "/101" => Act::SendAndClose(
            b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".to_vec(),
        ),
        _ => Act::SendAndClose(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()),
    });
    let rig = Rig::with(single(&endpoint));
    let mut client = rig.connect();
    for path in ["/ssh", "/101"] {
        let response = client.get(path, "").unwrap();
        assert_eq!(
            (response.status(), response.is_own()),
            (502, true),
            "{path}"
        );
    }
    assert_eq!(
        rig.version("v1").faults,
        FaultCounts {
            protocol: 2,
            ..NONE
        }
    );
}

/// Data-plane rule 3.6: a server that closes kept connections without notice is not a failing version.
#[test]
fn endpoints_that_close_kept_connections_cause_no_errors() {
    let endpoint = TestEndpoint::start(|_, nth| match nth {
        0..3 => Act::Send(ok("v1")),
        _ => Act::SendAndClose(ok("v1")),
    });
    let rig = Rig::with(single(&endpoint));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let mut client = rig.connect();
            thread::spawn(move || {
                (0..500).for_each(|_| assert_eq!(client.get("/", "").unwrap().status(), 200));
            })
        })
        .collect();
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
    let v1 = rig.version("v1");
    assert_eq!((v1.status, v1.faults), ([0, 4_000, 0, 0, 0], NONE));
}

/// Like the above, but the endpoint closes *instead of* answering, which only a request sent again survives.
#[test]
fn a_kept_connection_that_closes_on_a_request_is_replaced() {
    let endpoint = TestEndpoint::start(|_, nth| match nth {
        0 => Act::Send(ok("v1")),
        _ => Act::Close,
    });
    let rig = Rig::with(single(&endpoint));
    let mut client = rig.connect();
    for _ in 0..20 {
        assert_eq!(client.get("/", "").unwrap().status(), 200);
    }
    let v1 = rig.version("v1");
    assert_eq!((v1.status[1], v1.faults, v1.resent), (20, NONE, 19));
}

#[test]
fn a_post_is_never_sent_twice() {
    let endpoint = TestEndpoint::start(|_, nth| match nth {
        0 => Act::Send(ok("v1")),
        _ => Act::Close,
    });
    let other = TestEndpoint::named("other");
    let rig = Rig::with(single(&endpoint));
    let mut client = rig.connect();
    assert_eq!(client.get("/", "").unwrap().status(), 200);
    // On the kept connection, which closes after it has the whole request.
    let response = client.post("/pay", "once").unwrap();
    assert_eq!((response.status(), response.is_own()), (502, true));
    let posts = endpoint
        .seen()
        .iter()
        .filter(|seen| seen.method() == "POST")
        .count();
    assert_eq!(posts, 1);

    // On a fresh connection, with other endpoints and a stable version to turn to.
    let dead = TestEndpoint::start(|_, _| Act::Close);
    rig.publish(spec(vec![
        arm("v1", 0, &[other.addr]),
        arm("v2", 10_000, &[dead.addr, dead.addr]),
    ]));
    assert_eq!(client.post("/pay", "once").unwrap().status(), 502);
    assert_eq!((dead.count(), other.count()), (1, 0));

    // Without a body it is no less a POST.
    assert_eq!(client.post("/pay", "").unwrap().status(), 502);
    assert_eq!((dead.count(), other.count()), (2, 0));

    // A body makes even a PUT unrepeatable; without body it is repeatable.
    client
        .send("PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\nx")
        .unwrap();
    assert_eq!(client.response("PUT").unwrap().status(), 502);
    assert_eq!((dead.count(), other.count()), (3, 0));
    client
        .send("PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n")
        .unwrap();
    assert_eq!(
        client.response("PUT").unwrap().status(),
        200,
        "repeated once, at stable"
    );
    assert_eq!((dead.count(), other.count()), (4, 1));
}

#[test]
fn a_post_goes_elsewhere_when_nothing_was_sent() {
    let stable = TestEndpoint::named("v1");
    let rig = Rig::with(spec(vec![
        arm("v1", 0, &[stable.addr]),
        arm("v2", 10_000, &[nowhere()]),
    ]));
    let response = rig.connect().post("/", "body").unwrap();
    assert_eq!((response.status(), response.text().as_str()), (200, "v1"));
    assert_eq!(stable.seen()[0].text(), "body");
    assert_eq!(rig.version("v2").faults, FaultCounts { connect: 1, ..NONE });
    assert_eq!(rig.version("v1").status, [0, 1, 0, 0, 0]);
}

#[test]
fn a_get_that_was_reset_goes_to_another_endpoint_once() {
    let stable = TestEndpoint::named("v1");
    let bad = TestEndpoint::start(|_, _| Act::Close);
    let rig = Rig::with(pair(&stable, &bad, 10_000));
    let response = rig.connect().get("/", "").unwrap();
    assert_eq!((response.status(), response.text().as_str()), (200, "v1"));
    assert_eq!(rig.version("v2").faults, FaultCounts { reset: 1, ..NONE });

    rig.publish(spec(vec![arm(
        "v1",
        10_000,
        &[bad.addr, bad.addr, bad.addr],
    )]));
    let before = bad.count();
    assert_eq!(rig.connect().get("/", "").unwrap().status(), 502);
    assert_eq!(bad.count() - before, 2);
}

/// What spares the client must not spare the canary: each break is a failure that the judge sees, at the version that broke.
#[test]
fn a_get_that_the_canary_resets_goes_to_stable_and_counts_against_the_canary() {
    let stable = TestEndpoint::named("v1");
    let replicas = [(); 2].map(|()| TestEndpoint::start(|_, _| Act::Close));
    let addrs = replicas.each_ref().map(|replica| replica.addr);
    let rig = Rig::with(spec(vec![
        arm("v1", 0, &[stable.addr]),
        arm("v2", 10_000, &addrs),
    ]));
    let mut client = rig.connect();
    for sent in 1..=10 {
        let response = client.get("/", "").unwrap();
        assert_eq!((response.status(), response.text().as_str()), (200, "v1"));
        // The other replica is not asked: it would break as well.
        let asked: usize = replicas.iter().map(TestEndpoint::count).sum();
        assert_eq!((asked, stable.count()), (sent, sent));
    }
    let (v1, v2) = (rig.version("v1"), rig.version("v2"));
    assert_eq!(
        (v2.requests(), v2.failures(), v2.faults.reset),
        (10, 10, 10)
    );
    assert_eq!(v2.resent, 0, "a fresh connection is no stale one");
    assert_eq!((v1.requests(), v1.failures()), (10, 0));

    // Stable breaks it, too: that is the end, and each has its own failure.
    stable.kill();
    let broken = TestEndpoint::start(|_, _| Act::Close);
    rig.publish(spec(vec![
        arm("v1", 0, &[broken.addr, broken.addr]),
        arm("v2", 10_000, &addrs),
    ]));
    assert_eq!(client.get("/", "").unwrap().status(), 502);
    assert_eq!((broken.count(), rig.version("v1").faults.reset), (1, 1));
    assert_eq!(rig.version("v2").faults.reset, 11);
}

#[test]
fn traffic_never_moves_from_stable_to_the_canary() {
    let canary = TestEndpoint::named("v2");
    let rig = Rig::with(spec(vec![
        arm("v1", 10_000, &[nowhere()]),
        arm("v2", 0, &[canary.addr]),
    ]));
    assert_eq!(rig.connect().get("/", "").unwrap().status(), 502);
    rig.publish(spec(vec![
        arm("v1", 10_000, &[]),
        arm("v2", 0, &[canary.addr]),
    ]));
    assert_eq!(rig.connect().get("/", "").unwrap().status(), 503);
    assert_eq!(canary.count(), 0);
}

#[test]
fn an_endpoint_marked_unhealthy_is_left_at_once() {
    let (stable, canary) = (TestEndpoint::named("v1"), TestEndpoint::named("v2"));
    let spec = pair(&stable, &canary, 10_000);
    let endpoint = spec.arms[1].endpoints[0].clone();
    let rig = Rig::with(spec);
    let mut client = rig.connect();
    assert_eq!(client.get("/", "").unwrap().text(), "v2");
    endpoint.set_healthy(false);
    assert_eq!(client.get("/", "").unwrap().text(), "v1");
    assert_eq!(rig.version("v2").unavailable, 1);
    endpoint.set_healthy(true);
    assert_eq!(client.get("/", "").unwrap().text(), "v2");
}

/// X7: a backend dies at peak. No client notices; what failed is counted against the version that died.
#[test]
fn a_canary_that_dies_under_load_fails_no_client() {
    let (stable, canary) = (TestEndpoint::named("v1"), TestEndpoint::named("v2"));
    let rig = Rig::with(pair(&stable, &canary, 5_000));
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (mut client, is_over) = (rig.connect(), Arc::clone(&is_over));
            thread::spawn(move || {
                let mut count = 0_u64;
                while !is_over.load(SeqCst) {
                    let response = client.get("/", "").unwrap();
                    assert_eq!(response.status(), 200, "{}", response.head);
                    count += 1;
                }
                count
            })
        })
        .collect();
    await_that("the canary has traffic", || canary.count() > 200);
    canary.kill();
    let dead_at = stable.count();
    await_that("stable has it all", || stable.count() > dead_at + 2_000);
    is_over.store(true, SeqCst);
    let asked: u64 = clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .sum();
    let (v1, v2) = (rig.version("v1"), rig.version("v2"));
    assert_eq!((v1.failures(), v1.in_flight, v2.in_flight), (0, 0, 0));
    assert!(v2.faults.connect > 0, "{v2:?}");
    assert!(
        v2.unavailable > 100,
        "a dead endpoint is not asked for each request: {v2:?}"
    );
    assert_eq!(v1.status[1] + v2.status[1], asked);
}

#[test]
fn one_of_two_endpoints_that_dies_under_load_fails_no_client() {
    let endpoints = [TestEndpoint::named("a"), TestEndpoint::named("b")];
    let rig = Rig::with(spec(vec![arm(
        "v1",
        10_000,
        &endpoints.each_ref().map(|e| e.addr),
    )]));
    let mut client = rig.connect();
    for at in 0..1_000 {
        if at == 500 {
            endpoints[0].kill();
        }
        assert_eq!(client.get("/", "").unwrap().status(), 200);
    }
    assert!(endpoints[1].count() >= 500 + 150);
}

#[test]
fn an_endpoint_that_comes_back_is_used_again() {
    let stable = TestEndpoint::named("v1");
    let addr = nowhere();
    let rig = Rig::with(spec(vec![
        arm("v1", 0, &[stable.addr]),
        arm("v2", 10_000, &[addr]),
    ]));
    let mut client = rig.connect();
    assert_eq!(client.get("/", "").unwrap().text(), "v1");
    let _canary = TestEndpoint::start_at(addr, |_, _| Act::Send(ok("v2")));
    let since = Instant::now();
    while client.get("/", "").unwrap().text() != "v2" {
        assert!(since.elapsed() < Duration::from_secs(5), "still suspect");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_connection_that_is_not_accepted_is_given_up_in_time() {
    // A full queue: the kernel drops further attempts, as a dead host does.
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener
        .bind(
            &"127.0.0.1:0"
                .parse::<std::net::SocketAddr>()
                .unwrap()
                .into(),
        )
        .unwrap();
    listener.listen(0).unwrap();
    let listener = TcpListener::from(listener);
    let addr = listener.local_addr().unwrap();
    let filler: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(move || {
                std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(300))
            })
        })
        .collect();
    let _filled: Vec<_> = filler
        .into_iter()
        .map(|filler| filler.join().unwrap())
        .collect();
    let stable = TestEndpoint::named("v1");
    let mut hasty = spec(vec![
        arm("v1", 0, &[stable.addr]),
        arm("v2", 10_000, &[addr]),
    ]);
    hasty.timeouts.connect = Duration::from_millis(100);
    let rig = Rig::with(hasty);
    assert_eq!(rig.connect().get("/", "").unwrap().text(), "v1");
    assert_eq!(rig.version("v2").faults, FaultCounts { connect: 1, ..NONE });
}

#[test]
fn connections_to_endpoints_are_kept_and_used_by_one_request_at_a_time() {
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (of_open, of_most) = (Arc::clone(&open), Arc::clone(&most));
    let endpoint = TestEndpoint::start(move |request, nth| {
        if nth == 0 {
            of_most.fetch_max(of_open.fetch_add(1, SeqCst) + 1, SeqCst);
        }
        Act::Send(ok(request.path()))
    });
    let rig = Rig::with(single(&endpoint));
    let clients: Vec<_> = (0..4)
        .map(|number| {
            let mut client = rig.connect();
            thread::spawn(move || {
                for at in 0..250 {
                    let path = format!("/{number}/{at}");
                    assert_eq!(client.get(&path, "").unwrap().text(), path);
                }
            })
        })
        .collect();
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
    assert!(
        most.load(SeqCst) <= 4,
        "{} connections for 4 clients",
        most.load(SeqCst)
    );
}
