//! Declared metrics: what other systems measure of a service, or the proxy counts of its requests, and how the sequential judge is to take it.
//!
//! The core knows the kind of a metric and its margin; whom to ask and with which words is data for the host, which the core carries
//! but doesn't read. A declaration is part of the plan, so that a rollout is judged by what was declared when it began.
//!
//! **Invariant:** no secret is in here: credentials are names of environment variables and files.

mod provider;
mod requests;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

pub use self::{
    provider::Provider,
    requests::{PATTERN_BYTES_MAX, PatternError, RequestPattern, Requests},
};
use crate::plan::{PlanProblem, Rules};

/// The most metrics of a plan, where a limit counts as one; the judge adds errors and latency of requests to them.
pub const METRICS_MAX: usize = 14;

/// The names that the judge's own metrics have.
pub const TAKEN_NAMES: [&str; 2] = ["errors", "latency"];

/// The longest name of a metric, in bytes.
const NAME_BYTES_MAX: usize = 63;

/// The largest multiple of stable's rate, thousandths.
const RATIO_PERMILLE_MAX: u32 = 100_000;

/// The largest share that may be added to stable's rate, parts per million.
const ACCEPT_PPM_MAX: u32 = 500_000;

/// No share is as large as this, in parts per million.
const LIMIT_PPM_END: u64 = 1_000_000;

/// The largest share of α, relative to the others.
const WEIGHT_MAX: u32 = 1_000;

/// The shortest and the longest time between two questions.
const INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(1));

/// The longest time after which data may count as old.
const STALE_MAX: Duration = Duration::from_hours(24);

/// One metric of another system, or of the proxy's own counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metric {
    /// Its name, unlike any other's.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Who is asked.
    pub source: Source,
    /// What is asked.
    pub ask: Ask,
    /// What fills the placeholders of what is asked, besides the service, the version and the window.
    pub variables: BTreeMap<String, String>,
    /// What the metric system calls a version: a text with `{{version}}` in it, or with another name of the version where it has some.
    pub workload: String,
    /// The unit of latencies that are no template's.
    pub unit: Unit,
    /// Which way is worse.
    pub direction: Direction,
    /// How much worse than stable is still fine.
    pub margin: Margin,
    /// What the canary must keep to whatever stable does, if it must: parts per million of the exposure, of a gauge thousandths of
    /// its unit.
    #[serde(default)]
    pub limit: Option<u64>,
    /// Its share of the bound on false rollbacks, relative to the other critical metrics.
    pub weight: u32,
    /// Whether harm rolls back; else it holds the rollout.
    pub critical: bool,
    /// Whether nothing passes without its data.
    pub required: bool,
    /// The time between two questions.
    pub interval: Duration,
    /// Data older than this is none.
    pub stale_after: Duration,
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Some of many, and usually few of them: failed of all requests.
    Ratio,
    /// Events in time: restarts in the seconds that pods lived.
    Counter,
    /// Latencies in buckets.
    Latency,
    /// What each pod uses.
    Gauge,
    /// A share that is not small: buyers of all visitors.
    Conversion,
}

/// Which way is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// More is worse.
    HigherIsWorse,
    /// Less is worse.
    LowerIsWorse,
}

/// How much worse than stable is still fine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Margin {
    /// Harm is where the canary's rate is beyond this multiple of stable's, thousandths.
    pub harm_permille: u32,
    /// A canary is accepted as shown good up to this multiple of stable's rate, thousandths, ...
    pub accept_permille: u32,
    /// ... plus this share of its exposure, parts per million.
    pub accept_ppm: u32,
}

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// The queries of a known mesh or ingress.
    Template(String),
    /// One query: the buckets of a latency, or a number for each pod.
    Query(String),
    /// Two counters, or one that is counted by time.
    Counts {
        /// What happened.
        events: String,
        /// What could have: `None` for the time that passed.
        exposure: Option<String>,
    },
    /// Requests that the proxy counts itself.
    Requests(Requests),
}

/// A metric system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its name in the file.
    pub name: String,
    /// Which kind of system it is.
    pub provider: Provider,
    /// Where it is asked.
    pub address: String,
    /// What else the provider needs: an account, an organization, a region.
    pub options: BTreeMap<String, String>,
    /// What is sent along with each question.
    pub headers: BTreeMap<String, Given>,
    /// The credentials, by the keys that the provider's secrets have.
    pub auth: BTreeMap<String, Given>,
}

