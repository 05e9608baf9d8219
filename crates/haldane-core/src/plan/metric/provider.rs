//! Kinds of metric systems, and how each tells what it knows.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Source;

/// A kind of metric system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Provider {
    /// The proxy itself, which is asked by nobody.
    Proxy,
    /// Prometheus and what speaks its API.
    Prometheus,
    /// Amazon CloudWatch.
    CloudWatch,
    /// Datadog.
    Datadog,
    /// Dynatrace.
    Dynatrace,
    /// Google Cloud Monitoring.
    Google,
    /// Graphite.
    Graphite,
    /// InfluxDB 2 and 3.
    InfluxDb,
    /// New Relic.
    NewRelic,
    /// Splunk Observability Cloud.
    SignalFx,
    /// Splunk.
    Splunk,
    /// Wavefront.
    Wavefront,
    /// A command that writes numbers.
    Command,
    /// Kubernetes' external metrics.
    ExternalMetrics,
    /// Keptn's metrics.
    Keptn,
    /// Apache SkyWalking.
    SkyWalking,
    /// JSON on the web.
    Web,
}

impl Provider {
    /// All that a file can name as sources.
    pub const ALL: [Self; 16] = [
        Self::Prometheus,
        Self::CloudWatch,
        Self::Datadog,
        Self::Dynatrace,
        Self::Google,
        Self::Graphite,
        Self::InfluxDb,
        Self::NewRelic,
        Self::SignalFx,
        Self::Splunk,
        Self::Wavefront,
        Self::Command,
        Self::ExternalMetrics,
        Self::Keptn,
        Self::SkyWalking,
        Self::Web,
    ];

    /// Returns its name in a release file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proxy => Source::PROXY,
            Self::Prometheus => "prometheus",
            Self::CloudWatch => "cloudWatch",
            Self::Datadog => "datadog",
            Self::Dynatrace => "dynatrace",
            Self::Google => "google",
            Self::Graphite => "graphite",
            Self::InfluxDb => "influxdb",
            Self::NewRelic => "newRelic",
            Self::SignalFx => "signalFx",
            Self::Splunk => "splunk",
            Self::Wavefront => "wavefront",
            Self::Command => "command",
            Self::ExternalMetrics => "externalMetrics",
            Self::Keptn => "keptn",
            Self::SkyWalking => "skywalking",
            Self::Web => "web",
        }
    }

    /// Whether it answers samples of counters, each with its time.
    #[must_use]
    pub const fn has_counters(self) -> bool {
        matches!(self, Self::Prometheus)
    }

    /// Whether it answers what counters show as it is asked; without them, and unless it has [gauges only](Self::has_gauges_only), it
    /// answers what was counted in each step of time.
    #[must_use]
    pub const fn has_totals(self) -> bool {
        matches!(self, Self::Command | Self::Web)
    }

    /// Whether it knows values as they are now, and nothing that was counted.
    #[must_use]
    pub const fn has_gauges_only(self) -> bool {
        matches!(self, Self::ExternalMetrics | Self::Keptn)
    }

    /// The time between two questions unless the declaration says otherwise; of a system that counts in steps, the length of a step.
    #[must_use]
    pub const fn interval(self) -> Duration {
        if matches!(self, Self::Proxy) {
            // It is read with the requests.
            Duration::from_secs(1)
        } else if self.has_counters() {
            Duration::from_secs(5)
        } else if self.has_totals() {
            Duration::from_secs(15)
        } else {
            Duration::from_mins(1)
        }
    }

    /// After which time data is old unless the declaration says otherwise: some scrapes are a minute apart, and a step is asked for when
    /// it is over and its data had a step's time to arrive.
    #[must_use]
    pub const fn stale_after(self) -> Duration {
        if self.has_counters() || self.has_totals() {
            Duration::from_mins(1)
        } else {
            Duration::from_mins(5)
        }
    }
}
