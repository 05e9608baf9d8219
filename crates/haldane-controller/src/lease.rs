//! Who leads: one controller of those that share a Lease, as `client-go` has it, and what keeps one that was stopped from writing.
//!
//! A renewal counts from the moment when it was *asked for*, by a clock that goes on while the machine sleeps. Others take over no
//! earlier than 15 s after they saw it, by their own clocks; what clocks show on the wall never matters. A leader writes until 10 s
//! after its last good renewal, and gives no write more time than until the others may take over.
//!
//! **Invariant:** the fence is asked before each write, not before each turn.

mod fence;

use std::{sync::Arc, time::Duration};

use haldane_router::{Kind, ObjectRef};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    api::{self, Api, Call, Failure, Verb},
    turn::FIELD_MANAGER,
};

pub(crate) use crate::lease::fence::{BootClock, Fence};

/// How long a lease lasts after a renewal; the others wait as long.
pub(crate) const DURATION: Duration = Duration::from_secs(15);

/// How long after its last renewal a leader writes.
const DEADLINE: Duration = Duration::from_secs(10);

/// How often a leader renews, and how often the others look.
const RETRY: Duration = Duration::from_secs(2);

/// How long one request may take: one that hangs leaves time for others.
const REQUEST_MAX: Duration = Duration::from_secs(4);

static LEASE: Kind = Kind {
    group: "coordination.k8s.io",
    kind: "Lease",
    plural: "leases",
    versions: &["v1"],
};

/// Keeps asking for the lease until it is told to stop.
pub(crate) struct Elector {
    api: Api,
    target: ObjectRef,
    identity: String,
    fence: Arc<Fence>,
    is_leader: watch::Sender<bool>,
    observed: Option<Observed>,
}

/// A record of somebody else, and when it was first seen by our clock.
struct Observed {
    record: Spec,
    since: Duration,
}

/// What a Lease says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    holder_identity: Option<String>,
    lease_duration_seconds: Option<u64>,
    renew_time: Option<String>,
    lease_transitions: Option<u64>,
}

#[derive(Deserialize)]
struct Lease {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
}

/// What to do about the lease, as it is seen.
#[derive(Debug, PartialEq, Eq)]
enum Move {
    /// It is ours: renew it.
    Renew,
    /// Nobody has it: take it.
    Take,
    /// Somebody has it.
    Wait,
}

impl Elector {
    pub(crate) fn new(api: Api, namespace: &str, name: &str, fence: Arc<Fence>) -> Self {
        Self {
            api,
            target: LEASE.named(namespace, name),
            identity: identity(),
            fence,
            is_leader: watch::Sender::new(false),
            observed: None,
        }
    }

    /// Returns what tells who leads.
    pub(crate) fn leading(&self) -> watch::Receiver<bool> {
        self.is_leader.subscribe()
    }

    /// Returns who it is in the lease.
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    /// Leads whenever it can, until `stop`, and gives the lease back after `written`: when nothing more is written.
    pub(crate) async fn run(mut self, stop: CancellationToken, written: CancellationToken) {
        let mut version = None;
        while !stop.is_cancelled() {
            version = self.turn(version).await;
            tokio::select! {
                () = stop.cancelled() => {}
                () = time::sleep(RETRY) => {}
            }
        }
        // Writes that are under way still need it.
        while !written.is_cancelled() {
            if *self.is_leader.borrow() {
                version = self.turn(version).await;
            }
            tokio::select! {
                () = written.cancelled() => {}
                () = time::sleep(RETRY) => {}
            }
        }
        if let Some(version) = version
            && *self.is_leader.borrow()
        {
            self.follow();
            self.release(&version).await;
        }
    }

