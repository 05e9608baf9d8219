//! Commands as scripts use them: exit codes, closed pipes, interruptions.

use std::{
    io::pipe,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use haldane_api::http::{RolloutHistory, ServiceView};
use rustix::process::Signal;

use crate::it::{
    http::get,
    rig::{Daemon, Rig, free_addr, shop, shop_file, signal, until, within},
};

/// A plan that lasts longer than any test of this file.
const LONG: &str = "{ steps: [50%, 100%], hold: 60s, guards: none }";

/// How long a daemon's stream may take to notice that nobody reads any more: its next change or keep-alive.
const NOTICE_MAX: Duration = Duration::from_secs(20);

/// A daemon with a shop and a plan, and where the shop listens.
fn start(rig: &Rig) -> (Daemon, std::net::SocketAddr) {
    let addr = free_addr();
    rig.write_file(&shop_file(addr, LONG));
    let daemon = rig.up();
    daemon.api.wait_ready("shop");
    (daemon, addr)
}

/// Runs a command to its end, which must have this code.
#[track_caller]
fn check(rig: &Rig, args: &[&str], code: i32) -> Output {
    check_end(
        rig.haldane(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
        args,
        code,
    )
}

#[track_caller]
fn check_end(mut child: Child, args: &[&str], code: i32) -> Output {
    within(NOTICE_MAX, &format!("{args:?} ends"), || {
        child.try_wait().unwrap()
    });
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {told}");
    output
}

/// Returns the arguments that begin a rollout of this version.
fn deploy<'a>(version: &'a str, run: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [
        &["deploy", "shop", "--version", version, "--run", run],
        more,
    ]
    .concat()
}

fn run_line(version: &str) -> String {
    shop(version, "good").join(" ")
}

/// Returns a command whose results nobody reads.
fn unread(mut command: Command) -> Command {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    command.stdout(writer).stderr(Stdio::piped());
    command
}

#[test]
fn exit_codes_tell_scripts_how_a_rollout_ended() {
    let rig = Rig::new();
    let (daemon, addr) = start(&rig);
    let quick = [
        "--steps",
        "100",
        "--hold",
        "1s",
        "--skip-analysis",
        "--reason",
        "a test",
        "--wait",
    ];

    let run = run_line("v2");
    check(
        &rig,
        &deploy("v2", &run, &[&quick[..], &["--auto-promote"]].concat()),
        0,
    );
    assert_eq!(
        get(addr, "shop", "/products")
            .unwrap()
            .header("x-shop-version"),
        Some("v2")
    );

    // A person promotes here.
    let run = run_line("v3");
    check(&rig, &deploy("v3", &run, &quick), 5);
    check(&rig, &["promote", "shop"], 0);
    assert_eq!(daemon.api.wait_over("shop-2").phase, "Completed");

    let run = run_line("v4");
    let args = deploy("v4", &run, &["--wait"]);
    let waiter = rig
        .haldane(&args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("the canary has traffic", || {
        daemon
            .api
            .published("shop", "v4")
            .filter(|bps| *bps == 5_000)
    });
    check(&rig, &["abort", "shop", "--reason", "a test"], 0);
    check_end(waiter, &args, 3);

    check(&rig, &["retry", "shop", "--wait", "--timeout", "1s"], 4);
    let history = check(&rig, &["history", "shop", "-o", "json"], 0);
    let history: Vec<RolloutHistory> = serde_json::from_slice(&history.stdout).unwrap();
    let phases: Vec<&str> = history
        .iter()
        .map(|rollout| rollout.phase.as_str())
        .collect();
    assert_eq!(
        phases,
        ["Progressing", "RolledBack", "Completed", "Completed"]
    );
    check(&rig, &["abort", "shop"], 0);
    daemon.stop(&rig);
}

#[test]
fn mistakes_are_told_apart_from_failures() {
    let rig = Rig::new();
    let no_daemon = check(&rig, &["get"], 1);
    let told = String::from_utf8_lossy(&no_daemon.stderr).into_owned();
    assert!(
        told.contains("haldane up") && told.contains(&*rig.data_dir().to_string_lossy()),
        "{told}"
    );
    check(&rig, &["get", "--nonsense"], 2);
    let (daemon, _) = start(&rig);
    check(&rig, &["status", "ghost"], 1);
    check(&rig, &["abort", "shop"], 1);
    check(&rig, &["set-weight", "shop", "101%"], 2);
    let view = check(&rig, &["get", "shop", "-o", "json"], 0);
    let view: ServiceView = serde_json::from_slice(&view.stdout).unwrap();
    assert_eq!((view.stable.replicas_ready, view.rollout), (2, None));
    daemon.stop(&rig);
}

#[test]
fn a_closed_pipe_is_no_error() {
    let rig = Rig::new();
    let (daemon, _) = start(&rig);
    for args in [
        &["get"][..],
        &["get", "-o", "json"],
        &["get", "-w"],
        &["status", "shop"],
        &["history", "shop"],
        &["logs", "shop"],
        &["monitor", "shop", "--interval", "1"],
        &["plan", "show", "fast"],
        &["schema"],
        &["completions", "bash"],
        &["--help"],
    ] {
        let output = check_end(unread(rig.haldane(args)).spawn().unwrap(), args, 0);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
    }
    assert_eq!(rig.replicas().len(), 2);
    daemon.stop(&rig);
}

#[test]
fn a_demo_that_nobody_reads_ends_and_takes_its_processes_along() {
    let rig = Rig::new();
    let args = ["demo", "--plain"];
    check_end(unread(rig.haldane(&args)).spawn().unwrap(), &args, 0);
    assert_eq!(rig.processes(), Vec::new());
}

#[test]
fn an_interrupted_wait_leaves_the_rollout_alone() {
    let rig = Rig::new();
    let (daemon, _) = start(&rig);
    let run = run_line("v2");
    let args = deploy("v2", &run, &["--wait"]);
    let mut waiter = rig
        .haldane(&args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the canary has traffic", || {
        daemon
            .api
            .published("shop", "v2")
            .filter(|bps| *bps == 5_000)
    });
    signal(waiter.id().cast_signed(), Signal::INT);
    let status = until("the wait ends", || waiter.try_wait().unwrap());
    assert!(!status.success(), "an interrupted wait is no success");
    let history = daemon.api.rollout("shop-1").unwrap();
    assert_eq!(
        (history.phase.as_str(), history.ended_at),
        ("Progressing", None)
    );
    assert_eq!(daemon.api.published("shop", "v2"), Some(5_000));
    daemon.stop(&rig);
}
