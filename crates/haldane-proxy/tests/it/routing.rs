//! Which version a request reaches.

use std::{num::NonZeroUsize, thread};

use haldane_proxy::{
    Config, Conversion, HostPattern, Matcher, Route, Rule, ServiceRoute, ServiceSpec, Table,
    ValueMatch, render_metrics,
};

use crate::{
    endpoint::{Act, TestEndpoint, ok, status},
    rig::{Rig, arm, config, pair, single, spec},
};

#[test]
fn the_split_is_exact_over_each_block() {
    let (stable, canary) = (TestEndpoint::named("v1"), TestEndpoint::named("v2"));
    let rig = Rig::with(pair(&stable, &canary, 500));
    let mut client = rig.connect();
    for block in 1..=10 {
        (0..20).for_each(|_| assert_eq!(client.get("/", "").unwrap().status(), 200));
        assert_eq!((stable.count(), canary.count()), (block * 19, block));
    }
    let (v1, v2) = (rig.version("v1"), rig.version("v2"));
    assert_eq!((v1.requests(), v2.requests()), (190, 10));
    assert_eq!((v1.latency.count(), v2.latency.count()), (190, 10));
}

#[test]
fn three_versions_share_exactly_and_each_thread_on_its_own() {
    let endpoints = ["v1", "v2", "v3"].map(TestEndpoint::named);
    let threads = 2;
    let rig = Rig::start(Config {
        threads: NonZeroUsize::new(threads).unwrap(),
        ..config()
    });
    let [v1, v2, v3] = endpoints.each_ref().map(|endpoint| [endpoint.addr]);
    rig.publish(spec(vec![
        arm("v1", 7_000, &v1),
        arm("v2", 2_000, &v2),
        arm("v3", 1_000, &v3),
    ]));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let mut client = rig.connect();
            thread::spawn(move || (0..50).for_each(|_| drop(client.get("/", "").unwrap())))
        })
        .collect();
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
    let counts = endpoints.each_ref().map(TestEndpoint::count);
    for (count, share) in counts.into_iter().zip([280, 80, 40]) {
        // Each thread may be within a block of ten.
        assert!(count.abs_diff(share) <= 10 * threads, "{counts:?}");
    }
}

#[test]
fn weight_zero_means_none_and_full_means_all() {
    let (stable, canary) = (TestEndpoint::named("v1"), TestEndpoint::named("v2"));
    let rig = Rig::with(pair(&stable, &canary, 0));
    let mut client = rig.connect();
    (0..500).for_each(|_| drop(client.get("/", "").unwrap()));
    assert_eq!((stable.count(), canary.count()), (500, 0));
    rig.publish(pair(&stable, &canary, 10_000));
    (0..500).for_each(|_| drop(client.get("/", "").unwrap()));
    assert_eq!((stable.count(), canary.count()), (500, 500));
}

#[test]
fn an_override_reaches_the_canary_only_where_it_is_allowed() {
    let (stable, canary) = (TestEndpoint::named("v1"), TestEndpoint::named("v2"));
    let mut allowed = pair(&stable, &canary, 0);
    let rig = Rig::with(allowed.clone());
    let mut client = rig.connect();
    let mut check = |path: &str, headers: &str, expected: &str| {
        let response = client.get(path, headers).unwrap();
        assert_eq!(response.text(), expected, "{path} {headers}");
        assert_eq!(response.header("x-haldane-version"), Some(expected));
    };
    check("/", "x-canary: true\r\n", "v2");
    check("/", "x-canary: always\r\n", "v2");
    check("/", "x-canary: v2\r\n", "v2");
    check("/", "cookie: a=b; canary=true\r\n", "v2");
    check("/?a=b&canary=v2", "", "v2");
    check("/", "x-canary: v9\r\n", "v1");
    check("/", "", "v1");

    allowed.arms[1].is_reachable_by_override = false;
    rig.publish(allowed.clone());
    check("/", "x-canary: true\r\n", "v1");
    check("/?canary=v2", "", "v1");

    allowed.arms[1].is_reachable_by_override = true;
    rig.publish(allowed);
    rig.publish(pair(&stable, &canary, 10_000));
    check("/", "x-canary: never\r\n", "v1");
    check("/", "cookie: canary=false\r\n", "v1");
}

