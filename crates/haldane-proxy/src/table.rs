//! What is routed where: the one value that the host publishes and each request reads once.
//!
//! A [`Table`] can't be wrong: shares add up, rules name arms that exist, routes name services that exist. It is all checked on
//! construction, on the host's side, so that the data plane has nothing left to check.
//!
//! **Order of routes:** the most specific one wins. An exact host comes before a wildcard, a longer wildcard before a shorter one,
//! any wildcard before no host at all; then the longer path prefix; then a route bound to the listener before one for all. A route
//! whose path doesn't match is passed over, so a less specific host may still serve the request.

use std::{collections::BTreeMap, fmt, net::SocketAddr, str::FromStr, sync::Arc, time::Duration};

use haldane_core::{ServiceName, VersionName, Weight};
use http::HeaderName;

use crate::{
    count::{CONVERSIONS_MAX, Conversion},
    endpoint::Endpoint,
};

/// Time to open a connection to an endpoint; more means that it is not there. It is longer than the second after which the kernel
/// repeats a lost packet of the handshake, so that one lost packet is no failure.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Time from the end of the request to the head of the response.
pub const RESPONSE_HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Time without a byte of a body, either way.
pub const BODY_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// All routes and services, consistent in themselves.
#[derive(Clone, Debug)]
pub struct Table {
    /// Most specific first.
    routes: Vec<(Route, usize)>,
    services: Vec<Arc<ServiceRoute>>,
}

/// Why routes and services don't fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// A route leads to a service that is not in the table.
    #[error("the route {route} leads to {service}, which is not in the table")]
    UnknownService {
        /// The route.
        route: String,
        /// The service it names.
        service: ServiceName,
    },
    /// Two routes match the same requests.
    #[error("two routes are for {route}")]
    SameRoute {
        /// What both match.
        route: String,
    },
    /// A service is given twice.
    #[error("the service {service} is given twice")]
    SameService {
        /// The service.
        service: ServiceName,
    },
}

/// Which requests belong to a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The listener's address as [`crate::Proxy::listen`] returned it; `None` for all.
    pub listener: Option<SocketAddr>,
    /// The host; `None` for any.
    pub host: Option<HostPattern>,
    /// The path prefix.
    pub path: PathPrefix,
    /// The service.
    pub service: ServiceName,
}

/// A host name, exact or `*.` with a suffix; compared without regard to case and port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPattern {
    /// In lower case; with the leading dot for a wildcard.
    name: String,
    is_wildcard: bool,
}

/// A path prefix that ends on a segment: `/a` matches `/a` and `/a/b`, never `/ab`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathPrefix(String);

/// Why a text is not a host pattern or path prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what}")]
pub struct PatternError {
    text: String,
    what: &'static str,
}

/// One service: its arms and how a request finds its arm.
#[derive(Clone, Debug)]
pub struct ServiceRoute {
    name: ServiceName,
    arms: Vec<Arm>,
    shares: Vec<u16>,
    fallback: usize,
    overrides: Override,
    rules: Vec<(Vec<Matcher>, usize)>,
    unmeasured: Vec<PathPrefix>,
    conversions: Arc<[Conversion]>,
    timeouts: Timeouts,
    body_bytes_max: u64,
}

/// What a [`ServiceRoute`] is made of.
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    /// The name.
    pub name: ServiceName,
    /// The versions and their shares, which add up to 10,000 basis points.
    pub arms: Vec<Arm>,
    /// The stable version: it takes over where another has no usable endpoint.
    pub fallback: VersionName,
    /// How a client may ask for a version.
    pub overrides: Override,
    /// Rules that come before the split; the first that matches decides.
    pub rules: Vec<Rule>,
    /// Paths that are served but not counted.
    pub unmeasured: Vec<PathPrefix>,
    /// Requests that are counted besides, at most [`CONVERSIONS_MAX`].
    pub conversions: Vec<Conversion>,
    /// Time-outs towards the endpoints.
    pub timeouts: Timeouts,
    /// Bytes of the body of a request; the proxy's own limit holds as well.
    pub body_bytes_max: u64,
}

