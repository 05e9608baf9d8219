//! Tries a router on a table of cases, and on the laws that every router keeps.
//!
//! A case has objects and steps. After each step it is checked that asking again changes nothing, that the weight is read back, and that
//! clearing gives the user's objects as they were, with what he has edited since.

use std::collections::BTreeMap;

use haldane_core::{
    Weight,
    plan::{HeaderMatch, HeaderRoute, ValueMatch},
    rollout::Traffic,
};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Backend, Change, ObjectRef, Objects, Route, Router, Split};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    name: String,
    router: Value,
    objects: Vec<Value>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Step {
    /// What a person changes before, in the object as it is and in the one that he has in mind.
    #[serde(default)]
    edit: BTreeMap<String, Value>,
    split: Wanted,
    /// What parts of the objects must be then; `null` where there must be nothing.
    #[serde(default)]
    want: BTreeMap<String, Value>,
    /// The weight read back before the step, where it is of interest.
    was_seen: Option<u16>,
    /// The weight read back after it; else that of the split.
    seen: Option<u16>,
    /// What differs from the user's objects after clearing.
    #[serde(default)]
    cleared: BTreeMap<String, Value>,
    /// That nothing has to change.
    #[serde(default)]
    unchanged: bool,
    accepted: Option<String>,
    error: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Wanted {
    weight: u16,
    headers: Vec<Header>,
    mirror: u16,
    ask_by: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Header {
    name: String,
    matches: Vec<Match>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Match {
    header: String,
    exact: Option<String>,
    prefix: Option<String>,
    regex: Option<String>,
}

impl Wanted {
    fn split(&self) -> Split {
        let matched = |wanted: &Match| HeaderMatch {
            header: wanted.header.clone(),
            value: match (&wanted.exact, &wanted.prefix, &wanted.regex) {
                (Some(text), _, _) => ValueMatch::Exact(text.clone()),
                (_, Some(text), _) => ValueMatch::Prefix(text.clone()),
                (_, _, Some(text)) => ValueMatch::Regex(text.clone()),
                (None, None, None) => ValueMatch::Present,
            },
        };
        let headers = self.headers.iter().map(|header| HeaderRoute {
            name: header.name.clone(),
            matches: header.matches.iter().map(matched).collect(),
        });
        split(
            self.weight,
            self.mirror,
            headers.collect(),
            self.ask_by.clone(),
        )
    }
}

/// Returns a split between the Services `shop` and `shop-canary`.
pub(crate) fn split(
    weight_bps: u16,
    mirror_bps: u16,
    header_routes: Vec<HeaderRoute>,
    ask_by: Option<String>,
) -> Split {
    let backend = |service: &str| Backend {
        service: service.to_owned(),
        labels: BTreeMap::new(),
    };
    Split {
        release: "shop".to_owned(),
        namespace: "default".to_owned(),
        stable: backend("shop"),
        canary: backend("shop-canary"),
        traffic: Traffic {
            weight: Weight::try_from_bps(weight_bps).unwrap(),
            is_open_to_override: ask_by.is_some(),
            header_routes,
            mirror: Weight::try_from_bps(mirror_bps).unwrap(),
        },
        ask_by: ask_by.map(|header| HeaderMatch {
            header,
            value: ValueMatch::Present,
        }),
    }
}

/// Runs all cases of a table.
pub(crate) fn cases(table: &str) {
    let cases: Vec<Case> = serde_norway::from_str(table).unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let route: Route = serde_json::from_value(case.router.clone())
            .unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let router = route.router().unwrap();
        let mut plain = named(router, &case.objects);
        let mut now = plain.clone();
        for (index, step) in case.steps.iter().enumerate() {
            let at = format!("{}, step {}", case.name, index + 1);
            for (path, value) in &step.edit {
                set(&mut plain, path, value);
                set(&mut now, path, value);
            }
            run(&at, router, step, &plain, &mut now);
        }
    }
}

fn run(at: &str, router: &dyn Router, step: &Step, plain: &Objects, now: &mut Objects) {
    let split = step.split.split();
    if let Some(seen) = step.was_seen {
        assert_eq!(
            router.seen(&split, now).unwrap().weight.as_bps(),
            seen,
            "{at}: was seen"
        );
    }
    if let Some(accepted) = &step.accepted {
        assert_eq!(
            &format!("{:?}", router.accepted(&split, now)),
            accepted,
            "{at}"
        );
    }
    let changes = match (router.desired(&split, now), &step.error) {
        (Ok(changes), None) => changes,
        (Err(error), Some(wanted)) => {
            assert_eq!(&error.to_string(), wanted, "{at}");
            return;
        }
        (Ok(_), Some(error)) => panic!("{at}: no error: {error}"),
        (Err(error), None) => panic!("{at}: {error}"),
    };
    assert_eq!(changes.is_empty(), step.unchanged, "{at}: {changes:#?}");
    make(now, changes);
    let again = router.desired(&split, now).unwrap();
    assert_eq!(again, Vec::new(), "{at}: asked again");
    for (path, value) in &step.want {
        let found = get(now, path).unwrap_or(Value::Null);
        assert_eq!(
            serde_json::to_string_pretty(&found).unwrap(),
            serde_json::to_string_pretty(value).unwrap(),
            "{at}: {path}"
        );
    }
    let seen = router.seen(&split, now).unwrap().weight.as_bps();
    assert_eq!(seen, step.seen.unwrap_or(step.split.weight), "{at}: seen");
    let mut cleared = now.clone();
    make(&mut cleared, router.cleared(&split, now).unwrap());
    let mut wanted = plain.clone();
    for (path, value) in &step.cleared {
        set(&mut wanted, path, value);
    }
    assert_eq!(shown(&cleared), shown(&wanted), "{at}: cleared");
    assert_eq!(
        router.cleared(&split, &cleared).unwrap(),
        Vec::new(),
        "{at}: cleared again"
    );
}

fn shown(objects: &Objects) -> String {
    let all: Vec<&Value> = objects.values().collect();
    serde_json::to_string_pretty(&all).unwrap()
}

/// Brings changes about.
pub(crate) fn make(objects: &mut Objects, changes: Vec<Change>) {
    for change in changes {
        match change {
            Change::Put(target, value) => {
                assert_eq!(value["metadata"]["name"], json!(target.name));
                objects.insert(target, value);
            }
            Change::Delete(target) => {
                assert!(
                    objects.remove(&target).is_some(),
                    "{target} is deleted, but not there"
                );
            }
        }
    }
}

/// Returns objects under the names by which a router asks for them.
pub(crate) fn named(router: &dyn Router, objects: &[Value]) -> Objects {
    let asked: Vec<ObjectRef> = router.objects("default");
    objects
        .iter()
        .map(|object| {
            let (kind, name) = (object["kind"].as_str(), object["metadata"]["name"].as_str());
            let target = asked
                .iter()
                .find(|target| Some(target.kind.kind) == kind && Some(target.name.as_str()) == name)
                .unwrap_or_else(|| panic!("{kind:?} {name:?} is not asked for"));
            (target.clone(), object.clone())
        })
        .collect()
}

/// Splits `Kind/name:/pointer`; without the first half the first object is meant.
fn place<'a>(objects: &Objects, path: &'a str) -> (Option<ObjectRef>, &'a str) {
    match path.split_once(":/") {
        Some((object, _)) => {
            let (kind, name) = object.split_once('/').unwrap();
            let mut named = objects.keys();
            let target = named.find(|target| target.kind.kind == kind && target.name == name);
            (target.cloned(), &path[object.len() + 1..])
        }
        None => (objects.keys().next().cloned(), path),
    }
}

fn get(objects: &Objects, path: &str) -> Option<Value> {
    let (target, pointer) = place(objects, path);
    objects.get(&target?)?.pointer(pointer).cloned()
}

fn set(objects: &mut Objects, path: &str, value: &Value) {
    let (target, pointer) = place(objects, path);
    let object = objects.get_mut(&target.unwrap()).unwrap();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let key = key.replace("~1", "/");
    match object
        .pointer_mut(parent)
        .unwrap_or_else(|| panic!("{path}"))
    {
        Value::Object(map) if value.is_null() => {
            map.remove(&key);
        }
        Value::Object(map) => {
            map.insert(key, value.clone());
        }
        Value::Array(list) if key == "-" => list.push(value.clone()),
        Value::Array(list) => list[key.parse::<usize>().unwrap()] = value.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => panic!("{path}"),
    }
}

/// One generated rule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// Its backends with their weights; `shop` among them where it is meant.
    pub(crate) backends: Vec<(String, Option<u16>)>,
}

