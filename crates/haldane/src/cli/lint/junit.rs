//! Findings as JUnit XML, the form in which pipelines show tests.

use haldane_api::lint::Finding;

use super::{Checked, Deny};

/// Returns a suite for each file and a case for each finding, which fails where it is denied; a file without any is one good case.
pub(super) fn to_junit(checked: &[Checked], deny: Deny) -> String {
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"haldane lint\">\n",
    );
    for file in checked {
        let findings = &file.report.findings;
        let failed = findings.iter().filter(|one| deny.is_denied(one.rule));
        let name = escaped(&file.name);
        text.push_str(&format!(
            "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{}\">\n",
            findings.len().max(1),
            failed.count()
        ));
        if findings.is_empty() {
            text.push_str(&format!(
                "    <testcase classname=\"{name}\" name=\"lint\"/>\n"
            ));
        }
        for one in findings {
            text.push_str(&case(&name, one, deny));
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

fn case(file: &str, one: &Finding, deny: Deny) -> String {
    let said = escaped(&format!(
        "{} ({}:{}): {}; {}",
        one.path, one.line, one.column, one.reason, one.fix
    ));
    let what = if deny.is_denied(one.rule) {
        format!(
            "<failure type=\"{}\" message=\"{}\">{said}</failure>",
            one.rule.severity.name(),
            escaped(&one.reason)
        )
    } else {
        format!("<system-out>{said}</system-out>")
    };
    let id = one.rule.id;
    let name = escaped(&format!("{id} {}", one.path));
    format!(
        "    <testcase classname=\"{file}\" name=\"{}\" line=\"{}\">{what}</testcase>\n",
        name.trim_end(),
        one.line
    )
}

/// Returns a text as XML has it; characters that XML has no place for become spaces.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