    /// Renews the lease of this version, or looks at it; returns its version while it is ours.
    async fn turn(&mut self, version: Option<String>) -> Option<String> {
        let asked = self.fence.now();
        let result = match &version {
            Some(version) => self.renew(version).await,
            None => self.look().await,
        };
        match result {
            Ok(Some(version)) => {
                self.lead(asked);
                Some(version)
            }
            Ok(None) => {
                self.follow();
                None
            }
            Err(failure) => {
                warn!(lease = %self.target, %failure, "Lease not reached");
                // Somebody wrote it or took it away: nothing is sure. Otherwise the fence closes in time.
                let is_lost = matches!(failure.code(), Some(404 | 409));
                if is_lost || self.fence.time_left().is_none() {
                    self.follow();
                }
                // Where the renewal may be done, its version is not known.
                version.filter(|_| !failure.is_doubt())
            }
        }
    }

    fn lead(&self, asked: Duration) {
        self.fence.renew(asked);
        if !self.is_leader.send_replace(true) {
            info!(lease = %self.target, identity = self.identity, "Leading");
        }
    }

    fn follow(&self) {
        self.fence.close();
        if self.is_leader.send_replace(false) {
            info!(lease = %self.target, identity = self.identity, "Leading no more");
        }
    }

    async fn look(&mut self) -> Result<Option<String>, Failure> {
        let lease = match self.ask(Verb::Get, Value::Null).await {
            Ok(lease) => lease,
            Err(failure) if failure.is_missing() => return self.create().await.map(Some),
            Err(failure) => return Err(failure),
        };
        match self.judge(&lease.spec) {
            Move::Renew => self.renew(&lease.metadata.resource_version).await,
            Move::Take => {
                let transitions = lease.spec.lease_transitions.unwrap_or(0);
                let mut spec = self.spec();
                set(&mut spec, "acquireTime", json!(micro_time()));
                set(
                    &mut spec,
                    "leaseTransitions",
                    json!(transitions.saturating_add(1)),
                );
                self.patch(&lease.metadata.resource_version, &spec)
                    .await
                    .map(Some)
            }
            Move::Wait => Ok(None),
        }
    }

    /// Decides by how long the record has not changed, by our own clock.
    fn judge(&mut self, record: &Spec) -> Move {
        let now = self.fence.now();
        let holder = record.holder_identity.as_deref().unwrap_or_default();
        if holder == self.identity {
            return Move::Renew;
        }
        if holder.is_empty() {
            return Move::Take;
        }
        let lasts = Duration::from_secs(record.lease_duration_seconds.unwrap_or(0)).max(DURATION);
        match &self.observed {
            Some(observed) if observed.record == *record => {
                if now.saturating_sub(observed.since) > lasts {
                    Move::Take
                } else {
                    Move::Wait
                }
            }
            _ => {
                self.observed = Some(Observed {
                    record: record.clone(),
                    since: now,
                });
                Move::Wait
            }
        }
    }

    async fn create(&self) -> Result<String, Failure> {
        let mut spec = self.spec();
        set(&mut spec, "acquireTime", json!(micro_time()));
        set(&mut spec, "leaseTransitions", json!(0));
        let lease = json!({
            "apiVersion": LEASE.api_version(),
            "kind": LEASE.kind,
            "metadata": {"name": self.target.name, "namespace": self.target.namespace},
            "spec": spec,
        });
        let lease = self.ask(Verb::Create, lease).await?;
        Ok(lease.metadata.resource_version)
    }

    async fn renew(&self, version: &str) -> Result<Option<String>, Failure> {
        self.patch(version, &self.spec()).await.map(Some)
    }

    async fn release(&self, version: &str) {
        let spec =
            json!({"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": micro_time()});
        match self.patch(version, &spec).await {
            Ok(_) => info!(lease = %self.target, "Lease given back"),
            Err(failure) => warn!(lease = %self.target, %failure, "Lease not given back"),
        }
    }

    /// Writes the lease, if it is still of this version.
    async fn patch(&self, version: &str, spec: &Value) -> Result<String, Failure> {
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": spec});
        let lease = self.ask(Verb::Patch, patch).await?;
        Ok(lease.metadata.resource_version)
    }

