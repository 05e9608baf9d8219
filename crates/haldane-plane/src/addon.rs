//! What can be added to a plane: kinds that routers define, routers that carry traffic, and a Prometheus.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Something that a plane has on request only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Addon {
    /// The kinds of the Gateway API, with the experimental ones and all versions.
    GatewayApi,
    /// Istio's kinds.
    Istio,
    /// Contour's kinds, without Contour.
    ContourApi,
    /// Traefik's kinds, without Traefik.
    TraefikApi,
    /// Knative's kinds.
    Knative,
    /// `ServiceMonitor`, by which the Prometheus operator is told whom to ask; nothing that runs.
    PrometheusOperator,
    /// The Service Mesh Interface: `TrafficSplit` and `HTTPRouteGroup`.
    Smi,
    /// Linkerd's own `HTTPRoute`.
    Linkerd,
    /// Kuma's `MeshHTTPRoute`.
    Kuma,
    /// `ApisixRoute`.
    Apisix,
    /// Consul's `ServiceSplitter`, `ServiceResolver` and `ServiceRouter`.
    Consul,
    /// Skipper's `RouteGroup`.
    Skipper,
    /// Gloo's `VirtualService` and `RouteTable`.
    Gloo,
    /// Ambassador's `Mapping`.
    Ambassador,
    /// Contour with an Envoy, both kinds of routes, and a Gateway called `contour` in the namespace `projectcontour`.
    Contour,
    /// Traefik with its own kinds, those of the Gateway API, and a Gateway called `traefik` in the namespace `traefik`.
    Traefik,
    /// Envoy Gateway with an Envoy of its own, and a Gateway called `envoy` in the namespace `envoy-gateway-system`.
    EnvoyGateway,
    /// A Prometheus that asks all pods, and the routers that are there.
    Prometheus(Scrape),
}

/// How often Prometheus asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scrape {
    /// Each second.
    EachSecond,
    /// Every five seconds, as in a cluster that is attentive.
    EveryFiveSeconds,
}

/// What an add-on is made of.
#[derive(Debug)]
struct Parts {
    needs: &'static [Addon],
    definitions: Option<&'static str>,
    own_definitions: Option<&'static str>,
    programs: &'static [&'static str],
}

/// All add-ons with their names.
const NAMES: [(&str, Addon); 19] = [
    ("gateway-api", Addon::GatewayApi),
    ("istio", Addon::Istio),
    ("contour-api", Addon::ContourApi),
    ("traefik-api", Addon::TraefikApi),
    ("knative", Addon::Knative),
    ("prometheus-operator", Addon::PrometheusOperator),
    ("smi", Addon::Smi),
    ("linkerd", Addon::Linkerd),
    ("kuma", Addon::Kuma),
    ("apisix", Addon::Apisix),
    ("consul", Addon::Consul),
    ("skipper", Addon::Skipper),
    ("gloo", Addon::Gloo),
    ("ambassador", Addon::Ambassador),
    ("contour", Addon::Contour),
    ("traefik", Addon::Traefik),
    ("envoy-gateway", Addon::EnvoyGateway),
    ("prometheus", Addon::Prometheus(Scrape::EveryFiveSeconds)),
    ("prometheus-1s", Addon::Prometheus(Scrape::EachSecond)),
];

