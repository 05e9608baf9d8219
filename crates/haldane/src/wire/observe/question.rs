//! What a metric asks of its source: the queries of both versions, or of stable alone, with all names filled in.
//!
//! Counters are asked for as raw samples, so that restarts, gaps and failed scrapes show.

use std::{collections::BTreeMap, time::Duration};

use haldane_core::{
    ServiceName, VersionName,
    plan::metric::{Ask, Kind, Metric, Unit},
};
use haldane_source::{
    Error,
    histogram::Unit as SourceUnit,
    template::{self, Language, Variables, fill},
};

use super::measure::Counting;

/// The shortest time of which raw samples are asked for: two scrapes of a minute each.
const WINDOW_MIN: Duration = Duration::from_mins(2);

/// How many intervals it has at least: steps that are over, and some that come late.
const WINDOW_INTERVALS: u32 = 10;

/// What is asked about the versions.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// Of stable.
    pub(crate) stable: Queries,
    /// Of the canary, if there is one.
    pub(crate) canary: Option<Queries>,
    counting: Counting,
}

/// A version, as queries name it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    /// What `{{service}}` stands for.
    pub(crate) service: &'a str,
    /// The version.
    pub(crate) version: &'a VersionName,
    /// What else is known of it; the metric's own variables come before that.
    pub(crate) names: &'a BTreeMap<String, String>,
}

/// The queries of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Queries {
    /// What happened, or all that there is.
    pub(crate) events: String,
    /// What could have happened, where that is another query; for latencies of a template the same as native histograms.
    pub(crate) exposure: Option<String>,
    /// What a command finds in its environment.
    pub(crate) variables: BTreeMap<String, String>,
}

impl Question {
    /// Returns what a metric asks about two versions, or about one.
    ///
    /// # Errors
    /// When there is no such template, or a name can't stand where its placeholder does.
    pub(crate) fn try_new(
        metric: &Metric,
        service: &ServiceName,
        stable: &VersionName,
        canary: Option<&VersionName>,
    ) -> Result<Self, Error> {
        Self::over(window(metric), metric, service, stable, canary)
    }

    /// Returns what a metric asks about two versions, with raw samples of so much time.
    ///
    /// # Errors
    /// As for [`Self::try_new`].
    pub(crate) fn over(
        window: Duration,
        metric: &Metric,
        service: &ServiceName,
        stable: &VersionName,
        canary: Option<&VersionName>,
    ) -> Result<Self, Error> {
        let names = BTreeMap::new();
        let named = |version| Named {
            service: service.as_str(),
            version,
            names: &names,
        };
        Self::of(window, metric, named(stable), canary.map(named))
    }

    /// Returns what a metric asks about two versions with names of their own, with raw samples of so much time.
    ///
    /// # Errors
    /// As for [`Self::try_new`].
    pub(crate) fn of(
        window: Duration,
        metric: &Metric,
        stable: Named<'_>,
        canary: Option<Named<'_>>,
    ) -> Result<Self, Error> {
        let Ask::Template(name) = &metric.ask else {
            return Ok(Self {
                stable: stable.queries(metric, window)?,
                canary: canary
                    .map(|canary| canary.queries(metric, window))
                    .transpose()?,
                counting: counting(metric),
            });
        };
        let template = template::find(name)?;
        // A template always asks about two; of what one version is called, only its own part is taken.
        let rendered = |named: Named<'_>| {
            let workload = named.workload(&metric.workload, &metric.variables)?;
            let variables = Variables {
                canary: workload.clone(),
                stable: workload,
                window,
                names: named.values(&metric.variables),
            };
            template::render(name, &variables)
        };
        let is_latency = metric.kind == Kind::Latency;
        let query = |arm: template::Arm| Queries {
            events: if is_latency {
                arm.buckets
            } else {
                arm.requests
            },
            exposure: is_latency.then_some(arm.native),
            variables: BTreeMap::new(),
        };
        let of_stable = rendered(stable)?;
        let counting = if is_latency {
            Counting::Latency(of_stable.unit)
        } else {
            Counting::Requests(Box::new(*template))
        };
        let of_canary = canary.map(rendered).transpose()?;
        Ok(Self {
            stable: query(of_stable.stable),
            canary: of_canary.map(|rendered| query(rendered.canary)),
            counting,
        })
    }

    /// Returns what the answers are made into.
    pub(crate) fn counting(&self) -> Counting {
        self.counting.clone()
    }
}

