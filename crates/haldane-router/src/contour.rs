//! Contour: the services of an HTTPProxy.
//!
//! Contour sorts routes by how exact they are, so that a header rule stands before the rule that it comes from wherever it is written.
//! A mirror's `weight` is its percentage, and one of zero would mirror everything; so ours is at least one.

use haldane_core::plan::{HeaderMatch, ValueMatch};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    edit::{self, Place},
    forms::{Edit, Form, Head, Members, Mirror, Numbers},
    kinds::HTTP_PROXY,
    object::{Change, ObjectRef, Objects},
    pattern::literally,
    report::condition,
    route::{Accepted, Capabilities, Proof, RouteError, Router, Seen},
    split::Split,
    weighted::Absent,
};

/// Splits the requests of a Contour HTTPProxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Contour {
    /// The HTTPProxy's name. Every route in it with the stable Service is split, and its TCP proxy.
    pub http_proxy: String,
}

/// What it can do.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    name: "Contour",
    weight: true,
    header: true,
    header_regex: true,
    mirror: true,
    mirror_share: true,
    sticky: false,
    proof: Proof::Traffic,
};

impl Contour {
    fn edit(&self, split: &Split) -> Edit<'_> {
        let form = |rules, backends, head, mirror| Form {
            router: &CAPABILITIES,
            rules,
            backends,
            members: members(split),
            only: &[],
            has_weights: true,
            head,
            mirror,
            single: None,
        };
        let head = Head {
            mark: "conditions",
            add: Box::new(|rule, route, _, at| add_head(rule, &route.matches, at)),
        };
        let canary = split.canary.service.clone();
        let mirror = Mirror {
            add: Box::new(|rule, member, share, at| add_mirror(rule, member, share.as_bps(), at)),
            remove: Box::new(move |rule, _| remove_mirror(rule, &canary)),
        };
        Edit {
            target: HTTP_PROXY.named(&split.namespace, &self.http_proxy),
            forms: vec![
                form(&["spec", "routes"], &["services"], Some(head), Some(mirror)),
                form(&[], &["spec", "tcpproxy", "services"], None, None),
            ],
        }
    }
}

impl Router for Contour {
    fn objects(&self, namespace: &str) -> Vec<ObjectRef> {
        vec![HTTP_PROXY.named(namespace, &self.http_proxy)]
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

    fn accepted(&self, split: &Split, objects: &Objects) -> Accepted {
        let target = HTTP_PROXY.named(&split.namespace, &self.http_proxy);
        objects.get(&target).map_or_else(
            || Accepted::Pending(format!("{target} does not exist")),
            |object| {
                let silent = Accepted::Pending("Contour has not reported on it yet".to_owned());
                condition(object, &["Valid"], CAPABILITIES.name, silent)
            },
        )
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }
}

fn members(split: &Split) -> Members<'static> {
    let canary = split.canary.service.clone();
    Members {
        weight: "weight",
        numbers: Numbers::Free,
        absent: Absent::NoneUnlessAll,
        name: Box::new(|member| {
            if is_mirror(member) {
                return None;
            }
            edit::text(member, &["name"]).map(str::to_owned)
        }),
        rename: Box::new(move |member| {
            if let Some(name) = member.get_mut("name") {
                *name = json!(canary);
            }
        }),
        stable: split.stable.service.clone(),
        canary: split.canary.service.clone(),
    }
}

fn add_head(rule: &mut Value, matches: &[HeaderMatch], at: &Place<'_>) -> Result<(), RouteError> {
    let list = edit::list_mut(rule, &["conditions"], at)?;
    list.extend(matches.iter().map(|wanted| {
        let name = &wanted.header;
        json!({ "header": match &wanted.value {
            ValueMatch::Exact(value) => json!({ "name": name, "exact": value }),
            ValueMatch::Prefix(value) => json!({ "name": name, "regex": format!("{}.*", literally(value)) }),
            ValueMatch::Regex(value) => json!({ "name": name, "regex": value }),
            ValueMatch::Present => json!({ "name": name, "present": true }),
        }})
    }));
    Ok(())
}

fn add_mirror(
    rule: &mut Value,
    mut member: Value,
    share_bps: u16,
    at: &Place<'_>,
) -> Result<bool, RouteError> {
    let list = edit::list_mut(rule, &["services"], at)?;
    let place = at.key("services");
    if list.iter().any(is_mirror) {
        return Err(
            place.refused("expected no mirror: a route has one at most, and there is one already")
        );
    }
    let percent = share_bps.saturating_add(50).div_euclid(100).clamp(1, 100);
    edit::set(&mut member, &["mirror"], json!(true), &place)?;
    edit::set(&mut member, &["weight"], json!(percent), &place)?;
    list.push(member);
    Ok(false)
}

fn is_mirror(service: &Value) -> bool {
    service.get("mirror") == Some(&json!(true))
}

fn remove_mirror(rule: &mut Value, canary: &str) {
    if let Some(Value::Array(list)) = rule.get_mut("services") {
        list.retain(|service| {
            !is_mirror(service) || edit::text(service, &["name"]) != Some(canary)
        });
    }
}

#[cfg(test)]
mod tests;