#[test]
fn a_rule_comes_before_the_split() {
    let (stable, canary) = (TestEndpoint::named("v1"), TestEndpoint::named("v2"));
    let mut ruled = pair(&stable, &canary, 0);
    let matcher = Matcher::Header(
        "x-team".parse().unwrap(),
        ValueMatch::Exact("red".to_owned()),
    );
    ruled.rules = vec![Rule {
        all_of: vec![matcher],
        to: "v2".parse().unwrap(),
    }];
    let rig = Rig::with(ruled);
    let mut client = rig.connect();
    assert_eq!(client.get("/", "x-team: red\r\n").unwrap().text(), "v2");
    assert_eq!(client.get("/", "x-team: blue\r\n").unwrap().text(), "v1");
    assert_eq!(
        client
            .get("/", "x-team: red\r\nx-canary: never\r\n")
            .unwrap()
            .text(),
        "v1"
    );
}

#[test]
fn hosts_and_paths_lead_to_their_services() {
    let endpoints = ["any", "shop", "cart", "wild"].map(TestEndpoint::named);
    let rig = Rig::start(config());
    let routes = [
        (None, "/any", 0),
        (Some("shop.test"), "/", 1),
        (Some("shop.test"), "/cart", 2),
        (Some("*.test"), "/", 3),
    ];
    let services = endpoints.iter().enumerate().map(|(at, endpoint)| {
        let mut spec = single(endpoint);
        spec.name = format!("s{at}").parse().unwrap();
        ServiceRoute::try_new(spec).unwrap()
    });
    let routes = routes.iter().map(|(host, path, at)| Route {
        listener: None,
        host: host.map(|host| host.parse::<HostPattern>().unwrap()),
        path: path.parse().unwrap(),
        service: format!("s{at}").parse().unwrap(),
    });
    rig.proxy
        .publish(Table::try_new(routes.collect(), services.collect()).unwrap());
    let mut client = rig.connect();
    let mut check = |host: &str, path: &str, expected: &str| {
        client
            .send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n"))
            .unwrap();
        let response = client.response("GET").unwrap();
        let got = if response.is_own() {
            response.status().to_string()
        } else {
            response.text()
        };
        assert_eq!(got, expected, "{host}{path}");
    };
    check("shop.test", "/", "shop");
    check("SHOP.test:8080", "/cart/1", "cart");
    check("shop.test", "/cartoon", "shop");
    check("other.test", "/", "wild");
    check("elsewhere", "/any/x", "any");
    check("elsewhere", "/", "404");
    assert_eq!(rig.proxy.read().limits[&haldane_proxy::Limit::NotFound], 1);
}

#[test]
fn an_empty_table_answers_404() {
    let rig = Rig::start(config());
    let response = rig.connect().get("/", "").unwrap();
    assert_eq!(response.status(), 404);
    assert_eq!(
        response.header("proxy-status"),
        Some("haldane; error=destination_not_found")
    );
}

#[test]
fn unmeasured_paths_are_served_but_not_counted() {
    let (stable, canary) = (TestEndpoint::named("v1"), TestEndpoint::named("v2"));
    let rig = Rig::with(pair(&stable, &canary, 5_000));
    let mut client = rig.connect();
    for _ in 0..10 {
        assert_eq!(client.get("/health/live", "").unwrap().status(), 200);
        assert_eq!(client.get("/", "").unwrap().status(), 200);
    }
    let (v1, v2) = (rig.version("v1"), rig.version("v2"));
    assert_eq!(
        (v1.requests(), v2.requests()),
        (5, 5),
        "measured requests have blocks of their own"
    );
    assert_eq!((v1.unmeasured, v2.unmeasured), (5, 5));
    assert_eq!(v1.latency.count() + v2.latency.count(), 10);
}

