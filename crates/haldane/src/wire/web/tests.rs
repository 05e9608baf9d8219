//! Tests of `web`.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::json;

use super::{
    server::{Act, Server, say},
    *,
};

fn quick() -> Web {
    Web::new(Duration::from_millis(300))
}

/// A client that waits as long as a busy machine needs.
fn patient() -> Web {
    Web::new(Duration::from_secs(20))
}

async fn ask(web: &Web, act: Act) -> Result<Reply, WebError> {
    let server = Server::start([act]).await;
    let answer = web.ask(&server.url(), &json!({ "a": 1 })).await;
    assert_eq!(server.seen(), [json!({ "a": 1 })]);
    if let Err(error) = &answer {
        let text = format!("{error} {error:?}");
        assert!(!text.contains("hush") && !text.contains("secret"), "{text}");
    }
    answer
}

#[tokio::test]
async fn a_question_gets_its_whole_answer() {
    let act = say(
        202,
        "content-type: Application/JSON; charset=utf-8\r\nretry-after: 7\r\n",
        "{\"b\": 2}",
    );
    let reply = ask(&patient(), act).await.unwrap();
    let retry_after = Some(Duration::from_secs(7));
    assert_eq!(
        reply.head,
        Head {
            status: StatusCode::ACCEPTED,
            retry_after,
            is_json: true
        }
    );
    assert_eq!(reply.body, b"{\"b\": 2}");
}

#[tokio::test]
async fn silence_and_dripping_end_with_the_time() {
    for act in [Act::Hang, Act::Drip] {
        let answer = ask(&quick(), act.clone()).await;
        assert!(
            matches!(answer, Err(WebError::Slow(_))),
            "{act:?}: {answer:?}"
        );
    }
    // To be told it is enough that the head came.
    let server = Server::start([Act::Drip]).await;
    let head = patient().tell(&server.url(), &json!({})).await.unwrap();
    assert_eq!(head.status, StatusCode::OK);
}

#[tokio::test]
async fn a_huge_answer_is_not_read() {
    for is_announced in [true, false] {
        let answer = ask(&patient(), Act::Flood(100_000_000, is_announced)).await;
        assert!(matches!(answer, Err(WebError::Large(_))), "{answer:?}");
    }
    let limit = u64::try_from(ANSWER_BYTES_MAX).unwrap();
    assert_eq!(
        ask(&patient(), Act::Flood(limit, true))
            .await
            .unwrap()
            .body
            .len(),
        ANSWER_BYTES_MAX
    );
}

