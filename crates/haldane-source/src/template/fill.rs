//! Filling names into queries, each by the place that it goes to.
//!
//! A placeholder is `{{name}}`. In PromQL its place decides: inside a text after `=~` or `!~` the value is escaped as a regular
//! expression and then as a text; inside another text as a text; outside of texts only words, numbers and durations are allowed, and
//! in a comment nothing is. The other languages have too many rules to escape by, so there a value must consist of harmless
//! characters.
//!
//! **Invariant:** a value never ends the text that it stands in, and never means more than itself in a regular expression.

use std::collections::BTreeMap;

use crate::{
    error::{Error, Result, short},
    template::VALUE_BYTES_MAX,
};

/// The language of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// PromQL, MetricsQL, LogQL: values are escaped.
    PromQl,
    /// Any other: values must consist of letters, digits and `_ . - :`.
    Other,
}

/// Where in a PromQL query a placeholder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Outside of texts.
    Code,
    /// In a text that begins with this quote, and is a regular expression or not.
    Text { quote: char, is_regex: bool },
    /// After `#`, up to the end of the line.
    Comment,
}

/// A query in the making.
struct Filler<'a> {
    values: &'a BTreeMap<String, String>,
    language: Language,
    place: Place,
    filled: String,
    /// What the query itself says before the place, without spaces: its last two characters tell a matcher.
    before: [char; 2],
}

/// Returns `text` with the values in place of their placeholders.
///
/// ```
/// # use haldane_source::template::{Language, fill};
/// let values = [("pod".to_owned(), "a\".b".to_owned())].into();
/// let query = fill(r#"up{pod=~"{{pod}}-.*"}"#, Language::PromQl, &values).unwrap();
/// assert_eq!(query, r#"up{pod=~"a\x22\\.b-.*"}"#);
/// ```
///
/// # Errors
/// When a value is missing or can't stand where its placeholder does.
pub fn fill(text: &str, language: Language, values: &BTreeMap<String, String>) -> Result<String> {
    let mut filler = Filler {
        values,
        language,
        place: Place::Code,
        filled: String::with_capacity(text.len()),
        before: [' '; 2],
    };
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("{{") {
            let (name, after) = after
                .split_once("}}")
                .ok_or_else(|| Error::invalid("the query", "expected `}}` after `{{`"))?;
            filler.value(name.trim())?;
            rest = after;
            continue;
        }
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        rest = filler.copy(c, after);
    }
    Ok(filler.filled)
}

impl Filler<'_> {
    /// Copies a character of the query, follows its place, and returns what is left of `after`.
    fn copy<'t>(&mut self, c: char, after: &'t str) -> &'t str {
        self.filled.push(c);
        match self.place {
            Place::Code => match c {
                '"' | '\'' | '`' => {
                    let is_regex = self.before == ['=', '~'] || self.before == ['!', '~'];
                    self.place = Place::Text { quote: c, is_regex };
                }
                '#' => self.place = Place::Comment,
                _ => {}
            },
            Place::Text { quote, .. } if c == quote => self.place = Place::Code,
            // In raw texts a backslash is a backslash.
            Place::Text { quote, .. } if c == '\\' && quote != '`' => {
                if let Some(escaped) = after.chars().next() {
                    self.filled.push(escaped);
                    return after.get(escaped.len_utf8()..).unwrap_or_default();
                }
            }
            Place::Comment if c == '\n' => self.place = Place::Code,
            Place::Text { .. } | Place::Comment => {}
        }
        if !c.is_whitespace() {
            let [_, last] = self.before;
            self.before = [last, c];
        }
        after
    }

    /// Puts a value in its place.
    fn value(&mut self, name: &str) -> Result<()> {
        let Some(value) = self.values.get(name).filter(|value| !value.is_empty()) else {
            let why = format!("expected a value for `{}`", short(name));
            return Err(Error::invalid("a variable of the query", why));
        };
        let refuse = |expected: &str| {
            let why = format!("expected {expected} for `{name}`, found {:?}", short(value));
            Err(Error::invalid("a variable of the query", why))
        };
        if value.len() > VALUE_BYTES_MAX {
            return refuse("at most 256 bytes");
        }
        match (self.language, self.place) {
            (Language::Other, _) => {
                let is_harmless =
                    |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | ':');
                // Two dashes begin a comment in some languages.
                if !value.chars().all(is_harmless) || value.contains("--") {
                    return refuse("letters, digits, `_`, `.`, `:` and single `-`");
                }
                self.filled.push_str(value);
            }
            (Language::PromQl, Place::Code) => {
                let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':');
                if !value.chars().all(is_word) {
                    return refuse("a word, a number or a duration");
                }
                self.filled.push_str(value);
                self.before = ['a'; 2];
            }
            (Language::PromQl, Place::Comment) => return refuse("no placeholder in a comment"),
            (
                Language::PromQl,
                Place::Text {
                    quote: '`',
                    is_regex,
                },
            ) => {
                if value.contains('`') {
                    return refuse("no backtick");
                }
                self.filled.push_str(&if is_regex {
                    escape_regex(value)
                } else {
                    value.clone()
                });
            }
            (Language::PromQl, Place::Text { is_regex: true, .. }) => {
                self.filled.push_str(&escape_text(&escape_regex(value)));
            }
            (Language::PromQl, Place::Text { .. }) => self.filled.push_str(&escape_text(value)),
        }
        Ok(())
    }
}

/// Escapes what has a meaning in a regular expression (RE2), also inside of brackets.
fn escape_regex(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        if "\\.+*?()|[]{}^$-".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// Escapes what ends or changes a text in quotes of either kind.
fn escape_text(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            // In PromQL only the quote that began a text may be escaped in it; by its number each may.
            '"' => escaped.push_str("\\x22"),
            '\'' => escaped.push_str("\\x27"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            c if c.is_control() => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
