//! Envoy Gateway: the Gateway API with its experimental fields, such as sessions that stay with a backend, with real traffic.
//!
//! It reads Kubernetes and runs its Envoy as a program, not as a pod, which it calls its host infrastructure. So it has no
//! Service, and its Gateway does not become `Programmed`; its routes have their status as everywhere.

use std::{collections::BTreeMap, fs, net::SocketAddr, os::unix::fs::symlink, path::Path};

use anyhow::Context as _;
use serde_json::json;

use crate::{
    components::Cache,
    host::{
        addons::{Addons, answers},
        programs::{Programs, flag},
    },
};

/// Where it tells that it has read everything.
const HEALTH: ([u8; 4], u16) = ([127, 0, 0, 1], 8081);

const NAMESPACE: &str = "envoy-gateway-system";

/// Starts a program that sees our certificates where it looks for them, at the root: in a root of its own, with all else in it as it is.
const WITH_CERTIFICATES: &str = r#"
root=$1 certificates=$2
shift 2
mount -t tmpfs none "$root"
for here in /*; do
  if [ -h "$here" ]; then cp -P "$here" "$root"
  elif [ -d "$here" ]; then mkdir "$root$here"; mount --rbind "$here" "$root$here"
  fi
done
mkdir -p "$root/certs"
mount --bind "$certificates" "$root/certs"
exec chroot "$root" "$@"
"#;

/// As which version it looks for our Envoy, which it would fetch otherwise.
const ENVOY_VERSION: &str = "1.40.0";

/// Starts it, with a Gateway whose requests Envoy takes at `address`.
pub(super) async fn install(
    addons: &Addons,
    address: SocketAddr,
    programs: &mut Programs,
) -> anyhow::Result<()> {
    let cache = Cache::of_user()?;
    let (program, envoy) = (cache.file("envoy-gateway")?, cache.file("envoy")?);
    let directory = addons.site.path().join("envoy-gateway");
    let binaries = directory
        .join("data/envoy-versions")
        .join(ENVOY_VERSION)
        .join("bin");
    fs::create_dir_all(&binaries).context("making Envoy Gateway's directory")?;
    symlink(envoy, binaries.join("envoy")).context("showing Envoy Gateway its Envoy")?;
    let settings = addons.site.path().join("envoy-gateway.yaml");
    let text = json!({
        "apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "EnvoyGateway",
        "gateway": {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"},
        "provider": {"type": "Custom", "custom": {
            "resource": {"type": "Kubernetes", "kubernetes": {
                "leaderElection": {"disable": true},
                "client": {"rateLimit": {"qps": 500, "burst": 1000}},
            }},
            "infrastructure": {"type": "Host", "host": {
                // With one place for all of it another layout is taken.
                "configHome": directory, "dataHome": directory.join("data"),
                "stateHome": directory.join("state"), "runtimeDir": directory.join("run"),
            }},
        }},
    });
    fs::write(&settings, text.to_string()).context("writing Envoy Gateway's settings")?;
    objects(addons, address).await?;
    let certificates = [
        "certgen".to_owned(),
        "--local".to_owned(),
        flag("config-home", &directory.display().to_string()),
    ];
    programs
        .finish("envoy-gateway-certgen", &program, &certificates)
        .await?;
    secret(addons, &directory.join("certs/envoy")).await?;
    let root = directory.join("root");
    fs::create_dir_all(&root).context("making Envoy Gateway's root")?;
    let path = |path: &Path| path.display().to_string();
    let server = [
        "--mount".to_owned(),
        "sh".to_owned(),
        "-ec".to_owned(),
        WITH_CERTIFICATES.to_owned(),
        "sh".to_owned(),
        path(&root),
        path(&directory.join("certs/envoy-gateway")),
        path(&program),
        "server".to_owned(),
        flag("config-path", &path(&settings)),
    ];
    programs.run("envoy-gateway", Path::new("unshare"), &server)?;
    let class = "/apis/gateway.networking.k8s.io/v1/gatewayclasses/envoy-gateway";
    programs
        .meanwhile(addons.condition(class, "Accepted"))
        .await??;
    programs
        .meanwhile(answers(HEALTH.into(), "/readyz"))
        .await?
}

/// Shows Envoy's certificate in Kubernetes, too, without which nothing is translated; Envoy itself reads the files.
async fn secret(addons: &Addons, certificates: &Path) -> anyhow::Result<()> {
    let mut texts = BTreeMap::new();
    for name in ["tls.crt", "tls.key", "ca.crt"] {
        let text = fs::read_to_string(certificates.join(name));
        texts.insert(
            name,
            text.with_context(|| format!("reading Envoy's {name}"))?,
        );
    }
    let secret = json!({
        "metadata": {"name": "envoy"}, "type": "kubernetes.io/tls", "stringData": texts,
    });
    let secrets = format!("/api/v1/namespaces/{NAMESPACE}/secrets");
    addons.create(&secrets, &secret).await
}

async fn objects(addons: &Addons, address: SocketAddr) -> anyhow::Result<()> {
    let namespace = json!({"metadata": {"name": NAMESPACE}});
    addons.create("/api/v1/namespaces", &namespace).await?;
    let proxy = json!({
        "apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "EnvoyProxy",
        "metadata": {"name": "plane"},
        "spec": {
            "provider": {"type": "Host", "host": {"envoyVersion": ENVOY_VERSION}},
            "concurrency": 1,
            // Contour's Envoy has the socket of the first one that runs.
            "extraArgs": ["--disable-hot-restart"],
        },
    });
    let proxies =
        format!("/apis/gateway.envoyproxy.io/v1alpha1/namespaces/{NAMESPACE}/envoyproxies");
    addons.create(&proxies, &proxy).await?;
    let group = "/apis/gateway.networking.k8s.io/v1";
    let class = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
        "metadata": {"name": "envoy-gateway"},
        "spec": {
            "controllerName": "gateway.envoyproxy.io/gatewayclass-controller",
            "parametersRef": {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": "plane", "namespace": NAMESPACE},
        },
    });
    addons
        .create(&format!("{group}/gatewayclasses"), &class)
        .await?;
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "envoy"},
        "spec": {"gatewayClassName": "envoy-gateway", "listeners": [{
            "name": "http", "protocol": "HTTP", "port": address.port(),
            "allowedRoutes": {"namespaces": {"from": "All"}},
        }]},
    });
    let gateways = format!("{group}/namespaces/{NAMESPACE}/gateways");
    addons.create(&gateways, &gateway).await
}