#[tokio::test]
async fn a_second_answer_is_never_heard() {
    let one = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n";
    let server =
        Server::start([Act::Say(format!("{one}one{one}two")), say(200, "", "three")]).await;
    let web = patient();
    let first = web.ask(&server.url(), &json!({})).await.unwrap();
    let second = web.ask(&server.url(), &json!({})).await.unwrap();
    assert_eq!(
        (first.body.as_slice(), second.body.as_slice()),
        (&b"one"[..], &b"three"[..])
    );
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let other = Server::start([say(200, "", "")]).await;
    let act = say(307, &format!("location: {}\r\n", other.url()), "");
    let reply = ask(&patient(), act).await.unwrap();
    assert_eq!(reply.head.status, StatusCode::TEMPORARY_REDIRECT);
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn broken_connections_say_what_happened() {
    let answer = ask(&patient(), Act::Close).await.unwrap_err();
    assert!(answer.is_passing(), "{answer:?}");
    let answer = ask(&patient(), Act::Say("no HTTP at all\r\n\r\n".to_owned()))
        .await
        .unwrap_err();
    assert!(answer.is_passing(), "{answer:?}");
    let gone = Server::start([Act::Close]).await.url();
    let answer = patient().ask(&gone, &json!({})).await.unwrap_err();
    assert_eq!(answer.to_string(), "Connection refused (os error 111)");
}

#[tokio::test]
async fn names_are_looked_up_and_keep_their_port() {
    let server = Server::start([say(200, "", "")]).await;
    let url = server.url().replace("127.0.0.1", "localhost");
    assert_eq!(
        patient().tell(&url, &json!({})).await.unwrap().status,
        StatusCode::OK
    );
    let missing = patient()
        .tell("http://nobody.invalid/", &json!({}))
        .await
        .unwrap_err();
    assert!(missing.is_passing(), "{missing:?}");
}

#[tokio::test]
async fn link_local_addresses_are_never_asked() {
    let check = async |url: &str| {
        let answer = quick().ask(url, &json!({})).await;
        assert!(
            matches!(answer, Err(WebError::Forbidden(_))),
            "{url}: {answer:?}"
        );
    };
    check("http://169.254.169.254/latest/meta-data/").await;
    check("http://0xa9fea9fe/").await;
    check("http://2852039166/").await;
    check("https://[fe80::1]:8080/").await;
    check("http://[::ffff:169.254.169.254]/").await;
    check("http://[64:ff9b::a9fe:a9fe]/").await;
    check("http://[fd00:ec2::254]/").await;
    assert!(!is_forbidden([127, 0, 0, 1].into()) && !is_forbidden("fd00::1".parse().unwrap()));
}

#[tokio::test]
async fn a_name_that_leads_to_a_link_local_address_is_refused() {
    // The system's own look-up reads a bare number as an address, as it would read a hostile name server's answer.
    let name = "169.254.169.254".parse().unwrap();
    let Err(error) = Lookup.resolve(name).await else {
        panic!("resolved")
    };
    assert!(error.downcast_ref::<Forbidden>().is_some(), "{error:?}");
}

#[tokio::test]
async fn what_is_no_url_is_refused() {
    for url in ["", "auth", "ftp://a/", "http://"] {
        let answer = quick().ask(url, &json!({})).await;
        assert!(matches!(answer, Err(WebError::Url)), "{url}: {answer:?}");
    }
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let now = "2026-03-01T12:00:00Z".parse().unwrap();
    let check = |text: &str, expected: Option<u64>| {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
        assert_eq!(
            retry_after(&headers, now),
            expected.map(Duration::from_secs),
            "{text}"
        );
    };
    check("0", Some(0));
    check(" 120 ", Some(120));
    check("Sun, 01 Mar 2026 12:01:30 GMT", Some(90));
    check("Sun, 01 Mar 2026 11:00:00 GMT", Some(0));
    check("-1", None);
    check("soon", None);
}

#[test]
fn of_a_url_only_the_host_is_told() {
    assert_eq!(
        host("https://user:pw@hooks.example.com:8443/services/T0/B0/xyz?k=v"),
        "hooks.example.com"
    );
    assert_eq!(host("nonsense"), "(no host)");
}

/// A server for one TLS connection, whose certificate is for `localhost`; it serves on a thread because its end is the client's.
fn tls_server() -> (SocketAddr, std::thread::JoinHandle<io::Result<()>>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::from_pem_slice(LOCALHOST).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![localhost()], key)
        .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = std::thread::spawn(move || {
        let connection = rustls::ServerConnection::new(Arc::new(server)).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, listener.accept()?.0);
        let mut head = [0; 4096];
        io::Read::read(&mut stream, &mut head)?;
        io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
        io::Write::flush(&mut stream)
    });
    (address, serve)
}

/// A key and its certificate for `localhost`, which is trusted nowhere and until 2120.
const LOCALHOST: &[u8] = include_bytes!("localhost.pem");

fn localhost() -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(LOCALHOST).unwrap()
}

#[tokio::test]
async fn a_certificate_must_be_trusted_and_be_for_the_name() {
    let check = async |web: &Web, host: &str, expected: Result<(), &str>| {
        let (address, server) = tls_server();
        let url = format!("https://{host}:{}/", address.port());
        let answer = web
            .tell(&url, &json!({}))
            .await
            .map(|_| ())
            .map_err(|error| error.to_string());
        match (&answer, expected) {
            (Ok(()), Ok(())) => server.join().unwrap().unwrap(),
            (Err(said), Err(expected)) if said.contains(expected) => {
                assert!(server.join().unwrap().is_err())
            }
            _ => panic!("{host}: {answer:?}"),
        }
    };
    let mut roots = RootCertStore::empty();
    roots.add(localhost()).unwrap();
    let client = make_client(roots, &Tls::default()).unwrap();
    let trusting = Web {
        client: Arc::new(OnceCell::new_with(Some(client))),
        ..patient()
    };
    check(&trusting, "localhost", Ok(())).await;
    check(
        &trusting,
        "127.0.0.1",
        Err("certificate not valid for name"),
    )
    .await;
    let stranger = "nobody who is trusted here vouches for the server's certificate";
    check(&patient(), "localhost", Err(stranger)).await;
}
