//! Clients and endpoints that mean harm: bytes that no library would send.

use std::{
    io::{Read, Write},
    thread,
    time::{Duration, Instant},
};

use haldane_proxy::{Config, FaultCounts, Limit, Limits};

use crate::{
    endpoint::{Act, TestEndpoint, ok},
    rig::{Rig, await_that, config, single},
    wire::{Message, Wire},
};

const MIB: usize = 1024 * 1024;

/// Returns the requests but for the one that ends a test.
fn seen(endpoint: &TestEndpoint) -> Vec<Message> {
    let mut seen = endpoint.seen();
    seen.retain(|request| request.path() != "/end");
    seen
}

/// Checks that `request` is answered by the proxy itself, with `status`, and that nothing of it gets further.
fn check_refused(name: &str, request: &[u8], status: u16) {
    let endpoint = TestEndpoint::named("v1");
    let rig = Rig::with(single(&endpoint));
    let mut client = rig.connect();
    client.send(request).unwrap();
    let response = client.response("GET").unwrap_or_default();
    assert_eq!(
        (response.status(), response.is_own()),
        (status, true),
        "{name}: {}",
        response.head
    );
    if response.header("connection") == Some("close") {
        assert!(client.is_closed(), "{name}");
    }
    assert!(seen(&endpoint).is_empty(), "{name}: {:?}", seen(&endpoint));
}

#[test]
fn what_is_no_request_is_refused_in_our_name() {
    let long = format!("GET /{} HTTP/1.1\r\nhost: h\r\n\r\n", "x".repeat(65_600));
    let large = format!(
        "GET / HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n",
        "x".repeat(70_000)
    );
    let many = format!(
        "GET / HTTP/1.1\r\nhost: h\r\n{}\r\n",
        "x: y\r\n".repeat(200)
    );
    let vectors: [(&str, &[u8], u16); 17] = [
        ("no method", b" / HTTP/1.1\r\nhost: h\r\n\r\n", 400),
        ("words", b"hello there, how are you\r\n\r\n", 400),
        (
            "tls",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            400,
        ),
        ("version", b"GET / HTTP/9.9\r\nhost: h\r\n\r\n", 400),
        ("no version", b"GET /\r\n\r\n", 400),
        ("target", b"GET /\x01 HTTP/1.1\r\nhost: h\r\n\r\n", 400),
        ("two spaces", b"GET  / HTTP/1.1\r\nhost: h\r\n\r\n", 400),
        ("header name", b"GET / HTTP/1.1\r\nho st: h\r\n\r\n", 400),
        ("no colon", b"GET / HTTP/1.1\r\nhost\r\n\r\n", 400),
        (
            "fold",
            b"GET / HTTP/1.1\r\nhost: h\r\nx: a\r\n b\r\n\r\n",
            400,
        ),
        ("fold first", b"GET / HTTP/1.1\r\n host: h\r\n\r\n", 400),
        (
            "bare return",
            b"GET / HTTP/1.1\r\nhost: h\r\nx: a\rb: c\r\n\r\n",
            400,
        ),
        ("bare return ends", b"GET / HTTP/1.1\rhost: h\r\r", 400),
        ("nul", b"GET / HTTP/1.1\r\nhost: h\r\nx: \0\r\n\r\n", 400),
        ("long", long.as_bytes(), 431),
        ("large", large.as_bytes(), 431),
        ("many", many.as_bytes(), 431),
    ];
    for (name, request, status) in vectors {
        check_refused(name, request, status);
    }
}

#[test]
fn a_refusal_of_the_parser_follows_good_responses() {
    let endpoint = TestEndpoint::named("v1");
    let rig = Rig::with(single(&endpoint));
    let mut client = rig.connect();
    for _ in 0..3 {
        assert_eq!(client.get("/", "").unwrap().text(), "v1");
    }
    assert_eq!(client.post("/", "body").unwrap().text(), "v1");
    client.send("garbage\r\n\r\n").unwrap();
    let response = client.response("GET").unwrap();
    assert_eq!((response.status(), response.is_own()), (400, true));
    assert_eq!(response.header("connection"), Some("close"));
    assert!(client.is_closed());
    await_that("it is counted", || {
        rig.proxy.read().limits[&Limit::BadRequest] == 1
    });
}

