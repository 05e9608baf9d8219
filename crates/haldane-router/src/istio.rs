//! Istio: the `http`, `tls` and `tcp` routes of a VirtualService, by host or by subset.
//!
//! Stable and canary are two Services, or two subsets of one Service in a DestinationRule, whose labels are then set to those of each
//! side's pods. Weights add up to 100 as long as whole percents do, since older releases demand it; finer ones to 10,000, which Istio
//! takes since 1.15. Header routes are routes with a name of ours.
//!
//! A subset must be there before it is named, and be named no more before it goes: changes are to be written in the order in which they
//! are returned.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    before,
    edit::{self, Place},
    kinds::{DESTINATION_RULE, ISTIO_SERVICE},
    object::{Change, ObjectRef, Objects},
    route::{Accepted, Capabilities, Proof, RouteError, Router, Seen},
    rules::{self, Before},
    split::Split,
    sticky::Sticky,
};

mod list;
mod subset;

use self::list::RouteList;
pub use self::subset::Subsets;

type Result<T> = std::result::Result<T, RouteError>;

/// The name for people.
const NAME: &str = "Istio";

/// The lists of routes of a VirtualService.
const LISTS: [&str; 3] = ["http", "tls", "tcp"];

/// A VirtualService of Istio that routes to the stable Service, or to the stable subset of one Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Istio {
    /// The name of the VirtualService.
    pub virtual_service: String,
    /// The names of the HTTP routes that are meant; if empty, all routes that name stable: HTTP, TLS and TCP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// The DestinationRule whose subsets are split; if left out, two Services are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_rule: Option<Subsets>,
    /// Keeps users on the canary by a cookie, in HTTP routes. (A consistent hash in the DestinationRule keeps them on one pod of a side.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// The namespace of these objects; the release's if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// What a VirtualService was before, by list.
type ListsBefore = BTreeMap<String, Before>;

impl Istio {
    fn namespace<'a>(&'a self, namespace: &'a str) -> &'a str {
        self.namespace.as_deref().unwrap_or(namespace)
    }

    fn service(&self, namespace: &str) -> ObjectRef {
        ISTIO_SERVICE.named(self.namespace(namespace), &self.virtual_service)
    }

    fn destination(&self, namespace: &str) -> Option<ObjectRef> {
        let rule = self.destination_rule.as_ref()?;
        Some(DESTINATION_RULE.named(self.namespace(namespace), &rule.name))
    }

    /// Returns the lists with how they are read.
    fn lists<'a>(&'a self, split: &'a Split, host: Option<&'a str>) -> [RouteList<'a>; 3] {
        LISTS.map(|list| RouteList {
            split,
            istio: self,
            list,
            namespace: self.namespace(&split.namespace),
            host,
        })
    }

    /// Returns the host whose subsets are split, if subsets are.
    fn host<'o>(&self, split: &Split, objects: &'o Objects) -> Result<Option<&'o str>> {
        self.destination(&split.namespace)
            .map(|target| subset::host(&target, objects))
            .transpose()
    }

    fn desired_service(&self, split: &Split, objects: &Objects) -> Result<Option<Change>> {
        let target = self.service(&split.namespace);
        let at = Place::of(&target);
        let present = edit::object(objects, &target)?;
        let before: Option<ListsBefore> = before::read(present, &split.release);
        let before = before.unwrap_or_default();
        let mut object = present.clone();
        let mut after = ListsBefore::new();
        // Where all is to go to stable, what is missing is no reason to leave others to the canary.
        let is_out = split.traffic.is_stable_only();
        let host = match self.host(split, objects) {
            Err(_) if is_out => None,
            host => host?,
        };
        for list in self.lists(split, host) {
            let keys = ["spec", list.list];
            let routes = match edit::list(present, &keys, &at) {
                Err(_) if is_out => continue,
                routes => routes?,
            };
            let known = before.get(list.list);
            let wanted = rules::desired(&list, split, &routes, known, &at.keys(&keys))?;
            if wanted.rules != routes {
                edit::set(&mut object, &keys, Value::Array(wanted.rules), &at)?;
            }
            if wanted.names_stable {
                after.insert(list.list.to_owned(), wanted.before);
            }
        }
        if after.is_empty() && !is_out {
            return Err(self.names_nobody(split, &at));
        }
        if !after.contains_key("http") {
            check_bytes(split)?;
        }
        if object == *present {
            return Ok(None);
        }
        let kept = (!after.is_empty()).then_some(&after);
        before::write(&mut object, &split.release, kept, &at)?;
        Ok(Some(Change::Put(target, object)))
    }

    fn cleared_service(&self, split: &Split, objects: &Objects) -> Result<Option<Change>> {
        let target = self.service(&split.namespace);
        let at = Place::of(&target);
        let Some(present) = objects.get(&target) else {
            return Ok(None);
        };
        let before: Option<ListsBefore> = before::read(present, &split.release);
        let before = before.unwrap_or_default();
        let mut object = present.clone();
        // Without the DestinationRule the names of the subsets must do.
        for list in self.lists(split, self.host(split, objects).unwrap_or(None)) {
            let keys = ["spec", list.list];
            let routes = edit::list(present, &keys, &at)?;
            let known = before.get(list.list);
            let wanted = rules::cleared(&list, &routes, known, &at.keys(&keys))?;
            if wanted != routes {
                edit::set(&mut object, &keys, Value::Array(wanted), &at)?;
            }
        }
        before::write::<ListsBefore>(&mut object, &split.release, None, &at)?;
        Ok((object != *present).then_some(Change::Put(target, object)))
    }

    fn names_nobody(&self, split: &Split, at: &Place<'_>) -> RouteError {
        let whom = match &self.destination_rule {
            Some(rule) => format!("the subset {} of {}", rule.stable_subset, rule.name),
            None => format!("the Service {}", split.stable.service),
        };
        let which = if self.routes.is_empty() {
            "a route".to_owned()
        } else {
            format!("an HTTP route named {}", self.routes.join(" or "))
        };
        at.key("spec")
            .refused(&format!("expected {which} to {whom}, found none"))
    }
}

