//! A query to any provider that is asked over HTTP.

mod keys;

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    answer::Answer,
    auth::Auth,
    error::{Error, Result},
    provider::{
        cloudwatch, datadog, dynatrace, external, google, graphite, influxdb, keptn, newrelic,
        prometheus, signalfx, skywalking, splunk, wavefront, web,
    },
    reading::{Page, Reading},
    request::Request,
    secret::Secret,
    window::Window,
};

/// The most pages of one answer that a host reads; more are a query that selects too much.
pub const PAGES_MAX: usize = 20;

/// A query to any provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// Amazon CloudWatch.
    CloudWatch(cloudwatch::Query),
    /// Datadog.
    Datadog(datadog::Query),
    /// Dynatrace.
    Dynatrace(dynatrace::Query),
    /// Kubernetes' external metrics.
    External(external::Query),
    /// Google Cloud Monitoring.
    Google(google::Query),
    /// Graphite.
    Graphite(graphite::Query),
    /// InfluxDB 2 and 3.
    InfluxDb(influxdb::Query),
    /// Keptn.
    Keptn(keptn::Query),
    /// New Relic.
    NewRelic(newrelic::Query),
    /// Prometheus and what speaks its API.
    Prometheus(prometheus::Query),
    /// Splunk Observability Cloud.
    SignalFx(signalfx::Query),
    /// Apache SkyWalking.
    SkyWalking(skywalking::Query),
    /// Splunk.
    Splunk(splunk::Query),
    /// Wavefront.
    Wavefront(wavefront::Query),
    /// JSON on the web.
    Web(web::Query),
}

impl Query {
    /// Returns the provider's name, as in a release file.
    #[must_use]
    pub const fn provider(&self) -> &'static str {
        match self {
            Self::CloudWatch(_) => "cloudWatch",
            Self::Datadog(_) => "datadog",
            Self::Dynatrace(_) => "dynatrace",
            Self::External(_) => "externalMetrics",
            Self::Google(_) => "google",
            Self::Graphite(_) => "graphite",
            Self::InfluxDb(_) => "influxdb",
            Self::Keptn(_) => "keptn",
            Self::NewRelic(_) => "newRelic",
            Self::Prometheus(_) => "prometheus",
            Self::SignalFx(_) => "signalFx",
            Self::SkyWalking(_) => "skywalking",
            Self::Splunk(_) => "splunk",
            Self::Wavefront(_) => "wavefront",
            Self::Web(_) => "web",
        }
    }

    /// Returns the request.
    ///
    /// # Errors
    /// When the query or its address can't be sent, or the credentials don't fit.
    pub fn request(&self, window: &Window, auth: &Auth) -> Result<Request> {
        match self {
            Self::CloudWatch(query) => cloudwatch::request(query, window, auth),
            Self::Datadog(query) => datadog::request(query, window, auth),
            Self::Dynatrace(query) => dynatrace::request(query, window, auth),
            Self::External(query) => external::request(query, window, auth),
            Self::Google(query) => google::request(query, window, auth),
            Self::Graphite(query) => graphite::request(query, window, auth),
            Self::InfluxDb(query) => influxdb::request(query, window, auth),
            Self::Keptn(query) => keptn::request(query, window, auth),
            Self::NewRelic(query) => newrelic::request(query, window, auth),
            Self::Prometheus(query) => prometheus::request(query, window, auth),
            Self::SignalFx(query) => signalfx::request(query, window, auth),
            Self::SkyWalking(query) => skywalking::request(query, window, auth),
            Self::Splunk(query) => splunk::request(query, window, auth),
            Self::Wavefront(query) => wavefront::request(query, window, auth),
            Self::Web(query) => web::request(query, window, auth),
        }
    }

    /// Returns the request for the next page of an answer.
    ///
    /// # Errors
    /// When the query or its address can't be sent, the credentials don't fit, or the provider has no pages.
    pub fn next_request(&self, window: &Window, auth: &Auth, page: &Page) -> Result<Request> {
        match self {
            Self::CloudWatch(query) => cloudwatch::next_request(query, window, auth, page),
            Self::Dynatrace(query) => dynatrace::next_request(query, auth, page),
            Self::Google(query) => google::next_request(query, window, auth, page),
            Self::Datadog(_)
            | Self::External(_)
            | Self::Graphite(_)
            | Self::InfluxDb(_)
            | Self::Keptn(_)
            | Self::NewRelic(_)
            | Self::Prometheus(_)
            | Self::SignalFx(_)
            | Self::SkyWalking(_)
            | Self::Splunk(_)
            | Self::Wavefront(_)
            | Self::Web(_) => Err(Error::invalid("the page", "expected no pages")),
        }
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// When it is none, or not of the documented form.
    pub fn parse(&self, window: &Window, answer: &Answer<'_>) -> Result<Reading> {
        match self {
            Self::CloudWatch(_) => cloudwatch::parse(answer),
            Self::Datadog(query) => datadog::parse(query, window, answer),
            Self::Dynatrace(_) => dynatrace::parse(answer),
            Self::External(_) => external::parse(answer),
            Self::Google(_) => google::parse(answer),
            Self::Graphite(_) => graphite::parse(answer),
            Self::InfluxDb(query) => influxdb::parse(query, window, answer),
            Self::Keptn(query) => keptn::parse(query, window, answer),
            Self::NewRelic(query) => newrelic::parse(query, window, answer),
            Self::Prometheus(_) => prometheus::parse(answer),
            Self::SignalFx(_) => signalfx::parse(answer),
            Self::SkyWalking(query) => skywalking::parse(query, window, answer),
            Self::Splunk(_) => splunk::parse(window, answer),
            Self::Wavefront(_) => wavefront::parse(answer),
            Self::Web(query) => web::parse(query, window, answer),
        }
    }

    /// Returns the credentials that a secret holds, under the keys that Flagger, Argo and the providers give them.
    ///
    /// # Errors
    /// When the provider needs credentials, and the secret has none of its keys.
    pub fn auth(&self, secret: &BTreeMap<String, Secret>, now: Timestamp) -> Result<Auth> {
        keys::auth(self, secret, now)
    }
}

#[cfg(test)]
mod tests;
