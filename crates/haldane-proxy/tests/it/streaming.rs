//! Bodies pass as they come, in both directions.

use std::{
    io::{Read, Write},
    net::Shutdown,
    sync::mpsc,
};

use crate::{
    endpoint::{Act, TestEndpoint, ok},
    rig::{Rig, await_that, single},
    wire::PATIENCE,
};

const MIB: usize = 1024 * 1024;

fn echo() -> TestEndpoint {
    TestEndpoint::start(|request, _| {
        let mut response = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
            request.body.len()
        )
        .into_bytes();
        response.extend(&request.body);
        Act::Send(response)
    })
}

#[test]
fn large_bodies_come_back_unchanged() {
    let endpoint = echo();
    let rig = Rig::with(single(&endpoint));
    let body: Vec<u8> = (0..=250).cycle().take(8 * MIB).collect();
    let mut client = rig.connect();
    let mut writer = client.stream.try_clone().unwrap();
    let sent = body.clone();
    let sender = std::thread::spawn(move || {
        let head = format!(
            "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n",
            sent.len()
        );
        writer.write_all(head.as_bytes()).unwrap();
        writer.write_all(&sent).unwrap();
    });
    let response = client.response("POST").unwrap();
    sender.join().unwrap();
    assert!(response.body == body, "the body has changed");
    assert_eq!(endpoint.seen()[0].header("content-length"), Some("8388608"));
}

#[test]
fn chunks_of_a_response_arrive_before_it_ends() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(Some(wait));
    let endpoint = TestEndpoint::start(move |_, _| {
        let wait = wait.lock().unwrap().take().unwrap();
        Act::Custom(Box::new(move |wire| {
            wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
                .unwrap();
            wait.recv_timeout(PATIENCE).unwrap();
            wire.send("6\r\nsecond\r\n0\r\n\r\n").unwrap();
        }))
    });
    let rig = Rig::with(single(&endpoint));
    let mut client = rig.connect();
    client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    assert!(
        client
            .head()
            .unwrap()
            .unwrap()
            .contains("transfer-encoding: chunked")
    );
    assert_eq!(client.chunk().unwrap().unwrap(), b"first");
    assert_eq!(
        rig.version("v1").in_flight,
        1,
        "the version has the request until its last byte"
    );
    go.send(()).unwrap();
    assert_eq!(client.chunk().unwrap().unwrap(), b"second");
    assert!(client.chunk().unwrap().is_none());
    await_that("the request has ended", || rig.version("v1").in_flight == 0);
    assert_eq!(rig.version("v1").status, [0, 1, 0, 0, 0]);
}

#[test]
fn chunks_of_a_request_arrive_before_it_ends() {
    let (tx, rx) = mpsc::channel::<String>();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut wire = crate::wire::Wire::new(listener.accept().unwrap().0);
        tx.send(wire.head().unwrap().unwrap()).unwrap();
        while let Some(chunk) = wire.chunk().unwrap() {
            tx.send(String::from_utf8(chunk).unwrap()).unwrap();
        }
        wire.send(ok("done")).unwrap();
    });
    let rig = Rig::with(crate::rig::spec(vec![crate::rig::arm(
        "v1",
        10_000,
        &[addr],
    )]));
    let mut client = rig.connect();
    // A GET, whose body hyper leaves out unless told otherwise.
    client
        .send("GET / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        .unwrap();
    assert!(
        rx.recv_timeout(PATIENCE)
            .unwrap()
            .contains("transfer-encoding: chunked")
    );
    assert_eq!(rx.recv_timeout(PATIENCE).unwrap(), "one");
    client.send("3\r\ntwo\r\n0\r\n\r\n").unwrap();
    assert_eq!(rx.recv_timeout(PATIENCE).unwrap(), "two");
    assert_eq!(client.response("GET").unwrap().text(), "done");
}