impl Router for Istio {
    fn objects(&self, namespace: &str) -> Vec<ObjectRef> {
        [Some(self.service(namespace)), self.destination(namespace)]
            .into_iter()
            .flatten()
            .collect()
    }

    fn desired(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>> {
        let service = self.desired_service(split, objects)?;
        let subsets = match (&self.destination_rule, self.destination(&split.namespace)) {
            (Some(rule), Some(target)) => match rule.desired(split, &target, objects) {
                Err(_) if split.traffic.is_stable_only() => None,
                subsets => subsets?,
            },
            _ => None,
        };
        Ok(subsets.into_iter().chain(service).collect())
    }

    fn cleared(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>> {
        let service = self.cleared_service(split, objects)?;
        let subsets = match self.destination(&split.namespace) {
            Some(target) if objects.contains_key(&target) => {
                subset::cleared(split, &target, objects)?
            }
            _ => None,
        };
        Ok(service.into_iter().chain(subsets).collect())
    }

    fn seen(&self, split: &Split, objects: &Objects) -> Result<Seen> {
        let target = self.service(&split.namespace);
        let at = Place::of(&target);
        let present = edit::object(objects, &target)?;
        let before: Option<ListsBefore> = before::read(present, &split.release);
        let before = before.unwrap_or_default();
        let mut shares = Vec::new();
        for list in self.lists(split, self.host(split, objects)?) {
            let keys = ["spec", list.list];
            let routes = edit::list(present, &keys, &at)?;
            let known = before.get(list.list);
            shares.extend(rules::shares(&list, &routes, known, &at.keys(&keys))?);
        }
        rules::told(split.traffic.weight, &shares).ok_or_else(|| self.names_nobody(split, &at))
    }

    fn accepted(&self, split: &Split, objects: &Objects) -> Accepted {
        let target = self.service(&split.namespace);
        match objects.get(&target) {
            Some(service) => reconciled(service),
            None => Accepted::Pending(format!("{target} does not exist")),
        }
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }
}

/// What Istio can do.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    name: NAME,
    weight: true,
    header: true,
    header_regex: true,
    mirror: true,
    mirror_share: true,
    sticky: true,
    proof: Proof::Objects,
};

/// Refuses what routes without HTTP can't do.
fn check_bytes(split: &Split) -> Result<()> {
    let what = if !split.canary_routes().is_empty() {
        "match headers"
    } else if !split.traffic.mirror.is_zero() {
        "mirror requests"
    } else {
        return Ok(());
    };
    Err(RouteError::Cannot {
        router: NAME,
        what: format!("{what} in TLS and TCP routes"),
    })
}

/// Returns what Istio tells of an object, where its status is turned on.
fn reconciled(object: &Value) -> Accepted {
    let list = |key: &str| edit::get(object, &["status", key]).and_then(Value::as_array);
    let mistake = list("validationMessages")
        .into_iter()
        .flatten()
        .find(|message| edit::text(message, &["level"]) == Some("ERROR"));
    if let Some(mistake) = mistake {
        let code = edit::text(mistake, &["type", "code"]).unwrap_or_default();
        return Accepted::No(format!("Istio reports {code}"));
    }
    let reconciled = list("conditions")
        .into_iter()
        .flatten()
        .find(|condition| edit::text(condition, &["type"]) == Some("Reconciled"));
    let Some(reconciled) = reconciled else {
        return Accepted::Unreported;
    };
    let number = |value: Option<&Value>| match value {
        // Istio writes 64-bit numbers as text.
        Some(Value::String(text)) => text.parse().ok(),
        other => other.and_then(Value::as_i64),
    };
    let observed: Option<i64> = number(
        reconciled
            .get("observedGeneration")
            .or_else(|| edit::get(object, &["status", "observedGeneration"])),
    );
    let is_old = observed < number(edit::get(object, &["metadata", "generation"]));
    if is_old || edit::text(reconciled, &["status"]) != Some("True") {
        return Accepted::Pending("not all proxies have it yet".to_owned());
    }
    Accepted::Yes
}

#[cfg(test)]
mod tests;
