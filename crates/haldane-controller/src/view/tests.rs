//! Statuses, and what is seen of them.

use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-11-21T12:00:00Z";

fn release(status: &Value) -> Release {
    let object = json!({
        "metadata": {"name": "shop", "namespace": "web", "generation": 2},
        "spec": {
            "workload": {"deployment": {"name": "shop"}},
            "rollout": {"steps": ["10%", "50%"], "hold": "1m"},
        },
        "status": status,
    });
    Release::read(&object).unwrap()
}

fn status(phase: &str, more: &Value) -> Value {
    let mut status = json!({
        "observedGeneration": 2, "phase": phase, "message": "told", "rollout": "shop-7", "step": "3/4", "weight": "50%",
        "stable": "v1", "canary": "v2",
    });
    let map = status.as_object_mut().unwrap();
    map.extend(more.as_object().unwrap().clone());
    status
}

fn view(status: &Value) -> ServiceView {
    service(&release(status), NOW.parse().unwrap())
}

#[test]
fn a_release_that_nobody_has_looked_at_has_no_rollout() {
    let view = view(&Value::Null);
    assert_eq!((&view.rollout, &view.canary), (&None, &None));
    assert_eq!(view.stable.version.as_str(), "unknown");
    assert_eq!(view.namespace.as_deref(), Some("web"));
    assert_eq!(
        view.notices,
        ["no controller has looked at its present spec yet"]
    );
}

#[test]
fn a_rollout_is_told_as_the_daemon_tells_its_own() {
    let view = view(&status("Progressing", &json!({})));
    assert_eq!(view.canary.unwrap().version.as_str(), "v2");
    let rollout = view.rollout.unwrap();
    assert_eq!((rollout.id.as_str(), rollout.step), ("shop-7", Some(3)));
    assert_eq!(rollout.weight_bps, Weight::from_percent(50));
    assert!(!rollout.is_over && rollout.is_applied && !rollout.waits_for_person);
    let steps: Vec<(u16, StepState)> = rollout
        .steps
        .iter()
        .map(|step| (step.weight_bps.as_bps(), step.state))
        .collect();
    let expected = [
        (1_000, StepState::Done),
        (1_000, StepState::Done),
        (5_000, StepState::Current),
        (5_000, StepState::Next),
    ];
    assert_eq!(steps, expected);
    assert_eq!(view.notices, Vec::<String>::new());
}

#[test]
fn each_phase_says_whether_it_is_over_and_who_is_waited_for() {
    for (phase, is_over, waits, steps_done) in [
        ("Pending", false, false, 2),
        ("Progressing", false, false, 2),
        ("Paused", false, true, 2),
        ("RollingBack", false, false, 2),
        ("Promoting", false, false, 4),
        ("Completed", true, false, 4),
        ("RolledBack", true, false, 0),
        ("Failed", true, false, 0),
    ] {
        let view = view(&status(phase, &json!({})));
        assert_eq!(view.canary.is_none(), is_over, "{phase}");
        let rollout = view.rollout.unwrap();
        assert_eq!(
            (rollout.is_over, rollout.waits_for_person),
            (is_over, waits),
            "{phase}"
        );
        let done = rollout
            .steps
            .iter()
            .filter(|step| step.state == StepState::Done);
        assert_eq!(done.count(), steps_done, "{phase}");
    }
}

fn past(rollout: &str, phase: &str) -> Value {
    json!({
        "rollout": rollout, "stable": "v1", "canary": "v2", "phase": phase, "message": "errors", "by": "ann",
        "startedAt": "2026-11-21T11:00:00Z", "endedAt": "2026-11-21T11:30:00Z",
    })
}

#[test]
fn a_rollout_that_is_over_has_the_times_of_the_history() {
    let all = [past("shop-7", "RolledBack"), past("shop-6", "Completed")];
    let release = release(&status("RolledBack", &json!({"history": all})));
    let now = NOW.parse().unwrap();
    let rollout = service(&release, now).rollout.unwrap();
    assert_eq!(rollout.by, "ann");
    assert_eq!(rollout.ended_at, "2026-11-21T11:30:00Z".parse().ok());
    let told: Vec<String> = history(&release, now)
        .iter()
        .map(|one| format!("{} {}", one.id, one.phase))
        .collect();
    assert_eq!(told, ["shop-7 RolledBack", "shop-6 Completed"]);
}

