//! Skipper: the backends of a RouteGroup, or the annotation `zalando.org/backend-weights` of an Ingress.
//!
//! Skipper prefers the route with more predicates, so that header rules come first wherever they stand. An Ingress has its predicates for
//! all of its paths at once, and so no header rules.

mod ingress;

use haldane_core::plan::{HeaderMatch, HeaderRoute, ValueMatch};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    edit::{self, Place},
    forms::{Edit, Form, Head, Members, Memory, Numbers, Single},
    kinds::{INGRESS, ROUTE_GROUP},
    object::{Change, ObjectRef, Objects},
    pattern::literally,
    route::{Accepted, Capabilities, Proof, RouteError, Router, Seen},
    rules,
    split::Split,
    weighted::Absent,
};

/// Splits the requests of Skipper; exactly one object is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Skipper {
    /// The RouteGroup's name. Its default backends are split, and those of its routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_group: Option<String>,
    /// The name of an Ingress. It knows weights, and no header rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<String>,
}

/// What it can do.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    name: "Skipper",
    weight: true,
    header: true,
    header_regex: true,
    mirror: false,
    mirror_share: false,
    sticky: false,
    proof: Proof::Objects,
};

/// Where the memory keeps that the canary was added to the backends.
const BACKEND: &str = "backend";

const BACKENDS: [&str; 2] = ["spec", "backends"];

/// The object that is meant.
enum Target<'a> {
    Group(&'a str),
    Ingress(&'a str),
}

impl Skipper {
    fn target(&self) -> Result<Target<'_>, RouteError> {
        match (&self.route_group, &self.ingress) {
            (Some(name), None) => Ok(Target::Group(name)),
            (None, Some(name)) => Ok(Target::Ingress(name)),
            (Some(_), Some(_)) | (None, None) => {
                Err(CAPABILITIES.cannot("split without exactly one of `routeGroup` and `ingress`"))
            }
        }
    }
}

impl Router for Skipper {
    fn objects(&self, namespace: &str) -> Vec<ObjectRef> {
        match self.target() {
            Ok(Target::Group(name)) => vec![ROUTE_GROUP.named(namespace, name)],
            Ok(Target::Ingress(name)) => vec![INGRESS.named(namespace, name)],
            Err(_) => Vec::new(),
        }
    }

