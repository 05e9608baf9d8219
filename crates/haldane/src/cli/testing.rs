//! A scripted daemon on a real socket, and the services it tells of.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io::Write,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use haldane_api::http::ServiceView;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::UnixListener, task::JoinSet};

use super::{Cli, Exit, Globals, client::Client, globals::Format, paint::Paint, place::Place, run};

/// What the scripted daemon answers.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    kind: &'static str,
    body: String,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            kind: "application/json",
            body: body.to_string(),
        }
    }

    pub(crate) fn text(status: u16, body: &str) -> Self {
        Self {
            status,
            kind: "text/plain",
            body: body.to_owned(),
        }
    }

    /// Sends these services, and ends.
    pub(crate) fn events(services: &[Value]) -> Self {
        let event = |service: &Value| format!("event: service\ndata: {service}\n\n");
        Self {
            status: 200,
            kind: "text/event-stream",
            body: services.iter().map(event).collect(),
        }
    }
}

/// A daemon that answers by a script, keyed by method and path without query.
#[derive(Debug)]
pub(crate) struct Daemon {
    dir: TempDir,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    _tasks: JoinSet<()>,
}

impl Daemon {
    pub(crate) fn start<const N: usize>(script: [(&str, Reply); N]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("haldane.sock")).unwrap();
        let script: BTreeMap<String, Reply> = script
            .into_iter()
            .map(|(key, reply)| (key.to_owned(), reply))
            .collect();
        let (script, asked) = (Arc::new(script), Arc::new(Mutex::new(Vec::new())));
        let mut tasks = JoinSet::new();
        let told = Arc::clone(&asked);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (script, told) = (Arc::clone(&script), Arc::clone(&told));
                connections.spawn(async move {
                    let answer =
                        service_fn(|req| answer(req, Arc::clone(&script), Arc::clone(&told)));
                    http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), answer)
                        .await
                        .ok();
                });
            }
        });
        Self {
            dir,
            asked,
            _tasks: tasks,
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.dir.path().join("haldane.sock"))
    }

    /// Settings for commands that talk to this daemon.
    pub(crate) fn globals(&self) -> Globals {
        globals(self.dir.path())
    }

    /// What was asked so far: method, path with query, and body.
    pub(crate) fn asked(&self) -> Vec<(String, Value)> {
        self.asked.lock().unwrap().clone()
    }

    /// Runs a command line against this daemon; returns how it ended and what it wrote.
    pub(crate) async fn run(&self, line: &str) -> (anyhow::Result<Exit>, String) {
        let words: Vec<&str> = line.split(' ').collect();
        self.run_words(&words).await
    }

    pub(crate) async fn run_words(&self, words: &[&str]) -> (anyhow::Result<Exit>, String) {
        let mut out = Vec::new();
        let exit = self.run_words_into(words, &mut out).await;
        (exit, String::from_utf8(out).unwrap())
    }

    pub(crate) async fn run_into(&self, line: &str, out: &mut impl Write) -> anyhow::Result<Exit> {
        let words: Vec<&str> = line.split(' ').collect();
        self.run_words_into(&words, out).await
    }

    async fn run_words_into(&self, words: &[&str], out: &mut impl Write) -> anyhow::Result<Exit> {
        let words = ["haldane"].iter().chain(words);
        let cli = <Cli as clap::Parser>::try_parse_from(words).unwrap();
        let mut globals = self.globals();
        globals.format = cli.globals.output;
        run(cli.command, &globals, out).await
    }
}

/// Settings for commands that find their daemon there.
pub(crate) fn globals(data_dir: &std::path::Path) -> Globals {
    Globals {
        place: Place {
            data_dir: data_dir.to_owned(),
            socket: data_dir.join("haldane.sock"),
        },
        access: None,
        format: Format::Table,
        actor: "ann@desk".to_owned(),
        width: 80,
        is_terminal: false,
        paint: Paint::Mono,
        zone: TimeZone::UTC,
    }
}

async fn answer(
    req: Request<Incoming>,
    script: Arc<BTreeMap<String, Reply>>,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = req.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    asked
        .lock()
        .unwrap()
        .push((format!("{} {}", head.method, head.uri), body));
    let unknown = Reply::json(
        404,
        &json!({ "error": format!("nothing at {}", head.uri.path()) }),
    );
    let reply = script
        .get(&format!("{} {}", head.method, head.uri.path()))
        .unwrap_or(&unknown);
    let response = Response::builder()
        .status(reply.status)
        .header("content-type", reply.kind);
    Ok(response
        .body(Full::new(Bytes::from(reply.body.clone())))
        .unwrap())
}

/// The service `auth` with a rollout in this phase.
pub(crate) fn service(phase: &str) -> ServiceView {
    serde_json::from_value(service_json(phase)).unwrap()
}

