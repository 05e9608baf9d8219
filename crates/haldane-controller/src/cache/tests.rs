//! What the cache keeps, and what it refuses.

use serde_json::json;

use super::*;
use crate::kinds::POD;

static MAP: Kind = Kind {
    group: "",
    kind: "ConfigMap",
    plural: "configmaps",
    versions: &["v1"],
};

fn object(name: &str, uid: &str, version: u64, value: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "uid": uid, "resourceVersion": version.to_string()},
        "data": {"key": value},
    })
}

fn owned(name: &str, owner: &str, version: u64, created: &str) -> Value {
    let mut object = object(name, name, version, "");
    object["metadata"]["creationTimestamp"] = json!(created);
    object["metadata"]["ownerReferences"] = json!([
        {"uid": "other", "controller": false},
        {"uid": owner, "controller": true},
    ]);
    object
}

fn synced() -> Cache {
    let cache = Cache::new(BTreeSet::new());
    cache.settle(&MAP, "", Readiness::Synced);
    cache
}

/// Returns the value of an object; nothing where it does not exist.
fn look(cache: &Cache, name: &str) -> Option<String> {
    let seen = cache.view().get(&MAP.named("shop", name));
    if let Seen::Found(object) = &seen {
        return object.pointer("/data/key")?.as_str().map(str::to_owned);
    }
    assert_eq!(seen, Seen::Missing);
    None
}

#[test]
fn an_older_object_never_replaces_a_newer_one() {
    let cache = synced();
    assert!(cache.put(&MAP, object("a", "1", 10, "new")).is_some());
    assert!(cache.put(&MAP, object("a", "1", 9, "old")).is_none());
    // 9 is more than 10 only as text.
    assert_eq!(look(&cache, "a").unwrap(), "new");
    assert!(cache.put(&MAP, object("a", "1", 10, "new")).is_none());
    assert!(cache.put(&MAP, object("a", "1", 11, "newer")).is_some());
    assert_eq!(look(&cache, "a").unwrap(), "newer");
}

#[test]
fn what_was_made_anew_is_not_taken_away_by_the_end_of_its_predecessor() {
    let cache = synced();
    cache.put(&MAP, object("a", "1", 10, "first"));
    cache.put(&MAP, object("a", "2", 12, "second"));
    assert!(cache.remove(&MAP, object("a", "1", 11, "first")).is_none());
    assert!(cache.put(&MAP, object("a", "1", 10, "first")).is_none());
    assert_eq!(look(&cache, "a").unwrap(), "second");
    assert!(cache.remove(&MAP, object("a", "2", 13, "second")).is_some());
    assert_eq!(look(&cache, "a"), None);
}

#[test]
fn what_we_deleted_does_not_come_back_by_a_late_watch() {
    let cache = synced();
    cache.put(&MAP, object("a", "1", 10, "old"));
    assert!(cache.deleted(&MAP.named("shop", "a"), "1").is_some());
    assert!(cache.put(&MAP, object("a", "1", 11, "late")).is_none());
    assert_eq!(look(&cache, "a"), None);
    cache.remove(&MAP, object("a", "1", 12, "late"));
    cache.put(&MAP, object("a", "2", 13, "anew"));
    assert_eq!(look(&cache, "a").unwrap(), "anew");
    // Another one of the same name stays.
    assert!(cache.deleted(&MAP.named("shop", "a"), "1").is_none());
    assert_eq!(look(&cache, "a").unwrap(), "anew");
}

#[test]
fn a_read_that_finds_nothing_does_not_take_away_what_came_since() {
    let cache = synced();
    cache.put(&MAP, object("a", "1", 10, "old"));
    assert!(cache.missing(&MAP.named("shop", "a"), 9).is_none());
    assert!(cache.missing(&MAP.named("shop", "a"), 10).is_some());
    assert_eq!(look(&cache, "a"), None);
    // A watch that knows better is believed.
    assert!(cache.put(&MAP, object("a", "1", 10, "old")).is_some());
}

#[test]
fn a_list_takes_away_what_it_does_not_name_but_not_what_is_newer() {
    let cache = synced();
    for (name, version) in [("a", 5), ("b", 6), ("c", 21)] {
        cache.put(&MAP, object(name, name, version, name));
    }
    let listed = BTreeSet::from([("shop".into(), "a".into())]);
    let gone = cache.sweep(&MAP, "", &listed, 20);
    let gone: Vec<String> = gone.into_iter().map(|it| it.target.name).collect();
    assert_eq!(gone, ["b"]);
    assert_eq!(cache.sweep(&MAP, "other", &BTreeSet::new(), 99), []);
    assert_eq!(cache.clear(&MAP, "").len(), 2);
}

