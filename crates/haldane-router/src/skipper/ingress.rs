//! Skipper's annotation on an Ingress: a weight for each Service, which share the requests of a path that they all have.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    before,
    edit::{self, Place},
    forms::{Members, Numbers},
    kinds::INGRESS,
    object::{Change, ObjectRef, Objects},
    route::{RouteError, Seen},
    skipper::CAPABILITIES,
    split::Split,
    weighted::{self, Absent, Record, Share},
};

type Result<T> = std::result::Result<T, RouteError>;

const WEIGHTS: &str = "zalando.org/backend-weights";
const PATHS: &[&str] = &["spec", "rules", "*", "http", "paths"];
const NAME: [&str; 3] = ["backend", "service", "name"];

/// What an Ingress was before.
#[derive(Serialize, Deserialize)]
struct Before {
    record: Record,
    /// The annotation as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weights: Option<String>,
    /// Whether the canary was added to the paths.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    paths: bool,
}

pub(super) fn desired(name: &str, split: &Split, objects: &Objects) -> Result<Vec<Change>> {
    let target = INGRESS.named(&split.namespace, name);
    let object = edit::object(objects, &target)?;
    let next = wanted(object, split, &Place::of(&target))?;
    Ok(edit::change(&target, object, next))
}

pub(super) fn cleared(name: &str, split: &Split, objects: &Objects) -> Result<Vec<Change>> {
    let target = INGRESS.named(&split.namespace, name);
    let Some(object) = objects.get(&target) else {
        return Ok(Vec::new());
    };
    let next = rested(object, split, &target)?;
    Ok(edit::change(&target, object, next))
}

pub(super) fn seen(name: &str, split: &Split, objects: &Objects) -> Result<Seen> {
    let target = INGRESS.named(&split.namespace, name);
    let object = edit::object(objects, &target)?;
    let at = Place::of(&target);
    let list = weights(object, split, &at)?;
    let share = weighted::share(&members(split), &list, &annotation(&at))?;
    let weight = match share {
        Share::Of(weight) => weight,
        Share::NotStable | Share::Unsplit => haldane_core::Weight::ZERO,
    };
    Ok(Seen { weight })
}

/// Returns the Ingress as it should be.
fn wanted(object: &Value, split: &Split, at: &Place<'_>) -> Result<Value> {
    if !split.canary_routes().is_empty() {
        return Err(CAPABILITIES.cannot("route by headers on an Ingress"));
    }
    if !split.traffic.mirror.is_zero() {
        return Err(CAPABILITIES.cannot("copy requests to the canary"));
    }
    let before = before::read::<Before>(object, &split.release);
    let list = weights(object, split, at)?;
    let weight = split.traffic.weight;
    let known = before.as_ref().map(|before| &before.record);
    let done = weighted::split(&members(split), &list, weight, known, &annotation(at))?;
    let Some((list, record)) = done else {
        return Err(names_nobody(split, at));
    };
    let mut next = object.clone();
    let before = before.unwrap_or_else(|| Before {
        weights: edit::annotation(object, WEIGHTS).map(str::to_owned),
        paths: record.added,
        record,
    });
    if before.paths {
        remove_paths(&mut next, split, at)?;
        add_paths(&mut next, split, at)?;
    }
    edit::annotate(&mut next, WEIGHTS, Some(told(&list)), at)?;
    before::write(&mut next, &split.release, Some(&before), at)?;
    Ok(next)
}

/// Returns the Ingress as the user has it, with nothing for a canary of his own.
fn rested(object: &Value, split: &Split, target: &ObjectRef) -> Result<Value> {
    let at = Place::of(target);
    let mut next = strip(object, split, &at)?;
    let Ok(list) = weights(&next, split, &at) else {
        return Ok(next);
    };
    let rested = weighted::restore(&members(split), &list, None, &annotation(&at))?;
    if rested != list {
        edit::annotate(&mut next, WEIGHTS, Some(told(&rested)), &at)?;
    }
    Ok(next)
}

fn strip(object: &Value, split: &Split, at: &Place<'_>) -> Result<Value> {
    let mut next = object.clone();
    let Some(before) = before::read::<Before>(object, &split.release) else {
        return Ok(next);
    };
    before::write::<Before>(&mut next, &split.release, None, at)?;
    let now = weights(&next, split, at)?;
    if before.paths {
        remove_paths(&mut next, split, at)?;
    }
    let record = Some(&before.record);
    let list = weighted::restore(&members(split), &now, record, &annotation(at))?;
    let mut original = next.clone();
    edit::annotate(&mut original, WEIGHTS, before.weights, at)?;
    // What is as it was left is put back as it was written; else somebody has changed it since, and that stays.
    if weights(&original, split, at).is_ok_and(|before| before == list) {
        return Ok(original);
    }
    edit::annotate(&mut next, WEIGHTS, Some(told(&list)), at)?;
    Ok(next)
}

