//! Tests of `route`.

use axum::{
    body::Body,
    http::{Method, StatusCode, header},
};
use http_body_util::BodyExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::testing;

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_given_up_and_counted() {
    let (app, _driver) = testing::app(CancellationToken::new());
    let router = socket_router(app.clone());
    let body = Body::from_stream(futures_util::stream::pending::<Result<String, axum::Error>>());
    let req = Request::builder()
        .method(Method::POST)
        .uri("/v1/apply")
        .header(header::CONTENT_TYPE, "application/json")
        .body(body)
        .unwrap();
    let began = Instant::now();
    let rsp =
        hyper::service::Service::call(&hyper_util::service::TowerToHyperService::new(router), req);
    let rsp = rsp.await.unwrap();
    assert_eq!(rsp.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(began.elapsed(), REQUEST_TIMEOUT);
    assert_eq!(app.hits.time.get(), 1);
    let text = rsp.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(
        text,
        r#"{"error":"the request was not answered in time","problems":[]}"#
    );
}
