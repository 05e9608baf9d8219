//! Deploying against a scripted daemon, and the timetable of a plan.

use crate::cli::{
    exit::exit_of,
    testing::{Daemon, Reply, service_json},
};

use super::*;

const CALL: &str = "POST /v1/services/auth/deploy";

fn answer() -> Reply {
    Reply::json(
        200,
        &json!({ "messages": ["auth-7 begins"], "rollout": "auth-7", "isDurable": true }),
    )
}

#[tokio::test]
async fn the_request_says_what_the_line_says() {
    let daemon = Daemon::start([(CALL, answer())]);
    let line = [
        "deploy",
        "auth",
        "--version",
        "v2",
        "--run",
        "./auth2 --port $PORT",
        "--env",
        "A=b=c",
        "--dir",
        "/srv",
        "--replicas",
        "2",
        "--steps",
        "5,100",
        "--hold",
        "1",
        "--reason",
        "faster login",
    ];
    let (exit, out) = daemon.run_words(&line).await;
    assert_eq!(
        (exit.unwrap(), out.as_str()),
        (Exit::Done, "auth-7 begins\n")
    );
    let expected = json!({
        "version": "v2", "run": ["./auth2", "--port", "$PORT"], "env": { "A": "b=c" }, "dir": "/srv", "urls": null,
        "replicas": 2, "rollout": { "steps": ["5%", "100%"], "hold": "1m", "promote": "manual" },
        "by": "ann@desk", "reason": "faster login",
    });
    assert_eq!(daemon.asked(), [(CALL.to_owned(), expected)]);
}

#[tokio::test]
async fn without_options_of_the_plan_the_service_decides() {
    let daemon = Daemon::start([(CALL, answer())]);
    let (exit, _) = daemon
        .run("deploy auth --version v2 --url http://127.0.0.1:1 --url http://127.0.0.1:2")
        .await;
    exit.unwrap();
    let (_, body) = daemon.asked().remove(0);
    assert_eq!(body["rollout"], Value::Null);
    assert_eq!(
        body["urls"],
        json!(["http://127.0.0.1:1", "http://127.0.0.1:2"])
    );
}

#[tokio::test]
async fn a_plan_that_makes_no_sense_is_told_before_anything_is_asked() {
    let daemon = Daemon::start([(CALL, answer())]);
    let shell = ["deploy", "auth", "--version", "v2", "--run", "a | b"];
    let falls = [
        "deploy",
        "auth",
        "--version",
        "v2",
        "--run",
        "a",
        "--steps",
        "50,10",
    ];
    for (line, expected) in [
        (&shell[..], "needs a shell"),
        (&falls[..], "the weight falls from 50% to 10%"),
    ] {
        let error = daemon.run_words(line).await.0.unwrap_err();
        assert_eq!(exit_of(&error), Exit::Usage);
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(daemon.asked(), []);
}

#[tokio::test]
async fn what_only_a_cluster_understands_is_refused_here() {
    let daemon = Daemon::start([(CALL, answer())]);
    for (line, expected) in [
        ("deploy auth auth:v2", "IMAGE is a matter of Kubernetes"),
        (
            "deploy auth --route httproute/a --version v2",
            "--route is a matter of Kubernetes",
        ),
        (
            "deploy web/auth --version v2 --url http://127.0.0.1:1",
            "give --kube",
        ),
        ("deploy auth --version v2", "what is to run is missing"),
        (
            "deploy auth --url http://127.0.0.1:1",
            "--version is missing",
        ),
    ] {
        let error = daemon.run(line).await.0.unwrap_err();
        assert_eq!(exit_of(&error), Exit::Usage, "{line}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(daemon.asked(), []);
}

#[tokio::test]
async fn a_dry_run_shows_when_what_would_happen_and_asks_nobody() {
    let daemon = Daemon::start([(CALL, answer())]);
    let line = "deploy auth --version v2 --steps 5,50,100 --hold 5 --error-threshold 3 --dry-run";
    let (exit, out) = daemon.run(line).await;
    assert_eq!((exit.unwrap(), daemon.asked()), (Exit::Done, vec![]));
    insta::assert_snapshot!(out);
}

#[tokio::test]
async fn a_dry_run_without_options_shows_the_plan_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("haldane.yaml");
    let text = "services: { auth: { listen: 127.0.0.1:8080, stable: { version: v1, url: http://127.0.0.1:1 },
        rollout: { preset: blue-green } } }";
    fs::write(&path, text).unwrap();
    let daemon = Daemon::start([]);
    let line = format!("deploy auth --version v2 --dry-run -f {}", path.display());
    let (exit, out) = daemon.run(&line).await;
    exit.unwrap();
    insta::assert_snapshot!(out);
    let error = daemon
        .run(&line.replace("auth", "cart"))
        .await
        .0
        .unwrap_err();
    assert!(
        error.to_string().ends_with("has no service cart"),
        "{error}"
    );
}