/// One version of a service with its share of the traffic.
#[derive(Clone, Debug)]
pub struct Arm {
    /// The version.
    pub version: VersionName,
    /// Its share of the requests that neither an override nor a rule decides.
    pub share: Weight,
    /// Where it listens.
    pub endpoints: Vec<Endpoint>,
    /// Whether an override may lead here.
    pub is_reachable_by_override: bool,
}

/// Where a client may name the version it wants: `true` or `always` for the canary, `false` or `never` for stable, or a version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Override {
    /// A header, looked at first.
    pub header: Option<HeaderName>,
    /// A cookie, looked at second.
    pub cookie: Option<String>,
    /// A query parameter, looked at last. Compared as sent, without decoding.
    pub query: Option<String>,
}

/// Sends requests that meet all conditions to one arm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The conditions, at least one.
    pub all_of: Vec<Matcher>,
    /// The version they lead to.
    pub to: VersionName,
}

/// A condition on a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matcher {
    /// On a header; one of several values suffices.
    Header(HeaderName, ValueMatch),
    /// On a cookie.
    Cookie(String, ValueMatch),
    /// On a query parameter, as sent, without decoding.
    Query(String, ValueMatch),
}

/// A condition on a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueMatch {
    /// It is this.
    Exact(String),
    /// It begins so.
    Prefix(String),
    /// It is there.
    Present,
}

/// Time-outs towards the endpoints of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To open a connection.
    pub connect: Duration,
    /// From the end of the request to the head of the response.
    pub response_head: Duration,
    /// Without a byte of a body, either way.
    pub body_idle: Duration,
}

/// Why arms, rules and shares don't make a service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// The shares don't make a whole.
    #[error("the shares of {service} add up to {sum_bps} basis points, not 10000")]
    Shares {
        /// The service.
        service: ServiceName,
        /// What they add up to.
        sum_bps: u32,
    },
    /// A version is given twice.
    #[error("the version {version} of {service} is given twice")]
    SameVersion {
        /// The service.
        service: ServiceName,
        /// The version.
        version: VersionName,
    },
    /// The fallback or a rule names a version that is no arm.
    #[error("{service} has no version {version}, which its {named_by} names")]
    UnknownVersion {
        /// The service.
        service: ServiceName,
        /// The version.
        version: VersionName,
        /// Who names it.
        named_by: &'static str,
    },
    /// A rule without conditions would take all traffic.
    #[error("a rule of {service} to {version} has no condition")]
    EmptyRule {
        /// The service.
        service: ServiceName,
        /// Where the rule leads.
        version: VersionName,
    },
    /// More is to be counted than a request can carry.
    #[error("{service} has {found} conversions; expected at most {CONVERSIONS_MAX}")]
    Conversions {
        /// The service.
        service: ServiceName,
        /// How many there are.
        found: usize,
    },
}

impl Table {
    /// Returns the table of `routes` to `services`.
    ///
    /// # Errors
    /// When a route leads nowhere, or two routes or services are the same.
    pub fn try_new(routes: Vec<Route>, services: Vec<ServiceRoute>) -> Result<Self, TableError> {
        let mut index = BTreeMap::new();
        for (at, service) in services.iter().enumerate() {
            if index.insert(service.name.clone(), at).is_some() {
                return Err(TableError::SameService {
                    service: service.name.clone(),
                });
            }
        }
        let mut routes = routes
            .into_iter()
            .map(|route| match index.get(&route.service) {
                Some(at) => Ok((route, *at)),
                None => Err(TableError::UnknownService {
                    route: route.to_string(),
                    service: route.service,
                }),
            })
            .collect::<Result<Vec<_>, _>>()?;
        routes.sort_by(|(a, _), (b, _)| b.specificity().cmp(&a.specificity()));
        for pair in routes.windows(2) {
            if let [(a, _), (b, _)] = pair
                && a.specificity() == b.specificity()
            {
                return Err(TableError::SameRoute {
                    route: a.to_string(),
                });
            }
        }
        Ok(Self {
            routes,
            services: services.into_iter().map(Arc::new).collect(),
        })
    }

