//! Carries out writes: in the order of their urgency, at a bounded pace, only while we lead.
//!
//! What the server answers is taken into the cache at once, so that the next turn sees it. Where the answer leaves a doubt (somebody
//! else wrote, or no answer came), the object is read once, and the turn is repeated on what is really there.
//!
//! **Invariant:** nothing is sent after the fence has closed; it is asked last, when everything else has waited.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use haldane_router::ObjectRef;
use serde_json::{Value, json};
use tracing::{debug, warn};

use crate::{
    api::{self, Api, Call, Failure, Verb},
    cache::{Cache, Touched},
    gate::Gate,
    lease::Fence,
    turn::{FIELD_MANAGER, What, Write},
};

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Sends writes.
pub(crate) struct Writer {
    pub api: Api,
    pub cache: Arc<Cache>,
    pub gate: Gate,
    pub fence: Arc<Fence>,
}

/// What became of a write.
#[derive(Debug)]
pub(crate) struct Written {
    /// What the cache knows anew.
    pub touched: Option<Touched>,
    /// Why it was not done, or not for sure.
    pub refusal: Option<Refusal>,
}

/// Why a write was not done, or not for sure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// We don't lead any more.
    Fenced,
    /// Somebody else wrote in between.
    Conflict,
    /// The server has too much to do.
    Throttled,
    /// The server said no, and would again.
    Refused(String),
    /// It may be done or not.
    Unclear(String),
}

/// Why no good answer came.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Nothing was sent: we don't lead any more.
    Fenced,
    /// It was sent, and failed.
    Failed(Failure),
}

impl Writer {
    /// Carries out one write, and takes in what it tells of the object.
    pub(crate) async fn write(&self, write: &Write) -> Written {
        match self.send(write).await {
            Ok(answer) => self.take_in(write, &answer),
            Err(Stop::Fenced) => Written::refused(Refusal::Fenced),
            Err(Stop::Failed(failure)) => self.give_up(write, failure).await,
        }
    }

    /// Sends one write when its time has come.
    pub(crate) async fn send(&self, write: &Write) -> Result<Bytes, Stop> {
        let _permit = self.gate.enter(write.urgency).await;
        let served = self.cache.view().served(write.target.kind);
        let mut call = request(write, served).map_err(Stop::Failed)?;
        let left = self.fence.time_left().ok_or(Stop::Fenced)?;
        call.timeout = call.timeout.min(left);
        call.path = format!("{}&timeout={}s", call.path, call.timeout.as_secs().max(1));
        debug!(target = %write.target, verb = call.verb.as_str(), "Writing");
        self.api.ask(call).await.map_err(Stop::Failed)
    }

    fn take_in(&self, write: &Write, answer: &[u8]) -> Written {
        let object = match serde_json::from_slice::<Value>(answer) {
            Ok(object) => object,
            Err(error) => return Written::refused(Refusal::Unclear(error.to_string())),
        };
        let touched = match &write.what {
            What::Create(_) | What::Merge { .. } | What::MergeStatus { .. } => {
                self.cache.put(write.target.kind, object)
            }
            What::Delete { uid } => {
                // It ends later where somebody wants to be asked first, or where its end takes time.
                if object.pointer("/metadata/deletionTimestamp").is_some() {
                    self.cache.put(write.target.kind, object)
                } else {
                    self.cache.deleted(&write.target, uid)
                }
            }
        };
        Written {
            touched,
            refusal: None,
        }
    }

    async fn give_up(&self, write: &Write, failure: Failure) -> Written {
        if let (What::Delete { uid }, true) = (&write.what, failure.is_missing()) {
            return Written {
                touched: self.cache.deleted(&write.target, uid),
                refusal: None,
            };
        }
        if failure.code() == Some(429) {
            let wait = failure.retry_after().unwrap_or(Duration::from_secs(1));
            self.gate.hold(wait);
            return Written::refused(Refusal::Throttled);
        }
        warn!(target = %write.target, %failure, "Write failed");
        let touched = if failure.is_doubt() {
            self.fetch(&write.target).await
        } else {
            None
        };
        let refusal = match &failure {
            Failure::Refused { code: 409, .. } => Refusal::Conflict,
            Failure::Refused { code, message, .. } if *code < 500 => {
                Refusal::Refused(message.clone())
            }
            Failure::Name(_) => Refusal::Refused(failure.to_string()),
            Failure::Refused { .. } | Failure::Unanswered(_) | Failure::Garbled(_) => {
                Refusal::Unclear(failure.to_string())
            }
        };
        Written {
            touched,
            refusal: Some(refusal),
        }
    }

