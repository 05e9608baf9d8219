//! The cluster: etcd, API server, controllers, scheduler and KWOK with the flags that matter, and a few large nodes.

use std::{fs, io::Read as _, net::SocketAddr, path::Path, time::Duration};

use anyhow::Context as _;
use futures_util::future::try_join_all;
use http::Request;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tokio::time::{self, Instant};

use crate::{
    host::{
        network::{NODE, PODS},
        programs::{Programs, flag},
    },
    site::Site,
    stages,
};

/// How many nodes there are. They are large enough for everything, so that only scheduling by spread needs more than one.
const NODES: usize = 4;

/// The start takes 10 s on an idle machine with two cores.
const START_TIMEOUT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// What etcd listens on; inside, all ports but two are free.
const ETCD: &str = "http://127.0.0.1:2379";
const ETCD_PEER: &str = "http://127.0.0.1:2380";

/// Services get addresses of this range. Nothing answers there: there is no kube-proxy.
const SERVICES: &str = "10.96.0.0/16";

/// Counts the calls of each client; bodies would cost more than the calls.
const AUDIT_POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}"#;

/// Where it is and how one reaches it.
#[derive(Debug)]
pub(super) struct Cluster<'a> {
    pub site: &'a Site,
    pub api: SocketAddr,
    pub faults: SocketAddr,
}

impl Cluster<'_> {
    /// Starts everything and returns a client once the nodes are ready.
    pub(super) async fn start(&self, programs: &mut Programs) -> anyhow::Result<Client> {
        let deadline = Instant::now() + START_TIMEOUT;
        let token = token().context("making a token")?;
        self.write_files(&token)?;
        programs.start("etcd", &self.etcd())?;
        programs.start("kube-apiserver", &self.api_server())?;
        let client = programs
            .meanwhile(time::timeout_at(deadline, self.client()))
            .await?;
        let client = client.context("the API server was not ready in time")??;
        programs.start("kube-controller-manager", &self.controller_manager())?;
        programs.start("kube-scheduler", &self.scheduler())?;
        programs.start("kwok", &self.kwok())?;
        let nodes = time::timeout_at(deadline, nodes(client.clone()));
        let nodes = programs.meanwhile(nodes).await?;
        nodes.context("the nodes were not ready in time")??;
        let first = time::timeout_at(deadline, first_pod(client.clone()));
        let first = programs.meanwhile(first).await?;
        first.context("no pod had an address in time")??;
        Ok(client)
    }

    fn write_files(&self, token: &str) -> anyhow::Result<()> {
        let write = |name: &str, text: &str| {
            let path = self.site.path().join(name);
            fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
        };
        write(
            "tokens.csv",
            &format!("{token},admin,admin,\"system:masters\"\n"),
        )?;
        write("audit-policy.json", AUDIT_POLICY)?;
        write("stages.yaml", &stages::text())?;
        let scheduler = json!({
            "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
            "clientConnection": {"kubeconfig": self.site.kubeconfig(), "qps": 500, "burst": 1000},
            "leaderElection": {"leaderElect": false},
        });
        write("scheduler.json", &scheduler.to_string())?;
        let kubeconfig = |server| kubeconfig(server, &self.site.certificate(), token).to_string();
        write("kubeconfig", &kubeconfig(self.api))?;
        write("faults.kubeconfig", &kubeconfig(self.faults))
    }

    /// Waits for the API server's certificate, which it makes itself, and then for the server.
    async fn client(&self) -> anyhow::Result<Client> {
        while !self.site.certificate().exists() || !self.site.key().exists() {
            time::sleep(POLL_INTERVAL).await;
        }
        let client = client(&self.site.kubeconfig()).await?;
        loop {
            let request = Request::get("/readyz").body(Vec::new())?;
            // Until it answers with 200 it isn't ready.
            if client.request_text(request).await.is_ok() {
                return Ok(client);
            }
            time::sleep(POLL_INTERVAL).await;
        }
    }

    fn etcd(&self) -> Vec<String> {
        vec![
            flag("data-dir", &self.path("etcd")),
            // Nothing here outlives the machine.
            "--unsafe-no-fsync".to_owned(),
            flag("listen-client-urls", ETCD),
            flag("advertise-client-urls", ETCD),
            flag("listen-peer-urls", ETCD_PEER),
            flag("initial-advertise-peer-urls", ETCD_PEER),
            flag("initial-cluster", &format!("default={ETCD_PEER}")),
            flag("log-level", "warn"),
        ]
    }

    fn api_server(&self) -> Vec<String> {
        // It makes its certificate and its key before it reads what signs the tokens of service accounts.
        let key = self.site.key().display().to_string();
        vec![
            flag("etcd-servers", ETCD),
            flag("bind-address", "127.0.0.1"),
            // Without a default route it would not find one by itself.
            flag("advertise-address", "127.0.0.1"),
            flag("secure-port", &self.api.port().to_string()),
            flag("cert-dir", &self.path("certs")),
            flag("token-auth-file", &self.path("tokens.csv")),
            flag("authorization-mode", "RBAC"),
            flag("service-account-key-file", &key),
            flag("service-account-signing-key-file", &key),
            flag("service-account-issuer", "https://kubernetes.default.svc"),
            flag("service-cluster-ip-range", SERVICES),
            // Pods here have no use for a token, and need not wait for one.
            flag("disable-admission-plugins", "ServiceAccount"),
            flag("endpoint-reconciler-type", "none"),
            flag("max-requests-inflight", "2000"),
            flag("max-mutating-requests-inflight", "1000"),
            flag("audit-policy-file", &self.path("audit-policy.json")),
            flag(
                "audit-log-path",
                &self.site.audit_log().display().to_string(),
            ),
            flag("audit-log-maxsize", "512"),
            flag("audit-log-maxbackup", "1"),
        ]
    }

    fn controller_manager(&self) -> Vec<String> {
        vec![
            flag("kubeconfig", &self.kubeconfig()),
            flag("leader-elect", "false"),
            flag("authentication-skip-lookup", "true"),
            flag("kube-api-qps", "500"),
            flag("kube-api-burst", "1000"),
            flag("concurrent-replicaset-syncs", "20"),
            flag("concurrent-deployment-syncs", "20"),
            flag("horizontal-pod-autoscaler-sync-period", "2s"),
        ]
    }

    fn scheduler(&self) -> Vec<String> {
        vec![
            flag("config", &self.path("scheduler.json")),
            flag("authentication-skip-lookup", "true"),
        ]
    }

    fn kwok(&self) -> Vec<String> {
        vec![
            flag("kubeconfig", &self.kubeconfig()),
            flag("config", &self.path("stages.yaml")),
            flag("manage-all-nodes", "true"),
            flag("cidr", PODS),
            flag("node-ip", &NODE.to_string()),
            // Without leases the nodes are taken for dead after 40 s.
            flag("node-lease-duration-seconds", "40"),
        ]
    }

    fn path(&self, name: &str) -> String {
        self.site.path().join(name).display().to_string()
    }

    fn kubeconfig(&self) -> String {
        self.site.kubeconfig().display().to_string()
    }
}