/// A text, or where it is found when it is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Given {
    /// As it is; never a secret.
    Text(String),
    /// In this environment variable of the daemon.
    Env(String),
    /// In this file, which has an absolute path.
    File(String),
}

impl Source {
    /// The name of the proxy as a source, which no other source has.
    pub const PROXY: &'static str = "proxy";

    /// Returns the proxy as a source.
    #[must_use]
    pub fn proxy() -> Self {
        Self {
            name: Self::PROXY.to_owned(),
            provider: Provider::Proxy,
            address: String::new(),
            options: BTreeMap::new(),
            headers: BTreeMap::new(),
            auth: BTreeMap::new(),
        }
    }
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Ratio,
        Self::Counter,
        Self::Latency,
        Self::Gauge,
        Self::Conversion,
    ];

    /// Returns its name in a release file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ratio => "ratio",
            Self::Counter => "counter",
            Self::Latency => "latency",
            Self::Gauge => "gauge",
            Self::Conversion => "conversion",
        }
    }

    /// Which way is worse unless the declaration says otherwise.
    #[must_use]
    pub const fn direction(self) -> Direction {
        match self {
            Self::Conversion => Direction::LowerIsWorse,
            Self::Ratio | Self::Counter | Self::Latency | Self::Gauge => Direction::HigherIsWorse,
        }
    }

    /// Whether harm rolls back unless the declaration says otherwise: what pods use only holds.
    #[must_use]
    pub const fn is_critical(self) -> bool {
        !matches!(self, Self::Gauge)
    }

    /// Whether a pass needs it unless the declaration says otherwise.
    #[must_use]
    pub const fn is_required(self) -> bool {
        matches!(self, Self::Ratio | Self::Latency)
    }
}

impl Margin {
    /// Returns the margin of a kind and direction unless the declaration says otherwise.
    #[must_use]
    pub const fn standard(kind: Kind, direction: Direction) -> Self {
        let (harm_permille, accept_permille, accept_ppm) = match (kind, direction) {
            (Kind::Ratio | Kind::Counter, _) => (1_100, 1_500, 2_000),
            (Kind::Latency, _) => (1_100, 1_500, 5_000),
            (Kind::Gauge, _) => (1_150, 1_150, 0),
            (Kind::Conversion, Direction::LowerIsWorse) => (980, 900, 0),
            (Kind::Conversion, Direction::HigherIsWorse) => (1_020, 1_100, 0),
        };
        Self {
            harm_permille,
            accept_permille,
            accept_ppm,
        }
    }
}

impl Metric {
    /// The share of α unless the declaration says otherwise.
    pub const WEIGHT: u32 = 15;
    /// What a version is called unless the declaration says otherwise.
    pub const WORKLOAD: &'static str = "{{version}}";

