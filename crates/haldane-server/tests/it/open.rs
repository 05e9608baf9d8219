//! The open listener: metrics and health, and nothing else.

use axum::http::{StatusCode, header};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::it::{client::Ask, world::World};

#[tokio::test]
async fn it_offers_metrics_and_health_and_nothing_else() {
    let world = World::start_with_metrics().await;
    let address = world.server.as_ref().unwrap().metrics_address().unwrap();
    for path in ["/metrics", "/healthz"] {
        assert_eq!(
            Ask::get(path).send_tcp(address).await.status,
            StatusCode::OK,
            "{path}"
        );
    }
    let others = world
        .documented()
        .await
        .into_iter()
        .filter(|(_, path)| path != "/metrics" && path != "/healthz");
    let mut tried = 0;
    for (method, path) in others {
        let path = path.replace("{name}", "auth").replace("{id}", "auth-1");
        let answered = Ask::get(&path).method(&method).send_tcp(address).await;
        assert_eq!(answered.status, StatusCode::NOT_FOUND, "{method} {path}");
        tried += 1;
    }
    assert_eq!(tried, 14);
    assert!(world.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn metrics_come_in_the_form_that_is_asked_for() {
    let world = World::start_with_metrics().await;
    let address = world.server.as_ref().unwrap().metrics_address().unwrap();
    let ask = Ask::get("/metrics").accept("a/b;q=1");
    let answered = ask.send_tcp(address).await;
    assert!(answered.text.contains("# for a/b;q=1\n"), "{answered:?}");
    assert!(
        answered.text.contains("haldane_server_limits_total"),
        "{answered:?}"
    );
}

#[tokio::test]
async fn it_closes_after_one_answer() {
    let world = World::start_with_metrics().await;
    let address = world.server.as_ref().unwrap().metrics_address().unwrap();
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    tokio::time::timeout(
        crate::it::client::PATIENCE,
        connection.read_to_string(&mut text),
    )
    .await
    .unwrap()
    .unwrap();
    assert!(
        text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\nok\n"),
        "{text}"
    );
}

#[tokio::test]
async fn without_a_setting_there_is_none() {
    let world = World::start().await;
    assert_eq!(world.server.as_ref().unwrap().metrics_address(), None);
    let answered = Ask::get("/metrics").send(&world.socket()).await;
    assert!(answered.headers.contains_key(header::CONTENT_TYPE));
}
