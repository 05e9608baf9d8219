//! Runs the tables of cases: YAML files beside the routers, each case a router, its objects and what happens to them.
//!
//! After every step that succeeds, asking again must give no change, and clearing must give the user's objects as they were, with what he
//! has edited since; clearing again gives no change.

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
    /// The objects when all is cleared in the end; if left out, those at first with the edits that can be made in them, after each step.
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
    /// The canary's share in basis points that is read back before it, where that is of interest.
    #[serde(default)]
    was_seen: Option<u16>,
    /// All that differs after it, but for the annotation that keeps what was before: values by JSON pointer into the first object, or
    /// into another one as `OBJECT:/pointer` by name, kind or `KIND/NAME`; null for what is gone.
    #[serde(default)]
    after: Option<BTreeMap<String, Value>>,
    /// Some of what is there after it, in the same way; null for what is not there.
    #[serde(default)]
    want: BTreeMap<String, Value>,
    /// What differs from the user's objects when all is cleared after it.
    #[serde(default)]
    cleared: BTreeMap<String, Value>,
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
    /// The object's name, its kind, or `KIND/NAME`; the first one if left out.
    #[serde(default)]
    object: Option<String>,
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
    let mut plain = named(router, &case.objects);
    let mut objects = plain.clone();
    let mut wanted = split(Traffic::STABLE_ONLY, None);
    for (index, step) in case.steps.iter().enumerate() {
        let told = format!("{}, step {}", case.name, index + 1);
        for edit in &step.edit {
            assert!(make(edit, &mut objects), "{told}: no {}", edit.at);
            make(edit, &mut plain);
        }
        if let Some(wish) = &step.split {
            wanted = wish.to_split();
        }
        if turn(step, router, &wanted, &mut objects, &told) && case.cleared.is_none() {
            let mut expected = plain.clone();
            put_all(&step.cleared, router, &mut expected, &told);
            cleared(router, &wanted, &objects, &expected, &told);
        }
    }
    if let Some(last) = &case.cleared {
        let told = format!("{}, cleared", case.name);
        cleared(router, &wanted, &objects, &named(router, last), &told);
    }
}

