//! AWS Load Balancer Controller: the forward action of an Ingress, an annotation with JSON in it.
//!
//! A path names an action by a Service of the action's name and the port `use-annotation`. Where an Ingress leads to the stable Service
//! directly, its paths are made to name an action for as long as a rollout goes on. A weight of zero is written: without it the load
//! balancer refuses the rule.
//!
//! **Invariant:** with weight zero no stickiness of ours is left, for its cookie would outlive the weight.

use haldane_core::plan::{HeaderMatch, HeaderRoute, ValueMatch};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    forms::Before,
    kinds::INGRESS,
    object::{Change, ObjectRef, Objects},
    route::{Accepted, Capabilities, Proof, RouteError, Router, Seen},
    shape::{
        Part, Wrong, annotate, annotation, entry, find, lists, part, part_mut, text, unannotate,
    },
    shares::{Members, Scale, Unset},
    split::Split,
};

/// Splits the requests of an Ingress of the AWS Load Balancer Controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Alb {
    /// The Ingress's name.
    pub ingress: String,
    /// The name of the action, which is the name of the Service in its paths. Default: the stable Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// For how many seconds a user stays on one version, 1 to 604800; not at weight 0. Default: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 604_800))]
    pub sticky_seconds: Option<u32>,
    /// What the annotations begin with. Default: `alb.ingress.kubernetes.io`.
    #[serde(default = "prefix_default")]
    pub annotation_prefix: String,
}

fn prefix_default() -> String {
    "alb.ingress.kubernetes.io".to_owned()
}

/// What it can do.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    name: "AWS ALB",
    weight: true,
    header: true,
    header_regex: false,
    mirror: false,
    mirror_share: false,
    sticky: true,
    proof: Proof::Objects,
};

/// The largest weight of a target group.
const WEIGHT_MAX: u64 = 999;
/// The port by which a path names an action.
const BY_NAME: &str = "use-annotation";
const PATHS: &[&str] = &["spec", "rules", "*", "http", "paths"];
const GROUPS: [&str; 2] = ["forwardConfig", "targetGroups"];

/// What is remembered beside the list.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Memory {
    /// The action as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    action: Option<String>,
    /// The port that the paths had, where they led to the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<Value>,
    /// The actions of header rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    heads: Vec<String>,
}

impl Alb {
    fn action<'a>(&'a self, split: &'a Split) -> &'a str {
        self.action.as_deref().unwrap_or(&split.stable.service)
    }

    fn key(&self, what: &str, action: &str) -> String {
        format!("{}/{what}.{action}", self.annotation_prefix)
    }

    /// Returns the Ingress as it should be; a split of nothing stands for the user's own.
    fn next(&self, object: &Value, split: &Split, wanted: Option<&Split>) -> Part<Value> {
        let mut next = self.strip(object, split)?;
        let key = self.key("actions", self.action(split));
        let Some(wanted) = wanted else {
            if let Some(raw) = annotation(&next, &key).map(str::to_owned) {
                let mut action = parsed(&key, &raw)?;
                let before = action.clone();
                members(split).rest(&place(&key), groups(&key, &mut action)?)?;
                if action != before {
                    annotate(&mut next, &key, action.to_string())?;
                }
            }
            return Ok(next);
        };
        if !wanted.traffic.mirror.is_zero() {
            return Err(Wrong::Cannot("copy requests to the canary".to_owned()));
        }
        let mut memory = Memory {
            action: annotation(&next, &key).map(str::to_owned),
            ..Memory::default()
        };
        let mut action = match &memory.action {
            Some(raw) => parsed(&key, raw)?,
            None => {
                let port = self.take_port(&mut next, split)?;
                let action = forward(&split.stable.service, &port_text(&port));
                memory.port = Some(port);
                action
            }
        };
        let list = groups(&key, &mut action)?;
        let canary = members(split)
            .stable_member(list)
            .map(|stable| members(split).canary_like(stable));
        let was = members(split).split(&place(&key), list, wanted.traffic.weight)?;
        let (Some(was), Some(canary)) = (was, canary) else {
            let expected = format!(
                "expected a target group of {}, found none",
                split.stable.service
            );
            return Err(Wrong::at(&place(&key), expected));
        };
        self.stick(&mut action, wanted)?;
        annotate(&mut next, &key, action.to_string())?;
        self.add_heads(&mut next, &mut memory, wanted, &canary)?;
        let memory = serde_json::to_value(&memory).unwrap_or_default();
        let before = Before {
            lists: vec![was],
            more: memory.as_object().cloned().unwrap_or_default(),
            rules: Vec::new(),
        };
        before.keep(&mut next, &split.release)?;
        Ok(next)
    }