#[tokio::test]
async fn waiting_ends_with_the_rollout() {
    for (phase, expected) in [
        ("Completed", Exit::Done),
        ("RolledBack", Exit::Aborted),
        ("Failed", Exit::Failed),
        ("Paused", Exit::Waiting),
    ] {
        let events = Reply::events(&[service_json("Progressing"), service_json(phase)]);
        let daemon = Daemon::start([(CALL, answer()), ("GET /v1/events", events)]);
        let (exit, out) = daemon
            .run("deploy auth --version v2 --url http://127.0.0.1:1 --wait")
            .await;
        assert_eq!(exit.unwrap(), expected, "{phase}");
        assert_eq!(out, format!("auth-7: {phase}: holding at 25% for 5m\n"));
    }
}

#[tokio::test]
async fn a_pause_for_a_window_is_waited_out() {
    let mut closed = service_json("Paused");
    closed["rollout"]["waitsForPerson"] = json!(false);
    let events = Reply::events(&[closed, service_json("Completed")]);
    let daemon = Daemon::start([(CALL, answer()), ("GET /v1/events", events)]);
    let (exit, out) = daemon
        .run("deploy auth --version v2 --url http://127.0.0.1:1 --wait")
        .await;
    assert_eq!(exit.unwrap(), Exit::Done);
    assert_eq!(out, "auth-7: Completed: holding at 25% for 5m\n");
}

#[tokio::test]
async fn waiting_has_an_end_of_its_own() {
    let daemon = Daemon::start([
        (CALL, answer()),
        (
            "GET /v1/events",
            Reply::events(&[service_json("Progressing")]),
        ),
    ]);
    let line = "deploy auth --version v2 --url http://127.0.0.1:1 --wait --timeout 1500ms";
    let (exit, out) = daemon.run(line).await;
    assert_eq!(exit.unwrap(), Exit::TimedOut);
    assert_eq!(out, "auth-7: Progressing: holding at 25% for 5m\n");
}

#[tokio::test]
async fn a_rollout_that_a_newer_one_replaced_ends_as_its_history_says() {
    let mut newer = service_json("Progressing");
    newer["rollout"]["id"] = json!("auth-8");
    let history = json!({
        "id": "auth-7", "kind": "deploy", "by": "ann", "reason": null, "stable": "v1", "canary": "v2", "phase": "RolledBack",
        "message": "replaced by auth-8", "startedAt": "2026-11-21T12:00:00Z", "endedAt": "2026-11-21T12:00:00Z", "entries": [],
    });
    let daemon = Daemon::start([
        (CALL, answer()),
        ("GET /v1/events", Reply::events(&[newer])),
        ("GET /v1/rollouts/auth-7", Reply::json(200, &history)),
    ]);
    let (exit, out) = daemon
        .run("deploy auth --version v2 --url http://127.0.0.1:1 --wait -o json")
        .await;
    assert_eq!(exit.unwrap(), Exit::Aborted);
    let out: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        out,
        json!({ "rollout": "auth-7", "phase": "RolledBack", "message": "replaced by auth-8", "waitsForPerson": false })
    );
}

#[tokio::test]
async fn a_version_that_waits_for_its_turn_is_waited_for() {
    let answer = json!({ "messages": ["v3 begins later"], "rollout": null, "isDurable": true });
    let mut queued = service_json("RollingBack");
    queued["queued"] = json!("v3");
    let mut begun = service_json("Completed");
    begun["rollout"]["id"] = json!("auth-8");
    begun["rollout"]["canary"] = json!("v3");
    let mut replaced = service_json("Progressing");
    replaced["rollout"]["canary"] = json!("v4");
    for (last, expected, text) in [
        (
            begun,
            Exit::Done,
            "auth-8: Completed: holding at 25% for 5m\n",
        ),
        (
            replaced,
            Exit::Aborted,
            "auth: Replaced: v3 was replaced before it began\n",
        ),
    ] {
        let daemon = Daemon::start([
            (CALL, Reply::json(200, &answer)),
            ("GET /v1/services/auth", Reply::json(200, &queued)),
            ("GET /v1/events", Reply::events(&[queued.clone(), last])),
        ]);
        let line = "deploy auth --version v3 --url http://127.0.0.1:1 --wait";
        let (exit, out) = daemon.run(line).await;
        assert_eq!((exit.unwrap(), out.as_str()), (expected, text));
    }
}

#[test]
fn a_port_that_the_shell_has_swallowed_is_noticed() {
    for (line, is_hint) in [
        ("./a --port", true),
        ("./a --port --verbose", true),
        ("./a --listen 127.0.0.1:", true),
        ("./a --port $PORT", false),
        ("./a", false),
    ] {
        assert_eq!(
            port_hint(&command::split(line).unwrap()).is_some(),
            is_hint,
            "{line}"
        );
    }
}
