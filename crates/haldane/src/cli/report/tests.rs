//! Reports of a scripted daemon.

use serde_json::{Value, json};

use super::*;
use crate::cli::testing::{Daemon, Reply, service_json};

fn entry(
    number: u64,
    minute: u64,
    phase: &str,
    weight: u64,
    cause: &str,
    by: Option<&str>,
) -> Value {
    let judgement =
        (cause == "judge").then(|| service_json("RolledBack")["rollout"]["judgement"].clone());
    json!({
        "number": number, "at": format!("2026-11-21T12:{minute:02}:00Z"), "phase": phase, "step": 1, "weightBps": weight,
        "text": format!("now {phase}"), "cause": cause, "by": by, "judgement": judgement,
    })
}

fn rollout(id: &str, kind: &str, phase: &str, started_at: &str, entries: &Value) -> Value {
    json!({
        "id": id, "kind": kind, "by": "ann@desk", "reason": "faster <login>", "stable": "v1", "canary": "v2", "phase": phase,
        "message": "errorRate 6.2% is beyond 5%", "startedAt": started_at, "endedAt": "2026-11-21T12:06:00Z", "entries": entries,
    })
}

fn rolled_back() -> Value {
    let entries = json!([
        entry(0, 0, "Preparing", 0, "begin", Some("ann@desk")),
        entry(1, 1, "Progressing", 500, "workloads", None),
        entry(2, 3, "Progressing", 2_500, "promote", Some("bob")),
        entry(3, 5, "RollingBack", 0, "judge", None),
        entry(4, 6, "RolledBack", 0, "workloads", None),
    ]);
    rollout(
        "auth-7",
        "deploy",
        "RolledBack",
        "2026-11-21T12:00:00Z",
        &entries,
    )
}

fn daemon() -> Daemon {
    Daemon::start([
        (
            "GET /v1/services/auth/history",
            Reply::json(200, &json!([rolled_back()])),
        ),
        ("GET /v1/rollouts/auth-7", Reply::json(200, &rolled_back())),
    ])
}

#[tokio::test]
async fn a_rollout_is_told_to_people_who_were_not_there() {
    let (exit, out) = daemon().run("report auth").await;
    assert_eq!(exit.unwrap(), Exit::Done);
    for expected in [
        "# auth-7: v2 in place of v1\n",
        "A deploy by ann@desk, because \"faster \\<login\\>\"; it began 2026-11-21 12:00:00 and ended 2026-11-21 12:06:00 after 6m.\n",
        "At least 481 requests went to the canary: so many a verdict was made of at most.\n",
        "The canary's share of traffic over 6m: canary at most 25%\n",
        "| 2026-11-21 12:05:00 | RollingBack | 1 | 0% | now RollingBack | judge |\n",
        "Evidence of harm, of what a rollback needs over 6m: evidence at most 100%\n",
        "| errorRate | 0.12% | 6.2% | at most 5% | fail |\n",
        "| 2026-11-21 12:03:00 | bob | promote | now Progressing |\n",
    ] {
        assert!(out.contains(expected), "{expected}: {out}");
    }
    assert!(!out.contains("| ann@desk | begin |"), "{out}");
}

#[tokio::test]
async fn a_page_has_plots_and_nothing_from_elsewhere() {
    let (exit, out) = daemon().run("report auth 7 --html").await;
    assert_eq!(exit.unwrap(), Exit::Done);
    assert_eq!(out.matches("<svg").count(), 2, "{out}");
    assert!(out.contains("faster &lt;login&gt;"), "{out}");
    for elsewhere in ["http://", "https://", "src=", "<script"] {
        assert!(!out.contains(elsewhere), "{elsewhere}: {out}");
    }
}

#[tokio::test]
async fn what_was_counted_tells_whom_it_hit() {
    // As the daemon writes it.
    let recording = include_str!("../replay/tests/shop-1.ndjson");
    let read = Recording::read(recording).unwrap();
    let history: haldane_api::http::RolloutHistory = serde_json::from_value(rolled_back()).unwrap();
    let report = serde_json::to_value(RolloutReport::new(history, Some(&read))).unwrap();
    let sum = |key: &str| {
        report["points"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one[key].as_u64().unwrap())
            .sum::<u64>()
    };
    assert!(sum("canaryRequests") > 0, "{report}");
    assert_eq!(report["usersHit"]["canaryRequests"], sum("canaryRequests"));
    assert_eq!(report["usersHit"]["canaryErrors"], sum("canaryErrors"));
}

