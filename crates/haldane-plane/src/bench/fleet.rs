//! Many releases updated at once, beside the floor: the same writes and the same changes of pods, replayed without decisions.
//!
//! Promised for 500 of them, with steps of 5, 25, 50 and 75 % and holds of 10 s: all are promoted and taken in within the nominal time
//! and 1.25 times the floor, in any case within 115 s, with at most 20 writes each, events included.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use tokio::time::{self, Instant};

use super::{
    audit::{Audit, Calls, writes},
    child::Controller,
    cluster::{Cluster, DEPLOYMENT, EVENT, Followed, PARALLEL, RELEASE, ROUTE, SERVICE},
    figures::{Figures, thousandths},
    idle::most,
    shop::{Standing, is_rolled_out, set_image, shop},
    wait::until,
};
use crate::plane::Plane;

/// Four holds of 10 s.
const NOMINAL_S: f64 = 40.0;

/// A third of what Argo Rollouts took for 500 on such a plane.
const TIME_MAX_S: f64 = 115.0;

/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_millis(500);

/// How long things may go on after all is done: events, and what is cleared away.
const CALM: Duration = Duration::from_secs(10);

/// Pods of each Deployment.
pub(super) const REPLICAS: u32 = 2;

/// A version that is rolled out.
const IMAGE: &str = "shop:v2";
const VERSION: &str = "v2";

/// What the controller wrote.
pub(super) struct Written {
    calls: Calls,
    time_s: f64,
    status: Value,
}

