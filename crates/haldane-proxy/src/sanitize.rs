//! Makes sure that what is forwarded is what was parsed: one request in, one request out, with one meaning.
//!
//! hyper refuses wrong framing. Left to us: exactly one host, no transfer coding but `chunked` (hyper undoes only that, and the header
//! that names the others ends here), no headers that belong to the connection, no forged `X-Forwarded-*`, and no target that only a
//! forward proxy understands.

use std::net::IpAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    },
    request,
    uri::PathAndQuery,
};

use crate::via::Via;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Headers about one connection, which never pass.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Headers by which a client could claim to be someone else.
const FORWARDED_HEADERS: [HeaderName; 6] = [
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_PROTO,
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-real-ip"),
    FORWARDED,
];

/// Why a request is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// More than one `Host`.
    TwoHosts,
    /// No `Host` in HTTP/1.1.
    NoHost,
    /// A `Host` or authority that is no host with an optional port.
    BadHost,
    /// A target that isn't a path, an absolute `http` URI, or `*` with `OPTIONS`.
    BadTarget,
    /// `CONNECT`, which only a forward proxy serves.
    Connect,
    /// A body in a transfer coding other than `chunked`.
    Coding,
    /// The request has been here before.
    Loop,
}

/// What the request is about, with the header that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The host as the client wrote it; HTTP/1.0 may have none.
    pub(crate) host: Option<HeaderValue>,
}

/// Who sent the request, prepared once for each connection.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// The address as the value of `X-Forwarded-For`.
    addr: HeaderValue,
    /// Whether what the client says of former hops is believed.
    is_trusted: bool,
}

impl Client {
    pub(crate) fn new(ip: IpAddr, is_trusted: bool) -> Self {
        let ip = ip.to_canonical().to_string();
        let addr = HeaderValue::from_str(&ip).unwrap_or(HeaderValue::from_static("unknown"));
        Self { addr, is_trusted }
    }
}

impl Target {
    /// Returns the host without its port, for the routes; empty if there is none.
    pub(crate) fn host_name(&self) -> &str {
        let host = self
            .host
            .as_ref()
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default();
        let name_end = if host.starts_with('[') {
            host.find(']').map(|at| at + 1)
        } else {
            host.find(':')
        };
        name_end.and_then(|end| host.get(..end)).unwrap_or(host)
    }
}

/// Makes `parts` fit to be forwarded, but for the `Host` header, which depends on the endpoint.
///
/// # Errors
/// When the request has no single meaning, or has been here before.
pub(crate) fn request(
    parts: &mut request::Parts,
    client: &Client,
    via: &Via,
) -> Result<Target, Refusal> {
    let target = target(parts)?;
    if !is_plainly_framed(&parts.headers) {
        return Err(Refusal::Coding);
    }
    // Before anything is stripped: `Connection` may name `Via`.
    if via.is_in(&parts.headers) {
        return Err(Refusal::Loop);
    }
    strip_hop_by_hop(&mut parts.headers);
    via.add_to(&mut parts.headers, parts.version);
    // The proxy itself says "continue" when the body is first asked for.
    parts.headers.remove(EXPECT);
    set_forwarded(&mut parts.headers, client, target.host.as_ref());
    Ok(target)
}

/// Whether the body, if any, has no transfer coding, or exactly `chunked`.
pub(crate) fn is_plainly_framed(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(only), None) => only
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// Makes the headers of a response fit to be passed to the client.
pub(crate) fn response(headers: &mut HeaderMap) {
    // Two framings are one too many: the body is sent in chunks again, so its length must go.
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    strip_hop_by_hop(headers);
}

/// Finds the one host, and brings the target into origin form.
fn target(parts: &mut request::Parts) -> Result<Target, Refusal> {
    if parts.method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return Err(Refusal::TwoHosts),
        (None, _) if parts.version >= Version::HTTP_11 => return Err(Refusal::NoHost),
        (host, None) => host.cloned(),
        (None, Some(_)) => None,
    };
    let is_star = parts.uri.path() == "*" && parts.uri.scheme().is_none();
    match (parts.uri.scheme_str(), parts.uri.authority()) {
        (None, None) if is_star && parts.method != Method::OPTIONS => Err(Refusal::BadTarget),
        (None, None) => Ok(Target {
            host: checked(host)?,
        }),
        (Some("http" | "https"), Some(authority)) => {
            // The authority of the target is the host, whatever `Host` says (RFC 9112, 3.2.2).
            let host = HeaderValue::from_str(authority.as_str()).map_err(|_| Refusal::BadHost)?;
            let host = checked(Some(host))?;
            parts.uri = origin_form(&parts.uri)?;
            Ok(Target { host })
        }
        _ => Err(Refusal::BadTarget),
    }
}

fn origin_form(uri: &Uri) -> Result<Uri, Refusal> {
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    // `http://host?query` has an empty path, which is `/` in origin form.
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    path.parse().map_err(|_| Refusal::BadTarget)
}

