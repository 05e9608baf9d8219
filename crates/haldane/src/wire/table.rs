//! The proxy's table out of the wishes of all services: pure, so that what is published can be tested without a socket.

use std::{collections::BTreeMap, net::SocketAddr};

use haldane_api::file::Service;
use haldane_core::{
    ServiceName, Weight,
    plan::{
        HeaderRoute, ValueMatch,
        metric::{Ask, Metric},
    },
};
use haldane_engine::port::Route;
use haldane_proxy::{
    Arm, Conversion, Endpoint, HostPattern, Matcher, Override, PathPrefix, Route as ProxyRoute,
    Rule, ServiceRoute, ServiceSpec, Table, Timeouts, ValueMatch as ProxyMatch,
};

/// One service to be routed.
pub(super) struct Input<'a> {
    pub(super) name: &'a ServiceName,
    pub(super) file: &'a Service,
    pub(super) route: &'a Route,
    /// What is counted besides.
    pub(super) conversions: &'a [Conversion],
    /// Where stable listens.
    pub(super) stable: Vec<Endpoint>,
    /// Where the canary listens.
    pub(super) canary: Vec<Endpoint>,
}

/// Returns the table that routes these services; `listeners` maps the addresses asked for to the real ones.
pub(super) fn build<'a>(
    inputs: impl Iterator<Item = Input<'a>>,
    listeners: &BTreeMap<SocketAddr, SocketAddr>,
) -> Result<Table, String> {
    let (mut routes, mut services) = (Vec::new(), Vec::new());
    for input in inputs {
        for asked in &input.file.listen {
            routes.push(ProxyRoute {
                listener: Some(*listeners.get(asked).unwrap_or(asked)),
                host: input
                    .file
                    .host
                    .as_ref()
                    .map(|host| host.as_str().parse::<HostPattern>())
                    .transpose()
                    .map_err(say)?,
                path: prefix(input.file.path.as_deref())?,
                service: input.name.clone(),
            });
        }
        services.push(service(input)?);
    }
    Table::try_new(routes, services).map_err(say)
}

/// Returns what the proxy counts for metrics.
pub(super) fn conversions(metrics: &[Metric]) -> Vec<Conversion> {
    let counted = metrics.iter().filter_map(|metric| {
        let Ask::Requests(requests) = &metric.ask else {
            return None;
        };
        Some(Conversion {
            metric: metric.name.clone(),
            hit: requests.hit.clone(),
            of: requests.of.clone(),
        })
    });
    counted.collect()
}

fn service(input: Input<'_>) -> Result<ServiceRoute, String> {
    let routing = &input.route.routing;
    let weight = input
        .route
        .canary
        .as_ref()
        .map_or(Weight::ZERO, |_| routing.weight);
    let rest =
        Weight::try_from_bps(Weight::FULL.as_bps().saturating_sub(weight.as_bps())).map_err(say)?;
    let mut arms = vec![Arm {
        version: input.route.stable.version.clone(),
        share: rest,
        endpoints: input.stable,
        is_reachable_by_override: true,
    }];
    let mut rules = Vec::new();
    if let Some(canary) = &input.route.canary {
        arms.push(Arm {
            version: canary.version.clone(),
            share: weight,
            endpoints: input.canary,
            is_reachable_by_override: routing.is_open_to_override,
        });
        for route in &routing.header_routes {
            rules.push(Rule {
                all_of: matchers(route)?,
                to: canary.version.clone(),
            });
        }
    }
    let unmeasured = input
        .file
        .unmeasured
        .iter()
        .map(|path| prefix(Some(path)))
        .collect::<Result<_, _>>()?;
    ServiceRoute::try_new(ServiceSpec {
        name: input.name.clone(),
        arms,
        fallback: input.route.stable.version.clone(),
        overrides: overrides(input.file)?,
        rules,
        unmeasured,
        conversions: input.conversions.to_vec(),
        timeouts: Timeouts {
            connect: input.file.timeouts.connect,
            response_head: input.file.timeouts.response,
            body_idle: input.file.timeouts.idle,
        },
        body_bytes_max: input.file.limits.body_bytes,
    })
    .map_err(say)
}

fn overrides(file: &Service) -> Result<Override, String> {
    Ok(Override {
        header: file
            .overrides
            .header
            .as_ref()
            .map(|name| name.parse())
            .transpose()
            .map_err(say)?,
        cookie: file.overrides.cookie.clone(),
        query: file.overrides.query.clone(),
    })
}

fn matchers(route: &HeaderRoute) -> Result<Vec<Matcher>, String> {
    route
        .matches
        .iter()
        .map(|one| {
            let value = match &one.value {
                ValueMatch::Exact(value) => ProxyMatch::Exact(value.clone()),
                ValueMatch::Prefix(value) => ProxyMatch::Prefix(value.clone()),
                ValueMatch::Present => ProxyMatch::Present,
                ValueMatch::Regex(_) => {
                    return Err("headers cannot be matched by regular expressions here".to_owned());
                }
            };
            Ok(Matcher::Header(one.header.parse().map_err(say)?, value))
        })
        .collect()
}

fn prefix(path: Option<&str>) -> Result<PathPrefix, String> {
    path.map_or_else(|| Ok(PathPrefix::root()), |path| path.parse().map_err(say))
}

fn say(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use haldane_api::file;
    use haldane_core::rollout::Traffic;

    use super::*;

    #[test]
    fn every_address_host_and_limit_of_the_file_reaches_the_table() {
        let text = "services:
  auth:
    listen: [127.0.0.1:1, 127.0.0.1:2]
    host: auth.test
    stable: { version: v1, url: http://127.0.0.1:9 }
    limits: { bodyBytes: 7KiB }
";
        let file = file::parse(text).unwrap();
        let (name, service) = file.services.first_key_value().unwrap();
        let route = Route {
            stable: service.stable.clone(),
            canary: None,
            routing: Traffic::STABLE_ONLY,
        };
        let input = Input {
            name,
            file: service,
            route: &route,
            conversions: &[],
            stable: Vec::new(),
            canary: Vec::new(),
        };
        let table = build([input].into_iter(), &BTreeMap::new()).unwrap();
        let text = format!("{table:?}");
        for part in [
            "127.0.0.1:1",
            "127.0.0.1:2",
            "auth.test",
            "body_bytes_max: 7168",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