    /// Returns a table that answers every request with 404.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            routes: Vec::new(),
            services: Vec::new(),
        }
    }

    /// Returns the services.
    pub fn services(&self) -> impl Iterator<Item = &ServiceRoute> {
        self.services.iter().map(AsRef::as_ref)
    }

    pub(crate) fn service_arcs(&self) -> &[Arc<ServiceRoute>] {
        &self.services
    }

    /// Returns the place of the service for a request, if there is one. `host` is without port.
    pub(crate) fn find(&self, listener: SocketAddr, host: &str, path: &str) -> Option<usize> {
        let is_match = |route: &Route| {
            route.listener.is_none_or(|addr| addr == listener)
                && route
                    .host
                    .as_ref()
                    .is_none_or(|pattern| pattern.is_match(host))
                && route.path.is_match(path)
        };
        self.routes
            .iter()
            .find(|(route, _)| is_match(route))
            .map(|(_, service)| *service)
    }
}

impl Route {
    /// Returns what routes are ordered by; equal only for routes that match the same requests.
    fn specificity(&self) -> (u8, usize, Option<&str>, usize, &str, Option<SocketAddr>) {
        let (class, length, name) = match &self.host {
            None => (0, 0, None),
            Some(host) => (
                if host.is_wildcard { 1 } else { 2 },
                host.name.len(),
                Some(host.name.as_str()),
            ),
        };
        (
            class,
            length,
            name,
            self.path.0.len(),
            &self.path.0,
            self.listener,
        )
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, self.listener) {
            (Some(host), _) if host.is_wildcard => write!(f, "*{}{}", host.name, self.path.0)?,
            (Some(host), _) => write!(f, "{}{}", host.name, self.path.0)?,
            (None, _) => f.write_str(&self.path.0)?,
        }
        self.listener.map_or(Ok(()), |addr| write!(f, " on {addr}"))
    }
}

impl HostPattern {
    fn is_match(&self, host: &str) -> bool {
        let Some(start) = host.len().checked_sub(self.name.len()) else {
            return false;
        };
        let is_long_enough = if self.is_wildcard {
            start > 0
        } else {
            start == 0
        };
        let end = host.as_bytes().get(start..).unwrap_or_default();
        is_long_enough && end.eq_ignore_ascii_case(self.name.as_bytes())
    }
}

impl FromStr for HostPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let is_wildcard = text.starts_with("*.");
        let name = if is_wildcard {
            text.get(1..).unwrap_or_default()
        } else {
            text
        };
        let is_name =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
        let is_literal_v6 = name.starts_with('[') && name.ends_with(']');
        let is_ok = name.len() > usize::from(is_wildcard)
            && name.chars().all(is_name)
            && (is_literal_v6 || !name.contains([':', '[', ']']));
        if !is_ok {
            return Err(PatternError {
                text: text.to_owned(),
                what: "host name without port, or `*.` and a host name",
            });
        }
        Ok(Self {
            name: name.to_ascii_lowercase(),
            is_wildcard,
        })
    }
}

impl PathPrefix {
    /// Returns the prefix of all paths.
    #[must_use]
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    pub(crate) fn is_match(&self, path: &str) -> bool {
        let prefix = self.0.strip_suffix('/').unwrap_or(&self.0);
        match path.strip_prefix(prefix) {
            // `*` is the path of `OPTIONS *`, which is about the server as a whole.
            None => false,
            Some(rest) => prefix.is_empty() || rest.is_empty() || rest.starts_with('/'),
        }
    }
}

