//! AWS Load Balancer Controller: the forward action of an Ingress, an annotation with JSON in it.
//!
//! A path names an action by a Service of the action's name and the port `use-annotation`. Where an Ingress leads to the stable Service
//! directly, its paths are made to name an action for as long as a rollout goes on. A weight of zero is written: without it the load
//! balancer refuses the rule.
//!
//! **Invariant:** while the canary has weight zero the rule has no stickiness, ours or the user's: its cookie would outlive the weight. The
//! user's is turned off, not removed, and comes back with a weight or when the canary is not in the rule any more.

use haldane_core::plan::{HeaderMatch, ValueMatch};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    before,
    edit::{self, Place},
    forms::{Members, Numbers},
    kinds::INGRESS,
    object::{Change, ObjectRef, Objects},
    route::{Accepted, Capabilities, Proof, RouteError, Router, Seen},
    split::Split,
    weighted::{self, Absent, Entries, Record, Share, Side},
};

type Result<T> = std::result::Result<T, RouteError>;

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

/// The port by which a path names an action.
const BY_NAME: &str = "use-annotation";
const PATHS: &[&str] = &["spec", "rules", "*", "http", "paths"];
const STICKY: [&str; 2] = ["forwardConfig", "targetGroupStickinessConfig"];
const GROUPS: [&str; 2] = ["forwardConfig", "targetGroups"];

/// What an Ingress was before.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Before {
    record: Record,
    /// The action as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    action: Option<String>,
    /// The port that the paths had, where they led to the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<Value>,
    /// The actions of header rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    heads: Vec<String>,
    /// Whether the user's stickiness is turned off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_unstuck: bool,
}

/// What is kept of an Ingress at rest: the canary is in a rule of the user's own, without stickiness.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Resting {
    is_unstuck_at_rest: bool,
}

impl Alb {
    fn action<'a>(&'a self, split: &'a Split) -> &'a str {
        self.action.as_deref().unwrap_or(&split.stable.service)
    }

    fn key(&self, what: &str, action: &str) -> String {
        format!("{}/{what}.{action}", self.annotation_prefix)
    }

    /// Returns the Ingress as it should be.
    fn wanted(&self, object: &Value, split: &Split, at: &Place<'_>) -> Result<Value> {
        if !split.traffic.mirror.is_zero() {
            return Err(CAPABILITIES.cannot("copy requests to the canary"));
        }
        let key = self.key("actions", self.action(split));
        let place = annotation(at, &key);
        let before = before::read::<Before>(object, &split.release);
        self.check_targets(object, split, at)?;
        let mut next = self.awake(object, split, at)?;
        if let Some(before) = &before {
            self.remove_heads(&mut next, before, at)?;
            if let Some(port) = &before.port {
                self.put_port(&mut next, split, port, at)?;
            }
        }
        let now = edit::annotation(&next, &key).map(str::to_owned);
        let raw = match &before {
            Some(before) => before.action.clone(),
            None => now.clone(),
        };
        let port = match &raw {
            Some(_) => None,
            None => Some(self.take_port(&mut next, split, at)?),
        };
        let mut action = match (&now, &port) {
            (Some(now), _) => {
                let mut action = unstuck(parsed(now, &place)?, raw.as_deref(), &place)?;
                restick(&mut action, before.as_ref().is_some_and(|it| it.is_unstuck));
                action
            }
            (None, port) => {
                let port = port.as_ref().map(port_text).unwrap_or_default();
                forward(&split.stable.service, &port)
            }
        };
        let list = groups(&mut action, &place)?;
        let members = members(split);
        let weight = split.traffic.weight;
        let known = before.as_ref().map(|before| &before.record);
        let done = weighted::split(&members, list, weight, known, &place.keys(&GROUPS))?;
        let Some((wanted, record)) = done else {
            let service = &split.stable.service;
            return Err(place.refused(&format!("expected a target group of {service}, found none")));
        };
        let mut groups = wanted.iter();
        let canary = groups.find(|group| members.side(group) == Side::Canary);
        let canary = canary.cloned().unwrap_or_default();
        *list = wanted;
        let is_unstuck = weight.is_zero() && turn_off(&mut action);
        self.stick(&mut action, split, &place)?;
        edit::annotate(&mut next, &key, Some(action.to_string()), at)?;
        let heads = self.add_heads(&mut next, split, &canary, at)?;
        let before = Before {
            record,
            action: raw,
            port,
            heads,
            is_unstuck,
        };
        before::write(&mut next, &split.release, Some(&before), at)?;
        Ok(next)
    }