    fn spec(&self) -> Value {
        json!({
            "holderIdentity": self.identity,
            "leaseDurationSeconds": DURATION.as_secs(),
            "renewTime": micro_time(),
        })
    }

    async fn ask(&self, verb: Verb, body: Value) -> Result<Lease, Failure> {
        let name = (verb != Verb::Create).then_some(self.target.name.as_str());
        let path = api::path(&LEASE, "v1", &self.target.namespace, name)?;
        let (path, body) = match verb {
            Verb::Get => (path, Vec::new()),
            Verb::List
            | Verb::Watch
            | Verb::Create
            | Verb::Patch
            | Verb::PatchStatus
            | Verb::Delete => (
                format!("{path}?fieldManager={FIELD_MANAGER}"),
                body.to_string().into_bytes(),
            ),
        };
        let call = Call {
            kind: LEASE.kind,
            verb,
            path,
            body,
            timeout: REQUEST_MAX,
        };
        let answer = self.api.ask(call).await?;
        serde_json::from_slice(&answer).map_err(|error| Failure::Garbled(error.to_string()))
    }
}

fn set(spec: &mut Value, key: &str, value: Value) {
    if let Some(fields) = spec.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
}

/// Returns the time as Kubernetes writes it; it is for people only.
fn micro_time() -> String {
    format!("{:.6}", Timestamp::now())
}

/// Returns a name that no other controller has, on this host or another.
fn identity() -> String {
    let name = rustix::system::uname();
    let host = name.nodename().to_string_lossy();
    format!("{host}_{:016x}", random())
}

/// Returns a number that differs each time, from what the standard library seeds its maps with.
pub(crate) fn random() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};

    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::fence::{Clock, tests::TestClock};
    use crate::metrics::Metrics;

    fn elector(clock: &Arc<TestClock>) -> Elector {
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let client = kube::Client::try_from(config).unwrap();
        let api = Api::new(client, Arc::new(Metrics::default()));
        let fence = Arc::new(Fence::new(Arc::clone(clock) as Arc<dyn Clock>));
        Elector::new(api, "haldane", "haldane", fence)
    }

    fn record(holder: &str, renewed: &str) -> Spec {
        Spec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            renew_time: Some(renewed.to_owned()),
            lease_transitions: Some(1),
        }
    }

    #[tokio::test]
    async fn a_lease_is_taken_when_it_was_not_renewed_for_its_time_by_our_own_clock() {
        let clock = Arc::new(TestClock::default());
        let mut elector = elector(&clock);
        // What the wall clock of the other shows does not matter, be it five minutes behind or ahead.
        for renewed in ["2026-11-21T10:00:00.000000Z", "2026-11-21T11:00:00.000000Z"] {
            let record = record("other", renewed);
            assert_eq!(elector.judge(&record), Move::Wait);
            clock.advance(Duration::from_secs(15));
            assert_eq!(elector.judge(&record), Move::Wait);
        }
        let record = record("other", "2026-11-21T11:00:00.000000Z");
        clock.advance(Duration::from_secs(1));
        assert_eq!(elector.judge(&record), Move::Take);
    }

    #[tokio::test]
    async fn a_lease_that_nobody_holds_is_taken_at_once_and_ours_is_renewed() {
        let clock = Arc::new(TestClock::default());
        let mut elector = elector(&clock);
        assert_eq!(elector.judge(&Spec::default()), Move::Take);
        assert_eq!(elector.judge(&record("", "x")), Move::Take);
        let own = elector.identity.clone();
        assert_eq!(elector.judge(&record(&own, "x")), Move::Renew);
    }

    #[test]
    fn times_have_six_digits_as_kubernetes_wants_them() {
        let time = micro_time();
        let digits = time.split_once('.').unwrap().1;
        assert_eq!((digits.len(), digits.ends_with('Z')), (7, true), "{time}");
    }
}
