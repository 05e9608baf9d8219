//! Services that lead back to the proxy.

use haldane_proxy::Limit;

use crate::{
    endpoint::TestEndpoint,
    rig::{Rig, arm, config, single, spec},
};

#[test]
fn a_version_that_is_the_proxy_itself_is_told_so() {
    let rig = Rig::start(config());
    rig.publish(spec(vec![arm("v1", 10_000, &[rig.addr])]));
    for client in 1..=3 {
        let response = rig.connect().get("/", "").unwrap();
        assert_eq!((response.status(), response.is_own()), (508, true));
        assert_eq!(
            response.header("proxy-status"),
            Some("haldane; error=proxy_loop_detected")
        );
        assert_eq!(rig.proxy.read().limits[&Limit::Loop], client);
    }
    // The first pass counts against the version that leads nowhere; the second is nobody's.
    let v1 = rig.version("v1");
    assert_eq!((v1.status[4], v1.requests()), (3, 3));
}

#[test]
fn a_canary_that_leads_back_fails_without_hurting_stable() {
    let stable = TestEndpoint::named("v1");
    let rig = Rig::start(config());
    rig.publish(spec(vec![
        arm("v1", 5_000, &[stable.addr]),
        arm("v2", 5_000, &[rig.addr]),
    ]));
    let mut client = rig.connect();
    let statuses: Vec<_> = (0..20)
        .map(|_| client.get("/", "").unwrap().status())
        .collect();
    assert_eq!(statuses.iter().filter(|status| **status == 508).count(), 10);
    assert_eq!(rig.version("v2").failures(), 10);
    assert_eq!(rig.version("v1").failures(), 0);
}

#[test]
fn a_circle_of_two_is_seen_and_a_chain_of_two_is_served() {
    let endpoint = TestEndpoint::named("v1");
    let (first, second) = (Rig::start(config()), Rig::start(config()));
    first.publish(spec(vec![arm("v1", 10_000, &[second.addr])]));
    second.publish(single(&endpoint));
    assert_eq!(first.connect().get("/", "").unwrap().text(), "v1");
    let seen = endpoint.seen().remove(0);
    let via = seen.all("via");
    assert_eq!(via.len(), 2, "{}", seen.head);
    assert!(
        via.iter().all(|line| line.starts_with("1.1 haldane-")) && via[0] != via[1],
        "{via:?}"
    );

    second.publish(spec(vec![arm("v1", 10_000, &[first.addr])]));
    let response = first.connect().get("/", "").unwrap();
    assert_eq!((response.status(), response.is_own()), (508, true));
    assert_eq!(first.proxy.read().limits[&Limit::Loop], 1);
    assert_eq!(second.proxy.read().limits[&Limit::Loop], 0);
}

#[test]
fn the_via_of_others_is_kept() {
    let endpoint = TestEndpoint::named("v1");
    let rig = Rig::with(single(&endpoint));
    rig.connect().get("/", "via: 1.1 edge (x)\r\n").unwrap();
    let seen = endpoint.seen().remove(0);
    assert_eq!(seen.all("via")[0], "1.1 edge (x)");
    assert_eq!(seen.all("via").len(), 2);
}
