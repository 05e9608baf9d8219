//! The schemas of Rust types in the structural form: no references, no unions of types, no words that the API server refuses.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// References inside each other may be this deep; a type that contains itself is cut here.
const DEPTH_MAX: usize = 16;

/// What a structural schema may keep as it is.
const KEPT: [&str; 18] = [
    "description",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "pattern",
    "required",
    "type",
    "uniqueItems",
    "x-kubernetes-validations",
];

/// Formats that the API server knows.
const FORMATS: [&str; 7] = [
    "byte",
    "date",
    "date-time",
    "duration",
    "int32",
    "int64",
    "uuid",
];

/// Returns a type's schema in the structural form.
pub(super) fn structural(root: &Value) -> Value {
    let definitions = root.get("$defs").and_then(Value::as_object);
    let definitions = definitions
        .into_iter()
        .flatten()
        .map(|(name, schema)| (format!("#/$defs/{name}"), schema));
    Definitions(definitions.collect()).structural(root, DEPTH_MAX)
}

/// The types that a schema refers to.
struct Definitions<'a>(BTreeMap<String, &'a Value>);

impl Definitions<'_> {
    fn structural(&self, schema: &Value, depth: usize) -> Value {
        let whole = self.resolved(schema, depth);
        let mut out = Map::new();
        for (word, value) in &whole {
            match word.as_str() {
                "properties" => {
                    let members = value.as_object().into_iter().flatten();
                    let members =
                        members.map(|(name, member)| (name.clone(), self.below(member, depth)));
                    out.insert(word.clone(), Value::Object(members.collect()));
                }
                "items" => {
                    out.insert(word.clone(), self.below(value, depth));
                }
                "additionalProperties" if value.is_object() => {
                    out.insert(word.clone(), self.below(value, depth));
                }
                "format" if FORMATS.iter().any(|known| value == known) => {
                    out.insert(word.clone(), value.clone());
                }
                "format" => bound(&mut out, value),
                kept if KEPT.contains(&kept) || kept.starts_with("x-kubernetes-") => {
                    out.insert(word.clone(), value.clone());
                }
                _ => {}
            }
        }
        tell_default(&mut out, whole.get("default"));
        if !out.contains_key("type") && !out.contains_key("x-kubernetes-int-or-string") {
            out.insert(
                "x-kubernetes-preserve-unknown-fields".to_owned(),
                json!(true),
            );
        }
        Value::Object(out)
    }

    fn below(&self, schema: &Value, depth: usize) -> Value {
        match depth.checked_sub(1) {
            Some(depth) => self.structural(schema, depth),
            None => json!({ "x-kubernetes-preserve-unknown-fields": true }),
        }
    }

    /// Puts what a schema refers to in its place, and a union that is only a way to write something simple.
    fn resolved(&self, schema: &Value, depth: usize) -> Map<String, Value> {
        let Value::Object(mut out) = schema.clone() else {
            return Map::new(); // `true`: anything.
        };
        let target = out
            .remove("$ref")
            .and_then(|name| self.0.get(name.as_str()?).copied());
        let optional = match out
            .get("anyOf")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
        {
            Some([one, null] | [null, one]) if *null == json!({ "type": "null" }) => {
                Some(one.clone())
            }
            Some(_) | None => None,
        };
        let words = out
            .get("oneOf")
            .and_then(Value::as_array)
            .and_then(|choices| words(choices));
        for inner in [target.cloned(), optional, words].into_iter().flatten() {
            if let Some(depth) = depth.checked_sub(1) {
                for (word, value) in self.resolved(&inner, depth) {
                    // What is said of the member goes before what is said of its type.
                    out.entry(word).or_insert(value);
                }
            }
        }
        if let Some(value) = out.remove("const") {
            out.insert("enum".to_owned(), json!([value]));
        }
        make_required(&mut out);
        out
    }
}

/// Takes `null` out of a type: whoever wants to say nothing leaves the key out.
fn make_required(schema: &mut Map<String, Value>) {
    let Some(types) = schema.get("type").and_then(Value::as_array) else {
        return;
    };
    let types: Vec<Value> = types.iter().filter(|one| *one != "null").cloned().collect();
    match types.as_slice() {
        [one] => schema.insert("type".to_owned(), one.clone()),
        _ => schema.remove("type"),
    };
    if let Some(Value::Array(choices)) = schema.get_mut("enum") {
        choices.retain(|choice| !choice.is_null());
    }
}

/// Says in numbers what a format says that the API server does not know.
fn bound(schema: &mut Map<String, Value>, format: &Value) {
    let max = match format.as_str() {
        Some("uint8") => json!(u8::MAX),
        Some("uint16") => json!(u16::MAX),
        Some("uint32") => json!(u32::MAX),
        _ => return,
    };
    schema.entry("maximum").or_insert(max);
}

/// Returns the words that an enum of words with docs consists of.
fn words(choices: &[Value]) -> Option<Value> {
    let word = |choice: &Value| match (choice.get("const"), choice.get("enum")) {
        (Some(word @ Value::String(_)), _) => Some(vec![word.clone()]),
        (None, Some(Value::Array(words))) if words.iter().all(Value::is_string) => {
            Some(words.clone())
        }
        _ => None,
    };
    let words: Vec<Vec<Value>> = choices.iter().map(word).collect::<Option<_>>()?;
    Some(json!({ "type": "string", "enum": words.concat() }))
}

/// Says the default in words: one that the API server fills in would show up as drift.
fn tell_default(schema: &mut Map<String, Value>, default: Option<&Value>) {
    let shown = match default {
        Some(Value::String(text)) if !text.is_empty() => text.clone(),
        Some(value @ (Value::Bool(_) | Value::Number(_))) => value.to_string(),
        Some(_) | None => return,
    };
    let doc = schema
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let told = format!("{doc} Default: {shown}.");
    schema.insert(
        "description".to_owned(),
        Value::String(told.trim().to_owned()),
    );
}
