//! Everything that goes wrong between the daemon and Prometheus, each with a service of its own and all at the same time.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use haldane_core::{Weight, verdict::Verdict};

use super::{
    injector::{Fault, Injector},
    server::Prometheus,
    stand::{Service, Stand, verdict},
    version::{GOOD, Version},
};
use crate::it::rig::{Rig, calm, free_addr};

/// The share of requests that a version did not find.
const LOST: &str = "kind: ratio, accept: 20x, acceptPlus: +50pp, \
    events: 'haldane_proxy_requests_total{service=\"{{service}}\",version=\"{{version}}\",class=\"4xx\"}[10s]', \
    exposure: 'haldane_proxy_requests_total{service=\"{{service}}\",version=\"{{version}}\",origin!=\"client\"}[10s]'";

const FAULTS: [Fault; 29] = [
    // The way there and back.
    Fault::Refused,
    Fault::Hang,
    Fault::Drip,
    Fault::Close,
    Fault::Half,
    Fault::Code(401),
    Fault::Code(404),
    Fault::Code(429),
    Fault::Code(500),
    Fault::Code(503),
    Fault::Page,
    Fault::Redirect,
    Fault::Loop,
    Fault::Bomb,
    Fault::Huge,
    Fault::NotText,
    // Answers without numbers.
    Fault::Empty,
    Fault::NoCanary,
    Fault::Value("NaN"),
    Fault::Value("+Inf"),
    Fault::Value("-Inf"),
    Fault::Value("-3"),
    Fault::Stale,
    Fault::Shifted(3_600),
    Fault::Shifted(-3_600),
    Fault::Partial,
    Fault::IsPartial,
    Fault::Text,
    Fault::Twice,
];

/// How long nothing may pass, or fail, that never had data: longer than the time after which data is old.
const NEVER: Duration = Duration::from_secs(5);

/// How much of one answer may be taken: 8 MiB are read, and the kernel's buffers hold some more.
const TAKEN_MAX: u64 = 32 << 20;

struct Case {
    service: String,
    fault: Fault,
    injector: Injector,
    listen: SocketAddr,
}

#[test]
fn whatever_is_wrong_with_the_answers_nothing_passes_and_nothing_fails() {
    let _calm = calm();
    let rig = Rig::new();
    let prometheus = Prometheus::start(&rig, &[]);
    let [stable, canary] = ["v1", "v2"].map(|name| Version::start(name, GOOD));
    let mut services = Vec::new();
    let mut cases = Vec::new();
    for (number, fault) in FAULTS.into_iter().enumerate() {
        let injector = Injector::start(prometheus.addr);
        injector.set(fault);
        let name = format!("s{number}");
        let service = Service::new(&name, stable.addr, injector.addr).metric("lost", LOST);
        cases.push(Case {
            service: name,
            fault,
            injector,
            listen: service.listen,
        });
        services.push(service);
    }
    let nowhere = nowhere(&stable, prometheus.addr);
    services.extend(nowhere.iter().cloned());
    let stand = Stand::start(&rig, prometheus, &services, Duration::from_millis(60));
    stand.prometheus.scrape(&[(stand.metrics, "")]);
    let all: Vec<String> = services.iter().map(|one| one.name.clone()).collect();
    for name in &all {
        stand.deploy(name, &canary);
    }
    nothing_happens_without_data(&stand, &all);
    for case in &cases {
        case.injector.set(Fault::None);
    }
    let healed: Vec<String> = cases.iter().map(|case| case.service.clone()).collect();
    is_fine(&stand, &healed, "with answers");
    midway(&stand, &cases, &healed);
    // Who was never answered never passed.
    let nowhere: Vec<String> = nowhere.into_iter().map(|one| one.name).collect();
    stand.stays("undecided", &nowhere, Duration::from_millis(1), |rollout| {
        matches!(
            verdict(rollout),
            Some(Verdict::NoData | Verdict::Inconclusive)
        )
    });
    for case in &cases {
        let taken = case.injector.taken();
        assert!(taken <= TAKEN_MAX, "{:?}: {taken} bytes", case.fault);
        assert_ne!(case.listen, case.injector.addr);
    }
    stand.stop(&rig);
}

/// Services whose metric system can't be reached at all, or whose answers are bare numbers.
fn nowhere(stable: &Version, prometheus: SocketAddr) -> Vec<Service> {
    let at = |name: &str, source: &str| Service {
        source: source.to_owned(),
        ..Service::new(name, stable.addr, prometheus).metric("lost", LOST)
    };
    let scalar = Injector::start(prometheus);
    scalar.set(Fault::Scalar);
    vec![
        at("no-name", "http://prometheus.invalid:9090"),
        at("no-tls", &format!("https://{prometheus}")),
        at("nobody", &format!("http://{}", free_addr())),
        at("scalar", &format!("http://{}", scalar.addr)),
    ]
}

/// Checks that rollouts stay where they are while nothing is known.
fn nothing_happens_without_data(stand: &Stand, all: &[String]) {
    let half = Weight::from_percent(50);
    stand.until("at the half", all, |one| {
        one.is_applied && one.weight_bps == half
    });
    stand.stays("undecided", all, NEVER, |one| {
        let is_open = matches!(
            verdict(one),
            None | Some(Verdict::NoData | Verdict::Inconclusive)
        );
        is_open && !one.is_over && one.weight_bps == half
    });
}

/// Checks that data ends with the fault, that nobody is asked without end for it, and that all is well afterwards.
fn midway(stand: &Stand, cases: &[Case], all: &[String]) {
    let since = Instant::now();
    let asked: Vec<u64> = cases.iter().map(|case| case.injector.asked()).collect();
    for case in cases {
        case.injector.set(case.fault);
    }
    stand.until("without data", all, |one| {
        assert_ne!(verdict(one), Some(Verdict::Fail), "{one:?}");
        let judgement = one.judgement.as_ref();
        judgement.is_some_and(|one| one.verdict == Verdict::NoData && one.reason.contains("lost"))
    });
    stand.stays("without data", all, Duration::from_secs(1), |one| {
        verdict(one) == Some(Verdict::NoData)
    });
    // Two versions, two queries, once a second, and three repetitions.
    let most = 4 * (since.elapsed().as_secs() + 2 + 3);
    for (case, before) in cases.iter().zip(asked) {
        let asked = case.injector.asked() - before;
        assert!(
            asked <= most,
            "{:?}: asked {asked} times, not {most}",
            case.fault
        );
        case.injector.set(Fault::None);
    }
    is_fine(stand, all, "again");
}

#[track_caller]
fn is_fine(stand: &Stand, all: &[String], when: &str) {
    stand.until(&format!("fine {when}"), all, |one| {
        assert_ne!(verdict(one), Some(Verdict::Fail), "{one:?}");
        verdict(one) == Some(Verdict::Pass)
    });
}
