//! The objects of a shop that is rolled out, and how it stands.

use serde_json::{Value, json};

use super::cluster::{Cluster, DEPLOYMENT, Kind, RELEASE, ROUTE, SERVICE};

/// How a release stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Its phase.
    pub phase: String,
    /// The version that serves.
    pub stable: String,
    /// Whether nothing is left to do.
    pub is_ready: bool,
    /// Its status as it is.
    pub status: Value,
}

impl Standing {
    /// Reads it from the object.
    pub(super) fn of(release: &Value) -> Self {
        let status = release.get("status").cloned().unwrap_or_default();
        let text = |key: &str| {
            status
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let conditions = status.get("conditions").and_then(Value::as_array);
        let is_ready = conditions.into_iter().flatten().any(|one| {
            one.get("type") == Some(&json!("Ready")) && one.get("status") == Some(&json!("True"))
        });
        Self {
            phase: text("phase"),
            stable: text("stable"),
            is_ready,
            status,
        }
    }

    /// Whether this version serves, and nothing is left to do.
    pub(super) fn is_done(&self, version: &str) -> bool {
        self.is_ready && self.phase == "Completed" && self.stable == version
    }

    /// Whether it is in control, and had nothing to do yet.
    pub(super) fn is_idle(&self) -> bool {
        self.is_ready && self.phase == "Idle"
    }
}

/// Returns the objects of one shop, its release last.
pub(super) fn shop(
    name: &str,
    replicas: u32,
    parent: &Value,
    release: &Value,
) -> Vec<(&'static Kind, Value)> {
    let labels = json!({"app": name});
    vec![
        (
            &DEPLOYMENT,
            json!({
                "metadata": {"name": name},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": labels},
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": {"containers": [
                            {"name": "shop", "image": "shop:v1", "ports": [{"containerPort": 8080}]},
                        ]},
                    },
                },
            }),
        ),
        (
            &SERVICE,
            json!({
                "metadata": {"name": name},
                "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
            }),
        ),
        (
            &ROUTE,
            json!({
                "metadata": {"name": name},
                "spec": {
                    "parentRefs": [parent],
                    "hostnames": [host(name)],
                    "rules": [{"backendRefs": [{"name": name, "port": 80}]}],
                },
            }),
        ),
        (
            &RELEASE,
            json!({"metadata": {"name": name}, "spec": release}),
        ),
    ]
}

/// Returns a shop's route in which the canary's Service stands as well, with nothing of the traffic.
pub(super) fn naming_both(mut route: Value, name: &str) -> Value {
    let one = |name: String, weight: u8| json!({"name": name, "port": 80, "weight": weight});
    let backends = [one(name.to_owned(), 100), one(format!("{name}-canary"), 0)];
    if let Some(rules) = route.pointer_mut("/spec/rules") {
        *rules = json!([{"backendRefs": backends}]);
    }
    route
}

/// Returns the spec of a shop's release with this plan.
pub(super) fn release(name: &str, rollout: &Value) -> Value {
    json!({
        "workload": {"deployment": {"name": name}},
        "routers": [{"gateway": {"httpRoute": name}}],
        "rollout": rollout,
    })
}

/// Returns the host at which a shop's route answers.
pub(super) fn host(name: &str) -> String {
    format!("{name}.example")
}

/// Gives a shop a new version.
pub(super) async fn set_image(cluster: &Cluster, name: &str, image: &str) -> anyhow::Result<()> {
    let ports = json!([{"containerPort": 8080}]);
    let containers = json!([{"name": "shop", "image": image, "ports": ports}]);
    let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    cluster.patch(&DEPLOYMENT, name, &patch).await
}

/// Gives a shop's release a command.
pub(super) async fn command(cluster: &Cluster, name: &str, what: &str) -> anyhow::Result<()> {
    let id = format!("bench-{what}");
    let note = json!({"id": id, "name": what, "by": "bench", "reason": "measured"}).to_string();
    let patch = json!({"metadata": {"annotations": {"haldane.dev/command": note}}});
    cluster.patch(&RELEASE, name, &patch).await
}

/// Returns the canary's share in a route, basis points.
pub(super) fn weight_bps(route: &Value) -> u64 {
    let rules = route.pointer("/spec/rules").and_then(Value::as_array);
    let backends = rules
        .into_iter()
        .flatten()
        .filter_map(|rule| rule.get("backendRefs")?.as_array());
    let (mut canary, mut all) = (0_u64, 0_u64);
    for backend in backends.flatten() {
        let weight = backend.get("weight").and_then(Value::as_u64).unwrap_or(1);
        let name = backend
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        all = all.saturating_add(weight);
        if name.ends_with("-canary") {
            canary = canary.saturating_add(weight);
        }
    }
    canary.saturating_mul(10_000).checked_div(all).unwrap_or(0)
}

/// Whether a Deployment runs what it says.
pub(super) fn is_rolled_out(deployment: &Value) -> bool {
    let number = |path: &str| {
        deployment
            .pointer(path)
            .and_then(Value::as_u64)
            .unwrap_or(0)
    };
    let wanted = number("/spec/replicas");
    number("/status/observedGeneration") >= number("/metadata/generation")
        && number("/status/updatedReplicas") == wanted
        && number("/status/replicas") == wanted
        && number("/status/availableReplicas") == wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canarys_share_is_read_from_a_route() {
        let route = |backends: Value| json!({"spec": {"rules": [{"backendRefs": backends}]}});
        assert_eq!(weight_bps(&route(json!([{"name": "shop"}]))), 0);
        let two = json!([{"name": "shop", "weight": 95}, {"name": "shop-canary", "weight": 5}]);
        assert_eq!(weight_bps(&route(two)), 500);
        let zero = json!([{"name": "shop", "weight": 1}, {"name": "shop-canary", "weight": 0}]);
        assert_eq!(weight_bps(&route(zero)), 0);
        assert_eq!(weight_bps(&json!({})), 0);
    }

    #[test]
    fn a_release_is_done_when_it_is_ready_with_the_version() {
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let status = json!({"phase": "Completed", "stable": "v2", "conditions": ready});
        let standing = Standing::of(&json!({"status": status}));
        assert!(standing.is_done("v2") && !standing.is_done("v1") && !standing.is_idle());
        assert_eq!(Standing::of(&json!({})), Standing::default());
    }
}
