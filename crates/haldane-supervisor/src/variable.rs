//! Variables in a command line: from `$PORT` to a number.

use std::{borrow::Cow, collections::BTreeMap};

/// Replaces `$NAME` and `${NAME}` for the names in `variables`, and leaves every other dollar sign alone.
pub(crate) fn substitute<'a>(text: &'a str, variables: &BTreeMap<&str, String>) -> Cow<'a, str> {
    if !text.contains('$') {
        return Cow::Borrowed(text);
    }
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        result.push_str(before);
        let (name, behind) = variable(after);
        match variables.get(name) {
            Some(value) => {
                result.push_str(value);
                rest = behind;
            }
            None => {
                result.push('$');
                rest = after;
            }
        }
    }
    result.push_str(rest);
    Cow::Owned(result)
}

/// Splits what follows a dollar sign into a variable's name (empty when there is none) and the text behind it.
fn variable(text: &str) -> (&str, &str) {
    if let Some((name, behind)) = text.strip_prefix('{').and_then(|text| text.split_once('}')) {
        return (name, behind);
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_variables_are_replaced() {
        let variables = BTreeMap::from([("PORT", "8080".to_owned())]);
        let check = |text, expected: &str| assert_eq!(substitute(text, &variables), expected);
        check("$PORT", "8080");
        check("127.0.0.1:${PORT}/x$PORT", "127.0.0.1:8080/x8080");
        check(
            "$PORTS $HOME ${HOME} $ $$PORT ${PORT $",
            "$PORTS $HOME ${HOME} $ $8080 ${PORT $",
        );
        check("", "");
    }
}