#[test]
fn http_2_without_being_asked_for_is_closed_and_counted() {
    let endpoint = TestEndpoint::named("v1");
    let rig = Rig::with(single(&endpoint));
    let mut client = rig.connect();
    client
        .send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .unwrap();
    assert!(client.is_closed());
    await_that("it is counted", || {
        rig.proxy.read().limits[&Limit::BadRequest] == 1
    });
    assert_eq!(endpoint.count(), 0);
}

/// A response that looks like the parser's must pass as it is.
#[test]
fn a_400_of_the_endpoint_is_not_made_ours() {
    let endpoint = TestEndpoint::start(|request, _| {
        Act::Send(match request.path() {
            "/empty" => b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_vec(),
            _ => ok("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"),
        })
    });
    let rig = Rig::with(single(&endpoint));
    let mut client = rig.connect();
    for _ in 0..3 {
        let response = client.get("/empty", "").unwrap();
        assert_eq!((response.status(), response.is_own()), (400, false));
        let response = client.get("/body", "").unwrap();
        assert_eq!(
            response.text(),
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"
        );
    }
}

#[test]
fn bare_line_feeds_are_made_whole() {
    let endpoint = TestEndpoint::named("v1");
    let rig = Rig::with(single(&endpoint));
    let mut client = rig.connect();
    client
        .send(
            "POST /first HTTP/1.1\nhost: h\ncontent-length: 2\n\nhiGET /end HTTP/1.1\nhost: h\n\n",
        )
        .unwrap();
    for _ in 0..2 {
        assert_eq!(client.response("GET").unwrap().status(), 200);
    }
    let seen = seen(&endpoint);
    assert_eq!((seen.len(), seen[0].text().as_str()), (1, "hi"));
}

#[test]
fn options_of_everything_passes() {
    let endpoint = TestEndpoint::named("v1");
    let rig = Rig::with(single(&endpoint));
    let mut client = rig.connect();
    client
        .send("OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n")
        .unwrap();
    assert_eq!(client.response("OPTIONS").unwrap().status(), 200);
    assert!(endpoint.seen()[0].head.starts_with("OPTIONS * HTTP/1.1\n"));
}

#[test]
fn codings_other_than_chunked_are_not_served() {
    for coding in ["gzip, chunked", "identity, chunked"] {
        let request = format!(
            "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: {coding}\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
        );
        check_refused(coding, request.as_bytes(), 501);
    }
    let twice = "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    check_refused("twice", twice.as_bytes(), 501);
}

#[test]
fn requests_sent_together_are_answered_in_turn() {
    let endpoint = TestEndpoint::start(|request, _| {
        Act::Send(ok(&format!("{}{}", request.path(), request.text())))
    });
    let rig = Rig::with(single(&endpoint));
    let mut client = rig.connect();
    let chunked =
        "POST /b HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nGET\r\n0\r\n\r\n";
    let mut requests = String::new();
    for at in 0..20 {
        requests += &format!("GET /{at} HTTP/1.1\r\nhost: h\r\n\r\n{chunked}");
        requests += &format!("PUT /c{at} HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\n\r\nGET ");
    }
    client.send(requests).unwrap();
    for at in 0..20 {
        assert_eq!(client.response("GET").unwrap().text(), format!("/{at}"));
        assert_eq!(client.response("POST").unwrap().text(), "/bGET");
        assert_eq!(
            client.response("PUT").unwrap().text(),
            format!("/c{at}GET ")
        );
    }
}

