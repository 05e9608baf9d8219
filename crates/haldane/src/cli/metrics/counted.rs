//! What the proxy of a running daemon counted of conversions so far, for `haldane metrics check`.

use haldane_core::{ServiceName, VersionName, plan::metric::Metric};

use super::check::share;
use crate::cli::{client::ClientError, globals::Globals};

/// What a daemon's proxy counted.
pub(super) enum Proxy {
    /// All counters, in the text format of Prometheus.
    Counters(String),
    /// There is none to ask, or it does not answer.
    Silent(String),
}

impl Proxy {
    /// Asks the daemon, if there is one.
    pub(super) async fn read(globals: &Globals) -> Self {
        match globals.client().text("/metrics").await {
            Ok(counters) => Self::Counters(counters),
            Err(ClientError::NoDaemon { .. }) => {
                Self::Silent("no daemon runs; the proxy counts it once there is traffic".to_owned())
            }
            Err(error) => Self::Silent(format!("not known: {error}")),
        }
    }

    /// Says what was counted of a metric of one version.
    pub(super) fn value(
        &self,
        service: &ServiceName,
        version: &VersionName,
        metric: &Metric,
    ) -> String {
        let counters = match self {
            Self::Counters(counters) => counters,
            Self::Silent(why) => return why.clone(),
        };
        let count = |what: &str| {
            let name = format!("haldane_proxy_conversion_{what}_total");
            let labels = format!(
                "{{service=\"{service}\",version=\"{version}\",metric=\"{}\"}} ",
                metric.name
            );
            let mut lines = counters.lines();
            lines.find_map(|line| {
                let count = line.strip_prefix(&name)?.strip_prefix(&labels)?;
                count.parse::<u64>().ok()
            })
        };
        match (count("hits"), count("exposures")) {
            (Some(hits), Some(exposures)) => format!("{} so far", share(hits, exposures)),
            _ => {
                "the daemon counts nothing of it: no such version runs, or this file is not applied"
                    .to_owned()
            }
        }
    }
}
