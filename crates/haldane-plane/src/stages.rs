//! KWOK's stages: the life of a simulated pod, written once in YAML with two abbreviations.

/// The stages with their abbreviations.
const STAGES: &str = include_str!("stages.yaml");

/// What begins an abbreviation for a setting of a container, in the language of KWOK's expressions (jq).
const SETTING: &str = "SETTING(";

/// Turns a duration such as `5s` or `250ms` into its milliseconds.
const MILLISECONDS: &str = r#"(capture("^(?<n>[0-9]+)(?<u>m?s)$") // {"n": "0", "u": "s"} | (.n | tonumber) * {"s": 1000, "ms": 1}[.u])"#;

/// Returns the stages as KWOK reads them.
pub(crate) fn text() -> String {
    let mut parts = STAGES.split(SETTING);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(')').unwrap_or((part, ""));
        text.push_str(&setting(name));
        text.push_str(rest);
    }
    text.replace("MILLISECONDS", MILLISECONDS)
}

/// The variable wins over the tag, as in the server of pods; of several containers the first that says something.
fn setting(name: &str) -> String {
    let variable = name.to_ascii_uppercase();
    format!(
        r#"([.spec.containers[] | (.env[]? | select(.name == "SIM_{variable}") | .value), (.image | capture("[:_]{name}-(?<v>[a-z0-9]+)").v)] | first)"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_abbreviation_is_left() {
        let rest = text();
        let stages = rest.lines().filter(|line| !line.starts_with('#'));
        for line in stages {
            assert!(
                !line.contains("SETTING(") && !line.contains("MILLISECONDS"),
                "{line}"
            );
        }
    }

    #[test]
    fn quoted_expressions_stay_quoted() {
        // Expressions stand in single quotes.
        assert!(!setting("start").contains('\'') && !MILLISECONDS.contains('\''));
    }
}
