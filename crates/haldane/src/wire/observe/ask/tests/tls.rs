//! Tests of TLS: servers that want a certificate, and authorities of the user's.
//!
//! The certificates are valid until 2120, but for the one that expired in 2021; the key of their authority is lost.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    sync::Arc,
};

use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

use super::*;

const CERTIFICATES: [(&str, &str); 8] = [
    ("ca", include_str!("ca.pem")),
    ("server", include_str!("server.pem")),
    ("server-key", include_str!("server-key.pem")),
    ("expired", include_str!("expired.pem")),
    ("client", include_str!("client.pem")),
    ("client-key", include_str!("client-key.pem")),
    ("stranger", include_str!("stranger.pem")),
    ("stranger-key", include_str!("stranger-key.pem")),
];

fn pem(name: &str) -> &'static [u8] {
    let found = CERTIFICATES.iter().find(|(known, _)| *known == name);
    found.unwrap().1.as_bytes()
}

/// A server that shows this certificate, answers those that show one of the authority, and refuses others.
fn tls_server(certificate: &str) -> SocketAddr {
    let certificates = |name| vec![CertificateDer::from_pem_slice(pem(name)).unwrap()];
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificates("ca").remove(0)).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(
            certificates(certificate),
            PrivateKeyDer::from_pem_slice(pem("server-key")).unwrap(),
        )
        .unwrap();
    let server = Arc::new(server);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = rustls::ServerConnection::new(Arc::clone(&server)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream.unwrap());
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{ONE}",
                ONE.len()
            );
            // The other side may be refused, or go away.
            stream
                .read(&mut [0; 4096])
                .and_then(|_| stream.write_all(answer.as_bytes()))
                .and_then(|()| stream.flush())
                .ok();
            stream.conn.send_close_notify();
            stream.flush().ok();
        }
    });
    address
}

/// Asks a server at this address with this TLS, as Prometheus and as the web; expects a reading or an error that says so.
async fn check(server: SocketAddr, tls: &str, expected: Option<&str>) {
    let dir = tempfile::tempdir().unwrap();
    let mut tls = tls.to_owned();
    for (name, text) in CERTIFICATES {
        fs::write(dir.path().join(name), text).unwrap();
    }
    tls = tls.replace("DIR", &dir.path().display().to_string());
    for (source, query) in [
        ("prometheus", "up{v=\"{{version}}\"}"),
        ("web", "/{{version}} $.data.result[0].value[1]"),
    ] {
        let metric = only(
            &format!(
                "{source}: 'https://localhost:{}', auth: {{ {tls} }}",
                server.port()
            ),
            &format!("kind: gauge, query: '{query}'"),
        );
        let query = query.replace("{{version}}", "v2");
        match (patient().ask(&metric, &query, now()).await, expected) {
            (Ok(reading), None) => assert_eq!(reading.points[0].value, Value::Number(1.5)),
            (Err(error), Some(expected)) => {
                let text = format!("{error} {error:?}");
                assert!(text.contains(expected), "{tls}: {text}");
                assert!(!text.contains("PRIVATE"), "{text}");
            }
            (answer, _) => panic!("{tls}: {answer:?}"),
        }
    }
}

const CA: &str = "ca: { file: DIR/ca }";
const CLIENT: &str = "clientCertificate: { file: DIR/client }, clientKey: { file: DIR/client-key }";

#[tokio::test]
async fn a_server_that_wants_a_certificate_is_shown_it() {
    let server = tls_server("server");
    let with = |certificate: &str, key: &str| {
        format!(
            "{CA}, clientCertificate: {{ file: DIR/{certificate} }}, clientKey: {{ file: DIR/{key} }}"
        )
    };
    check(server, &format!("{CA}, {CLIENT}"), None).await;
    for (tls, expected) in [
        (
            CA.to_owned(),
            "the server wants a certificate; give clientCertificate and clientKey",
        ),
        (
            with("stranger", "stranger-key"),
            "the server refuses clientCertificate",
        ),
        (
            with("client", "stranger-key"),
            "clientKey is not usable: it is not the key of clientCertificate",
        ),
        (
            with("client-key", "client-key"),
            "clientCertificate is not usable: expected certificates in PEM",
        ),
        (
            with("client", "client"),
            "clientKey is not usable: expected a private key in PEM",
        ),
    ] {
        check(server, &tls, Some(expected)).await;
    }
}

#[tokio::test]
async fn only_the_given_authority_is_trusted_and_only_while_the_certificate_lasts() {
    let unknown =
        "nobody who is trusted here vouches for the server's certificate; give its authority as ca";
    let server = tls_server("server");
    for (ca, expected) in [
        ("ca: { file: DIR/stranger }, ", unknown),
        ("", unknown),
        (
            "ca: { file: DIR/client-key }, ",
            "ca is not usable: expected certificates in PEM",
        ),
        ("ca: { file: DIR/nothing }, ", "can't be read"),
    ] {
        check(server, &format!("{ca}{CLIENT}"), Some(expected)).await;
    }
    let expired = tls_server("expired");
    let expected = Some("the server's certificate has expired");
    check(expired, &format!("{CA}, {CLIENT}"), expected).await;
}

#[test]
fn clients_are_kept_by_what_their_tls_needs_and_only_so_many() {
    let webs = Webs::new(Duration::from_secs(1));
    let tls = |number: u32| Tls {
        ca: Some(Secret::new(number.to_string())),
        identity: None,
    };
    for number in 0..100 {
        webs.of(tls(number));
        webs.of(Tls::default());
    }
    assert_eq!(webs.kept(), 16);
}
