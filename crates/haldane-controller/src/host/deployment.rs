//! Reading Deployments.

use haldane_core::rollout::{Replicas, Trouble, TroubleKind};
use haldane_router::ObjectRef;
use jiff::Timestamp;
use serde_json::Value;

use super::json;
use crate::turn::{Urgency, Write};

/// The annotation by which a template is made another one without being changed.
const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";

/// A Deployment whose progress deadline is over counts as this many failed starts in a row: the core gives up at five, which the
/// Deployment controller has waited out already.
const GIVEN_UP_STARTS: u32 = 5;

/// Who scales for a HorizontalPodAutoscaler.
const HORIZONTAL: &str = "kube-controller-manager";

/// How the names begin by which KEDA writes.
const KEDA: &str = "keda";

/// A Deployment as it is seen.
#[derive(Clone, Debug)]
pub(super) struct Deployment(pub Value);

impl Deployment {
    /// Returns its name.
    pub(super) fn name(&self) -> &str {
        json::text(&self.0, "/metadata/name").unwrap_or_default()
    }

    /// Returns how many replicas it is to have.
    pub(super) fn replicas(&self) -> u32 {
        match self.0.pointer("/spec/replicas") {
            Some(_) => json::count(&self.0, "/spec/replicas"),
            None => 1,
        }
    }

    /// Whether its number of replicas was set by an autoscaler. A ScaledObject acts by a HorizontalPodAutoscaler of its own, and sets none
    /// and one itself.
    pub(super) fn is_autoscaled(&self) -> bool {
        let by = json::last_scaler(&self.0).unwrap_or_default();
        by == HORIZONTAL || by.starts_with(KEDA)
    }

    /// Returns the write that gives it at least so many replicas again, where an autoscaler took them.
    pub(super) fn grown(&self, target: &ObjectRef, least: u32) -> Option<Write> {
        if !self.is_autoscaled() || self.replicas() >= least {
            return None;
        }
        let mut wanted = self.0.clone();
        json::set(&mut wanted, &["spec", "replicas"], Value::from(least));
        json::put(target, Some(&self.0), &wanted, Urgency::Rest)
    }

    /// Returns the template of its pods.
    pub(super) fn template(&self) -> &Value {
        self.0.pointer("/spec/template").unwrap_or(&Value::Null)
    }

    /// Returns how it selects its pods.
    pub(super) fn selector(&self) -> &Value {
        self.0.pointer("/spec/selector").unwrap_or(&Value::Null)
    }

    /// Whether its status is about its present spec.
    pub(super) fn is_observed(&self) -> bool {
        let number = |pointer| self.0.pointer(pointer).and_then(Value::as_i64);
        let generation = number("/metadata/generation").unwrap_or(0);
        number("/status/observedGeneration").is_some_and(|seen| seen >= generation)
    }

    /// Whether all its pods are of its present template and available.
    pub(super) fn is_rolled_out(&self) -> bool {
        let wanted = self.replicas();
        self.is_observed()
            && ["replicas", "updatedReplicas", "availableReplicas"]
                .iter()
                .all(|name| json::count(&self.0, &format!("/status/{name}")) == wanted)
    }

    /// Returns how its replicas are.
    pub(super) fn seen(&self) -> Replicas {
        Replicas {
            wanted: self.replicas(),
            ready: json::count(&self.0, "/status/availableReplicas"),
            existing: json::count(&self.0, "/status/replicas"),
            is_fixed: false,
        }
    }

    /// Returns why its pods are not ready, as far as it says.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        if !self.is_observed() {
            return None;
        }
        let failed = self.condition("Progressing", "False").map(|said| Trouble {
            kind: TroubleKind::StartsFail(GIVEN_UP_STARTS),
            said,
        });
        failed.or_else(|| {
            self.condition("ReplicaFailure", "True")
                .map(|said| Trouble {
                    kind: TroubleKind::NotReady,
                    said,
                })
        })
    }

    /// Returns the message of a condition with this status.
    fn condition(&self, name: &str, status: &str) -> Option<String> {
        let conditions = self.0.pointer("/status/conditions")?.as_array()?;
        let found = conditions.iter().find(|condition| {
            json::text(condition, "/type") == Some(name)
                && json::text(condition, "/status") == Some(status)
                && json::text(condition, "/reason") != Some("DeploymentPaused")
        })?;
        let message = json::text(found, "/message").unwrap_or(name);
        Some(format!("Deployment {}: {message}", self.name()))
    }
}

/// Has the pods of a Deployment replaced that are older than this, as `kubectl rollout restart` does.
pub(super) fn restart(wanted: &mut Value, since: Option<Timestamp>) {
    if let Some(since) = since {
        let path = ["spec", "template", "metadata", "annotations", RESTARTED];
        json::set(wanted, &path, Value::String(since.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(spec: &Value, status: &Value) -> Deployment {
        Deployment(json!({
            "metadata": {"name": "shop", "generation": 3},
            "spec": spec,
            "status": status,
        }))
    }

    #[test]
    fn a_deployment_is_rolled_out_when_its_status_says_so_of_its_present_spec() {
        let whole = json!({"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2});
        for (change, expected) in [
            (json!({}), true),
            (json!({"observedGeneration": 2}), false),
            (json!({"replicas": 3}), false),
            (json!({"updatedReplicas": 1}), false),
            (json!({"availableReplicas": 1}), false),
            (json!({"availableReplicas": null}), false),
        ] {
            let mut status = whole.clone();
            for (key, value) in change.as_object().unwrap() {
                status[key] = value.clone();
            }
            let seen = deployment(&json!({"replicas": 2}), &status);
            assert_eq!(seen.is_rolled_out(), expected, "{change}");
        }
        let none = deployment(&json!({"replicas": 0}), &json!({"observedGeneration": 3}));
        assert!(none.is_rolled_out());
    }

    #[test]
    fn a_deployment_that_gave_up_says_why() {
        let said = |kind: &str, status: &str, reason: &str| {
            deployment(
                &json!({}),
                &json!({"observedGeneration": 3, "conditions": [
                    {"type": kind, "status": status, "reason": reason, "message": "because"},
                ]}),
            )
            .trouble()
        };
        let gave_up = said("Progressing", "False", "ProgressDeadlineExceeded").unwrap();
        assert_eq!(gave_up.kind, TroubleKind::StartsFail(GIVEN_UP_STARTS));
        assert_eq!(gave_up.said, "Deployment shop: because");
        let refused = said("ReplicaFailure", "True", "FailedCreate").unwrap();
        assert_eq!(refused.kind, TroubleKind::NotReady);
        assert_eq!(said("Progressing", "True", "NewReplicaSetAvailable"), None);
    }
}
