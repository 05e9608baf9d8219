//! Random objects of each router.

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Value, json};

mod described;

/// One router with its objects.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) route: Value,
    pub(super) objects: Vec<Value>,
    /// The lists of rules, by object: where they stand, and under which name each has its backends. An empty name: they are backends.
    pub(super) lists: Vec<(usize, &'static [&'static str], &'static str)>,
    /// What a weight that is left out counts.
    pub(super) absent: u64,
    pub(super) headers: Headers,
    pub(super) mirror: bool,
    /// Whether nothing is left to see in the end: the canary had no weight.
    pub(super) is_restored: bool,
    /// How far what is read back may be from what is wanted, in basis points, where numbers are coarse.
    pub(super) grain_bps: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Headers {
    Any,
    One,
    None,
}

/// One rule with its backends.
#[derive(Clone, Debug)]
struct Rule {
    matches: Option<u8>,
    filter: bool,
    stable: Option<u64>,
    names_stable: bool,
    canary: Option<u64>,
    others: Vec<(u8, Option<u64>)>,
    place: usize,
}

/// Returns any router with any objects.
pub(super) fn worlds() -> impl Strategy<Value = World> {
    prop_oneof![
        gateway(),
        linkerd(),
        istio(),
        subsets(),
        smi(),
        nginx(),
        described::worlds()
    ]
}

/// Returns rules of which the first names stable; of a pair, all that do name the canary too.
fn rules() -> impl Strategy<Value = (Vec<Rule>, bool)> {
    let rule = (
        (option::of(0..3_u8), any::<bool>(), any::<bool>()),
        (option::of(1..=50_u64), 0..=50_u64),
        vec((0..3_u8, option::of(0..=100_u64)), 0..3),
        0..3_usize,
    );
    (vec(rule, 1..4), any::<bool>(), any::<bool>()).prop_map(|(rules, is_pair, is_idle)| {
        let rules: Vec<Rule> = (0..)
            .zip(rules)
            .map(|(index, rule): (usize, _)| {
                let ((matches, filter, names_stable), (stable, canary), mut others, place) = rule;
                let names_stable = names_stable || index == 0;
                others.sort_unstable_by_key(|(name, _)| *name);
                others.dedup_by_key(|(name, _)| *name);
                let canary = if is_idle { 0 } else { canary };
                let canary = (is_pair && names_stable).then_some(canary);
                Rule {
                    matches,
                    filter,
                    stable,
                    names_stable,
                    canary,
                    others,
                    place,
                }
            })
            .collect();
        let is_restored = rules.iter().all(|rule| rule.canary.unwrap_or(0) == 0);
        (rules, is_restored)
    })
}

impl Rule {
    /// Returns the backends, each made by this of its name and weight.
    fn entries(&self, make: &dyn Fn(&str, Option<u64>) -> Value) -> Vec<Value> {
        let mut entries: Vec<Value> = self
            .others
            .iter()
            .map(|(name, weight)| make(&format!("other-{name}"), *weight))
            .collect();
        if self.names_stable {
            let place = self.place.min(entries.len());
            if let Some(canary) = self.canary {
                entries.insert(place, make("shop-canary", Some(canary)));
            }
            entries.insert(place, make("shop", self.stable));
        }
        entries
    }
}

fn gateway_rules(rules: &[Rule], has_matches: bool) -> Vec<Value> {
    let make = |name: &str, weight: Option<u64>| {
        let mut entry = json!({"name": name, "port": 80});
        if let Some(weight) = weight {
            entry["weight"] = json!(weight);
        }
        entry
    };
    let rule = |rule: &Rule| {
        let mut value = json!({"backendRefs": rule.entries(&make)});
        if let Some(path) = rule.matches.filter(|_| has_matches) {
            value["matches"] =
                json!([{"path": {"type": "PathPrefix", "value": format!("/{path}")}}]);
        }
        if rule.filter && has_matches {
            value["filters"] = json!([{"type": "RequestHeaderModifier"}]);
            value["sessionPersistence"] = json!({"type": "Cookie"});
        }
        value
    };
    rules.iter().map(rule).collect()
}