/// Takes one step; tells whether it went well.
fn turn(
    step: &Step,
    router: &dyn Router,
    wanted: &Split,
    objects: &mut Objects,
    told: &str,
) -> bool {
    if let Some(seen) = step.was_seen {
        let found = router.seen(wanted, objects).expect(told);
        assert_eq!(found.weight.as_bps(), seen, "{told}: was seen");
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
    let edited = objects.clone();
    if step.split.is_some() {
        match router.desired(wanted, objects) {
            Ok(changes) => {
                let is_told = step.error.is_none() || step.after.is_some();
                assert!(is_told, "{told}: no error, but {changes:#?}");
                assert!(
                    !step.unchanged || changes.is_empty(),
                    "{told}: {changes:#?}"
                );
                apply(objects, changes);
                match router.desired(wanted, objects) {
                    Ok(again) => assert_eq!(again, Vec::new(), "{told}: asked again"),
                    Err(error) => assert_eq!(Some(error.to_string()), step.error, "{told}"),
                }
            }
            Err(error) => {
                assert_eq!(Some(error.to_string()), step.error, "{told}");
                return false;
            }
        }
    }
    check(step, router, wanted, (&edited, objects), told);
    true
}

fn cleared(router: &dyn Router, wanted: &Split, objects: &Objects, expected: &Objects, told: &str) {
    let mut found = objects.clone();
    apply(&mut found, router.cleared(wanted, objects).expect(told));
    same(&found, expected, &format!("{told}, cleared"));
    let again = router.cleared(wanted, &found);
    assert_eq!(again, Ok(Vec::new()), "{told}, cleared again");
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
        put_all(after, router, &mut expected, told);
        same(
            &without_annotation(objects),
            &without_annotation(&expected),
            told,
        );
    }
    for (path, value) in &step.want {
        let (target, at) = find(router, path, told);
        let found = objects.get(&target).and_then(|object| object.pointer(&at));
        let text = |value: &Value| serde_json::to_string_pretty(value).unwrap();
        assert_eq!(
            text(found.unwrap_or(&Value::Null)),
            text(value),
            "{told}: {path}"
        );
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

/// Finds `OBJECT:/pointer`, or a pointer into the first object.
fn find(router: &dyn Router, path: &str, told: &str) -> (ObjectRef, String) {
    let targets = router.objects("demo");
    let (name, at) = match path.split_once(":/") {
        Some((name, at)) => (Some(name), format!("/{at}")),
        None => (None, path.to_owned()),
    };
    let found = targets.iter().find(|target| is_named(target, name));
    let target = found.unwrap_or_else(|| panic!("{told}: no object for {path}"));
    (target.clone(), at)
}

/// Whether an object is meant by its name, its kind, or `KIND/NAME`; none means any.
fn is_named(target: &ObjectRef, name: Option<&str>) -> bool {
    name.is_none_or(|name| {
        let long = format!("{}/{}", target.kind.kind, target.name);
        name == target.name || name == target.kind.kind || name == long
    })
}

fn put_all(
    values: &BTreeMap<String, Value>,
    router: &dyn Router,
    objects: &mut Objects,
    told: &str,
) {
    for (path, value) in values {
        let (target, at) = find(router, path, told);
        put(&target, &at, value, objects);
    }
}

fn put(target: &ObjectRef, at: &str, value: &Value, objects: &mut Objects) {
    let keys: Vec<String> = at
        .split('/')
        .skip(1)
        .filter(|key| !key.is_empty())
        .map(|key| key.replace("~1", "/"))
        .collect();
    let Some((last, above)) = keys.split_last() else {
        match value {
            Value::Null => drop(objects.remove(target)),
            value => drop(objects.insert(target.clone(), value.clone())),
        }
        return;
    };
    let mut parent = objects.entry(target.clone()).or_insert(Value::Null);
    for key in above {
        parent = match key.parse::<usize>() {
            Ok(index) if parent.is_array() => &mut parent[index],
            _ => &mut parent[key.as_str()],
        };
    }
    match (last.parse::<usize>(), value) {
        (Ok(index), value) if parent.is_array() => parent[index] = value.clone(),
        (_, Value::Null) => drop(edit::remove(parent, last)),
        (_, value) => parent[last.as_str()] = value.clone(),
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

/// Does what a person does; tells whether there was a place for it.
fn make(edit: &Edit, objects: &mut Objects) -> bool {
    let mut targets = objects.keys();
    let target = targets.find(|target| is_named(target, edit.object.as_deref()));
    let Some(target) = target.cloned() else {
        return false;
    };
    let object = objects.get_mut(&target).unwrap();
    let (above, last) = edit.at.rsplit_once('/').expect("a JSON pointer");
    if edit.at == "/" {
        match &edit.value {
            Some(value) => *object = value.clone(),
            None => drop(objects.remove(&target)),
        }
        return true;
    }
    let last = last.replace("~1", "/");
    let Some(parent) = object.pointer_mut(above) else {
        return false;
    };
    let index = last.parse::<usize>().unwrap_or(usize::MAX);
    match (parent, &edit.value) {
        (Value::Array(items), Some(value)) if last == "-" => items.push(value.clone()),
        (Value::Array(items), Some(value)) if edit.insert && index <= items.len() => {
            items.insert(index, value.clone());
        }
        (Value::Array(items), value) if index < items.len() => match value {
            Some(value) => items[index] = value.clone(),
            None => drop(items.remove(index)),
        },
        (Value::Object(members), Some(value)) => drop(members.insert(last, value.clone())),
        (Value::Object(members), None) => drop(members.remove(&last)),
        _ => return false,
    }
    true
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