impl Named<'_> {
    /// Returns what fills placeholders, but for the workload and the window.
    pub(crate) fn values(&self, variables: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut values = self.names.clone();
        values.extend(variables.clone());
        values.insert("service".to_owned(), self.service.to_owned());
        values.insert("version".to_owned(), self.version.to_string());
        values
    }

    /// Returns what the metric system calls the version.
    ///
    /// # Errors
    /// When something that is to be filled in is not known.
    pub(crate) fn workload(
        &self,
        text: &str,
        variables: &BTreeMap<String, String>,
    ) -> Result<String, Error> {
        let mut workload = text.to_owned();
        for (name, value) in self.values(variables) {
            workload = workload.replace(&format!("{{{{{name}}}}}"), &value);
        }
        match workload.split_once("{{") {
            None => Ok(workload),
            Some((_, rest)) => {
                let name = rest.split("}}").next().unwrap_or_default();
                Err(Error::Invalid {
                    what: "the workload",
                    why: format!("nothing is known for {name:?} of this version"),
                })
            }
        }
    }

    fn queries(&self, metric: &Metric, window: Duration) -> Result<Queries, Error> {
        let workload = self.workload(&metric.workload, &metric.variables)?;
        let mut values = self.values(&metric.variables);
        values.insert("workload".to_owned(), workload.clone());
        values.insert("window".to_owned(), format!("{}s", window.as_secs()));
        let language = if metric.source.provider.has_counters() {
            Language::PromQl
        } else {
            Language::Other
        };
        let fill = |text: &str| fill(text, language, &values);
        let (events, exposure) = match &metric.ask {
            Ask::Counts { events, exposure } => (events, exposure.as_deref()),
            Ask::Query(text) | Ask::Template(text) => (text, None),
            Ask::Requests(_) => {
                return Err(Error::Invalid {
                    what: "the metric",
                    why: "the proxy counts it, nobody is asked".to_owned(),
                });
            }
        };
        Ok(Queries {
            events: fill(events)?,
            exposure: exposure.map(fill).transpose()?,
            variables: self.variables(workload, window),
        })
    }

    /// Returns what a command is told, besides its arguments.
    fn variables(&self, workload: String, window: Duration) -> BTreeMap<String, String> {
        let variables = [
            ("SERVICE", self.service.to_owned()),
            ("VERSION", self.version.to_string()),
            ("WORKLOAD", workload),
            ("WINDOW", format!("{}s", window.as_secs())),
        ];
        let variables = variables.into_iter();
        variables
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

/// Returns the time of which raw samples, or steps, are asked for.
pub(crate) fn window(metric: &Metric) -> Duration {
    let intervals = metric.interval.saturating_mul(WINDOW_INTERVALS);
    Duration::from_secs(intervals.max(WINDOW_MIN).as_secs())
}

fn counting(metric: &Metric) -> Counting {
    let provider = metric.source.provider;
    let is_in_steps = !provider.has_counters() && !provider.has_totals();
    if is_in_steps && metric.kind != Kind::Gauge {
        let step = metric.interval;
        return Counting::Steps { step };
    }
    match (metric.kind, &metric.ask) {
        (Kind::Latency, _) => Counting::Latency(match metric.unit {
            Unit::Seconds => SourceUnit::Seconds,
            Unit::Milliseconds => SourceUnit::Milliseconds,
            Unit::Microseconds => SourceUnit::Microseconds,
        }),
        (Kind::Gauge, _) => Counting::Pods {
            age_max: metric.stale_after,
        },
        (_, Ask::Counts { exposure: None, .. }) => Counting::Time,
        (Kind::Counter, _) => Counting::Parts,
        (Kind::Ratio | Kind::Conversion, _) => Counting::Shares,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use haldane_core::plan::metric::{Margin, Provider, Source};

    use super::*;

    fn metric(kind: Kind, ask: Ask) -> Metric {
        Metric {
            name: "m".to_owned(),
            kind,
            source: Source {
                name: "prom".to_owned(),
                provider: Provider::Prometheus,
                address: "http://127.0.0.1:9090".to_owned(),
                options: BTreeMap::new(),
                headers: BTreeMap::new(),
                auth: BTreeMap::new(),
            },
            ask,
            variables: BTreeMap::new(),
            workload: "shop-{{version}}".to_owned(),
            unit: Unit::Seconds,
            direction: kind.direction(),
            margin: Margin::standard(kind, kind.direction()),
            limit: None,
            weight: 15,
            critical: true,
            required: true,
            interval: Duration::from_secs(5),
            stale_after: Duration::from_secs(60),
        }
    }

    fn question(metric: &Metric) -> Result<Question, Error> {
        let [stable, canary] = ["v1", "v2.x"].map(version);
        Question::try_new(metric, &service(), &stable, Some(&canary))
    }

    fn service() -> ServiceName {
        "shop".parse().unwrap()
    }

    fn version(name: &str) -> VersionName {
        name.parse().unwrap()
    }

    #[test]
    fn each_version_is_asked_about_by_its_own_name() {
        let events = r#"f{v="{{version}}",w=~"{{workload}}.*"}[{{window}}]"#;
        let ask = Ask::Counts {
            events: events.to_owned(),
            exposure: Some("{{version}}_total".to_owned()),
        };
        let question = question(&metric(Kind::Ratio, ask)).unwrap();
        assert_eq!(
            question.stable.events,
            r#"f{v="v1",w=~"shop\\-v1.*"}[120s]"#
        );
        let canary = question.canary.unwrap();
        assert_eq!(canary.events, r#"f{v="v2.x",w=~"shop\\-v2\\.x.*"}[120s]"#);
        assert_eq!(canary.exposure.unwrap(), "v2.x_total");
    }

    #[test]
    fn the_templates_of_the_file_are_those_of_the_sources() {
        let schema = haldane_api::schema::schema();
        let known = &schema["$defs"]["Metric"]["properties"]["template"]["enum"];
        let known: Vec<&str> = known
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|name| name.as_str())
            .collect();
        let names: Vec<&str> = template::list().iter().map(|one| one.name).collect();
        assert_eq!(known, names);
        for one in template::list() {
            // The reader asks for exactly the variables that the template needs.
            let needs: Vec<&str> = one
                .names()
                .into_iter()
                .filter(|name| *name != "service")
                .collect();
            let variables = needs
                .iter()
                .map(|name| ((*name).to_owned(), "a".to_owned()));
            let given: Vec<String> = needs.iter().map(|name| format!("{name}: a")).collect();
            let file = |variables: &str| {
                let text = format!(
                    "sources: {{ p: {{ prometheus: http://a }} }}\nservices: {{ a: {{ listen: 0, stable: {{ version: v1, run: a }}, metrics: {{ m: {{ kind: ratio, source: p, template: {}, variables: {{ {variables} }} }} }} }} }}",
                    one.name
                );
                haldane_api::file::parse(&text)
            };
            assert!(file(&given.join(", ")).is_ok(), "{}", one.name);
            assert_eq!(file("").is_ok(), needs.is_empty(), "{}", one.name);
            let asked = Metric {
                variables: variables.collect(),
                ..metric(Kind::Latency, Ask::Template(one.name.to_owned()))
            };
            let asked = question(&asked).unwrap();
            assert_ne!(Some(asked.stable), asked.canary, "{}", one.name);
        }
    }

    #[test]
    fn a_name_that_would_leave_its_place_is_refused() {
        let ask = Ask::Query("up{{evil}}".to_owned());
        let mut metric = metric(Kind::Gauge, ask);
        metric
            .variables
            .insert("evil".to_owned(), "} or vector(1)".to_owned());
        assert!(question(&metric).is_err());
    }
}
