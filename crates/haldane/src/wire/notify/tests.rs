//! Tests of `notify`.

use std::net::SocketAddr;

use serde_json::Value;

use super::*;
use crate::wire::web::server::{Act, Server, say, until};

fn notifier() -> Notifier {
    let pace = Pace {
        first: Duration::from_millis(10),
        max: Duration::from_millis(50),
        give_up: Duration::from_secs(600),
    };
    Notifier::with(&Handle::current(), Web::new(Duration::from_secs(1)), pace)
}

fn webhook(server: &Server) -> NotifyTarget {
    NotifyTarget::Webhook { url: server.url() }
}

fn news(number: usize) -> News {
    News {
        key: format!("auth-1/{number}"),
        service: "auth".parse().unwrap(),
        rollout: "auth-1".parse().unwrap(),
        phase: "Paused",
        text: format!("news {number}"),
        at: "2026-03-01T12:00:00Z".parse().unwrap(),
    }
}

fn texts(seen: &[Value]) -> Vec<&str> {
    seen.iter()
        .map(|body| body["text"].as_str().unwrap())
        .collect()
}

/// Waits until every worker has ended.
async fn over(tasks: &TaskTracker) {
    until(|| tasks.is_empty().then_some(())).await;
}

#[tokio::test]
async fn every_target_is_told_each_piece_once_and_in_order() {
    let servers = [
        Server::start([say(200, "", "")]).await,
        Server::start([say(204, "", "")]).await,
    ];
    let mut notifier = notifier();
    notifier.tell(&news(0));
    notifier.configure(&[
        webhook(&servers[0]),
        webhook(&servers[1]),
        webhook(&servers[0]),
    ]);
    for number in [1, 2, 1, 3, 3] {
        notifier.tell(&news(number));
    }
    for server in &servers {
        assert_eq!(
            texts(&server.requests(3).await),
            ["news 1", "news 2", "news 3"]
        );
    }
    let tasks = notifier.post.tasks.clone();
    drop(notifier);
    over(&tasks).await;
    let first = serde_json::json!({
        "key": "auth-1/1", "service": "auth", "rollout": "auth-1", "phase": "Paused", "text": "news 1",
        "at": "2026-03-01T12:00:00Z",
    });
    for server in &servers {
        let seen = server.seen();
        assert_eq!((&seen[0], seen.len()), (&first, 3));
    }
}

#[tokio::test]
async fn a_target_that_was_down_is_told_later_and_holds_up_nobody() {
    let down = Server::start([Act::Close]).await;
    let (address, url): (SocketAddr, _) = (down.address, webhook(&down));
    drop(down);
    let well = Server::start([say(200, "", "")]).await;
    let mut notifier = notifier();
    notifier.configure(&[url, webhook(&well)]);
    for number in 0..3 {
        notifier.tell(&news(number));
    }
    assert_eq!(
        texts(&well.requests(3).await),
        ["news 0", "news 1", "news 2"]
    );
    let up = Server::start_at(address, [say(200, "", "")]).await;
    assert_eq!(texts(&up.requests(3).await), ["news 0", "news 1", "news 2"]);
}

#[tokio::test]
async fn troubles_are_tried_again_and_refusals_are_not() {
    let acts = [
        say(500, "", ""),
        say(429, "retry-after: 1\r\n", ""),
        Act::Hang,
        say(200, "", ""),
        say(404, "", ""),
        say(302, "location: http://169.254.169.254/\r\n", ""),
        say(200, "", ""),
    ];
    let server = Server::start(acts).await;
    let mut notifier = notifier();
    notifier.configure(&[webhook(&server)]);
    let begun = std::time::Instant::now();
    for number in 1..=4 {
        notifier.tell(&news(number));
    }
    let seen = server.requests(7).await;
    assert_eq!(
        texts(&seen),
        [
            "news 1", "news 1", "news 1", "news 1", "news 2", "news 3", "news 4"
        ]
    );
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "the wait that was asked for"
    );
}

#[tokio::test]
async fn of_too_much_news_the_oldest_is_dropped() {
    let down = Server::start([Act::Hang]).await;
    let (address, target) = (down.address, webhook(&down));
    let mut notifier = notifier();
    notifier.configure(std::slice::from_ref(&target));
    notifier.tell(&news(0));
    // The worker holds the first one now.
    down.requests(1).await;
    for number in 1..=LETTERS_MAX + 5 {
        notifier.tell(&news(number));
    }
    // What is configured again keeps what waits for it.
    notifier.configure(&[target]);
    drop(down);
    let up = Server::start_at(address, [say(200, "", "")]).await;
    let seen = up.requests(LETTERS_MAX + 1).await;
    let expected: Vec<String> = [0]
        .into_iter()
        .chain(6..=LETTERS_MAX + 5)
        .map(|number| format!("news {number}"))
        .collect();
    assert_eq!(texts(&seen), expected);
}

#[tokio::test]
async fn at_the_end_what_waits_is_tried_once_more() {
    let server = Server::start([say(503, "retry-after: 300\r\n", ""), say(200, "", "")]).await;
    let down = Server::start([Act::Close]).await;
    let mut notifier = notifier();
    notifier.configure(&[webhook(&server), webhook(&down)]);
    for number in 0..3 {
        notifier.tell(&news(number));
    }
    server.requests(1).await;
    let tasks = notifier.post.tasks.clone();
    drop(notifier);
    over(&tasks).await;
    assert_eq!(
        texts(&server.seen()),
        ["news 0", "news 0", "news 1", "news 2"]
    );
}

#[tokio::test]
async fn a_target_that_is_no_longer_configured_is_told_no_more() {
    let servers = [
        Server::start([say(200, "", "")]).await,
        Server::start([say(200, "", "")]).await,
    ];
    let mut notifier = notifier();
    notifier.configure(&[webhook(&servers[0]), webhook(&servers[1])]);
    notifier.tell(&news(0));
    notifier.configure(&[webhook(&servers[1])]);
    notifier.tell(&news(1));
    servers[1].requests(2).await;
    servers[0].requests(1).await;
    let tasks = notifier.post.tasks.clone();
    drop(notifier);
    over(&tasks).await;
    assert_eq!(texts(&servers[0].seen()), ["news 0"]);
}

#[tokio::test]
async fn secrets_stay_out_of_what_is_printed_and_keys_are_bounded() {
    let server = Server::start([say(200, "", "")]).await;
    let mut notifier = notifier();
    notifier.configure(&[webhook(&server)]);
    assert!(!format!("{notifier:?}").contains("hush"));
    for number in 0..KEYS_MAX + 10 {
        assert!(notifier.is_new(&number.to_string()));
    }
    assert_eq!(notifier.keys.len(), KEYS_MAX);
    assert!(!notifier.is_new(&KEYS_MAX.to_string()) && notifier.is_new("0"));
}
