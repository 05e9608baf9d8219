//! Kuma: the backends of a MeshHTTPRoute.

use haldane_core::{
    Weight,
    plan::{HeaderMatch, ValueMatch},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    forms::{Edit, Form, Head, Mirror},
    kinds::MESH_HTTP_ROUTE,
    object::{Change, ObjectRef, Objects},
    route::{Accepted, Capabilities, Proof, RouteError, Router, Seen},
    shape::{Part, Wrong, entry, part_mut, remove, text},
    shares::{LARGEST, Members, Mirrored, Scale, Unset},
    split::Split,
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
            router: CAPABILITIES.name,
            release: split.release.clone(),
            target: MESH_HTTP_ROUTE.named(&split.namespace, &self.mesh_http_route),
            forms: vec![Form {
                rules: &["spec", "to", "*", "rules"],
                backends: &["default", "backendRefs"],
                members: members(split),
                only: &[],
                has_weights: true,
                head: Some(Head {
                    mark: "matches",
                    add: Box::new(|rule, route, _| add_head(rule, &route.matches)),
                }),
                mirror: Some(Mirror {
                    add: Box::new(|rule, member, share| add_mirror(rule, &member, share)),
                    remove: Box::new(move |rule, mirrored| {
                        remove_mirror(rule, mirrored, &is_canary)
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
        self.edit(split).cleared(objects)
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
        unset: Unset::Is(1),
        scale: Scale::Free(LARGEST),
        name: Box::new(move |member| name(member, &namespace)),
        rename: Box::new(move |member| {
            let renamed = text(member, &["name"]).map(|name| match name.split_once('_') {
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
    let name = text(target, &["name"])?;
    if let Some(tags) = target.get("tags") {
        return Some(format!("{name} {tags}"));
    }
    if let Some(namespace) = text(target, &["namespace"])
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

const MATCHES: &str = "spec.to[].rules[].matches";

fn add_head(rule: &mut Value, wanted: &[HeaderMatch]) -> Part<()> {
    let matches = entry(rule, "spec.to[].rules[]", "matches", json!([]))?;
    let Value::Array(matches) = matches else {
        return Err(Wrong::found(MATCHES, "a list", matches));
    };
    if matches.is_empty() {
        matches.push(json!({}));
    }
    for one in matches {
        let headers = entry(one, MATCHES, "headers", json!([]))?;
        let Value::Array(headers) = headers else {
            return Err(Wrong::found(
                &format!("{MATCHES}[].headers"),
                "a list",
                headers,
            ));
        };
        for wanted in wanted {
            let is_taken = headers.iter().any(|header| {
                text(header, &["name"])
                    .is_some_and(|name| name.eq_ignore_ascii_case(&wanted.header))
            });
            if is_taken {
                let what = format!("match the header {} twice in one rule", wanted.header);
                return Err(Wrong::Cannot(what));
            }
            headers.push(match &wanted.value {
                ValueMatch::Exact(value) => {
                    json!({ "type": "Exact", "name": wanted.header, "value": value })
                }
                ValueMatch::Prefix(value) => {
                    json!({ "type": "Prefix", "name": wanted.header, "value": value })
                }
                ValueMatch::Regex(value) => {
                    json!({ "type": "RegularExpression", "name": wanted.header, "value": value })
                }
                ValueMatch::Present => json!({ "type": "Present", "name": wanted.header }),
            });
        }
    }
    Ok(())
}

fn add_mirror(rule: &mut Value, canary: &Value, share: Weight) -> Part<Mirrored> {
    let Some(default) = part_mut(rule, &["default"]) else {
        return Err(Wrong::at(
            "spec.to[].rules[].default",
            "expected a mapping, found nothing",
        ));
    };
    let is_alone = default.get("filters").is_none();
    let filters = entry(default, "spec.to[].rules[].default", "filters", json!([]))?;
    let Value::Array(list) = filters else {
        return Err(Wrong::found(
            "spec.to[].rules[].default.filters",
            "a list",
            filters,
        ));
    };
    let percentage = match share.as_bps() {
        whole if whole.is_multiple_of(100) => json!(whole / 100),
        // Kuma takes fractions as a text.
        _ => json!(share.to_string().trim_end_matches('%')),
    };
    list.push(json!({
        "type": "RequestMirror",
        "requestMirror": { "percentage": percentage, "backendRef": canary },
    }));
    Ok(if is_alone {
        Mirrored::Alone
    } else {
        Mirrored::Added
    })
}

fn remove_mirror(rule: &mut Value, mirrored: Mirrored, is_canary: &dyn Fn(&Value) -> bool) {
    let Some(default) = part_mut(rule, &["default"]) else {
        return;
    };
    if let Some(Value::Array(list)) = default.get_mut("filters") {
        let ours = list.iter().rposition(|filter| {
            filter
                .get("requestMirror")
                .and_then(|mirror| mirror.get("backendRef"))
                .is_some_and(is_canary)
        });
        if let Some(ours) = ours {
            list.remove(ours);
        }
        if list.is_empty() && mirrored == Mirrored::Alone {
            remove(default, "filters");
        }
    }
}

#[cfg(test)]
mod tests;