#[test]
fn who_asks_for_a_version_by_name_is_counted_only_where_nothing_is_split() {
    let (stable, canary) = (TestEndpoint::named("v1"), TestEndpoint::named("v2"));
    let rig = Rig::with(pair(&stable, &canary, 0));
    let mut client = rig.connect();
    let mut ask = |headers: &str| {
        (0..10).for_each(|_| drop(client.get("/", headers).unwrap()));
        let version = rig.version("v2");
        (version.requests(), version.unmeasured)
    };
    assert_eq!(ask("x-canary: true\r\n"), (10, 0), "nothing else tests it");
    rig.publish(pair(&stable, &canary, 5_000));
    assert_eq!(ask("x-canary: true\r\n"), (10, 10));
    assert_eq!(
        ask(""),
        (15, 10),
        "the split goes on as if nobody had asked"
    );
    rig.publish(pair(&stable, &canary, 10_000));
    assert_eq!(ask("x-canary: true\r\n"), (25, 10));
}

#[test]
fn conversions_are_counted_for_the_version_that_answered() {
    let shop = |name: &'static str, checkout: u16| {
        TestEndpoint::start(move |request, _| {
            let is_checkout = request.head.starts_with("POST /checkout");
            Act::Send(status(if is_checkout { checkout } else { 200 }, name))
        })
    };
    let (stable, canary) = (shop("v1", 200), shop("v2", 409));
    let with = |hit: &str| ServiceSpec {
        conversions: vec![Conversion {
            metric: "bought".to_owned(),
            hit: hit.parse().unwrap(),
            of: "GET /cart".parse().unwrap(),
        }],
        ..pair(&stable, &canary, 5_000)
    };
    let rig = Rig::with(with("POST /checkout 2xx"));
    let mut client = rig.connect();
    let mut visit = |headers: &str| {
        for _ in 0..10 {
            client.get("/cart?a=1", headers).unwrap();
            client.get("/products", headers).unwrap();
            client.post("/checkout", "pay").unwrap();
        }
        ["v1", "v2"].map(|version| {
            let counted = rig.version(version).conversions["bought"];
            (counted.hits, counted.exposures)
        })
    };
    let [v1, v2] = visit("");
    assert_eq!((v1.1 + v2.1, v2.0), (10, 0));
    assert!(v1.0 > 0 && v1.1 > 0 && v2.1 > 0, "{v1:?} {v2:?}");
    // Who asks for a version by name is not like all others.
    let [named_v1, named_v2] = visit("x-canary: true\r\n");
    assert_eq!((named_v1.1, named_v2.1), (v1.1, v2.1));
    rig.publish(with("POST /checkout 4xx"));
    let [v1, v2] = visit("");
    assert_eq!((v1.1 + v2.1, v1.0), (10, 0), "declared anew");
    assert!(v2.0 > 0, "{v2:?}");
}

#[test]
fn several_endpoints_of_a_version_share_its_load() {
    let endpoints = ["a", "b", "c"].map(TestEndpoint::named);
    let addrs = endpoints.each_ref().map(|endpoint| endpoint.addr);
    let rig = Rig::with(spec(vec![arm("v1", 10_000, &addrs)]));
    let mut client = rig.connect();
    (0..300).for_each(|_| drop(client.get("/", "").unwrap()));
    for endpoint in &endpoints {
        assert!(
            (60..140).contains(&endpoint.count()),
            "{}",
            endpoint.count()
        );
    }
}

#[test]
fn the_metrics_show_what_happened() {
    let endpoint = TestEndpoint::start(|request, _| match request.path() {
        "/bad" => Act::Send(status(503, "")),
        _ => Act::Send(ok("v1")),
    });
    let rig = Rig::with(single(&endpoint));
    let mut client = rig.connect();
    client.get("/", "").unwrap();
    client.get("/bad", "").unwrap();
    let text = render_metrics(&rig.proxy.read());
    for line in [
        r#"haldane_proxy_requests_total{service="shop",version="v1",class="2xx",origin="upstream"} 1"#,
        r#"haldane_proxy_requests_total{service="shop",version="v1",class="5xx",origin="upstream"} 1"#,
        r#"haldane_proxy_weight_ratio{service="shop",version="v1"} 1.0000"#,
        r#"haldane_proxy_request_duration_seconds_count{service="shop",version="v1"} 2"#,
        "haldane_proxy_connections 1",
    ] {
        assert!(
            text.lines().any(|other| other == line),
            "{line} is not in\n{text}"
        );
    }
}
