//! Rollouts that nothing disturbs: promoted, aborted, undone, rolled back. No request is lost, and nothing is left behind.

use std::time::{Duration, Instant};

use crate::kube::release::{
    load::Answers,
    shop::{Plan, Shop, Weighed},
};

/// How long a weight that is written may take to be what requests meet.
const SPREAD: Duration = Duration::from_secs(2);

/// Checks that requests were split as the route said, as far as chance allows.
fn split_as_told(answers: &Answers, weights: &[Weighed], expected: &[u64]) {
    let mut seen = Vec::new();
    for pair in weights.windows(2) {
        let (begin, end) = (pair[0].at + SPREAD / 2, pair[1].at - SPREAD / 4);
        let (all, canary) = answers.between(begin, end, "v2");
        if all < 100 {
            continue;
        }
        let share = pair[0].bps;
        let [all, canary] = [all, canary].map(|count| u64::try_from(count).unwrap());
        // Five standard deviations, once in two million; all in ten-thousandths of a request.
        let noise = 5 * (all * share * (10_000 - share)).isqrt() + 10_000;
        assert!(
            (canary * 10_000).abs_diff(all * share) <= noise,
            "{canary} of {all} at {share}: {weights:?}"
        );
        seen.push(share);
    }
    for weight in expected {
        assert!(
            seen.contains(weight),
            "nothing was counted at {weight}: {weights:?}"
        );
    }
}

#[tokio::test]
async fn a_good_version_is_promoted_and_undone_without_a_lost_request() {
    let shop = Shop::new("promoted", &Plan::long()).await;
    promotes_and_undoes(&shop).await;
}

#[tokio::test]
async fn an_abort_takes_all_requests_from_the_canary_at_once() {
    let shop = Shop::new("aborted", &Plan::held()).await;
    aborts(&shop).await;
}

/// Plays a promotion and its undoing: no request is lost, and each weight is the share that is seen.
pub(crate) async fn promotes_and_undoes(shop: &Shop) {
    let running = shop.taken_over().await;
    let load = shop.load(150);
    shop.deploy("shop:v2").await;
    let weights = shop.followed("Completed", "v2").await;
    shop.is_whole("v2").await;
    let promoted = Instant::now();

    shop.command("1", "undo").await;
    shop.ends("Completed", "v1").await;
    tokio::time::sleep(SPREAD).await;
    let undone = Instant::now();
    tokio::time::sleep(SPREAD).await;
    let answers = load.end();
    answers.none_dropped();
    split_as_told(&answers, &weights, &[2_000, 5_000]);
    let (all, canary) = answers.between(promoted, promoted + Duration::from_millis(200), "v2");
    assert_eq!(all, canary);
    assert_eq!(answers.since(undone, "v2"), 0);
    let phases = shop.status().await["history"].clone();
    assert_eq!(phases.as_array().unwrap().len(), 2);
    running.end();
}

/// Plays an abort at one half: no request is lost, and none comes to the canary any more.
pub(crate) async fn aborts(shop: &Shop) {
    let running = shop.taken_over().await;
    let load = shop.load(150);
    shop.deploy("shop:v2").await;
    shop.weighs("20%").await;
    shop.command("1", "promote").await;
    shop.weighs("50%").await;
    tokio::time::sleep(SPREAD).await;
    let told = Instant::now();
    shop.command("2", "abort").await;
    while shop.share().await > 0 {
        assert!(told.elapsed() < Duration::from_secs(20));
    }
    let written = Instant::now();
    shop.ends("RolledBack", "v1").await;
    tokio::time::sleep(SPREAD).await;
    let answers = load.end();
    answers.none_dropped();
    let (all, canary) = answers.between(told - SPREAD / 2, told, "v2");
    assert!(canary > all / 4, "{canary} of {all}");
    assert_eq!(answers.since(written + SPREAD, "v2"), 0);
    // Without load on the machine it is well below one second.
    assert!(
        written - told < Duration::from_secs(5),
        "{:?}",
        written - told
    );
    running.end();
}

#[tokio::test]
async fn a_version_that_never_is_ready_gets_no_request() {
    let plan = Plan {
        ready: "6s",
        ..Plan::short()
    };
    let shop = Shop::new("unready", &plan).await;
    let running = shop.taken_over().await;
    let load = shop.load(100);
    let begin = Instant::now();
    shop.deploy("shop:does-not-exist").await;
    let status = shop.rests("RolledBack", "v1").await;
    // The user's Deployment still asks for it, and is not followed.
    shop.is_whole("v1").await;
    shop.deploy("shop:v1").await;
    shop.ends("RolledBack", "v1").await;
    let answers = load.end();
    answers.none_dropped();
    let end = Instant::now();
    let (all, stable) = answers.between(begin, end, "v1");
    assert_eq!(all, stable, "{status:#}");
    running.end();
}