fn gateway() -> impl Strategy<Value = World> {
    let kinds = vec![
        ("HTTPRoute", "httpRoute", "v1"),
        ("GRPCRoute", "grpcRoute", "v1"),
        ("TCPRoute", "tcpRoute", "v1alpha2"),
        ("TLSRoute", "tlsRoute", "v1alpha2"),
    ];
    (rules(), select(kinds), any::<bool>()).prop_map(|((rules, is_restored), (kind, key, version), sticks)| {
        let is_bytes = version == "v1alpha2";
        let sticky = sticks.then(|| json!({"cookie": "side"}));
        World {
            route: json!({"gateway": {key: "shop", "sticky": sticky}}),
            objects: vec![json!({
                "apiVersion": format!("gateway.networking.k8s.io/{version}"),
                "kind": kind,
                "metadata": {"name": "shop", "namespace": "demo"},
                "spec": {"parentRefs": [{"name": "edge"}], "rules": gateway_rules(&rules, !is_bytes)},
            })],
            lists: vec![(0, &["spec", "rules"], "backendRefs")],
            absent: 1,
            headers: if is_bytes { Headers::None } else { Headers::Any },
            mirror: !is_bytes,
            is_restored,
            grain_bps: 0,
        }
    })
}

fn linkerd() -> impl Strategy<Value = World> {
    let groups = vec!["gateway.networking.k8s.io/v1", "policy.linkerd.io/v1beta3"];
    (rules(), select(groups)).prop_map(|((rules, is_restored), version)| World {
        route: json!({"linkerd": {"httpRoute": "shop", "group": version.split('/').next()}}),
        objects: vec![json!({
            "apiVersion": version,
            "kind": "HTTPRoute",
            "metadata": {"name": "shop", "namespace": "demo", "annotations": {"team": "shop"}},
            "spec": {
                "parentRefs": [{"group": "core", "kind": "Service", "name": "shop"}],
                "rules": gateway_rules(&rules, true),
            },
        })],
        lists: vec![(0, &["spec", "rules"], "backendRefs")],
        absent: 1,
        headers: Headers::Any,
        mirror: false,
        is_restored,
        grain_bps: 0,
    })
}

fn istio_rules(rules: &[Rule], make: &dyn Fn(&str, Option<u64>) -> Value) -> Vec<Value> {
    let rule = |rule: &Rule| {
        let mut value = json!({"route": rule.entries(make)});
        if let Some(path) = rule.matches {
            value["match"] = json!([{"uri": {"prefix": format!("/{path}")}}]);
        }
        if rule.filter {
            value["timeout"] = json!("3s");
        }
        value
    };
    rules.iter().map(rule).collect()
}

/// Returns the rules as Istio takes them: beside others stable has a weight.
fn weighed(rules: Vec<Rule>) -> Vec<Rule> {
    let weigh = |mut rule: Rule| {
        if !rule.others.is_empty() || rule.canary.is_some() {
            rule.stable = rule.stable.or(Some(1));
        }
        rule
    };
    rules.into_iter().map(weigh).collect()
}

fn istio() -> impl Strategy<Value = World> {
    (
        rules(),
        select(vec!["", ".demo", ".demo.svc.cluster.local"]),
        any::<bool>(),
    )
        .prop_map(|((rules, is_restored), domain, sticks)| {
            let sticky = sticks.then(|| json!({}));
            let make = |name: &str, weight: Option<u64>| {
                let mut entry = json!({"destination": {"host": format!("{name}{domain}")}});
                if let Some(weight) = weight {
                    entry["weight"] = json!(weight);
                }
                entry
            };
            let rules = weighed(rules);
            World {
                route: json!({"istio": {"virtualService": "shop", "sticky": sticky}}),
                objects: vec![json!({
                    "apiVersion": "networking.istio.io/v1",
                    "kind": "VirtualService",
                    "metadata": {"name": "shop", "namespace": "demo"},
                    "spec": {"hosts": ["shop"], "http": istio_rules(&rules, &make)},
                })],
                lists: vec![(0, &["spec", "http"], "route")],
                absent: 0,
                headers: Headers::Any,
                mirror: true,
                is_restored,
                grain_bps: 0,
            }
        })
}