    /// Returns what is wrong with it, each with the name of its key.
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let mut add = |key, message: &str| found.push((key, message.to_owned()));
        if !is_name(&self.name) {
            add(
                "",
                "expected a name of 1 to 63 letters, digits, `-`, `_` and `.`",
            );
        } else if TAKEN_NAMES.contains(&self.name.as_str()) {
            add(
                "",
                "the judge has a metric of this name already, made of requests; expected another name",
            );
        }
        if let Some((key, message)) = self.mismatch() {
            add(key, message);
        }
        let is_lower = self.direction == Direction::LowerIsWorse;
        if is_lower && !matches!(self.kind, Kind::Ratio | Kind::Conversion) {
            add(
                "direction",
                "less is worse only of a ratio or a conversion; expected higherIsWorse",
            );
        }
        if self.critical && self.weight == 0 {
            add(
                "weight",
                "harm could never be shown; expected at least 1 for a critical metric",
            );
        }
        if self.weight > WEIGHT_MAX {
            add("weight", "expected at most 1000");
        }
        if self.interval < INTERVAL.0 || self.interval > INTERVAL.1 {
            add("interval", "expected 1s to 1h");
        }
        if self.stale_after < self.interval || self.stale_after > STALE_MAX {
            add(
                "staleAfter",
                "data would be old before it is asked for again; expected at least the interval and at most 24h",
            );
        }
        // Which placeholders tell the versions apart depends on where they run.
        if !self.workload.contains("{{") {
            add(
                "workload",
                "both versions would be the same; expected a text with {{version}} in it",
            );
        }
        if let Some(message) = self.limit_problem() {
            add("limit", message);
        }
        if let Ask::Requests(requests) = &self.ask {
            found.extend(requests.problems(self.stale_after));
            let falls = self.kind == Kind::Ratio && self.direction == Direction::LowerIsWorse;
            if falls && !requests.is_at_once() {
                let message = "hits that come late are no ratio of which less is worse; expected kind conversion";
                found.push(("direction", message.to_owned()));
            }
        }
        found.extend(self.margin_problems());
        found
    }

    /// Says where what is asked doesn't fit the kind or the source.
    const fn mismatch(&self) -> Option<(&'static str, &'static str)> {
        match (&self.ask, self.source.provider, self.kind) {
            (Ask::Requests(_), Provider::Proxy, Kind::Ratio | Kind::Conversion) => None,
            (Ask::Requests(_), Provider::Proxy, _) => Some((
                "kind",
                "hits among requests are a share of them; expected conversion or ratio",
            )),
            (Ask::Requests(_), _, _) => Some((
                "source",
                "hit and of are counted by the proxy itself; expected no source",
            )),
            (_, Provider::Proxy, _) => Some((
                "source",
                "the proxy answers no queries; expected hit and of",
            )),
            (_, _, _) => self.query_mismatch(),
        }
    }

    /// Says where a query doesn't fit the kind or the source.
    const fn query_mismatch(&self) -> Option<(&'static str, &'static str)> {
        if let Some(found) = self.unanswered() {
            return Some(found);
        }
        match (&self.ask, self.kind) {
            (Ask::Template(_), Kind::Ratio | Kind::Latency)
            | (Ask::Query(_), Kind::Latency | Kind::Gauge)
            | (Ask::Counts { .. }, Kind::Counter)
            | (
                Ask::Counts {
                    exposure: Some(_), ..
                },
                Kind::Ratio | Kind::Conversion,
            ) => None,
            (Ask::Template(_), _) => Some((
                "template",
                "templates know failed requests (ratio) and latency; expected queries of its own",
            )),
            (Ask::Query(_), _) => Some((
                "query",
                "one query gives the buckets of a latency or the values of a gauge; expected events and exposure",
            )),
            (Ask::Counts { .. }, Kind::Latency | Kind::Gauge) => {
                Some(("events", "a latency or a gauge is no count; expected query"))
            }
            (Ask::Requests(_), _) => None,
            (Ask::Counts { .. }, _) => Some((
                "exposure",
                "of how many the events are some is missing; expected exposure beside events",
            )),
        }
    }

    /// Says what is asked that the metric system can't answer.
    const fn unanswered(&self) -> Option<(&'static str, &'static str)> {
        let provider = self.source.provider;
        if provider.has_counters() {
            return None;
        }
        if matches!(self.ask, Ask::Template(_)) {
            return Some((
                "template",
                "templates are queries for Prometheus; expected queries of its own",
            ));
        }
        if matches!(self.kind, Kind::Latency) {
            return Some((
                "kind",
                "only Prometheus answers buckets of latencies; expected a ratio of slow ones",
            ));
        }
        if provider.has_gauges_only() && !matches!(self.kind, Kind::Gauge) {
            return Some((
                "kind",
                "this system knows values as they are now, and nothing that was counted; expected gauge",
            ));
        }
        let is_untold = matches!(self.ask, Ask::Counts { exposure: None, .. });
        if is_untold && !provider.has_totals() {
            return Some((
                "exposure",
                "only counters tell the time that they lived; expected exposure beside events",
            ));
        }
        None
    }

    /// Says what of the limit makes no sense.
    const fn limit_problem(&self) -> Option<&'static str> {
        if self.limit.is_some() && matches!(self.ask, Ask::Counts { exposure: None, .. }) {
            return Some(
                "events in time have no limit of their own; expected exposure beside events",
            );
        }
        match (self.limit, self.kind) {
            (None, _) => None,
            (Some(_), Kind::Latency) => Some(
                "buckets tell no limit; expected a ratio of the slow ones, with a limit of its own",
            ),
            (Some(0), Kind::Gauge) => Some("nothing is below 0; expected more"),
            (Some(_), Kind::Gauge) => None,
            (Some(limit), Kind::Ratio | Kind::Counter | Kind::Conversion) => {
                if limit > 0 && limit < LIMIT_PPM_END {
                    None
                } else {
                    Some("expected more than 0% and less than 100%")
                }
            }
        }
    }

    /// Says what of the margin makes no sense.
    fn margin_problems(&self) -> Vec<(&'static str, String)> {
        let Margin {
            harm_permille: harm,
            accept_permille: accept,
            accept_ppm,
        } = self.margin;
        // A ratio of which less is worse is judged by its complement, of which more is.
        let falls = self.kind == Kind::Conversion && self.direction == Direction::LowerIsWorse;
        let mut found = Vec::new();
        let mut add = |key, message: &str| found.push((key, message.to_owned()));
        if falls && !(1..=1_000).contains(&harm) {
            add(
                "harm",
                "less is worse, so harm is below stable's rate; expected more than 0x and at most 1x",
            );
        }
        if !falls && !(1_000..=RATIO_PERMILLE_MAX).contains(&harm) {
            add(
                "harm",
                "the multiple of stable's rate beyond which the canary is harmful; expected 1x to 100x",
            );
        }
        let (near, far) = if falls {
            (accept, harm)
        } else {
            (harm, accept)
        };
        let is_wider = near < far || (near == far && accept_ppm > 0 && !falls);
        if self.kind != Kind::Gauge && (!is_wider || accept == 0 || accept > RATIO_PERMILLE_MAX) {
            let message = if falls {
                "nothing can be shown good within what counts as harm; expected less than harm"
            } else {
                "nothing can be shown good within what counts as harm; expected more than harm and at most 100x"
            };
            add("accept", message);
        }
        if (falls || self.kind == Kind::Gauge) && accept_ppm > 0 {
            add(
                "acceptPlus",
                "nothing is added to this kind of metric; expected it to be left out",
            );
        }
        if accept_ppm > ACCEPT_PPM_MAX {
            add("acceptPlus", "expected at most 50pp");
        }
        found
    }
}