/// Returns the host if it is a name or address with an optional port; an empty one is none.
fn checked(host: Option<HeaderValue>) -> Result<Option<HeaderValue>, Refusal> {
    let Some(host) = host else { return Ok(None) };
    let text = host.to_str().map_err(|_| Refusal::BadHost)?;
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (inner, port) = rest.split_once(']').ok_or(Refusal::BadHost)?;
            let is_v6 = inner
                .chars()
                .all(|c| c.is_ascii_hexdigit() || matches!(c, ':' | '.'));
            (
                if is_v6 && !inner.is_empty() {
                    "v6"
                } else {
                    "?"
                },
                port,
            )
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '~' | '%');
    let is_port = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some(digits) => digits.len() <= 5 && digits.chars().all(|c| c.is_ascii_digit()),
    };
    if !name.chars().all(is_name) || !is_port || (name.is_empty() && !port.is_empty()) {
        return Err(Refusal::BadHost);
    }
    Ok((!name.is_empty()).then_some(host))
}

/// Removes the headers that are about one connection, and those that `Connection` names.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|name| {
            !name.eq_ignore_ascii_case("keep-alive") && !name.eq_ignore_ascii_case("close")
        })
        .filter_map(|name| name.parse().ok())
        // Framing is the body's, whatever a client says of it.
        .filter(|name| *name != CONTENT_LENGTH)
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Tells the endpoint who asked, for what host and by what scheme.
fn set_forwarded(headers: &mut HeaderMap, client: &Client, host: Option<&HeaderValue>) {
    if client.is_trusted {
        headers.append(X_FORWARDED_FOR, client.addr.clone());
        headers
            .entry(X_FORWARDED_PROTO)
            .or_insert(HeaderValue::from_static("http"));
        if let Some(host) = host {
            headers
                .entry(X_FORWARDED_HOST)
                .or_insert_with(|| host.clone());
        }
        return;
    }
    for name in &FORWARDED_HEADERS {
        headers.remove(name);
    }
    remove_disguised(headers);
    headers.insert(X_FORWARDED_FOR, client.addr.clone());
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    if let Some(host) = host {
        headers.insert(X_FORWARDED_HOST, host.clone());
    }
}

