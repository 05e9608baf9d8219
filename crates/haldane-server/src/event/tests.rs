//! Tests of `event`.

use axum::response::IntoResponse;
use http_body_util::BodyExt;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::testing;

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_kept_alive_every_fifteen_seconds() {
    let stop = CancellationToken::new();
    let (app, _driver) = testing::app(stop.clone());
    let query = Parameters(EventQuery { service: None });
    let mut stream = events(State(app), query)
        .await
        .unwrap()
        .into_response()
        .into_body();
    for _ in 0..3 {
        let began = Instant::now();
        let frame = stream.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), ":\n\n");
        assert_eq!(began.elapsed().as_secs(), 15);
    }
    stop.cancel();
    assert!(stream.frame().await.is_none());
}
