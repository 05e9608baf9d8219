//! What one container answers, and how often it did.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt::Write as _,
    future,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::json;
use tokio::time;

use crate::pod::{behavior::Behavior, instance::Instance};

/// Where a container tells its counts, in the form that Prometheus reads. What is asked here is not counted.
const METRICS_PATH: &str = "/metrics";

/// The answers of one container.
#[derive(Debug)]
pub(super) struct Replies {
    instance: Instance,
    counts: Mutex<BTreeMap<u16, u64>>,
}

impl Replies {
    pub(super) fn new(instance: Instance) -> Self {
        Self {
            instance,
            counts: Mutex::new(BTreeMap::new()),
        }
    }

    /// Answers one request.
    pub(super) async fn answer(
        &self,
        req: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let behavior = match &self.instance.behavior {
            Ok(behavior) => behavior,
            Err(problems) => {
                let text = problems
                    .iter()
                    .map(|problem| format!("{problem}\n"))
                    .collect();
                return Ok(respond(StatusCode::INTERNAL_SERVER_ERROR, "unknown", text));
            }
        };
        if req.uri().path() == METRICS_PATH {
            return Ok(respond(
                StatusCode::OK,
                &behavior.version,
                self.metrics(behavior),
            ));
        }
        let status = self.decide(behavior);
        if !behavior.latency.is_zero() {
            time::sleep(behavior.latency).await;
        }
        let Some(status) = status else {
            return future::pending().await;
        };
        let body = json!({
            "version": behavior.version,
            "pod": self.instance.pod_name,
            "namespace": self.instance.namespace,
            "container": self.instance.id.container,
            "path": req.uri().path(),
        });
        Ok(respond(status, &behavior.version, format!("{body}\n")))
    }

    /// Returns the status of the next answer, or nothing if there will be none. Chance begins with the pod's id, so that a pod
    /// answers the same number of requests in the same way every time.
    fn decide(&self, behavior: &Behavior) -> Option<StatusCode> {
        // A panic elsewhere leaves the counts as they are, which is right.
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let number = counts.values().sum::<u64>();
        let chance = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (&self.instance.id.pod, number, salt).hash(&mut hasher);
            hasher.finish()
        };
        let (status, count) = if behavior.hang.takes(chance(0)) {
            (None, 0)
        } else if behavior.errors.takes(chance(1)) {
            (Some(StatusCode::INTERNAL_SERVER_ERROR), 500)
        } else {
            (Some(StatusCode::OK), 200)
        };
        let sum = counts.entry(count).or_default();
        *sum = sum.saturating_add(1);
        status
    }

    fn metrics(&self, behavior: &Behavior) -> String {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::from("# TYPE http_requests_total counter\n");
        for (code, count) in counts.iter().filter(|(code, _)| **code != 0) {
            writeln!(
                text,
                "http_requests_total{{version={:?},code=\"{code}\"}} {count}",
                behavior.version
            )
            .ok(); // A string takes everything.
        }
        text
    }
}

fn respond(status: StatusCode, version: &str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    if let Ok(version) = version.parse() {
        response.headers_mut().insert("x-version", version);
    }
    let kind = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::pod::instance::Id;

    fn replies(image: &str) -> Replies {
        Replies::new(Instance {
            id: Id {
                pod: "u1".to_owned(),
                container: "shop".to_owned(),
                restarts: 0,
            },
            namespace: "default".to_owned(),
            pod_name: "shop-1".to_owned(),
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            ports: vec![8080],
            behavior: Behavior::try_new(image, &[]),
            ends_in: None,
        })
    }

    fn decide(replies: &Replies, count: usize) -> Vec<Option<u16>> {
        let behavior = replies.instance.behavior.as_ref().unwrap();
        let decide = |_| replies.decide(behavior).map(|status| status.as_u16());
        (0..count).map(decide).collect()
    }

    #[test]
    fn errors_and_silence_come_in_their_share_and_are_the_same_each_time() {
        let answers = decide(&replies("shop:v2_errors-20_hang-10"), 10_000);
        let share = |wanted| answers.iter().filter(|status| **status == wanted).count();
        // Five standard deviations: 0.72 of 10,000 vary by 45, 0.18 by 38, 0.1 by 30.
        assert!(
            share(Some(200)).abs_diff(7_200) < 225,
            "{}",
            share(Some(200))
        );
        assert!(
            share(Some(500)).abs_diff(1_800) < 192,
            "{}",
            share(Some(500))
        );
        assert!(share(None).abs_diff(1_000) < 150, "{}", share(None));
        assert_eq!(
            decide(&replies("shop:v2_errors-20_hang-10"), 10_000),
            answers
        );
    }

    #[test]
    fn the_counts_are_told_by_version_and_code() {
        let replies = replies("shop:v2");
        decide(&replies, 3);
        let text = replies.metrics(replies.instance.behavior.as_ref().unwrap());
        let line = "http_requests_total{version=\"v2\",code=\"200\"} 3\n";
        assert_eq!(text, format!("# TYPE http_requests_total counter\n{line}"));
    }
}
