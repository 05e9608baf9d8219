//! Random objects of the routers whose objects differ in their fields alone, and of those that keep weights elsewhere than in lists.

use proptest::{collection::vec, option, prelude::*};
use serde_json::{Value, json};

use super::{Headers, Rule, World, rules};

/// Returns any of these routers with any objects.
pub(super) fn worlds() -> impl Strategy<Value = World> {
    prop_oneof![
        contour(),
        traefik(),
        apisix(),
        kuma(),
        gloo(),
        group(),
        ingress(),
        alb(),
        consul(),
        knative(),
        ambassador(),
    ]
}

fn object(version: &str, kind: &str, spec: Value) -> Value {
    json!({
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": "shop", "namespace": "demo"},
        "spec": spec,
    })
}

fn world(route: Value, object: Value, is_restored: bool) -> World {
    World {
        route,
        objects: vec![object],
        lists: Vec::new(),
        absent: 1,
        headers: Headers::Any,
        mirror: false,
        is_restored,
        grain_bps: 0,
    }
}

/// Returns the rules as they are where a weight that is left out is none, unless all are.
fn even(mut rules: Vec<Rule>) -> Vec<Rule> {
    for rule in &mut rules {
        let is_told = |weight: &Option<u64>| weight.is_some();
        let has_weight = is_told(&rule.stable)
            || is_told(&rule.canary)
            || rule.others.iter().any(|(_, weight)| is_told(weight));
        if has_weight {
            rule.stable = rule.stable.or(Some(1));
            for (_, weight) in &mut rule.others {
                *weight = weight.or(Some(1));
            }
        }
    }
    rules
}

/// Returns an entry with this under a key, and its weight.
fn entry(key: &str, name: &str, weight: Option<u64>) -> Value {
    let mut entry = json!({key: name});
    if let Some(weight) = weight {
        entry["weight"] = json!(weight);
    }
    entry
}

fn contour() -> impl Strategy<Value = World> {
    rules().prop_map(|(rules, is_restored)| {
        let route = |rule: &Rule| {
            let path = rule.matches.unwrap_or(9);
            let services = rule.entries(&|name, weight| entry("name", name, weight));
            json!({"conditions": [{"prefix": format!("/{path}")}], "services": services})
        };
        let routes: Vec<Value> = even(rules).iter().map(route).collect();
        let object = object(
            "projectcontour.io/v1",
            "HTTPProxy",
            json!({"routes": routes}),
        );
        World {
            lists: vec![(0, &["spec", "routes"], "services")],
            mirror: true,
            ..world(
                json!({"contour": {"httpProxy": "shop"}}),
                object,
                is_restored,
            )
        }
    })
}

fn traefik() -> impl Strategy<Value = World> {
    rules().prop_map(|(rules, is_restored)| {
        let route = |rule: &Rule| {
            let services = rule.entries(&|name, weight| entry("name", name, weight));
            json!({"match": format!("PathPrefix(`/{:?}`)", rule.matches), "services": services})
        };
        let routes: Vec<Value> = rules.iter().map(route).collect();
        let object = object(
            "traefik.io/v1alpha1",
            "IngressRoute",
            json!({"routes": routes}),
        );
        World {
            lists: vec![(0, &["spec", "routes"], "services")],
            ..world(
                json!({"traefik": {"ingressRoute": "shop"}}),
                object,
                is_restored,
            )
        }
    })
}

fn apisix() -> impl Strategy<Value = World> {
    rules().prop_map(|(rules, is_restored)| {
        let http: Vec<Value> = (0..)
            .zip(&rules)
            .map(|(index, rule): (usize, _)| {
                let backends = rule.entries(&|name, weight| entry("serviceName", name, weight));
                json!({"name": format!("rule-{index}"), "backends": backends})
            })
            .collect();
        let object = object("apisix.apache.org/v2", "ApisixRoute", json!({"http": http}));
        World {
            lists: vec![(0, &["spec", "http"], "backends")],
            absent: 100,
            ..world(json!({"apisix": {"route": "shop"}}), object, is_restored)
        }
    })
}

fn kuma() -> impl Strategy<Value = World> {
    vec(rules(), 1..3).prop_map(|lists| {
        let is_restored = lists.iter().all(|(_, is_restored)| *is_restored);
        let rule = |rule: &Rule| {
            let backends = rule.entries(&|name, weight| entry("name", name, weight));
            json!({
                "matches": [{"path": {"type": "PathPrefix", "value": format!("/{:?}", rule.matches)}}],
                "default": {"backendRefs": backends},
            })
        };
        let to: Vec<Value> = lists
            .iter()
            .map(|(rules, _)| json!({"rules": rules.iter().map(rule).collect::<Vec<Value>>()}))
            .collect();
        let object = object("kuma.io/v1alpha1", "MeshHTTPRoute", json!({"to": to}));
        World {
            mirror: true,
            ..world(json!({"kuma": {"meshHttpRoute": "shop"}}), object, is_restored)
        }
    })
}

fn gloo() -> impl Strategy<Value = World> {
    rules().prop_map(|(rules, is_restored)| {
        let destination = |name: &str| json!({"kube": {"ref": {"name": name}, "port": 80}});
        let route = |rule: &Rule| {
            let list = rule.entries(&|name, weight| {
                let mut entry = json!({"destination": destination(name)});
                if let Some(weight) = weight {
                    entry["weight"] = json!(weight);
                }
                entry
            });
            let action = match list.as_slice() {
                [one] if one.get("weight").is_none() => json!({"single": one["destination"]}),
                list => json!({"multi": {"destinations": list}}),
            };
            json!({"matchers": [{"prefix": format!("/{:?}", rule.matches)}], "routeAction": action})
        };
        let routes: Vec<Value> = even(rules).iter().map(route).collect();
        let object = object(
            "gateway.solo.io/v1",
            "RouteTable",
            json!({"routes": routes}),
        );
        world(json!({"gloo": {"routeTable": "shop"}}), object, is_restored)
    })
}

