//! Tests of `job`.

use super::*;

fn key(rollout: &str, step: u32, entered: &str) -> GateKey {
    GateKey {
        rollout: rollout.parse().unwrap(),
        step,
        entered: entered.parse().unwrap(),
    }
}

#[test]
fn each_question_has_a_job_of_its_own() {
    let long = format!("{}-12345", "a".repeat(50));
    let names = [
        key("shop-1", 2, "2026-11-21T10:00:00Z"),
        key("shop-1", 2, "2026-11-21T10:00:01Z"),
        key("shop-1", 3, "2026-11-21T10:00:00Z"),
        key("shop-2", 2, "2026-11-21T10:00:00Z"),
        key(&long, 2, "2026-11-21T10:00:00Z"),
    ]
    .map(|key| name(&key));
    let all: BTreeSet<&String> = names.iter().collect();
    assert_eq!(all.len(), names.len(), "{names:?}");
    for name in &names {
        assert!(name.len() <= 50, "{name}");
    }
    assert!(names[0].starts_with("shop-1-"));
}

#[test]
fn a_job_ends_with_its_last_condition() {
    let job = |conditions: Value| json!({"status": {"conditions": conditions}});
    let one = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "Why"});
    for (job, expected) in [
        (json!({}), None),
        (job(json!([])), None),
        (job(json!([one("Suspended", "True")])), None),
        (job(json!([one("FailureTarget", "True")])), None),
        (job(json!([one("Failed", "False")])), None),
        (
            job(json!([one("FailureTarget", "True"), one("Failed", "True")])),
            Some((false, "Why".to_owned())),
        ),
        (
            job(json!([one("Complete", "True")])),
            Some((true, "Why".to_owned())),
        ),
    ] {
        assert_eq!(ended(&job), expected, "{job}");
    }
}

#[test]
fn what_is_told_is_not_expanded() {
    let mut spec = json!({"template": {"spec": {"containers": [{"name": "a"}]}}});
    tell(
        &mut spec,
        &[("HALDANE_WHY", "cost $(SECRET) $5".to_owned())],
    );
    let env = &spec["template"]["spec"]["containers"][0]["env"];
    assert_eq!(
        env,
        &json!([{"name": "HALDANE_WHY", "value": "cost $$(SECRET) $$5"}])
    );
}
