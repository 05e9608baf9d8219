//! Templates: what they render to, and that no name changes their meaning.

use proptest::prelude::*;

use super::*;

fn variables() -> Variables {
    let names = [
        ("namespace", "test"),
        ("service", "shop"),
        ("ingress", "shop-in"),
        ("route", "shop-route"),
    ];
    Variables {
        stable: "shop-primary".to_owned(),
        canary: "shop".to_owned(),
        window: Duration::from_secs(60),
        names: names
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    }
}

#[test]
fn istio_reads_like_its_peers() {
    let rendered = render("istio", &variables()).unwrap();
    let labels = r#"reporter=~"destination|waypoint",destination_workload_namespace="test",destination_workload="#;
    assert_eq!(
        rendered.canary,
        Arm {
            requests: format!(r#"istio_requests_total{{{labels}"shop"}}[60s]"#),
            failures: format!(
                r#"istio_requests_total{{{labels}"shop",response_code=~"5.."}}[60s]"#
            ),
            buckets: format!(
                r#"istio_request_duration_milliseconds_bucket{{{labels}"shop"}}[60s]"#
            ),
            native: format!(r#"istio_request_duration_milliseconds{{{labels}"shop"}}[60s]"#),
            success_rate: format!(
                r#"sum(rate(istio_requests_total{{{labels}"shop",response_code!~"5.."}}[60s])) / sum(rate(istio_requests_total{{{labels}"shop"}}[60s])) * 100"#
            ),
            duration: format!(
                r#"histogram_quantile(0.99, sum(rate(istio_request_duration_milliseconds_bucket{{{labels}"shop"}}[60s])) by (le))"#
            ),
        }
    );
    assert!(
        rendered
            .stable
            .requests
            .contains(r#"destination_workload="shop-primary""#)
    );
    assert_eq!(rendered.unit, Unit::Milliseconds);
}

#[test]
fn each_template_names_its_own_way() {
    let requests = |name: &str| {
        let rendered = render(name, &variables()).unwrap();
        (rendered.stable.requests, rendered.canary.requests)
    };
    let check = |name: &str, canary: &str| assert_eq!(requests(name).1, canary);
    check(
        "linkerd",
        r#"response_total{namespace="test",deployment="shop",direction="inbound"}[60s]"#,
    );
    check(
        "contour",
        r#"envoy_cluster_upstream_rq{envoy_cluster_name=~"test_shop_[0-9a-zA-Z-]+"}[60s]"#,
    );
    check(
        "skipper",
        r#"skipper_response_duration_seconds_count{route=~"kube(ew)?_test__shop_in__.*__shop(_[0-9]+)?"}[60s]"#,
    );
    check(
        "knative",
        r#"envoy_cluster_upstream_rq{envoy_cluster_name="test/shop"}[60s]"#,
    );
    check(
        "plain",
        r#"http_requests_total{service="shop",version="shop"}[60s]"#,
    );
    assert_eq!(
        requests("nginx"),
        (
            r#"nginx_ingress_controller_requests{namespace="test",ingress="shop-in",canary=""}[60s]"#.to_owned(),
            r#"nginx_ingress_controller_requests{namespace="test",ingress="shop-in",canary!=""}[60s]"#.to_owned(),
        )
    );
    let nginx = render("nginx", &variables()).unwrap().canary;
    assert_eq!(
        nginx.duration,
        "sum(rate(nginx_ingress_controller_response_duration_seconds_sum{namespace=\"test\",ingress=\"shop-in\",canary!=\"\"}[60s])) \
         / sum(rate(nginx_ingress_controller_response_duration_seconds_count{namespace=\"test\",ingress=\"shop-in\",canary!=\"\"}[60s])) * 1000"
    );
}

#[test]
fn every_template_renders_with_its_names_and_not_without() {
    let mut names: Vec<&str> = list().iter().map(|template| template.name).collect();
    for template in list() {
        let rendered = render(template.name, &variables()).unwrap();
        for arm in [&rendered.stable, &rendered.canary] {
            for query in [
                &arm.requests,
                &arm.failures,
                &arm.buckets,
                &arm.native,
                &arm.success_rate,
                &arm.duration,
            ] {
                assert!(!query.contains("{{") && !query.contains("}}"), "{query}");
                assert!(query.contains("[60s]"), "{query}");
                for (open, close) in [('{', '}'), ('(', ')'), ('[', ']')] {
                    assert_eq!(query.matches(open).count(), query.matches(close).count());
                }
            }
            assert_ne!(arm.requests, arm.failures, "{}", template.name);
        }
        assert_ne!(rendered.stable, rendered.canary, "{}", template.name);
        for name in template.names() {
            let mut without = variables();
            without.names.remove(name);
            assert!(render(template.name, &without).is_err(), "{name}");
        }
    }
    names.dedup();
    assert_eq!(names.len(), list().len());
    assert!(names.is_sorted());
    assert!(find("nosuch").unwrap_err().to_string().contains("istio"));
}

#[test]
fn failed_series_are_known_by_their_labels() {
    let check = |name: &str, label: &str, failed: &[&str], fine: &[&str]| {
        let template = find(name).unwrap();
        let is_failed =
            |value: &&&str| template.is_failed(&[(label, **value)].into_iter().collect());
        assert_eq!(
            failed.iter().find(|value| !is_failed(value)),
            None,
            "{name}"
        );
        assert_eq!(fine.iter().find(is_failed), None, "{name}");
        assert!(!template.is_failed(&Labels::default()), "{name}");
    };
    check(
        "istio",
        "response_code",
        &["500", "503"],
        &["200", "404", "0", "5000", "50", ""],
    );
    check(
        "linkerd",
        "classification",
        &["failure"],
        &["success", "failures"],
    );
    check(
        "haldane",
        "class",
        &["5xx", "timeout"],
        &["2xx", "aborted", "5", "time"],
    );
    check("nginx", "status", &["502"], &["499"]);
    for template in list() {
        // The simple matching is the whole matching only for such patterns.
        let (_, pattern) = template.failed.split_once('=').unwrap();
        let is_simple = |c: char| c.is_ascii_alphanumeric() || "~\"|.".contains(c);
        assert!(pattern.chars().all(is_simple), "{pattern}");
    }
}

#[test]
fn an_impossible_window_is_refused() {
    for window in [Duration::ZERO, WINDOW_MAX + Duration::from_secs(1)] {
        let variables = Variables {
            window,
            ..variables()
        };
        assert!(render("istio", &variables).is_err());
    }
    let variables = Variables {
        window: Duration::from_millis(1_500),
        ..variables()
    };
    let rendered = render("istio", &variables).unwrap();
    assert!(rendered.canary.requests.ends_with("[1500ms]"));
}

/// Returns the query without its texts: what a name must not change.
fn skeleton(query: &str) -> String {
    let mut skeleton = String::new();
    let mut chars = query.chars();
    let mut is_text = false;
    while let Some(c) = chars.next() {
        match (is_text, c) {
            (true, '\\') => {
                chars.next();
            }
            (_, '"') => {
                is_text = !is_text;
                skeleton.push(c);
            }
            (true, _) => {}
            (false, _) => skeleton.push(c),
        }
    }
    assert!(!is_text, "{query}");
    skeleton
}

proptest! {
    #[test]
    fn no_name_changes_the_form_of_a_query(
        stable in "[ -~\\n\\\\\"'`{}|.*+()\\[\\]^$#]{1,40}",
        canary in "[ -~\\n\\\\\"'`{}|.*+()\\[\\]^$#]{1,40}",
        namespace in "[ -~\\n\\\\\"'`{}|.*+()\\[\\]^$#]{1,40}",
    ) {
        for template in list() {
            let plain = render(template.name, &variables()).unwrap();
            let mut hostile = variables();
            hostile.stable = stable.clone();
            hostile.canary = canary.clone();
            hostile.names.insert("namespace".to_owned(), namespace.clone());
            let found = render(template.name, &hostile).unwrap();
            for (found, plain) in [(&found.stable, &plain.stable), (&found.canary, &plain.canary)] {
                prop_assert_eq!(skeleton(&found.requests), skeleton(&plain.requests));
                prop_assert_eq!(skeleton(&found.failures), skeleton(&plain.failures));
                prop_assert_eq!(skeleton(&found.buckets), skeleton(&plain.buckets));
                prop_assert_eq!(skeleton(&found.native), skeleton(&plain.native));
                prop_assert_eq!(skeleton(&found.success_rate), skeleton(&plain.success_rate));
                prop_assert_eq!(skeleton(&found.duration), skeleton(&plain.duration));
            }
        }
    }
}