fn subsets() -> impl Strategy<Value = World> {
    (rules(), 0..4_usize).prop_map(|((rules, is_restored), subsets)| {
        let make = |name: &str, weight: Option<u64>| {
            let mut entry = json!({"destination": {"host": "shop", "subset": name}});
            if let Some(weight) = weight {
                entry["weight"] = json!(weight);
            }
            entry
        };
        let rules = weighed(rules);
        let mut known = vec![
            json!({"name": "shop", "labels": {"version": "stable"}}),
            json!({"name": "shop-canary", "labels": {"version": "old", "app": "shop"}}),
            json!({"name": "other"}),
        ];
        known.truncate(subsets);
        let mut rule = json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "DestinationRule",
            "metadata": {"name": "shop", "namespace": "demo"},
            "spec": {"host": "shop"},
        });
        if !known.is_empty() {
            rule["spec"]["subsets"] = Value::Array(known);
        }
        World {
            route: json!({"istio": {
                "virtualService": "shop",
                "destinationRule": {"name": "shop", "stableSubset": "shop", "canarySubset": "shop-canary"},
            }}),
            objects: vec![
                json!({
                    "apiVersion": "networking.istio.io/v1",
                    "kind": "VirtualService",
                    "metadata": {"name": "shop", "namespace": "demo"},
                    "spec": {"hosts": ["shop"], "http": istio_rules(&rules, &make)},
                }),
                rule,
            ],
            lists: vec![(0, &["spec", "http"], "route")],
            absent: 0,
            headers: Headers::Any,
            mirror: true,
            is_restored,
            grain_bps: 0,
        }
    })
}

fn smi() -> impl Strategy<Value = World> {
    (rules(), any::<bool>(), any::<bool>()).prop_map(
        |((rules, is_restored), has_quantities, is_small)| {
            let make = |name: &str, weight: Option<u64>| {
                let weight = weight.unwrap_or(1);
                let weight = match (has_quantities, is_small) {
                    (false, _) => json!(weight),
                    (true, false) => json!(weight.to_string()),
                    (true, true) => json!(format!("{weight}m")),
                };
                json!({"service": name, "weight": weight})
            };
            let version = if has_quantities {
                "v1alpha1"
            } else {
                "v1alpha3"
            };
            let backends = rules[0].entries(&make);
            World {
                route: json!({"smi": {"trafficSplit": "shop"}}),
                objects: vec![json!({
                    "apiVersion": format!("split.smi-spec.io/{version}"),
                    "kind": "TrafficSplit",
                    "metadata": {"name": "shop", "namespace": "demo"},
                    "spec": {"service": "shop-apex", "backends": backends},
                })],
                lists: vec![(0, &["spec", "backends"], "")],
                absent: 0,
                headers: Headers::None,
                mirror: false,
                is_restored: is_restored || rules[0].canary.unwrap_or(0) == 0,
                grain_bps: 0,
            }
        },
    )
}

fn nginx() -> impl Strategy<Value = World> {
    (
        rules(),
        any::<bool>(),
        option::of(select(vec!["90", "1000", "300"])),
    )
        .prop_map(|((rules, _), is_pair, total)| {
            let ingress = |name: &str, service: &str, annotations: Value| {
                let rule = |rule: &Rule| {
                    let backend = |name: &str, _: Option<u64>| {
                        let name = if name == "shop" { service } else { name };
                        json!({"path": format!("/{name}"), "backend": {"service": {"name": name}}})
                    };
                    let plain = Rule {
                        canary: None,
                        ..rule.clone()
                    };
                    json!({"host": rule.matches, "http": {"paths": plain.entries(&backend)}})
                };
                json!({
                    "apiVersion": "networking.k8s.io/v1",
                    "kind": "Ingress",
                    "metadata": {"name": name, "namespace": "demo", "annotations": annotations},
                    "spec": {"rules": rules.iter().map(rule).collect::<Vec<Value>>()},
                })
            };
            let main = json!({"nginx.ingress.kubernetes.io/affinity": "cookie"});
            let mut objects = vec![ingress("shop", "shop", main)];
            if is_pair {
                let mut annotations = json!({
                    "nginx.ingress.kubernetes.io/canary": "true",
                    "nginx.ingress.kubernetes.io/canary-weight": "0",
                    "team": "shop",
                });
                if let Some(total) = total {
                    annotations["nginx.ingress.kubernetes.io/canary-weight-total"] = json!(total);
                }
                objects.push(ingress("shop-canary", "shop-canary", annotations));
            }
            World {
                route: json!({"nginx": {"ingress": "shop", "cookie": "canary"}}),
                objects,
                lists: Vec::new(),
                absent: 0,
                headers: Headers::One,
                mirror: false,
                is_restored: true,
                grain_bps: 0,
            }
        })
}