impl Rule {
    /// Returns the backends as a list, each made by a function of its name, with its weight in a field.
    pub(crate) fn list(&self, member: impl Fn(&str) -> Value, field: &str) -> Vec<Value> {
        let backends = self.backends.iter();
        backends
            .map(|(name, weight)| {
                let mut member = member(name);
                if let Some(weight) = weight {
                    member[field] = json!(weight);
                }
                member
            })
            .collect()
    }

    /// Whether every backend tells its weight, or none does.
    pub(crate) fn is_even(&self) -> bool {
        let told = self
            .backends
            .iter()
            .filter(|(_, weight)| weight.is_some())
            .count();
        told == 0 || told == self.backends.len()
    }
}

/// Generates rules, at least one of them with the Service `shop`.
pub(crate) fn rules(most: u16) -> impl Strategy<Value = Vec<Rule>> {
    let weight = prop_oneof![Just(None), (1..=most).prop_map(Some)];
    let others = prop::collection::vec(
        (prop::sample::select(vec!["cart", "blog"]), weight.clone()),
        0..2,
    );
    let rule = (weight, others, any::<bool>(), any::<bool>()).prop_map(
        |(stable, others, is_pair, is_first)| {
            let mut backends: Vec<(String, Option<u16>)> = others
                .into_iter()
                .map(|(name, weight)| (name.to_owned(), weight))
                .collect();
            let at = if is_first { 0 } else { backends.len() };
            backends.insert(at, ("shop".to_owned(), stable));
            if is_pair && stable.is_some() {
                backends.push(("shop-canary".to_owned(), Some(0)));
            }
            Rule { backends }
        },
    );
    let foreign = Just(Rule {
        backends: vec![("cart".to_owned(), None)],
    });
    (
        rule.clone(),
        prop::collection::vec(prop_oneof![rule, foreign], 0..3),
    )
        .prop_map(|(first, mut rules)| {
            rules.push(first);
            rules
        })
}