    /// Reads an object once.
    async fn fetch(&self, target: &ObjectRef) -> Option<Touched> {
        let (served, known) = {
            let view = self.cache.view();
            (view.served(target.kind), view.version(target))
        };
        let path = api::path(target.kind, served, &target.namespace, Some(&target.name)).ok()?;
        let call = Call {
            kind: target.kind.kind,
            verb: Verb::Get,
            path,
            body: Vec::new(),
            timeout: TIMEOUT,
        };
        match self.api.ask(call).await {
            Ok(answer) => self
                .cache
                .put(target.kind, serde_json::from_slice(&answer).ok()?),
            Err(failure) if failure.is_missing() => self.cache.missing(target, known),
            Err(failure) => {
                debug!(%target, %failure, "Object not read");
                None
            }
        }
    }
}

impl Written {
    const fn refused(refusal: Refusal) -> Self {
        Self {
            touched: None,
            refusal: Some(refusal),
        }
    }
}

impl Write {
    /// Returns what it is in the metrics.
    pub(crate) const fn verb(&self) -> Verb {
        match self.what {
            What::Create(_) => Verb::Create,
            What::Merge { .. } => Verb::Patch,
            What::MergeStatus { .. } => Verb::PatchStatus,
            What::Delete { .. } => Verb::Delete,
        }
    }
}

/// Returns the request that carries out a write.
fn request(write: &Write, served: &'static str) -> Result<Call, Failure> {
    let target = &write.target;
    let verb = write.verb();
    let name = (verb != Verb::Create).then_some(target.name.as_str());
    let path = api::path(target.kind, served, &target.namespace, name)?;
    let (path, body) = match &write.what {
        What::Create(object) => (path, created(target, object, served)),
        What::Merge {
            patch,
            resource_version,
        } => (path, merged(patch, resource_version.as_deref())),
        What::MergeStatus {
            patch,
            resource_version,
        } => (
            format!("{path}/status"),
            merged(patch, resource_version.as_deref()),
        ),
        What::Delete { uid } => {
            let options = json!({
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "preconditions": {"uid": uid},
                "propagationPolicy": "Background",
            });
            (path, options)
        }
    };
    Ok(Call {
        kind: target.kind.kind,
        verb,
        path: format!("{path}?fieldManager={FIELD_MANAGER}"),
        body: body.to_string().into_bytes(),
        timeout: TIMEOUT,
    })
}

/// Returns the object under the name and the version that the cluster knows.
fn created(target: &ObjectRef, object: &Value, served: &str) -> Value {
    let group = target.kind.group;
    let version = if group.is_empty() {
        served.to_owned()
    } else {
        format!("{group}/{served}")
    };
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".to_owned(), Value::from(version));
        fields.insert("kind".to_owned(), Value::from(target.kind.kind));
    }
    set_metadata(&mut object, "name", &target.name);
    if !target.namespace.is_empty() {
        set_metadata(&mut object, "namespace", &target.namespace);
    }
    object
}

fn merged(patch: &Value, resource_version: Option<&str>) -> Value {
    let mut patch = patch.clone();
    if let Some(version) = resource_version {
        set_metadata(&mut patch, "resourceVersion", version);
    }
    patch
}

fn set_metadata(object: &mut Value, key: &str, value: &str) {
    if let Some(fields) = object.as_object_mut() {
        let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert(key.to_owned(), Value::from(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use haldane_router::Kind;

    use super::*;
    use crate::turn::Urgency;

    static ROUTE: Kind = Kind {
        group: "gateway.networking.k8s.io",
        kind: "HTTPRoute",
        plural: "httproutes",
        versions: &["v1", "v1beta1"],
    };

    fn check(what: What, path: &str, body: &Value) {
        let write = Write {
            target: ROUTE.named("shop", "web"),
            what,
            urgency: Urgency::Rest,
        };
        let call = request(&write, "v1beta1").unwrap();
        let prefix = "/apis/gateway.networking.k8s.io/v1beta1/namespaces/shop/httproutes";
        assert_eq!(
            call.path,
            format!("{prefix}{path}?fieldManager=haldane-controller")
        );
        assert_eq!(serde_json::from_slice::<Value>(&call.body).unwrap(), *body);
    }

    #[test]
    fn each_write_is_one_request_in_the_version_that_is_served() {
        check(
            What::Create(json!({"apiVersion": "x/v1", "spec": {"a": 1}})),
            "",
            &json!({
                "apiVersion": "gateway.networking.k8s.io/v1beta1",
                "kind": "HTTPRoute",
                "metadata": {"name": "web", "namespace": "shop"},
                "spec": {"a": 1},
            }),
        );
        check(
            What::Merge {
                patch: json!({"spec": {"a": null}}),
                resource_version: Some("7".to_owned()),
            },
            "/web",
            &json!({"metadata": {"resourceVersion": "7"}, "spec": {"a": null}}),
        );
        check(
            What::MergeStatus {
                patch: json!({"status": {"a": 1}}),
                resource_version: None,
            },
            "/web/status",
            &json!({"status": {"a": 1}}),
        );
        check(
            What::Delete {
                uid: "u".to_owned(),
            },
            "/web",
            &json!({
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "preconditions": {"uid": "u"},
                "propagationPolicy": "Background",
            }),
        );
    }
}
