//! Metric sources and metrics in their long form.

use std::collections::BTreeMap;

use haldane_core::{
    guard::{self, Limit},
    plan::metric::{Ask, Direction, Given, Kind, Margin, Metric, Requests, Source, Unit},
};
use serde_json::{Map, Value, json};

use super::set;
use crate::text::{show_duration, show_limit, show_milli};

pub(super) fn sources(sources: &BTreeMap<String, Source>) -> Value {
    let pairs = sources.iter();
    Value::Object(
        pairs
            .map(|(name, source)| (name.clone(), source_long(source)))
            .collect(),
    )
}

fn source_long(source: &Source) -> Value {
    let Source {
        name: _,
        provider,
        address,
        options,
        headers,
        auth,
    } = source;
    let mut long = json!({ provider.name(): address, "auth": given_long(auth), "headers": given_long(headers) });
    for (key, value) in options {
        set(&mut long, key, Some(value.clone()));
    }
    long
}

fn given_long(given: &BTreeMap<String, Given>) -> Value {
    let long = |given: &Given| match given {
        Given::Text(text) => json!(text),
        Given::Env(name) => json!({ "env": name }),
        Given::File(path) => json!({ "file": path }),
    };
    let pairs = given.iter();
    Value::Object(
        pairs
            .map(|(name, given)| (name.clone(), long(given)))
            .collect(),
    )
}

pub(super) fn metrics(metrics: &[Metric]) -> Value {
    let pairs = metrics.iter();
    let pairs = pairs.map(|metric| (metric.name.clone(), metric_long(metric)));
    Value::Object(pairs.collect::<Map<_, _>>())
}

fn metric_long(metric: &Metric) -> Value {
    let Metric {
        name: _,
        kind,
        source,
        ask,
        variables: _,
        workload: _,
        unit: _,
        direction,
        margin,
        limit,
        weight,
        critical,
        required,
        interval: _,
        stale_after,
    } = metric;
    let Margin {
        harm_permille,
        accept_permille,
        accept_ppm,
    } = *margin;
    let show = |limit| show_limit(guard::Metric::ErrorRate, limit);
    let mut long = json!({
        "kind": kind.name(),
        "source": source.name,
        "direction": match direction {
            Direction::HigherIsWorse => "higherIsWorse",
            Direction::LowerIsWorse => "lowerIsWorse",
        },
        "harm": show(Limit::Times(harm_permille)),
        "accept": show(Limit::Times(accept_permille)),
        "acceptPlus": show(Limit::Points(accept_ppm)),
        "weight": weight,
        "critical": critical.to_string(),
        "required": required.to_string(),
        "staleAfter": show_duration(*stale_after),
    });
    if !matches!(ask, Ask::Requests(_)) {
        set_asked(&mut long, metric);
    }
    let limit = limit.map(|limit| match kind {
        Kind::Gauge => show_milli(limit),
        Kind::Ratio | Kind::Counter | Kind::Latency | Kind::Conversion => {
            show(Limit::Absolute(limit))
        }
    });
    set(&mut long, "limit", limit);
    match ask {
        Ask::Template(name) => set(&mut long, "template", Some(name.clone())),
        Ask::Query(query) => set(&mut long, "query", Some(query.clone())),
        Ask::Counts { events, exposure } => {
            set(&mut long, "events", Some(events.clone()));
            set(&mut long, "exposure", exposure.clone());
        }
        Ask::Requests(Requests { hit, of, within }) => {
            set(&mut long, "hit", Some(hit.to_string()));
            set(&mut long, "of", Some(of.to_string()));
            set(&mut long, "within", Some(show_duration(*within)));
        }
    }
    long
}

/// Adds what only those need who are asked.
fn set_asked(long: &mut Value, metric: &Metric) {
    let unit = match metric.unit {
        Unit::Seconds => "s",
        Unit::Milliseconds => "ms",
        Unit::Microseconds => "us",
    };
    if let Some(map) = long.as_object_mut() {
        map.insert("variables".to_owned(), json!(metric.variables));
    }
    set(long, "workload", Some(metric.workload.clone()));
    set(long, "unit", Some(unit.to_owned()));
    set(long, "interval", Some(show_duration(metric.interval)));
}
