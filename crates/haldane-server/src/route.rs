//! The table of routes, from which both the router and the OpenAPI document are made.

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    handler::Handler,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use haldane_api::http::{
    Answer, ApplyRequest, CommandRequest, DaemonView, DeployRequest, RecomputationView,
    RolloutHistory, ServiceView,
};
use tracing::{Instrument, debug, debug_span};
use utoipa::openapi::HttpMethod;

use crate::{
    app::App,
    event::{self, EventQuery},
    handler::{self, HistoryQuery},
    limit::{APPLY_BODY_BYTES_MAX, BODY_BYTES_MAX, REQUEST_TIMEOUT},
    log::{self, LogQuery},
    openapi::Entry,
    refusal::Refusal,
};

/// One row of the table.
pub(crate) struct Route {
    pub(crate) method: HttpMethod,
    pub(crate) path: &'static str,
    pub(crate) audience: Audience,
    pub(crate) handler: MethodRouter<App>,
    pub(crate) entry: Entry,
}

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Whoever may open the socket.
    Owner,
    /// Also whoever reaches the open listener.
    Anyone,
}

/// Returns the table.
pub(crate) fn routes() -> Vec<Route> {
    let mut routes = reads();
    routes.extend(writes());
    routes.extend(open());
    routes
}

/// Returns the router of the socket.
pub(crate) fn socket_router(app: App) -> Router {
    router(app, routes())
}

/// Returns the router of the open listener.
pub(crate) fn open_router(app: App) -> Router {
    router(
        app,
        routes()
            .into_iter()
            .filter(|route| route.audience == Audience::Anyone),
    )
}

fn reads() -> Vec<Route> {
    vec![
        Route::get("/v1/daemon", handler::daemon, Entry::new("daemon", "Tells about the daemon itself.").answers::<DaemonView>()),
        Route::get("/v1/services", handler::services, Entry::new("services", "Tells all services.").answers_list::<ServiceView>()),
        Route::get(
            "/v1/services/{name}",
            handler::service,
            Entry::new("service", "Tells one service.").answers::<ServiceView>().refuses(&[400, 404]),
        ),
        Route::get(
            "/v1/services/{name}/history",
            handler::history,
            Entry::new("history", "Tells a service's rollouts, newest first; without their decisions unless asked for.")
                .asks::<HistoryQuery>()
                .answers_list::<RolloutHistory>()
                .refuses(&[400, 404, 503]),
        ),
        Route::get(
            "/v1/rollouts/{id}",
            handler::rollout,
            Entry::new("rollout", "Tells one rollout with its decisions.")
                .answers::<RolloutHistory>()
                .refuses(&[400, 404, 503]),
        ),
        Route::get(
            "/v1/rollouts/{id}/recomputation",
            handler::recomputation,
            Entry::new("recomputation", "Makes a rollout's decisions again from what is stored, and tells whether they are the same.")
                .answers::<RecomputationView>()
                .refuses(&[400, 404, 503]),
        ),
        Route::get(
            "/v1/rollouts/{id}/recording",
            handler::recording,
            Entry::new("recording", "Tells what the judges of a rollout saw, for `haldane replay`.")
                .answers_text("application/x-ndjson", "The recording, a JSON value a line.")
                .refuses(&[400, 404, 503]),
        ),
        Route::get(
            "/v1/services/{name}/logs",
            log::logs,
            Entry::new("logs", "Tells the last lines of a version's output, and with `follow=true` goes on with what is added.")
                .asks::<LogQuery>()
                .answers_text("text/plain", "The lines.")
                .refuses(&[400, 404, 503]),
        ),
        Route::get(
            "/v1/events",
            event::events,
            Entry::new(
                "events",
                "Streams events `service` with a ServiceView: one of each service at connect, then on each change, at most four per second and service.",
            )
            .asks::<EventQuery>()
            .answers_text("text/event-stream", "The events.")
            .refuses(&[400, 404, 503]),
        ),
        Route::get("/openapi.json", handler::openapi, Entry::new("openapi", "Tells this document.").answers_any()),
    ]
}

fn writes() -> Vec<Route> {
    let refusals = [400, 404, 409, 413, 415, 503];
    vec![
        Route::post(
            "/v1/services/{name}/deploy",
            handler::deploy,
            Entry::new("deploy", "Begins a rollout.")
                .takes::<DeployRequest>()
                .answers::<Answer>()
                .refuses(&refusals),
        ),
        Route::post(
            "/v1/services/{name}/commands",
            handler::command,
            Entry::new("command", "Acts on a service's rollout.")
                .takes::<CommandRequest>()
                .answers::<Answer>()
                .refuses(&refusals),
        ),
        Route::post(
            "/v1/apply",
            handler::apply,
            Entry::new("apply", "Applies a release file; all its mistakes are told at once.")
                .takes::<ApplyRequest>()
                .answers::<Answer>()
                .refuses(&refusals),
        )
        .with_body_bytes_max(APPLY_BODY_BYTES_MAX),
        Route::post(
            "/v1/down",
            handler::down,
            Entry::new("down", "Drains and stops everything that the daemon started, and the daemon; the answer comes before that is done.")
                .answers::<Answer>(),
        ),
    ]
}

fn open() -> Vec<Route> {
    vec![
        Route::get(
            "/metrics",
            handler::metrics,
            Entry::new(
                "metrics",
                "Tells all metrics in the text format of Prometheus, or in its protobuf format with native histograms where that is asked for.",
            )
            .answers_text("text/plain; version=0.0.4; charset=utf-8", "The metrics."),
        )
        .for_anyone(),
        Route::get(
            "/healthz",
            handler::healthz,
            Entry::new("healthz", "Tells whether the daemon works.")
                .answers_text("text/plain", "It does.")
                .refuses(&[503]),
        )
        .for_anyone(),
    ]
}

impl Route {
    fn get<H: Handler<T, App>, T: 'static>(path: &'static str, handler: H, entry: Entry) -> Self {
        Self {
            method: HttpMethod::Get,
            path,
            audience: Audience::Owner,
            handler: get(handler),
            entry,
        }
    }

    fn post<H: Handler<T, App>, T: 'static>(path: &'static str, handler: H, entry: Entry) -> Self {
        Self {
            method: HttpMethod::Post,
            path,
            audience: Audience::Owner,
            handler: post(handler),
            entry,
        }
    }

    fn for_anyone(self) -> Self {
        Self {
            audience: Audience::Anyone,
            ..self
        }
    }

    fn with_body_bytes_max(self, bytes: usize) -> Self {
        Self {
            handler: self.handler.layer(DefaultBodyLimit::max(bytes)),
            ..self
        }
    }
}

fn router(app: App, routes: impl IntoIterator<Item = Route>) -> Router {
    let mut router = Router::new();
    for route in routes {
        router = router.route(route.path, route.handler);
    }
    router
        .fallback(handler::no_such_path)
        .method_not_allowed_fallback(handler::no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(app.clone(), in_time))
        .with_state(app)
}

/// Answers within the time for a request, whatever the handler waits for. The bodies of streams are not meant.
async fn in_time(State(app): State<App>, req: Request, next: Next) -> Response {
    let span = debug_span!("request", method = %req.method(), path = req.uri().path());
    let answer = async {
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, next.run(req)).await;
        let rsp = answer.unwrap_or_else(|_| {
            app.hits.time.count();
            Refusal::unavailable("the request was not answered in time").into_response()
        });
        debug!(status = rsp.status().as_u16(), "Answered");
        rsp
    };
    answer.instrument(span).await
}

#[cfg(test)]
mod tests;
