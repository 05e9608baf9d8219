//! A real Prometheus that scrapes the daemon and the services' own metrics, and everything that goes wrong between it and the daemon.

mod faults;
mod injector;
mod native;
mod restart;
mod scrape;
mod server;
mod stand;
mod version;

use std::{
    io::Write as _,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use haldane_core::{Weight, verdict::Verdict};

pub(super) use self::server::Prometheus;
use self::{
    injector::{Fault, Injector},
    server::program,
    stand::{BRISK, Service, Stand},
    version::{GOOD, Nature, Version},
};
use crate::it::{
    http,
    load::Load,
    rig::{Rig, calm, deploy_shop, free_addr, shop_file},
};

/// How long a metric system's data may take to reach a verdict: scrapes, questions and the time after which data is old.
const SOON: Duration = Duration::from_secs(60);

/// The share of requests that a version did not find, as the proxy counts it.
const LOST: &str = "kind: ratio, \
    events: 'haldane_proxy_requests_total{service=\"{{service}}\",version=\"{{version}}\",class=\"4xx\"}[{{window}}]', \
    exposure: 'haldane_proxy_requests_total{service=\"{{service}}\",version=\"{{version}}\",origin!=\"client\"}[{{window}}]'";

#[test]
fn a_canary_is_rolled_back_by_what_only_prometheus_sees() {
    let _calm = calm();
    let rig = Rig::new();
    let prometheus = Prometheus::start(&rig, &[]);
    let stable = Version::start("v1", GOOD);
    let canary = Version::start("v2", Nature { every: 5, ..GOOD });
    let rollout = "{ steps: [50%, 100%], hold: 2m, guards: none, judge: sequential }";
    let service = Service::new("shop", stable.addr, prometheus.addr)
        .metric("lost", LOST)
        .rollout(rollout);
    let stand = Stand::start(&rig, prometheus, &[service], Duration::from_millis(2));
    stand.prometheus.scrape(&[(stand.metrics, "")]);
    stand.deploy("shop", &canary);
    let shop = ["shop".to_owned()];
    stand.until("over", &shop, |rollout| rollout.is_over);
    let over = stand.rollouts().remove(0).1;
    assert_eq!(over.phase, "RolledBack", "{over:?}");
    let judgement = over.judgement.unwrap();
    assert_eq!(judgement.verdict, Verdict::Fail);
    assert!(judgement.reason.contains("lost"), "{}", judgement.reason);
    stand.stop(&rig);
}

#[test]
fn without_answers_nothing_passes_and_with_them_it_does() {
    let _calm = calm();
    let rig = Rig::new();
    let prometheus = Prometheus::start(&rig, &[]);
    let injector = Injector::start(prometheus.addr);
    injector.set(Fault::Empty);
    let [stable, canary] = ["v1", "v2"].map(|name| Version::start(name, GOOD));
    let service = Service::new("shop", stable.addr, injector.addr)
        .metric("lost", LOST)
        .rollout(BRISK);
    let stand = Stand::start(&rig, prometheus, &[service], Duration::from_millis(2));
    stand.prometheus.scrape(&[(stand.metrics, "")]);
    stand.deploy("shop", &canary);
    let half = Weight::from_percent(50);
    stand.daemon.api.wait_weight("shop", half);
    let since = Instant::now();
    // Much longer than the hold.
    while since.elapsed() < Duration::from_secs(8) {
        let rollout = stand.rollouts().remove(0).1;
        assert_eq!(
            (rollout.weight_bps, rollout.is_over),
            (half, false),
            "{rollout:?}"
        );
        sleep(Duration::from_millis(200));
    }
    check_metrics(&rig, 1, "missing");
    injector.set(Fault::None);
    check_metrics(&rig, 0, "\"lost\"");
    let shop = ["shop".to_owned()];
    stand.until("over", &shop, |rollout| rollout.is_over);
    let over = stand.rollouts().remove(0).1;
    assert_eq!(over.phase, "Completed", "{over:?}");
    stand.stop(&rig);
}

/// Asks by the command line.
fn check_metrics(rig: &Rig, code: i32, word: &str) {
    let file = rig.path("haldane.yaml");
    let args = [
        "metrics",
        "check",
        "-f",
        file.to_str().unwrap(),
        "shop",
        "--canary",
        "v2",
        "-o",
        "json",
    ];
    let output = rig.haldane(&args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text} {told}");
    assert!(text.contains(word), "{text}");
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    let _calm = calm();
    let rig = Rig::new();
    let addr = free_addr();
    rig.write_file(&shop_file(
        addr,
        "{ steps: [50%, 100%], hold: untilResumed }",
    ));
    let daemon = rig.up();
    daemon.api.wait_ready("shop");
    daemon
        .api
        .deploy("shop", &deploy_shop("v2", "good"))
        .unwrap();
    let load = Load::start(addr, 2, Duration::from_millis(2));
    daemon.api.wait_weight("shop", Weight::from_percent(50));
    load.gather(200);
    promtool(&daemon.api.metrics(), "haldane_proxy_requests_total");
    for version in ["v1", "v2"] {
        let shops = rig.shops(version);
        let port = shops[0].option("--port").unwrap().parse::<u16>().unwrap();
        let metrics = http::get(([127, 0, 0, 1], port).into(), "shop", "/metrics");
        promtool(&metrics.unwrap().text(), "http_requests_total");
    }
    load.stop();
    daemon.stop(&rig);
}

/// Checks a text by Prometheus' own tool.
#[track_caller]
fn promtool(text: &str, word: &str) {
    assert!(text.contains(word), "{text}");
    let mut tool = Command::new(program("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    tool.stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = tool.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.is_empty(), "{told}{text}");
}
