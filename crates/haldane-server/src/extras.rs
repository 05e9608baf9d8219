//! What the API offers beside the driver: metrics, logs, and the way out. The binary implements it.
//!
//! The methods are synchronous, so that an adapter is a few lines around what exists; the server calls those that may block on
//! threads for blocking work, a bounded number at a time, and owns the waiting.

use std::io;

use haldane_core::{ServiceName, VersionName};

/// What the server asks of the binary.
pub trait Extras: Send + Sync + 'static {
    /// Returns all metrics in the form that `accept`, the header of that name, asks for. It must not block; `figures` are the server's
    /// own, in the text format of Prometheus, version 0.0.4.
    fn metrics(&self, accept: &str, figures: &str) -> Metrics;

    /// Returns the last lines of a service's output, each ended by a line break. It may block.
    ///
    /// The implementer bounds what it reads; [`LogRequest::lines`] is bounded already.
    ///
    /// # Errors
    /// See [`LogError`].
    fn logs(&self, request: &LogRequest) -> Result<String, LogError>;

    /// Opens a service's output for following, beginning with the last lines. It may block.
    ///
    /// # Errors
    /// See [`LogError`].
    fn follow_logs(&self, request: &LogRequest) -> Result<Box<dyn LogFollower>, LogError>;

    /// Begins to drain and to stop everything that the daemon started, and returns at once. It may be called more than once.
    fn shut_down(&self);
}

/// Metrics as they are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// The form that they have.
    pub content_type: &'static str,
    /// The metrics.
    pub body: Vec<u8>,
}

/// A log that is being followed.
pub trait LogFollower: Send + 'static {
    /// Returns the lines that were completed since the last call, at first the last lines that were asked for; nothing when there
    /// is nothing new. It may block, but does not wait for more, and bounds what it returns.
    ///
    /// # Errors
    /// When the log can't be read; it is not polled again then.
    fn poll(&mut self) -> io::Result<String>;
}

/// Which lines are wanted. The service is one that the driver knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRequest {
    /// The service.
    pub service: ServiceName,
    /// The version, which may have gone or never have been.
    pub version: VersionName,
    /// The replica's index; `None` means all of them.
    pub replica: Option<u32>,
    /// How many lines of each replica at most.
    pub lines: u32,
}

/// Why there are no lines.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// There is no such version or replica, or it has no output here (a version given by its address).
    #[error("{0}")]
    NotFound(String),
    /// The log could not be read.
    #[error("reading the log failed: {0}")]
    Unreadable(#[source] io::Error),
}
