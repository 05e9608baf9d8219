//! Runs the tables of cases: YAML files beside the routers, each case a router, its objects and what happens to them.
//!
//! After every step that succeeds, asking again must give no change; after the last one everything is cleared, and unless the case says
//! otherwise each object is then again what it was at first.

use std::collections::BTreeMap;

use haldane_core::{
    Weight,
    plan::{HeaderMatch, HeaderRoute, ValueMatch},
    rollout::Traffic,
};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    Accepted, Backend, Change, ObjectRef, Objects, Route, Router, Split, edit, route::BEFORE,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    name: String,
    router: Route,
    /// The objects at first.
    objects: Vec<Value>,
    steps: Vec<Step>,
    /// The objects in the end; as at first if left out.
    #[serde(default)]
    cleared: Option<Vec<Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Step {
    /// What a person does before.
    #[serde(default)]
    edit: Vec<Edit>,
    /// What is wanted; left out, only `seen` is asked.
    #[serde(default)]
    split: Option<Wish>,
    /// What differs after it, but for the annotation that keeps what was before: values by JSON pointer into the first object, or into
    /// another one as `name:/pointer`; null for what is gone.
    #[serde(default)]
    after: Option<BTreeMap<String, Value>>,
    /// That nothing is to change.
    #[serde(default)]
    unchanged: bool,
    /// The canary's share in basis points that is read back; the wanted one if left out.
    #[serde(default)]
    seen: Option<u16>,
    /// What the router says.
    #[serde(default)]
    accepted: Option<String>,
    /// The error instead; together with `after` it is what reading back tells.
    #[serde(default)]
    error: Option<String>,
}

