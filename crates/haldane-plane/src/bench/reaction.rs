//! How soon a canary that fails half of its requests loses its traffic, where Prometheus counts and asks every 5 s.
//!
//! Promised: weight 0 is written within 15 s after the first bad answer.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{
    cluster::{Cluster, RELEASE, ROUTE},
    figures::Figures,
    load::Load,
    shop::{Standing, host, release, set_image, shop},
    traffic::{gateway, note_weight},
    wait::until,
};
use crate::{
    addon::{Addon, Scrape},
    plane::Plane,
};

/// The shop whose new versions are bad.
const SHOP: &str = "cart";

/// How long a release may take to be in control, and a bad canary to be found.
const ADOPT_MAX: Duration = Duration::from_secs(90);
const FIND_MAX: Duration = Duration::from_secs(120);

/// Takes the figures, with so many bad versions.
pub(super) async fn run(
    plane: &Plane,
    cluster: &Cluster,
    rounds: u32,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let prometheus = plane
        .address(Addon::Prometheus(Scrape::EveryFiveSeconds))
        .await?;
    let rollout = json!({
        "steps": ["5%", "25%", "50%", "75%"],
        "hold": "30s",
        "guards": {"errorRate": "5%"},
    });
    let mut spec = release(SHOP, &rollout);
    if let Some(fields) = spec.as_object_mut() {
        let source = json!({"prom": {"prometheus": format!("http://{prometheus}")}});
        fields.insert("sources".to_owned(), source);
        let requests = json!({"source": "prom", "template": "contour"});
        fields.insert("requests".to_owned(), requests);
    }
    cluster.create_all(shop(SHOP, 3, &gateway(), &spec)).await?;
    let releases = cluster.follow(&RELEASE, |object, _| Standing::of(object));
    let routes = cluster.follow(&ROUTE, note_weight);
    let is_idle = async || {
        Ok(releases
            .look(|known| known.get(SHOP).is_some_and(Standing::is_idle))
            .then_some(()))
    };
    until("the release to be in control", ADOPT_MAX, is_idle).await?;
    let load = Load::begin(plane.gateway().await?, &host(SHOP));
    let mut took = Vec::new();
    for round in 0..rounds {
        let version = format!("v{}", round.saturating_add(2));
        let begun = Instant::now();
        set_image(cluster, SHOP, &format!("shop:{version}_errors-50")).await?;
        let bad = until("a bad answer", FIND_MAX, async || {
            let is_bad = |sent: &super::load::Sent| sent.sent >= begun && sent.is_dropped();
            Ok(load.log().first(is_bad))
        })
        .await?;
        let zero = until("weight 0", FIND_MAX, async || {
            let weights = routes.look(|known| known.get(SHOP).cloned().unwrap_or_default());
            Ok(weights
                .into_iter()
                .find(|(at, weight)| *at > bad.ended && *weight == 0))
        })
        .await?;
        took.push((zero.0 - bad.ended).as_secs_f64());
        until("the rollback to end", FIND_MAX, async || {
            let is_back = |one: &Standing| one.phase == "RolledBack" && one.stable == "v1";
            Ok(releases
                .look(|known| known.get(SHOP).is_some_and(is_back))
                .then_some(()))
        })
        .await?;
    }
    load.end().await?;
    let slowest = took.iter().copied().fold(0.0, f64::max);
    figures.put("bad_canary_rounds", rounds);
    figures.put("bad_canary_to_weight_0_each_s", json!(took));
    figures.put_judged("bad_canary_to_weight_0_s", slowest, 15.0);
    Ok(())
}
