//! The server's limits, and how often each was hit.

use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use haldane_api::file::TEXT_BYTES_MAX;
use haldane_engine::handle::ANSWER_TIMEOUT;

/// The largest body of a request but for `/v1/apply`: a plan of a thousand steps has a tenth of this.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;

/// The largest body for `/v1/apply`: a release file of the largest size, each character of it escaped in JSON, and the rest.
pub(crate) const APPLY_BODY_BYTES_MAX: usize = 2 * TEXT_BYTES_MAX + (1 << 16);

/// The time from a request's head to its answer's head. The driver's own timeout comes first and says more.
pub(crate) const REQUEST_TIMEOUT: Duration = ANSWER_TIMEOUT.saturating_add(Duration::from_secs(5));

/// Event streams and followed logs at the same time: people and dashboards on one machine, far from what memory allows.
pub(crate) const STREAMS_MAX: usize = 64;

/// Logs that are read at the same time; more wait, so that they can't take all threads for blocking work.
pub(crate) const READS_MAX: usize = 8;

/// Recordings that are read at the same time; more wait. Each takes tens of megabytes while it is read, and may take a processor.
pub(crate) const RECORDINGS_MAX: usize = 1;

/// How long decisions are made again before that is given up; it ends before the request does.
pub(crate) const RECOMPUTE_MAX: Duration = Duration::from_secs(10);

/// Connections to the socket; more wait in the kernel's queue. Above the streams' number, so that commands get through.
pub(crate) const CONNECTIONS_MAX: usize = 256;

/// Connections to the open listener, each of which is short.
pub(crate) const OPEN_CONNECTIONS_MAX: usize = 32;

/// The life of a connection to the open listener: one scrape, however slowly it is read.
pub(crate) const OPEN_CONNECTION_LIFE: Duration = Duration::from_secs(20);

/// The time for a request's head, and the longest idle time of a connection.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How often each limit was hit.
#[derive(Debug, Default)]
pub(crate) struct LimitHits {
    /// Requests refused for the size of their body.
    pub(crate) body: Hits,
    /// Requests that took too long.
    pub(crate) time: Hits,
    /// Streams refused for their number.
    pub(crate) streams: Hits,
    /// Connections that had to wait.
    pub(crate) connections: Hits,
}

/// A counter.
#[derive(Debug, Default)]
pub(crate) struct Hits(AtomicU64);

impl Hits {
    /// Counts one.
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many were counted.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl LimitHits {
    /// Adds the counters to `text`, in the text format of Prometheus.
    pub(crate) fn write(&self, text: &mut String) {
        text.push_str("# HELP haldane_server_limits_total Limits of the API that clients met.\n");
        text.push_str("# TYPE haldane_server_limits_total counter\n");
        for (limit, hits) in [
            ("body", &self.body),
            ("time", &self.time),
            ("streams", &self.streams),
            ("connections", &self.connections),
        ] {
            let hits = hits.get();
            // Writing to a string can't fail.
            writeln!(
                text,
                "haldane_server_limits_total{{limit=\"{limit}\"}} {hits}"
            )
            .unwrap_or_default();
        }
    }
}
