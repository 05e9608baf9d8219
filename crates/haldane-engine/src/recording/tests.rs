//! Files that are no recordings.

use super::*;

fn head(form: u32) -> String {
    let plan = haldane_api::file::default_plan();
    let head = Head {
        form,
        rollout: "shop-1".parse().unwrap(),
        service: "shop".parse().unwrap(),
        stable: "v1".parse().unwrap(),
        canary: "v2".parse().unwrap(),
        started_at: "2026-11-20T12:00:00Z".parse().unwrap(),
        plan,
    };
    serde_json::to_string(&Line::Head(Box::new(head))).unwrap()
}

#[test]
fn a_file_that_is_no_recording_is_refused_with_its_place() {
    let check = |text: &str, expected: &str| {
        let error = Recording::read(text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    };
    check("", "line 1: expected the head of a recording");
    check("time,stable_requests\n", "line 1: expected the head");
    check(
        &head(7),
        "line 1: a recording of form 7; this release knows form 1",
    );
    let spoiled = format!("{}\n\n{{\"second\":{{\"batch\":[1]}}}}\n", head(1));
    check(&spoiled, "line 3, column 21: ");
    let unknown = format!("{}\n{{\"hour\":7}}\n", head(1));
    check(&unknown, "line 2, column 7: unknown variant `hour`");
}

#[test]
fn a_recording_of_nothing_is_one() {
    let recording = Recording::read(&head(1)).unwrap();
    assert_eq!((recording.decisions.len(), recording.moments.len()), (0, 0));
}
