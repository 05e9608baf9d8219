//! The daemon's API over its unix socket.

use std::{io::BufReader, os::unix::net::UnixStream, path::PathBuf};

use haldane_api::http::{
    Answer, CommandName, CommandRequest, DaemonView, DeployRequest, RolloutHistory, ServiceView,
};
use haldane_core::Weight;
use serde::{Serialize, de::DeserializeOwned};

use crate::it::{
    http::{self, TIMEOUT},
    rig::{until, within},
};

/// A daemon's API.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    socket: PathBuf,
}

/// Why there was no answer, or none of the wanted kind.
#[derive(Clone, Debug)]
#[expect(
    dead_code,
    reason = "the texts are read in the messages of failed tests"
)]
pub(crate) enum Trouble {
    /// Nobody answered.
    Gone(String),
    /// The daemon refused, with this status and text.
    Refused(u16, String),
}

impl Api {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    pub(crate) fn daemon(&self) -> DaemonView {
        self.get("/v1/daemon").unwrap()
    }

    pub(crate) fn service(&self, name: &str) -> ServiceView {
        self.get(&format!("/v1/services/{name}")).unwrap()
    }

    pub(crate) fn rollout(&self, id: &str) -> Result<RolloutHistory, Trouble> {
        self.get(&format!("/v1/rollouts/{id}"))
    }

    pub(crate) fn deploy(&self, service: &str, request: &DeployRequest) -> Result<Answer, Trouble> {
        self.post(&format!("/v1/services/{service}/deploy"), request)
    }

    pub(crate) fn command(&self, service: &str, command: CommandName) -> Result<Answer, Trouble> {
        let request = CommandRequest {
            command,
            step: None,
            full: false,
            weight_bps: None,
            to: None,
            rollout: None,
            by: "the tests".to_owned(),
            reason: None,
        };
        self.post(&format!("/v1/services/{service}/commands"), &request)
    }

    /// Waits until a service's stable version is ready.
    #[track_caller]
    pub(crate) fn wait_ready(&self, service: &str) -> ServiceView {
        until("stable is ready", || {
            let view = self.service(service);
            let stable = &view.stable;
            (stable.replicas_wanted > 0 && stable.replicas_ready >= stable.replicas_wanted)
                .then_some(view)
        })
    }

    /// Waits until a service's rollout is over, and returns its history.
    #[track_caller]
    pub(crate) fn wait_over(&self, id: &str) -> RolloutHistory {
        within(TIMEOUT * 6, "the rollout is over", || {
            let history = self.rollout(id).ok()?;
            history.ended_at.is_some().then_some(history)
        })
    }

    /// Waits until the proxy is seen to send the canary this weight.
    #[track_caller]
    pub(crate) fn wait_weight(&self, service: &str, weight: Weight) -> ServiceView {
        until("the weight is applied", || {
            let view = self.service(service);
            let rollout = view.rollout.as_ref()?;
            (rollout.is_applied && rollout.weight_bps == weight).then_some(view)
        })
    }

    /// Returns the weight that the proxy itself says it sends to a version, in basis points.
    pub(crate) fn published(&self, service: &str, version: &str) -> Option<u16> {
        let metrics = self.metrics();
        let labels =
            format!("haldane_proxy_weight_ratio{{service=\"{service}\",version=\"{version}\"}} ");
        let ratio = metrics
            .lines()
            .find_map(|line| line.strip_prefix(&labels))?
            .replace('.', "");
        Some(ratio.parse().unwrap())
    }

    pub(crate) fn metrics(&self) -> String {
        self.ask("GET", "/metrics", b"").unwrap()
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Trouble> {
        self.ask("GET", path, b"").map(|text| parse(&text))
    }

    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Trouble> {
        self.ask("POST", path, &to_json(body))
            .map(|text| parse(&text))
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Result<String, Trouble> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: haldane\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let answer = UnixStream::connect(&self.socket).and_then(|stream| {
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            http::exchange(&mut BufReader::new(stream), &head, body)
        });
        let answer = answer.map_err(|error| Trouble::Gone(error.to_string()))?;
        match answer.status {
            200..=299 => Ok(answer.text()),
            status => Err(Trouble::Refused(status, answer.text())),
        }
    }
}

fn to_json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).unwrap()
}

fn parse<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}