/// Removes headers that many an application takes for the ones we set: CGI and its heirs make no difference between `-` and `_`.
fn remove_disguised(headers: &mut HeaderMap) {
    if !headers.keys().any(|name| name.as_str().contains('_')) {
        return;
    }
    let is_ours = |name: &&HeaderName| {
        let plain = name.as_str().replace('_', "-");
        name.as_str() != plain && FORWARDED_HEADERS.iter().any(|ours| *ours == *plain)
    };
    let disguised: Vec<HeaderName> = headers.keys().filter(is_ours).cloned().collect();
    for name in disguised {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, header::VIA};

    use super::*;
    use crate::via::Pseudonym;

    const PEER: &str = "192.0.2.7";

    fn parts(method: &str, uri: &str, headers: &[(&str, &str)]) -> request::Parts {
        let mut builder = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    fn client(is_trusted: bool) -> Client {
        Client::new(PEER.parse().unwrap(), is_trusted)
    }

    fn via() -> Via {
        Via::new(Pseudonym::new())
    }

    /// Checks the outcome: `uri host`, or the refusal.
    fn check(method: &str, uri: &str, headers: &[(&str, &str)], expected: Result<&str, Refusal>) {
        let mut parts = parts(method, uri, headers);
        let outcome = request(&mut parts, &client(false), &via())
            .map(|target| format!("{} {}", parts.uri, target.host_name()));
        assert_eq!(
            outcome.as_deref().map_err(|e| *e),
            expected,
            "{method} {uri} {headers:?}"
        );
    }

    #[test]
    fn a_request_has_exactly_one_host() {
        check("GET", "/a?b", &[("host", "h")], Ok("/a?b h"));
        check("GET", "/", &[("host", "h:80")], Ok("/ h"));
        check("GET", "/", &[("host", "[::1]:80")], Ok("/ [::1]"));
        check("GET", "/", &[("host", "")], Ok("/ "));
        check("GET", "/", &[], Err(Refusal::NoHost));
        check(
            "GET",
            "/",
            &[("host", "h"), ("host", "h")],
            Err(Refusal::TwoHosts),
        );
        for host in [
            "h, g", "h g", "u@h", "h/x", "h:8x", "h:", ":80", "[::1", "[x]", "h:123456",
        ] {
            // `h:` is valid: the port may be empty.
            let expected = if host == "h:" {
                Ok("/ h")
            } else {
                Err(Refusal::BadHost)
            };
            check("GET", "/", &[("host", host)], expected);
        }
    }

    #[test]
    fn an_absolute_target_becomes_a_path_and_decides_the_host() {
        check("GET", "http://h/a?b", &[("host", "other")], Ok("/a?b h"));
        check("GET", "http://h", &[("host", "h")], Ok("/ h"));
        check("GET", "http://h?q=1", &[("host", "h")], Ok("/?q=1 h"));
        check(
            "GET",
            "http://u@h/",
            &[("host", "h")],
            Err(Refusal::BadHost),
        );
        check("GET", "ftp://h/", &[("host", "h")], Err(Refusal::BadTarget));
        check("GET", "http://h/", &[], Err(Refusal::NoHost));
    }

    #[test]
    fn targets_of_a_forward_proxy_are_refused() {
        check("CONNECT", "h:443", &[("host", "h")], Err(Refusal::Connect));
        check("GET", "h:443", &[("host", "h")], Err(Refusal::BadTarget));
        check("GET", "*", &[("host", "h")], Err(Refusal::BadTarget));
        check("OPTIONS", "*", &[("host", "h")], Ok("* h"));
    }

    #[test]
    fn a_request_that_comes_again_is_refused_even_if_it_hides_that() {
        let via = via();
        let mut first = parts("GET", "/", &[("host", "h")]);
        request(&mut first, &client(false), &via).unwrap();
        let line = first.headers.get(VIA).unwrap().to_str().unwrap();
        let again = [("host", "h"), ("via", line), ("connection", "via")];
        let outcome = request(&mut parts("GET", "/", &again), &client(false), &via);
        assert_eq!(outcome, Err(Refusal::Loop));
    }

    fn headers_after(headers: &[(&str, &str)], is_trusted: bool) -> Vec<String> {
        let mut parts = parts("GET", "/", headers);
        request(&mut parts, &client(is_trusted), &via()).unwrap();
        parts.headers.remove(VIA).unwrap();
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", value.to_str().unwrap())
        };
        let mut lines: Vec<_> = parts.headers.iter().map(line).collect();
        lines.sort();
        lines
    }

    #[test]
    fn headers_of_the_connection_stay_behind() {
        let headers = [
            ("host", "h"),
            ("connection", "x-secret, close, Host"),
            ("connection", "content-length , x-other"),
            ("content-length", "3"),
            ("x-secret", "1"),
            ("x-other", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("proxy-authorization", "basic x"),
            ("te", "trailers"),
            ("trailer", "x-sum"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("expect", "100-continue"),
            ("x-kept", "1"),
        ];
        let expected = [
            "content-length: 3",
            "x-forwarded-for: 192.0.2.7",
            "x-forwarded-host: h",
            "x-forwarded-proto: http",
            "x-kept: 1",
        ];
        assert_eq!(headers_after(&headers, false), expected);
    }

    const FORGED: [(&str, &str); 7] = [
        ("host", "h"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-host", "evil"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "1"),
        ("x-real-ip", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
    ];

    #[test]
    fn a_client_can_not_forge_where_it_comes_from() {
        let expected = [
            "host: h",
            "x-forwarded-for: 192.0.2.7",
            "x-forwarded-host: h",
            "x-forwarded-proto: http",
        ];
        assert_eq!(headers_after(&FORGED, false), expected);
    }

    #[test]
    fn a_disguise_does_not_help() {
        let headers = [
            ("host", "h"),
            ("x_forwarded_for", "10.0.0.1"),
            ("x-forwarded_host", "evil"),
            ("x_real_ip", "10.0.0.1"),
            ("x_own", "1"),
        ];
        let expected = [
            "host: h",
            "x-forwarded-for: 192.0.2.7",
            "x-forwarded-host: h",
            "x-forwarded-proto: http",
            "x_own: 1",
        ];
        assert_eq!(headers_after(&headers, false), expected);
    }

    #[test]
    fn only_chunked_is_a_known_coding() {
        for (coding, expected) in [
            ("chunked", None),
            ("Chunked ", None),
            ("gzip, chunked", Some(Refusal::Coding)),
            ("chunked, chunked", Some(Refusal::Coding)),
            ("gzip", Some(Refusal::Coding)),
            ("", Some(Refusal::Coding)),
        ] {
            let headers = [("host", "h"), ("transfer-encoding", coding)];
            let outcome = request(&mut parts("POST", "/", &headers), &client(false), &via());
            assert_eq!(outcome.err(), expected, "{coding:?}");
        }
        let twice = [
            ("host", "h"),
            ("transfer-encoding", "chunked"),
            ("transfer-encoding", "chunked"),
        ];
        let outcome = request(&mut parts("POST", "/", &twice), &client(false), &via());
        assert_eq!(outcome, Err(Refusal::Coding));
    }

    #[test]
    fn a_trusted_client_is_added_to() {
        let lines = headers_after(&FORGED, true);
        assert!(
            lines.contains(&"x-forwarded-for: 10.0.0.1".to_owned()),
            "{lines:?}"
        );
        assert!(
            lines.contains(&"x-forwarded-for: 192.0.2.7".to_owned()),
            "{lines:?}"
        );
        assert!(
            lines.contains(&"x-forwarded-proto: https".to_owned()),
            "{lines:?}"
        );
        assert!(
            lines.contains(&"x-forwarded-host: evil".to_owned()),
            "{lines:?}"
        );
    }

    #[test]
    fn a_response_keeps_one_framing() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (TRANSFER_ENCODING, "chunked"),
            (CONTENT_LENGTH, "5"),
            (CONNECTION, "x-hop"),
            (HeaderName::from_static("x-hop"), "1"),
            (HeaderName::from_static("x-kept"), "1"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response(&mut headers);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-kept"]);
    }
}
