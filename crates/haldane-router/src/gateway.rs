//! Gateway API: the `backendRefs` of an HTTPRoute, GRPCRoute, TCPRoute or TLSRoute.
//!
//! Weights are written in 10,000 parts where the numbers that are there are too coarse (the API allows up to 1,000,000). A mirror is a
//! filter, a header route a rule. What else stands in a rule, such as `sessionPersistence`, is kept. A route's status says whether the
//! gateway took it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    kinds::{GRPC_ROUTE, HTTP_ROUTE, TCP_ROUTE, TLS_ROUTE},
    object::{Change, ObjectRef, Objects},
    route::{Accepted, Capabilities, Proof, RouteError, Router, Seen},
    rules,
    split::Split,
    sticky::Sticky,
    weighted::Share,
};

mod cookie;
mod parents;
mod rule;

pub(crate) use self::{
    parents::accepted_by_parents,
    rule::{RouteRules, Speaks},
};

type Result<T> = std::result::Result<T, RouteError>;

/// The name for people.
const NAME: &str = "Gateway API";

/// Routes of the Gateway API that name the stable Service; one or more of the four kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gateway {
    /// The name of an HTTPRoute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_route: Option<String>,
    /// The name of a GRPCRoute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc_route: Option<String>,
    /// The name of a TCPRoute. It knows no headers and no mirror.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_route: Option<String>,
    /// The name of a TLSRoute. It knows no headers and no mirror.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_route: Option<String>,
    /// The names of the rules that are meant; all that name the stable Service if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// Keeps users on the canary by a cookie; only by the HTTPRoute, and only if the gateway can change headers by backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// The namespace of the routes; the release's if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

impl Gateway {
    fn routes(&self, namespace: &str) -> Vec<(ObjectRef, Speaks)> {
        let namespace = self.namespace.as_deref().unwrap_or(namespace);
        [
            (&self.http_route, &HTTP_ROUTE, Speaks::Http),
            (&self.grpc_route, &GRPC_ROUTE, Speaks::Grpc),
            (&self.tcp_route, &TCP_ROUTE, Speaks::Bytes),
            (&self.tls_route, &TLS_ROUTE, Speaks::Bytes),
        ]
        .into_iter()
        .filter_map(|(name, kind, speaks)| {
            let name = name.as_deref()?;
            Some((kind.named(namespace, name), speaks))
        })
        .collect()
    }

    fn check_named(&self) -> Result<()> {
        if !self.routes("").is_empty() {
            return Ok(());
        }
        Err(RouteError::Cannot {
            router: NAME,
            what:
                "route without the name of a route: set httpRoute, grpcRoute, tcpRoute or tlsRoute"
                    .to_owned(),
        })
    }

    /// Calls this for each route.
    fn each<T>(
        &self,
        split: &Split,
        mut visit: impl FnMut(&RouteRules<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let routes = self.routes(&split.namespace);
        routes
            .iter()
            .map(|(target, speaks)| {
                visit(&RouteRules {
                    split,
                    target,
                    names: &self.rules,
                    speaks: *speaks,
                    sticky: self.sticky.as_ref().filter(|_| *speaks == Speaks::Http),
                    router: NAME,
                })
            })
            .collect()
    }
}

impl Router for Gateway {
    fn objects(&self, namespace: &str) -> Vec<ObjectRef> {
        self.routes(namespace)
            .into_iter()
            .map(|(target, _)| target)
            .collect()
    }

    fn desired(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>> {
        self.check_named()?;
        let mut changes = Vec::new();
        let mut failed = None;
        self.each(split, |route| {
            match route.desired(objects) {
                Ok(change) => changes.extend(change),
                // Where all is to go to stable, one route must not keep the others with the canary: it is told when these are done.
                Err(error) if split.traffic.is_stable_only() => failed = Some(error),
                Err(error) => return Err(error),
            }
            Ok(())
        })?;
        match failed {
            Some(error) if changes.is_empty() => Err(error),
            _ => Ok(changes),
        }
    }

    fn cleared(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>> {
        let changes = self.each(split, |route| route.cleared(objects))?;
        Ok(changes.into_iter().flatten().collect())
    }

    fn seen(&self, split: &Split, objects: &Objects) -> Result<Seen> {
        self.check_named()?;
        let shares = self.each(split, |route| route.shares(objects))?;
        let shares: Vec<Share> = shares.into_iter().flatten().collect();
        Ok(rules::told(split.traffic.weight, &shares).unwrap_or_default())
    }

    fn accepted(&self, split: &Split, objects: &Objects) -> Accepted {
        self.objects(&split.namespace)
            .iter()
            .map(|target| accepted_by_parents(target, objects))
            .find(|accepted| *accepted != Accepted::Yes)
            .unwrap_or(Accepted::Yes)
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }
}

/// What Gateway API can do.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    name: NAME,
    weight: true,
    header: true,
    header_regex: true,
    mirror: true,
    mirror_share: true,
    sticky: true,
    proof: Proof::Traffic,
};

#[cfg(test)]
mod tests;
