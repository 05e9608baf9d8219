//! Gloo: the destinations of a RouteTable or a VirtualService. A single destination becomes a list while a rollout goes on.
//!
//! Where Gloo's own kind Gateway API is used, the router for that does it.

use haldane_core::plan::{HeaderMatch, HeaderRoute, ValueMatch};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    edit::{self, Place},
    forms::{Edit, Form, Head, Members, Numbers, Single},
    kinds::{GLOO_SERVICE, ROUTE_TABLE},
    object::{Change, ObjectRef, Objects},
    pattern::literally,
    route::{Accepted, Capabilities, Proof, RouteError, Router, Seen},
    split::Split,
    weighted::Absent,
};

/// Splits the requests of a Gloo RouteTable or VirtualService; exactly one is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gloo {
    /// The RouteTable's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_table: Option<String>,
    /// The VirtualService's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_service: Option<String>,
    /// The names of its routes that are split; none stands for all with the stable Service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// The Upstreams of stable and canary, where destinations are Upstreams; else they are the Services, by `kube`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstreams: Option<Upstreams>,
}

/// The Upstreams of both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Upstreams {
    /// Stable's Upstream.
    pub stable: String,
    /// The canary's Upstream.
    pub canary: String,
}

/// What it can do.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    name: "Gloo",
    weight: true,
    header: true,
    header_regex: true,
    mirror: false,
    mirror_share: false,
    sticky: false,
    proof: Proof::Objects,
};

impl Gloo {
    fn target(&self, namespace: &str) -> Option<ObjectRef> {
        match (&self.route_table, &self.virtual_service) {
            (Some(name), None) => Some(ROUTE_TABLE.named(namespace, name)),
            (None, Some(name)) => Some(GLOO_SERVICE.named(namespace, name)),
            (Some(_), Some(_)) | (None, None) => None,
        }
    }

    fn edit(&self, split: &Split) -> Result<Edit<'_>, RouteError> {
        let target = self.target(&split.namespace).ok_or_else(|| {
            CAPABILITIES.cannot("split without exactly one of `routeTable` and `virtualService`")
        })?;
        let rules: &[&str] = if self.route_table.is_some() {
            &["spec", "routes"]
        } else {
            &["spec", "virtualHost", "routes"]
        };
        Ok(Edit {
            target,
            forms: vec![Form {
                router: &CAPABILITIES,
                rules,
                backends: &["routeAction", "multi", "destinations"],
                members: self.members(split),
                only: &self.routes,
                has_weights: true,
                head: Some(Head {
                    mark: "matchers",
                    add: Box::new(add_head),
                }),
                mirror: None,
                single: Some(Single {
                    open: Box::new(open),
                    close: Box::new(close),
                }),
            }],
        })
    }

    fn members(&self, split: &Split) -> Members<'static> {
        let (stable, canary) = match &self.upstreams {
            Some(names) => (upstream(&names.stable), upstream(&names.canary)),
            None => (split.stable.service.clone(), split.canary.service.clone()),
        };
        let (path, name): (&[&str], String) = match &self.upstreams {
            Some(names) => (&["destination", "upstream", "name"], names.canary.clone()),
            None => (&["destination", "kube", "ref", "name"], canary.clone()),
        };
        let namespace = split.namespace.clone();
        Members {
            weight: "weight",
            numbers: Numbers::Free,
            absent: Absent::NoneUnlessAll,
            name: Box::new(move |member| {
                if let Some(name) = edit::text(member, &["destination", "upstream", "name"]) {
                    return Some(upstream(name));
                }
                let kube = edit::get(member, &["destination", "kube", "ref"]);
                let name = kube.and_then(|kube| edit::text(kube, &["name"]));
                let home = kube.and_then(|kube| edit::text(kube, &["namespace"]));
                Some(match (name, home) {
                    (Some(name), Some(home)) if home != namespace => format!("{home}/{name}"),
                    (Some(name), _) => name.to_owned(),
                    (None, _) => edit::get(member, &["destination"])?.to_string(),
                })
            }),
            rename: Box::new(move |member| {
                if let Some(place) = edit::get_mut(member, path) {
                    *place = json!(name);
                }
            }),
            stable,
            canary,
        }
    }
}

