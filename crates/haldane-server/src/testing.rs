//! What the tests of several modules share.

use std::{io, sync::Arc};

use haldane_api::http::DaemonView;
use haldane_engine::handle::{Engine, Event, Views};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    extras::{Extras, LogError, LogFollower, LogRequest, Metrics},
};

/// The driver's ends of the channels, held so that they stay open.
pub(crate) struct Driver {
    _events: mpsc::Receiver<Event>,
    _views: watch::Sender<Arc<Views>>,
    _daemon: watch::Sender<DaemonView>,
}

/// What these tests never ask for.
struct Nothing;

/// Returns the state of a server without services, before a driver that never answers.
pub(crate) fn app(stop: CancellationToken) -> (App, Driver) {
    let (events, inbox) = mpsc::channel(1);
    let (views, views_seen) = watch::channel(Arc::default());
    let (daemon, daemon_seen) = watch::channel(DaemonView {
        version: String::new(),
        pid: 1,
        started_at: "2026-11-21T10:00:00Z".parse().unwrap(),
        data_dir: String::new(),
        store_fault: None,
    });
    let engine = Engine::new(events, views_seen, daemon_seen);
    let driver = Driver {
        _events: inbox,
        _views: views,
        _daemon: daemon,
    };
    (App::new(engine, Arc::new(Nothing), stop), driver)
}

impl Extras for Nothing {
    fn metrics(&self, _: &str, figures: &str) -> Metrics {
        Metrics {
            content_type: "text/plain",
            body: figures.into(),
        }
    }

    fn logs(&self, _: &LogRequest) -> Result<String, LogError> {
        Err(LogError::Unreadable(io::Error::other("there are no logs")))
    }

    fn follow_logs(&self, _: &LogRequest) -> Result<Box<dyn LogFollower>, LogError> {
        Err(LogError::Unreadable(io::Error::other("there are no logs")))
    }

    fn shut_down(&self) {}
}