/// Returns what is wrong with the metrics of a plan, each with the path of its key.
pub(super) fn problems(rules: &Rules) -> Vec<PlanProblem> {
    let metrics = &rules.metrics;
    let mut found = Vec::new();
    let mut add = |path: String, message: String| found.push(PlanProblem { path, message });
    let limits = metrics.iter().filter(|metric| metric.limit.is_some());
    let count = metrics.len().saturating_add(limits.count());
    if count > METRICS_MAX {
        let message = format!("{count} metrics and limits; expected at most {METRICS_MAX}");
        add("metrics".to_owned(), message);
    }
    for (index, metric) in metrics.iter().enumerate() {
        let path = format!("metrics.{}", metric.name);
        if metrics
            .iter()
            .take(index)
            .any(|other| other.name == metric.name)
        {
            add(path.clone(), "declared twice; expected it once".to_owned());
        }
        for (key, message) in metric.problems() {
            let dot = if key.is_empty() { "" } else { "." };
            add(format!("{path}{dot}{key}"), message);
        }
    }
    found
}

fn is_name(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.chars().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(kind: Kind) -> Metric {
        let direction = kind.direction();
        Metric {
            name: "payments".to_owned(),
            kind,
            source: Source {
                name: "prometheus".to_owned(),
                provider: Provider::Prometheus,
                address: "http://127.0.0.1:9090".to_owned(),
                options: BTreeMap::new(),
                headers: BTreeMap::new(),
                auth: BTreeMap::new(),
            },
            ask: match kind {
                Kind::Latency | Kind::Gauge => Ask::Query("q".to_owned()),
                Kind::Ratio | Kind::Counter | Kind::Conversion => Ask::Counts {
                    events: "e".to_owned(),
                    exposure: Some("x".to_owned()),
                },
            },
            variables: BTreeMap::new(),
            workload: Metric::WORKLOAD.to_owned(),
            unit: Unit::Seconds,
            direction,
            margin: Margin::standard(kind, direction),
            limit: None,
            weight: Metric::WEIGHT,
            critical: kind.is_critical(),
            required: kind.is_required(),
            interval: Provider::Prometheus.interval(),
            stale_after: Provider::Prometheus.stale_after(),
        }
    }

    fn keys(metric: &Metric) -> Vec<&'static str> {
        let problems = metric.problems();
        problems.into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn every_kind_is_valid_with_its_defaults() {
        for kind in Kind::ALL {
            assert_eq!(metric(kind).problems(), [], "{kind:?}");
        }
        let rising = Margin::standard(Kind::Conversion, Direction::HigherIsWorse);
        let rising = Metric {
            direction: Direction::HigherIsWorse,
            margin: rising,
            ..metric(Kind::Conversion)
        };
        assert_eq!(rising.problems(), []);
    }

    #[test]
    fn margins_that_make_no_sense_are_named() {
        let with = |kind, harm_permille, accept_permille, accept_ppm| {
            keys(&Metric {
                margin: Margin {
                    harm_permille,
                    accept_permille,
                    accept_ppm,
                },
                ..metric(kind)
            })
        };
        assert_eq!(with(Kind::Ratio, 900, 1_500, 0), ["harm"]);
        assert_eq!(with(Kind::Ratio, 1_500, 1_500, 0), ["accept"]);
        assert_eq!(with(Kind::Ratio, 1_500, 1_500, 1), [""; 0]);
        assert_eq!(with(Kind::Ratio, 1_100, 1_500, 600_000), ["acceptPlus"]);
        assert_eq!(with(Kind::Conversion, 1_100, 900, 0), ["harm"]);
        assert_eq!(with(Kind::Conversion, 980, 990, 0), ["accept"]);
        assert_eq!(with(Kind::Gauge, 1_150, 1_150, 5), ["acceptPlus"]);
    }

    #[test]
    fn what_is_asked_must_fit_the_kind() {
        let with = |kind, ask| {
            keys(&Metric {
                ask,
                ..metric(kind)
            })
        };
        let template = || Ask::Template("istio".to_owned());
        assert_eq!(with(Kind::Ratio, template()), [""; 0]);
        assert_eq!(with(Kind::Gauge, template()), ["template"]);
        assert_eq!(with(Kind::Ratio, Ask::Query("q".to_owned())), ["query"]);
        let counts = |exposure| Ask::Counts {
            events: "e".to_owned(),
            exposure,
        };
        assert_eq!(with(Kind::Ratio, counts(None)), ["exposure"]);
        assert_eq!(with(Kind::Counter, counts(None)), [""; 0]);
        assert_eq!(with(Kind::Latency, counts(None)), ["events"]);
    }

    #[test]
    fn a_system_without_counters_has_neither_templates_nor_buckets() {
        let with = |kind, ask| {
            let mut metric = Metric {
                ask,
                ..metric(kind)
            };
            metric.source.provider = Provider::Graphite;
            keys(&metric)
        };
        let query = || Ask::Query("q".to_owned());
        let counts = |exposure| Ask::Counts {
            events: "e".to_owned(),
            exposure,
        };
        assert_eq!(with(Kind::Gauge, query()), [""; 0]);
        assert_eq!(with(Kind::Ratio, counts(Some("x".to_owned()))), [""; 0]);
        assert_eq!(with(Kind::Latency, query()), ["kind"]);
        assert_eq!(with(Kind::Counter, counts(None)), ["exposure"]);
        let template = Ask::Template("istio".to_owned());
        assert_eq!(with(Kind::Ratio, template), ["template"]);
    }

    #[test]
    fn hits_among_requests_are_a_share_that_only_the_proxy_counts() {
        let requests = |hit: &str, of: &str| {
            let (hit, of): (RequestPattern, RequestPattern) =
                (hit.parse().unwrap(), of.parse().unwrap());
            let within = Requests::within(&hit, &of);
            Requests { hit, of, within }
        };
        let with = |kind, source: Source, requests: Requests| {
            keys(&Metric {
                stale_after: requests.stale_after(),
                source,
                ask: Ask::Requests(requests),
                ..metric(kind)
            })
        };
        let bought = || requests("POST /checkout 2xx", "GET /cart");
        for kind in [Kind::Conversion, Kind::Ratio] {
            assert_eq!(with(kind, Source::proxy(), bought()), [""; 0]);
        }
        for kind in [Kind::Counter, Kind::Latency, Kind::Gauge] {
            assert_eq!(with(kind, Source::proxy(), bought()), ["kind"]);
        }
        let other = metric(Kind::Conversion).source;
        assert_eq!(with(Kind::Conversion, other, bought()), ["source"]);
        let same = requests("GET /cart", "GET /cart");
        assert_eq!(with(Kind::Conversion, Source::proxy(), same), ["hit"]);
        let long = Requests {
            within: Duration::from_secs(3_601),
            ..bought()
        };
        assert_eq!(with(Kind::Conversion, Source::proxy(), long), ["within"]);
        let asked = Metric {
            source: Source::proxy(),
            ..metric(Kind::Conversion)
        };
        assert_eq!(keys(&asked), ["source"]);
        let falling = Metric {
            source: Source::proxy(),
            stale_after: bought().stale_after(),
            ask: Ask::Requests(bought()),
            direction: Direction::LowerIsWorse,
            ..metric(Kind::Ratio)
        };
        assert_eq!(keys(&falling), ["direction"]);
        let early = Metric {
            source: Source::proxy(),
            ask: Ask::Requests(bought()),
            ..metric(Kind::Conversion)
        };
        assert_eq!(keys(&early), ["staleAfter"]);
    }

    #[test]
    fn hits_that_are_the_same_requests_come_at_once() {
        let within = |hit: &str, of: &str| {
            Requests::within(&hit.parse().unwrap(), &of.parse().unwrap()).as_secs()
        };
        assert_eq!(within("POST /pay 4xx", "POST /pay"), 1);
        assert_eq!(within("POST /pay 4xx", "GET /pay"), 60);
    }

    #[test]
    fn each_system_is_asked_only_what_it_can_answer() {
        let with = |provider, kind, exposure: Option<&str>| {
            let mut metric = metric(kind);
            metric.source.provider = provider;
            if kind != Kind::Gauge {
                metric.ask = Ask::Counts {
                    events: "e".to_owned(),
                    exposure: exposure.map(str::to_owned),
                };
            }
            keys(&metric)
        };
        for provider in [Provider::Web, Provider::Command] {
            assert_eq!(with(provider, Kind::Gauge, None), [""; 0]);
            assert_eq!(with(provider, Kind::Conversion, Some("x")), [""; 0]);
            assert_eq!(with(provider, Kind::Counter, None), [""; 0]);
            assert_eq!(with(provider, Kind::Latency, None), ["kind"]);
        }
        for provider in [Provider::Keptn, Provider::ExternalMetrics] {
            assert_eq!(with(provider, Kind::Gauge, None), [""; 0]);
            assert_eq!(with(provider, Kind::Ratio, Some("x")), ["kind"]);
        }
        assert_eq!(with(Provider::SkyWalking, Kind::Ratio, Some("x")), [""; 0]);
        assert_eq!(
            with(Provider::SkyWalking, Kind::Counter, None),
            ["exposure"]
        );
    }

    #[test]
    fn limits_that_make_no_sense_are_named() {
        let with = |kind, limit| {
            keys(&Metric {
                limit: Some(limit),
                ..metric(kind)
            })
        };
        assert_eq!(with(Kind::Ratio, 10_000), [""; 0]);
        assert_eq!(with(Kind::Conversion, 1_000_000), ["limit"]);
        assert_eq!(with(Kind::Counter, 0), ["limit"]);
        assert_eq!(with(Kind::Gauge, 5_000_000_000_000), [""; 0]);
        assert_eq!(with(Kind::Gauge, 0), ["limit"]);
        assert_eq!(with(Kind::Latency, 500), ["limit"]);
    }

    #[test]
    fn the_metrics_of_a_plan_have_names_of_their_own() {
        let paths = |metrics: Vec<Metric>| -> Vec<String> {
            let rules = Rules {
                metrics,
                ..Rules::default()
            };
            problems(&rules).into_iter().map(|one| one.path).collect()
        };
        assert_eq!(paths(vec![metric(Kind::Ratio)]), [""; 0]);
        let twice = vec![metric(Kind::Ratio), metric(Kind::Gauge)];
        assert_eq!(paths(twice), ["metrics.payments"]);
        let named = Metric {
            name: "errors".to_owned(),
            weight: 0,
            ..metric(Kind::Ratio)
        };
        let expected = ["metrics.errors", "metrics.errors.weight"];
        assert_eq!(paths(vec![named]), expected);
        let many = (0..=METRICS_MAX).map(|number| Metric {
            name: format!("m{number}"),
            ..metric(Kind::Ratio)
        });
        assert_eq!(paths(many.collect()), ["metrics"]);
        let limited = (0..METRICS_MAX).map(|number| Metric {
            name: format!("m{number}"),
            limit: (number == 0).then_some(10_000),
            ..metric(Kind::Ratio)
        });
        assert_eq!(paths(limited.collect()), ["metrics"]);
    }
}