    fn strip(&self, object: &Value, split: &Split) -> Part<Value> {
        let mut next = object.clone();
        let mut before = Before::of(object, &split.release);
        Before::default().keep(&mut next, &split.release)?;
        let memory = Value::Object(std::mem::take(&mut before.more));
        let memory: Memory = serde_json::from_value(memory).unwrap_or_default();
        for (_, paths) in lists(&mut next, PATHS)? {
            let is_head = |path: &Value| {
                text(path, &["backend", "service", "name"])
                    .is_some_and(|name| memory.heads.iter().any(|head| head == name))
            };
            paths.retain(|path| !is_head(path));
        }
        for head in &memory.heads {
            unannotate(&mut next, &self.key("actions", head));
            unannotate(&mut next, &self.key("conditions", head));
        }
        if let Some(port) = memory.port {
            self.put_port(&mut next, split, &port)?;
            unannotate(&mut next, &self.key("actions", self.action(split)));
            return Ok(next);
        }
        let key = self.key("actions", self.action(split));
        let (Some(was), Some(now)) = (memory.action, annotation(&next, &key)) else {
            return Ok(next);
        };
        let restored = restored(&key, now, &was, &mut before, split)?;
        annotate(&mut next, &key, restored)?;
        Ok(next)
    }

    /// Makes the paths to the Service name an action, and returns the port that they had.
    fn take_port(&self, object: &mut Value, split: &Split) -> Part<Value> {
        let action = self.action(split).to_owned();
        let mut port = None;
        for (at, paths) in lists(object, PATHS)? {
            for (index, path) in paths.iter_mut().enumerate() {
                let service = part_mut(path, &["backend", "service"]);
                let Some(service) = service.filter(|one| text(one, &["name"]) == Some(&action))
                else {
                    continue;
                };
                let here = service.get("port").cloned().unwrap_or_default();
                let path = format!("{at}[{index}].backend.service.port");
                if text(&here, &["name"]) == Some(BY_NAME) {
                    let key = self.key("actions", &action);
                    return Err(Wrong::at(
                        &path,
                        format!("expected the annotation {key}, found none"),
                    ));
                }
                if port.get_or_insert_with(|| here.clone()) != &here {
                    return Err(Wrong::at(
                        &path,
                        "expected the same port in all paths to the Service",
                    ));
                }
                *entry(service, &path, "port", Value::Null)? = json!({ "name": BY_NAME });
            }
        }
        port.ok_or_else(|| {
            let expected = format!("expected a path to the Service {action}, found none");
            Wrong::at("spec.rules", expected)
        })
    }

    fn put_port(&self, object: &mut Value, split: &Split, port: &Value) -> Part<()> {
        for (_, paths) in lists(object, PATHS)? {
            for path in paths {
                let service = part_mut(path, &["backend", "service"]);
                if let Some(service) = service.filter(|one| is_action(one, self.action(split))) {
                    *entry(service, "spec.rules", "port", Value::Null)? = port.clone();
                }
            }
        }
        Ok(())
    }

    fn stick(&self, action: &mut Value, split: &Split) -> Part<()> {
        let Some(seconds) = self
            .sticky_seconds
            .filter(|_| !split.traffic.weight.is_zero())
        else {
            return Ok(());
        };
        let sticky = json!({ "enabled": true, "durationSeconds": seconds });
        let config = entry(action, "", "forwardConfig", json!({}))?;
        entry(
            config,
            "forwardConfig",
            "targetGroupStickinessConfig",
            sticky,
        )?;
        Ok(())
    }

