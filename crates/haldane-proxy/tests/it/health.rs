//! The health checker against endpoints that come and go.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use haldane_proxy::{Health, HealthChecker, Target};
use tokio::{sync::watch, time::timeout};

use crate::{
    endpoint::{Act, TestEndpoint, ok, status},
    rig::nowhere,
    wire::PATIENCE,
};

fn target(id: u64, addr: SocketAddr, path: Option<&str>) -> Target {
    Target {
        id,
        addr,
        path: path.map(str::to_owned),
        host: Some("shop.test".to_owned()),
        interval: Duration::from_millis(20),
        timeout: Duration::from_millis(500),
        healthy_after: 2,
        unhealthy_after: 2,
    }
}

type Watch = watch::Receiver<BTreeMap<SocketAddr, Health>>;

async fn becomes(watch: &mut Watch, addr: SocketAddr, health: Health) {
    let is_so = |report: &BTreeMap<_, _>| report.get(&addr) == Some(&health);
    let waited = timeout(PATIENCE, watch.wait_for(is_so)).await;
    assert!(waited.is_ok(), "{addr} never became {health:?}");
}

#[tokio::test]
async fn an_endpoint_is_as_healthy_as_its_page_says() {
    let is_well = Arc::new(AtomicBool::new(true));
    let page = Arc::clone(&is_well);
    let endpoint = TestEndpoint::start(move |_, _| {
        Act::Send(if page.load(SeqCst) {
            ok("fine")
        } else {
            status(503, "not fine")
        })
    });
    let mut checker = HealthChecker::new();
    let mut watch = checker.watch();
    checker.set_targets(vec![target(1, endpoint.addr, Some("/health"))]);
    becomes(&mut watch, endpoint.addr, Health::Healthy).await;
    let seen = endpoint.seen().remove(0);
    assert_eq!(
        (seen.path(), seen.header("host")),
        ("/health", Some("shop.test"))
    );
    is_well.store(false, SeqCst);
    becomes(&mut watch, endpoint.addr, Health::Unhealthy).await;
    is_well.store(true, SeqCst);
    becomes(&mut watch, endpoint.addr, Health::Healthy).await;
    endpoint.kill();
    becomes(&mut watch, endpoint.addr, Health::Unhealthy).await;
}

#[tokio::test]
async fn without_a_page_an_open_port_is_enough() {
    let endpoint = TestEndpoint::start(|_, _| Act::Close);
    let dead = nowhere();
    let mut checker = HealthChecker::new();
    let mut watch = checker.watch();
    checker.set_targets(vec![target(1, endpoint.addr, None), target(2, dead, None)]);
    becomes(&mut watch, endpoint.addr, Health::Healthy).await;
    becomes(&mut watch, dead, Health::Unhealthy).await;
}

#[tokio::test]
async fn an_endpoint_that_hangs_is_unhealthy() {
    let endpoint =
        TestEndpoint::start(|_, _| Act::Custom(Box::new(|wire| assert!(wire.is_closed()))));
    let mut hasty = target(1, endpoint.addr, Some("/"));
    hasty.timeout = Duration::from_millis(50);
    let mut checker = HealthChecker::new();
    let mut watch = checker.watch();
    checker.set_targets(vec![hasty]);
    becomes(&mut watch, endpoint.addr, Health::Unhealthy).await;
}

#[tokio::test]
async fn only_changes_wake() {
    let endpoint = TestEndpoint::named("v1");
    let mut checker = HealthChecker::new();
    let mut watch = checker.watch();
    checker.set_targets(vec![target(1, endpoint.addr, Some("/"))]);
    becomes(&mut watch, endpoint.addr, Health::Healthy).await;
    watch.mark_unchanged();
    let asked = endpoint.count();
    let more = async {
        while endpoint.count() < asked + 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, more).await.unwrap();
    assert!(!watch.has_changed().unwrap());
}

#[tokio::test]
async fn a_target_keeps_its_verdict_and_a_new_one_starts_without() {
    let (a, b) = (TestEndpoint::named("a"), TestEndpoint::named("b"));
    let mut checker = HealthChecker::new();
    let mut watch = checker.watch();
    checker.set_targets(vec![target(1, a.addr, Some("/"))]);
    becomes(&mut watch, a.addr, Health::Healthy).await;

    checker.set_targets(vec![
        target(1, a.addr, Some("/")),
        target(2, b.addr, Some("/")),
    ]);
    assert_eq!(watch.borrow_and_update()[&a.addr], Health::Healthy);
    assert_eq!(watch.borrow_and_update()[&b.addr], Health::Unknown);
    becomes(&mut watch, b.addr, Health::Healthy).await;

    // Another process at the same address is another target.
    checker.set_targets(vec![target(3, a.addr, Some("/"))]);
    assert_eq!(
        *watch.borrow_and_update(),
        BTreeMap::from([(a.addr, Health::Unknown)])
    );
}