#[test]
fn chunks_that_are_no_chunks_break_the_request_off() {
    let extension = format!("2;{}\r\nhi\r\n0\r\n\r\n", "x".repeat(64 * 1024));
    let extensions = "1;xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\nx\r\n".repeat(2_000) + "0\r\n\r\n";
    let trailer = format!("0\r\nx: {}\r\n\r\n", "x".repeat(64 * 1024));
    let trailers = format!("0\r\n{}\r\n", "x: y\r\n".repeat(2_000));
    for chunks in [
        "fffffffffffffffff\r\nhi",
        "-1\r\nhi\r\n0\r\n\r\n",
        "0x2\r\nhi\r\n0\r\n\r\n",
        "2\r\nhiya\r\n0\r\n\r\n",
        "x\r\n",
        "\r\n",
        extension.as_str(),
        extensions.as_str(),
        trailer.as_str(),
        trailers.as_str(),
    ] {
        let endpoint = TestEndpoint::named("v1");
        let rig = Rig::with(single(&endpoint));
        let mut client = rig.connect();
        let request =
            format!("POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
        // The proxy may close before it has it all.
        drop(client.send(request));
        let response = client.response("POST").unwrap_or_default();
        let name = &chunks[..chunks.len().min(20)];
        assert_eq!(
            (response.status(), response.is_own()),
            (400, true),
            "{name:?} {}",
            response.head
        );
        assert!(client.is_closed(), "{name:?}");
        assert_eq!(endpoint.count(), 0, "{name:?}: {:?}", endpoint.seen());
        assert_eq!(rig.version("v1").requests(), 0, "{name:?}");
    }
}

#[test]
fn trailers_and_extensions_stay_behind() {
    let endpoint = TestEndpoint::named("v1");
    let rig = Rig::with(single(&endpoint));
    let mut client = rig.connect();
    client
        .send(
            "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\ntrailer: x-user, host, content-length\r\n\r\n\
             2;a=b\r\nhi\r\n0\r\nx-user: root\r\nhost: other\r\ncontent-length: 9\r\n\r\n",
        )
        .unwrap();
    assert_eq!(client.response("POST").unwrap().status(), 200);
    // What the endpoint did not take for part of this request would come first in the next.
    assert_eq!(client.get("/next", "").unwrap().status(), 200);
    let seen = endpoint.seen();
    assert_eq!((seen.len(), seen[0].text().as_str()), (2, "hi"));
    assert!(seen[1].head.starts_with("GET /next "), "{}", seen[1].head);
    assert_eq!(seen[0].header("x-user"), None);
}

/// Sends a body while an answer comes, as curl does.
fn upload(mut client: Wire, head: &str, size: usize) -> (Message, Wire) {
    client.send(head).unwrap();
    let mut writer = client.stream.try_clone().unwrap();
    let sender = thread::spawn(move || {
        let block = [b'x'; 64 * 1024];
        for _ in 0..size / block.len() {
            if writer.write_all(&block).is_err() {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        true
    });
    let response = client.response("POST").unwrap();
    assert!(sender.join().unwrap(), "reset in the middle of the upload");
    (response, client)
}

#[test]
fn an_upload_that_is_too_large_is_told_so_while_it_comes() {
    let endpoint = TestEndpoint::named("v1");
    let rig = Rig::start(Config {
        limits: Limits {
            body_bytes_max: 1_000,
            ..Limits::default()
        },
        ..config()
    });
    rig.publish(single(&endpoint));
    let size = 8 * MIB;
    let head = format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: {size}\r\n\r\n");
    let began = Instant::now();
    let (response, mut client) = upload(rig.connect(), &head, size);
    assert_eq!((response.status(), response.is_own()), (413, true));
    assert!(
        client.is_closed(),
        "what follows would be taken for a request"
    );
    await_that("the connection is over", || {
        rig.proxy.read().connections == 0
    });
    assert!(began.elapsed() < Duration::from_secs(8));
    assert_eq!(endpoint.count(), 0);
}

#[test]
fn an_early_answer_of_the_endpoint_arrives_while_the_upload_goes_on() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut wire = Wire::new(listener.accept().unwrap().0);
        wire.head().unwrap();
        wire.send("HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno")
            .unwrap();
        // As a careful server does: what comes is read until the other side has the answer.
        drop(std::io::copy(&mut wire.stream, &mut std::io::sink()));
    });
    let rig = Rig::with(crate::rig::spec(vec![crate::rig::arm(
        "v1",
        10_000,
        &[addr],
    )]));
    let size = 8 * MIB;
    let head = format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: {size}\r\n\r\n");
    let (response, client) = upload(rig.connect(), &head, size);
    assert_eq!((response.status(), response.text().as_str()), (401, "no"));
    drop(client);
    let v1 = rig.version("v1");
    assert_eq!((v1.status[3], v1.failures()), (1, 0));
}