#[test]
fn a_rollout_that_goes_on_is_the_first_of_the_history() {
    let all = [past("shop-6", "Completed")];
    let release = release(&status("Paused", &json!({"history": all})));
    let told: Vec<String> = history(&release, NOW.parse().unwrap())
        .iter()
        .map(|one| format!("{} {}", one.id, one.phase))
        .collect();
    assert_eq!(told, ["shop-7 Paused", "shop-6 Completed"]);
}

#[test]
fn conditions_that_are_not_well_are_notices() {
    let condition = |kind: &str, status: &str| {
        json!({
            "type": kind, "status": status, "reason": "Why", "message": "because",
            "lastTransitionTime": "2026-11-21T11:55:00Z",
        })
    };
    let conditions = [
        condition("Stalled", "True"),
        condition("Applied", "False"),
        condition("Valid", "True"),
        condition("Ready", "False"),
        condition("Reconciling", "True"),
    ];
    let view = view(&status("Progressing", &json!({"conditions": conditions})));
    assert_eq!(
        view.notices,
        ["Stalled (Why): because", "Applied (Why): because"]
    );
    let rollout = view.rollout.unwrap();
    assert!(!rollout.is_applied);
    assert_eq!(rollout.started_at, "2026-11-21T11:55:00Z".parse().unwrap());
}

#[test]
fn a_command_that_waits_for_a_controller_is_a_notice() {
    let note = r#"{"id": "8", "name": "abort", "by": "ann"}"#;
    let answer = |id: &str| json!({"id": id, "name": "abort", "by": "ann", "result": "Done", "message": "m", "at": NOW});
    for (answered, expected) in [("7", 1), ("8", 0)] {
        let mut release = release(&status("Paused", &json!({"command": answer(answered)})));
        release.command = serde_json::from_str(note).ok();
        let view = service(&release, NOW.parse().unwrap());
        assert_eq!(view.notices.len(), expected, "{:?}", view.notices);
    }
}

#[test]
fn versions_have_names_whatever_the_image_is_called() {
    let long = format!("v{}", "1".repeat(80));
    for (text, expected) in [
        (Some("v1.2_3-rc"), "v1.2_3-rc"),
        (
            Some("registry:5000/shop@sha256:ab"),
            "registry-5000-shop-sha256-ab",
        ),
        (Some(long.as_str()), &long[..63]),
        (Some("///"), "unknown"),
        (None, "unknown"),
    ] {
        assert_eq!(version_name(text).as_str(), expected, "{text:?}");
    }
}

fn object(role: Option<&str>, ready: u32, owned: Vec<ObjectView>) -> ObjectView {
    ObjectView {
        kind: "Deployment".to_owned(),
        role: role.map(str::to_owned),
        ready,
        wanted: 2,
        image: role.map(|role| format!("shop:{role}")),
        owned,
        ..ObjectView::default()
    }
}

#[test]
fn replicas_are_counted_by_role() {
    let pair = vec![
        object(Some("stable"), 2, Vec::new()),
        object(Some("canary"), 1, Vec::new()),
    ];
    let native = vec![object(None, 3, pair.clone())];
    for objects in [pair, native] {
        let mut view = view(&status("Progressing", &json!({})));
        add_objects(&mut view, &objects);
        let counted = |version: &VersionView| (version.replicas_ready, version.replicas_wanted);
        assert_eq!(counted(&view.stable), (2, 2));
        let canary = view.canary.unwrap();
        assert_eq!(counted(&canary), (1, 2));
        assert_eq!(canary.source, "shop:canary");
    }
    // Without a rollout everything is stable's.
    let mut view = view(&status("Completed", &json!({})));
    add_objects(&mut view, &[object(None, 1, Vec::new())]);
    assert_eq!(view.stable.replicas_ready, 1);
}