    fn remove_heads(&self, object: &mut Value, before: &Before, at: &Place<'_>) -> Result<()> {
        for (_, paths) in edit::lists(object, PATHS, at)? {
            let is_head = |path: &Value| {
                edit::text(path, &["backend", "service", "name"])
                    .is_some_and(|name| before.heads.iter().any(|head| head == name))
            };
            paths.retain(|path| !is_head(path));
        }
        for head in &before.heads {
            for what in ["actions", "conditions"] {
                edit::annotate(object, &self.key(what, head), None, at)?;
            }
        }
        Ok(())
    }

    /// Returns the Ingress as the user has it, with nothing for a canary of his own.
    fn rested(&self, object: &Value, split: &Split, at: &Place<'_>) -> Result<Value> {
        let stripped = self.strip(object, split, at)?;
        let mut next = self.awake(&stripped, split, at)?;
        let key = self.key("actions", self.action(split));
        let place = annotation(at, &key);
        if let Some(raw) = edit::annotation(&next, &key) {
            let mut action = parsed(raw, &place)?;
            let (own, members) = (action.clone(), members(split));
            let list = groups(&mut action, &place)?;
            *list = weighted::restore(&members, list, None, &place.keys(&GROUPS))?;
            let has_canary = list.iter().any(|group| members.side(group) == Side::Canary);
            if has_canary && turn_off(&mut action) {
                let resting = Resting {
                    is_unstuck_at_rest: true,
                };
                before::write(&mut next, &split.release, Some(&resting), at)?;
            }
            if action != own {
                edit::annotate(&mut next, &key, Some(action.to_string()), at)?;
            }
        }
        Ok(next)
    }

    /// Returns an Ingress at rest with the user's stickiness as he has it.
    fn awake(&self, object: &Value, split: &Split, at: &Place<'_>) -> Result<Value> {
        let mut next = object.clone();
        if before::read::<Resting>(object, &split.release).is_none() {
            return Ok(next);
        }
        let key = self.key("actions", self.action(split));
        if let Some(raw) = edit::annotation(object, &key) {
            let mut action = parsed(raw, &annotation(at, &key))?;
            restick(&mut action, true);
            edit::annotate(&mut next, &key, Some(action.to_string()), at)?;
        }
        before::write::<Resting>(&mut next, &split.release, None, at)?;
        Ok(next)
    }

    fn strip(&self, object: &Value, split: &Split, at: &Place<'_>) -> Result<Value> {
        let mut next = object.clone();
        let Some(before) = before::read::<Before>(object, &split.release) else {
            return Ok(next);
        };
        before::write::<Before>(&mut next, &split.release, None, at)?;
        self.remove_heads(&mut next, &before, at)?;
        let key = self.key("actions", self.action(split));
        if let Some(port) = &before.port {
            self.put_port(&mut next, split, port, at)?;
            edit::annotate(&mut next, &key, None, at)?;
            return Ok(next);
        }
        let (Some(was), Some(now)) = (&before.action, edit::annotation(&next, &key)) else {
            return Ok(next);
        };
        let restored = restored(now, was, &before, split, &annotation(at, &key))?;
        edit::annotate(&mut next, &key, Some(restored), at)?;
        Ok(next)
    }

    /// Refuses to begin where targets are sticky: AWS takes no rule with several target groups then that has no stickiness of its own,
    /// and with it nobody would be taken from the canary at weight zero.
    fn check_targets(&self, object: &Value, split: &Split, at: &Place<'_>) -> Result<()> {
        let key = format!("{}/target-group-attributes", self.annotation_prefix);
        let is_sticky = edit::annotation(object, &key).is_some_and(|all| {
            let mut all = all.split(',').map(str::trim);
            all.any(|one| one == "stickiness.enabled=true")
        });
        if !is_sticky || before::read::<Before>(object, &split.release).is_some() {
            return Ok(());
        }
        Err(annotation(at, &key).refused(
            "expected no stickiness.enabled=true: AWS then keeps users on the canary at weight 0",
        ))
    }

