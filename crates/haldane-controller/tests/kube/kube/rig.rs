//! What the tests share: one plane, a namespace for each test, controllers, and what they did.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use haldane_controller::{Config, Controller, turn::Host};
use haldane_plane::{Plane, RuleId};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{ConfigMap, Event, Namespace},
};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime,
    sync::OnceCell,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use crate::kube::copies::Copies;

/// Other builds share this machine.
const TIMEOUT: Duration = Duration::from_secs(150);
const INTERVAL: Duration = Duration::from_millis(50);

/// How long something that must not happen is waited for.
pub(crate) const QUIET: Duration = Duration::from_secs(3);

/// A namespace of the plane.
pub(crate) struct Rig {
    pub plane: &'static Plane,
    pub ns: String,
    pub client: Client,
}

/// A controller that runs on a thread of its own.
pub(crate) struct Running<H = Copies> {
    pub host: Arc<H>,
    pub address: SocketAddr,
    stop: CancellationToken,
    death: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Rig {
    /// Returns a namespace called `ns`. The plane ends with the process.
    pub(crate) async fn new(ns: &str) -> Self {
        static PLANE: OnceCell<Plane> = OnceCell::const_new();
        let plane = PLANE
            .get_or_init(|| async { Plane::start().await.unwrap() })
            .await;
        let client = plane.client().await.unwrap();
        let namespace: Namespace = object(json!({"metadata": {"name": ns}}));
        let namespaces = Api::<Namespace>::all(client.clone());
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .unwrap();
        Self {
            plane,
            ns: ns.to_owned(),
            client,
        }
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            kubeconfig: Some(self.plane.faults_kubeconfig()),
            context: None,
            namespaces: vec![self.ns.clone()],
            qps: 100,
            burst: 200,
            is_shadow: false,
            lease_name: "haldane".to_owned(),
            lease_namespace: Some(self.ns.clone()),
            listen: Some(([127, 0, 0, 1], 0).into()),
        }
    }

    pub(crate) fn start(&self) -> Running {
        start(self.config())
    }

    pub(crate) fn maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.ns)
    }

    pub(crate) fn events(&self) -> Api<Event> {
        Api::namespaced(self.client.clone(), &self.ns)
    }

    /// Makes a source with this value.
    pub(crate) async fn source(&self, name: &str, value: &str, widget: Option<&str>) {
        let mut annotations = json!({"copy": "yes"});
        if let Some(widget) = widget {
            annotations["widget"] = json!(widget);
        }
        let map: ConfigMap = object(json!({
            "metadata": {"name": name, "annotations": annotations},
            "data": {"key": value},
        }));
        self.maps()
            .create(&PostParams::default(), &map)
            .await
            .unwrap();
    }

    pub(crate) async fn set(&self, name: &str, value: &str) {
        let patch = Patch::Merge(json!({"data": {"key": value}}));
        let params = PatchParams::default();
        self.maps().patch(name, &params, &patch).await.unwrap();
    }

    /// Sets how a source is copied.
    pub(crate) async fn annotate(&self, name: &str, copy: &str) {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {"copy": copy}}}));
        let params = PatchParams::default();
        self.maps().patch(name, &params, &patch).await.unwrap();
    }

    pub(crate) async fn delete(&self, name: &str) {
        let params = DeleteParams::default();
        self.maps().delete(name, &params).await.unwrap();
    }

    pub(crate) async fn value(&self, name: &str) -> Option<String> {
        let map = self.maps().get_opt(name).await.unwrap()?;
        map.data?.remove("key")
    }

    /// Waits until the copy of a source has this value.
    pub(crate) async fn copied(&self, name: &str, value: &str) {
        let copy = format!("{name}-copy");
        eventually(&format!("{value} in {copy}"), async || {
            let found = self.value(&copy).await;
            (found.as_deref() == Some(value)).then_some(())
        })
        .await;
    }

    pub(crate) async fn holder(&self) -> Option<String> {
        let leases = Api::<Lease>::namespaced(self.client.clone(), &self.ns);
        let lease = leases.get_opt("haldane").await.unwrap()?;
        lease.spec?.holder_identity
    }

    /// Returns what controllers asked of the server about ConfigMaps and events of this namespace: verb, resource and name.
    pub(crate) fn calls(&self) -> Vec<(String, String, String)> {
        let text = fs::read_to_string(self.plane.audit_log()).unwrap();
        let lines = text.lines().filter_map(|line| {
            let call: Value = serde_json::from_str(line).ok()?;
            let text = |pointer: &str| {
                let value = call.pointer(pointer).and_then(Value::as_str);
                value.unwrap_or_default().to_owned()
            };
            let is_ours = text("/userAgent").starts_with("haldane-controller/")
                && text("/objectRef/namespace") == self.ns
                && text("/stage") == "ResponseComplete"
                && text("/objectRef/resource") != "leases";
            let name = text("/objectRef/name");
            is_ours.then(|| (text("/verb"), text("/objectRef/resource"), name))
        });
        lines.collect()
    }

    pub(crate) fn count(&self, verb: &str, resource: &str) -> usize {
        let calls = self.calls();
        let is_meant = |call: &&(String, String, String)| call.0 == verb && call.1 == resource;
        calls.iter().filter(is_meant).count()
    }

    /// Waits until the server's log tells of so many calls, and fails on one more.
    pub(crate) async fn counts(&self, verb: &str, resource: &str, expected: usize) {
        let what = format!("{expected} times {verb} {resource}");
        let count = eventually(&what, async || {
            let count = self.count(verb, resource);
            (count >= expected).then_some(count)
        })
        .await;
        assert_eq!(count, expected, "{what}: {:?}", self.calls());
    }

    /// Returns a file beside those of the plane.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        let directory: &Path = self.plane.directory();
        directory.join(format!("{}-{name}", self.ns))
    }

    /// Waits until a rule was followed so often.
    pub(crate) async fn followed(&self, id: RuleId, times: u64) {
        eventually("the rule followed", async || {
            let rules = self.plane.rules().await.unwrap();
            let report = rules.iter().find(|report| report.id == id)?;
            (report.hits >= times).then_some(())
        })
        .await;
    }
}

