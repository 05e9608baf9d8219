//! The JSON Schema of the release file, for editors and other tools.
//!
//! It is made from the tables that the reader itself follows. It describes the file's form; what only a reader can know, such as
//! weights that must rise, is told by [`crate::file::parse`].

use serde_json::{Map, Value, json};

use crate::keys::{FILE, Form, GUARD, GUARD_ITEM, Key, Need, TABLES, Table};

/// A time with a unit, as [`crate::text::parse_duration`] reads it.
pub(crate) const DURATION: &str = r"^\s*([0-9]+(\.[0-9]+)?\s*(d|h|m|s|ms|us|µs|ns)\s*)+$";

/// A share in percent.
pub(crate) const WEIGHT: &str = r"^\s*(100(\.0+)?|[0-9]{1,2}(\.[0-9]{1,2}0*)?)\s*%\s*$";

/// A size in bytes.
pub(crate) const BYTES: &str =
    r"^\s*[0-9]+(\.[0-9]+)?\s*(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB|Ki|Mi|Gi|Ti)\s*$";

/// A guard's limit, of any metric.
pub(crate) const LIMIT: &str =
    r"^\s*\+?[0-9]+(\.[0-9]+)?\s*(%|x|pp|[a-zA-Zµ]+)?(\s*[0-9]+(\.[0-9]+)?\s*[a-zµ]+)*\s*$";

/// A time of day.
pub(crate) const TIME_OF_DAY: &str = "^([01]?[0-9]|2[0-4]):[0-5][0-9]$";

/// Returns the schema (draft 2020-12).
#[must_use]
pub fn schema() -> Value {
    let definitions: Map<String, Value> = TABLES
        .iter()
        .map(|table| (table.name.to_owned(), table_schema(table)))
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "haldane.yaml",
        "$ref": reference(&FILE),
        "$defs": definitions,
    })
}

fn table_schema(table: &'static Table) -> Value {
    let properties: Map<String, Value> = table
        .keys
        .iter()
        .map(|key| (key.name.to_owned(), key_schema(key)))
        .collect();
    let is_required = |key: &&Key| key.need == Need::Required;
    let required: Vec<&str> = table
        .keys
        .iter()
        .filter(is_required)
        .map(|key| key.name)
        .collect();
    let mut schema = json!({
        "type": "object",
        "description": table.doc,
        "properties": properties,
        "additionalProperties": false,
    });
    let alternatives = |names: &[&str]| {
        names
            .iter()
            .map(|name| json!({ "required": [name] }))
            .collect::<Value>()
    };
    if let Some(map) = schema.as_object_mut() {
        if !required.is_empty() {
            map.insert("required".to_owned(), json!(required));
        }
        if !table.exactly_one_of.is_empty() {
            map.insert("oneOf".to_owned(), alternatives(table.exactly_one_of));
        }
        if [GUARD.name, GUARD_ITEM.name].contains(&table.name) {
            map.insert("anyOf".to_owned(), alternatives(&["continue", "rollback"]));
        }
    }
    schema
}

fn key_schema(key: &Key) -> Value {
    let mut schema = form_schema(&key.form);
    let doc = match key.need {
        Need::Default(value) if !value.is_empty() => format!("{} Default: {value}.", key.doc),
        Need::Default(_) | Need::Required | Need::Optional => key.doc.to_owned(),
    };
    if let Some(map) = schema.as_object_mut() {
        map.insert("description".to_owned(), Value::String(doc));
    }
    schema
}

fn form_schema(form: &Form) -> Value {
    let pattern = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    match form {
        Form::Text => json!({ "type": "string" }),
        Form::Scalar => json!({ "type": ["string", "number", "boolean"] }),
        Form::True => json!({ "const": true }),
        Form::One => json!({ "const": 1 }),
        Form::Duration => pattern(DURATION),
        Form::Weight => pattern(WEIGHT),
        Form::Bytes => pattern(BYTES),
        Form::Count(min) => json!({ "type": "integer", "minimum": min }),
        Form::Limit => json!({ "anyOf": [pattern(LIMIT), { "type": "integer", "minimum": 0 }] }),
        Form::Timestamp => json!({ "type": "string", "format": "date-time" }),
        Form::TimeOfDay => pattern(TIME_OF_DAY),
        Form::Listen => {
            json!({ "anyOf": [{ "type": "string" }, { "type": "integer", "minimum": 0, "maximum": 65_535 }] })
        }
        Form::Url => json!({ "type": "string", "pattern": "^https?://" }),
        Form::Choice(words) => json!({ "enum": words }),
        Form::Map(table) => json!({ "$ref": reference(table) }),
        Form::MapOf(form) => json!({ "type": "object", "additionalProperties": form_schema(form) }),
        Form::List(form) => json!({ "type": "array", "items": form_schema(form) }),
        Form::Any(forms) => json!({ "anyOf": forms.iter().map(form_schema).collect::<Value>() }),
    }
}

fn reference(table: &Table) -> String {
    format!("#/$defs/{}", table.name)
}

#[cfg(test)]
pub(crate) mod tests;
