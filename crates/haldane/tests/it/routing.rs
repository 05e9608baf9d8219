//! Several services behind one address, and versions that run elsewhere.

use std::{net::SocketAddr, time::Duration};

use haldane_api::http::DeployRequest;
use rustix::process::Signal;

use crate::it::{
    http::get,
    load::{Load, Seen, tally},
    rig::{Daemon, Rig, deploy_shop, deploy_url, free_addr, shop, signal, until},
};

#[test]
fn one_listener_serves_services_by_host_and_path() {
    let rig = Rig::new();
    let addr = free_addr();
    let service = |name: &str, place: &str| {
        let run = serde_json::to_string(&shop(name, "good")).unwrap();
        format!(
            "  {name}:\n    listen: {addr}\n    {place}\n    stable: {{ version: {name}, run: {run} }}\n    \
             health: {{ path: /health, interval: 100ms }}\n"
        )
    };
    let services = [
        service("auth", "host: auth.test"),
        service("shop", "host: shop.test"),
        service("cart", "{ host: shop.test, path: /cart }"),
        service("wild", "host: \"*.wild.test\""),
    ];
    let text = services.concat().replace(
        "{ host: shop.test, path: /cart }",
        "host: shop.test\n    path: /cart",
    );
    rig.write_file(&format!("services:\n{text}"));
    let daemon = rig.up();
    for name in ["auth", "shop", "cart", "wild"] {
        daemon.api.wait_ready(name);
    }
    let check = |host: &str, path: &str, expected: Option<&str>| {
        let answer = get(addr, host, path).unwrap();
        assert_eq!(
            answer.header("x-shop-version"),
            expected,
            "{host}{path}: {answer:?}"
        );
        assert_eq!(
            answer.status,
            if expected.is_some() { 200 } else { 404 },
            "{host}{path}"
        );
    };
    check("auth.test", "/products", Some("auth"));
    check("AUTH.test:80", "/cart", Some("auth"));
    check("shop.test", "/products", Some("shop"));
    check("shop.test", "/cart", Some("cart"));
    check("a.wild.test", "/cart", Some("wild"));
    check("other.test", "/products", None);
    check("wild.test", "/products", None);
    // A rollout of one service is none of another's.
    let rollout = serde_json::json!({ "steps": ["100%"], "hold": "100ms", "guards": "none" });
    let request = DeployRequest {
        rollout: Some(rollout),
        ..deploy_shop("cart2", "good")
    };
    daemon.api.deploy("cart", &request).unwrap();
    assert_eq!(daemon.api.wait_over("cart-1").phase, "Completed");
    check("shop.test", "/cart", Some("cart2"));
    check("shop.test", "/products", Some("shop"));
    daemon.stop(&rig);
}

/// Starts a shop of the test's own; returns where it listens.
fn start_shop(rig: &Rig, version: &str, behavior: &str) -> (Daemon, SocketAddr) {
    let addr = free_addr();
    let port = addr.port().to_string();
    let args = [
        "shop",
        "--port",
        &port,
        "--version",
        version,
        "--behavior",
        behavior,
    ];
    let shop = rig.spawn(rig.haldane(&args));
    until("the shop answers", || get(addr, "shop", "/health").ok());
    (shop, addr)
}

#[test]
fn versions_that_run_elsewhere_are_promoted_and_rolled_back() {
    let rig = Rig::new();
    let addr = free_addr();
    let (one, two, bad) = (
        start_shop(&rig, "v1", "good"),
        start_shop(&rig, "v2", "good"),
        start_shop(&rig, "v3", "errors"),
    );
    rig.write_file(&format!(
        "services:
  shop:
    listen: {addr}
    stable: {{ version: v1, url: \"http://{}\" }}
    health: {{ path: /health, interval: 100ms }}
    rollout:
      steps: [25%, 100%]
      hold: 1s
      guards: {{ errorRate: 5% }}
      sampling: {{ window: 10s, requestsMin: 20 }}
",
        one.1
    ));
    let daemon = rig.up();
    daemon.api.wait_ready("shop");
    let load = Load::start(addr, 4, Duration::from_millis(5));
    daemon.api.deploy("shop", &deploy_url("v2", two.1)).unwrap();
    assert_eq!(daemon.api.wait_over("shop-1").phase, "Completed");
    let seen = load.stop();
    assert!(seen.iter().all(Seen::is_good), "{:?}", tally(&seen));
    assert_eq!(
        get(addr, "shop", "/products")
            .unwrap()
            .header("x-shop-version"),
        Some("v2")
    );

    let load = Load::start(addr, 4, Duration::from_millis(5));
    daemon.api.deploy("shop", &deploy_url("v3", bad.1)).unwrap();
    let history = daemon.api.wait_over("shop-2");
    let seen = load.stop();
    assert_eq!(history.phase, "RolledBack", "{history:?}");
    assert!(history.message.contains("errors: "), "{history:?}");
    let errors = seen.iter().filter(|one| !one.is_good());
    assert!(
        errors.clone().all(|one| one.version() == Some("v3")),
        "{:?}",
        tally(&seen)
    );
    assert!(errors.count() > 0);
    assert_eq!(
        get(addr, "shop", "/products")
            .unwrap()
            .header("x-shop-version"),
        Some("v2")
    );
    daemon.signal(Signal::TERM);
    assert!(daemon.wait().success());
    // They were there before the daemon, and outlive it.
    for (shop, addr) in [one, two, bad] {
        assert_eq!(get(addr, "shop", "/health").unwrap().status, 200);
        signal(shop.pid(), Signal::TERM);
        assert!(shop.wait().success());
    }
}
