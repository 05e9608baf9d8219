//! Requests to the API server, below all types: what goes out is text, what comes back is text or the reason why not.
//!
//! Objects are kept and compared as JSON, so nothing is gained by reading them into types. Nothing is retried here: whoever asks
//! knows better whether what was asked is still wanted.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use haldane_router::Kind;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kube::{Client, client::Body};
use serde::Deserialize;
use thiserror::Error;
use tokio::time::{self, Instant};

use crate::metrics::Metrics;

const AGENT: &str = concat!("haldane-controller/", env!("CARGO_PKG_VERSION"));

/// A page of 500 objects of half a megabyte each; more than any cluster has in one kind, and less than a machine has memory.
const BODY_BYTES_MAX: usize = 256 << 20;

/// An answer that says no is a short text.
const STATUS_BYTES_MAX: usize = 1 << 20;

/// The longest that a server may ask us to stay away.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// The API server of one cluster.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
    metrics: Arc<Metrics>,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// What counts it in the metrics.
    pub kind: &'static str,
    /// What counts it in the metrics.
    pub verb: Verb,
    /// Path and query.
    pub path: String,
    /// The body; empty for reads.
    pub body: Vec<u8>,
    /// How long it may take.
    pub timeout: Duration,
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Patch,
    PatchStatus,
    Delete,
}

/// Why a request has no good answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Failure {
    /// The server said no.
    #[error("{message}")]
    Refused {
        /// The status code.
        code: u16,
        /// What it says.
        message: String,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// No answer came, or only a part of it: what was asked may be done.
    #[error("no answer: {0}")]
    Unanswered(String),
    /// The answer makes no sense.
    #[error("an answer that makes no sense: {0}")]
    Garbled(String),
    /// No request can name this.
    #[error("{0:?} is no name of an object")]
    Name(String),
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    message: String,
    #[serde(default)]
    details: Option<StatusDetails>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatusDetails {
    #[serde(default)]
    retry_after_seconds: u64,
}

impl Api {
    pub(crate) fn new(client: Client, metrics: Arc<Metrics>) -> Self {
        Self { client, metrics }
    }

    /// Returns the whole answer.
    pub(crate) async fn ask(&self, call: Call) -> Result<Bytes, Failure> {
        let (kind, verb, timeout) = (call.kind, call.verb, call.timeout);
        let start = Instant::now();
        let answer = async {
            let rsp = self.send(call).await?;
            collect(rsp, BODY_BYTES_MAX).await
        };
        let answer = match time::timeout(timeout, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(late(timeout)),
        };
        if !verb.is_read() {
            let result = answer.as_ref().err().map_or("done", Failure::as_str);
            self.metrics
                .count_write(kind, verb, result, start.elapsed());
        }
        answer
    }

    /// Returns the answer's body as soon as it begins.
    pub(crate) async fn open(&self, call: Call) -> Result<Body, Failure> {
        let timeout = call.timeout;
        match time::timeout(timeout, self.send(call)).await {
            Ok(rsp) => Ok(rsp?.into_body()),
            Err(_) => Err(late(timeout)),
        }
    }

    async fn send(&self, call: Call) -> Result<Response<Body>, Failure> {
        if call.verb.is_read() {
            self.metrics.count_read(call.kind, call.verb);
        }
        let content = match call.verb {
            Verb::Patch | Verb::PatchStatus => "application/merge-patch+json",
            Verb::Get | Verb::List | Verb::Watch | Verb::Create | Verb::Delete => {
                "application/json"
            }
        };
        let req = Request::builder()
            .method(call.verb.method())
            .uri(call.path)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, content)
            .header(header::USER_AGENT, AGENT)
            .body(Body::from(call.body))
            .map_err(|error| Failure::Garbled(error.to_string()))?;
        let rsp = self.client.send(req).await.map_err(unanswered)?;
        if rsp.status().is_success() {
            return Ok(rsp);
        }
        Err(refused(rsp).await)
    }
}

impl Verb {
    /// Returns its name in the metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Patch => "patch",
            Self::PatchStatus => "patch_status",
            Self::Delete => "delete",
        }
    }

    const fn is_read(self) -> bool {
        matches!(self, Self::Get | Self::List | Self::Watch)
    }

    const fn method(self) -> Method {
        match self {
            Self::Get | Self::List | Self::Watch => Method::GET,
            Self::Create => Method::POST,
            Self::Patch | Self::PatchStatus => Method::PATCH,
            Self::Delete => Method::DELETE,
        }
    }
}