    /// Makes the paths to the Service name an action, and returns the port that they had.
    fn take_port(&self, object: &mut Value, split: &Split, at: &Place<'_>) -> Result<Value> {
        let action = self.action(split).to_owned();
        let mut port = None;
        for (at, paths) in edit::lists(object, PATHS, at)? {
            for (index, path) in paths.iter_mut().enumerate() {
                let service = edit::get_mut(path, &["backend", "service"]);
                let is_it = |one: &&mut Value| edit::text(one, &["name"]) == Some(&action);
                let Some(service) = service.filter(is_it) else {
                    continue;
                };
                let here = service.get("port").cloned().unwrap_or_default();
                let at = at.item(index).keys(&["backend", "service"]);
                let place = at.key("port");
                if !here.is_object() {
                    return Err(place.wrong("a port", Some(&here)));
                }
                if edit::text(&here, &["name"]) == Some(BY_NAME) {
                    let key = self.key("actions", &action);
                    return Err(
                        place.refused(&format!("expected the annotation {key}, found none"))
                    );
                }
                if port.get_or_insert_with(|| here.clone()) != &here {
                    return Err(place.refused("expected the same port in all paths to the Service"));
                }
                edit::set(service, &["port"], json!({ "name": BY_NAME }), &at)?;
            }
        }
        port.ok_or_else(|| {
            at.keys(&["spec", "rules"]).refused(&format!(
                "expected a path to the Service {action}, found none"
            ))
        })
    }

    fn put_port(
        &self,
        object: &mut Value,
        split: &Split,
        port: &Value,
        at: &Place<'_>,
    ) -> Result<()> {
        for (at, paths) in edit::lists(object, PATHS, at)? {
            for path in paths {
                let service = edit::get_mut(path, &["backend", "service"]);
                if let Some(service) = service.filter(|one| is_action(one, self.action(split))) {
                    edit::set(service, &["port"], port.clone(), &at)?;
                }
            }
        }
        Ok(())
    }

