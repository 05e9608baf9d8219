//! What clients may not do.

use std::{
    thread,
    time::{Duration, Instant},
};

use haldane_proxy::{Config, Limit, Limits, ServiceSpec};

use crate::{
    endpoint::{Act, TestEndpoint, ok},
    rig::{Rig, await_that, config, single},
};

const SHORT: Duration = Duration::from_millis(150);

fn rig(endpoint: &TestEndpoint, limits: Limits) -> Rig {
    let rig = Rig::start(Config { limits, ..config() });
    rig.publish(single(endpoint));
    rig
}

fn limit(rig: &Rig, limit: Limit) -> u64 {
    rig.proxy.read().limits[&limit]
}

#[test]
fn a_head_that_takes_too_long_ends_the_connection() {
    let endpoint = TestEndpoint::named("v1");
    let rig = rig(
        &endpoint,
        Limits {
            header_read_timeout: SHORT,
            ..Limits::default()
        },
    );
    let mut silent = rig.connect();
    let mut dripping = rig.connect();
    let mut second = rig.connect();
    assert_eq!(second.get("/", "").unwrap().status(), 200);
    second.send("GET / HTTP/1.1\r\nho").unwrap();
    let began = Instant::now();
    while dripping.send("G").is_ok() && began.elapsed() < SHORT * 10 {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(silent.is_closed() && dripping.is_closed() && second.is_closed());
    // The silent one never began a head: it was merely idle.
    await_that("both heads are counted", || {
        limit(&rig, Limit::HeaderTime) == 2
    });
    assert_eq!(endpoint.count(), 1);
}

#[test]
fn a_connection_between_requests_has_the_idle_time() {
    let endpoint = TestEndpoint::named("v1");
    let limits = Limits {
        header_read_timeout: SHORT,
        idle_timeout: SHORT * 4,
        ..Limits::default()
    };
    let rig = rig(&endpoint, limits);
    let mut client = rig.connect();
    assert_eq!(client.get("/", "").unwrap().status(), 200);
    thread::sleep(SHORT * 2);
    assert_eq!(
        client.get("/", "").unwrap().status(),
        200,
        "longer than a head may take"
    );
    let idle = Instant::now();
    assert!(client.is_closed());
    assert!(idle.elapsed() >= SHORT * 3, "{:?}", idle.elapsed());
}

#[test]
fn a_slow_response_outlives_the_limits_of_the_client() {
    let endpoint = TestEndpoint::start(|_, _| {
        thread::sleep(SHORT * 3);
        Act::Send(ok("late"))
    });
    let limits = Limits {
        header_read_timeout: SHORT,
        idle_timeout: SHORT,
        ..Limits::default()
    };
    let rig = rig(&endpoint, limits);
    assert_eq!(rig.connect().get("/", "").unwrap().text(), "late");
}

#[test]
fn a_service_may_allow_less_than_the_proxy() {
    let endpoint = TestEndpoint::named("v1");
    let rig = rig(&endpoint, Limits::default());
    rig.publish(ServiceSpec {
        body_bytes_max: 8,
        ..single(&endpoint)
    });
    let mut client = rig.connect();
    assert_eq!(client.post("/", "12345678").unwrap().status(), 200);
    assert_eq!(client.post("/", "123456789").unwrap().status(), 413);
    assert_eq!(endpoint.count(), 1);
}

#[test]
fn a_body_that_is_too_large_is_413() {
    let endpoint = TestEndpoint::named("v1");
    let rig = rig(
        &endpoint,
        Limits {
            body_bytes_max: 8,
            ..Limits::default()
        },
    );
    let mut client = rig.connect();
    assert_eq!(client.post("/", "12345678").unwrap().status(), 200);
    let response = client.post("/", "123456789").unwrap();
    assert_eq!((response.status(), response.is_own()), (413, true));
    assert_eq!(
        endpoint.count(),
        1,
        "its length says it, so it is not even sent"
    );

    let mut client = rig.connect();
    client
        .send("POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n9\r\n123456789\r\n")
        .unwrap();
    let response = client.response("POST").unwrap();
    assert_eq!((response.status(), response.is_own()), (413, true));
    let v1 = rig.version("v1");
    assert_eq!(
        (v1.requests(), v1.aborted_by_client),
        (1, 1),
        "it says nothing about the version"
    );
    assert_eq!(limit(&rig, Limit::BodySize), 2);
}

#[test]
fn a_body_that_stalls_is_408() {
    let endpoint = TestEndpoint::named("v1");
    let rig = Rig::start(config());
    let mut spec = single(&endpoint);
    spec.timeouts.body_idle = SHORT;
    rig.publish(spec);
    let mut client = rig.connect();
    client
        .send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n1234")
        .unwrap();
    let response = client.response("POST").unwrap();
    assert_eq!((response.status(), response.is_own()), (408, true));
    assert_eq!(limit(&rig, Limit::BodyTime), 1);
    assert_eq!(rig.version("v1").requests(), 0);
}

#[test]
fn a_slow_upload_is_not_the_endpoints_fault() {
    let endpoint = TestEndpoint::named("v1");
    let mut spec = single(&endpoint);
    spec.timeouts.response_head = SHORT;
    let rig = Rig::with(spec);
    let mut client = rig.connect();
    client
        .send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\n\r\n")
        .unwrap();
    for byte in ["a", "b", "c", "d"] {
        thread::sleep(SHORT * 2);
        client.send(byte).unwrap();
    }
    assert_eq!(client.response("POST").unwrap().status(), 200);
}

#[test]
fn a_client_that_does_not_read_is_let_go() {
    let endpoint = TestEndpoint::start(|_, _| {
        Act::Custom(Box::new(|wire| {
            let size = 64 * 1024 * 1024;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
            drop(wire.send(head).and_then(|()| wire.send(vec![b'x'; size])));
        }))
    });
    let rig = rig(
        &endpoint,
        Limits {
            write_timeout: SHORT,
            ..Limits::default()
        },
    );
    let mut client = rig.connect();
    client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    await_that("it is let go", || limit(&rig, Limit::WriteTime) == 1);
    await_that("the abort is counted", || {
        rig.version("v1").aborted_by_client == 1
    });
    assert_eq!(rig.version("v1").requests(), 0);
}

#[test]
fn a_head_that_is_too_large_is_431() {
    let endpoint = TestEndpoint::named("v1");
    let rig = rig(
        &endpoint,
        Limits {
            header_bytes_max: 16 * 1024,
            ..Limits::default()
        },
    );
    let mut client = rig.connect();
    let large = format!("x-large: {}\r\n", "x".repeat(12 * 1024));
    assert_eq!(client.get("/", &large).unwrap().status(), 200);
    let larger = format!("x-large: {}\r\n", "x".repeat(17 * 1024));
    assert_eq!(client.get("/", &larger).unwrap().status(), 431);
    let many = "x: y\r\n".repeat(200);
    assert_eq!(rig.connect().get("/", &many).unwrap().status(), 431);
    await_that("both are counted", || limit(&rig, Limit::HeaderSize) == 2);
    assert_eq!(endpoint.count(), 1);
}

#[test]
fn connections_above_the_cap_are_closed() {
    let endpoint = TestEndpoint::named("v1");
    let rig = rig(
        &endpoint,
        Limits {
            connections_max: 2,
            ..Limits::default()
        },
    );
    let mut clients = [rig.connect(), rig.connect()];
    for client in &mut clients {
        assert_eq!(client.get("/", "").unwrap().status(), 200);
    }
    assert!(rig.connect().is_closed());
    assert_eq!(limit(&rig, Limit::Connections), 1);
    drop(clients);
    await_that("the places are free", || rig.proxy.read().connections == 0);
    assert_eq!(rig.connect().get("/", "").unwrap().status(), 200);
}
