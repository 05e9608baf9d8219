//! Where the requests of a release are counted.

use std::{collections::BTreeMap, time::Duration};

use haldane_core::plan::{
    Plan,
    metric::{Source, Unit},
};

/// The directory of the controller that holds, by namespace, the files with the secrets that releases of that namespace may name.
pub const SECRETS_DIR: &str = "/etc/haldane/secrets";

/// A plan, and what it is judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgedPlan {
    /// The plan, with the declared metrics.
    pub plan: Plan,
    /// Where requests are counted, if anywhere.
    pub requests: Option<Requests>,
}

/// Where the requests of both versions are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requests {
    /// The Prometheus.
    pub source: Source,
    /// By which series.
    pub counted: CountedBy,
    /// What fills the placeholders beside what the controller knows.
    pub variables: BTreeMap<String, String>,
    /// What the metric system calls a version, with placeholders.
    pub workload: String,
    /// The time between two questions.
    pub interval: Duration,
}

/// By which series requests are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CountedBy {
    /// Those of a known mesh or ingress.
    Template(String),
    /// Others.
    Series {
        /// The counter of requests.
        counter: String,
        /// The matchers that find a version's series, with placeholders.
        select: String,
        /// The matcher that tells failed requests.
        failed: String,
        /// The histogram of latencies, and the unit of its bounds.
        latency: Option<(String, Unit)>,
    },
}
