//! Tests of the scripts for Argo CD, with no more of Lua than Argo CD gives them.

use std::collections::BTreeSet;

use mlua::{Lua, LuaOptions, StdLib, Table, Value as LuaValue};
use serde_json::{Value, json};

use super::*;
use crate::{
    http::CommandName,
    release::{COMMAND_ANNOTATION, CommandNote},
};

/// Runs a script as Argo CD does: `obj` is the object, `os` has `time` and `date`, and there is neither `string` nor `io`.
fn run(script: &str, object: &Value) -> Value {
    let lua = Lua::new_with(StdLib::TABLE | StdLib::OS, LuaOptions::default()).unwrap();
    let whole: Table = lua.globals().get("os").unwrap();
    let safe = lua.create_table().unwrap();
    for name in ["time", "date"] {
        let function: LuaValue = whole.get(name).unwrap();
        safe.set(name, function).unwrap();
    }
    lua.globals().set("os", safe).unwrap();
    lua.globals().set("obj", to_lua(&lua, object)).unwrap();
    from_lua(lua.load(script).eval().unwrap())
}

/// What Argo CD makes of a script's answer; an empty table is an empty list.
fn from_lua(value: LuaValue) -> Value {
    match value {
        LuaValue::Nil => Value::Null,
        LuaValue::Boolean(value) => json!(value),
        LuaValue::Integer(number) => json!(number),
        LuaValue::Number(number) => json!(number),
        LuaValue::String(text) => json!(text.to_str().unwrap().to_owned()),
        LuaValue::Table(table) if table.is_empty() || table.raw_len() > 0 => table
            .sequence_values::<LuaValue>()
            .map(|item| from_lua(item.unwrap()))
            .collect(),
        LuaValue::Table(table) => Value::Object(
            table
                .pairs::<String, LuaValue>()
                .map(|pair| pair.map(|(key, item)| (key, from_lua(item))).unwrap())
                .collect(),
        ),
        LuaValue::LightUserData(_)
        | LuaValue::Function(_)
        | LuaValue::Thread(_)
        | LuaValue::UserData(_)
        | LuaValue::Error(_)
        | LuaValue::Other(_) => panic!("Argo CD has no such value: {value:?}"),
    }
}

fn to_lua(lua: &Lua, value: &Value) -> LuaValue {
    match value {
        Value::Null => LuaValue::Nil,
        Value::Bool(value) => LuaValue::Boolean(*value),
        Value::Number(number) => LuaValue::Number(number.as_f64().unwrap()),
        Value::String(text) => LuaValue::String(lua.create_string(text).unwrap()),
        Value::Array(items) => {
            let items = items.iter().map(|item| to_lua(lua, item));
            LuaValue::Table(lua.create_sequence_from(items).unwrap())
        }
        Value::Object(map) => {
            let map = map
                .iter()
                .map(|(key, item)| (key.as_str(), to_lua(lua, item)));
            LuaValue::Table(lua.create_table_from(map).unwrap())
        }
    }
}

/// A release with this status, whose spec is of generation 2.
fn release(status: &Value) -> Value {
    json!({
        "apiVersion": "haldane.dev/v1alpha1", "kind": "Release",
        "metadata": { "name": "shop", "generation": 2 },
        "spec": { "workload": { "deployment": { "name": "shop" } } },
        "status": status,
    })
}

fn status(phase: &str, conditions: &[(&str, &str)]) -> Value {
    let condition = |(name, status): &(&str, &str)| json!({ "type": name, "status": status, "reason": "Because", "message": name });
    json!({
        "observedGeneration": 2, "phase": phase, "message": "as told",
        "conditions": conditions.iter().map(condition).collect::<Value>(),
    })
}

fn health(object: &Value) -> (String, String) {
    let health = run(HEALTH, object);
    let text = |name: &str| health[name].as_str().unwrap().to_owned();
    (text("status"), text("message"))
}

