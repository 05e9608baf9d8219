//! The watches: what the cluster tells, taken into the cache.
//!
//! A watch lists once, in pages, and then follows. It begins anew from where it was when it is cut or falls silent, and with a list
//! when the server has forgotten that place. What is not there or may not be seen is told as that and tried again: when its definition
//! appears, or later each time. Nothing is ever listed to see whether it has changed.

mod lines;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use haldane_router::Kind;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tokio::time::{self, Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};

use crate::{
    api::{self, Api, Call, Failure, Verb},
    cache::{Name, Readiness, Touched, parse_version},
    hub::Hub,
    metrics::Metrics,
    queue::mix,
    watch::lines::Lines,
};

/// Objects in a page, as other clients have it.
const PAGE: u32 = 500;

/// How long a page may take, and how long until a watch opens.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a watch lasts: between one and two of these, so that not all begin anew at the same time.
const WATCH_SECONDS: u64 = 600;

/// A server tells once a minute how far a watch is, even if nothing changes. One that is silent for longer than this is not there.
const SILENCE_MAX: Duration = Duration::from_secs(150);

/// A watch that ends earlier has not worked, and the next one waits.
const GOOD_WATCH: Duration = Duration::from_secs(5);

/// How long to wait after a failure, and at most.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// How long the definition of a missing kind is waited for until the kind itself is tried again.
const DEFINITION_SECONDS: u64 = 900;

/// Lists that are older than what we know already are stale. After so many the cluster's history was turned back, as by a restored
/// backup.
const STALE_LISTS_MAX: u32 = 8;

/// The kind of the definitions of kinds.
static DEFINITION: Kind = Kind {
    group: "apiextensions.k8s.io",
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
    versions: &["v1"],
};

/// All watches.
pub(crate) struct Watches {
    pub api: Api,
    pub hub: Arc<Hub>,
    pub metrics: Arc<Metrics>,
    /// Those that are watched; empty for all at once.
    pub namespaces: BTreeSet<String>,
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
    pub started: Mutex<BTreeSet<&'static Kind>>,
}

/// One watch.
struct Watch {
    api: Api,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    kind: &'static Kind,
    namespace: String,
    /// How far it is.
    seen: u64,
    stale_lists: u32,
    failures: u32,
}

/// Why a watch can't be followed any further.
enum End {
    /// It has to be listed again.
    Expired,
    /// It does not work.
    Failed(Failure),
}

#[derive(Deserialize)]
struct List<'a> {
    metadata: ListMetadata,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Told {
    #[serde(rename = "type")]
    what: What,
    object: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum What {
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
}

impl Watches {
    /// Watches a kind from now on.
    pub(crate) fn ensure(&self, kind: &'static Kind) {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        if !started.insert(kind) || self.stop.is_cancelled() {
            return;
        }
        drop(started);
        for namespace in self.scopes() {
            let watch = Watch {
                api: self.api.clone(),
                hub: Arc::clone(&self.hub),
                metrics: Arc::clone(&self.metrics),
                kind,
                namespace,
                seen: 0,
                stale_lists: 0,
                failures: 0,
            };
            let stop = self.stop.clone();
            self.tasks.spawn(async move {
                // Whatever it is doing, nothing is half done in between.
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = watch.run() => {}
                }
            });
        }
    }

    /// Whether the watches of a kind have told everything, or that there is nothing to tell.
    pub(crate) fn is_settled(&self, kind: &'static Kind) -> bool {
        self.all(kind, |readiness| readiness != Readiness::Unknown)
    }

    /// Whether the watches of a kind have told everything.
    pub(crate) fn is_synced(&self, kind: &'static Kind) -> bool {
        self.all(kind, |readiness| readiness == Readiness::Synced)
    }

    fn all(&self, kind: &'static Kind, is_fine: impl Fn(Readiness) -> bool) -> bool {
        let view = self.hub.cache.view();
        let scopes = self.scopes();
        scopes
            .iter()
            .all(|namespace| is_fine(view.readiness(kind, namespace)))
    }

    fn scopes(&self) -> Vec<String> {
        if self.namespaces.is_empty() {
            vec![String::new()]
        } else {
            self.namespaces.iter().cloned().collect()
        }
    }
}