#[test]
fn who_expects_100_and_is_refused_is_not_told_to_continue() {
    let endpoint = TestEndpoint::named("v1");
    let rig = Rig::start(Config {
        limits: Limits {
            body_bytes_max: 1_000,
            ..Limits::default()
        },
        ..config()
    });
    rig.publish(single(&endpoint));
    for (target, length, status) in [("/", 5_000, 413), ("http://u@h/", 5, 400)] {
        let mut client = rig.connect();
        client
            .send(format!(
                "PUT {target} HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
            ))
            .unwrap();
        let head = client.head().unwrap().unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        // The body may come or not, so nothing on this connection can be told from it.
        drop(client.send("GET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n"));
        let mut rest = String::new();
        client.stream.read_to_string(&mut rest).unwrap_or_default();
        assert!(!rest.contains("HTTP/1.1"), "{rest}");
    }
    assert_eq!(endpoint.count(), 0);
}

#[test]
fn an_endpoint_that_refuses_early_is_heard_by_who_expects_100() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let mut wire = Wire::new(listener.accept().unwrap().0);
        let head = wire.head().unwrap().unwrap();
        wire.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .unwrap();
        head
    });
    let rig = Rig::with(crate::rig::spec(vec![crate::rig::arm(
        "v1",
        10_000,
        &[addr],
    )]));
    let mut client = rig.connect();
    client
        .send("PUT / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
        .unwrap();
    assert_eq!(client.response("PUT").unwrap().status(), 403);
    assert!(!server.join().unwrap().contains("expect"));
    assert_eq!(rig.version("v1").status[3], 1);
}

const POISON: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";

/// What an endpoint sends beyond a response must reach nobody.
#[test]
fn more_than_a_response_is_never_taken_for_the_next_one() {
    let endpoint = TestEndpoint::start(|request, _| {
        let head = match (request.method(), request.path()) {
            ("HEAD", _) => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            (_, "/204") => "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello",
            (_, "/304") => "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\nhello",
            (_, "/long") => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            (_, "/chunked") => {
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
            }
            _ => return Act::Send(ok("good")),
        };
        Act::Send(format!("{head}{POISON}").into_bytes())
    });
    let rig = Rig::with(single(&endpoint));
    let mut client = rig.connect();
    for _ in 0..20 {
        for (method, path) in [
            ("HEAD", "/"),
            ("GET", "/204"),
            ("GET", "/304"),
            ("GET", "/long"),
            ("GET", "/chunked"),
        ] {
            client
                .send(format!("{method} {path} HTTP/1.1\r\nhost: h\r\n\r\n"))
                .unwrap();
            let response = client.response(method).unwrap();
            assert!(response.status() < 400, "{path}: {}", response.head);
            assert!(!response.text().contains("hello"), "{path}");
            let next = client.get("/good", "").unwrap();
            assert_eq!(next.text(), "good", "after {method} {path}");
        }
    }
    assert_eq!(rig.version("v1").failures(), 0);
}

