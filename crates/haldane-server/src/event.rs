//! The event stream: each service's view at connect, and then whenever it changes.
//!
//! Nothing is queued: an event is made when the client can take it, from the view as it is then. So a slow client costs no
//! memory and gets fewer, newer events.

mod pace;

use std::{convert::Infallible, future, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::{Stream, StreamExt, stream};
use haldane_core::ServiceName;
use haldane_engine::handle::Views;
use serde::Deserialize;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::Instant,
};
use tracing::error;
use utoipa::IntoParams;

use crate::{
    app::App,
    event::pace::{Next, Pace},
    refusal::Refusal,
    request::Parameters,
};

/// After how much silence a comment is sent: below the idle timeouts of usual proxies and clients.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The events' name.
const EVENT: &str = "service";

/// Which events are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventQuery {
    /// The service; all by default.
    #[param(value_type = Option<String>)]
    service: Option<ServiceName>,
}

/// One client's stream.
struct Watch {
    views: watch::Receiver<Arc<Views>>,
    pace: Pace,
    /// Held for its drop.
    _permit: OwnedSemaphorePermit,
}

pub(crate) async fn events(
    State(app): State<App>,
    Parameters(query): Parameters<EventQuery>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    if let Some(service) = &query.service {
        app.service(service)?;
    }
    let watch = Watch {
        views: app.engine.watch(),
        pace: Pace::new(query.service),
        _permit: app.stream()?,
    };
    let events = stream::unfold(watch, Watch::next).take_until(app.stop.cancelled_owned());
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

impl Watch {
    /// Waits for the next event; nothing follows once the driver has stopped.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            let views = Arc::clone(&self.views.borrow_and_update());
            let until = match self.pace.next(&views, Instant::now()) {
                Next::Send(view) => match Event::default().event(EVENT).json_data(view) {
                    Ok(event) => return Some((Ok(event), self)),
                    Err(error) => {
                        error!(service = %view.name, %error, "A view can't be written");
                        continue;
                    }
                },
                Next::Wait(until) => until,
            };
            tokio::select! {
                changed = self.views.changed() => changed.ok()?,
                () = wait(until) => {}
            }
        }
    }
}

async fn wait(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => future::pending().await,
    }
}

#[cfg(test)]
mod tests;
