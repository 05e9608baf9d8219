//! What versions measure of themselves, as classic and as native histograms: a canary that is slower by nothing else is taken back.

use std::{net::SocketAddr, time::Duration};

use haldane_api::http::CommandName;
use haldane_core::{Weight, verdict::Verdict};
use rustix::process::Signal;

use super::{
    server::{NATIVE, Prometheus, ask},
    stand::{LAX, Service, Stand, told, verdict},
    version::{GOOD, Nature, Version},
};
use crate::it::rig::{Rig, calm, deploy_shop, shop, signal, until};

/// The time that a version takes by its own measure.
const WORK: &str = "kind: latency, accept: 3x, acceptPlus: +20pp, template: plain";

/// The same by a query of one's own.
const WORK_QUERY: &str = "kind: latency, accept: 3x, acceptPlus: +20pp, query: 'http_request_duration_seconds{service=\"{{service}}\",version=\"{{version}}\"}[{{window}}]'";

/// Holds so long, and takes the proxy for a bad witness on a busy machine.
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
        phase: "Paused",
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
        let service = service.metric("work", case.metric);
        services.push(service.rollout(&plan("untilResumed")));
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
    // The shop's and the proxy's own.
    for query in [
        "http_request_duration_seconds{service=%22real%22,version=%22v2%22}",
        "haldane_proxy_request_duration_seconds{service=%22real%22,version=%22v2%22}",
    ] {
        until("it is stored as a native histogram", || {
            let path = format!("/api/v1/query?query={query}");
            let answer = ask(stand.prometheus.addr, &path)?;
            answer.text().contains("\"histogram\":[").then_some(())
        });
    }
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
    if case.phase == "Completed" {
        promote_once_fine(stand, &name);
    }
    if case.phase != "Paused" {
        stand.until("over", &name, |rollout| rollout.is_over);
    }
    let rollouts = stand.rollouts();
    let (_, rollout) = rollouts.iter().find(|(of, _)| of == case.name).unwrap();
    let judgement = rollout.judgement.as_ref().unwrap();
    let told = told(rollout);
    assert_eq!(rollout.phase, case.phase, "{}: {told}", case.name);
    match case.phase {
        "RolledBack" => {
            let is_by_work = judgement.reason.contains("worse: work ");
            assert!(is_by_work, "{}: {told}", case.name);
        }
        "Completed" => {}
        _ => stand.until("known for other bounds", &name, |rollout| {
            let judgement = rollout.judgement.as_ref();
            judgement.is_some_and(|one| {
                one.verdict == Verdict::Inconclusive && one.reason.contains("different bounds")
            })
        }),
    }
}

/// Waits until the metric alone has shown that the canary is fine, and goes on as a person does.
fn promote_once_fine(stand: &Stand, name: &[String; 1]) {
    stand.until("fine", name, |rollout| {
        assert!(!rollout.is_over, "{}", told(rollout));
        let judgement = rollout.judgement.as_ref();
        let comparison = judgement.and_then(|one| one.comparison.as_ref());
        comparison.is_some_and(|one| {
            let mut metrics = one.metrics.iter();
            metrics.any(|one| one.name == "work" && one.verdict == Verdict::Pass)
        })
    });
    let [service] = name;
    let promote = || stand.daemon.api.command(service, CommandName::Promote);
    promote().unwrap();
    stand.until("at the end", name, |rollout| {
        rollout.is_applied && rollout.weight_bps == Weight::FULL
    });
    promote().unwrap();
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
    let half = Weight::from_percent(50);
    stand.daemon.api.wait_weight("real", half);
    let before = rig.shops("v2");
    signal(before[0].pid, Signal::KILL);
    until("another one runs", || {
        let now = rig.shops("v2");
        (now.len() == 2 && !now.contains(&before[0])).then_some(())
    });
}