    fn add_heads(
        &self,
        object: &mut Value,
        memory: &mut Memory,
        split: &Split,
        canary: &Value,
    ) -> Part<()> {
        let action = self.action(split).to_owned();
        let own = annotation(object, &self.key("conditions", &action)).map(str::to_owned);
        let own: Vec<Value> = match own {
            Some(raw) => serde_json::from_str(&raw).map_err(|error| {
                Wrong::at(
                    &place(&self.key("conditions", &action)),
                    format!("expected a list in JSON: {error}"),
                )
            })?,
            None => Vec::new(),
        };
        for (index, route) in split.canary_routes().iter().enumerate() {
            // The name of a Service has at most 63 letters.
            let name: String = format!("haldane-{index}-{}", split.release)
                .chars()
                .take(63)
                .collect();
            let name = name.trim_end_matches('-').to_owned();
            let conditions: Vec<Value> = own
                .iter()
                .cloned()
                .map(Ok)
                .chain(conditions(route))
                .collect::<Part<_>>()?;
            let service = text(canary, &["serviceName"]).unwrap_or(&split.canary.service);
            let port = canary.get("servicePort").map(port_text).unwrap_or_default();
            annotate(
                object,
                &self.key("actions", &name),
                forward(service, &port).to_string(),
            )?;
            annotate(
                object,
                &self.key("conditions", &name),
                Value::Array(conditions).to_string(),
            )?;
            memory.heads.push(name);
        }
        for (_, paths) in lists(object, PATHS)? {
            for path in std::mem::take(paths) {
                let is_ours =
                    part(&path, &["backend", "service"]).is_some_and(|one| is_action(one, &action));
                for head in memory.heads.iter().filter(|_| is_ours) {
                    let mut copy = path.clone();
                    if let Some(name) = part_mut(&mut copy, &["backend", "service", "name"]) {
                        *name = json!(head);
                    }
                    paths.push(copy);
                }
                paths.push(path);
            }
        }
        Ok(())
    }

    fn told<T>(&self, part: Part<T>, split: &Split) -> Result<T, RouteError> {
        let target = INGRESS.named(&split.namespace, &self.ingress);
        part.map_err(|wrong| wrong.of(CAPABILITIES.name, &target))
    }

    fn change(
        &self,
        object: &Value,
        split: &Split,
        wanted: Option<&Split>,
    ) -> Result<Vec<Change>, RouteError> {
        let next = self.told(self.next(object, split, wanted), split)?;
        let target = INGRESS.named(&split.namespace, &self.ingress);
        Ok(if next == *object {
            Vec::new()
        } else {
            vec![Change::Put(target, next)]
        })
    }
}

impl Router for Alb {
    fn objects(&self, namespace: &str) -> Vec<ObjectRef> {
        vec![INGRESS.named(namespace, &self.ingress)]
    }

    fn desired(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>, RouteError> {
        let object = find(objects, &INGRESS.named(&split.namespace, &self.ingress))?;
        self.change(object, split, Some(split))
    }

    fn cleared(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>, RouteError> {
        match objects.get(&INGRESS.named(&split.namespace, &self.ingress)) {
            Some(object) => self.change(object, split, None),
            None => Ok(Vec::new()),
        }
    }

    fn seen(&self, split: &Split, objects: &Objects) -> Result<Seen, RouteError> {
        let object = find(objects, &INGRESS.named(&split.namespace, &self.ingress))?;
        let key = self.key("actions", self.action(split));
        let seen = match annotation(object, &key) {
            Some(raw) => parsed(&key, raw).and_then(|mut action| {
                members(split).share(&place(&key), groups(&key, &mut action)?)
            }),
            // Not split yet; that it can be is told by the same errors.
            None => self.take_port(&mut object.clone(), split).map(|_| None),
        };
        let weight = self.told(seen, split)?.unwrap_or_default();
        Ok(Seen { weight })
    }

    fn accepted(&self, _split: &Split, _objects: &Objects) -> Accepted {
        Accepted::Unreported
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }
}

fn members(split: &Split) -> Members<'static> {
    let canary = split.canary.service.clone();
    Members {
        weight: "weight",
        unset: Unset::Is(1),
        scale: Scale::Free(WEIGHT_MAX),
        name: Box::new(|member| {
            let name = text(member, &["serviceName"]).or_else(|| text(member, &["targetGroupARN"]));
            Some(name.unwrap_or_default().to_owned())
        }),
        rename: Box::new(move |member| {
            if let Some(name) = member.get_mut("serviceName") {
                *name = json!(canary);
            }
        }),
        stable: split.stable.service.clone(),
        canary: split.canary.service.clone(),
    }
}

fn place(key: &str) -> String {
    format!("metadata.annotations[{key}]")
}

/// Reads an action. Its keys may begin with capitals, as some tools write them.
fn parsed(key: &str, raw: &str) -> Part<Value> {
    serde_json::from_str(raw)
        .map(lower)
        .map_err(|error| Wrong::at(&place(key), format!("expected an action in JSON: {error}")))
}

fn lower(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let lowered = map.into_iter().map(|(key, value)| {
                let mut letters = key.chars();
                let first = letters.next().map(|first| first.to_ascii_lowercase());
                (first.into_iter().chain(letters).collect(), lower(value))
            });
            Value::Object(lowered.collect::<Map<String, Value>>())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(lower).collect()),
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => plain,
    }
}

