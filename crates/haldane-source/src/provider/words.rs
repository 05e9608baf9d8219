//! Whether a query says something itself.

/// Whether `word` stands in `query` outside of quotes, in any case.
pub(super) fn has(query: &str, word: &str) -> bool {
    let mut quote = None;
    let bare: String = query
        .chars()
        .map(|c| {
            match quote {
                Some(open) if open == c => quote = None,
                Some(_) => {}
                None if matches!(c, '\'' | '"' | '`') => quote = Some(c),
                None => return c,
            }
            ' '
        })
        .collect();
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    bare.split(|c| !is_part(c))
        .any(|found| found.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_in_quotes_is_a_value() {
        for query in ["a | within 5m", "a|within(5m)", "x 'y' Within 1h"] {
            assert!(has(query, "within"), "{query}");
        }
        for query in [
            "a = 'within 5m'",
            "a = \"it's within\"",
            "a.within_x",
            "`within`",
            "",
        ] {
            assert!(!has(query, "within"), "{query}");
        }
    }
}