impl Watch {
    async fn run(mut self) {
        loop {
            let failure = match self.list().await {
                Ok(served) => {
                    self.settle(Readiness::Synced);
                    match self.follow(served).await {
                        End::Expired => continue,
                        End::Failed(failure) => failure,
                    }
                }
                Err(failure) => failure,
            };
            self.rest_after(&failure).await;
        }
    }

    /// Lists everything in the best version that the cluster has, and returns that version.
    async fn list(&mut self) -> Result<&'static str, Failure> {
        let mut missing = None;
        for version in self.kind.versions.iter().copied() {
            match self.list_version(version).await {
                Ok(()) => return Ok(version),
                Err(failure) if failure.is_missing() => missing = Some(failure),
                Err(failure) => return Err(failure),
            }
        }
        let nothing = || Failure::Garbled(format!("{} has no version", self.kind.kind));
        Err(missing.unwrap_or_else(nothing))
    }

    async fn list_version(&mut self, version: &'static str) -> Result<(), Failure> {
        let path = api::path(self.kind, version, &self.namespace, None)?;
        let mut listed = BTreeSet::new();
        let mut next = String::new();
        loop {
            let page = format!("{path}?limit={PAGE}{next}");
            let answer = self.api.ask(self.call(Verb::List, page)).await?;
            let list = parse_list(&answer)?;
            let told = parse_version(&list.metadata.resource_version);
            if listed.is_empty() {
                self.hub.cache.serve(self.kind, version);
                self.check_age(told)?;
            }
            for item in list.items.into_iter().flatten() {
                let object = serde_json::from_str::<Value>(item.get());
                let object = object.map_err(|error| Failure::Garbled(error.to_string()))?;
                listed.extend(name_of(&object));
                self.touch(self.hub.cache.put(self.kind, object));
            }
            match list.metadata.next.filter(|token| !token.is_empty()) {
                Some(token) => next = format!("&continue={}", encode(&token)),
                None => {
                    let cache = &self.hub.cache;
                    let gone = cache.sweep(self.kind, &self.namespace, &listed, told);
                    gone.into_iter().for_each(|gone| self.touch(Some(gone)));
                    self.seen = told;
                    self.stale_lists = 0;
                    return Ok(());
                }
            }
        }
    }

    /// Refuses a list that is older than what we know.
    fn check_age(&mut self, told: u64) -> Result<(), Failure> {
        if told >= self.seen {
            return Ok(());
        }
        self.stale_lists = self.stale_lists.saturating_add(1);
        if self.stale_lists <= STALE_LISTS_MAX {
            let seen = self.seen;
            return Err(Failure::Garbled(format!(
                "a list of version {told}, when {seen} was told before"
            )));
        }
        warn!(
            kind = self.kind.kind,
            told,
            seen = self.seen,
            "History turned back; reading all anew"
        );
        let gone = self.hub.cache.clear(self.kind, &self.namespace);
        gone.into_iter().for_each(|gone| self.touch(Some(gone)));
        Ok(())
    }

    /// Follows until it has to be listed again.
    async fn follow(&mut self, version: &'static str) -> End {
        loop {
            let start = Instant::now();
            let end = self.follow_once(version).await;
            let (failure, reason) = match end {
                Ok(reason) => (None, reason),
                Err(failure) if failure.is_expired() => {
                    self.metrics.count_watch_end(self.kind.kind, "expired");
                    info!(kind = self.kind.kind, "Watch expired; listing again");
                    return End::Expired;
                }
                Err(failure) if failure.is_missing() || failure.is_forbidden() => {
                    self.metrics
                        .count_watch_end(self.kind.kind, failure.as_str());
                    return End::Failed(failure);
                }
                Err(failure) => {
                    let reason = failure.as_str();
                    (Some(failure), reason)
                }
            };
            self.metrics.count_watch_end(self.kind.kind, reason);
            if start.elapsed() >= GOOD_WATCH {
                self.failures = 0;
                continue;
            }
            if let Some(failure) = failure {
                warn!(kind = self.kind.kind, %failure, "Watch failed");
            }
            self.back_off().await;
        }
    }

    /// Follows until the watch ends, and says how.
    async fn follow_once(&mut self, version: &'static str) -> Result<&'static str, Failure> {
        let path = api::path(self.kind, version, &self.namespace, None)?;
        let seconds = WATCH_SECONDS.saturating_add(mix(self.seen) % WATCH_SECONDS);
        let query = format!(
            "watch=true&allowWatchBookmarks=true&resourceVersion={}&timeoutSeconds={seconds}",
            self.seen
        );
        let mut call = self.call(Verb::Watch, format!("{path}?{query}"));
        call.timeout = OPEN_TIMEOUT;
        let mut lines = Lines::new(self.api.open(call).await?);
        loop {
            let line = match time::timeout(SILENCE_MAX, lines.next()).await {
                Ok(Ok(Some(line))) => line,
                Ok(Ok(None)) => return Ok("ended"),
                Ok(Err(failure)) => {
                    debug!(kind = self.kind.kind, %failure, "Watch cut");
                    return Ok("cut");
                }
                Err(_) => return Ok("silent"),
            };
            let told = serde_json::from_slice::<Told>(&line);
            self.take_in(told.map_err(|error| Failure::Garbled(error.to_string()))?)?;
        }
    }

    fn take_in(&mut self, told: Told) -> Result<(), Failure> {
        let cache = &self.hub.cache;
        let seen = told.object.pointer("/metadata/resourceVersion");
        let seen = seen.and_then(Value::as_str).map_or(0, parse_version);
        let touched = match told.what {
            What::Added | What::Modified => cache.put(self.kind, told.object),
            What::Deleted => cache.remove(self.kind, told.object),
            What::Bookmark => None,
            What::Error => return Err(failure_of(&told.object)),
        };
        self.seen = self.seen.max(seen);
        self.touch(touched);
        Ok(())
    }

    fn touch(&self, touched: Option<Touched>) {
        if let Some(touched) = touched {
            self.hub.touched(&touched);
        }
    }

    fn settle(&mut self, readiness: Readiness) {
        if readiness == Readiness::Synced {
            self.failures = 0;
        }
        self.hub.settle(self.kind, &self.namespace, readiness);
    }

    /// Tells what does not work, and waits until it may be better.
    async fn rest_after(&mut self, failure: &Failure) {
        let kind = self.kind.kind;
        if failure.is_missing() {
            let reason = format!("the cluster has no kind {kind} in {}", group(self.kind));
            info!(kind, "Kind missing");
            self.settle(Readiness::NoKind(reason));
            if self.await_definition().await {
                return;
            }
        } else if failure.is_forbidden() {
            warn!(kind, %failure, "Kind not to be seen");
            self.settle(Readiness::Unavailable(failure.to_string()));
        } else {
            // What is known stays known: that the server does not answer says nothing about it.
            warn!(kind, %failure, "Kind not listed");
        }
        self.back_off().await;
    }

    async fn back_off(&mut self) {
        let doubled = 2_u32.saturating_pow(self.failures.min(16));
        let wait = BACKOFF_MIN.saturating_mul(doubled).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        let chance = mix(self.seen ^ u64::from(self.failures)) % 501;
        let share = u32::try_from(chance).unwrap_or(0).saturating_add(750);
        time::sleep(wait.saturating_mul(share) / 1_000).await;
    }

    /// Waits until the definition of the kind appears or changes. Where definitions can't be watched, tells so at once.
    async fn await_definition(&mut self) -> bool {
        let name = format!("{}.{}", self.kind.plural, self.kind.group);
        let Ok(path) = api::path(&DEFINITION, "v1", "", None) else {
            return false;
        };
        let query = format!(
            "watch=true&fieldSelector=metadata.name%3D{name}&timeoutSeconds={DEFINITION_SECONDS}"
        );
        let call = Call {
            kind: DEFINITION.kind,
            verb: Verb::Watch,
            path: format!("{path}?{query}"),
            body: Vec::new(),
            timeout: OPEN_TIMEOUT,
        };
        let Ok(body) = self.api.open(call).await else {
            return false;
        };
        let mut lines = Lines::new(body);
        let limit = Duration::from_secs(DEFINITION_SECONDS);
        loop {
            match time::timeout(limit, lines.next()).await {
                Ok(Ok(Some(line))) if is_established(&line) => {
                    self.failures = 0;
                    return false; // The server needs a moment until it serves it.
                }
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None)) | Err(_) => return true,
                Ok(Err(_)) => return false,
            }
        }
    }

    fn call(&self, verb: Verb, path: String) -> Call {
        Call {
            kind: self.kind.kind,
            verb,
            path,
            body: Vec::new(),
            timeout: LIST_TIMEOUT,
        }
    }
}

