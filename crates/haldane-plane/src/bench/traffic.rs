//! What users notice of a rollout: at 500 requests a second through Contour and Envoy, over a promotion, an abort and an undo.
//!
//! Promised: no request is dropped, the observed share is within noise of each weight, an abort writes weight 0 within 1 s, and the
//! last answer of the canary comes within 2 s.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{self, Instant};

use super::{
    cluster::{Cluster, Followed, RELEASE, ROUTE},
    figures::{Figures, thousandths},
    load::{Load, RATE, Sent, dropped},
    shop::{Standing, command, host, release, set_image, shop, weight_bps},
    wait::until,
};
use crate::plane::Plane;

/// The shop that is rolled out.
const SHOP: &str = "shop";

/// How long a release may take to be in control, and a rollout to be over.
const ADOPT_MAX: Duration = Duration::from_secs(90);
const ROLLOUT_MAX: Duration = Duration::from_secs(180);

/// How long the canary of the abort serves before that.
const BEFORE_ABORT: Duration = Duration::from_secs(3);

/// How long traffic goes on around all of it.
const AROUND: Duration = Duration::from_secs(2);

/// How long after a weight is written it is taken for being in force: Contour tells Envoy some 100 ms later.
const SETTLE: Duration = Duration::from_secs(1);

/// How many dropped requests are told one by one.
const DROPPED_TOLD_MAX: usize = 20;

/// The weights that a route has had, each from the moment when it was seen.
pub(super) type Weights = Vec<(Instant, u64)>;

/// When each part began.
struct Story {
    first: Instant,
    second: Instant,
    aborted: Instant,
    undone: Instant,
}

/// Takes the figures.
pub(super) async fn run(
    plane: &Plane,
    cluster: &Cluster,
    hold: &str,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let rollout = json!({"steps": ["5%", "25%", "50%", "75%"], "hold": hold, "guards": "none"});
    cluster
        .create_all(shop(SHOP, 3, &gateway(), &release(SHOP, &rollout)))
        .await?;
    let releases = cluster.follow(&RELEASE, |object, _| Standing::of(object));
    let routes = cluster.follow(&ROUTE, note_weight);
    releases
        .all(
            "the release to be in control",
            1,
            ADOPT_MAX,
            Standing::is_idle,
        )
        .await?;
    let load = Load::begin(plane.gateway().await?, &host(SHOP));
    until("the first answer", ADOPT_MAX, async || {
        Ok(load.log().first(|sent| sent.is_by("v1")))
    })
    .await?;
    let begun = Instant::now();
    let story = play(cluster, &releases, &routes).await?;
    time::sleep(AROUND).await;
    let mut log = load.end().await?;
    // Before Envoy knows the route there is nothing to be dropped.
    log.retain(|sent| sent.sent >= begun);
    let weights = weights(&routes);
    tell(&log, &weights, &story, figures);
    Ok(())
}

/// Has a version promoted, another aborted at a half, and the first undone.
async fn play(
    cluster: &Cluster,
    releases: &Followed<Standing>,
    routes: &Followed<Weights>,
) -> anyhow::Result<Story> {
    time::sleep(AROUND).await;
    let first = Instant::now();
    set_image(cluster, SHOP, "shop:v2").await?;
    let is_promoted = |one: &Standing| one.is_done("v2");
    releases
        .all("v2 to be promoted", 1, ROLLOUT_MAX, is_promoted)
        .await?;
    time::sleep(AROUND).await;
    let second = Instant::now();
    set_image(cluster, SHOP, "shop:v3").await?;
    until("half of the traffic on v3", ROLLOUT_MAX, async || {
        let now = weights(routes).last().copied();
        Ok(now.filter(|(at, weight)| *at > second && *weight == 5_000))
    })
    .await?;
    time::sleep(BEFORE_ABORT).await;
    let aborted = Instant::now();
    command(cluster, SHOP, "abort").await?;
    let is_back = |one: &Standing| one.phase == "RolledBack" && one.stable == "v2";
    releases
        .all("v3 to be rolled back", 1, ROLLOUT_MAX, is_back)
        .await?;
    time::sleep(AROUND).await;
    let undone = Instant::now();
    command(cluster, SHOP, "undo").await?;
    let is_undone = |one: &Standing| one.is_done("v1");
    releases
        .all("v2 to be undone", 1, ROLLOUT_MAX, is_undone)
        .await?;
    Ok(Story {
        first,
        second,
        aborted,
        undone,
    })
}

