//! The metrics that services take from the metric systems of the file, or that the proxy counts.

mod home;
mod limit;
mod requests;
mod source;

use std::{collections::BTreeMap, time::Duration};

use haldane_core::{
    guard::{self, Limit},
    plan::{
        Plan,
        metric::{Ask, Direction, Kind, Margin, Metric, Provider, Source, Unit},
    },
};

pub(super) use self::{
    home::{Home, Names, check_placeholders, read_workload, template_workload},
    source::read_sources,
};
use crate::{
    keys,
    read::{At, Fields, Problems},
    text::parse_limit,
    tree::shorten,
};

/// The most sources of a file, headers of a source or variables of a metric.
const ITEMS_MAX: usize = 100;

/// The longest query: the longest that is sent.
const QUERY_BYTES_MAX: usize = 16 << 10;

const DIRECTIONS: [(&str, Direction); 2] = [
    ("higherIsWorse", Direction::HigherIsWorse),
    ("lowerIsWorse", Direction::LowerIsWorse),
];

/// Sources by name; `None` where one is declared, and wrong.
pub(super) type Sources = BTreeMap<String, Option<Source>>;

/// What is known where metrics are declared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    /// The metric systems.
    pub(super) sources: &'a Sources,
    /// Where the versions run.
    pub(super) home: Home,
}

/// Reads the metrics of a service into its plan.
pub(super) fn read_metrics(
    at: &At<'_>,
    known: Known<'_>,
    plan: Plan,
    out: &mut Problems,
) -> Option<Plan> {
    let entries = at.entries("a map of metrics by name", out)?;
    if plan.rules().judge.is_none() && !entries.is_empty() {
        out.add(at, "only the sequential judge looks at metrics; expected no metrics, or rollout.judge: sequential");
    }
    let mut metrics = Vec::new();
    for (entry, at) in entries {
        let metric = read_metric(&entry.key, &at, known, out);
        metrics.extend(metric);
    }
    // Their order means nothing; written files have them by name.
    metrics.sort_by(|a, b| a.name.cmp(&b.name));
    let plan = plan.with_metrics(metrics).map_err(|problems| {
        for problem in problems {
            let path = problem.path.strip_prefix("metrics").unwrap_or_default();
            // A name may have dots of its own.
            let entries = at.entries("", out).unwrap_or_default().into_iter();
            let mut found = entries.filter_map(|(entry, at)| {
                let rest = path.strip_prefix('.')?.strip_prefix(entry.key.as_str())?;
                (rest.is_empty() || rest.starts_with('.'))
                    .then(|| (entry, at.follow(rest.trim_start_matches('.'))))
            });
            match found.next() {
                Some((entry, place)) if place.path.ends_with(&entry.key) => {
                    out.add_at(entry.mark, &place.path, problem.message);
                }
                Some((_, place)) => out.add(&place, problem.message),
                None => out.add(at, problem.message),
            }
        }
    });
    plan.ok()
}

fn read_metric(name: &str, at: &At<'_>, known: Known<'_>, out: &mut Problems) -> Option<Metric> {
    let fields = at.fields(&keys::METRIC, out)?;
    let kinds = Kind::ALL.map(|kind| (kind.name(), kind));
    let kind = fields
        .need("kind", out)
        .and_then(|at| at.choice(&kinds, out));
    let is_proxys = requests::is_given(&fields);
    let source = if is_proxys {
        requests::read_source(&fields, out)
    } else {
        let at = fields.need("source", out);
        at.and_then(|at| find_source(&at, known.sources, out))
    };
    let variables = fields.or("variables", BTreeMap::new(), |at| {
        read_variables(at, known.home, out)
    });
    let form = Form {
        names: Names {
            home: known.home,
            variables: &variables,
        },
        kind,
        provider: source.as_ref().map(|source| source.provider),
    };
    let ask = if is_proxys {
        requests::read(&fields, out)
    } else {
        read_ask(&fields, &form, out)
    };
    let direction = fields.get("direction");
    let direction = direction.map(|at| at.choice(&DIRECTIONS, out));
    let workload = fields.get("workload");
    let workload = workload.and_then(|at| read_workload(&at, form.names, out));
    let units = [
        ("s", Unit::Seconds),
        ("ms", Unit::Milliseconds),
        ("us", Unit::Microseconds),
    ];
    let unit = fields.or("unit", Unit::Seconds, |at| at.choice(&units, out));
    let weight = fields.or("weight", Metric::WEIGHT, |at| at.count(0, u32::MAX, out));
    let interval = fields.get("interval").and_then(|at| at.wait(out));
    let stale_after = fields.get("staleAfter").and_then(|at| at.wait(out));
    let judging = read_judging(&fields, out);
    let limit = fields.get("limit");
    let limit = limit.and_then(|at| limit::read(&at, kind?, out));
    let (kind, source, ask) = (kind?, source?, ask?);
    let workload = workload.unwrap_or_else(|| known.home.workload(&ask).to_owned());
    let provider = source.provider;
    let stale_after = stale_after.unwrap_or_else(|| standard_stale_after(&ask, provider));
    let direction = direction.flatten().unwrap_or_else(|| kind.direction());
    Some(Metric {
        name: name.to_owned(),
        kind,
        source,
        ask,
        variables,
        workload,
        unit,
        direction,
        margin: judging.margin(Margin::standard(kind, direction)),
        limit,
        weight,
        critical: judging.critical.unwrap_or_else(|| kind.is_critical()),
        required: judging.required.unwrap_or_else(|| kind.is_required()),
        interval: interval.unwrap_or_else(|| provider.interval()),
        stale_after,
    })
}

