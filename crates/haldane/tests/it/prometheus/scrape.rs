//! What goes wrong between Prometheus and the services: targets that are gone, traffic that ends, and labels that are others'.

use std::{net::SocketAddr, time::Duration};

use haldane_api::http::CommandName;
use haldane_core::{Weight, verdict::Verdict};

use super::{
    server::Prometheus,
    stand::{HALF, LAX, Service, Stand, verdict},
    version::{GOOD, Version},
};
use crate::it::{
    load::Load,
    rig::{Rig, calm},
};

/// Failures of the template, of which there are none: what is looked at is whether there is data.
const FAILED: &str = "kind: ratio, accept: 20x, acceptPlus: +50pp, template: plain";

/// Much longer than the hold, and than the time after which data is old.
const NEVER: Duration = Duration::from_secs(6);

/// Waits for a person between two steps.
fn in_two() -> String {
    format!(
        "{{ steps: [20%, hold: untilResumed, 50%, hold: 2s, 100%, hold: 2s], guards: none, judge: {LAX} }}"
    )
}

/// Stays at a weight that tells whose requests are whose.
fn small() -> String {
    format!("{{ steps: [20%, 100%], hold: 40s, guards: none, judge: {LAX} }}")
}

/// A service, its versions, and what else Prometheus scrapes of it.
struct Case {
    name: &'static str,
    rollout: String,
    /// What stable and the canary call themselves.
    stable: Version,
    canary: Version,
    others: Vec<Version>,
}

impl Case {
    fn new(name: &'static str, rollout: String, names: [&'static str; 2]) -> Self {
        let [stable, canary] = names.map(|name| Version::start(name, GOOD));
        Self {
            name,
            rollout,
            stable,
            canary,
            others: Vec::new(),
        }
    }

    fn service(&self, prometheus: SocketAddr) -> Service {
        let urls = [&self.stable].into_iter().chain(&self.others);
        let urls: Vec<String> = urls.map(|one| format!("'http://{}'", one.addr)).collect();
        let service = Service::new(self.name, self.stable.addr, prometheus);
        let service = service.metric("failed", FAILED).rollout(&self.rollout);
        Service {
            stable: format!("{{ version: v1, urls: [{}] }}", urls.join(", ")),
            ..service
        }
    }

    fn targets(&self) -> impl Iterator<Item = (SocketAddr, &str)> {
        let versions = [&self.stable, &self.canary].into_iter();
        versions
            .chain(&self.others)
            .map(|version| (version.addr, self.name))
    }
}

#[test]
fn what_prometheus_can_not_know_is_no_pass_and_no_failure() {
    let _calm = calm();
    let rig = Rig::new();
    let prometheus = Prometheus::start(&rig, &[]);
    let right = ["v1", "v2"];
    let cases = [
        Case::new("gone", HALF.to_owned(), right),
        Case::new("idle", in_two(), right),
        Case::new("swapped", small(), ["v2", "v1"]),
        Case {
            // A process of stable that calls itself the canary.
            others: vec![Version::start("v2", GOOD)],
            ..Case::new("old", small(), right)
        },
    ];
    let services = cases.each_ref().map(|case| case.service(prometheus.addr));
    let mut stand = Stand::start(&rig, prometheus, &services, Duration::from_millis(10));
    let targets: Vec<_> = cases.iter().flat_map(Case::targets).collect();
    stand.prometheus.scrape(&targets);
    for case in &cases {
        stand.deploy(case.name, &case.canary);
    }
    let [gone, idle] = ["gone", "idle"].map(|name| [name.to_owned()]);
    for name in [&gone, &idle] {
        stand.until("fine", name, |one| verdict(one) == Some(Verdict::Pass));
    }
    let [gone_canary, ..] = cases.each_ref().map(|case| &case.canary);
    gone_canary.mute(true);
    stand.load.remove(1).stop();
    is_without_data(&stand, &gone);
    gone_canary.mute(false);
    stand.until("fine again", &gone, |one| {
        verdict(one) == Some(Verdict::Pass)
    });
    without_traffic(&mut stand, &idle, services[1].listen);
    let wrong = ["swapped", "old"].map(str::to_owned);
    is_without_data(&stand, &wrong);
    let fifth = Weight::from_percent(20);
    stand.stays("where it is", &wrong, Duration::from_millis(1), |one| {
        !one.is_over && one.weight_bps == fifth
    });
    for name in wrong {
        let is_told = |line: &str| {
            line.contains(&format!("rollout={name}-1 ")) && line.contains("labels are swapped")
        };
        assert!(rig.log().lines().any(is_told), "{name}");
    }
    stand.stop(&rig);
}

fn is_without_data(stand: &Stand, names: &[String]) {
    stand.until("without data", names, |one| {
        assert_ne!(verdict(one), Some(Verdict::Fail), "{one:?}");
        let judgement = one.judgement.as_ref();
        judgement.is_some_and(|one| one.verdict == Verdict::NoData && one.reason.contains("failed"))
    });
}

/// Goes on to a step for which there is no traffic, until there is some.
fn without_traffic(stand: &mut Stand, idle: &[String; 1], listen: SocketAddr) {
    let [name] = idle;
    let answer = stand.daemon.api.command(name, CommandName::Promote);
    answer.unwrap();
    let half = Weight::from_percent(50);
    stand.until("at the half", idle, |one| {
        one.is_applied && one.weight_bps == half
    });
    stand.stays("at the half", idle, NEVER, |one| {
        assert_ne!(verdict(one), Some(Verdict::Fail), "{one:?}");
        !one.is_over && one.weight_bps == half
    });
    stand
        .load
        .push(Load::start(listen, 1, Duration::from_millis(10)));
    stand.until("completed", idle, |one| one.phase == "Completed");
}
