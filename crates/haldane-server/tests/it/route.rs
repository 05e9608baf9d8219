//! Each route, asked rightly.

use std::sync::atomic::Ordering;

use axum::http::{StatusCode, header};
use haldane_api::http::{Answer, DaemonView, RolloutHistory, ServiceView};
use serde_json::json;

use crate::it::{
    client::{Answered, Ask},
    world::{World, daemon, done, history, service, view},
};

async fn ok(world: &World, ask: Ask) -> Answered {
    let answered = ask.send(&world.socket()).await;
    assert_eq!(answered.status, StatusCode::OK, "{answered:?}");
    answered
}

fn asked(world: &World) -> String {
    world.asked.lock().unwrap().last().unwrap().clone()
}

#[tokio::test]
async fn the_daemon_and_its_services_are_told() {
    let world = World::start().await;
    assert_eq!(
        ok(&world, Ask::get("/v1/daemon"))
            .await
            .json::<DaemonView>(),
        daemon()
    );
    let services: Vec<ServiceView> = ok(&world, Ask::get("/v1/services")).await.json();
    assert_eq!(services, [view("auth"), view("shop")]);
    let one: ServiceView = ok(&world, Ask::get("/v1/services/shop")).await.json();
    assert_eq!(one, view("shop"));

    world.change(|views| drop(views.remove(&service("shop"))));
    world.fault("the disk is full");
    let services: Vec<ServiceView> = ok(&world, Ask::get("/v1/services")).await.json();
    assert_eq!(services, [view("auth")]);
    let told: DaemonView = ok(&world, Ask::get("/v1/daemon")).await.json();
    assert_eq!(told.store_fault.as_deref(), Some("the disk is full"));
}

#[tokio::test]
async fn histories_are_told_as_far_as_asked() {
    let world = World::start().await;
    let rollouts: Vec<RolloutHistory> = ok(&world, Ask::get("/v1/services/auth/history"))
        .await
        .json();
    assert_eq!(rollouts.len(), 20);
    assert!(
        asked(&world).contains("has_entries: false"),
        "{}",
        asked(&world)
    );

    let path = "/v1/services/auth/history?limit=2&entries=true";
    let rollouts: Vec<RolloutHistory> = ok(&world, Ask::get(path)).await.json();
    let ids: Vec<_> = rollouts.iter().map(|rollout| rollout.id.as_str()).collect();
    assert_eq!(ids, ["auth-2", "auth-1"]);
    assert!(
        asked(&world).contains("has_entries: true"),
        "{}",
        asked(&world)
    );

    let one: RolloutHistory = ok(&world, Ask::get("/v1/rollouts/auth-1")).await.json();
    assert_eq!(one, history("auth-1".parse().unwrap()));
}

#[tokio::test]
async fn deploys_commands_and_files_reach_the_driver_with_who_asked() {
    let world = World::start().await;
    let body = json!({ "version": "v2", "run": ["./auth2"], "by": "ada", "reason": "faster" });
    let answer: Answer = ok(&world, Ask::post("/v1/services/auth/deploy", &body))
        .await
        .json();
    assert_eq!(answer, done("Deploying v2."));
    assert!(
        asked(&world).contains(r#"by: "ada", reason: Some("faster")"#),
        "{}",
        asked(&world)
    );

    let body = json!({ "command": "SetWeight", "weightBps": 500, "by": "ada" });
    let answer: Answer = ok(&world, Ask::post("/v1/services/auth/commands", &body))
        .await
        .json();
    assert_eq!(answer, done("SetWeight by ada."));

    let body = json!({ "text": "services: {}", "baseDir": "/srv", "by": "ada" });
    let answer: Answer = ok(&world, Ask::post("/v1/apply", &body)).await.json();
    assert_eq!(answer, done("Applied 12 bytes."));
}

#[tokio::test]
async fn down_is_passed_on_and_answered() {
    let world = World::start().await;
    let answer: Answer = ok(&world, Ask::get("/v1/down").method("POST")).await.json();
    assert!(answer.is_durable);
    assert_eq!(world.extras.shut_downs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn metrics_are_the_binarys_and_the_servers_own() {
    let world = World::start().await;
    let answered = ok(&world, Ask::get("/metrics")).await;
    let content_type = answered.headers.get(header::CONTENT_TYPE).unwrap();
    assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
    assert!(
        answered.text.starts_with("haldane_proxy_connections 3\n"),
        "{}",
        answered.text
    );
    assert!(
        answered
            .text
            .ends_with("haldane_server_limits_total{limit=\"connections\"} 0\n"),
        "{}",
        answered.text
    );
}

#[tokio::test]
async fn health_is_that_of_the_driver() {
    let mut world = World::start().await;
    world.fault("the disk is full");
    assert_eq!(ok(&world, Ask::get("/healthz")).await.text, "ok\n");
    world.lose_driver().await;
    let answered = Ask::get("/healthz").send(&world.socket()).await;
    assert_eq!(answered.status, StatusCode::SERVICE_UNAVAILABLE);
}
