//! Findings on metric sources and on the metrics that are taken from them.

use std::net::IpAddr;

use haldane_core::plan::{
    Plan,
    metric::{Ask, Given, Provider, Source},
};

use super::{
    Remark,
    plan::hold_time,
    rules::{PLAIN_CREDENTIALS, STALE_TOO_SOON, UNSEEN_CONVERSION, UNUSED_SOURCE},
};
use crate::{file::File, text::show_duration};

/// Returns what is to be said of the sources of a file.
pub(super) fn lint_sources(file: &File) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for (name, source) in &file.sources {
        let mut add = |rule, reason: &str| {
            remarks.push(Remark::plain(rule, format!("sources.{name}"), reason));
        };
        let metrics = file
            .services
            .values()
            .flat_map(|service| &service.plan.rules().metrics);
        if !metrics
            .into_iter()
            .any(|metric| metric.source.name == *name)
        {
            add(&UNUSED_SOURCE, "no metric is taken from it");
        }
        if has_secrets(source)
            && source.address.starts_with("http://")
            && !is_local(&source.address)
        {
            let reason = "its credentials go over the network unencrypted";
            add(&PLAIN_CREDENTIALS, reason);
        }
    }
    remarks
}

/// Returns what is to be said of the metrics of a service.
pub(super) fn lint_metrics(path: &str, plan: &Plan) -> Vec<Remark> {
    let metrics = plan.rules().metrics.iter();
    let metrics = metrics.filter(|metric| metric.source.provider != Provider::Proxy);
    let late = metrics.filter_map(|metric| {
        // One answer may always be late.
        let least = metric.interval.saturating_mul(2);
        (metric.stale_after < least).then(|| {
            Remark::new(
                &STALE_TOO_SOON,
                format!("{path}.metrics.{}.staleAfter", metric.name),
                "one late answer makes its data old, and nothing passes",
                format!("expected at least {}", show_duration(least)),
            )
        })
    });
    late.chain(lint_conversions(path, plan)).collect()
}

/// Returns what is to be said of metrics that wait longer after each change of the weight than a step lasts.
fn lint_conversions(path: &str, plan: &Plan) -> Vec<Remark> {
    let Some(shortest) = plan.steps().iter().filter_map(hold_time).min() else {
        return Vec::new();
    };
    let metrics = plan.rules().metrics.iter();
    let unseen = metrics.filter_map(|metric| match &metric.ask {
        Ask::Requests(requests) if requests.within >= shortest => {
            let reason = format!(
                "a step of {} is over before {} have passed in which its hits may be those of another weight, so \
                 nothing of it is compared",
                show_duration(shortest),
                show_duration(requests.within)
            );
            let path = format!("{path}.metrics.{}.within", metric.name);
            Some(Remark::plain(&UNSEEN_CONVERSION, path, reason))
        }
        Ask::Requests(_) | Ask::Template(_) | Ask::Query(_) | Ask::Counts { .. } => None,
    });
    unseen.collect()
}

fn has_secrets(source: &Source) -> bool {
    let mut given = source.headers.values().chain(source.auth.values());
    given.any(|given| matches!(given, Given::Env(_) | Given::File(_)))
}

/// Whether a URL names this machine.
fn is_local(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
