//! Values written as YAML for people: block style, quotes only where another reader might see something else than a text.
//!
//! Maps of the release file and rules of Prometheus keep the order that people know; the keys of all others are ordered by name. A text
//! that ends with a line break is a block of lines, as queries and scripts are.

use serde_json::{Map, Value};

use crate::keys::TABLES;

/// The longest key that YAML allows before its colon; longer ones are marked as keys by `?`.
const KEY_BYTES_MAX: usize = 512;

/// The keys of rules of Prometheus, in the order of its own documentation.
const RULE_KEYS: [&str; 6] = ["alert", "record", "expr", "for", "labels", "annotations"];

/// Returns the value as YAML, with a line break at the end.
///
/// ```
/// # use haldane_api::yaml::to_yaml;
/// # use serde_json::json;
/// assert_eq!(to_yaml(&json!({ "steps": ["5%", "100%"], "bake": "10m" })), "\
/// steps:
///   - 5%
///   - 100%
/// bake: 10m
/// ");
/// ```
#[must_use]
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    write_block(&mut out, value, 0);
    out.push('\n');
    out
}

/// Writes a value whose first line is begun already; further lines are indented.
fn write_block(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (index, (key, value)) in ordered(map).into_iter().enumerate() {
                if index > 0 {
                    break_line(out, indent);
                }
                write_key(out, key, indent);
                write_inside(out, value, indent);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    break_line(out, indent);
                }
                out.push_str("- ");
                write_block(out, item, indent.saturating_add(2));
            }
        }
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(text) => out.push_str(&scalar(text)),
    }
}

/// Writes the value of a key: on the same line, or as a block below it.
fn write_inside(out: &mut String, value: &Value, indent: usize) {
    let is_block = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    let indent = indent.saturating_add(2);
    if let Some(lines) = value.as_str().and_then(as_lines) {
        out.push_str(" |");
        for line in lines {
            break_line(out, indent);
            out.push_str(line);
        }
        return;
    }
    if is_block {
        break_line(out, indent);
    } else {
        out.push(' ');
    }
    write_block(out, value, indent);
}

/// Returns the lines of a text that can stand as a block: it ends with one line break, no line is empty, and the first is not indented.
fn as_lines(text: &str) -> Option<std::str::Split<'_, char>> {
    let body = text.strip_suffix('\n')?;
    let is_plain = |c: char| matches!(c, ' '..='~' | '\u{a1}'..='\u{ff}' | '\n');
    let is_line = |line: &str| !line.trim().is_empty() && !line.ends_with(' ');
    let is_block = body.chars().all(is_plain) && body.split('\n').all(is_line);
    (is_block && !body.starts_with(' ')).then(|| body.split('\n'))
}

fn write_key(out: &mut String, key: &str, indent: usize) {
    let text = scalar(key);
    if text.len() > KEY_BYTES_MAX {
        out.push_str("? ");
        out.push_str(&text);
        break_line(out, indent);
    } else {
        out.push_str(&text);
    }
    out.push(':');
}

fn break_line(out: &mut String, indent: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', indent));
}

/// Returns the entries in the order of the table that knows all their keys, or else by name.
fn ordered(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut entries: Vec<_> = map.iter().collect();
    let table = TABLES
        .iter()
        .find(|table| map.keys().all(|key| table.key(key).is_some()));
    if let Some(table) = table {
        let place = |name: &str| table.keys.iter().position(|key| key.name == name);
        entries.sort_by_cached_key(|(name, _)| place(name));
    } else if map.contains_key("expr") {
        entries.sort_by_cached_key(|(name, _)| RULE_KEYS.iter().position(|key| key == name));
    }
    entries
}

fn scalar(text: &str) -> String {
    if is_plain(text) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// Whether every reader of YAML sees this text as a text without quotes.
fn is_plain(text: &str) -> bool {
    let is_first = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '+' | '$');
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "/._+$%-=@~, :".contains(c);
    text.starts_with(is_first)
        && text.chars().all(is_allowed)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !is_other(text)
}

/// Whether some reader sees this as a number, a date, a time or a word with a meaning.
fn is_other(text: &str) -> bool {
    const WORDS: [&str; 11] = [
        "true", "false", "null", "yes", "no", "on", "off", "y", "n", ".inf", ".nan",
    ];
    let bare = text.trim_start_matches(['+', '-']);
    let is_word = WORDS.iter().any(|word| bare.eq_ignore_ascii_case(word));
    let is_based = ["0x", "0o", "0b"].iter().any(|base| bare.starts_with(base));
    // Whatever consists of these might be a number, a date or, with colons, a number of base sixty.
    let is_numeric = |c: char| c.is_ascii_digit() || "._+-:, eEtTzZ".contains(c);
    let has_digit_or_dot = text.contains(|c: char| c.is_ascii_digit() || c == '.');
    is_word || is_based || (has_digit_or_dot && text.chars().all(is_numeric))
}

/// Writes a text in double quotes, with escapes for everything that is not printable.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\u{0}'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests;
