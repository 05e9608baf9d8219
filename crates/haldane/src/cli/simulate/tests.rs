//! Forecasts as asked for on the command line.

use std::fs;

use serde_json::Value;

use crate::cli::{
    exit::{Exit, exit_of},
    testing::Daemon,
};

async fn written(line: &str) -> String {
    let (exit, out) = Daemon::start([]).run(line).await;
    assert_eq!(exit.unwrap(), Exit::Done, "{line}");
    out
}

async fn json(line: &str) -> Value {
    serde_json::from_str(&written(&format!("{line} -o json")).await).unwrap()
}

async fn usage_error(line: &str) -> String {
    let error = Daemon::start([]).run(line).await.0.unwrap_err();
    assert_eq!(exit_of(&error), Exit::Usage, "{error:#}");
    format!("{error:#}")
}

#[tokio::test]
async fn a_forecast_is_told_in_tables() {
    let line = "simulate --canary 6% --steps 5,50,100 --hold 1 --runs 40 --latency-p95 400";
    insta::assert_snapshot!(written(line).await);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_answer() {
    let line = "simulate --canary 4% --steps 5,100 --hold 30s --runs 20 --seed";
    assert_eq!(
        json(&format!("{line} 3")).await,
        json(&format!("{line} 3")).await
    );
    assert_ne!(
        json(&format!("{line} 3")).await,
        json(&format!("{line} 4")).await
    );
}

#[tokio::test]
async fn a_flawless_canary_takes_the_planned_time_and_a_broken_one_seconds() {
    let plan = "--base 0% --steps 5,100 --hold 1m --runs 20";
    let good = json(&format!("simulate --canary 0% {plan}")).await;
    assert_eq!(good["promoted"]["sharePpm"], 1_000_000, "{good}");
    assert_eq!(good["secondsToPromote"]["p95"], 123, "{good}");
    let bad = json(&format!("simulate --canary 50% {plan}")).await;
    assert_eq!(bad["rolledBack"]["sharePpm"], 1_000_000, "{bad}");
    assert!(
        bad["secondsToRollBack"]["p95"].as_u64().unwrap() < 15,
        "{bad}"
    );
    assert_eq!(bad["ends"][0]["step"], 2, "{bad}");
}

#[tokio::test]
async fn a_slow_canary_is_rolled_back_by_a_latency_limit() {
    let line = "simulate --canary 0% --steps 20,100 --hold 1m --latency-p99 500ms --runs 10 --canary-latency";
    assert_eq!(json(&format!("{line} 1x")).await["promoted"]["runs"], 10);
    assert_eq!(json(&format!("{line} 10x")).await["rolledBack"]["runs"], 10);
}

#[tokio::test]
async fn the_plan_comes_from_a_file_a_preset_or_options_but_not_from_two() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("haldane.yaml");
    let file = "services: { auth: { listen: 0.0.0.0:1, stable: { version: v1, run: ./a }, rollout: { steps: [100%], hold: 10s } } }";
    fs::write(&path, file).unwrap();
    let path = path.display();
    let by_file = json(&format!(
        "simulate auth -f {path} --canary 0% --base 0% --runs 2"
    ))
    .await;
    assert_eq!(by_file["secondsToPromote"]["p50"], 13, "{by_file}");
    let by_preset = json("simulate --preset AllAtOnce --canary 0% --runs 2").await;
    assert_eq!(by_preset["promoted"]["runs"], 2, "{by_preset}");
    let unknown = usage_error("simulate --preset Fast --canary 1%").await;
    assert!(unknown.contains("no preset"), "{unknown}");
    let both = usage_error("simulate --preset fast --canary 1% --steps 5,100").await;
    assert!(both.contains("two plans"), "{both}");
}
