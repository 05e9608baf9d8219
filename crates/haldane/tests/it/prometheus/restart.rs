//! A daemon that is killed while it counts: what happened meanwhile is lost, and nothing is counted twice.

use std::time::Duration;

use haldane_core::Weight;

use super::{
    server::Prometheus,
    stand::{LAX, Service, Stand, up},
    version::{GOOD, Nature, Version},
};
use crate::it::rig::{Rig, calm, until};

/// The share of requests that a version did not find, by its own metrics.
const LOST: &str = "kind: ratio, \
    events: 'http_requests_total{service=\"{{service}}\",version=\"{{version}}\",code=\"404\"}[{{window}}]', \
    exposure: 'http_requests_total{service=\"{{service}}\",version=\"{{version}}\"}[{{window}}]'";

/// Goes on by itself unless harm is shown.
fn plan(hold: &str) -> String {
    format!("{{ steps: [50%, 100%], hold: {hold}, guards: none, judge: {LAX} }}")
}

/// What the daemon says that it counted of one version.
#[derive(Debug)]
struct Counted {
    from: String,
    to: String,
    canary: (u64, u64),
}

#[test]
fn a_daemon_that_is_killed_counts_nothing_twice_and_ends_rightly() {
    let _calm = calm();
    let rig = Rig::new();
    let prometheus = Prometheus::start(&rig, &[]);
    let stables = [GOOD; 2].map(|nature| Version::start("v1", nature));
    let good = Version::start("v2", GOOD);
    // Rare enough that it takes some time to be seen, and beyond what a canary may do.
    let bad = Version::start("v2", Nature { every: 12, ..GOOD });
    let pause = Duration::from_millis(25);
    // The bad one is taken back long before its time.
    let plans = [("good", &stables[0], "8s"), ("bad", &stables[1], "2m")];
    let services = plans.map(|(name, stable, hold)| {
        let service = Service::new(name, stable.addr, prometheus.addr);
        service.metric("lost", LOST).rollout(&plan(hold))
    });
    let mut stand = Stand::start(&rig, prometheus, &services, pause);
    stand.prometheus.scrape(&[
        (stables[0].addr, "good"),
        (stables[1].addr, "bad"),
        (good.addr, "good"),
        (bad.addr, "bad"),
    ]);
    stand.deploy("good", &good);
    stand.deploy("bad", &bad);
    for name in ["good", "bad"] {
        let half = Weight::from_percent(50);
        stand.daemon.api.wait_weight(name, half);
    }
    until("both are counted", || {
        let counted = ["good", "bad"].map(|name| counted(&rig, name, 0));
        counted.iter().all(|one| !one.is_empty()).then_some(())
    });
    let metrics = stand.metrics;
    stand.daemon.kill();
    let rollouts = rig.log();
    assert!(!rollouts.contains("Completed") && !rollouts.contains("RolledBack"));
    let lines = rollouts.lines().count();
    stand.daemon = up(&rig, metrics);
    let over = [("good", "Completed", &good), ("bad", "RolledBack", &bad)];
    for (name, phase, version) in over {
        stand.until("over", &[name.to_owned()], |rollout| rollout.is_over);
        let rollouts = stand.rollouts();
        let (_, rollout) = rollouts.iter().find(|(of, _)| of == name).unwrap();
        assert_eq!(rollout.phase, phase, "{rollout:#?}");
        // Either life counted.
        assert!(!counted(&rig, name, lines).is_empty(), "{name}");
        check(&rig, name, version);
    }
    stand.stop(&rig);
}

/// Checks that no time was counted twice, and no more than happened.
fn check(rig: &Rig, service: &str, version: &Version) {
    let counted = counted(rig, service, 0);
    for pair in counted.windows(2) {
        assert!(pair[0].to <= pair[1].from, "{pair:#?}");
    }
    let sum = |of: fn(&Counted) -> u64| counted.iter().map(of).sum::<u64>();
    let (requests, lost) = (sum(|one| one.canary.0), sum(|one| one.canary.1));
    let truth = version.counts();
    assert!(requests <= truth.requests, "{requests} of {truth:?}");
    assert!(lost <= truth.lost, "{lost} of {truth:?}");
    // What was lost is the time around the restart, at the beginning and at the end.
    assert!(requests * 4 >= truth.requests, "{requests} of {truth:?}");
}

/// Reads what the daemon says that it counted for a rollout, after so many lines of its log.
fn counted(rig: &Rig, service: &str, after: usize) -> Vec<Counted> {
    let log = rig.log();
    let rollout = format!("rollout={service}-1 ");
    let lines = log.lines().skip(after);
    let lines = lines.filter(|line| line.contains("Metric was counted") && line.contains(&rollout));
    let word = |line: &str, key: &str| {
        let (_, rest) = line.split_once(key).unwrap();
        let end = rest.find([' ', ',']).unwrap_or(rest.len());
        rest[..end].to_owned()
    };
    lines
        .map(|line| {
            let (_, canary) = line.split_once("canary=").unwrap();
            let number = |key: &str| word(canary, key).parse().unwrap();
            Counted {
                from: word(line, "from="),
                to: word(line, " to="),
                canary: (number("exposure: "), number("events: ")),
            }
        })
        .collect()
}
