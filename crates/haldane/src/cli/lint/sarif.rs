//! Findings as SARIF 2.1.0, the form in which code scanning takes them.

use haldane_api::lint::{Edit, Finding, RULES, Severity};
use serde_json::{Value, json};

use super::Checked;

/// The form's definition.
const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// Returns the findings as a run of this program.
pub(super) fn to_sarif(checked: &[Checked]) -> Value {
    let rules: Vec<Value> = RULES
        .iter()
        .map(|rule| {
            json!({
                "id": rule.id,
                "shortDescription": { "text": rule.title },
                "fullDescription": { "text": rule.why },
                "help": { "text": rule.fix },
                "defaultConfiguration": { "level": level(rule.severity) },
            })
        })
        .collect();
    let results = checked.iter().flat_map(|file| {
        let uri = uri(&file.name);
        let findings = file.report.findings.iter();
        findings.map(move |one| result(one, &uri))
    });
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "haldane",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results.collect::<Vec<_>>(),
        }],
    })
}

fn result(one: &Finding, uri: &str) -> Value {
    let index = RULES.iter().position(|rule| rule.id == one.rule.id);
    let mut result = json!({
        "ruleId": one.rule.id,
        "ruleIndex": index,
        "level": level(one.rule.severity),
        "message": { "text": format!("{}; {}", one.reason, one.fix) },
        "locations": [{
            "physicalLocation": {
                "artifactLocation": { "uri": uri },
                "region": { "startLine": one.line, "startColumn": one.column },
            },
            "logicalLocations": [{ "fullyQualifiedName": one.path }],
        }],
    });
    if let (Some(edit), Some(map)) = (&one.edit, result.as_object_mut()) {
        map.insert("fixes".to_owned(), json!([fix(one, edit, uri)]));
    }
    result
}

fn fix(one: &Finding, edit: &Edit, uri: &str) -> Value {
    json!({
        "description": { "text": one.fix },
        "artifactChanges": [{
            "artifactLocation": { "uri": uri },
            "replacements": [{
                "deletedRegion": {
                    "startLine": edit.line,
                    "startColumn": edit.column,
                    "endColumn": edit.column.saturating_add(edit.remove),
                },
                "insertedContent": { "text": edit.insert },
            }],
        }],
    })
}

const fn level(severity: Severity) -> &'static str {
    severity.name()
}

/// Returns a file's name as a reference: what has a meaning in one is escaped.
fn uri(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let escaped = |byte: u8| {
        if plain(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    name.bytes().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_reference() {
        assert_eq!(uri("deploy/a b#1.yaml"), "deploy/a%20b%231.yaml");
    }
}