fn tell(log: &[Sent], weights: &Weights, story: &Story, figures: &mut Figures) {
    let first = log.first().map(|sent| sent.sent);
    let lasted = first.map_or(0.0, |first| first.elapsed().as_secs_f64());
    let lost = dropped(log);
    figures.put("traffic_requests_per_second_wanted", RATE);
    figures.put_number(
        "traffic_requests_per_second",
        log.len() as f64 / lasted.max(0.001),
    );
    figures.put("traffic_requests", log.len());
    figures.put_judged("traffic_dropped", lost.values().sum::<u64>() as f64, 0.0);
    figures.put("traffic_dropped_by_reason", json!(lost));
    figures.put("traffic_dropped_when", when_dropped(log, weights, story));
    let of_first = weights
        .iter()
        .filter(|(at, _)| *at < story.second)
        .copied()
        .collect();
    figures.put("traffic_shares", shares(log, &of_first, "v2"));
    let weight_zero = weights
        .iter()
        .find(|(at, weight)| *at > story.aborted && *weight == 0);
    if let Some((at, _)) = weight_zero {
        figures.put_judged(
            "abort_to_weight_0_written_ms",
            ms(*at - story.aborted),
            1_000.0,
        );
    }
    let answers = log
        .iter()
        .filter(|sent| sent.is_by("v3") && sent.ended > story.aborted);
    if let Some(last) = answers.map(|sent| sent.ended).max() {
        figures.put_judged(
            "abort_to_last_canary_answer_ms",
            ms(last - story.aborted),
            2_000.0,
        );
    }
    let of_undo = log
        .iter()
        .find(|sent| sent.is_by("v1") && sent.ended > story.undone);
    if let Some(sent) = of_undo {
        figures.put_number("undo_to_first_answer_ms", ms(sent.ended - story.undone));
    }
}

/// Returns when the first requests were dropped, with the canary's weight then, basis points.
fn when_dropped(log: &[Sent], weights: &Weights, story: &Story) -> Value {
    let when = |sent: &Sent| {
        let weight = weights.iter().rev().find(|(at, _)| *at <= sent.sent);
        let begun = [
            ("undo", story.undone),
            ("abort", story.aborted),
            ("second rollout", story.second),
            ("first rollout", story.first),
        ];
        let part = begun.into_iter().find(|(_, begun)| *begun <= sent.sent);
        json!({
            "after": part.map_or("the beginning", |(name, _)| name),
            "ms": part.map(|(_, begun)| thousandths(ms(sent.sent - begun))),
            "took_ms": thousandths(ms(sent.ended - sent.sent)),
            "weight_bps": weight.map(|(_, weight)| *weight),
        })
    };
    let lost = log.iter().filter(|sent| sent.is_dropped());
    lost.take(DROPPED_TOLD_MAX).map(when).collect()
}

/// Returns what share of the requests the canary had at each weight, and how far from it that is, in standard deviations.
fn shares(log: &[Sent], weights: &Weights, canary: &str) -> Value {
    let mut shares = serde_json::Map::new();
    for (index, (from, weight)) in weights.iter().enumerate() {
        let until = weights.get(index.saturating_add(1)).map(|(at, _)| *at);
        let wanted = *weight as f64 / 10_000.0;
        let is_inside = |sent: &&Sent| {
            sent.sent >= *from + SETTLE && until.is_none_or(|until| sent.ended < until)
        };
        let inside: Vec<&Sent> = log.iter().filter(is_inside).collect();
        let is_partial = *weight > 0 && *weight < 10_000;
        if !is_partial || inside.is_empty() {
            continue;
        }
        let count = inside.len() as f64;
        let seen = inside.iter().filter(|sent| sent.is_by(canary)).count() as f64 / count;
        let z = (seen - wanted) / (wanted * (1.0 - wanted) / count).sqrt();
        let share =
            json!({"share": thousandths(seen), "z": thousandths(z), "requests": inside.len()});
        shares.insert(format!("{}%", weight / 100), share);
    }
    Value::Object(shares)
}

/// Keeps the weights that a route had.
pub(super) fn note_weight(route: &Value, before: Option<Weights>) -> Weights {
    let (mut weights, weight) = (before.unwrap_or_default(), weight_bps(route));
    if weights.last().is_none_or(|(_, last)| *last != weight) {
        weights.push((Instant::now(), weight));
    }
    weights
}

/// Returns the weights that the shop's route had so far.
fn weights(routes: &Followed<Weights>) -> Weights {
    routes.look(|known| known.get(SHOP).cloned().unwrap_or_default())
}

/// The Gateway that Contour serves.
pub(super) fn gateway() -> Value {
    json!({"name": "contour", "namespace": "projectcontour"})
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_told_where_a_weight_was_in_force() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let weights = vec![
            (start, 0),
            (start + second, 2_500),
            (start + second * 10, 10_000),
        ];
        let sent = |at: u32, version: &str| Sent {
            sent: start + second * at,
            ended: start + second * at,
            answer: Ok(version.to_owned()),
        };
        let log = [
            sent(1, "v2"),
            sent(3, "v1"),
            sent(3, "v1"),
            sent(3, "v1"),
            sent(4, "v2"),
            sent(11, "v2"),
        ];
        let expected = json!({"25%": {"share": 0.25, "z": 0.0, "requests": 4}});
        assert_eq!(shares(&log, &weights, "v2"), expected);
    }
}
