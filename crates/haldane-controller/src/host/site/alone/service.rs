//! The Services of one Deployment: the user's, pinned to the pods of stable, and one for the canary.

use haldane_api::release::mark;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{Alone, CANARY, VERSION, later};
use crate::{
    host::{
        json::{self as read, put, set},
        record::{Record, Stable},
        site::{Blocked, Rest, View, is_ready},
        version::{POD_HASH, Version},
    },
    kinds::{REPLICA_SET, SERVICE},
    turn::{Urgency, Write},
};

/// When endpoints are taken for changed although their pods can't be told by name.
pub(in crate::host) const SPREAD_MAX: SignedDuration = SignedDuration::from_secs(15);

/// How often endpoints are looked at while they are waited for.
const LOOK: SignedDuration = SignedDuration::from_millis(500);

impl Alone {
    /// Returns what makes the canary's Service, leading to this version; or to whatever is on trial, while nothing else runs beside.
    pub(super) fn canary_service(
        &self,
        view: &View<'_>,
        on_trial: Option<(&Record, &Version)>,
    ) -> Result<Vec<Write>, Blocked> {
        if !view.is_routed {
            return Ok(Vec::new());
        }
        let target = view.name(&SERVICE, &self.canary_service);
        let seen = view.find(&SERVICE, &self.canary_service)?;
        let is_crowded = on_trial.is_some_and(|(record, _)| {
            let stable = record.stable.as_ref();
            stable.is_some_and(|stable| stable.beside.is_some())
        });
        let mut selector = json!({mark::RELEASE: view.key.name, mark::ROLE: CANARY});
        if let Some((_, version)) = on_trial.filter(|_| is_crowded) {
            set(&mut selector, &[VERSION], json!(version.hash));
        }
        let wanted = match &seen {
            Some(seen) => {
                let mut wanted = seen.clone();
                set(&mut wanted, &["spec", "selector"], selector);
                wanted
            }
            None => {
                let stable = view.need(&SERVICE, &self.service)?;
                self.canary_service_object(view, &stable, &selector)
            }
        };
        Ok(put(&target, seen.as_ref(), &wanted, Urgency::Rest)
            .into_iter()
            .collect())
    }

    fn canary_service_object(&self, view: &View<'_>, stable: &Value, selector: &Value) -> Value {
        let ports = stable.pointer("/spec/ports").and_then(Value::as_array);
        let ports: Vec<Value> = ports
            .into_iter()
            .flatten()
            .map(|port| {
                let mut port = port.clone();
                if let Some(port) = port.as_object_mut() {
                    port.remove("nodePort");
                }
                port
            })
            .collect();
        let mut spec = json!({"ports": ports, "selector": selector});
        if read::text(stable, "/spec/clusterIP") == Some("None") {
            set(&mut spec, &["clusterIP"], json!("None"));
        }
        json!({
            "apiVersion": SERVICE.api_version(),
            "kind": SERVICE.kind,
            "metadata": {
                "name": self.canary_service,
                "namespace": view.key.namespace,
                "labels": {mark::RELEASE: view.key.name},
                "ownerReferences": [view.owner()],
            },
            "spec": spec,
        })
    }

    /// Leads the user's Service to the pods of stable, and tells whether it does.
    pub(super) fn lead(
        &self,
        view: &View<'_>,
        stable: &Stable,
        rest: &mut Rest,
    ) -> Result<(), Blocked> {
        rest.writes.extend(self.canary_service(view, None)?);
        let service = view.need(&SERVICE, &self.service)?;
        let pinned = self.pinned(view, stable)?;
        if !pinned.is_empty() {
            rest.writes.splice(0..0, pinned);
            rest.is_stable_reached = false;
            rest.at = Some(later(view.now, LOOK));
        } else if !self.is_led(view, &service, stable)? {
            rest.is_stable_reached = false;
            rest.at = Some(later(view.now, LOOK));
        }
        if !rest.is_stable_reached {
            let said = format!("Service {} is led to {}", self.service, stable.version.name);
            rest.goes_on.get_or_insert(said);
        }
        Ok(())
    }

    /// Returns what leads the user's Service to the pods of stable alone.
    pub(in crate::host) fn pinned(
        &self,
        view: &View<'_>,
        stable: &Stable,
    ) -> Result<Vec<Write>, Blocked> {
        let service = view.need(&SERVICE, &self.service)?;
        let mut wanted = service.clone();
        let pods = json!(self.pods(view, stable)?);
        set(&mut wanted, &["spec", "selector", POD_HASH], pods);
        let target = view.name(&SERVICE, &self.service);
        let write = put(&target, Some(&service), &wanted, Urgency::Traffic);
        Ok(write.into_iter().collect())
    }

    /// Returns the label of stable's pods.
    fn pods(&self, view: &View<'_>, stable: &Stable) -> Result<String, Blocked> {
        match &stable.beside {
            Some(name) if stable.pods.is_empty() => {
                let deployment = view.deployment(name)?;
                let sets =
                    view.sight
                        .owned(&REPLICA_SET, &view.key.namespace, read::uid(&deployment.0));
                let hash = sets
                    .last()
                    .and_then(|set| read::text(set, &format!("/metadata/labels/{POD_HASH}")));
                hash.map(str::to_owned).ok_or_else(|| Blocked {
                    reason: "Waiting",
                    message: format!("waits for the ReplicaSet of Deployment {name}"),
                })
            }
            Some(_) | None => Ok(stable.pods.clone()),
        }
    }

    /// Whether all endpoints of a Service are pods of stable.
    fn is_led(&self, view: &View<'_>, service: &Value, stable: &Stable) -> Result<bool, Blocked> {
        let age = view.now.duration_since(stable.since);
        if age >= SPREAD_MAX {
            return Ok(true);
        }
        let infix = format!("-{}-", self.pods(view, stable)?);
        let ready: Vec<String> = view
            .endpoints(service)
            .iter()
            .filter(|one| is_ready(one))
            .map(|one| {
                read::text(one, "/targetRef/name")
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect();
        Ok(!ready.is_empty() && ready.iter().all(|pod| pod.contains(&infix)))
    }

    /// Whether the canary's Service knows of pods, also of those that end.
    pub(super) fn has_canary_pods(&self, view: &View<'_>) -> Result<bool, Blocked> {
        let service = view.find(&SERVICE, &self.canary_service)?;
        Ok(service.is_some_and(|service| !view.endpoints(&service).is_empty()))
    }
}
