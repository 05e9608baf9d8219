//! What the sample shop tells Prometheus: the two metrics that any HTTP server has, under their customary names.
//!
//! Durations are told with classic buckets and, to whoever asks for the protobuf form, as a native histogram, too.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use haldane_proxy::{DELIMITED_TYPE, Delimited, NativeHistogram, TEXT_TYPE, prefers_delimited};
use http::StatusCode;

/// The counter of requests.
const REQUESTS: &str = "http_requests_total";

/// The histogram of durations.
const DURATION: &str = "http_request_duration_seconds";

/// Upper bounds in seconds: fine where the simulated work and the usual limits (500 ms, 1 s) lie.
const BOUNDS: [f64; 12] = [
    0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0,
];

/// The counters of one shop; health checks and scrapes are not among them.
pub(super) struct ShopMetrics {
    version: String,
    counts: Mutex<Counts>,
}

/// All of it behind one lock, so that what is told agrees with itself.
#[derive(Debug, Default)]
struct Counts {
    /// Answers by status; the shop gives few different ones.
    answers: BTreeMap<u16, u64>,
    /// Answers within each of the bounds.
    within: [u64; BOUNDS.len()],
    durations: NativeHistogram,
}

impl ShopMetrics {
    /// Counts for the shop's `version`.
    pub(super) fn new(version: String) -> Self {
        let counts = Mutex::default();
        Self { version, counts }
    }

    /// Counts one answer.
    pub(super) fn observe(&self, status: StatusCode, elapsed: Duration) {
        let mut counts = self.lock();
        let answers = counts.answers.entry(status.as_u16()).or_default();
        *answers = answers.saturating_add(1);
        for (bound, within) in BOUNDS.iter().zip(&mut counts.within) {
            *within = within.saturating_add(u64::from(elapsed.as_secs_f64() <= *bound));
        }
        counts.durations.add(elapsed, 1);
    }

    /// Returns all metrics with their content type: the one that the header `Accept` asks for.
    pub(super) fn encode(&self, accept: &str) -> (&'static str, Vec<u8>) {
        let counts = self.lock();
        let mut text = String::new();
        // Writing to a string can't fail.
        counts.write(&mut text, &self.version).unwrap_or_default();
        if !prefers_delimited(accept) {
            return (TEXT_TYPE, text.into_bytes());
        }
        let mut delimited = Delimited::of_text(&text);
        let labels = [("version", self.version.as_str())];
        delimited.add_native(DURATION, &labels, &counts.durations);
        (DELIMITED_TYPE, delimited.encode())
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn write(&self, out: &mut String, version: &str) -> fmt::Result {
        let version = version.replace('\\', "\\\\").replace('"', "\\\"");
        let labels = format!("version=\"{version}\"");
        writeln!(out, "# HELP {REQUESTS} Answered requests.")?;
        writeln!(out, "# TYPE {REQUESTS} counter")?;
        for (code, count) in &self.answers {
            writeln!(out, "{REQUESTS}{{{labels},code=\"{code}\"}} {count}")?;
        }
        writeln!(
            out,
            "# HELP {DURATION} Time from the request's head to its answer."
        )?;
        writeln!(out, "# TYPE {DURATION} histogram")?;
        for (bound, within) in BOUNDS.iter().zip(self.within) {
            writeln!(out, "{DURATION}_bucket{{{labels},le=\"{bound}\"}} {within}")?;
        }
        let (count, sum) = (self.durations.count(), self.durations.sum().as_secs_f64());
        writeln!(out, "{DURATION}_bucket{{{labels},le=\"+Inf\"}} {count}")?;
        writeln!(out, "{DURATION}_sum{{{labels}}} {sum}")?;
        writeln!(out, "{DURATION}_count{{{labels}}} {count}")
    }
}
