//! Advice on metric sources and on the metrics that are taken from them.

use std::net::IpAddr;

use haldane_core::plan::{
    Hold, Plan, Step,
    metric::{Ask, Given, Provider, Source},
};

use super::Advice;
use crate::{file::File, text::show_duration};

/// Returns advice on the sources of a file.
pub(super) fn lint_sources(file: &File) -> Vec<Advice> {
    let mut advice = Vec::new();
    for (name, source) in &file.sources {
        let mut add = |message: &str| {
            advice.push(Advice {
                path: format!("sources.{name}"),
                message: message.to_owned(),
            })
        };
        let metrics = file
            .services
            .values()
            .flat_map(|service| &service.plan.rules().metrics);
        if !metrics
            .into_iter()
            .any(|metric| metric.source.name == *name)
        {
            add("no metric is taken from it; leave it out, or name it as the source of a metric");
        }
        if has_secrets(source)
            && source.address.starts_with("http://")
            && !is_local(&source.address)
        {
            add("its credentials go over the network unencrypted; use https");
        }
    }
    advice
}

/// Returns advice on the metrics of a service.
pub(super) fn lint_metrics(path: &str, plan: &Plan) -> Vec<Advice> {
    let metrics = plan.rules().metrics.iter();
    let metrics = metrics.filter(|metric| metric.source.provider != Provider::Proxy);
    let late = metrics.filter_map(|metric| {
        // One answer may always be late.
        let least = metric.interval.saturating_mul(2);
        (metric.stale_after < least).then(|| Advice {
            path: format!("{path}.metrics.{}.staleAfter", metric.name),
            message: format!(
                "one late answer makes its data old, and nothing passes; expected at least {}",
                show_duration(least)
            ),
        })
    });
    late.chain(lint_conversions(path, plan)).collect()
}

/// Returns advice on metrics that wait longer after each change of the weight than a step lasts.
fn lint_conversions(path: &str, plan: &Plan) -> Vec<Advice> {
    let holds = plan.steps().iter().filter_map(|step| match step {
        Step::Hold(Hold::For(time)) => Some(*time),
        Step::Hold(Hold::UntilEvidence { max, .. }) => Some(*max),
        Step::Hold(Hold::UntilResumed)
        | Step::SetWeight(_)
        | Step::TestTraffic
        | Step::ScaleCanary(_)
        | Step::Analysis(_)
        | Step::Experiment(_)
        | Step::HeaderRoute(_)
        | Step::Mirror(_)
        | Step::Gate(_) => None,
    });
    let Some(shortest) = holds.min() else {
        return Vec::new();
    };
    let metrics = plan.rules().metrics.iter();
    let unseen = metrics.filter_map(|metric| match &metric.ask {
        Ask::Requests(requests) if requests.within >= shortest => Some(Advice {
            path: format!("{path}.metrics.{}.within", metric.name),
            message: format!(
                "a step of {} is over before {} have passed in which its hits may be those of another weight, so nothing of it is compared; hold longer, or give a shorter within",
                show_duration(shortest),
                show_duration(requests.within)
            ),
        }),
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
