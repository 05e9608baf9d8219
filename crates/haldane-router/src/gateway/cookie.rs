//! The cookie that the canary's answers set: a `ResponseHeaderModifier` of its backend.

use serde_json::{Value, json};

use super::{NAME, Result};
use crate::{
    edit::{self, Place},
    route::RouteError,
};

/// Sets our cookie in the filters of a backend, or removes it; ours is known by how it begins.
pub(super) fn set(
    backend: &mut Value,
    begin: &str,
    value: Option<&str>,
    at: &Place<'_>,
) -> Result<()> {
    let mut filters = edit::list(backend, &["filters"], at)?;
    let changes_answers =
        |filter: &Value| edit::text(filter, &["type"]) == Some("ResponseHeaderModifier");
    let place = filters.iter().position(changes_answers);
    let (place, mut filter) = match place.and_then(|place| Some((place, filters.get(place)?))) {
        Some((place, filter)) => (place, filter.clone()),
        None => (filters.len(), json!({"type": "ResponseHeaderModifier"})),
    };
    let keys = ["responseHeaderModifier", "add"];
    let at_filter = at.key("filters").item(place);
    let mut added = edit::list(&filter, &keys, &at_filter)?;
    let is_cookie = |header: &Value| {
        let name = edit::text(header, &["name"]).unwrap_or_default();
        name.eq_ignore_ascii_case("Set-Cookie")
    };
    added.retain(|header| {
        let value = edit::text(header, &["value"]).unwrap_or_default();
        !(is_cookie(header) && value.starts_with(begin))
    });
    if let Some(value) = value {
        if added.iter().any(is_cookie) {
            return Err(RouteError::Cannot {
                router: NAME,
                what: format!(
                    "set a second cookie on the canary's answers in {}",
                    at.object()
                ),
            });
        }
        added.push(json!({"name": "Set-Cookie", "value": value}));
    }
    if added.is_empty() {
        edit::prune(&mut filter, &keys);
    } else {
        edit::set(&mut filter, &keys, Value::Array(added), &at_filter)?;
    }
    let is_empty = filter.get("responseHeaderModifier").is_none();
    match (filters.get_mut(place), is_empty) {
        (Some(_), true) => drop(filters.remove(place)),
        (Some(present), false) => *present = filter,
        (None, true) => {}
        (None, false) => filters.push(filter),
    }
    if filters.is_empty() {
        edit::remove(backend, "filters");
        return Ok(());
    }
    edit::set(backend, &["filters"], Value::Array(filters), at)
}
