//! A Prometheus that asks all pods, and the routers that are there.

mod targets;

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use kube::Client;
use serde_json::{Value, json};

use crate::{
    addon::{Addon, Scrape},
    host::{
        addons::{Addons, answers},
        programs::{Programs, flag},
    },
    site::Site,
};

/// Where `cargo xtask setup` puts it, unless it is installed.
const FETCHED: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../target/setup/prometheus/usr/bin"
);

/// Where its targets among the pods stand.
const PODS: &str = "pods.json";

/// Starts it with its API at `address`.
pub(super) async fn install(
    addons: &Addons,
    addon: Addon,
    scrape: Scrape,
    address: SocketAddr,
    programs: &mut Programs,
) -> anyhow::Result<()> {
    let name = addon.to_string();
    let config = addons.site.path().join(format!("{name}.yaml"));
    let text = config_text(addons, scrape).to_string();
    fs::write(&config, text).context("writing Prometheus' settings")?;
    let data = addons.site.path().join(&name);
    let args = [
        flag("config.file", &config.display().to_string()),
        flag("storage.tsdb.path", &data.display().to_string()),
        flag("web.listen-address", &address.to_string()),
        flag("log.level", "warn"),
    ];
    programs.run(&name, &program()?, &args)?;
    programs.meanwhile(answers(address, "/-/ready")).await?
}

/// Keeps the list of pods true for as long as it is polled.
pub(super) async fn follow_pods(client: Client, site: Site) {
    targets::follow(client, &site.path().join(PODS)).await;
}

fn program() -> anyhow::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places = env::split_paths(&path).chain([Path::new(FETCHED).to_owned()]);
    places
        .find_map(|place| Some(place.join("prometheus")).filter(|program| program.is_file()))
        .context("Prometheus is missing: run `cargo xtask setup`")
}

/// Prometheus reads YAML, of which JSON is a part.
fn config_text(addons: &Addons, scrape: Scrape) -> Value {
    let interval = match scrape {
        Scrape::EachSecond => "1s",
        Scrape::EveryFiveSeconds => "5s",
    };
    let pods = json!([{"files": [addons.site.path().join(PODS)]}]);
    let routers = json!([{"files": [addons.targets().join("*.json")], "refresh_interval": "1s"}]);
    json!({
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "scrape_configs": [
            // The label `version` of a pod's own metrics says what answered; that of the pod, how it is called.
            {"job_name": "pods", "honor_labels": true, "file_sd_configs": pods},
            {"job_name": "routers", "file_sd_configs": routers},
        ],
    })
}
