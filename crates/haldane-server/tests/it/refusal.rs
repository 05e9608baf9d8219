//! Each way to be refused: the status, and a reason in the one form.

use axum::http::{StatusCode, header};
use haldane_api::http::{Answer, Refused};
use serde_json::json;

use crate::it::{
    client::Ask,
    world::{World, done},
};

const MEBIBYTE: usize = 1 << 20;

async fn check(world: &World, ask: Ask, status: u16, reason: &str) {
    let what = format!("{ask:?}").chars().take(200).collect::<String>();
    let answered = ask.send(&world.socket()).await;
    assert_eq!(answered.status.as_u16(), status, "{what}: {answered:?}");
    let refused: Refused = answered.json();
    assert!(refused.error.contains(reason), "{what}: {refused:?}");
}

fn deploy(service: &str) -> Ask {
    let body = json!({ "version": "v2", "run": ["./auth2"], "by": "ada" });
    Ask::post(format!("/v1/services/{service}/deploy"), &body)
}

fn apply(text: &str) -> Ask {
    Ask::post(
        "/v1/apply",
        &json!({ "text": text, "baseDir": "/", "by": "ada" }),
    )
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let world = World::start().await;
    for (path, reason) in [
        ("/", "there is no path \"/\""),
        ("/v1/service", "/openapi.json tells all"),
        ("/v1/services/", "there is no path"),
        ("/v1/services/ghost", "there is no service ghost"),
        ("/v1/services/ghost/history", "there is no service ghost"),
        ("/v1/services/ghost/logs", "there is no service ghost"),
        (
            "/v1/services/auth/logs?version=gone",
            "there is no version gone",
        ),
        (
            "/v1/services/auth/logs?version=gone&follow=true",
            "there is no version gone",
        ),
        ("/v1/events?service=ghost", "there is no service ghost"),
        ("/v1/rollouts/auth-9", "there is no rollout auth-9"),
        (
            "/v1/rollouts/auth-9/recording",
            "there is no rollout auth-9",
        ),
        (
            "/v1/rollouts/auth-9/recomputation",
            "there is no rollout auth-9",
        ),
    ] {
        check(&world, Ask::get(path), 404, reason).await;
    }
    check(&world, deploy("ghost"), 404, "there is no service ghost").await;
}

