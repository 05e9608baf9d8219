//! Tests of `yaml`.

use proptest::{collection, prelude::*};
use serde_json::json;

use super::*;
use crate::{
    read::Problems,
    strategy,
    tree::{self, Kind, Node},
};

/// Makes a value of what a reader sees, where everything but lists and maps is a text.
fn seen(node: &Node) -> Value {
    match &node.kind {
        Kind::Null => json!("(null)"),
        Kind::Text(text) => json!(text.text),
        Kind::List(items) => items.iter().map(seen).collect(),
        Kind::Map(entries) => Value::Object(
            entries
                .iter()
                .map(|entry| (entry.key.clone(), seen(&entry.value)))
                .collect(),
        ),
        Kind::Broken => json!("(broken)"),
    }
}

/// The same value with all texts and numbers as texts.
fn as_texts(value: &Value) -> Value {
    match value {
        Value::Null => json!("(null)"),
        Value::Bool(value) => json!(value.to_string()),
        Value::Number(number) => json!(number.to_string()),
        Value::String(text) => json!(text),
        Value::Array(items) => items.iter().map(as_texts).collect(),
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, value)| (key.clone(), as_texts(value)))
                .collect(),
        ),
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        strategy::text().prop_map(|text| json!(text)),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..6).prop_map(|items| json!(items)),
            collection::btree_map(strategy::text(), inner, 0..6).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_is_written_is_read_again(value in value()) {
        let text = to_yaml(&value);
        let mut out = Problems::default();
        let node = tree::read(&text, &mut out);
        prop_assert_eq!(out.into_list(), vec![], "{}", &text);
        prop_assert_eq!(node.as_ref().map(seen), Some(as_texts(&value)), "{}", text);
    }
}

#[test]
fn texts_that_mean_something_else_are_quoted() {
    for (text, expected) in [
        ("5%", "5%"),
        ("500ms", "500ms"),
        ("./auth", "./auth"),
        ("http://127.0.0.1:9001", "http://127.0.0.1:9001"),
        ("on trial", "on trial"),
        ("1.5x", "1.5x"),
        ("10B", "10B"),
        ("-.INF", "\"-.INF\""),
        ("0b1", "\"0b1\""),
        ("1_000", "\"1_000\""),
        ("", "\"\""),
        ("off", "\"off\""),
        ("Yes", "\"Yes\""),
        ("8080", "\"8080\""),
        ("1.5", "\"1.5\""),
        ("1e3", "\"1e3\""),
        ("0x1f", "\"0x1f\""),
        (".inf", "\".inf\""),
        ("09:00", "\"09:00\""),
        ("2026-12-20T00:00:00Z", "\"2026-12-20T00:00:00Z\""),
        ("a: b", "\"a: b\""),
        ("a #b", "\"a #b\""),
        ("- a", "\"- a\""),
        ("*a", "\"*a\""),
        ("a\u{85}b\u{feff}", "\"a\\u0085b\\ufeff\""),
    ] {
        assert_eq!(scalar(text), expected, "{text:?}");
    }
}

#[test]
fn a_long_key_is_marked_as_a_key() {
    let key = "k".repeat(2_000);
    let text = to_yaml(&json!({ key.clone(): { "a": [1, { "b": 2 }] } }));
    let node = tree::read(&text, &mut Problems::default());
    assert_eq!(
        node.as_ref().map(seen),
        Some(json!({ key: { "a": ["1", { "b": "2" }] } })),
        "{text}"
    );
}

#[test]
fn a_text_that_ends_with_a_line_break_is_a_block_and_rules_have_their_order() {
    let value = json!({ "labels": {}, "for": "1m", "expr": "a{b=\"c\"}\n> 1\n", "alert": "A" });
    let text = "alert: A\nexpr: |\n  a{b=\"c\"}\n  > 1\nfor: 1m\nlabels: {}\n";
    assert_eq!(to_yaml(&value), text);
    assert_eq!(serde_norway::from_str::<Value>(text).unwrap(), value);
    for quoted in [
        "a\n\n", "a\n\nb\n", " a\n", "a \n", "a", "a\nb", "\n", "a\r\n", "a\tb\n",
    ] {
        let value = json!({ "key": quoted });
        let text = to_yaml(&value);
        assert!(!text.contains('|'), "{text}");
        assert_eq!(serde_norway::from_str::<Value>(&text).unwrap(), value);
    }
}