#[test]
fn what_nobody_reads_is_dropped_and_what_a_list_leaves_out_is_added() {
    let cache = synced();
    let mut fat = object("a", "1", 1, "x");
    let by = |manager: &str, time: &str| json!({"manager": manager, "time": time, "fieldsV1": {}});
    let mut status = by("kubelet", "2026-11-21T12:00:00Z");
    status["subresource"] = json!("status");
    // Of who scales an object the server keeps no time.
    let scale = json!({"manager": "kubectl", "subresource": "scale", "fieldsV1": {}});
    fat["metadata"]["managedFields"] = json!([
        scale,
        by("haldane-controller", "2026-11-21T10:00:00Z"),
        by("helm", "2026-11-21T10:00:00Z"),
        status,
    ]);
    fat["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": "{}", "keep": "me"});
    cache.put(&MAP, fat);
    let mut expected = object("a", "1", 1, "x");
    expected["metadata"]["annotations"] = json!({"keep": "me"});
    expected["metadata"]["managedFields"] = json!([
        {"manager": "helm", "time": "2026-11-21T10:00:00Z"},
        {"manager": "kubectl", "subresource": "scale"},
    ]);
    expected["kind"] = json!("ConfigMap");
    expected["apiVersion"] = json!("v1");
    assert_eq!(
        cache.view().get(&MAP.named("shop", "a")),
        Seen::Found(expected)
    );
}

#[test]
fn what_is_owned_comes_oldest_first_and_follows_its_owner() {
    let cache = synced();
    cache.put(&MAP, owned("b", "me", 1, "2026-11-21T10:00:00Z"));
    cache.put(&MAP, owned("a", "me", 2, "2026-11-21T10:00:01Z"));
    let touched = cache.put(&MAP, owned("c", "me", 3, "2026-11-21T09:00:00Z"));
    assert_eq!(touched.unwrap().controllers, ["me".into()]);
    let names = |uid: &str| -> Vec<String> {
        let objects = cache.view().owned(&MAP, "shop", uid);
        let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
        objects.iter().map(name).collect()
    };
    assert_eq!(names("me"), ["c", "b", "a"]);
    assert_eq!(
        cache.view().owned(&MAP, "elsewhere", "me"),
        [] as [Value; 0]
    );
    let touched = cache.put(&MAP, owned("c", "you", 4, "2026-11-21T09:00:00Z"));
    assert_eq!(touched.unwrap().controllers, ["me".into(), "you".into()]);
    assert_eq!(
        (names("me"), names("you")),
        (vec!["b".to_owned(), "a".to_owned()], vec!["c".to_owned()])
    );
}

#[test]
fn a_kind_is_unknown_until_its_watch_has_told_everything() {
    let cache = Cache::new(["shop".to_owned()].into());
    let target = MAP.named("shop", "a");
    let check = |expected: &Seen| assert_eq!(&cache.view().get(&target), expected);
    check(&Seen::Unknown);
    cache.put(&MAP, object("a", "1", 1, "x"));
    check(&Seen::Unknown);
    assert!(cache.settle(&MAP, "shop", Readiness::Unavailable("no".to_owned())));
    assert!(!cache.settle(&MAP, "shop", Readiness::Unavailable("no".to_owned())));
    check(&Seen::Unavailable("no".to_owned()));
    cache.settle(&MAP, "shop", Readiness::Synced);
    assert!(matches!(cache.view().get(&target), Seen::Found(_)));
    let elsewhere = cache.view().get(&MAP.named("bank", "a"));
    assert!(matches!(&elsewhere, Seen::Unavailable(reason) if reason.contains("\"bank\"")));
}

#[test]
fn the_size_is_that_of_what_is_kept() {
    let cache = synced();
    cache.put(&MAP, object("a", "1", 1, "x"));
    cache.put(&MAP, object("b", "2", 2, "x"));
    cache.put(&MAP, object("a", "1", 3, "longer"));
    let (_, before) = cache.view().sizes()[0];
    assert_eq!(before.objects, 2);
    cache.remove(&MAP, object("a", "1", 4, "longer"));
    cache.remove(&MAP, object("b", "2", 5, "x"));
    assert_eq!(cache.view().sizes()[0].1, Size::default());
}

#[test]
fn pods_are_kept_without_what_is_in_them() {
    let cache = Cache::new(BTreeSet::new());
    cache.settle(&POD, "", Readiness::Synced);
    let mut pod = owned("db-0", "set", 1, "2026-11-21T10:00:00Z");
    pod["metadata"]["labels"] = json!({"app": "db"});
    pod["metadata"]["annotations"] = json!({"long": "text"});
    pod["spec"] = json!({"containers": [{"name": "db"}]});
    pod["status"] = json!({"phase": "Running"});
    cache.put(&POD, pod).unwrap();
    let kept = cache.view().owned(&POD, "shop", "set").remove(0);
    assert_eq!(kept["metadata"]["labels"], json!({"app": "db"}));
    assert_eq!(kept["status"], json!({"phase": "Running"}));
    assert_eq!(kept.get("spec"), None);
    assert_eq!(kept["metadata"].get("annotations"), None);
}
