//! Contour with one Envoy: the Gateway API and Contour's own `HTTPProxy`, with real traffic.

use std::{fs, net::SocketAddr};

use anyhow::Context as _;
use serde_json::json;

use crate::{
    components::Cache,
    host::{
        addons::{Addons, answers},
        programs::{Programs, flag},
    },
};

/// What Contour adds to a listener's port, because in a container it must not take a port below 1024.
const PORT_OFFSET: u16 = 8000;

/// Where Envoy asks Contour.
const XDS_ADDRESS: &str = "127.0.0.1";
const XDS_PORT: &str = "8001";

/// Where Envoy tells that it is ready, and its statistics.
const STATISTICS: ([u8; 4], u16) = ([127, 0, 0, 1], 8002);

const NAMESPACE: &str = "projectcontour";

/// Starts both, with a Gateway whose requests Envoy takes at `address`.
pub(super) async fn install(
    addons: &Addons,
    address: SocketAddr,
    programs: &mut Programs,
) -> anyhow::Result<()> {
    let port = address.port().checked_sub(PORT_OFFSET).filter(|it| *it > 0);
    let port = port.with_context(|| format!("Contour can't listen on {address}"))?;
    objects(addons, port, address).await?;
    let cache = Cache::of_user()?;
    let (contour, envoy) = (cache.file("contour")?, cache.file("envoy")?);
    let path = |name: &str| addons.site.path().join(name).display().to_string();
    let config = json!({"gateway": {"gatewayRef": {"name": "contour", "namespace": NAMESPACE}}});
    fs::write(path("contour.yaml"), config.to_string()).context("writing Contour's settings")?;
    let kubeconfig = addons.site.kubeconfig().display().to_string();
    let serve = [
        "serve".to_owned(),
        flag("kubeconfig", &kubeconfig),
        flag("config-path", &path("contour.yaml")),
        "--insecure".to_owned(),
        "--disable-leader-election".to_owned(),
        flag("xds-address", XDS_ADDRESS),
        flag("xds-port", XDS_PORT),
        flag("http-port", "8005"),
        flag("health-port", "8003"),
        flag("envoy-service-name", "envoy"),
        flag("envoy-service-namespace", NAMESPACE),
    ];
    programs.run("contour", &contour, &serve)?;
    let bootstrap = [
        "bootstrap".to_owned(),
        flag("xds-address", XDS_ADDRESS),
        flag("xds-port", XDS_PORT),
        flag("xds-resource-version", "v3"),
        flag("admin-address", &path("envoy-admin.sock")),
        path("envoy.json"),
    ];
    programs
        .finish("contour-bootstrap", &contour, &bootstrap)
        .await?;
    // Envoy wants the value of an option as a word of its own.
    let config = path("envoy.json");
    let options = [
        ["--config-path", &config],
        ["--service-cluster", NAMESPACE],
        ["--service-node", "envoy-1"],
        ["--concurrency", "1"],
        ["--log-level", "warning"],
    ];
    let args: Vec<String> = options.iter().flatten().map(ToString::to_string).collect();
    programs.run("envoy", &envoy, &args)?;
    addons.scrape("envoy", STATISTICS.into(), "/stats/prometheus")?;
    let gateway =
        format!("/apis/gateway.networking.k8s.io/v1/namespaces/{NAMESPACE}/gateways/contour");
    let programmed = addons.condition(&gateway, "Programmed");
    programs.meanwhile(programmed).await??;
    let ready = answers(STATISTICS.into(), "/ready");
    programs.meanwhile(ready).await?
}

async fn objects(addons: &Addons, port: u16, address: SocketAddr) -> anyhow::Result<()> {
    let namespace = json!({"metadata": {"name": NAMESPACE}});
    addons.create("/api/v1/namespaces", &namespace).await?;
    let services = format!("/api/v1/namespaces/{NAMESPACE}/services");
    let service = json!({
        "metadata": {"name": "envoy"},
        "spec": {"type": "LoadBalancer", "ports": [{"name": "http", "port": 80, "targetPort": address.port()}]},
    });
    addons.create(&services, &service).await?;
    addons
        .give_address(&format!("{services}/envoy"), address)
        .await?;
    let group = "/apis/gateway.networking.k8s.io/v1";
    let class = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
        "metadata": {"name": "contour"},
        "spec": {"controllerName": "projectcontour.io/gateway-controller"},
    });
    addons
        .create(&format!("{group}/gatewayclasses"), &class)
        .await?;
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "contour"},
        "spec": {"gatewayClassName": "contour", "listeners": [{
            "name": "http", "protocol": "HTTP", "port": port,
            "allowedRoutes": {"namespaces": {"from": "All"}},
        }]},
    });
    let gateways = format!("{group}/namespaces/{NAMESPACE}/gateways");
    addons.create(&gateways, &gateway).await
}
