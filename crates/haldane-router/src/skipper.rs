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
    forms::{self, Edit, Form, Head, Single, apply, rest, strip},
    kinds::{INGRESS, ROUTE_GROUP},
    object::{Change, ObjectRef, Objects},
    route::{Accepted, Capabilities, Proof, RouteError, Router, Seen},
    shape::{Part, Wrong, entry, find, part, part_mut, quoted, remove, text},
    shares::{LARGEST, Members, Scale, Unset},
    split::Split,
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

/// The object that is meant.
enum Place<'a> {
    Group(&'a str),
    Ingress(&'a str),
}

impl Skipper {
    fn place(&self) -> Result<Place<'_>, RouteError> {
        match (&self.route_group, &self.ingress) {
            (Some(name), None) => Ok(Place::Group(name)),
            (None, Some(name)) => Ok(Place::Ingress(name)),
            (Some(_), Some(_)) | (None, None) => Err(RouteError::Cannot {
                router: CAPABILITIES.name,
                what: "split without exactly one of `routeGroup` and `ingress`".to_owned(),
            }),
        }
    }
}

impl Router for Skipper {
    fn objects(&self, namespace: &str) -> Vec<ObjectRef> {
        match self.place() {
            Ok(Place::Group(name)) => vec![ROUTE_GROUP.named(namespace, name)],
            Ok(Place::Ingress(name)) => vec![INGRESS.named(namespace, name)],
            Err(_) => Vec::new(),
        }
    }

    fn desired(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>, RouteError> {
        match self.place()? {
            Place::Ingress(name) => ingress::desired(name, split, objects),
            Place::Group(name) => {
                let edit = edit(name, split);
                let object = find(objects, &edit.target)?;
                let next = edit.told(group(object, split, Some(split)))?;
                Ok(edit.change(object, next))
            }
        }
    }

    fn cleared(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>, RouteError> {
        match self.place()? {
            Place::Ingress(name) => ingress::cleared(name, split, objects),
            Place::Group(name) => {
                let edit = edit(name, split);
                let Some(object) = objects.get(&edit.target) else {
                    return Ok(Vec::new());
                };
                let next = edit.told(group(object, split, None))?;
                Ok(edit.change(object, next))
            }
        }
    }

    fn seen(&self, split: &Split, objects: &Objects) -> Result<Seen, RouteError> {
        match self.place()? {
            Place::Ingress(name) => ingress::seen(name, split, objects),
            Place::Group(name) => {
                let edit = edit(name, split);
                let object = find(objects, &edit.target)?;
                let seen = sides(object, split)
                    .and_then(|sides| forms::seen(object, &group_forms(object, &sides), split));
                let weight = edit.told(seen)?;
                Ok(Seen { weight })
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

fn edit<'a>(name: &str, split: &Split) -> Edit<'a> {
    Edit {
        router: CAPABILITIES.name,
        release: split.release.clone(),
        target: ROUTE_GROUP.named(&split.namespace, name),
        forms: Vec::new(),
    }
}

/// The names that both sides have among the backends of a RouteGroup.
struct Sides {
    stable: String,
    canary: String,
}

fn sides(object: &Value, split: &Split) -> Part<Sides> {
    let backends = part(object, &["spec", "backends"]).unwrap_or(&Value::Null);
    let Value::Array(list) = backends else {
        return Err(Wrong::found("spec.backends", "a list", backends));
    };
    let named = |service: &str| {
        let backend = list
            .iter()
            .find(|backend| text(backend, &["serviceName"]) == Some(service));
        backend
            .and_then(|backend| text(backend, &["name"]))
            .map(str::to_owned)
    };
    let stable = named(&split.stable.service).ok_or_else(|| {
        let expected = format!(
            "expected one with the Service {}, found none",
            split.stable.service
        );
        Wrong::at("spec.backends", expected)
    })?;
    let canary = named(&split.canary.service);
    let canary = canary.unwrap_or_else(|| split.canary.service.clone());
    Ok(Sides { stable, canary })
}

/// Returns a RouteGroup as it should be; a split of nothing stands for the user's own.
fn group(object: &Value, split: &Split, wanted: Option<&Split>) -> Part<Value> {
    let names = sides(object, split)?;
    let (mut next, before) = strip(object, &group_forms(object, &names), &split.release)?;
    if before.more.contains_key(BACKEND)
        && let Some(Value::Array(list)) = part_mut(&mut next, &["spec", "backends"])
    {
        list.retain(|backend| text(backend, &["name"]) != Some(&names.canary));
    }
    let forms = group_forms(&next, &names);
    let Some(wanted) = wanted else {
        return rest(next, &forms);
    };
    let has_routes = part(&next, &["spec", "routes"])
        .and_then(Value::as_array)
        .is_some_and(|routes| !routes.is_empty());
    if !has_routes && !wanted.canary_routes().is_empty() {
        return Err(Wrong::at(
            "spec.routes",
            "expected routes to put header rules beside, found none",
        ));
    }
    let mut before = apply(&mut next, &forms, wanted)?;
    if let Some(Value::Array(list)) = part_mut(&mut next, &["spec", "backends"])
        && !list
            .iter()
            .any(|backend| text(backend, &["name"]) == Some(&names.canary))
    {
        let stable = list
            .iter()
            .position(|backend| text(backend, &["name"]) == Some(&names.stable));
        let mut canary = stable
            .and_then(|at| list.get(at))
            .cloned()
            .unwrap_or_default();
        *entry(&mut canary, "spec.backends[]", "name", Value::Null)? = json!(names.canary);
        *entry(&mut canary, "spec.backends[]", "serviceName", Value::Null)? =
            json!(split.canary.service);
        list.push(canary);
        before.more.insert(BACKEND.to_owned(), json!(true));
    }
    before.keep(&mut next, &split.release)?;
    Ok(next)
}

fn group_forms<'a>(object: &Value, sides: &Sides) -> Vec<Form<'a>> {
    let defaults = part(object, &["spec", "defaultBackends"]).cloned();
    let form = |rules, backends, head, single| Form {
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
        add: Box::new(|rule, route, _| add_head(rule, route)),
    };
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
            remove(rule, "backends");
        }),
    };
    vec![
        form(&[], &["spec", "defaultBackends"], None, None),
        form(&["spec", "routes"], &["backends"], Some(head), Some(single)),
    ]
}

fn members<'a>(sides: &Sides) -> Members<'a> {
    let canary = sides.canary.clone();
    Members {
        weight: "weight",
        unset: Unset::NoneUnlessAll,
        scale: Scale::Free(LARGEST),
        name: Box::new(|member| text(member, &["backendName"]).map(str::to_owned)),
        rename: Box::new(move |member| {
            if let Some(name) = member.get_mut("backendName") {
                *name = json!(canary);
            }
        }),
        stable: sides.stable.clone(),
        canary: sides.canary.clone(),
    }
}

fn add_head(rule: &mut Value, route: &HeaderRoute) -> Part<()> {
    let predicates = entry(rule, "spec.routes[]", "predicates", json!([]))?;
    let Value::Array(list) = predicates else {
        return Err(Wrong::found(
            "spec.routes[].predicates",
            "a list",
            predicates,
        ));
    };
    list.extend(route.matches.iter().map(|wanted| json!(predicate(wanted))));
    Ok(())
}

fn predicate(wanted: &HeaderMatch) -> String {
    let (name, value) = match &wanted.value {
        ValueMatch::Exact(value) => ("Header", value.clone()),
        ValueMatch::Prefix(value) => ("HeaderRegexp", format!("^{}", quoted(value))),
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
