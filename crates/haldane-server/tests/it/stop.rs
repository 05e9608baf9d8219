//! The end: in order, and in time.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use haldane_api::http::Answer;
use serde_json::json;
use tokio::{io::AsyncReadExt, net::UnixStream};

use crate::it::{
    client::{Ask, PATIENCE},
    world::{World, done, until},
};

fn deploy(service: &str) -> Ask {
    let body = json!({ "version": "v2", "run": ["./auth2"], "by": "ada" });
    Ask::post(format!("/v1/services/{service}/deploy"), &body)
}

#[tokio::test]
async fn streams_end_at_once_and_idle_connections_too() {
    let mut world = World::start_with_metrics().await;
    let mut events = Ask::get("/v1/events?service=auth")
        .open(&world.socket())
        .await;
    events.event().await.unwrap();
    let mut logs = Ask::get("/v1/services/auth/logs?follow=true")
        .open(&world.socket())
        .await;
    logs.until("two\n").await.unwrap();
    let mut idle = UnixStream::connect(world.socket()).await.unwrap();

    let began = Instant::now();
    world
        .server
        .take()
        .unwrap()
        .stop(Duration::from_secs(30))
        .await;
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(events.event().await, None);
    assert_eq!(logs.until("\n").await, None);
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0);
    until("the follower is dropped", async || {
        world.extras.followers.load(Ordering::SeqCst) == 0
    })
    .await;
    assert_eq!(world.views.receiver_count(), 0);
    UnixStream::connect(world.socket()).await.unwrap_err();
}

#[tokio::test]
async fn a_request_at_work_is_answered_first() {
    let mut world = World::start().await;
    let server = world.server.take().unwrap();
    let (asked, socket) = (&world.asked, world.socket());
    let stop = async {
        until("the driver has the request", async || {
            !asked.lock().unwrap().is_empty()
        })
        .await;
        server.stop(PATIENCE).await;
    };
    let release = async {
        until("the server has begun to stop", async || !socket.exists()).await;
        world.release.notify_one();
    };
    let (answered, (), ()) = tokio::join!(deploy("slow").send(&socket), stop, release);
    assert_eq!(answered.json::<Answer>(), done("Deploying at last."));
}

#[tokio::test]
async fn down_is_answered_though_it_ends_the_server() {
    for _ in 0..20 {
        let mut world = World::start().await;
        let server = world.server.take().unwrap();
        let stop = async {
            world.extras.shut_down.notified().await;
            server.stop(PATIENCE).await;
        };
        let socket = world.socket();
        let (answered, ()) = tokio::join!(Ask::get("/v1/down").method("POST").send(&socket), stop);
        assert!(answered.json::<Answer>().is_durable);
    }
}

#[tokio::test]
async fn the_deadline_ends_a_request_that_is_never_answered() {
    let mut world = World::start().await;
    let socket = world.socket();
    let stuck = deploy("mute").try_open(&socket);
    let server = world.server.take().unwrap();
    let asked = &world.asked;
    let stop = async {
        until("the driver has the request", async || {
            !asked.lock().unwrap().is_empty()
        })
        .await;
        let began = Instant::now();
        server.stop(Duration::from_millis(200)).await;
        began.elapsed()
    };
    let (answer, took) = tokio::time::timeout(PATIENCE, async { tokio::join!(stuck, stop) })
        .await
        .unwrap();
    assert!(answer.is_err());
    assert!(
        took >= Duration::from_millis(200) && took < Duration::from_secs(5),
        "{took:?}"
    );
}

#[tokio::test]
async fn dropping_the_server_ends_everything() {
    let mut world = World::start().await;
    let mut events = Ask::get("/v1/events?service=auth")
        .open(&world.socket())
        .await;
    events.event().await.unwrap();
    drop(world.server.take());
    assert_eq!(events.event().await, None);
    assert!(!world.socket().exists());
    until("nothing watches", async || {
        world.views.receiver_count() == 0
    })
    .await;
}