/// Returns the client that a kubeconfig describes.
pub(crate) async fn client(kubeconfig: &Path) -> anyhow::Result<Client> {
    let text = Kubeconfig::read_from(kubeconfig).context("reading the kubeconfig")?;
    let config = Config::from_custom_kubeconfig(text, &KubeConfigOptions::default()).await;
    Client::try_from(config.context("using the kubeconfig")?).context("making a client")
}

/// Makes the nodes and waits until they are ready.
async fn nodes(client: Client) -> anyhow::Result<()> {
    let api = Api::<Node>::all(client);
    let names = (1..=NODES).map(|number| format!("node-{number}"));
    let nodes = names.map(|name| {
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
            "status": {
                "allocatable": {"cpu": "10000", "memory": "10000Gi", "pods": "10000"},
                "capacity": {"cpu": "10000", "memory": "10000Gi", "pods": "10000"},
            },
        });
        serde_json::from_value::<Node>(node)
    });
    let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
    let defaults = PostParams::default();
    try_join_all(nodes.iter().map(|node| api.create(&defaults, node)))
        .await
        .context("creating nodes")?;
    loop {
        let listed = api
            .list(&ListParams::default())
            .await
            .context("listing nodes")?;
        if listed.items.iter().filter(|node| is_ready(node)).count() >= NODES {
            return Ok(());
        }
        time::sleep(POLL_INTERVAL).await;
    }
}

/// Lets one pod come and go. KWOK 0.7 makes its pool of addresses when the first pod needs one; two pods that are first at the same
/// time would make one each, and have the same address.
async fn first_pod(client: Client) -> anyhow::Result<()> {
    let api = Api::<Pod>::namespaced(client, "kube-system");
    let pod = json!({
        "metadata": {"name": "first"},
        "spec": {"nodeName": "node-1", "containers": [{"name": "first", "image": "first"}]},
    });
    let created = api
        .create(&PostParams::default(), &serde_json::from_value(pod)?)
        .await;
    created.context("creating the first pod")?;
    loop {
        let pod = api.get("first").await.context("looking at the first pod")?;
        if pod.status.is_some_and(|status| status.pod_ip.is_some()) {
            break;
        }
        time::sleep(POLL_INTERVAL).await;
    }
    let at_once = DeleteParams::default().grace_period(0);
    api.delete("first", &at_once)
        .await
        .context("deleting the first pod")?;
    Ok(())
}

/// A node that is ready, and to which the controllers let pods go.
fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let is_ready = conditions
        .into_iter()
        .any(|it| it.type_ == "Ready" && it.status == "True");
    let taints = node
        .spec
        .iter()
        .flat_map(|spec| spec.taints.iter().flatten());
    is_ready
        && taints
            .into_iter()
            .all(|taint| taint.key != "node.kubernetes.io/not-ready")
}

fn kubeconfig(server: SocketAddr, certificate: &Path, token: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "plane",
        "clusters": [{"name": "plane", "cluster": {
            "server": format!("https://{server}"), "certificate-authority": certificate,
        }}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "plane", "context": {"cluster": "plane", "user": "admin"}}],
    })
}

/// Returns a secret of 128 bits: others on this machine can reach the port.
fn token() -> std::io::Result<String> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
