//! Skipper's annotation on an Ingress: a weight for each Service, which share the requests of a path that they all have.

use serde_json::{Map, Value, json};

use crate::{
    forms::Before,
    kinds::INGRESS,
    object::{Change, Objects},
    route::{RouteError, Seen},
    shape::{Part, Wrong, annotate, annotation, find, lists, part_mut, text, unannotate},
    shares::{LARGEST, Members, Scale, Unset},
    skipper::CAPABILITIES,
    split::Split,
};

const WEIGHTS: &str = "zalando.org/backend-weights";
const AT: &str = "metadata.annotations[zalando.org/backend-weights]";
const PATHS: &[&str] = &["spec", "rules", "*", "http", "paths"];
const NAME: [&str; 3] = ["backend", "service", "name"];

/// Where the memory keeps the annotation as it was written.
const RAW: &str = "weights";
/// Where the memory keeps that the canary was added to the paths.
const ADDED: &str = "paths";

pub(super) fn desired(
    name: &str,
    split: &Split,
    objects: &Objects,
) -> Result<Vec<Change>, RouteError> {
    let target = INGRESS.named(&split.namespace, name);
    let object = find(objects, &target)?;
    let next =
        next(object, split, Some(split)).map_err(|wrong| wrong.of(CAPABILITIES.name, &target))?;
    Ok(if next == *object {
        Vec::new()
    } else {
        vec![Change::Put(target, next)]
    })
}

pub(super) fn cleared(
    name: &str,
    split: &Split,
    objects: &Objects,
) -> Result<Vec<Change>, RouteError> {
    let target = INGRESS.named(&split.namespace, name);
    let Some(object) = objects.get(&target) else {
        return Ok(Vec::new());
    };
    let next = next(object, split, None).map_err(|wrong| wrong.of(CAPABILITIES.name, &target))?;
    Ok(if next == *object {
        Vec::new()
    } else {
        vec![Change::Put(target, next)]
    })
}

pub(super) fn seen(name: &str, split: &Split, objects: &Objects) -> Result<Seen, RouteError> {
    let target = INGRESS.named(&split.namespace, name);
    let object = find(objects, &target)?;
    let share = weights(object, split).and_then(|list| members(split).share(AT, &list));
    let share = share.map_err(|wrong| wrong.of(CAPABILITIES.name, &target))?;
    Ok(Seen {
        weight: share.unwrap_or_default(),
    })
}

/// Returns the Ingress as it should be; a split of nothing stands for the user's own.
fn next(object: &Value, split: &Split, wanted: Option<&Split>) -> Part<Value> {
    let mut next = strip(object, split)?;
    let Some(wanted) = wanted else {
        let has_canary = weights(&next, split).is_ok_and(|list| {
            list.iter()
                .any(|one| name_of(one) == Some(&split.canary.service))
        });
        if has_canary {
            let before = weights(&next, split)?;
            let mut list = before.clone();
            members(split).rest(AT, &mut list)?;
            if list != before {
                annotate(&mut next, WEIGHTS, told(&list))?;
            }
        }
        return Ok(next);
    };
    if !wanted.canary_routes().is_empty() {
        return Err(Wrong::Cannot("route by headers on an Ingress".to_owned()));
    }
    if !wanted.traffic.mirror.is_zero() {
        return Err(Wrong::Cannot("copy requests to the canary".to_owned()));
    }
    let mut before = Before::default();
    let raw = annotation(&next, WEIGHTS);
    before.more.insert(RAW.to_owned(), json!(raw));
    let mut list = weights(&next, split)?;
    let was = members(split).split(AT, &mut list, wanted.traffic.weight)?;
    if was.as_ref().is_some_and(|was| was.is_added) {
        add_paths(&mut next, split)?;
        before.more.insert(ADDED.to_owned(), json!(true));
    }
    before.lists.extend(was);
    annotate(&mut next, WEIGHTS, told(&list))?;
    before.keep(&mut next, &split.release)?;
    Ok(next)
}

fn strip(object: &Value, split: &Split) -> Part<Value> {
    let mut next = object.clone();
    let before = Before::of(object, &split.release);
    Before::default().keep(&mut next, &split.release)?;
    if before == Before::default() {
        return Ok(next);
    }
    let now = weights(&next, split)?;
    if before.more.contains_key(ADDED) {
        for (_, paths) in lists(&mut next, PATHS)? {
            paths.retain(|path| text(path, &NAME) != Some(&split.canary.service));
        }
    }
    let mut list = now;
    let mut memory = before.lists.clone();
    members(split).restore(AT, &mut list, &mut memory, "", false)?;
    let raw = before.more.get(RAW).and_then(Value::as_str);
    let mut original = next.clone();
    match raw {
        Some(raw) => annotate(&mut original, WEIGHTS, raw.to_owned())?,
        None => unannotate(&mut original, WEIGHTS),
    }
    // What is as it was left is put back as it was written; else somebody has changed it since, and that stays.
    if weights(&original, split).is_ok_and(|before| before == list) {
        return Ok(original);
    }
    annotate(&mut next, WEIGHTS, told(&list))?;
    Ok(next)
}

/// Adds a path to the canary after each one to stable.
fn add_paths(object: &mut Value, split: &Split) -> Part<()> {
    for (_, paths) in lists(object, PATHS)? {
        for path in std::mem::take(paths) {
            let is_stable = text(&path, &NAME) == Some(&split.stable.service);
            let mut copy = path.clone();
            paths.push(path);
            if is_stable && let Some(name) = part_mut(&mut copy, &NAME) {
                *name = json!(split.canary.service);
                paths.push(copy);
            }
        }
    }
    Ok(())
}

/// Returns the weights of all Services that the annotation names, and of those that share a path with stable.
fn weights(object: &Value, split: &Split) -> Part<Vec<Value>> {
    let told: Map<String, Value> = match annotation(object, WEIGHTS) {
        Some(raw) => serde_json::from_str(raw)
            .map_err(|error| Wrong::at(AT, format!("expected a mapping in JSON: {error}")))?,
        None => Map::new(),
    };
    let beside = beside_stable(object, split)?;
    if beside.is_empty() {
        let expected = format!(
            "expected a path to the Service {}, found none",
            split.stable.service
        );
        return Err(Wrong::at("spec.rules", expected));
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

fn beside_stable(object: &Value, split: &Split) -> Part<Vec<String>> {
    let mut found: Vec<String> = Vec::new();
    for (_, paths) in lists(&mut object.clone(), PATHS)? {
        let stable: Vec<&Value> = paths
            .iter()
            .filter(|path| text(path, &NAME) == Some(&split.stable.service))
            .filter_map(|path| path.get("path"))
            .collect();
        for path in paths
            .iter()
            .filter(|path| path.get("path").is_some_and(|at| stable.contains(&at)))
        {
            if let Some(name) = text(path, &NAME)
                && !found.iter().any(|one| one == name)
            {
                found.push(name.to_owned());
            }
        }
    }
    Ok(found)
}

fn told(list: &[Value]) -> String {
    let map: Map<String, Value> = list
        .iter()
        .filter_map(|one| Some((name_of(one)?.to_owned(), one.get("weight")?.clone())))
        .collect();
    Value::Object(map).to_string()
}

fn name_of(member: &Value) -> Option<&str> {
    text(member, &["name"])
}

fn members(split: &Split) -> Members<'static> {
    let canary = split.canary.service.clone();
    Members {
        weight: "weight",
        unset: Unset::Is(0),
        scale: Scale::Free(LARGEST),
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
