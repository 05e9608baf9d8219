//! What is added to a plane that runs: definitions of kinds, routers with their data planes, Prometheus.
//!
//! One after the other, so that nobody installs the same thing twice. What takes requests listens inside at the port that somebody
//! holds open outside, and what comes in there is passed on: one address is good on both sides, as with the API server.
//!
//! **Invariant:** an add-on is told to be installed only when it can be used.

mod contour;
mod definitions;
mod envoy_gateway;
mod prometheus;
mod traefik;

use std::{collections::BTreeMap, fs, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use kube::Client;
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time,
};
use tracing::info;

pub(crate) use self::definitions::apply as define;
use crate::{
    addon::Addon,
    components::Cache,
    exchange::{Reply, exchange},
    host::{programs::Programs, relay},
    site::Site,
};

/// How long one add-on may take; idle machines need 3 s.
pub(crate) const INSTALL_TIMEOUT: Duration = Duration::from_secs(90);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How long a program of an add-on may take for an answer.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// How many may wait for their turn.
pub(super) const ORDERS_MAX: usize = 16;

/// What is there, and where it takes requests.
pub(super) type Installed = BTreeMap<Addon, Option<SocketAddr>>;

/// Somebody wants an add-on.
#[derive(Debug)]
pub(super) struct Order {
    pub addon: Addon,
    /// What listens outside for it, if it takes requests.
    pub outside: Option<TcpListener>,
    /// Where to tell the outcome.
    pub done: oneshot::Sender<Result<(), String>>,
}

/// Installs what is ordered.
pub(super) struct Addons {
    pub site: Site,
    pub client: Client,
    pub installed: watch::Sender<Installed>,
}