/// Generates splits; header routes and mirrors where a router can do them.
pub(crate) fn splits(has_headers: bool, has_mirror: bool) -> impl Strategy<Value = Split> {
    let route =
        ("[a-z]{1,5}", "[a-z.*+]{1,5}", 0..4_u8).prop_map(|(name, value, kind)| HeaderRoute {
            name: name.clone(),
            matches: vec![HeaderMatch {
                header: format!("x-{name}"),
                value: match kind {
                    0 => ValueMatch::Exact(value),
                    1 => ValueMatch::Prefix(value),
                    2 => ValueMatch::Regex(".*".to_owned()),
                    _ => ValueMatch::Present,
                },
            }],
        });
    let routes = prop::collection::vec(route, 0..if has_headers { 3 } else { 1 });
    let weight = prop_oneof![
        Just(0_u16),
        Just(1),
        Just(9_999),
        Just(10_000),
        0..=10_000_u16
    ];
    (weight.clone(), weight, routes, any::<bool>()).prop_map(
        move |(weight, mirror, routes, asks)| {
            let (routes, asks) = if has_headers {
                (routes, asks)
            } else {
                (Vec::new(), false)
            };
            let mirror = if has_mirror { mirror } else { 0 };
            split(weight, mirror, routes, asks.then(|| "x-canary".to_owned()))
        },
    )
}

/// How properties are tried: a failing case becomes a case of the table, not a file of seeds.
pub(crate) fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Checks the laws of all routers for two splits after each other.
pub(crate) fn laws(router: &dyn Router, objects: &[Value], splits: &[Split], grain_bps: u16) {
    let plain = named(router, objects);
    let mut now = plain.clone();
    for split in splits {
        let changes = router.desired(split, &now).unwrap();
        make(&mut now, changes);
        assert_eq!(
            router.desired(split, &now).unwrap(),
            Vec::new(),
            "asked again"
        );
        let seen = router.seen(split, &now).unwrap().weight;
        let wanted = split.traffic.weight;
        assert!(
            seen.as_bps().abs_diff(wanted.as_bps()) <= grain_bps,
            "{seen} seen of {wanted}"
        );
        assert_eq!(
            (seen.is_zero(), seen.is_full()),
            (wanted.is_zero(), wanted.is_full())
        );
        let mut cleared = now.clone();
        make(&mut cleared, router.cleared(split, &now).unwrap());
        assert_eq!(shown(&cleared), shown(&plain), "cleared");
    }
}
