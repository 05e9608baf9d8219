//! The output of a service's versions: its last lines, and then what is added.

use std::{io, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use haldane_core::{ServiceName, VersionName};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tracing::warn;
use utoipa::IntoParams;

use crate::{
    app::App,
    extras::{LogFollower, LogRequest},
    refusal::Refusal,
    request::{Parameters, Segment},
};

/// How many lines are told when nobody says: a screenful and a half.
const LINES_DEFAULT: u32 = 100;

/// How many lines are told at most; whoever wants more reads the files.
const LINES_MAX: u32 = 10_000;

/// How often a quiet log is looked at: a person sees no delay.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

const TEXT_TYPE: &str = "text/plain; charset=utf-8";

/// Which lines are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogQuery {
    /// The version; the canary if there is one, else stable, by default.
    #[param(value_type = Option<String>)]
    version: Option<VersionName>,
    /// The replica's index, from 0; all by default.
    replica: Option<u32>,
    /// How many lines of each replica at most, up to 10,000; 100 by default.
    #[param(maximum = 10_000)]
    lines: Option<u32>,
    /// Whether the answer goes on with what is added.
    #[serde(default)]
    follow: bool,
}

/// A followed log on its way to a client.
struct Follow {
    app: App,
    follower: Box<dyn LogFollower>,
    permit: OwnedSemaphorePermit,
}

pub(crate) async fn logs(
    State(app): State<App>,
    Segment(service): Segment<ServiceName>,
    Parameters(query): Parameters<LogQuery>,
) -> Result<Response, Refusal> {
    let lines = query.lines.unwrap_or(LINES_DEFAULT);
    if lines > LINES_MAX {
        return Err(Refusal::invalid(format!(
            "lines is {lines}; expected at most {LINES_MAX}"
        )));
    }
    let view = app.service(&service)?;
    let version = query
        .version
        .unwrap_or_else(|| view.canary.unwrap_or(view.stable).version);
    let request = LogRequest {
        service,
        version,
        replica: query.replica,
        lines,
    };
    let body = if query.follow {
        follow(app, request).await?
    } else {
        last(app, request).await?
    };
    Ok(([(header::CONTENT_TYPE, TEXT_TYPE)], body).into_response())
}

async fn last(app: App, request: LogRequest) -> Result<Body, Refusal> {
    let extras = app.extras.clone();
    let text = app.read(move || extras.logs(&request)).await??;
    Ok(Body::from(text))
}

async fn follow(app: App, request: LogRequest) -> Result<Body, Refusal> {
    let permit = app.stream()?;
    let extras = app.extras.clone();
    let follower = app.read(move || extras.follow_logs(&request)).await??;
    let stop = app.stop.clone().cancelled_owned();
    let follow = Follow {
        app,
        follower,
        permit,
    };
    let chunks = stream::unfold(Some(follow), |follow| async { follow?.next().await });
    Ok(Body::from_stream(chunks.take_until(stop)))
}

impl Follow {
    /// Waits for lines. A log that can't be read breaks the answer off, so that the client doesn't take it for complete.
    async fn next(self) -> Option<(io::Result<Bytes>, Option<Self>)> {
        let Self {
            app,
            mut follower,
            permit,
        } = self;
        loop {
            let polled = app.read(move || (follower.poll(), follower)).await;
            let result;
            (result, follower) = polled.ok()?;
            match result {
                Ok(text) if text.is_empty() => tokio::time::sleep(POLL_INTERVAL).await,
                Ok(text) => {
                    return Some((
                        Ok(text.into()),
                        Some(Self {
                            app,
                            follower,
                            permit,
                        }),
                    ));
                }
                Err(error) => {
                    warn!(%error, "Following a log failed");
                    return Some((Err(error), None));
                }
            }
        }
    }
}
