//! What the sample shop tells Prometheus: the two metrics that any HTTP server has, under their customary names.

use std::{borrow::Cow, iter, time::Duration};

use http::StatusCode;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};
use tracing::warn;

/// The content type of [`ShopMetrics::encode`].
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds in seconds: fine where the simulated work and the usual limits (500 ms, 1 s) lie.
const BOUNDS: [f64; 12] = [
    0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0,
];

/// The counters of one shop; health checks and scrapes are not among them.
pub(super) struct ShopMetrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    duration: Histogram,
}

/// The status codes that the shop gives are few, so this set is closed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    code: u16,
}

impl ShopMetrics {
    /// Registers the metrics of the shop's `version`.
    pub(super) fn new(version: String) -> Self {
        let labels = iter::once((Cow::from("version"), Cow::from(version)));
        let mut registry = Registry::with_labels(labels);
        let requests = Family::default();
        let duration = Histogram::new(BOUNDS);
        registry.register("http_requests", "Answered requests", requests.clone());
        registry.register(
            "http_request_duration_seconds",
            "Time from the request's head to its answer",
            duration.clone(),
        );
        Self {
            registry,
            requests,
            duration,
        }
    }

    /// Counts one answer.
    pub(super) fn observe(&self, status: StatusCode, elapsed: Duration) {
        self.requests
            .get_or_create(&Labels {
                code: status.as_u16(),
            })
            .inc();
        self.duration.observe(elapsed.as_secs_f64());
    }

    /// Returns all metrics in the text format of Prometheus.
    pub(super) fn encode(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            // A `String` takes every write, so only an encoder's own mistake leads here; half a scrape is worse than none.
            warn!("Metrics could not be encoded");
            text.clear();
        }
        text
    }
}
