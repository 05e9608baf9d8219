//! Kuma: the backends of a MeshHTTPRoute.

use haldane_core::{
    Weight,
    plan::{HeaderMatch, ValueMatch},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    edit::{self, Place},
    forms::{Edit, Form, Head, Members, Mirror, Numbers},
    kinds::MESH_HTTP_ROUTE,
    object::{Change, ObjectRef, Objects},
    route::{Accepted, Capabilities, Proof, RouteError, Router, Seen},
    split::Split,
    weighted::Absent,
};

/// Splits the requests of a Kuma MeshHTTPRoute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kuma {
    /// The MeshHTTPRoute's name, in the release's namespace. Every rule in it with the stable Service in `backendRefs` is split.
    pub mesh_http_route: String,
}

/// What it can do.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    name: "Kuma",
    weight: true,
    header: true,
    header_regex: true,
    mirror: true,
    mirror_share: true,
    sticky: false,
    proof: Proof::Objects,
};

impl Kuma {
    fn edit(&self, split: &Split) -> Edit<'_> {
        let (canary, namespace) = (split.canary.service.clone(), split.namespace.clone());
        let is_canary = move |target: &Value| name(target, &namespace).as_ref() == Some(&canary);
        Edit {
            target: MESH_HTTP_ROUTE.named(&split.namespace, &self.mesh_http_route),
            forms: vec![Form {
                router: &CAPABILITIES,
                rules: &["spec", "to", "*", "rules"],
                backends: &["default", "backendRefs"],
                members: members(split),
                only: &[],
                has_weights: true,
                head: Some(Head {
                    mark: "matches",
                    add: Box::new(|rule, route, _, at| add_head(rule, &route.matches, at)),
                }),
                mirror: Some(Mirror {
                    add: Box::new(|rule, member, share, at| add_mirror(rule, &member, share, at)),
                    remove: Box::new(move |rule, is_alone| {
                        remove_mirror(rule, is_alone, &is_canary);
                    }),
                }),
                single: None,
            }],
        }
    }
}

impl Router for Kuma {
    fn objects(&self, namespace: &str) -> Vec<ObjectRef> {
        vec![MESH_HTTP_ROUTE.named(namespace, &self.mesh_http_route)]
    }

    fn desired(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>, RouteError> {
        self.edit(split).desired(split, objects)
    }

    fn cleared(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>, RouteError> {
        self.edit(split).cleared(split, objects)
    }

    fn seen(&self, split: &Split, objects: &Objects) -> Result<Seen, RouteError> {
        self.edit(split).seen(split, objects)
    }

    fn accepted(&self, _split: &Split, _objects: &Objects) -> Accepted {
        Accepted::Unreported
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }
}

fn members(split: &Split) -> Members<'static> {
    let (canary, namespace) = (split.canary.service.clone(), split.namespace.clone());
    Members {
        weight: "weight",
        numbers: Numbers::Free,
        absent: Absent::Is(1),
        name: Box::new(move |member| name(member, &namespace)),
        rename: Box::new(move |member| {
            let renamed = edit::text(member, &["name"]).map(|name| match name.split_once('_') {
                Some((_, rest)) => format!("{canary}_{rest}"),
                None => canary.clone(),
            });
            if let (Some(name), Some(renamed)) = (member.get_mut("name"), renamed) {
                *name = json!(renamed);
            }
        }),
        stable: split.stable.service.clone(),
        canary: split.canary.service.clone(),
    }
}

/// Returns the Service that a target means: `shop`, or in the older form `shop_NAMESPACE_svc_PORT`.
fn name(target: &Value, home: &str) -> Option<String> {
    let name = edit::text(target, &["name"])?;
    if let Some(tags) = target.get("tags") {
        return Some(format!("{name} {tags}"));
    }
    if let Some(namespace) = edit::text(target, &["namespace"])
        && namespace != home
    {
        return Some(format!("{namespace}/{name}"));
    }
    let mut parts = name.split('_');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(service), Some(namespace), Some("svc"), Some(_)) if namespace == home => {
            Some(service.to_owned())
        }
        _ => Some(name.to_owned()),
    }
}

fn add_head(rule: &mut Value, wanted: &[HeaderMatch], at: &Place<'_>) -> Result<(), RouteError> {
    let matches = edit::list_mut(rule, &["matches"], at)?;
    if matches.is_empty() {
        matches.push(json!({}));
    }
    let place = at.key("matches");
    for (index, one) in matches.iter_mut().enumerate() {
        let headers = edit::list_mut(one, &["headers"], &place.item(index))?;
        for wanted in wanted {
            let is_taken = headers.iter().any(|header| {
                edit::text(header, &["name"])
                    .is_some_and(|name| name.eq_ignore_ascii_case(&wanted.header))
            });
            if is_taken {
                let header = &wanted.header;
                return Err(
                    CAPABILITIES.cannot(format!("match the header {header} twice in one rule"))
                );
            }
            let (kind, value) = match &wanted.value {
                ValueMatch::Exact(value) => ("Exact", Some(value)),
                ValueMatch::Prefix(value) => ("Prefix", Some(value)),
                ValueMatch::Regex(value) => ("RegularExpression", Some(value)),
                ValueMatch::Present => ("Present", None),
            };
            let mut header = json!({ "type": kind, "name": wanted.header });
            if let Some(value) = value {
                edit::set(&mut header, &["value"], json!(value), at)?;
            }
            headers.push(header);
        }
    }
    Ok(())
}

fn add_mirror(
    rule: &mut Value,
    canary: &Value,
    share: Weight,
    at: &Place<'_>,
) -> Result<bool, RouteError> {
    let keys = ["default", "filters"];
    let is_alone = edit::get(rule, &keys).is_none();
    let percentage = match share.as_bps() {
        whole if whole.is_multiple_of(100) => json!(whole / 100),
        // Kuma takes fractions as a text.
        _ => json!(share.to_string().trim_end_matches('%')),
    };
    edit::list_mut(rule, &keys, at)?.push(json!({
        "type": "RequestMirror",
        "requestMirror": { "percentage": percentage, "backendRef": canary },
    }));
    Ok(is_alone)
}

fn remove_mirror(rule: &mut Value, is_alone: bool, is_canary: &dyn Fn(&Value) -> bool) {
    let Some(default) = rule.get_mut("default") else {
        return;
    };
    if let Some(Value::Array(list)) = default.get_mut("filters") {
        let ours = list.iter().rposition(|filter| {
            edit::get(filter, &["requestMirror", "backendRef"]).is_some_and(is_canary)
        });
        if let Some(ours) = ours {
            list.remove(ours);
        }
        if list.is_empty() && is_alone {
            edit::remove(default, "filters");
        }
    }
}

#[cfg(test)]
mod tests;