/// One change by a person: a value at a JSON pointer, none removes it. A pointer that ends in `/-` or at an index with `insert` adds.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Edit {
    object: String,
    at: String,
    #[serde(default)]
    value: Option<Value>,
    #[serde(default)]
    insert: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wish {
    /// In basis points.
    #[serde(default)]
    weight: u16,
    #[serde(default)]
    mirror: u16,
    /// Whether a request may ask for the canary; open if there is an `ask`.
    #[serde(default)]
    closed: bool,
    #[serde(default)]
    ask: Option<Condition>,
    #[serde(default)]
    headers: Vec<Vec<Condition>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Condition {
    header: String,
    #[serde(default)]
    exact: Option<String>,
    #[serde(default)]
    prefix: Option<String>,
    #[serde(default)]
    regex: Option<String>,
}

/// Runs all cases of a table.
pub(crate) fn run(table: &str) {
    let cases: Vec<Case> = serde_norway::from_str(table).expect("a table of cases");
    assert!(!cases.is_empty());
    for case in &cases {
        play(case);
    }
}

/// The release of all cases: Services `shop` and `shop-canary` in the namespace `demo`.
pub(crate) fn split(traffic: Traffic, ask_by: Option<HeaderMatch>) -> Split {
    let backend = |service: &str, version: &str| Backend {
        service: service.to_owned(),
        labels: BTreeMap::from([("version".to_owned(), version.to_owned())]),
    };
    Split {
        release: "shop".to_owned(),
        namespace: "demo".to_owned(),
        stable: backend("shop", "stable"),
        canary: backend("shop-canary", "canary"),
        traffic,
        ask_by,
    }
}

/// Does what the changes say.
pub(crate) fn apply(objects: &mut Objects, changes: Vec<Change>) {
    for change in changes {
        match change {
            Change::Put(target, object) => objects.insert(target, object),
            Change::Delete(target) => objects.remove(&target),
        };
    }
}

/// Names the objects as the router does.
pub(crate) fn named(router: &dyn Router, values: &[Value]) -> Objects {
    let wanted = router.objects("demo");
    values
        .iter()
        .map(|value| (target(&wanted, value), value.clone()))
        .collect()
}

fn target(wanted: &[ObjectRef], value: &Value) -> ObjectRef {
    let text = |keys: &[&str]| edit::text(value, keys).unwrap_or_default();
    let found = wanted.iter().find(|target| {
        target.kind.kind == text(&["kind"])
            && target.name == text(&["metadata", "name"])
            && text(&["apiVersion"]).starts_with(target.kind.group)
    });
    found
        .unwrap_or_else(|| panic!("the router does not ask for {value}"))
        .clone()
}

fn play(case: &Case) {
    let router = case.router.router().expect("one router");
    let mut objects = named(router, &case.objects);
    let mut wanted = split(Traffic::STABLE_ONLY, None);
    for (index, step) in case.steps.iter().enumerate() {
        let told = format!("{}, step {}", case.name, index + 1);
        for edit in &step.edit {
            make(edit, &mut objects, &told);
        }
        let edited = objects.clone();
        if let Some(wish) = &step.split {
            wanted = wish.to_split();
            match router.desired(&wanted, &objects) {
                Ok(changes) => {
                    let is_told = step.error.is_none() || step.after.is_some();
                    assert!(is_told, "{told}: no error, but {changes:#?}");
                    assert!(
                        !step.unchanged || changes.is_empty(),
                        "{told}: {changes:#?}"
                    );
                    apply(&mut objects, changes);
                    let again = router.desired(&wanted, &objects);
                    assert_eq!(again, Ok(Vec::new()), "{told}: asked again");
                }
                Err(error) => {
                    assert_eq!(Some(error.to_string()), step.error, "{told}");
                    continue;
                }
            }
        }
        check(step, router, &wanted, (&edited, &objects), &told);
    }
    let cleared = case.cleared.as_ref().unwrap_or(&case.objects);
    let changes = router.cleared(&wanted, &objects).expect(&case.name);
    apply(&mut objects, changes);
    same(
        &objects,
        &named(router, cleared),
        &format!("{}, cleared", case.name),
    );
    let again = router.cleared(&wanted, &objects);
    assert_eq!(again, Ok(Vec::new()), "{}, cleared again", case.name);
}

fn check(
    step: &Step,
    router: &dyn Router,
    wanted: &Split,
    (edited, objects): (&Objects, &Objects),
    told: &str,
) {
    if let Some(after) = &step.after {
        let mut expected = edited.clone();
        for (at, value) in after {
            let targets = router.objects("demo");
            let (target, at) = match at.split_once(':') {
                Some((name, at)) => {
                    let target = targets.iter().find(|target| target.name == name);
                    (
                        target.unwrap_or_else(|| panic!("{told}: no object {name}")),
                        at,
                    )
                }
                None => (&targets[0], at.as_str()),
            };
            put(target, at, value, &mut expected);
        }
        same(
            &without_annotation(objects),
            &without_annotation(&expected),
            told,
        );
    }
    if let Some(accepted) = &step.accepted {
        let said = match router.accepted(wanted, objects) {
            Accepted::Yes => "yes".to_owned(),
            Accepted::Unreported => "unreported".to_owned(),
            Accepted::Pending(why) => format!("pending: {why}"),
            Accepted::No(why) => format!("no: {why}"),
        };
        assert_eq!(&said, accepted, "{told}");
    }
    match router.seen(wanted, objects) {
        Ok(seen) => {
            let expected = step.seen.unwrap_or(wanted.traffic.weight.as_bps());
            assert_eq!(seen.weight.as_bps(), expected, "{told}: seen");
            assert_eq!(step.error, None, "{told}");
        }
        Err(error) => assert_eq!(Some(error.to_string()), step.error, "{told}"),
    }
}

fn put(target: &ObjectRef, at: &str, value: &Value, objects: &mut Objects) {
    let keys: Vec<String> = at
        .split('/')
        .skip(1)
        .filter(|key| !key.is_empty())
        .map(|key| key.replace("~1", "/"))
        .collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    match (keys.split_last(), value) {
        (None, Value::Null) => drop(objects.remove(target)),
        (Some((last, above)), Value::Null) => {
            let object = objects.get_mut(target).unwrap();
            let parent = above.iter().fold(object, |value, key| &mut value[*key]);
            edit::remove(parent, last);
        }
        (_, value) => {
            let object = objects.entry(target.clone()).or_insert(Value::Null);
            edit::set(object, &keys, value.clone(), &edit::Place::of(target)).unwrap();
        }
    }
}

fn without_annotation(objects: &Objects) -> Objects {
    let mut plain = objects.clone();
    for (target, object) in &mut plain {
        edit::annotate(object, BEFORE, None, &edit::Place::of(target)).unwrap();
    }
    plain
}

fn same(found: &Objects, expected: &Objects, told: &str) {
    let yaml = |objects: &Objects| {
        let values: Vec<&Value> = objects.values().collect();
        serde_norway::to_string(&values).unwrap()
    };
    assert!(
        found == expected,
        "{told}: found\n{}\nexpected\n{}",
        yaml(found),
        yaml(expected)
    );
}

fn make(edit: &Edit, objects: &mut Objects, told: &str) {
    let target = objects
        .keys()
        .find(|target| edit.object == target.name || edit.object == target.kind.kind)
        .unwrap_or_else(|| panic!("{told}: no object {}", edit.object))
        .clone();
    let object = objects.get_mut(&target).unwrap();
    let (above, last) = edit.at.rsplit_once('/').expect("a JSON pointer");
    if edit.at == "/" {
        match &edit.value {
            Some(value) => *object = value.clone(),
            None => drop(objects.remove(&target)),
        }
        return;
    }
    let last = last.replace("~1", "/");
    let parent = object
        .pointer_mut(above)
        .unwrap_or_else(|| panic!("{told}: no {above}"));
    match (parent, &edit.value) {
        (Value::Array(items), Some(value)) if last == "-" => items.push(value.clone()),
        (Value::Array(items), Some(value)) if edit.insert => {
            items.insert(last.parse().unwrap(), value.clone());
        }
        (Value::Array(items), Some(value)) => items[last.parse::<usize>().unwrap()] = value.clone(),
        (Value::Array(items), None) => drop(items.remove(last.parse().unwrap())),
        (Value::Object(members), Some(value)) => drop(members.insert(last, value.clone())),
        (Value::Object(members), None) => drop(members.remove(&last)),
        (other, _) => panic!("{told}: {above} is {other}"),
    }
}

impl Wish {
    fn to_split(&self) -> Split {
        let header_routes =
            self.headers
                .iter()
                .enumerate()
                .map(|(index, conditions)| HeaderRoute {
                    name: format!("route-{index}"),
                    matches: conditions.iter().map(Condition::to_match).collect(),
                });
        let traffic = Traffic {
            weight: Weight::try_from_bps(self.weight).unwrap(),
            is_open_to_override: !self.closed,
            header_routes: header_routes.collect(),
            mirror: Weight::try_from_bps(self.mirror).unwrap(),
        };
        split(traffic, self.ask.as_ref().map(Condition::to_match))
    }
}

impl Condition {
    fn to_match(&self) -> HeaderMatch {
        let value = match (&self.exact, &self.prefix, &self.regex) {
            (Some(exact), None, None) => ValueMatch::Exact(exact.clone()),
            (None, Some(prefix), None) => ValueMatch::Prefix(prefix.clone()),
            (None, None, Some(regex)) => ValueMatch::Regex(regex.clone()),
            _ => ValueMatch::Present,
        };
        HeaderMatch {
            header: self.header.clone(),
            value,
        }
    }
}
