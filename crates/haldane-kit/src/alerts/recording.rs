//! The ten figures that are kept, so that alerts and dashboards need not ask for them anew.

use crate::{
    alerts::{Group, Rule},
    watched::{Side, Watched},
};

/// Returns the group of recorded figures.
pub(super) fn group(watched: &Watched) -> Group {
    let canary = Side::Canary;
    let error_rate = watched.error_rate(canary);
    let record = |name, expr| Rule::Record { name, expr };
    Group {
        name: "canary-recording",
        rules: vec![
            record("canary:error_rate:5m", error_rate.clone()),
            record("stable:error_rate:5m", watched.error_rate(Side::Stable)),
            record("canary:request_rate:5m", watched.request_rate(canary)),
            record("canary:latency_p50:5m", watched.quantile(canary, "0.5")),
            record("canary:latency_p95:5m", watched.quantile(canary, "0.95")),
            record("canary:latency_p99:5m", watched.quantile(canary, "0.99")),
            record("canary:success_rate:5m", format!("1 - {error_rate}")),
            record("canary:traffic_percentage:5m", watched.traffic_percentage()),
            record("canary:cpu_usage:5m", watched.cpu_usage(canary)),
            record("canary:memory_usage:5m", watched.memory_usage(canary)),
        ],
    }
}