/// Returns after which time data is old unless the declaration says otherwise.
const fn standard_stale_after(ask: &Ask, provider: Provider) -> Duration {
    match ask {
        Ask::Requests(requests) => requests.stale_after(),
        Ask::Template(_) | Ask::Query(_) | Ask::Counts { .. } => provider.stale_after(),
    }
}

/// What a metric says of how it is judged; the rest depends on its kind.
struct Judging {
    harm: Option<u32>,
    accept: Option<u32>,
    accept_plus: Option<u32>,
    critical: Option<bool>,
    required: Option<bool>,
}

impl Judging {
    /// Returns the margin, which is the standard one unless the declaration says otherwise.
    fn margin(&self, standard: Margin) -> Margin {
        Margin {
            harm_permille: self.harm.unwrap_or(standard.harm_permille),
            accept_permille: self.accept.unwrap_or(standard.accept_permille),
            accept_ppm: self.accept_plus.unwrap_or(standard.accept_ppm),
        }
    }
}

fn read_judging(fields: &Fields<'_>, out: &mut Problems) -> Judging {
    let answers = [("true", true), ("false", false)];
    let mut limit = |key, expected: &str, kind: fn(Limit) -> Option<u32>| {
        let at = fields.get(key)?;
        let parse = |text: &str| parse_limit(guard::Metric::ErrorRate, text);
        let value = kind(at.parsed(expected, parse, out)?);
        if value.is_none() {
            out.add(&at, format!("expected {expected}"));
        }
        value
    };
    Judging {
        harm: limit("harm", "a multiple such as 1.1x", super::rollout::multiple),
        accept: limit(
            "accept",
            "a multiple such as 1.5x",
            super::rollout::multiple,
        ),
        accept_plus: limit(
            "acceptPlus",
            "points such as +0.2pp",
            super::rollout::points,
        ),
        critical: fields
            .get("critical")
            .and_then(|at| at.choice(&answers, out)),
        required: fields
            .get("required")
            .and_then(|at| at.choice(&answers, out)),
    }
}

pub(super) fn find_source(at: &At<'_>, sources: &Sources, out: &mut Problems) -> Option<Source> {
    let name = at.filled("the name of one of sources", out)?;
    if name == Source::PROXY {
        out.add(at, "nothing for the proxy to count; expected hit and of");
        return None;
    }
    let source = sources.get(&name);
    if source.is_none() {
        let names: Vec<&str> = sources.keys().map(String::as_str).collect();
        let expected = if names.is_empty() {
            "it to be declared under sources, as in `sources: { prometheus: { prometheus: http://127.0.0.1:9090 } }`".to_owned()
        } else {
            format!("one of {}", names.join(", "))
        };
        out.add(
            at,
            format!(
                "no source is named {:?}; expected {expected}",
                shorten(&name)
            ),
        );
    }
    // One that is wrong was told where it is declared.
    source.cloned().flatten()
}

pub(super) fn read_variables(
    at: &At<'_>,
    home: Home,
    out: &mut Problems,
) -> Option<BTreeMap<String, String>> {
    let entries = at.entries("a map of names and values", out)?;
    check_count(at, entries.len(), "variables", out);
    let mut variables = BTreeMap::new();
    for (entry, at) in entries {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if entry.key.is_empty()
            || !entry.key.chars().all(is_word)
            || home.names().contains(&entry.key.as_str())
        {
            let message = format!(
                "{:?} can't be set; expected a name of letters, digits and underscores other than {}",
                shorten(&entry.key),
                home.names().join(", ")
            );
            out.add_at(entry.mark, &at.path, message);
        }
        let value = at.filled("a value", out);
        variables.extend(value.map(|value| (entry.key.clone(), value)));
    }
    Some(variables)
}

/// What the form of a query depends on; what could not be read is not known.
struct Form<'a> {
    names: Names<'a>,
    kind: Option<Kind>,
    provider: Option<Provider>,
}

impl Form<'_> {
    /// Whether the version may be told besides the query: a command finds it in its environment.
    fn is_told_the_version(&self) -> bool {
        self.provider
            .is_none_or(|provider| provider == Provider::Command)
    }
}

