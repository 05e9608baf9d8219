//! What releases cost that have nothing to do.
//!
//! Promised: nothing is read and nothing is written but the lease, an idle release takes at most 50 KiB, 5,000 of them at most 300 MiB,
//! and a controller that starts has all 5,000 in control within 10 s.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};
use tokio::time;

use super::{
    audit::{Audit, reads, writes},
    child::Controller,
    cluster::{Cluster, DEPLOYMENT, Followed, Kind, RELEASE, ROUTE},
    figures::Figures,
    shop::{Standing, is_rolled_out, naming_both, release, shop},
    wait::until,
};
use crate::plane::Plane;

/// How long nothing is done.
const IDLE: Duration = Duration::from_secs(60);

/// How long things may go on that were begun before.
const CALM: Duration = Duration::from_secs(5);

/// How long so many Deployments may take until their pods are ready.
const EACH_MAX: Duration = Duration::from_millis(400);
const ALL_MIN: Duration = Duration::from_secs(120);

/// How long a controller may take until it has all in control.
const CONTROL_MAX: Duration = Duration::from_secs(300);

/// The plan of each of them.
pub(super) fn plan() -> Value {
    json!({"steps": ["5%", "25%", "50%", "75%"], "hold": "10s", "guards": "none"})
}

/// Makes so many shops whose routes a Gateway has accepted, and waits until their pods are ready.
pub(super) async fn make_shops(
    cluster: &Cluster,
    names: &[String],
    replicas: u32,
) -> anyhow::Result<()> {
    let parent = json!({"name": "bench"});
    let objects = |name: &String| {
        let mut objects = shop(name, replicas, &parent, &release(name, &plan()));
        // As peers ask for: both versions stand in the route from the beginning.
        for (kind, object) in &mut objects {
            if kind.is(&ROUTE) {
                *object = naming_both(object.take(), name);
            }
        }
        objects
    };
    let (releases, others): (Vec<_>, Vec<_>) = names
        .iter()
        .flat_map(objects)
        .partition(|(kind, _): &(&Kind, Value)| kind.is(&RELEASE));
    cluster.create_all(others).await?;
    let accepted = |kind: &str| json!({"type": kind, "status": "True", "reason": kind, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let conditions = [accepted("Accepted"), accepted("ResolvedRefs")];
    let status = json!({"status": {"parents": [{
        "parentRef": parent,
        "controllerName": "haldane.dev/bench",
        "conditions": conditions,
    }]}});
    cluster.patch_all_statuses(&ROUTE, names, &status).await?;
    let deployments = cluster.follow(&DEPLOYMENT, |object, _| is_rolled_out(object));
    let all = names.len();
    deployments
        .all("all pods to be ready", all, most(all), |is_done| *is_done)
        .await?;
    cluster.create_all(releases).await
}

/// Measures a controller that starts with releases that it had in control before.
pub(super) async fn start(
    plane: &Plane,
    program: &Path,
    cluster: &Cluster,
    count: usize,
) -> anyhow::Result<(f64, f64)> {
    let controller = Controller::start(plane, program, cluster.namespace()).await?;
    controller.ready().await?;
    let turns = count as f64;
    until("a turn of each release", CONTROL_MAX, async || {
        Ok((controller.turns().await? >= turns).then_some(()))
    })
    .await?;
    let took = controller.started.elapsed().as_secs_f64();
    time::sleep(CALM).await;
    let memory = controller.memory_kib()?;
    controller.stop().await?;
    Ok((took, memory))
}

/// Lets the controller lie idle, and tells what it asked of the API server meanwhile.
pub(super) async fn rest(plane: &Plane, figures: &mut Figures) -> anyhow::Result<()> {
    time::sleep(CALM).await;
    let audit = Audit::begin(plane.audit_log())?;
    time::sleep(IDLE).await;
    let calls = audit.calls()?;
    figures.put_judged("idle_reads_per_minute", reads(&calls) as f64, 0.0);
    figures.put_judged("idle_writes_per_minute", writes(&calls) as f64, 0.0);
    figures.put("idle_calls_per_minute", json!(calls));
    Ok(())
}

/// Waits until all releases are in control.
pub(super) async fn in_control(
    releases: &Followed<Standing>,
    count: usize,
) -> anyhow::Result<time::Instant> {
    releases
        .all(
            "all releases to be in control",
            count,
            most(count),
            Standing::is_idle,
        )
        .await
}

/// Measures so many idle releases, each with a pod, and the start of a controller that has them.
pub(super) async fn many(
    plane: &Plane,
    program: &Path,
    cluster: &Cluster,
    count: usize,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    make_shops(cluster, &names(count), 1).await?;
    let controller = Controller::start(plane, program, cluster.namespace()).await?;
    let releases = cluster.follow(&RELEASE, |object, _| Standing::of(object));
    in_control(&releases, count).await?;
    drop(releases);
    controller.stop().await?;
    let (took, memory) = start(plane, program, cluster, count).await?;
    figures.put_judged(&format!("idle_{count}_memory_mib"), memory / 1_024.0, 300.0);
    figures.put_judged(&format!("idle_{count}_start_to_in_control_s"), took, 10.0);
    Ok(())
}

/// Returns so many names of shops.
pub(super) fn names(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("shop-{number:04}"))
        .collect()
}

/// Returns how long something may take for so many releases.
pub(super) fn most(count: usize) -> Duration {
    ALL_MIN + EACH_MAX.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
}