/// Starts a controller of copies.
pub(crate) fn start(config: Config) -> Running {
    start_with(config, Arc::new(Copies::default()))
}

/// Starts a controller.
pub(crate) fn start_with<H: Host + 'static>(config: Config, host: Arc<H>) -> Running<H> {
    start_all(config, host, Vec::new())
}

/// Starts a controller that has more than one host.
pub(crate) fn start_all<H: Host + 'static>(
    config: Config,
    host: Arc<H>,
    more: Vec<Arc<dyn Host>>,
) -> Running<H> {
    let (stop, death) = (CancellationToken::new(), CancellationToken::new());
    let mut hosts: Vec<Arc<dyn Host>> = vec![Arc::<H>::clone(&host)];
    hosts.extend(more);
    let (stopped, dead) = (stop.clone(), death.clone());
    let (tx, rx) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        // With one thread, a host that blocks stops the whole controller, as a signal would.
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let controller = Controller::connect(config, hosts).await.unwrap();
            tx.send(controller.address().unwrap()).unwrap();
            tokio::select! {
                () = controller.run(stopped) => {}
                () = dead.cancelled() => {}
            }
        });
    });
    Running {
        host,
        address: rx.recv().unwrap(),
        stop,
        death,
        thread: Some(thread),
    }
}

impl<H> Running<H> {
    /// Tells it to end.
    pub(crate) fn tell_to_end(&self) {
        self.stop.cancel();
    }

    /// Ends it and waits until it has.
    pub(crate) fn end(mut self) {
        self.stop.cancel();
        self.thread.take().unwrap().join().unwrap();
    }

    /// Ends it in the middle of whatever it does; its lease is not given back.
    pub(crate) fn kill(mut self) {
        self.death.cancel();
        self.thread.take().unwrap().join().unwrap();
    }

    /// Returns what its endpoint answers.
    pub(crate) async fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        time::timeout(TIMEOUT, read).await.unwrap().unwrap();
        answer
    }

    /// Waits until an answer contains this.
    pub(crate) async fn answers(&self, path: &str, wanted: &str) {
        eventually(&format!("{wanted} at {path}"), async || {
            self.get(path).await.contains(wanted).then_some(())
        })
        .await;
    }
}

impl<H> Drop for Running<H> {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Waits until `look` sees something.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "not seen in time: {what}");
        time::sleep(INTERVAL).await;
    }
}

pub(crate) fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}