#[test]
fn health_follows_phase_and_conditions() {
    let going = [("Ready", "False"), ("Reconciling", "True")];
    let stalled = [("Ready", "False"), ("Stalled", "True")];
    let ready = [
        ("Ready", "True"),
        ("Reconciling", "False"),
        ("Stalled", "False"),
    ];
    for (phase, conditions, expected, message) in [
        ("Idle", &ready[..], "Healthy", "as told"),
        ("Idle", &going, "Progressing", "as told"),
        ("Idle", &stalled, "Degraded", "Stalled"),
        ("Pending", &going, "Progressing", "as told"),
        ("Preparing", &going, "Progressing", "as told"),
        ("Progressing", &going, "Progressing", "as told"),
        ("Paused", &going, "Suspended", "as told"),
        ("Paused", &stalled, "Degraded", "Stalled"),
        ("Promoting", &going, "Progressing", "as told"),
        ("Completed", &ready, "Healthy", "as told"),
        ("Completed", &going, "Progressing", "as told"),
        ("RollingBack", &going, "Progressing", "as told"),
        ("RolledBack", &stalled, "Degraded", "Stalled"),
        ("RolledBack", &[], "Degraded", "as told"),
        ("Failed", &stalled, "Degraded", "Stalled"),
        ("Failed", &[], "Degraded", "as told"),
    ] {
        let seen = health(&release(&status(phase, conditions)));
        assert_eq!(
            seen,
            (expected.to_owned(), message.to_owned()),
            "{phase} {conditions:?}"
        );
    }
}

#[test]
fn a_release_that_was_not_looked_at_is_progressing() {
    let ready = status("Completed", &[("Ready", "True")]);
    let mut old = ready.clone();
    old["observedGeneration"] = json!(1);
    for status in [Value::Null, json!({}), json!({ "phase": "" }), old] {
        assert_eq!(health(&release(&status)).0, "Progressing", "{status}");
    }
    let mut suspended = release(&ready);
    suspended["spec"]["suspend"] = json!(true);
    assert_eq!(health(&suspended).0, "Suspended");
}

fn enabled(phase: &str) -> String {
    let actions = run(DISCOVERY, &release(&status(phase, &[])));
    let actions = actions.as_object().unwrap();
    let known: BTreeSet<&str> = ACTIONS.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        actions.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        known
    );
    let is_enabled = |action: &Value| !action["disabled"].as_bool().unwrap();
    let enabled = actions.iter().filter(|(_, action)| is_enabled(action));
    enabled
        .map(|(name, _)| name.as_str())
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn only_commands_that_make_sense_are_offered() {
    for (phase, expected) in [
        ("", ""),
        ("Idle", ""),
        ("Pending", "abort pause promote promote-full restart"),
        ("Progressing", "abort pause promote promote-full restart"),
        ("Paused", "abort promote promote-full restart resume"),
        ("Promoting", "abort pause promote promote-full restart"),
        ("RollingBack", ""),
        ("RolledBack", "retry"),
        ("Failed", "retry"),
        ("Completed", "undo"),
    ] {
        assert_eq!(enabled(phase), expected, "{phase}");
    }
    let never_seen = run(DISCOVERY, &release(&Value::Null));
    assert_eq!(never_seen["abort"]["disabled"], true);
}

#[test]
fn an_action_is_a_command_that_the_controller_reads() {
    let commands = [
        CommandName::Promote,
        CommandName::Promote,
        CommandName::Pause,
        CommandName::Resume,
        CommandName::Abort,
        CommandName::Restart,
        CommandName::Retry,
        CommandName::Undo,
    ];
    for ((name, script), command) in ACTIONS.into_iter().zip(commands) {
        let mut object = release(&status("Progressing", &[]));
        object["metadata"]["annotations"] = json!({ "team": "shop" });
        for object in [release(&Value::Null), object] {
            let changed = run(script, &object);
            let annotations = &changed["metadata"]["annotations"];
            let text = annotations[COMMAND_ANNOTATION].as_str().unwrap();
            let note = CommandNote::parse(text).unwrap();
            assert_eq!(note.command(), Ok(command), "{name}");
            assert_eq!(note.full, name == "promote-full", "{name}");
            let at = note.at.unwrap();
            assert_eq!(
                (note.id, note.by),
                (format!("argocd-{name}-{at}"), "argocd".to_owned())
            );
            let team = &object["metadata"]["annotations"]["team"];
            assert_eq!(annotations["team"], *team);
        }
    }
}

#[test]
fn the_config_map_has_every_script_as_it_is() {
    let map: Value = serde_norway::from_str(&config_map()).unwrap();
    let data = |name: &str| {
        map["data"][format!("resource.customizations.{name}.haldane.dev_Release")]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(data("health"), HEALTH);
    let actions: Value = serde_norway::from_str(&data("actions")).unwrap();
    assert_eq!(actions["discovery.lua"], DISCOVERY);
    let definitions = actions["definitions"].as_array().unwrap().iter();
    let definitions: Vec<_> = definitions
        .map(|one| {
            (
                one["name"].as_str().unwrap(),
                one["action.lua"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(definitions, ACTIONS);
}
