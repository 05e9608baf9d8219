//! Several pairs: each is judged by its own counts, and the worst of them decides.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use haldane_analysis::{Batch, Sample};
use jiff::Timestamp;
use serde_json::json;

use super::{
    pairs::set_image,
    routed::{pair, part, release, traffic_split},
    world::{Silence, World},
};
use crate::{
    host::{Ports, ReleaseHost},
    kinds::RELEASE,
    meter::{Measured, Meter, Watch},
    turn::Key,
};

/// Requests of each version per second.
const RATE: u64 = 200;

/// Counts what every pair gets; the canary of one of them fails.
#[derive(Debug)]
struct Counts {
    /// The Service of the canary that fails, and how many of a hundred requests.
    bad: Option<(&'static str, u64)>,
    /// The Service of a canary of which nothing is known.
    silent: Option<&'static str>,
    now: Mutex<Timestamp>,
    watched: Mutex<BTreeMap<Key, (Watch, Timestamp)>>,
}

impl Meter for Counts {
    fn watch(&self, key: &Key, watch: Option<&Watch>) {
        let now = *self.now.lock().unwrap();
        let mut watched = self.watched.lock().unwrap();
        match watch {
            Some(watch) => {
                let known = watched.get(key).map_or(now, |(_, since)| *since);
                watched.insert(key.clone(), (watch.clone(), known));
            }
            None => drop(watched.remove(key)),
        }
    }

    fn take(&self, key: &Key) -> Measured {
        let now = *self.now.lock().unwrap();
        let mut watched = self.watched.lock().unwrap();
        let (watch, since) = watched.get_mut(key).expect("a watch before it is taken");
        let from = std::mem::replace(since, now);
        let service = watch.places.canary.service.as_str();
        if from >= now || self.silent == Some(service) {
            return Measured::default();
        }
        let failures = self.bad.filter(|(bad, _)| *bad == service);
        let failures = failures.map_or(0, |(_, percent)| RATE * percent / 100);
        let canary = RATE * u64::from(watch.weight.as_bps()) / 10_000;
        let sample = |requests: u64, failures: u64| Sample {
            requests,
            failures: failures.min(requests),
            ..Sample::default()
        };
        let batch = Batch {
            from,
            to: now,
            stable: sample(RATE - canary, 0),
            canary: sample(canary, failures * canary / RATE),
            weight: watch.weight,
        };
        Measured {
            batches: vec![batch],
            ..Measured::default()
        }
    }
}

/// A rollout of two pairs with these counts, after so many seconds.
fn after(seconds: u32, bad: Option<(&'static str, u64)>, silent: Option<&'static str>) -> World {
    let mut world = World::new();
    let counts = Arc::new(Counts {
        bad,
        silent,
        now: Mutex::new(world.now),
        watched: Mutex::default(),
    });
    world.host = Box::new(ReleaseHost::new(Ports {
        meter: Arc::<Counts>::clone(&counts),
        asker: Arc::new(Silence),
    }));
    for name in ["auth", "user"] {
        pair(&mut world, name);
        traffic_split(&mut world, name);
    }
    let routers = json!([{"smi": {"trafficSplit": "auth"}}, {"smi": {"trafficSplit": "user"}}]);
    release(&mut world, &["auth", "user"], &routers);
    let judged = json!({"spec": {
        "sources": {"prometheus": {"prometheus": "http://prometheus:9090"}},
        "requests": {"source": "prometheus", "template": "linkerd"},
        "rollout": {"guards": {"errorRate": "5%"}, "judge": {"alpha": "2%"}},
    }});
    world.patch("kubectl", &RELEASE, "shop", &judged);
    world.pass(30);
    set_image(&mut world, "auth:v2");
    for _ in 0..seconds {
        *counts.now.lock().unwrap() = world.now;
        world.pass(1);
    }
    let watched: Vec<(String, String)> = {
        let watched = counts.watched.lock().unwrap();
        let of = |(key, (watch, _)): (&Key, &(Watch, Timestamp))| {
            (key.name.clone(), watch.places.route.clone().unwrap())
        };
        watched.iter().map(of).collect()
    };
    let expected = [("shop", "auth"), ("shop/1", "user")];
    let expected = expected.map(|(key, route)| (key.to_owned(), route.to_owned()));
    match world.status()["phase"].as_str().unwrap() {
        "Progressing" => assert_eq!(watched, expected),
        _ => assert_eq!(watched, []),
    }
    world.host.forget(&World::key("shop"));
    assert!(counts.watched.lock().unwrap().is_empty());
    world
}

#[test]
fn pairs_that_are_all_good_are_promoted() {
    let world = after(150, None, None);
    assert_eq!(world.status()["phase"], "Completed", "{:#}", world.status());
}

#[test]
fn a_pair_that_fails_takes_the_others_along() {
    for bad in ["auth-canary", "user-canary"] {
        let world = after(60, Some((bad, 50)), None);
        let status = world.status();
        assert_eq!(status["phase"], "RolledBack", "{status:#}");
        let said = status["history"][0]["message"].as_str().unwrap();
        let stable = bad.replace("canary", "stable");
        assert!(said.contains(&format!("{stable}: ")), "{said}");
        assert_eq!([part(&world, "auth"), part(&world, "user")], [0, 0]);
    }
}

#[test]
fn pairs_of_which_one_is_silent_are_not_promoted() {
    let world = after(100, None, Some("user-canary"));
    let status = world.status();
    assert_eq!(status["phase"], "Progressing", "{status:#}");
    let said = status["message"].as_str().unwrap();
    assert!(said.contains("user-stable: "), "{said}");
    assert_eq!([part(&world, "auth"), part(&world, "user")], [25, 25]);
}
