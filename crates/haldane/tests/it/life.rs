//! The daemon's own life: one per directory, told by signals, gone without a trace.

use std::{fs, net::TcpListener, thread::spawn};

use haldane_api::http::Answer;
use haldane_core::Weight;
use rustix::process::Signal;

use crate::it::{
    api::Api,
    http::get,
    rig::{Rig, check_refused, deploy_shop, free_addr, shop, shop_file, until, up_to_end},
};

/// How many requests are in flight when the daemon is told to end.
const IN_FLIGHT: usize = 20;

const PLAN: &str = "{ steps: [50%, 100%], hold: 200ms, guards: none }";

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
    check_refused(&up_to_end(&rig), &[&daemon.pid().to_string()]);
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
    check_refused(&up_to_end(&rig), &[&addr.to_string(), "in use"]);
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
    // Each has reached the daemon: what it answered already is no matter, as long as some are left.
    until("all requests have come, and some are in flight", || {
        let answered = clients.iter().filter(|client| client.is_finished()).count();
        let in_flight = in_flight(&daemon.api);
        (in_flight >= IN_FLIGHT / 4 && in_flight + answered >= IN_FLIGHT).then_some(())
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

#[test]
fn a_start_with_a_wrong_file_goes_on_with_what_was_applied_last() {
    let rig = Rig::new();
    let addr = free_addr();
    let plan = "{ steps: [50%, 100%], hold: untilResumed, guards: none }";
    let good = shop_file(addr, plan);
    rig.write_file(&good);
    let mut daemon = rig.up();
    daemon.api.wait_ready("shop");
    let request = deploy_shop("v2", "good");
    daemon.api.deploy("shop", &request).unwrap();
    let half = Weight::try_from_bps(5_000).unwrap();
    daemon.api.wait_weight("shop", half);
    let children = rig.replicas();

    let broken = good.replace("interval: 100ms", "interval: soon");
    let wrong = [
        (Some(broken.as_str()), "haldane.yaml:5:"),
        (Some("services:\n\tshop: {}\n"), "haldane.yaml:2:"),
        (None, "No such file"),
    ];
    for (text, told) in wrong {
        daemon.kill();
        match text {
            Some(text) => rig.write_file(text),
            None => fs::remove_file(rig.path("haldane.yaml")).unwrap(),
        }
        let before = rig.log().len();
        daemon = rig.up();
        daemon.api.wait_weight("shop", half);
        until("the proxy serves", || {
            let answer = get(addr, "shop", "/products").ok()?;
            (answer.status == 200).then_some(())
        });
        assert_eq!(rig.replicas(), children);
        let log = rig.log().split_off(before);
        assert!(log.contains("what the store knows goes on"), "{log}");
        assert!(log.contains(told), "{told:?} in {log}");
    }

    // The file is read again as soon as it is mended.
    rig.write_file(&good.replace("interval: 100ms", "interval: 200ms"));
    let before = rig.log().len();
    daemon.signal(Signal::HUP);
    until("the mended file is taken", || {
        let log = rig.log().split_off(before);
        log.contains("shop: changed in its settings").then_some(())
    });
    daemon.api.wait_weight("shop", half);
    assert_eq!(rig.replicas(), children);
    daemon.stop(&rig);
}

#[test]
fn a_first_start_with_a_wrong_file_ends_and_leaves_nothing() {
    let rig = Rig::new();
    let addr = free_addr();
    let good = shop_file(addr, PLAN);
    check_refused(&up_to_end(&rig), &["haldane.yaml", "No such file"]);
    rig.write_file(&good.replace("interval: 100ms", "interval: soon"));
    check_refused(&up_to_end(&rig), &["haldane.yaml:5:", "interval"]);
    assert_eq!(rig.processes(), Vec::new());
    rig.write_file(&good);
    let daemon = rig.up();
    daemon.api.wait_ready("shop");
    assert_eq!(get(addr, "shop", "/products").unwrap().status, 200);
    daemon.stop(&rig);
}
