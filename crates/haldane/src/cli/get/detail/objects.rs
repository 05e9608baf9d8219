//! The objects that run a release, as a tree: workloads, ReplicaSets, pods.

use std::io::Write;

use haldane_api::http::ObjectView;

use crate::cli::{
    globals::Globals,
    paint::Tone,
    table::{Cell, Table},
    words::{NOTHING, clean, cut},
};

/// The most characters of a name with its branches: what follows must fit 80 columns.
const NAME_CHARS_MAX: usize = 46;

/// Writes the tree.
pub(super) fn write(
    objects: &[ObjectView],
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut table = Table::new(["OBJECTS", "READY", "RESTARTS", "STATE", "IMAGE"]);
    for object in objects {
        push(object, None, "", &mut table);
    }
    Ok(table.write(out, globals.width, globals.paint)?)
}

/// Adds an object and all below it; `before` stands for the branches of those above.
fn push(object: &ObjectView, owner: Option<&ObjectView>, before: &str, table: &mut Table) {
    let is_pod = object.kind == "Pod";
    let tone = match (is_pod, object.ready >= object.wanted) {
        (_, true) => Tone::Plain,
        (true, false) => Tone::Warn,
        (false, false) => Tone::Busy,
    };
    let ready = format!("{}/{}", object.ready, object.wanted);
    let restarts = object
        .restarts
        .map_or_else(|| NOTHING.to_owned(), |count| count.to_string());
    // What its owner says already is not said again.
    let image = object
        .image
        .as_deref()
        .filter(|image| owner.and_then(|owner| owner.image.as_deref()) != Some(image));
    table.push([
        cut(&format!("{before}{}", title(object, owner)), NAME_CHARS_MAX).into(),
        Cell::new(tone, ready),
        restarts.into(),
        Cell::new(tone, object.state.as_deref().unwrap_or(NOTHING)),
        image.unwrap_or_default().into(),
    ]);
    let above = before.replace('├', "│").replace(['└', '─'], " ");
    let all = object.owned.len();
    for (index, inner) in object.owned.iter().enumerate() {
        let is_last = index.saturating_add(1) == all && object.left_out == 0;
        let branch = if is_last { "└─ " } else { "├─ " };
        push(inner, Some(object), &format!("{above}{branch}"), table);
    }
    if object.left_out > 0 {
        let what = if object.kind == "ReplicaSet" {
            "more pods"
        } else {
            "more, without pods"
        };
        let text = format!("{above}└─ {} {what}", object.left_out);
        table.push([text.into(), "".into(), "".into(), "".into(), "".into()]);
    }
}

/// Returns kind and name, and what else tells one from another: `rs/shop-7d9f rev 2 (canary)`.
fn title(object: &ObjectView, owner: Option<&ObjectView>) -> String {
    let kind = match object.kind.as_str() {
        "Deployment" => "deploy",
        "ReplicaSet" => "rs",
        "StatefulSet" => "sts",
        "DaemonSet" => "ds",
        "Pod" => "pod",
        other => other,
    };
    let revision = object
        .revision
        .as_ref()
        .map(|revision| format!(" rev {}", clean(revision)));
    let role = object
        .role
        .as_ref()
        .filter(|role| owner.and_then(|owner| owner.role.as_ref()) != Some(role))
        .map(|role| format!(" ({})", clean(role)));
    format!(
        "{kind}/{}{}{}",
        clean(&object.name),
        revision.unwrap_or_default(),
        role.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::testing;

    fn object(kind: &str, name: &str, more: &Value) -> Value {
        let mut object = json!({
            "kind": kind, "name": name, "role": null, "revision": null, "ready": 1, "wanted": 1, "restarts": null,
            "image": "shop:v1", "state": null, "owned": [], "leftOut": 0,
        });
        let map = object.as_object_mut().unwrap();
        map.extend(more.as_object().unwrap().clone());
        object
    }

    #[test]
    fn owners_stand_above_what_they_own_and_80_columns_are_enough() {
        let pod = |name: &str, ready: u32, state: &str, role: &str| {
            let image = if role == "canary" {
                "shop:v2"
            } else {
                "shop:v1"
            };
            let more = json!({"ready": ready, "restarts": 3, "state": state, "role": role, "image": image});
            object("Pod", name, &more)
        };
        let sets = [
            object(
                "ReplicaSet",
                "shop-7d9f5c8b4d",
                &json!({
                    "revision": "2", "role": "canary", "ready": 0, "image": "shop:v2",
                    "owned": [pod("shop-7d9f5c8b4d-x2x4q", 0, "CrashLoopBackOff", "canary")],
                }),
            ),
            object(
                "ReplicaSet",
                "shop-5c8b4d7d9f",
                &json!({
                    "revision": "1", "role": "stable", "ready": 2, "wanted": 2,
                    "owned": [pod("shop-5c8b4d7d9f-aaaaa", 1, "Running", "stable"), pod("shop-5c8b4d7d9f-bbbbb", 1, "Running", "stable")],
                }),
            ),
        ];
        let deployment = object(
            "Deployment",
            "shop",
            &json!({"ready": 2, "wanted": 3, "owned": sets, "leftOut": 7}),
        );
        let objects: Vec<ObjectView> = serde_json::from_value(json!([deployment])).unwrap();
        let globals = testing::globals("/nowhere".as_ref());
        let mut out = Vec::new();
        write(&objects, &globals, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
        insta::assert_snapshot!(out);
    }
}