impl Addons {
    /// Installs for as long as no program dies, and then says which did.
    pub(super) async fn run(
        &self,
        mut orders: mpsc::Receiver<Order>,
        programs: &mut Programs,
    ) -> anyhow::Error {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                died = programs.watch() => return died,
                Some(order) = orders.recv() => {
                    let Order { addon, outside, done } = order;
                    let outcome = self.settle(addon, outside, programs, &mut tasks).await;
                    // Whoever does not wait any more does not want to know.
                    done.send(outcome.map_err(|error| format!("{error:#}"))).ok();
                }
                Some(_) = tasks.join_next() => {}
            }
        }
    }

    async fn settle(
        &self,
        addon: Addon,
        outside: Option<TcpListener>,
        programs: &mut Programs,
        tasks: &mut JoinSet<()>,
    ) -> anyhow::Result<()> {
        if self.installed.borrow().contains_key(&addon) {
            return Ok(());
        }
        let address = outside.as_ref().map(TcpListener::local_addr).transpose()?;
        let work = time::timeout(INSTALL_TIMEOUT, self.install(addon, address, programs));
        work.await
            .with_context(|| format!("{addon} was not ready in time"))?
            .with_context(|| format!("installing {addon}"))?;
        // A second Prometheus reads the list of pods that the first one's task writes.
        if matches!(addon, Addon::Prometheus(_)) && !self.has_prometheus() {
            tasks.spawn(prometheus::follow_pods(
                self.client.clone(),
                self.site.clone(),
            ));
        }
        if let (Some(listener), Some(address)) = (outside, address) {
            tasks.spawn(async move { relay::run(&listener, address).await });
        }
        self.tell(addon, address);
        Ok(())
    }

    async fn install(
        &self,
        addon: Addon,
        address: Option<SocketAddr>,
        programs: &mut Programs,
    ) -> anyhow::Result<()> {
        for needed in addon.needs() {
            self.define(*needed).await?;
        }
        self.define(addon).await?;
        let place = || address.context("nothing listens for it outside");
        match addon {
            Addon::Contour => contour::install(self, place()?, programs).await,
            Addon::Traefik => traefik::install(self, place()?, programs).await,
            Addon::EnvoyGateway => envoy_gateway::install(self, place()?, programs).await,
            Addon::Prometheus(scrape) => {
                prometheus::install(self, addon, scrape, place()?, programs).await
            }
            Addon::GatewayApi
            | Addon::Istio
            | Addon::ContourApi
            | Addon::TraefikApi
            | Addon::Knative
            | Addon::PrometheusOperator
            | Addon::Smi
            | Addon::Linkerd
            | Addon::Kuma
            | Addon::Apisix
            | Addon::Consul
            | Addon::Skipper
            | Addon::Gloo
            | Addon::Ambassador => Ok(()),
        }
    }

    fn has_prometheus(&self) -> bool {
        let installed = self.installed.borrow();
        installed
            .keys()
            .any(|addon| matches!(addon, Addon::Prometheus(_)))
    }

    fn tell(&self, addon: Addon, address: Option<SocketAddr>) {
        self.installed.send_modify(|installed| {
            installed.insert(addon, address);
        });
        info!(%addon, "Installed");
    }

    /// Makes the API server know the kinds of `addon`.
    async fn define(&self, addon: Addon) -> anyhow::Result<()> {
        if self.installed.borrow().contains_key(&addon) {
            return Ok(());
        }
        let kept = addon.definitions().map(|file| {
            let path = Cache::of_user()?.file(file)?;
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
        });
        for text in [kept.transpose()?.as_deref(), addon.own_definitions()] {
            definitions::apply(&self.client, text.unwrap_or_default()).await?;
        }
        if !addon.has_address() {
            self.tell(addon, None);
        }
        Ok(())
    }

    /// Makes an object; one that is there already stays as it is.
    async fn create(&self, collection: &str, object: &Value) -> anyhow::Result<()> {
        let request = Request::post(collection)
            .header("content-type", "application/json")
            .body(serde_json::to_vec(object)?)?;
        match self.client.request::<Value>(request).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            Err(error) => Err(error).with_context(|| format!("creating one of {collection}")),
        }
    }

    /// Tells a router's object which address it has, as a cloud's load balancer would.
    async fn give_address(&self, service: &str, address: SocketAddr) -> anyhow::Result<()> {
        let status =
            serde_json::json!({"status": {"loadBalancer": {"ingress": [{"ip": address.ip()}]}}});
        let request = Request::builder()
            .method(Method::PATCH)
            .uri(format!("{service}/status"))
            .header("content-type", "application/merge-patch+json")
            .body(serde_json::to_vec(&status)?)?;
        let patched = self.client.request::<Value>(request).await;
        patched
            .map(drop)
            .with_context(|| format!("giving {service} an address"))
    }

    /// Waits until an object of the API has this condition.
    async fn condition(&self, object: &str, condition: &str) -> anyhow::Result<()> {
        loop {
            let request = Request::get(object).body(Vec::new())?;
            let found: Value = self.client.request(request).await?;
            let conditions = found
                .pointer("/status/conditions")
                .and_then(Value::as_array);
            let is_true = |it: &Value| it["type"] == condition && it["status"] == "True";
            if conditions.is_some_and(|all| all.iter().any(is_true)) {
                return Ok(());
            }
            time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Lets every Prometheus of this plane ask one more program.
    fn scrape(&self, job: &str, address: SocketAddr, path: &str) -> anyhow::Result<()> {
        let directory = self.targets();
        fs::create_dir_all(&directory).context("making a directory for targets")?;
        let labels = serde_json::json!({"job": job, "__metrics_path__": path});
        let targets = serde_json::json!([{"targets": [address.to_string()], "labels": labels}]);
        // It is read while it is written otherwise.
        let (fresh, file) = (
            directory.join("fresh"),
            directory.join(format!("{job}.json")),
        );
        fs::write(&fresh, targets.to_string()).context("writing targets")?;
        fs::rename(&fresh, &file).context("writing targets")
    }

    /// Where those targets stand.
    fn targets(&self) -> PathBuf {
        self.site.path().join("targets")
    }
}

/// Waits until a program inside answers with 200.
async fn answers(address: SocketAddr, path: &str) -> anyhow::Result<()> {
    loop {
        let reply = time::timeout(REPLY_TIMEOUT, ask(address, path)).await;
        if reply.is_ok_and(|reply| reply.is_ok_and(|reply| reply.status == StatusCode::OK)) {
            return Ok(());
        }
        time::sleep(POLL_INTERVAL).await;
    }
}

async fn ask(address: SocketAddr, path: &str) -> anyhow::Result<Reply> {
    let stream = TcpStream::connect(address).await?;
    let request = Request::get(path).body(Bytes::new())?;
    exchange(stream, request)
        .await
        .map_err(anyhow::Error::from_boxed)
}