impl Addon {
    /// Returns all add-ons.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.into_iter().map(|(_, addon)| addon)
    }

    /// Whether it takes requests, and so has an address.
    #[must_use]
    pub fn has_address(self) -> bool {
        matches!(
            self,
            Self::Contour | Self::Traefik | Self::EnvoyGateway | Self::Prometheus(_)
        )
    }

    /// Returns what must be there before it.
    pub(crate) fn needs(self) -> &'static [Self] {
        self.parts().needs
    }

    /// Returns the file of the cache that defines its kinds.
    pub(crate) fn definitions(self) -> Option<&'static str> {
        self.parts().definitions
    }

    /// Returns the definitions of its kinds that no module carries: ours, with the fields that a rollout changes.
    pub(crate) fn own_definitions(self) -> Option<&'static str> {
        self.parts().own_definitions
    }

    /// Returns all files of the cache that it takes, with those of what it needs.
    pub(crate) fn files(self) -> Vec<&'static str> {
        let parts = self.parts();
        let needed = parts.needs.iter().flat_map(|addon| addon.files());
        let own = parts.programs.iter().copied().chain(parts.definitions);
        own.chain(needed).collect()
    }

    fn parts(self) -> Parts {
        match self {
            Self::GatewayApi => Parts::kept("gateway-api.yaml"),
            Self::Istio => Parts::kept("istio-api.yaml"),
            Self::ContourApi => Parts::kept("contour-api.yaml"),
            Self::TraefikApi => Parts::kept("traefik-api.yaml"),
            Self::Knative => Parts::kept("knative.yaml"),
            Self::PrometheusOperator => Parts::kept("prometheus-operator-api.yaml"),
            Self::Smi => Parts::ours(include_str!("../crds/smi.yaml")),
            Self::Linkerd => Parts::ours(include_str!("../crds/linkerd.yaml")),
            Self::Kuma => Parts::ours(include_str!("../crds/kuma.yaml")),
            Self::Apisix => Parts::ours(include_str!("../crds/apisix.yaml")),
            Self::Consul => Parts::ours(include_str!("../crds/consul.yaml")),
            Self::Skipper => Parts::ours(include_str!("../crds/skipper.yaml")),
            Self::Gloo => Parts::ours(include_str!("../crds/gloo.yaml")),
            Self::Ambassador => Parts::ours(include_str!("../crds/ambassador.yaml")),
            Self::Contour => {
                Parts::running(&[Self::GatewayApi, Self::ContourApi], &["contour", "envoy"])
            }
            Self::Traefik => Parts::running(&[Self::GatewayApi, Self::TraefikApi], &["traefik"]),
            Self::EnvoyGateway => Parts {
                definitions: Some("envoy-gateway-api.yaml"),
                ..Parts::running(&[Self::GatewayApi], &["envoy-gateway", "envoy"])
            },
            // It is the machine's own.
            Self::Prometheus(_) => Parts::running(&[], &[]),
        }
    }

    fn name(self) -> &'static str {
        let found = NAMES.iter().find(|(_, addon)| *addon == self);
        found.map(|(name, _)| *name).unwrap_or_default()
    }
}

impl Parts {
    fn kept(definitions: &'static str) -> Self {
        Self {
            definitions: Some(definitions),
            ..Self::running(&[], &[])
        }
    }

    fn ours(definitions: &'static str) -> Self {
        Self {
            own_definitions: Some(definitions),
            ..Self::running(&[], &[])
        }
    }

    fn running(needs: &'static [Addon], programs: &'static [&'static str]) -> Self {
        Self {
            needs,
            definitions: None,
            own_definitions: None,
            programs,
        }
    }
}

impl fmt::Display for Addon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Addon {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, addon)| *addon).ok_or_else(|| {
            let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
            format!("expected one of {}", names.join(", "))
        })
    }
}

impl From<Addon> for String {
    fn from(addon: Addon) -> Self {
        addon.to_string()
    }
}

impl TryFrom<String> for Addon {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_add_on_has_a_name_of_its_own() {
        for addon in Addon::all() {
            assert_eq!(addon.to_string().parse(), Ok(addon), "{addon:?}");
        }
        let error = "nginx".parse::<Addon>().unwrap_err();
        assert!(error.contains("gateway-api, istio"), "{error}");
    }

    #[test]
    fn an_add_on_defines_kinds_or_takes_requests() {
        for addon in Addon::all() {
            let defines = addon.definitions().is_some() || addon.own_definitions().is_some();
            assert!(defines || addon.has_address(), "{addon}");
        }
    }
}