/// Updates all releases at once and tells what it took.
pub(super) async fn run(
    plane: &Plane,
    cluster: &Cluster,
    (controller, releases): (&Controller<'_>, &Followed<Standing>),
    names: &[String],
    figures: &mut Figures,
) -> anyhow::Result<Written> {
    let deployments = cluster.follow(&DEPLOYMENT, |object, _| is_rolled_out(object));
    let audit = Audit::begin(plane.audit_log())?;
    let cpu = controller.cpu_s()?;
    let begun = Instant::now();
    let all = names.len();
    set_images(cluster, names, IMAGE).await?;
    let updated = begun.elapsed().as_secs_f64();
    let mut memory = 0.0_f64;
    let is_done = |one: &Standing| one.is_done(VERSION);
    let ended = {
        let wait = async {
            releases
                .all("all releases to be promoted", all, most(all), is_done)
                .await?;
            // Those that tried the new version are gone then.
            cleared(&deployments, all).await
        };
        tokio::pin!(wait);
        loop {
            tokio::select! {
                ended = &mut wait => break ended?,
                () = time::sleep(SAMPLE) => memory = memory.max(controller.memory_kib()?),
            }
        }
    };
    let time_s = (ended - begun).as_secs_f64();
    let cpu_s = controller.cpu_s()? - cpu;
    time::sleep(CALM).await;
    let calls = audit.calls()?;
    let prefix = format!("fleet_{all}");
    figures.put_number(&format!("{prefix}_updates_written_s"), updated);
    figures.put_number(&format!("{prefix}_time_s"), time_s);
    figures.put_number(&format!("{prefix}_cpu_s"), cpu_s);
    figures.put_number(&format!("{prefix}_memory_most_mib"), memory / 1_024.0);
    let each = |count: u64| count as f64 / all.max(1) as f64;
    figures.put_judged(&format!("{prefix}_writes_each"), each(writes(&calls)), 20.0);
    let parts = calls
        .iter()
        .map(|(name, count)| (name.clone(), json!(thousandths(each(*count)))));
    figures.put(
        &format!("{prefix}_calls_each"),
        Value::Object(parts.collect()),
    );
    let first = names
        .first()
        .and_then(|name| releases.look(|known| known.get(name).cloned()));
    Ok(Written {
        calls,
        time_s,
        status: first.unwrap_or_default().status,
    })
}

/// Replays what was written, without the controller, and holds the time against it.
pub(super) async fn floor(
    cluster: &Cluster,
    written: &Written,
    names: &[String],
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let deployments = cluster.follow(&DEPLOYMENT, |object, _| is_rolled_out(object));
    let all = names.len();
    deployments
        .all("all Deployments to be known", all, most(all), |is_done| {
            *is_done
        })
        .await?;
    let begun = Instant::now();
    set_images(cluster, names, "shop:v3").await?;
    let replays = names
        .iter()
        .map(|name| replay(cluster, &deployments, written, name, all));
    // Each waits for its pods for the most part of its time.
    stream::iter(replays)
        .buffer_unordered(all.max(1))
        .try_collect::<Vec<()>>()
        .await?;
    let ended = cleared(&deployments, all).await?;
    let floor_s = (ended - begun).as_secs_f64();
    let prefix = format!("fleet_{all}");
    figures.put_number(&format!("{prefix}_floor_s"), floor_s);
    let most_s = NOMINAL_S + 1.25 * floor_s;
    figures.put_judged(
        &format!("{prefix}_time_s"),
        written.time_s,
        most_s.min(TIME_MAX_S),
    );
    figures.put(
        &format!("{prefix}_time_is_within_nominal_and_floor"),
        written.time_s <= most_s,
    );
    figures.put(
        &format!("{prefix}_time_is_within_115_s"),
        written.time_s <= TIME_MAX_S,
    );
    Ok(())
}

/// Writes for one shop what the controller wrote, as soon as the server and the pods allow.
async fn replay(
    cluster: &Cluster,
    deployments: &Followed<bool>,
    written: &Written,
    name: &str,
    all: usize,
) -> anyhow::Result<()> {
    let each = |what: &str| per_release(&written.calls, what, all);
    let is_ready = async |wanted: &str| {
        let is_known = || deployments.look(|known| known.get(wanted) == Some(&true));
        let what = format!("the pods of {wanted}");
        until(&what, most(all), async || Ok(is_known().then_some(()))).await
    };
    let beside = format!("{name}-floor");
    for (kind, object) in shop(&beside, REPLICAS, &json!({}), &json!({})) {
        let is_service = kind.is(&SERVICE) && each("create services") > 0;
        if is_service || kind.is(&DEPLOYMENT) {
            cluster.create(kind, object).await?;
        }
    }
    is_ready(&beside).await?;
    tell(cluster, written, (name, &beside), all).await?;
    // The first lets the new template roll out, the last holds it.
    cluster
        .patch(&DEPLOYMENT, name, &json!({"spec": {"paused": null}}))
        .await?;
    is_ready(name).await?;
    for _ in 1..each("patch deployments") {
        cluster
            .patch(&DEPLOYMENT, name, &json!({"spec": {"paused": true}}))
            .await?;
    }
    cluster.delete(&DEPLOYMENT, &beside).await
}

/// Writes what moves no pod: statuses, weights, the Service and events.
async fn tell(
    cluster: &Cluster,
    written: &Written,
    (name, beside): (&str, &str),
    all: usize,
) -> anyhow::Result<()> {
    let record = written.status.get("record").cloned().unwrap_or_default();
    for number in 0..per_release(&written.calls, "patch releases/status", all) {
        let status = json!({"message": format!("replayed {number}"), "record": record});
        cluster
            .patch_status(&RELEASE, name, &json!({"status": status}))
            .await?;
    }
    for number in 0..per_release(&written.calls, "patch httproutes", all) {
        let one = |name: &str, weight: u64| json!({"name": name, "port": 80, "weight": weight});
        let backends = [one(name, 100), one(beside, number.saturating_add(1))];
        let patch = json!({"spec": {"rules": [{"backendRefs": backends}]}});
        cluster.patch(&ROUTE, name, &patch).await?;
    }
    for number in 0..per_release(&written.calls, "patch services", all) {
        let patch = json!({"metadata": {"labels": {"bench": number.to_string()}}});
        cluster.patch(&SERVICE, name, &patch).await?;
    }
    for number in 0..per_release(&written.calls, "create events", all) {
        cluster.create(&EVENT, event(cluster, name, number)).await?;
    }
    Ok(())
}

fn event(cluster: &Cluster, name: &str, number: u64) -> Value {
    json!({
        "metadata": {"name": format!("{name}.floor-{number}")},
        "involvedObject": {
            "apiVersion": "haldane.dev/v1alpha1",
            "kind": "Release",
            "namespace": cluster.namespace(),
            "name": name,
        },
        "type": "Normal",
        "reason": "Replayed",
        "message": "what the controller told is told again, without a decision",
        "source": {"component": "bench"},
        "count": 1,
    })
}

/// Returns how many calls of a kind each release took, to the nearest whole number.
fn per_release(calls: &Calls, what: &str, all: usize) -> u64 {
    let all = u64::try_from(all).unwrap_or(u64::MAX).max(1);
    let count = calls.get(what).copied().unwrap_or(0);
    count.saturating_add(all / 2).checked_div(all).unwrap_or(0)
}

async fn set_images(cluster: &Cluster, names: &[String], image: &str) -> anyhow::Result<()> {
    let patches = names.iter().map(|name| set_image(cluster, name, image));
    stream::iter(patches)
        .buffer_unordered(PARALLEL)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

/// Waits until the users' Deployments run what they say, and no other is left; returns when that was.
async fn cleared(deployments: &Followed<bool>, all: usize) -> anyhow::Result<Instant> {
    until(
        "the Deployments to be cleared away",
        most(all),
        async || {
            let is_clear =
                deployments.look(|known| known.len() == all && known.values().all(|one| *one));
            Ok(is_clear.then(Instant::now))
        },
    )
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_shared_out_to_the_nearest_whole_number() {
        let calls = Calls::from([
            ("patch services".to_owned(), 1_003),
            ("delete pods".to_owned(), 200),
        ]);
        assert_eq!(per_release(&calls, "patch services", 500), 2);
        assert_eq!(per_release(&calls, "delete pods", 500), 0);
        assert_eq!(per_release(&calls, "create events", 500), 0);
    }
}
