//! What versions measure of themselves, as classic and as native histograms: a canary that is slower by nothing else is taken back.

use std::{net::SocketAddr, time::Duration};

use haldane_core::verdict::Verdict;
use rustix::process::Signal;

use super::{
    server::{NATIVE, Prometheus},
    stand::{LAX, Service, Stand, told, verdict},
    version::{GOOD, Nature, Version},
};
use crate::it::rig::{Rig, calm, deploy_shop, shop, signal, until};

/// The time that a version takes by its own measure.
const WORK: &str = "kind: latency, accept: 3x, acceptPlus: +20pp, template: plain";

/// The same by a query of one's own.
const WORK_QUERY: &str = "kind: latency, accept: 3x, acceptPlus: +20pp, query: 'http_request_duration_seconds{service=\"{{service}}\",version=\"{{version}}\"}[{{window}}]'";

/// Goes on by itself unless harm is shown, and takes the proxy for a bad witness on a busy machine.
fn plan(hold: &str) -> String {
    format!("{{ steps: [50%, 100%], hold: {hold}, guards: none, judge: {LAX} }}")
}

const CLASSIC: Nature = Nature {
    is_native: false,
    ..GOOD
};

/// Three times as slow, by its own measure alone.
const SLOW_MS: u64 = 3 * GOOD.work_ms;

/// Two versions, and how the rollout must end.
struct Case {
    name: &'static str,
    metric: &'static str,
    stable: Nature,
    canary: Nature,
    phase: &'static str,
}

const CASES: [Case; 6] = [
    Case {
        name: "slow-native",
        metric: WORK,
        stable: GOOD,
        canary: Nature {
            work_ms: SLOW_MS,
            ..GOOD
        },
        phase: "RolledBack",
    },
    Case {
        name: "slow-query",
        metric: WORK_QUERY,
        stable: GOOD,
        canary: Nature {
            work_ms: SLOW_MS,
            ..GOOD
        },
        phase: "RolledBack",
    },
    Case {
        name: "slow-classic",
        metric: WORK,
        stable: CLASSIC,
        canary: Nature {
            work_ms: SLOW_MS,
            ..CLASSIC
        },
        phase: "RolledBack",
    },
    Case {
        name: "fine-native",
        metric: WORK,
        stable: GOOD,
        canary: GOOD,
        phase: "Completed",
    },
    Case {
        name: "fine-proxy",
        metric: "kind: latency, accept: 3x, acceptPlus: +20pp, template: haldane",
        stable: GOOD,
        canary: GOOD,
        phase: "Completed",
    },
    // All of the canary's lie in one bucket, within which stable's lie on both sides of any bound.
    Case {
        name: "other-bounds",
        metric: WORK,
        stable: GOOD,
        canary: Nature {
            bounds: &[1.0, 10.0],
            ..CLASSIC
        },
        phase: "Progressing",
    },
];

#[test]
fn a_canary_is_judged_by_the_time_that_it_measures_itself() {
    let _calm = calm();
    let rig = Rig::new();
    let prometheus = Prometheus::start(&rig, &[NATIVE]);
    let versions = CASES.map(|case| {
        let stable = Version::start("v1", case.stable);
        let canary = Version::start("v2", case.canary);
        (case, stable, canary)
    });
    let mut services: Vec<Service> = Vec::new();
    let mut targets: Vec<(SocketAddr, &str)> = Vec::new();
    for (case, stable, canary) in &versions {
        let service = Service::new(case.name, stable.addr, prometheus.addr);
        // What is to be taken back is so long before its time.
        let hold = match case.phase {
            "Completed" => "12s",
            _ => "2m",
        };
        services.push(service.metric("work", case.metric).rollout(&plan(hold)));
        targets.extend([(stable.addr, case.name), (canary.addr, case.name)]);
    }
    let real = real(prometheus.addr);
    services.push(real);
    let stand = Stand::start(&rig, prometheus, &services, Duration::from_millis(4));
    targets.push((stand.metrics, ""));
    targets.extend(shops(&rig, "v1"));
    stand.prometheus.scrape(&targets);
    for (case, _, canary) in &versions {
        stand.deploy(case.name, canary);
    }
    let wish = deploy_shop("v2", "good");
    stand.daemon.api.deploy("real", &wish).unwrap();
    let canaries = until("the canary runs", || {
        Some(shops(&rig, "v2")).filter(|shops| shops.len() == 2)
    });
    targets.extend(canaries);
    stand.prometheus.scrape(&targets);
    restart_a_canary(&rig, &stand);
    for case in &CASES {
        check(&stand, case);
    }
    let name = ["real".to_owned()];
    stand.until("completed", &name, |rollout| {
        assert_ne!(verdict(rollout), Some(Verdict::Fail), "{}", told(rollout));
        rollout.phase == "Completed"
    });
    stand.stop(&rig);
}

#[track_caller]
fn check(stand: &Stand, case: &Case) {
    let name = [case.name.to_owned()];
    if case.phase != "Progressing" {
        stand.until("over", &name, |rollout| rollout.is_over);
    }
    let rollouts = stand.rollouts();
    let (_, rollout) = rollouts.iter().find(|(of, _)| of == case.name).unwrap();
    let judgement = rollout.judgement.as_ref().unwrap();
    let told = told(rollout);
    assert_eq!(rollout.phase, case.phase, "{}: {told}", case.name);
    let metrics = &judgement.comparison.as_ref().unwrap().metrics;
    let work = metrics.iter().find(|one| one.name == "work").unwrap();
    match case.phase {
        "RolledBack" => {
            let is_by_work = judgement.reason.contains("worse: work ");
            assert!(is_by_work, "{}: {told}", case.name);
        }
        "Completed" => assert_eq!(work.verdict, Verdict::Pass, "{}: {told}", case.name),
        _ => stand.until("known for other bounds", &name, |rollout| {
            let judgement = rollout.judgement.as_ref();
            judgement.is_some_and(|one| {
                one.verdict == Verdict::Inconclusive && one.reason.contains("different bounds")
            })
        }),
    }
}

/// A service of real shops, which Prometheus asks themselves.
fn real(prometheus: SocketAddr) -> Service {
    let run = serde_json::to_string(&shop("v1", "good")).unwrap();
    let service = Service::new("real", prometheus, prometheus)
        .metric("work", WORK)
        .metric(
            "failed",
            "kind: ratio, accept: 20x, acceptPlus: +50pp, template: plain",
        )
        .rollout(&plan("10s"));
    Service {
        stable: format!("{{ version: v1, run: {run}, replicas: 2 }}"),
        ..service
    }
}

/// Returns where the shops of a version tell their metrics.
fn shops(rig: &Rig, version: &str) -> Vec<(SocketAddr, &'static str)> {
    let shops = rig.shops(version);
    let ports = shops.iter().filter_map(|shop| shop.option("--port"));
    let addrs = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap())));
    addrs.map(|addr| (addr, "real")).collect()
}

/// Kills a process of the canary while it is judged: its counters begin at zero again.
fn restart_a_canary(rig: &Rig, stand: &Stand) {
    let half = haldane_core::Weight::from_percent(50);
    stand.daemon.api.wait_weight("real", half);
    let before = rig.shops("v2");
    signal(before[0].pid, Signal::KILL);
    until("another one runs", || {
        let now = rig.shops("v2");
        (now.len() == 2 && !now.contains(&before[0])).then_some(())
    });
}