fn group() -> impl Strategy<Value = World> {
    (rules(), any::<bool>()).prop_map(|((rules, is_restored), is_default)| {
        let rules = even(rules);
        let backends = |rule: &Rule| {
            let list = rule.entries(&|name, weight| entry("backendName", name, weight));
            if list.is_empty() { Value::Null } else { Value::Array(list) }
        };
        let mut routes: Vec<Value> = rules
            .iter()
            .map(|rule| (rule, backends(rule)))
            .filter(|(_, backends)| !backends.is_null())
            .map(|(rule, backends)| json!({"path": format!("/{:?}", rule.matches), "backends": backends}))
            .collect();
        routes.push(json!({"path": "/default"}));
        let mut names = vec!["shop", "other-0", "other-1", "other-2"];
        if rules.iter().any(|rule| rule.canary.is_some()) {
            names.push("shop-canary");
        }
        let all: Vec<Value> = names
            .iter()
            .map(|name| json!({"name": name, "serviceName": name}))
            .collect();
        let default = if is_default { "shop" } else { "other-0" };
        let spec = json!({
            "backends": all,
            "defaultBackends": [{"backendName": default}],
            "routes": routes,
        });
        let object = object("zalando.org/v1", "RouteGroup", spec);
        world(json!({"skipper": {"routeGroup": "shop"}}), object, is_restored)
    })
}

fn ingress() -> impl Strategy<Value = World> {
    let weights = option::of((1..100_u64, 0..100_u64, option::of(Just(0_u64))));
    weights.prop_map(|weights| {
        let path = |name: &str| json!({"path": "/", "backend": {"service": {"name": name}}});
        let mut paths = vec![path("other"), path("shop")];
        let annotations = match weights {
            Some((stable, other, None)) => json!({"shop": stable, "other": other}).to_string(),
            Some((stable, other, Some(canary))) => {
                paths.push(path("shop-canary"));
                json!({"shop": stable, "other": other, "shop-canary": canary}).to_string()
            }
            None => String::new(),
        };
        let rules = json!({"rules": [{"http": {"paths": paths}}]});
        let mut object = object("networking.k8s.io/v1", "Ingress", rules);
        if weights.is_some() {
            object["metadata"]["annotations"] = json!({"zalando.org/backend-weights": annotations});
        }
        World {
            headers: Headers::None,
            ..world(json!({"skipper": {"ingress": "shop"}}), object, true)
        }
    })
}

fn alb() -> impl Strategy<Value = World> {
    (option::of((4..10_u64, 0..10_u64, any::<bool>())), option::of(1..100_u32)).prop_map(
        |(share, seconds)| {
            let port = match share {
                Some(_) => json!({"name": "use-annotation"}),
                None => json!({"number": 80}),
            };
            let paths = json!([{"path": "/", "backend": {"service": {"name": "shop", "port": port}}}]);
            let rules = json!({"rules": [{"http": {"paths": paths}}]});
            let mut object = object("networking.k8s.io/v1", "Ingress", rules);
            if let Some((stable, other, is_pair)) = share {
                let group = |name: &str, weight: u64| {
                    json!({"serviceName": name, "servicePort": "80", "weight": weight})
                };
                let mut groups = vec![group("other", other), group("shop", stable)];
                groups.extend(is_pair.then(|| group("shop-canary", 0)));
                let action = json!({"type": "forward", "forwardConfig": {"targetGroups": groups}});
                object["metadata"]["annotations"] =
                    json!({"alb.ingress.kubernetes.io/actions.shop": format!("{action:#}")});
            }
            World {
                headers: Headers::None,
                // A group has at most 999 parts, of which stable has four tenths at least.
                grain_bps: 30,
                ..world(json!({"alb": {"ingress": "shop", "stickySeconds": seconds}}), object, true)
            }
        },
    )
}

fn consul() -> impl Strategy<Value = World> {
    (50..=100_u64, any::<bool>()).prop_map(|(stable, is_pair)| {
        let mut splits = vec![
            json!({"service": "old", "weight": 100 - stable}),
            json!({"service": "shop", "weight": stable}),
        ];
        splits.extend(is_pair.then(|| json!({"service": "shop-canary", "weight": 0})));
        let version = "consul.hashicorp.com/v1alpha1";
        let object = object(version, "ServiceSplitter", json!({"splits": splits}));
        World {
            grain_bps: 1,
            ..world(
                json!({"consul": {"splitter": "shop", "router": true}}),
                object,
                true,
            )
        }
    })
}

fn knative() -> impl Strategy<Value = World> {
    (50..=100_u64).prop_map(|stable| {
        let traffic = json!([
            {"revisionName": "other", "percent": 100 - stable},
            {"revisionName": "shop", "percent": stable},
            {"latestRevision": true, "tag": "next"},
        ]);
        let object = object(
            "serving.knative.dev/v1",
            "Service",
            json!({"traffic": traffic}),
        );
        World {
            headers: Headers::None,
            // Half of the traffic in whole percents: two of its hundred parts are one.
            grain_bps: 200,
            ..world(json!({"knative": {"service": "shop"}}), object, true)
        }
    })
}

fn ambassador() -> impl Strategy<Value = World> {
    Just(()).prop_map(|()| {
        let spec = json!({"prefix": "/", "service": "shop:80"});
        let object = object("getambassador.io/v3alpha1", "Mapping", spec);
        World {
            grain_bps: 100,
            ..world(json!({"ambassador": {"mapping": "shop"}}), object, true)
        }
    })
}