fn remove_paths(object: &mut Value, split: &Split, at: &Place<'_>) -> Result<()> {
    for (_, paths) in edit::lists(object, PATHS, at)? {
        paths.retain(|path| edit::text(path, &NAME) != Some(&split.canary.service));
    }
    Ok(())
}

/// Adds a path to the canary after each one to stable.
fn add_paths(object: &mut Value, split: &Split, at: &Place<'_>) -> Result<()> {
    for (_, paths) in edit::lists(object, PATHS, at)? {
        for path in std::mem::take(paths) {
            let is_stable = edit::text(&path, &NAME) == Some(&split.stable.service);
            let mut copy = path.clone();
            paths.push(path);
            if is_stable && let Some(name) = edit::get_mut(&mut copy, &NAME) {
                *name = json!(split.canary.service);
                paths.push(copy);
            }
        }
    }
    Ok(())
}

/// Returns the weights of all Services that the annotation names, and of those that share a path with stable.
fn weights(object: &Value, split: &Split, at: &Place<'_>) -> Result<Vec<Value>> {
    let told: Map<String, Value> = match edit::annotation(object, WEIGHTS) {
        Some(raw) => serde_json::from_str(raw)
            .map_err(|error| annotation(at).refused(&format!("expected a map in JSON: {error}")))?,
        None => Map::new(),
    };
    let beside = beside_stable(object, split, at)?;
    if beside.is_empty() {
        return Err(names_nobody(split, at));
    }
    // Services of a path of which none has a weight share it evenly.
    let is_even = !beside.iter().any(|name| told.contains_key(name));
    let unset = json!(u8::from(is_even));
    let mut list: Vec<Value> = Vec::new();
    for name in beside {
        let weight = told.get(&name).unwrap_or(&unset);
        list.push(json!({ "name": name, "weight": weight }));
    }
    let rest = told
        .iter()
        .filter(|(name, _)| !list.iter().any(|one| name_of(one) == Some(name)));
    let rest: Vec<Value> = rest
        .map(|(name, weight)| json!({ "name": name, "weight": weight }))
        .collect();
    list.extend(rest);
    Ok(list)
}

fn beside_stable(object: &Value, split: &Split, at: &Place<'_>) -> Result<Vec<String>> {
    let mut found: Vec<String> = Vec::new();
    for (_, paths) in edit::lists(&mut object.clone(), PATHS, at)? {
        let stable: Vec<&Value> = paths
            .iter()
            .filter(|path| edit::text(path, &NAME) == Some(&split.stable.service))
            .filter_map(|path| path.get("path"))
            .collect();
        for path in paths
            .iter()
            .filter(|path| path.get("path").is_some_and(|at| stable.contains(&at)))
        {
            if let Some(name) = edit::text(path, &NAME)
                && !found.iter().any(|one| one == name)
            {
                found.push(name.to_owned());
            }
        }
    }
    Ok(found)
}

fn annotation<'a>(at: &Place<'a>) -> Place<'a> {
    at.keys(&["metadata", "annotations", WEIGHTS])
}

fn names_nobody(split: &Split, at: &Place<'_>) -> RouteError {
    let service = &split.stable.service;
    at.keys(&["spec", "rules"]).refused(&format!(
        "expected a path to the Service {service}, found none"
    ))
}

fn told(list: &[Value]) -> String {
    let map: Map<String, Value> = list
        .iter()
        .filter_map(|one| Some((name_of(one)?.to_owned(), one.get("weight")?.clone())))
        .collect();
    Value::Object(map).to_string()
}

fn name_of(member: &Value) -> Option<&str> {
    edit::text(member, &["name"])
}

fn members(split: &Split) -> Members<'static> {
    let canary = split.canary.service.clone();
    Members {
        weight: "weight",
        numbers: Numbers::Free,
        absent: Absent::Is(0),
        name: Box::new(|member| name_of(member).map(str::to_owned)),
        rename: Box::new(move |member| {
            if let Some(name) = member.get_mut("name") {
                *name = json!(canary);
            }
        }),
        stable: split.stable.service.clone(),
        canary: split.canary.service.clone(),
    }
}
