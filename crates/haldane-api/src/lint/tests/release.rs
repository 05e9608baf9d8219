//! Tests of what is said of Releases and groups.

use super::{super::check, ids};

const SHOP: &str = "\
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: { name: shop }
spec:
  workload: { deployment: { name: shop } }
  routers: [{ gateway: { httpRoute: shop } }]
  sources: { prom: { prometheus: \"http://prometheus.monitoring:9090\" } }
  requests: { source: prom, template: contour }
  rollout: { steps: [10%, 50%], hold: 5m }
";

#[test]
fn a_good_release_is_worth_no_word() {
    assert_eq!(check(SHOP, None), super::Report::default());
}

#[test]
fn a_release_says_where_its_requests_are_counted_and_who_splits_them() {
    for (from, to, expected) in [
        (
            "  requests: { source: prom, template: contour }\n",
            "",
            "no-metrics",
        ),
        (
            "  routers: [{ gateway: { httpRoute: shop } }]\n",
            "",
            "share-by-replicas",
        ),
        ("50%]", "500%]", "invalid"),
        ("hold: 5m", "hold: 1m", "fast-rollout"),
        (
            "deployment: { name: shop }",
            "pairs: [{ stable: shop, canary: new }]",
            "promotion-beside-git",
        ),
    ] {
        assert_eq!(ids(&SHOP.replace(from, to)), [expected], "{from}");
    }
    // Metrics of its own are something to judge by.
    let metrics = "  metrics: { mesh: { kind: ratio, source: prom, template: istio, variables: { namespace: shop } } }\n";
    let text = SHOP.replace("  requests: { source: prom, template: contour }\n", metrics);
    assert_eq!(ids(&text), [""; 0]);
}

#[test]
fn a_group_knows_its_members_and_they_know_it() {
    let group = |spec: &str| {
        format!(
            "apiVersion: haldane.dev/v1alpha1\nkind: ReleaseGroup\nmetadata: {{ name: web }}\nspec: {spec}\n---\n{SHOP}"
        )
    };
    let two = "members: [{ release: cart }, { release: pay, after: [cart] }]";
    for (spec, expected) in [
        (format!("{{ {two} }}"), &[][..]),
        (
            "{ members: [{ release: cart }, { release: pay }] }".to_owned(),
            &["group-without-order"],
        ),
        ("{ members: [{ release: cart }] }".to_owned(), &[]),
        (
            format!("{{ {two}, onFailure: stop }}"),
            &["no-rollback-trigger"],
        ),
        (
            format!("{{ {two}, barriers: [{{ at: 25% }}, {{ at: promotion }}] }}"),
            &[],
        ),
        (
            format!("{{ {two}, barriers: [{{ at: half }}] }}"),
            &["invalid"],
        ),
        (
            "{ members: [{ release: cart, after: [cart] }] }".to_owned(),
            &["invalid"],
        ),
        (
            "{ members: [{ release: cart, after: [stock] }] }".to_owned(),
            &["invalid"],
        ),
        (
            "{ members: [{ release: cart, aftre: [] }] }".to_owned(),
            &["invalid"],
        ),
        (
            "{ members: [{ release: shop }] }".to_owned(),
            &["stray-member"],
        ),
    ] {
        assert_eq!(ids(&group(&spec)), expected, "{spec}");
    }
    let found = check(&group("{ members: [{ release: cart, aftre: [] }] }"), None).findings;
    assert_eq!((found[0].line, found[0].column), (4, 36), "{found:?}");
}