#[test]
fn a_client_that_expects_100_is_told_to_continue() {
    let endpoint = echo();
    let rig = Rig::with(single(&endpoint));
    let mut client = rig.connect();
    client
        .send("PUT / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        .unwrap();
    assert_eq!(client.head().unwrap().unwrap(), "HTTP/1.1 100 Continue");
    client.send("hi").unwrap();
    assert_eq!(client.response("PUT").unwrap().text(), "hi");
}

#[test]
fn head_204_and_304_keep_the_connection() {
    let endpoint = TestEndpoint::start(|request, _| {
        Act::Send(match (request.method(), request.path()) {
            ("HEAD", _) => b"HTTP/1.1 200 OK\r\ncontent-length: 12345\r\n\r\n".to_vec(),
            (_, "/204") => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            (_, "/304") => b"HTTP/1.1 304 Not Modified\r\ncontent-length: 12345\r\n\r\n".to_vec(),
            _ => ok("end"),
        })
    });
    let rig = Rig::with(single(&endpoint));
    let mut client = rig.connect();
    client.send("HEAD / HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    let head = client.response("HEAD").unwrap();
    assert_eq!(
        (head.status(), head.header("content-length")),
        (200, Some("12345"))
    );
    assert_eq!(client.get("/204", "").unwrap().status(), 204);
    assert_eq!(client.get("/304", "").unwrap().status(), 304);
    assert_eq!(client.get("/", "").unwrap().text(), "end");
    assert_eq!(rig.version("v1").status, [0, 3, 1, 0, 0]);
}

#[test]
fn a_response_without_length_ends_with_its_connection() {
    let endpoint = TestEndpoint::start(|_, _| {
        Act::SendAndClose(b"HTTP/1.0 200 OK\r\n\r\nall until the end".to_vec())
    });
    let rig = Rig::with(single(&endpoint));
    let mut client = rig.connect();
    for _ in 0..2 {
        let response = client.get("/", "").unwrap();
        assert_eq!(response.text(), "all until the end");
        assert!(
            response.head.starts_with("HTTP/1.1 200"),
            "{}",
            response.head
        );
    }
}

#[test]
fn a_client_that_leaves_is_no_fault_of_the_version() {
    let (tx, closed) = mpsc::channel::<usize>();
    let endpoint = TestEndpoint::start(move |_, _| {
        let tx = tx.clone();
        Act::Custom(Box::new(move |wire| {
            tx.send(1).unwrap();
            let mut byte = [0];
            tx.send(wire.stream.read(&mut byte).unwrap_or(0)).unwrap();
        }))
    });
    let rig = Rig::with(single(&endpoint));
    let mut client = rig.connect();
    client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    assert_eq!(
        closed.recv_timeout(PATIENCE),
        Ok(1),
        "the request has arrived"
    );
    client.stream.shutdown(Shutdown::Both).unwrap();
    assert_eq!(
        closed.recv_timeout(PATIENCE),
        Ok(0),
        "the connection to the endpoint is closed"
    );
    await_that("the abort is counted", || {
        rig.version("v1").aborted_by_client == 1
    });
    let v1 = rig.version("v1");
    assert_eq!((v1.requests(), v1.in_flight), (0, 0));
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_response_is_no_fault_either() {
    let endpoint = TestEndpoint::start(|_, _| {
        Act::Custom(Box::new(|wire| {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 64 * MIB);
            // Fails when the proxy closes, which is the point.
            drop(
                wire.send(head)
                    .and_then(|()| wire.send(vec![b'x'; 64 * MIB])),
            );
        }))
    });
    let rig = Rig::with(single(&endpoint));
    let mut client = rig.connect();
    client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    client.head().unwrap();
    drop(client);
    await_that("the abort is counted", || {
        rig.version("v1").aborted_by_client == 1
    });
    assert_eq!(rig.version("v1").requests(), 0);
}

#[test]
fn a_client_that_breaks_its_upload_off_is_no_fault_of_the_version() {
    let endpoint = echo();
    let rig = Rig::with(single(&endpoint));
    let mut client = rig.connect();
    client
        .send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 100\r\n\r\nonly this")
        .unwrap();
    await_that("the version has the request", || {
        rig.version("v1").in_flight == 1
    });
    drop(client);
    await_that("the abort is counted", || {
        rig.version("v1").aborted_by_client == 1
    });
    assert_eq!(rig.version("v1").requests(), 0);
}