fn parse_list(answer: &[u8]) -> Result<List<'_>, Failure> {
    serde_json::from_slice(answer).map_err(|error| Failure::Garbled(error.to_string()))
}

fn name_of(object: &Value) -> Option<Name> {
    let metadata = object.get("metadata")?;
    let namespace = metadata.get("namespace").and_then(Value::as_str);
    let name = metadata.get("name")?.as_str()?;
    Some((namespace.unwrap_or_default().into(), name.into()))
}

fn failure_of(status: &Value) -> Failure {
    let code = status.get("code").and_then(Value::as_u64);
    let message = status.get("message").and_then(Value::as_str);
    Failure::Refused {
        code: code
            .and_then(|code| u16::try_from(code).ok())
            .unwrap_or(500),
        message: message.unwrap_or("the watch ended").to_owned(),
        retry_after: None,
    }
}

fn is_established(line: &[u8]) -> bool {
    let Ok(told) = serde_json::from_slice::<Told>(line) else {
        return false;
    };
    let conditions = told.object.pointer("/status/conditions");
    let mut conditions = conditions.and_then(Value::as_array).into_iter().flatten();
    matches!(told.what, What::Added | What::Modified)
        && conditions.any(|condition| {
            condition.get("type").and_then(Value::as_str) == Some("Established")
                && condition.get("status").and_then(Value::as_str) == Some("True")
        })
}

fn group(kind: &Kind) -> &'static str {
    if kind.group.is_empty() {
        "the core group"
    } else {
        kind.group
    }
}

/// Returns a token as it may stand in a query.
fn encode(token: &str) -> String {
    use std::fmt::Write as _;

    let mut text = String::with_capacity(token.len());
    for byte in token.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            // Writing to a string can't fail.
            write!(text, "%{byte:02X}").unwrap_or_default();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_keeps_its_place_in_a_query() {
        assert_eq!(encode("eyJ2_-.~=+/&x"), "eyJ2_-.~%3D%2B%2F%26x");
    }

    #[test]
    fn a_list_may_be_empty_in_each_way_that_servers_know() {
        for text in [
            r#"{"metadata": {"resourceVersion": "7"}, "items": []}"#,
            r#"{"metadata": {"resourceVersion": "7"}, "items": null}"#,
            r#"{"metadata": {"resourceVersion": "7", "continue": ""}}"#,
        ] {
            let list = parse_list(text.as_bytes()).unwrap();
            assert_eq!(list.items.unwrap_or_default().len(), 0);
            assert_eq!(list.metadata.resource_version, "7");
        }
    }
}
