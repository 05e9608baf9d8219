//! Logs: the last lines, and following.

use std::{io, sync::atomic::Ordering};

use axum::http::{StatusCode, header};
use haldane_server::LogRequest;

use crate::it::{
    client::Ask,
    world::{World, service, until, view},
};

fn say(world: &World, piece: io::Result<String>) {
    world.extras.lines.lock().unwrap().insert(0, piece);
}

#[tokio::test]
async fn the_last_lines_are_told_as_text() {
    let world = World::start().await;
    let answered = Ask::get("/v1/services/auth/logs?version=v3&replica=2&lines=5")
        .send(&world.socket())
        .await;
    assert_eq!(
        (answered.status, answered.text.as_str()),
        (StatusCode::OK, "one\ntwo\n")
    );
    assert_eq!(
        answered.headers.get(header::CONTENT_TYPE).unwrap(),
        "text/plain; charset=utf-8"
    );
    let expected = LogRequest {
        service: service("auth"),
        version: "v3".parse().unwrap(),
        replica: Some(2),
        lines: 5,
    };
    assert_eq!(*world.extras.requests.lock().unwrap(), [expected]);
}

#[tokio::test]
async fn without_a_version_it_is_the_canarys_and_then_stables() {
    let world = World::start().await;
    Ask::get("/v1/services/auth/logs")
        .send(&world.socket())
        .await;
    world.change(|views| {
        let mut canary = view("auth").stable;
        canary.version = "v2".parse().unwrap();
        views.get_mut(&service("auth")).unwrap().canary = Some(canary);
    });
    Ask::get("/v1/services/auth/logs")
        .send(&world.socket())
        .await;
    let requests = world.extras.requests.lock().unwrap();
    let asked: Vec<_> = requests
        .iter()
        .map(|request| (request.version.as_str(), request.replica, request.lines))
        .collect();
    assert_eq!(asked, [("v1", None, 100), ("v2", None, 100)]);
}

#[tokio::test]
async fn following_goes_on_with_what_is_added_and_frees_all_when_closed() {
    let world = World::start().await;
    let mut stream = Ask::get("/v1/services/auth/logs?follow=true")
        .open(&world.socket())
        .await;
    assert_eq!(stream.until("two\n").await.unwrap(), "one\ntwo\n");
    say(&world, Ok("three\n".to_owned()));
    assert_eq!(stream.until("\n").await.unwrap(), "three\n");
    assert_eq!(world.extras.followers.load(Ordering::SeqCst), 1);
    drop(stream);
    until("the follower is dropped", async || {
        world.extras.followers.load(Ordering::SeqCst) == 0
    })
    .await;
}

#[tokio::test]
async fn a_log_that_breaks_breaks_the_answer_off() {
    let world = World::start().await;
    let mut stream = Ask::get("/v1/services/auth/logs?follow=true")
        .open(&world.socket())
        .await;
    stream.until("two\n").await.unwrap();
    say(&world, Err(io::Error::other("bad sector")));
    assert!(
        stream.fails().await,
        "the client must not take the answer for complete"
    );
}
