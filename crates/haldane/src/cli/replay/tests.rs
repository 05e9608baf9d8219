//! Replays without a daemon, and what is asked of one.

use serde_json::Value;

use super::*;
use crate::cli::testing::{Daemon, Reply, service_json};

const SHOP: &str = include_str!("tests/shop.csv");
const RECORDED: &str = include_str!("tests/shop-1.ndjson");

/// A release file whose guard is broken by a canary that fails one request in a hundred.
const STRICT: &str = "services: { shop: { listen: 0, stable: { version: v1, run: a }, rollout: { steps: [10%, 100%], guards: { errorRate: 1% }, sampling: { requestsMin: 50 } } } }";

struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        Self(dir)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }
}

async fn run(line: &str) -> (anyhow::Result<Exit>, String) {
    Daemon::start([]).run(line).await
}

fn judge<'a>(report: &'a Value, name: &str) -> &'a Value {
    let judges = report["judges"].as_array().unwrap();
    let found = judges.iter().find(|told| told["judge"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

#[tokio::test]
async fn a_table_is_judged_by_everyone() {
    let files = Files::new(&[("shop.csv", SHOP)]);
    let line = format!("replay --csv {}", files.path("shop.csv"));
    let (exit, out) = run(&line).await;
    assert_eq!(exit.unwrap(), Exit::Done);
    insta::assert_snapshot!(out.replace(&files.path(""), "/"));
    let (_, json) = run(&format!("{line} -o json")).await;
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(judge(&report, "haldane")["verdict"], "Fail");
    assert_eq!(report["canary"]["requests"], 1_800);
    assert_eq!(run(&format!("{line} -o json")).await.1, json);
    let (_, yaml) = run(&format!("{line} -o yaml")).await;
    assert!(yaml.contains("judge: haldane"), "{yaml}");
}

#[tokio::test]
async fn another_plan_decides_otherwise() {
    let files = Files::new(&[("shop.csv", SHOP), ("haldane.yaml", STRICT)]);
    let line = format!(
        "replay shop --csv {} -f {} -o json",
        files.path("shop.csv"),
        files.path("haldane.yaml")
    );
    let (exit, json) = run(&line).await;
    assert_eq!(exit.unwrap(), Exit::Done);
    let report: Value = serde_json::from_str(&json).unwrap();
    let guards = judge(&report, "guards");
    assert_eq!(guards["verdict"], "Fail", "{report:#}");
    assert!(
        guards["why"].as_str().unwrap().starts_with("error rate"),
        "{report:#}"
    );
}

#[tokio::test]
async fn mistakes_name_the_file_and_the_place() {
    let files = Files::new(&[
        ("shop.csv", "time,stable_requests\n"),
        ("other.ndjson", "{}\n"),
    ]);
    let check = async |line: String, expected: &str, exit: Exit| {
        let error = run(&line).await.0.unwrap_err();
        assert!(format!("{error:#}").contains(expected), "{error:#}");
        assert_eq!(crate::cli::exit::exit_of(&error), exit);
    };
    let missing = "shop.csv:1:1: the column stable_errors is missing";
    check(
        format!("replay --csv {}", files.path("shop.csv")),
        missing,
        Exit::Failed,
    )
    .await;
    let other = "other.ndjson: line 1: expected the head of a recording";
    check(
        format!("replay --recording {}", files.path("other.ndjson")),
        other,
        Exit::Failed,
    )
    .await;
    check(
        "replay".to_owned(),
        "there is nothing to replay",
        Exit::Usage,
    )
    .await;
    check(
        "replay Not/one".to_owned(),
        "is no service and no rollout",
        Exit::Usage,
    )
    .await;
}

#[tokio::test]
async fn a_recording_is_fetched_saved_and_replayed_alike() {
    let files = Files::new(&[]);
    let daemon = Daemon::start([
        (
            "GET /v1/services/auth",
            Reply::json(200, &service_json("RolledBack")),
        ),
        (
            "GET /v1/rollouts/auth-7/recording",
            Reply::text(200, RECORDED),
        ),
        (
            "GET /v1/rollouts/shop-1/recording",
            Reply::text(200, RECORDED),
        ),
    ]);
    let saved = files.path("saved.ndjson");
    let (exit, one) = daemon.run(&format!("replay auth --save {saved}")).await;
    assert_eq!(exit.unwrap(), Exit::Done);
    assert_eq!(fs::read_to_string(&saved).unwrap(), RECORDED);
    let (_, other) = daemon.run(&format!("replay --recording {saved}")).await;
    assert_eq!(one, other);
    assert_eq!(daemon.run("replay shop-1").await.1, one);
    insta::assert_snapshot!(one);
}

#[tokio::test]
async fn a_recording_tells_the_decision_at_its_second() {
    let recording = Recording::read(RECORDED).unwrap();
    let findings = replay(&recording.head.plan, &recording.moments, Asking::AsRecorded);
    let mut decisions = recording.decisions.iter();
    let decided = decisions
        .find(|decision| decision.phase == "RollingBack")
        .unwrap();
    assert_eq!(
        (findings[0].judge, findings[0].at),
        ("haldane", Some(decided.at))
    );
    assert_eq!(
        findings[0].why,
        decided.text.split_once(": ").map_or("", |(_, why)| why)
    );
    // "What if I had used these guards?"
    let files = Files::new(&[("shop-1.ndjson", RECORDED), ("haldane.yaml", STRICT)]);
    let line = format!(
        "replay --recording {} -f {} -o json",
        files.path("shop-1.ndjson"),
        files.path("haldane.yaml")
    );
    let report: Value = serde_json::from_str(&run(&line).await.1).unwrap();
    let (own, guards) = (judge(&report, "haldane"), judge(&report, "guards"));
    assert_eq!(
        (&own["verdict"], &guards["verdict"]),
        (&"Fail".into(), &"Fail".into()),
        "{report:#}"
    );
}
