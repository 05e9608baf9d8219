//! Traefik: its own kinds and the Gateway API, with real traffic.

use std::net::SocketAddr;

use serde_json::json;

use crate::{
    components::Cache,
    host::{
        addons::{Addons, answers},
        programs::{Programs, flag},
    },
};

/// Where it tells that it is ready, and its statistics.
const STATISTICS: ([u8; 4], u16) = ([127, 0, 0, 1], 8009);

const NAMESPACE: &str = "traefik";

/// Starts it, with a Gateway whose requests it takes at `address`.
pub(super) async fn install(
    addons: &Addons,
    address: SocketAddr,
    programs: &mut Programs,
) -> anyhow::Result<()> {
    objects(addons, address).await?;
    let traefik = Cache::of_user()?.file("traefik")?;
    let statistics = SocketAddr::from(STATISTICS);
    let args = [
        flag("entryPoints.web.address", &address.to_string()),
        flag("entryPoints.traefik.address", &statistics.to_string()),
        flag("providers.kubernetesCRD", "true"),
        flag("providers.kubernetesCRD.allowCrossNamespace", "true"),
        flag("providers.kubernetesGateway", "true"),
        flag("providers.kubernetesGateway.statusAddress.ip", "127.0.0.1"),
        // It collects changes for 2 s otherwise.
        flag("providers.providersThrottleDuration", "100ms"),
        flag("ping", "true"),
        flag("metrics.prometheus", "true"),
        flag("metrics.prometheus.addServicesLabels", "true"),
        flag("global.checkNewVersion", "false"),
        flag("global.sendAnonymousUsage", "false"),
    ];
    programs.run("traefik", &traefik, &args)?;
    addons.scrape("traefik", statistics, "/metrics")?;
    let gateway =
        format!("/apis/gateway.networking.k8s.io/v1/namespaces/{NAMESPACE}/gateways/traefik");
    let programmed = addons.condition(&gateway, "Programmed");
    programs.meanwhile(programmed).await??;
    programs.meanwhile(answers(statistics, "/ping")).await?
}

async fn objects(addons: &Addons, address: SocketAddr) -> anyhow::Result<()> {
    let namespace = json!({"metadata": {"name": NAMESPACE}});
    addons.create("/api/v1/namespaces", &namespace).await?;
    let group = "/apis/gateway.networking.k8s.io/v1";
    let class = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
        "metadata": {"name": "traefik"},
        "spec": {"controllerName": "traefik.io/gateway-controller"},
    });
    addons
        .create(&format!("{group}/gatewayclasses"), &class)
        .await?;
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "traefik"},
        "spec": {"gatewayClassName": "traefik", "listeners": [{
            // Traefik finds its entry point by this port.
            "name": "http", "protocol": "HTTP", "port": address.port(),
            "allowedRoutes": {"namespaces": {"from": "All"}},
        }]},
    });
    let gateways = format!("{group}/namespaces/{NAMESPACE}/gateways");
    addons.create(&gateways, &gateway).await
}
