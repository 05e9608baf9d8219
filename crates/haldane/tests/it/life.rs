//! The daemon's own life: one per directory, told by signals, gone without a trace.

use std::{net::TcpListener, process::Output, thread::spawn};

use haldane_api::http::Answer;
use rustix::process::Signal;

use crate::it::{
    api::Api,
    http::get,
    rig::{Rig, free_addr, shop, shop_file, until},
};

/// How many requests are in flight when the daemon is told to end.
const IN_FLIGHT: usize = 20;

const PLAN: &str = "{ steps: [50%, 100%], hold: 200ms, guards: none }";

fn up(rig: &Rig) -> Output {
    let file = rig.path("haldane.yaml");
    let mut command = rig.haldane(&["up", "-f", file.to_str().unwrap()]);
    command.output().unwrap()
}

#[track_caller]
fn check_refused(output: &Output, words: &[&str]) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for word in words {
        assert!(told.contains(word), "{word:?} in {told}");
    }
}

/// Returns how many requests the proxy works on.
fn in_flight(api: &Api) -> usize {
    let view = api.service("shop");
    let metrics = api.metrics();
    let name = format!(
        "haldane_proxy_requests_in_flight{{service=\"shop\",version=\"{}\"}} ",
        view.stable.version
    );
    let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
    value.map_or(0, |value| value.parse().unwrap())
}

#[test]
fn a_second_daemon_of_a_directory_names_the_first_and_ends() {
    let rig = Rig::new();
    let addr = free_addr();
    rig.write_file(&shop_file(addr, PLAN));
    let daemon = rig.up();
    daemon.api.wait_ready("shop");
    let before = rig.replicas();
    check_refused(&up(&rig), &[&daemon.pid().to_string()]);
    assert_eq!(rig.replicas(), before);
    assert_eq!(get(addr, "shop", "/products").unwrap().status, 200);
    assert_eq!(daemon.api.daemon().pid.cast_signed(), daemon.pid());
    daemon.stop(&rig);
}

#[test]
fn a_taken_address_is_named_and_nothing_is_left() {
    let rig = Rig::new();
    let addr = free_addr();
    let _taken = TcpListener::bind(addr).unwrap();
    rig.write_file(&shop_file(addr, PLAN));
    check_refused(&up(&rig), &[&addr.to_string(), "in use"]);
    assert_eq!(rig.processes(), Vec::new());
}

/// Checks that requests in flight are answered when the daemon ends so, and that it takes its children along.
fn check_drained(end: impl FnOnce(&Rig, &Api, i32)) {
    let rig = Rig::new();
    let addr = free_addr();
    let slow = serde_json::to_string(&shop("v1", "slow")).unwrap();
    let good = serde_json::to_string(&shop("v1", "good")).unwrap();
    rig.write_file(&shop_file(addr, PLAN).replace(&good, &slow));
    let daemon = rig.up();
    daemon.api.wait_ready("shop");
    let clients: Vec<_> = (0..IN_FLIGHT)
        .map(|_| spawn(move || get(addr, "shop", "/products")))
        .collect();
    until("most requests are in flight", || {
        (in_flight(&daemon.api) >= IN_FLIGHT / 2).then_some(())
    });
    end(&rig, &daemon.api, daemon.pid());
    for client in clients {
        assert_eq!(client.join().unwrap().unwrap().status, 200);
    }
    let status = daemon.wait();
    assert!(status.success(), "{status}");
    assert_eq!(rig.processes(), Vec::new());
}

#[test]
fn sigterm_lets_requests_end_and_takes_the_children_along() {
    check_drained(|_, _, pid| crate::it::rig::signal(pid, Signal::TERM));
}

#[test]
fn an_interrupt_from_the_keyboard_does_the_same() {
    check_drained(|_, _, pid| crate::it::rig::signal(pid, Signal::INT));
}

#[test]
fn down_does_the_same_from_outside() {
    check_drained(|rig, _, _| {
        let output = rig.haldane(&["down"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    });
}

#[test]
fn a_reload_takes_a_good_file_and_leaves_a_broken_one() {
    let rig = Rig::new();
    let addr = free_addr();
    let first = shop_file(addr, PLAN);
    rig.write_file(&first);
    let daemon = rig.up();
    let before = daemon.api.wait_ready("shop");
    let children = rig.replicas();

    rig.write_file(&first.replace("interval: 100ms", "interval: soon"));
    daemon.signal(Signal::HUP);
    until("the broken file is refused", || {
        rig.log().contains("haldane.yaml:5:").then_some(())
    });
    let after = daemon.api.service("shop");
    assert_eq!(
        (&after.stable.version, after.rollout),
        (&before.stable.version, None)
    );
    assert_eq!(rig.replicas(), children);
    assert_eq!(get(addr, "shop", "/products").unwrap().status, 200);

    rig.write_file(&first.replace("v1", "v2"));
    daemon.signal(Signal::HUP);
    until("the rollout begins", || daemon.api.rollout("shop-1").ok());
    let history = daemon.api.wait_over("shop-1");
    assert_eq!(
        (history.phase.as_str(), history.kind.as_str()),
        ("Completed", "apply")
    );
    until("the old version is gone", || {
        rig.shops("v1").is_empty().then_some(())
    });
    let answer = get(addr, "shop", "/products").unwrap();
    assert_eq!(answer.header("x-shop-version"), Some("v2"));
    daemon.stop(&rig);
}

#[test]
fn a_daemon_without_a_file_goes_on_with_what_it_knows() {
    let rig = Rig::new();
    let addr = free_addr();
    rig.write_file(&shop_file(addr, PLAN));
    let daemon = rig.up();
    daemon.api.wait_ready("shop");
    daemon.stop(&rig);
    let daemon = rig.start(rig.haldane(&["up"]));
    daemon.api.wait_ready("shop");
    assert_eq!(get(addr, "shop", "/products").unwrap().status, 200);
    let answer: Answer = daemon.api.post("/v1/down", &()).unwrap();
    assert!(answer.is_durable);
    assert!(daemon.wait().success());
    assert_eq!(rig.processes(), Vec::new());
}