#[test]
fn answers_before_the_answer_are_skipped() {
    let endpoint = TestEndpoint::start(|_, _| {
        let mut bytes = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(500);
        bytes += "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
        let mut bytes = bytes.into_bytes();
        bytes.extend(ok("at last"));
        Act::Send(bytes)
    });
    let rig = Rig::with(single(&endpoint));
    let mut client = rig.connect();
    for _ in 0..3 {
        assert_eq!(client.get("/", "").unwrap().text(), "at last");
    }
    assert_eq!(rig.version("v1").status, [0, 3, 0, 0, 0]);
}

#[test]
fn answers_before_an_answer_that_never_comes_do_not_hold_the_request() {
    let endpoint = TestEndpoint::start(|_, _| {
        Act::Custom(Box::new(|wire| {
            while wire.send("HTTP/1.1 100 Continue\r\n\r\n").is_ok() {
                thread::sleep(Duration::from_millis(1));
            }
        }))
    });
    let mut hasty = single(&endpoint);
    hasty.timeouts.response_head = Duration::from_millis(200);
    let rig = Rig::with(hasty);
    let response = rig.connect().get("/", "").unwrap();
    assert_eq!((response.status(), response.is_own()), (504, true));
}

#[test]
fn responses_with_two_meanings_are_faults_of_the_protocol() {
    let large = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(300_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(500));
    let responses = [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!",
        "HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\rset-cookie: b\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nx : a\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 99 X\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        large.as_str(),
        many.as_str(),
    ];
    for sent in responses {
        let bytes = sent.as_bytes().to_vec();
        let endpoint = TestEndpoint::start(move |_, _| Act::SendAndClose(bytes.clone()));
        let rig = Rig::with(single(&endpoint));
        let response = rig.connect().get("/", "").unwrap_or_default();
        let name = &sent[..sent.len().min(60)];
        assert_eq!(
            (response.status(), response.is_own()),
            (502, true),
            "{name:?}"
        );
        let protocol = FaultCounts {
            protocol: 1,
            ..FaultCounts::default()
        };
        assert_eq!(rig.version("v1").faults, protocol, "{name:?}");
    }
}

#[test]
fn a_response_has_one_framing() {
    let endpoint = TestEndpoint::start(|_, _| {
        Act::Send(
            b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
                .to_vec(),
        )
    });
    let rig = Rig::with(single(&endpoint));
    let mut client = rig.connect();
    let response = client.get("/", "").unwrap();
    assert_eq!(
        (response.text().as_str(), response.header("content-length")),
        ("ok", None)
    );
    assert_eq!(client.get("/", "").unwrap().text(), "ok", "still in step");
}

#[test]
fn a_client_of_http_1_0_gets_no_chunks() {
    let endpoint = TestEndpoint::start(|_, _| {
        Act::Send(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".to_vec(),
        )
    });
    let rig = Rig::with(single(&endpoint));
    let mut client = rig.connect();
    client.send("GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    client.stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(!head.contains("transfer-encoding"), "{head}");
    assert_eq!(body, "ok");
}

#[test]
fn hundreds_of_silent_connections_harm_nobody() {
    let endpoint = TestEndpoint::named("v1");
    let rig = Rig::start(Config {
        limits: Limits {
            header_read_timeout: Duration::from_secs(1),
            ..Limits::default()
        },
        ..config()
    });
    rig.publish(single(&endpoint));
    let mut silent: Vec<_> = (0..400).map(|_| rig.connect()).collect();
    for (at, client) in silent.iter_mut().enumerate() {
        if at % 2 == 0 {
            client.send("GET / HTTP/1.1\r\nho").unwrap();
        }
    }
    let mut client = rig.connect();
    for _ in 0..100 {
        assert_eq!(client.get("/", "").unwrap().status(), 200);
    }
    await_that("all are let go", || rig.proxy.read().connections <= 1);
    assert_eq!(client.get("/", "").unwrap().status(), 200);
}
