//! What the tests share: a plane, its objects, and the program as people run it.

use std::{
    fs,
    path::PathBuf,
    process::{Output, Stdio},
    time::Duration,
};

use bytes::Bytes;
use haldane_plane::{Addon, Plane};
use http::{Method, Request};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::{self, Instant},
};

/// Two cores run a whole Kubernetes beside us.
const PATIENCE: Duration = Duration::from_secs(90);

const INTERVAL: Duration = Duration::from_millis(50);

const RELEASES: &str = "/apis/haldane.dev/v1alpha1";

/// A plane, and a place for files.
pub(crate) struct Rig {
    plane: Plane,
    dir: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) talk: String,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        let plane = Plane::start().await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        Self { plane, dir }
    }

    pub(crate) async fn stop(self) {
        self.plane.stop().await.unwrap();
    }

    /// Installs a definition that takes anything, and waits until it is served.
    pub(crate) async fn define(&self) {
        let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let version = json!({
            "name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": anything},
        });
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "releases.haldane.dev"},
            "spec": {
                "group": "haldane.dev", "scope": "Namespaced", "versions": [version],
                "names": {"kind": "Release", "plural": "releases", "singular": "release"},
            },
        });
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        self.create(path, &definition).await;
        let served = format!("{RELEASES}/releases");
        eventually("releases that are served", async || {
            self.try_get(&served).await
        })
        .await;
    }

    pub(crate) async fn namespace(&self, name: &str) {
        let object = json!({"metadata": {"name": name}});
        self.create("/api/v1/namespaces", &object).await;
    }

    /// Creates a release of the Deployment with its name, in a namespace of its own.
    pub(crate) async fn release(&self, namespace: &str, name: &str, status: &Value) {
        self.namespace(namespace).await;
        self.declare(namespace, name, status).await;
    }

    /// Creates a release of the Deployment with its name.
    pub(crate) async fn declare(&self, namespace: &str, name: &str, status: &Value) {
        let object = json!({
            "apiVersion": "haldane.dev/v1alpha1", "kind": "Release", "metadata": {"name": name},
            "spec": {
                "workload": {"deployment": {"name": name}},
                "rollout": {"steps": ["10%", "50%"], "hold": "1m"},
            },
        });
        self.create(
            &format!("{RELEASES}/namespaces/{namespace}/releases"),
            &object,
        )
        .await;
        self.set_status(namespace, name, status).await;
    }

    pub(crate) async fn set_status(&self, namespace: &str, name: &str, status: &Value) {
        let path = format!("{}/status", release_path(namespace, name));
        self.call(Method::PATCH, &path, &json!({ "status": status }))
            .await
            .unwrap();
    }

    /// Plays the controller: waits for a command with another id than the last answered one, and answers it; returns the command.
    pub(crate) async fn answer(
        &self,
        (namespace, name): (&str, &str),
        result: &str,
        status: &Value,
    ) -> Value {
        let note = self.command(namespace, name).await;
        let mut status = status.clone();
        status["command"] = json!({
            "id": note["id"], "name": note["name"], "by": note["by"], "result": result,
            "message": "the controller's words", "at": "2026-11-21T12:00:00Z",
        });
        self.set_status(namespace, name, &status).await;
        note
    }

    /// Waits for a command that has no answer yet.
    pub(crate) async fn command(&self, namespace: &str, name: &str) -> Value {
        let path = release_path(namespace, name);
        eventually("a command", async || {
            let release = self.try_get(&path).await?;
            let note = release["metadata"]["annotations"]["haldane.dev/command"].as_str()?;
            let note: Value = serde_json::from_str(note).unwrap();
            (release["status"]["command"]["id"] != note["id"]).then_some(note)
        })
        .await
    }

    pub(crate) async fn create(&self, path: &str, object: &Value) {
        self.call(Method::POST, path, object).await.unwrap();
    }

    pub(crate) async fn patch(&self, path: &str, patch: &Value) {
        self.call(Method::PATCH, path, patch).await.unwrap();
    }

    pub(crate) async fn try_get(&self, path: &str) -> Option<Value> {
        self.call(Method::GET, path, &Value::Null).await.ok()
    }

    /// Applies an object on the server; the path has the settings.
    pub(crate) async fn apply(&self, path: &str, object: &Value) -> Result<Value, String> {
        self.send(Method::PATCH, path, "application/apply-patch+yaml", object)
            .await
    }

    pub(crate) async fn install(&self, addon: Addon) {
        self.plane.install(addon).await.unwrap();
    }

    /// Returns where an add-on can be reached.
    pub(crate) async fn address(&self, addon: Addon) -> String {
        self.plane.address(addon).await.unwrap().to_string()
    }

    /// Asks for a host's page, whatever comes of it.
    pub(crate) async fn visit(&self, host: &str) {
        let request = Request::get("/").header("host", host);
        let request = request.body(Bytes::new()).unwrap();
        let gateway = self.plane.gateway().await.unwrap();
        self.plane.request(gateway, request).await.ok();
    }

    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Value, String> {
        let content = if method == Method::PATCH {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        self.send(method, path, content, body).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content: &str,
        body: &Value,
    ) -> Result<Value, String> {
        let body = if body.is_null() {
            Vec::new()
        } else {
            serde_json::to_vec(body).unwrap()
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content)
            .body(body)
            .unwrap();
        let client = self.plane.client().await.unwrap();
        let answer = client.request::<Value>(request).await;
        answer.map_err(|error| error.to_string())
    }

    /// Runs the program with the plane's kubeconfig.
    pub(crate) async fn haldane(&self, line: &str) -> Ended {
        let kubeconfig = self.plane.kubeconfig();
        let line = format!("{line} --kubeconfig {}", kubeconfig.display());
        ended(self.program(&line)).await
    }

    /// Returns the program with nothing of our own environment; it ends with us.
    pub(crate) fn program(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haldane"));
        command
            .args(line.split(' '))
            .env_clear()
            .env("HOME", self.dir.path())
            .env("HALDANE_ACTOR", "ann@desk")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Starts the program and goes on.
    pub(crate) fn begin(&self, line: &str) -> Child {
        let kubeconfig = self.plane.kubeconfig();
        let line = format!("{line} --kubeconfig {}", kubeconfig.display());
        let mut command = self.program(&line);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.plane.kubeconfig()
    }

    /// Writes the plane's kubeconfig with changes.
    pub(crate) fn kubeconfig_with(
        &self,
        name: &str,
        change: impl FnOnce(String) -> String,
    ) -> PathBuf {
        let text = fs::read_to_string(self.kubeconfig()).unwrap();
        let changed = change(text.clone());
        assert_ne!(changed, text, "nothing was changed");
        let path = self.dir.path().join(name);
        fs::write(&path, changed).unwrap();
        path
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns how many reads of a namespace's objects the API server has seen; what pods use is no object, and can't be watched.
    pub(crate) fn reads(&self, namespace: &str) -> usize {
        let log = fs::read_to_string(self.plane.audit_log()).unwrap();
        let calls = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let is_read = |call: &Value| {
            let target = &call["objectRef"];
            let verb = call["verb"].as_str().unwrap_or_default();
            let is_object = target["apiGroup"] != "metrics.k8s.io";
            is_object && target["namespace"] == namespace && ["get", "list"].contains(&verb)
        };
        calls.filter(is_read).count()
    }
}

impl Ended {
    /// Checks the exit code, and that something was said.
    #[track_caller]
    pub(crate) fn has(&self, code: i32, text: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(
            self.out.contains(text) || self.talk.contains(text),
            "expected {text:?} in {self:?}"
        );
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs a command to its end.
pub(crate) async fn ended(mut command: Command) -> Ended {
    of(time::timeout(PATIENCE, command.output())
        .await
        .unwrap()
        .unwrap())
}

/// Waits for the end of what was begun.
pub(crate) async fn end_of(child: Child) -> Ended {
    let output = time::timeout(PATIENCE, child.wait_with_output()).await;
    of(output.unwrap().unwrap())
}

fn of(output: Output) -> Ended {
    Ended {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        talk: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Waits until `look` sees something.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "not seen in time: {what}");
        time::sleep(INTERVAL).await;
    }
}

/// A status in the middle of a rollout, changed.
pub(crate) fn status(phase: &str) -> Value {
    json!({
        "observedGeneration": 1, "phase": phase, "message": format!("now {phase}"), "rollout": "shop-2",
        "step": "2/4", "weight": "10%", "stable": "v1", "canary": "v2",
    })
}

fn release_path(namespace: &str, name: &str) -> String {
    format!("{RELEASES}/namespaces/{namespace}/releases/{name}")
}