impl Router for Gloo {
    fn objects(&self, namespace: &str) -> Vec<ObjectRef> {
        self.target(namespace).into_iter().collect()
    }

    fn desired(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>, RouteError> {
        self.edit(split)?.desired(split, objects)
    }

    fn cleared(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>, RouteError> {
        self.edit(split)?.cleared(split, objects)
    }

    fn seen(&self, split: &Split, objects: &Objects) -> Result<Seen, RouteError> {
        self.edit(split)?.seen(split, objects)
    }

    /// Gloo tells no generation: only a refusal can be taken from its status.
    fn accepted(&self, split: &Split, objects: &Objects) -> Accepted {
        let target = self.target(&split.namespace);
        let object = target.and_then(|target| objects.get(&target));
        let several = object
            .and_then(|object| edit::get(object, &["status", "statuses"]))
            .and_then(Value::as_object);
        let one = object.and_then(|object| edit::get(object, &["status"]));
        let refused = several
            .into_iter()
            .flat_map(Map::values)
            .chain(one)
            .find(|status| edit::text(status, &["state"]) == Some("Rejected"));
        refused.map_or(Accepted::Unreported, |status| {
            let why = edit::text(status, &["reason"]).unwrap_or("refused without a reason");
            Accepted::No(why.to_owned())
        })
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }
}

fn upstream(name: &str) -> String {
    format!("Upstream/{name}")
}

fn open(rule: &mut Value) -> bool {
    let Some(action) = edit::get_mut(rule, &["routeAction"]) else {
        return false;
    };
    let (Some(single), Some(action)) = (edit::remove(action, "single"), action.as_object_mut())
    else {
        return false;
    };
    let multi = json!({ "destinations": [{ "destination": single }] });
    action.insert("multi".to_owned(), multi);
    true
}

fn close(rule: &mut Value) {
    let Some(action) = edit::get_mut(rule, &["routeAction"]) else {
        return;
    };
    let first = edit::get_mut(action, &["multi", "destinations"])
        .and_then(Value::as_array_mut)
        .and_then(|list| edit::remove(list.first_mut()?, "destination"));
    if let (Some(first), Some(action)) = (first, action.as_object_mut()) {
        action.remove("multi");
        action.insert("single".to_owned(), first);
    }
}

fn add_head(
    rule: &mut Value,
    route: &HeaderRoute,
    number: usize,
    at: &Place<'_>,
) -> Result<(), RouteError> {
    if rule.get("name").is_some() {
        let name = format!("haldane-{}-{number}", route.name);
        edit::set(rule, &["name"], json!(name), at)?;
    }
    let matchers = edit::list_mut(rule, &["matchers"], at)?;
    if matchers.is_empty() {
        matchers.push(json!({ "prefix": "/" }));
    }
    let place = at.key("matchers");
    for (index, matcher) in matchers.iter_mut().enumerate() {
        let headers = edit::list_mut(matcher, &["headers"], &place.item(index))?;
        headers.extend(route.matches.iter().map(header));
    }
    Ok(())
}

fn header(wanted: &HeaderMatch) -> Value {
    let name = &wanted.header;
    match &wanted.value {
        ValueMatch::Exact(value) => json!({ "name": name, "value": value }),
        ValueMatch::Prefix(value) => {
            json!({ "name": name, "value": format!("{}.*", literally(value)), "regex": true })
        }
        ValueMatch::Regex(value) => json!({ "name": name, "value": value, "regex": true }),
        ValueMatch::Present => json!({ "name": name }),
    }
}

#[cfg(test)]
mod tests;
