//! Linkerd: an HTTPRoute that hangs on a Service, of the Gateway API's group or of Linkerd's own.
//!
//! Its rules are those of [`crate::gateway`], without mirrors. A ServiceProfile for the same Service makes Linkerd ignore the route; it
//! is not seen from here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    edit::{self, Place},
    gateway::{RouteRules, Speaks, accepted_by_parents},
    kinds::{HTTP_ROUTE, POLICY_ROUTE},
    object::{Change, ObjectRef, Objects},
    route::{Accepted, Capabilities, Proof, RouteError, Router, Seen},
    rules,
    split::Split,
};

type Result<T> = std::result::Result<T, RouteError>;

/// The name for people.
const NAME: &str = "Linkerd";

/// An HTTPRoute of Linkerd: one whose parent is a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Linkerd {
    /// The name of the HTTPRoute.
    pub http_route: String,
    /// The API group of the route; the Gateway API's if left out.
    #[serde(default)]
    pub group: Group,
    /// The names of the rules that are meant; all that name the stable Service if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
}

/// The API group of a route.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Group {
    /// The Gateway API's.
    #[default]
    #[serde(rename = "gateway.networking.k8s.io")]
    Gateway,
    /// Linkerd's own.
    #[serde(rename = "policy.linkerd.io")]
    Policy,
}

impl Linkerd {
    fn target(&self, namespace: &str) -> ObjectRef {
        let kind = match self.group {
            Group::Gateway => &HTTP_ROUTE,
            Group::Policy => &POLICY_ROUTE,
        };
        kind.named(namespace, &self.http_route)
    }

    fn rules<'a>(&'a self, split: &'a Split, target: &'a ObjectRef) -> RouteRules<'a> {
        RouteRules {
            split,
            target,
            names: &self.rules,
            speaks: Speaks::Mesh,
            sticky: None,
            router: NAME,
        }
    }
}

impl Router for Linkerd {
    fn objects(&self, namespace: &str) -> Vec<ObjectRef> {
        vec![self.target(namespace)]
    }

    fn desired(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>> {
        let target = self.target(&split.namespace);
        let present = edit::object(objects, &target)?;
        if !split.traffic.is_stable_only() {
            check_parent(present, &Place::of(&target))?;
        }
        let change = self.rules(split, &target).desired(objects)?;
        Ok(change.into_iter().collect())
    }

    fn cleared(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>> {
        let target = self.target(&split.namespace);
        let change = self.rules(split, &target).cleared(objects)?;
        Ok(change.into_iter().collect())
    }

    fn seen(&self, split: &Split, objects: &Objects) -> Result<Seen> {
        let target = self.target(&split.namespace);
        let shares = self.rules(split, &target).shares(objects)?;
        Ok(rules::told(split.traffic.weight, &shares).unwrap_or_default())
    }

    fn accepted(&self, split: &Split, objects: &Objects) -> Accepted {
        accepted_by_parents(&self.target(&split.namespace), objects)
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }
}

/// What Linkerd can do.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    name: NAME,
    weight: true,
    header: true,
    header_regex: true,
    mirror: false,
    mirror_share: false,
    sticky: false,
    proof: Proof::Objects,
};

/// Refuses a route that hangs on no Service: Linkerd would not use it.
fn check_parent(route: &Value, at: &Place<'_>) -> Result<()> {
    let parents = edit::list(route, &["spec", "parentRefs"], at)?;
    let is_service = |parent: &Value| {
        edit::text(parent, &["kind"]) == Some("Service")
            && matches!(edit::text(parent, &["group"]), Some("" | "core"))
    };
    if parents.iter().any(is_service) {
        return Ok(());
    }
    Err(at
        .keys(&["spec", "parentRefs"])
        .refused("expected a parent of the kind Service and the group core, found none"))
}

#[cfg(test)]
mod tests;