    fn desired(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>, RouteError> {
        match self.target()? {
            Target::Ingress(name) => ingress::desired(name, split, objects),
            Target::Group(name) => {
                let target = ROUTE_GROUP.named(&split.namespace, name);
                group_desired(&target, split, edit::object(objects, &target)?)
            }
        }
    }

    fn cleared(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>, RouteError> {
        match self.target()? {
            Target::Ingress(name) => ingress::cleared(name, split, objects),
            Target::Group(name) => {
                let target = ROUTE_GROUP.named(&split.namespace, name);
                let present = objects.get(&target);
                present.map_or(Ok(Vec::new()), |one| group_cleared(&target, split, one))
            }
        }
    }

    fn seen(&self, split: &Split, objects: &Objects) -> Result<Seen, RouteError> {
        match self.target()? {
            Target::Ingress(name) => ingress::seen(name, split, objects),
            Target::Group(name) => {
                let target = ROUTE_GROUP.named(&split.namespace, name);
                let object = edit::object(objects, &target)?;
                let sides = sides(object, split, &Place::of(&target))?;
                edit(&target, object, &sides, split)?.seen(split, objects)
            }
        }
    }

    fn accepted(&self, _split: &Split, _objects: &Objects) -> Accepted {
        Accepted::Unreported
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }
}

/// The names that both sides have among the backends of a RouteGroup.
struct Sides {
    stable: String,
    canary: String,
}

fn sides(object: &Value, split: &Split, at: &Place<'_>) -> Result<Sides, RouteError> {
    let list = edit::list(object, &BACKENDS, at)?;
    let named = |service: &str| {
        let backend = list
            .iter()
            .find(|backend| edit::text(backend, &["serviceName"]) == Some(service));
        backend
            .and_then(|backend| edit::text(backend, &["name"]))
            .map(str::to_owned)
    };
    let service = &split.stable.service;
    let stable = named(service).ok_or_else(|| {
        at.keys(&BACKENDS).refused(&format!(
            "expected one with the Service {service}, found none"
        ))
    })?;
    let canary = named(&split.canary.service);
    let canary = canary.unwrap_or_else(|| split.canary.service.clone());
    Ok(Sides { stable, canary })
}

fn group_desired(
    target: &ObjectRef,
    split: &Split,
    object: &Value,
) -> Result<Vec<Change>, RouteError> {
    let at = Place::of(target);
    let names = match sides(object, split, &at) {
        // Where all is to go to stable there is nothing to be done without it.
        Err(_) if split.traffic.is_stable_only() => return Ok(Vec::new()),
        names => names?,
    };
    let has_routes = edit::get(object, &["spec", "routes"])
        .and_then(Value::as_array)
        .is_some_and(|routes| !routes.is_empty());
    if !has_routes && !split.canary_routes().is_empty() {
        return Err(at
            .keys(&["spec", "routes"])
            .refused("expected routes to put header rules beside, found none"));
    }
    let before = Memory::of(object, split);
    let mut next = object.clone();
    let edit = edit(target, object, &names, split)?;
    let mut memory = edit.apply(&mut next, split, &before)?;
    let list = edit::list_mut(&mut next, &BACKENDS, &at)?;
    let place = |name: &str| {
        let mut list = list.iter();
        list.position(|backend| edit::text(backend, &["name"]) == Some(name))
    };
    match (place(&names.stable), place(&names.canary)) {
        (_, Some(_)) if before.more.contains_key(BACKEND) => {
            memory.more.insert(BACKEND.to_owned(), json!(true));
        }
        (Some(stable), None) => {
            let mut canary = list.get(stable).cloned().unwrap_or_default();
            let at = at.keys(&BACKENDS);
            edit::set(&mut canary, &["name"], json!(names.canary), &at)?;
            let service = json!(split.canary.service);
            edit::set(&mut canary, &["serviceName"], service, &at)?;
            list.push(canary);
            memory.more.insert(BACKEND.to_owned(), json!(true));
        }
        (_, Some(_)) | (None, None) => {}
    }
    memory.change(target, split, object, next)
}

fn group_cleared(
    target: &ObjectRef,
    split: &Split,
    object: &Value,
) -> Result<Vec<Change>, RouteError> {
    let at = Place::of(target);
    let names = sides(object, split, &at)?;
    let before = Memory::of(object, split);
    let mut next = object.clone();
    edit(target, object, &names, split)?.clear(&mut next, &before)?;
    if before.more.contains_key(BACKEND) {
        let list = edit::list_mut(&mut next, &BACKENDS, &at)?;
        list.retain(|backend| edit::text(backend, &["name"]) != Some(&names.canary));
    }
    Memory::default().keep(&mut next, split, &at)?;
    Ok(edit::change(target, object, next))
}

fn edit<'a>(
    target: &ObjectRef,
    object: &Value,
    sides: &Sides,
    split: &Split,
) -> Result<Edit<'a>, RouteError> {
    let at = Place::of(target);
    let backends: &[&str] = &["spec", "defaultBackends"];
    let form = |rules, backends, head, single| Form {
        router: &CAPABILITIES,
        rules,
        backends,
        members: members(sides),
        only: &[],
        has_weights: true,
        head,
        mirror: None,
        single,
    };
    let head = Head {
        mark: "predicates",
        add: Box::new(|rule, route, _, at| add_head(rule, route, at)),
    };
    let split_default = form(&[], backends, None, None);
    let before = Memory::of(object, split);
    let defaults = match before.lists.get(at.path()) {
        known @ Some(_) => rules::cleared(&split_default, &[object.clone()], known, &at)?.pop(),
        None => Some(object.clone()),
    };
    let defaults = defaults.and_then(|object| edit::get(&object, backends).cloned());
    // A route without backends has the default ones: it is given a copy of them, in which it is split.
    let single = Single {
        open: Box::new(move |rule| match (rule.as_object_mut(), &defaults) {
            (Some(rule), Some(defaults)) if !rule.contains_key("backends") => {
                rule.insert("backends".to_owned(), defaults.clone());
                true
            }
            _ => false,
        }),
        close: Box::new(|rule| {
            edit::remove(rule, "backends");
        }),
    };
    let routes = form(&["spec", "routes"], &["backends"], Some(head), Some(single));
    Ok(Edit {
        target: target.clone(),
        forms: vec![split_default, routes],
    })
}

fn members<'a>(sides: &Sides) -> Members<'a> {
    let canary = sides.canary.clone();
    Members {
        weight: "weight",
        numbers: Numbers::Free,
        absent: Absent::NoneUnlessAll,
        name: Box::new(|member| edit::text(member, &["backendName"]).map(str::to_owned)),
        rename: Box::new(move |member| {
            if let Some(name) = member.get_mut("backendName") {
                *name = json!(canary);
            }
        }),
        stable: sides.stable.clone(),
        canary: sides.canary.clone(),
    }
}

fn add_head(rule: &mut Value, route: &HeaderRoute, at: &Place<'_>) -> Result<(), RouteError> {
    let list = edit::list_mut(rule, &["predicates"], at)?;
    list.extend(route.matches.iter().map(|wanted| json!(predicate(wanted))));
    Ok(())
}

fn predicate(wanted: &HeaderMatch) -> String {
    let (name, value) = match &wanted.value {
        ValueMatch::Exact(value) => ("Header", value.clone()),
        ValueMatch::Prefix(value) => ("HeaderRegexp", format!("^{}", literally(value))),
        ValueMatch::Regex(value) => ("HeaderRegexp", format!("^(?:{value})$")),
        ValueMatch::Present => ("HeaderRegexp", ".*".to_owned()),
    };
    let escaped = |text: &str| text.replace('\\', r"\\").replace('"', "\\\"");
    format!(
        "{name}(\"{}\", \"{}\")",
        escaped(&wanted.header),
        escaped(&value)
    )
}

#[cfg(test)]
mod tests;
