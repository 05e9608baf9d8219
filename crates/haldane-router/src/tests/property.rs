//! What holds for every router, whatever its objects: random objects, random wishes one after the other, and a person's edits between.
//!
//! A router joins by a strategy for its [`World`].

use haldane_core::{
    Weight,
    plan::{HeaderMatch, HeaderRoute, ValueMatch},
    rollout::Traffic,
};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};

use self::world::{Headers, World, worlds};
use super::case;
use crate::{Objects, Route, Split, edit};

mod world;

/// What is wanted, of which each router gets what it can.
#[derive(Clone, Debug)]
struct Wish {
    weight: u16,
    mirror: u16,
    is_open: bool,
    asks: bool,
    routes: Vec<Vec<(u8, u8)>>,
}

/// What a person does: a label, and a rule of his own at either end.
#[derive(Clone, Copy, Debug)]
enum Hand {
    Nothing,
    Label,
    First,
    Last,
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn wishes_come_true_once_and_leave_nothing(
        world in worlds(),
        wishes in vec((wish(), select(vec![Hand::Nothing, Hand::Label, Hand::First, Hand::Last])), 1..4),
    ) {
        let route: Route = serde_json::from_value(world.route.clone()).unwrap();
        let router = route.router().unwrap();
        let mut objects = case::named(router, &world.objects);
        let mut plain = objects.clone();
        let mut last = case::split(Traffic::STABLE_ONLY, None);
        for (index, (wish, hand)) in wishes.iter().enumerate() {
            let split = wish.to_split(&world);
            let changes = router.desired(&split, &objects).unwrap();
            case::apply(&mut objects, changes);
            prop_assert_eq!(router.desired(&split, &objects), Ok(Vec::new()), "asked again");
            let seen = router.seen(&split, &objects).unwrap();
            let (seen, wanted) = (seen.weight, split.traffic.weight);
            prop_assert!(seen.as_bps().abs_diff(wanted.as_bps()) <= world.grain_bps, "{seen} of {wanted}");
            let ends = |weight: Weight| (weight.is_zero(), weight.is_full());
            prop_assert_eq!(ends(seen), ends(wanted), "seen");
            foreign_parts_are_equal(&world, &plain, &objects)?;
            hand.works(&world, index, &mut objects);
            hand.works(&world, index, &mut plain);
            last = split;
        }
        let changes = router.cleared(&last, &objects).unwrap();
        case::apply(&mut objects, changes);
        prop_assert_eq!(router.cleared(&last, &objects), Ok(Vec::new()), "cleared again");
        let idle = case::split(Traffic::STABLE_ONLY, None);
        prop_assert_eq!(router.seen(&idle, &objects).unwrap().weight, Weight::ZERO);
        if world.is_restored {
            prop_assert_eq!(objects, plain);
        } else {
            foreign_parts_are_equal(&world, &plain, &objects)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_to_an_object_the_way_out_is_open(
        world in worlds(),
        harms in vec((wish(), any::<usize>(), any::<usize>(), 0..6_usize), 1..4),
    ) {
        let route: Route = serde_json::from_value(world.route.clone()).unwrap();
        let router = route.router().unwrap();
        let mut objects = case::named(router, &world.objects);
        let mut split = case::split(Traffic::STABLE_ONLY, None);
        for (wish, object, place, harm) in &harms {
            split = wish.to_split(&world);
            if let Ok(changes) = router.desired(&split, &objects) {
                case::apply(&mut objects, changes);
                // Empty maps of a person may take one more turn until they are gone from the copies too.
                let more = router.desired(&split, &objects).unwrap();
                case::apply(&mut objects, more);
                prop_assert_eq!(router.desired(&split, &objects), Ok(Vec::new()), "asked again");
            }
            let count = objects.len();
            let object = objects.values_mut().nth(object % count).unwrap();
            break_something(&mut object["spec"], *place, *harm);
        }
        if let Ok(changes) = router.cleared(&split, &objects) {
            case::apply(&mut objects, changes);
            prop_assert_eq!(router.cleared(&split, &objects), Ok(Vec::new()), "cleared again");
            if let Ok(seen) = router.seen(&split, &objects) {
                prop_assert_eq!(seen.weight, Weight::ZERO);
            }
        }
    }
}

/// Removes, replaces or doubles one of all values of an object.
fn break_something(value: &mut Value, place: usize, harm: usize) {
    let mut places = Vec::new();
    let mut open = vec![(String::new(), &*value)];
    while let Some((at, value)) = open.pop() {
        if let Some(members) = value.as_object() {
            open.extend(
                members
                    .iter()
                    .map(|(key, value)| (format!("{at}/{key}"), value)),
            );
        }
        let items = value.as_array().into_iter().flatten();
        open.extend(
            (0..)
                .zip(items)
                .map(|(index, value): (usize, _)| (format!("{at}/{index}"), value)),
        );
        places.push(at);
    }
    let at = places[place % places.len()].clone();
    if let Some((above, key)) = at.rsplit_once('/').filter(|_| harm == 0) {
        // The API server keeps no null.
        let parent = value.pointer_mut(above).unwrap();
        edit::remove(parent, key);
        if let (Some(items), Ok(index)) = (parent.as_array_mut(), key.parse()) {
            items.remove(index);
        }
        return;
    }
    let found = value.pointer_mut(&at).unwrap();
    match (harm, found.as_array().cloned()) {
        (0 | 1, _) => *found = json!(7),
        (2, _) => *found = json!("shop"),
        (3, _) => *found = json!([]),
        (4, Some(items)) => *found = items.iter().chain(&items).cloned().collect(),
        (_, Some(items)) => *found = items.into_iter().rev().collect(),
        (_, None) => *found = json!({}),
    }
}

/// Checks that other backends have their share and everything else is as it was.
fn foreign_parts_are_equal(
    world: &World,
    before: &Objects,
    after: &Objects,
) -> Result<(), TestCaseError> {
    let has_lists = world.route.get("nginx").is_some() || !world.lists.is_empty();
    for (target, object) in before.iter().filter(|_| has_lists) {
        let place = |one: &Value| edit::text(one, &["metadata", "name"]).map(str::to_owned);
        let rest = |object: &Value| {
            let mut rest = object.clone();
            edit::annotate(
                &mut rest,
                crate::route::BEFORE,
                None,
                &edit::Place::of(target),
            )
            .unwrap();
            rest
        };
        let (mut was, mut is) = (rest(object), rest(&after[target]));
        for (index, keys, entries) in &world.lists {
            if place(&world.objects[*index]) != place(object)
                || world.objects[*index]["kind"] != object["kind"]
            {
                continue;
            }
            let (old, new) = (users(&was, keys, entries), users(&is, keys, entries));
            prop_assert_eq!(old.len(), new.len());
            for (old, new) in old.iter().zip(&new) {
                let shares = (shares(old, entries, world), shares(new, entries, world));
                prop_assert_eq!(shares.0, shares.1);
                prop_assert_eq!(without_ours(old, entries), without_ours(new, entries));
            }
            for object in [&mut was, &mut is] {
                let list = object.pointer_mut(&format!("/{}", keys.join("/")));
                list.map(Value::take);
            }
        }
        for object in [&mut was, &mut is] {
            let annotations = object.pointer_mut("/metadata/annotations");
            if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
                annotations.retain(|name, _| !name.contains("canary-"));
            }
            if let Some(subsets) = object
                .pointer_mut("/spec/subsets")
                .and_then(Value::as_array_mut)
            {
                subsets.retain(|subset| subset["name"] == "other");
            }
            if object["kind"] == "DestinationRule" && object["spec"]["subsets"] == json!([]) {
                edit::remove(&mut object["spec"], "subsets");
            }
        }
        prop_assert_eq!(was, is);
    }
    Ok(())
}

/// Returns the rules that are not the canary's alone.
fn users(object: &Value, keys: &[&str], entries: &str) -> Vec<Value> {
    let list = edit::get(object, keys).cloned().unwrap_or_default();
    if entries.is_empty() {
        return vec![list];
    }
    let rules = list.as_array().cloned().unwrap_or_default();
    let is_canarys = |rule: &Value| {
        let entries = rule[entries].as_array().cloned().unwrap_or_default();
        !entries.is_empty()
            && entries
                .iter()
                .all(|entry| name(entry).starts_with("shop-canary"))
    };
    rules.into_iter().filter(|rule| !is_canarys(rule)).collect()
}

fn entries_of(rule: &Value, entries: &str) -> Vec<Value> {
    let list = if entries.is_empty() {
        rule
    } else {
        &rule[entries]
    };
    list.as_array().cloned().unwrap_or_default()
}

/// Returns the share of each other backend, as a fraction in lowest terms.
fn shares(rule: &Value, entries: &str, world: &World) -> Vec<(u64, u64)> {
    let mut entries = entries_of(rule, entries);
    entries.retain(|entry| entry.get("mirror").is_none());
    let weights: Vec<u64> = entries
        .iter()
        .map(|entry| {
            let weight = &entry["weight"];
            let Some(text) = weight.as_str() else {
                return weight.as_u64().unwrap_or(world.absent);
            };
            match text.strip_suffix('m') {
                Some(digits) => digits.parse::<u64>().unwrap(),
                None => text.parse::<u64>().unwrap() * 1000,
            }
        })
        .collect();
    let total: u64 = weights.iter().sum();
    entries
        .iter()
        .zip(weights)
        .filter(|(entry, _)| !is_sides(entry))
        .map(|(_, weight)| {
            let (mut a, mut b) = (weight, total);
            while b != 0 {
                (a, b) = (b, a % b);
            }
            (weight / a.max(1), total / a.max(1))
        })
        .collect()
}

/// Returns a rule without weights, canary and mirror.
fn without_ours(rule: &Value, entries: &str) -> Value {
    let others: Vec<Value> = entries_of(rule, entries)
        .into_iter()
        .filter(|entry| !name(entry).starts_with("shop-canary"))
        .map(|mut entry| {
            edit::remove(&mut entry, "weight");
            entry
        })
        .collect();
    if entries.is_empty() {
        return Value::Array(others);
    }
    let mut rule = rule.clone();
    if let Some(members) = rule.as_object_mut() {
        if members.contains_key(entries) {
            members.insert(entries.to_owned(), Value::Array(others));
        }
        members.remove("mirror");
        members.remove("mirrorPercentage");
        if let Some(filters) = members.get_mut("filters").and_then(Value::as_array_mut) {
            filters.retain(|filter| filter["type"] != "RequestMirror");
            if filters.is_empty() {
                members.remove("filters");
            }
        }
    }
    rule
}

fn is_sides(entry: &Value) -> bool {
    matches!(name(entry).as_str(), "shop" | "shop-canary")
}

fn name(entry: &Value) -> String {
    let found = ["name", "service", "serviceName"]
        .iter()
        .find_map(|key| entry[*key].as_str());
    let to = &entry["destination"];
    let host = to["host"].as_str().and_then(|host| host.split('.').next());
    let name = found.or_else(|| to["subset"].as_str()).or(host);
    name.unwrap_or_default().to_owned()
}

impl Hand {
    fn works(self, world: &World, index: usize, objects: &mut Objects) {
        let Some((place, keys, entries)) = world.lists.first() else {
            return;
        };
        let name = edit::text(&world.objects[*place], &["metadata", "name"]);
        let kind = &world.objects[*place]["kind"];
        let mut all = objects.iter_mut();
        let object = all
            .find(|(target, object)| Some(target.name.as_str()) == name && object["kind"] == *kind);
        let (target, object) = object.unwrap();
        let at = edit::Place::of(target);
        let mut list = edit::list(object, keys, &at).unwrap();
        let rule =
            json!({*entries: [{"name": "hand", "destination": {"host": "hand"}}], "hand": index});
        match self {
            Self::Nothing => {}
            Self::Label => {
                edit::set(object, &["metadata", "labels", "hand"], json!(index), &at).unwrap();
            }
            Self::First | Self::Last if entries.is_empty() => {}
            Self::First => {
                list.insert(0, rule);
                edit::set(object, keys, Value::Array(list), &at).unwrap();
            }
            Self::Last => {
                list.push(rule);
                edit::set(object, keys, Value::Array(list), &at).unwrap();
            }
        }
    }
}

impl Wish {
    fn to_split(&self, world: &World) -> Split {
        let condition = |(header, value): (u8, u8)| HeaderMatch {
            header: format!("x-{header}"),
            value: match value {
                0 => ValueMatch::Present,
                1 => ValueMatch::Prefix("qa.".to_owned()),
                2 => ValueMatch::Regex("[a-z]+".to_owned()),
                more => ValueMatch::Exact(format!("v{more}")),
            },
        };
        let conditions = |route: &Vec<(u8, u8)>| -> Vec<HeaderMatch> {
            let mut conditions: Vec<(u8, u8)> = route.clone();
            conditions.sort_unstable();
            conditions.dedup_by_key(|(header, _)| *header);
            if world.headers == Headers::One {
                conditions.truncate(1);
                conditions.iter_mut().for_each(|(header, _)| *header = 0);
            }
            conditions.into_iter().map(condition).collect()
        };
        let routes = (0..)
            .zip(&self.routes)
            .map(|(index, route): (usize, _)| HeaderRoute {
                name: format!("route-{index}"),
                matches: conditions(route),
            });
        let traffic = Traffic {
            weight: Weight::try_from_bps(self.weight).unwrap(),
            is_open_to_override: self.is_open,
            header_routes: if world.headers == Headers::None {
                Vec::new()
            } else {
                routes.collect()
            },
            mirror: Weight::try_from_bps(if world.mirror { self.mirror } else { 0 }).unwrap(),
        };
        let asks = self.asks && world.headers != Headers::None;
        case::split(traffic, asks.then(|| condition((0, 9))))
    }
}

fn wish() -> impl Strategy<Value = Wish> {
    let weight = || prop_oneof![select(vec![0, 1, 500, 2500, 9999, 10_000]), 0..=10_000_u16];
    let route = vec((0..3_u8, 0..5_u8), 0..3);
    (
        weight(),
        weight(),
        any::<bool>(),
        any::<bool>(),
        vec(route, 0..3),
    )
        .prop_map(|(weight, mirror, is_open, asks, routes)| Wish {
            weight,
            mirror,
            is_open,
            asks,
            routes,
        })
}
