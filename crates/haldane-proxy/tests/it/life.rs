//! Listeners, tables and the end of the proxy, under traffic.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    num::NonZeroUsize,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use haldane_proxy::{Config, Drained};

use crate::{
    endpoint::{Act, TestEndpoint, ok},
    rig::{Rig, SERVICE, arm, await_that, config, nowhere, pair, single, spec},
    wire::{PATIENCE, Wire},
};

/// Returns an endpoint that answers when told to.
fn gated() -> (TestEndpoint, mpsc::Sender<()>) {
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let endpoint = TestEndpoint::start(move |_, _| {
        gate.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        Act::Send(ok("v1"))
    });
    (endpoint, open)
}

#[test]
fn changing_weights_a_hundred_times_a_second_drops_nothing() {
    let (stable, canary) = (TestEndpoint::named("v1"), TestEndpoint::named("v2"));
    let rig = Rig::start(Config {
        threads: NonZeroUsize::new(2).unwrap(),
        ..config()
    });
    rig.publish(pair(&stable, &canary, 0));
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8_u32)
        .map(|number| {
            let (addr, is_over) = (rig.addr, Arc::clone(&is_over));
            thread::spawn(move || {
                let (mut client, mut count) = (Wire::connect(addr), 0_u64);
                while !is_over.load(SeqCst) {
                    // Half the clients come anew for each request, some send a body.
                    if number % 2 == 0 {
                        client = Wire::connect(addr);
                    }
                    let response = if number < 2 {
                        client.post("/", "body")
                    } else {
                        client.get("/", "")
                    };
                    assert_eq!(response.unwrap().status(), 200);
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut published = 0_u16;
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        rig.publish(pair(&stable, &canary, published % 101 * 100));
        published += 1;
        thread::sleep(Duration::from_millis(10));
    }
    rig.publish(pair(&stable, &canary, 0));
    rig.host.block_on(rig.proxy.settle());
    await_that("the canary is drained", || {
        rig.proxy
            .in_flight(&SERVICE.parse().unwrap(), &"v2".parse().unwrap())
            == 0
    });
    let before = canary.count();
    let goal = stable.count() + 500;
    await_that("stable goes on", || stable.count() > goal);
    assert_eq!(canary.count(), before, "weight zero means none, at once");
    is_over.store(true, SeqCst);
    let asked: u64 = clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .sum();
    assert!(published > 100, "{published}");
    let (v1, v2) = (rig.version("v1"), rig.version("v2"));
    assert_eq!(v1.status[1] + v2.status[1], asked);
    assert_eq!((v1.failures(), v2.failures()), (0, 0));
    assert!(v2.status[1] > 0);
}

#[test]
fn a_version_that_left_the_table_keeps_its_requests_until_they_end() {
    let (old, open) = gated();
    let new = TestEndpoint::named("v2");
    let rig = Rig::with(single(&old));
    let mut client = rig.connect();
    client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    await_that("the old version has the request", || old.count() == 1);

    rig.publish(spec(vec![arm("v2", 10_000, &[new.addr])]));
    rig.host.block_on(rig.proxy.settle());
    let (service, version) = (SERVICE.parse().unwrap(), "v1".parse().unwrap());
    assert_eq!(rig.proxy.in_flight(&service, &version), 1);
    assert_eq!(rig.connect().get("/", "").unwrap().text(), "v2");
    open.send(()).unwrap();
    assert_eq!(client.response("GET").unwrap().text(), "v1");
    await_that("it is drained", || {
        rig.proxy.in_flight(&service, &version) == 0
    });
    assert_eq!(
        rig.version("v1").status,
        [0, 1, 0, 0, 0],
        "the counters are still there"
    );

    assert!(
        !rig.proxy.forget(&service, &"v2".parse().unwrap()),
        "in the table"
    );
    assert!(rig.proxy.forget(&service, &version));
    assert!(!rig.proxy.read().versions.contains_key(&(service, version)));
}

#[test]
fn a_drain_answers_what_is_under_way_and_closes_what_is_idle() {
    let (endpoint, open) = gated();
    let rig = Rig::with(single(&endpoint));
    let mut idle = rig.connect();
    open.send(()).unwrap();
    assert_eq!(idle.get("/", "").unwrap().status(), 200);
    let mut busy = rig.connect();
    busy.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    await_that("the request is under way", || endpoint.count() == 2);

    let answer = thread::spawn(move || {
        assert!(idle.is_closed(), "the idle connection is closed");
        open.send(()).unwrap();
        let response = busy.response("GET").unwrap();
        assert_eq!(response.header("connection"), Some("close"));
        assert!(busy.is_closed());
    });
    let drained = rig.host.block_on(rig.proxy.drain(PATIENCE));
    answer.join().unwrap();
    assert_eq!(drained, Drained::Complete);
    assert!(
        TcpStream::connect(rig.addr).is_err(),
        "nobody listens any more"
    );
}

#[test]
fn a_drain_cuts_off_what_takes_too_long() {
    let (endpoint, _open) = gated();
    let rig = Rig::with(single(&endpoint));
    let mut busy = rig.connect();
    busy.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    await_that("the request is under way", || endpoint.count() == 1);
    let drained = rig
        .host
        .block_on(rig.proxy.drain(Duration::from_millis(200)));
    assert_eq!(drained, Drained::CutOff { connections: 1 });
    assert!(busy.is_closed());
}

#[test]
fn a_request_that_comes_while_draining_is_answered() {
    let endpoint = TestEndpoint::named("v1");
    let rig = Rig::with(single(&endpoint));
    let mut client = rig.connect();
    assert_eq!(client.get("/", "").unwrap().header("connection"), None);
    let (addr, drain) = (rig.addr, rig.proxy.drain(PATIENCE));
    let client = thread::spawn(move || {
        // The listener is closed at once, a connection only after it was idle for a while.
        await_that("nobody listens", || TcpStream::connect(addr).is_err());
        let response = client.get("/", "").unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.header("connection"), Some("close"));
    });
    assert_eq!(rig.host.block_on(drain), Drained::Complete);
    client.join().unwrap();
}

#[test]
fn listeners_come_and_go_without_touching_others() {
    let endpoint = TestEndpoint::named("v1");
    let rig = Rig::start(Config {
        threads: NonZeroUsize::new(2).unwrap(),
        ..config()
    });
    rig.publish(single(&endpoint));
    let listen = |addrs: &[SocketAddr]| rig.host.block_on(rig.proxy.listen(addrs));
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    let second = nowhere();
    let mut kept = rig.connect();
    assert_eq!(kept.get("/", "").unwrap().status(), 200);

    assert_eq!(listen(&[any, second]).unwrap(), [rig.addr, second]);
    let mut gone = Wire::connect(second);
    assert_eq!(gone.get("/", "").unwrap().status(), 200);
    // The real address names the same listener as the one asked for.
    assert_eq!(listen(&[rig.addr]).unwrap(), [rig.addr]);
    assert!(TcpStream::connect(second).is_err());
    assert!(
        gone.is_closed(),
        "idle connections of a closed listener end"
    );
    assert_eq!(kept.get("/", "").unwrap().status(), 200);
    assert_eq!(listen(&[second, rig.addr]).unwrap(), [second, rig.addr]);
    assert_eq!(Wire::connect(second).get("/", "").unwrap().status(), 200);
}

#[test]
fn an_address_that_is_taken_is_named_and_nothing_changes() {
    let endpoint = TestEndpoint::named("v1");
    let rig = Rig::with(single(&endpoint));
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let (taken, free) = (other.local_addr().unwrap(), nowhere());
    let error = rig
        .host
        .block_on(rig.proxy.listen(&[free, taken]))
        .unwrap_err();
    assert_eq!(error.addr(), taken);
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
    assert!(TcpStream::connect(free).is_err());
    assert_eq!(rig.connect().get("/", "").unwrap().status(), 200);
}

#[test]
fn a_port_of_another_proxy_is_not_shared_with_it() {
    let first = Rig::start(config());
    let second = Rig::start(config());
    let error = second
        .host
        .block_on(second.proxy.listen(&[first.addr]))
        .unwrap_err();
    assert_eq!(error.addr(), first.addr);
}

#[test]
fn the_listener_is_part_of_the_route() {
    let (a, b) = (TestEndpoint::named("a"), TestEndpoint::named("b"));
    let rig = Rig::start(config());
    let second = nowhere();
    rig.host
        .block_on(rig.proxy.listen(&[rig.addr, second]))
        .unwrap();
    let named = |name: &str, endpoint: &TestEndpoint| {
        let mut spec = single(endpoint);
        spec.name = name.parse().unwrap();
        haldane_proxy::ServiceRoute::try_new(spec).unwrap()
    };
    let route = |addr, service: &str| haldane_proxy::Route {
        listener: Some(addr),
        host: None,
        path: haldane_proxy::PathPrefix::root(),
        service: service.parse().unwrap(),
    };
    let table = haldane_proxy::Table::try_new(
        vec![route(rig.addr, "a"), route(second, "b")],
        vec![named("a", &a), named("b", &b)],
    );
    rig.proxy.publish(table.unwrap());
    assert_eq!(rig.connect().get("/", "").unwrap().text(), "a");
    assert_eq!(Wire::connect(second).get("/", "").unwrap().text(), "b");
}
