//! The handlers, but for the streams: each converts, delegates, and converts back.

use std::time::Instant;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, Method, Uri, header},
    response::IntoResponse,
};
use haldane_api::http::{
    Answer, ApplyRequest, CommandRequest, DaemonView, DeployRequest, RecomputationView,
    RolloutHistory, ServiceView,
};
use haldane_core::{RolloutId, ServiceName};
use haldane_engine::{handle::RequestError, recording::Stored};
use serde::Deserialize;
use utoipa::{IntoParams, openapi::OpenApi};

use crate::{
    app::App,
    limit::RECOMPUTE_MAX,
    openapi,
    refusal::Refusal,
    request::{Body, Parameters, Segment},
};

/// How many rollouts are told when nobody says.
const HISTORY_DEFAULT: u32 = 20;

/// How many rollouts are told at most: more than the store keeps of a service that rolls out daily for a month.
const HISTORY_MAX: u32 = 100;

/// JSON, a value a line.
const RECORDING_TYPE: &str = "application/x-ndjson";

/// Which rollouts are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HistoryQuery {
    /// How many rollouts at most, 1 to 100; 20 by default.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// Whether their decisions are wanted as well.
    #[serde(default)]
    entries: bool,
}

pub(crate) async fn daemon(State(app): State<App>) -> Json<DaemonView> {
    Json(app.engine.daemon())
}

pub(crate) async fn services(State(app): State<App>) -> Json<Vec<ServiceView>> {
    Json(app.engine.views().values().cloned().collect())
}

pub(crate) async fn service(
    State(app): State<App>,
    Segment(name): Segment<ServiceName>,
) -> Result<Json<ServiceView>, Refusal> {
    app.service(&name).map(Json)
}

pub(crate) async fn history(
    State(app): State<App>,
    Segment(name): Segment<ServiceName>,
    Parameters(query): Parameters<HistoryQuery>,
) -> Result<Json<Vec<RolloutHistory>>, Refusal> {
    let limit = query.limit.unwrap_or(HISTORY_DEFAULT);
    if !(1..=HISTORY_MAX).contains(&limit) {
        return Err(Refusal::invalid(format!(
            "limit is {limit}; expected 1 to {HISTORY_MAX}"
        )));
    }
    Ok(Json(app.engine.history(name, limit, query.entries).await?))
}

pub(crate) async fn rollout(
    State(app): State<App>,
    Segment(id): Segment<RolloutId>,
) -> Result<Json<RolloutHistory>, Refusal> {
    Ok(Json(app.engine.rollout(id).await?))
}

pub(crate) async fn recomputation(
    State(app): State<App>,
    Segment(id): Segment<RolloutId>,
) -> Result<Json<RecomputationView>, Refusal> {
    let recompute = |stored: &Stored| {
        let deadline = Instant::now() + RECOMPUTE_MAX;
        stored.recompute(&|| Instant::now() > deadline)
    };
    Ok(Json(app.stored(id, recompute).await?))
}

pub(crate) async fn recording(
    State(app): State<App>,
    Segment(id): Segment<RolloutId>,
) -> Result<impl IntoResponse, Refusal> {
    let text = app.stored(id, Stored::to_text).await?;
    let text = text.map_err(RequestError::from)?;
    Ok(([(header::CONTENT_TYPE, RECORDING_TYPE)], text))
}

pub(crate) async fn deploy(
    State(app): State<App>,
    Segment(name): Segment<ServiceName>,
    Body(request): Body<DeployRequest>,
) -> Result<Json<Answer>, Refusal> {
    Ok(Json(app.engine.deploy(name, request).await?))
}

pub(crate) async fn command(
    State(app): State<App>,
    Segment(name): Segment<ServiceName>,
    Body(request): Body<CommandRequest>,
) -> Result<Json<Answer>, Refusal> {
    Ok(Json(app.engine.command(name, request).await?))
}

pub(crate) async fn apply(
    State(app): State<App>,
    Body(request): Body<ApplyRequest>,
) -> Result<Json<Answer>, Refusal> {
    Ok(Json(app.engine.apply(request).await?))
}

pub(crate) async fn down(State(app): State<App>) -> Json<Answer> {
    app.extras.shut_down();
    let message = "The daemon drains and stops everything that it started, and then itself.";
    Json(Answer {
        messages: vec![message.to_owned()],
        rollout: None,
        is_durable: true,
    })
}

pub(crate) async fn metrics(State(app): State<App>, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get(header::ACCEPT);
    let accept = accept.and_then(|accept| accept.to_str().ok());
    let mut figures = String::new();
    app.hits.write(&mut figures);
    let metrics = app.extras.metrics(accept.unwrap_or_default(), &figures);
    ([(header::CONTENT_TYPE, metrics.content_type)], metrics.body)
}

/// A daemon whose store fails still routes traffic and is not to be killed for it: only a driver that has stopped is ill.
pub(crate) async fn healthz(State(app): State<App>) -> Result<&'static str, Refusal> {
    match app.engine.watch().has_changed() {
        Ok(_) => Ok("ok\n"),
        Err(_) => Err(Refusal::unavailable("the driver has stopped")),
    }
}

pub(crate) async fn openapi() -> Json<OpenApi> {
    Json(openapi::document())
}

pub(crate) async fn no_such_path(uri: Uri) -> Refusal {
    Refusal::not_found(format!(
        "there is no path {:?}; /openapi.json tells all",
        uri.path()
    ))
}

pub(crate) async fn no_such_method(method: Method, uri: Uri) -> Refusal {
    Refusal::method_not_allowed(format!("{:?} has no method {method}", uri.path()))
}