impl FromStr for PathPrefix {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let is_path = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#');
        if !text.starts_with('/') || !text.chars().all(is_path) {
            return Err(PatternError {
                text: text.to_owned(),
                what: "path prefix: expected `/` and printable ASCII without `?` and `#`",
            });
        }
        // `/a/` and `/a` match the same requests, so they are the same prefix.
        let text = if text.len() > 1 {
            text.trim_end_matches('/')
        } else {
            text
        };
        Ok(if text.is_empty() {
            Self::root()
        } else {
            Self(text.to_owned())
        })
    }
}

impl ServiceRoute {
    /// Returns the service that `spec` describes.
    ///
    /// # Errors
    /// When the shares don't add up to 10,000 basis points, a version is given twice, the fallback or a rule names a version that is no
    /// arm, or there are too many conversions.
    pub fn try_new(spec: ServiceSpec) -> Result<Self, ServiceError> {
        let ServiceSpec {
            name,
            arms,
            fallback,
            overrides,
            rules,
            unmeasured,
            conversions,
            timeouts,
            body_bytes_max,
        } = spec;
        if conversions.len() > CONVERSIONS_MAX {
            return Err(ServiceError::Conversions {
                service: name,
                found: conversions.len(),
            });
        }
        let sum_bps = arms.iter().map(|arm| u32::from(arm.share.as_bps())).sum();
        if sum_bps != u32::from(Weight::FULL.as_bps()) {
            return Err(ServiceError::Shares {
                service: name,
                sum_bps,
            });
        }
        for (at, arm) in arms.iter().enumerate() {
            if arms
                .iter()
                .take(at)
                .any(|other| other.version == arm.version)
            {
                return Err(ServiceError::SameVersion {
                    service: name,
                    version: arm.version.clone(),
                });
            }
        }
        let find = |version: VersionName, named_by| {
            arms.iter()
                .position(|arm| arm.version == version)
                .ok_or_else(|| ServiceError::UnknownVersion {
                    service: name.clone(),
                    version,
                    named_by,
                })
        };
        let fallback = find(fallback, "fallback")?;
        let rules = rules
            .into_iter()
            .map(|Rule { all_of, to }| match all_of.as_slice() {
                [] => Err(ServiceError::EmptyRule {
                    service: name.clone(),
                    version: to,
                }),
                _ => Ok((all_of, find(to, "rule")?)),
            })
            .collect::<Result<_, _>>()?;
        let shares = arms.iter().map(|arm| arm.share.as_bps()).collect();
        Ok(Self {
            name,
            arms,
            shares,
            fallback,
            overrides,
            rules,
            unmeasured,
            conversions: conversions.into(),
            timeouts,
            body_bytes_max,
        })
    }

    /// Returns the name.
    #[must_use]
    pub const fn name(&self) -> &ServiceName {
        &self.name
    }

    /// Returns the arms.
    #[must_use]
    pub fn arms(&self) -> &[Arm] {
        &self.arms
    }

    /// Returns the place of the fallback among the arms.
    pub(crate) const fn fallback(&self) -> usize {
        self.fallback
    }

    pub(crate) fn shares(&self) -> &[u16] {
        &self.shares
    }

    pub(crate) const fn overrides(&self) -> &Override {
        &self.overrides
    }

    pub(crate) fn rules(&self) -> &[(Vec<Matcher>, usize)] {
        &self.rules
    }

    pub(crate) const fn conversions(&self) -> &Arc<[Conversion]> {
        &self.conversions
    }

    pub(crate) const fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    pub(crate) const fn body_bytes_max(&self) -> u64 {
        self.body_bytes_max
    }

    /// Whether requests are divided among several arms.
    pub(crate) fn is_split(&self) -> bool {
        self.arms()
            .iter()
            .filter(|arm| !arm.share.is_zero())
            .count()
            > 1
    }

    pub(crate) fn is_measured(&self, path: &str) -> bool {
        !self.unmeasured.iter().any(|prefix| prefix.is_match(path))
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: CONNECT_TIMEOUT,
            response_head: RESPONSE_HEAD_TIMEOUT,
            body_idle: BODY_IDLE_TIMEOUT,
        }
    }
}

#[cfg(test)]
mod tests;
