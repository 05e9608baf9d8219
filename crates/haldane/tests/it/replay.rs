//! Rollouts of real processes, explained and replayed by the command line.

use std::{fs, process::Output, time::Duration};

use haldane_core::Weight;
use jiff::Timestamp;
use serde_json::Value;

use crate::it::{
    load::Load,
    prometheus::Prometheus,
    rig::{Rig, calm, deploy_shop, free_addr, shop_file, within},
};

/// A plan whose canary is found out within seconds.
const JUDGED: &str = "{ steps: [50%, 100%], hold: 60s, guards: { errorRate: 5% } }";

/// How long Prometheus may take to have scraped what a test needs.
const SCRAPED: Duration = Duration::from_secs(60);

/// Runs a command to its end, which must be a good one, and returns its JSON.
#[track_caller]
fn json(rig: &Rig, args: &[&str]) -> Value {
    let output = rig.haldane(args).args(["-o", "json"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {told}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn judge<'a>(report: &'a Value, name: &str) -> &'a Value {
    let judges = report["judges"].as_array().unwrap();
    let found = judges.iter().find(|told| told["judge"] == name);
    found.unwrap_or_else(|| panic!("no {name}: {report:#}"))
}

/// Returns the decision to go back.
#[track_caller]
fn rollback(report: &Value) -> &Value {
    let decisions = report["decisions"].as_array().unwrap();
    let found = decisions.iter().find(|one| one["phase"] == "RollingBack");
    found.unwrap_or_else(|| panic!("no rollback: {report:#}"))
}

#[test]
fn a_rollback_is_decided_again_at_the_same_second_and_to_the_same_bits() {
    let _calm = calm();
    let rig = Rig::new();
    let addr = free_addr();
    rig.write_file(&shop_file(addr, JUDGED));
    let daemon = rig.up();
    daemon.api.wait_ready("shop");
    let load = Load::start(addr, 4, Duration::from_millis(5));
    load.gather(200);
    let wish = deploy_shop("v2", "errors=20%");
    daemon.api.deploy("shop", &wish).unwrap();
    daemon.api.wait_weight("shop", Weight::from_percent(50));
    // A daemon that is killed forgets what it counted; what follows is recorded anew.
    daemon.kill();
    let daemon = rig.up();
    let history = daemon.api.wait_over("shop-1");
    assert_eq!(history.phase, "RolledBack", "{history:#?}");
    let again = &json(&rig, &["explain", "shop"])["recomputation"];
    assert_eq!(again["isSame"], true, "{again:#}");
    let decisions = again["decisions"].as_array().unwrap();
    assert!(
        decisions.iter().all(|one| one["result"] == "Same"),
        "{again:#}"
    );
    let judged = "the state, the judgement and its evidence";
    assert!(
        decisions.iter().any(|one| one["text"] == judged),
        "{again:#}"
    );
    let saved = rig.path("shop-1.ndjson");
    let saved = saved.to_str().unwrap();
    let report = json(&rig, &["replay", "shop", "--save", saved]);
    let (own, decided) = (judge(&report, "haldane"), rollback(&report));
    assert_eq!(
        (&own["verdict"], &own["at"]),
        (&"Fail".into(), &decided["at"]),
        "{report:#}"
    );
    let why = own["why"].as_str().unwrap();
    assert!(
        decided["text"].as_str().unwrap().contains(why),
        "{report:#}"
    );
    // It can be taken along, and another plan be asked.
    assert_eq!(
        json(&rig, &["replay", "--recording", saved])["judges"],
        report["judges"]
    );
    let other = rig.path("other.yaml");
    let lax = JUDGED
        .replace("5%", "90%, p99: 30s")
        .replace("hold", "judge: threshold, hold");
    fs::write(&other, shop_file(addr, &lax)).unwrap();
    let what_if = ["replay", "shop-1", "-f", other.to_str().unwrap()];
    let what_if = json(&rig, &what_if);
    assert_ne!(judge(&what_if, "guards")["verdict"], "Fail", "{what_if:#}");
    load.stop();
    daemon.stop(&rig);
}

/// What is declared of the shop, for a plan that judges.
const DECLARED: &str = "    metrics:
      failed:
        kind: ratio
        source: prom
        events: 'haldane_proxy_requests_total{service=\"{{service}}\",version=\"{{version}}\",class=\"5xx\"}[{{window}}]'
        exposure: 'haldane_proxy_requests_total{service=\"{{service}}\",version=\"{{version}}\",origin!=\"client\"}[{{window}}]'
        interval: 2s
    rollout:";

/// Asks a Prometheus about the past.
fn ask(rig: &Rig, file: &str, url: &str, from: Timestamp) -> Output {
    let (from, to) = (from.to_string(), Timestamp::now().to_string());
    let file = rig.path(file);
    let file = file.to_str().unwrap();
    let args = ["replay", "shop", "-f", file, "--prometheus", url, "--from"];
    let more = [&from, "--to", &to, "--canary", "v2", "-o", "json"];
    rig.haldane(&args).args(more).output().unwrap()
}

/// Returns what everyone says, once those who are quick have taken the canary back.
fn seen_by_all(output: &Output) -> Option<Value> {
    if !output.status.success() {
        // Until both versions were scraped twice there is nothing to count.
        let told = String::from_utf8_lossy(&output.stderr);
        let nothing = "no requests were counted of both versions";
        assert!(told.contains(nothing), "{told}");
        return None;
    }
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let has_failed = |name: &&str| judge(&report, name)["verdict"] == "Fail";
    let quick = ["haldane", "sequential", "guards"];
    quick.iter().all(has_failed).then_some(report)
}

#[test]
fn the_past_is_asked_of_a_prometheus() {
    let _calm = calm();
    let rig = Rig::new();
    let (addr, metrics) = (free_addr(), free_addr());
    let prometheus = Prometheus::start(&rig, &[]);
    prometheus.scrape(&[(metrics, "")]);
    // Nobody judges while it happens.
    let unjudged = "{ steps: [50%, 100%], hold: untilResumed, guards: none, judge: threshold }";
    rig.write_file(&shop_file(addr, unjudged));
    let file = rig.path("haldane.yaml");
    let mut command = rig.haldane(&["up", "-f", file.to_str().unwrap()]);
    command.arg(format!("--metrics-listen={metrics}"));
    let from = Timestamp::now();
    let daemon = rig.start(command);
    daemon.api.wait_ready("shop");
    let load = Load::start(addr, 4, Duration::from_millis(5));
    let wish = deploy_shop("v2", "errors=20%");
    daemon.api.deploy("shop", &wish).unwrap();
    daemon.api.wait_weight("shop", Weight::from_percent(50));
    let text = shop_file(addr, JUDGED).replacen("    rollout:", DECLARED, 1);
    let sources = "sources: { prom: { prometheus: 'http://127.0.0.1:1' } }\n";
    fs::write(rig.path("other.yaml"), format!("{sources}{text}")).unwrap();
    let url = format!("http://{}", prometheus.addr);
    let report = within(SCRAPED, "everyone has seen it", || {
        seen_by_all(&ask(&rig, "other.yaml", &url, from))
    });
    let count = |name: &str| report["canary"][name].as_u64().unwrap();
    let percent = count("errors") * 100 / count("requests");
    assert!((12..28).contains(&percent), "{report:#}");
    assert_eq!(report["stable"]["errors"], 0, "{report:#}");
    let seconds = judge(&report, "haldane")["seconds"].as_u64().unwrap();
    assert!(seconds <= 20, "{report:#}");
    // A file without metrics has nothing to ask for, and where nobody answers that is told.
    let none = ask(&rig, "haldane.yaml", &url, from);
    assert_eq!(none.status.code(), Some(2));
    let dead = ask(&rig, "other.yaml", "http://127.0.0.1:1", from);
    let told = String::from_utf8_lossy(&dead.stderr);
    assert_eq!(dead.status.code(), Some(1));
    assert!(told.contains("asking for failed"), "{told}");
    load.stop();
    drop(prometheus);
    daemon.stop(&rig);
}