impl Failure {
    pub(crate) const fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Unanswered(_) | Self::Garbled(_) | Self::Name(_) => None,
        }
    }

    /// Whether the server has neither the object nor, for a list, the kind.
    pub(crate) const fn is_missing(&self) -> bool {
        matches!(self.code(), Some(404))
    }

    /// Whether the version that was asked from is too old.
    pub(crate) const fn is_expired(&self) -> bool {
        matches!(self.code(), Some(410))
    }

    /// Whether the right is missing.
    pub(crate) const fn is_forbidden(&self) -> bool {
        matches!(self.code(), Some(401 | 403))
    }

    /// Whether what we know of the object may be wrong: somebody else wrote, it is gone, or our own write may be done.
    pub(crate) const fn is_doubt(&self) -> bool {
        match self {
            Self::Refused { code, .. } => matches!(code, 404 | 409) || *code >= 500,
            Self::Unanswered(_) | Self::Garbled(_) => true,
            Self::Name(_) => false,
        }
    }

    /// Returns how long the server wants to be left alone.
    pub(crate) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Unanswered(_) | Self::Garbled(_) | Self::Name(_) => None,
        }
    }

    /// Returns its name in the metrics.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Refused { code, .. } => match code {
                401 | 403 => "forbidden",
                404 => "missing",
                409 => "conflict",
                429 => "throttled",
                400..=499 => "refused",
                _ => "error",
            },
            Self::Unanswered(_) => "unanswered",
            Self::Garbled(_) => "garbled",
            Self::Name(_) => "refused",
        }
    }
}

/// Returns the path of the objects of a kind, or of one of them. A namespace that is empty stands for all of them.
pub(crate) fn path(
    kind: &Kind,
    version: &str,
    namespace: &str,
    name: Option<&str>,
) -> Result<String, Failure> {
    let mut path = if kind.group.is_empty() {
        format!("/api/{version}")
    } else {
        format!("/apis/{}/{version}", kind.group)
    };
    if !namespace.is_empty() {
        path.push_str("/namespaces/");
        path.push_str(segment(namespace)?);
    }
    path.push('/');
    path.push_str(kind.plural);
    if let Some(name) = name {
        path.push('/');
        path.push_str(segment(name)?);
    }
    Ok(path)
}

/// Lets only through what can't leave its place in a path; Kubernetes allows no other names for what is read and written here.
fn segment(name: &str) -> Result<&str, Failure> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':');
    let has_letter = name.bytes().any(|byte| byte.is_ascii_alphanumeric());
    if has_letter && name.bytes().all(is_fine) {
        Ok(name)
    } else {
        Err(Failure::Name(name.to_owned()))
    }
}

async fn collect(rsp: Response<Body>, bytes_max: usize) -> Result<Bytes, Failure> {
    let body = Limited::new(rsp.into_body(), bytes_max);
    match body.collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Failure::Garbled(format!(
            "it is longer than {bytes_max} bytes"
        ))),
        Err(error) => Err(Failure::Unanswered(error.to_string())),
    }
}

async fn refused(rsp: Response<Body>) -> Failure {
    let code = rsp.status();
    let header = rsp.headers().get(header::RETRY_AFTER);
    let header = header.and_then(|value| value.to_str().ok()?.parse().ok());
    let body = collect(rsp, STATUS_BYTES_MAX).await.unwrap_or_default();
    let status = serde_json::from_slice::<Status>(&body).ok();
    let details = status.as_ref().and_then(|status| status.details.as_ref());
    let told = details.map(|details| details.retry_after_seconds);
    let seconds = header.or(told).filter(|seconds| *seconds > 0);
    let message = status.map(|status| status.message);
    let message = message.filter(|message| !message.is_empty());
    Failure::Refused {
        code: code.as_u16(),
        message: message.unwrap_or_else(|| phrase(code)),
        retry_after: seconds.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX)),
    }
}

fn phrase(code: StatusCode) -> String {
    code.to_string().to_lowercase()
}

fn late(timeout: Duration) -> Failure {
    Failure::Unanswered(format!("none within {} s", timeout.as_secs()))
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` passes")]
fn unanswered(error: kube::Error) -> Failure {
    use std::error::Error as _;

    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    Failure::Unanswered(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPLOYMENT: Kind = Kind {
        group: "apps",
        kind: "Deployment",
        plural: "deployments",
        versions: &["v1"],
    };

    #[test]
    fn a_path_names_what_is_meant() {
        let check = |namespace, name, expected: &str| {
            let path = path(&DEPLOYMENT, "v1", namespace, name).unwrap();
            assert_eq!(path, expected);
        };
        check("", None, "/apis/apps/v1/deployments");
        check("shop", None, "/apis/apps/v1/namespaces/shop/deployments");
        check(
            "shop",
            Some("web-1.a"),
            "/apis/apps/v1/namespaces/shop/deployments/web-1.a",
        );
    }

    #[test]
    fn no_name_leaves_its_place_in_a_path() {
        for name in ["", ".", "..", "a/b", "a?b", "a#b", "a%2fb", "a b", "ä"] {
            let error = path(&DEPLOYMENT, "v1", "shop", Some(name)).unwrap_err();
            assert_eq!(error, Failure::Name(name.to_owned()));
        }
    }
}
