//! Tests of `table`.

use super::*;

const LISTENER: &str = "127.0.0.1:80";

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn arm(version: &str, bps: u16) -> Arm {
    Arm {
        version: version.parse().unwrap(),
        share: Weight::try_from_bps(bps).unwrap(),
        endpoints: vec![],
        is_reachable_by_override: true,
    }
}

fn spec(name: &str, arms: Vec<Arm>) -> ServiceSpec {
    ServiceSpec {
        name: name.parse().unwrap(),
        fallback: arms[0].version.clone(),
        arms,
        overrides: Override::default(),
        rules: vec![],
        unmeasured: vec![],
        conversions: vec![],
        timeouts: Timeouts::default(),
        body_bytes_max: u64::MAX,
    }
}

fn service(name: &str) -> ServiceRoute {
    ServiceRoute::try_new(spec(name, vec![arm("v1", 10_000)])).unwrap()
}

/// Returns the route `[listener ]host/path`, where the host may be empty.
fn route(text: &str, service: &str) -> Route {
    let (listener, rest) = text
        .split_once(' ')
        .map_or((None, text), |(l, r)| (Some(addr(l)), r));
    let (host, path) = rest.split_at(rest.find('/').unwrap());
    Route {
        listener,
        host: (!host.is_empty()).then(|| host.parse().unwrap()),
        path: path.parse().unwrap(),
        service: service.parse().unwrap(),
    }
}

fn table(routes: &[(&str, &str)]) -> Result<Table, TableError> {
    let names: std::collections::BTreeSet<_> = routes.iter().map(|(_, service)| *service).collect();
    let services = names.into_iter().map(service).collect();
    Table::try_new(
        routes
            .iter()
            .map(|(text, service)| route(text, service))
            .collect(),
        services,
    )
}

fn check(routes: &[(&str, &str)], requests: &[(&str, Option<&str>)]) {
    let table = table(routes).unwrap();
    for (request, expected) in requests {
        let (host, path) = request.split_at(request.find(['/', '*']).unwrap());
        let found = table.find(addr(LISTENER), host, path);
        let found = found.map(|at| table.services[at].name().as_str());
        assert_eq!(found, *expected, "{request}");
    }
}

#[test]
fn the_most_specific_route_wins() {
    check(
        &[
            ("/", "any"),
            ("/api", "any-api"),
            ("*.shop.example/", "wild"),
            ("*.eu.shop.example/", "wild-eu"),
            ("shop.example/", "shop"),
            ("shop.example/cart", "cart"),
            ("shop.example/cart/pay", "pay"),
        ],
        &[
            ("/x", Some("any")),
            ("/api/x", Some("any-api")),
            ("other/apix", Some("any")),
            ("shop.example/", Some("shop")),
            ("SHOP.Example/cart", Some("cart")),
            ("shop.example/cart/", Some("cart")),
            ("shop.example/cartoon", Some("shop")),
            ("shop.example/cart/pay/now", Some("pay")),
            ("a.shop.example/", Some("wild")),
            ("a.eu.shop.example/", Some("wild-eu")),
            (".shop.example/", Some("any")),
            ("xshop.example/", Some("any")),
            ("/*", Some("any")),
        ],
    );
}

#[test]
fn an_unknown_host_or_path_has_no_service() {
    check(
        &[("shop.example/cart", "cart")],
        &[
            ("shop.example/", None),
            ("other.example/cart", None),
            ("/cart", None),
            ("*", None),
        ],
    );
}

#[test]
fn a_host_without_the_path_gives_way_to_a_less_specific_one() {
    check(
        &[("shop.example/cart", "cart"), ("/", "any")],
        &[("shop.example/other", Some("any"))],
    );
}

#[test]
fn options_star_belongs_to_the_service_of_the_root() {
    check(
        &[("shop.example/", "shop")],
        &[("shop.example*", Some("shop"))],
    );
}

#[test]
fn a_listener_narrows_its_route() {
    check(
        &[
            ("127.0.0.1:81 /", "other"),
            ("127.0.0.1:80 /", "this"),
            ("/", "any"),
        ],
        &[("/", Some("this"))],
    );
    check(&[("127.0.0.1:81 /", "other")], &[("/", None)]);
}

#[test]
fn routes_that_are_ambiguous_or_lead_nowhere_are_refused() {
    let same = table(&[("a/x", "s"), ("A/x/", "t")]);
    assert_eq!(same.unwrap_err().to_string(), "two routes are for a/x");
    let nowhere = Table::try_new(vec![route("/", "s")], vec![]).unwrap_err();
    assert_eq!(
        nowhere.to_string(),
        "the route / leads to s, which is not in the table"
    );
    let twice = Table::try_new(vec![], vec![service("s"), service("s")]).unwrap_err();
    assert_eq!(twice.to_string(), "the service s is given twice");
}

#[test]
fn patterns_that_could_never_match_are_refused() {
    for text in ["", "*.", "a:80", "a b", "*", "a.*", "a/b"] {
        assert!(text.parse::<HostPattern>().is_err(), "{text:?}");
    }
    for text in ["", "a", "/a?b", "/ä", "/a b"] {
        assert!(text.parse::<PathPrefix>().is_err(), "{text:?}");
    }
    assert_eq!("//".parse::<PathPrefix>().unwrap(), PathPrefix::root());
}

#[test]
fn shares_that_are_no_whole_are_refused() {
    for arms in [
        vec![arm("v1", 9_999)],
        vec![arm("v1", 9_000), arm("v2", 1_001)],
    ] {
        let error = ServiceRoute::try_new(spec("s", arms)).unwrap_err();
        assert!(matches!(error, ServiceError::Shares { .. }), "{error}");
    }
    let three = vec![arm("v1", 8_000), arm("v2", 1_500), arm("v3", 500)];
    assert!(ServiceRoute::try_new(spec("s", three)).is_ok());
}

#[test]
fn rules_and_fallback_must_name_an_arm() {
    let mut unknown = spec("s", vec![arm("v1", 10_000)]);
    unknown.fallback = "v0".parse().unwrap();
    let error = ServiceRoute::try_new(unknown).unwrap_err();
    assert_eq!(
        error.to_string(),
        "s has no version v0, which its fallback names"
    );

    let mut empty = spec("s", vec![arm("v1", 10_000)]);
    empty.rules = vec![Rule {
        all_of: vec![],
        to: "v1".parse().unwrap(),
    }];
    let error = ServiceRoute::try_new(empty).unwrap_err();
    assert_eq!(error.to_string(), "a rule of s to v1 has no condition");

    let twice = spec("s", vec![arm("v1", 5_000), arm("v1", 5_000)]);
    assert!(matches!(
        ServiceRoute::try_new(twice),
        Err(ServiceError::SameVersion { .. })
    ));
}