#[tokio::test]
async fn a_service_without_rollouts_has_nothing_to_report() {
    let daemon = Daemon::start([(
        "GET /v1/services/auth/history",
        Reply::json(200, &json!([])),
    )]);
    let error = daemon.run("report auth").await.0.unwrap_err();
    assert_eq!(
        error.to_string(),
        "auth has had no rollout so far: nothing to report"
    );
}

#[tokio::test]
async fn a_time_is_summed() {
    let past = |value: Value| Past {
        service: "auth".to_owned(),
        rollout: serde_json::from_value(value).unwrap(),
    };
    let of = |id: &str, kind: &str, phase: &str, day: u64| {
        past(rollout(
            id,
            kind,
            phase,
            &format!("2026-11-{day:02}T12:00:00Z"),
            &json!([]),
        ))
    };
    let all = vec![
        past(rolled_back()),
        of("auth-6", "deploy", "Completed", 20),
        of("auth-5", "undo", "Completed", 19),
        of("auth-4", "deploy", "Completed", 18),
        of("auth-3", "retry", "Failed", 17),
        of("auth-2", "deploy", "RolledBack", 1),
    ];
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let report = PeriodReport::new(
        at("2026-11-10T00:00:00Z"),
        at("2026-11-22T00:00:00Z"),
        all,
        Vec::new(),
    );
    let told = serde_json::to_value(&report).unwrap();
    for (key, expected) in [
        ("changes", 4),
        ("promoted", 2),
        ("rolledBack", 1),
        ("failed", 1),
        ("undone", 1),
        ("changeFailureRatePpm", 750_000),
        ("restoreMedianSeconds", 240),
        ("restoreLongestSeconds", 240),
    ] {
        assert_eq!(told[key], expected, "{key}: {told}");
    }
    assert_eq!(told["causes"], json!({ "judge": 1, "not kept": 1 }));
    let text = report.document(&jiff::tz::TimeZone::UTC).to_markdown();
    assert!(text.contains("| change failure rate | 75% |\n"), "{text}");
    assert!(
        text.contains(
            "| auth-7 | v2 | RolledBack | 11-21 12:00 | 4m | errorRate 6.2% is beyond 5% |\n"
        ),
        "{text}"
    );
}

#[test]
fn what_is_not_kept_is_no_time_to_restore() {
    let mut value = rolled_back();
    let restored = |value: &Value| {
        let rollout = serde_json::from_value(value.clone()).unwrap();
        let past = Past {
            service: "auth".to_owned(),
            rollout,
        };
        let report = PeriodReport::new(
            Timestamp::UNIX_EPOCH,
            Timestamp::now(),
            vec![past],
            Vec::new(),
        );
        serde_json::to_value(report).unwrap()["restoreLongestSeconds"].clone()
    };
    assert_eq!(restored(&value), 240);
    value["entries"].as_array_mut().unwrap().remove(1);
    assert_eq!(restored(&value), Value::Null);
}

#[tokio::test]
async fn all_services_are_asked_for_a_time() {
    let mut recent = rolled_back();
    recent["startedAt"] = Timestamp::now().to_string().into();
    let daemon = Daemon::start([
        (
            "GET /v1/services",
            Reply::json(200, &json!([service_json("RolledBack")])),
        ),
        (
            "GET /v1/services/auth/history",
            Reply::json(
                200,
                &json!([
                    recent.clone(),
                    rollout(
                        "auth-1",
                        "deploy",
                        "Completed",
                        "2020-01-01T00:00:00Z",
                        &json!([])
                    )
                ]),
            ),
        ),
        ("GET /v1/rollouts/auth-7", Reply::json(200, &recent)),
    ]);
    let (exit, out) = daemon.run("report --since 30d").await;
    assert_eq!(exit.unwrap(), Exit::Done);
    assert!(out.starts_with("# 1 change, "), "{out}");
    assert!(out.contains("| judge | 1 |\n"), "{out}");
}