/// The same as it is sent.
pub(crate) fn service_json(phase: &str) -> Value {
    let is_over = ["Completed", "RolledBack", "Failed"].contains(&phase);
    let step = |text: &str, weight: u16, state: &str| json!({ "text": text, "weightBps": weight, "state": state });
    json!({
        "name": "auth",
        "listen": ["127.0.0.1:8080"],
        "stable": version_json("v1", 2, 1_200, 7_500),
        "canary": version_json("v2", 1, 62_000, 2_500),
        "rollout": {
            "id": "auth-7", "kind": "deploy", "by": "ann@desk", "reason": "faster login",
            "stable": "v1", "canary": "v2", "phase": phase, "isOver": is_over, "step": 4,
            "steps": [
                step("send 5%", 500, "Done"), step("hold 5m", 500, "Done"),
                step("send 25%", 2_500, "Done"), step("hold 5m", 2_500, "Current"),
                step("send 100%", 10_000, "Next"), step("hold 5m", 10_000, "Next"),
            ],
            "weightBps": 2_500, "observedBps": 2_483, "isApplied": true, "waitsForPerson": phase == "Paused",
            "message": "holding at 25% for 5m",
            "next": "send 100% at 12:04:00, unless a guard breaks",
            "nextAt": "2026-11-21T12:04:00Z",
            "startedAt": "2026-11-21T11:50:00Z",
            "endedAt": is_over.then_some("2026-11-21T12:00:00Z"),
            "judgement": judgement_json(),
            "recommendation": "abort: the canary fails 6.2% of its requests",
        },
        "queued": null,
        "differences": ["stable is v1, the file says v0"],
        "notices": [],
        "at": "2026-11-21T12:00:00Z",
    })
}

fn judgement_json() -> Value {
    let guard = |metric: &str,
                 limit: &str,
                 stable: &str,
                 canary: &str,
                 verdict: &str,
                 severity: &str,
                 reason: &str| {
        json!({
            "metric": metric, "limit": limit, "stable": stable, "canary": canary,
            "verdict": verdict, "severity": severity, "reason": reason,
        })
    };
    json!({
        "verdict": "Fail",
        "reason": "errorRate 6.2% is beyond 5%",
        "from": "2026-11-21T11:59:00Z",
        "to": "2026-11-21T12:00:00Z",
        "requests": { "stable": 1_440, "canary": 481 },
        "guards": [
            guard("errorRate", "at most 5%", "0.12%", "6.2%", "Fail", "Critical", "6.2% of 1500 requests failed"),
            guard("p95", "at most 500ms", "42ms", "44ms", "Pass", "Warn", "within the limit"),
        ],
        "bands": [
            {
                "metric": "latency", "finding": "Suspect", "usual": "30ms to 50ms (5 weeks)", "stable": "42ms", "canary": "90ms",
                "reason": "p95 90ms of the canary; usual at this hour of the week is 30ms to 50ms (5 weeks); stable is in its band with 42ms",
            },
            {
                "metric": "request rate", "finding": "Usual", "usual": "80/s to 120/s (5 weeks)", "stable": "100/s", "canary": null,
                "reason": "100/s; usual at this hour of the week is 80/s to 120/s (5 weeks)",
            },
            {
                "metric": "payments", "finding": "Unknown", "usual": null, "stable": "0.1%", "canary": "0.1%",
                "reason": "not enough history yet to know what is usual; about a day of it is needed",
            },
        ],
        "comparison": {
            "harmPercent": 100,
            "metrics": [
                {
                    "name": "errors", "verdict": "Fail", "stable": "0.12%", "canary": "6.2%", "ratio": "51× (22× to 180×)",
                    "harmPercent": 100, "finePercent": 0, "fineInSeconds": null,
                    "reason": "the canary fails 51 times as many of its requests",
                },
                {
                    "name": "latency", "verdict": "Inconclusive", "stable": "5% over 42ms", "canary": "6% over 42ms", "ratio": null,
                    "harmPercent": 12, "finePercent": 40, "fineInSeconds": 75,
                    "reason": "needs about 2 min to see twice as many slow requests",
                },
            ],
        },
    })
}

fn version_json(version: &str, replicas: u32, error_ppm: u64, share_bps: u64) -> Value {
    json!({
        "version": version,
        "source": format!("./auth-{version} --port $PORT"),
        "replicasWanted": replicas, "replicasReady": replicas, "replicasExisting": replicas,
        "figures": {
            "requests": 6_000, "errorRatePpm": error_ppm, "requestRateMilli": 100_000,
            "p50Us": 12_300, "p95Us": 42_000, "p99Us": 88_100, "successRatePpm": 1_000_000 - error_ppm,
            "cpuPpm": 32_000, "memoryBytes": 12_900_000, "restarts": 0, "readyPpm": 1_000_000,
            "trafficShareBps": share_bps,
        },
    })
}
