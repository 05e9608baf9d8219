//! Commands: what is asked of the controller, and how its answers end the command.

use serde_json::json;

use crate::rig::{Ended, Rig, end_of, status};

/// Gives a command that nobody answers.
pub(crate) async fn unanswered(rig: &Rig) -> Ended {
    rig.release("quiet", "shop", &status("Paused")).await;
    rig.haldane("promote quiet/shop").await
}

pub(crate) async fn commands_are_answered(rig: &Rig) {
    let shop = ("steer", "shop");
    rig.release("steer", "shop", &status("Progressing")).await;
    let command = rig.begin("abort steer/shop --reason lunch");
    let mut note = rig.answer(shop, "Done", &status("RollingBack")).await;
    end_of(command).await.has(0, "the controller's words\n");
    let note = note.as_object_mut().unwrap();
    assert!(note.remove("at").is_some());
    let first = note.remove("id").unwrap();
    assert_eq!(
        json!(note),
        json!({"name": "abort", "by": "ann@desk", "reason": "lunch"})
    );

    let command = rig.begin("set-weight steer/shop 12.5% -o json");
    let note = rig.answer(shop, "Done", &status("Paused")).await;
    assert_eq!(
        (&note["name"], &note["weightBps"]),
        (&json!("set-weight"), &json!(1_250))
    );
    assert_ne!(note["id"], first);
    let answer = end_of(command).await.json();
    assert_eq!(answer["rollout"], "shop-2");

    let command = rig.begin("resume steer/shop");
    rig.answer(shop, "Refused", &status("Paused")).await;
    end_of(command)
        .await
        .has(1, "haldane: the controller's words");

    let first = rig.begin("pause steer/shop");
    let before = rig.command("steer", "shop").await;
    let second = rig.begin("promote steer/shop --as bob");
    let after = loop {
        let note = rig.command("steer", "shop").await;
        if note["id"] != before["id"] {
            break note;
        }
    };
    assert_eq!(after["name"], "promote");
    rig.answer(shop, "Done", &status("Progressing")).await;
    end_of(first)
        .await
        .has(1, "`promote` by bob took the place of this command");
    end_of(second).await.has(0, "the controller's words");
    rig.haldane("abort steer/nobody")
        .await
        .has(1, "no release nobody in namespace steer");
}

pub(crate) async fn commands_that_wait_end_as_the_rollout_does(rig: &Rig) {
    let shop = ("wait", "shop");
    rig.release("wait", "shop", &status("RolledBack")).await;
    for (phase, code) in [
        ("Completed", 0),
        ("RolledBack", 3),
        ("Failed", 1),
        ("Paused", 5),
    ] {
        let command = rig.begin("retry wait/shop --wait --timeout 1m");
        rig.answer(shop, "Done", &status("Preparing")).await;
        rig.set_status("wait", "shop", &status(phase)).await;
        let ended = end_of(command).await;
        ended.has(code, &format!("shop-2: {phase}: now {phase}\n"));
    }
    let command = rig.begin("undo wait/shop --to v1 --wait --timeout 1s");
    let note = rig.answer(shop, "Done", &status("Progressing")).await;
    assert_eq!((&note["name"], &note["to"]), (&json!("undo"), &json!("v1")));
    end_of(command).await.has(4, "shop-2: Progressing");
}
