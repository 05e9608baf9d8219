//! The client against a scripted daemon on a real socket.

use std::time::Duration;

use haldane_api::http::{Answer, DaemonView, ServiceView};
use serde_json::json;
use tokio::{task::JoinSet, time::timeout};

use super::*;
use crate::cli::{
    home::{HomeError, Seen},
    testing::{Daemon, Reply, service_json},
};

#[tokio::test]
async fn a_missing_or_dead_socket_says_how_to_start_a_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("haldane.sock");
    let error = Client::new(&missing)
        .get::<DaemonView>("/v1/daemon")
        .await
        .unwrap_err();
    let expected = format!(
        "no daemon at {}; start one with `haldane up`",
        missing.display()
    );
    assert_eq!(error.to_string(), expected);

    drop(std::os::unix::net::UnixListener::bind(&missing).unwrap());
    let error = Client::new(&missing)
        .get::<DaemonView>("/v1/daemon")
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        expected,
        "a socket left behind is the same"
    );
}

#[tokio::test]
async fn what_is_no_socket_is_not_taken_for_a_missing_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("haldane.yaml");
    std::fs::write(&file, "services: {}").unwrap();
    for (path, expected) in [
        (dir.path().to_owned(), "is a directory, not a socket"),
        (file.clone(), "is a file, not a socket"),
        (file.join("haldane.sock"), "connecting to"),
    ] {
        let asked = Client::new(&path).get::<DaemonView>("/v1/daemon").await;
        let error = asked.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!matches!(error, ClientError::NoDaemon { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_refusal_is_told_with_its_problems() {
    let refusal = json!({ "error": "2 mistakes", "problems": ["1:2: a", "3:4: b"] });
    let daemon = Daemon::start([("POST /v1/apply", Reply::json(400, &refusal))]);
    let error = daemon
        .client()
        .post::<Answer>("/v1/apply", &json!({}))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "2 mistakes\n  1:2: a\n  3:4: b");
}

#[tokio::test]
async fn an_answer_of_another_kind_is_an_error_and_no_panic() {
    let daemon = Daemon::start([
        ("GET /v1/daemon", Reply::text(200, "<html>")),
        ("GET /v1/services", Reply::text(502, "nope")),
    ]);
    let error = daemon
        .client()
        .get::<DaemonView>("/v1/daemon")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("same release"), "{error}");
    let error = daemon
        .client()
        .get::<Vec<ServiceView>>("/v1/services")
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the daemon answered 502 Bad Gateway: nope"
    );
}

#[tokio::test]
async fn events_are_read_and_a_daemon_that_comes_back_is_followed_again() {
    let daemon = Daemon::start([(
        "GET /v1/events",
        Reply::events(&[service_json("Progressing")]),
    )]);
    let mut tasks = JoinSet::new();
    let mut seen = follow(&daemon.client(), "/v1/events".to_owned(), &mut tasks);
    for _ in 0..2 {
        let next = timeout(Duration::from_secs(10), seen.recv())
            .await
            .unwrap()
            .unwrap();
        let Seen::Service(view) = next else {
            panic!("{next:?}")
        };
        assert_eq!(view.rollout.unwrap().phase, "Progressing");
    }
    drop(daemon);
    let lost = loop {
        match timeout(Duration::from_secs(10), seen.recv())
            .await
            .unwrap()
            .unwrap()
        {
            Seen::Service(_) => {}
            Seen::Lost(error) => break error,
        }
    };
    assert!(
        matches!(lost, HomeError::Daemon(ClientError::NoDaemon { .. })),
        "{lost:?}"
    );
}