    fn stick(&self, action: &mut Value, split: &Split, at: &Place<'_>) -> Result<()> {
        let seconds = self.sticky_seconds;
        match seconds.filter(|_| !split.traffic.weight.is_zero()) {
            Some(seconds) if edit::get(action, &STICKY).is_none() => {
                let sticky = json!({ "enabled": true, "durationSeconds": seconds });
                edit::set(action, &STICKY, sticky, at)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Adds the header rules, and returns the names of their actions.
    fn add_heads(
        &self,
        object: &mut Value,
        split: &Split,
        canary: &Value,
        at: &Place<'_>,
    ) -> Result<Vec<String>> {
        let action = self.action(split).to_owned();
        let key = self.key("conditions", &action);
        let own: Vec<Value> = match edit::annotation(object, &key) {
            Some(raw) => serde_json::from_str(raw).map_err(|error| {
                annotation(at, &key).refused(&format!("expected a list in JSON: {error}"))
            })?,
            None => Vec::new(),
        };
        let mut heads = Vec::new();
        for (index, route) in split.canary_routes().iter().enumerate() {
            // The name of a Service has at most 63 letters.
            let name: String = format!("haldane-{index}-{}", split.release)
                .chars()
                .take(63)
                .collect();
            let name = name.trim_end_matches('-').to_owned();
            let all = own.iter().cloned().map(Ok);
            let conditions = all.chain(route.matches.iter().map(condition));
            let conditions: Vec<Value> = conditions.collect::<Result<_>>()?;
            let service = edit::text(canary, &["serviceName"]).unwrap_or(&split.canary.service);
            let port = canary.get("servicePort").map(port_text).unwrap_or_default();
            for (what, text) in [
                ("actions", forward(service, &port).to_string()),
                ("conditions", Value::Array(conditions).to_string()),
            ] {
                edit::annotate(object, &self.key(what, &name), Some(text), at)?;
            }
            heads.push(name);
        }
        for (_, paths) in edit::lists(object, PATHS, at)? {
            for path in std::mem::take(paths) {
                let is_split = edit::get(&path, &["backend", "service"])
                    .is_some_and(|one| is_action(one, &action));
                for head in heads.iter().filter(|_| is_split) {
                    let mut copy = path.clone();
                    if let Some(name) = edit::get_mut(&mut copy, &["backend", "service", "name"]) {
                        *name = json!(head);
                    }
                    paths.push(copy);
                }
                paths.push(path);
            }
        }
        Ok(heads)
    }
}

impl Router for Alb {
    fn objects(&self, namespace: &str) -> Vec<ObjectRef> {
        vec![INGRESS.named(namespace, &self.ingress)]
    }

    fn desired(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>> {
        let target = INGRESS.named(&split.namespace, &self.ingress);
        let object = edit::object(objects, &target)?;
        let next = self.wanted(object, split, &Place::of(&target))?;
        Ok(edit::change(&target, object, next))
    }

    fn cleared(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>> {
        let target = INGRESS.named(&split.namespace, &self.ingress);
        let Some(object) = objects.get(&target) else {
            return Ok(Vec::new());
        };
        let next = self.rested(object, split, &Place::of(&target))?;
        Ok(edit::change(&target, object, next))
    }

    fn seen(&self, split: &Split, objects: &Objects) -> Result<Seen> {
        let target = INGRESS.named(&split.namespace, &self.ingress);
        let at = Place::of(&target);
        let object = edit::object(objects, &target)?;
        self.check_targets(object, split, &at)?;
        let key = self.key("actions", self.action(split));
        let place = annotation(&at, &key);
        let share = match edit::annotation(object, &key) {
            Some(raw) => {
                let mut action = parsed(raw, &place)?;
                let list = groups(&mut action, &place)?;
                weighted::share(&members(split), list, &place.keys(&GROUPS))?
            }
            // Not split yet; that it can be is told by the same errors.
            None => {
                self.take_port(&mut object.clone(), split, &at)?;
                Share::Unsplit
            }
        };
        let weight = match share {
            Share::Of(weight) => weight,
            Share::NotStable | Share::Unsplit => haldane_core::Weight::ZERO,
        };
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
        numbers: Numbers::Small,
        absent: Absent::Is(1),
        name: Box::new(|member| {
            let name = edit::text(member, &["serviceName"])
                .or_else(|| edit::text(member, &["targetGroupARN"]));
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

fn annotation<'a>(at: &Place<'a>, key: &str) -> Place<'a> {
    at.keys(&["metadata", "annotations", key])
}

/// Reads an action. Its keys may begin with capitals, as some tools write them.
fn parsed(raw: &str, at: &Place<'_>) -> Result<Value> {
    serde_json::from_str(raw)
        .map(lower)
        .map_err(|error| at.refused(&format!("expected an action in JSON: {error}")))
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

fn groups<'v>(action: &'v mut Value, at: &Place<'_>) -> Result<&'v mut Vec<Value>> {
    match edit::get_mut(action, &GROUPS) {
        Some(Value::Array(list)) => Ok(list),
        other => Err(at.keys(&GROUPS).wrong("a list", other.as_deref())),
    }
}

/// Takes out stickiness of ours: that which is not in the original.
fn unstuck(mut action: Value, original: Option<&str>, at: &Place<'_>) -> Result<Value> {
    let original = original.map(|raw| parsed(raw, at)).transpose()?;
    let is_users = original.is_some_and(|original| edit::get(&original, &STICKY).is_some());
    if let Some(config) = action.get_mut("forwardConfig").filter(|_| !is_users) {
        edit::remove(config, "targetGroupStickinessConfig");
    }
    Ok(action)
}

/// Turns stickiness off, and returns whether it was on.
fn turn_off(action: &mut Value) -> bool {
    switch(action, true)
}

/// Turns stickiness on again, if it was turned off.
fn restick(action: &mut Value, is_unstuck: bool) {
    if is_unstuck {
        switch(action, false);
    }
}

/// Turns stickiness to the other side of what it is, and returns whether it was this.
fn switch(action: &mut Value, is_on: bool) -> bool {
    let config = edit::get_mut(action, &STICKY);
    match config.and_then(|config| config.get_mut("enabled")) {
        Some(enabled) if *enabled == json!(is_on) => {
            *enabled = json!(!is_on);
            true
        }
        Some(_) | None => false,
    }
}

fn restored(
    now: &str,
    was: &str,
    before: &Before,
    split: &Split,
    at: &Place<'_>,
) -> Result<String> {
    let mut action = parsed(now, at)?;
    let list = groups(&mut action, at)?;
    *list = weighted::restore(
        &members(split),
        list,
        Some(&before.record),
        &at.keys(&GROUPS),
    )?;
    let original = parsed(was, at)?;
    let mut action = unstuck(action, Some(was), at)?;
    restick(&mut action, before.is_unstuck);
    Ok(if original == action {
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
    edit::text(service, &["name"]) == Some(action)
        && edit::text(service, &["port", "name"]) == Some(BY_NAME)
}

fn condition(wanted: &HeaderMatch) -> Result<Value> {
    let value = match &wanted.value {
        ValueMatch::Exact(value) if is_plain(value) => value.clone(),
        ValueMatch::Prefix(value) if is_plain(value) => format!("{value}*"),
        ValueMatch::Present => "*".to_owned(),
        ValueMatch::Exact(_) | ValueMatch::Prefix(_) => {
            return Err(CAPABILITIES.cannot("match a header with `*` or `?` in it"));
        }
        ValueMatch::Regex(_) => {
            return Err(CAPABILITIES.cannot("match headers by regular expressions"));
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
