//! The event stream.

use std::time::{Duration, Instant};

use axum::http::{StatusCode, header};
use haldane_api::http::{Refused, ServiceView};
use tokio::task::JoinSet;

use crate::it::{
    client::{Answering, Ask},
    world::{World, service, until, view},
};

const STREAMS_MAX: usize = 64;

async fn open(world: &World, path: &str) -> Answering {
    let stream = Ask::get(path).open(&world.socket()).await;
    assert_eq!(stream.status, StatusCode::OK);
    assert_eq!(
        stream.headers.get(header::CONTENT_TYPE).unwrap(),
        "text/event-stream"
    );
    stream
}

async fn next(stream: &mut Answering) -> ServiceView {
    let (event, data) = stream.event().await.expect("an event");
    assert_eq!(event, "service");
    serde_json::from_str(&data).unwrap()
}

/// Gives a service one notice.
fn notice(world: &World, name: &str, notice: &str) {
    world.change(|views| views.get_mut(&service(name)).unwrap().notices = vec![notice.to_owned()]);
}

#[tokio::test]
async fn each_service_comes_at_connect_and_then_when_it_changes() {
    let world = World::start().await;
    let mut stream = open(&world, "/v1/events").await;
    assert_eq!(next(&mut stream).await, view("auth"));
    assert_eq!(next(&mut stream).await, view("shop"));

    notice(&world, "shop", "one\nline");
    let changed = next(&mut stream).await;
    assert_eq!(
        (changed.name, changed.notices),
        (service("shop"), vec!["one\nline".to_owned()])
    );

    world.change(|views| drop(views.insert(service("mail"), view("mail"))));
    assert_eq!(next(&mut stream).await, view("mail"));
}

#[tokio::test]
async fn one_service_can_be_chosen() {
    let world = World::start().await;
    let mut stream = open(&world, "/v1/events?service=shop").await;
    assert_eq!(next(&mut stream).await, view("shop"));
    notice(&world, "auth", "not for this stream");
    notice(&world, "shop", "for this stream");
    assert_eq!(next(&mut stream).await.notices, ["for this stream"]);
}

#[tokio::test]
async fn a_flood_of_changes_is_thinned_to_four_a_second_and_ends_with_the_last() {
    let world = World::start().await;
    let mut stream = open(&world, "/v1/events?service=auth").await;
    next(&mut stream).await;
    let began = Instant::now();
    let changes = async {
        for number in 0..200 {
            notice(&world, "auth", &number.to_string());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let events = async {
        let mut events = 0_u32;
        loop {
            events += 1;
            if next(&mut stream).await.notices == ["199"] {
                return events;
            }
        }
    };
    let ((), events) = tokio::join!(changes, events);
    let allowed = 1 + began.elapsed().as_millis() / 250;
    assert!(
        u128::from(events) <= allowed,
        "{events} events, {allowed} allowed"
    );
    assert!(events >= 3, "{events} events in a second of changes");
}

#[tokio::test]
async fn the_stream_ends_with_the_driver() {
    let mut world = World::start().await;
    let mut stream = open(&world, "/v1/events?service=auth").await;
    next(&mut stream).await;
    world.lose_driver().await;
    assert_eq!(stream.event().await, None);
}

#[tokio::test]
async fn a_hundred_clients_at_once_are_bounded_and_leave_nothing_behind() {
    let world = World::start().await;
    let idle = world.views.receiver_count();
    for _ in 0..3 {
        let mut clients = JoinSet::new();
        for _ in 0..100 {
            let socket = world.socket();
            clients.spawn(async move { Ask::get("/v1/events").open(&socket).await });
        }
        let answers = clients.join_all().await;
        let (streams, refused): (Vec<_>, Vec<_>) = answers
            .into_iter()
            .partition(|answer| answer.status == StatusCode::OK);
        assert_eq!(
            (streams.len(), refused.len()),
            (STREAMS_MAX, 100 - STREAMS_MAX)
        );
        for answer in refused {
            let answered = answer.read().await;
            assert_eq!(answered.status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(
                answered
                    .json::<Refused>()
                    .error
                    .contains("64 streams are open")
            );
        }
        // Commands get through meanwhile.
        assert_eq!(
            Ask::get("/v1/daemon").send(&world.socket()).await.status,
            StatusCode::OK
        );

        drop(streams);
        // Each stream watches the views.
        until("all streams are freed", async || {
            world.views.receiver_count() == idle
        })
        .await;
    }
    let metrics = Ask::get("/metrics").send(&world.socket()).await;
    assert!(
        metrics
            .text
            .contains("limits_total{limit=\"streams\"} 108\n"),
        "{}",
        metrics.text
    );
}