fn groups<'a>(key: &str, action: &'a mut Value) -> Part<&'a mut Vec<Value>> {
    match part_mut(action, &GROUPS) {
        Some(Value::Array(list)) => Ok(list),
        other => {
            let found = other.map_or(Value::Null, |other| other.clone());
            let path = format!("{}.{}", place(key), GROUPS.join("."));
            Err(Wrong::found(&path, "a list", &found))
        }
    }
}

fn restored(key: &str, now: &str, was: &str, before: &mut Before, split: &Split) -> Part<String> {
    let mut action = parsed(key, now)?;
    members(split).restore(
        &place(key),
        groups(key, &mut action)?,
        &mut before.lists,
        "",
        false,
    )?;
    let mut original = parsed(key, was)?;
    // Stickiness of ours is not in the original; one that somebody else wrote since differs in more.
    let sticky = part(&original, &["forwardConfig", "targetGroupStickinessConfig"]).cloned();
    if let Some(Value::Object(config)) = part_mut(&mut action, &["forwardConfig"])
        && sticky.is_none()
    {
        config.remove("targetGroupStickinessConfig");
    }
    let is_same = groups(key, &mut original)? == groups(key, &mut action)? && original == action;
    Ok(if is_same {
        was.to_owned()
    } else {
        action.to_string()
    })
}

fn forward(service: &str, port: &str) -> Value {
    json!({
        "type": "forward",
        "forwardConfig": { "targetGroups": [{ "serviceName": service, "servicePort": port }] },
    })
}

/// Returns a port as actions have it: a text, be it a name or a number.
fn port_text(port: &Value) -> String {
    let port = port
        .get("name")
        .or_else(|| port.get("number"))
        .unwrap_or(port);
    port.as_str()
        .map_or_else(|| port.to_string(), str::to_owned)
}

fn is_action(service: &Value, action: &str) -> bool {
    text(service, &["name"]) == Some(action) && text(service, &["port", "name"]) == Some(BY_NAME)
}

fn conditions(route: &HeaderRoute) -> impl Iterator<Item = Part<Value>> {
    route.matches.iter().map(condition)
}

fn condition(wanted: &HeaderMatch) -> Part<Value> {
    let value = match &wanted.value {
        ValueMatch::Exact(value) if is_plain(value) => value.clone(),
        ValueMatch::Prefix(value) if is_plain(value) => format!("{value}*"),
        ValueMatch::Present => "*".to_owned(),
        ValueMatch::Exact(_) | ValueMatch::Prefix(_) => {
            return Err(Wrong::Cannot(
                "match a header with `*` or `?` in it".to_owned(),
            ));
        }
        ValueMatch::Regex(_) => {
            return Err(Wrong::Cannot(
                "match headers by regular expressions".to_owned(),
            ));
        }
    };
    Ok(json!({
        "field": "http-header",
        "httpHeaderConfig": { "httpHeaderName": wanted.header, "values": [value] },
    }))
}

fn is_plain(value: &str) -> bool {
    !value.contains(['*', '?', '\\'])
}

#[cfg(test)]
mod tests;
