//! Requests that mean two things at once: refused, or forwarded with one meaning (data-plane rule 3.7).

use crate::{
    endpoint::TestEndpoint,
    rig::{Rig, arm, single, spec},
    wire::Message,
};

/// What becomes of a request.
enum Expected {
    /// Refused with this status, and the connection closed or in step.
    Status(u16),
    /// Forwarded once, with this body.
    Once(&'static str),
}
use Expected::{Once, Status};

/// Sends `request` and then a good one; returns the statuses, and what the endpoint saw.
fn exchange(request: &str) -> (Vec<u16>, Vec<Message>) {
    let endpoint = TestEndpoint::named("v1");
    let rig = Rig::with(single(&endpoint));
    let mut client = rig.connect();
    client.send(request.replace('\n', "\r\n")).unwrap();
    let mut statuses = Vec::new();
    while let Ok(response) = client.response("GET") {
        statuses.push(response.status());
        if response.header("connection") == Some("close") {
            break;
        }
        // What was smuggled would be answered before this.
        if client
            .send("GET /end HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
            .is_err()
        {
            break;
        }
    }
    (statuses, endpoint.seen())
}

fn check(name: &str, request: &str, expected: &Expected) {
    let (statuses, seen) = exchange(request);
    let paths: Vec<_> = seen
        .iter()
        .map(Message::path)
        .filter(|path| *path != "/end")
        .collect();
    match expected {
        Status(status) => {
            assert_eq!(statuses.first(), Some(status), "{name}");
            assert!(paths.is_empty(), "{name}: forwarded {seen:?}");
        }
        Once(body) => {
            assert_eq!(statuses.first(), Some(&200), "{name}");
            assert_eq!(paths, ["/first"], "{name}");
            assert_eq!(seen[0].text(), *body, "{name}");
            let framings =
                seen[0].all("content-length").len() + seen[0].all("transfer-encoding").len();
            assert_eq!(
                framings,
                usize::from(!body.is_empty()),
                "{name}: {}",
                seen[0].head
            );
        }
    }
}

fn check_all(vectors: &[(&str, &str, Expected)]) {
    for (name, request, expected) in vectors {
        check(name, request, expected);
    }
}

#[test]
fn a_request_without_one_host_is_refused() {
    check_all(&[
        (
            "two",
            "GET /first HTTP/1.1\nhost: h\nhost: g\n\n",
            Status(400),
        ),
        ("none", "GET /first HTTP/1.1\n\n", Status(400)),
        ("bad", "GET /first HTTP/1.1\nhost: h/x\n\n", Status(400)),
        ("none in 1.0", "GET /first HTTP/1.0\n\n", Once("")),
    ]);
}

#[test]
fn a_target_of_a_forward_proxy_is_refused() {
    check_all(&[
        (
            "connect",
            "CONNECT h:443 HTTP/1.1\nhost: h:443\n\n",
            Status(405),
        ),
        ("authority", "GET h:443 HTTP/1.1\nhost: h\n\n", Status(400)),
        (
            "absolute",
            "GET http://h/first HTTP/1.1\nhost: other\n\n",
            Once(""),
        ),
    ]);
}

#[test]
fn a_body_has_one_framing() {
    let chunks = "\n2\nhi\n0\n\nGET /smuggled HTTP/1.1\nhost: h\n\n";
    for (name, framing) in [
        (
            "length first",
            "content-length: 5\ntransfer-encoding: chunked\n",
        ),
        (
            "chunked first",
            "transfer-encoding: chunked\ncontent-length: 5\n",
        ),
    ] {
        let request = format!("POST /first HTTP/1.1\nhost: h\n{framing}{chunks}");
        check(name, &request, &Once("hi"));
    }
    for (framing, expected) in [
        ("content-length: 2\ncontent-length: 2\n\nhi", Once("hi")),
        ("content-length: 2\ncontent-length: 3\n\nhi", Status(400)),
        ("content-length: 2, 3\n\nhi", Status(400)),
        ("content-length: +2\n\nhi", Status(400)),
        ("content-length: 0x2\n\nhi", Status(400)),
        ("content-length : 2\n\nhi", Status(400)),
        ("transfer-encoding: xchunked\n\n0\n\n", Status(400)),
        ("transfer-encoding: chunked, identity\n\n0\n\n", Status(400)),
        ("x: a\n b\n\n", Status(400)),
        ("x: a\0b\n\n", Status(400)),
    ] {
        check(
            framing,
            &format!("POST /first HTTP/1.1\nhost: h\n{framing}"),
            &expected,
        );
    }
    let chunked_in_10 = "POST /first HTTP/1.0\nhost: h\ntransfer-encoding: chunked\n\n0\n\n";
    check("chunked in 1.0", chunked_in_10, &Status(400));
}

#[test]
fn an_upgrade_is_not_passed_on() {
    let request = "GET /first HTTP/1.1\nhost: h\nconnection: upgrade\nupgrade: websocket\n\n";
    check("upgrade", request, &Once(""));
}

/// Returns what the endpoint sees of a request with these headers.
fn seen_of(head: &str) -> Message {
    let endpoint = TestEndpoint::named("v1");
    let rig = Rig::with(single(&endpoint));
    let mut client = rig.connect();
    client.send(head.replace('\n', "\r\n")).unwrap();
    assert_eq!(client.response("GET").unwrap().status(), 200);
    endpoint.seen().remove(0)
}

#[test]
fn headers_of_one_connection_do_not_pass() {
    let seen = seen_of(
        "GET / HTTP/1.1\nhost: h\nconnection: x-secret, keep-alive, host\nx-secret: 1\nkeep-alive: timeout=9\n\
         proxy-connection: close\nproxy-authorization: basic x\nte: trailers\ntrailer: x\nupgrade: h2c\nx-kept: 1\n\n",
    );
    for name in [
        "x-secret",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "te",
        "trailer",
        "upgrade",
    ] {
        assert_eq!(seen.header(name), None, "{}", seen.head);
    }
    assert_eq!(
        (seen.header("x-kept"), seen.all("host")),
        (Some("1"), vec!["h"])
    );
}

#[test]
fn the_endpoint_learns_who_asked() {
    let seen = seen_of(
        "GET / HTTP/1.1\nhost: shop.test:8080\nx-forwarded-for: 1.2.3.4\nx-forwarded-proto: https\nx-forwarded-host: x\nforwarded: for=1.2.3.4\n\n",
    );
    assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.all("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.all("x-forwarded-host"), ["shop.test:8080"]);
    assert_eq!(seen.all("host"), ["shop.test:8080"]);
    assert_eq!(seen.header("forwarded"), None);
}

#[test]
fn the_authority_of_an_absolute_target_is_the_host() {
    let seen = seen_of("GET http://shop.test/a?b=c HTTP/1.1\nhost: other\n\n");
    assert_eq!(
        (seen.path(), seen.header("host")),
        ("/a?b=c", Some("shop.test"))
    );
}

#[test]
fn an_endpoint_given_by_url_gets_its_own_host() {
    let endpoint = TestEndpoint::named("v1");
    let mut by_url = spec(vec![arm("v1", 10_000, &[])]);
    let authority = "upstream.test:81";
    by_url.arms[0].endpoints =
        vec![haldane_proxy::Endpoint::try_with_authority(endpoint.addr, authority).unwrap()];
    let rig = Rig::with(by_url);
    rig.connect().get("/", "").unwrap();
    let seen = endpoint.seen().remove(0);
    assert_eq!(
        (seen.header("host"), seen.header("x-forwarded-host")),
        (Some(authority), Some("test"))
    );
}

#[test]
fn headers_of_the_endpoints_connection_do_not_reach_the_client() {
    let endpoint = TestEndpoint::start(|_, _| {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nx-kept: 1\r\n\r\nok";
        crate::endpoint::Act::Send(head.into())
    });
    let rig = Rig::with(single(&endpoint));
    let response = rig.connect().get("/", "").unwrap();
    assert_eq!(response.header("x-kept"), Some("1"));
    for name in ["x-hop", "keep-alive", "connection", "proxy-status"] {
        assert_eq!(response.header(name), None, "{}", response.head);
    }
}
