//! The keys of the release file in the structural form, from the tables that its reader follows.

use serde_json::{Map, Value, json};

use crate::{
    keys::{Form, GUARD, GUARD_ITEM, Key, Need, Table},
    schema::{BYTES, DURATION, LIMIT, TIME_OF_DAY, WEIGHT},
};

/// A list may be this long; the reader's own bounds are this or less.
const ITEMS_MAX: usize = 1_000;

/// A list or map of maps may have this many members, but for the steps; the reader's own bounds are this or less.
const PARTS_MAX: usize = 100;

/// Says that a value may have any form below.
const ANYTHING: &str = "x-kubernetes-preserve-unknown-fields";

/// Returns the schemas of a table's keys.
pub(super) fn properties(table: &Table) -> Map<String, Value> {
    let keys = table.keys.iter();
    keys.map(|key| (key.name.to_owned(), key_schema(key)))
        .collect()
}

fn key_schema(key: &Key) -> Value {
    let doc = match key.need {
        Need::Default(value) if !value.is_empty() => format!("{} Default: {value}.", key.doc),
        Need::Default(_) | Need::Required | Need::Optional => key.doc.to_owned(),
    };
    let mut schema = form_schema(&key.form);
    schema.insert("description".to_owned(), Value::String(doc));
    Value::Object(schema)
}

fn form_schema(form: &Form) -> Map<String, Value> {
    let schema = match form {
        Form::Text => json!({ "type": "string" }),
        Form::Scalar => json!({ ANYTHING: true }),
        Form::True => json!({ "type": "boolean", "enum": [true] }),
        Form::One => json!({ "type": "integer", "enum": [1] }),
        Form::Duration => text(DURATION),
        Form::Weight => text(WEIGHT),
        Form::Bytes => text(BYTES),
        Form::TimeOfDay => text(TIME_OF_DAY),
        Form::Url => text("^https?://"),
        Form::Timestamp => json!({ "type": "string", "format": "date-time" }),
        Form::Count(min) => json!({ "type": "integer", "minimum": min }),
        Form::Limit => {
            json!({ "x-kubernetes-int-or-string": true, "pattern": LIMIT, "minimum": 0 })
        }
        Form::Listen => {
            json!({ "x-kubernetes-int-or-string": true, "minimum": 0, "maximum": 65_535 })
        }
        // YAML turns the bare words into what they mean before the API server sees them.
        Form::Choice(words) if words.contains(&"true") => {
            json!({ ANYTHING: true, "enum": [true, false, "true", "false"] })
        }
        Form::Choice(words) => json!({ "type": "string", "enum": words }),
        Form::Map(table) => return table_schema(table),
        Form::MapOf(form) => json!({
            "type": "object", "additionalProperties": item_schema(form), "maxProperties": PARTS_MAX,
        }),
        Form::List(form) => {
            let max = if matches!(form, Form::Map(_)) {
                PARTS_MAX
            } else {
                ITEMS_MAX
            };
            json!({ "type": "array", "items": item_schema(form), "maxItems": max })
        }
        Form::Any(forms) => return Union::of(forms).into_schema(),
    };
    let Value::Object(schema) = schema else {
        return Map::new();
    };
    schema
}

fn text(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

/// Returns the schema of a value that has no key, and so no other doc than its table's.
fn item_schema(form: &Form) -> Value {
    let mut schema = form_schema(form);
    let forms = if let Form::Any(forms) = form {
        forms
    } else {
        std::slice::from_ref(form)
    };
    for form in forms {
        if let Form::Map(table) = form {
            schema.insert("description".to_owned(), json!(table.doc));
        }
    }
    Value::Object(schema)
}

fn table_schema(table: &Table) -> Map<String, Value> {
    let is_required = |key: &&Key| key.need == Need::Required;
    let required: Vec<&str> = table
        .keys
        .iter()
        .filter(is_required)
        .map(|key| key.name)
        .collect();
    let mut schema = Map::new();
    let mut set = |word: &str, value: Value| schema.insert(word.to_owned(), value);
    set("type", json!("object"));
    set("properties", Value::Object(properties(table)));
    if !required.is_empty() {
        set("required", json!(required));
    }
    if table.exactly_one_of.len() == table.keys.len() {
        // The same, in words that also hold where a short form stands beside the map.
        set("minProperties", json!(1));
        set("maxProperties", json!(1));
    } else if !table.exactly_one_of.is_empty() {
        // CEL would say it better, but does not see keys that have short forms, nor anything below one.
        set("oneOf", alternatives(table.exactly_one_of));
    }
    if [GUARD.name, GUARD_ITEM.name].contains(&table.name) {
        set("anyOf", alternatives(&["continue", "rollback"]));
    }
    schema
}

fn alternatives(names: &[&str]) -> Value {
    names
        .iter()
        .map(|name| json!({ "required": [name] }))
        .collect()
}

/// What the forms of one value have in common with a structural schema: its words look at values of their own type alone.
#[derive(Default)]
struct Union {
    patterns: Vec<String>,
    has_any_text: bool,
    has_number: bool,
    has_other: bool,
    schema: Map<String, Value>,
}

impl Union {
    fn of(forms: &[Form]) -> Self {
        let mut union = Self::default();
        for form in forms {
            union.add(form_schema(form));
        }
        union
    }

    fn add(&mut self, mut schema: Map<String, Value>) {
        let kind = schema.remove("type");
        let has_both = schema.remove("x-kubernetes-int-or-string").is_some();
        if has_both || kind.as_ref().is_some_and(|kind| kind == "string") {
            self.add_text(schema.remove("pattern"), schema.remove("enum"));
        }
        match kind.as_ref().and_then(Value::as_str) {
            Some("string") => {}
            Some("integer") => self.has_number = true,
            None if has_both => self.has_number = true,
            Some(_) | None => self.has_other = true,
        }
        // A text has no key, and so would keep each of the alternatives.
        schema.remove("oneOf");
        if kind.is_none_or(|kind| kind != "array") {
            self.schema.extend(schema);
        }
    }

    fn add_text(&mut self, pattern: Option<Value>, words: Option<Value>) {
        match (pattern, words) {
            (Some(Value::String(pattern)), _) => self.patterns.push(pattern),
            (_, Some(Value::Array(words))) => {
                let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
                self.patterns.push(format!("^({})$", words.join("|")));
            }
            _ => self.has_any_text = true,
        }
    }

    fn into_schema(self) -> Map<String, Value> {
        let mut schema = self.schema;
        if !self.has_any_text && !self.patterns.is_empty() {
            schema.insert("pattern".to_owned(), json!(self.patterns.join("|")));
        }
        let (word, value) = match (self.has_other, self.has_number) {
            (true, _) => (ANYTHING, json!(true)),
            (false, true) => ("x-kubernetes-int-or-string", json!(true)),
            (false, false) => ("type", json!("string")),
        };
        schema.insert(word.to_owned(), value);
        schema
    }
}