fn read_ask(fields: &Fields<'_>, form: &Form<'_>, out: &mut Problems) -> Option<Ask> {
    let [template, query, events, exposure] =
        ["template", "query", "events", "exposure"].map(|key| fields.get(key));
    match (template, query, events, exposure) {
        (Some(at), None, None, None) => {
            let name = read_template(&at, form.names, out)?;
            Some(Ask::Template(name.to_owned()))
        }
        (None, Some(at), None, None) => {
            let read = match form.kind {
                Some(Kind::Gauge) => read_query(&at, form, out),
                _ => read_counts(&at, form, out),
            };
            read.map(Ask::Query)
        }
        (None, None, Some(events), exposure) => {
            let events = read_counts(&events, form, out);
            let exposure = exposure.map(|at| read_counts(&at, form, out));
            Some(Ask::Counts {
                events: events?,
                exposure: match exposure {
                    Some(exposure) => Some(exposure?),
                    None => None,
                },
            })
        }
        (None, None, None, None) => {
            out.add(
                &fields.at,
                "nothing to ask; expected template, query, events and exposure, or hit and of",
            );
            None
        }
        (None, None, None, Some(at)) => {
            out.add(
                &at,
                "only what could have happened; expected events beside exposure",
            );
            None
        }
        (template, query, events, exposure) => {
            let second = [template, query, events.or(exposure)]
                .into_iter()
                .flatten()
                .nth(1);
            let at = second.unwrap_or_else(|| fields.at.clone());
            out.add(
                &at,
                "too much to ask; expected exactly one of template, query, or events and exposure",
            );
            None
        }
    }
}

/// Reads the name of a template, whose variables are all known.
pub(super) fn read_template(
    at: &At<'_>,
    known: Names<'_>,
    out: &mut Problems,
) -> Option<&'static str> {
    let names = keys::TEMPLATES.map(|(name, needs, _)| (name, (name, needs)));
    let (name, needs) = at.choice(&names, out)?;
    let is_known =
        |need: &str| known.variables.contains_key(need) || known.home.defaults().contains(&need);
    for need in needs.iter().filter(|need| !is_known(need)) {
        out.add(
            at,
            format!(
                "the template {name} needs the variable {need}; expected variables: {{ {need}: … }}"
            ),
        );
    }
    Some(name)
}

/// Reads a query for raw samples of counters: of a rate or a sum no restart can be seen, and what follows one would be counted twice.
fn read_counts(at: &At<'_>, form: &Form<'_>, out: &mut Problems) -> Option<String> {
    let text = read_query(at, form, out)?;
    if form
        .provider
        .is_none_or(|provider| !provider.has_counters())
    {
        return Some(text);
    }
    let query = text.trim_end().strip_suffix(']');
    let time = query.and_then(|query| query.rsplit_once('['));
    // A subquery has a colon there.
    if time.is_none_or(|(_, time)| time.contains(':')) {
        out.add(at, "no raw samples of counters; expected a selector that ends in [{{window}}], without rate, increase or sum");
    }
    Some(text)
}

/// Reads a query: its placeholders are known, and one of them tells the versions apart.
fn read_query(at: &At<'_>, form: &Form<'_>, out: &mut Problems) -> Option<String> {
    let text = at.filled("a query", out)?;
    if text.len() > QUERY_BYTES_MAX {
        out.add(at, "longer than 16 KiB; expected a shorter query");
        return None;
    }
    if let Some(expected) = form.provider.and_then(|provider| unread(provider, &text)) {
        out.add(
            at,
            format!("cannot read {:?}; expected {expected}", shorten(&text)),
        );
    }
    let is_of_version = check_placeholders(at, &text, form.names, out)?;
    if !is_of_version && !form.is_told_the_version() {
        let expected = form.names.home.telling_words();
        let message = format!(
            "the same for both versions, so nothing could be compared; expected {expected} in the query"
        );
        out.add(at, message);
    }
    Some(text)
}

/// Returns the form of a provider's queries if a text hasn't got it, as far as a look at its beginning tells.
fn unread(provider: Provider, text: &str) -> Option<&'static str> {
    let first = text.split_whitespace().next().unwrap_or_default();
    let (is_read, expected) = match provider {
        Provider::Web => (
            matches!(first, "GET" | "POST" | "PUT") || first.starts_with(['/', '?', '$', '{']),
            "[METHOD] [/PATH][?PARAMETERS] [JSONPATH], as in `GET /kpi?version={{version}} $.sold`",
        ),
        Provider::Keptn => (
            first.starts_with("keptnmetric/") && first.matches('/').count() == 2,
            "keptnmetric/NAMESPACE/NAME, as in `keptnmetric/shop/latency-{{version}}`",
        ),
        Provider::SkyWalking => (
            text.trim().contains(char::is_whitespace),
            "SERVICE EXPRESSION, as in `shop-{{version}} service_cpm`",
        ),
        Provider::Prometheus
        | Provider::CloudWatch
        | Provider::Datadog
        | Provider::Dynatrace
        | Provider::Google
        | Provider::Graphite
        | Provider::InfluxDb
        | Provider::NewRelic
        | Provider::SignalFx
        | Provider::Splunk
        | Provider::Wavefront
        | Provider::Command
        | Provider::ExternalMetrics
        | Provider::Proxy => (true, ""),
    };
    (!is_read).then_some(expected)
}

fn check_count(at: &At<'_>, count: usize, what: &str, out: &mut Problems) {
    if count > ITEMS_MAX {
        out.add(at, format!("{count} {what}; expected at most {ITEMS_MAX}"));
    }
}

#[cfg(test)]
mod tests;
