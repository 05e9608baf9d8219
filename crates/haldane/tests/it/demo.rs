//! `haldane demo`: the outcome follows from the shop's versions alone, and no request is dropped.

use std::{
    process::{Output, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::it::rig::{PATIENCE, Rig, calm, signal, until, within};

/// How long a demo may take: a promotion within 90 s, as promised, and what a busy machine adds to it.
const DEMO_MAX: Duration = Duration::from_secs(120);

/// Runs a demo, and returns its one object; it must have ended with this code and left nothing behind.
#[track_caller]
fn demo(options: &[&str], code: i32) -> Value {
    let _calm = calm();
    let rig = Rig::new();
    let output = run(
        &rig,
        &[&["demo", "--plain", "-o", "json"], options].concat(),
    );
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(code), "{stdout}");
    let told: Value = serde_json::from_str(&stdout).unwrap();
    let left: Vec<_> = std::fs::read_dir(rig.path(".")).unwrap().collect();
    assert!(
        left.iter()
            .all(|entry| entry.as_ref().unwrap().file_name() == "log"),
        "{left:?}"
    );
    told
}

fn run(rig: &Rig, args: &[&str]) -> Output {
    let mut command = rig.haldane(args);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let waiter = std::thread::spawn(move || child.wait_with_output().unwrap());
    within(DEMO_MAX, "the demo ends", || {
        waiter.is_finished().then_some(())
    });
    assert!(!rig.processes().iter().any(|process| process.pid == pid));
    waiter.join().unwrap()
}

/// Checks what holds of every demo, and returns its outcome.
#[track_caller]
fn check_told(told: &Value) -> (&str, f64) {
    let number = |key: &str| {
        told[key]
            .as_f64()
            .unwrap_or_else(|| panic!("{key} in {told}"))
    };
    assert_eq!(number("dropped"), 0.0, "{told}");
    assert!(number("canary_requests") > 0.0, "{told}");
    assert!(number("canary_requests") < number("requests"), "{told}");
    assert!(
        number("seconds_to_decision") < number("seconds_total"),
        "{told}"
    );
    assert!(!told["reason"].as_str().unwrap().is_empty(), "{told}");
    let weights = told["weights"].as_array().unwrap();
    let at: Vec<f64> = weights
        .iter()
        .map(|weight| weight["at"].as_f64().unwrap())
        .collect();
    assert!(at.is_sorted(), "{told}");
    for weight in weights {
        let bps = weight["bps"].as_f64().unwrap();
        if let Some(observed) = weight["observed_bps"].as_f64() {
            // A few seconds of some hundred requests: four σ of the smallest such sample are below this.
            assert!((observed - bps).abs() <= 1_200.0, "{told}");
        }
    }
    (
        told["outcome"].as_str().unwrap(),
        number("canary_requests") / number("requests"),
    )
}

#[track_caller]
fn check_rolled_back(options: &[&str], expected_reason: &[&str], share_max: f64) {
    let told = demo(options, 0);
    let (outcome, share) = check_told(&told);
    assert_eq!(outcome, "rolled_back", "{told}");
    assert!(share <= share_max, "{told}");
    let reason = told["reason"].as_str().unwrap();
    assert!(
        expected_reason.iter().any(|word| reason.contains(word)),
        "{told}"
    );
    let weights = told["weights"].as_array().unwrap();
    assert_eq!(weights.last().unwrap()["bps"], 0, "{told}");
    assert!(
        told["seconds_to_decision"].as_f64().unwrap() <= 30.0,
        "{told}"
    );
}

#[track_caller]
fn check_promoted(options: &[&str], code: i32) {
    let told = demo(options, code);
    let (outcome, _) = check_told(&told);
    assert_eq!(outcome, "promoted", "{told}");
    let weights = told["weights"].as_array().unwrap();
    let bps: Vec<u64> = weights
        .iter()
        .map(|weight| weight["bps"].as_u64().unwrap())
        .collect();
    assert_eq!(bps, [0, 1_000, 2_500, 5_000, 10_000], "{told}");
    // Each lasts for hundreds of requests, so that there is a share to compare with.
    let mut raised = weights.iter().skip(1);
    assert!(
        raised.all(|weight| weight["observed_bps"].is_u64()),
        "{told}"
    );
}

#[test]
fn a_version_whose_requests_fail_is_rolled_back() {
    check_rolled_back(&["--canary", "errors"], &["errors: ", "error rate"], 0.15);
}

#[test]
fn a_slow_version_is_rolled_back() {
    check_rolled_back(&["--canary", "slow"], &["latency above", "p95"], 0.15);
}

#[test]
fn a_crashing_version_is_rolled_back() {
    check_rolled_back(
        &["--canary", "crash"],
        &["restarts", "lost", "errors: ", "error rate"],
        0.3,
    );
}

#[test]
fn a_good_version_is_promoted() {
    check_promoted(&["--canary", "good"], 0);
}

#[test]
fn with_the_versions_swapped_the_outcome_swaps() {
    // The old version is the bad one: the same daemon, judge and driver let the good one take over.
    check_promoted(&["--stable", "errors", "--canary", "good"], 0);
}

#[test]
fn an_interrupted_demo_takes_its_processes_and_files_along() {
    let rig = Rig::new();
    let mut command = rig.haldane(&["demo", "--plain"]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("both versions run", || {
        (rig.shops("v1").len() == 2 && rig.shops("v2").len() == 2).then_some(())
    });
    signal(child.id().cast_signed(), Signal::INT);
    let status = within(PATIENCE, "the demo ends", || child.try_wait().unwrap());
    assert_ne!(status.code(), Some(0), "an interrupted demo is no success");
    assert!(
        status.code().is_some(),
        "it was killed instead of ending: {status}"
    );
    let left = std::fs::read_dir(rig.path(".")).unwrap().count();
    assert_eq!(left, 0);
}