#[tokio::test]
async fn what_makes_no_sense_says_where() {
    let world = World::start().await;
    for (path, reason) in [
        (
            "/v1/services/Auth",
            "\"Auth\" is not a service name: expected 1 to 63",
        ),
        ("/v1/services/a%2Fb", "\"a/b\" is not a service name"),
        ("/v1/services/%ff", "the path is wrong: "),
        ("/v1/rollouts/Auth-1", "is not a rollout id"),
        ("/v1/services/auth/history?limit=0", "expected 1 to 100"),
        ("/v1/services/auth/history?limit=101", "expected 1 to 100"),
        (
            "/v1/services/auth/history?limit=many",
            "the query is wrong: limit: invalid digit",
        ),
        ("/v1/services/auth/history?max=3", "unknown field `max`"),
        (
            "/v1/services/auth/logs?lines=10001",
            "expected at most 10000",
        ),
        (
            "/v1/services/auth/logs?version=..",
            "\"..\" is not a version name",
        ),
        ("/v1/events?service=Auth", "\"Auth\" is not a service name"),
    ] {
        check(&world, Ask::get(path), 400, reason).await;
    }
    let path = "/v1/services/auth/deploy";
    for (body, reason) in [
        ("{", "the body is wrong: EOF while parsing"),
        ("", "the body is wrong: EOF while parsing"),
        (
            r#"{"version": 2, "by": "ada"}"#,
            "version: invalid type: integer `2`",
        ),
        (
            r#"{"version": "v2", "run": ["a", 1], "by": "ada"}"#,
            "run[1]: invalid type: integer `1`",
        ),
        (
            r#"{"version": "v 2", "by": "ada"}"#,
            "\"v 2\" is not a version name",
        ),
        (r#"{"version": "v2"}"#, "missing field `by`"),
        (
            r#"{"version": "v2", "by": "ada", "yes": 1}"#,
            "unknown field `yes`",
        ),
        (
            r#"{"version": "v2", "by": "ada"} more"#,
            "trailing characters",
        ),
    ] {
        check(&world, Ask::post(path, &body), 400, reason).await;
    }
    check(
        &world,
        Ask::post("/v1/services/Auth/deploy", "{}"),
        400,
        "is not a service name",
    )
    .await;
}

#[tokio::test]
async fn mistakes_in_a_file_are_told_one_by_one() {
    let world = World::start().await;
    let answered = apply("wrong").send(&world.socket()).await;
    assert_eq!(answered.status, StatusCode::BAD_REQUEST);
    let expected = Refused {
        error: "1 mistake".to_owned(),
        problems: vec!["1:1: expected a mapping".to_owned()],
    };
    assert_eq!(answered.json::<Refused>(), expected);
}

#[tokio::test]
async fn what_the_driver_refuses_keeps_its_meaning() {
    let world = World::start().await;
    check(&world, deploy("busy"), 409, "a rollout goes on").await;
    check(
        &world,
        deploy("disk"),
        503,
        "the store does not take decisions: the disk is full",
    )
    .await;
    check(
        &world,
        deploy("lost"),
        503,
        "the daemon did not answer in time",
    )
    .await;
    let command = Ask::post(
        "/v1/services/busy/commands",
        &json!({ "command": "Abort", "by": "ada" }),
    );
    check(&world, command, 409, "a rollout goes on").await;
    let logs = Ask::get("/v1/services/auth/logs?version=broken");
    check(&world, logs, 503, "reading the log failed: bad sector").await;
}

#[tokio::test]
async fn a_wrong_method_is_told_with_the_right_ones() {
    let world = World::start().await;
    check(
        &world,
        Ask::post("/v1/daemon", "{}"),
        405,
        "\"/v1/daemon\" has no method POST",
    )
    .await;
    check(&world, Ask::get("/v1/apply"), 405, "has no method GET").await;
    check(
        &world,
        Ask::get("/v1/services/auth").method("DELETE"),
        405,
        "has no method DELETE",
    )
    .await;
    let answered = Ask::get("/v1/apply").send(&world.socket()).await;
    assert_eq!(answered.headers.get(header::ALLOW).unwrap(), "POST");
}

#[tokio::test]
async fn a_body_must_be_json() {
    let world = World::start().await;
    check(
        &world,
        deploy("auth").content_type("text/plain"),
        415,
        "content-type: application/json",
    )
    .await;
    check(
        &world,
        Ask::get("/v1/apply").method("POST"),
        415,
        "content-type: application/json",
    )
    .await;
}

#[tokio::test]
async fn too_large_a_body_is_refused_and_counted() {
    let world = World::start().await;
    let large = "x".repeat(MEBIBYTE + 1);
    check(
        &world,
        Ask::post("/v1/services/auth/deploy", &large),
        413,
        "the body is too large",
    )
    .await;
    check(
        &world,
        apply(&"x".repeat(2 * MEBIBYTE + (1 << 16))),
        413,
        "the body is too large",
    )
    .await;
    assert!(world.asked.lock().unwrap().is_empty());

    // The largest file passes, even if each of its characters is escaped.
    let answered = apply(&"\n".repeat(MEBIBYTE)).send(&world.socket()).await;
    assert_eq!(answered.json::<Answer>(), done("Applied 1048576 bytes."));
    let metrics = Ask::get("/metrics").send(&world.socket()).await;
    assert!(
        metrics.text.contains("limits_total{limit=\"body\"} 2\n"),
        "{}",
        metrics.text
    );
}
