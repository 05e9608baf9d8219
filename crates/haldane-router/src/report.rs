//! What a router reports of an object: conditions in its status.

use serde_json::Value;

use crate::{edit, route::Accepted};

/// Reads a condition by one of its names; it counts once it is of the present generation.
pub(crate) fn condition(object: &Value, names: &[&str], who: &str, silent: Accepted) -> Accepted {
    let conditions = edit::get(object, &["status", "conditions"]).and_then(Value::as_array);
    let found = conditions.and_then(|list| {
        list.iter().find(|condition| {
            edit::text(condition, &["type"]).is_some_and(|name| names.contains(&name))
        })
    });
    let Some(found) = found else {
        return silent;
    };
    let number = |value: &Value, path: &[&str]| edit::get(value, path).and_then(Value::as_i64);
    let observed = number(found, &["observedGeneration"])
        .or_else(|| number(object, &["status", "observedGeneration"]));
    if observed < number(object, &["metadata", "generation"]) {
        return Accepted::Pending(format!("{who} reports on an older generation"));
    }
    let errors = edit::get(found, &["errors"]).and_then(Value::as_array);
    let first = errors.and_then(|errors| edit::text(errors.first()?, &["message"]));
    let why = first.or_else(|| edit::text(found, &["message"]));
    match edit::text(found, &["status"]) {
        Some("True") => Accepted::Yes,
        Some("False") => Accepted::No(why.unwrap_or("refused without a reason").to_owned()),
        _ => Accepted::Pending(why.unwrap_or("not decided yet").to_owned()),
    }
}
